"""Metrics of single models, compared with that of their mean.

The mean of several models usually ranks better than each of them. Its metric must not
be compared with published metrics of single models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray
from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import vector
from mgdask.learn.evaluation.bootstrap import Interval, bootstrap, bootstrap_contrast
from mgdask.learn.evaluation.metrics import prepare


@dataclass(frozen=True, eq=False)
class SingleModelScores:
    """A metric of single models and of the mean of their scores, on the same rows.

    Parameters
    ----------
    metric
        Name of the metric.
    each
        Metric of each model (model,).
    single
        Mean over the models, with its interval over rows or groups.
    ensemble
        Metric of the mean score, with its interval.
    gain
        ``ensemble`` minus ``single``, with its paired interval.
    """

    metric: str
    each: FloatArray
    single: Interval
    ensemble: Interval
    gain: Interval

    @property
    def n_models(self) -> int:
        """Number of models."""
        return len(self.each)

    @property
    def mean(self) -> float:
        """Mean of the metric over the models."""
        return self.single.value

    @property
    def deviation(self) -> float:
        """Sample standard deviation over the models; NaN for one model."""
        return float(self.each.std(ddof=1)) if len(self.each) > 1 else float("nan")

    def as_dict(self) -> dict[str, object]:
        """Return plain values for JSON; the deviation of one model is None."""
        return {
            "metric": self.metric,
            "mean": self.mean,
            "deviation": self.deviation if len(self.each) > 1 else None,
            "n_models": self.n_models,
            "each": self.each.tolist(),
            "single": self.single.as_dict(),
            "ensemble": self.ensemble.as_dict(),
            "gain": self.gain.as_dict(),
        }

    def __str__(self) -> str:
        one, both = self.single, self.ensemble
        spread = f" ± {self.deviation:.3f}" if len(self.each) > 1 else ""
        return (
            f"{one.value:.3f}{spread} [{one.low:.3f}, {one.high:.3f}] of {self.n_models} single "
            f"models, {both.value:.3f} [{both.low:.3f}, {both.high:.3f}] of their mean"
        )


def single_model_scores(
    metric: str,
    y: npt.ArrayLike,
    scores: npt.ArrayLike | Sequence[FloatArray],
    groups: npt.ArrayLike | None = None,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    threshold: float = 0.5,
) -> SingleModelScores:
    """Compute a metric of each of several models, and of the mean of their scores.

    With the scores s_k of models k = 1 ... n on the same rows::

        single = 1/n sum_k metric(y, s_k)
        ensemble = metric(y, 1/n sum_k s_k)
        gain = ensemble - single

    Parameters
    ----------
    metric
        Name in ``mgdask.learn.evaluation.metrics.METRICS``.
    y
        Labels or numbers, shape (row,).
    scores
        Score of each model, shape (model, row).
    groups
        Group of each row, shape (row,). By default rows are resampled.
    n_resamples
        Number of resamples, at least 20. All three intervals use the same resamples.
    seed
        Integer. The same seed gives the same bits.
    level
        Confidence level between 0 and 1.
    threshold
        Decision threshold of "recall" and "precision": scores above it count.

    Returns
    -------
    scores
        Values, standard deviation over the models, and intervals.

    Raises
    ------
    ParameterError
        If arrays do not fit or an option is out of range.

    Notes
    -----
    Wang & Jain report the average of single models: "we generalize the obtained models
    to the unseen glass configuration and calculate the average scoring metric". Compare
    that number with ``mean``. The standard deviation describes the spread over training
    samples of one data set. The intervals describe the spread over test rows.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Methods, "Machine Learning".

    Examples
    --------
    >>> both = [[1, 3, 2, 4], [3, 1, 2, 4]]
    >>> found = single_model_scores("roc_auc", [0, 0, 1, 1], both)
    >>> found.each.tolist(), found.ensemble.value
    ([0.75, 0.75], 0.75)
    """
    table = [vector("scores", row) for row in np.asarray(scores, dtype=np.float64)]
    if not table:
        raise ParameterError("scores is empty; give one row of scores per model")
    # summed in the order of the models, like the predictions of an ensemble
    total = table[0].copy()
    for row in table[1:]:
        total += row
    n = len(table)
    ones = np.ones(len(total))
    each = np.array([float(prepare(metric, y, row, threshold).value(ones)) for row in table])
    average = total / n

    def contrast(weights: list[float]) -> Interval:
        return bootstrap_contrast(
            metric,
            y,
            [*table, average],
            weights,
            groups,
            n_resamples=n_resamples,
            seed=seed,
            level=level,
            threshold=threshold,
        )

    ensemble = bootstrap(
        metric,
        y,
        average,
        groups,
        n_resamples=n_resamples,
        seed=seed,
        level=level,
        threshold=threshold,
    )
    return SingleModelScores(
        metric, each, contrast([1.0 / n] * n + [0.0]), ensemble, contrast([-1.0 / n] * n + [1.0])
    )
