"""Which entry of a dictionary of local environments is most similar to each atom's."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field

from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray
from mgdask.elements import atomic_number, symbol
from mgdask.errors import ParameterError
from mgdask.features.environments import LocalEnvironments, Neighborhood
from mgdask.features.feature import (
    TYPICAL_DENSITY,
    Feature,
    FrameFeature,
    InnerFeature,
    feature_dataclass,
)
from mgdask.features.soap import BATCH
from mgdask.kernels.nearest import COMPONENTS, VectorIndex, make_index, nearest, unit_rows
from mgdask.kernels.similarity import PANEL, add_rows, add_weights, products
from mgdask.store.dictionaries import Dictionary, read_dictionary
from mgdask.store.failures import SourceChangedError
from mgdask.store.manifest import Manifest

BLOCK_ATOMS = 2**16
"""Maximum number of atoms of a block; fewer if every entry has a weight."""
KEPT_DICTIONARIES = 2
"""Maximum number of dictionaries that a process keeps."""
EXPONENTS = {"soft": 64, "kernel": 1}
"""Default exponent of each weighting."""
MAX_SPECIES = 10
"""Number of species of the center that the projected memory allows for."""
LOADING = 220 * 2**20
"""Maximum number of bytes that remain allocated after loading a dictionary.

