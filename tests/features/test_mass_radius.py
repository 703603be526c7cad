"""Mass distribution M(r): a naive twin, bodies of known dimension, refusals in words."""

from __future__ import annotations

import doctest
import sys

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.features import mass_distribution as public
from mgdask.features.mass_radius import mass_distribution
from tests.reference import structure as reference

CELL = np.array([[14.0, 1.0, 2.0], [3.0, 12.0, -2.0], [-1.0, 2.0, 13.0]])


def test_examples():
    module = sys.modules[mass_distribution.__module__]
    assert doctest.testmod(module, extraglobs={"np": np}).failed == 0
    assert public is mass_distribution


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True)])
def test_mass_is_that_of_the_naive_twin(rng, pbc):
    """Wang & Jain, Fig. 3c: M(r) is the number of atoms of each type within r of an atom."""
    position = rng.random((150, 3)) @ CELL
    group = rng.random(150) < 0.4
    found = mass_distribution(
        position, CELL, {"some": group}, pbc=pbc, r_max=5.5, width=0.25, blocks=3
    )
    for name, mask in (("whole", np.ones(150, dtype=bool)), ("some", group)):
        kind = np.where(mask, 1, 2)
        edges = 0.25 * np.arange(23)
        counts = reference.rdf_counts(position, CELL, kind, (1, 1), edges, pbc)
        # the twin counts the pairs of the group only, never the atom with itself
        own = reference.rdf_counts(position[mask], CELL, np.ones(mask.sum()), (1, 1), edges, pbc)
        assert counts.tolist() == own.tolist()
        one = found.sel(group=name)
        np.testing.assert_allclose(one.mass, np.cumsum(counts) / mask.sum(), rtol=1e-14)
        np.testing.assert_array_equal(one.pairs.sum(("block", "neighbor_block")), counts)
        assert one.block_count.sum() == mask.sum()


def test_blocks_at_one_displacement_share_a_number(rng):
    found = mass_distribution(rng.random((50, 3)) @ CELL, CELL, {}, blocks=3, width=0.5)
    lag = found.lag.values
    step = np.indices((3, 3, 3)).reshape(3, -1).T
    displacement = (step[None] - step[:, None]) % 3
    for number in np.unique(lag):
        assert len(np.unique(displacement[lag == number], axis=0)) == 1
        assert (lag == number).sum() == 27
    free = mass_distribution(
        rng.random((50, 3)) @ CELL, CELL, {}, pbc=(False, False, False), r_max=5, blocks=2
    )
    assert len(np.unique(free.lag)) == 27


def test_refusals():
    r, cell = np.random.default_rng(0).random((20, 3)) * 10, 10 * np.eye(3)
    half = np.arange(20) < 10
    for arguments, options, words in (
        ((r[:, :2], cell, {}), {}, r"\(atom, 3\)"),
        ((r, cell, {"a": np.arange(20)}), {}, "20 booleans"),
        ((r, cell, {"a": np.arange(20) < 1}), {}, "at least 2"),
        ((r, cell, {"whole": half}), {}, "other than .whole."),
        ((r, cell, {"a": ~half}), {"whole": half}, "10 atoms outside whole"),
        ((r, cell, {}), {"width": 0.0}, "two bins"),
        ((r, cell, {}), {"blocks": 0}, "between 1 and 8"),
        ((r, cell, {}), {"pbc": (False,) * 3}, "give r_max in"),
    ):
        with pytest.raises(ParameterError, match=words):
            mass_distribution(*arguments, **options)
