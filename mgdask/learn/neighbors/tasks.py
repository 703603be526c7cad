"""Neighbor search as tasks, with the rows held once per worker process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.execution.executor import execute, resolve_client
from mgdask.learn.neighbors.search import NeighborIndex, codes, finite_matrix, neighbor_index
from mgdask.store.failures import explained

if TYPE_CHECKING:
    from distributed import Client

BLOCK = 4096
"""Queries per task by default."""
FILES = ("rows", "group", "exclude", "queries", "query_group", "query_exclude")
"""Arrays that tasks read, each a file in the folder of the search."""


@dataclass(frozen=True, eq=False)
class Neighbors:
    """Neighbors of many queries, in files.

    Parameters
    ----------
    index
        Rows (query, k) in order of distance, mapped from ``index.npy``.
    distance
        Distances (query, k), mapped from ``distance.npy``.
    """

    index: IntArray
    distance: FloatArray


def nearest_rows_tasks(
    folder: str | Path,
    rows: npt.ArrayLike,
    queries: npt.ArrayLike,
    k: int,
    *,
    group: npt.ArrayLike | None = None,
    query_group: npt.ArrayLike | None = None,
    exclude: npt.ArrayLike | None = None,
    query_exclude: npt.ArrayLike | None = None,
    metric: str = "euclidean",
    block_rows: int = BLOCK,
    client: Client | None = None,
    progress: bool = True,
) -> Neighbors:
    """Find the k nearest rows of each query, as tasks over blocks of queries.

    Parameters
    ----------
    folder
        Folder for rows, queries and results, which every worker can read and write.
        Files of an earlier search are replaced. Its results stay valid while open.
    rows, queries, k, group, query_group, exclude, query_exclude, metric
        As in ``nearest_rows``.
    block_rows
        Queries per task. The result does not depend on it.
    client
        Client of a cluster. Default: the current one, or else threads of this process.
    progress
        Whether to show progress.

    Returns
    -------
    neighbors
        Neighbors, mapped from files in ``folder``. They are bit-identical to those of
        ``nearest_rows``.

    Raises
    ------
    ParameterError
        As in ``nearest_rows``, or if ``block_rows`` is not positive.

    Notes
    -----
    Each worker process prepares the rows once, which takes about 4 µs per row of 17
    columns. It keeps them until it gets a task of another search. They take twice the
    memory of the rows in float64. Rows and queries are passed as files, not through the
    scheduler. Every task writes its own rows of the result.
    """
    if block_rows < 1:
        raise ParameterError(f"block_rows={block_rows} must be at least 1")
    target = Path(folder)
    x, y = finite_matrix("rows", rows), finite_matrix("queries", queries)
    arrays: tuple[AnyArray, ...] = (
        x,
        codes("group", group, len(x), 0),
        codes("exclude", exclude, len(x), -1),
        y,
        codes("query_group", query_group, len(y), 0),
        codes("query_exclude", query_exclude, len(y), -1),
    )
    with explained(target):
        target.mkdir(parents=True, exist_ok=True)
        # an earlier result, or the rows themselves, may be mapped from the old files
        for name in (*FILES, "index", "distance"):
            (target / f"{name}.npy").unlink(missing_ok=True)
        for name, values in zip(FILES, arrays, strict=True):
            np.save(target / f"{name}.npy", values)
        for name, kind in (("index", np.int64), ("distance", np.float64)):
            empty = np.lib.format.open_memmap(
                target / f"{name}.npy", mode="w+", dtype=kind, shape=(len(y), k)
            )
            empty.flush()
    stamp = (target / "rows.npy").stat().st_mtime_ns
    tasks = [
        (
            f"neighbors-{low:012d}",
            (str(target), stamp, metric, k, low, min(low + block_rows, len(y))),
        )
        for low in range(0, len(y), block_rows)
    ]
    with resolve_client(client) as workers:
        execute(workers, _search_block, tasks, what="neighbors", progress=progress)
    return Neighbors(_mapped(target, "index"), _mapped(target, "distance"))


def _mapped(folder: Path, name: str, mode: Literal["r", "r+"] = "r") -> AnyArray:
    with explained(folder):
        return np.asanyarray(np.load(folder / f"{name}.npy", mmap_mode=mode))


@lru_cache(maxsize=1)
def _index(folder: str, stamp: int, metric: str) -> NeighborIndex:
    """Prepare the rows, once per process and search."""
    rows, group, exclude = (_mapped(Path(folder), name) for name in FILES[:3])
    return neighbor_index(rows, group=group, exclude=exclude, metric=metric)


def _search_block(folder: str, stamp: int, metric: str, k: int, low: int, high: int) -> int:
    """Find the neighbors of one block of queries, as a task."""
    queries, group, exclude = (_mapped(Path(folder), name)[low:high] for name in FILES[3:])
    rows = _index(folder, stamp, metric)
    index, distance = rows.nearest(queries, k, group=group, exclude=exclude)
    with explained(folder):
        for name, values in (("index", index), ("distance", distance)):
            out = _mapped(Path(folder), name, "r+")
            out[low:high] = values
            out.flush()  # type: ignore[attr-defined]
    return high - low
