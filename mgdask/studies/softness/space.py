"""Spatial distribution of soft and hard atoms: D² map of a slice, packing of groups.

The panels are Fig. 2a and 3c of Wang, Jain, Nat. Commun. 10, 5537 (2019).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy.interpolate import LinearNDInterpolator

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.analysis import fractal_dimension
from mgdask.errors import ParameterError
from mgdask.features import mass_distribution
from mgdask.geometry import complete_cell, face_heights

HARD, SOFT = 0.1, 0.7
"""QS below which atoms are "hardest", and above which "softest", in the paper."""
FEWEST_EXTREME = 50
"""Minimum number of soft or hard atoms; otherwise the extreme tenth is used."""
GROUPS = ("paper", "tenths")
"""How the hardest and the softest atoms are selected."""
SPLIT = 10.0
"""Distance in Å between the fitted ranges of M(r), about four neighbor shells."""
R_MAX = 30.0
"""Largest distance in Å of M(r). The cost grows with its cube."""
RDF_END, RDF_SHELLS = 15.0, 3
"""Largest distance of g(r) in Å, and number of fine shells that are merged to one."""
NEAR = 6.0
"""Distance in Å within which atoms count as near."""
SLAB = 2.0
"""Thickness in Å of the slice in which D² is mapped."""


def extremes(qs: FloatArray, groups: str = "paper") -> dict[str, tuple[str, BoolArray]]:
    """Select the softest and the hardest atoms.

    Parameters
    ----------
    qs
        QS (atom,). Atoms with NaN are in neither group.
    groups
        "paper" selects QS > 0.7 and QS < 0.1. If fewer than 50 atoms qualify, the
        extreme tenth is used instead, and the rule says so. "tenths" selects the
        extreme tenths.

    Returns
    -------
    groups
        Description of the rule and mask (atom,) of ``softest`` and ``hardest``.

    Raises
    ------
    ParameterError
        If ``groups`` is neither.

    Notes
    -----
    In the paper, about 13 % of the atoms have QS < 0.1 and 11 % have QS > 0.7. Other
    models give narrower distributions, so compare groups of equal share.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 3c.

    Examples
    --------
    >>> extremes(np.linspace(0.0, 1.0, 1001))["softest"][0]
    'QS > 0.7'
    >>> extremes(np.linspace(0.0, 0.5, 101))["softest"][0]
    'softest tenth, QS >= 0.450; 0 atoms have QS > 0.7'
    """
    if groups not in GROUPS:
        raise ParameterError(f"groups={groups!r} must be one of {', '.join(GROUPS)}")
    low, high = np.nanquantile(qs, [0.1, 0.9])
    classes = {}
    for name, rule, mask, tenth, bound in (
        ("softest", f"QS > {SOFT}", qs > SOFT, qs >= high, f"QS >= {high:.3f}"),
        ("hardest", f"QS < {HARD}", qs < HARD, qs <= low, f"QS <= {low:.3f}"),
    ):
        if groups == "paper" and mask.sum() >= FEWEST_EXTREME:
            classes[name] = (rule, mask)
        else:
            short = f"; {int(mask.sum())} atoms have {rule}" if groups == "paper" else ""
            classes[name] = (f"{name} tenth, {bound}{short}", tenth)
    return classes


def packing(
    frame: xr.Dataset,
    classes: dict[str, tuple[str, BoolArray]],
    eligible: BoolArray,
    *,
    r_max: float | None = None,
) -> dict[str, Any]:
    """Compute M(r), its slopes below and beyond 10 Å, and g(r) of groups of atoms.

    Parameters
    ----------
    frame
        The undeformed frame of a store.
    classes
        Rule and mask (atom,) of each group.
    eligible
        Mask (atom,) of the atoms that the groups were selected from.
    r_max
        Largest distance in Å. Default: half the smallest distance between opposite
        periodic faces, but at most 30 Å.

    Returns
    -------
    packing
        ``r``, ``split``, ``start`` and ``end`` of the fits; ``free``, whether there are
        free surfaces; ``shell``, the middles of the shells of g(r); ``near``; and
        ``groups``: for each group and ``all`` its ``rule``, ``atoms``, ``mass`` (r,),
        ``g`` (shell,), ``dimension`` and ``dimension_error`` below and beyond
        ``split``, and ``near_ratio``. Groups of fewer than 2 atoms are left out.
        Dimensions are NaN if M(r) ends before 10 Å.
    """
    masks = {
        name: (rule, mask & eligible)
        for name, (rule, mask) in classes.items()
        if (mask & eligible).sum() > 1
    }
    if not masks:
        return {"groups": {}}
    pbc = tuple(bool(p) for p in frame["pbc"].values)
    position, cell = np.asarray(frame["position"].values), np.asarray(frame["cell"].values)
    end = _reach(position[eligible], cell, pbc) if r_max is None else r_max
    counted = mass_distribution(
        position,
        cell,
        {name: mask for name, (_, mask) in masks.items()},
        whole=eligible,
        pbc=pbc,
        r_max=end,
    )
    r, count = counted["r"].values, counted["count"].values
    start = float(counted["first_minimum"])
    slopes = errors = np.full((len(count), 2), np.nan)
    if start < SPLIT < r[-1]:
        fit = fractal_dimension(counted, split=SPLIT)
        slopes, errors = fit["dimension"].values, fit["dimension_error"].values
    shell, g = _merged_shells(r, counted["g"].values)
    near = min(NEAR, float(r[-1]))
    close = counted["mass"].values[:, np.searchsorted(r, near + 1e-9) - 1] / count
    rules = {"all": "all atoms", **{name: rule for name, (rule, _) in masks.items()}}
    return {
        "r": r,
        "split": SPLIT,
        "start": start,
        "end": float(r[-1]),
        "free": not all(pbc),
        "shell": shell,
        "near": near,
        "groups": {
            name: {
                "rule": rule,
                "atoms": int(count[k]),
                "mass": counted["mass"].values[k],
                "g": g[k],
                "dimension": slopes[k],
                "dimension_error": errors[k],
                "near_ratio": float(close[k] / close[0]) if close[0] > 0 else np.nan,
            }
            for k, (name, rule) in enumerate(rules.items())
        },
    }


def _reach(position: FloatArray, cell: FloatArray, pbc: tuple[bool, ...]) -> float:
    """Return half the smallest height between periodic faces, or else of the sample."""
    periodic = np.asarray(pbc)
    heights = face_heights(complete_cell(cell, pbc))[periodic]
    smallest = heights.min() if periodic.any() else np.ptp(position, axis=0).min()
    return float(min(0.5 * smallest, R_MAX))


def _merged_shells(r: FloatArray, g: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the centers of wider shells up to 15 Å, and g(r) averaged over them."""
    edges = np.concatenate([[0.0], r])
    volume = np.diff(edges**3)
    n = int(np.count_nonzero(r <= RDF_END + 1e-9)) // RDF_SHELLS
    parts = [slice(k * RDF_SHELLS, (k + 1) * RDF_SHELLS) for k in range(n)]
    middle = np.array([0.5 * (edges[part.start] + edges[part.stop]) for part in parts])
    merged = np.array([(g[:, part] * volume[part]).sum(1) / volume[part].sum() for part in parts])
    return middle, merged.reshape(n, len(g)).T


