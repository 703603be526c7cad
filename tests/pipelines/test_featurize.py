"""Plan, graph and run: sizes, laziness, the same bits whatever the cut, failures, resuming."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import mgdask
from mgdask.errors import ParameterError, PlanError, RunError, StoreError
from mgdask.pipelines.featurize import plan as plan_module
from mgdask.pipelines.featurize.memory import Memory, project_memory
from mgdask.store.attributes import decode
from mgdask.store.failures import StorageFullError
from mgdask.store.manifest import Manifest
from tests.conftest import GLASS, SPECIES, threads_client
from tests.forked import Forked
from tests.plain_feature import PlainFeature


@dataclass(frozen=True)
class Stub(PlainFeature):
    """Distance from the origin, two columns; misbehaves on request."""

    fault: str = ""
    family: ClassVar[str] = "stub"
    long_name: ClassVar[str] = "stub"
    labels = ("r", "r2")

    def coordinates(self):
        return {"stub_power": np.array([1, 2])}

    def describe(self, environments, centers, out):
        if self.fault == "compute":
            raise AssertionError("computed")
        if self.fault == "slow":
            time.sleep(0.3)
        if self.fault == "frame 3" and np.abs(environments.position[0] - POISON).max() < 1e-12:
            raise FloatingPointError("NaN in the third frame")
        r = np.linalg.norm(environments.position[centers], axis=-1)
        out[...] = np.stack([r, r * r], axis=-1)
        return {"far": r > 10.0}


POISON = np.full(3, -1.0)


def files(path):
    """Every file of a store but the manifest, by digest."""
    root = Path(path)
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file() and p.relative_to(root).parts[0] != "manifest"
    }


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of some hundred atoms, so that a small glass has many."""
    monkeypatch.setattr(plan_module, "MAX_BLOCK", 2**19)


def test_plan_is_arithmetic(glass_store, tmp_path):
    soap = mgdask.SOAP(species=("Cu", "Zr"), r_cut=5.0, n_max=11, l_max=12, sigma=0.5)
    plan = mgdask.plan(glass_store, [soap], out=tmp_path / "f.zarr")
    assert plan.output_bytes == 8 * 2000 * 3289 * 8
    assert sum(len(b.frames) * b.n_rows for b in plan.blocks) == 8 * 2000
    assert plan.n_tasks == len(plan.blocks) == plan.n_files == 32
    assert plan.memory.total <= plan.allowed == 2**31
    assert not (tmp_path / "f.zarr").exists()
    text = str(plan)
    for word in (
        "32: 0 done, 32 to do",
        "3289 columns",
        "n_max=11",
        "401.49 MiB",
        "memory of a worker",
    ):
        assert word in text


def test_plan_refuses_what_does_not_fit(glass_store, tmp_path, small_soap, monkeypatch):
    out = tmp_path / "f.zarr"
    with pytest.raises(
        PlanError,
        match=r"The largest term is the interpreter.*give workers at least memory='\d+MiB'",
    ):
        mgdask.plan(glass_store, [small_soap], out=out, memory="300MiB")
    with pytest.raises(PlanError, match="or fewer than threads=64"):
        mgdask.plan(glass_store, [small_soap], out=out, memory="600MiB", threads=64)
    monkeypatch.setattr(mgdask.SOAP, "footprint", lambda *_: 2**40)
    with pytest.raises(
        PlanError, match=r"The largest term is the working memory of the feature: 1.00 TiB"
    ):
        mgdask.plan(glass_store, [small_soap], out=out)
    for memory in ("2 potatoes", "-1GiB"):
        with pytest.raises(ParameterError, match="memory="):
            mgdask.plan(glass_store, [small_soap], out=out, memory=memory)


def test_plan_refuses_wrong_input(glass_store, tmp_path, small_soap):
    out = tmp_path / "f.zarr"
    with pytest.raises(ParameterError, match="lacks Zr"):
        mgdask.plan(
            glass_store, [mgdask.SOAP(species=("Cu",), r_cut=4.0, n_max=2, l_max=1)], out=out
        )
    with pytest.raises(ParameterError, match="two features are named 'soap'"):
        mgdask.plan(glass_store, [small_soap, small_soap], out=out)
    for options, words in (
        ({"centers": "Ni"}, "no Ni in the store"),
        ({"centers": [5, 3]}, "increasing"),
        ({"centers": [2000]}, "0 to 1999"),
        ({"frames": slice(9, 20)}, "none of the 8 frames"),
        ({"frames": [8]}, "0 to 7"),
        ({"threads": 0}, "threads=0"),
    ):
        with pytest.raises(ParameterError, match=words):
            mgdask.plan(glass_store, [small_soap], out=out, **options)


