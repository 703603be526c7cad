"""Progress lines of training and search."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


def printer(enabled: bool) -> Callable[[str], None]:
    """Return a function that prints a line with the time of day to stderr.

    Parameters
    ----------
    enabled
        Whether to print at all.

    Returns
    -------
    Callable
        Takes the text of one line.
    """

    def say(text: str) -> None:
        if enabled:
            print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    return say
