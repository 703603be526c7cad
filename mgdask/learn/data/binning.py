"""The bins of all columns from one sample of the rows: the same in this process and in a task of a worker."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask.errors import MgdaskError, ParameterError, RunError, StoreError
from mgdask.learn.data.rows import Rows
from mgdask.learn.training.rank_worker import BEAT
from mgdask.learn.training.rounds import bins, replace


def drawn(n: int, sample: int, seed: int) -> npt.NDArray[np.int64]:
    """The rows, in order, that bins are made from: all ``n``, or ``sample`` of them."""
    if n <= sample:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, sample, replace=False))


def kept_bins(folder: Path, digest: str) -> tuple[str, ...] | None:
    """Columns with NaN in the sample whose bins lie in ``folder``, None if there are none of this work."""
    path = folder / "bins.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return tuple(found["missing"]) if found.get("digest") == digest else None


def write_bins(
    matrix: npt.NDArray[Any],
    columns: tuple[str, ...],
    params: Mapping[str, Any],
    folder: Path,
    digest: str,
) -> None:
    """Bins of the sample ``matrix`` (m, p) into ``folder``; ``ParameterError`` for a column of NaN only, or with infinities."""
    missing, infinite = [], []
    for k, name in enumerate(columns):  # by columns: no second matrix, not even of booleans
        values = matrix[:, k]
        gaps = int(np.isnan(values).sum())
        if gaps == len(values):
            raise ParameterError(f"column {name!r} is NaN in all rows; leave it out (columns=)")
        missing += [name] if gaps else []
        infinite += [name] if np.isinf(values).any() else []
    if infinite:
        raise ParameterError(
            f"column {infinite[0]!r} has infinite values; leave it out (columns=), or those rows (keep=)"
        )
    bins(matrix, params, folder / "bins.bin")
    replace(folder / "bins.json", json.dumps({"digest": digest, "missing": missing}))


def bins_on_a_worker(
    client: Any,
    stall: float,
    rows: Rows,
    folder: Path,
    params: Mapping[str, Any],
    digest: str,
    sample: int,
    seed: int,
) -> None:
    """``write_bins`` as a task of a worker, so that the client reads no features; Dask makes good the loss of that worker.

    Raises ``RunError`` where no worker comes in ``stall`` seconds, or one after another dies of the task.
    """
    until = time.monotonic() + stall
    while not client.nthreads():
        if time.monotonic() > until:
            raise RunError(
                f"no worker has been there for {stall:.0f} s; start workers and make the same call again"
            )
        time.sleep(BEAT)
    task = client.submit(
        _draw,
        rows.to_json(),
        dict(params),
        str(folder),
        digest,
        sample,
        seed,
        pure=False,
        retries=2,
    )
    try:
        task.result()
    except MgdaskError:
        raise
    except Exception as error:
        raise RunError(
            f"a worker could not make bins of {sample} rows: {error}; give it more memory, or sample="
        ) from error


def _draw(
    rows: Mapping[str, Any],
    params: Mapping[str, Any],
    folder: str,
    digest: str,
    sample: int,
    seed: int,
) -> None:
    there = Rows.from_json(rows)
    if not Path(folder).is_dir():
        raise StoreError(
            f"{folder} is not there on a worker: the checkpoint folder must be one that all workers see"
        )
    write_bins(
        there.take(drawn(there.count(), sample, seed)), there.names(), params, Path(folder), digest
    )
