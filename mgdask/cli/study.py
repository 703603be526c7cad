"""The studies: ``mgdask study softness``."""

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
    "--train", multiple=True, required=True, help="Store of a deformed glass to learn from; several times for several."
)
@click.option("--test", required=True, help="Trajectory store of the glass that is set aside.")
@click.option("--out", required=True, help="Folder for labels, features, models and results.")
@click.option(
    "--set", "sets", multiple=True, help=f"A ready-made list of features [default: interstice]: {', '.join(SETS)}."
)
@click.option("--feature", "features", multiple=True, help="A family and its options, as for featurize.")
@click.option("--recipe", help="YAML file that lists features and parameters.")
@click.option("--strain", default=0.04, show_default=True, help="Strain at which atoms are labelled.")
@click.option("--threshold", default=5.0, show_default=True, help="Plastic above this D2min (sum over neighbours), Å².")
@click.option("--cutoff", default=4.5, show_default=True, help="Of the neighbours of D2min, Å.")
@click.option("--margin", default=15.0, show_default=True, help="Å that atoms which count are away from free surfaces.")
@click.option("--ends", is_flag=True, help="As far from the ends across the direction of deformation, too.")
@click.option("--centers", help="Only these elements count: Cu or Cu,Zr.")
@click.option("--draws", default=20, show_default=True, help="Draws of the undersampling, a model each.")
@click.option("--rounds", default=150, show_default=True, help="Trees of each model.")
@click.option("--wanted", default=15, show_default=True, help="Leading columns to find; 0 for no search.")
@click.option("--folds", default=5, show_default=True, help="Of the cross-validation.")
@click.option("--seed", default=0, show_default=True)
@worker_options
def softness(
    train: tuple[str, ...], test: str, out: str, sets: tuple[str, ...], features: tuple[str, ...], recipe: str | None, draws: int, rounds: int,
    wanted: int, folds: int, seed: int, centers: str | None, workers: int | None, threads: int, scheduler: str | None, site: str | None,
    **options: Any,
) -> None:  # fmt: skip
    """Quench-in softness (Wang & Jain 2019): learn which atoms turn plastic, test it on a glass set aside."""
    from mgdask.explore.softness import softness_report
    from mgdask.studies.softness_study import study_softness
    from mgdask.studies.stages import Stages

    chosen = sets or (() if features or recipe else ("interstice",))
    wanted_features = gather_features(features, chosen, recipe, store_species(test))
    species = None if centers is None else [name.strip() for name in centers.split(",")]
    learning = {"draws": draws, "rounds": rounds, "wanted": wanted or None, "folds": folds, "seed": seed}
    stages = Stages()
    with open_workers(workers, threads, scheduler, None, site) as client:
        found, glass = study_softness(
            train, test, out, features=wanted_features, glass={**options, "species": species}, learning=learning, client=client, stages=stages
        )  # fmt: skip
    with stages("report"):
        page = softness_report(found, glass, Path(out) / "softness")
    stages.save(Path(out) / "softness" / "stages.json")
    click.echo(f"{glass}\n{found}\n{stages}\nmodels, scores and summary beside {page}")
