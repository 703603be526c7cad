"""Models of one glass on another: two halves of a real slab, and a third glass that is one of them under other species."""

from __future__ import annotations

import doctest
import json
from collections import Counter
from functools import partial

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import mgdask
from mgdask.cli import cli
from mgdask.errors import ParameterError
from mgdask.features import sets
from mgdask.learn.data.splits import group_folds, undersample
from mgdask.learn.training.boosting import train
from mgdask.studies.softness import conditions
from mgdask.studies.softness import transfer as transfer_softness
from mgdask.studies.softness.comparison import write_table
from mgdask.studies.softness.conditions import check_labels, condition_name
from mgdask.studies.softness.data import prepare_glass
from mgdask.studies.softness.figures import transfer_figure
from mgdask.studies.softness.options import TransferOptions
from mgdask.studies.softness.target_scores import resampling
from mgdask.studies.softness.training import PARAMETERS, learn_softness
from mgdask.studies.softness.transfer import (
    pair_category,
    pooled_pairs,
    read_labels,
    transfer,
    transfer_by_category,
)

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
LABELS = {
    "left": {"system": "CuZr", "rate": "1e12"},
    "right": {"system": "CuZr", "rate": "1e12"},
    "other": {"system": "NiNb", "rate": "1e12"},
}


@pytest.fixture(scope="module")
def stores(half_stores, tmp_path_factory):
    dump = half_stores[0].with_suffix(".dump")
    other = tmp_path_factory.mktemp("other") / "other.zarr"
    mgdask.ingest(str(dump), other, species=("Ni", "Nb"), timestep=0.002)
    return [*half_stores, other]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def found(stores, out):
    return transfer(stores, out, features="coordination", labels=LABELS, **OPTIONS)


def test_examples():
    for module in (conditions, transfer_softness):
        assert doctest.testmod(module).failed == 0


def test_category_is_the_first_that_differs():
    base = {"system": "CuZr", "composition": "65", "rate": 1}
    assert pair_category(base, dict(base)) == "same"
    assert pair_category(base, {**base, "rate": 2}) == "other rate"
    assert pair_category(base, {**base, "composition": "50"}) == "other composition"
    both = {**base, "rate": 2, "composition": "50"}
    assert pair_category(base, both) == "other composition and rate"
    assert pair_category(base, {"system": "AlSm", "composition": "50", "rate": 2}) == "other system"
    assert pair_category({}, base) == "not labelled"


@pytest.mark.slow
def test_every_pair_is_what_learning_it_alone_gives(found, stores, out):
    names = ["left", "right", "other"]
    assert found.train.values.tolist() == found.test.values.tolist() == names
    assert np.array_equal(np.isnan(found.roc_auc.values), np.eye(3, dtype=bool))
    glasses = [
        prepare_glass(
            store,
            out,
            features=[mgdask.Coordination(cutoff=4.0)],
            name="coordination",
            margin=4.0,
            threshold=2.0,
            progress=False,
        )
        for store in stores
    ]
    for i, k in ((0, 1), (0, 2), (1, 0), (2, 1)):
        alone = learn_softness([glasses[i]], glasses[k], n_resamples=20, progress=False, **LEARNING)
        for metric in ("roc_auc", "recall"):
            pair = [float(found[f"{metric}{end}"][i, k]) for end in ("_low", "", "_high")]
            assert pair[1] == pytest.approx(alone.metrics[metric].value, abs=1e-12)
            assert pair == sorted(pair)
        assert int(found.train_atoms[i, k]) == len(glasses[i].rows()[1])
    assert found.category.values.tolist() == [
        ["", "same", "other system"],
        ["same", "", "other system"],
        ["other system", "other system", ""],
    ]


