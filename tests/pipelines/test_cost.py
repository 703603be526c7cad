"""The work line of a plan: neighbors, writing, kept figures, and cutoffs beyond half the cell."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest

import mgdask
from mgdask.errors import ParameterError
from mgdask.features import (
    BondOrder,
    Coordination,
    Interstice,
    LagDisplacement,
    LinearResponse,
    MediumRange,
    NonAffine,
    SphericalChebyshev,
    SymmetryFunctions,
)
from mgdask.features.feature import TYPICAL_DENSITY
from mgdask.features.registry import FEATURES
from mgdask.pipelines.featurize import calibration, cost, sample
from mgdask.pipelines.featurize.cost import Work, estimate, learn
from mgdask.pipelines.featurize.sample import carve, per_center
from tests.conftest import write_dump
from tests.execution.test_usage import Hungry
from tests.pipelines.test_feature_families import every_family

SPECIES = ("Cu", "Zr")


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """No figures of earlier plans, and none kept in the home folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def soap(r_cut):
    return mgdask.SOAP(species=SPECIES, r_cut=r_cut, n_max=3, l_max=2, sigma=0.5, rbf="polynomial")


def plan(store, feature, tmp_path, **options):
    return mgdask.plan(store, feature, out=tmp_path / "f.zarr", **options)


def count_measurements(monkeypatch):
    calls = []
    measure = sample.measure_framewise
    monkeypatch.setattr(
        sample, "measure_framewise", lambda *args: calls.append(args) or measure(*args)
    )
    return calls


# ------------------------------------------------------------------------ typical figures
@pytest.mark.parametrize(
    "make",
    [
        soap,
        lambda r: SphericalChebyshev(species=SPECIES, r_cut=r),
        lambda r: LinearResponse(cutoff=r),
        lambda r: NonAffine(cutoff=r),
        lambda r: BondOrder(degrees=(6,), neighbors="cutoff", cutoff=r),
        lambda r: MediumRange(Coordination(), neighbors="cutoff", cutoff=r),
    ],
)
def test_work_grows_as_the_number_of_neighbors(make):
    costs = np.array([make(r).cost_at(0.06) for r in (5.0, 10.0, 20.0, 40.0, 80.0)])
    assert (np.diff(costs) > 0).all()
    # far out, twice the cutoff has eight times the neighbors
    assert costs[-1] / costs[-2] == pytest.approx(8.0, rel=0.1)
    assert make(20.0).cost_at(0.12) > 1.5 * make(20.0).cost_at(0.06)


def test_every_family_has_a_cost_per_neighbor():
    for kind in FEATURES.values():
        assert "cost_at" in {name for base in kind.__mro__[:2] for name in vars(base)}, kind
    for feature in every_family():
        assert feature.cost(10) == pytest.approx(10 * feature.cost_at(TYPICAL_DENSITY))


def test_a_feature_that_states_only_its_cost(glass_store, tmp_path):
    class Costly(Hungry):
        def cost(self, n_centers):
            return 1e-3 * n_centers

    work = plan(glass_store, Costly(), tmp_path).work(measure=False)
    assert work.computing == pytest.approx(16.0 * cost.RUN_FACTOR, rel=0.01)
    assert work.where == ""
    assert "typical speeds, until a run measures them" in str(work)


def test_writing_is_counted(glass_store, tmp_path):
    wide = mgdask.SOAP(species=SPECIES, r_cut=5.0, n_max=11, l_max=12, sigma=0.5)
    work = plan(glass_store, wide, tmp_path).work(measure=False)
    per_byte = cost.RUN_FACTOR * cost.TYPICAL.write
    assert work.writing == pytest.approx(16_000 * 3289 * 8 * per_byte)
    half = plan(glass_store, replace(wide, dtype="float32"), tmp_path).work(measure=False)
    assert half.writing == pytest.approx(work.writing / 2)
    assert half.computing == pytest.approx(work.computing, rel=0.05)


def test_frames_of_many_blocks_are_read_by_each(glass_store, tmp_path):
    one = plan(glass_store, soap(4.0), tmp_path)
    many = replace(one, limit=2**17)
    assert len(many.blocks) > 2 * len(one.blocks)
    assert many.work(measure=False).reading > 2 * one.work(measure=False).reading


def test_cells_that_features_share_are_counted_once(glass_store, tmp_path):
    both = [Coordination(), Interstice()]
    together = plan(glass_store, both, tmp_path).work(measure=False).computing
    alone = [plan(glass_store, f, tmp_path).work(measure=False).computing for f in both]
    assert max(alone) < together < 0.8 * sum(alone)


