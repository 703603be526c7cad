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
from mgdask.execution.deferred import DeferredClient
from mgdask.execution.executor import execute
from mgdask.explore.exporting.joining import Joiner, parts_folder, prepare
from mgdask.explore.exporting.planning import Format, Plan, make_plan, refuse_existing
from mgdask.explore.exporting.reading import Job, Part
from mgdask.explore.exporting.report import ExportReport
from mgdask.explore.exporting.rows import describe_columns
from mgdask.explore.exporting.tasks import table_file, text_of, write_rows, write_table, write_text
from mgdask.pipelines.featurize.validation import Frames
from mgdask.store.durable import flush_folder, write_file
from mgdask.store.failures import explained
from mgdask.store.lock import held
from mgdask.store.trust import trusting
from mgdask.store.writable import check_writable

if TYPE_CHECKING:
    from mgdask.cluster.client import Client
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
        Numbers of frames in the store, a slice, or a text such as ``"0:10,-1"``.
        Default: all, or those that all ``features`` have.
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
        prepare(folder, plan.identity())
        write = _write_table if plan.format == "parquet" else _write_text
        n_written = write(plan, folder, client, progress)
        _describe(plan)
    shutil.rmtree(folder, ignore_errors=True)
    paths = sorted(target.rglob("*.parquet")) if plan.format == "parquet" else plan.targets
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
        plan.format,
        tuple(str(Path(str(each.path)).absolute()) for each in plan.opened),
        tuple(each.content for each in plan.opened),
        tuple(plan.columns),
        tuple(plan.values),
        atoms,
    )


def _write_text(plan: Plan, folder: Path, client: Client | None, progress: bool) -> int:
    """Write and join the parts of text files; return how many were written."""
    joiner = Joiner(folder, plan.parts, plan.targets)
    if not plan.overwrite:
        refuse_existing(plan.targets[joiner.placed :])
    if not plan.is_of_stores:
        reader = plan.reader()
        for part in plan.parts:
            joiner.append(text_of(reader, plan.format, part))
        return len(plan.parts)
    joiner.advance()
    todo = joiner.missing()
    _perform(plan, write_text, folder, todo, client, progress, joiner.advance)
    joiner.advance()
    return len(todo)


def _write_table(plan: Plan, folder: Path, client: Client | None, progress: bool) -> int:
    """Write the files of a table; return how many were written."""
    placing, table = folder / "placing", folder / "table"
    if placing.exists() and not table.exists():  # it was in its place just before the end
        return 0
    if not plan.overwrite:
        refuse_existing(plan.targets)
    todo = [p for p in plan.parts if not table_file(folder, plan.run(p), p.number).exists()]
    if plan.is_of_stores:
        _perform(plan, write_table, folder, todo, client, progress, lambda: None)
    else:
        reader = plan.reader()
        for part in todo:
            write_rows(reader, plan.columns, folder, part)
    with explained(plan.out):
        for left in table.rglob(".part-*"):  # of killed workers
            left.unlink(missing_ok=True)
        write_file(placing, b"")
        if plan.out.exists():
            os.replace(plan.out, folder / "old")
        os.replace(table, plan.out)
        flush_folder(plan.out.absolute().parent)
    return len(todo)


def _perform(
    plan: Plan,
    function: Callable[..., int],
    folder: Path,
    parts: Sequence[Part],
    client: Client | None,
    progress: bool,
    advance: Callable[[], None],
) -> None:
    """Run a task for each part; those of a small export in this process."""
    job, place = _job(plan, folder), str(folder.absolute())
    # workers that would be started for this export only are not, if it is small
    if plan.is_small and (client is None or isinstance(client, DeferredClient)):
        reader = plan.reader()
        for part in parts:
            function(job, place, part, reader)
            advance()
        return

    def keep(_: str, size: int) -> int:
        advance()
        return size

    tasks = [(part.what, (job, place, part)) for part in parts]
    with resolve_client(client) as workers:
        execute(workers, function, tasks, what="export", unit="parts", progress=progress, keep=keep)


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
