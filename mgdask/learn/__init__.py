"""Learn from columns: training that survives lost workers, splits by group, metrics with intervals, explanation."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
