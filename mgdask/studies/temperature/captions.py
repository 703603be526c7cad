"""Captions and texts of the temperature report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mgdask.report import numbers
from mgdask.studies.temperature.figures.looks import (
    CITATION,
    FORMS,
    PAPER_AREA,
    PAPER_CLASSES,
    PAPER_FEATURES,
    PAPER_FIRST_LAG,
    PAPER_NEIGHBORS,
    PAPER_PEAK,
    PAPER_PEARSON,
    PAPER_VOLUME,
    form_text,
    lag_text,
    role,
    shown_polyhedron,
)
from mgdask.studies.temperature.figures.structure import group_rows, values_of
from mgdask.studies.temperature.figures.validation import number
from mgdask.studies.temperature.report_data import ReportData, Row
from mgdask.studies.temperature.views import (
    AppliedPutIn,
    AveragingCurve,
    Clusters,
    CreepCurve,
    Distribution,
    LagCorrelation,
    NeighborCurve,
    PairDistances,
    PutIn,
    SlabMap,
    Structure,
    Thermometer,
    Weights,
)

MEANING = (
    "The machine-learned temperature T_ML of an atom is the mean temperature of the training "
    "atoms with the most similar motion over the selected lags. It describes one trajectory of one "
    f"atom. It is not a thermodynamic temperature ({CITATION})."
)
CIRCULAR = (
    "The paper divides the squared displacement by the temperature of the run, which is also the "
    "label. This feature therefore contains the label. The report shows results with and without "
    "this T, errors at temperatures that were left out, and an unstressed control if one is given."
)
FEW_TEMPERATURES = (
    "Intervals resample atoms within each temperature. With few temperatures, they are too narrow, "
    "because they omit the variation between temperatures."
)


def rounded(value: float | None, digits: int = 3, *, decimals: int | None = None) -> str:
    """Format a number with significant digits, or as a dash if there is none.

    Parameters
    ----------
    value
        Number to format.
    digits
        Significant digits.
    decimals
        Digits after the decimal point, in place of ``digits``.

    Examples
    --------
    >>> rounded(0.97634), rounded(-12.3456), rounded(None), rounded(1234.5)
    ('0.976', '−12.3', '–', '1234')
    """
    if value is None or not np.isfinite(value):
        return "–"
    if value != 0 and decimals is None and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    return numbers.rounded(value, digits, decimals=decimals)


def kelvin(value: float) -> str:
    """Format a temperature in whole kelvins, without the unit.

    Examples
    --------
    >>> kelvin(150.6), kelvin(float("nan"))
    ('151', '–')
    """
    return rounded(value, decimals=0)


def error_text(row: Row) -> str:
    """Format the error of a row with its interval.

    Examples
    --------
    >>> error_text({"rmse": 150.7, "low": 148.2, "high": 153.3})
    '151 [148, 153]'
    """
    value, low, high = (kelvin(number(row, name)) for name in ("rmse", "low", "high"))
    return value if "–" in (low, high) else f"{value} [{low}, {high}]"


def percent(value: float, decimals: int = 1) -> str:
    """Format a share in percent.

    Examples
    --------
    >>> percent(0.0591), percent(float("nan"))
    ('5.9 %', '–')
    """
    text = rounded(100 * value, decimals=decimals)
    return text if text == "–" else f"{text} %"


def listed(names: Sequence[str]) -> str:
    """Join names with commas and "and".

    Examples
    --------
    >>> listed(["a", "b", "c"]), listed(["a"])
    ('a, b and c', 'a')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _named(row: Row) -> str:
    form = FORMS.get(str(row["form"]))
    return f"{row['model']} on {form}" if form else str(row["model"])


OUR_CHOICE = (
    "The form of our models was chosen on the shared Cu-Zr-Ni-Ti-Pd runs between 500 and 1300 K, "
    "so their errors on those runs are optimistic."
)
"""Reservation about our models; see the manual, "How it was found"."""


