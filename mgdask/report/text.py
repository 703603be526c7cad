"""What a store holds, in words: the text behind ``mgdask inspect``."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from rich.table import Table

from mgdask.elements import symbol
from mgdask.execution.executor import render


def _composition(numbers: np.ndarray) -> str:
    kinds, counts = np.unique(numbers, return_counts=True)
    return ", ".join(
        f"{symbol(int(z))} {n} ({n / len(numbers):.1%})" for z, n in zip(kinds, counts, strict=True)
    )


def _spacing(values: np.ndarray, unit: str) -> str:
    if len(values) == 1:
        return f"{values[0]:g} {unit}"
    gaps = np.diff(values.astype(np.float64))
    even = np.allclose(gaps, gaps[0], rtol=1e-6)
    how = f"every {gaps[0]:g}" if even else f"spacing {gaps.min():g} to {gaps.max():g}"
    return f"{values[0]:g} to {values[-1]:g} {unit}, {how}"


def _cell(ds: xr.Dataset) -> str:
    cell = ds["cell"].values
    lengths = np.linalg.norm(cell, axis=2)
    moves = bool((np.abs(cell - cell[0]) > 1e-9).any())
    shape = "orthogonal" if np.allclose(cell * (1 - np.eye(3)), 0.0) else "triclinic"
    text = f"{shape}, {'changing' if moves else 'constant'}: " + " x ".join(
        f"{v:.4f}" for v in lengths[0]
    )
    if moves:
        text += " to " + " x ".join(f"{v:.4f}" for v in lengths[-1])
    pbc = "".join("p" if p else "f" for p in ds["pbc"].values)
    return f"{text} Å, boundaries {pbc}"


def _bytes(n: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(n) < 1000 or unit == "TB":
            return f"{n:.4g} {unit}"
        n /= 1000
    raise AssertionError


def describe(ds: xr.Dataset, *, width: int = 110) -> str:
    """Frames, atoms, species, cell, times, chunks and audit of an opened store, as text for a terminal."""
    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_column(style="bold")
    facts.add_column()
    facts.add_row("kind", str(ds.attrs.get("mgdask_kind", "?")))
    facts.add_row("frames", str(ds.sizes["frame"]))
    if "run" in ds:
        runs = list(dict.fromkeys(map(str, ds["run"].values)))
        facts.add_row("runs", f"{len(runs)}: {', '.join(runs[:6])}{' …' if len(runs) > 6 else ''}")
    facts.add_row(
        "atoms", str(ds.sizes["atom"]) if "atom" in ds.sizes else "averaged over the frame"
    )
    if "species" in ds:
        facts.add_row("species", _composition(ds["species"].values))
    if "cell" in ds:
        facts.add_row("cell", _cell(ds))
    if "time" in ds.variables:
        facts.add_row("time", _spacing(ds["time"].values, "ps"))
    if "step" in ds.variables:
        facts.add_row("step", _spacing(ds["step"].values, ""))
    for key in ("sources", "image_scheme", "compression", "input", "citation"):
        if key in ds.attrs:
            facts.add_row(key.replace("_", " "), str(ds.attrs[key]))

    arrays = Table(box=None, pad_edge=False)
    for head in ("array", "dims", "shape", "dtype", "unit", "chunk", "shard", "size"):
        arrays.add_column(head, justify="right" if head == "size" else "left", overflow="fold")
    for name, array in ds.data_vars.items():
        chunk, shard = array.encoding.get("chunks"), array.encoding.get("shards")
        arrays.add_row(
            str(name),
            ", ".join(map(str, array.dims)),
            " x ".join(map(str, array.shape)),
            str(array.dtype),
            str(array.attrs.get("units", "")),
            " x ".join(map(str, chunk)) if chunk else "",
            " x ".join(map(str, shard)) if shard else "",
            _bytes(array.nbytes),
        )
    notes = ds.attrs.get("audit")
    text = [render(facts, width), render(arrays, width)]
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


def describe_rdf(rdf: xr.Dataset) -> str:
    """Peaks, troughs and coordination numbers of ``partial_rdf`` as a table in text."""
    table = Table(box=None, pad_edge=False)
    for column in ("pair", "first peak, Å", "first minimum, Å", "neighbours within it"):
        table.add_column(column, justify="left" if column == "pair" else "right")
    for a in rdf["species"].values:
        for b in rdf["neighbor_species"].values:
            one = rdf.sel(species=a, neighbor_species=b)
            table.add_row(
                f"{a}-{b}",
                f"{float(one['first_peak']):.3f}",
                f"{float(one['first_minimum']):.3f}",
                f"{float(one['coordination']):.2f}",
            )
    table.add_row(
        "all", f"{float(rdf['first_peak_all']):.3f}", f"{float(rdf['first_minimum_all']):.3f}", ""
    )
    return render(table)


def commonest_polyhedra(
    features: xr.Dataset, n: int = 10, *, name: str = "voronoi_indices"
) -> pd.DataFrame:
    """The ``n`` commonest Voronoi polyhedra <n3 n4 n5 n6 n7> of each frame's central atoms together: share of all atoms, and by element.

    Parameters: ``features`` a feature store or Dataset with ``VoronoiIndices``; ``name`` of that variable. Open cells (NaN) are left out.
    Returns a table indexed by polyhedron, with columns "share" and the share among the atoms of each element.
    """
    found = np.asarray(features[name].transpose("frame", "atom", ...).values)
    numbers = np.broadcast_to(features["species"].values, found.shape[:2])[
        np.isfinite(found[..., 0])
    ]
    found = found[np.isfinite(found[..., 0])].astype(np.int64)
    kinds, which = np.unique(found, axis=0, return_inverse=True)
    which = which.ravel()
    count = np.bincount(which, minlength=len(kinds))
    order = np.argsort(-count, kind="stable")[:n]
    table = pd.DataFrame(
        {"share": count[order] / max(len(found), 1)},
        index=["<" + " ".join(map(str, kinds[k])) + ">" for k in order],
    )
    for z in np.unique(numbers):
        mine = np.bincount(which[numbers == z], minlength=len(kinds))
        table[symbol(int(z))] = mine[order] / max(int((numbers == z).sum()), 1)
    return table.rename_axis("polyhedron")
