"""Voronoi cells against qhull, freud, perfect crystals and the symmetries that they must have."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import Voronoi as Diagram
from scipy.spatial import cKDTree

from mgdask.kernels.polytope import TOLERANCE
from mgdask.kernels.smallfacets import RULES, select
from mgdask.kernels.voronoi import (
    CLOSED,
    COINCIDENT,
    EDGE_THRESHOLD,
    OPEN,
    images,
    mean_spacing,
    voronoi_cells,
)
from tests.reference import structure as reference
from tests.reference.configurations import twin_cells_near

LEAST = 2e-9  # Å²: the twin leaves out facets below 1e-9


def facets_of(cells, k):
    return slice(cells.offset[k], cells.offset[k + 1])


def same_cell(cells, k, twin):
    """Cell k has the facets of the twin's: neighbours, images, areas, edges, volumes."""
    here = facets_of(cells, k)
    mine = np.flatnonzero(cells.area[here] > LEAST) + here.start
    theirs = np.flatnonzero((twin["edges"] >= 3) & (twin["area"] > LEAST))
    assert len(mine) == len(theirs)
    away, order = cKDTree(twin["vector"][theirs]).query(cells.vector[mine])
    order = theirs[order]
    assert len(set(order.tolist())) == len(mine)
    assert away.max() < 1e-9
    whole = twin["area"].sum()
    assert (cells.row[mine] == twin["neighbor"][order]).all()
    assert (cells.edges[mine] == twin["edges"][order]).all()
    # a facet is a difference of cross products: its rounding is that of the cell's surface
    np.testing.assert_allclose(
        cells.area[mine], twin["area"][order], rtol=1e-12, atol=1e-14 * whole
    )
    np.testing.assert_allclose(cells.distance[mine], twin["distance"][order], rtol=1e-12)
    np.testing.assert_allclose(
        cells.pyramid[mine], twin["volume"][order], rtol=1e-12, atol=1e-13 * whole
    )
    np.testing.assert_allclose(cells.volume[k], twin["cell_volume"], rtol=1e-12)


def mirrored(cells, n):
    """Every facet i -> j has its mirror j -> i."""
    center = np.repeat(np.arange(n), np.diff(cells.offset))
    big = cells.area > LEAST
    here = np.column_stack([center, cells.row, cells.vector])[big]
    mirror = np.column_stack([cells.row, center, -cells.vector])[big]
    away, order = cKDTree(here * [100, 100, 1, 1, 1]).query(mirror * [100, 100, 1, 1, 1])
    assert away.max() < 1e-9
    assert len(np.unique(order)) == len(here)
    surface = np.bincount(center, cells.area)
    rounding = 1e-14 * np.maximum(surface[center], surface[cells.row])[big]
    assert (
        abs(cells.area[big][order] - cells.area[big]) <= 1e-12 * cells.area[big] + rounding
    ).all()
    assert (cells.edges[big][order] == cells.edges[big]).all()


def triclinic(rng, n, tilt):
    cell = np.diag(rng.uniform(3, 6, 3) * (n / 4) ** (1 / 3)) + tilt * np.tril(
        rng.uniform(-1, 1, (3, 3)), -1
    )
    return rng.uniform(-0.5, 1.5, (n, 3)) @ cell, cell


@pytest.fixture(scope="module")
def whole(glass):
    """All cells of the glass."""
    return voronoi_cells(glass[0], glass[1])


@pytest.fixture(scope="module")
def twin(glass):
    """The twin's cells of a hundred atoms of the glass, by index."""
    return twin_cells_near(glass[0], glass[1], radius=8.0)


def same(one, other, pick=None):
    """Equal bits; ``pick`` are the cells of ``other`` that ``one`` holds."""
    if pick is None:
        pick = np.arange(len(other.volume))
    entries = np.concatenate(
        [np.arange(other.offset[i], other.offset[i + 1]) for i in pick]
    ).astype(int)
    assert np.diff(one.offset).tolist() == np.diff(other.offset)[pick].tolist()
    for name in ("row", "vector", "area", "edges", "pyramid", "distance"):
        assert getattr(one, name).tobytes() == getattr(other, name)[entries].tobytes(), name
    assert one.volume.tobytes() == other.volume[pick].tobytes()
    assert one.state.tolist() == other.state[pick].tolist()


