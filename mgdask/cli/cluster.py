"""Where workers come from: ``mgdask cluster show | start | stop``."""

from __future__ import annotations

import click

from mgdask.cluster import job_script, read_site, start, stop


@click.group()
def cluster() -> None:
    """Site files: the job script they make, a scheduler that outlives its clients."""


@cluster.command("show")
@click.argument("site")
@click.option("--fixed", is_flag=True, help="As for training: no lifetime.")
def show(site: str, fixed: bool) -> None:
    """Print the job script of a site without submitting it."""
    click.echo(job_script(read_site(site), fixed=fixed), nl=False)


@cluster.command("start")
@click.argument("site")
@click.option(
    "--scheduler-file", required=True, help="File to write for clients: --scheduler FILE."
)
@click.option(
    "--fixed",
    is_flag=True,
    help="One pool of workers, no lifetime and no replacement: for training.",
)
def begin(site: str, scheduler_file: str, fixed: bool) -> None:
    """Run a scheduler and its workers until they are stopped; clients come and go."""
    start(read_site(site), scheduler_file, fixed=fixed, say=click.echo)


@cluster.command("stop")
@click.argument("scheduler_file")
def end(scheduler_file: str) -> None:
    """Stop the scheduler of a scheduler file, and its jobs."""
    stop(scheduler_file)
    click.echo("stopped")
