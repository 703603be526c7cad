"""The report of a softness study: one page with its figures, tables and numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mgdask._renamed import renamed_arguments
from mgdask.report.json import write_json
from mgdask.report.page import Block, Figure, Page, Section, Table, Text
from mgdask.studies.results import Results
from mgdask.studies.softness.captions import (
    COLUMNS,
    PAPER,
    QS,
    calibration_caption,
    column_caption,
    dependence_caption,
    difference_text,
    feature_kind,
    prediction_caption,
    rounded,
    score_caption,
    source_text,
)
from mgdask.studies.softness.data import Glass
from mgdask.studies.softness.figures import (
    draw_calibration,
    draw_dependence,
    draw_features,
    draw_prediction,
    draw_scores,
)
from mgdask.studies.softness.results import softness_numbers
from mgdask.studies.softness.training import Softness

Numbers = Mapping[str, Any]

METRIC_NAMES = {"roc_auc": "AUC-ROC", "recall": "recall"}
"""Names of the metrics in the paper."""
FIGURES = {
    "prediction.png": draw_prediction,
    "softness.png": draw_scores,
    "features.png": draw_features,
    "dependence.png": draw_dependence,
    "calibration.png": draw_calibration,
}
"""Figures by file name, in the order of the page."""


@renamed_arguments(found="softness")
def softness_report(
    softness: Softness,
    glass: Glass,
    folder: str | Path,
    *,
    groups: str = "paper",
    spectra: Sequence[Mapping[str, Any]] = (),
    ceiling: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Path:
    """Write the report on a held-out glass.

    The page embeds five figures and needs no other file. Panels are those of the paper:

    * ``prediction.png``, Fig. 2: the D² map of a slice with the atoms of QS > 0.5, and
      the fraction predicted as plastic against D²;
    * ``softness.png``, Fig. 3: distribution of QS, P(plastic|QS), M(r) and g(r) of the
      hardest and softest atoms, their interstices, QS of the atoms activated at each
      strain, and QS of several glasses;
    * ``features.png``, Supplementary Table 2: importance of the leading columns;
    * ``dependence.png``, Fig. 5b: partial dependence on the top two columns, with the
      atoms of Voronoi motifs;
    * ``calibration.png``, Supplementary Fig. 7.

    Parameters
    ----------
    softness
        Trained score.
    glass
        Held-out glass.
    folder
        Folder for ``report.html``, the figures, and ``numbers.json``, the result of
        ``softness_numbers`` with null for NaN. It is made if missing.
    groups, spectra, ceiling
        See ``softness_numbers``.
    seed
        Seed of resamples and of the atoms drawn for partial dependence and as markers.

    Returns
    -------
    path
        Path of the page.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019).

    Examples
    --------
    >>> softness_report(softness, glass, "softness")  # doctest: +SKIP
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    numbers = softness_numbers(
        softness, glass, groups=groups, spectra=spectra, ceiling=ceiling, seed=seed
    )
    write_json(numbers, target / "numbers.json")
    for name, draw in FIGURES.items():
        draw(numbers, target / name)
    return softness_page(numbers, target).save(target / "report.html")


def softness_page(numbers: Numbers, folder: str | Path) -> Page:
    """Return the page of a report from figures already drawn.

    Parameters
    ----------
    numbers
        Result of ``softness_numbers``.
    folder
        Folder with the figures.

    Returns
    -------
    page
        The page, not yet written.

    Examples
    --------
    >>> softness_page(numbers, "out").save("out/report.html")  # doctest: +SKIP
    """
    target = Path(folder)

    def figure(name: str, alt: str, caption: Sequence[str]) -> Figure:
        return Figure.read(target / name, alt, caption)

    return Page(
        f"Quench-in softness of {numbers['glass']}",
        [
            Section("", [_summary(numbers), *_score_tables(numbers)]),
            Section(
                "Predicting plastic atoms (Fig. 2)",
                [
                    figure(
                        "prediction.png",
                        "Filled contours of D² under white rings, and fractions with error bars.",
                        prediction_caption(numbers),
                    )
                ],
            ),
            Section(
                "Distribution of QS (Fig. 3)",
                [
                    figure(
                        "softness.png",
                        "Six panels, (a) to (f), described below.",
                        score_caption(numbers),
                    ),
                    _probability_table(numbers),
                    _class_table(numbers),
                    _glass_table(numbers),
                ],
            ),
            Section(
                "Leading columns and motifs (Fig. 5b)",
                [
                    Text([COLUMNS]),
                    figure(
                        "features.png",
                        "Bars of importance, and two curves over histograms.",
                        column_caption(numbers),
                    ),
                    _column_table(numbers),
                    figure(
                        "dependence.png",
                        "Filled contours with markers of three kinds of motifs.",
                        dependence_caption(numbers),
                    ),
                    _motif_table(numbers),
                ],
            ),
            Section(
                "Calibration (Supplementary Fig. 7)",
                [
                    figure(
                        "calibration.png",
                        "Points with error bars beside a dotted diagonal.",
                        calibration_caption(numbers),
                    )
                ],
            ),
        ],
        footer="Method and numbers of figures: Wang, Jain, Nat. Commun. 10, 5537 (2019). "
        "Models, scores and numbers.json are beside this page.",
    )


