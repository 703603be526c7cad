"""Splits by group and undersampling: nothing on both sides, balance, bits by seed, refusals in words."""

from __future__ import annotations

import builtins
import doctest
import json

import numpy as np
import pytest

from mgdask.errors import MissingDependencyError, ParameterError
from mgdask.learn.data import splits
from mgdask.learn.data.splits import (
    Split,
    check_disjoint,
    group_folds,
    group_split,
    leave_one_group_out,
    undersample,
)


def test_examples():
    assert doctest.testmod(splits, extraglobs={"np": np}).failed == 0


def grouped(rng, number=23):
    size = rng.integers(20, 400, number)
    groups = np.repeat([f"run{i}" for i in range(number)], size)
    labels = (rng.random(len(groups)) < np.repeat(rng.uniform(0.02, 0.3, number), size)).astype(int)
    return groups, labels


@pytest.mark.parametrize("balanced", [False, True])
def test_folds_hold_whole_groups_once(rng, balanced):
    groups, labels = grouped(rng)
    folds = group_folds(groups, 5, 3, labels if balanced else None)
    tested = np.concatenate([f.test for f in folds])
    assert sorted(tested) == sorted(set(groups))
    rows = np.concatenate([f.rows(groups)[1] for f in folds])
    assert np.array_equal(np.sort(rows), np.arange(len(groups)))
    for fold in folds:
        train, test = fold.rows(groups)
        assert not set(groups[train]) & set(groups[test])
        assert (len(train), len(test)) == (fold.train_rows, fold.test_rows)
        assert set(fold.train) == set(groups[train])
    assert folds == group_folds(groups, 5, 3, labels if balanced else None)
    same = (
        np.arange(100) % 20
    )  # groups of one size are drawn, those of different sizes fill the folds by size
    assert any(group_folds(same, 5, s)[0].test != group_folds(same, 5, 3)[0].test for s in range(5))
    turn = rng.permutation(len(groups))
    again = group_folds(groups[turn], 5, 3, labels[turn] if balanced else None)
    assert [f.test for f in again] == [f.test for f in folds]
    if balanced:
        share = [labels[f.rows(groups)[1]].mean() for f in folds]
        plain = [labels[f.rows(groups)[1]].mean() for f in group_folds(groups, 5, 3)]
        assert np.std(share) < 0.5 * np.std(plain)
        assert all("balanced" in f.how for f in folds)
    else:
        size = [f.test_rows for f in folds]
        assert max(size) < 1.1 * min(size)


def test_even_folds_are_as_even_as_those_of_scikit_learn(rng):
    from sklearn.model_selection import GroupKFold

    groups, _ = grouped(rng)
    theirs = [len(test) for _, test in GroupKFold(4).split(groups, groups=groups)]
    assert sorted(theirs) == sorted(f.test_rows for f in group_folds(groups, 4, 0))


def test_stratified_folds_are_those_of_scikit_learn(rng):
    from sklearn.model_selection import StratifiedGroupKFold

    groups, labels = grouped(rng)
    mine = group_folds(groups, 4, 9, labels)
    order = np.random.default_rng(9).permutation(len(np.unique(groups)))
    renamed = np.argsort(order)[np.unique(groups, return_inverse=True)[1]]
    theirs = [test for _, test in StratifiedGroupKFold(4).split(groups, labels, renamed)]
    assert all(
        np.array_equal(f.rows(groups)[1], test) for f, test in zip(mine, theirs, strict=True)
    )


def test_strata_that_leave_a_fold_empty_fall_back_to_rows():
    groups = np.array(["a"] * 9 + ["b"] * 9 + ["c"])
    folds = group_folds(groups, 3, 0, np.arange(19))  # every row a stratum of its own
    assert sorted(f.test_rows for f in folds) == [1, 9, 9]


