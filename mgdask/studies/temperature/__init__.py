"""Machine-learned temperature: Liu X. et al., J. Mater. Inf. 2, 20 (2022)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
