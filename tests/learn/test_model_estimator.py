"""A trained model in the hands of scikit-learn, against LightGBM and loops written here."""

from __future__ import annotations

import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import (
    DecisionBoundaryDisplay,
    PartialDependenceDisplay,
    partial_dependence,
    permutation_importance,
)
from sklearn.metrics import accuracy_score, get_scorer, log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

from mgdask.errors import ParameterError
from mgdask.learn import FeatureTransformer, Model, train
from tests.learn.test_transformer import Heights, make_atoms

NAMES = ["density", "cu/<b>fold</b>", "q6"]


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(3)
    x = pd.DataFrame(rng.random((240, 3)), columns=NAMES)
    return x, (x["q6"] + 0.3 * rng.random(240) > 0.65).to_numpy(dtype=int)


@pytest.fixture(scope="module")
def binary(table):
    x, y = table
    return train(x, y, num_boost_round=12, progress=False)


@pytest.fixture(scope="module")
def regression(table):
    x, _ = table
    y = x["density"] ** 2
    return train(x, y, objective="regression", num_boost_round=12, progress=False)


def booster(model):
    """The trees in LightGBM itself, from the text of the model."""
    return lightgbm.Booster(model_str=model.text)


def test_what_scikit_learn_asks(binary, regression, table):
    x, _ = table
    assert is_classifier(binary)
    assert is_regressor(regression)
    assert clone(binary) is binary
    check_is_fitted(regression)
    one = booster(binary).predict(x.to_numpy())
    assert np.array_equal(binary.predict_proba(x), np.stack([1 - one, one], axis=1))
    assert binary.classes_.tolist() == [0, 1]
    assert not hasattr(regression, "predict_proba")
    assert not hasattr(regression, "classes_")
    assert binary.n_features_in_ == 3
    assert binary.feature_names_in_.tolist() == NAMES
    assert Model(**binary.get_params()).digest == binary.digest
    with pytest.raises(ParameterError, match=r"trained already .* train a new one with mgdask"):
        binary.fit(x, [1])
    with pytest.raises(AttributeError, match="objective 'regression' has no predict_proba"):
        _ = regression.predict_proba


def test_scores(binary, regression, table):
    x, y = table
    weight = np.arange(1.0, 241.0)
    right = (booster(binary).predict(x.to_numpy()) > 0.5) == y
    assert binary.score(x, y) == pytest.approx(right.mean())
    assert binary.score(x, y, weight) == pytest.approx(np.average(right, weights=weight))
    target = x["density"] ** 2
    rest = target - booster(regression).predict(x.to_numpy())
    expected = 1 - (rest**2).sum() / ((target - target.mean()) ** 2).sum()
    assert regression.score(x, target) == pytest.approx(expected)
    ranks = Model(regression.text, regression.columns, "lambdarank", 12, 0)
    with pytest.raises(ParameterError, match=r"'lambdarank' has no score; compute"):
        ranks.score(x, target)


@pytest.mark.parametrize(
    ("scoring", "metric"),
    [
        (None, lambda y, one: accuracy_score(y, one > 0.5)),
        ("roc_auc", roc_auc_score),
        ("neg_log_loss", lambda y, one: -log_loss(y, one)),
    ],
)
def test_permutation_importance_of_the_model(binary, table, scoring, metric):
    x, y = table
    found = permutation_importance(binary, x, y, scoring=scoring, n_repeats=3, random_state=1)
    trees = booster(binary)
    # the permutations of scikit-learn: one seed for all columns
    seed = np.random.RandomState(1).randint(np.iinfo(np.int32).max + 1)
    for column in range(3):
        rng, order, moved = np.random.RandomState(seed), np.arange(240), x.to_numpy().copy()
        for k in range(3):
            rng.shuffle(order)
            moved[:, column] = moved[order, column]  # theirs shuffles again and again
            loss = metric(y, trees.predict(x.to_numpy())) - metric(y, trees.predict(moved))
            assert found.importances[column, k] == pytest.approx(loss)
    assert np.argmax(found.importances_mean) == 2


