"""Base classes of all features.

A feature is a frozen dataclass of validated parameters. It knows its labels and its
memory, and computes the values of some atoms. What it reads is visible in its type:
``FrameFeature``, ``WindowFeature`` or ``TrajectoryFeature``.
"""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pydantic

from mgdask import variables
from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray, Periodic
from mgdask.bounds import MAX_LENGTH, RESOLUTION, shortened
from mgdask.elements import atomic_number, symbol
from mgdask.errors import ParameterError
from mgdask.features.allowed import to_text
from mgdask.features.configuration import Configuration, ConfigurationLike, as_configuration
from mgdask.features.cutoffs import check_pairs, example_of
from mgdask.features.environments import (
    CutoffNeighbors,
    LocalEnvironments,
    Neighborhood,
    VoronoiNeighbors,
)
from mgdask.features.parameters import InnerFeature as InnerFeature
from mgdask.features.parameters import feature_dataclass as feature_dataclass
from mgdask.features.parameters import is_required, parameter_descriptions
from mgdask.features.window import FrameAxis, Trajectories, Window
from mgdask.geometry import complete_cell

if TYPE_CHECKING:
    from mgdask.features.engine import FeatureKinds

TYPICAL_DENSITY = 0.06
"""Atoms per Å³ of a metallic glass, for costs without a store."""


def n_within(cutoff: float, density: float) -> float:
    """Return the mean number of atoms within a distance in Å, at atoms per Å³."""
    return float(4 / 3 * np.pi * cutoff**3 * density)


def search_cost(kinds: Sequence[Neighborhood], density: float) -> float:
    """Return the run time in s to find the neighbors of one atom, each kind once.

    A Voronoi cell takes 4.5 µs, a list of neighbors 40 ns per neighbor.
    """
    lists = {kind for kind in kinds if isinstance(kind, CutoffNeighbors)}
    cells = 4.5e-6 if any(isinstance(kind, VoronoiNeighbors) for kind in kinds) else 0.0
    return cells + sum(0.3e-6 + 40e-9 * n_within(kind.cutoff, density) for kind in lists)


