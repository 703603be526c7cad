"""What a store holds, in words: composition, cell, density, runs, times, columns."""

from __future__ import annotations

import numpy as np
import pytest

import mgdask
from mgdask.pipelines.ingest import IngestReport
from mgdask.report.text import describe
from mgdask.store.attributes import decode
from mgdask.store.summary import composition, size_text, summarize, summarize_store
from tests.conftest import GLASS, write_dump

CUBE = np.eye(3)[None] * 20.0


def test_composition_counts_and_per_cents():
    assert composition(np.repeat([40, 29], [700, 1300])) == "Cu 1300 (65 %), Zr 700 (35 %)"
    assert composition(np.repeat([29, 40], [2, 1])) == "Cu 2 (66.7 %), Zr 1 (33.3 %)"
    assert composition(np.repeat([29, 8], [999_950, 50])) == "O 50 (0.005 %), Cu 999950 (100 %)"


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (237_980, "238 kB"), (4.2e12, "4.2 TB")],
)
def test_sizes_have_a_fitting_unit(n_bytes, text):
    assert size_text(n_bytes) == text


def test_cells_in_words():
    def cell(cells, pbc=(True, True, True)):
        return dict(summarize({"cell": np.asarray(cells), "pbc": np.array(pbc)}, {}))["cell"]

    assert cell(CUBE) == "orthogonal, constant: 20 x 20 x 20 Å, periodic along x y z"
    grown = np.concatenate([CUBE, CUBE * [1.0, 1.0, 1.1]])
    assert cell(grown, (True, True, False)) == (
        "orthogonal, changing: 20 x 20 x (20 to 22) Å, periodic along x y, open along z"
    )
    # 60° between the first two vectors, of equal length
    tilted = CUBE.copy()
    tilted[0, 1] = [10.0, np.sqrt(300.0), 0.0]
    assert "triclinic, constant: 20 x 20 x 20 Å, angles 90, 90, 60°" in cell(tilted)


def test_density_of_copper():
    """fcc copper: a = 3.615 Å, 8.93 g/cm³."""
    rows = dict(summarize({"cell": np.eye(3)[None] * 3.615, "mass": np.full(4, 63.546)}, {}))
    assert rows["density"] == "8.93 g/cm³, 11.81 Å³ per atom"
    reduced = summarize({"cell": CUBE, "mass": np.ones(4)}, {"units_of_input": "lj"})
    assert [label for label, _ in reduced] == ["cell"]
    assert "20 x 20 x 20 σ" in dict(reduced)["cell"]


def test_times_of_runs():
    step = np.array([0, 100, 200])
    one = {"run": ["a"] * 3, "step": step, "time": step * 0.002}
    assert dict(summarize(one, {}))["time"] == "0 to 0.4 ps, every 0.2 ps; 0.002 ps per step"
    two = {name: np.concatenate([values, values]) for name, values in one.items()}
    two["run"] = np.array(["a"] * 3 + ["b"] * 3)
    rows = dict(summarize(two, {}))
    assert rows["runs"] == "2 of 3 frames each: a, b"
    assert rows["time"].startswith("in each run 0 to 0.4 ps, every 0.2 ps")
    two["step"] = np.array([0, 100, 200, 0, 10, 200])
    del two["time"]
    rows = dict(summarize(two, {}))
    assert rows["step"] == "a: 0 to 200, every 100; b: 0 to 200, uneven spacing of 10 to 190"
    assert "unknown" in rows["time"]
    assert "--timestep" in rows["time"]


def test_ingest_and_inspect_show_the_same(tmp_path):
    """Also which columns are kept with which unit, and which are left out and why."""
    rows = [[i + 1, 1 + i % 2, 3.0 * i, 0.0, 0.0, 3.0 * i, 0, 0, 0.5, 7.0] for i in range(3)]
    name = write_dump(tmp_path / "a.dump", [(0, rows)], "id type x y z xu yu zu vx c_pe")
    out = tmp_path / "a.zarr"
    report = mgdask.ingest(name, out, species=("Cu", "Zr"), timestep=0.002, columns=["vx"])
    summary = dict(report.summary)
    assert summary["species"] == "Cu 2 (66.7 %), Zr 1 (33.3 %)"
    assert summary["columns"] == "position (Å) from xu yu zu; species from type; vx (Å/ps)"
    assert summary["left out"] == "x y z (duplicate xu yu zu); c_pe (not in columns=)"
    text = " ".join(describe(mgdask.open_store(out), width=400).split())
    for label, words in report.summary:
        assert f"{label} {words}" in text
        assert words in str(report)
    assert list(report.summary) == summarize_store(str(out))


def test_swapped_species_are_in_the_report_and_in_the_store(tmp_path):
    report = mgdask.ingest(GLASS, tmp_path / "a.zarr", species=("Cu", "Zr"), frames="-1:")
    assert dict(report.summary)["species"] == "Cu 880 (44 %), Zr 1120 (56 %)"
    assert "--species Zr,Cu better" in report.notes[0]
    ds = mgdask.open_store(tmp_path / "a.zarr")
    assert report.notes[0] in decode(ds.attrs, "audit")
    assert "--species Zr,Cu better" in describe(ds)


def test_a_rate_only_for_what_takes_time():
    def text(seconds, n_bytes, n_written=1):
        return str(IngestReport("a", 1, 1, 1, n_written, seconds, n_bytes, ()))

    assert "in 0.2 s\n" in text(0.2, 10**9)
    assert "in 5.0 s\n" in text(5.0, 240_000)
    assert "in 4.0 s (2 GB of input, 500 MB per second)" in text(4.0, 2 * 10**9)
    assert "of input" not in text(4.0, 2 * 10**9, n_written=0)
