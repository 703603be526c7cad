"""``train``: gradient boosting in this process or on the workers of a cluster, from the same call."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask import __version__
from mgdask.errors import ParameterError, StoreError
from mgdask.learn.data.binning import bins_on_a_worker, drawn, kept_bins, write_bins
from mgdask.learn.data.rows import Part, Rows
from mgdask.learn.data.tables import Table, check_labels
from mgdask.learn.training.model import Model, canonical, lightgbm, threads_for
from mgdask.learn.training.parameters import main_names
from mgdask.learn.training.rounds import Decision, Job, State, boost, dataset, reference
from mgdask.learn.training.supervisor import Watch, printer

Array = npt.NDArray[Any]
METRICS = {
    "binary": "auc",
    "regression": "rmse",
    "lambdarank": "ndcg",
    "regression_l1": "l1",
    "huber": "huber",
    "quantile": "quantile",
    "poisson": "poisson",
}
OWN = {
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
LEAST_HESSIAN = {"binary": 4.0, "regression": 20.0, "lambdarank": 1.0}
"""Least sum of Hessians in a leaf, per mean weight, where they differ from row to row and ``params`` says nothing of leaves."""
LEAVES = {
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
"""LightGBM's names for what a leaf needs at least."""


def train(
    x: Rows | Any,
    y: npt.ArrayLike | None = None,
    *,
    objective: str = "binary",
    params: Mapping[str, Any] | None = None,
    rounds: int = 200,
    early_stopping: int = 0,
    valid: Rows | tuple[Any, Any] | None = None,
    weights: npt.ArrayLike | None = None,
    group: npt.ArrayLike | None = None,
    columns: tuple[str, ...] | None = None,
    seed: int = 0,
    client: Any = None,
    ranks: int | None = None,
    threads: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 10,
    engine: str = "mgdask",
    small: int = 2**30,
    sample: int = 200_000,
    stall: float = 300.0,
    retries: int = 5,
    progress: bool = True,
) -> Model:
    """Boosted trees on rows of feature stores, or on a matrix, that survive the loss of workers.

    Parameters: ``x``, ``Rows`` or a matrix (n, p), with labels ``y`` (n,) (default: those of the rows), ``weights`` (n,) and
    ``group`` (n,), the query of each row for ranking, equal values together; ``objective``, a key of ``METRICS``; ``params`` of
    LightGBM but for those in ``OWN``; at most ``rounds``, fewer if the first metric on ``valid`` has not improved for
    ``early_stopping`` rounds (one more round is trained, and dropped); ``columns``, names for a plain matrix; ``seed``.
    With a ``client`` (``distributed.Client``) and more than ``small`` bytes of matrix, or with ``ranks`` given,
    training is on that many workers with ``threads`` each; without, in this process; a line says which. ``checkpoint``, a
    folder that all workers see: every ``checkpoint_every`` rounds the model is saved there, and the same call goes on
    from it. Bins come from ``sample`` rows, which a worker reads for ranks. Ranks that give no sign of life for ``stall``
    seconds are killed, at most ``retries`` times; so long a missing worker is waited for. ``engine="lightgbm.dask"`` is the
    stock estimator, with none of this.

    Returns a ``Model``. Raises ``ParameterError`` for input that cannot be learned from, ``StoreError`` for a checkpoint of
    other work, ``RunError`` when the retries are used up, ``MissingDependencyError`` without lightgbm.

    Validity: the same call gives the same bits in one process and on 1 to 4 ranks for unweighted regression where sums of
    gradients in double precision are exact, as they nearly always are below 10^6 rows. Elsewhere ranks know the rows of
    a leaf from its sum of Hessians only, so "binary", "lambdarank" and weighted regression bound that sum
    (``LEAST_HESSIAN``) instead of the rows, unless ``params`` names either: predictions are then equal to rounding. With
    min_data_in_leaf given, single probabilities differed by up to 0.3 between one process and ranks; scores then agree as those
    of two equally good models do, as for the other objectives. Bagging depends on the number of ranks. NaN is a value of
    its own in columns that have it in the sample of the bins, and refused elsewhere.

    >>> train(features, labels, objective="regression", rounds=50)                     # doctest: +SKIP
    trained in this process: 8788 rows, 80 columns
    """
    lgb = lightgbm()
    say = printer(progress)
    if objective not in METRICS:
        raise ParameterError(f"objective={objective!r}; allowed are {', '.join(METRICS)}")
    if engine not in ("mgdask", "lightgbm.dask"):
        raise ParameterError(f"engine={engine!r}; allowed are 'mgdask' and 'lightgbm.dask'")
    for name, value, least in (
        ("rounds", rounds, 1),
        ("early_stopping", early_stopping, 0),
        ("sample", sample, 100),
        ("checkpoint_every", checkpoint_every, 1),
        ("ranks", ranks or 1, 1),
    ):
        if value < least:
            raise ParameterError(f"{name}={value}; at least {least} is needed")
    given = main_names(params or {})
    if own := sorted(OWN & set(given)):
        raise ParameterError(
            f"params has {', '.join(own)}, which train sets itself; use its arguments (rounds, seed, threads, ...)"
        )
    if early_stopping and valid is None:
        raise ParameterError(
            "early_stopping needs valid=: rows of other runs than those trained on"
        )
    if ranks is not None and client is None:
        raise ParameterError(
            f"ranks={ranks} needs client=, such as that of mgdask.cluster.local_client"
        )
    table = Table(x, y, weights, group, columns, "x")
    held = None if valid is None else valid if isinstance(valid, Table) else _held(valid, table)
    start = check_labels(table, objective)
    if held is not None:
        check_labels(held, objective, training=False)
        if held.columns != table.columns:
            raise ParameterError(
                "valid has other columns than the training rows; give both the same features"
            )
    if engine == "lightgbm.dask":
        from mgdask.learn.training.dask_lightgbm import stock

        return stock(
            table.rows_only(), table, objective, given, rounds, seed, client, early_stopping
        )
    size = (
        table.n
        * len(table.columns)
        * (4 if table.rows is None or table.rows.dtype == "float32" else 8)
    )
    spread = client is not None and (ranks is not None or (size > small and table.rows is not None))
    full = {
        "metric": METRICS[objective],
        "verbosity": -1,
        "force_col_wise": True,
        "min_data_in_bin": 3,
        **_leaves(table, objective, given),
        **given,
        "objective": objective,
        "seed": seed,
        "deterministic": True,
        "boost_from_average": start is None,
        "num_threads": threads or (0 if spread else threads_for(table.n * len(table.columns))),
        "bin_construct_sample_cnt": sample,
        "feature_pre_filter": False,  # it would drop columns for what the sample alone looks like
    }
    if spread and table.rows is None:
        raise ParameterError(
            "a matrix in memory is trained in this process; give Rows to train on ranks"
        )
    if spread and table.n < 20 * (ranks or len(client.nthreads())):
        raise ParameterError(
            f"{table.n} rows for {ranks or len(client.nthreads())} ranks; give at least 20 rows a rank, or fewer ranks"
        )
    with tempfile.TemporaryDirectory(prefix="mgdask-learn-", ignore_cleanup_errors=True) as scratch:
        folder = Path(checkpoint if checkpoint is not None else scratch).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        digest = _digest(table, held, full, rounds, early_stopping, seed, sample)
        state = State.load(folder, digest)
        missing = kept_bins(folder, digest)
        if missing is None:
            if spread and table.rows is not None:
                bins_on_a_worker(client, stall, table.rows, folder, full, digest, sample, seed)
            else:
                write_bins(
                    table.take(drawn(table.n, sample, seed)), table.columns, full, folder, digest
                )
            missing = kept_bins(folder, digest)
        if missing is None:
            raise StoreError(
                f"{folder} is not the same folder for this process and the workers; choose one that all see"
            )
        job = Job(
            full,
            rounds,
            early_stopping if held else 0,
            checkpoint_every,
            start or 0.0,
            table.columns,
            missing,
            table.rows.to_json() if table.rows else None,
            held.rows.to_json() if held and held.rows else None,
            digest,
            seed,
        )
        about = f"{table.n} rows, {len(table.columns)} columns"
        used, recovered = 0, []
        if state.iteration:
            say(f"going on from round {state.iteration} in {folder}")
        if state.finished:
            say(f"trained before: {about}; the model is in {folder}")
        elif spread:
            _files(folder, table)
            if held is not None and held.rows is None:
                job = _valid_files(folder, held, job)
            job.dump(folder / "job.json")
            watch = Watch(client, folder, job, ranks, threads, stall, retries, say)
            say(f"trained on {ranks or len(client.nthreads())} ranks: {about}")
            state, used = watch.run()
            recovered = watch.recovered
        else:
            say(f"trained in this process: {about}")
            fresh = state.iteration == 0
            data = dataset(
                job,
                table.matrix(),
                table.y,
                table.w,
                table.sizes,
                like=reference(job, folder),
                fresh=fresh,
            )
            check = None
            if held is not None:
                check = dataset(
                    job, held.matrix(), held.y, held.w, held.sizes, like=data, fresh=fresh
                )
            state = boost(
                job,
                data,
                check,
                state,
                None if checkpoint is None else folder,
                decision=Decision(),
                report=lambda done, name, value: say(
                    f"round {done} of {rounds}: {name} {value:.6g}"
                ),
            )
    best = min(state.best(), state.iteration) if job.patience else state.iteration
    text = canonical(lgb.Booster(model_str=state.text).model_to_string(num_iteration=best))
    card = {
        "data": digest,
        "rows": table.n,
        "source": table.rows.to_json() if table.rows else "matrix in memory",
        "params": {**_leaves(table, objective, given), **given},
        "rounds": rounds,
        "early_stopping": early_stopping,
        "sample": min(sample, table.n),
        "ranks": used,
        "recovered": recovered,
        "versions": {"mgdask": __version__, "lightgbm": lgb.__version__, "numpy": np.__version__},
    }
    return Model(text, table.columns, objective, best, seed, dict(state.history), missing, card)


