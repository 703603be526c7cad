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
from mgdask.studies.softness import captions, score
from mgdask.studies.softness import figures as softness_figures
from mgdask.studies.softness.captions import source_text
from mgdask.studies.softness.column_results import _negative_share
from mgdask.studies.softness.report import read_numbers, softness_page, softness_report
from mgdask.studies.softness.results import softness_numbers
from mgdask.studies.softness.space import extremes
from mgdask.studies.softness.tables import paper_table, score_tables, summary

FEW = {"samples": 40, "grid": 4, "markers": 15}
FIGURES = ("prediction.png", "softness.png", "features.png", "dependence.png", "calibration.png")


@pytest.fixture(scope="module")
def glasses(half_glasses):
    return half_glasses


@pytest.fixture(scope="module")
def found(half_softness):
    return half_softness


@pytest.fixture(scope="module")
def folder(glasses, found, tmp_path_factory):
    return softness_report(found, glasses[1], tmp_path_factory.mktemp("report")).parent


@pytest.fixture(scope="module")
def written(folder):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    return json.loads((folder / "numbers.json").read_text(), parse_constant=refuse)


CALIBRATION = "calibration.png"
DRAWN = pytest.mark.parametrize(
    "drawn", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["calibration", "all figures"]
)
"""A report draws nine figures, which take most of its time."""


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
    # among them: a number without an error says so
    assert doctest.testmod(captions, extraglobs={"np": np}).failed == 0


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
    regions = glass.regions()[there]
    told = score.conditional(qs, plastic, groups=regions)
    for name in ("probability", "error", "low", "high", "ratio", "count"):
        same(written["conditional"][name], told[name])
    equal = score.score_at_ratio(qs, plastic, groups=regions)
    assert written["conditional"]["equal"]["score"] == float(equal.score)
    some = told["count"].values >= 20
    assert written["conditional"]["softest_ratio"] == told.ratio.values[some][-1]
    assert written["conditional"]["hardest_score"] == told.score.values[some][0]
    told = score.score_at_yield(found.qs, d2min, glass.threshold, bins=10)
    for name in ("score", "share", "quantiles", "count"):
        same(written["at_yield"][name], told[name])
    same(written["at_yield"]["strain"], glass.strain)
    shares = [*np.arange(10) / 10, 0.95, 0.98, 1.0]
    edges = np.quantile(d2min[glass.frame][there], shares)
    same(
        written["predicted"]["share"],
        score.predicted_share(qs, d2min[glass.frame][there], edges=edges).share,
    )
    assert all(
        a <= b <= c
        for a, b, c in zip(edges[:-1], written["predicted"]["median"], edges[1:], strict=True)
    )
    assert written["metrics"]["roc_auc"] == found.metrics["roc_auc"].as_dict()
    assert (
        written["baselines"]["random"]["roc_auc"] == found.baselines["random"]["roc_auc"].as_dict()
    )
    assert written["folds"] == list(found.folds)


def test_soft_and_hard_atoms_in_space(glasses, found, written):
    """Fig. 3c: hardest, softest and all atoms, by another call and by counting."""
    frame = mgdask.open_store(glasses[1].store).isel(frame=0).load()
    position, side = frame.position.values, np.diag(frame.cell.values)
    pbc = frame.pbc.values
    there = np.isfinite(found.qs)
    groups = {name: mask for name, (_, mask) in extremes(found.qs).items()}
    counted = mgdask.features.mass_distribution(
        position, frame.cell.values, groups, whole=there, pbc=tuple(pbc)
    )
    fitted = mgdask.analysis.fractal_dimension(counted)
    assert list(written["packing"]["groups"]) == ["all", "softest", "hardest"]
    d2 = glasses[1].d2min()[glasses[1].frame]
    for name, mask in {"all": there, **groups}.items():
        one = written["packing"]["groups"][name]
        group = "whole" if name == "all" else name
        assert one["atoms"] == mask.sum()
        same(one["mass"], counted.mass.sel(group=group))
        same(one["dimension"], fitted.dimension.sel(group=group))
        same(one["dimension_error"], fitted.dimension_error.sel(group=group))
        assert written["group_values"][name]["d2_mean"] == pytest.approx(d2[mask].mean())

        def neighbors(mask):
            apart = position[mask][:, None] - position[mask]
            apart -= np.where(pbc, np.round(apart / side), 0.0) * side
            near = np.linalg.norm(apart, axis=-1) < written["packing"]["near"]
            return (near.sum() - mask.sum()) / mask.sum() ** 2

        assert one["near_ratio"] == pytest.approx(neighbors(mask) / neighbors(there))


