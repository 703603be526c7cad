"""Models of one glass on another: two halves of a real slab, and a third glass that is one of them under other species."""

from __future__ import annotations

import doctest
import json

import numpy as np
import pytest
from click.testing import CliRunner

import mgdask
from mgdask.cli import cli
from mgdask.errors import ParameterError
from mgdask.studies.softness import transfer as transfer_softness
from mgdask.studies.softness.comparison import write_table
from mgdask.studies.softness.data import prepare_glass
from mgdask.studies.softness.figures import transfer_figure
from mgdask.studies.softness.training import learn_softness
from mgdask.studies.softness.transfer import (
    pair_category,
    read_labels,
    transfer,
    transfer_by_category,
)
from tests.studies.test_softness_training import halves

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
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("halves")
    found = halves(folder)
    mgdask.ingest(
        str(folder / "left.dump"), folder / "other.zarr", species=("Ni", "Nb"), timestep=0.002
    )
    return [*found, folder / "other.zarr"]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def found(stores, out):
    return transfer(stores, out, features="coordination", labels=LABELS, **OPTIONS)


def test_examples():
    assert doctest.testmod(transfer_softness).failed == 0


def test_category_is_the_first_that_differs():
    base = {"system": "CuZr", "composition": "65", "rate": 1}
    assert pair_category(base, dict(base)) == "same"
    assert pair_category(base, {**base, "rate": 2}) == "other rate"
    assert pair_category(base, {**base, "rate": 2, "composition": "50"}) == "other composition"
    assert pair_category(base, {"system": "AlSm", "composition": "50", "rate": 2}) == "other system"
    assert pair_category({}, base) == "not labelled"


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
    assert mean.roc_auc.values == pytest.approx([(auc[0, 1] + auc[1, 0]) / 2, sum(other) / 4])
    assert mean.roc_auc_deviation.values == pytest.approx(
        [abs(auc[0, 1] - auc[1, 0]) / 2**0.5, np.std(other, ddof=1)]
    )
    assert float(mean.roc_auc_lowest[1]) == min(other)


def test_all_glasses_of_one_label_train_but_the_one_that_is_tested(found, stores, out):
    told = transfer(stores, out, features="coordination", labels=LABELS, by="label", **OPTIONS)
    assert told.train.values.tolist() == ["CuZr, 1e12", "NiNb, 1e12"]
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
    assert set(told.category.values.ravel()) == {"", "not labelled"}


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
    (tmp_path / "wrong.csv").write_text("name,system\nleft,CuZr\n")
    with pytest.raises(
        ParameterError, match="must have store and at least one of system, composition, rate"
    ):
        read_labels(tmp_path / "wrong.csv")


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
    assert [(row["category"], row["pairs"]) for row in told["rows"]] == [("other rate", 2)]
    assert (tmp_path / "transfer" / "transfer.png").stat().st_size > 10_000
    path = transfer_figure(found, tmp_path / "one.png")
    assert path.read_bytes() == transfer_figure(found, tmp_path / "two.png").read_bytes()
    assert write_table(found, tmp_path / "table").read_text().count("\n") == 10
