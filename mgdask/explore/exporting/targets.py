"""Formats and names of the files of an export."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from mgdask._typing import IntArray
from mgdask.errors import ParameterError
from mgdask.explore.exporting.source import Opened, along_frames

FORMATS = {
    "extxyz": (".extxyz", ".xyz"),
    "dump": (".dump", ".lammpstrj", ".lammpsdump"),
    "data": (".data", ".lmp"),
    "parquet": (".parquet",),
}
"""Suffixes of each format."""
FIELDS = ("run", "step", "frame")
"""Names that may stand in braces in the name of a file."""
_SHOWN = 5


def format_of(out: Path, given: str | None) -> str:
    """Return the format of a target, from its suffix unless it is given.

    Raises
    ------
    ParameterError
        If the format is unknown.
    """
    if given is not None:
        others = {suffix for name, own in FORMATS.items() if name != given for suffix in own}
        if given == "parquet" and out.suffix.lower() in others | {".csv", ".tsv", ".txt"}:
            raise ParameterError(
                f"out={out}: a table is written in Parquet, so a name that ends in {out.suffix} "
                "would mislead; name it t.parquet. ds.mg.to_dataframe().to_csv writes other tables"
            )
        if given not in FORMATS:
            raise ParameterError(
                f"format={given!r} is unknown; allowed: {', '.join(FORMATS)} (--format)"
            )
        return given
    for name, suffixes in FORMATS.items():
        if out.suffix.lower() in suffixes:
            return name
    known = "; ".join(f"{name}: {' '.join(suffixes)}" for name, suffixes in FORMATS.items())
    raise ParameterError(
        f"out={out}: the suffix {out.suffix or '(none)'} names no format. Known are {known}. "
        "Or give format= (--format)"
    )


def files_of(out: Path, kind: str, main: Opened, chosen: IntArray) -> list[tuple[Path, list[int]]]:
    """Return the files to write, each with its places among the chosen frames.

    Parameters
    ----------
    out
        Name, which may contain fields in braces.
    kind
        Format.
    main
        The trajectory.
    chosen
        Positions of the chosen frames.

    Raises
    ------
    ParameterError
        If a field is unknown, or frames must not be in one file.
    """
    ds = main.ds
    runs = along_frames(ds, "run") if "run" in ds else np.full(ds.sizes["frame"], "")
    if kind == "parquet":
        # a file of a table is part of one run
        order: dict[str, list[int]] = {}
        for place, frame in enumerate(chosen):
            order.setdefault(str(runs[frame]), []).append(place)
        return [(out, places) for places in order.values()]
    fields = re.findall(r"\{([^{}]*)\}", out.name)
    if unknown := [field for field in fields if field not in FIELDS]:
        raise ParameterError(
            f"out={out}: {{{unknown[0]}}} is not known; allowed in the name of a file: "
            f"{', '.join(f'{{{field}}}' for field in FIELDS)}"
        )
    steps = along_frames(ds, "step") if "step" in ds else np.arange(ds.sizes["frame"])
    numbers = ds["frame"].values if "frame" in ds.coords else np.arange(ds.sizes["frame"])
    files: dict[Path, list[int]] = {}
    for place, frame in enumerate(chosen):
        told = {
            "run": re.sub(r"[^\w.+-]+", "_", str(runs[frame])),
            "step": str(int(steps[frame])),
            "frame": str(int(numbers[frame])),
        }
        name = out.name
        for field, text in told.items():
            name = name.replace(f"{{{field}}}", text)
        files.setdefault(out.with_name(name), []).append(place)
    for path, places in files.items():
        _check_file(path, kind, [str(runs[chosen[k]]) for k in places])
    return list(files.items())


def _check_file(path: Path, kind: str, runs: list[str]) -> None:
    """Refuse several frames in a data file, and several runs in a dump."""
    if kind == "data" and len(runs) > 1:
        raise ParameterError(
            f"a LAMMPS data file holds one frame, but {len(runs)} frames are chosen for {path}. "
            "Choose one with frames= (--frame), or put {step} or {frame} into the name of the file"
        )
    several = list(dict.fromkeys(runs))
    if kind == "dump" and len(several) > 1:
        shown = ", ".join(several[:_SHOWN]) + (", ..." if len(several) > _SHOWN else "")
        raise ParameterError(
            f"the chosen frames belong to {len(several)} runs ({shown}), whose timesteps a dump "
            "cannot tell apart. Put {run} into the name of the file, as in "
            f"{path.stem}-{{run}}{path.suffix}, or choose frames of one run"
        )
