"""Features made of several frames in plan, run and featurize: the same bits by every way, copies cut by atoms, marks, refusals, resuming."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

import mgdask
from mgdask.errors import ParameterError, PlanError, RunError
from mgdask.features import Coordination
from mgdask.features.lag import LagDisplacement
from mgdask.features.nonaffine import NonAffine
from mgdask.features.window import FrameAxis
from mgdask.pipelines.featurize import memory as memory_module
from mgdask.pipelines.featurize import plan as plan_module
from mgdask.pipelines.unwrap import unwrap
from mgdask.store import layout
from mgdask.store import unwrapped as path_store
from mgdask.store.attributes import decode
from tests.conftest import NO_PORT, threads_client
from tests.pipelines.test_featurize import files
from tests.pipelines.test_unwrap import CELLS, make_store, walk, wrapped

N_FRAMES, N_ATOMS = 20, 60
RUN = ["a"] * 12 + ["b"] * 8
TIME = np.concatenate([np.arange(12) * 0.5, 3.0 + np.arange(8) * 0.5])
KELVIN = np.linspace(300, 700, N_FRAMES)
LAGS = (0.5, 1.0, 2.5)


@dataclass(frozen=True)
class Case:
    store: str
    true: np.ndarray
    cell: np.ndarray
    numbers: np.ndarray
    mass: np.ndarray
    position: np.ndarray
    image: np.ndarray


def build(path, *, breathing, seed):
    rng = np.random.default_rng(seed)
    cell = np.tile(CELLS["triclinic"], (N_FRAMES, 1, 1))
    if breathing:
        cell = cell * (1 + 0.02 * rng.standard_normal(N_FRAMES))[:, None, None]
    true = walk(rng, CELLS["triclinic"], N_FRAMES, N_ATOMS, step=0.04)
    true = true + rng.integers(-2, 3, (N_ATOMS, 3)) @ CELLS["triclinic"]
    position, image = wrapped(true, cell)
    numbers = np.where(np.arange(N_ATOMS) % 3 == 0, 40, 29)
    mass = np.where(numbers == 40, 91.224, 63.546)
    store = make_store(
        path,
        position,
        image,
        cell,
        run=RUN,
        time=TIME,
        numbers=numbers,
        mass=mass,
        temperature=KELVIN,
    )
    return Case(store, true, cell, numbers, mass, position, image)


@pytest.fixture(scope="module")
def cut():
    """Shards of 6 frames and chunks of 20 atoms in trajectories, of 8 frames and 24 atoms in stores of paths."""
    with pytest.MonkeyPatch.context() as patch:
        small = layout.TrajectoryLayout(6, 3, 20)
        for name in (
            "mgdask.store.trajectory",
            "mgdask.store.layout",
            "mgdask.pipelines.featurize.memory",
        ):
            patch.setattr(f"{name}.trajectory_layout", lambda n: small)
        patch.setattr(
            path_store, "unwrapped_layout", lambda f, n: path_store.UnwrappedLayout(24, 8, 12, 8)
        )
        yield


@pytest.fixture(scope="module")
def constant(tmp_path_factory, cut):
    return build(tmp_path_factory.mktemp("constant") / "t.zarr", breathing=False, seed=1)


@pytest.fixture(scope="module")
def breathing(tmp_path_factory, cut):
    return build(tmp_path_factory.mktemp("breathing") / "t.zarr", breathing=True, seed=2)


@pytest.fixture(scope="module")
def processes(two_processes):
    with Client(two_processes, set_as_default=False) as client:
        yield client


@pytest.fixture(scope="module")
def threads():
    with threads_client(2, default=False) as client:
        yield client


def cut_blocks(monkeypatch, size):
    monkeypatch.setattr(plan_module, "MAX_BLOCK", size)
    monkeypatch.setattr("mgdask.store.layout.MIN_SHARD", size)
    monkeypatch.setattr("mgdask.store.layout.CHUNK", size // 2)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of some frames of lags, or some tens of atoms of one frame of what has more columns."""
    cut_blocks(monkeypatch, 2**13)


