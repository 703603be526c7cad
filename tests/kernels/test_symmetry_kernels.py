"""Behler-Parrinello symmetry functions against naive twins, and against what they must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mgdask.kernels.neighbors import neighbor_list
from mgdask.kernels.symmetry import BLOCK, symmetry
from mgdask.kernels.vector_math import exponentials
from tests.reference import structure as reference

SIGMA = 2.52
PUBLISHED = [
    (14.633, -1, 1),
    (14.633, 1, 1),
    (14.638, -1, 2),
    (14.638, 1, 2),
    (2.554, -1, 1),
    (2.554, 1, 1),
]
PUBLISHED += [(2.554, -1, 2), (2.554, 1, 2), (1.648, 1, 1), (1.648, 1, 2)]
PUBLISHED += [(xi, 1, zeta) for xi in (1.204, 0.933, 0.695) for zeta in (1, 2, 4, 16)]
SETS = np.array(PUBLISHED, dtype=float) * (SIGMA, 1, 1)
RADII, WIDTH, CUTOFF = np.arange(50) * 0.1 * SIGMA, 0.1 * SIGMA, 2.5 * SIGMA
UNEVEN = np.array([0.0, 1.1, 1.3, 4.7, 2.2])
ODD = np.array(
    [[3.0, -1, 0.5], [3.0, 0.7, 2.7], [1.5, 1, 7], [9.0, -0.4, 3], [1.5, 1, 64], [3.0, 1, 0.5]]
)


def compute(
    first,
    last,
    row,
    vector,
    distance,
    slot,
    n_species=2,
    cutoff=CUTOFF,
    shifts=RADII,
    width=WIDTH,
    angular=SETS,
):
    n_pairs = n_species * (n_species + 1) // 2
    out = np.full((len(first), n_species * len(shifts) + n_pairs * len(angular)), np.nan)
    arrays = [np.ascontiguousarray(a, dtype=np.int64) for a in (first, last, row)]
    slots = np.ascontiguousarray(slot, dtype=np.int64)
    symmetry(
        *arrays,
        vector,
        distance,
        slots,
        n_species,
        cutoff,
        np.asarray(shifts, float),
        width,
        angular,
        out,
    )
    return out


def one(vector, kinds, **options):
    """Row of a single centre whose neighbours are given."""
    vector = np.asarray(vector, dtype=float).reshape(-1, 3)
    distance = np.linalg.norm(vector, axis=1)
    return compute([0], [len(vector)], np.arange(len(vector)), vector, distance, kinds, **options)[
        0
    ]


def twin(vector, kinds, n_species, cutoff, shifts, width, angular):
    distance = np.linalg.norm(vector, axis=1)
    vector, kinds, distance = (a[distance <= cutoff] for a in (vector, np.asarray(kinds), distance))
    parts = [
        reference.radial_symmetry(distance[kinds == s], shifts, width) for s in range(n_species)
    ]
    for s in range(n_species):
        for t in range(s, n_species):
            for xi, factor, zeta in angular:
                psi = reference.angular_symmetry(
                    vector[kinds == s], vector[kinds == t], s == t, xi, factor, zeta
                )
                parts.append([psi])
    return np.concatenate(parts)


def close(ours, theirs):
    """To 1e-12 of the number itself: all terms of a sum are positive."""
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-300)


@pytest.fixture(scope="module")
def pairs(glass):
    position, cell, numbers = glass
    offset, row, vector, distance = neighbor_list(position, cell, CUTOFF)
    return offset, row, vector, distance, (np.asarray(numbers) == 40).astype(np.int64)


def test_exponential():
    """Within 2 units of the last place of mpmath's, 0 below -708."""
    mpmath = pytest.importorskip("mpmath")
    t = np.concatenate(
        [
            np.linspace(-708, 709, 3001),
            np.linspace(-1, 1, 501),
            np.linspace(-40, 0, 1001),
            [-1e-300],
        ]
    )
    found = np.empty_like(t)
    exponentials(t, found)
    exact = [mpmath.exp(mpmath.mpf(float(x))) for x in t]
    error = [
        abs(mpmath.mpf(float(a)) - b) / float(np.spacing(float(b)))
        for a, b in zip(found, exact, strict=True)
    ]
    assert max(error) < 2
    special = np.array([0.0, -708.1, -746.0, -1e5, -1e300, -np.inf, np.nan])
    found = np.empty_like(special)
    exponentials(special, found)
    np.testing.assert_array_equal(found, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, np.nan])
    # every argument gives the same bits alone as in a vector
    alone, single = np.empty_like(t), np.empty(1)
    for i, x in enumerate(t):
        exponentials(np.array([x]), single)
        alone[i] = single[0]
    together = np.empty_like(t)
    exponentials(t, together)
    np.testing.assert_array_equal(alone, together)


def test_published_columns_equal_the_twins(pairs):
    offset, row, vector, distance, slot = pairs
    some = np.array([0, 999])
    ours = compute(offset[some], offset[some + 1], row, vector, distance, slot)
    assert ours.shape == (2, 166)
    for values, i in zip(ours, some, strict=True):
        near = slice(offset[i], offset[i + 1])
        close(values, twin(vector[near], slot[row[near]], 2, CUTOFF, RADII, WIDTH, SETS))


