"""Naive reference implementations of the structural features, written from amlearn.md alone (NumPy and SciPy only)."""

from __future__ import annotations

import hashlib
import itertools
import pickle
from collections.abc import Callable, Sequence
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import ConvexHull, QhullError, Voronoi, cKDTree
from scipy.special import sph_harm_y
from sympy.physics.wigner import wigner_3j

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Facets = dict[str, Any]
Near = tuple[Index, Array]
P = ParamSpec("P")
R = TypeVar("R")

PERIODIC = (True, True, True)
AREA_ZERO = (
    1e-9  # Å^2: facets no larger are the rounding of a degenerate vertex or edge, and are no facets
)
FAR = 1e5  # Å: a Voronoi vertex beyond it is the rounding of a vertex at infinity (flat surfaces)
PER_FACET = ("neighbor", "vector", "area", "edges", "volume", "distance")
R_STAR = dict(
    zip(
        range(3, 25),
        (
            0.154701,
            0.224745,
            0.361654,
            0.414214,
            0.518145,
            0.616517,
            0.709914,
            0.798907,
            0.884003,
            0.902113,
            0.976006,
            1.04733,
            1.11632,
            1.18318,
            1.2481,
            1.31123,
            1.37271,
            1.43267,
            1.49119,
            1.5484,
            1.60436,
            1.65915,
        ),
        strict=True,
    )
)


def remembered(function: Callable[P, R]) -> Callable[P, R]:
    """Keep what was computed, as bytes: many tests ask for neighbors of the same few configurations."""
    known: dict[bytes, bytes] = {}

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        key = hashlib.sha256(pickle.dumps((args, kwargs))).digest()
        if key not in known:
            known[key] = pickle.dumps(function(*args, **kwargs))
        return cast(R, pickle.loads(known[key]))

    return wrapper


# ---------------------------------------------------------------------------------------------------- images, pairs
def _inverse(cell: Array, pbc: Sequence[bool]) -> tuple[Array, Array]:
    """Periodic vectors A (p,3), and B (3,p) with (x + n A) B = x B + n."""
    rows = np.asarray(cell, float).reshape(3, 3)[np.asarray(pbc, bool)]
    return rows, np.linalg.pinv(rows) if len(rows) else np.zeros((3, 0))


def _shifts(reach: Array) -> Array:
    """All integer vectors n with |n_k| <= ceil(reach_k)."""
    spans = [range(-top, top + 1) for top in np.ceil(reach).astype(int).tolist()]
    every = list(itertools.product(*spans))
    return np.array(every, float).reshape(len(every), len(spans))


def _images(
    position: Array, cell: Array, pbc: Sequence[bool], radius: float
) -> tuple[Index, Array]:
    """Owners and places of every image that may lie within radius of some atom, plus the first shell of shifts."""
    rows, back = _inverse(cell, pbc)
    fraction = position @ back
    spread = np.ptp(fraction, axis=0)
    shift = _shifts(np.maximum(radius * np.linalg.norm(back, axis=0) + spread, 1.0))
    place = (position[None, :, :] + (shift @ rows)[:, None, :]).reshape(-1, 3)
    owner = np.tile(np.arange(len(position)), len(shift))
    near = cKDTree(position).query(place)[0] <= radius * (1 + 1e-9) + 1e-9
    first = np.repeat(np.all(np.abs(shift) <= 1, axis=1), len(position))
    return owner[near | first], place[near | first]


def _order(neighbor: Index, vector: Array) -> Index:
    """Order by neighbour, then by vector x, y, z (rounded to 1e-6 Å so that rounding makes no order)."""
    key = np.round(vector, 6)
    return np.lexsort((key[:, 2], key[:, 1], key[:, 0], neighbor))


