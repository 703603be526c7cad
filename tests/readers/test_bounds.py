"""Absurd input of every kind is refused in words, with little memory and in little time."""

from __future__ import annotations

import gzip
import itertools
import os
import pickle
import re
import struct
from functools import partial

import numpy as np
import pytest
import zstandard

import mgdask
from mgdask import bounds, geometry
from mgdask.errors import AuditError, ParameterError
from mgdask.readers.indexing import take_inventory
from mgdask.readers.window import read_window
from tests.readers import mutations
from tests.readers.sandbox import run

HEAD = "ITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n{n}\nITEM: BOX BOUNDS {flags}\n{box}\n"
BOX = "0 9\n0 9\n0 9"


def dump(rows, columns="id type x y z", box=BOX, step="0", n=None, flags="pp pp pp") -> bytes:
    head = HEAD.format(step=step, n=len(rows) if n is None else n, flags=flags, box=box)
    return (head + f"ITEM: ATOMS {columns}\n" + "".join(f"{row}\n" for row in rows)).encode()


def read(path, **options):
    options.setdefault("species", {1: "Cu", 2: "Zr"})
    return [values for _, values in read_window(take_inventory(path, **options))]


def refusal(tmp_path, data, name="a.dump", **options) -> str:
    (tmp_path / name).write_bytes(data)
    with pytest.raises((AuditError, ParameterError)) as caught:
        read(tmp_path / name, **options)
    return str(caught.value)


@pytest.mark.parametrize("far", ["1e16", "-1e16", "1e300", "-1e308", "2e9", "1.1e9"])
@pytest.mark.parametrize(("columns", "flags"), [("x", "pp"), ("xu", "pp"), ("x", "ff")])
def test_positions_beyond_what_digits_carry(tmp_path, far, columns, flags):
    rows = [f"7 1 1 2 {far}", "3 2 1 1 1"]
    names = f"id type {' '.join(columns.replace('x', axis, 1) for axis in 'xyz')}"
    text = refusal(tmp_path, dump(rows, names, flags=" ".join([flags] * 3)))
    assert "a.dump, frame 0 (timestep 0)" in text
    assert "id 7 (line 10)" in text
    assert "at most 1000000000 Å are allowed" in text
    assert "1e-06 Å cannot be resolved" in text


def test_positions_up_to_the_bound_keep_a_millionth(tmp_path):
    rng = np.random.default_rng(5)
    raw = rng.uniform(-4e8, 4e8, (40, 3))
    rows = [f"{k + 1} 1 {x:.17g} {y:.17g} {z:.17g}" for k, (x, y, z) in enumerate(raw)]
    tilted = "0 13 2\n-1 9 1\n0 9 0.5"
    (tmp_path / "a.dump").write_bytes(
        dump(rows, "id type xu yu zu", box=tilted, flags="xy xz yz pp pp pp")
    )
    inventory = take_inventory(tmp_path / "a.dump", species={1: "Cu"})
    ((_, frame),) = read_window(inventory)
    # in integers of 2^-40 Å, because doubles would round here as well
    exact = [
        [
            round(raw[k][j] * 2**40)
            - round(frame["position"][k, j] * 2**40)
            - sum(
                int(frame["image"][k, v]) * round(inventory.cell[0, v, j] * 2**40) for v in range(3)
            )
            for j in range(3)
        ]
        for k in range(40)
    ]
    assert max(abs(each) for row in exact for each in row) < bounds.RESOLUTION * 2**40


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ("0 1e-300\n0 9\n0 9", "1e-300 Å long; at least 1e-06 Å"),
        ("0 1e-7\n0 9\n0 9", "1e-07 Å long; at least 1e-06 Å"),
        ("-1e308 1e308\n0 9\n0 9", "is not finite"),
        ("-1e307 1e307\n0 9\n0 9", "2e+307 Å long; at most 1e+09 Å"),
        ("0 1e10\n0 1e10\n0 1e10", "1e+10 Å long; at most 1e+09 Å"),
        ("-1e200 1e200\n-1e200 1e200\n-1e200 1e200", "2e+200 Å long; at most 1e+09 Å"),
        ("1e12 1.000000000009e12\n0 9\n0 9", "the origin of the cell is [1000000000000.0"),
    ],
)
def test_boxes_that_overflow_or_vanish(tmp_path, box, words):
    text = refusal(tmp_path, dump(["1 1 1 1 1"], box=box))
    assert words in text
    assert "a.dump, frame 0 (timestep 0)" in text


