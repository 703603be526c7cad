"""The report of a softness study: one page with its figures, tables and numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mgdask._renamed import renamed_arguments
from mgdask._version import __version__
from mgdask.report.json import write_json
from mgdask.report.page import Figure, Page, Section, Table, Text
from mgdask.studies.results import Results, about_rows
from mgdask.studies.softness.captions import (
    COLUMNS,
    calibration_caption,
    column_caption,
    dependence_caption,
    prediction_caption,
    score_caption,
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
from mgdask.studies.softness.simple_model import pooled_simple_text
from mgdask.studies.softness.tables import (
    class_table,
    column_table,
    glass_table,
    motif_table,
    probability_table,
    score_tables,
    summary,
)
from mgdask.studies.softness.training import Softness
from mgdask.studies.stages import describe_input

Numbers = Mapping[str, Any]

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
    about: Sequence[tuple[str, str]] | None = None,
) -> Path:
    """Write the report on a held-out glass.

    The page is self-contained and has five figures. Panels follow the paper:

    * ``prediction.png``, Fig. 2: the D² map of a slice with the atoms with QS > 0.5,
      and the fraction predicted as plastic against D²;
    * ``softness.png``, Fig. 3: distribution of QS; P(plastic|QS); M(r) and g(r) of the
      hardest and softest atoms; their interstices; QS of the atoms activated at each
      strain; QS of several glasses;
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
        Folder for ``report.html``, the figures and ``numbers.json``. The latter is the
        result of ``softness_numbers`` with null for NaN. The folder is created if
        missing.
    groups, spectra, ceiling
        See ``softness_numbers``.
    seed
        Seed of the resamples, and of the atoms drawn for partial dependence and as
        markers.
    about
        Label and text of each line below the title. Default: version, seed and data.

    Returns
    -------
    path
        Path of ``report.html``.

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
    if about is None:
        train = ", ".join(softness.train)
        about = [
            *about_rows(__version__, "", seed, {}, {}),
            ("train", train),
            ("test", f"{glass.name}: {describe_input(Path(glass.store))}"),
        ]
    numbers["about"] = [list(row) for row in about]
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
        The page, which is not saved yet.

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
            Section("", [summary(numbers), *score_tables(numbers)]),
            Section(
                "Predicting plastic atoms (Fig. 2)",
                [
                    figure(
                        "prediction.png",
                        "Filled contours of D² with white rings on top, and fractions with "
                        "error bars.",
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
                    probability_table(numbers),
                    class_table(numbers),
                    glass_table(numbers),
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
                    column_table(numbers),
                    figure(
                        "dependence.png",
                        "Filled contours with markers of three kinds of motifs.",
                        dependence_caption(numbers),
                    ),
                    motif_table(numbers),
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
        "Models, scores and numbers.json are in the folder softness.",
        about=[(label, text) for label, text in numbers.get("about", ())],
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
    pooled = pooled_simple_text(results.metrics)
    about = Text(
        [
            *([f"All test glasses together: {pooled}"] if pooled else []),
            f"The same models, trained on {', '.join(numbers[0]['train'])}, are tested on "
            f"{len(numbers)} glasses: {names}. Pooled scores are computed over all their "
            "atoms. Intervals come from resampling regions of the glasses.",
        ]
    )
    tables = [
        block
        for section in overview.sections
        for block in section.blocks
        if isinstance(block, Table)
    ]
    sections = [Section("", [about, *tables, glass_table(numbers[0])])]
    for one, folder in zip(numbers, folders, strict=True):
        page = softness_page(one, folder)
        sections += [
            Section(": ".join(filter(None, (page.title, section.heading))), section.blocks)
            for section in page.sections
        ]
    return Page(
        "Quench-in softness of several glasses", sections, overview.footer, about=overview.about
    )


def read_numbers(path: str | Path) -> dict[str, Any]:
    """Read ``numbers.json`` back to the numbers of a report.

    Parameters
    ----------
    path
        File written by ``softness_report``.

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
