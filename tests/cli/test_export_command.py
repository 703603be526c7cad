"""``mgdask export``: what it writes, and what it says."""

from __future__ import annotations

import pandas as pd
import pytest
from click.testing import CliRunner

import mgdask
from mgdask.cli import cli
from mgdask.errors import ParameterError
from mgdask.explore import export
from tests.explore.exported import make_features, make_trajectory


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    store = make_trajectory(folder)
    return store, make_features(store, folder / "f.zarr")


def command(*words):
    result = CliRunner().invoke(cli, ["export", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_writes_what_the_function_does(stores, tmp_path):
    store, features = stores
    options = ("--features", features, "--column", "far", "--column", "awkward:x")
    said = command(
        store, *options, "--frame", "1:3,-1", "--atoms", "Zr", "--out", tmp_path / "a.dump"
    )
    assert "3 frames of 7 atoms, dump, 1 file" in said
    assert "columns   far, awkward_x (x)" in said
    export(
        store, tmp_path / "b.dump", features=[features], columns=["far", "awkward:x"],
        frames=[1, 2, 4], atoms=["Zr"],
    )  # fmt: skip
    assert (tmp_path / "a.dump").read_bytes() == (tmp_path / "b.dump").read_bytes()
    command(store, "--frame", 0, "--atoms", "90,4", "--out", tmp_path / "c.txt", "--format", "data")
    assert "\n2 atoms\n" in (tmp_path / "c.txt").read_text()


def test_the_table(stores, tmp_path):
    out = tmp_path / "f.parquet"
    command(stores[1], "--table", "--out", out)
    table = pd.read_parquet(out)
    ds = mgdask.open_store(stores[1])
    assert len(table) == ds.sizes["frame"] * ds.sizes["atom"]
    assert table["far"].isna().sum() == ds.awkward[:, :, 0].isnull().sum()
    with pytest.raises(Exception, match=r"f\.parquet exists; .*--overwrite"):
        command(stores[1], "--table", "--out", out)
    command(stores[1], "--table", "--out", out, "--overwrite", "--frame", "0")
    assert len(pd.read_parquet(out)) == ds.sizes["atom"]


def test_words(stores, tmp_path):
    with pytest.raises(ParameterError, match="--atoms 3,Cu must be elements"):
        command(stores[0], "--atoms", "3,Cu", "--out", tmp_path / "a.dump")
    with pytest.raises(ParameterError, match="goes beyond the 5 frames"):
        command(stores[0], "--frame", "7", "--out", tmp_path / "a.dump")
    result = CliRunner().invoke(
        cli, ["export", stores[0], "--table", "--format", "data", "--out", "a"]
    )
    assert "--table and --format data exclude each other" in result.output
    with pytest.raises(mgdask.errors.StoreError, match="is not a Zarr store"):
        command(tmp_path / "no.zarr", "--out", tmp_path / "a.dump")