def by_hand(feature, path, mass, drift=None):
    """``compute`` of every run by itself, in the order of the origins."""
    found = []
    for name in ("a", "b"):
        pick = np.array([run == name for run in RUN])
        r = path[pick] if drift is None else path[pick] - drift[pick][:, None]
        some = replace(feature, remove_drift=False)
        kelvin = KELVIN[pick] if feature.scaling == "logarithmic" else None
        found.append(some.compute(r, TIME[pick], mass=mass, temperature=kelvin))
    return np.concatenate(found)


def paths_of(case, scheme, threads, out):
    """Unwrapped positions (frame, atom, 3) and centres of mass, which test_unwrap.py compares with naive twins."""
    unwrap(case.store, out, scheme=scheme, client=threads, progress=False)
    ds = mgdask.open_store(out)
    return ds.path.transpose("frame", "atom", "xyz").values, ds.center_of_mass.values


def lag(**options):
    return LagDisplacement(**{"lags": LAGS, "origins": "all", "missing": "nan", **options})


def pairs_of(feature, case, centers=None, frames=range(N_FRAMES)):
    """NonAffine by hand: ``compute`` of every two frames."""
    path = np.array(
        [
            case.position[k] + np.einsum("ik,kj->ij", case.image[k].astype(float), case.cell[k])
            for k in range(N_FRAMES)
        ]
    )
    axis = FrameAxis(TIME, np.array(RUN))
    n, out = N_ATOMS if centers is None else len(centers), []
    for k in frames:
        a, b = 0 if RUN[k] == "a" else 12, k
        if feature.lag is not None:
            a, b = k, axis.later(k, feature.lag)
        elif feature.reference != "first":
            a = feature.reference
        if b < 0:
            out.append(np.full((n, feature.n_columns), np.nan))
        else:
            out.append(
                feature.compute(
                    path[a], path[b], case.cell[a], case.cell[b], case.numbers, centers=centers
                )
            )
    return np.array(out)


# -------------------------------------------------------------------------------------------------- lag displacements
@pytest.mark.parametrize("way", ["processes", "threads"])
def test_lags_from_the_trajectory(constant, tmp_path, monkeypatch, request, way):
    """A constant cell: no copy; several features with the same origins, over the border of two runs."""
    every_second = partial(lag, origins=2)
    cut_blocks(monkeypatch, 2**10 if way == "processes" else 2**12)
    features = [
        every_second(),
        every_second(scaling="logarithmic").named("lg"),
        every_second(scaling="logarithmic_mass").named("lg_mass"),
        every_second(scaling="displacement", lags=(1.0,)).named("far"),
        every_second(lags=(0.5, 4.0), temperature=300.0, scaling="logarithmic").named("warm"),
    ]
    plan = mgdask.plan(constant.store, features, out=tmp_path / "f.zarr")
    assert plan.paths == ""
    assert "paths" not in str(plan).split()
    assert (len({b.row for b in plan.blocks}) > 1) == (way == "processes")
    assert (len(plan.blocks[0].frames) > 1) == (way == "threads")
    assert len({b.frame for b in plan.blocks}) > 2
    report = mgdask.run(plan, request.getfixturevalue(way), progress=False)
    assert report.rows == N_FRAMES // 2 * N_ATOMS
    out = mgdask.open_store(tmp_path / "f.zarr")
    path = constant.position + np.einsum(
        "fak,fkj->faj", constant.image.astype(float), constant.cell
    )
    for feature in features:
        want = by_hand(feature, path, constant.mass)
        assert out[feature.name].values.tobytes() == want.tobytes(), feature.name
        lacking = int(np.isnan(want).any(axis=2).sum())
        assert lacking > 0
        flags = {"no_later_frame": lacking}
        if feature.name == "lg":  # T of the origin and of its later frames
            flags["temperature_changes"] = N_ATOMS * sum(
                any(
                    abs(KELVIN[later] / KELVIN[k] - 1) > 0.05
                    for later in np.flatnonzero(np.array(RUN) == RUN[k])
                    if any(abs(TIME[later] - TIME[k] - t) < 1e-6 for t in LAGS)
                )
                for k in range(0, N_FRAMES, 2)
            )
            assert flags["temperature_changes"] > 0
        assert decode(out[feature.name].attrs, "marked_atoms") == flags
    assert out.lag_displacement_lag.values.tolist() == list(LAGS)
    assert out.lag_displacement_feature.values.tolist() == ["0.5 ps", "1 ps", "2.5 ps"]
    assert (out.time.values == TIME[::2]).all()
    assert not (tmp_path / "f.zarr.paths.zarr").exists()
    lazy = mgdask.featurize(mgdask.open_store(constant.store), features)
    for feature in features:
        assert lazy[feature.name].values.tobytes() == out[feature.name].values.tobytes(), (
            feature.name
        )
    np.testing.assert_allclose(
        out.lag_displacement.values,
        by_hand(every_second(), constant.true, constant.mass),
        rtol=1e-9,
        atol=1e-9,
    )