def test_partial_dependence_of_the_model(binary, regression, table):
    x, _ = table
    for model, scale in ((binary, 1.0), (regression, 1.0)):
        found = partial_dependence(model, x, ["q6"], grid_resolution=5, kind="both")
        for k, value in enumerate(found["grid_values"][0]):
            moved = x.assign(q6=value).to_numpy()
            expected = booster(model).predict(moved) * scale
            np.testing.assert_allclose(found["individual"][0, :, k], expected, rtol=1e-12)
            assert found["average"][0, k] == pytest.approx(expected.mean())


def test_displays(binary, regression, table):
    x, y = table
    shown = PartialDependenceDisplay.from_estimator(regression, x, [0, (0, 2)], grid_resolution=4)
    assert len(shown.pd_results) == 2
    two = train(x.iloc[:, [0, 2]], y, num_boost_round=3, progress=False)
    edges = DecisionBoundaryDisplay.from_estimator(two, x.iloc[:, [0, 2]], grid_resolution=5)
    low = booster(two).predict(np.column_stack([edges.xx0.ravel(), edges.xx1.ravel()]))
    np.testing.assert_allclose(edges.response.ravel(), low)


def test_as_an_estimator_a_binary_model_predicts_classes(binary, regression, table):
    x, y = table
    estimator = binary.as_estimator()
    one = booster(binary).predict(x.to_numpy())
    assert np.array_equal(estimator.predict(x), (one > 0.5).astype(int))
    assert estimator.score(x, y) == binary.score(x, y)
    np.testing.assert_allclose(estimator.decision_function(x), np.log(one / (1 - one)), rtol=1e-9)
    assert get_scorer("f1")(estimator, x, y) == pytest.approx(
        2 * (one[y == 1] > 0.5).sum() / ((one > 0.5).sum() + y.sum())
    )
    assert clone(estimator).model is binary
    values = regression.as_estimator()
    assert np.array_equal(values.predict(x), regression.predict(x))
    assert values.score(x, x["density"] ** 2) == regression.score(x, x["density"] ** 2)
    calibrated = CalibratedClassifierCV(FrozenEstimator(estimator)).fit(x, y)
    assert calibrated.predict_proba(x).sum(axis=1) == pytest.approx(np.ones(240))


EXPECTED = {
    "check_estimators_unfitted": "a trained model is fitted from the start",
    "check_fit_check_is_fitted": "as above",
    "check_n_features_in": "as above",
    "check_n_features_in_after_fitting": "it has its columns before a fit",
}
"""Checks that fail for another reason than that ``fit`` raises an error."""


def test_checks_of_scikit_learn(regression):
    """Most checks fit the estimator, which a trained model refuses. The others pass."""
    results = check_estimator(regression.as_estimator(), on_fail=None, on_skip=None)
    by_status = {status: set() for status in ("passed", "failed", "skipped")}
    for each in results:
        by_status[each["status"]].add(each["check_name"])
        if each["status"] == "failed" and each["check_name"] not in EXPECTED:
            assert "trained already and cannot be fitted" in _causes(each["exception"]), each
    assert {
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_no_attributes_set_in_init",
        "check_valid_tag_types",
        "check_mixin_order",
        "check_get_params_invariance",
        "check_set_params",
        "check_do_not_raise_errors_in_init_or_set_params",
    } <= by_status["passed"]


def _causes(error):
    """Texts of an error and of those it came from."""
    texts = []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def test_a_trained_model_at_the_end_of_a_pipeline():
    atoms = [make_atoms(seed) for seed in range(2)]
    transformer = FeatureTransformer([Heights(), Heights(power=2.0).named("squares")])
    transformer.set_output(transform="pandas")
    x = transformer.fit_transform(atoms)
    model = train(x, x["squares/z"], objective="regression", num_boost_round=5, progress=False)
    pipeline = make_pipeline(transformer, FrozenEstimator(model)).fit(atoms, None)
    later = [make_atoms(7)]
    expected = booster(model).predict(transformer.transform(later).to_numpy())
    assert np.array_equal(pipeline.predict(later), expected)
    # the names are checked: other features are refused
    other = make_pipeline(FeatureTransformer(Heights()), FrozenEstimator(model)).fit(atoms, None)
    with pytest.raises(ParameterError, match=r"x has shape \(36, 2\); this model was trained on"):
        other.predict(later)
