"""Descriptions of stores and results as text, for ``mgdask inspect`` and ``rdf``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from mgdask.elements import symbol
from mgdask.execution.executor import render
from mgdask.store.attributes import decode
from mgdask.store.open import STORED
from mgdask.store.summary import NAMES, composition, size_text, summarize
from mgdask.variables import column_units

if TYPE_CHECKING:  # ``mgdask inspect`` needs neither
    import pandas as pd
    import xarray as xr

    from mgdask.store.dictionaries import Dictionary


def _facts(ds: xr.Dataset) -> Table:
    """One row per property of the store."""
    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_column(style="bold")
    facts.add_column()
    facts.add_row("kind", str(ds.attrs.get("mgdask_kind", "?")))
    if "entry" in ds.sizes:
        return _facts_of_dictionary(ds, facts)
    facts.add_row("frames", str(ds.sizes["frame"]))
    facts.add_row(
        "atoms", str(ds.sizes["atom"]) if "atom" in ds.sizes else "averaged over the frame"
    )
    arrays = {name: ds[name].values for name in NAMES if name in ds.variables}
    for label, text in summarize(arrays, ds.attrs):
        facts.add_row(label, text)
    for key in ("sources", "image_scheme", "compression", "input", "citation"):
        if key in ds.attrs:
            facts.add_row(key.replace("_", " "), str(ds.attrs[key]))
    return facts


def _facts_of_dictionary(ds: xr.Dataset, facts: Table) -> Table:
    facts.add_row("entries", f"{ds.sizes['entry']}: {composition(ds['species'].values)}")
    facts.add_row("samples", ", ".join(source["path"] for source in decode(ds.attrs, "sources")))
    for key in ("n_environments", "threshold", "similarity", "per_species", "feature", "citation"):
        value = decode(ds.attrs, key)
        facts.add_row(key.replace("_", " "), str(bool(value) if key == "per_species" else value))
    return facts


ARRAY_COLUMNS = ("array", "dims", "shape", "dtype", "unit", "chunk", "shard", "size")
"""Columns of the table of arrays."""


def _arrays(ds: xr.Dataset, width: int | None) -> str:
    """One row per data variable; chunks and shards only if there is room for them."""
    text = render(_array_table(ds, ARRAY_COLUMNS), width)
    narrow = tuple(head for head in ARRAY_COLUMNS if head not in ("chunk", "shard"))
    shorter = render(_array_table(ds, narrow), width)
    fits = [table.count("\n") == len(ds.data_vars) for table in (text, shorter)]
    return shorter if fits == [False, True] else text


def _array_table(ds: xr.Dataset, heads: Sequence[str]) -> Table:
    arrays = Table(box=None, pad_edge=False)
    for head in heads:
        arrays.add_column(head, justify="right" if head == "size" else "left", overflow="fold")
    for name, array in ds.data_vars.items():
        chunk, shard = (array.encoding.get(key) for key in STORED)
        cells = (
            str(name),
            ", ".join(map(str, array.dims)),
            " x ".join(map(str, array.shape)),
            str(array.dtype),
            _unit(array),
            " x ".join(map(str, chunk)) if chunk else "",
            " x ".join(map(str, shard)) if shard else "",
            size_text(array.nbytes),
        )
        shown = dict(zip(ARRAY_COLUMNS, cells, strict=True))
        arrays.add_row(*(shown[head] for head in heads))
    return arrays


def _unit(array: xr.DataArray) -> str:
    """Return the unit of an array, or those of its columns, each once."""
    if "units" in array.attrs or f"{array.name}_unit" not in array.coords:
        return str(array.attrs.get("units", ""))
    return ", ".join(dict.fromkeys(column_units(array)))


def describe(ds: xr.Dataset, *, width: int | None = None) -> str:
    """Describe an opened store for a terminal.

    Parameters
    ----------
    ds
        Trajectory or feature store from ``open_store``.
    width
        Maximum line length in characters. Default: as in ``render``.

    Returns
    -------
    text
        Frames, runs, atoms, species, cell, times, arrays with their chunks, and the
        notes of the audit.

    Examples
    --------
    >>> print(describe(mgdask.open_store("glass.zarr")))  # doctest: +SKIP
    """
    notes = decode(ds.attrs, "audit")
    text = [render(_facts(ds), width), _arrays(ds, width)]
    if notes is not None:
        text.append(
            "\n".join(
                [
                    "audit: nothing to report" if not notes else "audit:",
                    *(f"  * {note}" for note in notes),
                ]
            )
        )
    return "\n\n".join(text)


def describe_dictionary(dictionary: Dictionary, *, n_entries: int | None = 10) -> str:
    """Describe a dictionary of unique local environments for a terminal.

    Parameters
    ----------
    dictionary
        From ``mgdask.read_dictionary``.
    n_entries
        Maximum number of entries to list. Default: ten; None for all.

    Returns
    -------
    text
        Feature, threshold, samples, and the origin of the first entries.

    Examples
    --------
    >>> print(describe_dictionary(mgdask.read_dictionary("u.zarr")))  # doctest: +SKIP
    """
    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_column(style="bold")
    facts.add_column()
    parameters = ", ".join(f"{k}={v}" for k, v in dictionary.feature["parameters"].items())
    facts.add_row("dictionary", dictionary.path)
    facts.add_row("entries", f"{dictionary.n_entries}: {composition(dictionary.species)}")
    facts.add_row(
        "threshold",
        f"{dictionary.threshold:g}, entries compared with "
        + ("those of their species" if dictionary.per_species else "all others"),
    )
    facts.add_row("feature", f"{dictionary.feature['family']}, {dictionary.n_columns} columns")
    facts.add_row("parameters", parameters)
    facts.add_row(
        "samples",
        f"{len(dictionary.sources)}, with {dictionary.n_environments} environments in this order:",
    )
    counts = np.bincount(dictionary.source, minlength=len(dictionary.sources))
    for source, count in zip(dictionary.sources, counts, strict=True):
        facts.add_row(
            "", f"{source.path}, frames {source.frames} of {source.n_atoms} atoms: {count} entries"
        )
    listed = Table(box=None, pad_edge=False)
    for head in ("entry", "element", "sample", "frame", "atom id", "environments before it"):
        listed.add_column(head, justify="left" if head == "element" else "right")
    n = dictionary.n_entries if n_entries is None else min(n_entries, dictionary.n_entries)
    for k in range(n):
        listed.add_row(
            str(k),
            symbol(int(dictionary.species[k])),
            *(
                str(values[k])
                for values in (
                    dictionary.source,
                    dictionary.frame,
                    dictionary.atom_id,
                    dictionary.order,
                )
            ),
        )
    more = dictionary.n_entries - n
    end = f"\n... and {more} more entries" if more else ""
    return f"{render(facts)}\n\n{render(listed)}{end}"


def describe_rdf(rdf: xr.Dataset) -> str:
    """Describe partial radial distribution functions for a terminal.

    Parameters
    ----------
    rdf
        Result of ``mgdask.partial_rdf``.

    Returns
    -------
    text
        Table of first peak (Å), first minimum (Å) and coordination number per pair. The
        peak of all atoms is the main one; a line below the table names a smaller one.

    Examples
    --------
    >>> print(describe_rdf(mgdask.partial_rdf("glass.zarr")))  # doctest: +SKIP
    """
    table = Table(box=None, pad_edge=False)
    for column in ("pair", "first peak, Å", "first minimum, Å", "coordination number"):
        table.add_column(column, justify="left" if column == "pair" else "right")
    for a in rdf["species"].values:
        for b in rdf["neighbor_species"].values:
            pair = rdf.sel(species=a, neighbor_species=b)
            table.add_row(
                f"{a}-{b}",
                f"{float(pair['first_peak']):.3f}",
                f"{float(pair['first_minimum']):.3f}",
                f"{float(pair['coordination']):.2f}",
            )
    table.add_row(
        "all", f"{float(rdf['first_peak_all']):.3f}", f"{float(rdf['first_minimum_all']):.3f}", ""
    )
    minor = float(rdf["minor_peak_all"]) if "minor_peak_all" in rdf else math.nan
    if not math.isfinite(minor):
        return render(table)
    pairs = rdf["first_peak"].stack(pair=("species", "neighbor_species")).dropna("pair")
    nearest = pairs["pair"].values[int(np.abs(pairs.values - minor).argmin())]
    return (
        f"{render(table)}\nThe first shell of all atoms has a smaller peak at {minor:.3f} Å, "
        f"near the first peak of {'-'.join(map(str, nearest))}."
    )


def commonest_polyhedra(
    features: xr.Dataset, n: int = 10, *, name: str = "voronoi_indices"
) -> pd.DataFrame:
    """Count the most common Voronoi polyhedra.

    A polyhedron is named by its numbers of faces with 3 to 7 edges, <n3 n4 n5 n6 n7>.
    Atoms of all frames are counted together. Open cells (NaN) are left out.

    Parameters
    ----------
    features
        Feature store or Dataset with ``VoronoiIndices``.
    n
        Number of polyhedra to return.
    name
        Name of the variable with the Voronoi indices.

    Returns
    -------
    table
        Table indexed by ``polyhedron``. The column ``share`` is the fraction of all
        atoms. The other columns, one per element, are the fractions of that element's
        atoms.

    Examples
    --------
    >>> commonest_polyhedra(mgdask.open_store("features.zarr"), 5)  # doctest: +SKIP
    """
    import pandas as pd

    indices = np.asarray(features[name].transpose("frame", "atom", ...).values)
    closed = np.isfinite(indices[..., 0])
    species = np.broadcast_to(features["species"].values, indices.shape[:2])[closed]
    polyhedra, kind = np.unique(indices[closed].astype(np.int64), axis=0, return_inverse=True)
    kind = kind.ravel()
    count = np.bincount(kind, minlength=len(polyhedra))
    order = np.argsort(-count, kind="stable")[:n]
    table = pd.DataFrame(
        {"share": count[order] / max(len(species), 1)},
        index=["<" + " ".join(map(str, polyhedra[k])) + ">" for k in order],
    )
    for z in np.unique(species):
        of_element = np.bincount(kind[species == z], minlength=len(polyhedra))
        table[symbol(int(z))] = of_element[order] / max(int((species == z).sum()), 1)
    return table.rename_axis("polyhedron")
