"""Every array that mgdask writes: its dims, kind of dtype, unit, meaning and source.

The descriptions go into the ``attrs`` of every store, so a store documents itself when
it is opened with xarray alone.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mgdask.bounds import MAX_NAME
from mgdask.errors import ParameterError, StoreError

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Variable:
    """Description of an array.

    Parameters
    ----------
    name
        Name of the variable. For features, the name of the family.
    dims
        Dimensions in order.
    kind
        Kind of dtype: ``"f"``, ``"i"``, ``"b"``, or ``"U"`` for text.
    unit
        Unit, ``"1"`` for none. Empty for text, and if it depends on the parameters of
        a feature.
    meaning
        What the values mean.
    source
        Reference that defines the variable.
    """

    name: str
    dims: tuple[str, ...]
    kind: str
    unit: str
    meaning: str
    source: str = ""

    def __str__(self) -> str:
        unit = "" if self.unit in ("", "1") else f" in {self.unit}"
        return f"{self.name}({', '.join(self.dims)}){unit}"


def _feature(family: str, meaning: str, source: str) -> Variable:
    # features with user-defined names share the entry of their family; the unit of a
    # column depends on the parameters, so that the feature states it
    return Variable(family, ("frame", "atom", f"{family}_feature"), "f", "", meaning, source)


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
        "box images: position + image @ cell is the unwrapped position; attrs name the scheme",
    ),
    Variable(
        "cell", ("frame", "vector", "xyz"), "f", "Å", "cell vectors as rows; may be triclinic"
    ),
    Variable("origin", ("frame", "xyz"), "f", "Å", "lower corner of the cell"),
    Variable("pbc", ("vector",), "b", "1", "whether the cell repeats along each vector"),
    Variable("time", ("frame",), "f", "ps", "physical time; the spacing may be uneven"),
    Variable("step", ("frame",), "i", "1", "time step of the simulation, as in the file"),
    Variable(
        "run",
        ("frame",),
        "U",
        "",
        "simulation that a frame belongs to; data are split by it, never by row",
    ),
    Variable(
        "atom_id",
        ("atom",),
        "i",
        "1",
        "identity of an atom in the simulation; rows are sorted by it",
    ),
    Variable("species", ("atom",), "i", "1", "atomic number"),
    Variable("mass", ("atom",), "f", "u", "atomic mass"),
    _feature(
        "soap",
        "smooth overlap of atomic positions: power spectrum of the smeared neighbor density",
        "Bartók, Kondor, Csányi, Phys. Rev. B 87, 184115 (2013); column order of DScribe",
    ),
    _feature(
        "local_environment",
        "most similar unique local environment of a dictionary, or fractions of all of them",
        "Liu C. et al., Acta Mater. 259, 119281 (2023)",
    ),
    _feature(
        "interstice",
        "empty fraction of the distances, triangles and tetrahedra between neighbors",
        "Wang, Jain, Nat. Commun. 10, 5537 (2019)",
    ),
    _feature(
        "mediumrange",
        "statistics of a feature over the neighbors of an atom",
        "Wang, Jain, Nat. Commun. 10, 5537 (2019), Eq. (1)",
    ),
    _feature("coordination", "number of neighbors", "Wang, Jain, Nat. Commun. 10, 5537 (2019)"),
    _feature(
        "voronoi_indices",
        "number of facets of the Voronoi cell with 3, 4, ... edges",
        "Finney, Proc. R. Soc. A 319, 479 (1970)",
    ),
    _feature(
        "motifs",
        "whether the Voronoi cell is that of a characteristic motif",
        "Wang, Jain, Nat. Commun. 10, 5537 (2019)",
    ),
    _feature(
        "packing",
        "packing density of an atom and its neighbors",
        "Yang et al., Phys. Rev. Lett. 109, 105502 (2012)",
    ),
    _feature(
        "fold_symmetry",
        "fraction of the facets of the Voronoi cell with 3, 4, ... edges",
        "Peng, Li, Wang, Phys. Rev. Lett. 106, 135503 (2011)",
    ),
    _feature(
        "bond_order",
        "bond-orientational order parameters",
        "Steinhardt, Nelson, Ronchetti, Phys. Rev. B 28, 784 (1983)",
    ),
    _feature(
        "bond_moments",
        "spherical-harmonic moments of the directions to the neighbors",
        "Steinhardt, Nelson, Ronchetti, Phys. Rev. B 28, 784 (1983)",
    ),
    _feature(
        "chemistry", "species of the neighbors of an atom", "Cowley, Phys. Rev. 77, 669 (1950)"
    ),
    _feature(
        "symmetry_functions",
        "Behler-Parrinello symmetry functions",
        "Behler, Parrinello, Phys. Rev. Lett. 98, 146401 (2007)",
    ),
    Variable(
        "path", ("atom", "frame", "xyz"), "f", "Å", "unwrapped positions; attrs name the scheme"
    ),
    Variable(
        "center_of_mass",
        ("frame", "xyz"),
        "f",
        "Å",
        "mass-weighted mean of the unwrapped positions of all atoms",
    ),
    _feature(
        "nonaffine",
        "non-affine squared displacement and local strain",
        "Falk, Langer, Phys. Rev. E 57, 7192 (1998)",
    ),
    _feature(
        "linear_response",
        "non-affine linear response of a network of springs",
        "Lemaitre, Maloney, J. Stat. Phys. 123, 415 (2006)",
    ),
    _feature(
        "lag_displacement",
        "displacements over lag times",
        "Liu et al., J. Mater. Inf. 2, 20 (2022)",
    ),
    _feature(
        "chebyshev",
        "power spectrum of the neighbor density in Chebyshev polynomials and spherical harmonics",
        "Artrith, Urban, Ceder, Phys. Rev. B 96, 014112 (2017)",
    ),
)
"""All variables by name."""

DICTIONARY_VALUES = _table(
    Variable("vector", ("entry", "column"), "f", "1", "feature vector of an entry, of norm 1"),
    Variable("species", ("entry",), "i", "1", "atomic number of the central atom of an entry"),
    Variable("source", ("entry",), "i", "1", "sample of an entry, as an index of attrs sources"),
    Variable("frame", ("entry",), "i", "1", "frame of the sample that an entry comes from"),
    Variable("atom_id", ("entry",), "i", "1", "identity of the central atom of an entry"),
    Variable(
        "order",
        ("entry",),
        "i",
        "1",
        "number of environments before an entry: sample by sample, frame by frame, atom by atom",
    ),
)
"""Variables of a dictionary of local environments, which has one row per entry."""

FRAME_VALUES = _table(
    Variable("temperature", ("frame",), "f", "K", "temperature of the simulation"),
    Variable("energy", ("frame",), "f", "eV", "energy of all atoms"),
    Variable("strain", ("frame",), "f", "1", "strain of the cell"),
)
"""Values of whole frames that have a fixed unit, keyed by name.