@pytest.mark.parametrize("image", ["2147483647", "3000000000", "200000000", "-9e18"])
def test_images_beyond_32_bits_or_the_bound(tmp_path, image):
    rows = [f"1 1 1 1 1 0 0 {image.replace('9e18', '9000000000000000000')}"]
    text = refusal(tmp_path, dump(rows, "id type x y z ix iy iz"))
    assert "id 1 (line 10)" in text
    assert "periodic image" in text or "distance from the cell" in text


def test_far_positions_are_refused_by_compute_too():
    position, cell = np.array([[1.0, 1, 1], [3, 1, 1]]), 9 * np.eye(3)
    feature = mgdask.SOAP(r_cut=4.0, n_max=2, l_max=2, species=("Cu",))
    near = feature.compute(position, cell, [29, 29])
    for far in (1e18, 2e9, -1e300):
        with pytest.raises(ParameterError, match=r"atom 0 is .*at most ±1e\+09 Å are allowed"):
            feature.compute(position + far, cell, [29, 29])
    # a million cells away the digits are still there
    moved = feature.compute(position + 9 * 2**20, cell, [29, 29])
    np.testing.assert_allclose(moved, near, rtol=1e-6)
    for bad in (1e-300, 1e-7, 1e10, 1e200, 1e308):
        with pytest.raises(ParameterError, match=r"Å are allowed|Å, the resolution"):
            feature.compute(position, bad * np.eye(3), [29, 29])
    with pytest.raises(geometry.FarPositionError, match="atom 1: its periodic image is 3000000000"):
        geometry.wrap(position * 1e3, np.diag([1e-6, 9, 9]), np.zeros(3), [True] * 3)


@pytest.mark.parametrize("feature", ["soap", "coordination", "voronoi", "cutoff"])
def test_flat_cells_are_refused_before_memory_is_allocated(feature):
    rng = np.random.default_rng(1)
    position = rng.uniform(0, 24, (864, 3))
    numbers = np.full(864, 29)
    made = {
        "soap": mgdask.SOAP(r_cut=6.0, n_max=2, l_max=2, species=("Cu",)),
        "coordination": mgdask.Coordination(),
        "voronoi": mgdask.VoronoiIndices(),
        "cutoff": mgdask.BondOrder(neighbors="cutoff", cutoff=6.0),
    }[feature]
    angle = 1e-3 if feature in ("soap", "cutoff") else 1e-5
    cell = 24 * np.array([[1, 0, 0], [np.cos(angle), np.sin(angle), 0], [0, 0, 1]])

    def job():
        made.compute(position, cell, numbers)

    made.compute(position[:8], 24 * np.eye(3), numbers[:8])  # compile outside the child
    (outcome,) = run([job])
    assert outcome.kind == "refused", outcome
    assert "periodic images of the cell, whose opposite faces are 0." in outcome.text
    assert "at most 100000 images are allowed" in outcome.text


def test_lists_that_exceed_the_memory_are_refused():
    from mgdask.kernels.neighbors import neighbor_list

    position = np.random.default_rng(1).uniform(0, 30, (60_000, 3))
    cell = np.array([[100.0, 0, 0], [99.9999, 0.3, 0], [0, 0, 100]])
    with pytest.raises(ParameterError, match=r"take .* GB, but .* GB of memory are available"):
        neighbor_list(position, cell, 6.0)


