"""Files whose number of atoms changes are refused with commands that split them."""

from __future__ import annotations

import re
import shlex
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import mgdask
from mgdask.cli import cli
from mgdask.errors import AuditError
from mgdask.readers.indexing import take_inventory
from mgdask.readers.splitting import same_size_ranges
from mgdask.readers.window import read_window
from tests.conftest import SPECIES, write_dump
from tests.readers.test_lammps import sample

__all__ = ["sample"]


def commands(message):
    return re.findall(r"^mgdask ingest .*$", message, re.MULTILINE)


def run_here(monkeypatch):
    """Let commands run in this process: worker processes take seconds to start."""
    monkeypatch.setattr("mgdask.cli.commands.open_workers", lambda *args: nullcontext())


def run_all(message, monkeypatch, tmp_path):
    """Run the printed commands; return the stores that they write."""
    monkeypatch.chdir(tmp_path)
    run_here(monkeypatch)
    stores = []
    for command in commands(message):
        words = shlex.split(command)[1:]
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 0, done.output
        stores.append(mgdask.open_store(tmp_path / words[words.index("--out") + 1]))
    return stores


def test_the_printed_commands_split_a_dump_of_lammps(sample, monkeypatch, tmp_path):
    """300 atoms in frames 0 and 1, then 280 (timestep 200), then 275."""
    path = sample("ort_vary.dump")
    with pytest.raises(AuditError, match=r"timestep 200.*has 280 atoms") as error:
        take_inventory(path, species=SPECIES, timestep=0.002)
    stores = run_all(str(error.value), monkeypatch, tmp_path)
    sizes = [(store.sizes["frame"], store.sizes["atom"]) for store in stores]
    text = open(path).read()
    counts = [int(n) for n in re.findall(r"ITEM: NUMBER OF ATOMS\n(\d+)", text)]
    assert [n for frames, n in sizes for _ in range(frames)] == counts
    steps = [step for store in stores for step in store.step.values.tolist()]
    assert steps == [int(n) for n in re.findall(r"ITEM: TIMESTEP\n(\d+)", text)]
    assert stores[0].time.values.tolist() == pytest.approx(
        [0.002 * s for s in steps[: sizes[0][0]]]
    )
    for store in stores:
        assert len(np.unique(store.atom_id)) == store.sizes["atom"]


def test_the_printed_commands_keep_the_options(monkeypatch, tmp_path):
    rows = [[k, 1 + k % 2, 1.0 * k, 1.0, 1.0] for k in range(1, 9)]
    sizes = [4, 4, 8, 8, 8, 8, 4]
    folder = tmp_path / "with blank"
    folder.mkdir()
    frames = [(10 * k, rows[:n]) for k, n in enumerate(sizes)]
    path = write_dump(folder / "a.dump", frames)
    with pytest.raises(AuditError) as error:
        take_inventory(
            path, species={2: "Zr", 1: "Cu"}, units="real", run="one", frames="::2", timestep=1e-3
        )
    found = commands(str(error.value))
    assert ["--frames 0:1 " in found[0], "--frames 2:5:2 " in found[1], "6:7" in found[2]] == [
        True
    ] * 3
    stores = run_all(str(error.value), monkeypatch, tmp_path)
    assert [store.sizes["atom"] for store in stores] == [4, 8, 4]
    assert [store.step.values.tolist() for store in stores] == [[0], [20, 40], [60]]
    assert set(stores[1].run.values.tolist()) == {"one"}
    assert stores[1].attrs["units_of_input"] == "real"
    assert sorted(set(stores[1].species.values.tolist())) == [29, 40]


def test_other_atoms_of_the_same_number(tmp_path):
    """One atom leaves and another comes; the message names the frames= that splits."""
    rows = [[k, 1, 1.0 * k, 1.0, 1.0] for k in range(1, 9)]
    frames = [(k, rows[:4]) for k in range(3)] + [(k, rows[1:5]) for k in range(3, 6)]
    path = write_dump(tmp_path / "a.dump", frames)
    with pytest.raises(AuditError, match="missing 1, new 5") as error:
        list(read_window(take_inventory(path, species={1: "Cu"}, frames="1:")))
    first, second = re.findall(r"--frames (\S*?\d*:\d*)(?= and|\))", str(error.value))
    assert (first, second) == (":3", "3:")
    for selected, steps in ((first, [0, 1, 2]), (second, [3, 4, 5])):
        inventory = take_inventory(path, species={1: "Cu"}, frames=selected)
        assert [inventory.step[k] for k, _ in read_window(inventory)] == steps


def test_a_number_that_changes_all_the_time(tmp_path):
    rows = [[k, 1, 1.0 * k, 1.0, 1.0] for k in range(1, 9)]
    path = write_dump(tmp_path / "a.dump", [(k, rows[: 4 + k % 3]) for k in range(30)])
    with pytest.raises(AuditError, match="changes 29 times: write the dump again for a group") as e:
        take_inventory(path, species={1: "Cu"})
    assert len(commands(str(e.value))) == 10


@given(
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=30),
    start=st.integers(0, 5),
    step=st.integers(1, 4),
)
def test_ranges_cover_every_frame_once(sizes, start, step):
    numbers = [start + step * k for k in range(len(sizes))]
    refs = [SimpleNamespace(n_atoms=n) for n in sizes]
    ranges = same_size_ranges(numbers, refs)
    assert [k for r in ranges for k in range(*r)] == numbers
    by_number = dict(zip(numbers, sizes, strict=True))
    assert all(len({by_number[k] for k in range(*r)}) == 1 for r in ranges)


def test_files_of_labels_and_of_several_sizes(sample, monkeypatch, tmp_path):
    text = open(sample("lmp_labels.dump")).read()
    (tmp_path / "a.dump").write_text(text)
    row = re.search(r"(ITEM: TIMESTEP\n20\n.*)", text, re.DOTALL).group(1)
    lines = (
        row.replace("TIMESTEP\n20", "TIMESTEP\n30").replace("ATOMS\n16", "ATOMS\n15").split("\n")
    )
    (tmp_path / "b.dump").write_text("\n".join([*lines[:24], ""]))
    files = [str(tmp_path / "a.dump"), str(tmp_path / "b.dump")]
    with pytest.raises(AuditError, match="it has 15 atoms") as error:
        take_inventory(files, species={"Cu-core": "Cu", "Cu-shell": "Cu"})
    assert "--species Cu-core=Cu,Cu-shell=Cu" in str(error.value)
    stores = run_all(str(error.value), monkeypatch, tmp_path)
    assert [(store.sizes["frame"], store.sizes["atom"]) for store in stores] == [(3, 16), (1, 15)]
    inventory = take_inventory(files[0], species={"Cu-core": "Cu", "Cu-shell": "Cu"})
    for k, frame in read_window(inventory):
        np.testing.assert_array_equal(frame["position"], stores[0].position[k])
