"""CPU time that a plan needs: computing, reading and writing.

What an atom costs is measured on a piece of a frame, if the kernels of the features are
compiled on this node. It is kept for later plans, and every run corrects it. Otherwise
typical figures stand in, which depend on the number density and the cutoffs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask.features.engine import FeatureKinds, frames_needed
from mgdask.features.environments import LARGE, VoronoiNeighbors
from mgdask.features.feature import TYPICAL_DENSITY, Feature, n_within, search_cost
from mgdask.pipelines.featurize import calibration
from mgdask.pipelines.featurize.calibration import Figures
from mgdask.store.layout import ceil_div, trajectory_layout
from mgdask.store.manifest import Manifest
from mgdask.store.shards import open_group, read_array

if TYPE_CHECKING:
    from mgdask.pipelines.featurize.plan import Plan

RUN_FACTOR = 1.1
"""CPU time of a run, as a multiple of that of a sample.

A sample is short, and computed alone. Measured by ``tests/benchmarks/cost.py``.
"""
TYPICAL = Figures(
    frame=0.3e-6, center=0.0, read=0.1e-6, write=2.5e-9, block=10e-3, factor=RUN_FACTOR
)
"""Figures of one core, measured by ``tests/benchmarks/cost.py``.

Features state their own figure per center.
"""
UNMEASURED = "typical speeds, until a run measures them"
STARTING = 15e-3
"""CPU time in s of a run that does not depend on its blocks."""
TRAJECTORY_READ = 0.3e-6
"""CPU time in s to read and unwrap an atom in a frame, for features of trajectories."""
UNWRAPPING = 0.9e-6
"""CPU time in s to copy an atom in a frame into a store of unwrapped trajectories."""
NEIGHBORS = 14.0
"""Typical number of Voronoi neighbors of an atom."""
MAX_MEASURED = 0.3
"""Expected CPU time per center in s above which a plan measures nothing."""
MAX_MEASURED_NEIGHBORS = 200_000
"""Number of neighbors of an atom above which a plan measures nothing.

