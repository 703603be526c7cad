"""The lazy path: features as dask arrays, one task a block, nothing computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask.errors import ParameterError
from mgdask.features import Feature
from mgdask.store.layout import block_layout
from mgdask.tasks.plan import check_features, choose_centers

_NEEDED = ("position", "cell", "species")


def _fill(position: Any, cell: Any, centers: Any, *, feature: Feature, numbers: Any, pbc: Any) -> npt.NDArray[Any]:
    if position.size == 0 or centers.size == 0:  # dask asks for the type of the result with nothing in hand
        shape = (0, 0, feature.n_columns) if feature.per == "atom" else (0, feature.n_columns)
        return np.empty(shape, dtype=feature.output_dtype)
    return feature.compute_block(np.asarray(position), np.asarray(cell), numbers, np.asarray(centers), pbc)


def featurize(ds: xr.Dataset, features: Sequence[Feature] | Feature, *, centers: Any = None) -> xr.Dataset:
    """Features of a trajectory as a lazy, labelled Dataset.

    Parameters: ``ds`` with position(frame, atom, xyz) in Å, cell(frame, vector, xyz) in Å and species(atom), as from
    ``open_store`` (``isel(frame=...)`` of it works too); ``features`` to compute; ``centers`` element symbols or rows of central atoms.

    Returns a Dataset of dask arrays <name>(frame, atom, <name>_feature), or (frame, <name>_feature) where a feature averages, with the labels of the
    columns and the coordinates of frames and atoms. Nothing is computed; the values are bit for bit those of ``run``. For looking at some frames;
    for all of a long trajectory use ``plan`` and ``run``, which survive being killed.

    >>> out = mgdask.featurize(ds, [soap])                     # doctest: +SKIP
    >>> out.soap.isel(frame=0).sel(soap_feature="Cu-Zr l=4 n=1,1").compute()  # doctest: +SKIP
    """
    missing = [name for name in _NEEDED if name not in ds.variables]
    if missing:
        raise ParameterError(
            f"the Dataset has no {missing[0]}; featurize needs {', '.join(_NEEDED)}, as from mgdask.open_store"
        )
    numbers = np.asarray(ds["species"].values)
    chosen = check_features(features, numbers)
    rows = choose_centers(centers, numbers)
    pbc = np.asarray(ds["pbc"].values) if "pbc" in ds.variables else np.ones(3, dtype=bool)
    n_frames = ds.sizes["frame"]
    position = da.asarray(ds["position"].transpose("frame", "atom", "xyz").data)
    cell = da.asarray(ds["cell"].transpose("frame", "vector", "xyz").data)
    found: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    for feature in chosen:
        item = feature.n_columns * feature.output_dtype.itemsize
        per_atom = feature.per == "atom"
        cut = block_layout(n_frames, len(rows) if per_atom else 1, item)
        r = position.rechunk({0: cut.frames, 1: -1, 2: -1})
        box = cell.rechunk({0: cut.frames, 1: -1, 2: -1})
        index = da.from_array(rows, chunks=min(cut.rows, len(rows)) if per_atom else len(rows))
        values = da.blockwise(
            _fill, "fak" if per_atom else "fk", r, "fnx", box, "fvy", index, "a", feature=feature, numbers=numbers, pbc=pbc,
            new_axes={"k": feature.n_columns}, dtype=feature.output_dtype, concatenate=True,
            meta=np.empty((0,) * (3 if per_atom else 2), dtype=feature.output_dtype), name=None, align_arrays=False,
        )  # fmt: skip
        dims = ("frame", "atom", feature.dim) if per_atom else ("frame", feature.dim)
        attrs = {
            "long_name": feature.long_name,
            "units": "1",
            "citation": feature.citation,
            "parameters": feature.parameters(),
        }
        found[feature.name] = (dims, values, attrs)
        labels[feature.dim] = (feature.dim, np.asarray(feature.labels))
        labels |= {name: (feature.dim, column) for name, column in feature.coordinates().items()}
    for name in ("time", "step", "run"):
        if name in ds.variables:
            labels[name] = ds[name].variable
    if any(feature.per == "atom" for feature in chosen):
        for name in ("atom_id", "species"):
            if name in ds.variables:
                labels[name] = ds[name].variable.isel(atom=rows)
    return xr.Dataset(found, coords=labels, attrs={"citation": "; ".join(dict.fromkeys(f.citation for f in chosen))})
