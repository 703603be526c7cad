"""The commands, each a call of the public function of the same name."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

import mgdask
from mgdask.cli.groups import examples
from mgdask.cli.options import (
    feature_options,
    fit_to_site,
    make_plan,
    one_or_list,
    open_workers,
    parse_origin,
    parse_species,
    parse_variables,
    threads_for_store,
    trust_option,
    value_options,
    worker_options,
)
from mgdask.store.failures import check_store_exists
from mgdask.store.location import local_place
from mgdask.store.writable import check_writable


@click.command(
    epilog=examples(
        "mgdask ingest dump.*.gz --out glass.zarr --species Zr,Cu --timestep 0.002",
        "mgdask ingest 300.dump 500.dump --run 300K --run 500K --temperature 300 --temperature 500 "
        "--out glass.zarr --species Zr,Cu",
        "mgdask ingest more.dump.gz --out glass.zarr --species Zr,Cu --timestep 0.002 --append",
    )
)
@click.argument("paths", nargs=-1, required=True)
@click.option("--out", required=True, help="Trajectory store to write.")
@click.option(
    "--species",
    help="Elements of atom types 1, 2, ...: Cu,Zr. Elements of type labels: Cu1=Cu,Zr1=Zr. Not "
    "needed if the files contain element names.",
)
@click.option(
    "--frames",
    metavar="START:STOP[:STEP]",
    help="Frames to read, counted from 0 without repeated or damaged frames [default: all].",
)
@click.option(
    "--origin",
    metavar="X,Y,Z",
    help="Lower corner of the cells, for files that do not state it, such as extxyz and H5MD "
    "[default: inferred from the positions].",
)
@click.option("--particles", help="Particle group to read from H5MD files with several groups.")
@click.option("--timestep", type=float, help="Time step of the simulation in ps.")
@click.option("--units", help="LAMMPS unit style, if the files do not state it [default: metal].")
@click.option(
    "--run",
    "runs",
    multiple=True,
    help="Label of this simulation [default: from the file name]. If repeated, each of the PATHS "
    "is a separate simulation; give one label per path, in the same order.",
)
@click.option("--run-per-file", is_flag=True, help="Treat every file as a separate simulation.")
@click.option(
    "--repeated",
    type=click.Choice(["last", "first", "all", "error"]),
    default="last",
    show_default=True,
    help="Which frame of a repeated timestep to keep.",
)
@value_options
@click.option(
    "--append",
    is_flag=True,
    help="Append frames of a continued simulation, or of the runs named by --run.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing store.")
@worker_options
def ingest(
    paths: tuple[str, ...],
    out: str,
    species: str | None,
    origin: str | None,
    runs: tuple[str, ...],
    temperature: tuple[float, ...],
    variables: tuple[str, ...],
    workers: int | None,
    threads: int,
    scheduler: str | None,
    site: str | None,
    **options: Any,
) -> None:
    """Read simulation files into one trajectory store, with an audit.

    Reads LAMMPS dumps and data files (plain, gz, zst, binary), extxyz, H5MD and NetCDF.
    Several PATHS form one trajectory in the given order, unless --run is repeated.
    """
    from mgdask.readers.files import expand
    from mgdask.readers.species import make_species

    elements = parse_species(species)

    def threads_if_small(max_threads: int) -> int:
        from mgdask.pipelines import small

        return small.threads_for_ingest(files, out, max_threads)

    with open_workers(workers, threads, scheduler, None, site, threads_if_small) as client:
        # before the libraries are imported; ``mgdask.ingest`` checks all of it again
        files = expand(local_place(path, "mgdask ingest reads") for path in paths)
        make_species(elements)
        check_writable(out)
        report = mgdask.ingest(
            list(paths),
            out,
            species=elements,
            origin=parse_origin(origin),
            run=one_or_list(runs),
            temperature=one_or_list(temperature),
            variables=parse_variables(variables),
            client=client,
            **options,
        )
    click.echo(str(report))


@click.command(
    epilog=examples(
        "mgdask attach glass.zarr --temperature 300",
        "mgdask attach glass.zarr --run cooling_1 --variable temperature=cooling_1.energy.txt:2 "
        "--variable energy=cooling_1.energy.txt:3",
    )
)
@click.argument("store")
@click.option(
    "--run",
    "runs",
    multiple=True,
    help="Run to which the values belong [default: all runs]. May be repeated; repeated values "
    "are assigned in the same order.",
)
@value_options
@click.option("--overwrite", is_flag=True, help="Replace different values in the store.")
def attach(
    store: str,
    runs: tuple[str, ...],
    temperature: tuple[float, ...],
    variables: tuple[str, ...],
    overwrite: bool,
) -> None:
    """Add values of frames, such as the temperature, to an existing store.

    Either all values are written or none. Features computed from the store stay valid,
    except those that read these values.
    """
    report = mgdask.attach(
        store,
        temperature=one_or_list(temperature),
        variables=parse_variables(variables),
        run=list(runs) or None,
        overwrite=overwrite,
    )
    click.echo(str(report))


@click.command(epilog=examples("mgdask inspect glass.zarr", "mgdask inspect features.zarr"))
@click.argument("store")
def inspect(store: str) -> None:
    """Show what a store holds.

    Lists frames, atoms, species, cell, times, chunks and the audit.
    """
    from mgdask.report.text import describe
    from mgdask.store.contents import read_contents

    click.echo(describe(read_contents(store)))


@click.command(
    epilog=examples(
        "mgdask rdf glass.zarr", "mgdask rdf glass.zarr --r-max 8 --bins 400 --out rdf.csv"
    )
)
@click.argument("store")
@click.option("--r-max", default=10.0, show_default=True, help="Largest distance in Å.")
@click.option("--bins", default=500, show_default=True, help="Number of bins.")
@click.option("--out", help="CSV file to write the curves to.")
@trust_option
@worker_options
def rdf(
    store: str,
    r_max: float,
    bins: int,
    out: str | None,
    trust: bool,
    workers: int | None,
    threads: int,
    scheduler: str | None,
    site: str | None,
) -> None:
    """Compute the radial distribution functions of all species pairs.

    Prints the first peak, the first minimum (a cutoff for features) and the
    coordination number of each pair.
    """

    def threads_if_small(max_threads: int) -> int:
        from mgdask.pipelines import small

        return small.threads_for_rdf(store, r_max, max_threads)

    if out is not None:
        check_writable(out)
    with open_workers(workers, threads, scheduler, None, site, threads_if_small) as client:
        check_store_exists(store)
        curves = mgdask.partial_rdf(store, r_max=r_max, bins=bins, trust=trust, client=client)
    from mgdask.report.text import describe_rdf

    click.echo(describe_rdf(curves))
    if out is not None:
        table = curves.g.stack(pair=("species", "neighbor_species")).to_pandas()
        table.columns = ["-".join(pair) for pair in table.columns]
        table.assign(all=curves.g_all.values).to_csv(out)
        click.echo(f"curves in {out}")


@click.command(
    epilog=examples(
        "mgdask unwrap glass.zarr --out unwrapped.zarr",
        "mgdask unwrap glass.zarr --out unwrapped.zarr --scheme toroidal --workers 4",
    )
)
@click.argument("store")
@click.option("--out", required=True, help="Store of unwrapped trajectories to write.")
@click.option(
    "--scheme", default="auto", show_default=True, help="auto, images, nearest or toroidal."
)
@click.option(
    "--allow-jumps",
    is_flag=True,
    help="Continue even if an atom moves more than 0.45 of the cell between two frames.",
)
@trust_option
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
    """Unwrap the trajectories of all atoms into a store.

    The new store is chunked by atoms, for analyses that follow atoms through time.
    """
    small = partial(threads_for_store, store)
    with open_workers(workers, threads, scheduler, None, site, small) as client:
        check_store_exists(store)
        click.echo(str(mgdask.unwrap(store, out, client=client, **options)))


@click.command(
    epilog=examples(
        "mgdask plan glass.zarr --set interstice --out features.zarr",
        "mgdask plan glass.zarr --recipe features.yaml --out features.zarr --memory 4GiB",
    )
)
@feature_options
@click.option("--threads", default=1, show_default=True, help="Threads of each worker.")
def plan(**options: Any) -> None:
    """Show what a run would compute and need, without running it.

    Fails if a block does not fit into the memory of a worker.
    """
    click.echo(str(make_plan(**options)))


@click.command(
    epilog=examples(
        "mgdask featurize glass.zarr --set interstice --out features.zarr --workers 4",
        "mgdask featurize glass.zarr --soap r_cut=5,n_max=8,l_max=8,sigma=0.5 --out soap.zarr "
        "--cluster slurm.yaml",
    )
)
@feature_options
@worker_options
@click.option("--retries", default=2, show_default=True, help="How often to retry a failed block.")
def featurize(
    workers: int | None, scheduler: str | None, site: str | None, retries: int, **options: Any
) -> None:
    """Compute features into a store, or resume an interrupted run.

    After an interruption, the same command computes only the missing blocks. A
    job of at most 10 projected core seconds is computed by threads of this
    process; --workers, --threads and --memory then limit their number.
    """
    options = fit_to_site(site, options)

    def threads_if_small(max_threads: int) -> int:
        from mgdask.pipelines import small

        return small.threads_for_plan(made, max_threads)

    with open_workers(
        workers, options["threads"], scheduler, options["memory"], site, threads_if_small
    ) as client:
        made = make_plan(**options)
        # the run measures the cost anyway, so nothing is measured in advance
        click.echo(made.describe(measure=False))
        report = mgdask.run(made, client, retries=retries)
    click.echo(str(report))


@click.command(
    epilog=examples(
        "mgdask status features.zarr", "mgdask status features.zarr && mgdask verify features.zarr"
    )
)
@click.argument("store")
def status(store: str) -> int:
    """Show how many blocks of a store are finished.

    The exit status is 0 if all are, and 3 if blocks are missing.
    """
    from mgdask.store.progress import read_progress

    progress = read_progress(store)
    click.echo(str(progress))
    return 0 if progress.finished else 3


@click.command(
    epilog=examples(
        "mgdask verify features.zarr", "mgdask verify features.zarr --repair --workers 4"
    )
)
@click.argument("store")
@click.option(
    "--repair",
    is_flag=True,
    help="Restore damaged metadata and small arrays, and discard damaged blocks. The command "
    "that made the store then computes these again.",
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
    """Compare every file of a store with its recorded checksum.

    The exit status is 1 if anything is damaged.
    """
    small = partial(threads_for_store, store)
    with open_workers(workers, threads, scheduler, None, site, small) as client:
        check_store_exists(store)
        report = mgdask.verify(store, repair=repair, client=client)
    click.echo(str(report))
    return 0 if report.ok else 1


@click.command(epilog=examples("mgdask demo", "mgdask demo --out my-demo --workers 4"))
@click.option(
    "--out", default="mgdask-demo", show_default=True, help="Folder for the stores and the figure."
)
@click.option(
    "--workers", type=int, help="Maximum number of threads [default: one per available core]."
)
def demo(out: str, workers: int | None) -> None:
    """Run the whole workflow on a Zr-Cu glass shipped with mgdask.

    Ingests, inspects, plans, featurizes and draws a figure.
    """
    from mgdask.datasets.demo import run_demo

    run_demo(Path(out), workers=workers, say=click.echo)
