"""mgdask: trajectories of metallic glasses in, labelled atomic features out, at any scale.

    dump files -> ingest -> store (Zarr) -> plan -> tasks -> kernels -> features (Zarr) -> xarray

The public names are loaded when first used, so that ``import mgdask`` costs nothing on a worker.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mgdask.features.soap import SOAP
    from mgdask.store.open import open_store
    from mgdask.tasks.graph import featurize
    from mgdask.tasks.ingest import ingest
    from mgdask.tasks.plan import plan
    from mgdask.tasks.run import run

try:
    __version__ = version("mgdask")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0+unknown"

_HOME = {
    "SOAP": "mgdask.features.soap",
    "featurize": "mgdask.tasks.graph",
    "ingest": "mgdask.tasks.ingest",
    "open_store": "mgdask.store.open",
    "plan": "mgdask.tasks.plan",
    "run": "mgdask.tasks.run",
}

__all__ = ["SOAP", "__version__", "featurize", "ingest", "open_store", "plan", "run"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mgdask' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
