"""The cell list against trying every image."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mgdask.kernels.neighbors import neighbor_list
from tests.reference import soap as reference


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 25),
    cutoff=st.floats(0.5, 6.0),
    tilt=st.floats(0.0, 1.5),
    size=st.tuples(*[st.floats(2.5, 12.0)] * 3),
    pbc=st.tuples(*[st.booleans()] * 3),
)
def test_same_pairs_as_every_image(seed, n, cutoff, tilt, size, pbc):
    rng = np.random.default_rng(seed)
    cell = np.diag(size) + tilt * np.tril(rng.uniform(-1, 1, (3, 3)), -1)
    position = rng.uniform(-5, 12, (n, 3))
    offset, row, vector, distance = neighbor_list(position, cell, cutoff, pbc=pbc)
    center = np.repeat(np.arange(n), np.diff(offset))
    exact = list(reference.neighbors(position, cell, cutoff + 2e-9, pbc))
    theirs = sorted((i, j, *np.round(v, 7)) for i, j, *v in exact)
    ours = sorted(
        (int(i), int(j), *np.round(v, 7)) for i, j, v in zip(center, row, vector, strict=True)
    )
    # no ties by rounding; the rounded vectors would not show them
    assume(all(abs(np.linalg.norm(v) - cutoff) > 1e-9 for _, _, *v in exact))
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(
        np.array(ours).reshape(-1, 5), np.array(theirs).reshape(-1, 5), atol=2e-7
    )
    np.testing.assert_allclose(distance, np.linalg.norm(vector, axis=1), atol=1e-12)


def test_order_does_not_depend_on_the_centers(glass):
    position, cell, _ = glass
    offset, row, vector, _ = neighbor_list(position, cell, 5.0)
    some = np.array([1999, 7, 512])
    offset2, row2, vector2, _ = neighbor_list(position, cell, 5.0, centers=some)
    for k, i in enumerate(some):
        assert (row2[offset2[k] : offset2[k + 1]] == row[offset[i] : offset[i + 1]]).all()
        assert (vector2[offset2[k] : offset2[k + 1]] == vector[offset[i] : offset[i + 1]]).all()


def test_no_atoms_and_no_neighbors():
    offset, row, _, _ = neighbor_list(np.zeros((1, 3)), np.eye(3) * 20, 3.0)
    assert offset.tolist() == [0, 0]
    assert row.size == 0
