"""Means over the atoms of each species against NumPy's means of the feature itself."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.features import (
    SOAP,
    Coordination,
    MediumRange,
    SpeciesMean,
    SphericalChebyshev,
    make_feature,
    species_mean,
)

SPECIES = ("Cu", "Zr")
CHEBYSHEV = SphericalChebyshev(species=SPECIES, n_max=1, l_max=2, r_cut=4.0)


def box(n=700, seed=3):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 22, (n, 3)), 22 * np.eye(3), rng.choice([29, 40], n)


def test_examples():
    assert doctest.testmod(species_mean).failed == 0


@pytest.mark.parametrize(
    "feature",
    [
        CHEBYSHEV,
        SOAP(species=SPECIES, r_cut=3.5, n_max=2, l_max=1, dtype="float32"),
        MediumRange(Coordination(cutoff=3.5), neighbors="cutoff", cutoff=3.5),
    ],
)
def test_numpys_mean(feature):
    position, cell, numbers = box()
    rows = feature.compute(position, cell, numbers)
    mean = SpeciesMean(feature, species=("Zr", "Cu"))
    assert mean.species == SPECIES
    out = mean.compute(position, cell, numbers)
    want = [rows[numbers == z].mean(axis=0, dtype=np.float64) for z in (29, 40)]
    np.testing.assert_allclose(out, np.concatenate(want), rtol=1e-12)
    assert mean.labels[0] == f"Cu: {feature.labels[0]}"
    assert len(mean.labels) == len(mean.units) == mean.n_columns == len(out)


def test_an_energy_that_is_a_sum_over_atoms():
    """E = sum_s N_s w_s·F_s, whatever the number of atoms of each species."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(2, CHEBYSHEV.n_columns))
    position, cell, numbers = box(120)
    rows = CHEBYSHEV.compute(position, cell, numbers)
    energy = sum(rows[i] @ weights[int(z == 40)] for i, z in enumerate(numbers))
    means = SpeciesMean(CHEBYSHEV, species=SPECIES).compute(position, cell, numbers).reshape(2, -1)
    counts = np.array([(numbers == z).sum() for z in (29, 40)])
    assert counts @ np.einsum("sc,sc->s", means, weights) == pytest.approx(energy, rel=1e-12)


def test_some_centers_and_an_absent_species():
    position, cell, numbers = box(60)
    centers = np.flatnonzero(numbers == 40)
    out = SpeciesMean(CHEBYSHEV, species=SPECIES).compute(position, cell, numbers, centers)
    assert np.isnan(out[: CHEBYSHEV.n_columns]).all()
    assert np.isfinite(out[CHEBYSHEV.n_columns :]).all()


def test_bad_input_in_words():
    with pytest.raises(ParameterError, match="has one row per frame; it must have one per atom"):
        SpeciesMean(SpeciesMean(CHEBYSHEV, species=SPECIES), species=SPECIES)
    with pytest.raises(ParameterError, match=r"species=\(\) must name at least one"):
        SpeciesMean(CHEBYSHEV, species=())
    position, cell, numbers = box(20)
    with pytest.raises(ParameterError, match=r"SpeciesMean: species=.*lacks Zr"):
        SpeciesMean(Coordination(cutoff=3.0), species=("Cu",)).compute(position, cell, numbers)


def test_by_name():
    feature = make_feature(
        "species_mean", {"feature": {"coordination": {"cutoff": 3.0}}}, species=SPECIES
    )
    assert feature == SpeciesMean(Coordination(cutoff=3.0), species=SPECIES)
    assert feature.name == "species_mean_coordination"
    assert make_feature("species_mean", feature.parameters()) == feature
