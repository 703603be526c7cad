"""The report of a softness study: one page with its figures, tables and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mgdask._renamed import renamed_arguments
from mgdask.report.json import write_json
from mgdask.report.page import Block, Figure, Page, Section, Table, Text
from mgdask.studies.softness.captions import (
    COLUMNS,
    QS,
    column_caption,
    dependence_caption,
    rounded,
    score_caption,
    slice_caption,
)
from mgdask.studies.softness.data import Glass
from mgdask.studies.softness.figures import draw_dependence, draw_features, draw_scores, draw_slice
from mgdask.studies.softness.results import softness_numbers
from mgdask.studies.softness.training import Softness

Numbers = Mapping[str, Any]


@renamed_arguments(found="softness")
def softness_report(softness: Softness, glass: Glass, folder: str | Path, *, seed: int = 0) -> Path:
    """Write the report on a held-out glass.

    The page embeds four figures and needs no other file:

    * what the score says: spectrum of QS, P(plastic | QS), share predicted plastic, QS
      by the strain of yield, mass-radius relation, g(r) of the softest and hardest;
    * what it is made of: importance and distributions of the leading columns;
    * partial dependence of the first two columns, with the atoms of Voronoi motifs;
    * a slice with QS beside D²min.

    Parameters
    ----------
    softness
        Trained score.
    glass
        Held-out glass.
    folder
        Folder for ``report.html``, the figures, and ``numbers.json``, the result of
        ``softness_numbers`` with null for NaN. It is made if missing.
    seed
        Seed of the atoms drawn for partial dependence and as markers.

    Returns
    -------
    path
        Path of the page.

    Examples
    --------
    >>> softness_report(softness, glass, "softness")  # doctest: +SKIP
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    numbers = softness_numbers(softness, glass, seed=seed)
    write_json(numbers, target / "numbers.json")
    draw_scores(numbers, target / "softness.png")
    draw_features(numbers, target / "features.png")
    draw_dependence(numbers, target / "dependence.png")
    draw_slice(softness, glass, target / "slice.png")
    return softness_page(numbers, target).save(target / "report.html")


def softness_page(numbers: Numbers, folder: str | Path) -> Page:
    """Return the page of a report from figures already drawn.

    Parameters
    ----------
    numbers
        Result of ``softness_numbers``.
    folder
        Folder with the four figures.

    Returns
    -------
    page
        The page, not yet written.

    Examples
    --------
    >>> softness_page(numbers, "out").save("out/report.html")  # doctest: +SKIP
    """
    target = Path(folder)
    score_figure = Figure.read(
        target / "softness.png", "Six panels, (a) to (f), described below.", score_caption(numbers)
    )
    column_figure = Figure.read(
        target / "features.png",
        "Bars of importance, and halved violins of plastic and other atoms.",
        column_caption(numbers),
    )
    dependence_figure = Figure.read(
        target / "dependence.png",
        "Two curves over histograms, and filled contours with markers.",
        dependence_caption(numbers),
    )
    slice_figure = Figure.read(
        target / "slice.png",
        "The same slice twice, atoms colored by QS and by D²min.",
        slice_caption(numbers),
    )
    return Page(
        f"Quench-in softness of {numbers['glass']}",
        [
            Section("", [_summary(numbers), *_score_tables(numbers)]),
            Section(
                "What the score says",
                [score_figure, _probability_table(numbers), _class_table(numbers)],
            ),
            Section(
                "What the score is made of",
                [
                    Text([COLUMNS]),
                    column_figure,
                    _column_table(numbers),
                    dependence_figure,
                    _motif_table(numbers),
                ],
            ),
            Section("Where soft atoms are", [slice_figure]),
        ],
        footer="Method: Wang, Jain, Nat. Commun. 10, 5537 (2019). "
        "Models, scores and numbers.json are beside this page.",
    )


def _summary(numbers: Numbers) -> Text:
    plastic, atoms = numbers["plastic"], numbers["atoms"]
    return Text(
        [
            QS,
            f"{plastic} of the {atoms} eligible atoms, {100 * numbers['base']:.1f} %, are plastic "
            f"at a strain of {100 * numbers['strain']:.1f} %: their non-affine squared "
            "displacement D²min, summed over neighbors, is above "
            f"{numbers['threshold']:g} Å². Eligible atoms are away from free surfaces and have "
            "all features. "
            f"QS is the mean of {numbers['draws']} models of {numbers['columns']} columns, trained "
            f"on {', '.join(numbers['train'])}. This glass was held out. The heterogeneity of "
            "the glass, the standard deviation of QS, is "
            f"{rounded(numbers['spectrum']['std'])}.",
        ]
    )


