"""Jobs of a queueing system, which are replaced when they end.

dask-jobqueue's own ``adapt`` misses two cases. It replaces only jobs with one worker,
because it looks jobs up by the names of workers. It does not replace a job that ends
before its worker has connected. This module asks the queueing system which jobs exist.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shlex
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mgdask.cluster.tls import quoted
from mgdask.errors import MissingDependencyError

if TYPE_CHECKING:
    from dask_jobqueue.core import Job, JobQueueCluster
    from distributed import Scheduler, Security
    from tornado.ioloop import IOLoop
else:  # the base class is known only when a queueing system is used
    JobQueueCluster = object

log = logging.getLogger(__name__)

JOB_CHECK_INTERVAL = 20.0
"""Seconds between two checks of the jobs.

The queueing system is asked only if a job has no connected worker.
"""
LOST_JOB_TIMEOUT = 30.0
"""Seconds after which a queued job is given up if all of its workers have gone."""
MAX_SUBMIT_INTERVAL = 600.0
"""Longest pause in seconds between two submissions if jobs or submissions fail."""

_import_lock = threading.Lock()
_set_handler = signal.signal


def import_jobqueue(purpose: str) -> ModuleType:
    """Import dask-jobqueue, without the SIGINT handler that the import installs.

    The handler of ``dask_jobqueue.runner`` turns Ctrl-C into a normal exit. Installing
    it also makes the import fail outside the main thread.
    """

    def set_handler(number: int, handler: Any) -> Any:
        return None if number == signal.SIGINT else _set_handler(number, handler)

    with _import_lock:
        signal.signal = set_handler  # type: ignore[assignment]
        try:
            import dask_jobqueue
        except ImportError as error:
            raise MissingDependencyError("dask-jobqueue", None, purpose) from error
        finally:
            signal.signal = _set_handler
    module: ModuleType = dask_jobqueue
    return module


def error_text(error: BaseException) -> str:
    """Return what a command of the queueing system wrote to standard error."""
    text = str(error)
    match = re.search(r"stderr:\n(.*)", text, flags=re.S)
    return (match.group(1).strip() if match else "") or text.strip()


class SupervisedCluster(JobQueueCluster):
    """Mixin for a cluster class of dask-jobqueue that submits and replaces jobs.

    ``supervised`` makes the class. All methods but ``__init__`` run on the event loop
    of the cluster.
    """

    job_cls: Any
    loop: IOLoop
    scheduler: Scheduler
    _lock: asyncio.Lock
    fruitless_jobs = 0
    """Number of consecutive jobs that ended before one of their workers connected."""
    next_submission = 0.0
    """Earliest time of the next submission, on the clock of ``time.monotonic``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.first_check: dict[str, float] = {}
        self.last_connected: dict[str, float] = {}
        super().__init__(*args, **kwargs)

    def _update_worker_status(self, op: str, msg: Any) -> None:
        """Note a worker, but leave it to ``supervise`` to give up its job."""
        from distributed.deploy.cluster import Cluster

        # not that of SpecCluster, which closes the job when its worker leaves
        Cluster._update_worker_status(self, op, msg)

    def _forget(self, name: str) -> Job:
        self.worker_spec.pop(name, None)
        job: Job = self.workers.pop(name)
        return job

    def _get_worker_security(self, security: Security | None) -> Security | None:
        """Return the settings for the command of workers, which a shell reads."""
        return quoted(security)

    async def fill(self, n_jobs: int) -> None:
        """Submit jobs until there are ``n_jobs``.

        Raises ``RuntimeError`` with the text of the last failure if no job could be
        submitted.
        """
        from distributed.core import Status

        n_before = len(self.workers)
        while len(self.worker_spec) < n_jobs:
            # always a new name: the scheduler refuses one that it still knows
            name = self._new_worker_name(self._i)  # type: ignore[no-untyped-call]
            self.worker_spec[name] = self.new_spec
            self._i += 1
        try:
            await self._correct_state()  # type: ignore[no-untyped-call]
        except Exception as error:
            for name in [name for name, job in self.workers.items() if job.job_id is None]:
                self._forget(name).status = Status.closed
            message = error_text(error)
            log.error("submitted %s of %s jobs: %s", len(self.workers), n_jobs, message)
            if len(self.workers) <= n_before:
                raise RuntimeError(message) from None

    def begin_to_cancel(self) -> Callable[[], bool]:
        """Begin to cancel all jobs, and never submit another one.

        Returns a function that tells whether they are canceled. The cluster
        cannot be used afterwards.
        """
        canceled = threading.Event()

        async def cancel() -> None:
            # after a submission in progress, and instead of any later one
            await self._lock.acquire()
            closed = (job.close() for job in list(self.workers.values()))
            await asyncio.gather(*closed, return_exceptions=True)
            canceled.set()

        self.loop.add_callback(cancel)
        return canceled.is_set

    async def supervise(self, n_jobs: int, list_command: tuple[str, ...]) -> None:
        """Replace jobs that end, until the cluster closes."""
        from distributed.core import Status

        while self.status == Status.running:
            await asyncio.sleep(JOB_CHECK_INTERVAL)
            if self.status != Status.running or self.scheduler.status != Status.running:
                return
            try:
                await self._replace_ended_jobs(n_jobs, list_command)
            except Exception:  # a check that fails must not be the last one
                log.exception("the jobs could not be checked; the next check follows")

    async def _replace_ended_jobs(self, n_jobs: int, list_command: tuple[str, ...]) -> None:
        idle = [name for name in self.workers if not self._is_connected(name)]
        listed = await self._list_jobs(list_command) if idle else None
        now = time.monotonic()
        for name, job in list(self.workers.items()):
            if self._has_ended(name, job, listed, now):
                log.info("job %s (%s) has ended", job.job_id, name)
                if name not in self.last_connected:
                    self._postpone_submission(now)
                    log.error("job %s ended before a worker connected; see its output", job.job_id)
                self._forget(name)
                await job.close()
        if len(self.workers) < n_jobs and now >= self.next_submission:
            try:
                await self.fill(n_jobs)
            except RuntimeError:
                self._postpone_submission(now)

    def _is_connected(self, name: str) -> bool:
        suffixes = self.worker_spec.get(name, {}).get("group", [""])
        names = {str(worker.name) for worker in self.scheduler.workers.values()}
        return any(f"{name}{suffix}" in names for suffix in suffixes)

    async def _list_jobs(self, command: tuple[str, ...]) -> list[str] | None:
        """Return the first words that the list command prints; ``None`` if it fails."""
        try:
            text = await asyncio.wait_for(self.job_cls._call(list(command)), 120)
        except Exception as error:  # the queueing system may be under load
            log.warning("%s failed, so no job is replaced now: %s", command[0], error_text(error))
            return None
        return [line.split()[0] for line in text.splitlines() if line.strip()]

    def _has_ended(self, name: str, job: Job, listed: list[str] | None, now: float) -> bool:
        first_check = self.first_check.setdefault(name, now)
        if self._is_connected(name):
            self.last_connected[name] = now
            self.fruitless_jobs = 0
            return False
        # job ids may carry suffixes such as 17.server
        is_listed = listed is None or any(
            re.match(rf"{re.escape(str(job.job_id))}(?!\d)", word) for word in listed
        )
        if not is_listed and now - first_check >= JOB_CHECK_INTERVAL:
            return True
        return name in self.last_connected and now - self.last_connected[name] > LOST_JOB_TIMEOUT

    def _postpone_submission(self, now: float) -> None:
        self.fruitless_jobs += 1
        pause = JOB_CHECK_INTERVAL * 2.0 ** min(self.fruitless_jobs, 20)
        self.next_submission = now + min(MAX_SUBMIT_INTERVAL, pause)


