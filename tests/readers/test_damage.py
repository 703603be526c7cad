"""A frame whose box or positions are not finite costs that frame, never the file (D1)."""

from __future__ import annotations

import gzip
import itertools
import struct

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import mgdask
from mgdask.errors import AuditError
from mgdask.geometry import minimum_image
from mgdask.readers.formats import lammps_index
from mgdask.readers.formats.lammps_index import index_range, join
from mgdask.readers.indexing import take_inventory
from mgdask.readers.window import read_window
from tests.conftest import SPECIES, write_dump
from tests.readers.test_lammps import sample

__all__ = ["sample"]
ROWS = [[1, 1, 1.0, 1.0, 1.0], [2, 2, 2.0, 2.0, 2.0], [3, 1, 3.0, 3.0, 3.0]]
PACK = {"a.dump": bytes, "a.dump.gz": gzip.compress, "a.dump.zst": zstandard.compress}


def damaged_dump(tmp_path, name, old, new):
    """Write five frames; replace a text in the third, which begins at line 25."""
    frames = [(10 * k, ROWS) for k in range(5)]
    text = open(write_dump(tmp_path / "whole.dump", frames)).read()
    at = text.index("ITEM: TIMESTEP\n20\n")
    changed = text[:at] + text[at:].replace(old, new, 1)
    (tmp_path / name).write_bytes(PACK[name](changed.encode()))
    return tmp_path / name


@pytest.mark.parametrize("name", PACK)
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("0 10\n0 10", "0 10\n0 nan", "its box bounds are not finite"),
        ("0 10\n0 10", "0 10\n-inf 10", "its box bounds are not finite"),
        ("0 10\n0 10", "0 10\n3 3", "its box has a volume that is zero or negative"),
        ("0 10\n0 10", "0 10\n0 x", "its box bounds are not numbers"),
        ("2 2 2.0", "2 2 nan", r"the position of id 2 is [nan, 2.0, 2.0] (line 35)"),
        ("3 1 3.0 3.0", "3 1 3.0 -inf", r"the position of id 3 is [3.0, -inf, 3.0] (line 36)"),
        ("2.0 2.0 2.0\n3 1 3.0", "NaN 2.0 2.0\n3 1 NaN", "1 further positions are not finite"),
    ],
)
def test_a_damaged_frame_costs_that_frame(tmp_path, name, old, new, words):
    """Before, a NaN in one box made the whole file unreadable, with frames= as well."""
    path = damaged_dump(tmp_path, name, old, new)
    inventory = take_inventory(path, species=SPECIES)
    assert inventory.step.tolist() == [0, 10, 30, 40]
    assert len(list(read_window(inventory))) == 4
    (note,) = (note for note in inventory.notes if "this frame is left out" in note)
    for text in (f"{path}, frame 2 (timestep 20), line 25 (byte", words, "check the frames after"):
        assert text in note
    assert take_inventory(path, species=SPECIES, frames="1:3").step.tolist() == [10, 30]
    report = mgdask.ingest(str(path), tmp_path / "a.zarr", species=SPECIES)
    assert report.n_frames == 4
    assert "frame 2 (timestep 20)" in str(report)
    assert mgdask.open_store(tmp_path / "a.zarr").step.values.tolist() == [0, 10, 30, 40]


