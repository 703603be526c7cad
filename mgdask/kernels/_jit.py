"""Compilation of the kernels, and the folder that holds compiled code.

A kernel has one explicit signature and is compiled at its first call, not at import.
Numba numbers the cache files of a function consecutively. Two processes that compile
different signatures of one function at the same time can overwrite each other's files.
With one signature both write the same file, by renaming.

The cache is on the node's local disk, because workers that share a cache on a network
file system can crash. Other users cannot write to its folder, because cached code is
executed. The folder is ``$MGDASK_CACHE_DIR``, else ``$NUMBA_CACHE_DIR``, else
``<temporary folder>/mgdask-<uid>``. Its subfolder is named by a digest of all kernel
sources, because numba only checks the file of the outermost function for changes.

Only one process of a node compiles a kernel. The others wait and then load it.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, cast

import numba
from numba import types

P = ParamSpec("P")
R = TypeVar("R")

_LOCK = threading.RLock()
MAX_WAIT = 120.0
"""Longest wait in seconds for a kernel that another process compiles."""


def array(kind: Any, ndim: int, *, out: bool = False) -> Any:
    """Return the numba type of a C-contiguous array.

    Arrays are read-only unless ``out`` is True. A read-only type accepts writable
    arrays too.
    """
    return types.Array(kind, ndim, "C", readonly=not out)


@lru_cache(maxsize=1)
def cache_directory() -> str:
    """Return the folder of compiled kernels, private to this user.

    A temporary folder is made if the usual one is not private or not writable.
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


@contextmanager
def _compiled_once(function: Callable[..., Any]) -> Iterator[None]:
    """Wait while another process of this node compiles a function.

    A file in the cache is locked during the compilation, and is not empty afterwards.
    Its lock ends with the process. Without a working lock, or after ``MAX_WAIT``, two
    processes may compile the same function, which does no harm.
    """
    source = hashlib.sha256(function.__code__.co_filename.encode()).hexdigest()[:8]
    name = f"{function.__module__}.{function.__qualname__}-{source}.lock"
    try:
        import fcntl

        file = open(Path(cache_directory()) / name, "ab")  # noqa: SIM115
    except (ImportError, OSError):  # Windows, or a full disk
        yield
        return
    with file:
        deadline = time.monotonic() + MAX_WAIT
        while not os.fstat(file.fileno()).st_size and time.monotonic() < deadline:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.05)
            except OSError:  # a file system without locks
                break
        yield
        if not os.fstat(file.fileno()).st_size:
            with suppress(OSError):
                file.write(b"compiled\n")
                file.flush()


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
                # numba reads the folder when a function is decorated; it is
                # restored so that functions of other packages keep their own
                numba.config.CACHE_DIR = cache_directory()
                try:
                    dispatcher = numba.njit(nogil=True, cache=True, error_model="numpy")(
                        self.__wrapped__
                    )
                finally:
                    numba.config.CACHE_DIR = before
                with _compiled_once(self.__wrapped__):
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
