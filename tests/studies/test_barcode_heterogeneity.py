"""Barcodes of driven and thermal samples: differences by hand, chance by simulation."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.studies.barcode.elements import Barcodes
from mgdask.studies.barcode.heterogeneity import Heterogeneity, compare, heterogeneity
from mgdask.studies.barcode.matching import counting_noise

GROUPS = np.array([1, 1, 1, 2, 2, 2])
BASE = np.array([0.1, 0.2, 0.3, 0.1, 0.1, 0.2])


def samples(values, energy, run, n_atoms=2000):
    values = np.asarray(values, dtype=float)
    n = len(values)
    return Barcodes(
        run=tuple(run),
        energy=np.asarray(energy, dtype=float),
        values=values,
        covered=np.ones(n),
        n_atoms=np.full(n, n_atoms),
        labels=tuple(f"s{k}" for k in range(1, values.shape[1] + 1)),
        groups=GROUPS,
    )


def thermal(values=None, n_runs=6, each=4):
    n = n_runs * each
    values = np.tile(BASE, (n, 1)) if values is None else values
    energy = -4.8 + 1e-4 * np.tile(np.arange(each), n_runs)
    return samples(values, energy, np.repeat([f"cooling_{k}" for k in range(n_runs)], each))


def test_a_known_difference():
    """All thermal barcodes are equal, so chance is 0 and the difference is what was put in."""
    change = np.array([0.01, -0.02, 0.03, 0.0, 0.05, -0.05])
    driven = samples(np.tile(BASE - change, (10, 1)), np.full(10, -4.8), ["shear"] * 10)
    found = compare("shear", thermal(), driven, tolerance=1.5e-4, n_resamples=50)
    np.testing.assert_allclose(found.delta, change, atol=1e-15)
    # energies -4.8 and -4.7999 are within the tolerance: 2 of 4 samples of 6 runs
    assert (found.n_driven, found.n_matched, found.n_pairs) == (10, 10, 120)
    assert found.n_thermal_runs == 6
    for contrast, part in zip(found.contrasts, (slice(0, 3), slice(3, 6)), strict=True):
        expected = change[part].std()
        for bounds in (contrast.std, contrast.excess):
            assert bounds.value == pytest.approx(expected, abs=1e-8)
            assert bounds.low == pytest.approx(bounds.high, abs=1e-8)
        assert contrast.control.value == pytest.approx(0.0, abs=1e-8)
        assert contrast.std_of_means == pytest.approx(expected)
        assert contrast.share_of_halves_below == 1.0
        assert len(contrast.halves) == 10  # C(6, 3) / 2
        ratio = BASE[part].sum() / (BASE - change)[part].sum()
        assert contrast.ratio.value == pytest.approx(ratio)
        assert contrast.ratio_control.value == pytest.approx(1.0)
    assert not found.contrasts[0].std.reliable  # one driven run
    assert "1 driven runs" in found.contrasts[0].std.note


def test_means_by_loops(rng):
    """Mean over pairs, control and halves by plain loops over samples."""
    warm = thermal(BASE + 0.01 * rng.normal(size=(20, 6)), n_runs=5)
    driven = samples(
        BASE + 0.02 * rng.normal(size=(7, 6)), -4.8 + 1e-4 * rng.uniform(0, 4, 7), ["s"] * 7
    )
    found = compare("s", warm, driven, tolerance=1.2e-4, n_resamples=20).contrasts[1]
    part = slice(3, 6)
    pairs, controls, means = [], [], []
    for value, energy in zip(driven.values, driven.energy, strict=True):
        near = [k for k in range(20) if abs(warm.energy[k] - energy) <= 1.2e-4]
        pairs.append(np.mean([(warm.values[k] - value)[part].std() for k in near]))
        controls.append(
            np.mean(
                [
                    (warm.values[i] - warm.values[j])[part].std()
                    for i, j in combinations(near, 2)
                    if warm.run[i] != warm.run[j]
                ]
            )
        )
        means.append(np.mean([warm.values[k] for k in near], axis=0) - value)
    assert found.std.value == pytest.approx(np.mean(pairs))
    assert found.control.value == pytest.approx(np.mean(controls))
    assert found.excess.value == pytest.approx(np.mean(pairs) - np.mean(controls))
    assert found.std_of_means == pytest.approx(np.mean(means, axis=0)[part].std())
    first = []
    for energy in driven.energy:
        near = [k for k in range(20) if abs(warm.energy[k] - energy) <= 1.2e-4]
        halves = ({"cooling_0", "cooling_1"}, {"cooling_2", "cooling_3", "cooling_4"})
        one, other = (
            np.mean([warm.values[k] for k in near if warm.run[k] in half], axis=0)
            for half in halves
        )
        first.append(one - other)
    assert found.halves[0] == pytest.approx(np.mean(first, axis=0)[part].std())


def counted(rng, probability, n, n_atoms=500):
    return rng.multinomial(n_atoms, probability, size=n) / n_atoms


def test_chance_alone_is_no_effect(rng):
    """Samples of one barcode with finite numbers of atoms differ by counting alone."""
    warm = replace(thermal(counted(rng, BASE, 240), each=40), n_atoms=np.full(240, 500))
    driven = samples(counted(rng, BASE, 60), np.full(60, -4.8), np.repeat(list("abcdef"), 10), 500)
    found = compare("s", warm, driven, tolerance=1.0, n_resamples=200)
    for contrast in found.contrasts:
        # the mean of a standard deviation over 3 elements is below its root mean square
        assert 0.8 < contrast.std.value / contrast.counting_noise < 1.0
        assert contrast.excess.low < 0.0 < contrast.excess.high
        assert contrast.ratio.low < 1.0 < contrast.ratio.high
        assert contrast.std.reliable


def test_counting_noise_is_the_root_mean_square(rng):
    """Of 2000 independent pairs of samples, simulated."""
    one, other = (
        samples(counted(rng, BASE, 2000), np.zeros(2000), ["s"] * 2000, 500) for _ in range(2)
    )
    columns = one.groups == 1
    expected = np.sqrt(np.mean((one.values - other.values)[:, columns].var(axis=1)))
    found = counting_noise(one, other, np.eye(2000, dtype=bool), columns)
    assert found == pytest.approx(expected, rel=0.04)


def test_an_effect_in_one_group_is_found(rng):
    warm = thermal(counted(rng, BASE, 240), each=40)
    shifted = BASE + [0, 0, 0, 0.08, -0.08, 0.0]
    driven = samples(counted(rng, shifted, 60), np.full(60, -4.8), np.repeat(list("abcdef"), 10))
    first, second = compare("s", warm, driven, tolerance=1.0, n_resamples=200).contrasts
    assert first.excess.low < 0.005
    assert second.excess.low > 0.02
    assert second.share_of_halves_below == 1.0
    assert second.std_of_means > 3 * second.single_runs.max()
    assert second.share_of_single_runs_below == 1.0
    assert second.single_runs.shape == (6,)


def test_unmatched_samples_are_left_out():
    driven = samples(np.tile(BASE, (3, 1)), [-4.8, -4.7, -4.8], ["s"] * 3)
    found = compare("s", thermal(), driven, tolerance=1e-4, n_resamples=20)
    assert (found.n_driven, found.n_matched) == (3, 2)
    assert found.energy.tolist() == [-4.8, -4.8]


def test_bad_input_is_refused():
    warm = thermal()
    driven = samples(np.tile(BASE, (2, 1)), [-4.7, -4.7], ["s"] * 2)
    with pytest.raises(ParameterError, match=r"s: no sample has an energy within 0\.0001 eV"):
        compare("s", warm, driven, tolerance=1e-4)
    with pytest.raises(ParameterError, match="tolerance=0 must be an energy above 0"):
        compare("s", warm, driven, tolerance=0)
    with pytest.raises(ParameterError, match="of one run, 'cooling_0'"):
        compare("s", thermal(n_runs=1), driven)
    with pytest.raises(ParameterError, match="make both from one table"):
        compare("s", warm, replace(driven, groups=GROUPS[::-1]))


def test_a_group_of_one_element_has_no_deviation():
    groups = np.array([1, 1, 1, 1, 1, 2])
    driven = replace(samples(np.tile(BASE, (6, 1)), np.full(6, -4.8), ["s"] * 6), groups=groups)
    first, second = compare("s", replace(thermal(), groups=groups), driven).contrasts
    assert first.std.value == pytest.approx(0.0, abs=1e-8)
    assert np.isnan(second.std.value)
    assert (second.n_elements, second.std.note) == (1, "the group has 1 elements")


def test_all_comparisons_survive_json():
    driven = samples(np.tile(BASE, (6, 1)), np.full(6, -4.8), ["s"] * 6)
    far = replace(driven, energy=driven.energy + 0.1)
    found = heterogeneity(thermal(), [("far", far), ("s", driven)], n_resamples=20)
    assert [one.name for one in found.comparisons] == ["s"]
    assert found.left_out[0].startswith("far: no sample has an energy within 0.00025 eV per atom")
    text = json.dumps(found.to_json())
    again = Heterogeneity.from_json(json.loads(text))
    assert json.dumps(again.to_json()) == text
    assert again.comparisons[0].strain is None
    assert np.array_equal(again.comparisons[0].thermal, found.comparisons[0].thermal)
