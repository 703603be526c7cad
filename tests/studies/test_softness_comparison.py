"""Feature sets on the same rows, and the score by the number of training atoms, on halves of a real slab."""

from __future__ import annotations

import doctest
import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import mgdask
from mgdask.cli import cli
from mgdask.errors import ParameterError
from mgdask.learn.data.splits import group_folds, undersample
from mgdask.learn.evaluation import bootstrap as bootstraps
from mgdask.learn.evaluation.bootstrap import bootstrap, bootstrap_contrast
from mgdask.learn.training.boosting import train
from mgdask.plot.boxes import draw_box
from mgdask.plot.style import figure
from mgdask.studies.softness import compared_sets, comparison_report, workflow
from mgdask.studies.softness import comparison as compare_softness
from mgdask.studies.softness import growth as growth_softness
from mgdask.studies.softness import subsets as chosen
from mgdask.studies.softness.comparison import (
    COMPARED,
    common_atoms,
    compare,
    compare_glasses,
    mean_over_glasses,
    prepare_sets,
    resolve_sets,
    species_of,
    write_table,
)
from mgdask.studies.softness.figures import box_figure, compare_figure, growth_figure
from mgdask.studies.softness.growth import score_growth
from mgdask.studies.softness.subsets import choose
from mgdask.studies.softness.training import PARAMETERS, learn_softness
from tests.studies.conftest import PNG

LEARNING = {
    "n_features": None,
    "folds": 0,
    "n_undersamples": 2,
    "num_boost_round": 30,
    "params": {"min_data_in_leaf": 3},
}
OPTIONS = {
    "margin": 4.0,
    "threshold": 2.0,
    "n_resamples": 100,
    "learning": LEARNING,
    "progress": False,
}
SETS = ["interstice", "coordination", "motifs", "all"]
PAIRS = ["coordination", "coordination+mro", "motifs"]


@pytest.fixture(scope="module")
def stores(half_stores):
    return half_stores


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def found(stores, out):
    return compare(stores[0], stores[1], out, sets=SETS, **OPTIONS)


@pytest.fixture(scope="module")
def glasses(stores, out, found):
    return prepare_sets(stores, out, SETS, margin=4.0, threshold=2.0)["interstice"]


@pytest.fixture(scope="module")
def narrow(glasses):
    """The same glasses with few columns, which are learned from in a moment."""
    return [choose(glass, columns=glass.columns()[::10]) for glass in glasses]


def test_examples():
    for module in (
        comparison_report,
        chosen,
        compared_sets,
        compare_softness,
        growth_softness,
        bootstraps,
    ):
        told = doctest.testmod(module, extraglobs={"np": np})
        assert told.failed == 0


def test_counts_of_the_published_sets():
    sets = resolve_sets(None, ("Cu", "Zr"))
    count = {
        name: sum(feature.n_columns for feature in features) for name, features in sets.items()
    }
    names = list(sets)
    # Methods, "Benchmarked Structural Signatures": each set alone and with its medium range
    short, both = names[1:17:2], names[2:17:2]
    assert names[0] == "interstice"
    assert both == [f"{name}+mro" for name in short]
    assert [count[name] for name in short] == [2, 5, 4, 3, 5, 5, 16, 9]
    medium = [count[two] - count[one] for one, two in zip(short, both, strict=True)]
    assert medium == [8, 20, 12, 12, 5 + 20, 20, 16 + 64, 32]
    assert sum(medium) == count["mro"] == 209
    assert [count[name] for name in ("interstice", "sro", "sro+mro", "symmetry")] == [
        80,
        49,
        258,
        166,
    ]
    # Supplementary Tables 5 and 7
    assert (count["interstice+sro"], count["interstice+sro+mro"]) == (129, 338)
    with pytest.warns(FutureWarning, match="'sro_mro' is 'sro\\+mro'"):
        assert len(resolve_sets(["sro_mro"], ("Cu", "Zr"))["sro_mro"]) == len(sets["sro+mro"])
    # power spectrum of two species: pairs of 12 channels without order, times 7 degrees
    assert count["soap"] == 12 * 13 // 2 * 7
    # all: each once
    assert count["all"] == 80 + 258 + 166 + 166 + 90 + 546
    labels = [(feature.name, label) for feature in sets["all"] for label in feature.labels]
    assert len(set(labels)) == len(labels)


