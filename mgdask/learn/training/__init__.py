"""Boosted trees in one process or on the ranks of a cluster."""
