"""Boosted trees of the energy: the translation from XGBoost by closed forms, folds by run, SHAP, distribution."""

from __future__ import annotations

import doctest
from dataclasses import replace

import numpy as np
import pytest

from mgdask.learn import group_folds
from mgdask.studies.barcode import Samples, boosting
from mgdask.studies.barcode.boosting import (
    BoostedEnergy,
    TreeSettings,
    fit_trees,
    leading_entries,
    mean_absolute_shap,
    published_params,
    search_space,
    translated,
)

lightgbm = pytest.importorskip("lightgbm")
pytest.importorskip("optuna")
QUICK = TreeSettings(trials=0, folds=3, num_boost_round=40, early_stopping=5)


def made(n=60, runs=4, seed=0, n_atoms=100):
    """Samples whose energy depends on two of six entries, one of them by a step."""
    rng = np.random.default_rng(seed)
    fractions = rng.dirichlet(np.full(6, 3.0), n)
    law = 0.5 * fractions[:, 2] - 0.4 * (fractions[:, 4] > 0.15)
    return Samples.of(
        n_atoms * (law - 4.0 + 1e-3 * rng.normal(size=n)),
        n_atoms,
        np.array([f"run {k * runs // n}" for k in range(n)]),
        fractions=fractions,
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trees")
    return fit_trees(made(), folder, settings=QUICK, progress=False), folder


def test_examples():
    assert doctest.testmod(boosting).failed == 0


def gain(g_left, n_left, g_right, n_right, penalty=1.0):
    """Gain of a split, Eq. (7) of Chen and Guestrin, KDD (2016), without gamma; Hessians are 1."""
    parent = (g_left + g_right) ** 2 / (n_left + n_right + penalty)
    return 0.5 * (g_left**2 / (n_left + penalty) + g_right**2 / (n_right + penalty) - parent)


@pytest.mark.parametrize(("factor", "splits"), [(0.999, True), (1.001, False)])
def test_gamma_has_the_same_effect(factor, splits):
    """XGBoost splits if the gain is above gamma; LightGBM with the translated parameter does at the same gain."""
    x, y = np.repeat([0.0, 1.0], [7, 13])[:, None], np.repeat([1.0, -0.3], [7, 13])
    pull = y - y.mean()
    largest = gain(pull[:7].sum(), 7, pull[7:].sum(), 13)
    name, value = translated("gamma", factor * largest, 20)
    params = {
        **boosting.fixed_params(20), name: value, "min_sum_hessian_in_leaf": 1e-3,
        "objective": "regression", "verbosity": -1, "num_threads": 1,
    }  # fmt: skip
    trees = lightgbm.train(params, lightgbm.Dataset(x, y), 1)
    assert (len(np.unique(trees.predict(x))) == 2) is splits


@pytest.mark.parametrize(("least", "splits"), [(7.0, True), (7.1, False)])
def test_the_weight_of_a_child_is_its_number_of_samples(least, splits):
    x, y = np.repeat([0.0, 1.0], [7, 13])[:, None], np.repeat([1.0, -0.3], [7, 13])
    name, value = translated("min_child_weight", least, boosting.PUBLISHED_SAMPLES)
    params = {
        **boosting.fixed_params(20), name: value,
        "objective": "regression", "verbosity": -1, "num_threads": 1,
    }  # fmt: skip
    trees = lightgbm.train(params, lightgbm.Dataset(x, y), 1)
    assert (len(np.unique(trees.predict(x))) == 2) is splits


def test_the_ranges_of_the_paper():
    assert search_space(10_000) == {
        "max_depth": (20, 40, "int"),
        "learning_rate": (0.01, 0.05, "linear"),
        "min_gain_to_split": (0.002, 20.0, "log"),
        "min_sum_hessian_in_leaf": (1e-3, 2000.0, "linear"),
        "bagging_fraction": (0.4, 1.0, "linear"),
        "feature_fraction": (0.4, 1.0, "linear"),
    }
    assert search_space(180)["min_sum_hessian_in_leaf"] == (1e-3, 36.0, "linear")
    best = published_params(10_000)
    for name, (low, high, _) in search_space(10_000).items():
        assert low <= best[name] <= high


def test_energies_are_learned_for_any_size(fitted):
    model, _ = fitted
    test = made(seed=5, n_atoms=700)
    error = model.predict(test) - test.energy_per_atom
    assert np.sqrt(np.mean(error**2)) < 0.6 * test.energy_per_atom.std()
    assert model.n_numbers == 6
    assert model.unit_atoms == 100.0
    assert "parameters of the paper; 3 folds of whole runs" in model.how


def test_left_out_predictions_have_not_seen_their_run(fitted):
    """A run with other energies cannot be guessed by the models that predict it."""
    model, folder = fitted
    samples = made()
    shifted = replace(samples, energy=samples.energy + 500.0 * (samples.run == "run 1"))
    again = fit_trees(shifted, folder / "shifted", settings=QUICK, progress=False)
    own = samples.run == "run 1"
    for split in group_folds(samples.run, 3, 0):
        if "run 1" in split.test:
            assert (shifted.energy_per_atom - again.left_out)[own].min() > 3.0
    left_out = np.abs(again.left_out - shifted.energy_per_atom)[own].mean()
    assert np.abs(again.predict(shifted) - shifted.energy_per_atom)[own].mean() < 0.75 * left_out
    assert model.error == pytest.approx(
        np.sqrt(np.mean((model.left_out - samples.energy_per_atom) ** 2)), rel=1e-9
    )


def test_shap_finds_the_entries_that_matter(fitted):
    model, folder = fitted
    values = mean_absolute_shap(model, folder, progress=False)
    contributions = model.model.booster.predict(made().fractions, pred_contrib=True)
    np.testing.assert_allclose(values, np.abs(contributions[:, :-1]).mean(axis=0), rtol=1e-12)
    assert set(leading_entries(model, values, 2)) == {2, 4}
    assert leading_entries(model, np.array([0.0, 1.0, 1.0, 0.0, 2.0, 0.0]), 9).tolist() == [4, 1, 2]


def test_some_entries_saved_and_read(fitted, tmp_path):
    model = fit_trees(
        made(), tmp_path, entries=np.array([4, 2]), name="two", settings=QUICK, progress=False
    )
    model.save(tmp_path / "saved")
    again = BoostedEnergy.load(tmp_path / "saved")
    test = made(seed=3)
    assert again.predict(test).tobytes() == model.predict(test).tobytes()
    assert again.entries.tolist() == [4, 2]
    assert again.to_json() == model.to_json()
    values = mean_absolute_shap(again, tmp_path, progress=False)
    assert values.shape == (2,)


def test_the_search_is_within_the_ranges_and_by_run(tmp_path):
    settings = replace(QUICK, trials=2, num_boost_round=10)
    model = fit_trees(made(), tmp_path, settings=settings, progress=False)
    assert len(model.trials) == 2
    for name, (low, high, _) in search_space(60).items():
        assert low <= model.params[name] <= high
    assert model.how.startswith("best of 2 trials; 3 folds of whole runs")


def test_one_run_has_folds_of_blocks(tmp_path):
    model = fit_trees(made(runs=1), tmp_path, settings=QUICK, progress=False)
    assert "3 folds: 3 blocks of successive samples of the only run, run 0" in model.how


@pytest.mark.slow
def test_a_large_table_is_trained_on_the_workers(tmp_path, client, monkeypatch):
    """The same trees; without sampling of rows, which depends on the number of ranks."""
    monkeypatch.setattr(boosting, "PUBLISHED_BEST", {**boosting.PUBLISHED_BEST, "subsample": 1.0})
    samples, settings = made(90), replace(QUICK, num_boost_round=4, folds=2)
    here = fit_trees(samples, tmp_path / "here", settings=settings, progress=False)
    there = fit_trees(
        samples,
        tmp_path / "there",
        settings=replace(settings, small=0),
        client=client,
        progress=False,
    )
    assert there.model.text == here.model.text
    assert there.model.card == here.model.card
    # in one fold, a split of nearly the same gain is another
    assert there.error == pytest.approx(here.error, rel=1e-2)
