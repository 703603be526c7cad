"""Schedulers that outlive their clients, stopped through their scheduler file."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgdask.cluster.local import connect, local_cluster
from mgdask.cluster.queue import queue_cluster, with_certificate
from mgdask.cluster.site import Site, is_scheduler_file
from mgdask.cluster.tls import write_certificate
from mgdask.errors import ParameterError, RunError
from mgdask.execution.scratch import scratch_folder
from mgdask.interruption import removed_when_stopped

if TYPE_CHECKING:
    from distributed import LocalCluster, Scheduler

    from mgdask.cluster.jobs import SupervisedCluster

_STOP = "mgdask-stop"
"""Key in the scheduler's metadata by which ``stop`` asks ``start`` to end."""


def start(
    site: Site,
    scheduler_file: str | Path,
    *,
    fixed: bool = False,
    say: Callable[[str], object] = print,
) -> None:
    """Run a scheduler and its workers until they are stopped.

    Returns after ``stop``, Ctrl-C or SIGTERM. Its jobs are then canceled and the
    scheduler file is removed. Clients may connect and disconnect meanwhile. This is
    ``mgdask cluster start``.

    Without ``tls`` in the site, a temporary certificate admits clients that can read
    the scheduler file. It is in a folder beside the file, or for a queueing system in
    the ``shared_directory``. Only this user can read both.

    Parameters
    ----------
    site
        Site of this machine or of a queueing system.
    scheduler_file
        File to write, on a file system that the clients see.
    fixed
        As for ``open_cluster``.
    say
        Function that prints a line of text.

    Raises
    ------
    ParameterError
        If the site names a running scheduler, or the file exists.
    RunError
        As for ``open_cluster``.

    Examples
    --------
    >>> start(read_site("slurm.yaml"), "scheduler.json")  # doctest: +SKIP
    """
    path = Path(scheduler_file)
    if site.kind == "scheduler":
        raise ParameterError(
            "kind scheduler names a scheduler that is already running; use it with --scheduler"
        )
    if path.exists():
        raise ParameterError(
            f"scheduler_file={str(path)!r} exists: a scheduler may be running. Stop it with: "
            f"mgdask cluster stop {path}"
        )
    with (
        _signals_noted() as stopped,
        scratch_folder() as scratch,
        # only after the jobs have ended: stop() waits for that
        _removed_at_the_end(lambda: path.unlink(missing_ok=True)),
        _with_certificate(site, path) as secured,
        _start_workers(secured, fixed=fixed, scratch=scratch) as cluster,
    ):
        scheduler = cluster.scheduler
        assert scheduler is not None
        _write_scheduler_file(path, scheduler, secured)
        say(
            f"scheduler at {scheduler.address}, scheduler file {path}; stop it with: "
            f"mgdask cluster stop {path}"
        )
        _wait_until_stopped(scheduler, stopped)
    say("scheduler stopped, its workers have ended")


def stop(scheduler_file: str | Path, *, timeout: float = 120.0) -> None:
    """Stop a scheduler and cancel its jobs.

    Returns when the jobs have ended and the scheduler file is gone.

    Parameters
    ----------
    scheduler_file
        File written by ``start``.
    timeout
        Seconds to wait for the jobs to end.

    Raises
    ------
    ParameterError
        If the file is not a scheduler file.
    RunError
        If no scheduler answers, or its jobs do not end in time. The file of a dead
        scheduler of this machine is removed.

    Examples
    --------
    >>> stop("scheduler.json")  # doctest: +SKIP
    """
    path = Path(scheduler_file)
    if not is_scheduler_file(path):
        raise ParameterError(f"{path} does not exist or is not a scheduler file")
    started_by = json.loads(path.read_text(encoding="utf-8")).get("mgdask", {})
    if started_by.get("host") == socket.gethostname() and not _is_alive(int(started_by["pid"])):
        _remove_certificate(path, started_by)
        path.unlink(missing_ok=True)
        raise RunError(
            f"the scheduler of {path} (process {started_by['pid']}) is dead; the file was removed"
        )
    with connect(str(path)) as client:
        if started_by:  # start() ends its jobs while the scheduler still answers
            client.set_metadata(_STOP, True)
        else:
            client.shutdown()
    deadline = time.monotonic() + timeout
    while started_by and path.exists():
        if time.monotonic() > deadline:
            raise RunError(
                f"the scheduler of {path} was asked to stop, but its jobs have not ended within "
                f"{timeout:g} s"
            )
        time.sleep(0.2)


def _start_workers(site: Site, *, fixed: bool, scratch: str) -> LocalCluster | SupervisedCluster:
    if site.kind == "local":
        return local_cluster(
            site.workers, threads=site.threads, memory=site.memory, site=site, scratch=scratch
        )
    return queue_cluster(site, fixed=fixed, scratch=scratch)


@contextmanager
def _removed_at_the_end(remove: Callable[[], object]) -> Iterator[None]:
    with removed_when_stopped(remove):
        try:
            yield
        finally:
            remove()


@contextmanager
def _with_certificate(site: Site, path: Path) -> Iterator[Site]:
    """Yield the site with a temporary certificate that clients of the file can read."""
    if site.kind != "local":
        with with_certificate(site) as secured:
            yield secured
        return
    if site.tls is not None:
        yield site
        return
    try:  # a name that other users cannot take before
        folder = tempfile.mkdtemp(".tls", f".{path.name}.", path.absolute().parent)
    except OSError as error:
        raise ParameterError(
            f"scheduler_file={str(path)!r} cannot be written: {error.strerror}"
        ) from None
    with _removed_at_the_end(lambda: shutil.rmtree(folder, ignore_errors=True)):
        yield site.model_copy(update={"tls": write_certificate(Path(folder))})


def _remove_certificate(path: Path, started_by: dict[str, Any]) -> None:
    """Remove the certificate beside the scheduler file of a dead scheduler."""
    folder = Path((started_by.get("tls") or {}).get("key", "")).parent
    beside = folder.parent == path.absolute().parent and folder.name.startswith(f".{path.name}.")
    if beside and folder.name.endswith(".tls"):
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_stopped(scheduler: Scheduler, stopped: threading.Event) -> None:
    from distributed.core import Status

    while not stopped.wait(0.5):
        asked = scheduler.task_metadata.get(_STOP, False)
        if asked or scheduler.status != Status.running:
            return


@contextmanager
def _signals_noted() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and Ctrl-C set, instead of ending the process."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    handlers = {
        number: signal.signal(number, lambda *_: stopped.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stopped
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _write_scheduler_file(path: Path, scheduler: Scheduler, site: Site) -> None:
    identity = scheduler.identity()
    tls = None if site.tls_files is None else site.tls_files.model_dump()
    content = {
        "type": "Scheduler",
        "id": identity["id"],
        "address": scheduler.address,
        "services": identity["services"],
        "workers": {},
        "mgdask": {"host": socket.gethostname(), "pid": os.getpid(), "tls": tls},
    }
    # Only its owner may read it, and clients never see half of it. Other users cannot
    # guess its temporary name and put a link there.
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(content, stream, indent=2)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