@remembered
def pairs(
    position: ArrayLike, cell: ArrayLike, cutoff: float, pbc: Sequence[bool] = PERIODIC
) -> list[Near]:
    """For each i all (j, r_j + n A - r_i) with 0 < d <= cutoff: every image, own images too, the atom itself not."""
    place, box = np.asarray(position, float).reshape(-1, 3), np.asarray(cell, float)
    owner, image = _images(place, box, pbc, cutoff)
    itself = np.linalg.norm(image - place[owner], axis=1) < 1e-9
    result = []
    for i in range(len(place)):
        vector = image - place[i]
        keep = (np.sqrt((vector**2).sum(axis=1)) <= cutoff) & ~(itself & (owner == i))
        order = _order(owner[keep], vector[keep])
        result.append((owner[keep][order], vector[keep][order]))
    return result


# ---------------------------------------------------------------------------------------------------------- Voronoi
def _polygon(corner: Array, normal: Array) -> tuple[float, Array]:
    """Area 1/2 |sum_k p_k x p_{k+1}| and edge lengths of a convex polygon, corners sorted by angle in its plane."""
    out = corner - corner.mean(axis=0)
    one = np.cross(normal, np.eye(3)[np.argmin(np.abs(normal))])
    two = np.cross(normal, one) / np.linalg.norm(normal)
    out = out[np.argsort(np.arctan2(out @ two, out @ one))]
    following = np.roll(out, -1, axis=0)
    return 0.5 * float(np.linalg.norm(np.cross(out, following).sum(axis=0))), np.linalg.norm(
        following - out, axis=1
    )


def _complete(
    vertex: Array, reach: Array, position: Array, cell: Array, pbc: Sequence[bool]
) -> bool:
    """No image of any atom lies nearer to a Voronoi vertex than its own atoms do (the empty-sphere criterion)."""
    rows, back = _inverse(cell, pbc)
    wrapped = position - np.floor(position @ back) @ rows
    size = np.linalg.norm(rows, axis=1).sum()  # bounds the in-plane distance to the nearest image
    shift = _shifts(size * np.linalg.norm(back, axis=0) + 1.0)
    tree = cKDTree((wrapped[None, :, :] + (shift @ rows)[:, None, :]).reshape(-1, 3))
    nearest = tree.query(vertex - np.floor(vertex @ back) @ rows)[0]
    return bool(np.all(nearest >= reach * (1 - 1e-9) - 1e-7))


@remembered
def voronoi(
    position: ArrayLike, cell: ArrayLike, pbc: Sequence[bool] = PERIODIC, threshold: float = 1e-9
) -> list[Facets | None]:
    """Cell of i = {x: |x - r_i| <= |x - r_j - n A|}; per facet A, e = #{edges > threshold}, V = A d / 6; None: open."""
    place, box = np.asarray(position, float).reshape(-1, 3), np.asarray(cell, float)
    n, rows = len(place), _inverse(box, pbc)[0]
    extent = np.linalg.norm(np.ptp(place, axis=0)) + np.linalg.norm(rows)
    radius = 2.5 * float(extent) / max(n, 1) ** (1 / 3)
    while True:
        owner, image = _images(place, box, pbc, radius)
        mine = np.linalg.norm(image - place[owner], axis=1) < 1e-9
        centre = {int(k): int(owner[k]) for k in np.flatnonzero(mine)}
        try:
            diagram = Voronoi(image)
        except (QhullError, ValueError):  # too few or coplanar points: every cell is open
            return [None] * n
        corners: dict[int, Array] = {}
        for k, i in centre.items():
            region = diagram.regions[diagram.point_region[k]]
            if region and -1 not in region:
                vertex = diagram.vertices[region]
                if np.linalg.norm(vertex - place[i], axis=1).max() < FAR:
                    corners[i] = vertex
        every = np.concatenate(list(corners.values())) if corners else np.zeros((0, 3))
        reach = [np.linalg.norm(vertex - place[i], axis=1) for i, vertex in corners.items()]
        open_bulk = all(pbc) and len(corners) < n
        if not open_bulk and (
            not corners or _complete(every, np.concatenate(reach), place, box, pbc)
        ):
            break
        radius *= 1.5
    found: list[list[tuple[Any, ...]]] = [[] for _ in range(n)]
    for (a, b), ridge in zip(diagram.ridge_points.tolist(), diagram.ridge_vertices, strict=True):
        for p, q in ((a, b), (b, a)):
            if p not in centre or centre[p] not in corners:
                continue
            i = centre[p]
            vector = image[q] - place[i]
            area, length = _polygon(diagram.vertices[ridge], vector)
            distance = float(np.sqrt(vector @ vector))
            if area > AREA_ZERO:
                row = (
                    owner[q],
                    vector,
                    area,
                    int((length > threshold).sum()),
                    area * distance / 6,
                    distance,
                )
                found[i].append(row)
    result: list[Facets | None] = []
    for i in range(n):
        if i not in corners:
            result.append(None)
            continue
        facets: Facets = {
            key: np.array([row[k] for row in found[i]]) for k, key in enumerate(PER_FACET)
        }
        order = _order(facets["neighbor"], facets["vector"])
        facets = {key: value[order] for key, value in facets.items()}
        facets["cell_volume"] = float(facets["volume"].sum())
        result.append(facets)
    return result


