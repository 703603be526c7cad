"""Jobs of a queueing system as workers, through dask-jobqueue, each replaced when it ends.

dask-jobqueue's own ``adapt`` replaces a job only where it has one worker (it looks jobs up by the names of workers, which differ where a
job has several), and no job that ended before its worker came. Here the queueing system is asked which jobs there are.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import subprocess
import tempfile
import time
import warnings
from dataclasses import dataclass
from typing import Any

from mgdask.cluster.local import LOOPBACK, ONE_THREAD, dashboard_options, make_security
from mgdask.cluster.site import Site, seconds
from mgdask.errors import MissingDependencyError, RunError

log = logging.getLogger(__name__)

LOOK_EVERY = 20.0
"""Seconds between two looks at the jobs; the queueing system is asked only while one of them has no worker."""
LOST_AFTER = 30.0
"""Seconds after which a job is given up whose workers have all gone while it is still in the queue."""
SLOWEST = 600.0
"""Seconds between two submissions at most, when jobs end before their workers come or cannot be submitted."""


@dataclass(frozen=True)
class _System:
    """Names of one queueing system: dask-jobqueue's class, the command that submits, those that answer and list jobs."""

    cluster: str
    submit: str
    answers: tuple[str, ...]
    jobs: tuple[str, ...]
    account: str


_SYSTEMS = {
    "slurm": _System(
        "SLURMCluster",
        "sbatch",
        ("sinfo", "--noheader"),
        ("squeue", "--me", "--noheader", "--format=%A"),
        "account",
    ),
    "pbs": _System("PBSCluster", "qsub", ("qstat",), ("qstat",), "account"),
    "lsf": _System(
        "LSFCluster", "bsub", ("bqueues",), ("bjobs", "-noheader", "-o", "jobid"), "project"
    ),
    "sge": _System("SGECluster", "qsub", ("qstat",), ("qstat",), "project"),
    "htcondor": _System(
        "HTCondorCluster",
        "condor_submit",
        ("condor_q", "-totals"),
        ("condor_q", "-format", "%d.", "ClusterId", "-format", "%d\\n", "ProcId"),
        "",
    ),
    "oar": _System("OARCluster", "oarsub", ("oarstat",), ("oarstat",), "project"),
}


def _class(kind: str) -> Any:
    try:
        import dask_jobqueue
    except ImportError:
        raise MissingDependencyError(
            "dask-jobqueue", "jobqueue", f"a site of kind {kind}"
        ) from None
    return getattr(dask_jobqueue, _SYSTEMS[kind].cluster)


