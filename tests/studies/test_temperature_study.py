"""The temperature study from stores to results: kill and resume, number of workers, a second run, the command."""

from __future__ import annotations

import json
import shutil
import signal
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from distributed import Client

import mgdask
from mgdask.cli import cli
from mgdask.learn import relieff
from mgdask.plot.style import save
from mgdask.studies.stages import StageRunner, write_text
from mgdask.studies.temperature import (
    TemperatureOptions,
    TemperatureStudy,
    baselines,
    controls,
    neighbor_curve,
    read_instances,
    schemes,
    temperature_study,
)
from mgdask.studies.temperature.figures import (
    creep,
    distances,
    maps,
    structure,
    thermometer,
    training,
    validation,
)
from mgdask.studies.temperature.fitting import Training
from mgdask.studies.temperature.validation import atom_folds
from tests import forked
from tests.conftest import threads_client
from tests.reference import thermometer as thermometer_twin
from tests.studies.temperature_stores import LAGS, write_store

QUICK = {
    "lags": LAGS,
    "selected_lags": (1.0, 5.0, 20.0),
    "neighbors": 5,
    "subset_rows": 60,
    "min_leaves": 5,
    "relief_neighbors": 5,
    "folds": 3,
    "max_neighbors": 8,
    "d2min_lags": (5.0, 20.0),
}
SETS = {
    "train": ("300", "800", "1500"),
    "test": ("1200",),
    "apply": ("creep",),
    "control": ("300",),
}


