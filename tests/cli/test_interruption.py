"""Ctrl-C and SIGTERM in a real terminal: one line, and nothing is left."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import threading
import time
from pathlib import Path

import pytest

import mgdask
from mgdask.execution.client import resolve_client
from mgdask.execution.executor import execute
from mgdask.store.lock import lock_file
from mgdask.store.progress import read_progress
from tests.cli.terminal import handles_signals, run_in_terminal
from tests.cluster import slurm_site
from tests.conftest import GLASS

SOAP = "r_cut=6,n_max=9,l_max=9,sigma=0.5"
"""Takes a while."""
LINE = "stopped: mgdask {}; finished blocks are kept. Run the same command to continue"
NOISE = re.compile("Traceback|Error|WARNING|Warning|distributed|asyncio|tornado|semaphore")


def check(ended, command, folder, *, status=130):
    """Check that a stopped command said one line and left nothing."""
    assert ended.status == status, ended.text
    # the terminal echoes the keys
    lines = ended.text.replace("^C", "").replace("\x1b[?25h", "").rstrip("\n").split("\n")
    assert lines[-1] == LINE.format(command), ended.text
    assert ended.text.count("stopped") == 1
    assert not NOISE.search(ended.text), ended.text
    assert ended.processes == []
    left = [
        str(path)
        for path in Path(folder).rglob("*")
        if path.suffix in (".partial", ".fresh", ".new", ".lock") or path.name == "lock"
    ]
    assert left == []


def workers_compute(out):
    """Whether workers have begun: the lock exists, and a while has passed."""
    seen = []

    def stop(text, seconds, pid):
        if not seen and lock_file(out).exists():
            seen.append(seconds)
        return bool(seen) and seconds > seen[0] + 0.5

    return stop


def featurize(store, out, *words):
    return ["featurize", store, "--soap", SOAP, "--out", out, *words]


def test_ctrl_c_twice_while_workers_compute(glass_store, tmp_path):
    scratch, site, out = tmp_path / "scratch", tmp_path / "site.yaml", tmp_path / "f.zarr"
    scratch.mkdir()
    site.write_text("kind: local\nworkers: 1\n")  # a process, however small the job
    ended = run_in_terminal(
        featurize(glass_store, out, "--cluster", site),
        workers_compute(out),
        presses=2,
        pause=0.05,
        environment={"TMPDIR": str(scratch)},
    )
    check(ended, "featurize", tmp_path)
    assert {path.name for path in scratch.iterdir()} <= {f"mgdask-{os.getuid()}"}  # kernels
    assert read_progress(out).done == 0


def numpy_is_loaded(text, seconds, pid):
    return handles_signals(pid) and "_multiarray_umath" in Path(f"/proc/{pid}/maps").read_text()


def test_ctrl_c_during_imports(glass_store, tmp_path):
    ended = run_in_terminal(["demo", "--out", tmp_path], numpy_is_loaded)
    check(ended, "demo", tmp_path)
    ended = run_in_terminal(["inspect", glass_store], numpy_is_loaded)
    assert (ended.status, ended.processes) == (130, [])
    line = "stopped: mgdask inspect; run the same command to start again"
    assert ended.text.replace("^C", "").strip() == line


class Interrupted(threading.Thread):
    """Interrupts the main thread as a notebook does, once a task runs."""

    def __init__(self, started):
        super().__init__()
        self.started = started

    def run(self):
        assert self.started.wait(30)
        os.kill(os.getpid(), signal.SIGINT)


STARTED, RAN = threading.Event(), []


def slow_task(k):
    STARTED.set()
    RAN.append(k)
    time.sleep(0.3)
    return k


@pytest.fixture
def ctrl_c():
    """The handler of Ctrl-C that notebooks have, wherever the tests run."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupted_notebook_keeps_a_usable_client():
    with resolve_client(threads=1) as client:
        STARTED.clear()
        thread = Interrupted(STARTED)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            execute(
                client, slow_task, [(f"{k}", (k,)) for k in range(20)], what="x", progress=False
            )
        thread.join()
        outcome = execute(client, slow_task, [("again", (7,))], what="x", progress=False)
    assert outcome.results == {"again": 7}
    assert len(RAN) < 6  # the waiting ones were dropped


# ------------------------------------------------------------------ slow: every command, any moment


