"""CPU time that a plan projects against the CPU time of its run, for every family.

    python tests/benchmarks/cost.py [2000 16000 128000 1000000] [soap non_affine ...]

The glass is the shipped one, repeated. A million atoms are one frame of 1 024 000. Wide or slow features get every 50th atom as a
center there. Each plan measures on an empty folder of figures; the run and the projection count the blocks in this process.
"typical" is the projection without a measurement, before anything is compiled. "again" is that of the same plan after the run.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="mgdask-cost-")

import mgdask
from mgdask.errors import PlanError
from mgdask.features import (
    BondMoments,
    BondOrder,
    Chemistry,
    Coordination,
    FoldSymmetry,
    Interstice,
    LagDisplacement,
    LinearResponse,
    MediumRange,
    Motifs,
    NonAffine,
    Packing,
    SphericalChebyshev,
    SymmetryFunctions,
    VoronoiIndices,
)
from mgdask.pipelines.featurize import sample

SPECIES = ("Cu", "Zr")


def soap(r_cut, n_max=4, l_max=4, **options):
    return mgdask.SOAP(species=SPECIES, r_cut=r_cut, n_max=n_max, l_max=l_max, sigma=0.5, **options)


# largest number of atoms that is computed whole; every 50th above
CASES = [
    (soap(5.0), 130_000),
    (soap(10.0), 20_000),
    (soap(20.0), 2_500),
    (soap(5.0, 11, 12), 2_500),
    (soap(5.0, 8, 8, dtype="float32"), 20_000),
    (soap(5.0, average="inner"), 130_000),
    (Interstice(), 2e6),
    (MediumRange(Interstice()), 2e6),
    (MediumRange(soap(5.0)), 20_000),
    (Coordination(), 2e6),
    (VoronoiIndices(), 130_000),
    (Motifs(), 130_000),
    (Packing(), 130_000),
    (FoldSymmetry(), 130_000),
    (BondOrder(degrees=(4, 6)), 130_000),
    (BondMoments(degrees=(4, 6)), 130_000),
    (Chemistry(species=SPECIES), 130_000),
    (SymmetryFunctions(species=SPECIES), 130_000),
    (SphericalChebyshev(species=SPECIES, r_cut=5.0), 130_000),
    (SphericalChebyshev(species=SPECIES, r_cut=10.0), 20_000),
    (LinearResponse(cutoff=3.5), 2e6),
    (NonAffine(cutoff=3.5), 2e6),
    (NonAffine(cutoff=7.0), 130_000),
    (None, 130_000),  # LagDisplacement of the lag that the store has
]


def repeated(n_atoms, path):
    """Store the shipped glass, repeated in every direction: a few frames, or one of a million atoms."""
    small = path.parent / "small.zarr"
    if not small.exists():
        mgdask.ingest(
            str(mgdask.datasets.path("zrcu")), small, species={1: "Zr", 2: "Cu"}, timestep=0.002
        )
    k = round((n_atoms / 2000) ** (1 / 3))
    if k == 1:
        return small
    ds = mgdask.open_store(small)
    kind = np.where(ds.species.values == 40, 1, 2)
    shifts = np.array([(a, b, c) for a in range(k) for b in range(k) for c in range(k)])
    dump = path.with_suffix(".dump")
    with open(dump, "w") as out:
        for frame in range(1 if n_atoms > 500_000 else 4 if n_atoms < 50_000 else 2):
            cell = ds.cell[frame].values
            r = (ds.position[frame].values[None] + (shifts @ cell)[:, None]).reshape(-1, 3)
            out.write(f"ITEM: TIMESTEP\n{frame}\nITEM: NUMBER OF ATOMS\n{len(r)}\n")
            out.write("ITEM: BOX BOUNDS pp pp pp\n")
            out.writelines(f"0 {k * cell[j, j]:.6f}\n" for j in range(3))
            out.write("ITEM: ATOMS id type x y z\n")
            rows = np.column_stack([np.arange(1, len(r) + 1), np.tile(kind, k**3), r])
            np.savetxt(out, rows, fmt="%d %d %.4f %.4f %.4f")
    mgdask.ingest(str(dump), path, species={1: "Zr", 2: "Cu"}, timestep=0.002)
    dump.unlink()
    return path


def main(sizes, families):
    print(
        f"{'feature':44}{'atoms':>9}{'rows':>9}{'projected':>11}{'measured':>10}{'ratio':>7}{'typical':>9}{'again':>7}{'plan':>7}"
    )
    ratios = []
    with tempfile.TemporaryDirectory(prefix="mgdask-cost-") as name:
        folder = Path(name)
        for n_atoms in sizes:
            store = repeated(n_atoms, folder / f"{n_atoms}.zarr")
            ds = mgdask.open_store(store)
            n_frames = ds.sizes["frame"]
            for case, whole in CASES:
                if n_frames == 1 and (case is None or case.family == "non_affine"):
                    continue
                feature = case or LagDisplacement(lags=(float(ds.time[1] - ds.time[0]),))
                if families and feature.family not in families:
                    continue
                n = ds.sizes["atom"]
                centers = None if n <= whole else np.arange(0, n, 50)
                out = folder / "features.zarr"
                try:
                    plan = mgdask.plan(store, feature, out=out, centers=centers)
                except PlanError as error:
                    print(f"{feature.name:44}{n:9d}  {str(error)[:80]}", flush=True)
                    continue
                plan.job().prepare()
                typical = plan.work(measure=False).total
                began = time.process_time()
                work = plan.work()
                spent = time.process_time() - began
                report = mgdask.run(plan, progress=False)
                again = plan.work().total
                shutil.rmtree(out)
                shutil.rmtree(f"{out}.paths.zarr", ignore_errors=True)
                ratio = work.total / report.cpu
                ratios.append(ratio)
                title = f"{feature.name} {feature.summary()}".replace("species=Cu+Zr, ", "")[:42]
                print(
                    f"{title:44}{n:9d}{report.rows:9d}{work.total:10.3g}s{report.cpu:9.3g}s{ratio:7.2f}"
                    f"{typical / report.cpu:9.2f}{again / report.cpu:7.2f}{spent:6.2f}s",
                    flush=True,
                )
    print(f"ratios from {min(ratios):.2f} to {max(ratios):.2f}")
    print(f"write {sample.measure_writing() * 1e9:.1f} ns per byte")


if __name__ == "__main__":
    sizes = [int(word) for word in sys.argv[1:] if word.isdigit()]
    families = [word for word in sys.argv[1:] if not word.isdigit()]
    main(sizes or [2000, 16_000, 128_000, 1_000_000], families)