@contextmanager
def small_parts():
    """Use few trees and resamples, and draw coarsely."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "ROUNDS", 5)
        patch.setattr(schemes, "score", partial(schemes.score, n_resamples=40))
        for module in (creep, distances, maps, structure, thermometer, training, validation):
            patch.setattr(module, "save", lambda fig, path: save(fig, path, dpi=20))
        yield


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    for kelvin in (300, 800, 1200, 1500):
        write_store(folder, str(kelvin), kelvin, seed=kelvin)
    write_store(folder, "creep", 300, seed=7, hot=6)
    return folder


def options(stores, out, **more):
    sets = {name: [stores / f"{one}.zarr" for one in names] for name, names in SETS.items()}
    return TemperatureOptions(**{**sets, **QUICK, "out": out, **more})


@pytest.fixture(scope="module")
def done(stores, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "out"
    # not with a client of another test, whose processes do not know of the small parts
    with small_parts(), threads_client(default=False) as own:
        return TemperatureStudy(options(stores, out)).run(own, progress=False), out


def contents(out):
    """Every file that does not hold times, without its own place; results.json without times."""
    kept = {}
    for path in sorted(out.rglob("*")):
        timed = {"progress", "manifest"} & set(path.parts) or path.name == "results.json"
        if path.is_file() and not timed:
            # a store of T_ML names the features that it was made from
            kept[str(path.relative_to(out))] = path.read_bytes().replace(bytes(out), b"OUT")
    plain = json.loads((out / "results.json").read_text())
    del plain["options"]["out"]
    plain["timing"] = sorted(plain["timing"])
    return kept | {"results.json": json.dumps(plain).encode()}


def test_what_was_trained_on_is_said(done):
    results, out = done
    text = str(results)
    assert "training: 180 atoms of 3 runs at 300, 800, 1500 K" in text
    classes = json.loads((out / "temperature" / "classes.json").read_text())
    assert f"classes: {', '.join(f'{t:g}' for t in classes['classes'])} K" in text
    weights = json.loads((out / "temperature" / "weights.json").read_text())
    assert weights["lag"] == list(LAGS)
    features = mgdask.open_store(out / "features" / "creep.zarr")
    np.testing.assert_array_equal(features.lag_displacement_lag, LAGS)


def test_errors_are_those_of_the_predictions(done):
    """Rows of validation.json against metrics and the printed table; the constant against its closed form."""
    results, out = done
    rows = json.loads((out / "temperature" / "validation.json").read_text())["rows"]
    metrics = {(one.test, one.model): one for one in results.metrics if one.name == "rmse"}
    scores = [one for one in results.metrics if one.name == "rmse"]
    assert len(rows) == len(scores) == 5 * 2 * 6
    for row in rows:
        form = "with T" if row["form"] == "run" else "without T"
        (one,) = (
            metric
            for (test, model), metric in metrics.items()
            if test == row["scheme"] and model.startswith(row["model"]) and model.endswith(form)
        )
        assert (one.value, one.low, one.high) == (row["rmse"], row["low"], row["high"])
        assert one.unit == "K"
        at = row["temperatures"]
        square = sum(k["n"] * k["rmse"] ** 2 for k in at) / sum(k["n"] for k in at)
        assert row["rmse"] == pytest.approx(square**0.5, rel=1e-9)
        if row["model"] == "constant" and row["scheme"] == "temperatures left out":
            assert row["rmse"] == pytest.approx(100.0)  # 800 K against the mean of 300 and 1500 K
        if row["model"] == "constant" and row["scheme"] == "extrapolation":
            # 300 K against 1150 K, and 1500 K against 550 K
            assert row["rmse"] == pytest.approx(((850**2 + 950**2) / 2) ** 0.5)
        if row["model"] == "constant" and row["scheme"] == "test runs":
            assert row["rmse"] == pytest.approx(1200.0 - 2600.0 / 3.0)
        assert f"{row['rmse']:.0f} [{row['low']:.0f}, {row['high']:.0f}]" in str(results)


def test_the_verdict_comes_first(done):
    results, _ = done
    first, second = str(results).splitlines()[:2]
    # by chance: 800 K lies near the mean of 300 and 1500 K
    assert first == "No model is better than a constant, whose RMSE is 100 K."
    assert "RMSE at temperatures that were left out of training" in second
    assert "k nearest neighbors" in second


def test_applied_atoms_have_a_temperature(done, stores):
    """The six atoms of the creep that move as at 2000 K are the hottest; its control has none."""
    results, out = done
    found = mgdask.open_store(out / "t_ml" / "creep.zarr")
    labels = found.t_ml_feature.values.tolist()
    hot = found.t_ml.values[0, :, labels.index("nearest_none")]
    assert set(np.argsort(hot)[-6:].tolist()) == set(range(6))
    np.testing.assert_array_equal(found.atom_id, mgdask.open_store(stores / "creep.zarr").atom_id)
    excess = {one.model: one for one in results.metrics if one.name == "excess_over_control"}
    plain = json.loads((out / "temperature" / "application_creep.json").read_text())
    assert {row["form"] for row in plain["excess"]} == {"run", "none"}
    for one in excess.values():
        assert one.test == "creep"
        assert one.low <= one.value <= one.high
        assert one.value > 0.05
    assert "more than in the unstressed control 300" in str(results)
    assert (out / "temperature" / "application_300.json").exists()


def test_ours_is_left_out_with_few_lags_or_atoms(done, stores):
    _, out = done
    instances = read_instances([stores / "300.zarr", stores / "800.zarr"], out / "features")
    few = Training(instances, (1, 2), {"none": 5}, 3, 0)
    assert few.why_not_ours == "it needs at least 3 lags, but 2 are used"
    assert "ours" not in few.fits("none")
    assert "ours" in Training(instances, (1, 2, 3), {"none": 5}, 3, 0).fits("run")


def test_a_finished_study_is_read(done, stores, monkeypatch):
    """And a temperature that was attached since repeats what depends on it."""
    results, out = done
    before, ran = contents(out), []
    skip = StageRunner._finished

    def watched(self, path, identity):
        record = skip(self, path, identity)
        ran.extend([path.stem] if record is None else [])
        return record

    monkeypatch.setattr(StageRunner, "_finished", watched)
    again = TemperatureStudy(options(stores, out)).run(progress=False)
    assert ran == []
    assert contents(out) == before
    assert again.timing == results.timing


def test_other_temperatures_are_noticed(done, stores, tmp_path):
    """Temperatures are not part of a store's content; a study that was finished must not keep the old ones."""
    mgdask.ingest(
        str(stores / "300.dump"),
        tmp_path / "300.zarr",
        species={1: "Cu", 2: "Zr"},
        timestep=0.001,
        temperature=300.0,
        run="300K",
    )
    train = [tmp_path / "300.zarr", stores / "800.zarr"]
    given = {"train": train, "control": (), "apply": (), "test": ()}
    one = options(stores, tmp_path / "out", **given).parameters()
    mgdask.attach(tmp_path / "300.zarr", temperature=310.0, overwrite=True)
    other = options(stores, tmp_path / "out", **given).parameters()
    assert one["temperatures"].keys() == other["temperatures"].keys() == {"300", "800"}
    assert one["temperatures"]["300"] != other["temperatures"]["300"]
    assert one["temperatures"]["800"] == other["temperatures"]["800"]


