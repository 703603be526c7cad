"""Files of other programs: what they hold, bit for bit, and how they are written."""

from __future__ import annotations

import json
import os
from typing import ClassVar

import ase.io
import dask
import numpy as np
import pytest

import mgdask
from mgdask.errors import ParameterError, StoreError
from mgdask.explore import export
from mgdask.explore.exporting import cutting, dump, joining, planning
from mgdask.explore.exporting.rows import Column, legal, named
from mgdask.explore.exporting.text import edges, shifted
from tests import forked
from tests.explore.exported import (
    IDS,
    LABELS,
    N_FRAMES,
    Awkward,
    assert_same,
    make_features,
    make_trajectory,
)

SAME = ("position", "image", "cell", "origin", "step", "time", "atom_id", "species", "mass", "pbc")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_trajectory(tmp_path_factory.mktemp("trajectory"))


@pytest.fixture(scope="module")
def features(store, tmp_path_factory):
    return make_features(store, tmp_path_factory.mktemp("features") / "f.zarr")


@pytest.fixture(scope="module")
def some_features(store, tmp_path_factory):
    """Features of two frames and the Cu atoms."""
    out = tmp_path_factory.mktemp("features") / "some.zarr"
    return make_features(store, out, frames=[1, 3], centers=("Cu",))


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of two frames, or of five atoms of a frame."""

    def cut_into(rows):
        monkeypatch.setattr(planning, "text_cut", lambda n, _: cutting.Cut(n, rows))
        monkeypatch.setattr(planning, "table_cut", lambda n, _: cutting.Cut(n, rows))

    return cut_into


def naive_dump(path):
    """Read a dump by its definition in the LAMMPS manual."""
    frames, lines = [], path.read_text().splitlines()
    at, frame = 0, {}
    while at < len(lines):
        title = lines[at]
        if title == "ITEM: TIMESTEP":
            frame = {"step": int(lines[at + 1])}
            frames.append(frame)
        if title.startswith("ITEM: BOX"):
            frame["box"] = (
                title,
                [[float(w) for w in row.split()] for row in lines[at + 1 : at + 4]],
            )
        if title.startswith("ITEM: NUMBER"):
            frame["n"] = int(lines[at + 1])
        if title.startswith("ITEM: ATOMS"):
            rows = [line.split() for line in lines[at + 1 : at + 1 + frame["n"]]]
            names = title.split()[2:]
            assert {len(row) for row in rows} == {len(names)}
            frame["columns"] = dict(zip(names, zip(*rows, strict=True), strict=True))
            at += frame["n"]
        at += 4 if title.startswith("ITEM: BOX") else 1 if title.startswith("ITEM: ATOMS") else 2
    return frames


# ------------------------------------------------------------------------- what the files hold
@pytest.mark.parametrize("name", ["out.dump", "out.extxyz"])
@pytest.mark.parametrize(
    ("tilt", "flags"), [(None, "pp pp pp"), ((0.9, -1.3, 0.4), "pp ff pp")], ids=["ort", "tri"]
)
def test_exported_and_ingested_again_is_equal_bit_for_bit(tmp_path, name, tilt, flags):
    store = make_trajectory(tmp_path, tilt=tilt, flags=flags)
    export(store, tmp_path / name, progress=False)
    mgdask.ingest(tmp_path / name, tmp_path / "again.zarr")
    assert_same(store, tmp_path / "again.zarr", (*SAME, "vx", "vy", "vz"))
    ds = mgdask.open_store(store)
    fraction = (ds.position - ds.origin).values @ np.linalg.inv(ds.cell.values)
    if flags != "pp pp pp":  # atoms outside along the direction that does not repeat
        assert ((fraction < 0) | (fraction >= 1)).any()
    if name.endswith("extxyz"):
        assert mgdask.open_store(tmp_path / "again.zarr").temperature.values.tolist() == [300] * 5


def test_any_cell_comes_back(tmp_path):
    """Rotated cells, and lengths that no bounds give, are written as vectors."""
    rng = np.random.default_rng(3)
    kinds = set()
    for k in range(40):
        cell = np.tril(rng.uniform(0.5, 9, (3, 3))) * (-1.0) ** rng.integers(0, 2, (3, 3))
        cell[np.diag_indices(3)] = np.abs(np.diag(cell)) + 1
        origin = rng.uniform(-30, 30, 3) * 10.0 ** rng.integers(-3, 4)
        if k % 4 == 0:
            cell = cell @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
        text = dump._box(cell, origin, (True, True, False)).splitlines()
        rows = np.array([line.split() for line in text[1:]], dtype=float)
        kinds.add(" ".join(text[0].split()[3:5]))
        assert text[0].endswith("pp pp ff")
        if "abc" in text[0]:
            found, low = rows[:, :3], rows[:, 3]
        else:  # as LAMMPS documents it (Howto_triclinic)
            (xlo, xhi, xy), (ylo, yhi, xz), (zlo, zhi, yz) = rows
            xlo -= min(0.0, xy, xz, xy + xz)
            xhi -= max(0.0, xy, xz, xy + xz)
            ylo -= min(0.0, yz)
            yhi -= max(0.0, yz)
            found = np.array([[xhi - xlo, 0, 0], [xy, yhi - ylo, 0], [xz, yz, zhi - zlo]])
            low = np.array([xlo, ylo, zlo])
        assert np.array_equal(found, cell)
        assert np.array_equal(low, origin)
    assert kinds == {"abc origin", "xy xz"}


def test_a_bound_that_gives_the_length():
    rng = np.random.default_rng(5)
    for low, high in rng.uniform(-100, 100, (300, 2)):
        length = abs(high - low)
        pair = edges(low, length)
        assert pair is None or pair[1] - pair[0] == length
    # a length that is a difference of bounds is one again
    assert all(edges(a, b - a) for a, b in np.sort(rng.uniform(-100, 100, (300, 2))))
    assert shifted(1e16, 0.3) in (1e16, None)
    assert edges(1e17, 0.1) is None


def test_ase_reads_the_extxyz(store, features, tmp_path):
    export(store, tmp_path / "a.extxyz", features=[features], frames=slice(1, 4), progress=False)
    images = ase.io.read(tmp_path / "a.extxyz", ":")
    ds, f = mgdask.open_store(store), mgdask.open_store(features)
    assert len(images) == 3
    for k, atoms in enumerate(images, start=1):
        assert np.array_equal(atoms.cell[:], ds.cell[k].values)
        assert np.array_equal(atoms.positions, ds.position[k].values)
        assert atoms.pbc.tolist() == [True, True, False]
        assert atoms.arrays["id"].tolist() == IDS.tolist()
        assert np.array_equal(atoms.numbers, ds.species.values)
        assert np.array_equal(atoms.get_masses(), ds.mass.values)
        assert atoms.info["Timestep"] == 1000 * k + 7
        assert atoms.info["run"] == str(ds.run.values[k])
        assert atoms.info["temperature"] == 300
        names = ("awkward_far", "soap_Cu-Zr_l2_n1_3", "awkward_x", "awkward_Far_2")
        found = np.stack([atoms.arrays[name] for name in names], axis=1)
        assert np.array_equal(found, f.awkward[k].values, equal_nan=True)


def test_a_dump_has_the_columns_and_a_file_describes_them(store, features, tmp_path):
    report = export(
        store, tmp_path / "a.dump", features=[features], columns=["vx", "far", "awkward:x"],
        frames=[2], progress=False,
    )  # fmt: skip
    (frame,) = naive_dump(tmp_path / "a.dump")
    assert list(frame["columns"])[-4:] == ["mass", "vx", "far", "awkward_x"]
    values = mgdask.open_store(features).awkward[2].sel(awkward_feature=["far", "x"]).values
    found = np.array([frame["columns"]["far"], frame["columns"]["awkward_x"]], dtype=float).T
    assert np.array_equal(found, values, equal_nan=True)
    assert frame["columns"]["element"][:2] == ("Cu", "Zr")
    about = json.loads((tmp_path / "a.dump.columns.json").read_text())
    assert about["awkward_x"]["label"] == "x"
    assert about["vx"]["units"] == "Å/ps"
    assert report.columns == {"vx": "vx", "far": "far", "awkward_x": "x"}
    assert "awkward_x (x)" in str(report)
    assert "temperature" in str(report)  # a dump has no place for it


def test_columns_and_frames_in_any_order(store, features, tmp_path):
    """An order that begins and ends like a range is none."""
    labels = [LABELS[k] for k in (0, 2, 1, 3)]
    ds, f = mgdask.open_store(store), mgdask.open_store(features)
    shuffled = f.isel(frame=[0, 2, 1, 3, 4], atom=[0, 2, 1, *range(3, 14)])
    want = f.awkward.sel(awkward_feature=labels)
    for source, few in ((store, features), (ds, f), (ds, shuffled)):
        wanted = [f"awkward:{label}" for label in labels]
        export(source, tmp_path / "a.dump", features=[few], columns=wanted, overwrite=True)
        for frame, values in zip(naive_dump(tmp_path / "a.dump"), want.values, strict=True):
            found = np.array(list(frame["columns"].values())[-4:], dtype=float).T
            assert np.array_equal(found, values, equal_nan=True)


class Counted(Awkward):
    """Counts the calls, and the frames and atoms in them."""

    calls: ClassVar[list[int]] = []

    def describe(self, environments, centers, out):
        self.calls.append(len(centers))
        return super().describe(environments, centers, out)


def test_lazy_features_are_computed_for_what_is_written(store, features, tmp_path):
    ds = mgdask.open_store(store)
    f = mgdask.featurize(ds, Counted())
    Counted.calls.clear()
    copper = ds.species == 29
    with dask.config.set(scheduler="sync"):
        export(ds, tmp_path / "a.dump", features=[f], frames=[1, 3], atoms=copper)
    assert sum(Counted.calls) == 2 * int(copper.sum())
    export(store, tmp_path / "b.dump", features=[features], frames=[1, 3], atoms=copper)
    far = [
        np.array(
            [frame["columns"]["soap_Cu-Zr_l2_n1_3"] for frame in naive_dump(path)], dtype=float
        )
        for path in (tmp_path / "a.dump", tmp_path / "b.dump")
    ]
    assert np.array_equal(*far)


def test_a_data_file(store, tmp_path):
    report = export(store, tmp_path / "a.data", frames=[3], progress=False)
    assert report.n_parts == 2  # atoms and velocities
    atoms = ase.io.read(tmp_path / "a.data", format="lammps-data", sort_by_id=False)
    ds = mgdask.open_store(store).isel(frame=3)
    assert atoms.arrays["id"].tolist() == IDS.tolist()
    assert np.array_equal(atoms.cell[:], ds.cell.values)
    mgdask.ingest(tmp_path / "a.data", tmp_path / "again.zarr")
    again = mgdask.open_store(tmp_path / "again.zarr").isel(frame=0)
    for name in ("position", "image", "cell", "origin", "species", "mass"):
        # the format does not say that z is not periodic
        if name not in ("position", "image"):
            assert np.array_equal(again[name].values, ds[name].values), name
    path = (ds.position + ds.image.values @ ds.cell.values).values
    assert np.allclose(again.position + again.image.values @ again.cell.values, path, atol=1e-12)
    for name in ("vx", "vy", "vz"):
        assert np.allclose(again[name].values, ds[name].values, rtol=1e-9)


def test_general_cells_of_data_files(tmp_path):
    from mgdask.explore.exporting import data
    from mgdask.explore.exporting.rows import FrameRows

    cell = np.array([[7.1, 0.3, -0.2], [1.0, 6.5, 0.1], [0.4, -0.6, 8.2]])
    rows = FrameRows(
        frame=0, step=5, run="", time=None, n_atoms=2, cell=cell, origin=np.array([1.0, 2, 3]),
        pbc=(True,) * 3, ids=np.array([4, 9]), types=np.array([1, 2]), symbols=("Cu", "Cu"),
        masses=(63.0, 65.0), position=np.array([[1.5, 2.5, 3.5], [3, 4, 5.0]]),
        image=np.zeros((2, 3), int), columns={},
    )  # fmt: skip
    (tmp_path / "a.data").write_bytes(data.header(rows) + data.body(rows))
    mgdask.ingest(tmp_path / "a.data", tmp_path / "a.zarr", species="Cu=Cu,Cu_1=Cu,Cu_2=Cu")
    ds = mgdask.open_store(tmp_path / "a.zarr").isel(frame=0)
    assert np.array_equal(ds.cell.values, cell)
    assert ds.origin.values.tolist() == [1, 2, 3]
    assert ds.mass.values.tolist() == [63, 65]


def test_runs_and_frames_have_files_of_their_own(store, tmp_path):
    export(store, tmp_path / "x-{step}.data", frames=[1, 4], progress=False)
    assert {p.name for p in tmp_path.glob("*.data")} == {"x-1007.data", "x-4007.data"}
    glass = tmp_path / "two.zarr"
    mgdask.ingest([tmp_path / "x-1007.data", tmp_path / "x-4007.data"], glass, run=["a", "b 2"])
    with pytest.raises(ParameterError, match=r"2 runs \(a, b 2\).*\{run\} into the name"):
        export(glass, tmp_path / "y.dump")
    report = export(glass, tmp_path / "y-{run}.dump", progress=False)
    assert [os.path.basename(name) for name in report.files] == ["y-a.dump", "y-b_2.dump"]
    for name, step in (("a", 1007), ("b_2", 4007)):
        (frame,) = naive_dump(tmp_path / f"y-{name}.dump")
        assert frame["step"] == step
    assert len(ase.io.read(export(glass, tmp_path / "y.xyz", format="extxyz").files[0], ":")) == 2


def test_atoms_and_features_of_some(store, some_features, tmp_path):
    report = export(store, tmp_path / "a.dump", features=[some_features], progress=False)
    assert "frames 1,3, which all features have" in str(report)
    frames = naive_dump(tmp_path / "a.dump")
    assert [frame["step"] for frame in frames] == [1007, 3007]
    far = np.array(frames[1]["columns"]["awkward_far"], dtype=float)
    f = mgdask.open_store(some_features)
    copper = mgdask.open_store(store).species.values == 29
    assert np.array_equal(far[copper], f.awkward[1, :, 0].values, equal_nan=True)
    assert np.isnan(far[~copper]).all()
    export(store, tmp_path / "b.dump", features=[some_features], atoms=["Cu"], progress=False)
    (_, frame) = naive_dump(tmp_path / "b.dump")
    assert list(map(int, frame["columns"]["id"])) == IDS[copper].tolist()
    assert set(frame["columns"]["type"]) == {"1"}  # as in the whole sample
    export(store, tmp_path / "c.dump", atoms=[90, 4], frames=[0], progress=False)
    assert naive_dump(tmp_path / "c.dump")[0]["columns"]["id"] == ("4", "90")


def test_a_dataset_gives_the_bytes_of_its_store(store, features, tmp_path):
    ds = mgdask.open_store(store)
    export(store, tmp_path / "a.dump", features=[features], frames=[1, 2], progress=False)
    export(
        ds.isel(frame=[1, 2]),
        tmp_path / "b.dump",
        features=[mgdask.open_store(features).isel(frame=[1, 2])],
    )
    assert (tmp_path / "a.dump").read_bytes() == (tmp_path / "b.dump").read_bytes()
    export(store, tmp_path / "c.extxyz", frames=[3], progress=False)
    export(ds.isel(frame=3), tmp_path / "d.extxyz")
    assert (tmp_path / "c.extxyz").read_bytes() == (tmp_path / "d.extxyz").read_bytes()
    # a feature that was computed here, in the Dataset itself
    squared = ds.assign(r2=(ds.position**2).sum("xyz")).isel(frame=[0])
    export(squared, tmp_path / "e.dump", columns=["r2"])
    found = np.array(naive_dump(tmp_path / "e.dump")[0]["columns"]["r2"], dtype=float)
    assert np.array_equal(found, squared.r2.values[0])


# ------------------------------------------------------------------------ parts, workers, kills
@pytest.mark.parametrize(
    ("name", "rows"), [("a.dump", 5), ("a.dump", 28), ("a.extxyz", 5), ("a-{step}.data", 10)]
)
def test_bytes_do_not_depend_on_parts(store, features, tmp_path, small_parts, name, rows):
    few = {} if name.endswith("data") else {"features": [features]}
    export(store, tmp_path / f"one-{name}", progress=False, **few)
    small_parts(rows)
    report = export(store, tmp_path / f"two-{name}", progress=False, **few)
    for path in report.files:
        whole = tmp_path / os.path.basename(path).replace("two-", "one-")
        assert whole.read_bytes() == (tmp_path / path).read_bytes()
    assert not list(tmp_path.glob("*.parts"))


def test_bytes_do_not_depend_on_workers(client, store, features, tmp_path, small_parts):
    small_parts(5)
    export(store, tmp_path / "a.dump", features=[features], client=client, progress=False)
    export(store, tmp_path / "a.parquet", features=[features], client=client, progress=False)
    ds, f = mgdask.open_store(store), mgdask.open_store(features)
    export(ds, tmp_path / "b.dump", features=[f])
    export(ds, tmp_path / "b.parquet", features=[f])
    assert (tmp_path / "a.dump").read_bytes() == (tmp_path / "b.dump").read_bytes()
    names = sorted(p.relative_to(tmp_path / "a.parquet") for p in tmp_path.glob("a.parquet/*/*"))
    assert len(names) == 3 * N_FRAMES
    for name in names:
        a, b = tmp_path / "a.parquet" / name, tmp_path / "b.parquet" / name
        assert a.read_bytes() == b.read_bytes()


KILLED = """
import os, signal, sys
from mgdask.explore import export
from mgdask.explore.exporting import cutting, joining, planning, run, tasks
planning.text_cut = planning.table_cut = lambda n, _: cutting.Cut(n, 5)
place, name, last, store, out = sys.argv[1:]
module = {"joining": joining, "tasks": tasks, "run": run}[place]
original = getattr(module, name)
calls = 0
def killed(*words, **options):
    global calls
    calls += 1
    if calls > int(last):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*words, **options)
