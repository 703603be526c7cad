"""Numbers as text, for captions and tables."""

from __future__ import annotations

import numpy as np


def rounded(value: float | None, digits: int = 3, *, decimals: int | None = None) -> str:
    """Format a number with significant digits, or as a dash if there is none.

    Parameters
    ----------
    value
        Number to format.
    digits
        Significant digits.
    decimals
        Digits after the decimal point, in place of ``digits``.

    Examples
    --------
    >>> rounded(0.97634), rounded(12.3456), rounded(None)
    ('0.976', '12.3', '–')
    """
    if value is None or not np.isfinite(value):
        return "–"
    size = 0 if value == 0 else int(np.floor(np.log10(abs(value))))
    shown = max(digits - 1 - size, 0) if decimals is None else decimals
    return f"{value:.{shown}f}".replace("-", "−")
