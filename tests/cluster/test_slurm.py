"""Runs on a real Slurm, undisturbed and with losses; the bytes must be the same."""

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
from tests.cluster.sleepy import register
from tests.cluster.slurm_site import Slurm, wait_until, why_absent
from tests.forked import ROOT, Forked
from tests.pipelines.test_featurize import files

# by default test_cluster.py and test_deploy.py run with a queueing system that is made up
pytestmark = [
    pytest.mark.slow,
    pytest.mark.slurm,
    pytest.mark.skipif(bool(why_absent()), reason=why_absent()),
]

CAMPAIGN = Path(__file__).parents[2] / "deploy" / "slurm_campaign.sh"
WORKERS = 2
IN_FLIGHT = 2 * WORKERS
"""Maximum number of blocks that a run has submitted but not yet seen finished."""
SMALL = 2**18
"""Block size in bytes, so that a small glass has many blocks."""
OPTIONS = "r_cut=4,n_max=4,l_max=7,sigma=0.5,rbf=polynomial,dtype=float32"
SECONDS = "0.3"
"""Time per block."""
# the command line with small blocks, which checks its jobs every second
CLIENT = f"""
from mgdask.cluster import jobs
from mgdask.pipelines.featurize import plan
from tests.cluster.sleepy import register
register()
plan.MAX_BLOCK, jobs.JOB_CHECK_INTERVAL = {SMALL}, 1.0
from mgdask.cli import main
main()
"""


@pytest.fixture(scope="module")
def slurm():
    with ExitStack() as stack:
        try:
            running = stack.enter_context(Slurm())
        except (AssertionError, OSError) as error:
            # whether Slurm runs on this machine says nothing about mgdask
            if os.environ.get("MGDASK_SLURM") == "required":
                raise
            pytest.skip(f"Slurm does not start (MGDASK_SLURM=required makes this fail): {error}")
        yield running
    assert not running.processes()


@pytest.fixture
def site(tmp_path):
    """Function that writes a site file."""

    def write(jobs=WORKERS, walltime="00:30:00"):
        path = tmp_path / f"site-{jobs}.yaml"
        path.write_text(
            f"kind: slurm\njobs: {jobs}\ncores: 1\nmemory: 2GiB\nwalltime: {walltime}\n"
            f"interface: lo\npython: {sys.executable}\nlog_directory: {tmp_path / 'logs'}\n"
            f"local_directory: {tmp_path / 'scratch'}\nshared_directory: {tmp_path / 'tls'}\n"
        )
        return path

    return write


@pytest.fixture(scope="module")
def quiet(glass_store, tmp_path_factory):
    """Files and number of blocks of a run in this process, without a cluster."""
    out = tmp_path_factory.mktemp("quiet") / "f.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_module, "MAX_BLOCK", SMALL)
        register(patch.setattr)
        plan = mgdask.plan(
            glass_store, make_feature("sleepy", parse_options(OPTIONS), ("Cu", "Zr")), out=out
        )
        report = mgdask.run(plan, progress=False)
    assert report.blocks >= 30
    return files(out), report.blocks


@dataclass
class Run:
    """A ``mgdask featurize`` in a process of its own."""

    process: Forked
    out: Path
    logs: Path

    def wait_for(self, blocks):
        """Wait until so many blocks are done; return their files."""

        def enough():
            assert self.process.poll() is None, self.text()
            return len(Manifest(self.out).records()) >= blocks

        wait_until(enough, f"{blocks} blocks done: {self.text()}", 240)
        return self.written(Manifest(self.out).records())

    def written(self, blocks):
        """Return frame, row, inode and modification time of each file of the blocks."""
        written = {}
        for name in blocks:
            frame, row = (int(word) for word in name.split("-")[1:])
            record = Manifest(self.out).records()[name]
            stats = [(self.out / file).stat() for file in record["files"]]
            written[name] = [(frame, row, stat.st_ino, stat.st_mtime_ns) for stat in stats]
        return written

    def finish(self):
        """Return the numbers of blocks computed now and done before."""
        try:
            assert self.process.wait(400) == 0, self.text()
        finally:
            self.kill()
        counts = re.search(r"(\d+) computed now, (\d+) were done before", self.text())
        assert counts, self.text()
        return int(counts.group(1)), int(counts.group(2))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def text(self):
        logs = {path.name: path.read_text(errors="replace") for path in self.logs.glob("*")}
        logs["client"] = self.process.printed(self.process.stdout)
        return "\n".join(f"{name}: {text[-3000:]}" for name, text in logs.items())


@pytest.fixture
def featurize(slurm, glass_store, tmp_path):
    """Function that starts the command; the test ends what is left of it."""
    started = []

    def start(site):
        out = tmp_path / "f.zarr"
        words = ["featurize", glass_store, "--feature", f"sleepy:{OPTIONS}"]
        process = Forked(
            CLIENT,
            *(*words, "--out", out, "--cluster", site),
            env={**slurm.environment, "SLEEPY": SECONDS},
            cwd=tmp_path,
            merged=True,
        )
        started.append(Run(process, out, tmp_path / "logs"))
        return started[-1]

    yield start
    for run in started:
        run.kill()
    slurm.cancel(*slurm.jobs())
    wait_until(lambda: not slurm.jobs(), "no job is left")