def drop_small(facets: Facets, rule: str, fraction: float = 0.05) -> Facets:
    """Drop A_j < f A_tot/m; static: m = all facets; amlearn: by neighbour id, m <- m - 1 after each drop; none."""
    area = np.asarray(facets["area"], float)
    keep = np.ones(len(area), bool)
    if rule == "static" and len(area):
        keep = area >= fraction * area.mean()
    elif rule == "amlearn":
        total, m = area.sum(), len(area)
        for j in np.argsort(facets["neighbor"], kind="stable"):
            if area[j] < fraction * total / m:
                keep[j] = False
                m -= 1
    elif rule not in ("none", "static"):
        raise ValueError(rule)
    return {**{key: facets[key][keep] for key in PER_FACET}, "cell_volume": facets["cell_volume"]}


# ------------------------------------------------------------------------------------------------------ interstices
def solid_angle(p: Array, q: Array, r: Array) -> float:
    """Ω = 2 atan2(|p·(q×r)|, pqr + (p·q) r + (p·r) q + (q·r) p), in [0, 2π]."""
    a, b, c = (float(np.linalg.norm(v)) for v in (p, q, r))
    bottom = a * b * c + (p @ q) * c + (p @ r) * b + (q @ r) * a
    return 2 * float(np.arctan2(abs(p @ np.cross(q, r)), bottom))


def angle(p: Array, q: Array) -> float:
    """θ = arccos(p·q / |p||q|)."""
    return float(np.arccos(np.clip(p @ q / (np.linalg.norm(p) * np.linalg.norm(q)), -1, 1)))


def triangle_interstice(corner: Array, radii: Array) -> float:
    """a = 1 - 1/2 sum_v R_v^2 θ_v / S, S = 1/2 |(A-C)×(B-C)|."""
    surface = 0.5 * np.linalg.norm(np.cross(corner[0] - corner[2], corner[1] - corner[2]))
    filled = 0.0
    for v in range(3):
        one, two = (corner[w] - corner[v] for w in range(3) if w != v)
        filled += 0.5 * radii[v] ** 2 * angle(one, two)
    return float(1 - np.float64(filled) / surface)


def tetrahedron_interstice(corner: Array, radii: Array) -> float:
    """v = 1 - 1/3 sum_v R_v^3 Ω_v / V, V = |(A-O)·((B-O)×(C-O))| / 6, corners (O, A, B, C)."""
    volume = (
        abs((corner[1] - corner[0]) @ np.cross(corner[2] - corner[0], corner[3] - corner[0])) / 6
    )
    filled = 0.0
    for v in range(4):
        filled += (
            radii[v] ** 3 * solid_angle(*(corner[w] - corner[v] for w in range(4) if w != v)) / 3
        )
    return float(1 - np.float64(filled) / volume)


