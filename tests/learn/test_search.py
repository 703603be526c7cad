"""Search for parameters: the same table here, on workers, after kills; values and pruning against their definitions."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed.core import Status

from mgdask.cluster import local_client
from mgdask.errors import MissingDependencyError, ParameterError, RunError, StoreError
from mgdask.learn import Part, Rows, train
from mgdask.learn.data.splits import group_folds, undersample
from mgdask.learn.search import optimize as module
from mgdask.learn.search import trials as running
from mgdask.learn.search.journal import Journal, opened
from mgdask.learn.search.optimize import SPACE, search
from tests import forked
from tests.conftest import threads_client

optuna = pytest.importorskip("optuna")
lightgbm = pytest.importorskip("lightgbm")
OPTIONS = {"trials": 14, "folds": 3, "num_boost_round": 6, "seed": 5, "progress": False}


def table(n=900):
    """Nine groups; a rare class that depends on two of five columns."""
    rng = np.random.default_rng(11)
    x = rng.normal(size=(n, 5)).astype(np.float32)
    clean = x[:, 0] * x[:, 1] + x[:, 2]
    return x, (clean + rng.normal(size=n) > 1.5).astype(np.float32), np.arange(n) % 9, clean


@pytest.fixture(scope="module")
def undisturbed():
    x, y, groups, _ = table()
    return search(x, y, groups, **OPTIONS)


@pytest.fixture(scope="module")
def client():
    """Client of workers that are replaced though Dask gives up lost ones at once."""
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "0s"}),
        local_client(2) as client,
    ):
        client.no_workers_timeout = 120.0  # ends a test that Dask's default would hold up
        yield client


def test_values_are_those_of_lightgbm_and_scikit_learn(undisturbed):
    from sklearn.metrics import roc_auc_score

    x, y, groups, _ = table()
    splits = [split.rows(groups) for split in group_folds(groups, 3, 5, y)]
    for k, (training, testing) in enumerate(splits):
        assert not set(groups[training]) & set(groups[testing])
        training = training[undersample(y[training], 5 + k)]
        assert y[training].mean() == 0.5
        model = lightgbm.LGBMClassifier(
            n_estimators=6,
            random_state=5,
            n_jobs=1,
            deterministic=True,
            force_col_wise=True,
            verbosity=-1,
            **undisturbed.params,
        ).fit(x[training], y[training])
        score = roc_auc_score(y[testing], model.predict_proba(x[testing])[:, 1])
        assert abs(score - undisturbed.scores[k]) < 1e-12
    assert sorted(np.concatenate([testing for _, testing in splits])) == list(range(900))
    assert abs(np.mean(undisturbed.scores) - undisturbed.value) < 1e-15
    whole = [trial for trial in undisturbed.trials if trial["state"] == "complete"]
    assert undisturbed.value == max(trial["value"] for trial in whole)
    assert undisturbed.params == {
        **undisturbed.trials[undisturbed.number]["params"],
        "bagging_freq": 1,
    }
    train(
        x, y, params=undisturbed.params, num_boost_round=undisturbed.num_boost_round, progress=False
    )


def test_pruning_is_its_definition(undisturbed):
    """A trial goes on unless its mean so far is under the median of the complete trials of earlier batches."""
    x, y, groups, _ = table()
    stops = set()
    for found in (
        undisturbed,
        search(x, y, groups, **{**OPTIONS, "folds": 5, "batch": 3, "trials": 20}),
    ):
        for trial in found.trials:
            start = trial["number"] // found.batch * found.batch
            earlier = [t["scores"] for t in found.trials[:start] if t["state"] == "complete"]
            stop = found.folds
            if len(earlier) >= 5:
                for k in range(2, found.folds):
                    if np.mean(trial["scores"][:k]) < np.median(
                        [np.mean(one[:k]) for one in earlier]
                    ):
                        stop = k
                        break
            assert len(trial["scores"]) == stop
            assert trial["state"] == ("complete" if stop == found.folds else "pruned")
            assert abs(trial["value"] - np.mean(trial["scores"])) < 1e-15
            stops.add((found.folds, stop))
    assert {(3, 2), (3, 3), (5, 2), (5, 5)} <= stops


def test_a_planted_optimum_is_found():
    x, _, groups, clean = table()
    space = {"reg_lambda": (1e-3, 1e7, "log")}
    options = {**OPTIONS, "trials": 24, "objective": "regression", "params": {"eta": 0.3}}
    found = search(x, clean, groups, space=space, **options)
    assert found.metric == "rmse"
    assert set(found.params) == {"lambda_l2", "learning_rate"}
    assert (
        found.params["lambda_l2"] < 100
    )  # a few hundred rows a fold: larger ones keep leaves from learning
    assert (
        found.value
        == min(t["value"] for t in found.trials if t["state"] == "complete")
        < 0.8 * clean.std()
    )
    drawn = np.log10([trial["params"]["lambda_l2"] for trial in found.trials])
    assert drawn.min() < 0
    assert drawn[:12].max() > 4
    assert np.median(drawn[12:]) < np.median(
        drawn[:12]
    )  # ten are drawn at random before the estimator begins


def test_the_table_does_not_depend_on_workers(undisturbed, client):
    x, y, groups, _ = table()
    assert search(x, y, groups, client=client, **OPTIONS) == undisturbed
    assert search(x, y, groups, **{**OPTIONS, "seed": 6}).trials != undisturbed.trials
    assert search(x, y, groups, batch=3, **OPTIONS).trials[4:] != undisturbed.trials[4:]


def test_rows_in_files_are_the_matrix(undisturbed, client, tmp_path, monkeypatch):
    x, y, groups, _ = table()
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    rows = Rows((Part(str(tmp_path / "x.npy")),), labels=str(tmp_path / "y.npy"))
    sent = []
    monkeypatch.setattr(
        module,
        "ClusterRunner",
        lambda work, client: sent.append(work) or running.ClusterRunner(work, client),
    )
    for small in (2**30, 0):
        monkeypatch.setattr(module, "SMALL", small)
        assert search(rows, None, groups, client=client, **OPTIONS).trials == undisturbed.trials
    assert isinstance(sent[0].x, np.ndarray)
    assert sent[1].x is rows


def test_lost_workers_and_their_data_change_nothing(undisturbed, client, monkeypatch):
    x, y, groups, _ = table()
    calls = []

    def done(self, futures):
        calls.append(len(futures))
        if len(calls) == 4:
            pids = client.run(os.getpid, on_error="ignore")
            assert len(pids) == 2
            for pid in pids.values():
                os.kill(pid, signal.SIGKILL)
        return of_old(self, futures)

    of_old = running.ClusterRunner._done
    monkeypatch.setattr(running.ClusterRunner, "_done", done)
    assert search(x, y, groups, client=client, **OPTIONS) == undisturbed
    assert len(calls) > 20
    assert max(calls) <= 2


def test_a_worker_that_has_just_gone_is_not_sent_to(undisturbed, client, monkeypatch):
    x, y, groups, _ = table()
    client.wait_for_workers(2, timeout=120)
    threads, calls = client.nthreads, []

    def late():
        calls.append(1)
        gone = {"tcp://127.0.0.1:9": 1} if len(calls) % 2 else {}
        return {**threads(), **gone}

    monkeypatch.setattr(client, "nthreads", late)
    assert search(x, y, groups, client=client, **OPTIONS) == undisturbed
    assert len(calls) > 20


def test_no_worker_for_too_long_ends_the_search_in_words(monkeypatch):
    x, y, groups, _ = table()
    monkeypatch.setattr(running, "_POLL_INTERVAL", 0.1)
    with threads_client() as client:
        client.no_workers_timeout = 0.3
        (worker,) = client.cluster.workers.values()
        client.sync(paused, worker)
        with pytest.raises(RunError, match=r"none of the 1 connected .* paused for lack of memory"):
            search(x, y, groups, client=client, **OPTIONS)
        client.cluster.scale(0)
        while client.nthreads():
            time.sleep(0.01)
        with pytest.raises(RunError, match="no worker was connected for 0 s; start workers and"):
            search(x, y, groups, client=client, **OPTIONS)


async def paused(worker):
    worker.status = Status.paused


def test_all_workers_work(client, monkeypatch):
    """Copies of the work stay where they are, though Dask's memory manager looks for them every two seconds."""
    x, y, groups, _ = table()

    def slow(work, params, fold):
        import time

        from distributed import get_worker

        time.sleep(0.4)
        port = int(get_worker().address.rsplit(":")[-1])
        return running.FoldScore(len(work.y) + port / 1e5)

    monkeypatch.setattr(running, "score_fold", slow)
    client.wait_for_workers(2, timeout=120)
    found = search(x, y, groups, client=client, **{**OPTIONS, "trials": 8})
    used = {score for trial in found.trials for score in trial["scores"]}
    assert used == {900 + int(address.rsplit(":")[-1]) / 1e5 for address in client.nthreads()}
    for trial in found.trials:
        assert trial["state"] in ("complete", "pruned")


