"""Profiles of one configuration: density, composition and values of atoms in slabs or on a grid; before and after.

Bins are equal steps of the fraction along cell vectors, so slabs lie parallel to the cell's faces in any triclinic cell
and all have one volume.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask import geometry as box
from mgdask._typing import Periodic
from mgdask.analysis.estimate import Float, Integer, share_variance, vector
from mgdask.elements import symbol
from mgdask.errors import ParameterError

Values = Mapping[str, npt.ArrayLike] | npt.ArrayLike | None
AXES = {"a": 0, "b": 1, "c": 2, "x": 0, "y": 1, "z": 2}


def _fractions(
    position: npt.ArrayLike, cell: npt.ArrayLike, origin: npt.ArrayLike | None, pbc: Periodic
) -> tuple[Float, Float]:
    """Fractions (atom, 3), within [0, 1) along periodic vectors, and the cell."""
    r = np.asarray(position, dtype=np.float64)
    if r.ndim != 2 or r.shape[1] != 3 or not np.isfinite(r).all():
        raise ParameterError(
            f"position has shape {r.shape}; it must be finite numbers (atom, 3) in Å, of one frame"
        )
    if len(pbc) != 3:
        raise ParameterError(f"pbc={pbc!r} must be three booleans, one a cell vector")
    frame = np.asarray(cell, dtype=np.float64)
    if frame.shape == (3, 3) and not frame.any(axis=1).all():
        raise ParameterError(
            "cell has a vector of zeros, along which there are no bins; give it the length to bin over"
        )
    full = box.complete_cell(frame, pbc)
    corner = np.zeros(3) if origin is None else vector("origin", origin, length=3)
    wrapped, _ = box.wrap(r, full, corner, pbc)
    fraction = box.fractional(wrapped, full, corner)
    inside = np.asarray(pbc, dtype=bool) & (fraction >= 1.0)  # by rounding
    return np.where(inside, np.nextafter(1.0, 0.0), fraction), full


def _binned(
    fraction: Float,
    cell: Float,
    values: Values,
    numbers: npt.ArrayLike | None,
    bins: dict[str, tuple[int, int]],
) -> xr.Dataset:
    """Statistics in bins: name of the dim -> (axis, number of bins)."""
    n_atoms = len(fraction)
    shape = tuple(n for _, n in bins.values())
    flat = np.zeros(n_atoms, dtype=np.int64)
    inside = np.ones(n_atoms, dtype=bool)
    for axis, n in bins.values():
        s = fraction[:, axis]
        inside &= (s >= 0.0) & (s < 1.0)
        flat = flat * n + np.clip(np.floor(s * n), 0, n - 1).astype(np.int64)
    where = flat[inside]
    total = int(np.prod(shape))
    dims = tuple(bins)
    count: Integer = np.bincount(where, minlength=total).astype(np.int64)
    size = box.volume(cell) / total
    density = {"units": "Å^-3"}
    data: dict[str, tuple[tuple[str, ...], npt.NDArray[np.generic], dict[str, str]]] = {
        "count": (dims, count.reshape(shape), {"units": "1", "long_name": "atoms"}),
        "density": (
            dims,
            (count / size).reshape(shape),
            {**density, "long_name": "number density"},
        ),
        "density_error": (
            dims,
            (np.sqrt(count) / size).reshape(shape),
            {**density, "long_name": "sqrt(count) / volume"},
        ),
    }
    coords: dict[str, object] = {}
    if numbers is not None:
        z = np.asarray(numbers)
        if z.shape != (n_atoms,) or z.dtype.kind not in "iu":
            raise ParameterError(
                f"numbers must be {n_atoms} atomic numbers, one an atom; got {z.dtype} {z.shape}"
            )
        kinds = np.unique(z)
        each = np.stack(
            [np.bincount(where[z[inside] == k], minlength=total) for k in kinds], axis=1
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            share = each / count[:, None]
        error = np.sqrt(share_variance(each, count[:, None] * np.ones(len(kinds))))
        both = (*dims, "species")
        wide = (*shape, len(kinds))
        data["species_count"] = (
            both,
            each.reshape(wide),
            {"units": "1", "long_name": "atoms of a species"},
        )
        data["composition"] = (
            both,
            share.reshape(wide),
            {"units": "1", "long_name": "share of a species"},
        )
        data["composition_error"] = (
            both,
            error.reshape(wide),
            {"units": "1", "long_name": "its standard error"},
        )
        coords["species"] = [symbol(int(k)) for k in kinds]
    for name, value in _named(values).items():
        if name in data:
            raise ParameterError(
                f"a value cannot be called {name!r}, which the profile has already; give another name"
            )
        v = vector(name, value, length=n_atoms, finite=False)[inside]
        good = np.isfinite(v)
        at, v = where[good], v[good]
        there = np.bincount(at, minlength=total)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.bincount(at, weights=v, minlength=total) / there
            square = np.bincount(at, weights=(v - mean[at]) ** 2, minlength=total)
            error = np.where(there > 1, np.sqrt(square / (there - 1.0) / there), np.nan)
        data[name] = (dims, mean.reshape(shape), {"long_name": f"mean of {name}"})
        data[f"{name}_error"] = (
            dims,
            error.reshape(shape),
            {"long_name": f"standard error of the mean of {name}"},
        )
        data[f"{name}_count"] = (
            dims,
            there.reshape(shape),
            {"units": "1", "long_name": f"atoms with a {name}"},
        )
    heights = box.face_heights(cell)
    for dim, (axis, n_bins) in bins.items():
        middle = (np.arange(n_bins) + 0.5) / n_bins
        coords[dim] = (
            dim,
            middle,
            {"units": "1", "long_name": "fraction along the cell vector, middle of the bin"},
        )
        coords[f"{dim}_distance"] = (
            dim,
            middle * heights[axis],
            {"units": "Å", "long_name": "from the lower face"},
        )
    return xr.Dataset(
        data, coords=coords, attrs={"outside": int((~inside).sum()), "bin_volume": size}
    )


def _named(values: Values) -> dict[str, npt.ArrayLike]:
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
    """Number density, composition and means of values of the atoms in slabs along a cell vector.

        slab of an atom: floor(bins s),  r = origin + s @ cell;   density = n / (V / bins)
        mean = 1/n sum_i v_i,  error = s / sqrt(n) with s their standard deviation
        composition c = n_X / n,  error = sqrt(p (1 - p) / n),  p = (n_X + 1/2) / (n + 1)

    Parameters: ``position`` (atom, 3) in Å; ``cell`` (3, 3), rows the vectors, in Å; ``origin`` (3,) in Å, 0 where
    None; ``axis`` "a", "b", "c" (or "x", "y", "z", or 0, 1, 2) the cell vector; ``bins`` slabs; ``numbers`` (atom,)
    atomic numbers for the composition; ``values`` (atom,), or a mapping from names to them, NaN left out; ``pbc``
    whether the cell repeats: atoms outside along other vectors than ``axis`` still count.

    Returns a Dataset (slab,): ``count``, ``density`` (Å^-3) with ``density_error`` sqrt(n) / volume; with numbers
    ``composition``, ``composition_error`` and ``species_count`` (slab, species); with values ``value``,
    ``value_error``, ``value_count`` or their names so. Coordinates ``slab``, the fraction at its middle, and
    ``slab_distance``, from the lower face along its normal in Å. attrs: ``outside``, atoms outside the cell along a
    free axis, in no slab; ``bin_volume`` in Å^3. Slabs are parallel to the face of the two other vectors in triclinic
    cells too. Errors are those of independent atoms; sqrt(n) is too large in a dense liquid, whose compressibility is
    small. NaN means in empty slabs. ``ParameterError`` for arrays that do not fit together.

    >>> r = np.array([[1.0, 1, 1], [1, 1, 2], [1, 1, 9]])
    >>> profile(r, np.eye(3) * 10, bins=2, values={"q": [1.0, 3.0, 5.0]}).q.values.tolist()
    [2.0, 5.0]
    """
    which = AXES.get(axis) if isinstance(axis, str) else axis
    if which not in (0, 1, 2):
        raise ParameterError(
            f"axis={axis!r} must be 'a', 'b' or 'c' (or 0, 1, 2), the cell vector to go along"
        )
    if bins < 1:
        raise ParameterError(f"bins={bins} must be at least 1")
    fraction, full = _fractions(position, cell, origin, pbc)
    return _binned(fraction, full, values, numbers, {"slab": (int(which), int(bins))})


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
    """Number density, composition and means of values of the atoms on a grid of the cell.

    Formulas, parameters and results are ``profile``'s, with dims ("a", "b", "c") in place of "slab", and ``bins`` three
    numbers, or one for all. Every bin is a copy of the cell, made smaller. Valid as there; bins with few atoms have
    errors that are rough. ``ParameterError`` as there.

    >>> r = np.array([[1.0, 1, 1], [1, 1, 2], [1, 1, 9]])
    >>> grid_profile(r, np.eye(3) * 10, bins=(1, 1, 2))["count"].values.ravel().tolist()
    [2, 1]
    """
    each = (bins,) * 3 if isinstance(bins, int) else tuple(int(n) for n in bins)
    if len(each) != 3 or min(each) < 1:
        raise ParameterError(f"bins={bins!r} must be one whole number or three, each at least 1")
    fraction, full = _fractions(position, cell, origin, pbc)
    return _binned(
        fraction,
        full,
        values,
        numbers,
        {d: (k, n) for k, (d, n) in enumerate(zip("abc", each, strict=True))},
    )


def difference(before: xr.Dataset, after: xr.Dataset) -> xr.Dataset:
    """What changed from one profile to another: after minus before, bin by bin.

        d = v_after - v_before,   error = sqrt(error_before^2 + error_after^2)

    Parameters: ``before`` and ``after`` from ``profile`` or ``grid_profile`` with the same bins and species. Returns a
    Dataset with the same variables; counts are differences too. Bins are the same fractions, not the same places, where
    the cell has changed; atoms may have moved between bins. The error takes both as independent. It is too large where
    most atoms are the same in both: then average the difference of each atom instead, ``profile(..., values=after -
    before)``. ``ParameterError`` where bins or variables differ.

    >>> r = np.array([[1.0, 1, 1], [1, 1, 2], [1, 1, 9]])
    >>> one, two = (profile(r, np.eye(3) * 10, bins=2, values=[1.0 * k, 3.0 * k, 5.0 * k]) for k in (1, 2))
    >>> difference(one, two).value.values.tolist()
    [2.0, 5.0]
    """
    if dict(before.sizes) != dict(after.sizes) or set(before.data_vars) != set(after.data_vars):
        raise ParameterError(
            f"the profiles differ: {dict(before.sizes)} with {sorted(map(str, before.data_vars))} before, "
            f"{dict(after.sizes)} with {sorted(map(str, after.data_vars))} after; "
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
