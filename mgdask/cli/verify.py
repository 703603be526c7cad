"""``mgdask verify``: is everything on disk as it was written?"""

from __future__ import annotations

import click

import mgdask
from mgdask.cli.options import open_workers, worker_options


@click.command()
@click.argument("store")
@click.option(
    "--repair",
    is_flag=True,
    help="Give bad blocks back: the command that made the store computes them again.",
)
@worker_options
def verify(
    store: str,
    repair: bool,
    workers: int | None,
    threads: int,
    scheduler: str | None,
    site: str | None,
) -> int:
    """Compare every block of a store with its record; exit status 1 if one is bad."""
    with open_workers(workers, threads, scheduler, None, site) as client:
        report = mgdask.verify(store, repair=repair, client=client)
    click.echo(str(report))
    return 0 if report.ok else 1
