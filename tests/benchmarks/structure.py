"""Structure descriptors beside their peers: microseconds per atom on one core, alternating in one process; then growth to a million atoms.

    OMP_NUM_THREADS=1 python tests/benchmarks/structure.py [--scale]

The shipped Zr-Cu glass (2000 atoms), medians over rounds. Peers: vesin, freud, matminer (where installed; one thread each); amlearn's cost is
the one measured and written down beside this project (21 000 and 1500 us/atom), since it does not build any more. ``--scale`` runs the plan
of the 80 interstice columns in a process of its own for the glass and for 8 x 8 x 8 copies of it, with atoms in the order of the copies and shuffled.
"""

from __future__ import annotations

import os

os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
)

import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from soap import GLASS, last_frame

import mgdask
from mgdask.features import compute_features, feature_set
from mgdask.features.environments import LocalEnvironments
from mgdask.kernels.bondorder import coarse, invariants, moments, triples
from mgdask.kernels.neighbors import list_neighbors, make_cell_list
from mgdask.kernels.voronoi import voronoi_cells

ROUNDS = 9
DEGREES = (4, 6, 8, 10)


def seconds(function):
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def beside(
    name, ours, peer=None, *, peer_name="", share=1.0, rounds=ROUNDS, atoms=2000, published=None
):
    """A line of the table; the peer does ``share`` of the atoms in each round."""
    ours(), peer and peer()
    times = []
    for _ in range(rounds):
        theirs = seconds(peer) / share if peer else np.nan
        times.append((theirs, min(seconds(ours), seconds(ours))))
    theirs, own = 1e6 / atoms * np.median(times, axis=0)
    ratio = np.median([a / b for a, b in times])
    text = f"{peer_name} {theirs:8.2f}" if peer else ""
    if published:
        text, ratio = f"{published[0]} {published[1]:8.0f} (written down)", published[1] / own
    print(f"{name:58}{text:>34}{own:10.2f}{ratio:9.1f}", flush=True)


def peers(glass):
    r, cell, z = glass
    atoms = np.arange(len(r))
    print(f"{'':58}{'peer, us per atom':>34}{'mgdask':>10}{'ratio':>9}")

    import vesin

    listed = vesin.NeighborList(cutoff=5.0, full_list=True)
    beside(
        "neighbours within 5 Å: row, vector, distance",
        lambda: list_neighbors(make_cell_list(r, cell, (True,) * 3, 5.0), atoms),
        lambda: listed.compute(points=r, box=cell, periodic=True, quantities="ijDd", copy=False),
        peer_name="vesin",
    )

    import freud

    freud.parallel.set_num_threads(1)
    box = freud.box.Box.from_matrix(cell.T)
    points = box.wrap(r - np.diag(cell) / 2)
    beside(
        "Voronoi cells: facets, areas, edges, volumes",
        lambda: voronoi_cells(r, cell),
        lambda: freud.locality.Voronoi().compute((box, points)),
        peer_name="freud",
    )

    own = mgdask.Interstice()
    both = (own, mgdask.MediumRange(own))

    def eighty():
        compute_features(both, r[None], cell[None], z, atoms, (True, True, True))

    try:
        from matminer.featurizers.site import IntersticeDistribution
        from pymatgen.core import Structure
    except ImportError:
        print("matminer is not installed: pip install 'mgdask[peers]'")
    else:
        structure = Structure(cell, z, r, coords_are_cartesian=True)
        featurizer = IntersticeDistribution(cutoff=6.5)
        some = range(0, 2000, 200)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            beside(
                "80 interstice columns, neighbours and cells included",
                eighty,
                lambda: [featurizer.featurize(structure, k) for k in some],
                peer_name="matminer, 12 columns",
                share=len(some) / 2000,
                rounds=5,
            )
    beside("the same", eighty, published=("amlearn", 21_000.0))

    near = (
        freud.locality.AABBQuery(box, points)
        .query(points, {"r_max": 4.0, "exclude_ii": True})
        .toNeighborList()
    )
    bonds = LocalEnvironments(r, cell, z, (True, True, True)).neighbors(4.0, atoms)
    weight, degrees, table = np.ones(len(bonds.row)), np.array(DEGREES), triples(DEGREES)
    q, mean = (np.empty((len(r), int((2 * degrees + 1).sum()))) for _ in range(2))
    out = np.empty((len(r), 2 * len(DEGREES)))

    def order():
        moments(bonds.first, bonds.last, bonds.vector, weight, degrees, q)
        invariants(q, degrees, table.m, table.factor, table.start, out)
        coarse(bonds.first, bonds.last, bonds.row, atoms, atoms, q, mean)
        invariants(mean, degrees, table.m, table.factor, table.start, out)

    def steinhardt():
        for average in (False, True):
            freud.order.Steinhardt(
                list(DEGREES), average=average, wl=True, wl_normalize=True
            ).compute((box, points), near)

    beside(
        "q, w and averaged q, w; l = 4, 6, 8, 10; neighbours given",
        order,
        steinhardt,
        peer_name="freud",
    )

    symmetry = mgdask.SymmetryFunctions(species=("Cu", "Zr"))
    beside(
        "166 symmetry functions, neighbours included",
        lambda: symmetry.compute(r, cell, z),
        published=("amlearn", 1500.0),
    )
    chebyshev = mgdask.SphericalChebyshev(species=("Cu", "Zr"))
    beside("90 Chebyshev columns, neighbours included", lambda: chebyshev.compute(r, cell, z))
    short, medium = (feature_set(name, ("Cu", "Zr")) for name in ("sro", "mro"))
    for name, some in (
        ("49 short-range columns", short),
        ("49 + 209 short- and medium-range columns", short + medium),
    ):
        beside(
            name,
            lambda some=some: compute_features(some, r[None], cell[None], z, atoms, (True,) * 3),
        )