def test_one_split_drawn_balanced_or_named(rng):
    groups, labels = grouped(rng)
    split = group_split(groups, 0.25, 5)
    assert len(split.test) == 6
    assert split == group_split(groups, 0.25, 5)
    assert any(group_split(groups, 0.25, s).test != split.test for s in range(6, 10))

    def distance(split):
        train, test = split.rows(groups)
        return abs(labels[test].mean() - labels[train].mean())

    drawn = [distance(group_split(groups, 0.25, s)) for s in range(40)]
    assert distance(group_split(groups, 0.25, 5, labels)) < np.median(drawn)
    named = group_split(groups, ["run3", "run1"], 5)
    assert named.test == ("run1", "run3")
    assert named.seed is None
    assert [s.test for s in leave_one_group_out(groups)] == [(g,) for g in np.unique(groups)]
    assert group_split([300.0, 300.0, 600.0], 0.5, 1).train_rows in (1, 2)


def test_record_goes_through_json_and_knows_its_rows(rng):
    groups, _ = grouped(rng)
    split = group_split(groups, 0.3, 1)
    assert Split.from_dict(json.loads(json.dumps(split.as_dict()))) == split
    with pytest.raises(ParameterError, match="not those of the split"):
        split.rows(groups[::-1])
    number = group_split(np.repeat([4, 7, 9], 3), 0.3, 1)
    assert Split.from_dict(json.loads(json.dumps(number.as_dict()))) == number


def test_undersampling_is_equal_in_every_stratum(rng):
    groups, labels = grouped(rng)
    rows = undersample(labels, 1)
    assert np.bincount(labels[rows]).tolist() == [labels.sum()] * 2
    assert (np.diff(rows) > 0).all()
    assert set(np.flatnonzero(labels)) <= set(rows)
    assert np.array_equal(rows, undersample(labels, 1))
    assert not np.array_equal(rows, undersample(labels, 2))
    rows = undersample(labels, 1, ratio=2.0, strata=groups)
    for name in np.unique(groups):
        mine = labels[rows][groups[rows] == name]
        here = labels[groups == name]
        assert mine.sum() == here.sum()
        assert (mine == 0).sum() == min(2 * here.sum(), (here == 0).sum())
    three = rng.choice(["x", "y", "z"], 1000, p=[0.1, 0.3, 0.6])
    assert len(set(np.unique(three[undersample(three, 0)], return_counts=True)[1])) == 1


def test_undersampling_draws_all_rows_alike():
    labels = np.array([1] * 5 + [0] * 20)
    count = sum(np.bincount(undersample(labels, s), minlength=25) for s in range(2000))
    assert (count[:5] == 2000).all()
    assert abs(count[5:] - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)


def test_refusals_in_words():
    two = ["a", "a", "b"]
    for call, words in (
        (lambda: group_folds(two, 3, 0), "3 folds needs 3 groups, there are 2.*fewer folds"),
        (lambda: group_folds(two, 1, 0), "2 or above"),
        (lambda: group_split(["a", "a"], 0.5, 0), "a split needs 2 groups"),
        (lambda: leave_one_group_out(["a"]), "add groups"),
        (lambda: group_split(two, 1.5, 0), "between 0 and 1"),
        (lambda: group_split(two, ["c"], 0), "'c' not among the groups"),
        (lambda: group_split(two, ["a", "b"], 0), "none to train"),
        (lambda: group_split(two, 0.5, -1), "seed=-1"),
        (lambda: group_split(two, 0.5, 1.5), "seed=1.5"),
        (lambda: group_split([1.0, np.nan], 0.5, 1), r"groups\[1\] is NaN"),
        (lambda: group_split(np.array(["a", 1], dtype=object), 0.5, 1), "mixes kinds"),
        (lambda: group_split([["a"]], 0.5, 1), "shape"),
        (lambda: group_folds(two, 2, 0, [1, 2]), "strata has 2 rows, but 3"),
        (
            lambda: check_disjoint(["a", "b"], ["b", "c"]),
            "'b' is among the training groups and the test groups",
        ),
        (lambda: check_disjoint([1, 2], ["2", "1"]), "are among"),
        (lambda: Split(("a",), ("a",), 1, 1, 0, "", ""), "among the training"),
        (lambda: undersample([1, 1], 0), "one class only"),
        (lambda: undersample([0, 1], 0, ratio=0), "ratio=0"),
    ):
        with pytest.raises(ParameterError, match=words):
            call()


def test_without_scikit_learn_the_install_line_is_given(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **options):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=r"pip install 'mgdask\[learn\]'"):
        group_split(["a", "b"], 0.5, 1)
