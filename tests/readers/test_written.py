"""H5MD and NetCDF as LAMMPS and MDAnalysis write them, and type labels of LAMMPS."""

from __future__ import annotations

import numpy as np
import pytest
from ase.geometry import cellpar_to_cell

from mgdask.errors import AuditError, ParameterError
from mgdask.geometry import minimum_image
from mgdask.readers.indexing import take_inventory
from mgdask.readers.window import read_window
from tests.conftest import SPECIES
from tests.readers import written
from tests.readers.test_lammps import paths, sample

__all__ = ["sample"]
LABELS = {"Cu-core": "Cu", "Cu-shell": "Cu"}
h5py = pytest.importorskip("h5py")
netCDF4 = pytest.importorskip("netCDF4")


def check_against_truth(inventory, truth_inventory, truth, tolerance):
    """Positions are those of the truth up to whole cell vectors, in every frame."""
    assert inventory.step.tolist() == truth_inventory.step.tolist()
    np.testing.assert_allclose(inventory.cell, truth_inventory.cell, atol=1e-5)
    assert (inventory.species == truth_inventory.species).all()
    for k, frame in read_window(inventory):
        off = minimum_image(frame["position"] - truth[k], truth_inventory.cell[k], (True,) * 3)
        assert np.abs(off).max() < tolerance


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("lmp_ort.h5md", 1e-9),
        ("lmp_ort_plain.h5md", 1e-9),
        ("lmp_ort.nc", 5e-6),  # single precision
        ("lmp_ort_double.nc", 1e-9),
        ("lmp_tri.nc", 5e-6),
    ],
)
def test_what_lammps_writes_is_read(sample, name, tolerance):
    truth_inventory, truth = paths(sample(f"{name[:7]}.dump"))
    inventory = take_inventory(sample(name), species=SPECIES)
    check_against_truth(inventory, truth_inventory, truth, tolerance)
    np.testing.assert_allclose(inventory.time, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], rtol=1e-12)
    assert not any("numbered from 0" in note for note in inventory.notes)


@pytest.mark.parametrize("name", ["lmp_ort.h5md", "lmp_ort_double.nc"])
def test_images_of_lammps_give_the_path(sample, name):
    _, truth = paths(sample("lmp_ort.dump"))
    _, found = paths(sample(name))
    assert np.abs(found - truth).max() < 1e-9


def test_unwrapped_coordinates_of_netcdf(sample):
    _, truth = paths(sample("lmp_tri.dump"))
    truth_inventory = take_inventory(sample("lmp_tri.dump"), species=SPECIES)
    symbols = np.where(truth_inventory.species == 40, "Zr", "Cu").tolist()
    inventory, found = paths(sample("lmp_tri_unwrapped.nc"), species=symbols)
    np.testing.assert_allclose(found, truth, atol=5e-6)
    assert (inventory.species == truth_inventory.species).all()
    np.testing.assert_allclose(inventory.origin, truth_inventory.origin, atol=1e-12)


def test_values_of_netcdf_frames(sample):
    inventory = take_inventory(sample("lmp_ort_double.nc"), species=SPECIES)
    volume = np.abs(np.linalg.det(inventory.cell))
    np.testing.assert_allclose(inventory.values["Volume"], volume, rtol=1e-12)
    assert inventory.values["Temp"][1] == pytest.approx(6000.0)
    truth, _ = paths(sample("lmp_ort.dump"))
    velocities = [frame["vx"] for _, frame in read_window(truth)]
    single = take_inventory(sample("lmp_ort.nc"), species=SPECIES)
    for k, frame in read_window(single):
        np.testing.assert_allclose(frame["vx"], velocities[k], rtol=1e-6)


def test_an_element_stored_less_often_is_matched_by_step(sample):
    """LAMMPS ``velocity every 2``: row 1 belongs to frame 2, not to frame 1."""
    inventory = take_inventory(sample("lmp_ort.h5md"), species=SPECIES)
    assert set(inventory.variables) == {"fx", "fy", "fz"}
    assert any("velocity is not kept: it is stored at 4 of 7" in note for note in inventory.notes)
    with h5py.File(sample("lmp_ort.h5md"), "a") as file:
        group = file["particles/all"]
        group["id/value"] = np.arange(1, 49)[None]
        group["id/step"] = [0]
    with pytest.raises(AuditError, match="id is not stored for every frame"):
        take_inventory(sample_again(sample, "lmp_ort.h5md"), species=SPECIES)


def sample_again(sample, name):
    """Return the changed copy; ``sample`` would unpack it anew."""
    return str(sample.__closure__[0].cell_contents / name)