def test_a_million_atoms_fit_into_two_gigabytes():
    """The arithmetic alone: blocks of central atoms of a frame that does not fit as a whole."""
    soap = mgdask.SOAP(species=("Cu", "Zr"), r_cut=5.0, n_max=11, l_max=12, sigma=0.5)
    n = 10**6
    base = plan_module.Plan(
        "s", "o", "c", (soap,), n, np.arange(3), np.arange(n), {}, memory=Memory(0, 1, 0, 0, 0, 0)
    )
    assert project_memory(base, 1).total < 2**31
    assert all(b.n_rows < n for b in base.blocks)


def test_featurize_computes_nothing_and_has_few_tasks(glass_store):
    ds = mgdask.open_store(glass_store)
    out = mgdask.featurize(ds, [Stub(fault="compute")])
    assert out.stub.shape == (8, 2000, 2)
    assert out.stub.dims == ("frame", "atom", "stub_feature")
    assert out.stub_feature.values.tolist() == ["r", "r2"]
    assert out.stub_power.values.tolist() == [1, 2]
    with pytest.raises(AssertionError, match="computed"):
        out.stub.compute()
    soap = mgdask.SOAP(species=("Cu", "Zr"), r_cut=5.0, n_max=11, l_max=12, sigma=0.5)
    lazy = mgdask.featurize(ds, [soap]).soap
    # 8 frames in 4 blocks of atoms: one task for the rows, and one that features share
    assert lazy.data.npartitions == 32
    assert len(dict(lazy.__dask_graph__())) <= 2 * 32 + 8


@pytest.mark.parametrize("chunks", [{"frame": 1}, {"frame": 3, "atom": 700}, {}])
def test_lazy_batch_and_one_configuration_give_the_same_bits(
    glass_store, tmp_path, small_soap, small_blocks, chunks
):
    ds = mgdask.open_store(glass_store).chunk(chunks)
    lazy = mgdask.featurize(ds.isel(frame=slice(2, 6)), small_soap).soap.values
    plan = mgdask.plan(glass_store, small_soap, out=tmp_path / "f.zarr", frames=slice(2, 6))
    assert len({b.row for b in plan.blocks}) > 1
    mgdask.run(plan, progress=False)
    batch = mgdask.open_store(tmp_path / "f.zarr").soap.values
    one = small_soap.compute(ds.position[4].values, ds.cell[4].values, ds.species.values)
    assert (lazy == batch).all()
    assert (batch[2] == one).all()


@pytest.mark.parametrize("average", ["inner", "outer"])
def test_averages_are_one_row_a_frame(glass_store, tmp_path, average):
    soap = mgdask.SOAP(
        species=("Cu", "Zr"), r_cut=4.0, n_max=3, l_max=2, sigma=0.5, average=average
    )
    ds = mgdask.open_store(glass_store)
    mgdask.run(
        mgdask.plan(glass_store, [soap, Stub()], out=tmp_path / "f.zarr", centers="Zr"),
        progress=False,
    )
    out = mgdask.open_store(tmp_path / "f.zarr")
    zr = np.flatnonzero(ds.species.values == 40)
    assert out.soap.dims == ("frame", "soap_feature")
    assert out.stub.shape == (8, len(zr), 2)
    want = soap.compute(ds.position[5].values, ds.cell[5].values, ds.species.values, centers=zr)
    assert (out.soap[5].values == want).all()
    assert (mgdask.featurize(ds, soap, centers="Zr").soap[5].values == want).all()


