"""From two halves of a real deformed slab to scores of softness: what is promised whatever the data."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mgdask
from mgdask.cli import cli
from mgdask.errors import ParameterError, StoreError
from mgdask.learn.data.splits import undersample
from mgdask.learn.data.targets import rank_targets
from mgdask.learn.predict import predict
from mgdask.learn.training.boosting import train
from mgdask.learn.training.card import read_card
from mgdask.learn.training.model import Model
from mgdask.studies.results import Metric, Results
from mgdask.studies.softness.data import prepare_glass
from mgdask.studies.softness.results import softness_numbers
from mgdask.studies.softness.simple_model import (
    logistic_models,
    pooled_simple_text,
    simple_model_text,
    simple_model_wins,
)
from mgdask.studies.softness.training import PARAMETERS, Softness, learn_softness
from tests.resealed import reseal
from tests.studies.conftest import PLAIN, SETTINGS


@pytest.fixture(scope="module")
def glasses(half_glasses):
    return half_glasses


@pytest.fixture(scope="module")
def found(half_softness):
    return half_softness


def test_ranks_of_d2min_as_soft_labels(glasses):
    found = learn_softness(glasses[:1], glasses[1], target="rank", **{**PLAIN, "folds": 3})
    x, y, atoms = glasses[0].rows()
    value = glasses[0].d2min()[glasses[0].frame][atoms]
    for k, model in enumerate(found.models):
        assert model.objective == "cross_entropy"
        sample = undersample(y, k, strata=np.zeros(len(y), dtype=np.int64))
        # the middle of the balanced sample is the border of the classes
        targets = rank_targets(value[sample])
        assert np.array_equal(targets > 0.5, y[sample])
        want = train(
            x[sample], targets, objective="cross_entropy", num_boost_round=40, seed=k,
            params={**PARAMETERS, "min_data_in_leaf": 3}, threads=1, progress=False,
        )  # fmt: skip
        assert np.array_equal(want.predict(x), model.predict(x))
    assert found.card["parameters"]["target"] == "rank"
    assert len(found.folds) == 3
    with pytest.raises(ParameterError, match="target='d2min' must be 'label' or 'rank'"):
        learn_softness(glasses[:1], glasses[1], target="d2min", **PLAIN)


def test_scores_of_the_glass_set_aside(glasses, found):
    x, y, atoms = glasses[1].rows()
    assert np.isfinite(found.qs[atoms]).all()
    assert np.isnan(np.delete(found.qs, atoms)).all()
    assert ((found.qs[atoms] >= 0) & (found.qs[atoms] <= 1)).all()
    assert found.predict(x).tobytes() == found.qs[atoms].tobytes()
    # the area by counting pairs
    a, b = found.qs[atoms][y], found.qs[atoms][~y]
    area = ((a[:, None] > b).sum() + 0.5 * (a[:, None] == b).sum()) / (len(a) * len(b))
    auc = found.metrics["roc_auc"]
    assert auc.value == pytest.approx(area)
    assert auc.low < auc.value < auc.high
    assert found.metrics["recall"].value == pytest.approx((a > 0.5).mean())
    for kind, recall in (("most_frequent", 0.0), ("minority", 1.0)):
        assert {name: one.value for name, one in found.baselines[kind].items()} == {
            "roc_auc": 0.5,
            "recall": recall,
        }
    assert found.train == ("left",)
    assert "tested on right, 80 columns, 2 draws" in str(found)


def test_models_find_their_columns_in_the_store(glasses, found, tmp_path):
    predict(found.models, glasses[1].features, tmp_path / "qs.zarr", progress=False)
    qs = mgdask.open_store(tmp_path / "qs.zarr").prediction.values[0, :, 0]
    there = np.isfinite(found.qs)
    assert np.array_equal(qs[there], found.qs[there])
    assert found.models[0].missing == ()
    x = np.concatenate(
        [v.values[0] for v in mgdask.open_store(glasses[1].features).data_vars.values()], axis=1
    )
    assert np.array_equal(np.isnan(qs), np.isnan(x).any(axis=1))


def test_same_seed_same_bits(glasses, found):
    again = learn_softness(glasses[:1], glasses[1], **SETTINGS)
    assert again.qs.tobytes() == found.qs.tobytes()
    assert again.metrics == found.metrics
    assert again.card == found.card
    assert again.choice == found.choice
    plain = learn_softness(
        glasses[:1], glasses[1], **PLAIN
    )  # the score takes all columns, so the search does not matter
    assert plain.qs.tobytes() == found.qs.tobytes()
    assert plain.folds == plain.leading == ()
    other = learn_softness(glasses[:1], glasses[1], **PLAIN, seed=7)
    assert other.qs.tobytes() != found.qs.tobytes()


def test_leading_columns(glasses, found):
    x = glasses[0].rows()[0]
    assert len(found.leading) == len(set(found.leading)) == 6
    share = np.array(found.choice.importance)
    assert (np.diff(share) <= 0).all()
    assert share.sum() == pytest.approx(1.0)
    # of the columns that stay no two say the same, by NumPy's own correlation
    places = [found.columns.index(name) for name in found.leading]
    r = np.corrcoef(x[:, places], rowvar=False)
    assert np.abs(r - np.eye(6)).max() <= 0.95
    for name, (kept, r) in found.choice.correlated.items():
        both = np.corrcoef(x[:, found.columns.index(name)], x[:, found.columns.index(kept)])[0, 1]
        assert abs(both) > 0.95
        assert both == pytest.approx(r)
    assert [n for n, _, _ in found.choice.scores][-1] == 6
    assert found.leading_metrics["roc_auc"].low < found.leading_metrics["roc_auc"].value


def test_single_models_beside_their_mean(glasses, found):
    """Wang & Jain, Methods: the models are tested and the scoring metric is averaged."""
    x, y, atoms = glasses[1].rows()
    each = found.each(x)
    assert each.shape == (2, len(atoms))
    assert np.mean(each, axis=0).tobytes() == found.qs[atoms].tobytes()
    for name in ("roc_auc", "recall"):
        one = found.single[name]
        scores = []
        for score in each:
            a, b = score[y], score[~y]
            area = ((a[:, None] > b).sum() + 0.5 * (a[:, None] == b).sum()) / (len(a) * len(b))
            scores.append(area if name == "roc_auc" else (a > 0.5).mean())
        assert one["mean"] == pytest.approx(np.mean(scores))
        assert one["deviation"] == pytest.approx(np.std(scores, ddof=1))
        assert one["ensemble"]["value"] == pytest.approx(found.metrics[name].value)
        gain = found.metrics[name].value - np.mean(scores)
        assert one["gain"]["value"] == pytest.approx(gain)
        assert f"{np.mean(scores):.3f} ± {np.std(scores, ddof=1):.3f}, mean of 2" in str(found)
    assert set(found.leading_single) == {"roc_auc", "recall"}


def pair_area(score, y):
    a, b = score[y], score[~y]
    return ((a[:, None] > b).sum() + 0.5 * (a[:, None] == b).sum()) / (len(a) * len(b))


def test_logistic_regression_beside_the_trees(glasses, found, tmp_path):
    """Scikit-learn's own pipeline on the same undersamples, and areas by counting pairs."""
    (x, y, _), (test, label, atoms) = (glass.rows() for glass in glasses)
    probabilities = []
    for k in range(2):
        rows = undersample(y, k, strata=np.zeros(len(y), dtype=np.int64))
        twin = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.05, tol=1e-6, max_iter=1000)
        ).fit(x[rows], y[rows])
        probabilities.append(twin.predict_proba(test)[:, 1])
    want = np.mean(probabilities, axis=0)
    np.testing.assert_allclose(found.logistic_qs[atoms], want, rtol=0, atol=1e-12)
    assert np.isnan(np.delete(found.logistic_qs, atoms)).all()
    simple = found.baselines["logistic_regression"]
    assert simple["roc_auc"].value == pytest.approx(pair_area(want, label))
    assert simple["recall"].value == pytest.approx((want[label] > 0.5).mean())
    assert simple["roc_auc"].low < simple["roc_auc"].value < simple["roc_auc"].high
    assert simple["roc_auc"].groups == found.metrics["roc_auc"].groups
    qs = found.qs[atoms]
    minus = found.minus_logistic
    assert minus["roc_auc"].value == pytest.approx(pair_area(qs, label) - pair_area(want, label))
    assert minus["recall"].value == pytest.approx(
        (qs[label] > 0.5).mean() - (want[label] > 0.5).mean()
    )
    assert minus["roc_auc"].low < minus["roc_auc"].value < minus["roc_auc"].high
    # a folder of an older version has no logistic regression
    found.save(tmp_path)
    assert Softness.load(tmp_path).logistic_qs.tobytes() == found.logistic_qs.tobytes()
    kept = json.loads((tmp_path / "summary.json").read_text())
    del kept["minus_logistic"], kept["baselines"]["logistic_regression"], kept["sha256"]
    del kept["artifact"]
    (tmp_path / "summary.json").write_text(json.dumps(kept))
    (tmp_path / "logistic_qs.npy").unlink()
    older = Softness.load(tmp_path)
    assert older.logistic_qs is None
    assert older.simple_text == ""
    assert str(older).startswith("trained on left")
    assert "logistic" not in str(older)
    assert "logistic_regression" not in softness_numbers(older, glasses[1], samples=5)["baselines"]


