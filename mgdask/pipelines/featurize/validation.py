"""What a plan is asked for: features, centres, frames, memory; refused in words where it cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from dask.utils import parse_bytes

from mgdask.elements import atomic_number, symbol
from mgdask.errors import ParameterError
from mgdask.features import Feature
from mgdask.features.lag import PathFeature
from mgdask.features.window import FrameAxis
from mgdask.geometry import cell_changes

RESERVED = ("frame", "atom", "atom_id", "species", "time", "step", "run", "manifest")
"""Names in an output that are no features."""


def select_centers(centers: Any, numbers: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Rows of the central atoms: all, those of some elements, or given rows (kept in order, each once)."""
    if centers is None:
        return np.arange(len(numbers))
    names = [centers] if isinstance(centers, str) else centers
    if len(names) and all(isinstance(name, str) for name in names):
        wanted = [atomic_number(name) for name in names]
        missing = [symbol(z) for z in wanted if z not in numbers]
        if missing:
            raise ParameterError(f"centers={centers!r}: there is no {missing[0]} in the store")
        return np.flatnonzero(np.isin(numbers, wanted))
    rows = np.asarray(centers)
    if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer) or rows.size == 0:
        raise ParameterError(
            f"centers={centers!r} must be element symbols or rows of atoms (integers)"
        )
    if rows.min() < 0 or rows.max() >= len(numbers) or (np.diff(rows) <= 0).any():
        raise ParameterError(
            f"centers must be increasing rows 0 to {len(numbers) - 1}; got {rows.min()} to {rows.max()}"
        )
    return rows.astype(np.int64)


def select_rows(
    features: Sequence[Feature], axis: FrameAxis, frames: Any, n_frames: int
) -> npt.NDArray[np.int64]:
    """The frames that have rows: those asked for, or the origins of features made of paths."""
    if features[0].reads == "frames":
        return select_frames(frames, n_frames)
    if frames is not None:
        raise ParameterError(
            "frames= chooses frames of features made of whole frames; those made of paths have origins="
        )
    found = [
        feature.origin_frames(axis) for feature in features if isinstance(feature, PathFeature)
    ]
    if any(not np.array_equal(found[0], other) for other in found[1:]):
        raise ParameterError("the features have different origins; make a plan for each")
    return found[0]


def needs_copy(
    features: Sequence[Feature], kind: str, cell: npt.NDArray[np.float64], out: str
) -> tuple[str, str]:
    """Where a store of paths has to be made first, and why; empty where not."""
    paths = [feature for feature in features if isinstance(feature, PathFeature)]
    if not paths or kind == "paths":
        return "", ""
    why = ""
    if cell_changes(cell):
        why = "the cell changes, so that paths are made by the toroidal scheme"
    elif any(feature.needs_drift for feature in paths):
        why = "the motion of the centre of mass is to be removed"
    return (f"{out}.paths.zarr", why) if why else ("", "")


def select_frames(frames: Any, n_frames: int) -> npt.NDArray[np.int64]:
    """Frames of the plan: all, a slice, or increasing indices."""
    if frames is None:
        return np.arange(n_frames)
    found = np.arange(n_frames)[frames] if isinstance(frames, slice) else np.asarray(frames)
    if found.ndim != 1 or not found.size or not np.issubdtype(found.dtype, np.integer):
        raise ParameterError(
            f"frames={frames!r} chooses none of the {n_frames} frames; give a slice or increasing indices"
        )
    if found.min() < 0 or found.max() >= n_frames or (np.diff(found) <= 0).any():
        raise ParameterError(f"frames={frames!r} must be increasing indices 0 to {n_frames - 1}")
    return found.astype(np.int64)


def memory_of(text: str | int) -> int:
    """Bytes of "2GiB"."""
    try:
        size = int(parse_bytes(text))
    except (ValueError, TypeError, AttributeError) as error:
        raise ParameterError(
            f"memory={text!r} is not an amount of memory such as '2GiB' or '800MB'"
        ) from error
    if size <= 0:
        raise ParameterError(f"memory={text!r} must be positive")
    return size


def check_features(
    features: Sequence[Feature] | Feature, numbers: npt.NDArray[np.integer]
) -> tuple[Feature, ...]:
    """The features, each of its own name, all able to describe these atoms."""
    found = (features,) if isinstance(features, Feature) else tuple(features)
    if not found or not all(isinstance(f, Feature) for f in found):
        raise ParameterError(f"features={features!r} must be features such as mgdask.SOAP(...)")
    names = [f.name for f in found]
    if len(set(names)) < len(names):
        raise ParameterError(
            f"two features are named {max(names, key=names.count)!r}; give one another name: feature.named('...'), in a recipe name: ..."
        )
    taken = {*RESERVED, *(coordinate for f in found for coordinate in f.coordinates())}
    clash = next((name for name in names if name in taken), None)
    if clash is not None:
        raise ParameterError(
            f"a feature is named {clash!r}, which is the name of something else in the output; give it another name"
        )
    if len({feature.reads for feature in found}) > 1:
        raise ParameterError(
            "features made of whole frames and features made of paths need a plan each, since their rows differ"
        )
    for feature in found:
        feature.check_species(np.unique(numbers))
    return found