setattr(module, name, killed)
export(store, out, progress=False)
"""


@pytest.mark.parametrize(
    ("place", "name", "last"),
    [
        pytest.param("tasks", "text_of", 7, marks=pytest.mark.slow),
        ("joining", "write_file", 9),  # a part, or the note of what was appended
        pytest.param("joining", "write_file", 24, marks=pytest.mark.slow),
        ("joining", "flush_folder", 1),  # a file was renamed, and that was not noted
    ],
)
def test_a_killed_export_goes_on(store, tmp_path, small_parts, place, name, last):
    out = tmp_path / "a-{step}.dump"
    small_parts(5)
    export(store, tmp_path / "b-{step}.dump", progress=False)
    ended = forked.run(KILLED, place, name, last, store, out)
    assert ended.returncode == -9, ended.stderr
    assert (tmp_path / "a-{step}.dump.parts").is_dir()
    report = export(store, out, progress=False)
    assert report.n_written < report.n_parts == 3 * N_FRAMES
    assert "parts were there already" in str(report)
    assert len(report.files) == N_FRAMES
    for path in report.files:
        assert (tmp_path / os.path.basename(path).replace("a-", "b-")).read_bytes() == (
            tmp_path / path
        ).read_bytes()
    assert not joining.parts_folder(out).exists()


def test_another_export_to_the_same_file_starts_anew(store, tmp_path, small_parts):
    out = tmp_path / "a-{step}.dump"
    ended = forked.run(KILLED, "tasks", "text_of", 7, store, out)
    assert ended.returncode == -9, ended.stderr
    small_parts(5)
    with pytest.raises(StoreError, match="exists"):
        export(store, out, frames=[0, 1], progress=False)
    report = export(store, out, frames=[0, 1], overwrite=True, progress=False)
    assert report.n_written == report.n_parts == 6


# ---------------------------------------------------------------------------- names and words
def test_names_of_columns():
    labels = ("q6", "a b", "a_b", "X", "2nd", "z=1")
    columns = [Column("", label, "bond", k, 1) for k, label in enumerate(labels)]
    assert [c.name for c in named(columns, plain=True)] == [
        "q6", "bond_a_b", "bond_a_b_2", "bond_X", "c_2nd", "z1",
    ]  # fmt: skip
    assert [c.name for c in named(columns, plain=False)] == list(labels)
    assert legal("Q(6), mean.") == "Q_6_mean"
    twice = [Column("", "q6", name, 0, k) for k, name in enumerate(("one", "two"), start=1)]
    assert [c.name for c in named(twice, plain=False)] == ["one: q6", "two: q6"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"out": "a.pdb"}, "suffix .pdb names no format. Known are extxyz: .extxyz .xyz;"),
        ({"out": "a.dump", "format": "pdb"}, "format='pdb' is unknown; allowed: extxyz, dump"),
        ({"out": "a.data"}, "holds one frame, but 5 frames are chosen"),
        ({"out": "a-{atom}.dump"}, r"\{atom\} is not known; allowed"),
        ({"out": "s3://bucket/a.dump"}, "written to local folders only"),
        ({"out": "a.dump", "frames": [7]}, "frames=.*0 to 4"),
        ({"out": "a.dump", "columns": ["vy", "fra"]}, "no column 'fra'; the nearest are 'far'"),
        ({"out": "a.dump", "atoms": [5]}, "5"),
        ({"out": "a.data", "frames": [0], "columns": ["far"]}, "no column far.*Choose extxyz"),
    ],
)
def test_wrong_arguments_are_answered_in_words(store, features, tmp_path, options, words):
    out = options.pop("out")
    out = out if "://" in out else tmp_path / out
    with pytest.raises(ParameterError, match=words):
        export(store, out, features=[features], **options)
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_said(store, features, some_features, tmp_path, glass_store):
    (tmp_path / "a.dump").write_text("mine")
    with pytest.raises(StoreError, match=r"a\.dump exists; .*--overwrite"):
        export(store, tmp_path / "a.dump")
    assert (tmp_path / "a.dump").read_text() == "mine"
    with pytest.raises(ParameterError, match=r"no positions and cell.*--features.*--table"):
        export(features, tmp_path / "b.dump")
    with pytest.raises(ParameterError, match=r"no features of frame 2 \(run 'in', step 2007\)"):
        export(store, tmp_path / "b.dump", features=[some_features], frames=[1, 2])
    with pytest.raises(ParameterError, match="14 of 2000 ids are in both"):
        export(store, tmp_path / "b.dump", features=[glass_store])
    with pytest.raises(ParameterError, match="has no columns of features; features="):
        export(store, tmp_path / "b.dump", features=[mgdask.open_store(store)[["position"]]])
    with pytest.raises(ParameterError, match=r"no dimension .atom.*list"):
        export(mgdask.open_store(store).isel(atom=3), tmp_path / "b.dump")
    with pytest.raises(ParameterError, match="list cannot be exported"):
        export([store], tmp_path / "b.dump")
    (tmp_path / "b.dump.parts").mkdir()
    (tmp_path / "b.dump.parts" / "mine").touch()
    with pytest.raises(StoreError, match="holds no unfinished export"):
        export(store, tmp_path / "b.dump")
    assert LABELS[0] == "far"


@pytest.mark.parametrize(("n_atoms", "n_frames"), [(10**7, 2), (2048, 500), (100, 3)])
def test_parts_are_bounded_and_cover_everything_in_order(n_atoms, n_frames):
    cut = cutting.text_cut(n_atoms, 80)
    frames = [np.arange(n_frames)]
    seen = []
    for part in cutting.parts_of([range(n_frames)], frames, cut):
        n_rows = len(part.frames[0]) * (part.high - part.low)
        assert n_rows * 8 * 89 <= cutting.PART
        seen += [(frame, part.low, part.high) for frame in part.frames[0]]
    for frame in range(n_frames):
        slabs = [(low, high) for k, low, high in seen if k == frame]
        assert [low for low, _ in slabs] == [0, *(high for _, high in slabs[:-1])]
        assert slabs[-1][1] == n_atoms
    assert [frame for frame, *_ in seen] == sorted(frame for frame, *_ in seen)