class Feature(ABC):
    """Base of all features: parameters, columns, memory and cost.

    Derive your own feature from one of the three kinds, which differ in what they read:

    ``FrameFeature``
        One frame at a time: most features of structure.
    ``WindowFeature``
        Several frames per row, with all atoms: strain, for example.
    ``TrajectoryFeature``
        The unwrapped trajectories of its own atoms: displacements, for example.

    A feature sets ``family``, ``long_name``, ``citation`` and ``labels``, and ``unit``,
    or ``units`` if its columns have several. It states its working memory
    (``footprint``) and its run time (``cost``). The same object serves one
    configuration (``compute``), ``mgdask.featurize``, and ``mgdask.plan`` with
    ``mgdask.run``. All of them give the same bits.

    See Also
    --------
    mgdask.features.feature_dataclass : decorator that makes and checks the parameters.

    Notes
    -----
    A package makes its features known to ``mgdask featurize --feature``, to recipes
    and to ``make_feature`` by an entry point. Its name must be the family::

        [project.entry-points."mgdask.features"]
        mean_distance = "my_package:MeanDistance"

    Examples
    --------
    >>> import mgdask
    >>> from mgdask.features import CutoffNeighbors, feature_dataclass
    >>> @feature_dataclass
    ... class MeanDistance(mgdask.FrameFeature):
    ...     cutoff: float = 4.0
    ...     family = "mean_distance"
    ...     long_name = "mean distance to the neighbors"
    ...     citation = "none"
    ...     unit = "Å"
    ...     labels = ("mean",)
    ...
    ...     @property
    ...     def neighborhood(self):
    ...         return (CutoffNeighbors(self.cutoff),)
    ...
    ...     def footprint(self, n_atoms, n_centers):
    ...         return 8 * n_centers
    ...
    ...     def cost(self, n_centers):
    ...         return 2e-6 * n_centers
    ...
    ...     def describe(self, environments, centers, out):
    ...         near = environments.neighbors(self.cutoff, centers)
    ...         for k, (first, last) in enumerate(zip(near.first, near.last)):
    ...             distance = near.distance[first:last]
    ...             out[k] = distance.mean() if len(distance) else np.nan
    ...         return {"no_neighbor": near.first == near.last}
    >>> feature = MeanDistance(cutoff=3.0)
    >>> feature.compute([[0, 0, 0], [0, 0, 2.5]], 9 * np.eye(3), [29, 40])
    array([[2.5],
           [2.5]])
    """

    family: ClassVar[str]
    """Name of the feature on command lines and in recipes: its class in snake case."""
    array_name: ClassVar[str] = ""
    """Name of its arrays in stores, if it differs from ``family``.

    Arrays keep the names that earlier versions gave them.
    """
    citation: ClassVar[str]
    long_name: ClassVar[str]
    unit: ClassVar[str] = "1"
    """Unit of every column, "1" if dimensionless. Override ``units`` if they differ."""
    later_parameters: ClassVar[tuple[str, ...]] = ()
    """Parameters that were added in a later version.

    ``parameters`` omits them if they have their default values. The digest of a plan
    thus stays the same, and a store begun by an earlier version can be continued.
    """
    example_parameters: ClassVar[Mapping[str, Any]] = {}
    """Values for examples, as in a recipe; at least those that have no default.

    ``species`` may be left out.
    """
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @property
    def name(self) -> str:
        """Name of the variable: the default, or the one given by ``named``."""
        given: str = getattr(self, "_name", self.default_name)
        return given

    @property
    def default_name(self) -> str:
        """Name of the variable unless another one is given."""
        return self.array_name or self.family

    def named(self, name: str) -> Self:
        """Return the same feature under another variable name.

        Two features of one family can stand in one output that way.

        Parameters
        ----------
        name
            Name of the variable. Letters, digits and underscores.

        Returns
        -------
        A copy of the feature, equal to it.

        Raises
        ------
        ParameterError
            If ``name`` is not an identifier, ends in ``_feature``, or is too long.
        """
        if variables.name_problem(name) and variables.name_key(name) not in variables.TAKEN:
            raise ParameterError(
                f"name={shortened(name)!r} {variables.name_problem(name)}; choose another name"
            )
        if not name.isidentifier() or name.endswith("_feature"):
            raise ParameterError(
                f"name={name!r} must be a word of letters, digits and _ "
                "that does not end in _feature"
            )
        other = copy(self)
        object.__setattr__(other, "_name", name)
        return other

    @property
    @abstractmethod
    def labels(self) -> tuple[str, ...]:
        """Label of every column."""

    @property
    def amlearn_labels(self) -> tuple[str, ...]:
        """Names of the columns in amlearn, the code of Wang and Jain (2019).

        Empty if amlearn does not have the feature.
        """
        return ()

    @property
    def units(self) -> tuple[str, ...]:
        """Unit of each column, "1" if dimensionless."""
        return (self.unit,) * self.n_columns

    def coordinates(self) -> dict[str, AnyArray]:
        """Return further coordinates of the columns by name."""
        names = self.amlearn_labels
        return {f"{self.name}_amlearn": np.array(names, dtype=object)} if names else {}

    def column_coordinates(self) -> dict[str, AnyArray]:
        """Return ``coordinates``, and the units of the columns if they differ."""
        units = {f"{self.name}_unit": np.array(self.units, dtype=object)}
        return {**(units if len(set(self.units)) > 1 else {}), **self.coordinates()}

    def output_attrs(self) -> dict[str, Any]:
        """Return the attrs of the output: name, unit, citation and parameters.

        If the units of columns differ, a comment names the coordinate with the units.
        """
        units = set(self.units)
        unit = (
            {"units": units.pop()}
            if len(units) == 1
            else {"comment": f"units differ by column: see the coordinate {self.name}_unit"}
        )
        return {
            "long_name": self.long_name,
            **unit,
            "citation": self.citation,
            "parameters": self.parameters(),
        }

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return len(self.labels)

    @property
    def output_dtype(self) -> np.dtype[Any]:
        """Dtype of the output."""
        return np.dtype(np.float64)

    @property
    def level(self) -> Literal["atom", "frame"]:
        """Whether the output has a row per central atom or one per frame."""
        return "atom"

    @property
    def dim(self) -> str:
        """Name of the dimension of the columns."""
        return f"{self.name}_feature"

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """Neighbors that each column is computed from; empty if it uses no list."""
        return ()

    @property
    def reach(self) -> float:
        """Largest distance in Å of neighbors that are found by distance, or 0."""
        cutoffs = [kind.cutoff for kind in self.neighborhood if isinstance(kind, CutoffNeighbors)]
        return max([0.0, *cutoffs, *(other.reach for other in self.dependencies)])

    @property
    def dependencies(self) -> tuple[FrameFeature, ...]:
        """Features whose values it uses; a block computes them once for all."""
        return ()

    @property
    def frame_values(self) -> tuple[str, ...]:
        """Names of the per-frame variables it reads, such as the temperature."""
        return ()

    def frames_needed(self, axis: FrameAxis, frame: int) -> tuple[int, ...]:
        """Return the frames from which the row of ``frame`` is computed."""
        return (frame,)

    def check_frames(self, axis: FrameAxis, frames: IntArray) -> None:  # noqa: B027
        """Raise ``ParameterError`` if no row could be computed from these frames.

        Parameters
        ----------
        axis
            Times and runs of all frames.
        frames
            Frames (frame,) that have rows.
        """

    @abstractmethod
    def add_to(self, kinds: FeatureKinds) -> None:
        """Enter the feature into the list of its kind."""

    def parameters(self) -> dict[str, Any]:
        """Return the parameters as JSON-compatible values.

        ``make_feature(family, parameters)`` gives an equal feature. Parameters in
        ``later_parameters`` are omitted if they have their default values.
        """
        return {
            item.name: _plain(getattr(self, item.name))
            for item in dataclasses.fields(self)
            if item.name not in self.later_parameters or getattr(self, item.name) != item.default
        }

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON schema of the parameters.

        Descriptions are taken from the Parameters section of the class docstring.

        Returns
        -------
        A JSON schema (draft 2020-12) of an object with one property per parameter.

        Examples
        --------
        >>> from mgdask.features import Coordination
        >>> Coordination.json_schema()["properties"]["cutoff"]["exclusiveMinimum"]
        0
        """
        schema = pydantic.TypeAdapter(cls).json_schema()
        described = parameter_descriptions(cls)
        for name, entry in schema.get("properties", {}).items():
            if name in described:
                entry.setdefault("description", described[name])
        schema["description"] = inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]
        return schema

    def summary(self) -> str:
        """Return one line with the parameters that differ from their defaults.

        Values are written as they are typed on a command line.
        """
        parts = []
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Feature):
                parts.append(f"{item.name}={value.family}({value.summary()})")
            elif is_required(item) or value != self._default_of(item):
                parts.append(f"{item.name}={to_text(value)}")
        return ", ".join(parts)

    def _default_of(self, item: dataclasses.Field[Any]) -> Any:
        """Return the default of a parameter, which may depend on other parameters."""
        return item.default

    def check_species(self, numbers: npt.NDArray[np.integer]) -> None:  # noqa: B027
        """Raise ``ParameterError`` if these atomic numbers cannot be described."""

    def for_atoms(self, numbers: npt.NDArray[np.integer]) -> Self:
        """Return the feature with every parameter resolved that depends on the atoms.

        ``compute``, ``featurize`` and ``plan`` call it first.

        Parameters
        ----------
        numbers
            Atomic numbers (atom,) of all atoms.

        Returns
        -------
        The feature itself, unless a parameter depends on the atoms.
        """
        return self

    def neighbor_lists(self, n_atoms: int, n_centers: int) -> dict[Neighborhood, int]:
        """Return the neighbor lists it uses, with the maximum atoms in each."""
        return dict.fromkeys(self.neighborhood, n_centers)

    @abstractmethod
    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of working memory for a block.

        Inputs, output and neighbor lists are not included.
        """

    @property
    def block_atoms(self) -> int | None:
        """Maximum number of central atoms times frames of a block; default no limit.

        Blocks are otherwise made by the size of the output. A feature with few columns
        that takes long needs smaller ones, or a killed run would lose minutes.
        """
        return None

    def process_memory(self) -> dict[Hashable, int]:
        """Return the bytes that a process keeps for all its threads, by what is kept.

        Features that keep the same, under the same key, share it. The default is
        nothing. ``footprint`` does not include it.
        """
        return {}

    def check_inputs(self) -> None:  # noqa: B027
        """Raise ``MgdaskError`` unless files that the feature reads are as expected.

        A run calls it before and after each block, so it must be cheap. The default
        does nothing.
        """

    @abstractmethod
    def cost(self, n_centers: int) -> float:
        """Return a rough run time in seconds on one core, for planning only."""

    def cost_at(self, density: float) -> float:
        """Return the run time per center in s on one core at a number density.

        The default is ``cost`` of one center.

        Parameters
        ----------
        density
            Atoms per Å³.
        """
        return self.cost(1)

    @abstractmethod
    def prepare(self) -> None:
        """Build tables and compile. It is safe to call this again."""

    @property
    def example_number(self) -> int:
        """An atomic number that the feature can describe."""
        return 29


