"""Unique local environments and colored samples as extended XYZ files.

ASE and OVITO read the files: https://github.com/libAtoms/extxyz.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray, Periodic
from mgdask.elements import symbol
from mgdask.errors import ParameterError
from mgdask.features.environments import LocalEnvironments, SmallFacets, spans
from mgdask.kernels.neighbors import list_neighbors, make_cell_list
from mgdask.studies.barcode.elements import Element, ElementTable
from mgdask.studies.barcode.polyhedra import KASPER, NON_KASPER
from mgdask.studies.barcode.records import Record
from mgdask.studies.stages import write_text

RADIUS = 5.0
"""Radius of an exported environment in Å: the cutoff of the SOAP of the paper."""
GROUP_COLORS: dict[int, tuple[float, float, float]] = {
    0: (0.75, 0.75, 0.75),
    KASPER: (0.12, 0.47, 0.71),
    NON_KASPER: (1.0, 0.5, 0.05),
}
"""Colors (red, green, blue) of the groups: blue and orange, as in Fig. 6."""


@dataclass(frozen=True, eq=False)
class Environment(Record):
    """Atoms around a central atom.

    Parameters
    ----------
    position
        Positions (atom, 3) in Å relative to the center. Row 0 is the center, and the
        others are sorted by distance.
    numbers
        Atomic numbers (atom,).
    kernel
        Whether an atom is the center or shares a facet of its Voronoi cell (atom,).
    distance
        Distance (atom,) from the center in Å.
    atom_id
        Ids (atom,). One atom may occur several times in a small periodic cell.
    """

    position: FloatArray
    numbers: IntArray
    kernel: BoolArray
    distance: FloatArray
    atom_id: IntArray


def environment(
    position: FloatArray,
    cell: FloatArray,
    numbers: npt.NDArray[np.integer],
    center: int,
    pbc: Periodic = (True, True, True),
    *,
    radius: float = RADIUS,
    atom_id: npt.NDArray[np.integer] | None = None,
    small_facets: SmallFacets = "static",
) -> Environment:
    """Cut the atoms within a radius around an atom out of a frame.

    Parameters
    ----------
    position
        Positions (atom, 3) in Å.
    cell
        Cell vectors (3, 3) in Å, one per row.
    numbers
        Atomic numbers (atom,).
    center
        Index of the central atom.
    pbc
        Whether each cell vector repeats. Images of atoms are moved next to the center.
    radius
        Radius in Å.
    atom_id
        Ids (atom,). Default: the indices.
    small_facets
        Which small facets are dropped, as in ``mgdask.Interstice``.

    Returns
    -------
    The environment.

    Examples
    --------
    >>> bcc = np.array([[0, 0, 0], [1.5, 1.5, 1.5]])
    >>> found = environment(bcc, 3 * np.eye(3), np.array([26, 26]), 0, radius=3.1)
    >>> len(found.position), int(found.kernel.sum())
    (15, 15)
    """
    if not 0.0 < radius < np.inf:
        raise ParameterError(f"radius={radius} must be a distance in Å above 0")
    centers = np.array([center], dtype=np.int64)
    where = np.ascontiguousarray(position, dtype=np.float64)
    _, row, vector, distance = list_neighbors(make_cell_list(where, cell, pbc, radius), centers)
    order = np.lexsort((vector[:, 2], vector[:, 1], vector[:, 0], row, distance))
    row, vector, distance = row[order], vector[order], distance[order]
    cells = LocalEnvironments(where, cell, numbers, pbc, centers).voronoi(centers, small_facets)
    facets = spans(cells.first, cells.last)
    shell = {_place(r, v) for r, v in zip(cells.row[facets], cells.vector[facets], strict=True)}
    ids = np.arange(len(where)) if atom_id is None else np.asarray(atom_id)
    rows = np.concatenate([centers, row])
    return Environment(
        position=np.vstack([np.zeros(3), vector]),
        numbers=np.asarray(numbers, dtype=np.int64)[rows],
        kernel=np.array([True, *(_place(r, v) in shell for r, v in zip(row, vector, strict=True))]),
        distance=np.concatenate([[0.0], distance]),
        atom_id=ids[rows].astype(np.int64),
    )


def _place(row: int, vector: FloatArray) -> tuple[int, ...]:
    # images of an atom are a cell apart; the two lists differ by rounding
    return (int(row), *np.rint(100.0 * vector).astype(int).tolist())


def environment_text(found: Environment, element: Element) -> str:
    """Return the environment of one element as a frame of an extended XYZ file.

    The comment holds entry, label, rank, SHAP, correlation with the energy with its
    interval, polyhedron, group and origin.

    Parameters
    ----------
    found
        Its environment.
    element
        The element.
    """
    about: dict[str, str | int | float | bool] = {
        "label": element.label,
        "entry": element.entry,
        "rank": element.rank,
        "shap_eV_per_sample": element.shap,
        "energy_correlation": element.pearson.value,
        "energy_correlation_low": element.pearson.low,
        "energy_correlation_high": element.pearson.high,
        "polyhedron": element.polyhedron.name,
        "group": element.polyhedron.group,
        "kasper": element.polyhedron.kasper,
        "coordination": element.polyhedron.coordination,
        "origin_store": element.origin.store,
        "origin_frame": element.origin.frame,
        "origin_atom_id": element.origin.atom_id,
    }
    return extxyz(
        found.numbers,
        found.position,
        {"distance": found.distance, "kernel": found.kernel, "atom_id": found.atom_id},
        about,
    )


def write_elements(
    folder: str | Path, found: Sequence[Environment], table: ElementTable
) -> tuple[Path, ...]:
    """Write one file per element, and one file with all of them as frames.

    Parameters
    ----------
    folder
        Folder to write to.
    found
        Environments of the elements, in the order of the table.
    table
        The elements.

    Returns
    -------
    paths
        ``elements.extxyz``, then ``s1_entry12.extxyz`` and so on.
    """
    target = Path(folder)
    texts = [
        environment_text(one, element) for one, element in zip(found, table.elements, strict=True)
    ]
    paths = [target / "elements.extxyz"]
    write_text(paths[0], "".join(texts))
    for text, element in zip(texts, table.elements, strict=True):
        paths.append(target / f"{element.label}_entry{element.entry}.extxyz")
        write_text(paths[-1], text)
    return tuple(paths)


def element_places(entry: npt.ArrayLike, table: ElementTable) -> tuple[IntArray, IntArray]:
    """Return the element and the group of atoms from their entries.

    Parameters
    ----------
    entry
        Entry of each atom (atom,); NaN if it has none.
    table
        The elements.

    Returns
    -------
    place, group
        Index (atom,) of the element in the table, -1 for other entries; and its group,
        0 for other entries.
    """
    entries = np.asarray(entry, dtype=np.float64)
    known = np.where(np.isfinite(entries), entries, -1.0).astype(np.int64)
    order = np.argsort(table.entries)
    ordered = table.entries[order]
    slot = np.minimum(np.searchsorted(ordered, known), len(ordered) - 1)
    place = np.where(ordered[slot] == known, order[slot], -1)
    group = np.where(place >= 0, table.groups[place], 0)
    return place.astype(np.int64), group.astype(np.int64)


def write_sample(
    path: str | Path,
    position: FloatArray,
    cell: FloatArray,
    numbers: npt.NDArray[np.integer],
    entry: npt.ArrayLike,
    table: ElementTable,
    *,
    similarity: npt.ArrayLike | None = None,
    atom_id: npt.NDArray[np.integer] | None = None,
    pbc: Periodic = (True, True, True),
    about: Mapping[str, str | int | float | bool] | None = None,
) -> Path:
    """Write a sample with the element and group of every atom, colored by group.

    Parameters
    ----------
    path
        File to write, in extended XYZ format.
    position
        Positions (atom, 3) in Å.
    cell
        Cell vectors (3, 3) in Å, one per row.
    numbers
        Atomic numbers (atom,).
    entry
        Entry of each atom (atom,), NaN if it has none.
    table
        The elements.
    similarity
        Similarity (atom,) to the entry.
    atom_id
        Ids (atom,). Default: the indices.
    pbc
        Whether each cell vector repeats.
    about
        Further values of the comment by name.

    Returns
    -------
    path
        Path of the file. Its columns are ``id``, ``entry`` (-1 for none), ``element``
        (number in the barcode, 0 for none), ``group`` (0, 1 or 2), ``similarity`` and
        ``color``. OVITO shows ``color`` at once.
    """
    place, group = element_places(entry, table)
    entries = np.asarray(entry, dtype=np.float64)
    ids = np.arange(len(position)) if atom_id is None else np.asarray(atom_id)
    columns: dict[str, AnyArray] = {
        "id": ids.astype(np.int64),
        "entry": np.where(np.isfinite(entries), entries, -1.0).astype(np.int64),
        "element": place + 1,
        "group": group,
        "color": np.array([GROUP_COLORS[int(one)] for one in group]),
    }
    if similarity is not None:
        columns["similarity"] = np.asarray(similarity, dtype=np.float64)
    write_text(Path(path), extxyz(numbers, position, columns, about or {}, cell, pbc))
    return Path(path)


def extxyz(
    numbers: npt.NDArray[np.integer],
    position: FloatArray,
    columns: Mapping[str, AnyArray],
    about: Mapping[str, str | int | float | bool],
    cell: FloatArray | None = None,
    pbc: Periodic = (False, False, False),
) -> str:
    """Return one frame in extended XYZ format.

    Parameters
    ----------
    numbers
        Atomic numbers (atom,).
    position
        Positions (atom, 3) in Å.
    columns
        Further columns by name, shapes (atom,) or (atom, n).
    about
        Values of the comment by name.
    cell
        Cell vectors (3, 3) in Å, one per row. None: no cell.
    pbc
        Whether each cell vector repeats.

    Examples
    --------
    >>> copper, ids = np.array([29]), np.array([7])
    >>> print(extxyz(copper, np.zeros((1, 3)), {"id": ids}, {"entry": 3}))
    1
    Properties=species:S:1:pos:R:3:id:I:1 entry=3 pbc="F F F"
    Cu      0.00000000      0.00000000      0.00000000 7
    <BLANKLINE>
    """
    kinds = {"f": "R", "i": "I", "b": "L"}
    properties = ["species:S:1:pos:R:3"]
    fields = [np.array([f"{symbol(int(z)):2s}" for z in numbers])]
    for name, values in {"": position, **columns}.items():
        block = np.asarray(values).reshape(len(numbers), -1)
        if name:
            properties.append(f"{name}:{kinds[block.dtype.kind]}:{block.shape[1]}")
        fields += [
            _formatted(block[:, k], "15.8f" if not name else ".8g") for k in range(block.shape[1])
        ]
    head = [f"Properties={':'.join(properties)}"]
    head += [f"{name}={_quoted(value)}" for name, value in about.items()]
    head.append(f'pbc="{" ".join("T" if one else "F" for one in pbc)}"')
    if cell is not None:
        lattice = " ".join(f"{x:.10g}" for x in np.asarray(cell).reshape(-1))
        head.insert(0, f'Lattice="{lattice}"')
    rows = [" ".join(parts) for parts in zip(*fields, strict=True)]
    return "\n".join([str(len(numbers)), " ".join(head), *rows]) + "\n"


def _formatted(values: AnyArray, form: str) -> AnyArray:
    if values.dtype.kind == "b":
        return np.where(values, "T", "F")
    if values.dtype.kind == "f":
        return np.array([format(float(x), form) for x in values])
    return np.array([str(int(x)) for x in values])


def _quoted(value: str | int | float | bool) -> str:
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
