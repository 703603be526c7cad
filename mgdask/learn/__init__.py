"""Machine learning on feature columns, without any knowledge of glasses.

Training that survives lost workers, splits by group, metrics with intervals, parameter
search, feature selection, prediction and explanation.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
