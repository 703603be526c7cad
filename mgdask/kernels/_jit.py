"""How kernels are compiled and where compiled code is kept: everything about numba's compiler is in this file.

A kernel has ONE explicit signature and is compiled at its first call, not at import.
One signature, because numba's cache numbers the files of a function by counting: two
processes that compile two signatures of one function at the same time can each write
the file that the other's index entry names. With one signature both write the same
thing, by rename.

The cache is on the local disk of the node, in a folder of this user that nobody else
can write to (cached code is executed, so it must not come from others):
``$MGDASK_CACHE_DIR``, else ``$NUMBA_CACHE_DIR``, else ``<temporary
folder>/mgdask-<uid>``. A home on a shared file system is the place where caches of many
workers meet, and crash. The folder below it is named by a digest of all kernel sources,
because numba looks only at the file of the outermost function when it decides whether
code is stale.
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
    """Type of a C-contiguous array; read-only unless it is an ``out``, so that both kinds may be passed."""
    return types.Array(kind, ndim, "C", readonly=not out)


@lru_cache(maxsize=1)
def cache_directory() -> str:
    """Folder of compiled kernels, made private to this user; a fresh one if the usual place cannot be trusted."""
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
    """A function compiled for one signature when first called, and cached on the node."""

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
    """Decorator: the entry point that Python calls, with the types of its arguments."""
    return lambda function: Kernel(function, returns(*signature))


def inner(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: a piece of a kernel, compiled into whichever kernel calls it."""
    return cast(Callable[P, R], numba.njit(nogil=True, error_model="numpy")(function))
