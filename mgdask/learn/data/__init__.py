"""Rows of feature stores as training tables, and how they are split."""
