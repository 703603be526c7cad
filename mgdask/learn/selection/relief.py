"""ReliefF: weights of columns by how well they separate neighboring classes.

No model is trained.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.execution.executor import execute
from mgdask.execution.scratch import scratch_folder
from mgdask.kernels.cityblock import CityblockIndex, cityblock_index, nearest_by_cityblock
from mgdask.kernels.relief import relief_gains
from mgdask.learn.data.arrays import coded, column_names, generator, matrix, refuse_nan, row_blocks

if TYPE_CHECKING:
    from distributed import Client

FORMS = ("per-class", "literal")
"""Forms of the weights; see ``relieff``."""
NEIGHBORS = {"per-class": 10, "literal": 50}
"""Default number of neighbors: the usual one, and that of Liu X. et al. (2022)."""
_BLOCK_NEIGHBORS = 2**18
"""Neighbors of a block of points, over all classes. Sums of a block have one order."""
_TASKS = 128
"""Number of tasks that a client gets, if there are as many blocks."""


def relieff(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    neighbors: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    form: str = "per-class",
    names: Sequence[str] | None = None,
    workers: int = 1,
    *,
    client: Client | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> FloatArray:
    """Compute the ReliefF weights of columns for two or more classes.

    The sums run over m rows i, each of class t. P(c) is the share of class c among all
    rows::

        diff(A, i, j) = |x_iA - x_jA| / (max_A - min_A)

        per-class:
        W_A = - sum_i sum_(j in hits_k) diff / (m k)
              + sum_i sum_(c != t) P(c) / (1 - P(t))
                * sum_(j in misses_k of class c) diff / (m k)

        literal:
        W_A = - sum_i sum_(j in near_k, class of j = t) diff / (m k)
              + sum_i sum_(j in near_k, class n of j != t)
                P(n) / (1 - P(t)) diff / (m k)

    ``hits_k`` are the k nearest rows of the same class as i. ``misses_k`` are the k
    nearest rows of another class, and ``near_k`` those of any class. The distance is
    the Manhattan distance, the sum of diff over all columns.

    Parameters
    ----------
    X
        Numbers, shape (row, column).
    y
        Class of each row, shape (row,).
    neighbors
        Number k of neighbors. Default: 10 for "per-class", 50 for "literal".
    samples
        Number m of rows, drawn without replacement. Default: all rows.
    seed
        Seed of the sample.
    form
        "per-class" or "literal".
    names
        Names of the columns, for error messages.
    workers
        Threads of this process; -1 for one per core. The result does not depend on it.
    client
        Dask client that computes blocks of rows as tasks. Default: threads of this
        process.
    folder
        Folder for the scaled rows, which all workers of the client can read. Default: a
        temporary folder on this machine.
    progress
        Show the progress of the client.

    Returns
    -------
    weights
        Weights, shape (column,), between -1 and 1. A larger weight means a more
        relevant column. The weight of a constant column is 0.

    Raises
    ------
    ParameterError
        If a value is NaN, there is only one class, or there are too few rows.
        "per-class" needs k + 1 rows in every class, "literal" needs k + 1 in total.

    Notes
    -----
    Eq. (1) of Liu X. et al. (2022) has nh hits and nm misses among k = 50 neighbors.
    "literal" follows that text. Its weights also depend on the number of misses: a row
    surrounded by its own class can only lower them. A relevant column may then have a
    negative weight, below that of a constant column. "per-class" is the method that the
    paper cites, and very likely what its program did. It is the sound form and
    therefore the default.

    * The columns must be numbers, not unordered categories.
    * Duplicates of a column all have the same weight.
    * Classes count in proportion to their number of rows in the sample. If one is rare,
      undersample first.
    * If rows are at equal distance, those with the lowest number are the neighbors.

    The neighbors are exact: they equal those from comparing all pairs of rows. The
    search and the sums have a fixed order, so the result is bit-identical for any
    number of threads, workers and tasks. All pairs are compared: see the benchmarks
    page for the cost. Memory: each thread needs a few MB, besides one copy of X as
    float64 and its rounded values. With a client, these are in files that the workers
    of a machine share.

    References
    ----------
    "per-class": Kononenko, ECML 171 (1994); Robnik-Sikonja and Kononenko, Machine
    Learning 53, 23 (2003), Fig. 2.

    "literal": Liu X. et al., J. Mater. Inf. 2, 20 (2022), Eq. (1).

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> x = rng.normal(size=(200, 3))
    >>> int(relieff(x, x[:, 1] > 0).argmax())
    1
    """
    job = _prepared(X, y, neighbors, samples, seed, form, names)
    return _weights(job, workers, client, folder, progress)[job.form]


def relieff_forms(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    neighbors: int,
    *,
    samples: int | None = None,
    seed: int = 0,
    names: Sequence[str] | None = None,
    workers: int = 1,
    client: Client | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> dict[str, FloatArray]:
    """Compute the ReliefF weights of columns in both forms with one search.

    Parameters
    ----------
    X, y
        As for ``relieff``.
    neighbors
        Number of neighbors of both forms.
    samples, seed, names, workers, client, folder, progress
        As for ``relieff``.

    Returns
    -------
    weights
        Weights (column,) by form, "per-class" and "literal".

    Raises
    ------
    ParameterError
        As ``relieff`` for the form "per-class".

    Examples
    --------
    >>> relieff_forms(x, y, 50)["per-class"]  # doctest: +SKIP
    """
    job = _prepared(X, y, neighbors, samples, seed, "per-class", names)
    return _weights(job, workers, client, folder, progress)


@dataclass(frozen=True, eq=False)
class _Job:
    """Rows in their original order, and the checked arguments."""

    values: AnyArray
    label: IntArray
    count: IntArray
    sampled: IntArray
    k: int
    form: str


@dataclass(frozen=True, eq=False)
class _Classes:
    """Scaled rows sorted by class, and the points whose neighbors are wanted.

    Parameters
    ----------
    index
        The rows, prepared for the search.
    kind, number
        Class of each row, and its number in the original order (row,).
    bounds
        First row of each class, and the number of rows (class+1,).
    points
        Rows whose neighbors are wanted (point,).
    prior
        Factor of a difference between a row and a neighbor, by their classes
        (class, class).
    """

    index: CityblockIndex
    kind: IntArray
    number: IntArray
    bounds: IntArray
    points: IntArray
    prior: FloatArray


def _prepared(
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    neighbors: int | None,
    samples: int | None,
    seed: int,
    form: str,
    names: Sequence[str] | None,
) -> _Job:
    """Check the arguments of ``relieff``."""
    values = matrix("X", X)
    refuse_nan("X", values, column_names(names, values.shape[1]))
    kinds, label = coded("y", y, len(values))
    count = np.bincount(label)
    form = _current_form(form, len(kinds))
    k = NEIGHBORS[form] if neighbors is None else neighbors
    _validate(kinds, count, k, samples, form)
    rng = generator(seed)
    sampled = (
        np.arange(len(label))
        if samples is None
        else np.sort(rng.choice(len(label), samples, replace=False))
    )
    return _Job(values, label, count, sampled, k, form)


def _weights(
    job: _Job, workers: int, client: Client | None, folder: str | Path | None, progress: bool
) -> dict[str, FloatArray]:
    """Return the weights of both forms; those of "per-class" may lack neighbors."""
    size = max(1, _BLOCK_NEIGHBORS // (job.k * len(job.count)))
    blocks = list(row_blocks(len(job.sampled), 1, size))
    if client is None:
        classes = _sorted_by_class(job)
        with ThreadPoolExecutor((os.cpu_count() or 1) if workers < 0 else workers) as pool:
            gains = list(pool.map(lambda block: _gain(classes, job.k, block), blocks))
    else:
        gains = _gains_of_tasks(job, blocks, client, folder, progress)
    # blocks are added in order
    gain = np.add.reduce(np.array(gains), axis=0) / (len(job.sampled) * job.k)
    return {"per-class": gain[0], "literal": gain[1]}


def _sorted_by_class(job: _Job, folder: Path | None = None) -> _Classes:
    """Scale the rows and sort them by class, in memory or in files of a folder."""
    n_rows, n = job.values.shape
    order = np.argsort(job.label, kind="stable")
    low = job.values.min(axis=0).astype(np.float64)
    high = job.values.max(axis=0).astype(np.float64)
    # a constant column becomes 0 and adds nothing to any distance
    scale = np.where(high > low, high - low, 1.0)
    shape = (n_rows, n)
    x: FloatArray = (
        np.empty(shape)
        if folder is None
        else np.lib.format.open_memmap(folder / "rows.npy", "w+", np.float64, shape)
    )
    for rows in row_blocks(n_rows, n):
        x[rows] = (job.values[order[rows]] - low) / scale
    index = cityblock_index(x, np.zeros(n), (high > low).astype(np.float64))
    place = np.empty(n_rows, dtype=np.int64)
    place[order] = np.arange(n_rows)
    share = job.count / n_rows
    prior = np.asarray(share[None, :] / (1.0 - share[:, None]), dtype=np.float64)
    np.fill_diagonal(prior, -1.0)
    return _Classes(
        index,
        job.label[order],
        order,
        np.concatenate([[0], np.cumsum(job.count)]),
        np.sort(place[job.sampled]),
        prior,
    )


def _gain(classes: _Classes, k: int, block: slice) -> FloatArray:
    """Sum the differences of a block of points in both forms, shape (2, column)."""
    points = np.ascontiguousarray(classes.points[block])
    n_classes = len(classes.prior)
    neighbor = np.empty((len(points), n_classes, k), dtype=np.int64)
    distance = np.empty((len(points), n_classes, k))
    x = classes.index.x
    queries = x[points]
    for c in range(n_classes):
        first, last = (int(i) for i in classes.bounds[c : c + 2])
        neighbor[:, c], distance[:, c] = nearest_by_cityblock(
            classes.index, queries, k, first=first, last=last, own=points
        )
    gain = np.zeros((2, x.shape[1]))
    relief_gains(x, classes.kind, classes.number, points, classes.prior, neighbor, distance, gain)
    return gain


def _gains_of_tasks(
    job: _Job, blocks: Sequence[slice], client: Client, folder: str | Path | None, progress: bool
) -> list[FloatArray]:
    """Return the sums of all blocks from tasks that read the rows from files."""
    per_task = max(1, len(blocks) // _TASKS)
    with scratch_folder(None if folder is None else Path(folder)) as scratch:
        place = Path(scratch)
        classes = _sorted_by_class(job, place)
        np.save(place / "tiles.npy", classes.index.tiles)
        np.savez(
            place / "classes.npz",
            low=classes.index.low,
            step=np.array(classes.index.step),
            kind=classes.kind,
            number=classes.number,
            bounds=classes.bounds,
            points=classes.points,
            prior=classes.prior,
        )
        del classes
        tasks = [
            (f"points from {some[0].start}", (scratch, job.k, some))
            for some in (blocks[i : i + per_task] for i in range(0, len(blocks), per_task))
        ]
        outcome = execute(client, _gains_from_files, tasks, what="relieff", progress=progress)
    return [gain for name, _ in tasks for gain in outcome.results[name]]


def _gains_from_files(folder: str, k: int, blocks: Sequence[slice]) -> list[FloatArray]:
    """Task: sum the differences of some blocks of points."""
    classes = _opened(folder)
    return [_gain(classes, k, block) for block in blocks]


@lru_cache(maxsize=1)
def _opened(folder: str) -> _Classes:
    """Open the rows of a folder, once per worker. Large arrays are memory-mapped."""
    place = Path(folder)
    x = np.load(place / "rows.npy", mmap_mode="r")
    tiles = np.load(place / "tiles.npy", mmap_mode="r")
    with np.load(place / "classes.npz") as rest:
        index = CityblockIndex(x, rest["low"], float(rest["step"]), tiles)
        names = ("kind", "number", "bounds", "points", "prior")
        return _Classes(index, *(rest[name] for name in names))


def _current_form(form: str, n_classes: int) -> str:
    """Return the current name of a form; old names raise a warning or an error."""
    if form == "standard" or (form == "liu2022" and n_classes == 2):
        # for two classes P(c) / (1 - P(t)) = 1, so "liu2022" gave the same numbers
        warnings.warn(
            f"relieff: form={form!r} is form='per-class' since version 0.2",
            FutureWarning,
            stacklevel=3,
        )
        return "per-class"
    if form == "liu2022":
        raise ParameterError(
            "form='liu2022' left out the prior weights of Eq. (1) of Liu X. et al. (2022), and "
            f"its numbers for {n_classes} classes are no longer computed. Use form='literal' "
            "for the printed equation, or form='per-class' for the method it cites"
        )
    if form not in FORMS:
        raise ParameterError(f"form={form!r} is unknown; choose one of {', '.join(FORMS)}")
    return form


def _validate(
    kinds: Sequence[object], count: IntArray, k: int, samples: int | None, form: str
) -> None:
    """Refuse more neighbors or samples than the rows allow."""
    if len(kinds) < 2:
        raise ParameterError(
            f"y holds one class only ({kinds[0]!r}, {count[0]} rows); ReliefF needs two or more"
        )
    n_rows = int(count.sum())
    if form == "literal" and not 1 <= k < n_rows:
        raise ParameterError(
            f"neighbors={k} must be at least 1 and below the {n_rows} rows; use fewer neighbors"
        )
    if form == "per-class" and not 1 <= k < count.min():
        raise ParameterError(
            f"neighbors={k} must be at least 1 and below the number of rows of every "
            f"class; class {kinds[int(count.argmin())]!r} has {count.min()}. Use fewer "
            "neighbors, or leave that class out"
        )
    if samples is not None and not 1 <= samples <= n_rows:
        raise ParameterError(
            f"samples={samples} must be between 1 and the number of rows, {n_rows}, or None for all"
        )
