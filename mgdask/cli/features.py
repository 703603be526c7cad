"""``mgdask features``: the feature families and sets, and one of them in full."""

from __future__ import annotations

import shutil

import click
from click.shell_completion import CompletionItem

from mgdask.cli.groups import examples


def _complete_names(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    from mgdask.features import SETS
    from mgdask.features.registry import feature_names

    names = dict.fromkeys([*feature_names(), *SETS])
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command(
    epilog=examples(
        "mgdask features",
        "mgdask features soap",
        "mgdask features non_affine",
        "mgdask features sro",
    )
)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_complete_names)
def features(names: tuple[str, ...]) -> None:
    """List the feature families and sets, or show some in full.

    With a NAME, shows formula, parameters with their units, columns, cost, citation and
    examples. Case, underscores and hyphens of a NAME do not matter.
    """
    from mgdask.execution.results import line_length
    from mgdask.features.catalog import check_name
    from mgdask.report.catalog import describe_families, describe_family, describe_set

    width = line_length(shutil.get_terminal_size((110, 24)).columns)
    if not names:
        click.echo(describe_families(width))
    kinds = [check_name(name) for name in names]
    texts = []
    for name, (is_family, is_set) in zip(names, kinds, strict=True):
        texts += [describe_family(name, width)] if is_family else []
        texts += [describe_set(name, width)] if is_set else []
    if texts:
        click.echo(f"\n\n{'-' * width}\n\n".join(texts))
