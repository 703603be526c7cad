"""Memory that runs out in a background thread: the command ends with its one message."""

from __future__ import annotations

import logging
import re
import sys
import threading

import pytest

from mgdask.exhaustion import ended_without_memory, is_lack_of_memory
from tests import forked

PRELUDE = """
import asyncio, concurrent.futures, resource, threading, time
import mgdask.exhaustion
from mgdask.__main__ import program

def fill():
    with open("/proc/self/status") as status:
        size = next(int(line.split()[1]) for line in status if line.startswith("VmSize"))
    resource.setrlimit(resource.RLIMIT_AS, (size * 1024, -1))
    full = []
    for length in (2**24, 2**20, 2**16, 2**12):
        try:
            while True:
                full.append(bytearray(length))
        except MemoryError:
            pass
    return full

def broken(*args):
    raise MemoryError
"""
DEATHS = {
    "loop-without-memory": """
    def select(timeout):
        global full
        full = fill()  # a real limit: this process gets no other page
        return bytearray(2**24)
    loop._selector.select = select
    """,
    "loop-without-a-word": """
    def end():
        raise SystemExit
    loop.call_soon_threadsafe(end)
    """,
    "loop-that-never-began": """
    from zarr.core import sync
    sync.iothread[0] = threading.Thread(target=print)  # it could not be started
    """,
    "callback-of-loop": """
    time.sleep(0.6)  # until the watch has seen the loop
    loop.call_soon_threadsafe(broken)
    """,
    "callback-of-future": """
    done = concurrent.futures.Future()
    done.add_done_callback(broken)
    done.set_result(None)
    """,
    "thread-before-its-first-step": """
    mgdask.exhaustion.LOOKS, mgdask.exhaustion.INTERVAL = 4, 0.1
    thread = threading.Thread(target=print)
    thread._bootstrap = lambda: None  # ends at once
    thread.start()
    """,
}
"""What happens while zarr waits for its loop; every one made a command wait forever."""
NO_THREAD = """
import threading
from mgdask.__main__ import program

start = threading.Thread.start
def refused(thread):
    if thread.name == "zarr_io":
        raise RuntimeError("can't start new thread")
    start(thread)
threading.Thread.start = refused
program()
"""
"""Zarr waited for its thread when the store was read again."""
MESSAGE = re.compile(r"mgdask: this process ran out of memory[^\n]*Give it more memory[^\n]*\n")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("death", DEATHS)
def test_a_command_ends_if_memory_runs_out_in_a_thread(glass_store, death):
    lost = f"""
def lost(coroutine, loop):
    coroutine.close()
{DEATHS[death]}
    loop.call_soon_threadsafe(int)
    return concurrent.futures.Future()
asyncio.run_coroutine_threadsafe = lost
program()
"""
    ran = forked.run(PRELUDE + lost, "inspect", glass_store, timeout=30)
    assert ran.returncode == 1, ran
    assert MESSAGE.fullmatch(ran.stderr), ran
    assert not ran.stdout


def test_a_command_ends_if_zarr_can_start_no_thread(glass_store):
    ran = forked.run(NO_THREAD, "inspect", glass_store, timeout=30)
    assert ran.returncode == 1, ran
    assert re.fullmatch(r"mgdask: this process can start no more threads[^\n]*\n", ran.stderr), ran


def test_other_errors_of_threads_are_shown_as_usual(monkeypatch):
    shown = []
    monkeypatch.setattr(threading, "excepthook", shown.append)

    def fail():
        raise KeyError("mine")

    with ended_without_memory(lambda: pytest.fail("no lack of memory")):
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    assert [args.exc_type for args in shown] == [KeyError]


def test_hooks_are_put_back():
    hooks = threading.excepthook, sys.unraisablehook
    with ended_without_memory(lambda: pytest.fail("no lack of memory")):
        assert threading.excepthook != hooks[0]
        assert sys.unraisablehook != hooks[1]
        assert not logging.raiseExceptions  # a log line without memory shows no traceback
    assert logging.raiseExceptions
    assert (threading.excepthook, sys.unraisablehook) == hooks


@pytest.mark.parametrize(
    ("error", "is_lack"),
    [
        (MemoryError(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("can't start new thread"), True),
        (OSError(2, "No such file"), False),
        (RuntimeError("another"), False),
        (None, False),
    ],
)
def test_lack_of_memory(error, is_lack):
    assert is_lack_of_memory(error) is is_lack


AGAIN = """
import sys
import mgdask
try:
    mgdask.open_store(sys.argv[1])
except mgdask.errors.MgdaskError as error:
    assert "can start no more threads" in str(error), error
threading.Thread.start = start
print(dict(mgdask.open_store(sys.argv[1]).sizes)["frame"] > 0)
"""


def test_a_store_can_be_opened_when_threads_can_start_again(glass_store):
    ran = forked.run(NO_THREAD.replace("program()", AGAIN), glass_store, timeout=30)
    assert ran.stdout == "True\n", ran
    assert "Traceback" not in ran.stderr, ran
