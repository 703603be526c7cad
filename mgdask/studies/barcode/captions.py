"""Captions and texts of the barcode report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mgdask.report.numbers import rounded
from mgdask.studies.barcode.figures.accuracy import coolings
from mgdask.studies.barcode.figures.looks import (
    BASELINES,
    PAPER_ATOMS,
    PAPER_ELEMENTS,
    PAPER_KASPER,
    PAPER_RMSE,
    TREES_ALL,
    is_trees_few,
    per_atom,
    role,
)
from mgdask.studies.barcode.models import PAIRS
from mgdask.studies.barcode.report_data import Predicted, ReportData

CITATION = "Liu C. et al., Acta Mater. 259, 119281 (2023)"
BARCODE = (
    "A unique local environment (ULE) is an entry of a dictionary of atomic environments, which "
    "are compared by their SOAP power spectra. An environment joins the dictionary if its "
    "similarity M to every earlier entry is below a threshold. Each atom of a sample is assigned "
    "to its most similar entry. The fractions of atoms assigned to the leading entries are the "
    f"barcode of the sample ({CITATION})."
)
WHY_SIMPLE = (
    "The energy is a sum over atoms of a smooth function of their environments. Averages over "
    "atoms, such as the mean SOAP vector of each species, preserve such sums, and a linear model "
    "can read them. A hard assignment replaces an atom by its nearest entry and discards the "
    "distance to it. Trees must then approximate a smooth sum by steps."
)
WHY_DIFFERENT = (
    "The paper trains on 10 000 samples from coolings at 1e10 to 1e13 K/s, many of them annealed "
    "for 10 ns between 500 and 700 K, and tests on 10 000 others. A study of few coolings has "
    "fewer samples, and the samples of one cooling are similar. Its range of energies also "
    "differs, because it depends on the temperatures and rates of the coolings. Compare R² and "
    "the error of the mean before the errors themselves. The paper reports neither."
)
PAPER_A1_LEAST = 0.8159
"""Smallest error of the paper in eV per sample (Fig. A1)."""


def bounded(
    bounds: Mapping[str, Any] | float | None, digits: int = 3, *, decimals: int | None = None
) -> str:
    """Format a number with its interval.

    Parameters
    ----------
    bounds
        ``value``, ``low`` and ``high``; or a number without an interval.
    digits, decimals
        See ``rounded``.

    Examples
    --------
    >>> bounded({"value": 0.976, "low": 0.9, "high": 1.1}), bounded(0.5)
    ('0.976 [0.900, 1.10]', '0.500')
    """
    if bounds is None or isinstance(bounds, float | int):
        return rounded(bounds, digits, decimals=decimals)
    value, low, high = (
        rounded(bounds.get(end), digits, decimals=decimals) for end in ("value", "low", "high")
    )
    return value if "–" in (low, high) else f"{value} [{low}, {high}]"


def value_of(score: Mapping[str, Any], name: str) -> float:
    """Return a number of a score, with or without an interval; NaN if there is none."""
    number = score.get(name)
    if isinstance(number, Mapping):
        number = number.get("value")
    return np.nan if number is None else float(number)


def shown_models(predicted: Sequence[Predicted]) -> list[Predicted]:
    """Select the models of a figure: the paper's, the best baseline, and our best.

    Parameters
    ----------
    predicted
        Predictions of all models for the same samples.

    Returns
    -------
    shown
        Trees on the leading ULEs (on all ULEs if there are none), and the baseline and
        the other model with the smallest errors.
    """
    trees = [one for one in predicted if is_trees_few(one.model)]
    trees += [one for one in predicted if one.model == TREES_ALL]
    found = trees[:1]
    for kind in ("baseline", "ours"):
        some = [one for one in predicted if role(one.model) == kind]
        if some:
            found.append(min(some, key=lambda one: one.rmse))
    return found


def verdict(data: ReportData) -> list[str]:
    """Say whether a simple model is better than the paper's trees, and by how much.

    Parameters
    ----------
    data
        Results of the study.

    Returns
    -------
    paragraphs
        The verdict, and the reason if a simple model wins. Empty without both kinds.
    """
    scores = {str(one["model"]): one for one in data.pooled_scores() if one["set"] == "test"}
    simple = [one for one in BASELINES if one in scores]
    trees = [one for one in scores if role(one) == "paper"]
    if not simple or not trees:
        return []

    def error(model: str) -> float:
        return value_of(scores[model], "rmse")

    best, tree = min(simple, key=error), min(trees, key=error)
    others = ", ".join(
        f"{model} {bounded(scores[model].get('rmse'))} eV" for model in trees if model != tree
    )
    simple_text = f"{best} {bounded(scores[best].get('rmse'))} eV per sample"
    tree_text = f"{tree} {bounded(scores[tree].get('rmse'))} eV per sample"
    tail = f" The other trees: {others}." if others else ""
    mean = f" For the mean it is {rounded(error('mean'))} eV." if "mean" in scores else ""
    runs = _runs_won(data, best, tree)
    wins = error(best) < error(tree)
    if wins:
        head = (
            "A simple model predicts the energy better than the boosted trees of the paper. RMSE "
            f"on held-out coolings: {simple_text}, {tree_text}.{runs}{tail}{mean}"
        )
    else:
        head = (
            "The boosted trees of the paper predict the energy better than the simple models. "
            f"RMSE on held-out coolings: {tree_text}, {simple_text}.{runs}{tail}{mean}"
        )
    ours = [one for one in scores if role(one) == "ours" and one != PAIRS]
    texts = [head, *([WHY_SIMPLE] if wins else [])]
    if PAIRS in scores:
        texts.append(
            f"Counts of pairs at a few distances need no dictionary and no SOAP. With "
            f"{scores[PAIRS]['n_numbers']} numbers per sample, a line in them has "
            f"{bounded(scores[PAIRS].get('rmse'))} eV per sample."
        )
    if ours:
        leading = min(ours, key=error)
        numbers = scores[leading].get("n_numbers")
        reads = f", which reads {numbers} numbers per sample," if numbers else ""
        text = (
            f"Of our models with a dictionary, the best is {leading}{reads} with "
            f"{bounded(scores[leading].get('rmse'))} eV per sample."
        )
        few = [one for one in ours if (scores[one].get("n_numbers") or np.inf) <= PAPER_ELEMENTS]
        if few and min(few, key=error) != leading:
            small = min(few, key=error)
            text += (
                f" With at most {PAPER_ELEMENTS} numbers per sample, it is {small} "
                f"({scores[small]['n_numbers']} numbers): {bounded(scores[small].get('rmse'))} eV."
            )
        texts.append(text)
    return texts


def _begin(text: str) -> str:
    return text[:1].upper() + text[1:] if not text[:2].isupper() else text


def _runs_won(data: ReportData, first: str, second: str) -> str:
    """Say in how many runs one model has the smaller error."""
    by_model = {one.model: one for one in data.of_set("test")}
    if first not in by_model or second not in by_model:
        return ""
    a, b = by_model[first], by_model[second]
    runs = sorted(set(a.run.tolist()))
    won = sum(
        bool(np.mean(a.errors[a.run == run] ** 2) < np.mean(b.errors[b.run == run] ** 2))
        for run in runs
    )
    noun = "run" if len(runs) == 1 else "runs"
    return f" {_begin(first)} has the smaller error in {won} of {len(runs)} {noun}."


def prediction_caption(
    shown: Sequence[Predicted], other_size: Sequence[Predicted], n_barcodes: int
) -> list[str]:
    """Return the caption of the figure of predicted energies.

    Parameters
    ----------
    shown
        Models in the figure.
    other_size
        The same models for samples of another size.
    n_barcodes
        Number of samples whose barcodes are shown.

    Returns
    -------
    paragraphs
        One string per paragraph.
    """
    runs = len(set(shown[0].run.tolist()))
    caption = [
        f"(a) Predicted against true inherent-structure energy of {len(shown[0].energy)} samples "
        f"from {runs} held-out {_plural('run', runs)}. RMSE: "
        + ", ".join(f"{one.model} {rounded(one.rmse)} eV" for one in shown)
        + f". In the paper, it is {PAPER_RMSE['40 ULEs']} eV for the trees on 40 ULEs."
    ]
    if other_size:
        sizes = np.unique(other_size[0].n_atoms)
        caption.append(
            f"Inset: {len(other_size[0].energy)} samples of {_span(sizes)} atoms, predicted "
            "without retraining. RMSE: "
            + ", ".join(f"{one.model} {rounded(one.rmse)} eV" for one in other_size)
            + "."
        )
    if n_barcodes:
        caption.append(
            f"(b) Barcodes of {n_barcodes} samples, from the lowest to the highest "
            "energy. Fractions of the leading ULEs are divided by their sum, as in the paper."
        )
    return caption


def _plural(word: str, n: int) -> str:
    return word if n == 1 else f"{word}s"


def _span(sizes: Sequence[int] | np.ndarray) -> str:
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


SCORE_CAPTION = (
    "RMSE per atom and R² of every model, with 95 % intervals from resampling whole runs. Gray: "
    "baselines. Red: the models of the paper. Blue: ours. Vertical lines: the paper's errors, "
    f"{per_atom(PAPER_RMSE['5223 ULEs'], PAPER_ATOMS):.2f} meV per atom with 5223 ULEs and "
    f"{per_atom(PAPER_RMSE['40 ULEs'], PAPER_ATOMS):.2f} with 40."
)


def environment_caption(elements: Sequence[Mapping[str, Any]], note: str) -> list[str]:
    """Return the caption of the pictures of the elements.

    Parameters
    ----------
    elements
        Elements of the barcode.
    note
        How small facets of Voronoi cells are treated, in words.

    Returns
    -------
    paragraphs
        One string per paragraph.
    """
    first = sum(one["polyhedron"]["group"] == 1 for one in elements)
    names = [tuple(one["polyhedron"]["index"]) for one in elements]
    shared = sum(names.count(name) > 1 for name in names)
    icosahedral = sum(bool(one["polyhedron"]["icosahedral"]) for one in elements)
    return [
        "Atoms around the center of each element, within the cutoff of SOAP. The yellow polyhedron "
        "connects the Voronoi neighbors of the center (the kernel). Atoms outside it are small. "
        "More distant atoms are paler. The title gives the number of the element, its central "
        "atom, and the Voronoi index ⟨n3,n4,n5,n6⟩ of the kernel.",
        f"{first} of {len(elements)} elements have a Kasper kernel, 2 n4 + n5 = 12, and "
        f"{icosahedral} {'has' if icosahedral == 1 else 'have'} ⟨0,0,12,0⟩. "
        f"{shared} share their index with another element. In the paper, "
        f"{PAPER_KASPER} of {PAPER_ELEMENTS} have a Kasper kernel. It does not state how "
        "small facets are treated, and its samples and models differ.",
        note,
    ]


def correlation_caption(elements: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the caption of the correlation of each element with energy.

    Parameters
    ----------
    elements
        Elements of the barcode.

    Returns
    -------
    paragraphs
        One string per paragraph.
    """

    def sign(one: Mapping[str, Any]) -> int:
        low, high = (one["pearson"].get(end) for end in ("low", "high"))
        if low is None or high is None or low <= 0 <= high:
            return 0
        return 1 if low > 0 else -1

    icosahedral = [one for one in elements if one["polyhedron"]["icosahedral"]]
    counts = {k: sum(sign(one) == k for one in icosahedral) for k in (-1, 0, 1)}
    return [
        "Pearson correlation of the fraction of each element with the energy per atom, with 95 % "
        "intervals from resampling whole runs. Circles: elements with an icosahedral kernel.",
        f"Icosahedral elements: {len(icosahedral)}. Of these, {counts[-1]} with a negative and "
        f"{counts[1]} with a positive correlation; {counts[0]} with an interval that contains 0. "
        "In the paper, some icosahedral elements have a positive correlation, and it gives no "
        "intervals.",
    ]