def test_mean_by_category(found):
    mean = transfer_by_category(found)
    assert mean.category.values.tolist() == ["same", "other system"]
    assert mean.pairs.values.tolist() == [2, 4]
    auc = found.roc_auc.values
    other = [auc[0, 2], auc[1, 2], auc[2, 0], auc[2, 1]]
    for end, sign in (("low", -1), ("high", 1)):  # the pooled value has an interval
        assert (sign * (mean[f"roc_auc_{end}"] - mean.roc_auc) > 0).all()
    assert mean.roc_auc.values == pytest.approx([(auc[0, 1] + auc[1, 0]) / 2, sum(other) / 4])
    assert mean.roc_auc_deviation.values == pytest.approx(
        [abs(auc[0, 1] - auc[1, 0]) / 2**0.5, np.std(other, ddof=1)]
    )
    assert float(mean.roc_auc_lowest[1]) == min(other)


def test_all_glasses_of_one_label_train_but_the_one_that_is_tested(found, stores, out):
    told = transfer(stores, out, features="coordination", labels=LABELS, by="label", **OPTIONS)
    assert told.train.values.tolist() == ["CuZr, 1e+12 K/s", "NiNb, 1e+12 K/s"]
    assert told.category.values.tolist() == [
        ["same", "same", "other system"],
        ["other system", "other system", ""],
    ]
    # of two glasses the other one is left
    assert float(told.roc_auc[0, 0]) == float(found.roc_auc[1, 0])
    assert float(told.roc_auc[0, 1]) == float(found.roc_auc[0, 1])
    assert float(told.roc_auc[1, 0]) == float(found.roc_auc[2, 0])
    one = found.train_atoms
    assert told.train_atoms.values.tolist() == [
        [one[1, 0], one[0, 1], one[0, 2] + one[1, 2]],
        [one[2, 0], one[2, 1], 0],
    ]


@pytest.mark.slow
def test_columns_with_names_of_species(stores, out):
    pair, quick = (
        [stores[1], stores[2]],
        {**OPTIONS, "learning": {**LEARNING, "n_undersamples": 1, "num_boost_round": 5}},
    )
    with pytest.raises(
        ParameterError,
        match=r"right and other have different columns, such as 'count_Cu_cutoff'.*the 1 that all",
    ):
        transfer(pair, out, features="chemistry", **quick)
    told = transfer(
        pair, out, features=[mgdask.Coordination(), mgdask.Motifs()], columns="common", **quick
    )
    assert told.attrs["columns"] == 6
    species = [mgdask.Coordination(), mgdask.Chemistry(species=("Cu", "Zr"))]
    short = transfer(stores[:2], out / "short", features=species, columns="common", **quick)
    assert short.attrs["columns"] == sum(feature.n_columns for feature in species)
    # the elements alone tell systems apart
    assert set(told.category.values.ravel()) == {"", "other system"}
    assert set(short.category.values.ravel()) == {"", "not labelled"}


def naive_auc(label, score):
    a, b = score[label], score[~label]
    return ((a[:, None] > b).sum() + 0.5 * (a[:, None] == b).sum()) / (len(a) * len(b))


def test_difference_to_the_model_trained_on_the_target(found, stores, out):
    """Fig. 4: "the difference of the generalization score and the original, same-condition score"."""
    auc = found.roc_auc.values
    # right is the only other glass of the condition of left, and left of that of right
    assert float(found.difference[2, 0]) == pytest.approx(auc[2, 0] - auc[1, 0], abs=1e-12)
    assert float(found.difference[2, 1]) == pytest.approx(auc[2, 1] - auc[0, 1], abs=1e-12)
    assert float(found.reference[2, 1]) == auc[0, 1]
    # no other model of the condition: no number is invented
    assert np.isnan(found.difference.values[[0, 1, 0, 1], [1, 0, 2, 2]]).all()
    assert np.isnan(found.difference_low.values[0, 1])
    mean = transfer_by_category(found)
    assert mean.compared_pairs.values.tolist() == [0, 2]
    assert np.isnan(mean.difference.values[0])
    assert float(mean.difference[1]) == pytest.approx(found.difference.values[2, :2].mean())
    assert float(mean.difference_low[1]) < float(mean.difference[1])
    assert float(mean.difference[1]) < float(mean.difference_high[1])
    # paired: the interval of a difference of equal scores has no width
    same = found.difference_resamples.values[2, 0] - (
        found.roc_auc_resamples.values[2, 0] - found.roc_auc_resamples.values[1, 0]
    )
    np.testing.assert_allclose(same, 0.0, atol=1e-12)


