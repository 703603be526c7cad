"""The shipped glass: its files, and the store made of it."""

from __future__ import annotations

import numpy as np
import pytest

import mgdask
from mgdask.errors import ParameterError, StoreError


@pytest.fixture(scope="module")
def glass(tmp_path_factory):
    out = tmp_path_factory.mktemp("glass") / "glass.zarr"
    return out, mgdask.datasets.load("zrcu", out)


def test_species_times_and_temperatures(glass):
    ds = glass[1]
    assert dict(zip(*np.unique(ds.species, return_counts=True), strict=True)) == {29: 1120, 40: 880}
    np.testing.assert_allclose(ds.time, 0.002 * ds.step)
    assert ds.temperature.attrs["units"] == "K"
    assert ds.temperature.values[[0, -1]].tolist() == [1800.1, 1.0]
    assert ds.sizes["frame"] == 8


def test_loaded_glass_can_be_featurized(glass):
    out = mgdask.featurize(glass[1].isel(frame=[0]), [mgdask.Coordination()])
    assert np.isfinite(out.coordination.values).any()


def test_second_load_opens_the_same_store(glass):
    out, ds = glass
    before = {
        file: file.stat().st_mtime_ns for file in (out / "position").rglob("*") if file.is_file()
    }
    again = mgdask.datasets.load("zrcu", out)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert again.identical(ds)


def test_bad_input_in_words(glass, tmp_path):
    with pytest.raises(ParameterError, match="'steel' is not a shipped file; allowed: zrcu"):
        mgdask.datasets.path("steel")
    with pytest.raises(ParameterError, match="'zrcu_temperature' is not a shipped trajectory"):
        mgdask.datasets.load("zrcu_temperature", tmp_path / "glass.zarr")
    (tmp_path / "other.dump").write_text(
        "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
        "ITEM: ATOMS id type x y z\n1 1 1 1 1\n"
    )
    mgdask.ingest(str(tmp_path / "other.dump"), tmp_path / "other.zarr", species=("Cu",))
    with pytest.raises(StoreError):
        mgdask.datasets.load("zrcu", tmp_path / "other.zarr")
