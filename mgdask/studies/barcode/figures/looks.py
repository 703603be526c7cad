"""What the figures of the barcode study share: models, groups, and their looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from mgdask.plot.barcodes import BarGroup
from mgdask.plot.style import BLUE, DARK_GREY, GREEN, ORANGE, VERMILION

Numbers = Mapping[str, Any]

BASELINES = ("mean", "ridge on fractions", "ridge on mean SOAP", "ridge on mean Chebyshev")
"""Models that the paper did not compare with, in the order of every table."""
TREES_ALL, TREES_FEW = "boosted trees, all ULEs", "boosted trees, 40 ULEs"
"""Models of the paper: on all fractions, and on those of the leading ULEs."""
Role = Literal["baseline", "paper", "ours"]


class Look(NamedTuple):
    """How points of a kind of model are drawn."""

    color: str
    marker: str
    filled: bool


LOOKS: dict[Role, Look] = {
    "baseline": Look(DARK_GREY, "s", False),
    "paper": Look(VERMILION, "o", True),
    "ours": Look(BLUE, "D", True),
}
"""Baselines, the paper's models and ours differ in color, marker and filling."""
GROUPS = (BarGroup("group 1, Kasper", BLUE), BarGroup("group 2, non-Kasper", ORANGE, "////"))
"""The two groups of elements. The second is hatched, so they differ in gray, too."""
GROUP_COLORS = (BLUE, ORANGE)
ICOSAHEDRAL, OTHER = VERMILION, "0.45"
"""Colors of elements with and without an icosahedral kernel, as in Fig. 4."""
SUM_LOOKS = {
    "group1": ("group 1, Kasper", BLUE, "o"),
    "group2": ("group 2, non-Kasper", ORANGE, "^"),
    "icosahedral": ("⟨0,0,12,0⟩ elements", GREEN, "D"),
}
"""Name, color and marker of each sum of fractions."""

PAPER_RMSE = {"5223 ULEs": 0.9763, "40 ULEs": 2.3624}
"""RMSE of the paper's models in eV per sample of 2000 atoms (Figs. A1 and 2)."""
PAPER_ATOMS = 2000
"""Atoms per sample in the paper."""
PAPER_ELEMENTS, PAPER_KASPER = 40, 25
"""Elements of the paper's barcode, and those of its first group."""


def is_trees_few(model: str) -> bool:
    """Return whether a model is the trees on the leading ULEs, however many they are.

    Examples
    --------
    >>> is_trees_few("boosted trees, 12 ULEs"), is_trees_few(TREES_ALL)
    (True, False)
    """
    return model.startswith("boosted trees, ") and model != TREES_ALL


def role(model: str) -> Role:
    """Return whether a model is a baseline, one of the paper's, or ours.

    Parameters
    ----------
    model
        Name of the model.

    Examples
    --------
    >>> role("ridge on mean SOAP"), role("boosted trees, 40 ULEs"), role("landmarks")
    ('baseline', 'paper', 'ours')
    """
    if model in BASELINES:
        return "baseline"
    return "paper" if model == TREES_ALL or is_trees_few(model) else "ours"


def shown_polyhedron(index: Sequence[int]) -> str:
    """Return a Voronoi index in the paper's brackets.

    Examples
    --------
    >>> shown_polyhedron([0, 0, 12, 0])
    '⟨0,0,12,0⟩'
    """
    return f"⟨{','.join(str(int(n)) for n in index)}⟩"


def per_atom(energy: float, n_atoms: float) -> float:
    """Convert an energy from eV per sample to meV per atom."""
    return 1000.0 * energy / n_atoms
