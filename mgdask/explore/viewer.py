"""Atoms in three dimensions in a notebook: ``ds.mg.view``, through py3Dmol.

py3Dmol makes a static page: it needs no running kernel and no extension of Jupyter, and
it stays in exported notebooks. Its script, 3Dmol.js, comes from a server of the web
unless a local file is given.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from html import escape
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from mgdask._typing import AnyArray, BoolArray, FloatArray
from mgdask.elements import symbol
from mgdask.errors import MissingDependencyError, ParameterError
from mgdask.explore.grouping_values import text_of, truth
from mgdask.explore.plotting import color_span, one_frame
from mgdask.explore.selecting import Mask, as_mask
from mgdask.explore.values import Value, axis_label, either_spelling, name_of, values_of_frame
from mgdask.plot.slab_markers import radius
from mgdask.plot.style import CYCLE, VERMILION

MOST_ATOMS = 50_000
"""Maximum number of atoms of a view; a browser becomes slow beyond it."""
SHADES = 64
"""Number of colors of a color scale."""
NO_VALUE = "#bbbbbb"
"""Color of atoms without a value."""
EDGES = tuple((a, a | bit) for a in range(8) for bit in (1, 2, 4) if not a & bit)
"""Pairs of corners of a cell that share an edge; corner 4 i + 2 j + k is (i, j, k)."""


@dataclass(frozen=True)
class View:
    """Atoms in three dimensions, shown by a notebook or a browser.

    Parameters
    ----------
    html
        Fragment of a page: the picture and its scale of colors.
    n_atoms
        Number of atoms shown.

    Examples
    --------
    >>> view = ds.mg.view(0, color="q6")  # doctest: +SKIP
    >>> view.save("glass.html")  # doctest: +SKIP
    """

    html: str = field(repr=False)
    n_atoms: int

    def save(self, path: str | Path) -> Path:
        """Write a page that a browser opens, with all data in it.

        Parameters
        ----------
        path
            File to write, such as "glass.html".

        Returns
        -------
        path
            Path of the written file.
        """
        target = Path(path)
        target.write_text(
            '<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>Atoms</title></head>\n'
            f'<body style="font-family:sans-serif">\n{self.html}\n</body></html>\n',
            encoding="utf-8",
        )
        return target

    def _repr_html_(self) -> str:
        """Return the picture for a notebook."""
        return self.html


@dataclass(frozen=True)
class _Colors:
    """Color of each atom as text, and the HTML of their scale or legend."""

    of_atoms: AnyArray
    legend: str


def view(
    ds: xr.Dataset,
    frame: int | None = None,
    *,
    color: Value | None = None,
    colour: Value | None = None,
    atoms: Mask = None,
    span: tuple[float, float] | None = None,
    cmap: str = "viridis",
    scale: float = 0.5,
    width: int = 640,
    height: int = 480,
    js: str | Path | None = None,
) -> View:
    """Show the atoms of a frame as spheres that can be turned, see ``ds.mg.view``.

    Parameters
    ----------
    ds
        Trajectory, joined with the features that are to be shown.
    frame
        Number of the frame. Negative numbers count from the last frame. Default: the
        first one of the Dataset.
    color
        A column such as "q6", a variable, or an array over atoms (and frames).
        Default: the elements.
    colour
        Other spelling of ``color``.
    atoms
        Atoms to show: a boolean array, element symbols or atom ids. Default: all.
    span
        Values at the two ends of the color scale. Default: the 2nd and 98th percentile
        of the frame.
    cmap
        Name of a matplotlib colormap.
    scale
        Radii of the spheres in radii of the elements.
    width, height
        Size in pixels.
    js
        Script 3Dmol.js: a local file, which is put into the page, or an address.
        Default: the address that py3Dmol has, on a server of the web.

    Returns
    -------
    view
        Object that a notebook shows and that ``save`` writes to a page.

    Raises
    ------
    MissingDependencyError
        If py3Dmol is not installed.
    ParameterError
        If there are more than 50000 atoms, or an argument is out of range.

    Examples
    --------
    >>> view(ds, 0, color="q6").save("glass.html")  # doctest: +SKIP
    """
    py3dmol = _py3dmol()
    if not 0.0 < scale <= 10.0:
        raise ParameterError(f"scale={scale} must be above 0 and at most 10")
    what = either_spelling(color, colour)
    shown = as_mask(ds, atoms)
    _check_number(int(shown.sum()))
    one = one_frame(ds, frame)
    numbers = one["species"].values[shown]
    if what is None:
        colors = _of_elements(numbers)
    else:
        values = values_of_frame(ds, what, frame)
        colors = _of_values(values, shown, span, cmap)
    script = {} if js is None else {"js": _script(js)}
    viewer = py3dmol.view(width=width, height=height, **script)
    viewer.addModel(_xyz(one["position"].values[shown], numbers), "xyz", {"doAssembly": False})
    viewer.setStyle({}, {})  # no bonds: 3Dmol would guess them
    for number, name in _unique_pairs(numbers, colors.of_atoms):
        rows = np.flatnonzero((numbers == number) & (colors.of_atoms == name))
        viewer.setStyle(
            {"index": rows.tolist()},
            {"sphere": {"radius": round(scale * radius(number), 3), "color": name}},
        )
    corners = _corners(one)
    for a, b in EDGES:
        viewer.addLine({"start": corners[a], "end": corners[b], "color": "black"})
    for name, corner in zip("abc", (4, 2, 1), strict=True):
        look = {"fontColor": "black", "backgroundOpacity": 0.0, "fontSize": 15}
        viewer.addLabel(name, {"position": corners[corner], **look})
    viewer.zoomTo()
    viewer.rotate(-20, "y")
    viewer.rotate(15, "x")
    viewer.zoom(1.2)
    lengths = ", ".join(f"{x:.4g}" for x in np.linalg.norm(one["cell"].values, axis=1))
    below = f"{colors.legend}<div>cell vectors a, b, c: {lengths} Å</div>"
    page = str(viewer.write_html())
    return View(f'<div>{page}<div style="font-size:90%">{below}</div></div>', int(shown.sum()))


def _py3dmol() -> Any:
    try:
        import py3Dmol
    except ImportError:
        raise MissingDependencyError("py3Dmol", "view", "the three-dimensional view") from None
    return py3Dmol


def _check_number(number: int) -> None:
    if number == 0:
        raise ParameterError("there are no atoms to show; choose others with atoms=")
    if number > MOST_ATOMS:
        raise ParameterError(
            f"{number:,} atoms are too many for a browser; at most {MOST_ATOMS:,} are shown. "
            "Choose some: ds.mg.slab('z', thickness=10), ds.mg.near(id, 30), ds.mg.species('Zr'), "
            "or atoms=mask. ds.mg.export writes all of them for OVITO"
        )


def _script(js: str | Path) -> str:
    """Return an address of the script: that given, or a local file as data."""
    if isinstance(js, str) and js.split(":")[0] in ("http", "https", "data"):
        if set(js) & set("'\"<>\\ \n"):
            raise ParameterError(f"js={js!r} is not an address without quotes and spaces")
        return js
    path = Path(js)
    if not path.is_file():
        raise ParameterError(
            f"js={str(js)!r} is neither a file nor an address with https://. The script is "
            "build/3Dmol-min.js of the npm package 3dmol (npm pack 3dmol)"
        )
    return "data:text/javascript;base64," + b64encode(path.read_bytes()).decode("ascii")


def _xyz(position: FloatArray, numbers: AnyArray) -> str:
    names = {int(z): symbol(int(z)) for z in np.unique(numbers)}
    lines = [
        f"{names[int(z)]} {x:.4f} {y:.4f} {w:.4f}"
        for z, (x, y, w) in zip(numbers, position.tolist(), strict=True)
    ]
    return "\n".join([str(len(lines)), "", *lines, ""])


def _corners(frame: xr.Dataset) -> list[dict[str, float]]:
    from mgdask.plot.slab_markers import cell_corners

    return [
        dict(zip("xyz", (round(float(v), 4) for v in row), strict=True))
        for row in cell_corners(frame)
    ]


def _unique_pairs(numbers: AnyArray, names: AnyArray) -> list[tuple[int, str]]:
    return sorted({(int(z), str(name)) for z, name in zip(numbers, names, strict=True)})


def _of_elements(numbers: AnyArray) -> _Colors:
    known = [int(z) for z in np.unique(numbers)]
    colors = dict(zip(known, cycle(CYCLE), strict=False))
    swatches = [(symbol(z), colors[z]) for z in known]
    return _Colors(np.array([colors[int(z)] for z in numbers]), _swatches(swatches))


def _of_values(
    values: xr.DataArray, shown: BoolArray, span: tuple[float, float] | None, cmap: str
) -> _Colors:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    if values.dtype.kind in "iuf":
        number = values.values.astype(np.float64)
        low, high = color_span(number, span)
        if cmap not in colormaps:
            raise ParameterError(f"cmap={cmap!r} is not a colormap of matplotlib")
        shades = [to_hex(c) for c in colormaps[cmap](np.linspace(0.0, 1.0, SHADES))]
        chosen = number[shown]
        with np.errstate(invalid="ignore"):
            step = np.clip(np.nan_to_num((chosen - low) / (high - low) * SHADES), 0, SHADES - 1)
        of_atoms = np.where(np.isfinite(chosen), np.array(shades)[step.astype(np.intp)], NO_VALUE)
        return _Colors(of_atoms, _scale(axis_label(values), low, high, shades, of_atoms))
    if values.dtype.kind == "b":
        truths = values.values[shown]
        of_atoms = np.where(truths, VERMILION, "#dddddd")
        pairs = [(truth(values, False), "#dddddd"), (truth(values, True), VERMILION)]
        return _Colors(of_atoms, _swatches(pairs))
    names = text_of(values.values)[shown]
    known = np.unique(names).tolist()
    if len(known) > len(CYCLE):
        raise ParameterError(
            f"{name_of(values)} has {len(known)} different texts; at most {len(CYCLE)} can be told "
            "apart by color"
        )
    colors = dict(zip(known, CYCLE, strict=False))
    return _Colors(
        np.array([colors[name] for name in names.tolist()]), _swatches(list(colors.items()))
    )


def _swatches(pairs: list[tuple[str, str]]) -> str:
    """Return a legend: a colored dot and a name for each class."""
    return "".join(
        f'<span style="margin-right:1.2em"><span style="color:{color}">&#9679;</span> '
        f"{escape(name)}</span>"
        for name, color in pairs
    )


def _scale(label: str, low: float, high: float, shades: list[str], used: AnyArray) -> str:
    """Return a horizontal color scale with its ends and its label."""
    gradient = ",".join(shades[:: SHADES // 16])
    missing = _swatches([("no value", NO_VALUE)]) if (used == NO_VALUE).any() else ""
    return (
        f'<div>{low:.4g} <span style="display:inline-block;width:220px;'
        f"height:0.8em;vertical-align:middle;background:linear-gradient(to right,{gradient})"
        f'"></span> {high:.4g} &nbsp; {escape(label)} &nbsp; {missing}</div>'
    )
