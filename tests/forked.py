"""Python processes that are forked from a server which has imported the package.

A new interpreter needs two seconds of CPU to import Dask, numba and mgdask. A process
forked from the server of multiprocessing needs a tenth of one. ``conftest.py`` lets the
worker processes of Dask come from the same server, those of a forked process too.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import forkserver, reduction
from pathlib import Path

PRELOAD = [
    "distributed",
    "mgdask.cli.commands",
    "mgdask.cli.cluster",
    "mgdask.pipelines.featurize.run",
    "mgdask.pipelines.featurize.lazy",
    "mgdask.pipelines.ingest",
    "mgdask.pipelines.verify",
    "mgdask.features.sets",
    "mgdask.learn.data.rows",
    "mgdask.learn.predict",
    "mgdask.learn.search.trials",
    "mgdask.learn.training.rank_worker",
    "mgdask.learn.training.rounds",
    "lightgbm",
    "optuna",
    "pytest",
    "tests.forked",
    "tests.learn.forked_rank",
]
"""What the server imports. Most of it is what a worker imports for its first task."""
ROOT = str(Path(__file__).parents[1])
COMMAND_LINE = "from mgdask.cli import main; main()"


class _File:
    """A file that a forked process inherits."""

    def __init__(self, stream) -> None:
        self.stream = stream

    def __reduce__(self):
        return _inherited, (reduction.DupFd(self.stream.fileno()),)


def _inherited(descriptor):
    return descriptor.detach()


def _run(code, words, folder, environment, stdout, stderr) -> None:
    """Run code as ``python -c`` does, in a process that has just been forked."""
    for number, file in ((0, os.open(os.devnull, os.O_RDONLY)), (1, stdout), (2, stderr)):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:0] = [path for path in paths if path not in sys.path]
    sys.argv = ["-c", *words]
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    share_server()
    try:
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    finally:
        atexit._run_exitfuncs()  # processes of multiprocessing end without them


def share_server() -> None:
    """Let Dask fork the workers of this process from the server it came from."""
    import dask

    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    forkserver._forkserver.ensure_running = lambda: None


class Forked:
    """A process that runs code; what it prints goes to files.

    It has the methods of ``subprocess.Popen`` that the tests use.
    """

    def __init__(self, code, *words, cwd=None, env=None, merged=False) -> None:
        self.args = [str(word) for word in words]
        environment = {**(os.environ if env is None else env)}
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [ROOT, environment.get("PYTHONPATH")])
        )
        self.stdout = tempfile.TemporaryFile("w+", encoding="utf-8")
        self.stderr = self.stdout if merged else tempfile.TemporaryFile("w+", encoding="utf-8")
        files = _File(self.stdout), _File(self.stderr)
        self.process = multiprocessing.get_context("forkserver").Process(
            target=_run, args=(code, self.args, str(cwd or os.getcwd()), environment, *files)
        )
        self.process.start()
        self.pid = self.process.pid

    @property
    def returncode(self):
        return self.process.exitcode

    def poll(self):
        return self.process.exitcode

    def wait(self, timeout=None):
        self.process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def send_signal(self, number) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout=None):
        """Return what was printed, after the end of the process."""
        self.wait(timeout)
        return self.printed(self.stdout), self.printed(self.stderr)

    def printed(self, file):
        # another open file: offsets of a shared one would move that of the process
        return Path(f"/proc/self/fd/{file.fileno()}").read_text(encoding="utf-8")

    def readline(self, number=0, timeout=120.0):
        """Wait for a whole line of standard output; return it."""
        deadline = time.monotonic() + timeout
        while len(lines := self.printed(self.stdout).splitlines(keepends=True)) <= number or (
            not lines[number].endswith("\n")
        ):
            if self.returncode is not None or time.monotonic() > deadline:
                raise AssertionError(f"no line {number}: {self.communicate(1)}")
            time.sleep(0.01)
        return lines[number]


def run(code, *words, cwd=None, env=None, timeout=300.0):
    """Run code in a forked process to its end; return what ``subprocess.run`` does."""
    process = Forked(code, *words, cwd=cwd, env=env)
    try:
        stdout, stderr = process.communicate(timeout)
    finally:
        process.kill()
        process.wait()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
