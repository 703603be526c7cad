"""Where a Dataset comes from, and what its whole store holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from mgdask._typing import IntArray
from mgdask.errors import ParameterError
from mgdask.explore.selecting import Mask, as_mask, atom_ids, elements
from mgdask.features.feature import Feature
from mgdask.features.recipe import gather_features
from mgdask.pipelines.featurize.lazy import featurize
from mgdask.pipelines.rdf import rdf_of
from mgdask.store.open import open_store

OPENED = "mgdask_opened"
"""Attr that ``open_store`` sets in memory."""


@dataclass(frozen=True)
class Origin:
    """The store that a Dataset was opened from.

    Attributes
    ----------
    store
        Path or address.
    content
        Digest of its content then.
    n_frames, n_atoms
        Its size then.
    """

    store: str
    content: str
    n_frames: int
    n_atoms: int


def origin_of(ds: xr.Dataset) -> Origin | None:
    """Return the store that a Dataset was opened from, or None.

    Parameters
    ----------
    ds
        Dataset from ``open_store``, or a selection of it.
    """
    text = ds.attrs.get(OPENED)
    if text is None:
        return None
    known = json.loads(text) if isinstance(text, str) else dict(text)
    return Origin(
        str(known["store"]), str(known["content"]), int(known["n_frames"]), int(known["n_atoms"])
    )


def lacks_atoms(ds: xr.Dataset) -> bool:
    """Return whether a Dataset has fewer atoms than the store that it was opened from.

    Parameters
    ----------
    ds
        Dataset from ``open_store``, or a selection of it.
    """
    origin = origin_of(ds)
    return origin is not None and ds.sizes.get("atom", 0) != origin.n_atoms


def is_selection(ds: xr.Dataset) -> bool:
    """Return whether a Dataset has fewer frames or atoms than its store.

    Parameters
    ----------
    ds
        Dataset from ``open_store``, or a selection of it.
    """
    origin = origin_of(ds)
    return origin is not None and (lacks_atoms(ds) or ds.sizes.get("frame", 1) != origin.n_frames)


def whole(ds: xr.Dataset) -> xr.Dataset:
    """Return a Dataset of the same frames with all atoms of its store.

    Parameters
    ----------
    ds
        Dataset with some atoms of the store that it was opened from.

    Raises
    ------
    ParameterError
        If the store has changed since then.
    """
    origin = origin_of(ds)
    if origin is None:
        return ds
    opened = open_store(origin.store)
    now = origin_of(opened)
    if now is not None and now.content != origin.content:
        raise ParameterError(
            f"{origin.store} has changed since the Dataset was opened; open it again with "
            "mgdask.open_store"
        )
    if "frame" not in ds.coords:
        return opened
    return opened.sel(frame=ds["frame"].values)


def rows_of(ds: xr.Dataset, all_atoms: xr.Dataset) -> IntArray:
    """Return the rows of the atoms of a Dataset among all atoms of its store.

    Parameters
    ----------
    ds
        Dataset with some atoms.
    all_atoms
        From ``whole``.
    """
    known = atom_ids(all_atoms)
    order = np.argsort(known, kind="stable")
    rows: IntArray = order[np.searchsorted(known[order], atom_ids(ds))]
    return rows


def isolated(ds: xr.Dataset) -> xr.Dataset:
    """Return a Dataset whose atoms are all that there are.

    Parameters
    ----------
    ds
        Dataset from ``open_store``, or a selection of it.
    """
    alone = ds.copy()
    alone.attrs = {name: value for name, value in ds.attrs.items() if name != OPENED}
    return alone


def features_of(ds: xr.Dataset, features: Sequence[Feature | str] | Feature | str) -> xr.Dataset:
    """Compute features of the atoms of a Dataset, lazily.

    Parameters
    ----------
    ds
        Trajectory, or some of its frames and atoms.
    features
        Features, or their families as text, such as "coordination:cutoff=3.8".

    Returns
    -------
    dataset
        Dataset of ``featurize``. If ``ds`` has some atoms of its store, the features
        are theirs, with all atoms of the store as neighbors.

    Raises
    ------
    ParameterError
        If a feature is not known or cannot describe the atoms.
    """
    if not isinstance(features, Feature | str | Iterable):
        raise ParameterError(
            f"features={features!r} must be features such as mgdask.Coordination(), or their "
            "families as text, such as 'coordination:cutoff=3.8'"
        )
    listed = [features] if isinstance(features, Feature | str) else list(features)
    all_atoms = whole(ds) if lacks_atoms(ds) else ds
    made: list[Feature] = []
    for each in listed:
        if isinstance(each, str):
            made += gather_features([each], [], None, sorted(set(elements(all_atoms).tolist())))
        else:
            made.append(each)
    if all_atoms is ds:
        return featurize(ds, made)
    return featurize(all_atoms, made, centers=rows_of(ds, all_atoms))


def rdf_of_group(
    ds: xr.Dataset, r_max: float, bins: int, centers: Mask, neighbors: Mask
) -> xr.Dataset:
    """Compute radial distribution functions of groups of atoms.

    Parameters
    ----------
    ds
        Trajectory, or some of its frames and atoms.
    r_max, bins
        See ``partial_rdf``.
    centers
        Atoms of ``ds``. Default: all of them.
    neighbors
        Atoms of its store. Default: all of them.

    Returns
    -------
    rdf
        Dataset of ``partial_rdf``.
    """
    for name in ("position", "cell"):
        if name not in ds.variables:
            raise ParameterError(
                f"the Dataset has no {name}, which rdf needs. Features have no positions: join "
                "them to their trajectory first, trajectory.mg.join(features).mg.rdf(...)"
            )
    chosen = None if centers is None else as_mask(ds, centers)
    all_atoms = ds
    if lacks_atoms(ds):
        all_atoms = whole(ds)
        rows = rows_of(ds, all_atoms)
        everywhere = np.zeros(all_atoms.sizes["atom"], dtype=bool)
        everywhere[rows if chosen is None else rows[chosen]] = True
        chosen = everywhere
    counted = None if neighbors is None else as_mask(all_atoms, neighbors)
    return rdf_of(all_atoms, r_max=r_max, bins=bins, centers=chosen, neighbors=counted)
