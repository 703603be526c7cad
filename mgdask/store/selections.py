"""Selections of a store that xarray wrote, and where an opened Dataset comes from.

``open_store`` adds the attr ``OPENED`` in memory. No store of mgdask has it, so
a Zarr group or a NetCDF file that has it was written by xarray from a selection.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgdask import variables
from mgdask.errors import StoreError

if TYPE_CHECKING:  # its import takes half a second
    import xarray as xr

OPENED = "mgdask_opened"
"""Attr of an opened Dataset: its store, the digest of its content, and its size."""

_NETCDF = (b"CDF", b"\x89HDF")


@dataclass(frozen=True)
class Opened:
    """Where an opened Dataset comes from.

    Attributes
    ----------
    store
        Path of the store, or of the selection that was opened.
    content
        Digest of its content; empty for a selection, whose content nobody recorded.
    n_frames, n_atoms
        Frames and atoms of the store, also if the Dataset has fewer.
    """

    store: str
    content: str
    n_frames: int
    n_atoms: int

    def attr(self) -> str:
        """Return the value of the attr ``OPENED``."""
        return json.dumps(self.__dict__, ensure_ascii=False)


def opened_from(ds: Any) -> Opened | None:
    """Return where a Dataset comes from, or None if it was made by hand.

    Parameters
    ----------
    ds
        A Dataset, or anything with ``attrs``.
    """
    try:
        about = json.loads(ds.attrs[OPENED])
        return Opened(
            str(about["store"]),
            str(about["content"]),
            int(about["n_frames"]),
            int(about["n_atoms"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def lasting(path: str | os.PathLike[str]) -> str:
    """Return a path that stays valid in another folder; URLs stay as they are.

    Parameters
    ----------
    path
        Path of a store.
    """
    text = os.fsdecode(path)
    return text if "://" in text else str(Path(text).absolute())


def is_selection(path: str | os.PathLike[str]) -> bool:
    """Return whether xarray wrote a selection of a store here.

    Parameters
    ----------
    path
        A folder or file of this machine.
    """
    place = Path(path)
    if place.is_dir():
        return not (place / "manifest").exists() and OPENED in _attrs_of_group(place)
    return _is_netcdf(place) and OPENED in _open_netcdf(place).attrs


def _attrs_of_group(folder: Path) -> dict[str, Any]:
    for name, key in (("zarr.json", "attributes"), (".zattrs", "")):  # formats 3 and 2
        try:
            text = (folder / name).read_text(encoding="utf-8")
            found = json.loads(text)
            attrs = found.get(key, {}) if key else found
        except (OSError, ValueError, AttributeError):
            continue
        return attrs if isinstance(attrs, dict) else {}
    return {}


def _is_netcdf(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(4).startswith(_NETCDF)
    except OSError:
        return False


def _open_netcdf(path: Path) -> xr.Dataset:
    import xarray as xr

    try:
        return xr.open_dataset(path, chunks={})
    except Exception as error:  # each library of NetCDF raises its own
        raise StoreError(
            f"{path} is a NetCDF or HDF5 file that xarray cannot open: {error}. A selection "
            "written by Dataset.to_netcdf needs the package netCDF4 or h5netcdf"
        ) from error


def open_selection(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a selection that xarray wrote; labels and attrs are those of a store.

    Parameters
    ----------
    path
        Zarr group or NetCDF file of ``Dataset.to_zarr`` or ``Dataset.to_netcdf``.

    Returns
    -------
    dataset
        As from ``open_store``, with the frames, atoms and variables of the selection.

    Raises
    ------
    StoreError
        If it cannot be read, or a variable is not as in a store.
    """
    import xarray as xr

    from mgdask.store.labels import with_labels

    place = Path(path)
    if place.is_dir():
        try:
            ds = xr.open_zarr(place)
        except Exception as error:  # a damaged file can raise anything
            raise StoreError(
                f"{path} is a selection written by xarray, which cannot be opened: {error}. "
                "Write it again"
            ) from error
    else:
        ds = _open_netcdf(place)
    before = opened_from(ds)
    kind = str(ds.attrs.get("mgdask_kind", ""))
    if before is None or kind not in variables.REQUIRED:
        raise StoreError(
            f"{path}: the attrs {OPENED} or mgdask_kind of the selection are damaged. Write it "
            "again, or open it with xarray"
        )
    if "frame" in ds.dims or kind == "dictionary":  # not one frame selected by its number
        variables.validate(ds, kind, path, required=False)
    small = [name for name, variable in ds.variables.items() if variable.ndim < 2]
    ds = with_labels(ds.assign({name: ds[name].load() for name in small}))
    own = Opened(lasting(path), "", ds.sizes.get("frame", 1), before.n_atoms)
    return ds.assign_attrs({OPENED: own.attr()})
