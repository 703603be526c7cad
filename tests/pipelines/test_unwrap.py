"""True paths: naive twins of all schemes, breathing cells, LAMMPS's own paths, runs, edges of blocks, interruptions, jumps."""

from __future__ import annotations

import gzip
import io
import itertools
import shutil

import numpy as np
import pytest
from distributed import Client

import mgdask
from mgdask.errors import ParameterError, StoreError
from mgdask.pipelines import unwrap as paths_module
from mgdask.pipelines import unwrap_tasks
from mgdask.pipelines.unwrap import MAX_GUESSED_STEP, select_scheme, unwrap
from mgdask.readers.coordinates import DERIVED
from mgdask.store import layout, trajectory
from mgdask.store import unwrapped as path_store
from mgdask.store.attributes import decode
from mgdask.store.manifest import Manifest
from mgdask.store.shards import new_group
from tests.conftest import DATA, threads_client, write_dump
from tests.pipelines.test_featurize import files

FROM_FILE = "image flags of the file"
SCHEMES = ("images", "nearest", "toroidal")
CELLS = {
    "orthogonal": np.diag([9.0, 11.0, 10.0]),
    "triclinic": np.array([[9.0, 0.0, 0.0], [3.5, 11.0, 0.0], [-2.5, 4.0, 10.0]]),
    "turned": np.array([[9.0, 1.0, -2.0], [3.0, 10.0, 1.0], [-1.0, 2.0, 11.0]]),
}


# ------------------------------------------------------------------------------------------------------------- material
def make_store(
    path,
    position,
    image,
    cell,
    *,
    origin=None,
    run=None,
    time=None,
    pbc=(True, True, True),
    numbers=None,
    mass=None,
    scheme=FROM_FILE,
    temperature=None,
    atom_id=None,
):
    """A finished trajectory store of arrays, without a file that it comes from."""
    n_frames, n_atoms = position.shape[:2]
    group = new_group(
        path,
        {"mgdask_kind": "trajectory", "mgdask_format": 1, "image_scheme": scheme},
        overwrite=False,
    )
    Manifest(path).create()
    numbers = (
        np.where(np.arange(n_atoms) % 3 == 0, 40, 29) if numbers is None else np.asarray(numbers)
    )
    mass = np.where(numbers == 40, 91.224, 63.546) if mass is None else mass
    trajectory.create_arrays(
        group,
        n_frames=n_frames,
        atom_id=np.arange(1, n_atoms + 1) if atom_id is None else atom_id,
        species=numbers,
        mass=mass,
        pbc=np.array(pbc),
        image_scheme=scheme,
        variables={},
        scratch=False,
    )
    cell = np.broadcast_to(cell, (n_frames, 3, 3)).copy()
    trajectory.write_frames_axis(
        group,
        0,
        step=np.arange(n_frames) * 10,
        cell=cell,
        origin=np.zeros((n_frames, 3)) if origin is None else origin,
        run=["a"] * n_frames if run is None else run,
        time=np.arange(n_frames) * 0.5 if time is None else np.asarray(time, dtype=float),
        values={} if temperature is None else {"temperature": np.asarray(temperature, dtype=float)},
    )
    group["position"][...] = position
    group["image"][...] = image
    Manifest(path).finish(position.tobytes().hex()[:64] + scheme)
    return str(path)


def wrapped(path, cell, origin=None, pbc=(True, True, True)):
    """Positions in the cell and images of true paths (frame, atom, 3)."""
    n_frames = len(path)
    cell = np.broadcast_to(cell, (n_frames, 3, 3))
    origin = np.zeros((n_frames, 3)) if origin is None else origin
    s = np.einsum("fai,fij->faj", path - origin[:, None], np.linalg.inv(cell))
    n = np.floor(s) * np.array(pbc)
    return path - np.einsum("fai,fij->faj", n, cell), n.astype(np.int32)


def walk(rng, cell, n_frames=25, n_atoms=21, step=0.3):
    """A random walk whose steps are below ``step`` of the cell; atoms cross faces often."""
    moved = rng.uniform(-step, step, (n_frames, n_atoms, 3)) @ cell
    moved[0] = rng.random((n_atoms, 3)) @ cell
    return np.cumsum(moved, axis=0)


