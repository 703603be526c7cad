"""Composition and structure of groups of atoms with extreme (soft or hard) scores.

A group is a boolean mask (atom,). ``whole`` is the mask of the atoms that groups are
compared with, by default all atoms. Groups are subsets of it. Standard errors treat
atoms as independent. Neighboring atoms are not, so these errors are lower bounds. The
spread over independent configurations is a better estimate of the error.

Composition, polyhedra and coordination follow Figs. 4 and 5 and Eqs. (3) to (5) of Liu
et al., J. Mater. Inf. 2, 20 (2022), called Liu X. et al. 2022 here. Their groups are
the liquid-like and the solid-like atoms: the tenths of the atoms with the highest and
the lowest machine-learned temperature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.stats import rankdata

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.analysis.estimate import as_vector, error_attrs, proportion_variance, weighted_pearson
from mgdask.elements import symbol
from mgdask.errors import ParameterError

Groups = Mapping[str, BoolArray]
"""Masks (atom,) by name of the group."""


def extreme_groups(
    score: npt.ArrayLike, fraction: float = 0.1, ids: npt.ArrayLike | None = None
) -> tuple[BoolArray, BoolArray]:
    """Select the atoms with the lowest and with the highest scores.

    Each group has k of the n atoms whose score is not NaN::

        k = floor(fraction n)

    Parameters
    ----------
    score
        Scores, shape (atom,), in any unit.
    fraction
        Share of the atoms in each group, above 0 and at most 1/2.
    ids
        Distinct integer atom ids, shape (atom,). Default: row numbers.

    Returns
    -------
    low, high
        Boolean masks (atom,) of the lowest and of the highest scores. They have no atom
        in common. Atoms with NaN are in neither.

    Raises
    ------
    ParameterError
        If k is 0 or the arrays do not fit together.

    Notes
    -----
    Atoms with equal scores are ordered by id. The groups therefore do not depend on the
    order of the rows. If many scores are equal, as for counts, the boundary of a group
    depends on ids and has no meaning. Scores of different species are compared
    directly. If their levels differ, select one species first.

    References
    ----------
    Liu X. et al. 2022, "Structural characteristics of LAs and SAs": the tenths
    of the atoms with the highest and the lowest T_ML.

    Examples
    --------
    >>> low, high = extreme_groups([0.3, 0.1, np.nan, 0.9, 0.5], 0.25)
    >>> np.flatnonzero(low).tolist(), np.flatnonzero(high).tolist()
    ([1], [3])
    """
    s = as_vector("score", score, finite=False)
    if not 0.0 < fraction <= 0.5:
        raise ParameterError(
            f"fraction={fraction} must be above 0 and at most 0.5; 0.1 takes a tenth at each end"
        )
    number = np.arange(len(s)) if ids is None else np.asarray(ids)
    if number.shape != s.shape or number.dtype.kind not in "iu":
        raise ParameterError(
            f"ids must be {len(s)} integers, one per atom; got {number.dtype} {number.shape}"
        )
    if len(np.unique(number)) != len(number):
        raise ParameterError(
            "ids has repeated values; give each atom its own, or one frame at a time"
        )
    scored = np.flatnonzero(~np.isnan(s))
    k = math.floor(fraction * len(scored) + 1e-9)
    if k == 0:
        raise ParameterError(
            f"fraction={fraction} of {len(scored)} atoms with a score selects no atom; "
            "give a larger fraction"
        )
    order = scored[np.lexsort((number[scored], s[scored]))]
    low, high = np.zeros(len(s), dtype=bool), np.zeros(len(s), dtype=bool)
    low[order[:k]], high[order[len(order) - k :]] = True, True
    return low, high


def masks_of(
    groups: Groups, whole: npt.ArrayLike | None, length: int
) -> tuple[list[str], list[BoolArray], BoolArray]:
    """Check the masks of groups and of the whole.

    Parameters
    ----------
    groups
        Masks by name.
    whole
        Mask of the atoms to compare with, or None for all.
    length
        Number of atoms.

    Returns
    -------
    names, masks, whole
        Names and masks of the groups, and the mask of the whole.

    Raises
    ------
    ParameterError
        If a mask does not fit or a group has atoms outside the whole.
    """

    def mask(name: str, values: npt.ArrayLike) -> BoolArray:
        array = np.asarray(values)
        if array.dtype != np.bool_ or array.shape != (length,):
            raise ParameterError(
                f"{name} must be a mask of {length} booleans, one per atom; "
                f"got {array.dtype} {array.shape}"
            )
        return array

    if not isinstance(groups, Mapping) or not groups:
        raise ParameterError("groups must map names to masks, such as {'low': low, 'high': high}")
    whole_mask = np.ones(length, dtype=bool) if whole is None else mask("whole", whole)
    names = [str(name) for name in groups]
    masks = [mask(f"group {name!r}", values) for name, values in groups.items()]
    for name, group in zip(names, masks, strict=True):
        n_outside = int((group & ~whole_mask).sum())
        if n_outside:
            raise ParameterError(
                f"group {name!r} has {n_outside} atoms outside whole; a group must be part of it"
            )
    return names, masks, whole_mask


def atomic_numbers(numbers: npt.ArrayLike, length: int | None = None) -> IntArray:
    """Check atomic numbers (atom,) and convert them to int64."""
    z = np.asarray(numbers)
    if z.ndim != 1 or z.dtype.kind not in "iu" or (length is not None and len(z) != length):
        needed = "" if length is None else f"{length} "
        raise ParameterError(
            f"numbers must be {needed}atomic numbers (atom,); got {z.dtype} {z.shape}"
        )
    return z.astype(np.int64)


def _shares(
    inside: IntArray, size: IntArray, total: IntArray, n_whole: int
) -> dict[str, FloatArray]:
    """Shares of classes in groups against the whole.

    ``inside`` (group, class) and ``total`` (class,) are counts, ``size`` (group,) the
    sizes of the groups, ``n_whole`` the number of atoms of the whole.
    """
    n = size[:, None].astype(np.float64)
    rest = n_whole - n
    with np.errstate(divide="ignore", invalid="ignore"):
        share, overall = inside / n, total / n_whole
        other = np.where(rest > 0, (total - inside) / rest, overall)
        mine = proportion_variance(inside, n)
        theirs = np.where(rest > 0, proportion_variance(total - inside, rest), 0.0)
        outside = 1.0 - n / n_whole  # the group is part of the whole, so they are correlated
        relative = share / overall - 1.0
        spread = outside / overall**2 * np.sqrt(other**2 * mine + share**2 * theirs)
    return {
        "fraction": share,
        "fraction_error": np.sqrt(mine),
        "overall": overall,
        "deviation": relative,
        "deviation_error": spread,
    }


def _share_dataset(
    parts: dict[str, FloatArray], names: list[str], labels: list[str], dim: str, what: str
) -> xr.Dataset:
    text = {
        "fraction": f"share of a {what} in the group",
        "fraction_error": "standard error of fraction",
        "overall": f"share of a {what} in the whole",
        "deviation": "(fraction - overall) / overall",
        "deviation_error": "standard error of deviation",
    }
    dims = {"overall": (dim,)}
    return xr.Dataset(
        {
            k: (dims.get(k, ("group", dim)), v, {"units": "1", "long_name": text[k]})
            for k, v in parts.items()
        },
        coords={"group": names, dim: labels},
    )


def composition(
    numbers: npt.ArrayLike, groups: Groups, *, whole: npt.ArrayLike | None = None
) -> xr.Dataset:
    """Compare the composition of groups with that of the whole.

    For species X, with n_g(X) atoms of that species in group g::

        f_g(X) = n_g(X) / n_g,   f(X) = n(X) / n in the whole
        deviation = (f_g(X) - f(X)) / f(X)

    Parameters
    ----------
    numbers
        Atomic numbers, shape (atom,).
    groups
        Masks (atom,) by name.
    whole
        Mask (atom,) of the atoms to compare with. All atoms by default.

    Returns
    -------
    fraction, fraction_error (group, species)
        Fraction in the group and its standard error.
    overall (species)
        Fraction in the whole.
    deviation, deviation_error (group, species)
        Relative deviation and its standard error.
    count (group)
        Number of atoms. Fractions of an empty group are NaN.

    Raises
    ------
    ParameterError
        If the masks do not fit.

    Notes
    -----
    Errors are valid for independent atoms. The error of f_g is binomial, sqrt(p (1 - p)
    / n_g) with p = (n_g(X) + 1/2) / (n_g + 1). It is never 0. The error of the
    deviation is first order. It treats the fractions in the group (f_g) and in the rest
    (f_r) as independent, with w = n_g / n::

        (1 - w) / f^2 sqrt(f_r^2 var f_g + f_g^2 var f_r)

    References
    ----------
    Fractions: Liu X. et al. 2022, Fig. 5A. The deviation has the form of their Eq. (4).

    Examples
    --------
    >>> z = np.array([29, 29, 40, 40])
    >>> result = composition(z, {"low": np.array([True, True, True, False])})
    >>> result.deviation.sel(species="Cu").values.round(3).tolist()
    [0.333]
    """
    z = atomic_numbers(numbers)
    names, masks, whole_mask = masks_of(groups, whole, len(z))
    kinds = np.unique(z[whole_mask])
    total = np.array([(z[whole_mask] == k).sum() for k in kinds], dtype=np.int64)
    inside = np.array([[(z[m] == k).sum() for k in kinds] for m in masks], dtype=np.int64)
    size = np.array([m.sum() for m in masks], dtype=np.int64)
    parts = _shares(inside, size, total, int(whole_mask.sum()))
    out = _share_dataset(parts, names, [symbol(int(k)) for k in kinds], "species", "species")
    return out.assign(count=("group", size))


def polyhedra(
    indices: npt.ArrayLike,
    groups: Groups,
    *,
    whole: npt.ArrayLike | None = None,
    top: int | None = 20,
    ranked_by: Literal["whole", "groups"] = "whole",
) -> xr.Dataset:
    """Compare the shares of Voronoi polyhedra in groups with those of the whole.

    For polyhedron P with n_k facets of k edges::

        f_g(P) = n_g(P) / n_g
        deviation = (f_g(P) - f(P)) / f(P)
        lffs = n_5 / sum_k n_k

    Parameters
    ----------
    indices
        Numbers of facets with 3, 4, 5, ... edges, shape (atom, k), such as the columns
        n3 to n7 of ``VoronoiIndices``. A row with NaN is an open cell and is not
        counted.
    groups
        Masks (atom,) by name.
    whole
        Mask (atom,) of the atoms to compare with. All atoms by default.
    top
        Number of most common polyhedra to return. None returns all.
    ranked_by
        "whole" selects the most common polyhedra of the whole, "groups" those of
        each group, each polyhedron once.

    Returns
    -------
    fraction, fraction_error (group, polyhedron)
        Share in the group and its standard error.
    overall (polyhedron)
        Share in the whole.
    deviation, deviation_error (group, polyhedron)
        Relative deviation and its standard error.
    lffs (polyhedron)
        Local five-fold symmetry; NaN without a column of five edges.
    count (group)
        Number of closed cells.

    Raises
    ------
    ParameterError
        If the arrays do not fit together, indices are not integers, or no cell is
        closed.

    Notes
    -----
    Polyhedra are labeled with text such as "<0,0,12,0,0>", the most common first.
    Equally common ones are sorted by their indices. Errors are computed as in
    ``composition``. They are rough for polyhedra that occur only a few times.

    The paper gives shares and deviations in percent and labels polyhedra <n3,n4,n5,n6>.
    Its Fig. 4A shows the ten most common polyhedra of each group: ``top=10,
    ranked_by="groups"``. Its Fig. 4B shows ``deviation`` against ``lffs``, as in
    ``polyhedra(...).sortby("lffs")``. Facets without a column in ``indices`` are not
    counted in lffs.

    References
    ----------
    Liu X. et al. 2022, Eq. (3) for ``fraction``, Eq. (4) for ``deviation``, Fig. 4B for
    ``lffs``.

    Examples
    --------
    >>> icosahedron = [0, 0, 12, 0, 0]
    >>> n = np.array([icosahedron, [0, 2, 8, 2, 0], icosahedron, [0, 2, 8, 1, 0]])
    >>> result = polyhedra(n, {"low": np.array([True, False, True, False])})
    >>> result.polyhedron.values[0].item(), result.deviation.values[0, 0].item()
    ('<0,0,12,0,0>', 1.0)
    >>> result.sortby("lffs").lffs.values.round(3).tolist()
    [0.667, 0.727, 1.0]
    """
    n = np.asarray(indices, dtype=np.float64)
    if n.ndim != 2 or not n.size:
        raise ParameterError(
            f"indices has shape {n.shape}; it must be (atom, facets with 3, 4, ... edges)"
        )
    names, masks, whole_mask = masks_of(groups, whole, len(n))
    if top is not None and top < 1:
        raise ParameterError(f"top={top} must be at least 1, or None for all polyhedra")
    closed = np.isfinite(n).all(axis=1)
    use = closed & whole_mask
    if not use.any():
        raise ParameterError(
            "indices has no closed cell in whole: every row has NaN; "
            "select atoms away from surfaces"
        )
    if (n[use] != np.round(n[use])).any() or (n[use] < 0).any():
        raise ParameterError(
            "indices must be integers (numbers of facets), 0 or above; give counts, not shares"
        )
    if ranked_by not in ("whole", "groups"):
        raise ParameterError(f"ranked_by={ranked_by!r} must be 'whole' or 'groups'")
    kinds, which = np.unique(n[use].astype(np.int64), axis=0, return_inverse=True)
    label = np.full(len(n), -1)
    label[use] = which.reshape(-1)
    total = np.bincount(label[use], minlength=len(kinds)).astype(np.int64)
    inside = np.array(
        [np.bincount(label[m & use], minlength=len(kinds)) for m in masks], dtype=np.int64
    )
    size = np.array([(m & use).sum() for m in masks], dtype=np.int64)
    order = np.argsort(-total, kind="stable")
    if ranked_by == "whole":
        order = order[:top]
    else:
        first = [np.argsort(-row, kind="stable")[:top] for row in inside]
        shown = np.isin(order, np.concatenate(first)) & (inside[:, order] > 0).any(axis=0)
        order = order[shown]
    parts = _shares(inside[:, order], size, total[order], int(use.sum()))
    labels = [f"<{','.join(map(str, row))}>" for row in kinds[order].tolist()]
    attrs = {"units": "1", "long_name": "local five-fold symmetry n5 / sum of n_k"}
    return _share_dataset(parts, names, labels, "polyhedron", "polyhedron").assign(
        lffs=("polyhedron", _five_fold_symmetry(kinds[order]), attrs), count=("group", size)
    )


def _five_fold_symmetry(kinds: IntArray) -> FloatArray:
    """Return n5 / sum_k n_k of polyhedra (polyhedron, k), whose columns start at n3."""
    column = 2
    if kinds.shape[1] <= column:
        return np.full(len(kinds), np.nan)
    with np.errstate(invalid="ignore"):
        return np.asarray(kinds[:, column] / kinds.sum(axis=1))


def coordination_change(
    coordination: npt.ArrayLike,
    numbers: npt.ArrayLike,
    groups: Groups,
    *,
    whole: npt.ArrayLike | None = None,
) -> xr.Dataset:
    """Compare mean coordination numbers of groups with those of the whole.

    For each species X, and for all species together::

        change = <CN>_g(X) - <CN>(X)
        relative_change = change / <CN>(X) x 100 %

    Parameters
    ----------
    coordination
        Total or partial coordination numbers, or any other value per atom, shape
        (atom,). NaN is ignored.
    numbers
        Atomic numbers, shape (atom,).
    groups
        Masks (atom,) by name.
    whole
        Mask (atom,) of the atoms to compare with. All atoms by default.

    Returns
    -------
    mean (group, species)
        Mean in the group; NaN without atoms. The last species is "all".
    overall (species)
        Mean in the whole.
    change, change_error (group, species)
        Difference and its standard error, which is NaN for a single atom.
    relative_change, relative_change_error (group, species)
        The same relative to the mean in the whole, in percent.
    count (group, species)
        Number of atoms.

    Raises
    ------
    ParameterError
        If the arrays do not fit together.

    Notes
    -----
    For "all", the change also reflects the different composition of the group. For
    independent atoms of the group (g) and the rest (r), with w = n_g / n of that
    species, the standard error is::

        change:          (1 - w) sqrt(s_g^2 / n_g + s_r^2 / n_r)
        relative change: (1 - w) / m^2 sqrt(m_r^2 s_g^2 / n_g + m_g^2 s_r^2 / n_r)

    The means of group, rest and whole are m_g, m_r and m. The error of the relative
    change is first order.

    References
    ----------
    Liu X. et al. 2022, Eq. (5) for ``relative_change``; Fig. 5B shows it by species.

    Examples
    --------
    >>> cn, z = np.array([12.0, 13, 15, 16]), np.array([29, 29, 40, 40])
    >>> low = np.array([True, False, True, False])
    >>> result = coordination_change(cn, z, {"low": low})
    >>> result.change.sel(group="low").values.tolist()
    [-0.5, -0.5, -0.5]
    >>> result.relative_change.sel(group="low").values.round(2).tolist()
    [-4.0, -3.23, -3.57]
    """
    cn = as_vector("coordination", coordination, finite=False)
    z = atomic_numbers(numbers, len(cn))
    names, masks, whole_mask = masks_of(groups, whole, len(cn))
    whole_mask = whole_mask & np.isfinite(cn)
    kinds = np.unique(z[whole_mask]).tolist()
    of_kind = [whole_mask & (z == k) for k in kinds] + [whole_mask]
    shape = (len(masks), len(of_kind))
    mean, change, error, relative_error = (np.full(shape, np.nan) for _ in range(4))
    overall, count = np.full(shape[1], np.nan), np.zeros(shape, dtype=np.int64)
    for b, members in enumerate(of_kind):
        if members.any():
            overall[b] = cn[members].mean()
        for a, mask in enumerate(masks):
            group, rest = cn[members & mask], cn[members & ~mask]
            count[a, b] = len(group)
            if len(group):
                mean[a, b] = group.mean()
                change[a, b] = mean[a, b] - overall[b]
                error[a, b], relative_error[a, b] = _change_errors(group, rest)
    both = ("group", "species")
    one, percent = {"units": "1"}, {"units": "%"}
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = 100.0 * change / overall
    relative_name = {"long_name": "(mean - overall) / overall"}
    few = "fewer than 2 atoms of the species in the group or in the rest"
    error_name = error_attrs("standard error of change", error, few)
    relative_error_name = error_attrs("standard error of relative_change", relative_error, few, "%")
    return xr.Dataset(
        {
            "mean": (both, mean, {**one, "long_name": "mean coordination number in the group"}),
            "overall": (
                "species",
                overall,
                {**one, "long_name": "mean coordination number in the whole"},
            ),
            "change": (both, change, {**one, "long_name": "mean - overall"}),
            "change_error": (both, error, error_name),
            "relative_change": (both, relative, percent | relative_name),
            "relative_change_error": (both, 100.0 * relative_error, relative_error_name),
            "count": (both, count, {**one, "long_name": "atoms of the species in the group"}),
        },
        coords={"group": names, "species": [*map(symbol, kinds), "all"]},
    )


def _change_errors(group: FloatArray, rest: FloatArray) -> tuple[float, float]:
    """Return the errors of the change of a mean, and of the change relative to it."""
    if not len(rest):
        return 0.0, 0.0
    if len(group) < 2 or len(rest) < 2:
        return math.nan, math.nan
    share = len(rest) / (len(group) + len(rest))
    mine, theirs = group.var(ddof=1) / len(group), rest.var(ddof=1) / len(rest)
    m_g, m_r = group.mean(), rest.mean()
    overall = (1.0 - share) * m_g + share * m_r
    if overall == 0:
        return share * math.sqrt(mine + theirs), math.nan
    relative = math.sqrt(m_r**2 * mine + m_g**2 * theirs) / overall**2
    return share * math.sqrt(mine + theirs), share * relative


def trend(score: npt.ArrayLike, value: npt.ArrayLike, bins: int = 10) -> xr.Dataset:
    """Average a value in bins of the score that hold equal numbers of atoms.

    The value may be the five-fold symmetry. For the deviation of each polyhedron
    against its five-fold symmetry (Liu X. et al. 2022, Fig. 4B), see ``polyhedra``::

        <v>_b = 1/n_b sum_(i in b) v_i,   error = s_b / sqrt(n_b)

    Parameters
    ----------
    score
        Scores, shape (atom,), in any unit.
    value
        Values, shape (atom,), in any unit. Atoms with NaN in score or value are
        ignored.
    bins
        Number of bins, at least 2. Their sizes differ by at most one.

    Returns
    -------
    score, score_low, score_high (bin)
        Mean, smallest and largest score.
    value, value_error (bin)
        Mean value and its standard error, which is NaN for a single atom.
    count (bin)
        Number of atoms. The attributes ``pearson`` and ``spearman`` are the
        correlations over all atoms.

    Raises
    ------
    ParameterError
        If there are fewer atoms than bins.

    Notes
    -----
    Atoms with equal scores are ordered by row. The errors are valid if a bin has many
    atoms.

    Examples
    --------
    >>> s = np.arange(100.0)
    >>> trend(s, 0.5 + s / 100, bins=4).value.values.round(6).tolist()
    [0.62, 0.87, 1.12, 1.37]
    """
    s = as_vector("score", score, finite=False)
    v = as_vector("value", value, length=len(s), finite=False)
    keep = np.isfinite(s) & np.isfinite(v)
    s, v = s[keep], v[keep]
    if bins < 2 or len(s) < bins:
        raise ParameterError(
            f"bins={bins} must be at least 2 and at most {len(s)}, "
            "the number of atoms with score and value"
        )
    order = np.argsort(s, kind="stable")
    parts = np.array_split(order, bins)
    error = [float(v[p].std(ddof=1)) / math.sqrt(len(p)) if len(p) > 1 else math.nan for p in parts]
    error_name = error_attrs("standard error of value", error, "one atom in the bin")
    del error_name["units"]  # that of the value, which is not known
    return xr.Dataset(
        {
            "score": ("bin", [float(s[p].mean()) for p in parts]),
            "score_low": ("bin", [float(s[p[0]]) for p in parts]),
            "score_high": ("bin", [float(s[p[-1]]) for p in parts]),
            "value": ("bin", [float(v[p].mean()) for p in parts]),
            "value_error": ("bin", error, error_name),
            "count": ("bin", [len(p) for p in parts]),
        },
        attrs={
            "pearson": float(weighted_pearson(np.ones((1, len(s))), s[None], v[None])[0]),
            "spearman": float(
                weighted_pearson(np.ones((1, len(s))), rankdata(s)[None], rankdata(v)[None])[0]
            ),
        },
    )