def several_pages(results: Results, folders: Sequence[Path]) -> Page:
    """Return one page for several test glasses: all metrics first, then each report.

    Parameters
    ----------
    results
        Results of the study.
    folders
        Folders of the reports, each with ``numbers.json`` and the figures.

    Returns
    -------
    page
        The page, not yet written.

    Examples
    --------
    >>> several_pages(results, [Path("out/softness")])  # doctest: +SKIP
    """
    overview = results.page()
    numbers = [read_numbers(folder / "numbers.json") for folder in folders]
    names = ", ".join(one["glass"] for one in numbers)
    about = Text(
        [
            f"The same models, trained on {', '.join(numbers[0]['train'])}, are tested on "
            f"{len(numbers)} glasses: {names}. Pooled scores are those of all their atoms "
            "together. Intervals are from resampling regions of the glasses."
        ]
    )
    tables = [
        block
        for section in overview.sections
        for block in section.blocks
        if isinstance(block, Table)
    ]
    sections = [Section("", [about, *tables, _glass_table(numbers[0])])]
    for one, folder in zip(numbers, folders, strict=True):
        page = softness_page(one, folder)
        sections += [
            Section(": ".join(filter(None, (page.title, section.heading))), section.blocks)
            for section in page.sections
        ]
    return Page("Quench-in softness of several glasses", sections, overview.footer)


def read_numbers(path: str | Path) -> dict[str, Any]:
    """Read ``numbers.json`` back to the numbers that the page is made from.

    Parameters
    ----------
    path
        The file that ``softness_report`` wrote.

    Returns
    -------
    numbers
        Result of ``softness_numbers``; lists of numbers are arrays, null is NaN.

    Examples
    --------
    >>> read_numbers("out/softness/numbers.json")["base"]  # doctest: +SKIP
    """
    numbers: dict[str, Any] = _restored(json.loads(Path(path).read_text(encoding="utf-8")))
    for name in ("train_atoms", "train_plastic"):
        if not np.isfinite(numbers[name]):
            numbers[name] = None
    return numbers


def _restored(value: Any) -> Any:
    if value is None:
        return np.nan
    if isinstance(value, dict):
        return {name: _restored(part) for name, part in value.items()}
    if isinstance(value, list):
        parts = [_restored(part) for part in value]
        numeric = all(isinstance(part, float | int | np.ndarray) for part in parts)
        return np.array(parts) if parts and numeric else parts
    return value


def _summary(numbers: Numbers) -> Text:
    plastic, atoms = numbers["plastic"], numbers["atoms"]
    return Text(
        [
            QS,
            f"{plastic} of the {atoms} eligible atoms, {100 * numbers['base']:.1f} %, are plastic "
            f"at a strain of {100 * numbers['strain']:.1f} %: their non-affine displacement "
            "relative to the undeformed glass, D² (D²min, summed over neighbors), is above "
            f"{numbers['threshold']:g} Å². {numbers['excluded']} Eligible atoms have all features. "
            f"QS is the mean of {numbers['draws']} models trained on "
            f"{', '.join(numbers['train'])}. {source_text(numbers)} This glass was held out. The "
            "heterogeneity of the glass, std(QS), is "
            f"{rounded(numbers['spectrum']['std'])}.",
        ]
    )


