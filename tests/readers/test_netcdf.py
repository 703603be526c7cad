"""NetCDF files of all formats have the values that the package netCDF4 reads."""

from __future__ import annotations

import os
import struct
import sys

import numpy as np
import pytest

from mgdask.errors import AuditError
from mgdask.readers.formats.netcdf import NetCdf, _open
from mgdask.readers.indexing import take_inventory
from mgdask.readers.sources import inspect_source
from mgdask.readers.window import read_window
from tests.readers.mutations import _netcdf4, _read

SPECIES = {1: "Zr", 2: "Cu"}
FORMATS = ("NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA")
HDF5 = ("NETCDF4_CLASSIC", "NETCDF4")
WRITTEN = ("lmp_ort.nc", "lmp_ort_double.nc", "lmp_tri.nc", "lmp_tri_unwrapped.nc", "mda.ncdf")


def compare(path) -> int:
    """Compare all numbers, bit for bit, and return the number of arrays."""
    netCDF4 = pytest.importorskip("netCDF4")
    theirs, ours, compared = netCDF4.Dataset(path), _open(str(path)), 0
    assert {n: len(d) for n, d in theirs.dimensions.items()} == ours.dimensions
    assert list(theirs.variables) == list(ours.variables)  # the order of columns follows
    for name, variable in theirs.variables.items():
        own = ours.variables[name]
        assert own.dimensions == variable.dimensions
        if not own.is_numeric or name == "ragged":
            continue
        for scaled in (True, False):
            variable.set_auto_scale(scaled)
            for k in (None, *range(len(variable) if variable.ndim else 0)):
                a = variable[...] if k is None else variable[k]
                b = own.values(k, is_scaled=scaled)
                np.testing.assert_array_equal(np.ma.getmaskarray(a), np.ma.getmaskarray(b))
                if a is np.ma.masked:  # it has no type
                    continue
                a, b = np.ma.filled(a, 1), np.ma.filled(b, 1)
                native = a.dtype.newbyteorder("=")
                assert (native, a.shape) == (b.dtype, b.shape)
                assert a.astype(native).tobytes() == b.tobytes()
                compared += 1
    theirs.close()
    ours.close()
    return compared


@pytest.mark.parametrize("name", WRITTEN)
def test_written_trajectories(tmp_path, name):
    (tmp_path / "classic").write_bytes(_read(name))
    (tmp_path / "four").write_bytes(_netcdf4(_read(name)))
    assert compare(tmp_path / "classic") == compare(tmp_path / "four") > 30


def write_rich(path, kind, rng) -> None:
    """Write variables of all types, with attributes that change their values."""
    netCDF4 = pytest.importorskip("netCDF4")
    with netCDF4.Dataset(path, "w", format=kind) as file:
        for name, size in (("frame", None), ("atom", 5), ("spatial", 3), ("label", 7)):
            file.createDimension(name, size)
        if kind == "NETCDF4":
            file.createDimension("other", None)
        types = ["f4", "f8", "i1", "i2", "i4"]
        types += ["u1", "u2", "u4", "i8", "u8"] if kind in ("NETCDF3_64BIT_DATA", "NETCDF4") else []
        packed = {"zlib": True, "shuffle": True} if kind in HDF5 else {}
        attributes = [
            {},
            {"_FillValue": 3},
            {"missing_value": 4, "units": "Å"},
            {"missing_value": [5, 6]},
            {"valid_min": 2, "valid_max": 9},
            {"valid_range": [1, 8]},
            {"scale_factor": np.float64(0.1)},
            {"scale_factor": np.float32(0.1), "add_offset": np.float32(7)},
            {"scale_factor": np.float64(1), "add_offset": np.float64(0)},
            {"add_offset": 2.5},
            {"_Unsigned": "true", "_FillValue": 2},
            {"missing_value": "none", "valid_min": "1"},
            {"missing_value": 1.5},
        ]
        for t, dtype in enumerate(types):
            for k, given in enumerate(attributes):
                if k and (k + t) % 4:  # a quarter of all pairs
                    continue
                own = dict(given)
                order = {"endian": "big"} if kind in HDF5 and k % 2 and dtype[1] != "1" else {}
                axes = [("frame", "atom", "spatial"), ("frame", "atom"), ("atom",), ("frame",), ()]
                shape = axes[k % 5]
                variable = file.createVariable(
                    f"{dtype}_{k}",
                    dtype,
                    shape,
                    fill_value=own.pop("_FillValue", None),
                    **(packed if shape else {}),
                    **order,
                )
                whole = ("missing_value", "valid_min", "valid_max", "valid_range")
                for key, value in own.items():
                    cast = key in whole and not isinstance(value, str | float)
                    variable.setncattr(key, np.array(value, dtype) if cast else value)
                variable.set_auto_maskandscale(False)
                sizes = [4 if axis == "frame" else len(file.dimensions[axis]) for axis in shape]
                values = rng.integers(0, 11, sizes)
                variable[...] = -values if dtype[0] in "if" and k % 3 == 0 else values
                if k == 0:
                    variable[1, 2:] = netCDF4.default_fillvals[dtype]
        # fewer rows than frames, text, and a variable with the name of another dimension
        file.createVariable("short", "f8", ("frame", "spatial"))[:2] = 1.5
        file.createVariable("label", "S1", ("frame", "label"))[:] = b"x"
        file.createVariable("spatial", "S1", ("spatial",))[:] = [b"x", b"y", b"z"]
        file.createVariable("atom", "S1", ("atom", "label"))[:] = b"a"
        if kind == "NETCDF4":
            file.createVariable("ragged", "f4", ("frame", "other"))[:1, :3] = 2.5
            file.createVariable("longer", "f4", ("other",))[:6] = 3.5