def job_of(pid):
    """Return the Slurm job of a process."""
    return psutil.Process(pid).environ()["SLURM_JOB_ID"]


def newest_worker(out):
    """Return the id of a living process that has finished a block."""
    pids = {record["pid"] for record in Manifest(out).records().values()}
    return max(pid for pid in pids if psutil.pid_exists(pid))


def listening(slurm, run):
    """Return where the processes of a run and of Slurm listen, and how many do."""
    pids = {process.pid for process in slurm.processes()} | {run.process.pid}
    connections = [
        connection
        for connection in psutil.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.pid in pids
    ]
    return {c.laddr.ip for c in connections}, len({c.pid for c in connections})


def test_slurm_jobs_give_the_same_bytes(slurm, featurize, site, quiet):
    before = set(slurm.ended())
    run = featurize(site())
    run.wait_for(3)
    assert len(slurm.jobs()) == WORKERS
    assert job_of(newest_worker(run.out)) in slurm.jobs("RUNNING")
    addresses, processes = listening(slurm, run)
    assert addresses <= {"127.0.0.1", "::1"}
    # slurmctld, slurmd, the client with its scheduler, workers
    assert processes >= 1 + slurm.nodes + 1 + WORKERS
    assert run.finish() == (quiet[1], 0)
    assert files(run.out) == quiet[0]
    wait_until(lambda: not slurm.jobs(), "the jobs end with the client")
    assert len(set(slurm.ended()) - before) == WORKERS


@pytest.mark.parametrize("how", ["scancel", "kill -9"])
def test_a_lost_worker_costs_only_the_blocks_in_flight(slurm, featurize, site, quiet, how):
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


def test_a_killed_client_resumes(slurm, featurize, site, quiet):
    run = featurize(site())
    run.wait_for(8)
    jobs = set(slurm.jobs())
    run.kill()
    again = featurize(site())
    # its workers may have finished their blocks meanwhile
    done = run.written(Manifest(run.out).records())
    computed, kept = again.finish()
    assert computed + kept == quiet[1]
    assert len(done) <= kept <= len(done) + IN_FLIGHT
    assert files(run.out) == quiet[0]
    assert run.written(done) == done
    wait_until(
        lambda: not jobs & set(slurm.jobs()), "the jobs of the dead client end by themselves"
    )


def test_a_run_resumes_after_a_power_failure_of_the_cluster(slurm, featurize, site, quiet):
    run = featurize(site())
    run.wait_for(8)
    slurm.cut_power(run.process.pid)
    assert run.process.wait(60) == -signal.SIGKILL
    assert not slurm.processes()
    done = run.written(Manifest(run.out).records())
    assert 8 <= len(done) < quiet[1]
    slurm.start()
    assert featurize(site(jobs=3)).finish() == (quiet[1] - len(done), len(done))
    assert files(run.out) == quiet[0]
    assert run.written(done) == done


def test_jobs_at_the_end_of_their_lifetime_are_replaced(slurm, featurize, site, quiet):
    before = set(slurm.ended())
    run = featurize(site(walltime="00:00:40"))  # workers leave after 13 to 31 s
    run.wait_for(4)
    # a stopped client submits no blocks, so the first workers cannot finish the plan
    run.process.send_signal(signal.SIGSTOP)
    first = {record["pid"] for record in Manifest(run.out).records().values()}
    processes = [process for job in slurm.jobs() for process in slurm.workers(job)]
    assert processes
    wait_until(
        lambda: all(
            not one.is_running() or time.time() - one.create_time() > 40 for one in processes
        ),
        "the first workers end",
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


def test_training_survives_the_loss_of_the_job_of_a_rank(slurm, site, tmp_path, monkeypatch, rng):
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
    options = {"objective": "regression", "num_boost_round": 150, "threads": 1, "progress": False}
    options["params"] = {"num_leaves": 63, "learning_rate": 0.02}
    want = learn.train(rows, **options).text
    lost = []

    def cancel_a_rank(folder):
        # after the first checkpoint, the rank that does not write it
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


def test_a_campaign_resubmits_itself_until_the_plan_is_done(
    slurm, featurize, site, glass_store, quiet, tmp_path
):
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "mgdask"
    command.write_text(f"#!{sys.executable}\n{CLIENT}")
    command.chmod(0o755)
    out = tmp_path / "f.zarr"
    environment = {
        **slurm.environment,
        "PYTHONPATH": ROOT,
        "SLEEPY": SECONDS,
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
        "--feature",
        f"sleepy:{OPTIONS}",
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
    # what Slurm sends shortly before the walltime
    slurm.call("scancel", "--batch", "--signal=USR1", first)
    wait_until(lambda: Manifest(out).content() is not None or not slurm.jobs(), "the end", 400)
    wait_until(lambda: not slurm.jobs(), "the last job ends", 240)
    log = text()
    assert re.findall(r"round (\d) of at most", log) == ["1", "2"], log
    kept = int(re.findall(r"(\d+) were done before", log)[-1])
    assert 8 <= kept < quiet[1]
    assert files(out) == quiet[0]
    assert slurm.ended()[first] == "COMPLETED"
