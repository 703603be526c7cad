"""Answers in words: columns, atoms, origin, missing frames, differences."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
import xarray as xr

import mgdask
from mgdask.errors import ParameterError
from mgdask.features.recipe import gather_features
from tests.conftest import threads_client, write_dump
from tests.explore.test_accessor import described, small, trajectory

FEATURES = (
    mgdask.NonAffine(cutoff=4.2),
    mgdask.BondOrder(degrees=(4, 6), quantities=("q",), neighbors="cutoff", cutoff=3.5),
    mgdask.Coordination(cutoff=3.4),
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A trajectory store of 60 atoms whose ids are 10, 12, ..., and its features."""
    folder = tmp_path_factory.mktemp("facts")
    rng = np.random.default_rng(11)
    grid = np.stack(np.meshgrid(*[range(4)] * 3), axis=-1).reshape(-1, 3)[:60] * 2.5
    frames = []
    for k in range(3):
        r = (grid + rng.uniform(-0.3, 0.3, grid.shape)) % 10
        frames.append((1000 * k, [(10 + 2 * a, 1 + a % 2, *r[a], k, 0, 0) for a in range(60)]))
    dump = write_dump(folder / "run.dump", frames, columns="id type x y z ix iy iz")
    trajectory, features = folder / "t.zarr", folder / "f.zarr"
    with threads_client() as client:
        mgdask.ingest(dump, trajectory, species={1: "Cu", 2: "Zr"}, timestep=0.001, client=client)
        mgdask.run(mgdask.plan(trajectory, FEATURES, out=features), client=client)
    return trajectory, features


def test_columns_are_counted_over_all_features(stores):
    features = mgdask.open_store(stores[1])
    names = [
        (str(name), str(label))
        for name, array in features.data_vars.items()
        for label in array[array.dims[-1]].values
    ]
    for k, (variable, label) in enumerate(names):
        facts = features.mg.column(k)
        assert (facts.number, facts.variable, facts.label) == (k, variable, label)
    facts = features.mg.column("d2min")
    assert facts.units == "Å²"
    assert facts["reference"].startswith("Falk, Langer, Phys. Rev. E 57, 7192 (1998)")
    assert "cutoff=4.2" in facts["parameters"]
    assert features.mg.column("q6").units == "1"
    assert features.bond_order.mg.column("q6")["variable"] == "bond_order, column 1 of 2"
    assert features.mg.column(1, "bond_order").label == "q6"
    assert features.mg.column(-1).number == len(names) - 1
    for which, words in (
        (len(names), f"there are {len(names)} columns, from 0 to {len(names) - 1}: bond_order 2"),
        ("q66", "no column 'q66'; did you mean 'q6'"),
    ):
        with pytest.raises(ParameterError, match=words):
            features.mg.column(which)
    with pytest.raises(ParameterError, match="no variable 'soap'; the variables are bond_order"):
        features.mg.column(0, "soap")
    both = features.assign(again=features.bond_order)
    with pytest.raises(ParameterError, match="2 variables have a column 'q4': bond_order, again"):
        both.mg.column("q4")


def small_labels():
    """A trajectory with a run whose name looks like markup."""
    return trajectory(runs=("<script>",) * 4, steps=(0, 10, 20, 30))


def test_lazy_features_have_the_same_columns(stores):
    stored = mgdask.open_store(stores[1])
    lazy = mgdask.featurize(mgdask.open_store(stores[0]), FEATURES)
    for label in ("d2min", "q4"):
        here, there = stored.mg.column(label), lazy.mg.column(label)
        assert (here["parameters"], here["unit"]) == (there["parameters"], there["unit"])


def test_everything_about_an_atom(stores):
    ds, features = map(mgdask.open_store, stores)
    facts = ds.mg.join(features).mg.atom(14, radius=3.4)
    row, last = 2, ds.isel(frame=-1)
    assert facts["element"] == "Cu"
    r = last.position.values
    delta = r - r[row]
    distance = np.linalg.norm(delta - 10 * np.round(delta / 10), axis=1)
    near = np.flatnonzero((distance < 3.4) & (distance > 0))
    near = near[np.argsort(distance[near])]
    assert facts.neighbors.index.tolist() == last.atom_id.values[near].tolist()
    assert facts.neighbors.distance.to_numpy() == pytest.approx(distance[near], abs=1e-9)
    first = ds.isel(frame=0)
    moved = r[row] - first.position.values[row] + [20.0, 0, 0]  # two images later
    assert facts["displacement"].startswith(f"{np.linalg.norm(moved):.3f} Å (unwrapped")
    value = float(features.nonaffine.isel(frame=2, atom=row, nonaffine_feature=0))
    assert facts.values.loc[("nonaffine", "d2min"), "2"] == value
    assert facts.values.loc[("nonaffine", "d2min"), "units"] == "Å²"
    assert facts["nonaffine: d2min"].endswith(f"→ {value:.5g} Å²")
    assert len(facts.values) == 4 + 2 + features.sizes["coordination_feature"]
    with pytest.raises(ParameterError, match="no atom with id 11; the 60 atoms have ids from 10"):
        ds.mg.atom(11)
    # of one frame, and of features alone
    assert "→" not in str(ds.mg.frame(0).mg.atom(14))
    assert "position" not in str(features.mg.atom(14))


