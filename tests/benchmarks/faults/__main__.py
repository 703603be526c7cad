"""Run the fault matrix, or one of its cells.

    python -m tests.benchmarks.faults                         # all, ten moments each
    python -m tests.benchmarks.faults --command append --fault full-disk --seed 7
    python -m tests.benchmarks.faults --jobs 2 --tries 10 --results faults.jsonl
    python -m tests.benchmarks.faults --table --results faults.jsonl

Every command runs in a process that is forked from a server, on small stores with many
blocks. At a random moment (by CPU time, or wall time with worker processes) a fault
strikes. The same command then resumes, and all files are compared with those of an
undisturbed run. Results go to a file of JSON lines; tries that are there are skipped.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[3]


def main() -> None:
    """Run tries, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--command", action="append", default=[])
    parser.add_argument("--fault", action="append", default=[])
    parser.add_argument("--seed", type=int, action="append", default=[])
    parser.add_argument(
        "--cell", action="append", default=[], help="one try, as COMMAND:FAULT:SEED; repeatable"
    )
    parser.add_argument("--tries", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--part", default="0/1", help="used by --jobs")
    parser.add_argument("--work", type=Path, default=Path("/tmp/mgdask-faults"))
    parser.add_argument("--results", type=Path, default=Path("faults.jsonl"))
    parser.add_argument("--stop", type=float, default=2.0, help="seconds of SIGSTOP")
    parser.add_argument("--again", action="store_true", help="repeat tries that are there")
    parser.add_argument("--table", action="store_true", help="only print the table")
    given = parser.parse_args()
    given.results = given.results.resolve()
    if given.table:
        from tests.benchmarks.faults.table import print_table

        print_table(given.results)
        return
    if "MGDASK_FAULTS_INSIDE" not in os.environ:
        sys.exit(enter(given))
    run(given)


def enter(given: argparse.Namespace) -> int:
    """Start this program in mount name spaces of its own, once per job."""
    words = sys.argv[1:]
    processes = []
    for k in range(given.jobs):
        work = given.work / str(k)
        (work / "inputs").mkdir(parents=True, exist_ok=True)
        space = ["unshare", "--mount"]
        if os.getuid():
            space = ["unshare", "--user", "--map-root-user", "--mount"]
        environment = {
            **os.environ,
            "MGDASK_FAULTS_INSIDE": "1",
            "MGDASK_FAULTS_PRELOAD": "1",
            "MGDASK_CACHE_DIR": os.environ.get("MGDASK_CACHE_DIR", str(given.work / "kernels")),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(work),
        }
        command = [*space, sys.executable, "-m", "tests.benchmarks.faults", *words]
        command += ["--part", f"{k}/{given.jobs}", "--work", str(work)]
        command += ["--results", str(given.results)]
        processes.append(subprocess.Popen(command, env=environment, cwd=ROOT))
    return max(process.wait() for process in processes)


def run(given: argparse.Namespace) -> None:
    """Run the tries of one part."""
    import multiprocessing
    import tempfile
    from multiprocessing import forkserver

    from tests.benchmarks.faults import commands, faults
    from tests.benchmarks.faults.matrix import Bench
    from tests.benchmarks.faults.table import read_results
    from tests.benchmarks.faults.tries import Place
    from tests.forked import PRELOAD

    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    faults.STOP_SECONDS = given.stop
    rooms = [f"tests.benchmarks.faults.{name}" for name in ("clock", "commands", "loaded")]
    preload = [rooms[0], *PRELOAD, *rooms[1:]]
    # not for ranks of training: they would come from the server of this process
    multiprocessing.set_forkserver_preload(preload)
    tempfile.tempdir = "/tmp"  # TMPDIR may be too long for the socket of the server
    forkserver.ensure_running()
    tempfile.tempdir = None
    place = Place(given.work)
    place.kernels = Path(os.environ["MGDASK_CACHE_DIR"])
    part, parts = map(int, given.part.split("/"))
    version = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    mark = place.inputs / "ready"
    if not mark.exists() or mark.read_text() != version:
        shutil.rmtree(place.inputs)
        place.inputs.mkdir()
        made = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.faults.commands", str(place.inputs)],
            check=False,
            capture_output=True,
            text=True,
        )
        if made.returncode:
            sys.exit(f"the inputs cannot be made:\n{made.stdout}\n{made.stderr}")
        mark.write_text(version)
    done = {} if given.again else read_results(given.results)
    bench = Bench(place)
    cells = [
        (int(seed), command, fault)
        for command, fault, seed in (cell.split(":") for cell in given.cell)
    ] or [
        (seed, command, fault)
        for seed in given.seed or range(given.tries)
        for command in given.command or commands.COMMANDS
        for fault in given.fault or faults.FAULTS
    ]
    for k, (seed, command, fault) in enumerate(cells):
        if (command, fault, seed) in done or k % parts != part:
            continue
        began = time.monotonic()
        try:
            result = bench.attempt(command, fault, seed)
        except RuntimeError as error:  # the command fails even undisturbed
            print(f"{command} {fault} {seed}: {error}", flush=True)
            continue
        result.version = version
        with open(given.results, "a", encoding="utf-8") as stream:
            stream.write(result.line() + "\n")
        misses = result.misses()
        print(
            f"{command:16} {fault:15} {seed:3} {result.statuses} {result.cpu:.2f} s CPU "
            f"{time.monotonic() - began:.1f} s {'' if result.struck else 'too late'}",
            *(f"\n    {kind}: {'; '.join(texts)[:1500]}" for kind, texts in misses.items()),
            flush=True,
        )
    place.close()


if __name__ == "__main__":
    main()
