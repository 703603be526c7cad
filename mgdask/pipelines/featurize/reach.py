"""Cutoffs that reach beyond half the cell, where atoms meet their own images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mgdask.geometry import face_heights
from mgdask.store.shards import open_group, read_array

if TYPE_CHECKING:
    from mgdask.pipelines.featurize.plan import Plan


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
