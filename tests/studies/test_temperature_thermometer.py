"""T_ML of runs by species: against a search that compares every pair of atoms."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from mgdask.studies.temperature.fitting import Training
from mgdask.studies.temperature.thermometer import measure_thermometers
from mgdask.studies.temperature.validation import atom_folds

K = 3


class Rows:
    """Instances of a few atoms in memory."""

    def __init__(self, temperatures, n, seed):
        rng = np.random.default_rng(seed)
        self.temperature = np.repeat(np.array(temperatures, dtype=float), n)
        self.species = np.tile([29, 40], len(temperatures) * n // 2)
        self.x = np.log10(self.temperature)[:, None] * [1.0, 2.0] + rng.normal(
            0, 0.1, (len(self.temperature), 2)
        )

    def labels(self):
        return SimpleNamespace(temperature=self.temperature, species=self.species)

    def matrix(self, *, columns, rows, feature_temperature):
        x = self.x[rows][:, columns]
        t = self.temperature[rows]
        return x if feature_temperature is None else x - np.log10(t)[:, None]


def nearest_mean(train, query):
    """Mean temperature of the K nearest rows of the same species, by all distances."""
    x, t, z = train
    width = np.ptp(x, axis=0)
    found = []
    for row, kind in zip(*query, strict=True):
        away = np.sqrt((((x - row) / width) ** 2).sum(1))
        away[z != kind] = np.inf
        found.append(t[np.argsort(away, kind="stable")[:K]].mean())
    return np.array(found)


@pytest.fixture(scope="module")
def measured():
    train, test = Rows((100, 500, 1000), 24, 0), Rows((500, 700), 8, 1)
    training = Training(train, (0, 1), {"run": K, "none": K}, 4, 7)
    return train, test, measure_thermometers(training, test, progress=False)


@pytest.mark.parametrize("form", ["run", "none"])
def test_means_of_folds_and_of_temperatures_left_out(measured, form):
    train, test, found = measured
    one = next(part for part in found if part.form == form)
    assert one.species == ("Cu", "Zr", "all")
    t, z = train.temperature, train.species
    x = train.x - (np.log10(t)[:, None] if form == "run" else 0.0)
    fold = atom_folds(t, 4, 7)
    predicted = np.empty(len(t))
    for k in range(4):
        here = fold == k
        predicted[here] = nearest_mean((x[~here], t[~here], z[~here]), (x[here], z[here]))
    seen = {
        (a, bool(b)): k for k, (a, b) in enumerate(zip(one.temperature, one.unseen, strict=True))
    }
    for row, mask in enumerate((z == 29, z == 40, z > 0)):
        here = (t == 1000) & mask
        k = seen[1000.0, False]
        assert one.mean[row, k] == pytest.approx(predicted[here].mean())
        assert one.deviation[row, k] == pytest.approx(predicted[here].std())
    left = t == 500
    alone = nearest_mean((x[~left], t[~left], z[~left]), (x[left], z[left]))
    assert one.mean[2, seen[500.0, True]] == pytest.approx(alone.mean())
    other = test.x - (np.log10(test.temperature)[:, None] if form == "run" else 0.0)
    far = test.temperature == 700
    beyond = nearest_mean((x, t, z), (other[far], test.species[far]))
    assert one.mean[2, seen[700.0, True]] == pytest.approx(beyond.mean())
    assert np.isnan(one.mean).sum() == 0


def test_a_temperature_has_a_point_for_each_way(measured):
    one = measured[2][1]
    points = sorted(zip(one.temperature.tolist(), one.unseen.tolist(), strict=True))
    # the test run at 500 K was trained on at this temperature, in another run
    assert points == [
        (100.0, False), (500.0, False), (500.0, False), (500.0, True), (700.0, True), (1000.0, False)
    ]  # fmt: skip
