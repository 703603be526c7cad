"""Ten thousand samples of 2000 atoms, from a store to a dictionary and to fractions: time, memory, kill -9.

OMP_NUM_THREADS=1 nice python tests/benchmarks/barcode_scale.py --data ../shared/data --work /tmp/scale
    [--samples 10000] [--thresholds 0.84,0.88,0.9] [--workers 2] [--memory 1GiB] [--rbf polynomial]
    [--noise 0.01] [--kill 24] [--only kill|scale] [--profile]

The real inherent structures of the seven shared coolings are repeated with Gaussian noise, so that every environment
differs. Each pass is a process of its own with its workers. CPU time is that of all of them, memory the highest sum of
their resident memory, sampled four times a second (pages that they share count once per process). "kill" runs both
passes on a few samples, kills all processes with -9 several times, repeats, and compares all files but the journals with
those of an uninterrupted run. Every pass is run again on a store that it has finished only if --work is emptied.
Goal for 10 000 samples on 2 cores: 45 minutes (20 would be better) and 4 GiB at each threshold.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

os.environ.update(
    dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
    )
)

import numpy as np
import psutil
from family_memory import Memory

COOLINGS = ("1", "4", "7", "41", "42", "43", "51")
JOURNALS = ("blocks.jsonl", "lock", "progress")
"""Beginnings of names of files with records in the order in which blocks were finished, times or process numbers."""


def soap(rbf):
    import mgdask

    return mgdask.SOAP(species=("Cu", "Zr"), r_cut=5.0, n_max=11, l_max=12, sigma=0.5, rbf=rbf)


def make_store(data, work, samples, noise):
    """The store of all samples. Not part of what is measured."""
    import mgdask

    path = work / f"samples-{samples}-{noise:g}.zarr"
    if path.exists():
        return path
    frames = []
    for name in COOLINGS:
        base = work / f"cooling_{name}.zarr"
        if not base.exists():
            dump = data / "zrcu_inherent" / f"cooling_{name}.dump.gz"
            mgdask.ingest(str(dump), base, species={1: "Zr", 2: "Cu"})
        with mgdask.open_store(base) as store:
            frames.append(store.position.values)
            species, side = store.species.values, float(store.cell[0, 0, 0])
    frames = np.concatenate(frames)
    head = (
        f"{len(species)}\nITEM: BOX BOUNDS pp pp pp\n"
        + f"0.0 {side!r}\n" * 3
        + "ITEM: ATOMS id type x y z\n"
    )
    words = [f"{k + 1} {1 if z == 40 else 2} " for k, z in enumerate(species.tolist())]
    dump = work / f"samples-{samples}-{noise:g}.dump"
    with open(dump, "w") as out:
        for k in range(samples):
            # the first samples are of all coolings and temperatures
            place = frames[(k * 61) % len(frames)]
            place = (place + np.random.default_rng([7, k]).normal(0, noise, place.shape)) % side
            out.write(f"ITEM: TIMESTEP\n{k}\nITEM: NUMBER OF ATOMS\n{head}")
            out.write(
                "".join(
                    f"{w}{x:.5f} {y:.5f} {z:.5f}\n"
                    for w, (x, y, z) in zip(words, place.tolist(), strict=True)
                )
            )
    mgdask.ingest(str(dump), path, species={1: "Zr", 2: "Cu"})
    dump.unlink()
    return path


def one_pass(args):
    """Run one pass in this process; called as a subprocess."""
    import mgdask
    from mgdask.cluster import local_client

    with local_client(args.workers, memory=args.memory) as client:
        if args.run == "dictionary":
            mgdask.build_dictionary(
                args.store, soap(args.rbf), threshold=args.threshold, out=args.out, memory=args.memory, client=client, progress=False
            )  # fmt: skip
        else:
            feature = mgdask.LocalEnvironment(dictionary=args.dictionary, per="frame")
            plan = mgdask.plan(args.store, [feature], out=args.out, memory=args.memory)
            mgdask.run(plan, client, progress=False)


def command(args, kind, store, out, threshold, dictionary=None):
    line = [sys.executable, __file__, "--run", kind, "--store", store, "--out", out, "--threshold", threshold, "--workers", args.workers,
            "--memory", args.memory, "--rbf", args.rbf, "--data", args.data, "--work", args.work]  # fmt: skip
    return [str(word) for word in [*line, *(["--dictionary", dictionary] if dictionary else [])]]


def start(line):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.Popen(line, start_new_session=True, env=environment)


def measured(line):
    """Wall and CPU seconds, memory of all processes and of the largest."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    process = start(line)
    memory = Memory(process.pid, 0.25)
    if process.wait():
        raise SystemExit(f"a pass failed: {' '.join(line)}")
    memory.stop()
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, memory.highest, memory.largest


