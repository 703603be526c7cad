"""Ingest of Python objects: as the same frames from a file, and as their own programs say."""

from __future__ import annotations

import signal
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

import mgdask
from mgdask.errors import AuditError, ParameterError
from mgdask.readers.formats.frame_file import FrameFile, FrameFileWriter
from mgdask.readers.sources import inspect_source
from tests.forked import Forked

CELL = np.array([[9.0, 0.0, 0.0], [1.5, 8.0, 0.0], [-1.0, 0.7, 10.0]])


def atoms_of(k: int, *, n: int = 12) -> Atoms:
    """Frame ``k`` of a small trajectory in a triclinic cell."""
    fraction = np.random.default_rng(7).random((n, 3)) + 0.01 * k
    atoms = Atoms(["Cu", "Zr", "Al"] * (n // 3), fraction % 1.0 @ CELL, cell=CELL, pbc=True)
    atoms.info |= {"step": 100 * k, "time": 0.2 * k, "energy": -3.0 - k, "note": "kept out"}
    atoms.set_array("q", np.arange(n) * 0.1 + k)
    return atoms


def test_atoms_give_the_store_of_their_extxyz(tmp_path, client):
    frames = [atoms_of(k) for k in range(5)]
    for atoms in frames:
        atoms.info["Origin"] = "0 0 0"
    write(tmp_path / "objects.extxyz", frames, format="extxyz")
    mgdask.ingest(tmp_path / "objects.extxyz", tmp_path / "file.zarr", client=client)
    report = mgdask.ingest((a for a in frames), tmp_path / "objects.zarr", client=client)
    from_file = mgdask.open_store(tmp_path / "file.zarr")
    ds = mgdask.open_store(tmp_path / "objects.zarr")
    assert report.n_frames == 5
    assert set(ds.variables) == set(from_file.variables)
    for name in ("position", "q", "energy", "cell", "origin", "time"):  # text has 8 decimals
        np.testing.assert_allclose(ds[name], from_file[name], atol=2e-8, rtol=0)
    for name in ("step", "species", "mass", "atom_id", "pbc", "run"):
        assert (ds[name] == from_file[name]).all(), name
    for k, atoms in enumerate(frames):
        np.testing.assert_array_equal(ds.cell[k], atoms.cell.array)
        np.testing.assert_array_equal(ds.q[k], atoms.arrays["q"])
        np.testing.assert_allclose(ds.position[k], atoms.get_positions(wrap=True), atol=1e-12)
    assert [path.name for path in tmp_path.iterdir() if "objects.zarr" in path.name] == [
        "objects.zarr"
    ], "the temporary files are gone"


def test_atoms_keep_their_velocities_and_the_origin_of_their_cell(tmp_path, client, glass_store):
    atoms = atoms_of(0)
    atoms.set_velocities(np.full((12, 3), 0.5))
    atoms.set_celldisp([-1.0, 0.5, 0.25])
    mgdask.ingest(atoms, tmp_path / "moving.zarr", client=client)
    ds = mgdask.open_store(tmp_path / "moving.zarr")
    # velocities of ASE are in Å per unit of time; 1 ps has 98.2269 of them (ase.units)
    np.testing.assert_allclose(ds[["vx", "vy", "vz"]].to_array(), 0.5 * 98.22694788, rtol=1e-9)
    assert not [name for name in ds.variables if str(name).startswith("momenta")]
    np.testing.assert_array_equal(ds.origin[0], [-1.0, 0.5, 0.25])
    glass = mgdask.open_store(glass_store).isel(frame=[0])
    mgdask.ingest(glass.mg.atoms(), tmp_path / "again.zarr", client=client)
    again = mgdask.open_store(tmp_path / "again.zarr")
    np.testing.assert_allclose(again.position, glass.position, atol=1e-12)
    with pytest.raises(AuditError, match="object 0 has no atoms"):
        mgdask.ingest([Atoms()], tmp_path / "none.zarr", client=client)


def test_a_dataset_comes_back_as_it_was(tmp_path, client, glass_store):
    ds = mgdask.open_store(glass_store).isel(frame=slice(1, 3))
    mgdask.ingest(ds, tmp_path / "part.zarr", client=client)
    part = mgdask.open_store(tmp_path / "part.zarr")
    for name in ("position", "image", "cell", "origin", "species", "mass", "step", "run"):
        np.testing.assert_array_equal(part[name], ds[name], err_msg=name)
    ids = [17, 4, 90, 33]
    atoms = ds.isel(atom=[int(np.flatnonzero(ds.atom_id == one)[0]) for one in ids])
    mgdask.ingest(atoms.isel(frame=0), tmp_path / "few.zarr", client=client)
    few = mgdask.open_store(tmp_path / "few.zarr")
    assert few.atom_id.values.tolist() == sorted(ids)


def test_two_trajectories_are_two_labeled_runs(tmp_path, client):
    runs = [[atoms_of(k) for k in range(3)], [atoms_of(k) for k in (2, 4)]]
    with pytest.raises(ParameterError, match=r"several runs.*run="):
        mgdask.ingest(runs, tmp_path / "x.zarr", client=client)
    assert not (tmp_path / "x.zarr").exists()
    mgdask.ingest(
        runs, tmp_path / "x.zarr", run=["300K", "500K"], temperature=[300, 500], client=client
    )
    ds = mgdask.open_store(tmp_path / "x.zarr")
    assert ds.run.values.tolist() == ["300K"] * 3 + ["500K"] * 2
    assert ds.step.values.tolist() == [0, 100, 200, 200, 400]
    again = mgdask.ingest(ds, tmp_path / "again.zarr", client=client)
    assert again.n_frames == 5
    assert mgdask.open_store(tmp_path / "again.zarr").run.values.tolist() == ds.run.values.tolist()


def test_the_same_objects_again_write_nothing(tmp_path, client):
    frames = [atoms_of(k) for k in range(3)]
    mgdask.ingest(frames, tmp_path / "x.zarr", client=client)
    assert mgdask.ingest(iter(frames), tmp_path / "x.zarr", client=client).n_written == 0
    frames[1].positions[5, 2] += 1e-13
    with pytest.raises(mgdask.errors.StoreError, match="overwrite"):
        mgdask.ingest(frames, tmp_path / "x.zarr", client=client)


def test_frames_can_be_appended(tmp_path, client):
    mgdask.ingest([atoms_of(0), atoms_of(1)], tmp_path / "x.zarr", client=client)
    mgdask.ingest([atoms_of(k) for k in (1, 2)], tmp_path / "x.zarr", append=True, client=client)
    assert mgdask.open_store(tmp_path / "x.zarr").step.values.tolist() == [0, 100, 200]


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ([], "no input file was given"),
        (iter([]), "no frame was given"),
        (5, "type int"),
        ([atoms_of(0), atoms_of(0, n=9)], "object 1 has 9 atoms"),
        ([atoms_of(0), "a.dump"], "object 1"),
        (iter(["a.dump"]), "either files or objects"),
        ([object()], "object 0"),
    ],
    ids=["list", "iterator", "number", "sizes", "mixed", "names", "unknown"],
)
def test_refusals(tmp_path, client, objects, words):
    with pytest.raises((AuditError, ParameterError), match=words):
        mgdask.ingest(objects, tmp_path / "x.zarr", client=client)
    assert list(tmp_path.iterdir()) == []


