"""A cluster of atoms in projection, with the polyhedron of its shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.elements import MIRACLE_RADII, symbol
from mgdask.errors import ParameterError
from mgdask.plot.slab_markers import DEFAULT_RADIUS
from mgdask.plot.style import CYCLE, FILL_GREY, YELLOW, pale

if TYPE_CHECKING:
    from mgdask.plot.style import Axes

SHELL_SIZE, OUTER_SIZE = 0.44, 0.17
"""Drawn radii of the atoms of the shell and of those outside it, in atomic radii."""
FADE = 0.65
"""Fraction of white in the color of the farthest atom."""
TILT = (-65.0, 25.0)
"""Rotations in degrees about the horizontal and the viewing axis."""


def view_rotation(shell: npt.ArrayLike) -> FloatArray:
    """Compute the orientation from which a shell is seen.

    The principal axes of the shell are aligned with the picture, and then tilted. A
    rotated cluster therefore gives the same picture.

    Parameters
    ----------
    shell
        Positions (atom, 3) of the shell relative to its center.

    Returns
    -------
    rotation
        Proper rotation (3, 3); rows are the horizontal, vertical and viewing axes.

    Notes
    -----
    The sign of an axis is that of the third moment of the shell along it. Clusters of
    high symmetry have no unique principal axes, so their orientation is arbitrary.

    Examples
    --------
    >>> rotation = view_rotation([[2.0, 0, 0], [0, 1.0, 0], [0, 0, 0.5], [-1.0, 0, 0]])
    >>> bool(np.allclose(rotation @ rotation.T, np.eye(3)))
    True
    """
    points = np.asarray(shell, dtype=np.float64)
    centered = points - points.mean(axis=0)
    _, axes = np.linalg.eigh(centered.T @ centered)
    axes = axes[:, ::-1].T
    moments = ((points @ axes.T) ** 3).sum(axis=0)
    axes = axes * np.where(moments < 0, -1.0, 1.0)[:, None]
    if np.linalg.det(axes) < 0:
        axes[2] *= -1.0
    a, b = np.radians(TILT)
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]], dtype=np.float64
    )
    about_z = np.array(
        [[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]], dtype=np.float64
    )
    rotation: FloatArray = about_x @ about_z @ axes
    return rotation


def species_colors(numbers: npt.ArrayLike) -> dict[int, str]:
    """Return a color per species, by increasing atomic number.

    Parameters
    ----------
    numbers
        Atomic numbers, of any shape.

    Returns
    -------
    colors
        Colors by atomic number.

    Examples
    --------
    >>> list(species_colors([40, 29, 40]))
    [29, 40]
    """
    return {int(z): CYCLE[k % len(CYCLE)] for k, z in enumerate(np.unique(np.asarray(numbers)))}


def draw_cluster(
    axes: Axes,
    position: FloatArray,
    species: IntArray,
    shell: BoolArray,
    *,
    colors: dict[int, str] | None = None,
    limit: float | None = None,
) -> None:
    """Draw the atoms around a center, and the polyhedron formed by its shell.

    Atoms are circles, and far ones are paler. The center has a thick outline, the atoms
    of the shell are large, and the others are small. The convex hull of the shell is a
    translucent yellow polyhedron with black edges; hidden edges are dotted.

    Parameters
    ----------
    axes
        matplotlib axes to draw on. They are made square, without ticks.
    position
        Positions (atom, 3) in Å relative to the center, which is the first atom.
    species
        Atomic number (atom,).
    shell
        Whether an atom belongs to the shell (atom,). The center does not.
    colors
        Colors by atomic number. Default: those of ``species_colors``.
    limit
        Half of the width of the picture in Å. Default: 1.1 times the largest distance.

    Raises
    ------
    ParameterError
        If the shell has fewer than four atoms, or the shapes do not fit.

    Examples
    --------
    >>> draw_cluster(axes, position, species, shell)  # doctest: +SKIP
    """
    from matplotlib.collections import LineCollection, PatchCollection
    from matplotlib.patches import Circle

    n = len(position)
    if position.shape != (n, 3) or len(species) != n or len(shell) != n or not n:
        raise ParameterError(
            f"a cluster has position (atom, 3), species (atom,) and shell (atom,); got "
            f"{position.shape}, {np.shape(species)} and {np.shape(shell)}"
        )
    if shell.sum() < 4 or shell[0]:
        raise ParameterError(
            f"the shell of a cluster has at least four atoms, and its center (atom 0) is not one "
            f"of them; got {int(shell.sum())} atoms{', with the center' if shell[0] else ''}"
        )
    colors = species_colors(species) if colors is None else colors
    seen = position @ view_rotation(position[shell]).T
    depth = seen[:, 2]
    span = max(float(np.ptp(depth)), 1e-9)
    fade = FADE * (depth.max() - depth) / span
    visible, hidden = _hull_edges(seen[shell])
    # back to front: far atoms, hidden edges, center, faces and edges, near atoms
    order = np.argsort(depth, kind="stable")
    radii = np.array([MIRACLE_RADII.get(symbol(int(z)), DEFAULT_RADIUS) for z in species])
    size = radii * np.where(shell, SHELL_SIZE, OUTER_SIZE)
    size[0] = radii[0] * SHELL_SIZE

    def spheres(which: IntArray, zorder: float) -> None:
        circles = [Circle((seen[k, 0], seen[k, 1]), size[k]) for k in which]
        width = [1.8 if k == 0 else 0.7 if shell[k] else 0.3 for k in which]
        axes.add_collection(
            PatchCollection(
                circles,
                facecolors=[pale(colors[int(species[k])], float(fade[k])) for k in which],
                edgecolors=[pale("black", float(fade[k])) for k in which],
                linewidths=width,
                zorder=zorder,
            )
        )

    back = order[(depth[order] < 0) & (order != 0)]
    front = order[(depth[order] >= 0) & (order != 0)]
    spheres(back, 1.0)
    lines = LineCollection(
        [seen[shell][list(edge), :2] for edge in hidden],
        colors="0.45",
        linewidths=0.6,
        linestyles=":",
        zorder=1.5,
    )
    axes.add_collection(lines)
    outline = _silhouette(seen[shell, :2])
    axes.fill(*seen[shell][outline, :2].T, facecolor=YELLOW, alpha=0.35, lw=0, zorder=2.0)
    spheres(np.array([0]), 2.5)
    axes.add_collection(
        LineCollection(
            [seen[shell][list(edge), :2] for edge in visible],
            colors="black",
            linewidths=0.8,
            zorder=3.0,
        )
    )
    spheres(front, 3.5)
    reach = 1.1 * float(np.linalg.norm(position, axis=1).max()) if limit is None else limit
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.axis("off")


def add_species_legend(axes: Axes, colors: dict[int, str], *, shell: str = "shell") -> None:
    """Add entries for the species, the center and the shell to the legend of axes.

    Parameters
    ----------
    axes
        matplotlib axes, whose legend is drawn by the caller.
    colors
        Colors by atomic number.
    shell
        Name of the polyhedron.

    Examples
    --------
    >>> add_species_legend(axes, {29: "orange", 40: "blue"})  # doctest: +SKIP
    """
    for z, color in colors.items():
        axes.plot([], [], "o", ms=9, mfc=color, mec="black", mew=0.7, label=symbol(z))
    axes.plot([], [], "o", ms=9, mfc="white", mec="black", mew=1.8, label="center")
    axes.plot([], [], "o", ms=5, mfc=FILL_GREY, mec="black", mew=0.3, label="beyond the shell")
    axes.fill([], [], facecolor=YELLOW, alpha=0.5, edgecolor="black", label=shell)


def _hull_edges(points: FloatArray) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the edges of the convex hull that the viewer sees, and the hidden ones."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = ConvexHull(points)
    except QhullError:  # a flat shell has no hull
        return [], []
    front: set[tuple[int, int]] = set()
    back: set[tuple[int, int]] = set()
    for corners, normal in zip(hull.simplices, hull.equations[:, :3], strict=True):
        a, b, c = sorted(int(k) for k in corners)
        (front if normal[2] > 0 else back).update({(a, b), (b, c), (a, c)})
    return sorted(front), sorted(back - front)


def _silhouette(points: FloatArray) -> IntArray:
    """Return the points of the outline of a set of points, in order."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        return ConvexHull(points).vertices.astype(np.int64)
    except QhullError:
        return np.arange(len(points))
