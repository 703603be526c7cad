"""Two commands that start at almost the same time on one store, in forked processes.

Each action runs a public function on small stores in the current folder. Its tasks run
one after another in its own process, since a race is about the stores, not about Dask.
What two actions may leave is what they leave one after the other, in either order.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

import mgdask
from mgdask.errors import MgdaskError
from mgdask.execution import executor
from mgdask.execution.results import Outcome
from tests.forked import Forked
from tests.plain_feature import PlainFeature

SPECIES = {1: "Zr", 2: "Cu"}
VOLATILE = ("blocks.jsonl",)
"""Files of a manifest that tell times and processes."""
CODE = "from tests import racing; racing.act()"
N_ATOMS = 40


@dataclass(frozen=True)
class Height(PlainFeature):
    """Height of the atoms above a plane."""

    plane: float = 0.0
    family: ClassVar[str] = "height"
    long_name: ClassVar[str] = "height"
    labels = ("z",)

    def prepare(self):
        pass

    def describe(self, environments, centers, out):
        out[:, 0] = environments.position[centers, 2] - self.plane
        return {}


class Here:
    """A client of no cluster: it runs each task when it is submitted."""

    loop = None

    def nthreads(self):
        return {"here": 1}

    def map(self, function, *arguments, **_):
        return [function(*one) for one in zip(*arguments, strict=True)]

    def gather(self, results):
        return results


class _AtOnce:
    """Stands for the submission of tasks to a cluster."""

    def __init__(self, client, function, tasks, retries, keep):
        self.function, self.tasks, self.keep = function, tasks, keep

    def run(self, reporter):
        outcome = Outcome()
        for name, arguments in self.tasks:
            try:
                result = self.function(*arguments)
            except executor.FatalStoreError:
                raise
            except Exception as error:
                outcome.failures[name] = error
            else:
                outcome.results[name] = self.keep(name, result) if self.keep else result
        return outcome


# Actions: what a process does in the folder of a race


def _ingest(name, **options):
    mgdask.ingest(
        f"{name}.dump", "t.zarr", species=SPECIES, timestep=0.002, client=Here(), **options
    )


def _featurize(*features, out="f.zarr"):
    mgdask.run(mgdask.plan("t.zarr", list(features), out=out), Here(), progress=False)


def _predict(model):
    from mgdask.learn.predict import predict
    from mgdask.learn.training.model import Model

    predict(Model.load(model), "f.zarr", "s.zarr", client=Here(), progress=False)


def _repair(store):
    mgdask.verify(store, repair=True, client=Here(), progress=False)


def _unwrap(out):
    mgdask.unwrap("t.zarr", out, client=Here(), progress=False)


LAG = mgdask.LagDisplacement(lags=(0.2,))
"""It makes the store ``f.zarr.paths.zarr``, since the cell of the dumps changes."""
ACTIONS: dict[str, Callable[[], object]] = {
    "ingest": lambda: _ingest("a"),
    "ingest other": lambda: _ingest("c"),
    "overwrite": lambda: _ingest("a", overwrite=True),
    "overwrite other": lambda: _ingest("c", overwrite=True),
    "append": lambda: _ingest("b", append=True),
    "append other": lambda: _ingest("d", append=True),
    "attach": lambda: mgdask.attach("t.zarr", temperature=300.0),
    "attach other": lambda: mgdask.attach("t.zarr", temperature=500.0, overwrite=True),
    "repair": lambda: _repair("t.zarr"),
    "unwrap": lambda: _unwrap("p.zarr"),
    "attach unwrapped": lambda: mgdask.attach("p.zarr", temperature=300.0),
    "repair unwrapped": lambda: _repair("p.zarr"),
    "featurize": lambda: _featurize(Height()),
    "featurize other": lambda: _featurize(Height(plane=1.0)),
    "featurize lags": lambda: _featurize(LAG),
    "unwrap for lags": lambda: _unwrap("f.zarr.paths.zarr"),
    "repair features": lambda: _repair("f.zarr"),
    "predict": lambda: _predict("model"),
    "predict other": lambda: _predict("model other"),
    "repair scores": lambda: _repair("s.zarr"),
}
"""What each action does."""


@dataclass(frozen=True)
class Pair:
    """Two actions, and what exists before them: other actions, then damaged files."""

    first: str
    second: str
    before: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.first} | {self.second}"


SHARD = "t.zarr/position/c/0/0/0"
A, F = ("ingest",), ("ingest", "featurize")
PAIRS = [
    Pair("ingest", "ingest"),
    Pair("ingest", "ingest other"),
    Pair("ingest", "overwrite"),
    Pair("ingest", "append"),
    Pair("ingest", "attach"),
    Pair("ingest", "unwrap"),
    Pair("overwrite", "overwrite", A),
    Pair("overwrite", "overwrite other", A),
    Pair("overwrite other", "append", A),
    Pair("overwrite other", "attach", A),
    Pair("overwrite other", "ingest", A),
    Pair("append", "append", A),
    Pair("append", "append other", A),
    Pair("append", "attach", A),
    Pair("attach", "attach", A),
    Pair("attach", "attach other", A),
    Pair("repair", "repair", A, (SHARD,)),
    Pair("repair", "ingest", A, (SHARD,)),
    Pair("repair", "overwrite other", A, (SHARD,)),
    Pair("repair", "append", A),
    Pair("repair", "attach", A),
    Pair("unwrap", "unwrap", A),
    Pair("unwrap", "overwrite other", A),
    Pair("unwrap", "append", A),
    Pair("unwrap", "attach", A),
    Pair("unwrap", "repair unwrapped", (*A, "unwrap")),
    Pair("attach unwrapped", "repair unwrapped", (*A, "unwrap")),
    Pair("featurize", "featurize", A),
    Pair("featurize", "featurize other", A),
    Pair("featurize", "overwrite other", A),
    Pair("featurize", "append", A),
    Pair("featurize", "attach", A),
    Pair("featurize", "repair", A),
    Pair("featurize", "repair features", F, ("f.zarr/height/c/0/0/0",)),
    Pair("featurize lags", "featurize lags", A),
    Pair("featurize lags", "unwrap for lags", A),
    Pair("featurize lags", "featurize", A),
    Pair("predict", "predict", F),
    Pair("predict", "predict other", F),
    Pair("predict", "featurize", A),
    Pair("predict", "repair scores", (*F, "predict"), ("s.zarr/prediction/c/0/0/0",)),
    Pair("predict", "repair features", F),
]


# In the forked process


def act() -> None:
    """Wait for the time of the start, then run an action as the command line would."""
    name, start = sys.argv[1], float(sys.argv[2])
    executor._Submission = _AtOnce
    time.sleep(max(0.0, start - time.monotonic()))
    try:
        ACTIONS[name]()
    except MgdaskError as error:
        print(f"mgdask: {error}", file=sys.stderr)
        sys.exit(1)


# In the process that judges


@dataclass(frozen=True)
class Ended:
    """How an action ended."""

    status: int | None
    said: str

    def flaw(self) -> str:
        """Return what is wrong with the end of an action that failed or succeeded."""
        if self.status is None:
            return "hung"
        if "Traceback" in self.said:
            return f"traceback: {self.said.strip().splitlines()[-1]}"
        if self.status == 1 and len(self.said.strip().splitlines()) != 1:
            return f"not one line: {self.said}"
        return "" if self.status in (0, 1) else f"status {self.status}"


def start(name: str, folder: Path, at: float) -> Forked:
    """Start an action in a folder at a time of the monotonic clock."""
    return Forked(CODE, name, str(at), cwd=folder)


def end(process: Forked, timeout: float = 60.0) -> Ended:
    """Wait for an action, and end it if it hangs."""
    try:
        process.wait(timeout)
    except Exception:
        process.kill()
        process.wait()
        return Ended(None, process.printed(process.stderr))
    finally:
        said = process.printed(process.stderr)
        process.stdout.close()
        process.stderr.close()
    return Ended(process.returncode, said)


def run(name: str, folder: Path) -> Ended:
    """Run an action to its end."""
    return end(start(name, folder, 0.0))


def state(folder: Path) -> dict[str, str]:
    """Return a digest of each store; "unfinished" if it has no mark of completion."""
    found = {}
    for store in sorted(folder.glob("*.zarr")):
        text = hashlib.sha256()
        for path in sorted(path for path in store.rglob("*") if path.is_file()):
            if path.name not in VOLATILE:
                text.update(f"{path.relative_to(store)}\n".encode())
                text.update(path.read_bytes())
        finished = (store / "manifest" / "complete.json").exists()
        found[store.name] = text.hexdigest() if finished else "unfinished"
    return found


INPUTS = ("a.dump", "b.dump", "c.dump", "d.dump", "model", "model other")


def leftovers(folder: Path) -> list[str]:
    """Return what should not be there: locks, and files and folders in preparation."""
    left = [path.name for path in folder.iterdir() if path.suffix != ".zarr"]
    left = [name for name in left if name not in INPUTS]
    for path in folder.rglob("*"):
        if path.suffix in (".partial", ".new", ".fresh", ".ready") or path.name == "lock":
            left.append(str(path.relative_to(folder)))
    return left


def prepare(folder: Path) -> Path:
    """Write the dumps and models that actions read."""
    from mgdask.learn import train
    from tests.conftest import write_dump

    rng = np.random.default_rng(3)
    base = rng.uniform(0, 10, (N_ATOMS, 3))
    for name, first, seed in (("a", 0, 1), ("b", 6, 2), ("c", 0, 4), ("d", 6, 5)):
        own = np.random.default_rng(seed)
        frames = []
        for k in range(first, first + 6):
            places = (base + 0.02 * k + own.normal(0, 0.05, base.shape)) % 10
            rows = [(i + 1, i % 2 + 1, *place.tolist(), 0, 0, 0) for i, place in enumerate(places)]
            frames.append((100 * k, rows))
        box = ((0, 10), (0, 10), (0, 10 + 0.01 * seed))
        write_dump(folder / f"{name}.dump", frames, "id type x y z ix iy iz", box)
    _let_cells_change(folder)
    for k, name in enumerate(("model", "model other")):
        x = rng.normal(size=(200, 1))
        y = (x[:, 0] + 0.3 * rng.normal(size=200) > k).astype(float)
        train(x, y, columns=("z",), num_boost_round=3, seed=k, threads=1, progress=False).save(
            folder / name
        )
    return folder


def _let_cells_change(folder: Path) -> None:
    """Make the cell of the last frames of each dump larger."""
    for name in "abcd":
        path = folder / f"{name}.dump"
        head, tail = path.read_text().rsplit("ITEM: TIMESTEP", 1)
        lines = tail.split("\n")
        place = next(k for k, line in enumerate(lines) if line.startswith("ITEM: BOX")) + 1
        lines[place] = "0 10.5"
        path.write_text(head + "ITEM: TIMESTEP" + "\n".join(lines))


@dataclass
class Arena:
    """Makes the folders of races, and knows what actions leave one after the other."""

    inputs: Path
    work: Path
    templates: dict = field(default_factory=dict)
    orders: dict = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    """What the losers of the last race said."""

    def template(self, pair: Pair) -> Path:
        """Return a folder with what exists before a pair."""
        key = (pair.before, pair.damaged)
        if key not in self.templates:
            folder = Path(tempfile.mkdtemp(prefix="before-", dir=self.work))
            shutil.copytree(self.inputs, folder, dirs_exist_ok=True)
            for name in pair.before:
                ended = run(name, folder)
                assert ended.status == 0, (name, ended)
            for file in pair.damaged:
                data = bytearray((folder / file).read_bytes())
                data[len(data) // 3] ^= 0xFF
                (folder / file).write_bytes(bytes(data))
            self.templates[key] = folder
        return self.templates[key]

    def folder(self, pair: Pair) -> Path:
        """Return a fresh copy of the template of a pair."""
        folder = Path(tempfile.mkdtemp(prefix="race-", dir=self.work))
        shutil.copytree(self.template(pair), folder, dirs_exist_ok=True)
        return folder

    def in_order(self, pair: Pair, *names: str) -> tuple[list[Ended], dict[str, str]]:
        """Return how actions end one after the other, and what they leave."""
        key = (pair.before, pair.damaged, names)
        if key not in self.orders:
            folder = self.folder(pair)
            ended = [run(name, folder) for name in names]
            assert not any(one.flaw() for one in ended), (names, ended)
            assert leftovers(folder) == [], (names, leftovers(folder))
            self.orders[key] = ended, state(folder)
            shutil.rmtree(folder)
        return self.orders[key]

    def race(self, pair: Pair, delay: float) -> tuple[str, str]:
        """Run a race; return how it ended, and what is wrong with it ("" if nothing)."""
        folder = self.folder(pair)
        at = time.monotonic() + 0.12
        first = start(pair.first, folder, at)
        second = start(pair.second, folder, at + delay)
        ended = [end(first), end(second)]
        self.said = [f"{one.said}" for one in ended if one.status]
        flaw = self.flaw(pair, folder, ended)
        words = " ".join("lost" if one.status else "won" for one in ended)
        if not flaw:
            shutil.rmtree(folder)
        return words, flaw

    def flaw(self, pair: Pair, folder: Path, ended: list[Ended]) -> str:
        """Return what is wrong after a race, and run what lost again."""
        names = (pair.first, pair.second)
        for name, one in zip(names, ended, strict=True):
            if one.flaw():
                return f"{name}: {one.flaw()}"
        left = leftovers(folder)
        if left:
            return f"left behind: {left}"
        won = [name for name, one in zip(names, ended, strict=True) if one.status == 0]
        orders = [names, names[::-1]]
        found = state(folder)
        if len(won) == 2:
            allowed = [end for each in orders for end in [self.in_order(pair, *each)[1]]]
            return "" if found in allowed else f"both won, state {found}, allowed {allowed}"
        if not won:
            # one was refused for what the store holds, the other because the first looked
            told = [one.said for one in ended if "being written by" not in one.said]
            serial = [one.said for each in orders for one in self.in_order(pair, *each)[0]]
            if not told or not set(told) <= set(serial):
                return f"both lost: {[one.said for one in ended]}"
            for name in names:
                again = run(name, folder)
                if again.flaw() or "being written" in again.said:
                    return f"{name} again: {again}"
            return ""
        (winner,) = won
        loser = names[1] if winner == names[0] else names[0]
        said = ended[names.index(loser)].said
        # all that the winner and earlier actions made is as if the winner had been alone;
        # the loser may have begun a store of its own
        alone = self.in_order(pair, winner)[1]
        reverse, state_of_reverse = self.in_order(pair, loser, winner)
        wrong = {
            name: digest
            for name, digest in found.items()
            if digest not in (alone.get(name), "unfinished")
        }
        missing = [
            name
            for name, digest in alone.items()
            if digest != found.get(name) in (None, "unfinished")
        ]
        if wrong or missing:
            ok = reverse[0].status and found == state_of_reverse
            if not ok:
                return f"{winner} won, wrong {wrong}, missing {missing}; {said}"
        again = run(loser, folder)
        serial, after = self.in_order(pair, winner, loser)
        if again.flaw() or bool(again.status) != bool(serial[1].status):
            if not self._is_of_old_input(again):
                return f"{loser} again: {again}, alone {serial[1]}; first {said}"
        elif state(folder) != after:
            return f"{loser} again leaves {state(folder)}, not {after}"
        if leftovers(folder):
            return f"left behind by the second {loser}: {leftovers(folder)}"
        return ""

    @staticmethod
    def _is_of_old_input(again: Ended) -> bool:
        """Whether a store was begun from an input that was replaced."""
        return again.status == 1 and "Choose another" in again.said
