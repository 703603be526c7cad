"""Results of an application: T_ML and its control, D²min, structure and creep.

``apply_to`` in ``applied`` writes T_ML, and D²min and structure of the first frame of
each run.
``describe_application`` reads these and returns the content of
``application_STORE.json``, whose keys are those of ``read_applications``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._typing import FloatArray
from mgdask.features.pair_cutoffs import species_of
from mgdask.pipelines.featurize.block import read_axis
from mgdask.report.json import to_plain
from mgdask.store import frame_values
from mgdask.store.open import check_complete
from mgdask.store.shards import read_array
from mgdask.studies.temperature.application import read_t_ml
from mgdask.studies.temperature.applied import Application
from mgdask.studies.temperature.deformation import STRAIN, STRESS, Creep, creep_of, stress_strain_of
from mgdask.studies.temperature.distribution import (
    bin_edges,
    distribution_of,
    excess_over,
    fit_peak,
    share_above,
)
from mgdask.studies.temperature.local_deformation import correlate, d2min_name, slab_map
from mgdask.studies.temperature.model import NEAREST
from mgdask.studies.temperature.structure import (
    NEIGHBORS,
    POLYHEDRA,
    ranks_of,
    structure_of,
    tied_share,
)
from mgdask.studies.temperature.views import LagCorrelation, Structure

if TYPE_CHECKING:
    pass

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def describe_application(
    application: Application,
    control: Application | None = None,
    *,
    columns: Sequence[int],
    applied_form: str = "none",
    glass_temperature: float | None = None,
    extreme_fraction: float = 0.1,
    slab: float = 3.8,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the content of ``application_STORE.json``.

    Parameters
    ----------
    application
        Results of the store.
    control
        Those of its unstressed control; None if there is none.
    columns
        Indices of the lags that the models read.
    applied_form
        Form of the feature for maps and groups.
    glass_temperature
        Glass transition in K; None if it is not given.
    extreme_fraction
        Share of liquid-like, and of solid-like atoms.
    slab
        Thickness of the drawn slab in Å.
    seed
        Seed of the bootstraps.

    Returns
    -------
    plain
        JSON values. ``distributions``, ``creep``, ``stress_strain``, ``correlations``,
        ``map``, ``structure`` and ``distances`` are lists of views, or one. ``peaks``,
        ``excess`` and ``above`` have the intervals of the distributions, each with
        ``name`` and ``form``. ``models`` has quantiles and correlations of all models.
        ``notes`` are caveats in words.
    """
    found = _distributions(application, control, glass_temperature, seed)
    every = read_t_ml(application.t_ml)
    d2min = _d2min(application)
    correlations, models = [], []
    for one in application.models:
        for k, name in enumerate(application.names):
            t_ml = every[one.label][k]
            pearson = _correlated(application, name, one.form, t_ml, d2min[k], seed)
            if one.name == NEAREST and pearson is not None:
                correlations.append(pearson)
            models.append(
                {
                    "name": name,
                    "model": one.name,
                    "form": one.form,
                    "mean": t_ml.mean(),
                    "quantile": QUANTILES,
                    "t_ml": np.quantile(t_ml, QUANTILES),
                    "correlation": pearson,
                }
            )
    maps, structures, notes = _groups(
        application, every, d2min, columns, applied_form, extreme_fraction, slab
    )
    notes += application.notes
    creep = creep_curves(application)
    strained = _stress_strain(application)
    if control is None:
        notes.append(
            f"{application.name} has no unstressed control, so the effect of stress is not known. "
            "Give a control with --control"
        )
    plain: dict[str, Any] = to_plain(
        {
            "store": application.name,
            "control": None if control is None else control.name,
            "applied_form": applied_form,
            **found,
            "correlations": correlations,
            "models": models,
            "map": maps,
            "structure": structures,
            "distances": application.distances,
            "put_in": application.put_in,
            "creep": [one.curve for one in creep],
            "creep_details": creep,
            "stress_strain": strained,
            "glass_temperature": glass_temperature,
            "notes": notes,
        }
    )
    return plain


