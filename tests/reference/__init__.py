"""Naive twins of the kernels, and closed forms. The twins import nothing of mgdask."""
