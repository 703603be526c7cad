"""Temperature study of 20 temperatures x 50 000 atoms, from stores to the report: time and memory of each stage.

OMP_NUM_THREADS=1 nice python tests/benchmarks/temperature_scale.py --work /tmp/temperature
    [--atoms 50000] [--temperatures 20] [--workers 2] [--memory 1GiB] [--only rows|lags|study|kill]

Atoms of five elements vibrate in cages and hop. Vibration is a sum of harmonic modes with kT/2 of energy in each
direction, so that r² is quadratic in time, then constant and proportional to T. Hops are a Poisson process whose rate
has an activation energy of its own for each atom. "rows" compares the rows with those of real runs, if --real names
a folder of stores 100.zarr, 500.zarr ... Stores are made from H5MD files, the fastest format to write and to ingest, and
are no part of what is measured. "lags" measures the lag features, "study" every stage of the study. Each is a process
of its own with its workers. CPU time is that of all of them, memory the highest sum of their resident memory, sampled
ten times a second (pages that they share count once per process). "kill" kills all processes of the study with -9 in
every stage, finishes it with another number of workers, and compares all files with those of an undisturbed study.
Goal: from stores to the report on 2 cores within 4 GiB.
"""

from __future__ import annotations

import argparse
import hashlib
import json
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

ELEMENTS = {"Cu": 63.546, "Zr": 91.224, "Ni": 58.693, "Ti": 47.867, "Pd": 106.42}
VOLUME = 17.32  # Å³ per atom, as the shared glasses at 2000 K
KELVIN = 8.617333e-5  # eV
EV_PER_U = 9648.533  # Å²/ps²
FREQUENCIES = (6.0, 38.0)  # rad/ps
BARRIER, SPREAD, ATTEMPTS, HOP = 0.55, 0.07, 66.0, 0.58  # eV, eV, 1/ps, Å per direction
JOURNALS = ("blocks.jsonl", "lock", "progress")
"""Beginnings of names of files with records in the order of finishing, times or process numbers."""


def frame_times():
    """First frame, the 41 lags of the paper, and every 5 ps: 74 times in ps."""
    from mgdask.features.lag import LIU_2022

    return np.array(sorted({0.0, *LIU_2022, *(5.0 * k for k in range(41))}))


