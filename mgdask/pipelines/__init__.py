"""Computations that run as tasks.

Ingest, unwrapping, radial distribution functions, dynamics, verification and features.
"""
