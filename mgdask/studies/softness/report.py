"""The report of a softness study: one page with its figures, tables and numbers."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mgdask.studies.softness.data import Glass
from mgdask.studies.softness.figures import (
    draw_dependence,
    draw_features,
    draw_scores,
    draw_slice,
    short,
)
from mgdask.studies.softness.results import softness_numbers
from mgdask.studies.softness.training import Softness

Numbers = Mapping[str, Any]

STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:75em;margin:2em auto;padding:0 1em;color:#111;background:#fff}img{max-width:100%}"
    "figure{margin:1.5em 0}table{border-collapse:collapse;margin:1em 0}caption{text-align:left;font-weight:bold;padding:.3em 0}"
    "th,td{border-bottom:1px solid #bbb;padding:.2em .8em;text-align:right}th:first-child{text-align:left}"
)


def softness_report(found: Softness, glass: Glass, folder: str | Path, *, seed: int = 0) -> Path:
    """Write report.html, its figures and numbers.json for the glass that was set aside; returns the page's path.

    The page holds its figures and needs no other file: spectrum of QS, P(plastic | QS), share predicted plastic against the true D2min, QS
    of the atoms that turn plastic at each strain, mass-radius relation and g(r) of the softest and the hardest atoms, importance and
    distributions of the leading columns, partial dependence of the first two with the atoms of motifs, and a slice with QS against D2min.
    The figures lie beside it too. numbers.json has what ``softness_numbers`` returns, which is every number of the page, NaN as null.

    Parameters: ``folder`` is made where it is missing; ``seed`` of the atoms that are drawn for partial dependence and as markers.

    >>> softness_report(found, glass, "softness")  # doctest: +SKIP
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    told = softness_numbers(found, glass, seed=seed)
    (target / "numbers.json").write_text(
        json.dumps(_for_json(told), indent=1, allow_nan=False), encoding="utf-8"
    )
    draw_scores(told, target / "softness.png")
    draw_features(told, target / "features.png")
    draw_dependence(told, target / "dependence.png")
    draw_slice(found, glass, target / "slice.png")
    name = escape(glass.name)
    parts = [
        f"<h1>Quench-in softness of {name}</h1>",
        _summary(told),
        *_scores(told),
        "<h2>What the score says</h2>",
        _picture(
            target / "softness.png",
            "Six panels, (a) to (f), described in the caption.",
            _of_scores(told),
        ),
        _softest(told),
        _classes(told),
        "<h2>What it is made of</h2>",
        _picture(
            target / "features.png",
            "Bars of importance, and halved violins of plastic and other atoms.",
            _of_features(told),
        ),
        _leading(told),
        _picture(
            target / "dependence.png",
            "Two curves over histograms, and filled contours with markers.",
            _of_dependence(told),
        ),
        _motifs(told),
        "<h2>Where it is</h2>",
        _picture(
            target / "slice.png",
            "The same slice twice, atoms coloured by QS and by D2min.",
            _of_slice(told),
        ),
    ]
    page = target / "report.html"
    page.write_text(
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>Quench-in softness of {name}</title><style>{STYLE}</style></head><body><main>"
        + "\n".join(parts)
        + "<p>Method: Wang, Jain, Nat. Commun. 10, 5537 (2019). Models, scores and numbers.json lie beside this page.</p></main></body></html>\n",
        encoding="utf-8",
    )
    return page


