"""Site files, job scripts, addresses, TLS and replaced jobs, on a stand-in Slurm."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mgdask
from mgdask import cluster
from mgdask.cluster import jobs
from mgdask.cluster.client import MAX_FRUITLESS_JOBS
from mgdask.cluster.queue import job_options
from mgdask.errors import MissingDependencyError, ParameterError, RunError
from mgdask.pipelines.featurize import plan as plan_module
from mgdask.store.manifest import Manifest
from tests.cli.test_cli import mgdask_command
from tests.cluster.queueing import alive, jobs_of, put_on_path
from tests.forked import COMMAND_LINE, Forked, run
from tests.pipelines.test_featurize import Stub, files

ROOT = Path(__file__).parents[2]
SITE = {
    "kind": "slurm",
    "jobs": 2,
    "cores": 1,
    "memory": "1GiB",
    "walltime": "01:00:00",
    "interface": "lo",
}
TIMEOUT = 120.0


def wait_until(condition, what):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Folder of the stand-in. Jobs use this checkout and are checked often."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HOME", str(tmp_path))  # which has temporary certificates
    monkeypatch.setattr(jobs, "JOB_CHECK_INTERVAL", 0.5)
    folder = put_on_path(tmp_path / "bin", monkeypatch)
    yield folder
    for job in jobs_of(folder):
        if alive(job):
            os.killpg(job, signal.SIGKILL)


def test_sites_are_read_from_words_files_and_text(tmp_path):
    assert cluster.read_site("local").kind == "local"
    assert cluster.read_site("tls://10.0.0.1:8786").address == "tls://10.0.0.1:8786"
    assert cluster.read_site("node17:8786").kind == "scheduler"
    (tmp_path / "s.json").write_text(json.dumps({"address": "tcp://127.0.0.1:1"}))
    assert cluster.read_site(tmp_path / "s.json").file == str(tmp_path / "s.json")
    text = (
        "kind: slurm\njobs: 2\ncores: 8\nmemory: 16GiB\nprocesses: 4\nwalltime: 12:00:00\n"
        "interface: ib0\ndashboard: off\nqueue:\n"
    )
    (tmp_path / "a.yaml").write_text(text)
    for site in (cluster.read_site(text), cluster.read_site(str(tmp_path / "a.yaml"))):
        assert (site.walltime, site.dashboard, site.queue) == (
            "12:00:00",
            "off",
            None,
        )  # which YAML 1.1 would read as 43200 and False
        assert (site.worker_threads, site.worker_memory) == (2, 4 * 2**30)
    assert cluster.read_site({**SITE, "dashboard": False}).dashboard == "off"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**SITE, "core": 3}, "unknown key 'core'; kind slurm takes cores, dashboard, directives"),
        (
            {"kind": "local", "walltime": "01:00:00"},
            "unknown key 'walltime'; kind local takes dashboard, kind, memory",
        ),
        ({"kind": "moab"}, "'local', 'scheduler', 'slurm'"),
        ({**SITE, "walltime": "12:00"}, r"walltime: '12:00' is not a time: write \[D-\]HH:MM:SS"),
        ({**SITE, "cores": 8, "processes": 3}, "processes: 3 does not divide cores: 8"),
        ({k: v for k, v in SITE.items() if k != "interface"}, "kind slurm also needs interface"),
        ({**SITE, "jobs": 0}, "jobs: must be at least 1"),
        ({**SITE, "dashboard": "yes"}, "must be off, loopback, or an address"),
        ({**SITE, "kind": "htcondor"}, "kind htcondor also needs disk"),
        ({"kind": "scheduler"}, "needs either address"),
        ({**SITE, "memory": "much"}, "memory: 'much' is not a size"),
    ],
)
def test_wrong_sites_are_refused(values, message):
    with pytest.raises(ParameterError, match=message):
        cluster.read_site(values)
    with pytest.raises(ParameterError, match="nor a YAML file that exists"):
        cluster.read_site("nowhere.yaml")


@given(st.integers(10, 10 * 86400))
def test_workers_leave_before_the_walltime_ends(whole):
    days, rest = divmod(whole, 86400)
    text = f"{days}-{rest // 3600}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    lifetime, stagger = cluster.read_site({**SITE, "walltime": text}).lifetime
    margin = whole - lifetime
    assert 0 < margin < whole / 2
    assert margin >= min(60, whole * 0.36)
    assert margin >= int(whole * 0.05)
    assert lifetime + stagger < whole  # Dask draws from lifetime -+ stagger
    assert lifetime - stagger > 0


@pytest.mark.parametrize("kind", ["slurm", "pbs", "lsf", "sge", "htcondor", "oar"])
def test_a_job_script_states_the_site_and_writes_nothing(kind, tmp_path):
    about = {
        **SITE,
        "kind": kind,
        "cores": 8,
        "processes": 4,
        "memory": "16GiB",
        "project": "metal",
        "prologue": ["module load OMP"],
        "log_directory": str(tmp_path / "logs"),
        "directives": ["-z=77"],
    }
    about |= {"disk": "1GB"} if kind == "htcondor" else {"queue": "night"}
    text = cluster.job_script(cluster.read_site(about))
    for words in (
        "--nworkers 4 --nanny",
        "--nthreads 2",
        "--memory-limit 4.00GiB",
        "--interface lo",
        "--no-dashboard",
        "metal",
        "--dashboard-address 127.0.0.1:0",
        "--lifetime 3420s --lifetime-stagger 90s",
    ):
        assert words in text
    for name in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        assert (
            text.index("module load")
            < text.index(f"export {name}_NUM_THREADS=1")
            < text.index("dask_worker")
        )
    asked = {
        "slurm": [
            "#SBATCH --cpus-per-task=8",
            "#SBATCH --mem=16G",
            "#SBATCH -t 01:00:00",
            "#SBATCH -p night",
            "#SBATCH -z=77",
        ],
        "pbs": [
            "#PBS -l select=1:ncpus=8:mem=16GB",
            "#PBS -l walltime=01:00:00",
            "#PBS -q night",
            "#PBS -z=77",
        ],
        "lsf": ["#BSUB -n 8", "#BSUB -W 01:00", "#BSUB -q night", "#BSUB -z=77"],
        "sge": ["#$ -l h_rt=01:00:00", "#$ -q night", "#$ -z=77"],
        "htcondor": [
            "MY.DaskWorkerCores = 8",
            "MY.DaskWorkerMemory = 17179869184",
            "-z = 77",
            "accounting_group = metal",
        ],
        "oar": ["#OAR -l /nodes=1/core=8,walltime=01:00:00", "#OAR -q night", "#OAR -z=77"],
    }[kind]
    for line in asked:
        assert line.replace("16GB", "16384MB") in text or line in text
    if kind != "oar":
        assert str(tmp_path / "logs") in text
    assert not (tmp_path / "logs").exists()
    assert "--lifetime" not in cluster.job_script(cluster.read_site(about), fixed=True)


def test_without_dask_jobqueue_the_error_has_the_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(MissingDependencyError, match=r"kind slurm needs .* pip install dask-job"):
        cluster.job_script(cluster.read_site(SITE))


JOBQUEUE = """
import signal, sys, threading
from mgdask.cluster.jobs import import_jobqueue
before, install = signal.getsignal(signal.SIGINT), signal.signal
if sys.argv[1] == "thread":
    thread = threading.Thread(target=import_jobqueue, args=("this test",))
    thread.start()
    thread.join()
