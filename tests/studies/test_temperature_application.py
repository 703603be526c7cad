"""Applications of the machine-learned temperature: peaks, control, groups, D²min, creep and the store of T_ML."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from scipy.stats import ks_2samp, truncnorm

import mgdask
from mgdask.errors import ParameterError, RunError, StoreError
from mgdask.features.window import FrameAxis
from mgdask.studies.temperature import views
from mgdask.studies.temperature.application import (
    AppliedModel,
    applied_models,
    predict_store,
    read_t_ml,
)
from mgdask.studies.temperature.application_results import (
    control_of,
    describe_application,
    describe_control,
)
from mgdask.studies.temperature.applied import apply_to, compute_local
from mgdask.studies.temperature.data import read_instances
from mgdask.studies.temperature.deformation import Creep, creep_of, stress_strain_of, volume_of
from mgdask.studies.temperature.distribution import (
    bin_edges,
    distribution_of,
    excess_over,
    fit_peak,
    share_above,
)
from mgdask.studies.temperature.fitting import Training, fit_models
from mgdask.studies.temperature.local_deformation import correlate, slab_map, usable_lags
from mgdask.studies.temperature.model import NEAREST, fit_nearest, save_model
from mgdask.studies.temperature.prepare import compute_lags
from mgdask.studies.temperature.structure import ranks_of, structure_of, tied_share
from tests.studies.temperature_stores import LAGS, write_store


def mixture(share, n=4000, seed=0):
    """Gaussian of 300 ± 40 K, and ``share`` of the atoms in a hot tail."""
    rng = np.random.default_rng(seed)
    hot = int(share * n)
    return np.concatenate([rng.normal(300.0, 40.0, n - hot), rng.uniform(450.0, 1500.0, hot)])


@pytest.mark.parametrize("share", [0.0, 0.18, 0.33])
def test_area_of_a_known_mixture(share):
    found = [fit_peak(mixture(share, seed=k), n_resamples=20) for k in range(4)]
    area = np.array([one.area.value for one in found])
    assert area.mean() == pytest.approx(1 - share, abs=0.02)
    assert all(
        one.area.low < 1 - share + 0.02 and one.area.high > 1 - share - 0.02 for one in found
    )
    assert [one.center.value for one in found] == pytest.approx([300] * 4, abs=6)
    assert [one.width.value for one in found] == pytest.approx([40] * 4, abs=5)
    assert [one.tail.value for one in found] == pytest.approx([share] * 4, abs=0.01)
    assert max(one.misfit for one in found) < 0.03


def test_peak_is_the_most_likely_truncated_gaussian():
    x = mixture(0.2)
    peak = fit_peak(x, n_resamples=20)
    center, width = peak.center.value, peak.width.value
    low, high = center - 2.5 * width, center + width
    inside = x[(x > low) & (x < high)]

    def likelihood(c, w):
        return truncnorm.logpdf(inside, (low - c) / w, (high - c) / w, c, w).mean()

    best = likelihood(center, width)
    for c, w in ((1.01, 1.0), (0.99, 1.0), (1.0, 1.06), (1.0, 0.94)):
        assert likelihood(c * center, w * width) < best
    assert peak.area.value == pytest.approx(len(inside) / len(x) / 0.83513, rel=1e-4)


def test_no_peak_is_said_in_words():
    cold = np.concatenate([np.full(400, 100.0), np.random.default_rng(0).uniform(100, 500, 600)])
    assert "40 % of the atoms have a T_ML of exactly 100 K" in fit_peak(cold).reason
    few = fit_peak(np.arange(10.0))
    assert "10 atoms" in few.reason
    assert np.isnan(few.area.value)
    again = type(few).from_json(json.loads(json.dumps(few.to_json())))
    assert again.reason == few.reason
    assert np.isnan(again.center.low)


def test_a_peak_of_too_few_atoms_is_said_in_words():
    rng = np.random.default_rng(0)
    t = np.concatenate([rng.normal(300, 1, 12), rng.uniform(400, 2000, 48)])
    peak = fit_peak(t, n_resamples=5)
    assert np.isnan(peak.center.value)
    assert "fewer than 25 atoms are near the densest T_ML" in peak.reason


def test_excess_over_the_control_is_that_of_scipy():
    rng = np.random.default_rng(2)
    control, run = rng.normal(200, 30, 900), rng.normal(200, 30, 1000)
    run[:150] += 300
    found = excess_over(run, control, "100", n_resamples=40)
    assert found.moved.value == pytest.approx(
        ks_2samp(run, control, alternative="less", method="asymp").statistic
    )
    assert found.excess.value == pytest.approx(0.15, abs=0.015)
    assert found.excess.low < found.excess.value < found.excess.high
    assert found.moved.value > found.chance
    same = excess_over(rng.normal(200, 30, 1000), control, "100", n_resamples=40)
    assert same.excess.low <= 0.005
    assert abs(same.excess.value) < 0.02


def test_share_above_and_view():
    t = np.array([100.0] * 90 + [900.0] * 10)
    share = share_above(t, 700.0)
    assert share.value == 0.1
    assert share.low < 0.1 < share.high
    peak = fit_peak(t)
    view = distribution_of("x", "run", t, bin_edges([t]), peak, glass_temperature=700.0)
    assert (view.density * np.diff(view.edges)).sum() == pytest.approx(1.0)
    assert view.above == 0.1
    assert np.isnan(distribution_of("x", "run", t, bin_edges([t]), peak).above)


def naive_order(rows, f):
    z = [sum(row[b] for row in rows) / len(rows) for b in range(len(f))]
    return [(z[b] - f[b] * sum(z)) / (f[b] * sum(z)) for b in range(len(f))]


def test_groups_follow_the_equations_of_the_paper():
    """Eqs. (3) to (6) by loops over atoms."""
    rng = np.random.default_rng(3)
    n = 400
    t_ml = rng.normal(300, 50, n)
    z = np.where(rng.random(n) < 0.5, 29, 40)
    index = np.array([[0, 0, 12, 0, 0], [0, 2, 8, 2, 0], [1, 3, 4, 3, 0]])[rng.integers(0, 3, n)]
    counts = rng.poisson(6, (n, 2)).astype(float)
    found = structure_of("x", t_ml, z, index.astype(float), counts, ("Cu", "Zr"), fraction=0.1)
    assert found.n_atoms == 40
    order = sorted(range(n), key=lambda k: t_ml[k])
    groups = {"liquid-like": order[-40:], "solid-like": order[:40]}
    f_b = [(z == 29).mean(), (z == 40).mean()]
    total = Counter(map(tuple, index.tolist()))
    for g, (name, members) in enumerate(groups.items()):
        assert found.polyhedra["group"][g] == name
        for p, label in enumerate(found.polyhedra["polyhedron"]):
            kind = tuple(int(x) for x in label.strip("<>").split(","))
            f = sum(tuple(index[k]) == kind for k in members) / 40
            f_total = total[kind] / n
            assert found.polyhedra["fraction"][g][p] == pytest.approx(f)
            assert found.polyhedra["deviation"][g][p] == pytest.approx((f - f_total) / f_total)
            assert found.polyhedra["lffs"][p] == pytest.approx(kind[2] / sum(kind))
        for a, kind in enumerate((29, 40)):
            own = [k for k in members if z[k] == kind]
            assert found.composition["fraction"][g][a] == pytest.approx(len(own) / 40)
            cn, every = counts[own].sum(1).mean(), counts[z == kind].sum(1).mean()
            change = found.coordination["relative_change"][g][a]
            assert change == pytest.approx(100 * (cn - every) / every)
            alpha, whole = naive_order(counts[own], f_b), naive_order(counts[z == kind], f_b)
            assert found.order["order"][g + 1][a] == pytest.approx(alpha)
            for b in range(2):
                change = alpha[b] - whole[b]
                sign = "0" if abs(change) < 0.03 else "+" if change > 0 else "-"
                assert found.order["sign"][g + 1][a][b] == sign * (1 + (abs(change) > 0.09))
    assert views.Structure.from_json(found.to_json()).order == found.order


def test_ties_are_broken_by_motion_within_the_species():
    t = np.array([100.0, 100.0, 100.0, 100.0, 50.0])
    motion, z = np.array([1.0, 2.0, 5.0, 4.0, 0.0]), np.array([29, 29, 78, 78, 29])
    # relative to the species: 0, 1, 0.5, -0.5, -1
    assert ranks_of(t, motion, z, np.arange(5)).tolist() == [2, 4, 3, 1, 0]
    assert tied_share(np.array([1.0] * 5 + [2.0] * 5), 0.3) == 1.0
    assert tied_share(np.arange(10.0), 0.3) == 0.0


def test_correlation_is_that_of_numpy():
    rng = np.random.default_rng(4)
    t_ml = rng.normal(size=500)
    d2min = np.stack([t_ml + rng.normal(size=500), rng.normal(size=500)])
    found = correlate("x", "none", t_ml, d2min, (5.0, 20.0))
    assert found.value == pytest.approx([np.corrcoef(t_ml, one)[0, 1] for one in d2min])
    assert (found.low < found.value).all()
    assert (found.value < found.high).all()
    assert found.low[1] < 0 < found.high[1]


def test_lags_that_a_run_lacks_are_left_out():
    axis = FrameAxis(np.array([0.0, 5.0, 20.0, 0.0, 5.0]), np.array(list("aaabb")))
    assert usable_lags((5.0, 20.0), axis, np.array([0, 3])) == [5.0]
    assert usable_lags((50.0,), axis, np.array([0])) == []


def test_slab_is_in_the_middle_of_the_cell():
    position = np.zeros((20, 3))
    position[:, 2] = np.arange(20.0) + 0.5 - 20.0  # one image below
    one = slab_map(
        "x", "none", position, 20 * np.eye(3), np.zeros(3), np.full(20, 29), np.arange(20),
        np.arange(20.0), (5.0,), np.arange(20.0)[None], slab=3.8,
    )  # fmt: skip
    assert one.t_ml.tolist() == [8.0, 9.0, 10.0, 11.0]  # 8.1 to 11.9 Å
    assert one.d2min.shape == (1, len(one.t_ml))


def pulled(rate, n=200, primary=0.0):
    """Cell of a creep test along z with lateral contraction."""
    t = np.linspace(0.0, 1000.0, n)
    strain = rate * t + primary * np.log1p(t / 3.0)
    strain = strain + 1e-7 * np.random.default_rng(0).normal(size=n)
    cell = np.zeros((n, 3, 3))
    for k, part in enumerate((-0.4 * strain, -0.4 * strain, strain)):
        cell[:, k, k] = 30.0 * (1.0 + part)
    return t, cell, strain - strain[0]


def test_creep_is_read_from_the_cell():
    t, cell, strain = pulled(2e-6)
    found = creep_of("creep", t + 50.0, cell, stress=np.full(200, -1400.0), unit="MPa")
    assert found.axis == 2
    assert found.curve.stress == pytest.approx(1.4)
    assert found.curve.strain == pytest.approx(strain, abs=1e-6)
    assert found.curve.time[0] == 0.0
    assert not found.curve.reason
    assert abs(found.curve.rate - 2e-6) < 3 * found.curve.rate_error
    _, slow, _ = pulled(0.0, primary=1e-3)
    primary = creep_of("creep", t, slow)
    assert primary.curve.reason
    assert np.isnan(primary.curve.rate)
    assert "mgdask attach" in primary.stress_note
    assert "'psi'" in creep_of("creep", t, cell, stress=t, unit="psi").stress_note
    assert "fewer than" in creep_of("creep", t[:9], cell[:9]).curve.reason


def curve(name, stress, rate, reason=""):
    x = np.zeros(2)
    return Creep(
        views.CreepCurve(name, x, x, stress, rate, 0.1 * rate, 0.0, (0.0, 1.0), reason),
        2,
        (0.0,) * 3,
        stress_note="" if np.isfinite(stress) else "no stress",
    )


def test_activation_volume_is_the_slope_of_the_paper():
    volume = 27.0  # Å³
    slope = volume * 1e-30 * 1e9 / (np.sqrt(3) * 1.380649e-23 * 100.0)
    curves = [curve(f"s{s}", s, 1e-6 * np.exp(slope * s)) for s in (2.2, 2.3, 2.4)]
    found = volume_of(curves, [100.0] * 3)
    assert found.value == pytest.approx(volume, rel=1e-6)
    assert found.error > 0
    assert found.stores == ("s2.2", "s2.3", "s2.4")
    one = volume_of(curves[:1], [100.0])
    assert np.isnan(one.value)
    assert "two or more stresses; there are 1" in one.note
    assert "x: no stress" in volume_of([curve("x", np.nan, 1e-6)], [100.0]).note
    failed = volume_of([curves[0], curve("y", 2.3, np.nan, "primary")], [100.0] * 2)
    assert "y: no positive steady rate" in failed.note
    assert "100, 300, 100 K" in volume_of(curves, [100.0, 300.0, 100.0]).note


def test_stress_strain_curve_needs_both():
    x = np.linspace(0, 0.1, 5)
    found = stress_strain_of("x", 1000 * x, x, "MPa")
    assert found is not None
    assert found.stress == pytest.approx(x)
    assert stress_strain_of("x", x, None, "GPa") is None
    assert stress_strain_of("x", np.ones(5), x, "GPa") is None


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Feature stores of two training runs and an application, and models in both forms."""
    folder = tmp_path_factory.mktemp("applied")
    train = [write_store(folder, str(k), k, n=200, seed=k) for k in (100, 1200)]
    applied = [
        write_store(folder, "creep", 100, n=200, seed=7, hot=40),
        write_store(folder, "unknown", 100, n=200, seed=8, temperature=None),
    ]
    compute_lags([*train, *applied], folder / "features", LAGS, progress=False)
    training = read_instances(train, folder / "features")
    labels, models = training.labels(), []
    for form in ("run", "none"):
        one = AppliedModel(NEAREST, form, folder / "models" / f"nearest_{form}")
        x = training.matrix(feature_temperature=one.feature_temperature)
        save_model(fit_nearest(x, labels.temperature, labels.species, n_neighbors=9), one.folder)
        models.append(one)
    return folder, tuple(models)


