"""Numbers of a softness report, from which its figures, tables and JSON are made."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from mgdask._renamed import renamed_arguments
from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.studies.softness.column_results import dependence, motifs, ranked_columns, violin
from mgdask.studies.softness.column_results import importance as importance
from mgdask.studies.softness.data import Glass
from mgdask.studies.softness.score import (
    conditional,
    mass_radius,
    predicted_share,
    score_at_yield,
    spectrum,
)
from mgdask.studies.softness.training import Softness

HARD, SOFT = 0.1, 0.7
"""QS below which atoms are hard and above which they are soft in Wang & Jain (2019)."""
FEWEST_EXTREME = 50
"""If fewer atoms are soft or hard, the extreme tenth is taken instead."""
RDF_END = 12.0
"""Largest distance of g(r) in Å. Atoms within half of it are near."""
GAIN, SHAP = "gain", "mean absolute SHAP value on held-out atoms"
"""What importance is a share of; gain if leading columns were not selected."""
FEWEST = {"conditional": 20, "at_yield": 5}
"""Minimum number of atoms for a bin or a frame to be shown."""


@renamed_arguments(found="softness", drawn="markers")
def softness_numbers(
    softness: Softness,
    glass: Glass,
    *,
    leading: int = 15,
    violins: int = 6,
    samples: int = 200,
    grid: int = 10,
    markers: int = 120,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute the numbers of the report on a held-out glass.

    Parameters
    ----------
    softness
        Trained score.
    glass
        Held-out glass.
    leading
        Number of columns to list, most important first.
    violins
        Number of listed columns whose distributions are computed.
    samples
        Number of atoms over which partial dependence is averaged.
    grid
        Grid points per column for the partial dependence on two columns. The dependence
        on one column has twice as many.
    markers
        Number of atoms of each motif whose values of the two columns are given.
    seed
        Seed of the atoms drawn for ``samples`` and ``markers``.

    Returns
    -------
    numbers
        Nested names, numbers and arrays:

        * ``glass``, ``train``, ``strain``, ``threshold`` (Å²), ``seed``;
        * ``atoms`` and ``plastic`` (their numbers), ``base`` (share of plastic atoms),
          ``columns`` and ``draws`` (their numbers);
        * ``metrics``, ``baselines``, ``folds`` (AUC of each), ``leading_metrics``;
        * ``spectrum``, ``conditional``, ``predicted``, ``at_yield``: see
          ``mgdask.studies.softness.score``;
        * ``extremes``, the mass-radius relation and g(r) of the softest and the hardest
          atoms and of as many random ones, and ``rdf``, g(r) of all;
        * ``importance`` (what it is a share of), ``leading``, ``violins``,
          ``dependence`` (of columns alone and together), ``motifs``.

        Numbers that do not exist are NaN. A class of fewer than 2 atoms is missing.

    Raises
    ------
    ParameterError
        If ``grid`` is below 2, or another number below 1.

    Notes
    -----
    Only eligible atoms are included. Partial dependence is meaningful if the columns
    are not correlated; ``dependence`` gives the correlation.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019).

    Examples
    --------
    >>> softness_numbers(softness, glass)["spectrum"]["std"]  # doctest: +SKIP
    """
    if min(leading, violins, samples, markers) < 1 or grid < 2:
        raise ParameterError(
            f"leading={leading}, violins={violins}, samples={samples}, markers={markers} must be "
            f"at least 1, grid={grid} at least 2"
        )
    values, plastic, atoms = glass.rows()
    scored = np.isfinite(softness.qs[atoms])
    values, plastic, atoms = values[scored], plastic[scored], atoms[scored]
    position = {name: k for k, name in enumerate(glass.columns())}
    x = values[:, [position[name] for name in softness.columns]]
    qs, d2min = softness.qs[atoms], glass.d2min()
    ranked, rng = ranked_columns(softness, glass, x, plastic), np.random.default_rng(seed)
    first = [softness.columns.index(row["column"]) for row in ranked[:2]]
    return {
        "glass": glass.name,
        "train": list(softness.train),
        "strain": float(glass.strain[glass.frame]),
        "threshold": float(glass.threshold),
        "atoms": len(atoms),
        "plastic": int(plastic.sum()),
        "base": float(plastic.mean()),
        "columns": len(softness.columns),
        "draws": len(softness.models),
        "seed": seed,
        "metrics": {name: interval.as_dict() for name, interval in softness.metrics.items()},
        "baselines": {
            guess: {name: interval.as_dict() for name, interval in scores.items()}
            for guess, scores in softness.baselines.items()
        },
        "folds": list(softness.folds),
        "leading_metrics": {
            name: interval.as_dict() for name, interval in softness.leading_metrics.items()
        },
        "importance": GAIN if softness.choice is None else SHAP,
        "spectrum": _unpacked(spectrum(qs)),
        "conditional": _conditional(qs, plastic),
        "predicted": _predicted(qs, d2min[glass.frame][atoms]),
        "at_yield": {
            "strain": glass.strain,
            "fewest": FEWEST["at_yield"],
            **_unpacked(score_at_yield(softness.qs, d2min, glass.threshold)),
        },
        **_in_space(glass, softness.qs, atoms, rng),
        "leading": ranked[:leading],
        "violins": [
            violin(row["column"], x[:, softness.columns.index(row["column"])], plastic)
            for row in ranked[:violins]
        ],
        "dependence": dependence(softness, x, first, min(samples, len(x)), grid, seed),
        "motifs": motifs(glass, x[:, first], qs, plastic, atoms, markers, rng),
    }


