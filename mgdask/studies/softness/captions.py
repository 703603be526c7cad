"""Captions and texts of the softness report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mgdask.studies.softness.figures import short

Numbers = Mapping[str, Any]

QS = (
    "Quench-in softness (QS) measures how likely an atom is to turn plastic when the glass is "
    "deformed (Wang, Jain, Nat. Commun. 10, 5537 (2019)). It is the output of a classifier that "
    "reads only the undeformed structure, as it was quenched in. Atoms with QS near 1 are soft, "
    "and those with QS near 0 are hard. The classifier was trained on equal numbers of plastic and "
    "other atoms, so QS is a probability for balanced classes. In the glass itself, plastic atoms "
    "are rarer."
)
INTERSTICE = (
    "An interstice is empty space between an atom and its neighbors. Atoms are spheres with the "
    "radius of their element. The interstice is the fraction that no sphere covers: of the line "
    "to a neighbor (distance), of a triangle of neighbors (area), or of the tetrahedron that they "
    "form with the atom (volume). A distance interstice is negative if spheres overlap. Mean, "
    "minimum, maximum and standard deviation over the neighbors describe an atom."
)
COLUMNS = (
    "The score is computed from structural features, one number per atom and column. "
    "A column's name states the interstice and its statistic over the neighbors, such as "
    "the mean or the standard deviation (std). Names such as 'max of area mean' are medium-range: "
    "the largest 'area mean' among the neighbors."
)
PAPER = (
    ("interstices", "AUC-ROC", 0.771, "roc_auc"),
    ("interstices", "recall", 0.742, "recall"),
    ("symmetry functions", "AUC-ROC", 0.751, "roc_auc"),
)
"""Scores of Cu65Zr35 in the paper: features, score, its value, and our metric."""


def feature_kind(features: Sequence[str]) -> str:
    """Return which features of the paper the variables of a store represent.

    Parameters
    ----------
    features
        Names of the variables.

    Returns
    -------
    kind
        "interstices", "symmetry functions", or "other features".

    Examples
    --------
    >>> feature_kind(["interstice", "mediumrange_interstice"])
    'interstices'
    """
    if features and all("interstice" in name for name in features):
        return "interstices"
    if features and all("symmetry_functions" in name for name in features):
        return "symmetry functions"
    return "other features"


def rounded(value: float | None, digits: int = 3) -> str:
    """Format a number with fixed digits.

    Parameters
    ----------
    value
        Number to format.
    digits
        Digits after the decimal point.

    Returns
    -------
    text
        The number as text, or a dash if there is none or it is not finite.

    Examples
    --------
    >>> rounded(0.71828), rounded(float("nan"))
    ('0.718', '–')
    """
    return "–" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def with_error(value: float | None, error: float | None, digits: int = 3) -> str:
    """Format a number and its standard error, or say why it has none.

    Parameters
    ----------
    value
        Number to format.
    error
        Its standard error; None or NaN if the group has too few atoms for one.
    digits
        Digits after the decimal point.

    Returns
    -------
    text
        The number with its error, or with the reason why it has none. A dash if
        there is no number.

    Examples
    --------
    >>> with_error(0.71828, 0.04), with_error(0.71828, float("nan"))
    ('0.718 ± 0.040', '0.718 (no error: too few atoms)')
    """
    number, deviation = rounded(value, digits), rounded(error, digits)
    none = rounded(None)
    if none in (number, deviation):
        return number if number == none else f"{number} (no error: too few atoms)"
    return f"{number} ± {deviation}"


def source_text(numbers: Numbers) -> str:
    """Describe the source of QS: the columns, and the target of training.

    Parameters
    ----------
    numbers
        Result of ``softness_numbers``.

    Returns
    -------
    text
        Sentences on the columns, and on the target if it is not the paper's.
    """
    columns = numbers["columns"]
    if numbers["source"] == "leading":
        text = f"QS comes from the {columns} leading columns, as in the paper, which keeps 15."
    else:
        text = (
            f"QS comes from all {columns} columns. The paper's QS comes from its 15 leading "
            "columns; the option --qs leading does the same."
        )
    if numbers["target"] == "rank":
        text += (
            " The models learned the rank of D² among balanced atoms, not the two classes of the "
            "paper, so QS is an expected rank rather than a probability."
        )
    return text


def difference_text(numbers: Numbers) -> str:
    """Describe the differences from the paper's glasses that affect the scores.

    Parameters
    ----------
    numbers
        Result of ``softness_numbers``.

    Returns
    -------
    text
        Sentences on the number of atoms, the strain rate and the potential.
    """
    atoms, plastic = numbers["train_atoms"], numbers["train_plastic"]
    trained = "" if atoms is None else f" against {atoms} with {plastic} plastic ones here"
    rate = numbers["strain_rate"]
    here = (
        f"{rate:.2g} per s ({numbers['time']:.4g} ps) here" if np.isfinite(rate) else "unknown here"
    )
    return (
        "The scores differ from the paper's because the glasses differ. The paper trains on two "
        "glasses "
        f"of 345 600 atoms each{trained}. It quenches at 5e10 K/s and reaches "
        f"4 % strain at 2.5e7 per s (1.6 ns); the strain rate is {here}. Its "
        "potential is that of Mendelev et al. (2007). A store does not record its quench rate and "
        "potential. The likely reasons are fewer atoms to learn from, faster quenching and faster "
        "deformation. The paper reports the mean over single models, so compare it with the "
        "single models here, not with their mean score."
    )


def prediction_caption(numbers: Numbers) -> list[str]:
    """Return the caption of the figure of predicted plastic atoms.

    Parameters
    ----------
    numbers
        Result of ``softness_numbers``.

    Returns
    -------
    sentences
        One string per sentence.
    """
    slab, share = numbers["map"], numbers["predicted"]["share"]
    caption = [
        f"(a) D² at a strain of {100 * numbers['strain']:.1f} % in a slice of {slab['slab']:g} Å "
        f"normal to {slab['normal'].upper()}, interpolated between its {slab['atoms']} atoms at "
        f"their undeformed positions. White rings: the {len(slab['flagged'])} atoms of the slice "
        f"with QS > 0.5. The deformed direction is {slab['up'].upper()}."
    ]
    if len(share):
        caption.append(
            f"(b) Fraction of atoms predicted as plastic (QS > 0.5) by their D²: "
            f"{100 * share[0]:.0f} % in the lowest bin and {100 * share[-1]:.0f} % in the highest. "
            "Points are medians of D². Horizontal bars span a bin; vertical bars are standard "
            "errors."
        )
    auc = numbers["single"].get("roc_auc")
    if auc is not None:
        caption.append(
            f"The AUC-ROC of QS is {rounded(auc['ensemble']['value'])}. That of single models is "
            f"{rounded(auc['mean'])} on average, with a standard deviation of "
            f"{rounded(auc['deviation'])}."
        )
    return caption


def score_caption(numbers: Numbers) -> list[str]:
    """Return the caption of the figure of the distribution of QS.

    Parameters
    ----------
    numbers
        Result of ``softness_numbers``.

    Returns
    -------
    sentences
        One string per sentence.
    """
    spectrum = numbers["spectrum"]
    return [
        f"(a) QS of {spectrum['atoms']} atoms: mean {rounded(spectrum['mean'])}, standard "
        f"deviation {rounded(spectrum['std'])}.",
        *_conditional_caption(numbers["conditional"]),
        *_packing_caption(numbers["packing"]),
        "(d) Interstice distributions of the hardest and the softest atoms, between the 1st and "
        "the 99th percentile of all atoms, in standard deviations from the mean. Transverse "
        "bars are "
        "medians; longitudinal bars span the quartiles.",
        *_yield_caption(numbers["at_yield"]),
        *_glasses_caption(numbers["glasses"]),
    ]


def _conditional_caption(conditional: Numbers) -> list[str]:
    equal, tenth = conditional["equal"], conditional["tenth"]
    caption = [
        "(b) P(plastic|QS) with 95 % intervals over regions: "
        f"{rounded(conditional['hardest_ratio'], 2)} times P(plastic) in the hardest bin of at "
        f"least {conditional['fewest']} atoms, {rounded(conditional['softest_ratio'], 2)} times "
        "in the softest. For a bin without plastic atoms, a triangle marks the upper end."
    ]
    if np.isfinite(equal["score"]):
        ends = (
            f" [{rounded(equal['low'], 2)}, {rounded(equal['high'], 2)}]"
            if np.isfinite(equal["low"])
            else ""
        )
        caption.append(
            f"The ratio is 1 at QS = {rounded(equal['score'], 2)}{ends}. In the paper, it is 1 "
            "at 0.5."
        )
    if np.isfinite(tenth["score"]):
        caption.append(f"It is 0.1 at QS = {rounded(tenth['score'], 2)}, in the paper near 0.1.")
    else:
        caption.append("It does not fall to 0.1. In the paper, it does near QS = 0.1.")
    return caption


def _packing_caption(packing: Numbers) -> list[str]:
    groups = packing["groups"]
    if not groups:
        return []
    rules = "; ".join(f"{name}: {group['rule']}" for name, group in groups.items() if name != "all")
    caption = [
        f"(c) M(r), the number of other atoms of a group within r of one of its atoms ({rules}). "
    ]
    slopes = [
        f"{_slope(group, 0)} below and {_slope(group, 1)} beyond for {name} atoms"
        for name, group in groups.items()
        if np.isfinite(group["dimension"][0])
    ]
    if slopes:
        caption.append(
            f"Slopes D below (from {packing['start']:.1f} Å) and beyond {packing['split']:g} Å: "
            f"{', '.join(slopes)}. D = 3 is space-filling; D < 3 is fractal."
        )
    else:
        caption.append(f"M(r) ends at {packing['end']:.1f} Å, which is too short for two slopes.")
    if packing["free"]:
        caption.append(
            "The eligible atoms do not fill the cell, so M(r) grows more slowly at large r. "
            "Compare D of a group with that of all atoms."
        )
    caption.append(
        "Inset: g(r) of each group, for pairs within the group. A first peak that would hide the "
        "other group is cut off, and its height is given."
    )
    return caption


def _slope(group: Numbers, k: int) -> str:
    return with_error(group["dimension"][k], group["dimension_error"][k])


def _yield_caption(at_yield: Numbers) -> list[str]:
    shown = np.flatnonzero(at_yield["count"] >= at_yield["fewest"])
    if not len(shown):
        return []
    middle = len(at_yield["quantile"]) // 2
    ends = " and ".join(
        f"{rounded(at_yield['quantiles'][middle, k], 2)} at {100 * at_yield['strain'][k]:.2f} %"
        for k in dict.fromkeys((shown[0], shown[-1]))
    )
    return [
        "(e) QS of the atoms activated at each strain, in the first frame with D² above the "
        f"threshold, if at least {at_yield['fewest']} are. Shades are shares; lines are "
        "quantiles. The "
        f"median is {ends} strain."
    ]


def _glasses_caption(glasses: Sequence[Numbers]) -> list[str]:
    text = "; ".join(
        f"{one['glass']} std(QS) {rounded(one['std']['value'])}, "
        f"{100 * one['hard']['value']:.1f} % of the atoms with QS < 0.1"
        for one in glasses
    )
    return [f"(f) Distributions of QS from the same models: {text}."]


def column_caption(numbers: Numbers) -> list[str]:
    """Return the caption of the figure of the leading columns.

    Parameters
    ----------
    numbers
        Result of ``softness_numbers``.

    Returns
    -------
    sentences
        One string per sentence.
    """
    leading = ", ".join(short(row["column"]) for row in numbers["leading"][:5])
    caption = [f"(a) Leading columns by {numbers['importance']}: {leading}."]
    for letter, curve in zip("bc", numbers["dependence"]["alone"], strict=False):
        caption.append(
            f"({letter}) Setting {short(curve['column'])} to {curve['value'][0]:.3g} for all atoms "
            f"changes the mean log-odds by {curve['signed'][0]:+.2f}; setting it to "
            f"{curve['value'][-1]:.3g} changes them by {curve['signed'][-1]:+.2f}."
        )
    if numbers["dependence"]["alone"]:
        caption.append("Gray: standard deviation over the models. Below: number of atoms.")
    return caption


def dependence_caption(numbers: Numbers) -> list[str]:
    """Return the caption of the figure of partial dependence on two columns.

    Parameters
    ----------
    numbers
        Result of ``softness_numbers``.

    Returns
    -------
    sentences
        One string per sentence.
    """
    together = numbers["dependence"]["together"]
    if not together:
        return ["Fewer than two columns vary, so there is no map."]
    where = ", ".join(
        f"{100 * motif['negative_share']:.0f} % of {name}"
        for name, motif in numbers["motifs"].items()
        if name.startswith(("<", "other")) and motif["atoms"]
    )
    return [
        "Partial dependence of the log-odds on the top two columns, minus the mean: from "
        f"{together['signed'].min():+.2f} to {together['signed'].max():+.2f}; negative means low "
        "plastic susceptibility. The black line is 0.",
        f"The dependence is negative for {100 * together['negative_share']:.0f} % of all atoms"
        f"{f', {where}' if where else ''}.",
        f"The correlation of the columns is {rounded(together['correlation'], 2)}. Small markers "
        "are atoms drawn at random; large markers are medians of the motifs. Regions without "
        "markers "
        f"are extrapolated. The map is a mean over {numbers['dependence']['samples']} atoms drawn "
        "at random.",
    ]


def calibration_caption(numbers: Numbers) -> list[str]:
    """Return the caption of the calibration curve.

    Parameters
    ----------
    numbers
        Result of ``softness_numbers``.

    Returns
    -------
    sentences
        One string per sentence.
    """
    deviation = numbers["calibration"]["deviation"]
    return [
        "Fraction of plastic atoms by tenths of QS, converted by Bayes' rule from the share of "
        f"plastic atoms in the glass, {100 * numbers['base']:.1f} %, to equally large classes, on "
        "which the models were trained. A calibrated QS lies on the dotted line; the mean "
        f"distance from it is {rounded(deviation)}. Bars are 95 % intervals over regions."
    ]
