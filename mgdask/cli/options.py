"""Options that several commands share: workers, features, a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

import mgdask
from mgdask.cli.groups import NamesOption
from mgdask.errors import ParameterError
from mgdask.store.failures import check_store_exists
from mgdask.store.location import is_remote
from mgdask.store.writable import check_writable

if TYPE_CHECKING:
    from mgdask.cluster.client import Client
    from mgdask.features import Feature
    from mgdask.pipelines.featurize.plan import Plan

Command = TypeVar("Command", bound=Callable[..., Any])
T = TypeVar("T")


def parse_names(text: str | None) -> list[str] | None:
    """Return the names of a comma-separated list; ``None`` without one."""
    return None if text is None else [name.strip() for name in text.split(",")]


def parse_species(text: str | None) -> dict[int, str] | dict[str, str] | None:
    """Return the element of each atom type 1, 2, ... from ``"Cu,Zr"``.

    ``"Cu1=Cu,Zr1=Zr"`` gives the elements of type labels.
    """
    names = parse_names(text)
    if names is not None and any("=" in name for name in names):
        return {label: element for label, _, element in (name.partition("=") for name in names)}
    return None if names is None else dict(enumerate(names, start=1))


def parse_origin(text: str | None) -> list[float] | None:
    """Parse an origin such as ``"3,-4,1"``."""
    try:
        return None if text is None else [float(word) for word in text.split(",")]
    except ValueError:
        raise ParameterError(f"--origin {text} must be three numbers, such as 3,-4,1") from None


def one_or_list(values: Sequence[T]) -> T | list[T] | None:
    """Return the value of an option given once, or the list of repeated values."""
    return values[0] if len(values) == 1 else list(values) or None


def parse_variables(texts: Sequence[str]) -> dict[str, Any]:
    """Return sources by name from ``NAME=SOURCE``; a list if a name is repeated."""
    sources: dict[str, list[str]] = {}
    for text in texts:
        name, equals, source = text.partition("=")
        if not (name and equals and source):
            raise ParameterError(
                f"--variable {text} must be NAME=FILE:COLUMN or NAME=NUMBER, such as "
                "energy=energies.txt:3"
            )
        sources.setdefault(name.strip(), []).append(source.strip())
    return {name: one_or_list(given) for name, given in sources.items()}


def value_options(command: Command) -> Command:
    """Add the options for values of frames."""
    for option in (
        click.option(
            "--variable",
            "variables",
            multiple=True,
            metavar="NAME=FILE:COLUMN",
            help="Value of each frame from a text file with one row per frame; columns are "
            "counted from 1, and # begins a comment. NAME=NUMBER gives all frames one value. A "
            "unit may follow the name: 'stress[GPa]'. Repeat NAME for one per run.",
        ),
        click.option(
            "--temperature",
            type=float,
            multiple=True,
            help="Temperature in K. Repeat it to give one per run, in the order of the runs.",
        ),
    ):
        command = option(command)
    return command


def store_species(store: str) -> list[str]:
    """Return the element symbols of a store, by atomic number."""
    from mgdask.elements import symbol
    from mgdask.store.open import check_complete
    from mgdask.store.shards import read_array

    numbers = read_array(check_complete(store)[0], "species")
    return [symbol(number) for number in sorted({int(z) for z in numbers})]


@contextmanager
def open_workers(
    workers: int | None,
    threads: int,
    scheduler: str | None,
    memory: str | None,
    site: str | None = None,
    threads_if_small: Callable[[int], int] = lambda max_threads: 0,
) -> Iterator[Client]:
    """Yield a client of the workers that the options of ``worker_options`` name.

    The options are checked now. Workers start when the client is first used, which is
    after the other arguments have been checked. Local workers are threads of this
    process if ``threads_if_small``, called with the maximum, then returns their number.
    """
    from mgdask import cluster
    from mgdask.cluster.checks import check_workers
    from mgdask.execution.deferred import deferred

    site_threads = threads if _is_given("threads") else None
    check_workers(workers, threads, scheduler, memory, site, site_threads)
    if site is not None:
        opened = cluster.open_cluster(site, memory=memory, threads=site_threads)
    elif scheduler is not None:
        opened = cluster.connect(scheduler)
    else:
        opened = _local_workers(workers, threads, memory, threads_if_small)
    with deferred(opened) as client:
        yield client


@contextmanager
def _local_workers(
    workers: int | None, threads: int, memory: str | None, threads_if_small: Callable[[int], int]
) -> Iterator[Client]:
    from mgdask import cluster
    from mgdask.execution.client import resolve_client

    n_threads = threads_if_small((workers or cluster.available_cores()) * threads)
    if n_threads:
        opened = resolve_client(threads=n_threads)
    else:
        opened = cluster.local_client(workers, threads=threads, memory=memory)
    with opened as client:
        yield client


def threads_for_store(store: str, max_threads: int) -> int:
    """Return how many threads of this process should read a store; 0 if it is large."""
    from mgdask.pipelines import small

    return small.threads_for_store(store, max_threads)


def trust_option(command: Command) -> Command:
    """Add the option that skips the checks of source files."""
    return click.option(
        "--trust",
        is_flag=True,
        help="Do not compare the files of the input with their records. A damaged file may then "
        "give wrong values.",
    )(command)


def worker_options(command: Command) -> Command:
    """Add the options that say where workers come from."""
    for option in (
        click.option(
            "--cluster",
            "site",
            help="Site file (YAML) of a queueing system or machine; see deploy/.",
        ),
        click.option("--scheduler", help="Address or scheduler file of a running Dask scheduler."),
        click.option(
            "--threads", default=1, show_default=True, help="Threads of each local worker."
        ),
        click.option(
            "--workers",
            type=int,
            help="Number of local worker processes [default: one per available core]. A small "
            "job uses at most as many threads of its own process instead.",
        ),
    ):
        command = option(command)
    return command


def _is_given(name: str) -> bool:
    """Whether the user gave an option, as opposed to its default."""
    source = click.get_current_context().get_parameter_source(name)
    return source is not None and source is not click.core.ParameterSource.DEFAULT


def fit_to_site(site: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Fill in the memory and threads of a site's workers, unless the user gave them."""
    if site is None:
        return options
    from mgdask.cluster import read_site

    settings = read_site(site)
    if settings.worker_memory is not None and not _is_given("memory"):
        options["memory"] = f"{settings.worker_memory}B"
    if settings.worker_threads is not None and not _is_given("threads"):
        options["threads"] = settings.worker_threads
    return options


