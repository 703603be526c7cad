"""What the report of a temperature study is made from: the files in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mgdask.errors import StoreError
from mgdask.studies.temperature.classes import ClusterStatistics
from mgdask.studies.temperature.views import (
    AveragingCurve,
    Clusters,
    CreepCurve,
    Distribution,
    LagCorrelation,
    NeighborCurve,
    PairDistances,
    PutIn,
    SlabMap,
    StressStrain,
    Structure,
    Thermometer,
    Weights,
)
from mgdask.studies.temperature.weights import LagWeights

Row = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class ReportData:
    """Content of the folder of a study, as far as the report shows it.

    Parameters
    ----------
    rows
        Errors of every model: ``scheme``, ``model``, ``form``, ``n_train``, ``n_test``,
        and ``rmse``, ``low``, ``high`` in K.
    unseen
        Name of the scheme with temperatures that were not trained on.
    thermometers, put_in, control, averaging
        Validation: T_ML of runs, temperatures put in, shuffled motion, and averages.
    clusters, weights, neighbor_curve
        Training.
    distributions, creep, stress_strain, correlations, slab_maps, structures, distances
        Applications. Empty if nothing was applied.
    volume
        Activation volume: ``value`` and ``error`` in Å³, and a ``note``. Empty if it is
        not known.
    applied_form
        Form of the feature with which the model was applied.
    glass_temperature
        Glass transition in K; None if it is not given.
    notes
        Reservations in words, shown below the verdict.
    """

    rows: Sequence[Row] = ()
    unseen: str = ""
    thermometers: Sequence[Thermometer] = ()
    put_in: PutIn | None = None
    control: Sequence[Row] = ()
    averaging: AveragingCurve | None = None
    clusters: Clusters | None = None
    weights: Weights | None = None
    neighbor_curve: NeighborCurve | None = None
    distributions: Sequence[Distribution] = ()
    creep: Sequence[CreepCurve] = ()
    stress_strain: Sequence[StressStrain] = ()
    correlations: Sequence[LagCorrelation] = ()
    slab_maps: Sequence[SlabMap] = ()
    structures: Sequence[Structure] = ()
    distances: PairDistances | None = None
    volume: Mapping[str, Any] = field(default_factory=dict)
    applied_form: str = "none"
    glass_temperature: float | None = None
    notes: Sequence[str] = ()

    def schemes(self) -> dict[str, list[Row]]:
        """Return the rows of each scheme, that of unseen temperatures first."""
        found: dict[str, list[Row]] = {}
        for row in sorted(self.rows, key=lambda row: row["scheme"] != self.unseen):
            found.setdefault(str(row["scheme"]), []).append(row)
        return found


CLASSES, WEIGHTS, NEIGHBORS, VALIDATION = (
    "classes.json",
    "weights.json",
    "k_curve.json",
    "validation.json",
)
"""Files that the stages write."""
WEIGHT_NAMES = {"per-class": "hits and misses of each class", "literal": "Eq. (1) as printed"}
"""Forms of ReliefF in words."""


def read_report_data(folder: str | Path) -> ReportData:
    """Read the results of a study for its report.

    Parameters
    ----------
    folder
        Folder with ``classes.json``, ``weights.json`` and the other results.

    Returns
    -------
    data
        Content of the files. What is missing is empty.

    Raises
    ------
    StoreError
        If the classes are missing, so that no study has written to the folder.

    Examples
    --------
    >>> read_report_data("out/temperature").clusters.temperature  # doctest: +SKIP
    array([ 100., 1000., 2000.])
    """
    source = Path(folder)
    if not (source / CLASSES).is_file():
        raise StoreError(
            f"{source / CLASSES} is missing; the report shows the results of a study. Run "
            "`mgdask study temperature` with this folder's parent as --out again"
        )
    return ReportData(
        clusters=read_clusters(source / CLASSES), weights=read_weights(source / WEIGHTS)
    )


def read_clusters(path: Path) -> Clusters | None:
    """Read the statistics of the representative classes; None without the file."""
    plain = read_plain(path)
    if not plain:
        return None
    found = ClusterStatistics.from_json(plain)
    how = "They were given." if found.given else found.rule
    return Clusters(
        found.temperature,
        found.count,
        found.used,
        found.n_subsets,
        found.cutoff,
        found.min_leaves,
        how,
        found.chance,
        found.verdict,
    )


def read_weights(path: Path) -> Weights | None:
    """Read the weights of the lags; None without the file."""
    plain = read_plain(path)
    if not plain:
        return None
    found = LagWeights.from_json(plain)
    weight = {WEIGHT_NAMES.get(name, name): values for name, values in found.weight.items()}
    how = "They were given." if found.given else found.rule
    return Weights(found.lag, weight, found.kept, how, found.verdict)


def read_plain(path: Path) -> Any:
    """Return the content of a JSON file; an empty mapping without the file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
