"""Circularity, self-consistent temperatures, averages over neighbors, number of neighbors."""

from functools import partial

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from mgdask.errors import ParameterError
from mgdask.features.window import FrameAxis
from mgdask.studies.temperature import baselines, circularity, neighborhood, validation
from mgdask.studies.temperature.model import fit_nearest
from mgdask.studies.temperature.neighbor_curve import fold_errors, neighbor_curve
from mgdask.studies.temperature.prepare import averaged_feature
from tests.studies.test_temperature_models import LEVELS, motion


@pytest.fixture(scope="module")
def train():
    return motion()


class Line:
    """A model whose T_ML is linear in the mean of the columns."""

    def __init__(self, slope, offset):
        self.slope, self.offset = slope, offset

    def predict(self, matrix, species):
        return self.offset + self.slope * matrix.mean(axis=1)


class Wave:
    """A model whose T_ML crosses the T put in three times."""

    def predict(self, matrix, species):
        kelvin = 10 ** -matrix.mean(axis=1)
        return kelvin + 200 * np.sin(kelvin / 250)


def test_the_self_consistent_temperature_is_the_root():
    x, species = np.zeros((4, 2)), np.full(4, 29)
    # T_ML(T) = 3000 - 1000 lg T has its fixed point where T + 1000 lg T = 3000
    grid = np.linspace(100, 2000, 20)
    found = circularity.self_consistent(Line(1000.0, 3000.0), x, species, grid)
    assert found.value + 1000 * np.log10(found.value) == pytest.approx(3000, abs=0.3)
    assert found.stable == (True,)
    assert found.note == ""


def test_several_solutions_and_none_are_said():
    x, species = np.zeros((4, 2)), np.full(4, 29)
    grid = np.linspace(100, 2000, 20)
    several = circularity.self_consistent(Wave(), x, species, grid)
    np.testing.assert_allclose(several.found, np.array([1, 2]) * 250 * np.pi, atol=0.1)
    assert several.stable == (True, False)
    assert several.note.startswith("2 solutions: 785 K, 1571 K")
    assert np.isnan(several.value)
    none = circularity.self_consistent(Line(0.0, 3000.0), x, species, grid)
    assert none.found == ()
    assert none.note == "no solution from 100 to 2000 K: T_ML stays above T"
    assert "below" in circularity.self_consistent(Line(0.0, 50.0), x, species, grid).note


def test_the_temperature_put_in_is_that_of_models_without_the_run(train):
    x, temperature, species = train
    put_in, solutions = circularity.temperature_put_in(
        baselines.fit_ridge, x, temperature, species, grid=np.array([100.0, 800.0])
    )
    assert put_in.run.tolist() == [500, 1000]
    keep = temperature != 500
    model = baselines.fit_ridge(
        x[keep] - np.log10(temperature[keep])[:, None], temperature[keep], species[keep]
    )
    expected = model.predict(x[~keep] - np.log10(800.0), species[~keep]).mean()
    assert put_in.mean[0, 1] == pytest.approx(expected)
    assert len(solutions) == 2


def test_shuffled_motion_is_predicted_through_the_label_only():
    train = motion(LEVELS, 200)
    fits = {"ridge": baselines.fit_ridge, "nearest": partial(fit_nearest, n_neighbors=20)}
    rows = circularity.shuffled_motion(fits, *train)
    explained = {(row["form"], row["model"]): row["explained"] for row in rows}
    for name in fits:
        assert explained["none", name] < 0.02
        assert explained["run", name] > 0.1
    assert all(row["low"] < row["explained"] < row["high"] for row in rows)


def test_averages_over_neighbors_are_those_of_the_distance_matrix(rng):
    position, cell = rng.uniform(0, 12, (90, 3)), np.diag([12.0, 12.0, 12.0])
    x = rng.normal(size=(90, 3))
    images = np.array(np.meshgrid(*[[-12, 0, 12]] * 3)).reshape(3, -1).T
    near = np.min([cdist(position, position + v) for v in images], axis=0) <= 4.0
    expected = (near @ x) / near.sum(axis=1, keepdims=True)
    found = neighborhood.averaged_over_neighbors(x, position, cell, 4.0)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert neighborhood.averaged_over_neighbors(x, position, cell, 0.0) is x


def test_the_averaging_curve_falls_because_the_mean_of_a_run_is_approached(train):
    x, temperature, species = train

    def averaged(radius):
        means = np.array([x[temperature == t].mean(axis=0) for t in temperature])
        return x + (means - x) * radius / 10

    splits = validation.temperatures_left_out(temperature)
    curve = neighborhood.averaging_curve(
        baselines.fit_ridge, averaged, temperature, species, splits, radii=(0.0, 9.0)
    )
    assert curve.rmse[1] < curve.rmse[0]
    assert (curve.low < curve.rmse).all()
    assert (curve.rmse < curve.high).all()


def test_the_error_of_every_number_of_neighbors_is_that_of_its_model(train):
    x, temperature, species = train
    fold = validation.atom_folds(temperature, 4, seed=0)
    errors = fold_errors(x, temperature, species, fold, 9)
    for k in (1, 4, 9):
        square = np.empty(len(x))
        low, width = x.min(axis=0), np.ptp(x, axis=0)
        scaled = (x - low) / width
        for i in range(len(x)):
            there = np.flatnonzero((fold != fold[i]) & (species == species[i]))
            near = there[np.argsort(((scaled[there] - scaled[i]) ** 2).sum(axis=1))[:k]]
            square[i] = (temperature[near].mean() - temperature[i]) ** 2
        assert errors[k - 1] == pytest.approx(np.sqrt(square.mean()))
    curve = neighbor_curve({"none": errors}, 4)
    assert curve.best["none"] == int(np.argmin(errors)) + 1
    with pytest.raises(ParameterError, match="max_neighbors=70, but"):
        fold_errors(x, temperature, species, fold, 70)


def test_lags_that_most_origins_have_are_averaged():
    dense = FrameAxis(np.arange(81) * 2.5, np.full(81, "a"))
    sparse = FrameAxis(np.array([0.0, 5, 6.3, 10, 20, 50, 100, 200]), np.full(8, "a"))
    lags = (0.5, 5.0, 6.3, 10.0, 20.0, 50.0, 100.0, 200.0)
    found = averaged_feature([dense], lags)
    # 0.5 ps is too short, 6.3 ps is between frames, and 200 ps has one origin only
    assert found.lags == (5.0, 10.0, 20.0, 50.0, 100.0)
    assert averaged_feature([dense, sparse], lags) is None


def test_a_radius_beyond_half_of_the_cell_is_left_out(monkeypatch):
    cell = np.array([[12.0, 0, 0], [6.0, 10.0, 0], [0, 0, 20.0]])
    monkeypatch.setattr(neighborhood, "configuration", lambda run: (None, cell))
    # the heights are 12 cos(atan(0.6)) = 10.29, 10 and 20 Å
    assert neighborhood.is_within(None, 4.9)
    assert not neighborhood.is_within(None, 5.1)
