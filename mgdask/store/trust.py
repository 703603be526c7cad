"""Whether a call trusts its source stores, and so skips the checks of their shards."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

TRUSTED = "sizes and seals of its shards were not checked (trust=True, --trust)"
"""Text in logs and reports for a source that was trusted."""

_TRUST: ContextVar[bool] = ContextVar("mgdask_trust", default=False)

log = logging.getLogger(__name__)


def is_trusted() -> bool:
    """Return whether this call, or task, trusts its sources."""
    return _TRUST.get()


@contextmanager
def trusting(trust: bool) -> Iterator[None]:
    """Let what is read in the ``with`` block trust its sources.

    Tasks that ``execute`` submits there do too.

    Parameters
    ----------
    trust
        Whether to trust. False changes nothing: a call inside one that trusts does too.
    """
    token = _TRUST.set(trust or _TRUST.get())
    try:
        yield
    finally:
        _TRUST.reset(token)
