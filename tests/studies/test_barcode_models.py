"""Models that close the gap of the barcode: pairs counted by hand, crystals, larger samples, runs left out."""

from __future__ import annotations

import doctest
import json
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.features import SOAP, SpeciesMean
from mgdask.studies.barcode import entry_vectors as entries_module
from mgdask.studies.barcode import models, pairs
from mgdask.studies.barcode.data import Samples
from mgdask.studies.barcode.entry_vectors import degree_weights, entry_vectors
from mgdask.studies.barcode.models import (
    fit_landmarks,
    fit_models,
    fit_pairs,
    fit_soft_barcode,
    model_from_json,
)
from mgdask.studies.barcode.pairs import CUTOFF, DISTANCES, WIDTH, pair_counts, pair_feature

SPECIES = ("Cu", "Zr")
SMALL = SOAP(species=SPECIES, r_cut=4.0, n_max=3, l_max=2, sigma=0.5)


@dataclass
class Glass:
    """Positions, cubic cell and atomic numbers."""

    position: np.ndarray
    cell: np.ndarray
    numbers: np.ndarray


def glass(seed, n=20, side=7.5):
    rng = np.random.default_rng(seed)
    numbers = np.where(np.arange(n) < n * rng.uniform(0.3, 0.7), 29, 40)
    return Glass(rng.uniform(0, side, (n, 3)), side * np.eye(3), numbers)


def repeated(one):
    """The same glass twice along x."""
    cell = one.cell * np.array([[2.0], [1.0], [1.0]])
    position = np.concatenate([one.position, one.position + one.cell[0]])
    return Glass(position, cell, np.tile(one.numbers, 2))


def described(glasses, energy, run):
    soap, pair = SpeciesMean(SMALL, species=SPECIES), pair_feature(SPECIES)
    rows = [
        [f.compute(g.position, g.cell, g.numbers).reshape(-1) for g in glasses]
        for f in (soap, pair)
    ]
    return Samples.of(
        energy,
        [len(g.numbers) for g in glasses],
        run,
        species=SPECIES,
        concentration=[[(g.numbers == z).mean() for z in (29, 40)] for g in glasses],
        mean_soap=rows[0],
        mean_pairs=rows[1],
    )


def counted(one):
    """Pairs of atoms, one by one, over the nearest images of a cell."""
    total = {(29, 29): 0.0, (29, 40): 0.0, (40, 40): 0.0}
    side, n = one.cell[0, 0], len(one.numbers)
    shifts = side * np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), axis=-1).reshape(-1, 3)
    for i in range(n):
        for j in range(n):
            distance = np.linalg.norm(one.position[j] - one.position[i] + shifts, axis=1)
            near = distance[(distance > 0) & (distance < CUTOFF)]
            bumps = np.exp(-((near[:, None] - DISTANCES) ** 2) / (2 * WIDTH**2)).sum(axis=0)
            total[tuple(sorted((int(one.numbers[i]), int(one.numbers[j]))))] += 0.5 * bumps
    return np.concatenate(list(total.values())) / n


@pytest.fixture(scope="module")
def glasses():
    return [glass(seed) for seed in range(12)]


@pytest.fixture(scope="module")
def vectors(glasses):
    return np.concatenate(
        [SMALL.compute(g.position, g.cell, g.numbers, centers=[0, 9, 19]) for g in glasses]
    )


@pytest.fixture(scope="module")
def samples(glasses):
    """Energies are a line in all pairs plus the share of one environment."""
    run = [f"run {k % 4}" for k in range(len(glasses))]
    plain = described(glasses, np.zeros(len(glasses)), run)
    counts = pair_counts(plain)
    energy = 20 * (counts[:, 3] - 2 * counts[:, 20] + 0.5 * counts[:, 30] - 4.0)
    return described(glasses, energy, run)


WEIGHTS = degree_weights(SMALL)


@pytest.mark.parametrize("module", [models, pairs, entries_module])
def test_examples(module):
    assert doctest.testmod(module, extraglobs={"SOAP": SOAP}).failed == 0


