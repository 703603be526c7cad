"""Two commands on one store at almost the same time: who wins, and whether everything is right afterwards.

    OMP_NUM_THREADS=1 python tests/benchmarks/races.py [races per pair] [words of pairs ...]

Half of the second commands start 0 to 150 ms after the first, the others 0 to 10 ms. All processes are forked from one server with all
imports done, so that the commands themselves collide and not their interpreters. After each race the stores must be those that the commands
leave one after the other, the loser must have said one line, no lock or unfinished file may be left, and the loser's command must work when it
is run again. See ``tests/racing.py``.
"""

from __future__ import annotations

import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests import racing
from tests.forked import PRELOAD


def main(n_races, words):
    chance = random.Random(7)
    flaws = 0
    print(f"{'pair':42} races  both  one  none  wrong")
    with tempfile.TemporaryDirectory(prefix="mgdask-races-") as folder:
        inputs = Path(folder) / "inputs"
        inputs.mkdir()
        arena = racing.Arena(racing.prepare(inputs), Path(folder))
        for pair in racing.PAIRS:
            if words and not any(word in str(pair) for word in words):
                continue
            counts = Counter()
            for _ in range(n_races):
                delay = chance.uniform(0.0, chance.choice((0.15, 0.01)))
                ended, flaw = arena.race(pair, delay)
                counts[ended.count("won")] += 1
                if flaw:
                    flaws += 1
                    counts["wrong"] += 1
                    print(f"  {pair}, {delay:.4f} s apart: {flaw}", flush=True)
            numbers = (n_races, counts[2], counts[1], counts[0], counts["wrong"])
            print(f"{pair!s:42} {'{:5} {:5} {:5} {:5} {:5}'.format(*numbers)}", flush=True)
    return flaws


if __name__ == "__main__":
    multiprocessing.set_forkserver_preload([*PRELOAD, "tests.racing", "tests.conftest"])
    began = time.monotonic()
    n_wrong = main(int(sys.argv[1]) if sys.argv[1:] else 200, sys.argv[2:])
    print(f"{n_wrong} wrong; {time.monotonic() - began:.0f} s")
    sys.exit(bool(n_wrong))
