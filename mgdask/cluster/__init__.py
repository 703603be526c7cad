"""Where workers come from: this machine, a running scheduler or a queueing system.

The list of public names is in ``__init__.pyi``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