COLUMNS = range(len(LAGS))


def instances_of(study, name):
    folder, _ = study
    return read_instances([folder / f"{name}.zarr"], folder / "features")


def applied_to(instances, models, out, own=None, progress=False, **more):
    local = compute_local(instances, out, progress=progress, **more)
    return apply_to(instances, models, COLUMNS, out, local, own=own, progress=progress)


def test_a_given_temperature_is_put_into_the_model_of_the_paper(study, tmp_path):
    folder, _ = study
    train = read_instances([folder / "100.zarr", folder / "1200.zarr"], folder / "features")
    training = Training(train, tuple(COLUMNS), {"run": 9, "none": 9}, 3, 0)
    models = applied_models(fit_models(training, ["run", "100", "800"], tmp_path / "models"))
    creep = instances_of(study, "creep")
    predict_store(creep, models, COLUMNS, tmp_path / "t.zarr", progress=False)
    found = read_t_ml(tmp_path / "t.zarr")
    assert found["nearest_100"].tolist() == found["nearest_run"].tolist()
    # a higher T makes the same motion look colder
    assert found["nearest_800"].mean() < found["nearest_100"].mean() - 10


def test_t_ml_is_a_store_that_joins_by_atom_id(study, tmp_path, client, monkeypatch):
    _, models = study
    creep = instances_of(study, "creep")
    predict_store(creep, models, COLUMNS, tmp_path / "t.zarr", progress=False)
    found = mgdask.open_store(tmp_path / "t.zarr")
    source = mgdask.open_store(creep.runs[0].source)
    assert found.atom_id.values.tolist() == source.atom_id.values.tolist()
    assert found.t_ml.attrs["units"] == "K"
    assert found.t_ml_feature.values.tolist() == ["nearest_run", "nearest_none"]
    for one in models:
        x = creep.matrix(feature_temperature=one.feature_temperature)
        expected = mgdask_model(one).predict(x, creep.runs[0].species)
        assert found.t_ml.sel(t_ml_feature=one.label).values[0].tolist() == expected.tolist()
    hot = found.t_ml.values[0, :40, 1].mean()
    assert hot > found.t_ml.values[0, 40:, 1].mean() + 300
    # other blocks and workers give the same values
    monkeypatch.setattr("mgdask.studies.temperature.application.ROWS", 64)
    predict_store(creep, models, COLUMNS, tmp_path / "b.zarr", client=client, progress=False)
    for label, values in read_t_ml(tmp_path / "b.zarr").items():
        assert np.array_equal(values, read_t_ml(tmp_path / "t.zarr")[label])


