"""Reading: every dialect to the true paths, every row of the audit, exact numbers."""

from __future__ import annotations

import gzip
import shutil
import sys

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from mgdask.box import fractional, unwrap
from mgdask.errors import AuditError, MissingDependencyError, ParameterError
from mgdask.readers import lammps_index
from mgdask.readers.job import read_window, take_inventory
from mgdask.readers.lammps import LammpsDump
from mgdask.readers.sources import expand
from tests.conftest import DATA, SPECIES, write_dump


@pytest.fixture
def sample(tmp_path):
    """Unpack a file of tests/data under its own name."""

    def unpack(name):
        target = tmp_path / name
        if (DATA / name).exists():
            shutil.copy(DATA / name, target)
        else:
            target.write_bytes(gzip.decompress((DATA / f"{name}.gz").read_bytes()))
        return str(target)

    return unpack


def paths(name, **options):
    inventory = take_inventory(name, species=SPECIES, **{"timestep": 0.002} | options)
    frames = list(read_window(inventory))
    return inventory, np.array(
        [unwrap(f["position"], f["image"], r.matrix) for f, r in zip(frames, inventory.refs, strict=True)]
    )


DIALECTS = {
    "tri_wrap.dump.gz": 5.1e-5, "tri_wrap.dump.zst": 5.1e-5, "tri_time.dump": 5.1e-5, "tri_elem.dump": 5.1e-5,
    "tri_scaled.dump": 2e-4, "tri_su.dump": 2e-4, "tri_time.dump.gz": 5.1e-5,
}  # fmt: skip


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_gives_the_true_path(sample, name):
    """A triclinic NPT run with strong expansion; the truth is LAMMPS' own unwrapped output."""
    _, truth = paths(sample("tri_unwrap.dump"))
    inventory, found = paths(sample(name))
    assert found.shape == (6, 300, 3)
    assert np.abs(found - truth).max() < DIALECTS[name]  # the digits that are printed
    for frame, ref in zip(read_window(inventory), inventory.refs, strict=True):
        s = fractional(frame["position"], ref.matrix, np.array(ref.origin))
        assert s.min() >= 0.0
        assert s.max() < 1.0
    np.testing.assert_allclose(inventory.times, [0, 0.4, 0.8, 1.2, 1.6, 2.0])


def test_data_file_and_extxyz_through_ase(sample):
    _, truth = paths(sample("tri_unwrap.dump"))
    _, found = paths(sample("tri.data"))
    assert np.abs(found[0] - truth[-1]).max() < 1e-7
    inventory, found = paths(sample("tri.xyz"))
    assert found.shape == truth.shape
    assert any("no ids" in note for note in inventory.notes)


def test_binary_dump_through_ovito(sample):
    pytest.importorskip("ovito")
    _, truth = paths(sample("tri_unwrap.dump"))
    _, found = paths(sample("tri_wrap.bin"))
    assert np.abs(found - truth).max() < 1e-7


def _h5md(path, truth, cell):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as f:
        group = f.create_group("particles/all")
        group["position/value"], group["position/step"] = truth, np.arange(len(truth)) * 200
        group["position/time"] = np.arange(len(truth)) * 0.4
        group["id/value"] = np.tile(np.arange(300, 0, -1), (len(truth), 1))
        group["species"] = np.repeat([1, 2], 150)
        group["box/edges/value"] = np.tile(cell, (len(truth), 1, 1))
        group["box"].attrs["boundary"] = ["periodic"] * 3


def test_h5md_and_netcdf(tmp_path, rng):
    cell = np.array([[20.0, 0, 0], [4, 18, 0], [1, 2, 19]])
    truth = rng.uniform(0, 1, (3, 300, 3)) @ cell
    _h5md(tmp_path / "a.h5md", truth, cell)
    inventory = take_inventory(tmp_path / "a.h5md", species=SPECIES)
    frames = list(read_window(inventory))
    np.testing.assert_allclose(frames[1]["position"], truth[1][::-1], atol=1e-12)
    assert inventory.step.tolist() == [0, 200, 400]
    netcdf = pytest.importorskip("netCDF4")
    with netcdf.Dataset(tmp_path / "a.nc", "w") as f:
        for name, size in (("frame", None), ("atom", 300), ("spatial", 3), ("cell_spatial", 3), ("cell_angular", 3)):
            f.createDimension(name, size)
        f.createVariable("coordinates", "f8", ("frame", "atom", "spatial"))[:] = truth % 18
        f.createVariable("id", "i4", ("frame", "atom"))[:] = np.tile(np.arange(1, 301), (3, 1))
        f.createVariable("type", "i4", ("frame", "atom"))[:] = np.tile(np.repeat([1, 2], 150), (3, 1))
        f.createVariable("cell_lengths", "f8", ("frame", "cell_spatial"))[:] = np.full((3, 3), 18.0)
        f.createVariable("cell_angles", "f8", ("frame", "cell_angular"))[:] = np.full((3, 3), 90.0)
    frames = list(read_window(take_inventory(tmp_path / "a.nc", species=SPECIES)))
    np.testing.assert_allclose(frames[2]["position"], truth[2] % 18, atol=1e-12)


