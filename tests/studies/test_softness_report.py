"""The report of a softness study: its numbers by other ways, its page without anything missing."""

from __future__ import annotations

import base64
import doctest
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.image import imread

import mgdask
from mgdask.errors import ParameterError
from mgdask.studies.softness import figures as softness_figures
from mgdask.studies.softness import score
from mgdask.studies.softness.data import prepare_glass
from mgdask.studies.softness.report import softness_report
from mgdask.studies.softness.results import extremes, softness_numbers
from mgdask.studies.softness.training import learn_softness
from tests.studies.test_softness_training import SETTINGS, halves

FEW = {"samples": 40, "grid": 4, "markers": 15}
FIGURES = ("softness.png", "features.png", "dependence.png", "slice.png")


@pytest.fixture(scope="module")
def glasses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("halves")
    return [
        prepare_glass(store, folder / "out", margin=4.0, progress=False) for store in halves(folder)
    ]


@pytest.fixture(scope="module")
def found(glasses):
    return learn_softness(glasses[:1], glasses[1], **SETTINGS)


@pytest.fixture(scope="module")
def folder(glasses, found, tmp_path_factory):
    return softness_report(found, glasses[1], tmp_path_factory.mktemp("report")).parent


@pytest.fixture(scope="module")
def written(folder):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads((folder / "numbers.json").read_text(), parse_constant=refuse)


class Page(HTMLParser):
    """Pictures with their alternative texts, rows of tables, sentences, and elements that are still open."""

    def __init__(self, text):
        super().__init__()
        self.pictures, self.rows, self.captions, self.open, self.links = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "img":
            self.pictures.append((given["src"], given["alt"]))
        self.links += [given[name] for name in ("href", "src") if name in given]
        if tag == "tr":
            self.rows.append([])
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)
        if self.open and self.open[-1] in ("figcaption", "p"):
            self.captions.append(data)


@pytest.fixture(scope="module")
def page(folder):
    return Page((folder / "report.html").read_text())


def same(got, want):
    np.testing.assert_array_equal(np.array(got, dtype=float), np.asarray(want, dtype=float))


def test_examples():
    assert doctest.testmod(softness_figures).failed == 0


def test_numbers_are_those_of_the_scores(glasses, found, written):
    glass = glasses[1]
    there = np.isfinite(found.qs)
    qs, d2min = found.qs[there], glass.d2min()
    plastic = d2min[glass.frame][there] > glass.threshold
    assert (written["atoms"], written["plastic"]) == (there.sum(), plastic.sum())
    assert written["base"] == plastic.mean()
    told = score.spectrum(qs)
    same(written["spectrum"]["density"], told.density)
    assert written["spectrum"]["std"] == float(told["std"]) == pytest.approx(qs.std())
    told = score.conditional(qs, plastic)
    for name in ("probability", "error", "ratio", "count"):
        same(written["conditional"][name], told[name])
    some = told["count"].values >= 20
    assert written["conditional"]["softest_ratio"] == told.ratio.values[some][-1]
    assert written["conditional"]["hardest_score"] == told.score.values[some][0]
    told = score.score_at_yield(found.qs, d2min, glass.threshold)
    same(written["at_yield"]["score"], told.score)
    same(written["at_yield"]["strain"], glass.strain)
    edges = np.quantile(d2min[glass.frame][there], np.linspace(0, 1, 11))
    same(
        written["predicted"]["share"],
        score.predicted_share(qs, d2min[glass.frame][there], edges=edges).share,
    )
    assert all(
        a < b < c
        for a, b, c in zip(edges[:-1], written["predicted"]["median"], edges[1:], strict=True)
    )
    assert written["metrics"]["roc_auc"] == found.metrics["roc_auc"].as_dict()
    assert (
        written["baselines"]["random"]["roc_auc"] == found.baselines["random"]["roc_auc"].as_dict()
    )
    assert written["folds"] == list(found.folds)


