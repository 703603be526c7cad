"""The program ``mgdask``, also as ``python -m mgdask``."""

from __future__ import annotations

import sys

from mgdask import interruption


def program() -> None:
    """Run the command line until the process ends.

    Signals are handled from here on, before the libraries are imported, until the
    interpreter has ended.
    """
    interruption.install()
    from mgdask.cli import main

    try:
        main()
    finally:
        if "distributed" in sys.modules:
            from mgdask.execution.quiet import silence

            silence()


if __name__ == "__main__":
    program()