def verdict(data: ReportData) -> list[str]:
    """Say which model predicts temperatures that were left out of training best.

    Parameters
    ----------
    data
        Results of the study.

    Returns
    -------
    paragraphs
        The verdict. It begins with a simple model if one is better than the paper's.
        Empty without errors of the paper's model.
    """
    rows = data.schemes().get(data.unseen, [])
    paper = [row for row in rows if role(str(row["model"])) == "paper"]
    if not paper:
        return []
    simple = [
        row for row in rows if role(str(row["model"])) == "baseline" and row["model"] != "constant"
    ]
    ours = [row for row in rows if role(str(row["model"])) == "ours"]
    theirs = next((row for row in paper if row["form"] == "run"), paper[0])
    without = next((row for row in paper if row["form"] == "none"), None)
    constant = next((row for row in rows if row["model"] == "constant"), None)

    def error(row: Row) -> float:
        return number(row, "rmse")

    against = f"the paper's model ({_named(theirs)}) {error_text(theirs)} K"
    mean = "" if constant is None else f" A constant has an RMSE of {kelvin(error(constant))} K."
    texts = []
    best = min(simple, key=error, default=None)
    if constant is not None and error(constant) <= min(map(error, [*paper, *simple, *ours])):
        texts.append(
            f"No model is better than a constant, whose RMSE is {kelvin(error(constant))} K."
        )
    if best is not None and error(best) < error(theirs):
        texts.append(
            "A simple model predicts temperatures better than the paper's. RMSE at temperatures "
            f"that were left out of training: {_named(best)} {error_text(best)} K, {against}.{mean}"
        )
    elif best is not None:
        texts.append(
            "The paper's model predicts temperatures better than the simple models. RMSE at "
            f"temperatures that were left out of training: {against}, {_named(best)} "
            f"{error_text(best)} K.{mean}"
        )
    else:
        texts.append(f"RMSE at temperatures that were left out of training: {against}.{mean}")
    if without is not None and without is not theirs:
        change = "lowers" if error(without) < error(theirs) else "raises"
        texts.append(
            f"Leaving T out of the feature {change} the error of k nearest neighbors from "
            f"{kelvin(error(theirs))} to {kelvin(error(without))} K."
        )
    if ours:
        leading = min(ours, key=error)
        others = [row for row in rows if row is not leading]
        next_best = min(others, key=error)
        better = error(leading) < error(next_best)
        texts.append(
            f"Our best model, {_named(leading)}, has {error_text(leading)} K. "
            + (
                f"The best other model is {_named(next_best)} with {error_text(next_best)} K."
                if better
                else f"It is not the best: {_named(next_best)} has {error_text(next_best)} K."
            )
            + f" {OUR_CHOICE}"
        )
    return [*texts, *_beyond(data)]


def _beyond(data: ReportData) -> list[str]:
    """Say how large the errors are outside the range of training temperatures."""
    rows = [
        row
        for row in data.schemes().get("extrapolation", [])
        if row["model"] != "constant" and np.isfinite(number(row, "rmse"))
    ]
    if not rows:
        return []
    best = min(rows, key=lambda row: number(row, "rmse"))
    worst = max(rows, key=lambda row: number(row, "rmse"))
    return [
        "Below the lowest and above the highest training temperature, no model can be trusted: "
        f"the RMSE ranges from {kelvin(number(best, 'rmse'))} K ({_named(best)}) to "
        f"{kelvin(number(worst, 'rmse'))} K ({_named(worst)})."
    ]


def control_text(rows: Sequence[Row]) -> str:
    """Say how much variance is explained by shuffled motion.

    Parameters
    ----------
    rows
        Explained variance of each model and form.

    Returns
    -------
    text
        One sentence per form.
    """
    texts = []
    for form, name in FORMS.items():
        values = [number(row, "explained") for row in rows if row["form"] == form]
        if values:
            low, high = 100 * min(values), 100 * max(values)
            span = rounded(low, decimals=0)
            if rounded(high, decimals=0) != span:
                span = f"{span} to {rounded(high, decimals=0)}"
            texts.append(f"{name}: {span} % of the variance.")
    return " ".join(texts)


