"""Imported by the fork server: libraries and kernels that the commands need."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import tests.forked  # noqa: F401

FEATURES = (
    "--soap",
    "r_cut=5,n_max=2,l_max=1,sigma=0.5,rbf=polynomial",
    "--feature",
    "bond_order:degrees=6,quantities=q,neighbors=cutoff,cutoff=5.0",
)
"""Features of the benchmark; their kernels compile quickly."""


def load_kernels() -> None:
    """Load the kernels of all commands from the cache, or compile them."""
    import numpy as np

    import mgdask
    from mgdask.kernels import _jit

    rng = np.random.default_rng(0)
    cell = np.diag([12.0, 12.0, 12.0])
    position = rng.uniform(0, 12, (60, 3))
    numbers = np.array([29, 40] * 30)
    soap = mgdask.SOAP(species=("Cu", "Zr"), r_cut=5.0, n_max=2, l_max=1, sigma=0.5)
    soap.compute(position, cell, numbers)
    names = os.environ.get("MGDASK_FAULTS_KERNELS", "")
    for word in filter(None, names.split(",")):
        module, name = word.split(":")
        found = getattr(__import__(module, fromlist=[name]), name)
        if isinstance(found, _jit.Kernel):
            found.compile()


def loaded_kernels() -> list[str]:
    """Return the kernels that this process has compiled or loaded."""
    import sys

    from mgdask.kernels import _jit

    return sorted(
        {
            f"{value.__wrapped__.__module__}:{value.__name__}"
            for name, module in list(sys.modules.items())
            if name.startswith("mgdask.kernels")
            for value in vars(module).values()
            if isinstance(value, _jit.Kernel) and value._compiled is not None
        }
    )


def unload_kernels() -> None:
    """Let this process load its kernels again, from an empty cache."""
    import sys

    from mgdask.kernels import _jit

    for name, module in list(sys.modules.items()):
        if name.startswith("mgdask.kernels"):
            for value in vars(module).values():
                if isinstance(value, _jit.Kernel):
                    value._compiled = None
    _jit.cache_directory.cache_clear()


if os.environ.get("MGDASK_FAULTS_PRELOAD"):
    load_kernels()
    assert Path(tempfile.gettempdir()).is_dir()
    tempfile.tempdir = None  # the processes have temporary folders of their own
    from mgdask.kernels import _jit

    _jit.cache_directory.cache_clear()
