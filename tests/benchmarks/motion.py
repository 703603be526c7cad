"""Motion beside its peers, and a trajectory larger than memory.

    OMP_NUM_THREADS=1 python tests/benchmarks/motion.py [--scale [frames [atoms]]]

Mean squared displacement: 41 lags, all origins, 1001 frames x 8000 atoms, beside freud's FFT. Non-affine displacement: the shipped glass strained by
hand, 4.5 Å, beside OVITO. Alternating in one process on one core, medians. ``--scale`` makes a store of random walks (default 20 000 frames x
50 000 atoms, 24 GB), unwraps it, and takes lag displacements and the MSD of all of it in two worker processes of 2 GiB.
"""

from __future__ import annotations

import os

os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
)

import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from soap import last_frame

import mgdask
from mgdask.features.lag import lag_pairs
from mgdask.features.trajectory_sums import sum_moments
from mgdask.features.window import FrameAxis


def seconds(function):
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def beside(name, ours, peer, peer_name, rounds=7):
    ours(), peer()
    times = [(seconds(peer), seconds(ours)) for _ in range(rounds)]
    theirs, own = 1e3 * np.median(times, axis=0)
    print(
        f"{name:62}{peer_name} {theirs:9.1f} ms   mgdask {own:8.1f} ms   ratio {np.median([a / b for a, b in times]):6.1f}",
        flush=True,
    )


def peers():
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(0, 0.05, (1001, 8000, 3)), axis=0)
    axis = FrameAxis(np.arange(1001.0), np.zeros(1001, dtype=np.int64))
    lags = np.unique(np.geomspace(1, 800, 50).astype(int))[:41].astype(float)
    runs, slot = lag_pairs(axis, lags, np.arange(1001)), np.zeros(8000, dtype=np.int64)
    path = np.ascontiguousarray(walk.transpose(1, 0, 2))

    import freud

    freud.parallel.set_num_threads(1)
    box, small = freud.box.Box.cube(1e4), walk.astype(np.float32)
    beside(
        f"MSD and r^4, {len(lags)} lags, all origins, 1001 x 8000 x 3",
        lambda: sum_moments(path, runs, slot, 1),
        lambda: freud.msd.MSD(box, mode="window").compute(small),
        "freud",
        rounds=5,
    )

    r, cell, z = last_frame()
    strain = np.array([[1.0, 0.0, 0.0], [0.03, 1.0, 0.0], [0.0, 0.0, 0.98]])
    later = r @ strain + rng.normal(0, 0.05, r.shape)
    feature = mgdask.NonAffine(cutoff=4.5)
    try:
        from ovito.data import DataCollection, SimulationCell
        from ovito.modifiers import AtomicStrainModifier
        from ovito.pipeline import Pipeline, StaticSource
    except ImportError:
        print("OVITO is not installed: pip install 'mgdask[benchmark]'")
        return

    def collection(position, box):
        data = DataCollection()
        data.objects.append(SimulationCell(pbc=(True, True, True)))
        data.cell_[:, :3] = box.T
        data.create_particles(count=len(position)).create_property("Position", data=position)
        return data

    cuts = iter(4.5 + 1e-9 * np.arange(10_000))

    def ovito():
        pipeline = Pipeline(source=StaticSource(data=collection(later, cell @ strain)))
        modifier = AtomicStrainModifier(
            cutoff=next(cuts), output_nonaffine_squared_displacements=True
        )
        modifier.reference = StaticSource(data=collection(r, cell))
        pipeline.modifiers.append(modifier)
        pipeline.compute()

    def ours():
        feature.compute(r, later, cell, cell @ strain, z)

    beside(
        "D2min and strain, 4.5 Å, neighbours included, 2000 atoms", ours, ovito, "OVITO", rounds=41
    )