def test_the_name_of_the_particle_group_is_free(sample):
    whole = take_inventory(sample("lmp_ort.dump"), species=SPECIES, frames="::2")
    copper = whole.species == 29
    inventory = take_inventory(sample("lmp_ort_group.h5md"), species=SPECIES)
    assert inventory.step.tolist() == [0, 100, 200, 300]
    frames = zip(read_window(inventory), (frame for _, frame in read_window(whole)), strict=True)
    for (k, frame), truth in frames:
        off = frame["position"] - truth["position"][copper]
        assert np.abs(minimum_image(off, whole.cell[k], (True,) * 3)).max() < 1e-9
    with h5py.File(sample("lmp_ort_group.h5md"), "a") as file:
        file.copy("particles/cu", "particles/other")
        file["particles/other/species/value"][:] = 1
    both = sample_again(sample, "lmp_ort_group.h5md")
    with pytest.raises(AuditError, match=r"2 groups in /particles \(cu other\).*--particles NAME"):
        take_inventory(both, species=SPECIES)
    with pytest.raises(AuditError, match="none is 'zr'"):
        take_inventory(both, species=SPECIES, particles="zr")
    assert set(take_inventory(both, species=SPECIES, particles="cu").species) == {29}
    assert set(take_inventory(both, species=SPECIES, particles="other").species) == {40}


@pytest.mark.parametrize("name", ["mda.h5md", "mda.ncdf"])
def test_what_mdanalysis_writes_is_read(sample, name):
    check_mdanalysis(sample(name))


@pytest.mark.peers
@pytest.mark.parametrize(("name", "units"), [("a.h5md", written.H5MD_UNITS), ("a.ncdf", {})])
def test_what_the_installed_mdanalysis_writes_is_read(tmp_path, name, units):
    pytest.importorskip("MDAnalysis")
    written.write(tmp_path / name, **units)
    check_mdanalysis(tmp_path / name)


