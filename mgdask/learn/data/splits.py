"""Splits of rows into training and test sets by whole groups, and undersampling.

Rows of one group, such as a simulation, are never on both sides.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask._typing import IntArray
from mgdask.errors import MissingDependencyError, ParameterError
from mgdask.learn.data.arrays import Label, coded, generator

_DRAWS = 256
"""Random splits of which the best balanced one is used."""
_TABLE_ROWS = 20_000
"""Rows to which tables of strata are scaled down."""
_SHOWN = 5
"""Labels listed in an error."""


def _selection() -> Any:
    """Import scikit-learn's splitters when first needed."""
    try:
        import sklearn.model_selection as selection
    except ImportError as error:
        raise MissingDependencyError("scikit-learn", "learn", "splitting by groups") from error
    return selection


def _listed(labels: Sequence[Label]) -> str:
    return ", ".join(repr(x) for x in labels[:_SHOWN]) + (
        f" and {len(labels) - _SHOWN} more" if labels[_SHOWN:] else ""
    )


@dataclass(frozen=True)
class Split:
    """Groups that train and groups that test, as plain values for a model card.

    Parameters
    ----------
    train
        Training groups, sorted.
    test
        Test groups, sorted; none of them trains.
    train_rows
        Number of training rows.
    test_rows
        Number of test rows.
    seed
        Seed of the split; None if nothing was drawn.
    how
        Description of how the split was made.
    digest
        SHA-256 of the groups of all rows in order. It recognizes other data, and the
        same rows in another order.

    Examples
    --------
    >>> split = group_split(["a", "a", "b", "c"], ["b"], seed=1)
    >>> split.train, split.test, split.train_rows
    (('a', 'c'), ('b',), 3)
    >>> Split.from_dict(split.as_dict()) == split
    True
    """

    train: tuple[Label, ...]
    test: tuple[Label, ...]
    train_rows: int
    test_rows: int
    seed: int | None
    how: str
    digest: str

    def __post_init__(self) -> None:
        check_disjoint(self.train, self.test)

    def rows(self, groups: npt.ArrayLike) -> tuple[IntArray, IntArray]:
        """Find the row numbers of both sides.

        Parameters
        ----------
        groups
            Group of each row, shape (row,), as when the split was made.

        Returns
        -------
        train
            Increasing numbers of the training rows.
        test
            Increasing numbers of the test rows.

        Raises
        ------
        ParameterError
            If the groups or their order differ.
        """
        kinds, which = coded("groups", groups)
        if _digest(kinds, which) != self.digest:
            raise ParameterError(
                f"these {len(which)} rows are not those of the split "
                f"({self.train_rows + self.test_rows} rows): their "
                "groups or their order differ; give the groups that the split was made from, or "
                "make a new split"
            )
        testing = np.isin(which, [kinds.index(name) for name in self.test])
        return np.flatnonzero(~testing), np.flatnonzero(testing)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "train": list(self.train), "test": list(self.test)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Split:
        """Build a split from the values of ``as_dict``."""
        return cls(**{**plain, "train": tuple(plain["train"]), "test": tuple(plain["test"])})


def check_disjoint(train: npt.ArrayLike, test: npt.ArrayLike) -> None:
    """Refuse groups that both train and test.

    Parameters
    ----------
    train
        Training groups, or the group of each row.
    test
        Test groups, or the group of each row. Compared as text, so 1 equals "1".

    Raises
    ------
    ParameterError
        If groups are common; it names them.

    Examples
    --------
    >>> check_disjoint(["a", "b"], ["c"])
    """
    common = sorted(
        {str(x) for x in coded("train", train)[0]} & {str(x) for x in coded("test", test)[0]}
    )
    if common:
        raise ParameterError(
            f"{_listed(common)} {'is' if len(common) == 1 else 'are'} among the training groups "
            "and the test groups; a "
            "score on rows of a training group is not meaningful: leave the group out on one side"
        )