def test_made_with_gives_the_command_back(stores):
    ds, features = map(mgdask.open_store, stores)
    made = features.mg.made_with()
    words = shlex.split(made.command)
    assert words[:3] == ["mgdask", "featurize", str(stores[0])]
    texts = [words[k + 1] for k, word in enumerate(words) if word == "--feature"]
    again = gather_features(texts, [], None, ["Cu", "Zr"])
    assert [each.parameters() for each in again] == [each.parameters() for each in FEATURES]
    assert made["content"] == mgdask.open_store(stores[1]).mg.made_with()["content"]
    assert f"mgdask {mgdask.__version__}" in made["versions"]
    assert "Falk, Langer" in made["references"]
    made = ds.mg.made_with()
    assert made["kind"] == "trajectory"
    assert made["file"].startswith("run.dump (lammps, ")
    assert made.command == ""
    assert "selected: 1 frames, 60 atoms" in ds.isel(frame=[1]).mg.made_with()["size"]


def steps(values, run=None):
    """A Dataset of frames at these steps."""
    coords = {"step": ("frame", list(values))}
    if run is not None:
        coords["run"] = ("frame", list(run))
    return xr.Dataset(coords=coords)


def test_missing_frames_by_run():
    given = [0, 10, 20, 50, 60, 80] + [0, 5, 10]
    answer = steps(given, "aaaaaabbb").mg.missing_frames()
    assert answer.steps == {"a": [30, 40, 70]}
    assert answer.title == "3 frames are missing"
    assert answer.table.n_missing.tolist() == [2, 1]
    assert "every 10; missing: 2 between 20 and 50, 1 between 60 and 80" in answer["run a"]
    assert answer["run b"] == "3 frames, step 0 to 10, every 5"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([0, 1, 3, 7, 15, 31], "unevenly spaced by 1 to 16: nothing can be said"),
        ([7], "1 frame, step 7"),
        ([0, 10, 20, 24, 30], "every 10; 2 other spacings, the first of 4 after step 20"),
        ([5, 5], "which do not increase"),
    ],
)
def test_uneven_frames_are_no_gaps(given, words):
    answer = steps(given).mg.missing_frames()
    assert answer.title == "no frame is missing"
    assert words in answer["frames"]
    assert not len(answer.table)


def test_missing_frames_repeat_what_the_audit_says(tmp_path):
    rows = [(a + 1, 1, *np.random.default_rng(a).uniform(0, 10, 3)) for a in range(3)]
    path = tmp_path / "cut.dump"
    write_dump(path, [(10 * k, rows) for k in range(4)])
    text = path.read_text().splitlines()
    path.write_text("\n".join(text[:-1]) + "\n")  # the last frame is cut short
    mgdask.ingest(str(path), tmp_path / "t.zarr", species={1: "Cu"})
    answer = mgdask.open_store(tmp_path / "t.zarr").mg.missing_frames()
    assert "the last frame of the file is left out" in answer["audit"]
    part = mgdask.open_store(tmp_path / "t.zarr").isel(frame=[0, 2]).mg.missing_frames()
    assert part.notes[0].startswith("These are 2 selected frames of the 3 in ")


def test_equal_stores_do_not_differ(stores):
    features = mgdask.open_store(stores[1])
    found = features.mg.differs_from(stores[1])
    assert not found
    assert found.equal
    assert found.title == "the values are equal"
    assert sum(line.n_values for line in found.compared) == sum(
        array.size for array in features.data_vars.values()
    )
    lazy = mgdask.featurize(mgdask.open_store(stores[0]), FEATURES)
    found = features.mg.differs_from(lazy.isel(frame=[2, 0, 1], atom=slice(None, None, -1)))
    assert not found
    assert found["step"] == "the same values in another order"


