"""The process that runs one command: like ``mgdask`` in a shell, but forked."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
import uuid
from multiprocessing import forkserver, resource_tracker

CODE = "from tests.benchmarks.faults.child import main; main()"
"""Code for ``tests.forked.Forked``; its words are settings as JSON, then the command."""


def main() -> None:
    """Run a command in a session of its own, as a shell would."""
    settings, words = json.loads(sys.argv[1]), sys.argv[2:]
    os.setsid()
    tempfile.tempdir = None  # that of the server
    multiprocessing.set_start_method("fork", force=True)  # the default of a shell
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    import dask

    from tests.benchmarks.faults.commands import install, small_shards

    dask.config.set({"distributed.worker.profile.enabled": False})
    small_shards()
    install()
    if settings.get("cold"):
        from tests.benchmarks.faults.loaded import unload_kernels

        unload_kernels()
    if settings.get("clock"):
        from tests.benchmarks.faults import clock

        clock.follow(settings["clock"])
    serve_workers()
    sys.argv = ["mgdask", *words]
    from mgdask import interruption
    from mgdask.__main__ import program

    interruption.install()  # as ``program`` does first
    with open(settings["started"], "w", encoding="ascii"):
        pass
    program()


def serve_workers() -> None:
    """Let Dask fork its workers from a copy of this process, which is its child.

    So workers have the parents that they have in a shell, and a killed client leaves
    what it would leave there.
    """
    tracker = resource_tracker._resource_tracker
    if tracker._fd is not None:
        os.close(tracker._fd)
    tracker._fd = tracker._pid = None
    server = forkserver._forkserver
    listener = socket.socket(socket.AF_UNIX)
    address = f"\0mgdask-faults-{uuid.uuid4().hex}"  # abstract: leaves no file
    listener.bind(address)
    listener.listen()
    alive_r, alive_w = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(alive_w)
        # a shell starts workers in threads in which Ctrl-C is blocked
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        with contextlib.suppress(BaseException):
            forkserver.main(listener.detach(), alive_r, None)
        os._exit(0)
    listener.close()
    os.close(alive_r)
    server._forkserver_address, server._forkserver_alive_fd = address, alive_w
    # the threads of Dask may start two workers at the same time
    server._lock = threading.RLock()
    server.ensure_running = lambda: resource_tracker.ensure_running()
