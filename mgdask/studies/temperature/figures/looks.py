"""Common parts of the figures of the temperature study: models, forms and looks."""

from __future__ import annotations

from typing import Literal, NamedTuple

from mgdask.plot.style import BLUE, DARK_GREY, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILION

Role = Literal["baseline", "paper", "ours"]
CITATION = "Liu X. et al., J. Mater. Inf. 2, 20 (2022)"


class Look(NamedTuple):
    """How points of a kind are drawn."""

    color: str
    marker: str
    filled: bool = True


ROLES: dict[Role, Look] = {
    "baseline": Look(DARK_GREY, "s", False),
    "paper": Look(VERMILION, "o"),
    "ours": Look(BLUE, "D"),
}
"""Baselines, the paper's model and ours differ in color, marker and filling."""
FORMS = {"run": "lg[r²/(T/m)], with T", "none": "lg[r²m], without T"}
"""The two forms of the feature in words: with and without the temperature."""
SHORT = {"run": "with T", "none": "without T"}
"""The forms in tables with little space."""
FORM_LOOKS = {"run": Look(VERMILION, "o", False), "none": Look(BLUE, "D")}
"""Open circles for the paper's form, filled diamonds for that without temperature."""
RUN_LOOKS = {"application": Look(VERMILION, "o"), "control": Look(DARK_GREY, "s", False)}
GROUPS = {"liquid-like": Look(VERMILION, "o"), "solid-like": Look(BLUE, "s")}
"""Atoms with the highest and the lowest machine-learned temperatures."""
SPECIES_LOOKS = (
    Look(ORANGE, "o"),
    Look(BLUE, "s"),
    Look(GREEN, "D"),
    Look(VERMILION, "^"),
    Look(PURPLE, "v"),
    Look(SKY_BLUE, "P"),
)
"""Looks of the species in their order, used in turn."""

PAPER_CLASSES = (100, 800, 1000, 1100, 1200, 1300, 2000)
"""Representative classes of the paper in K."""
PAPER_TEMPERATURES = 20
"""Temperatures of the paper before the selection of classes."""
PAPER_NEIGHBORS = 50
"""Best number of neighbors in the paper (Supplementary Fig. 3)."""
PAPER_FEATURES, PAPER_FIRST_LAG = 17, 5.0
"""Features that the paper keeps, and the shortest of their lags in ps."""
PAPER_PEARSON = (0.24, 0.49)
"""Correlation of T_ML with D2min in the paper, at the shortest and longest lag."""
PAPER_PEAK, PAPER_AREA = 300.0, (0.82, 0.67)
"""Peak of the distribution of T_ML in K, and the area of its Gaussian.

The areas are for the lowest and the highest stress (main text to Fig. 2C).
"""
PAPER_VOLUME = 27.0
"""Activation volume of the paper in nm³, as printed; it may be meant in Å³.

By its formula, 27 nm³ at 100 K would multiply the rate by e^1130 for each 0.1 GPa, and
27 Å³ by 3.1.
"""


def form_text(form: str, *, short: bool = False) -> str:
    """Return a form of the feature in words.

    Parameters
    ----------
    form
        "run", "none", or a given temperature in K.
    short
        Whether to return few words, for tables.

    Examples
    --------
    >>> form_text("none"), form_text("run", short=True), form_text("300", short=True)
    ('lg[r²m], without T', 'with T', 'T = 300 K')
    """
    names = SHORT if short else FORMS
    if form in names:
        return names[form]
    return f"T = {form} K" if short else f"lg[r²/(T/m)], T = {form} K"


def form_look(form: str) -> Look:
    """Return the look of a form of the feature."""
    return FORM_LOOKS.get(form, Look(GREEN, "^"))


def role(model: str) -> Role:
    """Return whether a model is a baseline, the paper's, or ours.

    Parameters
    ----------
    model
        Name of the model.

    Examples
    --------
    >>> role("constant"), role("k nearest neighbors"), role("ours")
    ('baseline', 'paper', 'ours')
    """
    if model.startswith("k nearest"):
        return "paper"
    return "baseline" if model.startswith(BASELINES) else "ours"


BASELINES = ("constant", "one number", "ridge", "LightGBM")
"""Names of baselines begin with these words, in the order of every table."""


def species_look(k: int) -> Look:
    """Return the look of the species at place ``k``."""
    return SPECIES_LOOKS[k % len(SPECIES_LOOKS)]


def shown_polyhedron(name: str) -> str:
    """Return a Voronoi index in the paper's brackets, with four numbers.

    Parameters
    ----------
    name
        Index such as "<0,0,12,0,0>". Trailing zeros beyond four numbers are cut off.

    Examples
    --------
    >>> shown_polyhedron("<0,0,12,0,0>"), shown_polyhedron("<0,1,10,2,1>")
    ('⟨0,0,12,0⟩', '⟨0,1,10,2,1⟩')
    """
    numbers = name.strip("<>⟨⟩").split(",")
    while len(numbers) > 4 and numbers[-1] == "0":
        numbers.pop()
    return f"⟨{','.join(numbers)}⟩"


def lag_text(lag: float) -> str:
    """Return a lag with its unit.

    Examples
    --------
    >>> lag_text(5.0), lag_text(0.25)
    ('5 ps', '0.25 ps')
    """
    return f"{lag:g} ps"
