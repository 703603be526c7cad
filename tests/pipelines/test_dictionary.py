"""Dictionaries: the sequential twin, any cut of the work, interruptions at any moment, extension, refusals in words."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

import mgdask
from mgdask.errors import ParameterError, PlanError, RunError, StoreError
from mgdask.pipelines.dictionary import build as build_module
from mgdask.pipelines.dictionary import samples as samples_module
from mgdask.pipelines.dictionary import settle as settle_module
from mgdask.store import growing
from mgdask.store.dictionaries import read_dictionary
from mgdask.store.failures import SourceChangedError, StorageFullError
from mgdask.store.growing import GrowingEntries
from mgdask.store.manifest import Manifest
from tests.conftest import threads_client
from tests.forked import run
from tests.pipelines.test_unwrap import make_store
from tests.reference import leaders as naive

SOAP = mgdask.SOAP(species=("Cu", "Zr"), r_cut=3.4, n_max=3, l_max=2, sigma=0.5)
THRESHOLD = 0.96
N_ATOMS = 30


def glass_like(path, seed, n_frames, numbers=None):
    """A store of atoms on a lattice with noise, whose environments differ in each frame."""
    rng = np.random.default_rng(seed)
    sites = np.stack(np.meshgrid(*[np.arange(n) for n in (2, 3, 5)], indexing="ij"), -1)
    lattice = 2.6 * sites.reshape(-1, 3) + 0.3
    cell = np.diag(2.6 * np.array([2.0, 3.0, 5.0]))
    position = lattice + rng.uniform(0.0, 0.8, (n_frames, N_ATOMS, 3))
    numbers = rng.permutation(np.repeat([29, 40], N_ATOMS // 2)) if numbers is None else numbers
    return make_store(path, position, np.zeros(position.shape, np.int32), cell, numbers=numbers)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Paths of three samples."""
    folder = tmp_path_factory.mktemp("samples")
    return [glass_like(folder / f"{k}.zarr", k, n) for k, n in enumerate((5, 4, 3))]


def environments(stores, frames=slice(None)):
    """Unit vectors, species and places of all environments, through ``SOAP.compute`` frame by frame."""
    vectors, species, places = [], [], []
    for k, store in enumerate(stores):
        ds = mgdask.open_store(store)
        for f in np.arange(ds.sizes["frame"])[frames]:
            rows = SOAP.compute(ds.position[f].values, ds.cell[f].values, ds.species.values)
            vectors.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
            species += ds.species.values.tolist()
            places += [(k, int(f), int(i)) for i in ds.atom_id.values]
    return np.concatenate(vectors), species, places


@pytest.fixture(scope="module")
def twin(stores):
    """Environments, and the entries that the naive sequential algorithm finds."""
    vectors, species, places = environments(stores)
    return vectors, species, places, naive.leaders(vectors.tolist(), THRESHOLD)


def build(stores, out, **options):
    options = {"threshold": THRESHOLD, "progress": False, **options}
    return mgdask.build_dictionary(stores, SOAP, out=out, **options)


@pytest.fixture(scope="module")
def one_thread():
    """Client of one thread of this process."""
    with threads_client(default=False) as client:
        yield client


@pytest.fixture(scope="module")
def built(stores, one_thread, tmp_path_factory):
    """A dictionary that was built without interruption."""
    out = tmp_path_factory.mktemp("built") / "ules.zarr"
    build(stores, out, client=one_thread)
    return out


