"""Numba kernels on NumPy arrays: pure, deterministic, float64 inside, no dask, no files."""