SELECTED = (
    "Classes, lags and k, unless given, were selected once with all training atoms, those at the "
    "temperature that is left out included. Test runs took no part."
)
"""Reservation about the temperatures that are left out."""


def rows_text(training: Mapping[str, Any]) -> str:
    """Say on how many atoms controls and Fig. 1 are; empty if it is not known.

    Parameters
    ----------
    training
        ``ReportData.training``.

    Examples
    --------
    >>> rows_text({"n_rows": 350000, "n_drawn": 20000})[:37]
    '20 000 of 350 000 training atoms, dra'
    >>> rows_text({"n_rows": 300, "n_drawn": 300})
    'All 300 training atoms are used.'
    """
    n_rows, n_drawn = training.get("n_rows"), training.get("n_drawn")
    if n_rows is None or n_drawn is None:
        return ""
    if n_drawn == n_rows:
        return f"All {counted(n_rows)} training atoms are used."
    return (
        f"{counted(n_drawn)} of {counted(n_rows)} training atoms, drawn evenly over temperatures, "
        "are used, with the k that was selected for all of them. With fewer atoms, the k nearest "
        "are farther away, so this is not the model that is applied."
    )


def counted(n: int) -> str:
    """Format a number of atoms with spaces between groups of three digits.

    Examples
    --------
    >>> counted(350000), counted(180)
    ('350 000', '180')
    """
    return f"{n:,}".replace(",", " ")


def thermometer_caption(
    curves: Sequence[Thermometer], training: Mapping[str, Any] | None = None
) -> list[str]:
    """Return the caption of T_ML against temperature (Fig. 1)."""
    first = curves[0]
    unseen = [f"{t:g}" for t in first.temperature[first.unseen]]
    seen = (
        f"Rings: temperatures that were left out of training ({listed(unseen)} K)."
        if unseen
        else "All temperatures are in the training data."
    )
    texts = [
        f"T_ML against the temperature of the run for each species and for all atoms, by "
        f"{first.model}. Error bars are standard deviations over atoms. {seen} "
        f"{rows_text(training or {})}".strip()
    ]
    for one in curves:
        cold, hot = int(np.argmin(one.temperature)), int(np.argmax(one.temperature))
        texts.append(
            f"{form_text(one.form)}: the run at {one.temperature[cold]:g} K has a mean T_ML of "
            f"{kelvin(float(one.mean[-1, cold]))} K, and that at {one.temperature[hot]:g} K of "
            f"{kelvin(float(one.mean[-1, hot]))} K."
        )
    texts.append(
        "The paper finds a good linear relation, with slight deviations at 100, 800 and 2000 K. It "
        "only tests temperatures that are in its training data."
    )
    return texts


def validation_caption(
    schemes: Mapping[str, Sequence[Row]], training: Mapping[str, Any] | None = None
) -> list[str]:
    """Return the caption of the errors of all models."""
    folds = (training or {}).get("folds")
    named = [
        f"{name} ({folds})" if folds and name == "folds of atoms" else name for name in schemes
    ]
    texts = [
        f"RMSE of all models: {listed(named)}. Gray: baselines. Red: k nearest neighbors, "
        "the paper's model. Blue: our models. Pale circles: with T in the feature. Diamonds: "
        f"without T. {FEW_TEMPERATURES} The paper reports no error in K.",
        SELECTED,
    ]
    rows = [row for rows in schemes.values() for row in rows if row.get("n_train")]
    all_rows = max((int(row["n_train"]) for row in rows), default=0)
    simple = [row for row in rows if role(str(row["model"])) == "baseline"]
    most = max((int(row["n_train"]) for row in simple if row["model"] != "constant"), default=0)
    if 0 < most < all_rows:
        texts.append(
            f"Baselines other than the constant train on at most {counted(most)} atoms, drawn "
            f"evenly over temperatures; the other models on up to {counted(all_rows)}."
        )
    return texts


