"""``mgdask features``, spellings of names, and what is said of wrong parameters."""

from __future__ import annotations

import inspect
import json
import re

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

import mgdask
from mgdask.cli import cli
from mgdask.errors import ParameterError
from mgdask.features import FEATURES, SETS, feature_set, make_feature, parse_options
from mgdask.features.catalog import all_families, family_facts
from mgdask.features.recipe import gather_features

SPECIES = ("Cu", "Zr")


def shown(*words, columns=110):
    """Output of a command that succeeds, in a terminal of so many columns."""
    result = CliRunner(env={"COLUMNS": str(columns)}).invoke(cli, words, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def refused(text, species=SPECIES):
    """Message about a feature as typed after ``--feature``."""
    with pytest.raises(ParameterError) as error:
        gather_features([text], [], None, species)
    return str(error.value)


def snake_case(name):
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


# ------------------------------------------------------------------------------------------- the command
def test_all_families_and_sets_have_a_line():
    for columns in (110, 130):
        lines = shown("features", columns=columns).splitlines()
        assert max(map(len, lines)) <= columns
        assert not [line for line in lines if line.startswith(" ")]  # nothing was wrapped
        first = [line.split()[0] for line in lines if line]
        for name in (*FEATURES, *SETS):
            assert name in first
    line = next(line for line in lines if line.startswith("non_affine"))
    for words in (" 4 ", "two frames", "non-affine displacement and strain", "Falk (1998)"):
        assert words in line
    lag = next(line for line in lines if line.startswith("lag_displacement"))
    assert lag.split()[1:3] == ["41", "trajectory"]
    assert next(line for line in lines if line.startswith("mro ")).split()[1] == "209"


@pytest.mark.parametrize("family", FEATURES)
def test_a_family_is_shown_from_its_class(family):
    kind, text = FEATURES[family], shown("features", family)
    words = " ".join(text.split())
    facts = family_facts(family)
    assert text.startswith(
        f"{family}: {' '.join(inspect.getdoc(kind).split(chr(10) * 2)[0].split())}"
    )
    schema = kind.json_schema()["properties"]
    for name in inspect.signature(kind).parameters:
        starts = (f"{name} = ", f"{name} (required")
        row = next(line for line in text.splitlines() if line.startswith(starts))
        if "default" in schema[name] and not isinstance(schema[name]["default"], list):
            default = json.dumps(schema[name]["default"]).strip('"').replace("null", "none")
            assert row.split()[2] == default.removesuffix(".0")
        for choice in schema[name].get("enum", []):
            assert choice in words
    feature = facts.example
    if feature is None:  # it reads a file
        assert f"--feature {family}:dictionary=ules.zarr --out" in text
        assert "feature = mgdask.LocalEnvironment(dictionary='ules.zarr')" in text
        assert kind.citation in words
        return
    assert f"{feature.n_columns} columns for Cu-Zr" in words
    for label, unit in list(zip(feature.labels, feature.units, strict=True))[:2]:
        assert (label if unit == "1" else f"{label} ({unit})") in words
    # both examples make the same feature
    ((typed,),) = (re.findall(r"--feature (\S+) --out", text),)
    (python,) = re.findall(r"feature = (.*)", text)
    (made,) = gather_features([typed], [], None, SPECIES)
    assert made == feature == eval(python, {"mgdask": mgdask})
    assert f"array in the output {made.name}" in words
    assert "µs on one core" in words
    for reference in feature.citation.split("; ")[:1]:
        assert reference in words


@pytest.mark.parametrize("name", ["non_affine", "symmetry_functions", "mro"])
def test_text_fits_into_a_narrow_terminal(name):
    text = shown("features", name, columns=80).partition("\nshell\n")[0]
    # formulas are not wrapped
    assert not [line for line in text.splitlines() if len(line) > 80 and line[:4].strip()]
    for feature in feature_set("mro", SPECIES) if name == "mro" else ():
        assert re.search(rf"^{feature.name} +{feature.n_columns} ", text, re.M)


def test_formula_and_units_are_shown():
    text = shown("features", "Non-Affine")
    assert "    F          = (sum_j r'_j r_j^T) (sum_j r_j r_j^T)^-1\n" in text
    assert "d2min (Å²), d2min_sum (Å²), shear, volumetric" in text
    assert "``" not in text
    lines = text.splitlines()
    assert "cutoff = 4.5 (Å)" in lines
    assert "lag = none (ps)" in lines
    assert "    Allowed: number > 0 or none." in lines
    assert "or none, or none" not in shown("features", "bond_order")
    assert "\n* shear: " in shown("features", "linear_response", columns=80)
    assert "mgdask.partial_rdf" in inspect.getdoc(mgdask.NonAffine)


def test_units_of_parameters():
    """All parameters that are a length, time or temperature, by hand."""
    lengths = {
        "soap": {"r_cut", "sigma"},
        "interstice": {"radii", "cutoff", "pair_cutoffs"},
        "medium_range": {"cutoff", "pair_cutoffs"},
        "coordination": {"cutoff", "pair_cutoffs"},
        "packing": {"radii"},
        "bond_order": {"cutoff", "pair_cutoffs"},
        "bond_moments": {"cutoff", "pair_cutoffs"},
        "chemistry": {"cutoff", "pair_cutoffs"},
        "symmetry_functions": {"sigma"},
        "spherical_chebyshev": {"r_cut"},
        "linear_response": {"cutoff", "radii"},
        "non_affine": {"cutoff"},
    }
    found = {
        facts.family: {each.name: each.unit for each in facts.parameters if each.unit}
        for facts in all_families()
        if facts.family in FEATURES
    }
    for family, units in found.items():
        assert {n for n, unit in units.items() if unit == "Å"} == lengths.get(family, set()), family
    times = {(f, n): unit for f, units in found.items() for n, unit in units.items() if unit != "Å"}
    assert times == {
        ("averaged_displacement", "lags"): "ps",
        ("averaged_displacement", "spacing"): "ps",
        ("lag_displacement", "lags"): "ps",
        ("lag_displacement", "origins"): "ps",
        ("lag_displacement", "temperature"): "K",
        ("non_affine", "lag"): "ps",
        ("symmetry_functions", "width"): "sigma",
        ("symmetry_functions", "cutoff"): "sigma",
    }


def test_a_set_is_shown():
    text = shown("features", "sro")
    assert "set sro: 8 features, 49 columns for Cu-Zr" in text
    for member in feature_set("sro", SPECIES):
        assert re.search(rf"^{member.name} +{member.n_columns} ", text, re.M)
    assert "bond_order_neighbors" not in text
    assert "bond_order_neighbors" in shown("features", "mro")
    both = shown("features", "interstice")
    assert both.startswith("interstice: ")
    assert "set interstice: 2 features, 80 columns" in both


def test_an_unknown_name_lists_the_nearest():
    with pytest.raises(
        ParameterError, match=r"'bondorders'. Nearest: bond_order, .*mgdask features"
    ):
        CliRunner().invoke(cli, ["features", "bondorders"], catch_exceptions=False)


# -------------------------------------------------------------------------------------------- spellings
def test_families_are_classes_in_snake_case():
    assert {
        name: snake_case(kind.__name__) for name, kind in FEATURES.items() if name != "soap"
    } == {name: name for name in FEATURES if name != "soap"}


@pytest.mark.parametrize(
    "name", ["non_affine", "nonaffine", "NonAffine", "non-affine", "NONAFFINE"]
)
def test_every_spelling_of_a_family(name):
    assert make_feature(name, {"cutoff": "3.5"}) == mgdask.NonAffine(cutoff=3.5)
    assert FEATURES[name] is mgdask.NonAffine
    assert name in FEATURES
    assert FEATURES.get(name) is mgdask.NonAffine
    assert FEATURES.get("affine") is None
    assert "affine" not in FEATURES


def test_every_spelling_of_a_set():
    for name in ("medium_range_motifs", "mediumrange_motifs", "Medium-Range-Motifs"):
        assert [f.n_columns for f in feature_set(f"motifs+{name}", SPECIES)] == [4, 12]
    for name in ("chebyshev", "spherical_chebyshev"):
        assert feature_set(name, SPECIES) == [mgdask.SphericalChebyshev(species=SPECIES)]


def test_arrays_and_recorded_parameters_keep_their_names():
    """A change would make stores of version 0.1 unreadable to old code, and runs impossible to resume."""
    twice = mgdask.MediumRange(mgdask.MediumRange(mgdask.Coordination(), statistics=("mean",)))
    assert twice.name == "mediumrange_mediumrange_coordination"
    assert list(twice.parameters()["feature"]) == ["mediumrange"]
    assert mgdask.NonAffine().name == "nonaffine"
    assert mgdask.SphericalChebyshev(species=SPECIES).name == "chebyshev"
    assert make_feature("medium_range", twice.parameters()) == twice


# ------------------------------------------------------------------------------------ values as typed
def test_pair_cutoffs_can_be_typed():
    pairs = {"Cu-Cu": 3.2, "Cu-Zr": 3.7, "Zr-Zr": 4.1}
    text = "coordination:pair_cutoffs=Cu-Cu:3.2,Zr-Cu:3.7,Zr-Zr:4.1,small_facets=none"
    want = mgdask.Coordination(pair_cutoffs=pairs, small_facets="none")
    assert gather_features([text], [], None, SPECIES) == [want]
    assert mgdask.Coordination(pair_cutoffs="Cu-Cu:3.2+Cu-Zr:3.7+Zr-Zr:4.1").pair_cutoffs == (
        want.pair_cutoffs
    )
    # what a plan shows can be typed
    assert want.summary().replace(", ", ",") == (
        "small_facets=none,pair_cutoffs=Cu-Cu:3.2,Cu-Zr:3.7,Zr-Zr:4.1"
    )
    typed = make_feature("non_affine", parse_options("cutoff=Cu-Cu:3.2,Cu-Zr:3.7,Zr-Zr:4.1"))
    assert typed == mgdask.NonAffine(cutoff=pairs)
    in_set = gather_features([], ["sro:pair_cutoffs=Cu-Cu:3.2,Cu-Zr:3.7,Zr-Zr:4.1"], None, SPECIES)
    assert in_set == feature_set("sro", SPECIES, pair_cutoffs=pairs)
    radii = make_feature("interstice", parse_options("radii=Zr:1.58,Cu:1.28,cutoff=3.8"))
    assert radii == mgdask.Interstice(radii={"Cu": 1.28, "Zr": 1.58}, cutoff=3.8)


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("lag_displacement:lags=0.5+1,origins=10", {"lags": (0.5, 1.0), "origins": 10}),
        ("lag_displacement:lags=0.5,1e+1,origins=0+10", {"lags": (0.5, 10.0), "origins": (0, 10)}),
        ("bond_order:degrees=4,6,quantities=q+w", {"degrees": (4, 6), "quantities": ("q", "w")}),
        ("linear_response:strain=0.4+0.4+-1+0+0+0", {"strain": (0.4, 0.4, -1, 0, 0, 0)}),
        ("interstice:bins=4,span=-0.5+1", {"bins": 4, "span": (-0.5, 1)}),
        ("fold_symmetry:average=yes,beyond=false", {"average": True, "beyond": False}),
        ("symmetry_functions:angular=1.5:1:2+2:-1:4", {"angular": ((1.5, 1, 2), (2, -1, 4))}),
        ("symmetry_functions:roles=Zr+Cu", {"roles": ("Zr", "Cu")}),
        ("non_affine:lag=none,reference=3", {"lag": None, "reference": 3}),
        ("bond_order:small_facets=none", {"small_facets": "none"}),
    ],
)
def test_every_kind_of_value_can_be_typed(typed, values):
    (feature,) = gather_features([typed], [], None, SPECIES)
    assert {name: getattr(feature, name) for name in values} == values


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            "soap:r_cut=five,n_max=8,l_max=8",
            "SOAP: r_cut='five' is not a number; it must be a number > 0 in Å, such as 5",
        ),
        (
            "soap:r_cut=5,n_max=8.5,l_max=8",
            "n_max='8.5' is not an integer; it must be an integer from 1 to 40, such as 8",
        ),
        (
            "soap:r_cut=-5,n_max=8,l_max=8",
            "r_cut='-5' is not allowed; it must be a number > 0 in Å",
        ),
        ("coordination:cutoff=inf", "cutoff='inf' is not finite; it must be a number > 0 in Å"),
        ("soap:r_cut=5", "n_max, l_max must be given, such as n_max=8,l_max=8"),
        (
            "soap:r_cut=5,n_max=8,l_max=8,rbf=polynomal",
            "rbf='polynomal' is not allowed; it must be gto or polynomial. Did you mean polynomial?",
        ),
        ("soap:rcut=5", "unknown option 'rcut'. Did you mean r_cut? Allowed are species, r_cut"),
        ("fold_symmetry:average=maybe", "average='maybe' is not allowed; it must be true or false"),
        (
            "bond_order:degrees=4+six",
            "degrees='4+six' is not allowed; it must be a list of integers from 0 to 30, such as 4+6",
        ),
        ("bond_order:quantities=q,w", "bond_order: 'w' is not name=value. Write for example"),
        ("bond_order:degrees", "mgdask features bond_order lists the parameters"),
        (
            "coordination:pair_cutoffs=Cu-Cu:wide",
            "it must be a list of name:number > 0 in Å, such as Cu-Cu:3.2,Cu-Zr:3.7,Zr-Zr:4.1",
        ),
        ("coordination:pair_cutoffs=3.2", "must map pairs of species to distances in Å"),
        (
            "lag_displacement:temperature=hot",
            "temperature='hot' is not allowed; it must be a number > 0 in K",
        ),
        ("bondorders", "there is no feature 'bondorders'. Did you mean bond_order?"),
    ],
)
def test_what_is_said_of_wrong_values(typed, message):
    assert message in refused(typed)


