"""Axes of the figures: those of Wang and Jain's panels, and the numbers that are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from mgdask.studies.softness.figures import columns, prediction, spectrum


def qs_numbers(rng):
    """Numbers of a report, made up, of the form that the figures take."""
    r = 0.05 * np.arange(1, 521)
    score = (np.arange(20) + 0.5) / 20
    probability = 0.05 * 2 * score
    probability[1] = 0.0
    group = {"dimension": np.array([2.1, 2.9]), "g": np.ones(100), "mass": 0.1 * r**2.5}
    spectra = {"score": score, "density": np.ones(20)}
    value = np.linspace(-2, 2, 30)
    quartiles = [-1.0, 0.0, 1.0]
    return {
        "strain": 0.04,
        "threshold": 5.0,
        "map": {
            "x": np.arange(5.0),
            "y": np.arange(7.0),
            "d2": rng.random((5, 7)) * 20,
            "flagged": np.array([[1.0, 2.0], [3.0, 3.0]]),
            "across": "x",
            "up": "z",
            "slab": 2.0,
        },
        "predicted": {
            "edges": np.array([0.1, 1.0, 50.0]),
            "median": np.array([0.5, 8.0]),
            "share": np.array([0.2, 0.6]),
            "error": np.array([0.01, 0.02]),
        },
        "spectrum": {**spectra, "mean": 0.4},
        "conditional": {
            "score": score,
            "probability": probability,
            "low": 0.5 * probability,
            "high": 2 * probability + 0.01,
            "count": np.where(score < 0.9, 100, 3),
            "fewest": 20,
            "base": 0.05,
            "equal": {"score": 0.48, "low": 0.4, "high": 0.55},
        },
        "packing": {
            "r": r,
            "shell": 0.15 * np.arange(100),
            "split": 10.0,
            "groups": dict.fromkeys(("all", "softest", "hardest"), group),
        },
        "violins": [
            {
                "column": f"interstice/area_{k}",
                "value": value,
                **{name: np.exp(-(value**2)) for name in ("hardest", "softest")},
                **{f"{name}_quartiles": quartiles for name in ("hardest", "softest")},
            }
            for k in range(6)
        ],
        "at_yield": {
            "strain": np.array([0.0, 0.01, 0.02, 0.03]),
            "count": np.array([0, 3, 40, 50]),
            "fewest": 5,
            "edges": np.linspace(0, 1, 11),
            "share": np.full((4, 10), 0.1),
            "quantiles": np.tile(np.array([[0.2], [0.3], [0.5], [0.7], [0.8]]), 4),
            "quantile": [0.1, 0.25, 0.5, 0.75, 0.9],
        },
        "glasses": [
            {"glass": name, **spectra, "std": {"value": std}}
            for name, std in (("Cu50Zr50", 0.196), ("Cu65Zr35", 0.23))
        ],
        "calibration": {
            "predicted": np.array([0.1, 0.5, 0.9]),
            "observed": np.array([0.2, np.nan, 0.8]),
            "low": np.array([0.1, np.nan, 0.7]),
            "high": np.array([0.3, np.nan, 0.9]),
        },
        "importance": "gain",
        "leading": [
            {"column": f"interstice/area_{k}", "units": "1", "importance": 0.5} for k in range(2)
        ],
        "dependence": {
            "alone": [],
            "together": {
                "columns": ["interstice/area_0", "interstice/area_1"],
                "x": np.arange(4.0),
                "y": np.arange(3.0),
                "signed": np.linspace(-0.3, 0.2, 12).reshape(4, 3),
            },
        },
        "motifs": {
            name: {"drawn": np.ones((2, 2)), "median": np.ones(2), "atoms": 2}
            for name in ("<0,0,12,0,0>", "<0,0,12,4,0>", "other Frank-Kasper", "plastic")
        },
    }


@pytest.fixture
def drawn(rng, monkeypatch):
    """Draws a figure of a module and returns its panels instead of a file."""

    def draw(module, name):
        kept = []
        monkeypatch.setattr(module, "save", lambda fig, path: kept.append(fig))
        getattr(module, name)(qs_numbers(rng), "figure.png")
        return kept[0].axes

    return draw


def labels(axes):
    return axes.get_xlabel(), axes.get_ylabel()


def entries(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_contours_of_d2_under_rings(drawn):
    """Fig. 2a: D² in a slice of 2 Å, atoms with QS > 0.5 as white circles."""
    map_axes, fraction, bar = drawn(prediction, "draw_prediction")
    assert labels(map_axes) == ("X (Å)", "Z (Å)")
    assert map_axes.get_aspect() == 1.0
    assert "slice of 2 Å" in map_axes.get_title()
    assert entries(map_axes) == ["QS > 0.5"]
    contours, *rings = map_axes.collections
    levels = contours.levels.tolist()
    assert levels[0] == 0.0
    assert 5.0 in levels  # the threshold of plastic atoms is a contour
    assert rings[-1].get_offsets().tolist() == [[1.0, 2.0], [3.0, 3.0]]
    assert bar.get_ylabel() == "D² (Å²)"
    assert labels(fraction) == ("D² (Å²)", "fraction predicted as plastic (QS > 0.5)")
    assert [axes.get_title(loc="left") for axes in (map_axes, fraction)] == ["(a)", "(b)"]


def test_panels_of_the_distribution(drawn):
    """Fig. 3a to 3f, by their letters and axes."""
    panels = drawn(spectrum, "draw_scores")[:6]
    assert [axes.get_title(loc="left") for axes in panels] == [f"({k})" for k in "abcdef"]
    a, b, c, d, e, f = panels
    assert labels(a) == ("quench-in softness, QS", "probability density")
    assert labels(b) == ("quench-in softness, QS", "P(plastic|QS)")
    assert labels(c) == ("r (Å)", "M(r)")
    assert c.get_xscale() == c.get_yscale() == "log"
    assert "hardest: D = 2.10, 2.90" in entries(c)
    assert [line.get_label().split(":")[0] for line in c.lines[:3]] == ["hardest", "softest", "all"]
    (inset,) = c.child_axes
    assert labels(inset) == ("r (Å)", "g(r)")
    assert len(inset.lines) == 3  # both groups, and the line at 1
    assert entries(d) == ["softest", "hardest"]
    assert labels(e) == ("strain (%)", "quench-in softness, QS, of activated atoms")
    assert e.lines[0].get_xdata().tolist() == pytest.approx([2.0, 3.0])  # frames of 5 atoms
    assert e.get_ylim() == (0.0, 1.0)
    assert entries(f) == ["Cu50Zr50, std(QS) = 0.196", "Cu65Zr35, std(QS) = 0.230"]


@pytest.mark.parametrize("factor", [1.0, 100.0])
def test_both_first_peaks_are_in_the_inset(rng, monkeypatch, factor):
    """A group of few atoms has a first peak of hundreds; it does not hide the other."""
    kept = []
    monkeypatch.setattr(spectrum, "save", lambda fig, path: kept.append(fig))
    numbers = qs_numbers(rng)
    shell = np.arange(0.05, 20, 0.1)
    peak = 3 * np.exp(-(((shell - 2.7) / 0.2) ** 2)) + (shell > 3.5)
    numbers["packing"]["shell"] = shell
    groups = numbers["packing"]["groups"]
    groups["softest"] = {**groups["softest"], "g": peak}
    groups["hardest"] = {**groups["hardest"], "g": factor * 1.5 * peak}
    spectrum.draw_scores(numbers, "figure.png")
    (inset,) = kept[0].axes[2].child_axes
    _, high = inset.get_ylim()
    assert 3.0 <= high <= 4.5 * 3.0
    left, right = inset.get_xlim()
    assert 1.5 < left < 2.7 < right <= 10.0
    assert [text.get_text() for text in inset.texts] == ([] if factor == 1.0 else ["↑ 423"])


def test_ratio_on_a_second_axis(drawn):
    """Fig. 3b: logarithmic P(plastic|QS), its ratio to P(plastic), and the mark at 1."""
    b = drawn(spectrum, "draw_scores")[1]
    assert b.get_yscale() == "log"
    (ratio,) = [axes for axes in b.child_axes if "/" in axes.get_ylabel()]
    assert ratio.get_ylabel() == "P(plastic|QS) / P(plastic)"
    b.figure.draw_without_rendering()
    np.testing.assert_allclose(ratio.get_ylim(), np.array(b.get_ylim()) / 0.05)
    assert "ratio 1 at QS = 0.48" in entries(b)
    base = next(line for line in b.lines if line.get_label().startswith("P(plastic)"))
    assert set(base.get_ydata()) == {0.05}
    points = next(line for line in b.lines if len(line.get_xdata()) > 2)
    assert len(points.get_xdata()) == 17  # of 20 bins, 2 have few atoms and 1 has none plastic


def test_signed_dependence_with_motifs(drawn):
    """Fig. 5b: signed partial dependence with zero in the middle of the colors."""
    axes, bar = drawn(columns, "draw_dependence")
    assert labels(axes) == ("area 0", "area 1")
    assert bar.get_ylabel() == "partial dependence (log-odds)"
    assert entries(axes) == ["<0,0,12,0,0>", "<0,0,12,4,0>", "other Frank-Kasper"]
    levels = axes.collections[0].levels
    np.testing.assert_allclose(levels, -levels[::-1])
    assert levels.max() >= 0.3
    assert axes.collections[1].levels.tolist() == [0.0]  # the line between soft and hard


def test_calibration_against_the_diagonal(drawn):
    """Suppl. Fig. 7."""
    (axes,) = drawn(prediction, "draw_calibration")
    assert labels(axes) == (
        "predicted probability, QS",
        "fraction of plastic atoms, classes balanced",
    )
    diagonal, points = axes.lines[:2]
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 1]
    assert points.get_xdata().tolist() == [0.1, 0.9]  # an empty bin is left out
