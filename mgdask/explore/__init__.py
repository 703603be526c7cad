"""Interactive exploration: an xarray accessor, and export to the field's tools.

It is empty for now; both come with issue 17. Pictures are in ``mgdask.plot``, text and
pages in ``mgdask.report``.
"""
