"""LAMMPS text dumps: every dialect to the true path, exact numbers, any header, any cut of the file."""

from __future__ import annotations

import gzip
import itertools
import pickle
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgdask.errors import AuditError
from mgdask.geometry import fractional, unwrap
from mgdask.readers.coordinates import image_increments
from mgdask.readers.formats import lammps_index
from mgdask.readers.formats.lammps import tidy
from mgdask.readers.formats.lammps_index import index_range, join
from mgdask.readers.indexing import take_inventory
from mgdask.readers.window import read_window
from tests.conftest import DATA, SPECIES, write_dump

DIALECTS = {  # the digits that are printed, in Å
    "tri_wrap.dump": 5.1e-5,
    "tri_wrap.dump.gz": 5.1e-5,
    "tri_wrap.dump.zst": 5.1e-5,
    "tri_time.dump": 5.1e-5,
    "tri_elem.dump": 5.1e-5,
    "tri_scaled.dump": 2e-4,
    "tri_su.dump": 2e-4,
    "ort_time.dump": 5.1e-5,
    "ort_scaled.dump": 2e-4,
    "ort_su.dump": 2e-4,
}


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
    """The inventory and the true paths (frame, atom, xyz)."""
    inventory = take_inventory(name, **{"species": SPECIES, "timestep": 0.002} | options)
    cells = inventory.cell
    found = [
        unwrap(frame["position"], frame["image"], cells[k]) for k, frame in read_window(inventory)
    ]
    return inventory, np.array(found)


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_gives_the_true_path(sample, name):
    """An NPT run with strong expansion; the truth is LAMMPS' own unwrapped output."""
    _, truth = paths(sample(f"{name[:3]}_unwrap.dump"))
    inventory, found = paths(sample(name), species=None if "elem" in name else SPECIES)
    assert found.shape == (6, 300, 3)
    assert np.abs(found - truth).max() < DIALECTS[name]
    for k, frame in read_window(inventory):
        s = fractional(frame["position"], inventory.cell[k], inventory.origin[k])
        assert s.min() >= 0.0
        assert s.max() < 1.0
    np.testing.assert_allclose(inventory.time, [0, 0.4, 0.8, 1.2, 1.6, 2.0])
    assert inventory.species.tolist().count(40) == 150
    assert not inventory.needs_image_pass


def test_a_window_reads_the_same_bits_after_a_journey(sample):
    for name in ("tri_wrap.dump", "tri_wrap.dump.gz", "tri_wrap.dump.zst"):
        inventory = take_inventory(sample(name), species=SPECIES)
        whole = dict(read_window(inventory))
        part = pickle.loads(pickle.dumps(inventory.window(2, 5)))
        assert [k for k, _ in read_window(part)] == [2, 3, 4]
        for k, frame in read_window(part):
            assert all((frame[name] == whole[k][name]).all() for name in frame)
        assert (part.step == inventory.step[2:5]).all()
        assert (part.atom_id == inventory.atom_id).all()


def test_a_window_is_small(tmp_path):
    rows = [[k, 1 + k % 2, 1.0, 1.0, 1.0] for k in range(1, 20001)]
    inventory = take_inventory(
        write_dump(tmp_path / "a.dump", [(0, rows), (1, rows)]), species=SPECIES
    )
    assert len(pickle.dumps(inventory.window(1, 2))) < 10_000


def test_large_gz_files_are_read_by_seek_points(tmp_path, sample, monkeypatch):
    monkeypatch.setattr(lammps_index, "SEEK_POINTS_FROM", 1000)
    monkeypatch.setattr(lammps_index, "SPACING", 1 << 16)
    text = b"".join(
        open(sample("tri_wrap.dump"), "rb").read().replace(b"TIMESTEP\n", b"TIMESTEP\n%d" % k)
        for k in range(1, 60)
    )
    (tmp_path / "big.dump.gz").write_bytes(gzip.compress(text, 1))
    (tmp_path / "big.dump").write_bytes(text)
    plain = take_inventory(tmp_path / "big.dump", species=SPECIES)
    packed = take_inventory(tmp_path / "big.dump.gz", species=SPECIES)
    assert packed.sources[0].seek is not None
    last = packed.n_frames - 3
    for (_, a), (_, b) in zip(
        read_window(packed.window(last, last + 2)), read_window(plain, last, last + 2), strict=True
    ):
        assert (a["position"] == b["position"]).all()
    assert len(packed.window(last, last + 2).sources[0].seek) < len(packed.sources[0].seek) / 4


