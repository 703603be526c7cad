"""Compilation of the kernels, and the folder that holds compiled code.

A kernel has ONE explicit signature and is compiled at its first call, not at import.
Numba's cache numbers the files of a function by counting. Two processes that compile
two signatures of one function at the same time can each write the file that the
other's index entry names. With one signature both write the same file, by renaming.

The cache is on the node's local disk, in a folder of this user that other users
cannot write to, because cached code is executed. It is ``$MGDASK_CACHE_DIR``, else
``$NUMBA_CACHE_DIR``, else ``<temporary folder>/mgdask-<uid>``. On a shared file system
the caches of many workers would meet and crash. The subfolder is named by a digest of
all kernel sources: numba checks only the file of the outermost function when it
decides whether cached code is stale.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, cast

import numba
from numba import types

P = ParamSpec("P")
R = TypeVar("R")

_LOCK = threading.RLock()


def array(kind: Any, ndim: int, *, out: bool = False) -> Any:
    """Return the numba type of a C-contiguous array.

    Arrays are read-only unless ``out`` is True, so that read-only input is accepted
    too.
    """
    return types.Array(kind, ndim, "C", readonly=not out)


@lru_cache(maxsize=1)
def cache_directory() -> str:
    """Return the folder of compiled kernels, private to this user.

    A temporary folder is made if the usual one cannot be trusted or written.
    """
    named = os.environ.get("MGDASK_CACHE_DIR") or os.environ.get("NUMBA_CACHE_DIR")
    user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    root = Path(named) if named else Path(tempfile.gettempdir()) / f"mgdask-{user}"
    digest = hashlib.sha256(f"{numba.__version__} {sys.version_info[:3]}".encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = root.lstat()
        mine = not hasattr(os, "getuid") or status.st_uid == os.getuid()
        if not named and (root.is_symlink() or not mine or status.st_mode & 0o022):
            raise PermissionError(f"{root} is not private to this user")
        folder = root / digest.hexdigest()[:16]
        folder.mkdir(mode=0o700, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} is read-only")
    except OSError:
        return tempfile.mkdtemp(prefix="mgdask-")
    return str(folder)


class Kernel(Generic[P, R]):
    """A function that is compiled for one signature at its first call and cached."""

    def __init__(self, function: Callable[P, R], signature: Any) -> None:
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__wrapped__ = function
        self._signature = signature
        self._compiled: Callable[P, R] | None = None

    def compile(self) -> Callable[P, R]:
        """Compile now, or load from the cache."""
        with _LOCK:
            if self._compiled is None:
                before = numba.config.CACHE_DIR
                # numba reads the folder when a function is decorated; others' functions
                # keep theirs
                numba.config.CACHE_DIR = cache_directory()
                try:
                    dispatcher = numba.njit(nogil=True, cache=True, error_model="numpy")(
                        self.__wrapped__
                    )
                finally:
                    numba.config.CACHE_DIR = before
                dispatcher.compile(self._signature)
                dispatcher.disable_compile()
                self._compiled = dispatcher
            return self._compiled

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return (self._compiled or self.compile())(*args, **kwargs)

    def __reduce__(self) -> str:
        return self.__name__


def kernel(*signature: Any, returns: Any = types.void) -> Callable[[Callable[P, R]], Kernel[P, R]]:
    """Compile an entry point that Python calls, with the given argument types."""
    return lambda function: Kernel(function, returns(*signature))


def inner(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function into whichever kernel calls it."""
    return cast(Callable[P, R], numba.njit(nogil=True, error_model="numpy")(function))
