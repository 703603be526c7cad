"""Quench-in softness: Wang and Jain, Nat. Commun. 10, 5537 (2019)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