@pytest.mark.parametrize(
    ("suffix", "module", "extra"),
    [(".h5md", "h5py", "h5md"), (".nc", "netCDF4", "netcdf"), (".bin", "ovito.io", "ovito")],
)
def test_missing_extras_say_how_to_install_them(tmp_path, monkeypatch, suffix, module, extra):
    (tmp_path / f"a{suffix}").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf"pip install 'mgdask\[{extra}\]'"):
        take_inventory(tmp_path / f"a{suffix}", species=SPECIES)


def test_numbers_are_the_correctly_rounded_text(tmp_path, rng):
    words = [f"{v:.{d}g}" for v, d in zip(rng.uniform(0, 10, 300), rng.integers(3, 18, 300), strict=True)]
    rows = [[k + 1, 1, *words[3 * k : 3 * k + 3]] for k in range(100)]
    for columns, pad in (("id type x y z", ""), ("id type x y z", "  ")):
        path = write_dump(tmp_path / "a.dump", [(0, [[pad + str(w) for w in row] for row in rows])], columns)
        frame = next(iter(read_window(take_inventory(path, species={1: "Cu"}))))
        assert (frame["position"].ravel() == np.array([float(w) for w in words])).all()


@settings(max_examples=40, deadline=None)
@given(
    order=st.permutations(["id", "type", "x", "y", "z", "ix", "iy", "iz", "c_pe", "vx"]), seed=st.integers(0, 999),
    blank=st.sampled_from(["", " ", "  "]), tilted=st.booleans(), frames=st.integers(1, 3), chunk=st.sampled_from([600, 10**7]),
)  # fmt: skip
def test_any_order_of_columns_any_header(tmp_path_factory, order, seed, blank, tilted, frames, chunk):
    rng = np.random.default_rng(seed)
    truth, data = [], []
    for k in range(frames):
        values = {
            "id": rng.permutation(7) + 3,
            "type": rng.integers(1, 3, 7),
            **{n: rng.integers(-2, 3, 7) for n in ("ix", "iy", "iz")},
        }
        values["type"] = np.where(values["id"] % 2, 1, 2)
        for n in ("x", "y", "z"):
            values[n] = np.round(rng.uniform(2, 8, 7), 5)
        for n in ("c_pe", "vx"):
            values[n] = np.round(rng.normal(size=7), 4)
        truth.append({n: v[np.argsort(values["id"])] for n, v in values.items()})
        data.append(
            (100 * k, [[*(values[n][i] for n in order[:-1]), f"{values[order[-1]][i]}{blank}"] for i in range(7)])
        )
    path = write_dump(
        tmp_path_factory.mktemp("h") / "a.dump", data, " ".join(order), tilt=(0.4, -0.3, 0.2) if tilted else None
    )
    before, lammps_index.CHUNK = lammps_index.CHUNK, chunk
    try:
        inventory = take_inventory(path, species=SPECIES, timestep=0.001)
    finally:
        lammps_index.CHUNK = before
    assert inventory.atom_id.tolist() == list(range(3, 10))
    for found, want, ref in zip(read_window(inventory), truth, inventory.refs, strict=True):
        whole = (
            np.stack([want[n] for n in ("x", "y", "z")], 1)
            + np.stack([want[n] for n in ("ix", "iy", "iz")], 1) @ ref.matrix
        )
        np.testing.assert_allclose(unwrap(found["position"], found["image"], ref.matrix), whole, atol=1e-12)
        assert (found["c_pe"] == want["c_pe"]).all()
        assert (found["vx"] == want["vx"]).all()


