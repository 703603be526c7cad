"""What goes wrong on a supercomputer: full and read-only targets, changed inputs, bad positions, too little memory, two runs, torn records."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import dask
import numpy as np
import pytest
import zarr
from distributed import Client, LocalCluster

import mgdask
from mgdask.cli import main
from mgdask.errors import MgdaskError, RunError, StoreError
from mgdask.execution.results import describe
from mgdask.pipelines import unwrap as path_tasks
from mgdask.pipelines.featurize import plan as plan_module
from mgdask.store import checks, lock, lock_owner
from mgdask.store.failures import SourceChangedError, StorageFullError, explanation
from mgdask.store.manifest import Manifest
from tests.conftest import GLASS, NO_PORT, threads_client
from tests.forked import Forked, run
from tests.pipelines.test_featurize import files
from tests.plain_feature import PlainFeature
from tests.resealed import reseal

ROOT = str(Path(__file__).parents[2])
SOAP = "r_cut=4,n_max=3,l_max=2,sigma=0.5,rbf=polynomial"
HOOKS: list = []
"""Called by every block of a Distance that runs in this process."""


@dataclass(frozen=True)
class Distance(PlainFeature):
    """Distance from the origin; sleeps, and takes memory until it is killed where atom 0 is at ``poison``."""

    poison: float = -1.0
    seconds: float = 0.0
    family: ClassVar[str] = "distance"
    long_name: ClassVar[str] = "distance"
    labels = ("r",)

    def prepare(self):
        """Compute nothing before the first block, since ``HOOKS`` count blocks."""

    def describe(self, environments, centers, out):
        for hook in HOOKS:
            hook()
        time.sleep(self.seconds)
        if environments.position[0, 0] == self.poison:
            hoard = []
            for _ in range(600):
                hoard.append(
                    np.ones(2**22)
                )  # 32 MiB that are touched, up to 10 GiB, then wait for the end
                if len(hoard) > 300:
                    hoard.pop()
                time.sleep(0.05)
        out[:, 0] = np.linalg.norm(environments.position[centers], axis=-1)
        return {}


@pytest.fixture
def frame_blocks(monkeypatch):
    """Blocks of one frame of a Distance."""
    monkeypatch.setattr(plan_module, "MAX_BLOCK", 2000 * 8)


@pytest.fixture
def own_store(glass_store, tmp_path):
    """A copy of the store of the glass that may be spoilt."""
    return shutil.copytree(glass_store, tmp_path / "own.zarr")


@pytest.fixture
def quiet(glass_store, tmp_path, frame_blocks):
    """Files of the features of an undisturbed run."""
    mgdask.run(mgdask.plan(glass_store, Distance(), out=tmp_path / "quiet.zarr"), progress=False)
    return files(tmp_path / "quiet.zarr")


def environment():
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")])),
    }


def said_by(monkeypatch, capsys, *words):
    """Exit status, stdout and stderr of a command in this process."""
    monkeypatch.setattr(sys, "argv", ["mgdask", *map(str, words)])
    with pytest.raises(SystemExit) as status:
        main()
    said = capsys.readouterr()
    return status.value.code, said.out, said.err


# --- a full or read-only target


def test_a_full_disk_ends_the_run_and_keeps_the_rest(glass_store, tmp_path, monkeypatch, quiet):
    """Anywhere: the write of the shard fails as it does on a full disk, from the fourth on."""
    from zarr.storage import _local

    room, put = [3], _local._put

    def full(path, value, exclusive=False):
        if "/distance/c/" in str(path):
            if not room[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            room[0] -= 1
        return put(path, value, exclusive)

    monkeypatch.setattr(_local, "_put", full)
    plan = mgdask.plan(glass_store, Distance(), out=tmp_path / "f.zarr")
    assert len(plan.blocks) == 8
    with pytest.raises(
        StorageFullError,
        match=r"f.zarr is full; .* GB are free there. Make room, then run the same command again",
    ):
        mgdask.run(plan, progress=False)
    assert plan.done == 3
    room[0] = 100
    assert mgdask.run(plan, progress=False).skipped == 3
    assert files(tmp_path / "f.zarr") == quiet


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (
            errno.ENOSPC,
            r"the disk \(or the quota\) of .*c\.zarr is full; .* GB are free there\. Make",
        ),
        (
            errno.EDQUOT,
            r"the quota of .*c\.zarr is full; .* GB are free there\. Make room, then run",
        ),
        (errno.EROFS, r"c\.zarr cannot be written \(Read-only file system\)\. Make it writable or"),
        (errno.EMFILE, r"too many files are open \(at most \d+ in this process\)\. Allow more"),
    ],
)
def test_what_a_system_lacks_is_one_message(
    glass_store, tmp_path, monkeypatch, capfd, number, says
):
    """Nothing else before or after: no log line of Dask, no traceback."""
    from zarr.storage import _local

    put = _local._put

    def refuse(path, value, exclusive=False):
        if "/bond_order/c/" in str(path):
            raise OSError(number, os.strerror(number), str(path))
        return put(path, value, exclusive)

    monkeypatch.setattr(_local, "_put", refuse)
    feature = "bond_order:degrees=6,quantities=q,neighbors=cutoff,cutoff=3.8"
    words = ("featurize", glass_store, "--feature", feature, "--out", tmp_path / "c.zarr")
    status, _, err = said_by(monkeypatch, capfd, *words)
    # on a busy machine, a line of progress comes first
    lines = [line for line in err.splitlines() if not line.startswith("featurize: 0 of 1 blocks")]
    assert status == 1
    assert len(lines) == 2, err
    assert lines[0].startswith("small job")
    assert re.match(f"mgdask: .*{says}", lines[1]), err
    assert "then run the same command again" in lines[1]


def test_errors_of_libraries_that_tell_of_the_system_are_explained():
    """Whatever raised them: the chain of causes is looked at, but no other error is."""
    lack = RuntimeError("can't start new thread")
    nanny = RuntimeError("Nanny failed to start.")
    nanny.__cause__ = lack
    assert "can start no more threads" in str(explanation(nanny))
    assert "ran out of memory (Unable" in str(explanation(MemoryError("Unable to allocate")))
    assert "ran out of memory" in str(explanation(RuntimeError("std::bad_alloc")))
    arrow = OSError(
        "Unknown error: Failed to launch worker thread: Resource temporarily unavailable"
    )
    assert "can start no more threads" in str(explanation(arrow))
    library = ImportError("x.so: failed to map segment from shared object")
    assert "ran out of memory" in str(explanation(library))
    assert explanation(ImportError("No module named 'x'")) is None
    full = OSError(errno.ENOSPC, "No space", "/nowhere/model/bins.bin")
    assert "/nowhere/model/bins.bin is full" in str(explanation(full))
    assert explanation(OSError(errno.ENOENT, "No such file", "x")) is None
    assert explanation(ValueError("3")) is None


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "too many files are open"),
        (RuntimeError("can't start new thread"), "can start no more threads"),
        (MemoryError("Unable to allocate"), "ran out of memory"),
    ],
)
def test_a_lack_of_memory_or_of_files_is_no_damage(own_store, monkeypatch, error, says):
    """Otherwise a repair would discard good blocks, and advise to."""

    def lack(*_, **options):
        raise error

    before = {name: name.read_bytes() for name in own_store.rglob("*") if name.is_file()}
    for module, name in ((checks, "content_digest"), (zarr, "open_group")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, lack)
            with pytest.raises(MgdaskError, match=says):
                mgdask.verify(own_store, repair=True, progress=False)
    assert before == {name: name.read_bytes() for name in own_store.rglob("*") if name.is_file()}


SMALL_DISK = """
import os, subprocess, sys
import mgdask
from mgdask import cluster
from mgdask.errors import StoreError
from mgdask.pipelines.featurize import plan as plan_module
plan_module.MAX_BLOCK = 2**18

