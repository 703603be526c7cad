"""``train``: gradient boosting in this process or on the workers of a cluster."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mgdask._renamed import renamed_arguments
from mgdask._typing import AnyArray
from mgdask._version import __version__
from mgdask.errors import ParameterError, StoreError
from mgdask.execution.scratch import scratch_folder
from mgdask.learn.data.binning import bins_on_a_worker, drawn, kept_bins, write_bins
from mgdask.learn.data.rows import Part, Rows
from mgdask.learn.data.tables import Table, check_labels
from mgdask.learn.training.folder_owner import refuse_if_open
from mgdask.learn.training.model import Model, canonical, threads_for
from mgdask.learn.training.parameters import main_names
from mgdask.learn.training.progress import printer
from mgdask.learn.training.rounds import Checkpoint, Job, StopSignal, boost, dataset, reference
from mgdask.learn.training.supervisor import Supervisor
from mgdask.store.failures import explained
from mgdask.store.source_checks import check_source
from mgdask.store.trust import is_trusted, trusting

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from distributed import Client

METRICS = {
    "binary": "auc",
    "cross_entropy": "cross_entropy",
    "regression": "rmse",
    "lambdarank": "ndcg",
    "regression_l1": "l1",
    "huber": "huber",
    "quantile": "quantile",
    "poisson": "poisson",
}
"""LightGBM's metric of each objective that ``train`` accepts."""
ENGINES = ("mgdask", "lightgbm.dask")
"""Implementations of distributed training."""
RESERVED_PARAMETERS = {
    "machines",
    "num_machines",
    "local_listen_port",
    "time_out",
    "tree_learner",
    "deterministic",
    "seed",
    "num_threads",
    "objective",
    "num_iterations",
    "n_estimators",
    "early_stopping_round",
    "early_stopping_rounds",
    "use_quantized_grad",
    "n_jobs",
    "random_state",
}
"""Parameters of LightGBM that ``train`` sets itself, or that fail on ranks."""
MIN_LEAF_HESSIAN = {"binary": 4.0, "cross_entropy": 4.0, "regression": 20.0, "lambdarank": 1.0}
"""Default minimum sum of Hessians in a leaf, per mean weight."""
LEAF_PARAMETERS = {
    "min_data_in_leaf",
    "min_data_per_leaf",
    "min_data",
    "min_child_samples",
    "min_samples_leaf",
    "min_sum_hessian_in_leaf",
    "min_sum_hessian_per_leaf",
    "min_sum_hessian",
    "min_hessian",
    "min_child_weight",
}
"""LightGBM's names for the minimum of a leaf."""
MIN_ROWS_PER_RANK = 20
"""Minimum number of training rows per rank."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Settings:
    """Arguments of ``train`` that decide the model."""

    objective: str
    num_boost_round: int
    early_stopping: int
    seed: int
    sample: int
    checkpoint_every: int
    params: Mapping[str, Any]
    """Given parameters, by LightGBM's main names."""


@dataclass(frozen=True)
class _Cluster:
    """Arguments of ``train`` that decide where the model is trained."""

    client: Client | None
    ranks: int | None
    threads: int | None
    stall: float
    retries: int

    def n_ranks(self) -> int:
        """Return the number of ranks: those asked for, or one per worker."""
        assert self.client is not None
        return self.ranks or len(self.client.nthreads())


@dataclass(frozen=True)
class _Result:
    """Results of a training besides the model itself."""

    checkpoint: Checkpoint
    ranks: int = 0
    recovered: tuple[str, ...] = ()


