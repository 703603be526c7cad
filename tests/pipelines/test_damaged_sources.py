"""A source with a missing, empty, swapped or foreign file is an error, never a number (F1).

Two stores of 24 frames of 8 atoms, with shards of 8 frames, are damaged in turn and given to every
command that reads a trajectory, features, or an unwrapped trajectory.
"""

import json
import os
import shutil
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr

import mgdask
from mgdask.errors import MgdaskError, RunError, StoreError
from mgdask.learn.data.rows import Part, Rows
from mgdask.learn.predict import predict
from mgdask.learn.training.boosting import train
from mgdask.pipelines import small
from mgdask.store import layout, source_checks, sources
from mgdask.store.manifest import Manifest
from mgdask.store.seals import read_seal
from mgdask.store.shards import chunks_per_shard, get_array, open_group
from tests.conftest import threads_client
from tests.pipelines.test_faults import said_by

N_FRAMES, N_ATOMS, SIDE = 24, 8, 9.0
ORDER = mgdask.BondOrder(degrees=(6,), quantities=("q",), neighbors="cutoff", cutoff=5.0)
STRAIN = mgdask.NonAffine(cutoff=5.0, quantities=("d2min",))
QUIET = {"progress": False}


def write_glass(path, seed):
    """Ingest a dump of incompressible positions, so that the files of shards have equal sizes."""
    rng = np.random.default_rng(seed)
    dump = path.with_suffix(".dump")
    grid = 4.5 * np.stack(np.meshgrid(*[range(2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    with open(dump, "w") as out:
        for k in range(N_FRAMES):
            out.write(f"ITEM: TIMESTEP\n{10 * k}\nITEM: NUMBER OF ATOMS\n{N_ATOMS}\n")
            out.write("ITEM: BOX BOUNDS pp pp pp\n" + f"0 {SIDE}\n" * 3)
            out.write("ITEM: ATOMS id type x y z ix iy iz\n")
            for i, r in enumerate((grid + rng.random(grid.shape)) % SIDE):
                image = (rng.integers(-4, 4, 3)).tolist()
                out.write(" ".join(map(str, (i + 1, i % 2 + 1, *r, *image))) + "\n")
    mgdask.ingest(dump, path, species=("Zr", "Cu"), timestep=0.001)
    return path


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Do not wait whether another process is just attaching values to a damaged store."""
    monkeypatch.setattr("mgdask.store.mark.PAUSE", 0.0)


@pytest.fixture(scope="module")
def here():
    with threads_client(default=False) as client:
        yield client


@pytest.fixture(scope="module")
def made(tmp_path_factory, here):
    """Folder with two trajectories, their features and unwrapped trajectories, and a model."""
    folder = tmp_path_factory.mktemp("sources")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "MIN_SHARD", 8 * 24 * N_ATOMS)
        patch.setattr("mgdask.store.unwrapped.MIN_SHARD", 8 * 24 * 256)
        for seed, name in ((1, "a"), (2, "b")):
            store = write_glass(folder / f"{name}.zarr", seed)
            mgdask.unwrap(store, folder / f"{name}.paths.zarr", client=here, **QUIET)
            with patch.context() as narrow:
                narrow.setattr(layout, "MIN_SHARD", 8 * 8 * N_ATOMS)
                work = mgdask.plan(store, [ORDER], out=folder / f"{name}.features.zarr")
                mgdask.run(work, here, **QUIET)
    features = mgdask.open_store(folder / "a.features.zarr")
    x = features.bond_order.values.reshape(-1, 1)
    columns = [str(label) for label in features.bond_order_feature.values]
    np.save(folder / "y.npy", x[:, 0])
    model = train(x, x[:, 0], objective="regression", num_boost_round=2, columns=columns)
    return folder, model


@pytest.fixture
def copies(made, tmp_path):
    """The folder again, to be damaged, and the model."""
    folder, model = made
    return Path(shutil.copytree(folder, tmp_path / "stores")), model


COMMANDS = {
    "featurize": (
        "a.zarr",
        ("position", "image"),
        lambda store, out, here, _: mgdask.run(
            mgdask.plan(store, [ORDER, STRAIN], out=out), here, **QUIET
        ),
    ),
    "unwrap": (
        "a.zarr",
        ("position", "image"),
        lambda store, out, here, _: mgdask.unwrap(store, out, client=here, **QUIET),
    ),
    "rdf": (
        "a.zarr",
        ("position",),
        lambda store, out, here, _: mgdask.partial_rdf(store, r_max=4.0, client=here, **QUIET),
    ),
    "dynamics": (
        "a.zarr",
        ("position", "image"),
        lambda store, out, here, _: mgdask.mean_squared_displacement(store, client=here, **QUIET),
    ),
    "dynamics of paths": (
        "a.paths.zarr",
        ("path",),
        lambda store, out, here, _: mgdask.mean_squared_displacement(store, client=here, **QUIET),
    ),
    "predict": (
        "a.features.zarr",
        ("bond_order",),
        lambda store, out, here, model: predict(model, store, out, client=here, **QUIET),
    ),
    "train": (
        "a.features.zarr",
        ("bond_order",),
        lambda store, out, here, _: train(
            Rows((Part(str(store)),), ("bond_order",), labels=str(store.parent / "y.npy")),
            objective="regression",
            num_boost_round=1,
            **QUIET,
        ),
    ),
    "open": (
        "a.zarr",
        ("position", "image"),
        lambda store, out, here, _: mgdask.open_store(store).load(),
    ),
    "lazy features": (
        "a.zarr",
        ("position", "image"),
        lambda store, out, here, _: mgdask.featurize(mgdask.open_store(store), [STRAIN]).compute(),
    ),
}


def shard_files(store, name):
    return sorted(path for path in (store / name / "c").rglob("*") if path.is_file())


def swap(store, name):
    """Swap two shards whose files have equal sizes; False if there are none."""
    files = shard_files(store, name)
    for k, one in enumerate(files):
        for other in files[k + 1 :]:
            if (
                one.stat().st_size == other.stat().st_size
                and one.read_bytes() != other.read_bytes()
            ):
                data = one.read_bytes()
                one.write_bytes(other.read_bytes())
                other.write_bytes(data)
                return True
    return False


def lose(store, name):
    shard_files(store, name)[1].unlink()
    return True


def empty(store, name):
    shard_files(store, name)[1].write_bytes(b"")
    return True


def foreign(store, name):
    """Put a shard of the other glass into its place."""
    other = store.with_name(store.name.replace("a.", "b.", 1))
    shutil.copy(shard_files(other, name)[1], shard_files(store, name)[1])
    return True


def flip(store, name):
    """Flip one bit in the last shard, in a chunk that is not the first."""
    file = shard_files(store, name)[-1]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    return True


def truncate(store, name):
    file = shard_files(store, name)[0]
    file.write_bytes(file.read_bytes()[:-7])
    return True


DAMAGES = (swap, lose, empty, foreign, flip, truncate)
READERS = ("featurize", "unwrap", "rdf", "dynamics", "predict", "train")
"""Commands that are tried with every damage; the others share their way of reading."""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_damaged_source_is_an_error_and_never_a_number(made, copies, here, tmp_path, command):
    folder, model = copies
    kind, names, call = COMMANDS[command]
    call(folder / kind, tmp_path / "sound", here, model)  # it works as long as all is well
    n_tried = 0
    for name in names:
        for damage in DAMAGES if command in READERS else (swap, lose, flip):
            store, out = folder / kind, tmp_path / f"{name}-{damage.__name__}"
            if not damage(store, name):
                continue
            n_tried += 1
            with pytest.raises(MgdaskError) as error:
                call(store, out, here, model)
            text = str(error.value)
            assert f"{name}/c/" in text, (damage.__name__, text)
            assert "frames" in text
            assert f"mgdask verify {store} --repair" in text
            shutil.rmtree(store)
            shutil.copytree(made[0] / kind, store)
    assert n_tried >= 2 * len(names)


@pytest.mark.parametrize("name", ["pbc", "atom_id"])
def test_a_lost_small_array_is_an_error(made, copies, here, tmp_path, name):
    folder, model = copies
    for command, (kind, _, call) in COMMANDS.items():
        store = folder / kind
        if name != "pbc" or kind != "a.features.zarr":
            shutil.rmtree(store / name / "c")
            with pytest.raises(StoreError, match=name):
                call(store, tmp_path / command, here, model)
            shutil.rmtree(store)
            shutil.copytree(made[0] / kind, store)


def test_equal_shards_swapped_by_chance_have_equal_sizes(copies):
    """The attack that sizes do not find is among those tried above."""
    folder, _ = copies
    assert swap(folder / "a.zarr", "position")
    assert not source_checks.lost_shards(folder / "a.zarr")


def test_all_sources_are_compared_before_the_first_task(copies, here, tmp_path, monkeypatch):
    folder, model = copies

    def not_reached(*_, **__):
        raise AssertionError("a task was submitted")

    for module in ("unwrap", "rdf", "lag_tasks", "featurize.run"):
        monkeypatch.setattr(f"mgdask.pipelines.{module}.execute", not_reached)
    monkeypatch.setattr("mgdask.learn.predict.execute", not_reached)
    work = mgdask.plan(folder / "a.zarr", [ORDER], out=tmp_path / "run")
    for kind, name in (("a.zarr", "position"), ("a.paths.zarr", "path")):
        shard_files(folder / kind, name)[-1].unlink()
    shard_files(folder / "a.features.zarr", "bond_order")[-1].unlink()
    with pytest.raises(StoreError, match="is missing"):
        mgdask.run(work, here, **QUIET)
    for command, (kind, _, call) in COMMANDS.items():
        if command not in ("open", "lazy features"):
            with pytest.raises(StoreError, match="is missing"):
                call(folder / kind, tmp_path / command, here, model)


def test_trust_skips_the_checks_and_says_so(copies, here, tmp_path, caplog):
    folder, model = copies
    store = folder / "a.zarr"
    assert swap(store, "position")
    lost = shard_files(store, "image")[1]
    lost.unlink()
    with caplog.at_level("WARNING", "mgdask"):
        rdf = mgdask.partial_rdf(store, r_max=4.0, trust=True, client=here, **QUIET)
        msd = mgdask.mean_squared_displacement(store, trust=True, client=here, **QUIET)
        work = mgdask.plan(store, [ORDER, STRAIN], out=tmp_path / "f", trust=True)
        report = mgdask.run(work, here, **QUIET)
        unwrapped = mgdask.unwrap(store, tmp_path / "u", trust=True, client=here, **QUIET)
        shard_files(folder / "a.features.zarr", "bond_order")[1].unlink()
        features = folder / "a.features.zarr"
        scores = predict(model, features, tmp_path / "p", trust=True, client=here, **QUIET)
    assert rdf.attrs["input_checks"] == msd.attrs["input_checks"]
    assert "not checked" in rdf.attrs["input_checks"]
    for text in (str(report), str(unwrapped), str(scores)):
        assert "not checked (trust=True, --trust)" in text
    assert caplog.text.count("not checked") == 5


def test_a_store_without_seals_is_compared_by_size_and_said_to_be(copies, here, caplog):
    """Records of the version before seals: swapped files of equal sizes are left to verify."""
    folder, _ = copies
    store = folder / "a.zarr"
    joined = store / "manifest" / "blocks.jsonl"
    records = [json.loads(line) for line in joined.read_text().splitlines()]
    for record in records:
        del record["seal"]
        record.pop("sum", None)
    joined.write_text("".join(json.dumps(record) + "\n" for record in records))
    with caplog.at_level("WARNING", "mgdask"):
        for _ in range(2):
            mgdask.partial_rdf(store, r_max=4.0, client=here, **QUIET)
    assert caplog.text.count("was written before shards had seals") == 1
    assert f"mgdask verify {store}" in caplog.text
    shard_files(store, "position")[0].unlink()
    with pytest.raises(StoreError, match=r"position/c/0/0/0 \(frames 0 to 7"):
        mgdask.partial_rdf(store, r_max=4.0, client=here, **QUIET)


def test_seals_are_added_to_a_store_that_lacks_them(copies, here):
    folder, _ = copies
    store = folder / "a.zarr"
    before = sources.seals_of(store).seal
    joined = store / "manifest" / "blocks.jsonl"
    records = [json.loads(line) for line in joined.read_text().splitlines()]
    for record in records:
        del record["seal"], record["sum"]
    joined.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert not sources.seals_of(store).seal
    content = Manifest(store).content()
    assert source_checks.add_seals(store) == len(before)
    assert sources.seals_of(store).seal == before
    assert source_checks.add_seals(store) == 0
    assert Manifest(store).content() == content
    assert mgdask.verify(store, client=here, **QUIET).ok
    assert swap(store, "position")
    with pytest.raises(StoreError, match="is not the one that was written"):
        mgdask.partial_rdf(store, r_max=4.0, client=here, **QUIET)


def test_a_store_whose_records_are_lost_is_refused(copies, here):
    folder, _ = copies
    store = folder / "a.zarr"
    joined = store / "manifest" / "blocks.jsonl"
    joined.write_bytes(b"\n".join(joined.read_bytes().split(b"\n")[1:]))
    with pytest.raises(StoreError, match=r"blocks.jsonl is damaged: it has 2 records of 3"):
        mgdask.partial_rdf(store, r_max=4.0, client=here, **QUIET)


@pytest.mark.parametrize("name", ["position", "cell", "step"])
@pytest.mark.parametrize("marked", [True, False])
def test_an_absurd_shape_is_refused_before_memory_is_taken(copies, here, name, marked):
    """A tampered description (F11), in a store with digests of its metadata and without."""
    folder, _ = copies
    store = folder / "a.zarr"
    described = store / name / "zarr.json"
    content = json.loads(described.read_text())
    content["shape"][0] = 10**12
    described.write_text(json.dumps(content))
    if not marked:
        mark = store / "manifest" / "complete.json"
        about = json.loads(mark.read_text())
        mark.write_text(json.dumps({key: about[key] for key in ("blocks", "content", "small")}))
    for call in (
        lambda: mgdask.partial_rdf(store, r_max=4.0, client=here, **QUIET),
        lambda: mgdask.mean_squared_displacement(store, client=here, **QUIET),
        lambda: mgdask.open_store(store),
        lambda: small.threads_for_store(store, 1) or mgdask.open_store(store),
    ):
        with pytest.raises(StoreError, match=f"{name}.zarr.json is damaged"):
            call()


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b'{"zarr_format": 3, "node_type": "array"}'])
def test_a_description_that_cannot_be_parsed_is_named(copies, text):
    folder, _ = copies
    described = folder / "a.zarr" / "position" / "zarr.json"
    described.write_bytes(text)
    with pytest.raises(StoreError, match=r"position/zarr.json"):
        get_array(open_group(folder / "a.zarr"), "position")
    with pytest.raises(StoreError, match=r"position/zarr.json"):
        mgdask.open_store(folder / "a.zarr")


def test_every_pipeline_writes_seals_that_fit(copies):
    folder, _ = copies
    for kind in ("a.zarr", "a.paths.zarr", "a.features.zarr"):
        group, seals = open_group(folder / kind), sources.seals_of(folder / kind)
        recorded = {file: size for file, size in seals.size.items() if "_scratch" not in file}
        assert recorded.keys() <= seals.seal.keys()
        for file, size in recorded.items():
            n_chunks = chunks_per_shard(get_array(group, file.split("/")[0]))
            assert seals.seal[file] == (read_seal(folder / kind / file, n_chunks) if size else "")


def test_a_sound_file_is_compared_once_and_again_when_it_changes(copies, monkeypatch):
    folder, _ = copies
    calls = []
    monkeypatch.setattr(sources, "read_seal", lambda *given: calls.append(1) or read_seal(*given))
    array = sources.source_array(open_group(folder / "a.zarr"), "position")
    plain = zarr.open_group(folder / "a.zarr", mode="r")["position"]
    for key in (np.s_[3:11], np.s_[3:11, 2:4], np.s_[..., 1], np.s_[5], np.s_[4, 3]):
        assert np.array_equal(array[key], plain[key])
    assert len(calls) == N_FRAMES // 8
    file = shard_files(folder / "a.zarr", "position")[0]
    file.write_bytes(file.read_bytes())
    assert np.array_equal(array[3:11], plain[3:11])
    assert len(calls) == N_FRAMES // 8 + 1
    assert Manifest(folder / "a.zarr").content()


def test_a_sound_file_that_cannot_be_decoded_is_a_lack_of_memory(copies, monkeypatch):
    """Blosc returns the same error for damaged data and for a buffer it cannot allocate."""

    def fail(*_):
        raise RuntimeError("error during blosc decompression: -1")

    folder, _ = copies
    array = sources.source_array(open_group(folder / "a.zarr"), "position")
    monkeypatch.setattr(numcodecs.blosc, "decompress", fail)
    monkeypatch.setattr(numcodecs.blosc.Blosc, "decode", fail)
    with pytest.raises(RunError, match=r"position/c/0\S* is as it was written, .*Memory ran out"):
        array[0]


@pytest.mark.parametrize(
    "words",
    [
        "rdf {} --r-max 4",
        "unwrap {} --out {}.u",
        "featurize {} --out {}.f --feature "
        "bond_order:degrees=6,quantities=q,neighbors=cutoff,cutoff=5.0",
    ],
    ids=["rdf", "unwrap", "featurize"],
)
def test_a_command_says_it_in_one_message(copies, monkeypatch, capsys, words):
    folder, _ = copies
    store = folder / "a.zarr"
    assert swap(store, "position")
    command = words.replace("{}", str(store)).split()
    status, _, err = said_by(monkeypatch, capsys, *command)
    text = " ".join(err.split())
    assert status == 1
    assert "the file position/c/" in text
    assert "is not the one that was written" in text
    assert f"mgdask verify {store} --repair" in text
    assert "Traceback" not in err
    status, out, err = said_by(monkeypatch, capsys, *command, "--trust")
    assert status == 0
    assert (out + err).count("(trust=True, --trust)") >= 1


@pytest.mark.parametrize("change", [Path.unlink, lambda file: os.utime(file, ns=(0, 0))])
def test_a_file_that_changes_while_it_is_read(made, tmp_path, monkeypatch, change):
    """Zarr reads NaN where a file is missing."""
    store = shutil.copytree(made[0] / "a.zarr", tmp_path / "a.zarr")
    positions = sources.source_array(open_group(store), "position")
    check = sources.Seals.check

    def check_and_change(self, file, n_chunks):
        what = check(self, file, n_chunks)
        if file == "position/c/1/0/0":
            change(store / file)
        return what

    monkeypatch.setattr(sources.Seals, "check", check_and_change)
    assert np.isfinite(positions[:8]).all()
    with pytest.raises(StoreError, match=r"position/c/1/0/0 .*changed or removed while"):
        positions[8:16]
