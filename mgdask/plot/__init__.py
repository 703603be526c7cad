"""Generic matplotlib pictures, one kind per file.

Nothing here depends on a study or a paper. matplotlib is imported when the first
picture is drawn, not when this package is imported.
"""
