"""Workers as jobs of a queueing system, through dask-jobqueue."""

from __future__ import annotations

import logging
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgdask.cluster.jobs import SupervisedCluster, import_jobqueue, private_job, supervised
from mgdask.cluster.local import ONE_THREAD, dashboard_options
from mgdask.cluster.site import Site, Tls, seconds
from mgdask.cluster.tls import TRUSTED_NETWORK, make_security, quoted, settings, write_certificate
from mgdask.cluster.validation import quote, quote_command
from mgdask.errors import RunError
from mgdask.execution.client import LOOPBACK, without_pages
from mgdask.execution.scratch import PREFIX, scratch_folder, working_in
from mgdask.execution.steady import keep_time
from mgdask.interruption import end_when_stopped, shielded
from mgdask.store.failures import StorageFullError

log = logging.getLogger(__name__)

ANSWER_TIMEOUT = 120.0
"""Seconds within which a queueing system must answer."""
_SCRATCH = "MGDASK_SCRATCH"
"""Shell variable of a job: the folder for data that its workers spill."""


@dataclass(frozen=True)
class _System:
    """Commands and option names of one queueing system.

    ``cluster`` is a class of dask-jobqueue. ``submit``, ``status`` and ``list_jobs``
    are commands. ``account`` is the option of dask-jobqueue for the project.
    """

    cluster: str
    submit: str
    status: tuple[str, ...]
    list_jobs: tuple[str, ...]
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


def _cluster_class(kind: str) -> Any:
    module = import_jobqueue(f"a site of kind {kind}")
    return getattr(module, _SYSTEMS[kind].cluster)