def test_the_output_explains_itself(glass_store, tmp_path, small_soap):
    mgdask.run(mgdask.plan(glass_store, small_soap, out=tmp_path / "f.zarr"), progress=False)
    out = mgdask.open_store(tmp_path / "f.zarr")
    assert out.soap.sel(soap_feature="Cu-Zr l=2 n=1,3").shape == (8, 2000)
    assert decode(out.attrs, "features") == [{"soap": small_soap.parameters()}]
    assert out.attrs["input_content"] == Manifest(glass_store).content()
    assert "Bartók" in out.soap.attrs["citation"]
    assert {"numpy", "numba", "zarr", "mgdask"} <= set(decode(out.attrs, "versions"))
    record = next(iter(Manifest(tmp_path / "f.zarr").records().values()))
    assert {"block", "digest", "checksum", "host", "seconds", "peak_memory"} <= set(record)
    assert (out.atom_id.values == np.arange(1, 2001)).all()


def test_workers_and_blocks_do_not_change_a_bit(
    glass_store, tmp_path, small_soap, small_blocks, client
):
    plan = mgdask.plan(glass_store, small_soap, out=tmp_path / "a.zarr", frames=slice(2, 5))
    report = mgdask.run(plan, client, progress=False)
    assert report.blocks == len(plan.blocks) > 3
    assert report.peak_memory > 0
    assert report.excess_memory == 0
    mgdask.run(
        mgdask.plan(glass_store, small_soap, out=tmp_path / "b.zarr", frames=slice(2, 5)),
        progress=False,
    )
    a, b = files(tmp_path / "a.zarr"), files(tmp_path / "b.zarr")
    assert a == b


def test_changed_parameters_never_mix(glass_store, tmp_path, small_soap):
    out = tmp_path / "f.zarr"
    mgdask.run(mgdask.plan(glass_store, small_soap, out=out), progress=False)
    before = files(out)
    other = mgdask.SOAP(**{**small_soap.parameters(), "r_cut": 4.5})
    with pytest.raises(StoreError, match=r"Stored -> planned: soap: r_cut 4\.0 -> 4\.5$"):
        mgdask.plan(glass_store, other, out=out)
    with pytest.raises(StoreError, match=r"planned: number of central atoms 2000 -> 1120$"):
        mgdask.plan(glass_store, small_soap, out=out, centers="Cu")
    assert files(out) == before
    assert mgdask.run(mgdask.plan(glass_store, small_soap, out=out), progress=False).skipped > 0


def test_a_lost_shard_or_record_is_done_again(glass_store, tmp_path, small_soap, small_blocks):
    out = tmp_path / "f.zarr"
    plan = mgdask.plan(glass_store, small_soap, out=out)
    mgdask.run(plan, progress=False)
    before = files(out)
    shard = next(p for p in (out / "soap" / "c").rglob("*") if p.is_file())
    shard.write_bytes(shard.read_bytes()[:-5])
    assert plan.done == len(plan.blocks) - 1
    assert mgdask.run(plan, progress=False).skipped == len(plan.blocks) - 1
    assert files(out) == before


def test_a_failing_block_does_not_stop_the_others(glass_store, tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "MAX_BLOCK", 2**13)
    plan = mgdask.plan(glass_store, Stub(fault="frame 3"), out=tmp_path / "f.zarr")
    monkeypatch.setattr(
        sys.modules[__name__], "POISON", mgdask.open_store(glass_store).position[0, 0].values
    )
    with threads_client(2) as own:
        with pytest.raises(
            RunError, match=r"(?s)1 of \d+ blocks failed.*NaN in the third frame"
        ) as failure:
            mgdask.run(plan, own, progress=False, retries=1)
        assert "atom-00000000-0000000000" in str(failure.value)
        assert plan.done == len(plan.blocks) - 1
        with pytest.raises(StoreError, match="is not finished"):
            mgdask.open_store(tmp_path / "f.zarr")
        monkeypatch.setattr(sys.modules[__name__], "POISON", np.full(3, -1.0))
        assert mgdask.run(plan, own, progress=False).skipped == len(plan.blocks) - 1


