"""Representative classes: which temperatures can be distinguished by motion.

The instances are divided at random into subsets. The rows of each subset are clustered
by single linkage, and a large cluster is labeled with the most frequent temperature of
its leaves (Liu X. et al. (2022), "Representative class selection"). The paper shows
statistics of these labels, but not how seven classes follow from them. ``RULE`` is our
rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.execution.client import resolve_client
from mgdask.execution.executor import execute
from mgdask.learn.data.arrays import generator
from mgdask.learn.linkage import LINKAGES, linkage_clusters
from mgdask.studies.records import Record

if TYPE_CHECKING:
    from mgdask.cluster.client import Client

PAPER_CLASSES = (100.0, 800.0, 1000.0, 1100.0, 1200.0, 1300.0, 2000.0)
"""Representative classes of Liu X. et al. (2022) in K."""
SUBSET_ROWS, CUTOFF, MIN_LEAVES = 4000, 3.6, 160
"""Rows of a subset, cutoff and leaves of a qualified cluster, as in the paper."""
SAME = 0.5
"""Two temperatures are in one group if their atoms share a cluster this often,
relative to atoms of one temperature."""
FOUND = 0.5
"""Share of the subsets in which a group must label a qualified cluster."""
MATCH = 0.01
"""Relative difference up to which a given class is the temperature of a run."""
RULE = (
    "Two temperatures are linked if their atoms share a qualified cluster at least half as often "
    "as atoms of the same temperature do. Linked temperatures form a group. A group counts if it "
    "labels a qualified cluster in at least half of the subsets. Its most frequent label is a "
    "representative class; if labels are equally frequent, the lowest. If fewer than two classes "
    "remain, the clusters do not distinguish the temperatures, and all temperatures are classes."
)
"""How classes follow from the clusters. The paper does not say how."""
TASK_ROWS = 100_000
"""Maximum number of rows in the subsets of one task, or the rows of one subset."""


class LabeledRows(Protocol):
    """The part of ``Instances`` that is used: rows by number and their temperatures."""

    @property
    def n_rows(self) -> int:
        """Number of rows."""

    def matrix(
        self,
        *,
        columns: Any = None,
        runs: Any = None,
        rows: Any = None,
        feature_temperature: Any = None,
    ) -> FloatArray:
        """Return features (row, column)."""

    def labels(self) -> Any:
        """Return labels of all rows, with ``temperature`` (row,) in K."""


@dataclass(frozen=True, eq=False)
class ClusterStatistics(Record):
    """Clusters of random subsets and the classes that follow from them.

    Parameters
    ----------
    form
        "run" if features are divided by the temperature of their run, "none" if they
        are not, or the number in K that they are divided by.
    temperature
        Temperatures in K (temperature,).
    n_rows, n_subsets
        Number of rows and of subsets.
    cutoff, min_leaves, seed, linkage
        As in ``representative_classes``.
    n_clusters
        Number of clusters of each subset (subset,), including those of one leaf.
    n_qualified
        Number of clusters with enough leaves (subset,).
    leaves
        Share of the rows of a subset that are in qualified clusters (subset,).
    count
        Number of qualified clusters that each temperature labels, over all subsets
        (temperature,).
    frequency
        Share of the subsets in which a temperature labels a qualified cluster
        (temperature,).
    chance
        ``count`` of every temperature if labels were drawn with equal probability.
    mode_share
        Share of the leaves of a qualified cluster that have the temperature of its
        label. Mean over all qualified clusters; NaN if there are none.
    subset_share
        The same for whole subsets. If ``mode_share`` is hardly larger, the clusters
        contain no information about temperature.
    shared
        Probability that an atom of one and an atom of another temperature are in the
        same qualified cluster (temperature, temperature).
    group
        Number of the group of each temperature (temperature,).
    by_rule
        Classes by the rule in K. Empty if there are fewer than two.
    classes
        Classes that are used, in K: those given, else those by the rule, else all.
    given
        Whether the classes were given.
    rule
        The rule in words.
    verdict
        What was found, in words.
    beside
        The same for the other form of the feature, for comparison only.
    """

    form: str
    temperature: FloatArray
    n_rows: int
    n_subsets: int
    cutoff: float
    min_leaves: int
    seed: int
    n_clusters: IntArray
    n_qualified: IntArray
    leaves: FloatArray
    count: IntArray
    frequency: FloatArray
    chance: float
    mode_share: float
    subset_share: float
    shared: FloatArray
    group: IntArray
    by_rule: FloatArray
    classes: FloatArray
    given: bool = False
    linkage: str = "single"
    rule: str = RULE
    verdict: str = ""
    beside: tuple[ClusterStatistics, ...] = ()

    @property
    def used(self) -> BoolArray:
        """Whether each temperature is a class that is used (temperature,)."""
        return np.isin(self.temperature, self.classes)


def representative_classes(
    rows: LabeledRows,
    *,
    feature_temperature: str | float | None = None,
    classes: Sequence[float] | None = None,
    subset_rows: int = SUBSET_ROWS,
    cutoff: float = CUTOFF,
    min_leaves: int = MIN_LEAVES,
    linkage: str = "single",
    both_forms: bool = True,
    seed: int = 0,
    client: Client | None = None,
    progress: bool = True,
) -> ClusterStatistics:
    """Cluster random subsets of instances and select representative temperatures.

    Parameters
    ----------
    rows
        Instances with all columns.
    feature_temperature
        Temperature that features are divided by: "run", a number in K, or None.
    classes
        Classes in K. Default: by ``RULE``. The statistics are computed anyway.
    subset_rows
        Rows of a subset. The number of subsets is rounded, so that all have nearly
        this size.
    cutoff
        Distance of single linkage, in the unit of the unscaled features.
    min_leaves
        Minimum number of rows of a qualified cluster.
    linkage
        "single", as the paper says, or "average".
    both_forms
        Whether to also cluster the other form of the feature, for comparison: that
        with the temperature of the run, or else that without.
    seed
        Seed of the partition.
    client
        Dask client. Default: the current one, or a temporary one in this process.
    progress
        Show a bar on a terminal, or one log line per minute.

    Returns
    -------
    statistics
        Clusters, statistics over subsets, and classes.

    Raises
    ------
    ParameterError
        If there is one temperature only, a given class is not a temperature of the
        rows, or an option is out of range.

    Notes
    -----
    Every row is in exactly one subset. A task reads the rows of a few subsets and
    returns counts only. The result does not depend on how subsets are
    distributed over tasks.

    If several temperatures are equally frequent in a cluster, the lowest is its label.

    References
    ----------
    Liu X. et al., J. Mater. Inf. 2, 20 (2022): 250 subsets of 10^6 instances, cutoff
    3.6, at least 160 leaves, seven classes.

    Examples
    --------
    >>> representative_classes(instances).classes  # doctest: +SKIP
    """
    temperature = np.asarray(rows.labels().temperature, dtype=np.float64)
    kinds = np.unique(temperature)
    _validate(kinds, subset_rows, cutoff, min_leaves, linkage)
    chosen = None if classes is None else given_classes(classes, kinds)
    n_subsets = max(1, round(rows.n_rows / subset_rows))
    per_task = max(1, TASK_ROWS * n_subsets // rows.n_rows)
    generator(seed)
    tasks = [
        (
            f"subsets from {first}",
            (
                rows,
                feature_temperature,
                seed,
                n_subsets,
                first,
                min(first + per_task, n_subsets),
                cutoff,
                min_leaves,
                linkage,
            ),
        )
        for first in range(0, n_subsets, per_task)
    ]
    with resolve_client(client) as workers:
        outcome = execute(workers, _cluster_subsets, tasks, what="classes", progress=progress)
    subsets = [one for name, _ in tasks for one in outcome.results[name]]
    statistics = _statistics(
        subsets, kinds, form_of(feature_temperature), cutoff, min_leaves, linkage, seed
    )
    if chosen is not None:
        statistics = replace(statistics, classes=chosen, given=True)
    if not both_forms:
        return statistics
    # division by one number moves all rows alike and changes no distance
    other = representative_classes(
        rows,
        feature_temperature=None if feature_temperature == "run" else "run",
        subset_rows=subset_rows,
        cutoff=cutoff,
        min_leaves=min_leaves,
        linkage=linkage,
        both_forms=False,
        seed=seed,
        client=client,
        progress=progress,
    )
    return replace(statistics, beside=(other,))


def form_of(feature_temperature: str | float | None) -> str:
    """Return the name of a form of the feature.

    Parameters
    ----------
    feature_temperature
        "run", a number in K, or None.
    """
    if feature_temperature is None:
        return "none"
    return (
        feature_temperature
        if isinstance(feature_temperature, str)
        else (f"{feature_temperature:g}")
    )


def given_classes(classes: Sequence[float], temperature: FloatArray) -> FloatArray:
    """Return the temperatures of runs that given classes name.

    Parameters
    ----------
    classes
        Temperatures in K, each within 1 % of that of a run.
    temperature
        Distinct temperatures of the runs in K.

    Raises
    ------
    ParameterError
        If a class is not one of them, or fewer than two are given.
    """
    found = []
    for one in classes:
        near = int(np.abs(temperature - one).argmin())
        if not abs(temperature[near] - one) <= MATCH * temperature[near]:
            raise ParameterError(
                f"classes has {one:g} K, but no training run is within 1 % of it; there are runs "
                f"at {_listed(temperature)}"
            )
        found.append(float(temperature[near]))
    distinct = np.unique(found)
    if len(distinct) < 2:
        raise ParameterError(
            f"classes={tuple(classes)}: at least two different temperatures are needed. There "
            f"are runs at {_listed(temperature)}"
        )
    return distinct


def _validate(
    kinds: FloatArray, subset_rows: int, cutoff: float, min_leaves: int, linkage: str
) -> None:
    if linkage not in LINKAGES:
        raise ParameterError(f"linkage={linkage!r}; choose one of {', '.join(LINKAGES)}")
    if not np.isfinite(kinds).all():
        raise ParameterError(
            "some training rows have no temperature; add it with mgdask attach --temperature"
        )
    if len(kinds) < 2:
        raise ParameterError(
            f"all training rows are at {kinds[0]:g} K; give runs at two or more temperatures"
        )
    if subset_rows < 2 or min_leaves < 1 or not cutoff > 0.0:
        raise ParameterError(
            f"subset_rows={subset_rows} must be at least 2, min_leaves={min_leaves} at least 1, "
            f"and linkage_cutoff={cutoff} above 0"
        )


@dataclass(frozen=True)
class _Subset:
    """Clusters of one subset: all rows by temperature, and the qualified clusters."""

    rows: IntArray
    n_clusters: int
    qualified: IntArray


def subset_of_row(n_rows: int, n_subsets: int, seed: int) -> IntArray:
    """Return the subset of each row, a random partition into nearly equal parts.

    Parameters
    ----------
    n_rows, n_subsets
        Number of rows and of subsets.
    seed
        Seed of the partition.
    """
    subset = np.empty(n_rows, dtype=np.int64)
    subset[generator(seed).permutation(n_rows)] = np.arange(n_rows) * n_subsets // n_rows
    return subset


def _cluster_subsets(
    rows: LabeledRows,
    feature_temperature: str | float | None,
    seed: int,
    n_subsets: int,
    first: int,
    last: int,
    cutoff: float,
    min_leaves: int,
    linkage: str,
) -> list[_Subset]:
    """Task: cluster some subsets and count temperatures in the qualified clusters."""
    subset = subset_of_row(rows.n_rows, n_subsets, seed)
    mine = np.flatnonzero((subset >= first) & (subset < last))
    kinds, code = np.unique(np.asarray(rows.labels().temperature), return_inverse=True)
    x = rows.matrix(rows=mine, feature_temperature=feature_temperature)
    subset, code = subset[mine], code[mine]
    found = []
    for number in range(first, last):
        here = np.flatnonzero(subset == number)
        cluster = linkage_clusters(x[here], cutoff, linkage)
        counts = np.zeros((cluster.max() + 1, len(kinds)), dtype=np.int64)
        np.add.at(counts, (cluster, code[here]), 1)
        qualified = counts[counts.sum(axis=1) >= min_leaves]
        found.append(_Subset(counts.sum(axis=0), len(counts), qualified))
    return found


def _statistics(
    subsets: Sequence[_Subset],
    kinds: FloatArray,
    form: str,
    cutoff: float,
    min_leaves: int,
    linkage: str,
    seed: int,
) -> ClusterStatistics:
    """Return statistics over subsets and the classes by the rule."""
    n_kinds = len(kinds)
    labels = [one.qualified.argmax(axis=1) for one in subsets]
    every = np.concatenate(labels)
    labeled = np.array([np.bincount(some, minlength=n_kinds) > 0 for some in labels])
    shared = np.mean([_shared(one) for one in subsets], axis=0)
    group = _groups(shared)
    count = np.bincount(every, minlength=n_kinds)
    by_rule = kinds[_by_rule(group, count, labeled)]
    shares = [one.qualified.max(axis=1) / one.qualified.sum(axis=1) for one in subsets]
    mode_share = float(np.concatenate(shares).mean()) if len(every) else float("nan")
    subset_share = float(np.mean([one.rows.max() / one.rows.sum() for one in subsets]))
    n_qualified = np.array([len(one.qualified) for one in subsets])
    separated = len(by_rule) >= 2
    return ClusterStatistics(
        form=form,
        temperature=kinds,
        n_rows=int(sum(one.rows.sum() for one in subsets)),
        n_subsets=len(subsets),
        cutoff=float(cutoff),
        min_leaves=int(min_leaves),
        linkage=linkage,
        seed=int(seed),
        n_clusters=np.array([one.n_clusters for one in subsets]),
        n_qualified=n_qualified,
        leaves=np.array([one.qualified.sum() / one.rows.sum() for one in subsets]),
        count=count,
        frequency=labeled.mean(axis=0),
        chance=len(every) / n_kinds,
        mode_share=mode_share,
        subset_share=subset_share,
        shared=shared,
        group=group,
        by_rule=by_rule if separated else by_rule[:0],
        classes=by_rule if separated else kinds,
        verdict=_verdict(n_qualified, by_rule, separated, mode_share, subset_share),
    )


def _shared(subset: _Subset) -> FloatArray:
    """Return how often atoms of two temperatures share a cluster of a subset."""
    share = subset.qualified / np.maximum(subset.rows, 1)
    return np.asarray(share.T @ share, dtype=np.float64)


def _groups(shared: FloatArray) -> IntArray:
    """Return the group of each temperature: those that share clusters are connected."""
    from scipy.sparse.csgraph import connected_components

    own = np.diagonal(shared)
    linked = (shared > 0.0) & (shared >= SAME * np.minimum(own[:, None], own[None, :]))
    return np.asarray(connected_components(linked, directed=False)[1], dtype=np.int64)


def _by_rule(group: IntArray, count: IntArray, labeled: BoolArray) -> IntArray:
    """Return the temperatures (numbers in ascending order) that stand for groups."""
    found = []
    for number in range(group.max() + 1):
        members = np.flatnonzero(group == number)
        if labeled[:, members].any(axis=1).mean() >= FOUND:
            found.append(int(members[count[members].argmax()]))
    return np.array(sorted(found), dtype=np.int64)


def _verdict(
    n_qualified: IntArray,
    by_rule: FloatArray,
    separated: bool,
    mode_share: float,
    subset_share: float,
) -> str:
    """Say what was found."""
    per_subset = f"{n_qualified.mean():.3g} qualified clusters per subset (mean)"
    if separated:
        return f"{per_subset}. The rule selects {_listed(by_rule)}."
    if not n_qualified.any():
        return f"{per_subset}. No cluster is large enough, so all temperatures are classes."
    return (
        f"{per_subset}. In a cluster, {100 * mode_share:.1f} % of the leaves have the temperature "
        f"of its label. In a whole subset, {100 * subset_share:.1f} % of the rows have the most "
        "frequent temperature. The clusters do not distinguish the temperatures, so all "
        "temperatures are classes."
    )


def _listed(temperature: FloatArray) -> str:
    return ", ".join(f"{one:g}" for one in temperature) + " K"
