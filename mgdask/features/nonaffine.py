"""Non-affine displacement and local strain of an atom between two frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field

from mgdask.elements import atomic_number, symbol
from mgdask.errors import ParameterError
from mgdask.features.environments import CutoffNeighbors, LocalEnvironments, Neighborhood
from mgdask.features.feature import (
    Feature,
    Periodic,
    check_configuration,
    sort_species,
    validate_fields,
)
from mgdask.features.window import FrameAxis, Window
from mgdask.geometry import cartesian, complete_cell, fractional
from mgdask.kernels.nonaffine import nonaffine, within

Float = npt.NDArray[np.float64]
Integer = npt.NDArray[np.int64]

Quantity = Literal["d2min", "d2min_sum", "shear", "volumetric", "F"]
QUANTITIES: tuple[Quantity, ...] = ("d2min", "d2min_sum", "shear", "volumetric", "F")
GRADIENT = tuple(f"F_{a}{b}" for a in "xyz" for b in "xyz")
"""Columns of "F": F_ab = d current_a / d reference_b."""


def _as_pairs(value: Any) -> Any:
    return tuple(value.items()) if isinstance(value, Mapping) else value


_Distance = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Cutoff = Annotated[_Distance | tuple[tuple[str, _Distance], ...], BeforeValidator(_as_pairs)]
"""One distance in Å, or ("Cu-Zr", distance) for every pair of species; a mapping is taken too."""


def nearest_path(
    reference: Float, current: Float, reference_cell: Float, current_cell: Float, pbc: Periodic
) -> Float:
    """Images of the atoms of ``current`` (atom,3) whose fractions differ least from those in ``reference``.

        current - round(s' - s) @ current_cell,   s and s' the fractions in each frame's own cell

    Right as long as no atom moved by half the cell relative to it; the minimum image convention of OVITO.
    """
    whole = np.rint(fractional(current, current_cell) - fractional(reference, reference_cell))
    whole[:, ~np.asarray(pbc, dtype=bool)] = 0.0
    return np.asarray(current - cartesian(whole, current_cell))


@dataclass(frozen=True)
class NonAffine(Feature):
    """Non-affine squared displacement and local strain of an atom between a reference frame and a current one.

    Of the neighbours j that the atom has in the reference, at r_j there and at r'_j in the current frame,

        F = (sum_j r'_j r_j^T) (sum_j r_j r_j^T)^-1      the gradient that fits best, F_ab = d r'_a / d r_b
        d2min_sum  D2 = sum_j |r'_j - F r_j|^2           Å², as Falk and Langer; what OVITO gives
        d2min      D2 / N                                Å², the mean over the N neighbours
        E = (F^T F - I) / 2                              Green-Lagrange strain
        shear      sqrt(E_yz^2 + E_xz^2 + E_xy^2 + ((E_yy - E_zz)^2 + (E_xx - E_zz)^2 + (E_xx - E_yy)^2) / 6)
        volumetric (E_xx + E_yy + E_zz) / 3

    Parameters
    ----------
    cutoff: of the neighbours in the reference, Å: one for all, or one for every pair of species,
        {"Cu-Cu": 3.4, "Cu-Zr": 3.6, "Zr-Zr": 4.2}; the first minima of ``radial_distribution`` are a choice.
    quantities: which, in the order of the columns; "F" is nine: F_xx, F_xy, F_xz, F_yx, ...
    reference, lag: in a trajectory, a row of frame t compares it with the reference, "first" (the first frame of its
        run) or a frame's number; or, with ``lag`` in ps, frame t is the reference and the frame that much later is
        compared with it: NaN where there is none, counted.

    Fewer than 3 neighbours, or all neighbours in a plane through the atom: NaN; such atoms are counted in the attrs of
    the output. To three neighbours F fits exactly: D2 is 0. A rotation of the whole configuration changes neither D2
    nor strain.

    Sources: Falk, Langer, Phys. Rev. E 57, 7192 (1998), the mean as in Liu et al., J. Mater. Inf. 2, 20 (2022), Eq.
    (2); Shimizu, Ogata, Li, Mater. Trans. 48, 2923 (2007).

    >>> import numpy as np
    >>> fcc = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0.0]])
    >>> sheared = np.array([[1, 0, 0], [0.02, 1, 0], [0, 0, 1]])  # x + 0.02 y
    >>> feature = NonAffine(cutoff=3.0, quantities=("d2min", "shear", "F"))
    >>> feature.compute(fcc, fcc @ sheared, 4 * np.eye(3), 4 * sheared, np.full(4, 29))[0, :4].round(6) + 0
    array([0.      , 0.010001, 1.      , 0.02    ])
    """

    cutoff: Cutoff = 4.5
    quantities: tuple[Quantity, ...] = ("d2min", "d2min_sum", "shear", "volumetric")
    reference: Literal["first"] | Annotated[int, Field(ge=0)] = "first"
    lag: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    family: ClassVar[str] = "nonaffine"
    long_name: ClassVar[str] = "non-affine displacement and strain"
    citation: ClassVar[str] = (
        "Falk, Langer, Phys. Rev. E 57, 7192 (1998); Shimizu, Ogata, Li, Mater. Trans. 48, 2923 (2007)"
    )

    def __post_init__(self) -> None:
        validate_fields(self)
        if not self.quantities or len(set(self.quantities)) < len(self.quantities):
            raise ParameterError(
                f"NonAffine: quantities={self.quantities} must name each of some of {', '.join(QUANTITIES)} once"
            )
        if isinstance(self.cutoff, tuple):
            pairs = [(_pair(name), distance) for name, distance in self.cutoff]
            if not pairs or len({pair for pair, _ in pairs}) < len(pairs):
                raise ParameterError(
                    f"NonAffine: cutoff={dict(self.cutoff)} must name each pair of species once"
                )
            ordered = sorted(pairs, key=lambda item: [atomic_number(name) for name in item[0]])
            object.__setattr__(
                self, "cutoff", tuple(("-".join(pair), distance) for pair, distance in ordered)
            )

    @cached_property
    def _labels(self) -> tuple[str, ...]:
        return tuple(
            label for name in self.quantities for label in (GRADIENT if name == "F" else (name,))
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """d2min, d2min_sum, shear, volumetric, F_xx, F_xy, ...: those asked for."""
        return self._labels

    @property
    def widest(self) -> float:
        """The cut-off, or the largest of all pairs, in Å."""
        return (
            max(distance for _, distance in self.cutoff)
            if isinstance(self.cutoff, tuple)
            else self.cutoff
        )

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """Neighbours in the reference, by distance."""
        return (CutoffNeighbors(self.widest),) * self.n_columns

    def check_species(self, numbers: npt.NDArray[np.integer]) -> None:
        """``ParameterError`` where a pair of the elements present has no cut-off."""
        if isinstance(self.cutoff, tuple):
            given = dict(self.cutoff)
            present = [symbol(int(z)) for z in np.unique(numbers)]
            lacking = [
                f"{a}-{b}"
                for a, b in combinations_with_replacement(present, 2)
                if f"{a}-{b}" not in given
            ]
            if lacking:
                raise ParameterError(
                    f"NonAffine: cutoff={given} lacks {', '.join(lacking)}, which the atoms contain; "
                    "add its distance in Å"
                )

    def neighbor_lists(self, n_atoms: int, n_centers: int) -> dict[Neighborhood, int]:
        """Neighbours in the reference."""
        return {CutoffNeighbors(self.widest): n_centers}

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Thirteen numbers a centre; with cut-offs of pairs also the species of the atoms, and a copy of the list."""
        if not isinstance(self.cutoff, tuple):
            return 120 * n_centers
        return 16 * n_atoms + int((120 + 48 * 0.09 * 4.19 * self.widest**3) * n_centers)

    def cost(self, n_centers: int) -> float:
        """About 1 microsecond a centre, neighbours included."""
        return 1e-6 * n_centers

    def prepare(self) -> None:
        """Compile, so that what follows can be timed; safe to call again."""
        position = np.array([[0.0, 0.0, 0.0], [1.5, 0.0, 0.0], [0.0, 1.5, 0.0], [0.0, 0.0, 1.5]])
        cell = 4.0 * self.widest * np.eye(3)
        self.compute(position, position, cell, cell, np.full(4, self.example_number))

    @property
    def example_number(self) -> int:
        """An atomic number that has a cut-off with itself; that of copper where any has."""
        pairs = self.cutoff if isinstance(self.cutoff, tuple) else ()
        alike = (a for a, b in (name.split("-") for name, _ in pairs) if a == b)
        return atomic_number(next(alike, "Cu"))

    def describe(
        self, environments: LocalEnvironments, centers: Integer, out: npt.NDArray[Any]
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """One frame is not enough: ``ParameterError``."""
        raise ParameterError(
            "NonAffine compares two frames and cannot be made of one; "
            "use compute(reference, current, ...) or describe_pair"
        )

    def frames_needed(self, axis: FrameAxis, frame: int) -> tuple[int, ...]:
        """The frame, and the one that it is compared with."""
        if self.lag is not None:
            later = axis.later(frame, self.lag)
            return (frame,) if later < 0 else (frame, later)
        other = axis.first_of_run(frame) if self.reference == "first" else int(self.reference)
        if other >= len(axis.run):
            raise ParameterError(
                f"NonAffine: reference={other} is beyond the last frame, {len(axis.run) - 1}"
            )
        return tuple(sorted({other, frame}))

    def describe_frame(
        self,
        window: Window,
        frame: int,
        environments: LocalEnvironments,
        centers: Integer,
        out: npt.NDArray[Any],
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """Fill ``out`` for a frame of a trajectory."""
        flags = (
            {"no_later_frame": np.zeros(len(centers), dtype=bool)} if self.lag is not None else {}
        )
        reference, current = frame, frame
        if self.lag is not None:
            current = window.axis.later(frame, self.lag)
            if current < 0:
                out[...] = np.nan
                none = np.zeros(len(centers), dtype=bool)
                return {
                    "no_later_frame": ~none,
                    "too_few_neighbors": none,
                    "flat_neighborhood": none,
                }
        else:
            reference = (
                window.axis.first_of_run(frame)
                if self.reference == "first"
                else int(self.reference)
            )
        before = LocalEnvironments(
            window.path(reference),
            window.cell[window.place(reference)],
            window.numbers,
            window.pbc,
            centers,
        )
        found = self.describe_pair(
            before, window.path(current), window.cell[window.place(current)], centers, out
        )
        return {**flags, **found}

    def describe_pair(
        self,
        environments: LocalEnvironments,
        current: Float,
        current_cell: Float,
        centers: Integer,
        out: npt.NDArray[Any],
    ) -> dict[str, npt.NDArray[np.bool_]]:
        """Fill ``out`` (center,column) from the reference and the current frame.

        ``environments`` is the reference, with the true paths (unwrapped) as its positions; ``current`` (atom,3) Å the same
        atoms' true paths, ``current_cell`` (3,3) Å. Returns marks (center,) of the atoms that have NaN, by the reason.
        """
        bonds = environments.neighbors(self.widest, centers)
        first, last, row, vector = bonds.first, bonds.last, bonds.row, bonds.vector
        if isinstance(self.cutoff, tuple):
            names, table = self._table
            first, last, pick = within(
                centers, first, last, row, bonds.distance, environments.slots(names), table
            )
            row, vector = row.take(pick), vector.take(pick, axis=0)
        fixed = ~np.array(environments.pbc)
        cell = complete_cell(current_cell, environments.pbc)
        cell[fixed] = environments.cell[
            fixed
        ]  # nothing moves with a vector along which nothing repeats
        path = np.ascontiguousarray(current, dtype=np.float64)
        found = nonaffine(
            centers, first, last, row, vector, environments.position, path, environments.cell, cell
        )
        at = 0
        with np.errstate(invalid="ignore"):
            mean = found.d2 / found.neighbors
        values = {
            "d2min": mean[:, None],
            "d2min_sum": found.d2[:, None],
            "shear": found.shear[:, None],
            "volumetric": found.volumetric[:, None],
            "F": found.gradient,
        }
        for name in self.quantities:
            part = values[name]
            out[:, at : at + part.shape[1]] = part
            at += part.shape[1]
        few = found.neighbors < 3
        return {"too_few_neighbors": few, "flat_neighborhood": np.isnan(found.d2) & ~few}

    @cached_property
    def _table(self) -> tuple[tuple[str, ...], Float]:
        # species in the order of atomic numbers, and (species, species) cut-offs in Å; check_species has seen to gaps
        pairs = self.cutoff if isinstance(self.cutoff, tuple) else ()
        names = sort_species(sorted({name for pair, _ in pairs for name in pair.split("-")}))
        table = np.full((len(names), len(names)), np.nan)
        for pair, distance in pairs:
            a, b = (names.index(name) for name in pair.split("-"))
            table[a, b] = table[b, a] = distance
        return names, table

    def compute(  # type: ignore[override]  # two configurations, where the others take one
        self,
        reference: npt.ArrayLike,
        current: npt.ArrayLike,
        reference_cell: npt.ArrayLike,
        current_cell: npt.ArrayLike,
        numbers: npt.ArrayLike,
        centers: npt.ArrayLike | None = None,
        pbc: Sequence[bool] = (True, True, True),
        unwrapped: bool = True,
    ) -> npt.NDArray[Any]:
        """Two configurations of the same atoms in the same order, NumPy in and out.

        ``reference`` and ``current`` (atom,3) in Å, ``reference_cell`` and ``current_cell`` (3,3) with the vectors as
        rows, ``numbers`` (atom,) atomic numbers, ``centers`` rows of the central atoms (default all), ``pbc`` which
        vectors repeat. ``unwrapped``: the positions are true paths; if not, each atom took the way that
        ``nearest_path`` gives. Returns (center, column). ``ParameterError`` for wrong shapes, NaN, a pair of species
        without cut-off, a flat cell.
        """
        r, box, z, chosen = _check("reference", reference, reference_cell, numbers, centers, pbc)
        path, new_box, _, _ = _check("current", current, current_cell, numbers, None, pbc)
        self.check_species(z)
        if not unwrapped:
            path = nearest_path(r, path, box, new_box, pbc)
        out = np.empty((len(chosen), self.n_columns))
        self.describe_pair(LocalEnvironments(r, box, z, pbc, chosen), path, new_box, chosen, out)
        return out


def _check(
    which: str,
    position: npt.ArrayLike,
    cell: npt.ArrayLike,
    numbers: npt.ArrayLike,
    centers: npt.ArrayLike | None,
    pbc: Periodic,
) -> tuple[Float, Float, Integer, Integer]:
    try:
        return check_configuration(position, cell, numbers, centers, pbc)
    except ParameterError as error:
        raise ParameterError(f"{which}: {error}") from None


def _pair(name: str) -> tuple[str, str]:
    parts = name.split("-")
    if len(parts) != 2:
        raise ParameterError(
            f"NonAffine: cutoff: {name!r} is not a pair of species such as 'Cu-Zr'"
        )
    a, b = sorted(parts, key=atomic_number)
    return a, b
