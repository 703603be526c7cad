"""The feature families and sets as text, for ``mgdask features``."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from rich.table import Table

from mgdask.execution.executor import render
from mgdask.features.catalog import (
    EXAMPLE_SPECIES,
    FamilyFacts,
    SetFacts,
    all_families,
    family_facts,
    set_facts,
)
from mgdask.features.feature import TYPICAL_DENSITY
from mgdask.features.sets import SETS
from mgdask.pipelines.featurize.calibration import node

SHOWN_COLUMNS = 24
"""Maximum number of columns of a feature that are listed one by one."""
INDENT = " " * 4
"""Indentation of the description of a parameter."""


def describe_families(width: int = 110) -> str:
    """Describe all families and sets, one line each.

    Parameters
    ----------
    width
        Columns of the terminal.

    Returns
    -------
    text
        Two tables: families and sets.
    """
    shown = render(_families(papers=True), width)
    if any(line.startswith(" ") for line in shown.splitlines()):  # a line was wrapped
        shown = render(_families(papers=False), width)
    sets = _table("set", "columns", "features")
    for name in SETS:
        members = set_facts(name)
        names = [feature.name for feature in members.features]
        sets.add_row(name, str(members.n_columns), _listed(names, width - 42))
    species = "-".join(EXAMPLE_SPECIES)
    return "\n\n".join(
        [
            f"Families, for --feature NAME. Columns are counted for {species} with defaults.",
            shown,
            "Sets, for --set NAME. Join several with +.",
            render(sets, width),
            "mgdask features NAME describes one of them in full.",
        ]
    )


def _families(*, papers: bool) -> Table:
    table = _table("family", "columns", "reads", "what it describes", *(["paper"] * papers))
    for facts in all_families():
        columns = "" if facts.example is None else str(facts.example.n_columns)
        row = [facts.family, columns, facts.inputs, facts.meaning, _paper(facts.citation)]
        table.add_row(*row[: len(table.columns)])
    return table


def _table(first: str, *heads: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right" if head == "columns" else "left", overflow="fold")
    return table


def _paper(citation: str) -> str:
    """Return "Wang (2019)" for a citation with journal and page."""
    found = re.match(r"([^,;]+).*?\((\d{4})\)", citation)
    return f"{found[1]} ({found[2]})" if found else citation.partition(";")[0]


def describe_family(name: str, width: int = 110) -> str:
    """Describe one family: formula, parameters, columns, cost, citation, examples.

    Parameters
    ----------
    name
        Name of the family, in any spelling.
    width
        Columns of the terminal.

    Returns
    -------
    text
        The description.

    Raises
    ------
    ParameterError
        If there is no such family.
    """
    facts = family_facts(name)
    parts = [_wrapped(f"{facts.family}: {facts.summary}", width)]
    if facts.explanation:
        parts.append(_wrapped(facts.explanation, width))
    parts += [_parameters(facts, width), *_columns(facts, width), _facts(facts, width)]
    run = 'mgdask.run(mgdask.plan("glass.zarr", feature, out="features.zarr"))'
    parts.append(_examples(f"--feature {facts.typed()}", f"feature = {facts.python()}\n  {run}"))
    return "\n\n".join(parts)


def _examples(option: str, python: str) -> str:
    return f"shell\n  mgdask featurize glass.zarr {option} --out features.zarr\nPython\n  {python}"


def _wrapped(text: str, width: int) -> str:
    """Wrap paragraphs of a docstring, but neither indented formulas nor lists."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        each if each.startswith((" ", "* ")) else _filled(each, width) for each in paragraphs
    )


def _filled(text: str, width: int, indent: str = "") -> str:
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )


def _parameters(facts: FamilyFacts, width: int) -> str:
    if not facts.parameters:
        return "It has no parameters."
    lines = ["Parameters, with defaults and units:"]
    for each in facts.parameters:
        default = _shortened(each.default, 60)
        if default:
            lines.append(f"{each.name} = {default}" + (f" ({each.unit})" if each.unit else ""))
        else:
            lines.append(f"{each.name} ({', '.join(filter(None, ['required', each.unit]))})")
        texts = (each.meaning, f"Allowed: {each.allowed}.")
        lines += [_filled(text, width, INDENT) for text in texts]
    return "\n".join(lines)


def _columns(facts: FamilyFacts, width: int) -> list[str]:
    feature = facts.example
    if feature is None:
        return []
    labels = [
        label if unit == "1" else f"{label} ({unit})"
        for label, unit in zip(feature.labels, feature.units, strict=True)
    ]
    shown = labels if len(labels) <= SHOWN_COLUMNS else [*labels[:8], "...", *labels[-2:]]
    head = f"{len(labels)} columns for {'-'.join(EXAMPLE_SPECIES)}"
    given = facts.typed().partition(":")[2]
    text = f"{head} with {given or 'defaults'}: "
    return [_filled(text + ", ".join(shown), width)]


def _facts(facts: FamilyFacts, width: int) -> str:
    table = Table(show_header=False, box=None, pad_edge=False)
    feature = facts.example
    table.add_row("array in the output", facts.array)
    if feature is not None:
        table.add_row("one row per", feature.level)
        table.add_row("cost per atom and frame", _cost(facts))
    reads = facts.inputs
    if feature is not None and feature.frame_values:
        reads += f" and {', '.join(feature.frame_values)}"
    table.add_row("reads", reads)
    table.add_row("citation", facts.citation)
    return render(table, width)


def _cost(facts: FamilyFacts) -> str:
    assert facts.example is not None
    seconds = facts.example.cost_at(TYPICAL_DENSITY)
    return (
        f"about {seconds * 1e6:.2g} µs on one core at {TYPICAL_DENSITY:g} atoms per Å³. This is a "
        f"typical figure; mgdask plan measures it on this node ({node()})"
    )


def describe_set(name: str, width: int = 110) -> str:
    """Describe one set: its features, columns and options.

    Parameters
    ----------
    name
        Name of the set, in any spelling.
    width
        Columns of the terminal.

    Returns
    -------
    text
        The description.
    """
    facts = set_facts(name)
    species = "-".join(EXAMPLE_SPECIES)
    table = _table("feature", "columns", "what it describes")
    for feature in facts.features:
        summary = feature.summary()
        described = f"{feature.long_name} ({summary})" if summary else feature.long_name
        table.add_row(feature.name, str(feature.n_columns), described)
    n = len(facts.features)
    return "\n\n".join(
        [
            f"set {facts.name}: {n} feature{'s' if n > 1 else ''}, "
            f"{facts.n_columns} columns for {species}",
            _wrapped(facts.explanation, width),
            render(table, width),
            _set_options(facts, width),
            _examples(
                f"--set {facts.name}",
                f'features = mgdask.feature_set("{facts.name}", {EXAMPLE_SPECIES!r})',
            ),
        ]
    )


def _set_options(facts: SetFacts, width: int) -> str:
    if facts.options_of:
        return f"Its options are the parameters of {facts.options_of}."
    table = _table("option", "meaning")
    for name, meaning in facts.options.items():
        table.add_row(name, meaning)
    return render(table, width)


def _shortened(text: str, width: int) -> str:
    """Return a text of at most so many characters, which "..." ends if it is cut."""
    return text if len(text) <= width else f"{text[: width - 4].rstrip(' ,+')} ..."


def _listed(names: Sequence[str], width: int) -> str:
    """Join names by commas, as many as fit into a line."""
    for n in range(len(names), 0, -1):
        text = ", ".join([*names[:n], *(["..."] if n < len(names) else [])])
        if len(text) <= width:
            return text
    return names[0]
