"""A small triclinic trajectory with atoms outside its cell, and features of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

import mgdask
from tests.conftest import write_dump
from tests.plain_feature import PlainFeature

N_FRAMES = 5
IDS = np.array([3, 4, 9, 11, 12, 20, 21, 22, 30, 31, 40, 41, 57, 90])
BOX = ((-0.7, 5.9), (0.3, 6.2), (-1.1, 6.4))
TILT = (0.9, -1.3, 0.4)
LABELS = ("far", "soap Cu-Zr l=2 n=1,3", "x", "Far")


@dataclass(frozen=True)
class Awkward(PlainFeature):
    """Columns whose labels are no names of columns in a file."""

    family: ClassVar[str] = "awkward"
    long_name: ClassVar[str] = "numbers"
    labels = LABELS

    def describe(self, environments, centers, out):
        r = np.linalg.norm(environments.position[centers], axis=-1)
        out[...] = np.stack([r, r / 3, -r, 1e-17 * r], axis=-1)
        out[0, 0] = np.nan
        return {}


def make_trajectory(folder, *, tilt=TILT, flags="pp pp ff"):
    """Ingest a dump with unordered ids, images, velocities and masses of its own."""
    rng = np.random.default_rng(17)
    frames = []
    for k in range(N_FRAMES):
        rows = []
        for i in rng.permutation(len(IDS)):
            r = [float(v) for v in rng.uniform(-3, 9, 3)]
            n = [int(v) for v in rng.integers(-3, 4, 3)] if flags == "pp pp pp" else [1, -2, 0]
            mass = 91.224 if i % 2 else 65.0
            velocity = [float(v) for v in rng.normal(size=3)]
            rows.append((int(IDS[i]), 1 + int(i) % 2, mass, *r, *n, *velocity))
        frames.append((1000 * k + 7, rows))
    columns = "id type mass x y z ix iy iz vx vy vz"
    dump = write_dump(folder / "in.dump", frames, columns=columns, box=BOX, flags=flags, tilt=tilt)
    out = folder / "t.zarr"
    mgdask.ingest(dump, out, species={1: "Cu", 2: "Zr"}, timestep=0.002, temperature=300.0)
    return str(out)


def make_features(store, out, *, frames=None, centers=None):
    """Compute the awkward columns for some frames and atoms."""
    mgdask.run(
        mgdask.plan(store, [Awkward()], out=out, frames=frames, centers=centers), progress=False
    )
    return str(out)


def assert_same(first, second, names):
    """Compare arrays of two stores bit for bit."""
    a, b = mgdask.open_store(first), mgdask.open_store(second)
    for name in names:
        x, y = a[name].values, b[name].values
        assert x.dtype == y.dtype, name
        assert x.shape == y.shape, name
        assert x.tobytes() == y.tobytes(), name
