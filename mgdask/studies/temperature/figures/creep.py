"""Figures of creep: Fig. 2 of Liu X. et al. (2022)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgdask.plot.style import DARK_GREY, figure, letter_panels, save, style
from mgdask.studies.temperature.figures.looks import RUN_LOOKS, form_text, species_look

if TYPE_CHECKING:
    from mgdask.plot.style import Axes
    from mgdask.studies.temperature.views import CreepCurve, Distribution, StressStrain


FLOOR = 1e-5
"""Smallest density that is shown, relative to the largest."""


@style()
def draw_creep(
    curves: Sequence[CreepCurve], path: Path, stress_strain: Sequence[StressStrain] = ()
) -> None:
    """Draw creep curves with their steady stages, and the stress-strain curve.

    These are Figs. 2A and 2B of Liu X. et al. (2022). Without stress in a store, there
    is no panel for it.

    Parameters
    ----------
    curves
        Creep curves.
    path
        PNG file to write.
    stress_strain
        Stress-strain curves. Empty: no panel.

    Examples
    --------
    >>> draw_creep(curves, "creep.png")  # doctest: +SKIP
    """
    parts = [kind for kind, some in (("stress", stress_strain), ("creep", curves)) if some]
    fig = figure(10.6, 4.6) if len(parts) == 2 else figure(7.4, 4.8)
    panels = fig.subplots(1, len(parts), squeeze=False)[0]
    for axes, part in zip(panels, parts, strict=True):
        if part == "creep":
            _draw_curves(axes, curves)
        else:
            for k, one in enumerate(stress_strain):
                look = species_look(k)
                axes.plot(100 * one.strain, one.stress, color=look.color, lw=1.6, label=one.name)
            axes.set(xlabel="strain (%)", ylabel="stress (GPa)")
    if len(panels) > 1:
        letter_panels(panels)
    entries = [axes.get_legend_handles_labels() for axes in panels]
    fig.legend(
        [handle for handles, _ in entries for handle in handles],
        [label for _, labels in entries for label in labels],
        loc="outside lower center",
        ncols=2,
        fontsize=9,
    )
    save(fig, path)


def _draw_curves(axes: Axes, curves: Sequence[CreepCurve]) -> None:
    for k, one in enumerate(curves):
        look = species_look(k)
        stress = f", {one.stress:g} GPa" if np.isfinite(one.stress) else ""
        axes.plot(
            one.time,
            100 * one.strain,
            look.marker,
            ls="-",
            lw=0.8,
            ms=3.5,
            color=look.color,
            label=f"{one.name}{stress}",
        )
        if np.isfinite(one.rate) and not one.reason:
            ends = np.array(one.window)
            axes.axvspan(*ends, color=look.color, alpha=0.08, lw=0)
            axes.plot(
                ends,
                100 * (one.offset + one.rate * ends),
                color="black",
                lw=1.8,
                ls=("-", "--", ":")[k % 3],
                label=f"steady, {one.rate:.2g} ± {one.rate_error:.1g} 1/ps",
            )
        else:
            axes.plot([], [], " ", label="no steady stage found")
    axes.set(xlabel="time at constant stress (ps)", ylabel="creep strain (%)")


@style()
def draw_distributions(
    distributions: Sequence[Distribution], path: Path, glass_temperature: float | None = None
) -> None:
    """Draw distributions of T_ML with their Gaussian peaks, one panel per form.

    This is Fig. 2C of Liu X. et al. (2022), with the unstressed control beside.

    Parameters
    ----------
    distributions
        Distributions of applications and controls in one or both forms.
    path
        PNG file to write.
    glass_temperature
        Glass transition in K, drawn as a line. Default: no line.

    Examples
    --------
    >>> draw_distributions(distributions, "distribution.png")  # doctest: +SKIP
    """
    forms = list(dict.fromkeys(one.form for one in distributions))
    fig = figure(5.4 * len(forms) if len(forms) > 1 else 7.4, 4.9)
    panels = fig.subplots(1, len(forms), squeeze=False)[0]
    for axes, form in zip(panels, forms, strict=True):
        some = [one for one in distributions if one.form == form]
        n_applied = 0
        for one in some:
            color = (
                DARK_GREY if one.control else species_look(3 if n_applied == 0 else n_applied).color
            )
            _draw_one(axes, one, color, filled=not one.control and n_applied == 0)
            n_applied += not one.control
        if glass_temperature is not None:
            axes.axvline(glass_temperature, color="black", lw=1.0, ls=":", label="glass transition")
        used = np.concatenate([one.edges[1:][one.density > 0] for one in some])
        axes.set_xlim(right=1.05 * float(used.max(initial=1.0)))
        axes.set(xlabel="$T_{ML}$ (K)", title=form_text(form))
        axes.set_yscale("log")
        positive = np.concatenate([one.density[one.density > 0] for one in some])
        # a peak falls without end on this axis; the bins of single atoms are its bottom
        lowest = max(float(positive.min(initial=1.0)), FLOOR * float(positive.max(initial=0.0)))
        axes.set_ylim(bottom=0.5 * lowest, top=2.0 * float(positive.max(initial=lowest)))
    panels[0].set_ylabel("probability density (1/K)")
    entries: dict[str, object] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    fig.legend(
        list(entries.values()), list(entries), loc="outside lower center", ncols=3, fontsize=9
    )  # type: ignore[call-overload]
    letter_panels(panels)
    save(fig, path)


def _draw_one(axes: Axes, one: Distribution, color: str, *, filled: bool) -> None:
    look = RUN_LOOKS["control" if one.control else "application"]
    name = f"{one.name}, unstressed" if one.control else one.name
    line = "--" if one.control else "-"
    if filled:
        axes.stairs(one.density, one.edges, fill=True, color=color, alpha=0.18)
    axes.stairs(one.density, one.edges, color=color, ls=line, lw=1.3, label=name)
    if np.isfinite(one.center) and np.isfinite(one.width) and one.width > 0:
        x = np.linspace(one.edges[0], one.edges[-1], 401)
        peak = one.area / (one.width * np.sqrt(2 * np.pi))
        axes.plot(
            x,
            peak * np.exp(-0.5 * ((x - one.center) / one.width) ** 2),
            color=color,
            lw=2.2,
            ls=":" if look.filled else "-.",
            label=f"Gaussian peak of {one.name}",
        )
