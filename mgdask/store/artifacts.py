"""Artifacts: a few files that are written once and read later, such as a model.

One JSON file describes an artifact. It carries the SHA-256 of the other files and of
its own content, and is written last. ``read_artifact`` checks them all before anything
else sees the files. A parser of another library may crash, hang or give wrong numbers
if its input is damaged.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgdask.errors import StoreError
from mgdask.store.durable import flush_file, flush_folder, write_file
from mgdask.store.failures import explained
from mgdask.store.provenance import digest

logger = logging.getLogger(__name__)

CHECKSUMS = "sha256"
"""Key of the checksums in the JSON file."""
CONTENT = "content"
"""Name of the checksum of the JSON file's own content."""
LAYOUT = "artifact"
"""Key of the version of this layout. A file that has it must have checksums."""


@dataclass(frozen=True)
class Artifact:
    """What ``read_artifact`` has read.

    Attributes
    ----------
    content
        Content of the JSON file, without the checksums.
    files
        Bytes of the other files by name.
    """

    content: dict[str, Any]
    files: dict[str, bytes]


def write_artifact(
    path: str | Path,
    content: Mapping[str, Any],
    files: Mapping[str, bytes] | None = None,
    *,
    existing: Iterable[str] = (),
) -> None:
    """Write an artifact. It is on disk when this returns.

    Parameters
    ----------
    path
        JSON file to write, in an existing folder.
    content
        Content of the JSON file.
    files
        Bytes of further files by name, written beside it.
    existing
        Names of further files that are there already, written by another library.

    Raises
    ------
    StorageFullError
        If the folder cannot be written.
    """
    path = Path(path)
    # as JSON will return it: keys are text, sequences are lists
    plain = json.loads(json.dumps({LAYOUT: 1, **content}))
    sums = {CONTENT: digest(plain)}
    with explained(path.parent):
        for name, data in (files or {}).items():
            sums[name] = hashlib.sha256(data).hexdigest()
            write_file(path.with_name(name), data)
        for name in existing:
            with open(path.with_name(name), "rb") as stream:
                sums[name] = hashlib.file_digest(stream, "sha256").hexdigest()
            flush_file(path.with_name(name))
        write_file(path, json.dumps({**plain, CHECKSUMS: sums}, indent=1).encode())
        flush_folder(path.parent)


def read_artifact(
    path: str | Path, *files: str, what: str, remedy: str, renewal: str = ""
) -> Artifact:
    """Read an artifact and check it.

    Parameters
    ----------
    path
        Its JSON file.
    files
        Names of further files that the artifact must have.
    what
        What it is, for error messages, such as ``"model"``.
    remedy
        What to do if it is damaged, as an imperative.
    renewal
        Call that writes an artifact of version 0.1 again, with checksums.

    Returns
    -------
    artifact
        An ``Artifact``.

    Raises
    ------
    StoreError
        If a file is missing or damaged. The message names it.

    Notes
    -----
    An artifact of version 0.1 has no checksums. It is read, with a warning.
    """
    path = Path(path)
    content = _read_json(path, what, remedy)
    sums = content.pop(CHECKSUMS, None)
    named = sums if isinstance(sums, dict) else {}
    names = {*files, *named} - {CONTENT}
    if any(Path(name).name != name for name in names):
        raise _damaged(path, what, f"{CHECKSUMS} names no files beside it", remedy)
    found = {name: _read(path.with_name(name), what, remedy) for name in sorted(names)}
    if sums is None and LAYOUT not in content:
        hint = f"; {renewal} adds them" if renewal else ""
        logger.warning("%s was written without checksums: damage cannot be detected%s", path, hint)
        return Artifact(content, found)
    if LAYOUT not in content or named.get(CONTENT) != digest(content):
        raise _damaged(path, what, "it differs from what was written", remedy)
    for name, data in found.items():
        if named.get(name) != hashlib.sha256(data).hexdigest():
            text = "it differs from what was written"
            raise _damaged(path.with_name(name), what, text, remedy)
    del content[LAYOUT]
    return Artifact(content, found)


def _read_json(path: Path, what: str, remedy: str) -> dict[str, Any]:
    data = _read(path, what, remedy)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, what, f"it is not JSON: {error}", remedy) from None
    if not isinstance(content, dict):
        raise _damaged(path, what, f"it holds a {type(content).__name__}", remedy)
    return content


def _read(path: Path, what: str, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"{path.parent} holds no {what}: {path.name} cannot be read ({error.strerror}); "
            f"{remedy}"
        ) from None


def _damaged(path: Path, what: str, text: str, remedy: str) -> StoreError:
    return StoreError(f"the {what} in {path.parent} is damaged, in {path.name}: {text}; {remedy}")