def test_few_centers_need_values_of_their_neighbors(glass_store, tmp_path):
    feature = MediumRange(Interstice())
    centers = np.arange(0, 2000, 20)
    few = plan(glass_store, feature, tmp_path, centers=centers).work(measure=False).computing
    inner = plan(glass_store, Interstice(), tmp_path, centers=centers).work(measure=False).computing
    assert few > 5 * inner
    assert cost.n_atoms_around(2000, 2000, 14.0) == 0.0
    assert cost.n_atoms_around(10**6, 1, 14.0) == pytest.approx(14.0, rel=1e-3)
    assert cost.n_atoms_around(2000, 1900, 14.0) == pytest.approx(100.0, rel=1e-3)


def test_trajectories_are_read_and_copied_once(glass_store, tmp_path):
    ds = mgdask.open_store(glass_store)
    lag = float(ds.time[1] - ds.time[0])
    feature = LagDisplacement(lags=(lag,))
    direct = plan(glass_store, feature, tmp_path).work()
    copied = replace(plan(glass_store, feature, tmp_path), paths=str(tmp_path / "p.zarr")).work()
    assert direct.reading > direct.computing
    n_values = ds.sizes["frame"] * ds.sizes["atom"]
    assert copied.reading > direct.reading
    assert copied.reading - direct.reading == pytest.approx(cost.UNWRAPPING * n_values, rel=0.1)
    assert direct.where == ""


def test_nothing_is_left_after_a_run(glass_store, tmp_path):
    work = plan(glass_store, NonAffine(cutoff=3.5), tmp_path, frames=[1])
    mgdask.run(work, progress=False)
    assert "none, all tasks are done" in str(work)


def test_text_of_the_work():
    assert str(Work(20.0, 0.5, 3.5, "node7")) == (
        "about 24 core seconds: computing 20 s, reading 0.5 s, writing 3.5 s; as measured on node7"
    )
    assert str(Work(7200.0, 0.0, 0.0)).startswith("about 2 core hours: computing 2 h, ")
    assert str(Work(250.0, 0.0, 0.0)).startswith("about 250 core seconds: computing 250 s, ")
    assert str(Work(2812.0, 0.0, 0.0)).startswith("about 0.78 core hours: computing 2800 s, ")


# --------------------------------------------------------------------- measured and kept
def test_measured_once_and_kept(glass_store, tmp_path, monkeypatch):
    calls = count_measurements(monkeypatch)
    work = plan(glass_store, soap(4.0), tmp_path)
    work.job().prepare()
    first, second = estimate(work), estimate(work)
    assert first == second
    assert len(calls) == 1
    assert first.where == calibration.node()
    assert f"as measured on {calibration.node()}" in " ".join(str(work).split())
    # another cutoff costs more, and its kernels are compiled too
    wide = estimate(plan(glass_store, soap(12.0), tmp_path))
    assert len(calls) == 2
    assert wide.computing > 2 * first.computing


def test_nothing_is_compiled_for_a_plan(glass_store, tmp_path, monkeypatch):
    calls = count_measurements(monkeypatch)
    monkeypatch.setattr(calibration, "cache_directory", lambda: str(tmp_path))
    work = estimate(plan(glass_store, soap(4.0), tmp_path))
    assert not calls
    assert work.where == ""
    calibration.note_compiled([soap(4.0)])
    assert estimate(plan(glass_store, soap(5.0), tmp_path)).where  # numbers select no kernels
    assert not calibration.compiled([replace(soap(4.0), average="inner")])


def test_one_atom_with_too_many_neighbors_is_not_measured(glass_store, tmp_path, monkeypatch):
    calls = count_measurements(monkeypatch)
    monkeypatch.setattr(calibration, "compiled", lambda features: True)
    # the longest cutoffs are refused by every plan, see the last test
    work = estimate(plan(glass_store, soap(120.0), tmp_path))
    assert not calls
    assert work.where == ""


def test_a_run_corrects_the_figures(glass_store, tmp_path):
    work = plan(glass_store, soap(4.0), tmp_path)
    assumed = estimate(work, measure=False)
    results = [{"cpu": 1.5 * assumed.total + 1.0, "host": "node7"}]
    learn(work, 0.5, results)
    learned = estimate(work)
    assert learned.where == "node7"
    assert learned.total == pytest.approx(2 * results[0]["cpu"])
    learn(work, 0.25, results)  # from the uncorrected figures, not from the corrected ones
    assert estimate(work).total == pytest.approx(4 * results[0]["cpu"])


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"%s": 3}', '{"%s": {"frame": 1}}'])
def test_a_damaged_file_is_ignored(glass_store, tmp_path, text):
    work = plan(glass_store, soap(4.0), tmp_path)
    name = cost._key(work, "atom", work.features)
    calibration.folder().mkdir(parents=True)
    path = calibration.folder() / f"{calibration.node()}.json"
    path.write_text(text.replace("%s", name))
    assert estimate(work, measure=False).where == ""
    calibration.keep(name, replace(cost.TYPICAL, where="here"))
    assert estimate(work, measure=False).where == "here"
    assert name in json.loads(path.read_text())
    assert [p.name for p in calibration.folder().iterdir()] == [path.name]


