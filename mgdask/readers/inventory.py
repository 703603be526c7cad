"""The inventory of a set of files: its frames, atoms and how to read them.

``indexing.take_inventory`` makes an inventory from all headers and the first frame.
``window.read_window`` reads frames of it, in any process.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray
from mgdask.errors import ParameterError
from mgdask.readers import coordinates
from mgdask.readers.files import cut_points, printable
from mgdask.readers.frames import Identity, Layout
from mgdask.readers.records import FrameRef, SourceInfo
from mgdask.readers.species import SpeciesMap
from mgdask.readers.units import UnitStyle, unit_style


@dataclass(frozen=True)
class Inventory:
    """Audited frames of a set of files, in order, and how to read them.

    An inventory can be pickled, and a ``window`` of it is small. Frames are numbered
    from ``first``, so frames of a window keep their numbers. ``time`` (frame,) is in
    ps, or None if it is unknown. ``run`` is the label of each frame. ``variables`` maps
    each further variable to its dtype, its unit, and whether it has one value per atom.
    """

    refs: tuple[FrameRef, ...]
    sources: tuple[SourceInfo, ...]
    run: tuple[str, ...]
    time: FloatArray | None
    layout: Layout
    species_map: SpeciesMap
    units: str
    variables: Mapping[str, tuple[str, str, bool]]
    notes: tuple[str, ...]
    options: Mapping[str, Any]
    _identity: bytes
    first: int = 0

    @property
    def n_frames(self) -> int:
        """Number of frames of this inventory or window."""
        return len(self.refs)

    @property
    def n_atoms(self) -> int:
        """Number of atoms, the same in every frame."""
        return self.refs[0].n_atoms

    @property
    def step(self) -> npt.NDArray[np.int64]:
        """Timesteps as written in the files."""
        return np.array([ref.step for ref in self.refs], dtype=np.int64)

    @property
    def cell(self) -> FloatArray:
        """Cell vectors of every frame in Å."""
        return np.array([ref.cell for ref in self.refs]) * self.style.length

    @property
    def origin(self) -> FloatArray:
        """Lower corner of the cell of every frame in Å."""
        return np.array([ref.origin for ref in self.refs]) * self.style.length

    @property
    def pbc(self) -> tuple[bool, bool, bool]:
        """Whether the cell repeats along each vector."""
        return self.refs[0].pbc

    @property
    def style(self) -> UnitStyle:
        """Unit style of the files."""
        return unit_style(self.units)

    @property
    def who(self) -> Identity:
        """Ids, species and masses of the atoms."""
        return unpack_identity(self._identity)

    @property
    def atom_id(self) -> npt.NDArray[np.int64]:
        """Atom ids in ascending order."""
        return self.who.atom_id

    @property
    def species(self) -> npt.NDArray[np.int32]:
        """Atomic numbers."""
        return self.who.species

    @property
    def mass(self) -> FloatArray:
        """Masses in u."""
        return self.who.mass

    @property
    def values(self) -> dict[str, FloatArray]:
        """Further variables with one value per frame, such as an energy: (frame,)."""
        return {
            variable: np.array([ref.values[name] for ref in self.refs])
            for name, variable in self.layout.scalar_variables
        }

    @property
    def image_scheme(self) -> str:
        """Description of where the images come from."""
        return coordinates.scheme(self.layout.kind, self.layout.images)

    @property
    def needs_image_pass(self) -> bool:
        """Whether images must be derived from successive frames of each run."""
        return self.image_scheme == coordinates.DERIVED

    @property
    def parallel(self) -> str:
        """How files can be read: "range", or "stream" if one has no random access.

        To read a window of a stream, everything before the window is read too.
        """
        return "stream" if any(source.parallel == "stream" for source in self.sources) else "range"

    def window(self, start: int, stop: int) -> Inventory:
        """Return frames ``start`` to ``stop`` with only what is needed to read them.

        Such a window is small enough to be sent to a task.
        """
        if not self.first <= start < stop <= self.first + self.n_frames:
            raise ParameterError(
                f"window {start} to {stop} is not within frames {self.first} to "
                f"{self.first + self.n_frames}"
            )
        kept = slice(start - self.first, stop - self.first)
        refs = self.refs[kept]
        used = {ref.path for ref in refs}
        sources: list[SourceInfo] = []
        for source in self.sources:
            if source.path in used:
                if source.seek is not None:
                    own_refs = [ref for ref in refs if ref.path == source.path]
                    low = min(ref.offset for ref in own_refs)
                    high = max(ref.offset + ref.length for ref in own_refs)
                    source = replace(source, seek=cut_points(source.seek, low, high))
                sources.append(source)
        time = None if self.time is None else self.time[kept]
        return replace(
            self,
            refs=refs,
            sources=tuple(sources),
            run=self.run[kept],
            time=time,
            notes=(),
            options={},
            first=start,
        )

    def source_of(self, path: str) -> SourceInfo:
        """Return the file at ``path``."""
        return next(source for source in self.sources if source.path == path)

    def sources_table(self) -> list[dict[str, Any]]:
        """Return name, kind, size and fingerprint of every file, for ``attrs``.

        Folders and times are left out, so the table does not depend on the machine.
        """
        return [
            {
                "name": printable(PurePath(s.path).name),
                "kind": s.kind,
                "bytes": s.size,
                "sha256_ends": s.fingerprint,
            }
            for s in self.sources
        ]

    def digest(self) -> str:
        """Return the SHA-256 of files, frames, atoms and options.

        It is equal only for inventories that give equal stores.
        """
        numbers = {source.path: k for k, source in enumerate(self.sources)}
        head = [
            [
                numbers[ref.path],
                ref.ordinal,
                ref.step,
                ref.start,
                ref.length,
                ref.cell.tolist(),
                ref.origin.tolist(),
            ]
            for ref in self.refs
        ]
        text = json.dumps(
            [self.sources_table(), head, self.run, self.options, self.units, self.layout.needed],
            sort_keys=True,
        )
        digest = hashlib.sha256(text.encode())
        digest.update(zlib.decompress(self._identity))
        return digest.hexdigest()


def pack_identity(who: Identity) -> bytes:
    """Compress the three arrays; ids are stored as differences, which compress best."""
    steps = np.diff(who.atom_id, prepend=0)
    return zlib.compress(steps.tobytes() + who.mass.tobytes() + who.species.tobytes(), 1)


def unpack_identity(data: bytes) -> Identity:
    """Restore the arrays that ``pack_identity`` compressed."""
    raw = zlib.decompress(data)
    n = len(raw) // 20
    steps = np.frombuffer(raw, dtype=np.int64, count=n)
    mass = np.frombuffer(raw, dtype=np.float64, count=n, offset=8 * n)
    return Identity(
        np.cumsum(steps), np.frombuffer(raw, dtype=np.int32, count=n, offset=16 * n), mass
    )
