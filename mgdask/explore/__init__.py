"""Interactive exploration: the accessor ``ds.mg``, pictures, and export.

Opened stores and lazy features have the accessor. Importing this module gives it to
every Dataset and DataArray. Pictures for reports are in ``mgdask.plot``, text and pages
in ``mgdask.report``.
"""

from mgdask._accessor import register

register()
