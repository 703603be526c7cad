"""``verify --repair``: damaged stores of every kind become what they were, to the byte."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr

import mgdask
from mgdask.errors import StoreError
from mgdask.pipelines import ingest_tasks
from mgdask.store import layout, mark
from mgdask.store.failures import DamagedStoreError
from mgdask.store.manifest import Manifest
from tests.conftest import SPECIES, threads_client
from tests.forked import COMMAND_LINE, run
from tests.pipelines.test_appends import PARTS, add, grow
from tests.pipelines.test_ingest import dump
from tests.store.test_mark import DAMAGES, damage

OLD = Path(__file__).parents[1] / "data" / "stores_0_1.zip"
KINDS = ("trajectory", "paths", "features")


def some(cases, step):
    """Leave all but every few cases to the slow run."""

    def param(k, case):
        words = case if isinstance(case, tuple) else (case,)
        return pytest.param(*words, marks=[pytest.mark.slow] if k % step else [])

    return [param(k, case) for k, case in enumerate(cases)]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(mark, "PAUSE", 0.0)


def everything(path):
    """Bytes of all files of a store."""
    return {str(p.relative_to(path)): p.read_bytes() for p in Path(path).rglob("*") if p.is_file()}


def arrays(path):
    return {name: data for name, data in everything(path).items() if not name.startswith("manif")}


def records(store):
    """Records of blocks whose files still exist."""
    found = Manifest(store).records().values()
    return [r for r in found if not any("scratch" in file for file in r["files"])]


def verify(store, **options):
    return mgdask.verify(store, progress=False, **options)


def find(report):
    return {damage.file: damage.what for damage in report.damages}


@pytest.fixture(scope="module", autouse=True)
def here():
    """A client for all calls, which would otherwise start one each."""
    with threads_client() as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def blocks_of_three():
    """Shards of three frames, so that a few frames make several blocks."""
    cut = layout.TrajectoryLayout(3, 1, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest_tasks, "trajectory_layout", lambda n: cut)
        patch.setattr("mgdask.store.trajectory.trajectory_layout", lambda n: cut)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory, blocks_of_three, here):
    """Input, trajectory of two inputs, its unwrapped trajectory, and features."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(3)
    path = rng.uniform(0, 10, (1, 6, 3)) + np.cumsum(rng.uniform(-3, 3, (8, 6, 3)), axis=0)
    dump(folder / "0.dump", path, range(5))
    dump(folder / "1.dump", path, range(5, 8))
    run_commands(folder)
    return folder


def run_commands(folder):
    """Make all stores, or what they lack."""
    for k in range(2):
        first = {"append": True} if k else {"temperature": 300.0}
        name = str(folder / f"{k}.dump")
        mgdask.ingest(name, folder / "trajectory.zarr", species=SPECIES, timestep=0.001, **first)
    make_others(folder)


def make_others(folder):
    trajectory = folder / "trajectory.zarr"
    mgdask.unwrap(trajectory, folder / "paths.zarr", progress=False)
    feature = mgdask.BondOrder(degrees=(6,), neighbors="cutoff", cutoff=3.8)
    mgdask.run(mgdask.plan(trajectory, [feature], out=folder / "features.zarr"), progress=False)


