"""Feature families, sets, recipes and RDFs on the command line."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

import mgdask
from mgdask.cli import main
from mgdask.errors import ParameterError
from mgdask.features import BondOrder, Interstice, MediumRange, SphericalChebyshev
from mgdask.features.recipe import gather_features

RECIPE = """
sets: [interstice]
features:
  - bond_order:
  - interstice: {name: with_rdf, radii: {Cu: 1.28, Zr: 1.58}, cutoff: 3.8}
  - mediumrange: {name: wide, feature: {bond_order: {degrees: [6], quantities: [q]}}, statistics: [mean, std], neighbors: cutoff, cutoff: 3.5}
  - mediumrange: {feature: coordination}
  - chebyshev: {species: [Zr, Cu], n_max: 2, l_max: 3}
"""


def refused(monkeypatch, capsys, *words):
    """Return the error message of a command that must fail."""
    monkeypatch.setattr(sys, "argv", ["mgdask", *map(str, words)])
    with pytest.raises(SystemExit) as status:
        main()
    assert status.value.code != 0
    output = capsys.readouterr()
    assert not output.out
    assert "Traceback" not in output.err
    assert output.err.count("\n") <= 6
    return output.err


def answered(monkeypatch, capsys, *words):
    """Return the output of a command that must succeed."""
    monkeypatch.setattr(sys, "argv", ["mgdask", *map(str, words)])
    with pytest.raises(SystemExit) as status:
        main()
    output = capsys.readouterr()
    assert status.value.code == 0, output.err
    return output.out


def test_a_set_and_a_feature(glass_store, tmp_path, monkeypatch, capsys):
    out = tmp_path / "f.zarr"
    text = answered(
        monkeypatch,
        capsys,
        "featurize",
        glass_store,
        "--set",
        "interstice",
        "--feature",
        "bond_order:degrees=4+6,neighbors=cutoff,cutoff=3.8",
        "--feature",
        "coordination",
        "--frames",
        "5:7",
        "--out",
        out,
        "--workers",
        1,
    )
    for word in (
        "interstice",
        "mediumrange_interstice",
        "64 columns",
        "bond_order",
        "degrees=4+6",
        "neighbors=cutoff",
        "peak memory",
    ):
        assert word in text
    found, ds = mgdask.open_store(out), mgdask.open_store(glass_store)
    assert set(found.data_vars) == {
        "interstice",
        "mediumrange_interstice",
        "bond_order",
        "coordination",
    }
    configuration = ds.position[6].values, ds.cell[6].values, ds.species.values
    feature = BondOrder(degrees=(4, 6), neighbors="cutoff", cutoff=3.8)
    assert (found.bond_order[1].values == feature.compute(*configuration)).all()
    assert found.bond_order_amlearn.values[0] == "q_4_dist"
    assert (
        found.mediumrange_interstice[1].values == MediumRange(Interstice()).compute(*configuration)
    ).all()
    text = answered(monkeypatch, capsys, "inspect", out)
    assert "2 x 2000 x 64" in text


def test_sets_with_options(tmp_path):
    """ "169 MRO features" of Wang & Jain from the command line and from a recipe."""
    species, recipe = ("Cu", "Zr"), tmp_path / "r.yaml"
    recipe.write_text("sets: [mro: {bond_order_neighbors: voronoi, cutoff: 3.8}, sro]")
    want = mgdask.feature_set("mro", species, bond_order_neighbors="voronoi", cutoff=3.8)
    text = "mro:bond_order_neighbors=voronoi,cutoff=3.8"
    assert gather_features([], [text], None, species) == want
    assert sum(f.n_columns for f in want) == 169
    short = mgdask.feature_set("sro", species)
    assert gather_features([], [], str(recipe), species) == [*want, *short]
    both = gather_features([], ["interstice", "motifs+mro"], None, species)
    assert [f.n_columns for f in both] == [16, 64, 4, 12]
    with pytest.raises(ParameterError, match="set 'sro': unknown option 'convention'"):
        gather_features([], ["sro:convention=paper"], None, species)


def test_a_recipe(glass_store, tmp_path, monkeypatch, capsys):
    recipe, out = tmp_path / "r.yaml", tmp_path / "f.zarr"
    recipe.write_text(RECIPE)
    text = answered(
        monkeypatch,
        capsys,
        "plan",
        glass_store,
        "--recipe",
        recipe,
        "--out",
        out,
        "--centers",
        "Cu",
    )
    assert "radii=" in text
    assert "feature=bond_order(degrees=6, quantities=q)" in " ".join(text.split())
    assert "1120 of 2000 atoms" in " ".join(text.split())
    assert not out.exists()
    answered(
        monkeypatch,
        capsys,
        "featurize",
        glass_store,
        "--recipe",
        recipe,
        "--out",
        out,
        "--centers",
        "Cu",
        "--frames",
        "2:3",
        "--workers",
        1,
    )
    found, ds = mgdask.open_store(out), mgdask.open_store(glass_store)
    assert {name: found[name].shape[-1] for name in found.data_vars} == {
        "interstice": 16,
        "mediumrange_interstice": 64,
        "bond_order": 16,
        "with_rdf": 16,
        "wide": 2,
        "mediumrange_coordination": 8,
        "chebyshev": 2 * 3 * 4,
    }
    copper = np.flatnonzero(ds.species.values == 29)
    arguments = ds.position[2].values, ds.cell[2].values, ds.species.values, copper
    wanted = {
        "with_rdf": Interstice(radii={"Cu": 1.28, "Zr": 1.58}, cutoff=3.8),
        "wide": MediumRange(
            BondOrder(degrees=(6,), quantities=("q",)),
            statistics=("mean", "std"),
            neighbors="cutoff",
            cutoff=3.5,
        ),
        "chebyshev": SphericalChebyshev(species=("Zr", "Cu"), n_max=2, l_max=3),
    }
    for name, feature in wanted.items():
        assert (found[name][0].values == feature.compute(*arguments)).all()
    assert found.wide_feature.values.tolist() == ["mean of q6", "std of q6"]
    assert (
        found.with_rdf != found.interstice.rename(interstice_feature="with_rdf_feature").values
    ).any()


def test_rdf(glass_store, tmp_path, monkeypatch, capsys):
    curves = tmp_path / "x.csv"
    text = answered(
        monkeypatch,
        capsys,
        "rdf",
        glass_store,
        "--r-max",
        8,
        "--bins",
        160,
        "--out",
        curves,
        "--workers",
        1,
    )
    want = mgdask.partial_rdf(glass_store, r_max=8.0, bins=160, progress=False)
    for a in ("Cu", "Zr"):
        for b in ("Cu", "Zr"):
            one = want.sel(species=a, neighbor_species=b)
            line = next(line for line in text.splitlines() if line.startswith(f"{a}-{b} "))
            assert line.split()[1:] == [
                f"{float(one.first_peak):.3f}",
                f"{float(one.first_minimum):.3f}",
                f"{float(one.coordination):.2f}",
            ]
    assert f"{float(want.first_minimum_all):.3f}" in text
    table = pd.read_csv(curves, index_col="r")
    assert table.columns.tolist() == ["Cu-Cu", "Cu-Zr", "Zr-Cu", "Zr-Zr", "all"]
    np.testing.assert_allclose(table.index.values, want.r.values, rtol=1e-12)
    np.testing.assert_allclose(
        table["Cu-Zr"].values, want.g.sel(species="Cu", neighbor_species="Zr").values, rtol=1e-12
    )
    np.testing.assert_allclose(table["all"].values, want.g_all.values, rtol=1e-12)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--feature", "bondorders"),
            "there is no feature 'bondorders'. Did you mean bond_order? The families are averaged_displacement, bond",
        ),
        (
            ("--set", "everything"),
            "there is no set 'everything'. The sets are interstice, sro, mro",
        ),
        (
            ("--feature", "bond_order:degree=4"),
            "unknown option 'degree'. Did you mean degrees? Allowed are degrees, quantities",
        ),
        (
            ("--feature", "bond_order:degrees=four"),
            "degrees='four' is not allowed; it must be a list of integers from 0 to 30, such as 4+6",
        ),
        (("--feature", "bond_order:degrees=4,degrees=6"), "degrees is given twice"),
        (("--feature", "bond_order:neighbors"), "'neighbors' is not name=value"),
        (
            ("--feature", "bond_order:weights=area,neighbors=cutoff"),
            "only Voronoi neighbors have a facet",
        ),
        (("--feature", "mediumrange"), "feature must be given"),
        (("--feature", "mediumrange:feature=intersice"), "there is no feature 'intersice'"),
        (("--feature", "coordination:name=two words"), "must be a word"),
        (("--feature", "coordination:name=species"), "is the name of another variable"),
        (
            ("--set", "interstice", "--feature", "interstice:cutoff=3.5"),
            "two features are named 'interstice'",
        ),
        (("--feature", "chemistry:species=Cu"), "lacks Zr"),
    ],
)
def test_wrong_features_are_refused(glass_store, tmp_path, monkeypatch, capsys, words, message):
    assert message in refused(
        monkeypatch, capsys, "plan", glass_store, "--out", tmp_path / "f.zarr", *words
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sets: [everything]", "there is no set 'everything'"),
        ("sets: interstice", "sets: Input should be a valid list"),
        ("features:\n  - interstice: {cutof: 3}", "unknown option 'cutof'"),
        (
            "features:\n  - mediumrange: {feature: {interstice: {}, motifs: {}}}",
            "must be one family with its options",
        ),
        ("features:\n  - mediumrange: {feature: {interstice: {radii: {Cu: -1}}}}", "radii="),
        ("features:\n  - mediumrange: {feature: 3}", "feature=3"),
        ("set: [sro]", "set: Extra inputs"),
        ("sets: []", "is empty: list sets or features"),
        ("features: [", "is not YAML"),
    ],
)
def test_wrong_recipes_are_refused(glass_store, tmp_path, monkeypatch, capsys, text, message):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(text)
    assert message in refused(
        monkeypatch, capsys, "plan", glass_store, "--recipe", recipe, "--out", tmp_path / "f.zarr"
    )


def test_wrong_rdf_is_refused(glass_store, monkeypatch, capsys):
    assert "r_max=-1.0 must be a distance" in refused(
        monkeypatch, capsys, "rdf", glass_store, "--r-max", -1, "--workers", 1
    )
    assert "bins=3 must be from 10 to 1000000" in refused(
        monkeypatch, capsys, "rdf", glass_store, "--bins", 3, "--workers", 1
    )
