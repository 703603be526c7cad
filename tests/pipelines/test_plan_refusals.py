"""Whatever a run refuses, its plan refuses first, with the same words, and writes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

import mgdask
from mgdask.errors import MgdaskError, ParameterError, StoreError
from mgdask.execution.results import Outcome
from mgdask.features import (
    BondOrder,
    Interstice,
    LagDisplacement,
    LinearResponse,
    MediumRange,
    NonAffine,
    Packing,
)
from mgdask.pipelines.featurize import input_checks
from mgdask.pipelines.featurize import plan as plan_module
from mgdask.pipelines.featurize import run as run_module
from mgdask.pipelines.featurize.validation import frames_text, parse_frames
from mgdask.store.lock import held, lock_file
from mgdask.store.manifest import Manifest
from tests.conftest import write_dump
from tests.resealed import reseal

STRUCTURE = BondOrder(degrees=(6,), quantities=("q",), neighbors="cutoff", cutoff=3.8)
STRAIN = NonAffine(cutoff=3.8, quantities=("d2min",))
MOTION = LagDisplacement(lags=(0.01,), origins="all", missing="nan")
N_FRAMES = 6


def contents(*paths):
    """Return the digest of every file below some folders."""
    return {
        str(file): hashlib.sha256(file.read_bytes()).hexdigest()
        for path in paths
        for file in sorted(Path(path).rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def small_store(tmp_path_factory):
    """Path of a store of 27 atoms of Zr and Cu in two runs of three frames, 0.01 ps apart."""
    folder = tmp_path_factory.mktemp("small")
    random = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3) * 3.0 + 0.7
    for name in ("a", "b"):
        frames = []
        for k in range(3):
            position = grid + 0.1 * random.random(grid.shape)
            rows = [(i + 1, i % 2 + 1, *r, 1, 0, -1) for i, r in enumerate(position)]
            frames.append((10 * k, rows))
        columns = "id type x y z ix iy iz"
        write_dump(folder / f"{name}.dump", frames, columns, box=((0, 9),) * 3)
    dumps = [folder / "a.dump", folder / "b.dump"]
    mgdask.ingest(dumps, folder / "s.zarr", species=("Zr", "Cu"), timestep=0.001, run=["a", "b"])
    return folder / "s.zarr"


@pytest.fixture
def store(small_store, tmp_path):
    """Path of an own copy of the store."""
    return Path(shutil.copytree(small_store, tmp_path / "s.zarr"))


class Here:
    """A client of one thread, for runs whose tasks are done at once."""

    def nthreads(self):
        return {"here": 1}


@pytest.fixture
def at_once(monkeypatch):
    """Run tasks in this process, without a client."""

    def execute(client, function, tasks, **_):
        outcome = Outcome()
        for name, arguments in tasks:
            try:
                outcome.results[name] = function(*arguments)
            except MgdaskError as error:
                outcome.failures[name] = error
        return outcome

    monkeypatch.setattr(run_module, "execute", execute)
    return Here()


def damage(store, frames):
    """Make the position of one atom NaN in some frames."""
    position = zarr.open_group(store, mode="r+")["position"]
    for frame in frames:
        values = position[frame]
        values[4, 1] = np.nan
        position[frame] = values
    reseal(store)


def other_features(store, out):
    plan = mgdask.plan(store, replace(STRUCTURE, cutoff=3.5), out=out)
    mgdask.run(plan, Here(), progress=False)


def other_kind(store, out):
    shutil.copytree(store, out)


def no_store(store, out):
    out.write_text("my notes")


def file_above(store, out):
    out.parent.rmdir()
    out.parent.write_text("my notes")


def lost_shard(store, out):
    (store / "position" / "c" / "0" / "0" / "0").unlink()


def truncated_shard(store, out):
    file = store / "position" / "c" / "0" / "0" / "0"
    file.write_bytes(file.read_bytes()[:-9])


def unfinished(store, out):
    Manifest(store).reopen()


def pending(store, out):
    (store / "manifest" / "frame_values.ready").mkdir()


def one_bad_frame(store, out):
    damage(store, [1])


def flat_cell(store, out):
    cell = zarr.open_group(store, mode="r+")["cell"]
    values = cell[2]
    values[2] = values[1]
    cell[2] = values
    Manifest(store).update(["cell"])


BROKEN = [
    (other_features, STRUCTURE, "it holds other features. Stored -> planned: bond_order"),
    (other_kind, STRUCTURE, "it holds a trajectory"),
    (no_store, STRUCTURE, "it exists and is not a Zarr store"),
    (file_above, STRUCTURE, "cannot be written ("),
    (unfinished, STRUCTURE, "is not finished: some blocks were never written"),
    (pending, STRUCTURE, "values of frames are being added"),
    (one_bad_frame, STRUCTURE, "frame 1 (step 10): the position of atom "),
    (one_bad_frame, STRAIN, "frame 1 (step 10): the position of atom "),
    (one_bad_frame, MOTION, "frame 1 (step 10): the position of atom "),
    (flat_cell, STRUCTURE, "cell vectors do not span space (volume 0 Å³)"),
]


@pytest.mark.parametrize(
    ("breaks", "feature", "text"),
    BROKEN,
    ids=[f"{breaks.__name__}-{feature.name}" for breaks, feature, _ in BROKEN],
)
def test_what_a_run_refuses_its_plan_refuses_first(store, tmp_path, at_once, breaks, feature, text):
    out = tmp_path / "out" / "f.zarr"
    out.parent.mkdir()
    sound = mgdask.plan(store, feature, out=out)
    breaks(store, out)
    before = contents(tmp_path)
    with pytest.raises(MgdaskError) as planned:
        mgdask.plan(store, feature, out=out)
    assert contents(tmp_path) == before
    assert text in str(planned.value)
    with pytest.raises(MgdaskError) as ran:
        mgdask.run(sound, at_once, progress=False)
    assert text in str(ran.value) or breaks is unfinished


@pytest.mark.parametrize(
    ("feature", "text"),
    [
        (NonAffine(lag=0.5), "NonAffine: no frame is 0.5 ps after any of the 6 frames"),
        (LagDisplacement(lags=(0.01, 0.5)), "no frame is 0.5 ps after any of the 2 origins"),
        (LagDisplacement(lags=(0.01,), origins=(0.0, 0.7)), "not every run has a frame at each"),
        (LagDisplacement(lags=(0.01,), scaling="logarithmic"), "mgdask attach "),
        (NonAffine(reference=9), "reference=9 is beyond the last frame, 5"),
        (NonAffine(cutoff={"Cu-Cu": 3.4}), "lacks Cu-Zr, Zr-Zr"),
        (Interstice(radii={"Cu": 1.28}), "lacks Zr, which the atoms contain; add its radius"),
        (Packing(radii={"Zr": 1.58}), "lacks Cu, which the atoms contain; add its radius"),
        (LinearResponse(radii={"Zr": 1.58}), "lacks Cu, which the atoms contain"),
        (MediumRange(feature=Interstice(radii={"Cu": 1.28})), "lacks Zr, which the atoms"),
        ([STRUCTURE, STRUCTURE], "two features are named 'bond_order'"),
        ([STRUCTURE, MOTION], "they have different rows, so make a plan for each"),
        (STRUCTURE.named("run"), "a feature is named 'run'"),
    ],
)
def test_features_that_the_frames_or_atoms_do_not_allow(small_store, tmp_path, feature, text):
    with pytest.raises(ParameterError) as refused:
        mgdask.plan(small_store, feature, out=tmp_path / "f.zarr")
    assert text in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_lag_that_only_some_frames_have_is_allowed(small_store, tmp_path):
    feature = NonAffine(cutoff=3.8, lag=0.02)
    mgdask.plan(small_store, feature, out=tmp_path / "f.zarr")
    mgdask.plan(small_store, feature, out=tmp_path / "f.zarr", frames=[0, 5])
    with pytest.raises(ParameterError, match=r"of the 1 frames.*no frame of a run follows them"):
        mgdask.plan(small_store, feature, out=tmp_path / "f.zarr", frames=[5])
    with pytest.raises(ParameterError, match=r"nearest lag that exists is 0\.02 ps"):
        mgdask.featurize(mgdask.open_store(small_store), NonAffine(lag=7.0))


def test_a_refusal_names_the_frames_that_remain(store, tmp_path, monkeypatch):
    out = tmp_path / "f.zarr"
    damage(store, [1, 4])
    with pytest.raises(StoreError, match=r"likewise frames 4\. Look.*\(--frames 0,2:4,5\)$"):
        mgdask.plan(store, STRUCTURE, out=out)
    with pytest.raises(StoreError, match=r"--frames 0,2:4,5\)$"):  # each run has its reference
        mgdask.plan(store, STRAIN, out=out)
    with pytest.raises(StoreError, match=r"then repair the input$"):  # no pair would remain
        mgdask.plan(store, NonAffine(cutoff=3.8, lag=0.01), out=out)
    with pytest.raises(StoreError, match="or choose origins and lags"):
        mgdask.plan(store, MOTION, out=out)
    kept = parse_frames("0,2:4,5", N_FRAMES)
    assert mgdask.plan(store, STRUCTURE, out=out, frames=kept).frames.tolist() == [0, 2, 3, 5]
    monkeypatch.setattr(input_checks, "MAX_READ", 1)  # large frames are left to the tasks
    truncated_shard(store, out)
    with pytest.raises(StoreError, match=r"position/c/0/0/0 .* has \d+ bytes instead of"):
        mgdask.plan(store, STRUCTURE, out=out)


def test_lost_files_are_named_before_anything_is_read(store, tmp_path, monkeypatch):
    monkeypatch.setattr(input_checks, "MAX_READ", 1)
    out = tmp_path / "f.zarr"
    image = store / "image" / "c" / "0" / "0" / "0"
    moved = image.rename(tmp_path / "image")
    mgdask.plan(store, STRUCTURE, out=out)  # does not read images
    # without this, images would be read as zeros, and the result would be wrong
    for feature in (STRAIN, MOTION):
        with pytest.raises(
            StoreError, match=r"the file image/c/0/0/0 .*is missing\. Run mgdask verify"
        ):
            mgdask.plan(store, feature, out=out)
    moved.rename(image)
    lost_shard(store, out)
    with pytest.raises(StoreError, match=r"position/c/0/0/0 \(frames 0 to 5.*is missing"):
        mgdask.plan(store, STRUCTURE, out=out)


def test_a_truncated_file_is_named(store, tmp_path):
    truncated_shard(store, None)
    with pytest.raises(
        StoreError, match=r"position/c/0/0/0 .* bytes instead of \d+\. Run mgdask verify"
    ):
        mgdask.plan(store, STRUCTURE, out=tmp_path / "f.zarr")


def test_a_refusal_names_only_what_differs(small_store, store, tmp_path, at_once, monkeypatch):
    out = tmp_path / "f.zarr"
    mgdask.run(mgdask.plan(small_store, STRUCTURE, out=out), at_once, progress=False)
    begins = f"Choose another out= (--out), or delete {out}: it holds other features. "
    inner = replace(STRUCTURE, degrees=(4,))
    for features, options, found in (
        (inner, {}, "bond_order: degrees [6] -> [4]"),
        (replace(STRUCTURE, quantities=("q", "w")), {}, 'quantities ["q"] -> ["q", "w"]'),
        (STRUCTURE, {"frames": [0, 1]}, "number of frames 6 -> 2"),
        (STRUCTURE, {"centers": "Cu"}, "number of central atoms 27 -> 13"),
        (STRUCTURE.named("other"), {}, "features bond_order -> other"),
        ([STRUCTURE, STRAIN], {}, "features bond_order -> bond_order, nonaffine"),
    ):
        with pytest.raises(StoreError) as refused:
            mgdask.plan(small_store, features, out=out, **options)
        text = str(refused.value)
        assert text == f"{begins}Stored -> planned: {text.split('planned: ')[1]}"
        assert text.endswith(found)
        assert text.count("->") == 2
    with monkeypatch.context() as patch:
        patch.setattr(plan_module, "MAX_BLOCK", 80)
        with pytest.raises(StoreError, match=r"blocks, .* frames x atoms 6 x 27 -> 1 x 27$"):
            mgdask.plan(small_store, STRUCTURE, out=out)
    zarr.open_group(out, mode="r+").attrs["plan_digest"] = "of another version"
    with pytest.raises(StoreError, match=r"delete .*f\.zarr: it holds features that another"):
        mgdask.plan(small_store, STRUCTURE, out=out)
    Manifest(store).finish("changed")
    shutil.rmtree(out)
    mgdask.run(mgdask.plan(small_store, STRUCTURE, out=out), at_once, progress=False)
    with pytest.raises(StoreError, match=r"planned: input .*s\.zarr -> .*s\.zarr$"):
        mgdask.plan(store, STRUCTURE, out=out)


def test_a_parameter_of_an_inner_feature_is_named_by_its_path(small_store, tmp_path, at_once):
    out = tmp_path / "f.zarr"
    wide = MediumRange(feature=STRUCTURE, statistics=("mean",), neighbors="cutoff", cutoff=3.8)
    mgdask.run(mgdask.plan(small_store, wide, out=out), at_once, progress=False)
    other = replace(wide, feature=replace(STRUCTURE, degrees=(4,)))
    with pytest.raises(StoreError, match=r": feature\.bond_order\.degrees \[6\] -> \[4\]$"):
        mgdask.plan(small_store, other, out=out)


def test_a_target_that_is_being_written_is_refused(small_store, tmp_path, at_once):
    out = tmp_path / "f.zarr"
    plan = mgdask.plan(small_store, STRUCTURE, out=out)
    mgdask.run(plan, at_once, progress=False)
    for name in (lock_file(out), out / "manifest" / "lock"):  # the latter as in version 0.1
        with held(name, out):
            with pytest.raises(StoreError) as planned:
                mgdask.plan(small_store, STRUCTURE, out=out)
            with pytest.raises(StoreError) as ran:
                mgdask.run(plan, at_once, progress=False)
        for error in (planned, ran):
            assert f"is being written by process {os.getpid()}" in str(error.value)
        assert not name.exists()
    owner = {"pid": 1, "host": "another machine"}
    lock_file(out).write_text(json.dumps(owner))
    mgdask.plan(small_store, STRUCTURE, out=out)  # its age is known only by writing


def test_nobody_is_told_to_delete_a_trajectory_or_a_file(small_store, tmp_path):
    dump = tmp_path / "glass.dump"
    dump.write_text("only copy")
    for target in (small_store, dump, tmp_path):
        for make in (
            lambda out: mgdask.plan(small_store, STRUCTURE, out=out),
            lambda out: mgdask.unwrap(small_store, out),
        ):
            with pytest.raises(StoreError) as refused:
                make(target)
            assert str(refused.value).startswith(f"Choose another out= (--out) than {target}: it ")
            assert ", or delete" not in str(refused.value)


def test_a_copy_beside_the_target_is_checked(small_store, tmp_path):
    feature = LagDisplacement(lags=(0.01,), remove_drift=True)
    copy = tmp_path / "f.zarr.paths.zarr"
    mgdask.plan(small_store, feature, out=tmp_path / "f.zarr")
    shutil.copytree(small_store, copy)
    with pytest.raises(StoreError, match=r"than .*paths\.zarr: it holds a trajectory$"):
        mgdask.plan(small_store, feature, out=tmp_path / "f.zarr")


@pytest.mark.parametrize("n", range(1, 9))
def test_frames_as_text_and_back(n):
    random = np.random.default_rng(n)
    frames = np.flatnonzero(random.random(30) < n / 9)
    text = frames_text(frames.tolist())
    if len(frames):
        assert parse_frames(text, 30).tolist() == frames.tolist()
        assert eval(f"np.r_[{text}]").tolist() == frames.tolist()


@pytest.mark.parametrize("text", ["a", "1:2:3:4", "", "0:3,", "1.5"])
def test_frames_of_another_form_are_refused(text):
    with pytest.raises(ParameterError, match="must be START:STOP"):
        parse_frames(text, 6)


@pytest.mark.parametrize(
    ("text", "problem"), [("3:1", "selects none of the 6"), ("0:3,2:5", "must increase")]
)
def test_frames_that_select_nothing_or_repeat(text, problem):
    with pytest.raises(ParameterError, match=f"^--frames {text} {problem}"):
        parse_frames(text, 6)
