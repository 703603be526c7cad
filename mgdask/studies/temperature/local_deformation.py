"""D²min over several lags, compared with T_ML: Fig. 3, with intervals.

Liu X. et al., J. Mater. Inf. 2, 20 (2022), Eq. (2): the mean over the neighbors of an
atom, with the frame at t + Δt mapped back onto the frame at t. Neighbors are those at
t, the first frame of the run, within the first troughs of the partial g(r).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.analysis.order import score_correlation
from mgdask.features.nonaffine import NonAffine
from mgdask.features.window import FrameAxis
from mgdask.studies.temperature.views import LagCorrelation, SlabMap

N_RESAMPLES = 500
"""Resamples of atoms for the intervals of correlations."""


def d2min_name(lag: float) -> str:
    """Return the name of the variable with D²min over a lag in ps.

    Examples
    --------
    >>> d2min_name(0.5)
    'd2min_0_5ps'
    """
    return f"d2min_{f'{lag:g}'.replace('.', '_').replace('-', '_').replace('+', '')}ps"


def d2min_features(lags: Sequence[float], cutoffs: Mapping[str, float]) -> list[NonAffine]:
    """Return D²min as the paper defines it, one feature per lag.

    Parameters
    ----------
    lags
        Lags in ps.
    cutoffs
        Cutoff of each pair of species in Å.
    """
    return [
        NonAffine(
            cutoff=tuple(cutoffs.items()),
            quantities=("d2min",),
            lag=float(lag),
            direction="backward",
        ).named(d2min_name(lag))
        for lag in lags
    ]


def usable_lags(lags: Sequence[float], axis: FrameAxis, first: IntArray) -> list[float]:
    """Return the lags at which every run has a frame after its first; may be empty.

    Parameters
    ----------
    lags
        Lags in ps.
    axis
        Frames of the store.
    first
        First frame of each run.
    """
    return [lag for lag in lags if (axis.laters(lag)[first] >= 0).all()]


def correlate(
    name: str,
    form: str,
    t_ml: FloatArray,
    d2min: FloatArray,
    lags: Sequence[float] | FloatArray,
    *,
    seed: int = 0,
) -> LagCorrelation:
    """Return Pearson's correlation of T_ML with D²min against lag.

    Parameters
    ----------
    name, form
        Name of the store, and form of the feature.
    t_ml
        T_ML in K (atom,).
    d2min
        D²min in Å² (lag, atom). NaN is left out.
    lags
        Lags in ps.
    seed
        Seed of the bootstrap over atoms.

    Notes
    -----
    Neighboring atoms share displacements, so the intervals are too narrow. T_ML and
    D²min are computed from the same displacements, so some correlation is built in,
    even without stress. Compare with the unstressed control.
    """
    found = score_correlation(t_ml, d2min, seed=seed, bootstrap=N_RESAMPLES, lags=lags)
    values = (found[f"pearson{end}"].values for end in ("", "_low", "_high"))
    return LagCorrelation(name, form, np.asarray(lags, dtype=np.float64), *values)


def slab_map(
    name: str,
    form: str,
    position: FloatArray,
    cell: FloatArray,
    origin: FloatArray,
    species: IntArray,
    atom_id: IntArray,
    t_ml: FloatArray,
    lags: Sequence[float] | FloatArray,
    d2min: FloatArray,
    *,
    slab: float = 3.8,
) -> SlabMap:
    """Return the atoms of a slab through the middle of the cell, normal to z (Fig. 3).

    Parameters
    ----------
    name, form
        Name of the store, and form of the feature.
    position
        Positions in Å in the first frame of the run (atom, 3).
    cell, origin
        Cell vectors (vector, 3) and origin (3,) in Å.
    species, atom_id
        Atomic numbers and identifiers (atom,).
    t_ml
        T_ML in K (atom,).
    lags
        Lags in ps.
    d2min
        D²min in Å² (lag, atom).
    slab
        Thickness in Å.

    Notes
    -----
    Only the atoms in the slab are kept, because only these are drawn.
    """
    height = cell[2, 2]
    depth = (position[:, 2] - origin[2]) % height if height > 0 else position[:, 2] - origin[2]
    inside = np.abs(depth - 0.5 * height) <= 0.5 * slab
    return SlabMap(
        name=name,
        form=form,
        position=position[inside],
        species=species[inside],
        atom_id=atom_id[inside],
        cell=cell,
        origin=origin,
        t_ml=t_ml[inside],
        lag=np.asarray(lags, dtype=np.float64),
        d2min=d2min[:, inside],
        slab=slab,
    )
