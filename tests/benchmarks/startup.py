"""Wall and CPU time of small jobs from the shell.

    python tests/benchmarks/startup.py [--repeats 5] [--against CHECKOUT] [--only WORD]

Every command runs once without being counted, to compile the kernels. With a second
checkout, both alternate. The wall time is the best of all repeats, because other
programs only lengthen it; the CPU time, children included, is the median.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mgdask

CODE = "from mgdask.cli import main; main()"
HERE = Path(__file__).parents[2]


def commands(folder: Path) -> dict[str, list[str]]:
    """Return the measured commands."""
    store, out = str(folder / "glass.zarr"), str(folder / "f.zarr")
    featurize = ["featurize", store, "--set", "interstice", "--set", "sro", "--out", out]
    ingest = ["ingest", str(mgdask.datasets.path("zrcu")), "--species", "Zr,Cu"]
    return {
        "ingest": [*ingest, "--timestep", "0.002", "--out", out],
        "rdf": ["rdf", store],
        "unwrap": ["unwrap", store, "--out", out],
        "verify": ["verify", store],
        "demo": ["demo", "--out", out],
        "featurize --workers 2": [*featurize, "--workers", "2"],
        "featurize": featurize,
        "inspect": ["inspect", store],
        "--help": ["--help"],
    }


def measure(words: list[str], checkout: Path, out: Path) -> tuple[float, float]:
    """Return wall and CPU time of one command in s."""
    shutil.rmtree(out, ignore_errors=True)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", CODE, *words],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        cwd=out.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--against", type=Path, help="another checkout to alternate with")
    parser.add_argument("--only", default="", help="commands whose name begins so")
    given = parser.parse_args()
    checkouts = [HERE] if given.against is None else [given.against.resolve(), HERE]
    print(f"{platform.node()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mgdask.ingest(
            str(mgdask.datasets.path("zrcu")),
            folder / "glass.zarr",
            species=mgdask.datasets.SPECIES["zrcu"],
            timestep=0.002,
        )
        for title, words in commands(folder).items():
            if not title.startswith(given.only):
                continue
            times: dict[Path, list[tuple[float, float]]] = {path: [] for path in checkouts}
            for k in range(given.repeats + 1):
                for path in checkouts:
                    measured = measure(words, path, folder / "f.zarr")
                    if k:
                        times[path].append(measured)
            for path, pairs in times.items():
                wall, cpu = zip(*pairs, strict=True)
                print(
                    f"{title:24} wall {min(wall):6.2f} s   CPU {statistics.median(cpu):6.2f} s   "
                    f"{path}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
