"""Analyses of computed numbers: relaxation, creep, barriers, groups, order, profiles.

All are pure functions on arrays. They read no files and submit no tasks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