def test_a_home_that_cannot_be_written(glass_store, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    calibration.keep("name", cost.TYPICAL)
    assert calibration.kept("name") is None
    assert estimate(plan(glass_store, soap(4.0), tmp_path), measure=False).total > 0


def test_old_figures_are_dropped(monkeypatch):
    monkeypatch.setattr(calibration, "MAX_ENTRIES", 2)
    for name in "abc":
        calibration.keep(name, cost.TYPICAL)
    assert [calibration.kept(name) is None for name in "abc"] == [True, False, False]


def test_growing_samples_stop_at_the_aim():
    asked = []

    def spend(rows):
        asked.append(len(rows))
        return 0.01 + 1e-4 * len(rows)

    assert per_center(spend, np.arange(10**6), 0.01) == pytest.approx(1e-4)
    assert sample.AIM / 4 < 1e-4 * asked[-1] < 2 * sample.AIM
    assert sum(asked) < 5 * asked[-1]
    assert per_center(spend, np.arange(3), 0.01) == pytest.approx(1e-4)


def test_a_piece_has_the_density_of_the_whole(glass):
    position, cell, numbers = glass
    window = mgdask.features.window.Window(
        np.arange(1), position[None], None, cell[None], numbers, (True,) * 3, None
    )
    piece, atoms = carve(window, 700)
    assert len(atoms) == len(piece.numbers) == piece.position.shape[1]
    density = len(atoms) / np.linalg.det(piece.cell[0])
    assert density == pytest.approx(len(numbers) / np.linalg.det(cell), rel=0.1)
    assert (piece.position[0] < piece.cell[0].diagonal()).all()
    assert carve(window, 5000)[0] is window


@pytest.mark.slow
@pytest.mark.parametrize(
    "feature", [soap(8.0), MediumRange(Interstice()), SymmetryFunctions(species=SPECIES)]
)
def test_projected_as_measured(glass_store, tmp_path, feature):
    work = plan(glass_store, feature, tmp_path)
    work.job().prepare()
    projected = estimate(work).total
    report = mgdask.run(work, progress=False)
    assert 0.5 < projected / report.cpu < 2.0


# ------------------------------------------------------------------------- half the cell
def test_a_cutoff_beyond_half_the_cell_is_remarked_on(glass_store, tmp_path, caplog):
    wide = plan(glass_store, [soap(17.0), Coordination()], tmp_path, frames=[0], centers=[0, 1])
    text = " ".join(wide.describe(measure=False).split())
    assert "soap: the cutoff of 17 Å exceeds half the smallest width of the cell" in text
    assert "smallest width of the cell, 16.21 Å." in text
    assert text.count("periodic images") == 1
    with caplog.at_level(logging.WARNING, logger="mgdask"):
        mgdask.run(wide, progress=False)
    (message,) = [one for one in caplog.messages if "half the smallest width" in one]
    assert message.startswith("glass.zarr: soap: the cutoff of 17 Å")
    caplog.clear()
    mgdask.run(wide, progress=False)  # nothing is left to compute
    assert not caplog.messages
    assert "note" not in plan(glass_store, soap(16.0), tmp_path / "g").describe(measure=False)


def test_a_cutoff_with_millions_of_neighbors_is_refused(glass_store, tmp_path):
    # 2000 / 32.43³ atoms per Å³ x 4/3 pi 500³ = 3.1e7; one such atom took 20 GB
    with pytest.raises(ParameterError, match=r"500 Å, an atom has about 31 million neighbors"):
        plan(glass_store, soap(500.0), tmp_path)
    # at 85 Å, blocks took 152 MiB
    assert plan(glass_store, soap(85.0), tmp_path).memory.working > 120 * 2**20


def test_widths_are_between_faces_that_repeat(tmp_path):
    dump = write_dump(
        tmp_path / "t.dump",
        [(0, [(1, 1, 0.0, 0.0, 0.0), (2, 1, 2.0, 2.0, 2.0)])],
        box=((0, 18), (0, 10), (0, 4)),
        tilt=(8.0, 0.0, 0.0),
        flags="pp pp ff",
    )
    mgdask.ingest(dump, tmp_path / "t.zarr", species={1: "Cu"})
    feature = Coordination(cutoff=5.0)
    text = plan(tmp_path / "t.zarr", feature, tmp_path).describe(measure=False)
    # a is 10 Å long; its face is 10 / sqrt(1 + 0.8²) = 7.81 Å away
    assert "smallest width of the cell, 3.904 Å." in " ".join(text.split())