class FrameFeature(Feature):
    """A feature of one frame, computed from the environments of its atoms.

    Subclasses implement ``describe``. Neighbor lists, Voronoi cells and values of other
    features are shared by all features of a block through ``LocalEnvironments``. See
    ``Feature`` for an example.
    """

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """Neighbors that each column is computed from; default Voronoi neighbors.

        ``MediumRange`` averages each column over them.
        """
        return (VoronoiNeighbors(),) * self.n_columns

    def check_species(self, numbers: npt.NDArray[np.integer]) -> None:
        """Raise ``ParameterError`` if a pair of elements has no cutoff."""
        for kind in dict.fromkeys(self.neighborhood):
            if isinstance(kind, CutoffNeighbors) and kind.pair_cutoffs is not None:
                owner = f"{type(self).__name__}: pair_cutoffs"
                check_pairs(owner, kind.pair_cutoffs, numbers)

    @property
    def example_number(self) -> int:
        """An atomic number that the feature can describe."""
        kinds = (kind for kind in self.neighborhood if isinstance(kind, CutoffNeighbors))
        return example_of(next((kind.pair_cutoffs for kind in kinds if kind.pair_cutoffs), None))

    def add_to(self, kinds: FeatureKinds) -> None:
        """Enter the feature into the list of its kind."""
        kinds.single_frame.append(self)
        kinds.framewise.append(self)

    @abstractmethod
    def describe(
        self, environments: LocalEnvironments, centers: IntArray, out: AnyArray
    ) -> dict[str, BoolArray]:
        """Compute the rows of some atoms of a frame.

        Parameters
        ----------
        environments
            The frame, with its neighbor lists and Voronoi cells.
        centers
            Indices (center,) of the central atoms.
        out
            Array (center, column) to fill, or (column,) if ``level`` is "frame".

        Returns
        -------
        Flags (center,) of atoms that needed special treatment, by name. Their number is
        written to the attrs of the output.
        """

    def describe_frame(
        self,
        window: Window,
        frame: int,
        environments: LocalEnvironments,
        centers: IntArray,
        out: AnyArray,
    ) -> dict[str, BoolArray]:
        """Compute the rows of ``frame``, reusing values the environments keep."""
        return environments.fill(self, centers, out)

    def compute(
        self,
        position: npt.ArrayLike | ConfigurationLike,
        cell: npt.ArrayLike | None = None,
        numbers: npt.ArrayLike | None = None,
        centers: npt.ArrayLike | None = None,
        pbc: Sequence[bool] | None = None,
    ) -> AnyArray:
        """Compute the feature of one configuration.

        Parameters
        ----------
        position
            Positions (atom, 3) in Å. Or all atoms as one object, without ``cell`` and
            ``numbers``: ASE Atoms, a pymatgen Structure or Molecule, an OVITO
            DataCollection, an MDAnalysis AtomGroup, or one frame of a Dataset.
        cell
            Cell vectors (3, 3) in Å, one per row.
        numbers
            Atomic numbers (atom,).
        centers
            Indices of the central atoms. Default: all, or those of the AtomGroup.
        pbc
            Whether each cell vector repeats. Default: as the object says, or all.

        Returns
        -------
        Values (center, column), or (column,) if ``level`` is "frame".

        Raises
        ------
        ParameterError
            For wrong shapes, positions that are not finite, species the feature does
            not know, a flat cell, or an object that cannot be read.

        Notes
        -----
        Objects give the same bits as their arrays. MDAnalysis keeps positions in single
        precision, so that last digits differ from those of the file.

        Examples
        --------
        >>> from ase.build import bulk
        >>> from mgdask.features import Coordination
        >>> Coordination(cutoff=3.0).compute(bulk("Cu", cubic=True))[0]
        array([12., 12.])
        """
        if cell is None and numbers is None:
            r, box, z, rows, periodic = check_object(position, centers, pbc)
        else:
            if cell is None or numbers is None:
                raise ParameterError(
                    f"{'cell' if cell is None else 'numbers'} is missing; give position, cell and "
                    "numbers, or one object such as ASE Atoms"
                )
            given = (True, True, True) if pbc is None else pbc
            array: Any = position
            r, box, z, rows = check_configuration(array, cell, numbers, centers, given)
            periodic = tuple(given)
        decided = self.for_atoms(z)
        decided.check_species(z)
        environments = LocalEnvironments(r, box, z, periodic, rows, decided.dependencies)
        shape = (len(rows), self.n_columns) if self.level == "atom" else (self.n_columns,)
        out = np.empty(shape, dtype=self.output_dtype)
        environments.fill(decided, rows, out)
        return out

    @staticmethod
    def read_configuration(obj: ConfigurationLike) -> Configuration:
        """Read the atoms of an object that ``compute`` accepts."""
        return as_configuration(obj)

    @staticmethod
    def compute_together(
        features: Sequence[FrameFeature],
        obj: ConfigurationLike,
        centers: npt.ArrayLike | None = None,
    ) -> list[AnyArray]:
        """Compute several features of one configuration, with neighbor lists made once.

        Parameters
        ----------
        features
            Features of single frames.
        obj
            The atoms as one object, as in ``compute``.
        centers
            Indices of the central atoms. Default: all, or those of the AtomGroup.

        Returns
        -------
        Values of each feature, the same bits as from its own ``compute``.
        """
        from mgdask.features.together import compute_together

        return compute_together(features, obj, centers)

    def prepare(self) -> None:
        """Build tables and compile by describing five atoms."""
        position = np.array(
            [[0.0, 0.0, 0.0], [2.5, 0.0, 0.0], [0.0, 2.5, 0.0], [0.0, 0.0, 2.5], [2.0, 2.0, 2.0]]
        )
        numbers = np.full(5, self.example_number)
        # a cutoff far beyond the cell would find the same atoms very often
        side = max(6.0, self.for_atoms(numbers).reach)
        self.compute(position, side * np.eye(3), numbers)


