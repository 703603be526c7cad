"""Predictions and SHAP values as tasks against LightGBM on the gathered matrix; the same bytes by every way; refusals."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mgdask
from mgdask.errors import ParameterError, RunError, StoreError
from mgdask.execution.records import record
from mgdask.learn import Part, Rows, train
from mgdask.learn import predict as module
from mgdask.learn.data.columns import rows_of_store
from mgdask.learn.explain import shap_tasks
from mgdask.learn.explain.shap_tasks import shap
from mgdask.learn.explain.shap_values import shap_of_block
from mgdask.learn.predict import predict
from mgdask.store import features
from mgdask.store.attributes import decode
from mgdask.store.layout import BlockLayout
from mgdask.store.manifest import Manifest
from mgdask.store.shards import open_group, write_shard
from tests.conftest import threads_client

lightgbm = pytest.importorskip("lightgbm")
COLUMNS = ("one/c0", "one/c1", "two/c1", "one/c3")
QUIET = {"progress": False, "retries": 0}


def write_store(path, arrays, identity="test"):
    """A finished feature store of 7 frames and 50 atoms in shards of 3 frames and 20 atoms."""
    cut = BlockLayout(3, 20, 10)
    outputs = [
        features.Output(
            name,
            f"{name}_feature",
            v.shape,
            str(v.dtype),
            cut,
            [f"c{k}" for k in range(v.shape[2])],
            {},
            {},
        )
        for name, v in arrays.items()
    ]
    axes = {
        "atom_id": ("atom", np.arange(50) * 2 + 1),
        "species": ("atom", np.arange(50) % 2 + 29),
        "time": ("frame", np.arange(7.0)),
        "run": ("frame", np.array(["a"] * 4 + ["b"] * 3, dtype=object)),
    }
    features.create(path, {}, axes, outputs)
    group = open_group(path, mode="r+")
    for name, values in arrays.items():
        for f in range(0, 7, 3):
            for a in range(0, 50, 20):
                wrote = write_shard(group, name, (f, a, 0), values[f : f + 3, a : a + 20])
                Manifest(path).append(record(wrote["file"], "", [wrote], 0.0))
    Manifest(path).finish(identity)
    return str(path)


def table(seed=5):
    rng = np.random.default_rng(seed)
    one, two = rng.normal(size=(7, 50, 4)), rng.normal(size=(7, 50, 2))
    one[2, 3:9, 1] = one[:3, 20:40, 0] = np.nan  # some atoms; a whole shard
    two[5, :, 1] = np.nan  # a frame, in a column that is taken as missing
    two[:, :, 0] = np.nan  # a column that no model takes
    return {"one": one, "two": two}


def gathered(arrays):
    one, two = arrays["one"], arrays["two"]
    return np.stack([one[..., 0], one[..., 1], two[..., 1], one[..., 3]], axis=-1).reshape(-1, 4)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    arrays = table()
    return write_store(tmp_path_factory.mktemp("source") / "features.zarr", arrays), gathered(
        arrays
    )


@pytest.fixture(scope="module")
def models():
    """Three draws of a classifier that has seen NaN in its third column only."""
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(600, 4))
        x[::7, 2] = np.nan
        y = (x[:, 0] + np.nan_to_num(x[:, 2]) * x[:, 1] > 0).astype(float)
        found.append(
            train(x, y, columns=COLUMNS, num_boost_round=20, seed=seed, threads=1, progress=False)
        )
    assert found[0].missing == ("two/c1",)
    return found


def expected(models, x):
    """LightGBM itself on the whole matrix."""
    score = np.mean([lightgbm.Booster(model_str=model.text).predict(x) for model in models], axis=0)
    return np.where(np.isnan(x[:, [0, 1, 3]]).any(axis=1), np.nan, score).reshape(7, 50)


def files(path):
    """Bytes of all files but the records, which tell times and hosts, by name."""
    found = {str(p.relative_to(path)): p.read_bytes() for p in Path(path).rglob("*") if p.is_file()}
    return {name: data for name, data in found.items() if not name.endswith("blocks.jsonl")}


@pytest.fixture(scope="module")
def scores(store, models, tmp_path_factory):
    """The scores by threads of this process."""
    out = tmp_path_factory.mktemp("scores") / "scores.zarr"
    return out, predict(models, store[0], out, **QUIET)


def test_is_lightgbm_on_the_gathered_matrix(store, models, scores):
    path, x = store
    out, report = scores
    want = expected(models, x)
    ds = mgdask.open_store(out)
    got = ds.prediction.sel(prediction_feature="score").values
    assert np.array_equal(got, want, equal_nan=True)
    assert ds.prediction.dims == ("frame", "atom", "prediction_feature")
    assert np.isnan(want[:3, 20:40]).all()
    assert not np.isnan(want[5, :20]).any()
    assert (report.blocks, report.skipped, report.rows, report.nan) == (
        9,
        0,
        350,
        int(np.isnan(want).sum()),
    )
    assert f"350, of which {report.nan} lack a column" in str(report)
    good = ~np.isnan(want.ravel())
    mean = np.mean([model.predict(x[good], names=COLUMNS) for model in models], axis=0)
    assert np.array_equal(got.ravel()[good], mean)
    source = mgdask.open_store(path)
    for name in ("atom_id", "species", "time", "run"):
        assert (ds[name].values == source[name].values).all()
    about = decode(ds.attrs, "prediction")
    assert about["model"] == [model.digest for model in models]
    assert len(set(about["model"])) == 3
    assert about["source"] == Manifest(path).content()
    assert tuple(about["columns"]) == COLUMNS
    assert decode(ds.attrs, "versions")["lightgbm"] == lightgbm.__version__


def test_one_model_another_label_and_the_spread(store, models, tmp_path):
    path, x = store
    predict(models[1], path, tmp_path / "one.zarr", name="softness", label="QS", **QUIET)
    one = mgdask.open_store(tmp_path / "one.zarr").softness.sel(softness_feature="QS").values
    assert np.array_equal(one, expected(models[1:2], x), equal_nan=True)
    predict(models, path, tmp_path / "std.zarr", what="std", **QUIET)
    each = [expected([model], x) for model in models]
    got = mgdask.open_store(tmp_path / "std.zarr").prediction.values[..., 0]
    np.testing.assert_allclose(got, np.std(each, axis=0, ddof=1), rtol=1e-12)


def test_scores_are_a_source_of_rows(store, models, scores, tmp_path):
    out, _ = scores
    rows = rows_of_store(out, ["score"])
    assert rows.count() == 350
    want = expected(models, store[1]).ravel()
    assert np.array_equal(rows.read(0, 350)[:, 0], want, equal_nan=True)
    good = ~np.isnan(want)
    second = train(
        want[good, None],
        (want[good] > 0.5).astype(float),
        columns=("score",),
        num_boost_round=3,
        threads=1,
        progress=False,
        params={"min_data_in_leaf": 5},
    )
    predict(second, out, tmp_path / "again.zarr", **QUIET)
    got = mgdask.open_store(tmp_path / "again.zarr").prediction.values.ravel()
    assert np.array_equal(got[good], second.predict(want[good, None]))
    assert np.isnan(got[~good]).all()


def test_same_bytes_for_any_workers_threads_and_pieces(
    store, models, scores, client, tmp_path, monkeypatch
):
    path, want = store[0], files(scores[0])
    predict(models, path, tmp_path / "two.zarr", client=client, **QUIET)
    assert files(tmp_path / "two.zarr") == want
    with threads_client(2, default=False) as one:
        predict(models, path, tmp_path / "one.zarr", client=one, **QUIET)
    assert files(tmp_path / "one.zarr") == want
    with threads_client(3) as here:
        monkeypatch.setattr(
            module, "SLAB", 700
        )  # 14 rows of 48 bytes: pieces of one chunk of 10 atoms
        predict(models, path, tmp_path / "small.zarr", client=here, **QUIET)
    assert files(tmp_path / "small.zarr") == want


@pytest.fixture
def here():
    """Threads of this process, where functions can be exchanged."""
    with threads_client() as client:
        yield client


def test_an_interrupted_run_goes_on(store, models, scores, here, tmp_path, monkeypatch):
    out, sound = tmp_path / "scores.zarr", module.write_shard

    def failing(group, name, start, data):
        if start == (3, 20, 0):
            raise OSError("the cable was pulled")
        return sound(group, name, start, data)

    monkeypatch.setattr(module, "write_shard", failing)
    with pytest.raises(
        RunError,
        match=r"1 of 9 blocks failed.*predict-00000003-0000000020: OSError: the cable was pulled",
    ):
        predict(models, store[0], out, client=here, **QUIET)
    with pytest.raises(StoreError, match="not finished"):
        mgdask.open_store(out)
    monkeypatch.setattr(module, "write_shard", sound)
    report = predict(models, store[0], out, client=here, **QUIET)
    assert (report.blocks, report.skipped) == (9, 8)
    assert files(out) == files(scores[0])
    # a record that is gone, a file that is torn
    lines = (out / "manifest" / "blocks.jsonl").read_text().splitlines()
    torn = next(iter(json.loads(lines[0])["files"]))
    (out / torn).write_bytes(b"torn")
    unfinished = out / "manifest" / ".model-0.5b40f47b"  # of a process killed while it saved
    unfinished.mkdir()
    (unfinished / "model.txt.new").write_bytes(b"tree")
    (out / "manifest" / "blocks.jsonl").write_text("\n".join([*lines[:4], *lines[5:]]) + "\n")
    assert predict(models, store[0], out, client=here, **QUIET).skipped == 7
    assert files(out) == files(scores[0])
    before = {name: (out / name).stat().st_mtime_ns for name in files(out)}
    assert predict(models, store[0], out, client=here, **QUIET).skipped == 9
    changed = {name for name, time in before.items() if (out / name).stat().st_mtime_ns != time}
    assert changed <= {"manifest/complete.json"}


def test_tasks_return_little(store, models, scores, tmp_path):
    out = shutil.copytree(scores[0], tmp_path / "copy.zarr")
    about = mgdask.open_store(out).attrs
    rows = rows_of_store(store[0], COLUMNS)
    job = module._Job(
        rows,
        about["input_content"],
        str(out),
        "prediction",
        "mean",
        tuple(m.digest for m in models),
    )
    block = next(
        module._blocks(module._output(open_group(out)["prediction"], "prediction", "score", ""))
    )
    assert len(pickle.dumps(module._predict_block(job, block, "test"))) < 1000
    assert len(pickle.dumps((job, block))) < 2000


def test_other_work_on_the_same_store_is_refused(store, models, scores, tmp_path):
    path, _ = store
    out = scores[0]
    digests = [model.digest[:16] for model in models]
    with pytest.raises(
        StoreError, match=rf"another model: {', '.join(digests)}, this call has {digests[0]};"
    ):
        predict(models[0], path, out, **QUIET)
    with pytest.raises(StoreError, match="another model"):
        predict(models[::-1], path, out, **QUIET)
    arrays = table()
    arrays["one"][0, 0, 0] += 1
    other = write_store(tmp_path / "other.zarr", arrays)
    with pytest.raises(
        StoreError,
        match=rf"another source: {Manifest(path).content()[:16]}.*{Manifest(other).content()[:16]}",
    ):
        predict(models, other, out, **QUIET)
    with pytest.raises(StoreError, match="another what: mean, this call has std"):
        predict(models, path, out, what="std", **QUIET)
    with pytest.raises(StoreError, match="holds other results"):
        predict(models, path, other, **QUIET)
    (tmp_path / "text").write_text("mine")
    with pytest.raises(StoreError, match="not a Zarr store"):
        predict(models, path, tmp_path / "text", **QUIET)
    assert (tmp_path / "text").read_text() == "mine"
    with Manifest(out).locked(), pytest.raises(StoreError, match="being written by process"):
        predict(models, path, out, **QUIET)
    assert predict(models, path, out, **QUIET).skipped == 9


def test_a_source_or_model_that_changes_meanwhile(store, models, here, tmp_path, monkeypatch):
    source = write_store(tmp_path / "source.zarr", table())
    sound = module._models
    calls = []

    def changing(out, digests):
        if not calls:
            calls.append(out)
            Manifest(source).finish("other")
        return sound(out, digests)

    monkeypatch.setattr(module, "_models", changing)
    with pytest.raises(StoreError, match=r"source\.zarr has changed since the plan was made"):
        predict(models, source, tmp_path / "scores.zarr", client=here, **QUIET)
    monkeypatch.setattr(module, "_models", sound)
    assert not Manifest(tmp_path / "scores.zarr").records()  # not even of the block read last
    with pytest.raises(StoreError, match="another source"):
        predict(models, source, tmp_path / "scores.zarr", client=here, **QUIET)
    models[1].save(tmp_path / "scores.zarr" / "manifest" / "model-0")
    sound.cache_clear()
    with pytest.raises(StoreError, match="holds another model than before"):
        sound(str(tmp_path / "scores.zarr"), tuple(model.digest for model in models))


def test_wrong_input_in_words(store, models, tmp_path):
    path, _ = store
    model, out = models[0], tmp_path / "no.zarr"
    other = replace(model, columns=("one/c0", "one/x", "two/y", "one/c3"))
    for call, words in (
        (
            lambda: predict(other, path, out),
            r"column 1 of the model, 'one/x', is not in .*6 columns of one, two begin with 'one/c0'",
        ),
        (
            lambda: predict(model, path, out, variables=["one"]),
            "column 0 of the model, 'one/c0'.*4 columns of one begin with 'c0'",
        ),
        (
            lambda: predict([model, other], path, out),
            r"column 1 of models\[1\] is 'one/x', of models\[0\] 'one/c1'",
        ),
        (
            lambda: predict([model, replace(model, columns=COLUMNS[:3])], path, out),
            r"column 3 of models\[1\] is None",
        ),
        (
            lambda: predict([model, replace(model, objective="regression")], path, out),
            r"models\[1\] is for regression",
        ),
        (lambda: predict([], path, out), "at least 1"),
        (lambda: predict(model, path, out, what="std"), "at least 2"),
        (lambda: predict(model, path, out, what="median"), "allowed are 'mean', 'std'"),
        (lambda: predict(model, path, path), "the store that is read"),
        (lambda: predict(model, path, out, name="species"), "name='species'"),
        (lambda: predict(model, path, out, name="a b"), "plain word"),
        (lambda: shap(other, path), "column 1 of the model, 'one/x', is not in"),
        (
            lambda: shap(other, Rows((Part(path),), ("one", "two"))),
            "column 1 of the model, 'one/x', is not among the 6",
        ),
        (lambda: shap(model, path, seed=-1), "seed=-1"),
        (lambda: shap(model, path, block_rows=0), "block_rows=0"),
        (
            lambda: shap(model, Rows((Part(path, frames=(0, 3), atoms=(20, 40)),), ("one", "two"))),
            "each of the 60 rows has NaN",
        ),
    ):
        with pytest.raises(ParameterError, match=words):
            call()
    assert not out.exists()


def test_which_arrays_the_columns_are_of(tmp_path):
    arrays = {
        "a": np.zeros((7, 50, 2), "f4"),
        "b": np.zeros((7, 50, 3), "f4"),
        "c": np.zeros((7, 50, 3)),
    }
    path = write_store(tmp_path / "three.zarr", arrays)
    assert rows_of_store(path, ["a/c0", "c/c1"]).variables == ("a", "b", "c")
    assert rows_of_store(path, ["c2"], ["b"]).variables == ("b",)
    assert rows_of_store(path, ["c2"], ["b"]).dtype == "float32"
    assert rows_of_store(path, ["a/c0", "c/c1"]).dtype == "float64"
    with pytest.raises(ParameterError, match=r"b and c each have all columns.*variables=\['b'\]"):
        rows_of_store(path, ["c2"])
    alone = {"a": arrays["a"], "b": arrays["b"]}
    assert rows_of_store(write_store(tmp_path / "two.zarr", alone), ["c2", "c0"]).variables == (
        "b",
    )


def test_features_of_a_real_glass(glass_store, here, tmp_path):
    """Features by ``run`` of some frames and centers, and the scores beside them."""
    soap = mgdask.SOAP(
        species=("Cu", "Zr"), r_cut=3.0, n_max=2, l_max=1, sigma=0.5, rbf="polynomial"
    )
    mgdask.run(
        mgdask.plan(glass_store, soap, out=tmp_path / "f.zarr", centers="Zr", frames=[0, 2]),
        here,
        progress=False,
    )
    ds = mgdask.open_store(tmp_path / "f.zarr")
    x = ds.soap.values.reshape(-1, ds.sizes["soap_feature"])
    model = train(
        x,
        x[:, 0],
        objective="regression",
        columns=soap.labels,
        num_boost_round=5,
        threads=1,
        progress=False,
    )
    predict(model, tmp_path / "f.zarr", tmp_path / "s.zarr", client=here, **QUIET)
    got = mgdask.open_store(tmp_path / "s.zarr")
    assert np.array_equal(got.prediction.values.ravel(), model.predict(x))
    assert (got.step.values == ds.step.values).all()
    assert (got.atom_id.values == ds.atom_id.values).all()
    assert set(got.species.values) == {40}


def contributions(model, x):
    return lightgbm.Booster(model_str=model.text).predict(x, pred_contrib=True, num_threads=1)


def same(a, b):
    names = (
        "rows",
        "total",
        "absolute",
        "square",
        "expected",
        "sample_rows",
        "sample_x",
        "sample_shap",
    )
    return all(np.array_equal(getattr(a, name), getattr(b, name), equal_nan=True) for name in names)


def test_shap_is_that_of_lightgbm_on_the_gathered_matrix(store, models):
    path, x = store
    model = models[0]
    good = np.flatnonzero(~np.isnan(x[:, [0, 1, 3]]).any(axis=1))
    want = contributions(model, x[good])
    got = shap(model, path, size=40, seed=3, block_rows=60, progress=False)
    assert got.names == COLUMNS
    assert got.rows == len(good) < len(x)
    np.testing.assert_allclose(got.total, want[:, :-1].sum(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(got.absolute, np.abs(want[:, :-1]).sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(got.square, (want[:, :-1] ** 2).sum(axis=0), rtol=1e-12)
    assert got.expected == want[0, -1]
    # the sample: rows by their numbers, with their own values, that add up to the raw prediction
    assert len(got.sample_rows) == 40
    assert set(got.sample_rows) <= set(good)
    assert np.array_equal(got.sample_x, x[got.sample_rows], equal_nan=True)
    assert np.array_equal(got.sample_shap, contributions(model, got.sample_x)[:, :-1])
    raw = lightgbm.Booster(model_str=model.text).predict(got.sample_x, raw_score=True)
    np.testing.assert_allclose(got.sample_shap.sum(axis=1) + got.expected, raw, atol=1e-9)
    np.testing.assert_allclose(
        got.total.sum() + got.rows * got.expected,
        model.booster.predict(x[good], raw_score=True).sum(),
        rtol=1e-10,
    )
    whole = shap_of_block(lambda z: contributions(model, z), x[good], good, COLUMNS, 40, 3)
    assert np.array_equal(got.sample_rows, whole.sample_rows)
    other = shap(model, path, size=40, seed=3, progress=False)
    assert np.array_equal(other.sample_shap, got.sample_shap)
    np.testing.assert_allclose(other.total, got.total, rtol=1e-12, atol=1e-12)


def test_shap_has_the_same_bits_on_any_workers(store, models, client, tmp_path):
    path, x = store
    options = {"size": 30, "seed": 1, "block_rows": 32, "progress": False}
    with threads_client(2, default=False) as threads:
        here = shap(models[0], path, client=threads, **options)
    there = shap(models[0], path, client=client, **options)
    assert same(here, there)
    # rows that are chosen, from a matrix in a file
    np.save(tmp_path / "x.npy", x)
    keep = ~np.isnan(x).any(axis=1)
    np.save(tmp_path / "keep.npy", keep)
    rows = Rows((Part(str(tmp_path / "x.npy"), keep=str(tmp_path / "keep.npy")),), dtype="float64")
    model = replace(models[0], columns=rows.names())
    chosen = shap(model, rows, client=client, **options)
    assert chosen.rows == keep.sum()
    np.testing.assert_allclose(
        chosen.absolute, np.abs(contributions(model, x[keep])[:, :-1]).sum(axis=0), rtol=1e-12
    )


def test_rows_read_only_what_is_asked_for(store, monkeypatch):
    """Atoms beside the rows wanted, and arrays without a wanted column, stay on the disk."""
    import zarr

    path, x = store
    rows = replace(rows_of_store(path, COLUMNS), columns=("two/c1",))
    read, sound = [], zarr.Array.__getitem__

    def counting(array, where):
        found = sound(array, where)
        if np.ndim(found) == 3:
            read.append((array.name, found.shape))
        return found

    monkeypatch.setattr(zarr.Array, "__getitem__", counting)
    got = rows.read(103, 108)
    assert np.array_equal(got[:, 0], x[103:108, 2], equal_nan=True)
    assert read == [("/two", (1, 5, 2))]


def test_the_client_holds_sums_and_one_sample(store, models, here, monkeypatch):
    held, sound = [], shap_tasks.execute

    def watched(*arguments, **options):
        outcome = sound(*arguments, **options)
        held.extend(result["part"] for result in outcome.results.values())
        return outcome

    monkeypatch.setattr(shap_tasks, "execute", watched)
    got = shap(models[0], store[0], size=25, block_rows=50, client=here, progress=False)
    assert len(held) == 7
    assert sum(part.rows for part in held) == got.rows
    assert sum(part.sample_x.size + part.sample_shap.size for part in held) == 0
    assert got.sample_x.shape == (25, 4)