def test_a_simple_model_that_is_as_good_is_printed_first(found):
    for low, high, place in ((-0.03, 0.01, 0), (-0.03, -0.01, 0), (0.01, 0.03, 1)):
        auc = dataclasses.replace(found.minus_logistic["roc_auc"], low=low, high=high)
        lines = str(
            dataclasses.replace(found, minus_logistic={**found.minus_logistic, "roc_auc": auc})
        ).splitlines()
        assert lines[0].startswith(("Logistic regression on the same", "trained on left")[place])
        worse = any(line.startswith("  The trees predict plastic atoms better") for line in lines)
        assert worse == (low > 0)
    auc = {"value": 0.0, "low": np.nan, "high": np.nan}
    assert simple_model_text(0.7, 0.7, auc) == ""
    assert not simple_model_wins(auc)


def test_pooled_scores_of_the_simple_model_in_words():
    names = (
        ("softness", "roc_auc", 0.69),
        ("baseline: logistic regression", "roc_auc", 0.70),
        ("softness", "roc_auc minus logistic regression", -0.01),
    )
    rows = [
        Metric(model=model, test=test, name=name, value=value, low=value - 0.02, high=value + 0.02)
        for test in ("pooled", "a")
        for model, name, value in names
    ]
    assert pooled_simple_text(rows).endswith(
        "AUC of logistic regression is 0.700, that of the trees 0.690; trees minus logistic "
        "regression is -0.010 [-0.030, +0.010]."
    )
    assert pooled_simple_text(rows[3:]) == pooled_simple_text([]) == ""


