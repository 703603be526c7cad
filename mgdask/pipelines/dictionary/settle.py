"""The client's part of a build: settle screened blocks in stored order.

Tasks finish in any order. A block is settled when all blocks before it are. Its
survivors are then compared with all entries in order, and the new entries are written.
Every environment is thus compared with all earlier entries, as in the sequential
algorithm.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from dask.utils import format_bytes

from mgdask.errors import RunError
from mgdask.execution.executor import execute
from mgdask.execution.progress import ProgressReporter
from mgdask.learn.leaders import LeaderClustering
from mgdask.pipelines.dictionary.samples import BATCH, first_environments
from mgdask.pipelines.dictionary.screen import Block, Screened, ScreenJob, screen
from mgdask.store.dictionaries import ORIGINS, DictionarySource
from mgdask.store.growing import GrowingEntries
from mgdask.store.lock import Lock

if TYPE_CHECKING:
    from distributed import Client

FIRST_ROUND = 256
"""Number of environments of the first round. Every round doubles the total.

Nearly all of the first environments become entries. With rounds of growing size, few
environments are screened before the entries that would cover them are known.
"""
MAX_BLOCK = 16_384
"""Maximum number of environments of a block."""
BLOCKS_PER_THREAD = 32
"""Maximum number of blocks of a round per thread.

A block whose worker dies is repeated at the end of its round. Blocks after it wait.
"""


@dataclass
class BuildUsage:
    """What the tasks of a build used.

    Attributes
    ----------
    n_blocks, n_environments, n_survivors
        Number of blocks, of their environments, and of those that the client compared
        again.
    cpu, settling
        CPU time of the tasks, and time of the client to settle blocks, in s.
    prepared
        Longest time in s that a worker took to load or compile kernels.
    peak_memory, block_memory
        Highest memory of a worker, and of its blocks, in bytes.
    hosts
        Machines that screened blocks.
    """

    n_blocks: int = 0
    n_environments: int = 0
    n_survivors: int = 0
    cpu: float = 0.0
    settling: float = 0.0
    prepared: float = 0.0
    peak_memory: int = 0
    block_memory: int = 0
    hosts: set[str] = field(default_factory=set)

    def add(self, block: Block, screened: Screened, settling: float) -> None:
        """Add a block that is settled."""
        self.n_blocks += 1
        self.n_environments += block.last - block.first
        self.n_survivors += screened.n_survivors
        self.cpu += screened.cpu
        self.settling += settling
        self.prepared = max(self.prepared, screened.prepared)
        self.peak_memory = max(self.peak_memory, screened.peak_memory)
        self.block_memory = max(self.block_memory, screened.block_memory)
        self.hosts.add(screened.host)


class Settling:
    """Settles all environments of the samples that are not settled yet.

    Parameters
    ----------
    job
        Parameters of the tasks.
    entries
        Where entries are written.
    sources
        The samples in order.
    lock
        Lock of the dictionary.
    max_block
        Maximum number of environments of a block.
    max_entries
        Number of entries that fit into the memory.
    allowed
        Memory of a worker in bytes, for the message.
    """

    def __init__(
        self,
        job: ScreenJob,
        entries: GrowingEntries,
        sources: Sequence[DictionarySource],
        lock: Lock,
        *,
        max_block: int,
        max_entries: int,
        allowed: int,
    ) -> None:
        self.job, self.entries, self.sources, self.lock = job, entries, sources, lock
        self.max_block, self.max_entries, self.allowed = max_block, max_entries, allowed
        self.usage = BuildUsage()
        self.starts = first_environments(sources)
        self._blocks: dict[str, Block] = {}
        self._waiting: dict[int, tuple[Block, Screened]] = {}
        self._reporter: ProgressReporter | None = None
        self._threads = 1

    def run(self, client: Client, *, progress: bool) -> None:
        """Screen and settle the remaining environments in rounds.

        Parameters
        ----------
        client
            Connected client.
        progress
            Show a bar on a terminal, or one log line per minute.

        Raises
        ------
        RunError
            If an environment cannot be described. The first one in stored order is
            named, and all before its block are settled.
        """
        total = int(self.starts[-1])
        left = total - self.entries.n_settled
        with ProgressReporter("dictionary", left, "environments", progress) as self._reporter:
            while self.entries.n_settled < total:
                self._threads = max(1, sum(client.nthreads().values()))
                blocks = list(self._round())
                self._blocks = {block.name: block for block in blocks}
                execute(
                    client,
                    screen,
                    [(block.name, (self.job, block)) for block in blocks],
                    what="dictionary",
                    progress=False,
                    keep=self._keep,
                )

    def _round(self) -> Iterator[Block]:
        """Yield the blocks of the next round."""
        first = self.entries.n_settled
        most = BLOCKS_PER_THREAD * self._threads * self.max_block
        end = min(first + min(max(FIRST_ROUND, first), most), int(self.starts[-1]))
        size = min(max(BATCH, (end - first) // (4 * self._threads)), self.max_block)
        while first < end:
            block = self._block(first, min(first + size, end))
            yield block
            first = block.last

    def _block(self, first: int, last: int) -> Block:
        """Return a block that ends at the end of a frame if it contains a whole one."""
        number = int(np.searchsorted(self.starts, first, side="right")) - 1
        start, source = int(self.starts[number]), self.sources[number]
        last = min(last, int(self.starts[number + 1]))
        of_frames = start + (last - start) // source.n_atoms * source.n_atoms
        return Block(first, of_frames if of_frames > first else last, source, number, start)

    def _keep(self, name: str, screened: Screened) -> Screened:
        """Keep the result of a task, and settle all blocks that are ready."""
        block = self._blocks[name]
        self._waiting[block.first] = block, screened
        while self.entries.n_settled in self._waiting:
            self._settle(*self._waiting.pop(self.entries.n_settled))
        return screened

    def _settle(self, block: Block, screened: Screened) -> None:
        if screened.error is not None:
            raise screened.error
        began = time.perf_counter()
        survivors = self.job.survivors(block.first)
        vectors, origins = survivors.read(screened.n_survivors)
        species = origins[:, ORIGINS.index("species")]
        clustering = LeaderClustering(self.job.max_squared_distance, self.job.known().index)
        rows = clustering.settle(vectors, species if self.job.per_species else None)
        self._check_room(self.entries.n_entries + len(rows), block)
        self.lock.check()
        self.entries.settle(block.last, vectors, origins, rows)
        survivors.remove()
        self.usage.add(block, screened, time.perf_counter() - began)
        if self._reporter is not None:
            self._reporter.update(self.usage.n_environments, 0, self._threads)

    def _check_room(self, n_entries: int, block: Block) -> None:
        if n_entries > self.max_entries:
            raise RunError(
                f"the dictionary has {n_entries} entries after {block.last} of {self.starts[-1]} "
                f"environments, and memory={format_bytes(self.allowed)} has room for "
                f"{self.max_entries}. Give more memory (memory=, --memory) and run the same "
                "command again to continue; or choose a lower threshold and another out="
            )