def test_numbers_are_the_correctly_rounded_text(tmp_path, rng):
    words = [
        f"{v:.{d}g}" for v, d in zip(rng.uniform(0, 10, 300), rng.integers(3, 18, 300), strict=True)
    ]
    rows = [[k + 1, 1, *words[3 * k : 3 * k + 3]] for k in range(100)]
    for pad, end in (("", ""), ("  ", "\t "), ("", " ")):
        spaced = [[pad + str(w) for w in row[:-1]] + [pad + str(row[-1]) + end] for row in rows]
        path = write_dump(tmp_path / "a.dump", [(0, spaced)])
        ((_, frame),) = read_window(take_inventory(path, species={1: "Cu"}))
        assert (frame["position"].ravel() == np.array([float(w) for w in words])).all()


def test_tidying_keeps_tokens():
    assert tidy(b"  1 \t 2.0   3\r\n4 5 6  \n") == b"1 2.0 3\n4 5 6\n"


@settings(max_examples=40, deadline=None)
@given(
    order=st.permutations(["id", "type", "x", "y", "z", "ix", "iy", "iz", "c_pe[1]", "vx"]),
    seed=st.integers(0, 999),
    blank=st.sampled_from(["", " ", "  "]),
    tilted=st.booleans(),
    frames=st.integers(1, 3),
    chunk=st.sampled_from([600, 10**7]),
    lead=st.sampled_from(["", "ITEM: UNITS\nmetal\n", "ITEM: UNITS\nmetal\nITEM: TIME\n1.5\n"]),
)
def test_any_order_of_columns_any_header(
    tmp_path_factory, order, seed, blank, tilted, frames, chunk, lead
):
    rng = np.random.default_rng(seed)
    truth, data = [], []
    for k in range(frames):
        values = {
            "id": rng.permutation(7) + 3,
            **{n: rng.integers(-2, 3, 7) for n in ("ix", "iy", "iz")},
        }
        values["type"] = np.where(values["id"] % 2, 1, 2)
        values |= {n: np.round(rng.uniform(2, 8, 7), 5) for n in ("x", "y", "z")}
        values |= {n: np.round(rng.normal(size=7), 4) for n in ("c_pe[1]", "vx")}
        truth.append({n: v[np.argsort(values["id"])] for n, v in values.items()})
        rows = [
            [*(values[n][i] for n in order[:-1]), f"{values[order[-1]][i]}{blank}"]
            for i in range(7)
        ]
        data.append((100 * k, rows))
    tilt = (0.4, -0.3, 0.2) if tilted else None
    path = write_dump(tmp_path_factory.mktemp("h") / "a.dump", data, " ".join(order), tilt=tilt)
    text = open(path).read()
    with open(path, "w") as out:
        out.write(text.replace("ITEM: TIMESTEP", f"{lead}ITEM: TIMESTEP"))
    before, lammps_index.CHUNK = lammps_index.CHUNK, chunk
    try:
        inventory = take_inventory(path, species=SPECIES, timestep=0.001)
    finally:
        lammps_index.CHUNK = before
    assert inventory.atom_id.tolist() == list(range(3, 10))
    cells = inventory.cell
    if tilted:
        np.testing.assert_allclose(
            cells[0], [[9.3, 0, 0], [0.4, 9.8, 0], [-0.3, 0.2, 10]], atol=1e-12
        )
        np.testing.assert_allclose(inventory.origin[0], [0.3, 0, 0], atol=1e-12)
    for (k, found), want in zip(read_window(inventory), truth, strict=True):
        whole = (
            np.stack([want[n] for n in "xyz"], 1)
            + np.stack([want[f"i{n}"] for n in "xyz"], 1) @ cells[k]
        )
        np.testing.assert_allclose(
            unwrap(found["position"], found["image"], cells[k]), whole, atol=1e-12
        )
        assert (found["c_pe_1"] == want["c_pe[1]"]).all()
        assert (found["vx"] == want["vx"]).all()