def test_a_position_that_is_not_finite_is_named(tmp_path, client):
    frames = [atoms_of(k) for k in range(3)]
    frames[0].positions[4, 1] = np.nan
    with pytest.raises(AuditError, match=r"atom 5 is \[.*nan"):
        mgdask.ingest([frames[0]], tmp_path / "x.zarr", client=client)


def test_a_universe_gives_what_mdanalysis_reads(tmp_path, client, glass_store):
    MDAnalysis = pytest.importorskip("MDAnalysis", reason="extra peers")
    dump = mgdask.open_store(glass_store)
    n = dump.sizes["atom"]
    universe = MDAnalysis.Universe.empty(n, trajectory=True)
    universe.add_TopologyAttr("elements", ["Zr" if z == 40 else "Cu" for z in dump.species.values])
    universe.add_TopologyAttr("masses", dump.mass.values)
    position = dump.position.values.astype(np.float32)
    edges = np.linalg.norm(dump.cell.values, axis=2).astype(np.float32)
    boxes = np.concatenate([edges, np.full_like(edges, 90.0)], axis=1)
    universe.load_new(position, dimensions=boxes, dt=0.5)
    mgdask.ingest(universe, tmp_path / "x.zarr", client=client)
    ds = mgdask.open_store(tmp_path / "x.zarr")
    np.testing.assert_array_equal(ds.species, dump.species)
    np.testing.assert_allclose(ds.time, 0.5 * np.arange(len(position)))
    shift = (ds.position.values - position) @ np.linalg.inv(ds.cell.values)
    np.testing.assert_allclose(shift, np.round(shift), atol=1e-6)


KILLED = """
import os, signal, sys
import mgdask
from tests.pipelines.test_ingest_objects import atoms_of

def frames():
    yield atoms_of(0)
    yield atoms_of(1)
    os.kill(os.getpid(), signal.SIGKILL)

mgdask.ingest(frames(), sys.argv[1])
"""


def test_a_killed_ingest_is_repeated(tmp_path, client):
    process = Forked(KILLED, tmp_path / "x.zarr")
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert [path for path in tmp_path.iterdir() if "objects" in path.name]
    mgdask.ingest([atoms_of(k) for k in range(3)], tmp_path / "x.zarr", client=client)
    assert mgdask.open_store(tmp_path / "x.zarr").sizes["frame"] == 3
    assert not [path for path in tmp_path.iterdir() if "objects" in path.name]


def test_no_foreign_program_is_imported():
    import subprocess

    code = (
        "import sys; import mgdask.pipelines.ingest_objects; "
        "assert not {'MDAnalysis', 'ovito', 'pymatgen'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# The files in between


def test_a_frame_file_is_damaged_or_whole(tmp_path):
    path = tmp_path / "x.frames"
    columns = {"number": np.array([29, 40]), **{axis: np.array([1.0, 2.0]) for axis in "xyz"}}
    with FrameFileWriter(path) as file:
        file.add(columns, cell=np.eye(3) * 9, pbc=(True, True, True), step=3)
    whole = path.read_bytes()
    assert FrameFile(inspect_source(str(path))).index().frames[0].step == 3
    for place in range(16, len(whole), 7):
        flipped = bytearray(whole)
        flipped[place] ^= 4
        path.write_bytes(flipped)
        with pytest.raises(AuditError, match="run the ingest of the objects again"):
            FrameFile(inspect_source(str(path))).index()
    for length in (17, 40, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(AuditError, match="run the ingest of the objects again"):
            FrameFile(inspect_source(str(path))).index()