def test_map_is_that_of_the_slice(glasses, found, written):
    """Fig. 2a: D² in 2 Å, rings at QS > 0.5, the deformed direction upright."""
    glass, told = glasses[1], written["map"]
    position = mgdask.open_store(glass.store).position.values[0]
    axes = ["xyz".index(told[name]) for name in ("across", "up", "normal")]
    assert axes[1] == 2
    depth = position[:, axes[2]]
    inside = np.abs(depth - 0.5 * (depth.min() + depth.max())) < 1.0
    assert told["atoms"] == inside.sum()
    soft = inside & (found.qs > 0.5)
    expected = position[soft][:, axes[:2]]
    np.testing.assert_allclose(sorted(told["flagged"]), sorted(expected.tolist()))
    largest = max(x for row in told["d2"] for x in row if x is not None)
    assert largest <= glass.d2min()[glass.frame][inside].max() + 1e-9


def test_calibration_by_counting(glasses, found, written):
    """Suppl. Fig. 7: in balanced classes p = (P / pi) / (P / pi + (1 - P) / (1 - pi))."""
    there = np.isfinite(found.qs)
    qs, plastic = found.qs[there], glasses[1].plastic()[there]
    order, told = np.sort(qs), written["calibration"]
    edges = np.quantile(order, np.linspace(0, 1, 11))
    for k in range(10):
        rows = (qs >= edges[k]) & ((qs < edges[k + 1]) | (k == 9))
        assert told["predicted"][k] == pytest.approx(qs[rows].mean())
        # each class has the same weight in all
        weight = np.where(plastic, 0.5 / plastic.sum(), 0.5 / (~plastic).sum())
        balanced = weight[rows & plastic].sum() / weight[rows].sum()
        assert told["observed"][k] == pytest.approx(balanced)
        assert told["low"][k] <= told["observed"][k] <= told["high"][k]


def test_leading_columns_and_their_halves(glasses, found, written):
    """Fig. 3d: hardest against softest atoms."""
    assert extremes(found.qs)["softest"][0].startswith("softest tenth")
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
        qs = found.qs[glasses[1].rows()[2]]
        for name, mask in (
            ("hardest", extremes(found.qs)["hardest"][1][glasses[1].rows()[2]]),
            ("softest", qs >= np.quantile(qs, 0.9)),
        ):
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
    log_odds = [model.predict(x, names=found.columns, raw=True) for model in found.models]
    average = np.mean(log_odds)  # Fig. 5b: negative below the mean
    np.testing.assert_allclose(np.mean(log_odds, axis=0), found.margin(x))
    for k in (0, len(one["value"]) - 1):
        changed = x.copy()
        changed[:, column] = one["value"][k]
        each = [
            model.predict(changed, names=found.columns, raw=True).mean() - base.mean()
            for model, base in zip(found.models, log_odds, strict=True)
        ]
        assert one["signed"][k] == pytest.approx(np.mean(each))
        assert one["signed"][k] == pytest.approx(found.margin(changed).mean() - average)
        assert one["deviation"][k] == pytest.approx(np.std(each))
    for i, j in ((0, 2), (3, 1)):
        changed = x.copy()
        changed[:, column], changed[:, other] = both["x"][i], both["y"][j]
        assert both["signed"][i, j] == pytest.approx(found.margin(changed).mean() - average)
    assert both["signed"].min() < 0.0 < both["signed"].max()
    places = [np.clip(x[:, k], g[0], g[-1]) for k, g in ((column, both["x"]), (other, both["y"]))]
    near = [
        np.array([np.interp(v, both["y"], row) for row in both["signed"]]) for v in places[1][:50]
    ]
    values = [np.interp(u, both["x"], row) for u, row in zip(places[0][:50], near, strict=True)]
    share = np.mean(np.array(values) < 0)
    few = {"x": both["x"], "y": both["y"], "signed": both["signed"]}
    assert _negative_share(few, x[:50][:, [column, other]]) == pytest.approx(share)
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
        ("other Frank-Kasper", kasper & ~ico & ~big),
        ("no Frank-Kasper", ~kasper),
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
    assert told["motifs"]["other Frank-Kasper"]["atoms"] > 0


def test_page_needs_no_other_file(folder, page):
    assert page.open == []
    assert len(page.pictures) == len(FIGURES)
    for (source, alt), name in zip(page.pictures, FIGURES, strict=True):
        kind, data = source.split(",", 1)
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data) == (folder / name).read_bytes()
        picture = imread(io.BytesIO(base64.b64decode(data)))
        assert picture.shape[1] > 700
        assert picture[..., :3].std() > 0.05  # not an empty sheet
        assert len(alt) > 20
    assert all(link.startswith("data:") for link in page.links)
    assert "<script" not in (folder / "report.html").read_text()


