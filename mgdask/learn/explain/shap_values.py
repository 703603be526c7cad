"""Sums of SHAP values over any number of rows, with a sample for a beeswarm plot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import column_names, generator, matrix

Contributions = Callable[[AnyArray], npt.ArrayLike]
"""Takes rows (row, column); returns SHAP values and the constant (row, column + 1)."""


@dataclass(frozen=True, eq=False)
class Shap:
    """Sums of SHAP values over rows, and a random sample of rows.

    Parameters
    ----------
    names
        Names (column,) of the columns.
    rows
        Number of rows.
    total, absolute, square
        Sums (column,) of the values, their sizes, and their squares.
    expected
        Constant of the model.
    sample_rows
        Numbers (sample,) of the rows in the sample, increasing.
    sample_x, sample_shap
        Columns and SHAP values (sample, column) of these rows.
    size
        Maximum number of rows in the sample.
    seed
        Seed of the sample.
    """

    names: tuple[str, ...]
    rows: int
    total: FloatArray
    absolute: FloatArray
    square: FloatArray
    expected: float
    sample_rows: IntArray
    sample_x: FloatArray
    sample_shap: FloatArray
    size: int
    seed: int

    @property
    def mean_absolute(self) -> FloatArray:
        """Mean size (column,) of the SHAP values, the usual importance."""
        return self.absolute / self.rows

    def order(self) -> list[str]:
        """Sort the columns by importance.

        Returns
        -------
        list
            Names, most important first. Equally important ones keep their order.
        """
        return [self.names[i] for i in np.argsort(-self.absolute, kind="stable")]

    def merge(self, other: Shap) -> Shap:
        """Combine the sums of different rows of the same model.

        Parameters
        ----------
        other
            Sums of other rows.

        Returns
        -------
        Shap

        Raises
        ------
        ParameterError
            If the two differ in columns, sample or constant.
        """
        own, others = (self.names, self.size, self.seed), (other.names, other.size, other.seed)
        if own != others or not np.isclose(self.expected, other.expected):
            raise ParameterError(
                "the two differ in columns, size or seed of the sample, or in the constant "
                f"({self.expected:g}, {other.expected:g}); merge sums of one model with the same "
                "options"
            )
        rows = np.concatenate((self.sample_rows, other.sample_rows))
        keep = _sampled(rows, self.size, self.seed)
        return Shap(
            self.names,
            self.rows + other.rows,
            self.total + other.total,
            self.absolute + other.absolute,
            self.square + other.square,
            self.expected,
            rows[keep],
            np.concatenate((self.sample_x, other.sample_x))[keep],
            np.concatenate((self.sample_shap, other.sample_shap))[keep],
            self.size,
            self.seed,
        )


def _sampled(rows: IntArray, size: int, seed: int) -> IntArray:
    """Return the places of the ``size`` rows with the smallest keys, sorted by row.

    A key is a hash of the row's number and the seed, by the finalizer of SplitMix64
    (Steele et al., OOPSLA 2014). It depends on nothing else, so the sample does not
    depend on how rows are cut into blocks.
    """
    start = np.random.default_rng(seed).integers(2**64, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + start
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    first = np.argsort(z, kind="stable")[:size]
    return np.asarray(first[np.argsort(rows[first], kind="stable")], dtype=np.int64)


def shap_of_block(
    contributions: Contributions,
    X: npt.ArrayLike,
    start: int | IntArray,
    names: Sequence[str] | None = None,
    size: int = 2000,
    seed: int = 0,
) -> Shap:
    """Sum the SHAP values of one block of rows. Sums of blocks ``merge``.

    Parameters
    ----------
    contributions
        Function of rows (row, column) that returns (row, column + 1). The last column
        is the constant, as in LightGBM's ``predict(X, pred_contrib=True)`` for one
        output.
    X
        Rows (row, column).
    start
        Number of the first row among all rows, or the number (row,) of each row.
    names
        Names (column,) of the columns. Default: "0", "1", ...
    size
        Maximum number of rows in the sample.
    seed
        Seed of the sample.

    Returns
    -------
    Shap

    Raises
    ------
    ParameterError
        If ``contributions`` returns another shape.

    Examples
    --------
    >>> def values(X):
    ...     return np.column_stack((X, np.zeros(2)))
    >>> shap_of_block(values, np.eye(2), 0).mean_absolute.tolist()
    [0.5, 0.5]
    """
    x = matrix("X", X)
    labels = column_names(names, x.shape[1])
    generator(seed)
    rows = start + np.arange(len(x)) if np.ndim(start) == 0 else np.asarray(start, dtype=np.int64)
    if rows.min() < 0 or size < 0:
        raise ParameterError(f"start={rows.min()} and size={size} must be at least 0")
    if rows.shape != (len(x),):
        raise ParameterError(
            f"start has shape {rows.shape} for X of {x.shape}; give one number, or one per row"
        )
    values = np.asarray(contributions(x), dtype=np.float64)
    if values.shape != (len(x), x.shape[1] + 1):
        raise ParameterError(
            f"contributions returned shape {values.shape} for X of {x.shape}; it must be (row, "
            "columns + 1), the last being the constant. Of a model with several classes, return "
            "the part of one class"
        )
    phi, expected = values[:, :-1], float(values[0, -1])
    keep = _sampled(rows, size, seed)
    return Shap(
        labels,
        len(x),
        phi.sum(axis=0),
        np.abs(phi).sum(axis=0),
        (phi**2).sum(axis=0),
        expected,
        rows[keep],
        x[keep].astype(np.float64),
        phi[keep].copy(),
        size,
        int(seed),
    )


def shap_by_blocks(
    contributions: Contributions,
    blocks: Iterable[npt.ArrayLike],
    names: Sequence[str] | None = None,
    size: int = 2000,
    seed: int = 0,
) -> Shap:
    """Sum the SHAP values of any number of rows, block by block.

        mean_absolute_a = 1/n sum_i |phi_ia|,   sum_a phi_ia + expected = f(x_i)

    Parameters
    ----------
    contributions, names, size, seed
        See ``shap_of_block``.
    blocks
        Blocks of rows (row, column) in order, which are read one at a time.

    Returns
    -------
    Shap

    Raises
    ------
    ParameterError
        If there is no block.

    Notes
    -----
    The sample does not depend on how rows are cut into blocks, nor do the sums except
    for rounding. Memory: one block, its contributions, and the sample. Correlated
    columns share their importance.

    References
    ----------
    Lundberg et al., Nat. Mach. Intell. 2, 56 (2020). The model itself computes the
    values.

    Examples
    --------
    >>> blocks = [np.ones((2, 3)), np.ones((4, 3))]
    >>> sums = shap_by_blocks(lambda X: np.full((len(X), 4), 0.5), blocks, size=3)
    >>> sums.rows, sums.mean_absolute.tolist(), sums.sample_x.shape
    (6, [0.5, 0.5, 0.5], (3, 3))
    """
    whole: Shap | None = None
    start = 0
    for block in blocks:
        part = shap_of_block(contributions, block, start, names, size, seed)
        whole = part if whole is None else whole.merge(part)
        start += part.rows
    if whole is None:
        raise ParameterError("blocks is empty; give at least one block of rows (row, column)")
    return whole
