"""How fast plain LAMMPS text is read, beside other readers, on one core and in one process each round.

    python tests/benchmarks/ingest.py [--rounds 5] [--source /path/to/glass_1.lammpstrj.gz] [--megabytes 48]

A plain dump of at least 24 MB is written from real frames; then every reader reads all of it in turn, round after round, and
the table has the median of MB/s, the spread and the ratio to mgdask. mgdask's time is the whole of it: index, audit, parse, sort by
id, wrap, images. The others parse positions by their usual call; none of them audits.
"""

from __future__ import annotations

import argparse
import gzip
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path

SOURCE = Path("/work/shared/data/cu65zr35_compression/glass_1.lammpstrj.gz")


def write_plain(source: Path, target: Path, megabytes: float) -> int:
    """Repeat the frames of ``source`` with new timesteps until the file is large enough; its size in bytes."""
    text = gzip.open(source).read() if source.suffix == ".gz" else source.read_bytes()
    frames = [b"ITEM: TIMESTEP\n" + part for part in text.split(b"ITEM: TIMESTEP\n") if part]
    step, size = 0, 0
    with open(target, "wb") as out:
        while size < megabytes * 1e6:
            for frame in frames:
                lines = frame.split(b"\n", 2)
                size += out.write(b"\n".join([lines[0], b"%d" % step, lines[2]]))
                step += 100
    return size


def read_mgdask(path: str) -> int:
    from mgdask.readers.job import read_window, take_inventory

    return sum(1 for _ in read_window(take_inventory(path, species={1: "Cu", 2: "Zr"}, timestep=0.002)))


def read_mdanalysis(path: str) -> int:
    import MDAnalysis
    from MDAnalysis.coordinates.LAMMPS import DumpReader

    del MDAnalysis
    with DumpReader(path) as reader:
        return sum(1 for frame in reader if frame.positions is not None)


def read_ase(path: str) -> int:
    import ase.io

    return len(ase.io.read(path, index=":", format="lammps-dump-text"))


def read_ovito(path: str) -> int:
    from ovito.io import import_file

    pipeline = import_file(path, sort_particles=True)
    count = int(pipeline.source.num_frames)
    for frame in range(count):
        pipeline.compute(frame).particles.positions.array.sum()
    return count


READERS = {"mgdask": read_mgdask, "MDAnalysis": read_mdanalysis, "ASE": read_ase, "OVITO": read_ovito}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=float, default=48)
    parser.add_argument("--source", type=Path, default=SOURCE)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # before any library makes its threads
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plain.lammpstrj"
        size = write_plain(options.source, path, options.megabytes)
        speeds: dict[str, list[float]] = {}
        for turn in range(options.rounds + 1):  # the first round warms caches and imports, and is not counted
            for name, read in READERS.items():
                if turn and name not in speeds:
                    continue
                started = time.perf_counter()
                try:
                    frames = read(str(path))
                except ImportError as error:
                    print(f"{name}: skipped, it is not installed ({error})")
                    continue
                speeds.setdefault(name, [])
                if turn:
                    speeds[name].append(size / 1e6 / (time.perf_counter() - started))
        print(f"{size / 1e6:.1f} MB of plain text, {frames} frames, one core, {options.rounds} rounds")
        own = statistics.median(speeds["mgdask"])
        print(f"{'reader':12} {'MB/s':>8} {'min':>8} {'max':>8} {'mgdask is':>10}")
        for name, values in speeds.items():
            middle = statistics.median(values)
            print(f"{name:12} {middle:8.1f} {min(values):8.1f} {max(values):8.1f} {own / middle:9.1f}x")


if __name__ == "__main__":
    main()