def test_one_name_for_two_features_does_not_hide_one():
    near, far = mgdask.Interstice(cutoff=3.6), mgdask.Interstice(cutoff=4.4)
    every = resolve_sets({"near": [near], "far": [far, near], "every": "all"}, ("Cu", "Zr"))[
        "every"
    ]
    assert [(feature.name, feature.cutoff) for feature in every] == [
        ("interstice", 3.6),
        ("far_interstice", 4.4),
    ]


@pytest.mark.slow
def test_rows_are_the_same_for_every_set(found, stores, out):
    assert found["set"].values.tolist() == SETS
    assert found["columns"].values.tolist() == [80, 2, 4, 86]
    # every atom with all features, by hand
    d2min = (
        mgdask.open_store(out / "right-d2min.zarr")["nonaffine"]
        .sel(nonaffine_feature="d2min_sum")
        .values[-1]
    )
    every = mgdask.open_store(out / "right-all.zarr").isel(frame=0)
    good = np.all([np.isfinite(every[name].values).all(axis=1) for name in every.data_vars], axis=0)
    position = mgdask.open_store(stores[1]).isel(frame=0)["position"].values
    for axis in (0, 1):
        good &= (position[:, axis] - position[:, axis].min() > 4) & (
            position[:, axis].max() - position[:, axis] > 4
        )
    assert (found.attrs["test_atoms"], found.attrs["test_plastic"]) == (
        good.sum(),
        (d2min[good] > 2.0).sum(),
    )


def test_numbers_are_those_of_each_set_alone(found, stores, out):
    prepared = prepare_sets(stores, out, SETS, margin=4.0, threshold=2.0)
    atoms = [glass.rows()[2] for glass in prepared["all"]]
    some = ["interstice", "coordination", "all"]
    score = {}
    for name in some:
        left, right = (
            choose(glass, atoms=rows) for glass, rows in zip(prepared[name], atoms, strict=True)
        )
        score[name] = learn_softness([left], right, n_resamples=20, progress=False, **LEARNING).qs[
            atoms[1]
        ]
    label, where = right.rows()[1], right.regions()[atoms[1]]
    for name in some:
        a, b = score[name][label], score[name][~label]
        area = ((a[:, None] > b).sum() + 0.5 * (a[:, None] == b).sum()) / (len(a) * len(b))
        one = found.sel(set=name)
        assert float(one.roc_auc) == pytest.approx(area, abs=1e-12)
        assert float(one.recall) == pytest.approx((a > 0.5).mean(), abs=1e-12)
        assert float(one.roc_auc_low) <= area <= float(one.roc_auc_high)
        assert float(one.difference) == pytest.approx(area - float(found.roc_auc[0]), abs=1e-12)
        assert bootstrap("roc_auc", label, score[name], where, n_resamples=100).low == float(
            one.roc_auc_low
        )
    assert float(found.difference_low[0]) == float(found.difference_high[0]) == 0.0


def area(label, score):
    a, b = score[label], score[~label]
    return ((a[:, None] > b).sum() + 0.5 * (a[:, None] == b).sum()) / (len(a) * len(b))


@pytest.fixture(scope="module")
def both(stores, out):
    """Each half tested by models of the other one, with and without the medium range."""
    return compare_glasses(stores, stores, out, sets=PAIRS, **OPTIONS)