def alike(one, other, order=None, turn=None):
    """Equal but for rounding and the order of facets; atom i of ``one`` is atom ``order[i]`` of ``other``."""
    order = np.arange(len(one.volume)) if order is None else order
    turn = np.eye(3) if turn is None else turn
    np.testing.assert_allclose(one.volume, other.volume[order], rtol=1e-12)
    for k, i in enumerate(order):
        here, there = facets_of(one, k), facets_of(other, i)
        assert here.stop - here.start == there.stop - there.start
        away, place = cKDTree(other.vector[there] @ turn).query(one.vector[here])
        place = place + there.start
        assert away.max() < 1e-9
        assert len(set(place.tolist())) == len(away)
        assert (order[one.row[here]] == other.row[place]).all()
        assert (one.edges[here] == other.edges[place]).all()
        near = 3e-14 * one.area[here].sum()
        np.testing.assert_allclose(one.area[here], other.area[place], rtol=1e-12, atol=near)


# ------------------------------------------------------------------------------------------------------------ the twin
def test_glass_is_qhulls(whole, twin):
    assert (whole.state == CLOSED).all()
    assert len(twin) > 100
    for k, theirs in twin.items():
        same_cell(whole, k, theirs)


@pytest.mark.slow
def test_all_cells_of_the_glass_are_qhulls(glass, whole):
    for k, theirs in enumerate(reference.voronoi(*glass[:2], threshold=EDGE_THRESHOLD)):
        same_cell(whole, k, theirs)


def test_glass_fills_the_box_and_is_its_own_mirror(glass, whole):
    assert whole.volume.sum() == pytest.approx(np.linalg.det(glass[1]), rel=1e-12)
    mirrored(whole, len(glass[0]))
    assert (6 - whole.edges).sum() == 12 * len(
        glass[0]
    )  # Euler, where three facets meet in every corner


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(8, 16), tilt=st.floats(0.0, 1.5))
def test_random_triclinic_cells(seed, n, tilt):
    position, cell = triclinic(np.random.default_rng(seed), n, tilt)
    cells = voronoi_cells(position, cell)
    assert (cells.state == CLOSED).all()
    assert cells.volume.sum() == pytest.approx(abs(np.linalg.det(cell)), rel=1e-12)
    for k, theirs in enumerate(reference.voronoi(position, cell, threshold=EDGE_THRESHOLD)):
        same_cell(cells, k, theirs)
    mirrored(cells, n)


@pytest.mark.parametrize("n", [1, 2, 3, pytest.param(4, marks=pytest.mark.slow)])
def test_cells_smaller_than_the_distance_of_neighbours(n):
    rng = np.random.default_rng(n)
    for stretch in ([1, 1, 1], [0.3, 1, 1], [0.3, 0.4, 1.0]):
        position, cell = triclinic(rng, n, 1.0)
        position, cell = position * stretch, cell * stretch
        cells = voronoi_cells(position, cell)
        assert cells.volume.sum() == pytest.approx(abs(np.linalg.det(cell)), rel=1e-12)
        for k, theirs in enumerate(reference.voronoi(position, cell, threshold=EDGE_THRESHOLD)):
            same_cell(cells, k, theirs)
        whole_vectors = images(cells, position, cell, np.arange(n))
        own = np.repeat(position, np.diff(cells.offset), axis=0)
        np.testing.assert_allclose(
            position[cells.row] + whole_vectors @ cell, own + cells.vector, atol=1e-9
        )
        assert (
            cells.row == np.repeat(np.arange(n), np.diff(cells.offset))
        ).any()  # own images are among them


# ------------------------------------------------------------------------------------------------------------ surfaces
def furthest_corner(position, cell, pbc):
    """Of every atom's cell, distance of the furthest corner; inf where the cell is not closed."""
    steps = itertools.product(*[range(-2, 3) if p else (0,) for p in pbc])
    place = np.concatenate([position + np.array(step) @ cell for step in sorted(steps, key=np.any)])
    diagram = Diagram(place)
    far = np.full(len(position), np.inf)
    for i in range(len(position)):
        region = diagram.regions[diagram.point_region[i]]
        if -1 not in region:
            far[i] = np.linalg.norm(diagram.vertices[region] - place[i], axis=1).max()
    return far