def test_index_does_not_depend_on_how_the_file_is_cut(sample, monkeypatch):
    for name in ("tri_time.dump", "trunc.dump", "ort_vary.dump"):
        path = sample(name)
        whole = LammpsDump(path).index()
        for chunk in (700, 4099):
            monkeypatch.setattr(lammps_index, "CHUNK", chunk)
            assert LammpsDump(path).index() == whole


def test_truncated_last_frame_is_said_and_the_good_ones_stay(sample):
    inventory, found = paths(sample("trunc.dump"))
    assert found.shape == (3, 300, 3)
    (note,) = (n for n in inventory.notes if "truncated" in n)
    for word in ("trunc.dump, frame 3 (timestep 600), line 937 (byte 38518)", "of 300"):
        assert word in note


def test_a_restart_that_wrote_on_after_a_torn_frame(tmp_path, sample):
    text = open(sample("trunc.dump")).read()
    path = tmp_path / "on.dump"
    path.write_text(text + "\n" + open(sample("tri_unwrap.dump")).read().replace("\n1000\n", "\n1200\n", 1))
    refs = LammpsDump(str(path)).index()
    assert [ref.complete for ref in refs] == [True] * 3 + [False] + [True] * 6


def test_repeated_steps_keep_one_and_say_so(sample):
    for keep, which in (("last", "frame 2"), ("first", "frame 3")):
        inventory, _ = paths(sample("dup.dump"), repeated=keep)
        assert inventory.step.tolist() == [0, 200, 400, 600, 1000]
        (note,) = (n for n in inventory.notes if "repeated time steps" in n)
        assert f"dup.dump, {which} (timestep 400)" in note
    assert paths(sample("dup.dump"), repeated="all")[0].n_frames == 6
    with pytest.raises(AuditError, match="repeated time steps"):
        paths(sample("dup.dump"), repeated="error")


def test_uneven_spacing_is_fine_and_reported(sample):
    inventory, _ = paths(sample("dup.dump"))
    assert any("uneven spacing" in n and "200 to 400" in n for n in inventory.notes)


ROWS = [[1, 1, 1.0, 1.0, 1.0], [2, 2, 2.0, 2.0, 2.0], [3, 1, 3.0, 3.0, 3.0]]


def changed(k, column, value):
    return [[*r[:column], value, *r[column + 1 :]] if i == k else r for i, r in enumerate(ROWS)]


@pytest.mark.parametrize(
    ("frames", "options", "words"),
    [
        ([(0, ROWS), (10, changed(1, 0, 1))], {}, r"frame 1 \(timestep 10\).*id 1 stands twice on lines 22 and 23"),
        ([(0, ROWS), (10, ROWS[:2])], {}, r"number of atoms changes from 3 to 2 at .*frame 1 \(timestep 10\), line 22"),
        ([(0, ROWS), (10, changed(0, 1, 2))], {}, r"timestep 10\).*id 1 changes species from Z = 40 to 29"),
        (
            [(0, ROWS), (10, changed(2, 2, "nan"))],
            {},
            r"timestep 10\), line 22 \(byte \d+\): the position of id 3 is \[nan",
        ),
        ([(0, ROWS), (10, changed(2, 0, 7))], {}, r"set of ids is not that of the first frame; differing are \[3, 7\]"),
        ([(0, ROWS)], {"box": ((0, 10), (0, 0), (0, 10))}, r"frame 0 \(timestep 0\).*no positive volume"),
        ([(0, ROWS)], {"box": ((0, 10), (5, 1), (0, 10))}, "no positive volume"),
        ([(0, changed(1, 1, 3))], {}, "type 3 has no element; species names types"),
        ([(0, ROWS), (10, changed(1, 3, "oops"))], {}, r"line 23 \(byte \d+\): column y holds 'oops'"),
        (
            [(0, ROWS), (10, [ROWS[0], ROWS[1][:4], ROWS[2]])],
            {},
            r"line 23 \(byte \d+\): 4 columns where 5 are expected",
        ),
        ([(0, ROWS)], {"columns": "id type x y q"}, "no complete set of coordinates"),
        ([(0, ROWS)], {"columns": "q type x y z"}, r"timestep 0\), line 10 .*no id column"),
    ],
)
def test_what_cannot_be_read_right_is_refused(tmp_path, frames, options, words):
    path = write_dump(tmp_path / "a.dump", frames, **options)
    with pytest.raises(AuditError, match=words):
        list(read_window(take_inventory(path, species=SPECIES)))