def _score_tables(numbers: Numbers) -> list[Block]:
    kinds = {
        "": numbers["metrics"],
        ", leading columns": {} if numbers["source"] == "leading" else numbers["leading_metrics"],
        ", all columns": numbers["all_metrics"],
    }
    single = {
        "": numbers["single"],
        ", leading columns": {} if numbers["source"] == "leading" else numbers["leading_single"],
        ", all columns": {},
    }
    rows, resampled, notes = [], set(), set()
    for kind, metrics in kinds.items():
        for name, interval in metrics.items():
            entries = [("mean score of the models", interval, interval["value"], None)]
            if name in single[kind]:
                one = single[kind][name]
                label = f"mean over {one['n_models']} single models"
                entries.append((label, one["single"], one["mean"], one["deviation"]))
            for label, ends, value, deviation in entries:
                rows.append(
                    (
                        f"{METRIC_NAMES.get(name, name)}{kind}",
                        label,
                        rounded(value),
                        rounded(deviation),
                        rounded(ends["low"]),
                        rounded(ends["high"]),
                    )
                )
            resampled.add(
                interval["resampled"]
                if not _number(interval["groups"])
                else f"{int(interval['groups'])} {interval['resampled']}"
            )
            notes |= {interval["note"]} - {""}
    scores = Table(
        "Scores on the held-out glass",
        ("score", "of", "value", "deviation of models", "low", "high"),
        rows,
        note="AUC-ROC is the area under the receiver operating characteristic curve: 1 is perfect, "
        "0.5 is a guess. Recall is the share of plastic atoms with QS > 0.5. Intervals of 95 % are "
        f"from resampling {' and '.join(sorted(resampled))}"
        f"{''.join(f'; {note}' for note in sorted(notes))}. They do not contain the spread between "
        "glasses.",
    )
    metrics = list(next(iter(numbers["baselines"].values()), {}))
    guesses = Table(
        "Guesses that ignore the structure",
        ("guess", *(METRIC_NAMES.get(metric, metric) for metric in metrics)),
        [
            (guess.replace("_", " "), *(rounded(of_metrics[metric]["value"]) for metric in metrics))
            for guess, of_metrics in numbers["baselines"].items()
        ],
    )
    tables: list[Block] = [scores, _paper_table(numbers), Text([difference_text(numbers)]), guesses]
    if numbers["ceiling"]:
        tables.insert(1, _ceiling_table(numbers["ceiling"]))
    if not len(numbers["folds"]):
        return tables
    folds = Table(
        "Cross-validation on the training glasses",
        ("fold", "AUC-ROC"),
        [(f"fold {k}", rounded(auc)) for k, auc in enumerate(numbers["folds"], 1)],
    )
    return [*tables, folds]


def _number(value: Any) -> bool:
    return value is not None and bool(np.isfinite(value))


def _ceiling_table(ceiling: Numbers) -> Table:
    kinds = [
        (f"mean of {int(m)} other run{'s' if m > 1 else ''}", one)
        for m, one in zip(ceiling["averaged"], ceiling["auc"], strict=True)
    ]
    if isinstance(ceiling["ceiling"], Mapping):
        kinds.append(("infinitely many runs, extrapolated", ceiling["ceiling"]))
    kinds.append(("propensity, if beta distributed", ceiling["beta_ceiling"]))
    return Table(
        "Noise ceiling: AUC-ROC of the plastic atoms of one run, predicted from repeated runs",
        ("predicted by", "AUC-ROC", "low", "high"),
        [(kind, *(rounded(one[end]) for end in ("value", "low", "high"))) for kind, one in kinds],
        note=f"{int(ceiling['n_runs'])} deformations of the same undeformed glass. The mean of "
        "other runs is a lower bound of the ceiling, the last line an estimate of it. No score of "
        "the undeformed structure can be expected to exceed the ceiling.",
    )


def _paper_table(numbers: Numbers) -> Table:
    """Set the scores of single models beside those of the paper."""
    models = numbers["leading_single"] or numbers["single"]
    columns = "leading" if numbers["leading_single"] else "all"
    kind = feature_kind(numbers["features"])
    given = [*PAPER]
    if kind not in {features for features, *_ in PAPER}:
        given += [(kind, label, np.nan, name) for name, label in METRIC_NAMES.items()]
    rows = []
    for features, label, value, name in given:
        ours: tuple[str, ...] = ("–",) * 4
        if features == kind and name in models:
            one = models[name]
            ends = (one["mean"], one["single"]["low"], one["single"]["high"])
            ours = (*map(rounded, ends), rounded(numbers["metrics"][name]["value"]))
        rows.append((f"{features}, {label}", rounded(value), *ours))
    return Table(
        "Beside the paper's scores of Cu65Zr35",
        ("score", "paper", f"here, single models, {columns} columns", "low", "high", "here, QS"),
        rows,
        note="The paper's scores are means over single models of its 15 leading columns, on a "
        "glass held out. mgdask study compare scores interstices and symmetry functions on the "
        "same atoms.",
    )


