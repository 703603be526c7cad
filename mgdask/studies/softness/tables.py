"""Tables and first paragraphs of the softness report, from its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mgdask.learn.training.logistic import C
from mgdask.report.page import Block, Table, Text
from mgdask.studies.softness.captions import (
    INTERSTICE,
    PAPER,
    QS,
    difference_text,
    feature_kind,
    rounded,
    source_text,
    with_error,
)
from mgdask.studies.softness.simple_model import LOGISTIC, simple_model_text, simple_model_wins

Numbers = Mapping[str, Any]

METRIC_NAMES = {"roc_auc": "AUC-ROC", "recall": "recall"}
"""Names of the metrics in the paper."""
LOGISTIC_NOTE = (
    " Logistic regression is fitted to the same columns and undersamples, standardized, with an "
    f"L2 penalty of C = {C:g}; its probabilities are averaged, too. It learns the two classes."
)


def summary(numbers: Numbers) -> Text:
    """Return the first paragraphs of the page."""
    plastic, atoms = numbers["plastic"], numbers["atoms"]
    simple = simple_text(numbers)
    # if a simple model is as good, this is stated first
    first = bool(simple) and simple_model_wins(numbers["minus_logistic"]["roc_auc"])
    return Text(
        [
            *([simple] if first else []),
            QS,
            *([INTERSTICE] if any("interstice" in name for name in numbers["features"]) else []),
            f"{plastic} of the {atoms} eligible atoms, {100 * numbers['base']:.1f} %, are plastic "
            f"at a strain of {100 * numbers['strain']:.1f} %: their non-affine displacement "
            "relative to the undeformed glass, D² (D²min, summed over neighbors), is above "
            f"{numbers['threshold']:g} Å². {numbers['excluded']} Eligible atoms have all features. "
            f"QS is the mean of {numbers['draws']} models trained on "
            f"{', '.join(numbers['train'])}. {source_text(numbers)} This glass was held out. The "
            "heterogeneity of the glass, std(QS), is "
            f"{rounded(numbers['spectrum']['std'])}.",
            *([simple] if simple and not first else []),
        ]
    )


def simple_text(numbers: Numbers) -> str:
    """Describe trees against logistic regression; empty in older files."""
    difference = numbers.get("minus_logistic", {}).get("roc_auc")
    if difference is None:
        return ""
    return simple_model_text(
        numbers["metrics"]["roc_auc"]["value"],
        numbers["baselines"][LOGISTIC]["roc_auc"]["value"],
        difference,
    )


def score_tables(numbers: Numbers) -> list[Block]:
    """Return the tables of scores, guesses and folds."""
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
    for label, metrics in (
        ("logistic regression, same columns", numbers["baselines"].get(LOGISTIC, {})),
        ("mean score minus logistic regression", numbers.get("minus_logistic", {})),
    ):
        for name, interval in metrics.items():
            value, *bounds = (rounded(interval[end]) for end in ("value", "low", "high"))
            rows.append((METRIC_NAMES.get(name, name), label, value, "–", *bounds))
    scores = Table(
        "Scores on the held-out glass",
        ("score", "of", "value", "deviation of models", "low", "high"),
        rows,
        note="AUC-ROC is the area under the receiver operating characteristic curve: 1 is perfect, "
        "0.5 is random guessing. Recall is the share of plastic atoms with QS > 0.5. Intervals of "
        f"95 % come from resampling {' and '.join(sorted(resampled))}"
        f"{''.join(f'; {note}' for note in sorted(notes))}. They do not include the spread between "
        f"glasses.{LOGISTIC_NOTE if LOGISTIC in numbers['baselines'] else ''}",
    )
    metrics = list(next(iter(numbers["baselines"].values()), {}))
    guesses = Table(
        "Guesses that ignore the structure",
        ("guess", *(METRIC_NAMES.get(metric, metric) for metric in metrics)),
        [
            (guess.replace("_", " "), *(rounded(of_metrics[metric]["value"]) for metric in metrics))
            for guess, of_metrics in numbers["baselines"].items()
            if guess != LOGISTIC
        ],
    )
    tables: list[Block] = [scores, paper_table(numbers), Text([difference_text(numbers)]), guesses]
    if numbers["ceiling"]:
        tables.insert(1, ceiling_table(numbers["ceiling"]))
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


def ceiling_table(ceiling: Numbers) -> Table:
    """Return the table of the noise ceiling."""
    kinds = [
        (f"mean of {int(m)} other run{'s' if m > 1 else ''}", one)
        for m, one in zip(ceiling["averaged"], ceiling["auc"], strict=True)
    ]
    if isinstance(ceiling["ceiling"], Mapping):
        kinds.append(("infinitely many runs, extrapolated", ceiling["ceiling"]))
    kinds.append(("propensity, if beta-distributed", ceiling["beta_ceiling"]))
    return Table(
        "Noise ceiling: AUC-ROC of the plastic atoms of one run, predicted from repeated runs",
        ("predicted by", "AUC-ROC", "low", "high"),
        [(kind, *(rounded(one[end]) for end in ("value", "low", "high"))) for kind, one in kinds],
        note=f"{int(ceiling['n_runs'])} deformations of the same undeformed glass. The AUC of the "
        "mean of other runs is a lower bound of the ceiling. The last line is an estimate of it. "
        "No model of the undeformed structure can be expected to exceed the ceiling.",
    )


def paper_table(numbers: Numbers) -> Table:
    """Return a table of the scores of single models and those of the paper."""
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
        "Comparison with the paper's scores for Cu65Zr35",
        ("score", "paper", f"here, single models, {columns} columns", "low", "high", "here, QS"),
        rows,
        note="The paper's scores are means over single models of its 15 leading columns, on a "
        "held-out glass. mgdask study compare tests interstices and symmetry functions on the "
        "same atoms.",
    )


def probability_table(numbers: Numbers) -> Table:
    """Return P(plastic|QS) by bins of QS."""
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
        note="Intervals of 95 %: Wilson's interval, widened to that from resampling regions.",
    )


def class_table(numbers: Numbers) -> Table:
    """Return the table of the hardest, the softest and all atoms."""
    rows = []
    for name, group in numbers["packing"]["groups"].items():
        of_group = numbers["group_values"][name]
        slopes, errors = group["dimension"], group["dimension_error"]
        rows.append(
            (
                name,
                group["rule"],
                f"{group['atoms']} ({100 * of_group['share']:.1f} %)",
                with_error(of_group["d2_mean"], of_group["d2_error"], 2),
                rounded(of_group["plastic_share"]),
                *(with_error(slope, error) for slope, error in zip(slopes, errors, strict=True)),
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
        note="D is the slope of M(r) ~ r^D in a log-log plot, not counting the central atom. Its "
        "standard error comes from the scatter between blocks of the sample"
        + (
            f". The fits start at {packing['start']:.2f} Å, the first minimum of g(r), and end at "
            f"{packing['end']:.1f} Å. Clustering is the number of neighbors within "
            f"{packing['near']:.1f} Å in an atom's own group, divided by the number for a group "
            "drawn at random."
            if packing["groups"]
            else "."
        ),
    )


def glass_table(numbers: Numbers) -> Table:
    """Return the table of QS of several glasses."""

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
        note="Intervals of 95 % from resampling regions of each glass. In the paper, std(QS) is "
        "0.196, 0.230 and 0.234 in Cu50Zr50, Cu65Zr35 and Cu80Zr20. "
        "The share with QS < 0.1 is about 13 % in Cu65Zr35 and 5.4 % in Cu50Zr50.",
    )


def column_table(numbers: Numbers) -> Table:
    """Return the table of the leading columns."""
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


def motif_table(numbers: Numbers) -> Table:
    """Return the table of Voronoi motifs."""
    return Table(
        "Voronoi motifs of the undeformed glass",
        (
            "motif",
            "atoms",
            "mean QS",
            "P(plastic|motif)",
            "ratio to P(plastic)",
            "negative dependence",
        ),
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
        note="A motif <i3,i4,i5,i6,i7> is a Voronoi cell with i3 to i7 faces of 3 to 7 edges. "
        "<0,0,12,0,0> is the icosahedron. Frank-Kasper clusters have 2 i4 + i5 = 12. The last "
        "column is the share of atoms at which the partial dependence on the top two columns is "
        "negative.",
    )
