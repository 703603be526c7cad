"""SHAP values of boosted trees as tasks over blocks of rows: sums of any number of rows, and a sample of them."""

from __future__ import annotations

import zlib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mgdask.errors import ParameterError
from mgdask.execution.executor import execute, resolve_client
from mgdask.learn.data.arrays import generator
from mgdask.learn.data.columns import rows_of_store, select, usable
from mgdask.learn.data.rows import Rows
from mgdask.learn.explain.shap_values import Shap, shap_of_block
from mgdask.learn.training.model import Model, lightgbm

BLOCK = 2**24
"""Bytes of the columns of a block in float64, at most; a task holds some six times as much."""


def shap(
    model: Model,
    source: str | Path | Rows,
    *,
    variables: tuple[str, ...] | None = None,
    size: int = 2000,
    seed: int = 0,
    block_rows: int | None = None,
    client: Any = None,
    retries: int = 2,
    progress: bool = True,
) -> Shap:
    """SHAP values of all rows of a feature store, summed, with a random sample of ``size`` rows for a beeswarm plot.

        mean_absolute_a = 1/n sum_i |phi_ia|,   sum_a phi_ia + expected = f(x_i), before the link (log-odds of a binary model)

    Parameters: ``source``, a finished feature store (``variables`` as of ``rows_of_store``) or ``Rows``, which have the model's columns by
    name; ``seed`` draws the sample; ``block_rows`` of a task (default a 64th of the rows, 1024 to 32768); ``client`` a
    ``distributed.Client`` (default the current one, else threads of this process); ``retries`` of a block that fails.

    Returns ``Shap``; rows with NaN in a column that had none in training are left out, ``sample_rows`` counts them all the same. Same bits for any
    number of workers and threads; other ``block_rows`` change the sums by rounding, the sample not at all. The client holds the sums of the blocks,
    three numbers a column each, and one sample; the model travels, compressed, with each task in flight.
    Raises ``ParameterError`` that names the first column that the rows do not have, and where every row has NaN.

    Source: Lundberg et al., Nat. Mach. Intell. 2, 56 (2020), as LightGBM computes it (pred_contrib).

    >>> shap(model, "features.zarr", client=client).order()[:3]  # doctest: +SKIP
    """
    generator(seed)
    if size < 0 or (block_rows is not None and block_rows < 1):
        raise ParameterError(f"size={size} must be 0 or above, block_rows={block_rows} at least 1")
    columns = model.columns
    rows = (
        select(source, columns)
        if isinstance(source, Rows)
        else rows_of_store(source, columns, variables)
    )
    n = rows.count()
    step = block_rows or max(1, min(32768, max(1024, n // 64), BLOCK // (8 * len(columns))))
    packed = zlib.compress(model.text.encode())
    tasks = [
        (
            f"shap-{low:012d}",
            (packed, columns, model.missing, rows, low, min(low + step, n), size, seed),
        )
        for low in range(0, n, step)
    ]
    drawn: Shap | None = None

    def keep(name: str, result: dict[str, Any]) -> dict[str, Any]:
        # which rows are drawn does not depend on the order; sums do, and wait for theirs
        nonlocal drawn
        part: Shap | None = result["part"]
        if part is None:
            return result
        drawn = part if drawn is None else drawn.merge(part)
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
    if whole is None or drawn is None:
        raise ParameterError(
            f"every one of {n} rows has NaN in a column that had none in training; take other rows, or train with a larger sample"
        )
    return replace(
        whole, sample_rows=drawn.sample_rows, sample_x=drawn.sample_x, sample_shap=drawn.sample_shap
    )


def _without_sample(part: Shap) -> Shap:
    # copies: a slice would keep all of the sample
    return replace(
        part,
        sample_rows=part.sample_rows[:0].copy(),
        sample_x=part.sample_x[:0].copy(),
        sample_shap=part.sample_shap[:0].copy(),
    )


@lru_cache(maxsize=2)
def _booster(packed: bytes) -> Any:
    return lightgbm().Booster(model_str=zlib.decompress(packed).decode())


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
    """Task: the sums and the sample of one block of rows."""
    values = rows.read(low, high)
    good = np.flatnonzero(usable(values, columns, missing))
    if not len(good):
        return {"part": None}
    booster = _booster(packed)
    some = values if len(good) == len(values) else values[good]
    return {
        "part": shap_of_block(
            lambda x: booster.predict(x, pred_contrib=True, num_threads=1),
            some,
            low + good,
            columns,
            size,
            seed,
        )
    }