def test_softness_from_the_leading_columns(glasses, found, tmp_path):
    """The paper's QS is that of its 15-column model."""
    few = learn_softness(glasses[:1], glasses[1], **SETTINGS, qs="leading")
    assert few.columns == few.leading == found.leading
    assert few.qs.tobytes() == found.leading_qs.tobytes()
    assert few.metrics == found.leading_metrics
    assert few.all_metrics == found.metrics
    assert few.single == found.leading_single
    # the simple model takes the same columns
    places = [found.columns.index(name) for name in few.leading]
    (x, y, _), (test, _, atoms) = (glass.rows() for glass in glasses)
    models = logistic_models(
        x[:, places], y, [undersample(y, k, strata=np.zeros(len(y))) for k in range(2)]
    )
    want = np.mean([model.predict(test[:, places]) for model in models], axis=0)
    assert few.logistic_qs[atoms].tobytes() == want.tobytes()
    assert "tested on right, 6 columns, 2 draws; QS from the leading columns" in str(few)
    assert "6 leading columns of 80" in str(few)
    x, _, atoms = glasses[1].rows()
    places = [glasses[1].columns().index(name) for name in few.columns]
    assert few.predict(x[:, places]).tobytes() == few.qs[atoms].tobytes()
    assert few.card["columns"] == list(few.columns)
    few.save(tmp_path)
    again = Softness.load(tmp_path)
    assert str(again) == str(few)
    assert (again.source, again.columns) == ("leading", few.columns)
    told = softness_numbers(few, glasses[1], samples=40, grid=4, markers=15)
    assert (told["source"], told["columns"]) == ("leading", 6)
    assert told["dependence"]["together"]["columns"] == list(few.leading[:2])
    assert told["single"] == found.leading_single
    for qs, n in (("some", 6), ("leading", None)):
        with pytest.raises(ParameterError, match=f"qs='{qs}' must be 'all', or 'leading' with"):
            learn_softness(glasses[:1], glasses[1], **{**SETTINGS, "n_features": n}, qs=qs)


