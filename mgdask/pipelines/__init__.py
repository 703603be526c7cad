"""What runs as tasks: ingest, unwrapping, radial distribution functions, dynamics, verification, features."""