def work(name):
    soap = mgdask.SOAP(species=("Cu", "Zr"), r_cut=3.5, n_max=4, l_max=3, sigma=0.5)
    return mgdask.plan(sys.argv[1], soap, out=f"{disk}/{name}")

def attempt(name, client):
    try:
        print("done", mgdask.run(work(name), client, progress=False).skipped)
    except StoreError as error:
        print(type(error).__name__, error)

if __name__ == "__main__":
    disk = sys.argv[2]
    mount = lambda options: subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], check=True)
    mount("size=5m")
    with cluster.local_client(1) as client:
        print("ready")
        # the worker was started after the mount, in the same namespace
        attempt("f.zarr", client)
        print("kept", work("f.zarr").done, len(work("f.zarr").blocks))
        mount("remount,size=300m")
        attempt("f.zarr", client)
        print(mgdask.verify(f"{disk}/f.zarr", client=client, progress=False).ok)
        mount("remount,ro")
        attempt("g.zarr", client)
"""


@pytest.mark.slow
def test_a_real_small_disk(glass_store, tmp_path):
    """A tmpfs in a name space of its own, with a real worker process: full, made larger, then read-only."""
    prefix = (
        ["unshare", "--mount"]
        if os.getuid() == 0
        else ["unshare", "--user", "--map-root-user", "--mount"]
    )
    disk = tmp_path / "disk"
    disk.mkdir()
    probe = [*prefix, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if (
        not shutil.which("unshare")
        or subprocess.run(probe, capture_output=True, check=False).returncode
    ):
        pytest.skip("no tmpfs can be mounted here: neither root nor user name spaces")
    script = tmp_path / "small_disk.py"
    script.write_text(SMALL_DISK)
    done = subprocess.run(
        [*prefix, sys.executable, str(script), glass_store, str(disk)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    _, full, kept, again, sound, read_only = done.stdout.splitlines()
    assert full.startswith("StorageFullError the disk (or the quota) of")
    n_done, n_blocks = map(int, kept.split()[1:])
    assert 0 < n_done < n_blocks
    assert n_done <= int(again.split()[1]) < n_blocks  # what was in flight may have found room
    assert sound == "True"
    assert read_only.startswith("StorageFullError")
    assert "Read-only file system). Make it writable or choose another target" in read_only


APPEND = """
import resource, signal, sys
from mgdask.errors import StoreError
from mgdask.store.manifest import Manifest
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
manifest = Manifest(sys.argv[1])
manifest.create()
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
try:
    for k in range(100):
        manifest.append({"block": f"b{k}", "digest": "d", "files": {}, "checksum": {}, "text": 100 * "x"})
