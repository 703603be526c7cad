"""Non-affine linear response of a network of springs to a given strain."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.features.cutoffs import Distance
from mgdask.features.environments import (
    CutoffNeighbors,
    LocalEnvironments,
    Neighborhood,
    element_radii,
)
from mgdask.features.feature import TYPICAL_DENSITY, FrameFeature, feature_dataclass, n_within
from mgdask.features.interstice import Radii
from mgdask.features.neighbor_lists import spans
from mgdask.kernels.nonaffine import nonaffine

LABELS = ("d2min_sum", "shear", "displacement", "force", "softest", "anisotropy", "along")
UNITS = ("Å²", "1", "Å²", "Å²", "1", "1", "1")
"""Unit of each of ``LABELS``. Spring constants have none, so a force is a length."""
DAMPING = 0.8
"""Damping factor of each step. Any value below 1 converges: see ``LinearResponse``."""
SINGULAR = 1e-9
"""Eigenvalues of K below this fraction of the largest one count as zero."""
_Finite = Annotated[float, Field(allow_inf_nan=False)]


@feature_dataclass
class LinearResponse(FrameFeature):
    """Non-affine response to a load of springs that connect neighboring atoms.

    Neighbors at distance d along the unit vector n are connected by springs of
    stiffness k. Relative to atom i, neighbor j is at r_ij:

        k_ij = exp(-decay (d_ij / (R_i + R_j) - 1))
        K_i  = sum_j k_ij n_ij n_ij^T
        f_i  = sum_j k_ij n_ij (n_ij . (E r_ij + u_j - u_i))

    E is the affine strain. u is the non-affine displacement for which all forces f
    vanish. It is found by damped steps of all atoms at once, starting from u = 0:

        u_i <- u_i + 0.8 K_i^-1 f_i

    Columns:

    * d2min_sum (Å²): the residual of u over the neighbors, as in ``NonAffine``;
    * shear: the shear invariant of E plus the fitted strain of u;
    * displacement (Å²): |u|²;
    * force (Å²): |f|² before the first step, with dimensionless k;
    * softest: the smallest eigenvalue of K_i;
    * anisotropy: the ratio of the smallest to the largest eigenvalue of K_i;
    * along: v K_i v / tr K_i for the unit vector v along the principal strain of E with
      the largest absolute value.

    Parameters
    ----------
    cutoff
        Cutoff distance of the springs in Å.
    strain
        Components xx, yy, zz, yz, xz, xy of E. The default is a uniaxial compression
        along z with Poisson's ratio 0.4. All displacements are proportional to E.
    radii
        Radii R of the atoms in Å, as in ``Interstice``.
    decay
        Dimensionless rate at which springs soften with distance; 0 for equal springs.
    steps
        Number of steps. 16 suffice for a glass; 0 leaves u at 0.

    Notes
    -----
    Where a glass yields depends on its structure and on the direction of the load. The
    spring constants follow from distances alone; no interatomic potential is used. The
    energy is quadratic, so the response shows precursors of an instability, but not the
    instability itself.

    The result is not invariant to a rotation of the configuration unless ``strain`` is
    rotated too. Steps with a factor below 1 always converge, since a spring stores at
    most twice the energy that its ends store separately. d2min_sum is NaN for an atom
    with fewer than 3 neighbors, or with all neighbors in one plane. Such atoms are
    counted in the attrs of the output.

    The whole frame is computed even if only a few atoms are requested. It takes 20 µs
    per atom for 16 steps. In large frames the result is kept for the next block of the
    same thread.

    References
    ----------
    Non-affine linear response: Lemaitre, Maloney, J. Stat. Phys. 123, 415 (2006).
    D2min: Falk, Langer, Phys. Rev. E 57, 7192 (1998).

    Examples
    --------
    >>> import numpy as np
    >>> fcc = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0.0]])
    >>> found = LinearResponse(cutoff=3.0).compute(fcc, 4 * np.eye(3), np.full(4, 29))
    >>> bool(abs(found[:, [0, 2, 3]]).max() < 1e-20)  # a crystal deforms affinely
    True
    """

    cutoff: Distance = 4.2
    strain: tuple[_Finite, _Finite, _Finite, _Finite, _Finite, _Finite] = (
        *(0.4, 0.4, -1.0),
        *(0.0, 0.0, 0.0),
    )
    radii: Radii = "miracle"
    decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    steps: Annotated[int, Field(ge=0)] = 16

    family: ClassVar[str] = "linear_response"
    long_name: ClassVar[str] = "non-affine linear response of a network of springs"
    citation: ClassVar[str] = "Lemaitre, Maloney, J. Stat. Phys. 123, 415 (2006)"
    labels: ClassVar[tuple[str, ...]] = LABELS
    units: ClassVar[tuple[str, ...]] = UNITS

    def __post_init__(self) -> None:
        if not any(self.strain):
            raise ParameterError(
                "LinearResponse: strain is 0 in all six components; give that of the load, such "
                "as (0.4, 0.4, -1, 0, 0, 0) for a compression along z"
            )

    @property
    def kind(self) -> CutoffNeighbors:
        """Neighbors that are connected by springs."""
        return CutoffNeighbors(self.cutoff)

    @property
    def neighborhood(self) -> tuple[Neighborhood, ...]:
        """Neighbors within the cutoff."""
        return (self.kind,) * self.n_columns

    def tensor(self) -> FloatArray:
        """Return the affine strain E, shape (3, 3)."""
        xx, yy, zz, yz, xz, xy = self.strain
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])

    def neighbor_lists(self, n_atoms: int, n_centers: int) -> dict[Neighborhood, int]:
        """Return the number of atoms with neighbors: all of the frame."""
        return {self.kind: n_atoms}

    def footprint(self, n_atoms: int, n_centers: int) -> int:
        """Return the bytes of the springs of the whole frame, about 220 per pair."""
        pairs = 0.09 * 4.19 * self.cutoff**3
        return int((220 * pairs + 400) * n_atoms)

    def cost(self, n_centers: int) -> float:
        """Return the run time in seconds on one core at a typical density."""
        return n_centers * self.cost_at(TYPICAL_DENSITY)

    def cost_at(self, density: float) -> float:
        """Return about 1 µs per neighbor for 16 steps."""
        near = n_within(self.kind.cutoff, density)
        return 1e-6 + near * (0.1e-6 + 0.055e-6 * self.steps)

    def check_species(self, numbers: npt.NDArray[np.integer]) -> None:
        """Raise ``ParameterError`` if an element has no radius."""
        element_radii(self.radii, numbers)
        super().check_species(numbers)

    def describe(
        self, environments: LocalEnvironments, centers: IntArray, out: AnyArray
    ) -> dict[str, BoolArray]:
        """Fill ``out`` (center, column) and return the flags (center,) by name."""
        moved, first_force, stiffness = environments.kept(
            ("linear_response", self), lambda: self._relax(environments)
        )
        near = environments.neighbors(self.cutoff, centers)
        residual = nonaffine(
            centers,
            near.first,
            near.last,
            near.row,
            near.vector,
            environments.position,
            environments.position + moved,
            environments.cell,
            environments.cell,
        )
        eigenvalues = np.linalg.eigvalsh(stiffness[centers])
        values, vectors = np.linalg.eigh(self.tensor())
        load = vectors[:, np.abs(values).argmax()]
        trace = np.trace(stiffness[centers], axis1=1, axis2=2)
        gradient = residual.gradient.reshape(-1, 3, 3) - np.eye(3)
        strain = self.tensor() + 0.5 * (gradient + gradient.transpose(0, 2, 1))
        deviator = strain - np.trace(strain, axis1=1, axis2=2)[:, None, None] * np.eye(3) / 3.0
        out[:, 0] = residual.d2
        out[:, 1] = np.sqrt(0.5 * (deviator**2).sum(axis=(1, 2)))
        out[:, 2] = (moved[centers] ** 2).sum(axis=1)
        out[:, 3] = (first_force[centers] ** 2).sum(axis=1)
        out[:, 4] = np.maximum(eigenvalues[:, 0], 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            out[:, 5] = out[:, 4] / eigenvalues[:, 2]
            out[:, 6] = np.einsum("a,nab,b->n", load, stiffness[centers], load) / trace
        flagged = np.isnan(out).any(axis=1)
        return {"undefined": np.asarray(flagged, dtype=bool)}

    def _relax(self, environments: LocalEnvironments) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return u (atom, 3), the first f (atom, 3) and K (atom, 3, 3) of all atoms."""
        n = len(environments)
        near = environments.neighbors(self.cutoff, np.arange(n))
        pick = spans(near.first, near.last)
        start, end = np.repeat(np.arange(n), near.last - near.first), near.row[pick]
        vector, distance = near.vector[pick], near.distance[pick]
        radius = environments.radii(self.radii)
        spring = np.exp(-self.decay * (distance / (radius[start] + radius[end]) - 1.0))
        # a neighbor at distance 0 has no direction and no spring
        direction = vector / np.where(distance > 0.0, distance, 1.0)[:, None]
        stiffness = np.empty((n, 3, 3))
        for a in range(3):
            for b in range(3):
                product = spring * direction[:, a] * direction[:, b]
                stiffness[:, a, b] = np.bincount(start, weights=product, minlength=n)
        inverse = _inverse(stiffness)
        affine = np.einsum("na,ab,nb->n", direction, self.tensor(), vector)
        moved = np.zeros((n, 3))
        first_force = force = self._force(moved, affine, start, end, spring, direction)
        for _ in range(self.steps):
            moved = moved + DAMPING * np.einsum("nab,nb->na", inverse, force)
            force = self._force(moved, affine, start, end, spring, direction)
        return moved, first_force, stiffness

    @staticmethod
    def _force(
        moved: FloatArray,
        affine: FloatArray,
        start: IntArray,
        end: IntArray,
        spring: FloatArray,
        direction: FloatArray,
    ) -> FloatArray:
        stretch = affine + np.einsum("na,na->n", direction, moved[end] - moved[start])
        force = np.empty_like(moved)
        # in the order of the list, so that the sum does not depend on the block
        for a in range(3):
            pull = spring * stretch * direction[:, a]
            force[:, a] = np.bincount(start, weights=pull, minlength=len(moved))
        return force


def _inverse(stiffness: FloatArray) -> FloatArray:
    """Return the pseudoinverse of each matrix (atom, 3, 3)."""
    value, vector = np.linalg.eigh(stiffness)
    usable = value > SINGULAR * np.maximum(value[:, 2:], np.finfo(np.float64).tiny)
    weight = np.where(usable, 1.0 / np.where(usable, value, 1.0), 0.0)
    return np.asarray(np.einsum("nak,nk,nbk->nab", vector, weight, vector))