def test_soft_and_hard_atoms_in_space(glasses, found, written):
    frame = mgdask.open_store(glasses[1].store).isel(frame=0)
    position, side = frame.position.values, np.diag(frame.cell.values)
    pbc = frame.pbc.values
    there = np.isfinite(found.qs)
    for name in ("softest", "hardest"):
        rule, mask = extremes(found.qs)[name]
        one = written["extremes"][name]
        assert (one["rule"], one["atoms"]) == (rule, mask.sum())
        assert one["dimension"] == float(score.mass_radius(frame, mask).dimension)

        def neighbors(mask):
            apart = position[mask][:, None] - position[mask]
            apart -= np.where(pbc, np.round(apart / side), 0.0) * side
            near = np.linalg.norm(apart, axis=-1) < written["rdf"]["near"]
            return (near.sum() - mask.sum()) / mask.sum() ** 2

        assert one["near_ratio"] == pytest.approx(neighbors(mask) / neighbors(there))
    end = written["rdf"]["r"][-1]
    same(written["rdf"]["g"], score.mass_radius(frame, there, r_max=end, bins=80).g)
    same(one["g"], score.mass_radius(frame, mask, r_max=end, bins=80).g)
    assert written["extremes"]["random"]["atoms"] == written["extremes"]["softest"]["atoms"]


def test_extremes_by_hand():
    qs = np.concatenate([np.full(60, 0.8), np.full(40, 0.05), np.linspace(0.2, 0.5, 300), [np.nan]])
    found = extremes(qs)
    assert found["softest"][0] == "QS > 0.7"
    assert found["softest"][1].sum() == 60
    assert found["hardest"][0] == "hardest tenth"  # 40 are too few
    assert found["hardest"][1].sum() == 40


def test_leading_columns_and_their_halves(glasses, found, written):
    x, y, _ = glasses[1].rows()
    order = [found.columns.index(name) for name in found.leading]
    assert [row["column"] for row in written["leading"]] == list(found.leading)
    assert [row["importance"] for row in written["leading"]] == list(found.choice.importance)
    for row, k in zip(written["leading"], order, strict=True):
        a, b = x[y, k], x[~y, k]
        assert row["median_plastic"] == np.median(a)
        area = ((a[:, None] > b).sum() + 0.5 * (a[:, None] == b).sum()) / (len(a) * len(b))
        assert row["roc_auc_alone"] == pytest.approx(area)
        assert row["units"] == "1"
    for one, k in zip(written["violins"], order, strict=False):
        ends = np.quantile(x[:, k], [0.01, 0.99])
        clipped = np.clip(x[:, k], *ends)
        z, ends = (
            (x[:, k] - clipped.mean()) / clipped.std(),
            (ends - clipped.mean()) / clipped.std(),
        )
        np.testing.assert_allclose([one["value"][0], one["value"][-1]], ends)
        for name, mask in (("plastic", y), ("other", ~y)):
            some = z[mask & (z > ends[0] - 1e-9) & (z < ends[1] + 1e-9)]
            width = some.std(ddof=1) * len(some) ** -0.2  # Scott's rule
            kernel = np.exp(-0.5 * ((np.array(one["value"])[:, None] - some) / width) ** 2)
            np.testing.assert_allclose(
                one[name], kernel.sum(axis=1) / mask.sum() / (width * np.sqrt(2 * np.pi))
            )
            assert one[f"{name}_quartiles"][1] == pytest.approx(np.median(z[mask]))
    assert len(written["violins"]) == 6


def test_partial_dependence_by_a_loop(glasses, found):
    x, _, _ = glasses[1].rows()
    told = softness_numbers(found, glasses[1], **{**FEW, "samples": len(x)})["dependence"]
    one, both = told["alone"][0], told["together"]
    column, other = (found.columns.index(name) for name in both["columns"])
    for k in (0, len(one["value"]) - 1):
        changed = x.copy()
        changed[:, column] = one["value"][k]
        each = [model.predict(changed, names=found.columns).mean() for model in found.models]
        assert one["qs"][k] == pytest.approx(found.predict(changed).mean())
        assert one["deviation"][k] == pytest.approx(np.std(each))
    for i, j in ((0, 2), (3, 1)):
        changed = x.copy()
        changed[:, column], changed[:, other] = both["x"][i], both["y"][j]
        assert both["qs"][i, j] == pytest.approx(found.predict(changed).mean())
    assert (
        sum(one["count"])
        == ((x[:, column] >= one["edges"][0]) & (x[:, column] <= one["edges"][-1])).sum()
    )