@renamed_arguments(rounds="num_boost_round")
def train(
    x: Rows | AnyArray | xr.DataArray | pd.DataFrame,
    y: npt.ArrayLike | None = None,
    *,
    objective: str = "binary",
    params: Mapping[str, Any] | None = None,
    num_boost_round: int = 200,
    early_stopping: int = 0,
    valid: Rows | tuple[Any, ...] | None = None,
    weights: npt.ArrayLike | None = None,
    group: npt.ArrayLike | None = None,
    columns: tuple[str, ...] | None = None,
    seed: int = 0,
    trust: bool = False,
    client: Client | None = None,
    ranks: int | None = None,
    threads: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 10,
    engine: str = "mgdask",
    trust_network: bool = False,
    small: int = 2**30,
    sample: int = 200_000,
    stall: float = 300.0,
    retries: int = 5,
    progress: bool = True,
) -> Model:
    """Train boosted trees on rows of feature stores, or on a matrix.

    On a cluster, training survives the loss of workers and of the client.

    Parameters
    ----------
    x
        ``Rows``, or a matrix (row, column). The columns of a DataFrame or the
        coordinates of the last dimension of a DataArray name the columns of the model.
    y
        Labels (row,). Default: those of the rows.
    objective
        A key of ``METRICS``. "cross_entropy" is "binary" for labels between 0 and 1.
    params
        Parameters of LightGBM under any of its names, except ``RESERVED_PARAMETERS``.
    num_boost_round
        Maximum number of rounds.
    early_stopping
        Number of rounds without a better value of the first metric on ``valid`` after
        which training stops. One more round is trained and dropped. 0: training never
        stops early.
    valid
        Rows to measure on: ``Rows``, (x, y), or (x, y, group).
    weights
        Weights (row,). Default: those of the rows, or 1.
    group
        Query (row,) of each row for ranking. Rows of a query are adjacent.
    columns
        Names of the columns of a plain matrix.
    seed
        Seed of LightGBM and of the sample for the bins.
    trust
        Read stores without comparing their files with their records. A damaged file may
        then give wrong values. ``engine="lightgbm.dask"`` compares them all the same.
    client
        Client of a cluster. Training runs there if ``ranks`` is given, or if the matrix
        has more than ``small`` bytes. Otherwise it runs in this process. A progress
        line says which.
    ranks
        Number of ranks. Default: one per worker.
    threads
        Threads per rank. Default: those of its worker.
    checkpoint
        Folder visible to all workers. The model is saved there every
        ``checkpoint_every`` rounds, and the same call continues from it. It must belong
        to you, and others than your group must not be able to write it.
    checkpoint_every
        Number of rounds between two checkpoints.
    engine
        ``"mgdask"``, or ``"lightgbm.dask"`` for LightGBM's own Dask estimators, which
        have no early stopping, checkpoints or recovery. On several workers these need
        ``trust_network``.
    trust_network
        Whether to trust everyone who can reach the workers' machines. The connections
        of ``"lightgbm.dask"`` are neither encrypted nor authenticated.
    small
        Maximum size in bytes of a matrix that is trained in this process by default.
    sample
        Number of rows that the bins are made from. On a cluster, a worker reads them.
    stall
        Seconds after which ranks without a sign of life are killed. Also the longest
        wait for a missing worker.
    retries
        Maximum number of restarts.
    progress
        Whether to print progress lines to stderr.

    Returns
    -------
    Model

    Raises
    ------
    ParameterError
        If the data or an argument are not valid.
    StoreError
        If the checkpoint belongs to another training, or another client uses the
        folder, or another user could write it.
    RunError
        If the restarts are used up.

    Notes
    -----
    For unweighted regression, the same call gives the same bits in one process and on 1
    to 4 ranks. This requires exact sums of gradients in double precision, which nearly
    always holds below 10^6 rows.

    For other objectives, ranks know the number of rows in a leaf only from its sum of
    Hessians. ``"binary"``, ``"lambdarank"`` and weighted regression therefore bound
    that sum (``MIN_LEAF_HESSIAN``) instead of the number of rows, unless ``params``
    sets either. Predictions are then equal to rounding. If min_data_in_leaf is given,
    single probabilities of one process and of ranks differed by up to 0.3. Scores then
    differ as between two equally good models. The same holds for the other objectives.

    Bagging depends on the number of ranks. NaN has a meaning in columns that have it in
    the sample of the bins, and is refused elsewhere.

    Examples
    --------
    >>> train(x, y, objective="regression", num_boost_round=50)  # doctest: +SKIP
    trained in this process: 8788 rows, 80 columns
    """
    cluster = _Cluster(client, ranks, threads, stall, retries)
    settings = _Settings(
        objective,
        num_boost_round,
        early_stopping,
        seed,
        sample,
        checkpoint_every,
        main_names(params or {}),
    )
    _validate(settings, cluster, engine, valid is not None)
    with trusting(trust):
        _check_sources(x, valid)
        table = Table(x, y, weights, group, columns, "x")
        held = None if valid is None else _validation_table(valid, table)
        start = _initial_score(table, held, objective)
        if engine == "lightgbm.dask":
            from mgdask.learn.training.dask_lightgbm import train_with_dask

            return train_with_dask(
                table,
                objective,
                settings.params,
                num_boost_round,
                seed,
                client,
                early_stopping,
                trust_network,
            )
        on_ranks = _runs_on_ranks(table, cluster, small)
        full = _lightgbm_parameters(table, settings, start, threads, on_ranks)
        digest = _digest(
            table, held, full, num_boost_round, settings.early_stopping, seed, settings.sample
        )
        with _working_folder(checkpoint) as folder:
            state = Checkpoint.load(folder, digest)
            bin_workers = cluster if on_ranks else None
            missing = _bins(folder, digest, table, full, settings, bin_workers)
            job = _job(table, held, settings, full, start, missing, digest)
            result = _trained(
                job,
                table,
                held,
                state,
                folder,
                cluster if on_ranks else None,
                checkpoint is not None,
                printer(progress),
            )
        return _model(job, table, settings, result)


