"""The report of a barcode study: one page with its figures, tables and numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._version import __version__
from mgdask.report.page import Block, Figure, Page, Section, Text
from mgdask.studies.barcode.captions import (
    BARCODE,
    CITATION,
    SCORE_CAPTION,
    SLAB_CAPTION,
    accuracy_caption,
    correlation_caption,
    environment_caption,
    error_caption,
    heterogeneity_caption,
    importance_caption,
    map_caption,
    prediction_caption,
    shown_models,
    sums_caption,
    verdict,
)
from mgdask.studies.barcode.figures import (
    draw_accuracy,
    draw_correlation,
    draw_environments,
    draw_errors,
    draw_group_sums,
    draw_heterogeneity,
    draw_importance,
    draw_prediction,
    draw_sample_groups,
    draw_scores,
    draw_similarity_map,
)
from mgdask.studies.barcode.report_data import Predicted, ReportData, read_report_data, read_samples
from mgdask.studies.barcode.tables import element_table, paper_table, score_table
from mgdask.studies.results import about_rows

if TYPE_CHECKING:
    from mgdask.studies.barcode.report_data import Sample

SHOWN_SETS = ("test", "test_size", "driven")
"""Sets of samples whose scores are shown, in this order."""
N_BARCODES = 3
"""Barcodes beside the predicted energies: lowest, median and highest energy."""


def barcode_report(
    folder: str | Path, about: Sequence[tuple[str, str]] | None = None, *, seed: int = 0
) -> Path:
    """Draw the figures of a study, and write its page.

    Parameters
    ----------
    folder
        Folder with the results of the study; see ``read_report_data``. Figures and
        ``report.html`` are written to it. Sections without results are left out.
    about
        Label and text of each line below the title. Default: version and seed.
    seed
        Seed of the study, for the default of ``about``.

    Returns
    -------
    path
        Path of ``report.html``.

    References
    ----------
    Liu C. et al., Acta Mater. 259, 119281 (2023).

    Examples
    --------
    >>> barcode_report("barcode/barcode")  # doctest: +SKIP
    """
    source = Path(folder)
    lines = list(about_rows(__version__, "", seed, {}, {}) if about is None else about)
    page = barcode_page(read_report_data(source), source, lines, read_samples(source))
    return page.save(source / "report.html")


def barcode_page(
    data: ReportData,
    folder: str | Path,
    about: Sequence[tuple[str, str]] = (),
    samples: Sequence[Sample] = (),
) -> Page:
    """Draw the figures into a folder, and return the page that shows them.

    Parameters
    ----------
    data
        Results of the study.
    folder
        Folder for the figures.
    about
        Label and text of each line below the title.
    samples
        Samples whose atoms are shown in the color of their group.

    Returns
    -------
    page
        The page, not yet written.
    """
    target = Path(folder)
    sections = [
        Section("", _first(data)),
        *_predictions(data, target),
        *_elements(data, target),
        *_heterogeneity(data, target, samples),
        *_appendix(data, target),
    ]
    return Page(
        "The barcode of a glass",
        sections,
        footer=f"Method and figure numbers: {CITATION}. Models, scores, predictions, elements "
        "and environments are in the folder barcode.",
        about=about,
    )


def _figure(path: Path, draw: Callable[[Path], None], alt: str, caption: Sequence[str]) -> Figure:
    draw(path)
    return Figure.read(path, alt, caption)


def _first(data: ReportData) -> list[Block]:
    scores = data.pooled_scores()
    sets = [name for name in SHOWN_SETS if any(one["set"] == name for one in scores)]
    return [
        Text([*verdict(data), BARCODE]),
        *(score_table(scores, name) for name in sets),
        paper_table(data),
    ]


def _predictions(data: ReportData, target: Path) -> list[Section]:
    tested = data.of_set("test")
    if not tested:
        return []
    shown = shown_models(tested) or tested[:1]
    names = [one.model for one in shown]
    larger = [one for one in data.of_set("test_size") if one.model in names]
    larger.sort(key=lambda one: names.index(one.model))
    some = representative_barcodes(data)
    groups = np.array([one["polyhedron"]["group"] for one in data.element_list], dtype=np.float64)
    scores = [one for one in data.pooled_scores() if one["set"] in SHOWN_SETS]
    return [
        Section(
            "Predicted energies (Fig. 2)",
            [
                _figure(
                    target / "prediction.png",
                    lambda path: draw_prediction(shown, larger, some, groups, path),
                    "Predicted against true energies of three models beside a dotted diagonal"
                    + (", and three barcodes with two groups of bars." if some else "."),
                    prediction_caption(shown, larger, len(some)),
                ),
                _figure(
                    target / "scores.png",
                    lambda path: draw_scores(scores, path),
                    "RMSE and R² of every model as points with intervals, one row per model.",
                    [SCORE_CAPTION],
                ),
            ],
        )
    ]


def representative_barcodes(data: ReportData) -> list[Mapping[str, Any]]:
    """Select samples of the lowest, the median and the highest energy.

    Parameters
    ----------
    data
        Results of the study.

    Returns
    -------
    samples
        ``energy`` (eV), ``name`` and ``values`` (element,) of each. They are test
        samples if the study has their barcodes, and training samples otherwise.
    """
    tested = data.of_set("test")
    if not tested or not data.barcodes or not data.element_list:
        return []
    runs = set(tested[0].run.tolist())
    sizes = np.asarray(data.barcodes["n_atoms"], dtype=np.float64)
    energy = sizes * np.asarray(data.barcodes["energy"], dtype=np.float64)
    tested_rows = [k for k, run in enumerate(data.barcodes["run"]) if run in runs]
    rows = [k for k in tested_rows or range(len(energy)) if np.isfinite(energy[k])]
    if not rows:
        return []
    order = sorted(rows, key=lambda k: float(energy[k]))
    places = np.unique(np.linspace(0, len(order) - 1, N_BARCODES).round().astype(int))
    return [
        {
            "energy": float(energy[order[k]]),
            "name": str(data.barcodes["run"][order[k]]),
            "values": np.asarray(data.barcodes["values"][order[k]], dtype=np.float64),
        }
        for k in places
    ]


def _elements(data: ReportData, target: Path) -> list[Section]:
    elements, blocks = data.element_list, list[Block]()
    if not elements:
        return []
    if len(data.clusters) == len(elements):
        blocks.append(
            _figure(
                target / "environments.png",
                lambda path: draw_environments(data.clusters, elements, path),
                f"{len(elements)} clusters of atoms around yellow polyhedra, in two groups.",
                environment_caption(elements, str(data.elements.get("convention", ""))),
            )
        )
    blocks += [
        _figure(
            target / "correlation.png",
            lambda path: draw_correlation(elements, path),
            "Correlation of each element with the energy, with error bars around zero.",
            correlation_caption(elements),
        ),
        element_table(elements),
    ]
    if data.embedding:
        embedding = data.embedding
        blocks.append(
            _figure(
                target / "map.png",
                lambda path: draw_similarity_map(
                    np.array(embedding["coordinates"], dtype=np.float64),
                    np.array(embedding["correlation"], dtype=np.float64),
                    np.array(embedding["species"], dtype=np.int64),
                    np.flatnonzero(np.asarray(embedding["element"])),
                    path,
                ),
                "Scattered points colored from dark to bright by correlation, some with rings.",
                map_caption(embedding),
            )
        )
    return [Section("Elements of the barcode (Figs. 3 and 4)", blocks)]


def _heterogeneity(data: ReportData, target: Path, samples: Sequence[Sample]) -> list[Section]:
    sections = []
    comparisons = data.heterogeneity.get("comparisons", ())
    # why a driven set is not compared, in words
    left_out = [str(reason) for reason in data.heterogeneity.get("left_out", ())]
    blocks: list[Block] = [Text(left_out)] if left_out else []
    if comparisons:
        blocks.insert(
            0,
            _figure(
                target / "heterogeneity.png",
                lambda path: draw_heterogeneity(comparisons, path),
                "Barcodes of pairs of sets, ratios near one, and standard deviations by group.",
                heterogeneity_caption(comparisons),
            ),
        )
    if blocks:
        sections.append(Section("Structural heterogeneity (Fig. 6)", blocks))
    if data.group_sums:
        blocks = [
            _figure(
                target / "group_sums.png",
                lambda path: draw_group_sums(data.group_sums, data.voronoi, path),
                "Sums of fractions against energy, two mirrored bands and one falling band.",
                sums_caption(data.group_sums, data.voronoi),
            )
        ]
        sections.append(Section("Sums of fractions (Fig. 7)", blocks))
    if samples:
        blocks = [
            _figure(
                target / "slab.png",
                lambda path: draw_sample_groups(samples, path),
                "Slabs of atoms in two colors among many pale ones.",
                [SLAB_CAPTION],
            )
        ]
        sections.append(Section("Where the elements are", blocks))
    return sections


def _appendix(data: ReportData, target: Path) -> list[Section]:
    blocks: list[Block] = []
    rows = data.accuracy.get("rows", ())
    if rows:
        blocks.append(
            _figure(
                target / "accuracy.png",
                lambda path: draw_accuracy(rows, path),
                "Errors against the number of ULEs, with horizontal lines for baselines.",
                accuracy_caption(rows),
            )
        )
    if len(data.shap) and float(np.max(data.shap)) > 0:
        n = len(data.element_list) or min(40, len(data.shap))
        blocks.append(
            _figure(
                target / "importance.png",
                lambda path: draw_importance(data.shap, n, path),
                "Falling values over the rank of a ULE, and their histogram.",
                importance_caption(data.shap, n),
            )
        )
    sets = error_sets(data)
    if sets:
        blocks.append(
            _figure(
                target / "errors.png",
                lambda path: draw_errors(sets, path),
                "Histograms of errors around zero, one panel per model.",
                error_caption(sets),
            )
        )
    return [Section("Accuracy and importance (Figs. A1 to A3)", blocks)] if blocks else []


def error_sets(data: ReportData) -> list[list[Predicted]]:
    """Return the predictions whose errors are shown: the mean and the models of Fig. 2.

    Parameters
    ----------
    data
        Results of the study.

    Returns
    -------
    sets
        The same models in the same order, for the test samples and for those of another
        size.
    """
    tested = data.of_set("test")
    mean = [one for one in tested if one.model == "mean"]
    models = dict.fromkeys(one.model for one in [*mean, *shown_models(tested)])
    sets = []
    for name in ("test", "test_size"):
        found = {one.model: one for one in data.of_set(name)}
        if models and all(model in found for model in models):
            sets.append([found[model] for model in models])
    return sets
