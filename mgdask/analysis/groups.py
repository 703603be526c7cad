"""Groups of atoms with extreme scores (soft and hard): what they are made of, how they differ from the whole.

A group is a mask (atom,). ``whole`` is the mask of the atoms a group is compared with, all where None; a group is part
of it. Standard errors take atoms as independent. Neighbours are not, so they are lower bounds; the spread over
independent configurations is the better error.

The formulas for composition, polyhedra and coordination stand where Eqs. (3) to (5) of Liu et al., J. Mater. Inf. 2, 20
(2022) belong. That paper was not at hand: what is computed is defined here, and is to be compared with the paper before
results are called by its name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.stats import rankdata

from mgdask.analysis.estimate import Float, Integer, Mask, pearson, share_variance, vector
from mgdask.elements import symbol
from mgdask.errors import ParameterError

Groups = Mapping[str, npt.NDArray[np.bool_]]


def extreme_groups(
    score: npt.ArrayLike, fraction: float = 0.1, ids: npt.ArrayLike | None = None
) -> tuple[Mask, Mask]:
    """Masks of the atoms with the lowest and with the highest scores.

        k = floor(fraction n),  n the atoms whose score is not NaN

    Parameters: ``score`` (atom,), of any unit; ``fraction`` above 0, at most 1/2; ``ids`` (atom,) atom ids, whole
    numbers, all different, the row numbers where None.

    Returns (low, high), masks (atom,) of k atoms each, without common atoms. Of atoms with equal scores those with the
    lower ids count as lower, so the groups are the same whatever the order of the rows. Atoms with NaN are in neither.
    Valid for any score; where many are equal, as with counts, the border of a group is set by ids and means nothing.
    Scores of different species are compared as they are: choose one species first if their levels differ.
    ``ParameterError`` where k would be 0.

    >>> low, high = extreme_groups([0.3, 0.1, np.nan, 0.9, 0.5], 0.25)
    >>> np.flatnonzero(low).tolist(), np.flatnonzero(high).tolist()
    ([1], [3])
    """
    s = vector("score", score, finite=False)
    if not 0.0 < fraction <= 0.5:
        raise ParameterError(
            f"fraction={fraction} must be above 0 and at most 0.5; 0.1 takes a tenth at either end"
        )
    number = np.arange(len(s)) if ids is None else np.asarray(ids)
    if number.shape != s.shape or number.dtype.kind not in "iu":
        raise ParameterError(
            f"ids must be {len(s)} whole numbers, one an atom; got {number.dtype} {number.shape}"
        )
    if len(np.unique(number)) != len(number):
        raise ParameterError(
            "ids has repeated values; give each atom its own, or one frame at a time"
        )
    there = np.flatnonzero(~np.isnan(s))
    k = math.floor(fraction * len(there) + 1e-9)
    if k == 0:
        raise ParameterError(
            f"fraction={fraction} of {len(there)} atoms with a score is no atom; give a larger fraction"
        )
    order = there[np.lexsort((number[there], s[there]))]
    low, high = np.zeros(len(s), dtype=bool), np.zeros(len(s), dtype=bool)
    low[order[:k]], high[order[len(order) - k :]] = True, True
    return low, high


def masks_of(
    groups: Groups, whole: npt.ArrayLike | None, length: int
) -> tuple[list[str], list[Mask], Mask]:
    def mask(name: str, values: npt.ArrayLike) -> Mask:
        array = np.asarray(values)
        if array.dtype != np.bool_ or array.shape != (length,):
            raise ParameterError(
                f"{name} must be a mask of {length} booleans, one an atom; got {array.dtype} {array.shape}"
            )
        return array

    if not isinstance(groups, Mapping) or not groups:
        raise ParameterError("groups must map names to masks, such as {'low': low, 'high': high}")
    everyone = np.ones(length, dtype=bool) if whole is None else mask("whole", whole)
    names = [str(name) for name in groups]
    found = [mask(f"group {name!r}", values) for name, values in groups.items()]
    for name, chosen in zip(names, found, strict=True):
        if (chosen & ~everyone).any():
            raise ParameterError(
                f"group {name!r} has {int((chosen & ~everyone).sum())} atoms outside whole; a group is part of it"
            )
    return names, found, everyone


def atomic_numbers(numbers: npt.ArrayLike, length: int | None = None) -> Integer:
    z = np.asarray(numbers)
    if z.ndim != 1 or z.dtype.kind not in "iu" or (length is not None and len(z) != length):
        needed = "" if length is None else f"{length} "
        raise ParameterError(
            f"numbers must be {needed}atomic numbers (atom,); got {z.dtype} {z.shape}"
        )
    return z.astype(np.int64)


def _shares(inside: Integer, size: Integer, total: Integer, everyone: int) -> dict[str, Float]:
    """Shares of classes in groups against the whole: counts (group, class), sizes (group,), counts (class,), atoms."""
    n = size[:, None].astype(np.float64)
    rest = everyone - n
    with np.errstate(divide="ignore", invalid="ignore"):
        share, overall = inside / n, total / everyone
        other = np.where(rest > 0, (total - inside) / rest, overall)
        mine = share_variance(inside, n)
        theirs = np.where(rest > 0, share_variance(total - inside, rest), 0.0)
        outside = 1.0 - n / everyone  # the group is part of the whole: both move together
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
    parts: dict[str, Float], names: list[str], labels: list[str], dim: str, what: str
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
    """Composition of groups against that of the whole.

        f_g(X) = n_g(X) / n_g,   deviation = (f_g(X) - f(X)) / f(X),   f(X) = n(X) / n in the whole

    Standard errors: of f_g binomial, sqrt(p (1 - p) / n_g) with p = (n_g(X) + 1/2) / (n_g + 1), so never 0; of the
    deviation first order in the independent shares of the group and of the rest, as a group is part of the whole: (1 -
    w) / f^2 sqrt(f_r^2 var f_g + f_g^2 var f_r), with w = n_g / n, f_r the share in the rest.

    Parameters: ``numbers`` (atom,) atomic numbers; ``groups`` name to mask (atom,); ``whole`` mask (atom,).

    Returns a Dataset (group, species): ``fraction``, ``fraction_error``, ``overall``, ``deviation``,
    ``deviation_error``, ``count`` (group,). All 1. Valid for independent atoms. NaN for an empty group.
    ``ParameterError`` for masks that do not fit.

    Source: in place of Eqs. (3-4) of Liu et al., J. Mater. Inf. 2, 20 (2022); see the text of the module.

    >>> z = np.array([29, 29, 40, 40])
    >>> found = composition(z, {"low": np.array([True, True, True, False])})
    >>> found.deviation.sel(species="Cu").values.round(3).tolist()
    [0.333]
    """
    z = atomic_numbers(numbers)
    names, masks, everyone = masks_of(groups, whole, len(z))
    kinds = np.unique(z[everyone])
    total = np.array([(z[everyone] == k).sum() for k in kinds], dtype=np.int64)
    inside = np.array([[(z[m] == k).sum() for k in kinds] for m in masks], dtype=np.int64)
    size = np.array([m.sum() for m in masks], dtype=np.int64)
    parts = _shares(inside, size, total, int(everyone.sum()))
    out = _share_dataset(parts, names, [symbol(int(k)) for k in kinds], "species", "species")
    return out.assign(count=("group", size))


def polyhedra(
    indices: npt.ArrayLike,
    groups: Groups,
    *,
    whole: npt.ArrayLike | None = None,
    top: int | None = 20,
) -> xr.Dataset:
    """Shares of Voronoi polyhedra in groups against the whole.

        f_g(P) = n_g(P) / n_g,   deviation = (f_g(P) - f(P)) / f(P)

    with the errors of ``composition``.

    Parameters: ``indices`` (atom, k) facets by number of edges, such as the columns n3 to n7 of ``VoronoiIndices``; a
    row with NaN is an open cell and in no count; ``groups`` and ``whole`` as in ``composition``; ``top`` that many
    commonest polyhedra of the whole, None for all.

    Returns a Dataset (group, polyhedron) as ``composition``'s, polyhedra as text such as "<0,0,12,0,0>", commonest
    first, of equally common ones the smaller indices first; ``count`` (group,) the closed cells. Valid as
    ``composition``'s; shares of polyhedra seen a few times have errors that are rough. ``ParameterError`` for arrays of
    other shapes, indices that are not whole numbers, no closed cell.

    Source: in place of Eqs. (3-4) of Liu et al., J. Mater. Inf. 2, 20 (2022); see the text of the module.

    >>> n = np.array([[0, 0, 12, 0, 0], [0, 2, 8, 2, 0], [0, 0, 12, 0, 0], [0, 2, 8, 1, 0]])
    >>> found = polyhedra(n, {"low": np.array([True, False, True, False])})
    >>> found.polyhedron.values[0].item(), found.deviation.values[0, 0].item()
    ('<0,0,12,0,0>', 1.0)
    """
    n = np.asarray(indices, dtype=np.float64)
    if n.ndim != 2 or not n.size:
        raise ParameterError(
            f"indices has shape {n.shape}; it must be (atom, facets with 3, 4, ... edges)"
        )
    names, masks, everyone = masks_of(groups, whole, len(n))
    if top is not None and top < 1:
        raise ParameterError(f"top={top} must be at least 1, or None for all polyhedra")
    closed = np.isfinite(n).all(axis=1)
    use = closed & everyone
    if not use.any():
        raise ParameterError(
            "indices has no closed cell in whole: every row has NaN; choose atoms away from surfaces"
        )
    if (n[use] != np.round(n[use])).any() or (n[use] < 0).any():
        raise ParameterError(
            "indices must be whole numbers of facets, 0 or above; give counts, not shares"
        )
    kinds, which = np.unique(n[use].astype(np.int64), axis=0, return_inverse=True)
    label = np.full(len(n), -1)
    label[use] = which.reshape(-1)
    total = np.bincount(label[use], minlength=len(kinds)).astype(np.int64)
    order = np.argsort(-total, kind="stable")[:top]
    inside = np.array(
        [np.bincount(label[m & use], minlength=len(kinds)) for m in masks], dtype=np.int64
    )
    size = np.array([(m & use).sum() for m in masks], dtype=np.int64)
    parts = _shares(inside[:, order], size, total[order], int(use.sum()))
    labels = [f"<{','.join(map(str, row))}>" for row in kinds[order].tolist()]
    return _share_dataset(parts, names, labels, "polyhedron", "polyhedron").assign(
        count=("group", size)
    )


def coordination_change(
    coordination: npt.ArrayLike,
    numbers: npt.ArrayLike,
    groups: Groups,
    *,
    whole: npt.ArrayLike | None = None,
) -> xr.Dataset:
    """Mean coordination number of groups minus that of the whole, for each species and all together.

        change = <CN>_g(X) - <CN>(X)

    with means over the atoms of species X in the group and in the whole. Standard error, for independent atoms of the
    group (g) and the rest (r): (1 - w) sqrt(s_g^2 / n_g + s_r^2 / n_r), w = n_g / n of that species.

    Parameters: ``coordination`` (atom,) neighbours of an atom, or those of one species, or any other value of an atom;
    NaN left out; ``numbers`` (atom,) atomic numbers; ``groups`` and ``whole`` as in ``composition``.

    Returns a Dataset (group, species), the last species being "all": ``mean``, ``overall`` (species,), ``change``,
    ``change_error``, ``count``. "all" holds the group's different composition as well as the change within a species.
    NaN means for no atom, NaN errors for one. ``ParameterError`` for arrays that do not fit together.

    Source: in place of Eq. (5) of Liu et al., J. Mater. Inf. 2, 20 (2022); see the text of the module.

    >>> cn = np.array([12.0, 13, 15, 16])
    >>> found = coordination_change(cn, np.array([29, 29, 40, 40]), {"low": np.array([True, False, True, False])})
    >>> found.change.sel(group="low").values.tolist()
    [-0.5, -0.5, -0.5]
    """
    cn = vector("coordination", coordination, finite=False)
    z = atomic_numbers(numbers, len(cn))
    names, masks, everyone = masks_of(groups, whole, len(cn))
    everyone = everyone & np.isfinite(cn)
    kinds = np.unique(z[everyone]).tolist()
    of_kind = [everyone & (z == k) for k in kinds] + [everyone]
    shape = (len(masks), len(of_kind))
    mean, change, error = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    overall, count = np.full(shape[1], np.nan), np.zeros(shape, dtype=np.int64)
    for b, mine in enumerate(of_kind):
        if mine.any():
            overall[b] = cn[mine].mean()
        for a, mask in enumerate(masks):
            group, rest = cn[mine & mask], cn[mine & ~mask]
            count[a, b] = len(group)
            if not len(group):
                continue
            mean[a, b] = group.mean()
            change[a, b] = mean[a, b] - overall[b]
            if not len(rest):
                error[a, b] = 0.0
            elif len(group) > 1 and len(rest) > 1:
                share = len(rest) / (len(group) + len(rest))
                error[a, b] = share * math.sqrt(
                    group.var(ddof=1) / len(group) + rest.var(ddof=1) / len(rest)
                )
    both = ("group", "species")
    one = {"units": "1"}
    return xr.Dataset(
        {
            "mean": (both, mean, {**one, "long_name": "mean coordination number in the group"}),
            "overall": (
                "species",
                overall,
                {**one, "long_name": "mean coordination number in the whole"},
            ),
            "change": (both, change, {**one, "long_name": "mean - overall"}),
            "change_error": (both, error, {**one, "long_name": "standard error of change"}),
            "count": (both, count, {**one, "long_name": "atoms of the species in the group"}),
        },
        coords={"group": names, "species": [*map(symbol, kinds), "all"]},
    )


def trend(score: npt.ArrayLike, value: npt.ArrayLike, bins: int = 10) -> xr.Dataset:
    """Mean of a value of the atoms, such as five-fold symmetry, in bins of the score with equally many atoms.

        <v>_b = 1/n_b sum_(i in b) v_i,   error = s_b / sqrt(n_b)

    Parameters: ``score`` (atom,), ``value`` (atom,), of any unit, atoms where either is NaN left out; ``bins`` at least
    2. Atoms are sorted by score, equal ones by their rows, and cut into parts whose sizes differ by one at most.

    Returns a Dataset (bin,): ``score`` (mean), ``score_low``, ``score_high``, ``value`` (mean), ``value_error``,
    ``count``; attrs ``pearson`` and ``spearman`` of all atoms together. Valid where a bin has many atoms; errors are
    NaN for one. ``ParameterError`` for fewer atoms than bins.

    >>> s = np.arange(100.0)
    >>> trend(s, 0.5 + s / 100, bins=4).value.values.round(6).tolist()
    [0.62, 0.87, 1.12, 1.37]
    """
    s = vector("score", score, finite=False)
    v = vector("value", value, length=len(s), finite=False)
    keep = np.isfinite(s) & np.isfinite(v)
    s, v = s[keep], v[keep]
    if bins < 2 or len(s) < bins:
        raise ParameterError(
            f"bins={bins} must be at least 2 and at most the {len(s)} atoms that have score and value"
        )
    order = np.argsort(s, kind="stable")
    parts = np.array_split(order, bins)
    error = [float(v[p].std(ddof=1)) / math.sqrt(len(p)) if len(p) > 1 else math.nan for p in parts]
    return xr.Dataset(
        {
            "score": ("bin", [float(s[p].mean()) for p in parts]),
            "score_low": ("bin", [float(s[p[0]]) for p in parts]),
            "score_high": ("bin", [float(s[p[-1]]) for p in parts]),
            "value": ("bin", [float(v[p].mean()) for p in parts]),
            "value_error": ("bin", error),
            "count": ("bin", [len(p) for p in parts]),
        },
        attrs={
            "pearson": float(pearson(np.ones((1, len(s))), s[None], v[None])[0]),
            "spearman": float(
                pearson(np.ones((1, len(s))), rankdata(s)[None], rankdata(v)[None])[0]
            ),
        },
    )
