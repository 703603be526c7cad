"""Cell geometry and element data: closed forms and invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgdask import elements, geometry
from mgdask.errors import ParameterError

CELL = np.array([[24.0, 1.0, 2.0], [7.0, 20.0, -3.0], [-5.0, 6.0, 11.0]])


@given(seed=st.integers(0, 10**6), pbc=st.tuples(*[st.booleans()] * 3), orthogonal=st.booleans())
def test_images_undo_wrapping_and_wrapping_twice_changes_nothing(seed, pbc, orthogonal):
    rng = np.random.default_rng(seed)
    cell, origin = (np.diag(np.diagonal(CELL)) if orthogonal else CELL), rng.normal(size=3)
    position = rng.uniform(-80, 80, (50, 3))
    wrapped, image = geometry.wrap(position, cell, origin, pbc)
    np.testing.assert_allclose(geometry.unwrap(wrapped, image, cell), position, atol=1e-12)
    s = geometry.fractional(wrapped, cell, origin)
    assert ((s >= 0) & (s < 1))[:, list(pbc)].all()
    again, no_image = geometry.wrap(wrapped, cell, origin, pbc)
    assert (again == wrapped).all()
    assert not no_image.any()
    assert not image[:, ~np.array(pbc)].any()


def test_atoms_at_faces_are_wrapped_to_the_lower_face():
    wrapped, image = geometry.wrap(
        np.array([[-1e-17, 5.0, 10.0]]), np.eye(3) * 5, np.zeros(3), (True,) * 3
    )
    assert (wrapped == 0).all()
    assert image.tolist() == [[0, 1, 2]]


def test_heights_volume_and_minimum_image():
    h = geometry.face_heights(CELL)
    np.testing.assert_allclose(
        h[0], geometry.volume(CELL) / np.linalg.norm(np.cross(CELL[1], CELL[2]))
    )
    np.testing.assert_allclose(
        geometry.minimum_image(np.array([[23.0, 0, 0]]), np.eye(3) * 24, (1, 1, 1)), [[-1, 0, 0]]
    )
    np.testing.assert_allclose(
        geometry.minimum_image(np.array([[23.0, 0, 0]]), np.eye(3) * 24, (0, 1, 1)), [[23, 0, 0]]
    )


def test_cells_with_free_axes_are_completed():
    full = geometry.complete_cell([[3.0, 0, 0], [0, 0, 0], [0, 4.0, 0]], (True, False, True))
    np.testing.assert_allclose(np.abs(full[1]), [0, 0, 1])
    np.testing.assert_allclose(
        np.abs(np.linalg.det(geometry.complete_cell(np.zeros((3, 3)), (False,) * 3))), 1
    )
    with pytest.raises(ParameterError, match=r"vector 1 is zero although pbc\[1\]"):
        geometry.complete_cell([[3.0, 0, 0], [0, 0, 0], [0, 4.0, 0]], (True, True, True))


def test_element_data():
    assert elements.atomic_number("Zr") == 40
    assert elements.symbol(29) == "Cu"
    assert elements.mass(40) == pytest.approx(91.224)
    with pytest.raises(ParameterError, match="did you mean 'Cu'"):
        elements.atomic_number("CU")
