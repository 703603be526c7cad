"""Tasks of an export: the text or the table of a part."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mgdask.explore.exporting import data, dump, extxyz
from mgdask.explore.exporting.joining import write_part
from mgdask.explore.exporting.reading import Job, Part, Reader, reader_of
from mgdask.explore.exporting.rows import Column
from mgdask.explore.exporting.table import arrow_table, run_folder
from mgdask.store.failures import explained


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


def write_text(job: Job, folder: str, part: Part, reader: Reader | None = None) -> int:
    """Task: write the text of a part to a file; return its size."""
    job.check_inputs()
    text = text_of(reader or reader_of(job), job.format, part)
    job.check_inputs()
    write_part(Path(folder), part.number, text)
    return len(text)


def table_file(folder: Path, run: str, number: int) -> Path:
    """Return the Parquet file of a part."""
    return folder / "table" / run_folder(run) / f"part-{number:06d}.parquet"


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


def write_table(job: Job, folder: str, part: Part, reader: Reader | None = None) -> int:
    """Task: write the Parquet file of a part; return its size."""
    job.check_inputs()
    size = write_rows(reader or reader_of(job), job.columns, Path(folder), part)
    job.check_inputs()
    return size
