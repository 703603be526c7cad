"""Stores of small isothermal runs whose motion is known: vibration in a cage, and diffusion that follows the temperature."""

from __future__ import annotations

import numpy as np

import mgdask
from tests.conftest import write_dump
from tests.studies.barcode_stores import relaxed

LAGS = (0.1, 1.0, 5.0, 20.0)
TIMESTEP = 0.001
SIDE = 10.4
N_ATOMS = 60
MASS = {1: 63.546, 2: 91.224, 3: 58.693}
SPECIES = {1: "Cu", 2: "Zr", 3: "Ni"}


def motion(kelvin, kind, seed, times, hot=0):
    """Positions (frame, atom, 3); the first ``hot`` atoms move as at 2000 K."""
    rng = np.random.default_rng(seed)
    n = len(kind)
    own = np.full(n, float(kelvin))
    own[:hot] = 2000.0
    mass = np.array([MASS[k] for k in kind])
    cage = 0.03 * np.sqrt(own / mass)
    diffusion = 0.5 * np.exp(-3000.0 / own)
    steps = np.diff(np.concatenate([[0.0], times]))
    walk = rng.normal(size=(len(times), n, 3)) * np.sqrt(steps)[:, None, None]
    walk = np.cumsum(walk * np.sqrt(2.0 * diffusion)[:, None], axis=0)
    start = relaxed(np.random.default_rng(1), n, SIDE)
    return start + walk + rng.normal(size=walk.shape) * cage[:, None]


def write_run(folder, name, kelvin, *, seed=0, n=N_ATOMS, types=(1, 2), lags=LAGS, hot=0):
    """LAMMPS dump of one run, and its positions (frame, atom, 3)."""
    kind = np.resize(types, n)
    times = np.array([0.0, *lags])
    position = motion(kelvin, kind, seed, times, hot)
    frames = [
        (round(t / TIMESTEP), [(i + 1, kind[i], *map(repr, map(float, r[i]))) for i in range(n)])
        for t, r in zip(times, position, strict=True)
    ]
    box = ((0, SIDE),) * 3
    return write_dump(folder / f"{name}.dump", frames, "id type xu yu zu", box), position


def write_store(folder, name, kelvin, *, temperature="own", species=None, **options):
    """Store of one run; ``temperature=None`` gives it no temperature."""
    dump, _ = write_run(folder, name, kelvin, **options)
    types = sorted(set(options.get("types", (1, 2))))
    mgdask.ingest(
        dump,
        folder / f"{name}.zarr",
        species=species or {k: SPECIES[k] for k in types},
        timestep=TIMESTEP,
        temperature=float(kelvin) if temperature == "own" else temperature,
        run=f"{kelvin}K",
    )
    return folder / f"{name}.zarr"
