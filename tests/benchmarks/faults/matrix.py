"""All tries of cells, and the table of the manual."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from contextlib import suppress

from mgdask.execution.scratch import _remove_stale as remove_stale
from tests.benchmarks.faults.commands import COMMANDS, content
from tests.benchmarks.faults.faults import FAULTS, Fault, until
from tests.benchmarks.faults.tries import (
    NOISE,
    RAW,
    Place,
    Ran,
    Running,
    Try,
    generator,
    leftovers,
    reference,
    words_of,
)

COLD_PROCESSES = 4
"""Processes that start on one empty cache of kernels."""


OWN_PATH = re.compile(r"-qs\.zarr/manifest/(complete\.json|kept\.zip)$")
"""Files with digests of metadata that name the folder of a study."""


class Bench:
    """References of the commands, made when they are first needed."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.wrote: dict[tuple[str, bool], dict[str, str]] = {}
        self.ran: dict[tuple[str, bool], Ran] = {}
        self.size: dict[str, int] = {}

    def prepare(self, name: str, workers: bool) -> None:
        """Run a command undisturbed, twice at first: is it the same each time?"""
        if (name, workers) in self.ran:
            return
        wrote, ran = reference(name, self.place, workers=workers)
        first = (name, not workers) not in self.ran
        if first:
            self.size[name] = shutil.disk_usage(self.place.out).used
        if first or not COMMANDS[name].same_bits:
            again, ran = reference(name, self.place, workers=workers)
            if again != wrote:
                raise RuntimeError(f"{name} is not repeatable: {difference(wrote, again)}")
        elif wrote != self.wrote[name, not workers]:
            found = difference(self.wrote[name, not workers], wrote)
            raise RuntimeError(f"{name} depends on workers: {found}")
        self.wrote[name, workers] = wrote
        self.ran[name, workers] = ran

    def attempt(self, name: str, fault_name: str, seed: int) -> Try:
        """Make one try; draw another moment if the command ended before."""
        for draw in range(4):
            made = self._attempt(name, fault_name, seed, draw)
            if made.struck:
                break
        return made

    def _attempt(self, name: str, fault_name: str, seed: int, draw: int) -> Try:
        command, fault, place = COMMANDS[name], FAULTS[fault_name], self.place
        workers = seed % 5 in fault.workers
        self.prepare(name, workers)
        rng = generator(name, fault_name, seed + 1000 * draw)
        result = Try(name, fault_name, seed)
        place.open()
        place.seed(command)
        if fault_name == "four-cold":
            self.prepare(name, False)
            place.open()
            place.seed(command)
            self._four(result, rng)
            return result
        settings = fault.before(place, self.size[name], rng)
        undisturbed = self.ran[name, workers]
        # with workers, the main process mostly waits
        whole = undisturbed.wall if workers else undisturbed.cpu
        fraction = rng.random() * 0.85**draw
        if fault.from_start and seed % 3 == 0:
            fraction = 0.0
        if fault_name == "full-disk":
            fraction = 0.0
        result.moment = fraction * whole
        words = words_of(command, place, workers=workers)
        running = Running(place, words, **settings)
        clock = running.wall if workers else running.cpu
        until(running, lambda: clock() >= result.moment)
        result.struck = fault.strike(running, place, rng)
        first = running.finish()
        fault.repair(place)
        self._judge(result, first, fault)
        self._resume(result, first, workers)
        return result

    def _judge(self, result: Try, ran: Ran, fault: Fault) -> None:
        """Look at how the disturbed command ended and what it said."""
        result.statuses.append(ran.status)
        result.cpu += ran.cpu
        text = f"{ran.out}\n{ran.err}"
        if ran.status is None:
            result.hung.append(text[-3000:])
            return
        if ran.status:
            result.said = ran.err[-1500:]
        if ran.processes:
            result.left += [f"process {line}" for line in ran.processes]
        # verify ends with 1 if it has found damage
        found_damage = bool(COMMANDS[result.command].after) and "mgdask:" not in ran.err
        if ran.status not in (0, *fault.statuses, *([1] if found_damage else [])):
            result.message.append(f"status {ran.status}")
        if found := NOISE.search(text):
            line = text[max(text.rfind("\n", 0, found.start()), 0) :][:1500]
            result.noise.append(line.strip())
        if ran.status == 1 and not found_damage:
            flat = " ".join(ran.err.split())
            if RAW.search(flat) or not re.search(fault.says, flat):
                result.message.append(ran.err[-600:])
        if ran.status in (143, 130) and not re.search(r"stopped: mgdask \w+", ran.err):
            result.message.append(ran.err[-600:])
        if ran.status not in (-9, None):
            # from a disk that is still read-only, nothing can be removed
            stores = result.fault != "read-only"
            result.left += leftovers(self.place, stores=stores, finished=not ran.status)

    def _resume(self, result: Try, first: Ran, workers: bool) -> None:
        """Run the same command again, then compare."""
        command, place = COMMANDS[result.command], self.place
        target = place.out / command.target
        want = self.wrote[result.command, workers]
        paths = {"inputs": str(place.inputs), "out": str(place.out)}
        after = [word.format(**paths) for word in command.after]
        todo = (
            [] if first.status == 0 and not after else [words_of(command, place, workers=workers)]
        )
        said = ""
        for line in [*todo, *([after] if after else [])]:
            ran = Running(place, line).finish()
            result.statuses.append(ran.status)
            result.cpu += ran.cpu
            if ran.status is None:
                result.hung.append(f"again: {ran.out[-500:]}\n{ran.err[-2500:]}")
                return
            if ran.processes:
                result.left += [f"again: process {line}" for line in ran.processes]
            text = f"{ran.out}\n{ran.err}"
            if (found := NOISE.search(text)) is not None:
                result.noise.append(f"again: {text[max(found.start() - 200, 0) :][:1200]}")
            if ran.status:
                said += f"again ({ran.status}): {ran.out[-400:]}\n{ran.err[-1200:]}"
            if "--repair" in line and ran.status == 1:
                said = ""  # it says that there was damage
        found = content(target, place.out) if target.exists() else {}
        if found == want:
            pass
        elif said:
            result.lost.append(said)
        else:
            result.wrong.append(difference(want, found))
        # the next command that starts workers removes what a killed one left
        remove_stale(place.tmp)
        result.left += [f"again: {name}" for name in leftovers(place)]

    def _four(self, result: Try, rng) -> None:
        """Start four processes on one empty cache; kill one of them in every other try."""
        name, place = result.command, self.place
        command, cache = COMMANDS[name], place.base / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        outs = [place.out / "four" / str(k) for k in range(COLD_PROCESSES)]
        running = []
        victim = rng.randrange(COLD_PROCESSES) if rng.random() < 0.5 else None
        for k, out in enumerate(outs):
            out.mkdir(parents=True)
            for seeded in command.seeded:
                shutil.copytree(place.inputs / seeded, out / seeded)
            words = words_of(command, place, out)
            running.append(Running(place, words, str(k), kernels=cache, cold=True))
            time.sleep(rng.random() * 0.3)
        if victim is not None:
            time.sleep(rng.random() * 2.0)
            with suppress(OSError):
                os.kill(running[victim].pid, signal.SIGKILL)
        result.struck = True
        for k, process in enumerate(running):
            ran = process.finish()
            if k == victim and ran.status == -9:
                result.statuses.append(-9)
                continue
            wanted = (0, 1) if command.after else (0,)
            result.statuses.append(ran.status)
            result.cpu += ran.cpu
            if ran.status not in wanted:
                result.lost.append(f"{ran.status}: {ran.err[-800:]}")
                continue
            if (found := NOISE.search(ran.out + ran.err)) is not None:
                result.noise.append((ran.out + ran.err)[found.start() :][:800])
            if not command.after:
                target = outs[k] / command.target
                want, wrote = (
                    {file: data for file, data in found.items() if not OWN_PATH.search(file)}
                    for found in (self.wrote[name, False], content(target, outs[k]))
                )
                if wrote != want:
                    result.wrong.append(difference(want, wrote))
        left = [path.name for path in place.tmp.iterdir()]
        if victim is None:
            result.left += left
        names = [path.name for path in cache.rglob("*") if path.suffix in (".tmp", ".partial")]
        result.left += names if victim is None else []


def difference(want: dict[str, str], found: dict[str, str]) -> str:
    """Return the first files that differ, in words."""
    missing = sorted(set(want) - set(found))
    more = sorted(set(found) - set(want))
    other = sorted(name for name in set(want) & set(found) if want[name] != found[name])
    return f"missing {missing[:4]}, more {more[:4]}, different {other[:6]}"