else:
    import_jobqueue("this test")
assert "dask_jobqueue" in sys.modules
assert signal.getsignal(signal.SIGINT) is before
assert signal.signal is install
"""


@pytest.mark.parametrize("where", ["main", "thread"])
def test_importing_dask_jobqueue_prints_nothing_and_leaves_ctrl_c_alone(where):
    words = [sys.executable, "-c", JOBQUEUE, where]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_package_is_cheap_and_its_functions_are_reachable():
    code = "import sys, mgdask; mgdask.cluster; "
    code += "assert not {'distributed', 'pydantic'} & set(sys.modules)"
    code += "; mgdask.cluster.open_cluster, mgdask.cluster.ONE_THREAD, mgdask.cluster.read_site"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(cluster.__all__) <= set(dir(cluster))


def test_errors_quote_the_queueing_system(slurm, monkeypatch):
    with (
        pytest.raises(ParameterError, match=r"a worker of this site has 1\.00 GiB"),
        cluster.open_cluster(SITE, memory="2GiB"),
    ):
        pass
    with (
        pytest.raises(ParameterError, match="a worker of this site has 1 "),
        cluster.open_cluster(SITE, threads=2),
    ):
        pass
    (slurm / "refuse").touch()
    with (
        pytest.raises(
            RunError, match="no job could be submitted: sbatch: error: invalid partition"
        ),
        cluster.open_cluster(SITE),
    ):
        pass
    (slurm / "down").touch()
    with (
        pytest.raises(RunError, match="status 1: slurm_load_partitions: Unable to contact"),
        cluster.open_cluster(SITE),
    ):
        pass
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    if shutil.which("sbatch") is None:
        with pytest.raises(RunError, match="sbatch is not on PATH"), cluster.open_cluster(SITE):
            pass
    assert jobs_of(slurm) == []


def test_jobs_that_fail_at_once_end_the_wait(slurm, monkeypatch):
    monkeypatch.setattr(jobs, "JOB_CHECK_INTERVAL", 0.1)
    with (
        pytest.raises(
            RunError, match="jobs ended before a worker connected; give the site a log_directory"
        ),
        cluster.open_cluster({**SITE, "python": "/bin/false"}),
    ):
        pass
    # and jobs are not submitted again and again
    assert MAX_FRUITLESS_JOBS <= len(jobs_of(slurm)) <= 2 * MAX_FRUITLESS_JOBS
    assert not any(map(alive, jobs_of(slurm)))


def test_a_killed_job_is_replaced_and_the_features_are_the_same(
    slurm, glass_store, tmp_path, monkeypatch
):
    monkeypatch.setattr(plan_module, "MAX_BLOCK", 2**12)
    quiet = mgdask.plan(glass_store, Stub(), out=tmp_path / "quiet.zarr", memory="1GiB")
    mgdask.run(quiet, progress=False)
    out = tmp_path / "killed.zarr"
    killed = []

    def kill():
        wait_until(lambda: len(Manifest(out).records()) >= 2, "no block was done")
        killed.append(jobs_of(slurm)[0])
        os.killpg(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    with cluster.open_cluster({**SITE, "jobs": 1}) as client:
        killer.start()
        plan = mgdask.plan(glass_store, Stub(fault="slow"), out=out, memory="1GiB")
        mgdask.run(plan, client, progress=False)
        killer.join()
        for environment in client.run(lambda: dict(os.environ)).values():
            assert {name: environment[name] for name in cluster.ONE_THREAD} == cluster.ONE_THREAD
    assert len(jobs_of(slurm)) == 2
    assert killed == jobs_of(slurm)[:1]
    ours, theirs = (
        {k: v for k, v in files(path).items() if "zarr.json" not in k}
        for path in (out, tmp_path / "quiet.zarr")
    )
    assert ours == theirs
    wait_until(lambda: not any(map(alive, jobs_of(slurm))), "a job is left")


def test_jobs_whose_lifetime_ends_are_replaced_unless_fixed(slurm, monkeypatch):
    short = {**SITE, "jobs": 1, "cores": 2, "memory": "2GiB", "walltime": "00:00:12"}
    with cluster.open_cluster(short) as client:
        before = set(client.nthreads())
        (slurm / "silent").touch()  # squeue fails, so no job is replaced yet
        wait_until(lambda: not client.nthreads(), "workers outlived their walltime")
        assert len(jobs_of(slurm)) == 1
        (slurm / "silent").unlink()
        wait_until(lambda: set(client.nthreads()) - before, "the job was not replaced")
        assert len(jobs_of(slurm)) == 2
    assert (
        "--lifetime" not in job_options(cluster.read_site(short), fixed=True)["worker_extra_args"]
    )
    wait_until(lambda: not any(map(alive, jobs_of(slurm))), "a job is left")


LISTEN = """
import os, psutil, sys, time
def sockets(*_):
    me = psutil.Process()
    connections = [c for p in [me, *me.children(recursive=True)] for c in p.net_connections("inet")]
    return [c.laddr[0] for c in connections if c.status == "LISTEN"]
