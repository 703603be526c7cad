"""Data of the report of a temperature study, read from the files in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mgdask.errors import StoreError
from mgdask.studies.records import Record
from mgdask.studies.temperature.classes import ClusterStatistics
from mgdask.studies.temperature.figures.looks import FORMS, form_text, role
from mgdask.studies.temperature.views import (
    AppliedPutIn,
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
CLASSES, WEIGHTS, NEIGHBORS, VALIDATION = (
    "classes.json",
    "weights.json",
    "k_curve.json",
    "validation.json",
)
"""Files that the stages write."""
THERMOMETERS, AVERAGING = "thermometers.json", "averaging.json"
"""Views of these names: a list, and one."""
UNSEEN = ("temperatures left out", "test runs", "extrapolation")
"""Schemes that leave temperatures out of training, the main one first."""
SHOWN = ("mean", "deviation")
R = TypeVar("R", bound=Record)
WEIGHT_NAMES = {"per-class": "hits and misses of each class", "literal": "Eq. (1) as printed"}
"""Forms of ReliefF in words."""


@dataclass(frozen=True, eq=False)
class ReportData:
    """Content of the folder of a study, as far as the report shows it.

    Parameters
    ----------
    rows
        Errors of every model: ``scheme``, ``model``, ``form``, ``n_train``, ``n_test``,
        and ``rmse``, ``low``, ``high`` in K.
    unseen
        Name of the scheme that leaves temperatures out of training.
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
    peaks, excess, models
        Intervals of the Gaussian peaks, hot atoms in excess of the control, and T_ML of
        all models: rows with ``name`` and ``form``.
    applied_put_in
        Mean T_ML of applied runs against the T put into the feature.
    training
        Number of training rows ``n_rows``, of rows drawn for controls ``n_drawn``, and
        number of ``folds``. Empty if it is not known.
    notes
        Caveats about the validation in words.
    application_notes
        Caveats about applications in words.
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
    peaks: Sequence[Row] = ()
    excess: Sequence[Row] = ()
    models: Sequence[Row] = ()
    applied_put_in: Sequence[AppliedPutIn] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    application_notes: Sequence[str] = ()

    def schemes(self) -> dict[str, list[Row]]:
        """Return the rows of each scheme, that of unseen temperatures first."""
        found: dict[str, list[Row]] = {}
        for row in sorted(self.rows, key=lambda row: row["scheme"] != self.unseen):
            found.setdefault(str(row["scheme"]), []).append(row)
        return found


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
            f"{source / CLASSES} is missing, but the report needs the results of a study. Run "
            "`mgdask study temperature` with the parent of this folder as --out"
        )
    validation, applied = read_validation(source / VALIDATION), read_applications(source)
    thermometers = _records(Thermometer, read_plain(source / THERMOMETERS))
    if thermometers:
        validation["thermometers"] = thermometers
    averaging = _record(AveragingCurve, read_plain(source / AVERAGING))
    if averaging is not None:
        validation["averaging"] = averaging
    return ReportData(
        clusters=read_clusters(source / CLASSES),
        weights=read_weights(source / WEIGHTS),
        neighbor_curve=_record(NeighborCurve, read_plain(source / NEIGHBORS)),
        **validation,
        **applied,
    )


def read_validation(path: Path) -> dict[str, Any]:
    """Read the validation, as arguments of ``ReportData``.

    Parameters
    ----------
    path
        JSON file with ``rows``, which may be the whole file, and with ``thermometers``,
        ``put_in``, ``control`` and ``averaging``: views of these names, all optional.

    Returns
    -------
    arguments
        Empty without the file.
    """
    plain = read_plain(path)
    if not plain:
        return {}
    parts: Mapping[str, Any] = {"rows": plain} if isinstance(plain, list) else plain
    rows = [dict(row) for row in parts.get("rows", ())]
    schemes = {str(row["scheme"]) for row in rows}
    return {
        "rows": rows,
        "unseen": next((name for name in UNSEEN if name in schemes), ""),
        "thermometers": _records(Thermometer, parts.get("thermometers")) or thermometers_of(rows),
        "put_in": _record(PutIn, parts.get("put_in")),
        "control": list(parts.get("control") or ()),
        "averaging": _record(AveragingCurve, parts.get("averaging")),
        "training": dict(parts.get("training") or {}),
        "notes": [str(note) for note in parts.get("notes", ())],
    }