def put_in_caption(one: PutIn, training: Mapping[str, Any] | None = None) -> list[str]:
    """Return the caption of the dependence on the T put into the feature."""
    spread = [
        f"for the run at {run:g} K, from {kelvin(float(np.max(mean)))} to "
        f"{kelvin(float(np.min(mean)))} K"
        for run, mean in zip(one.run, one.mean, strict=True)
    ]
    solved = [
        f"{kelvin(value)} K for the run at {run:g} K"
        for run, value in zip(one.run, one.consistent, strict=True)
        if np.isfinite(value)
    ]
    texts = [
        f"Mean T_ML with the paper's feature, {FORMS['run']}, against the T put into it. Over the "
        f"range of T from {one.put_in.min():g} to {one.put_in.max():g} K, the mean changes "
        f"{'; '.join(spread)}.",
        "A thermometer that needs the temperature as input is circular. Solving T_ML(T) = T "
        f"(rings) gives {listed(solved)}."
        if solved
        else "The equation T_ML(T) = T has no solution in this range.",
        rows_text(training or {}),
    ]
    return [text for text in texts if text]


def applied_put_in_caption(curves: Sequence[AppliedPutIn]) -> list[str]:
    """Return the caption of the T put into the feature of applied runs."""
    texts = [
        f"Mean T_ML of applied runs with the paper's feature, {FORMS['run']}, against the T put "
        "into it. No temperature of the store is needed. Rings: T_ML(T) = T. Of large runs, at "
        f"most {counted(max(one.n_atoms for one in curves))} atoms are drawn."
    ]
    for one in curves:
        at = f", whose temperature is {one.known:g} K" if np.isfinite(one.known) else ""
        texts.append(
            f"{one.name}{at}: from {kelvin(one.mean[0])} K at T = {one.put_in[0]:g} K to "
            f"{kelvin(one.mean[-1])} K at T = {one.put_in[-1]:g} K; {solution_text(one)}."
        )
    return texts


def solution_text(one: AppliedPutIn) -> str:
    """Say where T_ML(T) = T.

    Parameters
    ----------
    one
        Mean T_ML of a run against the T put in.
    """
    if len(one.solutions) == 1:
        return f"T_ML(T) = T at {kelvin(one.solutions[0])} K"
    return f"T_ML(T) = T has {one.note}"


def control_caption(rows: Sequence[Row], training: Mapping[str, Any] | None = None) -> list[str]:
    """Return the caption of the control with shuffled motion."""
    return [
        "Fraction of the variance of temperature that is explained after displacements were "
        "shuffled among labels, so motion carries no information. Only the division by T is left. "
        f"{control_text(rows)} {rows_text(training or {})}".strip()
    ]


def averaging_caption(
    curve: AveragingCurve, training: Mapping[str, Any] | None = None
) -> list[str]:
    """Return the caption of the error against the radius of averaging."""
    best = int(np.nanargmin(curve.rmse))
    found = (
        f"It is smallest for the atom alone, {kelvin(curve.rmse[0])} K."
        if best == 0
        else f"It falls from {kelvin(curve.rmse[0])} K for the atom alone to "
        f"{kelvin(curve.rmse[best])} K at {curve.radius[best]:g} Å."
    )
    return [
        "RMSE at temperatures that were left out, if the motion of an atom is averaged with that "
        f"of its neighbors. {found} Averages over neighbors approach the mean of the run, so a "
        "smaller error says little about a single atom. Such an average is no longer the paper's "
        f"T_ML of an atom. {_drawn(training or {})}".strip()
    ]


def _drawn(training: Mapping[str, Any]) -> str:
    """Say how many atoms a model without neighbors reads; empty if it is not known."""
    n_rows, n_drawn = training.get("n_rows"), training.get("n_drawn")
    if n_rows is None or n_drawn is None or n_rows == n_drawn:
        return ""
    return f"{counted(n_drawn)} of {counted(n_rows)} training atoms are used."