def test_three_species_and_odd_parameters(rng):
    """Uneven shifts, zeta of any size, lambda of any size up to 1, a cut-off below the list's, atoms of no species."""
    vector, kinds = rng.normal(0, 2, (45, 3)), rng.integers(0, 3, 45)
    options = {"n_species": 3, "cutoff": 4.0, "shifts": UNEVEN, "width": 0.4, "angular": ODD}
    ours = one(vector, kinds, **options)
    assert ours.shape == (3 * 5 + 6 * 6,)
    close(ours, twin(vector, kinds, **options))
    more, strange = (
        np.concatenate([vector, rng.normal(0, 1, (5, 3))]),
        np.concatenate([kinds, [-1, 3, -1, 3, 7]]),
    )
    np.testing.assert_array_equal(one(more, strange, **options), ours)


def test_one_kind_of_function_only(rng):
    vector, kinds = rng.normal(0, 2, (20, 3)), rng.integers(0, 2, 20)
    both = one(vector, kinds)
    np.testing.assert_array_equal(one(vector, kinds, angular=SETS[:0]), both[:100])
    np.testing.assert_array_equal(one(vector, kinds, shifts=[]), both[100:])


def test_parameter_sets_do_not_touch_each_other(rng):
    vector, kinds = rng.normal(0, 2, (20, 3)), rng.integers(0, 2, 20)
    both = one(vector, kinds, shifts=[]).reshape(3, len(SETS))
    for k in range(len(SETS)):
        np.testing.assert_array_equal(
            one(vector, kinds, shifts=[], angular=SETS[k : k + 1].copy()), both[:, k]
        )


@pytest.mark.parametrize("n", [1, 2, 3, 22, 23, 24, 33])
def test_blocks_of_any_filling(rng, n):
    """n (n-1) / 2 pairs, from none to more than two blocks."""
    vector = rng.normal(0, 2, (n, 3))
    options = {"n_species": 1, "cutoff": 9.0, "shifts": UNEVEN, "width": 0.5, "angular": ODD[:4]}
    assert n < 33 or n * (n - 1) // 2 > 2 * BLOCK
    close(one(vector, np.zeros(n, int), **options), twin(vector, np.zeros(n, int), **options))


def test_few_neighbours():
    assert not one(np.empty((0, 3)), []).any()
    alone = one([[0.0, 0.0, 2.5]], [1])
    close(alone[50:100], np.exp(-((2.5 - RADII) ** 2) / (2 * WIDTH**2)))
    assert not alone[:50].any()
    assert not alone[100:].any()
    opposite = one([[0.0, 0.0, 2.5], [0.0, 0.0, -2.5]], [0, 1]).reshape(-1)[122:144]
    close(opposite, np.exp(-37.5 / SETS[:, 0] ** 2) * (1 - SETS[:, 1]) ** SETS[:, 2])
    assert one([[0.0, 0.0, CUTOFF]], [0])[:50].any()
    assert not one([[0.0, 0.0, np.nextafter(CUTOFF, 9)]], [0]).any()


def test_coincident_atoms():
    """A neighbour on the centre has no angle: NaN where it has a partner. Two neighbours may coincide."""
    vector, kinds = np.array([[0.0, 0, 0], [1.0, 2, 0], [0, 2, 2], [0, 2, 2]]), [0, 1, 1, 1]
    found = one(vector, kinds)
    assert np.isfinite(found[:100]).all()
    psi = found[100:].reshape(3, 22)
    assert not psi[0].any()
    assert np.isnan(psi[1]).all()
    expected = twin(vector[1:], np.array(kinds[1:]), 2, CUTOFF, RADII, WIDTH, SETS)
    np.testing.assert_allclose(psi[2], expected[-22:], rtol=1e-12)
    assert found[0] == 1.0


def test_rotation(pairs):
    offset, row, vector, distance, slot = pairs
    turned = vector @ Rotation.from_euler("zyx", [0.3, 1.2, -2.1]).as_matrix().T
    some = np.arange(0, 2000, 50)
    before = compute(offset[some], offset[some + 1], row, vector, distance, slot)
    after = compute(
        offset[some], offset[some + 1], row, np.ascontiguousarray(turned), distance, slot
    )
    np.testing.assert_allclose(after, before, rtol=1e-11, atol=1e-300)


def test_rows_do_not_depend_on_the_other_centres(pairs):
    offset, row, vector, distance, slot = pairs
    some = np.arange(0, 2000, 10)
    whole = compute(offset[some], offset[some + 1], row, vector, distance, slot)
    for cut in (1, 7, 123):
        parts = [
            compute(offset[s], offset[s + 1], row, vector, distance, slot)
            for s in (some[:cut], some[cut:])
        ]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    back = compute(offset[some[::-1]], offset[some[::-1] + 1], row, vector, distance, slot)
    np.testing.assert_array_equal(back[::-1], whole)
