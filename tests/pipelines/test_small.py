"""Small jobs run in the process of the command, as many threads as there are blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mgdask
from mgdask import cluster
from mgdask.cli import cli
from mgdask.pipelines.featurize import plan as plans
from mgdask.pipelines.featurize import small
from mgdask.report.text import describe
from mgdask.store.contents import read_contents


@pytest.fixture
def plan(glass_store, tmp_path, small_soap):
    return mgdask.plan(glass_store, [small_soap], out=tmp_path / "f.zarr")


def test_threads_are_bounded_by_blocks_memory_and_the_user(plan, monkeypatch):
    cut = replace(plan, limit=2**22)
    assert cut.n_tasks == 8
    assert small.threads_if_small(cut, 16) == 8
    assert small.threads_if_small(cut, 2) == 2
    memory = cut.memory
    tight = replace(cut, allowed=memory.baseline + 3 * memory.per_thread)
    assert small.threads_if_small(tight, 8) == 3
    monkeypatch.setattr(small, "MAX_SMALL_WORK", 0.5 * plan.work(measure=False).total)
    assert small.threads_if_small(plan, 8) == 0


def test_a_small_featurize_starts_no_process_and_gives_the_same_bits(
    glass_store, tmp_path, small_soap, monkeypatch, caplog
):
    def refuse(*words, **options):
        raise AssertionError("worker processes were started")

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