def contents(path):
    """Every file of a store, the manifest included."""
    root = Path(path)
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few atoms, so that there are many of them."""
    monkeypatch.setattr(settle_module, "FIRST_ROUND", 23)
    monkeypatch.setattr(settle_module, "BATCH", 13)
    monkeypatch.setattr(settle_module, "MAX_BLOCK", 71)
    monkeypatch.setattr(samples_module, "BATCH", 11)


# --------------------------------------------------------------------------------------- the sequential algorithm
def test_entries_are_those_of_the_sequential_twin(built, twin):
    vectors, species, places, expected = twin
    assert 40 < len(expected) < len(vectors) - 40  # both answers are common
    found = read_dictionary(built)
    assert found.order.tolist() == expected
    assert found.species.tolist() == [species[k] for k in expected]
    place = [found.source, found.frame, found.atom_id]
    assert list(zip(*map(np.ndarray.tolist, place), strict=True)) == [places[k] for k in expected]
    np.testing.assert_allclose(found.vectors(), vectors[expected], atol=1e-14)
    assert found.n_environments == len(vectors)
    assert found.threshold == THRESHOLD


def test_environments_of_different_species_may_be_kept_apart(stores, one_thread, tmp_path, twin):
    vectors, species, _, _ = twin
    out = tmp_path / "split.zarr"
    build(stores, out, threshold=0.0, per_species=True, client=one_thread)
    found = read_dictionary(out)
    assert found.order.tolist() == naive.leaders(vectors.tolist(), 0.0, species)
    assert found.order.tolist() != naive.leaders(vectors.tolist(), 0.0)
    assert found.groups.tolist() == found.species.tolist()


@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_the_cut_of_the_work_changes_no_byte(
    stores, built, tmp_path, small_blocks, monkeypatch, threads
):
    monkeypatch.setattr(settle_module, "BLOCKS_PER_THREAD", 2)
    with threads_client(threads, default=False) as client:
        report = build(stores, tmp_path / "u.zarr", memory="700MiB", client=client)
    assert contents(tmp_path / "u.zarr") == contents(built)
    assert report.n_blocks > 15
    assert report.n_environments == report.n_new == 12 * N_ATOMS


def test_two_processes_change_no_byte(stores, built, tmp_path, small_blocks, client):
    report = build(stores, tmp_path / "u.zarr", client=client)
    assert contents(tmp_path / "u.zarr") == contents(built)
    assert str(report).splitlines()[1].startswith("entries")
    assert report.peak_memory > 0
    assert report.cpu > 0


def test_thresholds_at_their_ends(stores, one_thread, tmp_path):
    """1 joins equal vectors only, and 0 joins all whose vectors have a positive product."""
    same = shutil.copytree(stores[2], tmp_path / "same.zarr")
    ds = mgdask.open_store(same)
    for threshold, n_entries in ((1.0, 2 * N_ATOMS), (0.0, 1)):
        out = tmp_path / f"{threshold}.zarr"
        build(same, out, threshold=threshold, frames=[0, 1], client=one_thread)
        assert read_dictionary(out).n_entries == n_entries
    position = np.concatenate([ds.position.values[:1]] * 2)  # the same frame twice
    twice = make_store(
        tmp_path / "twice.zarr",
        position,
        np.zeros(position.shape, np.int32),
        ds.cell.values[:2],
        numbers=ds.species.values,
    )
    build(twice, tmp_path / "2.zarr", threshold=1.0, client=one_thread)
    assert read_dictionary(tmp_path / "2.zarr").order.tolist() == list(range(N_ATOMS))


def test_some_frames(stores, one_thread, tmp_path):
    build(stores, tmp_path / "u.zarr", frames=slice(0, 3, 2), client=one_thread)
    found = read_dictionary(tmp_path / "u.zarr")
    vectors, _, places = environments(stores, slice(0, 3, 2))
    expected = naive.leaders(vectors.tolist(), THRESHOLD)
    assert found.order.tolist() == expected
    assert found.frame.tolist() == [places[k][1] for k in expected]
    assert [source.frames for source in found.sources] == ["0,2"] * 3


# ------------------------------------------------------------------------------------------------- interruptions
class Stop(BaseException):
    """Ends a build as if the process died: nothing of it handles this."""


def stop_at(monkeypatch, owner, name, at, *, after=False):
    """Let the call number ``at`` of a function not happen, or be the last thing that happens."""
    original, calls = getattr(owner, name), []

    def counted(*args, **options):
        calls.append(1)
        if len(calls) == at and not after:
            raise Stop
        result = original(*args, **options)
        if len(calls) == at:
            raise Stop
        return result

    monkeypatch.setattr(owner, name, counted)


MOMENTS = [
    pytest.param(build_module, "create_dictionary", 1, True, marks=pytest.mark.slow),
    pytest.param(GrowingEntries, "settle", 1, False, marks=pytest.mark.slow),
    pytest.param(GrowingEntries, "settle", 9, False, marks=pytest.mark.slow),
    pytest.param(GrowingEntries, "_publish", 3, False, marks=pytest.mark.slow),
    (Manifest, "append", 2, False),  # entries without a record
    (Manifest, "append", 5, True),
    pytest.param(build_module, "write_entries", 1, False, marks=pytest.mark.slow),
    (Manifest, "finish", 1, False),
    pytest.param(Manifest, "finish", 1, True, marks=pytest.mark.slow),
    (GrowingEntries, "remove", 1, False),
]


@pytest.mark.parametrize(("owner", "name", "at", "after"), MOMENTS)
def test_a_build_that_stops_continues_and_no_byte_differs(
    stores, built, one_thread, tmp_path, small_blocks, monkeypatch, owner, name, at, after
):
    out = tmp_path / "u.zarr"
    with monkeypatch.context() as patch:
        stop_at(patch, owner, name, at, after=after)
        with pytest.raises(Stop):
            build(stores, out, client=one_thread)
    settled = []
    original = GrowingEntries.settle
    monkeypatch.setattr(
        GrowingEntries, "settle", lambda self, *a: (settled.append(1), original(self, *a))[1]
    )
    report = build(stores, out, client=one_thread)
    assert contents(out) == contents(built)
    if name == "append" and at == 5:  # four blocks at least are not done again
        assert report.n_new < 12 * N_ATOMS - 4 * 5
    if name in ("write_entries", "finish", "remove"):
        assert not settled
        assert "nothing was left to do" in str(report)


KILLED = """
import os, signal, sys
from pathlib import Path
import mgdask
from mgdask.pipelines.dictionary import settle
from mgdask.store.growing import GrowingEntries
from tests.conftest import threads_client
from tests.pipelines import test_dictionary as t
settle.FIRST_ROUND, settle.BATCH, settle.MAX_BLOCK = 23, 13, 71
at, what = int(sys.argv[1]), sys.argv[2]
calls = []
def fsync(handle, original=os.fsync):
    calls.append(1)
    if len(calls) == at:
        os.kill(os.getpid(), signal.SIGKILL)
    original(handle)
