"""What every feature is: a frozen dataclass with validated parameters, labels, a footprint and ``compute``."""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, TypeAdapter, ValidationError

from mgdask.elements import atomic_number, symbol
from mgdask.errors import ParameterError
from mgdask.features.environments import LocalEnvironments, Neighborhood, VoronoiNeighbors, bytes_of
from mgdask.features.window import FrameAxis, Window
from mgdask.geometry import complete_cell

Periodic = Sequence[bool] | npt.NDArray[np.bool_]


@lru_cache(maxsize=32)
def _validators(kind: Any) -> dict[str, TypeAdapter[Any]]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {
        item.name: TypeAdapter(
            hints[item.name], config=ConfigDict(strict=False, arbitrary_types_allowed=True)
        )
        for item in fields(kind)
    }


def validate_fields(feature: Any) -> None:
    """Check and coerce every field by its annotation; ``ParameterError`` with the value and what is allowed."""
    kind: Any = type(feature)
    for name, validator in _validators(kind).items():
        value = getattr(feature, name)
        try:
            object.__setattr__(feature, name, validator.validate_python(value))
        except ValidationError as error:
            why = error.errors()[0]["msg"]
            raise ParameterError(f"{kind.__name__}: {name}={value!r}: {why}") from None


class Feature(ABC):
    """Base of all features: knows its parameters, its columns, what it costs, and how to describe the atoms of one frame.

    The same object serves the lazy path (``featurize``), the batch path (``run``) and one configuration (``compute``); all
    three call ``describe``, so they give the same bits.
    """

    family: ClassVar[str]
    citation: ClassVar[str]
    long_name: ClassVar[str]

    @property
    def name(self) -> str:
        """Name of the variable: the family's, or the one given by ``named``."""
        given: str = getattr(self, "_name", self.default_name)
        return given

    @property
    def default_name(self) -> str:
        """Name of the variable where none was given."""
        return self.family

    def named(self, name: str) -> Self:
        """The same feature under another name, so that two of a family can stand in one output."""
        if not name.isidentifier() or name.endswith("_feature"):
            raise ParameterError(
                f"name={name!r} must be a word of letters, digits and _ that does not end in _feature"
            )
        other = copy(self)
        object.__setattr__(other, "_name", name)
        return other

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """Name of every column."""

    @property
    def amlearn_labels(self) -> tuple[str, ...]:
        """What amlearn (the code of Wang & Jain 2019) calls the columns; empty where it does not have them."""
        return ()

    def coordinates(self) -> dict[str, npt.NDArray[Any]]:
        """Further coordinates of the columns, by name."""
        names = self.amlearn_labels
        return {f"{self.name}_amlearn": np.array(names, dtype=object)} if names else {}

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return len(self.labels)

    @property
    def output_dtype(self) -> np.dtype[Any]:
        """dtype of the output."""
        return np.dtype(np.float64)

    @property
    def level(self) -> Literal["atom", "frame"]:
        """Whether there is a row for every central atom, or one for the whole frame."""
        return "atom"

    @property
    def dim(self) -> str:
        """Name of the dimension of the columns."""
        return f"{self.name}_feature"

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """For every column the neighbours it is made of, over which ``MediumRange`` averages it; Voronoi where it is not said."""
        return (VoronoiNeighbors(),) * self.n_columns

    @property
    def dependencies(self) -> tuple[Feature, ...]:
        """Features that this one is made of; they are kept while a block is worked on, for whoever else wants them."""
        return ()

    @property
    def reads(self) -> Literal["frames", "paths"]:
        """What it is made of: whole frames, or the paths of its central atoms through time."""
        return "frames"

    def frames_needed(self, axis: FrameAxis, frame: int) -> tuple[int, ...]:
        """Frames that the row of ``frame`` is made of."""
        return (frame,)

    def parameters(self) -> dict[str, Any]:
        """Every parameter, JSON-able; ``make_feature(family, parameters)`` gives an equal object."""
        found = {}
        for item in fields(self):  # type: ignore[arg-type]
            found[item.name] = _plain(getattr(self, item.name))
        return found

    def summary(self) -> str:
        """The parameters that are not defaults, in a line; ``parameters`` has all."""
        found = []
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if isinstance(value, Feature):
                found.append(f"{item.name}={value.family}({value.summary()})")
            elif _is_required(item) or value != item.default:
                found.append(
                    f"{item.name}={'+'.join(map(str, value)) if isinstance(value, tuple) else value}"
                )
        return ", ".join(found)

    def check_species(self, numbers: npt.NDArray[np.integer]) -> None:  # noqa: B027 - most describe any element
        """``ParameterError`` if atoms of these atomic numbers cannot be described."""

    def neighbor_lists(self, n_atoms: int, n_centers: int) -> dict[Neighborhood, int]:
        """Which neighbours it asks its surroundings for, and of how many atoms, at most."""
        return dict.fromkeys(self.neighborhood, n_centers)

    @abstractmethod
    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Bytes of working memory of ``describe`` beyond its inputs, its output and the lists of neighbours."""

    @abstractmethod
    def cost(self, n_centers: int) -> float:
        """Rough seconds on one core, for planning only."""

    def prepare(self) -> None:
        """Build tables and compile, so that what follows can be timed; safe to call again."""
        position = np.array(
            [[0.0, 0.0, 0.0], [2.5, 0.0, 0.0], [0.0, 2.5, 0.0], [0.0, 0.0, 2.5], [2.0, 2.0, 2.0]]
        )
        self.compute(position, 6.0 * np.eye(3), np.full(5, self.example_number))

    @property
    def example_number(self) -> int:
        """An atomic number that the feature knows."""
        return 29

    @abstractmethod
    def describe(
        self, environments: LocalEnvironments, centers: npt.NDArray[np.int64], out: npt.NDArray[Any]
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """Fill ``out`` (center,column), or (column,) where averaged, for some atoms of a frame.

        Returns marks (center,) of the atoms that needed special treatment, by the name under which they are to be counted.
        """

    def describe_frame(
        self,
        window: Window,
        frame: int,
        environments: LocalEnvironments,
        centers: npt.NDArray[np.int64],
        out: npt.NDArray[Any],
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """``describe`` for a frame of a window, whose surroundings are ``environments``; those made of several frames take them from the window."""
        return environments.fill(self, centers, out)

    def compute_block(
        self,
        position: npt.NDArray[np.float64],
        cell: npt.NDArray[np.float64],
        numbers: npt.NDArray[np.integer],
        centers: npt.NDArray[np.integer],
        pbc: Periodic,
    ) -> npt.NDArray[Any]:
        """(frame,atom,xyz),(frame,3,3),(atom,),(center,) -> (frame,center,column), or (frame,column) where averaged."""
        return compute_features((self,), position, cell, numbers, centers, pbc)[0][0]

    def compute(
        self,
        position: npt.ArrayLike,
        cell: npt.ArrayLike,
        numbers: npt.ArrayLike,
        centers: npt.ArrayLike | None = None,
        pbc: Sequence[bool] = (True, True, True),
    ) -> npt.NDArray[Any]:
        """One configuration, NumPy in and out.

        ``position`` (atom,3) in Å, ``cell`` (3,3) with the vectors as rows, ``numbers`` (atom,) atomic numbers, ``centers``
        rows of the central atoms (default all), ``pbc`` which vectors repeat. Returns (center, column), or (column,)
        where the feature averages over the frame. ``ParameterError`` for wrong shapes, NaN, unknown species, a flat cell.
        """
        r, box, z, chosen = check_configuration(position, cell, numbers, centers, pbc)
        self.check_species(z)
        block = self.compute_block(r[None], box[None], z, chosen, pbc)
        return np.asarray(block[0])


class OfSpecies(Feature):
    """A feature that tells elements apart, and knows only those it was given."""

    species: tuple[str, ...]

    @property
    def example_number(self) -> int:
        """The first species."""
        return atomic_number(self.species[0])

    def check_species(self, numbers: npt.NDArray[np.integer]) -> None:
        """``ParameterError`` where atoms are of other elements."""
        strange = sorted(
            {int(z) for z in np.unique(numbers)} - {atomic_number(name) for name in self.species}
        )
        if strange:
            raise ParameterError(
                f"{type(self).__name__}: species={self.species} lacks {', '.join(symbol(z) for z in strange)}, which the atoms contain; "
                "add them to species"
            )


def compute_features(
    features: Sequence[Feature],
    position: npt.NDArray[np.float64],
    cell: npt.NDArray[np.float64],
    numbers: npt.NDArray[np.integer],
    centers: npt.NDArray[np.integer],
    pbc: Periodic,
) -> tuple[list[npt.NDArray[Any]], list[dict[str, int]]]:
    """Several features of one block, which share neighbours, Voronoi cells and each other's values.

    (frame,atom,xyz),(frame,3,3),(atom,),(center,) -> for each feature (frame,center,column), or (frame,column) where it averages; and for each
    the atoms that needed special treatment, counted by name.
    """
    axis = FrameAxis(np.full(len(position), np.nan), np.zeros(len(position), dtype=np.int64))
    window = Window(
        np.arange(len(position)),
        position,
        None,
        cell,
        np.asarray(numbers),
        tuple(bool(p) for p in pbc),
        axis,
    )
    return compute_window(features, window, range(len(position)), centers)


def compute_window(
    features: Sequence[Feature],
    window: Window,
    frames: Sequence[int],
    centers: npt.NDArray[np.integer],
) -> tuple[list[npt.NDArray[Any]], list[dict[str, int]]]:
    """``compute_features`` for some frames of a window, which holds the others that their rows are made of."""
    chosen = np.ascontiguousarray(centers, dtype=np.int64)
    found: list[npt.NDArray[Any]] = []
    for feature in features:
        rows = (len(chosen),) if feature.level == "atom" else ()
        found.append(np.empty((len(frames), *rows, feature.n_columns), dtype=feature.output_dtype))
    counts: list[Counter[str]] = [Counter() for _ in features]
    # what is made of others comes first: it asks for the values of more atoms than the centres
    order = sorted(range(len(features)), key=lambda k: -_depth(features[k]))
    parts = tuple(dict.fromkeys(part for feature in features for part in feature.dependencies))
    for k, frame in enumerate(frames):
        environments = LocalEnvironments(
            window.position[window.place(frame)],
            window.cell[window.place(frame)],
            window.numbers,
            window.pbc,
            chosen,
            parts,
        )
        for which in order:
            flags = features[which].describe_frame(
                window, frame, environments, chosen, found[which][k]
            )
            counts[which].update({name: int(flag.sum()) for name, flag in flags.items()})
    return found, [dict(count) for count in counts]


def working_memory(features: Sequence[Feature], n_atoms: int, n_centers: int) -> int:
    """Bytes of working memory of several features of one block, which share their lists of neighbours."""
    wanted: dict[Neighborhood, int] = {}
    for feature in features:
        for kind, n in feature.neighbor_lists(n_atoms, n_centers).items():
            every = (
                (VoronoiNeighbors("none"), kind) if isinstance(kind, VoronoiNeighbors) else (kind,)
            )
            for each in every:
                wanted[each] = max(wanted.get(each, 0), n)
    return sum(bytes_of(kind, n_atoms, n) for kind, n in wanted.items()) + sum(
        f.footprint(n_atoms, n_centers) for f in features
    )


def _depth(feature: Feature) -> int:
    return 1 + max((_depth(part) for part in feature.dependencies), default=-1)


def _plain(value: Any) -> Any:
    if isinstance(value, Feature):
        given = {"name": value.name} if "_name" in vars(value) else {}
        return {value.family: {**given, **value.parameters()}}
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def check_configuration(
    position: npt.ArrayLike,
    cell: npt.ArrayLike,
    numbers: npt.ArrayLike,
    centers: npt.ArrayLike | None,
    pbc: Periodic,
) -> tuple[
    npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]
]:
    """The arguments of ``compute`` as arrays, or a ``ParameterError`` that says what is wrong with them."""
    r = np.asarray(position, dtype=np.float64)
    if r.ndim != 2 or r.shape[1] != 3:
        raise ParameterError(f"position must be (atom, 3) in Å; got shape {r.shape}")
    if not np.isfinite(r).all():
        raise ParameterError(
            f"position of atom {int(np.flatnonzero(~np.isfinite(r).all(axis=1))[0])} is not finite"
        )
    if len(pbc) != 3:
        raise ParameterError(f"pbc must be three truth values, one a cell vector; got {pbc!r}")
    z = np.asarray(numbers)
    if z.shape != (len(r),) or not np.issubdtype(z.dtype, np.integer):
        raise ParameterError(
            f"numbers must be {len(r)} atomic numbers, one an atom; got {z.dtype} of shape {z.shape}"
        )
    if centers is None:
        chosen = np.arange(len(r))
    else:
        chosen = np.asarray(centers)
        if chosen.size == 0:
            chosen = chosen.astype(np.int64)
        if chosen.ndim != 1 or not np.issubdtype(chosen.dtype, np.integer):
            raise ParameterError(
                f"centers must be rows of atoms (integers); got {chosen.dtype} of shape {chosen.shape}. "
                "For a mask use np.flatnonzero(mask)"
            )
        if chosen.size and (chosen.min() < 0 or chosen.max() >= len(r)):
            raise ParameterError(
                f"centers must be rows 0 to {len(r) - 1}; got {chosen.min()} to {chosen.max()}"
            )
    return r, complete_cell(cell, pbc), z.astype(np.int64), chosen.astype(np.int64)


def sort_species(names: Sequence[str]) -> tuple[str, ...]:
    """Symbols in the order of atomic numbers, each once."""
    numbers = [atomic_number(name) for name in names]
    if len(set(numbers)) != len(numbers):
        raise ParameterError(f"species {tuple(names)} names an element twice")
    return tuple(symbol(z) for z in sorted(numbers))


def parse_options(text: str) -> dict[str, str]:
    """``"r_cut=5,n_max=11"`` -> ``{"r_cut": "5", "n_max": "11"}``."""
    options: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise ParameterError(
                f"{part!r} is not name=value; write for example r_cut=5,n_max=11,l_max=12,sigma=0.5"
            )
        if key.strip() in options:
            raise ParameterError(f"{key.strip()} is given twice in {text!r}")
        options[key.strip()] = value.strip()
    return options


def build(
    kind: type[Feature], options: Mapping[str, Any], species: Sequence[str] | None
) -> Feature:
    """A feature from named options as text or values; a missing ``species`` is taken from ``species``."""
    allowed = [item.name for item in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ParameterError(
            f"{kind.__name__}: unknown option {unknown[0]!r}; allowed are {', '.join(allowed)}"
        )
    values = dict(options)
    hints = typing.get_type_hints(kind)
    for name, value in values.items():
        if isinstance(value, str) and typing.get_origin(hints[name]) is tuple:
            values[name] = tuple(value.replace("+", " ").split())
    if "species" in allowed and "species" not in values and species is not None:
        values["species"] = tuple(species)
    required = [item.name for item in fields(kind) if _is_required(item)]  # type: ignore[arg-type]
    missing = [name for name in required if name not in values]
    if missing:
        raise ParameterError(f"{kind.__name__}: {', '.join(missing)} must be given")
    return kind(**values)


def _is_required(item: Any) -> bool:
    return item.default is MISSING and item.default_factory is MISSING