def same(a, b):
    assert [repr(ref) for ref in a.frames] == [repr(ref) for ref in b.frames]
    assert a.newlines == b.newlines


@pytest.mark.parametrize("name", ["tri_time.dump", "trunc.dump", "ort_vary.dump"])
def test_the_index_does_not_depend_on_how_the_file_is_cut(sample, monkeypatch, name):
    path = sample(name)
    whole = join([index_range(path)])
    lines = open(path).read().split("\n")
    for ref in whole.frames:
        assert lines[ref.row_line - 2].startswith("ITEM: ATOMS")
    size = len(open(path, "rb").read())
    for chunk in (700, 4099, 1 << 25):
        monkeypatch.setattr(lammps_index, "CHUNK", chunk)
        for parts in (1, 2, 7, 40):
            edges = [size * k // parts for k in range(parts + 1)]
            same(join([index_range(path, a, b) for a, b in itertools.pairwise(edges)]), whole)


def test_general_triclinic_and_free_boundaries(tmp_path):
    rows = [[1, 1, -9.0, 3.0, 4.0], [2, 2, -30.0, 6.0, 8.0]]
    path = write_dump(
        tmp_path / "a.dump",
        [(0, rows)],
        box=((0, "10 0 1"), (-10, "0 0 2"), (0, "0 10 3")),
        flags="abc origin pp ff pp",
    )
    inventory = take_inventory(path, species=SPECIES)
    assert inventory.cell[0].tolist() == [[0, 10, 0], [-10, 0, 0], [0, 0, 10]]
    assert inventory.origin[0].tolist() == [1, 2, 3]
    assert inventory.pbc == (True, False, True)
    ((_, frame),) = read_window(inventory)
    assert frame["position"].tolist() == [
        [-9, 3, 4],
        [-30, 6, 8],
    ]  # nothing is wrapped along the free vector


def test_which_coordinates_are_taken(tmp_path):
    def image(columns, *row):
        inventory = take_inventory(
            write_dump(tmp_path / "a.dump", [(0, [[1, 1, *row]])], f"id type {columns}"),
            species=SPECIES,
        )
        ((_, frame),) = read_window(inventory)
        return (
            inventory,
            frame["position"][0].tolist(),
            None if "image" not in frame else frame["image"][0].tolist(),
        )

    inventory, at, flags = image("xu yu zu", 25, -5, 5)
    assert (at, flags) == ([5, 5, 5], [2, -1, 0])
    assert "unwrapped coordinates" in inventory.image_scheme
    _, at, flags = image(
        "x y z ix iy iz xu yu zu", 10.5, 5, 5, 1, 0, 0, 9, 9, 9
    )  # a little outside, as between rebuilds
    assert (at, flags) == ([0.5, 5, 5], [2, 0, 0])
    inventory, at, flags = image("x y z", 10.5, 5, 5)
    assert (at, flags) == ([0.5, 5, 5], None)
    assert inventory.needs_image_pass
    with pytest.raises(AuditError, match="no complete set of coordinates"):
        image("x y zu", 1, 2, 3)
    with pytest.raises(AuditError, match="only ix iy is present"):
        image("x y z ix iy", 1, 2, 3, 0, 0)


def test_increments_follow_atoms_across_faces():
    before, after = np.array([[0.9, 0.1, 0.5]]), np.array([[0.1, 0.9, 0.4]])
    assert image_increments(before, after, (True, True, True)).tolist() == [[1, -1, 0]]
    assert image_increments(before, after, (False, True, True)).tolist() == [[0, -1, 0]]
