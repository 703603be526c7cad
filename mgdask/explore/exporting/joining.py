"""Join the parts of files in order, so that a killed export goes on where it was."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mgdask.errors import StoreError
from mgdask.explore.exporting.reading import Part
from mgdask.store.durable import flush_folder, write_file
from mgdask.store.failures import explained

_JOB, _STATE = "job.json", "state.json"


def parts_folder(out: Path) -> Path:
    """Return the folder of the parts of an unfinished export."""
    return out.with_name(f"{out.name}.parts")


def part_file(folder: Path, number: int) -> Path:
    """Return the file of a part."""
    return folder / f"part-{number:08d}"


def prepare(folder: Path, identity: str) -> bool:
    """Create the folder of parts, or keep that of the same export.

    Parameters
    ----------
    folder
        The folder, whose lock the caller holds.
    identity
        Digest of the export; empty if it cannot be resumed.

    Returns
    -------
    kept
        Whether an earlier export is resumed.

    Raises
    ------
    StoreError
        If the folder holds something else.
    """
    job = folder / _JOB
    others = [path for path in folder.iterdir() if not path.name.startswith("lock")]
    if others and not job.exists():
        raise StoreError(
            f"{folder} exists and holds no unfinished export; choose another out= (--out), or "
            "move that folder"
        )
    with suppress(ValueError, OSError):
        if identity and json.loads(job.read_text())["identity"] == identity:
            return True
    for path in others:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    write_file(job, json.dumps({"identity": identity}).encode())
    return False


def write_part(folder: Path, number: int, data: bytes) -> None:
    """Write a part as a whole; two processes may write the same one."""
    path = part_file(folder, number)
    with explained(path):
        write_file(path, data, fresh=path.with_name(f"{path.name}.{uuid.uuid4().hex}"))


class Joiner:
    """Appends the parts of files in order, and puts finished files in their place.

    What has been appended is noted after every part. A file that was cut short is
    continued from there.

    Parameters
    ----------
    folder
        Folder of the parts.
    parts
        All parts.
    files
        Files to write.
    """

    def __init__(self, folder: Path, parts: Sequence[Part], files: Sequence[Path]) -> None:
        self.folder, self.parts, self.files = folder, parts, files
        self.next, self.size, self.placed = 0, 0, 0
        with suppress(ValueError, OSError, KeyError):
            state = json.loads((folder / _STATE).read_text())
            self.next, self.size, self.placed = state["next"], state["size"], state["placed"]
        if not self._is_as_noted():
            self.next, self.size, self.placed = 0, 0, 0
        self._place()

    def missing(self) -> list[Part]:
        """Return the parts that are to be written."""
        return [
            part
            for part in self.parts[self.next :]
            if not part_file(self.folder, part.number).exists()
        ]

    def advance(self) -> None:
        """Append all parts that are next in order."""
        while self.next < len(self.parts):
            path = part_file(self.folder, self.next)
            try:
                with open(path, "rb") as stream:
                    data = stream.read()
            except FileNotFoundError:
                return
            self.append(data)
            path.unlink(missing_ok=True)

    def append(self, data: bytes) -> None:
        """Append the next part."""
        file = self.parts[self.next].file
        path = self._growing(file)
        with explained(path), open(path, "r+b" if self.size else "wb") as stream:
            stream.truncate(self.size)
            stream.seek(self.size)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        self.next, self.size = self.next + 1, self.size + len(data)
        self._note()
        self._place()

    def _place(self) -> None:
        """Rename a file whose last part has been appended."""
        if self.placed < len(self.files) and self.next and self._is_whole():
            target = self.files[self.placed]
            with explained(target), suppress(FileNotFoundError):  # it is in its place already
                os.replace(self._growing(self.placed), target)
                flush_folder(target.absolute().parent)
            self.placed, self.size = self.placed + 1, 0
            self._note()

    def _is_as_noted(self) -> bool:
        """Return whether the file that grows has what was appended to it."""
        if not self.next or not self.size:
            return True
        path = self._growing(self.placed)
        if self._is_whole() and not path.exists():  # it was renamed just before the end
            path = self.files[self.placed]
        return path.exists() and path.stat().st_size >= self.size

    def _is_whole(self) -> bool:
        return self.next == len(self.parts) or self.parts[self.next].file > self.placed

    def _note(self) -> None:
        state = {"next": self.next, "size": self.size, "placed": self.placed}
        with explained(self.folder):
            write_file(self.folder / _STATE, json.dumps(state).encode())

    def _growing(self, file: int) -> Path:
        return self.folder / f"joined-{file:06d}"