def mgdask_model(one):
    from mgdask.studies.temperature.model import load_model

    return load_model(one.folder)


def test_an_interrupted_store_of_t_ml_is_completed(study, tmp_path, monkeypatch):
    import mgdask.studies.temperature.application as module

    _, models = study
    creep = instances_of(study, "creep")
    monkeypatch.setattr(module, "ROWS", 64)
    whole = module._write_block
    predict_store(creep, models, COLUMNS, tmp_path / "whole.zarr", progress=False)

    def fails_late(*arguments):
        if arguments[2][0] >= 128:
            raise OSError("killed")
        return whole(*arguments)

    monkeypatch.setattr(module, "_write_block", fails_late)
    with pytest.raises(RunError, match=r"2 blocks of .* failed; the others are kept"):
        predict_store(creep, models, COLUMNS, tmp_path / "t.zarr", progress=False)
    monkeypatch.setattr(module, "_write_block", whole)
    shards = tmp_path / "t.zarr" / "t_ml" / "c"
    before = {file: file.stat().st_mtime_ns for file in shards.rglob("*") if file.is_file()}
    predict_store(creep, models, COLUMNS, tmp_path / "t.zarr", progress=False)
    assert len(before) == 2
    assert all(file.stat().st_mtime_ns == when for file, when in before.items())
    for label, values in read_t_ml(tmp_path / "t.zarr").items():
        assert np.array_equal(values, read_t_ml(tmp_path / "whole.zarr")[label])


