"""Units of columns: a column that is a length to the power p is multiplied by s^p if all lengths are multiplied by s."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr

import mgdask
from mgdask import (
    SOAP,
    AveragedDisplacement,
    BondOrder,
    Chemistry,
    Coordination,
    FoldSymmetry,
    Interstice,
    LagDisplacement,
    LinearResponse,
    MediumRange,
    Motifs,
    NonAffine,
    Packing,
    SpeciesMean,
    SphericalChebyshev,
    SymmetryFunctions,
    VoronoiIndices,
)
from mgdask.features import FEATURES, BondMoments
from mgdask.features.voronoi import EdgeSums
from mgdask.report.text import describe
from mgdask.variables import column_units
from tests.pipelines.test_featurize import small_blocks  # noqa: F401 - a fixture

SPECIES = ("Cu", "Zr")
POWER = {"1": 0, "Å": 1, "Å²": 2, "Å³": 3}
CENTERS = np.arange(0, 2000, 100)


def radii(s):
    return {"Cu": 1.27 * s, "Zr": 1.58 * s}


def soap(s):
    # several functions are mixed by Löwdin's method, which adds powers of different units
    return SOAP(species=SPECIES, r_cut=4.5 * s, n_max=1, l_max=4, sigma=0.5 * s, rbf="polynomial")


OF_ONE_FRAME = {
    "soap": soap,
    "interstice": lambda s: Interstice(radii=radii(s), cutoff=3.8 * s),
    "interstice, as in amlearn": lambda s: Interstice(
        radii=radii(s), cutoff=3.8 * s, convention="amlearn"
    ),
    "medium_range": lambda s: MediumRange(
        soap(s), statistics=("mean", "std", "min", "max", "sum"), neighbors="cutoff", cutoff=3.6 * s
    ),
    "medium_range of numbers": lambda s: MediumRange(Coordination(cutoff=3.8 * s)),
    "species_mean": lambda s: SpeciesMean(soap(s), species=SPECIES),
    "coordination": lambda s: Coordination(cutoff=3.8 * s),
    "voronoi_indices": lambda s: VoronoiIndices(),
    "motifs": lambda s: Motifs(),
    "packing": lambda s: Packing(radii=radii(s)),
    "fold_symmetry": lambda s: FoldSymmetry(),
    "fold_symmetry by area": lambda s: FoldSymmetry(weights="area"),
    "fold_symmetry by volume": lambda s: FoldSymmetry(weights="volume", average=True),
    "bond_order": lambda s: BondOrder(neighbors=("voronoi", "cutoff"), cutoff=3.8 * s),
    "bond_order by area": lambda s: BondOrder(weights="area", area_normalization="printed"),
    "bond_moments": lambda s: BondMoments(weights="area"),
    "chemistry": lambda s: Chemistry(species=SPECIES, neighbors="cutoff", cutoff=3.8 * s),
    "symmetry_functions": lambda s: SymmetryFunctions(species=SPECIES, sigma=2.6 * s),
    "spherical_chebyshev": lambda s: SphericalChebyshev(species=SPECIES, r_cut=5.0 * s),
    "linear_response": lambda s: LinearResponse(cutoff=3.8 * s, radii=radii(s)),
    "facets": lambda s: EdgeSums(),
    "facets by area": lambda s: EdgeSums(weights="area"),
    "facets by volume": lambda s: EdgeSums(weights="volume"),
}
OVER_TIME = {
    "lag_displacement": lambda s, **options: LagDisplacement(lags=(0.5, 1.0), **options),
    "averaged_displacement": lambda s: AveragedDisplacement(lags=(0.5, 1.0)),
    "non_affine": lambda s: NonAffine(
        cutoff=3.8 * s, quantities=("d2min", "d2min_sum", "shear", "volumetric", "F")
    ),
}


def check_powers(feature, before, after, s):
    """Every column must follow its unit; one that has a unit must not be 0, which follows any."""
    assert len(feature.units) == feature.n_columns == before.shape[-1]
    assert np.abs(np.nan_to_num(before)).max() > 0
    for k, unit in enumerate(feature.units):
        assert unit == "1" or np.nanmax(np.abs(before[:, k])) > 0
        np.testing.assert_allclose(
            after[:, k], before[:, k] * s ** POWER[unit], rtol=1e-7, atol=1e-9, err_msg=unit
        )


def test_no_family_is_missing():
    written = {name.split()[0].rstrip(",") for name in (*OF_ONE_FRAME, *OVER_TIME)} - {"facets"}
    # it needs a dictionary, see test_local_environment.py
    assert set(FEATURES) == written | {"local_environment"}


@pytest.mark.parametrize("name", OF_ONE_FRAME)
def test_columns_follow_their_units(glass, name):
    position, cell, numbers = glass
    make, s = OF_ONE_FRAME[name], 1.5
    before = make(1.0).compute(position, cell, numbers, CENTERS)
    after = make(s).compute(s * position, s * cell, numbers, CENTERS)
    check_powers(make(1.0), np.atleast_2d(before), np.atleast_2d(after), s)


def test_strain_and_displacement_follow_their_units(glass, rng):
    position, cell, numbers = glass
    moved, s = position + rng.normal(0, 0.1, position.shape), 1.5
    make = OVER_TIME["non_affine"]
    before = make(1.0).compute(position, moved, cell, cell, numbers, CENTERS)
    after = make(s).compute(s * position, s * moved, s * cell, s * cell, numbers, CENTERS)
    check_powers(make(1.0), before, after, s)


@pytest.mark.parametrize("scaling", ["displacement", "squared", "logarithmic", "logarithmic_mass"])
def test_displacements_follow_their_units(rng, scaling):
    path, time, s = rng.normal(size=(3, 5, 3)), np.array([0, 0.5, 1.0]), 1.5
    more = {"temperature": 300.0} if scaling == "logarithmic" else {}
    feature = OVER_TIME["lag_displacement"](1.0, scaling=scaling, **more)
    before = feature.compute(path, time, numbers=[29] * 5)[0]
    after = feature.compute(s * path, time, numbers=[29] * 5)[0]
    if scaling.startswith("logarithmic"):  # a sum, whose unit is that of the argument's logarithm
        np.testing.assert_allclose(after - before, 2 * np.log10(s), rtol=1e-9)
        assert set(feature.units) == {"1"}
    else:
        check_powers(feature, before, after, s)


def test_outputs_state_the_unit_of_each_column(glass_store, tmp_path, small_soap):
    features = [NonAffine(), LinearResponse(cutoff=3.5), Coordination().named("neighbors")]
    ds = mgdask.open_store(glass_store)
    out = tmp_path / "f.zarr"
    mgdask.run(mgdask.plan(glass_store, features, out=out, frames=[1]), progress=False)
    for found in (mgdask.open_store(out), mgdask.featurize(ds, features)):
        d2, response, numbers = found.nonaffine, found.linear_response, found.neighbors
        by_label = dict(zip(d2.nonaffine_feature.values, d2.nonaffine_unit.values, strict=True))
        assert by_label == {"d2min": "Å²", "d2min_sum": "Å²", "shear": "1", "volumetric": "1"}
        assert column_units(d2) == list(by_label.values())
        assert column_units(response) == ["Å²", "1", "Å²", "Å²", "1", "1", "1"]
        for mixed in (d2, response):
            assert "units" not in mixed.attrs
            assert f"{mixed.name}_unit" in mixed.attrs["comment"]
        assert numbers.attrs["units"] == "1"
        assert "neighbors_unit" not in found.coords
        assert column_units(numbers) == ["1", "1"]
        # in a table of the columns, too
        table = d2.isel(frame=0).to_dataframe()
        assert set(table.xs("shear", level="nonaffine_feature").nonaffine_unit) == {"1"}
    text = " ".join(describe(mgdask.open_store(out)).split())
    assert "float64 Å², 1 " in text
    assert mgdask.featurize(ds, small_soap).soap.attrs["units"] == "Å³"


def test_a_store_begun_without_units_is_continued_and_gets_them(
    glass_store,
    tmp_path,
    small_blocks,  # noqa: F811
):
    """Version 0.1 wrote units="1" for every array, and no unit of a column."""
    features = [NonAffine(), Coordination()]
    work = mgdask.plan(glass_store, features, out=tmp_path / "whole.zarr", frames=[1])
    mgdask.run(work, progress=False)
    old = mgdask.plan(glass_store, features, out=tmp_path / "old.zarr", frames=[1])
    mgdask.run(old, progress=False)
    group = zarr.open_group(old.out, mode="r+")
    del group["nonaffine_unit"]
    attrs = {k: v for k, v in group["nonaffine"].attrs.items() if k != "comment"}
    group["nonaffine"].attrs.put({**attrs, "units": "1"})
    # that version kept neither digests nor copies of metadata
    (tmp_path / "old.zarr" / "manifest" / "kept.zip").unlink()
    mark = tmp_path / "old.zarr" / "manifest" / "complete.json"
    kept = json.loads(mark.read_text())
    mark.write_text(json.dumps({key: kept[key] for key in ("blocks", "content")}))
    # finished stores of that version are still valid
    assert column_units(mgdask.open_store(old.out).nonaffine) == ["1"] * 4
    records = tmp_path / "old.zarr" / "manifest"
    from mgdask.store.manifest import Manifest

    Manifest(old.out).drop([old.blocks[0].name])
    assert records.exists()
    assert mgdask.run(old, progress=False).skipped == len(old.blocks) - 1
    for name in ("nonaffine", "coordination"):
        one, other = (mgdask.open_store(path)[name] for path in (work.out, old.out))
        assert one.identical(other)
