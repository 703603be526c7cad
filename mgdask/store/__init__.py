"""The only subpackage that imports zarr: layout, shards, manifest, opening, checks."""
