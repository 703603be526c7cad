"""Weights of lags: which lags tell temperatures apart."""

import json

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.learn import relieff
from mgdask.studies.temperature import weights as weights_module
from mgdask.studies.temperature.weights import LagWeights, lag_weights

LAGS = np.array([0.1, 1.0, 2.5, 5.0, 20.0, 200.0])


@pytest.fixture(scope="module")
def rows():
    """Features whose spread over temperatures begins at 5 ps."""
    rng = np.random.default_rng(2)
    temperature = np.repeat([300.0, 800.0, 1300.0], 60)
    x = rng.normal(scale=0.2, size=(180, 6))
    x[:, 3:] += temperature[:, None] / 1000.0
    return x, temperature


@pytest.fixture(scope="module")
def weights(rows, client):
    return lag_weights(*rows, LAGS, neighbors=7, client=client, progress=False)


def test_weights_are_those_of_relieff(rows, weights):
    assert list(weights.weight) == ["per-class", "literal"]
    for form, found in weights.weight.items():
        np.testing.assert_allclose(found, relieff(*rows, 7, form=form), atol=1e-12)
    assert weights.n_rows == 180
    assert weights.classes.tolist() == [300.0, 800.0, 1300.0]


def test_lags_above_the_knee_are_kept(weights):
    assert weights.selected.tolist() == [5.0, 20.0, 200.0]
    assert weights.kept.tolist() == [False] * 3 + [True] * 3
    assert weights.weight["per-class"][3:].min() > weights.knee["per-class"] > -1
    assert "3 of 6 lags are above the knee: 5 ps and all longer ones, as in the paper" in (
        weights.verdict
    )
    back = LagWeights.from_json(json.loads(json.dumps(weights.to_json())))
    assert back.to_json() == weights.to_json()


def test_other_lags_than_the_paper_are_said(rows, client):
    x, temperature = rows
    found = lag_weights(x[:, ::-1], temperature, LAGS, neighbors=7, client=client, progress=False)
    assert found.selected.tolist() == [0.1, 1.0, 2.5]
    assert "from 0.1 ps with gaps. The paper keeps 5 ps and longer, here 3" in found.verdict


def test_given_lags(rows, client, weights):
    found = lag_weights(
        *rows, LAGS, selected=(200.0, 1.0), neighbors=7, client=client, progress=False
    )
    assert found.given
    assert found.selected.tolist() == [1.0, 200.0]
    assert found.above_knee["per-class"].tolist() == weights.selected.tolist()
    for lags, words in (((3.0,), "3 ps, which is not a lag .* 0.1, 1, 2.5"), ((), "empty")):
        with pytest.raises(ParameterError, match=words):
            lag_weights(*rows, LAGS, selected=lags, neighbors=7, client=client)


def test_refusals(rows, client):
    x, temperature = rows
    hole = x.copy()
    hole[3, 2] = -np.inf
    for args, k, words in (
        ((hole, temperature), 7, "column '2.5 ps', row 3"),
        ((x, np.full(180, 300.0)), 7, "one class only"),
        ((x, temperature), 60, "below the number of rows"),
    ):
        with pytest.raises(ParameterError, match=words):
            lag_weights(*args, LAGS, neighbors=k, client=client, progress=False)


def test_of_more_rows_than_the_paper_a_sample_is_taken(rows, client, monkeypatch):
    monkeypatch.setattr(weights_module, "MAX_PAIRS", 180 * 45 + 7)
    found = lag_weights(*rows, LAGS, neighbors=7, seed=3, client=client, progress=False)
    for form, values in found.weight.items():
        expected = relieff(*rows, 7, samples=45, seed=3, form=form)
        np.testing.assert_allclose(values, expected, atol=1e-12)
    assert (found.n_rows, found.n_sampled) == (180, 45)