def naive(scheme, position, image, cell, run=None, pbc=(True, True, True), origin=None):
    """The schemes, written down frame by frame and atom by atom."""
    n_frames, n_atoms = position.shape[:2]
    cell = np.broadcast_to(cell, (n_frames, 3, 3))
    origin = np.zeros((n_frames, 3)) if origin is None else origin
    inverse = np.linalg.inv(cell)
    out = np.empty(position.shape)
    for i in range(n_atoms):
        for k in range(n_frames):
            r = position[k, i]
            if scheme == "images":
                out[k, i] = r + image[k, i] @ cell[k]
                continue
            if k == 0 or (run is not None and run[k] != run[k - 1]):
                whole = np.zeros(3)
                out[k, i] = r + image[k, i] @ cell[k] if scheme == "toroidal" else r
                continue
            before = position[k - 1, i]
            if scheme == "nearest":
                s = (r - origin[k]) @ inverse[k] - (before - origin[k - 1]) @ inverse[k - 1]
                whole = whole - np.floor(s + 0.5) * np.array(pbc)
                out[k, i] = r + whole @ cell[k]
            else:  # von Bülow et al. (2020), Eq. (4): positions in the cell alone, no images
                d = r - before
                d = d - (np.floor(d @ inverse[k] + 0.5) * np.array(pbc)) @ cell[k]
                out[k, i] = out[k - 1, i] + d
    return out


def read(out):
    """Paths (frame, atom, 3) and centres of mass of a store of paths."""
    ds = mgdask.open_store(out)
    return ds.path.transpose("frame", "atom", "xyz").values, ds.center_of_mass.values, ds


@pytest.fixture
def small(monkeypatch):
    """Trajectory shards of 7 frames; blocks of 9 frames and 12 atoms, so that edges of the two lie apart."""
    cut_small(monkeypatch)


def cut_small(monkeypatch):
    cut = layout.TrajectoryLayout(7, 7, 13)
    monkeypatch.setattr("mgdask.store.trajectory.trajectory_layout", lambda n: cut)
    monkeypatch.setattr("mgdask.pipelines.ingest_tasks.trajectory_layout", lambda n: cut)
    monkeypatch.setattr(
        path_store, "unwrapped_layout", lambda f, n: path_store.UnwrappedLayout(12, 9, 4, 9)
    )


NOBODY = object()
"""The client where tasks are done at once."""
_execute = paths_module.execute


def at_once(client, function, tasks, **options):
    assert client is NOBODY
    for _, arguments in tasks:
        function(*arguments)


@pytest.fixture(autouse=True)
def one_after_the_other(monkeypatch):
    """Tasks are done here, without the half of a tenth of a second that dask takes for each."""
    monkeypatch.setattr(paths_module, "execute", at_once)


@pytest.fixture
def make(tmp_path):
    """Unwrap; returns what ``read`` does."""
    count = itertools.count()

    def run(store, scheme="auto", out=None, **options):
        out = tmp_path / f"paths{next(count)}.zarr" if out is None else out
        unwrap(store, out, scheme=scheme, client=NOBODY, progress=False, **options)
        return read(out)

    return run


# --------------------------------------------------------------------------------------------------------- naive twins
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes_equal_their_naive_twins(tmp_path, make, small, rng, name, scheme):
    """In a breathing cell, over blocks of 9 frames, with three runs that begin at an edge of blocks and inside one."""
    cell = CELLS[name] * (1 + 0.02 * rng.standard_normal(25))[:, None, None]
    cell[:, 1] += 0.1 * rng.standard_normal((25, 3)) * (name != "orthogonal")
    origin = 0.1 * rng.standard_normal((25, 3))
    true = walk(rng, CELLS[name])
    run = ["a"] * 9 + ["b"] * 5 + ["c"] * 11
    position, image = wrapped(true, cell, origin)
    image = image + np.array([3, -2, 1], dtype=np.int32)  # flags need not begin at 0
    store = make_store(tmp_path / "t.zarr", position, image, cell, origin=origin, run=run)
    found, center, ds = make(store, scheme)
    want = naive(scheme, position, image, cell, run, origin=origin)
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-9)
    mass = ds.mass.values
    np.testing.assert_allclose(
        center, (mass[:, None] * want).sum(axis=1) / mass.sum(), rtol=0, atol=1e-9
    )
    assert np.ptp(mass) > 20  # otherwise the weights are not seen
    assert ds.path.attrs["scheme"] == scheme
    assert "net_scratch" not in ds
    assert "center_scratch" not in ds
    # the schemes are not one
    others = [
        naive(other, position, image, cell, run, origin=origin)
        for other in SCHEMES
        if other != scheme
    ]
    assert min(np.abs(other - want).max() for other in others) > 0.1


