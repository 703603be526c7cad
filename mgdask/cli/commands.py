"""The commands, each a call of the function of the same name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

import mgdask
from mgdask import cluster
from mgdask.cli.recipe import gather_features
from mgdask.elements import symbol
from mgdask.errors import ParameterError
from mgdask.features import SETS


def _species(text: str | None) -> dict[int, str] | None:
    return None if text is None else {kind: name.strip() for kind, name in enumerate(text.split(","), start=1)}


def _store_species(store: str) -> list[str]:
    return [symbol(z) for z in sorted({int(z) for z in mgdask.open_store(store)["species"].values})]


@contextmanager
def _workers(workers: int | None, threads: int, scheduler: str | None, memory: str | None) -> Iterator[Any]:
    if scheduler is not None and workers is not None:
        raise ParameterError("--workers and --scheduler exclude each other: a scheduler brings its own workers")
    if scheduler is not None:
        with cluster.connect(scheduler) as client:
            yield client
    else:
        with cluster.local_client(workers, threads=threads, memory=memory) as client:
            yield client


def _worker_options(command: Any) -> Any:
    for option in (
        click.option("--scheduler", help="Address or scheduler file of a running Dask scheduler."),
        click.option("--threads", default=1, show_default=True, help="Threads of each local worker."),
        click.option("--workers", type=int, help="Local worker processes [default: the cores this process may use]."),
    ):
        command = option(command)
    return command


def _feature_options(command: Any) -> Any:
    for option in (
        click.option("--centers", help="Only these central atoms: species symbols such as Cu or Cu,Zr."),
        click.option("--memory", default="2GiB", show_default=True, help="Memory of one worker."),
        click.option("--out", required=True, help="Feature store to write."),
        click.option("--recipe", help="YAML file that lists features and parameters."),
        click.option("--set", "sets", multiple=True, help=f"A ready-made list: {', '.join(SETS)}."),
        click.option(
            "--feature",
            "features",
            multiple=True,
            help="A family and its options: interstice:cutoff=3.8,small_facets=none",
        ),
        click.option(
            "--soap",
            "soaps",
            multiple=True,
            help="Short for --feature soap:r_cut=5,n_max=11,l_max=12,sigma=0.5,rbf=polynomial",
        ),
        click.argument("store"),
    ):
        command = option(command)
    return command


def _plan(store: str, soaps: tuple[str, ...], features: tuple[str, ...], sets: tuple[str, ...], recipe: str | None, out: str,
          memory: str, threads: int, centers: str | None) -> Any:  # fmt: skip
    wanted = gather_features([*features, *(f"soap:{text}" for text in soaps)], sets, recipe, _store_species(store))
    chosen = None if centers is None else [name.strip() for name in centers.split(",")]
    return mgdask.plan(store, wanted, out=out, memory=memory, threads=threads, centers=chosen)


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--out", required=True, help="Trajectory store to write.")
@click.option("--species", help="Elements of types 1, 2, ...: Cu,Zr. Not needed where the file names elements.")
@click.option("--timestep", type=float, help="Time step of the simulation in ps.")
@click.option("--units", help="LAMMPS unit style, where the file does not say it [default: metal].")
@click.option("--run", help="Label of this simulation [default: from the file's name].")
@click.option("--run-per-file", is_flag=True, help="Every file is a simulation of its own.")
@click.option(
    "--repeated", type=click.Choice(["last", "first", "all", "error"]), default="last", show_default=True,
    help="Which frame of a repeated time step to keep.",
)  # fmt: skip
@click.option("--append", is_flag=True, help="Add the frames of a continued simulation to an existing store.")
@click.option("--overwrite", is_flag=True, help="Replace an existing store.")
@_worker_options
def ingest(paths: tuple[str, ...], out: str, species: str | None, workers: int | None, threads: int,
           scheduler: str | None, **options: Any) -> None:  # fmt: skip
    """Read dumps (text, gz, zst, extxyz, data, ...) into one Zarr store, with an audit."""
    with _workers(workers, threads, scheduler, None) as client:
        report = mgdask.ingest(list(paths), out, species=_species(species), client=client, **options)
    click.echo(str(report))


@click.command()
@click.argument("store")
def inspect(store: str) -> None:
    """Show frames, atoms, species, cell, times, chunks and audit of a store."""
    from mgdask.explore.report import describe

    click.echo(describe(mgdask.open_store(store)))


@click.command()
@click.argument("store")
@click.option("--r-max", default=10.0, show_default=True, help="Å.")
@click.option("--bins", default=500, show_default=True, help="Number of bins.")
@click.option("--out", help="CSV file for the curves.")
@_worker_options
def rdf(
    store: str, r_max: float, bins: int, out: str | None, workers: int | None, threads: int, scheduler: str | None
) -> None:
    """Radial distribution functions of every pair of species: first peaks and minima, for use as cut-offs."""
    with _workers(workers, threads, scheduler, None) as client:
        found = mgdask.partial_rdf(store, r_max=r_max, bins=bins, client=client)
    from mgdask.explore.report import describe_rdf

    click.echo(describe_rdf(found))
    if out is not None:
        curves = found.g.stack(pair=("species", "neighbor_species")).to_pandas()
        curves.columns = ["-".join(pair) for pair in curves.columns]
        curves.assign(all=found.g_all.values).to_csv(out)
        click.echo(f"curves in {out}")


@click.command()
@click.argument("store")
@click.option("--out", required=True, help="Store of paths to write.")
@click.option("--scheme", default="auto", show_default=True, help="auto, images, nearest or toroidal.")
@click.option(
    "--allow-jumps", is_flag=True, help="Go on where an atom moves more than 0.45 of the cell between frames."
)
@_worker_options
def unwrap(store: str, out: str, workers: int | None, threads: int, scheduler: str | None, **options: Any) -> None:
    """True paths of all atoms, cut by atoms, for what follows atoms through time."""
    with _workers(workers, threads, scheduler, None) as client:
        click.echo(str(mgdask.unwrap(store, out, client=client, **options)))


@click.command()
@_feature_options
@click.option("--threads", default=1, show_default=True, help="Threads of each worker.")
def plan(**options: Any) -> None:
    """Say what a run would do and need, without doing it; refuse what does not fit."""
    click.echo(str(_plan(**options)))


@click.command()
@_feature_options
@_worker_options
@click.option("--retries", default=2, show_default=True, help="Times a failed block is tried again.")
def featurize(workers: int | None, scheduler: str | None, retries: int, **options: Any) -> None:
    """Compute features into a Zarr store; run it again after any interruption and only the rest is done."""
    work = _plan(**options)
    click.echo(str(work))
    with _workers(workers, options["threads"], scheduler, options["memory"]) as client:
        report = mgdask.run(work, client, retries=retries)
    click.echo(str(report))


@click.group()
def study() -> None:
    """Published studies, from stores to results."""


@study.command()
@click.option(
    "--train",
    multiple=True,
    required=True,
    help="Trajectory store of a deformed glass to learn from; several times for several.",
)
@click.option("--test", required=True, help="Trajectory store of the glass that is set aside.")
@click.option("--out", required=True, help="Folder for labels, features, models and results.")
@click.option("--features", default="interstice", show_default=True, help=f"A ready-made list: {', '.join(SETS)}.")
@click.option("--strain", default=0.04, show_default=True, help="Strain at which atoms are labelled.")
@click.option("--threshold", default=5.0, show_default=True, help="Plastic above this D2min (sum over neighbours), Å².")
@click.option("--cutoff", default=4.5, show_default=True, help="Of the neighbours of D2min, Å.")
@click.option("--margin", default=15.0, show_default=True, help="Å that atoms which count are away from free surfaces.")
@click.option("--centers", help="Only these elements count: Cu or Cu,Zr.")
@click.option("--draws", default=5, show_default=True, help="Draws of the undersampling, a model each.")
@click.option("--seed", default=0, show_default=True)
@_worker_options
def softness(train: tuple[str, ...], test: str, out: str, draws: int, seed: int, centers: str | None, workers: int | None, threads: int,
             scheduler: str | None, **options: Any) -> None:  # fmt: skip
    """Quench-in softness (Wang & Jain 2019): learn which atoms turn plastic, test it on a glass set aside."""
    from mgdask.explore.softness import softness_report
    from mgdask.studies.learn_softness import learn_softness
    from mgdask.studies.softness import prepare_glass

    species = None if centers is None else [name.strip() for name in centers.split(",")]
    with _workers(workers, threads, scheduler, None) as client:
        glasses = [prepare_glass(store, out, species=species, client=client, **options) for store in (*train, test)]
    for glass in glasses:
        click.echo(str(glass))
    found = learn_softness(glasses[:-1], glasses[-1], draws=draws, seed=seed)
    found.save(Path(out) / "softness")
    click.echo(str(found))
    click.echo(f"models, scores and summary beside {softness_report(found, glasses[-1], Path(out) / 'softness')}")


@click.command()
@click.option("--out", default="mgdask-demo", show_default=True, help="Folder for the stores and the picture.")
@click.option("--workers", type=int, help="Local worker processes [default: the cores this process may use].")
def demo(out: str, workers: int | None) -> None:
    """The whole way on a real Zr-Cu glass that comes with the package: ingest, inspect, plan, featurize, picture."""
    from mgdask.explore.demo import run_demo

    run_demo(Path(out), workers=workers, say=click.echo)
