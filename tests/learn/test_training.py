"""Training on ranks: the same model as in one process, and after the loss of ranks, workers and clients."""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from distributed import Client, LocalCluster

from mgdask.cluster import local_client
from mgdask.errors import ParameterError, RunError, StoreError
from mgdask.execution.records import record
from mgdask.learn import Part, Rows, train
from mgdask.learn.evaluation.bootstrap import bootstrap
from mgdask.learn.training import rank_host, supervisor
from mgdask.learn.training.outcomes import RankOutcome, Reason
from mgdask.learn.training.rank_worker import read_small, row_range, write_in_place
from mgdask.store import features
from mgdask.store.layout import BlockLayout
from mgdask.store.manifest import Manifest
from mgdask.store.shards import open_group, write_shard
from tests.conftest import NO_PORT
from tests.forked import Forked
from tests.learn.forked_rank import HOLD, RANK, ForkedRank
from tests.learn.test_boosting import table

os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # threads that spin for each other stand still on a busy machine
pytest.importorskip("lightgbm")
PATIENT = 240.0
"""Seconds to wait for what takes one on a quiet machine."""
QUICK = {"objective": "regression", "num_boost_round": 300, "progress": False, "threads": 1}
QUICK["params"] = {"num_leaves": 15, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A matrix with labels, classes, weights and queries in files."""
    base = tmp_path_factory.mktemp("table")
    x, y, classes = table(12_000)
    rng = np.random.default_rng(7)
    queries = np.repeat(np.arange(1000), rng.multinomial(11_000, np.full(1000, 1e-3)) + 1)
    relevance = np.digitize(y, [0.0, 1.0, 2.0]).astype(np.float32)
    weights = rng.uniform(0.5, 2.0, len(x)).astype(np.float32)
    for name, values in {
        "x": x,
        "y": y,
        "classes": classes,
        "weights": weights,
        "queries": queries[: len(x)],
        "relevance": relevance,
    }.items():
        np.save(base / f"{name}.npy", values)
    return base


def rows_of(files, labels, **more):
    about = {name: str(files / f"{file}.npy") for name, file in {"labels": labels, **more}.items()}
    return Rows((Part(str(files / "x.npy")),), **about)


@pytest.fixture(scope="module")
def client():
    """Client of two workers in this process; their ranks are processes."""
    with (
        pytest.MonkeyPatch.context() as patch,
        LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            processes=False,
            protocol="tcp://",
            host="127.0.0.1",
            dashboard_address=NO_PORT,
            memory_limit=0,
        ) as cluster,
        Client(cluster) as client,
    ):
        forking = SimpleNamespace(
            Popen=ForkedRank, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired
        )
        patch.setattr(rank_host, "subprocess", forking)
        yield client


def wait_for(condition, what):
    """The first true value of ``condition``."""
    until = time.monotonic() + PATIENT
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError(f"{what} never came")


def left_over(folder):
    """Ranks that live, of the training in ``folder``."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = process.cmdline()
            own = "mgdask.learn.training.rank_worker" in line and str(folder) in line
            forked = process.name() == RANK and process.cwd() == str(folder)
            if (own or forked) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def nothing_left(folder):
    wait_for(lambda: not left_over(folder), "the end of all ranks")


def training_rank(folder, rank):
    """Process of a rank that trains, once a checkpoint is there."""

    def look():
        for path in Path(folder).glob(f"attempt-*/rank-{rank}.json"):
            seen = read_small(path)
            is_there = (Path(folder) / "checkpoint.json").exists()
            if is_there and seen.get("iteration", 0) > 0 and psutil.pid_exists(seen["pid"]):
                return seen["pid"]
        return None

    return wait_for(look, "a checkpoint")


@contextlib.contextmanager
def beside(function):
    """Runs ``function`` in a thread; its error is raised at the end."""
    errors = []

    def run():
        try:
            function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()
    if errors:
        raise errors[0]


@pytest.fixture(scope="module")
def undisturbed(files):
    return train(rows_of(files, "y"), **QUICK).text


SLOW = pytest.mark.slow
"""Each rank is a process, which costs a second or two before it trains."""


@pytest.mark.parametrize("numbers", [(3,), pytest.param((1, 2, 4), marks=SLOW)])
def test_regression_and_its_early_stopping_have_the_same_bits_on_any_number_of_ranks(
    files, client, tmp_path, numbers
):
    x, y, _ = table(12_000)
    xv, yv, _ = table(4000, seed=1)
    options = {
        "objective": "regression",
        "num_boost_round": 200,
        "early_stopping": 3,
        "valid": (xv, yv),
        "progress": False,
    }
    options |= {"params": {"learning_rate": 0.5, "num_leaves": 15}, "threads": 1}
    one = train(x, y, **options)
    assert 3 < one.best_iteration < 195
    assert len(one.history["rmse"]) == one.best_iteration + 4
    for ranks in numbers:
        folder = tmp_path / str(ranks)
        model = train(rows_of(files, "y"), client=client, ranks=ranks, checkpoint=folder, **options)
        assert model.best_iteration == one.best_iteration, ranks
        assert model.text == one.text, ranks
        assert np.allclose(model.history["rmse"], one.history["rmse"], rtol=1e-11, atol=0)
        assert model.card["ranks"] == ranks
        assert not left_over(folder)


@pytest.mark.parametrize(
    ("objective", "labels", "more"),
    [
        pytest.param("binary", "classes", {}, marks=SLOW),
        ("binary", "classes", {"weights": "weights"}),
        pytest.param("regression", "y", {"weights": "weights"}, marks=SLOW),
        ("lambdarank", "relevance", {"group": "queries"}),
    ],
)
def test_hessians_in_place_of_counts_make_ranks_equal_to_one_process(
    files, client, objective, labels, more
):
    rows, (xv, _, _) = rows_of(files, labels, **more), table(4000, seed=1)
    one = train(rows, objective=objective, num_boost_round=20, threads=1, progress=False)
    two = train(
        rows,
        objective=objective,
        num_boost_round=20,
        client=client,
        ranks=2,
        threads=1,
        progress=False,
    )
    assert np.abs(one.predict(xv) - two.predict(xv)).max() < 1e-9
    assert np.corrcoef(one.predict(xv), table(4000, seed=1)[1])[0, 1] > 0.6


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A feature store: 60 frames of 200 atoms, 12 correlated columns, labels 0 and 1 of which 15 % are 1."""
    path, cut = tmp_path_factory.mktemp("store") / "f.zarr", BlockLayout(20, 100, 20)
    rng = np.random.default_rng(11)
    x = rng.normal(size=(60, 200, 4)) @ rng.normal(size=(4, 12)) + rng.normal(size=(60, 200, 12))
    hidden = (
        x[..., 0] + np.sin(x[..., 1]) + 0.5 * x[..., 2] * x[..., 3] + 3 * rng.normal(size=(60, 200))
    )
    arrays = {"sro": x, "plastic": (hidden > np.quantile(hidden, 0.85))[..., None].astype(float)}
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
        path, {}, {"atom_id": ("atom", np.arange(200)), "time": ("frame", np.arange(60.0))}, outputs
    )
    group = open_group(path, mode="r+")
    for name, values in arrays.items():
        for f in range(0, 60, 20):
            for a in (0, 100):
                wrote = write_shard(group, name, (f, a, 0), values[f : f + 20, a : a + 100])
                Manifest(path).append(record(wrote["file"], "", [wrote], 0.0))
    Manifest(path).finish("test")
    return str(path)


@pytest.mark.parametrize(
    ("params", "apart", "numbers"),
    [
        ({}, 1e-9, (2,)),
        pytest.param({}, 1e-9, (1, 3, 4), marks=SLOW),
        # counts and Hessians together: the choice of parameters with which single predictions do differ
        pytest.param({"min_data_in_leaf": 20}, 0.5, (3,), marks=SLOW),
    ],
)
def test_scores_of_a_classifier_agree_within_the_bootstrap_interval(
    store, client, params, apart, numbers
):
    learn = Rows((Part(store, frames=(0, 45)),), ("sro",), labels="plastic")
    held = Rows((Part(store, frames=(45, 60)),), ("sro",), labels="plastic")
    x, y = held.read(0, held.count()), held.values("labels")
    one = train(learn, num_boost_round=15, params=params, threads=1, progress=False).predict(x)
    interval = bootstrap("roc_auc", y, one, np.repeat(np.arange(15), 200), n_resamples=300)
    assert interval.low > 0.6
    for ranks in numbers:
        model = train(
            learn,
            num_boost_round=15,
            params=params,
            client=client,
            ranks=ranks,
            threads=1,
            valid=held,
            progress=False,
        )
        found = model.predict(x)
        value = bootstrap("roc_auc", y, found, n_resamples=20).value
        assert interval.low < value < interval.high, (params, ranks)
        # of all held rows, not of one share
        assert abs(model.history["auc"][-1] - value) < 1e-9
        assert np.abs(found - one).max() < apart


def test_a_rank_imports_lightgbm_alone():
    """Its optional packages take longer to import than LightGBM itself."""
    code = (
        "import sys; from mgdask.learn.training.rank_worker import import_lightgbm;"
        "import_lightgbm(); import lightgbm; print(sorted({'sklearn', 'dask'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_shares_of_ranks_are_cut_between_queries():
    starts = np.array([0, 7, 9, 20, 21, 40])
    for ranks in (1, 2, 3, 4):
        edges = [row_range(50, k, ranks, starts) for k in range(ranks)]
        assert edges[0][0] == 0
        assert edges[-1][1] == 50
        assert all(a[1] == b[0] and a[1] in starts for a, b in itertools.pairwise(edges))


def test_a_worker_makes_the_bins_that_this_process_makes(files, client, tmp_path):
    rows = rows_of(files, "y")
    options = {
        "objective": "regression",
        "num_boost_round": 2,
        "sample": 3000,
        "threads": 1,
        "progress": False,
    }
    read, threads = Rows.take, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Rows, "take", lambda *a: threads.append(threading.current_thread()) or read(*a)
        )
        train(rows, client=client, ranks=1, checkpoint=tmp_path / "worker", **options)
        # a thread of a worker has read the rows, not the caller's
        assert threads
        assert threading.main_thread() not in threads
        train(rows, checkpoint=tmp_path / "here", **options)
        assert threading.main_thread() in threads
    assert (tmp_path / "worker" / "bins.bin").read_bytes() == (
        tmp_path / "here" / "bins.bin"
    ).read_bytes()
    assert (tmp_path / "worker" / "bins.json").read_text() == (
        tmp_path / "here" / "bins.json"
    ).read_text()
    np.save(tmp_path / "bad.npy", np.where(np.arange(8) == 5, np.nan, np.load(files / "x.npy")))
    with pytest.raises(ParameterError, match="'column 5' is NaN in all rows"):
        train(
            Rows((Part(str(tmp_path / "bad.npy")),), labels=rows.labels),
            client=client,
            ranks=2,
            **options,
        )


@pytest.mark.filterwarnings("ignore:Parameter n_jobs will be ignored")
def test_the_stock_engine_trains(files, client):
    x, y, _ = table(4000, seed=1)
    model = train(
        rows_of(files, "y"),
        objective="regression",
        num_boost_round=20,
        client=client,
        engine="lightgbm.dask",
        trust_network=True,
        progress=False,
    )
    assert model.card["engine"] == "lightgbm.dask"
    assert np.corrcoef(model.predict(x), y)[0, 1] > 0.6
    stock = {"objective": "regression", "engine": "lightgbm.dask"}
    with pytest.raises(ParameterError, match=r"needs client="):
        train(rows_of(files, "y"), **stock)
    # its ranks listen on all addresses
    with pytest.raises(ParameterError, match=r"on 2 workers listens on all addresses"):
        train(rows_of(files, "y"), client=client, **stock)


def test_a_checkpoint_folder_that_others_can_write_is_refused(tmp_path):
    x, y, _ = table(300)
    options = {"objective": "regression", "num_boost_round": 2, "progress": False}
    train(x, y, checkpoint=tmp_path / "new" / "er", **options)
    assert (tmp_path / "new" / "er").stat().st_mode & 0o777 == 0o700
    for mode in (0o755, 0o775):  # folders of older versions, and of groups
        (tmp_path / oct(mode)).mkdir()
        (tmp_path / oct(mode)).chmod(mode)
        train(x, y, checkpoint=tmp_path / oct(mode), **options)
    for mode in (0o777, 0o1777):
        (tmp_path / oct(mode)).mkdir()
        (tmp_path / oct(mode)).chmod(mode)
        with pytest.raises(StoreError, match=r"not safe from other users: .* chmod go-w"):
            train(x, y, checkpoint=tmp_path / oct(mode), **options)
    (tmp_path / "0o777" / "inner").mkdir()
    with pytest.raises(StoreError, match=r"0o777 can be written by others"):
        train(x, y, checkpoint=tmp_path / "0o777" / "inner", **options)
    if os.getuid() == 0:
        (tmp_path / "theirs").mkdir()
        os.chown(tmp_path / "theirs", 65534, 65534)
        with pytest.raises(StoreError, match=r"theirs belongs to user 65534"):
            train(x, y, checkpoint=tmp_path / "theirs", **options)


def test_the_rank_that_was_killed_is_named_though_it_is_heard_of_last(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "BEAT", 0.001)
    threads, answers = {"a": 1, "b": 1}, iter([False] * 5)

    def rank(number, outcome, done):
        future = SimpleNamespace(status="finished", done=done, result=lambda: outcome)
        return supervisor._Rank(number, "ab"[number], future, 0.0, 0.0)

    def cause(late):
        client = SimpleNamespace(nthreads=lambda: threads)
        watch = supervisor.Supervisor(client, tmp_path, None, 2, 1, 1.0, 1, print)
        missing = rank(0, RankOutcome(Reason.NETWORK, "it has ended"), lambda: True)
        return watch._cause(tmp_path, [missing, late])

    killed = RankOutcome(Reason.KILLED, "9")
    late = rank(1, killed, lambda: next(answers, True))
    assert str(cause(late)) == "rank 1 on b was killed by signal 9"
    never = rank(1, killed, lambda: False)
    monkeypatch.setattr(supervisor, "GRACE", 0.0)
    assert str(cause(never)) == "rank 0 on a failed: it has ended"
    monkeypatch.setattr(supervisor, "GRACE", 20.0)
    del threads["b"]
    assert str(cause(never)) == "rank 1: its worker b is gone"


def busy_beside_a_sleeping_main_thread():
    threading.Thread(target=lambda: all(iter(lambda: True, False)), daemon=True).start()
    time.sleep(PATIENT)


def test_a_rank_is_alive_if_any_of_its_threads_wants_a_core():
    """On a busy machine its main thread waits for a peer while its heartbeat waits for a core."""
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=busy_beside_a_sleeping_main_thread)
    process.start()
    try:
        main = psutil.Process(process.pid)
        wait_for(lambda: len(main.threads()) > 1 and main.status() == "sleeping", "its thread")
        wait_for(lambda: rank_host._is_alive(process.pid), "a sign of life")
        os.kill(process.pid, signal.SIGSTOP)
        wait_for(lambda: not rank_host._is_alive(process.pid), "the stop of its threads")
    finally:
        process.kill()
        process.join()
    assert not rank_host._is_alive(process.pid)


@SLOW  # a new interpreter; that all ranks are started with -P is asserted by ForkedRank
def test_a_rank_imports_no_module_of_the_folder_it_runs_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rank_host, "subprocess", subprocess)
    (tmp_path / "psutil.py").write_text("open('planted', 'w')")
    (tmp_path / "attempt-1").mkdir()
    rank_host.run_rank(str(tmp_path), "attempt-1", 0, 1, "127.0.0.1", 1, "")
    assert "job.json" in (tmp_path / "attempt-1" / "rank-0.log").read_text()
    assert not (tmp_path / "planted").exists()


LONGER = pytest.mark.training


@pytest.mark.parametrize(
    ("rank", "how"),
    [
        pytest.param(0, signal.SIGKILL, marks=LONGER),
        (1, signal.SIGKILL),
        (1, signal.SIGSTOP),
        pytest.param(0, signal.SIGSTOP, marks=LONGER),
    ],
)
def test_a_lost_rank_costs_the_rounds_since_the_checkpoint(
    files, client, tmp_path, undisturbed, rank, how
):
    hit = []
    (tmp_path / HOLD).touch()  # no training is over before it is hit

    def strike():
        try:
            hit.append(training_rank(tmp_path, rank))
            os.kill(hit[0], how)
        finally:
            (tmp_path / HOLD).unlink()

    with beside(strike):
        model = train(
            rows_of(files, "y"), client=client, ranks=2, checkpoint=tmp_path, stall=3.0, **QUICK
        )
    assert model.text == undisturbed
    word = "killed by signal 9" if how == signal.SIGKILL else "gave no sign of life for "
    # on a very busy machine, a healthy rank may be taken for a lost one besides
    assert any(word in text for text in model.card["recovered"])
    assert not left_over(tmp_path)
    assert not psutil.pid_exists(hit[0])


# lost ranks, and real ranks of real workers in test_a_killed_client, are there by default
@pytest.mark.parametrize(
    "how", [pytest.param(signal.SIGKILL, marks=SLOW), pytest.param(signal.SIGSTOP, marks=LONGER)]
)
def test_a_lost_worker_is_replaced(files, tmp_path, undisturbed, how, monkeypatch):
    monkeypatch.setattr("mgdask.learn.training.supervisor.GRACE", 5.0)
    with local_client(2) as own:
        pids = own.run(os.getpid)
        victim = pids[max(pids)]

        def strike():
            training_rank(tmp_path, 1)
            os.kill(victim, how)

        with beside(strike):
            model = train(
                rows_of(files, "y"), client=own, ranks=2, checkpoint=tmp_path, stall=60.0, **QUICK
            )
        assert model.text == undisturbed
        assert bool(model.card["recovered"]) == (
            how == signal.SIGKILL
        )  # the rank of a stopped worker goes on
        if how == signal.SIGSTOP and psutil.pid_exists(victim):
            os.kill(victim, signal.SIGCONT)
    nothing_left(tmp_path)


SCRIPT = """
import sys, json
from mgdask.cluster import local_client
from mgdask.learn import Part, Rows, train
if __name__ == "__main__":
    about = json.loads(sys.argv[1])
    with local_client(2) as client:
        train(Rows.from_json(about["rows"]), client=client, ranks=2, checkpoint=about["folder"], **about["options"])
"""


def test_a_killed_client_leaves_nothing_and_the_next_one_goes_on(
    files, client, tmp_path, undisturbed, capsys
):
    rows, folder = rows_of(files, "y"), tmp_path / "work"
    about = json.dumps({"rows": rows.to_json(), "folder": str(folder), "options": QUICK})
    process = Forked(SCRIPT, about)
    training_rank(folder, 0)
    process.kill()
    process.wait()
    nothing_left(folder)
    state = json.loads((folder / "checkpoint.json").read_text())
    assert 0 < state["iteration"] < QUICK["num_boost_round"]
    model = train(rows, client=client, ranks=2, checkpoint=folder, **{**QUICK, "progress": True})
    assert f"continuing from round {state['iteration']}" in capsys.readouterr().err
    assert model.text == undisturbed
    again = train(rows, client=client, ranks=2, checkpoint=folder, **QUICK)
    assert again.text == undisturbed
    with pytest.raises(StoreError, match="checkpoint of another training"):
        train(rows, checkpoint=folder, **{**QUICK, "num_boost_round": 10})
    nothing_left(folder)


def test_two_clients_do_not_share_a_folder(files, client, tmp_path):
    rows, held = rows_of(files, "y"), {}

    (tmp_path / HOLD).touch()

    def refused():
        try:
            training_rank(tmp_path, 0)
            with pytest.raises(StoreError, match=r"another client \(process \d+ on .*\) trains in"):
                train(rows, client=client, ranks=1, checkpoint=tmp_path, **QUICK)
            held["refused"] = True
        finally:
            (tmp_path / HOLD).unlink()

    with beside(refused):
        train(rows, client=client, ranks=1, checkpoint=tmp_path, **QUICK)
    assert held["refused"]


def test_a_word_of_a_dead_client_does_not_lock_the_folder(files, client, tmp_path, monkeypatch):
    monkeypatch.setattr("mgdask.learn.training.supervisor.GRACE", 1.0)
    for k, host in enumerate((os.uname().nodename, "some-other-machine")):
        (tmp_path / str(k)).mkdir()
        write_in_place(
            tmp_path / str(k) / "control.json",
            {"attempt": "attempt-old", "beat": 9, "client": [host, 2**22 + 7, 1.0]},
        )
        options = {**QUICK, "num_boost_round": 2, "checkpoint": tmp_path / str(k)}
        assert train(rows_of(files, "y"), client=client, ranks=1, **options).best_iteration == 2


def test_retries_end(files, client, tmp_path):
    stop = threading.Event()

    def strike():
        while not stop.is_set():
            for pid in left_over(tmp_path):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def run():
        try:
            with pytest.raises(RunError, match="after 1 restarts"):
                train(
                    rows_of(files, "y"),
                    client=client,
                    ranks=2,
                    checkpoint=tmp_path,
                    retries=1,
                    **QUICK,
                )
        finally:
            stop.set()

    with beside(strike):
        run()


def test_a_failure_that_comes_again_is_not_tried_for_ever(files, client, tmp_path):
    broken = {**QUICK, "params": {"monotone_constraints": [1, 1]}}
    with pytest.raises(RunError, match=r"failed twice in the same way: rank \d on tcp.* failed: "):
        train(rows_of(files, "y"), client=client, ranks=2, checkpoint=tmp_path, **broken)
    nothing_left(tmp_path)


ORPHAN = """
import os, sys, time
from pathlib import Path
from mgdask.learn.training.heartbeat import PARENT, Heartbeat
folder = Path(sys.argv[1])
os.environ[PARENT] = sys.argv[2]
Heartbeat(folder, "attempt-1", 0)
time.sleep(60)
"""


def test_a_rank_whose_worker_died_while_it_was_imported_ends(tmp_path):
    """Its parent is another process by then, which would never be seen to go."""
    (tmp_path / "attempt-1").mkdir()
    (tmp_path / "control.json").write_text('{"attempt": "attempt-1", "beat": 1, "orphan": 300}')
    orphan = Forked(ORPHAN, tmp_path, 2**22 - 3)
    assert orphan.wait(30) == -signal.SIGKILL