except StoreError as error:
    print(k, error)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
manifest.append({"block": "after", "digest": "d", "files": {}, "checksum": {}})
"""


def test_a_record_that_did_not_fit_spoils_no_other(tmp_path):
    """The kernel takes part of a line and no more, as a disk does that gets full; the next record is whole all the same."""
    done = run(APPEND, tmp_path)
    assert done.returncode == 0, done.stderr
    n = int(done.stdout.split()[0])
    assert 0 < n < 10
    assert "ulimit -f" in done.stdout
    assert set(Manifest(tmp_path).records()) == {*(f"b{k}" for k in range(n)), "after"}


def test_impossible_targets_are_refused_in_words(glass_store, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    targets = [tmp_path / "file" / "f.zarr"]
    if Path("/sys/kernel").is_dir():
        targets.append(Path("/sys/kernel/mgdask-f.zarr"))  # nobody can write there, root or not
    if os.getuid():
        (tmp_path / "mine").mkdir(mode=0o555)
        targets.append(tmp_path / "mine" / "f.zarr")
    for target in targets:
        with pytest.raises(StorageFullError, match=r"cannot be written .*choose another target"):
            mgdask.run(mgdask.plan(glass_store, Distance(), out=target), progress=False)
    words = ("featurize", glass_store, "--soap", SOAP, "--out", targets[0], "--workers", 1)
    status, _, err = said_by(monkeypatch, capsys, *words)
    assert status == 1
    assert "cannot be written" in err
    assert "Traceback" not in err


# --- an input that changes, or is bad


@pytest.mark.parametrize("how", ["replaced", "being written"])
def test_a_source_that_changes_in_mid_run_is_noticed(own_store, tmp_path, monkeypatch, quiet, how):
    other = tmp_path / "other.zarr"
    mgdask.ingest(str(GLASS), other, species={1: "Cu", 2: "Zr"}, timestep=0.002)
    out, calls, begun = tmp_path / "f.zarr", [], threading.Lock()
    plan = mgdask.plan(own_store, Distance(), out=out)

    def change():
        with begun:
            calls.append(1)
            if len(calls) == 3:
                if how == "replaced":
                    own_store.rename(tmp_path / "away.zarr")
                    other.rename(own_store)
                else:
                    (own_store / "manifest" / "complete.json").rename(tmp_path / "complete.json")

    monkeypatch.setattr(sys.modules[__name__], "HOOKS", [change])
    with threads_client() as own:
        with pytest.raises(
            SourceChangedError,
            match=r"own.zarr has changed since the plan was made.*run the same command again",
        ):
            mgdask.run(plan, own, progress=False)
        assert plan.done == 2  # the third had read the old positions, but nobody could know
        monkeypatch.setattr(sys.modules[__name__], "HOOKS", [])
        with pytest.raises(
            StoreError, match=r"has changed since the plan was made|is not finished"
        ):
            mgdask.run(plan, own, progress=False)
        if how == "replaced":
            own_store.rename(tmp_path / "other.zarr")
            (tmp_path / "away.zarr").rename(own_store)
        else:
            (tmp_path / "complete.json").rename(own_store / "manifest" / "complete.json")
        # a task of the refused run may have begun late, when the source was back
        assert mgdask.run(plan, own, progress=False).skipped in (2, 3)
    arrays = {name for name in quiet if "/c/" in name}
    assert {name: files(out)[name] for name in arrays} == {name: quiet[name] for name in arrays}


def test_a_source_that_changes_while_paths_are_made_is_noticed(own_store, tmp_path, monkeypatch):
    mgdask.unwrap(own_store, tmp_path / "quiet.zarr", progress=False)
    mark, away, join = (
        own_store / "manifest" / "complete.json",
        tmp_path / "complete.json",
        path_tasks.join_mass,
    )

    def change(*words):
        join(*words)
        mark.rename(away)

    monkeypatch.setattr(path_tasks, "join_mass", change)
    with pytest.raises(SourceChangedError, match=r"own\.zarr has changed"):
        mgdask.unwrap(own_store, tmp_path / "p.zarr", progress=False)
    assert not [
        block for block in Manifest(tmp_path / "p.zarr").records() if block.startswith("path-")
    ]
    monkeypatch.undo()
    away.rename(mark)
    mgdask.unwrap(own_store, tmp_path / "p.zarr", progress=False)
    assert files(tmp_path / "p.zarr") == files(tmp_path / "quiet.zarr")


def test_positions_that_are_no_numbers_fail_their_block_only(
    own_store, tmp_path, monkeypatch, capsys, quiet
):
    position = zarr.open_group(own_store, mode="r+")["position"]
    good = position[3]
    bad = good.copy()
    bad[17, 1] = np.nan
    out = tmp_path / "f.zarr"
    plan = mgdask.plan(own_store, Distance(), out=out)
    position[3] = bad  # a plan that is made later is refused
    reseal(own_store)
    status, text, err = said_by(
        monkeypatch,
        capsys,
        "featurize",
        own_store,
        "--feature",
        "bond_order:degrees=6,quantities=q,neighbors=cutoff,cutoff=3.8",
        "--out",
        tmp_path / "c.zarr",
        "--workers",
        1,
    )
    assert status == 1
    assert "peak memory" not in text
    step = int(mgdask.open_store(own_store).step[3])
    wanted = f"frame 3 (step {step}): the position of atom 18 is not finite"
    assert wanted in " ".join(err.split())
    assert "--frames 0:3,4:8" in err
    assert "Traceback" not in err
    with pytest.raises(RunError, match="not finite") as failed:
        mgdask.run(plan, progress=False)
    assert "1 of 8 blocks failed; 7 are finished" in str(failed.value)
    assert "atom-00000003-0000000000" in str(failed.value)
    assert wanted in str(failed.value)
    assert plan.done == len(plan.blocks) - 1
    status, text, _ = said_by(monkeypatch, capsys, "verify", own_store, "--workers", 1)
    assert status == 1
    assert "BAD position/c/0/0/0: frames 0 to 7" in text
    position[3] = good
    reseal(own_store)
    assert mgdask.run(plan, progress=False).skipped == len(plan.blocks) - 1
    arrays = {name for name in quiet if "/c/" in name}
    assert {name: files(out)[name] for name in arrays} == {name: quiet[name] for name in arrays}


# --- too little memory


def test_a_block_that_takes_all_memory_fails_alone(glass_store, tmp_path, quiet):
    heavy = float(mgdask.open_store(glass_store).position[2, 0, 0])
    plan = mgdask.plan(glass_store, Distance(poison=heavy), out=tmp_path / "f.zarr")
    # one death is enough here: the blocks that wait behind the heavy one are blamed with it by Dask
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=True,
            memory_limit="1GiB",
            dashboard_address=NO_PORT,
            silence_logs=50,
        ) as cluster,
        Client(cluster) as own,
        pytest.raises(RunError) as failure,
    ):
        mgdask.run(plan, own, progress=False, retries=0)
    text = str(failure.value)
    assert "1 of 8 blocks failed; 7 are finished" in text
    assert "atom-00000002-0000000000: its worker died several times" in text
    assert "give workers more memory, or plan with a smaller memory=" in text
    assert plan.done == 7
    arrays = {name for name in quiet if "/c/" in name and "/c/2/" not in name}
    assert len(arrays) > 7
    assert {
        name: digest for name, digest in files(tmp_path / "f.zarr").items() if name in arrays
    } == {name: quiet[name] for name in arrays}


def test_no_memory_in_words():
    text = describe(MemoryError("Unable to allocate 8.0 TiB"))
    assert "its worker ran out of memory (Unable to allocate 8.0 TiB): give workers more" in text


# --- two runs on one output


RUN = """
import sys, mgdask
from mgdask import cluster
from mgdask.pipelines.featurize import plan as plan_module
from tests.pipelines.test_faults import Distance
plan_module.MAX_BLOCK = 2000 * 8
if __name__ == "__main__":
    work = mgdask.plan(sys.argv[1], Distance(seconds=1.0), out=sys.argv[2])
    with cluster.local_client(1) as client:
        print(*[w["pid"] for w in client.run(lambda: {"pid": __import__("os").getpid()}).values()], flush=True)
        mgdask.run(work, client)
