"""The tests themselves print no noise."""

from __future__ import annotations

import socket
import warnings

import pytest

from tests.conftest import threads_client, tracebacks

HEARTBEAT = """2026-11-30 14:33:58,138 - distributed.worker - ERROR - Failed to communicate with scheduler during heartbeat.
Traceback (most recent call last):
  File "worker.py", line 1, in heartbeat
CommClosedError: closed
"""
OTHER = """2026-11-30 14:33:59,001 - distributed.nanny - WARNING - Restarting worker
Traceback (most recent call last):
SystemExit
"""


def test_tracebacks_are_found_except_of_a_heartbeat():
    assert tracebacks("all is well\n") == tracebacks(HEARTBEAT) == ""
    assert tracebacks(HEARTBEAT + OTHER).startswith("Traceback")
    assert "SystemExit" in tracebacks("line\n" + OTHER + HEARTBEAT)


def test_clusters_of_tests_need_no_fixed_port():
    with socket.socket() as taken, warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            taken.bind(("127.0.0.1", 8787))
            taken.listen()
        except OSError:  # somebody has a dashboard open, which is just as good
            pass
        with threads_client(default=False) as client:
            assert client.submit(sum, [1, 2]).result() == 3


def test_a_port_that_is_in_use_is_an_error(pytestconfig):
    assert any("already in use" in line for line in pytestconfig.getini("filterwarnings"))
    with pytest.raises(UserWarning, match="Port 8787 is already in use"):
        warnings.warn("Port 8787 is already in use.\nPerhaps", UserWarning, stacklevel=1)
