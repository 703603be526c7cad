"""Frames and atoms from which the entries of a dictionary come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.elements import symbol
from mgdask.errors import MgdaskError, StoreError
from mgdask.features.environments import SmallFacets
from mgdask.store.open import check_complete
from mgdask.store.shards import read_array
from mgdask.store.source_checks import check_source
from mgdask.store.trajectory import read_window
from mgdask.studies.barcode.elements import Origin
from mgdask.studies.barcode.export import RADIUS, Environment, environment
from mgdask.studies.barcode.polyhedra import Polyhedron, kernel_polyhedra


class Source(Protocol):
    """A sample from which a dictionary was built."""

    @property
    def path(self) -> str:
        """Trajectory store, as it was given."""

    @property
    def content(self) -> str:
        """Digest of its content."""


class Entries(Protocol):
    """Interface of ``mgdask.store.dictionaries.Dictionary`` that is used here."""

    @property
    def path(self) -> str:
        """The dictionary."""

    @property
    def species(self) -> IntArray:
        """Atomic number (entry,) of the central atom."""

    @property
    def source(self) -> IntArray:
        """Sample (entry,), an index of ``sources``."""

    @property
    def frame(self) -> IntArray:
        """Frame (entry,)."""

    @property
    def atom_id(self) -> IntArray:
        """Id of the atom (entry,)."""

    @property
    def sources(self) -> Sequence[Source]:
        """Samples that were read."""


@dataclass(frozen=True, eq=False)
class EntryFrame:
    """The frame that holds the atom of an entry.

    Parameters
    ----------
    origin
        Store, frame and atom.
    row
        Index of the atom.
    position
        Positions (atom, 3) in Å.
    cell
        Cell vectors (3, 3) in Å, one per row.
    numbers, atom_id
        Atomic numbers and ids (atom,).
    pbc
        Whether each cell vector repeats.
    """

    origin: Origin
    row: int
    position: FloatArray
    cell: FloatArray
    numbers: IntArray
    atom_id: IntArray
    pbc: BoolArray

    def polyhedron(self, small_facets: SmallFacets = "static") -> Polyhedron:
        """Return the Voronoi polyhedron of the atom.

        Parameters
        ----------
        small_facets
            Which small facets are dropped, as in ``mgdask.Interstice``.
        """
        return kernel_polyhedra(
            self.position, self.cell, self.numbers, [self.row], self.pbc, small_facets
        )[0]

    def environment(
        self, radius: float = RADIUS, small_facets: SmallFacets = "static"
    ) -> Environment:
        """Return the atoms around the atom.

        Parameters
        ----------
        radius
            Radius in Å.
        small_facets
            Which small facets are dropped, as in ``mgdask.Interstice``.
        """
        return environment(
            self.position,
            self.cell,
            self.numbers,
            self.row,
            self.pbc,
            radius=radius,
            atom_id=self.atom_id,
            small_facets=small_facets,
        )


def entry_frames(
    dictionary: Entries, entries: npt.ArrayLike, stores: Sequence[str | Path] = ()
) -> tuple[EntryFrame, ...]:
    """Read the frames from which entries come.

    Parameters
    ----------
    dictionary
        The dictionary.
    entries
        Entries (element,).
    stores
        Stores to search if one has moved since the dictionary was built. They are
        identified by the digest of their content.

    Returns
    -------
    frames
        One per entry. Entries of one frame share its arrays.

    Raises
    ------
    StoreError
        If a store is not found, has changed, or is damaged.
    """
    chosen = np.asarray(entries, dtype=np.int64).reshape(-1)
    atoms: dict[int, _Atoms] = {}
    read: dict[tuple[int, int], tuple[FloatArray, FloatArray]] = {}
    found = []
    for entry in chosen.tolist():
        source, frame = int(dictionary.source[entry]), int(dictionary.frame[entry])
        if source not in atoms:
            atoms[source] = _atoms(_located(dictionary, source, stores))
        own = atoms[source]
        if (source, frame) not in read:
            check_source(own.path, ("position",), np.array([frame]))
            position, cell = read_window(own.path, np.array([frame]))
            read[source, frame] = position[0], cell[0]
        position, cell = read[source, frame]
        atom_id = int(dictionary.atom_id[entry])
        found.append(
            EntryFrame(
                Origin(Path(own.path).stem, frame, atom_id, symbol(int(dictionary.species[entry]))),
                int(np.flatnonzero(own.atom_id == atom_id)[0]),
                position,
                cell,
                own.numbers,
                own.atom_id,
                own.pbc,
            )
        )
    return tuple(found)


class _Atoms(NamedTuple):
    """What all frames of a store share."""

    path: str
    atom_id: IntArray
    numbers: IntArray
    pbc: BoolArray


def _atoms(path: str) -> _Atoms:
    group, _ = check_complete(path, kind="trajectory")
    return _Atoms(
        path,
        read_array(group, "atom_id").astype(np.int64),
        read_array(group, "species").astype(np.int64),
        read_array(group, "pbc"),
    )


def _located(dictionary: Entries, source: int, stores: Sequence[str | Path]) -> str:
    """Path of a sample of a dictionary, whose content must be the recorded one."""
    about = dictionary.sources[source]
    reasons = []
    for path in (about.path, *map(str, stores)):
        try:
            _, content = check_complete(path, kind="trajectory")
        except MgdaskError as error:
            reasons.append(f"{path}: {error}")
            continue
        if content == about.content:
            return path
        reasons.append(f"{path} has different content")
    raise StoreError(
        f"{dictionary.path}: sample {source}, {about.path}, from which entries come, is not found "
        f"as it was when the dictionary was built. {'; '.join(reasons)}. Restore it, or build the "
        "dictionary again"
    )
