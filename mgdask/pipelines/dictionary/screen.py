"""The task of a build: find the environments of a block that no known entry covers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.errors import MgdaskError
from mgdask.execution.usage import measured, peak_memory
from mgdask.features.feature import FrameFeature
from mgdask.kernels.nearest import covered
from mgdask.pipelines.dictionary.known import Known, known_entries
from mgdask.pipelines.dictionary.samples import environments
from mgdask.pipelines.featurize.calibration import note_compiled
from mgdask.store.dictionaries import DictionarySource
from mgdask.store.failures import FatalStoreError
from mgdask.store.growing import GrowingEntries, Survivors


@dataclass(frozen=True)
class ScreenJob:
    """Parameters shared by all tasks of a build.

    Attributes
    ----------
    out
        The unfinished dictionary.
    identity
        Digest of the dictionary.
    feature
        The feature.
    max_squared_distance
        Largest squared distance of two similar vectors.
    per_species
        Whether only environments with central atoms of one species are compared.
    run
        Identifies this run.
    """

    out: str
    identity: str
    feature: FrameFeature
    max_squared_distance: float
    per_species: bool
    run: str

    def entries(self) -> GrowingEntries:
        """Return the files of the entries."""
        return GrowingEntries(self.out, self.feature.n_columns, self.identity)

    def survivors(self, first: int) -> Survivors:
        """Return the files of the block that begins with an environment."""
        name = f"{self.run}-{first:015d}"
        return Survivors(self.entries().folder, name, self.feature.n_columns)

    def known(self) -> Known:
        """Return the newest entries."""
        return known_entries(self.run, self.entries(), per_species=self.per_species)

    def prepare(self) -> None:
        """Compile the kernels of the feature and build its tables."""
        with suppress(Exception):  # the block gives a better error, if it fails at all
            self.feature.prepare()
            note_compiled([self.feature])


@dataclass(frozen=True)
class Block:
    """Environments of one sample that a task screens.

    Attributes
    ----------
    first, last
        Number of the first environment, and of the one after the last, over all
        samples.
    source
        The sample.
    number
        Its number.
    start
        Number of the first environment of the sample.
    """

    first: int
    last: int
    source: DictionarySource
    number: int
    start: int

    @property
    def name(self) -> str:
        """Name of the task."""
        return f"environments {self.first} to {self.last - 1}"


@dataclass(frozen=True)
class Screened:
    """Result of a task.

    Attributes
    ----------
    n_survivors
        Number of environments that no known entry covers.
    n_known
        Number of entries that they were compared with.
    error
        Why the block could not be screened; None if it was.
    cpu, prepared
        CPU time, and time of preparation, in s.
    peak_memory, block_memory
        Highest memory of the process, and of its blocks, in bytes.
    host
        Name of the machine.
    """

    n_survivors: int = 0
    n_known: int = 0
    error: MgdaskError | None = None
    cpu: float = 0.0
    prepared: float = 0.0
    peak_memory: int = 0
    block_memory: int = 0
    host: str = ""


def screen(job: ScreenJob, block: Block) -> Screened:
    """Write the environments of a block that are not similar to any known entry.

    This is the task that workers run. An error is returned rather than raised, so that
    the client reports the one that comes first in stored order.

    Parameters
    ----------
    job
        Parameters shared by all tasks.
    block
        The environments.

    Returns
    -------
    screened
        Counts and resources. Vectors never pass through the scheduler.

    Raises
    ------
    FatalStoreError
        If a sample has changed, or the files cannot be written.
    """
    with measured(job.run, job.prepare) as usage:
        known = job.known()
        try:
            n_survivors = job.survivors(block.first).write(_survivors(job, block, known))
        except FatalStoreError:
            raise
        except MgdaskError as error:
            return Screened(error=error)
    return Screened(
        n_survivors,
        known.n_entries,
        None,
        usage.cpu,
        usage.prepared,
        peak_memory(),
        usage.memory,
        socket.gethostname(),
    )


def _survivors(job: ScreenJob, block: Block, known: Known) -> Iterator[tuple[FloatArray, IntArray]]:
    """Yield vectors and origins of the environments that no known entry covers."""
    first, last = block.first - block.start, block.last - block.start
    for batch in environments(job.feature, block.source, first, last):
        fresh = np.arange(len(batch.vectors))
        if known.index is not None:
            group = batch.species if job.per_species else None
            fresh = np.flatnonzero(
                ~covered(known.index, batch.vectors, job.max_squared_distance, group)
            )
        if len(fresh):
            origins = np.empty((len(fresh), 5), dtype=np.int64)  # as in ORIGINS
            origins[:, 0] = batch.species[fresh]
            origins[:, 1] = block.number
            origins[:, 2] = batch.frame
            origins[:, 3] = batch.atom_id[fresh]
            origins[:, 4] = block.start + batch.first + fresh
            yield batch.vectors[fresh], origins
