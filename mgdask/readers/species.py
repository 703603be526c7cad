"""Species of atoms, from element names in the file or from the user's map of types.

Species are never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask.bounds import MAX_TYPE, shortened
from mgdask.elements import atomic_number
from mgdask.errors import AuditError, ParameterError
from mgdask.readers.records import Labels

_HINT = (
    "Give the element of each type: species={1: 'Cu', 2: 'Zr'} in Python, or --species Cu,Zr "
    "on the command line (types 1, 2, ... in order)"
)
PER_ATOM = ""
"""Stands in place of a column name if species are given per atom."""


@dataclass(frozen=True)
class SpeciesMap:
    """The user's map: atomic numbers by type, and by name for a column ``element``."""

    types: tuple[tuple[int, int], ...] = ()
    names: tuple[tuple[str, int], ...] = ()

    def from_types(self, types: npt.NDArray[Any], where: str) -> npt.NDArray[np.int32]:
        """Return atomic numbers of integer types.

        Raise ``AuditError`` if a type is not in the map.
        """
        known = dict(self.types)
        if not known:
            raise AuditError(
                f"{where}: the frame has types but no element names, and species are never "
                f"guessed. {_HINT}"
            )
        table = np.zeros(max(known) + 2, dtype=np.int32)
        table[list(known)] = list(known.values())
        numbers: npt.NDArray[np.int32] = table[np.clip(types, 0, table.size - 1)]
        if not numbers.all() or types.min() < 0:
            unknown = sorted(set(np.unique(types).tolist()) - set(known))
            raise AuditError(
                f"{where}: type {shortened(', '.join(map(str, unknown)))} is not in "
                f"species={known_text(known)}. {_HINT}"
            )
        return numbers

    def per_atom(self) -> npt.NDArray[np.int32]:
        """Return atomic numbers in the order of ids, if they were given per atom."""
        return np.array([number for _, number in self.types], dtype=np.int32)

    def from_names(
        self, labels: Labels, where: str, column: str = "element"
    ) -> npt.NDArray[np.int32]:
        """Return the atomic numbers of element names or type labels.

        Raise ``AuditError`` for a name that is not an element or not in the user's map.
        """
        by_name, allowed = dict(self.names), {number for _, number in self.types}
        numbers = np.zeros(len(labels.names), dtype=np.int32)
        used = set(np.unique(labels.codes).tolist())
        for code, name in enumerate(labels.names):
            if code not in used:
                continue
            try:
                numbers[code] = by_name[name] if name in by_name else atomic_number(name)
            except ParameterError as error:
                raise AuditError(
                    f"{where}: unknown species in column {column}: {error}. Map it with "
                    f"species={{{name!r}: 'Cu'}} in Python, or --species {name}=Cu on the command "
                    "line, for all names that are not elements"
                ) from None
            if allowed and numbers[code] not in allowed:
                raise AuditError(
                    f"{where}: element {name} is in the file, but species lists "
                    f"{known_text(dict(self.types))}"
                )
        return numbers[labels.codes]


def known_text(types: Mapping[int, int]) -> str:
    """Return a type map as the user would write it."""
    from mgdask.elements import symbol

    return "{" + ", ".join(f"{kind}: {symbol(number)!r}" for kind, number in types.items()) + "}"


def make_species(
    species: Mapping[int, str] | Mapping[str, str] | Sequence[str] | str | None,
) -> SpeciesMap:
    """Make a map from ``{1: "Cu"}``, ``("Cu", "Zr")`` (types 1, 2, ...) or ``"Cu,Zr"``.

    Type labels of LAMMPS are mapped by ``{"Cu1": "Cu"}`` or ``"Cu1=Cu,Zr1=Zr"``.
    Raise ``ParameterError`` for an empty map, a negative type or an unknown element.
    """
    if species is None:
        return SpeciesMap()
    if isinstance(species, str):
        parts = [part.strip() for part in species.replace("+", ",").split(",") if part.strip()]
        named = dict(part.split("=", 1) for part in parts if "=" in part)
        if named and len(named) < len(parts):
            raise ParameterError(
                f"species={species!r}: either all entries or none must have the form LABEL=ELEMENT"
            )
        species = named or parts
    pairs: list[tuple[Any, str]] = list(
        species.items() if isinstance(species, Mapping) else enumerate(species, start=1)
    )
    if not pairs:
        raise ParameterError(f"species is empty. {_HINT}")
    types, names = [], []
    for key, name in pairs:
        number = atomic_number(name)
        if isinstance(key, str) and not key.isdigit():
            names.append((key, number))
        elif int(key) < 0:
            raise ParameterError(f"species: type {key} must not be negative")
        elif int(key) > MAX_TYPE:
            raise ParameterError(
                f"species: type {key} is too large; types up to {MAX_TYPE} are allowed"
            )
        else:
            types.append((int(key), number))
    return SpeciesMap(tuple(types), tuple(names))


def species_column(columns: Sequence[str], species: SpeciesMap, where: str, n_atoms: int) -> str:
    """Return the column that holds the species, or ``PER_ATOM``.

    It is ``type`` if the user mapped types. Otherwise it is the first of ``element``,
    ``typelabel`` and ``type`` that exists; ``type`` may hold type labels. Raise
    ``AuditError`` if none exists and species were not given per atom.
    """
    order = ["element", "typelabel", "type"]
    for name in ["type", *order] if species.types else order:
        if name in columns:
            return name
    given = [kind for kind, _ in species.types]
    if given == list(range(1, n_atoms + 1)):
        return PER_ATOM
    raise AuditError(
        f"{where}: the frame has neither a column 'type' nor a column 'element', so the species "
        f"are unknown. Its columns are: {' '.join(columns)}. Give one element per atom, in the "
        f"order of ids: species= with {n_atoms} elements" + (f"; got {len(given)}" if given else "")
    )
