"""Figures of the temperature study from made-up views: what is marked, labeled and counted."""

from __future__ import annotations

import doctest
import json

import numpy as np
import pytest
from matplotlib.collections import PathCollection

from mgdask.plot import bubbles
from mgdask.plot.maps import draw_signed_matrix
from mgdask.plot.style import figure, save
from mgdask.studies.temperature.figures import (
    creep,
    distances,
    looks,
    maps,
    structure,
    thermometer,
    training,
    validation,
)
from tests.plot.boxes_of_text import overlapping
from tests.studies import temperature_views as made

LABELS = {
    "thermometer": ("", "$T_{ML}$ (K)"),
    "validation": ("RMSE (K), 95 %", ""),
    "put_in": ("temperature put into the feature (K)", "mean $T_{ML}$ of the run (K)"),
    "control": ("variance of temperature explained by shuffled motion (%)", ""),
    "averaging": (
        "radius of averaging (Å); 0: the atom alone",
        "RMSE at temperatures\nthat were left out (K)",
    ),
    "creep": ("strain (%)", "stress (GPa)"),
    "distribution": ("$T_{ML}$ (K)", "probability density (1/K)"),
    "maps": ("x (Å)", "y (Å)"),
    "correlation": (
        "lag of $D^2_{min}$ (ps)",
        "Pearson correlation of $T_{ML}$\nwith $D^2_{min}$, 95 %",
    ),
    "polyhedra": ("", "Δf (%)"),
    "composition": ("", "share of atoms (%)"),
    "classes": ("temperature (K)", "qualified clusters\nin 25 subsets"),
    "weights": ("lag (ps)", "ReliefF weight"),
    "k_curve": ("number of neighbors k", "validation RMSE (K)"),
    "rdf": ("", ""),
}
"""Labels of the first axes of each figure."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder, found = tmp_path_factory.mktemp("figures"), {}

    def keep(fig, path):
        found[path.stem] = fig
        return save(fig, path, dpi=30)

    with pytest.MonkeyPatch.context() as patch:
        for module in (creep, distances, maps, structure, thermometer, training, validation):
            patch.setattr(module, "save", keep)
        for name, draw in made.every_figure().items():
            draw(folder / f"{name}.png")
    return found


def entries(fig):
    return [text.get_text() for legend in fig.legends for text in legend.get_texts()]


@pytest.mark.parametrize("name", LABELS)
def test_axes_are_labeled_with_units_and_no_text_lies_over_another(drawn, name):
    assert overlapping(drawn[name]) == []
    axes = drawn[name].axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == LABELS[name]


def test_every_figure_is_covered(drawn):
    assert list(drawn) == list(LABELS)
    for module in (looks, bubbles):
        assert doctest.testmod(module).failed == 0


def test_thermometer_has_a_panel_per_species_with_unseen_temperatures_ringed(drawn):
    """Fig. 1: both forms against the diagonal; rings only at the temperature left out."""
    panels = drawn["thermometer"].axes
    assert [axes.get_title() for axes in panels] == [*made.SPECIES, "all atoms"]
    for axes in panels:
        assert axes.get_xlim() == axes.get_ylim()
        assert axes.get_aspect() == 1.0
        rings = [
            line for line in axes.lines if line.get_markersize() == 11 and len(line.get_xdata())
        ]
        assert [line.get_xdata().tolist() for line in rings] == [[791.0], [809.0]]
    means = panels[-1].containers[1][0].get_ydata()
    np.testing.assert_allclose(means, made.thermometers()[1].mean[-1])
    assert "not trained on" in entries(drawn["thermometer"])


def test_a_run_is_self_consistent_where_its_curve_crosses_the_diagonal(drawn):
    axes = drawn["put_in"].axes[0]
    rings = [line for line in axes.lines if line.get_markersize() == 11 and len(line.get_xdata())]
    assert len(rings) == 6  # the run at 2000 K has no solution
    one = made.put_in()
    for line, mean in zip(rings, one.mean, strict=False):
        (x,), (y,) = line.get_xdata(), line.get_ydata()
        assert x == y
        assert np.interp(x, one.put_in, mean) == pytest.approx(x)


def test_every_model_has_a_row_with_both_forms(drawn):
    left, right = drawn["validation"].axes
    assert [text.get_text() for text in left.get_yticklabels()] == list(made.MODELS)
    shown = [text.get_text() for text in left.texts]
    assert sorted(shown) == sorted(
        f"{x:.3g}" for pair in made.MODELS.values() for x in dict.fromkeys(pair)
    )
    bar = right.containers[0][2][0].get_segments()[0][:, 0]
    first = made.validation_rows(0.8)[0]
    assert bar.tolist() == pytest.approx([first["low"], first["high"]])
    assert left.get_xlim()[0] == 0.0


def test_shuffled_motion_and_averaging_keep_their_numbers(drawn):
    texts = [text.get_text() for text in drawn["control"].axes[0].texts]
    assert texts == ["14", "30", "0", "-1"]
    points = drawn["averaging"].axes[0].containers[0][0]
    assert points.get_ydata().tolist() == [151.0, 120.0, 95.0, 80.0]


def test_steady_stages_are_lines_of_their_rate(drawn):
    """Fig. 2B: the line has the stated slope in its window; a curve without one says so."""
    stress, axes = drawn["creep"].axes
    labels = {line.get_label(): line for line in axes.lines}
    line = labels["steady, 1e-05 ± 1e-06 1/ps"]
    x, y = line.get_data()
    assert x.tolist() == [100.0, 200.0]
    assert (y[1] - y[0]) / 100.0 / (x[1] - x[0]) == pytest.approx(1e-5)
    assert "no steady stage found" in labels
    assert stress.lines[0].get_ydata().max() == pytest.approx(made.stress_strain()[0].stress.max())


def test_distribution_has_its_peak_and_its_control(drawn):
    """Fig. 2C: the Gaussian has the stated area; the control is beside; the bottom is finite."""
    for axes in drawn["distribution"].axes:
        x, y = next(
            line for line in axes.lines if line.get_label() == "Gaussian peak of creep_100"
        ).get_data()
        assert np.sum(0.5 * (y[1:] + y[:-1]) * np.diff(x)) == pytest.approx(0.9, abs=2e-3)
        assert axes.get_yscale() == "log"
        assert axes.get_ylim()[0] > 1e-9
    assert "100, unstressed" in entries(drawn["distribution"])
    assert "glass transition" in entries(drawn["distribution"])


def test_maps_show_the_same_atoms_of_the_slab(drawn):
    """Figs. 3A to 3E: T_ML and four lags, atoms within 1.9 Å of the middle, equal scales."""
    panels = [axes for axes in drawn["maps"].axes if axes.get_xlabel() == "x (Å)"]
    assert len(panels) == 5
    one = made.slab_map()
    depth = np.abs(one.position[:, 2] - 9.0)
    for axes in panels:
        assert sum(len(points.get_offsets()) for points in axes.collections) == (depth < 1.9).sum()
        assert axes.get_aspect() == 1.0
    bars = [
        axes.get_xlabel()
        for axes in drawn["maps"].axes
        if axes not in panels and axes.get_visible()
    ]
    assert bars == ["$T_{ML}$ (K)"] + 4 * ["$D^2_{min}$ (Å²)"]


def test_correlation_has_both_forms_with_the_papers_numbers(drawn):
    axes = drawn["correlation"].axes[0]
    assert axes.containers[1][0].get_ydata().tolist() == [0.54, 0.59, 0.58, 0.51, 0.31]
    segment = axes.containers[0][2][0].get_segments()[0][:, 1]
    assert segment.tolist() == pytest.approx([0.53, 0.59])
    assert {"paper, 0.24", "paper, 0.49"} < set(entries(drawn["correlation"]))


def test_bubbles_have_areas_of_fractions_and_columns_heights_of_deviations(drawn):
    """Fig. 4: Δf is the height, f the area, and both panels have the same points."""
    upper, lower = drawn["polyhedra"].axes
    plain = made.structure().polyhedra
    names = [text.get_text() for text in upper.get_xticklabels()]
    assert names[0] == "⟨0,0,12,0⟩"
    assert "⟨1,2,5,4,1⟩" in names
    scatter = [one for one in upper.collections if isinstance(one, PathCollection)]
    for one, deviation, fraction in zip(
        scatter, plain["deviation"], plain["fraction"], strict=True
    ):
        np.testing.assert_allclose(one.get_offsets()[:, 1], 100 * np.array(deviation))
        ratio = one.get_sizes() / np.array(fraction)
        np.testing.assert_allclose(ratio, ratio[0])
    x = np.concatenate(
        [one.get_offsets()[:, 0] for one in lower.collections if isinstance(one, PathCollection)]
    )
    assert set(np.round(x, 6)) == set(np.round(plain["lffs"], 6))


def test_order_matrix_has_the_values_of_all_atoms_and_the_signs_of_groups(drawn):
    """Fig. 5C: rows are neighbors and columns central atoms, as in the paper."""
    bars, change, matrix, _ = drawn["composition"].axes
    order = made.structure().order
    texts = [text.get_text() for text in matrix.texts]
    whole = np.array(order["order"][0])
    assert texts[::3] == [f"{x:.2f}".replace("-", "−") for x in whole.T.ravel()]
    rows = {name: order["group"].index(name) for name in ("liquid-like", "solid-like")}
    for place, row in zip((1, 2), rows.values(), strict=True):
        signs = np.array(order["sign"][row]).T.ravel()
        assert [text.replace("−", "-") for text in texts[place::3]] == signs.tolist()
    assert matrix.get_xlabel() == "central atom A"
    assert [text.get_text() for text in change.get_xticklabels()][-1] == "all"
    dashed = next(patch for patch in bars.patches if patch.get_label() == "all atoms")
    assert dashed.get_linestyle() == "--"
    assert dashed.get_data().values.sum() == pytest.approx(100.0)


def test_classes_knee_and_selected_k_are_marked(drawn):
    labels = [text.get_text() for text in drawn["classes"].axes[0].get_xticklabels()]
    assert len(labels) == 20
    clusters = made.clusters(20)
    heights = [bar.get_height() for bar in drawn["classes"].axes[0].patches if not bar.get_hatch()]
    assert heights == clusters.count[clusters.chosen].tolist()
    axes = drawn["weights"].axes[0]
    knee = next(line for line in axes.lines if str(line.get_label()).startswith("knee"))
    assert (
        made.LAGS[~made.weights().kept].max()
        < knee.get_xdata()[0]
        < made.LAGS[made.weights().kept].min()
    )
    curve = made.neighbor_curve()
    marked = {line.get_label(): line for line in drawn["k_curve"].axes[0].lines}
    for form, best in curve.best.items():
        line = marked[f"selected: k = {best}"]
        assert line.get_ydata()[0] == curve.rmse[form].min()


def test_troughs_are_written_and_missing_ones_left_out(drawn):
    axes = [one for one in drawn["rdf"].axes if one.get_visible()]
    titles = [one.get_title() for one in axes]
    assert len(titles) == 15
    assert titles[:2] == ["Cu-Cu", "Cu-Zr, 3.44 Å"]
    assert [len(one.lines) for one in axes[:2]] == [2, 3]


def test_signs_of_a_matrix_with_an_empty_cell():
    axes = figure(3.0, 3.0).subplots()
    values = np.array([[0.2, np.nan], [-0.3, 0.0]])
    draw_signed_matrix(
        axes,
        values,
        "ab",
        "cd",
        {"hot": [["++", ""], ["-", "0"]]},
        colors={"hot": "red"},
        span=(-0.3, 0.3),
    )
    assert [text.get_text() for text in axes.texts] == ["0.20", "++", "−0.30", "−", "0.00", "0"]


def test_views_come_back_from_json():
    """What a stage writes as JSON is what the figure gets, missing numbers included."""
    every = [
        *made.thermometers(), made.put_in(), made.clusters(), made.weights(), made.neighbor_curve(),
        made.averaging_curve(), *made.distributions(), *made.creep_curves(), *made.stress_strain(),
        *made.lag_correlations(), made.slab_map(), made.structure(), made.pair_distances(),
    ]  # fmt: skip
    for one in every:
        text = json.dumps(one.to_json(), allow_nan=False)
        assert type(one).from_json(json.loads(text)).to_json() == one.to_json()