class WindowFeature(Feature):
    """A feature that compares several frames, with all atoms in each.

    Subclasses implement ``frames_needed`` and ``describe_frame``. Frames are read with
    the periodic images of the atoms, so that ``Window.unwrapped`` works.
    """

    def add_to(self, kinds: FeatureKinds) -> None:
        """Enter the feature into the list of its kind."""
        kinds.windows.append(self)
        kinds.framewise.append(self)

    @abstractmethod
    def frames_needed(self, axis: FrameAxis, frame: int) -> tuple[int, ...]:
        """Return the frames from which the row of ``frame`` is computed.

        Parameters
        ----------
        axis
            Times and runs of all frames.
        frame
            Index of the frame that has the row.

        Returns
        -------
        Increasing indices of frames, ``frame`` included.
        """

    @abstractmethod
    def describe_frame(
        self,
        window: Window,
        frame: int,
        environments: LocalEnvironments,
        centers: IntArray,
        out: AnyArray,
    ) -> dict[str, BoolArray]:
        """Compute the rows of one frame of a window.

        Parameters
        ----------
        window
            At least the frames that ``frames_needed`` names.
        frame
            Index of the frame that has the rows.
        environments
            Neighbor lists and Voronoi cells of that frame.
        centers
            Indices (center,) of the central atoms.
        out
            Array (center, column) to fill, or (column,) if ``level`` is "frame".

        Returns
        -------
        Flags (center,) of atoms that needed special treatment, by name.
        """

    def prepare(self) -> None:
        """Build tables and compile. The default does nothing."""


