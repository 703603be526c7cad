"""Numba kernels on NumPy arrays: pure, deterministic, float64 inside.

Kernels know nothing of Dask, xarray, Zarr or files.
"""