def test_tables_and_sentences_say_what_the_file_says(page, written):
    rows = {tuple(row) for row in page.rows}
    expected = []
    for kind, metrics, single in (
        ("", written["metrics"], written["single"]),
        (", leading columns", written["leading_metrics"], written["leading_single"]),
    ):
        for name, label in (("roc_auc", "AUC-ROC"), ("recall", "recall")):
            ends = (f"{metrics[name][end]:.3f}" for end in ("low", "high"))
            value = f"{metrics[name]['value']:.3f}"
            expected.append((f"{label}{kind}", "mean score of the models", value, "–", *ends))
            one = single[name]
            assert one["mean"] == pytest.approx(np.mean(one["each"]))
            numbers = (one["mean"], one["deviation"], one["single"]["low"], one["single"]["high"])
            expected.append(
                (f"{label}{kind}", "mean over 2 single models", *(f"{v:.3f}" for v in numbers))
            )
    leading = written["leading_single"]["roc_auc"]
    ends = (f"{leading['single'][end]:.3f}" for end in ("low", "high"))
    qs_auc = f"{written['metrics']['roc_auc']['value']:.3f}"
    expected.append(("interstices, AUC-ROC", "0.771", f"{leading['mean']:.3f}", *ends, qs_auc))
    expected.append(("symmetry functions, AUC-ROC", "0.751", "–", "–", "–", "–"))
    for kind, scores in written["baselines"].items():
        values = (f"{scores[name]['value']:.3f}" for name in ("roc_auc", "recall"))
        if kind != "logistic_regression":
            expected.append((kind.replace("_", " "), *values))
    for label, metrics in (
        ("logistic regression, same columns", written["baselines"]["logistic_regression"]),
        ("mean score minus logistic regression", written["minus_logistic"]),
    ):
        for name, score_name in (("roc_auc", "AUC-ROC"), ("recall", "recall")):
            value, *ends = (f"{metrics[name][end]:.3f}" for end in ("value", "low", "high"))
            expected.append((score_name, label, value, "–", *ends))
    expected += [(f"fold {k}", f"{area:.3f}") for k, area in enumerate(written["folds"], 1)]
    given = written["conditional"]
    for k, count in enumerate(given["count"]):
        told = (
            (
                f"{given['score'][k]:.3f}",
                str(count),
                *(f"{given[name][k]:.4f}" for name in ("probability", "low", "high")),
            )
            if count
            else ()
        )
        assert any(row[: len(told)] == told for row in rows if told) == (count >= 20)
    for name, one in written["packing"]["groups"].items():
        told = written["group_values"][name]
        slopes = (
            f"{d:.3f} ± {e:.3f}"
            for d, e in zip(one["dimension"], one["dimension_error"], strict=True)
        )
        expected.append(
            (
                name,
                one["rule"],
                f"{one['atoms']} ({100 * told['share']:.1f} %)",
                f"{told['d2_mean']:.2f} ± {told['d2_error']:.2f}",
                f"{told['plastic_share']:.3f}",
                *slopes,
                f"{one['near_ratio']:.2f}",
            )
        )
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
                    f"{100 * one['negative_share']:.0f} %",
                )
            )
    assert set(expected) <= rows
    said = " ".join(page.captions)
    assert f"std(QS), is {written['spectrum']['std']:.3f}" in said
    assert "Atoms within 4 Å of the free surfaces along a and b are excluded." in said
    assert "QS comes from all 80 columns. The paper's QS comes from its 15 leading" in said
    assert f"against {written['train_atoms']} with {written['train_plastic']} plastic" in said
    assert f"{given['hardest_ratio']:.2f} times P(plastic) in the hardest bin" in said
    assert f"{100 * written['predicted']['share'][0]:.0f} % in the lowest bin" in said
    alone, together = written["dependence"]["alone"], written["dependence"]["together"]
    assert f"{alone[1]['value'][-1]:.3g} changes them by {alone[1]['signed'][-1]:+.2f}." in said
    low, high = np.min(together["signed"]), np.max(together["signed"])
    assert f"minus the mean: from {low:+.2f} to {high:+.2f}" in said
    assert f"The correlation of the columns is {together['correlation']:.2f}" in said


