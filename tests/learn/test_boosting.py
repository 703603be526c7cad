"""Boosting in one process against LightGBM itself, rows of stores, models that are kept, refusals."""

from __future__ import annotations

import doctest
import errno
import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr
from scipy.stats import rankdata

from mgdask.errors import ParameterError, StoreError
from mgdask.execution.records import record
from mgdask.learn import Model, Part, Rows, rank_targets, train
from mgdask.learn.data import targets
from mgdask.learn.evaluation.metrics import roc_auc
from mgdask.store import features
from mgdask.store.layout import BlockLayout
from mgdask.store.manifest import Manifest
from mgdask.store.shards import open_group, write_shard

lightgbm = pytest.importorskip("lightgbm")
EXACT = {"deterministic": True, "force_col_wise": True, "verbosity": -1, "random_state": 0}


def table(n, seed=0, p=8):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)).astype(np.float32)
    clean = x[:, 0] + np.sin(2 * x[:, 1]) + 0.5 * x[:, 2] ** 2
    y = (clean + rng.normal(size=n)).astype(np.float32)
    return x, y, (y > 1).astype(np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A matrix and labels in files, as Rows for regression and for classes, and rows to validate on."""
    base = tmp_path_factory.mktemp("table")
    x, y, classes = table(12_000)
    for name, values in (("x", x), ("y", y), ("classes", classes)):
        np.save(base / f"{name}.npy", values)
    part = (Part(str(base / "x.npy")),)
    rows = Rows(part, labels=str(base / "y.npy"))
    return x, y, classes, rows, Rows(part, labels=str(base / "classes.npy")), table(4000, seed=1)


def test_one_process_is_lightgbm_itself(data, capsys):
    x, y, classes, *_ = data
    model = train(x, y, objective="regression", num_boost_round=30)
    want = lightgbm.LGBMRegressor(n_estimators=30, **EXACT).fit(x, y)
    assert np.abs(model.predict(x) - want.predict(x)).max() < 1e-12
    assert "trained in this process: 12000 rows, 8 columns" in capsys.readouterr().err
    model = train(x, classes, num_boost_round=30, progress=False)
    leaves = {"min_child_samples": 1, "min_child_weight": 4.0}
    want = lightgbm.LGBMClassifier(n_estimators=30, **leaves, **EXACT).fit(x, classes)
    assert np.abs(model.predict(x) - want.predict_proba(x)[:, 1]).max() < 1e-12


def test_soft_labels(data):
    x, y, classes, *_ = data
    options = {"num_boost_round": 30, "progress": False}
    hard = train(x, classes, objective="binary", **options).predict(x)
    same = train(x, classes, objective="cross_entropy", **options).predict(x)
    np.testing.assert_allclose(same, hard, atol=1e-9)
    soft = rank_targets(y)
    assert soft.tolist() == ((rankdata(y) - 0.5) / len(y)).tolist()
    assert (soft > 0.5).sum() == len(y) // 2
    assert doctest.testmod(targets).failed == 0
    model = train(x, soft, objective="cross_entropy", **options)
    want = lightgbm.train(
        {
            "objective": "cross_entropy",
            "min_data_in_leaf": 1,
            "min_sum_hessian_in_leaf": 4.0,
            **EXACT,
        },
        lightgbm.Dataset(x, soft),
        30,
    )
    np.testing.assert_allclose(model.predict(x), want.predict(x), atol=1e-6)
    # ranks say how far a row is from the border, and rank the classes better for it
    other, _, labels = table(4000, seed=1)
    assert roc_auc(labels, model.predict(other)) > roc_auc(
        labels, train(x, y > np.median(y), **options).predict(other)
    )
    with pytest.raises(ParameterError, match="cross_entropy needs labels between 0 and 1"):
        train(x, y, objective="cross_entropy", **options)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A feature store of two variables and labels: 7 frames, 50 atoms, shards of 3 frames and 20 atoms."""
    path = tmp_path_factory.mktemp("store") / "f.zarr"
    rng = np.random.default_rng(5)
    cut = BlockLayout(3, 20, 10)
    arrays = {
        "one": rng.normal(size=(7, 50, 4)),
        "two": rng.normal(size=(7, 50, 2)),
        "label": rng.normal(size=(7, 50, 1)),
    }
    outputs = [
        features.Output(
            name,
            f"{name}_feature",
            v.shape,
            "float64",
            cut,
            [f"c{k}" for k in range(v.shape[2])],
            {},
            {},
        )
        for name, v in arrays.items()
    ]
    features.create(
        path, {}, {"atom_id": ("atom", np.arange(50)), "time": ("frame", np.arange(7.0))}, outputs
    )
    group = open_group(path, mode="r+")
    for name, values in arrays.items():
        for f in range(0, 7, 3):
            for a in range(0, 50, 20):
                wrote = write_shard(group, name, (f, a, 0), values[f : f + 3, a : a + 20])
                Manifest(path).append(record(wrote["file"], "", [wrote], 0.0))
    Manifest(path).finish("test")
    return str(path), arrays


def test_rows_of_stores_are_what_numpy_says(store, tmp_path, rng):
    path, arrays = store
    keep = rng.random((4, 33)) < 0.4
    np.save(tmp_path / "keep.npy", keep)
    parts = (Part(path, frames=(1, 5), atoms=(7, 40), keep=str(tmp_path / "keep.npy")), Part(path))
    both = np.concatenate([arrays["one"], arrays["two"]], axis=2)
    want = np.concatenate([both[1:5, 7:40][keep], both.reshape(-1, 6)])
    rows = Rows(parts, ("one", "two"), labels="label", dtype="float64")
    assert rows.names() == ("one/c0", "one/c1", "one/c2", "one/c3", "two/c0", "two/c1")
    assert rows.count() == len(want)
    assert (rows.read(0, len(want)) == want).all()
    assert (rows.read(30, 211) == want[30:211]).all()
    index = np.sort(rng.choice(len(want), 60, replace=False))
    assert (rows.take(index) == want[index]).all()
    some = Rows(parts, ("one", "two"), ("two/c1", "one/c2"), dtype="float64")
    assert (some.read(0, len(want)) == want[:, [5, 2]]).all()
    labels = np.concatenate([arrays["label"][1:5, 7:40, 0][keep], arrays["label"].reshape(-1)])
    assert (rows.values("labels") == labels).all()
    assert Rows.from_json(json.loads(json.dumps(rows.to_json()))) == rows
    model = train(rows, objective="regression", num_boost_round=3, progress=False)
    assert model.predict(
        xr.DataArray(want, dims=("row", "c"), coords={"c": list(rows.names())})
    ).shape == (len(want),)
    for bad, words in (
        (Rows(parts, ("three",)), "no variable 'three'"),
        (Rows(parts, ("one",), ("c9",)), "no column 'c9'"),
        (Rows((Part(path, frames=(0, 8)),), ("one",)), r"frames=\(0, 8\).*0 to 7"),
    ):
        with pytest.raises(ParameterError, match=words):
            bad.read(0, 1)


def test_the_matrix_is_there_once(tmp_path):
    n, p = 200_000, 50
    matrix = np.lib.format.open_memmap(
        tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=(n, p)
    )
    matrix[:] = 1.0
    del matrix
    rows = Rows((Part(str(tmp_path / "x.npy")),))
    tracemalloc.start()
    rows.read(0, n)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * n * p + 17 * 2**20 + 40 * n  # the matrix, a slab, indices


def test_a_model_is_kept_and_refuses_other_columns(data, tmp_path):
    x, y, *_ = data
    model = train(
        x, y, objective="regression", num_boost_round=5, columns=tuple("abcdefgh"), progress=False
    )
    model.save(tmp_path / "m")
    model.save(tmp_path / "m")
    again = Model.load(tmp_path / "m")
    assert (again.predict(x) == model.predict(x)).all()
    assert again.columns == tuple("abcdefgh")
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    for bad, options, words in (
        (x[:, :3], {}, r"shape \(12000, 3\).*trained on \(n, 8\)"),
        (x, {"names": tuple("abcdefgx")}, "column 7 of x is 'x'"),
        (
            xr.DataArray(x, dims=("r", "c"), coords={"c": list("bacdefgh")}),
            {},
            "column 0 of x is 'b'.*'a'",
        ),
        (np.where(x > 3, np.nan, x), {}, "has NaN near row"),
    ):
        with pytest.raises(ParameterError, match=words):
            model.predict(bad, **options)
    with pytest.raises(StoreError, match="holds no model"):
        Model.load(tmp_path)


def test_models_saved_to_one_folder_at_once(data, tmp_path):
    x, y, *_ = data
    model = train(x, y, objective="regression", num_boost_round=2, progress=False)
    with ThreadPoolExecutor(4) as pool:
        for one in [pool.submit(model.save, tmp_path / "m") for _ in range(100)]:
            one.result()
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    assert Model.load(tmp_path / "m").digest == model.digest


def test_a_full_disk_leaves_no_part_of_a_model(data, tmp_path, monkeypatch):
    x, y, *_ = data
    model = train(x, y, objective="regression", num_boost_round=2, progress=False)
    model.save(tmp_path / "m")
    old = {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="is full"):
        model.save(tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()} == old


def test_a_damaged_model_never_reaches_the_parser_of_lightgbm(data, tmp_path, rng, monkeypatch):
    """60 flipped bits were 12 wrong predictions, 22 aborts and 2 endless loops."""
    x, y, *_ = data
    model = train(
        x, y, objective="regression", num_boost_round=5, columns=tuple("abcdefgh"), progress=False
    )
    model.save(tmp_path)
    trees, card = tmp_path / "model.txt", tmp_path / "card.json"
    good, content = trees.read_bytes(), json.loads(card.read_text())
    monkeypatch.setattr("lightgbm.Booster", None)
    assert Model.load(tmp_path).digest == model.digest
    for k in rng.integers(0, len(good), 60):
        damaged = bytearray(good)
        damaged[k] ^= 1 << int(rng.integers(8))
        trees.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"damaged, in model.txt.*train it again"):
            Model.load(tmp_path)
    for k in rng.integers(0, len(good), 12):
        trees.write_bytes(good[:k])
        with pytest.raises(StoreError, match=r"damaged, in model.txt"):
            Model.load(tmp_path)
    trees.write_bytes(good)
    for change in (
        {"columns": content["columns"][::-1]},
        {"objective": "binary"},
        {"card": {}},
        {"seed": 2},
    ):
        card.write_text(json.dumps({**content, **change}))
        with pytest.raises(StoreError, match=r"damaged, in card.json"):
            Model.load(tmp_path)
    # without checksums, as version 0.1 wrote it
    del content["sha256"], content["artifact"]
    card.write_text(json.dumps(content))
    assert Model.load(tmp_path).digest == model.digest
    for change, words in (
        ({"colour": 1}, "it has .*colour"),
        ({"columns": "abc"}, "columns is 'abc'; it should be a list"),
        ({"seed": None}, "seed is None"),
    ):
        card.write_text(json.dumps({**content, **change}))
        with pytest.raises(StoreError, match=f"not the card of a model: {words}"):
            Model.load(tmp_path)