Measured with 1300, 5223 and 15 000 entries of 3289 columns.
"""
SEARCHED = 64
"""Number of atoms whose entries are searched at a time."""


@feature_dataclass
class LocalEnvironment(FrameFeature):
    """Most similar entry of a dictionary of unique local environments.

        M(i, k) = 1 - sqrt(|p_i - q_k|^2 / 2)
        entry(i) = argmax_k M(i, k)
        fraction(k) = (number of atoms i with entry(i) = k) / (number of atoms)

    p_i is the power spectrum of an atom and q_k that of an entry, both scaled to norm
    1. Entries are unique local environments (ULEs); ``mgdask.build_dictionary`` finds
    them.

    Parameters
    ----------
    dictionary
        Path of the dictionary.
    per
        "atom" gives the entry and the similarity of each atom. "frame" gives the
        fraction of the atoms of each entry, one column per entry: the barcode.
    unmatched
        What happens to an atom whose best similarity is below the threshold of the
        dictionary. "nearest" assigns it to the most similar entry like all others.
        "omit" assigns it to none: its entry is NaN, and it adds to no fraction.
    weighting
        "hard" counts an atom only for its most similar entry. "soft" and "kernel"
        weight every entry by (p_i . q_k)^exponent, which keeps the distances. "soft"
        divides the weights of an atom by their sum, so the columns are fractions;
        negative products count as 0. With "kernel", a column is the mean of the power
        over all atoms. Both need ``per="frame"``.
    exponent
        Power of the cosine p_i . q_k. The default is 64 for "soft" and 1 for "kernel".
        "kernel" with exponent 1 is the product with the mean spectrum, and is no slower
        than "hard".
    feature
        SOAP that the dictionary must have been built with. A dictionary of another SOAP
        is refused. The default is that of the dictionary.
    content
        Digest of the content that the dictionary must have. A dictionary that has
        changed is refused. The default is the present content.

    Notes
    -----
    The entry is exact. A lower bound of the distance, from projections, excludes most
    entries, and the others are compared in float64. If two entries are equally similar,
    the one with the lower index is chosen. Spectra exist only for one batch of atoms at
    a time, and are never stored.

    Atoms below the threshold are counted in the attrs of the output, as
    ``below_threshold``. Fractions are relative to all central atoms, so with "omit"
    they sum to less than 1.

    The similarity compares the densities of all species around an atom, including the
    atom itself. Environments of different central species are therefore similar only
    if the threshold is low. In a dictionary that was built with ``per_species=True``,
    an atom is compared only with entries of its own species.

    A sample may lack species of the dictionary. A species that the dictionary lacks is
    refused.

    References
    ----------
    Liu C. et al., Acta Mater. 259, 119281 (2023).

    Examples
    --------
    >>> feature = LocalEnvironment("ules.zarr", per="frame")  # doctest: +SKIP
    >>> feature.n_columns  # doctest: +SKIP
    5223
    """

    dictionary: Annotated[str, BeforeValidator(os.fspath)]
    per: Literal["atom", "frame"] = "atom"
    unmatched: Literal["nearest", "omit"] = "nearest"
    weighting: Literal["hard", "soft", "kernel"] = "hard"
    exponent: Annotated[int | None, Field(ge=1, le=4096)] = None
    feature: Annotated[FrameFeature | None, InnerFeature] = None
    content: str | None = None

    family: ClassVar[str] = "local_environment"
    citation: ClassVar[str] = "Liu C. et al., Acta Mater. 259, 119281 (2023)"
    example_parameters: ClassVar[Mapping[str, Any]] = {"dictionary": "ules.zarr"}

    def __post_init__(self) -> None:
        if self.weighting != "hard" and self.per != "frame":
            raise ParameterError(
                f"LocalEnvironment: weighting={self.weighting!r} gives every atom a weight for "
                f"every entry, which is not kept per atom; per={self.per!r} must be 'frame'"
            )
        if self.weighting == "hard" and self.exponent is not None:
            raise ParameterError(
                f"LocalEnvironment: exponent={self.exponent} has no effect with "
                "weighting='hard'. Choose weighting='soft' or 'kernel', or leave exponent out"
            )
        opened = read_dictionary(self.dictionary)
        if self.content is not None and opened.content != self.content:
            raise ParameterError(
                f"LocalEnvironment: the dictionary {self.dictionary} has changed: its content is "
                f"{opened.content}, but content={self.content!r} is required. Restore the "
                "dictionary, or leave content out and compute everything again"
            )
        built_with = _feature_of(opened)
        if self.feature is not None and self.feature != built_with:
            raise ParameterError(
                f"LocalEnvironment: the dictionary {self.dictionary} was built with "
                f"{built_with!r}, but feature={self.feature!r} is required: "
                f"{_differences(built_with, self.feature)}. Leave feature out, or build a "
                "dictionary with it"
            )
        object.__setattr__(self, "content", opened.content)
        object.__setattr__(self, "feature", built_with)
        object.__setattr__(self, "_facts", _Facts.of(opened))
        if self.exponent is None:
            object.__setattr__(self, "exponent", EXPONENTS.get(self.weighting))

    @property
    def _dictionary(self) -> _Facts:
        facts: _Facts = self.__dict__["_facts"]
        return facts

    @property
    def _spectrum(self) -> FrameFeature:
        assert self.feature is not None  # set by __post_init__
        return self.feature

    @property
    def level(self) -> Literal["atom", "frame"]:
        """Level of the rows, as ``per``."""
        return self.per

    @property
    def long_name(self) -> str:  # type: ignore[override]
        """Description of the values."""
        if self.weighting == "kernel":
            return "mean over atoms of a kernel to each unique local environment"
        if self.per == "frame":
            return "fraction of atoms of each unique local environment"
        return "most similar unique local environment, and its similarity"

    @property
    def n_columns(self) -> int:
        """2, or the number of entries of the dictionary."""
        return 2 if self.per == "atom" else self._dictionary.n_entries

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the columns: entry and similarity, or ULE 0, ULE 1, ...."""
        if self.per == "atom":
            return ("entry", "similarity")
        return tuple(f"ULE {k}" for k in range(self.n_columns))

    def coordinates(self) -> dict[str, AnyArray]:
        """Return the species (Z) of the center of each entry, for rows per frame."""
        if self.per == "atom":
            return {}
        return {f"{self.name}_species": self._open().species}

    def output_attrs(self) -> dict[str, Any]:
        """Return the attrs of the output, with the threshold of the dictionary."""
        return {**super().output_attrs(), "threshold": self._dictionary.threshold}

    def summary(self) -> str:
        """Return one line: the dictionary, its size and threshold, and parameters."""
        facts = self._dictionary
        size = f"{facts.n_entries} entries, threshold {facts.threshold:g}"
        return f"{super().summary()} ({size})"

    def _default_of(self, item: dataclasses.Field[Any]) -> Any:
        if item.name == "exponent":
            return EXPONENTS.get(self.weighting)
        # what the dictionary itself says is its default
        return getattr(self, item.name) if item.name in ("feature", "content") else item.default

    @property
    def example_number(self) -> int:
        """Atomic number of an element that the dictionary knows."""
        return self._dictionary.species[0]

    @property
    def reach(self) -> float:
        """Cutoff of the SOAP in Å."""
        return self._spectrum.reach

    def neighbor_lists(self, n_atoms: int, n_centers: int) -> dict[Neighborhood, int]:
        """Return the lists that the SOAP uses for a batch: none."""
        return self._spectrum.neighbor_lists(n_atoms, min(BATCH, n_centers))

    def check_species(self, numbers: npt.NDArray[np.integer]) -> None:
        """Raise ``ParameterError`` if the dictionary does not know a species."""
        present = {int(z) for z in np.unique(numbers)}
        known = {atomic_number(name) for name in getattr(self._spectrum, "species", ())}
        owner = f"LocalEnvironment: the dictionary {self.dictionary}"
        extend = (
            "Build a dictionary from samples that contain all species, or extend this one: mgdask "
            "dictionary extend"
        )
        if present - known:
            raise ParameterError(
                f"{owner} was built for {_names(known)}, but the atoms also contain "
                f"{_names(present - known)}. Build a dictionary with all species of the atoms"
            )
        entries = set(self._dictionary.species)
        if self._dictionary.per_species and present - entries:
            raise ParameterError(
                f"{owner} was built with per_species=True. It has entries of "
                f"{_names(entries)}, but none of {_names(present - entries)}, which the atoms "
                f"also contain. {extend}"
            )

    def check_inputs(self) -> None:
        """Raise ``SourceChangedError`` if the dictionary has changed."""
        if Manifest(self.dictionary).content() != self.content:
            raise self._changed()

    def _changed(self) -> SourceChangedError:
        return SourceChangedError(
            f"the dictionary {self.dictionary} has changed since the feature was made, or is being "
            "written. Results of two dictionaries are never mixed. Restore it and run the same "
            "command again, which keeps finished blocks; or choose another target"
        )

    def _open(self) -> Dictionary:
        """Return the dictionary, which must have the expected content."""
        opened = read_dictionary(self.dictionary)
        if opened.content != self.content:
            raise self._changed()
        return opened

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of the SOAP, a batch of spectra, and a number per entry."""
        rows = min(BATCH, n_centers)
        batch = 8 * rows * (self._spectrum.n_columns + COMPONENTS)
        bounds = 4 * min(rows, SEARCHED) * self._dictionary.n_entries
        counts = 16 * self._dictionary.n_entries if self.per == "frame" else 0
        own = batch + bounds + counts + 64 * n_centers
        if self.weighting != "hard":
            each = 8 * rows * (self._dictionary.n_entries + PANEL)
            own += each + 8 * (PANEL + MAX_SPECIES) * self._spectrum.n_columns
        return self._spectrum.footprint(n_atoms, rows) + own

    @property
    def block_atoms(self) -> int:
        """Maximum number of atoms of a block, which takes some seconds."""
        every_entry = self.weighting != "hard" and not self._is_linear
        return BLOCK_ATOMS // 8 if every_entry else BLOCK_ATOMS

    def process_memory(self) -> dict[Hashable, int]:
        """Return the bytes of the dictionary, which all threads of a process share."""
        columns = self._spectrum.n_columns
        size = self._dictionary.n_entries * (8 * columns + 4 * COMPONENTS + 64)
        return {("dictionary", self.content): size + min(3 * size, LOADING)}

    def cost(self, n_centers: int) -> float:
        """Return the run time in seconds on one core at a typical density."""
        return n_centers * self.cost_at(TYPICAL_DENSITY)

    def cost_at(self, density: float) -> float:
        """Return the time of the SOAP, and of a search that grows with the entries.

        5223 entries of 3289 columns add about 22 µs per atom, or 0.9 ms with weights.
        """
        facts, columns = self._dictionary, self._spectrum.n_columns
        search = 1e-6 + 3.2e-9 * columns + facts.n_entries * (0.4e-9 + 0.45e-12 * columns)
        if self.weighting != "hard" and not self._is_linear:
            search += facts.n_entries * (1e-9 + 0.05e-9 * columns)
        return self._spectrum.cost_at(density) + search

    def prepare(self) -> None:
        """Load the dictionary and compile by describing five atoms."""
        super().prepare()

    def describe(
        self, environments: LocalEnvironments, centers: IntArray, out: AnyArray
    ) -> dict[str, BoolArray]:
        """Fill ``out`` and return which atoms (center,) are below the threshold."""
        n, n_entries = len(centers), self._dictionary.n_entries
        entry, squared = np.empty(n, dtype=np.int64), np.empty(n)
        weights = None if self.weighting == "hard" else _Weights(self)
        for some, rows, group in self._batches(environments, centers):
            entry[some], squared[some] = nearest(_index(self), rows, group)
            if weights is not None:
                weights.add(rows, group, self._taken(entry[some], squared[some]))
        below = np.asarray(squared > self._dictionary.max_squared_distance)
        taken = self._taken(entry, squared)
        if self.per == "atom":
            out[:, 0] = np.where(taken, entry, np.nan)
            out[:, 1] = 1.0 - np.sqrt(0.5 * squared)
        elif n == 0:
            out[...] = np.nan
        elif weights is not None:
            out[...] = weights.total() / n
        else:
            out[...] = np.bincount(entry[taken], minlength=n_entries) / n
        return {"below_threshold": below}

    def _batches(
        self, environments: LocalEnvironments, centers: IntArray
    ) -> Iterator[tuple[slice, FloatArray, IntArray | None]]:
        """Yield the place, the spectra of norm 1 and the groups of some centers.

        The spectra of one batch are overwritten by those of the next.
        """
        buffer = np.empty((min(BATCH, len(centers)), self._spectrum.n_columns))
        for first in range(0, len(centers), BATCH):
            some = centers[first : first + BATCH]
            rows = buffer[: len(some)]
            self._spectrum.describe(environments, some, rows)
            unit_rows(rows, out=rows)
            group = environments.numbers[some] if self._dictionary.per_species else None
            yield slice(first, first + len(some)), rows, group

    def _taken(self, entry: IntArray, squared: FloatArray) -> BoolArray:
        """Return which atoms (center,) belong to an entry."""
        taken = entry >= 0
        if self.unmatched == "omit":
            taken &= squared <= self._dictionary.max_squared_distance
        return np.asarray(taken)

    @property
    def _is_linear(self) -> bool:
        """Whether the weights of all atoms follow from the sum of their spectra."""
        return self.weighting == "kernel" and self.exponent == 1


class _Weights:
    """Sum of the weights of atoms for every entry.

    Parameters
    ----------
    feature
        A feature whose weighting is not "hard".
    """

    def __init__(self, feature: LocalEnvironment) -> None:
        assert feature.exponent is not None  # set by __post_init__
        index = _index(feature)
        self._vectors, self._group = index.vectors, np.asarray(index.group)
        self._shares, self._exponent = feature.weighting == "soft", feature.exponent
        self._total = np.zeros(len(self._vectors))
        # spectra per species of the center, or of all atoms
        self._slots = np.unique(self._group) if feature._is_linear else self._group[:0]
        self._sums = np.zeros((len(self._slots), self._vectors.shape[1]))

    def add(self, rows: FloatArray, group: IntArray | None, taken: BoolArray) -> None:
        """Add atoms with spectra ``rows`` (center, column) that are ``taken``."""
        own = np.zeros(len(rows), dtype=np.int64) if group is None else group
        if len(self._slots):
            slot = np.searchsorted(self._slots, own)
            add_rows(rows, taken, slot, self._sums)
        else:
            args = rows, taken, own, self._vectors, self._group, group is not None
            add_weights(*args, self._exponent, self._shares, self._total)

    def total(self) -> FloatArray:
        """Return the sums (entry,)."""
        if not len(self._slots):
            return self._total
        found = np.empty((len(self._slots), len(self._vectors)))
        products(self._sums, self._vectors, found)
        place = np.searchsorted(self._slots, self._group)
        return np.asarray(found[place, np.arange(len(place))])


@dataclass(frozen=True)
class _Facts:
    """Properties of a dictionary that every task needs.

    Parameters
    ----------
    n_entries
        Number of entries.
    threshold
        Similarity from which an environment belongs to an entry.
    per_species
        Whether environments are compared only within a species of the center.
    max_squared_distance
        The largest squared distance of two spectra that are similar.
    species
        Atomic numbers of the centers of entries, each once, increasing.
    """

    n_entries: int
    threshold: float
    per_species: bool
    max_squared_distance: float
    species: tuple[int, ...]

    @classmethod
    def of(cls, opened: Dictionary) -> _Facts:
        """Return the facts of a dictionary."""
        species = tuple(int(z) for z in np.unique(opened.species))
        return cls(
            opened.n_entries,
            opened.threshold,
            opened.per_species,
            opened.max_squared_distance,
            species,
        )


_INDICES: OrderedDict[str, VectorIndex] = OrderedDict()
_LOADING = threading.Lock()


def _index(feature: LocalEnvironment) -> VectorIndex:
    """Return the searchable dictionary of a feature, loaded once per process."""
    content = str(feature.content)
    with _LOADING:  # other threads wait, so that it is in memory only once
        if content not in _INDICES:
            opened = feature._open()
            while len(_INDICES) >= KEPT_DICTIONARIES:
                _INDICES.popitem(last=False)
            _INDICES[content] = make_index(opened.vectors(), opened.groups)
        _INDICES.move_to_end(content)
        return _INDICES[content]


def _feature_of(opened: Dictionary) -> FrameFeature:
    """Return the feature whose values the dictionary holds, in float64."""
    # the registry imports this module
    from mgdask.features.registry import make_feature

    feature = make_feature(opened.feature["family"], opened.feature["parameters"])
    assert isinstance(feature, FrameFeature)
    return feature


def _names(numbers: Iterable[int]) -> str:
    return ", ".join(symbol(z) for z in sorted(numbers))


def _differences(built_with: Feature, asked: Feature) -> str:
    """Name the parameters in which two features differ."""
    if built_with.family != asked.family:
        return f"{built_with.family} is not {asked.family}"
    ours, theirs = built_with.parameters(), asked.parameters()
    return ", ".join(
        f"{name} is {ours.get(name)!r}, not {theirs.get(name)!r}"
        for name in {**ours, **theirs}
        if ours.get(name) != theirs.get(name)
    )