@pytest.mark.parametrize("name", CELLS)
def test_in_a_constant_cell_all_are_the_truth(tmp_path, make, small, rng, name):
    true = walk(rng, CELLS[name]) + rng.integers(-3, 4, (21, 3)) @ CELLS[name]
    position, image = wrapped(true, CELLS[name])
    assert np.abs(image).max() >= 3
    assert np.abs(np.diff(image, axis=0)).max() == 1
    store = make_store(tmp_path / "t.zarr", position, image, CELLS[name])
    found = {scheme: make(store, scheme)[0] for scheme in SCHEMES}
    for scheme in ("images", "toroidal"):
        np.testing.assert_allclose(found[scheme], true, rtol=0, atol=1e-9)
    # guessed anew, from where the atoms are in the first frame
    np.testing.assert_allclose(found["nearest"] - position[0], true - true[0], rtol=0, atol=1e-9)


def test_edges_of_blocks_lose_nothing(tmp_path, make, monkeypatch, rng):
    """Blocks from one frame to all, and a last one of one frame: MDSuite#91 lost 13 frames at an edge."""
    true = walk(rng, CELLS["triclinic"], n_frames=7, n_atoms=5)
    position, image = wrapped(true, CELLS["triclinic"])
    run = ["a"] * 3 + ["b"] * 1 + ["c"] * 3
    store = make_store(tmp_path / "t.zarr", position, image, CELLS["triclinic"], run=run)
    for frames in (1, 3, 6):
        cut = path_store.UnwrappedLayout(3, frames, 1, frames)
        monkeypatch.setattr(path_store, "unwrapped_layout", lambda f, n, cut=cut: cut)
        for scheme in ("toroidal", "nearest"):
            found, center, ds = make(store, scheme)
            want = naive(scheme, position, image, CELLS["triclinic"], run)
            np.testing.assert_allclose(
                found, want, rtol=0, atol=1e-10, err_msg=f"blocks of {frames}"
            )
            weight = ds.mass.values / ds.mass.values.sum()
            np.testing.assert_allclose(
                center, np.einsum("a,fax->fx", weight, want), rtol=0, atol=1e-10
            )