def bombs(size: int) -> dict[str, bytes]:
    """Return hostile files by name, with ``size`` MiB of zeros or of one line."""
    good = dump(["1 1 1 1 1"])
    zeros = bytes(1 << 20)
    once = zstandard.ZstdCompressor(level=1).compress(zeros)
    gz = gzip.compress(zeros, 6)
    ten = b"1 1 1 1 1\n"
    wide = b"8 " * (size << 19)
    data = mutations.small_data(mutations._read("tri.data"))
    xyz = b'1\nLattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3%s\nCu 1 1 1\n'
    return {
        "zst.dump.zst": zstandard.ZstdCompressor().compress(good) + 16 * size * once,
        "gz.dump.gz": gzip.compress(good) + 16 * size * gz,
        "long.dump": dump(["1 1 1 1 1"]).replace(ten, wide + b"\n"),
        "long_gz.dump.gz": gzip.compress(dump(["1 1 1 1 1"]).replace(ten, wide + b"\n"), 1),
        "count.dump": dump(["1 1 1 1 1"], n=10**15),
        "wide.dump": dump(["1 1 1 1 1"], "id type x y z " + "a " * 100_000),
        "names.dump": dump(["1 1 1 1 1"], " ".join(f"c{k}" for k in range(40_000))),
        "types.data": re.sub(rb"(Atoms.*\n\n\d+) \d+", rb"\1 900000000000", data),
        "masses.data": data.replace(b"\n1 91.224", b"\n900000000000 91.224"),
        "count.data": data.replace(b"8 atoms", b"900000000000 atoms"),
        "counts.data": data.replace(b"8 atoms", b"8 atoms\n+900000000000 atoms"),
        "line.data": data + wide,
        "width.xyz": xyz % b":a:R:999999999",
        "count.xyz": b"9" * 15 + xyz[1:] % b"",
        "line.xyz": xyz % b"" + wide,
        "comment.xyz": xyz % (b" " + wide),
    }