def test_a_trial_that_kills_its_worker_fails_and_the_others_go_on(client, monkeypatch):
    x, y, groups, _ = table()

    def deadly(work, params, fold):
        if 30 < params["num_leaves"] < 60:
            os.kill(os.getpid(), signal.SIGKILL)
        return running.FoldScore(params["num_leaves"] / 128)

    monkeypatch.setattr(running, "score_fold", deadly)
    client.wait_for_workers(2, timeout=120)
    found = search(x, y, groups, client=client, **{**OPTIONS, "trials": 5, "batch": 5})
    inside = [30 < trial["params"]["num_leaves"] < 60 for trial in found.trials]
    assert 0 < sum(inside) < 5
    for trial, bad in zip(found.trials, inside, strict=True):
        assert trial["state"] == ("failed" if bad else "complete")
        assert ("its worker was lost 3 times" in trial["error"]) == bad
        assert trial["value"] == (None if bad else trial["params"]["num_leaves"] / 128)
    assert f"{sum(inside)} failed" in str(found)


KILLED = """
import os, signal, sys
import numpy as np
from mgdask.learn.search import trials
from mgdask.learn.search.journal import Journal
from mgdask.learn.search.optimize import search
from tests.learn.test_search import OPTIONS, table

where, name, call = sys.argv[1:]
owner = Journal if name == "add" else trials
old, calls = getattr(owner, name), []
def dies(*arguments):
    calls.append(name)
    if len(calls) == int(call):
        os.kill(os.getpid(), signal.SIGKILL)
    return old(*arguments)
setattr(owner, name, dies)
x, y, groups, _ = table()
search(x, y, groups, storage=where, **OPTIONS)
"""