def creep_caption(curves: Sequence[CreepCurve], volume: Mapping[str, Any]) -> list[str]:
    """Return the caption of creep curves and the activation volume (Fig. 2)."""
    texts = ["Creep strain against time. Shaded: the steady stage, with a line of its rate."]
    for one in curves:
        if one.reason or not np.isfinite(one.rate):
            texts.append(f"{one.name}: no steady stage was found ({one.reason or 'no rate'}).")
        else:
            texts.append(
                f"{one.name}: {rounded(one.rate)} ± {rounded(one.rate_error, 2)} 1/ps from "
                f"{one.window[0]:g} to {one.window[1]:g} ps."
            )
    value = volume.get("value")
    if value is not None and np.isfinite(value):
        texts.append(
            f"Activation volume: {rounded(value)} ± {rounded(volume.get('error'), 2)} Å³. "
            f"{volume.get('note', '')}".strip()
        )
    else:
        why = str(volume.get("note", "")) or "It needs steady rates at two or more stresses."
        texts.append(f"There is no activation volume. {why}")
    texts.append(
        f"The paper has creep at 2.2, 2.3 and 2.4 GPa and prints {PAPER_VOLUME:g} nm³. By its "
        "formula, this volume would multiply the rate by e^1130 per 0.1 GPa at 100 K. 27 Å³ would "
        "multiply it by 3.1."
    )
    return texts


def distribution_caption(
    some: Sequence[Distribution], glass_temperature: float | None, peaks: Sequence[Row] = ()
) -> list[str]:
    """Return the caption of the distributions of T_ML (Fig. 2C)."""
    reasons = {(row["name"], row["form"]): str(row.get("reason", "")) for row in peaks}
    texts = [
        "Distribution of T_ML with a Gaussian fitted to its peak, on a logarithmic axis. Dashed: "
        "the unstressed control at the same temperature."
    ]
    for one in some:
        above = (
            ""
            if glass_temperature is None or not np.isfinite(one.above)
            else f"; {percent(one.above)} of the atoms above {glass_temperature:g} K"
        )
        control = " (control)" if one.control else ""
        peak = (
            f"peak at {kelvin(one.center)} K with {percent(one.area)} of the atoms, excess tail "
            f"{percent(one.tail)}"
            if np.isfinite(one.center)
            else reasons.get((one.name, one.form)) or "no Gaussian peak was fitted"
        )
        texts.append(f"{one.name}{control}, {form_text(one.form)}: {peak}{above}.")
    texts.append(
        f"In the paper, the peak is at about {PAPER_PEAK:g} K, and its area falls from "
        f"{percent(PAPER_AREA[0], 0)} to {percent(PAPER_AREA[1], 0)} with increasing stress. The "
        "paper has no unstressed control. Only what exceeds the control is due to stress."
    )
    return texts


def map_caption(one: SlabMap) -> list[str]:
    """Return the caption of the maps of T_ML and D2min (Figs. 3A to 3E)."""
    lags = listed([lag_text(lag) for lag in one.lag[:4]])
    return [
        f"{one.name}: a slice of {one.slab:g} Å with atoms colored by T_ML "
        f"({form_text(one.form)}), and by the backward non-affine displacement D²min (Eq. 2) over "
        f"{lags}. Each color scale spans the 2nd to the 98th percentile.",
        "In the paper, hot atoms are isolated spots in a cold matrix.",
    ]


def correlation_caption(curves: Sequence[LagCorrelation]) -> list[str]:
    """Return the caption of the correlation of T_ML with D2min (Fig. 3F)."""
    texts = [
        "Pearson correlation of T_ML with the backward D²min against its lag, with 95 % intervals."
    ]
    for one in curves:
        values = ", ".join(rounded(value, decimals=2) for value in one.value)
        largest = ""
        if len(one.lag) > 1 and np.isfinite(one.value).any():
            largest = f" It is largest at {lag_text(float(one.lag[np.nanargmax(one.value)]))}."
        texts.append(
            f"{one.name}, {form_text(one.form)}: {values} at "
            f"{listed([lag_text(lag) for lag in one.lag])}.{largest}"
        )
    texts.append(
        f"In the paper, it increases from {PAPER_PEARSON[0]:g} to {PAPER_PEARSON[1]:g} with the "
        "lag. T_ML and D²min are computed from the same displacements, so a correlation is "
        "expected."
    )
    return texts


