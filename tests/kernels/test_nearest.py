"""Nearest vectors: equal, bit for bit, to comparing all pairs, whatever the bound can decide."""

from __future__ import annotations

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.kernels.nearest import covered, make_index, nearest, squared_distances, unit_rows
from tests.reference import nearest as reference


def twin(vectors, rows, group=None, row_group=None):
    found = reference.nearest(vectors, rows, group, row_group)
    return np.array([j for j, _ in found], dtype=np.int64), np.array([d for _, d in found])


def same(found, known):
    np.testing.assert_array_equal(found[0], known[0])
    assert found[1].tobytes() == known[1].tobytes()


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 64, 327, 800, 1700])
def test_bits_of_a_distance(n):
    r = np.random.default_rng(n)
    p, q = r.normal(size=(3, n)), r.normal(size=(2, n)) * 10.0 ** r.integers(-3, 3, (2, n))
    found = squared_distances(p, q)
    for i, j in np.ndindex(3, 2):
        assert found[i, j] == reference.squared_distance(p[i], q[j])


def test_distance_is_the_same_in_both_directions_and_zero_to_itself():
    p = np.random.default_rng(0).normal(size=(5, 131))
    d = squared_distances(p, p)
    assert (d == d.T).all()
    assert (np.diag(d) == 0.0).all()


def test_unit_rows():
    r = np.random.default_rng(1)
    rows = r.normal(size=(6, 77)) * np.array([1.0, 1e-3, 1e150, 1e-160, 0.0, 1e300])[:, None]
    rows[5] = 0.0
    rows[5, 3] = 5e-324
    unit = unit_rows(rows)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), [1, 1, 1, 1, 0, 1], rtol=0, atol=4e-16)
    for i in range(4):
        large = rows[i] / np.abs(rows[i]).max()
        np.testing.assert_allclose(unit[i], large / np.linalg.norm(large), rtol=1e-15)
    assert unit[5, 3] == 1.0
    assert np.isnan(unit_rows(np.array([[np.nan, 1.0]]))).all()
    assert unit_rows(rows, out=rows) is rows
    assert rows.tobytes() == unit.tobytes()


def cases():
    r = np.random.default_rng(2)
    blob = r.normal(size=(1, 45)) + 0.2 * r.normal(size=(60, 45))
    yield "glass-like", blob, blob[::4] + 0.05 * r.normal(size=(15, 45))
    # in many dimensions all distances are alike: the bound decides nothing
    yield "equal distances", np.eye(40, 70), np.vstack([np.eye(70)[50:55], np.ones((2, 70))])
    noise = r.normal(size=(50, 90))
    yield "noise", noise, r.normal(size=(10, 90))
    # copies that differ by less than float32 can tell
    one = r.normal(size=33)
    near = one + 1e-9 * r.normal(size=(40, 33))
    yield "near-duplicates", near, near[::3] + 1e-10 * r.normal(size=(14, 33))
    yield "ties", np.repeat(noise[:9], 4, axis=0)[::-1], noise[:12]
    yield "zero rows", noise, np.zeros((2, 90))
    yield "opposite", np.vstack([-blob, -blob[:3]]), blob[:5]
    yield "one column", np.ones((3, 1)), np.array([[1.0], [-1.0]])
    yield "one entry", noise[:1], noise[:4]


@pytest.mark.parametrize(("vectors", "rows"), [c[1:] for c in cases()], ids=[c[0] for c in cases()])
def test_equal_to_all_pairs(vectors, rows):
    vectors, rows = unit_rows(vectors), unit_rows(rows)
    known = twin(vectors, rows)
    for n_components in (1, 5, 8, 32):
        index = make_index(vectors, n_components=n_components)
        same(nearest(index, rows), known)
        for limit in {0.0, *known[1], *np.nextafter(known[1], 0.0), 4.1}:
            np.testing.assert_array_equal(covered(index, rows, limit), known[1] <= limit)
    # a basis that knows nothing of the vectors
    dim = vectors.shape[1]
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(dim, min(dim, 6))))[0]
    same(nearest(make_index(vectors, basis=turn), rows), known)


