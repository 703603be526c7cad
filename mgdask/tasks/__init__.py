"""Plans, graphs and runs: the only room that builds dask graphs."""