def test_single_models_beside_their_mean(found, stores, out):
    """Methods: "generalize the obtained models to the unseen glass and calculate the average scoring metric"."""
    left, right = (
        prepare_glass(
            store,
            out,
            features=[mgdask.Coordination(cutoff=4.0)],
            name="coordination",
            margin=4.0,
            threshold=2.0,
            progress=False,
        )
        for store in stores[:2]
    )
    models = learn_softness([left], right, n_resamples=20, progress=False, **LEARNING).models
    x, label, _ = right.rows()
    each = [naive_auc(label, model.predict(x, names=right.columns())) for model in models]
    assert float(found.single_roc_auc[0, 1]) == pytest.approx(np.mean(each), abs=1e-12)
    assert float(found.single_roc_auc_deviation[0, 1]) == pytest.approx(np.std(each, ddof=1))
    # like with like
    single = found.single_roc_auc.values
    assert float(found.single_difference[2, 1]) == pytest.approx(single[2, 1] - single[0, 1])


def test_models_of_the_target_itself(stores, out):
    told = transfer(
        stores[:2], out, features="coordination", labels=LABELS, reference="glass", **OPTIONS
    )
    for i, k in ((0, 1), (1, 0)):
        glass = prepare_glass(
            stores[k],
            out,
            features=[mgdask.Coordination(cutoff=4.0)],
            name="coordination",
            margin=4.0,
            threshold=2.0,
            progress=False,
        )
        x, label, atoms = glass.rows()
        regions = glass.regions()[atoms]
        score = np.full((2, len(label)), np.nan)
        for split in group_folds(regions, 5, 0, label):
            inside, outside = np.isin(regions, split.train), np.isin(regions, split.test)
            for m in range(2):
                some = np.flatnonzero(inside)[undersample(label[inside], m)]
                model = train(
                    x[some],
                    label[some].astype(float),
                    objective="binary",
                    num_boost_round=30,
                    params={**PARAMETERS, "min_data_in_leaf": 3},
                    seed=m,
                    threads=1,
                    progress=False,
                )
                score[m, outside] = model.predict(x[outside])
        own = naive_auc(label, score.mean(axis=0))
        assert float(told.reference[i, k]) == pytest.approx(own, abs=1e-12)
        assert float(told.difference[i, k]) == pytest.approx(
            float(told.roc_auc[i, k]) - own, abs=1e-12
        )


@pytest.mark.slow
def test_kept_back_glass_of_each_condition(stores, out, tmp_path):
    """Two conditions of two glasses: "2 of the 3 samples per condition for training, whereas the 3rd
    sample is set aside". The Ni-Nb glasses are the Cu-Zr ones renamed, so nothing is lost."""
    twin = tmp_path / "twin.zarr"
    dump = stores[1].with_suffix(".dump")
    mgdask.ingest(str(dump), twin, species=("Ni", "Nb"), timestep=0.002)
    labels = {name: {"rate": 1e12} for name in ("left", "right", "other", "twin")}
    told = transfer(
        [*stores, twin],
        out,
        features=["coordination", "chemistry"],
        columns="common",
        labels=labels,
        by="condition",
        **{**OPTIONS, "learning": {**LEARNING, "num_boost_round": 10}},
    )
    assert told.train.values.tolist() == ["Cu-Zr, 1e+12 K/s", "Ni-Nb, 1e+12 K/s"]
    assert told.test.values.tolist() == ["right", "twin"]
    assert told.category.values[0].tolist() == [["same", "other system"], ["other system", "same"]]
    one = told.isel(set=0)
    auc = one.roc_auc.values
    assert float(one.reference[0, 1]) == auc[1, 1]
    assert float(one.reference[1, 0]) == auc[0, 0]
    # columns without names of species: the same rows, so the same models and the same AUC
    assert auc[0, 0] == auc[1, 0] == auc[0, 1] == auc[1, 1]
    off = [[0, 1], [1, 0]]
    for name in ("difference", "difference_low", "difference_high", "single_difference"):
        assert one[name].values[tuple(off)].tolist() == [0.0, 0.0]
    # the only model of a condition has nothing to be compared with
    assert np.isnan(one.difference.values[[0, 1], [0, 1]]).all()


