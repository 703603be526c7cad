"""Array types used everywhere; their shapes are in the docstrings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
AnyArray: TypeAlias = npt.NDArray[Any]
Periodic: TypeAlias = Sequence[bool] | npt.NDArray[np.bool_]
"""Whether each of the three cell vectors repeats."""