@pytest.mark.parametrize("remove_drift", [pytest.param(False, marks=pytest.mark.slow), True])
def test_lags_by_a_copy_where_the_cell_changes(
    breathing, tmp_path, small_blocks, processes, threads, remove_drift
):
    feature = lag(remove_drift=remove_drift)
    plan = mgdask.plan(breathing.store, feature, out=tmp_path / "f.zarr")
    assert plan.paths == f"{tmp_path / 'f.zarr'}.paths.zarr"
    text = " ".join(str(plan).split())
    assert (
        "a copy split by atoms, made first because the cell changes, so trajectories are unwrapped by the toroidal scheme"
        in text
    )
    mgdask.run(plan, processes, progress=False)
    assert mgdask.open_store(plan.paths).attrs["scheme"] == "toroidal"
    path, center = paths_of(breathing, "toroidal", threads, tmp_path / "p.zarr")
    want = by_hand(feature, path, breathing.mass, center if remove_drift else None)
    found = mgdask.open_store(tmp_path / "f.zarr").lag_displacement.values
    assert found.tobytes() == want.tobytes()
    images, _ = paths_of(breathing, "images", threads, tmp_path / "i.zarr")
    assert np.nanmax(np.abs(by_hand(lag(), images, breathing.mass) - found)) > 0.1
    # the store of paths itself as the input of a plan
    again = mgdask.plan(tmp_path / "p.zarr", feature, out=tmp_path / "g.zarr")
    assert again.paths == ""
    mgdask.run(again, threads, progress=False)
    assert (
        mgdask.open_store(tmp_path / "g.zarr").lag_displacement.values.tobytes() == want.tobytes()
    )
    with pytest.raises(
        ParameterError,
        match=r"the cell changes or drift is to be removed.*use mgdask\.plan and mgdask\.run",
    ):
        mgdask.featurize(mgdask.open_store(breathing.store), feature)


