"""The commands, each a call of the function of the same name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import mgdask
from mgdask.cli.options import (
    feature_options,
    fit_to_site,
    make_plan,
    open_workers,
    parse_species,
    worker_options,
)


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--out", required=True, help="Trajectory store to write.")
@click.option(
    "--species",
    help="Elements of types 1, 2, ...: Cu,Zr. Not needed where the file names elements.",
)
@click.option("--timestep", type=float, help="Time step of the simulation in ps.")
@click.option("--units", help="LAMMPS unit style, where the file does not say it [default: metal].")
@click.option("--run", help="Label of this simulation [default: from the file's name].")
@click.option("--run-per-file", is_flag=True, help="Every file is a simulation of its own.")
@click.option(
    "--repeated",
    type=click.Choice(["last", "first", "all", "error"]),
    default="last",
    show_default=True,
    help="Which frame of a repeated time step to keep.",
)
@click.option(
    "--append", is_flag=True, help="Add the frames of a continued simulation to an existing store."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing store.")
@worker_options
def ingest(
    paths: tuple[str, ...],
    out: str,
    species: str | None,
    workers: int | None,
    threads: int,
    scheduler: str | None,
    site: str | None,
    **options: Any,
) -> None:
    """Read dumps (text, gz, zst, extxyz, data, ...) into one Zarr store, with an audit."""
    with open_workers(workers, threads, scheduler, None, site) as client:
        report = mgdask.ingest(
            list(paths), out, species=parse_species(species), client=client, **options
        )
    click.echo(str(report))


@click.command()
@click.argument("store")
def inspect(store: str) -> None:
    """Show frames, atoms, species, cell, times, chunks and audit of a store."""
    from mgdask.report.text import describe

    click.echo(describe(mgdask.open_store(store)))


@click.command()
@click.argument("store")
@click.option("--r-max", default=10.0, show_default=True, help="Å.")
@click.option("--bins", default=500, show_default=True, help="Number of bins.")
@click.option("--out", help="CSV file for the curves.")
@worker_options
def rdf(
    store: str,
    r_max: float,
    bins: int,
    out: str | None,
    workers: int | None,
    threads: int,
    scheduler: str | None,
    site: str | None,
) -> None:
    """Radial distribution functions of every pair of species: first peaks and minima, for use as cut-offs."""
    with open_workers(workers, threads, scheduler, None, site) as client:
        found = mgdask.partial_rdf(store, r_max=r_max, bins=bins, client=client)
    from mgdask.report.text import describe_rdf

    click.echo(describe_rdf(found))
    if out is not None:
        curves = found.g.stack(pair=("species", "neighbor_species")).to_pandas()
        curves.columns = ["-".join(pair) for pair in curves.columns]
        curves.assign(all=found.g_all.values).to_csv(out)
        click.echo(f"curves in {out}")


@click.command()
@click.argument("store")
@click.option("--out", required=True, help="Store of paths to write.")
@click.option(
    "--scheme", default="auto", show_default=True, help="auto, images, nearest or toroidal."
)
@click.option(
    "--allow-jumps",
    is_flag=True,
    help="Go on where an atom moves more than 0.45 of the cell between frames.",
)
@worker_options
def unwrap(
    store: str,
    out: str,
    workers: int | None,
    threads: int,
    scheduler: str | None,
    site: str | None,
    **options: Any,
) -> None:
    """True paths of all atoms, cut by atoms, for what follows atoms through time."""
    with open_workers(workers, threads, scheduler, None, site) as client:
        click.echo(str(mgdask.unwrap(store, out, client=client, **options)))


@click.command()
@feature_options
@click.option("--threads", default=1, show_default=True, help="Threads of each worker.")
def plan(**options: Any) -> None:
    """Say what a run would do and need, without doing it; refuse what does not fit."""
    click.echo(str(make_plan(**options)))


@click.command()
@feature_options
@worker_options
@click.option(
    "--retries", default=2, show_default=True, help="Times a failed block is tried again."
)
def featurize(
    workers: int | None, scheduler: str | None, site: str | None, retries: int, **options: Any
) -> None:
    """Compute features into a Zarr store; run it again after any interruption and only the rest is done."""
    options = fit_to_site(site, options)
    work = make_plan(**options)
    click.echo(str(work))
    with open_workers(workers, options["threads"], scheduler, options["memory"], site) as client:
        report = mgdask.run(work, client, retries=retries)
    click.echo(str(report))


@click.command()
@click.argument("store")
def status(store: str) -> int:
    """Say how many blocks of a store are done; the exit status is 0 when it is finished and 3 while it is not."""
    from mgdask.store.progress import read_progress

    found = read_progress(store)
    click.echo(str(found))
    return 0 if found.finished else 3


@click.command()
@click.option(
    "--out", default="mgdask-demo", show_default=True, help="Folder for the stores and the picture."
)
@click.option(
    "--workers", type=int, help="Local worker processes [default: the cores this process may use]."
)
def demo(out: str, workers: int | None) -> None:
    """The whole way on a real Zr-Cu glass that comes with the package: ingest, inspect, plan, featurize, picture."""
    from mgdask.datasets.demo import run_demo

    run_demo(Path(out), workers=workers, say=click.echo)
