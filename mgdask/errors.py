"""Exceptions that mgdask raises.

Each message says what is wrong, the value received, what is allowed, and the next step.
"""

from __future__ import annotations


class MgdaskError(Exception):
    """Base class of all errors raised by mgdask; the message is meant for the user."""


class ParameterError(MgdaskError, ValueError):
    """An argument has a value that is not allowed."""


class LabelError(ParameterError, KeyError):
    """A label does not exist; the message names the nearest ones."""

    def __str__(self) -> str:  # a KeyError would print the message in quotes
        return str(self.args[0])


class AuditError(MgdaskError, ValueError):
    """An input file cannot be read correctly.

    The message names the file, the byte or line, the frame and the timestep.
    """


class StoreError(MgdaskError):
    """A store is missing, unfinished, of another kind, or has other parameters."""


class PlanError(MgdaskError):
    """A plan does not fit into the memory of a worker.

    The message names the largest contribution and the parameter to change.
    """


class RunError(MgdaskError):
    """Blocks of a run failed.

    Finished blocks are kept. A second run computes only the missing ones.
    """


class MissingDependencyError(MgdaskError, ImportError):
    """A package is not installed; the message gives the command that installs it.

    Parameters
    ----------
    package
        Name of the package.
    extra
        Extra of mgdask that installs it, or ``None`` for a required package.
    purpose
        What needs the package, used as the subject of the message.
    """

    def __init__(self, package: str, extra: str | None, purpose: str) -> None:
        self._arguments = (package, extra, purpose)
        target = package if extra is None else f"'mgdask[{extra}]'"
        super().__init__(
            f"{purpose} needs the {'' if extra is None else 'optional '}package {package}, which "
            f"is not installed. Install it with: pip install {target}"
        )

    def __reduce__(self) -> tuple[type[MissingDependencyError], tuple[str, str | None, str]]:
        return type(self), self._arguments  # workers return errors by pickle
