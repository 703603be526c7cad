"""Von Mises strain of atoms between frames of a sheared sample."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgdask._typing import FloatArray, IntArray, Periodic
from mgdask.errors import ParameterError
from mgdask.execution.client import resolve_client
from mgdask.execution.executor import execute
from mgdask.features.nonaffine import NonAffine, nearest_path
from mgdask.store.open import check_complete, unchanged
from mgdask.store.shards import read_array
from mgdask.store.source_checks import check_source
from mgdask.store.trajectory import read_window
from mgdask.store.trust import trusting
from mgdask.studies.barcode.records import Record

if TYPE_CHECKING:
    from mgdask.cluster.client import Client

EDGES = np.linspace(0.0, 1.0, 201)
"""Edges of the bins of the strain. Larger strains count in the last bin."""
CUTOFF = 4.5
ATOMS_PER_TASK = 50_000
"""Number of atoms of one task, summed over its pairs of frames."""
NOTE = (
    "Strain of atoms between two inherent structures of steady flow, from the neighbors within the "
    "cutoff (Shimizu, Ogata, Li, Mater. Trans. 48, 2923 (2007)). Liu C. et al. show the strain of "
    "whole samples but state neither the reference nor the cutoff. Only the order of the samples "
    "can therefore be compared with theirs. Samples at rest have no such strain: the frames of a "
    "cooling differ by thermal motion and diffusion."
)
"""What can be compared with the paper, in words."""


@dataclass(frozen=True, eq=False)
class StrainSpread(Record):
    """Spread of the von Mises strain over the atoms of a driven sample.

    Parameters
    ----------
    name
        Name of the store.
    lag
        Number of frames between the two configurations.
    cutoff
        Cutoff distance of the neighbors in Å.
    applied
        Von Mises strain of the cell (pair,).
    mean, std
        Mean and standard deviation over atoms (pair,).
    relative
        ``std`` divided by ``mean`` (pair,): 0 for a uniform deformation.
    above
        Fraction of the atoms above twice the mean (pair,).
    edges, density
        Histogram over all pairs: edges (bin+1,), and density (bin,) per unit of strain.
    n_undefined
        Number of atoms without enough neighbors, over all pairs.
    note
        What can be compared with the paper.
    """

    name: str
    lag: int
    cutoff: float
    applied: FloatArray
    mean: FloatArray
    std: FloatArray
    relative: FloatArray
    above: FloatArray
    edges: FloatArray
    density: FloatArray
    n_undefined: int
    note: str = NOTE


@dataclass(frozen=True)
class _Strains:
    """Result of a task: rows (pair, 5), counts of the bins, undefined atoms."""

    rows: FloatArray
    counts: IntArray
    n_undefined: int


def strain_spread(
    store: str | Path,
    *,
    lag: int = 1,
    cutoff: float = CUTOFF,
    trust: bool = False,
    client: Client | None = None,
    progress: bool = True,
) -> StrainSpread:
    """Compute the spread of the von Mises strain over atoms, frame by frame.

    Parameters
    ----------
    store
        A trajectory store of one sheared run, in order of increasing strain.
    lag
        Number of frames between the two configurations of a pair.
    cutoff
        Cutoff distance of the neighbors in Å.
    trust
        Read the trajectory without comparing its files with their records.
    client
        Dask client. Default: the current one, or a temporary one in this process.
    progress
        Show a bar on a terminal, or one log line per minute.

    Returns
    -------
    spread
        Numbers of each pair of frames, and one histogram.

    Raises
    ------
    ParameterError
        If there are too few frames, or a cell jumps by more than a flip.

    Notes
    -----
    LAMMPS replaces a strongly tilted cell by an equivalent one (a flip). Flips are
    undone, so that each cell continues that of the previous frame. Atoms are then
    unwrapped from frame to frame with ``nearest_path``. This is valid if no atom moves
    by half the cell relative to it between successive frames.

    Examples
    --------
    >>> strain_spread("shear_300.zarr").relative.mean()  # doctest: +SKIP
    """
    _, content = check_complete(store, kind="trajectory")
    group, _ = check_complete(store, kind="trajectory")
    n_frames, n_atoms = len(read_array(group, "step")), len(read_array(group, "species"))
    if lag < 1 or lag >= n_frames:
        raise ParameterError(
            f"lag={lag} must be from 1 to {n_frames - 1}, since {store} has {n_frames} frames"
        )
    run = [str(label) for label in read_array(group, "run")]
    starts = np.array([t for t in range(n_frames - lag) if run[t] == run[t + lag]], dtype=np.int64)
    if not len(starts):
        raise ParameterError(
            f"{store}: no two frames of one run are {lag} frames apart; give a smaller lag"
        )
    per_task = max(1, ATOMS_PER_TASK // n_atoms)
    tasks = [
        (f"pairs from frame {part[0]}", (str(store), tuple(part), lag, cutoff))
        for part in (starts[k : k + per_task].tolist() for k in range(0, len(starts), per_task))
    ]
    with trusting(trust), unchanged(store, content), ExitStack() as stack:
        check_source(store, ("position",), np.arange(n_frames))
        workers = stack.enter_context(resolve_client(client))
        outcome = execute(workers, _strains, tasks, what="strain", unit="tasks", progress=progress)
    parts = [outcome.results[name] for name, _ in tasks]
    rows = np.concatenate([part.rows for part in parts])
    counts = np.sum([part.counts for part in parts], axis=0)
    applied, mean, std, relative, above = rows.T
    return StrainSpread(
        name=Path(store).stem,
        lag=lag,
        cutoff=cutoff,
        applied=applied,
        mean=mean,
        std=std,
        relative=relative,
        above=above,
        edges=EDGES,
        density=counts / max(counts.sum(), 1) / np.diff(EDGES),
        n_undefined=sum(part.n_undefined for part in parts),
    )


def _strains(store: str, starts: tuple[int, ...], lag: int, cutoff: float) -> _Strains:
    """Task: strain of all atoms between pairs of frames."""
    group, _ = check_complete(store, kind="trajectory")
    numbers, pbc = read_array(group, "species"), read_array(group, "pbc")
    rows, counts, n_undefined = [], np.zeros(len(EDGES) - 1, dtype=np.int64), 0
    for start in starts:
        position, cell = read_window(store, np.arange(start, start + lag + 1))
        path, cells = continued(position, cell, pbc)
        shear = von_mises(path[0], path[-1], cells[0], cells[-1], numbers, pbc, cutoff)
        known = shear[np.isfinite(shear)]
        n_undefined += len(shear) - len(known)
        mean, std = float(known.mean()), float(known.std())
        applied = shear_of(np.linalg.solve(cells[0], cells[-1]))
        rows.append([applied, mean, std, std / mean, float((known > 2.0 * mean).mean())])
        counts += np.histogram(np.minimum(known, EDGES[-1]), EDGES)[0]
    return _Strains(np.array(rows), counts, n_undefined)


def continued(
    position: FloatArray, cell: FloatArray, pbc: Periodic
) -> tuple[FloatArray, FloatArray]:
    """Return paths and cells of successive frames without flips.

    Parameters
    ----------
    position
        Positions (frame, atom, 3) in Å.
    cell
        Cell vectors (frame, 3, 3) in Å, one per row.
    pbc
        Whether each cell vector repeats.

    Returns
    -------
    path, cells
        Positions that continue those of the frame before, and equivalent cells that do.

    Raises
    ------
    ParameterError
        If a cell is not close to an equivalent of the one before.
    """
    path, cells = np.array(position, dtype=np.float64), np.array(cell, dtype=np.float64)
    for t in range(1, len(path)):
        change = cells[t] @ np.linalg.inv(cells[t - 1])
        whole = np.rint(change)
        if abs(abs(np.linalg.det(whole)) - 1.0) > 1e-6:
            raise ParameterError(
                f"frame {t} of the pair has the cell {cells[t].round(3).tolist()}, which does not "
                f"continue {cells[t - 1].round(3).tolist()}: their ratio is "
                f"{change.round(3).tolist()}. Give frames with less strain between them"
            )
        cells[t] = np.linalg.solve(whole, cells[t])
        path[t] = nearest_path(path[t - 1], path[t], cells[t - 1], cells[t], pbc)
    return path, cells


def von_mises(
    reference: FloatArray,
    current: FloatArray,
    reference_cell: FloatArray,
    current_cell: FloatArray,
    numbers: IntArray,
    pbc: Periodic = (True, True, True),
    cutoff: float = CUTOFF,
) -> FloatArray:
    """Compute the von Mises shear strain of every atom.

    Parameters
    ----------
    reference, current
        Unwrapped positions (atom, 3) in Å.
    reference_cell, current_cell
        Cell vectors (3, 3) in Å, one per row.
    numbers
        Atomic numbers (atom,).
    pbc
        Whether each cell vector repeats.
    cutoff
        Cutoff distance of the neighbors in the reference in Å.

    Returns
    -------
    strain
        Shape (atom,). NaN for atoms with too few neighbors.
    """
    feature = NonAffine(cutoff=cutoff, quantities=("shear",))
    values: FloatArray = feature.compute(
        reference, current, reference_cell, current_cell, numbers, pbc=list(pbc)
    )[:, 0]
    return values


def shear_of(gradient: FloatArray) -> float:
    """Return the von Mises shear strain of a deformation gradient.

    Parameters
    ----------
    gradient
        Matrix (3, 3) that maps rows of the reference onto rows of the current frame.

    Examples
    --------
    >>> round(shear_of(np.array([[1.0, 0, 0], [0.02, 1, 0], [0, 0, 1]])), 6)
    0.010001
    """
    strain = 0.5 * (gradient @ gradient.T - np.eye(3))
    xx, yy, zz = np.diag(strain)
    off = strain[0, 1] ** 2 + strain[0, 2] ** 2 + strain[1, 2] ** 2
    return float(np.sqrt(off + ((xx - yy) ** 2 + (yy - zz) ** 2 + (zz - xx) ** 2) / 6.0))


__all__ = ["StrainSpread", "continued", "shear_of", "strain_spread", "von_mises"]