"""


def test_a_second_run_is_refused_until_the_first_is_dead(glass_store, tmp_path, quiet):
    out = tmp_path / "f.zarr"
    first = Forked(RUN, glass_store, out)
    plan = mgdask.plan(glass_store, Distance(seconds=1.0), out=out)
    try:
        workers = [int(pid) for pid in first.readline().split()]
        ends = time.monotonic() + 120
        while len(Manifest(out).records()) < 2:
            assert first.poll() is None
            assert time.monotonic() < ends
            time.sleep(0.05)
        with pytest.raises(
            StoreError,
            match=f"is being written by process {first.pid} of user .* on {socket.gethostname()} since "
            r"\d\d:\d\d:\d\d \(.*ago\).*: wait for it",
        ):
            mgdask.run(plan, progress=False)
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    assert lock.lock_file(out).exists()
    report = mgdask.run(plan, progress=False)  # the lock of a dead process is no lock
    assert 2 <= report.skipped < report.blocks == 8
    arrays = {name for name in quiet if "/c/" in name}
    assert {name: files(out)[name] for name in arrays} == {name: quiet[name] for name in arrays}
    assert not lock.lock_file(out).exists()


def write_lock(name, age=0.0, **owner):
    name.write_text(json.dumps(owner))
    then = time.time() - age
    os.utime(name, (then, then))


def test_who_is_taken_for_dead(tmp_path):
    name, me = tmp_path / "lock", lock_owner.machine()
    alive = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(200)"])
    try:
        began = lock_owner.start_time(alive.pid)
        old = lock.LEASE + 100
        refused = [
            {
                "pid": alive.pid,
                "began": began,
                **me,
                "age": old,
            },  # its own machine knows that it lives
            {"pid": alive.pid, "host": me["host"], "age": old},
            {"pid": 1, "host": "another-node", "age": lock.LEASE - 100},
            {
                "pid": 2**22 - 3,
                **me,
                "boot": "another",
                "age": lock.LEASE - 100,
            },  # two machines of one name
            {"pid": 2**22 - 3, **me, "processes": "pid:[1]", "age": 0},  # another container
            {"age": 0},  # not whole
        ]
        dead = [
            {"pid": 2**22 - 3, **me, "age": 0},
            {"pid": 1, "host": "another-node", "age": old},
            {"pid": 2**22 - 3, **me, "boot": "another", "age": old},
            {"age": old},
        ]
        if began is not None:
            dead.append(
                {"pid": alive.pid, **me, "began": "12", "age": 0}
            )  # its number was given to another process
        for owner in refused:
            write_lock(name, **owner)
            is_here = owner.get("pid") == alive.pid
            words = "is being written by .*: wait for it" if is_here else r"wait .*remove .*lock"
            with pytest.raises(StoreError, match=words), lock.held(name, tmp_path):
                pass
            assert name.exists()
        for owner in dead:
            write_lock(name, **owner)
            with lock.held(name, tmp_path):
                assert json.loads(name.read_text())["pid"] == os.getpid()
            assert [p.name for p in tmp_path.iterdir()] == []
    finally:
        alive.kill()
        alive.wait()


def test_the_owner_gives_signs_of_life_and_keeps_to_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT", 0.02)
    name = tmp_path / "lock"
    with lock.held(name, tmp_path):
        os.utime(name, (1.0, 1.0))
        ends = time.monotonic() + 60
        while name.stat().st_mtime < 2.0:
            assert time.monotonic() < ends
            time.sleep(0.02)
        name.unlink()
        write_lock(name, pid=1, host="another-node")  # somebody took us for dead
    assert json.loads(name.read_text())["host"] == "another-node"


@pytest.mark.parametrize("links", [True, False])
def test_one_of_many_takes_over_from_the_dead(tmp_path, monkeypatch, links):
    if not links:  # a file system without hard links
        monkeypatch.setattr(
            os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links"))
        )
    name, inside, most, taken = tmp_path / "lock", [], [], []
    write_lock(name, **{**lock_owner.machine(), "pid": 2**22 - 3})
    ready = threading.Barrier(8)

    def contend():
        ready.wait()
        for _ in range(40):
            try:
                with lock.held(name, tmp_path):
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0.001)
                    inside.pop()
                    taken.append(1)
            except StoreError:
                time.sleep(0.001)

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) >= 8
    assert max(most) == 1
    assert list(tmp_path.iterdir()) == []


# --- torn records


def test_torn_records_are_work_to_do(glass_store, tmp_path, quiet):
    out = tmp_path / "f.zarr"
    plan = mgdask.plan(glass_store, Distance(), out=out)
    mgdask.run(plan, progress=False)
    content, book = Manifest(out).content(), out / "manifest" / "blocks.jsonl"
    lines = book.read_bytes().splitlines()
    records = [json.loads(line) for line in lines]
    other = {**records[1], "digest": "of other parameters"}
    hollow = {key: value for key, value in records[2].items() if key != "files"}
    book.write_bytes(
        b"\n".join(
            [
                lines[0][: len(lines[0]) // 2],
                json.dumps(other).encode(),
                json.dumps(hollow).encode(),
                b"\xff\x00" + lines[3],
                b"[]",
                b"null",
                b'"x"',
                *lines[4:7],
                lines[7][:-1],
            ]
        )
    )
    (out / "manifest" / "node-1-empty.jsonl").write_bytes(b"")
    assert plan.done == 3
    assert mgdask.run(plan, progress=False).skipped == 3
    assert files(out) == quiet
    assert Manifest(out).content() == content
