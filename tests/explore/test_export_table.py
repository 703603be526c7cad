"""Tables with one row per atom and frame: their values, labels, partitions and cost."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
import xarray as xr

import mgdask
from mgdask.errors import ParameterError
from mgdask.explore import export, to_dataframe, to_table
from mgdask.explore.exporting import cutting, planning
from mgdask.explore.exporting.targets import format_of
from tests import forked
from tests.explore.exported import IDS, LABELS, N_FRAMES, make_features, make_trajectory
from tests.explore.test_export import KILLED


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two runs, one of which has a label that is no name of a folder."""
    folder = tmp_path_factory.mktemp("runs")
    make_trajectory(folder)
    out = folder / "two.zarr"
    copy = shutil.copy(folder / "in.dump", folder / "copy.dump")
    mgdask.ingest(
        [folder / "in.dump", copy], out, species={1: "Cu", 2: "Zr"},
        run=["300 K/fast", "007"], temperature=[300.0, 500.0],
    )  # fmt: skip
    return str(out)


@pytest.fixture(scope="module")
def features(store, tmp_path_factory):
    return make_features(store, tmp_path_factory.mktemp("features") / "f.zarr")


def plain_rows(store, features):
    """The table by xarray and pandas: one DataFrame per variable, then a join."""
    ds = mgdask.open_store(store)[["position"]].reset_coords(drop=True)
    f = mgdask.open_store(features).awkward.reset_coords(drop=True)
    wide = ds.position.to_dataframe().position.unstack("xyz")
    columns = f.to_dataframe().awkward.unstack(f.dims[2])
    return wide[["x", "y", "z"]], columns[list(LABELS)]


def check(table, store, features):
    position, columns = plain_rows(store, features)
    ds = mgdask.open_store(store)
    assert np.array_equal(table[["x", "y", "z"]], position)
    assert np.array_equal(table[["far", LABELS[1], "awkward: x", "Far"]], columns, equal_nan=True)
    n_atoms = len(IDS)
    assert table.atom_id.tolist() == IDS.tolist() * (2 * N_FRAMES)
    assert table.frame.tolist() == np.repeat(np.arange(2 * N_FRAMES), n_atoms).tolist()
    assert table.step.tolist() == np.repeat(ds.step.values, n_atoms).tolist()
    assert table.temperature.tolist() == np.repeat(ds.temperature.values, n_atoms).tolist()
    assert table.element.astype(str).tolist() == ["Cu", "Zr"] * (len(table) // 2)
    assert table.run.astype(str).tolist() == [str(run) for run in ds.run.values for _ in IDS]


@pytest.mark.parametrize("rows", [5, 30, 10**6])
def test_parquet_files_of_runs(store, features, tmp_path, monkeypatch, rows):
    monkeypatch.setattr(planning, "table_cut", lambda n, _: cutting.Cut(n, rows))
    out = tmp_path / "a.parquet"
    report = export(store, out, features=[features], progress=False)
    assert {path.name for path in out.iterdir()} == {"run=300%20K%2Ffast", "run=007"}
    assert max(pq.read_metadata(path).num_rows for path in report.files) <= max(rows, 14)
    partitions = pyarrow.dataset.partitioning(
        pyarrow.schema([("run", pyarrow.string())]), flavor="hive"
    )
    table = pyarrow.dataset.dataset(out, partitioning=partitions).to_table()
    table = table.sort_by([("frame", "ascending"), ("atom_id", "ascending")])
    check(table.to_pandas(), store, features)
    told = json.loads(pq.read_schema(report.files[0]).metadata[b"mgdask"])["columns"]
    assert told["soap Cu-Zr l=2 n=1,3"]["variable"] == "awkward"
    assert pq.read_schema(report.files[0]).field("x").metadata == {b"units": "Å".encode()}
    # a reader takes one run, and the columns that it wants
    fast = pd.read_parquet(out, columns=["far"], filters=[("temperature", "==", 500.0)])
    assert len(fast) == N_FRAMES * len(IDS)


def test_tables_in_memory(store, features):
    table = to_table(store, features=[features])
    check(table.to_pandas(), store, features)
    assert (
        table.schema.field("time").metadata is None
        or b"units" in table.schema.field("time").metadata
    )
    ds, f = mgdask.open_store(store), mgdask.open_store(features)
    frame = to_dataframe(ds.isel(frame=[6, 2]), features=[f.isel(frame=[6, 2])], columns=["far"])
    assert frame.frame.unique().tolist() == [6, 2]
    want = f.awkward.isel(frame=[6, 2], awkward_feature=0).values.ravel()
    assert np.array_equal(frame.far, want, equal_nan=True)
    own = f.awkward.sel(awkward_feature=["x"]).isel(frame=3).mg.to_dataframe()
    assert own.columns[-1] == "awkward: x"
    assert len(own) == len(IDS)
    assert ds.mg.to_table(frames=[1], atoms=["Cu"]).num_rows == 7


def test_a_million_atoms_are_a_table_at_once():
    """By columns, where xarray makes eight million rows."""
    rng = np.random.default_rng(1)
    n = 1_000_000
    values = rng.random((1, n, 8))
    ds = xr.Dataset(
        {"f": (("frame", "atom", "f_feature"), values)},
        {
            "f_feature": [f"c{k}" for k in range(8)],
            "atom_id": ("atom", np.arange(n)),
            "species": ("atom", np.where(np.arange(n) % 3, 29, 40)),
        },
    )
    to_dataframe(ds.isel(atom=slice(0, 10)))  # imports
    began = time.process_time()
    table = to_dataframe(ds)
    assert time.process_time() - began < 1.0  # about 0.15 s
    assert np.array_equal(table[[f"c{k}" for k in range(8)]], values[0])
    assert table.element.value_counts()["Zr"] == 333_334


@pytest.mark.parametrize(
    ("place", "name", "last"), [("tasks", "write_rows", 4), ("run", "flush_folder", 0)]
)
def test_a_killed_table_goes_on(store, tmp_path, monkeypatch, place, name, last):
    ended = forked.run(KILLED, place, name, last, store, tmp_path / "a.parquet")
    assert ended.returncode == -9, ended.stderr
    monkeypatch.setattr(planning, "table_cut", lambda n, _: cutting.Cut(n, 5))
    report = export(store, tmp_path / "a.parquet", progress=False)
    assert report.n_written < report.n_parts == 6 * N_FRAMES
    export(mgdask.open_store(store), tmp_path / "b.parquet")
    assert len(report.files) == 6 * N_FRAMES
    for path in report.files:
        whole = path.replace("a.parquet", "b.parquet")
        assert open(path, "rb").read() == open(whole, "rb").read()
    assert {path.name for path in tmp_path.iterdir()} == {"a.parquet", "b.parquet"}


def test_the_page_prints_what_it_shows(tmp_path):
    page = Path(__file__).parents[2] / "notebooks" / "howto" / "export.md"
    if not page.exists():
        pytest.skip("the manual is in the source checkout only")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    code = "\n".join(text for language, text in blocks if language == "python")
    shown = "".join(text for language, text in blocks if not language)
    done = forked.run(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == shown


@pytest.mark.parametrize("name", ["t.csv", "t.extxyz", "t.dump"])
def test_a_table_is_not_named_like_another_format(tmp_path, name):
    with pytest.raises(ParameterError, match="Parquet"):
        format_of(tmp_path / name, "parquet")
    assert format_of(tmp_path / "t", "parquet") == "parquet"
