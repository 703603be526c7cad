"""Options that several commands share, and what is made of them: workers, features, a plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

import mgdask
from mgdask import cluster
from mgdask.cli.recipe import gather_features
from mgdask.elements import symbol
from mgdask.errors import ParameterError
from mgdask.features import SETS


def parse_species(text: str | None) -> dict[int, str] | None:
    return (
        None
        if text is None
        else {kind: name.strip() for kind, name in enumerate(text.split(","), start=1)}
    )


def store_species(store: str) -> list[str]:
    return [symbol(z) for z in sorted({int(z) for z in mgdask.open_store(store)["species"].values})]


@contextmanager
def open_workers(
    workers: int | None,
    threads: int,
    scheduler: str | None,
    memory: str | None,
    site: str | None = None,
) -> Iterator[Any]:
    if sum(given is not None for given in (workers, scheduler, site)) > 1:
        raise ParameterError(
            "--workers, --scheduler and --cluster exclude each other: each says where workers come from"
        )
    if site is not None:
        with cluster.open_cluster(
            site, memory=memory, threads=threads if _typed("threads") else None
        ) as client:
            yield client
    elif scheduler is not None:
        with cluster.connect(scheduler) as client:
            yield client
    else:
        with cluster.local_client(workers, threads=threads, memory=memory) as client:
            yield client


def worker_options(command: Any) -> Any:
    for option in (
        click.option(
            "--cluster",
            "site",
            help="Site file (YAML) that says where workers come from: see deploy/.",
        ),
        click.option("--scheduler", help="Address or scheduler file of a running Dask scheduler."),
        click.option(
            "--threads", default=1, show_default=True, help="Threads of each local worker."
        ),
        click.option(
            "--workers",
            type=int,
            help="Local worker processes [default: the cores this process may use].",
        ),
    ):
        command = option(command)
    return command


def _typed(name: str) -> bool:
    """Whether the user gave an option, rather than its default."""
    source = click.get_current_context().get_parameter_source(name)
    return source is not None and source is not click.core.ParameterSource.DEFAULT


def fit_to_site(site: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Options of a plan with the memory and threads that the workers of a site have, where the user gave none."""
    if site is None:
        return options
    where = cluster.read_site(site)
    if where.worker_memory is not None and not _typed("memory"):
        options["memory"] = f"{where.worker_memory}B"
    if where.worker_threads is not None and not _typed("threads"):
        options["threads"] = where.worker_threads
    return options


def feature_options(command: Any) -> Any:
    for option in (
        click.option(
            "--centers", help="Only these central atoms: species symbols such as Cu or Cu,Zr."
        ),
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


def make_plan(
    store: str,
    soaps: tuple[str, ...],
    features: tuple[str, ...],
    sets: tuple[str, ...],
    recipe: str | None,
    out: str,
    memory: str,
    threads: int,
    centers: str | None,
) -> Any:
    wanted = gather_features(
        [*features, *(f"soap:{text}" for text in soaps)], sets, recipe, store_species(store)
    )
    chosen = None if centers is None else [name.strip() for name in centers.split(",")]
    return mgdask.plan(store, wanted, out=out, memory=memory, threads=threads, centers=chosen)
