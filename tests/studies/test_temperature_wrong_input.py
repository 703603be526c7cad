"""The command mgdask study temperature with wrong input: what a new user gets wrong, and what the message says."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from mgdask.cli import cli
from mgdask.errors import MgdaskError
from mgdask.studies.temperature.prepare import compute_lags
from tests.studies.temperature_stores import LAGS, write_store


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    for kelvin in (300, 900):
        write_store(folder, str(kelvin), kelvin, seed=kelvin)
    return folder


@pytest.fixture
def refused(stores, tmp_path):
    """Function that returns what the command says; nothing may be computed."""

    def call(*words, lags="0.1,1,5,20", out=None):
        given = ["--train", stores / "300.zarr", "--train", stores / "900.zarr", "--lags", lags]
        few = ["--subset-rows", 60, "--min-leaves", 5, "--relief-neighbors", 5]
        line = ["study", "temperature", *given, *few, *words, "--out", out or tmp_path / "out"]
        found = CliRunner().invoke(cli, [str(word) for word in line])
        assert found.exit_code != 0
        # an error of ours, or one of click; anything else would be a traceback
        assert isinstance(found.exception, MgdaskError | SystemExit), found.exc_info
        assert not (tmp_path / "out" / "features").exists()
        return " ".join((found.output + str(found.exception)).split())

    return call


def test_a_folder_that_is_something_else(refused, stores, tmp_path):
    file = tmp_path / "taken"
    file.write_text("mine")
    assert "is a file; a study writes into a folder of its own" in refused(out=file)
    assert file.read_text() == "mine"
    copy = tmp_path / "copy.zarr"
    shutil.copytree(stores / "300.zarr", copy)
    before = sorted(copy.rglob("*"))
    message = refused(out=copy)
    assert "is a store" in message
    assert str(tmp_path / "copy-study") in message
    assert sorted(copy.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--min-leaves", 61), "--min-leaves=61 is more than the 60 atoms of a subset"),
        (("--relief-neighbors", 60), "(--relief-neighbors) is 60, but the training runs at 300 K"),
        (("--folds", 61), "give at most --folds 60"),
        (("--neighbors", 60), "give at most --neighbors 54"),
        (("--neighbors", "many"), "'many' is not a valid integer"),
        (("--linkage", "ward"), "Invalid value for '--linkage'"),
        (("--classes", "300,hot"), "hot: Input should be a valid number"),
        (("--classes", "300,1000"), "no training run is at this temperature. The training runs"),
        (("--feature-temperature", "hot"), "must be none, run, or a positive temperature in K"),
        (("--selected-lags", "5,11"), "--selected-lags has 11 ps, which are not in --lags"),
        (("--memory", "lots"), "not an amount of memory such as '2GiB'"),
        (("--train", "nothing.zarr"), "nothing.zarr is not a Zarr store"),
    ],
)
def test_values_that_cannot_be(refused, words, said):
    assert said in refused(*words)


def test_atoms_that_do_not_move_and_lags(refused):
    assert "has no frame 11 ps after its first" in refused(lags="5,11")
    assert "shorter than the longest lag of 500 ps" in refused(lags="5,500")


def test_finished_features_are_kept_with_other_memory(stores, tmp_path):
    """Blocks depend on the memory, values do not; a resumed study may have more or less of it."""
    first = compute_lags([stores / "300.zarr"], tmp_path, LAGS, memory="2GiB", progress=False)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "300.zarr").rglob("*")}
    again = compute_lags([stores / "300.zarr"], tmp_path, LAGS, memory="1GiB", progress=False)
    np.testing.assert_array_equal(again.matrix(), first.matrix())
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "300.zarr").rglob("*")} == files
