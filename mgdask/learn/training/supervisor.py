"""The client's side of distributed training: ranks on workers, a watchdog, and going on after a loss."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from mgdask import errors
from mgdask.errors import MgdaskError, RunError, StoreError
from mgdask.learn.training.rank_worker import BEAT, host, read_small, write_in_place
from mgdask.learn.training.rounds import Job, State

GRACE = 20.0
"""Seconds that ranks get to end after they were told to."""
QUIET = 120.0
"""Seconds that ranks which live may at least take for a step, whatever ``stall`` says: the first one loads libraries."""


@dataclass
class _Rank:
    """What the watchdog last saw of a rank."""

    address: str
    future: Any
    moved: float
    ticked: float
    longest: float = 0.0
    steps: int = -1
    ticks: tuple[int, int] = (-1, -1)
    phase: str = "has not started"
    pid: int = 0


@dataclass
class Watch:
    """Trains ``job`` on workers of ``client``, with files in ``folder``, which all of them see.

    ``ranks`` wanted (None: one a worker). All ranks are killed after ``stall`` seconds without a sign of life of one of them (a
    heartbeat, or its worker sees that it waits for a core or a disk), or without a step of any of them, where a step may
    also take ``QUIET`` seconds, or four times as long as the longest so far. At most ``retries`` restarts from the
    checkpoint; ``RunError`` after that, and at once for a failure that comes a second time in the same round.
    """

    client: Any
    folder: Path
    job: Job
    ranks: int | None
    threads: int | None
    stall: float
    retries: int
    say: Callable[[str], None]
    recovered: list[str] = field(default_factory=list)
    _bad: set[str] = field(default_factory=set)
    _beat: int = 0
    _changed: int = 0

    def run(self) -> tuple[State, int]:
        """The finished state, and the ranks of the last attempt."""
        self._alone()
        last = ("", -1)
        while True:
            addresses = self._workers()
            trouble = self._attempt(addresses)
            state = State.load(self.folder, self.job.digest)
            if not trouble and state.finished:
                for left in self.folder.glob("attempt-*"):
                    shutil.rmtree(left, ignore_errors=True)
                return state, len(addresses)
            trouble = trouble or "the ranks ended before the last round"
            self.recovered.append(trouble)
            again, last = last == (trouble, state.iteration), (trouble, state.iteration)
            own = re.search(
                r" failed: |signal (4|6|8|11)$", trouble
            )  # not the word of one that lost another
            if again and own and not re.search("ocket|onnect|inding", trouble):
                raise RunError(
                    f"training stopped at round {state.iteration} of {self.job.rounds}, where it failed twice alike: {trouble}. Most "
                    "often a parameter in params is the cause; change it, with another checkpoint folder"
                )
            if len(self.recovered) > self.retries:
                raise RunError(
                    f"training stopped at round {state.iteration} of {self.job.rounds} after {self.retries} restarts; the last "
                    f"trouble: {trouble}. The checkpoint stays in {self.folder}: the same call goes on from there"
                )
            self.say(f"{trouble}; all ranks ended, going on from round {state.iteration}")

    def _alone(self) -> None:
        # a client that was killed left its word behind, one that lives goes on counting
        path = self.folder / "control.json"
        before = read_small(path)
        if not before.get("attempt"):
            return
        host, pid, since = before.get("client", ("", 0, 0.0))
        taken = host == _me()[0] and _started(pid) == since
        if not taken:
            time.sleep(8 * BEAT if host == _me()[0] else 2 * GRACE)
            taken = read_small(path).get("beat") != before.get("beat")
        if taken:
            raise StoreError(
                f"{self.folder} is being trained in by another client; wait for it, or take another folder"
            )

    def _present(self) -> dict[str, int]:
        """Threads by address of the workers that the scheduler knows."""
        try:
            found: dict[str, int] = self.client.nthreads()
        except (
            Exception
        ) as error:  # it raises whatever a closed connection comes to, AttributeError among others
            raise RunError(
                f"the scheduler does not answer ({error}); make the same call with a new client: it goes on from the "
                f"checkpoint in {self.folder}"
            ) from error
        return found

    def _workers(self) -> list[str]:
        # sorted, so that ranks have the same order in every attempt and every run on the same workers
        until, told = time.monotonic() + self.stall, time.monotonic() + GRACE
        while True:
            threads = {a: n for a, n in self._present().items() if a not in self._bad}
            # one rank a worker first; more ranks than workers share the threads of a worker
            self.ranks = self.ranks or len(threads) or None
            slots = sorted((k, address) for address, n in threads.items() for k in range(n))
            found = sorted(address for _, address in slots[: self.ranks])
            late = time.monotonic() > until
            if found and (len(found) == self.ranks or late):
                return found
            if late:
                raise RunError(
                    f"no worker has been there for {self.stall:.0f} s; start workers and make the same call again: it goes on "
                    f"from the checkpoint in {self.folder}"
                )
            if time.monotonic() > told:
                told = until
                self.say(
                    f"{len(found)} of {self.ranks or 1} places for ranks; waiting for workers up to {self.stall:g} s"
                )
            time.sleep(BEAT)

    def _attempt(self, addresses: list[str]) -> str:
        """One try on these workers; what went wrong in words, empty for nothing."""
        name = f"attempt-{uuid.uuid4().hex[:8]}"
        base = self.folder / name
        base.mkdir()
        (base / "decision").write_bytes(b"0")
        self._control(name)
        threads = self._present()
        now = time.monotonic()
        ranks = []
        for k, address in enumerate(addresses):
            where = urlsplit(address).hostname or "127.0.0.1"
            future = self.client.submit(
                host,
                str(self.folder),
                name,
                k,
                len(addresses),
                where,
                self.threads or max(1, threads.get(address, 1) // addresses.count(address)),
                workers=[address],
                allow_other_workers=False,
                pure=False,
                retries=0,
                key=f"mgdask-rank-{k}-{name}",
            )
            ranks.append(_Rank(address, future, now, now))
        trouble = ""
        try:
            trouble = self._follow(base, name, ranks)
        finally:
            self._end(base, ranks, trouble)
        return trouble

    def _follow(self, base: Path, name: str, ranks: list[_Rank]) -> str:
        shown = State.load(self.folder, self.job.digest).iteration
        while True:
            time.sleep(BEAT)
            self._control(name)
            if read_small(base / "done.json"):
                self._show(shown)
                return ""
            shown = self._show(shown)
            now, present = time.monotonic(), self._present()
            for k, rank in enumerate(ranks):
                seen = read_small(base / f"rank-{k}.json")
                rank.pid, rank.phase = seen.get("pid", rank.pid), seen.get("phase", rank.phase)
                if seen.get("steps", rank.steps) != rank.steps:
                    rank.longest = max(rank.longest, now - rank.moved)
                    rank.steps, rank.moved = seen["steps"], now
                signs = seen.get("ticks", 0), read_small(base / f"host-{k}.json").get("alive", 0)
                if signs != rank.ticks:
                    rank.ticks, rank.ticked = signs, now
                if rank.address not in present:
                    return f"rank {k}: its worker {rank.address} is gone"
            if self._ended(base, ranks):
                time.sleep(
                    4 * BEAT
                )  # the one that was killed may show later than those that miss it
                return self._ended(base, ranks)
            for k, rank in enumerate(ranks):
                if now - rank.ticked > (self.stall if rank.steps > 0 else max(self.stall, QUIET)):
                    silent = (
                        "gives no sign"
                        if max(rank.ticks) > 0
                        else "has not started (is its worker busy?)"
                    )
                    return f"rank {k} on {rank.address} {silent} for {now - rank.ticked:.0f} s"
            allowed = max(self.stall, QUIET, 4 * max(rank.longest for rank in ranks))
            if min(now - rank.moved for rank in ranks) > allowed:
                return f"no rank has done anything for {allowed:.0f} s (rank 0 {ranks[0].phase})"

    def _ended(self, base: Path, ranks: list[_Rank]) -> str:
        """The first cause why ranks are over before the leader said that all is done; empty for none."""
        found = []
        for k, rank in enumerate(ranks):
            if rank.future.done() and not read_small(base / "done.json"):
                self._refused(base / f"error-{k}.json")
                found.append(_reason(k, rank))
        return min(filter(None, found), key=lambda words: " failed: " in words, default="")

    def _refused(self, path: Path) -> None:
        about = read_small(path)
        if about:  # of the user's making: trying again would not help
            kind = getattr(errors, about["kind"], MgdaskError)
            raise kind(about["text"])

    def _show(self, shown: int) -> int:
        path = self.folder / "checkpoint.json"
        changed = path.stat().st_mtime_ns if path.exists() else 0
        if changed == self._changed:  # it grows with the model: read it only when it is new
            return shown
        self._changed = changed
        state = State.load(self.folder, self.job.digest)
        if state.iteration != shown and state.history:
            metric = next(iter(state.history))
            self.say(
                f"round {state.iteration} of {self.job.rounds}: {metric} {state.history[metric][-1]:.6g}"
            )
        return state.iteration

    def _control(self, attempt: str) -> None:
        self._beat += 1
        write_in_place(
            self.folder / "control.json",
            {
                "attempt": attempt,
                "beat": self._beat,
                "orphan": max(self.stall, 60 * BEAT),
                "client": _me(),
            },
        )

    def _end(self, base: Path, ranks: list[_Rank], trouble: str) -> None:
        """All ranks are dead, or their workers are left alone for good, when this returns."""
        until = time.monotonic() + (GRACE if trouble else GRACE / 2)
        if trouble:
            self._control("")
        while time.monotonic() < until:
            with suppress(Exception):
                if all(
                    rank.future.done() or rank.address not in self.client.nthreads()
                    for rank in ranks
                ):
                    break
            time.sleep(BEAT)
        self._control("")
        with suppress(Exception):
            present = self.client.nthreads()
            stuck = [
                rank.address for rank in ranks if not rank.future.done() and rank.address in present
            ]
            self._bad |= set(stuck)
            for rank in ranks:
                rank.future.cancel()
            if (
                stuck
            ):  # a worker that is stopped itself: its nanny can end it, and its rank ends with it
                self.say(f"{', '.join(stuck)} did not end in time and is asked to restart")
                self.client.restart_workers(stuck, timeout=GRACE, raise_for_error=False)


def _me() -> list[Any]:
    return [socket.gethostname(), os.getpid(), _started(os.getpid())]


def _started(pid: int) -> float:
    # -1: no such process; with its pid, when it started tells a process from a later one
    try:
        return round(float(psutil.Process(pid).create_time()), 2)
    except psutil.Error:
        return -1.0


def _reason(k: int, rank: _Rank) -> str:
    """Why a rank that is over did not do its work; empty for one that only waits for the leader."""
    if rank.future.status != "finished":
        return f"rank {k} on {rank.address} was {rank.future.status}"
    result = rank.future.result()
    if result["rc"] == 0:
        return ""
    if result["rc"] < 0:
        return f"rank {k} on {rank.address} was killed by signal {-result['rc']}"
    lines = [line for line in result["tail"].strip().splitlines() if line.strip()]
    return f"rank {k} on {rank.address} failed: {lines[-1] if lines else 'no output'}"


def printer(wanted: bool) -> Callable[[str], None]:
    """Lines with the time on stderr, or nothing."""

    def say(text: str) -> None:
        if wanted:
            print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    return say