def test_drift_of_a_constant_cell(constant, tmp_path, small_blocks, threads):
    features = [lag(remove_drift=True), lag().named("kept")]
    plan = mgdask.plan(constant.store, features, out=tmp_path / "f.zarr")
    assert plan.why_paths == "the motion of the center of mass is to be removed"
    mgdask.run(plan, threads, progress=False)
    out = mgdask.open_store(tmp_path / "f.zarr")
    path, center = paths_of(constant, "images", threads, tmp_path / "p.zarr")
    assert (
        out.lag_displacement.values.tobytes()
        == by_hand(features[0], path, constant.mass, center).tobytes()
    )
    assert out.kept.values.tobytes() == by_hand(features[1], path, constant.mass).tobytes()
    # and as compute does it, which sums masses in another order
    some = np.array(RUN) == "a"
    want = lag(remove_drift=True).compute(constant.true[some], TIME[some], mass=constant.mass)
    np.testing.assert_allclose(out.lag_displacement.values[some], want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("origins", "centers"),
    [("first", "Zr"), (3, None), (3, [3, 4, 17, 40, 59]), ((0.0, 1.5), "Zr"), ("first", None)],
)
def test_some_centers_and_origins(constant, tmp_path, monkeypatch, threads, origins, centers):
    cut_blocks(monkeypatch, 2**11)
    feature = lag(origins=origins)
    plan = mgdask.plan(constant.store, feature, out=tmp_path / "f.zarr", centers=centers)
    frames = {"first": [0, 12], 3: [0, 3, 6, 9, 12, 15, 18], (0.0, 1.5): [0, 3, 12, 15]}[origins]
    assert plan.frames.tolist() == frames
    mgdask.run(plan, threads, progress=False)
    out = mgdask.open_store(tmp_path / "f.zarr")
    rows = (
        {"Zr": np.arange(0, 60, 3), None: np.arange(60)}[centers]
        if not isinstance(centers, list)
        else np.array(centers)
    )
    path = constant.position + np.einsum(
        "fak,fkj->faj", constant.image.astype(float), constant.cell
    )
    want = by_hand(lag(), path, constant.mass)[frames][:, rows]
    assert out.lag_displacement.values.tobytes() == want.tobytes()
    assert (out.atom_id.values == rows + 1).all()
    assert (out.time.values == TIME[frames]).all()
    assert (out.step.values == 10 * np.array(frames)).all()
    lazy = mgdask.featurize(mgdask.open_store(constant.store), feature, centers=centers)
    assert lazy.lag_displacement.values.tobytes() == want.tobytes()
    assert (lazy.time.values == TIME[frames]).all()


def test_a_missing_lag_is_refused_by_the_plan(constant, tmp_path):
    words = "no frame is 7 ps after any of the 2 origins; the nearest lag that exists is 5.5 ps"
    feature = LagDisplacement(lags=(1.0, 7.0))
    with pytest.raises(ParameterError, match=words):
        mgdask.plan(constant.store, feature, out=tmp_path / "f.zarr")
    with pytest.raises(ParameterError, match=words):
        mgdask.featurize(mgdask.open_store(constant.store), feature)


# -------------------------------------------------------------------------------------------------------- non-affine
@pytest.mark.slow
def test_non_affine_by_every_way(breathing, tmp_path, monkeypatch, processes, threads):
    case = breathing
    cut_blocks(monkeypatch, 2**12)
    base = NonAffine(cutoff=4.0, quantities=("d2min", "shear", "F"))
    features = [
        base,
        replace(base, reference=5).named("from_five"),
        replace(base, lag=1.0).named("lagged"),
        replace(base, cutoff={"Cu-Cu": 3.0, "Cu-Zr": 3.5, "Zr-Zr": 4.5}, lag=2.5).named("pairs"),
        Coordination(cutoff=3.5),
    ]
    plan = mgdask.plan(case.store, features, out=tmp_path / "f.zarr")
    assert plan.paths == ""
    assert len({b.row for b in plan.blocks}) > 1
    mgdask.run(plan, processes, progress=False)
    cut_blocks(monkeypatch, 2**15)
    whole = mgdask.plan(case.store, features, out=tmp_path / "g.zarr")
    assert len(whole.blocks[0].frames) > 1
    mgdask.run(whole, threads, progress=False)
    out, other = (mgdask.open_store(tmp_path / name) for name in ("f.zarr", "g.zarr"))
    lazy = mgdask.featurize(mgdask.open_store(case.store), features)
    for feature in features[:4]:
        want = pairs_of(feature, case)
        for ds in (out, other):
            assert ds[feature.name].values.tobytes() == want.tobytes(), feature.name
        assert lazy[feature.name].values.tobytes() == want.tobytes(), feature.name
        marks = decode(out[feature.name].attrs, "marked_atoms")
        assert marks == decode(other[feature.name].attrs, "marked_atoms")
        assert np.isnan(want[..., 0]).sum() == sum(marks.values()), marks
    lacking = sum(FrameAxis(TIME, np.array(RUN)).laters(1.0) < 0) * N_ATOMS
    assert decode(out.lagged.attrs, "marked_atoms")["no_later_frame"] == lacking == 4 * N_ATOMS
    assert "no_later_frame" not in decode(out.nonaffine.attrs, "marked_atoms")
    # nothing has happened in the reference itself
    for name, frames in (("nonaffine", [0, 12]), ("from_five", [5])):
        assert np.nanmax(np.abs(out[name].values[frames][..., 0])) < 1e-20
    assert np.nanmax(out.nonaffine.values[11, :, 0]) > 0.1
    alone = np.array(
        [
            Coordination(cutoff=3.5).compute(r, c, case.numbers)
            for r, c in zip(case.position, case.cell, strict=True)
        ]
    )
    assert out.coordination.values.tobytes() == alone.tobytes()


