"""The studies: ``mgdask study softness``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mgdask.cli.options import open_workers, worker_options
from mgdask.features import SETS


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
@worker_options
def softness(train: tuple[str, ...], test: str, out: str, draws: int, seed: int, centers: str | None, workers: int | None, threads: int,
             scheduler: str | None, site: str | None, **options: Any) -> None:  # fmt: skip
    """Quench-in softness (Wang & Jain 2019): learn which atoms turn plastic, test it on a glass set aside."""
    from mgdask.explore.softness import softness_report
    from mgdask.studies.learn_softness import learn_softness
    from mgdask.studies.softness import prepare_glass

    species = None if centers is None else [name.strip() for name in centers.split(",")]
    with open_workers(workers, threads, scheduler, None, site) as client:
        glasses = [prepare_glass(store, out, species=species, client=client, **options) for store in (*train, test)]
    for glass in glasses:
        click.echo(str(glass))
    found = learn_softness(glasses[:-1], glasses[-1], draws=draws, seed=seed)
    found.save(Path(out) / "softness")
    click.echo(str(found))
    click.echo(f"models, scores and summary beside {softness_report(found, glasses[-1], Path(out) / 'softness')}")
