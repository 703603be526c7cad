"""Samples from plain arrays and the simple models, against closed forms and scikit-learn."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from sklearn.linear_model import Ridge as Twin

from mgdask.errors import ParameterError
from mgdask.studies.barcode import Samples, baselines, data, fit_baselines


def made(n=24, runs=4, seed=0, sizes=(50,), species=("Cu", "Zr")):
    """Samples whose energy is a sum over atoms of a linear function of the mean vectors."""
    rng = np.random.default_rng(seed)
    n_atoms = np.resize(sizes, n)
    share = rng.uniform(0.2, 0.8, n)
    shares = np.stack([share, 1 - share], axis=1) if len(species) > 1 else np.ones((n, 1))
    means = rng.normal(size=(n, len(species), 5))
    law = np.random.default_rng(99).normal(size=(len(species), 5))
    offset = np.array([-3.5, -6.5])[: len(species)]
    energy = n_atoms * (np.einsum("is,isc,sc->i", shares, means, law) + shares @ offset)
    return Samples.of(
        energy,
        n_atoms,
        np.array([f"run {k % runs}" for k in range(n)]),
        species=species,
        concentration=shares,
        fractions=rng.dirichlet(np.ones(6), n),
        mean_soap=means.reshape(n, -1),
    )


@pytest.mark.parametrize("module", [data, baselines])
def test_examples(module):
    assert doctest.testmod(module, extraglobs={"np": np}).failed == 0


def test_a_sum_over_atoms_is_found_for_any_size_and_composition():
    """Weighted with the concentrations, the energy is linear; the mean vectors alone are not enough."""
    train, test = made(40, sizes=(50,)), made(30, sizes=(400, 30), seed=1)
    model = baselines.fit_linear(train, "mean_soap")
    np.testing.assert_allclose(
        model.predict(test) * test.n_atoms, test.energy, atol=1e-4 * np.abs(test.energy).mean()
    )
    twin = Twin(alpha=1e-9).fit(train.mean_soap, train.energy_per_atom)
    off = twin.predict(test.mean_soap) - test.energy_per_atom
    assert np.abs(off).max() > 0.1
    assert model.n_numbers == 12


def test_names_order_and_the_mean():
    samples = made()
    models = fit_baselines(samples)
    assert [one.name for one in models] == ["mean", "ridge on fractions", "ridge on mean SOAP"]
    assert models[0].predict(samples) == pytest.approx(np.mean(samples.energy / 50))
    assert models[0].n_numbers == 0
    assert [one.to_json()["name"] for one in models] == [one.name for one in models]


def test_one_run_is_cut_into_blocks():
    samples = made(runs=1)
    groups, what = samples.groups()
    assert list(dict.fromkeys(groups)) == [f"run 0 part {k}" for k in range(1, 6)]
    assert (np.diff(np.unique(groups, return_inverse=True)[1]) >= 0).all()
    assert "only run, run 0" in what
    assert "underestimated" in what
    assert baselines.fit_linear(samples, "fractions").fit.error > 0
    assert made(runs=2).groups()[1] == "runs"


def test_parts_and_stores():
    a, b = made(8, seed=1), made(6, seed=2)
    both = Samples.join([a, b])
    assert len(both) == 14
    assert both.take(np.arange(8)).energy.tolist() == a.energy.tolist()
    assert both.of_store("run 1").run.tolist() == ["run 1"] * 4
    assert both.frame.dtype == np.int64
    with pytest.raises(ParameterError, match="no sample of store 'x'; the stores are run 0"):
        both.of_store("x")
    with pytest.raises(ParameterError, match=r"fractions has \[6, 2\] columns"):
        Samples.join(
            [a, Samples.of(b.energy, 50, b.run, species=("Cu", "Zr"), fractions=np.zeros((6, 2)))]
        )
    with pytest.raises(
        ParameterError, match=r"samples of Cu .*cannot be joined with those of Cu, Zr"
    ):
        Samples.join([a, made(4, species=("Cu",))])


def test_bad_input_in_words():
    with pytest.raises(ParameterError, match=r"energy has shape \(0,\); one number per sample"):
        Samples.of([], 1, "a")
    with pytest.raises(ParameterError, match=r"fractions has shape \(3, 1\).* and 2 samples"):
        Samples.of([1.0, 2.0], 1, "a", fractions=np.ones((3, 1)))
    with pytest.raises(ParameterError, match="energy is not finite for frame 1 of a"):
        Samples.of([1.0, np.nan], 1, "a")
    with pytest.raises(ParameterError, match="the samples have no mean SOAP vectors"):
        Samples.of([1.0], 1, "a").matrix("mean_soap")
    with pytest.raises(ParameterError, match="no matrix 'soap'; allowed are fractions, mean_soap"):
        Samples.of([1.0], 1, "a").matrix("soap")
    with pytest.raises(ParameterError, match=r"only one sample \(store a\)"):
        Samples.of([1.0], 1, "a").groups()
    with pytest.raises(ParameterError, match="n_atoms=0 must be at least 1"):
        Samples.of([1.0], 0, "a")
