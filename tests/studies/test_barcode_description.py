"""The stages of elements and of driven samples, from stores and a dictionary to files."""

from __future__ import annotations

import json

import ase.io
import numpy as np
import pytest

import mgdask
from mgdask.errors import ParameterError
from mgdask.studies.barcode.data import Samples
from mgdask.studies.barcode.description import (
    VoronoiBaseline,
    compare_driven,
    describe_elements,
    read_table,
)
from mgdask.studies.barcode.elements import Barcodes
from mgdask.studies.barcode.heterogeneity import Heterogeneity
from tests.conftest import SPECIES, write_dump
from tests.reference.configurations import spread

SIDE, N = 9.0, 40
RUNS = ("one", "two", "three")


@pytest.fixture(scope="module")
def study(client, tmp_path_factory):
    """Three small runs and a driven one, a dictionary of the runs, and samples of all."""
    folder, rng = tmp_path_factory.mktemp("described"), np.random.default_rng(8)
    stores = []
    for name in (*RUNS, "driven"):
        start = spread(rng, SIDE * np.eye(3), N, 1.8)
        frames = []
        for t in range(3):
            now = (start + 0.2 * rng.normal(size=start.shape)) % SIDE
            frames.append((t, [(k + 1, 1 + k % 2, *now[k]) for k in range(N)]))
        dump = write_dump(folder / f"{name}.dump", frames, box=((0, SIDE),) * 3)
        stores.append(folder / f"{name}.zarr")
        mgdask.ingest(dump, stores[-1], species=SPECIES)
    soap = mgdask.SOAP(species=("Cu", "Zr"), r_cut=3.5, n_max=3, l_max=2, sigma=0.5)
    ules = folder / "ules.zarr"
    mgdask.build_dictionary(stores[:3], soap, threshold=0.8, out=ules, progress=False)
    feature = mgdask.LocalEnvironment(str(ules), per="frame")
    fractions = []
    for store in stores:
        opened = mgdask.open_store(store)
        for t in range(3):
            row = feature.compute(
                opened.position[t].values, opened.cell[t].values, opened.species.values
            )
            fractions.append(row.reshape(-1))
    energy = -200.0 + 0.01 * rng.permutation(12)
    samples = Samples.of(energy, N, np.repeat([*RUNS, "driven"], 3), fractions=fractions)
    return folder, stores, ules, samples.of_store(*RUNS), samples.of_store("driven")


@pytest.fixture(scope="module")
def described(study, client):
    """Folder with all files, the files that were listed, and what they describe."""
    folder, stores, ules, thermal, driven = study
    out = folder / "barcode"
    shap = np.random.default_rng(0).random(thermal.fractions.shape[1])
    ranked = np.argsort(-shap)[:6]
    options = {"client": client, "progress": False, "n_resamples": 20}
    written = describe_elements(out, ules, ranked, shap, thermal, stores[:3], **options)
    written += compare_driven(
        out, thermal, driven, stores[3:], dictionary=ules, tolerance=1.0, **options
    )
    return out, written, ranked, shap


def test_files(described):
    out, written, _, _ = described
    assert {path for path in out.rglob("*") if path.is_file()} == set(written)
    table = read_table(out)
    assert [element.label for element in table.elements] == [f"s{k}" for k in range(1, 7)]
    for name, kind in (("barcodes", Barcodes), ("heterogeneity", Heterogeneity)):
        text = (out / f"{name}.json").read_text()
        assert json.loads(text) == kind.from_json(json.loads(text)).to_json()


def test_elements_are_those_of_the_dictionary(described, study):
    """Every exported center is the atom that the dictionary records, with its own neighbors."""
    out, _, ranked, shap = described
    _, _, ules, thermal, _ = study
    dictionary, table = mgdask.read_dictionary(ules), read_table(out)
    assert sorted(table.entries.tolist()) == sorted(ranked.tolist())
    frames = ase.io.read(out / "elements" / "elements.extxyz", ":")
    vectors = dictionary.vectors()
    for element, atoms in zip(table.elements, frames, strict=True):
        entry = element.entry
        assert element.shap == shap[entry]
        assert ranked[element.rank - 1] == entry
        assert element.fraction == pytest.approx(thermal.fractions[:, entry].mean())
        assert element.origin.store == RUNS[dictionary.source[entry]]
        assert element.origin.atom_id == dictionary.atom_id[entry]
        # the power spectrum of the exported cluster is that of the entry: 5 Å > 3.5 Å + 3.7 sigma
        soap = mgdask.SOAP(species=("Cu", "Zr"), r_cut=3.5, n_max=3, l_max=2, sigma=0.5)
        around = soap.compute(
            atoms.positions, 60.0 * np.eye(3), atoms.numbers, centers=[0], pbc=(False,) * 3
        )[0]
        np.testing.assert_allclose(around / np.linalg.norm(around), vectors[entry], atol=2e-3)
        # an entry is nearest to itself, so its own atom is among the assigned
        assert element.assigned.n_atoms >= 1
        assert element.assigned.own > 0.0
        assert element.assigned.n_atoms == round(thermal.fractions[:, entry].sum() * N)


def test_baseline_and_samples(described, study):
    out, _, _, _ = described
    baseline = VoronoiBaseline.from_json(json.loads((out / "voronoi.json").read_text()))
    assert len(baseline.energy) == 9
    assert set(baseline.pearson) == {"kasper", "icosahedral"}
    thermal = study[3]
    lowest = int(thermal.energy.argmin())
    name = f"sample_{thermal.store[lowest]}_{thermal.frame[lowest]}.extxyz"
    atoms = ase.io.read(out / name)
    table = read_table(out)
    for k, entry in enumerate(table.entries):
        share = (atoms.arrays["element"] == k + 1).mean()
        assert share == pytest.approx(thermal.fractions[lowest, entry])
    assert (out / "sample_driven_0.extxyz").is_file()


def test_one_run_cannot_be_compared(described, study):
    out = described[0]
    _, stores, _, thermal, driven = study
    with pytest.raises(ParameterError, match="of one run, 'one'"):
        compare_driven(out, thermal.of_store("one"), driven, stores[3:], progress=False)