class TrajectoryFeature(Feature):
    """A feature of the unwrapped trajectories of its central atoms.

    Rows belong to origins, the frames from which time is counted. Subclasses implement
    ``origin_frames``, ``frames_needed`` and ``describe_trajectories``.
    """

    def add_to(self, kinds: FeatureKinds) -> None:
        """Enter the feature into the list of its kind."""
        kinds.trajectories.append(self)

    @abstractmethod
    def frames_needed(self, axis: FrameAxis, frame: int) -> tuple[int, ...]:
        """Return the frames from which the row of ``frame`` is computed."""

    @property
    def needs_drift(self) -> bool:
        """Whether the motion of the center of mass is subtracted; default no."""
        return False

    @abstractmethod
    def origin_frames(self, axis: FrameAxis) -> IntArray:
        """Return the frames that have rows.

        Parameters
        ----------
        axis
            Times and runs of all frames.

        Returns
        -------
        Increasing indices (origin,) of frames.

        Raises
        ------
        ParameterError
            If the trajectory lacks the times that the feature asks for.
        """

    @abstractmethod
    def describe_trajectories(
        self, trajectories: Trajectories, origins: IntArray, out: AnyArray
    ) -> dict[str, BoolArray]:
        """Compute the rows of some atoms at some origins.

        Parameters
        ----------
        trajectories
            Unwrapped trajectories of the central atoms, at least in the frames that
            ``frames_needed`` names.
        origins
            Frames (origin,) that have rows.
        out
            Array (origin, atom, column) to fill.

        Returns
        -------
        Flags (origin, atom) of rows that needed special treatment, by name.
        """

    def prepare(self) -> None:
        """Build tables and compile. The default does nothing."""


