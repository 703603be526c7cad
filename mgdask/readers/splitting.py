"""Commands that split a trajectory whose number of atoms changes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from mgdask.readers.records import FrameRef
from mgdask.readers.species import SpeciesMap

MAX_COMMANDS = 10
"""Maximum number of commands in a message."""


def same_size_ranges(
    numbers: Sequence[int], refs: Sequence[FrameRef]
) -> list[tuple[int, int, int]]:
    """Return ranges of frames with the same number of atoms.

    Parameters
    ----------
    numbers
        Number of each frame in the files, in ascending order.
    refs
        The frames.

    Returns
    -------
    Start, stop and step of each range.
    """
    ranges: list[tuple[int, int, int]] = []
    members: list[int] = []
    size = None
    for number, ref in zip(numbers, refs, strict=True):
        step = members[1] - members[0] if len(members) > 1 else number - (members or [number])[-1]
        if members and (ref.n_atoms != size or number - members[-1] != step):
            ranges.append(_range(members))
            members = []
        members.append(number)
        size = ref.n_atoms
    return [*ranges, _range(members)]


def _range(members: Sequence[int]) -> tuple[int, int, int]:
    return members[0], members[-1] + 1, members[1] - members[0] if len(members) > 1 else 1


def ingest_command(
    paths: Sequence[str], species: SpeciesMap, options: Mapping[str, str | Sequence[str] | None]
) -> str:
    """Return the command that ingests files, without ``--out`` and ``--frames``.

    Parameters
    ----------
    paths
        Files or patterns as given by the user.
    species
        Map of types or labels.
    options
        Values by option; None for options that were not given. For a sequence, the
        option is repeated.
    """
    from mgdask.elements import symbol

    words = ["mgdask", "ingest", *paths]
    types = dict(species.types)
    if types and list(types) == list(range(1, len(types) + 1)):
        words += ["--species", ",".join(symbol(number) for number in types.values())]
    elif types or species.names:
        pairs = [*species.types, *species.names]
        words += ["--species", ",".join(f"{key}={symbol(number)}" for key, number in pairs)]
    for name, value in options.items():
        if value is not None:
            for one in [value] if isinstance(value, str) else value:
                words += [f"--{name}", one] if one else [f"--{name}"]
    return shlex.join(words)


def split_commands(ranges: Sequence[tuple[int, int, int]], command: str) -> str:
    """Return one command per range of frames, each with its own store."""
    lines = []
    for part, (start, stop, step) in enumerate(ranges[:MAX_COMMANDS], start=1):
        frames = f"{start}:{stop}" + (f":{step}" if step != 1 else "")
        lines.append(f"{command} --frames {frames} --out part_{part}.zarr")
    return "\n".join(lines)