def test_pairs_of_the_paper():
    """Wang & Jain: 9 Cu-Zr conditions, 3 glasses each: 9, 18, 18 and 36 tests; 27 to 3 other systems."""
    labels = [
        {"system": "Cu-Zr", "composition": f"Cu{x}Zr{100 - x}", "rate": rate}
        for x in (50, 65, 80)
        for rate in (5e10, 5e11, 5e12)
        for _ in range(3)
    ]
    others = [
        {"system": system, "composition": text, "rate": 5e10}
        for system, text in (("Ni-Nb", "Ni62Nb38"), ("Al-Sm", "Al90Sm10"), ("Fe-P", "Fe80P20"))
    ]
    stores = [f"g{k}.zarr" for k in range(30)]
    groups, tested = transfer_softness._groups(stores, [*labels, *others], "condition")
    assert tested == [*range(2, 27, 3), 27, 28, 29]
    assert [group.members for group in groups] == [(k, k + 1) for k in range(0, 27, 3)]
    count = Counter(
        pair_category(group.label, [*labels, *others][k]) for group in groups for k in tested
    )
    assert count == {
        "same": 9,
        "other rate": 18,
        "other composition": 18,
        "other composition and rate": 36,
        "other system": 27,
    }


def test_pooled_interval_draws_test_glasses():
    """Six targets whose differences are -2, -1, 0, 0, 1, 2 without any spread within."""
    n_resamples, change = 4000, np.array([[-2.0, -1.0, 0.0, 0.0, 1.0, 2.0]])
    names = ("roc_auc", "recall", "single_roc_auc", "difference", "single_difference")
    result = xr.Dataset(
        {
            **dict.fromkeys(names, (("train", "test"), change)),
            "difference_resamples": (
                ("train", "test", "resample"),
                np.repeat(change[..., None], n_resamples, axis=-1),
            ),
        }
    )
    every = pooled_pairs(result, np.ones((1, 6), dtype=bool), seed=1)
    assert every["difference"] == 0.0
    # the bootstrap of a mean: standard error sqrt(variance / n)
    error = np.sqrt(np.mean(change**2) / 6)
    assert every["difference_high"] == pytest.approx(1.96 * error, rel=0.05)
    assert every["difference_low"] == pytest.approx(-1.96 * error, rel=0.05)
    # four test glasses are too few to be drawn from
    some = pooled_pairs(result, np.array([[True] * 4 + [False] * 2]), seed=1)
    assert some["difference_low"] == some["difference_high"] == some["difference"] == -0.75


@pytest.fixture
def near_symmetry(monkeypatch):
    """Symmetry functions of the nearest neighbors only: the same columns in a moment."""
    for name in ("symmetry_functions", "symmetry_by_role"):
        whole = sets.SETS[name]
        monkeypatch.setitem(sets.SETS, name, partial(whole, cutoff=1.6))


