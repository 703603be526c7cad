"""Ranks of training that are forked from the server of ``tests/forked.py``."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import subprocess
import sys
import time
from multiprocessing import reduction
from pathlib import Path

from mgdask.learn.training.heartbeat import PARENT, Heartbeat
from mgdask.learn.training.rank_worker import _run

HOLD = "hold"
"""Name of a file in the checkpoint folder. While it is there, forked ranks go no further than some rounds."""
RANK = "mgdask-rank"
"""Name of the process of a forked rank."""


def forked_rank(words, secret, log, environment):
    """What ``python -m mgdask.learn.training.rank_worker`` does, in a process that has just been forked."""
    output = os.open(log, os.O_WRONLY)
    sys.stdin = open(secret.detach())
    for number in (1, 2):
        os.dup2(output, number)
    ctypes.CDLL(None).prctl(15, RANK.encode())  # PR_SET_NAME, by which ``left_over`` knows it
    os.chdir(words[0])
    round_done = Heartbeat.round_done

    def hold(heartbeat, iteration):
        round_done(heartbeat, iteration)
        while iteration > 50 and Path(HOLD).exists():
            time.sleep(0.01)

    Heartbeat.round_done = hold
    # its parent is the server
    os.environ.update({k: v for k, v in environment.items() if k != PARENT})
    sys.exit(_run(*words))


class ForkedRank:
    """A rank without the two seconds that a new interpreter needs to import LightGBM.

    It has the methods of ``subprocess.Popen`` that ``run_rank`` uses. The tests with worker
    processes start ranks as users do.
    """

    def __init__(self, command, *, stdin, stdout, stderr, env):
        module = [sys.executable, "-P", "-m", "mgdask.learn.training.rank_worker"]
        assert command[: len(module)] == module
        self.process = multiprocessing.get_context("forkserver").Process(
            target=forked_rank,
            args=(command[len(module) :], reduction.DupFd(stdin), stdout.name, env),
        )
        self.process.start()
        self.pid, self.kill = self.process.pid, self.process.kill

    def wait(self, timeout=None):
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("rank", timeout)
        return self.process.exitcode
