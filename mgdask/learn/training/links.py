"""Connections between the ranks of one training, which refuse everyone else.

Each attempt has one key with a certificate, made by the client. Both ends of a
connection prove with TLS 1.3 that they hold the key, before anything that they send is
read. A rank listens on one address, and only until all its peers are connected.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from mgdask.errors import RunError

HANDSHAKE = 10.0
"""Seconds in which a caller must prove that it is a rank of this training."""
MAX_WAIT = 3600.0
"""Seconds without a byte from a peer after which a rank ends.

The watchdog of the client ends it sooner. This is for a machine that both have lost.
"""
_PENDING = 64
"""Maximum number of pending handshakes. A further one replaces the oldest."""
_LOOK = 0.1
"""Seconds between two attempts to connect to a peer."""
_CHUNK = 2**20
"""Maximum number of bytes in one call of a socket."""
_HELLO = struct.Struct("!I")
"""The number of a rank, which its peer sends back."""
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 8}
"""With these the kernel reports an unreachable machine after three minutes."""
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"


def new_identity() -> str:
    """Make a private key and a certificate for the ranks of one attempt.

    Returns
    -------
    str
        Both in PEM format. Anyone who has them can take part in the training.
    """
    from mgdask.cluster.tls import temporary_certificate  # which ranks need not import

    certificate, key = temporary_certificate()
    return key + certificate


def listen(address: str) -> socket.socket:
    """Listen on a free port of one address.

    Parameters
    ----------
    address
        Host name or IP address.

    Returns
    -------
    socket.socket

    Raises
    ------
    RunError
        If the address is not one of this machine.
    """
    try:
        family, *_, place = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.bind(place)
    except OSError as error:
        raise RunError(
            f"a rank cannot listen on {address}, the address of its worker ({error}); start the "
            "worker with an address of its own machine"
        ) from None
    listener.listen(_PENDING)
    listener.setblocking(False)
    return listener


def connect(
    rank: int,
    ranks: int,
    identity: str,
    listener: socket.socket,
    place_of: Callable[[int], tuple[str, int] | None],
) -> Links:
    """Connect a rank to all others, then stop listening.

    Parameters
    ----------
    rank, ranks
        Number of this rank, and of all ranks.
    identity
        Key and certificate of ``new_identity``.
    listener
        Socket returned by ``listen``. It is closed here.
    place_of
        Returns the address and port of another rank. None: not known yet.

    Returns
    -------
    Links

    Raises
    ------
    ConnectionError
        If a peer does not connect within ``MAX_WAIT``.
    """
    calling = _context(identity, server=False)
    deadline = time.monotonic() + MAX_WAIT
    links: dict[int, ssl.SSLSocket] = {}
    with listener, _Acceptor(listener, _context(identity, server=True), rank, ranks) as acceptor:
        # each calls the earlier ones: rank 0 only waits, so no two wait for each other
        while missing := {*range(ranks)} - {rank, *links, *acceptor.links}:
            if time.monotonic() > deadline:
                raise ConnectionError(f"no connection to rank {min(missing)} for {MAX_WAIT:.0f} s")
            for peer in (peer for peer in missing if peer < rank):
                if link := _call(place_of(peer), rank, calling):
                    links[peer] = link
            acceptor.look()
    return Links({**links, **acceptor.links})


class Links:
    """Authenticated connections of one rank to all others.

    Parameters
    ----------
    links
        Connection by number of the peer.
    """

    def __init__(self, links: Mapping[int, ssl.SSLSocket]) -> None:
        self._links = dict(links)
        for link in self._links.values():
            link.setblocking(False)
            _tune(link)

    def exchange(self, out: Mapping[int, memoryview], into: Mapping[int, memoryview]) -> None:
        """Send to peers and receive from peers, all at the same time.

        Parameters
        ----------
        out, into
            Bytes to send, and buffers to fill, by number of the peer.

        Raises
        ------
        ConnectionError
            If a peer ends, or is silent for ``MAX_WAIT``.
        """
        sending = {peer: data for peer, data in out.items() if len(data)}
        receiving = {peer: data for peer, data in into.items() if len(data)}
        while True:
            # try before waiting: a link may hold bytes that the kernel knows nothing of
            moved = self._advance(sending, self._send) + self._advance(receiving, self._receive)
            if not sending and not receiving:
                return
            if not moved:
                self._wait(sending, receiving)

    def close(self) -> None:
        """Close all connections."""
        for link in self._links.values():
            link.close()

    def _advance(
        self, waiting: dict[int, memoryview], step: Callable[[ssl.SSLSocket, memoryview], int]
    ) -> int:
        """Move what can be moved without waiting; return the number of bytes."""
        moved = 0
        for peer, data in list(waiting.items()):
            try:
                done = step(self._links[peer], data[:_CHUNK])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                continue
            except OSError as error:
                raise ConnectionError(f"the connection to rank {peer} broke: {error}") from None
            if done == len(data):
                del waiting[peer]
            else:
                waiting[peer] = data[done:]
            moved += done
        return moved

    @staticmethod
    def _send(link: ssl.SSLSocket, data: memoryview) -> int:
        return link.send(data)

    @staticmethod
    def _receive(link: ssl.SSLSocket, buffer: memoryview) -> int:
        got = link.recv_into(buffer)
        if not got:
            raise ConnectionError("it has ended")
        return got

    def _wait(self, sending: Mapping[int, object], receiving: Mapping[int, object]) -> None:
        poll = select.poll()
        for peer in {*sending, *receiving}:
            events = select.POLLIN if peer in receiving else 0
            poll.register(self._links[peer], events | (select.POLLOUT if peer in sending else 0))
        if not poll.poll(1000 * MAX_WAIT):
            raise ConnectionError(
                f"nothing came from rank {min({*sending, *receiving})} for {MAX_WAIT:.0f} s"
            )


class _Acceptor:
    """Accepts connections from later ranks, and drops callers that are not ranks.

    Handshakes proceed concurrently, so that one that stalls delays no other.
    """

    def __init__(
        self, listener: socket.socket, context: ssl.SSLContext, rank: int, ranks: int
    ) -> None:
        self.links: dict[int, ssl.SSLSocket] = {}
        self._listener, self._context, self._later = listener, context, range(rank + 1, ranks)
        self._pending: dict[ssl.SSLSocket, float] = {}

    def __enter__(self) -> _Acceptor:
        return self

    def __exit__(self, *_: object) -> None:
        for link in list(self._pending):
            self._drop(link)

    def look(self) -> None:
        """Accept callers that proved to be ranks; drop those that did not in time."""
        poll = select.poll()
        for one in (self._listener, *self._pending):
            poll.register(one, select.POLLIN)
        ready = {number for number, _ in poll.poll(1000 * _LOOK)}
        for link, since in list(self._pending.items()):
            if link.fileno() in ready:
                self._prove(link)
            elif time.monotonic() - since > HANDSHAKE:
                self._drop(link)
        if self._listener.fileno() in ready:
            self._admit()

    def _admit(self) -> None:
        try:
            caller, _ = self._listener.accept()
        except OSError:  # the caller has disconnected, or too many files are open
            time.sleep(_LOOK)
            return
        try:
            caller.setblocking(False)
            link = self._context.wrap_socket(
                caller, server_side=True, do_handshake_on_connect=False
            )
        except (OSError, ValueError):
            caller.close()
            return
        if len(self._pending) >= _PENDING:
            self._drop(next(iter(self._pending)))
        self._pending[link] = time.monotonic()

    def _prove(self, link: ssl.SSLSocket) -> None:
        """Continue the handshake of one caller, and read its rank."""
        try:
            link.do_handshake()
            said = link.recv(_HELLO.size)  # a record of TLS comes whole
            (rank,) = _HELLO.unpack(said)
            if rank in self.links or rank not in self._later:
                raise ConnectionError(f"rank {rank} is not expected")
            link.send(said)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except (OSError, ValueError, struct.error):
            self._drop(link)
            return
        del self._pending[link]
        self.links[rank] = link

    def _drop(self, link: ssl.SSLSocket) -> None:
        del self._pending[link]
        link.close()


def _call(
    place: tuple[str, int] | None, rank: int, context: ssl.SSLContext
) -> ssl.SSLSocket | None:
    """Connect to another rank; return None if it is missing or not a rank."""
    if place is None:
        return None
    with suppress(OSError, ValueError), ExitStack() as stack:
        plain = stack.enter_context(socket.create_connection(place, HANDSHAKE))
        link = stack.enter_context(context.wrap_socket(plain))
        link.sendall(_HELLO.pack(rank))
        if link.recv(_HELLO.size) == _HELLO.pack(rank):
            stack.pop_all()
            return link
    return None


def _context(identity: str, server: bool) -> ssl.SSLContext:
    """Return a context that accepts holders of ``identity`` and no one else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # there is one certificate, whatever the name of the machine
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=identity[identity.index(_CERTIFICATE) :])
    if server:
        context.num_tickets = 0  # a ticket that no one reads would end a closing connection
    with _private_file(identity) as name:  # OpenSSL takes no text
        context.load_cert_chain(name)
    return context


@contextmanager
def _private_file(text: str) -> Iterator[str]:
    """Yield the name of a file with ``text`` that only this user can read."""
    if hasattr(os, "memfd_create"):  # it is on no disk
        with os.fdopen(os.memfd_create("mgdask"), "w") as file:
            file.write(text)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.NamedTemporaryFile("w", prefix="mgdask-") as named:
        named.write(text)
        named.flush()
        yield named.name


def _tune(link: ssl.SSLSocket) -> None:
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
