"""Model cards: everything in, the same out of JSON, changes noticed, columns checked."""

from __future__ import annotations

import doctest
import json

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.learn.data.splits import group_folds, group_split
from mgdask.learn.evaluation.bootstrap import bootstrap
from mgdask.learn.evaluation.metrics import baseline_scores
from mgdask.learn.training import card as module
from mgdask.learn.training.card import (
    check_card,
    data_digest,
    model_card,
    read_card,
    to_json,
    to_markdown,
    write_card,
)


def made(rng, **changes):
    y = (rng.random(300) < 0.3).astype(int)
    score, groups = y + rng.normal(size=300), np.repeat(["a", "b", "c"], 100)
    values = {
        "data": {"X": data_digest(score), "labels": data_digest(y)},
        "columns": ["first", "second"],
        "split": group_split(groups, ["c"], 1),
        "parameters": {"trees": np.int64(200), "rate": np.float32(0.5), "depths": np.arange(3)},
        "metrics": {
            "roc_auc": bootstrap("roc_auc", y, score, groups, n_resamples=50, seed=1),
            "share": np.nan,
        },
        "baselines": {
            k: {"roc_auc": bootstrap("roc_auc", y, s, n_resamples=50)}
            for k, s in baseline_scores(y, 300, 1).items()
        },
        "seed": 4,
        "notes": ["a first try"],
    }
    return model_card("demo", **{**values, **changes})


def test_examples():
    assert doctest.testmod(module, extraglobs={"np": np}).failed == 0


def test_card_goes_through_files(tmp_path):
    card = made(np.random.default_rng(1))
    assert card == made(np.random.default_rng(1))
    files = write_card(card, tmp_path / "model.v1")
    assert [f.name for f in files] == ["model.v1.json", "model.v1.md"]
    again = read_card(files[0])
    assert again == card
    assert to_json(again) == files[0].read_text()
    assert card["parameters"] == {"trees": 200, "rate": 0.5, "depths": [0, 1, 2]}
    assert card["metrics"]["share"] is None
    assert card["versions"]["scikit-learn"] != "not installed"
    assert any("3 groups are too few" in note for note in card["notes"])
    text = files[1].read_text()
    for words in (
        "# demo",
        "| roc_auc |",
        "unreliable",
        "minority",
        "200 rows of 2 groups train",
        "* trees: `200`",
        "`first`, `second`",
        "not defined",
        card["digest"],
    ):
        assert words in text, words


def test_folds_stand_in_a_card(rng):
    card = made(rng, split=group_folds(np.arange(30) % 6, 3, 1), metrics={"rmse": 0.25}, notes=())
    assert [part["how"] for part in card["split"]] == [
        f"3 folds of groups, fold {i}" for i in (1, 2, 3)
    ]
    assert "| rmse | 0.25 | |" in to_markdown(card)


def test_digest_of_data_is_of_its_values(rng, tmp_path):
    x = rng.normal(size=(1000, 7))
    np.save(tmp_path / "x.npy", x)
    mine = data_digest(x)
    assert (
        mine
        == data_digest(np.load(tmp_path / "x.npy", mmap_mode="r"))
        == data_digest(np.asfortranarray(x))
    )
    assert mine == data_digest(x.astype(">f8"))
    assert (
        len({mine, data_digest(x[::-1]), data_digest(x.ravel()), data_digest(x.astype("f4"))}) == 4
    )
    assert data_digest(["a", "b"]) != data_digest(["a", "c"])
    assert data_digest(1.0) != data_digest([1.0])


def test_refusals_in_words(rng, tmp_path):
    card = made(rng)
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "changed.json").write_text(json.dumps({**card, "seed": 5}))
    check_card(card, ["first", "second"])
    for call, words in (
        (lambda: made(rng, data={}), "data is empty"),
        (lambda: made(rng, columns=["a", "a"]), "more than once"),
        (lambda: made(rng, parameters={"f": [print]}), r"card.parameters.f\[0\] is builtin"),
        (lambda: check_card(card, ["second", "first"]), "the same in another order"),
        (lambda: check_card(card, ["first", "third"]), "missing second; unknown third"),
        (lambda: check_card({"a": 1}), "not a model card"),
        (lambda: read_card(tmp_path / "changed.json"), "does not match its digest"),
        (lambda: read_card(tmp_path / "bad.json"), "cannot be read"),
        (lambda: read_card(tmp_path / "list.json"), "holds a list"),
        (lambda: read_card(tmp_path / "none.json"), "cannot be read"),
        (lambda: data_digest(np.array([object()])), "has no digest"),
    ):
        with pytest.raises(ParameterError, match=words):
            call()
