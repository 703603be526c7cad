"""The dictionary store: unique local environments, with the origin of each.

A dictionary has one row per entry. ``vector`` holds the feature vectors, scaled to norm
1, in shards of rows. Small arrays say which sample, frame and atom each entry comes
from. Attributes hold the feature, the threshold and the samples. All of it depends on
the samples and on these parameters alone, never on how the work was cut.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mgdask import variables
from mgdask._typing import FloatArray, IntArray
from mgdask.errors import StoreError
from mgdask.store.attributes import COORDINATES, decode
from mgdask.store.creation import created_whole
from mgdask.store.failures import explained
from mgdask.store.layout import CHUNK, MIN_SHARD, ROWS_IN_CHUNK, ceil_div
from mgdask.store.location import local_place
from mgdask.store.manifest import Manifest
from mgdask.store.open import OF_ATOMS, OF_ENTRIES, check_complete
from mgdask.store.provenance import digest, versions
from mgdask.store.shards import (
    FEATURE_COMPRESSION,
    get_array,
    new_array,
    new_group,
    open_group,
    put,
    read_array,
    write_shard,
)
from mgdask.store.sources import source_array

FORMAT = 1
"""Version of the format of dictionaries."""
ORIGINS = ("species", "source", "frame", "atom_id", "order")
"""Arrays (entry,) with the origin of each entry."""
SIMILARITY = "M = 1 - sqrt(|p_i - p_j|^2 / 2) of vectors p of norm 1"
"""Similarity to which the threshold applies."""
CITATION = "Liu C. et al., Acta Mater. 259, 119281 (2023)"
"""Paper that introduced dictionaries of unique local environments."""
MAX_LOADED = 4
"""Maximum number of dictionaries whose vectors a process keeps."""


@dataclass(frozen=True)
class DictionarySource:
    """A sample from which a dictionary was built.

    Attributes
    ----------
    path
        Trajectory store, as it was given.
    content
        Digest of its content.
    frames
        Frames that were read, such as ``"0:60"``.
    n_frames, n_atoms
        Number of these frames, and atoms per frame.
    """

    path: str
    content: str
    frames: str
    n_frames: int
    n_atoms: int

    @property
    def n_environments(self) -> int:
        """Number of environments of the sample."""
        return self.n_frames * self.n_atoms


@dataclass(frozen=True)
class DictionaryDescription:
    """What determines a dictionary: feature, threshold and samples in order.

    Attributes
    ----------
    feature
        ``family`` and ``parameters`` of the feature, as JSON can hold them.
    labels
        Labels of its columns.
    threshold
        Similarity at or above which an environment is covered by an entry.
    per_species
        Whether only environments with central atoms of one species are compared.
    sources
        Samples in the order in which they were read.
    """

    feature: Mapping[str, Any]
    labels: Sequence[str]
    threshold: float
    per_species: bool
    sources: tuple[DictionarySource, ...]

    @property
    def n_environments(self) -> int:
        """Number of environments of all samples."""
        return sum(source.n_environments for source in self.sources)

    def digest(self) -> str:
        """Return a digest that identifies the dictionary, whatever the sample paths."""
        sources = [[source.content, source.frames] for source in self.sources]
        described = [self.feature, float(self.threshold), self.per_species, sources]
        return digest([FORMAT, *described])

    def attrs(self) -> dict[str, Any]:
        """Return the attributes of the store."""
        return {
            "mgdask_kind": "dictionary",
            "mgdask_format": FORMAT,
            COORDINATES: " ".join((*OF_ATOMS[:2], *OF_ENTRIES[:3])),
            "dictionary_digest": self.digest(),
            "feature": dict(self.feature),
            "threshold": float(self.threshold),
            "similarity": SIMILARITY,
            "per_species": self.per_species,
            "sources": [asdict(source) for source in self.sources],
            "n_environments": self.n_environments,
            "citation": CITATION,
            "versions": versions(),
        }


@dataclass(frozen=True, eq=False)
class Dictionary:
    """A finished dictionary; its vectors are read on demand.

    Attributes
    ----------
    path
        The store.
    content
        Digest of its content.
    n_entries, n_columns
        Number of entries, and of columns of their vectors.
    threshold
        Similarity below which two environments are different.
    per_species
        Whether only environments with central atoms of one species were compared.
    feature
        ``family`` and ``parameters`` of the feature.
    species
        Atomic number (entry,) of the central atom.
    source, frame, atom_id
        Sample (index of ``sources``), frame and atom (entry,) of each entry.
    order
        Number of environments (entry,) that were read before it.
    sources
        Samples that were read.
    n_environments
        Number of environments that were read.
    """

    path: str
    content: str
    n_entries: int
    n_columns: int
    threshold: float
    per_species: bool
    feature: dict[str, Any]
    species: IntArray
    source: IntArray
    frame: IntArray
    atom_id: IntArray
    order: IntArray
    sources: tuple[DictionarySource, ...]
    n_environments: int

    @property
    def max_squared_distance(self) -> float:
        """Largest squared distance of vectors that are similar, 2 (1 - threshold)^2."""
        return max_squared_distance(self.threshold)

    @property
    def groups(self) -> IntArray | None:
        """Group (entry,) within which entries are compared; None if all of them are."""
        return self.species if self.per_species else None

    def vectors(self) -> FloatArray:
        """Return the vectors (entry, column) of all entries, of norm 1.

        They are compared with their records and read once per process. Do not change
        them.

        Raises
        ------
        DamagedStoreError
            If a file is damaged.
        StoreError
            If the dictionary has changed since it was opened.
        """
        return _vectors(self.path, self.content)


def max_squared_distance(threshold: float) -> float:
    """Return the largest squared distance of two similar vectors of norm 1.

    Parameters
    ----------
    threshold
        Similarity from which two environments count as one.

    Examples
    --------
    >>> max_squared_distance(0.5)
    0.5
    """
    return 2.0 * (1.0 - threshold) ** 2


def read_dictionary(path: str | Path) -> Dictionary:
    """Open a finished dictionary of unique local environments.

    Parameters
    ----------
    path
        The store, made by ``mgdask.build_dictionary``.

    Returns
    -------
    dictionary
        Threshold, feature, and the origin of every entry. ``vectors()`` reads the
        vectors on demand.

    Raises
    ------
    StoreError
        If it is not a finished dictionary, or is damaged.

    Examples
    --------
    >>> dictionary = mgdask.read_dictionary("ules.zarr")  # doctest: +SKIP
    >>> dictionary.n_entries, dictionary.threshold  # doctest: +SKIP
    (5223, 0.84)
    """
    path = local_place(path, "read_dictionary reads")
    group, content = check_complete(path, kind="dictionary")
    attrs: dict[str, Any] = dict(group.attrs)
    array = get_array(group, "vector")
    origins = {name: read_array(group, name).astype(np.int64) for name in ORIGINS}
    for values in origins.values():
        values.flags.writeable = False
    return Dictionary(
        path=str(path),
        content=content,
        n_entries=array.shape[0],
        n_columns=array.shape[1],
        threshold=float(attrs["threshold"]),
        per_species=bool(attrs["per_species"]),
        feature=dict(decode(attrs, "feature")),
        sources=tuple(DictionarySource(**source) for source in decode(attrs, "sources")),
        n_environments=int(attrs["n_environments"]),
        **origins,
    )


_LOADED: dict[tuple[str, str], FloatArray] = {}
_LOADING = threading.Lock()


def _vectors(path: str, content: str) -> FloatArray:
    key = str(Path(path).absolute()), content
    with _LOADING:  # other threads of the process wait for the one that reads
        vectors = _LOADED.pop(key, None)
        if vectors is None:
            vectors = _read_vectors(path, content)
        _LOADED[key] = vectors  # the least recently used one is dropped first
        while len(_LOADED) > MAX_LOADED:
            _LOADED.pop(next(iter(_LOADED)))
    return vectors


def _read_vectors(path: str, content: str) -> FloatArray:
    group, found = check_complete(path, kind="dictionary")
    if found != content:
        raise StoreError(
            f"{path} has changed since it was opened. Open it again to use the new dictionary"
        )
    array = source_array(group, "vector")
    vectors = np.empty(array.shape, dtype=np.float64)
    step = shard_rows(array.shape[1])
    for first in range(0, array.shape[0], step):  # without a second copy of all of it
        vectors[first : first + step] = array[first : first + step]
    vectors.flags.writeable = False
    return vectors


# Writing


def shard_rows(n_columns: int) -> int:
    """Return the number of entries per shard, which depends on the columns alone.

    Parameters
    ----------
    n_columns
        Number of columns of a vector.
    """
    chunk = _chunk_rows(n_columns)
    return chunk * max(1, ceil_div(MIN_SHARD // (8 * n_columns), chunk))


def _chunk_rows(n_columns: int) -> int:
    return max(1, CHUNK // (8 * n_columns))


def create_dictionary(path: str | Path, description: DictionaryDescription) -> None:
    """Create a dictionary without entries. It is not finished.

    Parameters
    ----------
    path
        The store, whose lock the caller holds.
    description
        What determines the dictionary.

    Raises
    ------
    StoreError
        If ``path`` exists or cannot be written.
    """
    with created_whole(path) as folder:
        new_group(folder, description.attrs(), overwrite=False)
        Manifest(folder).create()


def write_entries(
    path: str | Path,
    description: DictionaryDescription,
    vectors: FloatArray,
    origins: Mapping[str, IntArray],
) -> str:
    """Write all entries of a dictionary and finish it.

    Parameters
    ----------
    path
        The store, whose lock the caller holds. What an interrupted call wrote is
        written again.
    description
        What determines the dictionary.
    vectors
        Vectors (entry, column) of norm 1, which may be in a file that is mapped.
    origins
        Arrays (entry,) of ``ORIGINS`` by name.

    Returns
    -------
    content
        Digest of the content.
    """
    manifest, identity = Manifest(path), description.digest()
    group = open_group(path, mode="r+")
    n_entries, n_columns = vectors.shape
    rows = shard_rows(n_columns)
    manifest.drop(manifest.records())
    for name in ORIGINS:
        values = np.ascontiguousarray(origins[name], dtype=np.int64)
        _remove(path, name)
        attrs = variables.entry_attrs(name)
        put(group, name, ("entry",), values, chunks=(ROWS_IN_CHUNK,), attrs=attrs)
    _remove(path, "column")
    put(group, "column", ("column",), np.asarray(description.labels, dtype=object))
    _remove(path, "vector")
    new_array(
        group,
        "vector",
        ("entry", "column"),
        vectors.shape,
        np.float64,
        chunks=(_chunk_rows(n_columns), n_columns),
        shards=(rows, n_columns),
        attrs=variables.entry_attrs("vector"),
        compression=FEATURE_COMPRESSION,
    )
    for first in range(0, n_entries, rows):
        part = np.ascontiguousarray(vectors[first : first + rows])
        wrote = write_shard(group, "vector", (first, 0), part)
        manifest.append(
            {
                "block": f"vector-{first // rows:06d}",
                "digest": identity,
                "files": {wrote["file"]: wrote["size"]},
                "checksum": {wrote["file"]: wrote["sha256"]},
                "seal": {wrote["file"]: wrote["seal"]},
            }
        )
    return manifest.finish(identity, rewritten=("column", "vector", *ORIGINS))


def _remove(path: str | Path, name: str) -> None:
    """Remove an array that an interrupted call has left."""
    with explained(path):
        if (Path(path) / name).exists():
            shutil.rmtree(Path(path) / name)
