"""The report of a softness study: one page with its figures and numbers."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from mgdask.explore.plots import draw_slab
from mgdask.store.open import open_store
from mgdask.studies.learn_softness import Softness
from mgdask.studies.score import conditional, mass_radius, predicted_share, score_at_yield, spectrum
from mgdask.studies.softness import Glass

HARD, SOFT = 0.1, 0.7
"""Bounds of the hardest and the softest atoms in Wang & Jain (2019); where no atom is there, the extreme tenths are taken."""


def softness_report(found: Softness, glass: Glass, folder: str | Path) -> Path:
    """Write report.html and its figures for the glass that was set aside; returns the page's path.

    Figures: spectrum of QS, P(plastic | QS) beside P(plastic), share predicted plastic against the true D2min, QS of the atoms that turn
    plastic at each strain, mass-radius relation of the softest and the hardest atoms, importance of the columns, and a slice with QS
    against D2min.
    """
    import matplotlib

    matplotlib.use("Agg", force=False)
    from matplotlib.figure import Figure

    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    d2min, there = glass.d2min(), np.isfinite(found.qs)
    plastic = d2min[glass.frame] > glass.threshold
    figure = Figure(figsize=(13.0, 7.4), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    lines = [
        _spectrum(panels[0], found.qs[there]), _conditional(panels[1], found.qs[there], plastic[there]),
        _predicted(panels[2], found.qs[there], d2min[glass.frame][there]), _at_yield(panels[3], found.qs, d2min, glass),
        _mass(panels[4], found.qs, glass), _importance(panels[5], found),
    ]  # fmt: skip
    figure.savefig(target / "softness.png", dpi=110)
    _slice(Figure, found, glass, d2min, target / "slice.png")
    text = "\n".join(f"<li>{html.escape(line)}</li>" for line in lines)
    page = target / "report.html"
    page.write_text(
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Quench-in softness of {html.escape(glass.name)}</title>"
        "<style>body{font:16px/1.5 sans-serif;max-width:75em;margin:2em auto}img{max-width:100%}pre{background:#f4f4f4;padding:1em}</style>"
        f"<h1>Quench-in softness of {html.escape(glass.name)}</h1><p>{html.escape(str(glass))}</p><pre>{html.escape(str(found))}</pre>"
        f"<img src='softness.png' alt='Six figures, described below'><ol>{text}</ol><img src='slice.png' alt='A slice, coloured by QS and by D2min'>"
        "<p>Method: Wang, Jain, Nat. Commun. 10, 5537 (2019). Models, scores and numbers lie beside this page.</p></html>\n",
        encoding="utf-8",
    )
    return page


def _spectrum(axes: Any, qs: Any) -> str:
    told = spectrum(qs)
    axes.step(told.score, told.density, where="mid")
    axes.set(xlabel="QS", ylabel="density", title="spectrum")
    mean, std = float(told["mean"]), float(told["std"])
    return f"Spectrum of QS over {told.attrs['atoms']} atoms: mean {mean:.3f}, standard deviation {std:.3f} (heterogeneity)."


def _conditional(axes: Any, qs: Any, plastic: Any) -> str:
    told = conditional(qs, plastic, bins=20).where(lambda d: d["count"] >= 20)
    axes.errorbar(told.score, told.probability, told.error, fmt="o", ms=4, capsize=2)
    base = float(plastic.mean())
    axes.axhline(base, color="0.5", ls=":")
    axes.set(xlabel="QS", ylabel="P(plastic | QS)", title="probability; dotted: of all atoms")
    best = float(told.ratio.max())
    return (
        f"P(plastic | QS) in bins of at least 20 atoms; the softest bin has {best:.1f} times P(plastic) = {base:.3f}."
    )


def _predicted(axes: Any, qs: Any, d2min: Any) -> str:
    edges = np.unique(np.quantile(d2min, np.linspace(0, 1, 11)))
    told = predicted_share(qs, d2min, edges=edges)
    axes.errorbar(told.value, told.share, told.error, fmt="s", ms=4, capsize=2)
    axes.set(
        xlabel="D²min (Å²), tenths of the atoms", ylabel="share with QS > 0.5", title="predicted plastic", xscale="log"
    )
    first, last = float(told.share[0]), float(told.share[-1])
    return f"Share predicted plastic, by tenths of the true D2min: from {first:.2f} in the lowest to {last:.2f} in the highest."


def _at_yield(axes: Any, qs: Any, d2min: Any, glass: Glass) -> str:
    told = score_at_yield(qs, d2min, glass.threshold)
    some = told["count"].values >= 5
    axes.errorbar(glass.strain[some], told.score.values[some], told.error.values[some], fmt="o-", ms=4, capsize=2)
    axes.axhline(np.nanmean(qs), color="0.5", ls=":")
    axes.set(xlabel="strain", ylabel="mean QS of those that turn plastic", title="who turns when; dotted: all atoms")
    return f"QS of the atoms that turn plastic at each strain (frames with at least 5 such atoms: {int(some.sum())})."


def _mass(axes: Any, qs: Any, glass: Glass) -> str:
    frame, parts = open_store(glass.store).isel(frame=0), []
    for name, mask, fall_back in (
        ("softest", qs > SOFT, qs >= np.nanquantile(qs, 0.9)),
        ("hardest", qs < HARD, qs <= np.nanquantile(qs, 0.1)),
    ):
        enough = mask.sum() >= 50
        chosen = mask if enough else fall_back
        told = mass_radius(frame, chosen)
        axes.loglog(told.r, told.mass, label=f"{name}: D = {float(told.dimension):.2f}")
        what = (f"QS > {SOFT}" if name == "softest" else f"QS < {HARD}") if enough else "extreme tenth"
        parts.append(f"{name} ({what}, {told.attrs['atoms']} atoms) D = {float(told.dimension):.2f}")
    axes.set(xlabel="r (Å)", ylabel="atoms within r", title="mass-radius relation")
    axes.legend()
    return "Mass-radius dimension: " + ", ".join(parts) + "; 3 for atoms spread evenly."


def _importance(axes: Any, found: Softness, n: int = 12) -> str:
    gain = np.mean([model.booster.feature_importance("gain") for model in found.models], axis=0)
    order = np.argsort(-gain, kind="stable")[:n]
    names = [found.columns[k].split("/", 1)[-1] for k in order]
    axes.barh(range(len(order)), gain[order][::-1] / gain.sum(), tick_label=names[::-1])
    axes.tick_params(axis="y", labelsize=7)
    axes.set(xlabel="share of the gain", title="leading columns")
    return f"Leading columns by gain: {', '.join(names[:5])}."


def _slice(make: Any, found: Softness, glass: Glass, d2min: Any, path: Path) -> None:
    ds = open_store(glass.store).isel(frame=0)
    figure = make(figsize=(12.0, 5.2), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, values, label in zip(panels, (found.qs, d2min[glass.frame]), ("QS", "D²min (Å²)"), strict=True):
        array = xr.DataArray(values, dims="atom", coords={"atom_id": ds["atom_id"].variable})
        drawn = draw_slab(axes, ds, array, slab=6.0, along="y", cmap="magma", size=70)
        figure.colorbar(drawn, ax=axes, label=label, shrink=0.85)
        axes.set_title(f"{label}, a slice of 6 Å")
    figure.savefig(path, dpi=110)