def test_nearest_counts_from_the_corner_of_the_cell(tmp_path, make, small):
    """A cell that grows about its middle far from 0: atoms at rest in it have not moved by cells."""
    scale = 1 + 0.02 * np.arange(9)
    cell = 10.0 * scale[:, None, None] * np.eye(3)
    origin = 200.0 - 5.0 * scale[:, None] * np.ones(3)
    share = np.array([[0.1, 0.5, 0.9], [0.3, 0.2, 0.05]])
    true = origin[:, None] + share @ cell
    store = make_store(
        tmp_path / "t.zarr", true, np.zeros(true.shape, dtype=np.int32), cell, origin=origin
    )
    found, _, ds = make(store, "nearest")
    np.testing.assert_allclose(found, true, rtol=0, atol=1e-10)
    assert decode(ds.attrs, "largest_step")["share"] < 1e-12


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["orthogonal", "triclinic"])
def test_partly_periodic(tmp_path, make, small, rng, scheme, name):
    pbc, cell = (True, False, True), CELLS[name]
    true = walk(rng, cell)
    position, image = wrapped(true, cell, pbc=pbc)
    assert (image[..., 1] == 0).all()
    store = make_store(tmp_path / "t.zarr", position, image, cell, pbc=pbc)
    found, _, ds = make(store, scheme)
    np.testing.assert_allclose(found - found[0], true - true[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        found, naive(scheme, position, image, cell, pbc=pbc), rtol=0, atol=1e-9
    )
    far = true[..., 1] @ np.ones(true.shape[1])
    assert np.ptp(far) > 1.0
    assert ds.pbc.values.tolist() == [True, False, True]


def test_free_axes_do_not_jump(tmp_path, make, small):
    """Half a cell and more along an axis that does not repeat is a step like any other."""
    true = np.zeros((3, 2, 3))
    true[:, 0, 2] = 1.0, 8.0, 25.0
    true[:, 1, 0] = 1.0, 2.0, 3.0
    flat = np.zeros(true.shape, dtype=np.int32)
    store = make_store(
        tmp_path / "t.zarr", true, flat, 10 * np.eye(3), pbc=(True, True, False), scheme=DERIVED
    )
    for scheme in SCHEMES:
        found, _, ds = make(store, scheme)
        np.testing.assert_allclose(found, true, rtol=0, atol=1e-12)
        assert decode(ds.attrs, "largest_step")["share"] == pytest.approx(0.1)


# -------------------------------------------------------------------------------------------------------- breathing cell
@pytest.mark.parametrize("name", [pytest.param("orthogonal", marks=pytest.mark.slow), "triclinic"])
def test_breathing_does_not_inflate_toroidal_paths(tmp_path, make, monkeypatch, name):
    """von Bülow et al. (2020): images magnify the cell's breathing by how far an atom has gone.

    2000 steps of a walk and 3 % of breathing. The mean square of a step from frame 1000 on, as a share of what the walk is known to have: SHARES.
    """
    monkeypatch.setattr(
        "mgdask.store.trajectory.trajectory_layout", lambda n: layout.TrajectoryLayout(500, 500, n)
    )
    monkeypatch.setattr(
        path_store, "unwrapped_layout", lambda f, n: path_store.UnwrappedLayout(16, 300, 16, 300)
    )
    rng = np.random.default_rng(7)
    n_frames, n_atoms, cell = 2001, 24, CELLS[name]
    boxes = (1 + 0.03 * rng.standard_normal(n_frames))[:, None, None] * cell
    share = np.cumsum(rng.uniform(-0.15, 0.15, (n_frames, n_atoms, 3)), axis=0) + rng.random(
        (n_atoms, 3)
    )
    n = np.floor(share)
    position = np.einsum("fai,fij->faj", share - n, boxes)
    # the walk itself: each step in the cell of its frame
    steps = np.einsum("fai,fij->faj", np.diff(share, axis=0), boxes[1:])
    store = make_store(tmp_path / "t.zarr", position, n.astype(np.int32), boxes)
    toroidal, _, ds = make(store)
    some = naive("toroidal", position[:, :1], n[:, :1], boxes)
    np.testing.assert_allclose(toroidal[:, :1], some, rtol=0, atol=1e-8)
    assert (ds.attrs["scheme"], ds.attrs["scheme_reason"]) == ("toroidal", "the cell changes")
    images, _, _ = make(store, "images")
    known = (steps[1000:] ** 2).sum(axis=-1).mean()
    shares = {
        scheme: float((np.diff(path[1000:], axis=0) ** 2).sum(axis=-1).mean() / known)
        for scheme, path in (("toroidal", toroidal), ("images", images))
    }
    assert shares == pytest.approx(SHARES[name], abs=0.005)
    # over a long time the paths still spread as the walk does
    spread = ((toroidal[-1] - toroidal[0]) ** 2).sum(axis=-1).mean() / (steps.sum(axis=0) ** 2).sum(
        axis=-1
    ).mean()
    assert spread == pytest.approx(1.0, abs=0.1)


SHARES = {
    "orthogonal": {"toroidal": 1.087, "images": 4.188},
    "triclinic": {"toroidal": 1.104, "images": 3.920},
}
"""Mean square of a step in a breathing cell, over that of the walk: nearly 1 by the toroidal scheme, several by images."""


def test_atoms_that_ride_on_the_cell_stay(tmp_path, make, small):
    """Atoms at rest in a cell that breathes, ten cells away: by images they swing by ten times the cell, toroidal by less than one."""
    scale = 1 + 0.02 * np.sin(np.arange(40))
    boxes = 10.0 * scale[:, None, None] * np.eye(3)
    position = np.array([[0.5, 0.5, 0.5]]) @ boxes
    n = np.full(position.shape, 10, dtype=np.int32)
    store = make_store(tmp_path / "t.zarr", position, n, boxes)
    swing = {
        scheme: float(np.ptp(make(store, scheme)[0][:, 0, 0])) for scheme in ("images", "toroidal")
    }
    assert swing["images"] == pytest.approx(10.5 * 10 * np.ptp(scale))  # 4.2 Å
    assert swing["toroidal"] == pytest.approx(0.5 * 10 * np.ptp(scale))  # 0.2 Å


def test_auto_says_why():
    boxes = np.tile(10 * np.eye(3), (4, 1, 1))
    assert select_scheme("auto", boxes) == ("images", "the cell is constant")
    boxes[2, 1, 0] += 1e-5
    assert select_scheme("auto", boxes) == ("toroidal", "the cell changes")
    assert select_scheme("nearest", boxes) == ("nearest", "as requested")
    with pytest.raises(
        ParameterError,
        match=r"scheme='heuristic' is unknown; allowed are 'auto', 'images', 'nearest', 'toroidal'",
    ):
        select_scheme("heuristic", boxes)


# --------------------------------------------------------------------------------------------------------------- LAMMPS
def lammps_truth(prefix):
    """xu yu zu by frame, in the order of ids."""
    text = gzip.decompress((DATA / f"{prefix}_unwrap.dump.gz").read_bytes()).decode()
    found = []
    for part in text.split("ITEM: TIMESTEP")[1:]:
        rows = np.loadtxt(io.StringIO(part.split("xu yu zu\n")[1]))
        found.append(rows[np.argsort(rows[:, 0]), 2:])
    return np.array(found)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("ort_scaled.dump.gz", 1e-4),
        ("ort_time.dump.gz", 2e-4),
        ("ort_su.dump.gz", 4e-4),
        ("tri_scaled.dump.gz", 2e-4),
        ("tri_wrap.dump.gz", 2e-4),
        pytest.param("tri_wrap.bin.gz", 2e-7, marks=pytest.mark.peers),
        ("tri_su.dump.gz", 4e-4),
    ],
)
def test_images_give_the_paths_of_lammps(tmp_path, make, monkeypatch, name, tolerance):
    """Six digits of the dumps, all of the binary one; the cell expands by half, so that a wrong cell would be off by Å."""
    monkeypatch.setattr(
        path_store, "unwrapped_layout", lambda f, n: path_store.UnwrappedLayout(128, 2, 64, 2)
    )
    source = DATA / name
    if ".bin" in name:
        pytest.importorskip("ovito", reason="OVITO reads binary dumps and is not installed")
        source = tmp_path / name.removesuffix(".gz")
        source.write_bytes(gzip.decompress((DATA / name).read_bytes()))
    mgdask.ingest(str(source), tmp_path / "t.zarr", species={1: "Zr", 2: "Cu"}, timestep=0.002)
    truth = lammps_truth(name[:3])
    found, center, ds = make(tmp_path / "t.zarr", "images")
    assert found.shape == truth.shape == (6, 300, 3)
    np.testing.assert_allclose(found, truth, rtol=0, atol=tolerance)
    mass = np.where(ds.species.values == 40, 91.224, 63.546)
    np.testing.assert_allclose(
        center, np.average(truth, axis=1, weights=mass), rtol=0, atol=2 * tolerance
    )
    trajectory_ds = mgdask.open_store(tmp_path / "t.zarr")
    assert np.abs(trajectory_ds.image.values).max() >= 1
    assert np.abs(trajectory_ds.position.values - truth).max() > 20