def test_motifs_by_voronoi_indices(glasses, found):
    glass = glasses[1]
    x, y, atoms = glass.rows()
    frame = mgdask.open_store(glass.store).isel(frame=0)
    index = mgdask.VoronoiIndices().compute(
        frame.position.values, frame.cell.values, frame.species.values, atoms, frame.pbc.values
    )
    told = softness_numbers(found, glass, **FEW)
    first = [found.columns.index(row["column"]) for row in told["leading"][:2]]
    kasper = 2 * index[:, 1] + index[:, 2] == 12
    ico, big = (np.array([tuple(row) == (0, 0, 12, n, 0) for row in index]) for n in (0, 4))
    for name, mask in (
        ("<0,0,12,0,0>", ico),
        ("<0,0,12,4,0>", big),
        ("other Kasper", kasper & ~ico & ~big),
        ("no Kasper", ~kasper),
        ("plastic", y),
    ):
        one = told["motifs"][name]
        assert one["atoms"] == mask.sum()
        assert len(one["drawn"]) == min(15, mask.sum())
        assert {tuple(row) for row in one["drawn"]} <= {tuple(row) for row in x[mask][:, first]}
        if mask.any():
            assert one["qs"] == pytest.approx(found.qs[atoms][mask].mean())
            assert one["plastic_share"] == pytest.approx(y[mask].mean())
    assert told["motifs"]["plastic"]["plastic_share"] == 1.0
    assert told["motifs"]["other Kasper"]["atoms"] > 0


def test_page_needs_no_other_file(folder, page):
    assert page.open == []
    assert len(page.pictures) == 4
    for (source, alt), name in zip(page.pictures, FIGURES, strict=True):
        kind, data = source.split(",", 1)
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data) == (folder / name).read_bytes()
        picture = imread(io.BytesIO(base64.b64decode(data)))
        assert picture.shape[1] > 1000
        assert picture[..., :3].std() > 0.05  # not an empty sheet
        assert len(alt) > 20
    assert all(link.startswith("data:") for link in page.links)
    assert "<script" not in (folder / "report.html").read_text()


def test_tables_and_sentences_say_what_the_file_says(page, written):
    rows = {tuple(row) for row in page.rows}
    auc = written["metrics"]["roc_auc"]
    expected = [("roc_auc", *(f"{auc[name]:.3f}" for name in ("value", "low", "high")), "95 %")]
    for kind, scores in written["baselines"].items():
        values = (f"{scores[name]['value']:.3f}" for name in ("roc_auc", "recall"))
        expected.append((kind.replace("_", " "), *values))
    expected += [(f"fold {k}", f"{area:.3f}") for k, area in enumerate(written["folds"], 1)]
    auc = written["leading_metrics"]["roc_auc"]
    expected.append(
        (
            "roc_auc, leading columns only",
            *(f"{auc[name]:.3f}" for name in ("value", "low", "high")),
            "95 %",
        )
    )
    given = written["conditional"]
    for k, count in enumerate(given["count"]):
        told = (
            (
                f"{given['score'][k]:.3f}",
                str(count),
                *(f"{given[name][k]:.3f}" for name in ("probability", "error")),
            )
            if count
            else ()
        )
        assert any(row[: len(told)] == told for row in rows if told) == (count >= 20)
    for name, one in written["extremes"].items():
        numbers = (
            f"{one['dimension']:.3f}",
            f"{one['dimension_error']:.3f}",
            f"{one['near_ratio']:.2f}",
        )
        expected.append((name, one["rule"], str(one["atoms"]), *numbers))
    for k, one in enumerate(written["leading"], 1):
        medians = (
            f"{one['median_plastic']:.4g}",
            f"{one['median_other']:.4g}",
            f"{one['roc_auc_alone']:.3f}",
        )
        expected.append(
            (f"{k}. {one['column']}", "1", f"{100 * one['importance']:.1f} %", *medians)
        )
    for name, one in written["motifs"].items():
        if name != "plastic" and one["atoms"]:
            share = one["plastic_share"]
            expected.append(
                (
                    name,
                    str(one["atoms"]),
                    f"{one['qs']:.3f}",
                    f"{share:.3f}",
                    f"{share / written['base']:.2f}",
                )
            )
    assert set(expected) <= rows
    said = " ".join(page.captions)
    assert f"the standard deviation of QS, is {written['spectrum']['std']:.3f}" in said
    assert f"{given['hardest_ratio']:.2f} times P(plastic) in the hardest bin" in said
    assert (
        f"for {100 * written['predicted']['share'][0]:.0f} % of the atoms in the lowest tenth"
        in said
    )
    alone, together = written["dependence"]["alone"], written["dependence"]["together"]
    assert f"to {alone[1]['value'][-1]:.3g} gives {alone[1]['qs'][-1]:.2f}." in said
    assert (
        f"from {np.min(together['qs']):.2f} to {np.max(together['qs']):.2f}; their correlation is {together['correlation']:.2f}"
        in said
    )