def test_set_against_set_and_its_medium_range(both):
    """Fig. 5a: "individual SRO feature sets and the feature sets further augmented by the MRO"."""
    assert both.test.values.tolist() == both.attrs["test"] == ["left", "right"]
    assert both.attrs["train"] == [["right"], ["left"]]
    auc = both.roc_auc.values
    np.testing.assert_allclose(both.mro_gain.values[:, 1], auc[:, 1] - auc[:, 0], atol=1e-12)
    assert np.isnan(both.mro_gain.values[:, [0, 2]]).all()
    assert (both.mro_gain_low.values[:, 1] <= both.mro_gain.values[:, 1]).all()
    mean = mean_over_glasses(both)
    np.testing.assert_allclose(mean.roc_auc, auc.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(mean.roc_auc_deviation, auc.std(axis=0, ddof=1), rtol=1e-12)
    assert (mean.roc_auc_low < mean.roc_auc).all()
    assert (mean.roc_auc < mean.roc_auc_high).all()
    # two glasses: the interval of their mean is narrower than that of either
    width = (both.roc_auc_high - both.roc_auc_low).values.mean(axis=0)
    assert ((mean.roc_auc_high - mean.roc_auc_low).values < width).all()


def test_single_models_beside_their_mean(both, stores, out):
    """Methods: "calculate the average scoring metric" of the models, not that of their mean."""
    prepared = prepare_sets(stores, out, PAIRS, margin=4.0, threshold=2.0)
    atoms = [common_atoms([one[k] for one in prepared.values()]) for k in (0, 1)]
    left, right = (
        choose(glass, atoms=some) for glass, some in zip(prepared["motifs"], atoms, strict=True)
    )
    models = learn_softness([left], right, n_resamples=20, progress=False, **LEARNING).models
    x, label, _ = right.rows()
    each = [area(label, model.predict(x, names=right.columns())) for model in models]
    row = both.sel(test="right", set="motifs")
    assert row.model_roc_auc.values == pytest.approx(each, abs=1e-12)
    assert float(row.single_roc_auc) == pytest.approx(np.mean(each), abs=1e-12)
    assert float(row.single_roc_auc_deviation) == pytest.approx(np.std(each, ddof=1))
    single = both.single_roc_auc.sel(test="right").values
    assert float(row.single_difference) == pytest.approx(single[2] - single[0], abs=1e-12)


def test_models_of_the_paper_are_folds_of_undersamples(stores, out):
    """Methods: undersampling, then "5-fold cross-validation on the sampled datasets", and the mean
    score of "the obtained models" on the unseen glass."""
    found = compare(stores[0], stores[1], out, sets=["motifs"], single_models="folds", **OPTIONS)
    plain = compare(stores[0], stores[1], out, sets=["motifs"], **OPTIONS)
    left, right = prepare_sets(stores, out, ["motifs"], margin=4.0, threshold=2.0)["motifs"]
    x, label, atoms = left.rows()
    regions = left.regions()[atoms]
    unseen, truth, _ = right.rows()
    each = []
    for k in range(2):
        drawn = undersample(label, k)
        names = np.array([f"left {region}" for region in regions[drawn]], dtype=object)
        for split in group_folds(names, 5, 0, label[drawn]):
            rows = drawn[np.isin(names, split.train)]
            model = train(
                x[rows],
                label[rows].astype(float),
                objective="binary",
                num_boost_round=30,
                params={**PARAMETERS, "min_data_in_leaf": 3},
                seed=k,
                threads=1,
                progress=False,
            )
            each.append(area(truth, model.predict(unseen)))
    assert found.model_roc_auc.values[0] == pytest.approx(each, abs=1e-12)
    assert float(found.single_roc_auc[0]) == pytest.approx(np.mean(each), abs=1e-12)
    # the mean of the models is that of the undersamples, as before
    assert found.roc_auc.values.tolist() == plain.roc_auc.values.tolist()
    assert found.attrs["single_models"] == "folds"
    with pytest.raises(ParameterError, match="single_models='all' must be 'undersamples' or"):
        compare(stores[0], stores[1], out, sets=["motifs"], single_models="all", **OPTIONS)


def test_models_of_the_condition_of_the_test_glass(stores, out):
    rates = {"left": {"rate": 1e10}, "right": {"rate": 1e12}}
    with pytest.raises(ParameterError, match=r"left.zarr has no training glass of its condition"):
        compare_glasses(stores, stores, out, labels=rates, sets=["motifs"], **OPTIONS)
    with pytest.raises(ParameterError, match=r"left.zarr has no training glass: train="):
        compare_glasses(stores[:1], stores[:1], out, sets=["motifs"], **OPTIONS)


def test_boxes_of_the_paper():
    """Fig. 5a: "bounds of the box spans from 25 to 75% percentile, dashed line represents median,
    and whiskers show minima and maxima of data points"."""
    values = np.array([0.61, 0.70, 0.62, 0.66, 0.59])
    axes = figure(3.0, 3.0).subplots()
    draw_box(axes, 2.0, values, color="C0")
    (box,) = axes.patches
    assert [box.get_y(), box.get_y() + box.get_height()] == pytest.approx([0.61, 0.66])
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [set(line.get_ydata()) for line in dashed] == [{0.62}]
    whiskers = [tuple(line.get_ydata()) for line in axes.lines if set(line.get_xdata()) == {2.0}]
    assert whiskers == [(0.59, 0.61), (0.70, 0.66)] or whiskers == [(0.59, 0.61), (0.66, 0.70)]


@pytest.mark.slow  # of a study of transfer by default, see test_softness_transfer
def test_same_seed_same_bits(both, stores, out, tmp_path):
    """Features that are computed again, and one test glass by itself."""
    again = compare(stores[1], stores[0], tmp_path, sets=PAIRS, **OPTIONS)
    known = both.sel(test="left")
    plain = [name for name in again.data_vars if not name.endswith("seconds")]
    assert {"roc_auc", "roc_auc_low", "recall", "model_roc_auc", "difference"} <= set(plain)
    for name in plain:
        assert again[name].values.tobytes() == known[name].values.tobytes(), name
    other = compare(stores[1], stores[0], out, sets=PAIRS, seed=3, **OPTIONS)
    assert other.roc_auc.values.tobytes() != again.roc_auc.values.tobytes()


def test_paired_interval_against_a_naive_twin():
    rng = np.random.default_rng(5)
    y = rng.random(300) < 0.3
    common = y + rng.normal(size=300)
    one, two = common + 0.1 * rng.normal(size=300), common + 0.3 * rng.normal(size=300)

    def area(label, score):
        a, b = score[label], score[~label]
        return ((a[:, None] > b).sum() + 0.5 * (a[:, None] == b).sum()) / (len(a) * len(b))

    told = bootstrap_contrast("roc_auc", y, [one, two], [1, -1], n_resamples=60, seed=9)
    draw, found = np.random.default_rng(9), []
    for _ in range(60):
        rows = draw.integers(0, 300, 300)
        found.append(area(y[rows], one[rows]) - area(y[rows], two[rows]))
    assert told.value == pytest.approx(area(y, one) - area(y, two), abs=1e-12)
    assert [told.low, told.high] == pytest.approx(
        np.quantile(found, [0.025, 0.975]).tolist(), abs=1e-12
    )
    # narrower than that of either score, as they share most of what is random
    alone = bootstrap("roc_auc", y, one, n_resamples=60, seed=9)
    assert told.high - told.low < 0.5 * (alone.high - alone.low)
    # the matrix of groups gives what each score gives alone
    groups = np.arange(300) % 12
    mean = bootstrap_contrast("roc_auc", y, [one, one], [0.5, 0.5], groups, n_resamples=60, seed=9)
    assert (mean.low, mean.high) == pytest.approx(
        (lambda i: (i.low, i.high))(bootstrap("roc_auc", y, one, groups, n_resamples=60, seed=9))
    )
    with pytest.raises(ParameterError, match="2 numbers for 1 scores"):
        bootstrap_contrast("roc_auc", y, [one], [1, -1])


def test_chosen_atoms_and_columns(glasses):
    values, label, atoms = glasses[0].rows()
    names = glasses[0].columns()
    some = choose(glasses[0], atoms=atoms[::3], columns=[names[7], names[2]])
    x, y, where = some.rows()
    assert np.array_equal(x, values[::3][:, [7, 2]])
    assert np.array_equal(y, label[::3])
    assert np.array_equal(where, atoms[::3])
    again = choose(some, atoms=atoms[::6])
    assert again.columns() == (names[7], names[2])
    assert np.array_equal(again.rows()[0], x[::2])
    with pytest.raises(ParameterError, match="increasing and among"):
        choose(glasses[0], atoms=atoms[::-1])
    with pytest.raises(ParameterError, match="no column 'wrong'"):
        choose(glasses[0], columns=["wrong"])


def test_growth(narrow, monkeypatch):
    trained = {}

    def spy(train_on, test_on, *, seed, **options):
        trained.setdefault(seed, []).append(train_on[0].rows()[1:])
        return learn_softness(train_on, test_on, seed=seed, **options)

    monkeypatch.setattr(growth_softness, "learn_softness", spy)
    grown = score_growth(
        narrow[:1], narrow[1], fractions=(0.3, 0.6), subsets=2, learning=LEARNING, n_resamples=100
    )
    _, label, atoms = narrow[0].rows()
    assert grown.atoms.values.tolist() == pytest.approx(
        [0.3 * len(atoms), 0.6 * len(atoms), len(atoms)], abs=1
    )
    assert grown.plastic.values.tolist() == pytest.approx(
        [0.3 * label.sum(), 0.6 * label.sum(), label.sum()], abs=1
    )
    assert len(trained) == 2
    for parts in trained.values():  # each within the next
        assert [len(part[1]) for part in parts] == grown.atoms.values.tolist()
        assert set(parts[0][1]) < set(parts[1][1]) < set(parts[2][1]) == set(atoms)
        assert [int(part[0].sum()) for part in parts] == grown.plastic.values.tolist()
    first, second = (parts[0][1] for parts in trained.values())
    assert set(first) != set(second)
    # all atoms: what learn_softness alone gives
    whole = learn_softness(
        narrow[:1], narrow[1], seed=0, n_resamples=20, progress=False, **LEARNING
    )
    assert float(grown.roc_auc[-1, 0]) == pytest.approx(whole.metrics["roc_auc"].value, abs=1e-12)
    np.testing.assert_allclose(grown["mean"], grown.roc_auc.mean("subset"), rtol=1e-12)
    assert (grown.mean_low <= grown["mean"]).all()
    assert (grown["mean"] <= grown.mean_high).all()


def test_growth_refuses(glasses):
    with pytest.raises(ParameterError, match="must lie between 2 and"):
        score_growth(glasses[:1], glasses[1], atoms=[10**6])
    with pytest.raises(ParameterError, match=r"20 of \d+ training atoms, \d of them plastic: "):
        score_growth(
            glasses[:1],
            glasses[1],
            atoms=[20],
            learning={"n_undersamples": 1, "num_boost_round": 5},
        )
    with pytest.raises(ParameterError, match="at least one glass"):
        score_growth([], glasses[1])


def test_bad_input_in_words(stores, out, tmp_path):
    with pytest.raises(ParameterError, match="train is empty"):
        compare([], stores[1], out, sets=["motifs"], **OPTIONS)
    with pytest.raises(ParameterError, match=r"left.zarr is given 2 times"):
        compare([stores[0]], stores[0], out, sets=["motifs"], **OPTIONS)
    with pytest.raises(ParameterError, match="no set 'wrong'"):
        resolve_sets(["wrong"], ("Cu", "Zr"))
    with pytest.raises(ParameterError, match="is used as a file name"):
        resolve_sets({"a/b": "motifs"}, ("Cu", "Zr"))
    with pytest.raises(ParameterError, match="sets is empty"):
        resolve_sets([], ("Cu", "Zr"))
    assert species_of(stores) == ("Cu", "Zr")
    assert set(resolve_sets(["motifs"], ("Cu",))) <= set(COMPARED)


def test_tables_and_pictures(found, both, narrow, tmp_path):
    table = pd.read_csv(write_table(found, tmp_path / "a" / "compare"))
    assert table["set"].tolist() == SETS
    np.testing.assert_allclose(table["roc_auc"], found.roc_auc, rtol=1e-15)
    told = json.loads((tmp_path / "a" / "compare.json").read_text())
    assert told["about"]["reference"] == "interstice"
    assert [row["difference"] for row in told["rows"]] == pytest.approx(
        found.difference.values.tolist(), abs=1e-14
    )
    grown = score_growth(
        narrow[:1], narrow[1], fractions=(0.5,), subsets=1, learning=LEARNING, n_resamples=50
    )
    for draw, result, name in (
        (compare_figure, found, "one.png"),
        (growth_figure, grown, "two.png"),
        (box_figure, both, "three.png"),
        (box_figure, both.isel(test=[0]).assign_attrs(test=["left"]), "four.png"),
    ):
        path = draw(result, tmp_path / name)
        assert path.stat().st_size > 10_000
        assert path.read_bytes() == draw(result, tmp_path / f"again-{name}").read_bytes()


@pytest.mark.slow
def test_on_the_command_line(stores, tmp_path, monkeypatch):
    """All files but the contents of pictures, see ``test_tables_and_pictures``."""

    def draw(result, path):
        path.write_bytes(PNG)
        return path

    for name in ("compare_figure", "box_figure", "growth_figure"):
        monkeypatch.setattr(workflow, name, draw)
    left, right = map(str, stores)
    words = [
        "study",
        "compare",
        "--train",
        left,
        "--test",
        right,
        "--out",
        str(tmp_path),
        "--set",
        "coordination",
        "--set",
        "motifs",
        "--margin",
        "4",
        "--threshold",
        "0.5",
        "--draws",
        "1",
        "--rounds",
        "20",
        "--growth",
        "0.6",
        "--workers",
        "1",
    ]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "coordination" in done.stdout
    page = (tmp_path / "report.html").read_text()
    for words in (
        "data:image/png",
        "A point is a single model on right",
        "AUC minus that of coord",
    ):
        assert words in page
    rows = json.loads((tmp_path / "results.json").read_text())["metrics"]
    named = {(row["model"], row["test"], row["name"]) for row in rows}
    for test in ("right", "pooled"):
        assert ("motifs", test, "roc_auc of single models") in named
        assert ("baseline: random", test, "roc_auc") in named
    names = ("right.csv", "right.json", "right.png", "right-boxes.png", "right-mean.csv")
    for name in (*names, "right-growth.csv", "right-growth.png"):
        size = (tmp_path / "compare" / name).stat().st_size
        assert size == len(PNG) if name.endswith("png") else size > 100
