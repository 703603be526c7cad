"""Error of the models of the barcode study on runs left out, with the whole choice repeated.

    mgdask study barcode --train a.zarr --train b.zarr --test c.zarr --out OUT
    python tests/benchmarks/barcode_models.py OUT a.zarr b.zarr ...

Reads the dictionary and the features of a finished study. Each run is predicted by models fitted to
the other runs. The table is that of notebooks/concepts/barcode_models.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mgdask.learn import bootstrap
from mgdask.store.dictionaries import read_dictionary
from mgdask.studies.barcode.barcode_study import DICTIONARY
from mgdask.studies.barcode.baselines import fit_baselines
from mgdask.studies.barcode.entry_vectors import degree_weights, entry_vectors
from mgdask.studies.barcode.models import fit_models, fit_soft_barcode
from mgdask.studies.barcode.prepare import read_samples, small_soap
from mgdask.studies.barcode.stores import read_energies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of a finished study")
    parser.add_argument("stores", type=Path, nargs="+", help="stores of its samples")
    parser.add_argument("--elements", type=int, default=40)
    options = parser.parse_args()
    species = read_energies(options.stores[0]).species
    samples = read_samples(options.stores, species, options.out / "features")
    soap = small_soap(species)
    weights = degree_weights(soap)
    vectors = entry_vectors(read_dictionary(options.out / DICTIONARY), soap, options.stores)
    predicted: dict[str, np.ndarray] = {}
    numbers: dict[str, int] = {}
    for run in samples.runs:
        own = samples.run == run
        train, test = samples.take(~own), samples.take(own)
        models = [*fit_baselines(train), *fit_models(train, vectors, weights, options.elements)]
        models += [
            fit_soft_barcode(train, vectors, weights, n)
            for n in (options.elements // 2, 3 * options.elements // 4)
        ]
        for model in models:
            energy = predicted.setdefault(model.name, np.full(len(samples), np.nan))
            energy[own] = model.predict(test) * test.n_atoms
            numbers[model.name] = model.n_numbers
    print(f"{len(samples)} samples of {len(samples.runs)} runs, {len(vectors)} entries")
    print("| model | numbers | RMSE, eV per sample |\n|---|---|---|")
    for name, energy in predicted.items():
        found = bootstrap("rmse", samples.energy, energy, samples.run)
        print(
            f"| {name} | {numbers[name]} | {found.value:.3f} [{found.low:.3f}, {found.high:.3f}] |"
        )


if __name__ == "__main__":
    main()