def test_groups():
    r = np.random.default_rng(4)
    vectors, rows = unit_rows(r.normal(size=(80, 40))), unit_rows(r.normal(size=(30, 40)))
    group, row_group = r.integers(0, 3, 80) * 29, r.integers(0, 4, 30) * 29
    index = make_index(vectors, group)
    known = twin(vectors, rows, group, row_group)
    assert (known[0] < 0).any()
    same(nearest(index, rows, row_group), known)
    same(nearest(index, rows), twin(vectors, rows))
    limit = np.median(known[1])
    np.testing.assert_array_equal(covered(index, rows, limit, row_group), known[1] <= limit)


@pytest.mark.parametrize("steps", [(1, 3, 100), (50, 54), (0, 7, 104), (64, 104)])
def test_extended_index_is_that_of_all_vectors(steps):
    r = np.random.default_rng(5)
    vectors, rows = unit_rows(r.normal(size=(104, 37))), unit_rows(r.normal(size=(20, 37)))
    group = r.integers(0, 2, 104)
    index, at = make_index(vectors[: steps[0]], group[: steps[0]]), steps[0]
    for step in (*steps[1:], 104):
        index, at = index.extended(vectors[at:step], group[at:step]), max(at, step)
    assert index.n_entries == 104
    np.testing.assert_array_equal(index.vectors, vectors)
    np.testing.assert_array_equal(index.group, group)
    assert all(np.shares_memory(part, vectors) for part in index.parts if len(part))
    same(nearest(index, rows), twin(vectors, rows))
    same(nearest(index, rows, group[:20]), twin(vectors, rows, group, group[:20]))


def test_empty_index():
    index, rows = make_index(np.empty((0, 5))), np.eye(3, 5)
    found, distance = nearest(index, rows)
    assert (found == -1).all()
    assert (distance == np.inf).all()
    assert not covered(index, rows, 9.0).any()
    same(nearest(index.extended(np.eye(5)), rows), twin(np.eye(5), rows))
    assert len(nearest(make_index(np.eye(5)), np.empty((0, 5)))[0]) == 0


def test_rows_of_nan_have_no_nearest_entry():
    found, distance = nearest(make_index(np.eye(3)), np.array([[np.nan] * 3, [1.0, 0, 0]]))
    assert found.tolist() == [-1, 0]
    assert distance.tolist() == [np.inf, 0.0]


def test_batches_do_not_matter():
    r = np.random.default_rng(6)
    base = r.normal(size=50)
    vectors = unit_rows(base + 0.3 * r.normal(size=(300, 50)))
    rows = unit_rows(base + 0.3 * r.normal(size=(150, 50)))
    index = make_index(vectors, n_components=8)
    whole = nearest(index, rows)
    exact = squared_distances(rows, vectors)
    np.testing.assert_array_equal(whole[0], exact.argmin(axis=1))
    np.testing.assert_array_equal(whole[1], exact.min(axis=1))
    for size in (1, 7, 64):
        parts = [nearest(index, rows[i : i + size]) for i in range(0, 150, size)]
        same([np.concatenate(part) for part in zip(*parts, strict=True)], whole)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_index(np.zeros((2, 3))), "vector 0 has norm 0, .*without neighbors"),
        (lambda: make_index(np.array([[1.0, 0], [3, 4]])), "vector 1 has norm 5"),
        (lambda: make_index(np.full((1, 2), np.nan)), "norm nan"),
        (lambda: make_index(np.ones(3)), r"\(entry, column\), not of shape \(3,\)"),
        (lambda: make_index(np.eye(3), [1, 2]), r"\(3,\), not \(2,\)"),
        (lambda: make_index(np.eye(3), basis=np.ones((3, 2))), "not orthonormal"),
        (lambda: make_index(np.eye(3)).extended(np.eye(4)), "4 columns.* index have 3"),
        (lambda: nearest(make_index(np.eye(3)), np.eye(4)), r"\(row, 3\).*\(4, 4\)"),
        (lambda: nearest(make_index(np.eye(3)), np.eye(3), [1]), r"\(3,\), not \(1,\)"),
        (lambda: squared_distances(np.eye(3), np.eye(4)), "3 and of 4 columns"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ParameterError, match=message):
        call()
