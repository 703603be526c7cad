"""Use of a dictionary: the naive twin, symmetry, every way alike, refusals, memory."""

from __future__ import annotations

import functools
import json
import pickle
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import mgdask
from mgdask.errors import ParameterError, PlanError, StoreError
from mgdask.features import LocalEnvironment, compute_features, local_environment, make_feature
from mgdask.features.recipe import gather_features
from mgdask.pipelines.featurize import plan as plan_module
from mgdask.store import layout
from mgdask.store.attributes import decode
from mgdask.store.failures import SourceChangedError
from mgdask.store.manifest import Manifest
from tests.conftest import threads_client
from tests.dictionaries import write_dictionary
from tests.forked import run
from tests.pipelines.test_featurize import files
from tests.reference import local_environment as reference
from tests.reference import soap as reference_soap

SMALL = mgdask.SOAP(species=("Cu", "Zr"), r_cut=3.5, n_max=3, l_max=2, sigma=0.5, rbf="polynomial")
CELL = np.array([[9.1, 0.0, 0.0], [2.3, 8.4, 0.0], [-1.2, 1.9, 8.3]])
PERIODIC = (True, True, True)
INVENTED = np.tile([29, 40], 4)


def crowd(n=24, seed=5):
    rng = np.random.default_rng(seed)
    return rng.random((n, 3)) @ CELL, CELL, rng.choice([29, 40], n)


