"""Compilation of the kernels.

A kernel has one explicit signature and is compiled at its first call, not at import.
Numba numbers the cache files of a function consecutively. Two processes that compile
different signatures of one function at the same time can overwrite each other's files.
With one signature both write the same file, by renaming.

The subfolder of the cache is named by a digest of all kernel sources, because numba
only checks the file of the outermost function for changes.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, cast

import numba
from numba import types

from mgdask.kernels._cache import CacheEntry, cache_root, private_folder

P = ParamSpec("P")
R = TypeVar("R")

_LOCK = threading.RLock()


def array(kind: Any, ndim: int, *, out: bool = False) -> Any:
    """Return the numba type of a C-contiguous array.

    Arrays are read-only unless ``out`` is True. A read-only type accepts writable
    arrays too.
    """
    return types.Array(kind, ndim, "C", readonly=not out)


@lru_cache(maxsize=1)
def cache_directory() -> str | None:
    """Return the folder of compiled kernels; ``None`` if they cannot be kept.

    No other user can write it.
    """
    root = cache_root()
    if root is None:
        return None
    digest = hashlib.sha256(f"{numba.__version__} {sys.version_info[:3]}".encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    folder = private_folder(root / digest.hexdigest()[:16])
    return None if folder is None else str(folder)


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
                dispatcher = self._from_cache()
                if dispatcher is None or not dispatcher.signatures:
                    dispatcher = self._dispatcher(None)
                    dispatcher.compile(self._signature)
                dispatcher.disable_compile()
                self._compiled = dispatcher
            return self._compiled

    def _dispatcher(self, folder: str | None) -> Any:
        """Return numba's compiler of the function, with or without a cache."""
        before = numba.config.CACHE_DIR
        # numba reads the folder when a function is decorated; it is restored so that
        # functions of other packages keep their own
        numba.config.CACHE_DIR = folder or before
        try:
            decorate = numba.njit(nogil=True, cache=folder is not None, error_model="numpy")
            return decorate(self.__wrapped__)
        finally:
            numba.config.CACHE_DIR = before

    def _from_cache(self) -> Any:
        """Return the compiler after it has loaded or compiled and saved the kernel.

        ``None`` if the cache cannot be used.
        """
        folder = cache_directory()
        if folder is None:
            return None
        try:
            dispatcher = self._dispatcher(folder)
        except RuntimeError:  # numba cannot write to the folder
            return None
        entry = CacheEntry(self.__wrapped__, Path(folder), Path(dispatcher.stats.cache_path))
        with entry.compiled_once() as usable:
            if not usable:
                return None
            with suppress(OSError):  # a full disk: the kernel is compiled, but not kept
                dispatcher.compile(self._signature)
                if dispatcher.stats.cache_misses:
                    entry.record()
        return dispatcher

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
