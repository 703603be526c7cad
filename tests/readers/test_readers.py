"""Formats read through other libraries: the same atoms as the text dumps of the same run, and words where a library is missing."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from ase import Atoms
from ase.io import read as ase_read
from ase.io import write as ase_write
from hypothesis import given, settings
from hypothesis import strategies as st

import mgdask.readers.formats.binary
from mgdask.errors import AuditError, MissingDependencyError
from mgdask.geometry import minimum_image, unwrap
from mgdask.readers.indexing import take_inventory
from mgdask.readers.sources import open_source, sniff
from mgdask.readers.window import read_window
from tests.conftest import SPECIES
from tests.readers.test_lammps import paths, sample

__all__ = ["sample"]


def test_data_file(sample):
    _, truth = paths(sample("tri_unwrap.dump"))
    inventory, found = paths(sample("tri.data"))
    assert np.abs(found[0] - truth[-1]).max() < 1e-7
    wrapped = take_inventory(sample("tri_unwrap.dump"), species=SPECIES)
    np.testing.assert_allclose(inventory.cell[0], wrapped.cell[-1], atol=1e-12)
    np.testing.assert_allclose(inventory.origin[0], wrapped.origin[-1], atol=1e-12)
    assert inventory.step.tolist() == [1000]
    assert sorted(set(inventory.mass.tolist())) == [63.546, 91.224]
    ((_, frame),) = read_window(inventory)
    assert frame["vx"][236] == pytest.approx(-9.623302503885624, rel=1e-12)  # id 237, in Å/ps
    assert any("boundaries" in note for note in inventory.notes)


def test_extxyz_through_ase(sample):
    truth_inventory, truth = paths(sample("tri_unwrap.dump"))
    inventory = take_inventory(sample("tri.xyz"))
    assert any("no id" in note for note in inventory.notes)
    assert inventory.needs_image_pass
    assert inventory.time.tolist() == pytest.approx([0, 0.4, 0.8, 1.2, 1.6, 2.0])
    assert {"vx", "fx"} <= set(inventory.variables)
    assert any(
        "Potential_energy" in note for note in inventory.notes
    )  # LAMMPS writes it in the first frame only
    for k, frame in read_window(inventory):
        off = minimum_image(frame["position"] - truth[k], truth_inventory.cell[k], (True,) * 3)
        assert np.abs(off).max() < 1e-4
    assert [k for k, _ in read_window(inventory, 3, 5)] == [3, 4]


def test_a_torn_extxyz_keeps_its_whole_frames(sample, tmp_path):
    text = open(sample("tri.xyz")).read()
    whole = take_inventory(sample("tri.xyz"))
    (tmp_path / "torn.xyz").write_text(text[:-9000])
    inventory = take_inventory(tmp_path / "torn.xyz")
    assert inventory.step.tolist() == [0, 200, 400, 600, 800]
    (note,) = (note for note in inventory.notes if "cut short" in note)
    assert "torn.xyz, frame 5 (timestep unknown), line 1511" in note
    for (k, found), (_, truth) in zip(
        read_window(inventory), read_window(whole, 0, 5), strict=True
    ):
        off = found["position"] - truth["position"]  # the origins are estimates
        assert np.abs(minimum_image(off, whole.cell[k], (True,) * 3)).max() < 1e-9
    lines = text.split("\n")
    del lines[400]  # in the second frame
    (tmp_path / "short.xyz").write_text("\n".join(lines))
    with pytest.raises(AuditError, match=r"line 604.*has 1 values, but the header names 10"):
        take_inventory(tmp_path / "short.xyz")


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_atoms=st.integers(1, 9),
    frames=st.integers(1, 4),
    extras=st.sets(st.sampled_from(["forces", "momenta", "bias", "flag", "tags", "energy"])),
)
def test_extxyz_of_ase_is_read_as_ase_reads_it(tmp_path_factory, seed, n_atoms, frames, extras):
    rng = np.random.default_rng(seed)
    written = []
    for _ in range(frames):
        cell = np.diag(rng.uniform(5, 9, 3)) + np.tril(rng.uniform(-1, 1, (3, 3)), -1)
        atoms = Atoms(["Cu", "Zr"][seed % 2] * n_atoms if n_atoms < 3 else f"Cu{n_atoms}", pbc=True)
        atoms.cell, atoms.positions = cell, rng.uniform(0, 1, (n_atoms, 3)) @ cell
        for name, values in {
            "forces": rng.normal(size=(n_atoms, 3)),
            "momenta": rng.normal(size=(n_atoms, 3)),
            "bias": rng.normal(size=n_atoms),
            "flag": rng.random(n_atoms) < 0.5,
            "tags": rng.integers(-3, 3, n_atoms),
        }.items():
            if name in extras:
                atoms.set_array(name, values)
        if "energy" in extras:
            atoms.info["energy"] = float(rng.normal())
        written.append(atoms)
    path = tmp_path_factory.mktemp("ase") / "a.xyz"
    ase_write(path, written, format="extxyz")
    inventory = take_inventory(path)
    for (k, frame), atoms in zip(
        read_window(inventory), ase_read(path, index=":", format="extxyz"), strict=True
    ):
        np.testing.assert_array_equal(inventory.cell[k], np.array(atoms.cell))
        assert inventory.species.tolist() == atoms.numbers.tolist()
        off = minimum_image(frame["position"] - atoms.positions, inventory.cell[k], (True,) * 3)
        assert np.abs(off).max() < 1e-12
        for name in extras & {"bias", "flag", "tags"}:
            np.testing.assert_array_equal(frame[name], atoms.arrays[name].astype(float))
        if "forces" in extras:
            np.testing.assert_array_equal(frame["fy"], atoms.get_forces()[:, 1])
        if "momenta" in extras:
            np.testing.assert_array_equal(frame["momenta_3"], atoms.get_momenta()[:, 2])
    if "energy" in extras:
        np.testing.assert_allclose(inventory.values["energy"], [a.info["energy"] for a in written])


@pytest.mark.peers
def test_binary_dump_through_ovito(sample):
    pytest.importorskip("ovito", reason="OVITO reads binary dumps and is not installed")
    _, truth = paths(sample("tri_unwrap.dump"))
    _, found = paths(sample("tri_wrap.bin"))
    assert np.abs(found - truth).max() < 1e-7
    path = sample("tri_wrap.bin")
    data = open(path, "rb").read()
    with open(path, "wb") as out:
        out.write(data[: len(data) // 8])
    with pytest.raises(AuditError, match=r"states 300 atoms .* damaged or truncated"):
        take_inventory(path, species=SPECIES)


CELL = np.array([[20.0, 0, 0], [4, 18, 0], [1, 2, 19]])


def write_h5md(path, truth, *, unit=None, names=False):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as f:
        group = f.create_group("particles/all")
        group["position/value"], group["position/step"] = truth, np.arange(len(truth)) * 200
        group["position/time"] = np.arange(len(truth)) * 0.4
        group["velocity/value"] = truth * 0.5
        group["id/value"] = np.tile(np.arange(300, 0, -1), (len(truth), 1))
        group["image/value"] = np.tile([1, 0, -1], (len(truth), 300, 1))
        kinds = np.repeat([1, 2], 150)
        if names:
            group.create_dataset(
                "species", data=kinds, dtype=h5py.enum_dtype({"Zr": 1, "Cu": 2}, basetype="i")
            )
        else:
            group["species"] = kinds
        group["box/edges/value"] = np.tile(CELL, (len(truth), 1, 1))
        group["box"].attrs["boundary"] = ["periodic"] * 3
        if unit:
            group["position/value"].attrs["unit"] = unit


def test_h5md(tmp_path, rng):
    truth = rng.uniform(0, 1, (3, 300, 3)) @ CELL
    write_h5md(tmp_path / "a.h5md", truth)
    inventory = take_inventory(tmp_path / "a.h5md", species=SPECIES)
    for k, frame in read_window(inventory):
        moved = truth[k][::-1] + np.array([1, 0, -1]) @ CELL
        np.testing.assert_allclose(
            unwrap(frame["position"], frame["image"], inventory.cell[k]), moved, atol=1e-12
        )
        np.testing.assert_allclose(frame["vx"], truth[k][::-1, 0] * 0.5)
    assert inventory.step.tolist() == [0, 200, 400]
    assert inventory.time.tolist() == pytest.approx([0, 0.4, 0.8])
    write_h5md(tmp_path / "b.h5md", truth, unit="nm", names=True)
    inventory = take_inventory(tmp_path / "b.h5md")
    np.testing.assert_allclose(inventory.cell[0], CELL * 10)
    assert inventory.species.tolist() == [29] * 150 + [40] * 150
    write_h5md(tmp_path / "c.h5md", truth, unit="furlong")
    with pytest.raises(AuditError, match="position: the unit 'furlong' is unknown"):
        take_inventory(tmp_path / "c.h5md", species=SPECIES)


def test_netcdf(tmp_path, rng):
    netcdf = pytest.importorskip("netCDF4")
    from ase.geometry import cell_to_cellpar

    truth = rng.uniform(0, 1, (3, 300, 3)) @ CELL + [1, 2, 3]
    shape = cell_to_cellpar(CELL)
    with netcdf.Dataset(tmp_path / "a.nc", "w") as f:
        for name, size in (
            ("frame", None),
            ("atom", 300),
            ("spatial", 3),
            ("cell_spatial", 3),
            ("cell_angular", 3),
        ):
            f.createDimension(name, size)
        f.createVariable("coordinates", "f8", ("frame", "atom", "spatial"))[:] = truth
        f.createVariable("velocities", "f8", ("frame", "atom", "spatial"))[:] = truth
        f.createVariable("id", "i4", ("frame", "atom"))[:] = np.tile(np.arange(1, 301), (3, 1))
        f.createVariable("type", "i4", ("frame", "atom"))[:] = np.tile(
            np.repeat([1, 2], 150), (3, 1)
        )
        f.createVariable("cell_origin", "f8", ("frame", "cell_spatial"))[:] = np.tile(
            [1, 2, 3], (3, 1)
        )
        f.createVariable("cell_lengths", "f8", ("frame", "cell_spatial"))[:] = np.tile(
            shape[:3], (3, 1)
        )
        f.createVariable("cell_angles", "f8", ("frame", "cell_angular"))[:] = np.tile(
            shape[3:], (3, 1)
        )
        time = f.createVariable("time", "f8", ("frame",))
        time.units, time[:] = "femtosecond", [0, 10, 20]
    inventory = take_inventory(tmp_path / "a.nc", species=SPECIES)
    np.testing.assert_allclose(inventory.cell[0], CELL, atol=1e-10)
    assert inventory.time.tolist() == pytest.approx([0, 0.01, 0.02])
    for k, frame in read_window(inventory):
        off = minimum_image(frame["position"] - truth[k], CELL, (True,) * 3)
        np.testing.assert_allclose(off, 0, atol=1e-9)
    assert any("numbered from 0" in note for note in inventory.notes)


@pytest.mark.parametrize(
    ("name", "start", "module", "extra"),
    [
        ("a.h5md", b"\x89HDF\r\n\x1a\n", "h5py", "h5md"),
        ("a.nc", b"\x89HDF\r\n\x1a\n", "h5py", "netcdf"),
        ("a.bin", b"x", "ovito", "ovito"),
    ],
)
def test_missing_extras_say_how_to_install_them(tmp_path, monkeypatch, name, start, module, extra):
    (tmp_path / name).write_bytes(start + b"\0" * 100)
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(mgdask.readers.formats.binary, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=rf"pip install 'mgdask\[{extra}\]'"):
        open_source(str(tmp_path / name))


def test_damaged_files_of_other_formats_are_refused(tmp_path):
    for name, start in (("a.h5md", b"\x89HDF\r\n\x1a\n"), ("a.nc", b"CDF\x05")):
        pytest.importorskip("h5py")
        (tmp_path / name).write_bytes(start + b"\0" * 100)
        with pytest.raises(AuditError, match=r"cannot be opened|there is no dimension"):
            take_inventory(tmp_path / name, species=SPECIES)
    (tmp_path / "a.data").write_text(
        "LAMMPS data\n\n2 atoms\n\n0 1 xlo xhi\n0 1 ylo yhi\n0 1 zlo zhi\n\nAtoms # atomic\n\n1 1 0 0\n"
    )
    with pytest.raises(AuditError, match="ASE cannot read this LAMMPS data file"):
        take_inventory(tmp_path / "a.data", species=SPECIES)


def test_kinds_are_known_by_content(sample, tmp_path):
    kinds = {
        "tri_wrap.dump": "lammps",
        "tri_wrap.dump.gz": "lammps-gz",
        "tri_wrap.dump.zst": "lammps-zst",
        "tri.data": "data",
        "tri.xyz": "extxyz",
        "tri_wrap.bin": "binary",
    }
    for name, kind in kinds.items():
        assert sniff(sample(name)) == kind
    (tmp_path / "a.xyz.gz").write_bytes(
        __import__("gzip").compress(open(sample("tri.xyz"), "rb").read())
    )
    with pytest.raises(AuditError, match="unpack it first"):
        sniff(str(tmp_path / "a.xyz.gz"))
