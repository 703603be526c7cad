"""Fig. A1 of the barcode study: errors against thresholds and numbers of training runs."""

from __future__ import annotations

import json
from contextlib import contextmanager

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.store.dictionaries import read_dictionary
from mgdask.studies.barcode import BarcodeOptions, BarcodeStudy, accuracy, barcode_study
from mgdask.studies.barcode.accuracy import accuracy_row, error_over_cases
from mgdask.studies.barcode.baselines import fit_mean
from mgdask.studies.barcode.data import Samples
from mgdask.studies.barcode.training_sets import training_sets
from tests.studies.barcode_stores import write_store
from tests.studies.test_barcode_study import QUICK, contents, small_parts

pytest.importorskip("optuna")


def test_sets_use_every_run_equally_often():
    assert training_sets("abc", 3) == (("a", "b", "c"),)
    assert training_sets("abc", 1) == (("a",), ("b",), ("c",))
    for n in (1, 2, 3):
        sets = training_sets("abcd", n)
        assert {run: sum(run in one for one in sets) for run in "abcd"} == dict.fromkeys("abcd", n)
        assert all(len(set(one)) == n for one in sets)
    ten = training_sets([f"{k}" for k in range(10)], 3)
    assert [one[0] for one in ten] == ["0", "2", "4", "6", "8"]
    assert ten[-1] == ("8", "9", "0")
    for n in (0, 4):
        with pytest.raises(ParameterError, match=rf"accuracy_runs={n}, .* 3 runs; .* 1 to 3"):
            training_sets("abc", n)


def test_the_interval_is_that_of_a_written_out_bootstrap(rng):
    """Cases and runs drawn one by one, as in a textbook."""
    cases = rng.normal(0.0, 1.0, (4, 1))
    run = np.repeat(np.arange(8), 5)
    errors = cases + rng.normal(0.0, 1.0, 8)[run] + rng.normal(0.0, 0.3, (4, 40))
    found = error_over_cases(errors, run, n_resamples=4000)
    assert found.value == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-14)
    values = []
    for _ in range(4000):
        chosen = rng.integers(0, 4, 4)
        rows = np.concatenate([np.flatnonzero(run == r) for r in rng.integers(0, 8, 8)])
        values.append(np.sqrt(np.mean(errors[np.ix_(chosen, rows)] ** 2)))
    spread = np.std(values)
    low, high = np.quantile(values, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.12 * spread)
    assert found.high == pytest.approx(high, abs=0.12 * spread)
    # the runs alone would give a narrower interval
    alone = error_over_cases(errors[:1], run, n_resamples=4000)
    assert alone.resampled == "groups"
    assert found.reliable
    assert not error_over_cases(errors[:, run < 4], run[run < 4]).reliable


def test_cases_are_models_of_their_own_runs():
    """The mean of one run, tested on one sample: the errors are known."""
    train = Samples.of([-2.0, -4.0, -12.0], 2, ["a", "b", "c"])
    test = Samples.of([-6.0], 2, "d")
    row = accuracy_row(fit_mean, train, test, 1)
    assert row.cases == (4.0, 2.0, 6.0)
    assert row.rmse == pytest.approx(np.sqrt((16 + 4 + 36) / 3))
    assert (row.n_cases, row.n_samples, row.threshold, row.n_entries) == (3, 1.0, None, None)
    assert accuracy_row(fit_mean, train, test, 3).cases == (0.0,)


