"""Validation of models of the temperature under several schemes.

The paper splits atoms into folds, so every temperature is in the training data. A
thermometer is used at other temperatures, so whole temperatures are also left out here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import generator
from mgdask.studies.temperature.levels import level_codes
from mgdask.studies.temperature.model import Fit

Form = Literal["run", "none"]
FORMS: tuple[Form, ...] = ("run", "none")
"""The feature with the temperature of the run, as in the paper, and without it."""
LEFT_OUT = "temperatures left out"
EXTRAPOLATION = "extrapolation"
TEST_RUNS = "test runs"
FOLDS = "folds of atoms"
HALVES = "halves of atoms"
SCHEMES = {
    LEFT_OUT: "each temperature except the lowest and the highest is left out in turn",
    EXTRAPOLATION: "the lowest and the highest temperature are left out in turn",
    TEST_RUNS: "runs that are used only for testing",
    FOLDS: "atoms are split into folds, as in the paper; all temperatures train",
    HALVES: "half of the atoms at every temperature train, and the other half test",
}
"""Schemes of validation in words."""
N_RESAMPLES = 1000
"""Resamples of atoms for an interval."""
LEVEL = 0.95
"""Confidence level of intervals."""
MAX_TRAINING = 200_000
"""Maximum number of rows that a baseline is trained on, spread over temperatures."""
RARE = 300
"""Rows of a species at a temperature that a draw keeps, enough for all fits."""
NOTE = (
    "The interval is from resampled atoms within temperatures. Errors at one temperature have a "
    "common part, so the interval is too narrow if there are few temperatures."
)
"""Limitation of the interval of a ``Score``."""


@dataclass(frozen=True)
class AtTemperature:
    """Predictions for the atoms of one temperature.

    Parameters
    ----------
    temperature
        True temperature in K.
    n
        Number of atoms.
    mean, deviation
        Mean and standard deviation of T_ML in K.
    rmse
        Root mean square error in K.
    """

    temperature: float
    n: int
    mean: float
    deviation: float
    rmse: float


@dataclass(frozen=True)
class Score:
    """Error of one model in one form under one scheme.

    ``to_json`` gives a row of ``validation.json``: the fields by their names, with the
    rows of ``temperatures`` as dictionaries.

    Parameters
    ----------
    scheme
        A key of ``SCHEMES``.
    form
        "run" or "none"; see ``FORMS``.
    model
        Name of the model.
    n_train, n_test
        Smallest number of training rows of a model, and number of predicted rows.
    rmse, low, high
        Root mean square error over all test rows, and its interval, in K.
    temperatures
        The same at each temperature.
    note
        Remark on this row; may be empty.
    """

    scheme: str
    form: str
    model: str
    n_train: int
    n_test: int
    rmse: float
    low: float
    high: float
    temperatures: tuple[AtTemperature, ...]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Build a row from the values of ``to_json``."""
        at = tuple(AtTemperature(**one) for one in plain["temperatures"])
        return cls(**{**plain, "temperatures": at})


@dataclass(frozen=True, eq=False)
class Split:
    """Rows that train and rows that test.

    Parameters
    ----------
    train, test
        Indices of rows.
    """

    train: IntArray
    test: IntArray


def temperatures_left_out(temperature: FloatArray, *, ends: bool = False) -> list[Split]:
    """Return one split per left-out temperature.

    Temperatures within 1 % of each other are left out together.

    Parameters
    ----------
    temperature
        Temperature of each row in K (row,).
    ends
        Leave out the lowest and the highest temperature, instead of those between.

    Raises
    ------
    ParameterError
        If there are fewer than three temperatures.
    """
    code = level_codes(temperature)
    last = int(code.max())
    if last < 2:
        raise ParameterError(
            f"the training runs have {last + 1} different temperatures, "
            f"{', '.join(f'{t:g} K' for t in np.unique(temperature))}; leaving one out between "
            "two others needs at least 3. Add runs"
        )
    asked = (0, last) if ends else range(1, last)
    return [Split(np.flatnonzero(code != c), np.flatnonzero(code == c)) for c in asked]


def atom_folds(temperature: FloatArray, n_folds: int, seed: int) -> IntArray:
    """Return the fold (row,) of each row, balanced within every temperature.

    Parameters
    ----------
    temperature
        Temperature of each row in K (row,).
    n_folds
        Number of folds, at least 2.
    seed
        Seed of the order of rows.
    """
    rng = generator(seed)
    fold = np.empty(len(temperature), dtype=np.int64)
    for t in np.unique(temperature):
        rows = np.flatnonzero(temperature == t)
        if len(rows) < n_folds:
            raise ParameterError(f"{n_folds} folds, but only {len(rows)} atoms at {t:g} K")
        fold[rows] = rng.permutation(len(rows)) % n_folds
    return fold


