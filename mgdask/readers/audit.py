"""What is wrong, or worth saying, about a set of frames before any atom is read: repeated, broken, changing frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from mgdask.errors import AuditError
from mgdask.readers.frames import FrameRef

Repeated = Literal["last", "first", "all", "error"]
SHOWN = 5


def _some(refs: Sequence[FrameRef]) -> str:
    text = "; ".join(ref.where() for ref in refs[:SHOWN])
    return text + (f"; and {len(refs) - SHOWN} more" if len(refs) > SHOWN else "")


def drop_incomplete(refs: list[FrameRef], notes: list[str]) -> list[FrameRef]:
    """Frames that a dying run left unfinished go, and are named; the good ones stay."""
    for ref in refs:
        if not ref.complete:
            found = f"{ref.rows} whole rows of {ref.n_atoms}" if ref.n_atoms else "its header is unfinished"
            notes.append(f"truncated frame left out: {ref.where()}: {found}; the other frames are kept")
    good = [ref for ref in refs if ref.complete]
    if refs and not good:
        raise AuditError(
            f"{refs[0].path}: no frame is complete; {refs[0].where()} has {refs[0].rows} of {refs[0].n_atoms} rows"
        )
    return good


def drop_repeated(refs: list[FrameRef], repeated: Repeated, notes: list[str]) -> list[FrameRef]:
    """One frame for every time step of a run; what a restart wrote again is kept once, and said."""
    steps = [ref.step for ref in refs]
    if len(set(steps)) == len(steps) or repeated == "all":
        return refs
    keep: dict[int, int] = {}
    for k, step in enumerate(steps):
        if repeated != "first" or step not in keep:
            keep[step] = k
    kept = set(keep.values())
    dropped = [ref for k, ref in enumerate(refs) if k not in kept]
    if repeated == "error":
        raise AuditError(f"repeated time steps, and repeated='error': {_some(dropped)}")
    for path in dict.fromkeys(ref.path for ref in refs):
        of_file = [k for k, ref in enumerate(refs) if ref.path == path]
        if len(of_file) > 1 and not kept & set(of_file):
            raise AuditError(
                f"every time step of {path} comes again in another file: are these independent simulations? Then say so with "
                "run_per_file=True (--run-per-file). If it really is superseded, leave the file out"
            )
    notes.append(f"repeated time steps (a restart?): the {repeated} frame of each is kept; left out: {_some(dropped)}")
    return [ref for k, ref in enumerate(refs) if k in kept]


def check_headers(refs: Sequence[FrameRef], notes: list[str]) -> None:
    """Refuse what cannot be one trajectory: changing number of atoms, columns or boundaries; flat cells."""
    first = refs[0]
    for ref in refs:
        if ref.n_atoms != first.n_atoms:
            raise AuditError(
                f"the number of atoms changes from {first.n_atoms} to {ref.n_atoms} at {ref.where()}. One store holds one set "
                "of atoms: ingest the parts with equal numbers into stores of their own"
            )
        if set(ref.columns) != set(first.columns):
            raise AuditError(
                f"the columns change at {ref.where()}: {' '.join(ref.columns)} after {' '.join(first.columns)}; "
                "ingest files with other columns into a store of their own"
            )
        if ref.pbc != first.pbc:
            raise AuditError(f"the boundary flags change from {first.pbc} to {ref.pbc} at {ref.where()}")
        if (ref.units or first.units) != first.units:
            raise AuditError(f"the units change from {first.units} to {ref.units} at {ref.where()}")
        cell = ref.matrix
        edges = (
            np.diagonal(cell) if not np.tril(cell, -1).any() and not np.triu(cell, 1).any() else [np.linalg.det(cell)]
        )
        if not np.isfinite(cell).all() or min(edges) <= 0.0:
            raise AuditError(f"{ref.where()}: the cell has no positive volume: {cell.tolist()} Å")
    if not first.n_atoms:
        raise AuditError(f"{first.where()}: there are no atoms")


def note_spacing(refs: Sequence[FrameRef], notes: list[str], run: str) -> None:
    """Say where steps go backward or are unevenly spaced; both are kept as they are."""
    steps = np.array([ref.step for ref in refs])
    gaps = np.diff(steps)
    back = np.flatnonzero(gaps < 0)
    if len(back):
        notes.append(
            f"run {run}: time steps go backward {len(back)} times, kept in the order of the files: "
            + _some([refs[int(k) + 1] for k in back])
        )
    elif len(gaps) and (gaps != gaps[0]).any():
        odd = int(np.flatnonzero(gaps != gaps[0])[0])
        notes.append(
            f"run {run}: uneven spacing, kept: steps between frames are {gaps.min()} to {gaps.max()}, the first change at "
            f"{refs[odd + 1].where()}"
        )