def describe_control(
    control: Application, *, glass_temperature: float | None = None, seed: int = 0
) -> dict[str, Any]:
    """Return the content of ``application_STORE.json`` of an unstressed control.

    Parameters
    ----------
    control
        Results of the control.
    glass_temperature
        Glass transition in K; None if it is not given.
    seed
        Seed of the bootstraps.
    """
    found = _distributions(control, None, glass_temperature, seed, unstressed=True)
    every, d2min = read_t_ml(control.t_ml), _d2min(control)
    correlations = [
        _correlated(
            control, f"{name} (unstressed control)", one.form, every[one.label][k], d2min[k], seed
        )
        for one in control.models
        if one.name == NEAREST
        for k, name in enumerate(control.names)
    ]
    plain: dict[str, Any] = to_plain(
        {
            "store": control.name,
            **found,
            "correlations": [one for one in correlations if one is not None],
            "put_in": control.put_in,
            "glass_temperature": glass_temperature,
            "notes": control.notes,
        }
    )
    return plain


def _correlated(
    application: Application, name: str, form: str, t_ml: FloatArray, d2min: FloatArray, seed: int
) -> LagCorrelation | None:
    """Return the correlation with D²min; None without D²min."""
    if not application.lags:
        return None
    return correlate(name, form, t_ml, d2min, application.lags, seed=seed)


def control_of(application: Application, controls: Sequence[Application]) -> Application | None:
    """Return the control nearest in temperature; the first if temperatures are unknown.

    Parameters
    ----------
    application
        Results of a store.
    controls
        Results of all controls.
    """
    own = application.instances.runs[0].temperature

    def distance(one: Application) -> float:
        return float(np.nan_to_num(abs(one.instances.runs[0].temperature - own), nan=np.inf))

    return min(controls, key=distance, default=None)


def creep_curves(application: Application) -> list[Creep]:
    """Return strain and steady rate of every run.

    Parameters
    ----------
    application
        Results of the store.
    """
    group, _ = check_complete(application.source)
    axis, cell = read_axis(group), np.asarray(read_array(group, "cell"), dtype=np.float64)
    stress = frame_values.read_one(group, STRESS)
    unit = frame_values.attrs(group, STRESS).get("units")
    return [
        creep_of(
            name,
            axis.time[first:last],
            cell[first:last],
            stress=None if stress is None else stress[first:last],
            unit=unit,
        )
        for name, (first, last) in zip(application.names, axis.runs(), strict=True)
        if last - first > 1
    ]


def _stress_strain(application: Application) -> list[Any]:
    group, _ = check_complete(application.source)
    stress, strain = (frame_values.read_one(group, name) for name in (STRESS, STRAIN))
    unit = frame_values.attrs(group, STRESS).get("units")
    curve = stress_strain_of(application.name, stress, strain, unit)
    return [] if curve is None else [curve]


def _d2min(application: Application) -> FloatArray:
    """Return D²min in Å² (run, lag, atom)."""
    runs = application.instances.runs
    if application.local is None or not application.lags:
        return np.empty((len(runs), 0, runs[0].n_atoms))
    group, _ = check_complete(application.local, kind="features")
    return np.stack(
        [
            np.asarray(read_array(group, d2min_name(lag)), dtype=np.float64)[:, :, 0]
            for lag in application.lags
        ],
        axis=1,
    )


