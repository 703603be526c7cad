"""Page of the temperature study from made-up results: numbers, order, verdict, what is left out."""

from __future__ import annotations

import base64
import doctest
import json
import re

import numpy as np
import pytest

from mgdask.errors import StoreError
from mgdask.plot.style import save
from mgdask.studies.temperature import captions, tables
from mgdask.studies.temperature.figures import (
    creep,
    distances,
    maps,
    structure,
    thermometer,
    training,
    validation,
)
from mgdask.studies.temperature.report import temperature_page, temperature_report
from mgdask.studies.temperature.report_data import ReportData, read_validation
from tests.studies import temperature_views as made
from tests.studies.test_softness_report import Page

PICTURES = (
    "thermometer", "validation", "averaging", "put_in", "control", "creep", "distribution", "maps",
    "correlation", "polyhedra", "composition", "rdf", "classes", "weights", "k_curve",
)  # fmt: skip
"""Figures in the order of the page."""


@pytest.fixture(scope="module")
def coarse():
    with pytest.MonkeyPatch.context() as patch:
        for module in (creep, distances, maps, structure, thermometer, training, validation):
            patch.setattr(module, "save", lambda fig, path: save(fig, path, dpi=20))
        yield


@pytest.fixture(scope="module")
def written(coarse, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    path = temperature_report(made.make_folder(folder), [("seed", "7")])
    return folder, path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(written):
    return Page(written[1])


def test_examples():
    for module in (captions, tables):
        assert doctest.testmod(module).failed == 0


def test_no_picture_is_missing(written, page):
    assert page.open == []
    pictures = [base64.b64decode(source.split(",", 1)[1]) for source, _ in page.pictures]
    assert pictures == [(written[0] / f"{name}.png").read_bytes() for name in PICTURES]
    assert all(len(alt) > 40 for _, alt in page.pictures)
    assert "nan" not in re.sub(r'base64,[^"]*', "", written[1]).lower()


def test_a_simple_model_that_wins_is_said_first(page):
    first, second, third = page.captions[:3]
    assert first == (
        "A simple model predicts temperatures better than the paper's. RMSE at temperatures that "
        "were left out of training: LightGBM on lg[r²m], without T 151 [146, 157] K, the paper's "
        "model (k nearest neighbors on lg[r²/(T/m)], with T) 215 [210, 221] K. A constant has an "
        "RMSE of 435 K."
    )
    assert second.endswith("of k nearest neighbors from 215 to 167 K.")
    assert third.startswith(
        "Our best model, averaged over neighbors on lg[r²m], without T, has 92 [87, 98] K."
    )


def test_a_paper_that_wins_and_ours_that_loses_are_said_so():
    rows = [{"scheme": "a", "model": model, "form": form, "rmse": rmse, "low": None, "high": None}
            for model, form, rmse in (("ridge", "none", 300.0), ("k nearest neighbors", "run", 200.0),
                                      ("ours", "none", 250.0))]  # fmt: skip
    texts = captions.verdict(ReportData(rows=rows, unseen="a"))
    assert texts[0].startswith(
        "The paper's model predicts temperatures better than the simple models"
    )
    assert texts[1] == (
        "Our best model, ours on lg[r²m], without T, has 250 K. It is not the best: k nearest "
        f"neighbors on lg[r²/(T/m)], with T has 200 K. {captions.OUR_CHOICE}"
    )


def test_numbers_of_the_validation_are_those_of_the_results(page):
    """Each row of both tables, in the order of the study, unseen temperatures first."""
    shown = [row for row in page.rows if row and row[0] in made.MODELS]
    for scheme, rows in zip((1.0, 0.8), (shown[:6], shown[6:]), strict=True):
        assert [row[0] for row in rows] == list(made.MODELS)
        for row in rows:
            for cell, rmse in zip(row[2:], made.MODELS[row[0]], strict=True):
                value, low, high = (float(x) for x in re.findall(r"[\d.]+", cell))
                assert value == pytest.approx(scheme * rmse, abs=0.5)
                assert (low, high) == pytest.approx((value - 5, value + 6), abs=1.01)
    assert [row[1] for row in shown[:6]] == 4 * ["baseline"] + ["the paper's", "ours"]


def test_tables_of_runs_and_tails(page):
    rows = {row[0]: row for row in reversed(page.rows) if row}  # the first of each name
    assert rows["800"][1] == "no"
    assert rows["100"][1] == "yes"
    mean, deviation = made.thermometers()[0].mean[-1, 0], made.thermometers()[0].deviation[-1, 0]
    assert rows["100"][2] == f"{mean:.0f} ± {deviation:.0f}"
    tail = rows["creep_100"]
    assert tail[-3:] == ["90.0 %", "10.0 %", "5.0 %"]
    assert rows["100 (unstressed control)"][-2:] == ["0.0 %", "0.0 %"]


def test_the_papers_numbers_stand_beside_ours(page):
    rows = {row[0]: row[1:3] for row in page.rows if len(row) == 4}
    assert rows["representative classes"] == ["7 of 20", "6 of 7"]
    assert rows["lags kept"] == ["17 of 41", f"{(made.LAGS >= 5).sum()} of 12"]
    curve = made.neighbor_curve()
    assert rows["neighbors k"][0] == "50"
    assert all(f"{curve.best[form]} (" in rows["neighbors k"][1] for form in curve.best)
    name = "Pearson with D²min, creep_100, without T"
    assert rows[name] == ["0.24 to 0.49", "0.54 to 0.31 (largest 0.59)"]


def test_excess_over_the_control_and_all_models_are_tables(page):
    rows = [row for row in page.rows if row]
    assert [
        "creep_100", "with T", "100", "410", "12.0 [11.0, 14.0] %", "11.0 [10.0, 13.0] %",
        "30.0 [29.0, 32.0] %", "2.0 %",
    ] in rows  # fmt: skip
    assert [
        "creep_100", "ours", "without T", "300", "280", "900", "0.54, 0.59, 0.58, 0.51, 0.31"
    ] in rows  # fmt: skip
    assert "creep_100: some atoms share their T_ML." in page.captions


def test_captions_state_what_is_seen(page):
    text = " ".join(page.captions)
    assert "Solving T_ML(T) = T (rings) gives 520 K for the run at 100 K" in text
    assert "with T: 14 to 30 % of the variance." in text
    assert "without T: −1 to 0 % of the variance." in text
    assert "It falls from 151 K for the atom alone to 80 K at 8 Å" in text
    assert "high: no steady stage was found (primary creep)." in text
    assert "Activation volume: 31.0 ± 4.0 Å³." in text
    plain = made.structure().polyhedra
    row = plain["group"].index("solid-like")
    k = plain["polyhedron"].index("<0,0,12,0,0>")
    assert f"solid-like {100 * plain['fraction'][row][k]:.1f} % (Δf +" in text
    order = made.structure().order
    hot, cold = (
        np.ravel(order["sign"][order["group"].index(g)]) for g in ("liquid-like", "solid-like")
    )
    some = [(a[0], b[0]) for a, b in zip(hot, cold, strict=True) if "0" not in (a, b)]
    opposite = sum(a != b for a, b in some)
    assert f"their signs are opposite in {opposite} of {len(some)} pairs" in text


def test_only_what_the_study_has_computed_is_on_the_page(coarse, tmp_path):
    data = made.report_data(
        **dict.fromkeys(
            ("thermometers", "control", "distributions", "creep", "stress_strain", "correlations",
             "slab_maps", "structures"), ()),
        **dict.fromkeys(("put_in", "averaging", "distances", "weights", "clusters"), None),
    )  # fmt: skip
    page = Page(temperature_page(data, tmp_path).render())
    assert len(page.pictures) == 2
    assert not any("Liquid-like" in text for text in page.captions)
    assert tables.paper_table(ReportData()).rows == []
    empty = Page(temperature_page(ReportData(), tmp_path).render())
    assert (empty.pictures, empty.rows) == ([], [])


def test_report_of_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"classes\.json is missing.*mgdask study temperature"):
        temperature_report(tmp_path)