def fold_splits(fold: IntArray) -> list[Split]:
    """Return one split per fold (row,): it tests, the others train."""
    return [Split(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in np.unique(fold)]


def half_splits(temperature: FloatArray, seed: int) -> list[Split]:
    """Return one split: half of the rows of every temperature train, half test."""
    return fold_splits(atom_folds(temperature, 2, seed))[1:]


def spread(
    rows: IntArray, temperature: FloatArray, limit: int, species: IntArray | None = None
) -> IntArray:
    """Return at most ``limit`` of the rows, drawn evenly over temperatures.

    Parameters
    ----------
    rows
        Indices of rows.
    temperature
        Temperature of every row in K (row,).
    limit
        Maximum number of rows to return. Each temperature gets at most an equal share.
    species
        Species of every row (row,). If given, up to ``RARE`` rows of each species at
        each temperature are added, which may exceed the limit.

    Notes
    -----
    Rows are drawn at random with a fixed seed. Every n-th row would miss whole species
    if they alternate, as in a run that started from a crystal.
    """
    if len(rows) <= limit:
        return rows
    levels, group = np.unique(temperature[rows], return_inverse=True)
    share = max(limit // len(levels), 1)
    rng = generator(0)
    parts = []
    for g in range(len(levels)):
        here = rows[group == g]
        drawn = here if len(here) <= share else rng.choice(here, share, replace=False)
        parts.append(drawn)
        if species is None:
            continue
        for kind in np.unique(species[here]):
            own = here[species[here] == kind]
            missing = min(RARE, len(own)) - np.count_nonzero(species[drawn] == kind)
            if missing > 0:
                parts.append(rng.choice(np.setdiff1d(own, drawn), missing, replace=False))
    return np.sort(np.concatenate(parts))


def cross_predicted(
    fit: Fit,
    matrix: FloatArray,
    temperature: FloatArray,
    species: IntArray,
    splits: Sequence[Split],
    *,
    limit: int | None = None,
) -> FloatArray:
    """Return T_ML in K (row,) of rows that test; NaN for rows that never test.

    Parameters
    ----------
    fit
        Function that fits a model.
    matrix, temperature, species
        Features (row, column), temperatures in K (row,) and species (row,).
    splits
        Rows that train and test. No row tests twice.
    limit
        Maximum number of training rows of each model; see ``spread``.
    """
    out = np.full(len(matrix), np.nan)
    for split in splits:
        train = split.train if limit is None else spread(split.train, temperature, limit)
        model = fit(matrix[train], temperature[train], species[train])
        out[split.test] = model.predict(matrix[split.test], species[split.test])
    return out


def score(
    predicted: FloatArray,
    temperature: FloatArray,
    *,
    scheme: str,
    form: str,
    model: str,
    n_train: int,
    note: str = "",
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Score:
    """Return the error of predictions, with an interval from resampled atoms.

    Parameters
    ----------
    predicted
        T_ML in K (row,). Rows with NaN were not predicted and do not count.
    temperature
        True temperature of each row in K (row,).
    scheme, form, model, n_train, note
        See ``Score``.
    n_resamples, seed
        Number of resamples, and their seed.

    Notes
    -----
    Atoms are resampled within temperatures and treated as independent, although
    neighboring atoms move together. See ``NOTE``.
    """
    rows = np.flatnonzero(np.isfinite(predicted))
    if not len(rows):
        raise ParameterError(f"{model}: nothing was predicted under {scheme!r}")
    levels = np.unique(temperature[rows])
    at, total = [], np.zeros(n_resamples)
    rng = generator(seed)
    for t in levels:
        here = predicted[rows[temperature[rows] == t]]
        square = (here - t) ** 2
        at.append(
            AtTemperature(
                float(t),
                len(here),
                float(here.mean()),
                float(here.std()),
                float(np.sqrt(square.mean())),
            )
        )
        # a drawn row is counted, not copied
        for k in range(n_resamples):
            total[k] += (
                np.bincount(rng.integers(0, len(here), len(here)), minlength=len(here)) @ square
            )
    low, high = np.sqrt(np.quantile(total / len(rows), [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]))
    error = float(np.sqrt(((predicted[rows] - temperature[rows]) ** 2).mean()))
    return Score(
        scheme,
        form,
        model,
        int(n_train),
        len(rows),
        error,
        float(low),
        float(high),
        tuple(at),
        note,
    )


def validate(
    fits: Mapping[str, Fit],
    matrix: Mapping[Form, FloatArray] | Callable[[Form], FloatArray],
    temperature: FloatArray,
    species: IntArray,
    splits: Sequence[Split],
    scheme: str,
    *,
    limits: Mapping[str, int] | None = None,
    note: str = "",
    seed: int = 0,
) -> list[Score]:
    """Return the scores of models in both forms under one scheme.

    Parameters
    ----------
    fits
        Function that fits each model, by its name, in the order of the table.
    matrix
        Features (row, column) by form, or a function that reads them.
    temperature, species
        Temperature in K (row,) and species (row,).
    splits
        Rows that train and test.
    scheme
        A key of ``SCHEMES``.
    limits
        Maximum number of training rows by model; see ``spread``.
    note, seed
        See ``score``.
    """
    scores = []
    for form in FORMS:
        x = matrix(form) if callable(matrix) else matrix[form]
        for name, fit in fits.items():
            limit = (limits or {}).get(name)
            predicted = cross_predicted(fit, x, temperature, species, splits, limit=limit)
            fewest = min(len(one.train) for one in splits)
            n_train = fewest if limit is None else min(fewest, limit)
            scores.append(
                score(
                    predicted,
                    temperature,
                    scheme=scheme,
                    form=form,
                    model=name,
                    n_train=n_train,
                    note=note,
                    seed=seed,
                )
            )
    return scores
