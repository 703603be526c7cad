"""What the features of a block share: the same bits whoever asked first, and never those of another frame."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from mgdask.elements import MIRACLE_RADII
from mgdask.errors import ParameterError
from mgdask.features import environments as surroundings
from mgdask.features.environments import CutoffNeighbors, LocalEnvironments, VoronoiNeighbors, spans
from mgdask.kernels.neighbors import neighbor_list
from mgdask.kernels.smallfacets import RULES, select
from mgdask.kernels.voronoi import CLOSED, OPEN, voronoi_cells

PERIODIC = (True, True, True)
ENTRIES = ("row", "vector", "distance", "area", "edges", "pyramid")
KINDS = [
    CutoffNeighbors(3.9),
    CutoffNeighbors(5.0),
    VoronoiNeighbors("none"),
    VoronoiNeighbors("static"),
    VoronoiNeighbors("amlearn"),
    VoronoiNeighbors(),
]


def make(glass, pbc=PERIODIC):
    return LocalEnvironments(*glass, pbc)


def listed(bonds, k):
    """Bytes of every entry of the k-th atom."""
    here = slice(bonds.first[k], bonds.last[k])
    return tuple(getattr(bonds, name)[here].tobytes() for name in ENTRIES)


def same(one, other, pick):
    """The k-th atom of ``one`` is the ``pick[k]``-th of ``other``."""
    assert len(one.first) == len(one.last) == len(pick)
    assert [listed(one, k) for k in range(len(pick))] == [listed(other, i) for i in pick]
    if len(other.volume):
        assert one.volume.tobytes() == other.volume[pick].tobytes()
        assert one.state.tolist() == other.state[pick].tolist()


@pytest.fixture
def large(monkeypatch):
    """Every frame counts as large, and none is remembered."""
    monkeypatch.setattr(surroundings, "LARGE", 10)
    monkeypatch.setattr(surroundings, "_RECENT", threading.local())


# -------------------------------------------------------------------------------------------------------- in portions
@pytest.mark.parametrize("pbc", [PERIODIC, (True, False, False)])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_in_portions_as_at_once(glass, kind, pbc, rng):
    every = make(glass, pbc).bonds(kind, np.arange(2000))
    environments = make(glass, pbc)
    portions = [
        np.array([5, 3, 5]),
        np.arange(0),
        rng.permutation(2000)[:200],
        np.arange(100, 150),
        np.arange(2000)[::-1],
    ]
    for atoms in portions + portions[:3]:
        same(environments.bonds(kind, atoms), every, atoms)


def test_nobody_asked_for_is_nobody(glass):
    for kind in KINDS:
        bonds = make(glass).bonds(kind, np.arange(0))
        assert len(bonds.first) == len(bonds.last) == 0


@pytest.mark.parametrize("cutoff", [3.0, 5.0])
def test_neighbors_are_the_kernels(glass, cutoff):
    atoms = np.array([1999, 0, 77])
    bonds = make(glass).neighbors(cutoff, atoms)
    offset, row, vector, distance = neighbor_list(glass[0], glass[1], cutoff, centers=atoms)
    pick = spans(bonds.first, bonds.last)
    assert bonds.row[pick].tolist() == row.tolist()
    assert bonds.vector[pick].tobytes() == vector.tobytes()
    assert bonds.distance[pick].tobytes() == distance.tobytes()
    assert (bonds.last - bonds.first).tolist() == np.diff(offset).tolist()
    assert bonds.distance[pick].max() <= cutoff


@pytest.mark.parametrize("rule", list(RULES))
def test_cells_are_the_kernels(glass, rule):
    for pbc in (PERIODIC, (False, False, True)):
        environments = make(glass, pbc)
        environments.voronoi(np.arange(990, 1020), "none")  # known already in another order
        atoms = np.arange(1500, 900, -3)
        bonds = environments.voronoi(atoms, rule)
        cells = select(voronoi_cells(glass[0], glass[1], centers=atoms, pbc=pbc), RULES[rule])
        pick = spans(bonds.first, bonds.last)
        for name in ENTRIES:
            assert getattr(bonds, name)[pick].tobytes() == getattr(cells, name).tobytes(), name
        assert bonds.volume.tobytes() == cells.volume.tobytes()
        assert bonds.state.tolist() == cells.state.tolist()
        assert (OPEN in bonds.state) == (pbc != PERIODIC)
        assert CLOSED in bonds.state


def test_different_cutoffs_and_rules_are_kept_apart(glass):
    environments, atoms = make(glass), np.arange(50)
    count = {}
    for _ in range(2):
        for kind in [
            CutoffNeighbors(3.0),
            CutoffNeighbors(4.0),
            VoronoiNeighbors("none"),
            VoronoiNeighbors("static"),
            VoronoiNeighbors("amlearn"),
        ]:
            bonds = environments.bonds(kind, atoms)
            found = int((bonds.last - bonds.first).sum())
            assert count.setdefault(kind, found) == found
    assert count[CutoffNeighbors(3.0)] < count[CutoffNeighbors(4.0)]
    assert count[VoronoiNeighbors("static")] < count[VoronoiNeighbors("none")]


@pytest.mark.parametrize("kind", [CutoffNeighbors(3.5), VoronoiNeighbors()], ids=str)
def test_with_neighbors(glass, kind):
    environments, atoms = make(glass), np.array([40, 7, 40])
    environments.bonds(kind, np.arange(300))  # others are known too
    found = environments.with_neighbors(kind, atoms)
    bonds = make(glass).bonds(kind, atoms)
    assert found.tolist() == sorted(
        {40, 7} | set(bonds.row[spans(bonds.first, bonds.last)].tolist())
    )


class Asked:
    """A feature that counts for whom it was asked: column 0 the atom, column 1 its neighbours."""

    n_columns, output_dtype, level = 2, np.dtype(np.float64), "atom"

    def __init__(self):
        self.calls = []

    def describe(self, environments, centers, out):
        self.calls.append(centers.tolist())
        bonds = environments.neighbors(3.5, centers)
        out[:, 0], out[:, 1] = centers, bonds.last - bonds.first
        return {"odd": centers % 2 == 1}


def test_values_are_worked_out_once(glass):
    environments, feature = make(glass), Asked()
    expected = np.diff(neighbor_list(glass[0], glass[1], 3.5)[0])
    for atoms in (np.array([9, 4, 9]), np.array([4, 11, 2]), np.array([2, 9]), np.arange(0)):
        rows = environments.values(feature, atoms)
        assert rows[atoms, 0].tolist() == atoms.tolist()
        assert rows[atoms, 1].tolist() == expected[atoms].tolist()
    assert feature.calls == [[4, 9], [2, 11]]
    out = np.empty((3, 2))
    assert environments.fill(feature, np.array([11, 4, 9]), out)["odd"].tolist() == [
        True,
        False,
        True,
    ]
    assert out[:, 0].tolist() == [11, 4, 9]
    assert len(feature.calls) == 2  # all were known
    assert environments.fill(feature, np.array([9, 12, 4]), out)["odd"].tolist() == [
        True,
        False,
        False,
    ]
    assert out[:, 0].tolist() == [9, 12, 4]
    assert feature.calls[2:] == [[9, 12, 4]]  # one was not
    environments.values(Asked(), np.array([4]))  # another feature has values of its own
    assert len(feature.calls) == 3


def test_values_in_portions_as_at_once(glass, small_soap):
    environments, every = make(glass), make(glass)
    at_once = every.values(small_soap, np.arange(60))
    for atoms in (np.array([50, 3]), np.arange(20, 40), np.arange(60)[::-1]):
        rows = environments.values(small_soap, atoms)
        assert rows[atoms].tobytes() == at_once[atoms].tobytes()
        out = np.empty((len(atoms), small_soap.n_columns), dtype=small_soap.output_dtype)
        environments.fill(small_soap, atoms, out)
        assert out.tobytes() == at_once[atoms].tobytes()


def test_spans():
    assert spans(np.array([3, 0, 7]), np.array([5, 0, 10])).tolist() == [3, 4, 7, 8, 9]
    assert spans(np.array([7, 2]), np.array([9, 3])).tolist() == [7, 8, 2]
    assert spans(np.empty(0, dtype=int), np.empty(0, dtype=int)).tolist() == []


def test_slots(glass):
    assert make(glass).slots(("Cu", "Zr")).tolist() == np.where(glass[2] == 29, 0, 1).tolist()
    assert set(make(glass).slots(("Al", "Cu", "Zr")).tolist()) == {1, 2}


# --------------------------------------------------------------------------------------------- frames that are kept
def expect(position, cell, pbc, cutoff=4.0):
    return neighbor_list(position, cell, cutoff, pbc=pbc)[3]


def found(position, cell, numbers, pbc, cutoff=4.0):
    bonds = LocalEnvironments(position, cell, numbers, pbc).neighbors(
        cutoff, np.arange(len(position))
    )
    return bonds.distance[spans(bonds.first, bonds.last)]


def test_large_frames_are_sorted_once(glass, large, monkeypatch):
    sorted_for = []
    real = surroundings.make_cell_list
    monkeypatch.setattr(
        surroundings, "make_cell_list", lambda *a: sorted_for.append(a[3]) or real(*a)
    )
    for _ in range(3):
        make(glass).neighbors(4.0, np.arange(5))
        LocalEnvironments(glass[0].copy(), glass[1].copy(), glass[2], PERIODIC).neighbors(
            5.0, np.arange(5)
        )
    assert sorted_for == [4.0, 5.0]
    monkeypatch.setattr(surroundings, "LARGE", 2001)
    for _ in range(2):
        make(glass).neighbors(4.0, np.arange(5))
    assert sorted_for == [4.0, 5.0, 4.0, 4.0]


def test_a_moved_atom_is_seen(glass, large):
    position, cell, numbers = glass[0].copy(), glass[1].copy(), glass[2]
    before = found(position, cell, numbers, PERIODIC)
    for row, axis, by in ((0, 0, 0.5), (1999, 2, 1e-9), (1000, 1, -3.0)):
        position[row, axis] += by  # in place: the array is the same object
        now = found(position, cell, numbers, PERIODIC)
        assert now.tobytes() == expect(position, cell, PERIODIC).tobytes()
        assert now.tobytes() != before.tobytes()
        before = now


def test_the_moved_atom_does_not_reach_back_into_what_is_kept(glass, large):
    position = glass[0].copy()
    early = LocalEnvironments(position, glass[1], glass[2], PERIODIC)
    early.neighbors(4.0, np.arange(3))
    position[5] += 1.0
    found(position, glass[1], glass[2], PERIODIC)
    position[5] -= 1.0  # not the bits of before
    position[:] = glass[0]
    assert (
        found(position, *glass[1:], PERIODIC).tobytes()
        == expect(glass[0], glass[1], PERIODIC).tobytes()
    )


def test_another_cell_or_periodicity_is_seen(glass, large):
    position, numbers = glass[0], glass[2]
    for cell, pbc in (
        (glass[1], PERIODIC),
        (glass[1] * 1.01, PERIODIC),
        (glass[1], (True, True, False)),
        (glass[1], (False,) * 3),
        (glass[1], PERIODIC),
    ):
        assert (
            found(position, cell, numbers, pbc).tobytes() == expect(position, cell, pbc).tobytes()
        )
    tilted = glass[1].copy()
    tilted[1, 0] = 1e-3
    assert (
        found(position, tilted, numbers, PERIODIC).tobytes()
        == expect(position, tilted, PERIODIC).tobytes()
    )


def test_fewer_atoms_are_seen(glass, large):
    for n in (2000, 1999, 500, 2000):
        position = glass[0][:n]
        assert (
            found(position, glass[1], glass[2][:n], PERIODIC).tobytes()
            == expect(position, glass[1], PERIODIC).tobytes()
        )


def test_radii_of_the_pair_distribution_follow_the_species(glass, large):
    # the same places with the elements exchanged: what is kept with the places must not be the other's
    position, cell, numbers = glass
    first = make(glass).radii("rdf")
    other = np.where(numbers == 29, 40, 29)
    swapped = LocalEnvironments(position, cell, other, PERIODIC).radii("rdf")
    assert swapped[numbers == 29][0] == pytest.approx(first[numbers == 29][0], abs=1e-12)
    assert swapped[numbers == 40][0] == pytest.approx(first[numbers == 40][0], abs=1e-12)


def test_threads_keep_their_own(glass, large):
    moved = glass[0] + 0.25
    wrong = []

    def work(position):
        right = expect(position, glass[1], PERIODIC).tobytes()
        wrong.extend(
            k for k in range(20) if found(position, *glass[1:], PERIODIC).tobytes() != right
        )

    threads = [
        threading.Thread(target=work, args=(p,)) for p in (glass[0], moved, glass[0][::-1].copy())
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_features_of_large_frames_are_those_of_small_ones(glass, small_soap, monkeypatch):
    small = small_soap.compute(*glass, centers=np.arange(20))
    monkeypatch.setattr(surroundings, "LARGE", 10)
    assert small_soap.compute(*glass, centers=np.arange(10, 20)).tobytes() == small[10:].tobytes()
    assert small_soap.compute(*glass, centers=np.arange(10)).tobytes() == small[:10].tobytes()


# ---------------------------------------------------------------------------------------------------------------- radii
def test_tables_of_radii(glass):
    environments, copper = make(glass), glass[2] == 29
    miracle = environments.radii("miracle")
    assert set(miracle[copper]) == {MIRACLE_RADII["Cu"]} == {1.26}
    assert set(miracle[~copper]) == {1.58}
    covalent = environments.radii("covalent")
    assert set(covalent[copper]) == {1.32}
    assert set(covalent[~copper]) == {1.75}
    given = environments.radii((("Cu", 1.3), ("Zr", 1.6), ("Al", 9.0)))
    assert given.tolist() == np.where(copper, 1.3, 1.6).tolist()


def test_radii_of_the_pair_distribution(glass):
    position, cell, numbers = glass
    found = make(glass).radii("rdf")
    copper = numbers == 29
    assert np.ptp(found[copper]) == np.ptp(found[~copper]) == 0.0
    assert 1.15 < found[copper][0] < 1.35
    assert 1.5 < found[~copper][0] < 1.7
    # half the most frequent distance of like atoms, counted here without the kernel
    for mask in (copper, ~copper):
        distance = neighbor_list(position[mask], cell, 5.0)[3]
        count, edges = np.histogram(distance, np.arange(2.0, 4.0, 0.1))
        middle = 0.5 * (edges[1:] + edges[:-1])
        assert found[mask][0] == pytest.approx(0.5 * middle[(count / middle**2).argmax()], abs=0.06)


def test_a_crystal_has_its_own_radius():
    step = np.stack(np.meshgrid(*[np.arange(5.0)] * 3), axis=-1).reshape(-1, 1, 3)
    fcc = (step + [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]).reshape(-1, 3) * 4.05
    radii = LocalEnvironments(fcc, np.eye(3) * 20.25, np.full(500, 13), PERIODIC).radii("rdf")
    assert radii == pytest.approx(np.full(500, 4.05 / 8**0.5), abs=0.02)


def test_an_element_alone_has_no_pair_radius():
    environments = LocalEnvironments(
        np.zeros((1, 3)), np.eye(3) * 9.0, np.array([29]), (False,) * 3
    )
    assert np.isnan(environments.radii("rdf")).all()


def test_errors_in_words(glass):
    environments = make(glass)
    with pytest.raises(
        ParameterError, match=r"no table of radii 'nonsense'; allowed: 'miracle', 'covalent'"
    ):
        environments.radii("nonsense")
    with pytest.raises(
        ParameterError, match=r"lacks Zr, which the atoms contain; add its radius in Å"
    ):
        environments.radii((("Cu", 1.26),))
    xenon = LocalEnvironments(np.zeros((1, 3)), np.eye(3) * 9.0, np.array([54]), PERIODIC)
    with pytest.raises(
        ParameterError,
        match=r"no radius for Xe; give radii=\{'Xe': ...\} in Å, or radii='covalent'",
    ):
        xenon.radii("miracle")
    assert xenon.radii("covalent").tolist() == [1.4]
    with pytest.raises(ParameterError, match="atomic number 300 is outside"):
        LocalEnvironments(np.zeros((1, 3)), np.eye(3) * 9.0, np.array([300]), PERIODIC).radii(
            "miracle"
        )
    with pytest.raises(ParameterError, match="do not span space"):
        LocalEnvironments(np.zeros((1, 3)), np.ones((3, 3)), np.array([29]), PERIODIC)
