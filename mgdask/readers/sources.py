"""Which reader reads a file, told by its content and its ending; and patterns of file names."""

from __future__ import annotations

import glob
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mgdask.errors import AuditError
from mgdask.readers.frames import Source
from mgdask.readers.lammps import LammpsDump, open_stream


def natural(text: str) -> list[Any]:
    """Sort key that puts dump.20 before dump.100."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def expand(paths: str | Path | Sequence[str | Path]) -> list[str]:
    """Files of names and patterns: matches of a pattern in natural order, everything else in the order given.

    A list of plain names that differ only in numbers, as a shell makes it from a pattern, is put in natural order too.
    """
    given = [str(paths)] if isinstance(paths, str | Path) else [str(path) for path in paths]
    if not given:
        raise AuditError("no input files: give at least one name or pattern")
    files: list[str] = []
    for name in given:
        if Path(name).is_dir():
            raise AuditError(f"{name} is a folder; give the files in it, for example '{name}/*.lammpstrj'")
        if Path(name).exists():
            files.append(name)
        elif glob.has_magic(name):
            found = sorted(glob.glob(name, recursive=True), key=natural)
            if not found:
                raise AuditError(f"no file matches the pattern {name!r} (in {Path.cwd()})")
            files += found
        else:
            raise AuditError(f"there is no file {name!r} (in {Path.cwd()})")
    doubles = {name for name in files if files.count(name) > 1}
    if doubles:
        raise AuditError(f"{sorted(doubles)[0]} is named twice")
    if len({re.sub(r"\d+", "#", name) for name in files}) == 1 and files == sorted(files):
        files.sort(key=natural)
    return files


def open_source(path: str, mapper: Callable[..., Any] = map) -> Source:
    """The reader of a file. Text dumps are known by their first line, other formats by their ending."""
    if Path(path).stat().st_size == 0:
        raise AuditError(f"{path} is empty (byte 0); remove it from the list of files")
    name = re.sub(r"\.(gz|zst)$", "", path.lower())
    suffix = Path(name).suffix
    from mgdask.readers import formats

    if suffix in (".h5", ".h5md", ".hdf5"):
        return formats.H5MD(path)
    if suffix in (".nc", ".ncdf", ".netcdf"):
        return formats.NetCDF(path)
    if suffix in (".bin", ".lammpsbin"):
        return formats.BinaryDump(path)
    if suffix in (".xyz", ".extxyz"):
        return formats.ExtXYZ(path)
    try:
        with open_stream(path) as stream:
            head = stream.read(256)
    except (OSError, zlib.error) as error:
        raise AuditError(f"{path} cannot be read: {error}") from error
    if suffix in (".data", ".lmp") or (not head.lstrip().startswith(b"ITEM:") and b"LAMMPS data file" in head):
        return formats.DataFile(path)
    return LammpsDump(path, mapper)
