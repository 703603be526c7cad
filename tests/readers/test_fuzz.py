"""Damaged files of every dialect: a readable error, or what the file says.

The contract holds for any bytes: only ``MgdaskError``, less than 500 MB, less than 10 s.
A few hundred mutants are tested each time. ``pytest -m fuzz`` tests new ones for ten
minutes, or for ``MGDASK_FUZZ_SECONDS``.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from tests.readers.mutations import mutated, seeds
from tests.readers.sandbox import Outcome, run
from tests.readers.soundness import read

BATCH = 10
"""Mutants of a dialect between two looks at the clock."""
PARTS = 10
"""Number of tests of the long run, each shorter than the limit of a test that hangs."""


@pytest.fixture(scope="module")
def all_seeds() -> dict[str, tuple[str, bytes]]:
    """Seeds by dialect, after importing all libraries that read them."""
    import ase.geometry
    import ase.io.extxyz
    import ase.io.lammpsdata
    import h5py
    import indexed_gzip
    import netCDF4

    assert all((ase, h5py, indexed_gzip, netCDF4))
    return seeds()


def _job(folder: Path, name: str, data: bytes, dialect: str) -> None:
    path = folder / name
    path.write_bytes(data)
    read(path, dialect)


def _try(
    folder: Path, found: dict[str, tuple[str, bytes]], numbers: dict[str, range]
) -> dict[tuple[str, int], Outcome]:
    """Read mutants of each dialect by number, and return the outcomes."""
    keys = [(dialect, number) for dialect, each in numbers.items() for number in each]
    jobs = []
    for dialect, number in keys:
        name, data = found[dialect]
        jobs.append(partial(_mutant, folder, name, dialect, number, data))
    return dict(zip(keys, run(jobs), strict=True))


def _mutant(folder: Path, name: str, dialect: str, number: int, data: bytes) -> None:
    _job(folder, name, mutated(dialect, number, data), dialect)


def _report(outcomes: dict[tuple[str, int], Outcome]) -> str:
    bad = {key: outcome for key, outcome in outcomes.items() if not outcome.is_fine}
    parts = [f"{dialect} {number}: {o.kind}: {o.text}" for (dialect, number), o in bad.items()]
    return f"{len(bad)} of {len(outcomes)} mutants:\n" + "\n".join(parts[:20])


def test_the_seeds_themselves_are_read(tmp_path, all_seeds):
    jobs = [
        partial(_job, tmp_path, name, _whole(d, data), d) for d, (name, data) in all_seeds.items()
    ]
    outcomes = dict(zip(((name, -1) for name in all_seeds), run(jobs), strict=True))
    wrong = {key: each for key, each in outcomes.items() if each.kind != "accepted"}
    assert not wrong, wrong


def _whole(dialect: str, data: bytes) -> bytes:
    from tests.readers import mutations

    if dialect == "zst":
        return mutations._zst(data)
    return mutations._gz(data) if dialect in ("gz", "column.gz") else data


def test_some_mutants_of_every_dialect(tmp_path, all_seeds):
    outcomes = _try(tmp_path, all_seeds, dict.fromkeys(all_seeds, range(8)))
    assert all(outcome.is_fine for outcome in outcomes.values()), _report(outcomes)
    # the mutations are neither harmless nor all fatal
    kinds = [outcome.kind for outcome in outcomes.values()]
    assert min(kinds.count("accepted"), kinds.count("refused")) > len(kinds) / 10


@pytest.mark.slow
def test_more_mutants_of_every_dialect(tmp_path, all_seeds):
    outcomes = _try(tmp_path, all_seeds, dict.fromkeys(all_seeds, range(1000, 1080)))
    assert all(outcome.is_fine for outcome in outcomes.values()), _report(outcomes)


@pytest.mark.fuzz
@pytest.mark.parametrize("part", range(PARTS))
def test_new_mutants_for_minutes(tmp_path, all_seeds, part):
    seconds = float(os.environ.get("MGDASK_FUZZ_SECONDS", "600")) / PARTS
    end = time.monotonic() + seconds
    start = int(os.environ.get("MGDASK_FUZZ_START", time.time())) + 10**6 * part
    found: dict[tuple[str, int], Outcome] = {}
    while time.monotonic() < end:
        found |= _try(tmp_path, all_seeds, dict.fromkeys(all_seeds, range(start, start + BATCH)))
        start += BATCH
    kinds = Counter(outcome.kind for outcome in found.values())
    print(f"{len(found)} mutants: {dict(kinds)}")
    assert all(outcome.is_fine for outcome in found.values()), _report(found)