A store holds them if the user provides them or the input contains them. Other names are
allowed too. A variable with one value per atom may have the same name.
"""

TAKEN = frozenset(("frame", "atom", "xyz", "vector", "lag", "manifest", "image_scratch")) | {
    name for name, variable in VARIABLES.items() if not variable.dims[-1].endswith("_feature")
}
"""Names of dimensions, of variables of every trajectory, and of folders of a store."""

REQUIRED = {
    "trajectory": (
        *("position", "image", "cell", "origin", "pbc"),
        *("step", "run", "atom_id", "species", "mass"),
    ),
    "paths": ("path", "cell", "pbc", "step", "run", "atom_id", "species", "mass"),
    "features": ("run", "atom_id", "species"),
    "dictionary": tuple(DICTIONARY_VALUES),
}
"""Variables that a store of each kind must have."""

_DTYPE_KINDS = {"f": "f", "i": "iu", "b": "b", "U": "UTO"}


def name_key(name: str) -> str:
    """Return what two names share if some file systems take them for one.

    Parameters
    ----------
    name
        Name of a variable.

    Examples
    --------
    >>> name_key("Position")
    'position'
    """
    return unicodedata.normalize("NFKC", name).casefold()


def name_problem(name: str) -> str | None:
    """Describe why a variable of the input or of the user cannot have a name.

    Parameters
    ----------
    name
        Name of the variable.

    Returns
    -------
    Description that follows the name, or None if it is allowed.

    Examples
    --------
    >>> name_problem("manifest")
    'is reserved in a store'
    """
    size = len(os.fsencode(name))
    if size > MAX_NAME:
        return f"has {size} bytes; at most {MAX_NAME} are allowed in the name of a folder"
    return "is reserved in a store" if name_key(name) in TAKEN else None


def attrs(name: str) -> dict[str, str]:
    """Return the ``attrs`` that describe a variable.

    Parameters
    ----------
    name
        Name of the variable.

    Returns
    -------
    Unit, long name and source, as far as they are fixed. Empty for a variable that is
    not in ``VARIABLES``.

    Examples
    --------
    >>> attrs("origin")
    {'units': 'Å', 'long_name': 'lower corner of the cell'}
    """
    variable = VARIABLES.get(name)
    if variable is None:
        return {}
    described = {"units": variable.unit, "long_name": variable.meaning, "source": variable.source}
    return {key: text for key, text in described.items() if text}


def frame_attrs(name: str) -> dict[str, str]:
    """Return the ``attrs`` of a variable with one value per frame.

    Parameters
    ----------
    name
        Name of the variable.

    Returns
    -------
    Unit and long name; empty if the name is in neither table.

    Examples
    --------
    >>> frame_attrs("temperature")
    {'units': 'K', 'long_name': 'temperature of the simulation'}
    """
    variable = FRAME_VALUES.get(name)
    if variable is None:
        return attrs(name)
    return {"units": variable.unit, "long_name": variable.meaning}


def entry_attrs(name: str) -> dict[str, str]:
    """Return the ``attrs`` that describe a variable of a dictionary.

    Parameters
    ----------
    name
        Name of the variable.

    Returns
    -------
    Unit and long name; empty if a dictionary has no such variable.

    Examples
    --------
    >>> entry_attrs("species")["units"]
    '1'
    """
    variable = DICTIONARY_VALUES.get(name)
    if variable is None:
        return {}
    return {"units": variable.unit, "long_name": variable.meaning}


def column_units(array: xr.DataArray) -> list[str]:
    """Return the unit of each column of a feature.

    Parameters
    ----------
    array
        Feature (..., column) from ``open_store`` or ``featurize``.

    Returns
    -------
    One unit per column: those of the coordinate ``<name>_unit`` or, if all columns have
    the same unit, that of the attr ``units``.

    Examples
    --------
    >>> import xarray as xr
    >>> ds = xr.Dataset({"d2": (("atom", "column"), [[0.5, 2]])})
    >>> column_units(ds.assign_coords(d2_unit=("column", ["Å²", "1"])).d2)
    ['Å²', '1']
    """
    name = f"{array.name}_unit"
    if name in array.coords:
        return [str(unit) for unit in array.coords[name].values]
    return [str(array.attrs.get("units", "1"))] * array.shape[-1]


def validate(
    ds: xr.Dataset,
    kind: str,
    source: str | os.PathLike[str] = "the Dataset",
    *,
    required: bool = True,
) -> None:
    """Check that a Dataset has the variables of a store, as described here.

    Only metadata are read. Variables with other names are not checked.

    Parameters
    ----------
    ds
        Dataset to check.
    kind
        ``"trajectory"``, ``"paths"``, ``"features"`` or ``"dictionary"``.
    source
        Path of the store, used in the message.
    required
        Whether variables may not be missing. A selection may have a few only.

    Raises
    ------
    StoreError
        If variables are missing, or have wrong dims, dtypes or units. The message lists
        all of them.
    ParameterError
        If ``kind`` is unknown.

    Examples
    --------
    >>> import xarray as xr
    >>> ds = xr.Dataset({"step": ("atom", [1])})
    >>> validate(ds, "features")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mgdask.errors.StoreError: ... step has dims (atom), expected (frame); ...
    """
    if kind not in REQUIRED:
        raise ParameterError(f"kind={kind!r} is unknown; allowed: {', '.join(REQUIRED)}")
    table = DICTIONARY_VALUES if kind == "dictionary" else VARIABLES
    problems = [
        problem
        for name in ds.variables
        if name in table
        for problem in _problems(ds, name, table[str(name)])
    ]
    problems += [
        problem
        for name in ds.variables
        if name in FRAME_VALUES and ds.variables[name].dims == ("frame",)
        for problem in _problems(ds, name, FRAME_VALUES[str(name)])
    ]
    needed = REQUIRED[kind] if required else ()
    problems += [f"{table[name]} is missing" for name in needed if name not in ds.variables]
    if problems:
        raise StoreError(f"{source} is not a valid {kind} store: {'; '.join(problems)}")


def _problems(ds: xr.Dataset, name: Hashable, expected: Variable) -> Iterator[str]:
    variable = ds.variables[name]
    dims = tuple(map(str, variable.dims))
    allowed = [expected.dims]
    if expected.dims[-1].endswith("_feature"):  # some features are averages over atoms
        allowed.append(("frame", expected.dims[-1]))
    if dims not in allowed:
        yield f"{name} has dims ({', '.join(dims)}), expected ({', '.join(expected.dims)})"
    if variable.dtype.kind not in _DTYPE_KINDS[expected.kind]:
        yield f"{name} has dtype {variable.dtype}, expected kind {expected.kind}"
    unit = variable.attrs.get("units", expected.unit)
    if name == "species" and unit == "Z":  # that of stores of version 0.2
        unit = expected.unit
    if expected.unit and unit != expected.unit:
        yield f"{name} has unit {unit}, expected {expected.unit}"
