"""Runs whose features go to an object store: computed in a folder, then copied."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dask.utils import format_bytes

from mgdask.execution.executor import execute, resolve_client
from mgdask.store.location import Location, Place, local_path, locate, scheme_of

if TYPE_CHECKING:
    from distributed import Client

    from mgdask.pipelines.featurize.plan import Plan
    from mgdask.pipelines.featurize.run import Report

logger = logging.getLogger("mgdask.featurize")

STAGING = ".staging"
"""End of the name of the folder in which features are computed by default."""


def staging_folder(location: Location, scratch: str | Path | None) -> Path:
    """Return the folder in which features are computed before they are copied.

    Parameters
    ----------
    location
        Place of the features.
    scratch
        Folder that the caller chose. Default: one in the current folder, which is
        removed at the end.
    """
    name = location.url.rpartition("/")[2] or "features.zarr"
    if scratch is not None:
        return local_path(scratch, "scratch= names").absolute() / name
    digest = hashlib.sha256(location.url.encode()).hexdigest()[:8]
    return Path.cwd() / f"{name}-{digest}{STAGING}" / name


def check_target(place: Place, scratch: str | Path | None) -> tuple[Location, Path]:
    """Return where features go, and where they are computed.

    Parameters
    ----------
    place
        Place of the features.
    scratch
        As in ``mgdask.plan``.

    Raises
    ------
    StoreError
        If no features can be written there.
    """
    from mgdask.store.publish import check_publishable

    location = locate(place)
    check_publishable(location)
    return location, staging_folder(location, scratch)


def is_published(plan: Plan) -> bool:
    """Return whether the features of a plan are finished where they go.

    Raises
    ------
    StoreError
        If that place holds anything else.
    """
    from mgdask.store.publish import published_state

    return published_state(locate(plan.target), plan.digest) == "finished"


def run_and_publish(
    plan: Plan,
    compute: Callable[[], Report],
    nothing_to_do: Callable[[], Report],
    client: Client | None,
    *,
    retries: int,
    progress: bool,
) -> Report:
    """Run a plan in its folder, and copy the features to their place.

    Parameters
    ----------
    plan
        The plan, with a ``target``.
    compute
        Runs the plan in its folder.
    nothing_to_do
        Returns the report of a run that was finished before.
    client, retries, progress
        As in ``mgdask.run``.

    Returns
    -------
    report
        The report of the run.

    Raises
    ------
    StoreError
        If the place holds anything else, or another process writes there.
    """
    from mgdask.store.publish import remote_lock

    location = locate(plan.target)
    if is_published(plan):
        _remove_staging(plan)
        return nothing_to_do()
    with remote_lock(location) as lock:
        report = compute()
        _copy(plan, location, lock, client, retries, progress)
    _remove_staging(plan)
    return replace(report, out=str(plan.target))


def _copy(
    plan: Plan,
    location: Location,
    lock: object,
    client: Client | None,
    retries: int,
    progress: bool,
) -> None:
    from mgdask.store.publish import RemoteLock, begin, finish, upload, uploads

    assert isinstance(lock, RemoteLock)
    begin(plan.out, location)
    jobs = uploads(plan.out, str(location.place))
    if scheme_of(location) == "memory":  # that of other processes is another one
        sent = sum(upload(job) for job in jobs.values())
    else:
        with resolve_client(client) as workers:
            outcome = execute(
                workers,
                upload,
                [(name, (job,)) for name, job in jobs.items()],
                what="copy",
                retries=retries,
                progress=progress,
            )
        sent = sum(outcome.results.values())
    finish(plan.out, location, lock)
    logger.info("%s: %s copied from %s", location.url, format_bytes(sent), plan.out)


def _remove_staging(plan: Plan) -> None:
    folder = Path(plan.out).parent
    if folder.name.endswith(STAGING):
        shutil.rmtree(folder, ignore_errors=True)
