"""The studies: ``mgdask study softness | compare | transfer``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mgdask.cli.options import open_workers, store_species, worker_options
from mgdask.cli.recipe import gather_features
from mgdask.features import SETS


@click.group()
def study() -> None:
    """Published studies, from stores to results."""


@study.command()
@click.option(
    "--train",
    multiple=True,
    required=True,
    help="Store of a deformed glass to learn from; several times for several.",
)
@click.option("--test", required=True, help="Trajectory store of the glass that is set aside.")
@click.option("--out", required=True, help="Folder for labels, features, models and results.")
@click.option(
    "--set",
    "sets",
    multiple=True,
    help=f"A ready-made list of features [default: interstice]: {', '.join(SETS)}.",
)
@click.option(
    "--feature", "features", multiple=True, help="A family and its options, as for featurize."
)
@click.option("--recipe", help="YAML file that lists features and parameters.")
@click.option(
    "--strain", default=0.04, show_default=True, help="Strain at which atoms are labelled."
)
@click.option(
    "--threshold",
    default=5.0,
    show_default=True,
    help="Plastic above this D2min (sum over neighbours), Å².",
)
@click.option("--cutoff", default=4.5, show_default=True, help="Of the neighbours of D2min, Å.")
@click.option(
    "--margin",
    default=15.0,
    show_default=True,
    help="Å that atoms which count are away from free surfaces.",
)
@click.option(
    "--ends", is_flag=True, help="As far from the ends across the direction of deformation, too."
)
@click.option("--centers", help="Only these elements count: Cu or Cu,Zr.")
@click.option(
    "--draws", default=20, show_default=True, help="Draws of the undersampling, a model each."
)
@click.option("--rounds", default=150, show_default=True, help="Trees of each model.")
@click.option(
    "--wanted", default=15, show_default=True, help="Leading columns to find; 0 for no search."
)
@click.option("--folds", default=5, show_default=True, help="Of the cross-validation.")
@click.option(
    "--trials",
    default=0,
    show_default=True,
    help="Of a search for the parameters of the trees; 0 for none.",
)
@click.option("--seed", default=0, show_default=True)
@worker_options
def softness(
    train: tuple[str, ...],
    test: str,
    out: str,
    sets: tuple[str, ...],
    features: tuple[str, ...],
    recipe: str | None,
    draws: int,
    rounds: int,
    wanted: int,
    folds: int,
    trials: int,
    seed: int,
    centers: str | None,
    workers: int | None,
    threads: int,
    scheduler: str | None,
    site: str | None,
    **options: Any,
) -> None:
    """Quench-in softness (Wang & Jain 2019): learn which atoms turn plastic, test it on a glass set aside."""
    from mgdask.studies.softness.report import softness_report
    from mgdask.studies.softness.workflow import study_softness
    from mgdask.studies.timing import Stages

    chosen = sets or (() if features or recipe else ("interstice",))
    wanted_features = gather_features(features, chosen, recipe, store_species(test))
    species = None if centers is None else [name.strip() for name in centers.split(",")]
    learning = {
        "draws": draws,
        "rounds": rounds,
        "wanted": wanted or None,
        "folds": folds,
        "trials": trials,
        "seed": seed,
    }
    stages = Stages()
    with open_workers(workers, threads, scheduler, None, site) as client:
        found, glass = study_softness(
            train,
            test,
            out,
            features=wanted_features,
            glass={**options, "species": species},
            learning=learning,
            client=client,
            stages=stages,
        )
    with stages("report"):
        page = softness_report(found, glass, Path(out) / "softness")
    stages.save(Path(out) / "softness" / "stages.json")
    click.echo(f"{glass}\n{found}\n{stages}\nmodels, scores and summary beside {page}")


def _glass_options(command: Any) -> Any:
    for option in (
        click.option("--seed", default=0, show_default=True),
        click.option(
            "--draws",
            default=20,
            show_default=True,
            help="Draws of the undersampling, a model each.",
        ),
        click.option("--rounds", default=150, show_default=True, help="Trees of a model."),
        click.option("--centers", help="Only these elements count: Cu or Cu,Zr."),
        click.option(
            "--margin",
            default=15.0,
            show_default=True,
            help="Å that atoms which count are from surfaces.",
        ),
        click.option(
            "--cutoff", default=4.5, show_default=True, help="Of the neighbours of D2min, Å."
        ),
        click.option(
            "--threshold",
            default=5.0,
            show_default=True,
            help="Plastic above this D2min (sum), Å².",
        ),
        click.option(
            "--strain", default=0.04, show_default=True, help="Strain at which atoms are labelled."
        ),
        click.option("--out", required=True, help="Folder for labels, features and results."),
    ):
        command = option(command)
    return command


@study.command()
@click.option(
    "--train",
    multiple=True,
    required=True,
    help="Trajectory store to learn from; several times for several.",
)
@click.option("--test", required=True, help="Trajectory store of the glass that is set aside.")
@click.option(
    "--set",
    "sets",
    multiple=True,
    help="A feature set; several times; the first is the one the others are held against [default: all].",
)
@click.option(
    "--growth",
    help="Also the score of the first set by these fractions of the training atoms: 0.1,0.3,0.5.",
)
@_glass_options
@worker_options
def compare(
    train: tuple[str, ...],
    test: str,
    out: str,
    sets: tuple[str, ...],
    growth: str | None,
    draws: int,
    rounds: int,
    seed: int,
    centers: str | None,
    workers: int | None,
    threads: int,
    scheduler: str | None,
    site: str | None,
    **options: Any,
) -> None:
    """Feature sets against each other on the same atoms, splits and draws (Wang & Jain 2019, Fig. 5a)."""
    from mgdask.studies.softness.comparison import compare, prepare_sets, write_table
    from mgdask.studies.softness.figures import compare_figure, growth_figure
    from mgdask.studies.softness.growth import score_growth

    options["species"] = None if centers is None else [name.strip() for name in centers.split(",")]
    learning, chosen = {"draws": draws, "rounds": rounds}, sets or None
    target, name = (
        Path(out) / "compare",
        Path(test).stem,
    )  # the other way round goes to the same folder
    with open_workers(workers, threads, scheduler, None, site) as client:
        found = compare(
            train, test, out, sets=chosen, learning=learning, seed=seed, client=client, **options
        )
        prepared = (
            prepare_sets((*train, test), out, chosen, client=client, **options) if growth else {}
        )
    table = write_table(found, target / name)
    click.echo(found.to_dataframe().round(3).to_string())
    click.echo(f"table {table}, figure {compare_figure(found, target / f'{name}.png')}")
    if growth:
        first, fractions = (
            prepared[found.attrs["reference"]],
            [float(part) for part in str(growth).split(",")],
        )
        grown = score_growth(
            first[:-1], first[-1], fractions=fractions, learning=learning, seed=seed
        )
        table = write_table(grown, target / f"{name}-growth")
        click.echo(
            grown[["mean", "mean_low", "mean_high", "deviation", "plastic"]]
            .to_dataframe()
            .round(3)
            .to_string()
        )
        click.echo(f"table {table}, figure {growth_figure(grown, target / f'{name}-growth.png')}")


@study.command()
@click.argument("stores", nargs=-1, required=True)
@click.option(
    "--labels", help="CSV file with the columns store and some of system, composition, rate."
)
@click.option(
    "--by",
    type=click.Choice(["glass", "label"]),
    default="glass",
    show_default=True,
    help="What trains: each glass, or all of one label.",
)
@click.option("--features", default="interstice", show_default=True, help="A feature set.")
@click.option(
    "--columns",
    type=click.Choice(["same", "common"]),
    default="same",
    show_default=True,
    help="Refuse other columns, or take common ones.",
)
@_glass_options
@worker_options
def transfer(
    stores: tuple[str, ...],
    out: str,
    labels: str | None,
    by: Any,
    features: str,
    columns: Any,
    draws: int,
    rounds: int,
    seed: int,
    centers: str | None,
    workers: int | None,
    threads: int,
    scheduler: str | None,
    site: str | None,
    **options: Any,
) -> None:
    """Models of each glass tested on every other (Wang & Jain 2019, Fig. 4)."""
    from mgdask.studies.softness.comparison import write_table
    from mgdask.studies.softness.figures import transfer_figure
    from mgdask.studies.softness.transfer import read_labels, transfer, transfer_by_category

    options["species"] = None if centers is None else [name.strip() for name in centers.split(",")]
    told = None if labels is None else read_labels(labels)
    target = Path(out) / "transfer"
    with open_workers(workers, threads, scheduler, None, site) as client:
        found = transfer(
            stores,
            out,
            labels=told,
            by=by,
            features=features,
            columns=columns,
            learning={"draws": draws, "rounds": rounds},
            seed=seed,
            client=client,
            **options,
        )
    table, mean = write_table(found, target / "transfer"), transfer_by_category(found)
    write_table(mean, target / "by-category")
    click.echo(mean.to_dataframe().round(3).to_string())
    click.echo(f"table {table}, figure {transfer_figure(found, target / 'transfer.png')}")
