"""Checks of the arguments of an ingest that need no worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from mgdask.errors import ParameterError, StoreError
from mgdask.readers.audit import REPEATED
from mgdask.readers.files import printable
from mgdask.readers.indexing import check_arguments, parse_frames
from mgdask.readers.sources import inspect_source
from mgdask.store.appends import read_appends
from mgdask.store.attributes import decode
from mgdask.store.failures import DamagedStoreError
from mgdask.store.mark import check_sound
from mgdask.store.open import check_complete
from mgdask.store.restoring import check_described
from mgdask.store.shards import check_new, open_group
from mgdask.store.writable import check_writable


def check_reading(options: Mapping[str, Any], species: Any, timestep: float | None) -> None:
    """Check the arguments that say how files are read.

    Parameters
    ----------
    options
        Further arguments of ``take_inventory``.
    species, timestep
        As in ``ingest``.

    Raises
    ------
    ParameterError
        If a value is not allowed.
    """
    check_arguments(species, timestep, options.get("units"), options.get("origin"))
    repeated = options.get("repeated", "last")
    if repeated not in REPEATED:
        raise ParameterError(f"repeated={repeated!r} must be one of {', '.join(REPEATED)}")
    parse_frames(options.get("frames"))


def check_target(out: Path, files: Sequence[str], *, append: bool, overwrite: bool) -> None:
    """Refuse a target that this ingest cannot write, as far as is known by now.

    Parameters
    ----------
    out
        Store to write.
    files
        Files to read.
    append, overwrite
        As in ``ingest``.

    Raises
    ------
    StoreError
        If ``out`` may not be replaced, or cannot be written.
    """
    check_writable(out)
    if append:
        _check_appendable(out)
    elif out.exists() and (overwrite or not _may_continue(out, files)):
        check_new(out, overwrite=overwrite)


def _check_appendable(out: Path) -> None:
    """Refuse a target without frames to continue."""
    group = open_group(out)
    if group.attrs.get("mgdask_kind") != "trajectory":
        raise StoreError(f"append: {out} is not a trajectory store")
    if not read_appends(group):  # otherwise an earlier call may be continued
        check_complete(out, kind="trajectory")
    check_sound(out)
    check_described(out, "trajectory")


def _may_continue(out: Path, files: Sequence[str]) -> bool:
    """Return whether a store may have been begun by an ingest of these files."""
    try:
        group = open_group(out)
    except DamagedStoreError:
        raise
    except StoreError:
        return False
    attrs = group.attrs
    if attrs.get("mgdask_kind") != "trajectory":
        return False
    stored = decode(attrs, "source_files")
    if read_appends(group) or not isinstance(stored, list):
        return True
    # the store lists only files that have frames in it
    names = {str(source.get("name")) for source in stored}
    read = [name for name in files if printable(PurePath(name).name) in names]
    given = {(info.kind, info.size, info.fingerprint) for info in map(inspect_source, read)}
    return all(
        (one.get("kind"), one.get("bytes"), one.get("sha256_ends")) in given for one in stored
    )