def test_the_page_begins_with_its_origin_and_its_terms(folder, found):
    text = (folder / "report.html").read_text()
    assert f"<dt>mgdask</dt><dd>{mgdask.__version__}</dd>" in text
    assert "<dt>seed</dt><dd>0</dd>" in text
    assert f"<dt>train</dt><dd>{', '.join(found.train)}</dd>" in text
    assert "<dt>test</dt><dd>right: " in text
    scores = text.index("Scores on the held-out glass")
    for words in ("An interstice is empty space", "Nat. Commun. 10, 5537 (2019)"):
        assert text.index(words) < scores


def test_numbers_read_back_make_the_same_page(folder):
    page = softness_page(read_numbers(folder / "numbers.json"), folder).render()
    assert page == (folder / "report.html").read_text()


def test_only_like_features_stand_beside_the_papers(glasses, found):
    told = softness_numbers(found, glasses[1], **FEW)
    assert told["features"] == ["interstice", "mediumrange_interstice"]
    value = f"{told['leading_single']['roc_auc']['mean']:.3f}"
    for features, label in (
        (["symmetry_functions"], "symmetry functions, AUC-ROC"),
        (["interstice", "packing"], "other features, AUC-ROC"),
    ):
        rows = {row[0]: row for row in paper_table({**told, "features": features}).rows}
        assert rows[label][2] == value
        assert rows["interstices, AUC-ROC"][2:] == ("–",) * 4
        assert rows["interstices, recall"][1] == "0.742"


def test_a_rank_as_target_is_named(glasses, found):
    parameters = {**found.card["parameters"], "target": "rank"}
    ranked = replace(found, card={**found.card, "parameters": parameters})
    told = softness_numbers(ranked, glasses[1], **FEW)
    assert told["target"] == "rank"
    assert "learned the rank of D² among balanced atoms" in source_text(told)
    plain = softness_numbers(found, glasses[1], **FEW)
    assert "rank" not in source_text(plain)


def test_a_simple_model_that_is_as_good_is_said_first(glasses, found):
    told = softness_numbers(found, glasses[1], **FEW)
    told["metrics"]["roc_auc"] |= {"value": 0.701}
    told["baselines"]["logistic_regression"]["roc_auc"] |= {"value": 0.714}
    for low, high, first, sentence in (
        (-0.035, 0.002, True, "Logistic regression on the same columns predicts plastic atoms as"),
        (-0.035, -0.002, True, "Logistic regression on the same columns predicts plastic atoms be"),
        (0.002, 0.035, False, "The trees predict plastic atoms better than logistic regression"),
    ):
        told["minus_logistic"]["roc_auc"] |= {"value": (low + high) / 2, "low": low, "high": high}
        paragraphs = summary(told).paragraphs
        assert paragraphs[0 if first else -1].startswith(sentence)
        assert paragraphs[1 if first else 0].startswith("Quench-in softness (QS) measures")
        assert (
            "The AUC of logistic regression is 0.714, that of the trees 0.701; trees minus logistic "
            f"regression is {(low + high) / 2:+.3f} [{low:+.3f}, {high:+.3f}]."
        ) in paragraphs[0 if first else -1]
    # numbers of an older version
    del told["minus_logistic"], told["baselines"]["logistic_regression"]
    assert len(summary(told).paragraphs) == 3
    assert not any("logistic" in row[1] for row in score_tables(told)[0].rows)


@DRAWN
def test_same_seed_same_bytes(glasses, found, folder, tmp_path, request, drawn):
    names = ("numbers.json", "report.html", *FIGURES) if drawn else ("numbers.json", CALIBRATION)
    if not drawn:
        request.getfixturevalue("quick_figures")
    again = softness_report(found, glasses[1], tmp_path / "again").parent
    for name in names:
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name
    other = softness_numbers(found, glasses[1], seed=3, **FEW)["dependence"]
    assert (
        other["alone"][0]["signed"]
        != softness_numbers(found, glasses[1], **FEW)["dependence"]["alone"][0]["signed"]
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


@DRAWN
def test_no_soft_atoms_and_one_column(glasses, found, tmp_path, request, drawn):
    if not drawn:
        request.getfixturevalue("quick_figures")
    calm = replace(found, qs=0.3 + 0.2 * found.qs)
    told = softness_numbers(calm, glasses[1], **FEW)
    softest = told["packing"]["groups"]["softest"]
    assert softest["rule"].startswith("softest tenth, QS >=")
    assert softest["rule"].endswith("; 0 atoms have QS > 0.7")
    assert softest["atoms"] == pytest.approx(0.1 * told["atoms"], abs=2)
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


@DRAWN
def test_few_atoms(glasses, found, tmp_path, request, drawn):
    if not drawn:
        request.getfixturevalue("quick_figures")
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
