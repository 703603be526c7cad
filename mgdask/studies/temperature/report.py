"""The report of a temperature study: one page with its figures, tables and numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from mgdask._version import __version__
from mgdask.report.page import Block, Figure, Page, Section, Text
from mgdask.studies.results import about_rows
from mgdask.studies.temperature.captions import (
    CIRCULAR,
    MEANING,
    applied_put_in_caption,
    averaging_caption,
    classes_caption,
    composition_caption,
    control_caption,
    correlation_caption,
    creep_caption,
    distances_caption,
    distribution_caption,
    map_caption,
    neighbor_caption,
    polyhedra_caption,
    put_in_caption,
    thermometer_caption,
    validation_caption,
    verdict,
    weights_caption,
)
from mgdask.studies.temperature.figures import (
    draw_applied_put_in,
    draw_averaging,
    draw_classes,
    draw_composition,
    draw_control,
    draw_creep,
    draw_distributions,
    draw_lag_correlations,
    draw_maps,
    draw_neighbor_curve,
    draw_pair_distances,
    draw_polyhedra,
    draw_put_in,
    draw_thermometer,
    draw_validation,
    draw_weights,
)
from mgdask.studies.temperature.figures.looks import CITATION
from mgdask.studies.temperature.report_data import ReportData, read_report_data
from mgdask.studies.temperature.tables import (
    distribution_table,
    excess_table,
    model_table,
    paper_table,
    thermometer_table,
    validation_table,
)


def temperature_report(
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
    Liu X. et al., J. Mater. Inf. 2, 20 (2022).

    Examples
    --------
    >>> temperature_report("out/temperature")  # doctest: +SKIP
    """
    source = Path(folder)
    lines = list(about_rows(__version__, "", seed, {}, {}) if about is None else about)
    return temperature_page(read_report_data(source), source, lines).save(source / "report.html")