def importance_caption(shap: Sequence[float] | np.ndarray, n_elements: int) -> list[str]:
    """Return the caption of the SHAP values.

    Parameters
    ----------
    shap
        Mean absolute SHAP values of all ULEs in eV per sample.
    n_elements
        Number of elements of the barcode.

    Returns
    -------
    paragraphs
        One string per paragraph.
    """
    values = np.sort(np.asarray(shap, dtype=np.float64))[::-1]
    total = float(values.sum())
    share = float(values[:n_elements].sum()) / total if total > 0 else np.nan
    used = int((values > 0).sum())
    return [
        f"Mean absolute SHAP value of each of {len(values)} ULEs in the trees on all ULEs. "
        f"{used} are above 0. The {n_elements} elements of the barcode contribute "
        f"{100 * share:.0f} % of the sum. Inset: histogram, with the smallest value of an element "
        "as a dashed line.",
        "In the paper, about 40 of 5223 values are above 0.05. It does not state their unit, and "
        "SHAP values grow with the range of energies, so the values cannot be compared.",
    ]


def map_caption(embedding: Mapping[str, Any]) -> list[str]:
    """Return the caption of the map of the dictionary.

    Parameters
    ----------
    embedding
        Content of ``embedding.json``.

    Returns
    -------
    paragraphs
        One string per paragraph.
    """
    n = len(embedding["coordinates"])
    if embedding.get("method") == "smacof":
        how = (
            "Distances on the map approximate 1 − M (multidimensional scaling, stress "
            f"{rounded(embedding.get('stress'))})."
        )
    else:
        explained = embedding.get("explained")
        held = (
            ""
            if explained is None
            else f" with {100 * float(np.sum(explained)):.0f} % of the variance"
        )
        how = f"The axes are the first two principal components of the power spectra{held}."
    return [
        f"The {n} entries of the dictionary; similar ones are close. {how} The color is the "
        "correlation of the fraction with the energy per atom. Open markers: entries whose "
        "fractions do not vary. Rings: elements of the barcode. The paper has no such map."
    ]


