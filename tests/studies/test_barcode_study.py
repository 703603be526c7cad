"""The barcode study from stores to results: a known energy, another size, kill and resume, wrong input, the command."""

from __future__ import annotations

import base64
import csv
import json
import logging
import shutil
import signal
import time
from contextlib import contextmanager

import numpy as np
import pytest
from click.testing import CliRunner

import mgdask
from mgdask.cli import cli
from mgdask.errors import ParameterError
from mgdask.studies.barcode import BarcodeOptions, BarcodeStudy, prepare, results
from mgdask.studies.barcode.captions import bounded
from mgdask.studies.stages import StageRunner
from tests import forked
from tests.studies.barcode_stores import write_store
from tests.studies.test_softness_report import Page

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
OURS = (
    "pair distances",
    "soft barcode, 5 elements",
    "kernel ridge on all entries",
    "kernel ridge on all entries and pairs",
)


@contextmanager
def small_parts():
    """Use mean vectors that fit into the small boxes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "N_RESAMPLES", 60)
        patch.setattr(prepare, "SMALL_SOAP", {"r_cut": 4.0, "n_max": 3, "l_max": 2, "sigma": 0.5})
        patch.setattr(
            prepare,
            "SphericalChebyshev",
            lambda species: mgdask.SphericalChebyshev(species=species, n_max=4, l_max=2, r_cut=4.4),
        )
        yield


@pytest.fixture(scope="module", autouse=True)
def small_means():
    with small_parts():
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
    out, said = tmp_path_factory.mktemp("study") / "out", []
    watch = logging.Handler(logging.WARNING)
    watch.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("mgdask.featurize").addHandler(watch)
    found = BarcodeStudy(options(stores, out)).run(progress=False)
    logging.getLogger("mgdask.featurize").removeHandler(watch)
    # boxes of 9 Å are too small; said once for each cutoff, not for each store
    assert [one.split(" exceeds")[0] for one in said if "half the smallest" in one] == [
        "a.zarr: mean_pairs: the cutoff of 7 Å"
    ]
    return found, out


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_line_finds_the_known_energy(done):
    results, _ = done
    value = {(one.model, one.test, one.name): one.value for one in results.metrics}
    assert tuple(dict.fromkeys(one.model for one in results.metrics))[:6] == MODELS
    assert tuple(dict.fromkeys(one.model for one in results.metrics))[6:] == OURS
    # a sum of pair energies is nearly a line in the mean spectrum, and none in the counts
    assert value["ridge on mean SOAP", "pooled", "r2"] > 0.8
    assert value["ridge on mean SOAP", "long (test size)", "r2"] > 0.8
    # the pairs are those of which the energy is made
    assert value["pair distances", "pooled", "r2"] > 0.8
    assert value["kernel ridge on all entries and pairs", "long (test size)", "r2"] > 0.8
    for model in MODELS[:2] + MODELS[4:]:
        assert value[model, "pooled", "rmse"] > 2 * value["ridge on mean SOAP", "pooled", "rmse"]
    first = results.summary.splitlines()[0]
    assert first.startswith("A simple model wins: ridge on mean SOAP")
    assert "discards the distance" in first


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


def test_the_page_shows_every_picture_and_the_scores_of_the_results(done):
    """Pictures are those of the folder; a simple model is first; rows are ``results.json``."""
    found, out = done
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    pictures = [base64.b64decode(source.split(",", 1)[1]) for source, _ in page.pictures]
    files = sorted((out / "barcode").glob("*.png"))
    assert {path.stem for path in files} >= {"prediction", "scores", "errors", "correlation"}
    assert sorted(pictures) == sorted(path.read_bytes() for path in files)
    assert page.captions[0].startswith("A simple model predicts the energy better")
    told = {(one.model, one.test, one.name): one for one in found.metrics}
    for test in ("pooled", "long (test size)"):
        for model in MODELS:
            row = [
                bounded(told[model, test, name].model_dump()) for name in ("rmse", "rmse_per_atom")
            ]
            assert any(cells[0] == model and cells[3:5] == row for cells in page.rows)


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
    """Bytes of all files but the records of stages and blocks, which have their seconds."""
    kept = {}
    for path in sorted(out.rglob("*")):
        timed = {"progress", "manifest"} & set(path.parts) or path.name == "results.json"
        if path.is_file() and not timed:
            kept[str(path.relative_to(out))] = path.read_bytes()
    plain = json.loads((out / "results.json").read_text())
    del plain["options"]["out"]
    plain["timing"] = sorted(plain["timing"])
    return kept | {"results.json": json.dumps(plain).encode()}


RUN = """
import sys
from pathlib import Path
from tests.studies import test_barcode_study as here
with here.small_parts():
    here.BarcodeStudy(here.options(Path(sys.argv[1]), Path(sys.argv[2]))).run(progress=False)
