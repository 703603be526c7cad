"""Non-affine displacement and local strain of an atom between two frames."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray, Periodic
from mgdask.errors import ParameterError
from mgdask.features.cutoffs import Cutoff, check_pairs, example_of, order_pairs
from mgdask.features.environments import (
    CutoffNeighbors,
    LocalEnvironments,
    Neighborhood,
    NeighborList,
    spans,
    within_cutoff,
)
from mgdask.features.feature import (
    TYPICAL_DENSITY,
    WindowFeature,
    check_configuration,
    feature_dataclass,
    n_within,
)
from mgdask.features.lag import check_times
from mgdask.features.window import FrameAxis, Window
from mgdask.geometry import cartesian, complete_cell, fractional
from mgdask.kernels.nonaffine import Deformation, nonaffine

Quantity = Literal["d2min", "d2min_sum", "shear", "volumetric", "F"]
QUANTITIES: tuple[Quantity, ...] = ("d2min", "d2min_sum", "shear", "volumetric", "F")
Configuration = tuple[FloatArray, FloatArray]
"""Unwrapped positions (atom, 3) and cell vectors (3, 3) in Å."""
GRADIENT = tuple(f"F_{a}{b}" for a in "xyz" for b in "xyz")
"""Columns of "F": F_ab = d current_a / d reference_b."""


def nearest_path(
    reference: FloatArray,
    current: FloatArray,
    reference_cell: FloatArray,
    current_cell: FloatArray,
    pbc: Periodic,
) -> FloatArray:
    """Return the images of atoms whose fractional coordinates change least.

        current - round(s' - s) @ current_cell

    s and s' are the fractional coordinates in each frame's own cell. This is the
    minimum image convention of OVITO.

    Parameters
    ----------
    reference
        Positions (atom, 3) in Å.
    current
        Positions (atom, 3) of the same atoms in Å.
    reference_cell
        Cell vectors (3, 3) in Å, one per row.
    current_cell
        Cell vectors (3, 3) in Å, one per row.
    pbc
        Whether each cell vector repeats.

    Returns
    -------
    Positions (atom, 3) in Å.

    Notes
    -----
    Valid if no atom has moved by half the cell relative to it.
    """
    whole = np.rint(fractional(current, current_cell) - fractional(reference, reference_cell))
    whole[:, ~np.asarray(pbc, dtype=bool)] = 0.0
    return np.asarray(current - cartesian(whole, current_cell))


@feature_dataclass
class NonAffine(WindowFeature):
    """Non-affine squared displacement and local strain between two frames.

    The sums run over the neighbors j of an atom in the reference frame. Relative to the
    atom, neighbor j is at r_j in the reference and at r'_j in the current frame:

        F          = (sum_j r'_j r_j^T) (sum_j r_j r_j^T)^-1
        d2min_sum  = sum_j |r'_j - F r_j|^2,   d2min = d2min_sum / N
        E          = (F^T F - I) / 2
        shear      = sqrt(E_yz^2 + E_xz^2 + E_xy^2
                     + ((E_yy - E_zz)^2 + (E_xx - E_zz)^2 + (E_xx - E_yy)^2) / 6)
        volumetric = (E_xx + E_yy + E_zz) / 3

    F is the best-fit deformation gradient, F_ab = d r'_a / d r_b. d2min_sum (Å²) is
    D²_min as in Falk and Langer and in OVITO. d2min (Å²) is its mean over the N
    neighbors. E is the Green-Lagrange strain.

    ``direction="backward"`` maps the current frame back onto the reference, where the
    residual is computed:

        J          = (sum_j r_j r'_j^T) (sum_j r'_j r'_j^T)^-1
        d2min_sum  = sum_j |r_j - J r'_j|^2

    Parameters
    ----------
    cutoff
        Cutoff distance of the neighbors in the reference in Å: one for all, or one per
        pair of species, {"Cu-Cu": 3.4, "Cu-Zr": 3.6, "Zr-Zr": 4.2}. The first minima of
        g(r) are a good choice: ``mgdask.pair_cutoffs(mgdask.partial_rdf(store))``.
    quantities
        Some of "d2min", "d2min_sum", "shear", "volumetric" and "F", in the order of the
        columns. "F" is nine columns: F_xx, F_xy, F_xz, F_yx, ...
    reference
        Frame with which frame t of a trajectory is compared: "first" for the first
        frame of its run, or the index of a frame.
    lag
        Lag time in ps. If given, frame t is the reference and the frame at t + lag is
        compared with it. If there is no such frame, the row is NaN and counted in the
        attrs.
    direction
        "forward" maps the reference onto the current frame, as Falk and Langer do.
        "backward" is Eq. (2) of Liu X. et al.: frame t + lag is mapped onto frame t.
        Both use the neighbors in the reference. Only d2min and d2min_sum depend on the
        direction. Strain and F always describe the forward map, so that their signs do
        not change.

    Notes
    -----
    The row of an atom is NaN if it has fewer than 3 neighbors, or if all neighbors lie
    in a plane through the atom. Such atoms are counted in the attrs of the output. F
    fits three neighbors exactly, so d2min is then 0. A rotation of the whole
    configuration changes neither d2min nor the strain. d2min and d2min_sum are in Å²;
    the other columns are dimensionless.

    References
    ----------
    Falk, Langer, Phys. Rev. E 57, 7192 (1998); Liu X. et al., J. Mater. Inf. 2, 20
    (2022), Eq. (2), for the mean and the backward direction; Shimizu, Ogata, Li, Mater.
    Trans. 48, 2923 (2007).

    Examples
    --------
    >>> import numpy as np
    >>> fcc = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0.0]])
    >>> sheared = np.array([[1, 0, 0], [0.02, 1, 0], [0, 0, 1]])  # x + 0.02 y
    >>> feature = NonAffine(cutoff=3.0, quantities=("d2min", "shear", "F"))
    >>> cells = 4 * np.eye(3), 4 * sheared
    >>> found = feature.compute(fcc, fcc @ sheared, *cells, np.full(4, 29))
    >>> found[0, :4].round(6) + 0
    array([0.      , 0.010001, 1.      , 0.02    ])
    """

    cutoff: Cutoff = 4.5
    quantities: tuple[Quantity, ...] = ("d2min", "d2min_sum", "shear", "volumetric")
    reference: Literal["first"] | Annotated[int, Field(ge=0)] = "first"
    lag: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    direction: Literal["forward", "backward"] = "forward"

    family: ClassVar[str] = "non_affine"
    array_name: ClassVar[str] = "nonaffine"
    long_name: ClassVar[str] = "non-affine displacement and strain"
    citation: ClassVar[str] = (
        "Falk, Langer, Phys. Rev. E 57, 7192 (1998); "
        "Shimizu, Ogata, Li, Mater. Trans. 48, 2923 (2007)"
    )
    later_parameters: ClassVar[tuple[str, ...]] = ("direction",)

    def __post_init__(self) -> None:
        if not self.quantities or len(set(self.quantities)) < len(self.quantities):
            raise ParameterError(
                f"NonAffine: quantities={self.quantities} must be one or more distinct names of "
                f"{', '.join(QUANTITIES)}"
            )
        if isinstance(self.cutoff, tuple):
            try:
                object.__setattr__(self, "cutoff", order_pairs(self.cutoff))
            except ParameterError as error:
                raise ParameterError(f"NonAffine: cutoff: {error}") from None

    @cached_property
    def _labels(self) -> tuple[str, ...]:
        return tuple(
            label for name in self.quantities for label in (GRADIENT if name == "F" else (name,))
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the quantities; nine for "F"."""
        return self._labels

    @property
    def units(self) -> tuple[str, ...]:
        """Å² for d2min and d2min_sum; strain and F are dimensionless."""
        return tuple("Å²" if label.startswith("d2min") else "1" for label in self.labels)

    @property
    def kind(self) -> CutoffNeighbors:
        """Neighbors within the cutoff, or within that of their pair of species."""
        if isinstance(self.cutoff, tuple):
            return within_cutoff(0.0, self.cutoff)
        return within_cutoff(self.cutoff, None)

    @property
    def widest(self) -> float:
        """The cutoff in Å, or the largest of all pairs."""
        return self.kind.cutoff

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """Neighbors by distance in the reference."""
        return (self.kind,) * self.n_columns

    def check_species(self, numbers: npt.NDArray[np.integer]) -> None:
        """Raise ``ParameterError`` if a pair of elements has no cutoff."""
        if isinstance(self.cutoff, tuple):
            check_pairs("NonAffine: cutoff", self.cutoff, numbers)

    def neighbor_lists(self, n_atoms: int, n_centers: int) -> dict[Neighborhood, int]:
        """Return the list of neighbors in the reference."""
        return {self.kind: n_centers}

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of 13 numbers per center.

        Cutoffs by pair also need the species of all atoms. The backward direction needs
        vectors and images of all neighbors.
        """
        species = 16 * n_atoms if isinstance(self.cutoff, tuple) else 0
        vectors = 140 * 0.09 * 4.19 * self.widest**3 if self.direction == "backward" else 0.0
        return species + int((120 + vectors) * n_centers)

    def cost(self, n_centers: int) -> float:
        """Return the run time in seconds on one core at a typical density."""
        return n_centers * self.cost_at(TYPICAL_DENSITY)

    def cost_at(self, density: float) -> float:
        """Return the time to find the neighbors and to fit, 27 ns per neighbor."""
        return 0.1e-6 + 27e-9 * n_within(self.widest, density)

    def prepare(self) -> None:
        """Compile by comparing four atoms with themselves."""
        position = np.array([[0.0, 0.0, 0.0], [1.5, 0.0, 0.0], [0.0, 1.5, 0.0], [0.0, 0.0, 1.5]])
        cell = 4.0 * self.widest * np.eye(3)
        self.compute(position, position, cell, cell, np.full(4, self.example_number))

    @property
    def example_number(self) -> int:
        """An atomic number that has a cutoff with itself, or that of copper."""
        return example_of(self.cutoff if isinstance(self.cutoff, tuple) else None)

    def _compared_frames(self, axis: FrameAxis, frame: int) -> tuple[int, int]:
        """Return the reference and the current frame of a row; current -1 if none."""
        if self.lag is not None:
            return frame, axis.later(frame, self.lag)
        reference = axis.first_of_run(frame) if self.reference == "first" else int(self.reference)
        if reference >= len(axis.run):
            raise ParameterError(
                f"NonAffine: reference={reference} is beyond the last frame, {len(axis.run) - 1}"
            )
        return reference, frame

    def check_frames(self, axis: FrameAxis, frames: IntArray) -> None:
        """Raise ``ParameterError`` if no frame follows any of these at the lag.

        If only some of the frames lack a later one, their rows are NaN.
        """
        if self.lag is None:
            return
        check_times(axis)
        if (axis.laters(self.lag)[frames] < 0).all():
            nearest = axis.nearest_lag(self.lag, frames)
            hint = (
                f"the nearest lag that exists is {nearest:g} ps"
                if np.isfinite(nearest)
                else "no frame of a run follows them"
            )
            raise ParameterError(
                f"NonAffine: no frame is {self.lag:g} ps after any of the {len(frames)} frames, so "
                f"all rows would be NaN; {hint}. Choose another lag, or other frames"
            )

    def frames_needed(self, axis: FrameAxis, frame: int) -> tuple[int, ...]:
        """Return the frame and the one it is compared with."""
        return tuple(sorted({*self._compared_frames(axis, frame)} - {-1}))

    def describe_frame(
        self,
        window: Window,
        frame: int,
        environments: LocalEnvironments,
        centers: IntArray,
        out: AnyArray,
    ) -> dict[str, BoolArray]:
        """Fill ``out`` (center, column) for a frame of a trajectory.

        Neighbors are those of the reference, so that ``environments`` is not used.
        """
        reference, current = self._compared_frames(window.axis, frame)
        none = np.zeros(len(centers), dtype=bool)
        if current < 0:
            out[...] = np.nan
            return {"no_later_frame": ~none, "too_few_neighbors": none, "flat_neighborhood": none}
        before = LocalEnvironments(
            window.unwrapped(reference),
            window.cell[window.place(reference)],
            window.numbers,
            window.pbc,
            centers,
        )
        now, cell = window.unwrapped(current), window.cell[window.place(current)]
        flags = {"no_later_frame": none} if self.lag is not None else {}
        return {**flags, **self.describe_pair(before, now, cell, centers, out)}

    def describe_pair(
        self,
        environments: LocalEnvironments,
        current: FloatArray,
        current_cell: FloatArray,
        centers: IntArray,
        out: AnyArray,
    ) -> dict[str, BoolArray]:
        """Fill ``out`` from a reference and a current configuration.

        Parameters
        ----------
        environments
            The reference, with unwrapped positions.
        current
            Unwrapped positions (atom, 3) of the same atoms in Å.
        current_cell
            Cell vectors (3, 3) in Å, one per row.
        centers
            Indices (center,) of the central atoms.
        out
            Array (center, column) to fill.

        Returns
        -------
        Flags (center,) of the atoms that have NaN, by reason.
        """
        bonds = environments.bonds(self.kind, centers)
        fixed = ~np.array(environments.pbc)
        cell = complete_cell(current_cell, environments.pbc)
        # nothing moves with a cell vector that does not repeat
        cell[fixed] = environments.cell[fixed]
        before = environments.position, environments.cell
        after = np.ascontiguousarray(current, dtype=np.float64), cell
        fits = {}
        if self.direction == "forward" or not {"d2min", "d2min_sum"}.issuperset(self.quantities):
            fits["forward"] = _fit(centers, bonds, before, after)
        if self.direction == "backward":
            fits["backward"] = _fit(centers, _moved(centers, bonds, before, after), after, before)
        residual = fits[self.direction]
        strain = fits.get("forward", residual)
        with np.errstate(invalid="ignore"):
            mean = residual.d2 / residual.neighbors
        values = {
            "d2min": mean[:, None],
            "d2min_sum": residual.d2[:, None],
            "shear": strain.shear[:, None],
            "volumetric": strain.volumetric[:, None],
            "F": strain.gradient,
        }
        column = 0
        for name in self.quantities:
            part = values[name]
            out[:, column : column + part.shape[1]] = part
            column += part.shape[1]
        few = residual.neighbors < 3
        flat = np.isnan(residual.d2) | np.isnan(strain.d2)
        return {"too_few_neighbors": few, "flat_neighborhood": flat & ~few}

    def compute(
        self,
        reference: npt.ArrayLike,
        current: npt.ArrayLike,
        reference_cell: npt.ArrayLike,
        current_cell: npt.ArrayLike,
        numbers: npt.ArrayLike,
        centers: npt.ArrayLike | None = None,
        pbc: Sequence[bool] = (True, True, True),
        unwrapped: bool = True,
    ) -> AnyArray:
        """Compare two configurations of the same atoms, NumPy in and out.

        Parameters
        ----------
        reference
            Positions (atom, 3) in Å.
        current
            Positions (atom, 3) of the same atoms in the same order, in Å.
        reference_cell
            Cell vectors (3, 3) in Å, one per row.
        current_cell
            Cell vectors (3, 3) in Å, one per row.
        numbers
            Atomic numbers (atom,).
        centers
            Indices of the central atoms (default all).
        pbc
            Whether each cell vector repeats.
        unwrapped
            Whether the positions are unwrapped. If not, each atom takes the path of
            ``nearest_path``.

        Returns
        -------
        Values (center, column).

        Raises
        ------
        ParameterError
            For wrong shapes, positions that are not finite, a pair of species without
            cutoff, or a flat cell.
        """
        r, box, z, rows = _check("reference", reference, reference_cell, numbers, centers, pbc)
        path, new_box, _, _ = _check("current", current, current_cell, numbers, None, pbc)
        self.check_species(z)
        if not unwrapped:
            path = nearest_path(r, path, box, new_box, pbc)
        out = np.empty((len(rows), self.n_columns))
        self.describe_pair(LocalEnvironments(r, box, z, pbc, rows), path, new_box, rows, out)
        return out


def _check(
    which: str,
    position: npt.ArrayLike,
    cell: npt.ArrayLike,
    numbers: npt.ArrayLike,
    centers: npt.ArrayLike | None,
    pbc: Periodic,
) -> tuple[FloatArray, FloatArray, IntArray, IntArray]:
    """Check one of two configurations; errors say which."""
    try:
        return check_configuration(position, cell, numbers, centers, pbc)
    except ParameterError as error:
        raise ParameterError(f"{which}: {error}") from None


def _fit(
    centers: IntArray, bonds: NeighborList, source: Configuration, target: Configuration
) -> Deformation:
    """Fit the map of the neighbors in ``source`` onto those in ``target``."""
    (start, start_cell), (end, end_cell) = source, target
    first, last, row, vector = bonds[:4]
    return nonaffine(centers, first, last, row, vector, start, end, start_cell, end_cell)


def _moved(
    centers: IntArray, bonds: NeighborList, before: Configuration, after: Configuration
) -> NeighborList:
    """Return the same neighbors, each with its vector in the current frame."""
    count = bonds.last - bonds.first
    pick = spans(bonds.first, bonds.last)
    center, row = np.repeat(centers, count), bonds.row[pick]
    vector, (start, cell), (end, new_cell) = bonds.vector[pick], before, after
    image = np.rint(fractional(vector - (start[row] - start[center]), cell))
    path = (end[row] - start[row]) - (end[center] - start[center])
    vector = vector + path + cartesian(image, new_cell - cell)
    last = np.cumsum(count)
    return bonds._replace(first=last - count, last=last, row=row, vector=vector)
