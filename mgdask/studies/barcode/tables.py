"""Tables of the barcode report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mgdask.report.numbers import rounded
from mgdask.report.page import Table
from mgdask.studies.barcode.captions import WHY_DIFFERENT, bounded, value_of
from mgdask.studies.barcode.figures.looks import (
    PAPER_ATOMS,
    PAPER_ELEMENTS,
    PAPER_KASPER,
    PAPER_RMSE,
    TREES_ALL,
    is_trees_few,
    per_atom,
    role,
    shown_polyhedron,
)
from mgdask.studies.barcode.figures.prediction import SET_NAMES
from mgdask.studies.barcode.report_data import ReportData

ROLES = {"baseline": "baseline", "paper": "the paper's", "ours": "ours"}


def score_table(scores: Sequence[Mapping[str, Any]], which: str) -> Table:
    """Return the table of the scores of all models on one set of samples.

    Parameters
    ----------
    scores
        Pooled scores.
    which
        Set of samples: "test", "test_size" or "train".

    Returns
    -------
    table
        One row per model, baselines first.
    """
    some = [one for one in scores if one["set"] == which]
    rows = [
        (
            str(one["model"]),
            ROLES[role(str(one["model"]))],
            "–" if one.get("n_numbers") is None else str(one["n_numbers"]),
            bounded(one.get("rmse")),
            bounded(one.get("rmse_per_atom")),
            bounded(one.get("r2"), decimals=3),
        )
        for one in some
    ]
    n_samples, n_runs = (some[0].get(name, "?") for name in ("n_samples", "n_runs"))
    noun = "run" if n_runs == 1 else "runs"
    return Table(
        f"Energy of {SET_NAMES[which]}: {n_samples} samples of {n_runs} {noun}",
        (
            "model",
            "whose",
            "numbers per sample",
            "RMSE (eV per sample)",
            "RMSE (meV per atom)",
            "R²",
        ),
        rows,
        note="Brackets: 95 % intervals from resampling whole runs. They are too narrow if there "
        "are only a few runs. The mean is the mean energy per atom of the training samples.",
    )


def paper_table(data: ReportData) -> Table:
    """Return a table that compares the paper's numbers with ours, and gives reasons.

    Parameters
    ----------
    data
        Results of the study.

    Returns
    -------
    table
        One row per number.
    """
    scores = {str(one["model"]): one for one in data.pooled_scores() if one["set"] == "test"}
    few = next((one for one in scores if is_trees_few(one)), None)
    rows = [
        _paper_row("RMSE, trees on all ULEs (eV per sample)", "5223 ULEs", scores.get(TREES_ALL)),
        _paper_row(
            "RMSE, trees on the leading ULEs (eV per sample)", "40 ULEs", scores.get(few or "")
        ),
    ]
    entries = data.embedding.get("entries") or data.shap
    if len(entries):
        rows.append(("ULEs in the dictionary", "5223", str(len(entries)), "other samples"))
    elements = data.element_list
    if elements:
        kasper = sum(one["polyhedron"]["group"] == 1 for one in elements)
        rows.append(
            (
                "elements with a Kasper kernel",
                f"{PAPER_KASPER} of {PAPER_ELEMENTS}",
                f"{kasper} of {len(elements)}",
                "other elements; the paper does not state how small facets are treated",
            )
        )
    for one in data.heterogeneity.get("comparisons", ()):
        ratios = ", ".join(rounded(value_of(part, "ratio")) for part in one["contrasts"])
        rows.append(
            (
                f"ratio of group sums, thermal / {one['name']}",
                "close to 1",
                ratios,
                "other rates of cooling and shear",
            )
        )
    return Table(
        "Comparison with the paper",
        ("number", "paper", "here", "why they may differ"),
        rows,
        note=WHY_DIFFERENT,
    )


def _paper_row(label: str, name: str, score: Mapping[str, Any] | None) -> tuple[str, str, str, str]:
    here = "–" if score is None else bounded(score.get("rmse"))
    value = PAPER_RMSE[name]
    paper = f"{value} ({per_atom(value, PAPER_ATOMS):.2f} meV per atom)"
    return (label, paper, here, "more training samples there, other energies")


def element_table(elements: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of the elements of the barcode.

    Parameters
    ----------
    elements
        Elements in the order of the barcode.

    Returns
    -------
    table
        One row per element.
    """
    rows = []
    for one in elements:
        assigned = one.get("assigned") or {}
        shell = one["polyhedron"]["shell"]
        own = assigned.get("own")
        rows.append(
            (
                str(one["label"]),
                str(one["entry"]),
                f"{one['origin']['species']} {shown_polyhedron(one['polyhedron']['index'])}",
                " ".join(f"{name}{n}" for name, n in shell.items()),
                rounded(one.get("shap")),
                bounded(one["pearson"], 2),
                "–" if one.get("fraction") is None else f"{100 * one['fraction']:.2f} %",
                "–" if own is None else f"{100 * own:.0f} %",
            )
        )
    return Table(
        "Elements of the barcode",
        (
            "element",
            "entry",
            "kernel",
            "shell",
            "mean |SHAP| (eV)",
            "correlation with energy",
            "fraction of atoms",
            "of these, same kernel",
        ),
        rows,
        note="The last column is the fraction of the atoms assigned to an element that have its "
        "Voronoi index. If it is small, the index of the entry says little about its atoms.",
    )
