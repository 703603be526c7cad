"""A scheduler that outlives its clients: started in the foreground with a scheduler file, stopped through that file."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mgdask.cluster.local import connect, local_cluster
from mgdask.cluster.queue import queue_cluster
from mgdask.cluster.site import Site, is_scheduler_file
from mgdask.errors import ParameterError, RunError

_STOP = "mgdask-stop"


def start(
    site: Site,
    scheduler_file: str | Path,
    *,
    fixed: bool = False,
    say: Callable[[str], Any] = print,
) -> None:
    """Run a scheduler and its workers until it is stopped, and write a scheduler file for clients, as ``mgdask cluster start`` does.

    Parameters: ``site`` of this machine or of a queueing system; ``scheduler_file`` to write, on a file system that clients see; ``fixed`` as
    for ``open_cluster``; ``say`` takes a line of text.

    Returns when it was stopped by ``stop``, ctrl-C or SIGTERM; its jobs are then cancelled and the file is removed. Clients come
    and go meanwhile. Raises ``ParameterError`` where the file belongs to another scheduler that may live, ``RunError`` as ``open_cluster``.
    """
    path = Path(scheduler_file)
    if site.kind == "scheduler":
        raise ParameterError(
            "kind scheduler: it runs already, there is nothing to start; use it with --scheduler"
        )
    if path.exists():
        raise ParameterError(
            f"scheduler_file={str(path)!r} exists: a scheduler may be running. Stop it with: mgdask cluster stop {path}"
        )
    with _until_stopped() as stopped:
        if site.kind == "local":
            cluster = local_cluster(
                site.workers, threads=site.threads, memory=site.memory, site=site
            )
        else:
            cluster = queue_cluster(site, fixed=fixed)
        try:
            with cluster:
                _write(path, cluster, site)
                say(
                    f"scheduler at {cluster.scheduler.address}, scheduler file {path}; stop it with: mgdask cluster stop {path}"
                )
                while not stopped.wait(0.5):
                    asked = cluster.scheduler.task_metadata.get(_STOP, False)
                    if asked or cluster.scheduler.status.name != "running":
                        break
        finally:
            path.unlink(missing_ok=True)
    say("scheduler stopped, its workers ended")


def stop(scheduler_file: str | Path, *, timeout: float = 120.0) -> None:
    """Stop the scheduler of a scheduler file and end its jobs.

    Returns when they have ended and the file is gone. Raises ``ParameterError`` where it is no scheduler file, ``RunError`` where nothing
    answers; a file that a dead scheduler left on this machine is removed.
    """
    path = Path(scheduler_file)
    if not is_scheduler_file(path):
        raise ParameterError(f"{path} is not there or no scheduler file")
    about = json.loads(path.read_text(encoding="utf-8")).get("mgdask", {})
    if about.get("host") == socket.gethostname() and not _lives(int(about["pid"])):
        path.unlink(missing_ok=True)
        raise RunError(
            f"the scheduler of {path} (process {about['pid']}) is dead; the file was removed"
        )
    with connect(str(path)) as client:
        if about:
            client.set_metadata(
                _STOP, True
            )  # start() then ends its jobs while the scheduler still answers
        else:
            client.shutdown()
    ends = time.monotonic() + timeout
    while about and path.exists():
        if time.monotonic() > ends:
            raise RunError(
                f"the scheduler of {path} was told to stop and has not ended its jobs within {timeout:g} s"
            )
        time.sleep(0.2)


@contextmanager
def _until_stopped() -> Iterator[threading.Event]:
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {
        number: signal.signal(number, lambda *_: stopped.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _write(path: Path, cluster: Any, site: Site) -> None:
    about = cluster.scheduler.identity()
    tls = None if site.tls is None else site.tls.model_dump()
    text = json.dumps(
        {
            "type": "Scheduler",
            "id": about["id"],
            "address": cluster.scheduler.address,
            "services": about["services"],
            "workers": {},
            "mgdask": {"host": socket.gethostname(), "pid": os.getpid(), "tls": tls},
        },
        indent=2,
    )
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(fresh, path)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