@pytest.mark.parametrize(("name", "call", "spared"), [("score_fold", 17, 16), ("add", 7, 24)])
def test_a_killed_search_goes_on(undisturbed, tmp_path, monkeypatch, name, call, spared):
    """Killed before its 17th fold, or between two trials of the second batch that are written."""
    path = tmp_path / "search.journal"
    process = forked.run(KILLED, path, name, call)
    assert process.returncode == -signal.SIGKILL
    Path(f"{path}.lock").symlink_to(path)  # as if killed while writing
    with open(path, "a") as stream:
        stream.write('{"op_code": 4, "trial_')
    x, y, groups, _ = table()
    folds = []
    monkeypatch.setattr(running, "score_fold", lambda *a: folds.append(a) or of_old(*a))
    assert search(x, y, groups, storage=path, **OPTIONS) == undisturbed
    assert len(folds) == sum(len(trial["scores"]) for trial in undisturbed.trials) - spared
    folds.clear()
    assert search(x, y, groups, storage=path, **OPTIONS) == undisturbed
    assert not folds
    study = optuna.load_study(
        study_name="mgdask search", storage=journal_storage(path)
    )  # as its own tools read it
    assert [t.number for t in study.trials] == list(range(14))
    assert study.best_value == undisturbed.value


of_old = running.score_fold


def journal_storage(path):
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))


def test_more_trials_and_time_go_on_from_those_there(undisturbed, tmp_path, capsys):
    x, y, groups, _ = table()
    path = tmp_path / "s"
    first = search(x, y, groups, storage=path, **{**OPTIONS, "trials": 6})
    assert first.trials == undisturbed.trials[:6]
    short = search(x, y, groups, storage=path, timeout=0.0, **{**OPTIONS, "progress": True})
    assert short == first
    assert "the timeout of 0 s is over" in capsys.readouterr().err
    assert search(x, y, groups, storage=path, **OPTIONS) == undisturbed
    assert search(x, y, groups, storage=path, **{**OPTIONS, "trials": 6}) == first


