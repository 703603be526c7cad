"""Tables with one row per atom and frame: in memory, and as Parquet files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from mgdask.explore.exporting.reading import Part, Reader
from mgdask.explore.exporting.rows import Column, FrameRows, describe_columns, named
from mgdask.explore.exporting.source import (
    choose_atoms,
    choose_columns,
    choose_frames,
    columns_of,
    frame_values,
    match_frames,
    open_source,
)
from mgdask.pipelines.featurize.validation import Frames
from mgdask.store.provenance import versions

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from mgdask.explore.exporting.source import Source

_UNITS = {"time": "ps", "x": "Å", "y": "Å", "z": "Å", "mass": "u"}


def run_folder(run: str) -> str:
    """Return the folder of a run, as Hive partitions are named.

    Parameters
    ----------
    run
        Label of the run.

    Examples
    --------
    >>> run_folder("300 K/a")
    'run=300%20K%2Fa'
    """
    return f"run={quote(run, safe='')}" if run else "run=__HIVE_DEFAULT_PARTITION__"


def arrow_table(
    frames: Iterable[FrameRows], columns: Sequence[Column], *, with_run: bool
) -> pa.Table:
    """Return an Arrow table of frames.

    Parameters
    ----------
    frames
        The frames.
    columns
        Chosen columns, for the description that the schema keeps.
    with_run
        Whether to add the column ``run``. Partitioned files have it in their path.
    """
    import pyarrow as pa

    tables = [_one(rows, with_run=with_run) for rows in frames]
    table = pa.concat_tables(tables).unify_dictionaries()
    about = describe_columns(columns)
    fields = []
    for field in table.schema:
        told = about.get(field.name, {})
        unit = told.get("units") or _UNITS.get(field.name, "")
        told = {**told, **({"units": unit} if unit else {})}
        fields.append(field.with_metadata(told) if told else field)
    mark = {"versions": versions(("mgdask", "pyarrow")), "columns": about}
    return table.cast(pa.schema(fields, {"mgdask": json.dumps(mark, ensure_ascii=False)}))


def _one(rows: FrameRows, *, with_run: bool) -> pa.Table:
    import pyarrow as pa

    n = len(rows.ids)

    def same(value: Any, kind: Any) -> Any:
        return pa.repeat(pa.scalar(value, kind), n)

    def words(codes: Any, names: Sequence[str]) -> Any:
        return pa.DictionaryArray.from_arrays(
            pa.array(codes.astype(np.int32)), pa.array(names, pa.string())
        )

    found: dict[str, Any] = {}
    if with_run:
        found["run"] = words(np.zeros(n), [rows.run])
    found |= {
        "frame": same(rows.frame, pa.int64()),
        "step": same(rows.step, pa.int64()),
        "time": same(rows.time, pa.float64()),
        **{name: same(value, pa.float64()) for name, value in rows.values.items()},
        "atom_id": pa.array(rows.ids),
        "element": words(rows.types - 1, rows.symbols),
    }
    for k, name in enumerate("xyz"):
        if rows.position.shape[1]:
            found[name] = pa.array(np.ascontiguousarray(rows.position[:, k]))
    for k, name in enumerate(("ix", "iy", "iz")):
        if rows.position.shape[1]:
            found[name] = pa.array(np.ascontiguousarray(rows.image[:, k]))
    if rows.own_masses:
        found["mass"] = pa.array(np.array(rows.masses)[rows.types - 1])
    for name, values in rows.columns.items():
        found[name] = pa.array(np.ascontiguousarray(values))
    return pa.table(found)


def to_table(
    source: Source,
    *,
    features: Sequence[Source] = (),
    columns: Sequence[str] | None = None,
    frames: Frames = None,
    atoms: Any = None,
) -> pa.Table:
    """Return atoms as an Arrow table with one row per atom and frame, in memory.

    Parameters
    ----------
    source
        A trajectory or features: a path, or a Dataset or DataArray. A lazy one is
        computed for the chosen frames.
    features
        Features of the same atoms to put beside them.
    columns
        Labels of columns, names of arrays, or ``"array:label"``. Default: all.
    frames
        Numbers of frames, or a slice. Default: all.
    atoms
        Boolean DataArray over ``atom``, element symbols, or ids. Default: all.

    Returns
    -------
    table
        Columns run, frame, step, time, values of frames, atom_id, element, x y z and
        images of a trajectory, then the chosen columns. Units and citations are in the
        metadata of its schema.

    Raises
    ------
    ParameterError
        If a column, frame or atom is unknown, or features are of other atoms.

    Examples
    --------
    >>> table = to_table(mgdask.open_store("features.zarr"))  # doctest: +SKIP
    """
    opened = [open_source(each) for each in (source, *features)]
    main = opened[0]
    chosen = choose_frames(main, frames)
    # its own arrays are numbered like those of a trajectory, which has none
    every = [column for k, each in enumerate(opened) for column in columns_of(each, k)]
    values = frame_values(main)
    picked = named(choose_columns(every, columns), plain=False, taken=values)
    reader = Reader(opened, picked, values, choose_atoms(main, atoms))
    matched = [match_frames(main, other, chosen, all_of=True) for other in opened[1:]]
    places = tuple(tuple(map(int, places)) for places in (chosen, *matched))
    part = Part(0, 0, places, 0, reader.n_atoms)
    return arrow_table(reader.frames(part), picked, with_run=True)


def to_dataframe(
    source: Source,
    *,
    features: Sequence[Source] = (),
    columns: Sequence[str] | None = None,
    frames: Frames = None,
    atoms: Any = None,
) -> pd.DataFrame:
    """Return atoms as a DataFrame with one row per atom and frame, by columns.

    ``Dataset.to_dataframe`` of xarray has one row per atom, frame and column instead.

    Parameters
    ----------
    source
        A trajectory or features: a path, or a Dataset or DataArray.
    features
        Features of the same atoms to put beside them.
    columns
        Labels of columns, names of arrays, or ``"array:label"``. Default: all.
    frames
        Numbers of frames, or a slice. Default: all.
    atoms
        Boolean DataArray over ``atom``, element symbols, or ids. Default: all.

    Returns
    -------
    table
        The columns of ``to_table``. Run and element are categories.

    Raises
    ------
    ParameterError
        If a column, frame or atom is unknown, or features are of other atoms.

    Examples
    --------
    >>> frame = to_dataframe("features.zarr", frames=[-1])  # doctest: +SKIP
    """
    table = to_table(source, features=features, columns=columns, frames=frames, atoms=atoms)
    frame: pd.DataFrame = table.to_pandas()
    return frame
