"""Mass distribution M(r): number of atoms of a group within r of one of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask._typing import BoolArray, FloatArray, IntArray, Periodic
from mgdask.errors import ParameterError
from mgdask.features.environments import LocalEnvironments
from mgdask.geometry import complete_cell, face_heights, fractional, volume
from mgdask.kernels.rdf import first_minimum, pair_counts


def mass_distribution(
    position: npt.ArrayLike,
    cell: npt.ArrayLike,
    groups: Mapping[str, npt.ArrayLike],
    *,
    whole: npt.ArrayLike | None = None,
    pbc: Periodic = (True, True, True),
    r_max: float | None = None,
    width: float = 0.05,
    blocks: int = 4,
) -> xr.Dataset:
    """Count the atoms of a group within a distance r of each of its atoms.

    For the n atoms of a group::

        M(r) = 1/n #{(i, j): i and j in the group, j != i, |r_i - r_j| < r}

    Parameters
    ----------
    position
        Positions in Å, shape (atom, 3), of one frame.
    cell
        Cell vectors in Å as rows, shape (3, 3).
    groups
        Boolean masks (atom,) by name, such as those of the hardest and of the softest
        atoms.
    whole
        Boolean mask (atom,) of the atoms that the groups were selected from. Default:
        all atoms.
    pbc
        Whether the cell is periodic along each vector.
    r_max
        Largest distance in Å. Default: half the smallest distance between opposite
        periodic faces of the cell.
    width
        Width of the distance bins in Å.
    blocks
        Number of blocks along each cell vector, 1 to 8. Pairs are counted separately
        for each pair of blocks. The standard error in ``fractal_dimension`` comes from
        the scatter between blocks.

    Returns
    -------
    mass (group, r)
        M(r). The first group is "whole". The atom itself is not counted.
    g (group, shell)
        Radial distribution function of the group's atoms among themselves, in shells
        that end at ``r``.
    pairs (group, block, neighbor_block, shell)
        Number of ordered pairs of atoms in each pair of blocks.
    lag (block, neighbor_block)
        Index of the displacement between two blocks. Pairs of blocks with the same
        displacement have the same index.
    block_count (group, block)
        Number of atoms in each block.
    count (group)
        Number of atoms.
    first_minimum ()
        Distance in Å of the first minimum of g(r) of the whole, where its first shell
        ends.

    Raises
    ------
    ParameterError
        If arrays do not fit together, a group has fewer than 2 atoms, or an option is
        out of range.

    Notes
    -----
    A pair at a distance of exactly r is not counted in M(r). Beyond half the height of
    the cell, a sphere overlaps its own periodic image and M(r) no longer reflects the
    structure. Near free surfaces, spheres extend beyond the sample, so M(r) is too
    small at large r. Choose ``whole`` away from surfaces, or a small ``r_max``.

    The cost grows with the number of pairs within ``r_max``, about 15 ns per ordered
    pair.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 3c.

    Examples
    --------
    >>> r = np.array([[1.0, 1, 1], [3, 1, 1], [9, 1, 1]])
    >>> groups = {"two": np.array([True, True, False])}
    >>> m = mass_distribution(r, 12 * np.eye(3), groups, width=0.5)
    >>> m.mass.sel(r=2.5).values.round(3).tolist()
    [0.667, 1.0]
    """
    r = np.ascontiguousarray(position, dtype=np.float64)
    if r.ndim != 2 or r.shape[1] != 3 or not np.isfinite(r).all():
        raise ParameterError(
            f"position of shape {r.shape} must be finite numbers (atom, 3) in Å, of one frame"
        )
    if not 1 <= blocks <= 8:
        raise ParameterError(f"blocks={blocks} must be between 1 and 8; 4 gives 64 blocks")
    masks = _checked_masks(groups, whole, len(r))
    full_cell = complete_cell(cell, pbc)
    edges = _edges(full_cell, pbc, r_max, width)
    block, lag = _blocks(r, full_cell, pbc, masks["whole"], blocks)
    n_blocks = len(lag)
    pairs = np.zeros((len(masks), n_blocks, n_blocks, len(edges) - 1), dtype=np.int64)
    for k, mask in enumerate(masks.values()):
        own = r[mask]
        environments = LocalEnvironments(own, full_cell, np.ones(len(own), dtype=np.int64), pbc)
        cell_list = environments.cell_list(float(edges[-1]))
        pairs[k] = pair_counts(cell_list, np.arange(len(own)), block[mask], n_blocks, edges)
    count = np.array([mask.sum() for mask in masks.values()], dtype=np.int64)
    block_count = np.stack([np.bincount(block[m], minlength=n_blocks) for m in masks.values()])
    total = pairs.sum(axis=(1, 2))
    shell = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    g = total / count[:, None] / (count[:, None] / volume(full_cell) * shell)
    length = {"units": "Å"}
    one = {"units": "1"}
    names = {"long_name": "other atoms of the group within r of one of them"}
    return xr.Dataset(
        {
            "mass": (("group", "r"), np.cumsum(total, axis=1) / count[:, None], one | names),
            "g": (("group", "shell"), g, one | {"long_name": "g(r) of the group"}),
            "pairs": (("group", "block", "neighbor_block", "shell"), pairs, one),
            "lag": (("block", "neighbor_block"), lag, one),
            "block_count": (("group", "block"), block_count, one),
            "count": ("group", count, one | {"long_name": "atoms of the group"}),
            "first_minimum": ((), first_minimum(g[0], edges), length),
        },
        coords={
            "group": list(masks),
            "r": ("r", edges[1:], length),
            "shell": ("shell", 0.5 * (edges[1:] + edges[:-1]), length),
        },
        attrs={"source": "Nat. Commun. 10, 5537 (2019), Fig. 3c"},
    )


def _checked_masks(
    groups: Mapping[str, npt.ArrayLike], whole: npt.ArrayLike | None, n_atoms: int
) -> dict[str, BoolArray]:
    """Return the masks by name, the whole first."""
    if not isinstance(groups, Mapping) or "whole" in groups:
        raise ParameterError(
            f"groups must map names other than 'whole' to masks, such as {{'softest': qs > 0.7}}; "
            f"got a {type(groups).__name__}"
        )
    everyone = np.ones(n_atoms, dtype=bool) if whole is None else whole
    masks = {name: np.asarray(mask) for name, mask in {"whole": everyone, **groups}.items()}
    for name, mask in masks.items():
        if mask.dtype != np.bool_ or mask.shape != (n_atoms,):
            raise ParameterError(
                f"the mask of {name!r} must be {n_atoms} booleans, one per atom; "
                f"got {mask.dtype} {mask.shape}"
            )
        if mask.sum() < 2:
            raise ParameterError(
                f"{name!r} has {int(mask.sum())} atoms; at least 2 are needed, and several "
                "hundred for a meaningful dimension"
            )
        if (mask & ~masks["whole"]).any():
            raise ParameterError(
                f"group {name!r} has {int((mask & ~masks['whole']).sum())} atoms outside whole; "
                "a group must be a subset of whole"
            )
    return masks


def _edges(cell: FloatArray, pbc: Periodic, r_max: float | None, width: float) -> FloatArray:
    """Return the bin edges (bin + 1,) in Å, starting at 0."""
    periodic = np.asarray(pbc, dtype=bool)
    if r_max is None and not periodic.any():
        raise ParameterError("r_max=None needs at least one periodic direction; give r_max in Å")
    end = float(0.5 * face_heights(cell)[periodic].min()) if r_max is None else float(r_max)
    n_bins = int(end / width + 1e-9) if width > 0 else 0
    if not np.isfinite(end) or n_bins < 2:
        raise ParameterError(
            f"r_max={end:g} Å with bins of width={width:g} Å gives fewer than two bins; "
            "increase r_max or reduce width, such as width=0.05"
        )
    return np.asarray(width * np.arange(n_bins + 1))


def _blocks(
    position: FloatArray, cell: FloatArray, pbc: Periodic, whole: BoolArray, n: int
) -> tuple[IntArray, IntArray]:
    """Return the block of each atom, and the index of the displacement between blocks.

    Along vectors that are not periodic, the blocks divide the extent of the whole.
    """
    fraction = fractional(position, cell)
    step = np.indices((n, n, n)).reshape(3, -1)
    block = np.zeros(len(position), dtype=np.int64)
    lag = np.zeros((n**3, n**3), dtype=np.int64)
    for axis in range(3):
        s = fraction[:, axis]
        if pbc[axis]:
            s = s - np.floor(s)
        else:
            low, high = s[whole].min(), s[whole].max()
            s = (s - low) / max(high - low, np.finfo(float).tiny)
        block = block * n + np.clip((n * s).astype(np.int64), 0, n - 1)
        between = step[axis][None, :] - step[axis][:, None]
        between = between % n if pbc[axis] else between + n
        lag = lag * (2 * n) + between
    return block, lag