def _digest(kinds: tuple[Label, ...], which: IntArray) -> str:
    sha256 = hashlib.sha256(repr(kinds).encode())
    sha256.update(which.astype("<i4").tobytes())
    return sha256.hexdigest()


def _make_split(
    kinds: tuple[Label, ...],
    which: IntArray,
    testing: set[int],
    seed: int | None,
    how: str,
    digest: str,
) -> Split:
    count = np.bincount(which)
    train = [i for i in range(len(kinds)) if i not in testing]
    test = sorted(testing)
    return Split(
        tuple(kinds[i] for i in train),
        tuple(kinds[i] for i in test),
        int(count[train].sum()),
        int(count[test].sum()),
        seed,
        how,
        digest,
    )


def _table(which: IntArray, number: int, strata: npt.ArrayLike | None) -> IntArray:
    """Count the rows of each stratum in each group, shape (group, stratum)."""
    if strata is None:
        return np.bincount(which, minlength=number).astype(np.int64)[:, None]
    labels, stratum = coded("strata", strata, len(which))
    flat = np.bincount(which * len(labels) + stratum, minlength=number * len(labels))
    return flat.reshape(number, len(labels)).astype(np.int64)


def group_split(
    groups: npt.ArrayLike,
    test: float | Sequence[Label],
    seed: int,
    strata: npt.ArrayLike | None = None,
) -> Split:
    """Split whole groups into training and test groups.

    Parameters
    ----------
    groups
        Group of each row, text or numbers, shape (row,).
    test
        Share of the groups to test on, between 0 and 1, or the list of test groups.
    seed
        Whole number.
    strata
        Labels whose shares should be alike on both sides, shape (row,). Of 256 draws,
        the one whose test shares of all strata are closest to the target is used.

    Returns
    -------
    The split; ``.rows(groups)`` gives the row numbers.

    Raises
    ------
    ParameterError
        If there is only one group, a group is unknown or the share is out of range.

    Notes
    -----
    Each side has at least one group. Groups stay whole, so the balance is as good as
    they allow. Apart from its digest, the split does not depend on the order of rows.
    It is scikit-learn's GroupShuffleSplit on the table of groups.

    Examples
    --------
    >>> split = group_split(np.repeat(np.arange(10), 3), 0.2, seed=1)
    >>> len(split.test), split.test_rows
    (2, 6)
    """
    kinds, which = coded("groups", groups)
    rng = generator(seed)
    _enough(kinds, 2, "a split")
    digest = _digest(kinds, which)
    if not isinstance(test, float | int | np.floating):
        named = coded("test", test)[0]
        unknown = [x for x in named if x not in kinds]
        if unknown or len(named) == len(kinds):
            what = (
                f"{_listed(unknown)} not among the groups"
                if unknown
                else "all groups, which leaves none to train"
            )
            raise ParameterError(f"test={list(named)}: {what}; choose some of {_listed(kinds)}")
        return _make_split(
            kinds, which, {kinds.index(x) for x in named}, None, "groups named", digest
        )
    if not 0.0 < test < 1.0:
        raise ParameterError(
            f"test={test} must be a share of the groups between 0 and 1, or a list of groups"
        )
    number = min(max(round(test * len(kinds)), 1), len(kinds) - 1)
    draws = 1 if strata is None else _DRAWS
    shuffle = _selection().GroupShuffleSplit(
        draws, test_size=number, random_state=int(rng.integers(2**31))
    )
    each = np.arange(len(kinds))
    drawn = [np.sort(chosen) for _, chosen in shuffle.split(each[:, None], groups=each)]
    table = _table(which, len(kinds), strata)
    share = np.array([table[chosen].sum(axis=0) / table.sum(axis=0) for chosen in drawn])
    best = int(np.abs(share - number / len(kinds)).sum(axis=1).argmin())
    how = f"{test:g} of the groups drawn" + ("" if strata is None else ", strata balanced")
    return _make_split(kinds, which, set(drawn[best].tolist()), int(seed), how, digest)


