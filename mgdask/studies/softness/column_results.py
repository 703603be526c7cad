"""Columns that matter to softness: importance, distributions, dependence, motifs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.interpolate import RegularGridInterpolator
from scipy.stats import gaussian_kde

from mgdask._renamed import renamed_arguments
from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.features import Motifs
from mgdask.learn.evaluation.metrics import roc_auc
from mgdask.learn.explain.importance import partial_dependence
from mgdask.store.open import open_store
from mgdask.studies.softness.data import Glass
from mgdask.studies.softness.training import Softness

QUANTILES = (0.02, 0.98)
"""Quantiles that bound partial dependence; models saw too few atoms outside."""


@renamed_arguments(found="softness")
def importance(softness: Softness) -> dict[str, float]:
    """Compute the share of each column in the gain of all splits.

    Parameters
    ----------
    softness
        Trained score.

    Returns
    -------
    share
        Mean share over the models by column. Columns that no tree uses are missing.

    Examples
    --------
    >>> sum(importance(softness).values())  # doctest: +SKIP
    1.0
    """
    total: dict[str, float] = {}
    for model in softness.models:
        gain = np.asarray(model.booster.feature_importance("gain"), dtype=np.float64)
        for name, value in zip(model.columns, gain / gain.sum(), strict=True):
            total[name] = total.get(name, 0.0) + float(value) / len(softness.models)
    return {name: value for name, value in total.items() if value > 0.0}


def ranked_columns(
    softness: Softness, glass: Glass, x: FloatArray, plastic: BoolArray
) -> list[dict[str, Any]]:
    """One row per column that matters, most important first."""
    if softness.choice is None:
        gain = importance(softness)
        share = {name: gain[name] for name in sorted(gain, key=lambda name: -gain[name])}
    else:
        share = dict(zip(softness.choice.columns, softness.choice.importance, strict=True))
    unit = glass.units()
    rows = []
    for name, value in share.items():
        column = x[:, softness.columns.index(name)]
        rows.append(
            {
                "column": name,
                "units": unit[name],
                "importance": value,
                "median_plastic": float(np.median(column[plastic])),
                "median_other": float(np.median(column[~plastic])),
                "roc_auc_alone": float(roc_auc(plastic, column)),
            }
        )
    return rows


CLASSES = ("hardest", "softest")
"""Right and left halves of the violins."""


def violin(column: str, values: FloatArray, classes: Mapping[str, BoolArray]) -> dict[str, Any]:
    """Densities of groups of atoms between the 1st and 99th percentile of all atoms.

    The area of a group, including its tails, is 1. Values are in standard deviations
    from the mean. Both are computed from clipped values, since a few outliers would
    compress all others.
    """
    low, high = np.quantile(values, [0.01, 0.99])
    clipped = np.clip(values, low, high)
    mean, deviation = float(clipped.mean()), float(clipped.std())
    scale = deviation if deviation > 0 else 1.0
    z, inside = (values - mean) / scale, clipped == values
    grid = (np.linspace(low, high, 120) - mean) / scale
    densities: dict[str, Any] = {"column": column, "mean": mean, "std": deviation, "value": grid}
    for name, mask in classes.items():
        shown = z[mask & inside]
        densities[name] = np.full(len(grid), np.nan)
        if len(shown) > 1 and np.ptp(shown) > 0:
            densities[name] = gaussian_kde(shown)(grid) * (len(shown) / mask.sum())
        densities[f"{name}_quartiles"] = np.full(3, np.nan)
        if mask.any():
            densities[f"{name}_quartiles"] = np.quantile(z[mask], [0.25, 0.5, 0.75])
    return densities


def dependence(
    softness: Softness, x: FloatArray, first: list[int], samples: int, grid: int, seed: int
) -> dict[str, Any]:
    """Compute signed partial dependence on the leading columns, alone and together.

    It is the mean log-odds with the columns set to given values, minus the mean
    log-odds of the same atoms. It is negative for values that make atoms hard.
    """
    options: Mapping[str, Any] = {
        "ends": QUANTILES,
        "samples": samples,
        "seed": seed,
        "names": softness.columns,
    }
    alone = []
    for column in first:
        of_models = [
            partial_dependence(
                replace(softness, models=(model,)).margin, x, column, grid=2 * grid, **options
            )
            for model in softness.models
        ]
        curves = np.array([result.signed for result in of_models])
        low, high = np.quantile(x[:, column], QUANTILES)
        count, edges = np.histogram(x[:, column], 40, (low, high) if low < high else None)
        alone.append(
            {
                "column": softness.columns[column],
                "value": of_models[0].grids[0],
                "signed": curves.mean(axis=0),
                "deviation": curves.std(axis=0),
                "edges": edges,
                "count": count,
            }
        )
    together: dict[str, Any] = {}
    if len(first) == 2 and all(len(curve["value"]) > 1 for curve in alone):
        both = partial_dependence(softness.margin, x, first, grid=grid, **options)
        if min(map(len, both.grids)) > 1:
            together = {
                "columns": list(both.names),
                "x": both.grids[0],
                "y": both.grids[1],
                "signed": both.signed,
                "correlation": float(np.corrcoef(x[:, first[0]], x[:, first[1]])[0, 1]),
            }
            together["negative_share"] = _negative_share(together, x[:, first])
    return {"samples": samples, "alone": alone, "together": together}


def _negative_share(together: Mapping[str, Any], points: FloatArray) -> float:
    """Return the share of atoms at negative values, clipped to the grid."""
    if not together or not len(points):
        return np.nan
    grids = (together["x"], together["y"])
    clipped = np.stack(
        [np.clip(points[:, k], grid[0], grid[-1]) for k, grid in enumerate(grids)], axis=1
    )
    return float((RegularGridInterpolator(grids, together["signed"])(clipped) < 0.0).mean())


def motifs(
    glass: Glass,
    values: FloatArray,
    qs: FloatArray,
    plastic: BoolArray,
    atoms: IntArray,
    markers: int,
    rng: np.random.Generator,
    together: Mapping[str, Any],
) -> dict[str, Any]:
    """Return QS, the share of plastic atoms, and marker positions by Voronoi motif.

    ``negative_share`` is the share of a motif's atoms at which the partial dependence
    ``together`` on two columns is negative.
    """
    frame = open_store(glass.store).isel(frame=0).load()
    pbc = tuple(bool(p) for p in frame["pbc"].values)
    flags: BoolArray = (
        Motifs().compute(
            frame["position"].values, frame["cell"].values, frame["species"].values, atoms, pbc
        )
        == 1.0
    )
    of_motifs = {}
    for name, mask in (
        ("<0,0,12,0,0>", flags[:, 0]),
        ("<0,0,12,4,0>", flags[:, 1]),
        ("other Frank-Kasper", flags[:, 2] & ~flags[:, 3]),
        ("no Frank-Kasper", ~flags[:, 2]),
        ("plastic", plastic),
    ):
        rows = np.flatnonzero(mask)
        of_motifs[name] = {
            "atoms": len(rows),
            "qs": float(qs[rows].mean()) if len(rows) else np.nan,
            "plastic_share": float(plastic[rows].mean()) if len(rows) else np.nan,
            "drawn": values[rng.permutation(rows)[:markers]],
            "median": np.full(values.shape[1], np.nan),
            "negative_share": _negative_share(together, values[rows]),
        }
        if len(rows):
            of_motifs[name]["median"] = np.median(values[rows], axis=0)
    return of_motifs
