"""Dask arrays of features that compute only what is selected of them.

Dask joins slices with the task that makes a block, but not lists or masks: those
compute whole blocks first. ``SelectableArray`` keeps what it stands for. A selection of
frames, atoms or columns draws a new graph, with tasks for these rows only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self

import dask.array as da
import numpy as np
from dask.highlevelgraph import HighLevelGraph

from mgdask._typing import AnyArray, IntArray

Chunks = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Selection:
    """What part of a whole result an array stands for.

    Parameters
    ----------
    axes
        Indices along each axis of the whole, in the order asked for.
    scalar
        Which axes are gone, because a single number was asked for.
    """

    axes: tuple[IntArray, ...]
    scalar: tuple[bool, ...]

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> Selection:
        """Return the selection of everything."""
        return cls(tuple(np.arange(n) for n in shape), (False,) * len(shape))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.left(tuple(len(axis) for axis in self.axes))

    def left(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return those of the items, one per axis of the whole, whose axis is left."""
        return tuple(item for item, gone in zip(items, self.scalar, strict=True) if not gone)

    def take(self, key: tuple[Any, ...]) -> Selection | None:
        """Return a selection of this one, or None if the key is not that simple.

        Simple keys are integers, slices, and at most one list or mask.

        Parameters
        ----------
        key
            One item per axis of the array, or fewer.

        Raises
        ------
        IndexError
            If an index is out of range, or a mask has another length than its axis.
        """
        parts = _spelled_out(key, len(self.shape))
        if parts is None:
            return None
        axes, scalar = list(self.axes), list(self.scalar)
        left = [axis for axis, gone in enumerate(scalar) if not gone]
        for axis, part in zip(left, parts, strict=False):
            if np.ndim(part) == 0 and not isinstance(part, slice):
                axes[axis], scalar[axis] = axes[axis][[int(part)]], True
            else:
                axes[axis] = axes[axis][part]
        return Selection(tuple(axes), tuple(scalar))


def _spelled_out(key: tuple[Any, ...], n_axes: int) -> list[Any] | None:
    """Return a key without ellipsis and with arrays, or None if it is not simple."""
    parts = list(key)
    dots = [k for k, part in enumerate(parts) if part is Ellipsis]
    if len(dots) == 1:
        parts[dots[0] : dots[0] + 1] = [slice(None)] * (n_axes - len(parts) + 1)
    elif dots:
        return None
    if len(parts) > n_axes:
        return None
    arrays = 0
    for k, part in enumerate(parts):
        if isinstance(part, slice):
            continue
        if part is None or isinstance(part, (str, da.Array)):
            return None
        values = np.asarray(part)
        if values.dtype == np.float64 and values.size == 0:  # an empty list
            values = values.astype(np.int64)
        simple = values.dtype.kind in "iu" or (values.dtype.kind == "b" and values.ndim == 1)
        if not simple or values.ndim > 1:
            return None
        arrays += values.ndim
        parts[k] = values
    # NumPy takes two lists point by point, and xarray as an outer product
    return parts if arrays <= 1 else None


class RowSource(Protocol):
    """Draws the graph of a selection of one feature's rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole result."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the result."""

    def graph(self, selection: Selection) -> tuple[HighLevelGraph, str, Chunks]:
        """Return the graph, name and chunks of a selection, which is not empty."""


class _CountsAsArray(type(da.Array)):  # type: ignore[misc]
    """Let xarray have such arrays and plain ones of Dask in one Dataset.

    It refuses to compute arrays of several types together, which it puts into a set.
    """

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is da.Array

    def __hash__(cls) -> int:
        return hash(da.Array)


class SelectableArray(da.Array, metaclass=_CountsAsArray):
    """A Dask array of which only the selected frames, atoms and columns are computed.

    Indexing with integers, slices, a list or a mask gives another one. Arithmetic,
    ``rechunk`` and ``transpose`` give plain Dask arrays, and so do pickling and
    ``persist``.
    """

    __slots__ = ()

    _drawn: tuple[str, RowSource, Selection] | None

    @classmethod
    def draw(cls, source: RowSource, selection: Selection | None = None) -> da.Array:
        """Return the array of a selection.

        Parameters
        ----------
        source
            Draws the graph.
        selection
            What is selected. Default: everything.
        """
        if selection is None:
            selection = Selection.whole(source.shape)
        shape = selection.shape
        if 0 in (len(axis) for axis in selection.axes):
            nothing: da.Array = da.empty(shape, dtype=source.dtype, chunks=shape)
            return nothing
        graph, name, chunks = source.graph(selection)
        meta = np.empty((0,) * len(shape), dtype=source.dtype)
        array = cls(graph, name, chunks, meta=meta)
        array._drawn = (name, source, selection)
        return array

    def _take(self, key: Any) -> da.Array | None:
        """Return a selection of this array, or None if Dask has to select."""
        drawn = getattr(self, "_drawn", None)
        # assigning to a Dask array gives it another graph and name
        if drawn is None or drawn[0] != self.name:
            return None
        parts = key if isinstance(key, tuple) else (key,)
        if all(isinstance(part, slice) and part == slice(None) for part in parts):
            return self
        selection = drawn[2].take(parts)
        return None if selection is None else self.draw(drawn[1], selection)

    def __getitem__(self, key: Any) -> da.Array:
        """Select frames, atoms or columns."""
        taken = self._take(key)
        if taken is None:
            taken = da.Array.__getitem__(self, key)
        return taken

    def _vindex(self, key: Any) -> da.Array:
        # xarray asks for pointwise selection if a list has another dimension than its
        # axis. A single list is an outer selection too, whose axis comes first.
        parts = key if isinstance(key, tuple) else (key,)
        lists = [k for k, part in enumerate(parts) if not isinstance(part, slice)]
        if len(lists) == 1 and np.ndim(parts[lists[0]]) == 1:
            taken = self._take(key)
            if taken is not None:
                return taken if lists[0] == 0 else da.moveaxis(taken, lists[0], 0)
        pointwise: da.Array = da.Array._vindex(self, key)
        return pointwise

    def copy(self) -> Self:
        """Return a copy, which remembers what it stands for."""
        # xarray copies deeply before it aligns, as in where()
        other = type(self)(self.dask, self.name, self.chunks, meta=self._meta)
        other._drawn = getattr(self, "_drawn", None)
        return other


def is_all(indices: IntArray, n: int) -> bool:
    """Return whether indices are 0 .. n-1 in order."""
    return len(indices) == n and bool((indices == np.arange(n)).all())


def picked(values: AnyArray, axis: int, indices: IntArray) -> AnyArray:
    """Return values at some indices of an axis; the values themselves if at all."""
    return values if is_all(indices, values.shape[axis]) else values.take(indices, axis)