@pytest.mark.filterwarnings("ignore:WARNING:UserWarning", "ignore:endian:UserWarning")
@pytest.mark.parametrize("kind", [*FORMATS, *HDF5])
def test_all_types_and_attributes(tmp_path, rng, kind):
    write_rich(tmp_path / "a.nc", kind, rng)
    assert compare(tmp_path / "a.nc") > 90
    if kind == "NETCDF4":
        # netCDF4 returns what is in the memory beyond the stored rows of such variables
        file = _open(str(tmp_path / "a.nc"))
        expected = np.ma.masked_all((4, 6), "f4")
        expected[0, :3] = 2.5
        found = file.variables["ragged"].values()
        np.testing.assert_array_equal(found.mask, expected.mask)
        assert found[0, :3].tolist() == [2.5] * 3
        assert all(file.variables["ragged"].values(k).mask.all() for k in (1, 2, 3))
        file.close()


def test_one_record_variable_is_not_filled_up(tmp_path):
    netCDF4 = pytest.importorskip("netCDF4")
    with netCDF4.Dataset(tmp_path / "a.nc", "w", format=FORMATS[0]) as file:
        file.createDimension("frame", None)
        file.createDimension("three", 3)
        file.createVariable("a", "i2", ("frame", "three"))[:] = np.arange(15).reshape(5, 3)
    assert compare(tmp_path / "a.nc") == 12


def test_classic_files_need_no_package(tmp_path, monkeypatch):
    (tmp_path / "a.nc").write_bytes(_read("lmp_ort.nc"))
    for module in ("netCDF4", "h5py"):
        monkeypatch.setitem(sys.modules, module, None)
    assert take_inventory(tmp_path / "a.nc", species=SPECIES).n_frames == 7


def test_a_truncated_file_keeps_its_complete_frames(tmp_path):
    whole = _read("lmp_ort_double.nc")
    path = tmp_path / "a.nc"
    path.write_bytes(whole)
    frames = dict(read_window(take_inventory(path, species=SPECIES)))
    counts = []
    for end in range(len(whole) - 1, 2000, -1371):
        path.write_bytes(whole[:end])
        try:
            inventory = take_inventory(path, species=SPECIES)
        except AuditError as error:
            assert "ends within the first" in str(error)  # noqa: PT017
            counts.append(0)
            continue
        counts.append(inventory.n_frames)
        assert any("it is cut short: 7 frames are stated" in note for note in inventory.notes)
        for k, frame in read_window(inventory):
            assert frame["position"].tobytes() == frames[k]["position"].tobytes()
    assert counts == sorted(counts, reverse=True)
    assert set(counts) == set(range(7))