def group_folds(
    groups: npt.ArrayLike, k: int, seed: int, strata: npt.ArrayLike | None = None
) -> list[Split]:
    """Split whole groups into k folds, so that every group tests once.

    Parameters
    ----------
    groups
        Group of each row, text or numbers, shape (row,).
    k
        Number of folds, from 2 to the number of groups.
    seed
        Whole number. It decides between groups of equal size.
    strata
        Labels whose shares should be alike in all folds, shape (row,). By default the
        folds have about equally many rows.

    Returns
    -------
    One split per fold. Apart from the digest, they do not depend on the order of rows.

    Raises
    ------
    ParameterError
        If there are fewer groups than folds.

    Notes
    -----
    If strata would leave a fold empty, rows are balanced instead and ``how`` says so.
    Strata of more than 20 000 rows are balanced by shares rounded to a 20 000th.

    With strata, the rule is scikit-learn's StratifiedGroupKFold on a table of groups.
    Without, it is that of GroupKFold with a stable sort: the largest group goes first,
    into the smallest fold. GroupKFold's order of equally large groups depends on the
    processor.

    Examples
    --------
    >>> [s.test for s in group_folds(["a", "a", "b", "c", "c", "d"], 2, seed=3)]
    [('c', 'd'), ('a', 'b')]
    """
    kinds, which = coded("groups", groups)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 2:
        raise ParameterError(f"k={k!r} must be a whole number of folds, 2 or above, such as 5")
    _enough(kinds, int(k), f"{k} folds")
    order = generator(seed).permutation(len(kinds))
    table = _table(which, len(kinds), strata)[order]
    how = f"{k} folds of groups"
    fold = None
    if table.shape[1] > 1:
        fold, how = _stratified(table, int(k)), how + ", strata balanced"
        if fold is None:
            how = f"{k} folds of groups, rows balanced (strata could not be)"
    if fold is None:
        fold = _even(table.sum(axis=1), int(k))
    digest = _digest(kinds, which)
    return [
        _make_split(
            kinds, which, set(order[fold == i].tolist()), int(seed), f"{how}, fold {i + 1}", digest
        )
        for i in range(int(k))
    ]


def _shrunk(count: IntArray) -> IntArray:
    """Scale counts to a sum of about ``_TABLE_ROWS``. Positive counts stay positive."""
    return np.asarray(np.ceil(count * min(1.0, _TABLE_ROWS / count.sum())), dtype=np.int64)


def _even(count: IntArray, k: int) -> IntArray:
    """Assign groups to folds: the largest first, each into the smallest fold.

    The fold with the fewest rows comes first, then the one with the fewest groups.
    """
    fold = np.empty(len(count), dtype=np.int64)
    rows, members = np.zeros(k, dtype=np.int64), np.zeros(k, dtype=np.int64)
    for group in np.argsort(-count, kind="stable"):
        fold[group] = i = int(np.lexsort((members, rows))[0])
        rows[i], members[i] = rows[i] + count[group], members[i] + 1
    return fold


def _stratified(table: IntArray, k: int) -> IntArray | None:
    """Assign groups to folds. None if a fold would be empty."""
    count = _shrunk(table)
    group, stratum = (np.repeat(i.reshape(-1), count.reshape(-1)) for i in np.indices(count.shape))
    if count.sum(axis=0).max() < k:
        return None
    fold = np.empty(len(table), dtype=np.int64)
    splitter = _selection().StratifiedGroupKFold(k)
    with warnings.catch_warnings():
        # a stratum with fewer rows than folds is balanced as far as possible
        warnings.simplefilter("ignore")
        for i, (_, chosen) in enumerate(splitter.split(np.zeros((len(group), 1)), stratum, group)):
            fold[np.unique(group[chosen])] = i
    return fold if len(np.unique(fold)) == k else None