@functools.cache
def naive_spectra(seed):
    position, cell, numbers = crowd(seed=seed)

    def radial(r):
        return reference_soap.polynomial_radial(r, 3.5, 3, 2, 0.5, nodes=100)

    return reference_soap.soap(position, cell, numbers, (29, 40), 3.5, 3, 2, 0.5, radial)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A dictionary of some atoms of a crowd, by whether it is divided by species.

    The species of its entries are invented, because those of the atoms would change
    nothing: atoms of other species are never the most similar ones.
    """
    position, cell, numbers = crowd()
    pick = np.arange(0, 24, 3)
    vectors = SMALL.compute(position, cell, numbers, pick)
    folder = tmp_path_factory.mktemp("small")
    return {
        split: write_dictionary(
            folder / f"{split}.zarr", SMALL, vectors, INVENTED, per_species=split
        )
        for split in (False, True)
    }


@pytest.fixture(scope="module")
def ules(glass_store, tmp_path_factory):
    """A dictionary of atoms of the last frame of the glass."""
    ds = mgdask.open_store(glass_store).isel(frame=-1)
    pick = np.arange(0, 2000, 40)
    soap = replace(SMALL, r_cut=4.0)
    vectors = soap.compute(ds.position.values, ds.cell.values, ds.species.values, pick)
    path = tmp_path_factory.mktemp("ules") / "ules.zarr"
    return write_dictionary(path, soap, vectors, ds.species.values[pick], threshold=0.9)


# ------------------------------------------------------------------------ naive twins
@pytest.mark.parametrize("split", [False, True])
def test_entries_equal_the_twin(small, split):
    position, cell, numbers = crowd(seed=6)
    entries = reference.unit(naive_spectra(5))[::3]
    groups = (numbers, INVENTED) if split else (None, None)
    entry, similarity = reference.most_similar(naive_spectra(6), entries, *groups)
    found = LocalEnvironment(small[split]).compute(position, cell, numbers)
    assert found[:, 0].tolist() == entry.tolist()
    np.testing.assert_allclose(found[:, 1], similarity, rtol=0, atol=1e-8)
    below = similarity < 0.84
    assert 0 < below.sum() < len(below)
    fractions = LocalEnvironment(small[split], per="frame").compute(position, cell, numbers)
    assert fractions.tolist() == reference.fractions(entry, 8, 24).tolist()
    omit = {"unmatched": "omit"}
    left = LocalEnvironment(small[split], **omit).compute(position, cell, numbers)
    assert np.isnan(left[:, 0]).tolist() == below.tolist()
    assert left[~below, 0].tolist() == entry[~below].tolist()
    assert left[:, 1].tolist() == found[:, 1].tolist()
    some = LocalEnvironment(small[split], per="frame", **omit).compute(position, cell, numbers)
    assert some.tolist() == reference.fractions(entry[~below], 8, 24).tolist()
    for feature in (LocalEnvironment(small[split], per=per) for per in ("atom", "frame")):
        _, (flagged,) = compute_features(
            (feature,), position[None], cell[None], numbers, np.arange(24), PERIODIC
        )
        assert flagged == {"below_threshold": below.sum()}
    if split:
        other = LocalEnvironment(small[False]).compute(position, cell, numbers)
        assert (found[:, 1] <= other[:, 1]).all()
        assert (found[:, 0] != other[:, 0]).any()  # the groups did something


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize(
    ("weighting", "exponent", "power"),
    [("soft", None, 64), ("soft", 1000, 1000), ("kernel", None, 1), ("kernel", 4, 4)],
)
def test_weights_equal_the_twin(small, split, weighting, exponent, power, monkeypatch):
    entries = reference.unit(naive_spectra(5))[::3]
    crowded = crowd(seed=6)
    feature = LocalEnvironment(small[split], per="frame", weighting=weighting, exponent=exponent)
    assert feature.exponent == power
    found = feature.compute(*crowded)
    groups = (crowded[2], INVENTED) if split else (None, None)
    want = reference.weights(naive_spectra(6), entries, power, weighting == "soft", *groups)
    np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-30)
    assert (weighting == "soft") == (found.sum() == pytest.approx(1.0))
    # the same bits for any size of the batches
    for size in (1, 3, 7, 24):
        monkeypatch.setattr(local_environment, "BATCH", size)
        assert feature.compute(*crowded).tobytes() == found.tobytes()
    if power == 1000:  # nearly the hard assignment
        hard = LocalEnvironment(small[split], per="frame").compute(*crowded)
        assert np.abs(found - hard).max() < 0.1


@pytest.mark.parametrize("exponent", [1, 3])
def test_weights_of_the_matched_atoms_alone(small, exponent):
    crowded = crowd(seed=6)
    options = {"per": "frame", "weighting": "kernel", "exponent": exponent}
    similarity = LocalEnvironment(small[False]).compute(*crowded)[:, 1]
    atoms = np.flatnonzero(similarity >= 0.84)
    found = LocalEnvironment(small[False], unmatched="omit", **options).compute(*crowded)
    some = LocalEnvironment(small[False], **options).compute(*crowded, centers=atoms)
    np.testing.assert_allclose(found * 24, some * len(atoms), rtol=1e-14)


def test_own_atoms_are_their_entries_and_a_tie_takes_the_first(small, tmp_path):
    position, cell, numbers = crowd()
    pick = np.arange(0, 24, 3)
    found = LocalEnvironment(small[False]).compute(position, cell, numbers, pick)
    assert found.tolist() == [[k, 1.0] for k in range(8)]
    vectors = SMALL.compute(position, cell, numbers, pick)
    twice = write_dictionary(
        tmp_path / "t.zarr", SMALL, np.vstack([vectors, vectors]), np.tile(numbers[pick], 2)
    )
    again = LocalEnvironment(twice).compute(position, cell, numbers, pick)
    assert again.tolist() == found.tolist()


def test_the_threshold_itself_is_similar(tmp_path):
    """Two spectra whose similarity is exactly the threshold, and one beyond it."""
    position, cell, numbers = crowd()
    p, q = reference.unit(SMALL.compute(position, cell, numbers, [0, 3]))
    similarity = LocalEnvironment(
        write_dictionary(tmp_path / "a.zarr", SMALL, q[None], [29])
    ).compute(position, cell, numbers, [0])[0, 1]
    assert similarity == pytest.approx(reference.similarity(p, q), abs=1e-12)
    for k, (threshold, below) in enumerate(
        [(similarity - 1e-12, False), (similarity + 1e-12, True)]
    ):
        path = write_dictionary(tmp_path / f"{k}.zarr", SMALL, q[None], [29], threshold=threshold)
        feature = LocalEnvironment(path, unmatched="omit")
        assert np.isnan(feature.compute(position, cell, numbers, [0])[0, 0]) == below


# --------------------------------------------------------------------------- symmetry
def test_barcode_and_symmetry(small):
    position, cell, numbers = crowd(seed=7)
    feature = LocalEnvironment(small[False], per="frame")
    before = feature.compute(position, cell, numbers)
    assert before.sum() == pytest.approx(1.0)
    turn = Rotation.random(rng=np.random.default_rng(3)).as_matrix()
    order = np.random.default_rng(4).permutation(24)
    for moved in (
        (position @ turn, cell @ turn, numbers),
        (position * [1.0, 1.0, -1.0], cell * [1.0, 1.0, -1.0], numbers),
        (position + [1.0, 2.0, 3.0], cell, numbers),
        (position[order], cell, numbers[order]),
    ):
        assert feature.compute(*moved).tolist() == before.tolist()
    swapped = np.where(numbers == 29, 40, 29)
    assert feature.compute(position, cell, swapped).tolist() != before.tolist()


def test_samples_of_other_size_and_composition(small):
    for n, kinds in ((7, [29, 40]), (60, [40]), (1, [29])):
        rng = np.random.default_rng(n)
        position, numbers = rng.random((n, 3)) @ CELL, rng.choice(kinds, n)
        fractions = LocalEnvironment(small[False], per="frame").compute(position, CELL, numbers)
        rows = LocalEnvironment(small[False]).compute(position, CELL, numbers)
        assert fractions.tolist() == reference.fractions(rows[:, 0], 8, n).tolist()
        assert fractions.sum() == pytest.approx(1.0)


# ------------------------------------------------------------------ every way alike
def both(ules):
    return [
        LocalEnvironment(ules),
        LocalEnvironment(ules, per="frame").named("barcode"),
        LocalEnvironment(ules, per="frame", unmatched="omit").named("sure"),
        LocalEnvironment(ules, per="frame", weighting="soft").named("soft"),
    ]


@pytest.fixture(scope="module")
def expected(glass_store, ules):
    ds = mgdask.open_store(glass_store).isel(frame=[0, 2])
    arguments = ds.position.values, ds.cell.values, ds.species.values
    return {
        feature.name: np.array(
            [feature.compute(r, cell, arguments[2]) for r, cell in zip(*arguments[:2], strict=True)]
        )
        for feature in both(ules)
    }


@pytest.mark.parametrize("way", ["processes", "threads", "lazy"])
def test_every_way_gives_the_same_bits(
    glass_store, ules, tmp_path, monkeypatch, expected, way, client
):
    features = both(ules) if way != "threads" else both(ules)[1:]
    monkeypatch.setattr(plan_module, "MAX_BLOCK", 400 if way == "threads" else 2**12)
    monkeypatch.setattr(layout, "CHUNK", 2**12)
    if way == "lazy":
        ds = mgdask.open_store(glass_store)
        out = mgdask.featurize(ds.isel(frame=[0, 2]), features).compute(scheduler="threads")
    else:
        plan = mgdask.plan(glass_store, features, out=tmp_path / "f.zarr", frames=[0, 2])
        if way == "threads":
            assert len(plan.blocks) == 2
            with threads_client(3) as here:
                report = mgdask.run(plan, here, progress=False)
        else:
            assert len(plan.blocks) == 2 * 8 + 1
            report = mgdask.run(plan, client, progress=False)
        assert report.excess_memory == 0
        out = mgdask.open_store(tmp_path / "f.zarr")
        below = {"below_threshold": int((expected["local_environment"][..., 1] < 0.9).sum())}
        assert 0 < below["below_threshold"] < 4000
        for name in out.data_vars:
            assert decode(out[name].attrs, "flagged_atoms") == below
            assert out[name].attrs["threshold"] == 0.9
            assert decode(out[name].attrs, "parameters")["content"] == features[0].content
    for feature in features:
        assert out[feature.name].values.tobytes() == expected[feature.name].tobytes()
    assert out.barcode_feature.values.tolist()[:2] == ["ULE 0", "ULE 1"]
    species = mgdask.open_store(glass_store).species.values[::40]
    assert out.barcode_species.values.tolist() == species.tolist()


def test_some_centers_have_their_own_fractions(glass_store, ules, expected):
    ds = mgdask.open_store(glass_store).isel(frame=[0])
    found = mgdask.featurize(ds, both(ules)[1], centers="Zr").barcode.values[0]
    zr = ds.species.values == 40
    want = reference.fractions(expected["local_environment"][0, zr, 0], 50, zr.sum())
    assert found.tolist() == want.tolist()


def test_command_line_and_recipe(ules, tmp_path):
    text = f"local_environment:dictionary={ules},per=frame,unmatched=omit"
    want = LocalEnvironment(ules, per="frame", unmatched="omit")
    assert gather_features([text], [], None, ["Cu", "Zr"]) == [want]
    soap = json.dumps({"soap": want.feature.parameters()})
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"features:\n  - local_environment: {{dictionary: {ules}, per: frame, unmatched: omit, "
        f"feature: {soap}}}\n"
    )
    assert gather_features([], [], str(recipe), ["Cu", "Zr"]) == [want]
    assert make_feature(want.family, json.loads(json.dumps(want.parameters()))) == want


# ----------------------------------------------------------------------------- memory
def test_a_dictionary_counts_once_per_process(glass_store, ules, tmp_path):
    soap, features = replace(SMALL, r_cut=4.0), both(ules)
    size = 8 * 50 * soap.n_columns
    for threads in (1, 4):
        plan = mgdask.plan(glass_store, features, out=tmp_path / "f.zarr", threads=threads)
        # once for all features
        assert size < plan.memory.shared < 7 * size
        terms = plan.memory.baseline + plan.memory.shared + threads * plan.memory.per_thread
        assert plan.memory.total == terms
    assert "for all threads" in str(plan)
    assert "for all threads" not in str(mgdask.plan(glass_store, soap, out=tmp_path / "g.zarr"))
    huge = replace(features[0]._dictionary, n_entries=10**7)
    object.__setattr__(features[0], "_facts", huge)
    with pytest.raises(PlanError, match="The largest term is what the features keep for all thr"):
        mgdask.plan(glass_store, features[0], out=tmp_path / "f.zarr")


def test_tasks_carry_no_vectors_and_a_process_loads_them_once(small, monkeypatch):
    loaded = []
    make = local_environment.make_index
    monkeypatch.setattr(local_environment, "_INDICES", local_environment.OrderedDict())
    monkeypatch.setattr(
        local_environment,
        "make_index",
        lambda *given, **options: loaded.append(1) or make(*given, **options),
    )
    feature = LocalEnvironment(small[False])
    assert not loaded
    for _ in range(2):
        sent = pickle.dumps(feature)
        assert len(sent) < 2000
        copy = pickle.loads(sent)
        copy.compute(*crowd())
        assert copy == feature
        assert len(pickle.dumps(copy)) == len(sent)
    LocalEnvironment(small[False], per="frame").compute(*crowd())
    assert loaded == [1]


def test_blocks_take_seconds_whatever_the_size_of_the_output(glass_store, ules, tmp_path):
    def blocks(**options):
        feature = LocalEnvironment(ules, **options)
        plan = mgdask.plan(glass_store, feature, out=tmp_path / "f.zarr")
        return {len(block.frames) * block.n_rows for block in plan.blocks}

    assert blocks() == {8 * 2000} == blocks(per="frame")
    assert blocks(per="frame", weighting="soft") == {4 * 2000}
    assert blocks(per="frame", weighting="kernel") == {8 * 2000}
    soft = LocalEnvironment(ules, per="frame", weighting="soft")
    lazy = mgdask.featurize(mgdask.open_store(glass_store), soft)
    assert lazy[soft.name].chunks[0] == (1,) * 8


def test_cost_grows_with_the_dictionary(small):
    feature = LocalEnvironment(small[False])
    costs = []
    for n in (1, 1000, 100_000):
        object.__setattr__(feature, "_facts", replace(feature._dictionary, n_entries=n))
        costs.append(feature.cost_at(0.06))
    assert SMALL.cost_at(0.06) < costs[0] < costs[1] < costs[2]
    assert costs[2] > 10 * costs[0]


# --------------------------------------------------------------------------- refusals
def test_species_that_the_dictionary_does_not_know(small):
    position, cell, numbers = crowd()
    feature = LocalEnvironment(small[False])
    numbers[3] = 13
    with pytest.raises(
        ParameterError, match=r"False.zarr was built for Cu, Zr.* also contain Al\."
    ):
        feature.compute(position, cell, numbers)


def test_a_divided_dictionary_without_entries_of_a_species(tmp_path):
    position, cell, numbers = crowd()
    copper = np.flatnonzero(numbers == 29)
    vectors = SMALL.compute(position, cell, numbers, copper)
    path = write_dictionary(tmp_path / "c.zarr", SMALL, vectors, numbers[copper], per_species=True)
    feature = LocalEnvironment(path)
    with pytest.raises(ParameterError, match=r"per_species=True.* entries of Cu, but none of Zr"):
        feature.compute(position, cell, numbers)
    assert np.isfinite(feature.compute(position, cell, np.full(24, 29))).all()


def test_other_feature_than_asked(small):
    assert LocalEnvironment(small[False], feature=SMALL) == LocalEnvironment(small[False])
    words = r"SOAP\(species.* is required: r_cut is 3.5, not 4.0, n_max is 3, not 4\. Leave"
    with pytest.raises(ParameterError, match=words):
        LocalEnvironment(small[False], feature=replace(SMALL, r_cut=4.0, n_max=4))
    with pytest.raises(ParameterError, match="soap is not coordination"):
        LocalEnvironment(small[False], feature=mgdask.Coordination())


def test_a_dictionary_that_changed(small, glass_store, tmp_path):
    path = shutil.copytree(small[False], tmp_path / "d.zarr")
    feature = LocalEnvironment(path)
    plan = mgdask.plan(glass_store, feature, out=tmp_path / "f.zarr", frames=[0])
    shutil.rmtree(path)
    shutil.copytree(small[True], path)
    with pytest.raises(ParameterError, match=r"has changed: .* Restore the dictionary"):
        LocalEnvironment(path, content=feature.content)
    with pytest.raises(SourceChangedError, match=r"d.zarr has changed since the feature was made"):
        mgdask.run(plan, progress=False)
    with pytest.raises(SourceChangedError, match=r"d.zarr has changed since the feature was made"):
        pickle.loads(pickle.dumps(feature)).check_inputs()
    # another content is another plan
    other = mgdask.plan(glass_store, LocalEnvironment(path), out=tmp_path / "f.zarr", frames=[0])
    assert other.digest != plan.digest


def test_what_is_not_a_finished_dictionary(small, glass_store, tmp_path):
    with pytest.raises(StoreError, match="holds a trajectory, not a dictionary"):
        LocalEnvironment(glass_store)
    with pytest.raises(StoreError, match=r"none.zarr"):
        LocalEnvironment(tmp_path / "none.zarr")
    path = shutil.copytree(small[False], tmp_path / "d.zarr")
    (path / "manifest" / "complete.json").unlink()
    with pytest.raises(StoreError, match="is not finished"):
        LocalEnvironment(path)


@pytest.mark.parametrize(
    "options",
    [
        {"per": "sample"},
        {"unmatched": "drop"},
        {"threshold": 1},
        {"weighting": "soft"},
        {"exponent": 3, "per": "frame"},
        {"exponent": 0, "per": "frame", "weighting": "kernel"},
    ],
)
def test_parameters_that_are_not_allowed(small, options):
    with pytest.raises((ParameterError, TypeError), match=next(iter(options))):
        LocalEnvironment(small[False], **options)


# ---------------------------------------------------------------------------- kill -9
KILLED = """
import os, signal, sys
import mgdask
from mgdask.pipelines.featurize import plan as plan_module
from mgdask.store import layout
from mgdask.store.manifest import Manifest

store, ules, out, at = sys.argv[1:]
plan_module.MAX_BLOCK = layout.CHUNK = 2**13
left, append = [int(at)], Manifest.append

def dies(self, record):
    if self.store.name == os.path.basename(out):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    append(self, record)

Manifest.append = dies
features = [
    mgdask.LocalEnvironment(ules),
    mgdask.LocalEnvironment(ules, per="frame", weighting="soft").named("soft"),
]
print(mgdask.run(mgdask.plan(store, features, out=out, frames=[0, 2]), progress=False))
"""


def test_a_killed_run_is_resumed_byte_for_byte(glass_store, ules, tmp_path):
    """Killed after a shard was written, and before its record was."""
    whole, killed = tmp_path / "whole.zarr", tmp_path / "killed.zarr"
    done = run(KILLED, glass_store, ules, whole, 0)
    assert done.returncode == 0, done.stderr
    assert run(KILLED, glass_store, ules, killed, 4).returncode == -signal.SIGKILL
    kept = len(Manifest(killed).records())
    assert 1 <= kept < 9
    again = run(KILLED, glass_store, ules, killed, 0)
    assert f"{kept} were done before" in again.stdout, again.stderr
    assert files(killed) == files(whole)
