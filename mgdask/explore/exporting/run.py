"""Export of trajectories and features to files of other programs."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask.errors import ParameterError
from mgdask.execution.client import resolve_client
from mgdask.execution.executor import execute
from mgdask.explore.exporting import data, dump, extxyz, joining
from mgdask.explore.exporting.joining import Joiner, parts_folder, prepare
from mgdask.explore.exporting.planning import Format, Plan, make_plan, refuse_existing
from mgdask.explore.exporting.reading import Job, Part, Reader, reader_of
from mgdask.explore.exporting.report import ExportReport
from mgdask.explore.exporting.rows import Column, describe_columns
from mgdask.explore.exporting.table import arrow_table, run_folder
from mgdask.pipelines.featurize.validation import Frames
from mgdask.store.durable import flush_folder, write_file
from mgdask.store.failures import explained
from mgdask.store.lock import held
from mgdask.store.trust import trusting
from mgdask.store.writable import check_writable

if TYPE_CHECKING:
    from distributed import Client

    from mgdask.explore.exporting.source import Source


def export(
    source: Source,
    out: str | Path,
    *,
    frames: Frames = None,
    features: Sequence[Source] = (),
    columns: Sequence[str] | None = None,
    atoms: Any = None,
    format: Format | None = None,
    overwrite: bool = False,
    trust: bool = False,
    client: Client | None = None,
    progress: bool = True,
) -> ExportReport:
    """Write frames and columns of atoms to a file for other programs.

    Positions, cells, ids and columns keep all their digits.

    Parameters
    ----------
    source
        A trajectory, as the path of its store or as a Dataset. Tasks on a cluster read
        a store. This process computes and writes a Dataset, frame by frame.
    out
        File to write. ``{run}``, ``{step}`` and ``{frame}`` in its name are replaced,
        so each run or frame gets a file of its own. For a table, a folder.
    frames
        Numbers of frames in the store, or a slice. Default: all, or those that all
        ``features`` have.
    features
        Stores or Datasets of features of the same atoms.
    columns
        Columns to write: labels, names of arrays, or ``"array:label"``. Default: all
        of the features, and the further columns of the trajectory.
    atoms
        Boolean DataArray over ``atom``, element symbols, or ids. Default: all.
    format
        ``"extxyz"``, ``"dump"`` or ``"data"`` (of LAMMPS), or ``"parquet"``, a table
        with one row per atom and frame. Default: from the suffix of ``out``.
    overwrite
        Replace existing files.
    trust
        Do not compare the files of the stores with their records.
    client
        Dask client. Default: the current one, or a temporary one in this process.
    progress
        Show a bar on a terminal, or one log line per minute.

    Returns
    -------
    report
        An ``ExportReport``.

    Raises
    ------
    ParameterError
        If frames, atoms, columns or the format do not fit.
    StoreError
        If a source is no finished store, or a target exists.

    Notes
    -----
    Parts are written to ``<out>.parts`` and joined in order. After a kill at any point,
    the same call goes on and gives the same bytes. They do not depend on the number of
    workers. ``<out>.columns.json`` keeps label, unit and reference of each column.

    Examples
    --------
    >>> export("glass.zarr", "last.extxyz", frames=[-1])  # doctest: +SKIP
    """
    began = time.monotonic()
    target = Path(_local(out))
    plan = make_plan(source, target, frames, features, columns, atoms, format, overwrite)
    folder = parts_folder(target)
    check_writable(target.parent)
    with explained(target):
        folder.mkdir(parents=True, exist_ok=True)
    with trusting(trust), held(folder / "lock", target):
        kept = prepare(folder, plan.identity())
        if plan.format == "parquet":
            n_written = _write_table(plan, folder, client, progress, overwrite)
        else:
            n_written = _write_text(plan, folder, client, progress, overwrite, kept)
        _describe(plan)
    shutil.rmtree(folder, ignore_errors=True)
    paths = (
        sorted(target.rglob("*.parquet"))
        if plan.format == "parquet"
        else [path for path, _ in plan.files]
    )
    return ExportReport(
        str(out),
        plan.format,
        tuple(map(str, paths)),
        len(plan.frames[0]),
        plan.n_atoms,
        {column.name: column.label for column in plan.columns},
        sum(path.stat().st_size for path in paths),
        len(plan.parts),
        n_written,
        tuple(plan.notes),
        time.monotonic() - began,
    )


def _local(out: str | Path) -> str:
    text = os.fspath(out).removeprefix("file://")
    if "://" in text:
        raise ParameterError(
            f"out={text}: files are written to local folders only; export to one, then copy it"
        )
    return text


def _job(plan: Plan, folder: Path) -> Job:
    """Return what tasks need; rows of atoms are kept in a file."""
    atoms = ""
    if plan.atoms is not None:
        path = folder / "atoms.npy"
        with explained(path), open(path, "wb") as stream:
            np.save(stream, plan.atoms)
        atoms = str(path.absolute())
    return Job(
        plan.identity(),
        tuple(str(Path(str(each.path)).absolute()) for each in plan.opened),
        tuple(each.content for each in plan.opened),
        tuple(plan.columns),
        tuple(plan.values),
        atoms,
    )


def text_of(reader: Reader, kind: str, part: Part) -> bytes:
    """Return the text of a part.

    Parameters
    ----------
    reader
        Reads the frames.
    kind
        Format.
    part
        The part.
    """
    pieces = []
    for k, rows in enumerate(reader.frames(part)):
        begins = part.low == 0 and part.section == "Atoms"
        if kind == "extxyz":
            pieces += [extxyz.header(rows)] if begins else []
            pieces.append(extxyz.body(rows))
        elif kind == "dump":
            pieces += [dump.header(rows, first=part.first and k == 0)] if begins else []
            pieces.append(dump.body(rows))
        elif part.section == "Velocities":
            pieces += [b"\nVelocities\n\n"] if part.low == 0 else []
            pieces.append(data.velocities(rows))
        else:
            pieces += [data.header(rows)] if begins else []
            pieces.append(data.body(rows))
    return b"".join(pieces)


def write_text(job: Job, kind: str, folder: str, part: Part) -> int:
    """Task: write the text of a part to a file; return its size."""
    job.check_inputs()
    text = text_of(reader_of(job), kind, part)
    job.check_inputs()
    joining.write_part(Path(folder), part.number, text)
    return len(text)


def _write_text(
    plan: Plan, folder: Path, client: Client | None, progress: bool, overwrite: bool, kept: bool
) -> int:
    paths = [path for path, _ in plan.files]
    joiner = Joiner(folder, plan.parts, paths)
    if not overwrite:
        refuse_existing(paths[joiner.placed :])
    if not plan.is_of_stores:
        reader = Reader(plan.opened, plan.columns, plan.values, plan.atoms)
        for part in plan.parts:
            joiner.append(text_of(reader, plan.format, part))
        return len(plan.parts)
    job = _job(plan, folder)
    todo = joiner.missing()

    def keep(_: str, size: int) -> int:
        joiner.advance()
        return size

    joiner.advance()
    _perform(
        write_text,
        [(job, plan.format, str(folder.absolute()), part) for part in todo],
        todo,
        client,
        progress,
        keep,
    )
    joiner.advance()
    return len(todo)


def _perform(
    function: Callable[..., int],
    arguments: Sequence[tuple[Any, ...]],
    parts: Sequence[Part],
    client: Client | None,
    progress: bool,
    keep: Callable[[str, int], int],
) -> None:
    """Run the tasks; a single one in this process."""
    if len(parts) == 1 and client is None:
        keep(parts[0].what, function(*arguments[0]))
        return
    if parts:
        tasks = [(part.what, each) for part, each in zip(parts, arguments, strict=True)]
        with resolve_client(client) as workers:
            execute(
                workers, function, tasks, what="export", unit="parts", progress=progress, keep=keep
            )


def table_file(folder: Path, reader_run: str, number: int) -> Path:
    """Return the Parquet file of a part."""
    return folder / "table" / run_folder(reader_run) / f"part-{number:06d}.parquet"


def write_rows(reader: Reader, columns: Sequence[Column], folder: Path, part: Part) -> int:
    """Write the Parquet file of a part; return its size."""
    import pyarrow.parquet as pq

    path = table_file(folder, str(reader.runs[part.frames[0][0]]), part.number)
    table = arrow_table(reader.frames(part), columns, with_run=False)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        pq.write_table(table, fresh, compression="zstd", row_group_size=table.num_rows)
        with open(fresh, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(fresh, path)
    return path.stat().st_size


def write_table_part(job: Job, folder: str, part: Part) -> int:
    """Task: write the Parquet file of a part; return its size."""
    job.check_inputs()
    size = write_rows(reader_of(job), job.columns, Path(folder), part)
    job.check_inputs()
    return size


def _write_table(
    plan: Plan, folder: Path, client: Client | None, progress: bool, overwrite: bool
) -> int:
    runs = _runs(plan)
    todo = [p for p in plan.parts if not table_file(folder, runs(p), p.number).exists()]
    if plan.out.exists() and not overwrite:
        refuse_existing([plan.out])
    if plan.is_of_stores:
        job = _job(plan, folder)
        arguments = [(job, str(folder.absolute()), part) for part in todo]
        _perform(write_table_part, arguments, todo, client, progress, lambda _, size: size)
    else:
        reader = Reader(plan.opened, plan.columns, plan.values, plan.atoms)
        for part in todo:
            write_rows(reader, plan.columns, folder, part)
    with explained(plan.out):
        for left in (folder / "table").rglob(".part-*"):  # of killed workers
            left.unlink(missing_ok=True)
        if plan.out.exists():
            old = folder / "old"
            os.replace(plan.out, old)
        os.replace(folder / "table", plan.out)
        flush_folder(plan.out.absolute().parent)
    return len(todo)


def _runs(plan: Plan) -> Callable[[Part], str]:
    ds = plan.opened[0].ds
    labels = np.broadcast_to(ds["run"].values if "run" in ds else "", (ds.sizes["frame"],))
    return lambda part: str(labels[part.frames[0][0]])


def _describe(plan: Plan) -> None:
    """Write label, unit and reference of the columns beside a text file."""
    if plan.format == "parquet" or not plan.columns:
        return
    path = columns_file(plan.out)
    text = json.dumps(describe_columns(plan.columns), indent=1, ensure_ascii=False)
    with explained(path):
        write_file(path, text.encode())


def columns_file(out: Path) -> Path:
    """Return the file that describes the columns of an exported file."""
    return out.with_name(f"{out.name.translate({ord('{'): None, ord('}'): None})}.columns.json")