def test_pairs_are_those_counted_one_by_one(glasses, samples):
    for k in (0, 5):
        np.testing.assert_allclose(pair_counts(samples)[k], counted(glasses[k]), rtol=1e-10)
    assert pair_counts(samples).shape == (12, len(pairs.pair_labels(SPECIES)))


def test_one_species_has_one_kind_of_pairs(glasses):
    one = glasses[0]
    copper = np.full(len(one.numbers), 29)
    values = pair_feature(("Cu",)).compute(one.position, one.cell, copper).reshape(1, -1)
    samples = Samples.of([0.0], len(copper), "a", species=("Cu",), mean_pairs=values)
    expected = counted(one).reshape(3, -1).sum(axis=0)
    np.testing.assert_allclose(pair_counts(samples)[0], expected, rtol=1e-10)


def test_a_law_of_pairs_is_found():
    """Any counts and compositions; the energy is a line in the pairs, which 80 samples determine."""
    rng = np.random.default_rng(0)
    share = rng.uniform(0.3, 0.7, 100)
    samples = Samples.of(
        np.zeros(100),
        50,
        np.arange(100) % 4,
        species=SPECIES,
        concentration=np.stack([share, 1 - share], axis=1),
        mean_pairs=rng.normal(size=(100, 52)) + 3.0,
    )
    energy = pair_counts(samples) @ rng.normal(size=39) - 5.0
    samples = replace(samples, energy=energy * samples.n_atoms)
    fit = fit_pairs(samples.take(np.arange(80)))
    assert fit.n_numbers == 39
    np.testing.assert_allclose(fit.predict(samples)[80:], energy[80:], atol=1e-6)


def test_samples_of_another_size_have_the_same_energy_per_atom(glasses, samples, vectors):
    double = described([repeated(one) for one in glasses[:4]], np.zeros(4), "double")
    for model in fit_models(samples, vectors, WEIGHTS, 5):
        np.testing.assert_allclose(
            model.predict(double), model.predict(samples)[:4], rtol=1e-9, err_msg=model.name
        )


def test_similarity_is_one_if_all_atoms_equal_the_element():
    """A face-centered cubic crystal, whose atoms are all alike, and one that is expanded."""
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    crystals = [Glass(a * basis, a * np.eye(3), np.full(4, 29)) for a in (3.6, 3.7, 4.0, 4.4)]
    samples = described_copper(crystals)
    vector = SOAP(**{**SMALL.parameters(), "species": ("Cu",)})
    q = np.concatenate(
        [vector.compute(c.position, c.cell, c.numbers, centers=[2]) for c in crystals[::3]]
    )
    fit = fit_soft_barcode(samples, q, degree_weights(vector), 2)
    barcode = fit.barcode(samples)[:, np.argsort(fit.entries)]
    np.testing.assert_allclose([barcode[0, 0], barcode[3, 1]], 1.0, rtol=1e-12)
    weighted = q * degree_weights(vector)
    np.testing.assert_allclose(
        barcode[0, 1], weighted[0] @ weighted[1] / (weighted[1] @ weighted[1]), rtol=1e-12
    )
    assert np.all(np.diff(barcode[:, 0]) != 0)


def described_copper(crystals):
    soap = SOAP(**{**SMALL.parameters(), "species": ("Cu",)})
    mean = SpeciesMean(soap, species=("Cu",))
    return Samples.of(
        np.array([-3.6, -3.5, -3.3, -3.0]) * 4,
        4,
        list("abcd"),
        species=("Cu",),
        mean_soap=[mean.compute(c.position, c.cell, c.numbers).reshape(-1) for c in crystals],
    )


