"""Weights of the lags: at which of them do atoms of different temperatures differ.

ReliefF weights as in Eq. (1) of Liu X. et al. (2022), and the lags above the knee.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mgdask._typing import BoolArray, FloatArray
from mgdask.errors import ParameterError
from mgdask.learn.selection.knee import RULE, find_knee
from mgdask.learn.selection.relief import relieff_forms
from mgdask.studies.records import Record
from mgdask.studies.temperature.classes import form_of

if TYPE_CHECKING:
    from mgdask.cluster.client import Client

NEIGHBORS = 50
"""Number of neighbors of Liu X. et al. (2022)."""
PAPER_FIRST_LAG = 5.0
"""The paper keeps 17 of 41 lags: this one in ps, and all longer ones."""
MAX_PAIRS = 350_000**2
"""Maximum number of pairs of rows: all pairs at the size of the paper."""
DECIDING = "per-class"
"""Form of ReliefF whose knee selects the lags; see ``relieff``."""


@dataclass(frozen=True, eq=False)
class LagWeights(Record):
    """ReliefF weights of the lags and the lags that are kept.

    Parameters
    ----------
    form
        Form of the feature: "run", "none" or a number in K.
    lag
        Lags in ps (lag,).
    weight
        Weights (lag,) by form of ReliefF, "per-class" and "literal".
    above_knee
        Lags in ps above the knee, by form of ReliefF.
    knee
        Weight at the knee, the largest below it, by form of ReliefF.
    depth
        Depth of the knee, by form of ReliefF: 0 if there is none, near 1 if it is
        sharp.
    selected
        Lags that are used, in ps: those given, else those above the knee of
        "per-class".
    given
        Whether the lags were given.
    n_rows, classes, n_neighbors
        Number of rows, their classes in K, and number of neighbors.
    rule
        How the knee is found, in words.
    verdict
        What was found, compared with the paper, in words.
    n_sampled
        Number of rows whose neighbors are searched among all rows.
    beside
        The same for the other form of the feature, for comparison only.
    """

    form: str
    lag: FloatArray
    weight: Mapping[str, FloatArray]
    above_knee: Mapping[str, FloatArray]
    knee: Mapping[str, float]
    depth: Mapping[str, float]
    selected: FloatArray
    given: bool
    n_rows: int
    classes: FloatArray
    n_neighbors: int
    rule: str = RULE
    verdict: str = ""
    n_sampled: int = 0
    beside: tuple[LagWeights, ...] = ()

    @property
    def kept(self) -> BoolArray:
        """Whether each lag is used (lag,)."""
        return np.isin(self.lag, self.selected)


def lag_weights(
    X: npt.ArrayLike,
    temperature: npt.ArrayLike,
    lags: npt.ArrayLike,
    *,
    feature_temperature: str | float | None = None,
    selected: Sequence[float] | None = None,
    neighbors: int = NEIGHBORS,
    seed: int = 0,
    folder: str | Path | None = None,
    client: Client | None = None,
    progress: bool = True,
) -> LagWeights:
    """Compute the ReliefF weights of lags and keep those above the knee.

    Parameters
    ----------
    X
        Features of the rows of all classes (row, lag), in the form that
        ``feature_temperature`` names.
    temperature
        Class of each row in K (row,).
    lags
        Lags in ps (lag,).
    feature_temperature
        Temperature that features were divided by: "run", a number in K, or None.
    selected
        Lags to keep, in ps. Default: those above the knee of the form "per-class".
    neighbors
        Number of neighbors.
    seed
        Seed of the sample of rows, if there are more than 350 000.
    folder
        Folder for the scaled rows while tasks read them, reachable by all workers.
        Default: a temporary folder of this machine.
    client
        Dask client. Default: the current one, or a temporary one in this process.
    progress
        Show a bar on a terminal, or one log line per minute.

    Returns
    -------
    weights
        Weights in both forms of ReliefF, and the lags that are kept.

    Raises
    ------
    ParameterError
        If a selected lag is not among the lags, or ReliefF refuses the rows.

    Notes
    -----
    Up to 350 000 rows, as in the paper, the neighbors of all rows are searched. If
    there are more rows, the neighbors of a random sample are searched among all rows.
    The sample is such that the number of compared pairs stays the same.

    The paper keeps "the features above the knee", from 5 ps on, and gives no rule. The
    rule of ``find_knee`` is ours. Weights of the form "literal" are shown, but they do
    not select lags: see the notes of ``relieff``.

    References
    ----------
    Liu X. et al., J. Mater. Inf. 2, 20 (2022), Eq. (1), Supplementary Fig. 2.

    Examples
    --------
    >>> lag_weights(x, temperature, lags).selected  # doctest: +SKIP
    """
    columns = np.asarray(lags, dtype=np.float64)
    kinds = np.unique(np.asarray(temperature, dtype=np.float64))
    kept = None if selected is None else given_lags(selected, columns)
    n_rows = len(np.asarray(temperature))
    samples = min(n_rows, max(1, MAX_PAIRS // n_rows))
    weight = relieff_forms(
        X,
        temperature,
        neighbors,
        samples=None if samples == n_rows else samples,
        seed=seed,
        names=[f"{lag:g} ps" for lag in columns],
        folder=folder,
        client=client,
        progress=progress,
    )
    knees = {name: find_knee(values) for name, values in weight.items()}
    above = {name: columns[one.kept] for name, one in knees.items()}
    return LagWeights(
        form=form_of(feature_temperature),
        lag=columns,
        weight=weight,
        above_knee=above,
        knee={name: one.weight for name, one in knees.items()},
        depth={name: one.depth for name, one in knees.items()},
        selected=above[DECIDING] if kept is None else kept,
        given=kept is not None,
        n_rows=n_rows,
        classes=kinds,
        n_neighbors=int(neighbors),
        verdict=_verdict(columns, above[DECIDING]),
        n_sampled=samples,
    )


def given_lags(selected: Sequence[float], lags: FloatArray) -> FloatArray:
    """Return the lags that a selection names.

    Parameters
    ----------
    selected
        Lags in ps, at least one.
    lags
        Lags of the columns in ps.

    Raises
    ------
    ParameterError
        If a lag is not among the columns, or none is selected.
    """
    wanted = np.unique(np.asarray(selected, dtype=np.float64))
    if not len(wanted):
        raise ParameterError("selected_lags is empty; give at least one lag, or None for the knee")
    places = []
    for one in wanted:
        near = int(np.abs(lags - one).argmin())
        if not abs(lags[near] - one) <= 1e-6 * max(abs(one), 1.0):
            raise ParameterError(
                f"selected_lags has {one:g} ps, which is not a lag of the features; choose among "
                f"{', '.join(f'{lag:g}' for lag in lags)} ps"
            )
        places.append(near)
    return np.asarray(lags[places], dtype=np.float64)


def _verdict(lags: FloatArray, above: FloatArray) -> str:
    """Say which lags are above the knee, and which the paper keeps."""
    paper = lags[lags >= PAPER_FIRST_LAG]
    found = f"{len(above)} of {len(lags)} lags are above the knee"
    gap = lags[(lags >= above.min()) & ~np.isin(lags, above)]
    if not len(gap):
        found += f": {above.min():g} ps and all longer ones"
    else:
        found += f", from {above.min():g} ps with gaps"
    if np.array_equal(above, paper):
        return f"{found}, as in the paper."
    return f"{found}. The paper keeps {PAPER_FIRST_LAG:g} ps and longer, here {len(paper)} lags."
