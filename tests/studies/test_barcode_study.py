"""The barcode study from stores to results: a known energy, another size, kill and resume, wrong input, the command."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

import mgdask
from mgdask.cli import cli
from mgdask.errors import ParameterError
from mgdask.studies.barcode import BarcodeOptions, BarcodeStudy, barcode_study, prepare
from mgdask.studies.stages import StageRunner
from tests.studies.barcode_stores import write_store

pytest.importorskip("optuna")
QUICK = {
    "r_cut": 3.5,
    "n_max": 2,
    "l_max": 1,
    "trials": 2,
    "num_boost_round": 20,
    "early_stopping": 5,
    "threshold": 0.9,
    "elements": 5,
}
MODELS = (
    "mean",
    "ridge on fractions",
    "ridge on mean SOAP",
    "ridge on mean Chebyshev",
    "boosted trees, all ULEs",
    "boosted trees, 5 ULEs",
)


@pytest.fixture(scope="module", autouse=True)
def small_means():
    """Mean vectors that fit into the small boxes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "SMALL_SOAP", {"r_cut": 4.0, "n_max": 3, "l_max": 2, "sigma": 0.5})
        patch.setattr(
            prepare,
            "SphericalChebyshev",
            lambda species: mgdask.SphericalChebyshev(species=species, n_max=4, l_max=2, r_cut=4.4),
        )
        yield


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    for k, name in enumerate("abcd"):
        write_store(folder, name, seed=k)
    write_store(folder, "long", seed=9, copies=2, n_frames=4)
    return folder


def options(stores, out, **more):
    train, test = [stores / f"{name}.zarr" for name in "abc"], stores / "d.zarr"
    values = {"train": train, "test": test, "test_size": stores / "long.zarr", "out": out}
    return BarcodeOptions(**{**values, **QUICK, **more})


@pytest.fixture(scope="module")
def done(stores, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "out"
    return BarcodeStudy(options(stores, out)).run(progress=False), out


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_line_finds_the_known_energy(done):
    results, _ = done
    value = {(one.model, one.test, one.name): one.value for one in results.metrics}
    assert tuple(dict.fromkeys(one.model for one in results.metrics))[:6] == MODELS
    # a sum of pair energies is nearly a line in the mean spectrum, and none in the counts
    assert value["ridge on mean SOAP", "pooled", "r2"] > 0.8
    assert value["ridge on mean SOAP", "long (test size)", "r2"] > 0.8
    for model in MODELS[:2] + MODELS[4:]:
        assert value[model, "pooled", "rmse"] > 2 * value["ridge on mean SOAP", "pooled", "rmse"]
    first = results.summary.splitlines()[0]
    assert first.startswith("A simple model wins: ridge on mean SOAP")
    assert "throws away how far it is" in first


def test_scores_are_those_of_the_predictions(done, stores):
    results, out = done
    rows = read_csv(out / "barcode" / "predictions.csv")
    energy = mgdask.open_store(stores / "d.zarr").energy.values
    for model in MODELS:
        own = [row for row in rows if row["model"] == model and row["store"] == "d"]
        error = np.array([float(row["predicted"]) for row in own]) - energy
        got = next(
            one
            for one in results.metrics
            if (one.model, one.test, one.name) == (model, "d", "rmse")
        )
        assert got.value == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-9)
        assert got.low <= got.value <= got.high
        atoms = next(
            one.value
            for one in results.metrics
            if (one.model, one.test, one.name) == (model, "d", "rmse_per_atom")
        )
        assert atoms == pytest.approx(1e3 * got.value / 32, rel=1e-9)
    kinds = {(row["set"], row["how"]) for row in rows}
    assert kinds == {
        ("train", "left out"), ("train", "fitted"), ("test", "test"), ("test_size", "test"),
    }  # fmt: skip
    assert {row["n_atoms"] for row in rows if row["set"] == "test_size"} == {"64"}
    scores = json.loads((out / "barcode" / "scores.json").read_text())
    assert {row["test"] for row in scores if row["set"] == "test"} == {"pooled", "d"}


def test_fractions_are_those_of_a_naive_search(done, stores):
    """Of test samples, with unit spectra from the feature itself and NumPy's arg-max."""
    _, out = done
    study = BarcodeStudy(options(stores, out))
    ds = mgdask.open_store(stores / "d.zarr")
    soap = study.options.soap(("Cu", "Zr"))
    entries = mgdask.open_store(out / "ules.zarr").vector.values
    train, sets = study._samples(StageRunner(out, out / "x", "x"), {"progress": False})
    for k in (0, 7):
        rows = soap.compute(ds.position[k].values, ds.cell[k].values, ds.species.values)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        nearest = np.argmax(rows @ entries.T, axis=1)
        want = np.bincount(nearest, minlength=len(entries)) / 32
        np.testing.assert_allclose(sets["test"].fractions[k], want, atol=1e-12)
    assert (train.unmatched == 0.0).all()
    assert train.runs == ("a", "b", "c")
    np.testing.assert_allclose(sets["test_size"].fractions.sum(axis=1), 1.0)
    shutil.rmtree(out / "x")


def test_elements_are_those_of_the_largest_shap(done):
    _, out = done
    found = json.loads((out / "barcode" / "elements.json").read_text())
    values = np.array(found["mean_absolute_shap"])
    assert len(values) == mgdask.open_store(out / "ules.zarr").sizes["entry"]
    assert found["entries"] == np.argsort(-values, kind="stable")[:5].tolist()


def contents(out):
    """Bytes of all files but those with the seconds of the stages."""
    kept = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and "progress" not in path.parts and path.name != "results.json":
            kept[str(path.relative_to(out))] = path.read_bytes()
    plain = json.loads((out / "results.json").read_text())
    plain["timing"] = sorted(plain["timing"])
    return kept | {"results.json": json.dumps(plain).encode()}


@pytest.mark.parametrize(
    "stage", ["dictionary", "samples", "baselines", "boosted trees, all ULEs", "SHAP", "tables"]
)
def test_an_interrupted_study_resumes_byte_for_byte(done, stores, tmp_path, monkeypatch, stage):
    """Everything of later stages is gone, and the stage itself ended before its record."""
    _, whole = done
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    before = contents(whole)

    class Interrupted(StageRunner):
        def __call__(self, name, compute, **more):
            def cut(timer):
                compute(timer)
                raise KeyboardInterrupt

            return super().__call__(name, cut if name == stage else compute, **more)

    record = out / "barcode" / "progress"
    names = {json.loads(path.read_text())["stage"]: path for path in record.glob("*.json") if path.name != "date.json"}
    later = list(barcode_study.STAGES)[barcode_study.STAGES.index(stage) :] if stage in barcode_study.STAGES else []
    for name in {stage, *later} & set(names):
        names[name].unlink()
    with monkeypatch.context() as patch:
        patch.setattr("mgdask.studies.study.StageRunner", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            BarcodeStudy(options(stores, out)).run(progress=False)
    results = BarcodeStudy(options(stores, out)).run(progress=False)
    after = contents(out)
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == []
    assert results.metrics == done[0].metrics