def test_non_affine_of_some_frames_and_centers(constant, tmp_path, small_blocks, threads):
    feature, centers, frames = NonAffine(cutoff=4.0, lag=0.5), np.array([2, 3, 50]), [0, 4, 11, 18]
    plan = mgdask.plan(
        constant.store, feature, out=tmp_path / "f.zarr", frames=frames, centers=centers
    )
    mgdask.run(plan, threads, progress=False)
    out = mgdask.open_store(tmp_path / "f.zarr")
    assert out.nonaffine.values.tobytes() == pairs_of(feature, constant, centers, frames).tobytes()
    assert (
        decode(out.nonaffine.attrs, "marked_atoms")["no_later_frame"] == 3
    )  # frame 11, the last of its run
    with pytest.raises(ParameterError, match="reference=20 is beyond the last frame, 19"):
        mgdask.plan(constant.store, NonAffine(reference=20), out=tmp_path / "g.zarr")


# ------------------------------------------------------------------------------------------------------------ refusals
def test_what_does_not_go_together(constant, breathing, tmp_path, threads, small_soap):
    out, ds = tmp_path / "f.zarr", mgdask.open_store(constant.store)
    for features, words in (
        (
            [lag(), lag(origins="first").named("x")],
            "the features have different origins; make a plan for each",
        ),
        (
            [lag(), small_soap],
            "reads whole frames and lag_displacement reads unwrapped trajectories",
        ),
        (
            [NonAffine(), lag()],
            "nonaffine reads whole frames and lag_displacement.*make a plan for each",
        ),
    ):
        with pytest.raises(ParameterError, match=words):
            mgdask.plan(constant.store, features, out=out)
        with pytest.raises(ParameterError, match=words):
            mgdask.featurize(ds, features)
    with pytest.raises(
        ParameterError, match="reads unwrapped trajectories: set its origins instead"
    ):
        mgdask.plan(constant.store, lag(), out=out, frames=[0, 1])
    unwrap(breathing.store, tmp_path / "p.zarr", client=threads, progress=False)
    for feature in (small_soap, NonAffine()):
        with pytest.raises(
            ParameterError,
            match=rf"p\.zarr holds unwrapped trajectories; {feature.name} reads whole frames",
        ):
            mgdask.plan(tmp_path / "p.zarr", feature, out=out)
    with pytest.raises(ParameterError, match="has no image"):
        mgdask.featurize(ds.drop_vars("image"), lag())
    with pytest.raises(ParameterError, match="the frames have no times"):
        mgdask.featurize(ds.drop_vars("time"), lag())
    assert not out.exists()


# -------------------------------------------------------------------------------------------------------------- memory
def test_a_copy_where_memory_is_small(constant, tmp_path, monkeypatch, threads):
    """All frames of a chunk of the trajectory do not fit, those of some atoms of a copy cut by atoms do."""
    feature = lag(origins="first")
    roomy = mgdask.plan(constant.store, feature, out=tmp_path / "r.zarr")
    assert roomy.paths == ""
    monkeypatch.setattr(
        memory_module, "trajectory_layout", lambda n: layout.TrajectoryLayout(4000, 8, 4000)
    )
    monkeypatch.setattr(plan_module, "project_memory", tight(plan_module.project_memory))
    plan = mgdask.plan(constant.store, feature, out=tmp_path / "f.zarr", memory="500MiB")
    assert plan.paths == f"{tmp_path / 'f.zarr'}.paths.zarr"
    assert plan.why_paths == "all frames of the atoms of a chunk do not fit into memory"
    text = " ".join(str(plan).split())
    assert (
        "a copy split by atoms, made first because all frames of the atoms of a chunk do not fit into memory"
        in text
    )
    assert plan.memory.total <= plan.allowed
    mgdask.run(plan, threads, progress=False)
    mgdask.run(roomy, threads, progress=False)
    assert mgdask.open_store(plan.paths).attrs["scheme"] == "images"
    found, want = (mgdask.open_store(p.out).lag_displacement.values for p in (plan, roomy))
    assert found.tobytes() == want.tobytes()
    with pytest.raises(PlanError, match="is too little even for the smallest blocks"):
        mgdask.plan(constant.store, feature, out=tmp_path / "g.zarr", memory="421MiB")


