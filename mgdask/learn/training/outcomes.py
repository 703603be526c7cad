"""How a rank of distributed training ended, and why an attempt failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from mgdask.errors import MgdaskError, ParameterError, RunError, StoreError


class Reason(StrEnum):
    """Why a rank, or the attempt that it belongs to, ended."""

    FINISHED = "finished"
    """The process ended with status 0."""
    PARAMETER = "parameter"
    """mgdask refused a parameter or the data (``ParameterError``)."""
    STORE = "store"
    """mgdask refused a store or a folder (``StoreError``)."""
    RUN = "run"
    """mgdask could not go on (``RunError``)."""
    REFUSED = "refused"
    """Any other ``MgdaskError``."""
    FAILED = "failed"
    """An exception of LightGBM or Python, or an exit status other than 0."""
    NETWORK = "network"
    """The connection to another rank broke."""
    CRASHED = "crashed"
    """A signal that a process raises by its own fault, such as SIGSEGV."""
    KILLED = "killed"
    """Any other signal."""
    LOST = "lost"
    """Dask gave no result, or handed the task out a second time."""
    WORKER_GONE = "worker gone"
    """The scheduler no longer knows the worker."""
    SILENT = "silent"
    """No heartbeat."""
    STALLED = "stalled"
    """Heartbeats of all ranks, but no progress of any."""
    INCOMPLETE = "incomplete"
    """All ranks ended before the last round."""


REFUSALS: dict[Reason, type[MgdaskError]] = {
    Reason.PARAMETER: ParameterError,
    Reason.STORE: StoreError,
    Reason.RUN: RunError,
    Reason.REFUSED: MgdaskError,
}
"""Errors that the user has to resolve. Another attempt would meet them again."""
OWN_FAULT = frozenset({Reason.FAILED, Reason.CRASHED})
"""Reasons caused by the rank itself, not by the loss of another process."""


def refusal_reason(error: MgdaskError) -> Reason:
    """Return the reason that stands for ``error`` in the file of a rank."""
    return next(reason for reason, kind in REFUSALS.items() if isinstance(error, kind))


@dataclass(frozen=True)
class RankOutcome:
    """End of one rank: what its worker returns to the client.

    Parameters
    ----------
    reason
        Why the process ended.
    detail
        Error message, last line of the log, or number of the signal.
    """

    reason: Reason
    detail: str = ""

    def refusal(self) -> MgdaskError | None:
        """Return the error for the user, or None if another attempt may help."""
        kind = REFUSALS.get(self.reason)
        return None if kind is None else kind(self.detail)


@dataclass(frozen=True)
class AttemptFailure:
    """Why one attempt ended before the last round; ``str`` is the text for the user.

    Parameters
    ----------
    reason
        What happened.
    rank, address
        The rank and the address of its worker. None and empty for all ranks.
    detail
        Error message, signal, Dask status or phase.
    seconds
        Seconds since the last sign of life. Comparisons ignore it.
    """

    reason: Reason
    rank: int | None = None
    address: str = ""
    detail: str = ""
    seconds: float = field(default=0.0, compare=False)

    def __str__(self) -> str:
        rank = f"rank {self.rank} on {self.address}"
        match self.reason:
            case Reason.CRASHED | Reason.KILLED:
                return f"{rank} was killed by signal {self.detail}"
            case Reason.LOST:
                return f"{rank} was {self.detail}"
            case Reason.WORKER_GONE:
                return f"rank {self.rank}: its worker {self.address} is gone"
            case Reason.SILENT:
                return f"{rank} {self.detail} for {self.seconds:.0f} s"
            case Reason.STALLED:
                return f"no rank has made progress for {self.seconds:.0f} s ({self.detail})"
            case Reason.INCOMPLETE:
                return "the ranks ended before the last round"
            case _:
                return f"{rank} failed: {self.detail or 'no output'}"