def damaged(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + struct.pack(">q", value) + data[at + 8 :]


def test_counts_beyond_the_file_are_refused(tmp_path):
    data, path = _read("lmp_ort.nc"), tmp_path / "a.nc"
    # CDF-5: records at byte 4, then tag, number of dimensions, and each name and length
    length = data.index(b"atom\0\0\0\0" if b"atom\0\0\0\0" in data else b"atom") + 4
    assert struct.unpack(">q", data[length : length + 8]) == (48,)
    for value in (1, 47, 49, 2**31, 2**62):
        path.write_bytes(damaged(data, length, value))
        with pytest.raises(AuditError, match=r"near byte \d+: .* (inside others|beyond it)"):
            take_inventory(path, species=SPECIES)
    for at in (16, length - 12):
        path.write_bytes(damaged(data, at, 2**62))
        with pytest.raises(AuditError, match=r"header is damaged near byte .*(items|follow)"):
            take_inventory(path, species=SPECIES)
    # a count of records of all ones means: as many as the file holds
    path.write_bytes(damaged(data, 4, -1))
    assert take_inventory(path, species=SPECIES).n_frames == 7
    path.write_bytes(damaged(data, 4, 2**50))
    assert take_inventory(path, species=SPECIES).n_frames == 7
    path.write_bytes(b"CDF\x07" + data[4:])
    with pytest.raises(AuditError, match=r"format 7 is unknown.*nccopy -k nc4"):
        take_inventory(path, species=SPECIES)


def test_a_scale_that_is_no_number_is_refused(tmp_path):
    netCDF4 = pytest.importorskip("netCDF4")
    path = tmp_path / "a.nc"
    path.write_bytes(_read("lmp_ort.nc"))
    with netCDF4.Dataset(path, "a") as file:
        file["coordinates"].scale_factor = "two"
    with pytest.raises(AuditError, match="coordinates: the attribute scale_factor is 'two'"):
        take_inventory(path, species=SPECIES)


@pytest.mark.parametrize(
    ("name", "shape"), [("cell_origin", (7, 2)), ("cell_lengths", (6, 3)), ("time", (7, 2))]
)
def test_shapes_that_do_not_fit_are_named(tmp_path, name, shape):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.nc"
    path.write_bytes(_netcdf4(_read("lmp_ort.nc")))
    with h5py.File(path, "r+") as file:
        stated = dict(file[name].attrs)
        del file[name]
        file[name] = np.ones(shape)
        file[name].attrs.update({k: v for k, v in stated.items() if k in ("units", "scale_factor")})
    with pytest.raises(AuditError, match=rf"{name} has the shape \({shape[0]}, {shape[1]}\)"):
        take_inventory(path, species=SPECIES)


@pytest.mark.parametrize("kind", ["NETCDF3_64BIT_DATA", "NETCDF4"])
def test_scaled_coordinates_of_amber(tmp_path, rng, kind):
    netCDF4 = pytest.importorskip("netCDF4")
    truth = rng.integers(0, 5000, (3, 4, 3)).astype("i2")
    with netCDF4.Dataset(tmp_path / "a.nc", "w", format=kind) as file:
        for name, size in (("frame", None), ("atom", 4), ("spatial", 3), ("cell_spatial", 3)):
            file.createDimension(name, size)
        place = file.createVariable("coordinates", "i2", ("frame", "atom", "spatial"))
        place.scale_factor, place.units = np.float64(0.002), "angstrom"
        place.set_auto_maskandscale(False)
        place[:] = truth
        file.createVariable("cell_lengths", "f8", ("frame", "cell_spatial"))[:] = np.full(
            (3, 3), 20
        )
    inventory = take_inventory(tmp_path / "a.nc", species=["Zr", "Cu", "Cu", "Zr"])
    for k, frame in read_window(inventory):
        np.testing.assert_array_equal(frame["position"], truth[k] * 0.002)


def test_files_are_closed_after_an_error(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for data in (b"CDF\x01" + b"\0" * 100, b"CDF\x05", _read("mda.ncdf")[:300]):
        (tmp_path / "a.nc").write_bytes(data)
        with pytest.raises(AuditError):
            NetCdf(inspect_source(str(tmp_path / "a.nc")))
    assert len(os.listdir("/proc/self/fd")) <= before
