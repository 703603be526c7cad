"""All numbers of a softness report, worked out once: figures, tables and numbers.json are made of what is here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.stats import gaussian_kde

from mgdask.errors import ParameterError
from mgdask.features import Motifs
from mgdask.learn.evaluation.metrics import roc_auc
from mgdask.learn.explain.importance import partial_dependence
from mgdask.store.open import open_store
from mgdask.studies.softness.data import Glass
from mgdask.studies.softness.score import (
    conditional,
    mass_radius,
    predicted_share,
    score_at_yield,
    spectrum,
)
from mgdask.studies.softness.training import Softness

Float = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

HARD, SOFT = 0.1, 0.7
"""Bounds of the hardest and the softest atoms in Wang & Jain (2019); where fewer than 50 atoms are there, the extreme tenths are taken."""
SHELLS = 12.0
"""Å up to which g(r) is told; half of it is what counts as near."""
ENDS = (0.02, 0.98)
"""Shares of the atoms between which partial dependence is told: outside, a model has seen too few."""
GAIN, SHAP = "gain", "mean absolute SHAP value on held-out atoms"
"""What the importance of a column is a share of: the first where the study was not asked for leading columns."""
FEWEST = {"conditional": 20, "at_yield": 5}
"""Atoms that a bin, or a frame, needs to be shown."""


def softness_numbers(
    found: Softness,
    glass: Glass,
    *,
    leading: int = 15,
    violins: int = 6,
    samples: int = 200,
    grid: int = 10,
    drawn: int = 120,
    seed: int = 0,
) -> dict[str, Any]:
    """What a trained score of softness says about the glass that was set aside, as nested names, numbers and arrays.

    Parameters
    ----------
    leading: columns that are listed, most important first. violins: of them, distributions of plastic and other atoms. samples: atoms of
        the partial dependence, drawn by ``seed``. grid: points of it along each of the two leading columns together; alone twice as
        many. drawn: atoms of each motif whose place among the two columns is given, drawn by ``seed``.

    Returns glass, train, strain, threshold, atoms, plastic (their number), base (their share), columns and draws (numbers), metrics,
    baselines, folds (AUC of each), leading_metrics, importance (what it is a share of), spectrum, conditional, predicted, at_yield, extremes
    (mass-radius relation and g(r) of softest, hardest and as many random atoms), rdf (g(r) of all), leading, violins, dependence (alone and
    together) and motifs. Only atoms that count are in it. NaN where there is no number; a class of fewer than 2 atoms is left out of
    ``extremes``. ``ParameterError`` for numbers below 1 and a grid below 2. Valid as far as the columns are not correlated: see
    ``partial_dependence``; ``together`` gives the correlation.

    Source: the figures of Wang, Jain, Nat. Commun. 10, 5537 (2019).

    >>> softness_numbers(found, glass)["spectrum"]["std"]  # doctest: +SKIP
    """
    if min(leading, violins, samples, drawn) < 1 or grid < 2:
        raise ParameterError(
            f"leading={leading}, violins={violins}, samples={samples}, drawn={drawn} must be at least 1, grid={grid} at least 2"
        )
    every, plastic, atoms = glass.rows()
    there = np.isfinite(found.qs[atoms])
    every, plastic, atoms = every[there], plastic[there], atoms[there]
    place = {name: k for k, name in enumerate(glass.columns())}
    x, qs, d2min = every[:, [place[name] for name in found.columns]], found.qs[atoms], glass.d2min()
    order, rng = _leading(found, glass, x, plastic), np.random.default_rng(seed)
    first = [found.columns.index(row["column"]) for row in order[:2]]
    return {
        "glass": glass.name,
        "train": list(found.train),
        "strain": float(glass.strain[glass.frame]),
        "threshold": float(glass.threshold),
        "atoms": len(atoms),
        "plastic": int(plastic.sum()),
        "base": float(plastic.mean()),
        "columns": len(found.columns),
        "draws": len(found.models),
        "seed": seed,
        "metrics": {name: interval.as_dict() for name, interval in found.metrics.items()},
        "baselines": {
            kind: {name: one.as_dict() for name, one in scores.items()}
            for kind, scores in found.baselines.items()
        },
        "folds": list(found.folds),
        "leading_metrics": {name: one.as_dict() for name, one in found.leading_metrics.items()},
        "importance": GAIN if found.choice is None else SHAP,
        "spectrum": _plain(spectrum(qs)),
        "conditional": _conditional(qs, plastic),
        "predicted": _predicted(qs, d2min[glass.frame][atoms]),
        "at_yield": {
            "strain": glass.strain,
            "fewest": FEWEST["at_yield"],
            **_plain(score_at_yield(found.qs, d2min, glass.threshold)),
        },
        **_in_space(glass, found.qs, atoms, rng),
        "leading": order[:leading],
        "violins": [
            _violin(row["column"], x[:, found.columns.index(row["column"])], plastic)
            for row in order[:violins]
        ],
        "dependence": _dependence(found, x, first, min(samples, len(x)), grid, seed),
        "motifs": _motifs(glass, x[:, first], qs, plastic, atoms, drawn, rng),
    }


def _plain(told: xr.Dataset) -> dict[str, Any]:
    """Arrays, and single numbers as such."""
    found: dict[str, Any] = {
        str(name): value.values if value.ndim else value.item() for name, value in told.items()
    }
    return {
        **{str(name): value.values for name, value in told.coords.items()},
        **found,
        **told.attrs,
    }


def _conditional(qs: Float, plastic: Mask) -> dict[str, Any]:
    told = conditional(qs, plastic)
    enough = np.flatnonzero(told["count"].values >= FEWEST["conditional"])
    ends = {
        f"{which}_{name}": float(told[name].values[k]) if len(enough) else np.nan
        for which, k in (
            ("hardest", enough[0] if len(enough) else 0),
            ("softest", enough[-1] if len(enough) else 0),
        )
        for name in ("score", "probability", "ratio")
    }
    return {"fewest": FEWEST["conditional"], **_plain(told), **ends}


def _predicted(qs: Float, d2min: Float) -> dict[str, Any]:
    edges = np.unique(np.quantile(d2min, np.linspace(0, 1, 11)))
    if len(edges) < 2:
        return {
            "edges": edges,
            "median": np.empty(0),
            "share": np.empty(0),
            "error": np.empty(0),
            "count": np.empty(0),
        }
    tenth = np.clip(np.searchsorted(edges, d2min, side="right") - 1, 0, len(edges) - 2)
    median = np.array([np.median(d2min[tenth == k]) for k in range(len(edges) - 1)])
    return {"edges": edges, "median": median, **_plain(predicted_share(qs, d2min, edges=edges))}


def extremes(qs: Float) -> dict[str, tuple[str, Mask]]:
    """Rule and mask (atom,) of the softest and the hardest atoms, by the paper's bounds or, where those hold fewer than 50, the extreme tenths."""
    found = {}
    for name, rule, mask, tenth in (
        ("softest", f"QS > {SOFT}", qs > SOFT, qs >= np.nanquantile(qs, 0.9)),
        ("hardest", f"QS < {HARD}", qs < HARD, qs <= np.nanquantile(qs, 0.1)),
    ):
        found[name] = (rule, mask) if mask.sum() >= 50 else (f"{name} tenth", tenth)
    return found


