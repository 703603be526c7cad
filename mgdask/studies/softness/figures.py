"""Figures of a softness report, drawn of its numbers alone; the slice also of the glass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import xarray as xr

from mgdask.plot.environments import draw_slab
from mgdask.store.open import open_store
from mgdask.studies.softness.data import Glass
from mgdask.studies.softness.training import Softness

Numbers = Mapping[str, Any]

PLASTIC, OTHER, ALL = "#D55E00", "#0072B2", "0.35"
KIND = {"softest": ("#E69F00", "-"), "hardest": ("#009E73", "--"), "random": ("0.35", ":")}
"""Okabe and Ito's colours, told apart in every common colour blindness; classes also differ in line or mark."""
MOTIF = {
    "<0,0,12,0,0>": ("o", "#F0E442"),
    "<0,0,12,4,0>": ("s", "#56B4E9"),
    "other Kasper": ("^", "white"),
    "plastic": ("X", PLASTIC),
}


def short(column: str) -> str:
    """A column without its variable's name: "interstice/area_mean" is "area mean".

    >>> short("interstice/area_mean")
    'area mean'
    """
    return column.split("/", 1)[-1].replace("_", " ")


def _label(column: str, told: Numbers) -> str:
    units = {row["column"]: row["units"] for row in told["leading"]}
    return short(column) if units[column] == "1" else f"{short(column)} ({units[column]})"


def _figure(width: float, height: float) -> Any:
    import matplotlib

    matplotlib.use("Agg", force=False)
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _write(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=130)


def _name(panels: Any) -> None:
    for letter, axes in zip("abcdefgh", panels, strict=False):
        axes.set_title(f"({letter})", loc="left", fontweight="bold")


def draw_scores(told: Numbers, path: Path) -> None:
    """Six panels: spectrum, P(plastic | QS), share predicted plastic, QS at yield, mass-radius relation, g(r)."""
    figure = _figure(13.0, 7.6)
    panels = figure.subplots(2, 3).ravel()
    _spectrum(panels[0], told["spectrum"])
    _conditional(panels[1], told["conditional"])
    _predicted(panels[2], told["predicted"], told["threshold"])
    _at_yield(panels[3], told["at_yield"], told["spectrum"]["mean"])
    _mass(panels[4], told["extremes"])
    _rdf(panels[5], told["extremes"], told["rdf"])
    _name(panels)
    _write(figure, path)


def _spectrum(axes: Any, told: Numbers) -> None:
    axes.fill_between(told["score"], told["density"], step="mid", color="0.8", lw=0)
    axes.step(told["score"], told["density"], where="mid", color=ALL)
    axes.axvline(told["mean"], color="black", ls=":", label="mean")
    axes.set(
        xlabel="quench-in softness QS",
        ylabel="density of atoms",
        title="spectrum",
        xlim=(0, 1),
        ylim=(0, None),
    )
    axes.legend(frameon=False)


def _conditional(axes: Any, told: Numbers) -> None:
    some = told["count"] >= told["fewest"]
    axes.errorbar(
        told["score"][some],
        told["probability"][some],
        told["error"][some],
        fmt="o",
        ms=4,
        capsize=2,
        color=PLASTIC,
    )
    axes.axhline(told["base"], color="black", ls=":", label="all atoms")
    axes.set(
        xlabel="quench-in softness QS",
        ylabel="P(plastic | QS)",
        title="probability of turning plastic",
    )
    axes.set(xlim=(0, 1), ylim=(0, None))
    axes.legend(frameon=False)


def _predicted(axes: Any, told: Numbers, threshold: float) -> None:
    edges, middle = told["edges"], told["median"]
    if len(middle):
        across = np.abs(np.stack([middle - edges[:-1], edges[1:] - middle]))
        axes.errorbar(
            middle,
            told["share"],
            told["error"],
            across,
            fmt="s",
            ms=4,
            capsize=2,
            color=ALL,
            elinewidth=1.0,
        )
        axes.axvline(threshold, color=PLASTIC, ls=":", label=f"plastic above {threshold:g} Å²")
        axes.legend(frameon=False)
    axes.set(
        xlabel="D²min (Å²), tenths of the atoms",
        ylabel="share with QS > 0.5",
        title="predicted plastic",
        xscale="log",
    )


