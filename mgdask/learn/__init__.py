"""Training on a cluster: rows of feature stores, boosted trees that survive lost workers, models with their card."""

from __future__ import annotations

from mgdask.learn.boosting import train
from mgdask.learn.model import Model
from mgdask.learn.rows import Part, Rows

__all__ = ["Model", "Part", "Rows", "train"]