def test_models_that_need_a_temperature_are_left_out(study, tmp_path):
    _, models = study
    unknown = instances_of(study, "unknown")
    applied = predict_store(unknown, models, COLUMNS, tmp_path / "t.zarr", progress=False)
    assert [one.form for one in applied] == ["none"]
    with pytest.raises(ParameterError, match="has no temperature"):
        predict_store(unknown, models[:1], COLUMNS, tmp_path / "u.zarr", progress=False)


def test_models_are_named_by_their_folders(tmp_path):
    models = applied_models(
        {"k nearest neighbors, run": tmp_path / "nearest_run", "x, 100": tmp_path / "nearest_100"}
    )
    assert [(one.name, one.form, one.label) for one in models] == [
        ("k nearest neighbors", "run", "nearest_run"),
        ("x", "100", "nearest_100"),
    ]
    assert [one.feature_temperature for one in models] == ["run", 100.0]


def test_application_from_stores_to_json(study, tmp_path):
    _, models = study
    how = {"d2min_lags": (5.0, 20.0, 50.0), "progress": False}
    creep, control = (
        applied_to(instances_of(study, name), models, tmp_path, **how) for name in ("creep", "100")
    )
    assert creep.lags == (5.0, 20.0)  # 50 ps is not in the run
    assert control_of(creep, [control]) is control
    assert control_of(creep, []) is None
    plain = describe_application(
        creep, control, columns=COLUMNS, applied_form="none", glass_temperature=700.0
    )
    plain = json.loads(json.dumps(plain, allow_nan=False))
    views.SlabMap.from_json(plain["map"][0])
    views.CreepCurve.from_json(plain["creep"][0])
    views.PairDistances.from_json(plain["distances"])
    assert len(plain["excess"]) == 2
    assert plain["excess"][1]["excess"]["value"] > 0.1
    assert plain["above"][0]["name"] == "creep"
    correlations = [views.LagCorrelation.from_json(one) for one in plain["correlations"]]
    assert [one.form for one in correlations] == ["run", "none"]
    # hot atoms are those that were made to move
    t_ml = read_t_ml(creep.t_ml)["nearest_none"][0]
    local = mgdask.open_store(creep.local)
    d2min = local["d2min_20ps"].values[0, :, 0]
    assert correlations[1].value[1] == pytest.approx(np.corrcoef(t_ml, d2min)[0, 1])
    assert d2min[:40].mean() > 1.4 * d2min[40:].mean()
    structure = views.Structure.from_json(plain["structure"][0])
    assert structure.n_atoms == 20
    assert any("deviations of −α" in note for note in plain["notes"])
    beside = describe_control(control, glass_temperature=700.0)
    assert beside["distributions"][0]["control"]
    assert "unstressed control" in beside["correlations"][0]["name"]
    alone = describe_application(creep, None, columns=COLUMNS)
    assert any("--control" in note for note in alone["notes"])