def write_walk(path, n_frames, n_atoms):
    from mgdask.execution.records import record
    from mgdask.store import trajectory
    from mgdask.store.layout import trajectory_layout
    from mgdask.store.manifest import Manifest
    from mgdask.store.shards import new_group, write_shard

    side = (n_atoms / 0.06) ** (1 / 3)
    group = new_group(
        path, {"mgdask_kind": "trajectory", "mgdask_format": trajectory.FORMAT}, overwrite=False
    )
    Manifest(path).create()
    trajectory.create_arrays(
        group,
        n_frames=n_frames,
        atom_id=np.arange(1, n_atoms + 1),
        species=np.where(np.arange(n_atoms) % 2, 29, 40).astype(np.int32),
        mass=np.full(n_atoms, 60.0),
        pbc=np.ones(3, dtype=bool),
        image_scheme="of the walk",
        variables={},
        scratch=False,
    )
    # the cell breathes, so that paths are made by the toroidal scheme
    breath = 1.0 + 1e-3 * np.sin(np.arange(n_frames) / 50)
    cell = side * breath[:, None, None] * np.eye(3)
    trajectory.write_frames_axis(
        group,
        0,
        step=np.arange(n_frames),
        cell=cell,
        origin=np.zeros((n_frames, 3)),
        run=["walk"] * n_frames,
        time=0.01 * np.arange(n_frames),
    )
    rng, size = np.random.default_rng(0), trajectory_layout(n_atoms).shard_frames
    fraction = rng.random((n_atoms, 3))
    image = np.zeros((n_atoms, 3), dtype=np.int32)
    for low in range(0, n_frames, size):
        count = min(size, n_frames - low)
        position, images = (
            np.empty((count, n_atoms, 3)),
            np.empty((count, n_atoms, 3), dtype=np.int32),
        )
        for k in range(count):
            fraction += rng.standard_normal((n_atoms, 3), dtype=np.float32) * np.float32(
                0.02 / side
            )
            whole = np.floor(fraction)
            fraction -= whole
            image += whole.astype(np.int32)
            position[k], images[k] = fraction * cell[low + k, 0, 0], image
        wrote = [
            write_shard(group, name, (low, 0, 0), values)
            for name, values in (("position", position), ("image", images))
        ]
        Manifest(path).append(record(f"{low}", "", wrote, 0.0))
    Manifest(path).finish("walk")


def scale(n_frames, n_atoms):
    from distributed import Client, LocalCluster

    with tempfile.TemporaryDirectory(dir=os.environ.get("MGDASK_SCRATCH")) as name:
        folder = Path(name)
        spent = seconds(lambda: write_walk(folder / "walk.zarr", n_frames, n_atoms))
        print(
            f"made {n_frames} frames x {n_atoms} atoms ({24e-9 * n_frames * n_atoms:.1f} GB of positions) in {spent:.0f} s",
            flush=True,
        )
        with (
            LocalCluster(
                n_workers=2, threads_per_worker=1, memory_limit="2GiB", dashboard_address=None
            ) as cluster,
            Client(cluster) as client,
        ):

            def peak():
                from mgdask.execution.usage import peak_memory

                return max(client.run(peak_memory).values()) / 2**20

            print(
                mgdask.unwrap(folder / "walk.zarr", folder / "paths.zarr", client=client),
                f"peak {peak():.0f} MiB",
                flush=True,
            )
            feature = mgdask.LagDisplacement(
                lags=(0.01, 0.1, 1.0, 10.0, 100.0), origins=max(1, n_frames // 10), missing="nan"
            )
            plan = mgdask.plan(folder / "paths.zarr", [feature], out=folder / "lag.zarr")
            print(plan, flush=True)
            print(mgdask.run(plan, client), f"peak {peak():.0f} MiB", sep="\n", flush=True)
            began = time.perf_counter()
            found = mgdask.mean_squared_displacement(folder / "paths.zarr", client=client)
            spent = time.perf_counter() - began
            print(
                f"MSD, {found.sizes['lag']} lags, all origins: {spent:.0f} s, peak {peak():.0f} MiB"
            )
            print(
                f"3 x step^2 a frame: expected {3 * 0.02**2:.3e}, found {float(found.msd_all[0] / (found.lag[0] / 0.01)):.3e} Å^2"
            )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if "--scale" in sys.argv:
        numbers = [int(float(word)) for word in sys.argv[sys.argv.index("--scale") + 1 :]]
        scale(*(numbers + [20_000, 50_000][len(numbers) :]))
    else:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        peers()
