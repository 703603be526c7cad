"""Elements of the barcode, barcodes and sums over groups, from fractions made by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.studies.barcode.elements import (
    Barcodes,
    ElementTable,
    Origin,
    barcode_values,
    barcodes,
    element_table,
)
from mgdask.studies.barcode.embedding import energy_correlations, similarity_map
from mgdask.studies.barcode.group_sums import GroupSums, binned, group_sums
from mgdask.studies.barcode.polyhedra import Polyhedron

ENERGY = np.array([-4.8, -4.7, -4.6, -4.5])
RUN = ["a", "a", "b", "b"]
FRACTIONS = np.array(
    [
        [0.4, 0.1, 0.1, 0.1, 0.3],
        [0.4, 0.2, 0.1, 0.0, 0.3],
        [0.4, 0.3, 0.0, 0.0, 0.3],
        [0.4, 0.4, 0.1, 0.1, 0.0],
    ]
)


def polyhedron(name):
    index = tuple(int(n) for n in name[1:-1].split(","))
    kasper = 2 * index[1] + index[2] == 12
    group = 1 if kasper else 2
    return Polyhedron(
        name,
        index,
        0,
        sum(index),
        kasper,
        group,
        name == "<0,0,12,0>",
        {"Cu": sum(index)},
        name,
        kasper,
    )


def table_of(entries=(4, 1, 3), names=("<0,3,6,4>", "<1,2,5,4>", "<0,0,12,0>")):
    shap = np.linspace(1.0, 0.5, len(entries))
    origins = [Origin("glass", k, 10 * k, "Zr") for k in entries]
    return element_table(
        entries,
        shap,
        origins,
        [polyhedron(name) for name in names],
        FRACTIONS,
        ENERGY,
        RUN,
        n_resamples=20,
    )


def test_group_1_comes_first():
    """Entries 4 and 3 have Kasper polyhedra; each group keeps the order by SHAP."""
    table = table_of()
    assert table.entries.tolist() == [4, 3, 1]
    assert [one.label for one in table.elements] == ["s1", "s2", "s3"]
    assert [one.rank for one in table.elements] == [1, 3, 2]
    assert [one.shap for one in table.elements] == [1.0, 0.5, 0.75]
    assert table.groups.tolist() == [1, 1, 2]
    assert table.icosahedral.tolist() == [False, True, False]
    assert (table.n_group1, table.n_group2, table.n_samples, table.n_runs) == (2, 1, 4, 2)
    assert table.elements[1].origin == Origin("glass", 3, 30, "Zr")


def test_correlations_with_the_energy():
    """The fraction of entry 1 is linear in the energy; its share of the barcode is not."""
    first, second, third = table_of().elements
    assert third.pearson.value == pytest.approx(1.0)
    assert third.fraction == 0.25
    # entry 3: (1, 0, 0, 1) is symmetric in the energy
    assert second.pearson.value == pytest.approx(0.0, abs=1e-12)
    share = FRACTIONS[:, 4] / FRACTIONS[:, [4, 1, 3]].sum(axis=1)
    assert first.pearson_barcode.value == pytest.approx(np.corrcoef(share, ENERGY)[0, 1])
    assert not first.pearson.reliable  # of two runs


def test_barcodes_sum_to_one():
    values, covered = barcode_values(FRACTIONS, [3, 1])
    np.testing.assert_allclose(values, [[0.5, 0.5], [0, 1], [0, 1], [0.2, 0.8]])
    np.testing.assert_allclose(covered, [0.2, 0.2, 0.3, 0.5])
    nothing, none = barcode_values([[0.0, 0.0, 1.0]], [0, 1])
    assert not nothing.any()
    assert not none.any()


def test_sums_over_groups():
    samples = barcodes(table_of(), FRACTIONS, ENERGY, RUN, np.full(4, 2000))
    sums = group_sums(samples, table_of().icosahedral, bins=2, n_resamples=20)
    np.testing.assert_allclose(sums.group1, [4 / 5, 3 / 5, 3 / 6, 1 / 5])
    np.testing.assert_allclose(sums.icosahedral, [1 / 5, 0, 0, 1 / 5], atol=1e-15)
    np.testing.assert_allclose(sums.group1 + sums.group2, 1.0)
    assert sums.pearson["group1"].value == pytest.approx(-sums.pearson["group2"].value)
    curve = sums.curves["group1"]
    np.testing.assert_allclose(curve.energy, [-4.725, -4.575])
    np.testing.assert_allclose(curve.mean, [0.7, 0.35])
    np.testing.assert_allclose(curve.std, [0.1, 0.15])
    assert curve.count.tolist() == [2, 2]


def test_bins_without_samples_are_left_out():
    curve = binned(np.array([0.0, 0.1, 1.0]), np.array([1.0, 2.0, 3.0]), 4)
    assert curve.energy.tolist() == [0.125, 0.875]
    assert curve.count.tolist() == [2, 1]
    assert binned(np.array([2.0, 2.0]), np.array([1.0, 3.0])).mean.tolist() == [2.0]


def test_records_survive_json():
    table = table_of()
    samples = barcodes(table, FRACTIONS, ENERGY, RUN, np.full(4, 2000))
    sums = group_sums(samples, table.icosahedral, n_resamples=20)
    for one in (table, samples, sums):
        text = json.dumps(one.to_json())
        again = type(one).from_json(json.loads(text))
        assert json.dumps(again.to_json()) == text
    again = Barcodes.from_json(samples.to_json())
    assert np.array_equal(again.values, samples.values)
    assert again.n_atoms.dtype == np.int64
    assert np.isnan(GroupSums.from_json(sums.to_json()).pearson["group1"].low) == np.isnan(
        sums.pearson["group1"].low
    )
    assert ElementTable.from_json(table.to_json()).elements[0].polyhedron.index == (0, 3, 6, 4)


def test_entries_are_checked():
    with pytest.raises(ParameterError, match="indices of the 5 entries of the dictionary, 0 to 4"):
        table_of(entries=(4, 1, 5))
    with pytest.raises(ParameterError, match="entries has 4 more than once"):
        table_of(entries=(4, 1, 4))
    with pytest.raises(ParameterError, match="polyhedra has 1 values for 3 entries"):
        table_of(names=("<0,0,12,0>",))
    with pytest.raises(ParameterError, match="run has 1 labels for 4 samples"):
        barcodes(table_of(), FRACTIONS, ENERGY, ["a"], np.full(4, 2000))


def test_similarity_map(rng):
    """Distances of the map are in units of 1 - M, here of three orthogonal vectors."""
    correlation = energy_correlations(FRACTIONS, ENERGY)
    assert np.isnan(correlation[0])  # constant
    assert correlation[1] == pytest.approx(1.0)
    vectors = np.eye(5)
    found = similarity_map(vectors, correlation, [29] * 5, [3, 1], entries=[0, 1, 3])
    assert found.method == "smacof"
    assert found.stress < 1e-6
    gap = np.linalg.norm(found.coordinates - np.roll(found.coordinates, 1, axis=0), axis=1)
    np.testing.assert_allclose(gap, 1.0, atol=1e-6)  # |p - q| / sqrt(2)
    assert found.element.tolist() == [0, 2, 1]
    flat = similarity_map(vectors, correlation, [29] * 5, [3, 1], method="pca")
    assert flat.stress == flat.stress_pca > 0.1
    with pytest.raises(ParameterError, match="a map needs at least 3"):
        similarity_map(vectors, correlation, [29] * 5, [3], entries=[1])