def thermometers_of(rows: Sequence[Row]) -> list[Thermometer]:
    """Return T_ML of the runs that were left out of training the paper's model.

    Parameters
    ----------
    rows
        Errors of every model, with ``temperatures``: ``temperature``, ``mean`` and
        ``deviation`` in K.
    """
    found = []
    for form in FORMS:
        some = [
            row
            for row in rows
            if row["form"] == form
            and role(str(row["model"])) == "paper"
            and str(row["scheme"]) in UNSEEN
            and row.get("temperatures")
        ]
        points = {float(one["temperature"]): one for row in some for one in row["temperatures"]}
        if points:
            t = sorted(points)
            mean, deviation = (np.array([[points[k][name] for k in t]]) for name in SHOWN)
            unseen = np.ones(len(t), dtype=bool)
            found.append(
                Thermometer(
                    form, str(some[0]["model"]), np.array(t), unseen, ("all",), mean, deviation
                )
            )
    return found


def read_applications(folder: Path) -> dict[str, Any]:
    """Read all applications and controls, as arguments of ``ReportData``.

    Parameters
    ----------
    folder
        Folder with ``application_STORE.json``. Each has ``distributions``, ``creep``,
        ``stress_strain``, ``correlations``, ``map``, ``structure`` and ``distances``:
        views, all optional. ``volume``, ``peaks``, ``excess``, ``models``, ``notes``
        and ``glass_temperature`` are as in ``ReportData``.

    Returns
    -------
    arguments
        Empty without such files.
    """
    every = [read_plain(path) for path in sorted(folder.glob("application_*.json"))]
    if not every:
        return {}
    distances = (_record(PairDistances, one.get("distances")) for one in every)
    volumes = (one["volume"] for one in every if one.get("volume"))
    return {
        "distributions": [
            x for one in every for x in _records(Distribution, one.get("distributions"))
        ],
        "creep": _all(CreepCurve, every, "creep"),
        "stress_strain": [
            x for one in every for x in _records(StressStrain, one.get("stress_strain"))
        ],
        "correlations": [
            x for one in every for x in _records(LagCorrelation, one.get("correlations"))
        ],
        "applied_put_in": _all(AppliedPutIn, every, "put_in"),
        "slab_maps": _all(SlabMap, every, "map"),
        "structures": _all(Structure, every, "structure"),
        "distances": next((one for one in distances if one is not None), None),
        "volume": next(volumes, {}),
        **{
            name: [row for one in every for row in one.get(name) or ()]
            for name in ("peaks", "excess", "models")
        },
        "application_notes": [str(note) for one in every for note in one.get("notes") or ()],
        "glass_temperature": next(
            (one["glass_temperature"] for one in every if one.get("glass_temperature")), None
        ),
    }


def _all(kind: type[R], every: Sequence[Mapping[str, Any]], name: str) -> list[R]:
    return [record for one in every for record in _records(kind, one.get(name))]


def _record(kind: type[R], plain: Any) -> R | None:
    return kind.from_json(plain) if plain else None


def _records(kind: type[R], plain: Any) -> list[R]:
    """Return records of one plain value or of several; none for none."""
    if not plain:
        return []
    return [kind.from_json(one) for one in (plain if isinstance(plain, list) else [plain])]


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
        found.linkage,
    )


def read_weights(path: Path) -> Weights | None:
    """Read the weights of the lags; None without the file."""
    plain = read_plain(path)
    if not plain:
        return None
    found = LagWeights.from_json(plain)
    weight = {WEIGHT_NAMES.get(name, name): values for name, values in found.weight.items()}
    how = "They were given." if found.given else found.rule
    beside = " ".join(
        f"For comparison, {form_text(one.form)}: {one.verdict}" for one in found.beside
    )
    return Weights(found.lag, weight, found.kept, how, found.verdict, beside)


def read_plain(path: Path) -> Any:
    """Return the content of a JSON file; an empty mapping without the file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