def set_names() -> Iterable[str]:
    """Return the names of the feature sets."""
    from mgdask.features import SETS

    return SETS


def family_names() -> Iterable[str]:
    """Return the names of the feature families."""
    from mgdask.features.registry import feature_names

    return feature_names()


def complete_features(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete ``family``, ``family:parameter=`` and ``family:parameter=word``."""
    from mgdask.features.allowed import choices
    from mgdask.features.parameters import schema_of
    from mgdask.features.registry import feature_class

    family, colon, options = incomplete.partition(":")
    if not colon and parameter.name != "soaps":
        return [CompletionItem(name) for name in family_names() if name.startswith(incomplete)]
    if parameter.name == "soaps":
        family, options = "soap", incomplete
    try:
        schemas = schema_of(feature_class(family))
    except ParameterError:
        return []
    before = incomplete[: len(incomplete) - len(options.rpartition(",")[2])]
    name, equals, value = incomplete[len(before) :].partition("=")
    if not equals:
        return [CompletionItem(f"{before}{each}=") for each in schemas if each.startswith(name)]
    words = choices(schemas.get(name, {}))
    return [CompletionItem(f"{before}{name}={word}") for word in words if word.startswith(value)]


def complete_sets(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the last of several sets that are joined by +."""
    before, plus, last = incomplete.rpartition("+")
    return [
        CompletionItem(f"{before}{plus}{name}") for name in set_names() if name.startswith(last)
    ]


def feature_options(command: Command) -> Command:
    """Add the options for features, central atoms and the store to write."""
    for option in (
        click.option("--centers", help="Restrict to central atoms of these elements: Cu or Cu,Zr."),
        click.option(
            "--frames",
            metavar="START:STOP[:STEP]",
            help="Frames to compute, counted from 0; several ranges or numbers are joined by "
            "commas, as in 0:3,4:8 [default: all].",
        ),
        trust_option,
        click.option("--memory", default="2GiB", show_default=True, help="Memory of each worker."),
        click.option("--out", required=True, help="Feature store to write."),
        click.option("--recipe", help="YAML file that lists features and their parameters."),
        click.option(
            "--set",
            "sets",
            cls=NamesOption,
            names=set_names,
            shell_complete=complete_sets,
            multiple=True,
            help="Feature set: one of {names}, or several joined by +, as in motifs+mro. "
            "Options follow a colon: mro:cutoff=3.8. May be repeated. mgdask features NAME shows "
            "one in full.",
        ),
        click.option(
            "--feature",
            "features",
            cls=NamesOption,
            names=family_names,
            shell_complete=complete_features,
            multiple=True,
            help="Feature family with its parameters, such as "
            "interstice:cutoff=3.8,small_facets=none. Items of a list are joined by +; cutoffs per "
            "pair are pair_cutoffs=Cu-Cu:3.2,Cu-Zr:3.7,Zr-Zr:4.1. May be repeated. Families: "
            "{names}. mgdask features NAME shows one in full.",
        ),
        click.option(
            "--soap",
            "soaps",
            shell_complete=complete_features,
            multiple=True,
            help="SOAP with its parameters, such as "
            "r_cut=5,n_max=11,l_max=12,sigma=0.5,rbf=polynomial. Short for --feature soap:...",
        ),
        click.argument("store"),
    ):
        command = option(command)
    return command


def make_plan(
    store: str,
    *,
    out: str,
    memory: str,
    threads: int,
    centers: str | None,
    frames: str | None,
    trust: bool,
    **selection: Any,
) -> Plan:
    """Plan the run that the options of ``feature_options`` describe."""
    check_store_exists(store)
    if not is_remote(out):  # which the plan checks
        check_writable(out)
    selected = select_features(store_species(store), **selection)
    return mgdask.plan(
        store,
        selected,
        out=out,
        memory=memory,
        threads=threads,
        centers=parse_names(centers),
        frames=None if frames is None else _parse_frames(store, frames),
        trust=trust,
    )


def _parse_frames(store: str, text: str) -> Any:
    from mgdask.pipelines.featurize.validation import parse_frames
    from mgdask.store.shards import get_array, open_group

    return parse_frames(text, get_array(open_group(store), "step").shape[0])


def select_features(
    species: Sequence[str],
    *,
    soaps: Sequence[str],
    features: Sequence[str],
    sets: Sequence[str],
    recipe: str | None,
) -> list[Feature]:
    """Return the features that the options of ``feature_options`` describe."""
    from mgdask.features.recipe import gather_features

    texts = [*features, *(f"soap:{text}" for text in soaps)]
    return gather_features(texts, sets, recipe, list(species))
