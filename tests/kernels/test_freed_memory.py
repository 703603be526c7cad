"""No kernel that takes addresses reads memory that was freed, or that was never written."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np

import mgdask
from mgdask.kernels import similarity
from mgdask.kernels.nearest import covered, make_index, nearest, squared_distances, unit_rows
from tests.kernels import test_displacement_kernels as displacement


def computed():
    """Results of every kernel that uses ``simd.address``, as bytes by name."""
    rng = np.random.default_rng(5)
    unit = unit_rows(rng.normal(size=(40, 131)))
    index = make_index(unit[:17])
    found, best = nearest(index, unit)
    results = {
        "unit": unit,
        "found": found,
        "best": best,
        "near": covered(index, unit, 1.8),
        "pairs": squared_distances(unit, unit[:17]),
        "products": np.empty((40, 17)),
        "weights": np.zeros(17),
    }
    similarity.products(unit, unit[:17], results["products"])
    group, taken = np.zeros(40, dtype=np.int64), np.ones(40, dtype=bool)
    similarity.add_weights(
        unit, taken, group, unit[:17], group[:17], False, 3, True, results["weights"]
    )
    # a perturbed lattice in a box of 15 Å
    side = np.arange(5) * 3.0
    position = np.stack(np.meshgrid(side, side, side, indexing="ij"), axis=-1).reshape(-1, 3)
    position = position + rng.normal(0, 0.2, position.shape)
    numbers, cell = np.resize([29, 40], len(position)), np.eye(3) * 15.0
    features = (
        mgdask.SOAP(("Cu", "Zr"), r_cut=4.0, n_max=3, l_max=2, sigma=0.5),
        mgdask.SymmetryFunctions(species=("Cu", "Zr")),
        mgdask.Interstice(),
        mgdask.Coordination(),
    )
    for feature in features:
        results[feature.name] = feature.compute(position, cell, numbers)
    path = displacement.walk(19, 100)
    slot = np.resize([0, 1, -1], 19).astype(np.int64)
    for kind, runs in (
        ("even", displacement.even(100, displacement.LAGS)),
        ("uneven", displacement.uneven(displacement.UNEVEN)),
    ):
        results[f"moments {kind}"] = displacement.run_moments(path, runs, slot, 2)
        results[f"scattering {kind}"] = displacement.run_scattering(path, runs, slot, 2)
        results[f"van hove {kind}"] = displacement.run_van_hove(path, runs, slot, 2, 0.1, 30)
        results[f"per atom {kind}"] = displacement.run_per_atom(path, runs)
    origin, later = np.arange(5), np.arange(5)[:, None] + np.array([1, 9, 40])
    results["overlap"] = displacement.run_overlap(path, origin, later, slot, 2, 1.0)
    return {name: np.ascontiguousarray(value).tobytes() for name, value in results.items()}


ROOT = Path(__file__).parents[2]
SCRIPT = f"""
import pickle, sys
sys.path.insert(0, {str(ROOT)!r})  # not there by itself if another test has set PYTHONSAFEPATH
from tests.kernels.test_freed_memory import computed
pickle.dump(computed(), sys.stdout.buffer)
"""


def test_freed_memory_is_not_read():
    # glibc overwrites freed memory here. An array that numba frees too early would show;
    # without this, only another thread that gets the memory makes a difference. New
    # memory is filled, too, so that nothing is read before it is written.
    environment = os.environ | {
        "MALLOC_PERTURB_": "255",
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
    }
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    there, here = pickle.loads(done.stdout), computed()
    assert [name for name in here if here[name] != there[name]] == []
    norms = (np.frombuffer(here["unit"]).reshape(40, 131) ** 2).sum(axis=1)
    np.testing.assert_allclose(norms, 1.0, rtol=1e-14)