@pytest.mark.parametrize(
    "pbc",
    [
        (True, True, False),
        pytest.param((False, True, True), marks=pytest.mark.slow),
        (True, False, False),
        (False, False, False),
    ],
)
def test_free_surfaces_are_open_and_the_inside_is_qhulls(pbc, glass):
    position, cell = glass[0], glass[1]
    inside = (position < 16.0).all(axis=1)
    position, cell = position[inside], np.eye(3) * 16.5
    cells = voronoi_cells(position, cell, pbc=pbc)
    theirs = reference.voronoi(position, cell, pbc, threshold=EDGE_THRESHOLD)
    far = furthest_corner(position, cell, pbc) / mean_spacing(position, cell, pbc)
    assert set(cells.state.tolist()) == {CLOSED, OPEN}
    assert (cells.state == OPEN).sum() > 20
    assert (cells.state == CLOSED).sum() > 40
    assert (cells.state[far < 2.9] == CLOSED).all()
    assert (cells.state[far > 3.5] == OPEN).all()
    for k, state in enumerate(cells.state):
        if state == CLOSED:
            same_cell(cells, k, theirs[k])
        else:
            assert cells.offset[k] == cells.offset[k + 1]
            assert np.isnan(cells.volume[k])


def test_a_few_free_atoms_are_open():
    for n in (1, 2, 3, 4, 5):
        cells = voronoi_cells(
            np.random.default_rng(n).random((n, 3)), np.zeros((3, 3)), pbc=(False,) * 3
        )
        assert (cells.state == OPEN).all()
        assert np.isnan(cells.volume).all()
        assert len(cells.row) == 0


def test_flat_layers_and_rows():
    flat = np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0), [0.0]), axis=-1).reshape(-1, 3)
    assert (
        voronoi_cells(flat, np.diag([4.0, 4.0, 0.0]), pbc=(True, True, False)).state == OPEN
    ).all()
    assert (
        voronoi_cells(flat[:4], np.diag([0.0, 4.0, 0.0]), pbc=(False, True, False)).state == OPEN
    ).all()
    stacked = voronoi_cells(flat, np.diag([4.0, 4.0, 1.5]))
    assert stacked.volume == pytest.approx(np.full(16, 1.5), rel=1e-12)


def test_a_wide_gap_is_filled_and_takes_no_time(glass):
    # periodic through 80 Å of vacuum: cells of thousands of neighbours
    position, cell = glass[0], glass[1] + np.diag([0.0, 0.0, 80.0])
    voronoi_cells(position, glass[1], centers=np.arange(2))  # compiles
    began = time.process_time()
    cells = voronoi_cells(position, cell)
    seconds = time.process_time() - began
    assert (cells.state == CLOSED).all()
    assert cells.volume.sum() == pytest.approx(np.linalg.det(cell), rel=1e-12)
    mirrored(cells, len(position))
    assert seconds < 8.0  # 0.6 s; 20 s when neighbours were sorted by plain insertion


# ------------------------------------------------------------------------------------------------------------ crystals
CRYSTALS = {
    # name: fractions, cell, neighbours by their number of edges
    "fcc": ([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], 4.05 * np.eye(3), {4: 12}),
    "bcc": ([[0, 0, 0], [0.5, 0.5, 0.5]], 3.3 * np.eye(3), {6: 8, 4: 6}),
    "sc": ([[0, 0, 0]], 2.7 * np.eye(3), {4: 6}),
    "hcp": ([[0, 0, 0], [1 / 3, 2 / 3, 0.5]],
            3.0 * np.array([[1, 0, 0], [-0.5, 0.75**0.5, 0], [0, 0, (8 / 3) ** 0.5]]), {4: 12}),
}  # fmt: skip


@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-6])
@pytest.mark.parametrize("name", list(CRYSTALS))
@pytest.mark.parametrize("times", [(1, 1, 1), (2, 2, 2), (3, 4, 5)])
def test_crystals_whatever_the_noise(name, noise, times):
    fraction, cell, expected = CRYSTALS[name]
    step = np.array(list(itertools.product(*map(range, times))))
    position = (step[:, None] + np.array(fraction)).reshape(-1, 3) @ cell
    position += noise * np.random.default_rng(3).normal(size=position.shape)
    box = np.array(times)[:, None] * cell
    cells = voronoi_cells(position, box)
    assert (cells.state == CLOSED).all()
    for k in range(len(position)):
        edges = cells.edges[facets_of(cells, k)]
        assert {e: int((edges == e).sum()) for e in set(edges.tolist())} == expected
    nearest = cells.distance[cells.edges == (6 if name == "bcc" else 4)]
    assert np.ptp(nearest) < 1e-9 + 20 * noise
    np.testing.assert_allclose(
        cells.volume, np.linalg.det(cell) / len(fraction), atol=1e-11 + 100 * noise
    )
    # corners up to polytope.TOLERANCE beyond a plane are let be
    assert cells.volume.sum() == pytest.approx(np.linalg.det(box), rel=TOLERANCE)


