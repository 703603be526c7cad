"""Applications that lack something, or are in the training data: notes instead of errors, no own neighbors, T put in."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

import mgdask
from mgdask.studies.temperature import prepare
from mgdask.studies.temperature.application import (
    AppliedModel,
    applied_models,
    predict_store,
    read_t_ml,
)
from mgdask.studies.temperature.application_results import describe_application, describe_control
from mgdask.studies.temperature.applied import apply_to, compute_local
from mgdask.studies.temperature.captions import applied_put_in_caption
from mgdask.studies.temperature.data import read_instances
from mgdask.studies.temperature.fitting import Training, fit_models
from mgdask.studies.temperature.likelihood import OURS_AVERAGED
from mgdask.studies.temperature.prepare import compute_lags
from mgdask.studies.temperature.report import temperature_page
from mgdask.studies.temperature.report_data import ReportData, read_applications
from tests.conftest import threads_client
from tests.reference import thermometer
from tests.studies.temperature_stores import LAGS, write_store

COLUMNS = tuple(range(len(LAGS)))
RARE = (*[1, 2] * 29, 3, 1)  # one atom of nickel among 60


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Models of runs at 100 and 1200 K, each with one atom of nickel, and an application without temperature."""
    folder = tmp_path_factory.mktemp("applied")
    train = [write_store(folder, str(k), k, seed=k, types=RARE) for k in (100, 1200)]
    creep = write_store(folder, "creep", 700, seed=7, types=RARE, temperature=None)
    with threads_client(default=False) as own:
        compute_lags([*train, creep], folder / "features", LAGS, client=own, progress=False)
    training = Training(
        read_instances(train, folder / "features"), COLUMNS, {"run": 1, "none": 1}, 2, 0
    )
    models = applied_models(fit_models(training, ["run", "none"], folder / "models"))
    return folder, training, models


def instances_of(study, name):
    return read_instances([study[0] / f"{name}.zarr"], study[0] / "features")


def applied_to(study, name, out, own=None, **more):
    instances = instances_of(study, name)
    local = compute_local(instances, out, progress=False, **more)
    return apply_to(instances, study[2], COLUMNS, out, local, own=own, progress=False)


def test_a_pair_without_trough_leaves_structure_out(study, tmp_path):
    """One atom of nickel has no nickel neighbors, so g(r) of Ni-Ni is empty."""
    found = applied_to(study, "creep", tmp_path, d2min_lags=(5.0,))
    assert found.local is None
    assert np.isnan(found.distances.cutoff["Ni-Ni"])
    plain = json.loads(json.dumps(describe_application(found, None, columns=COLUMNS)))
    assert plain["structure"] == plain["map"] == plain["correlations"] == []
    assert plain["models"][0]["correlation"] is None
    (note,) = [one for one in plain["notes"] if "trough" in one]
    assert "creep: g(r) of Ni-Ni has no trough up to 8 Å" in note
    assert "--pair-cutoff" in note
    (tmp_path / "application_creep.json").write_text(json.dumps(plain))
    page = temperature_page(ReportData(**read_applications(tmp_path)), tmp_path / "page")
    assert "Ni-Ni has no trough" in page.render()
    given = compute_local(
        instances_of(study, "creep"), tmp_path, d2min_lags=(5.0,), pair_cutoff=3.3, progress=False
    )
    assert given.computed
    assert given.distances.cutoff["Ni-Ni"] == 3.3
    assert given.distances.cutoff["Cu-Cu"] != 3.3
    assert "d2min_5ps" in mgdask.open_store(tmp_path / "local" / "creep.zarr")


def test_a_run_without_lags_of_d2min_keeps_its_structure(study, tmp_path):
    found = applied_to(study, "creep", tmp_path, d2min_lags=(50.0, 90.0), pair_cutoff=3.3)
    assert found.lags == ()
    plain = json.loads(json.dumps(describe_application(found, None, columns=COLUMNS)))
    assert plain["map"] == plain["correlations"] == []
    assert plain["structure"][0]["n_atoms"] == 6
    assert any("no frame is 50, 90 ps after the first frame" in note for note in plain["notes"])
    assert describe_control(found)["correlations"] == []