def _unpacked(result: xr.Dataset) -> dict[str, Any]:
    """Coordinates, variables and attributes of a Dataset by name."""
    return {
        **{str(name): value.values for name, value in result.coords.items()},
        **{
            str(name): value.values if value.ndim else value.item()
            for name, value in result.items()
        },
        **result.attrs,
    }


def _conditional(qs: FloatArray, plastic: BoolArray) -> dict[str, Any]:
    """P(plastic | QS), with its values in the extreme bins that have enough atoms."""
    result = conditional(qs, plastic)
    enough = np.flatnonzero(result["count"].values >= FEWEST["conditional"])
    ends = {
        f"{end}_{name}": float(result[name].values[enough[k]]) if len(enough) else np.nan
        for end, k in (("hardest", 0), ("softest", -1))
        for name in ("score", "probability", "ratio")
    }
    return {"fewest": FEWEST["conditional"], **_unpacked(result), **ends}


def _predicted(qs: FloatArray, d2min: FloatArray) -> dict[str, Any]:
    """Share predicted plastic by tenths of D2min."""
    edges = np.unique(np.quantile(d2min, np.linspace(0, 1, 11)))
    if len(edges) < 2:
        empty = {name: np.empty(0) for name in ("median", "share", "error", "count")}
        return {"edges": edges, **empty}
    tenth = np.clip(np.searchsorted(edges, d2min, side="right") - 1, 0, len(edges) - 2)
    median = np.array([np.median(d2min[tenth == k]) for k in range(len(edges) - 1)])
    return {"edges": edges, "median": median, **_unpacked(predicted_share(qs, d2min, edges=edges))}


def extremes(qs: FloatArray) -> dict[str, tuple[str, BoolArray]]:
    """Select the softest and the hardest atoms.

    Soft atoms have QS > 0.7 and hard atoms QS < 0.1, as in the paper. If fewer than 50
    atoms qualify, the extreme tenth is used instead.

    Parameters
    ----------
    qs
        Score (atom,). Atoms with NaN are in neither class.

    Returns
    -------
    classes
        Rule in words and mask (atom,) of ``softest`` and ``hardest``.

    Examples
    --------
    >>> extremes(np.linspace(0.0, 1.0, 1001))["softest"][0]
    'QS > 0.7'
    """
    classes = {}
    for name, rule, mask, tenth in (
        ("softest", f"QS > {SOFT}", qs > SOFT, qs >= np.nanquantile(qs, 0.9)),
        ("hardest", f"QS < {HARD}", qs < HARD, qs <= np.nanquantile(qs, 0.1)),
    ):
        enough = mask.sum() >= FEWEST_EXTREME
        classes[name] = (rule, mask) if enough else (f"{name} tenth", tenth)
    return classes


def _in_space(
    glass: Glass, qs: FloatArray, atoms: IntArray, rng: np.random.Generator
) -> dict[str, Any]:
    """Mass-radius relation and g(r) of the softest, the hardest and random atoms."""
    frame = glass.undeformed()
    eligible = np.zeros(len(qs), dtype=bool)
    eligible[atoms] = True
    classes = {name: (rule, mask & eligible) for name, (rule, mask) in extremes(qs).items()}
    # equally many random atoms show the effect of sample size and surfaces alone
    random = np.zeros(len(qs), dtype=bool)
    random[rng.choice(atoms, int(classes["softest"][1].sum()), replace=False)] = True
    classes["random"] = ("as many as the softest", random)
    end = 0.0
    groups: dict[str, Any] = {}
    for name, (rule, mask) in classes.items():
        if mask.sum() < 2:
            continue
        relation = _unpacked(mass_radius(frame, mask))
        end = min(RDF_END, float(relation["r"][-1]))
        kept = ("dimension", "dimension_error", "r", "mass")
        groups[name] = {
            "rule": rule,
            "atoms": int(mask.sum()),
            **{key: relation[key] for key in kept},
        }
    if not groups:
        return {"extremes": {}, "rdf": {}}
    whole = mass_radius(frame, eligible, r_max=end, bins=80)
    r, half = whole["r"].values, len(whole["r"]) // 2 - 1
    near = (whole["mass"].values[half] - 1.0) / len(atoms)
    for name, group in groups.items():
        close = mass_radius(frame, classes[name][1], r_max=end, bins=80)
        own = (close["mass"].values[half] - 1.0) / group["atoms"]
        group["g"] = close["g"].values
        group["near_ratio"] = float(own / near) if near > 0 else np.nan
    return {"extremes": groups, "rdf": {"r": r, "g": whole["g"].values, "near": float(r[half])}}
