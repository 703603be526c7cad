"""Reading plain text dumps: MB/s on one core beside MDAnalysis, ASE and OVITO, alternating in one process.

    python tests/benchmarks/ingest.py [dump]

Without a dump it writes one of 29 MB from ../shared/data, or from the shipped glass. Medians of 3 rounds; OVITO reads positions only.
"""

from __future__ import annotations

import os

os.environ.update(
    dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OVITO_THREAD_COUNT"), "1")
)

import gzip
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import mgdask
from mgdask.readers.indexing import take_inventory
from mgdask.readers.window import read_window

SPECIES = {1: "Cu", 2: "Zr"}
SHARED = (
    Path(__file__).parents[3] / "shared" / "data" / "cu65zr35_compression" / "glass_1.lammpstrj.gz"
)


def make_dump(path):
    source = (
        SHARED
        if SHARED.exists()
        else Path(mgdask.__file__).parent / "datasets" / "data" / "zrcu.lammpstrj.gz"
    )
    text = gzip.decompress(source.read_bytes())
    with open(path, "wb") as out:
        while out.tell() < 24e6:
            out.write(text)


def own_frames(path, _):
    for _ in read_window(take_inventory(path, species=SPECIES, repeated="all")):
        pass


def own_store(path, folder):
    mgdask.ingest(path, folder / "a.zarr", species=SPECIES, repeated="all", overwrite=True)


def mdanalysis(path, _):
    import MDAnalysis

    universe = MDAnalysis.Universe(path, format="LAMMPSDUMP", topology_format="LAMMPSDUMP")
    for _ in universe.trajectory:
        pass


def ase(path, _):
    from ase.io import iread

    for _ in iread(path, index=":", format="lammps-dump-text"):
        pass


def ovito(path, _):
    from ovito.io import import_file

    pipeline = import_file(path)
    for k in range(pipeline.source.num_frames):
        np.asarray(pipeline.compute(k).particles["Position"])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        dump = sys.argv[1] if len(sys.argv) > 1 else str(Path(name) / "big.dump")
        if len(sys.argv) < 2:
            make_dump(dump)
        size = Path(dump).stat().st_size / 1e6
        readers = {
            "mgdask, audited frames": own_frames,
            "mgdask, whole into Zarr": own_store,
            "OVITO": ovito,
            "ASE": ase,
            "MDAnalysis": mdanalysis,
        }
        times: dict[str, list[float]] = {}
        for _ in range(3):
            for who, reader in readers.items():
                began = time.perf_counter()
                try:
                    reader(dump, Path(name))
                except ImportError as error:
                    print(f"{who} is left out: {error}")
                    continue
                times.setdefault(who, []).append(time.perf_counter() - began)
        print(f"{size:.0f} MB of text, one core{'':6}{'MB/s':>8}{'ratio to it':>14}")
        own = np.median(times["mgdask, audited frames"])
        for who, spent in times.items():
            print(f"{who:28}{size / np.median(spent):8.0f}{np.median(spent) / own:14.1f}")
