"""Samples of a dictionary: trajectory stores in order, and their environments.

An environment is one atom in one frame. Environments are numbered sample by sample,
frame by frame and atom by atom. This is the stored order, in which they are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from mgdask.store.open import check_complete, unchanged
from mgdask.store.shards import get_array, read_array

Stores: TypeAlias = str | Path | Sequence[str | Path]
"""One trajectory store, or several in the order in which they are read."""

BATCH = 256
"""Environments that are described and compared at a time."""


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
    return [str(path) for path in paths]


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
                raise ParameterError("it has no atoms, so that there is nothing to describe")
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
    """Raise ``ParameterError`` if a sample is among others already.

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
                f"{sample.path} has the same content and frames as {other.path}, which comes "
                "before it; give every sample once"
            )


class Batch(NamedTuple):
    """Environments of some atoms of one frame.

    Attributes
    ----------
    order
        Number of environments before the first one.
    frame
        Frame of the sample.
    centers
        Indices (row,) of the central atoms.
    species
        Atomic numbers (row,) of the central atoms.
    vectors
        Feature vectors (row, column), not scaled. The next batch overwrites them.
    """

    order: int
    frame: int
    centers: IntArray
    species: IntArray
    vectors: FloatArray


@dataclass(frozen=True)
class Samples:
    """All samples of a dictionary, and the feature that describes their environments.

    Attributes
    ----------
    feature
        The feature.
    sources
        The samples in order.
    """

    feature: FrameFeature
    sources: tuple[DictionarySource, ...]

    @property
    def starts(self) -> IntArray:
        """Number of the first environment of each sample, and the number of all."""
        counts = [source.n_environments for source in self.sources]
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def locate(self, order: int) -> tuple[int, int, int]:
        """Return the sample, the selected frame and the atom of an environment.

        Parameters
        ----------
        order
            Number of the environment.
        """
        starts = self.starts
        k = int(np.searchsorted(starts, order, side="right")) - 1
        frame, atom = divmod(order - int(starts[k]), self.sources[k].n_atoms)
        return k, frame, atom

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """Describe environments in order.

        Parameters
        ----------
        first, last
            Number of the first environment, and of the one after the last.

        Yields
        ------
        batch
            A ``Batch`` of one frame, with at most ``BATCH`` environments.

        Raises
        ------
        SourceChangedError
            If a sample has changed since it was checked.
        RunError
            If a position is not finite, or an environment has a vector of norm 0.
        """
        while first < last:
            k, frame, atom = self.locate(first)
            end = min(last, int(self.starts[k + 1]))
            source = self.sources[k]
            with unchanged(source.path, source.content):
                yield from self._of_sample(k, first, frame, atom, end - first)
            first = end

    def _of_sample(self, k: int, order: int, frame: int, atom: int, n: int) -> Iterator[Batch]:
        source = self.sources[k]
        reader = StoreSource(source.path, source.path)
        rows = parse_frames(source.frames, get_array(reader.group, "step").shape[0])
        step = trajectory_layout(source.n_atoms).chunk_frames
        out = np.empty((BATCH, self.feature.n_columns), dtype=np.float64)
        while n > 0:
            window = reader.read_window(rows[frame : frame + step], images=False)
            for place in range(len(window.frames)):
                centers = np.arange(atom, min(source.n_atoms, atom + n))
                environments = LocalEnvironments(
                    window.position[place],
                    window.cell[place],
                    window.numbers,
                    window.pbc,
                    centers,
                    self.feature.dependencies,
                )
                for start in range(0, len(centers), BATCH):
                    batch = centers[start : start + BATCH]
                    target = out[: len(batch)]
                    self.feature.describe(environments, batch, target)
                    species = environments.numbers[batch]
                    number = int(window.frames[place])
                    yield Batch(order + start, number, batch, species, target)
                order, n, atom = order + len(centers), n - len(centers), 0
                if n <= 0:
                    break
            frame += len(window.frames)


def describe_place(samples: Samples, order: int) -> str:
    """Return the store, frame and atom of an environment in words.

    Parameters
    ----------
    samples
        The samples.
    order
        Number of the environment.
    """
    k, frame, atom = samples.locate(order)
    source = samples.sources[k]
    reader = StoreSource(source.path, source.path)
    rows = parse_frames(source.frames, get_array(reader.group, "step").shape[0])
    atom_id = int(read_array(reader.group, "atom_id")[atom])
    return f"{source.path}, frame {rows[frame]}, atom {atom_id}"


def scale_to_unit(samples: Samples, batch: Batch) -> FloatArray:
    """Return the vectors of a batch, scaled to norm 1.

    Parameters
    ----------
    samples
        The samples, for the message.
    batch
        The batch. Its vectors are not changed.

    Raises
    ------
    RunError
        If a vector is zero or not finite.
    """
    scaled = unit_rows(batch.vectors)
    # the norm of each row is 1, except that zeros and NaN stay what they are
    bad = np.flatnonzero(~(np.abs(np.einsum("ij,ij->i", scaled, scaled) - 1.0) < 0.5))
    if len(bad):
        where = describe_place(samples, batch.order + int(bad[0]))
        norm = np.linalg.norm(batch.vectors[bad[0]])
        raise RunError(
            f"{where}: the vector of its environment has norm {norm:g}, so that it is similar to "
            "nothing. Leave the frame out (frames=), or choose a larger r_cut"
        )
    return scaled