def test_missing_values_are_learned_where_they_were_seen(data):
    x, y, *_ = data
    gaps = x.copy()
    gaps[::3, 1] = np.nan
    model = train(gaps, y, objective="regression", num_boost_round=5, progress=False)
    assert model.missing == ("column 1",)
    assert np.isfinite(model.predict(gaps)).all()


def test_ranking_needs_its_queries(data):
    x, y, *_ = data
    relevance = np.clip(np.digitize(y, [0, 1, 2]), 0, 3)
    group = np.repeat(np.arange(600), 20)
    model = train(
        x, relevance, objective="lambdarank", group=group, num_boost_round=5, progress=False
    )
    assert np.corrcoef(model.predict(x), y)[0, 1] > 0.4
    with pytest.raises(ParameterError, match="needs group"):
        train(x, relevance, objective="lambdarank")


def test_bad_input_is_refused_in_words(data):
    client = "none of these gets so far as to ask it"
    x, y, classes, rows, *_ = data
    hole, gone, few = y.copy(), x.copy(), Rows((Part(rows.parts[0].path, atoms=(0, 30)),))
    hole[7], gone[:, 4] = np.nan, np.nan
    for arguments, options, words in (
        ((x, np.ones(12_000)), {}, "one class only"),
        ((x, y), {}, "a classifier needs 0 and 1"),
        ((x, hole), {"objective": "regression"}, "labels of x: row 7 is nan"),
        ((gone, classes), {}, "'column 4' is NaN in all rows"),
        ((x, y[:5]), {}, r"shape \(5,\)"),
        ((x, classes), {"objective": "guess"}, "objective='guess'"),
        ((x,), {}, "no labels"),
        ((x, classes), {"early_stopping": 5}, "needs valid"),
        ((x, classes), {"params": {"seed": 3}}, "params has seed"),
        ((few, classes[:30]), {"client": client, "ranks": 2}, "30 rows for 2 ranks"),
        ((x, classes), {"num_boost_round": 0}, "num_boost_round=0; the minimum is 1"),
        ((x, classes), {"client": client, "ranks": 2}, "give Rows"),
        ((x, classes), {"ranks": 2}, "needs client"),
        ((rows, classes), {"engine": "xgboost"}, "engine='xgboost'"),
        ((x, classes), {"weights": -(y**2)}, "are negative"),
    ):
        with pytest.raises(ParameterError, match=words):
            train(*arguments, **options)


