"""Speeds that were measured on this machine, kept for later plans.

Each node has its own file, because nodes may share a home folder. Files are replaced
whole. One that cannot be read or written is ignored: plans then measure again.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path

from mgdask.features.feature import Feature
from mgdask.kernels import neighbors
from mgdask.kernels._jit import cache_directory
from mgdask.store.provenance import digest, versions

MAX_ENTRIES = 500
"""Maximum number of figures that are kept per node. The oldest are dropped."""


@dataclass(frozen=True)
class Figures:
    """CPU times that the cost of a plan is made of, in s.

    Parameters
    ----------
    frame
        Per atom of a frame, for what is computed once per frame.
    center
        Per central atom and frame, with the halo of a block.
    read
        Per atom and frame that a block reads.
    write
        Per byte of output.
    block
        Per block.
    factor
        CPU time of a run, as a multiple of what the other figures give.
    where
        Where they were measured, for example "node7"; empty if they are typical values.
    """

    frame: float
    center: float
    read: float
    write: float
    block: float
    factor: float = 1.0
    where: str = ""


def folder() -> Path:
    """Return the folder of the kept figures, in the user's cache folder."""
    named = os.environ.get("XDG_CACHE_HOME")
    return (Path(named) if named else Path.home() / ".cache") / "mgdask" / "cost"


@lru_cache(maxsize=1)
def processor() -> str:
    """Return the model of the processor."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def key(features: Sequence[Feature], *numbers: int) -> str:
    """Return the name of the figures of some features.

    Parameters
    ----------
    features
        Features that are computed together.
    numbers
        Classes of sizes that change the figures, such as the density.
    """
    described = [[feature.family, feature.parameters()] for feature in features]
    return digest([versions()["mgdask"], processor(), described, list(numbers)])[:24]


def kept(name: str) -> Figures | None:
    """Return the figures of a name, or None."""
    entry = _read().get(name)
    names = {item.name for item in fields(Figures)}
    if not isinstance(entry, dict) or set(entry) != names:
        return None
    try:
        numbers = {n: float(v) for n, v in entry.items() if n != "where"}
    except (TypeError, ValueError):
        return None
    return Figures(**numbers, where=str(entry["where"]))


def keep(name: str, figures: Figures) -> None:
    """Keep figures for later plans, if the folder can be written."""
    with suppress(OSError, RuntimeError):
        entries = _read()
        entries.pop(name, None)
        entries[name] = asdict(figures)
        recent = dict(list(entries.items())[-MAX_ENTRIES:])
        folder().mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=folder(), prefix=".new-", delete=False, encoding="utf-8"
        ) as out:
            json.dump(recent, out)
        Path(out.name).replace(_file())


def node() -> str:
    """Return the name of this machine."""
    return socket.gethostname()


def _file() -> Path:
    return folder() / f"{node()}.json"


def _read() -> dict[str, object]:
    try:
        entries = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, RuntimeError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def note_compiled(features: Sequence[Feature]) -> None:
    """Note that the kernels of these features are in the cache of this node."""
    kernels = cache_directory()
    for feature in features:
        with suppress(OSError):
            if kernels is not None:
                (Path(kernels) / _mark(feature)).touch()


def compiled(features: Sequence[Feature]) -> bool:
    """Return whether the kernels of these features are in the cache of this node."""
    kernels = cache_directory()
    return kernels is not None and all(
        (Path(kernels) / _mark(feature)).exists() for feature in features
    )


def _mark(feature: Feature) -> str:
    # numbers such as a cutoff do not select kernels; words do. Numba compiles again if
    # the package moves or its files are replaced.
    source = Path(neighbors.__file__)
    known = [_words(feature.parameters()), str(source), source.stat().st_mtime_ns]
    return f"{feature.family}-{digest(known)[:12]}"


def _words(value: object) -> object:
    """Replace the numbers in a value of JSON."""
    if isinstance(value, dict):
        return {name: _words(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_words(item) for item in value]
    return 0 if isinstance(value, int | float) and not isinstance(value, bool) else value
