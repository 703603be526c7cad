"""Polyhedra of all atoms that are assigned to each element, streamed over frames."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.execution.client import resolve_client
from mgdask.execution.executor import execute
from mgdask.features.environments import LocalEnvironments, SmallFacets
from mgdask.features.feature import FrameFeature
from mgdask.store.open import check_complete, unchanged
from mgdask.store.shards import read_array
from mgdask.store.source_checks import check_source
from mgdask.store.trajectory import read_window
from mgdask.store.trust import trusting
from mgdask.studies.barcode.elements import ElementTable
from mgdask.studies.barcode.export import element_places
from mgdask.studies.barcode.polyhedra import (
    ICOSAHEDRON,
    PolyhedronCounts,
    assigned_polyhedra,
    facet_counts,
    is_kasper,
)
from mgdask.studies.barcode.records import Record

if TYPE_CHECKING:
    from mgdask.cluster.client import Client

ATOMS_PER_TASK = 20_000
"""Number of atoms of one task, summed over its frames."""


@dataclass(frozen=True, eq=False)
class VoronoiFractions(Record):
    """Fractions of all atoms of each sample by polyhedron, without any dictionary.

    Parameters
    ----------
    store
        Name of the store of each sample.
    frame
        Frame (sample,).
    kasper, icosahedral
        Fractions (sample,) of the atoms with a Kasper polyhedron and with <0,0,12,0>.
    """

    store: tuple[str, ...]
    frame: IntArray
    kasper: FloatArray
    icosahedral: FloatArray


@dataclass(frozen=True)
class _Counted:
    """Result of a task: counts by element and polyhedron, and fractions (frame, 2)."""

    counts: PolyhedronCounts
    fractions: FloatArray


class _Total:
    """Sum of the counts of tasks, in which only one part is kept at a time."""

    def __init__(self) -> None:
        self.counts = PolyhedronCounts(np.zeros((0, 6), np.int64), np.zeros(0, np.int64))

    def add(self, name: str, result: _Counted) -> _Counted:
        self.counts = PolyhedronCounts.total([self.counts, result.counts])
        empty = PolyhedronCounts(self.counts.key[:0], self.counts.count[:0])
        return _Counted(empty, result.fractions)


def with_assigned_polyhedra(
    table: ElementTable,
    feature: FrameFeature,
    stores: Sequence[str | Path],
    *,
    max_frames: int | None = None,
    small_facets: SmallFacets = "static",
    trust: bool = False,
    client: Client | None = None,
    progress: bool = True,
) -> tuple[ElementTable, VoronoiFractions]:
    """Count the polyhedra of all atoms assigned to each element.

    An entry of a dictionary is one atom. Its polyhedron is representative only if the
    atoms assigned to the entry have the same one.

    Parameters
    ----------
    table
        The elements.
    feature
        Feature whose first column is the entry of each atom, NaN for none:
        ``LocalEnvironment(dictionary)``.
    stores
        Trajectory stores.
    max_frames
        Maximum number of frames per store, evenly spaced. Default: all.
    small_facets
        Which small facets are dropped, as in ``mgdask.Interstice``.
    trust
        Read the trajectories without comparing their files with their records.
    client
        Dask client. Default: the current one, or a temporary one in this process.
    progress
        Show a bar on a terminal, or one log line per minute.

    Returns
    -------
    table, fractions
        The table with ``assigned`` filled in, and the fractions of all atoms by
        polyhedron in each frame, as a baseline.

    Notes
    -----
    Power spectra exist only inside a task, a batch of atoms at a time.
    """
    if max_frames is not None and max_frames < 1:
        raise ParameterError(f"max_frames={max_frames} must be at least 1, or None for all")
    tasks = []
    with trusting(trust), ExitStack() as stack:
        for store in stores:
            group, content = check_complete(store, kind="trajectory")
            stack.enter_context(unchanged(store, content))
            n_frames, n_atoms = len(read_array(group, "step")), len(read_array(group, "species"))
            n_chosen = min(n_frames, max_frames or n_frames)
            chosen = np.unique(np.linspace(0, n_frames - 1, n_chosen).round().astype(np.int64))
            check_source(store, ("position",), chosen)
            per_task = max(1, ATOMS_PER_TASK // n_atoms)
            for first in range(0, len(chosen), per_task):
                part = tuple(chosen[first : first + per_task].tolist())
                arguments = (str(store), part, feature, table, small_facets)
                tasks.append((f"{store}, frames from {part[0]}", arguments))
        workers = stack.enter_context(resolve_client(client))
        total = _Total()
        outcome = execute(
            workers,
            _count,
            tasks,
            what="polyhedra of elements",
            unit="tasks",
            progress=progress,
            keep=total.add,
        )
    fractions = np.concatenate([outcome.results[name].fractions for name, _ in tasks])
    frames = [(Path(store).stem, frame) for _, (store, part, *_) in tasks for frame in part]
    own = [element.polyhedron for element in table.elements]
    return (
        table.with_assigned(assigned_polyhedra(total.counts, own)),
        VoronoiFractions(
            store=tuple(name for name, _ in frames),
            frame=np.array([frame for _, frame in frames], dtype=np.int64),
            kasper=fractions[:, 0],
            icosahedral=fractions[:, 1],
        ),
    )


def _count(
    store: str,
    frames: tuple[int, ...],
    feature: FrameFeature,
    table: ElementTable,
    small_facets: SmallFacets,
) -> _Counted:
    """Task: assign all atoms of some frames, and count their polyhedra."""
    group, _ = check_complete(store, kind="trajectory")
    numbers, pbc = read_array(group, "species"), read_array(group, "pbc")
    position, cell = read_window(store, np.asarray(frames))
    atoms = np.arange(len(numbers))
    rows = np.empty((len(numbers), feature.n_columns), dtype=feature.output_dtype)
    parts, fractions = [], np.empty((len(frames), 2))
    for k in range(len(frames)):
        environments = LocalEnvironments(position[k], cell[k], numbers, pbc)
        environments.fill(feature, atoms, rows)
        place, _ = element_places(rows[:, 0], table)
        counts = facet_counts(environments, atoms, small_facets)
        parts.append(PolyhedronCounts.of(place, counts))
        closed = counts[:, 0] >= 0
        fractions[k] = (
            (closed & is_kasper(counts)).mean(),
            (counts == [*ICOSAHEDRON, 0]).all(axis=1).mean(),
        )
    return _Counted(PolyhedronCounts.total(parts), fractions)