def _hull(vector: Array) -> tuple[Index, float] | None:
    """Triangles and volume of the convex hull of the neighbours (centre not a point of it); None if it has none."""
    if len(vector) < 4:
        return None
    spread = np.linalg.svd(vector - vector.mean(axis=0), compute_uv=False)
    if spread[2] <= 1e-9 * spread[0]:
        return None
    try:
        hull = ConvexHull(vector, qhull_options="Qt")
    except QhullError:
        return None
    return hull.simplices.astype(np.int64), float(hull.volume)


def hull_interstices(vector: Array, radii_i: float, radii_j: Array) -> tuple[Array, Array] | None:
    """Unclipped volume interstices of O-ABC and area interstices of ABC, for every hull triangle ABC."""
    hull = _hull(vector)
    if hull is None:
        return None
    volumes, areas = [], []
    with np.errstate(divide="ignore", invalid="ignore"):
        for triangle in hull[0]:
            corner, radius = vector[triangle], radii_j[triangle]
            areas.append(triangle_interstice(corner, radius))
            volumes.append(
                tetrahedron_interstice(np.vstack([np.zeros(3), corner]), np.append(radii_i, radius))
            )
    return np.array(volumes), np.array(areas)


def _stats(values: ArrayLike, empty: float = np.nan) -> list[float]:
    """mean, sqrt(mean (x - mean)^2), min, max."""
    x = np.asarray(values, float)
    if not len(x):
        return [empty] * 4
    return [
        float(x.mean()),
        float(np.sqrt(((x - x.mean()) ** 2).mean())),
        float(x.min()),
        float(x.max()),
    ]


def interstice(
    facets: Facets, near: Near, radii_i: float, radii_of: ArrayLike, convention: str = "paper"
) -> Array:
    """16 columns: distance voro, distance near, volume, area; each mean, std, min, max."""
    if convention not in ("paper", "amlearn"):
        raise ValueError(convention)
    radius, amlearn = np.asarray(radii_of, float), convention == "amlearn"
    empty = 0.0 if amlearn else np.nan
    columns: list[float] = []
    for neighbor, vector in ((facets["neighbor"], facets["vector"]), near):
        distance = np.linalg.norm(np.reshape(vector, (-1, 3)), axis=1)
        touch = radii_i + radius[np.asarray(neighbor, int)]
        columns += _stats(distance / touch - 1 if amlearn else (distance - touch) / distance, empty)
    hull = hull_interstices(facets["vector"], radii_i, radius[facets["neighbor"]])
    for values in hull if hull is not None else ((), ()):
        columns += _stats(np.maximum(values, 0) if amlearn else values, empty)
    return np.array(columns)


def cluster_packing(facets: Facets, radii_i: float, radii_of: ArrayLike) -> float:
    """(4/3 π R_i^3 + 1/3 sum_j R_j^3 Ω_j) / V_hull, Ω_j = sum over hull tetrahedra of the solid angle at j; or NaN."""
    vector, radius = facets["vector"], np.asarray(radii_of, float)[facets["neighbor"]]
    hull = _hull(vector)
    if hull is None:
        return float("nan")
    total = 4 / 3 * np.pi * radii_i**3
    for triangle in hull[0]:
        for v in range(3):
            here, one, two = (vector[triangle[(v + k) % 3]] for k in range(3))
            total += radius[triangle[v]] ** 3 * solid_angle(-here, one - here, two - here) / 3
    return float(total / hull[1])


def atomic_packing(facets: Facets, radii_i: float, radii_of: ArrayLike) -> float:
    """R_i / <R_j> - R*(CN); NaN where the table has no CN."""
    radius = np.asarray(radii_of, float)[facets["neighbor"]]
    if len(radius) not in R_STAR:
        return float("nan")
    return float(radii_i / radius.mean() - R_STAR[len(radius)])


# --------------------------------------------------------------------------------------------- lists, classes, counts
def medium_range(values: ArrayLike, neighbors_of: Sequence[ArrayLike]) -> Array:
    """(n,k) -> (n,4k): per column mean, std (ddof 0), min, max over the list of i as given (i is not added to it)."""
    table = np.asarray(values, float)
    rows = []
    for listed in neighbors_of:
        those = table[np.asarray(listed, int)]
        rows.append(
            [number for column in range(table.shape[1]) for number in _stats(those[:, column])]
        )
    return np.array(rows).reshape(len(table), 4 * table.shape[1])