def tight(memory):
    # as if each atom of a trajectory's chunk took ten megabytes
    def found(trial, threads):
        here = memory(trial, threads)
        return replace(
            here, window=here.window + (0 if trial.paths else 10 * 2**20 * trial.n_atoms) + 2**21
        )

    return found


def test_the_projection_holds(constant, tmp_path):
    """In a new worker, which has done nothing else."""
    plan = mgdask.plan(constant.store, lag(), out=tmp_path / "f.zarr")
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": "spawn"}),
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=NO_PORT) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        report = mgdask.run(plan, client, progress=False)
    assert 0 < report.peak_memory < report.projected
    assert report.excess_memory == 0


# ------------------------------------------------------------------------------------------------------------- resuming
FAULTS: set[int] = set()


@dataclass(frozen=True)
class Flaky(LagDisplacement):
    """Lag displacements that fail for origins in ``FAULTS``."""

    family: ClassVar[str] = "flaky"

    def describe_trajectories(self, trajectories, origins, out):
        if FAULTS & set(origins.tolist()):
            raise FloatingPointError("out of order")
        return super().describe_trajectories(trajectories, origins, out)


@pytest.mark.parametrize("which", ["constant", "breathing"])
def test_a_run_that_failed_goes_on(tmp_path, small_blocks, threads, request, which):
    store = request.getfixturevalue(which).store
    feature = Flaky(lags=LAGS, origins="all", missing="nan")
    plan, quiet = (
        mgdask.plan(store, feature, out=tmp_path / name) for name in ("f.zarr", "g.zarr")
    )
    bad = {b.name for b in plan.blocks if 7 in b.frames}
    assert 0 < len(bad) < len(plan.blocks)
    try:
        FAULTS.add(7)
        with pytest.raises(
            RunError, match=rf"(?s){len(bad)} of {len(plan.blocks)} blocks failed.*out of order"
        ):
            mgdask.run(plan, threads, progress=False, retries=0)
    finally:
        FAULTS.clear()
    assert bool(plan.paths) == (which == "breathing")
    before = files(plan.paths) if plan.paths else {}
    assert mgdask.run(plan, threads, progress=False).skipped == len(plan.blocks) - len(bad)
    assert (files(plan.paths) if plan.paths else {}) == before
    mgdask.run(quiet, threads, progress=False)
    assert files(plan.out) == files(quiet.out)
    marks = [decode(mgdask.open_store(p.out).flaky.attrs, "marked_atoms") for p in (plan, quiet)]
    assert marks[0] == marks[1] == {"no_later_frame": 10 * N_ATOMS}


def test_a_lost_copy_is_made_again(breathing, tmp_path, small_blocks, threads):
    plan = mgdask.plan(breathing.store, lag(), out=tmp_path / "f.zarr")
    mgdask.run(plan, threads, progress=False)
    before, copy = files(plan.out), files(plan.paths)
    next(
        p for p in (tmp_path / "f.zarr" / "lag_displacement" / "c").rglob("*") if p.is_file()
    ).unlink()
    next(
        p for p in (tmp_path / "f.zarr.paths.zarr" / "path" / "c").rglob("*") if p.is_file()
    ).unlink()
    mgdask.run(plan, threads, progress=False)
    assert files(plan.out) == before
    assert files(plan.paths) == copy