@pytest.mark.parametrize("size", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_hostile_files_take_little_memory_and_time(tmp_path, size):
    import ase.io.extxyz
    import ase.io.lammpsdata

    assert ase
    made = bombs(size)
    jobs = []
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
        jobs.append(partial(read, tmp_path / name, species={1: "Zr", 2: "Cu", 3: "Cu"}))
    outcomes = dict(zip(made, run(jobs), strict=True))
    wrong = {name: outcome for name, outcome in outcomes.items() if outcome.kind != "refused"}
    assert not wrong, wrong
    assert "unpack to" in outcomes["zst.dump.zst"].text
    assert "unzstd" in outcomes["zst.dump.zst"].text
    assert "gunzip -k" in outcomes["gz.dump.gz"].text
    assert f"has {size << 20} bytes; at most 1048576 are allowed" in outcomes["long.dump"].text
    assert "0 of 1000000000000000" not in outcomes["count.dump"].text
    assert "900000000000 of the Atoms section" in outcomes["types.data"].text
    assert "Types are 1 to 1000000" in outcomes["types.data"].text


def test_types_of_the_user_are_bounded(tmp_path):
    text = refusal(tmp_path, dump(["1 1 1 1 1"]), species={900_000_000_000: "Cu"})
    assert "type 900000000000 is too large; types up to 1000000" in text


def test_columns_of_values_are_bounded(tmp_path):
    from mgdask.readers.text_columns import read_column

    (tmp_path / "e.gz").write_bytes(48 * gzip.compress(b"1\n" * (32 << 20), 9))
    (tmp_path / "e.txt").write_bytes(b"1 " * (1 << 20))
    jobs = [partial(read_column, tmp_path / name, 1) for name in ("e.gz", "e.txt")]
    grown, long = run(jobs)
    assert (grown.kind, long.kind) == ("refused", "refused")
    assert "unpack to" in grown.text
    assert "line 1 has more than 1048576 bytes" in long.text


@pytest.mark.parametrize("step", [2**63, -(2**63) - 1, 10**30])
def test_timesteps_beyond_64_bits(tmp_path, step):
    text = refusal(tmp_path, dump(["1 1 1 1 1"], step=str(step)))
    assert f"the timestep {step} is not a 64-bit integer" in text
    xyz = (
        f'1\nLattice="9 0 0 0 9 0 0 0 9" Timestep={step} Properties=species:S:1:pos:R:3\nCu 1 1 1\n'
    )
    assert "not a 64-bit integer" in refusal(tmp_path, xyz.encode(), "a.xyz")


def test_times_that_overflow(tmp_path):
    text = refusal(tmp_path, dump(["1 1 1 1 1"], step=str(2**62)), timestep=1e300)
    assert "its time is inf ps, which is not finite" in text


def test_ids_beyond_64_bits(tmp_path):
    assert "does not fit into a 64-bit integer" in refusal(tmp_path, dump([f"{2**63} 1 1 1 1"]))


@pytest.mark.parametrize(
    ("column", "variable"),
    [
        ("manifest", "file_manifest"),
        ("Manifest", "file_Manifest"),
        ("image_scratch", "file_image_scratch"),
        ("Position", "file_Position"),
        ("c", "c"),
        ("zarr.json", "zarr_json"),
        ("../../x", "x"),
    ],
)
def test_columns_named_like_parts_of_a_store(tmp_path, column, variable):
    (tmp_path / "a.dump").write_bytes(dump(["1 1 1 1 1 5.5"], f"id type x y z {column}"))
    (frame,) = read(tmp_path / "a.dump")
    assert frame[variable].tolist() == [5.5]


def test_columns_that_differ_by_case_only(tmp_path):
    (tmp_path / "a.dump").write_bytes(dump(["1 1 1 1 1 5 6"], "id type x y z c_a C_A"))
    (frame,) = read(tmp_path / "a.dump")
    assert frame["c_a"].tolist() == [5.0]
    assert frame["C_A_"].tolist() == [6.0]


def test_values_named_like_a_column(tmp_path):
    xyz = '1\nLattice="9 0 0 0 9 0 0 0 9" energy=-7 Properties=species:S:1:pos:R:3:energy:R:1\n'
    (tmp_path / "a.xyz").write_text(xyz + "Cu 1 1 1 -3\n")
    inventory = take_inventory(tmp_path / "a.xyz")
    ((_, frame),) = read_window(inventory)
    assert frame["energy"].tolist() == [-3.0]
    assert inventory.values["energy_"].tolist() == [-7.0]


def test_names_that_are_too_long(tmp_path):
    text = refusal(tmp_path, dump(["1 1 1 1 1 5"], f"id type x y z {'n' * 300}"))
    assert "'nnn" in text
    assert "has 300 bytes; at most 200 are allowed" in text
    assert "columns=[...]" in text
    with pytest.raises(ParameterError, match="has 300 bytes"):
        mgdask.Coordination().named("n" * 300)


@pytest.mark.parametrize("label", ["a\nb", "x" * 1001, "a\0b", "caf\udce9"])
def test_labels_that_cannot_be_printed(tmp_path, label):
    text = refusal(tmp_path, dump(["1 1 1 1 1"]), run=label)
    assert "some that cannot be printed; use at most 1000" in text


def test_file_names_that_are_not_utf8(tmp_path, monkeypatch):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.dump")
    with open(name, "wb") as file:
        file.write(dump(["1 1 1 1 1"]))
    inventory = take_inventory(name, species={1: "Cu"})
    assert inventory.run == ("caf\\xe9",)
    assert inventory.sources_table()[0]["name"] == "caf\\xe9.dump"
    report = mgdask.ingest(name, os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.zarr"), species=["Cu"])
    assert report.n_frames == 1
    netcdf = name.replace(".dump", ".nc")
    with open(netcdf, "wb") as file:
        file.write(mutations._read("mda.ncdf"))
    assert take_inventory(netcdf, species=["Zr"] * 8).n_frames == 3


def _with_link(tmp_path, kind: str, netcdf: bool):
    """Write a trajectory whose positions are those of another file."""
    import h5py

    path = tmp_path / ("a.nc" if netcdf else "a.h5md")
    data = mutations._read("lmp_ort.h5md")
    place = "particles/all/position/value"
    if netcdf:
        data, place = mutations._netcdf4(mutations._read("lmp_ort.nc")), "coordinates"
    (tmp_path / "private.h5").write_bytes(data)
    path.write_bytes(data)
    with h5py.File(path, "r+") as file:
        shape = file[place].shape
        del file[place]
        if kind == "link":
            file[place] = h5py.ExternalLink("private.h5", place)
        elif kind == "folder":
            file["other"] = h5py.ExternalLink("private.h5", "/")
            file[place] = h5py.SoftLink(f"/other/{place}")
        elif kind == "raw":
            raw = [(str(tmp_path / "private.h5"), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset(place, shape, "f4", external=raw)
        else:
            layout = h5py.VirtualLayout(shape, "f4")
            layout[...] = h5py.VirtualSource("private.h5", place, shape)
            file.create_virtual_dataset(place, layout)
    return path


@pytest.mark.parametrize("netcdf", [False, True])
@pytest.mark.parametrize("kind", ["link", "folder", "raw", "view"])
def test_data_of_other_files_are_not_read(tmp_path, kind, netcdf):
    path = _with_link(tmp_path, kind, netcdf)
    with pytest.raises(AuditError, match=r"Data in other files are not read.*Store the data in"):
        take_inventory(path, species={1: "Zr", 2: "Cu"})


def test_a_link_within_a_file_is_followed(tmp_path):
    import h5py

    (tmp_path / "a.h5md").write_bytes(mutations._read("lmp_ort.h5md"))
    with h5py.File(tmp_path / "a.h5md", "r+") as file:
        file.move("particles/all/position/value", "elsewhere")
        file["particles/all/position/value"] = h5py.SoftLink("/elsewhere")
    assert take_inventory(tmp_path / "a.h5md", species={1: "Zr", 2: "Cu"}).n_frames == 7


def test_shapes_and_chunks_of_hdf5_are_bounded(tmp_path):
    import h5py

    names = []

    def make(name, shape, chunks, fill):
        path = tmp_path / f"{name}.h5md"
        path.write_bytes(mutations._read("lmp_ort.h5md"))
        with h5py.File(path, "r+") as file:
            group = file["particles/all"]
            del group["position/value"]
            data = group.create_dataset(
                "position/value", shape, "f4", chunks=chunks, compression="gzip"
            )
            if fill:
                data[:1] = 1.0
        names.append(path)

    make("empty", (10**12, 10**6, 3), (1, 1000, 3), False)
    make("many", (10**12, 27, 3), (1, 27, 3), True)
    make("chunk", (600, 27000, 3), (600, 27000, 3), True)
    jobs = [partial(read, path, species={1: "Zr", 2: "Cu"}) for path in names]
    empty, many, chunk = run(jobs)
    assert (empty.kind, many.kind, chunk.kind) == ("refused",) * 3, (empty, many, chunk)
    assert "no values are stored" in empty.text
    assert "unpack to" in many.text


def test_the_bound_on_digits_is_that_of_doubles():
    assert np.spacing(bounds.MAX_LENGTH) * 4 < bounds.RESOLUTION
    assert np.iinfo(np.int32).max == bounds.MAX_IMAGE


def test_errors_of_far_positions_return_from_workers():
    far = geometry.FarPositionError(3, "why")
    again = pickle.loads(pickle.dumps(far))
    assert (again.atom, again.reason, str(again)) == (3, "why", "atom 3: why")


@pytest.mark.parametrize(
    ("at", "form", "value", "words"),
    [
        (34, "<q", 10**15, "states 1000000000000000 atoms with 8 numbers each, but"),
        (34, "<q", -5, "states -5 atoms"),
        (142, "<i", 2**31 - 1, "with 2147483647 numbers each"),
        (146, "<i", 2**31 - 1, "a text has 2147483647 bytes"),
        (177, "<i", 2**31 - 1, "states 2147483647 parts"),
        (181, "<i", 2**31 - 1, "a part states 2147483647 numbers"),
    ],
)
def test_headers_of_binary_dumps_state_no_more_than_the_file_holds(
    tmp_path, at, form, value, words
):
    from mgdask.readers.formats.binary_header import check_frames

    data = bytearray(mutations._read("tri_wrap.bin"))
    path = tmp_path / "a.bin"
    path.write_bytes(data)
    check_frames(str(path))
    assert struct.unpack_from("<q", data, 34) == (300,)
    assert struct.unpack_from("<i", data, 142) == (8,)
    struct.pack_into(form, data, at, value)
    path.write_bytes(data)
    with pytest.raises(AuditError, match=words):
        check_frames(str(path))


def test_nothing_is_created_for_names_that_are_refused(tmp_path):
    (tmp_path / "a.dump").write_bytes(dump(["1 1 1 1 1 5"], f"id type x y z {'n' * 300}"))
    for options in ({}, {"run": "a\nb"}, {"variables": {"manifest": 5.0}, "columns": []}):
        with pytest.raises((AuditError, ParameterError)):
            mgdask.ingest(tmp_path / "a.dump", tmp_path / "s.zarr", species=["Cu"], **options)
    assert [path.name for path in tmp_path.iterdir()] == ["a.dump"]
    mgdask.ingest(tmp_path / "a.dump", tmp_path / "s.zarr", species=["Cu"], columns=[])


@pytest.fixture(scope="module")
def flat_store(tmp_path_factory):
    """Return a store whose cell has an angle of a thousandth of a degree."""
    folder = tmp_path_factory.mktemp("flat")
    rows = [f"{k + 1} 1 {k % 3} {k % 5 * 1e-6:g} {k % 7}" for k in range(40)]
    box = "0 17.999999999 9\n0 3e-4 0\n0 9 0"
    (folder / "a.dump").write_bytes(dump(rows, box=box, flags="xy xz yz pp pp pp"))
    mgdask.ingest(folder / "a.dump", folder / "s.zarr", species=["Cu"])
    return folder / "s.zarr"


@pytest.mark.parametrize("how", ["plan", "lazy", "rdf", "voronoi"])
def test_flat_cells_of_a_store_are_refused(flat_store, tmp_path, how):
    order = mgdask.BondOrder(neighbors="cutoff", cutoff=6.0)
    calls = {
        "plan": lambda: mgdask.plan(flat_store, order, out=tmp_path / "f.zarr"),
        "lazy": lambda: mgdask.featurize(mgdask.open_store(flat_store), order).compute(),
        "rdf": lambda: mgdask.partial_rdf(flat_store, r_max=6.0),
        "voronoi": lambda: mgdask.featurize(
            mgdask.open_store(flat_store), mgdask.VoronoiIndices()
        ).compute(scheduler="synchronous"),
    }
    with pytest.raises(ParameterError, match=r"periodic images.*are allowed"):
        calls[how]()
    assert not (tmp_path / "f.zarr").exists()


def _yaml_bomb() -> str:
    lines = [
        f"{c}: &{c} [{', '.join(['*' + b] * 10)}]" for b, c in itertools.pairwise("abcdefghij")
    ]
    return "\n".join(["a: &a [x, x, x, x, x, x, x, x, x, x]", *lines, "kind: *j", "features: *j"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (_yaml_bomb().encode(), "more than 100000 values, those of its aliases"),
        (b"kind: " + b"[" * 5000, "contain each other"),
        (b"kind: &a [*a]", "is not YAML|contain each other|Input should be"),
        (b"\xff\xfe\x00", "is not text in UTF-8"),
        (b"kind: \0", "is not YAML"),
        (b"kind: 2020-99-99", "is not YAML|Input should be"),
        (b"kind: " + b"x" * (1 << 21), "more than 1048576 bytes"),
    ],
)
def test_hostile_yaml(tmp_path, text, words):
    from click import UsageError

    from mgdask.cli.study import _read_options
    from mgdask.cluster.site import read_site
    from mgdask.features.recipe import read_recipe
    from mgdask.studies.registry import available, get_options

    path = tmp_path / "a.yaml"
    path.write_bytes(text)
    options = get_options(available()[0])
    for reader in (read_site, read_recipe, lambda path: _read_options(None, options, path)):
        with pytest.raises((ParameterError, UsageError), match=f"{words}|unknown option|Extra in"):
            reader(path)
