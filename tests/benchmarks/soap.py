"""SOAP beside DScribe: microseconds per atom on one core, alternating in one process; first call; growth with threads, processes.

    OMP_NUM_THREADS=1 python tests/benchmarks/soap.py

r_cut=5 n_max=11 l_max=12 sigma=0.5, the shipped Zr-Cu glass (2000 atoms), medians of 5 rounds.
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
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np

import mgdask
from mgdask.readers.indexing import take_inventory
from mgdask.readers.window import read_window

OPTIONS = {"species": ("Cu", "Zr"), "r_cut": 5.0, "n_max": 11, "l_max": 12, "sigma": 0.5}
GLASS = Path(mgdask.__file__).parent / "datasets" / "data" / "zrcu.lammpstrj.gz"


def last_frame():
    inventory = take_inventory(GLASS, species={1: "Zr", 2: "Cu"})
    return list(read_window(inventory))[-1][1]["position"], inventory.cell[-1], inventory.species


def seconds(function, *arguments):
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began


def beside_dscribe(glass):
    some = np.arange(0, 2000, 20)
    print(f"{'':24}{'DScribe':>12}{'mgdask':>12}{'ratio':>8}   (us per atom)")
    for rbf in ("gto", "polynomial"):
        ours = mgdask.SOAP(**OPTIONS, rbf=rbf)
        theirs = mgdask.SOAP(**OPTIONS, rbf=rbf, engine="dscribe")
        single = mgdask.SOAP(**OPTIONS, rbf=rbf, dtype="float32")
        ours.compute(*glass, centers=some)
        rounds = []
        for _ in range(5):
            rounds.append(
                (
                    seconds(theirs.compute, *glass, some) / len(some),
                    seconds(ours.compute, *glass) / 2000,
                    seconds(single.compute, *glass) / 2000,
                )
            )
        peer, own, small = 1e6 * np.median(rounds, axis=0)
        ratio = np.median([a / b for a, b, _ in rounds])
        print(f"{rbf + ' float64':24}{peer:12.1f}{own:12.1f}{ratio:8.1f}")
        print(f"{rbf + ' float32':24}{'':12}{small:12.1f}{peer / small:8.1f}")


def first_calls():
    code = (
        "import time; b = time.perf_counter(); import mgdask, numpy as np; s = mgdask.SOAP(species=('Cu',), r_cut=5.0, n_max=11, l_max=12, "
        "sigma=0.5); i = time.perf_counter(); s.compute([[0., 0, 0]], np.eye(3) * 20, [29]); print(i - b, time.perf_counter() - i)"
    )
    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, "MGDASK_CACHE_DIR": cache}
        for name in ("nothing cached", "cached on this node"):
            out = subprocess.run(
                [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
            ).stdout
            load, call = map(float, out.split())
            print(f"fresh process, {name:20} import {load:5.2f} s, first call {call:5.2f} s")


def work(kind, glass, until):
    soap = mgdask.SOAP(**OPTIONS)
    a = np.random.default_rng(0).normal(size=(400, 400))
    soap.compute(*glass, centers=[0])
    while time.time() < until[0]:
        time.sleep(0.001)
    n = 0
    while time.time() < until[1]:
        if kind == "SOAP":
            soap.compute(*glass, centers=np.arange(200))
        else:
            for _ in range(4):
                a @ a
        n += 1
    return n


def growth(glass):
    cores = len(os.sched_getaffinity(0))
    counts = [n for n in (1, 2, 4) if n <= cores]
    print(f"{'throughput with':24}" + "".join(f"{n:>8}" for n in counts))
    for pool in (ThreadPoolExecutor, ProcessPoolExecutor):
        for kind in ("SOAP", "matrix product"):
            rates = []
            for n in counts:
                with pool(n) as workers:
                    begin = time.time() + (6 if pool is ProcessPoolExecutor else 0.5)
                    rates.append(
                        sum(workers.map(work, [kind] * n, [glass] * n, [(begin, begin + 2.0)] * n))
                    )
            name = f"{'threads' if pool is ThreadPoolExecutor else 'processes'}, {kind}"
            print(f"{name:24}" + "".join(f"{r / rates[0]:8.2f}" for r in rates))


if __name__ == "__main__":
    frame = last_frame()
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everywhere)})
    beside_dscribe(frame)
    os.sched_setaffinity(0, everywhere)
    first_calls()
    growth(frame)
