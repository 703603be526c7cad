"""A real Slurm: features through its jobs, and the losses a supercomputer brings, each with the bytes of a quiet run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

import mgdask
from mgdask.cluster import open_cluster
from mgdask.features import make_feature, parse_options
from mgdask.pipelines.featurize import plan as plan_module
from mgdask.store.manifest import Manifest
from tests.cluster.slurm_site import Slurm, wait_until, why_absent
from tests.pipelines.test_featurize import files

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(why_absent()), reason=why_absent())]

CAMPAIGN = Path(__file__).parents[2] / "deploy" / "slurm_campaign.sh"
WORKERS = 2
IN_FLIGHT = 2 * WORKERS
"""Blocks that a run has handed out and not yet heard of, at most."""
SMALL = 2**18
"""Bytes of a block: a small glass has as many as a large one."""
SOAP = "r_cut=16,n_max=3,l_max=16,sigma=0.5,rbf=polynomial,dtype=float32"
# the command line, with small blocks and an eye on the queue every second
CLIENT = f"""
from mgdask.cluster import jobs
from mgdask.pipelines.featurize import plan
plan.MAX_BLOCK, jobs.JOB_CHECK_INTERVAL = {SMALL}, 1.0
from mgdask.cli import main
main()
"""


@pytest.fixture(scope="module")
def slurm():
    with ExitStack() as stack:
        try:
            running = stack.enter_context(Slurm())
        except (
            AssertionError,
            OSError,
        ) as error:  # a machine that Slurm does not like says nothing about mgdask
            if os.environ.get("MGDASK_SLURM") == "required":
                raise
            pytest.skip(
                f"Slurm is installed and does not start here (MGDASK_SLURM=required makes this an error): {error}"
            )
        yield running
    assert not running.processes()


@pytest.fixture
def site(tmp_path):
    """Writes a site file of that many jobs."""

    def write(jobs=WORKERS, walltime="00:30:00"):
        path = tmp_path / f"site-{jobs}.yaml"
        path.write_text(
            f"kind: slurm\njobs: {jobs}\ncores: 1\nmemory: 2GiB\nwalltime: {walltime}\ninterface: lo\n"
            f"python: {sys.executable}\nlog_directory: {tmp_path / 'logs'}\nlocal_directory: {tmp_path / 'scratch'}\n"
        )
        return path

    return write


@pytest.fixture(scope="module")
def quiet(glass_store, tmp_path_factory):
    """Files of the features as this process makes them, without any cluster, and their number of blocks."""
    out = tmp_path_factory.mktemp("quiet") / "f.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_module, "MAX_BLOCK", SMALL)
        plan = mgdask.plan(
            glass_store, make_feature("soap", parse_options(SOAP), ("Cu", "Zr")), out=out
        )
        report = mgdask.run(plan, progress=False)
    assert report.blocks >= 30
    return files(out), report.blocks


@dataclass
class Run:
    """A ``mgdask featurize`` that goes on as a process of its own."""

    process: subprocess.Popen[str]
    out: Path
    log: Path

    def wait_for(self, blocks):
        """Come back when so many blocks are done: what is on disk of them, as (inode, time of change) of each file."""

        def enough():
            assert self.process.poll() is None, self.text()
            return len(Manifest(self.out).records()) >= blocks

        wait_until(enough, f"{blocks} blocks done: {self.text()}", 240)
        return self.written(Manifest(self.out).records())

    def written(self, blocks):
        found = {}
        for name in blocks:
            frame, row = (int(word) for word in name.split("-")[1:])
            record = Manifest(self.out).records()[name]
            stats = [(self.out / file).stat() for file in record["files"]]
            found[name] = [(frame, row, one.st_ino, one.st_mtime_ns) for one in stats]
        return found

    def finish(self):
        """The last table of the command: blocks computed now and blocks done before."""
        try:
            assert self.process.wait(400) == 0, self.text()
        finally:
            self.kill()
        found = re.search(r"(\d+) computed now, (\d+) were done before", self.text())
        assert found, self.text()
        return int(found.group(1)), int(found.group(2))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def text(self):
        logs = [self.log, *self.log.parent.glob("logs/*")]
        return "\n".join(
            f"{path.name}: {path.read_text(errors='replace')[-3000:]}"
            for path in logs
            if path.exists()
        )


@pytest.fixture
def featurize(slurm, glass_store, tmp_path):
    """Starts the command; whatever is left of it ends with the test."""
    started = []

    def start(site, soap=SOAP):
        out, log = tmp_path / "f.zarr", tmp_path / f"client-{len(started)}.log"
        environment = {**slurm.environment, "PYTHONPATH": str(Path(mgdask.__file__).parents[1])}
        with open(log, "w") as stream:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    CLIENT,
                    "featurize",
                    glass_store,
                    "--soap",
                    soap,
                    "--out",
                    str(out),
                    "--cluster",
                    str(site),
                ],
                env=environment,
                stdout=stream,
                stderr=stream,
                stdin=subprocess.DEVNULL,
                cwd=tmp_path,
                text=True,
            )
        started.append(Run(process, out, log))
        return started[-1]

    yield start
    for run in started:
        run.kill()
    slurm.cancel(*slurm.jobs())
    wait_until(lambda: not slurm.jobs(), "no job is left")


def job_of(pid):
    """The Slurm job that a process belongs to."""
    return psutil.Process(pid).environ()["SLURM_JOB_ID"]


def newest_worker(out):
    """Process that finished a block and lives."""
    pids = {record["pid"] for record in Manifest(out).records().values()}
    return max(pid for pid in pids if psutil.pid_exists(pid))


def listening(slurm, run):
    """Addresses that the processes of a run and of Slurm listen on, and how many of them do."""
    pids = {process.pid for process in slurm.processes()} | {run.process.pid}
    found = [
        one
        for one in psutil.net_connections("inet")
        if one.status == psutil.CONN_LISTEN and one.pid in pids
    ]
    return {one.laddr.ip for one in found}, len({one.pid for one in found})


def test_a_glass_through_slurm_jobs(slurm, featurize, site, quiet):
    before = set(slurm.ended())
    run = featurize(site())
    run.wait_for(3)
    assert len(slurm.jobs()) == WORKERS
    assert job_of(newest_worker(run.out)) in slurm.jobs("RUNNING")
    addresses, processes = listening(slurm, run)
    assert addresses <= {"127.0.0.1", "::1"}
    assert (
        processes >= 1 + slurm.nodes + 1 + WORKERS
    )  # slurmctld, slurmd, the client with its scheduler, workers
    assert run.finish() == (quiet[1], 0)
    assert files(run.out) == quiet[0]
    wait_until(lambda: not slurm.jobs(), "the jobs end with the client")
    assert len(set(slurm.ended()) - before) == WORKERS


@pytest.mark.parametrize("how", ["scancel", "kill -9"])
def test_a_lost_worker_costs_the_blocks_in_flight(slurm, featurize, site, quiet, how):
    run = featurize(site())
    done = run.wait_for(8)
    victim = newest_worker(run.out)
    job = job_of(victim)
    if how == "scancel":
        slurm.call("scancel", job)
    else:
        os.kill(victim, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(victim), "the worker is gone")
    assert len(Manifest(run.out).records()) < quiet[1]
    assert run.finish() == (quiet[1], 0)
    assert files(run.out) == quiet[0]
    after = run.written(done)
    assert sum(after[name] != done[name] for name in done) <= IN_FLIGHT
    if how == "scancel":
        wait_until(lambda: slurm.ended().get(job) == "CANCELLED", "Slurm says so")


def test_a_killed_client_is_started_again(slurm, featurize, site, quiet):
    run = featurize(site())
    run.wait_for(8)
    jobs = set(slurm.jobs())
    run.kill()
    again = featurize(site())
    # its workers may have finished the blocks they were at
    done = run.written(Manifest(run.out).records())
    computed, kept = again.finish()
    assert computed + kept == quiet[1]
    assert len(done) <= kept <= len(done) + IN_FLIGHT
    assert files(run.out) == quiet[0]
    assert run.written(done) == done
    wait_until(
        lambda: not jobs & set(slurm.jobs()), "the jobs of the dead client end by themselves"
    )


def test_the_whole_cluster_loses_power_and_the_plan_is_finished_later(
    slurm, featurize, site, quiet
):
    run = featurize(site())
    run.wait_for(8)
    slurm.cut_power()
    assert run.process.wait(60) == -signal.SIGKILL
    assert not slurm.processes()
    done = run.written(Manifest(run.out).records())
    assert 8 <= len(done) < quiet[1]
    slurm.start()
    assert featurize(site(jobs=3)).finish() == (quiet[1] - len(done), len(done))
    assert files(run.out) == quiet[0]
    assert run.written(done) == done


def test_jobs_whose_lifetime_ends_are_replaced_until_the_plan_is_done(
    slurm, featurize, site, quiet
):
    before = set(slurm.ended())
    run = featurize(site(walltime="00:00:20"))  # workers leave after 7 to 15 s
    run.wait_for(4)
    # a client that hangs for a while hands out nothing, so that the first workers cannot finish the plan, however quick they are
    run.process.send_signal(signal.SIGSTOP)
    first = {record["pid"] for record in Manifest(run.out).records().values()}
    processes = [process for job in slurm.jobs() for process in slurm.workers(job)]
    assert processes
    wait_until(
        lambda: all(
            not one.is_running() or time.time() - one.create_time() > 20 for one in processes
        ),
        "their time",
    )
    done = run.written(Manifest(run.out).records())
    assert 4 <= len(done) < quiet[1]
    run.process.send_signal(signal.SIGCONT)
    assert run.finish() == (quiet[1], 0)
    assert files(run.out) == quiet[0]
    wait_until(lambda: not slurm.jobs(), "the jobs end with the client")
    assert len(set(slurm.ended()) - before) > WORKERS
    assert {record["pid"] for record in Manifest(run.out).records().values()} - first
    after = run.written(done)
    assert sum(after[name] != done[name] for name in done) <= IN_FLIGHT


def test_training_survives_the_loss_of_a_rank_s_job(slurm, site, tmp_path, monkeypatch, rng):
    learn = pytest.importorskip("mgdask.learn")
    pytest.importorskip("lightgbm")
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, slurm.environment[name])
    x = rng.normal(size=(20_000, 12)).astype(np.float32)
    y = (x[:, 0] + np.sin(2 * x[:, 1]) + 0.5 * x[:, 2] ** 2 + rng.normal(size=len(x))).astype(
        np.float32
    )
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    rows = learn.Rows((learn.Part(str(tmp_path / "x.npy")),), labels=str(tmp_path / "y.npy"))
    options = {"objective": "regression", "rounds": 150, "threads": 1, "progress": False}
    options["params"] = {"num_leaves": 63, "learning_rate": 0.02}
    want = learn.train(rows, **options).text
    lost = []

    def cancel_a_rank(folder):
        # the rank that does not write the checkpoint, once there is one
        wait_until((folder / "checkpoint.json").exists, "a checkpoint", 240, every=0.02)
        (seen,) = folder.glob("attempt-*/rank-1.json")
        lost.append(job_of(json.loads(seen.read_text())["pid"]))
        slurm.call("scancel", lost[0])

    folder = tmp_path / "checkpoint"
    with open_cluster(site(), fixed=True) as client:
        client.wait_for_workers(WORKERS, timeout=240)
        killer = threading.Thread(target=cancel_a_rank, args=(folder,))
        killer.start()
        model = learn.train(
            rows,
            client=client,
            ranks=WORKERS,
            checkpoint=folder,
            checkpoint_every=5,
            stall=60.0,
            **options,
        )
        killer.join()
    assert model.text == want
    assert len(model.card["recovered"]) >= 1
    wait_until(lambda: slurm.ended().get(lost[0]) == "CANCELLED", "Slurm says so")
    wait_until(lambda: not slurm.jobs(), "the pool ends with the client")


def test_a_campaign_submits_itself_until_the_plan_is_done(
    slurm, featurize, site, glass_store, quiet, tmp_path
):
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "mgdask"
    command.write_text(f"#!{sys.executable}\n{CLIENT}")
    command.chmod(0o755)
    out = tmp_path / "f.zarr"
    environment = {
        **slurm.environment,
        "PYTHONPATH": str(Path(mgdask.__file__).parents[1]),
        "PATH": f"{command.parent}{os.pathsep}{slurm.environment['PATH']}",
        "SBATCH_OUTPUT": str(tmp_path / "campaign-%j.log"),
    }
    submit = [
        "sbatch",
        "--parsable",
        str(CAMPAIGN),
        str(out),
        "mgdask",
        "featurize",
        glass_store,
        "--soap",
        SOAP,
    ]
    submit += ["--out", str(out), "--cluster", str(site())]
    first = subprocess.run(
        submit, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout.strip()

    def text():
        return "\n".join(
            path.read_text()
            for path in [*sorted(tmp_path.glob("campaign-*.log")), *tmp_path.glob("logs/*")]
        )

    wait_until(
        lambda: len(Manifest(out).records()) >= 8 or first not in slurm.jobs(), "some blocks", 240
    )
    assert first in slurm.jobs(), text()
    slurm.call(
        "scancel", "--batch", "--signal=USR1", first
    )  # what Slurm sends before the time is up
    wait_until(lambda: Manifest(out).content() is not None or not slurm.jobs(), "the end", 400)
    wait_until(lambda: not slurm.jobs(), "the last job ends", 240)
    log = text()
    assert re.findall(r"round (\d) of at most", log) == ["1", "2"], log
    kept = int(re.findall(r"(\d+) were done before", log)[-1])
    assert 8 <= kept < quiet[1]
    assert files(out) == quiet[0]
    assert slurm.ended()[first] == "COMPLETED"