os.fsync = fsync
stores = sys.argv[4:]
with threads_client(default=False) as client:
    if what == "build":
        t.build(stores, sys.argv[3], client=client)
    else:
        mgdask.extend_dictionary(sys.argv[3], stores, client=client, progress=False)
"""


@pytest.mark.parametrize(
    "at", [29, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3, 12, 55, 76))]
)
def test_a_killed_build_continues_and_no_byte_differs(stores, built, one_thread, tmp_path, at):
    out = tmp_path / "u.zarr"
    assert run(KILLED, at, "build", out, *stores).returncode == -signal.SIGKILL
    if out.exists():
        with pytest.raises(StoreError, match="is not finished"):
            read_dictionary(out)
    build(stores, out, client=one_thread)
    assert contents(out) == contents(built)


def test_damaged_entries_of_an_unfinished_build_are_made_again(
    stores, built, one_thread, tmp_path, small_blocks, monkeypatch
):
    out = tmp_path / "u.zarr"
    with monkeypatch.context() as patch:
        stop_at(patch, GrowingEntries, "settle", 8)
        with pytest.raises(Stop):
            build(stores, out, client=one_thread)
    (file,) = out.rglob("vectors.f64")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    build(stores, out, client=one_thread)
    assert contents(out) == contents(built)


@pytest.mark.slow
def test_a_worker_that_dies_changes_no_byte(stores, built, tmp_path, small_blocks):
    from distributed import Client, LocalCluster

    from tests.conftest import NO_PORT

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=NO_PORT
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        pids = list(client.run(os.getpid).values())
        calls = []
        original = GrowingEntries.settle

        def killing(self, *args):
            calls.append(1)
            if len(calls) == 5:
                os.kill(pids[0], signal.SIGKILL)
            return original(self, *args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(GrowingEntries, "settle", killing)
            build(stores, tmp_path / "u.zarr", client=client)
    assert contents(tmp_path / "u.zarr") == contents(built)


def test_a_full_disk_is_explained_and_what_is_settled_is_kept(
    stores, built, one_thread, tmp_path, small_blocks, monkeypatch
):
    out = tmp_path / "u.zarr"
    for name in ("settle", "write"):  # in the client, and in a task
        owner = GrowingEntries if name == "settle" else growing.Survivors
        original, calls = getattr(owner, name), []

        def full(self, *args, original=original, calls=calls):
            calls.append(1)
            if len(calls) == 4:
                with growing.explained(out):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(out))
            return original(self, *args)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, full)
            with pytest.raises(StorageFullError, match=r"is full; .* Make room, then run the same"):
                build(stores, out, client=one_thread)
    report = build(stores, out, client=one_thread)
    assert report.n_new < 12 * N_ATOMS
    assert contents(out) == contents(built)


# ----------------------------------------------------------------------------------------------------- extension
@pytest.mark.parametrize("beside", [False, True])
def test_an_extended_dictionary_is_that_of_all_samples(stores, built, one_thread, tmp_path, beside):
    first = tmp_path / "first.zarr"
    build(stores[:1], first, client=one_thread)
    before = contents(first)
    out = tmp_path / "all.zarr" if beside else first
    options = {"client": one_thread, "progress": False, "out": out if beside else None}
    report = mgdask.extend_dictionary(first, stores[1:], **options)
    assert contents(out) == contents(built)
    assert report.n_new == 7 * N_ATOMS
    assert report.n_entries == read_dictionary(built).n_entries
    if beside:
        assert contents(first) == before
    again = mgdask.extend_dictionary(first, stores[1:], **options)  # nothing is left to do
    assert again.n_new == 0
    assert contents(out) == contents(built)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted({first.name, out.name})


def test_the_samples_of_a_dictionary_are_not_needed_to_extend_it(
    stores, built, one_thread, tmp_path
):
    gone = shutil.copytree(stores[0], tmp_path / "gone.zarr")
    first = tmp_path / "first.zarr"
    build(gone, first, client=one_thread)
    shutil.rmtree(gone)
    mgdask.extend_dictionary(first, stores[1:], client=one_thread, progress=False)
    assert read_dictionary(first).order.tolist() == read_dictionary(built).order.tolist()
    assert read_dictionary(first).content == read_dictionary(built).content


@pytest.mark.parametrize(
    "at", [26, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 8, 45, 60))]
)
def test_a_killed_extension_leaves_the_dictionary_and_continues(
    stores, built, one_thread, tmp_path, at
):
    first = tmp_path / "first.zarr"
    build(stores[:1], first, client=one_thread)
    before = read_dictionary(first)
    assert run(KILLED, at, "extend", first, *stores[1:]).returncode == -signal.SIGKILL
    assert read_dictionary(first).content == before.content
    mgdask.extend_dictionary(first, stores[1:], client=one_thread, progress=False)
    assert contents(first) == contents(built)
    assert [p.name for p in tmp_path.iterdir()] == ["first.zarr"]


def test_an_extension_with_other_parameters_is_refused_in_words(stores, built, tmp_path):
    other = mgdask.SOAP(species=("Cu", "Zr"), r_cut=3.5, n_max=3, l_max=2, sigma=0.5)
    for options, says in (
        ({"soap": other}, r"r_cut=3.5, but .*ules.zarr was built with r_cut=3.4. Leave it out"),
        ({"soap": mgdask.Coordination(cutoff=3.0)}, "coordination, but .* was built with soap"),
        ({"threshold": 0.84}, "threshold=0.84, but .* was built with 0.96. Leave it out"),
        ({"per_species": True}, "per_species=True, but .* was built with False"),
    ):
        with pytest.raises(ParameterError, match=says):
            mgdask.extend_dictionary(built, stores[0], **options)
    with pytest.raises(ParameterError, match=r"has the same content and frames as .*2.zarr"):
        mgdask.extend_dictionary(built, stores[2], out=tmp_path / "o.zarr")
    numbers = np.repeat([13, 29, 40], N_ATOMS // 3)
    alloy = glass_like(tmp_path / "al.zarr", 9, 2, numbers)
    with pytest.raises(
        ParameterError, match=r"environments of Cu\+Zr only.* lacks Al.* build a new"
    ):
        mgdask.extend_dictionary(built, alloy)
    before = contents(built)
    mgdask.extend_dictionary(
        built, glass_like(tmp_path / "cu.zarr", 8, 1, np.full(N_ATOMS, 29)), soap=SOAP,
        threshold=THRESHOLD, per_species=False, out=tmp_path / "more.zarr", progress=False,
    )  # fmt: skip
    assert contents(built) == before  # another composition of the same species


# ------------------------------------------------------------------------------------------------------ refusals
def test_what_is_not_allowed_is_refused_in_words(stores, built, tmp_path):
    out = tmp_path / "u.zarr"
    for arguments, options, says in (
        ((stores, SOAP), {"threshold": 1.2}, "threshold=1.2 must be a similarity"),
        (
            (stores, SOAP),
            {"frames": slice(9, 9)},
            r"0.zarr: frames=slice\(9, 9, None\) selects none",
        ),
        ((stores, SOAP), {"frames": [0, 3]}, "2.zarr: .* must be increasing indices 0 to 2"),
        (([], SOAP), {}, r"stores=\[\] must be the path"),
        ((stores + stores[:1], SOAP), {}, "0.zarr has the same content and frames as .*0.zarr"),
        ((stores, "soap"), {}, "soap='soap' must be a feature of the atoms of single frames"),
        (
            (stores, mgdask.SOAP(("Cu", "Zr"), 3.0, 2, 1, 0.5, average="inner")),
            {},
            "soap=SOAP with one row per frame must be",
        ),
        (
            (stores, mgdask.SOAP(("Cu",), 3.0, 2, 1, 0.5)),
            {},
            r"0.zarr: SOAP: species=\('Cu',\) lacks Zr",
        ),
    ):
        with pytest.raises(ParameterError, match=says):
            mgdask.build_dictionary(*arguments, out=out, **options)
    with pytest.raises(
        PlanError, match=r"has room for 0 entries of .* give workers at least memory="
    ):
        build(stores, out, memory="1MiB")
    with pytest.raises(StoreError, match=r"holds a dictionary .* with another feature, threshold"):
        build(stores, built, threshold=0.7)
    with pytest.raises(StoreError, match="it holds a trajectory"):
        build(stores, stores[0])
    with pytest.raises(
        StoreError, match=r"holds a trajectory, not a dictionary .*mgdask dictionary"
    ):
        read_dictionary(stores[0])
    assert not out.exists()


@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_position_that_is_not_finite_is_named(stores, tmp_path, small_blocks, threads):
    bad = tmp_path / "bad.zarr"
    ds = mgdask.open_store(stores[1])
    position = ds.position.values.copy()
    position[3, 17] = np.nan
    position[3, 25] = position[2, 29] = np.inf
    zeros = np.zeros(position.shape, np.int32)
    make_store(bad, position, zeros, ds.cell.values, numbers=ds.species.values)
    says = r"bad.zarr: frame 2 \(step 20\): the position of atom 30 is not finite"
    with threads_client(threads, default=False) as client:
        with pytest.raises(RunError, match=says):
            build([stores[0], str(bad)], tmp_path / "u.zarr", client=client)
        entries = GrowingEntries(
            tmp_path / "u.zarr", SOAP.n_columns, _identity(tmp_path / "u.zarr")
        )
        entries.resume()
        assert entries.n_settled >= 5 * N_ATOMS  # all before that block is kept


def test_an_environment_without_a_direction_is_refused():
    ids = np.array([11, 12, 13])
    good = np.array([[0.0, 1.0], [-1.0, 0.0], [0.6, 0.8]])
    samples_module._check_direction(good, 5, ids)
    for value, says in ((0.0, "is zero"), (np.nan, "is not finite")):
        rows = good.copy()
        rows[1] = value
        with pytest.raises(RunError, match=f"frame 5: the vector of atom 12 {says}"):
            samples_module._check_direction(rows, 5, ids)


def _identity(path):
    from mgdask.store.shards import open_group

    return open_group(path).attrs["dictionary_digest"]


def test_a_sample_that_changes_is_noticed(stores, one_thread, tmp_path, small_blocks, monkeypatch):
    own = shutil.copytree(stores[0], tmp_path / "own.zarr")
    original, calls = GrowingEntries.settle, []

    def changing(self, *args):
        calls.append(1)
        if len(calls) == 4:
            shutil.rmtree(own)
            shutil.copytree(stores[1], own)
        return original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(GrowingEntries, "settle", changing)
        with pytest.raises(SourceChangedError, match=r"own.zarr has changed since the plan"):
            build(own, tmp_path / "u.zarr", client=one_thread)
    with pytest.raises(StoreError, match="with another feature, threshold, samples or frames"):
        build(own, tmp_path / "u.zarr", client=one_thread)


def test_entries_that_outgrow_the_memory_end_the_build_and_it_continues_with_more(
    stores, built, one_thread, tmp_path, small_blocks, monkeypatch
):
    out = tmp_path / "u.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(build_module, "_room", lambda plan, threads: 60)
        says = r"entries after \d+ of 360 environments, and memory=2.00 GiB has room for 60"
        with pytest.raises(RunError, match=says):
            build(stores, out, client=one_thread)
    report = build(stores, out, client=one_thread)
    assert report.n_new < 12 * N_ATOMS
    assert contents(out) == contents(built)


def test_one_process_at_a_time(stores, tmp_path, one_thread):
    out = tmp_path / "u.zarr"
    with Manifest(out).locked(), pytest.raises(StoreError, match="is being written by"):
        build(stores, out, client=one_thread)


# ------------------------------------------------------------------------------------------------------ the store
def test_a_dictionary_opens_as_xarray_and_is_verified(stores, built, one_thread, tmp_path):
    ds = mgdask.open_store(built)
    found = read_dictionary(built)
    assert dict(ds.vector.sizes) == {"entry": found.n_entries, "column": SOAP.n_columns}
    assert [str(name) for name in ds.column.values] == list(SOAP.labels)
    np.testing.assert_array_equal(ds.vector.values, found.vectors())
    np.testing.assert_array_equal(ds.species.values, found.species)
    assert ds.species.attrs["units"] == "1"
    copy = shutil.copytree(built, tmp_path / "copy.zarr")
    assert mgdask.verify(copy, client=one_thread, progress=False).ok
    (shard,) = (p for p in (copy / "vector" / "c").rglob("*") if p.is_file())
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 1
    shard.write_bytes(data)
    report = mgdask.verify(copy, repair=True, client=one_thread, progress=False)
    assert "entries 0 to" in str(report)
    with pytest.raises(StoreError, match=r"is not finished.* mgdask dictionary build again"):
        read_dictionary(copy)
    build(stores, copy, client=one_thread)
    assert contents(copy) == contents(built)


def test_vectors_are_read_once_and_a_dictionary_that_changed_is_refused(stores, built, tmp_path):
    copy = shutil.copytree(built, tmp_path / "copy.zarr")
    found = read_dictionary(copy)
    shutil.rmtree(copy)
    build(stores[1:], copy)
    with pytest.raises(StoreError, match="has changed since it was opened"):
        found.vectors()
    again = read_dictionary(copy)
    assert again.vectors() is read_dictionary(copy).vectors()
    with pytest.raises(ValueError, match="read-only"):
        again.vectors()[0] = 0.0


def test_a_plan_says_what_a_build_needs(stores, tmp_path):
    soap = mgdask.SOAP(species=("Cu", "Zr"), r_cut=5.0, n_max=11, l_max=12, sigma=0.5)
    plan = mgdask.plan_dictionary(stores, soap, out=tmp_path / "u.zarr", memory="2GiB")
    assert plan.n_environments == 12 * N_ATOMS
    text = str(plan)
    for words in ("3289 columns", "12 frames", "per worker", "in the client", "core seconds"):
        assert words in text
    row = 8 * 3289
    left = 2 * 2**30 - plan.memory.worker(0) - plan.memory.block
    assert 0.9 * left / row < plan.max_entries < left / row
    assert not (tmp_path / "u.zarr").exists()