def test_no_training_atom_is_its_own_neighbor(study, tmp_path):
    """With k = 1, an atom would otherwise be predicted by itself."""
    _, training, models = study
    hot, first = instances_of(study, "1200"), training.instances.first_rows()
    assert first == {("100", 0): 0, ("1200", 0): 60}
    predict_store(hot, models, COLUMNS, tmp_path / "self.zarr", progress=False)
    assert (read_t_ml(tmp_path / "self.zarr")["nearest_none"] == 1200).all()
    predict_store(hot, models, COLUMNS, tmp_path / "own.zarr", own=first, progress=False)
    found = read_t_ml(tmp_path / "own.zarr")["nearest_none"][0]
    x, labels = training.instances.matrix(), training.instances.labels()
    for atom in (0, 1, 30, 58):
        rest = np.delete(np.arange(120), 60 + atom)
        twin = thermometer.nearest_mean(
            x[rest], labels.temperature[rest], labels.species[rest],
            x[60 + atom : 61 + atom], labels.species[60 + atom : 61 + atom], 1,
        )  # fmt: skip
        assert found[atom] == twin[0]
    assert found[58] == 100.0  # the only other atom of nickel
    described = applied_to(study, "1200", tmp_path, own=first, d2min_lags=(5.0,))
    assert any("1200 is also in the training data" in note for note in described.notes)
    assert describe_control(described)["notes"]


def test_an_application_without_temperature_has_its_self_consistent_one(study, tmp_path):
    _, training, _ = study
    (one,) = applied_to(study, "creep", tmp_path, d2min_lags=(5.0,)).put_in
    assert one.name == "creep"
    assert np.isnan(one.known)
    assert one.n_atoms == 60
    np.testing.assert_allclose(one.put_in[[0, -1]], [100.0, 1200.0])
    x, labels = training.instances.matrix(feature_temperature="run"), training.instances.labels()
    creep = instances_of(study, "creep")
    means = [
        thermometer.nearest_mean(
            x, labels.temperature, labels.species, creep.matrix() - np.log10(t),
            creep.labels().species, 1,
        ).mean()
        for t in one.put_in
    ]  # fmt: skip
    np.testing.assert_allclose(one.mean, means, rtol=1e-12)
    # T_ML(T) jumps at most by a step of one atom, so it crosses T within 1100 K / 60
    crossed = np.flatnonzero(np.diff(np.sign(np.array(means) - one.put_in)))
    assert len(one.solutions) == len(crossed) > 0
    for solution, k in zip(one.solutions, crossed, strict=True):
        assert one.put_in[k] <= solution <= one.put_in[k + 1]
    text = " ".join(applied_put_in_caption([one]))
    assert f"from {means[0]:.0f} K at T = 100 K to {means[-1]:.0f} K at T = 1200 K" in text


EVERY = tuple(float(t) for t in range(1, 41))
SOME = (1.0, 2.0, 4.0, 8.0, 20.0, 40.0)


def test_an_application_does_not_change_the_averages_of_training(tmp_path):
    """Frames at every ps allow averages, frames at the lags alone do not."""
    dense = write_store(tmp_path, "dense", 300, lags=EVERY)
    sparse = write_store(tmp_path, "sparse", 300, lags=SOME)
    features = tmp_path / "features"
    alone = compute_lags([dense], features, SOME, progress=False).averaged()
    assert alone.lags.tolist() == [1.0, 2.0, 4.0, 8.0, 20.0]
    before = {one: one.stat().st_mtime_ns for one in (features / "dense.zarr").rglob("*")}
    both = compute_lags([dense, sparse], features, SOME, averaged_as=[dense], progress=False)
    assert {one: one.stat().st_mtime_ns for one in (features / "dense.zarr").rglob("*")} == before
    assert both.averaged() is None
    assert both.select([0]).averaged() is not None
    lacks = AppliedModel(OURS_AVERAGED, "none", tmp_path / "averaged_none")
    nearest = applied_models(
        fit_models(Training(alone_twice(both), (0, 1), {"none": 2}, 2, 0), ["none"], tmp_path / "m")
    )
    applied = predict_store(
        both.select([1]), (*nearest, lacks), (0, 1), tmp_path / "t.zarr", progress=False
    )
    assert [one.label for one in applied] == ["nearest_none"]
    # other lags in the same folder replace the features of the study
    again = compute_lags([dense], features, SOME[:-1], progress=False)
    assert again.lags.tolist() == list(SOME[:-1])


def alone_twice(instances):
    """The same run as if it were at two temperatures."""
    from dataclasses import replace

    run = instances.runs[0]
    return replace(instances, runs=(run, replace(run, temperature=900.0)))


def test_lag_features_of_several_stores_are_computed_at_a_time(study, tmp_path, monkeypatch):
    together, whole = threading.Barrier(2), prepare.run

    def waits(*arguments, **more):
        together.wait(timeout=60)
        return whole(*arguments, **more)

    monkeypatch.setattr(prepare, "run", waits)
    stores = [study[0] / f"{name}.zarr" for name in ("100", "1200")]
    with threads_client(2, default=False) as own:
        found = compute_lags(stores, tmp_path, LAGS, client=own, progress=False)
    np.testing.assert_array_equal(found.matrix(), study[1].instances.matrix())