def test_d2min_is_equation_2(study, tmp_path):
    """The backward map of all neighbors at t + Δt onto t, by least squares."""
    _, models = study
    creep = applied_to(instances_of(study, "creep"), models, tmp_path, d2min_lags=(20.0,))
    source = mgdask.open_store(creep.source)
    side = source.cell.values[0, 0, 0]
    path = source.position.values + source.image.values * side
    symbols = ["Cu" if z == 29 else "Zr" for z in source.species.values]
    cut = creep.distances.cutoff
    found = mgdask.open_store(creep.local)["d2min_20ps"].values[0, :, 0]
    for atom in (0, 50, 199):
        before, now = path[0] - path[0, atom], path[-1] - path[-1, atom]
        image = side * np.rint(before / side)
        before, now = before - image, now - image
        pairs = [(symbols[atom], symbols[j]) for j in range(200)]
        limit = np.array([cut.get(f"{a}-{b}", cut.get(f"{b}-{a}")) for a, b in pairs])
        near = (np.linalg.norm(before, axis=1) < limit) & (np.arange(200) != atom)
        matrix, *_ = np.linalg.lstsq(now[near], before[near], rcond=None)
        residual = before[near] - now[near] @ matrix
        assert found[atom] == pytest.approx((residual**2).sum() / near.sum(), rel=1e-9)


def test_results_of_other_models_and_lags_are_replaced(study, tmp_path):
    _, models = study
    creep, how = instances_of(study, "creep"), {"progress": False}
    applied_to(creep, models[:1], tmp_path, d2min_lags=(5.0,))
    again = applied_to(creep, models, tmp_path, d2min_lags=(20.0,))
    assert list(read_t_ml(again.t_ml)) == ["nearest_run", "nearest_none"]
    found = mgdask.open_store(again.local)
    assert "d2min_20ps" in found
    assert "d2min_5ps" not in found
    # a store of someone else is not touched
    foreign = tmp_path / "features.zarr"
    mgdask.run(mgdask.plan(creep.runs[0].source, mgdask.VoronoiIndices(), out=foreign), **how)
    with pytest.raises(StoreError, match="holds other results"):
        predict_store(creep, models, COLUMNS, foreign, **how)
    assert "voronoi" in str(list(mgdask.open_store(foreign)))