def temperature_page(
    data: ReportData, folder: str | Path, about: Sequence[tuple[str, str]] = ()
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

    Returns
    -------
    page
        The page, not yet written.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    sections = [
        Section("", _first(data)),
        *_section("Validation", _validation(data, target)),
        *_section("Machine-learned temperature in creep (Figs. 2 and 3)", _motion(data, target)),
        *_section("Liquid-like and solid-like atoms (Figs. 4 and 5)", _structure(data, target)),
        *_section("Classes, lags and neighbors (Supplementary)", _training(data, target)),
    ]
    return Page(
        "Machine-learned temperature",
        sections,
        footer=f"Method and figure numbers: {CITATION}. Results are in the folder temperature. "
        "T_ML of every atom is in the stores in t_ml.",
        about=about,
    )


def _section(heading: str, blocks: Sequence[Block]) -> list[Section]:
    return [Section(heading, blocks)] if blocks else []


def _first(data: ReportData) -> list[Block]:
    tables: list[Block] = [
        validation_table(scheme, rows) for scheme, rows in data.schemes().items()
    ]
    comparison = paper_table(data)
    if comparison.rows:
        tables.append(comparison)
    return [Text([*verdict(data), MEANING, CIRCULAR]), *tables]


def _figure(path: Path, draw: Callable[[Path], None], alt: str, caption: Sequence[str]) -> Figure:
    draw(path)
    return Figure.read(path, alt, caption)


def _validation(data: ReportData, target: Path) -> list[Block]:
    blocks: list[Block] = []
    if data.thermometers:
        blocks += [
            _figure(
                target / "thermometer.png",
                partial(draw_thermometer, data.thermometers),
                "Mean machine-learned temperature against the temperature of the run with a "
                "diagonal, one panel per species.",
                thermometer_caption(data.thermometers, data.training),
            ),
            thermometer_table(data.thermometers),
        ]
    schemes = data.schemes()
    if schemes:
        blocks.append(
            _figure(
                target / "validation.png",
                partial(draw_validation, schemes),
                "Errors of every model as points with intervals, one row per model and one panel "
                "per scheme.",
                validation_caption(schemes, data.training),
            )
        )
    if data.averaging is not None:
        blocks.append(
            _figure(
                target / "averaging.png",
                partial(draw_averaging, data.averaging),
                "Error against the radius over which motion is averaged.",
                averaging_caption(data.averaging, data.training),
            )
        )
    if data.put_in is not None:
        blocks.append(
            _figure(
                target / "put_in.png",
                partial(draw_put_in, data.put_in),
                "Mean machine-learned temperature against the temperature put into the feature, "
                "one falling curve per run, with a diagonal.",
                put_in_caption(data.put_in, data.training),
            )
        )
    if data.notes:
        blocks.append(Text(data.notes))
    if data.control:
        blocks.append(
            _figure(
                target / "control.png",
                partial(draw_control, data.control),
                "Explained variance of each model after shuffling, as points near a line at zero.",
                control_caption(data.control, data.training),
            )
        )
    return blocks


def _motion(data: ReportData, target: Path) -> list[Block]:
    blocks: list[Block] = []
    if data.creep or data.stress_strain:
        blocks.append(
            _figure(
                target / "creep.png",
                lambda path: draw_creep(data.creep, path, data.stress_strain),
                "Creep strain against time with a shaded steady stage.",
                creep_caption(data.creep, data.volume),
            )
        )
    if data.distributions:
        blocks += [
            _figure(
                target / "distribution.png",
                lambda path: draw_distributions(data.distributions, path, data.glass_temperature),
                "Histograms of the machine-learned temperature with Gaussian peaks, one panel per "
                "form of the feature.",
                distribution_caption(data.distributions, data.glass_temperature, data.peaks),
            ),
            distribution_table(data.distributions, data.glass_temperature),
        ]
    if data.excess:
        blocks.append(excess_table(data.excess))
    if data.applied_put_in:
        blocks.append(
            _figure(
                target / "put_in_applied.png",
                partial(draw_applied_put_in, data.applied_put_in),
                "Mean machine-learned temperature against the temperature put into the feature, "
                "one curve per applied run, with a diagonal.",
                applied_put_in_caption(data.applied_put_in),
            )
        )
    for k, one in enumerate(data.slab_maps):
        blocks.append(
            _figure(
                target / f"maps{_number(k)}.png",
                partial(draw_maps, one),
                "Slices of atoms colored by machine-learned temperature and by non-affine "
                "displacement.",
                map_caption(one),
            )
        )
    if data.correlations:
        blocks.append(
            _figure(
                target / "correlation.png",
                partial(draw_lag_correlations, data.correlations),
                "Correlation against lag for both forms of the feature, with the paper's values "
                "as lines.",
                correlation_caption(data.correlations),
            )
        )
    if data.models:
        blocks.append(model_table(data.models))
    if data.application_notes:
        blocks.append(Text(data.application_notes))
    return blocks


def _number(k: int) -> str:
    return "" if k == 0 else f"_{k + 1}"


def _structure(data: ReportData, target: Path) -> list[Block]:
    blocks: list[Block] = []
    for k, one in enumerate(data.structures):
        if one.polyhedra:
            blocks.append(
                _figure(
                    target / f"polyhedra{_number(k)}.png",
                    partial(draw_polyhedra, one),
                    "Columns that end in bubbles for each polyhedron, and the same bubbles against "
                    "local five-fold symmetry.",
                    polyhedra_caption(one),
                )
            )
        if one.composition and one.coordination and one.order:
            blocks.append(
                _figure(
                    target / f"composition{_number(k)}.png",
                    partial(draw_composition, one),
                    "Bars of the composition, points of the change in coordination number, and a "
                    "matrix of element pairs with signs.",
                    composition_caption(one),
                )
            )
    if data.distances is not None:
        blocks.append(
            _figure(
                target / "rdf.png",
                partial(draw_pair_distances, data.distances),
                "Partial radial distribution functions, each with a dashed line at its cutoff.",
                distances_caption(data.distances),
            )
        )
    return blocks


def _training(data: ReportData, target: Path) -> list[Block]:
    blocks: list[Block] = []
    if data.clusters is not None:
        blocks.append(
            _figure(
                target / "classes.png",
                partial(draw_classes, data.clusters),
                "Bars of the number of clusters labeled with each temperature.",
                classes_caption(data.clusters),
            )
        )
    if data.weights is not None:
        blocks.append(
            _figure(
                target / "weights.png",
                partial(draw_weights, data.weights),
                "Weights against lag on a logarithmic axis, with a vertical line at the knee.",
                weights_caption(data.weights),
            )
        )
    if data.neighbor_curve is not None:
        blocks.append(
            _figure(
                target / "k_curve.png",
                partial(draw_neighbor_curve, data.neighbor_curve),
                "Error against the number of neighbors, with a marker at the selected number.",
                neighbor_caption(data.neighbor_curve),
            )
        )
    return blocks
