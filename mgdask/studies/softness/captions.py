"""Captions and texts of the softness report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mgdask.studies.softness.figures import short

Numbers = Mapping[str, Any]

QS = (
    "Quench-in softness (QS) tells how likely an atom is to turn plastic when the glass is "
    "deformed. It is the output of a classifier that reads the undeformed structure alone: QS near "
    "1 is soft, QS near 0 is hard. The classifier learned from equal numbers of plastic and other "
    "atoms, so QS ranks atoms but is not their probability in this glass."
)
COLUMNS = (
    "The score is computed from structural features, one number per atom and column. "
    "An interstice is a gap between an atom and its neighbors: the part of a distance, a "
    "triangle (area) or a tetrahedron (volume) between them that no atomic sphere covers. "
    "A column's name states the interstice and its statistic over the neighbors, such as "
    "the mean or the standard deviation (std). Names such as 'max of area mean' are medium-range: "
    "the largest 'area mean' among the neighbors."
)


def rounded(value: float, digits: int = 3) -> str:
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
        The number as text, or a dash if it is not finite.

    Examples
    --------
    >>> rounded(0.71828), rounded(float("nan"))
    ('0.718', '–')
    """
    return f"{value:.{digits}f}" if np.isfinite(value) else "–"


def score_caption(numbers: Numbers) -> list[str]:
    """Return the caption of the score figure.

    Parameters
    ----------
    numbers
        Result of ``softness_numbers``.

    Returns
    -------
    sentences
        One string per sentence.
    """
    spectrum, conditional = numbers["spectrum"], numbers["conditional"]
    return [
        f"(a) QS of {spectrum['atoms']} atoms: mean {rounded(spectrum['mean'])}, standard "
        f"deviation {rounded(spectrum['std'])}.",
        "(b) P(plastic | QS) with standard errors: "
        f"{rounded(conditional['hardest_ratio'], 2)} times P(plastic) in the hardest bin of at "
        f"least {conditional['fewest']} atoms, {rounded(conditional['softest_ratio'], 2)} times "
        "in the softest.",
        *_predicted_caption(numbers["predicted"]),
        *_yield_caption(numbers["at_yield"]),
        *_class_caption(numbers["extremes"], numbers["rdf"]),
    ]


def _predicted_caption(predicted: Numbers) -> list[str]:
    share = predicted["share"]
    if not len(share):
        return []
    return [
        f"(c) QS is above 0.5 for {100 * share[0]:.0f} % of the atoms in the lowest tenth of D²min "
        f"and for {100 * share[-1]:.0f} % in the highest. Points are medians; horizontal bars span "
        "a tenth."
    ]


def _yield_caption(at_yield: Numbers) -> list[str]:
    shown = np.flatnonzero(at_yield["count"] >= at_yield["fewest"])
    if not len(shown):
        return []
    ends = " and ".join(
        f"{rounded(at_yield['score'][k], 2)} at a strain of {100 * at_yield['strain'][k]:.2f} %"
        for k in dict.fromkeys((shown[0], shown[-1]))
    )
    return [
        f"(d) Mean QS of the atoms that turn plastic at each strain, if at least "
        f"{at_yield['fewest']} do: {ends}."
    ]


def _class_caption(extremes: Numbers, rdf: Numbers) -> list[str]:
    if not extremes:
        return []
    slopes = ", ".join(
        f"{rounded(group['dimension'], 2)} {name}" for name, group in extremes.items()
    )
    near = " and ".join(
        f"{rounded(extremes[name]['near_ratio'], 2)} times ({name})"
        for name in ("softest", "hardest")
        if name in extremes
    )
    return [
        f"(e) Slope D of the mass-radius relation: {slopes}; 3 means spread evenly.",
        f"(f) Within {rdf['near']:.1f} Å an atom has {near} as many neighbors of its own class "
        "as if the class were drawn at random.",
    ]


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
    caption = [
        f"(a) Leading columns by {numbers['importance']}: {leading}.",
        "(b) Distributions among plastic and other atoms, between the 1st and the 99th percentile. "
        "The scale is the standard deviation of all atoms. Bars across are medians; bars along "
        "span the quartiles.",
    ]
    for row, violin in zip(numbers["leading"][:1], numbers["violins"], strict=False):
        plastic, other = (
            rounded(violin[f"{name}_quartiles"][1], 2) for name in ("plastic", "other")
        )
        caption.append(
            f"The median of {short(row['column'])} is {plastic} for plastic and {other} for other "
            f"atoms. Alone, it has an AUC of {rounded(row['roc_auc_alone'])}."
        )
    return caption


def dependence_caption(numbers: Numbers) -> list[str]:
    """Return the caption of the figure of partial dependence.

    Parameters
    ----------
    numbers
        Result of ``softness_numbers``.

    Returns
    -------
    sentences
        One string per sentence.
    """
    dependence = numbers["dependence"]
    alone, together = dependence["alone"], dependence["together"]
    if not alone:
        return []
    caption = [
        f"({letter}) Setting {short(curve['column'])} to {curve['value'][0]:.3g} in all atoms "
        f"gives a mean QS of {rounded(curve['qs'][0], 2)}, setting it to {curve['value'][-1]:.3g} "
        f"gives {rounded(curve['qs'][-1], 2)}."
        for letter, curve in zip("ab", alone, strict=False)
    ]
    caption.append("Gray: standard deviation among the models. Below: number of atoms by value.")
    if together:
        caption.append(
            f"(c) Both columns together: QS from {rounded(together['qs'].min(), 2)} to "
            f"{rounded(together['qs'].max(), 2)}; their correlation is "
            f"{rounded(together['correlation'], 2)}. Small markers are atoms drawn at random, "
            "large ones the median of each kind. Regions without markers are extrapolated."
        )
    return [*caption, f"All are means over {dependence['samples']} atoms drawn at random."]


def slice_caption(numbers: Numbers) -> list[str]:
    """Return the caption of the slice.

    Parameters
    ----------
    numbers
        Result of ``softness_numbers``.

    Returns
    -------
    sentences
        One string per sentence.
    """
    return [
        "(a) QS of the undeformed glass and (b) D²min, both at the undeformed positions, in the "
        "middle 6 Å of the cell.",
        f"Rings mark atoms that are plastic at a strain of {100 * numbers['strain']:.1f} %. "
        "Empty markers are atoms that are not eligible.",
    ]
