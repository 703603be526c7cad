"""Intervals of the study as plain results."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mgdask.learn.evaluation.bootstrap import Interval
from mgdask.studies.records import Record

__all__ = ["Bounds", "Record"]


@dataclass(frozen=True)
class Bounds(Record):
    """A value with its interval from resampling.

    Parameters
    ----------
    value
        Value of all samples.
    low, high
        Ends of the interval.
    level
        Confidence level.
    resampled
        What was drawn, in words; empty if there is no interval.
    groups
        Number of groups that were drawn from.
    reliable
        Whether the interval can be trusted. If not, ``note`` says why.
    note
        Warning about the interval.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    level: float = 0.95
    resampled: str = ""
    groups: int | None = None
    reliable: bool = True
    note: str = ""

    @classmethod
    def of(cls, interval: Interval) -> Bounds:
        """Return the bounds of an interval of ``mgdask.learn``.

        Parameters
        ----------
        interval
            The interval.
        """
        return cls(
            interval.value,
            interval.low,
            interval.high,
            interval.level,
            interval.resampled,
            interval.groups,
            interval.reliable,
            interval.note,
        )

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"
