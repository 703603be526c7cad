"""Trajectories that MDAnalysis writes, and the numbers in them.

``python tests/readers/written.py`` writes tests/data/mda.h5md.gz and mda.ncdf.gz.
"""

from __future__ import annotations

import gzip
import tempfile
import warnings
from pathlib import Path

import numpy as np
from ase.geometry import cellpar_to_cell

N_ATOMS, N_FRAMES = 8, 3


def truth():
    """Return cells as lengths and angles, positions and velocities, all (frame, ...)."""
    rng = np.random.default_rng(20261130)
    cells = np.array([[10.0 + k, 11.0, 12.0, 90.0, 80.0, 70.0] for k in range(N_FRAMES)])
    fraction = rng.uniform(0, 1, (N_FRAMES, N_ATOMS, 3))
    vectors = np.stack([cellpar_to_cell(cell) for cell in cells])
    position = np.einsum("fak,fkj->faj", fraction, vectors).astype(np.float32)
    velocity = rng.normal(size=(N_FRAMES, N_ATOMS, 3)).astype(np.float32)
    return cells, position, velocity


def write(path, **units):
    """Write the trajectory with MDAnalysis; the format follows from the suffix."""
    import MDAnalysis

    cells, position, velocity = truth()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe = MDAnalysis.Universe.empty(N_ATOMS, trajectory=True, velocities=True)
        with MDAnalysis.Writer(str(path), n_atoms=N_ATOMS, velocities=True, **units) as writer:
            for k in range(N_FRAMES):
                step = universe.trajectory.ts
                step.frame, step.time, step.data["step"] = k, 0.5 * k, 100 * k
                step.dimensions = cells[k]
                universe.atoms.positions, universe.atoms.velocities = position[k], velocity[k]
                writer.write(universe.atoms)


H5MD_UNITS = {"timeunit": "ps", "lengthunit": "Angstrom", "velocityunit": "Angstrom/ps"}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for name, units in (("mda.h5md", H5MD_UNITS), ("mda.ncdf", {})):
            write(Path(folder) / name, **units)
            packed = gzip.compress((Path(folder) / name).read_bytes(), 9, mtime=0)
            (Path(__file__).parents[1] / "data" / f"{name}.gz").write_bytes(packed)