def test_first_difference_and_largest_difference():
    ds = described(trajectory())
    other = ds.copy(deep=True)
    other.q[2, 1] += 0.5
    other.q[3, 0] -= 2.0
    other.q[0, 3] = np.nan
    ds.q[0, 3] = np.nan
    found = ds.mg.differs_from(other)
    assert found
    (line,) = found.compared
    assert (line.n_values, line.n_different, line.largest) == (16, 2, 2.0)
    assert line.first.startswith("frame 2, atom 4, q value: ")
    assert "2 of 16 values differ, by up to 2; the first is frame 2" in str(found)
    ds.q[1, 1] = np.nan
    assert ds.mg.differs_from(other).table.loc["q", "n_different"] == 3


def test_values_are_compared_in_parts(monkeypatch):
    ds = described(trajectory())
    other = ds.copy(deep=True)
    other.q[3, 2] += 1.0
    whole = ds.mg.differs_from(other)
    monkeypatch.setattr("mgdask.explore.differences.BATCH", 1)
    assert ds.mg.differs_from(other).compared == whole.compared


def test_differences_in_all_but_the_values():
    ds = described(trajectory())
    other = ds.isel(atom=[0, 1, 2], frame=[0, 1])
    other = other.assign(p=other.q * 2)
    other.q.attrs = {"parameters": {"cutoff": 3.0, "pair": [1, 2]}, "units": "Å"}
    ds.q.attrs = {"parameters": '{"cutoff": 3.5, "pair": [1, 2]}', "units": "1"}
    other["species"] = ("atom", [29, 40, 29])
    found = ds.mg.differs_from(other)
    assert found["number of atoms"] == "4 here, 3 there"
    assert found["run"] == "b only here"
    assert found["atom_id"] == "8 only here"
    assert found["only there"] == "p"
    assert found["species"] == "that of 1 atoms differs, the first has id 6"
    assert found["q cutoff"] == "3.5 here, 3.0 there"
    assert "q pair" not in dict(found.rows)
    assert found["units of q"] == "1 here, Å there"
    assert found["equal"] == "q (6 values compared)"
    assert not found.equal
    apart = ds.assign_coords(step=("frame", [100, 200, 300, 400]))
    assert "no frames are in common" in ds.mg.differs_from(apart).notes[0]
    renamed = ds.assign_coords(q_feature=["other"])
    assert ds.mg.differs_from(renamed)["labels of q_feature"] == (
        "column 0 is 'value' here, 'other' there"
    )


def test_some_atoms_of_a_store_keep_their_neighbors(stores):
    ds = mgdask.open_store(stores[0])
    feature = mgdask.Coordination(cutoff=3.4)
    chosen = ds.isel(frame=[0, 2]).mg.species("Zr")
    rows = np.flatnonzero(ds.species.values == 40)
    expected = mgdask.featurize(ds.isel(frame=[0, 2]), feature, centers=rows)
    found = chosen.mg.features(feature)
    assert found.coordination.values.tolist() == expected.coordination.values.tolist()
    assert found.atom_id.equals(expected.atom_id)
    text = chosen.mg.features("coordination:cutoff=3.4")
    assert text.coordination.values.tolist() == expected.coordination.values.tolist()
    assert ds.mg.features(["coordination:cutoff=3.4", mgdask.BondOrder()]).sizes["atom"] == 60
    alone = chosen.mg.isolated().mg.features(feature)
    assert float(alone.coordination.sum()) < float(expected.coordination.sum())
    rdf = chosen.mg.rdf(r_max=4.0, bins=10)
    whole = ds.isel(frame=[0, 2]).mg.rdf(r_max=4.0, bins=10, centers="Zr")
    assert rdf.identical(whole)
    assert int(chosen.mg.rdf(r_max=4.0, bins=10, neighbors="Cu").n_neighbors.sum()) == 30


def test_a_store_that_changed_is_not_read_again(stores):
    ds = mgdask.open_store(stores[0]).mg.species("Zr")
    ds.attrs["mgdask_opened"] = ds.attrs["mgdask_opened"].replace('"content": "', '"content": "0')
    with pytest.raises(ParameterError, match="has changed since the Dataset was opened"):
        ds.mg.features("coordination")


def test_answers_are_text_and_tables():
    answer = small_labels().mg.missing_frames()
    assert repr(answer) == str(answer)
    assert str(answer) == "no frame is missing\n  run <script>  4 frames, step 0 to 30, every 10"
    html = answer._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<script>" not in html
    assert small().mg.atom(8)["element"] == "Cu"