A metallic glass has as many within 90 Å. Far more take gigabytes, even for one atom.
"""
MIN_LEARNED = 0.1
"""CPU time in s of a run from which it corrects the figures."""


@dataclass(frozen=True)
class Work:
    """CPU time of a plan in s, on one core.

    Parameters
    ----------
    computing
        Time in the features.
    reading
        Time to read frames or trajectories, and fixed times of blocks.
    writing
        Time to compress, check and write the output.
    where
        Where the figures were measured; empty if they are typical ones.
    """

    computing: float = 0.0
    reading: float = 0.0
    writing: float = 0.0
    where: str = ""

    @property
    def total(self) -> float:
        """All of it."""
        return self.computing + self.reading + self.writing

    def times(self, part: float) -> Work:
        """Return the same part of every term."""
        return Work(part * self.computing, part * self.reading, part * self.writing, self.where)

    def __str__(self) -> str:
        terms = ", ".join(
            f"{name} {_duration(seconds)}"
            for name, seconds in (
                ("computing", self.computing),
                ("reading", self.reading),
                ("writing", self.writing),
            )
        )
        source = f"as measured on {self.where}" if self.where else UNMEASURED
        long = self.total > 360
        hours, seconds = two_digits(self.total / 3600), two_digits(self.total)
        total = f"{hours} core hours" if long else f"{seconds} core seconds"
        return f"about {total}: {terms}; {source}"


def _duration(seconds: float) -> str:
    return f"{two_digits(seconds / 3600)} h" if seconds > 3600 else f"{two_digits(seconds)} s"


def two_digits(value: float) -> str:
    """Return a number rounded to two digits, such as "0.39" or "2800"."""
    return f"{float(f'{value:.2g}'):g}"


def estimate(plan: Plan, *, measure: bool = True) -> Work:
    """Return the CPU time of all blocks of a plan.

    Parameters
    ----------
    plan
        The plan.
    measure
        Measure features that have no kept figures, for at most about a second. Nothing
        is compiled for it.

    Returns
    -------
    work
        The terms of the CPU time.
    """
    work = Work()
    for level, features in _levels(plan).items():
        part = _count(plan, level, features, figures_of(plan, level, features, measure=measure))
        where = part.where if work.where in ("", part.where) else f"{work.where} and {part.where}"
        work = Work(
            work.computing + part.computing,
            work.reading + part.reading,
            work.writing + part.writing,
            where,
        )
    if plan.paths and Manifest(plan.paths).content() is None:
        copied = UNWRAPPING * len(plan.axis.run) * plan.n_atoms
        work = replace(work, reading=work.reading + copied)
    return work


def learn(plan: Plan, part: float, results: Iterable[Mapping[str, Any]]) -> None:
    """Correct the figures of a plan by the CPU time of blocks that were computed.

    Parameters
    ----------
    plan
        The plan that was run.
    part
        Computed part of its rows.
    results
        Results of ``compute_block``.
    """
    spent = sum(result["cpu"] for result in results)
    hosts = sorted({str(result["host"]) for result in results})
    if spent < MIN_LEARNED or not hosts:
        return
    levels = _levels(plan)
    figures = {n: figures_of(plan, n, fs, measure=False) for n, fs in levels.items()}
    projected = sum(
        _count(plan, n, fs, replace(figures[n], factor=1.0)).total for n, fs in levels.items()
    )
    factor = spent / max(part * projected, 1e-9)
    where = hosts[0] + (f" and {len(hosts) - 1} more" if len(hosts) > 1 else "")
    for name, features in levels.items():
        learned = replace(figures[name], factor=factor, where=where)
        calibration.keep(_key(plan, name, features), learned)


def figures_of(plan: Plan, level: str, features: tuple[Feature, ...], *, measure: bool) -> Figures:
    """Return kept, measured or typical figures of the features of one level.

    Parameters
    ----------
    plan
        The plan.
    level
        "atom" or "frame", as ``Feature.level``.
    features
        Features of this level.
    measure
        Measure if nothing is kept and the kernels are compiled.
    """
    name = _key(plan, level, features)
    known = calibration.kept(name)
    if known is not None:
        return known
    figures = replace(TYPICAL, center=_typical_center(plan, level, features))
    if FeatureKinds.of(features).trajectories:
        return replace(figures, read=TRAJECTORY_READ, block=3 * TYPICAL.block)
    # an estimate must not stop a plan, whatever a feature does, nor take its memory
    reach = max((feature.reach for feature in features), default=0.0)
    n_neighbors = n_within(reach, density_of(plan))
    if measure and figures.center < MAX_MEASURED and n_neighbors < MAX_MEASURED_NEIGHBORS:
        with suppress(Exception):
            if calibration.compiled(features):
                figures = _measured(plan, features, figures)
                calibration.keep(name, figures)
    return figures


def _measured(plan: Plan, features: tuple[Feature, ...], typical: Figures) -> Figures:
    from mgdask.pipelines.featurize.sample import measure_framewise, measure_writing

    kinds = FeatureKinds.of(features)
    frame, center, read = measure_framewise(plan, kinds.framewise, typical.center)
    return replace(
        typical,
        frame=frame,
        center=center,
        read=read,
        write=_per_node("write", measure_writing),
        where=calibration.node(),
    )


def _per_node(name: str, measure: Callable[[], float]) -> float:
    """Return a speed of this node in s, measured once."""
    key = calibration.key((), *name.encode())
    known = calibration.kept(key)
    if known is None:
        known = replace(TYPICAL, write=measure(), where=calibration.node())
        calibration.keep(key, known)
    return known.write


def _typical_center(plan: Plan, level: str, features: tuple[Feature, ...]) -> float:
    """Return the typical CPU time per center of features that share Voronoi cells."""
    density = density_of(plan)
    cells = search_cost((VoronoiNeighbors(),), density)
    lists = [feature.neighbor_lists(1, 1) for feature in features]
    users = [near for near in lists if any(isinstance(kind, VoronoiNeighbors) for kind in near)]
    shared = cells * max(len(users) - 1, 0)
    total = sum(feature.cost_at(density) for feature in features)
    inner = dict.fromkeys(other for feature in features for other in feature.dependencies)
    n_centers = len(plan.centers)
    # values of a large frame are kept from block to block
    rows = n_centers if plan.n_atoms >= LARGE else min(plan.block_layout(level).rows, n_centers)
    around = n_atoms_around(plan.n_atoms, rows, NEIGHBORS) / rows
    return max(total - shared, 0.2 * total) + around * sum(f.cost_at(density) for f in inner)


def _levels(plan: Plan) -> dict[str, tuple[Feature, ...]]:
    names = dict.fromkeys(feature.level for feature in plan.features)
    return {n: tuple(f for f in plan.features if f.level == n) for n in names}


def _key(plan: Plan, level: str, features: tuple[Feature, ...]) -> str:
    """Return the name of the figures: features, and what else changes them by half."""
    rows = plan.block_layout(level).rows if any(f.dependencies for f in features) else 0
    density = round(float(np.log(density_of(plan)) / np.log(1.05)))
    size = round(float(np.log2(plan.n_atoms)))
    return calibration.key(features, density, size, rows, len(plan.centers) * 8 // plan.n_atoms)


def n_atoms_around(n_atoms: int, rows: int, outside: float) -> float:
    """Return the number of atoms outside a block that are neighbors of its atoms.

    Parameters
    ----------
    n_atoms
        Atoms of a frame.
    rows
        Atoms of the block.
    outside
        Mean number of neighbors of an atom that are outside, each counted again for
        every atom that it is a neighbor of.
    """
    others = n_atoms - rows
    return others * (1 - math.exp(-rows * outside / others)) if others > 0 else 0.0


def density_of(plan: Plan) -> float:
    """Return the number of atoms per Å³ in the first frame of a plan."""
    return _density(plan.store, plan.content, int(plan.frames[0]) if len(plan.frames) else 0)


@lru_cache(maxsize=64)
def _density(store: str, content: str, frame: int) -> float:
    group = open_group(store)
    volume = abs(float(np.linalg.det(np.asarray(read_array(group, "cell")[frame]))))
    n_atoms = len(read_array(group, "species"))
    return n_atoms / volume if volume > n_atoms else TYPICAL_DENSITY


def _count(plan: Plan, level: str, features: tuple[Feature, ...], figures: Figures) -> Work:
    """Return the CPU time of the blocks of one level."""
    cut = plan.block_layout(level)
    n_frames, n_centers = len(plan.frames), len(plan.centers)
    parts = ceil_div(n_centers, cut.rows) if level == "atom" else 1
    n_blocks = ceil_div(n_frames, cut.frames) * parts
    rows = n_centers if level == "atom" else 1
    written = n_frames * rows * sum(f.n_columns * f.output_dtype.itemsize for f in features)
    if FeatureKinds.of(features).trajectories:
        chunk = 1 if plan.paths else trajectory_layout(plan.n_atoms).chunk_atoms
        read = n_blocks * plan.needed * min(plan.n_atoms, max(min(cut.rows, n_centers), chunk))
        whole = 0
    else:
        read = parts * plan.n_atoms * _frames_read(plan, level, features)
        # cell lists of a large frame are kept from block to block
        whole = n_frames * plan.n_atoms * (1 if plan.n_atoms >= LARGE else parts)
    return Work(
        figures.factor * (whole * figures.frame + n_frames * n_centers * figures.center),
        figures.factor * (read * figures.read + n_blocks * figures.block + STARTING),
        figures.factor * written * figures.write,
        figures.where,
    )


def _frames_read(plan: Plan, level: str, features: tuple[Feature, ...]) -> int:
    """Return the frames that are decompressed, summed over blocks with the same atoms.

    A chunk holds several frames, which are decompressed together.
    """
    step, chunk = plan.block_layout(level).frames, trajectory_layout(plan.n_atoms).chunk_frames
    n_stored = len(plan.axis.run)
    total = 0
    for first in range(0, len(plan.frames), step):
        needed = frames_needed(features, plan.axis, plan.frames[first : first + step])
        total += sum(min(chunk, n_stored - k * chunk) for k in np.unique(needed // chunk).tolist())
    return total
