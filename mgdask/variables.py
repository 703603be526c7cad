"""Every array mgdask knows: its dims, kind, unit, meaning and source. A name exists once, here.

The text goes into the ``attrs`` of every store written, so that a store explains itself to whoever opens
it in ten years with nothing but xarray.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variable:
    """One named array: ``dims`` in order, NumPy dtype ``kind``, ``unit`` as text, ``meaning`` in a sentence."""

    name: str
    dims: tuple[str, ...]
    kind: str
    unit: str
    meaning: str
    source: str = ""


def _feature(family: str, meaning: str, source: str) -> Variable:
    # the columns of a feature; a variable of another name has its family's entry
    return Variable(family, ("frame", "atom", f"{family}_feature"), "f", "1", meaning, source)


def _table(*rows: Variable) -> dict[str, Variable]:
    table = {row.name: row for row in rows}
    if len(table) != len(rows):
        raise AssertionError("a variable is listed twice")
    return table


VARIABLES = _table(
    Variable(
        "position",
        ("frame", "atom", "xyz"),
        "f",
        "Å",
        "atomic positions, wrapped into the cell along periodic axes",
    ),
    Variable(
        "image",
        ("frame", "atom", "xyz"),
        "i",
        "1",
        "box images: position + image @ cell is the true path; the scheme is named in attrs",
    ),
    Variable(
        "cell", ("frame", "vector", "xyz"), "f", "Å", "cell vectors, one a row; triclinic allowed"
    ),
    Variable("origin", ("frame", "xyz"), "f", "Å", "lower corner of the cell"),
    Variable("pbc", ("vector",), "b", "1", "whether the cell repeats along a vector"),
    Variable("time", ("frame",), "f", "ps", "physical time; uneven spacing is normal"),
    Variable("step", ("frame",), "i", "1", "time step of the simulation as written in the file"),
    Variable(
        "run",
        ("frame",),
        "U",
        "1",
        "which simulation a frame belongs to; data are split by it, never by row",
    ),
    Variable(
        "atom_id",
        ("atom",),
        "i",
        "1",
        "identity of an atom in the simulation; rows are sorted by it",
    ),
    Variable("species", ("atom",), "i", "Z", "atomic number"),
    Variable("mass", ("atom",), "f", "u", "atomic mass"),
    _feature(
        "soap",
        "smooth overlap of atomic positions: power spectrum of the smeared neighbour density",
        "Bartók, Kondor, Csányi, Phys. Rev. B 87, 184115 (2013); column order of DScribe",
    ),
    _feature(
        "interstice",
        "empty share of distances, triangles and tetrahedra between an atom and its neighbours",
        "Wang, Jain, Nat. Commun. 10, 5537 (2019)",
    ),
    _feature(
        "mediumrange",
        "statistics of a feature over the neighbours of an atom",
        "Wang, Jain, Nat. Commun. 10, 5537 (2019), Eq. (1)",
    ),
    _feature("coordination", "number of neighbours", "Wang, Jain, Nat. Commun. 10, 5537 (2019)"),
    _feature(
        "voronoi_indices",
        "facets of the Voronoi cell by their number of edges",
        "Finney, Proc. R. Soc. A 319, 479 (1970)",
    ),
    _feature(
        "motifs",
        "whether the Voronoi cell is a characteristic one",
        "Wang, Jain, Nat. Commun. 10, 5537 (2019)",
    ),
    _feature(
        "packing",
        "how densely an atom and its neighbours are packed",
        "Yang et al., Phys. Rev. Lett. 109, 105502 (2012)",
    ),
    _feature(
        "fold_symmetry",
        "share of the facets of the Voronoi cell by their number of edges",
        "Peng, Li, Wang, Phys. Rev. Lett. 106, 135503 (2011)",
    ),
    _feature(
        "bond_order",
        "bond-orientational order parameters",
        "Steinhardt, Nelson, Ronchetti, Phys. Rev. B 28, 784 (1983)",
    ),
    _feature(
        "bond_moments",
        "moments of the directions to the neighbours in spherical harmonics",
        "Steinhardt, Nelson, Ronchetti, Phys. Rev. B 28, 784 (1983)",
    ),
    _feature("chemistry", "species of an atom's neighbours", "Cowley, Phys. Rev. 77, 669 (1950)"),
    _feature(
        "symmetry_functions",
        "Behler-Parrinello symmetry functions",
        "Behler, Parrinello, Phys. Rev. Lett. 98, 146401 (2007)",
    ),
    Variable(
        "path",
        ("atom", "frame", "xyz"),
        "f",
        "Å",
        "true positions, without periodic jumps; the scheme is in attrs",
    ),
    Variable(
        "center_of_mass",
        ("frame", "xyz"),
        "f",
        "Å",
        "mass-weighted mean of the true positions of all atoms",
    ),
    _feature(
        "nonaffine",
        "non-affine squared displacement and local strain",
        "Falk, Langer, Phys. Rev. E 57, 7192 (1998)",
    ),
    _feature(
        "lag_displacement", "displacement over lag times", "Liu et al., J. Mater. Inf. 2, 20 (2022)"
    ),
    _feature(
        "chebyshev",
        "power spectrum of the neighbour density in Chebyshev polynomials and spherical harmonics",
        "Artrith, Urban, Ceder, Phys. Rev. B 96, 014112 (2017)",
    ),
)
"""The vocabulary, by name."""


def attrs(name: str) -> dict[str, str]:
    """The descriptive ``attrs`` of variable ``name``; empty where the name came from the user's own file."""
    variable = VARIABLES.get(name)
    if variable is None:
        return {}
    text = {"units": variable.unit, "long_name": variable.meaning}
    if variable.source:
        text["source"] = variable.source
    return text
