"""Learning from columns: training that survives lost workers, splits by group, metrics with intervals, selection, explanation, cards."""

from __future__ import annotations

from mgdask.learn.boosting import train
from mgdask.learn.model import Model
from mgdask.learn.rows import Part, Rows

__all__ = ["Model", "Part", "Rows", "train"]