def d2_map(
    frame: xr.Dataset,
    d2: FloatArray,
    flagged: BoolArray,
    *,
    deformed: int,
    slab: float = SLAB,
    spacing: float = 0.5,
) -> dict[str, Any]:
    """Map D² in a thin slice through the middle of the glass, and locate flagged atoms.

    D² is interpolated linearly between the atoms of the slice (Delaunay triangles). At
    the position of an atom, the map thus has the D² of that atom. Periodic images
    continue the map across the faces.

    Parameters
    ----------
    frame
        The undeformed frame of a store.
    d2
        D² (atom,) in Å². Atoms with NaN are ignored.
    flagged
        Mask (atom,) of the atoms to locate, such as those with QS > 0.5.
    deformed
        Index of the deformed cell vector, which is upright in the map. The slice is
        normal to the thinner one of the two other directions.
    slab
        Thickness of the slice in Å.
    spacing
        Largest spacing of the grid in Å.

    Returns
    -------
    map
        ``across`` and ``up``, the names of the axes; ``x`` and ``y``, the grid in Å;
        ``d2`` (x, y) in Å², NaN outside; ``flagged`` (point, 2), positions in Å;
        ``atoms``, the number in the slice; ``slab`` and ``normal``.

    Notes
    -----
    Positions are those of the undeformed glass, from which QS is computed.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 2a.
    """
    position, origin = np.asarray(frame["position"].values), np.asarray(frame["origin"].values)
    pbc = tuple(bool(p) for p in frame["pbc"].values)
    cell = complete_cell(np.asarray(frame["cell"].values), pbc)
    extent = np.where(pbc, face_heights(cell), np.ptp(position, axis=0))
    normal, across = sorted((k for k in range(3) if k != deformed), key=lambda k: extent[k])
    plane = [across, deformed]
    if pbc[normal]:
        middle = origin[normal] + 0.5 * cell[normal, normal]
    else:
        middle = 0.5 * (position[:, normal].min() + position[:, normal].max())
    inside = (np.abs(position[:, normal] - middle) < 0.5 * slab) & np.isfinite(d2)
    points, values = position[inside][:, plane], d2[inside]
    low, high = np.empty(2), np.empty(2)
    for k, axis in enumerate(plane):
        low[k] = origin[axis] if pbc[axis] else position[:, axis].min()
        high[k] = origin[axis] + cell[axis, axis] if pbc[axis] else position[:, axis].max()
    grids = [
        np.linspace(a, b, max(2, int(np.ceil((b - a) / spacing)) + 1))
        for a, b in zip(low, high, strict=True)
    ]
    shifts = [
        i * cell[plane[0]][plane] + k * cell[plane[1]][plane]
        for i in ((-1, 0, 1) if pbc[plane[0]] else (0,))
        for k in ((-1, 0, 1) if pbc[plane[1]] else (0,))
    ]
    field = np.full((len(grids[0]), len(grids[1])), np.nan)
    if len(points) > 3:
        images = np.concatenate([points + shift for shift in shifts])
        field = LinearNDInterpolator(images, np.tile(values, len(shifts)))(
            *np.meshgrid(*grids, indexing="ij")
        )
    return {
        "across": "xyz"[across],
        "up": "xyz"[deformed],
        "normal": "xyz"[normal],
        "slab": slab,
        "x": grids[0],
        "y": grids[1],
        "d2": field,
        "flagged": position[inside & flagged][:, plane],
        "atoms": int(inside.sum()),
    }


def group_values(
    classes: dict[str, tuple[str, BoolArray]], atoms: IntArray, d2: FloatArray, plastic: BoolArray
) -> dict[str, dict[str, float]]:
    """Return the share of atoms, mean D² with its error, and plastic share by group."""
    values = {}
    for name, (_, mask) in {
        "all": ("", np.ones(len(classes["softest"][1]), bool)),
        **classes,
    }.items():
        rows = mask[atoms]
        n = int(rows.sum())
        values[name] = {
            "share": n / len(atoms),
            "d2_mean": float(d2[rows].mean()) if n else np.nan,
            "d2_error": float(d2[rows].std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan,
            "plastic_share": float(plastic[rows].mean()) if n else np.nan,
        }
    return values