def _check_sources(*tables: object) -> None:
    """Compare all files of stores that are read with their records, by size."""
    for rows in tables:
        if isinstance(rows, Rows) and rows.variables:
            names = {*rows.variables, rows.labels, rows.weights, rows.group}
            arrays = [name for name in names if name and not name.endswith(".npy")]
            for path in dict.fromkeys(part.path for part in rows.parts):
                check_source(path, arrays)


def _validate(settings: _Settings, cluster: _Cluster, engine: str, has_valid: bool) -> None:
    """Refuse arguments that are not valid for any data."""
    if settings.objective not in METRICS:
        raise ParameterError(f"objective={settings.objective!r}; allowed are {', '.join(METRICS)}")
    if engine not in ENGINES:
        raise ParameterError(f"engine={engine!r}; allowed are {' and '.join(map(repr, ENGINES))}")
    for name, value, minimum in (
        ("num_boost_round", settings.num_boost_round, 1),
        ("early_stopping", settings.early_stopping, 0),
        ("sample", settings.sample, 100),
        ("checkpoint_every", settings.checkpoint_every, 1),
        ("ranks", cluster.ranks or 1, 1),
    ):
        if value < minimum:
            raise ParameterError(f"{name}={value}; the minimum is {minimum}")
    if reserved := sorted(RESERVED_PARAMETERS & set(settings.params)):
        raise ParameterError(
            f"params has {', '.join(reserved)}, which train sets itself; use its arguments "
            "(num_boost_round, seed, threads, ...)"
        )
    if settings.early_stopping and not has_valid:
        raise ParameterError(
            f"early_stopping={settings.early_stopping} needs valid=: rows of runs that "
            "are not used for training"
        )
    if cluster.ranks is not None and cluster.client is None:
        raise ParameterError(
            f"ranks={cluster.ranks} needs client=, such as that of mgdask.cluster.local_client"
        )


def _validation_table(valid: Rows | tuple[Any, ...] | Table, table: Table) -> Table:
    if isinstance(valid, Table):
        return valid
    if isinstance(valid, Rows):
        return Table(valid, None, None, None, None, "valid")
    if not isinstance(valid, tuple) or len(valid) not in (2, 3):
        raise ParameterError(
            f"valid is {type(valid).__name__}; it must be Rows, (x, y), or (x, y, group)"
        )
    group = valid[2] if len(valid) == 3 else None
    return Table(valid[0], valid[1], None, group, table.columns, "valid")


def _initial_score(table: Table, held: Table | None, objective: str) -> float | None:
    """Check the labels; return the initial score, or None for LightGBM's own."""
    start = check_labels(table, objective)
    if held is not None:
        check_labels(held, objective, training=False)
        if held.columns != table.columns:
            raise ParameterError(
                "valid has other columns than the training rows; compute the same features for both"
            )
    return start


def _runs_on_ranks(table: Table, cluster: _Cluster, small: int) -> bool:
    """Decide whether to train on the cluster; refuse what cannot run there."""
    if cluster.client is None:
        return False
    itemsize = 4 if table.rows is None or table.rows.dtype == "float32" else 8
    size = table.n * len(table.columns) * itemsize
    if cluster.ranks is None and (size <= small or table.rows is None):
        return False
    if table.rows is None:
        raise ParameterError(
            "x is a matrix in memory, which is trained in this process; give Rows to train on ranks"
        )
    ranks = cluster.n_ranks()
    if table.n < MIN_ROWS_PER_RANK * ranks:
        raise ParameterError(
            f"{table.n} rows for {ranks} ranks; give at least {MIN_ROWS_PER_RANK} rows per rank, "
            "or fewer ranks"
        )
    return True


