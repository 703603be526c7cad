"""Generic pictures: what is drawn, and that drawing leaves no trace in the process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

import mgdask
from mgdask.errors import ParameterError
from mgdask.plot.curves import draw_quantiles
from mgdask.plot.distributions import (
    HalfViolin,
    cell_sides,
    draw_column_histograms,
    draw_half_violins,
)
from mgdask.plot.environments import draw_slab as old_draw_slab
from mgdask.plot.environments import principal_components
from mgdask.plot.intervals import draw_bars, draw_categories, draw_log_shares, error_lengths
from mgdask.plot.maps import (
    PointGroup,
    draw_matrix,
    draw_point_groups,
    draw_rings,
    draw_surface,
    symmetric_levels,
)
from mgdask.plot.slab import draw_slab, ring_atoms, slab_atoms
from mgdask.plot.style import figure, letter_panels, save, style
from tests.plot.boxes_of_text import overlapping


@pytest.fixture
def axes():
    return figure(4.0, 3.0).subplots()


@pytest.fixture(scope="module")
def frame(glass_store):
    return mgdask.open_store(glass_store).isel(frame=-1).load()


@pytest.mark.slow  # seconds of imports; of commands by default, see tests/cli/test_cli_help.py
def test_importing_pictures_does_not_import_matplotlib():
    code = (
        "import sys, mgdask.plot.environments, mgdask.plot.maps, mgdask.plot.curves, "
        "mgdask.plot.distributions, mgdask.plot.clusters, mgdask.plot.parity, "
        "mgdask.studies.softness.figures, mgdask.studies.barcode.report, mgdask.datasets.demo; "
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_style_ends_with_the_drawing():
    import matplotlib

    before = dict(matplotlib.rcParams)
    with style():
        assert not figure(2.0, 2.0).subplots().spines["top"].get_visible()
    assert dict(matplotlib.rcParams) == before


def test_panels_and_file(tmp_path):
    fig = figure(4.0, 3.0)
    panels = fig.subplots(1, 3)
    letter_panels(panels)
    assert [axes.get_title(loc="left") for axes in panels] == ["(a)", "(b)", "(c)"]
    first, second = (save(fig, tmp_path / name, dpi=50) for name in ("a.png", "b.png"))
    assert first.read_bytes() == second.read_bytes()


def test_slab_shows_its_atoms(axes, frame):
    assert old_draw_slab is draw_slab
    values = xr.DataArray(
        np.arange(frame.sizes["atom"], dtype=float),
        dims="atom",
        coords={"atom_id": frame["atom_id"].variable},
    )[::2]
    draw_slab(axes, frame, values, slab=6.0, along="x")
    middle = 0.5 * frame.cell.values[0, 0]
    depth = frame.position.values[:, 0] - frame.origin.values[0]
    inside = np.abs(depth - middle) < 3.0
    assert np.array_equal(slab_atoms(frame, slab=6.0, along="x"), inside)
    offsets = np.concatenate([one.get_offsets() for one in axes.collections])
    shown = inside & (np.arange(len(inside)) % 2 == 0)
    expected = frame.position.values[shown][:, [1, 2]]
    assert sorted(map(tuple, offsets)) == sorted(map(tuple, expected))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["Cu", "Zr"]
    ring_atoms(axes, frame, np.arange(len(inside)) < 500, slab=6.0, along="x")
    assert len(axes.collections[-1].get_offsets()) == inside[:500].sum()


def marker_width(axes, collection):
    """Width in Å of a marker as it is drawn."""
    box = collection.get_paths()[0].get_extents(collection.get_transform())
    return abs(
        box.width / (axes.transData.transform([1.0, 0.0]) - axes.transData.transform([0, 0]))[0]
    )


def test_markers_are_scaled_to_the_density_of_the_atoms(frame):
    values = xr.DataArray(
        np.arange(2000.0), dims="atom", coords={"atom_id": frame["atom_id"].variable}
    )
    widths = []
    for size in ((4.0, 3.0), (12.0, 9.0)):
        axes = figure(*size).subplots()
        draw_slab(axes, frame, values)
        axes.figure.draw_without_rendering()
        widths.append([marker_width(axes, one) for one in axes.collections])
    # the same in a figure of any size, with the ratio of the radii of Zr and Cu (Miracle)
    np.testing.assert_allclose(*widths, rtol=1e-6)
    assert widths[0][1] / widths[0][0] == pytest.approx(1.58 / 1.26)
    copper, zirconium = (len(one.get_offsets()) for one in axes.collections)
    area = 0.25 * np.pi * (copper * widths[0][0] ** 2 + zirconium * widths[0][1] ** 2)
    side = float(frame.cell.values[0, 0])
    assert area == pytest.approx(0.5 * side**2, rel=0.05)  # half of the slab is covered
    # twice as many atoms in the same slab have half the area each, as have those of a thick slab
    thick = figure(4.0, 3.0).subplots()
    draw_slab(thick, frame, values, slab=10.0)
    assert marker_width(thick, thick.collections[0]) / widths[0][0] == pytest.approx(
        np.sqrt(0.5), rel=0.05
    )
    ring_atoms(axes, frame, frame.species.values == 40)
    assert marker_width(axes, axes.collections[-1]) == pytest.approx(1.5 * widths[0][1], rel=1e-6)
    draw_slab(thick, frame, values, size=60.0)  # in points², as before
    assert thick.collections[-1].get_sizes().tolist() == [60.0]


def test_no_species_is_left_out_of_a_slab(axes, frame):
    numbers = np.arange(2000) % 8 + 22  # eight species, more than there are markers
    many = frame.assign(species=("atom", numbers)).set_coords("species")
    values = xr.DataArray(
        np.arange(2000.0), dims="atom", coords={"atom_id": frame["atom_id"].variable}
    )
    draw_slab(axes, many, values)
    shown = sum(len(one.get_offsets()) for one in axes.collections)
    assert shown == slab_atoms(frame).sum()
    assert len(axes.get_legend().get_texts()) == 8
    assert overlapping(axes.figure) == []


def test_slab_refuses_in_words(axes, frame):
    with pytest.raises(ParameterError, match="choose a frame and a column first"):
        draw_slab(axes, frame, frame["position"])
    with pytest.raises(ParameterError, match="along='w' must be"):
        slab_atoms(frame, along="w")


def test_components_are_those_of_all_rows(rng):
    values = rng.normal(size=(3, 40, 5)) @ rng.normal(size=(5, 5))
    scores = principal_components(
        xr.DataArray(values, dims=("frame", "atom", "column")), n_components=3
    )
    flat = values.reshape(-1, 5)
    _, s, v = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    v *= np.sign(v[np.arange(5), np.abs(v).argmax(1)])[:, None]
    np.testing.assert_allclose(scores.values.reshape(-1, 3), (flat - flat.mean(0)) @ v[:3].T)
    np.testing.assert_allclose(scores.attrs["explained"], (s**2 / (s**2).sum())[:3])


def test_bars_and_their_intervals(axes):
    draw_bars(axes, ["a", "b"], [0.8, 0.6], [0.7, 0.5], [0.95, 0.65], base=0.5)
    bars = axes.patches
    assert [bar.get_x() for bar in bars] == [0.5, 0.5]
    assert [bar.get_width() for bar in bars] == pytest.approx([0.3, 0.1])
    assert axes.yaxis_inverted()
    ends = axes.collections[0].get_segments()
    assert [end[:, 0].tolist() for end in ends] == [
        pytest.approx([0.7, 0.95]),
        pytest.approx([0.5, 0.65]),
    ]
    np.testing.assert_allclose(error_lengths([0.8], [0.7], [0.95]), [[0.1], [0.15]])


def test_categories_and_matrix(axes):
    draw_categories(
        axes, ["x", "y"], [[0.6], [0.7, 0.9]], [np.zeros((2, 1)), np.zeros((2, 2))], [0.6, 0.8]
    )
    means = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_lw() == 2]
    assert [line.get_ydata()[0] for line in means] == [0.6, 0.8]
    board = figure(4.0, 3.0).subplots()
    auc = np.array([[np.nan, 0.9], [0.5, np.nan]])
    draw_matrix(board, auc, ["a", "b"], ["a", "b"], low=auc - 0.1, high=auc + 0.1, span=(0.5, 1.0))
    texts = {(int(t.get_position()[0]), int(t.get_position()[1])): t for t in board.texts}
    assert texts[1, 0].get_text() == "0.900\n[0.800, 1.000]"
    assert texts[0, 1].get_color() == "white"
    assert texts[1, 0].get_color() == "black"
    assert len(texts) == 2


def test_violins_share_a_scale_and_groups_have_medians(axes):
    grid = np.linspace(-1, 1, 5)
    right, left = np.array([0.0, 1, 2, 1, 0]), np.array([0.0, 0, 1, 0, 0])
    pair = (HalfViolin(right, (-0.5, 0.0, 0.5)), HalfViolin(left, (-0.2, 0.1, 0.2)))
    draw_half_violins(axes, ["area"], [grid], [pair], {"plastic": "red", "other": "blue"})
    widths = [body.get_paths()[0].get_extents() for body in axes.collections]
    assert widths[0].x1 == pytest.approx(0.44)
    assert widths[1].x0 == pytest.approx(-0.22)
    groups = {"ico": PointGroup(np.zeros((3, 2)), np.array([1.0, 2.0]), "o", "red")}
    board = figure(4.0, 3.0).subplots()
    draw_point_groups(board, groups)
    assert [len(one.get_offsets()) for one in board.collections] == [3, 1]
    assert board.collections[1].get_offsets()[0].tolist() == [1.0, 2.0]


def test_contours_around_zero():
    for values, step in (([-0.13, 0.31], 0.2), ([2.0, -7.0], 2.5), ([0.0], 0.5)):
        levels = symmetric_levels(np.array(values), 3 if values != [0.0] else 2)
        np.testing.assert_allclose(np.diff(levels), step)
        assert levels[len(levels) // 2] == 0.0
        np.testing.assert_allclose(levels, -levels[::-1])
        assert levels[-1] >= max(map(abs, values))  # every value has a color


def test_surface_leaves_unknown_places_empty(axes):
    x = np.arange(4.0)
    values = x[:, None] * np.ones(4)
    values[0, 0] = np.nan
    surface = draw_surface(axes, x, x, values, levels=np.array([0.0, 1.0, 2.0]), extend="max")
    assert (surface.levels.tolist(), surface.extend) == ([0.0, 1.0, 2.0], "max")
    assert surface.zmax == 3.0
    assert axes.get_xlim() == axes.get_ylim() == (0.0, 3.0)


def test_rings_are_seen_on_any_color(axes):
    draw_rings(axes, np.array([[1.0, 2.0], [3.0, 4.0]]), label="soft")
    dark, white = axes.collections
    assert white.get_edgecolor()[0].tolist() == [1.0, 1.0, 1.0, 1.0]
    assert dark.get_linewidths()[0] > white.get_linewidths()[0]
    assert len(white.get_facecolor()) == 0  # the map is seen through them
    assert white.get_offsets().tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert axes.get_legend_handles_labels()[1] == ["soft"]


def test_histograms_by_column(axes):
    share = np.array([[0.25, 0.75], [np.nan, np.nan], [1.0, 0.0]])
    cells = draw_column_histograms(axes, [1.0, 2.0, 4.0], [0.0, 0.5, 1.0], share)
    shown = cells.get_array()
    assert shown.mask.tolist() == [[False, True, False], [False, True, False]]
    assert shown[:, 0].tolist() == [0.25, 0.75]
    assert cells.get_clim()[0] == 0.0
    corners = cells.get_coordinates()
    assert corners[0, :, 0].tolist() == [0.5, 1.5, 3.0, 5.0]
    assert cell_sides([2.0]).tolist() == [1.5, 2.5]


def test_quantiles_have_one_entry_per_pair(axes):
    draw_quantiles(axes, np.arange(3.0), np.zeros((5, 3)), (0.1, 0.25, 0.5, 0.75, 0.9), color="red")
    assert axes.get_legend_handles_labels()[1] == ["10 and 90 %", "25 and 75 %", "median"]
    assert len(axes.lines) == 5


def test_shares_of_zero_on_a_logarithmic_axis(axes):
    draw_log_shares(axes, [0.1, 0.5], [0.0, 0.2], [0.0, 0.1], [0.03, 0.4], color="red")
    assert axes.get_yscale() == "log"
    triangles = axes.lines[-1]
    assert triangles.get_marker() == "v"
    assert (triangles.get_xdata().tolist(), triangles.get_ydata().tolist()) == ([0.1], [0.03])
    ends = axes.collections[0].get_segments()[0]
    np.testing.assert_allclose(ends[:, 1], [0.1, 0.4])