def test_folds_keep_regions_whole(glasses, found):
    assert len(found.folds) == 3
    assert all(0 <= auc <= 1 for auc in found.folds)
    _, *folds = found.card["split"]
    tested = [name for fold in folds for name in fold["test"]]
    region = glasses[0].regions()[glasses[0].rows()[2]]
    assert sorted(tested) == sorted({f"left region {k}" for k in region})
    for fold in folds:
        assert not set(fold["train"]) & set(fold["test"])
    # regions are boxes of about 15 Å: the naive count of one
    ds = mgdask.open_store(glasses[0].store).isel(frame=0)
    fraction = (ds.position.values - ds.origin.values) @ np.linalg.inv(ds.cell.values)
    one = glasses[0].regions() == glasses[0].regions()[0]
    height = 1 / np.linalg.norm(np.linalg.inv(ds.cell.values), axis=0)
    extent = np.ptp(fraction[one], axis=0) * height
    assert (extent < 22.5).all()


def test_parameters_from_a_search(glasses):
    found = learn_softness(glasses[:1], glasses[1], **{**PLAIN, "folds": 3}, trials=3)
    used = found.card["parameters"]
    assert 1e-3 < used["learning_rate"] != 0.03
    assert found.models[0].card["params"]["num_leaves"] == used["num_leaves"]
    again = learn_softness(glasses[:1], glasses[1], **{**PLAIN, "folds": 3}, trials=3)
    assert again.card == found.card
    assert again.qs.tobytes() == found.qs.tobytes()


def test_what_is_written(found, tmp_path):
    found.save(tmp_path / "softness")
    summary = json.loads((tmp_path / "softness" / "summary.json").read_text())
    assert summary["metrics"]["roc_auc"]["value"] == found.metrics["roc_auc"].value
    assert summary["train"] == ["left"]
    assert len(summary["columns"]) == 80
    assert np.array_equal(np.load(tmp_path / "softness" / "qs.npy"), found.qs, equal_nan=True)
    again = Softness.load(tmp_path / "softness")
    assert str(again) == str(found)
    for name, interval in found.metrics.items():  # n_undefined is in the note only
        assert again.metrics[name].as_dict() == interval.as_dict()
    for kind, intervals in found.baselines.items():
        for name, interval in intervals.items():
            assert again.baselines[kind][name].as_dict() == interval.as_dict()
    assert again.choice == found.choice
    assert again.card == found.card
    assert again.qs.tobytes() == found.qs.tobytes()
    assert again.leading_qs.tobytes() == found.leading_qs.tobytes()
    with pytest.raises(StoreError, match="holds no softness score"):
        Softness.load(tmp_path)
    model = Model.load(tmp_path / "softness" / "model-1")
    assert model.columns == found.columns
    card = read_card(tmp_path / "softness" / "card.json")
    assert card["metrics"]["roc_auc"]["value"] == found.metrics["roc_auc"].value
    assert card["split"][0]["train"] == ["left"]
    assert card["split"][0]["test"] == ["right"]
    assert card["data"]["left trajectory"] != card["data"]["right trajectory"]
    with pytest.raises(ParameterError, match="was trained on"):
        model.predict(np.zeros((3, 2)))


def test_bad_input_in_words(glasses, tmp_path):
    with pytest.raises(ParameterError, match="right"):
        learn_softness(glasses, glasses[1], progress=False)
    twin = dataclasses.replace(
        glasses[1], name="other", store=shutil.copytree(glasses[1].store, tmp_path / "other.zarr")
    )
    with pytest.raises(ParameterError, match="other is among the training glasses and right"):
        learn_softness([glasses[0], twin], glasses[1], progress=False)
    with pytest.raises(ParameterError, match="same; give each once"):
        learn_softness([glasses[0], glasses[0]], glasses[1], progress=False)
    with pytest.raises(ParameterError, match="at least 2 folds"):
        learn_softness(glasses[:1], glasses[1], **{**SETTINGS, "folds": 0})
    with pytest.raises(ParameterError, match="at least one glass"):
        learn_softness([], glasses[1], progress=False)
    with pytest.raises(ParameterError, match="the trees have no split"):
        learn_softness(glasses[:1], glasses[1], **{**PLAIN, "params": {"min_data_in_leaf": 5000}})
    short = prepare_glass(
        glasses[0].store, tmp_path, margin=4.0, features=[mgdask.Interstice()], progress=False
    )
    with pytest.raises(ParameterError, match="have other columns"):
        learn_softness([short], glasses[1], progress=False)