def _score_tables(numbers: Numbers) -> list[Block]:
    intervals = {
        **numbers["metrics"],
        **{
            f"{name}, leading columns only": interval
            for name, interval in numbers["leading_metrics"].items()
        },
    }
    resampled = sorted(
        {
            interval["resampled"]
            if interval["groups"] is None
            else f"{interval['groups']} {interval['resampled']}"
            for interval in intervals.values()
        }
    )
    notes = sorted({interval["note"] for interval in intervals.values() if interval["note"]})
    scores = Table(
        "Scores on the held-out glass",
        ("score", "value", "low", "high", "level"),
        [
            (
                name,
                *(rounded(interval[end]) for end in ("value", "low", "high")),
                f"{100 * interval['level']:g} %",
            )
            for name, interval in intervals.items()
        ],
        note="roc_auc is the area under the ROC curve: 1 is perfect, 0.5 is a guess. Recall is the "
        "share of plastic atoms with QS of at least 0.5. Intervals are from resampling "
        f"{' and '.join(resampled)}{''.join(f'; {note}' for note in notes)}.",
    )
    metrics = list(next(iter(numbers["baselines"].values()), {}))
    guesses = Table(
        "Guesses that ignore the structure",
        ("guess", *metrics),
        [
            (guess.replace("_", " "), *(rounded(of_metrics[metric]["value"]) for metric in metrics))
            for guess, of_metrics in numbers["baselines"].items()
        ],
    )
    if not numbers["folds"]:
        return [scores, guesses]
    folds = Table(
        "Cross-validation on the training glasses",
        ("fold", "roc_auc"),
        [(f"fold {k}", rounded(auc)) for k, auc in enumerate(numbers["folds"], 1)],
    )
    return [scores, guesses, folds]


def _probability_table(numbers: Numbers) -> Table:
    conditional = numbers["conditional"]
    columns = (conditional[name] for name in ("score", "count", "probability", "error", "ratio"))
    return Table(
        f"P(plastic | QS) compared with P(plastic) = {rounded(conditional['base'])}",
        ("middle of the bin", "atoms", "P(plastic | QS)", "standard error", "ratio"),
        [
            (rounded(score), str(count), rounded(probability), rounded(error), rounded(ratio, 2))
            for score, count, probability, error, ratio in zip(*columns, strict=True)
            if count >= conditional["fewest"]
        ],
    )


def _class_table(numbers: Numbers) -> Table:
    return Table(
        "Mass-radius dimension D of the softest, the hardest and random atoms",
        ("class", "rule", "atoms", "D", "error", "clustering"),
        [
            (
                name,
                group["rule"],
                str(group["atoms"]),
                rounded(group["dimension"]),
                rounded(group["dimension_error"]),
                rounded(group["near_ratio"], 2),
            )
            for name, group in numbers["extremes"].items()
        ],
        note="The error is that of a straight line through points that are not independent, so it "
        "is too small. Clustering is the number of near neighbors in an atom's own class, divided "
        "by the number if the class were drawn at random.",
    )


def _column_table(numbers: Numbers) -> Table:
    return Table(
        "Leading columns, most important first",
        (
            "column",
            "unit",
            "importance",
            "median, plastic",
            "median, other",
            "AUC of the column alone",
        ),
        [
            (
                f"{k}. {row['column']}",
                row["units"],
                f"{100 * row['importance']:.1f} %",
                f"{row['median_plastic']:.4g}",
                f"{row['median_other']:.4g}",
                rounded(row["roc_auc_alone"]),
            )
            for k, row in enumerate(numbers["leading"], 1)
        ],
        note=f"Importance is the share of the {numbers['importance']}.",
    )


def _motif_table(numbers: Numbers) -> Table:
    return Table(
        "Voronoi motifs of the undeformed glass",
        ("motif", "atoms", "mean QS", "P(plastic | motif)", "over P(plastic)"),
        [
            (
                name,
                str(motif["atoms"]),
                rounded(motif["qs"]),
                rounded(motif["plastic_share"]),
                rounded(motif["plastic_share"] / numbers["base"], 2),
            )
            for name, motif in numbers["motifs"].items()
            if name != "plastic"
        ],
        note="A motif <i3,i4,i5,i6,i7> is a Voronoi cell with so many faces of 3 to 7 edges; "
        "<0,0,12,0,0> is the icosahedron. Kasper polyhedra have 2 i4 + i5 = 12.",
    )