def check_mdanalysis(path):
    cells, position, velocity = written.truth()
    species = ["Cu", "Zr"] * (written.N_ATOMS // 2)
    inventory = take_inventory(path, species=species)
    assert inventory.species.tolist() == [29, 40] * (written.N_ATOMS // 2)
    assert inventory.time.tolist() == [0.0, 0.5, 1.0]
    found = np.stack([frame["vx"] for _, frame in read_window(inventory)])
    np.testing.assert_allclose(found, velocity[..., 0], rtol=1e-6)
    for k, frame in read_window(inventory):
        cell = cellpar_to_cell(cells[k])
        np.testing.assert_allclose(inventory.cell[k], cell, atol=2e-6)
        off = minimum_image(frame["position"] - position[k], inventory.cell[k], (True,) * 3)
        assert np.abs(off).max() < 1e-5
    part = inventory.window(1, 2)
    assert part.species_map.types == ()
    assert len(list(read_window(part))) == 1
    with pytest.raises(AuditError, match=r"one element per atom.*with 8 elements; got 3"):
        take_inventory(path, species=["Cu"] * 3)


def test_units_of_h5md_are_converted(sample):
    """nm, nm/ps and kJ/mol/nm are 10 Å, 10 Å/ps and 0.1 kJ/mol/Å = 1.0364e-3 eV/Å."""
    expected = take_inventory(sample("lmp_ort.h5md"), species=SPECIES)
    first = dict(read_window(expected, 0, 1))[0]
    with h5py.File(sample("lmp_ort.h5md"), "a") as file:
        group = file["particles/all"]
        group["position/value"].attrs["unit"] = "nm"
        group["position/time"].attrs["unit"] = "fs"
        group["force/value"].attrs["unit"] = "kJ mol-1 nm-1"
    inventory = take_inventory(sample_again(sample, "lmp_ort.h5md"), species=SPECIES)
    ((_, frame),) = read_window(inventory, 0, 1)
    np.testing.assert_allclose(frame["position"], 10 * first["position"], rtol=1e-12)
    np.testing.assert_allclose(frame["fx"], first["fx"] * 1.0364269656e-3, rtol=1e-9)
    np.testing.assert_allclose(inventory.time, expected.time * 1e-3)


def test_velocities_of_netcdf_in_real_units(sample):
    """LAMMPS before 2022 states only the units of time and cell; real has Å/fs."""
    metal = dict(read_window(take_inventory(sample("lmp_ort.nc"), species=SPECIES), 1, 2))[1]
    with netCDF4.Dataset(sample("lmp_ort.nc"), "a") as file:
        file["time"].units = "femtosecond"
    inventory = take_inventory(sample_again(sample, "lmp_ort.nc"), species=SPECIES)
    np.testing.assert_allclose(inventory.time[1], 1e-4)
    np.testing.assert_allclose(dict(read_window(inventory, 1, 2))[1]["vx"], 1e3 * metal["vx"])


def h5md_11(path, position, *, edges, step=None, offset=None, species=None):
    """Write H5MD 1.1 with a fixed box, linear steps and species fixed in time."""
    with h5py.File(path, "w") as file:
        group = file.create_group("particles/system")
        group["position/value"] = position
        if step is not None:
            group["position/step"], group["position/time"] = step, 0.002 * step
            group["position/step"].attrs["offset"] = 1000
        group["box/edges"] = edges
        group["box"].attrs["boundary"] = ["periodic"] * 3
        if offset is not None:
            group["box/offset"] = offset
        if species is not None:
            group["species"] = species


def test_h5md_with_linear_steps_and_fixed_elements(tmp_path, rng):
    position = rng.uniform(0, 10, (3, 6, 3))
    kinds = np.array([1, 2] * 3)
    h5md_11(tmp_path / "a.h5", position, edges=[10.0, 10, 10], step=50, species=kinds)
    inventory = take_inventory(tmp_path / "a.h5", species=SPECIES)
    assert inventory.step.tolist() == [1000, 1050, 1100]
    np.testing.assert_allclose(inventory.time, [0, 0.1, 0.2])
    found = np.array([frame["position"] for _, frame in read_window(inventory)])
    np.testing.assert_array_equal(found, position)
    names = np.array([b"Zr", b"Cu"] * 3)
    h5md_11(tmp_path / "b.h5", position - 5, edges=10 * np.eye(3), offset=[-5.0] * 3, species=names)
    inventory = take_inventory(tmp_path / "b.h5")
    assert inventory.species.tolist() == [40, 29] * 3
    assert inventory.origin.tolist() == [[-5.0] * 3] * 3
    found = np.array([frame["position"] for _, frame in read_window(inventory)])
    np.testing.assert_array_equal(found, position - 5)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        group = file.create_group("particles/all")
        group["position"], group["species"], group["box/edges"] = position[0], kinds, [10.0] * 3
        group["box"].attrs["boundary"] = ["periodic"] * 3
    inventory = take_inventory(tmp_path / "c.h5", species=SPECIES)
    ((_, frame),) = read_window(inventory)
    np.testing.assert_array_equal(frame["position"], position[0])


def test_steps_of_netcdf_in_single_precision(sample):
    """A newer LAMMPS stores steps as float32, exact up to 2^24."""
    with netCDF4.Dataset(sample("lmp_ort.nc"), "a") as file:
        file.renameVariable("time", "old")
        time = file.createVariable("time", "f4", ("frame",))
        time.set_auto_scale(False)
        time[:] = [20_000_000 + 50 * k for k in range(7)]
        time.scale_factor, time.units = np.float32(0.002), "picosecond"
    inventory = take_inventory(sample_again(sample, "lmp_ort.nc"), species=SPECIES)
    assert any("rounded above 16777216" in note for note in inventory.notes)
    np.testing.assert_allclose(inventory.time, 0.002 * inventory.step, rtol=1e-15)


# Type labels


@pytest.mark.parametrize("suffix", ["dump", "data", "xyz"])
@pytest.mark.parametrize("species", [LABELS, "Cu-core=Cu,Cu-shell=Cu"])
def test_type_labels_of_lammps_are_mapped(sample, suffix, species):
    by_type = take_inventory(sample("lmp_labels.dump"), species=("Zr", "Cu", "Cu"))
    assert sorted(by_type.species.tolist()) == [29] * 10 + [40] * 6
    inventory = take_inventory(sample(f"lmp_labels.{suffix}"), species=species)
    assert (inventory.species == by_type.species).all()
    if suffix != "xyz":  # several types are one element, so the type is kept
        numbers = [dict(read_window(i, 0, 1))[0]["type"] for i in (inventory, by_type)]
        np.testing.assert_array_equal(*numbers)
        assert sorted(set(numbers[0].tolist())) == [1, 2, 3]


def test_masses_of_labeled_types(sample, tmp_path):
    text = open(sample("lmp_labels.data")).read()
    text = text.replace("2 63.546\n3 63.546", "Cu-core 63.0\nCu-shell 0.546")
    (tmp_path / "a.data").write_text(text)
    inventory = take_inventory(tmp_path / "a.data", species=LABELS)
    assert sorted(set(inventory.mass.tolist())) == [0.546, 63.0, 91.224]


def test_labels_without_a_map_are_refused_with_the_remedy(sample):
    with pytest.raises(
        AuditError, match=r"unknown species in column typelabel: 'Cu-core'.*--species Cu-core=Cu"
    ):
        take_inventory(sample("lmp_labels.dump"))
    with pytest.raises(ParameterError, match="either all entries or none must have the form"):
        take_inventory(sample("lmp_labels.dump"), species="Zr,Cu-core=Cu")


def test_a_column_type_with_labels(sample, tmp_path):
    text = open(sample("lmp_labels.dump")).read().replace("id type typelabel", "id number type")
    (tmp_path / "a.dump").write_text(text)
    inventory = take_inventory(tmp_path / "a.dump", species=LABELS)
    assert sorted(inventory.species.tolist()) == [29] * 10 + [40] * 6
    assert "number" in inventory.variables
    (tmp_path / "b.dump").write_text(text.replace(" Zr ", " 7.5 "))
    with pytest.raises(AuditError, match="unknown species in column type"):
        take_inventory(tmp_path / "b.dump", species=LABELS)
