"""Numba kernels on NumPy arrays: pure, deterministic, float64 inside.

Kernels do not depend on Dask, xarray, Zarr or files.
"""
