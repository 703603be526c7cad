"""Forward selection against fits of every candidate, and what cannot be chosen."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.learn.selection import forward as module
from mgdask.learn.selection import forward_selection
from tests.reference.forward import forward


def table(seed, rows=30, columns=25):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 6)) @ rng.normal(size=(6, columns)) + rng.normal(
        size=(rows, columns)
    )
    return x * rng.lognormal(size=columns) + 3.0, x[:, 1] - 2 * x[:, 3] + rng.normal(size=rows)


def test_examples():
    assert doctest.testmod(module, extraglobs={"np": np}).failed == 0


@pytest.mark.parametrize("seed", range(4))
def test_each_choice_is_that_of_fitting_every_candidate(seed):
    x, y = table(seed)
    assert forward_selection(x, y, 8).tolist() == forward(x, y, 8)


def test_scale_and_offset_of_columns_and_values_do_not_matter():
    x, y = table(0)
    scaled = x * np.logspace(-6, 6, x.shape[1]) - 5.0
    assert (
        forward_selection(scaled, -1e3 * y + 7, 8).tolist() == forward_selection(x, y, 8).tolist()
    )


def test_constant_and_dependent_columns_are_left_out():
    x, y = table(1, columns=4)
    x[:, 0] = 0.1
    both = np.column_stack([x, x[:, 1] + 2 * x[:, 2], x[:, 3]])
    chosen = forward_selection(both, y, 6)
    # of columns 1, 2 and 4 any two span the third; of 3 and 5 the first is taken
    assert len(chosen) == 3
    assert 0 not in chosen
    assert 3 in chosen
    assert 5 not in chosen


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x, y: (x, y, 0), "n_columns=0 must be at least 1"),
        (lambda x, y: (np.where(x == x[2, 3], np.nan, x), y, 2), "x"),
        (lambda x, y: (x, y[:-1], 2), "y"),
    ],
)
def test_errors(change, match):
    with pytest.raises(ParameterError, match=match):
        forward_selection(*change(*table(0)))
