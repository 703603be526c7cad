"""Pictures of a Dataset: ``ds.mg.plot``. They choose data, labels and units.

Drawing is in ``mgdask.plot``. Nothing is shown or saved by itself: a method returns a
``Picture``, which a notebook shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from mgdask._typing import FloatArray
from mgdask.errors import ParameterError
from mgdask.explore import places
from mgdask.explore.grouping_values import group_names, text_of, truth, values_by_group
from mgdask.explore.selecting import Mask, atom_ids
from mgdask.explore.values import (
    Value,
    axis_label,
    either_spelling,
    find_values,
    name_of,
    row_of_frame,
    values_of_frame,
)
from mgdask.plot.style import VERMILION, figure, save, style

if TYPE_CHECKING:
    from mgdask.plot.style import Axes, Figure, ScalarMappable

Axis = Literal["x", "y", "z"]
DPI = 110.0
"""Dots per inch of a picture in a notebook."""


@dataclass(frozen=True)
class Picture:
    """A picture that a notebook shows, and that can be saved.

    Parameters
    ----------
    figure
        matplotlib figure, not known to pyplot.
    axes
        The axes that were drawn on. Labels, limits and more can be changed.
    shown
        Whether a notebook shows it. Not so for axes of the caller, whose own figure is
        shown.

    Examples
    --------
    >>> picture = ds.mg.plot.slab(color="q6")  # doctest: +SKIP
    >>> picture.axes.set_title("as quenched")  # doctest: +SKIP
    >>> picture.save("slab.pdf")  # doctest: +SKIP
    """

    figure: Figure
    axes: Axes
    shown: bool = field(default=True, repr=False)

    def save(self, path: str | Path, *, dpi: float = 130.0) -> Path:
        """Write the picture to a file whose suffix names the format.

        Parameters
        ----------
        path
            File to write, such as "slab.png" or "slab.pdf".
        dpi
            Dots per inch.

        Returns
        -------
        path
            Path of the written file.
        """
        with style():
            return save(self.figure, path, dpi=dpi)

    def _repr_png_(self) -> bytes | None:
        """Return the picture for a notebook."""
        if not self.shown:
            return None
        out = BytesIO()
        with style():
            self.figure.savefig(out, format="png", dpi=DPI)
        return out.getvalue()


def _canvas(ax: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """Return the axes of the caller, or new ones."""
    if ax is not None:
        parent: Any = ax.figure
        return parent, ax
    new = figure(width, height)
    return new, new.subplots()


def _color_bar(axes: Axes, mappable: ScalarMappable, label: str) -> None:
    """Draw a color bar as high as the axes, whose height follows from their scales."""
    beside = axes.inset_axes((1.03, 0.0, 0.045, 1.0))
    axes.figure.colorbar(mappable, cax=beside, label=label)


def one_frame(ds: xr.Dataset, frame: int | None) -> xr.Dataset:
    """Return the positions, cell and species of one frame, computed.

    Parameters
    ----------
    ds
        Dataset with positions, of one or several frames.
    frame
        Number of the frame in its store. Default: the first one of the Dataset. Not
        used if one was selected before.

    Raises
    ------
    ParameterError
        If the Dataset has no positions or cell.
    """
    missing = [name for name in ("position", "cell", "species") if name not in ds.variables]
    if missing:
        raise ParameterError(
            f"the Dataset has no {', '.join(missing)}, which this picture needs; add features to "
            "their trajectory: mgdask.open_store('glass.zarr').mg.join(features)"
        )
    if "frame" in ds["position"].dims:
        ds = ds.isel(frame=row_of_frame(ds, frame))
    kept = [name for name in ("position", "cell", "origin", "pbc") if name in ds.variables]
    one = ds[kept].load()
    if "origin" not in one:
        one = one.assign(origin=("xyz", np.zeros(3)))
    return one.assign_coords(atom_id=("atom", atom_ids(ds)), species=ds["species"].variable)


def color_span(values: FloatArray, span: tuple[float, float] | None) -> tuple[float, float]:
    """Return the ends of a color scale: the 2nd and 98th percentile by default.

    Parameters
    ----------
    values
        Values, some of them NaN.
    span
        Ends chosen by the user.

    Raises
    ------
    ParameterError
        If the ends are not two increasing numbers.
    """
    if span is not None:
        low, high = (float(end) for end in span)
        if not (np.isfinite([low, high]).all() and low < high):
            raise ParameterError(f"span={span!r} must be two finite, increasing numbers")
        return low, high
    finite = values[np.isfinite(values)]
    low, high = (float(end) for end in np.quantile(finite, [0.02, 0.98]))
    if low < high:
        return low, high
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)


class PlotAccessor:
    """Pictures of a trajectory with its features: ``ds.mg.plot``.

    Parameters
    ----------
    ds
        Trajectory, joined with the features that are to be shown.
    """

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def slab(
        self,
        color: Value | None = None,
        *,
        colour: Value | None = None,
        frame: int | None = None,
        axis: Axis = "z",
        at: float | None = None,
        thickness: float = 5.0,
        cmap: str = "viridis",
        span: tuple[float, float] | None = None,
        ax: Axes | None = None,
        interactive: bool = False,
        frames: Sequence[int] | None = None,
    ) -> Any:
        """Draw the atoms of a slab, colored by a value or by their element.

        Parameters
        ----------
        color
            A column such as "q6", a variable, or an array over atoms (and frames).
            Numbers have a color bar; booleans and text have a legend. Default: the
            elements.
        colour
            Other spelling of ``color``.
        frame
            Number of the frame. Negative numbers count from the last frame. Default:
            the first one of the Dataset.
        axis
            Normal of the slab, and direction of view: "x", "y" or "z".
        at
            Middle of the slab in Å, as a coordinate. Default: the middle of the cell.
        thickness
            Thickness in Å.
        cmap
            Name of a matplotlib colormap.
        span
            Values at the two ends of the color scale. Default: the 2nd and 98th
            percentile of the atoms of the frame.
        ax
            matplotlib axes to draw on. Default: a new figure.
        interactive
            Return a slab with a slider of frames, linked with the histogram of its
            values, as a layout of HoloViews.
        frames
            With ``interactive``: frames to draw at once, for a page without a kernel.

        Returns
        -------
        picture
            The picture. Atoms without a value (NaN) are open markers. With
            ``interactive``, see ``mgdask.explore.interactive.linked_slab``.

        Raises
        ------
        MissingDependencyError
            If ``interactive`` is set, and HoloViews is not installed.
        ParameterError
            If the value or the frame does not exist, or the slab has no atoms.

        Examples
        --------
        >>> ds.mg.join("features.zarr").mg.plot.slab(color="q6")  # doctest: +SKIP
        """
        from mgdask.plot.slab import draw_slab, draw_slab_groups, draw_slab_species

        what = either_spelling(color, colour)
        if interactive or frames is not None:
            return self._linked_slab(what, frame, axis, at, thickness, cmap, span, ax, frames)
        one = one_frame(self._ds, frame)
        inside = places.slab(one, axis, at, thickness, None)
        if not inside.any():
            raise ParameterError(
                f"no atom is within a slab of {thickness:g} Å around {axis} = "
                f"{'the middle of the cell' if at is None else f'{at:g} Å'}; choose another one"
            )
        values = None if what is None else values_of_frame(self._ds, what, frame)
        with style():
            fig, axes = _canvas(ax, 5.6, 5.2)
            if values is None:
                draw_slab_species(axes, one, along=axis, inside=inside)
            elif values.dtype.kind in "iuf":
                values = values.assign_coords(atom_id=("atom", one["atom_id"].values))
                span = color_span(values.values, span)
                mappable = draw_slab(
                    axes, one, values, along=axis, cmap=cmap, inside=inside, span=span
                )
                _color_bar(axes, mappable, axis_label(values))
            else:
                index, groups = _classes(values)
                draw_slab_groups(axes, one, index, groups, along=axis, inside=inside)
        return Picture(fig, axes, shown=ax is None)

    def _linked_slab(
        self,
        color: Value | None,
        frame: int | None,
        axis: Axis,
        at: float | None,
        thickness: float,
        cmap: str,
        span: tuple[float, float] | None,
        ax: Axes | None,
        frames: Sequence[int] | None,
    ) -> Any:
        from mgdask.explore.interactive import linked_slab

        if color is None or frame is not None or ax is not None:
            raise ParameterError(
                "the interactive slab needs color=, and has no frame= (its slider chooses one) "
                "and no ax=; frames=[0, 10, 20] draws some frames at once"
            )
        return linked_slab(
            self._ds,
            color,
            axis=axis,
            at=at,
            thickness=thickness,
            cmap=cmap,
            span=span,
            frames=frames,
        )

    def map(
        self,
        color: Value | None = None,
        *,
        colour: Value | None = None,
        frame: int | None = None,
        axis: Axis = "z",
        spacing: float = 3.0,
        cmap: str = "viridis",
        span: tuple[float, float] | None = None,
        ax: Axes | None = None,
    ) -> Picture:
        """Draw the mean of a value in columns through the whole cell.

        Columns run along the cell vector of ``axis``. So the picture shows where in the
        sample a value is large, while ``slab`` shows single atoms.

        Parameters
        ----------
        color
            A column such as "q6", a variable, or an array over atoms (and frames).
            Of booleans, the share that is true. Default: the number density.
        colour
            Other spelling of ``color``.
        frame
            Number of the frame. Negative numbers count from the last frame. Default:
            the first one of the Dataset.
        axis
            Cell vector along which values are averaged: "x", "y" or "z" for the first,
            second or third.
        spacing
            Width of the columns in Å, rounded so that they fill the cell.
        cmap
            Name of a matplotlib colormap.
        span
            Values at the two ends of the color scale. Default: the 2nd and 98th
            percentile of the columns.
        ax
            matplotlib axes to draw on. Default: a new figure.

        Returns
        -------
        picture
            The picture. Columns without atoms are gray.

        Raises
        ------
        ParameterError
            If the value or the frame does not exist, or an option is out of range.

        Examples
        --------
        >>> ds.mg.join("features.zarr").mg.plot.map(color="d2min")  # doctest: +SKIP
        """
        from mgdask.explore.maps import column_means
        from mgdask.plot.grid import draw_grid

        what = either_spelling(color, colour)
        one = one_frame(self._ds, frame)
        values = None if what is None else values_of_frame(self._ds, what, frame)
        means = column_means(one, values, axis, spacing)
        with style():
            fig, axes = _canvas(ax, 5.6, 4.6)
            image = draw_grid(
                axes, means.corners, means.values, span=color_span(means.values, span), cmap=cmap
            )
            axes.set(xlabel=means.labels[0], ylabel=means.labels[1])
            _color_bar(axes, image, means.title)
        return Picture(fig, axes, shown=ax is None)

    def rdf(
        self,
        *,
        r_max: float = 10.0,
        bins: int = 500,
        centers: Mask = None,
        neighbors: Mask = None,
        pairs: Sequence[str] | None = None,
        ax: Axes | None = None,
    ) -> Picture:
        """Draw the radial distribution functions of all atoms and of pairs of elements.

        Parameters
        ----------
        r_max
            Largest distance in Å.
        bins
            Number of bins between 0 and ``r_max``.
        centers, neighbors
            Atoms to count from, and atoms to count: see ``ds.mg.rdf``. Default: all.
        pairs
            Pairs such as "Cu-Zr": a center and its neighbor. Default: all, or none if
            there are more than six.
        ax
            matplotlib axes to draw on. Default: a new figure.

        Returns
        -------
        picture
            The picture.

        Raises
        ------
        ParameterError
            If a pair does not exist or an option is out of range.

        Examples
        --------
        >>> ds.mg.plot.rdf(pairs=["Cu-Zr"])  # doctest: +SKIP
        """
        from mgdask.explore.accessor import DatasetAccessor
        from mgdask.plot.rdf import draw_rdf

        rdf = DatasetAccessor(self._ds).rdf(
            r_max=r_max, bins=bins, centers=centers, neighbors=neighbors
        )
        with style():
            fig, axes = _canvas(ax, 5.6, 3.8)
            draw_rdf(axes, rdf, pairs=pairs)
        return Picture(fig, axes, shown=ax is None)

    def violin(
        self, value: Value, *, by: str | xr.DataArray | None = "species", ax: Axes | None = None
    ) -> Picture:
        """Draw the distribution of a value in groups of atoms or frames.

        Parameters
        ----------
        value
            A column such as "q6", a variable, or an array.
        by
            "species", "run", another coordinate of atoms or frames, or an array over
            one of them, such as ``d2min > 1.0``. ``None``: all values together.
        ax
            matplotlib axes to draw on. Default: a new figure.

        Returns
        -------
        picture
            The picture. Below each name is the number of its values.

        Raises
        ------
        ParameterError
            If there is no such value or coordinate.

        Examples
        --------
        >>> features.mg.plot.violin("q6", by="species")  # doctest: +SKIP
        """
        return plot_violin(self._labeled(value, by), by, ax)

    def series(
        self,
        value: Value,
        *,
        by: str | xr.DataArray | None = None,
        over: str | None = None,
        ax: Axes | None = None,
    ) -> Picture:
        """Draw a value against time: mean and middle half of the atoms.

        Parameters
        ----------
        value
            A column such as "q6", a variable, or an array over frames.
        by
            Groups of atoms, such as "species". ``None``: all atoms together. Runs are
            separate lines in any case.
        over
            Coordinate of frames for the x axis: "time", "step", "temperature" and so
            on. Default: the time, or else the step or the number of the frame.
        ax
            matplotlib axes to draw on. Default: a new figure.

        Returns
        -------
        picture
            The picture. Bands span the quartiles of the atoms.

        Raises
        ------
        ParameterError
            If there is no such value or coordinate.

        Examples
        --------
        >>> features.mg.plot.series("q6", by="species")  # doctest: +SKIP
        """
        return plot_series(self._labeled(value, by, over), by, over, ax)

    def _labeled(self, value: Value, *names: str | xr.DataArray | None) -> xr.DataArray:
        """Return values with the named variables of the Dataset as coordinates."""
        values = find_values(self._ds, value)
        for name in names:
            if isinstance(name, str) and name in self._ds.data_vars:
                key = self._ds[name]
                if len(key.dims) == 1 and values.sizes.get(key.dims[0]) == key.size:
                    values = values.assign_coords({name: key.variable})
        return values


class ArrayPlotAccessor:
    """Pictures of one array: ``array.mg.plot``.

    Parameters
    ----------
    array
        A variable, or a column of a feature.
    """

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    def violin(
        self,
        column: str | None = None,
        *,
        by: str | xr.DataArray | None = "species",
        ax: Axes | None = None,
    ) -> Picture:
        """Draw the distribution of values in groups, see ``PlotAccessor.violin``.

        Parameters
        ----------
        column
            Label of a column. Not needed if the array has only one.
        by, ax
            See ``PlotAccessor.violin``.
        """
        return plot_violin(find_values(self._array, self._what(column)), by, ax)

    def series(
        self,
        column: str | None = None,
        *,
        by: str | xr.DataArray | None = None,
        over: str | None = None,
        ax: Axes | None = None,
    ) -> Picture:
        """Draw values against time, see ``PlotAccessor.series``.

        Parameters
        ----------
        column
            Label of a column. Not needed if the array has only one.
        by, over, ax
            See ``PlotAccessor.series``.
        """
        return plot_series(find_values(self._array, self._what(column)), by, over, ax)

    def slab(self, trajectory: xr.Dataset, column: str | None = None, **options: Any) -> Any:
        """Draw the values of the atoms of a slab, see ``PlotAccessor.slab``.

        Parameters
        ----------
        trajectory
            Dataset with the positions of the atoms.
        column
            Label of a column. Not needed if the array has only one.
        **options
            Options of ``PlotAccessor.slab``.
        """
        values = find_values(self._array, self._what(column))
        return PlotAccessor(trajectory).slab(values, **options)

    def map(self, trajectory: xr.Dataset, column: str | None = None, **options: Any) -> Picture:
        """Draw the mean of the values in columns, see ``PlotAccessor.map``.

        Parameters
        ----------
        trajectory
            Dataset with the positions of the atoms.
        column
            Label of a column. Not needed if the array has only one.
        **options
            Options of ``PlotAccessor.map``.
        """
        values = find_values(self._array, self._what(column))
        return PlotAccessor(trajectory).map(values, **options)

    def _what(self, column: str | None) -> Value:
        return self._array if column is None else column


def _classes(values: xr.DataArray) -> tuple[Any, list[tuple[str, str]]]:
    """Return the class of each atom, and the name and color of each class."""
    from mgdask.plot.style import CYCLE, FILL_GREY

    if values.dtype.kind == "b":
        index = values.values.astype(np.int64)
        return index, [(truth(values, False), "0.9"), (truth(values, True), VERMILION)]
    names, index = np.unique(text_of(values.values), return_inverse=True)
    if len(names) > len(CYCLE) + 2:
        raise ParameterError(
            f"{name_of(values)} has {len(names)} different texts; at most {len(CYCLE) + 2} can be "
            "told apart by color"
        )
    colors = [*CYCLE, "black", FILL_GREY]
    return index, [(str(name), color) for name, color in zip(names, colors, strict=False)]


def plot_violin(values: xr.DataArray, by: str | xr.DataArray | None, ax: Axes | None) -> Picture:
    """Draw violins, see ``PlotAccessor.violin``.

    Parameters
    ----------
    values
        Result of ``find_values``.
    by, ax
        See ``PlotAccessor.violin``.
    """
    from mgdask.plot.violins import draw_violins

    groups = values_by_group(values, group_names(values, by))
    with style():
        longest = max(len(name) for name in groups)
        each = max(0.9, 0.3 + 0.09 * longest)
        fig, axes = _canvas(ax, max(3.2, 1.2 + each * len(groups)), 3.8)
        draw_violins(axes, groups)
        axes.set_ylabel(axis_label(values))
    return Picture(fig, axes, shown=ax is None)


def plot_series(
    values: xr.DataArray, by: str | xr.DataArray | None, over: str | None, ax: Axes | None
) -> Picture:
    """Draw a series, see ``PlotAccessor.series``.

    Parameters
    ----------
    values
        Result of ``find_values``.
    by, over, ax
        See ``PlotAccessor.series``.
    """
    from mgdask.explore.series import frame_lines
    from mgdask.plot.series import draw_lines

    lines, label = frame_lines(values, by, over)
    with style():
        fig, axes = _canvas(ax, 5.6, 3.8)
        draw_lines(axes, lines)
        axes.set(xlabel=label, ylabel=axis_label(values))
    return Picture(fig, axes, shown=ax is None)
