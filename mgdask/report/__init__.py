"""Generic output for people and programs: HTML pages, JSON, text for terminals.

Nothing here depends on a study. A study computes its numbers, and selects the tables
and figures of its page.
"""