@pytest.fixture
def stores(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


@pytest.fixture
def old(tmp_path):
    """Stores of version 0.1, with their input."""
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(tmp_path / "old")
    return tmp_path / "old"


# Metadata, small arrays and the mark


@pytest.mark.parametrize(("file", "change", "what"), some(DAMAGES, 4))
def test_metadata_and_small_arrays_are_found_and_put_back(stores, file, change, what):
    """Of a trajectory with appended frames, without its input."""
    store = stores / "trajectory.zarr"
    before = everything(store)
    damage(store / file, change)
    found = find(verify(store))
    assert set(found) == {file}
    unreadable = "does not describe a Zarr group" in what  # a digest is compared first
    assert ("differs" if unreadable else what) in found[file]
    assert everything(store) != before
    report = verify(store, repair=True)
    assert report.restored == (file,)
    assert report.dropped == ()
    assert not report.ok
    assert "the store is repaired" in str(report)
    assert everything(store) == before
    assert verify(store).ok


@pytest.mark.parametrize("kind", KINDS)
def test_all_metadata_at_once(stores, kind):
    store = stores / f"{kind}.zarr"
    before = everything(store)
    lost = {name for name in before if name.endswith("zarr.json") or "/c/0" in name}
    lost &= set(zipfile.ZipFile(store / "manifest" / "kept.zip").namelist())
    for name in lost:
        (store / name).unlink()
    assert set(find(verify(store))) == lost
    assert set(verify(store, repair=True).restored) == lost
    assert everything(store) == before


def test_values_of_frames_are_put_back_without_their_source(stores):
    for kind in KINDS:
        store = stores / f"{kind}.zarr"
        before = everything(store)
        (store / "temperature" / "c" / "0").write_bytes(b"")
        assert verify(store, repair=True).restored == ("temperature/c/0",)
        assert everything(store) == before


def test_copies_that_are_damaged_are_written_again(stores):
    store = stores / "trajectory.zarr"
    before, kept = everything(store), store / "manifest" / "kept.zip"
    for data in (b"PK", None, before["manifest/kept.zip"][:-40]):
        kept.unlink() if data is None else kept.write_bytes(data)
        assert mgdask.open_store(store).sizes["frame"] == 8
        assert find(verify(store)) == {"manifest/kept.zip": "copies in it are missing or differ"}
        assert verify(store, repair=True).restored == ("manifest/kept.zip",)
        assert everything(store) == before


def test_every_flipped_bit_of_the_copies_is_noticed(stores):
    store = stores / "paths.zarr"
    kept = store / "manifest" / "kept.zip"
    data = bytearray(kept.read_bytes())
    names = zipfile.ZipFile(kept).namelist()
    content = json.loads((store / "manifest" / "complete.json").read_text())
    for at in np.random.default_rng(0).choice(len(data), 60, replace=False):
        data[at] ^= 16
        kept.write_bytes(data)
        for name in names:
            found = mark.read_copy(
                store, name, {**content["metadata"], **content["small"]}.get(name)
            )
            assert (
                found is None
                or name.endswith("complete.json")
                or (found == (store / name).read_bytes())
            )
        assert mark.copied_mark(store) in (None, content)
        data[at] ^= 16


def test_without_copies_and_metadata_the_error_says_what_to_do(stores):
    store = stores / "trajectory.zarr"
    (store / "manifest" / "kept.zip").unlink()
    (store / "zarr.json").write_text("[1]")
    report = verify(store)
    assert set(find(report)) == {"zarr.json", "manifest/kept.zip"}
    assert report.n_shards == 0
    with pytest.raises(StoreError, match=r"zarr.json is damaged .* has no copy; remove the store"):
        verify(store, repair=True)


def test_a_mark_that_is_older_than_the_files(stores, monkeypatch):
    """Killed between the copies and the mark; the files are those of the copies."""
    store = stores / "trajectory.zarr"
    old = (store / "manifest" / "complete.json").read_bytes()
    mgdask.attach(store, temperature=400.0, overwrite=True)
    after = everything(store)
    (store / "manifest" / "complete.json").write_bytes(old)
    assert list(find(verify(store))) == ["manifest/complete.json"]
    verify(store, repair=True)
    assert everything(store) == after


def test_a_mark_of_another_store_and_more_damage(stores):
    store = stores / "trajectory.zarr"
    before = everything(store)
    other = stores / "paths.zarr" / "manifest" / "complete.json"
    (store / "manifest" / "complete.json").write_bytes(other.read_bytes())
    (store / "step" / "zarr.json").write_bytes(b"")
    assert set(find(verify(store))) == {"manifest/complete.json", "step/zarr.json"}
    verify(store, repair=True)
    assert everything(store) == before


def test_a_file_where_an_array_has_none(stores):
    """The first timestep is zero, which is fill and has no file; here somebody puts one."""
    folder = stores / "features.zarr"
    group = zarr.open_group(folder, mode="r+")
    zarr.create_array(folder / "fill", shape=(8,), dtype="f8", dimension_names=["frame"])
    Manifest(folder).reopen()
    Manifest(folder).finish("x")
    before = everything(folder)
    group["fill"][:] = 1.0
    assert find(verify(folder)) == {"fill/c/0": "it was not written by mgdask"}
    assert verify(folder, repair=True).restored == ("fill/c/0",)
    assert everything(folder) == before


# Records


def test_damaged_records_are_dropped_and_their_blocks_written_again(stores):
    store = stores / "trajectory.zarr"
    before, content = arrays(store), Manifest(store).content()
    book = store / "manifest" / "blocks.jsonl"
    data = bytearray(book.read_bytes())
    data[len(data) // 2] ^= 1
    book.write_bytes(data)
    report = verify(store)
    assert find(report) == {"manifest/blocks.jsonl": "1 of its lines are damaged"}
    assert len({shard.file for shard in report.never_written}) in (1, 2)
    assert "run the same mgdask ingest again" in str(verify(store, repair=True))
    with pytest.raises(StoreError, match="is not finished"):
        mgdask.open_store(store)
    run_commands(stores)
    assert arrays(store) == before
    assert Manifest(store).content() == content
    assert verify(store).ok


@pytest.mark.parametrize("kind", some(KINDS, 3))
def test_a_lost_manifest(stores, kind):
    store = stores / f"{kind}.zarr"
    before = arrays(store)
    shutil.rmtree(store / "manifest")
    assert find(verify(store)) == {"manifest": "it is missing, and with it all records"}
    assert not verify(store, repair=True).finished
    run_commands(stores)
    assert arrays(store) == before
    assert verify(store).ok


# Damage in a store that is not finished


def turn(store, name):
    """Turn the values of a small array round."""
    array = zarr.open_array(store / name, mode="r+")
    array[:] = np.asarray(array[:])[::-1]


def blank(file):
    file.write_bytes(bytes(file.stat().st_size))


@pytest.mark.parametrize("kind", some(KINDS, 2))
def test_a_lost_mark_and_other_values(stores, kind):
    store = stores / f"{kind}.zarr"
    before, kept = everything(store), (store / "manifest/kept.zip").read_bytes()
    for repeated in (True, False):
        (store / "manifest/complete.json").unlink()
        turn(store, "species")
        found = find(verify(store))
        assert found.pop("manifest/complete.json") == mark.MISSING
        assert list(found) == ["species/c/0"]
        if repeated:
            run_commands(stores)
        else:
            verify(store, repair=True)
        assert everything(store) == before
        assert (store / "manifest/kept.zip").read_bytes() == kept
    assert verify(store).ok


@pytest.mark.parametrize(
    ("kind", "name"), some([("trajectory", "image"), ("paths", "path"), ("features", "step")], 2)
)
def test_a_lost_mark_and_another_description(stores, kind, name):
    """It is not sealed, and does not replace its copy."""
    store = stores / f"{kind}.zarr"
    before = everything(store)
    (store / "manifest/complete.json").unlink()
    file = store / name / "zarr.json"
    described = json.loads(file.read_text())
    described["attributes"]["note"] = "not of mgdask"
    file.write_text(json.dumps(described))
    said = f"{name}/zarr.json is damaged: {mark.DIFFERENT}. Repair it with mgdask verify"
    with pytest.raises(DamagedStoreError, match=re.escape(said)):
        run_commands(stores)
    assert not Manifest(store).completion()
    assert verify(store, repair=True).finished
    after = everything(store)
    # records of a repeated command are in files of their own until they are joined
    assert {f: data for f, data in after.items() if not f.endswith(".jsonl")} == {
        f: data for f, data in before.items() if not f.endswith(".jsonl")
    }
    assert verify(store).ok


def test_a_lost_mark_and_new_values_of_frames(stores):
    """They are no damage, and the store is finished."""
    (stores / "paths.zarr/manifest/complete.json").unlink()
    mgdask.attach(stores / "trajectory.zarr", temperature=400.0, overwrite=True)
    make_others(stores)
    assert mgdask.open_store(stores / "paths.zarr").temperature.values.tolist() == [400.0] * 8
    assert verify(stores / "paths.zarr").ok


@pytest.mark.parametrize("kind", some(KINDS, 2))
def test_a_lost_manifest_and_other_values(stores, kind):
    """What the input holds is written again."""
    store = stores / f"{kind}.zarr"
    before = arrays(store)
    shutil.rmtree(store / "manifest")
    for name in ("atom_id", "species", "step", "time"):
        if (store / name).exists():
            turn(store, name)
    if kind != "trajectory":
        blank(store / "step/zarr.json")
        blank(store / "species/c/0")
    run_commands(stores)
    assert arrays(store) == before
    assert verify(store).ok


def test_a_lost_manifest_and_another_description(stores, tmp_path):
    """Of an interrupted ingest, it is made again; what other inputs added is lost."""
    store = tmp_path / "one.zarr"
    name, options = str(stores / "0.dump"), {"species": SPECIES, "timestep": 0.001}
    mgdask.ingest(name, store, **options)
    before = arrays(store)
    shutil.rmtree(store / "manifest")
    for each in ("step", "run", "species"):
        blank(store / each / "zarr.json")
    mgdask.ingest(name, store, **options)
    assert arrays(store) == before
    assert verify(store).ok
    for damaged, each in (("one", "position"), ("trajectory", "step")):
        store = stores / f"{damaged}.zarr" if damaged != "one" else store
        shutil.rmtree(store / "manifest")
        blank(store / each / "zarr.json")
        again = "has no copy; remove the store and make it again with mgdask ingest"
        with pytest.raises(DamagedStoreError, match=f"{each}/zarr.json is damaged .*{again}"):
            mgdask.ingest(name, store, **options)


# Blocks


@pytest.fixture(scope="module", params=[True, False], ids=["images in the file", "derived images"])
def grown(request, tmp_path_factory, blocks_of_three, here):
    """A store of three inputs, which end inside blocks of three frames."""
    return grow(tmp_path_factory.mktemp("grown"), images=request.param)


@pytest.mark.parametrize(
    ("blocks", "names"), [((1,), ["position", "image"]), ((2,), ["image"]), ((0, 3), ["position"])]
)
def test_blocks_of_derived_images_and_of_appended_frames(grown, tmp_path, blocks, names):
    store = shutil.copytree(grown, tmp_path / "a.zarr")
    before, content = arrays(store), Manifest(store).content()
    for block in blocks:
        for name in names:
            file = store / name / "c" / str(block) / "0" / "0"
            file.write_bytes(b"" if block % 2 else file.read_bytes()[::-1])
    report = verify(store, repair=True)
    assert len(report.damages) == len(blocks) * len(names)
    assert report.dropped
    said, n_written = report.remarks[0], 0
    for _ in range(len(PARTS)):  # as the report says, until nothing is missing
        command = re.search(r"Now run mgdask ingest (--append )?of (\d)\.dump again", said)
        done = add(store, grown.parent, int(command[2]))
        n_written += done.n_written
        said = done.notes[-1] if done.notes else ""
        if "is not finished" not in said:
            break
    assert n_written <= 2 * len(blocks)  # twice if it has frames of two inputs
    assert arrays(store) == before
    assert Manifest(store).content() == content
    assert verify(store).ok


@pytest.mark.parametrize("first", [True, False])
def test_a_lost_manifest_of_appended_frames(grown, tmp_path, first):
    """Blocks with frames of two inputs are written by two processes of any names."""
    store = shutil.copytree(grown, tmp_path / "a.zarr")
    before, content = arrays(store), Manifest(store).content()
    shutil.rmtree(store / "manifest")
    for k in range(len(PARTS)):
        add(store, grown.parent, k)
        for n, part in enumerate(set((store / "manifest").glob("*-*.jsonl"))):
            part.rename(part.with_name(f"{9 - k if first else k}{n}.jsonl"))
    assert arrays(store) == before
    assert Manifest(store).content() == content
    assert verify(store).ok


def test_blocks_and_metadata_of_all_kinds_at_once(stores):
    before = {kind: arrays(stores / f"{kind}.zarr") for kind in KINDS}
    for kind, name in zip(KINDS, ("position", "path", "bond_order"), strict=True):
        store = stores / f"{kind}.zarr"
        shard = sorted(p for p in (store / name / "c").rglob("*") if p.is_file())[-1]
        shard.write_bytes(b"")
        (store / "zarr.json").write_text("")
        (store / "species" / "c" / "0").unlink()
        with pytest.raises(DamagedStoreError, match="verify"):
            mgdask.open_store(store)
    reports = [verify(stores / f"{kind}.zarr", repair=True) for kind in KINDS]
    assert [report.kind for report in reports] == list(KINDS)
    assert all(set(r.restored) == {"zarr.json", "species/c/0"} for r in reports)
    assert all(len(report.dropped) == 1 for report in reports)
    run_commands(stores)
    assert {kind: arrays(stores / f"{kind}.zarr") for kind in KINDS} == before
    assert all(verify(stores / f"{kind}.zarr").ok for kind in KINDS)


# Stores of version 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_old_stores_open_and_get_digests(old, kind):
    store = old / f"{kind}.zarr"
    before, content = arrays(store), Manifest(store).content()
    assert mgdask.open_store(store).sizes["atom"] == 6
    report = verify(store)
    assert report.ok, str(report)
    assert re.search(
        r"seals of \d shards and digests and copies of metadata were missing and have been added",
        str(report),
    )
    assert all(len(record["seal"]) == len(record["files"]) for record in records(store))
    assert arrays(store) == before
    assert Manifest(store).content() == content
    assert "were missing" not in str(verify(store))
    damage(store / "zarr.json", lambda data: b"[1]")
    assert verify(store, repair=True).restored == ("zarr.json",)
    assert arrays(store) == before


def edit(path, change):
    described = json.loads(path.read_text())
    change(described)
    path.write_text(json.dumps(described))


CONTRADICTIONS = [
    (
        "trajectory",
        "position",
        lambda d: d["shape"].__setitem__(0, 4),
        "frame is 4|recorded shards",
    ),
    ("trajectory", "cell", lambda d: d["shape"].__setitem__(0, 9), "along frame is 9"),
    (
        "trajectory",
        "position",
        lambda d: d.update(dimension_names=["atom", "frame", "xyz"]),
        "dims",
    ),
    ("trajectory", "species", lambda d: d.update(data_type="float32"), "dtype|cannot be read"),
    ("trajectory", "", lambda d: d["attributes"].update(mgdask_kind="features"), "features"),
    ("trajectory", "", lambda d: d["attributes"].pop("input_digest"), "input_digest"),
    ("trajectory", "", lambda d: d["attributes"].update(input_digest="0" * 64), "input_digest"),
    ("features", "", lambda d: d["attributes"].pop("plan_digest"), "plan_digest"),
    ("features", "", lambda d: d["attributes"].update(mgdask_kind="paths"), "paths"),
    ("paths", "", lambda d: d["attributes"].pop("paths_digest"), "paths_digest"),
    ("paths", "path", lambda d: d["shape"].__setitem__(1, 7), "along frame is 7"),
]
"""Kind of a store, array ("" for the store), change of its metadata, what is said."""


@pytest.mark.parametrize(("kind", "name", "change", "what"), some(CONTRADICTIONS, 3))
def test_contradictions_in_old_stores_are_found(old, kind, name, change, what):
    store = old / f"{kind}.zarr"
    edit(store / name / "zarr.json", change)
    report = verify(store)
    assert not report.ok
    assert re.search(what, str(report))
    assert set(find(report)) <= {f"{name}/zarr.json".lstrip("/"), "zarr.json"}
    with pytest.raises(StoreError, match=r"zarr\.json is damaged .*has no copy; remove the store"):
        verify(store, repair=True)
    assert "metadata" not in Manifest(store).completion()


def test_old_values_of_frames_are_given_again(old):
    store = old / "trajectory.zarr"
    (store / "temperature" / "c" / "0").write_bytes(b"")
    with pytest.raises(DamagedStoreError, match=r"temperature/c/0 is damaged"):
        mgdask.open_store(store)
    words = r"give all of it again: mgdask attach .*--temperature KELVIN --overwrite"
    with pytest.raises(StoreError, match=words):
        verify(store, repair=True)
    mgdask.attach(store, temperature=300.0, overwrite=True)
    assert (mgdask.open_store(store).temperature == 300).all()
    assert verify(store).ok


def test_an_old_store_that_cannot_be_written_is_verified(old, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Manifest, "add_digests", refuse)
    report = verify(old / "paths.zarr")
    assert report.ok
    assert "could not be added" in str(report)


# Commands


@pytest.mark.parametrize(
    ("file", "data"),
    some([("zarr.json", b"[1]"), ("zarr.json", b""), ("manifest/complete.json", b"[1]")], 3),
)
def test_commands_print_one_sentence(stores, file, data):
    """Every command that reads a store names the damaged file and the remedy."""
    for kind in ("trajectory", "features"):
        (stores / f"{kind}.zarr" / file).write_bytes(data)
    trajectory, features = stores / "trajectory.zarr", stores / "features.zarr"
    out = stores / "new.zarr"
    same = ("--species", "Zr,Cu", "--timestep", 0.001, "--temperature", 300)
    commands = [
        ("inspect", trajectory),
        ("status", trajectory),
        ("rdf", trajectory, "--out", stores / "g.csv"),
        ("unwrap", trajectory, "--out", out),
        ("attach", trajectory, "--temperature", 3),
        ("featurize", trajectory, "--set", "interstice", "--out", out),
        ("ingest", stores / "0.dump", "--out", trajectory, *same),
    ]
    for command in commands:
        done = run(COMMAND_LINE, *command)
        assert done.returncode != 0, command
        assert "Traceback" not in done.stderr, command
        assert f"{trajectory / file} is damaged: it " in done.stderr.replace("\n", ""), command
        assert "--repair" in done.stderr, command
    assert features.exists()
    assert not out.exists()
    done = run(COMMAND_LINE, "verify", trajectory)
    assert done.returncode == 1
    assert f"BAD {file}: " in done.stdout
    assert "Traceback" not in done.stderr
