"""Features of other packages: entry points, installation, plan and run, JSON schema, old digests."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import mgdask
from mgdask.errors import ParameterError
from mgdask.features import (
    FEATURES,
    CutoffNeighbors,
    Interstice,
    MediumRange,
    feature_dataclass,
    feature_from,
    make_feature,
)
from mgdask.features.window import FrameAxis
from mgdask.pipelines.featurize.plan import Plan
from mgdask.store.attributes import decode
from mgdask.store.provenance import digest
from tests import forked

PACKAGE = '''
import numpy as np
import mgdask
from mgdask.features import CutoffNeighbors, feature_dataclass


@feature_dataclass
class MeanDistance(mgdask.FrameFeature):
    """Mean distance to the neighbors.

    Parameters
    ----------
    cutoff
        Cutoff distance in Å.
    """

    cutoff: float = 4.0
    family = "mean_distance"
    long_name = "mean distance to the neighbors"
    citation = "none"
    labels = ("mean",)

    @property
    def neighborhood(self):
        return (CutoffNeighbors(self.cutoff),)

    def footprint(self, n_atoms, n_centers):
        return 8 * n_centers

    def cost(self, n_centers):
        return 2e-6 * n_centers

    def describe(self, environments, centers, out):
        near = environments.neighbors(self.cutoff, centers)
        for k, (first, last) in enumerate(zip(near.first, near.last)):
            out[k] = near.distance[first:last].mean() if last > first else np.nan
        return {"no_neighbor": near.first == near.last}
'''
PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "glass-extras"
version = "0.1"

[project.entry-points."mgdask.features"]
mean_distance = "glass_extras:MeanDistance"

[tool.hatch.build.targets.wheel]
packages = ["glass_extras"]
"""
SCRIPT = """
import sys
import numpy as np
import mgdask
from mgdask.features import make_feature
from mgdask.store.attributes import decode

store, out = sys.argv[1:]
feature = make_feature("mean_distance", {"cutoff": "3.0"})
assert "mean_distance" not in mgdask.features.FEATURES
plan = mgdask.plan(store, [feature, mgdask.MediumRange(feature)], out=out, frames=slice(2, 4))
print(mgdask.run(plan, progress=False))
ds, found = mgdask.open_store(store), mgdask.open_store(out)
one = feature.compute(ds.position[3].values, ds.cell[3].values, ds.species.values)
assert found.mean_distance[1].values.tobytes() == one.tobytes()
assert found.mediumrange_mean_distance.shape == (2, 2000, 4)
assert decode(found.mean_distance.attrs, "marked_atoms") == {"no_neighbor": 0}
lazy = mgdask.featurize(ds.isel(frame=slice(2, 4)), feature).mean_distance.values
assert lazy.tobytes() == found.mean_distance.values.tobytes()
"""


def describe_distribution(folder: Path, name: str, entry_points: dict[str, str]) -> None:
    """Write the metadata of an installed distribution by hand."""
    info = folder / f"{name.replace('-', '_')}-0.1.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    lines = [f"{key} = {value}" for key, value in entry_points.items()]
    info.joinpath("entry_points.txt").write_text("\n".join(["[mgdask.features]", *lines, ""]))


