"""Small dictionaries for tests, written without the pipeline that builds them."""

from __future__ import annotations

import numpy as np

from mgdask.kernels.nearest import unit_rows
from mgdask.store import dictionaries
from mgdask.store.manifest import Manifest

SOURCE = dictionaries.DictionarySource("somewhere.zarr", "0" * 64, "0:1", 1, 100)


def write_dictionary(path, soap, vectors, species, *, threshold=0.84, per_species=False):
    """Write a dictionary whose entries are some vectors, scaled to norm 1."""
    described = dictionaries.DictionaryDescription(
        {"family": soap.family, "parameters": soap.parameters()},
        soap.labels,
        threshold,
        per_species,
        (SOURCE,),
    )
    unit = unit_rows(vectors)
    order = np.arange(len(unit))
    origins = {
        "species": np.asarray(species),
        "source": np.zeros(len(unit), dtype=int),
        "frame": np.zeros(len(unit), dtype=int),
        "atom_id": order + 1,
        "order": order,
    }
    manifest = Manifest(path)
    with manifest.locked():
        if not path.exists():
            dictionaries.create_dictionary(path, described)
        dictionaries.write_entries(path, described, unit, origins)
    return path