def _at_yield(axes: Any, told: Numbers, mean: float) -> None:
    some = told["count"] >= told["fewest"]
    axes.errorbar(
        100 * told["strain"][some],
        told["score"][some],
        told["error"][some],
        fmt="o-",
        ms=4,
        capsize=2,
        color=PLASTIC,
    )
    axes.axhline(mean, color="black", ls=":", label="all atoms")
    axes.set(
        xlabel="strain (%)",
        ylabel="mean QS of atoms turning plastic",
        title="who turns plastic when",
    )
    axes.legend(frameon=False)


def _mass(axes: Any, told: Numbers) -> None:
    from matplotlib.ticker import FixedLocator, NullFormatter

    for name, one in told.items():
        colour, line = KIND[name]
        some = one["mass"] > 1.0
        axes.loglog(
            one["r"][some],
            one["mass"][some] - 1.0,
            color=colour,
            ls=line,
            lw=2,
            label=f"{name}, D = {one['dimension']:.2f}",
        )
    axes.set(
        xlabel="r (Å)", ylabel="other atoms of the class within r", title="mass-radius relation"
    )
    axes.set(xlim=(2.0, None), ylim=(0.1, None))
    axes.xaxis.set_major_locator(FixedLocator([2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0]))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    if told:
        axes.legend(frameon=False)


def _rdf(axes: Any, told: Numbers, whole: Numbers) -> None:
    for name in ("softest", "hardest"):
        if name in told:
            colour, line = KIND[name]
            axes.plot(whole["r"], told[name]["g"], color=colour, ls=line, lw=1.5, label=name)
    if whole:
        axes.plot(whole["r"], whole["g"], color="black", ls=":", lw=1.5, label="all atoms")
        axes.axhline(1.0, color="0.8", lw=0.8, zorder=0)
        axes.legend(frameon=False)
        axes.set(xlim=(1.5, float(whole["r"][-1])))
    axes.set(
        xlabel="r (Å)",
        ylabel="g(r) among atoms of a class",
        title="radial distribution",
        ylim=(0, None),
    )


def draw_features(told: Numbers, path: Path) -> None:
    """Importance of the leading columns, and the distribution of each among plastic and other atoms."""
    figure = _figure(13.0, 5.6)
    bars, halves = figure.subplots(1, 2, width_ratios=(1.0, 1.9))
    rows = told["leading"][::-1]
    bars.barh(
        [short(row["column"]) for row in rows],
        [100 * row["importance"] for row in rows],
        color="0.6",
    )
    bars.set(xlabel=fill(f"share of the {told['importance']} (%)", 32), title="importance")
    for k, one in enumerate(told["violins"]):
        top = np.nanmax([one["plastic"], one["other"]]) / 0.44
        for name, colour, side in (("plastic", PLASTIC, 1.0), ("other", OTHER, -1.0)):
            label = {"plastic": "plastic", "other": "not plastic"}[name] if k == 0 else None
            halves.fill_betweenx(
                one["value"],
                k,
                k + side * one[name] / top,
                color=colour,
                alpha=0.75,
                lw=0,
                label=label,
            )
            first, middle, third = one[f"{name}_quartiles"]
            halves.plot([k + side * 0.05] * 2, [first, third], color="black", lw=1.5)
            halves.plot([k, k + side * 0.3], [middle] * 2, color="black", lw=2.5)
    names = [fill(short(one["column"]), 13) for one in told["violins"]]
    halves.set_xticks(range(len(names)), names, fontsize=9)
    halves.set(
        ylabel="deviations from the mean of all atoms",
        title="plastic against other atoms",
        xlim=(-0.6, len(names) - 0.4),
        ylim=(-3.0, 3.0),
    )
    halves.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    _name((bars, halves))
    _write(figure, path)


