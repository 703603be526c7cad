"""Small jobs run in threads of the command's own process, with the same results."""

from __future__ import annotations

import copy
import logging
import threading
import warnings
from dataclasses import replace

import dask
import numpy as np
import pytest
from distributed import Client, get_client

import mgdask
from mgdask import cluster
from mgdask.cli import cli
from mgdask.pipelines import rdf, small
from mgdask.pipelines.featurize import plan as plans
from mgdask.report.text import describe
from mgdask.store import layout
from mgdask.store.contents import read_contents
from tests.conftest import GLASS
from tests.pipelines.test_featurize import files


def refuse(*words, **options):
    raise AssertionError("worker processes were started")


@pytest.fixture
def plan(glass_store, tmp_path, small_soap):
    return mgdask.plan(glass_store, [small_soap], out=tmp_path / "f.zarr")


def test_threads_are_bounded_by_blocks_memory_and_the_user(plan, monkeypatch):
    cut = replace(plan, limit=2**22)
    assert cut.n_tasks == 8
    assert small.threads_for_plan(cut, 16) == 8
    assert small.threads_for_plan(cut, 2) == 2
    memory = cut.memory
    tight = replace(cut, allowed=memory.baseline + 3 * memory.per_thread)
    assert small.threads_for_plan(tight, 8) == 3
    monkeypatch.setattr(small, "MAX_SMALL_WORK", 0.5 * plan.work(measure=False).total)
    assert small.threads_for_plan(plan, 8) == 0


def test_a_small_featurize_starts_no_process_and_gives_the_same_bits(
    glass_store, tmp_path, small_soap, monkeypatch, caplog
):
    monkeypatch.setattr(cluster, "local_client", refuse)
    monkeypatch.setattr(plans, "MAX_BLOCK", 2**20)
    out = tmp_path / "f.zarr"
    soap = "r_cut=4,n_max=4,l_max=3,sigma=0.5,rbf=polynomial"
    words = ["featurize", glass_store, "--soap", soap, "--out", str(out), "--workers", "2"]
    cli(words, standalone_mode=False)
    got = mgdask.open_store(out).soap.values
    glass = mgdask.open_store(glass_store)
    species, cell = glass.species.values, glass.cell.values
    for k in (0, 7):
        alone = small_soap.compute(glass.position[k].values, cell[k], species)
        np.testing.assert_array_equal(got[k], alone)
    monkeypatch.setattr(small, "MAX_SMALL_WORK", 0.0)
    words[words.index(str(out))] = str(tmp_path / "g.zarr")
    with pytest.raises(AssertionError, match="worker processes"):
        cli(words, standalone_mode=False)


def test_inspect_says_the_same_as_a_description_of_the_dataset(glass_store, plan):
    mgdask.run(plan)
    for store in (glass_store, plan.out):
        assert describe(read_contents(store)) == describe(mgdask.open_store(store))


def test_the_table_of_arrays_fits_into_a_narrow_terminal(glass_store):
    store = read_contents(glass_store)
    for width, hidden in ((110, set()), (80, {"chunk", "shard"})):
        table = describe(store, width=width).split("\n\n")[1].splitlines()
        assert len(table) == 1 + len(store.data_vars)
        assert {"array", "dims", "chunk", "shard", "size"} - set(table[0].split()) == hidden
        assert max(map(len, table)) <= width


# --- the other commands


@pytest.fixture
def no_processes(monkeypatch):
    """Refuse to start worker processes."""
    monkeypatch.setattr(cluster, "local_client", refuse)


@pytest.fixture
def many_blocks(monkeypatch):
    """Let two frames of the glass be a block."""
    monkeypatch.setattr(layout, "MIN_SHARD", 2 * 24 * 2000)
    monkeypatch.setattr(rdf, "ATOMS_PER_TASK", 700)


def command(*words):
    return cli([str(word) for word in words], standalone_mode=False)


INGEST = ("--species", "Zr,Cu", "--timestep", "0.002")