# ---------------------------------------------------------------------------------------------------------------- jumps
def leap(path, cell, *, derived, share=0.6):
    """Atom with id 12 moves ``share`` of the cell between frames 6 and 7."""
    true = np.tile(np.array([[1.0, 1, 1], [2.0, 5, 5], [4.0, 4, 4]]), (9, 1, 1))
    true[7:, 1] += share * cell[0]
    position, image = wrapped(true, cell)
    if derived:  # the shorter way, as ingest takes it
        image[7:, 1, 0] -= 1 if share > 0.5 else 0
    return true, make_store(
        path,
        position,
        image,
        cell,
        scheme=DERIVED if derived else FROM_FILE,
        atom_id=np.array([10, 12, 40]),
    )


def test_a_jump_that_was_guessed_is_refused(tmp_path, small):
    cell = CELLS["triclinic"]
    true, store = leap(tmp_path / "t.zarr", cell, derived=True)
    words = (
        r"atom 12 moves 0\.40 of the cell between frames 6 and 7.*had no images.*allow_jumps=True"
    )
    _, far = leap(tmp_path / "far.zarr", cell, derived=True, share=0.53)
    words = r"far\.zarr: atom 12 moves 0\.47 of the cell between frames 6 and 7.*had no images.*allow_jumps=True"
    for scheme in ("auto", "toroidal", "nearest"):
        out = tmp_path / f"{scheme}.zarr"
        with pytest.raises(StoreError, match=words):
            unwrap(far, out, scheme=scheme, client=NOBODY, progress=False)
        with pytest.raises(StoreError, match="is not finished"):
            mgdask.open_store(out)
        report = unwrap(far, out, scheme=scheme, client=NOBODY, progress=False, allow_jumps=True)
        assert report.largest_step == pytest.approx(0.47)
        found = read(out)[0]
        np.testing.assert_allclose(
            found[7:, 1] - found[6, 1], np.tile(-0.47 * cell[0], (2, 1)), atol=1e-12
        )
    # 0.6 one way is 0.4 the other: nobody can see that
    unwrap(store, tmp_path / "short.zarr", client=NOBODY, progress=False)
    moved = read(tmp_path / "short.zarr")[0]
    np.testing.assert_allclose(moved[7, 1] - true[6, 1], -0.4 * cell[0], atol=1e-12)


@pytest.mark.parametrize("scheme", ["images", "toroidal"])
@pytest.mark.parametrize("share", [0.48, 0.6, 1.7])
def test_with_images_of_the_file_a_jump_is_right(tmp_path, make, small, scheme, share):
    true, store = leap(tmp_path / "t.zarr", CELLS["triclinic"], derived=False, share=share)
    found, _, ds = make(store, scheme)
    np.testing.assert_allclose(found, true, rtol=0, atol=1e-9)
    assert decode(ds.attrs, "largest_step") == {
        "atom": 12,
        "frame": 7,
        "share": pytest.approx(share),
    }


