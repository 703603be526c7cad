"""Linear response of a network of springs against the dense solution, crystals, and symmetries."""

from __future__ import annotations

import doctest
import threading

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mgdask.errors import ParameterError
from mgdask.features import (
    LinearResponse,
    compute_features,
    environments,
    linear_response,
    make_feature,
)

UNIAXIAL = (0.4, 0.4, -1.0, 0.0, 0.0, 0.0)
RADII = {29: 1.26, 40: 1.58}


def test_examples():
    assert doctest.testmod(linear_response, extraglobs={"np": np}).failed == 0


@pytest.fixture(scope="module")
def small():
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*[np.arange(4.0)] * 3, indexing="ij"), -1).reshape(-1, 3)
    position = 2.6 * grid + rng.normal(scale=0.25, size=(64, 3))
    return position, np.diag([10.4] * 3), rng.choice([29, 40], 64)


def springs(position, cell, numbers, cutoff, decay):
    """Every pair and image within the cutoff, by brute force."""
    found = []
    images = [np.array([a, b, c]) for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1)]
    for i in range(len(position)):
        for j in range(len(position)):
            for image in images:
                r = position[j] + image @ cell - position[i]
                d = np.linalg.norm(r)
                if 0 < d <= cutoff:
                    size = RADII[int(numbers[i])] + RADII[int(numbers[j])]
                    found.append((i, j, r, r / d, np.exp(-decay * (d / size - 1))))
    return found


def dense(bonds, n, strain):
    """Stiffness matrix and affine force of the whole network."""
    matrix, force = np.zeros((n, 3, n, 3)), np.zeros((n, 3))
    for i, j, r, direction, k in bonds:
        block = k * np.outer(direction, direction)
        matrix[i, :, i] += block
        matrix[i, :, j] -= block
        force[i] += k * direction * (direction @ strain @ r)
    return matrix.reshape(3 * n, 3 * n), force


def residual(bonds, n, moved):
    """D2min (Falk & Langer) of the displacement over the springs, and its gradient."""
    d2, gradients = np.empty(n), np.empty((n, 3, 3))
    for i in range(n):
        own = [(r, moved[j] - moved[a]) for a, j, r, _, _ in bonds if a == i]
        x, w = np.array([r for r, _ in own]), np.array([w for _, w in own])
        gradients[i] = np.linalg.lstsq(x, w, rcond=None)[0].T
        d2[i] = ((w - x @ gradients[i].T) ** 2).sum()
    return d2, gradients


def test_many_steps_are_the_dense_solution(small):
    position, cell, numbers = small
    bonds = springs(*small, 3.9, 10.0)
    strain = np.diag(UNIAXIAL[:3])
    matrix, force = dense(bonds, 64, strain)
    moved = np.linalg.lstsq(matrix, force.ravel(), rcond=1e-10)[0].reshape(64, 3)
    got = LinearResponse(cutoff=3.9, steps=4000).compute(position, cell, numbers)
    d2, gradients = residual(bonds, 64, moved)
    np.testing.assert_allclose(got[:, 0], d2, rtol=1e-5, atol=1e-8)
    total = strain + 0.5 * (gradients + gradients.transpose(0, 2, 1))
    deviator = total - np.trace(total, axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3)
    shear = np.sqrt((deviator**2).sum(axis=(1, 2)) / 2)
    np.testing.assert_allclose(got[:, 1], shear, rtol=1e-5)
    np.testing.assert_allclose(got[:, 3], (force**2).sum(axis=1), rtol=1e-9)
    blocks = np.array([matrix[3 * i : 3 * i + 3, 3 * i : 3 * i + 3] for i in range(64)])
    value = np.linalg.eigvalsh(blocks)
    np.testing.assert_allclose(got[:, 4], value[:, 0], rtol=1e-9)
    np.testing.assert_allclose(got[:, 5], value[:, 0] / value[:, 2], rtol=1e-9)
    along = blocks[:, 2, 2] / np.trace(blocks, axis1=1, axis2=2)
    np.testing.assert_allclose(got[:, 6], along, rtol=1e-9)


