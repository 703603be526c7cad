"""Checks of arguments: features, centers, frames, memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from dask.utils import parse_bytes

from mgdask._typing import FloatArray, IntArray
from mgdask.elements import atomic_number, symbol
from mgdask.errors import ParameterError
from mgdask.features.engine import FeatureKinds, check_one_input
from mgdask.features.feature import Feature
from mgdask.features.window import FrameAxis
from mgdask.geometry import cell_changes
from mgdask.pipelines.frame_values import attach_command
from mgdask.store.frame_values import values_digest

Centers: TypeAlias = str | Sequence[str] | npt.ArrayLike | None
"""Element symbols or indices of central atoms; None for all."""
Frames: TypeAlias = slice | npt.ArrayLike | None
"""A slice or increasing indices of frames; None for all."""

RESERVED = ("frame", "atom", "atom_id", "species", "time", "step", "run", "manifest")
"""Names in an output that are not features."""


def select_centers(centers: Centers, numbers: npt.NDArray[np.integer]) -> IntArray:
    """Return the indices of the central atoms.

    Parameters
    ----------
    centers
        Element symbols, or increasing indices of atoms, or None for all atoms.
    numbers
        Atomic numbers (atom,).

    Returns
    -------
    centers
        Increasing indices (center,).

    Raises
    ------
    ParameterError
        If an element is missing, or indices are not increasing or out of range.
    """
    if centers is None:
        return np.arange(len(numbers))
    given = np.atleast_1d(np.asarray(centers))
    if given.dtype.kind == "U" and given.size:
        kinds = [atomic_number(str(name)) for name in given]
        missing = [symbol(z) for z in kinds if z not in numbers]
        if missing:
            raise ParameterError(f"centers={centers!r}: there is no {missing[0]} in the store")
        return np.flatnonzero(np.isin(numbers, kinds))
    rows = np.asarray(centers)
    if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer) or rows.size == 0:
        raise ParameterError(
            f"centers={centers!r} must be element symbols or indices of atoms (integers)"
        )
    if rows.min() < 0 or rows.max() >= len(numbers) or (np.diff(rows) <= 0).any():
        raise ParameterError(
            f"centers must be increasing indices from 0 to {len(numbers) - 1}; "
            f"got {rows.min()} to {rows.max()}"
        )
    return rows.astype(np.int64)


def select_rows(
    features: Sequence[Feature], axis: FrameAxis, frames: Frames, n_frames: int
) -> IntArray:
    """Return the frames that have rows.

    Parameters
    ----------
    features
        Features that all read frames, or all read trajectories.
    axis
        Times and runs of all frames.
    frames
        Requested frames. Features of trajectories choose their own (``origins``).
    n_frames
        Number of frames.

    Returns
    -------
    frames
        Increasing indices (frame,).

    Raises
    ------
    ParameterError
        If ``frames`` is not allowed, or features of trajectories differ in origins.
    """
    trajectories = FeatureKinds.of(features).trajectories
    if not trajectories:
        return select_frames(frames, n_frames)
    if frames is not None:
        raise ParameterError(
            f"frames={frames!r} is for features of whole frames; "
            f"{trajectories[0].name} reads unwrapped trajectories: set its origins instead"
        )
    origins = [feature.origin_frames(axis) for feature in trajectories]
    if any(not np.array_equal(origins[0], other) for other in origins[1:]):
        raise ParameterError("the features have different origins; make a plan for each")
    return origins[0]


def check_names(features: Sequence[Feature], values: Iterable[str], store: str) -> None:
    """Raise ``ParameterError`` if a feature has the name of a value of frames.

    Parameters
    ----------
    features
        Features to compute.
    values
        Names of the values of frames, which the output keeps.
    store
        The store, for the message.
    """
    taken = set(values)
    for feature in features:
        if feature.name in taken:
            raise ParameterError(
                f"a feature is named {feature.name!r}, which is a value of the frames of {store} "
                "that the output keeps; give it another name: feature.named('...')"
            )


def check_frame_values(
    features: Sequence[Feature],
    values: Mapping[str, FloatArray],
    axis: FrameAxis,
    rows: IntArray,
    store: str | None,
) -> dict[str, str]:
    """Check that all frames to compute have the values that the features read.

    Parameters
    ----------
    features
        Features to compute.
    values
        Values (frame,) of all frames by name.
    axis
        Times and runs of all frames.
    rows
        Frames to compute.
    store
        Path of the store, for the message; None for a Dataset in memory.

    Returns
    -------
    digests
        Digest of each variable that a feature reads, by name.

    Raises
    ------
    ParameterError
        If a value is missing. The message gives the command that adds it.
    """
    digests = {}
    for feature in features:
        for name in feature.frame_values:
            where = store or "the Dataset"
            add = attach_command(where, name) if store else f"ds.assign({name}=('frame', ...))"
            hint = f" Or set {name}= of the feature" if hasattr(feature, name) else ""
            if name not in values:
                raise ParameterError(
                    f"{feature.name} needs the {name} of each frame, which {where} does not have. "
                    f"Add it: {add}.{hint}"
                )
            bad = rows[~np.isfinite(values[name][rows])]
            if len(bad):
                run = str(axis.run[bad[0]])
                add = attach_command(where, name, run) if store else add
                raise ParameterError(
                    f"{feature.name} needs the {name} of each frame; {where} lacks it in "
                    f"{len(bad)} of {len(rows)} frames, first in frame {bad[0]} (run {run!r}). "
                    f"Add it: {add}.{hint}"
                )
            if name == "temperature" and (values[name][rows] <= 0).any():
                k = int(rows[values[name][rows] <= 0][0])
                raise ParameterError(
                    f"{where}: the temperature of frame {k} is {values[name][k]:g} K; it must be "
                    "above 0 K"
                )
            digests[name] = values_digest(values[name])
    return digests


def needs_copy(
    features: Sequence[Feature], kind: str, cell: FloatArray, out: str
) -> tuple[str, str]:
    """Return the store of unwrapped trajectories that must be made first, and why.

    Parameters
    ----------
    features
        Features to compute.
    kind
        "trajectory", or "paths" if the input holds unwrapped trajectories already.
    cell
        Cell vectors (frame, 3, 3) in Å.
    out
        Feature store to write.

    Returns
    -------
    path, reason
        Path of that store and the reason; both are empty if none is needed.
    """
    trajectories = FeatureKinds.of(features).trajectories
    if not trajectories or kind == "paths":
        return "", ""
    if cell_changes(cell):
        why = "the cell changes, so trajectories are unwrapped by the toroidal scheme"
    elif any(feature.needs_drift for feature in trajectories):
        why = "the motion of the center of mass is to be removed"
    else:
        return "", ""
    return f"{out}.paths.zarr", why


def select_frames(frames: Frames, n_frames: int) -> IntArray:
    """Return the requested frames.

    Parameters
    ----------
    frames
        A slice or increasing indices, or None for all frames.
    n_frames
        Number of frames.

    Returns
    -------
    frames
        Increasing indices (frame,).

    Raises
    ------
    ParameterError
        If no frame is selected, or indices are not increasing or out of range.
    """
    if frames is None:
        return np.arange(n_frames)
    rows = np.arange(n_frames)[frames] if isinstance(frames, slice) else np.asarray(frames)
    if rows.ndim != 1 or not rows.size or not np.issubdtype(rows.dtype, np.integer):
        raise ParameterError(
            f"frames={frames!r} selects none of the {n_frames} frames; "
            "give a slice or increasing indices"
        )
    if rows.min() < 0 or rows.max() >= n_frames or (np.diff(rows) <= 0).any():
        raise ParameterError(f"frames={frames!r} must be increasing indices 0 to {n_frames - 1}")
    return rows.astype(np.int64)


def frames_text(frames: Sequence[int]) -> str:
    """Return increasing frames as ranges.

    Parameters
    ----------
    frames
        Indices of frames.

    Returns
    -------
    text
        Ranges START:STOP[:STEP] and numbers, for NumPy's ``r_`` and for ``--frames``.

    Examples
    --------
    >>> frames_text([0, 1, 2, 4, 6, 8, 11])
    '0:3,4:9:2,11'
    """
    parts, rest = [], list(frames)
    while rest:
        step = rest[1] - rest[0] if len(rest) > 1 else 1
        n = 1
        while n < len(rest) and rest[n] - rest[n - 1] == step:
            n += 1
        if n == 1 or (n == 2 and step > 1):
            parts.append(str(rest.pop(0)))
            continue
        parts.append(f"{rest[0]}:{rest[n - 1] + 1}" + (f":{step}" if step > 1 else ""))
        rest = rest[n:]
    return ",".join(parts)


def parse_frames(text: str, n_frames: int) -> IntArray:
    """Return the frames that a text such as "0:3,4:9:2,11" selects.

    Parameters
    ----------
    text
        Ranges START:STOP[:STEP] and numbers, joined by commas.
    n_frames
        Number of frames.

    Raises
    ------
    ParameterError
        If the text has another form, or its frames do not increase.

    Examples
    --------
    >>> parse_frames("0:3,4:9:2,-1", 12).tolist()
    [0, 1, 2, 4, 6, 8, 11]
    """
    every = np.arange(n_frames)
    parts = []
    try:
        for part in text.split(","):
            if ":" in part:
                ends = [int(word) if word.strip() else None for word in part.split(":")]
                parts.append(every[slice(*ends)])
            else:
                parts.append(every[[int(part)]])
    except (ValueError, TypeError):
        raise ParameterError(
            f"--frames {text} must be START:STOP[:STEP] or numbers, joined by commas, such as "
            "0:100:10 or 0:3,4:8"
        ) from None
    except IndexError:
        raise ParameterError(
            f"--frames {text} goes beyond the {n_frames} frames of the store"
        ) from None
    rows = np.concatenate(parts)
    if not len(rows):
        raise ParameterError(f"--frames {text} selects none of the {n_frames} frames of the store")
    if (np.diff(rows) <= 0).any():
        raise ParameterError(f"--frames {text} must increase and name no frame twice")
    return rows


def memory_of(text: str | int) -> int:
    """Return an amount of memory in bytes.

    Parameters
    ----------
    text
        Such as ``"2GiB"``, or a number of bytes.

    Returns
    -------
    size
        Size in bytes.

    Raises
    ------
    ParameterError
        If ``text`` is not a positive amount of memory.
    """
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
    """Check that features can be computed together for these atoms.

    Parameters
    ----------
    features
        One feature or several.
    numbers
        Atomic numbers (atom,).

    Returns
    -------
    features
        The features as a tuple, with parameters resolved that depend on the atoms.

    Raises
    ------
    ParameterError
        If there are no features, two have the same name, or a name is reserved. Also if
        some read frames and others trajectories, or one does not support a species.
    """
    if not isinstance(features, Feature | Iterable):
        raise ParameterError(f"features={features!r} must be features such as mgdask.SOAP(...)")
    given = (features,) if isinstance(features, Feature) else tuple(features)
    if not given or not all(isinstance(feature, Feature) for feature in given):
        raise ParameterError(f"features={features!r} must be features such as mgdask.SOAP(...)")
    names = [feature.name for feature in given]
    if len(set(names)) < len(names):
        raise ParameterError(
            f"two features are named {max(names, key=names.count)!r}; give one another name: "
            "feature.named('...'), or name: ... in a recipe"
        )
    taken = {*RESERVED, *(name for feature in given for name in feature.column_coordinates())}
    clash = next((name for name in names if name in taken), None)
    if clash is not None:
        raise ParameterError(
            f"a feature is named {clash!r}, which is the name of another variable in the output; "
            "give it another name"
        )
    check_one_input(FeatureKinds.of(given))
    decided = tuple(feature.for_atoms(numbers) for feature in given)
    for feature in decided:
        feature.check_species(np.unique(numbers))
    return decided