def test_a_column_that_nobody_has_is_named(glasses, tmp_path):
    copy = shutil.copytree(glasses[0].features, tmp_path / "features.zarr")
    array = zarr.open_group(copy, mode="r+")["interstice"]
    values = array[...]
    values[..., 2] = np.nan
    array[...] = values
    reseal(copy)
    broken = dataclasses.replace(glasses[0], features=copy)
    with pytest.raises(
        ParameterError,
        match=f"{re.escape(glasses[0].columns()[2])}' is NaN for every included atom",
    ):
        learn_softness([broken], glasses[1], **PLAIN)
    values[:, :100, 2] = 1.0  # the atoms that have it are learned from
    array[...] = values
    reseal(copy)
    assert broken.rows()[2].tolist() == [atom for atom in glasses[0].rows()[2] if atom < 100]


@pytest.mark.slow  # the options are tested in test_study.py, the study above
def test_on_the_command_line(glasses, tmp_path, quick_figures):
    left, right = (str(glass.store) for glass in glasses)
    words = [
        "study",
        "softness",
        "--train",
        left,
        "--test",
        right,
        "--out",
        str(tmp_path / "out"),
        "--margin",
        "4",
        "--threshold",
        "2",
        "--draws",
        "1",
        "--rounds",
        "10",
        "--wanted",
        "4",
        "--folds",
        "2",
        "--workers",
        "1",
    ]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "right: " in done.stdout
    assert "tested on right, 80 columns, 1 draws" in done.stdout
    assert "4 leading columns of 80" in done.stdout
    spent = json.loads((tmp_path / "out" / "softness" / "stages.json").read_text())
    assert {"labels, features", "models", "leading columns", "scores", "report"} <= set(spent)
    # the store has a score for every atom; where atoms count it is the one of the test
    inside = np.load(tmp_path / "out" / "softness" / "qs.npy")
    stored = mgdask.open_store(tmp_path / "out" / "softness" / "right-qs.zarr").qs.values[0, :, 0]
    assert inside[np.isfinite(inside)].tobytes() == stored[np.isfinite(inside)].tobytes()
    assert np.isfinite(stored).sum() > np.isfinite(inside).sum() > 0
    assert (tmp_path / "out" / "softness" / "summary.txt").read_text().splitlines()[
        0
    ] in done.stdout
    page = (tmp_path / "out" / "softness" / "report.html").read_text()
    assert (tmp_path / "out" / "report.html").read_text() == page
    results = Results.read(tmp_path / "out")
    assert f"<dt>date</dt><dd>{results.date}</dd>" in page
    for name, digest in results.inputs.items():
        assert f"<dt>{name}</dt><dd>{results.data[name]}; content {digest[:12]}…</dd>" in page
    assert {(one.model, one.test) for one in results.metrics} == {
        (model, where)
        for where in ("pooled", "right")
        for model in (
            "softness",
            "softness, leading columns",
            "baseline: random",
            "baseline: most frequent",
            "baseline: minority",
            "baseline: logistic regression",
        )
    }
    assert {one.name for one in results.metrics if one.model.startswith("softness")} == {
        f"{name}{end}"
        for name in ("roc_auc", "recall")
        for end in ("", " of single models", " minus logistic regression")
    }
    assert results.options["n_undersamples"] == 1
    card = read_card(tmp_path / "out" / "softness" / "card.json")
    assert card["parameters"]["margin"] == 4.0
    assert "Quench-in softness of right" in page
    assert "Leading columns by mean absolute SHAP value" in page
    for name in ("prediction.png", "softness.png", "dependence.png", "calibration.png"):
        assert (tmp_path / "out" / "softness" / name).exists()
    assert (tmp_path / "out" / "softness" / "calibration.png").stat().st_size > 10_000
    same = CliRunner().invoke(cli, [*words[:3], right, *words[4:]])
    assert same.exit_code == 1
    assert isinstance(same.exception, ParameterError)
    assert "right" in str(same.exception)
