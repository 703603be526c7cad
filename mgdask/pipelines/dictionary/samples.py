"""Samples of a dictionary: trajectory stores in order, and their environments.

An environment is one atom in one frame. Environments are numbered sample by sample,
frame by frame and atom by atom. This is the stored order, in which they are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.errors import ParameterError, RunError
from mgdask.features.environments import LocalEnvironments
from mgdask.features.feature import Feature, FrameFeature
from mgdask.kernels.nearest import unit_rows
from mgdask.pipelines.featurize.block import StoreSource
from mgdask.pipelines.featurize.reach import check_cutoff
from mgdask.pipelines.featurize.validation import Frames, frames_text, parse_frames, select_frames
from mgdask.store.dictionaries import DictionarySource
from mgdask.store.layout import trajectory_layout
from mgdask.store.location import local_place
from mgdask.store.open import check_complete, unchanged
from mgdask.store.shards import get_array, read_array

Stores: TypeAlias = str | Path | Sequence[str | Path]
"""One trajectory store, or several in the order in which they are read."""

BATCH = 256
"""Number of environments that are described and compared at a time."""


def list_stores(stores: Stores) -> list[str]:
    """Return the paths of trajectory stores as text.

    Parameters
    ----------
    stores
        One store or several.

    Raises
    ------
    ParameterError
        If there is none.
    """
    paths = [stores] if isinstance(stores, str | Path) else list(stores)
    if not paths or not all(isinstance(path, str | Path) for path in paths):
        raise ParameterError(
            f"stores={stores!r} must be the path of a trajectory store, or a list of such paths"
        )
    return [str(local_place(path, "plan_dictionary reads")) for path in paths]


def check_feature(feature: object) -> FrameFeature:
    """Return a feature that describes single atoms of single frames.

    Parameters
    ----------
    feature
        Feature of a dictionary.

    Raises
    ------
    ParameterError
        If it is anything else.
    """
    if isinstance(feature, FrameFeature) and feature.level == "atom":
        return feature
    if isinstance(feature, Feature):
        what = f"{type(feature).__name__} with one row per {feature.level}"
    else:
        what = repr(feature)
    raise ParameterError(
        f"soap={what} must be a feature of the atoms of single frames, such as "
        "mgdask.SOAP(species=('Cu', 'Zr'), r_cut=5.0, n_max=11, l_max=12, sigma=0.5)"
    )


def read_samples(
    stores: Sequence[str], feature: FrameFeature, frames: Frames = None
) -> list[DictionarySource]:
    """Check trajectory stores and return the samples of a dictionary.

    Parameters
    ----------
    stores
        Paths of finished trajectory stores.
    feature
        Feature of the dictionary.
    frames
        A slice or increasing indices, for each store. Default: all frames.

    Raises
    ------
    ParameterError
        If ``frames`` selects nothing, a sample is given twice, or the feature cannot
        describe it.
    StoreError
        If a store is not a finished trajectory.
    """
    samples: list[DictionarySource] = []
    for store in stores:
        group, content = check_complete(store, kind="trajectory")
        numbers = read_array(group, "species")
        try:
            rows = select_frames(frames, len(read_array(group, "step")))
            feature.check_species(np.unique(numbers))
            if not len(numbers):
                raise ParameterError("it has no atoms, so there is nothing to describe")
            check_cutoff(store, rows, feature.reach, feature.name)
        except ParameterError as error:
            raise ParameterError(f"{store}: {error}") from None
        sample = DictionarySource(
            store, content, frames_text(rows.tolist()), len(rows), len(numbers)
        )
        check_new_sample(sample, samples)
        samples.append(sample)
    return samples


def check_new_sample(sample: DictionarySource, others: Sequence[DictionarySource]) -> None:
    """Raise ``ParameterError`` if a sample was already given.

    Parameters
    ----------
    sample
        The sample.
    others
        Samples before it.
    """
    for other in others:
        if (other.content, other.frames) == (sample.content, sample.frames):
            raise ParameterError(
                f"{sample.path} has the same content and frames as {other.path}, which was "
                "given before it; give every sample once"
            )


def first_environments(sources: Sequence[DictionarySource]) -> IntArray:
    """Return the number of the first environment of each sample, and that of all.

    Parameters
    ----------
    sources
        The samples in order.
    """
    counts = [source.n_environments for source in sources]
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


class Batch(NamedTuple):
    """Environments of some atoms of one frame.

    Attributes
    ----------
    first
        Number of environments of the sample before the first one.
    frame
        Frame of the sample.
    atom_id, species
        Ids and atomic numbers (row,) of the central atoms.
    vectors
        Vectors (row, column) of norm 1. The next batch overwrites them.
    """

    first: int
    frame: int
    atom_id: IntArray
    species: IntArray
    vectors: FloatArray


def environments(
    feature: FrameFeature, source: DictionarySource, first: int, last: int
) -> Iterator[Batch]:
    """Describe environments of a sample in order.

    Parameters
    ----------
    feature
        The feature.
    source
        The sample.
    first, last
        Number of the first environment in the sample, and of the one after the last.

    Yields
    ------
    batch
        A ``Batch`` of one frame, with at most ``BATCH`` environments.

    Raises
    ------
    SourceChangedError
        If the sample has changed since it was checked.
    RunError
        If a position is not finite, or an environment has a vector of norm 0.
    """
    with unchanged(source.path, source.content):
        reader = StoreSource(source.path, source.path)
        ids = read_array(reader.group, "atom_id").astype(np.int64)
        rows = parse_frames(source.frames, get_array(reader.group, "step").shape[0])
        step = trajectory_layout(source.n_atoms).chunk_frames
        out = np.empty((BATCH, feature.n_columns), dtype=np.float64)
        try:
            while first < last:
                k, atom = divmod(first, source.n_atoms)
                n_frames = min(step, -(-last // source.n_atoms) - k)
                window = reader.read_window(rows[k : k + n_frames], images=False)
                for place in range(n_frames):
                    frame = int(window.frames[place])
                    end = min(source.n_atoms, atom + last - first)
                    around = LocalEnvironments(
                        window.position[place],
                        window.cell[place],
                        window.numbers,
                        window.pbc,
                        np.arange(atom, end),
                        feature.dependencies,
                    )
                    for start in range(atom, end, BATCH):
                        centers = np.arange(start, min(start + BATCH, end))
                        vectors = out[: len(centers)]
                        feature.describe(around, centers, vectors)
                        unit_rows(vectors, vectors)
                        _check_direction(vectors, frame, ids[centers])
                        yield Batch(first, frame, ids[centers], around.numbers[centers], vectors)
                        first += len(centers)
                    atom = 0
        except RunError as error:
            raise RunError(f"{source.path}: {error}") from None


def _check_direction(vectors: FloatArray, frame: int, ids: IntArray) -> None:
    """Refuse vectors that are zero or not finite; all others have norm 1."""
    # scaling has made NaN of a whole vector, or zeros where it was not infinite
    suspicious = np.flatnonzero(~(np.abs(vectors[:, 0]) > 0.0))
    square = (vectors[suspicious] ** 2).sum(axis=1)
    bad = np.flatnonzero(~(np.abs(square - 1.0) < 0.5))
    if len(bad):
        raise RunError(
            f"frame {frame}: the vector of atom {ids[suspicious[bad[0]]]} is "
            f"{'zero' if square[bad[0]] == 0.0 else 'not finite'}, so its environment is not "
            "similar to any other. Leave the frame out (frames=), or choose a larger r_cut"
        )
