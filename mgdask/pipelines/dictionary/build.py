"""Build a dictionary of unique local environments, and extend one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from mgdask.errors import StoreError
from mgdask.execution.executor import render
from mgdask.features.feature import FrameFeature
from mgdask.learn.leaders import LeaderClustering, check_threshold
from mgdask.pipelines.dictionary.samples import (
    Samples,
    Stores,
    check_feature,
    list_stores,
    read_samples,
    scale_to_unit,
)
from mgdask.pipelines.featurize.validation import Frames
from mgdask.store.dictionaries import (
    ORIGINS,
    DictionaryDescription,
    create_dictionary,
    max_squared_distance,
    read_dictionary,
    write_entries,
)
from mgdask.store.failures import advise_on_target
from mgdask.store.manifest import Manifest
from mgdask.store.open import CONTENTS, open_target
from mgdask.store.shards import open_group, read_array
from mgdask.store.trust import trusting
from mgdask.store.writable import check_writable

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class DictionaryReport:
    """Result of ``build_dictionary``; ``str`` gives a summary.

    Attributes
    ----------
    out
        The dictionary.
    n_entries, n_environments
        Number of entries, and of environments that were read.
    seconds
        Wall-clock time in s.
    """

    out: str
    n_entries: int
    n_environments: int
    seconds: float

    def __str__(self) -> str:
        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_row("dictionary", self.out)
        table.add_row("entries", f"{self.n_entries} of {self.n_environments} environments")
        table.add_row("time", f"{self.seconds:.1f} s")
        return render(table)


def build_dictionary(
    stores: Stores,
    soap: FrameFeature,
    *,
    threshold: float = 0.84,
    out: str | Path,
    frames: Frames = None,
    per_species: bool = False,
    memory: str | int = "2GiB",
    client: Client | None = None,
    progress: bool = True,
    trust: bool = False,
) -> DictionaryReport:
    """Build a dictionary of unique local environments.

        M_ij = 1 - sqrt(|p_i - p_j|^2 / 2),   p of norm 1

    An environment becomes an entry if its similarity M to every earlier entry is below
    the threshold. Environments are compared in stored order: store by store, frame by
    frame, atom by atom.

    Parameters
    ----------
    stores
        A finished trajectory store, or several in the order in which they are read.
    soap
        Feature that gives the vectors p, usually ``mgdask.SOAP``.
    threshold
        Similarity from which two environments count as one, from 0 to 1.
    out
        Dictionary to write.
    frames
        A slice or increasing indices, for each store. Default: all frames.
    per_species
        Compare only environments whose central atoms are of one species.
    memory
        Memory of a worker.
    client
        Dask client. Default: the current one, or a temporary one in this process.
    progress
        Show a bar on a terminal, or one log line per minute.
    trust
        Read the stores without comparing their files with their records.

    Returns
    -------
    report
        A ``DictionaryReport``.

    References
    ----------
    Liu C. et al., Acta Mater. 259, 119281 (2023).

    Examples
    --------
    >>> soap = mgdask.SOAP(("Cu", "Zr"), 5.0, 11, 12, 0.5)  # doctest: +SKIP
    >>> mgdask.build_dictionary("glass.zarr", soap, out="ules.zarr")  # doctest: +SKIP
    """
    began = time.perf_counter()
    check_threshold(threshold)
    feature = check_feature(soap)
    with trusting(trust):
        sources = tuple(read_samples(list_stores(stores), feature, frames))
        description = DictionaryDescription(
            {"family": feature.family, "parameters": feature.parameters()},
            feature.labels,
            float(threshold),
            bool(per_species),
            sources,
        )
        with Manifest(out).locked():
            if not _exists(out, description):
                create_dictionary(out, description)
            if Manifest(out).content() is None:
                _build(out, description, Samples(feature, sources))
    made = read_dictionary(out)
    seconds = time.perf_counter() - began
    return DictionaryReport(str(out), made.n_entries, made.n_environments, seconds)


def _exists(out: str | Path, description: DictionaryDescription) -> bool:
    """Return whether a dictionary of the same parameters was begun; refuse others."""
    check_writable(out)
    if not Path(out).exists():
        return False
    attrs = open_target(out).attrs
    if attrs.get("dictionary_digest") != description.digest():
        kind = CONTENTS.get(str(attrs.get("mgdask_kind")), "nothing that mgdask wrote")
        other = (
            " with another feature, threshold, samples or frames"
            if "dictionary_digest" in attrs
            else ""
        )
        advice = advise_on_target(out, deletable="dictionary_digest" in attrs)
        raise StoreError(f"{advice}: it holds {kind}{other}")
    return True


def _build(out: str | Path, description: DictionaryDescription, samples: Samples) -> None:
    clustering = LeaderClustering(max_squared_distance(description.threshold))
    vectors = []
    origins: dict[str, list[int]] = {name: [] for name in ORIGINS}
    ids = [read_array(open_group(source.path), "atom_id") for source in samples.sources]
    for batch in samples.batches(0, description.n_environments):
        rows = scale_to_unit(samples, batch)
        for row in clustering.settle(rows, batch.species if description.per_species else None):
            order = batch.order + int(row)
            k = samples.locate(order)[0]
            vectors.append(rows[row].copy())
            origins["species"].append(int(batch.species[row]))
            origins["source"].append(k)
            origins["frame"].append(batch.frame)
            origins["atom_id"].append(int(ids[k][batch.centers[row]]))
            origins["order"].append(order)
    arrays = {name: np.array(values, dtype=np.int64) for name, values in origins.items()}
    write_entries(out, description, np.array(vectors), arrays)
