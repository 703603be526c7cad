"""Rows of a table in feature stores or in files, described first and read in parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mgdask._typing import AnyArray, BoolArray, IntArray
from mgdask.errors import ParameterError, StoreError
from mgdask.store.open import check_complete
from mgdask.store.shards import dimension_names, get_array, read_array
from mgdask.store.sources import SourceArray, source_array

SLAB = 16 * 2**20
"""Bytes read from a store at a time. Reading needs this much beside its own matrix."""


Range = tuple[int, int]
"""First index, and the index after the last."""


@dataclass(frozen=True)
class Part:
    """Rows of one source: a feature store, or a matrix (row, column) in a .npy file.

    Rows run over atoms first, then over frames.

    Parameters
    ----------
    path
        The store or file.
    frames
        Half-open range of frames. Default: all.
    atoms
        Half-open range of atoms, or of the rows of a matrix. Default: all.
    keep
        A .npy file with one boolean per row of those ranges, shape (frame, atom), or
        (row,) for a matrix. Rows with False are left out. Default: all rows are taken.
    """

    path: str
    frames: Range | None = None
    atoms: Range | None = None
    keep: str | None = None


@dataclass(frozen=True)
class Rows:
    """Rows and columns of a training table that are not read until needed.

    Parameters
    ----------
    parts
        Sources, in row order.
    variables
        Arrays (frame, atom, column) of every store, side by side. Empty for .npy
        matrices.
    columns
        Names of the columns, in the order to take. Default: all.
    labels
        A .npy file with one value per row, or the name of a variable (frame, atom) of
        the stores.
    weights
        Weights of the rows, given like ``labels``.
    group
        Groups of the rows, given like ``labels``.
    dtype
        Data type of the matrix, "float32" or "float64".

    Raises
    ------
    ParameterError
        If there are no parts, or the data type is another.

    Notes
    -----
    The stores are opened when something is read. ``StoreError`` is raised then if a
    store is missing or unfinished, and ``ParameterError`` if it does not have what is
    described.

    Examples
    --------
    >>> parts = (Part("a.zarr"), Part("b.zarr"))
    >>> rows = Rows(parts, ("interstice",), labels="y.npy")
    >>> rows.count(), rows.read(0, 1000).shape  # doctest: +SKIP
    (17576, (1000, 80))
    """

    parts: tuple[Part, ...]
    variables: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    labels: str | None = None
    weights: str | None = None
    group: str | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if not self.parts:
            raise ParameterError(
                "parts is empty; give at least one store or matrix, such "
                "as Rows((Part(path),), ...)"
            )
        if self.dtype not in ("float32", "float64"):
            raise ParameterError(f"dtype={self.dtype!r}; allowed are 'float32' and 'float64'")

    @classmethod
    def from_json(cls, about: Mapping[str, Any]) -> Rows:
        """Build rows from the values of ``to_json``."""

        def pair(value: Sequence[int] | None) -> Range | None:
            return None if value is None else (int(value[0]), int(value[1]))

        parts = tuple(
            Part(p["path"], pair(p["frames"]), pair(p["atoms"]), p["keep"]) for p in about["parts"]
        )
        columns = None if about["columns"] is None else tuple(about["columns"])
        rest = {name: about[name] for name in ("labels", "weights", "group", "dtype")}
        return cls(parts, tuple(about["variables"]), columns, **rest)

    def to_json(self) -> dict[str, Any]:
        """Return the description as plain values."""
        return asdict(self)

    def digest(self) -> str:
        """Return the identity of the data.

        It covers the content of the stores, and size and modification time of .npy
        files.
        """
        sha256 = hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode())
        files = [
            self.labels,
            self.weights,
            self.group,
            *(p.keep for p in self.parts),
            *(p.path for p in self.parts),
        ]
        for name in files:
            if name is not None and name.endswith(".npy"):
                shape, stat = _npy(name, name).shape, Path(name).stat()
                sha256.update(f"{name} {shape} {stat.st_size} {stat.st_mtime_ns}".encode())
        for part in self.parts:
            if self.variables:
                sha256.update(check_complete(part.path, kind="features")[1].encode())
        return sha256.hexdigest()

    def names(self) -> tuple[str, ...]:
        """Return the names of the selected columns, in order.

        Columns of several variables are named variable/column.

        Raises
        ------
        ParameterError
            If a column is not there, or the parts have different columns.
        """
        available = self._all_names(self.parts[0])
        for part in self.parts[1:]:
            if self._all_names(part) != available:
                raise ParameterError(
                    f"{part.path} and {self.parts[0].path} have different columns; compute the "
                    "same features for all stores"
                )
        if self.columns is None:
            return available
        missing = [name for name in self.columns if name not in available]
        if missing:
            raise ParameterError(
                f"no column {missing[0]!r}; the first of {len(available)} columns are "
                f"{list(available[:5])}"
            )
        return self.columns

    def count(self) -> int:
        """Return the number of selected rows."""
        return sum(self._counts())

    def read(self, start: int, stop: int, tick: Callable[[], None] | None = None) -> AnyArray:
        """Read consecutive rows as one matrix.

        Parameters
        ----------
        start
            First row.
        stop
            Row after the last.
        tick
            Called after every slab. Default: nothing is called.

        Returns
        -------
        matrix
            Shape (stop - start, column). Allocated once and filled slab by slab.
        """
        return self.take(np.arange(start, stop, dtype=np.int64), tick)

    def take(self, index: IntArray, tick: Callable[[], None] | None = None) -> AnyArray:
        """Read selected rows as one matrix.

        Parameters
        ----------
        index
            Increasing row numbers, shape (m,).
        tick
            Called after every slab. Default: nothing is called.

        Returns
        -------
        matrix
            Shape (m, column). Allocated once and filled slab by slab.
        """
        names = self.names()
        known = {name: k for k, name in enumerate(self._all_names(self.parts[0]))}
        columns = np.array([known[name] for name in names])
        consecutive = bool((np.diff(columns) == 1).all())
        out = np.empty((len(index), len(names)), dtype=self.dtype)
        first = 0
        for part, count in zip(self.parts, self._counts(), strict=True):
            low, high = (int(k) for k in np.searchsorted(index, [first, first + count]))
            if high > low:
                positions = self._positions(part, index[low:high] - first)
                for rows, (begin, end), block in self._slabs(part, positions, columns):
                    target = out[low + rows.start : low + rows.stop]
                    here = np.flatnonzero((columns >= begin) & (columns < end))
                    if consecutive and len(here) == len(columns) == block.shape[1]:
                        target[:] = block
                    else:
                        target[:, here] = block[:, columns[here] - begin]
                    del block  # so that only one slab is in memory at a time
                    if tick is not None:
                        tick()
            first += count
        return out

    def values(self, what: str, dtype: str = "float64") -> AnyArray | None:
        """Read the labels, weights or groups of all rows.

        Parameters
        ----------
        what
            "labels", "weights" or "group".
        dtype
            Data type of the result.

        Returns
        -------
        values
            Shape (row,). None if they are not given.

        Raises
        ------
        ParameterError
            If there is not one value per row.
        """
        name: str | None = getattr(self, what)
        if name is None:
            return None
        if name.endswith(".npy"):
            values = np.asarray(_npy(name, what))
            if values.shape != (self.count(),):
                raise ParameterError(
                    f"{what} {name} has shape {values.shape}; one value for each of {self.count()} "
                    "rows is needed"
                )
            return values.astype(dtype)
        return np.concatenate([self._variable(part, name, dtype) for part in self.parts])

    def _variable(self, part: Part, name: str, dtype: str) -> AnyArray:
        group, _ = check_complete(part.path, kind="features")
        if name not in group:
            raise ParameterError(
                f"{part.path} has no variable {name!r}; or give a .npy file with one value per row"
            )
        array = source_array(group, name)
        (f0, f1), (a0, a1) = self._window(part)
        if array.ndim == 1:  # one value per frame, such as run
            values = np.repeat(array[f0:f1], a1 - a0)
            if values.dtype.kind not in "fiub":
                values = np.unique(values.astype(str), return_inverse=True)[1]
        elif array.ndim == 2 or array.shape[2] == 1:
            values = array[f0:f1, a0:a1].reshape(-1)
        else:
            raise ParameterError(
                f"{name} of {part.path} has shape {array.shape}; one value per row is needed"
            )
        keep = self._mask(part)
        return (values if keep is None else values[keep]).astype(dtype)

    def _all_names(self, part: Part) -> tuple[str, ...]:
        if not self.variables:
            return tuple(f"column {k}" for k in range(_npy(part.path, "the matrix").shape[1]))
        group, _ = check_complete(part.path, kind="features")
        names: list[str] = []
        for name in self.variables:
            if name not in group:
                raise ParameterError(
                    f"{part.path} has no variable {name!r}; it holds {sorted(dict(group.arrays()))}"
                )
            array = get_array(group, name)
            if array.ndim != 3:
                raise ParameterError(
                    f"{name} of {part.path} has shape {array.shape}; (frame, atom, "
                    "column) is needed"
                )
            labels = read_array(group, dimension_names(array)[2])
            prefix = f"{name}/" if len(self.variables) > 1 else ""
            names += [f"{prefix}{label}" for label in labels]
        return tuple(names)

    def _window(self, part: Part) -> tuple[Range, Range]:
        if self.variables:
            group, _ = check_complete(part.path, kind="features")
            shape = get_array(group, self.variables[0]).shape[:2]
        else:
            shape = (1, _npy(part.path, "the matrix").shape[0])
        frames, atoms = part.frames or (0, shape[0]), part.atoms or (0, shape[1])
        for name, (low, high), size in (("frames", frames, shape[0]), ("atoms", atoms, shape[1])):
            if not 0 <= low < high <= size:
                raise ParameterError(
                    f"{name}=({low}, {high}) of {part.path}; a range within 0 to {size} is needed"
                )
        return frames, atoms

    def _mask(self, part: Part) -> BoolArray | None:
        if part.keep is None:
            return None
        (f0, f1), (a0, a1) = self._window(part)
        mask = np.asarray(_npy(part.keep, "keep"))
        if mask.dtype != np.bool_ or mask.size != (f1 - f0) * (a1 - a0):
            raise ParameterError(
                f"keep={part.keep} is {mask.dtype} of shape {mask.shape}; booleans of shape "
                f"({f1 - f0}, {a1 - a0}) are needed"
            )
        return mask.reshape(-1)

    def _counts(self) -> list[int]:
        counts = []
        for part in self.parts:
            mask = self._mask(part)
            (f0, f1), (a0, a1) = self._window(part)
            counts.append((f1 - f0) * (a1 - a0) if mask is None else int(mask.sum()))
        return counts

    def _positions(self, part: Part, index: IntArray) -> IntArray:
        """Positions in the window of a part, frame * atoms + atom."""
        mask = self._mask(part)
        return index if mask is None else np.flatnonzero(mask)[index]

    def _slabs(
        self, part: Part, positions: IntArray, columns: IntArray
    ) -> Iterator[tuple[slice, Range, AnyArray]]:
        """Read a part; yield rows of the result, range of columns, and values."""
        window = self._window(part)
        if not self.variables:
            yield from _matrix_slabs(_npy(part.path, "the matrix"), positions, window[1][0])
            return
        group, _ = check_complete(part.path, kind="features")
        begin = 0
        for name in self.variables:
            array = source_array(group, name)
            end = begin + array.shape[2]
            if ((columns >= begin) & (columns < end)).any():
                yield from _array_slabs(array, positions, window, begin)
            begin = end


def _matrix_slabs(
    matrix: AnyArray, positions: IntArray, first: int
) -> Iterator[tuple[slice, Range, AnyArray]]:
    """Read the rows ``first + positions`` of a matrix, ``SLAB`` bytes at a time."""
    width = matrix.shape[1]
    step = max(1, SLAB // (width * matrix.itemsize))
    for low in range(0, len(positions), step):
        rows = slice(low, min(low + step, len(positions)))
        yield rows, (0, width), matrix[positions[rows] + first]


def _array_slabs(
    array: SourceArray, positions: IntArray, window: tuple[Range, Range], begin: int
) -> Iterator[tuple[slice, Range, AnyArray]]:
    """Read positions of a window of an array, shard by shard along the atoms."""
    (f0, f1), (a0, a1) = window
    frames, atoms, *_ = array.shards or array.chunks
    width = array.shape[2]
    for low in range(a0 // atoms * atoms, a1, atoms):
        b0, b1 = max(low, a0), min(low + atoms, a1)
        step = min(frames, max(1, SLAB // ((b1 - b0) * width * array.dtype.itemsize)))
        for frame in range(f0, f1, step):
            slab = (frame, min(frame + step, f1)), (b0, b1)
            for rows, values in _slab(array, positions, window, slab):
                yield rows, (begin, begin + width), values
                del values  # so that only one slab is in memory at a time


def _slab(
    array: SourceArray, positions: IntArray, window: tuple[Range, Range], slab: tuple[Range, Range]
) -> Iterator[tuple[slice, AnyArray]]:
    """Read the positions in one slab of frames and atoms, frame by frame."""
    (f0, _), (a0, a1) = window
    (frame, last), (b0, b1) = slab
    # position of the first atom of a frame
    starts = (np.arange(frame, last) - f0) * (a1 - a0)
    lows = np.searchsorted(positions, starts + b0 - a0)
    highs = np.searchsorted(positions, starts + b1 - a0)
    filled = np.flatnonzero(highs > lows)
    if not len(filled):
        return
    # read only what lies between the first and the last atom that is needed
    left = min(int(positions[lows[k]] - starts[k]) for k in filled)
    right = max(int(positions[highs[k] - 1] - starts[k]) for k in filled) + 1
    block = array[frame + filled[0] : frame + filled[-1] + 1, a0 + left : a0 + right]
    for k in filled:
        rows = slice(int(lows[k]), int(highs[k]))
        yield rows, block[k - filled[0]][positions[rows] - starts[k] - left]


def _npy(path: str, what: str) -> AnyArray:
    try:
        array: AnyArray = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{what} {path} cannot be read ({error}); write it with numpy.save to a folder that "
            "every worker sees"
        ) from None
    return array
