"""No text of a picture lies over another, and pictures of atoms keep their legend outside."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import mgdask
from mgdask.plot.boxes import draw_box, draw_violin
from mgdask.plot.curves import draw_band, draw_quantiles, use_log_distances
from mgdask.plot.distributions import (
    HalfViolin,
    draw_column_histograms,
    draw_density,
    draw_half_violins,
)
from mgdask.plot.environments import plot_environments
from mgdask.plot.intervals import draw_bars, draw_categories, draw_log_shares, draw_points
from mgdask.plot.maps import PointGroup, draw_matrix, draw_point_groups, draw_rings, draw_surface
from mgdask.plot.slab import draw_slab, ring_atoms
from mgdask.plot.style import figure, legend_below, letter_panels, style
from tests.plot.boxes_of_text import overlapping, text_boxes

X = np.linspace(0.0, 1.0, 6)
SETS = ["interstice", "symmetry_functions", "coordination", "bond_order_coarse", "motifs"]
PAIR = (HalfViolin(X, (0.2, 0.4, 0.6)), HalfViolin(X, (0.3, 0.5, 0.7)))


@pytest.fixture(scope="module")
def frame(glass_store):
    return mgdask.open_store(glass_store).isel(frame=-1).load()


@pytest.fixture(scope="module")
def values(frame):
    return xr.DataArray(
        np.sin(frame.position.values[:, 0]), dims="atom", coords={"atom_id": frame.atom_id.variable}
    )


def draw_all_boxes(axes):
    for k in range(3):
        draw_box(axes, k, X, color="C0", label=f"set {k}")
        draw_violin(axes, k, X, color="C1")
    axes.legend()


def draw_both_curves(axes):
    draw_band(axes, 2.0 + 30 * X, X, 0.1 + X)
    draw_quantiles(axes, 2.0 + 30 * X, np.stack([X, X + 1, X + 2]), (0.1, 0.5, 0.9), color="C1")
    axes.set_xscale("log")
    use_log_distances(axes)
    axes.legend()


def draw_intervals(axes):
    draw_log_shares(axes, X, X**2, X**2 / 2, 0.01 + X**2, color="C0", label="shares")
    draw_points(axes, X, X**2 + 1e-3, 0.1 * X, color="C1", line=True, label="points")
    axes.legend()


def draw_matrix_of_sets(axes):
    auc = np.add.outer(X[:5], X[:5]) / 2
    image = draw_matrix(axes, auc, SETS, SETS, low=auc - 0.1, high=auc + 0.1, span=(0.0, 1.0))
    axes.figure.colorbar(image, ax=axes, label="AUC-ROC")


def draw_a_map(axes):
    surface = draw_surface(axes, X, X, np.outer(X, X))
    axes.figure.colorbar(surface, ax=axes, label="D² (Å²)")
    draw_rings(axes, np.stack([X, X], axis=1), label="QS > 0.5")
    legend_below(axes)


def draw_groups(axes):
    points = np.stack([X, X], axis=1)
    draw_point_groups(
        axes, {name: PointGroup(points, points[k], "o", "C0") for k, name in enumerate(SETS)}
    )


PICTURES = {
    "boxes": draw_all_boxes,
    "curves": draw_both_curves,
    "density": lambda axes: draw_density(axes, X, X),
    "columns": lambda axes: draw_column_histograms(axes, X, np.append(X, 2.0), np.outer(X, X)),
    "half_violins": lambda axes: draw_half_violins(
        axes,
        ["area\nmean", "mean of\nvolume\nstd"],
        [X, X],
        [PAIR, PAIR],
        {"softest": "C0", "hardest": "C1"},
    ),
    "bars": lambda axes: draw_bars(axes, SETS, X[:5], X[:5] - 0.1, X[:5] + 0.1, xlabel="AUC"),
    "intervals": draw_intervals,
    "categories": lambda axes: draw_categories(
        axes, ["same", "other\nspecies"], [X, X], [np.full((2, 6), 0.1)] * 2, [0.5, 0.5]
    ),
    "matrix": draw_matrix_of_sets,
    "map": draw_a_map,
    "groups": draw_groups,
}


@pytest.mark.parametrize("name", PICTURES)
def test_no_text_over_another(name):
    wide = name == "matrix"
    with style():
        fig = figure(9.0 if wide else 5.5, 4.5)
        axes = fig.subplots()
        PICTURES[name](axes)
        axes.set_title("a title")
        if not axes.get_xlabel() and name not in ("half_violins", "groups"):
            axes.set_xlabel("distance (Å)")
        letter_panels([axes])
        assert overlapping(fig) == []


def test_overlaps_are_found():
    fig = figure(3.0, 2.0)
    fig.set_layout_engine("none")
    axes = fig.subplots()
    axes.text(0.5, 0.5, "one")
    axes.text(0.52, 0.5, "two")
    axes.text(2.0, 0.5, "away")
    found = overlapping(fig)
    assert "'one' over 'two'" in found
    assert "'away' leaves the figure" in found


@pytest.mark.parametrize(("width", "height", "panels"), [(5.0, 4.0, 1), (11.0, 4.6, 2)])
def test_slab_keeps_its_legend_out_of_the_picture(frame, values, width, height, panels):
    with style():
        fig = figure(width, height)
        for axes in np.atleast_1d(fig.subplots(1, panels)):
            mappable = draw_slab(axes, frame, values)
            fig.colorbar(mappable, ax=axes, label="a value (Å²)", shrink=0.85)
            ring_atoms(axes, frame, values.values > 0.99, label="large")
            axes.set_title("a title")
        assert overlapping(fig) == []
        legend = [box for name, box in text_boxes(fig) if name == "legend (Cu, Zr, large)"]
        assert len(legend) == panels
        for box in legend:
            assert all(not box.overlaps(axes.get_window_extent()) for axes in fig.axes)


def test_demo_picture(glass_store, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "mgdask.plot.environments.save", lambda fig, path: drawn.append(overlapping(fig))
    )
    trajectory = mgdask.open_store(glass_store)
    columns = trajectory.position.rename(xyz="soap_feature") ** 2
    features = xr.Dataset({"soap": columns.drop_vars("soap_feature", errors="ignore")})
    features = features.assign_coords(species=trajectory.species, atom_id=trajectory.atom_id)
    progress = xr.DataArray(
        np.arange(8.0), dims="frame", attrs={"long_name": "temperature", "units": "K"}
    )
    plot_environments(trajectory, features, tmp_path / "x.png", progress=progress)
    assert drawn == [[]]


def test_a_flat_box_keeps_its_distance_from_the_edge():
    """Equal values give a box without height, which must not touch the frame."""
    axes = figure(3.0, 3.0).subplots()
    draw_box(axes, 0.0, [0.5, 0.5], color="blue")
    draw_box(axes, 1.0, [0.6, 0.6], color="blue")
    low, high = axes.get_ylim()
    assert low < 0.5 < 0.6 < high
