"""``mgdask dictionary``: build, extend and show, and what they refuse."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from mgdask.cli import cli
from mgdask.store.dictionaries import read_dictionary
from tests.pipelines.test_dictionary import N_ATOMS, glass_like

SOAP = "r_cut=3.4,n_max=3,l_max=2,sigma=0.5"


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Paths of two samples."""
    folder = tmp_path_factory.mktemp("samples")
    return [glass_like(folder / f"{k}.zarr", k, n) for k, n in enumerate((3, 2))]


def call(*words, status=0):
    result = CliRunner().invoke(cli, ["dictionary", *map(str, words)], standalone_mode=False)
    assert (result.exception is None) == (status == 0), result.exception
    return result.output if status == 0 else str(result.exception)


def test_build_extend_show(stores, tmp_path):
    out = tmp_path / "u.zarr"
    words = ["build", stores[0], "--soap", SOAP, "--threshold", "0.96", "--out", out]
    assert "core seconds" in call(*words, "--plan")
    assert not out.exists()
    text = call(*words)
    assert f"{3 * N_ATOMS} environments" in text
    found = read_dictionary(out)
    assert found.threshold == 0.96
    assert found.feature["parameters"]["species"] == ["Cu", "Zr"]
    assert "nothing was left to do" in call(*words)
    assert f"compared now  {2 * N_ATOMS} environments" in call("extend", out, stores[1])
    assert "nothing is left to do" in call("extend", out, stores[1])
    shown = call("show", out)
    assert f"2, with {5 * N_ATOMS} environments in this order" in shown
    assert len(call("show", out, "--all").splitlines()) > len(shown.splitlines())
    inspected = CliRunner().invoke(cli, ["inspect", str(out)], standalone_mode=False).output
    assert "kind            dictionary" in inspected


def test_what_is_not_allowed_is_refused_in_words(stores, tmp_path):
    out = tmp_path / "u.zarr"
    assert "0 features were given" in call("build", stores[0], "--out", out, status=1)
    frames = ["build", *stores, "--soap", SOAP, "--out", out, "--frames", "0:9,2"]
    assert "--frames 0:9,2 goes beyond the 2 frames" in call(*frames, status=1)
    assert "is not a Zarr store" in call("show", tmp_path / "none.zarr", status=1)
    assert "holds a trajectory" in call("show", stores[0], status=1)
    assert not out.exists()
    words = ["dictionary", "build", stores[0], "--soap", SOAP, "--out", stores[1]]
    result = CliRunner().invoke(cli, list(map(str, words)), standalone_mode=False)
    assert "it holds a trajectory" in str(result.exception)
    assert not result.stdout  # not even the table of the plan