def test_suspect_frames_do_not_depend_on_how_the_file_is_cut(tmp_path, monkeypatch):
    rows = [[k, 1, k + 0.5, 1.0, 1.0] for k in range(1, 30)]
    bad = {2: (3, "nan"), 5: (28, "-inf"), 6: (0, "NaN")}
    frames = [
        (k, [[*r[:3], word, r[4]] if i == row else r for i, r in enumerate(rows)])
        for k in range(9)
        for row, word in [bad.get(k, (-1, ""))]
    ]
    path = write_dump(tmp_path / "a.dump", frames)
    size = (tmp_path / "a.dump").stat().st_size
    for chunk in (700, 701, 703, 1 << 20):
        monkeypatch.setattr(lammps_index, "CHUNK", chunk)
        for parts in (1, 3, 8):
            edges = [size * k // parts for k in range(parts + 1)]
            whole = join([index_range(path, a, b) for a, b in itertools.pairwise(edges)])
            assert [k for k, ref in enumerate(whole.frames) if ref.suspect] == sorted(bad)


def test_numbers_that_are_not_finite_elsewhere_cost_nothing(tmp_path):
    rows = [[*row[:5], "nan", "Zn"] for row in ROWS]
    columns = "id type x y z c_infinite element"
    path = write_dump(tmp_path / "a.dump", [(0, rows), (10, rows)], columns)
    inventory = take_inventory(path, species=SPECIES)
    assert inventory.n_frames == 2
    ((_, frame),) = read_window(inventory, 1, 2)
    assert np.isnan(frame["c_infinite"]).all()


def test_nothing_is_left(tmp_path):
    bad = [[1, 1, "nan", 1, 1]]
    path = write_dump(tmp_path / "a.dump", [(0, bad), (10, bad)])
    with pytest.raises(AuditError, match=r"frame 0 \(timestep 0\).*position of id 1 is \[nan"):
        take_inventory(path, species=SPECIES)
    # one frame per file: a damaged one costs itself
    for k in range(3):
        write_dump(tmp_path / f"dump.{k}", [(k, bad if k == 1 else [[1, 1, 1, 1, 1]])])
    inventory = take_inventory(tmp_path / "dump.*", species=SPECIES)
    assert inventory.step.tolist() == [0, 2]
    with pytest.raises(AuditError, match="no complete frame is left"):
        take_inventory(tmp_path / "dump.1", species=SPECIES)


FORMATS = ("dump", "extxyz", "h5md", "netcdf")
DAMAGE = ("none", "box", "position")


def write_frames(path, kind, cells, positions):
    """Write frames of two species, whose numbers may be NaN, in one format."""
    n_atoms = positions.shape[1]
    types = np.arange(n_atoms) % 2 + 1
    if kind == "dump":
        with open(path, "w") as out:
            for k, (cell, r) in enumerate(zip(cells, positions, strict=True)):
                out.write(f"ITEM: TIMESTEP\n{k}\nITEM: NUMBER OF ATOMS\n{n_atoms}\n")
                out.write("ITEM: BOX BOUNDS pp pp pp\n")
                out.writelines(f"0 {float(length)!r}\n" for length in cell)
                out.write("ITEM: ATOMS id type x y z\n")
                for i in range(n_atoms):
                    x, y, z = map(float, r[i])
                    out.write(f"{i + 1} {types[i]} {x!r} {y!r} {z!r}\n")
    elif kind == "extxyz":
        with open(path, "w") as out:
            for k, (cell, r) in enumerate(zip(cells, positions, strict=True)):
                a, b, c = map(float, cell)
                out.write(f'{n_atoms}\nTimestep={k} pbc="T T T" Lattice="{a} 0 0 0 {b} 0 0 0 {c}" ')
                out.write("Properties=species:S:1:pos:R:3\n")
                for i in range(n_atoms):
                    out.write(" ".join([["Zr", "Cu"][i % 2], *(repr(float(v)) for v in r[i])]))
                    out.write("\n")
    elif kind == "h5md":
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            group = file.create_group("particles/all")
            group["position/value"], group["position/step"] = positions, np.arange(len(cells))
            group["box/edges/value"], group["species"] = cells, types
            group["box"].attrs["boundary"] = ["periodic"] * 3
    else:
        netcdf = pytest.importorskip("netCDF4")
        with netcdf.Dataset(path, "w") as file:
            for name, size in (("frame", None), ("atom", n_atoms), ("spatial", 3)):
                file.createDimension(name, size)
            shape = ("frame", "atom", "spatial")
            file.createVariable("coordinates", "f8", shape)[:] = positions
            file.createVariable("cell_lengths", "f8", ("frame", "spatial"))[:] = cells
            file.createVariable("type", "i4", ("atom",))[:] = types
            file.createVariable("step", "i4", ("frame",))[:] = np.arange(len(cells))


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(FORMATS),
    damage=st.lists(st.sampled_from(DAMAGE), min_size=1, max_size=6),
    value=st.sampled_from([np.nan, np.inf, -np.inf]),
    seed=st.integers(0, 999),
)
def test_the_good_frames_of_every_format_stay(tmp_path_factory, kind, damage, value, seed):
    rng = np.random.default_rng(seed)
    cells = rng.uniform(5, 6, (len(damage), 3))
    positions = rng.uniform(0, 1, (len(damage), 30, 3)) * cells[:, None]
    bad_cells, bad_positions = cells.copy(), positions.copy()
    for k, what in enumerate(damage):
        if what == "box":
            bad_cells[k, rng.integers(3)] = value
        elif what == "position":
            bad_positions[k, rng.integers(30), rng.integers(3)] = value
    path = tmp_path_factory.mktemp("damage") / f"a.{'nc' if kind == 'netcdf' else kind}"
    write_frames(path, kind, bad_cells, bad_positions)
    good = [k for k, what in enumerate(damage) if what == "none"]
    if not good:
        with pytest.raises(AuditError, match="no complete frame is left"):
            take_inventory(path, species=SPECIES)
        return
    inventory = take_inventory(path, species=SPECIES)
    assert inventory.step.tolist() == good
    for (k, frame), g in zip(read_window(inventory), good, strict=True):
        off = minimum_image(frame["position"] - positions[g], inventory.cell[k], (True,) * 3)
        assert np.abs(off).max() < 1e-12
    left_out = "\n".join(inventory.notes)
    for k, what in enumerate(damage):
        if len(damage) - len(good) <= 4 and what != "none":
            assert f"frame {k} (timestep {k})" in left_out


