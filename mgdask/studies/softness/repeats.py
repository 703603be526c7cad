"""Noise ceiling of a softness score, measured by other deformations of the test glass.

Thermal fluctuations partly determine which atoms turn plastic, so no score of the
undeformed structure reaches an AUC of 1: Wang, Jain, Nat. Commun. 10, 5537 (2019),
Discussion.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._typing import FloatArray
from mgdask.errors import ParameterError
from mgdask.features import NonAffine
from mgdask.features.window import FrameAxis
from mgdask.geometry import complete_cell
from mgdask.learn.evaluation.ceiling import noise_ceiling
from mgdask.pipelines.featurize.plan import plan
from mgdask.pipelines.featurize.run import run
from mgdask.store.open import open_store
from mgdask.studies.softness.data import Glass, strain_of
from mgdask.studies.softness.score import frame_of_strain

if TYPE_CHECKING:
    from mgdask.cluster.client import Client

SAME_START = 0.05
"""Largest distance in Å between the undeformed positions of an atom in two runs."""


def measured_ceiling(
    glass: Glass,
    repeats: Sequence[str | Path],
    out: str | Path,
    *,
    cutoff: Any = 4.5,
    n_resamples: int = 200,
    seed: int = 0,
    memory: str = "2GiB",
    client: Client | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure how high the AUC of any score of the undeformed glass can be.

    The plastic atoms of each run are predicted by the mean logarithm of D² in the other
    runs from the same undeformed glass.

    Parameters
    ----------
    glass
        Test glass.
    repeats
        Stores of other deformations of this glass, each starting from the same
        configuration with different thermal velocities.
    out
        Folder for the stores of D².
    cutoff, memory, client, progress
        See ``prepare_glass``.
    n_resamples
        Number of resamples over regions.
    seed
        Seed of the resamples.

    Returns
    -------
    ceiling
        Values of ``mgdask.learn.evaluation.ceiling.NoiseCeiling``.

    Raises
    ------
    ParameterError
        If a run has other atoms, starts from another configuration, or does not reach
        the strain.

    Examples
    --------
    >>> measured_ceiling(glass, ["glass_2_again.zarr"], "out")  # doctest: +SKIP
    """
    _, _, atoms = glass.rows()
    first = glass.undeformed()
    rows: list[FloatArray] = [glass.d2min()[glass.frame][atoms]]
    for store in map(Path, repeats):
        ds = open_store(store)
        _check_start(first, ds.isel(frame=0).load(), glass.name, store)
        strains, _ = strain_of(ds)
        runs = np.asarray([str(one) for one in ds["run"].values])
        axis = FrameAxis(np.arange(len(strains), dtype=float), runs)
        frame = frame_of_strain(axis, strains, float(glass.strain[glass.frame]))
        labels = Path(out) / f"{store.stem}-d2min.zarr"
        work = plan(store, NonAffine(cutoff=cutoff), out=labels, memory=memory)
        run(work, client, progress=progress)
        other = Glass(store.stem, store, labels, labels, frame, strains, glass.keep, 0.0)
        rows.append(other.d2min()[frame][atoms])
    d2 = np.array(rows)
    known = np.isfinite(d2).all(axis=0)
    d2 = d2[:, known]
    regions = glass.regions()[atoms[known]]
    return noise_ceiling(
        d2 > glass.threshold,
        np.log(np.maximum(d2, 1e-6)),
        regions if len(np.unique(regions)) > 1 else None,
        n_resamples=n_resamples,
        seed=seed,
    ).as_dict()


def _check_start(first: Any, other: Any, name: str, store: Path) -> None:
    """Refuse a run that starts from another configuration."""
    same = first.sizes["atom"] == other.sizes["atom"] and all(
        (first[item].values == other[item].values).all() for item in ("atom_id", "species")
    )
    if not same:
        raise ParameterError(
            f"{store} has other atoms than {name}; a repeat must deform the same undeformed glass"
        )
    pbc = tuple(bool(p) for p in first["pbc"].values)
    cell = complete_cell(np.asarray(first["cell"].values), pbc)
    apart = (other["position"].values - first["position"].values) @ np.linalg.inv(cell)
    apart -= np.where(pbc, np.round(apart), 0.0)
    largest = float(np.linalg.norm(apart @ cell, axis=1).max())
    if largest > SAME_START:
        raise ParameterError(
            f"{store} starts up to {largest:.3g} Å away from {name}, more than {SAME_START} Å; a "
            "repeat must start from the same undeformed configuration"
        )
