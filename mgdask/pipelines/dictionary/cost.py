"""Projected CPU time of building a dictionary.

The cost of the feature per environment is known from runs of ``mgdask featurize``, or
measured on part of a frame. The cost of comparisons with the entries is added. A build
corrects both for later plans.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from mgdask.features.feature import FrameFeature
from mgdask.pipelines.featurize import calibration
from mgdask.pipelines.featurize.cost import UNMEASURED, figures_of, two_digits
from mgdask.pipelines.featurize.plan import plan as plan_features

SCREENING = 12e-6
"""Typical CPU time in s to compare an environment with the entries.

It depends on their number. Measured with 5000 entries.
"""
MIN_LEARNED = 1.0
"""Minimum CPU time in s of a build that corrects the estimates."""


@dataclass(frozen=True)
class DictionaryWork:
    """Projected CPU time of a build in s, on one core.

    Attributes
    ----------
    describing
        Time in the feature.
    comparing
        Time to compare environments with entries.
    where
        Where the times were measured; empty if they are typical values.
    """

    describing: float
    comparing: float
    where: str = ""

    @property
    def total(self) -> float:
        """All of it."""
        return self.describing + self.comparing

    def __str__(self) -> str:
        long = self.total > 360
        total = (
            f"{two_digits(self.total / 3600)} core hours"
            if long
            else f"{two_digits(self.total)} core seconds"
        )
        source = f"as measured on {self.where}" if self.where else UNMEASURED
        return (
            f"about {total}: describing {two_digits(self.describing)} s, comparing "
            f"{two_digits(self.comparing)} s; {source}"
        )


def estimate_work(
    store: str, feature: FrameFeature, n_environments: int, threshold: float, measure: bool
) -> DictionaryWork:
    """Return the projected CPU time of a build.

    Parameters
    ----------
    store
        A sample; its density is used.
    feature
        The feature.
    n_environments
        Number of environments.
    threshold
        Threshold of the dictionary.
    measure
        Measure the feature if its speed is not known.
    """
    plan = plan_features(store, [feature], out="not-written.zarr", memory=2**40)
    figures = figures_of(plan, "atom", (feature,), measure=measure)
    describing = figures.factor * (figures.frame + figures.center + figures.read)
    learned = calibration.kept(_key(feature, threshold))
    comparing = SCREENING if learned is None else learned.center
    where = figures.where if learned is None else learned.where
    return DictionaryWork(n_environments * describing, n_environments * comparing, where)


def learn_work(
    store: str,
    feature: FrameFeature,
    threshold: float,
    n_environments: int,
    cpu: float,
    hosts: Collection[str],
) -> None:
    """Keep the CPU time of a build for later plans.

    Parameters
    ----------
    store, feature, threshold, n_environments
        As for ``estimate_work``.
    cpu
        CPU time of the tasks in s.
    hosts
        Machines that they ran on.
    """
    if cpu < MIN_LEARNED or not n_environments or not hosts:
        return
    expected = estimate_work(store, feature, n_environments, threshold, False)
    comparing = max(0.0, cpu - expected.describing) / n_environments
    names = sorted(hosts)
    where = names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
    typical = calibration.Figures(0.0, comparing, 0.0, 0.0, 0.0)
    calibration.keep(_key(feature, threshold), replace(typical, where=where))


def _key(feature: FrameFeature, threshold: float) -> str:
    return calibration.key((feature,), -1, round(1000 * threshold))