@pytest.mark.parametrize("name", list(CRYSTALS))
def test_turned_crystals(name):
    # turned, so that no coordinate is a round number
    fraction, cell, expected = CRYSTALS[name]
    turn = np.linalg.qr(np.random.default_rng(8).normal(size=(3, 3)))[0]
    cells = voronoi_cells(np.array(fraction) @ cell @ turn + 0.123, cell @ turn)
    for k in range(len(fraction)):
        edges = cells.edges[facets_of(cells, k)]
        assert {e: int((edges == e).sum()) for e in set(edges.tolist())} == expected


# ---------------------------------------------------------------------------------------------------------- coincident
def test_atoms_in_one_place_are_marked_and_the_others_are_sound(rng):
    cell = 16.0 * np.eye(3)
    position = rng.integers(0, 2**20, (60, 3)) / 2**16  # numbers that wrapping does not round
    doubled = np.vstack([position, position[7], position[9] + [16.0, 0.0, -16.0]])
    cells = voronoi_cells(doubled, cell)
    assert np.flatnonzero(cells.state == COINCIDENT).tolist() == [7, 9, 60, 61]
    assert np.isnan(cells.volume[[7, 9, 60, 61]]).all()
    assert (np.diff(cells.offset)[[7, 9, 60, 61]] == 0).all()
    others = np.setdiff1d(np.arange(62), [7, 9, 60, 61])
    assert (cells.state[others] == CLOSED).all()
    np.testing.assert_allclose(
        cells.volume[others], voronoi_cells(position, cell).volume[others], rtol=1e-12
    )


@pytest.mark.parametrize("apart", [1e-3, 1e-6, 1e-9, 1e-12])
def test_atoms_nearly_in_one_place_share_their_space(apart, rng):
    cell = 12.0 * np.eye(3)
    position = rng.random((60, 3)) @ cell
    near = np.vstack([position, position[7] + [apart, 0.0, 0.0]])
    cells = voronoi_cells(near, cell)
    assert (cells.state == CLOSED).all()
    assert cells.volume.sum() == pytest.approx(12.0**3, rel=1e-12)
    alone = voronoi_cells(position, cell).volume[7]
    assert cells.volume[7] + cells.volume[60] == pytest.approx(alone, rel=10 * apart + 1e-10)


# --------------------------------------------------------------------------------------------------------------- rules
def kept(cells, k):
    return sorted(
        zip(
            cells.row[facets_of(cells, k)].tolist(),
            cells.area[facets_of(cells, k)].tolist(),
            strict=True,
        )
    )


@pytest.mark.parametrize("fraction", [0.05, 0.3])
@pytest.mark.parametrize("rule", ["static", "amlearn"])
def test_small_facets_dropped_as_by_the_twin(whole, twin, rule, fraction):
    chosen = select(whole, RULES[rule], fraction)
    assert chosen.volume is whole.volume
    assert 0 < len(chosen.row) < len(whole.row)
    for k, cell in twin.items():
        theirs = reference.drop_small(cell, rule, fraction)
        here = facets_of(chosen, k)
        assert np.sort(chosen.row[here]).tolist() == sorted(theirs["neighbor"].tolist())
        order = np.argsort(chosen.row[here])
        np.testing.assert_allclose(chosen.area[here][order], theirs["area"], rtol=1e-11)
        assert (chosen.edges[here][order] == theirs["edges"]).all()


def test_static_keeps_all_that_amlearn_keeps(whole):
    # amlearn's threshold starts from the static one and only grows
    static, amlearn = select(whole, RULES["static"], 0.4), select(whole, RULES["amlearn"], 0.4)
    more = 0
    for k in range(len(whole.volume)):
        mine, theirs = set(kept(static, k)), set(kept(amlearn, k))
        assert theirs <= mine <= set(kept(whole, k))
        more += len(mine) - len(theirs)
    assert more > 0


def test_static_does_not_depend_on_the_numbering_and_amlearn_does(glass, whole):
    position, cell, _ = glass
    reversed_cells = voronoi_cells(position[::-1], cell)
    n, differ = len(position), {}
    for rule in ("static", "amlearn"):
        one, other = select(whole, RULES[rule], 0.4), select(reversed_cells, RULES[rule], 0.4)
        differ[rule] = sum(
            set(one.row[facets_of(one, k)].tolist())
            != set((n - 1 - other.row[facets_of(other, n - 1 - k)]).tolist())
            for k in range(n)
        )
    assert differ["static"] == 0
    assert differ["amlearn"] > 0