@pytest.mark.slow
def test_the_same_bits_with_two_processes(stores, tmp_path, client):
    """Trees and resamples are not fewer here, since processes do not know of it."""
    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as own:
        TemperatureStudy(options(stores, tmp_path / "one")).run(own, progress=False)
    TemperatureStudy(options(stores, tmp_path / "two")).run(client, progress=False)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


RUN = """
import sys
from pathlib import Path
from tests.studies import test_temperature_study as here
options = here.options(Path(sys.argv[1]), Path(sys.argv[2]))
with here.small_parts():
    here.TemperatureStudy(options).run(progress=False)
"""
KILLED_AT = (
    "features/800.zarr",
    "features/creep.zarr",
    "temperature/classes.json",
    "temperature/weights.json",
    "temperature/k_curve.json",
    "temperature/progress/schemes.json",
    "temperature/validation.json",
    "temperature/models/nearest_none/model.json",
    "t_ml/creep.zarr",
    "local/creep.zarr",
    "temperature/application_creep.json",
    "temperature/classes.png",
)
"""Files after which the study is killed as soon as they are there."""


@pytest.mark.slow
def test_a_killed_study_resumes_byte_for_byte(done, stores, tmp_path):
    out, killed = tmp_path / "out", 0
    for name in KILLED_AT:
        process = forked.Forked(RUN, stores, out)
        while not (out / name).exists() and process.poll() is None:
            time.sleep(0.002)
        process.kill()
        ended = process.wait()
        assert ended in (0, -signal.SIGKILL), process.printed(process.stderr)
        killed += ended == -signal.SIGKILL
    assert killed >= len(KILLED_AT) - 1
    with small_parts(), threads_client(default=False) as own:
        resumed = TemperatureStudy(options(stores, out)).run(own, progress=False)
    before, after = contents(done[1]), contents(out)
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == []
    assert resumed.metrics == done[0].metrics


def test_the_command(stores, tmp_path):
    runner = CliRunner()
    help_text = runner.invoke(cli, ["study", "temperature", "--help"]).output
    for word in ("--train", "--apply", "--control", "--feature-temperature", "0.01,0.02", "3.6"):
        assert word in help_text
    shutil.copytree(stores / "300.zarr", tmp_path / "300.zarr")
    words = ["--train", stores / "300.zarr", "--test", tmp_path / "300.zarr"]
    found = runner.invoke(
        cli, ["study", "temperature", *map(str, words), "--out", str(tmp_path / "out")]
    )
    assert found.exit_code != 0
    assert "another store named 300 is in --train" in " ".join(found.output.split())
    words = ["--train", stores / "300.zarr", "--lags", "0.1,1,5,20"]
    found = runner.invoke(
        cli, ["study", "temperature", *map(str, words), "--out", str(tmp_path / "out")]
    )
    assert found.exit_code != 0
    assert "With one class there is nothing to learn" in str(found.exception or found.output)
    assert not (tmp_path / "out" / "features").exists()


def test_one_more_application_repeats_nothing_else(done, stores, tmp_path, monkeypatch):
    results, whole = done
    out, ran = tmp_path / "out", []
    shutil.copytree(whole, out)
    skip = StageRunner._finished

    def watched(self, path, identity):
        record = skip(self, path, identity)
        ran.extend([path.stem] if record is None else [])
        return record

    monkeypatch.setattr(StageRunner, "_finished", watched)
    # the page of the second and third run is not looked at
    monkeypatch.setattr(
        temperature_study,
        "temperature_report",
        lambda folder, about: write_text(folder / "report.html", str(about)),
    )
    apply = [stores / f"{one}.zarr" for one in ("creep", "1200")]
    with small_parts():
        more = TemperatureStudy(options(stores, out, apply=apply)).run(progress=False)
    assert ran == ["features-of-1200", "structure-of-1200", "t-ml-of-1200", "application", "report"]
    assert (out / "temperature" / "application_1200.json").exists()
    assert set(results.metrics) < set(more.metrics)
    ran.clear()
    with small_parts():
        again = TemperatureStudy(options(stores, out)).run(progress=False)
    assert ran == ["application", "report"]
    assert again.metrics == results.metrics
    assert not (out / "temperature" / "application_1200.json").exists()