def test_small_commands_give_the_bytes_that_worker_processes_give(
    many_blocks, no_processes, two_processes, tmp_path, capsys
):
    glass, unwrapped, curves = (tmp_path / name for name in ("g.zarr", "u.zarr", "rdf.csv"))
    command("ingest", GLASS, "--out", glass, *INGEST, "--workers", "2")
    command("unwrap", glass, "--out", unwrapped, "--workers", "2")
    command("rdf", glass, "--bins", "50", "--out", curves)
    assert command("verify", unwrapped) == 0
    assert capsys.readouterr().err.count("threads of this process") == 4
    by_workers = tmp_path / "workers" / "g.zarr"
    by_workers.parent.mkdir()
    with Client(two_processes, set_as_default=False) as client:
        species = {1: "Zr", 2: "Cu"}
        mgdask.ingest(GLASS, by_workers, species=species, timestep=0.002, client=client)
        mgdask.unwrap(glass, tmp_path / "workers" / "u.zarr", client=client, progress=False)
        counted = mgdask.partial_rdf(glass, bins=50, client=client, progress=False)
    stored = files(glass)
    assert sum(name.startswith("position/c/") for name in stored) == 4
    assert files(by_workers) == stored
    assert files(tmp_path / "workers" / "u.zarr") == files(unwrapped)
    table = np.loadtxt(curves, delimiter=",", skiprows=1)
    np.testing.assert_array_equal(table[:, -1], counted.g_all.values)


@pytest.mark.parametrize(
    "words",
    [
        ("ingest", GLASS, "--out", "new.zarr", *INGEST),
        ("rdf", "STORE"),
        ("unwrap", "STORE", "--out", "new.zarr"),
        ("verify", "STORE"),
    ],
    ids=lambda words: words[0],
)
def test_larger_jobs_start_processes(
    words, glass_store, no_processes, tmp_path, monkeypatch, caplog
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(small, "MAX_SMALL_BYTES", 400_000)  # all arrays have 620 kB
    with pytest.raises(AssertionError, match="worker processes"):
        command(*(glass_store if word == "STORE" else word for word in words))
    assert "small job" not in caplog.text


def test_a_local_site_starts_processes_for_any_job(glass_store, monkeypatch):
    monkeypatch.setattr("mgdask.cluster.client.local_client", refuse)
    with pytest.raises(AssertionError, match="worker processes"):
        command("verify", glass_store, "--cluster", "local")


def test_size_is_that_of_files_and_arrays_and_pairs(glass_store, monkeypatch):
    n_bytes = small._array_bytes(glass_store)
    opened = mgdask.open_store(glass_store)
    assert n_bytes == pytest.approx(opened.nbytes, rel=0.05)
    assert small.threads_for_store(glass_store, 3) == 3
    assert small.threads_for_ingest([str(GLASS)], glass_store, 3) == 3
    monkeypatch.setattr(small, "SMALL_INPUT", GLASS.stat().st_size - 1)
    assert small.threads_for_ingest([str(GLASS)], glass_store, 3) == 0
    curves = mgdask.partial_rdf(glass_store, r_max=8.0, bins=10, progress=False)
    monkeypatch.setattr(small, "MAX_SMALL_PAIRS", 1.05 * float(curves["count"].sum()))
    assert small.threads_for_rdf(glass_store, 8.0, 2) == 2
    assert small.threads_for_rdf(glass_store, 8.5, 2) == 0


def test_threads_of_a_command_leave_nothing_behind(glass_store):
    def state():
        loggers = {name: logging.getLogger(name).level for name in ("distributed", "bokeh")}
        running = {thread.name for thread in threading.enumerate()}
        return copy.deepcopy(dask.config.config), loggers, running

    command("verify", glass_store)  # libraries may start threads that stay
    before = state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        command("verify", glass_store)
    after = state()
    assert after[:2] == before[:2]
    assert not after[2] - before[2]
    with pytest.raises(ValueError, match="No global client"):
        get_client()
