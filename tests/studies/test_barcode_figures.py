"""Figures and page of the barcode study from a made-up folder: what is marked, labeled, counted and said."""

from __future__ import annotations

import base64
import csv
import doctest
import json
import re

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PatchCollection

from mgdask.errors import StoreError
from mgdask.plot.style import save
from mgdask.studies.barcode import captions, report
from mgdask.studies.barcode.description import VoronoiBaseline
from mgdask.studies.barcode.elements import Barcodes, ElementTable
from mgdask.studies.barcode.embedding import SimilarityMap
from mgdask.studies.barcode.figures import accuracy, elements, heterogeneity, looks, prediction
from mgdask.studies.barcode.group_sums import GroupSums
from mgdask.studies.barcode.heterogeneity import Heterogeneity
from mgdask.studies.barcode.report_data import read_predictions, read_report_data
from tests.plot.boxes_of_text import overlapping
from tests.studies.barcode_folder import KASPER, MODELS, make_folder
from tests.studies.test_softness_report import Page

FIGURES = {
    "prediction": 4, "scores": 2, "environments": 8, "correlation": 1, "map": 2, "heterogeneity": 5,
    "group_sums": 2, "slab": 1, "accuracy": 2, "importance": 1, "errors": 4,
}  # fmt: skip
"""Figures in the order of the page, with their numbers of axes besides insets."""
N = 6


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The folder of a report, and its figures by name."""
    folder = make_folder(tmp_path_factory.mktemp("barcode"), n_elements=N)
    figures = {}

    def keep(fig, path):
        figures[path.stem] = fig
        return save(fig, path, dpi=40)

    with pytest.MonkeyPatch.context() as patch:
        for module in (accuracy, elements, heterogeneity, prediction):
            patch.setattr(module, "save", keep)
        report.barcode_report(folder, [("seed", "7")])
    return folder, figures


@pytest.fixture(scope="module")
def figures(drawn):
    return drawn[1]


@pytest.fixture(scope="module")
def folder(drawn):
    return drawn[0]


@pytest.fixture(scope="module")
def page(folder):
    return Page((folder / "report.html").read_text())


def entries(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_examples():
    for module in (captions, looks):
        assert doctest.testmod(module).failed == 0


def test_no_picture_is_missing(folder, page):
    assert page.open == []
    pictures = [base64.b64decode(source.split(",", 1)[1]) for source, _ in page.pictures]
    assert pictures == [(folder / f"{name}.png").read_bytes() for name in FIGURES]
    assert all(len(alt) > 40 for _, alt in page.pictures)
    assert all(link.startswith("data:") for link in page.links)


def test_axes_are_labeled_with_units_and_no_text_lies_over_another(figures):
    for name, n_axes in FIGURES.items():
        assert len(figures[name].axes) == n_axes, name
        assert overlapping(figures[name]) == [], name
    for name, (x, y) in {
        "scores": ("RMSE (meV per atom), 95 % over runs", ""),
        "correlation": ("element $i$", "Pearson correlation of $s_i$\nwith the energy per atom"),
        "group_sums": ("energy (eV per atom)", "sum of fractions in the barcode"),
        "slab": ("x (Å)", "y (Å)"),
        "accuracy": ("ULEs in the dictionary", "RMSE on held-out coolings (eV per sample)"),
        "importance": ("rank of the ULE", "mean |SHAP| (eV per sample)"),
        "errors": ("predicted minus true energy (eV per sample)", "density (1/eV)"),
    }.items():
        axes = figures[name].axes[0]
        assert (axes.get_xlabel(), axes.get_ylabel()) == (x, y), name


def test_predictions_of_the_paper_the_best_baseline_and_our_best(figures, folder):
    """Fig. 2: the file's numbers, an inset of the other size, and three barcodes."""
    axes = figures["prediction"].axes[0]
    lines = {line.get_label().partition(":")[0]: line for line in axes.lines}
    with (folder / "predictions.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["set"] == "test"]
    for model in ("boosted trees, 40 ULEs", "soft assignment, kernel ridge"):
        true, told = (
            [float(row[name]) for row in rows if row["model"] == model]
            for name in ("energy", "predicted")
        )
        assert lines[model].get_xdata().tolist() == true
        assert lines[model].get_ydata().tolist() == told
        error = np.sqrt(np.mean(np.subtract(told, true) ** 2))
        assert lines[model].get_label() == f"{model}: {error:.2f} eV"
    assert len(lines) == 4  # the best of four baselines, and the diagonal
    (inset,) = axes.child_axes
    assert inset.get_title() == "4000 atoms"
    assert axes.get_xlim() == axes.get_ylim()
    barcodes = figures["prediction"].axes[1:4]
    energies = sorted({float(row["energy"]) for row in rows})
    shown = [float(bars.get_title(loc="right").split()[0].replace("−", "-")) for bars in barcodes]
    assert shown[0] == pytest.approx(energies[0], abs=0.06)
    assert shown[-1] == pytest.approx(energies[-1], abs=0.06)
    for bars in barcodes:
        heights = [bar.get_height() for bar in bars.patches]
        assert len(heights) == N
        assert sum(heights) == pytest.approx(1.0)
        hatched = [bool(bar.get_hatch()) for bar in bars.patches]
        assert hatched == [False] * 4 + [True] * 2  # the groups differ without colors


def test_every_model_has_a_row_with_the_papers_lines(figures):
    left = figures["scores"].axes[0]
    assert [text.get_text() for text in left.get_yticklabels()] == list(MODELS)
    at = [line.get_xdata()[0] for line in left.lines if str(line.get_label()).startswith("paper")]
    assert at == pytest.approx([0.48815, 1.1812])
    assert "paper, 40 ULEs" in entries(figures["scores"])


def test_environments_are_grouped_by_their_kernels(figures):
    """Fig. 3: groups, indices, and a polyhedron that has the Voronoi neighbors as corners."""
    axes = figures["environments"].axes
    heads = [text.get_text() for one in axes for text in one.texts]
    assert heads == ["group 1, Kasper kernel: 4 elements", "group 2, non-Kasper kernel: 2 elements"]
    pictures = [one for one in axes if one.get_title()]
    titles = [one.get_title() for one in pictures]
    assert titles[0] == "$s_{1}$  Cu ⟨0,0,12,0⟩"
    assert titles[4] == "$s_{5}$  Cu ⟨1,2,5,4⟩"
    for one in pictures:
        spheres = [c for c in one.collections if isinstance(c, PatchCollection)]
        assert sum(len(c.get_paths()) for c in spheres) == 31  # center, 12 neighbors, 18 beyond
        widths = np.concatenate([c.get_linewidths() for c in spheres])
        assert sorted(set(widths)) == [0.3, 0.7, 1.8]
        assert [(widths == width).sum() for width in (0.3, 0.7, 1.8)] == [18, 12, 1]
        edges = [c for c in one.collections if isinstance(c, LineCollection)]
        assert sum(len(c.get_segments()) for c in edges) == 30  # an icosahedron by Euler's formula
    assert entries(figures["environments"])[:3] == ["Cu", "Zr", "center"]


def test_icosahedral_elements_are_marked(figures, folder):
    """Fig. 4: circles for <0,0,12,0>, with the intervals of the file."""
    axes = figures["correlation"].axes[0]
    found = json.loads((folder / "element_table.json").read_text())["elements"]
    icosahedral = [k + 1 for k, one in enumerate(found) if one["polyhedron"]["index"] == KASPER[0]]
    points = {group.get_label(): group[0] for group in axes.containers}
    circles, squares = points["⟨0,0,12,0⟩ kernel"], points["other kernel"]
    assert (circles.get_marker(), squares.get_marker()) == ("o", "s")
    assert circles.get_xdata().tolist() == icosahedral == [1, 4]
    assert circles.get_ydata().tolist() == [found[k - 1]["pearson"]["value"] for k in icosahedral]
    bar = axes.containers[0][2][0].get_segments()[0][:, 1]
    assert bar.tolist() == pytest.approx([found[0]["pearson"][end] for end in ("low", "high")])


def test_map_has_every_entry_and_rings_for_elements(figures):
    axes, bar = figures["map"].axes
    sizes = [len(one.get_offsets()) for one in axes.collections]
    assert sum(sizes[:4]) == 300
    assert sizes[0] == 1  # one entry has no correlation, so it has no color
    assert sizes[4:] == [N, N]
    assert entries(figures["map"]) == ["Cu centers", "Zr centers", "elements of the barcode"]
    assert bar.get_ylabel().startswith("Pearson correlation")


def test_heterogeneity_stands_beside_its_control(figures):
    """Fig. 6: mirrored barcodes, ratios with a line at 1, deviations in thousandths with controls."""
    up, _, ratio, deviation, strain = figures["heterogeneity"].axes
    heights = np.array([bar.get_height() for bar in up.patches])
    assert (heights[:N] >= 0).all()
    assert (heights[N:] <= 0).all()
    assert heights.sum() == pytest.approx(0.0)
    assert any(set(line.get_ydata()) == {1.0} for line in ratio.lines)
    assert {text.get_text() for text in ratio.get_xticklabels()} == {"shear_600", "shear_300"}
    means = {one.get_label(): one[0].get_ydata().tolist() for one in deviation.containers}
    assert means["group 2"] == pytest.approx([7.0, 8.0])
    assert means["group 2, thermal pairs"] == pytest.approx([5.0, 5.0])
    assert strain.containers[0][0].get_ydata().tolist() == pytest.approx(
        [0.5]
    )  # the other has none


def test_sums_shap_errors_and_atoms_are_counted(figures):
    left, right = figures["group_sums"].axes
    assert len(left.containers) == 2
    assert [text.get_text() for text in right.get_legend().get_texts()] == [
        "⟨0,0,12,0⟩, all atoms, r = −0.90",
        "⟨0,0,12,0⟩ elements, r = −0.70",
    ]
    top = {line.get_label(): line for line in figures["importance"].axes[0].lines}
    values = top[f"the {N} elements of the barcode"].get_ydata()
    assert len(values) == N
    assert (np.diff(values) <= 0).all()
    (inset,) = figures["importance"].axes[0].child_axes
    assert inset.patches[0].get_data().values.sum() == 300
    titles = [axes.get_title() for axes in figures["errors"].axes]
    assert titles[:2] == ["mean", "boosted trees, 40 ULEs"]
    assert titles[3] == "soft assignment, kernel ridge"
    assert entries(figures["errors"]) == ["2000 atoms, 16 samples", "4000 atoms, 8 samples"]
    legend = entries(figures["slab"])
    assert legend == ["no element", "group 2, non-Kasper", "group 1, Kasper", "Cu", "Zr"]
    shown = sum(len(one.get_offsets()) for one in figures["slab"].axes[0].collections)
    assert 30 < shown < 100  # 5 of 12 Å of 150 atoms
    assert "ridge on mean SOAP, 7 coolings" in entries(figures["accuracy"])
    assert "paper, 10 000 samples" in entries(figures["accuracy"])


def test_numbers_on_the_page_are_those_of_the_file(folder, page):
    rows = {tuple(row) for row in page.rows}
    scores = json.loads((folder / "scores.json").read_text())
    assert len(scores) == 2 * len(MODELS)
    roles = ["baseline"] * 4 + ["the paper's"] * 2 + ["ours"] * 2
    for one, role in zip(scores, np.repeat(roles, 2), strict=True):
        numbers = "–" if one["n_numbers"] is None else str(one["n_numbers"])
        cells = [captions.bounded(one[name]) for name in ("rmse", "rmse_per_atom")]
        r2 = [f"{one['r2'][end]:.3f}".replace("-", "−") for end in ("value", "low", "high")]
        row = (one["model"], str(role), numbers, *cells, f"{r2[0]} [{r2[1]}, {r2[2]}]")
        assert row in rows
        value = float(cells[0].split()[0])
        assert value == pytest.approx(one["rmse"]["value"], rel=6e-3)
    order = [row[0] for row in page.rows if row and row[0] in MODELS]
    assert order == [*MODELS, *MODELS]
    paper = {row[0]: row[1:3] for row in rows if len(row) == 4}
    trees = next(one for one in scores if one["model"] == "boosted trees, 40 ULEs")
    assert paper["RMSE, trees on the leading ULEs (eV per sample)"] == (
        "2.3624 (1.18 meV per atom)",
        captions.bounded(trees["rmse"]),
    )
    assert paper["elements with a Kasper kernel"] == ("25 of 40", "4 of 6")


def test_a_simple_model_that_wins_is_said_first(page, folder, tmp_path):
    first = page.captions[0]
    assert first.startswith("A simple model predicts the energy better than the boosted trees")
    assert "has the smaller error in 2 of 2 runs" in first
    assert "The energy is a sum over atoms of a smooth function" in page.captions[1]
    assert "the best is soft assignment, kernel ridge with 0." in page.captions[2]
    assert (
        "With at most 40 numbers per sample, it is smooth elements (12 numbers)" in page.captions[2]
    )
    better = {name: (0.2 if "boosted" in name else 3.0, 5) for name in list(MODELS)[:6]}
    data = read_report_data(
        make_folder(tmp_path / "trees", models=better, sizes=(2000,), n_elements=3, pictured=False)
    )
    texts = captions.verdict(data)
    assert len(texts) == 1
    assert texts[0].startswith("The boosted trees of the paper predict the energy better")


def test_only_what_the_study_has_computed_is_on_the_page(tmp_path, monkeypatch):
    folder = make_folder(tmp_path, n_elements=3, sizes=(2000,), pictured=False)
    for name in (
        "element_table",
        "barcodes",
        "group_sums",
        "voronoi",
        "heterogeneity",
        "embedding",
        "accuracy",
        "elements",
    ):
        (folder / f"{name}.json").unlink()
    for module in (accuracy, elements, heterogeneity, prediction):
        monkeypatch.setattr(module, "save", lambda fig, path: save(fig, path, dpi=20))
    page = Page(report.barcode_report(folder).read_text())
    assert len(page.pictures) == 3
    assert "nan" not in re.sub(r'base64,[^"]*', "", (folder / "report.html").read_text()).lower()
    reason = "shear_300: no sample has an energy within 0.00025 eV per atom"
    (folder / "heterogeneity.json").write_text(
        json.dumps({"comparisons": [], "left_out": [reason]})
    )
    page = Page(report.barcode_report(folder).read_text())
    assert reason in page.captions
    assert len(page.pictures) == 3
    (folder / "scores.json").unlink()
    with pytest.raises(StoreError, match=r"scores\.json is missing.*mgdask study barcode"):
        read_report_data(folder)


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("element_table", ElementTable),
        ("barcodes", Barcodes),
        ("group_sums", GroupSums),
        ("voronoi", VoronoiBaseline),
        ("heterogeneity", Heterogeneity),
        ("embedding", SimilarityMap),
    ],
)
def test_made_up_files_have_the_form_of_the_studys(folder, name, record):
    """What the figures read is what the study writes: each file is a record of its own."""
    plain = json.loads((folder / f"{name}.json").read_text())
    written = record.from_json(plain).to_json()
    assert written.keys() == plain.keys()
    assert written == plain


def test_predictions_keep_the_order_of_the_file(folder):
    found = read_predictions(folder / "predictions.csv")
    assert [one.model for one in found if one.set == "test"] == list(MODELS)
    first = found[0]
    assert (first.n_atoms == 2000).all()
    assert first.rmse == pytest.approx(
        float(np.sqrt(np.mean((first.predicted - first.energy) ** 2)))
    )