def heterogeneity_caption(comparisons: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the caption of the comparison of thermal and driven samples.

    Parameters
    ----------
    comparisons
        Comparisons of ``heterogeneity.json``.

    Returns
    -------
    paragraphs
        One string per paragraph.
    """
    pairs = "; ".join(
        f"{one['name']}: {one['n_pairs']} pairs of {one['n_matched']} driven samples"
        for one in comparisons
    )
    texts = [
        f"(a) Mean barcodes of thermal (up) and driven (down) samples of equal energy ({pairs}).",
        "(b) Ratios of the sums of each group, thermal divided by driven: "
        + "; ".join(
            f"{one['name']} "
            + ", ".join(
                f"{bounded(part['ratio'])} in group {part['group']}" for part in one["contrasts"]
            )
            for one in comparisons
        )
        + ". In the paper, all are close to 1.",
        "(c) Standard deviation of δs = s(thermal) − s(driven) within each group. Gray: the same "
        "for pairs of thermal samples from different runs, which differ only by chance. The "
        "paper has no such control.",
    ]
    for one in comparisons:
        parts = [
            f"group {part['group']} {_thousandths(part['std'])} against "
            f"{_thousandths(part['control'])} ({_excess(part['excess'])})"
            for part in one["contrasts"]
        ]
        texts.append(f"{one['name']}, in 10⁻³: {'; '.join(parts)}.")
    texts.append(
        "In the paper, the standard deviation of group 2 grows with heterogeneity, and that of "
        "group 1 is almost constant. Its samples were sheared at 1e7 per s at 300 to 700 K. The "
        "values depend on the shear rate and on the dictionary."
    )
    return texts


def _thousandths(bounds: Mapping[str, Any] | None) -> str:
    if bounds is None:
        return "–"
    return bounded(
        {
            end: None if bounds.get(end) is None else 1000.0 * bounds[end]
            for end in ("value", "low", "high")
        }
    )


def _excess(bounds: Mapping[str, Any] | None) -> str:
    low, high = (None if bounds is None else bounds.get(end) for end in ("low", "high"))
    if low is None or high is None:
        return "no interval"
    if low <= 0 <= high:
        return "no difference beyond chance"
    return "more than by chance" if low > 0 else "less than by chance"


def sums_caption(sums: Mapping[str, Any], voronoi: Mapping[str, Any]) -> list[str]:
    """Return the caption of the sums of fractions against energy.

    Parameters
    ----------
    sums
        Content of ``group_sums.json``.
    voronoi
        Content of ``voronoi.json``.

    Returns
    -------
    paragraphs
        One string per paragraph.
    """
    whole = (
        "Gray in (b): the fraction of all atoms with ⟨0,0,12,0⟩, which needs neither a dictionary "
        f"nor a model; its correlation is {bounded(voronoi['pearson']['icosahedral'])}."
        if voronoi
        else ""
    )
    r = {name: bounded(one) for name, one in sums["pearson"].items()}
    return [
        "Sums of the fractions in the barcode against the energy per atom: (a) of each group, "
        "(b) of the elements with an icosahedral kernel. Small points are samples. Large ones are "
        "means in bins of energy; bars are standard deviations.",
        f"Correlation with the energy: group 1 {r['group1']}, group 2 {r['group2']}, icosahedral "
        f"{r['icosahedral']}. The two groups add up to 1, so their correlations are opposite. In "
        "the paper, the groups show a weak trend at most, and the icosahedral sum falls clearly "
        "with the energy.",
        whole,
    ]


def accuracy_caption(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the caption of the error against the number of ULEs.

    Parameters
    ----------
    rows
        Rows of ``accuracy.json``.

    Returns
    -------
    paragraphs
        One string per paragraph.
    """
    best = min(rows, key=lambda one: one["rmse"])
    entries = f" and {best['n_entries']} ULEs" if best.get("n_entries") else ""
    most = max(one["n_runs"] for one in rows)
    trees = [
        one
        for one in rows
        if one.get("n_entries") and one["n_runs"] == most and role(str(one["model"])) == "paper"
    ]
    trend = ""
    if len({one["n_entries"] for one in trees}) > 1:
        least = min(trees, key=lambda one: one["rmse"])
        last = max(trees, key=lambda one: one["n_entries"])
        trend = (
            f" The trees with {coolings(most)} have their smallest error at {least['n_entries']} "
            f"ULEs ({rounded(least['rmse'])} eV), and {rounded(last['rmse'])} eV at "
            f"{last['n_entries']}, the most. In the paper, more ULEs give smaller errors."
        )
    return [
        "RMSE on held-out coolings against the number of ULEs, which is set by the threshold. "
        "Each curve is for one number of training coolings. Bars: 95 % intervals from resamples "
        "of test coolings and of sets of training coolings. Points of one dictionary are drawn "
        "side by side. Gray lines in (a): baselines without ULEs. "
        f"Smallest error: {best['model']} with {coolings(best['n_runs'])}{entries}, "
        f"{bounded({'value': best['rmse'], 'low': best.get('low'), 'high': best.get('high')})} eV "
        f"per sample.{trend}",
        f"The triangle is the paper's model, trained on 10 000 samples: {PAPER_RMSE['5223 ULEs']} "
        f"eV with 5223 ULEs. The smallest error in its Fig. A1 is {PAPER_A1_LEAST} eV, with 30 "
        "coolings "
        "of 1000 samples each.",
    ]


def error_caption(sets: Sequence[Sequence[Predicted]]) -> list[str]:
    """Return the caption of the distributions of errors.

    Parameters
    ----------
    sets
        Predictions of the same models for each set of samples.

    Returns
    -------
    paragraphs
        One string per paragraph.
    """
    texts = []
    for some in sets:
        text = ", ".join(
            f"{one.model} {np.mean(one.errors):+.2f} ± {np.std(one.errors):.2f}" for one in some
        ).replace(" -", " −")
        sizes = _span(np.unique(some[0].n_atoms))
        texts.append(f"{sizes} atoms, mean ± standard deviation in eV: {text}.")
    return [
        "Distributions of the errors. Thin curves: normal distributions with the same mean and "
        "standard deviation.",
        *texts,
        "In the paper, the distributions for 2000 and 4000 atoms are alike and nearly normal.",
    ]


SLAB_CAPTION = (
    "Atoms in a slab of 5 Å through the middle of a sample. Blue: assigned to an element of group "
    "1. Orange: to an element of group 2. Pale: to an entry outside the barcode. The barcode "
    "counts only the colored atoms."
)
