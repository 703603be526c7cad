"""Labels and features of a deformed glass: a slab of a real one, and cells made by hand."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import mgdask
from mgdask.errors import ParameterError, StoreError
from mgdask.studies.softness import data as softness
from mgdask.studies.softness.data import describe_excluded, inside, prepare_glass, strain_of

SLAB = Path(__file__).parents[2] / "notebooks" / "data" / "deformed_slab.lammpstrj.gz"


@pytest.fixture(scope="module")
def slab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("softness")
    mgdask.ingest([str(SLAB)], folder / "slab.zarr", species=("Cu", "Zr"), timestep=0.002)
    return folder / "slab.zarr"


def test_examples():
    assert doctest.testmod(softness, extraglobs={"np": np, "xr": xr}).failed == 0


def box(position, lengths, pbc=(True, True, True), last=None):
    cells = np.stack([np.diag(lengths), np.diag(lengths if last is None else last)])
    return xr.Dataset(
        {
            "position": (("frame", "atom", "xyz"), np.stack([position, position])),
            "cell": (("frame", "vector", "xyz"), cells),
            "origin": (("frame", "xyz"), np.zeros((2, 3))),
            "pbc": ("vector", np.array(pbc)),
        }
    )


def test_atoms_near_surfaces_and_ends_do_not_count():
    position = np.array(
        [[5.0, 5.0, 1.0], [5.0, 5.0, 12.0], [5.0, 5.0, 25.0], [0.5, 5.0, 12.0], [9.5, 5.0, 12.0]]
    )
    ds = box(position, [10.0, 10.0, 30.0], last=[10.1, 10.1, 28.0])
    assert strain_of(ds)[1] == 2
    assert inside(ds, 3.0).all()  # no surfaces, no ends asked for
    assert inside(ds, 3.0, ends=True).tolist() == [False, True, True, True, True]
    assert inside(ds, 6.0, ends=True).tolist() == [False, True, False, True, True]
    free = box(position, [10.0, 10.0, 30.0], pbc=(False, True, True))
    assert inside(free, 3.0).tolist() == [
        True,
        True,
        True,
        False,
        False,
    ]  # from the outermost atoms on


def test_free_ends_of_the_deformed_vector_do_not_count():
    """Wang & Jain, Methods: atoms away from the surfaces or deformation ends are selected."""
    position = np.array([[5.0, 5.0, z] for z in (1.0, 3.0, 12.0, 22.0, 25.0)])
    lengths, last = [10.0, 10.0, 30.0], [10.1, 10.1, 28.0]
    gripped = box(position, lengths, pbc=(True, True, False), last=last)
    kept = [False, False, True, False, False]
    assert inside(gripped, 5.0).tolist() == inside(gripped, 5.0, ends=True).tolist() == kept
    assert describe_excluded(gripped, 5.0) == (
        "Atoms within 5 Å of the free deformation ends along c are excluded."
    )
    # both kinds of faces at once
    position = np.array([[x, 5.0, z] for x in (1.0, 8.0, 15.0) for z in (1.0, 12.0, 25.0)])
    both = box(position, [20.0, 10.0, 30.0], pbc=(False, True, False), last=[20.1, 10.1, 28.0])
    assert inside(both, 5.0).tolist() == [k == 4 for k in range(9)]
    assert "free surfaces along a and the free deformation ends along c" in describe_excluded(
        both, 5.0
    )
    # a periodic cell has neither, and the text says so
    whole = box(position, lengths, last=last)
    assert describe_excluded(whole, 5.0) == (
        "The cell is periodic along all vectors, so no atom is near a surface."
    )
    assert "the periodic end faces along c" in describe_excluded(whole, 5.0, ends=True)
    slab = box(position, lengths, pbc=(False, True, True), last=last)
    assert describe_excluded(slab, 5.0).endswith("c is periodic and has no free ends.")


def test_strain_of_the_real_slab(slab):
    strain, axis = strain_of(mgdask.open_store(slab))
    assert axis == 2
    assert strain == pytest.approx([0.0, 0.04], abs=1e-6)


def test_rows_of_the_real_slab(slab, tmp_path):
    glass = prepare_glass(slab, tmp_path / "out", margin=5.0, progress=False)
    x, y, atoms = glass.rows()
    assert x.shape == (len(atoms), 80) == (int(glass.keep.sum()), len(glass.columns()))
    assert np.isfinite(x).all()
    assert glass.columns()[0] == "interstice/distance_voronoi_mean"
    # what the labels are, by hand
    ds = mgdask.open_store(slab)
    path = ds.position.values + np.einsum("fai,fij->faj", ds.image.values, ds.cell.values)
    feature = mgdask.NonAffine(cutoff=4.5, quantities=("d2min_sum",))
    d2min = feature.compute(
        path[0],
        path[1],
        ds.cell.values[0],
        ds.cell.values[1],
        ds.species.values,
        pbc=(True, False, True),
    )[:, 0]
    assert (y == (d2min[atoms] > 5.0)).all()
    assert 0.01 < y.mean() < 0.08
    assert "plastic at a strain of 0.040" in str(glass)
    assert "free surfaces along b are excluded" in str(glass)
    # features are of the undeformed frame only
    own = mgdask.Interstice().compute(
        ds.position.values[0], ds.cell.values[0], ds.species.values, pbc=(True, False, True)
    )
    assert (x[:, :16] == own[atoms]).all()
    again = prepare_glass(slab, tmp_path / "out", margin=5.0, threshold=10.0, progress=False)
    assert again.plastic()[glass.keep].sum() < glass.plastic()[glass.keep].sum()
    copper = prepare_glass(slab, tmp_path / "out", margin=5.0, species=("Cu",), progress=False)
    assert set(ds.species.values[copper.rows()[2]]) == {29}


def test_bad_input_in_words(slab, tmp_path):
    with pytest.raises(
        ParameterError, match=r"no frame is within 0.002 of a strain of 0.02; the nearest"
    ):
        prepare_glass(slab, tmp_path, strain=0.02, progress=False)
    with pytest.raises(
        ParameterError, match="no atom of species=any is at least 15 Å from the surfaces"
    ):
        prepare_glass(slab, tmp_path, margin=15.0, progress=False)
    with pytest.raises(ParameterError, match="no atom has D2min above threshold=1000"):
        prepare_glass(slab, tmp_path, margin=5.0, threshold=1000.0, progress=False)
    with pytest.raises(StoreError, match=r"nonaffine: cutoff 4\.5 -> 4\.0"):
        prepare_glass(slab, tmp_path, margin=5.0, cutoff=4.0, progress=False)
