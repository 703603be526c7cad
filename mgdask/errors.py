"""The few kinds of error a user can meet. Each says what, where, what is allowed and what to do next."""

from __future__ import annotations


class MgdaskError(Exception):
    """Anything mgdask refuses or could not finish; the message is meant for the user."""


class ParameterError(MgdaskError, ValueError):
    """An argument is outside what is allowed."""


class AuditError(MgdaskError, ValueError):
    """An input file cannot be read right: the message names file, byte or line, frame and timestep."""


class StoreError(MgdaskError):
    """A store is missing, unfinished, of another kind, or belongs to other parameters."""


class PlanError(MgdaskError):
    """A plan does not fit: the message names the dominating term and the number to change."""


class RunError(MgdaskError):
    """Blocks of a run failed; the finished ones stay and a second run does only what is missing."""


class MissingDependencyError(MgdaskError, ImportError):
    """An optional package is not installed; the message has the install line."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self._given = (package, extra, purpose)
        super().__init__(
            f"{purpose} needs the optional package {package}, which is not installed. "
            f"Install it with: pip install 'mgdask[{extra}]'"
        )

    def __reduce__(self) -> tuple[type[MissingDependencyError], tuple[str, str, str]]:
        return type(self), self._given  # it comes back from workers by pickle