def _in_space(
    glass: Glass, qs: Float, atoms: npt.NDArray[np.int64], rng: np.random.Generator
) -> dict[str, Any]:
    frame = open_store(glass.store).isel(frame=0).load()
    every = np.zeros(len(qs), dtype=bool)
    every[atoms] = True
    classes = {name: (rule, mask & every) for name, (rule, mask) in extremes(qs).items()}
    # the same number of atoms at random, so that few atoms and surfaces are not taken for structure
    some = np.zeros(len(qs), dtype=bool)
    some[rng.choice(atoms, int(classes["softest"][1].sum()), replace=False)] = True
    classes["random"] = ("as many as the softest", some)
    end = 0.0
    found: dict[str, Any] = {}
    for name, (rule, mask) in classes.items():
        if mask.sum() < 2:
            continue
        told = _plain(mass_radius(frame, mask))
        end = min(SHELLS, float(told["r"][-1]))
        found[name] = {
            "rule": rule,
            "atoms": int(mask.sum()),
            **{key: told[key] for key in ("dimension", "dimension_error", "r", "mass")},
        }
    if not found:
        return {"extremes": {}, "rdf": {}}
    whole = mass_radius(frame, every, r_max=end, bins=80)
    r, half = whole["r"].values, len(whole["r"]) // 2 - 1
    near = (whole["mass"].values[half] - 1.0) / len(atoms)
    for name, one in found.items():
        close = mass_radius(frame, classes[name][1], r_max=end, bins=80)
        one["g"] = close["g"].values
        one["near_ratio"] = (
            float((close["mass"].values[half] - 1.0) / one["atoms"] / near) if near > 0 else np.nan
        )
    return {"extremes": found, "rdf": {"r": r, "g": whole["g"].values, "near": float(r[half])}}


def importance(found: Softness) -> dict[str, float]:
    """Share of the gain of all splits by column (name), the mean over the models; columns that no tree uses are left out."""
    total: dict[str, float] = {}
    for model in found.models:
        gain = np.asarray(model.booster.feature_importance("gain"), dtype=np.float64)
        for name, value in zip(model.columns, gain / gain.sum(), strict=True):
            total[name] = total.get(name, 0.0) + float(value) / len(found.models)
    return {name: value for name, value in total.items() if value > 0.0}


