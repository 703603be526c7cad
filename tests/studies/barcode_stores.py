"""Stores of small samples whose energy is known: a sum of pair energies over close atoms."""

from __future__ import annotations

import numpy as np

import mgdask
from tests.conftest import write_dump

SIDE = 9.0
DEPTH = {(1, 1): 0.5, (1, 2): 0.9, (2, 2): 0.4}
"""Depth in eV of the well of each pair of types."""


def relaxed(rng, n, side):
    """Positions of ``n`` atoms without overlaps, by pushing close pairs apart."""
    position = rng.uniform(0, side, (n, 3))
    for _ in range(60):
        vector = position[:, None] - position
        vector -= side * np.rint(vector / side)
        distance = np.linalg.norm(vector, axis=-1) + np.eye(n) * 10
        push = np.clip(2.3 - distance, 0, None)[..., None] * vector / distance[..., None]
        position = (position + 0.3 * push.sum(axis=1)) % side
    return position


def pair_energy(position, kind, side):
    """Sum of smooth wells over pairs; zero beyond 4 Å."""
    vector = position[:, None] - position
    vector -= side * np.rint(vector / side)
    distance = np.linalg.norm(vector, axis=-1)
    total = 0.0
    for i in range(len(kind)):
        for j in range(i):
            if distance[i, j] < 4.0:
                well = (1 - (distance[i, j] / 4.0) ** 2) ** 2
                total -= DEPTH.get((min(kind[i], kind[j]), max(kind[i], kind[j])), 0.3) * well
    return total


def write_store(folder, name, *, n_frames=10, n=32, seed=0, energy=True, types=(1, 2), copies=1):
    """Store with one run of ``n_frames`` samples of ``n`` atoms, and their energies.

    With ``copies``, each sample is a row of that many equal boxes, and so is its energy.
    """
    rng = np.random.default_rng(seed)
    kind = np.resize(types, n)
    frames, energies = [], []
    for k in range(n_frames):
        position = relaxed(rng, n, SIDE)
        rows = [
            (c * n + i + 1, kind[i], position[i, 0] + c * SIDE, *position[i, 1:])
            for c in range(copies)
            for i in range(n)
        ]
        frames.append((k, rows))
        energies.append(copies * pair_energy(position, kind, SIDE))
    box = ((0, copies * SIDE), (0, SIDE), (0, SIDE))
    dump = write_dump(folder / f"{name}.dump", frames, box=box)
    species = {1: "Cu", 2: "Zr", 3: "Al"}
    mgdask.ingest(
        dump,
        folder / f"{name}.zarr",
        species={k: species[k] for k in sorted(set(types))},
        timestep=0.002,
        variables={"energy": np.array(energies)} if energy else None,
    )
    return folder / f"{name}.zarr"
