"""What tests of studies start from: halves of a deformed slab, and scores learned on one. Text of figures may not overlap."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

import mgdask
from mgdask.studies.softness.data import prepare_glass
from mgdask.studies.softness.report import FIGURES
from mgdask.studies.softness.training import learn_softness
from tests.plot.boxes_of_text import overlapping
from tests.studies.test_softness_data import SLAB

PNG = b"\x89PNG\r\n\x1a\n"
"""Beginning of a PNG file."""
# few atoms, so small leaves
SETTINGS = {
    "n_undersamples": 2,
    "num_boost_round": 40,
    "n_resamples": 200,
    "params": {"min_data_in_leaf": 3},
    "folds": 3,
    "n_features": 6,
    "progress": False,
}
PLAIN = {**SETTINGS, "n_features": None, "folds": 0}


def halves(folder):
    """The slab cut at x = 26 Å into two stores."""
    with gzip.open(SLAB, "rt") as stream:
        lines = stream.read().splitlines()
    n = int(lines[3])
    frames = [lines[k : k + 9 + n] for k in range(0, len(lines), 9 + n)]
    left = np.array([float(line.split()[2]) < 26.0 for line in frames[0][9:]])
    stores = []
    for name, mask in (("left", left), ("right", ~left)):
        text = []
        for frame in frames:
            head = frame[:9]
            head[3], head[4], head[5] = str(int(mask.sum())), "ITEM: BOX BOUNDS ff ff pp", "-60 120"
            text += [*head, *(line for line, wanted in zip(frame[9:], mask, strict=True) if wanted)]
        (folder / f"{name}.dump").write_text("\n".join(text) + "\n")
        mgdask.ingest(
            str(folder / f"{name}.dump"),
            folder / f"{name}.zarr",
            species=("Cu", "Zr"),
            timestep=0.002,
        )
        stores.append(folder / f"{name}.zarr")
    return stores


@pytest.fixture(scope="session")
def half_stores(tmp_path_factory):
    """Stores of both halves, with their dumps beside them. Tests leave them as they are."""
    return halves(tmp_path_factory.mktemp("halves"))


@pytest.fixture(scope="session")
def half_glasses(half_stores, tmp_path_factory):
    """Both halves with labels and features."""
    out = tmp_path_factory.mktemp("half-features")
    return [prepare_glass(store, out, margin=4.0, progress=False) for store in half_stores]


@pytest.fixture(scope="session")
def half_softness(half_glasses):
    """Scores of the right half by models of the left one."""
    return learn_softness(half_glasses[:1], half_glasses[1], **SETTINGS)


@pytest.fixture
def quick_figures(monkeypatch):
    """Draw only the calibration; ``test_softness_report`` draws the others."""
    for name in FIGURES:
        if name != "calibration.png":
            monkeypatch.setitem(FIGURES, name, lambda _, path: path.write_bytes(PNG))


@pytest.fixture(scope="session", autouse=True)
def figures_without_overlaps():
    """Refuse to save a figure in which text lies over another; one of each name is looked at."""
    from matplotlib.figure import Figure

    save, seen = Figure.savefig, set()

    def save_and_check(fig, path, **options):
        save(fig, path, **options)
        if isinstance(path, str | Path) and Path(path).name not in seen:
            seen.add(Path(path).name)
            assert overlapping(fig) == [], path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save_and_check)
        yield