def _for_json(value: Any) -> Any:
    """Lists for arrays, null for what is no number."""
    if isinstance(value, Mapping):
        return {name: _for_json(part) for name, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _for_json(value.tolist())
    if isinstance(value, list | tuple):
        return [_for_json(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "–"


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th scope='col'>{escape(head)}</th>" for head in heads)
    body = "\n".join(
        f"<tr><th scope='row'>{escape(row[0])}</th>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _picture(path: Path, alt: str, lines: Sequence[str]) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    text = " ".join(escape(line) for line in lines if line)
    return f"<figure><img src='data:image/png;base64,{data}' alt='{escape(alt, quote=True)}'><figcaption>{text}</figcaption></figure>"


def _summary(told: Numbers) -> str:
    return (
        "<p>"
        + escape(
            f"{told['plastic']} of the {told['atoms']} atoms that count, {100 * told['base']:.1f} %, are plastic at a strain of "
            f"{100 * told['strain']:.1f} %: their D²min is above {told['threshold']:g} Å². QS is the mean of {told['draws']} models of "
            f"{told['columns']} columns, trained on {', '.join(told['train'])}; this glass was set aside. Its heterogeneity, the standard deviation "
            f"of QS, is {_number(told['spectrum']['std'])}."
        )
        + "</p>"
    )


def _scores(told: Numbers) -> list[str]:
    rows = {
        **told["metrics"],
        **{f"{name}, leading columns only": one for name, one in told["leading_metrics"].items()},
    }
    resampled = sorted(
        {
            one["resampled"] if one["groups"] is None else f"{one['groups']} {one['resampled']}"
            for one in rows.values()
        }
    )
    notes = sorted({one["note"] for one in rows.values() if one["note"]})
    caption = f"Scores on the glass set aside; intervals by resampling {' and '.join(resampled)}{''.join(f'; {note}' for note in notes)}"
    table = _table(
        caption,
        ("score", "value", "low", "high", "level"),
        (
            (
                name,
                _number(one["value"]),
                _number(one["low"]),
                _number(one["high"]),
                f"{100 * one['level']:g} %",
            )
            for name, one in rows.items()
        ),
    )
    names = list(next(iter(told["baselines"].values()), {}))
    guesses = _table(
        "Guesses that have not seen the structure",
        ("guess", *names),
        (
            (kind.replace("_", " "), *(_number(scores[name]["value"]) for name in names))
            for kind, scores in told["baselines"].items()
        ),
    )
    if not told["folds"]:
        return [table, guesses]
    folds = (f"fold {k}" for k in range(1, len(told["folds"]) + 1))
    inner = _table(
        "Cross-validation on the training glasses",
        ("fold", "roc_auc"),
        zip(folds, map(_number, told["folds"]), strict=True),
    )
    return [table, guesses, inner]


def _of_scores(told: Numbers) -> list[str]:
    spread, given, predicted, turning = (
        told[name] for name in ("spectrum", "conditional", "predicted", "at_yield")
    )
    lines = [
        f"(a) QS of {spread['atoms']} atoms has a mean of {_number(spread['mean'])} and a standard deviation of {_number(spread['std'])}.",
        f"(b) P(plastic | QS) with standard errors is {_number(given['hardest_ratio'], 2)} times P(plastic) in the hardest bin of at least "
        f"{given['fewest']} atoms and {_number(given['softest_ratio'], 2)} times in the softest.",
    ]
    if len(predicted["share"]):
        lines.append(
            f"(c) QS is above 0.5 for {100 * predicted['share'][0]:.0f} % of the atoms in the lowest tenth of D²min and for "
            f"{100 * predicted['share'][-1]:.0f} % in the highest; points are medians, bars across span a tenth."
        )
    some = np.flatnonzero(turning["count"] >= turning["fewest"])
    if len(some):
        start, end = (
            f"{_number(turning['score'][k], 2)} at a strain of {100 * turning['strain'][k]:.2f} %"
            for k in (some[0], some[-1])
        )
        lines.append(
            f"(d) Mean QS of the atoms that turn plastic, where at least {turning['fewest']} do: {start} and {end}."
        )
    classes = told["extremes"]
    if classes:
        sizes = ", ".join(f"{_number(one['dimension'], 2)} {name}" for name, one in classes.items())
        lines.append(f"(e) Slope D of the mass-radius relation: {sizes}; 3 is an even spread.")
        near = " and ".join(
            f"{_number(classes[name]['near_ratio'], 2)} times ({name})"
            for name in ("softest", "hardest")
            if name in classes
        )
        lines.append(
            f"(f) Within {told['rdf']['near']:.1f} Å an atom of a class has {near} as many of its own class around it as if the class were "
            "drawn at random."
        )
    return lines


def _softest(told: Numbers) -> str:
    given = told["conditional"]
    rows = [
        (_number(s, 3), str(n), _number(p), _number(e), _number(r, 2))
        for s, n, p, e, r in zip(
            *(given[k] for k in ("score", "count", "probability", "error", "ratio")), strict=True
        )
        if n >= given["fewest"]
    ]
    return _table(
        f"P(plastic | QS) against P(plastic) = {_number(given['base'])}",
        ("middle of the bin", "atoms", "P(plastic | QS)", "standard error", "ratio"),
        rows,
    )


def _classes(told: Numbers) -> str:
    rows = [
        (
            name,
            one["rule"],
            str(one["atoms"]),
            _number(one["dimension"]),
            _number(one["dimension_error"]),
            _number(one["near_ratio"], 2),
        )
        for name, one in told["extremes"].items()
    ]
    caption = "Mass-radius dimension; the error is of a straight line through points that are not independent, so it is too small"
    return _table(
        caption, ("class", "rule", "atoms", "D", "error", "own class near, over random"), rows
    )


def _of_features(told: Numbers) -> list[str]:
    first = told["leading"][:1]
    text = [
        f"(a) Leading columns by {told['importance']}: {', '.join(short(row['column']) for row in told['leading'][:5])}.",
        "(b) Densities of plastic and other atoms from the 1st to the 99th percentile of all, in deviations from the mean of all, clipped there; "
        "seen up to 3. "
        "Lines across are medians, lines along span the quartiles.",
    ]
    if not first:
        return text
    plastic, other = (
        _number(told["violins"][0][f"{name}_quartiles"][1], 2) for name in ("plastic", "other")
    )
    return [
        *text,
        f"The median of {short(first[0]['column'])} is {plastic} for plastic and {other} for other atoms; alone it has an AUC of "
        f"{_number(first[0]['roc_auc_alone'])}.",
    ]


def _leading(told: Numbers) -> str:
    rows = [
        (
            f"{k}. {row['column']}",
            row["units"],
            f"{100 * row['importance']:.1f} %",
            f"{row['median_plastic']:.4g}",
            f"{row['median_other']:.4g}",
            _number(row["roc_auc_alone"]),
        )
        for k, row in enumerate(told["leading"], 1)
    ]
    heads = (
        "column",
        "unit",
        "importance",
        "median, plastic",
        "median, other",
        "AUC of the column alone",
    )
    return _table(
        f"Leading columns, most important first; importance is the share of the {told['importance']}",
        heads,
        rows,
    )


def _of_dependence(told: Numbers) -> list[str]:
    lines = []
    for letter, one in zip("ab", told["dependence"]["alone"], strict=False):
        lines.append(
            f"({letter}) Setting {short(one['column'])} to {one['value'][0]:.3g} in all atoms gives a mean QS of {_number(one['qs'][0], 2)}, to "
            f"{one['value'][-1]:.3g} {_number(one['qs'][-1], 2)}."
        )
    if lines:
        lines.append("Grey: standard deviation among the models; below: the atoms by their value.")
    together = told["dependence"]["together"]
    if together:
        lines.append(
            f"(c) Both together, from {_number(together['qs'].min(), 2)} to {_number(together['qs'].max(), 2)}; their correlation is "
            f"{_number(together['correlation'], 2)}. Small markers are atoms drawn at random, large ones medians of all atoms of a kind. "
            "Where no marker is, the models were asked about atoms that hardly occur."
        )
    return (
        [*lines, f"Means over {told['dependence']['samples']} atoms drawn at random."]
        if lines
        else lines
    )


def _motifs(told: Numbers) -> str:
    rows = [
        (
            name,
            str(one["atoms"]),
            _number(one["qs"]),
            _number(one["plastic_share"]),
            _number(one["plastic_share"] / told["base"], 2),
        )
        for name, one in told["motifs"].items()
        if name != "plastic"
    ]
    return _table(
        "Voronoi motifs of the undeformed glass",
        ("motif", "atoms", "mean QS", "P(plastic | motif)", "over P(plastic)"),
        rows,
    )


def _of_slice(told: Numbers) -> list[str]:
    return [
        "(a) QS of the undeformed glass and (b) D²min, both at the undeformed places, in the middle 6 Å of the cell.",
        f"Rings are atoms that are plastic at a strain of {100 * told['strain']:.1f} %. Grey or empty marks: atoms that do not count.",
    ]
