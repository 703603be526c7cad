"""Sums of SHAP values over any number of rows, block by block or as tasks, with a sample for a beeswarm plot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import Float, Integer, Matrix, column_names, generator, matrix


@dataclass(frozen=True, eq=False)
class Shap:
    """Sums of SHAP values over ``rows`` rows, and a random sample of rows; two parts are put together by ``merge``.

    ``total``, ``absolute``, ``square`` (column,) sums of the values, their sizes and squares; ``expected`` the model's
    constant; ``sample_rows`` (s,) row numbers, with their columns ``sample_x`` and values ``sample_shap`` (s, column).
    """

    names: tuple[str, ...]
    rows: int
    total: Float
    absolute: Float
    square: Float
    expected: float
    sample_rows: Integer
    sample_x: Float
    sample_shap: Float
    size: int
    seed: int

    @property
    def mean_absolute(self) -> Float:
        """Mean of abs(SHAP) (column,), the usual importance."""
        return self.absolute / self.rows

    def order(self) -> list[str]:
        """Names, most important first; equal ones in their order."""
        return [self.names[i] for i in np.argsort(-self.absolute, kind="stable")]

    def merge(self, other: Shap) -> Shap:
        """Both parts together, from different rows of the same model."""
        mine, theirs = (self.names, self.size, self.seed), (other.names, other.size, other.seed)
        if mine != theirs or not np.isclose(self.expected, other.expected):
            raise ParameterError(
                "these parts differ in columns, size or seed of the sample, or in the model's constant "
                f"({self.expected:g}, {other.expected:g}); sum parts of one model with the same options"
            )
        rows = np.concatenate((self.sample_rows, other.sample_rows))
        keep = _drawn(rows, self.size, self.seed)
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


def _drawn(rows: Integer, size: int, seed: int) -> Integer:
    """Places of the ``size`` rows with the smallest keys, by row; a key is a hash of the row's number and the seed.

    A key that depends on nothing else makes the sample the same however rows are cut into blocks. The hash is the
    finaliser of SplitMix64 (Steele et al., OOPSLA 2014).
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
    contributions: Callable[[Matrix], npt.ArrayLike],
    X: npt.ArrayLike,
    start: int | Integer,
    names: Sequence[str] | None = None,
    size: int = 2000,
    seed: int = 0,
) -> Shap:
    """SHAP values of one block of rows, summed: a task of its own, as parts ``merge``.

    Parameters: ``contributions`` of (rows, columns) to (rows, columns + 1), the last being the constant, as LightGBM's
    ``predict(X, pred_contrib=True)`` for one output; ``X`` (row, column); ``start`` the number of its first row among
    all rows, or the numbers of its rows (row,) where some were left out; ``names`` (column,); ``size`` rows of the sample; ``seed`` draws it.

    Returns ``Shap``. ``ParameterError`` for contributions of another shape.

    >>> shap_of_block(lambda X: np.column_stack((X, np.zeros(2))), np.eye(2), 0).mean_absolute.tolist()
    [0.5, 0.5]
    """
    x = matrix("X", X)
    label = column_names(names, x.shape[1])
    generator(seed)
    rows = start + np.arange(len(x)) if np.ndim(start) == 0 else np.asarray(start, dtype=np.int64)
    if rows.min() < 0 or size < 0:
        raise ParameterError(f"start={rows.min()} and size={size} must be 0 or above")
    if rows.shape != (len(x),):
        raise ParameterError(
            f"start has shape {rows.shape} for X of {x.shape}; give one number, or one a row"
        )
    found = np.asarray(contributions(x), dtype=np.float64)
    if found.shape != (len(x), x.shape[1] + 1):
        raise ParameterError(
            f"contributions gave shape {found.shape} for X of {x.shape}; (row, columns + 1) is needed, the last being "
            "the constant: of a model with several classes give the part of one class"
        )
    phi, expected = found[:, :-1], float(found[0, -1])
    keep = _drawn(rows, size, seed)
    sums = phi.sum(axis=0), np.abs(phi).sum(axis=0), (phi**2).sum(axis=0)
    return Shap(
        label,
        len(x),
        *sums,
        expected,
        rows[keep],
        x[keep].astype(np.float64),
        phi[keep].copy(),
        size,
        int(seed),
    )


def shap_by_blocks(
    contributions: Callable[[Matrix], npt.ArrayLike],
    blocks: Iterable[npt.ArrayLike],
    names: Sequence[str] | None = None,
    size: int = 2000,
    seed: int = 0,
) -> Shap:
    """SHAP values of any number of rows, summed block by block, with a random sample for a beeswarm plot.

        mean_absolute_a = 1/n sum_i |phi_ia|,   sum_a phi_ia + expected = f(x_i)

    Parameters as ``shap_of_block``'s; ``blocks`` of rows in order, each (row, column), read one at a time.

    Returns ``Shap``; the sample is the same however rows are cut into blocks, the sums to rounding. Memory: one block,
    its contributions, and the sample. Valid as SHAP is: the sizes of correlated columns share what they have in common.
    ``ParameterError`` for no block.

    Source: Lundberg et al., Nat. Mach. Intell. 2, 56 (2020), computed by the model itself.

    >>> blocks = [np.ones((2, 3)), np.ones((4, 3))]
    >>> found = shap_by_blocks(lambda X: np.full((len(X), 4), 0.5), blocks, size=3)
    >>> found.rows, found.mean_absolute.tolist(), found.sample_x.shape
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
