"""Report pages of the studies that compare glasses and feature sets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mgdask.report.page import Figure, Page, Section, Table, Text
from mgdask.studies.results import Results
from mgdask.studies.softness.captions import rounded

Row = Mapping[str, Any]
METHOD = "Method: Wang, Jain, Nat. Commun. 10, 5537 (2019)."


def transfer_page(results: Results, folder: Path) -> Page:
    """Return the page of a transfer study.

    Parameters
    ----------
    results
        Results of the study.
    folder
        Folder with ``transfer.png`` and ``by-category.json``.

    Returns
    -------
    page
        Page with Fig. 4, the table by category, and all metrics.
    """
    content = json.loads((folder / "by-category.json").read_text(encoding="utf-8"))
    rows, about = content["rows"], content["about"]
    reference = {
        "condition": "the other models of the target's condition, averaged",
        "glass": "models trained on other regions of the target itself, in five folds",
    }[about["reference"]]
    table = Table(
        "Means over the pairs of each category",
        (
            "category",
            "set",
            "pairs",
            "AUC",
            "AUC of single models",
            "change of AUC",
            "of single models",
        ),
        [
            (
                str(row["category"]),
                str(row.get("set", about["features"])),
                f"{row['pairs']} ({row['compared_pairs']} compared)",
                with_interval(row, "roc_auc"),
                with_interval(row, "single_roc_auc"),
                with_interval(row, "difference"),
                with_interval(row, "single_difference"),
            )
            for row in rows
        ],
        note="Brackets are 95 % intervals. They resample regions of 15 Å of every test glass. If a "
        "category has at least five test glasses, they resample the glasses, too. They do not "
        "include the spread over training sets. A pair is compared if a model of the target "
        "exists.",
    )
    figure = Figure.read(
        folder / "transfer.png",
        "Matrices of AUC by training and test glass, and violins of its change by category.",
        [
            "Left: AUC of the mean score of all models, trained on the glasses of a row and tested "
            "on the glass of a column, with 95 % intervals.",
            "Right: AUC of the transferred models minus AUC of models trained on the target, as in "
            f"Fig. 4 of the paper. The latter are {reference}. A point is a pair; bars are means "
            "over pairs with their intervals. Violins are drawn for five or more pairs.",
            "i same composition and quenching rate, new glass; ii other rate; iii other "
            "composition, same rate; iv both differ; v other chemical system.",
        ],
    )
    single = Text(
        [
            "The paper averages scores of single models. The mean of several models ranks better "
            "than each of them, so both are given. A difference never mixes the two."
        ]
    )
    return _page(results, "Transfer of quench-in softness", [figure, table, single])


def comparison_page(results: Results, folder: Path, name: str) -> Page:
    """Return the page of a comparison of feature sets.

    Parameters
    ----------
    results
        Results of the study.
    folder
        Folder with ``<name>-boxes.png`` and ``<name>-mean.json``.
    name
        Name of the test glass, or "glasses".

    Returns
    -------
    page
        Page with Fig. 5a, the table of means over glasses, and all metrics.
    """
    content = json.loads((folder / f"{name}-mean.json").read_text(encoding="utf-8"))
    rows, about = content["rows"], content["about"]
    tests = about["test"]
    points = (
        f"A point is the mean of the single models on one of {len(tests)} glasses"
        if len(tests) > 1
        else f"A point is a single model on {tests[0]}"
    )
    table = Table(
        "Feature sets" + (f", means over {len(tests)} glasses" if len(tests) > 1 else ""),
        (
            "set",
            "AUC",
            "AUC of single models",
            "recall",
            f"AUC minus that of {about['reference']}",
            "gain by the medium range",
        ),
        [
            (
                str(row["set"]),
                *(
                    with_interval(row, key)
                    for key in ("roc_auc", "single_roc_auc", "recall", "difference", "mro_gain")
                ),
            )
            for row in rows
        ],
        note="Brackets are 95 % intervals from regions of 15 Å of every test glass; differences "
        "are paired. They include the spread between glasses only if there are at least five. "
        "The gain is the AUC of a set with its medium range minus that of the set alone.",
    )
    figure = Figure.read(
        folder / f"{name}-boxes.png",
        "Boxes of AUC, two per short-range set.",
        [
            "AUC of single models for each feature set, alone and with its medium range, as in "
            f"Fig. 5a of the paper. {points}. Boxes span the 25th to 75th percentiles, dashed "
            "lines are medians, and whiskers end at minimum and maximum."
        ],
    )
    return _page(results, "Feature sets compared", [figure, table])


def with_interval(row: Row, name: str) -> str:
    """Format a number of a table with its interval, or a dash if it is not defined.

    Examples
    --------
    >>> with_interval({"a": 0.7, "a_low": 0.65, "a_high": 0.76}, "a")
    '0.700 [0.650, 0.760]'
    """
    if row[name] is None:
        return "–"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    ends = "" if low is None else f" [{rounded(low)}, {rounded(high)}]"
    return f"{rounded(row[name])}{ends}"


def _page(results: Results, title: str, blocks: Sequence[Figure | Table | Text]) -> Page:
    every = [Section("All metrics", section.blocks[1:]) for section in results.page().sections]
    return Page(title, [Section("", blocks), *every], METHOD, about=results.about())
