"""Featurize molecular-dynamics trajectories of metallic glasses at any scale.

    simulation or dump files -> readers -> store (Zarr) -> features -> execution (Dask)
    -> learn -> studies

Names are loaded when they are first used, so ``import mgdask`` costs almost nothing on
a worker. The public names are listed in ``__init__.pyi``, for this module and for type
checkers alike (SPEC 1).
"""

import sys

import lazy_loader

from mgdask import _accessor, _moved

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
_moved.install()
if "xarray" in sys.modules:  # its import takes half a second; open_store registers too
    _accessor.register()