def test_python_says_the_same_with_its_own_spelling():
    with pytest.raises(ParameterError) as error:
        mgdask.BondOrder(degrees=("four",))
    assert str(error.value) == (
        "BondOrder: degrees=('four',) is not allowed; it must be a list of integers from 0 to 30, "
        "such as (4, 6, 8, 10)"
    )
    with pytest.raises(ParameterError, match=r"'paper' or 'amlearn'\. Did you mean paper"):
        mgdask.Interstice(convention="papers")


# ------------------------------------------------------------------------------------------ completion
@pytest.mark.parametrize(
    ("words", "incomplete", "found"),
    [
        (["plan", "x.zarr", "--feature"], "vor", ["voronoi_indices"]),
        (["plan", "x.zarr", "--feature"], "soap:r_cut=5,n_", ["soap:r_cut=5,n_max="]),
        (["plan", "x.zarr", "--feature"], "soap:rbf=g", ["soap:rbf=gto"]),
        (["plan", "x.zarr", "--soap"], "r_cut=5,rbf=p", ["r_cut=5,rbf=polynomial"]),
        (["plan", "x.zarr", "--set"], "motifs+mr", ["motifs+mro"]),
        (["features"], "mot", ["motifs"]),
    ],
)
def test_names_are_completed(words, incomplete, found):
    completion = ShellComplete(cli, {}, "mgdask", "_MGDASK_COMPLETE")
    assert [item.value for item in completion.get_completions(words, incomplete)] == found


def test_help_names_the_families():
    context = click.Context(cli, info_name="mgdask")
    plan = cli.get_command(context, "plan")
    text = " ".join(plan.get_help(click.Context(plan, info_name="plan")).split())
    assert all(name in text for name in FEATURES)
    assert "mgdask features NAME" in text