def local_site(folder):
    site = folder / "site.yaml"
    site.write_text("kind: local\nworkers: 2\n")
    return site


def every_other(folder):
    """Options that make every other run start processes, however small the job."""
    return ("--cluster", local_site(folder)) if folder.name[-1] in "02468" else ()


COMMANDS = {
    "ingest": lambda folder, store: [
        "ingest", GLASS, "--out", folder / "g.zarr", "--species", "Zr,Cu", *every_other(folder),
    ],
    "featurize": lambda folder, store: featurize(store, folder / "f.zarr", *every_other(folder)),
    "unwrap": lambda folder, store: [
        "unwrap", store, "--out", folder / "u.zarr", *every_other(folder),
    ],
    "rdf": lambda folder, store: ["rdf", store, *every_other(folder)],
    "demo": lambda folder, store: ["demo", "--out", folder / "demo"],
}  # fmt: skip
ENDED = -2
"""Status of a process that the second press met after its last line of Python."""


LONGEST_WAIT = float(os.environ.get("MGDASK_LONGEST_WAIT", "8"))
"""Longest time in s from the start of a command to Ctrl-C."""


def after(wait):
    """Whether so many seconds have passed since the command began to handle signals."""
    began = []

    def stop(text, seconds, pid):
        if not began and handles_signals(pid):
            began.append(seconds)
        return bool(began) and seconds > began[0] + wait

    return stop


def check_any_moment(ended, name, folder):
    """Check an interruption that may come before or after the work."""
    assert ended.processes == [], ended
    assert not NOISE.search(ended.text), ended.text
    if "stopped" in ended.text and name != "rdf":
        check(ended, name, folder)
    else:
        assert ended.status in (0, 130, ENDED), ended


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_any_command_at_any_moment(name, glass_store, tmp_path):
    """MGDASK_INTERRUPTIONS=20 makes a hundred; the worst latency is printed."""
    generator = random.Random(name)
    worst = 0.0
    for k in range(int(os.environ.get("MGDASK_INTERRUPTIONS", "4"))):
        folder = tmp_path / str(k)
        folder.mkdir()
        ended = run_in_terminal(
            COMMANDS[name](folder, glass_store),
            after(LONGEST_WAIT * generator.random() ** 2),
            presses=generator.choice((1, 1, 2, 3)),
            pause=generator.choice((0.02, 0.1, 0.4)),
        )
        check_any_moment(ended, name, folder)
        worst = max(worst, ended.latency)
    print(f"{name}: ended at most {worst:.2f} s after the first Ctrl-C")


@pytest.mark.slow
def test_sigterm_says_the_same_and_the_command_continues(glass_store, tmp_path):
    out = tmp_path / "f.zarr"
    words = featurize(glass_store, out, "--workers", 1)
    ended = run_in_terminal(words, workers_compute(out), number=signal.SIGTERM)
    check(ended, "featurize", tmp_path, status=143)
    rest = run_in_terminal(words, lambda text, seconds, pid: False)
    assert rest.status == 0, rest.text
    assert read_progress(out).finished
    assert mgdask.verify(out).ok


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.skipif(bool(slurm_site.why_absent()), reason=slurm_site.why_absent())
def test_jobs_of_slurm_are_canceled(glass_store, tmp_path):
    site = tmp_path / "site.yaml"
    with slurm_site.Slurm(nodes=2) as slurm:
        values = {"kind": "slurm", "jobs": 2, "cores": 1, "memory": "2GiB"}
        site.write_text(json.dumps({**values, "walltime": "00:10:00", "interface": "lo"}))
        # while they are submitted, when they wait, when they compute; once, twice
        moments = (
            lambda text, seconds, pid: "per thread" in text,
            lambda text, seconds, pid: len(slurm.jobs()) == 2,
            lambda text, seconds, pid: len(slurm.jobs("RUNNING")) == 2,
        )
        for k, stop in enumerate(moments):
            for presses in (1, 2):
                ended = run_in_terminal(
                    featurize(glass_store, tmp_path / f"{k}{presses}.zarr", "--cluster", site),
                    stop,
                    presses=presses,
                    environment=slurm.environment,
                )
                check(ended, "featurize", tmp_path)
                slurm_site.wait_until(lambda: not slurm.jobs(), "a job is left", 20)
