"""LightGBM's exchange between ranks over mgdask's own connections.

LightGBM's own sockets listen on all addresses and accept any connection. Its C API
accepts two functions in their place. Blocks go straight to the rank that needs them.
They are added in the order of LightGBM's own functions. The bits of a model therefore
do not depend on which of the two ran, nor on which rank was faster.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from mgdask.errors import RunError
from mgdask.learn.training.links import Links
from mgdask.learn.training.parameters import lightgbm_library

_RING_BYTES = 10 * 2**20
"""Size from which LightGBM adds in a ring, unless there are 2, 4, 8, ... ranks."""
_READ, _WRITE = 0x100, 0x200
"""Python's flags of a memory view."""
_size = ctypes.c_int32
_address = ctypes.c_void_p
_sizes = ctypes.POINTER(_size)
_Reduce = ctypes.CFUNCTYPE(None, _address, _address, ctypes.c_int, _size)
"""Adds one array to another: source, target, bytes of an element, bytes in all."""
_ReduceScatter = ctypes.CFUNCTYPE(
    None,
    _address,  # input: a block for each rank
    _size,
    ctypes.c_int,  # bytes of an element
    _sizes,  # offset of each block
    _sizes,  # bytes of each block
    ctypes.c_int,
    _address,  # output: the sum of all blocks for this rank
    _size,
    ctypes.POINTER(_Reduce),
)
_Allgather = ctypes.CFUNCTYPE(
    None,
    _address,  # input: the block of this rank
    _size,
    _sizes,  # offset of each block
    _sizes,  # bytes of each block
    ctypes.c_int,
    _address,  # output: the blocks of all ranks
    _size,
)
_view = ctypes.pythonapi.PyMemoryView_FromMemory
_view.restype = ctypes.py_object
_view.argtypes = (_address, ctypes.c_ssize_t, ctypes.c_int)


@contextmanager
def exchanging(
    rank: int, ranks: int, links: Links, failed: Callable[[BaseException], None]
) -> Iterator[None]:
    """Let LightGBM exchange over ``links`` in this thread.

    Parameters
    ----------
    rank, ranks
        Number of this rank, and of all ranks.
    links
        Connections to the other ranks.
    failed
        Called with the error that ended an exchange. It must end the process: LightGBM
        cannot be notified, and would continue with wrong sums.

    Yields
    ------
    None

    Raises
    ------
    RunError
        If LightGBM does not take the functions.
    """
    library = lightgbm_library()
    exchange = _Exchange(rank, links)

    def guarded(work: Callable[..., None]) -> Callable[..., None]:
        def called(*arguments: Any) -> None:
            try:
                work(*arguments)
            except BaseException as error:
                failed(error)

        return called

    # LightGBM keeps their addresses, so they must live until it forgets them
    reduce_scatter = _ReduceScatter(guarded(exchange.reduce_scatter))
    allgather = _Allgather(guarded(exchange.allgather))
    if library.LGBM_NetworkInitWithFunctions(
        ctypes.c_int(ranks),
        ctypes.c_int(rank),
        ctypes.cast(reduce_scatter, _address),
        ctypes.cast(allgather, _address),
    ):
        raise RunError(
            "LightGBM did not take the functions that connect its ranks; install another version"
        )
    try:
        yield
    finally:
        library.LGBM_NetworkFree()


class _Exchange:
    """The two functions that LightGBM calls."""

    def __init__(self, rank: int, links: Links) -> None:
        self._rank, self._links = rank, links
        self._received: dict[int, bytearray] = {}

    def reduce_scatter(
        self,
        given: int,
        given_size: int,
        element: int,
        starts: Any,
        lengths: Any,
        ranks: int,
        result: int,
        _: int,
        reducer: Any,
    ) -> None:
        """Send each rank its block; add those received for this one."""
        rank, own = self._rank, lengths[self._rank]
        peers = [peer for peer in range(ranks) if peer != rank]
        out = {peer: _view(given + starts[peer], lengths[peer], _READ) for peer in peers}
        self._links.exchange(out, {peer: self._buffer(peer, own) for peer in peers})
        blocks = {
            peer: ctypes.addressof(ctypes.c_char.from_buffer(self._received[peer]))
            for peer in peers
        }
        blocks[rank] = given + starts[rank]
        add = reducer[0]
        is_ring = ranks & (ranks - 1) != 0 and given_size >= _RING_BYTES
        for source, target in sum_order(rank, ranks, is_ring):
            add(blocks[source], blocks[target], element, own)
        ctypes.memmove(result, blocks[target], own)

    def allgather(
        self, given: int, _: int, starts: Any, lengths: Any, ranks: int, result: int, __: int
    ) -> None:
        """Send this rank's block to all; concatenate those of all."""
        rank, own = self._rank, lengths[self._rank]
        place = result + starts[rank]
        ctypes.memmove(place, given, own)  # the buffers may overlap
        block = _view(place, own, _READ)
        peers = [peer for peer in range(ranks) if peer != rank]
        into = {peer: _view(result + starts[peer], lengths[peer], _WRITE) for peer in peers}
        self._links.exchange(dict.fromkeys(peers, block), into)

    def _buffer(self, peer: int, size: int) -> memoryview:
        """Return a buffer for the block of a peer, kept for the next one."""
        if len(self._received.get(peer, b"")) < max(size, 1):
            self._received[peer] = bytearray(max(size, 1))
        return memoryview(self._received[peer])[:size]


@cache
def sum_order(rank: int, ranks: int, is_ring: bool) -> tuple[tuple[int, int], ...]:
    """Return the order in which LightGBM's own functions add blocks.

    Parameters
    ----------
    rank, ranks
        Number of the rank for which the blocks are, and of all ranks.
    is_ring
        Whether blocks are added in a ring rather than in halves.

    Returns
    -------
    tuple
        Pairs of ranks: the block of the first is added to that of the second. The sum
        is in the second of the last pair.

    Examples
    --------
    >>> sum_order(0, 4, False)
    ((2, 0), (3, 1), (1, 0))
    >>> sum_order(1, 3, True)
    ((2, 0), (0, 1))
    """
    if is_ring:
        around = [(rank + k) % ranks for k in range(1, ranks + 1)]
        return tuple(itertools.pairwise(around))
    groups = 1 << (ranks.bit_length() - 1)
    # the last ranks form pairs until there are as many groups as a power of two
    alone = 2 * groups - ranks
    leaders = [k if k < alone else 2 * k - alone for k in range(groups)]

    def added(group: int, distance: int) -> list[tuple[int, int]]:
        leader = leaders[group]
        if distance == groups:
            return [(leader + 1, leader)] if group >= alone else []
        partner = group ^ distance
        return [
            *added(group, 2 * distance),
            *added(partner, 2 * distance),
            (leaders[partner], leader),
        ]

    own = rank if rank < alone else (rank + alone) // 2
    return tuple(added(own, 1))