def _held(valid: Any, table: Table) -> Table:
    if isinstance(valid, Rows):
        return Table(valid, None, None, None, None, "valid")
    if not isinstance(valid, tuple) or len(valid) not in (2, 3):
        raise ParameterError("valid must be Rows, or (x, y), or (x, y, group)")
    return Table(
        valid[0], valid[1], None, valid[2] if len(valid) == 3 else None, table.columns, "valid"
    )


def _leaves(table: Table, objective: str, given: Mapping[str, Any]) -> dict[str, float]:
    # Ranks know how many rows a leaf has only from its sum of Hessians, where these differ from row to row; a least sum means
    # the same in one process, so it takes the place of the least count. About 16 rows or more, 20 of mean weight.
    if (
        LEAVES & set(given)
        or (objective == "regression" and table.w is None)
        or objective not in LEAST_HESSIAN
    ):
        return {}
    weight = 1.0 if table.w is None else math.fsum(table.w) / table.n
    return {"min_data_in_leaf": 1, "min_sum_hessian_in_leaf": LEAST_HESSIAN[objective] * weight}


def _digest(table: Table, held: Table | None, params: Mapping[str, Any], *rest: Any) -> str:
    same = {name: value for name, value in params.items() if name != "num_threads"}
    text = hashlib.sha256(json.dumps([same, rest], sort_keys=True, default=str).encode())
    for one in (table, held):
        if one is None:
            continue
        for values in (one.y, one.w, one.sizes):
            text.update(b"-" if values is None else np.ascontiguousarray(values).tobytes())
        text.update(one.rows.digest().encode() if one.rows else np.ascontiguousarray(one.x).data)
    return text.hexdigest()


def _files(folder: Path, table: Table) -> None:
    for name, values in (("labels", table.y), ("weights", table.w), ("sizes", table.sizes)):
        with suppress(FileNotFoundError):
            (folder / f"{name}.npy").unlink()
        if values is not None:
            try:
                np.save(folder / f"{name}.npy", values)
            except OSError as error:
                raise StoreError(
                    f"{folder} cannot be written ({error}); choose another checkpoint folder"
                ) from None


def _valid_files(folder: Path, held: Table, job: Job) -> Job:
    names = {}
    for name, values in (("x", held.x), ("labels", held.y), ("group", held.sizes)):
        if values is not None:
            whole = np.repeat(np.arange(len(values)), values) if name == "group" else values
            names[name] = str(folder / f"valid-{name}.npy")
            np.save(names[name], whole)
    rows = Rows((Part(names["x"]),), labels=names["labels"], group=names.get("group"))
    return Job(**{**job.__dict__, "valid": rows.to_json()})