def test_storage_of_others_is_refused(tmp_path):
    x, y, groups, _ = table()
    options, path = {**OPTIONS, "trials": 1}, tmp_path / "s"
    search(x, y, groups, storage=path, **options)
    for other in (
        {"seed": 6},
        {"num_boost_round": 7},
        {"balance": False},
        {"space": {"eta": (0.1, 0.2, "log")}},
    ):
        with pytest.raises(StoreError, match="holds another search"):
            search(x, y, groups, storage=path, **{**options, **other})
    for data in ((x + 1, y, groups), (x, y, groups // 2), (x, 1 - y, groups)):
        with pytest.raises(StoreError, match="holds another search"):
            search(*data, storage=path, **options)
    with opened(tmp_path / "t", "d", "maximize") as held:
        assert isinstance(held, Journal)
        with pytest.raises(StoreError, match="used by another search"):
            search(x, y, groups, storage=tmp_path / "t", **options)
    (tmp_path / "u").write_text('{"a": 1}\n')
    with pytest.raises(StoreError, match="not a journal of a search"):
        search(x, y, groups, storage=tmp_path / "u", **options)
    optuna.create_study(study_name="mine", storage=journal_storage(tmp_path / "v"))
    with pytest.raises(StoreError, match=r"other programs \(mine\)"):
        search(x, y, groups, storage=tmp_path / "v", **options)


def test_a_search_says_what_it_found(undisturbed):
    plain = json.loads(json.dumps(undisturbed.as_dict(), allow_nan=False))
    assert plain["params"] == undisturbed.params
    assert plain["rounds"] == 6
    assert plain["space"]["num_leaves"] == list(SPACE["num_leaves"])
    frame = undisturbed.table()
    assert list(frame.number) == list(range(14))
    assert list(frame.columns)[3:9] == list(SPACE)
    assert frame.value.iloc[undisturbed.number] == undisturbed.value
    assert frame["fold 3"].isna().sum() == (frame.state == "pruned").sum() > 0
    text = str(undisturbed)
    assert "14 trials: " in text
    assert f"best roc_auc {undisturbed.value:.5g} over 3 folds" in text
    assert f"num_leaves = {undisturbed.params['num_leaves']}\n" in text
    for name, (low, high, _) in SPACE.items():
        assert all(low <= trial["params"][name] <= high for trial in undisturbed.trials)


def test_without_optuna(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependencyError, match=r"optuna.*pip install 'mgdask\[search\]'"):
        search(*table()[:3])


def test_bad_input_is_refused_in_words():
    x, y, groups, clean = table()
    for data, options, words in (
        ((x, y, groups[:5]), {}, "groups has 5 rows, but 900"),
        ((x, y, groups * 0), {}, "needs 3 groups"),
        ((x, y, (y + groups * 0)), {"folds": 2}, "one class only"),
        ((x, clean, groups), {}, "a classifier needs 0 and 1"),
        ((x, y, groups), {"objective": "lambdarank"}, "objective='lambdarank'"),
        ((x, y, groups), {"trials": 0}, "trials=0"),
        ((x, y, groups), {"batch": 1.5}, "batch=1.5"),
        ((x, y, groups), {"metric": "f1"}, "metric='f1'"),
        ((x, clean, groups), {"objective": "regression", "metric": "recall"}, "is for classes"),
        ((x, y, groups), {"space": {}}, "space is empty"),
        ((x, y, groups), {"space": {"eta": 5}}, r"space\['eta'\]=5"),
        ((x, y, groups), {"space": {"eta": (0, 1, "log")}}, "low above 0"),
        ((x, y, groups), {"space": {"max_depth": (2, 5.5, "int")}}, "integers"),
        ((x, y, groups), {"space": {"eta": (1, 0, "linear")}}, "low < high"),
        (
            (x, y, groups),
            {"space": {"eta": (0.1, 1, "linear"), "learning_rate": (0.1, 2, "log")}},
            "two names",
        ),
        (
            (x, y, groups),
            {"space": {"n_estimators": (5, 50, "int")}},
            "num_iterations cannot be searched",
        ),
        (
            (x, y, groups),
            {"params": {"shrinkage_rate": 0.1}},
            "learning_rate: in both space and params",
        ),
        ((x, y, groups), {"seed": -1}, "seed=-1"),
        ((x, y, groups), {"columns": ("a",)}, "1 names for 5 columns"),
    ):
        with pytest.raises(ParameterError, match=words):
            search(*data, **{**OPTIONS, **options})
    with pytest.raises(
        RunError, match=r"all of the first 4 trials failed, the first in fold 1: .*max_bin"
    ):
        search(x, y, groups, params={"max_bin": 1}, **OPTIONS)


def test_early_stopping_scores_the_best_round():
    """Against LightGBM's own curve of the fold: five rounds without a better one end it, after one more."""
    x, _, groups, clean = table()
    options = {"trials": 1, "folds": 3, "seed": 5, "progress": False, "objective": "regression"}
    found = search(x, clean, groups, num_boost_round=200, early_stopping=5, **options)
    fixed = {
        "objective": "regression", "metric": "rmse", "verbosity": -1, "seed": 5,
        "deterministic": True, "force_col_wise": True, "num_threads": 1,
        "feature_pre_filter": False,
    }  # fmt: skip
    for k, split in enumerate(group_folds(groups, 3, 5)):
        training, testing = split.rows(groups)
        data = lightgbm.Dataset(x[training], clean[training], params={**found.params, **fixed})
        curves: dict = {}
        lightgbm.train(
            {**found.params, **fixed},
            data,
            200,
            [data.create_valid(x[testing], clean[testing])],
            callbacks=[lightgbm.record_evaluation(curves)],
        )
        curve = np.array(curves["valid_0"]["rmse"])
        end = next(n for n in range(6, 200) if n - 1 - np.argmin(curve[:n]) == 5)
        assert end < 190
        assert found.scores[k] == pytest.approx(curve[: end + 1].min(), rel=1e-6)
    assert found.as_dict()["early_stopping"] == 5
    without = search(x, clean, groups, num_boost_round=200, **options)
    assert without.digest != found.digest
    with pytest.raises(ParameterError, match="early_stopping=-1; the minimum is 0"):
        search(x, clean, groups, early_stopping=-1, **options)