CODE = """
import sys, time, mgdask, numpy as np
from mgdask.features import feature_set
from mgdask.pipelines.featurize.block import compute_block, create_output
from mgdask.execution.usage import peak_memory
import distributed, pyarrow, pandas
features = feature_set("interstice", ("Cu", "Zr"))
for feature in features:
    feature.prepare()
plan = mgdask.plan(sys.argv[1], features, out=sys.argv[2])
create_output(plan)
rows, began, kernel = 0, time.perf_counter(), 0.0
for block in plan.blocks[: int(sys.argv[3])]:
    rows += compute_block(plan.job(), block, plan.block_digest(block))["rows"]
spent = time.perf_counter() - began
print(len(plan.blocks), plan.blocks[0].n_rows * len(plan.blocks[0].frames), peak_memory(), plan.memory.total, 1e6 * spent / rows)
"""


def write_copies(path, glass, copies, *, shuffled=False):
    r, cell, z = glass
    shifts = np.stack(np.meshgrid(*[np.arange(copies)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    many, kinds = (
        (r[None] + (shifts @ cell)[:, None]).reshape(-1, 3),
        np.tile(np.where(z == 29, 2, 1), len(shifts)),
    )
    if shuffled:
        order = np.random.default_rng(0).permutation(len(many))
        many, kinds = many[order], kinds[order]
    side = copies * float(cell[0, 0])
    with open(path, "w") as out:
        out.write(
            f"ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n{len(many)}\nITEM: BOX BOUNDS pp pp pp\n"
            + f"0 {side!r}\n" * 3
        )
        out.write("ITEM: ATOMS id type x y z\n")
        out.writelines(
            f"{k + 1} {t} {x:.5f} {y:.5f} {z:.5f}\n"
            for k, (t, (x, y, z)) in enumerate(zip(kinds, many, strict=True))
        )


def scale(glass):
    head = f"{'80 interstice columns, read, computed, packed, written':58}{'blocks':>8}{'atoms each':>12}{'peak MiB':>10}"
    print(f"{head}{'projected':>11}{'us/atom':>9}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mgdask.ingest(str(GLASS), folder / "small.zarr", species={1: "Zr", 2: "Cu"})
        for text, shuffled in (("copies", False), ("shuffled", True)):
            write_copies(folder / f"{text}.dump", glass, 8, shuffled=shuffled)
            mgdask.ingest(
                str(folder / f"{text}.dump"), folder / f"{text}.zarr", species={1: "Zr", 2: "Cu"}
            )
        for case, text in (
            ("small", "2000 atoms, 8 frames"),
            ("copies", "1 024 000 atoms, copies in order"),
            ("shuffled", "the same, rows shuffled"),
        ):
            command = [
                sys.executable,
                "-c",
                CODE,
                folder / f"{case}.zarr",
                folder / f"{case}-out.zarr",
                "1000",
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            blocks, rows, peak, projected, cost = (float(word) for word in done.stdout.split())
            print(
                f"{text:58}{blocks:8.0f}{rows:12.0f}{peak / 2**20:10.0f}{projected / 2**20:11.0f}{cost:9.1f}",
                flush=True,
            )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    frame = last_frame()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    scale(frame) if "--scale" in sys.argv else peers(frame)
