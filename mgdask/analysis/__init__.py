"""What is read off finished numbers: relaxation, creep, barriers, groups, profiles. Pure functions, no files, no tasks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