def leave_one_group_out(groups: npt.ArrayLike) -> list[Split]:
    """Make one split per group, in which that group tests and all others train.

    Parameters
    ----------
    groups
        Group of each row, shape (row,).

    Returns
    -------
    Splits in the order of the sorted groups. They have no seed.

    Raises
    ------
    ParameterError
        If there is only one group.

    Examples
    --------
    >>> [s.test for s in leave_one_group_out(["b", "a", "b"])]
    [('a',), ('b',)]
    """
    kinds, which = coded("groups", groups)
    _enough(kinds, 2, "leaving one out")
    digest = _digest(kinds, which)
    return [
        _make_split(kinds, which, {i}, None, "one group left out", digest)
        for i in range(len(kinds))
    ]


def _enough(kinds: tuple[Label, ...], needed: int, what: str) -> None:
    if len(kinds) < needed:
        raise ParameterError(
            f"{what} needs {needed} groups, there {'is' if len(kinds) == 1 else 'are'} "
            f"{len(kinds)} ({_listed(kinds)}): "
            f"{'ask for fewer folds, ' if len(kinds) > 1 else ''}add groups, or use a finer label "
            "as group, if its "
            "groups are still independent"
        )


def undersample(
    labels: npt.ArrayLike, seed: int, ratio: float = 1.0, strata: npt.ArrayLike | None = None
) -> IntArray:
    """Draw a balanced subset: all rows of the rarest class and as many of each other.

    With r the class that has the fewest rows::

        n'_c = min(n_c, round(ratio n_r))

    Parameters
    ----------
    labels
        Class of each row, shape (row,).
    seed
        Whole number.
    ratio
        Rows of each other class per row of the rarest, above 0.
    strata
        Second label, such as the group, shape (row,). The formula then holds in each
        stratum, with r the class that is rarest overall.

    Returns
    -------
    Increasing row numbers.

    Raises
    ------
    ParameterError
        If there is only one class or ``ratio`` is not positive.

    Notes
    -----
    With strata, the share of r is the same in every stratum. A stratum with too few
    rows of another class keeps all of them. One without rows of r is dropped. Scores of
    a model trained this way are not probabilities of the whole population: calibrate
    them.

    Examples
    --------
    >>> rows = undersample([0, 0, 0, 0, 1, 0, 1], seed=1)
    >>> len(rows), {4, 6} <= set(rows.tolist())
    (4, True)
    """
    kinds, label = coded("labels", labels)
    if len(kinds) < 2:
        raise ParameterError(
            f"labels holds one class only ({kinds[0]!r}, {len(label)} rows); at least "
            "two are needed"
        )
    if not ratio > 0 or not np.isfinite(ratio):
        raise ParameterError(
            f"ratio={ratio} must be finite and above 0; 1 takes equally many rows of every class"
        )
    parts, stratum = (
        (("",), np.zeros_like(label)) if strata is None else coded("strata", strata, len(label))
    )
    count = np.bincount(stratum * len(kinds) + label, minlength=len(parts) * len(kinds)).reshape(
        len(parts), -1
    )
    rarest = int(count.sum(axis=0).argmin())
    quota = (
        np.floor(ratio * count[:, rarest, None] + 0.5).astype(np.int64).repeat(len(kinds), axis=1)
    )
    quota[:, rarest] = count[:, rarest]
    mixed = generator(seed).permutation(len(label))
    cell = stratum[mixed] * len(kinds) + label[mixed]
    # rows of one cell together, in random order
    order = np.argsort(cell, kind="stable")
    start = np.concatenate(([0], np.cumsum(count.reshape(-1))))[:-1]
    place = np.arange(len(label)) - start[cell[order]]
    kept: IntArray = np.sort(mixed[order[place < quota.reshape(-1)[cell[order]]]])
    return kept