def test_nearest_guesses_even_where_the_file_has_images(tmp_path, small):
    _, store = leap(tmp_path / "t.zarr", CELLS["triclinic"], derived=False, share=0.46)
    with pytest.raises(StoreError, match=r"atom 12 moves 0\.46 .* between frames 6 and 7"):
        unwrap(store, tmp_path / "n.zarr", scheme="nearest", client=NOBODY, progress=False)
    assert MAX_GUESSED_STEP == 0.45
    _, near = leap(tmp_path / "u.zarr", CELLS["triclinic"], derived=False, share=0.44)
    report = unwrap(near, tmp_path / "m.zarr", scheme="nearest", client=NOBODY, progress=False)
    for word in (
        "unwrapped trajectory of 3 atoms over 9 frames",
        "'nearest' (as requested)",
        "largest step 0.440 of the cell",
    ):
        assert word in str(report)


def test_a_jump_between_runs_is_none(tmp_path, make, small):
    true = np.zeros((8, 2, 3)) + 1.0
    true[4:, 0, 0] = 5.9
    run = ["a"] * 4 + ["b"] * 4
    store = make_store(
        tmp_path / "t.zarr",
        true,
        np.zeros(true.shape, dtype=np.int32),
        10 * np.eye(3),
        run=run,
        scheme=DERIVED,
    )
    for scheme in SCHEMES:
        found, _, ds = make(store, scheme)
        np.testing.assert_allclose(found, true)
        assert decode(ds.attrs, "largest_step")["share"] == 0.0


def test_a_jump_through_ingest(tmp_path, small):
    """The same from a dump without images."""
    rows = [(1, 1, 1.0, 1.0, 1.0), (7, 2, 2.0, 5.0, 5.0)]
    moved = [(1, 1, 1.0, 1.0, 1.0), (7, 2, 2.0, 9.8, 5.0)]
    dump = write_dump(tmp_path / "a.dump", [(0, rows), (10, rows), (20, moved), (30, moved)])
    mgdask.ingest(dump, tmp_path / "t.zarr", species={1: "Zr", 2: "Cu"}, timestep=0.002)
    with pytest.raises(
        StoreError, match=r"t\.zarr: atom 7 moves 0\.48 of the cell between frames 1 and 2"
    ):
        unwrap(tmp_path / "t.zarr", tmp_path / "p.zarr", client=NOBODY, progress=False)


