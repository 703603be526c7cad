"""Names of LightGBM's parameters: aliases are the main name, unknown ones and contradictions are refused."""

from __future__ import annotations

import ctypes
import doctest

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.learn import train
from mgdask.learn.training import parameters
from mgdask.learn.training.parameters import main_names

lightgbm = pytest.importorskip("lightgbm")


def test_examples():
    assert doctest.testmod(parameters).failed == 0


@pytest.mark.parametrize(
    ("name", "main"),
    [
        ("min_child_samples", "min_data_in_leaf"),
        ("n_estimators", "num_iterations"),
        ("eta", "learning_rate"),
        ("nthread", "num_threads"),
        ("n_jobs", "num_threads"),
        ("random_state", "seed"),
        ("reg_alpha", "lambda_l1"),
        ("colsample_bytree", "feature_fraction"),
        ("subsample", "bagging_fraction"),
        ("max_bins", "max_bin"),
        ("reg_lambda", "lambda_l2"),
        ("min_child_weight", "min_sum_hessian_in_leaf"),
        ("num_leaves", "num_leaves"),
    ],
)
def test_names_of_its_documentation(name, main):
    assert main_names({name: 7}) == {main: 7}


def test_the_estimators_of_lightgbm_have_no_name_unknown_here():
    """But for those of scikit-learn that never reach the library."""
    names = set(lightgbm.LGBMClassifier().get_params()) - {"class_weight", "importance_type"}
    assert len(main_names(dict.fromkeys(names, 1))) == len(names)


def test_the_library_is_found_without_the_private_handle(monkeypatch):
    parameters._main_name_by_alias.cache_clear()
    want = dict(parameters._main_name_by_alias())
    parameters._main_name_by_alias.cache_clear()
    monkeypatch.setattr(lightgbm.basic, "_LIB", None)
    monkeypatch.setattr(
        parameters, "_FIRST_BUFFER_SIZE", 16
    )  # and with a buffer that is too small at first
    try:
        assert isinstance(parameters.lightgbm_library(), ctypes.CDLL)
        assert dict(parameters._main_name_by_alias()) == want
    finally:
        parameters._main_name_by_alias.cache_clear()
    assert len(want) > 250


def test_aliases_train_the_same_model():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2000, 5)).astype(np.float32)
    y = x[:, 0] + x[:, 1] ** 2 + rng.normal(size=2000)
    options = {"objective": "regression", "num_boost_round": 10, "progress": False, "threads": 1}
    one = train(
        x, y, params={"min_data_in_leaf": 77, "learning_rate": 0.3, "max_bin": 15}, **options
    )
    two = train(x, y, params={"min_child_samples": 77, "eta": 0.3, "max_bins": 15}, **options)
    assert one.text == two.text
    assert one.card == two.card
    assert one.text != train(x, y, **options).text


@pytest.mark.parametrize(
    "name",
    [
        "n_estimators",
        "num_boost_round",
        "n_jobs",
        "nthread",
        "random_seed",
        "loss",
        "tree_type",
        "nodes",
        "n_iter_no_change",
    ],
)
def test_what_train_sets_itself_is_refused_under_any_name(name):
    with pytest.raises(
        ParameterError,
        match=f"params has {parameters._main_name_by_alias()[name]}, which train sets itself",
    ):
        train(np.zeros((100, 2)), np.arange(100) % 2, params={name: 1})


def test_refusals_in_words():
    assert main_names({"eta": 0.1, "learning_rate": 0.1}) == {"learning_rate": 0.1}
    assert main_names({"mc": [1, 0], "monotone_constraints": np.array([1, 0])}) == {
        "monotone_constraints": [1, 0]
    }
    assert main_names({}) == {}
    for bad, words in (
        (
            {"eta": 0.1, "learning_rate": 0.2},
            r"eta=0.1 and learning_rate=0.2, which are two names of learning_rate",
        ),
        ({"mc": [1, 0], "monotone_constraints": [1, 1]}, "two names of monotone_constraints"),
        ({"num_leafs": 5}, "'num_leafs', which LightGBM .* does not know; did you mean num_leaf"),
        ({"zzz": 5}, "see https://lightgbm"),
    ):
        with pytest.raises(ParameterError, match=words):
            main_names(bad)
