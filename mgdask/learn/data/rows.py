"""Rows of a table that lies in feature stores or in a file: described without being read, read share by share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask.errors import ParameterError, StoreError
from mgdask.store.open import check_complete

Index = npt.NDArray[np.int64]
Array = npt.NDArray[Any]
SLAB = 16 * 2**20
"""Bytes read from a store at a time: what a share costs above its own matrix."""


@dataclass(frozen=True)
class Part:
    """Rows of one source: a feature store, or a matrix (n, p) in a .npy file.

    Parameters: ``path``; ``frames`` and ``atoms`` as half-open ranges (default all); ``keep``, a .npy file of booleans of
    shape (frames, atoms) of those ranges (for a matrix: (n,)), which rows are taken. Rows run over atoms, then frames.
    """

    path: str
    frames: tuple[int, int] | None = None
    atoms: tuple[int, int] | None = None
    keep: str | None = None


@dataclass(frozen=True)
class Rows:
    """Rows and columns of a training table that stay where they are until a share of them is read.

    Parameters: ``parts`` in row order; ``variables``, arrays (frame, atom, column) of every store, side by side (empty for
    .npy matrices); ``columns``, the names to take, in this order (default all); ``labels``, ``weights`` and ``group``, .npy
    files with one value a row taken, or the name of a variable (frame, atom) of the stores; ``dtype`` of the matrix.

    Raises ``ParameterError`` for what the stores do not hold, ``StoreError`` for a store that is missing or unfinished.

    >>> rows = Rows((Part("a.zarr"), Part("b.zarr")), ("interstice",), labels="y.npy")     # doctest: +SKIP
    >>> rows.count(), rows.read(0, 1000).shape                                           # doctest: +SKIP
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
                "rows without a part; give at least one store or matrix: Rows((Part(path),), ...)"
            )
        if self.dtype not in ("float32", "float64"):
            raise ParameterError(f"dtype={self.dtype!r}; allowed are 'float32' and 'float64'")

    @classmethod
    def from_json(cls, about: Mapping[str, Any]) -> Rows:
        """The inverse of ``to_json``."""

        def pair(value: Sequence[int] | None) -> tuple[int, int] | None:
            return None if value is None else (int(value[0]), int(value[1]))

        parts = tuple(
            Part(p["path"], pair(p["frames"]), pair(p["atoms"]), p["keep"]) for p in about["parts"]
        )
        columns = None if about["columns"] is None else tuple(about["columns"])
        rest = {name: about[name] for name in ("labels", "weights", "group", "dtype")}
        return cls(parts, tuple(about["variables"]), columns, **rest)

    def to_json(self) -> dict[str, Any]:
        """The description as plain values."""
        return asdict(self)

    def digest(self) -> str:
        """Identity of the data: the content of the stores, and size and time of change of .npy files."""
        text = hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode())
        files = [
            self.labels,
            self.weights,
            self.group,
            *(p.keep for p in self.parts),
            *(p.path for p in self.parts),
        ]
        for name in files:
            if name is not None and name.endswith(".npy"):
                about = _npy(name, name), Path(name).stat()
                text.update(
                    f"{name} {about[0].shape} {about[1].st_size} {about[1].st_mtime_ns}".encode()
                )
        for part in self.parts:
            if self.variables:
                text.update(check_complete(part.path, kind="features")[1].encode())
        return text.hexdigest()

    def names(self) -> tuple[str, ...]:
        """Names of the columns taken, in order; columns of several variables are called variable/column."""
        found = self._all_names(self.parts[0])
        for part in self.parts[1:]:
            if self._all_names(part) != found:
                raise ParameterError(
                    f"{part.path} has other columns than {self.parts[0].path}; compute the same features for all stores"
                )
        if self.columns is None:
            return found
        missing = [name for name in self.columns if name not in found]
        if missing:
            raise ParameterError(
                f"no column {missing[0]!r}; the first of {len(found)} columns are {list(found[:5])}"
            )
        return self.columns

    def count(self) -> int:
        """Number of rows taken."""
        return sum(self._counts())

    def read(self, start: int, stop: int, tick: Callable[[], None] | None = None) -> Array:
        """Rows ``start`` to ``stop`` as one matrix (stop - start, columns), allocated once and filled slab by slab."""
        return self.take(np.arange(start, stop, dtype=np.int64), tick)

    def take(self, index: Index, tick: Callable[[], None] | None = None) -> Array:
        """The rows of an increasing ``index`` (m,) as one matrix (m, columns); ``tick`` is called after every slab."""
        names = self.names()
        known = {name: k for k, name in enumerate(self._all_names(self.parts[0]))}
        wanted = np.array([known[name] for name in names])
        out = np.empty((len(index), len(names)), dtype=self.dtype)
        first = 0
        for part, count in zip(self.parts, self._counts(), strict=True):
            low, high = (int(k) for k in np.searchsorted(index, [first, first + count]))
            if high > low:
                pick = self._kept(part, index[low:high] - first)
                for rows, columns, block in self._slabs(part, pick, wanted):
                    begin, end = columns
                    here = np.flatnonzero((wanted >= begin) & (wanted < end))
                    if len(here) == out.shape[1] == block.shape[1] and (np.diff(wanted) == 1).all():
                        out[low + rows.start : low + rows.stop] = block
                    else:
                        out[low + rows.start : low + rows.stop, here] = block[
                            :, wanted[here] - begin
                        ]
                    del block  # or it would lie beside the next one
                    if tick is not None:
                        tick()
            first += count
        return out

    def values(self, what: str, dtype: str = "float64") -> Array | None:
        """``labels``, ``weights`` or ``group`` of all rows (n,), or None where not given."""
        name: str | None = getattr(self, what)
        if name is None:
            return None
        if name.endswith(".npy"):
            found: Array = np.asarray(_npy(name, what))
            if found.shape != (self.count(),):
                raise ParameterError(
                    f"{what} {name} has shape {found.shape}; one value for each of {self.count()} rows is needed"
                )
            return found.astype(dtype)
        return np.concatenate([self._variable(part, name, dtype) for part in self.parts])

    def _variable(self, part: Part, name: str, dtype: str) -> Array:
        group, _ = check_complete(part.path, kind="features")
        if name not in group:
            raise ParameterError(
                f"{part.path} has no variable {name!r}; give labels as a .npy file with one value a row"
            )
        array: Any = group[name]
        (f0, f1), (a0, a1) = self._window(part)
        if array.ndim == 1:  # one value a frame, such as run
            found = np.repeat(np.asarray(array[f0:f1]), a1 - a0)
            found = (
                np.unique(found.astype(str), return_inverse=True)[1]
                if found.dtype.kind not in "fiub"
                else found
            )
        elif array.ndim == 2 or array.shape[2] == 1:
            found = np.asarray(array[f0:f1, a0:a1]).reshape(-1)
        else:
            raise ParameterError(
                f"{name} of {part.path} has shape {array.shape}; labels have one value a row"
            )
        keep = self._mask(part)
        return (found if keep is None else found[keep]).astype(dtype)

    def _all_names(self, part: Part) -> tuple[str, ...]:
        if not self.variables:
            return tuple(f"column {k}" for k in range(_npy(part.path, "the matrix").shape[1]))
        group, _ = check_complete(part.path, kind="features")
        found: list[str] = []
        for name in self.variables:
            if name not in group:
                raise ParameterError(
                    f"{part.path} has no variable {name!r}; it holds {sorted(dict(group.arrays()))}"
                )
            array: Any = group[name]
            if array.ndim != 3:
                raise ParameterError(
                    f"{name} of {part.path} has shape {array.shape}; (frame, atom, column) is needed"
                )
            labels: Any = group[array.metadata.dimension_names[2]]
            front = f"{name}/" if len(self.variables) > 1 else ""
            found += [f"{front}{label}" for label in labels[...]]
        return tuple(found)

    def _window(self, part: Part) -> tuple[tuple[int, int], tuple[int, int]]:
        if self.variables:
            group, _ = check_complete(part.path, kind="features")
            array: Any = group[self.variables[0]]
            shape = array.shape[:2]
        else:
            shape = (1, _npy(part.path, "the matrix").shape[0])
        frames, atoms = part.frames or (0, shape[0]), part.atoms or (0, shape[1])
        for name, (low, high), size in (("frames", frames, shape[0]), ("atoms", atoms, shape[1])):
            if not 0 <= low < high <= size:
                raise ParameterError(
                    f"{name}=({low}, {high}) of {part.path}; a range within 0 to {size} is needed"
                )
        return frames, atoms

    def _mask(self, part: Part) -> npt.NDArray[np.bool_] | None:
        if part.keep is None:
            return None
        (f0, f1), (a0, a1) = self._window(part)
        mask = np.asarray(_npy(part.keep, "keep"))
        if mask.dtype != np.bool_ or mask.size != (f1 - f0) * (a1 - a0):
            raise ParameterError(
                f"keep={part.keep} is {mask.dtype} of shape {mask.shape}; booleans of shape ({f1 - f0}, {a1 - a0}) are needed"
            )
        return mask.reshape(-1)

    def _counts(self) -> list[int]:
        found = []
        for part in self.parts:
            mask = self._mask(part)
            (f0, f1), (a0, a1) = self._window(part)
            found.append((f1 - f0) * (a1 - a0) if mask is None else int(mask.sum()))
        return found

    def _kept(self, part: Part, index: Index) -> Index:
        # positions in the window of a part, frame * atoms + atom
        mask = self._mask(part)
        return index if mask is None else np.flatnonzero(mask)[index]

    def _slabs(
        self, part: Part, pick: Index, wanted: Index
    ) -> Iterator[tuple[slice, tuple[int, int], Array]]:
        """(rows of the answer, first and last column among all, values) of every slab that has a ``wanted`` column."""
        (f0, f1), (a0, a1) = self._window(part)
        if not self.variables:
            matrix = _npy(part.path, "the matrix")
            step = max(1, SLAB // (matrix.shape[1] * matrix.itemsize))
            for low in range(0, len(pick), step):
                rows = slice(low, min(low + step, len(pick)))
                yield rows, (0, matrix.shape[1]), matrix[pick[rows] + a0]
            return
        group, _ = check_complete(part.path, kind="features")
        begin, atoms = 0, a1 - a0
        for name in self.variables:
            array: Any = group[name]
            grid = array.shards or array.chunks
            width = array.shape[2]
            if not ((wanted >= begin) & (wanted < begin + width)).any():
                begin += width
                continue
            for low in range(a0 // grid[1] * grid[1], a1, grid[1]):
                b0, b1 = max(low, a0), min(low + grid[1], a1)
                step = min(grid[0], max(1, SLAB // ((b1 - b0) * width * array.dtype.itemsize)))
                for frame in range(f0, f1, step):
                    last = min(frame + step, f1)
                    edges = (np.arange(frame, last) - f0) * atoms
                    lows, highs = (
                        np.searchsorted(pick, edges + b0 - a0),
                        np.searchsorted(pick, edges + b1 - a0),
                    )
                    some = np.flatnonzero(highs > lows)
                    if not len(some):
                        continue
                    # only what lies between the first and the last row asked for
                    left = min(int(pick[lows[k]] - edges[k]) for k in some)
                    right = max(int(pick[highs[k] - 1] - edges[k]) for k in some) + 1
                    block = array[frame + some[0] : frame + some[-1] + 1, a0 + left : a0 + right]
                    for k in some:
                        rows = slice(int(lows[k]), int(highs[k]))
                        yield (
                            rows,
                            (begin, begin + width),
                            block[k - some[0]][pick[rows] - edges[k] - left],
                        )
            begin += width


def _npy(path: str, what: str) -> Array:
    try:
        found: Array = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{what} {path} cannot be read ({error}); write it with numpy.save where every worker sees it"
        ) from None
    return found