@contextmanager
def quick_parts():
    """Without figures and elements, which have tests of their own."""
    with small_parts(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(barcode_study, "describe_elements", lambda *_, **__: [])
        patch.setattr(
            barcode_study,
            "barcode_report",
            lambda folder, *_, **__: (folder / "report.html").write_text("page"),
        )
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Finished study, its options, and its rows."""
    folder = tmp_path_factory.mktemp("accuracy")
    for k, name in enumerate("abcd"):
        write_store(folder, name, seed=k, n=16, n_frames=20)
    values = {"train": [folder / f"{name}.zarr" for name in "abc"], "test": folder / "d.zarr"}
    values |= {**QUICK, "trials": 0, "out": folder / "out"}
    values |= {"accuracy": (0.8, 0.9), "accuracy_runs": "2,3"}
    with quick_parts():
        BarcodeStudy(BarcodeOptions(**values)).run(progress=False)
    return values, json.loads((folder / "out/barcode/accuracy.json").read_text())["rows"]


def test_rows_agree_with_the_study(study):
    values, rows = study
    out = values["out"]
    found = {(one["model"], one["threshold"], one["n_runs"]): one for one in rows}
    assert len(found) == len(rows) == 2 * (4 + 2 * 2)
    scores = json.loads((out / "barcode/scores.json").read_text())
    # all runs, and the threshold of the study: the very models of the study
    for model in ("mean", "ridge on mean SOAP", "ridge on mean Chebyshev", "pair distances"):
        (own,) = (s for s in scores if s["model"] == model and s["test"] == "d")
        assert found[model, None, 3]["rmse"] == pytest.approx(own["rmse"]["value"], rel=1e-9)
    for model in ("ridge on fractions", "boosted trees, all ULEs"):
        (own,) = (s for s in scores if s["model"] == model and s["test"] == "d")
        assert found[model, 0.9, 3]["rmse"] == pytest.approx(own["rmse"]["value"], rel=1e-9)
        few, many = found[model, 0.8, 2], found[model, 0.9, 2]
        assert few["n_entries"] < many["n_entries"]
        assert few["n_entries"] == read_dictionary(out / "accuracy/0.8/ules.zarr").n_entries
        assert many["n_entries"] == read_dictionary(out / "ules.zarr").n_entries
        assert len(few["cases"]) == few["n_cases"] == 3
        assert (few["n_samples"], found[model, 0.8, 3]["n_samples"]) == (40, 60)
        assert not few["reliable"]
    assert not (out / "accuracy/0.9").exists()


def test_a_further_threshold_repeats_nothing(study, monkeypatch):
    values, rows = study
    out = values["out"]
    before = contents(out)
    fitted = []
    monkeypatch.setattr(barcode_study, "fit_trees", None)  # those of the study are kept
    monkeypatch.setattr(
        accuracy,
        "fit_trees",
        lambda samples, folder, **more: fitted.append(folder) or fit_mean(samples),
    )
    with quick_parts():
        BarcodeStudy(BarcodeOptions(**values)).run(progress=False)
        assert fitted == []
        assert contents(out) == before
        BarcodeStudy(BarcodeOptions(**values | {"accuracy": (0.7, 0.8, 0.9)})).run(progress=False)
        assert len(fitted) == 4  # three sets of two runs, and one of three
        assert all("accuracy/0.7/" in str(path) for path in fitted)
        more = json.loads((out / "barcode/accuracy.json").read_text())["rows"]
        assert [one for one in more if one["threshold"] != 0.7] == rows
        # without the option, nothing of it is left in the report
        BarcodeStudy(BarcodeOptions(**values | {"accuracy": (), "accuracy_runs": ()})).run(
            progress=False
        )
        assert not (out / "barcode/accuracy.json").exists()


def test_wrong_numbers_are_refused(study):
    values, _ = study

    def refused(match, **more):
        with pytest.raises(ParameterError, match=match):
            BarcodeStudy(BarcodeOptions(**values | more)).run(progress=False)

    refused(r"accuracy=.*similarity from 0 to 1", accuracy="0.8,2")
    refused("given twice", accuracy=(0.8, 0.8))
    refused("accuracy_runs has no effect without accuracy", accuracy=())
    refused(r"accuracy_runs=4, but the training stores have 3 runs; .*from 1 to 3", accuracy_runs=4)
    refused(
        r"accuracy_runs=1: a have 20 samples of 1 run\. .*at least 20: train on", accuracy_runs=1
    )
