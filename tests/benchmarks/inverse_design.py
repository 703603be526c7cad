"""A 500-atom glass moved toward a wanted barcode: distance, energies by a linear model, and the potential's own.

nice python tests/benchmarks/inverse_design.py --data ../shared/data --work /tmp/inverse --moves 20000
nice python tests/benchmarks/inverse_design.py --data ../shared/data --work /tmp/inverse --elements 40 --moves 5000
nice python tests/benchmarks/inverse_design.py --data ../shared/data --work /tmp/inverse --elements 10 --factor 2 --moves 5000

The sample is a cube cut from an inherent structure of a cooling that is in no training set, closed periodically,
minimized in the potential. The wanted barcode is the mean of the last inherent structures of three other coolings.
The search resumes from its checkpoint in the work folder.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize

import mgdask
from mgdask.features import SOAP
from mgdask.kernels.neighbors import list_neighbors, make_cell_list
from mgdask.studies.barcode import Entries, MovingSample, Samples, sample_energy, search
from mgdask.studies.barcode.baselines import fit_linear
from mgdask.studies.barcode.wanted import wanted_fractions

TRAIN = ("cooling_1", "cooling_4", "cooling_7")
WIDE = SOAP(species=("Cu", "Zr"), r_cut=5.0, n_max=11, l_max=12, sigma=0.5, rbf="polynomial")
SMALL = SOAP(species=("Cu", "Zr"), r_cut=5.0, n_max=6, l_max=6, sigma=0.5)


class EmbeddedAtoms:
    """Embedded-atom potential (setfl file): energy, forces, minimization."""

    def __init__(self, path):
        lines = [line.split("#")[0] for line in path.read_text().splitlines()[3:]]
        words = iter(" ".join(lines).split())
        n = int(next(words))
        self.z = []
        for _ in range(n):
            next(words)
        n_rho, d_rho, n_r = int(next(words)), float(next(words)), int(next(words))
        d_r, self.cutoff = float(next(words)), float(next(words))
        rho, r = np.arange(n_rho) * d_rho, np.arange(n_r) * d_r

        def table(x):
            return CubicSpline(x, [float(next(words)) for _ in x])

        self.embedding, self.density, self.pair = [], [], {}
        for _ in range(n):
            self.z.append(int(next(words)))
            for _ in range(3):
                next(words)
            self.embedding.append(table(rho))
            self.density.append(table(r))
        for i in range(n):
            for j in range(i + 1):
                self.pair[i, j] = self.pair[j, i] = table(r)

    def __call__(self, position, cell, numbers):
        kind = np.array([self.z.index(z) for z in numbers])
        n = len(kind)
        cells = make_cell_list(position, cell, (True,) * 3, self.cutoff)
        offset, j, vector, d = list_neighbors(cells, np.arange(n))
        i = np.repeat(np.arange(n), np.diff(offset))
        rho, slope_i, slope_j, slope = (
            np.zeros(n),
            np.zeros(len(d)),
            np.zeros(len(d)),
            np.zeros(len(d)),
        )
        energy = 0.0
        for a in range(len(self.z)):
            of = kind[j] == a
            rho += np.bincount(i[of], self.density[a](d[of]), n)
            slope_j[of] = self.density[a](d[of], 1)
            of = kind[i] == a
            slope_i[of] = self.density[a](d[of], 1)
            for b in range(len(self.z)):
                both = of & (kind[j] == b)
                value = self.pair[a, b](d[both])
                energy += 0.5 * (value / d[both]).sum()
                slope[both] = self.pair[a, b](d[both], 1) / d[both] - value / d[both] ** 2
        derivative = np.zeros(n)
        for a in range(len(self.z)):
            energy += self.embedding[a](rho[kind == a]).sum()
            derivative[kind == a] = self.embedding[a](rho[kind == a], 1)
        pull = (slope + derivative[i] * slope_j + derivative[j] * slope_i) / d
        return energy, np.stack([np.bincount(i, pull * vector[:, k], n) for k in range(3)], axis=1)

    def minimized(self, position, cell, numbers, steps):
        def function(x):
            energy, force = self(x.reshape(-1, 3), cell, numbers)
            return energy, -force.ravel()

        options = {"maxiter": steps, "gtol": 0.02, "ftol": 1e-12}
        found = minimize(function, position.ravel(), jac=True, method="L-BFGS-B", options=options)
        return found.x.reshape(-1, 3), float(found.fun)


def store_of(name, data, work):
    path = work / f"{name}.zarr"
    if not path.exists():
        folder = data / "zrcu_inherent"
        energies = {"energy": (str(folder / f"{name}.energy.txt"), 3)}
        mgdask.ingest(
            str(folder / f"{name}.dump.gz"), path, species={1: "Zr", 2: "Cu"}, variables=energies
        )
    return path


def start_of(data, work, potential):
    path = work / "start.xyz"
    if not path.exists():
        frame = mgdask.open_store(store_of("cooling_41", data, work)).isel(frame=0)
        side = float(frame.cell[0, 0]) / 4 ** (1 / 3)
        position, numbers = frame.position.values, frame.species.values
        inside = (position < side).all(axis=1)
        atoms = Atoms(numbers[inside], position[inside], cell=[side] * 3, pbc=True)
        while len(atoms) > 500:  # of the closest pairs across the new faces
            d = atoms.get_all_distances(mic=True)
            np.fill_diagonal(d, np.inf)
            del atoms[int(np.unravel_index(d.argmin(), d.shape)[0])]
        atoms.positions, _ = potential.minimized(
            atoms.positions, np.asarray(atoms.cell), atoms.numbers, 400
        )
        atoms.wrap()
        atoms.write(path)
    return read(path)


def linear_model(data, work, every):
    energy, run, means = [], [], []
    for name in TRAIN:
        store = mgdask.open_store(store_of(name, data, work))
        z = store.species.values
        for f in range(0, store.sizes["frame"], every):
            rows = SMALL.compute(store.position[f].values, store.cell[f].values, z)
            means.append(np.concatenate([rows[z == k].mean(axis=0) for k in (29, 40)]))
            energy.append(float(store.energy[f]))
            run.append(name)
    share = [0.56, 0.44]
    samples = Samples.of(
        energy, 2000, run, species=("Cu", "Zr"), concentration=share, mean_soap=np.array(means)
    )
    return fit_linear(samples, "mean_soap")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--moves", type=int, default=20_000)
    parser.add_argument("--elements", type=int, default=0, help="entries of the target; 0: all")
    parser.add_argument(
        "--factor", type=float, default=1.0, help="of the fractions of the target, with --elements"
    )
    parser.add_argument(
        "--every", type=int, default=12, help="every which frame the dictionary and the model read"
    )
    parser.add_argument("--options", default="{}", help="further options of search, as JSON")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    stores = [store_of(name, args.data, args.work) for name in TRAIN]
    ules = args.work / "ules.zarr"
    if not ules.exists():
        mgdask.build_dictionary(stores, WIDE, out=ules, frames=slice(0, None, args.every))
    entries = Entries.of(ules)
    potential = EmbeddedAtoms(args.data / "potentials" / "ZrCu.lammps.eam")
    start = start_of(args.data, args.work, potential)
    model = linear_model(args.data, args.work, args.every)
    last = [mgdask.open_store(store).isel(frame=-1) for store in stores]
    glasses = [
        MovingSample(x.position.values, x.cell.values, (True,) * 3, x.species.values, entries)
        for x in last
    ]
    want = np.mean([glass.fractions for glass in glasses], axis=0)
    target = want
    if args.elements:
        leading = np.argsort(-want, kind="stable")[: args.elements]
        target = {int(k): args.factor * float(want[k]) for k in leading}
    energy = sample_energy(model, soap=SMALL)
    # what as many atoms drawn at random from the target have
    drawn = np.random.default_rng(0).multinomial(len(start), want / want.sum(), 200)
    noise = [
        wanted_fractions(
            want if not args.elements else {k: float(want[k]) for k in target}, len(want)
        ).distance(x)
        for x in drawn
    ]
    print(
        f"distance of {len(start)} atoms drawn at random from the glasses of the target to their fractions: {np.mean(noise):.3f}"
    )
    print(f"{entries.n_entries} entries; {len(start)} atoms, composition {start.symbols.formula}")
    print(f"model: {model.n_numbers} numbers, per atom {[round(energy(g) / len(g), 4) for g in glasses]} eV on the target's glasses, "
          f"{[round(float(x.energy) / 2000, 4) for x in last]} by the potential")  # fmt: skip
    began = time.process_time()
    checkpoint = args.work / f"search-{args.elements}-{args.factor:g}.npz"
    result = search(
        start,
        target,
        entries,
        n_moves=args.moves,
        energy=energy,
        checkpoint=checkpoint,
        **json.loads(args.options),
    )
    seconds = time.process_time() - began
    result.write(args.work / f"designed-{args.elements}-{args.factor:g}.xyz")
    history = result.history
    result.write_history(args.work / f"history-{args.elements}-{args.factor:g}.csv")
    for k in np.unique(np.linspace(0, len(history) - 1, 11).astype(int)):
        print(f"{history.move[k]:6d} moves  distance {history.distance[k]:.3f}  excess {history.excess[k]:.2f}  "
              f"accepted {history.accepted[k]:.2f}  model {history.energy[k] / len(start):.4f} eV/atom")  # fmt: skip
    print(f"best {result.distance:.4f} after {result.move} moves, {seconds:.0f} CPU s in this call")
    cell, n = result.cell, len(start)
    before, after = (
        potential(x, cell, z)[0] / n
        for x, z in ((result.start, result.start_numbers), (result.position, result.numbers))
    )
    relaxed, minimum = potential.minimized(result.position, cell, result.numbers, 400)
    again = MovingSample(relaxed, cell, (True,) * 3, result.numbers, entries)
    wanted_distance = search(
        Atoms(result.numbers, relaxed, cell=cell, pbc=True), target, entries, n_moves=0
    ).distance
    print(f"by the potential: start {before:.4f}, designed {after:.4f}, minimized {minimum / n:.4f} eV/atom; distance then {wanted_distance:.4f}, "
          f"model {energy(again) / n:.4f} eV/atom")  # fmt: skip


if __name__ == "__main__":
    main()
