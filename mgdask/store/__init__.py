"""The one room that imports zarr: layout, shards, whole-shard writes, the manifest of finished blocks, opening."""