def _format_walltime(site: Site) -> str:
    total = seconds(str(site.walltime))
    if site.kind == "lsf":  # LSF takes whole minutes: round up
        minutes = -(-total // 60)
        return f"{minutes // 60:02d}:{minutes % 60:02d}"
    return f"{total // 3600:02d}:{total // 60 % 60:02d}:{total % 60:02d}"


def job_options(site: Site, *, fixed: bool = False) -> dict[str, Any]:
    """Return the options of dask-jobqueue for one job of a site."""
    lifetime, stagger = site.lifetime
    worker_arguments = ["--dashboard-address", LOOPBACK, "--no-dashboard"]
    # A folder whose name other users cannot guess, and that they cannot rename.
    # HTCondor would replace $(...), so the command is in `...`.
    folder = quote(site.local_directory) if site.local_directory else '"${TMPDIR:-/tmp}"'
    prologue = [
        *site.prologue,
        f"mkdir -p {folder}",
        f"{_SCRATCH}=`mktemp -d {folder}/{PREFIX}XXXXXXXXXX` || exit 1",
        f"trap 'rm -rf \"${_SCRATCH}\"' EXIT",
        # HTTP servers of workers ask for no certificate
        "export DASK_DISTRIBUTED__WORKER__HTTP__ROUTES='[]'",
        *(f"export {name}={value}" for name, value in ONE_THREAD.items()),
    ]
    if not fixed:
        worker_arguments += ["--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{stagger}s"]
    options: dict[str, Any] = {
        "cores": site.cores,
        "processes": site.workers_per_job,
        "memory": f"{int(site.memory or 0)}B",
        "nanny": True,
        "interface": site.interface,
        "python": quote_command(site.python) if site.python else shlex.quote(sys.executable),
        "job_name": "mgdask",
        "worker_extra_args": worker_arguments,
        "job_script_prologue": prologue,
        "job_extra_directives": list(site.directives),
        "job_directives_skip": list(site.skip_directives),
        "local_directory": f'"${_SCRATCH}"',
        "log_directory": site.log_directory,
    }
    if site.kind == "htcondor":
        pairs = (line.partition("=") for line in site.directives)
        directives = {key.strip(): value.strip() for key, _, value in pairs}
        if site.project is not None:
            directives["accounting_group"] = site.project
        options |= {"job_extra_directives": directives, "disk": f"{int(site.disk or 0)}B"}
    else:
        account = _SYSTEMS[site.kind].account
        options |= {"queue": site.queue, account: site.project, "walltime": _format_walltime(site)}
    if site.resource is not None:
        options["resource_spec"] = site.resource
    if site.kind == "oar":
        options["memory_per_core_property_name"] = site.memory_property or "not_applicable"
    return {key: value for key, value in options.items() if value is not None}


def job_script(site: Site, *, fixed: bool = False) -> str:
    r"""Return the job script that ``open_cluster`` would submit for a site.

    Nothing is submitted or written, and the queueing system need not be installed. The
    address of the scheduler and the folder of a temporary certificate are placeholders,
    because no scheduler runs yet.

    Parameters
    ----------
    site
        Site of a queueing system.
    fixed
        As for ``open_cluster``.

    Returns
    -------
    script
        The script, or a note that sites of this kind have none.

    Raises
    ------
    MissingDependencyError
        If dask-jobqueue is not installed.

    Examples
    --------
    >>> from mgdask.cluster import read_site
    >>> job_script(read_site("local"))
    'kind local has no job script\n'
    """
    if site.kind not in _SYSTEMS:
        return f"kind {site.kind} has no job script\n"
    options = job_options(site, fixed=fixed)
    security = make_security(site.tls_files)
    if site.tls is None:
        files = (f"{shared_directory(site)}/TEMPORARY/{part}.pem" for part in Tls.model_fields)
        security = settings(*files)
    security = quoted(security)
    protocol = "tcp" if security is None else "tls"
    if security is not None:
        options |= {"security": security, "protocol": "tls://"}
    # a job of dask-jobqueue creates its log directory: give it a temporary one
    with tempfile.TemporaryDirectory(prefix="mgdask-log-") as placeholder:
        if site.log_directory is not None:
            options["log_directory"] = placeholder
        job_class = private_job(_cluster_class(site.kind).job_cls)
        job = job_class(f"{protocol}://SCHEDULER:PORT", name="mgdask-0", **options)
        return str(job.job_script()).replace(placeholder, site.log_directory or placeholder)


def check_answers(site: Site) -> None:
    """Raise ``RunError`` if the queueing system is not installed or does not answer."""
    system = _SYSTEMS[site.kind]
    for command in (system.submit, system.status[0]):
        if shutil.which(command) is None:
            raise RunError(
                f"kind {site.kind}: {command} is not on PATH of this machine. Submit from a login "
                "node of the queueing system, or use kind: local"
            )
    line = " ".join(system.status)
    try:
        done = subprocess.run(
            system.status, capture_output=True, text=True, timeout=ANSWER_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise RunError(
            f"kind {site.kind}: {line} does not answer within {ANSWER_TIMEOUT:g} s"
        ) from None
    if done.returncode:
        raise RunError(
            f"kind {site.kind}: {line} ends with status {done.returncode}: "
            f"{(done.stderr or done.stdout).strip()}"
        )


def shared_directory(site: Site) -> Path:
    """Return the folder for certificates that this machine and the workers see."""
    return Path(site.shared_directory or "~/.mgdask").expanduser().absolute()


@contextmanager
def with_certificate(site: Site) -> Iterator[Site]:
    """Yield the site with the files of a temporary certificate, unless it has its own.

    Only this user can read the files, and they are removed at the end.
    """
    if site.tls is not None:
        if site.tls == "off":
            log.warning(TRUSTED_NETWORK)
        yield site
        return
    folder = shared_directory(site)
    with ExitStack() as stack:
        try:
            private = stack.enter_context(scratch_folder(folder))
            files = write_certificate(Path(private))
        except (OSError, StorageFullError) as error:
            raise RunError(
                f"a temporary certificate cannot be written to {folder} "
                f"({error.__cause__ or error}). Set shared_directory in the site to a folder that "
                "this machine and the nodes see"
            ) from None
        yield site.model_copy(update={"tls": files})


def queue_cluster(
    site: Site, *, fixed: bool = False, scratch: str | None = None
) -> SupervisedCluster:
    """Start a scheduler and submit the jobs of a site.

    Jobs that end are replaced, unless the pool is ``fixed``. Commands of the queueing
    system do not receive Ctrl-C. If a command of mgdask is stopped, its jobs are
    canceled.
    """
    keep_time()
    cluster_class = supervised(_cluster_class(site.kind))
    check_answers(site)
    with (
        nullcontext() if scratch is None else working_in(scratch),
        nullcontext() if site.dashboard != "off" else without_pages(),
    ):
        return shielded(
            lambda: _submit(site, cluster_class, fixed), lambda cluster: cluster.close()
        )


def _submit(site: Site, cluster_class: type[SupervisedCluster], fixed: bool) -> SupervisedCluster:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Port .* is already in use")
        cluster = cluster_class(
            scheduler_options={"interface": site.interface, **dashboard_options(site.dashboard)},
            security=make_security(site.tls_files),
            name="mgdask",
            **job_options(site, fixed=fixed),
        )
    end_when_stopped(cluster.begin_to_cancel)
    try:
        cluster.sync(cluster.fill, site.jobs)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        cluster.close()
        raise RunError(f"kind {site.kind}: no job could be submitted: {error}") from None
    if not fixed:
        cluster.loop.add_callback(cluster.supervise, site.jobs, _SYSTEMS[site.kind].list_jobs)
    return cluster
