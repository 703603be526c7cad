"""Features of a stored trajectory: planned, computed block by block, or lazy."""
