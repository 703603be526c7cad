"""Profiles of one configuration: density, composition and mean values in bins.

Bins are slabs along a cell vector, or the cells of a grid. They are equal steps in
fractional coordinates, so slabs are parallel to the faces of any triclinic cell and all
bins have the same volume. Two profiles can be subtracted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask import geometry
from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray, Periodic
from mgdask.analysis.estimate import as_vector, error_attrs, proportion_variance
from mgdask.elements import symbol
from mgdask.errors import ParameterError

Values = Mapping[str, npt.ArrayLike] | npt.ArrayLike | None
"""Values of the atoms (atom,), or a mapping from names to them."""
AXES = {"a": 0, "b": 1, "c": 2, "x": 0, "y": 1, "z": 2}
"""Number of the cell vector by the name of the axis."""

Variables = dict[str, tuple[tuple[str, ...], AnyArray, dict[str, str]]]


def _fractions(
    position: npt.ArrayLike, cell: npt.ArrayLike, origin: npt.ArrayLike | None, pbc: Periodic
) -> tuple[FloatArray, FloatArray]:
    """Fractions (atom, 3), in [0, 1) along periodic vectors, and the full cell."""
    r = np.asarray(position, dtype=np.float64)
    if r.ndim != 2 or r.shape[1] != 3 or not np.isfinite(r).all():
        raise ParameterError(
            f"position has shape {r.shape}; it must be finite numbers (atom, 3) in Å, of one frame"
        )
    if len(pbc) != 3:
        raise ParameterError(f"pbc={pbc!r} must be three booleans, one per cell vector")
    given_cell = np.asarray(cell, dtype=np.float64)
    if given_cell.shape == (3, 3) and not given_cell.any(axis=1).all():
        raise ParameterError(
            "cell has a vector of zeros, along which there are no bins; "
            "give it the length to bin over"
        )
    full_cell = geometry.complete_cell(given_cell, pbc)
    corner = np.zeros(3) if origin is None else as_vector("origin", origin, length=3)
    wrapped, _ = geometry.wrap(r, full_cell, corner, pbc)
    fraction = geometry.fractional(wrapped, full_cell, corner)
    rounded_up = np.asarray(pbc, dtype=bool) & (fraction >= 1.0)
    return np.where(rounded_up, np.nextafter(1.0, 0.0), fraction), full_cell


@dataclass(frozen=True, eq=False)
class _Binning:
    """Assignment of atoms to bins.

    ``inside`` (atom,) marks atoms within the cell; ``index`` holds their flat bin
    numbers.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    inside: BoolArray
    index: IntArray

    @classmethod
    def from_fractions(cls, fraction: FloatArray, bins: dict[str, tuple[int, int]]) -> _Binning:
        """Assign atoms by fractions; ``bins`` is (axis, number of bins) by dim."""
        flat = np.zeros(len(fraction), dtype=np.int64)
        inside = np.ones(len(fraction), dtype=bool)
        for axis, n in bins.values():
            s = fraction[:, axis]
            inside &= (s >= 0.0) & (s < 1.0)
            flat = flat * n + np.clip(np.floor(s * n), 0, n - 1).astype(np.int64)
        return cls(tuple(bins), tuple(n for _, n in bins.values()), inside, flat[inside])

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return int(np.prod(self.shape))

    @property
    def count(self) -> IntArray:
        """Atoms in each flat bin."""
        return np.bincount(self.index, minlength=self.n_bins).astype(np.int64)


def _density(binning: _Binning, bin_volume: float) -> Variables:
    """Count atoms and compute number densities."""
    dims, shape, count = binning.dims, binning.shape, binning.count
    unit = {"units": "Å^-3"}
    density = {**unit, "long_name": "number density"}
    density_error = {**unit, "long_name": "sqrt(count) / volume"}
    return {
        "count": (dims, count.reshape(shape), {"units": "1", "long_name": "atoms"}),
        "density": (dims, (count / bin_volume).reshape(shape), density),
        "density_error": (dims, (np.sqrt(count) / bin_volume).reshape(shape), density_error),
    }