def voronoi_indices(facets: Facets, beyond: bool = True) -> Index:
    """n_k = #{j: e_j = k}, k = 3..7; beyond: e > 7 counted in 7."""
    edges = np.asarray(facets["edges"], int)
    return np.array(
        [((edges >= 7) if beyond and k == 7 else (edges == k)).sum() for k in range(3, 8)], np.int64
    )


def motifs(indices: ArrayLike) -> Index:
    """<0,0,12,0,0>, <0,0,12,4,0>, 2 n4 + n5 = 12, first or second."""
    n = [int(k) for k in np.asarray(indices)]
    first, second = n == [0, 0, 12, 0, 0], n == [0, 0, 12, 4, 0]
    return np.array([first, second, 2 * n[1] + n[2] == 12, first or second], np.int64)


def fold_symmetry(facets: Facets, weight: str | None = None) -> Array:
    """sum_{e_j=k} w_j / sum_{e_j>=3} w_j, k = 3..7 (e > 7 in 7); w = 1, area or volume; NaN if no facet."""
    edges = np.minimum(np.asarray(facets["edges"], int), 7)
    w = np.ones(len(edges)) if weight is None else np.asarray(facets[weight], float)
    total = w[edges >= 3].sum()
    return np.array([w[edges == k].sum() / total if total > 0 else np.nan for k in range(3, 8)])


def warren_cowley(
    neighbors: ArrayLike,
    numbers_of_atoms: ArrayLike,
    species: Sequence[int],
    composition: ArrayLike,
) -> tuple[Array, Array, Array]:
    """n_k, f_k = n_k / n, (f_k - c_k) / c_k per species k; NaN fractions with no neighbour."""
    kind = np.asarray(numbers_of_atoms)[np.asarray(neighbors, int)]
    nominal = np.asarray(composition, float)
    count = np.array([(kind == k).sum() for k in species], float)
    fraction = count / len(kind) if len(kind) else np.full(len(count), np.nan)
    return count, fraction, (fraction - nominal) / nominal


def rdf_counts(
    position: ArrayLike,
    cell: ArrayLike,
    numbers: ArrayLike,
    pair: tuple[int, int],
    edges: ArrayLike,
    pbc: Sequence[bool] = PERIODIC,
) -> Index:
    """#{(i, j, n): Z_i = X, Z_j = Y, e_b <= d < e_{b+1}}, ordered pairs (the last bin closed, as numpy's)."""
    kind, bins = np.asarray(numbers), np.asarray(edges, float)
    found: list[Array] = [np.zeros(0)]
    for i, (neighbor, vector) in enumerate(pairs(position, cell, float(bins[-1]), pbc)):
        if kind[i] == pair[0]:
            found.append(np.sqrt((vector[kind[neighbor] == pair[1]] ** 2).sum(axis=1)))
    return np.histogram(np.concatenate(found), bins)[0].astype(np.int64)


# --------------------------------------------------------------------------------------------------- bond orientation
def _harmonics(degree: int, vectors: ArrayLike) -> NDArray[np.complex128]:
    """Y_lm(θ, φ), m = -l..l, (k, 2l+1); θ = arccos(z/r) the polar angle, φ = atan2(y, x)."""
    v = np.asarray(vectors, float).reshape(-1, 3)
    theta = np.arctan2(np.hypot(v[:, 0], v[:, 1]), v[:, 2])
    phi = np.mod(np.arctan2(v[:, 1], v[:, 0]), 2 * np.pi)
    columns = [sph_harm_y(degree, m, theta, phi) for m in range(-degree, degree + 1)]
    return np.array(columns, complex).T.reshape(len(v), 2 * degree + 1)