def test_neighbors_are_those_of_whole_splits_for_any_blocks(done, stores, monkeypatch):
    """Scores from tasks over blocks of atoms against models that predict a split at once; rows are read once."""
    _, out = done
    train = [stores / f"{one}.zarr" for one in SETS["train"]]
    instances = read_instances(train, out / "features")
    test = read_instances([stores / "1200.zarr"], out / "features")
    train = Training(instances, (1, 2, 3), {"none": 5, "run": 4}, 3, 0)
    read, matrix = [], Training.matrix
    monkeypatch.setattr(schemes, "PART", 7)
    monkeypatch.setattr(
        Training, "matrix", lambda self, *given: read.append(given) or matrix(self, *given)
    )
    with small_parts(), threads_client(default=False) as own:
        found = schemes.validate_models(train, test, client=own, progress=False)
    assert len(read) <= 6  # one process, two sets of runs, in the order of the schemes
    rows = json.loads((out / "temperature" / "validation.json").read_text())["rows"]
    assert len(found) == len(rows)
    labels = instances.labels()
    for one in found:
        if one.model != "k nearest neighbors" or one.scheme == "test runs":
            continue
        x = instances.matrix(columns=(1, 2, 3), feature_temperature=None)
        if one.form == "run":
            x = x - np.log10(labels.temperature)[:, None]
        k = {"none": 5, "run": 4}[one.form]
        splits = {
            "temperatures left out": [labels.temperature == 800],
            "extrapolation": [labels.temperature == 300, labels.temperature == 1500],
        }.get(one.scheme)
        if splits is None:
            fold = atom_folds(labels.temperature, 3 if one.scheme == "folds of atoms" else 2, 0)
            splits = [fold == f for f in ((0, 1, 2) if fold.max() == 2 else (1,))]
        square = []
        for here in splits:
            twin = thermometer_twin.nearest_mean(
                x[~here], labels.temperature[~here], labels.species[~here],
                x[here], labels.species[here], k,
            )  # fmt: skip
            square.append((twin - labels.temperature[here]) ** 2)
        assert one.rmse == pytest.approx(np.sqrt(np.concatenate(square).mean()), rel=1e-9)
    assert {one.note for one in found if one.scheme == "folds of atoms"} == {"3 folds"}


def test_the_curve_of_k_is_the_same_for_any_blocks(done, stores, monkeypatch):
    _, out = done
    instances = read_instances([stores / "300.zarr", stores / "1500.zarr"], out / "features")
    train, labels = Training(instances, (1, 2), {}, 3, 0), instances.labels()
    monkeypatch.setattr(neighbor_curve, "BLOCK", 16)
    monkeypatch.setattr(controls, "CURVE_ROWS", 32)
    with threads_client(default=False) as own:
        found = controls.validate_neighbors(train, 6, client=own, progress=False)
    x = instances.matrix(columns=(1, 2))
    fold = atom_folds(labels.temperature, 3, 0)
    whole = neighbor_curve.fold_errors(x, labels.temperature, labels.species, fold, 6)
    assert found.rmse["none"].tolist() == whole.tolist()


def test_captions_say_what_was_used(done):
    results, out = done
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "folds of atoms (3)" in page
    assert "All 180 training atoms are used." in page
    assert "those at the temperature that is left out included" in page
    assert "300 is also in the training data" in str(results)
    assert "folds of atoms (180 atoms; 3 folds)" in str(results)
    assert "10 folds" not in page


def test_weights_are_in_both_forms(done):
    _, out = done
    plain = json.loads((out / "temperature" / "weights.json").read_text())
    (other,) = plain["beside"]
    assert (plain["form"], other["form"]) == ("none", "run")
    train = read_instances([Path(one) for one in done[0].options["train"]], out / "features")
    x = train.matrix(feature_temperature="run")
    expected = relieff(x, train.labels().temperature, 5)
    np.testing.assert_allclose(other["weight"]["per-class"], expected, atol=1e-12)
    assert "For comparison, lg[r²/(T/m)], with T: " in (out / "report.html").read_text("utf-8")


def test_the_linkage_is_that_of_the_options(done, stores, tmp_path, monkeypatch):
    class Called(Exception):
        pass

    def called(*_, **given):
        raise Called(given["linkage"])

    monkeypatch.setattr(temperature_study, "representative_classes", called)
    study = TemperatureStudy(options(stores, tmp_path, linkage="average"))
    with pytest.raises(Called, match="average"):
        study._classes(lambda _, compute, **__: compute(None), None, {})