def lattice(n_atoms, rng):
    """Sites of a slightly disordered bcc crystal, and its box."""
    n = n_atoms // 2
    nx = next(k for k in range(round(n ** (1 / 3)), 0, -1) if n % k == 0)
    ny = next(k for k in range(round((n // nx) ** 0.5), 0, -1) if n // nx % k == 0)
    counts = np.array([nx, ny, n // nx // ny])
    cells = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), axis=-1).reshape(-1, 3)
    side = (2 * VOLUME) ** (1 / 3)
    sites = side * np.concatenate([cells + 0.25, cells + 0.75])
    return sites + rng.normal(0, 0.1, sites.shape), side * counts


def motion(n_atoms, kelvin, seed, times, elongation=0.0):
    """Unwrapped positions (frame, atom, xyz), boxes (frame, xyz) and element indices (atom,)."""
    rng = np.random.default_rng([11, seed])
    sites, box = lattice(n_atoms, rng)
    kind = rng.permutation(np.arange(len(sites)) % len(ELEMENTS))
    mass = np.array(list(ELEMENTS.values()))[kind][:, None]
    position = np.empty((len(times), *sites.shape))
    hopped = np.zeros_like(sites)
    rate = ATTEMPTS * np.exp(-rng.normal(BARRIER, SPREAD, len(sites)) / (KELVIN * kelvin))
    for k, step in enumerate(np.diff(times, prepend=0.0)):
        jumps = np.sqrt(rng.poisson(rate * step))[:, None]
        hopped = hopped + HOP * jumps * rng.normal(size=sites.shape)
        position[k] = sites + hopped
    n_modes = 6
    for _ in range(n_modes):
        omega = rng.uniform(*FREQUENCIES, sites.shape)
        size = np.sqrt(KELVIN * kelvin * EV_PER_U / mass / n_modes) / omega
        a, b = size * rng.normal(size=(2, *sites.shape))
        for k, t in enumerate(times):
            position[k] += a * np.cos(omega * t) + b * np.sin(omega * t)
    stretch = 1 + elongation * (times / times[-1])[:, None] * np.array([-0.35, -0.35, 1.0])
    return position * stretch[:, None], box * stretch, kind


def make_store(folder, name, n_atoms, kelvin, seed, elongation=0.0):
    """One store through an H5MD file and ``mgdask.ingest``. Not part of what is measured."""
    import h5py

    import mgdask

    path = folder / f"{name}.zarr"
    if path.exists():
        return path
    times = frame_times()
    position, box, kind = motion(n_atoms, kelvin, seed, times, elongation)
    image = np.floor(position / box[:, None])
    position -= image * box[:, None]
    steps = np.rint(times * 1000).astype(np.int64)
    symbols = list(ELEMENTS)
    source = folder / f"{name}.h5"
    with h5py.File(source, "w") as out:
        out.create_group("h5md").attrs["version"] = [1, 1]
        group = out.create_group("particles/all")
        for label, values, unit in (
            ("position", position, "Angstrom"),
            ("image", image.astype(np.int32), None),
            ("box/edges", box, "Angstrom"),
        ):
            element = group.create_group(label)
            element["value"], element["step"] = values, steps
            element["time"] = times
            element["time"].attrs["unit"] = "ps"
            if unit:
                element["value"].attrs["unit"] = unit
        group["box"].attrs["dimension"] = 3
        group["box"].attrs["boundary"] = ["periodic"] * 3
        codes = h5py.enum_dtype({s: k for k, s in enumerate(symbols)}, basetype="i4")
        group.create_dataset("species", data=kind.astype(np.int32), dtype=codes)
        group["id"] = np.arange(1, len(kind) + 1)
    mgdask.ingest(str(source), path, temperature=kelvin, run=name)
    source.unlink()
    return path


def kelvins(args):
    return [round(2000 * (k + 1) / args.temperatures) for k in range(args.temperatures)]


def make_stores(args):
    """Stores to train on, and a deformed one to apply the model to."""
    folder = args.work / f"stores-{args.atoms}"
    folder.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    train = [make_store(folder, str(k), args.atoms, k, k) for k in kelvins(args)]
    creep = make_store(folder, "creep", args.atoms, 300.0, 3, elongation=0.02)
    print(f"stores: {time.process_time() - began:.0f} CPU s", flush=True)
    return train, creep


def cpu_of_family(pid):
    """CPU seconds of a process and its descendants, those that have ended included."""
    total = 0.0
    parent = psutil.Process(pid)
    for process in [parent, *parent.children(recursive=True)]:
        try:
            used = process.cpu_times()
        except psutil.Error:
            continue
        total += used.user + used.system + used.children_user + used.children_system
    return total


class Stages:
    """Prints a line when a stage of the study in this process ends: wall, CPU and memory of all processes."""

    def __init__(self):
        from mgdask.studies.stages import StageRunner

        inner, outer = StageRunner.__call__, self
        self.memory = Memory(os.getpid(), 0.1)

        def call(runner, name, *args, **more):
            began, cpu = time.perf_counter(), cpu_of_family(os.getpid())
            outer.memory.highest = outer.memory.largest = 0
            try:
                return inner(runner, name, *args, **more)
            finally:
                outer.line(name, time.perf_counter() - began, cpu_of_family(os.getpid()) - cpu)

        StageRunner.__call__ = call

    def line(self, name, wall, cpu):
        print(
            f"  {name:28}{wall:9.1f} s{cpu:9.1f} CPU s{self.memory.highest / 2**30:8.2f} GiB in all"
            f"{self.memory.largest / 2**30:8.2f} GiB largest",
            flush=True,
        )


def one_pass(args):
    """Run the lag features or the study in this process; called as a subprocess."""
    from mgdask.cluster import local_client

    stores = [Path(word) for word in args.stores.split(",")]
    stages = Stages()
    began = time.perf_counter()
    with local_client(args.workers, memory=args.memory) as client:
        stages.line("start of the workers", time.perf_counter() - began, cpu_of_family(os.getpid()))
        if args.run == "lags":
            from mgdask.studies.temperature.prepare import compute_lags

            began, cpu = time.perf_counter(), cpu_of_family(os.getpid())
            compute_lags(stores, args.out, memory=args.memory, client=client, progress=False)
            stages.line("lags", time.perf_counter() - began, cpu_of_family(os.getpid()) - cpu)
        else:
            from mgdask.studies.temperature import TemperatureOptions, TemperatureStudy

            more = json.loads(args.options) if args.options else {}
            options = TemperatureOptions(
                train=stores[:-1],
                apply=stores[-1:],
                control=[stores[0].with_name("300.zarr")] if args.temperatures == 20 else [],
                out=args.out,
                memory=args.memory,
                **more,
            )
            study = TemperatureStudy(options)
            found = study.run(client=client, progress=False)
            print(found.summary, flush=True)


def command(args, kind, stores, out, workers=None, memory=None):
    line = [sys.executable, __file__, "--run", kind, "--stores", ",".join(map(str, stores)), "--out", out, "--workers",
            workers or args.workers, "--memory", memory or args.memory, "--work", args.work, "--temperatures",
            args.temperatures, "--options", args.options or ""]  # fmt: skip
    return [str(word) for word in line]


def start(line, **more):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.Popen(line, start_new_session=True, env=environment, **more)


def measured(line):
    """Wall and CPU seconds, memory of all processes and of the largest."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    process = start(line)
    memory = Memory(process.pid, 0.1)
    if process.wait():
        raise SystemExit(f"failed: {' '.join(line)}")
    memory.stop()
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"  {'in all':28}{wall:9.1f} s{cpu:9.1f} CPU s{memory.highest / 2**30:8.2f} GiB in all"
        f"{memory.largest / 2**30:8.2f} GiB largest",
        flush=True,
    )
    return wall


def fresh(path):
    if path.exists():
        shutil.rmtree(path)
    return path


def rows(args):
    """Percentiles of lg[r² m] of made-up and of real runs."""
    from mgdask.features import LagDisplacement

    lags, shown = (0.01, 0.1, 0.5, 5.0, 50.0, 200.0), (5, 50, 95)
    feature, times = LagDisplacement(lags=lags, scaling="logarithmic_mass"), frame_times()
    print("lags " + "  ".join(f"{lag:>18g}" for lag in lags))
    for kelvin in (100, 500, 1000, 1200, 1300, 2000):
        position, _, kind = motion(args.atoms, kelvin, kelvin, times)
        mass = np.array(list(ELEMENTS.values()))[kind]
        table = {"made up": feature.compute(position, times, mass)[0]}
        if args.real and (args.real / f"{kelvin}.zarr").exists():
            import mgdask

            with mgdask.open_store(args.real / f"{kelvin}.zarr") as store:
                real = store.position.values + np.einsum("fai,fij->faj", store.image.values.astype(float), store.cell.values)  # fmt: skip
                table["real"] = feature.compute(real, store.time.values, store.mass.values)[0]
        for name, values in table.items():
            at = np.percentile(values, shown, axis=0).T
            print(f"{kelvin:5} K {name:8}" + "  ".join("".join(f"{v:6.2f}" for v in one) for one in at))  # fmt: skip


def files(folder):
    """Digest of every file of a folder by name, but of journals and of times."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        timed = {"progress", "manifest"} & set(path.parts) or path.name == "results.json"
        if path.is_file() and not timed and not path.name.lstrip(".").startswith(JOURNALS):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def kill(args, stores):
    """Kill all processes of the study a few times in every stage, finish it, and compare with an undisturbed one."""
    whole, broken = (fresh(args.work / f"study-{word}") for word in ("whole", "killed"))
    wall = measured(command(args, "study", stores, whole))
    kills = 0
    for attempt in range(40):
        other = command(args, "study", stores, broken, workers=1 + attempt % 2, memory=("1GiB", "1500MiB")[attempt % 2])  # fmt: skip
        process = start(other, stdout=subprocess.DEVNULL)
        try:
            # a new place each time; in the end not at all
            patience = None if attempt == args.kills else wall * (0.1 + 0.13 * attempt)
            if process.wait(timeout=patience) == 0:
                break
            raise SystemExit(f"could not continue after {kills} kills")
        except subprocess.TimeoutExpired:
            family = [psutil.Process(process.pid)]
            family += family[0].children(recursive=True)
            for each in family:
                try:
                    each.send_signal(signal.SIGKILL)
                except psutil.Error:
                    continue
            process.wait()
            kills += 1
    one, other = files(whole), files(broken)
    differ = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    verdict = "all byte-equal" if not differ else f"DIFFERENT: {differ}"
    print(f"{kills} kills, {len(one)} files, {verdict}", flush=True)
    if differ or not kills:
        raise SystemExit(1)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--real", type=Path, help="folder of stores to compare rows with")
    parser.add_argument("--atoms", type=int, default=50_000)
    parser.add_argument("--temperatures", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory", default="1GiB")
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--options", help="more options of the study, as JSON")
    parser.add_argument("--only", choices=("rows", "stores", "lags", "study", "kill"))
    parser.add_argument("--run", choices=("lags", "study"), help=argparse.SUPPRESS)
    parser.add_argument("--stores", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        one_pass(args)
        return
    if args.only in (None, "rows"):
        rows(args)
    if args.only == "rows":
        return
    train, creep = make_stores(args)
    size = (
        f"{len(train)} temperatures x {args.atoms} atoms, {args.workers} workers of {args.memory}"
    )
    if args.only in (None, "lags"):
        print(f"lag features: {size}", flush=True)
        measured(command(args, "lags", train, fresh(args.work / "lags")))
    if args.only in (None, "study"):
        print(f"study: {size}", flush=True)
        measured(command(args, "study", [*train, creep], fresh(args.work / "study")))
    if args.only == "kill":
        kill(args, [*train, creep])


if __name__ == "__main__":
    main()
