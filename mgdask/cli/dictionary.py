"""``mgdask dictionary``: dictionaries of unique local environments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

import mgdask
from mgdask.cli.groups import examples
from mgdask.cli.options import (
    complete_features,
    fit_to_site,
    open_workers,
    select_features,
    store_species,
    trust_option,
    worker_options,
)
from mgdask.errors import ParameterError
from mgdask.store.failures import check_store_exists
from mgdask.store.writable import check_writable

if TYPE_CHECKING:
    from mgdask.features import FrameFeature
    from mgdask.pipelines.dictionary.plan import DictionaryPlan


@click.group(
    epilog=examples(
        "mgdask dictionary build a.zarr b.zarr --soap r_cut=5,n_max=11,l_max=12,sigma=0.5 "
        "--out ules.zarr",
        "mgdask dictionary extend ules.zarr c.zarr",
        "mgdask dictionary show ules.zarr",
    )
)
def dictionary() -> None:
    """Build, extend and show dictionaries of unique local environments."""


def _shared_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--frames",
            metavar="START:STOP[:STEP]",
            help="Frames of each store, counted from 0; several ranges or numbers are joined by "
            "commas [default: all].",
        ),
        click.option(
            "--memory",
            default="2GiB",
            show_default=True,
            help="Memory of each worker and of this process. It limits the number of entries.",
        ),
        click.option("--plan", "only_plan", is_flag=True, help="Show the plan, and stop."),
        trust_option,
        worker_options,
    ):
        command = option(command)
    return command


@dictionary.command(
    epilog=examples(
        "mgdask dictionary build glass.zarr --soap r_cut=5,n_max=11,l_max=12,sigma=0.5 "
        "--out ules.zarr",
        "mgdask dictionary build a.zarr b.zarr --soap r_cut=5,n_max=8,l_max=8,sigma=0.5 "
        "--threshold 0.9 --per-species --out ules.zarr --workers 4",
    )
)
@click.argument("stores", nargs=-1, required=True)
@click.option(
    "--soap",
    "soaps",
    multiple=True,
    shell_complete=complete_features,
    help="Parameters of SOAP, such as r_cut=5,n_max=11,l_max=12,sigma=0.5.",
)
@click.option(
    "--feature",
    "features",
    multiple=True,
    shell_complete=complete_features,
    help="Another per-atom feature instead of SOAP, with its parameters.",
)
@click.option(
    "--threshold",
    default=0.84,
    show_default=True,
    help="Similarity at or above which an entry covers an environment, from 0 to 1.",
)
@click.option(
    "--per-species",
    is_flag=True,
    help="Compare only environments whose central atoms are of the same species.",
)
@click.option("--out", required=True, help="Dictionary to write.")
@_shared_options
def build(
    stores: tuple[str, ...],
    soaps: tuple[str, ...],
    features: tuple[str, ...],
    out: str,
    threshold: float,
    per_species: bool,
    **options: Any,
) -> None:
    """Build a dictionary from trajectory stores, or resume an interrupted build.

    Environments are compared in stored order: store by store, frame by frame, atom
    by atom. An environment becomes an entry if it is not similar to any earlier entry.
    """
    check_writable(out)

    def plan(frames: Any, **limits: Any) -> DictionaryPlan:
        return mgdask.plan_dictionary(
            stores,
            _one_feature(stores, soaps, features),
            threshold=threshold,
            out=out,
            frames=frames,
            per_species=per_species,
            **limits,
        )

    _run(stores, plan, **options)


@dictionary.command(
    epilog=examples(
        "mgdask dictionary extend ules.zarr more.zarr",
        "mgdask dictionary extend ules.zarr more.zarr --out all.zarr",
    )
)
@click.argument("path", metavar="DICTIONARY")
@click.argument("stores", nargs=-1, required=True)
@click.option("--out", help="Dictionary to write [default: replace DICTIONARY at the end].")
@_shared_options
def extend(path: str, stores: tuple[str, ...], out: str | None, **options: Any) -> None:
    """Extend a dictionary by the environments of further trajectory stores.

    The result is the same as building from all stores in this order. Until the
    extension is finished, DICTIONARY does not change.
    """
    check_store_exists(path)

    def plan(frames: Any, **limits: Any) -> DictionaryPlan | str:
        from mgdask.pipelines.dictionary.build import plan_of_extension

        return plan_of_extension(path, stores, out=out, frames=frames, **limits)

    _run(stores, plan, **options)


@dictionary.command(
    epilog=examples("mgdask dictionary show ules.zarr", "mgdask dictionary show ules.zarr --all")
)
@click.argument("path", metavar="DICTIONARY")
@click.option("--all", "show_all", is_flag=True, help="List every entry, not only the first ten.")
def show(path: str, show_all: bool) -> None:
    """Show the feature, threshold, samples and entries of a dictionary."""
    check_store_exists(path)
    from mgdask.report.text import describe_dictionary
    from mgdask.store.dictionaries import read_dictionary

    click.echo(describe_dictionary(read_dictionary(path), n_entries=None if show_all else 10))


def _run(
    stores: Sequence[str],
    plan: Callable[..., DictionaryPlan | str],
    *,
    frames: str | None,
    memory: str,
    trust: bool,
    only_plan: bool,
    workers: int | None,
    threads: int,
    scheduler: str | None,
    site: str | None,
) -> None:
    """Show a plan and run it with the workers that the options name."""
    limits = fit_to_site(site, {"memory": memory, "threads": threads})

    def threads_if_small(max_threads: int) -> int:
        from mgdask.pipelines.dictionary.plan import DictionaryPlan

        return made.small_threads(max_threads) if isinstance(made, DictionaryPlan) else 1

    with open_workers(
        workers, limits["threads"], scheduler, limits["memory"], site, threads_if_small
    ) as client:
        for store in stores:
            check_store_exists(store)
        selection = None if frames is None else _parse_frames(stores, frames)
        made = plan(selection, trust=trust, **limits)
        if isinstance(made, str):
            click.echo(made)
            return
        from mgdask.pipelines.dictionary.build import is_begun, run_plan

        is_begun(made)  # refuses other content before anything is printed
        # the build measures the cost anyway
        click.echo(made.describe(measure=only_plan))
        if not only_plan:
            click.echo(str(run_plan(made, client)))


def _one_feature(
    stores: Sequence[str], soaps: Sequence[str], features: Sequence[str]
) -> FrameFeature:
    """Return the feature that the options describe."""
    if len(soaps) + len(features) != 1:
        raise ParameterError(
            f"{len(soaps) + len(features)} features were given, but a dictionary has one. Give "
            "--soap once, such as --soap r_cut=5,n_max=11,l_max=12,sigma=0.5"
        )
    from mgdask.elements import atomic_number
    from mgdask.pipelines.dictionary.samples import check_feature

    names = {name for store in stores for name in store_species(store)}
    (feature,) = select_features(
        sorted(names, key=atomic_number), soaps=soaps, features=features, sets=(), recipe=None
    )
    return check_feature(feature)


def _parse_frames(stores: Sequence[str], text: str) -> Any:
    """Return the frames that a text selects, which every store must have."""
    from mgdask.pipelines.featurize.validation import parse_frames
    from mgdask.store.shards import get_array, open_group

    counts = [get_array(open_group(store), "step").shape[0] for store in stores]
    return parse_frames(text, min(counts))
