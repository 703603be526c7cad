"""Selection of the reader of a file by the file's content."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath

from mgdask.bounds import shortened
from mgdask.errors import AuditError, MgdaskError
from mgdask.readers.files import Forward, expand, fingerprint, open_binary, printable
from mgdask.readers.records import Contents, FrameRef, Source, SourceInfo, Table

__all__ = ["expand", "inspect_source", "open_source", "sniff"]

_MAGIC = {b"\x1f\x8b": "gz", b"\x28\xb5\x2f\xfd": "zst"}


def sniff(path: str) -> str:
    """Return the kind of a file by its content.

    Kinds are lammps, lammps-gz, lammps-zst, data, extxyz, h5md, netcdf, binary, and
    frames for those that mgdask writes from Python objects.
    Raise ``AuditError`` if it is none of these.
    """
    with open_binary(path) as file:
        head = file.read(4096)
    if not head:
        raise AuditError(f"{path}: the file is empty (0 bytes)")
    suffixes = [suffix.lower() for suffix in PurePath(path).suffixes]
    packing = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "plain")
    if packing != "plain":
        unpacked = Forward(path, packing)
        head = unpacked.read(4096)
        unpacked.close()
        if not head:
            raise AuditError(
                f"{path}: nothing can be decompressed from this {packing} file: it is empty, or "
                "truncated near its beginning"
            )
    if head.startswith(b"MGDASK FRAMES "):
        return "frames"
    if head.startswith(b"\x89HDF"):
        return "netcdf" if suffixes[-1:] in ([".nc"], [".ncdf"], [".netcdf"]) else "h5md"
    if head.startswith(b"CDF"):
        return "netcdf"
    if b"DUMPCUSTOM" in head[:64] or b"DUMPATOM" in head[:64] or suffixes[-1:] == [".bin"]:
        return "binary"
    if b"ITEM: " in head:
        return "lammps" if packing == "plain" else f"lammps-{packing}"
    lines = head.split(b"\n")
    if (
        len(lines) > 1
        and lines[0].strip().isdigit()
        and (b"Lattice=" in lines[1] or b"Properties=" in lines[1])
    ):
        return _plain_only("extxyz", packing, path)
    if b"xlo xhi" in head or b" avec" in head:
        return _plain_only("data", packing, path)
    # a dump whose beginning is missing has no "ITEM: " in its head
    if {".lammpstrj", ".dump", ".lammpsdump"} & set(suffixes) and b"\0" not in head:
        return "lammps" if packing == "plain" else f"lammps-{packing}"
    raise AuditError(
        f"{path}: not a trajectory that mgdask reads: it begins with "
        f"{head[:60].decode('utf-8', 'replace')!r}. Supported are LAMMPS "
        "dumps (text, gz, zst, binary) and data files, extxyz with a Lattice, H5MD and NetCDF"
    )


def _plain_only(kind: str, packing: str, path: str) -> str:
    if packing == "plain":
        return kind
    raise AuditError(
        f"{path}: {kind} files cannot be read compressed; unpack it first "
        f"({'gunzip -k' if packing == 'gz' else 'unzstd'} {path})"
    )


def inspect_source(
    path: str,
    *,
    units: str | None = None,
    atom_style: str | None = None,
    particles: str | None = None,
) -> SourceInfo:
    """Return kind, size, modification time and fingerprint of a file."""
    kind = sniff(path)
    status = os.stat(path)
    given = {"atom_style": atom_style, "particles": particles}
    options = tuple((name, value) for name, value in given.items() if value)
    return SourceInfo(
        path,
        kind,
        status.st_size,
        status.st_mtime_ns,
        fingerprint(path, status.st_size),
        None,
        units,
        options,
    )


def check_unchanged(info: SourceInfo) -> None:
    """Raise ``AuditError`` if a file is not the one that was indexed.

    A file that has only grown is accepted.
    """
    try:
        status = os.stat(info.path)
    except OSError as error:
        raise AuditError(f"{info.path}: can no longer be read: {error.strerror}") from error
    if (status.st_size, status.st_mtime_ns) == (info.size, info.mtime_ns):
        return
    if status.st_size < info.size or fingerprint(info.path, info.size) != info.fingerprint:
        raise AuditError(
            f"{info.path}: the file has changed since it was indexed; run the ingest again"
        )


def _lammps(info: SourceInfo) -> Source:
    from mgdask.readers.formats.lammps import LammpsDump

    return LammpsDump(info)


def _data(info: SourceInfo) -> Source:
    from mgdask.readers.formats.lammps_data import LammpsData

    return LammpsData(info)


def _extxyz(info: SourceInfo) -> Source:
    from mgdask.readers.formats.extxyz import ExtendedXyz

    return ExtendedXyz(info)


def _h5md(info: SourceInfo) -> Source:
    from mgdask.readers.formats.h5md import H5md

    return H5md(info)


def _netcdf(info: SourceInfo) -> Source:
    from mgdask.readers.formats.netcdf import NetCdf

    return NetCdf(info)


def _frames(info: SourceInfo) -> Source:
    from mgdask.readers.formats.frame_file import FrameFile

    return FrameFile(info)


def _binary(info: SourceInfo) -> Source:
    from mgdask.readers.formats.binary import BinaryDump

    return BinaryDump(info)


_OPEN: dict[str, Callable[[SourceInfo], Source]] = {
    "lammps": _lammps,
    "lammps-gz": _lammps,
    "lammps-zst": _lammps,
    "data": _data,
    "extxyz": _extxyz,
    "h5md": _h5md,
    "netcdf": _netcdf,
    "binary": _binary,
    "frames": _frames,
}


def open_source(source: str | SourceInfo, **options: str | None) -> Source:
    """Open the reader of one file.

    Raise ``MissingDependencyError`` if the library that reads the format is missing.
    """
    info = inspect_source(source, **options) if isinstance(source, str) else source
    if info.kind not in _FOREIGN:
        return _OPEN[info.kind](info)
    if info.kind == "binary" and printable(info.path) != info.path:
        raise AuditError(
            f"{printable(info.path)}: the library that reads {_FOREIGN[info.kind]} files needs a "
            "name in UTF-8; rename the file or its folder"
        )
    with _audit_errors(info):
        return _GuardedSource(info, _OPEN[info.kind](info))


_FOREIGN = {"h5md": "HDF5", "netcdf": "NetCDF", "binary": "binary dump"}
"""Kinds that other libraries read. A damaged file may raise any exception in them."""


@contextmanager
def _audit_errors(info: SourceInfo) -> Iterator[None]:
    """Turn exceptions of other libraries into ``AuditError``."""
    try:
        yield
    except MgdaskError:
        raise
    except Exception as error:
        raise AuditError(
            f"{info.path}: the {_FOREIGN[info.kind]} file cannot be read: "
            f"{type(error).__name__}: {shortened(str(error), 300)}. It is damaged or "
            "malformed: copy or write it again"
        ) from error


class _GuardedSource:
    """A reader whose exceptions are those of mgdask."""

    def __init__(self, info: SourceInfo, inner: Source) -> None:
        self.info, self.inner = info, inner

    def index(self) -> Contents:
        """Return all frames."""
        with _audit_errors(self.info):
            return self.inner.index()

    def read(self, ref: FrameRef, columns: Sequence[str]) -> Table:
        """Return the given columns of one frame."""
        with _audit_errors(self.info):
            return self.inner.read(ref, columns)

    def close(self) -> None:
        """Close the file."""
        self.inner.close()
