"""Voronoi polyhedra of kernels: crystals and clusters known by hand, a glass by qhull."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mgdask.studies.barcode.polyhedra import (
    Polyhedron,
    PolyhedronCounts,
    assigned_polyhedra,
    is_kasper,
    kernel_polyhedra,
)
from tests.reference import structure as reference
from tests.reference.configurations import (
    BCC,
    FCC,
    ICOSAHEDRON,
    NEVER,
    cluster,
    crystal,
    laves,
    twin_cells,
)


def names(position, cell, centers, **options):
    numbers = np.full(len(position), 29)
    return [one.name for one in kernel_polyhedra(position, cell, numbers, centers, **options)]


def test_crystals():
    """Rhombic dodecahedron, truncated octahedron, and the two Frank-Kasper polyhedra of C15."""
    assert names(*crystal(FCC, 3.6), [0]) == ["<0,12,0,0>"]
    assert names(*crystal(BCC, 3.0), [1]) == ["<0,6,0,8>"]
    position, cell = laves()
    assert names(position, cell, [0, 8]) == ["<0,0,12,4>", "<0,0,12,0>"]


def test_groups_by_hand():
    """2 n4 + n5 = 12 of the paper: icosahedron, Z16 and <0,2,8,2>, and bcc, but not fcc."""
    icosahedron = kernel_polyhedra(*cluster(ICOSAHEDRON), np.full(13, 29), [0], NEVER)[0]
    assert icosahedron.name == "<0,0,12,0>"
    assert (icosahedron.group, icosahedron.kasper, icosahedron.icosahedral) == (1, True, True)
    assert (icosahedron.coordination, icosahedron.shell) == (12, {"Cu": 12})
    fcc = kernel_polyhedra(*crystal(FCC, 3.6), np.full(4, 29), [0])[0]
    assert (fcc.group, fcc.kasper, fcc.icosahedral) == (2, False, False)
    index = np.array([[0, 2, 8, 2], [0, 0, 12, 4], [0, 3, 6, 3], [0, 2, 8, 0], [0, 6, 0, 8]])
    assert is_kasper(index).tolist() == [True, True, True, True, True]
    assert not is_kasper(np.array([[1, 2, 6, 2], [0, 12, 0, 0]])).any()


def test_shell_by_element():
    """CsCl: 8 atoms of the other element across hexagons, 6 of the same across squares."""
    found = kernel_polyhedra(*crystal(BCC, 3.0), np.array([29, 40]), [0, 1])
    assert [one.shell for one in found] == [{"Cu": 6, "Zr": 8}, {"Cu": 8, "Zr": 6}]
    # an atom has 14 facets with its images, though the crystal has 2 atoms
    assert found[0].coordination == 14


def test_open_cells():
    open_one = kernel_polyhedra(*cluster(ICOSAHEDRON), np.full(13, 29), [3], NEVER)[0]
    assert (open_one.name, open_one.group, open_one.coordination) == ("open", 2, 0)


@pytest.mark.parametrize("rule", ["static", "none"])
def test_glass_by_qhull(glass, rule):
    """Indices of a piece of the glass by the twin, with and without small facets."""
    position, numbers = np.array(glass[0]), np.array(glass[2])
    inside = np.linalg.norm(position - position.mean(axis=0), axis=1).argsort()[:150]
    piece, kinds = position[inside], numbers[inside]
    cells = twin_cells(piece, 200.0 * np.eye(3), NEVER)
    centers = [k for k in range(20) if cells[k]]
    found = kernel_polyhedra(piece, 200.0 * np.eye(3), kinds, centers, NEVER, rule)
    assert len(centers) > 15
    for one, k in zip(found, centers, strict=True):
        facets = reference.drop_small(cells[k], rule)
        counts = reference.voronoi_indices(facets, beyond=False)
        assert one.index == tuple(counts[:4])
        assert one.coordination == len(facets["neighbor"])
        assert one.name_all_facets == "<{},{},{},{}>".format(
            *reference.voronoi_indices(cells[k], beyond=False)[:4]
        )


def test_polyhedra_of_assigned_atoms():
    """Counts by hand, the same if they come in two parts in any order."""
    ico, bcc, odd = [0, 0, 12, 0, 0], [0, 6, 0, 8, 0], [-1] * 5
    place = np.array([0, 0, 0, 1, 1, -1, 0])
    counts = np.array([ico, ico, bcc, bcc, odd, ico, [0, 2, 8, 2, 0]])
    own = [_named("<0,0,12,0>"), _named("<0,2,8,2>"), _named("<0,0,12,4>")]
    whole = PolyhedronCounts.of(place, counts)
    parts = [PolyhedronCounts.of(place[k], counts[k]) for k in (slice(4, 7), slice(0, 4))]
    for one in (whole, PolyhedronCounts.total(parts)):
        first, second, third = assigned_polyhedra(one, own)
        assert (first.n_atoms, first.n_distinct, first.own) == (4, 3, 0.5)
        # <0,6,0,8> satisfies 2 n4 + n5 = 12, too
        assert (first.kasper, first.icosahedral) == (1.0, 0.5)
        assert first.coordination == (12 + 12 + 14 + 12) / 4
        assert first.names == ("<0,0,12,0>", "<0,2,8,2>", "<0,6,0,8>")
        assert first.fractions == (0.5, 0.25, 0.25)
        assert (second.n_atoms, second.own, second.coordination) == (2, 0.0, 14.0)
        assert second.names == ("<0,6,0,8>", "open")
        assert third.n_atoms == 0
        assert np.isnan(third.own)


def test_polyhedra_are_plain_data():
    one = kernel_polyhedra(*crystal(BCC, 3.0), np.array([29, 40]), [0])[0]
    assert Polyhedron.from_json(json.loads(json.dumps(one.to_json()))) == one


def _named(name):
    return Polyhedron(name, (0, 0, 0, 0), 0, 0, False, 2, False, {}, name, False)
