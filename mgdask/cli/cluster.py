"""``mgdask cluster``: job scripts, and schedulers that outlive their clients."""

from __future__ import annotations

import click

from mgdask.cli.groups import examples


@click.group(
    epilog=examples(
        "mgdask cluster show slurm.yaml",
        "mgdask cluster start slurm.yaml --scheduler-file scheduler.json",
        "mgdask cluster stop scheduler.json",
    )
)
def cluster() -> None:
    """Show job scripts; start and stop schedulers.

    A site file (YAML) states where workers come from. deploy/ has one for each queueing
    system.
    """


@cluster.command(
    "show",
    epilog=examples("mgdask cluster show slurm.yaml", "mgdask cluster show pbs.yaml --fixed"),
)
@click.argument("site")
@click.option("--fixed", is_flag=True, help="Omit the worker lifetime, as for training.")
def show_script(site: str, fixed: bool) -> None:
    """Print the job script of a site without submitting it."""
    from mgdask.cluster import job_script, read_site

    click.echo(job_script(read_site(site), fixed=fixed), nl=False)


@cluster.command(
    "start",
    epilog=examples(
        "mgdask cluster start slurm.yaml --scheduler-file scheduler.json",
        "mgdask cluster start slurm.yaml --scheduler-file scheduler.json --fixed",
    ),
)
@click.argument("site")
@click.option(
    "--scheduler-file", required=True, help="File to write. Clients connect with --scheduler FILE."
)
@click.option(
    "--fixed",
    is_flag=True,
    help="Keep one pool of workers without lifetime or replacement, for training.",
)
def start_scheduler(site: str, scheduler_file: str, fixed: bool) -> None:
    """Run a scheduler and its workers until they are stopped.

    Clients may connect and disconnect meanwhile.
    """
    from mgdask.cluster import read_site, start

    start(read_site(site), scheduler_file, fixed=fixed, say=click.echo)


@cluster.command(
    "stop",
    epilog=examples(
        "mgdask cluster stop scheduler.json", "mgdask cluster stop /shared/me/scheduler.json"
    ),
)
@click.argument("scheduler_file")
def stop_scheduler(scheduler_file: str) -> None:
    """Stop a scheduler and cancel its jobs."""
    from mgdask.cluster import stop

    stop(scheduler_file)
    click.echo("stopped")