def _lightgbm_parameters(
    table: Table, settings: _Settings, start: float | None, threads: int | None, on_ranks: bool
) -> dict[str, Any]:
    default_threads = 0 if on_ranks else threads_for(table.n * len(table.columns))
    return {
        "metric": METRICS[settings.objective],
        "verbosity": -1,
        "force_col_wise": True,
        "min_data_in_bin": 3,
        **_leaf_defaults(table, settings),
        **settings.params,
        "objective": settings.objective,
        "seed": settings.seed,
        "deterministic": True,
        "boost_from_average": start is None,
        "num_threads": threads or default_threads,
        "bin_construct_sample_cnt": settings.sample,
        "feature_pre_filter": False,  # the filter would drop columns judging by the sample alone
    }


def _leaf_defaults(table: Table, settings: _Settings) -> dict[str, float]:
    """Return the minimum of a leaf that means the same in one process and on ranks.

    Ranks know the number of rows in a leaf only from its sum of Hessians. A minimum sum
    therefore replaces the minimum number: about 16 rows or more, 20 of mean weight.
    """
    plain_regression = settings.objective == "regression" and table.w is None
    given = bool(LEAF_PARAMETERS & set(settings.params))
    if given or plain_regression or settings.objective not in MIN_LEAF_HESSIAN:
        return {}
    weight = 1.0 if table.w is None else math.fsum(table.w) / table.n
    hessian = MIN_LEAF_HESSIAN[settings.objective] * weight
    return {"min_data_in_leaf": 1, "min_sum_hessian_in_leaf": hessian}


def _digest(table: Table, held: Table | None, params: Mapping[str, Any], *rest: Any) -> str:
    """Return the digest of everything that decides the model."""
    deciding = {name: value for name, value in params.items() if name != "num_threads"}
    text = hashlib.sha256(json.dumps([deciding, rest], sort_keys=True, default=str).encode())
    for part in (table, held):
        if part is None:
            continue
        for values in (part.y, part.w, part.sizes):
            text.update(b"-" if values is None else np.ascontiguousarray(values).tobytes())
        text.update(part.rows.digest().encode() if part.rows else np.ascontiguousarray(part.x).data)
    return text.hexdigest()


