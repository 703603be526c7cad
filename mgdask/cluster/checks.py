"""Checks of the arguments that say where workers come from, before one starts."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import ByteSize, TypeAdapter

from mgdask.cluster.site import Site, Tls, is_scheduler_file, read_site
from mgdask.cluster.validation import check_size
from mgdask.errors import ParameterError
from mgdask.ownership import user_id


def check_local(workers: int | None, threads: int, memory: str | int | None = None) -> None:
    """Raise ``ParameterError`` unless these describe worker processes of this machine.

    Parameters
    ----------
    workers
        Number of worker processes, or None for one per available core.
    threads
        Threads of each worker.
    memory
        Memory of each worker, in bytes or as ``"2GiB"``; None for an even share.
    """
    if (workers is not None and workers < 1) or threads < 1:
        given = "" if workers is None else f"workers={workers}, "
        both = "both must" if given else "it must"
        raise ParameterError(f"{given}threads={threads}: {both} be at least 1")
    if memory != "auto" and not _is_number(memory):
        parse_bytes(memory)


def _is_number(text: str | int | None) -> bool:
    """Return whether a text is a number without unit, such as "1e9"."""
    try:
        return float(text or 0) >= 0
    except ValueError:
        return False


def parse_bytes(memory: str | int | None) -> int | None:
    """Return an amount of memory in bytes.

    Raises
    ------
    ParameterError
        If it is not a size.
    """
    if memory is None:
        return None
    try:
        return int(TypeAdapter(ByteSize).validate_python(check_size(memory)))
    except ValueError:
        raise ParameterError(
            f"memory={memory!r} is not a size; write 2GiB, 500MB or a number of bytes"
        ) from None


def check_site(site: Site, memory: str | int | None = None, threads: int | None = None) -> None:
    """Raise ``ParameterError`` if the workers of a site do not suffice.

    Parameters
    ----------
    site
        The site.
    memory, threads
        Memory and threads that each worker must have.
    """
    required = parse_bytes(memory)
    check_tls(site.tls_files)
    if site.kind == "local":
        own = threads is None or "threads" in site.model_fields_set
        check_local(site.workers, site.threads if own else int(threads or 1))
    elif site.kind == "scheduler":
        find_scheduler(str(site.address or site.file))
    else:
        _check_queue_workers(site, required, threads)


def _check_queue_workers(site: Site, memory: int | None, threads: int | None) -> None:
    """Raise ``ParameterError`` if the workers of a queueing system do not suffice."""
    available = site.worker_memory or 0
    if memory is not None and memory > available:
        raise ParameterError(
            f"memory={memory / 2**30:.2f} GiB: a worker of this site has "
            f"{available / 2**30:.2f} GiB, because {site.workers_per_job} processes share the "
            "memory of a job. Plan with less memory, or set fewer processes or more memory in "
            "the site"
        )
    if threads is not None and threads != site.worker_threads:
        raise ParameterError(
            f"threads={threads}: a worker of this site has {site.worker_threads} (cores "
            f"{site.cores} over {site.workers_per_job} processes); change processes in the site"
        )


def check_tls(tls: Tls | None) -> None:
    """Raise ``ParameterError`` if a file for encryption does not exist."""
    if tls is None:
        return
    for name, path in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
        if not Path(path).is_file():
            raise ParameterError(
                f"tls.{name}: {path} does not exist; deploy/README.md shows how to make it"
            )


def find_scheduler(scheduler: str, tls: Tls | None = None) -> tuple[str, Tls | None]:
    """Return address and TLS files of a scheduler.

    Parameters
    ----------
    scheduler
        Address such as ``"tcp://10.0.0.1:8786"``, or path of a scheduler file.
    tls
        Files for encryption. Default: those that the scheduler file names.

    Raises
    ------
    ParameterError
        If ``scheduler`` is neither, or the file belongs to another user.
    """
    path = Path(scheduler)
    if not path.is_file():
        if ":" not in scheduler:
            raise ParameterError(
                f"scheduler={scheduler!r} is neither an address such as tcp://10.0.0.1:8786 nor an "
                "existing scheduler file; start a scheduler with: mgdask cluster start site.yaml "
                "--scheduler-file FILE"
            )
        return scheduler, tls
    if not is_scheduler_file(path):
        raise ParameterError(
            f"scheduler={scheduler!r} is not a scheduler file: a scheduler file is JSON with an "
            "address"
        )
    content = json.loads(_read_own(path))
    files = content.get("mgdask", {}).get("tls")
    return str(content["address"]), Tls(**files) if tls is None and files else tls


def _read_own(path: Path) -> str:
    """Return the text of a scheduler file, unless it belongs to another user.

    Its scheduler could run code as this user. In a folder such as ``/tmp``, anyone can
    create a file before its owner does.
    """
    with open(path, encoding="utf-8") as stream:
        owner = os.fstat(stream.fileno()).st_uid  # of what is read, if the name changes
        if owner not in (0, user_id()):
            raise ParameterError(
                f"scheduler={str(path)!r} belongs to user {owner}, whose scheduler could run code "
                "as you. If you trust it, copy the file, or give the address that it contains"
            )
        return stream.read()


def check_workers(
    workers: int | None,
    threads: int,
    scheduler: str | None = None,
    memory: str | int | None = None,
    site: str | Path | Site | None = None,
    site_threads: int | None = None,
) -> None:
    """Check everything that says where workers come from.

    Parameters
    ----------
    workers, threads
        Worker processes of this machine, and threads of each.
    scheduler
        Address or scheduler file, instead.
    memory
        Memory that each worker must have.
    site
        Site or site file, instead.
    site_threads
        Threads that each worker of the site must have.

    Raises
    ------
    ParameterError
        If more than one source of workers is given, or a value is not allowed.
    """
    if sum(option is not None for option in (workers, scheduler, site)) > 1:
        raise ParameterError(
            "--workers, --scheduler and --cluster exclude each other: each says where workers "
            "come from; give one"
        )
    if site is not None:
        check_site(read_site(site), memory, site_threads)
    elif scheduler is not None:
        check_tls(find_scheduler(scheduler)[1])
    else:
        check_local(workers, threads, memory)