@pytest.fixture(scope="module", params=["by hand", pytest.param("by pip", marks=pytest.mark.slow)])
def installed(request, tmp_path_factory):
    """A folder into which the package is installed."""
    target, source = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("source")
    by_hand = request.param == "by hand"
    code = (target if by_hand else source) / "glass_extras"
    code.mkdir()
    code.joinpath("__init__.py").write_text(PACKAGE)
    if by_hand:
        describe_distribution(
            target, "glass-extras", {"mean_distance": "glass_extras:MeanDistance"}
        )
    else:
        pytest.importorskip("hatchling")
        source.joinpath("pyproject.toml").write_text(PROJECT)
        options = ["--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
        pip = [sys.executable, "-m", "pip", "install", *options, "--target", str(target)]
        subprocess.run([*pip, str(source)], check=True, timeout=120)
    return target


def run_with(installed, code, *arguments):
    done = forked.run(code, *arguments, env={**os.environ, "PYTHONPATH": str(installed)})
    assert done.returncode == 0, done.stderr
    return done.stdout


# ------------------------------------------------------------------------------- installed
def test_an_installed_feature_goes_through_plan_and_run(installed, glass_store, tmp_path):
    text = run_with(installed, SCRIPT, glass_store, tmp_path / "f.zarr")
    assert "computed now" in text


def test_an_installed_feature_goes_through_the_command_line(installed, glass_store, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("features:\n  - mean_distance: {name: wide, cutoff: 5.0}\n")
    options = ["--feature", "mean_distance:cutoff=3.0", "--recipe", recipe, "--centers", "Zr"]
    out = tmp_path / "g.zarr"
    words = [glass_store, *options, "--out", out, "--workers", "1"]
    run_with(installed, forked.COMMAND_LINE, "featurize", *words)
    ds = mgdask.open_store(out)
    assert set(ds.data_vars) == {"mean_distance", "wide"}
    assert decode(ds.mean_distance.attrs, "parameters") == {"cutoff": 3.0}
    assert (ds.wide.values > ds.mean_distance.values).all()


# ---------------------------------------------------------------------------------- faults
BAD = {
    "missing_module": ("no_such_module:Thing", "cannot be loaded: ModuleNotFoundError"),
    "missing_class": ("json:Thing", "cannot be loaded: AttributeError"),
    "not_a_feature": ("json:JSONDecoder", "is not a subclass of mgdask.Feature"),
    "abstract": ("mgdask:FrameFeature", "is incomplete; it lacks .*describe"),
    "other_name": ("mgdask:Coordination", "has family='coordination'; the entry point must"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_entry_point_names_its_package(name, tmp_path, monkeypatch):
    value, words = BAD[name]
    describe_distribution(tmp_path, "broken-extras", {name: value})
    monkeypatch.syspath_prepend(tmp_path)
    assert make_feature("coordination", {}) == mgdask.Coordination()  # others are not disturbed
    with pytest.raises(ParameterError, match=rf"package broken-extras.*{words}"):
        make_feature(name, {})
    with pytest.raises(
        ParameterError, match=rf"there is no feature 'nonsense'\..* The families are .*{name}"
    ):
        make_feature("nonsense", {})


def test_a_clash_names_all_packages(tmp_path, monkeypatch):
    describe_distribution(tmp_path, "one-extras", {"soap": "mgdask:SOAP", "twice": "mgdask:Motifs"})
    describe_distribution(tmp_path, "two-extras", {"twice": "mgdask:Motifs"})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ParameterError, match=r"'soap' is provided by .*: mgdask, one-extras"):
        make_feature("soap", {"r_cut": 4, "n_max": 2, "l_max": 1}, ["Cu"])
    with pytest.raises(ParameterError, match=r"'twice' is provided by .*: one-extras, two-extras"):
        make_feature("twice", {})
    assert make_feature("motifs", {}) == mgdask.Motifs()


# ------------------------------------------------------------------------------ parameters
def test_feature_from_is_make_feature():
    assert feature_from is make_feature


@pytest.mark.parametrize("name", sorted(FEATURES))
def test_json_schema_describes_every_parameter(name):
    kind = FEATURES[name]
    schema = json.loads(json.dumps(kind.json_schema()))
    parameters = [item for item in kind.__dataclass_fields__.values() if item.init]
    names = [item.name for item in parameters if item._field_type.name == "_FIELD"]
    assert sorted(schema["properties"]) == sorted(names)
    assert not schema["additionalProperties"]
    assert all(entry["description"] for entry in schema["properties"].values())
    assert schema["description"].endswith(".")


def test_json_schema_of_a_third_party_feature():
    schema = Shell.json_schema()
    assert schema["properties"]["width"] == {
        "default": 1.0,
        "description": "Width in Å.",
        "title": "Width",
        "type": "number",
    }


@feature_dataclass
class Shell(mgdask.FrameFeature):
    """Neighbors in a shell.

    Parameters
    ----------
    width
        Width in Å.
    """

    width: float = 1.0
    family: ClassVar[str] = "shell"
    long_name: ClassVar[str] = "shell"
    citation: ClassVar[str] = "none"
    labels = ("n",)
    prepared: ClassVar[int] = 0

    @property
    def neighborhood(self):
        return (CutoffNeighbors(3.0 + self.width),)

    def footprint(self, n_atoms, n_centers):
        return 0

    def cost(self, n_centers):
        return 0.0

    def describe(self, environments, centers, out):
        near = environments.neighbors(3.0 + self.width, centers)
        out[:, 0] = near.last - near.first
        return {}


def test_a_feature_is_a_value():
    feature = Shell(width=2)
    assert feature == Shell(2.0)
    assert hash(feature) == hash(Shell(2.0))
    assert feature.parameters() == {"width": 2.0}
    again = pickle.loads(pickle.dumps(feature.named("other")))
    assert again == feature
    assert again.name == "other"
    with pytest.raises(AttributeError):
        feature.width = 3.0
    assert MediumRange(feature).parameters()["feature"] == {"shell": {"width": 2.0}}


def test_a_feature_of_a_notebook_travels_to_workers():
    cloudpickle = pytest.importorskip("cloudpickle")
    space: dict = {"__name__": "__main__"}
    exec(PACKAGE, space)
    text = cloudpickle.dumps(space["MeanDistance"](cutoff=3.0).named("x"))
    again = pickle.loads(text)
    assert (again.name, again.cutoff) == ("x", 3.0)
    with pytest.raises(ParameterError, match="cutoff='wide'"):
        type(again)(cutoff="wide")


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((), {"width": "wide"}, "Shell: width='wide' is not a number"),
        (("wide",), {}, "Shell: width='wide'"),
    ],
)
def test_values_that_are_not_allowed(arguments, options, words):
    with pytest.raises(ParameterError, match=words):
        Shell(*arguments, **options)


def test_calls_that_do_not_fit():
    with pytest.raises(TypeError, match="Shell: unexpected argument 'breadth'"):
        Shell(breadth=1.0)
    with pytest.raises(TypeError, match="SOAP: missing argument 'r_cut'"):
        mgdask.SOAP(species=("Cu",))
    with pytest.raises(TypeError, match="Shell: too many positional"):
        Shell(1.0, 2.0)


# ------------------------------------------------------------------------------- old stores
def test_digests_are_those_of_version_0_1():
    """Recorded with version 0.1: a store begun with it is continued."""
    soap = mgdask.SOAP(species=("Cu", "Zr"), r_cut=4, n_max=3, l_max=2, sigma=0.5)
    features = (
        soap,
        Interstice(radii={"Zr": 1.6, "Cu": 1.28}),
        MediumRange(Interstice(), statistics=("mean",)).named("averaged"),
        mgdask.SymmetryFunctions(species=("Zr", "Cu")),
        mgdask.NonAffine(cutoff={"Zr-Cu": 3.5, "Cu-Cu": 3, "Zr-Zr": 4}),
    )
    axis = FrameAxis(np.arange(3.0), np.zeros(3, dtype=np.int64))
    plan = Plan("s", "o", "c", features, 100, np.arange(3), np.arange(100), {}, axis)
    assert plan.digest == PLAN_DIGEST
    lags = mgdask.LagDisplacement(lags=[1, 2], origins=[0, 5])
    assert digest([lags.name, lags.parameters()]) == LAG_DIGEST


def test_a_later_parameter_is_recorded_only_if_it_is_given():
    """``MeanDistance`` of version 2 has one parameter more; stores of version 1 are continued."""

    @feature_dataclass
    class First(Shell):
        pass

    @feature_dataclass
    class Second(Shell):
        power: float = 1.0
        later_parameters = ("power",)

    assert Second().parameters() == First().parameters()
    assert Second(power=2.0).parameters() == {**First().parameters(), "power": 2.0}
    assert MediumRange(Second()).parameters() == MediumRange(First()).parameters()
    assert "power=2" in Second(power=2.0).summary()


PLAN_DIGEST = "2c04560a2440db3bf3a4a66d5103b4d40dd9b05aa70ba89ddccbefdea711fac2"
LAG_DIGEST = "22775ac2fddcdd0559846be6162dad393ebdf68545241d6c4c862faee4d0c6dc"
