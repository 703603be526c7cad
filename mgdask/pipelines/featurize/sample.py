"""Measuring what features cost: a piece of one frame of a store is computed.

The piece has the density and the species of the store, and repeats periodically. So an
atom has as many neighbors in it as in the store, for any cutoff.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mgdask._typing import IntArray
from mgdask.execution.executor import one_library_thread
from mgdask.features.engine import FeatureKinds, compute_window, frames_needed
from mgdask.features.environments import KEPT_VALUES, LARGE, LocalEnvironments, spans
from mgdask.features.feature import Feature, FrameFeature, WindowFeature
from mgdask.features.window import Window
from mgdask.interruption import removed_when_stopped
from mgdask.pipelines.featurize.block import StoreSource
from mgdask.pipelines.featurize.cost import n_atoms_around
from mgdask.store.layout import trajectory_layout
from mgdask.store.shards import FEATURE_COMPRESSION, new_array, new_group, write_shard

if TYPE_CHECKING:
    from mgdask.pipelines.featurize.plan import Plan

MAX_PIECE = 16_000
"""Maximum number of atoms of a piece. A larger frame would be kept by its thread."""
MIN_PIECE = 500
"""Minimum number of atoms of a piece."""
AIM = 0.15
"""CPU time in s after which a sample is large enough."""
OPENING = 5e-3
"""CPU time in s to open the arrays of a store, which a block pays once."""
CHUNK_ROWS = 650
"""Rows of 800 bytes in a chunk that is written to measure the speed of writing."""

Described = FrameFeature | WindowFeature


def measure_framewise(
    plan: Plan, features: Sequence[Described], typical: float
) -> tuple[float, float, float]:
    """Measure features of frames on a piece of a frame of the plan.

    Parameters
    ----------
    plan
        The plan.
    features
        Features of one level, which are computed together.
    typical
        Expected CPU time per central atom in s, which decides the size of the piece.

    Returns
    -------
    frame, center, read
        As in ``Figures``.
    """
    for feature in features:
        feature.prepare()
    frame = int(plan.frames[len(plan.frames) // 2])
    source = StoreSource(plan.store, plan.paths or plan.store)
    needed = frames_needed(features, source.axis, [frame])
    windows = bool(FeatureKinds.of(features).windows)
    began = time.process_time()
    window = source.read_window(needed, images=windows)
    spent = time.process_time() - began - OPENING
    chunk = trajectory_layout(plan.n_atoms).chunk_frames
    n_frames = len(np.unique(needed // chunk)) * min(chunk, len(source.axis.run))
    read = max(spent / (plan.n_atoms * n_frames), 5e-9)
    derived = [feature for feature in features if feature.dependencies]
    size = int(np.clip(4 * AIM / max(typical, 1e-9), MIN_PIECE, MAX_PIECE))
    piece, atoms = carve(window, size)
    own = np.flatnonzero(np.isin(atoms, plan.centers))
    centers = np.random.default_rng(0).permutation(own if len(own) else len(atoms)).astype(np.int64)

    def spend(some: Sequence[Described]) -> Callable[[IntArray], float]:
        return lambda rows: _seconds(some, piece, frame, rows)

    with one_library_thread():
        per_frame = repeated(spend(features), centers[:0])
        if derived:
            center = (repeated(spend(features), np.arange(len(atoms))) - per_frame) / len(atoms)
            halo = _halo(plan, derived, piece, atoms, centers[:200])
            if halo > 0:
                inner = list(dict.fromkeys(d for f in derived for d in f.dependencies))
                center += halo * per_center(spend(inner), centers, 0.0)
        else:
            center = per_center(spend(features), centers, per_frame)
    return max(per_frame, 0.0) / len(atoms), max(center, 0.0), read


def per_center(spend: Callable[[IntArray], float], centers: IntArray, at_rest: float) -> float:
    """Return the CPU time per central atom in s, from samples of growing size.

    Parameters
    ----------
    spend
        Computes some central atoms and returns the CPU time in s.
    centers
        Central atoms in random order.
    at_rest
        CPU time in s without any central atom.

    Returns
    -------
    Seconds.
    """
    n = 1
    while True:
        spent = spend(np.sort(centers[:n])) - at_rest
        if n == len(centers) or spent > AIM / 4:
            return (repeated(spend, np.sort(centers[-n:]), spent + at_rest) - at_rest) / n
        n = min(len(centers), max(2 * n, int(n * AIM / max(spent, 1e-4))))


def repeated(
    spend: Callable[[IntArray], float], centers: IntArray, first: float | None = None
) -> float:
    """Return the CPU time in s of some atoms: median of three, or one if it is long.

    Parameters
    ----------
    spend
        As in ``per_center``.
    centers
        Central atoms.
    first
        CPU time of as many other atoms, if it is known.
    """
    known = spend(centers) if first is None else first
    return known if known > AIM else float(np.median([known, spend(centers), spend(centers)]))


def _seconds(features: Sequence[Described], window: Window, frame: int, centers: IntArray) -> float:
    began = time.thread_time()
    compute_window(features, window, [frame], centers)
    return time.thread_time() - began


def carve(window: Window, size: int) -> tuple[Window, IntArray]:
    """Return a piece of a window with about ``size`` atoms, and the indices of these.

    Directions that do not repeat are not cut. All frames keep the same atoms.
    """
    position, cell = window.position[0], window.cell[0]
    n_atoms = len(position)
    cut = np.array(window.pbc)
    if n_atoms <= size or not cut.any():
        return window, np.arange(n_atoms)
    part = np.where(cut, (size / n_atoms) ** (1 / cut.sum()), 1.0)
    place = position @ np.linalg.inv(cell)
    place -= np.floor(place)
    inside = ((place < part) | ~cut).all(axis=1)
    atoms = np.flatnonzero(inside)
    if not size / 4 < len(atoms) < 4 * size:  # voids: take the atoms as they come
        return window, np.arange(n_atoms)
    piece = replace(
        window,
        position=np.ascontiguousarray(window.position[:, atoms]),
        image=None if window.image is None else np.ascontiguousarray(window.image[:, atoms]),
        cell=window.cell * part[None, :, None],
        numbers=window.numbers[atoms],
    )
    return piece, atoms


def _halo(
    plan: Plan, derived: Sequence[Feature], piece: Window, atoms: IntArray, sample: IntArray
) -> float:
    """Return the atoms around a block whose values are needed, per central atom."""
    rows = plan.block_layout("atom").rows
    n_blocks = -(-len(plan.centers) // rows)
    row_bytes = max(d.n_columns * d.output_dtype.itemsize for f in derived for d in f.dependencies)
    others = plan.n_atoms - len(plan.centers)
    keeps = plan.n_atoms >= LARGE and plan.n_atoms * row_bytes <= KEPT_VALUES
    if n_blocks == 1 or keeps:
        if not others:
            return 0.0
        rows = len(plan.centers)
    place = np.full(plan.n_atoms, -1)
    place[plan.centers] = np.arange(len(plan.centers)) // rows
    environments = LocalEnvironments(
        piece.position[0], piece.cell[0], piece.numbers, piece.pbc, sample
    )
    outside = 0.0
    for kind in {kind for feature in derived for kind in feature.neighborhood}:
        near = environments.bonds(kind, sample)
        center = np.repeat(sample, near.last - near.first)
        other = near.row[spans(near.first, near.last)]
        away = place[atoms[center]] != place[atoms[other]]
        outside = max(outside, float(away.sum()) / max(len(sample), 1))
    return n_atoms_around(plan.n_atoms, rows, outside) / rows


def measure_writing() -> float:
    """Return the CPU time in s to compress, check and write one byte of numbers."""
    values = np.random.default_rng(0).normal(size=(1, 32 * CHUNK_ROWS, 100))
    spent = []
    with (
        tempfile.TemporaryDirectory(prefix="mgdask-") as name,
        removed_when_stopped(lambda: shutil.rmtree(name, ignore_errors=True)),
    ):
        group = new_group(f"{name}/speed.zarr", {}, overwrite=False)
        # the first one is small and loads what is needed
        written = {"first": values[:, :CHUNK_ROWS], "a": values, "b": values, "c": values}
        for title, part in written.items():
            new_array(
                group,
                title,
                ("frame", "atom", "column"),
                part.shape,
                part.dtype,
                chunks=(1, CHUNK_ROWS, 100),
                shards=part.shape,
                compression=FEATURE_COMPRESSION,
            )
            began = time.process_time()
            write_shard(group, title, (0, 0, 0), part)
            spent.append(time.process_time() - began)
    return float(np.median(spent[1:]) / values.nbytes)