def draw_dependence(told: Numbers, path: Path) -> None:
    """Mean QS at set values of the leading column, of the second, and of both with the atoms of motifs laid over."""
    alone, together = told["dependence"]["alone"], told["dependence"]["together"]
    figure = _figure(13.0, 5.0)
    places = figure.add_gridspec(2, 3, width_ratios=(1, 1, 1.5), height_ratios=(2.4, 1))
    named = []
    low = min((float((one["qs"] - one["deviation"]).min()) for one in alone), default=0.0)
    high = max((float((one["qs"] + one["deviation"]).max()) for one in alone), default=1.0)
    for k, one in enumerate(alone):
        upper, lower = figure.add_subplot(places[0, k]), figure.add_subplot(places[1, k])
        upper.fill_between(
            one["value"],
            one["qs"] - one["deviation"],
            one["qs"] + one["deviation"],
            color="0.82",
            lw=0,
        )
        upper.plot(one["value"], one["qs"], color="black", marker=".")
        room = 0.05 * (high - low) + 1e-6
        upper.set(ylabel="mean QS", title="partial dependence", ylim=(low - room, high + room))
        lower.stairs(one["count"], one["edges"], fill=True, color="0.6")
        lower.set(xlabel=_label(one["column"], told), ylabel="atoms")
        lower.sharex(upper)
        upper.tick_params(labelbottom=False)
        named.append(upper)
    if together:
        axes = figure.add_subplot(places[:, 2])
        drawn = axes.contourf(together["x"], together["y"], together["qs"].T, 12, cmap="cividis")
        figure.colorbar(drawn, ax=axes, label="mean QS")
        _atoms(axes, told["motifs"])
        axes.set(
            xlabel=_label(together["columns"][0], told),
            ylabel=_label(together["columns"][1], told),
            title="both, and where atoms are",
            xlim=together["x"][[0, -1]],
            ylim=together["y"][[0, -1]],
        )
        named.append(axes)
    _name(named)
    _write(figure, path)


def _atoms(axes: Any, told: Numbers) -> None:
    for name, (mark, colour) in MOTIF.items():
        one = told[name]
        if not one["atoms"]:
            continue
        style = {"marker": mark, "color": colour, "edgecolors": "black"}
        axes.scatter(
            one["drawn"][:, 0], one["drawn"][:, 1], s=14, linewidths=0.35, alpha=0.8, **style
        )
        # the two icosahedral medians often lie in one place
        axes.scatter(
            *one["median"][:2],
            s=240 if mark == "o" else 110,
            linewidths=1.6,
            zorder=4,
            label=name,
            **style,
        )
    axes.legend(
        fontsize=8,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.12),
        ncols=4,
        markerscale=0.6,
        frameon=False,
        handletextpad=0.2,
    )


def draw_slice(found: Softness, glass: Glass, path: Path, *, slab: float = 6.0) -> None:
    """A slice of the undeformed glass coloured by QS, with rings around plastic atoms, and by D2min."""
    frame = open_store(glass.store).isel(frame=0).load()
    d2min = glass.d2min()[glass.frame]
    figure = _figure(13.0, 5.6)
    panels = figure.subplots(1, 2)
    for axes, values, label in zip(
        panels, (found.qs, d2min), ("quench-in softness QS", "D²min (Å²)"), strict=True
    ):
        array = xr.DataArray(values, dims="atom", coords={"atom_id": frame["atom_id"].variable})
        drawn = draw_slab(axes, frame, array, slab=slab, along="y", cmap="cividis", size=60)
        figure.colorbar(drawn, ax=axes, label=label, shrink=0.9)
    depth = frame["position"].values[:, 1] - frame["origin"].values[1]
    there = (np.abs(depth - 0.5 * frame["cell"].values[1, 1]) < 0.5 * slab) & (
        d2min > glass.threshold
    )
    x, z = frame["position"].values[there][:, [0, 2]].T
    for axes, title in zip(
        panels,
        ("before deformation", f"after a strain of {100 * glass.strain[glass.frame]:.1f} %"),
        strict=True,
    ):
        axes.scatter(
            x, z, s=95, facecolors="none", edgecolors=PLASTIC, linewidths=1.6, label="plastic"
        )
        axes.set_title(title)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, frameon=False)
    _name(panels)
    _write(figure, path)
