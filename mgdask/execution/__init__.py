"""The only room that submits to Dask: client, executor, progress, results."""
