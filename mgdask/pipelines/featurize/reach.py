"""Cutoffs that reach beyond half the cell, where atoms meet their own images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgdask._typing import IntArray
from mgdask.bounds import MAX_NEIGHBORS
from mgdask.errors import ParameterError
from mgdask.features.feature import n_within
from mgdask.geometry import check_shell, complete_cell, face_heights, volume
from mgdask.store.shards import open_group, read_array

if TYPE_CHECKING:
    from mgdask.pipelines.featurize.plan import Plan


def check_reach(plan: Plan) -> None:
    """Refuse cutoffs within which an atom has too many periodic images as neighbors.

    Parameters
    ----------
    plan
        The plan.

    Raises
    ------
    ParameterError
        As ``check_cutoff``.
    """
    widest = max(plan.features, key=lambda feature: feature.reach)
    check_cutoff(plan.store, plan.frames, widest.reach, widest.name)


def check_cutoff(
    store: str | Path, frames: Sequence[int] | IntArray, cutoff: float, name: str
) -> None:
    """Refuse a cutoff within which an atom has too many images or neighbors.

    Parameters
    ----------
    store
        The store.
    frames
        Indices of the frames.
    cutoff
        Distance in Å.
    name
        What has this cutoff, for the message.

    Raises
    ------
    ParameterError
        If an atom has more than ``MAX_NEIGHBORS`` neighbors, or there are more than
        ``MAX_SHELL`` periodic images within the cutoff in one frame. An atom of a cell
        that is not periodic along all vectors has no more neighbors than there are
        atoms.
    """
    if cutoff <= 0.0:
        return
    group = open_group(store)
    pbc = tuple(bool(p) for p in read_array(group, "pbc"))
    n_atoms = len(read_array(group, "species"))
    rows = np.asarray(frames, dtype=np.int64)
    cells, first = np.unique(read_array(group, "cell")[rows], axis=0, return_index=True)
    if not len(cells):
        return
    densest = int(np.abs(np.linalg.det(cells)).argmin())
    n_neighbors = n_within(cutoff, n_atoms / volume(complete_cell(cells[densest], pbc)))
    if all(pbc) and n_neighbors > max(MAX_NEIGHBORS, n_atoms):
        raise ParameterError(
            f"{name}: within its cutoff of {cutoff:.4g} Å, an atom has about "
            f"{n_neighbors / 1e6:,.0f} million neighbors in frame {rows[first[densest]]}, nearly "
            f"all of them periodic images. At most {MAX_NEIGHBORS / 1e6:g} million are allowed; "
            "choose a smaller cutoff"
        )
    lengths = np.linalg.norm(cells, axis=2)
    # cells of which only the flattest can be refused; a vector may be zero
    with np.errstate(all="ignore"):
        flatness = np.abs(np.linalg.det(cells)) / lengths.prod(axis=1) * lengths.min(axis=1)
    for k in {int(np.argmin(flatness)), int(np.argmin(lengths.min(axis=1)))}:
        try:
            check_shell(complete_cell(cells[k], pbc), pbc, cutoff)
        except ParameterError as error:
            raise ParameterError(f"{name}, frame {rows[first[k]]}: {error}") from None


def smallest_width(plan: Plan) -> float:
    """Return the smallest distance in Å between opposite faces of the cell.

    Only periodic directions count; infinite if there is none.

    Parameters
    ----------
    plan
        The plan, whose frames are considered.
    """
    group = open_group(plan.store)
    pbc = np.asarray(read_array(group, "pbc"), dtype=bool)
    cells = np.unique(read_array(group, "cell")[plan.frames], axis=0)
    widths = [face_heights(cell)[pbc] for cell in cells if abs(np.linalg.det(cell)) > 0.0]
    return min((float(width) for each in widths for width in each), default=np.inf)


def remarks(plan: Plan) -> list[str]:
    """Return a remark per feature whose cutoff exceeds half the cell.

    Parameters
    ----------
    plan
        The plan.
    """
    wide = {feature.name: feature.reach for feature in plan.features if feature.reach > 0.0}
    if not wide:
        return []
    width = smallest_width(plan)
    return [
        f"{name}: the cutoff of {cutoff:.4g} Å exceeds half the smallest width of the cell, "
        f"{width / 2:.4g} Å. Atoms are then counted several times as periodic images, and the "
        "values depend on the size of the cell"
        for name, cutoff in wide.items()
        if cutoff > width / 2
    ]
