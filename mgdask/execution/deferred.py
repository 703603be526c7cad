"""A client that is opened when it is first used.

Functions check their arguments before they use a client. With a deferred one, no worker
starts for a call that is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast

from mgdask.execution.client import resolve_client

if TYPE_CHECKING:
    from distributed import Client


class DeferredClient:
    """Stands for a client, and opens it when an attribute is first read.

    Parameters
    ----------
    opened
        Context manager of the client. It is entered at most once.
    stack
        Stack that closes the client.
    """

    def __init__(self, opened: AbstractContextManager[Client], stack: ExitStack) -> None:
        self._opened, self._stack = opened, stack
        self._client: Client | None = None

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the client."""
        if name.startswith("__"):  # asked by copy and pickle, which need no client
            raise AttributeError(name)
        if self._client is None:
            self._client = self._stack.enter_context(self._opened)
        return getattr(self._client, name)


@contextmanager
def deferred(opened: AbstractContextManager[Client]) -> Iterator[Client]:
    """Yield a client that is opened when it is first used.

    Parameters
    ----------
    opened
        Context manager of the client.

    Yields
    ------
    client
        A stand-in for the client. The client is closed when the context ends, if it was
        opened.
    """
    with ExitStack() as stack:
        yield cast("Client", DeferredClient(opened, stack))


@contextmanager
def deferred_client(client: Client | None = None) -> Iterator[Client]:
    """Yield the given client, or one of ``resolve_client`` that is opened on first use.

    Parameters
    ----------
    client
        Client to use. Default: the current one, or a temporary one in this process.
    """
    if client is not None:
        yield client
        return
    with deferred(resolve_client()) as later:
        yield later
