"""Clusters, barcodes, rows of models, parity and groups of a slab: against geometry and counting."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import LineCollection, PatchCollection
from scipy.stats import special_ortho_group

from mgdask.errors import ParameterError
from mgdask.plot.barcodes import BarGroup, draw_barcode
from mgdask.plot.clusters import draw_cluster, species_colors, view_rotation
from mgdask.plot.curves import use_plain_log_ticks
from mgdask.plot.intervals import draw_rows
from mgdask.plot.maps import draw_colored_points
from mgdask.plot.parity import draw_diagonal, draw_error_density, draw_parity
from mgdask.plot.slab import draw_slab_groups
from mgdask.plot.style import figure, pale


@pytest.fixture
def axes():
    return figure(4.0, 3.0).subplots()


@pytest.fixture
def octahedron(rng):
    corners = np.array(
        [[2.9, 0, 0], [-2.4, 0, 0], [0, 2.6, 0], [0, -2.2, 0], [0, 0, 2.0], [0, 0, -1.7]]
    )
    position = np.concatenate([[[0.0, 0.0, 0.0]], corners, [[3.0, 3.0, 1.0]]])
    return position, np.array([40, 29, 29, 29, 40, 40, 40, 29]), np.arange(8) % 7 > 0


def drawn(position, species, shell, **options):
    axes = figure(3.0, 3.0).subplots()
    draw_cluster(axes, position, species, shell, **options)
    spheres = [one for one in axes.collections if isinstance(one, PatchCollection)]
    edges = [one for one in axes.collections if isinstance(one, LineCollection)]
    return axes, spheres, edges


def test_edges_of_an_octahedron(octahedron):
    axes, spheres, edges = drawn(*octahedron)
    assert sum(len(one.get_segments()) for one in edges) == 12
    assert len(edges[0].get_segments()) > 0  # some are hidden, and dotted
    assert sum(len(one.get_paths()) for one in spheres) == 8
    assert axes.get_xlim()[1] == pytest.approx(1.1 * np.sqrt(19.0))
    assert not axes.axison


def test_picture_of_a_rotated_cluster_is_the_same(octahedron):
    position, _, shell = octahedron
    rotation = special_ortho_group.rvs(3, random_state=2)
    for one in (position, position @ rotation.T):
        np.testing.assert_allclose(
            one @ view_rotation(one[shell]).T,
            position @ view_rotation(position[shell]).T,
            atol=1e-9,
        )
    assert np.linalg.det(view_rotation(position[shell])) == pytest.approx(1.0)


def test_far_atoms_are_paler(octahedron):
    position, _, shell = octahedron
    _, spheres, _ = drawn(position, np.full(8, 29), shell)
    red = [one.get_facecolor()[:, 2].mean() for one in (spheres[0], spheres[-1])]
    assert red[0] > red[1]  # the back half has more white in it
    assert pale("black", 0.25) == (0.25, 0.25, 0.25)
    assert species_colors([40, 29])[29] != species_colors([40, 29])[40]


def test_cluster_without_a_shell_is_refused(octahedron, axes):
    position, species, _ = octahedron
    with pytest.raises(ParameterError, match=r"at least four atoms.*got 1 atoms"):
        draw_cluster(axes, position, species, np.arange(8) == 3)
    with pytest.raises(ParameterError, match="with the center"):
        draw_cluster(axes, position, species, np.arange(8) < 6)
    with pytest.raises(ParameterError, match=r"position \(atom, 3\)"):
        draw_cluster(axes, position, species[:3], np.arange(8) > 0)
    flat = np.concatenate([[[0, 0, 0]], np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1.2, 0]])])
    draw_cluster(axes, flat, np.full(5, 29), np.arange(5) > 0)  # a flat shell has no polyhedron


def test_bars_of_groups(axes):
    looks = [
        BarGroup("compact", "blue"),
        BarGroup("other", "orange", "///"),
        BarGroup("none", "red"),
    ]
    draw_barcode(axes, [0.2, 0.1, 0.3], [0, 1, 0], looks, deviation=[0.01, 0.01, 0.02])
    assert axes.get_legend_handles_labels()[1] == ["compact", "other"]
    by_place = sorted(axes.patches, key=lambda bar: bar.get_x())
    assert [bar.get_height() for bar in by_place] == [0.2, 0.1, 0.3]
    assert [bool(bar.get_hatch()) for bar in by_place] == [False, True, False]


def test_rows_from_top_to_bottom(axes):
    draw_rows(
        axes, ["a", "b", "c"], [1.0, 2.0, np.nan], [0.5, np.nan, np.nan], [1.5, np.nan, np.nan],
        colors=["red"] * 3, markers=["o"] * 3, digits=2,
    )  # fmt: skip
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b", "c"]
    assert axes.get_ylim() == (2.5, -0.5)
    assert [text.get_text() for text in axes.texts] == ["1", "2"]
    assert axes.containers[0][2][0].get_segments()[0][:, 0].tolist() == [0.5, 1.5]
    draw_rows(
        axes, ["d", "e"], [1268.34, 0.12345], [np.nan] * 2, [np.nan] * 2,
        colors=["red"] * 2, markers=["o"] * 2, digits=3,
    )  # fmt: skip
    assert [text.get_text() for text in axes.texts[2:]] == ["1268", "0.123"]


def test_parity_and_errors(axes):
    draw_parity(axes, [1.0, 3.0], [2.0, 2.5], color="blue", label="model")
    draw_diagonal(axes, [1.0, 3.0], [2.0, np.nan], margin=0.1)
    assert axes.get_xlim() == axes.get_ylim() == pytest.approx((0.8, 3.2))
    many = figure(3.0, 3.0).subplots()
    draw_parity(many, np.arange(501.0), np.arange(501.0), color="blue", size=4.0)
    assert many.lines[0].get_markersize() == 2.0
    errors = figure(3.0, 3.0).subplots()
    draw_error_density(errors, [-5.0, 0.1, 0.2, 0.3], [-1.0, 0.0, 1.0], color="red", normal=True)
    values, edges, _ = errors.patches[0].get_data()
    assert values.tolist() == [0.25, 0.75]  # one of four is clipped into the first bin
    assert (values * np.diff(edges)).sum() == 1.0


def test_colored_points_by_kind(axes):
    points = np.arange(8.0).reshape(4, 2)
    values = np.array([0.1, np.nan, -0.9, 0.2])
    mappable = draw_colored_points(axes, points, values, ["b", "a", "a", "b"], span=(-1.0, 1.0))
    assert axes.get_legend_handles_labels()[1] == ["a", "b"]
    assert mappable.get_clim() == (-1.0, 1.0)
    shown = [one.get_offsets().tolist() for one in axes.collections]
    assert shown == [[[2.0, 3.0]], [[4.0, 5.0]], [], [[0.0, 1.0], [6.0, 7.0]]]
    axes.set_xscale("log")
    use_plain_log_ticks(axes.xaxis)
    axes.set_xlim(0.9, 60)
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert [label for label in labels if label in ("1", "2", "5", "10", "50")]


def test_slab_of_groups(axes, rng):
    position = rng.uniform(0, 10, (60, 3))
    frame = xr.Dataset(
        {
            "position": (("atom", "xyz"), position),
            "cell": (("vector", "xyz"), 10.0 * np.eye(3)),
            "origin": ("xyz", np.zeros(3)),
            "species": ("atom", np.arange(60) % 2 + 29),
        }
    )
    group = np.arange(60) % 3
    draw_slab_groups(axes, frame, group, [("none", "0.9"), ("a", "red"), ("b", "blue")], slab=4.0)
    inside = np.abs(position[:, 2] - 5.0) < 2.0
    counts = [len(one.get_offsets()) for one in axes.collections]
    assert counts == [
        (inside & (group == k) & (frame.species.values == z)).sum()
        for k in range(3)
        for z in (29, 30)
    ]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["none", "a", "b", "Cu", "Zn"]
    with pytest.raises(ParameterError, match="one index of 2 groups for each of 60 atoms"):
        draw_slab_groups(axes, frame, group, [("none", "0.9"), ("a", "red")])