def _composition(binning: _Binning, numbers: npt.ArrayLike) -> tuple[Variables, list[str]]:
    """Composition of the bins, and the symbols of the species."""
    z = np.asarray(numbers)
    n_atoms = len(binning.inside)
    if z.shape != (n_atoms,) or z.dtype.kind not in "iu":
        raise ParameterError(
            f"numbers must be {n_atoms} atomic numbers, one per atom; got {z.dtype} {z.shape}"
        )
    kinds = np.unique(z)
    inside = z[binning.inside]
    by_species = np.stack(
        [np.bincount(binning.index[inside == k], minlength=binning.n_bins) for k in kinds], axis=1
    )
    count = binning.count[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = by_species / count
    error = np.sqrt(proportion_variance(by_species, count * np.ones(len(kinds))))
    dims, shape = (*binning.dims, "species"), (*binning.shape, len(kinds))
    variables = {
        name: (dims, array.reshape(shape), {"units": "1", "long_name": long_name})
        for name, array, long_name in (
            ("species_count", by_species, "atoms of a species"),
            ("composition", share, "share of a species"),
            ("composition_error", error, "its standard error"),
        )
    }
    return variables, [symbol(int(k)) for k in kinds]


def _means(binning: _Binning, name: str, values: npt.ArrayLike) -> Variables:
    """Mean of a value in the bins, its standard error, and the number of values."""
    v = as_vector(name, values, length=len(binning.inside), finite=False)[binning.inside]
    finite = np.isfinite(v)
    index, v = binning.index[finite], v[finite]
    count = np.bincount(index, minlength=binning.n_bins)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(index, weights=v, minlength=binning.n_bins) / count
        square = np.bincount(index, weights=(v - mean[index]) ** 2, minlength=binning.n_bins)
        error = np.where(count > 1, np.sqrt(square / (count - 1.0) / count), np.nan)
    dims, shape = binning.dims, binning.shape
    error_name = error_attrs(
        f"standard error of the mean of {name}", error, "fewer than 2 atoms in the bin"
    )
    del error_name["units"]  # that of the value, which is not known
    count_name = {"units": "1", "long_name": f"atoms with a {name}"}
    return {
        name: (dims, mean.reshape(shape), {"long_name": f"mean of {name}"}),
        f"{name}_error": (dims, error.reshape(shape), error_name),
        f"{name}_count": (dims, count.reshape(shape), count_name),
    }


def _binned(
    fraction: FloatArray,
    cell: FloatArray,
    values: Values,
    numbers: npt.ArrayLike | None,
    bins: dict[str, tuple[int, int]],
) -> xr.Dataset:
    """Statistics in bins; ``bins`` is (axis, number of bins) by dim."""
    binning = _Binning.from_fractions(fraction, bins)
    bin_volume = geometry.volume(cell) / binning.n_bins
    data = _density(binning, bin_volume)
    coords: dict[str, object] = {}
    if numbers is not None:
        variables, coords["species"] = _composition(binning, numbers)
        data |= variables
    for name, value in _named(values).items():
        if name in data:
            raise ParameterError(
                f"a value cannot be called {name!r}, which is a variable of the profile; "
                "give another name"
            )
        data |= _means(binning, name, value)
    heights = geometry.face_heights(cell)
    fraction_name = "fraction along the cell vector, middle of the bin"
    for dim, (axis, n_bins) in bins.items():
        middle = (np.arange(n_bins) + 0.5) / n_bins
        distance = {"units": "Å", "long_name": "from the lower face"}
        coords[dim] = (dim, middle, {"units": "1", "long_name": fraction_name})
        coords[f"{dim}_distance"] = (dim, middle * heights[axis], distance)
    attrs = {"outside": int((~binning.inside).sum()), "bin_volume": bin_volume}
    return xr.Dataset(data, coords=coords, attrs=attrs)


def _named(values: Values) -> dict[str, npt.ArrayLike]:
    """Values by name; a single array is called "value"."""
    if values is None:
        return {}
    if isinstance(values, Mapping):
        return {str(name): value for name, value in values.items()}
    return {"value": values}


def profile(
    position: npt.ArrayLike,
    cell: npt.ArrayLike,
    origin: npt.ArrayLike | None = None,
    *,
    axis: int | str = "c",
    bins: int = 20,
    numbers: npt.ArrayLike | None = None,
    values: Values = None,
    pbc: Periodic = (True, True, True),
) -> xr.Dataset:
    """Compute density, composition and mean values in slabs along a cell vector.

    With fractions s from r = origin + s @ cell, an atom is in slab floor(bins s)::

        density = n / (V / bins)
        mean = 1/n sum_i v_i,   error = s_v / sqrt(n),   s_v their standard deviation
        c = n_X / n,   error = sqrt(p (1 - p) / n),   p = (n_X + 1/2) / (n + 1)

    Parameters
    ----------
    position
        Positions in Å, shape (atom, 3).
    cell
        Cell vectors in Å as rows, shape (3, 3).
    origin
        Origin of the cell in Å, shape (3,). 0 by default.
    axis
        Cell vector along which to bin: "a", "b", "c", or "x", "y", "z", or 0, 1, 2.
    bins
        Number of slabs.
    numbers
        Atomic numbers, shape (atom,), for the composition.
    values
        Values, shape (atom,), or a mapping from names to them. NaN is left out.
    pbc
        Whether the cell is periodic along each vector. Atoms outside along vectors
        other than ``axis`` still count.

    Returns
    -------
    count (slab)
        Number of atoms.
    density, density_error (slab)
        Number density in Å^-3 and its error sqrt(n) / volume.
    species_count, composition, composition_error (slab, species)
        Only with ``numbers``.
    value, value_error, value_count (slab)
        Only with ``values``, under their names. The mean is NaN in empty slabs.
    slab, slab_distance (slab)
        Fraction at the middle of the slab, and its distance in Å from the lower face
        along the normal. The attribute ``outside`` counts atoms outside the cell along
        a free axis, which are in no slab; ``bin_volume`` is in Å^3.

    Raises
    ------
    ParameterError
        If the arrays do not fit together or an option is out of range.

    Notes
    -----
    Slabs are parallel to the face of the two other vectors, in triclinic cells too.
    Errors are those of independent atoms. sqrt(n) is too large in a dense liquid, whose
    compressibility is small.

    Examples
    --------
    >>> r = np.array([[1.0, 1, 1], [1, 1, 2], [1, 1, 9]])
    >>> result = profile(r, np.eye(3) * 10, bins=2, values={"q": [1.0, 3.0, 5.0]})
    >>> result.q.values.tolist()
    [2.0, 5.0]
    """
    vector = AXES.get(axis) if isinstance(axis, str) else axis
    if vector not in (0, 1, 2):
        raise ParameterError(
            f"axis={axis!r} must be 'a', 'b' or 'c' (or 0, 1, 2), the cell vector along "
            "which to bin"
        )
    if bins < 1:
        raise ParameterError(f"bins={bins} must be at least 1")
    fraction, full_cell = _fractions(position, cell, origin, pbc)
    return _binned(fraction, full_cell, values, numbers, {"slab": (int(vector), int(bins))})


def grid_profile(
    position: npt.ArrayLike,
    cell: npt.ArrayLike,
    origin: npt.ArrayLike | None = None,
    *,
    bins: int | Sequence[int] = 10,
    numbers: npt.ArrayLike | None = None,
    values: Values = None,
    pbc: Periodic = (True, True, True),
) -> xr.Dataset:
    """Compute density, composition and mean values on a grid of the cell.

    Formulas are those of ``profile``. Every bin is a scaled copy of the cell.

    Parameters
    ----------
    position
        Positions in Å, shape (atom, 3).
    cell
        Cell vectors in Å as rows, shape (3, 3).
    origin
        Origin of the cell in Å, shape (3,). 0 by default.
    bins
        Number of bins along the three vectors, or one number for all.
    numbers
        Atomic numbers, shape (atom,), for the composition.
    values
        Values, shape (atom,), or a mapping from names to them. NaN is left out.
    pbc
        Whether the cell is periodic along each vector.

    Returns
    -------
    profile
        The variables of ``profile`` with dims (a, b, c) in place of slab.

    Raises
    ------
    ParameterError
        If the arrays do not fit together or an option is out of range.

    Notes
    -----
    The conditions of ``profile`` apply. Errors are rough for bins with few atoms.

    Examples
    --------
    >>> r = np.array([[1.0, 1, 1], [1, 1, 2], [1, 1, 9]])
    >>> grid_profile(r, np.eye(3) * 10, bins=(1, 1, 2))["count"].values.ravel().tolist()
    [2, 1]
    """
    each = (bins,) * 3 if isinstance(bins, int) else tuple(int(n) for n in bins)
    if len(each) != 3 or min(each) < 1:
        raise ParameterError(f"bins={bins!r} must be one integer or three, each at least 1")
    fraction, full_cell = _fractions(position, cell, origin, pbc)
    axes = {dim: (axis, n) for axis, (dim, n) in enumerate(zip("abc", each, strict=True))}
    return _binned(fraction, full_cell, values, numbers, axes)


def difference(before: xr.Dataset, after: xr.Dataset) -> xr.Dataset:
    """Subtract one profile from another, bin by bin.

    Counts are subtracted too. Errors are combined::

        d = v_after - v_before,   error = sqrt(error_before^2 + error_after^2)

    Parameters
    ----------
    before
        Dataset from ``profile`` or ``grid_profile``.
    after
        Dataset with the same bins, species and variables.

    Returns
    -------
    difference
        Differences, with the variables of the profiles.

    Raises
    ------
    ParameterError
        If bins or variables differ.

    Notes
    -----
    If the cell has changed, bins are the same fractions but not the same places. Atoms
    may have moved between bins. The error treats both profiles as independent. It is
    too large if most atoms are the same in both. Average the difference of each atom
    instead: ``profile(..., values=after - before)``.

    Examples
    --------
    >>> r = np.array([[1.0, 1, 1], [1, 1, 2], [1, 1, 9]])
    >>> before = profile(r, np.eye(3) * 10, bins=2, values=[1.0, 3.0, 5.0])
    >>> after = profile(r, np.eye(3) * 10, bins=2, values=[2.0, 6.0, 10.0])
    >>> difference(before, after).value.values.tolist()
    [2.0, 5.0]
    """
    if dict(before.sizes) != dict(after.sizes) or set(before.data_vars) != set(after.data_vars):
        raise ParameterError(
            f"the profiles differ: {dict(before.sizes)} with "
            f"{sorted(map(str, before.data_vars))} before, {dict(after.sizes)} with "
            f"{sorted(map(str, after.data_vars))} after; "
            "make both with the same bins and values"
        )
    for name in before.dims:
        if not np.array_equal(before[name].values, after[name].values):
            raise ParameterError(
                f"the profiles differ in {name!r}; make both with the same bins and species"
            )
    data = {}
    for name in before.data_vars:
        old, new = before[name].values, after[name].values
        error = str(name).endswith("_error")
        data[name] = (
            before[name].dims,
            np.hypot(old, new) if error else new - old,
            before[name].attrs,
        )
    keep = {str(d): before[d] for d in before.dims}
    return xr.Dataset(data, coords=keep, attrs={"long_name": "after - before"})