@contextmanager
def _working_folder(checkpoint: str | Path | None) -> Iterator[Path]:
    """Yield the checkpoint folder, or a temporary one."""
    with nullcontext(checkpoint) if checkpoint is not None else scratch_folder() as chosen:
        folder = Path(chosen).resolve()
        with explained(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_if_open(folder)
        yield folder
        if checkpoint is not None:  # tasks of lost workers may have been killed
            for left in folder.glob(".bins.bin.*"):
                left.unlink(missing_ok=True)


def _bins(
    folder: Path,
    digest: str,
    table: Table,
    params: Mapping[str, Any],
    settings: _Settings,
    cluster: _Cluster | None,
) -> tuple[str, ...]:
    """Make the bins unless they exist; return the columns with NaN in the sample."""
    missing = kept_bins(folder, digest)
    if missing is not None:
        return missing
    sample, seed = settings.sample, settings.seed
    if cluster is not None and table.rows is not None:
        assert cluster.client is not None
        bins_on_a_worker(
            cluster.client, cluster.stall, table.rows, folder, dict(params), digest, sample, seed
        )
    else:
        rows = table.take(drawn(table.n, sample, seed))
        write_bins(rows, table.columns, params, folder, digest)
    missing = kept_bins(folder, digest)
    if missing is None:
        raise StoreError(
            f"{folder} is not the same folder for this process and the workers; choose a "
            "checkpoint folder that all of them see"
        )
    return missing


def _job(
    table: Table,
    held: Table | None,
    settings: _Settings,
    params: Mapping[str, Any],
    start: float | None,
    missing: tuple[str, ...],
    digest: str,
) -> Job:
    return Job(
        params,
        rounds=settings.num_boost_round,
        patience=settings.early_stopping if held else 0,
        every=settings.checkpoint_every,
        start=start or 0.0,
        columns=table.columns,
        missing=missing,
        rows=table.rows.to_json() if table.rows else None,
        valid=held.rows.to_json() if held and held.rows else None,
        digest=digest,
        seed=settings.seed,
        trust=is_trusted(),
    )


def _trained(
    job: Job,
    table: Table,
    held: Table | None,
    state: Checkpoint,
    folder: Path,
    cluster: _Cluster | None,
    keep: bool,
    say: Say,
) -> _Result:
    """Train from ``state`` to the end, on a cluster or in this process."""
    size = f"{table.n} rows, {len(table.columns)} columns"
    if state.iteration:
        say(f"continuing from round {state.iteration} in {folder}")
    if state.finished:
        say(f"already trained: {size}; the model is in {folder}")
        return _Result(state, 0 if cluster is None else cluster.n_ranks())
    if cluster is not None:
        say(f"trained on {cluster.n_ranks()} ranks: {size}")
        return _train_on_ranks(job, table, held, folder, cluster, say)
    say(f"trained in this process: {size}")
    return _Result(_train_here(job, table, held, state, folder, keep, say))


def _train_on_ranks(
    job: Job, table: Table, held: Table | None, folder: Path, cluster: _Cluster, say: Say
) -> _Result:
    _write_labels(folder, table)
    if held is not None and held.rows is None:
        job = replace(job, valid=_write_validation_rows(folder, held).to_json())
    job.dump(folder / "job.json")
    assert cluster.client is not None
    supervisor = Supervisor(
        cluster.client,
        folder,
        job,
        cluster.ranks,
        cluster.threads,
        cluster.stall,
        cluster.retries,
        say,
    )
    state, ranks = supervisor.run()
    return _Result(state, ranks, tuple(map(str, supervisor.failures)))


def _train_here(
    job: Job,
    table: Table,
    held: Table | None,
    state: Checkpoint,
    folder: Path,
    keep: bool,
    say: Say,
) -> Checkpoint:
    bins, fresh = reference(job, folder), state.iteration == 0
    data = dataset(job, table.matrix(), table.y, table.w, table.sizes, like=bins, fresh=fresh)
    check = None
    if held is not None:
        check = dataset(job, held.matrix(), held.y, held.w, held.sizes, like=data, fresh=fresh)

    def report(done: int, metric: str, value: float) -> None:
        say(f"round {done} of {job.rounds}: {metric} {value:.6g}")

    return boost(
        job, data, check, state, folder if keep else None, stop=StopSignal(), report=report
    )


def _model(job: Job, table: Table, settings: _Settings, result: _Result) -> Model:
    """Keep the best rounds and write the card."""
    import lightgbm

    state = result.checkpoint
    best = min(state.best(), state.iteration) if job.patience else state.iteration
    booster = lightgbm.Booster(model_str=state.text)
    card = {
        "data": job.digest,
        "rows": table.n,
        "source": table.rows.to_json() if table.rows else "matrix in memory",
        "params": {**_leaf_defaults(table, settings), **settings.params},
        "rounds": settings.num_boost_round,
        "early_stopping": settings.early_stopping,
        "sample": min(settings.sample, table.n),
        "ranks": result.ranks,
        "recovered": list(result.recovered),
        "versions": {
            "mgdask": __version__,
            "lightgbm": lightgbm.__version__,
            "numpy": np.__version__,
        },
    }
    return Model(
        canonical(booster.model_to_string(num_iteration=best)),
        table.columns,
        settings.objective,
        best,
        settings.seed,
        dict(state.history),
        job.missing,
        card,
    )


def _write_labels(folder: Path, table: Table) -> None:
    """Write labels, weights and queries as files that the ranks read."""
    for name, values in (("labels", table.y), ("weights", table.w), ("sizes", table.sizes)):
        path = folder / f"{name}.npy"
        with suppress(FileNotFoundError):
            path.unlink()
        if values is None:
            continue
        try:
            np.save(path, values)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be written ({error}); choose another checkpoint folder"
            ) from None


def _write_validation_rows(folder: Path, held: Table) -> Rows:
    """Write validation rows that are in memory as files that the leader reads."""
    arrays = {"x": held.x, "labels": held.y}
    if held.sizes is not None:
        arrays["group"] = np.repeat(np.arange(len(held.sizes)), held.sizes)
    paths = {name: str(folder / f"valid-{name}.npy") for name in arrays}
    for name, values in arrays.items():
        assert values is not None
        np.save(paths[name], values)
    return Rows((Part(paths["x"]),), labels=paths["labels"], group=paths.get("group"))
