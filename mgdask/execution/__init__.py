"""The only subpackage that submits to Dask: client, executor, progress, results."""