def _distributions(
    application: Application,
    control: Application | None,
    glass_temperature: float | None,
    seed: int,
    *,
    unstressed: bool = False,
) -> dict[str, Any]:
    """Return distributions of the paper's model, with peaks and excess over control."""
    every = read_t_ml(application.t_ml)
    beside = {} if control is None else read_t_ml(control.t_ml)
    out: dict[str, list[Any]] = {"distributions": [], "peaks": [], "excess": [], "above": []}
    for one in application.models:
        if one.name != NEAREST:
            continue
        other = beside[one.label].ravel() if one.label in beside else None
        for k, name in enumerate(application.names):
            t_ml = every[one.label][k]
            about = {"name": name, "form": one.form}
            peak = fit_peak(t_ml, seed=seed)
            edges = bin_edges([t_ml] if other is None else [t_ml, other])
            out["distributions"].append(
                distribution_of(
                    name,
                    one.form,
                    t_ml,
                    edges,
                    peak,
                    glass_temperature=glass_temperature,
                    control=unstressed,
                )
            )
            out["peaks"].append(about | peak.to_json())
            if glass_temperature is not None:
                out["above"].append(about | share_above(t_ml, glass_temperature).to_json())
            if other is not None and control is not None:
                found = excess_over(t_ml, other, control.name, seed=seed)
                out["excess"].append(about | found.to_json())
    return out


def _groups(
    application: Application,
    every: Mapping[str, FloatArray],
    d2min: FloatArray,
    columns: Sequence[int],
    form: str,
    fraction: float,
    slab: float,
) -> tuple[list[Any], list[Any], list[str]]:
    """Return maps and structures in the applied form, with notes."""
    chosen = next(
        (one for one in application.models if one.name == NEAREST and one.form == form), None
    )
    if chosen is None:
        return [], [], [f"{application.name}: the model with the form {form!r} was not applied"]
    if application.local is None:
        return [], [], []
    source, _ = check_complete(application.source)
    local, _ = check_complete(application.local, kind="features")
    indices = np.asarray(read_array(local, POLYHEDRA), dtype=np.float64)
    counts = np.asarray(read_array(local, NEIGHBORS), dtype=np.float64)
    maps, structures, notes = [], [], []
    for k, name in enumerate(application.names):
        one = application.instances.runs[k]
        t_ml = every[chosen.label][k]
        motion = application.instances.matrix(
            runs=[k], columns=columns, feature_temperature=None
        ).mean(axis=1)
        score = ranks_of(t_ml, motion, one.species, one.atom_id)
        structures.append(
            structure_of(
                name,
                score,
                one.species,
                indices[k],
                counts[k],
                species_of(one.species),
                atom_id=one.atom_id,
                fraction=fraction,
            )
        )
        tied = tied_share(t_ml, fraction)
        if tied > 0:
            notes.append(
                f"{name}: {100 * tied:.0f} % of the solid-like atoms have the same T_ML as atoms "
                "outside the group. Among atoms with the same T_ML, the least mobile ones "
                "(by mean lg[r²m] over the lags, relative to their species) are solid-like"
            )
        notes += significance(structures[-1])
        if not application.lags:
            continue
        frame = application_frame(source, k)
        maps.append(
            slab_map(
                name,
                form,
                *frame,
                one.species,
                one.atom_id,
                t_ml,
                application.lags,
                d2min[k],
                slab=slab,
            )
        )
    return maps, structures, notes


def significance(structure: Structure) -> list[str]:
    """Say how many deviations of −α exceed their errors; empty without errors.

    Parameters
    ----------
    structure
        Structure of liquid-like and solid-like atoms.
    """
    order = structure.order
    deviation, error = (
        np.array(order[name], dtype=np.float64)[1:] for name in ("deviation", "deviation_error")
    )
    known = error > 0
    if not known.any():
        return []
    beyond = int((np.abs(deviation[known]) > 2 * error[known]).sum())
    n = int(known.sum())
    return [
        f"{structure.name}: {beyond} of {n} deviations of −α from that of all atoms exceed 2 "
        f"standard errors; about {0.0455 * n:.0f} would by chance. Signs ignore errors"
    ]


def application_frame(group: Any, k: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return positions, cell and origin of the first frame of a run in Å.

    Parameters
    ----------
    group
        Group of the trajectory store.
    k
        Index of the run.
    """
    frame = read_axis(group).runs()[k][0]
    parts = (
        np.asarray(group[name][frame], dtype=np.float64) for name in ("position", "cell", "origin")
    )
    position, cell, origin = parts
    return position, cell, origin
