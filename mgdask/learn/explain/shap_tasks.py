"""SHAP values of boosted trees as tasks over blocks of rows."""

from __future__ import annotations

import zlib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask.errors import ParameterError
from mgdask.execution.executor import execute, resolve_client
from mgdask.learn.data.arrays import generator
from mgdask.learn.data.columns import rows_of_store, select, usable
from mgdask.learn.data.rows import Rows
from mgdask.learn.explain.shap_values import Shap, shap_of_block
from mgdask.learn.training.model import Model

if TYPE_CHECKING:
    import lightgbm
    from distributed import Client

BLOCK = 2**24
"""Maximum bytes of a block in float64. A task holds about six times as much."""
_MIN_BLOCK_ROWS, _MAX_BLOCK_ROWS = 1024, 32768
_BLOCKS = 64
"""Number of blocks that default sizes aim at."""


def shap(
    model: Model,
    source: str | Path | Rows,
    *,
    variables: tuple[str, ...] | None = None,
    size: int = 2000,
    seed: int = 0,
    block_rows: int | None = None,
    client: Client | None = None,
    retries: int = 2,
    progress: bool = True,
) -> Shap:
    """Sum the SHAP values of all rows of a feature store.

        mean_absolute_a = 1/n sum_i |phi_ia|,   sum_a phi_ia + expected = f(x_i)

    f is the score before the link function, such as log-odds.

    Parameters
    ----------
    model
        Boosted trees.
    source
        Finished feature store, or ``Rows``, that have the model's columns by name.
    variables
        Arrays of the store, as in ``rows_of_store``.
    size
        Maximum number of rows in the sample for a beeswarm plot.
    seed
        Seed of the sample.
    block_rows
        Rows per task. Default: a 64th of the rows, between 1024 and 32768.
    client
        Client of a cluster. Default: the current one, or else threads of this process.
    retries
        Number of times that Dask repeats a task that fails.
    progress
        Whether to show progress.

    Returns
    -------
    Shap
        Rows with NaN in a column that had none in training are left out.
        ``sample_rows`` counts them all the same.

    Raises
    ------
    ParameterError
        If the rows lack a column, which is named, or if every row has NaN.

    Notes
    -----
    The bits do not depend on the number of workers and threads. Other ``block_rows``
    change the sums by rounding, but not the sample. The client holds the sums of the
    blocks, three numbers per column each, and one sample. The compressed model travels
    with each task.

    References
    ----------
    Lundberg et al., Nat. Mach. Intell. 2, 56 (2020), as computed by LightGBM
    (pred_contrib).

    Examples
    --------
    >>> shap(model, "features.zarr", client=client).order()[:3]  # doctest: +SKIP
    """
    generator(seed)
    if size < 0 or (block_rows is not None and block_rows < 1):
        raise ParameterError(
            f"size={size} must be at least 0, and block_rows={block_rows} at least 1"
        )
    columns = model.columns
    rows = (
        select(source, columns)
        if isinstance(source, Rows)
        else rows_of_store(source, columns, variables)
    )
    n = rows.count()
    step = block_rows or _default_block_rows(n, len(columns))
    packed = zlib.compress(model.text.encode())
    tasks = [
        (
            f"shap-{low:012d}",
            (packed, columns, model.missing, rows, low, min(low + step, n), size, seed),
        )
        for low in range(0, n, step)
    ]
    sample: Shap | None = None

    def keep(name: str, result: dict[str, Any]) -> dict[str, Any]:
        # the sample does not depend on the order of blocks; sums do, and are added
        # later
        nonlocal sample
        part: Shap | None = result["part"]
        if part is None:
            return result
        sample = part if sample is None else sample.merge(part)
        return {"part": _without_sample(part)}

    with resolve_client(client) as workers:
        outcome = execute(
            workers,
            _shap_block,
            tasks,
            what="explain",
            retries=retries,
            progress=progress,
            keep=keep,
        )
    whole: Shap | None = None
    for name, _ in tasks:
        part: Shap | None = outcome.results[name]["part"]
        if part is not None:
            whole = part if whole is None else whole.merge(part)
    if whole is None or sample is None:
        raise ParameterError(
            f"each of the {n} rows has NaN in a column that had none in training; take other "
            "rows, or train with a larger sample="
        )
    return replace(
        whole,
        sample_rows=sample.sample_rows,
        sample_x=sample.sample_x,
        sample_shap=sample.sample_shap,
    )


def _default_block_rows(n_rows: int, n_columns: int) -> int:
    rows = max(_MIN_BLOCK_ROWS, n_rows // _BLOCKS)
    return max(1, min(_MAX_BLOCK_ROWS, rows, BLOCK // (8 * n_columns)))


def _without_sample(part: Shap) -> Shap:
    # copies: a slice would keep the whole sample alive
    return replace(
        part,
        sample_rows=part.sample_rows[:0].copy(),
        sample_x=part.sample_x[:0].copy(),
        sample_shap=part.sample_shap[:0].copy(),
    )


@lru_cache(maxsize=2)
def _booster(packed: bytes) -> lightgbm.Booster:
    import lightgbm

    return lightgbm.Booster(model_str=zlib.decompress(packed).decode())


def _shap_block(
    packed: bytes,
    columns: tuple[str, ...],
    missing: tuple[str, ...],
    rows: Rows,
    low: int,
    high: int,
    size: int,
    seed: int,
) -> dict[str, Any]:
    """Sum and sample one block of rows, as a task."""
    values = rows.read(low, high)
    good = np.flatnonzero(usable(values, columns, missing))
    if not len(good):
        return {"part": None}
    booster = _booster(packed)
    part = shap_of_block(
        lambda x: booster.predict(x, pred_contrib=True, num_threads=1),
        values if len(good) == len(values) else values[good],
        low + good,
        columns,
        size,
        seed,
    )
    return {"part": part}
