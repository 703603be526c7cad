"""Reverse Monte Carlo toward a barcode: bits of updates, balance of moves, resuming, refusals."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.io import read

from mgdask.errors import ParameterError, StoreError
from mgdask.features import SOAP
from mgdask.kernels.nearest import make_index, unit_rows
from mgdask.studies.barcode import reverse_monte_carlo as module
from mgdask.studies.barcode.baselines import fit_linear
from mgdask.studies.barcode.data import Samples
from mgdask.studies.barcode.moving import Entries, MovingSample
from mgdask.studies.barcode.reverse_monte_carlo import configuration_of, search
from mgdask.studies.barcode.search_energy import sample_energy
from mgdask.studies.barcode.wanted import FREE, wanted_fractions
from tests.reference.configurations import TRICLINIC, spread

PERIODIC, NEVER, SLAB = (True, True, True), (False, False, False), (True, True, False)
CUBE = 8.4 * np.eye(3)
SMALL = SOAP(species=("Cu", "Zr"), r_cut=2.6, n_max=3, l_max=2, sigma=0.3)


def glass(seed, cell=CUBE, n=24):
    """Random atoms with room between them, a third of them Zr."""
    position = spread(np.random.default_rng(seed), cell, n, 1.9)
    numbers = np.where(np.arange(n) % 3, 29, 40)
    return position, numbers


def make_entries(n=12, per_species=False, soap=SMALL):
    """The environments of some atoms of another glass, as they are."""
    position, numbers = glass(100)
    rows = unit_rows(soap.compute(position, CUBE, numbers))
    species = numbers[:n] if per_species else None
    return Entries(soap, make_index(rows[:n].copy(), species), species)


def atoms_of(seed=1, **more):
    position, numbers = glass(seed, **more)
    return Atoms(numbers, position, cell=more.get("cell", CUBE), pbc=True)


def random_walk(sample, rng, n):
    """Moves and swaps, of which every second one is accepted. Returns the touched atoms of each."""
    touched = []
    for k in range(n):
        if k % 3 == 2:
            pair = np.array([np.flatnonzero(sample.numbers == z)[k % 5] for z in sample.species])
            trial = sample.propose(pair, sample.position[pair], sample.numbers[pair[::-1]])
        else:
            one = rng.integers(len(sample), size=1)
            step = rng.uniform(-0.6, 0.6, (1, 3))
            trial = sample.propose(one, sample.position[one] + step, sample.numbers[one])
        update = sample.update(trial)
        touched.append((trial, update, sample.position.copy()))
        if k % 2:
            sample.accept(trial, update)
    return touched


@pytest.mark.parametrize("per_species", [False, True])
@pytest.mark.parametrize(
    ("cell", "pbc"),
    [(CUBE, PERIODIC), (TRICLINIC * 1.1, PERIODIC), (CUBE, SLAB), (CUBE, NEVER)],
    ids=["cube", "triclinic", "slab", "cluster"],
)
def test_updates_have_the_bits_of_a_computation_from_scratch(cell, pbc, per_species):
    position, numbers = glass(2, cell)
    sample = MovingSample(position, cell, pbc, numbers, make_entries(per_species=per_species))
    random_walk(sample, np.random.default_rng(0), 24)
    assert sample.difference(sample.fresh()) is None
    # and from outside: the feature of the package's public call, and all distances in NumPy
    rows = SMALL.compute(sample.position, cell, sample.numbers, pbc=pbc)
    rows /= np.linalg.norm(rows, axis=1)[:, None]
    entries = sample.entries
    squares = ((rows[:, None] - entries.index.vectors) ** 2).sum(axis=2)
    if per_species:
        squares[sample.numbers[:, None] != entries.species] = np.inf
    assert np.array_equal(sample.entry, squares.argmin(axis=1))
    np.testing.assert_allclose(sample.squared_distance, squares.min(axis=1), atol=1e-12)
    assert np.array_equal(sample.counts, np.bincount(sample.entry, minlength=12))


def test_a_difference_is_found_in_every_array():
    position, numbers = glass(2)
    sample = MovingSample(position, CUBE, PERIODIC, numbers, make_entries())
    for name in ("position", "numbers", "counts", "entry", "squared_distance", "rows"):
        other = sample.fresh()
        values = getattr(other, name)
        values[3] = np.nextafter(values[3], 9e9) if values.dtype.kind == "f" else values[3] + 1
        assert sample.difference(other).startswith(f"{name}[3")


def test_touched_are_the_atoms_that_see_the_old_or_the_new_place():
    position, numbers = glass(3)
    sample = MovingSample(position, CUBE, PERIODIC, numbers, make_entries())
    reach = SMALL.r_cut + SMALL.sigma * np.sqrt(-2.0 * np.log(1e-3))
    images = np.array(list(itertools.product((-1, 0, 1), repeat=3))) @ CUBE
    fewer = 0
    for trial, update, before in random_walk(sample, np.random.default_rng(1), 12):
        places = np.concatenate([before[trial.atoms], trial.position])
        vectors = before[:, None, None] - places[:, None] + images
        # a step may leave the cell; images of the wrapped place are the same
        vectors -= CUBE[0, 0] * np.round(vectors / CUBE[0, 0])
        near = (np.linalg.norm(vectors, axis=-1) <= reach).any(axis=(1, 2))
        near[trial.atoms] = True
        assert np.array_equal(update.touched, np.flatnonzero(near))
        fewer += near.sum() < len(sample)
    assert fewer  # some move leaves some atom alone


def test_distance_is_the_fraction_of_atoms_that_must_change():
    rng = np.random.default_rng(4)
    for _ in range(20):
        have, want = rng.multinomial(30, np.ones(6) / 6), rng.multinomial(30, np.ones(6) / 6)
        surplus = np.maximum(have - want, 0).sum() / 30
        assert wanted_fractions(want / 30, 6).distance(have) == pytest.approx(surplus)
        # of some entries only: the others are merged
        some = wanted_fractions({1: want[1] / 30, 4: want[4] / 30}, 6)
        merged = [np.array([x[1], x[4], x.sum() - x[1] - x[4]]) for x in (have, want)]
        expected = np.maximum(merged[0] - merged[1], 0).sum() / 30
        assert some.distance(have) == pytest.approx(expected)
        assert some.counts(30).tolist() == merged[1].tolist()


def test_wanted_counts_round_up_the_largest_remainders():
    assert wanted_fractions({0: 0.25, 1: 0.35}, 3).counts(10).tolist() == [3, 3, 4]
    assert wanted_fractions({0: 0.0, 2: 1.0}, 3).counts(7).tolist() == [0, 7, 0]


def test_goals_are_the_best_of_all_assignments():
    entries = make_entries(n=4)
    position, numbers = glass(5)
    sample = MovingSample(position, CUBE, PERIODIC, numbers, entries)
    five = SimpleNamespace(
        rows=sample.rows[:5],
        entry=sample.entry[:5],
        squared_distance=sample.squared_distance[:5],
        numbers=numbers[:5],
        entries=entries,
        __len__=None,
    )

    class Five(SimpleNamespace):
        def __len__(self):
            return 5

    wanted = wanted_fractions([0.2, 0.4, 0.4, 0.0], 4)
    goal, excess = wanted.goals(Five(**vars(five)))
    assert np.bincount(goal, minlength=4).tolist() == [1, 2, 2, 0]
    squares = ((five.rows[:, None] - entries.index.vectors) ** 2).sum(axis=2)
    cost = squares - squares.min(axis=1)[:, None]
    best = min(
        sum(cost[i, k] for i, k in enumerate(order))
        for order in itertools.permutations([0, 1, 1, 2, 2])
    )
    assert excess.sum() == pytest.approx(best, abs=1e-9)


def test_atoms_of_no_wanted_entry_are_free_and_others_leave_for_the_nearest():
    entries = make_entries()
    position, numbers = glass(6)
    sample = MovingSample(position, CUBE, PERIODIC, numbers, entries)
    common = int(sample.counts.argmax())
    goal, excess = wanted_fractions({common: 0.0}, 12).goals(sample)
    inside = sample.entry == common
    assert (goal[~inside] == FREE).all()
    assert (excess[~inside] == 0.0).all()
    squares = ((sample.rows[inside][:, None] - entries.index.vectors) ** 2).sum(axis=2)
    squares[:, common] = np.inf
    assert np.array_equal(goal[inside], squares.argmin(axis=1))
    assert (excess[inside] > 0.0).all()


def walk_of(numbers, wanted, preference=9.0):
    """A search of swaps on five sites."""
    rules = module._Rules(0.1, 1.0, 2.0, 10.0, preference, 99, 99, 99, np.zeros((2, 2)))
    state = MovingSample(FIVE, 30.0 * np.eye(3), NEVER, numbers, make_entries())
    return module._Walk(state, wanted, rules, None, np.random.default_rng(5))


FIVE = np.array([[0, 0, 0], [2.1, 0, 0], [0, 2.3, 0], [2.4, 2.4, 0.3], [1.0, 1.1, 1.9]])


def test_swaps_satisfy_detailed_balance():
    """The flow between any two arrangements is the same in both directions."""
    sites = list(itertools.combinations(range(5), 2))
    every = np.arange(5)
    arrangements = [np.where(np.isin(every, pair), 40, 29) for pair in sites]
    first = MovingSample(FIVE, 30.0 * np.eye(3), NEVER, arrangements[0], make_entries())
    rare = np.argsort(first.counts, kind="stable")[:3]
    wanted = wanted_fractions({int(k): 0.2 for k in rare}, 12)
    goal = walk_of(arrangements[0], wanted).goal
    flow, uneven = {}, set()
    for x, numbers in enumerate(arrangements):
        walk = walk_of(numbers, wanted)
        walk.goal = goal
        walk._compute_excess()
        objective = 5 * walk.wanted.distance(walk.state.counts) + 10.0 * walk.excess.sum()
        weight = walk._weights(walk.state.entry)
        uneven.add(weight.sum())
        for pair in itertools.combinations(range(5), 2):
            atoms = np.array(pair)
            if numbers[atoms[0]] == numbers[atoms[1]]:
                continue
            trial = walk.state.propose(atoms, FIVE[atoms], numbers[atoms[::-1]])
            update, excesses = walk.state.update(trial), walk.excess.copy()
            excesses[update.touched] = walk._excess(
                update.rows, update.entry, update.squared_distance, update.touched
            )
            forward = walk.chance(atoms, weight, numbers)
            ratio = walk.log_ratio(trial, update, excesses, forward)
            after = numbers.copy()
            after[atoms] = trial.numbers
            y = sites.index(tuple(np.flatnonzero(after == 40)))
            flow[x, y] = np.exp(-objective / 2.0) * forward * min(1.0, np.exp(ratio))
    assert len(flow) == 10 * 6
    assert len(uneven) > 1
    for (x, y), there in flow.items():
        assert there == pytest.approx(flow[y, x], rel=1e-9)


def test_atoms_are_chosen_with_the_probabilities_that_are_corrected_for():
    wanted = wanted_fractions({0: 0.4, 1: 0.2}, 12)
    walk = walk_of(np.array([29, 29, 40, 40, 29]), wanted)
    weight = walk._weights(walk.state.entry)
    assert len(set(weight)) == 2
    grid = (np.arange(60) + 0.5) / 60
    drawn = [tuple(sorted(walk.choose(a, b, swap=True))) for a in grid for b in grid]
    for pair in set(drawn):
        chance = walk.chance(np.array(pair), weight, walk.state.numbers)
        assert drawn.count(pair) / len(drawn) == pytest.approx(chance, abs=0.02)
    alone = [int(walk.choose(a, 0.0, swap=False)[0]) for a in grid]
    for atom in range(5):
        chance = walk.chance(np.array([atom]), weight, walk.state.numbers)
        assert alone.count(atom) / 60 == pytest.approx(chance, abs=0.02)


TARGET = {0: 0.25, 1: 0.25, 5: 0.25}
QUICK = {"n_moves": 60, "record": 10, "check": 20, "reassign": 25, "swap": 0.2, "seed": 3}


def same(a, b):
    for name in ("position", "numbers", "entry", "counts", "distance", "move"):
        assert np.asarray(getattr(a, name)).tobytes() == np.asarray(getattr(b, name)).tobytes()
    for name in ("move", "distance", "excess", "accepted", "energy"):
        assert getattr(a.history, name).tobytes() == getattr(b.history, name).tobytes()


@pytest.fixture(scope="module")
def quick():
    return search(atoms_of(), TARGET, make_entries(), **QUICK)


def test_the_same_seed_gives_the_same_bits(quick):
    same(quick, search(atoms_of(), TARGET, make_entries(), **QUICK))
    other = search(atoms_of(), TARGET, make_entries(), **{**QUICK, "seed": 4})
    assert other.position.tobytes() != quick.position.tobytes()


def test_history_and_best_state(quick):
    assert quick.history.move.tolist() == list(range(0, 61, 10))
    assert np.isnan(quick.history.energy).all()
    assert quick.move <= 60
    fresh = MovingSample(quick.position, CUBE, PERIODIC, quick.numbers, make_entries())
    assert np.array_equal(fresh.counts, quick.counts)
    assert quick.distance <= quick.history.distance.min()
    assert quick.fractions.sum() == pytest.approx(1.0)
    assert sorted(quick.numbers) == sorted(quick.start_numbers)


@pytest.mark.parametrize("stop", [20, 33, 60])
def test_a_resumed_search_equals_an_uninterrupted_one(quick, tmp_path, stop):
    file = tmp_path / "search.npz"
    search(atoms_of(), TARGET, make_entries(), **{**QUICK, "n_moves": stop}, checkpoint=file)
    same(quick, search(atoms_of(), TARGET, make_entries(), **QUICK, checkpoint=file))


def test_a_search_that_dies_resumes_from_its_last_checkpoint(quick, tmp_path):
    calls = []

    def energy(sample):
        calls.append(sample)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return 0.0

    file = tmp_path / "search.npz"
    settings = dict(checkpoint=file, energy=energy, **QUICK)
    with pytest.raises(KeyboardInterrupt):
        search(atoms_of(), TARGET, make_entries(), **settings)
    resumed = search(atoms_of(), TARGET, make_entries(), **settings)
    assert resumed.position.tobytes() == quick.position.tobytes()
    assert resumed.history.distance.tobytes() == quick.history.distance.tobytes()
    assert (resumed.history.energy == 0.0).all()


def test_a_checkpoint_of_another_search_is_refused(tmp_path):
    file = tmp_path / "search.npz"
    search(atoms_of(), TARGET, make_entries(), n_moves=1, checkpoint=file)
    for more, word in (
        ({"seed": 1}, "seed=0"),
        ({"step": 0.3}, "step=0.1"),
        ({"min_distance": 2.0}, "min_distance=null"),
    ):
        with pytest.raises(ParameterError, match=word):
            search(atoms_of(), TARGET, make_entries(), n_moves=1, checkpoint=file, **more)
    with pytest.raises(ParameterError, match="belongs to a search with sample="):
        search(atoms_of(2), TARGET, make_entries(), n_moves=1, checkpoint=file)
    with pytest.raises(ParameterError, match="belongs to a search with entries="):
        search(atoms_of(), TARGET, make_entries(n=11), n_moves=1, checkpoint=file)
    content = file.read_bytes()
    for damaged in (
        content[:-5],
        b"nothing",
        content[:99] + bytes([255 - content[99]]) + content[100:],
    ):
        file.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"search\.npz is damaged, or is not a checkpoint"):
            search(atoms_of(), TARGET, make_entries(), n_moves=1, checkpoint=file)


def nearest_pair(atoms):
    d = atoms.get_all_distances(mic=True)
    np.fill_diagonal(d, np.inf)
    return d.min()


def test_the_distance_falls_by_more_than_half_and_atoms_keep_apart():
    entries, sample = make_entries(), atoms_of(7)
    goal = MovingSample(atoms_of(8).positions, CUBE, PERIODIC, sample.numbers, entries)
    result = search(
        sample,
        goal.fractions,
        entries,
        n_moves=300,
        step=0.3,
        min_distance=1.7,
        check=200,
        reassign=100,
    )
    assert result.distance < 0.5 * result.history.distance[0]
    assert 1.7 <= nearest_pair(result.to_atoms()) < nearest_pair(sample)
    kept = search(sample, goal.fractions, entries, n_moves=60)
    assert nearest_pair(kept.to_atoms()) >= nearest_pair(sample) - 1e-9


def test_swaps_keep_the_sites(tmp_path):
    result = search(
        atoms_of(), TARGET, make_entries(), n_moves=40, swap=1.0, temperature=9.0, guidance=0.0
    )
    assert np.array_equal(result.position, result.start)
    assert np.bincount(result.numbers).tolist() == np.bincount(result.start_numbers).tolist()
    assert result.history.accepted[-1] > 0.0


def test_energies_come_from_a_model_of_fractions_or_of_means():
    rng = np.random.default_rng(8)
    runs = np.repeat(["a", "b", "c", "d"], 3)
    share = [16 / 24, 8 / 24]
    by_fraction = fit_linear(
        Samples.of(rng.normal(size=12), 24, runs, species=("Cu", "Zr"), concentration=share,
                   fractions=rng.dirichlet(np.ones(12), 12)),
        "fractions",
    )  # fmt: skip
    result = search(atoms_of(), TARGET, make_entries(), energy=sample_energy(by_fraction), **QUICK)
    last = Samples.of([0.0], 24, "x", species=("Cu", "Zr"), concentration=share,
                      fractions=result.fractions[None])  # fmt: skip
    at = result.history.distance.tolist().index(result.distance)
    if result.history.move[at] == result.move:
        assert result.history.energy[at] == by_fraction.predict(last)[0] * 24
    assert np.isfinite(result.history.energy).all()
    assert np.ptp(result.history.energy) > 0.0
    means = rng.normal(size=(12, 2 * SMALL.n_columns))
    by_mean = fit_linear(
        Samples.of(rng.normal(size=12), 24, runs, species=("Cu", "Zr"), concentration=share,
                   mean_soap=means),
        "mean_soap",
    )  # fmt: skip
    position, numbers = glass(1)
    state = MovingSample(position, CUBE, PERIODIC, numbers, make_entries())
    rows = SMALL.compute(position, CUBE, numbers)
    mean = np.concatenate([rows[numbers == z].mean(axis=0) for z in (29, 40)])
    one = Samples.of([0.0], 24, "x", species=("Cu", "Zr"), concentration=share,
                     mean_soap=mean[None])  # fmt: skip
    expected = by_mean.predict(one)[0] * 24
    assert sample_energy(by_mean, soap=SMALL)(state) == pytest.approx(expected, rel=1e-12)


def test_files(quick, tmp_path):
    atoms = read(quick.write(tmp_path / "designed.xyz"))
    np.testing.assert_allclose(atoms.positions, quick.position, atol=1e-7)
    assert atoms.arrays["entry"].tolist() == quick.entry.tolist()
    assert atoms.info["distance"] == pytest.approx(quick.distance)
    lines = quick.write_history(tmp_path / "history.csv").read_text().splitlines()
    assert lines[0] == "move,distance,excess,accepted,energy"
    assert len(lines) == 8
    assert float(lines[-1].split(",")[1]) == quick.history.distance[-1]


def test_a_frame_of_a_store_is_a_sample(glass_store):
    import mgdask

    frame = mgdask.open_store(glass_store).isel(frame=0)
    position, cell, pbc, numbers = configuration_of(frame)
    assert position.shape == (len(numbers), 3)
    assert cell.shape == (3, 3)
    assert pbc.shape == (3,)
    with pytest.raises(ParameterError, match="frames; give one of them"):
        configuration_of(mgdask.open_store(glass_store))
    with pytest.raises(ParameterError, match="sample lacks cell"):
        configuration_of(frame.drop_vars("cell"))


NAN = atoms_of()
NAN.positions[4, 1] = np.nan
ONE = atoms_of()
ONE.numbers[:] = 29
GOLD = atoms_of()
GOLD.numbers[3] = 79


@pytest.mark.parametrize(
    ("sample", "target", "more", "message"),
    [
        (Atoms(), TARGET, {}, "sample has no atoms"),
        ("glass.xyz", TARGET, {}, "must be ase.Atoms or a Dataset with one frame, not str"),
        (NAN, TARGET, {}, "position of atom 4"),
        (GOLD, TARGET, {}, "Au"),
        (ONE, TARGET, {"swap": 0.1}, "all atoms are of one species"),
        (None, {}, {}, "target names no entry"),
        (None, {12: 0.1}, {}, "names entry 12, but the dictionary has the entries 0 to 11"),
        (None, {-1: 0.1}, {}, "names entry -1"),
        (None, {0: 1.1}, {}, r"target\[0\]=1.1 must be a fraction"),
        (None, {0: 0.7, 1: 0.7}, {}, "add up to 1.4"),
        (None, [0.5, 0.5], {}, "a fraction for each of the 12 entries"),
        (None, {0: "many"}, {}, "must give a number per entry"),
        (None, TARGET, {"step": 0.0}, "step=0.0 must be a number, larger than 0"),
        (None, TARGET, {"swap": 1.5}, "swap=1.5 must be a number, at least 0 and at most 1"),
        (None, TARGET, {"temperature": -1}, "temperature=-1 must be a number, at least 0"),
        (None, TARGET, {"guidance": float("nan")}, "guidance=nan must be a number"),
        (None, TARGET, {"n_moves": 1.5}, "n_moves=1.5 must be a whole number, at least 0"),
        (None, TARGET, {"check": 0}, "check=0 must be a whole number, at least 1"),
        (None, TARGET, {"min_distance": "far"}, "min_distance='far' must be a number"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused_in_words(sample, target, more, message):
    with pytest.raises(ParameterError, match=message):
        search(atoms_of() if sample is None else sample, target, make_entries(), **more)


def test_entries_must_fit_the_feature():
    with pytest.raises(ParameterError, match="average='off'"):
        Entries(replace(SMALL, average="inner"), make_entries().index)
    index = make_entries().index
    with pytest.raises(ParameterError, match="entries have 63 columns, but"):
        Entries(replace(SMALL, n_max=2), index)


def test_a_species_without_entries_is_refused():
    entries = make_entries(per_species=True)
    only = np.flatnonzero(entries.species == 29)
    vectors = entries.index.vectors[only]
    copper = Entries(SMALL, make_index(vectors, entries.species[only]), entries.species[only])
    with pytest.raises(ParameterError, match=r"atom \d+ \(Z = 40\) has no entry of its species"):
        search(atoms_of(), {0: 0.5}, copper)


@pytest.mark.parametrize("per_species", [False, True])
def test_a_dictionary_may_be_a_path(glass_store, tmp_path, per_species):
    import mgdask

    path = tmp_path / "ules.zarr"
    mgdask.build_dictionary(
        glass_store, SMALL, threshold=0.6, out=path, frames=[0], per_species=per_species,
        progress=False,
    )  # fmt: skip
    entries, opened = Entries.of(path), mgdask.read_dictionary(path)
    assert entries.soap == SMALL
    assert entries.n_entries == opened.n_entries
    assert (entries.species is not None) == per_species
    one = search(atoms_of(), {0: 0.5}, path, n_moves=5)
    same(one, search(atoms_of(), {0: 0.5}, entries, n_moves=5))
    # as the feature of the same dictionary says
    feature = mgdask.LocalEnvironment(dictionary=str(path), per="frame")
    row = feature.compute(one.position, CUBE, one.numbers)
    np.testing.assert_allclose(row.ravel(), one.fractions, atol=1e-12)
