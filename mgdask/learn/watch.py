"""The client's side of distributed training: ranks on workers, a watchdog, and going on after a loss."""

from __future__ import annotations

import shutil
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mgdask import errors
from mgdask.errors import MgdaskError, RunError, StoreError
from mgdask.learn.ranks import BEAT, host, read_small, write_in_place
from mgdask.learn.rounds import Job, State

GRACE = 10.0
"""Seconds that ranks get to end after they were told to."""


@dataclass
class _Rank:
    """What the watchdog last saw of a rank."""

    address: str
    future: Any
    moved: float
    ticked: float
    steps: int = -1
    ticks: int = -1
    phase: str = "has not started"
    pid: int = 0


@dataclass
class Watch:
    """Trains ``job`` on workers of ``client``, with files in ``folder``, which all of them see.

    ``ranks`` wanted (None: one a worker); ``stall`` seconds without a step of any rank, or without a sign of one of them, after
    which all are killed; at most ``retries`` restarts from the checkpoint. Raises ``RunError`` after that.
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
        if before.get("attempt"):
            time.sleep(8 * BEAT)
            if read_small(path) != before:
                raise StoreError(
                    f"{self.folder} is being trained in by another client; wait for it, or take another folder"
                )

    def _workers(self) -> list[str]:
        # sorted, so that ranks have the same order in every attempt and every run on the same workers
        until = time.monotonic() + self.stall
        while True:
            threads = {a: n for a, n in self.client.nthreads().items() if a not in self._bad}
            wanted = self.ranks or len(threads)
            # one rank a worker first; more ranks than workers share the threads of a worker
            slots = sorted((k, address) for address, n in threads.items() for k in range(n))
            found = sorted(address for _, address in slots[:wanted])
            if found and (len(found) == wanted or time.monotonic() > until - self.stall + min(GRACE, self.stall)):
                return found
            if time.monotonic() > until:
                raise RunError(
                    f"no worker has been there for {self.stall:.0f} s; start workers and make the same call again: it goes on "
                    f"from the checkpoint in {self.folder}"
                )
            time.sleep(BEAT)

    def _attempt(self, addresses: list[str]) -> str:
        """One try on these workers; what went wrong in words, empty for nothing."""
        name = f"attempt-{uuid.uuid4().hex[:8]}"
        base = self.folder / name
        base.mkdir()
        (base / "decision").write_bytes(b"0")
        self._control(name)
        threads = self.client.nthreads()
        now = time.monotonic()
        ranks = []
        for k, address in enumerate(addresses):
            where = urlsplit(address).hostname or "127.0.0.1"
            future = self.client.submit(
                host, str(self.folder), name, k, len(addresses), where, self.threads or max(1, threads.get(address, 1) // addresses.count(address)),
                workers=[address], allow_other_workers=False, pure=False, retries=0, key=f"mgdask-rank-{k}-{name}",
            )  # fmt: skip
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
            now, present = time.monotonic(), self.client.nthreads()
            for k, rank in enumerate(ranks):
                seen = read_small(base / f"rank-{k}.json")
                rank.pid, rank.phase = seen.get("pid", rank.pid), seen.get("phase", rank.phase)
                if seen.get("steps", rank.steps) != rank.steps:
                    rank.steps, rank.moved = seen["steps"], now
                if seen.get("ticks", rank.ticks) != rank.ticks:
                    rank.ticks, rank.ticked = seen["ticks"], now
                if rank.address not in present:
                    return f"rank {k}: its worker {rank.address} is gone"
            for k, rank in enumerate(ranks):
                if rank.future.done() and not read_small(base / "done.json"):
                    self._refused(base / f"error-{k}.json")
                    if trouble := _ended(k, rank):
                        return trouble
            for k, rank in enumerate(ranks):
                if now - rank.ticked > self.stall:
                    started = "gives no sign" if rank.ticks >= 0 else "has not started (is its worker busy?)"
                    return f"rank {k} on {rank.address} {started} for {self.stall:g} s"
            if min(now - rank.moved for rank in ranks) > self.stall:
                return f"no rank has done anything for {self.stall:g} s (rank 0 {ranks[0].phase})"

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
            self.say(f"round {state.iteration} of {self.job.rounds}: {metric} {state.history[metric][-1]:.6g}")
        return state.iteration

    def _control(self, attempt: str) -> None:
        self._beat += 1
        write_in_place(
            self.folder / "control.json", {"attempt": attempt, "beat": self._beat, "orphan": max(self.stall, 60 * BEAT)}
        )

    def _end(self, base: Path, ranks: list[_Rank], trouble: str) -> None:
        """All ranks are dead, or their workers are left alone for good, when this returns."""
        until = time.monotonic() + (GRACE if trouble else GRACE / 2)
        if trouble:
            self._control("")
        while time.monotonic() < until:
            with suppress(Exception):
                if all(rank.future.done() or rank.address not in self.client.nthreads() for rank in ranks):
                    break
            time.sleep(BEAT)
        self._control("")
        with suppress(Exception):
            present = self.client.nthreads()
            stuck = [rank.address for rank in ranks if not rank.future.done() and rank.address in present]
            self._bad |= set(stuck)
            for rank in ranks:
                rank.future.cancel()
            if stuck:  # a worker that is stopped itself: its nanny can end it, and its rank ends with it
                self.say(f"{', '.join(stuck)} did not end in time and is asked to restart")
                self.client.restart_workers(stuck, timeout=GRACE, raise_for_error=False)


def _ended(k: int, rank: _Rank) -> str:
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
