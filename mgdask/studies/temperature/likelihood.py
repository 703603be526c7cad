"""Our model: the likelihood of an atom's motion at each temperature.

The other models regress temperature on motion. If there are few training temperatures,
regression pulls every atom toward them. This model instead describes the motion at a
temperature, interpolates the description, and inverts it by Bayes' rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.interpolate import PchipInterpolator

from mgdask._typing import FloatArray, IntArray
from mgdask.elements import symbol
from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import generator
from mgdask.studies.temperature.levels import level_codes, mean_of
from mgdask.studies.temperature.model import checked_features, checked_training

OURS = "ours"
OURS_AVERAGED = "ours, averaged over origins"
"""Names in tables."""
STEP = 5.0
"""Largest step of the temperatures at which the likelihood is evaluated, in K."""
MAX_POINTS = 400
"""Maximum number of those temperatures."""
BLOCK = 4096
"""Number of rows that are predicted at a time."""
SCALES = ("linear", "square root", "logarithmic")
"""Scales of temperature on which the description is interpolated."""
CHOICE_ROWS = 500
"""Maximum number of rows per temperature and species for selecting a scale."""
N_NUMBERS = 3
"""Numbers that describe the motion of an atom: height, slope and curvature."""


class Inferred(NamedTuple):
    """Temperatures inferred from motion.

    Parameters
    ----------
    mean
        T_ML: mean of the posterior in K (row,).
    deviation
        Standard deviation of the posterior in K (row,).
    """

    mean: FloatArray
    deviation: FloatArray


@dataclass(frozen=True, eq=False)
class MotionLikelihood:
    """Normal distribution of the motion of an atom at every temperature.

        p(T | z) ~ N(z; mu_s(T), C_s(T)),   T_min <= T <= T_max
        T_ML = sum_T T p(T | z)

    z are the height, the slope and the curvature of lg[r² m] against lg(lag): the
    coefficients of its orthogonal polynomials of degree 0, 1 and 2. The slope is 0 for
    an atom in its cage and 1 for diffusion. mu_s and C_s are mean and covariance of z
    over the atoms of species s. Means are interpolated between training temperatures by
    monotone cubic splines, and covariances linearly. The prior is flat between the
    lowest and the highest training temperature, so T_ML never leaves that range.

    Parameters
    ----------
    lags
        Lag of each column in ps (column,).
    temperature
        Training temperatures in K (temperature,), increasing.
    known
        Atomic numbers of the species (species,).
    mean
        Mean of z (species, temperature, number).
    covariance
        Covariance of z (species, temperature, number, number).
    scale
        Scale of temperature on which they are interpolated, one of ``SCALES``.
    name
        Name in tables.

    Notes
    -----
    There are no parameters besides ``scale``. The model consists of means and
    covariances, so its size does not depend on the number of atoms. Atoms outside the
    range of training temperatures are predicted near its ends.
    """

    lags: FloatArray
    temperature: FloatArray
    known: IntArray
    mean: FloatArray
    covariance: FloatArray
    scale: str
    name: str = OURS

    def infer(self, matrix: FloatArray, species: IntArray) -> Inferred:
        """Return mean and standard deviation of the posterior of each row.

        Parameters
        ----------
        matrix
            lg[r² m] (row, column).
        species
            Atomic numbers (row,).

        Raises
        ------
        ParameterError
            If columns or species differ from those of training, or a value is not
            finite.
        """
        x = checked_features(matrix, species, len(self.lags), self.known)
        z = described(x, self.lags)
        grid = self._grid()
        out = Inferred(np.empty(len(x)), np.empty(len(x)))
        for place, kind in enumerate(self.known):
            rows = np.flatnonzero(species == kind)
            if not len(rows):
                continue
            mean, covariance = self._at(place, grid)
            # z -> L^-1 (z - mu) with C = L L^T
            whitening = np.linalg.inv(np.linalg.cholesky(covariance))
            offset = np.einsum("gij,gj->gi", whitening, mean)
            norm = np.log(np.einsum("gii->gi", whitening)).sum(axis=1)
            for start in range(0, len(rows), BLOCK):
                here = rows[start : start + BLOCK]
                white = np.einsum("gij,aj->agi", whitening, z[here]) - offset
                log = norm - 0.5 * (white * white).sum(axis=2)
                weight = np.exp(log - log.max(axis=1, keepdims=True))
                weight /= weight.sum(axis=1, keepdims=True)
                middle = (weight * grid).sum(axis=1)
                out.mean[here] = middle
                out.deviation[here] = np.sqrt((weight * (grid - middle[:, None]) ** 2).sum(axis=1))
        return out

    def predict(self, matrix: FloatArray, species: IntArray) -> FloatArray:
        """Return T_ML in K (row,); see ``infer``."""
        return self.infer(matrix, species).mean

    def _grid(self) -> FloatArray:
        low, high = self.temperature[0], self.temperature[-1]
        n = int(np.clip(np.ceil((high - low) / STEP), 2, MAX_POINTS - 1)) + 1
        return np.linspace(low, high, n)

    def _at(self, place: int, grid: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean and covariance of z of a species at temperatures ``grid``."""
        known, asked = scaled(self.temperature, self.scale), scaled(grid, self.scale)
        mean = PchipInterpolator(known, self.mean[place], axis=0)(asked)
        right = np.clip(np.searchsorted(known, asked), 1, len(known) - 1)
        share = ((asked - known[right - 1]) / (known[right] - known[right - 1]))[:, None, None]
        covariance = self.covariance[place]
        return mean, (1.0 - share) * covariance[right - 1] + share * covariance[right]

    def to_json(self) -> dict[str, Any]:
        """Return the model as plain values."""
        arrays = ("lags", "temperature", "known", "mean", "covariance")
        return {
            "kind": "likelihood",
            "name": self.name,
            "scale": self.scale,
            **{key: getattr(self, key).tolist() for key in arrays},
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Build a model from the values of ``to_json``."""
        arrays = ("lags", "temperature", "mean", "covariance")
        return cls(
            known=np.array(plain["known"], dtype=np.int64),
            scale=plain["scale"],
            name=plain["name"],
            **{key: np.array(plain[key], dtype=np.float64) for key in arrays},
        )


def described(x: FloatArray, lags: FloatArray) -> FloatArray:
    """Return height, slope and curvature of lg[r² m] against lg(lag) (row, 3).

    Parameters
    ----------
    x
        lg[r² m] (row, column).
    lags
        Lag of each column in ps (column,).

    Examples
    --------
    >>> lags = np.array([1.0, 10.0, 100.0])
    >>> described(np.array([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]]), lags).round(12)
    array([[2., 1., 0.],
           [4., 0., 0.]])
    """
    t = np.log10(lags)
    first = t - t.mean()
    second = first**2 - (first**2).mean()
    second = second - first * (second @ first) / (first @ first)
    return np.stack(
        [
            x.mean(axis=1),
            # einsum does not call BLAS, whose bits depend on the number of threads
            np.einsum("ij,j->i", x, first / (first @ first)),
            np.einsum("ij,j->i", x, second / (second @ second)),
        ],
        axis=1,
    )


def scaled(temperature: FloatArray, scale: str) -> FloatArray:
    """Return temperatures on one of the scales ``SCALES``."""
    if scale == "linear":
        return temperature
    return np.sqrt(temperature) if scale == "square root" else np.log10(temperature)


def fit_likelihood(
    matrix: FloatArray,
    temperature: FloatArray,
    species: IntArray,
    *,
    lags: FloatArray,
    scale: str | None = None,
    name: str = OURS,
) -> MotionLikelihood:
    """Fit means and covariances of the motion at each temperature.

    Parameters
    ----------
    matrix
        lg[r² m] (row, column), of one origin or averaged over origins.
    temperature
        Temperature of each row in K (row,).
    species
        Atomic number of each row (row,).
    lags
        Lag of each column in ps (column,), at least 3.
    scale
        One of ``SCALES``. Default: the one with the smallest error when each training
        temperature but the lowest and the highest is left out in turn.
    name
        Name in tables.

    Raises
    ------
    ParameterError
        If there is only one temperature, there are fewer than 3 lags, or a species has
        too few rows at a temperature for a covariance.
    """
    x = checked_training(matrix, temperature, species)
    if len(lags) < N_NUMBERS or len(lags) != x.shape[1]:
        raise ParameterError(
            f"there are {len(lags)} lags for {x.shape[1]} columns; give one lag per column, and "
            f"at least {N_NUMBERS} for slope and curvature"
        )
    z = described(x, lags)
    code, kinds = level_codes(temperature), np.unique(species)
    levels = np.array([mean_of(temperature[code == c]) for c in range(code.max() + 1)])
    rows = [
        [np.flatnonzero((species == k) & (code == c)) for c in range(len(levels))] for k in kinds
    ]
    for k, of_kind in zip(kinds, rows, strict=True):
        for t, here in zip(levels, of_kind, strict=True):
            if len(here) < 2 * N_NUMBERS:
                raise ParameterError(
                    f"only {len(here)} atoms are {symbol(int(k))} at {t:g} K; a covariance needs "
                    f"at least {2 * N_NUMBERS}: use larger runs"
                )
    mean = np.array([[z[here].mean(axis=0) for here in of_kind] for of_kind in rows])
    covariance = np.array([[np.cov(z[here].T) for here in of_kind] for of_kind in rows])

    def model(keep: IntArray, scale: str) -> MotionLikelihood:
        return MotionLikelihood(
            np.asarray(lags, dtype=np.float64),
            levels[keep],
            kinds,
            mean[:, keep],
            covariance[:, keep],
            scale,
            name,
        )

    every = np.arange(len(levels))
    if scale is None:
        errors, rng = np.zeros(len(SCALES)), generator(0)
        for out in every[1:-1]:
            # at random: the first atoms are one corner of the box, or one run
            drawn = [rng.permutation(of_kind[out])[:CHOICE_ROWS] for of_kind in rows]
            here = np.sort(np.concatenate(drawn))
            for place, one in enumerate(SCALES):
                guess = model(np.delete(every, out), one).predict(x[here], species[here])
                errors[place] += ((guess - levels[out]) ** 2).mean()
        scale = SCALES[int(np.argmin(errors))]
    return model(every, scale)
