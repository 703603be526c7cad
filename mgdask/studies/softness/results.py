"""Numbers of a softness report, from which its figures, tables and JSON are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from mgdask._renamed import renamed_arguments
from mgdask._typing import AnyArray, BoolArray, FloatArray
from mgdask.errors import ParameterError
from mgdask.learn.evaluation.calibration import (
    calibration_curve,
    corrected_probability,
    wilson_interval,
)
from mgdask.store.open import open_store
from mgdask.studies.softness.column_results import (
    CLASSES,
    dependence,
    motifs,
    ranked_columns,
    violin,
)
from mgdask.studies.softness.column_results import importance as importance
from mgdask.studies.softness.data import Glass, strain_of
from mgdask.studies.softness.glasses import glass_spectrum
from mgdask.studies.softness.score import (
    conditional,
    predicted_share,
    score_at_ratio,
    score_at_yield,
    spectrum,
)
from mgdask.studies.softness.space import d2_map, group_values, packing
from mgdask.studies.softness.space import extremes as extremes
from mgdask.studies.softness.training import Softness

GAIN, SHAP = "gain", "mean absolute SHAP value on held-out atoms"
"""What importance is a share of; gain if leading columns were not selected."""
FEWEST = {"conditional": 20, "at_yield": 5}
"""Minimum number of atoms for a bin or a frame to be shown."""
ACTIVATED_BINS = 10
"""Bins of QS in the distribution of the atoms activated at each strain."""
D2_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0)
"""Shares of atoms below the edges of the D² bins: tenths, finer at the end."""


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
    groups: str = "paper",
    spectra: Sequence[Mapping[str, Any]] = (),
    ceiling: Mapping[str, Any] | None = None,
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
        Number of these columns whose distributions are computed.
    samples
        Number of atoms over which partial dependence is averaged.
    grid
        Number of grid points per column for partial dependence on two columns. The
        dependence on one column has twice as many.
    markers
        Number of atoms of each motif to draw as markers.
    groups
        How the hardest and the softest atoms are selected: "paper" or "tenths".
    spectra
        Results of ``glass_spectrum`` for other glasses, shown beside this one.
    ceiling
        Result of ``measured_ceiling``; None if there are no repeated runs.
    seed
        Seed of the resamples, and of the atoms drawn for ``samples`` and ``markers``.

    Returns
    -------
    numbers
        Nested mapping of names to numbers and arrays:

        * ``glass``, ``train``, ``strain``, ``threshold`` (Å²), ``time`` (ps) and
          ``strain_rate`` (1/s) up to the strain, ``excluded`` (in words), ``seed``;
        * ``atoms`` and ``plastic`` (their numbers), ``base`` (share of plastic atoms),
          ``train_atoms`` and ``train_plastic``, ``columns`` and ``draws`` (their
          numbers), ``features`` (names of the variables), ``source`` ("all" or
          "leading" columns), ``target`` of training;
        * ``metrics``, ``baselines``, ``minus_logistic`` (paired difference), ``folds``
          (AUC of each), ``all_metrics``, ``leading_metrics``, and ``single`` and
          ``leading_single``, the scores of single models beside that of their mean;
          ``ceiling``, empty without repeats;
        * ``map`` (Fig. 2a), ``predicted`` (2b), ``spectrum`` (3a), ``conditional``
          (3b), ``packing`` and ``group_values`` (3c), ``violins`` (3d), ``at_yield``
          (3e), ``glasses`` (3f), ``dependence`` and ``motifs`` (5b), ``calibration``
          (Supplementary Fig. 7);
        * ``importance`` (what it is a share of) and ``leading``.

        Undefined numbers are NaN. A group of fewer than 2 atoms is left out.

    Raises
    ------
    ParameterError
        If ``grid`` is below 2, or another number below 1.

    Notes
    -----
    Only eligible atoms are included, except in the map. Partial dependence is
    meaningful only if the columns are not correlated. ``dependence`` contains the
    correlation.

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
    d2 = d2min[glass.frame]
    ranked, rng = ranked_columns(softness, glass, x, plastic), np.random.default_rng(seed)
    first = [softness.columns.index(row["column"]) for row in ranked[:2]]
    regions, frame = glass.regions(), glass.undeformed()
    eligible = np.isin(np.arange(len(softness.qs)), atoms)
    classes = extremes(np.where(eligible, softness.qs, np.nan), groups)
    own = glass_spectrum(
        glass.name, np.where(eligible, softness.qs, np.nan), regions, role="test", seed=seed
    )
    dependent = dependence(softness, x, first, min(samples, len(x)), grid, seed)
    return {
        "glass": glass.name,
        "train": list(softness.train),
        "strain": float(glass.strain[glass.frame]),
        "threshold": float(glass.threshold),
        **_rate(glass),
        "excluded": glass.excluded,
        "atoms": len(atoms),
        "plastic": int(plastic.sum()),
        "base": float(plastic.mean()),
        "train_atoms": softness.card.get("parameters", {}).get("train_atoms"),
        "train_plastic": softness.card.get("parameters", {}).get("train_plastic"),
        "columns": len(softness.columns),
        "features": sorted(map(str, open_store(glass.features).data_vars)),
        "draws": len(softness.models),
        "source": softness.source,
        "target": softness.card.get("parameters", {}).get("target", "label"),
        "seed": seed,
        "metrics": {name: interval.as_dict() for name, interval in softness.metrics.items()},
        "baselines": {
            guess: {name: interval.as_dict() for name, interval in scores.items()}
            for guess, scores in softness.baselines.items()
        },
        "minus_logistic": {
            name: interval.as_dict() for name, interval in softness.minus_logistic.items()
        },
        "folds": list(softness.folds),
        "all_metrics": {
            name: interval.as_dict() for name, interval in softness.all_metrics.items()
        },
        "leading_metrics": {
            name: interval.as_dict() for name, interval in softness.leading_metrics.items()
        },
        "single": dict(softness.single),
        "leading_single": dict(softness.leading_single),
        "ceiling": dict(ceiling or {}),
        "importance": GAIN if softness.choice is None else SHAP,
        "map": d2_map(frame, d2, softness.qs > 0.5, deformed=strain_of(open_store(glass.store))[1]),
        "predicted": _predicted(qs, d2[atoms]),
        "spectrum": _unpacked(spectrum(qs)),
        "conditional": _conditional(qs, plastic, regions[atoms], seed),
        "packing": packing(frame, classes, eligible),
        "group_values": group_values(classes, atoms, d2[atoms], plastic),
        "at_yield": {
            "strain": glass.strain,
            "fewest": FEWEST["at_yield"],
            **_unpacked(
                score_at_yield(
                    np.where(eligible, softness.qs, np.nan),
                    d2min,
                    glass.threshold,
                    bins=ACTIVATED_BINS,
                )
            ),
        },
        "glasses": [own, *map(dict, spectra)],
        "calibration": _calibration(qs, plastic, regions[atoms], seed),
        "leading": ranked[:leading],
        "violins": [
            violin(
                row["column"],
                x[:, softness.columns.index(row["column"])],
                {name: classes[name][1][atoms] for name in CLASSES},
            )
            for row in ranked[:violins]
        ],
        "dependence": dependent,
        "motifs": motifs(
            glass, x[:, first], qs, plastic, atoms, markers, rng, dependent["together"]
        ),
    }


def _rate(glass: Glass) -> dict[str, float]:
    """Return the time up to the strain in ps, and the mean strain rate in 1/s."""
    times = np.asarray(open_store(glass.store)["time"].values, dtype=np.float64)
    time = float(times[glass.frame] - times[0])
    known = np.isfinite(time) and time > 0
    rate = float(glass.strain[glass.frame]) / (time * 1e-12) if known else np.nan
    return {"time": time if known else np.nan, "strain_rate": rate}


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


def _conditional(
    qs: FloatArray, plastic: BoolArray, regions: AnyArray, seed: int
) -> dict[str, Any]:
    """Return P(plastic|QS), and the QS at which it is 1 and 0.1 times P(plastic)."""
    groups = regions if len(np.unique(regions)) > 1 else None
    result = conditional(qs, plastic, groups=groups, seed=seed)
    enough = np.flatnonzero(result["count"].values >= FEWEST["conditional"])
    ends = {
        f"{end}_{name}": float(result[name].values[enough[k]]) if len(enough) else np.nan
        for end, k in (("hardest", 0), ("softest", -1))
        for name in ("score", "probability", "ratio")
    }
    crossings = {
        name: _unpacked(score_at_ratio(qs, plastic, ratio, groups=groups, seed=seed))
        for name, ratio in (("equal", 1.0), ("tenth", 0.1))
    }
    return {"fewest": FEWEST["conditional"], **_unpacked(result), **ends, **crossings}


def _calibration(
    qs: FloatArray, plastic: BoolArray, regions: AnyArray, seed: int
) -> dict[str, Any]:
    """Compare QS with the share of plastic atoms for balanced classes.

    The models were trained on balanced classes, so QS can only be a probability for
    such classes. The observed share in the glass is converted by Bayes' rule.
    """
    groups = regions if len(np.unique(regions)) > 1 else None
    base = float(plastic.mean())
    curve = calibration_curve(plastic, qs, groups, bins=10, strategy="quantile", seed=seed)
    low, high = wilson_interval(np.rint(curve.observed * curve.count), curve.count)
    ends = {"low": np.fmin(curve.low, low), "high": np.fmax(curve.high, high)}
    balanced = {name: np.full(len(curve.count), np.nan) for name in ("observed", "low", "high")}
    if 0.0 < base < 1.0:
        some = curve.count > 0
        for name, share in {"observed": curve.observed, **ends}.items():
            balanced[name][some] = corrected_probability(share[some], 0.5, training_share=base)
    apart = np.abs(balanced["observed"] - curve.predicted)
    return {
        "predicted": curve.predicted,
        **balanced,
        "count": curve.count,
        "deviation": float(np.nansum(curve.count * apart) / curve.count.sum()),
    }


def _predicted(qs: FloatArray, d2min: FloatArray) -> dict[str, Any]:
    """Return the fraction of atoms predicted as plastic (QS > 0.5) in bins of D²."""
    edges = np.unique(np.quantile(d2min, D2_SHARES))
    if len(edges) < 2:
        empty = {name: np.empty(0) for name in ("median", "share", "error", "count")}
        return {"edges": edges, **empty}
    place = np.clip(np.searchsorted(edges, d2min, side="right") - 1, 0, len(edges) - 2)
    median = np.full(len(edges) - 1, np.nan)
    for k in np.unique(place):
        median[k] = np.median(d2min[place == k])
    return {"edges": edges, "median": median, **_unpacked(predicted_share(qs, d2min, edges=edges))}
