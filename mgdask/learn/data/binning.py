"""Bins of all columns from a sample of the rows.

They are made in this process or in a task on a worker, with the same result.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._typing import AnyArray, IntArray
from mgdask.errors import MgdaskError, ParameterError, RunError, StoreError
from mgdask.learn.data.rows import Rows
from mgdask.learn.training.control_files import BEAT
from mgdask.learn.training.rounds import bins
from mgdask.store.artifacts import read_artifact, write_artifact

if TYPE_CHECKING:
    from distributed import Client


def drawn(n: int, sample: int, seed: int) -> IntArray:
    """Select the rows that bins are made from.

    Parameters
    ----------
    n
        Number of rows.
    sample
        Maximum number of rows to select.
    seed
        Seed of the selection.

    Returns
    -------
    index
        Increasing row numbers: all ``n``, or ``sample`` of them.
    """
    if n <= sample:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, sample, replace=False))


def kept_bins(folder: Path, digest: str) -> tuple[str, ...] | None:
    """Return the columns with NaN in the sample of existing bins.

    Parameters
    ----------
    folder
        Checkpoint folder.
    digest
        Digest of the work that the bins must belong to.

    Returns
    -------
    missing
        Names of the columns with NaN. None if there are no bins of this work.
    """
    path = folder / "bins.json"
    try:
        stored = read_artifact(
            path, "bins.bin", what="table of bins", remedy="it will be created again"
        ).content
    except StoreError:  # LightGBM would crash on damaged bins
        return None
    return tuple(stored["missing"]) if stored.get("digest") == digest else None


def write_bins(
    matrix: AnyArray, columns: tuple[str, ...], params: Mapping[str, Any], folder: Path, digest: str
) -> None:
    """Compute the bins of a sample and write them to a folder.

    Parameters
    ----------
    matrix
        Sampled rows, shape (row, column).
    columns
        Names of the columns.
    params
        Parameters of LightGBM.
    folder
        Checkpoint folder.
    digest
        Digest of the work that the bins belong to.

    Raises
    ------
    ParameterError
        If a column has only NaN or has infinite values.
    """
    missing, infinite = [], []
    # by column, to need no second matrix, not even of booleans
    for k, name in enumerate(columns):
        values = matrix[:, k]
        n_missing = int(np.isnan(values).sum())
        if n_missing == len(values):
            raise ParameterError(f"column {name!r} is NaN in all rows; leave it out (columns=)")
        missing += [name] if n_missing else []
        infinite += [name] if np.isinf(values).any() else []
    if infinite:
        raise ParameterError(
            f"column {infinite[0]!r} has infinite values; leave out the column (columns=) or those "
            "rows (keep=)"
        )
    bins(matrix, params, folder / "bins.bin")
    write_artifact(
        folder / "bins.json", {"digest": digest, "missing": missing}, existing=["bins.bin"]
    )


def bins_on_a_worker(
    client: Client,
    stall: float,
    rows: Rows,
    folder: Path,
    params: Mapping[str, Any],
    digest: str,
    sample: int,
    seed: int,
) -> None:
    """Run ``write_bins`` as a task on a worker, so that the client reads no features.

    Dask repeats the task if the worker is lost.

    Parameters
    ----------
    client
        Client of the cluster.
    stall
        Maximum time in seconds to wait for a worker.
    rows
        Rows to sample.
    folder
        Checkpoint folder, visible to all workers.
    params
        Parameters of LightGBM.
    digest
        Digest of the work that the bins belong to.
    sample
        Maximum number of sampled rows.
    seed
        Seed of the sample.

    Raises
    ------
    RunError
        If no worker starts within ``stall`` seconds, or the task fails on several
        workers.
    """
    deadline = time.monotonic() + stall
    while not client.nthreads():
        if time.monotonic() > deadline:
            raise RunError(
                f"no worker connected for {stall:.0f} s; start workers and make the same call again"
            )
        time.sleep(BEAT)
    task = client.submit(
        _write_bins_task,
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
            f"a worker could not make bins of {sample} rows: {error}; give it more memory, or a "
            "smaller sample="
        ) from error


def _write_bins_task(
    rows: Mapping[str, Any],
    params: Mapping[str, Any],
    folder: str,
    digest: str,
    sample: int,
    seed: int,
) -> None:
    table = Rows.from_json(rows)
    if not Path(folder).is_dir():
        raise StoreError(
            f"a worker does not see {folder}; choose a checkpoint folder that all workers see"
        )
    matrix = table.take(drawn(table.count(), sample, seed))
    write_bins(matrix, table.names(), params, Path(folder), digest)