def test_a_netcdf_frame_without_all_values_is_cut_short(tmp_path, rng):
    netcdf = pytest.importorskip("netCDF4")
    write_frames(tmp_path / "a.nc", "netcdf", np.full((3, 3), 5.0), rng.uniform(0, 5, (3, 30, 3)))
    with netcdf.Dataset(tmp_path / "a.nc", "a") as file:
        values = np.ma.array(rng.uniform(0, 5, (30, 3)), mask=False)
        values[20:] = np.ma.masked
        file["coordinates"][1] = values
    inventory = take_inventory(tmp_path / "a.nc", species=SPECIES)
    assert inventory.step.tolist() == [0, 2]
    (note,) = (note for note in inventory.notes if "cut short" in note)
    assert "coordinates has values for 20 of 30 atoms" in note


@pytest.mark.peers
def test_a_damaged_frame_of_a_binary_dump(sample):
    pytest.importorskip("ovito", reason="OVITO reads binary dumps and is not installed")
    path = sample("tri_wrap.bin")
    whole = take_inventory(path, species=SPECIES)
    frames = dict(read_window(whole))
    data = bytearray(open(path, "rb").read())
    for k, value in ((2, np.nan), (4, np.inf)):
        at = data.index(struct.pack("<3d", *frames[k]["position"][7]))  # x y z of id 8
        data[at : at + 8] = struct.pack("<d", value)
    open(path, "wb").write(data)
    inventory = take_inventory(path, species=SPECIES)
    assert inventory.step.tolist() == [0, 200, 600, 1000]
    notes = "\n".join(inventory.notes)
    assert "frame 2 (timestep 400): this frame is left out because the position of id 8" in notes
    assert "frame 4 (timestep 800): this frame is left out because the position of id 8" in notes
    for k, frame in read_window(inventory, 3, 4):
        np.testing.assert_array_equal(frame["position"], frames[k + 2]["position"])