def test_errors_without_more_still_have_a_thermometer(tmp_path):
    """Rows of errors per temperature are enough for the panel of all atoms."""
    at = [{"temperature": t, "mean": t + 10, "deviation": 5.0} for t in (1000.0, 500.0)]
    row = {"scheme": "temperatures left out", "model": "k nearest neighbors", "form": "none",
           "rmse": 150.0, "low": None, "high": None, "temperatures": at}  # fmt: skip
    (tmp_path / "validation.json").write_text(json.dumps([row]))
    found = read_validation(tmp_path / "validation.json")
    assert found["unseen"] == "temperatures left out"
    (one,) = found["thermometers"]
    assert one.temperature.tolist() == [500.0, 1000.0]
    assert one.mean.tolist() == [[510.0, 1010.0]]
    assert one.unseen.all()


def test_errors_beyond_the_training_temperatures_are_said():
    rows = [{"scheme": scheme, "model": model, "form": "none", "rmse": rmse, "low": None, "high": None}
            for scheme, model, rmse in (("a", "k nearest neighbors", 200.0),
                                        ("extrapolation", "ridge", 378.0),
                                        ("extrapolation", "ours", 608.0))]  # fmt: skip
    text = captions.verdict(ReportData(rows=rows, unseen="a"))[-1]
    assert "from 378 K (ridge on lg[r²m], without T) to 608 K (ours on lg[r²m], without T)" in text
