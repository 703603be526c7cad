"""The client's side of distributed training: ranks, a watchdog, and restarts."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mgdask.errors import RunError
from mgdask.learn.training.control_files import BEAT, read_small, write_in_place
from mgdask.learn.training.folder_owner import client_identity, refuse_if_owned
from mgdask.learn.training.links import new_identity
from mgdask.learn.training.outcomes import OWN_FAULT, AttemptFailure, RankOutcome, Reason
from mgdask.learn.training.rank_host import run_rank
from mgdask.learn.training.rounds import Checkpoint, Job

if TYPE_CHECKING:
    from distributed import Client, Future

GRACE = 20.0
"""Seconds for ranks to end after the client has given them up."""
MIN_STEP_TIMEOUT = 120.0
"""Minimum timeout in seconds of one step. The first step loads libraries."""
_LOOPBACK = "127.0.0.1"
_ORPHAN_BEATS = 60
"""Minimum number of heartbeats without a client after which ranks end."""
_CAUSE_ORDER = {Reason.FAILED: 1, Reason.NETWORK: 2}
"""Ranks that miss another one fail too, so these reasons come after all others (0)."""


@dataclass
class _Rank:
    """What the watchdog last saw of a rank."""

    number: int
    address: str
    future: Future[Any]
    progressed_at: float
    alive_at: float
    longest_step: float = 0.0
    steps: int = -1
    ticks: tuple[int, int] = (-1, -1)
    phase: str = "has not started"

    def read(self, base: Path, now: float) -> None:
        """Take in what the rank and its worker have written."""
        seen = read_small(base / f"rank-{self.number}.json")
        self.phase = seen.get("phase", self.phase)
        if seen.get("steps", self.steps) != self.steps:
            self.longest_step = max(self.longest_step, now - self.progressed_at)
            self.steps, self.progressed_at = seen["steps"], now
        seen_by_worker = read_small(base / f"host-{self.number}.json").get("alive", 0)
        ticks = seen.get("ticks", 0), seen_by_worker
        if ticks != self.ticks:
            self.ticks, self.alive_at = ticks, now

    def failure(self, reason: Reason, detail: str = "", seconds: float = 0.0) -> AttemptFailure:
        """Return a failure of the attempt that this rank caused."""
        return AttemptFailure(reason, self.number, self.address, detail, seconds)

    def ended(self) -> AttemptFailure | None:
        """Return why a rank whose task is over did not do its work.

        None for one that is only waiting for the leader. Raises what the user has to
        resolve.
        """
        if self.future.status != "finished":
            return self.failure(Reason.LOST, str(self.future.status))
        outcome: RankOutcome = self.future.result()
        if refusal := outcome.refusal():
            raise refusal
        if outcome.reason is Reason.FINISHED:
            return None
        return self.failure(outcome.reason, outcome.detail)


@dataclass
class Supervisor:
    """Client's side of a training: runs ``job`` and restarts it after losses.

    All ranks are killed if one of them gives no sign of life for ``stall`` seconds. A
    sign is a heartbeat, or that its worker sees it waiting for a core or a disk. They
    are also killed if none makes progress for ``stall`` seconds, for
    ``MIN_STEP_TIMEOUT``, and for four times the longest step so far.

    Parameters
    ----------
    client
        Client of the cluster.
    folder
        Checkpoint folder, visible to all workers.
    job
        What is trained.
    ranks
        Number of ranks. None: one per worker.
    threads
        Threads per rank. None: those of its worker, shared by its ranks.
    stall
        Seconds without a sign of life.
    retries
        Maximum number of restarts.
    say
        Receives progress lines.
    """

    client: Client
    folder: Path
    job: Job
    ranks: int | None
    threads: int | None
    stall: float
    retries: int
    say: Callable[[str], None]
    failures: list[AttemptFailure] = field(default_factory=list)
    _excluded: set[str] = field(default_factory=set)
    _beat: int = 0
    _checkpoint_time: int = 0

    def run(self) -> tuple[Checkpoint, int]:
        """Train to the end.

        Returns
        -------
        checkpoint : Checkpoint
            The finished state.
        ranks : int
            Number of ranks in the last attempt.

        Raises
        ------
        RunError
            If the restarts are used up, or a rank fails twice in the same way in the
            same round.
        """
        refuse_if_owned(self.folder, GRACE)
        last: tuple[AttemptFailure, int] | None = None
        while True:
            addresses = self._workers()
            failure = self._attempt(addresses)
            checkpoint = Checkpoint.load(self.folder, self.job.digest)
            if failure is None and checkpoint.finished:
                for leftover in self.folder.glob("attempt-*"):
                    shutil.rmtree(leftover, ignore_errors=True)
                return checkpoint, len(addresses)
            failure = failure or AttemptFailure(Reason.INCOMPLETE)
            self.failures.append(failure)
            repeated = last == (failure, checkpoint.iteration)
            last = failure, checkpoint.iteration
            self._give_up_if_hopeless(failure, repeated, checkpoint.iteration)
            self.say(f"{failure}; all ranks ended, continuing from round {checkpoint.iteration}")

    def _give_up_if_hopeless(self, failure: AttemptFailure, repeated: bool, iteration: int) -> None:
        where = f"training stopped at round {iteration} of {self.job.rounds}"
        if repeated and failure.reason in OWN_FAULT:
            raise RunError(
                f"{where}, where it failed twice in the same way: {failure}. Most often "
                "a parameter in params is the cause; change it and choose another checkpoint folder"
            )
        if len(self.failures) > self.retries:
            raise RunError(
                f"{where} after {self.retries} restarts; the last failure: {failure}. The "
                f"checkpoint stays in {self.folder}: the same call continues from there"
            )

    def _worker_threads(self) -> dict[str, int]:
        """Return the threads of each worker that the scheduler knows, by address."""
        try:
            threads: dict[str, int] = self.client.nthreads()
        except Exception as error:  # a closed connection raises AttributeError among others
            raise RunError(
                f"the scheduler does not answer ({error}); make the same call with a new client: "
                f"it continues from the checkpoint in {self.folder}"
            ) from error
        return threads

    def _workers(self) -> list[str]:
        """Wait for workers and return one address per rank.

        The addresses are sorted: ranks have the same order in every attempt on the same
        workers.
        """
        deadline, report_at = time.monotonic() + self.stall, time.monotonic() + GRACE
        while True:
            threads = {a: n for a, n in self._worker_threads().items() if a not in self._excluded}
            self.ranks = self.ranks or len(threads) or None
            # one rank per worker first; further ranks share the threads of a worker
            slots = sorted((k, address) for address, n in threads.items() for k in range(n))
            addresses = sorted(address for _, address in slots[: self.ranks])
            late = time.monotonic() > deadline
            if addresses and (len(addresses) == self.ranks or late):
                return addresses
            if late:
                raise RunError(
                    f"no worker was connected for {self.stall:.0f} s; start workers and make the "
                    f"same call again: it continues from the checkpoint in {self.folder}"
                )
            if time.monotonic() > report_at:
                report_at = deadline
                self.say(
                    f"workers for {len(addresses)} of {self.ranks or 1} ranks; waiting up to "
                    f"{self.stall:g} s for more"
                )
            time.sleep(BEAT)

    def _attempt(self, addresses: list[str]) -> AttemptFailure | None:
        """Train once on these workers."""
        name = f"attempt-{uuid.uuid4().hex[:8]}"
        base = self.folder / name
        base.mkdir()
        (base / "decision").write_bytes(b"0")
        self._write_control(name)
        threads = self._worker_threads()
        identity = new_identity()
        ranks = [
            self._start(name, k, addresses, threads.get(address, 1), identity)
            for k, address in enumerate(addresses)
        ]
        failed = True  # also if an error is raised
        try:
            failure = self._follow(base, name, ranks)
            failed = failure is not None
        finally:
            self._end(ranks, failed)
        return failure

    def _start(
        self, attempt: str, rank: int, addresses: list[str], worker_threads: int, identity: str
    ) -> _Rank:
        address, now = addresses[rank], time.monotonic()
        future = self.client.submit(
            run_rank,
            str(self.folder),
            attempt,
            rank,
            len(addresses),
            listening_addresses(addresses)[rank],
            self.threads or max(1, worker_threads // addresses.count(address)),
            identity,
            workers=[address],
            allow_other_workers=False,
            pure=False,
            retries=0,
            key=f"mgdask-rank-{rank}-{attempt}",
        )
        return _Rank(rank, address, future, now, now)

    def _follow(self, base: Path, name: str, ranks: list[_Rank]) -> AttemptFailure | None:
        """Watch an attempt until the leader has finished or something fails."""
        reported = Checkpoint.load(self.folder, self.job.digest).iteration
        while True:
            time.sleep(BEAT)
            self._write_control(name)
            if read_small(base / "done.json"):
                self._report(reported)
                return None
            reported = self._report(reported)
            now = time.monotonic()
            for rank in ranks:
                rank.read(base, now)
            if gone := self._gone(ranks):
                return gone
            if self._ended(base, ranks):
                return self._cause(base, ranks)
            if failure := self._timed_out(ranks, now):
                return failure

    def _gone(self, ranks: list[_Rank]) -> AttemptFailure | None:
        """Return a failure if the scheduler no longer knows a worker."""
        present = self._worker_threads()
        lost = (rank.failure(Reason.WORKER_GONE) for rank in ranks if rank.address not in present)
        return next(lost, None)

    def _cause(self, base: Path, ranks: list[_Rank]) -> AttemptFailure | None:
        """Return why ranks ended, after waiting for the one that ended first.

        The end of a rank that was killed may be known later than that of those that
        miss it, on a busy machine by seconds.
        """
        deadline = time.monotonic() + GRACE / 2
        while True:
            time.sleep(4 * BEAT)
            failure = self._ended(base, ranks)
            is_cause = failure is None or failure.reason is not Reason.NETWORK
            if is_cause or time.monotonic() > deadline:
                return failure
            if gone := self._gone(ranks):
                return gone

    def _ended(self, base: Path, ranks: list[_Rank]) -> AttemptFailure | None:
        """Return the first reason why ranks ended before the leader finished."""
        failures = [
            rank.ended()
            for rank in ranks
            if rank.future.done() and not read_small(base / "done.json")
        ]
        return min(
            filter(None, failures),
            key=lambda failure: _CAUSE_ORDER.get(failure.reason, 0),
            default=None,
        )

    def _timed_out(self, ranks: list[_Rank], now: float) -> AttemptFailure | None:
        """Return a failure if a rank is silent or no rank makes progress."""
        for rank in ranks:
            silence = now - rank.alive_at
            if silence > (self.stall if rank.steps > 0 else max(self.stall, MIN_STEP_TIMEOUT)):
                heard = max(rank.ticks) > 0
                detail = "gave no sign of life" if heard else "did not start (is its worker busy?)"
                return rank.failure(Reason.SILENT, detail, silence)
        longest_step = max(rank.longest_step for rank in ranks)
        allowed = max(self.stall, MIN_STEP_TIMEOUT, 4 * longest_step)
        if min(now - rank.progressed_at for rank in ranks) > allowed:
            return AttemptFailure(
                Reason.STALLED, detail=f"rank 0 {ranks[0].phase}", seconds=allowed
            )
        return None

    def _report(self, reported: int) -> int:
        """Print the metric of a new checkpoint; return the last round reported."""
        path = self.folder / "checkpoint.json"
        changed = path.stat().st_mtime_ns if path.exists() else 0
        if changed == self._checkpoint_time:  # it grows with the model: read it only when new
            return reported
        self._checkpoint_time = changed
        checkpoint = Checkpoint.load(self.folder, self.job.digest)
        if checkpoint.iteration != reported and checkpoint.history:
            metric, values = next(iter(checkpoint.history.items()))
            self.say(
                f"round {checkpoint.iteration} of {self.job.rounds}: {metric} {values[-1]:.6g}"
            )
        return checkpoint.iteration

    def _write_control(self, attempt: str) -> None:
        """Name the attempt that may run, and show that the client lives."""
        self._beat += 1
        values: dict[str, Any] = {
            "attempt": attempt,
            "beat": self._beat,
            "orphan": max(self.stall, _ORPHAN_BEATS * BEAT),
            "client": client_identity(),
        }
        write_in_place(self.folder / "control.json", values)

    def _end(self, ranks: list[_Rank], failed: bool) -> None:
        """Make sure that all ranks are dead, or their workers are not used again."""
        deadline = time.monotonic() + (GRACE if failed else GRACE / 2)
        if failed:
            self._write_control("")
        while time.monotonic() < deadline:
            with suppress(Exception):
                if not _running(ranks, self.client.nthreads()):
                    break
            time.sleep(BEAT)
        self._write_control("")
        with suppress(Exception):
            stuck = _running(ranks, self.client.nthreads())
            self._excluded |= set(stuck)
            for rank in ranks:
                rank.future.cancel()
            if stuck:  # a stopped worker: its nanny can end it, and its rank ends with it
                self.say(f"{', '.join(stuck)} did not end in time and will be restarted")
                self.client.restart_workers(stuck, timeout=GRACE, raise_for_error=False)


def listening_addresses(workers: Sequence[str]) -> list[str]:
    """Return the address on which each rank listens.

    Parameters
    ----------
    workers
        Dask address of the worker of each rank.

    Returns
    -------
    list
        Addresses of the workers. If all are on one machine, the loopback address: there
        no other machine can connect.

    Examples
    --------
    >>> listening_addresses(["tls://10.0.0.7:41001", "tls://10.0.0.8:38303"])
    ['10.0.0.7', '10.0.0.8']
    >>> listening_addresses(["tls://10.0.0.7:41001", "tls://10.0.0.7:38303"])
    ['127.0.0.1', '127.0.0.1']
    """
    hosts = [urlsplit(worker).hostname or _LOOPBACK for worker in workers]
    return [_LOOPBACK] * len(hosts) if len(set(hosts)) == 1 else hosts


def _running(ranks: list[_Rank], present: dict[str, int]) -> list[str]:
    """Return the addresses of ranks that have not ended on workers that still exist."""
    return [rank.address for rank in ranks if not rank.future.done() and rank.address in present]
