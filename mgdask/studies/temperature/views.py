"""Content of the figures of the temperature study, as plain arrays.

``report_data`` reads these from the files of a study, which hold them as JSON. A figure
needs nothing else, so each can be drawn and tested without a study.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.studies.records import Record


@dataclass(frozen=True, eq=False)
class Thermometer(Record):
    """Machine-learned temperatures of isothermal runs.

    Parameters
    ----------
    form
        "run" or "none"; see ``looks.FORMS``.
    model
        Name of the model.
    temperature
        Temperature of each run in K (run,).
    unseen
        Whether a temperature was left out of the training data (run,).
    species
        Names of the rows; the last is "all".
    mean, deviation
        Mean and standard deviation over atoms in K (species, run).
    """

    form: str
    model: str
    temperature: FloatArray
    unseen: BoolArray
    species: tuple[str, ...]
    mean: FloatArray
    deviation: FloatArray


@dataclass(frozen=True, eq=False)
class PutIn(Record):
    """Mean T_ML of runs against the temperature put into the feature.

    Parameters
    ----------
    put_in
        Temperatures put into the feature in K (temperature,).
    run
        True temperature of each run in K (run,).
    mean
        Mean T_ML in K (run, temperature).
    consistent
        Solution of T_ML(T) = T for each run in K (run,); NaN if there is none.
    """

    put_in: FloatArray
    run: FloatArray
    mean: FloatArray
    consistent: FloatArray


@dataclass(frozen=True, eq=False)
class AppliedPutIn(Record):
    """Mean T_ML of an applied run against the temperature put into the feature.

    Parameters
    ----------
    name
        Name of the run.
    put_in
        Temperatures put into the feature in K (temperature,).
    mean
        Mean T_ML in K (temperature,).
    solutions
        Solutions of T_ML(T) = T in K (solution,).
    note
        Why there is not exactly one solution; empty if there is.
    known
        Temperature of the run in K; NaN if the store has none.
    n_atoms
        Number of atoms of the mean.
    """

    name: str
    put_in: FloatArray
    mean: FloatArray
    solutions: FloatArray
    note: str
    known: float
    n_atoms: int


@dataclass(frozen=True, eq=False)
class Clusters(Record):
    """Qualified clusters of the random subsets (Supplementary Fig. 1).

    Parameters
    ----------
    temperature
        Temperatures in K (temperature,).
    count
        Number of clusters labeled with each temperature, over all subsets
        (temperature,).
    chosen
        Whether a temperature is a representative class (temperature,).
    n_subsets
        Number of subsets.
    cutoff
        Cutoff of single linkage.
    min_leaves
        Minimum number of leaves of a qualified cluster.
    rule
        How classes follow from the counts, in words.
    verdict
        What was found, in words.
    chance
        ``count`` of every temperature if labels were drawn at random; NaN if unknown.
    linkage
        Linkage of the clusters.
    """

    temperature: FloatArray
    count: IntArray
    chosen: BoolArray
    n_subsets: int
    cutoff: float
    min_leaves: int
    rule: str = ""
    chance: float = np.nan
    verdict: str = ""
    linkage: str = "single"


@dataclass(frozen=True, eq=False)
class Weights(Record):
    """ReliefF weights of the lags (Supplementary Fig. 2).

    Parameters
    ----------
    lag
        Lags in ps (lag,).
    weight
        Weight of each lag (lag,), by the name of the form of ReliefF.
    kept
        Whether a lag is kept (lag,).
    rule
        How the lags that are kept follow from the weights, in words.
    verdict
        What was found, in words.
    beside
        The same for the other form of the feature, in words.
    """

    lag: FloatArray
    weight: Mapping[str, FloatArray]
    kept: BoolArray
    rule: str = ""
    verdict: str = ""
    beside: str = ""


@dataclass(frozen=True, eq=False)
class NeighborCurve(Record):
    """Validation error against the number of neighbors (Supplementary Fig. 3).

    Parameters
    ----------
    n_neighbors
        Numbers of neighbors k (k,).
    rmse
        Error of each k in K (k,), by the form of the feature.
    best
        Selected k, by form.
    scheme
        How the error is measured, in words.
    """

    n_neighbors: IntArray
    rmse: Mapping[str, FloatArray]
    best: Mapping[str, int]
    scheme: str = ""


@dataclass(frozen=True, eq=False)
class AveragingCurve(Record):
    """Error against the radius within which motion is averaged.

    Parameters
    ----------
    radius
        Radii in Å (radius,); 0 is the atom alone.
    rmse, low, high
        Error and its interval in K (radius,).
    """

    radius: FloatArray
    rmse: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, eq=False)
class Distribution(Record):
    """Distribution of T_ML of one trajectory in one form (Fig. 2C).

    Parameters
    ----------
    name, form
        Name of the store, and form of the feature.
    edges
        Edges of the bins in K (bin + 1,).
    density
        Probability density in 1/K (bin,).
    center, width, area
        Position and standard deviation of the Gaussian peak in K, and its share of the
        atoms. NaN if no peak was fitted.
    tail
        Share of the atoms in the excess tail above the peak; NaN without a peak.
    above
        Share of the atoms above the glass transition; NaN if it is not given.
    control
        Whether this is the unstressed control.
    """

    name: str
    form: str
    edges: FloatArray
    density: FloatArray
    center: float = np.nan
    width: float = np.nan
    area: float = np.nan
    tail: float = np.nan
    above: float = np.nan
    control: bool = False


@dataclass(frozen=True, eq=False)
class CreepCurve(Record):
    """Creep strain against time, and its steady stage (Fig. 2B).

    Parameters
    ----------
    name
        Name of the store.
    time, strain
        Time in ps, and strain (point,).
    stress
        Stress in GPa; NaN if unknown.
    rate, rate_error
        Steady rate and its standard error in 1/ps; NaN if there is no steady stage.
    offset
        Strain at t = 0 of the line of steady creep.
    window
        First and last time of the steady stage in ps.
    reason
        Why there is no steady stage; empty if there is one.
    """

    name: str
    time: FloatArray
    strain: FloatArray
    stress: float = np.nan
    rate: float = np.nan
    rate_error: float = np.nan
    offset: float = np.nan
    window: tuple[float, float] = (np.nan, np.nan)
    reason: str = ""


@dataclass(frozen=True, eq=False)
class LagCorrelation(Record):
    """Pearson correlation of T_ML with the backward D2min against lag (Fig. 3F).

    Parameters
    ----------
    name, form
        Name of the store, and form of the feature.
    lag
        Lags of D2min in ps (lag,).
    value, low, high
        Correlation and its interval (lag,).
    """

    name: str
    form: str
    lag: FloatArray
    value: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, eq=False)
class SlabMap(Record):
    """Atoms of a slab with their T_ML and D2min (Figs. 3A to 3E).

    Parameters
    ----------
    name, form
        Name of the store, and form of the feature.
    position
        Positions in Å (atom, 3). Atoms outside the slab are not drawn.
    species, atom_id
        Atomic numbers and identifiers (atom,).
    cell, origin
        Cell vectors (vector, 3) and origin (3,) in Å.
    t_ml
        T_ML in K (atom,).
    lag
        Lags of D2min in ps (lag,).
    d2min
        D2min in Å² (lag, atom).
    slab
        Thickness of the slab in Å, in the middle of the cell and normal to z.
    """

    name: str
    form: str
    position: FloatArray
    species: IntArray
    atom_id: IntArray
    cell: FloatArray
    origin: FloatArray
    t_ml: FloatArray
    lag: FloatArray
    d2min: FloatArray
    slab: float = 3.8

    @property
    def frame(self) -> xr.Dataset:
        """The atoms as one frame of a store, sorted by their identifiers."""
        order = np.argsort(self.atom_id, kind="stable")
        return xr.Dataset(
            {
                "position": (("atom", "xyz"), self.position[order]),
                "cell": (("vector", "xyz"), self.cell),
                "origin": ("xyz", self.origin),
                "pbc": ("vector", np.ones(3, dtype=bool)),
                "species": ("atom", self.species[order]),
            },
            coords={"atom_id": ("atom", self.atom_id[order])},
        )


@dataclass(frozen=True, eq=False)
class Structure(Record):
    """Structure of liquid-like and solid-like atoms (Figs. 4 and 5).

    Parameters
    ----------
    name
        Name of the store.
    n_atoms
        Number of atoms in each group.
    fraction
        Fraction of all atoms in each group.
    polyhedra, composition, coordination, order
        Results of ``mgdask.analysis`` in plain form: arrays of values by variable, with
        the names of groups, species and polyhedra. Empty if not computed.
    """

    name: str
    n_atoms: int
    fraction: float
    polyhedra: Mapping[str, Any] = field(default_factory=dict)
    composition: Mapping[str, Any] = field(default_factory=dict)
    coordination: Mapping[str, Any] = field(default_factory=dict)
    order: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PairDistances(Record):
    """Partial radial distribution functions with their cutoffs (Supplementary Fig. 4).

    Parameters
    ----------
    r
        Distances in Å (r,).
    g
        Partial g(r) (r,), by pair such as "Cu-Zr".
    cutoff
        First trough of each pair in Å; NaN if none was found.
    """

    r: FloatArray
    g: Mapping[str, FloatArray]
    cutoff: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class StressStrain(Record):
    """Stress against strain of a tensile test (Fig. 2A).

    Parameters
    ----------
    name
        Name of the store.
    strain
        Strain (point,).
    stress
        Stress in GPa (point,).
    """

    name: str
    strain: FloatArray
    stress: FloatArray