def test_a_run_left_out_has_no_part_in_its_prediction(samples, vectors):
    """Other energies of one run change its own predictions by nothing, those of others."""
    own = samples.run == "run 2"
    rng = np.random.default_rng(0)
    changed = Samples.of(
        np.where(own, rng.normal(size=len(samples)), samples.energy),
        samples.n_atoms,
        samples.run,
        species=SPECIES,
        concentration=samples.concentration,
        mean_soap=samples.mean_soap,
        mean_pairs=samples.mean_pairs,
    )
    before, after = (fit_soft_barcode(s, vectors, WEIGHTS, 3).left_out for s in (samples, changed))
    assert np.array_equal(before[own], after[own])
    assert not np.array_equal(before[~own], after[~own])


def test_landmarks_are_the_kernel_ridge_of_its_formula(samples, vectors):
    few = vectors[:5]
    fit = fit_landmarks(samples, few, WEIGHTS)
    shares = samples.concentration
    p = np.einsum("ns,nsc->nc", shares, samples.mean_soap.reshape(len(samples), 2, -1)) * WEIGHTS
    q = few * WEIGHTS
    k, kmm = p @ q.T, q @ q.T
    k0 = k - k.mean(axis=0)
    y = samples.energy_per_atom
    columns = (p / WEIGHTS) @ fit.basis  # the basis has the weights of the columns
    penalty = fit.fit.penalty * columns.var(axis=0).mean()
    a = np.linalg.solve(k0.T @ k0 + len(y) * penalty * kmm, k0.T @ (y - y.mean()))
    np.testing.assert_allclose(fit.predict(samples), y.mean() + k0 @ a, rtol=1e-6)


def test_saved_models_predict_the_same_bits(samples, vectors):
    for model in fit_models(samples, vectors, WEIGHTS, 4):
        again = model_from_json(json.loads(json.dumps(model.to_json())))
        assert type(again) is type(model)
        assert again.name == model.name
        assert again.n_numbers == model.n_numbers
        assert np.array_equal(again.predict(samples), model.predict(samples)), model.name


def test_numbers_that_the_models_read(samples, vectors):
    found = {m.name: m.n_numbers for m in fit_models(samples, vectors, WEIGHTS, 4)}
    assert found == {
        "pair distances": 39,
        "soft barcode, 4 elements": 4,
        "kernel ridge on all entries": 36,
        "kernel ridge on all entries and pairs": 75,
    }


def test_entries_are_described_in_their_own_order(monkeypatch, glasses):
    """Entries of two frames in any order, against the SOAP of each frame as a whole."""
    source, frame, row = np.array([0, 0, 1, 0, 0]), np.array([3, 1, 1, 3, 1]), [7, 2, 5, 0, 1]
    where = {(0, 3): glasses[0], (0, 1): glasses[1], (1, 1): glasses[2]}

    def frames(dictionary, entries, stores):
        return [
            SimpleNamespace(
                row=row[k], pbc=np.ones(3, dtype=bool), **vars(where[int(source[k]), int(frame[k])])
            )
            for k in entries
        ]

    monkeypatch.setattr(entries_module, "entry_frames", frames)
    found = entry_vectors(SimpleNamespace(source=source, frame=frame), SMALL)
    for k in range(5):
        one = where[int(source[k]), int(frame[k])]
        every = SMALL.compute(one.position, one.cell, one.numbers)
        np.testing.assert_allclose(found[k], every[row[k]], rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s, q: fit_soft_barcode(s, q[:, :-1], WEIGHTS), "one column per weight"),
        (lambda s, q: fit_soft_barcode(s, q[:, :-1], WEIGHTS[:-1]), "the same SOAP"),
        (lambda s, q: fit_landmarks(s, q * np.arange(len(q))[:, None], WEIGHTS), "entry 0 has no"),
        (lambda s, q: fit_soft_barcode(s, q, WEIGHTS, 0), "must be at least 1"),
        (
            lambda s, q: fit_pairs(Samples.of(s.energy, s.n_atoms, s.run)),
            "no smoothed counts of neighbors",
        ),
    ],
)
def test_errors(samples, vectors, change, match):
    with pytest.raises(ParameterError, match=match):
        change(samples, vectors)
