"""Remarks on input: swapped species, other units, overlaps, wrong timesteps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mgdask.elements import MIRACLE_RADII
from mgdask.readers.contacts import contacts
from mgdask.readers.indexing import take_inventory
from mgdask.readers.plausibility import check_frame, check_timestep
from mgdask.readers.species import make_species
from tests.conftest import GLASS, write_dump

OPEN = (False, False, False)
PERIODIC = (True, True, True)
ORIGIN = np.zeros(3)


def remarks(notes):
    return [note for note in notes if note.startswith("check the ")]


def packing(rng, names, n_atoms=300, sweeps=100):
    """Soft spheres with the radii of these elements, relaxed until they touch.

    Overlaps are pushed apart half each, which needs nothing of mgdask but the radii.
    """
    radius = np.array([MIRACLE_RADII[name] for name in names])
    kind = np.arange(n_atoms) % len(names)
    r = radius[kind]
    edge = (4 / 3 * np.pi * (r**3).sum() / 0.68) ** (1 / 3)
    x = rng.uniform(0, edge, (n_atoms, 3))
    for _ in range(sweeps):
        delta = x[:, None] - x[None]
        delta -= edge * np.round(delta / edge)
        d = np.sqrt((delta**2).sum(axis=2)) + np.eye(n_atoms) * edge
        push = np.maximum(r[:, None] + r[None] - d, 0.0) / d
        if push.max() < 0.02:
            break
        x += 0.3 * (push[..., None] * delta).sum(axis=1)
    numbers = np.array([{"Cu": 29, "Zr": 40, "Pd": 46, "Al": 13, "Ni": 28}[n] for n in names])
    return x % edge, np.eye(3) * edge, numbers[kind].astype(np.int32)


def test_the_shipped_glass_and_its_swapped_species():
    """The names of a real glass are right; exchanged, they are remarked on in numbers."""
    assert remarks(take_inventory(GLASS, species=("Zr", "Cu"), timestep=0.002).notes) == []
    (text,) = remarks(take_inventory(GLASS, species=("Cu", "Zr"), timestep=0.002).notes)
    assert "check the species" in text
    assert "--species Zr,Cu better" in text
    assert "sum of radii 3.16 Å" in text  # 2 x 1.58 Å of Zr


@pytest.mark.parametrize("given", list(itertools.permutations(("Cu", "Pd", "Zr"))))
def test_every_order_of_three_elements_is_led_back_to_the_right_one(three, given):
    position, cell, numbers = three
    true = np.array([29, 46, 40])
    new = {"Cu": 29, "Pd": 46, "Zr": 40}
    renamed = np.zeros(100, dtype=np.int32)
    renamed[true] = [new[name] for name in given]
    found = check_frame(position, cell, ORIGIN, PERIODIC, renamed[numbers], make_species(given))
    if given == ("Cu", "Pd", "Zr"):
        assert found == []
    else:
        (text,) = found
        assert "--species Cu,Pd,Zr better" in text


@pytest.fixture(scope="module")
def three():
    return packing(np.random.default_rng(3), ("Cu", "Pd", "Zr"))


def test_elements_of_equal_size_are_not_told_apart(three):
    """Cu and Ni have the same radius, so no order of them is better."""
    position, cell, numbers = three
    swapped = np.where(numbers == 29, 28, numbers).astype(np.int32)
    swapped[np.flatnonzero(numbers == 29)[::2]] = 29
    assert check_frame(position, cell, ORIGIN, PERIODIC, swapped, make_species(None)) == []


def test_the_suggestion_is_worded_like_the_given_species(three):
    position, cell, numbers = three
    renamed = np.zeros(100, dtype=np.int32)
    renamed[[29, 46, 40]] = [40, 46, 29]
    for species, words in (
        ({3: "Zr", 5: "Pd", 9: "Cu"}, "species={3: 'Cu', 5: 'Pd', 9: 'Zr'}"),
        ({"A": "Zr", "B": "Pd", "C": "Cu"}, "--species A=Cu,B=Pd,C=Zr"),
        (None, "other elements (Cu to Zr, Zr to Cu)"),
    ):
        found = check_frame(
            position, cell, ORIGIN, PERIODIC, renamed[numbers], make_species(species)
        )
        assert words in found[0]


def test_ordered_alloys_are_not_remarked_on():
    """Atoms that avoid each other are far apart, which says nothing about their size."""
    n = 6
    corner = np.array(list(itertools.product(range(n), repeat=3)), dtype=float)
    faces = np.concatenate([corner + [0.5, 0.5, 0], corner + [0.5, 0, 0.5], corner + [0, 0.5, 0.5]])
    # L1_2: Zr3Al (a = 4.37 Å), and B2: NiAl (a = 2.89 Å)
    for a, position, numbers in (
        (4.37, np.concatenate([corner, faces]), [13] * n**3 + [40] * 3 * n**3),
        (2.89, np.concatenate([corner, corner + 0.5]), [28] * n**3 + [13] * n**3),
    ):
        found = check_frame(
            position * a,
            np.eye(3) * n * a,
            ORIGIN,
            PERIODIC,
            np.array(numbers, np.int32),
            make_species(None),
        )
        assert found == []


def test_lengths_in_other_units_are_guessed(three):
    position, cell, numbers = three
    for factor, words in (
        (0.1, "--units nano"),
        (1 / 0.529177, "--units electron"),
        (1 / 2.7, "--units lj"),
        (1000.0, "Check the unit"),
    ):
        (text,) = check_frame(
            position * factor, cell * factor, ORIGIN, PERIODIC, numbers, make_species(None)
        )
        assert text.startswith("check the lengths")
        assert words in text


def test_reduced_units_are_taken_at_their_word(tmp_path, three):
    position, cell, numbers = three
    edge = cell[0, 0] / 2.7
    rows = [[i + 1, 1 if numbers[i] == 29 else 2, *position[i] / 2.7] for i in range(len(numbers))]
    name = write_dump(tmp_path / "lj.dump", [(0, rows)], box=((0, edge),) * 3)
    assert remarks(take_inventory(name, species=("Cu", "Zr"), units="lj").notes) == []
    (text,) = remarks(take_inventory(name, species=("Cu", "Zr")).notes)
    assert "--units lj" in text


def test_overlaps_and_voids_are_said(three):
    position, cell, numbers = three
    close = position.copy()
    close[1] = close[0] + [0.4, 0.0, 0.0]
    (text,) = check_frame(close, cell, ORIGIN, PERIODIC, numbers, make_species(None))
    assert "atoms overlap" in text
    assert "0.4 Å" in text
    tall = cell * np.array([[1.0], [1.0], [2.5]])
    (text,) = check_frame(position, tall, ORIGIN, PERIODIC, numbers, make_species(None))
    assert "check the cell: its volume is 2.6 times" in text or "2.5 times" in text
    assert check_frame(position, tall, ORIGIN, OPEN, numbers, make_species(None)) == []


def test_an_element_without_a_radius_is_let_be(three):
    position, cell, numbers = three
    numbers = np.where(numbers == 29, 1, numbers).astype(np.int32)
    assert check_frame(position, cell, ORIGIN, PERIODIC, numbers, make_species(None)) == []


@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_sampled_pairs_are_those_of_a_double_loop(rng, tilt, monkeypatch):
    """All minimum-image pairs, also across the faces of a tilted cell."""
    edge = 12.0
    cell = np.array([[edge, 0, 0], [tilt * edge, edge, 0], [0, -tilt * edge, edge]])
    fraction = rng.uniform(0, 1, (150, 3))
    species = rng.integers(1, 3, 150)
    found = contacts(fraction @ cell, cell, ORIGIN, PERIODIC, species, longest=4.0)
    shift = np.array(list(itertools.product((-1, 0, 1), repeat=3))) @ cell
    delta = (fraction @ cell)[:, None] - (fraction @ cell)[None]
    d = np.sqrt((((delta[:, :, None] + shift) ** 2).sum(axis=3)).min(axis=2))
    np.fill_diagonal(d, np.inf)
    for (a, b), one in found.items():
        expected = d[np.ix_(species == a, species == b)].min()
        np.testing.assert_allclose(one.shortest, expected)
    assert len(found) == 3


def test_a_sample_of_a_large_frame_has_the_same_first_peaks(three):
    """64 copies of a packing are searched in parts, and have the peaks of one."""
    position, cell, numbers = three
    shift = np.array(list(itertools.product(range(4), repeat=3))) @ cell
    large = (position[None] + shift[:, None]).reshape(-1, 3)
    one = contacts(position, cell, ORIGIN, PERIODIC, numbers)
    many = contacts(large, 4 * cell, ORIGIN, PERIODIC, np.tile(numbers, 64))
    assert one.keys() == many.keys()
    for pair, peak in one.items():
        assert abs(many[pair].peak - peak.peak) < 0.1


def test_timesteps():
    step = np.arange(5) * 500
    assert check_timestep(step, step * 0.002, 0.002) == ""
    text = check_timestep(step, step * 2.0, 2.0)
    assert "2 ps per step, from timestep=2, is unusual" in text
    assert "give 0.002" in text
    assert "the times in the files" in check_timestep(step, step * 1e-6, None)
    # several runs, each from zero; and files whose steps count the frames
    assert check_timestep(np.tile(step, 3), np.tile(step, 3) * 0.002, None) == ""
    assert check_timestep(np.arange(5), np.arange(5) * 2.5, 2.5) == ""
    assert check_timestep(step, None, None) == ""


def test_odd_cells_cost_no_memory(rng):
    """A flat cell has many images within reach, and a cluster many neighbors."""
    thin = np.diag([1000.0, 1000.0, 1e-3])
    assert contacts(rng.uniform(0, 1, (3, 3)) @ thin, thin, ORIGIN, PERIODIC, np.ones(3)) == {}
    cluster = rng.uniform(0, 1, (4000, 3))
    found = contacts(cluster, np.eye(3) * 1000, ORIGIN, PERIODIC, np.ones(4000))
    assert found[1, 1].shortest < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_no_frame_makes_a_remark_fail(seed):
    """Flat, long, tilted and open cells, clusters, single atoms, atoms at one point."""
    rng = np.random.default_rng(seed)
    for n_atoms in (1, 2, 3, 10, 200, 4001):
        for spread in (1.0, 1e-5, 0.0):
            cell = np.diag(10.0 ** rng.uniform(-3, 3, 3))
            cell[1, 0] = rng.uniform(-3, 3) * cell[0, 0]
            pbc = tuple(bool(each) for each in rng.random(3) < 0.6)
            fraction = spread * rng.uniform(0, 1, (n_atoms, 3))
            fraction[:, ~np.array(pbc)] *= 50.0
            numbers = rng.choice([29, 40, 46], n_atoms).astype(np.int32)
            found = check_frame(fraction @ cell, cell, ORIGIN, pbc, numbers, make_species(None))
            assert all(text.startswith("check the ") for text in found)