@cache
def _wigner(degree: int) -> tuple[tuple[int, int, int, float], ...]:
    """(l l l; m1 m2 m3) for all m1 + m2 + m3 = 0."""
    span = range(-degree, degree + 1)
    return tuple(
        (a, b, -a - b, float(wigner_3j(degree, degree, degree, a, b, -a - b)))
        for a in span
        for b in span
        if abs(a + b) <= degree
    )


def _invariants(degree: int, moments: NDArray[np.complex128]) -> tuple[Array, Array]:
    """q = sqrt(4π/(2l+1) sum_m |q_lm|^2); w = sum (l l l; m1 m2 m3) q q q / (sum_m |q_lm|^2)^{3/2}."""
    norm = (np.abs(moments) ** 2).sum(axis=1)
    triple = np.zeros(len(moments), complex)
    for a, b, c, factor in _wigner(degree):
        triple += factor * moments[:, degree + a] * moments[:, degree + b] * moments[:, degree + c]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(4 * np.pi / (2 * degree + 1) * norm), triple.real / norm**1.5


def bond_order(
    vectors_of_each_atom: Sequence[ArrayLike],
    neighbors_of: Sequence[ArrayLike],
    degrees: Sequence[int],
    weights: Sequence[ArrayLike] | None = None,
) -> dict[str, Array]:
    """q_lm(i) = sum_j w_j Y_lm, coarse (q_lm(i) + sum_j q_lm(j))/(n+1); keys q, w, coarse_q, coarse_w: (n, degrees)."""
    n = len(vectors_of_each_atom)
    result = {key: np.full((n, len(degrees)), np.nan) for key in ("q", "w", "coarse_q", "coarse_w")}
    for column, degree in enumerate(degrees):
        moments = np.full((n, 2 * degree + 1), np.nan, complex)
        for i, vectors in enumerate(vectors_of_each_atom):
            harmonics = _harmonics(degree, vectors)
            if len(harmonics):
                w = np.ones(len(harmonics)) if weights is None else np.asarray(weights[i], float)
                moments[i] = (w / w.sum()) @ harmonics
        coarse = np.array(
            [
                (moments[i] + moments[np.asarray(listed, int)].sum(axis=0))
                / (len(np.asarray(listed)) + 1)
                for i, listed in enumerate(neighbors_of)
            ]
        ).reshape(n, 2 * degree + 1)
        result["q"][:, column], result["w"][:, column] = _invariants(degree, moments)
        result["coarse_q"][:, column], result["coarse_w"][:, column] = _invariants(degree, coarse)
    return result


# ------------------------------------------------------------------------------------------------ symmetry functions
def radial_symmetry(distances: ArrayLike, centres: ArrayLike, width: float) -> Array:
    """G(r) = sum_j exp(-(d_j - r)^2 / (2 width^2))."""
    d, r = np.asarray(distances, float), np.asarray(centres, float)
    return np.array([np.exp(-((d - centre) ** 2) / (2 * width**2)).sum() for centre in r])


def angular_symmetry(
    vectors_x: ArrayLike, vectors_y: ArrayLike, same: bool, xi: float, lam: float, zeta: float
) -> float:
    """Ψ = sum_{j in X, k in Y} exp(-(d_ij^2+d_ik^2+d_jk^2)/ξ^2) (1+λ cosθ_jik)^ζ; same: j < k."""
    first, second = (np.asarray(v, float).reshape(-1, 3) for v in (vectors_x, vectors_y))
    total = 0.0
    for j, u in enumerate(first):
        for v in second[j + 1 :] if same else second:
            cosine = np.clip(u @ v / (np.linalg.norm(u) * np.linalg.norm(v)), -1, 1)
            total += (
                np.exp(-(u @ u + v @ v + (u - v) @ (u - v)) / xi**2) * (1 + lam * cosine) ** zeta
            )
    return float(total)


