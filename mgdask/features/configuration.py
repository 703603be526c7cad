"""One configuration in memory, read from objects of other programs.

Objects are recognized by their attributes. No other program is imported, so that none
needs to be installed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.elements import SYMBOLS, atomic_number
from mgdask.errors import ParameterError

ConfigurationLike: TypeAlias = object
"""An object that ``as_configuration`` reads."""
READ = (
    "ASE Atoms, a pymatgen Structure or Molecule, an OVITO DataCollection, an MDAnalysis "
    "AtomGroup or Universe, or one frame of a Dataset from mgdask.open_store"
)
"""What ``as_configuration`` reads, in words."""
NOT_PERIODIC = (False, False, False)


class Configuration(NamedTuple):
    """Atoms of one frame, as features read them.

    Parameters
    ----------
    position
        Positions (atom, 3) in Å.
    cell
        Cell vectors (3, 3) in Å, one per row. Zero for axes that do not repeat.
    numbers
        Atomic numbers (atom,).
    pbc
        Whether each cell vector repeats.
    ids
        Numbers (atom,) that identify the atoms, if the object has them.
    centers
        Indices of central atoms, if the object stands for some atoms of a frame.
    """

    position: FloatArray
    cell: FloatArray
    numbers: IntArray
    pbc: tuple[bool, bool, bool]
    ids: IntArray | None = None
    centers: IntArray | None = None


def as_configuration(obj: ConfigurationLike) -> Configuration:
    """Read atoms of another program by the attributes of the object.

    Parameters
    ----------
    obj
        ASE ``Atoms``, a pymatgen ``Structure`` or ``Molecule``, an OVITO
        ``DataCollection``, an MDAnalysis ``AtomGroup`` or ``Universe``, one frame of a
        Dataset from ``mgdask.open_store``, or a ``Configuration``.

    Returns
    -------
    Configuration
        Positions, cell, atomic numbers and periodicity. A part of an MDAnalysis
        universe gives all its atoms, with the part as ``centers``.

    Raises
    ------
    ParameterError
        If the object is none of these, or the elements of its atoms are not known.

    Notes
    -----
    MDAnalysis keeps positions and cells in single precision. Values computed from them
    differ in their last digits from those of the same file read by ``ingest``.

    Examples
    --------
    >>> from ase.build import bulk
    >>> as_configuration(bulk("Cu", cubic=True)).numbers.tolist()
    [29, 29, 29, 29]
    """
    if isinstance(obj, Configuration):
        return obj
    for recognized, read in _READERS:
        if all(_has(obj, name) for name in recognized):
            return read(obj)
    kind = f"{type(obj).__module__}.{type(obj).__qualname__}".removeprefix("builtins.")
    raise ParameterError(
        f"an object of type {kind} cannot be read as a configuration; give {READ}. Arrays are "
        "given as position, cell and numbers"
    )


def _has(obj: Any, name: str) -> bool:
    """Return whether the class has the attribute, without asking for its value."""
    return hasattr(type(obj), name) or name in getattr(obj, "__dict__", ())


def _dataset(obj: Any) -> Configuration:
    """Read one frame of an xarray Dataset."""
    for name in ("position", "cell", "species"):
        if name not in obj.variables:
            raise ParameterError(
                f"the Dataset has no {name}; a configuration needs position, cell and species, as "
                "from mgdask.open_store"
            )
    n_frames = obj.sizes.get("frame", 1)
    if n_frames != 1:
        raise ParameterError(
            f"the Dataset has {n_frames} frames, but a configuration is one frame; select it with "
            "ds.isel(frame=0), or compute all frames with mgdask.featurize"
        )
    n_atoms = obj.sizes["atom"]
    opened = obj.attrs.get("mgdask_opened")
    stored = int(json.loads(opened)["n_atoms"]) if opened else n_atoms
    if n_atoms < stored:
        raise ParameterError(
            f"the Dataset has {n_atoms} of the {stored} atoms of its store, so that neighbors "
            "would be missing; give all atoms of the frame, and those to compute as centers="
        )
    frame = obj.isel(frame=0) if "frame" in obj.sizes else obj
    pbc = frame["pbc"].values if "pbc" in frame.variables else (True, True, True)
    return Configuration(
        np.asarray(frame["position"].transpose("atom", "xyz").values, dtype=np.float64),
        np.asarray(frame["cell"].transpose("vector", "xyz").values, dtype=np.float64),
        np.asarray(frame["species"].values, dtype=np.int64),
        _three(pbc),
        _ids(frame["atom_id"].values) if "atom_id" in frame.variables else None,
    )


def _mdanalysis(obj: Any) -> Configuration:
    """Read an MDAnalysis AtomGroup or Universe at its current time."""
    universe = obj.universe
    atoms = universe.atoms
    elements = getattr(atoms, "elements", None)
    if elements is None:
        raise ParameterError(
            "the MDAnalysis universe has no elements; add them, for example with "
            "universe.add_TopologyAttr('elements', ['Cu', 'Zr', ...]), one per atom"
        )
    box = universe.trajectory.ts.triclinic_dimensions
    rows = np.asarray(obj.atoms.ix, dtype=np.int64)
    whole = len(rows) == len(atoms) and bool((rows == np.arange(len(rows))).all())
    return Configuration(
        np.asarray(atoms.positions, dtype=np.float64),
        np.zeros((3, 3)) if box is None else np.asarray(box, dtype=np.float64),
        _numbers(elements, "element"),
        NOT_PERIODIC if box is None else (True, True, True),
        _ids(getattr(atoms, "ids", None)),
        None if whole else rows,
    )


def _ovito(obj: Any) -> Configuration:
    """Read an OVITO DataCollection."""
    particles, cell = obj.particles, obj.cell
    if particles is None or "Particle Type" not in particles:
        missing = "particles" if particles is None else "particle types"
        raise ParameterError(
            f"the OVITO DataCollection has no {missing}; a configuration needs positions, and "
            "types that are named by elements"
        )
    types = particles.particle_types
    names = {int(kind.id): str(kind.name) for kind in types.types}
    codes, slot = np.unique(np.asarray(types[...]), return_inverse=True)
    numbers = []
    for code in codes.tolist():
        name = names.get(code, "")
        if name not in SYMBOLS[1:]:
            raise ParameterError(
                f"particle type {code} of the OVITO DataCollection has the name {name!r}, which "
                "is not an element symbol; name it, for example with "
                f"data.particles_.particle_types_.type_by_id_({code}).name = 'Cu'"
            )
        numbers.append(atomic_number(name))
    # OVITO's cell has vectors as columns, and the origin as the fourth
    return Configuration(
        np.asarray(particles.positions[...], dtype=np.float64),
        np.zeros((3, 3)) if cell is None else np.asarray(cell[...], dtype=np.float64)[:, :3].T,
        np.array(numbers, dtype=np.int64)[slot],
        NOT_PERIODIC if cell is None else _three(cell.pbc),
        _ids(None if particles.identifiers is None else particles.identifiers[...]),
    )


def _pymatgen(obj: Any) -> Configuration:
    """Read a pymatgen Structure or Molecule."""
    if not obj.is_ordered:
        site = next(k for k, each in enumerate(obj) if not each.is_ordered)
        raise ParameterError(
            f"site {site} of the pymatgen structure is {obj[site].species}, not one element; "
            "order the structure first, for example with OrderDisorderedStructureTransformation"
        )
    lattice = getattr(obj, "lattice", None)  # molecules have none
    return Configuration(
        np.asarray(obj.cart_coords, dtype=np.float64),
        np.zeros((3, 3)) if lattice is None else np.asarray(lattice.matrix, dtype=np.float64),
        _in_range(obj.atomic_numbers, "pymatgen structure"),
        NOT_PERIODIC if lattice is None else _three(lattice.pbc),
    )


def _ase(obj: Any) -> Configuration:
    """Read ASE Atoms."""
    return Configuration(
        np.asarray(obj.positions, dtype=np.float64),
        np.asarray(obj.cell, dtype=np.float64),
        _in_range(obj.numbers, "ASE Atoms"),
        _three(obj.pbc),
        _ids(obj.arrays.get("id")) if _has(obj, "arrays") else None,
    )


_READERS: tuple[tuple[tuple[str, ...], Callable[[Any], Configuration]], ...] = (
    (("data_vars", "sizes"), _dataset),
    (("universe", "atoms", "trajectory"), _mdanalysis),  # a Universe
    (("universe", "atoms", "ix"), _mdanalysis),
    (("particles", "cell"), _ovito),
    (("cart_coords", "is_ordered"), _pymatgen),
    (("positions", "numbers", "cell", "pbc"), _ase),
)
"""Attributes by which an object is recognized, and what reads it."""


def _three(pbc: Sequence[bool]) -> tuple[bool, bool, bool]:
    a, b, c = (bool(each) for each in pbc)
    return a, b, c


def _ids(values: Any) -> IntArray | None:
    """Return ids as whole numbers, or None if they are missing or of another type."""
    if values is None:
        return None
    ids = np.asarray(values)
    return ids.astype(np.int64) if ids.ndim == 1 and ids.dtype.kind in "iu" else None


def _numbers(names: Iterable[Any], what: str) -> IntArray:
    """Return atomic numbers of element symbols; the first wrong one is named."""
    symbols, slot = np.unique(np.asarray(names).astype(str), return_inverse=True)
    numbers = []
    for k, name in enumerate(symbols.tolist()):
        try:
            numbers.append(atomic_number(name))
        except ParameterError as error:
            atom = int(np.flatnonzero(slot == k)[0])
            raise ParameterError(f"{what} of atom {atom}: {error}") from None
    return np.array(numbers, dtype=np.int64)[slot]


def _in_range(values: Any, what: str) -> IntArray:
    """Return atomic numbers; numbers that are none raise an error."""
    numbers = np.asarray(values, dtype=np.int64)
    wrong = np.flatnonzero((numbers < 1) | (numbers >= len(SYMBOLS)))
    if len(wrong):
        raise ParameterError(
            f"atom {wrong[0]} of the {what} is not an element: its atomic number is "
            f"{numbers[wrong[0]]}; 1 to {len(SYMBOLS) - 1} are allowed"
        )
    return numbers


__all__ = ["Configuration", "ConfigurationLike", "as_configuration"]