def test_rounds_is_the_old_name_of_num_boost_round(data):
    x, y, *_ = data
    options = {"objective": "regression", "progress": False, "threads": 1}
    with pytest.warns(FutureWarning, match="rounds= is num_boost_round="):
        old = train(x, y, rounds=3, **options)
    assert old.text == train(x, y, num_boost_round=3, **options).text
    assert old.card["rounds"] == 3


def test_failures_of_ranks_are_values(tmp_path):
    """Reasons become the exceptions they stand for, and failures compare by what happened."""
    from mgdask.learn.training.outcomes import AttemptFailure, RankOutcome, Reason, refusal_reason
    from mgdask.learn.training.rank_host import _outcome
    from mgdask.learn.training.rank_worker import _failure_reason
    from mgdask.store.failures import SourceChangedError

    assert refusal_reason(SourceChangedError("changed")) is Reason.STORE
    for reason, kind in ((Reason.PARAMETER, ParameterError), (Reason.STORE, StoreError)):
        refusal = RankOutcome(reason, "why").refusal()
        assert type(refusal) is kind
        assert str(refusal) == "why"
    assert RankOutcome(Reason.FAILED, "why").refusal() is None
    broken = ConnectionError("the connection to rank 1 broke: it has ended")
    assert _failure_reason(broken) is Reason.NETWORK
    assert _failure_reason(lightgbm.basic.LightGBMError("Check failed: x")) is Reason.FAILED
    log = tmp_path / "log"
    log.write_text("first\nlast\n\n")
    for code, outcome in (
        (0, RankOutcome(Reason.FINISHED)),
        (-9, RankOutcome(Reason.KILLED, "9")),
        (-11, RankOutcome(Reason.CRASHED, "11")),
        (1, RankOutcome(Reason.FAILED, "last")),
    ):
        assert _outcome(code, tmp_path / "none.json", log) == outcome
    one, other = (AttemptFailure(Reason.SILENT, 1, "a", "x", seconds) for seconds in (3.0, 9.0))
    assert one == other
    assert str(one) != str(other)