def test_same_seed_same_bytes(glasses, found, folder, tmp_path):
    again = softness_report(found, glasses[1], tmp_path / "again").parent
    for name in ("numbers.json", "report.html", *FIGURES):
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name
    other = softness_numbers(found, glasses[1], seed=3, **FEW)["dependence"]
    assert (
        other["alone"][0]["qs"]
        != softness_numbers(found, glasses[1], **FEW)["dependence"]["alone"][0]["qs"]
    ).any()


def test_without_a_choice_of_columns_the_gain_leads(glasses, found):
    gains = [model.booster.feature_importance("gain") for model in found.models]
    gain = np.mean([one / one.sum() for one in gains], axis=0)
    order = np.argsort(-gain, kind="stable")[:15]
    told = softness_numbers(replace(found, choice=None), glasses[1], **FEW)
    assert told["importance"] == "gain"
    assert [row["column"] for row in told["leading"]] == [found.columns[k] for k in order]
    np.testing.assert_allclose([row["importance"] for row in told["leading"]], gain[order])
    assert told["dependence"]["together"]["columns"] == [found.columns[k] for k in order[:2]]


def test_no_soft_atoms_and_one_column(glasses, found, tmp_path):
    calm = replace(found, qs=0.3 + 0.2 * found.qs)
    told = softness_numbers(calm, glasses[1], **FEW)
    assert told["extremes"]["softest"]["rule"] == "softest tenth"
    assert told["extremes"]["softest"]["atoms"] == pytest.approx(0.1 * told["atoms"], abs=2)
    # trees of one split each, all on one column
    x, y, _ = glasses[0].rows()
    name = told["leading"][0]["column"]
    rest = np.ones(len(found.columns), dtype=bool)
    rest[found.columns.index(name)] = False
    models = []
    for seed in (0, 1):
        values = x.copy()
        values[:, rest] = 0.0
        models.append(
            mgdask.learn.training.boosting.train(
                values,
                y.astype(float),
                objective="binary",
                columns=found.columns,
                num_boost_round=5,
                seed=seed,
                progress=False,
            )
        )
    narrow = replace(calm, models=tuple(models), choice=None)
    page = softness_report(narrow, glasses[1], tmp_path).read_text()
    written = json.loads((tmp_path / "numbers.json").read_text())
    assert [row["column"] for row in written["leading"]] == [name]
    assert written["leading"][0]["importance"] == pytest.approx(1.0)
    assert written["dependence"]["together"] == {}
    assert "softest tenth" in page
    assert "nan" not in re.sub(r'base64,[^"]*', "", page).lower()


def test_few_atoms(glasses, found, tmp_path):
    glass = glasses[1]
    _, y, atoms = glass.rows()
    kept = np.concatenate([atoms[y][:3], atoms[~y][:12]])
    keep = np.zeros_like(glass.keep)
    keep[kept] = True
    small = replace(found, qs=np.where(keep, found.qs, np.nan))
    page = softness_report(small, replace(glass, keep=keep), tmp_path).read_text()
    written = json.loads((tmp_path / "numbers.json").read_text())
    assert (written["atoms"], written["plastic"]) == (15, 3)
    assert written["conditional"]["softest_ratio"] is None  # no bin has 20 atoms
    assert "3 of the 15 eligible atoms" in page


def test_bad_input_in_words(glasses, found):
    with pytest.raises(ParameterError, match="grid=1 at least 2"):
        softness_numbers(found, glasses[1], grid=1)
    with pytest.raises(ParameterError, match="samples=0"):
        softness_numbers(found, glasses[1], samples=0)