def _leading(found: Softness, glass: Glass, x: Float, plastic: Mask) -> list[dict[str, Any]]:
    if found.choice is None:
        gain = importance(found)
        share = {name: gain[name] for name in sorted(gain, key=lambda name: -gain[name])}
    else:
        share = dict(zip(found.choice.columns, found.choice.importance, strict=True))
    each = [
        str(one.attrs.get("units", "1"))
        for one in open_store(glass.features).values()
        for _ in range(one.shape[-1])
    ]
    unit = dict(zip(glass.columns(), each, strict=True))
    rows = []
    for name, value in share.items():
        values = x[:, found.columns.index(name)]
        rows.append(
            {
                "column": name,
                "units": unit[name],
                "importance": value,
                "median_plastic": float(np.median(values[plastic])),
                "median_other": float(np.median(values[~plastic])),
                "roc_auc_alone": float(roc_auc(plastic, values)),
            }
        )
    return rows


def _violin(column: str, values: Float, plastic: Mask) -> dict[str, Any]:
    """Densities of the atoms of both classes from the 1st to the 99th percentile of all, a class with its tails has area 1.

    Deviations are from the mean of all values, clipped there: a few atoms far out, as interstices have, would crush all others.
    """
    low, high = np.quantile(values, [0.01, 0.99])
    clipped = np.clip(values, low, high)
    mean, deviation = float(clipped.mean()), float(clipped.std())
    scale = deviation if deviation > 0 else 1.0
    z, inside = (values - mean) / scale, clipped == values
    grid = (np.linspace(low, high, 120) - mean) / scale
    found: dict[str, Any] = {"column": column, "mean": mean, "std": deviation, "value": grid}
    for name, mask in (("plastic", plastic), ("other", ~plastic)):
        some = z[mask & inside]
        spread = len(some) > 1 and np.ptp(some) > 0
        found[name] = (
            gaussian_kde(some)(grid) * (len(some) / mask.sum())
            if spread
            else np.full(len(grid), np.nan)
        )
        found[f"{name}_quartiles"] = np.quantile(z[mask], [0.25, 0.5, 0.75])
    return found


def _dependence(
    found: Softness, x: Float, first: list[int], samples: int, grid: int, seed: int
) -> dict[str, Any]:
    options: Mapping[str, Any] = {
        "ends": ENDS,
        "samples": samples,
        "seed": seed,
        "names": found.columns,
    }
    alone = []
    for column in first:
        each = [
            partial_dependence(
                replace(found, models=(model,)).predict, x, column, grid=2 * grid, **options
            )
            for model in found.models
        ]
        curves = np.array([one.mean for one in each])
        low, high = np.quantile(x[:, column], ENDS)
        count, edges = np.histogram(x[:, column], 40, (low, high) if low < high else None)
        alone.append(
            {
                "column": found.columns[column],
                "value": each[0].grids[0],
                "qs": curves.mean(axis=0),
                "deviation": curves.std(axis=0),
                "edges": edges,
                "count": count,
            }
        )
    together: dict[str, Any] = {}
    if len(first) == 2 and all(len(one["value"]) > 1 for one in alone):
        both = partial_dependence(found.predict, x, first, grid=grid, **options)
        together = {
            "columns": list(both.names),
            "x": both.grids[0],
            "y": both.grids[1],
            "qs": both.mean,
            "correlation": float(np.corrcoef(x[:, first[0]], x[:, first[1]])[0, 1]),
        }
    return {"samples": samples, "alone": alone, "together": together}


def _motifs(
    glass: Glass,
    values: Float,
    qs: Float,
    plastic: Mask,
    atoms: npt.NDArray[np.int64],
    drawn: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    frame = open_store(glass.store).isel(frame=0).load()
    pbc = tuple(bool(p) for p in frame["pbc"].values)
    of_atoms = Motifs().compute(
        frame["position"].values, frame["cell"].values, frame["species"].values, atoms, pbc
    )
    flags: Mask = of_atoms == 1.0
    found = {}
    for name, mask in (
        ("<0,0,12,0,0>", flags[:, 0]),
        ("<0,0,12,4,0>", flags[:, 1]),
        ("other Kasper", flags[:, 2] & ~flags[:, 3]),
        ("no Kasper", ~flags[:, 2]),
        ("plastic", plastic),
    ):
        rows = np.flatnonzero(mask)
        some = rng.permutation(rows)[:drawn]
        found[name] = {
            "atoms": len(rows),
            "qs": float(qs[rows].mean()) if len(rows) else np.nan,
            "plastic_share": float(plastic[rows].mean()) if len(rows) else np.nan,
            "drawn": values[some],
            "median": np.median(values[rows], axis=0)
            if len(rows)
            else np.full(values.shape[1], np.nan),
        }
    return found