@pytest.mark.slow
def test_symmetry_functions_by_role_transfer(stores, out, tmp_path, near_symmetry):
    """Methods, Eqs. (2) and (3): X is A or B; for other systems "the host (majority) atoms only"."""
    quick = {**OPTIONS, "learning": {**LEARNING, "n_undersamples": 1, "num_boost_round": 5}}
    pair = [stores[0], stores[2]]
    with pytest.raises(ParameterError, match="different columns, such as 'G_Cu"):
        transfer(pair, out, features="symmetry_functions", **quick)
    labels = {
        "left": {"composition": "Cu65Zr35", "rate": 1e12, "centers": "all"},
        "other": {"composition": "Ni65Nb35", "rate": 1e12, "centers": "host"},
    }
    told = transfer(
        pair, out, features=["coordination", "symmetry_by_role"], labels=labels, **quick
    )
    assert told["set"].values.tolist() == ["coordination", "symmetry_by_role"]
    assert told.attrs["columns"] == [2, 166]
    assert told.category.values[:, 0, 1].tolist() == ["other system"] * 2
    stored = mgdask.open_store(out / "other-symmetry_by_role.zarr")
    assert stored.symmetry_by_role_feature.values[0] == "G_A r=0"
    # the same rows for both sets; nickel only where hosts alone are included
    numbers = np.asarray(mgdask.open_store(stores[2])["species"].values)
    atoms = told.train_atoms.values
    assert (atoms[0] == atoms[1]).all()
    glass = prepare_glass(
        stores[2],
        out,
        features=[mgdask.Coordination(cutoff=4.0)],
        name="coordination",
        margin=4.0,
        threshold=2.0,
        species=("host",),
        progress=False,
    )
    assert set(numbers[glass.keep]) == {28}
    assert 0 < atoms[0, 1, 0] == len(glass.rows()[1]) < atoms[0, 0, 1]
    # the same structure: Ni and Cu have one radius, so rows are equal
    left = mgdask.open_store(out / "left-symmetry_by_role.zarr").symmetry_by_role.values
    assert (stored.symmetry_by_role.values == left).all()
    given = transfer(
        pair,
        tmp_path,
        features="symmetry_by_role",
        labels={name: {**one, "roles": "Zr+Cu"} for name, one in labels.items() if name == "left"}
        | {"other": {**labels["other"], "roles": "Nb+Ni"}},
        **quick,
    )
    assert given.attrs["columns"] == 166
    swapped = mgdask.open_store(tmp_path / "other-symmetry_by_role.zarr").symmetry_by_role
    assert swapped.values.tobytes() != stored.symmetry_by_role.values.tobytes()


def test_same_seed_same_bits(found, stores, out):
    again = transfer(stores[:2], out, features="coordination", labels=LABELS, **OPTIONS)
    for name in ("roc_auc", "roc_auc_low", "recall_high"):
        assert again[name].values.tobytes() == found[name].values[:2, :2].tobytes()


def test_bad_input_in_words(stores, out, tmp_path):
    with pytest.raises(ParameterError, match="two glasses or more"):
        transfer(stores[:1], out)
    with pytest.raises(ParameterError, match=r"left.zarr is given 2 times"):
        transfer([stores[0], tmp_path / "left.zarr"], out)
    with pytest.raises(ParameterError, match=r"labels of .*other.zarr: None"):
        transfer(stores, out, labels={"left": LABELS["left"], "right": LABELS["right"]})
    with pytest.raises(ParameterError, match="needs labels="):
        transfer(stores, out, by="label")
    with pytest.raises(ParameterError, match="by='wrong' must be 'glass'"):
        transfer(stores, out, by="wrong")
    (tmp_path / "twice.csv").write_text("store,rate\nleft,1\nleft,2\n")
    with pytest.raises(ParameterError, match="2 rows for left"):
        read_labels(tmp_path / "twice.csv")
    (tmp_path / "wrong.csv").write_text("name,system\nleft,CuZr\n")
    with pytest.raises(
        ParameterError, match="must have store and at least one of system, composition, rate"
    ):
        read_labels(tmp_path / "wrong.csv")
    with pytest.raises(ParameterError, match=r"none.csv' cannot be read: No such file"):
        read_labels(tmp_path / "none.csv")
    (tmp_path / "excel.csv").write_text("store,rate\nleft,1\n", encoding="utf-8-sig")
    assert read_labels(tmp_path / "excel.csv") == {"left": {"rate": "1"}}


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ({"rate": "fast"}, "rate='fast' must be a positive number, the quenching rate in K/s"),
        ({"rate": "-1"}, "rate='-1' must be"),
        ({"composition": "Cu50Zr50"}, r"composition='Cu50Zr50', but the store has Cu6\d"),
        ({"composition": "Cu65Fe35"}, "Check the rows"),
        ({"composition": "65"}, "must be a formula such as 'Cu65Zr35'"),
        ({"rate": 1, "centers": "Fe"}, "centers='Fe' names Fe; the store has Cu, Zr"),
        ({"rate": 1, "roles": "Cu"}, "roles='Cu' must name every element once"),
        ({"speed": 1}, "every store needs the same keys"),
    ],
)
def test_wrong_labels_in_words(stores, label, words):
    with pytest.raises(ParameterError, match=words):
        check_labels(stores[:1], {"left": label})


