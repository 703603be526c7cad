"""mgdask: trajectories of metallic glasses in, labelled atomic features out, at any scale.

    dump files -> ingest -> store (Zarr) -> plan -> tasks -> kernels -> features (Zarr) -> xarray

The public names are loaded when first used, so that ``import mgdask`` costs nothing on a worker.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mgdask.features import (
        SOAP,
        BondOrder,
        Chemistry,
        Coordination,
        FoldSymmetry,
        Interstice,
        LagDisplacement,
        MediumRange,
        Motifs,
        NonAffine,
        Packing,
        SphericalChebyshev,
        SymmetryFunctions,
        VoronoiIndices,
        feature_set,
    )
    from mgdask.features.pairs import cargill_spaepen, pair_cutoffs
    from mgdask.store.open import open_store
    from mgdask.tasks.graph import featurize
    from mgdask.tasks.ingest import ingest
    from mgdask.tasks.motion import mean_squared_displacement, overlap, self_scattering, van_hove
    from mgdask.tasks.paths import unwrap
    from mgdask.tasks.plan import plan
    from mgdask.tasks.rdf import partial_rdf
    from mgdask.tasks.run import run
    from mgdask.tasks.verify import verify

try:
    __version__ = version("mgdask")
except PackageNotFoundError:  # a checkout that was not installed
    __version__ = "0+unknown"

_FEATURES = (
    "SOAP", "BondOrder", "Chemistry", "Coordination", "FoldSymmetry", "Interstice", "LagDisplacement", "MediumRange", "Motifs", "NonAffine",
    "Packing", "SphericalChebyshev", "SymmetryFunctions", "VoronoiIndices", "feature_set",
)  # fmt: skip
_MOTION = ("mean_squared_displacement", "overlap", "self_scattering", "van_hove")
_HOME = (
    dict.fromkeys(_FEATURES, "mgdask.features")
    | dict.fromkeys(_MOTION, "mgdask.tasks.motion")
    | {
        "cargill_spaepen": "mgdask.features.pairs",
        "pair_cutoffs": "mgdask.features.pairs",
        "featurize": "mgdask.tasks.graph",
        "ingest": "mgdask.tasks.ingest",
        "open_store": "mgdask.store.open",
        "partial_rdf": "mgdask.tasks.rdf",
        "plan": "mgdask.tasks.plan",
        "run": "mgdask.tasks.run",
        "unwrap": "mgdask.tasks.paths",
        "verify": "mgdask.tasks.verify",
    }
)

__all__ = [
    "SOAP", "BondOrder", "Chemistry", "Coordination", "FoldSymmetry", "Interstice", "LagDisplacement", "MediumRange", "Motifs", "NonAffine",
    "Packing", "SphericalChebyshev", "SymmetryFunctions", "VoronoiIndices", "__version__", "cargill_spaepen", "feature_set", "featurize",
    "ingest", "mean_squared_displacement", "open_store", "overlap", "pair_cutoffs", "partial_rdf", "plan", "run",
    "self_scattering", "unwrap", "van_hove", "verify",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'mgdask' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
