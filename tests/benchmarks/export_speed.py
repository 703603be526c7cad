"""Export: rows per CPU second beside ASE's writer of extended XYZ, time of a table, and peak memory with a large store.

    OMP_NUM_THREADS=1 python tests/benchmarks/export_speed.py [--atoms 100000] [--rounds 5] [--frames 12] [--million 1000000] [--folder DIR]

Each round writes a frame with a feature of four columns by mgdask (from a Dataset in memory, in this process, with the flush to the disk) and by
``ase.io.write(..., format="extxyz")`` with as many columns, by turns; the median of CPU seconds counts. "large": ``frames`` frames of ``million``
atoms are exported as a dump and ingested; the store is exported by one worker process, whose peak memory is beside the bytes of its arrays.
The last step needs about 3 GB under ``--folder`` at full size, which it removes.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import ase
import ase.io
import numpy as np
import xarray as xr

import mgdask
from mgdask.cluster import local_client
from mgdask.execution.usage import peak_memory
from mgdask.explore import export, to_dataframe


def make(n_atoms, n_frames, seed=0):
    """A frame axis of random atoms in a triclinic cell, with four columns."""
    rng = np.random.default_rng(seed)
    side = (17.0 * n_atoms) ** (1 / 3)
    cell = side * np.array([[1, 0, 0], [0.1, 1, 0], [-0.2, 0.05, 1]])
    position = np.stack([rng.random((n_atoms, 3)) @ cell for _ in range(n_frames)])
    return xr.Dataset(
        {
            "position": (("frame", "atom", "xyz"), position),
            "image": (("frame", "atom", "xyz"), np.zeros(position.shape, np.int32)),
            "cell": (("frame", "vector", "xyz"), np.stack([cell] * n_frames)),
            "origin": (("frame", "xyz"), np.zeros((n_frames, 3))),
            "pbc": ("vector", [True] * 3),
            "f": (
                ("frame", "atom", "f_feature"),
                np.stack([rng.random((n_atoms, 4)) for _ in range(n_frames)]),
            ),
        },
        {
            "f_feature": [f"q{k}" for k in range(4)],
            "step": ("frame", 1000 * np.arange(n_frames)),
            "time": ("frame", 2.0 * np.arange(n_frames)),
            "run": ("frame", ["a"] * n_frames),
            "atom_id": ("atom", np.arange(1, n_atoms + 1)),
            "species": ("atom", np.where(np.arange(n_atoms) % 3, 29, 40)),
        },
    )


def ase_atoms(ds):
    """The same frame for ASE."""
    frame = ds.isel(frame=0)
    atoms = ase.Atoms(frame.species.values, frame.position.values, cell=frame.cell.values, pbc=True)
    atoms.arrays["id"] = frame.atom_id.values
    for k, name in enumerate(("ix", "iy", "iz")):
        atoms.arrays[name] = frame.image.values[:, k].astype(int)
    for k in range(4):
        atoms.arrays[f"q{k}"] = np.ascontiguousarray(frame.f.values[:, k])
    return atoms


def cpu(function):
    began = time.process_time()
    function()
    return time.process_time() - began


def speed(n_atoms, rounds, folder):
    """Compare the writers by turns."""
    ds = make(n_atoms, 1)
    atoms = ase_atoms(ds)
    ways = {
        "mgdask extxyz": lambda: export(ds, folder / "a.extxyz", overwrite=True),
        "mgdask dump": lambda: export(ds, folder / "a.dump", overwrite=True),
        "mgdask parquet": lambda: export(ds, folder / "a.parquet", overwrite=True),
        "mgdask to_dataframe": lambda: to_dataframe(ds),
        "ASE extxyz": lambda: ase.io.write(folder / "b.extxyz", atoms, format="extxyz"),
    }
    spent = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, function in ways.items():
            spent[name].append(cpu(function))
    for name, seconds in spent.items():
        middle = median(seconds[1:])  # the first round imports
        print(f"{name:20} {n_atoms / middle:12,.0f} rows per CPU second ({middle:.3f} s)")
    ours, theirs = median(spent["mgdask extxyz"][1:]), median(spent["ASE extxyz"][1:])
    print(f"extxyz: {theirs / ours:.1f} times as many rows per CPU second as ASE")
    sizes = [(folder / name).stat().st_size for name in ("a.extxyz", "b.extxyz")]
    print(f"bytes of mgdask and ASE (8 decimals): {sizes[0]:,} {sizes[1]:,}")


def large(n_frames, n_atoms, folder):
    """Export a store that is larger than what a worker may hold."""
    with open(folder / "big.dump", "wb") as joined:
        for k in range(n_frames):
            ds = make(n_atoms, 1, seed=k).drop_vars("f")
            ds = ds.assign_coords(step=("frame", [1000 * k]), time=("frame", [2.0 * k]))
            export(ds, folder / "one.dump", overwrite=True)
            joined.write((folder / "one.dump").read_bytes())
    with local_client(1, memory="2GiB") as client:
        mgdask.ingest(folder / "big.dump", folder / "big.zarr", client=client)
    stored = sum(v.nbytes for v in mgdask.open_store(folder / "big.zarr").values())
    with local_client(1, memory="2GiB") as client:
        rest = max(client.run(peak_memory).values())
        report = export(folder / "big.zarr", folder / "again.dump", client=client)
        peak = max(client.run(peak_memory).values())
    same = (folder / "again.dump").stat().st_size == report.size
    print(report)
    print(
        f"arrays {stored / 2**20:.0f} MiB, file {report.size / 2**20:.0f} MiB, peak of the worker "
        f"{peak / 2**20:.0f} MiB ({rest / 2**20:.0f} MiB before), of this process "
        f"{peak_memory() / 2**20:.0f} MiB, complete: {same}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--atoms", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--million", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        speed(options.atoms, options.rounds, place)
        if options.frames:
            large(options.frames, options.million, place)
    finally:
        shutil.rmtree(place)
