"""The folder of compiled kernels, and what in it may be loaded.

The cache is on the node's local disk, because workers that share a cache on a network
file system can crash. The folder is ``$MGDASK_CACHE_DIR``, else ``$NUMBA_CACHE_DIR``,
else ``<temporary folder>/mgdask-<uid>``. It is used only if no other user can write it,
because cached code is executed.

A record beside the files of a kernel holds their checksums. Files without record, or
with other checksums, are never loaded: damaged machine code could end the process or
give wrong numbers. They are removed, and the kernel is recompiled.

Only one process of a node compiles a kernel. The others wait and then load it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from mgdask.ownership import tamper_risk, user_id

log = logging.getLogger(__name__)

MAX_WAIT = 120.0
"""Longest wait in seconds for a kernel that another process compiles."""
_REMARK_MADE = "MGDASK_CACHE_REMARK_MADE"
"""Environment variable that keeps worker processes from repeating the warning."""


@lru_cache(maxsize=1)
def cache_root() -> Path | None:
    """Return the folder of all caches of this user; ``None`` if it must not be used."""
    named = os.environ.get("MGDASK_CACHE_DIR") or os.environ.get("NUMBA_CACHE_DIR")
    root = Path(named) if named else Path(tempfile.gettempdir()) / f"mgdask-{user_id()}"
    return private_folder(root)


def private_folder(folder: Path) -> Path | None:
    """Return a folder without links in its path, made if it does not exist.

    Returns ``None``, after one warning, if another user could write the folder or this
    user cannot.
    """
    try:
        folder = folder.resolve()
        for missing in reversed([p for p in (folder, *folder.parents) if not p.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
        reason = tamper_risk(folder)
        if reason is None and not os.access(folder, os.W_OK):
            reason = f"{folder} cannot be written"
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        reason = f"{folder}: {getattr(error, 'strerror', None) or error}"
    if reason is None:
        return folder
    if not os.environ.get(_REMARK_MADE):
        os.environ[_REMARK_MADE] = "1"
        log.warning(
            "compiled kernels are not cached, so each process compiles them again: %s. Set "
            "MGDASK_CACHE_DIR to a folder that belongs to you and that only you can write",
            reason,
        )
    return None


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class CacheEntry:
    """Cached files of one kernel.

    Parameters
    ----------
    function
        Function that is compiled.
    folder
        Folder of the locks and records.
    files_folder
        Folder of numba's files.
    """

    def __init__(self, function: Callable[..., Any], folder: Path, files_folder: Path) -> None:
        code = function.__code__
        source = hashlib.sha256(code.co_filename.encode()).hexdigest()[:8]
        name = f"{function.__module__}.{function.__qualname__}-{source}"
        self.name = f"{function.__module__}.{function.__qualname__}"
        self._lock, self._record = folder / f"{name}.lock", folder / f"{name}.json"
        self._files_folder = files_folder
        qualified = function.__qualname__.replace("<", "").replace(">", "")
        # numba's own name of the files
        self._prefix = f"{Path(code.co_filename).stem}.{qualified}-{code.co_firstlineno}.py"

    def _checksums(self) -> dict[str, str]:
        """Return the SHA-256 of each of numba's files."""
        if not self._files_folder.is_dir():
            return {}
        return {
            path.name: _checksum(path)
            for path in sorted(self._files_folder.iterdir())
            if path.name.startswith(self._prefix) and path.suffix in (".nbi", ".nbc")
        }

    def _recorded(self) -> dict[str, str]:
        try:
            recorded = json.loads(self._record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return recorded if isinstance(recorded, dict) else {}

    def is_intact(self) -> bool:
        """Return whether files are recorded and all have their checksums."""
        recorded = self._recorded()
        with suppress(OSError):
            # numba reads only files that the first of them, the index, names
            return bool(recorded) and all(
                _checksum(self._files_folder / name) == known for name, known in recorded.items()
            )
        return False

    def remove_damaged(self) -> None:
        """Remove the files and their record; warn unless they are only incomplete."""
        recorded, found = self._recorded(), self._checksums()
        changed = any(recorded.get(name) != checksum for name, checksum in found.items())
        if changed and self._record.exists():
            log.warning(
                "the compiled kernel %s in %s is damaged and will be recompiled",
                self.name,
                self._files_folder,
            )
        for path in (self._record, *(self._files_folder / name for name in found)):
            path.unlink(missing_ok=True)

    def record(self) -> None:
        """Record the checksums of the files."""
        temporary = self._record.with_name(f".{self._record.name}.{os.getpid()}")
        temporary.write_text(json.dumps(self._checksums()), encoding="utf-8")
        os.replace(temporary, self._record)

    @contextmanager
    def compiled_once(self) -> Iterator[bool]:
        """Wait while another process of this node compiles the kernel.

        A lock file is held during the compilation, and ends with the process. Damaged
        files are removed first. Where locks do not work, two processes may compile the
        same kernel, which does no harm.

        Yields
        ------
        usable
            Whether the cache may be used: its files are intact, or none is left.
        """
        try:
            import fcntl

            lock = open(self._lock, "ab")  # noqa: SIM115
        except (ImportError, OSError):  # Windows, or a full disk
            yield self.is_intact()
            return
        with lock:
            deadline = time.monotonic() + MAX_WAIT
            while not (usable := self.is_intact()) and time.monotonic() < deadline:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    time.sleep(0.05)
                    continue
                except OSError:  # a file system without locks
                    pass
                with suppress(OSError):
                    if not self.is_intact():  # which another process may have compiled
                        self.remove_damaged()
                    usable = True
                break
            yield usable