def test_files_that_are_no_dumps(tmp_path):
    (tmp_path / "empty.dump").write_bytes(b"")
    (tmp_path / "text.dump").write_text("units metal\n")
    for name, words in (
        ("empty.dump", "is empty"),
        ("text.dump", r"is not a LAMMPS text dump: it begins with b'units metal.*byte 0, line 1"),
        ("none.dump", "there is no file"),
        ("none*.dump", "no file matches the pattern"),
        ("", "is a folder"),
    ):
        with pytest.raises(AuditError, match=words):
            take_inventory(tmp_path / name if name else tmp_path, species=SPECIES)
    data = bytearray((DATA / "tri_wrap.dump.gz").read_bytes())
    data[9000:9100] = b"x" * 100
    (tmp_path / "bad.dump.gz").write_bytes(data)
    with pytest.raises(AuditError, match=r"bad.dump.gz.*(damaged|cannot be read)"):
        take_inventory(tmp_path / "bad.dump.gz", species=SPECIES)


def zstd_in_blocks(data):
    """As a stream that was written bit by bit."""
    packer = zstandard.ZstdCompressor().compressobj()
    flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
    parts = [packer.compress(data[k : k + 8000]) + packer.flush(flush) for k in range(0, len(data), 8000)]
    return b"".join(parts) + packer.flush()


@pytest.mark.parametrize("pack", [gzip.compress, zstd_in_blocks])
def test_a_compressed_file_cut_by_the_walltime_keeps_its_good_frames(tmp_path, sample, pack):
    text = open(sample("tri_unwrap.dump"), "rb").read() * 6
    (tmp_path / "whole.dump").write_bytes(text)
    (tmp_path / "cut.dump").write_bytes(pack(text)[:-6000])  # the reader goes by the first bytes, not the name
    inventory, found = paths(str(tmp_path / "cut.dump"), repeated="all")
    assert 1 <= len(found) < 36
    assert any("truncated frame left out" in note for note in inventory.notes)
    assert (found == paths(str(tmp_path / "whole.dump"), repeated="all")[1][: len(found)]).all()


def test_species_are_never_guessed(tmp_path):
    path = write_dump(tmp_path / "a.dump", [(0, ROWS)])
    with pytest.raises(AuditError, match="--species Cu,Zr"):
        take_inventory(path)
    with pytest.raises(ParameterError, match="did you mean 'Zr'"):
        take_inventory(path, species={1: "zr", 2: "Cu"})
    path = write_dump(tmp_path / "b.dump", [(0, [[1, "Q", 1, 1, 1]])], "id element x y z")
    with pytest.raises(AuditError, match="'Q' is not an element symbol"):
        take_inventory(path)


def test_several_files_are_one_trajectory_or_several_runs(tmp_path):
    for k in (0, 20, 100):
        write_dump(tmp_path / f"dump.{k}.txt", [(k, ROWS)])
    pattern = str(tmp_path / "dump.*.txt")
    assert [name.split(".")[-2] for name in expand(pattern)] == ["0", "20", "100"]
    assert take_inventory(pattern, species=SPECIES).step.tolist() == [0, 20, 100]
    one = write_dump(tmp_path / "one.dump", [(0, ROWS), (10, ROWS)])
    two = write_dump(tmp_path / "two.dump", [(0, ROWS), (10, ROWS)])
    with pytest.raises(AuditError, match=r"every time step of .*one.dump comes again.*--run-per-file"):
        take_inventory([one, two], species=SPECIES)
    assert take_inventory([one, two], species=SPECIES, run_per_file=True).runs == ("one", "one", "two", "two")


def test_units(tmp_path):
    text = open(write_dump(tmp_path / "a.dump", [(5, ROWS)])).read()
    (tmp_path / "a.dump").write_text("ITEM: UNITS\nnano\nITEM: TIME\n2.5\n" + text)
    inventory = take_inventory(tmp_path / "a.dump", species=SPECIES)
    assert inventory.cell[0, 0, 0] == 100.0
    assert inventory.times == (2500.0,)
    np.testing.assert_allclose(next(iter(read_window(inventory)))["position"][1], [20, 20, 20])
    with pytest.raises(ParameterError, match="says ITEM: UNITS nano"):
        take_inventory(tmp_path / "a.dump", species=SPECIES, units="metal")
    with pytest.raises(ParameterError, match="not a LAMMPS unit style"):
        take_inventory(tmp_path / "a.dump", species=SPECIES, units="furlong")