def _probability_table(numbers: Numbers) -> Table:
    conditional = numbers["conditional"]
    columns = (
        conditional[name] for name in ("score", "count", "probability", "low", "high", "ratio")
    )
    return Table(
        f"P(plastic|QS) and its ratio to P(plastic) = {rounded(conditional['base'])}",
        ("QS, middle of the bin", "atoms", "P(plastic|QS)", "low", "high", "ratio"),
        [
            (
                rounded(score),
                str(int(count)),
                *(rounded(value, 4) for value in (probability, low, high)),
                rounded(ratio, 2),
            )
            for score, count, probability, low, high, ratio in zip(*columns, strict=True)
            if count >= conditional["fewest"]
        ],
        note="Intervals of 95 %: Wilson's, widened to that from resampling regions.",
    )


def _class_table(numbers: Numbers) -> Table:
    rows = []
    for name, group in numbers["packing"]["groups"].items():
        of_group = numbers["group_values"][name]
        slopes, errors = group["dimension"], group["dimension_error"]
        rows.append(
            (
                name,
                group["rule"],
                f"{group['atoms']} ({100 * of_group['share']:.1f} %)",
                f"{rounded(of_group['d2_mean'], 2)} ± {rounded(of_group['d2_error'], 2)}",
                rounded(of_group["plastic_share"]),
                *(
                    f"{rounded(slope)} ± {rounded(error)}"
                    for slope, error in zip(slopes, errors, strict=True)
                ),
                rounded(group["near_ratio"], 2),
            )
        )
    packing = numbers["packing"]
    return Table(
        "The hardest, the softest and all atoms",
        (
            "group",
            "rule",
            "atoms",
            "mean D² (Å²)",
            "P(plastic)",
            "D below 10 Å",
            "D beyond",
            "clustering",
        ),
        rows,
        note="D is the slope of M(r) ~ r^D in a log-log plot, the atom itself left out, with the "
        "standard error from blocks of the sample"
        + (
            f"; the fits start at {packing['start']:.2f} Å, the first minimum of g(r), and end at "
            f"{packing['end']:.1f} Å. Clustering is the number of neighbors within "
            f"{packing['near']:.1f} Å in an atom's own group, divided by the number if the group "
            "were drawn at random."
            if packing["groups"]
            else "."
        ),
    )


def _glass_table(numbers: Numbers) -> Table:
    def interval(one: Numbers, scale: float = 1.0, digits: int = 3) -> str:
        value, low, high = (rounded(scale * one[end], digits) for end in ("value", "low", "high"))
        return f"{value} [{low}, {high}]"

    return Table(
        "QS of several glasses from the same models",
        ("glass", "atoms", "mean QS", "std(QS)", "QS < 0.1 (%)", "QS > 0.7 (%)"),
        [
            (
                one["glass"],
                str(int(one["atoms"])),
                interval(one["mean"]),
                interval(one["std"]),
                interval(one["hard"], 100.0, 1),
                interval(one["soft"], 100.0, 1),
            )
            for one in numbers["glasses"]
        ],
        note="Intervals of 95 % from resampling regions of each glass. In the paper std(QS) is "
        "0.196, 0.230 and 0.234 in Cu50Zr50, Cu65Zr35 and Cu80Zr20, each with models of its own; "
        "the share with QS < 0.1 is about 13 % in Cu65Zr35 and 5.4 % in Cu50Zr50.",
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
        ("motif", "atoms", "mean QS", "P(plastic|motif)", "over P(plastic)", "at negative places"),
        [
            (
                name,
                str(int(motif["atoms"])),
                rounded(motif["qs"]),
                rounded(motif["plastic_share"]),
                rounded(motif["plastic_share"] / numbers["base"], 2),
                "–"
                if not _number(motif["negative_share"])
                else f"{100 * motif['negative_share']:.0f} %",
            )
            for name, motif in numbers["motifs"].items()
            if name != "plastic"
        ],
        note="A motif <i3,i4,i5,i6,i7> is a Voronoi cell with so many faces of 3 to 7 edges; "
        "<0,0,12,0,0> is the icosahedron. Frank-Kasper clusters have 2 i4 + i5 = 12. At negative "
        "places the partial dependence on the top two columns is negative.",
    )