@pytest.mark.slow  # test_faults.py has a full disk that is made up
@pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("mount"), reason="a small file system needs root and mount"
)
def test_a_full_disk_ends_in_words_and_finished_blocks_stay(glass_store, tmp_path, small_blocks):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], check=False
    ).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        soap = mgdask.SOAP(species=("Cu", "Zr"), r_cut=4.0, n_max=8, l_max=6, sigma=0.5)
        plan = mgdask.plan(glass_store, soap, out=disk / "f.zarr")
        with pytest.raises(StorageFullError, match=r"f.zarr is full.*run the same command again"):
            mgdask.run(plan, progress=False)
        done = plan.done
        assert 0 < done < len(plan.blocks)
        subprocess.run(["mount", "-o", "remount,size=400m", str(disk)], check=True)
        # a block that was in flight may have been finished since
        assert done <= mgdask.run(plan, progress=False).skipped < len(plan.blocks)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(StorageFullError, match="cannot be written"):
            mgdask.run(mgdask.plan(glass_store, soap, out=disk / "g.zarr"), progress=False)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


SCRIPT = """
import sys, mgdask
from mgdask import cluster
from mgdask.pipelines.featurize import plan as plan_module
from tests.pipelines.test_featurize import Stub
plan_module.MAX_BLOCK = 2**12
if __name__ == "__main__":
    work = mgdask.plan(sys.argv[1], Stub(fault="slow"), out=sys.argv[2])
    print(len(work.blocks), flush=True)
    with cluster.local_client(2) as client:
        print(*[w["pid"] for w in client.run(lambda: {"pid": __import__("os").getpid()}).values()], flush=True)
        print(mgdask.run(work, client), flush=True)
"""


def start(glass_store, out):
    process = Forked(SCRIPT, glass_store, out)
    blocks = int(process.readline(0))
    workers = [int(pid) for pid in process.readline(1).split()]
    return process, blocks, workers


def wait_for(count, out, process):
    for _ in range(400):
        if len(Manifest(out).records()) >= count:
            return
        assert process.poll() is None
        time.sleep(0.05)
    raise AssertionError("no progress")


@pytest.fixture(scope="module")
def undisturbed(glass_store, tmp_path_factory):
    """Store of the script above, run to its end."""
    out = tmp_path_factory.mktemp("undisturbed") / "quiet.zarr"
    process, _, _ = start(glass_store, out)
    assert "blocks" in process.communicate(timeout=120)[0]
    return out


@pytest.mark.parametrize("victim", ["worker", "client"])
def test_kill_9_loses_only_what_was_in_flight(glass_store, tmp_path, undisturbed, victim):
    quiet, out = undisturbed, tmp_path / "killed.zarr"
    process, blocks, workers = start(glass_store, out)
    wait_for(3, out, process)
    if victim == "worker":
        os.kill(workers[0], signal.SIGKILL)
        assert (
            "blocks" in process.communicate(timeout=120)[0]
        )  # the nanny starts another one, the block is done again
        assert process.returncode == 0
    else:
        process.kill()
        process.wait()
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.3)
        records = Manifest(out).records()
        assert 3 <= len(records) < blocks
        with pytest.raises(StoreError, match="is not finished"):
            mgdask.open_store(out)
        process, blocks, _ = start(glass_store, out)
        text = process.communicate(timeout=120)[0]
        assert f"{blocks - len(records)} computed now, {len(records)} were done before" in text
    assert files(out) == files(quiet)
    assert mgdask.open_store(out).stub.shape == (8, 2000, 2)


def test_too_many_threads_for_the_plan_are_refused(glass_store, tmp_path, small_soap):
    with (
        threads_client(40) as own,
        pytest.raises(RunError, match=r"40 threads each, but only .* fit"),
    ):
        mgdask.run(
            mgdask.plan(glass_store, small_soap, out=tmp_path / "f.zarr", memory="600MiB"), own
        )


def test_a_store_that_changed_after_planning_is_noticed(tmp_path, small_soap):
    store = tmp_path / "g.zarr"
    mgdask.ingest(str(GLASS), store, species=SPECIES)
    plan = mgdask.plan(store, small_soap, out=tmp_path / "f.zarr")
    mgdask.ingest(str(GLASS), store, species={1: "Cu", 2: "Zr"}, overwrite=True)
    with pytest.raises(StoreError, match="has changed since the plan was made"):
        mgdask.run(plan)


def test_the_last_task_lifts_the_limit_of_library_threads():
    from threadpoolctl import threadpool_info, threadpool_limits

    from mgdask.execution.executor import one_library_thread

    def threads():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    with threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        first, second = one_library_thread(), one_library_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert threads() == {1}  # the second is still at work
        second.__exit__(None, None, None)
        assert threads() == before
