"""A clock that is set back while Dask computes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mgdask.execution import steady
from tests import forked

CODE = """
import threading, time
true, ahead = time.time, [0.0]
def clock(*loop):
    return true() + ahead[0]
time.time = clock
from distributed import batched
from tornado.ioloop import IOLoop
batched.time = IOLoop.time = clock  # they have the built-in one under other names
from mgdask.execution.client import resolve_client

with resolve_client(threads=2) as client:
    futures = client.map(lambda k: time.sleep(0.001), range(300), pure=False)
    while not any(future.done() for future in futures):
        time.sleep(0.001)
    for _ in range(30):  # a message waits only if it was about to be sent
        ahead[0] -= 3600.0
        time.sleep(0.003)
    client.gather(futures)
    print("gathered")
"""


def test_messages_of_dask_do_not_wait_for_a_clock_that_was_set_back():
    ran = forked.run(CODE, timeout=30)  # it waited for an hour
    assert ran.stdout == "gathered\n", ran


@pytest.fixture
def clocks(monkeypatch):
    now = SimpleNamespace(wall=1e9, ticks=50.0)
    fake = SimpleNamespace(time=lambda: now.wall, monotonic=lambda: now.ticks)
    monkeypatch.setattr(steady, "time", fake)
    monkeypatch.setattr(steady, "_offset", float("-inf"))
    return now


@pytest.mark.parametrize(("step", "seen"), [(0.0, 2.0), (-3600.0, 2.0), (30.0, 32.0)])
def test_time_passes_as_on_a_clock_that_is_never_set_back(clocks, step, seen):
    began = steady.steady_time()
    assert began == 1e9
    clocks.ticks += 2.0
    clocks.wall += 2.0 + step
    assert steady.steady_time() - began == seen