def n_entries(path):
    import mgdask

    return mgdask.read_dictionary(path).n_entries


def fresh(path):
    if path.exists():
        shutil.rmtree(path)
    return path


def scale(args):
    n = args.samples * 2000
    idle = measured([sys.executable, "-c", "import mgdask; from mgdask.cluster import local_client\n"
                     f"with local_client({args.workers}, memory='{args.memory}'): pass"])  # fmt: skip
    print(f"{args.samples} samples, {n} environments, {args.rbf}, noise {args.noise} Å, {args.workers} workers of {args.memory}; "
          f"starting and closing the workers takes {idle[1]:.1f} CPU s, {idle[0]:.1f} s", flush=True)  # fmt: skip
    print(
        "threshold pass       environments entries    wall s     CPU s  us/environment   all GiB  largest GiB",
        flush=True,
    )
    small = 0 if args.samples == 10_000 else min(args.base, args.samples // 2)
    for threshold in args.thresholds:
        spent = {}
        for samples in filter(None, (small, args.samples)):
            spent[samples] = both_passes(args, samples, threshold)
        if small:
            each = (spent[args.samples] - spent[small]) / (args.samples - small)
            total = spent[small] + each * (10_000 - small)
            if each <= 0.0:
                print(
                    "          no extrapolation: fixed costs outweigh so few samples, or kernels were compiled",
                    flush=True,
                )
                continue
            print(f"          EXTRAPOLATED from the difference, 10 000 samples: {1e6 * each / 2000:.0f} us/environment in both passes, "
                  f"{total / 2 / 60:.0f} min on 2 cores; more entries at full size are not in it", flush=True)  # fmt: skip


def both_passes(args, samples, threshold):
    """CPU seconds of the dictionary and of the fractions, with a line for each."""
    store, n = make_store(args.data, args.work, samples, args.noise), samples * 2000
    ules = fresh(args.work / f"ules-{samples}-{threshold}.zarr")
    fractions = fresh(args.work / f"fractions-{samples}-{threshold}.zarr")
    total = 0.0
    for kind, out in (("dictionary", ules), ("fractions", fractions)):
        wall, cpu, everything, largest = measured(command(args, kind, store, out, threshold, ules))
        total += cpu
        print(f"{threshold:9.2f} {kind:11}{n:12}{n_entries(ules):8}{wall:10.1f}{cpu:10.1f}{1e6 * cpu / n:16.1f}{everything / 2**30:10.2f}"
              f"{largest / 2**30:13.2f}", flush=True)  # fmt: skip
    return total


def files(folder):
    """Digest of every file of a store by name, but of journals."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not path.name.lstrip(".").startswith(JOURNALS):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def kill(args):
    """Kill all processes of a pass a few times, finish it, and compare with an uninterrupted one."""
    store, threshold = make_store(args.data, args.work, args.kill, args.noise), args.thresholds[-1]
    ules = None
    for kind in ("dictionary", "fractions"):
        whole, broken = (fresh(args.work / f"{kind}-{word}.zarr") for word in ("whole", "killed"))
        wall, *_ = measured(command(args, kind, store, whole, threshold, ules))
        kills = 0
        for attempt in range(20):
            process = start(command(args, kind, store, broken, threshold, ules))
            try:
                # from the first tasks to the last ones, and in the end not at all
                if (
                    process.wait(timeout=None if attempt == 6 else wall * (0.35 + 0.1 * attempt))
                    == 0
                ):
                    break
                raise SystemExit(f"{kind}: could not continue after {kills} kills")
            except subprocess.TimeoutExpired:
                family = [
                    psutil.Process(process.pid),
                    *psutil.Process(process.pid).children(recursive=True),
                ]
                for each in family:
                    try:
                        each.send_signal(signal.SIGKILL)
                    except psutil.Error:
                        continue
                process.wait()
                kills += 1
        one, other = files(whole), files(broken)
        differ = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
        print(
            f"{kind}: {kills} kills, {len(one)} files, {'all byte-equal' if not differ else f'DIFFERENT: {differ}'}",
            flush=True,
        )
        if differ or not kills:
            raise SystemExit(1)
        ules = whole


class Parts:
    """CPU time of some functions in all threads of this process; inner ones are not subtracted from outer ones."""

    def __init__(self, functions):
        self.seconds, self.calls = {}, {}
        for owner, name in functions:
            setattr(
                owner,
                name,
                self.timed(f"{owner.__name__.rpartition('.')[2]}.{name}", getattr(owner, name)),
            )

    def timed(self, label, function):
        self.seconds[label], self.calls[label] = 0.0, 0

        def call(*args, **more):
            began = time.thread_time()
            try:
                return function(*args, **more)
            finally:
                self.seconds[label] += time.thread_time() - began
                self.calls[label] += 1

        return call


def profile(args):
    """What dominates both passes, in one thread of one process."""
    import mgdask
    from mgdask.features import local_environment
    from mgdask.pipelines.dictionary import samples, screen, settle

    store, n = make_store(args.data, args.work, args.samples, args.noise), args.samples * 2000
    kind = mgdask.SOAP
    for threshold in args.thresholds:
        ules, fractions = (
            fresh(args.work / "profiled.zarr"),
            fresh(args.work / "profiled-fractions.zarr"),
        )
        for name in ("dictionary", "fractions"):
            places = [
                (kind, "describe"),
                (samples, "unit_rows"),
                (screen, "covered"),
                (screen.ScreenJob, "known"),
                (settle.Settling, "_settle"),
            ]
            if name == "fractions":
                places = [
                    (kind, "describe"),
                    (local_environment, "unit_rows"),
                    (local_environment, "nearest"),
                ]
            kept = [(owner, each, getattr(owner, each)) for owner, each in places]
            soap(args.rbf).prepare()
            parts, began = Parts(places), time.process_time()
            if name == "dictionary":
                mgdask.build_dictionary(
                    store,
                    soap(args.rbf),
                    threshold=threshold,
                    out=ules,
                    memory=args.memory,
                    progress=False,
                )
            else:
                feature = mgdask.LocalEnvironment(dictionary=str(ules), per="frame")
                mgdask.run(
                    mgdask.plan(store, [feature], out=fractions, memory=args.memory), progress=False
                )
            total = time.process_time() - began
            for owner, each, function in kept:
                setattr(owner, each, function)
            print(
                f"{threshold} {name}: {n_entries(ules)} entries, {total:.1f} CPU s, {1e6 * total / n:.1f} us/environment",
                flush=True,
            )
            for label, seconds in sorted(parts.seconds.items(), key=lambda item: -item[1]):
                print(
                    f"    {label:28}{seconds:8.2f} s{100 * seconds / total:6.1f} %{1e6 * seconds / n:8.2f} us/environment, {parts.calls[label]} calls"
                )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument(
        "--thresholds",
        type=lambda text: [float(word) for word in text.split(",")],
        default=[0.84, 0.88, 0.9],
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory", default="1GiB")
    parser.add_argument("--rbf", default="polynomial")
    parser.add_argument("--noise", type=float, default=0.01)
    parser.add_argument(
        "--base", type=int, default=12, help="samples of the small run, for extrapolation"
    )
    parser.add_argument(
        "--kill",
        type=int,
        default=24,
        help="samples of the comparison after kill -9; fractions have several blocks only with some hundred",
    )
    parser.add_argument("--only", choices=("kill", "scale"))
    parser.add_argument("--profile", action="store_true")
    for name in ("run", "store", "out", "dictionary"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    parser.add_argument("--threshold", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        one_pass(args)
        return
    args.work.mkdir(parents=True, exist_ok=True)
    if args.profile:
        profile(args)
        return
    if args.only != "scale":
        kill(args)
    if args.only != "kill":
        scale(args)


if __name__ == "__main__":
    main()