"""
KILLED_AT = (
    "ules.zarr",
    "features/b-means.zarr",
    "features/d-fractions.zarr",
    "barcode/baselines.json",
    "barcode/trees/search.journal",
    "barcode/elements.json",
    "barcode/predictions.csv",
    "barcode/element_table.json",
)
"""Files during whose stage the study is killed as soon as they are there."""


@pytest.mark.slow
def test_a_killed_study_resumes_byte_for_byte(stores, tmp_path):
    out, killed = tmp_path / "out", 0
    for name in KILLED_AT:
        process = forked.Forked(RUN, stores, out)
        while not (out / name).exists() and process.poll() is None:
            time.sleep(0.002)
        process.kill()
        ended = process.wait()
        assert ended in (0, -signal.SIGKILL), process.printed(process.stderr)
        killed += ended == -signal.SIGKILL
    assert killed >= 6
    resumed = BarcodeStudy(options(stores, out)).run(progress=False)
    killed_out = out.rename(tmp_path / "killed")
    # in the same place, since features record the path of their dictionary
    undisturbed = BarcodeStudy(options(stores, out)).run(progress=False)
    before, after = contents(out), contents(killed_out)
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == []
    assert resumed.metrics == undisturbed.metrics


def test_a_finished_study_is_read(done, stores):
    """And a changed option repeats only what depends on it."""
    results, out = done
    before = contents(out)
    again = BarcodeStudy(options(stores, out)).run(progress=False)
    assert contents(out) == before
    assert again.timing == results.timing


# ------------------------------------------------------------------------------------------------------- wrong input
@pytest.fixture(scope="module")
def odd_stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    few = {"n_frames": 2, "n": 12}
    write_store(folder, "bare", energy=False, **few)
    write_store(folder, "foreign", types=(1, 2, 3), **few)
    write_store(folder, "copper", types=(1,), **few)
    write_store(folder, "single", n_frames=1, n=12)
    write_store(folder, "few", n_frames=8, n=12)
    return folder


def test_wrong_stores_are_refused_in_words(stores, odd_stores, tmp_path):
    def refused(match, **more):
        with pytest.raises(ParameterError, match=match):
            BarcodeStudy(options(stores, tmp_path / "out", **more)).run(progress=False)
        assert not (tmp_path / "out" / "ules.zarr").exists()

    bare, foreign, copper = (odd_stores / f"{n}.zarr" for n in ("bare", "foreign", "copper"))
    refused(r"bare.zarr has no energies.*mgdask attach .*bare.zarr --variable energy=", test=bare)
    refused(r"bare.zarr has no energies", driven=bare)
    refused("foreign.zarr has Al, which the dictionary does not know.*only Cu, Zr", test=foreign)
    refused(
        "copper.zarr has the elements Cu, but .*a.zarr has Cu, Zr",
        train=[stores / "a.zarr", copper],
    )
    refused("single.zarr has only one sample; at least two", train=odd_stores / "single.zarr")
    refused(
        r"have 8 samples of 1 run\. Without the largest of 5 folds, 6 are left, .*at least 20",
        train=odd_stores / "few.zarr",
    )
    refused("a store named d is already in `?train", train=stores / "d.zarr")
    refused(r"threshold=2: a threshold must be a similarity from 0 to 1", threshold=2)
    assert options(stores, tmp_path, threshold=1.0).threshold == 1.0  # as a dictionary may have


def test_the_command(stores, odd_stores, tmp_path):
    runner = CliRunner()
    help_text = runner.invoke(cli, ["study", "barcode", "--help"]).output
    for word in ("--train", "--test-size", "--threshold", "--elements", "--driven", "0.84", "40"):
        assert word in help_text
    words = ["study", "barcode", "--train", stores / "a.zarr", "--test", odd_stores / "bare.zarr"]
    found = runner.invoke(cli, [*map(str, words), "--out", str(tmp_path / "out")])
    assert found.exit_code != 0
    assert "bare.zarr has no energies" in str(found.exception or found.output)
    twice = ["study", "barcode", "--train", stores / "a.zarr", "--test", stores / "a.zarr"]
    found = runner.invoke(cli, [*map(str, twice), "--out", str(tmp_path / "out")])
    assert found.exit_code != 0
    assert "a store named a is already in --train" in " ".join(found.output.split())