def test_few_steps_are_the_formula(small):
    position, cell, numbers = small
    strain = (0.0, 0.1, 0.0, 0.0, 0.3, 0.7)
    xx, yy, zz, yz, xz, xy = strain
    bonds = springs(*small, 3.6, 4.0)
    tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    matrix, affine = dense(bonds, 64, tensor)
    moved = np.zeros((64, 3))
    for _ in range(3):
        force = affine - (matrix @ moved.ravel()).reshape(64, 3)
        blocks = [matrix[3 * i : 3 * i + 3, 3 * i : 3 * i + 3] for i in range(64)]
        moved = moved + 0.8 * np.array(
            [np.linalg.solve(k, f) for k, f in zip(blocks, force, strict=True)]
        )
    feature = LinearResponse(cutoff=3.6, strain=strain, decay=4.0, steps=3)
    got = feature.compute(position, cell, numbers)
    np.testing.assert_allclose(got[:, 2], (moved**2).sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(got[:, 0], residual(bonds, 64, moved)[0], rtol=1e-8, atol=1e-14)


def test_16_steps_are_enough_for_a_glass(glass):
    position, cell, numbers = glass
    d2min = [LinearResponse(steps=n).compute(position, cell, numbers)[:, 0] for n in (16, 64, 256)]
    assert np.isfinite(d2min).all()
    # converged: the last doublings change little, and the order hardly at all
    assert np.corrcoef(d2min[0], d2min[2])[0, 1] > 0.9
    assert np.corrcoef(d2min[1], d2min[2])[0, 1] > 0.99


def test_rotated_with_the_load_and_proportional_to_it(small):
    position, cell, numbers = small
    feature = LinearResponse(cutoff=3.7, steps=8)
    want = feature.compute(position, cell, numbers)
    turn = Rotation.random(random_state=5).as_matrix()
    turned = turn @ np.diag(UNIAXIAL[:3]) @ turn.T
    strain = tuple(turned[a, b] for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)))
    rotated = LinearResponse(cutoff=3.7, steps=8, strain=strain)
    got = rotated.compute(position @ turn.T, cell @ turn.T, numbers)
    np.testing.assert_allclose(got, want, rtol=1e-7)
    other = feature.compute(position @ turn.T, cell @ turn.T, numbers)
    assert abs(other[:, 0] / want[:, 0] - 1).max() > 0.1  # the load has a direction
    double = LinearResponse(cutoff=3.7, steps=8, strain=tuple(2 * e for e in UNIAXIAL))
    scale = np.array([4.0, 2.0, 4.0, 4.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(double.compute(position, cell, numbers), want * scale, rtol=1e-9)


def test_order_of_atoms_images_and_blocks(small, glass):
    position, cell, numbers = small
    feature = LinearResponse(cutoff=3.7, steps=8)
    want = feature.compute(position, cell, numbers)
    order = np.random.default_rng(2).permutation(64)
    got = feature.compute(position[order], cell, numbers[order])
    np.testing.assert_allclose(got, want[order], rtol=1e-9)
    shift = np.random.default_rng(4).integers(-2, 3, (64, 3)) @ cell
    np.testing.assert_allclose(feature.compute(position + shift, cell, numbers), want, rtol=1e-7)
    r, box, z = glass
    whole = LinearResponse().compute(r, box, z)
    some = np.array([5, 3, 77, 200])
    assert np.array_equal(LinearResponse().compute(r, box, z, some), whole[some])


def test_large_frames_are_solved_once(glass, monkeypatch):
    r, box, z = glass
    feature = LinearResponse(steps=4)
    whole = feature.compute(r, box, z)
    monkeypatch.setattr(environments, "LARGE", 10)
    monkeypatch.setattr(environments, "_RECENT", threading.local())
    calls = []
    relax = LinearResponse._relax
    monkeypatch.setattr(
        LinearResponse, "_relax", lambda self, given: calls.append(1) or relax(self, given)
    )
    parts = [feature.compute(r, box, z, rows) for rows in np.array_split(np.arange(len(r)), 3)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert len(calls) == 1
    moved = r + [[0.3, 0.0, 0.0]] * (np.arange(len(r)) == 7)[:, None]
    assert not np.array_equal(feature.compute(moved, box, z), whole)
    assert len(calls) == 2


def test_a_crystal_has_no_response():
    fcc = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0.0]])
    grid = np.stack(np.meshgrid(*[np.arange(3.0)] * 3), -1).reshape(-1, 3)
    position = (4 * grid[:, None] + fcc).reshape(-1, 3)
    got = LinearResponse(cutoff=3.0).compute(position, 12 * np.eye(3), np.full(108, 29))
    assert abs(got[:, [0, 2, 3]]).max() < 1e-20
    # <n_a²> of the twelve neighbors is 1/3 along each axis; shear of diag(0.4, 0.4, -1)
    np.testing.assert_allclose(got[:, 5:], [[1.0, 1.0 / 3.0]] * 108, rtol=1e-12)
    np.testing.assert_allclose(got[:, 1], 1.4 / np.sqrt(3.0), rtol=1e-12)


def test_atoms_without_a_response_are_counted():
    position = np.array([[0.0, 0, 0], [2.5, 0, 0], [0, 2.5, 0], [9, 9, 9]])
    values, flags = compute_features(
        [LinearResponse()], position[None], 20 * np.eye(3)[None], np.full(4, 29), np.arange(4),
        (True, True, True),
    )  # fmt: skip
    assert np.isnan(values[0][0, :, 0]).all()
    assert flags[0] == {"undefined": 4}


def test_refusals_in_words():
    with pytest.raises(ParameterError, match="0 in all six components"):
        LinearResponse(strain=(0.0,) * 6)
    with pytest.raises(ParameterError, match="decay"):
        LinearResponse(decay=-1.0)


def test_strain_on_the_command_line():
    # a compression along x
    got = make_feature("linear_response", {"strain": "-1+0.4+0.4+0+0+0"})
    assert got == LinearResponse(strain=(-1.0, 0.4, 0.4, 0.0, 0.0, 0.0))
    assert got.tensor().diagonal().tolist() == [-1.0, 0.4, 0.4]
