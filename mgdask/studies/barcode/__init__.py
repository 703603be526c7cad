"""The barcode of a glass: Liu et al., Acta Mater. 259, 119281 (2023)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