def private_job(base: Any) -> Any:
    """Return a job class of dask-jobqueue whose script no other user can replace.

    The class of dask-jobqueue writes it to a name in a folder such as ``/tmp`` where
    another user can create a file first, and keep it writable.
    """

    class Job(base):  # type: ignore[misc]
        @contextmanager
        def job_file(self) -> Iterator[str]:
            with tempfile.TemporaryDirectory(prefix="mgdask-job-") as folder:
                path = Path(folder) / "job.sh"
                path.write_text(self.job_script(), encoding="utf-8")
                yield str(path)

        async def _submit_job(self, script_filename: str) -> Any:
            if getattr(self, "use_stdin", False):  # LSF: the name enters a shell
                script_filename = shlex.quote(script_filename)
            return await super()._submit_job(script_filename)

    Job.__name__ = base.__name__
    return Job


def supervised(base: Any) -> type[SupervisedCluster]:
    """Return a cluster class of dask-jobqueue with ``fill`` and ``supervise``."""
    from distributed.core import Status

    class Job(private_job(base.job_cls)):  # type: ignore[misc]
        async def close(self) -> None:
            await super().close()
            # dask-jobqueue leaves the status, and closing the cluster then fails
            self.status = Status.closed

    class Cluster(SupervisedCluster, base):  # type: ignore[misc]
        job_cls = Job

    Cluster.__name__ = base.__name__
    return Cluster
