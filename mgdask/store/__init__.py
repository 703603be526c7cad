"""The only room that imports zarr: layout, shards, manifest, opening, checks."""
