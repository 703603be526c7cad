"""Generic output for people and programs: HTML pages, JSON, text for terminals.

Nothing here knows of a study. A study makes its numbers, and says which tables and
figures a page shows.
"""