def test_no_rule_drops_nothing_and_open_cells_stay_empty(whole, glass):
    assert select(whole, RULES["none"]) is whole
    assert len(select(whole, RULES["static"], 0.0).row) == len(whole.row)
    free = voronoi_cells(glass[0][:200], glass[1], pbc=(False,) * 3)
    chosen = select(free, RULES["static"])
    is_open = free.state == OPEN
    assert is_open.any()
    assert (np.diff(chosen.offset)[is_open] == 0).all()
    assert (np.diff(chosen.offset)[~is_open] >= 4).all()


# ---------------------------------------------------------------------------------------------------------- invariance
def test_bits_do_not_depend_on_the_centers(glass, whole, rng):
    position, cell, _ = glass
    for pick in (np.array([1999, 7, 512, 7]), rng.permutation(2000)[:300], np.arange(2000)[::-1]):
        same(voronoi_cells(position, cell, centers=pick), whole, pick)
    nothing = voronoi_cells(position, cell, centers=np.empty(0, dtype=int))
    assert nothing.offset.tolist() == [0]


def test_bits_do_not_depend_on_the_centers_where_cells_differ_in_reach(rng):
    # a cluster and lone atoms: several radii, cells of several passes in one answer
    position = np.vstack([rng.normal(20.0, 2.0, (80, 3)), rng.random((40, 3)) * 40.0])
    cell = 40.0 * np.eye(3)
    for pbc in ((True,) * 3, (True, True, False)):
        every = voronoi_cells(position, cell, pbc=pbc)
        pick = rng.permutation(120)[:50]
        same(voronoi_cells(position, cell, centers=pick, pbc=pbc), every, pick)
        for i in (0, 90, 119):
            same(
                voronoi_cells(position, cell, centers=np.array([i]), pbc=pbc), every, np.array([i])
            )


def test_turned_and_moved(glass, whole, rng):
    position, cell, _ = glass
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    alike(voronoi_cells(position @ turn, cell @ turn), whole, turn=turn)
    alike(voronoi_cells(position + [5.0, -40.0, 0.3], cell), whole)


def test_moved_by_whole_cell_vectors(rng):
    position, cell = triclinic(rng, 150, 3.0)
    alike(
        voronoi_cells(position + rng.integers(-3, 4, (150, 3)) @ cell, cell),
        voronoi_cells(position, cell),
    )


def test_another_choice_of_cell_vectors(rng):
    position, cell = triclinic(rng, 150, 1.0)
    other = np.array([[1, 0, 0], [1, 1, 0], [-1, 2, 1]]) @ cell
    alike(voronoi_cells(position, other), voronoi_cells(position, cell))


def test_renumbered(glass, whole, rng):
    order = rng.permutation(len(glass[0]))
    back = np.argsort(order)
    other = voronoi_cells(glass[0][order], glass[1])
    alike(whole, other, order=back)


def test_replicated(rng):
    position, cell = triclinic(rng, 100, 2.0)
    small = voronoi_cells(position, cell)
    large = voronoi_cells(
        np.vstack([position, position + cell[0]]), np.diag([2.0, 1.0, 1.0]) @ cell
    )
    folded = large._replace(row=large.row % 100)
    first = slice(0, large.offset[100])
    second = slice(large.offset[100], None)
    for part, offset, half in ((first, large.offset[:101], 0), (second, large.offset[100:], 1)):
        piece = folded._replace(
            offset=offset - offset[0],
            volume=large.volume[100 * half : 100 * half + 100],
            **{
                name: getattr(folded, name)[part]
                for name in ("row", "vector", "area", "edges", "pyramid", "distance")
            },
        )
        alike(piece, small)
    assert set((large.row // 100).tolist()) == {0, 1}


def test_scaled_by_a_power_of_two_scales_exactly(rng):
    position, cell = triclinic(rng, 60, 1.0)
    one = voronoi_cells(position, cell, threshold=0.0)
    two = voronoi_cells(2.0 * position, 2.0 * cell, threshold=0.0)
    assert two.row.tolist() == one.row.tolist()
    np.testing.assert_allclose(two.volume, 8.0 * one.volume, rtol=1e-13)


# ---------------------------------------------------------------------------------------------------------------- freud
def test_volumes_are_freuds(glass, whole):
    freud = pytest.importorskip("freud")
    position, cell, _ = glass
    box = freud.box.Box.from_matrix(cell.T)
    found = freud.locality.Voronoi().compute((box, box.wrap(position)))
    np.testing.assert_allclose(whole.volume, found.volumes, rtol=2e-5)
    ours = np.diff(whole.offset)
    theirs = np.bincount(found.nlist.query_point_indices, minlength=len(position))
    assert (
        ours == theirs
    ).mean() > 0.98  # freud's positions are float32: the smallest facets come and go
