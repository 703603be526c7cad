"""Radial distribution functions, of all atoms and of pairs of elements."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import xarray as xr

from mgdask.errors import ParameterError
from mgdask.plot.style import CYCLE, LIGHT_GREY, legend_below

if TYPE_CHECKING:
    from mgdask.plot.style import Axes

MOST_PAIRS = 6
"""Maximum number of pairs of elements that are drawn by default."""
STYLES = ("-", "--", ":")
"""Line styles, changed after every color has been used once."""


def pair_names(rdf: xr.Dataset) -> list[str]:
    """Return the names of all pairs of elements, such as "Cu-Zr".

    A pair and its reverse have the same g(r) if centers and neighbors are all atoms. So
    each pair is named once, with the elements in the order of ``species``. If centers
    or neighbors are a group, the first element is that of the centers.

    Parameters
    ----------
    rdf
        Result of ``mgdask.partial_rdf``.
    """
    names = [str(name) for name in rdf["species"].values]
    if "n_neighbors" not in rdf:
        return [f"{a}-{b}" for k, a in enumerate(names) for b in names[k:]]
    centers = [str(name) for name in rdf["species"].values[rdf["n_atoms"].values > 0]]
    counted = rdf["n_neighbors"].values > 0
    neighbors = [str(name) for name in rdf["neighbor_species"].values[counted]]
    return [f"{a}-{b}" for a in centers for b in neighbors]


def draw_rdf(axes: Axes, rdf: xr.Dataset, *, pairs: Sequence[str] | None = None) -> None:
    """Draw g(r) of all atoms in black, and of pairs of elements in color.

    Parameters
    ----------
    axes
        matplotlib axes to draw on.
    rdf
        Result of ``mgdask.partial_rdf``.
    pairs
        Pairs such as "Cu-Zr": a center and its neighbor. Default: all, or none if there
        are more than six.

    Raises
    ------
    ParameterError
        If a pair does not exist.

    Examples
    --------
    >>> draw_rdf(axes, mgdask.partial_rdf("glass.zarr"))  # doctest: +SKIP
    """
    known = pair_names(rdf)
    chosen = (known if len(known) <= MOST_PAIRS else []) if pairs is None else list(pairs)
    allowed = {str(name) for name in rdf["species"].values}
    for pair in chosen:
        if pair.count("-") != 1 or not set(pair.split("-")) <= allowed:
            raise ParameterError(
                f"pairs={pair!r} is not a pair of elements; allowed: {', '.join(known)}"
            )
    axes.axhline(1.0, color=LIGHT_GREY, lw=0.8, zorder=0)
    r = rdf["r"].values
    axes.plot(r, rdf["g_all"].values, color="black", lw=1.6, label="all")
    for k, (color, pair) in enumerate(zip(cycle(CYCLE), chosen, strict=False)):
        a, b = pair.split("-")
        g = rdf["g"].sel(species=a, neighbor_species=b).values
        style = STYLES[k // len(CYCLE) % len(STYLES)]
        axes.plot(r, g, style, color=color, lw=1.2, label=pair)
    axes.set(xlabel="r (Å)", ylabel="g(r) (dimensionless)", xlim=(0.0, float(r[-1])))
    axes.set_ylim(bottom=0.0)
    legend_below(axes)