def polyhedra_caption(one: Structure) -> list[str]:
    """Return the caption of the polyhedra of both groups (Fig. 4)."""
    plain, rows = one.polyhedra, group_rows(one.polyhedra)
    names = [str(name) for name in plain["polyhedron"]]
    texts = [
        f"{one.name}: liquid-like and solid-like atoms are the {percent(one.fraction, 0)} of the "
        f"atoms with the highest and the lowest T_ML ({one.n_atoms} each). (a) Columns end at the "
        "relative deviation Δf of a polyhedron from all atoms (Eq. 4). The area of a bubble is "
        "its fraction f in the group (Eq. 3). (b) Δf against local five-fold symmetry. Error bars "
        "are standard errors for independent atoms."
    ]
    icosahedron = [k for k, name in enumerate(names) if shown_polyhedron(name) == "⟨0,0,12,0⟩"]
    if icosahedron:
        k = icosahedron[0]
        parts = [
            f"{name} {percent(float(values_of(plain, 'fraction')[row, k]))} "
            f"(Δf {_signed(100 * float(values_of(plain, 'deviation')[row, k]))} %)"
            for name, row in rows.items()
        ]
        texts.append(
            f"⟨0,0,12,0⟩: {listed(parts)}. In the paper: liquid-like 3 % (Δf −61 %) and "
            "solid-like 13 % (Δf +70 %)."
        )
    slopes = [f"{name} {_signed(_rank_trend(plain, row), 2)}" for name, row in rows.items()]
    texts.append(
        f"Rank correlation of Δf with local five-fold symmetry: {listed(slopes)}. In the paper, "
        "liquid-like atoms have low five-fold symmetry, and solid-like atoms have high."
    )
    return texts


def _signed(value: float, decimals: int = 0) -> str:
    text = rounded(value, decimals=decimals)
    return f"+{text}" if value > 0 and text != "–" else text


def _rank_trend(plain: Mapping[str, Any], row: int) -> float:
    """Return Spearman's correlation of Δf with LFFS over the polyhedra shown."""
    from scipy.stats import spearmanr

    x, y = values_of(plain, "lffs"), values_of(plain, "deviation")[row]
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < 3 or np.ptp(x[known]) == 0 or np.ptp(y[known]) == 0:
        return np.nan
    return float(spearmanr(x[known], y[known]).statistic)


def composition_caption(one: Structure) -> list[str]:
    """Return the caption of composition, coordination and chemical order (Fig. 5)."""
    rows = group_rows(one.composition)
    names = [str(name) for name in one.composition["species"]]
    deviation = values_of(one.composition, "deviation")
    texts = [
        f"{one.name}: (a) composition of both groups; the dashed line is that of all atoms. (b) "
        "Relative change of the coordination number (Eq. 5), with cutoffs at the first troughs of "
        "the partial g(r). (c) Cargill-Spaepen order −α of all atoms (Eq. 6) as number and color. "
        "Signs: deviation of liquid-like (left, red) and solid-like atoms (right, blue); doubled "
        "above 0.09, and 0 below 0.03, as in the paper. Signs ignore errors."
    ]
    if "liquid-like" in rows:
        row = deviation[rows["liquid-like"]]
        rich = [name for name, value in zip(names, row, strict=True) if value > 0]
        texts.append(
            f"Liquid-like atoms are rich in {listed(rich) if rich else 'no element'}. In the "
            "paper, they are rich in Pd, Ti and Zr."
        )
    species = [str(name) for name in one.coordination["species"]]
    if "all" in species:
        k, change = species.index("all"), values_of(one.coordination, "relative_change")
        error = values_of(one.coordination, "relative_change_error")
        parts = [
            f"{name} {_signed(float(change[row, k]), 1)} "
            f"± {rounded(float(error[row, k]), decimals=1)} %"
            for name, row in group_rows(one.coordination).items()
        ]
        texts.append(
            f"ΔCN of all species: {listed(parts)}. In the paper, it is negative for every species "
            "of the liquid-like atoms."
        )
    opposite, total = opposite_signs(one.order)
    if total:
        texts.append(
            f"If both groups deviate, their signs are opposite in {opposite} of {total} pairs. In "
            "the paper, they are opposite in all pairs."
        )
    return texts


