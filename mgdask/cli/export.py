"""``mgdask export``: files of other programs, and tables."""

from __future__ import annotations

from typing import Any

import click

from mgdask.cli.groups import examples
from mgdask.cli.options import open_workers, trust_option, worker_options
from mgdask.errors import ParameterError
from mgdask.store.failures import check_store_exists


@click.command(
    epilog=examples(
        "mgdask export glass.zarr --features f.zarr --frame 16 --out frame.extxyz",
        "mgdask export glass.zarr --features f.zarr --column q6 --out glass.dump",
        "mgdask export glass.zarr --out 'glass-{run}.dump'",
        "mgdask export f.zarr --table --out f.parquet",
    )
)
@click.argument("store")
@click.option(
    "--out",
    required=True,
    help="File to write: .extxyz, .dump or .lammpstrj, .data, or .parquet. {run}, {step} and "
    "{frame} in its name give each run or frame a file of its own.",
)
@click.option(
    "--frame",
    "--frames",
    "frames",
    metavar="START:STOP[:STEP]",
    help="Frames to write, counted from 0, such as 16, -1 or 0:100:10; several are joined by "
    "commas [default: all, or those that all features have].",
)
@click.option(
    "--features", "features", multiple=True, help="Feature store of the same atoms; repeatable."
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    help="Column to write: its label, the name of its array, or ARRAY:LABEL. May be repeated "
    "[default: all of the features and all further columns of the trajectory].",
)
@click.option("--atoms", help="Restrict to elements (Cu,Zr) or to ids of atoms (17,4711).")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["extxyz", "dump", "data", "parquet"]),
    help="Format [default: from the suffix of --out].",
)
@click.option(
    "--table",
    is_flag=True,
    help="Write a table with one row per atom and frame: a folder of Parquet files, one folder "
    "per run. Short for --format parquet.",
)
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@trust_option
@worker_options
def export(
    store: str,
    frames: str | None,
    features: tuple[str, ...],
    columns: tuple[str, ...],
    atoms: str | None,
    format_name: str | None,
    table: bool,
    workers: int | None,
    threads: int,
    scheduler: str | None,
    site: str | None,
    **options: Any,
) -> None:
    """Write frames and features for OVITO, LAMMPS, ASE or pandas.

    Cells, ids and numbers keep all their digits. An export that was stopped goes on
    with the same command.
    """
    if table and format_name not in (None, "parquet"):
        raise click.UsageError(f"--table and --format {format_name} exclude each other; give one")
    for path in (store, *features):
        if "://" not in path:
            check_store_exists(path)
    from mgdask.explore.exporting.run import export as write

    with open_workers(workers, threads, scheduler, None, site) as client:
        report = write(
            store,
            frames=frames,
            features=features,
            columns=columns or None,
            atoms=None if atoms is None else _parse_atoms(atoms),
            format="parquet" if table else format_name,  # type: ignore[arg-type]
            client=client,
            **options,
        )
    click.echo(str(report))


def _parse_atoms(text: str) -> list[str] | list[int]:
    """Return the elements or ids that ``--atoms`` names."""
    words = [word.strip() for word in text.split(",")]
    try:
        return [int(word) for word in words]
    except ValueError:
        pass
    if any(word[:1].isdigit() or not word for word in words):
        raise ParameterError(
            f"--atoms {text} must be elements, such as Cu,Zr, or ids of atoms, such as 17,4711"
        )
    return words