def _time(site: Site) -> str:
    whole = seconds(str(site.walltime))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if site.kind == "lsf":  # it knows no seconds; a minute more is asked for rather than one less
        whole = -(-whole // 60)
        return f"{whole // 60:02d}:{whole % 60:02d}"
    return f"{hours:02d}:{minutes:02d}:{rest:02d}"


def job_options(site: Site, *, fixed: bool = False) -> dict[str, Any]:
    """What dask-jobqueue is told of one job of a site."""
    lifetime, stagger = site.lifetime
    extra = ["--dashboard-address", LOOPBACK, "--no-dashboard"]
    if not fixed:
        extra += ["--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{stagger}s"]
    options: dict[str, Any] = {
        "cores": site.cores,
        "processes": site.workers_per_job,
        "memory": f"{int(site.memory or 0)}B",
        "nanny": True,
        "interface": site.interface,
        "python": site.python,
        "job_name": "mgdask",
        "worker_extra_args": extra,
        "job_script_prologue": [
            *site.prologue,
            *(f"export {name}={value}" for name, value in ONE_THREAD.items()),
        ],
        "job_extra_directives": list(site.directives),
        "job_directives_skip": list(site.skip_directives),
        "local_directory": site.local_directory,
        "log_directory": site.log_directory,
    }
    system = _SYSTEMS[site.kind]
    if site.kind == "htcondor":
        pairs = (line.partition("=") for line in site.directives)
        options["job_extra_directives"] = {key.strip(): value.strip() for key, _, value in pairs}
        options["disk"] = f"{int(site.disk or 0)}B"
        if site.project is not None:
            options["job_extra_directives"]["accounting_group"] = site.project
    else:
        options |= {"queue": site.queue, system.account: site.project, "walltime": _time(site)}
    if site.resource is not None:
        options["resource_spec"] = site.resource
    if site.kind == "oar":
        options["memory_per_core_property_name"] = site.memory_property or "not_applicable"
    return {key: value for key, value in options.items() if value is not None}


def job_script(site: Site, *, fixed: bool = False) -> str:
    """The job script of a site of a queueing system, as ``open_cluster`` would submit it; nothing is submitted or written.

    The scheduler's address stands as a placeholder, because there is none yet. The queueing system need not be installed.
    """
    if site.kind not in _SYSTEMS:
        return f"kind {site.kind} has no job script\n"
    options = job_options(site, fixed=fixed)
    security = make_security(site.tls) if site.tls is not None else None
    protocol = "tcp" if security is None else "tls"
    if security is not None:
        options |= {"security": security, "protocol": "tls://"}
    with tempfile.TemporaryDirectory(
        prefix="mgdask-log-"
    ) as stand_in:  # a Job makes its log folder
        if site.log_directory is not None:
            options["log_directory"] = stand_in
        job = _class(site.kind).job_cls(f"{protocol}://SCHEDULER:PORT", name="mgdask-0", **options)
        text = str(job.job_script())
        return (
            text.replace(stand_in, site.log_directory) if site.log_directory is not None else text
        )


def check_answers(site: Site) -> None:
    """``RunError`` with its own words where the queueing system of a site is not there or does not answer."""
    system = _SYSTEMS[site.kind]
    for command in (system.submit, system.answers[0]):
        if shutil.which(command) is None:
            raise RunError(
                f"kind {site.kind}: there is no {command} on PATH of this machine. Submit from a login node where it is, or use kind: local"
            )
    try:
        done = subprocess.run(
            system.answers, capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        raise RunError(
            f"kind {site.kind}: {' '.join(system.answers)} does not answer within 120 s"
        ) from None
    if done.returncode:
        raise RunError(
            f"kind {site.kind}: {' '.join(system.answers)} ends with status {done.returncode}: {(done.stderr or done.stdout).strip()}"
        )


def queue_cluster(site: Site, *, fixed: bool = False) -> Any:
    """A running dask-jobqueue cluster of a site, its jobs submitted, and replaced as they end unless ``fixed``."""
    base = _class(site.kind)
    check_answers(site)
    security = make_security(site.tls)
    options = {"interface": site.interface, **dashboard_options(site.dashboard)}
    kind = _kept(base)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Port .* is already in use")
        cluster = kind(
            scheduler_options=options,
            security=security,
            name="mgdask",
            **job_options(site, fixed=fixed),
        )
    try:
        cluster.sync(cluster.fill, site.jobs)
    except RuntimeError as error:
        cluster.close()
        raise RunError(f"kind {site.kind}: no job could be submitted: {_words(error)}") from None
    if not fixed:
        cluster.loop.add_callback(cluster.keep, site.jobs, _SYSTEMS[site.kind].jobs)
    return cluster


def _words(error: BaseException) -> str:
    """What the command said on stderr, of dask-jobqueue's account of it."""
    text = str(error)
    found = re.search(r"stderr:\n(.*)", text, flags=re.S)
    return found.group(1).strip() if found and found.group(1).strip() else text.strip()


def _kept(base: Any) -> Any:
    """A class of dask-jobqueue with ``fill`` and ``keep``."""
    from distributed.core import Status
    from distributed.deploy.spec import SpecCluster

    class KeptJob(base.job_cls):  # type: ignore[misc]
        async def close(self) -> None:
            await super().close()
            self.status = (
                Status.closed
            )  # dask-jobqueue forgets it, and the cluster's end then fails

    class KeptCluster(base):  # type: ignore[misc]
        job_cls = KeptJob
        fruitless = 0
        """Jobs that ended, one after the other, before any worker of theirs came."""
        next_try = 0.0

        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.born: dict[str, float] = {}
            self.seen: dict[str, float] = {}
            super().__init__(*arguments, **options)

        def _update_worker_status(self, op: str, msg: Any) -> None:
            super(SpecCluster, self)._update_worker_status(  # type: ignore[misc]
                op, msg
            )  # jobs are given up by keep() alone

        def _forget(self, name: str) -> Any:
            self.worker_spec.pop(name, None)
            return self.workers.pop(name, None)

        async def fill(self, jobs: int) -> None:
            """Submit until there are ``jobs``; raises what the last failure said if not one could be submitted."""
            before = len(self.workers)
            while (
                len(self.worker_spec) < jobs
            ):  # a new name each: the scheduler refuses one that it still knows
                self.worker_spec[self._new_worker_name(self._i)] = self.new_spec
                self._i += 1
            try:
                await self._correct_state()
            except Exception as error:
                for name in [name for name, job in self.workers.items() if job.job_id is None]:
                    self._forget(name).status = Status.closed
                log.error(
                    "%s jobs wanted, %s submitted: %s", jobs, len(self.workers), _words(error)
                )
                if len(self.workers) <= before:
                    raise RuntimeError(_words(error)) from None

        def _connected(self, name: str) -> bool:
            suffixes = self.worker_spec.get(name, {}).get("group", [""])
            names = {str(worker.name) for worker in self.scheduler.workers.values()}
            return any(f"{name}{suffix}" in names for suffix in suffixes)

        async def _listed(self, command: tuple[str, ...]) -> list[str] | None:
            try:
                text = await asyncio.wait_for(self.job_cls._call(list(command)), 120)
            except (
                Exception
            ) as error:  # a queueing system under load: nothing is known, so nothing is done
                log.warning("%s: %s", command[0], _words(error))
                return None
            return [line.split()[0] for line in text.splitlines() if line.strip()]

        async def keep(self, jobs: int, command: tuple[str, ...]) -> None:
            """Replace jobs that ended, until the cluster closes."""
            while self.status == Status.running:
                await asyncio.sleep(LOOK_EVERY)
                if self.status != Status.running or self.scheduler.status != Status.running:
                    return
                try:
                    await self._look(jobs, command)
                except Exception:  # a look that failed must not be the last one
                    log.exception("the jobs could not be looked at")

        async def _look(self, jobs: int, command: tuple[str, ...]) -> None:
            missing = [name for name in self.workers if not self._connected(name)]
            listed = await self._listed(command) if missing else None
            now = time.monotonic()
            for name, job in list(self.workers.items()):
                born = self.born.setdefault(name, now)
                if self._connected(name):
                    self.seen[name] = now
                    self.fruitless = 0
                    continue
                there = listed is None or any(
                    re.match(rf"{re.escape(job.job_id)}(?!\d)", word) for word in listed
                )
                gone = not there and now - born >= LOOK_EVERY
                lost = name in self.seen and now - self.seen[name] > LOST_AFTER
                if gone or lost:
                    log.info("job %s (%s) has ended", job.job_id, name)
                    if name not in self.seen:
                        self._wait_longer(now)
                        log.error(
                            "job %s ended before a worker came from it; its output says why",
                            job.job_id,
                        )
                    self._forget(name)
                    await job.close()
            if len(self.workers) < jobs and now >= self.next_try:
                try:
                    await self.fill(jobs)
                except RuntimeError:
                    self._wait_longer(now)

        def _wait_longer(self, now: float) -> None:
            self.fruitless += 1
            self.next_try = now + min(SLOWEST, LOOK_EVERY * 2.0 ** min(self.fruitless, 20))

    KeptCluster.__name__ = base.__name__
    return KeptCluster
