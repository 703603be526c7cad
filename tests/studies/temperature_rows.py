"""Instances of the temperature study made of arrays, for tests without stores."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np


@dataclass(frozen=True)
class ArrayRows:
    """Rows by number, as ``Instances`` gives them."""

    x: np.ndarray
    temperature: np.ndarray

    @property
    def n_rows(self):
        return len(self.x)

    def matrix(self, *, columns=None, runs=None, rows=None, feature_temperature=None):
        rows = np.arange(self.n_rows) if rows is None else np.asarray(rows)
        divided = {"run": self.temperature[rows], None: 1.0}.get(
            feature_temperature, feature_temperature
        )
        return self.x[rows] - np.log10(np.broadcast_to(divided, len(rows)))[:, None]

    def labels(self):
        return SimpleNamespace(temperature=self.temperature)
