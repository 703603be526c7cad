"""Lag displacements of all atoms, computed as tasks and checked for unusable values."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgdask.errors import ParameterError, StoreError
from mgdask.execution.client import resolve_client
from mgdask.execution.executor import Task, execute
from mgdask.execution.progress import ProgressReporter
from mgdask.features.averaged_displacement import AveragedDisplacement
from mgdask.features.feature import Feature
from mgdask.features.lag import LIU_2022, LagDisplacement
from mgdask.features.window import FrameAxis
from mgdask.pipelines.featurize.plan import Plan, plan
from mgdask.pipelines.featurize.run import run
from mgdask.store.attributes import decode
from mgdask.store.manifest import Manifest
from mgdask.store.open import check_complete
from mgdask.store.shards import remove_store
from mgdask.studies.temperature.data import (
    AVERAGED,
    BLOCK_BYTES,
    FEATURE,
    Instances,
    Run,
    feature_path,
    features_of,
    read_instances,
)
from mgdask.studies.temperature.stores import name_of, read_store

if TYPE_CHECKING:
    from mgdask.cluster.client import Client

SHORTEST = 1 / 40
"""Shortest averaged lag over the longest lag: 5 ps of 200 ps."""
MIN_ORIGINS = 10
"""Minimum number of origins of an averaged lag."""
MOST_ORIGINS = 0.75
"""Minimum fraction of the possible origins that have a frame at the lag."""
AT_A_TIME = 16
"""Maximum number of stores whose lag features are computed at a time."""
MIN_LAGS = 3
"""Minimum number of averaged lags."""


def lag_feature(lags: Sequence[float]) -> LagDisplacement:
    """Return the feature of the study: lg[r² m] from the first frame of each run.

    Parameters
    ----------
    lags
        Lags in ps.
    """
    times = tuple(float(lag) for lag in lags)
    feature = LagDisplacement(
        lags="liu2022" if times == LIU_2022 else times, scaling="logarithmic_mass"
    )
    return feature.named(FEATURE)


def averaged_of(stores: Sequence[Path], lags: Sequence[float]) -> AveragedDisplacement | None:
    """Return the feature that averages over origins, for the frames of some stores.

    Parameters
    ----------
    stores
        Trajectory stores, those of training: an application must not change it.
    lags
        Lags in ps, increasing.

    Returns
    -------
    feature
        As from ``averaged_feature``.
    """
    return averaged_feature([read_store(store).axis for store in stores], lags)


def allows(feature: AveragedDisplacement, axis: FrameAxis) -> bool:
    """Return whether the frames of a store have most of the origins of a feature.

    Parameters
    ----------
    feature
        From ``averaged_feature``.
    axis
        Times and runs of the frames.
    """
    lags = [float(lag) for lag in feature.lags]
    return all(_has_origins(axis, lag, lags[0]) for lag in lags)


def averaged_feature(
    axes: Sequence[FrameAxis], lags: Sequence[float]
) -> AveragedDisplacement | None:
    """Return the feature that averages over origins, with the lags that allow it.

    Parameters
    ----------
    axes
        Times and runs of the frames of every store.
    lags
        Lags in ps, increasing.

    Returns
    -------
    feature
        lg[<r²> m]. It averages the lags that most origins have, from ``SHORTEST`` of
        the longest lag on. The shortest of these lags is the spacing of origins. None
        if there are fewer than ``MIN_LAGS`` such lags.
    """
    found: list[float] = []
    for lag in lags:
        spacing = found[0] if found else lag
        if lag >= SHORTEST * lags[-1] and all(_has_origins(axis, lag, spacing) for axis in axes):
            found.append(float(lag))
    if len(found) < MIN_LAGS:
        return None
    feature = AveragedDisplacement(lags=tuple(found), scaling="logarithmic_mass")
    return feature.named(AVERAGED)


def _has_origins(axis: FrameAxis, lag: float, spacing: float) -> bool:
    """Return whether all runs have most of the origins that a lag could have."""
    feature = AveragedDisplacement(lags=(lag,), spacing=spacing)
    for first, last in axis.runs():
        duration = float(axis.time[last - 1] - axis.time[first])
        n_possible = int((duration - lag) / spacing + 1e-9) + 1
        origins = feature.averaged_origins(axis, first, last)
        n_origins = int((axis.laters(lag, feature.tolerance)[origins] >= 0).sum())
        if n_possible < MIN_ORIGINS or n_origins < MOST_ORIGINS * n_possible:
            return False
    return True


def compute_lags(
    stores: Sequence[Path],
    out: Path,
    lags: Sequence[float] = LIU_2022,
    *,
    averaged_as: Sequence[Path] | None = None,
    memory: str = "2GiB",
    client: Client | None = None,
    progress: bool = True,
) -> Instances:
    """Compute lg[r² m] of all atoms and lags, unless ``out`` already has them.

    Averages over origins are computed too if the frames allow it. With a client of
    several workers, several stores are computed at a time.

    Parameters
    ----------
    stores
        Trajectory stores.
    out
        Folder for the feature stores, one per store.
    lags
        Lags in ps.
    averaged_as
        Stores whose frames determine the averages. Default: ``stores``. A store whose
        frames do not allow these averages gets none.
    memory
        Memory of one worker process.
    client
        Dask client. Default: the current one, or else threads of this process.
    progress
        Whether to report progress.

    Returns
    -------
    instances
        Atoms of all runs of these stores, in order.

    Raises
    ------
    ParameterError
        If an atom has not moved at a lag, or a value is NaN.
    """
    out.mkdir(parents=True, exist_ok=True)
    averaged = averaged_of(stores if averaged_as is None else averaged_as, lags)
    todo: list[tuple[Path, list[Feature]]] = []
    for store in stores:
        features: list[Feature] = [lag_feature(lags)]
        if averaged is not None and allows(averaged, read_store(store).axis):
            features.append(averaged)
        if not _has_features(feature_path(out, store), store, features):
            todo.append((store, features))

    plans = [
        _planned(store, features, feature_path(out, store), memory) for store, features in todo
    ]
    _run_all(plans, client, progress)
    instances = read_instances(stores, out)
    check_finite(instances, client=client, progress=progress)
    return instances


def _planned(store: Path, features: Sequence[Feature], target: Path, memory: str) -> Plan:
    """Return the plan of a store; features with other lags are replaced."""
    try:
        return plan(store, features, out=target, memory=memory)
    except StoreError:
        if not target.is_dir():
            raise
        with Manifest(target).locked():
            remove_store(target)
        return plan(store, features, out=target, memory=memory)


def _run_all(plans: Sequence[Plan], client: Client | None, progress: bool) -> None:
    """Run plans, several at a time: a store is often one task, for one worker."""
    if not plans:
        return
    fitting = min(one.memory.threads for one in plans)  # without a client
    with resolve_client(client, fitting) as workers:
        n_threads = sum(workers.nthreads().values())
        n = max(1, min(n_threads, len(plans), AT_A_TIME))
        with (
            ProgressReporter("lag features", len(plans), "stores", progress) as reporter,
            ThreadPoolExecutor(n) as pool,
        ):
            started = [
                pool.submit(copy_context().run, partial(run, one, workers, progress=False))
                for one in plans
            ]
            try:
                for done, one in enumerate(as_completed(started), start=1):
                    one.result()
                    reporter.update(done, 0, n_threads)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _has_features(target: Path, store: Path, features: Sequence[Feature]) -> bool:
    """Return whether a target is finished, with the same features of the same content.

    Its blocks may differ: they depend on the memory, but the values do not.
    """
    try:
        attrs = check_complete(target)[0].attrs
    except StoreError:
        return False
    wanted = {
        "features": [{feature.name: feature.parameters()} for feature in features],
        "input_content": check_complete(store)[1],
    }
    return all(decode(attrs, name) == value for name, value in wanted.items())


def check_finite(
    instances: Instances, *, client: Client | None = None, progress: bool = True
) -> None:
    """Check as tasks that all features are finite.

    Parameters
    ----------
    instances
        Atoms whose features are checked.
    client
        Dask client. Default: the current one, or else threads of this process.
    progress
        Whether to report progress.

    Raises
    ------
    ParameterError
        If a value is not finite. The message gives the count, the first atom and lag.
    """
    size = max(1, BLOCK_BYTES // (8 * len(instances.lags)))
    tasks: list[Task] = [
        (f"{k} {start}", (one, start, min(start + size, one.n_atoms)))
        for k, one in enumerate(instances.runs)
        for start in range(0, one.n_atoms, size)
    ]
    with resolve_client(client) as workers:
        outcome = execute(
            workers, _count_unusable, tasks, what="check of the features", progress=progress
        )
    for k, one in enumerate(instances.runs):
        found = [outcome.results[name] for name, (same, *_) in tasks if same is one]
        n_infinite, n_nan = sum(part[0] for part in found), sum(part[1] for part in found)
        if n_infinite or n_nan:
            atom, lag = next(part[2] for part in found if part[2] is not None)
            raise _unusable(instances.runs[k], n_infinite, n_nan, atom, instances.lags[lag])


def _count_unusable(run: Run, start: int, stop: int) -> tuple[int, int, tuple[int, int] | None]:
    """Return the numbers of infinite and NaN values, and the first atom and lag."""
    values = features_of(run)[run.frame, start:stop]
    bad = ~np.isfinite(values)
    if not bad.any():
        return 0, 0, None
    atom, lag = (int(k) for k in np.argwhere(bad)[0])
    return int(np.isinf(values).sum()), int(np.isnan(values).sum()), (start + atom, lag)


def _unusable(run: Run, n_infinite: int, n_nan: int, atom: int, lag: float) -> ParameterError:
    who = f"atom {run.atom_id[atom]} ({name_of(int(run.species[atom]))}) at {lag:g} ps"
    where = f"{run.source}: the run {run.label!r}"
    if n_infinite:
        return ParameterError(
            f"{where} has {n_infinite} displacements of zero, whose logarithm is -inf; the first "
            f"is of {who}. The cause may be atoms that are held fixed, or frames that were written "
            "twice: leave these atoms or lags out"
        )
    return ParameterError(
        f"{where} has {n_nan} displacements that are NaN; the first is of {who}. The run lacks a "
        "frame at this lag: leave the lag out with --lags, or give a longer run"
    )
