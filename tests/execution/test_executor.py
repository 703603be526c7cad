"""Carrying out tasks: bounded flight, typed results, early ends, progress as log lines."""

from __future__ import annotations

import logging
import pickle
import threading
import time

import pytest
from distributed import Client, LocalCluster

from mgdask.errors import ParameterError
from mgdask.execution import executor, progress
from mgdask.execution.executor import execute
from mgdask.execution.results import LostTasksError, NoWorkersError, TasksFailedError, describe
from mgdask.store.failures import StorageFullError
from tests.conftest import NO_PORT, threads_client


@pytest.fixture(scope="module")
def threads():
    """Two threads of this process, not the default client."""
    with threads_client(2, default=False) as client:
        yield client


@pytest.fixture
def package_logger():
    """The logger of the package, restored afterwards."""
    logger = logging.getLogger("mgdask")
    level, handlers = logger.level, list(logger.handlers)
    logger.setLevel(logging.NOTSET)
    logger.handlers.clear()
    yield logger
    logger.setLevel(level)
    logger.handlers[:] = handlers


CALLS: list[int] = []
"""Arguments of the calls in this process. Functions of the module are pickled by name."""
STARTED = threading.Event()


@pytest.fixture(autouse=True)
def _forget():
    CALLS.clear()


def square(k):
    time.sleep(0.01 * (k % 3))
    return k**2


def picky(k):
    CALLS.append(k)
    if k == 3:
        raise ParameterError("not 3")
    return k


def fragile(k):
    CALLS.append(k)
    if k == 2:
        raise ZeroDivisionError("two")
    return k


def full(k):
    CALLS.append(k)
    raise StorageFullError("full")


def slow(k):
    STARTED.set()
    time.sleep(0.3)
    return k


def tasks_of(n):
    return [(f"task {k}", (k,)) for k in range(n)]


def quick(client, function, tasks, **options):
    return execute(client, function, tasks, what="test", progress=False, **options)


def test_results_by_name_with_few_tasks_in_flight(threads, monkeypatch):
    submitted, finished, most = [], [], []
    lock = threading.Lock()
    submit = threads.submit

    def counting(*words, **options):
        with lock:
            submitted.append(1)
            most.append(len(submitted) - len(finished))
        return submit(*words, **options)

    def keep(name, result):
        finished.append(name)
        return result + 1

    monkeypatch.setattr(threads, "submit", counting)
    outcome = quick(threads, square, tasks_of(30), keep=keep)
    assert outcome.results == {f"task {k}": k**2 + 1 for k in range(30)}
    assert not outcome.failures
    assert max(most) == 4  # two per thread


def test_a_refusal_is_not_retried_and_the_rest_is_done(threads):
    outcome = quick(threads, picky, tasks_of(6), strict=False)
    assert CALLS.count(3) == 1
    assert set(outcome.results.values()) == {0, 1, 2, 4, 5}
    assert isinstance(outcome.failures["task 3"], ParameterError)
    with pytest.raises(ParameterError, match="not 3"):
        quick(threads, picky, tasks_of(6))


def test_other_errors_are_retried_and_named(threads):
    with pytest.raises(TasksFailedError, match=r"test: 1 of 4 blocks failed, first task 2: Zero"):
        quick(threads, fragile, tasks_of(4), retries=1)
    assert CALLS.count(2) == 2


def test_a_full_disk_ends_early(threads):
    with pytest.raises(StorageFullError):
        quick(threads, full, tasks_of(100))
    assert len(CALLS) < 20


def test_no_workers():
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=NO_PORT) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.no_workers_timeout = 0.1
        with pytest.raises(NoWorkersError, match="no worker was connected for 0 s") as failure:
            quick(client, abs, tasks_of(3))
    assert failure.value.seconds == 0.1


def test_a_task_that_is_lost_is_a_failure(threads):
    """Futures that are cancelled elsewhere must not hang the loop."""

    def cancelling(*words, **options):
        future = submit(*words, **options)
        futures.append(future)
        return future

    futures, submit = [], threads.submit
    canceller = threading.Thread(
        target=lambda: (STARTED.wait(), [future.cancel() for future in list(futures)])
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "submit", cancelling)
        canceller.start()
        outcome = quick(threads, slow, tasks_of(3), strict=False)
        canceller.join()
    assert outcome.failures
    assert "ancelled" in describe(next(iter(outcome.failures.values())))


def test_a_task_that_dask_loses_is_an_error(threads, monkeypatch):
    """If a thread of Dask runs out of memory, its task is neither run nor refused."""

    def losing(*words, **options):
        return submit(*words, **options, resources={"none has this": 1})

    submit = threads.submit
    monkeypatch.setattr(threads, "submit", losing)
    monkeypatch.setattr(executor, "POLL_INTERVAL", 0.05)
    with pytest.raises(LostTasksError, match=r"none has run for 1 s.*ulimit -v"):
        quick(threads, square, tasks_of(3))


def test_tasks_that_take_longer_than_the_looks_are_not_lost(threads, monkeypatch):
    monkeypatch.setattr(executor, "POLL_INTERVAL", 0.02)
    outcome = quick(threads, time.sleep, [("one", (0.6,)), ("two", (0.6,))])
    assert len(outcome.results) == 2


def test_errors_survive_pickling():
    for error in (
        LostTasksError(40.0),
        NoWorkersError(3.0),
        TasksFailedError("ingest", "blocks", 2, {"a": ValueError("x")}),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert str(again) == str(error)
        assert type(again) is type(error)


def lines(capsys):
    return capsys.readouterr().err.splitlines()


def report(n=3):
    with progress.ProgressReporter("featurize", 10, "blocks", True) as reporter:
        reporter.update(n, 1, 2)
        reporter.update(0, 0, 0)


def test_progress_is_logged(package_logger, capsys, monkeypatch):
    monkeypatch.setattr(progress, "REPORT_INTERVAL", 0.0)
    progress.configure_logging(logging.INFO)
    report()
    first, second = lines(capsys)
    assert first[8:].startswith(" featurize: 3 of 10 blocks, 1 failed, 2 threads, about 0 min left")
    assert second[8:] == " featurize: 0 of 10 blocks, 0 failed, waiting for workers"
    package_logger.warning("careful")
    assert lines(capsys)[0][8:] == " WARNING careful"
    progress.configure_logging(logging.WARNING)
    report()
    assert lines(capsys) == []
    assert len(package_logger.handlers) == 1


def test_one_line_per_minute(package_logger, capsys):
    progress.configure_logging()
    report()
    assert lines(capsys) == []


def test_an_application_that_configured_logging_keeps_it(package_logger, monkeypatch):
    """Its handlers get the lines, and its level is respected."""
    monkeypatch.setattr(progress, "REPORT_INTERVAL", 0.0)
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    package_logger.addHandler(handler)
    report()
    assert [record.name for record in records] == ["mgdask.execution"] * 2
    assert package_logger.handlers == [handler]
    records.clear()
    package_logger.setLevel(logging.ERROR)
    report()
    assert records == []
