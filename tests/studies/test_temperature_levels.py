"""Runs at nearly the same temperature are left out together, and draws are not the first rows."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from mgdask.errors import ParameterError
from mgdask.studies.options import OptionError
from mgdask.studies.temperature import TemperatureOptions, likelihood, neighborhood, validation
from mgdask.studies.temperature.fitting import Training, fewest_atoms
from mgdask.studies.temperature.levels import is_known, level_codes, n_levels
from mgdask.studies.temperature.schemes import _note
from tests.studies.test_temperature_models import LAGS, motion

TWINS = np.array([100.0, 299.97, 300.02, 900.0])


def test_levels_are_chains_of_temperatures_within_one_percent(rng):
    kelvin = np.concatenate([TWINS, rng.uniform(500, 520, 40)])
    found = level_codes(kelvin)
    # by all pairs: the smallest relation that joins values within 1 %
    near = np.abs(kelvin[:, None] - kelvin) < 0.01 * np.maximum(kelvin[:, None], kelvin)
    joined = np.linalg.matrix_power(near.astype(float), 44) > 0
    np.testing.assert_array_equal(found[:, None] == found, joined)
    assert (np.diff(found[np.argsort(kelvin)]) >= 0).all()
    assert n_levels(TWINS) == 3
    assert is_known(np.array([302.9, 303.2]), np.array([300.0])).tolist() == [True, False]


def test_twins_are_left_out_together():
    temperature = np.repeat(TWINS, 3)
    (split,) = validation.temperatures_left_out(temperature)
    assert set(temperature[split.test]) == {299.97, 300.02}
    assert set(temperature[split.train]) == {100.0, 900.0}
    with pytest.raises(ParameterError, match="2 different temperatures"):
        validation.temperatures_left_out(TWINS[:3])


def test_atoms_of_twins_do_not_train_each_other():
    temperature = np.repeat(TWINS, 40)
    assert fewest_atoms(temperature, np.full(160, 29), 10, 0) == 80  # both twins are left out


def test_twins_of_test_runs_are_said():
    at = [SimpleNamespace(temperatures=np.array(t)) for t in ([299.97, 900.0], [300.02, 700.0])]
    training = Training(at[0], (0,), {}, 3, 0)
    assert _note(training, at[1]) == "other runs at 300.02 K were trained on"


def test_the_likelihood_has_one_knot_for_twins():
    model = likelihood.fit_likelihood(*motion(TWINS), lags=LAGS)
    np.testing.assert_allclose(model.temperature, [100.0, 299.995, 900.0])


def test_the_scale_is_selected_with_drawn_rows(monkeypatch):
    seen = []
    predict = likelihood.MotionLikelihood.predict

    def watched(self, matrix, species):
        seen.append(matrix)
        return predict(self, matrix, species)

    monkeypatch.setattr(likelihood, "CHOICE_ROWS", 5)
    monkeypatch.setattr(likelihood.MotionLikelihood, "predict", watched)
    x, temperature, species = motion()
    likelihood.fit_likelihood(x, temperature, species, lags=LAGS)
    (rows,) = np.nonzero((x[:, None] == seen[0]).all(axis=2).any(axis=1))
    assert len(rows) == 10
    assert (temperature[rows] == 500).all()
    assert rows.max() - rows.min() > 20  # not the first five of each species


def test_averages_around_some_atoms_are_those_of_the_distance_matrix(rng):
    position, x = rng.uniform(0, 12, (90, 3)), rng.normal(size=(90, 3))
    images = np.array(np.meshgrid(*[[-12, 0, 12]] * 3)).reshape(3, -1).T
    near = np.min([cdist(position, position + v) for v in images], axis=0) <= 4.0
    centers = np.array([70, 3, 41])
    expected = (near @ x)[centers] / near.sum(axis=1)[centers, None]
    cell = np.diag([12.0] * 3)
    found = neighborhood.averaged_over_neighbors(x, position, cell, 4.0, centers=centers)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    alone = neighborhood.averaged_over_neighbors(x, position, cell, 0.0, centers=centers)
    np.testing.assert_array_equal(alone, x[centers])


def test_a_store_is_not_its_own_control(tmp_path):
    stores = {"train": ["a.zarr", "b.zarr"], "apply": "a.zarr", "control": "a.zarr"}
    with pytest.raises(OptionError, match=r"is also in `?apply"):
        TemperatureOptions(**stores, out=tmp_path)