def chebyshev(
    vectors: ArrayLike, weights: ArrayLike, n_max: int = 4, l_max: int = 8, r_cut: float = 7.0
) -> Array:
    """P_nl = 4π/(2l+1) sum_m |sum_j w_j T_n(1-2r/r_c) (1-(r/r_c)^2)^4 Y_lm|^2, 0 < r < r_c."""
    v, w = np.asarray(vectors, float).reshape(-1, 3), np.asarray(weights, float)
    r = np.linalg.norm(v, axis=1)
    inside = (r < r_cut) & (r > 0)
    v, w, r = v[inside], w[inside], r[inside]
    power = np.zeros((n_max + 1, l_max + 1))
    for degree in range(l_max + 1):
        harmonics = _harmonics(degree, v)
        for n in range(n_max + 1):
            radial = (
                np.cos(n * np.arccos(np.clip(1 - 2 * r / r_cut, -1, 1)))
                * (1 - (r / r_cut) ** 2) ** 4
            )
            power[n, degree] = (
                4 * np.pi / (2 * degree + 1) * (np.abs((w * radial) @ harmonics) ** 2).sum()
            )
    return power


# ------------------------------------------------------------------------------------------------------------- checks
def _closed_values() -> None:
    """The sanity values of amlearn.md section 2: touching spheres, R = half the nearest distance."""
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
    axes = np.vstack([np.eye(3), -np.eye(3)])
    golden = (1 + np.sqrt(5)) / 2
    fcc = np.array(
        [v for v in itertools.product((-1.0, 0.0, 1.0), repeat=3) if sum(map(abs, v)) == 2]
    )
    ico = np.array(
        [np.roll((0, a, b * golden), k) for a in (-1, 1) for b in (-1, 1) for k in range(3)]
    )
    cases = (
        ("bcc-8", signs, {0.410951: 12}, {0.319825: 12}),
        ("bcc-14", np.vstack([signs, 2 * axes]), {0.166959: 24}, {0.319825: 24}),
        ("fcc-12", fcc, {0.093100: 8, 0.214602: 12}, {0.220364: 8, 0.279097: 12}),
        ("icosahedron", ico, {0.179702: 20}, {0.274147: 20}),
    )
    for name, vector, areas, volumes in cases:
        radius = np.linalg.norm(vector, axis=1).min() / 2
        found = hull_interstices(vector, radius, np.full(len(vector), radius))
        assert found is not None
        for values, expected in zip(found, (volumes, areas), strict=True):
            wanted = np.repeat(list(expected), list(expected.values()))
            assert len(values) == len(wanted), (name, len(values))
            print(name, "largest |difference|", np.abs(np.sort(values) - np.sort(wanted)).max())
            assert np.allclose(np.sort(values), np.sort(wanted), atol=1.1e-6), (name, values)


def _main() -> None:
    """Run the closed checks."""
    _closed_values()
    rng = np.random.default_rng(5)
    box = np.array([[11.0, 0, 0], [4.0, 10.0, 0], [-3.0, 2.0, 12.0]])
    position = rng.random((100, 3)) @ box
    cells = [c for c in voronoi(position, box) if c is not None]
    volume = sum(c["cell_volume"] for c in cells)
    print("Voronoi", len(cells), "volume - box", volume - np.linalg.det(box))
    assert len(cells) == 100
    assert abs(volume / np.linalg.det(box) - 1) < 1e-10
    bonds = {(i, int(j)) for i, c in enumerate(cells) for j in c["neighbor"]}
    assert all((j, i) in bonds for i, j in bonds)
    assert all(((6 - c["edges"]).sum()) == 12 for c in cells)
    primitive = np.array([[0, 2.0, 2.0], [2.0, 0, 2.0], [2.0, 2.0, 0]])
    fcc = voronoi(np.zeros((1, 3)), primitive)[0]
    assert fcc is not None
    assert fcc["edges"].tolist() == [4] * 12
    order = bond_order([fcc["vector"]], [fcc["neighbor"]], [4, 6])
    print("fcc q4, q6, w4, w6", order["q"][0], order["w"][0])
    assert abs(order["q"][0, 1] - 0.57452) < 1e-5
    assert abs(order["w"][0, 1] + 0.01316) < 1e-5
    assert all(np.allclose(order["coarse_" + key], order[key]) for key in "qw")


if __name__ == "__main__":
    _main()