# --------------------------------------------------------------------------------------------------------- interruptions
@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Store that no test changes, and function that returns it unwrapped in peace."""
    folder, rng = tmp_path_factory.mktemp("kept"), np.random.default_rng(20261121)
    cell = CELLS["triclinic"] * (1 + 0.02 * rng.standard_normal(25))[:, None, None]
    position, image = wrapped(walk(rng, CELLS["triclinic"]), cell)
    run = ["a"] * 13 + ["b"] * 12
    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch)
        store = make_store(folder / "t.zarr", position, image, cell, run=run)

    def unwrapped(scheme="auto"):
        out = folder / f"{scheme}.zarr"
        if not out.exists():
            unwrap(store, out, scheme=scheme, client=NOBODY, progress=False)
        return out

    return store, unwrapped


@pytest.fixture
def store(kept, small):
    return kept[0]


@pytest.fixture
def quiet(kept, small):
    return kept[1]


def same(a, b):
    assert files(a) == files(b)
    assert Manifest(a).content() == Manifest(b).content() is not None


def test_processes_and_threads_give_the_same_bytes(
    store, quiet, tmp_path, monkeypatch, two_processes
):
    want = {scheme: quiet(scheme) for scheme in SCHEMES}
    monkeypatch.setattr(paths_module, "execute", _execute)
    with (
        Client(two_processes, set_as_default=False) as processes,
        threads_client(3, default=False) as threads,
    ):
        for n_workers, client in ((2, processes), (1, threads)):
            for scheme in SCHEMES:
                out = tmp_path / f"{scheme}-{n_workers}.zarr"
                unwrap(store, out, scheme=scheme, client=client, progress=False)
                same(out, want[scheme])
                records = Manifest(out).records().values()
                assert (
                    len({r["pid"] for r in records if r["block"].startswith(("net", "path"))})
                    == n_workers
                )


@pytest.mark.parametrize(
    ("point", "scheme"),
    [
        ("net_displacement", "toroidal"),
        ("join_mass", "nearest"),
        ("mass record", "toroidal"),
        ("write_unwrapped", "nearest"),
        ("drop_scratch", "images"),
        ("finish", "toroidal"),
    ],
)
def test_killed_anywhere_goes_on(store, quiet, tmp_path, monkeypatch, scheme, point):
    want, out = quiet(scheme), tmp_path / "killed.zarr"
    count = itertools.count()

    def broken(function, after):
        def call(*arguments, **options):
            if next(count) >= after:
                raise FloatingPointError("killed")
            return function(*arguments, **options)

        return call

    class Ended(Manifest):
        def finish(self, identity, **options):
            raise FloatingPointError("killed")

        def append(self, told):
            if point == "mass record" and told["block"] == "mass-joined":
                raise FloatingPointError("killed")
            super().append(told)

    with monkeypatch.context() as patch:
        if point in ("net_displacement", "write_unwrapped"):
            patch.setattr(paths_module, point, broken(getattr(paths_module, point), 2))
        elif point == "join_mass":
            patch.setattr(paths_module, point, broken(paths_module.join_mass, 0))
        elif point == "drop_scratch":  # one of the two is gone already

            def dropped(group):
                del group[path_store.SCRATCH]
                raise FloatingPointError("killed")

            patch.setattr(path_store, point, dropped)
        else:
            patch.setattr(paths_module, "Manifest", Ended)
            patch.setattr(unwrap_tasks, "Manifest", Ended)
        with pytest.raises(FloatingPointError, match="killed"):
            unwrap(store, out, scheme=scheme, client=NOBODY, progress=False)
    with pytest.raises(StoreError, match=r"is not finished.*mgdask unwrap"):
        mgdask.open_store(out)
    done = len(Manifest(out).records())
    assert done > 0
    unwrap(store, out, scheme=scheme, client=NOBODY, progress=False)
    same(out, want)


def test_what_was_done_is_not_done_again(store, tmp_path, monkeypatch):
    out = tmp_path / "p.zarr"
    seen = []

    def spy(client, function, tasks, **options):
        seen.append((options["what"], len(tasks)))
        at_once(client, function, tasks)

    monkeypatch.setattr(paths_module, "execute", spy)
    with monkeypatch.context() as patch:
        patch.setattr(paths_module, "join_mass", lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            unwrap(store, out, client=NOBODY, progress=False)
    assert seen == [("unwrap, first pass", 3)]
    unwrap(store, out, client=NOBODY, progress=False)
    assert seen[1:] == [("unwrap, second pass", 3 * 2)]
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    report = unwrap(store, out, client=NOBODY, progress=False)
    assert len(seen) == 2
    assert report.largest_step > 0.1
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_lost_shard_is_done_again(store, quiet, tmp_path, how):
    out = shutil.copytree(quiet(), tmp_path / "p.zarr")
    shard = out / "path" / "c" / "1" / "2" / "0"
    assert shard.is_file()
    if how == "gone":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:-5])
    unwrap(store, out, client=NOBODY, progress=False)
    same(out, quiet())
    (out / "center_of_mass" / "c" / "2" / "0").unlink()
    unwrap(store, out, client=NOBODY, progress=False)
    same(out, quiet())


def test_a_lost_part_of_the_first_pass_is_done_again(store, quiet, tmp_path, monkeypatch):
    out = tmp_path / "p.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(paths_module, "join_mass", lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            unwrap(store, out, client=NOBODY, progress=False)
    (out / "net_scratch" / "c" / "2" / "0" / "0").unlink()
    unwrap(store, out, client=NOBODY, progress=False)
    same(out, quiet())


def test_other_work_is_refused(store, tmp_path, rng):
    out = tmp_path / "p.zarr"
    unwrap(store, out, scheme="images", client=NOBODY, progress=False)
    before = files(out)
    with pytest.raises(
        StoreError, match=r"delete .*p\.zarr: it holds an unwrapped trajectory of another"
    ):
        unwrap(store, out, scheme="toroidal", client=NOBODY, progress=False)
    position, image = wrapped(walk(rng, CELLS["orthogonal"]), CELLS["orthogonal"])
    other = make_store(tmp_path / "u.zarr", position, image, CELLS["orthogonal"])
    with pytest.raises(StoreError, match="of another input or scheme"):
        unwrap(other, out, scheme="images", client=NOBODY, progress=False)
    assert files(out) == before
    with pytest.raises(StoreError, match="it holds a trajectory"):  # nor is it written over
        unwrap(store, other, client=NOBODY, progress=False)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("all of it")
    with pytest.raises(StoreError):
        unwrap(store, tmp_path / "folder", client=NOBODY, progress=False)
    assert (tmp_path / "folder" / "thesis.tex").exists()
    with pytest.raises(StoreError, match="holds an unwrapped trajectory, not a trajectory"):
        unwrap(out, tmp_path / "again.zarr", client=NOBODY, progress=False)


def test_killed_before_its_arrays_were_made(store, quiet, tmp_path, monkeypatch):
    out = tmp_path / "p.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(path_store, "put", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            unwrap(store, out, client=NOBODY, progress=False)
    assert list(tmp_path.iterdir()) == []
    unwrap(store, out, client=NOBODY, progress=False)
    same(out, quiet())


# ------------------------------------------------------------------------------------------------------------- the store
def test_the_store_explains_itself(store, quiet):
    out = quiet()
    ds, source = mgdask.open_store(out), mgdask.open_store(store)
    assert ds.path.dims == ("atom", "frame", "xyz")
    assert ds.path.chunks[0] == (12, 9)
    assert ds.path.chunks[1] == (9, 9, 7)
    assert ds.attrs["scheme_meaning"] == paths_module.SCHEMES["toroidal"]
    assert "von Bülow" in ds.attrs["citation"]
    assert ds.attrs["input"] == store
    for name in ("atom_id", "species", "mass", "pbc", "step", "time", "run", "cell"):
        assert (ds[name].values == source[name].values).all(), name


def test_the_cut_covers_everything():
    for n_frames, n_atoms in ((1, 1), (100, 50), (1001, 8000), (20_000, 50_000), (3, 10**6)):
        cut = path_store.unwrapped_layout(n_frames, n_atoms)
        assert cut.shard_atoms % cut.chunk_atoms == cut.shard_frames % cut.chunk_frames == 0
        assert cut.shard_atoms % path_store.GROUP == path_store.GROUP % cut.chunk_atoms == 0
        source = layout.trajectory_layout(n_atoms)
        # a shard of the trajectory is read by one task
        assert cut.shard_frames % source.shard_frames == 0 or cut.shard_frames >= n_frames
        real = min(cut.shard_atoms, n_atoms) * min(cut.shard_frames, n_frames)
        assert 24 * real <= 2 * 2**24 + 24 * cut.shard_atoms * source.shard_frames
        assert cut.shard_frames < n_frames + source.shard_frames
        assert (
            n_frames > 1 or cut.shard_frames <= layout.FRAMES_IN_CHUNK
        )  # not what a shard of one atom could hold


@pytest.mark.parametrize("kind", ["paths", "trajectory"])
def test_reading_paths_of_some_atoms_and_frames(store, quiet, kind):
    out = quiet("images")
    every = read(out)[0]
    source, _ = path_store.unwrapped_source(out if kind == "paths" else store)
    assert (source.kind, source.n_frames, source.n_atoms) == (kind, 25, 21)
    for frames in ([0], [24], [3, 4, 5, 6], [0, 9, 20], [1, 2, 4, 24], list(range(25))):
        for first, last in ((0, 21), (6, 15), (20, 21)):
            found = source.read(np.array(frames), first, last)
            assert found.flags.c_contiguous
            assert (
                found.tobytes()
                == np.ascontiguousarray(every[frames, first:last].transpose(1, 0, 2)).tobytes()
            )


def test_other_stores_are_no_paths(store, tmp_path):
    new_group(tmp_path / "strange.zarr", {}, overwrite=False)
    with pytest.raises(
        StoreError, match="holds nothing that mgdask wrote; give a trajectory store"
    ):
        path_store.unwrapped_source(tmp_path / "strange.zarr")
    half = shutil.copytree(store, tmp_path / "half.zarr")
    (half / "manifest" / "complete.json").unlink()
    with pytest.raises(StoreError, match="is not finished"):
        path_store.unwrapped_source(half)


def test_a_store_of_paths_has_no_surroundings(store, quiet, tmp_path, small_soap):
    out = quiet()
    with pytest.raises(
        ParameterError,
        match=r"auto\.zarr holds unwrapped trajectories; soap reads whole frames: plan it from the trajectory store",
    ):
        mgdask.plan(out, small_soap, out=tmp_path / "f.zarr")


def test_few_atoms_make_a_small_store(tmp_path, make):
    """With the cut that is really used: a shard of two atoms is not filled up to the frames it could hold."""
    true = np.arange(30.0).reshape(5, 2, 3) / 10
    store = make_store(
        tmp_path / "t.zarr", true, np.zeros(true.shape, dtype=np.int32), 10 * np.eye(3)
    )
    found, _, _ = make(store, out=tmp_path / "p.zarr")
    assert (found == true).all()
    assert (
        sum(p.stat().st_size for p in (tmp_path / "p.zarr" / "path").rglob("*") if p.is_file())
        < 20_000
    )