def main():
    from mgdask import cluster
    if sys.argv[1] == "threads":
        from mgdask.execution.executor import resolve_client as open_client
        options = {}
    else:
        open_client, options = cluster.open_cluster, {"site": sys.argv[1]}
    with open_client(**options) as client:
        client.wait_for_workers(1)
        client.submit(sum, [1]).result()
        addresses = [*sockets()]
        for more in client.run(sockets).values():
            addresses += more
        print(sorted(set(addresses)), len(addresses))
if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize(
    "site",
    ["threads", "kind: local\nworkers: 1", "kind: local\nworkers: 1\ndashboard: loopback", "slurm"],
)
def test_everything_listens_on_the_loopback_address(site, slurm):
    if site == "slurm":
        site = "\n".join(f"{key}: {value}" for key, value in (SITE | {"jobs": 1}).items())
    done = run(LISTEN, site)
    assert done.returncode == 0, done.stderr
    answer = re.fullmatch(r"\['127.0.0.1'\] (\d+)", done.stdout.strip())
    assert answer, done.stdout
    # scheduler, its HTTP, worker, its HTTP, and the nanny unless it belongs to a job
    assert int(answer[1]) >= (2 if site == "threads" else 4 if "slurm" in site else 5)


@pytest.fixture
def tls(tmp_path):
    """Paths of a key and its certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate of this test")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=mgdask",
            "-keyout",
            str(key),
            "-out",
            str(cert),
        ],
        check=True,
        capture_output=True,
    )
    return {"ca": str(cert), "cert": str(cert), "key": str(key)}


def test_tls_admits_holders_of_the_key_only_and_does_not_reveal_it(tls, slurm, tmp_path):
    secret = [
        line for line in Path(tls["key"]).read_text().splitlines() if not line.startswith("-")
    ]
    site = {**SITE, "jobs": 1, "tls": tls, "log_directory": str(tmp_path / "logs")}
    text = cluster.job_script(cluster.read_site(site))
    assert f"--tls-key {tls['key']}" in text
    assert "--protocol tls://" in text
    with cluster.open_cluster(site) as client:
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        assert all(worker.startswith("tls://") for worker in client.nthreads())
        assert client.submit(sum, [1, 2]).result() == 3
        for wrong in (address, address.replace("tls://", "tcp://")):
            with (
                pytest.raises((RunError, ValueError, TypeError)),
                cluster.connect(wrong, timeout=2),
            ):
                pass
        with cluster.open_cluster({"kind": "scheduler", "address": address, "tls": tls}) as other:
            assert other.submit(sum, [2, 2]).result() == 4
    written = [path.read_text() for path in (tmp_path / "logs").iterdir()] + [
        p.read_text() for p in slurm.glob("script.*")
    ]
    for content in (text, *written):
        assert not any(line in content for line in secret)
    with pytest.raises(ParameterError) as caught:
        cluster.read_site({**SITE, "tls": {**tls, "key": Path(tls["key"]).read_text()}})
    assert "give the path" in str(caught.value)
    assert not any(line in str(caught.value) for line in secret)
    with (
        pytest.raises(ParameterError, match=r"tls\.ca: .* does not exist"),
        cluster.open_cluster({"kind": "local", "tls": {**tls, "ca": "/nowhere"}}),
    ):
        pass


def start_scheduler(site, file, folder):
    process = Forked(COMMAND_LINE, "cluster", "start", site, "--scheduler-file", file, cwd=folder)
    wait_until(lambda: file.exists() or process.poll() is not None, "no scheduler file")
    assert process.poll() is None
    return process


def test_a_started_scheduler_outlives_its_clients_until_it_is_stopped(slurm, tls, tmp_path):
    site, file = tmp_path / "site.yaml", tmp_path / "sched.json"
    site.write_text(json.dumps({**SITE, "jobs": 1, "tls": tls}))
    process = start_scheduler(site, file, tmp_path)
    try:
        assert file.stat().st_mode & 0o077 == 0
        assert Path(tls["key"]).read_text().splitlines()[1] not in file.read_text()
        with cluster.connect(str(file)) as first:
            identity = first.scheduler_info()["id"]
        with cluster.connect(str(file)) as second:
            assert second.scheduler_info()["id"] == identity
            second.wait_for_workers(1, timeout=TIMEOUT)
        refused = mgdask_command("cluster", "start", site, "--scheduler-file", file, ok=False)
        assert "a scheduler may be running" in refused.stderr
        assert mgdask_command("cluster", "stop", file).stdout == "stopped\n"
        assert process.wait(TIMEOUT) == 0
    finally:
        process.kill()
        process.wait()
    assert not file.exists()
    wait_until(lambda: not any(map(alive, jobs_of(slurm))), "stop has left a job")
    file.write_text(
        json.dumps(
            {
                "address": "tcp://127.0.0.1:9",
                "mgdask": {"host": os.uname().nodename, "pid": process.pid},
            }
        )
    )
    with pytest.raises(RunError, match="is dead; the file was removed"):
        cluster.stop(file)
    assert not file.exists()


@pytest.mark.parametrize(
    "values", [{**SITE, "jobs": 1}, {"kind": "local", "workers": 1}], ids=["slurm", "local"]
)
def test_sigterm_ends_all_workers_of_a_started_scheduler(slurm, tmp_path, values):
    site, file = tmp_path / "site.yaml", tmp_path / "sched.json"
    site.write_text(json.dumps(values))
    process = start_scheduler(site, file, tmp_path)
    with cluster.connect(str(file)) as client:
        client.wait_for_workers(1, timeout=TIMEOUT)
        pids = list(client.run(os.getpid).values())
    process.terminate()
    assert process.wait(TIMEOUT) == 0
    assert not file.exists()
    wait_until(lambda: not any(map(alive, jobs_of(slurm))), "SIGTERM has left a job")
    wait_until(lambda: not any(map(psutil.pid_exists, pids)), "SIGTERM has left a worker")


def test_sigterm_ends_the_jobs_of_a_run(slurm, glass_store, tmp_path):
    site, out = tmp_path / "site.yaml", tmp_path / "f.zarr"
    site.write_text(json.dumps(SITE))
    words = [
        "featurize",
        glass_store,
        "--soap",
        "r_cut=6,n_max=9,l_max=9,sigma=0.5",
        "--out",
        str(out),
        "--cluster",
        str(site),
    ]
    process = Forked(COMMAND_LINE, *words)
    wait_until(lambda: len(jobs_of(slurm)) == 2 or process.poll() is not None, "no job")
    process.terminate()
    _, text = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 143, text
    assert text.endswith(
        "stopped: mgdask featurize; finished blocks are kept. Run the same command to continue\n"
    )
    wait_until(lambda: not any(map(alive, jobs_of(slurm))), "SIGTERM has left a job")
