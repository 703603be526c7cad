"""Peak memory of a worker against the plan's projection, and time per atom: a small glass and a frame of a million atoms.

    python tests/benchmarks/memory.py [atoms]

Each case runs in a process of its own, which does eight blocks of a plan for 2 GiB, SOAP r_cut=5 n_max=11 l_max=12 sigma=0.5 polynomial.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from soap import GLASS

import mgdask

CODE = """
import sys, time, mgdask, numpy as np
from mgdask.pipelines.featurize.block import compute_block, create_output
from mgdask.execution.usage import peak_memory
import distributed, pyarrow, pandas
soap = mgdask.SOAP(species=("Cu", "Zr"), r_cut=5.0, n_max=11, l_max=12, sigma=0.5, rbf="polynomial", dtype=sys.argv[3])
soap.compute([[0., 0, 0]], np.eye(3) * 20, [29])
base = peak_memory()
plan = mgdask.plan(sys.argv[1], soap, out=sys.argv[2])
create_output(plan)
rows, began = 0, time.perf_counter()
for block in plan.blocks[:8]:
    rows += compute_block(plan.job(), block, plan.block_digest(block))["rows"]
spent = time.perf_counter() - began
print(len(plan.blocks), plan.blocks[0].n_rows * len(plan.blocks[0].frames), base, peak_memory(), plan.memory.total, 1e6 * spent / rows)
"""


def write_random(path, n):
    side = (n / 0.058) ** (1 / 3)
    rng = np.random.default_rng(0)
    r = rng.uniform(0, side, (n, 3))
    with open(path, "w") as out:
        out.write(
            f"ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n{n}\nITEM: BOX BOUNDS pp pp pp\n"
            + f"0 {side!r}\n" * 3
        )
        out.write("ITEM: ATOMS id type x y z\n")
        out.writelines(
            f"{k + 1} {1 + k % 2} {x:.5f} {y:.5f} {z:.5f}\n" for k, (x, y, z) in enumerate(r)
        )


if __name__ == "__main__":
    atoms = int(float(sys.argv[1])) if len(sys.argv) > 1 else 10**6
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mgdask.ingest(str(GLASS), folder / "small.zarr", species={1: "Zr", 2: "Cu"})
        write_random(folder / "large.dump", atoms)
        mgdask.ingest(str(folder / "large.dump"), folder / "large.zarr", species={1: "Zr", 2: "Cu"})
        print(
            f"{'MiB of a worker process':28}{'blocks':>8}{'atoms each':>12}{'libraries':>11}{'peak':>8}{'projected':>11}{'us/atom*':>10}"
        )
        for case in ("small", "large"):
            for dtype in ("float64", "float32"):
                done = subprocess.run(
                    [
                        sys.executable,
                        "-c",
                        CODE,
                        folder / f"{case}.zarr",
                        folder / f"{case}-{dtype}.zarr",
                        dtype,
                    ],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                blocks, rows, base, peak, projected, cost = (
                    float(word) for word in done.stdout.split()
                )
                n = 2000 if case == "small" else atoms
                print(
                    f"{n:>10} atoms, {dtype:10}{blocks:8.0f}{rows:12.0f}{base / 2**20:11.0f}{peak / 2**20:8.0f}{projected / 2**20:11.0f}{cost:10.1f}"
                )
        print("* with reading, sorting the whole frame, loading kernels, packing and writing")