def opposite_signs(plain: Mapping[str, Any]) -> tuple[int, int]:
    """Count pairs in which both groups deviate, and those with opposite signs.

    Parameters
    ----------
    plain
        Chemical order of the groups in plain form.

    Returns
    -------
    opposite, total
        Pairs with opposite signs, and pairs in which neither sign is 0.

    Examples
    --------
    >>> opposite_signs({"group": ["whole", "liquid-like", "solid-like"],
    ...     "sign": [[["0", "0"]], [["+", "0"]], [["--", "-"]]]})
    (1, 1)
    """
    rows = group_rows(plain)
    if len(rows) < 2:
        return 0, 0
    first, second = (np.ravel(np.array(plain["sign"][row])) for row in rows.values())
    pairs = [(a[:1], b[:1]) for a, b in zip(first, second, strict=True) if "0" not in (a, b)]
    pairs = [pair for pair in pairs if all(pair)]
    return sum(a != b for a, b in pairs), len(pairs)


def classes_caption(one: Clusters) -> list[str]:
    """Return the caption of the representative classes (Supplementary Fig. 1)."""
    chosen = [f"{t:g}" for t in one.temperature[one.chosen]]
    return [
        f"Clusters of at least {one.min_leaves} leaves in {one.n_subsets} random subsets "
        f"({one.linkage} linkage, cutoff {one.cutoff:g}), by the most frequent temperature of "
        "their leaves.",
        f"Representative classes (bold): {listed(chosen) if chosen else 'none'} K. "
        f"{one.verdict}".strip(),
        one.rule,
        f"The paper selects {listed([str(t) for t in PAPER_CLASSES])} K from 20 temperatures. It "
        "does not state how classes follow from clusters.",
    ]


def weights_caption(one: Weights) -> list[str]:
    """Return the caption of the feature weights (Supplementary Fig. 2)."""
    kept = one.lag[one.kept]
    first = f", from {lag_text(float(kept.min()))}" if len(kept) else ""
    return [
        f"ReliefF weight of each lag. {int(one.kept.sum())} of {len(one.lag)} lags are kept"
        f"{first}.",
        f"{one.verdict} {one.rule}".strip(),
        *([one.beside] if one.beside else []),
        f"The paper keeps {PAPER_FEATURES} lags of {PAPER_FIRST_LAG:g} ps and longer.",
    ]


def neighbor_caption(one: NeighborCurve) -> list[str]:
    """Return the caption of the error against the number of neighbors."""
    parts = [
        f"{form_text(form)}: k = {best} with "
        f"{kelvin(float(one.rmse[form][int(np.argmin(np.abs(one.n_neighbors - best)))]))} K"
        for form, best in one.best.items()
    ]
    scheme = f" ({one.scheme})" if one.scheme else ""
    return [
        f"Validation RMSE against the number of neighbors{scheme}. {'; '.join(parts)}. The paper "
        f"uses k = {PAPER_NEIGHBORS}. Folds of atoms share temperatures, so these errors say "
        "nothing about temperatures that were left out."
    ]


def distances_caption(one: PairDistances) -> list[str]:
    """Return the caption of the partial g(r) (Supplementary Fig. 4)."""
    known = [value for value in one.cutoff.values() if np.isfinite(value)]
    span = (
        f"The troughs range from {min(known):.2f} to {max(known):.2f} Å."
        if known
        else "No trough was found."
    )
    return [
        "Partial radial distribution functions. Dashed: the first trough, used as the neighbor "
        f"cutoff in D²min and CN. {span}"
    ]
