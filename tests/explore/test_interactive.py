"""The interactive slab and ``ds.hvplot`` on our labels, without a browser."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest

from mgdask.errors import MissingDependencyError, ParameterError
from tests.explore.test_plots import glass, in_slab

hv = pytest.importorskip("holoviews")
pytest.importorskip("bokeh")


@pytest.fixture(scope="module")
def ds():
    """Values of the last frame are far beyond those of the first."""
    ds = glass()
    return ds.assign(bond_order=ds.bond_order * (1.0 + 9.0 * (ds.frame == 13)))


@pytest.fixture
def made(ds, monkeypatch):
    """The layout of an interactive slab, and what links its panels."""
    links = []
    make = hv.link_selections.instance

    def instance(**options):
        links.append(make(**options))
        return links[-1]

    monkeypatch.setattr(hv.link_selections, "instance", instance)
    layout = ds.mg.plot.slab("q6", thickness=3.0, interactive=True)
    return layout, links[0]


def expected(ds, frame):
    """Positions and values of the atoms of the slab, by brute force."""
    position = ds.position.values[frame]
    middle = 0.5 + 0.5 * ds.cell.values[0].sum(axis=0)[2]
    inside = in_slab(position, middle, 3.0)
    return np.column_stack([position[inside, :2], ds.bond_order.values[frame, inside, 1]])


def test_slider_reads_the_frame_that_is_chosen(ds, made):
    layout, _ = made
    slab, counts = layout
    assert slab.kdims[0].values == [10, 11, 12, 13]
    for frame in (11, 13):
        drawn = slab[frame].get(0).dframe()[["x", "y", "value"]].to_numpy()
        np.testing.assert_array_equal(drawn, expected(ds, frame - 10))
        histogram = counts[frame].get(0)
        values = np.clip(expected(ds, frame - 10)[:, 2], *histogram.edges[[0, -1]])
        np.testing.assert_array_equal(
            histogram.dimension_values("Count"), np.histogram(values, histogram.edges)[0]
        )
        assert histogram.dimension_values("Count").sum() == len(values)  # none is lost
        np.testing.assert_array_equal(histogram.edges, counts[10].get(0).edges)


def test_chosen_values_are_marked_in_the_slab(ds, made):
    layout, links = made
    links.selection_expr = hv.dim("binned") > 0.5
    slab = layout[0][10]
    marked = slab.get(1).dframe()["value"].to_numpy()
    values = expected(ds, 0)[:, 2]
    np.testing.assert_array_equal(np.sort(marked), np.sort(values[values > 0.5]))
    assert 0 < len(marked) < len(values)


def test_it_is_drawn_with_units_and_equal_scales(made):
    layout, _ = made
    kind = importlib.import_module("bokeh.plotting").figure
    figures = list(hv.render(layout.select(frame=12)).select({"type": kind}))
    figures.sort(key=lambda one: one.xaxis[0].axis_label, reverse=True)
    labels = [(one.xaxis[0].axis_label, one.yaxis[0].axis_label) for one in figures]
    assert labels == [
        ("x (Å)", "y (Å)"),
        ("q6 (dimensionless)", "atoms in the slab (dimensionless)"),
    ]
    slab = figures[0]
    width = slab.x_range.end - slab.x_range.start
    height = slab.y_range.end - slab.y_range.start
    assert slab.frame_width / slab.frame_height == pytest.approx(width / height, rel=0.02)


def test_frames_at_once_need_no_kernel(ds):
    layout = ds.mg.plot.slab("q6", thickness=3.0, frames=[10, 12])
    assert [type(one).__name__ for one in layout] == ["HoloMap", "HoloMap"]
    assert list(layout[0].keys()) == [10, 12]
    drawn = layout[0][12].dframe()[["x", "y", "value"]].to_numpy()
    np.testing.assert_array_equal(drawn, expected(ds, 2))


def test_refusals(ds, monkeypatch):
    with pytest.raises(ParameterError, match="needs color="):
        ds.mg.plot.slab(interactive=True)
    with pytest.raises(ParameterError, match=r"frames=\[3\] must be frames of the Dataset"):
        ds.mg.plot.slab("q6", frames=[3])
    with pytest.raises(ParameterError, match="shows numbers"):
        ds.mg.plot.slab(ds.species == 29, interactive=True)
    with pytest.raises(ParameterError, match="the Dataset is one frame"):
        ds.isel(frame=0).mg.plot.slab("q6", interactive=True)
    monkeypatch.setitem(sys.modules, "holoviews", None)
    with pytest.raises(MissingDependencyError, match=r"holoviews.*'mgdask\[interactive\]'"):
        ds.mg.plot.slab("q6", interactive=True)


def test_plain_hvplot_works_on_our_labels(ds):
    pytest.importorskip("hvplot.xarray")
    q6 = ds.bond_order.sel(bond_order_feature="q6")
    counts = q6.hvplot.hist(bins=10)
    shown = next(iter(counts)) if isinstance(counts, hv.NdOverlay) else counts
    assert shown.dimension_values(1).sum() == q6.size
    line = q6.mean("atom").hvplot.line(x="time")
    np.testing.assert_allclose(line.dimension_values(1), q6.values.mean(axis=1))