def test_labels_in_one_form(stores):
    told = check_labels(
        stores[:2],
        {
            "left": {"composition": "Zr35Cu65", "rate": "5e12"},
            stores[1]: {"composition": "Cu0.65Zr0.35", "rate": 5000000000000},
        },
    )
    assert told[0] == told[1] == {"system": "Cu-Zr", "composition": "Cu65Zr35", "rate": 5e12}
    assert pair_category(*told) == "same"
    assert condition_name(told[0]) == "Cu65Zr35, 5e+12 K/s"
    assert condition_name({**told[0], "system": "other potential"}).startswith("other potential, ")
    with pytest.raises(ParameterError, match="both are labeled system='metal'"):
        check_labels(
            [stores[0], stores[2]], {"left": {"system": "metal"}, "other": {"system": "metal"}}
        )


def test_host_atoms_as_an_option(stores, tmp_path):
    """Methods: "the model is for the host (majority) atoms only"."""
    options = TransferOptions(stores=stores[:2], out=tmp_path, centers="host")
    assert options.glass()["species"] == ("host",)
    with pytest.raises(ParameterError, match="'host' is not an element"):
        TransferOptions(stores=stores[:2], out=tmp_path, centers="host,Cu")


def test_few_regions_are_said_to_be_few():
    assert resampling(np.arange(20) // 4, 100) == "95 %, 100 resamples of 5 regions"
    told = resampling(np.zeros(20, dtype=int), 100)
    assert told.startswith("95 %, 100 resamples of 20 atoms; there are too few regions")


@pytest.mark.slow
def test_on_the_command_line(found, stores, tmp_path):
    (tmp_path / "labels.csv").write_text(
        "store,system,rate\nleft.zarr,CuZr,1e12\nright.zarr,CuZr,1e10\n"
    )
    words = [
        "study",
        "transfer",
        str(stores[0]),
        str(stores[1]),
        "--out",
        str(tmp_path),
        "--labels",
        str(tmp_path / "labels.csv"),
        "--features",
        "coordination",
        "--features",
        "motifs",
        "--reference",
        "glass",
        "--margin",
        "4",
        "--threshold",
        "1",
        "--draws",
        "1",
        "--rounds",
        "20",
        "--workers",
        "1",
    ]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "other rate" in done.stdout
    told = json.loads((tmp_path / "transfer" / "by-category.json").read_text())
    assert [(row["set"], row["category"], row["pairs"]) for row in told["rows"]] == [
        ("coordination", "other rate", 2),
        ("motifs", "other rate", 2),
    ]
    page = (tmp_path / "report.html").read_text()
    for words in ("data:image/png", "ii other rate", "2 (2 compared)", "trained on other regions"):
        assert words in page
    rows = json.loads((tmp_path / "results.json").read_text())["metrics"]
    pooled = [
        row
        for row in rows
        if row["test"] == "pooled" and row["model"] == "motifs: mean over pairs: other rate"
    ]
    assert [row["name"] for row in pooled] == [
        "roc_auc",
        "recall",
        "roc_auc of single models",
        "roc_auc_difference",
        "roc_auc_difference of single models",
    ]
    assert all(row["low"] <= row["value"] <= row["high"] for row in pooled)
    assert (tmp_path / "transfer" / "transfer.png").stat().st_size > 10_000
    path = transfer_figure(found, tmp_path / "one.png")
    assert path.read_bytes() == transfer_figure(found, tmp_path / "two.png").read_bytes()
    assert write_table(found, tmp_path / "table").read_text().count("\n") == 10