class OfSpecies(FrameFeature):
    """A feature that tells elements apart and describes only those in ``species``."""

    species: tuple[str, ...]

    @property
    def example_number(self) -> int:
        """Atomic number of the first species."""
        return atomic_number(self.species[0])

    def check_species(self, numbers: npt.NDArray[np.integer]) -> None:
        """Raise ``ParameterError`` if atoms are of other elements."""
        known = {atomic_number(name) for name in self.species}
        unknown = sorted({int(z) for z in np.unique(numbers)} - known)
        if unknown:
            raise ParameterError(
                f"{type(self).__name__}: species={self.species} lacks "
                f"{', '.join(symbol(z) for z in unknown)}, which the atoms contain; "
                "add them to species"
            )
        super().check_species(numbers)


def _plain(value: Any) -> Any:
    """Return a parameter as JSON-compatible values."""
    if isinstance(value, Feature):
        given = {"name": value.name} if "_name" in vars(value) else {}
        return {value.array_name or value.family: {**given, **value.parameters()}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def check_object(
    obj: ConfigurationLike, centers: npt.ArrayLike | None = None, pbc: Sequence[bool] | None = None
) -> tuple[FloatArray, FloatArray, IntArray, IntArray, Periodic]:
    """Return the atoms of an object as checked arrays.

    Parameters
    ----------
    obj
        An object that ``as_configuration`` reads.
    centers
        Indices of the central atoms, or None for those of the object.
    pbc
        Whether each cell vector repeats, or None for that of the object.

    Returns
    -------
    Position, cell, numbers, indices of the central atoms, and periodicity.

    Raises
    ------
    ParameterError
        With the argument, the value received and what is allowed.
    """
    atoms = as_configuration(obj)
    if centers is not None and atoms.centers is not None:
        raise ParameterError(
            f"the AtomGroup already selects {len(atoms.centers)} of {len(atoms.position)} atoms; "
            "leave out centers=, or give universe.atoms"
        )
    rows = atoms.centers if centers is None else centers
    periodic = atoms.pbc if pbc is None else tuple(pbc)
    checked = check_configuration(atoms.position, atoms.cell, atoms.numbers, rows, periodic)
    return *checked, periodic


def check_configuration(
    position: npt.ArrayLike,
    cell: npt.ArrayLike,
    numbers: npt.ArrayLike,
    centers: npt.ArrayLike | None,
    pbc: Periodic,
) -> tuple[FloatArray, FloatArray, IntArray, IntArray]:
    """Return the arguments of ``compute`` as checked arrays.

    Parameters
    ----------
    position
        Positions (atom, 3) in Å.
    cell
        Cell vectors (3, 3) in Å, one per row.
    numbers
        Atomic numbers (atom,).
    centers
        Indices of the central atoms, or None for all.
    pbc
        Whether each cell vector repeats.

    Returns
    -------
    Position, cell, numbers, and indices of the central atoms.

    Raises
    ------
    ParameterError
        With the argument, the value received and what is allowed.
    """
    r = np.asarray(position, dtype=np.float64)
    if r.ndim != 2 or r.shape[1] != 3:
        raise ParameterError(f"position must be (atom, 3) in Å; got shape {r.shape}")
    if not np.isfinite(r).all():
        atom = int(np.flatnonzero(~np.isfinite(r).all(axis=1))[0])
        raise ParameterError(f"position of atom {atom} is not finite: {r[atom]}")
    if not (np.abs(r) <= MAX_LENGTH).all():
        atom = int(np.flatnonzero((np.abs(r) > MAX_LENGTH).any(axis=1))[0])
        raise ParameterError(
            f"position of atom {atom} is {r[atom].tolist()}; at most ±{MAX_LENGTH:g} Å are "
            f"allowed, so that {RESOLUTION:g} Å are resolved. Wrap the positions into the cell"
        )
    if len(pbc) != 3:
        raise ParameterError(f"pbc must be three booleans, one per cell vector; got {pbc!r}")
    z = np.asarray(numbers)
    if z.shape != (len(r),) or not np.issubdtype(z.dtype, np.integer):
        raise ParameterError(
            f"numbers must be {len(r)} atomic numbers, one per atom; "
            f"got {z.dtype} of shape {z.shape}"
        )
    rows = np.arange(len(r)) if centers is None else _check_centers(centers, len(r))
    return r, complete_cell(cell, pbc), z.astype(np.int64), rows.astype(np.int64)


def _check_centers(centers: npt.ArrayLike, n_atoms: int) -> AnyArray:
    rows = np.asarray(centers)
    if rows.size == 0:
        rows = rows.astype(np.int64)
    if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
        raise ParameterError(
            f"centers must be indices of atoms (integers); got {rows.dtype} of shape "
            f"{rows.shape}. For a mask use np.flatnonzero(mask)"
        )
    if rows.size and (rows.min() < 0 or rows.max() >= n_atoms):
        raise ParameterError(
            f"centers must be indices from 0 to {n_atoms - 1}; got {rows.min()} to {rows.max()}"
        )
    return rows


def sort_species(names: Sequence[str]) -> tuple[str, ...]:
    """Return element symbols in order of atomic number.

    Parameters
    ----------
    names
        Element symbols, each once.

    Returns
    -------
    The symbols, sorted.

    Raises
    ------
    ParameterError
        If an element is named twice, or is not an element.
    """
    numbers = [atomic_number(name) for name in names]
    if len(set(numbers)) != len(numbers):
        raise ParameterError(f"species={tuple(names)} names an element twice")
    return tuple(symbol(z) for z in sorted(numbers))
