"""Interstices against a naive twin, matminer, crystals of touching spheres, and the symmetries that they must have."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from ase.data import covalent_radii
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation
from scipy.stats import norm

from mgdask.errors import ParameterError
from mgdask.features import Interstice, compute_features, make_feature
from mgdask.features.environments import CutoffNeighbors, LocalEnvironments, VoronoiNeighbors
from mgdask.features.interstice import PARTS
from mgdask.kernels.interstice import FLAT_TETRAHEDRON, NO_HULL, OUTSIDE, interstices
from tests.reference import structure as reference
from tests.reference.configurations import (
    BCC,
    FCC,
    ICOSAHEDRON,
    NEVER,
    SIGNS,
    TRICLINIC,
    cluster,
    crystal,
    spread,
    twin_cells,
    twin_cells_near,
)

MIRACLE = np.full(120, np.nan)
MIRACLE[[29, 40]] = 1.26, 1.58
GIVEN = np.full(120, np.nan)
GIVEN[[29, 40]] = 1.31, 1.47
RADII = [("miracle", MIRACLE), ("covalent", covalent_radii), ({"Zr": 1.47, "Cu": 1.31}, GIVEN)]
PERIODIC = (True, True, True)
DISTANCE, VOLUME, AREA = slice(0, 4), slice(8, 12), slice(12, 16)


def mixture(seed=1, n=24, scale=1.0):
    """Atoms of two species in a small triclinic cell."""
    rng, cell = np.random.default_rng(seed), TRICLINIC * scale
    return spread(rng, cell, n, 1.9), cell, np.tile([29, 40], n)[:n]


def counts(feature, position, cell, numbers, centers=None, pbc=PERIODIC):
    """Values of one configuration and how many atoms were special."""
    centers = np.arange(len(position)) if centers is None else centers
    arrays = (
        np.asarray(position, float)[None],
        np.asarray(cell, float)[None],
        np.asarray(numbers),
        np.asarray(centers),
    )
    found, counted = compute_features((feature,), *arrays, pbc)
    return found[0][0], {name: n for name, n in counted[0].items() if n}


def environments(vector, own, radius):
    """``interstices`` of one atom with neighbours at ``vector``."""
    vector = np.ascontiguousarray(vector, float)
    n = len(vector)
    radius = np.broadcast_to(np.asarray(radius, float), n).copy()
    return interstices(
        np.array([0]), np.array([n]), np.arange(n), vector, np.array([float(own)]), radius
    )


@pytest.fixture(scope="module")
def glass_cells(glass):
    return twin_cells_near(glass[0], glass[1])


@pytest.fixture(scope="module")
def glass_near(glass, glass_cells):
    listed = reference.pairs(glass[0], glass[1], 4.0)
    return {i: listed[i] for i in glass_cells}


# ------------------------------------------------------------------------------------------------------------ the twin
CASES = list(itertools.product(("paper", "amlearn"), ("static", "amlearn", "none"), range(3)))
"""Conventions, rules and indices of radii."""


@pytest.mark.parametrize(
    ("convention", "rule", "k"),
    [
        # every pair of a convention and a rule once, and every pair of a rule and radii but one
        pytest.param(*case, marks=[] if (n // 3 + n // 9) % 3 == n % 3 else pytest.mark.slow)
        for n, case in enumerate(CASES)
    ],
)
def test_glass_equals_the_twin(glass, glass_cells, glass_near, convention, rule, k):
    radii, table = RADII[k]
    some, z = np.array(list(glass_cells)), glass[2]
    assert len(some) > 40
    feature = Interstice(radii=radii, small_facets=rule, convention=convention)
    wanted = []
    for i in some:
        facets = reference.drop_small(glass_cells[i], rule)
        wanted.append(
            reference.interstice(facets, glass_near[i], table[z[i]], table[z], convention)
        )
    np.testing.assert_allclose(
        feature.compute(*glass, centers=some), wanted, rtol=1e-12, atol=1e-12
    )


def test_rules_and_conventions_differ(glass, glass_cells):
    """So that the comparison with the twin tells them apart."""
    some = np.array(list(glass_cells))
    base = Interstice().compute(*glass, centers=some)
    assert (Interstice(small_facets="none").compute(*glass, centers=some) != base).any()
    every = np.arange(2000)
    ours, theirs = (
        Interstice(small_facets=rule).compute(*glass, centers=every)
        for rule in ("static", "amlearn")
    )
    assert 1 <= (ours != theirs).any(axis=1).sum() < 60
    clipped = Interstice(convention="amlearn").compute(*glass, centers=some)
    assert (base[:, [10, 14]] < 0).any()
    assert clipped[:, 8:].min() == 0.0


@pytest.mark.parametrize("convention", ["paper", "amlearn"])
@pytest.mark.parametrize("rule", ["static", "amlearn", "none"])
def test_small_cell_equals_the_twin(convention, rule):
    """Several images of an atom are neighbours within the cut-off."""
    position, cell, z = mixture()
    near = reference.pairs(position, cell, 8.0)
    assert all(len(set(j.tolist())) < len(j) and i in j for i, (j, _) in enumerate(near))
    cells = [reference.drop_small(facets, rule) for facets in twin_cells(position, cell)]
    wanted = [
        reference.interstice(cells[i], near[i], MIRACLE[z[i]], MIRACLE[z], convention)
        for i in range(len(position))
    ]
    found = Interstice(cutoff=8.0, small_facets=rule, convention=convention).compute(
        position, cell, z
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 6])
def test_distances_among_images_equal_the_twin(n):
    """Hulls have parallelograms of images here, which can be cut in two ways; but not distances, and not the hull's volume."""
    position, cell, z = mixture(3, n, 0.5 + 0.02 * n)
    near, cells = reference.pairs(position, cell, 5.5), twin_cells(position, cell)
    assert all(len(set(facets["neighbor"].tolist())) < len(facets["neighbor"]) for facets in cells)
    for rule in ("static", "none"):
        kept = [reference.drop_small(facets, rule) for facets in cells]
        wanted = [
            reference.interstice(kept[i], near[i], MIRACLE[z[i]], MIRACLE[z]) for i in range(n)
        ]
        found = Interstice(cutoff=5.5, small_facets=rule).compute(position, cell, z)
        np.testing.assert_allclose(found[:, :8], np.array(wanted)[:, :8], rtol=1e-12, atol=1e-12)
        assert np.isfinite(found).all()
        hull = (
            LocalEnvironments(position, cell, z, PERIODIC)
            .interstices("miracle", rule, np.arange(n))
            .hull
        )
        np.testing.assert_allclose(
            hull, [ConvexHull(facets["vector"]).volume for facets in kept], rtol=1e-12
        )


def test_slab_equals_the_twin(rng):
    cell, pbc = np.diag([9.0, 8.0, 30.0]), (True, True, False)
    position, z = spread(rng, np.diag([9.0, 8.0, 12.0]), 40, 1.7), np.tile([29, 40], 20)
    near, cells = reference.pairs(position, cell, 4.0, pbc), twin_cells(position, cell, pbc)
    wanted = np.full((40, 16), np.nan)
    for i, facets in enumerate(cells):
        if facets is not None:
            kept = reference.drop_small(facets, "static")
            wanted[i] = reference.interstice(kept, near[i], MIRACLE[z[i]], MIRACLE[z])
    found, counted = counts(Interstice(), position, cell, z, pbc=pbc)
    is_open = np.isnan(found[:, 0])
    assert 1 < is_open.sum() < 20
    assert is_open[[facets is None for facets in cells]].all()  # and some that reach far out
    # cells that reach far out of the surface are long, and so are rounding errors
    np.testing.assert_allclose(found[~is_open], wanted[~is_open], rtol=1e-9, atol=1e-9)
    assert counted["open_cell"] == is_open.sum()
    assert np.isnan(found[is_open][:, np.r_[0:4, 8:16]]).all()
    assert not np.isnan(found[:, 4:8]).any()


# --------------------------------------------------------------------------------------------------------- closed values
FCC_AREA = np.repeat([0.093100, 0.214602], [8, 12])
FCC_VOLUME = np.repeat([0.220364, 0.279097], [8, 12])
CLOSED_VALUES = {
    "bcc-8": (SIGNS, np.full(12, 0.410951), np.full(12, 0.319825)),
    "bcc-14": (
        np.vstack([SIGNS, 2 * np.eye(3), -2 * np.eye(3)]),
        np.full(24, 0.166959),
        np.full(24, 0.319825),
    ),
    "fcc-12": ((FCC[1:, None] * 2 * np.vstack([SIGNS])[None]).reshape(-1, 3), FCC_AREA, FCC_VOLUME),
    "icosahedron": (ICOSAHEDRON, np.full(20, 0.179702), np.full(20, 0.274147)),
}
CLOSED_VALUES["fcc-12"] = (np.unique(CLOSED_VALUES["fcc-12"][0], axis=0), FCC_AREA, FCC_VOLUME)


def summary(x):
    return [x.mean(), x.std(), x.min(), x.max()]


@pytest.mark.parametrize("name", CLOSED_VALUES)
@pytest.mark.parametrize("scale", [1.0, 2.7])
def test_clusters_of_touching_spheres(name, scale):
    """The central atom's cell is closed by its neighbours alone."""
    shell, area, volume = CLOSED_VALUES[name]
    position, cell = cluster(shell * scale)
    radius = np.linalg.norm(shell, axis=1).min() * scale / 2
    found = environments(shell * scale, radius, radius)
    np.testing.assert_allclose(np.sort(found.area), np.sort(area), atol=1e-6)
    np.testing.assert_allclose(np.sort(found.volume), np.sort(volume), atol=1e-6)
    assert found.flag.tolist() == [0]
    feature = Interstice(radii={"Cu": radius}, cutoff=2.2 * radius)
    numbers = np.full(len(position), 29)
    values, counted = counts(feature, position, cell, numbers, centers=[0], pbc=NEVER)
    assert not counted
    np.testing.assert_allclose(values[0, VOLUME], summary(volume), atol=1e-6)
    np.testing.assert_allclose(values[0, AREA], summary(area), atol=1e-6)
    # second neighbours of bcc do not touch
    apart = np.array([0.0] * 8 + [1 - 3**0.5 / 2] * 6) if name == "bcc-14" else np.zeros(len(shell))
    np.testing.assert_allclose(values[0, DISTANCE], summary(apart), atol=1e-12)
    np.testing.assert_allclose(values[0, 4:8], 0.0, atol=1e-12)


@pytest.mark.parametrize("rule", ["none", "static", "amlearn"])
@pytest.mark.parametrize(("basis", "a", "touch"), [(BCC, 2.87, 3**0.5 / 4), (FCC, 3.6, 2**0.5 / 4)])
def test_crystals_of_touching_spheres(basis, a, touch, rule):
    position, cell = crystal(basis, a)
    feature = Interstice(radii={"Cu": touch * a}, cutoff=2.1 * touch * a, small_facets=rule)
    found = feature.compute(position, cell, np.full(len(position), 29))
    _, area, volume = CLOSED_VALUES["bcc-14" if basis is BCC else "fcc-12"]
    np.testing.assert_allclose(found[:, AREA], np.tile(summary(area), (len(basis), 1)), atol=1e-6)
    np.testing.assert_allclose(
        found[:, VOLUME], np.tile(summary(volume), (len(basis), 1)), atol=1e-6
    )


def test_exact_values_of_fcc():
    position, cell = crystal(FCC, 2**0.5)
    found = Interstice(radii={"Cu": 0.5}).compute(position, cell, np.full(4, 29))[0]
    assert found[14] == pytest.approx(1 - np.pi / 12**0.5, rel=1e-12)
    assert found[15] == pytest.approx(1 - np.pi / 4, rel=1e-12)
    corner = np.arccos(23 / 27)  # solid angle of a regular tetrahedron
    assert found[10] == pytest.approx(1 - corner * 2**0.5, rel=1e-12)


def test_distances_of_a_dimer():
    position, cell, numbers = (
        np.array([[0, 0, 0], [0, 0, 3.2]]),
        50.0 * np.eye(3),
        np.array([29, 40]),
    )
    for convention, wanted in (("paper", (3.2 - 2.84) / 3.2), ("amlearn", 3.2 / 2.84 - 1)):
        found = Interstice(convention=convention).compute(position, cell, numbers)
        np.testing.assert_allclose(
            found[:, 4:8], np.tile([wanted, 0, wanted, wanted], (2, 1)), rtol=1e-13, atol=1e-15
        )


# ------------------------------------------------------------------------------------------------------------ matminer
@pytest.mark.peers
def test_equal_to_matminer(glass, glass_cells):
    pytest.importorskip("matminer", reason="matminer is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from matminer.featurizers.site import IntersticeDistribution
        from pymatgen.core import Structure

        position, cell, numbers = glass
        some = list(glass_cells)[:6]
        structure = Structure(cell, numbers, position, coords_are_cartesian=True)
        theirs = np.array([IntersticeDistribution().featurize(structure, i) for i in some])
    feature = Interstice(small_facets="none", convention="amlearn")
    assert theirs.shape == (6, 12)
    ours = feature.compute(*glass, centers=some)
    np.testing.assert_allclose(ours[:, np.r_[0:4, 12:16, 8:12]], theirs, rtol=1e-10, atol=1e-10)


# ----------------------------------------------------------------------------------------------------------- histogram
@pytest.mark.parametrize("convention", ["paper", "amlearn"])
@pytest.mark.parametrize("smearing", [0.0, 0.07])
def test_histograms_equal_the_twins(glass, glass_cells, glass_near, smearing, convention):
    some, z, amlearn = np.array(list(glass_cells))[:12], glass[2], convention == "amlearn"
    bins, span = 7, (-0.2, 0.4)
    feature = Interstice(bins=bins, span=span, smearing=smearing, convention=convention)
    found = feature.compute(*glass, centers=some).reshape(12, 4, bins)
    np.testing.assert_allclose(found.sum(axis=2), 1.0, rtol=1e-13)
    edges = np.concatenate([[-np.inf], np.linspace(*span, bins + 1)[1:-1], [np.inf]])
    outside = 0
    for k, i in enumerate(some):
        facets = reference.drop_small(glass_cells[i], "static")
        values = []
        for neighbor, vector in ((facets["neighbor"], facets["vector"]), glass_near[i]):
            d, touch = np.linalg.norm(vector, axis=1), MIRACLE[z[i]] + MIRACLE[z[neighbor]]
            values.append(d / touch - 1 if amlearn else (d - touch) / d)
        hull = reference.hull_interstices(
            facets["vector"], MIRACLE[z[i]], MIRACLE[z[facets["neighbor"]]]
        )
        values += [np.maximum(x, 0) if amlearn else x for x in hull]
        for part, x in enumerate(values):
            outside += ((x < span[0]) | (x > span[1])).sum()
            if smearing:
                wanted = np.diff(norm.cdf(edges[:, None], x, smearing), axis=0).mean(axis=1)
            else:
                wanted = np.histogram(np.clip(x, *span), bins, span)[0] / len(x)
            np.testing.assert_allclose(found[k, part], wanted, atol=1e-11)
    assert amlearn or outside > 0


def test_histogram_of_open_cells_and_no_neighbours():
    feature = Interstice(bins=3, smearing=0.1)
    assert np.isnan(feature.compute([[0.0, 0, 0]], 20 * np.eye(3), [29], pbc=NEVER)).all()
    found = feature.compute(
        [[0.0, 0, 0], [2.5, 0, 0]], 20 * np.eye(3), [29, 29], pbc=NEVER
    ).reshape(2, 4, 3)
    assert np.isnan(found[:, [0, 2, 3]]).all()
    np.testing.assert_allclose(found[:, 1].sum(axis=1), 1.0, rtol=1e-14)


# --------------------------------------------------------------------------------------------------------- invariances
def cases(glass):
    position, cell, z = mixture()
    return [(glass, np.arange(0, 2000, 40)), ((position, cell, z), np.arange(24))]


@pytest.mark.parametrize("case", [0, 1], ids=["glass", "small cell"])
def test_invariances(glass, rng, case):
    (position, cell, z), some = cases(glass)[case]
    feature = Interstice(cutoff=4.3)
    base = feature.compute(position, cell, z, some)
    assert not np.isnan(base).any()
    turn = Rotation.random(rng=np.random.default_rng(3)).as_matrix()
    order = rng.permutation(len(position))
    place = np.argsort(order)[some]
    shifts = rng.integers(-2, 3, (len(position), 3)) @ cell
    twice = (
        np.vstack([position, position + cell[0]]),
        cell * [[2], [1], [1]],
        np.concatenate([z, z]),
    )
    assert not np.array_equal(order, np.arange(len(position)))
    for what, found in {
        "rotation": feature.compute(position @ turn.T, cell @ turn.T, z, some),
        "inversion": feature.compute(-position, -cell, z, some),
        "translation": feature.compute(position + [1.2, -30.0, 0.7], cell, z, some),
        "wrapping": feature.compute(position + shifts, cell, z, some),
        "permutation": feature.compute(position[order], cell, z[order], place),
        "replication": feature.compute(*twice, some),
        "replica": feature.compute(*twice, some + len(position)),
        "scale": Interstice(cutoff=8.6, radii={"Cu": 2.52, "Zr": 3.16}).compute(
            2 * position, 2 * cell, z, some
        ),
    }.items():
        np.testing.assert_allclose(found, base, rtol=1e-10, atol=1e-10, err_msg=what)


def test_amlearns_rule_follows_the_numbering(glass):
    """Its only fault here: that of the atoms' order."""
    position, cell, z = glass
    feature = Interstice(small_facets="amlearn")
    change = (
        feature.compute(position, cell, z) != feature.compute(position[::-1], cell, z[::-1])[::-1]
    )
    differ = np.abs(
        feature.compute(position, cell, z) - feature.compute(position[::-1], cell, z[::-1])[::-1]
    ).max(axis=1)
    assert change.any()
    assert 1 <= (differ > 1e-6).sum() < 40


@pytest.mark.parametrize(
    "options", [{}, {"bins": 5, "smearing": 0.1}, {"small_facets": "amlearn", "radii": "rdf"}]
)
def test_any_subset_gives_the_same_bits(glass, rng, options):
    feature = Interstice(**options)
    whole = feature.compute(*glass)
    for some in (rng.permutation(2000)[:300], np.array([7, 1999, 7, 0]), np.arange(1500, 1000, -1)):
        assert feature.compute(*glass, centers=some).tobytes() == whole[some].tobytes()
    assert feature.compute(*glass, centers=[]).shape == (0, feature.n_columns)


# ---------------------------------------------------------------------------------------------------------- edge cases
@pytest.mark.parametrize("convention", ["paper", "amlearn"])
def test_isolated_atom(convention):
    found, counted = counts(
        Interstice(convention=convention), [[1.0, 1, 1]], 30 * np.eye(3), [29], pbc=NEVER
    )
    assert np.isnan(found[0, np.r_[0:4, 8:16]]).all()
    assert (
        found[0, 4:8].tolist() == [0.0] * 4
        if convention == "amlearn"
        else np.isnan(found[0, 4:8]).all()
    )
    assert counted == {"open_cell": 1, "no_neighbor_within_cutoff": 1}
    # among its own images the cell is closed
    found, counted = counts(Interstice(convention=convention), [[1.0, 1, 1]], 30 * np.eye(3), [29])
    assert counted == {"no_neighbor_within_cutoff": 1}
    assert not np.isnan(found[0, np.r_[0:4, 8:16]]).any()
    assert found[0, 0] == pytest.approx(
        30 / 2.52 - 1 if convention == "amlearn" else 1 - 2.52 / 30, rel=1e-12
    )


@pytest.mark.parametrize("convention", ["paper", "amlearn"])
def test_free_surface(glass, convention):
    feature = Interstice(convention=convention)
    inside = feature.compute(*glass)
    found, counted = counts(feature, *glass, pbc=(True, True, False))
    is_open = np.isnan(found[:, 0])
    assert counted["open_cell"] == is_open.sum() > 50
    assert np.isnan(found[is_open][:, np.r_[0:4, 8:16]]).all()
    assert not np.isnan(found[:, 4:8]).any()
    depth = np.minimum(glass[0][:, 2] % 32.43, 32.43 - glass[0][:, 2] % 32.43)
    deep = depth > 10
    assert not is_open[deep].any()
    np.testing.assert_allclose(found[deep], inside[deep], rtol=1e-12, atol=1e-12)


def test_coincident_atoms():
    position, cell, z = mixture()
    base = Interstice().compute(position, cell, z)
    both = np.vstack([position, position[2]]), cell, np.append(z, z[2])
    found, counted = counts(Interstice(), *both)
    assert counted["coincident_atom"] == 2
    assert np.isnan(found[[2, 24]][:, np.r_[0:4, 8:16]]).all()
    assert np.isfinite(found[[2, 24], 4:8]).all()
    # the distance of zero is left out, all others stay
    np.testing.assert_allclose(found[[2, 24], 4:8], base[[2, 2], 4:8], rtol=1e-12, atol=1e-12)
    assert np.isfinite(found[:, 4:8]).all()
    # images of one atom on another
    image = np.vstack([position, position[2] + cell[1]]), cell, np.append(z, z[2])
    np.testing.assert_allclose(
        Interstice().compute(*image)[[2, 24], 4:8], base[[2, 2], 4:8], rtol=1e-9, atol=1e-9
    )
    pair, counted = counts(Interstice(), [[1.0, 1, 1]] * 2, 30 * np.eye(3), [29, 29], pbc=NEVER)
    assert np.isnan(pair).all()
    assert counted["coincident_atom"] == 2


@pytest.mark.parametrize(
    "sides", [(10.0, 10.0, 0.1), (1.0, 1.0, 40.0)], ids=["two left", "four in a plane"]
)
@pytest.mark.parametrize("convention", ["paper", "amlearn"])
def test_no_hull_once_small_facets_are_gone(sides, convention):
    cell, z = np.diag(sides), np.array([29])
    feature = Interstice(cutoff=1.5, convention=convention)
    found, counted = counts(feature, np.zeros((1, 3)), cell, z)
    assert counted["no_hull"] == 1
    assert (
        found[0, 8:].tolist() == [0.0] * 8
        if convention == "amlearn"
        else np.isnan(found[0, 8:]).all()
    )
    assert np.isfinite(found[0, :8]).all()
    near = min(sides)
    assert found[0, 0] == pytest.approx(
        near / 2.52 - 1 if convention == "amlearn" else 1 - 2.52 / near, rel=1e-9
    )
    found, counted = counts(
        Interstice(cutoff=1.5, small_facets="none", convention=convention),
        np.zeros((1, 3)),
        cell,
        z,
    )
    assert "no_hull" not in counted
    assert np.isfinite(found).all()


def shapes(rng):
    flat = rng.normal(size=(7, 3))
    flat[:, 2] = 0
    turn = Rotation.random(rng=np.random.default_rng(5)).as_matrix()
    return {
        "none": np.zeros((0, 3)),
        "one": np.array([[2.0, 0, 0]]),
        "three": 2.5 * np.eye(3),
        "in a line": np.outer(np.arange(1.0, 7), [1, 1, 0.5]),
        "in a plane": flat,
        "in a plane above": flat + [0, 0, 1.5],
        "in a turned plane": (flat + [0, 0, 1.5]) @ turn,
        "four in a square": np.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]]),
        "one place": np.ones((5, 3)),
    }


def test_no_hull(rng):
    for name, vector in shapes(rng).items():
        found = environments(vector, 1.0, 1.0)
        assert found.flag.tolist() == [NO_HULL], name
        assert found.offset.tolist() == [0, 0], name
        assert np.isnan(found.hull).all(), name
        assert np.isnan(found.cones).all(), name


def test_no_hull_among_others(rng):
    """Lists without a hull leave those after them alone."""
    bodies = [
        rng.normal(size=(10, 3)),
        np.eye(3),
        rng.normal(size=(14, 3)),
        np.zeros((0, 3)),
        rng.normal(size=(5, 3)),
    ]
    size = [len(vector) for vector in bodies]
    last = np.cumsum(size)
    radius = rng.uniform(0.5, 1.5, last[-1])
    own = rng.uniform(0.5, 1.5, 5)
    found = interstices(last - size, last, np.arange(last[-1]), np.vstack(bodies), own, radius)
    assert ((found.flag & NO_HULL) > 0).tolist() == [False, True, False, True, False]
    for k, vector in enumerate(bodies):
        alone = environments(vector, own[k], radius[last[k] - size[k] : last[k]])
        here = slice(found.offset[k], found.offset[k + 1])
        assert found.area[here].tobytes() == alone.area.tobytes()
        assert found.volume[here].tobytes() == alone.volume.tobytes()
        np.testing.assert_array_equal(found.hull[k], alone.hull[0])
        np.testing.assert_array_equal(found.cones[k], alone.cones[0])


@pytest.mark.parametrize("seed", range(8))
def test_bodies_equal_the_twin(seed):
    """The centre inside the hull, and outside of it."""
    rng = np.random.default_rng(seed)
    vector, radius = rng.normal(size=(rng.integers(4, 25), 3)), rng.uniform(0.2, 1.5, 25)
    for move in (0.0, 5.0):
        here = vector + [move, 0.3 * move, 0]
        radii = radius[: len(here)]
        found = environments(here, 0.9, radii)
        body = ConvexHull(here)
        volumes, areas = reference.hull_interstices(here, 0.9, radii)
        np.testing.assert_allclose(np.sort(found.area), np.sort(areas), rtol=1e-10)
        np.testing.assert_allclose(np.sort(found.volume), np.sort(volumes), rtol=1e-10)
        assert found.hull[0] == pytest.approx(body.volume, rel=1e-12)
        inside = (body.equations[:, 3] < 0).all()
        assert found.flag[0] == (0 if inside else OUTSIDE)
        assert inside or move or seed
        # solid angles at the neighbours: those of the hull's corners, wherever the centre is
        assert found.cones[0] == pytest.approx((radii**3 * corners(here, body)).sum(), rel=1e-9)


def corners(points, body):
    """Solid angle of a hull at each of its points."""
    corner, middle = np.zeros(len(points)), points.mean(axis=0)
    for triangle in body.simplices:
        for v in range(3):
            at, one, two = (points[triangle[(v + k) % 3]] for k in range(3))
            corner[triangle[v]] += reference.solid_angle(middle - at, one - at, two - at)
    return corner


@pytest.mark.parametrize("move", [(0, 0, 0), (0.4, 0.3, 0), (5, 1, 0), (-9, 9, 0), (2, 2, 0)])
def test_corners_of_the_hull_with_the_center_in_planes_of_it(move):
    pyramid = np.array([[2.0, 0, 0], [0, 2, 0], [-2, 0, 0], [0, -2, 0], [0, 0, 2]]) + move
    radii = np.array([1.0, 1.1, 0.9, 0.8, 1.3])
    found = environments(pyramid, 1.0, radii)
    assert found.flag[0] & FLAT_TETRAHEDRON
    body = ConvexHull(pyramid)
    assert found.hull[0] == pytest.approx(16 / 3, rel=1e-13)
    assert found.cones[0] == pytest.approx((radii**3 * corners(pyramid, body)).sum(), rel=1e-9)


def test_center_in_a_facet():
    """A pyramid over the square in which the atom lies: the two triangles of the square make flat tetrahedra."""
    vector = np.array([[2.0, 0, 0], [0, 2, 0], [-2, 0, 0], [0, -2, 0], [0, 0, 2]])
    found = environments(vector, 1.0, 1.0)
    assert found.flag.tolist() == [FLAT_TETRAHEDRON]
    assert np.isnan(found.volume).tolist().count(True) == 2
    assert not np.isnan(found.area).any()
    assert found.hull[0] == pytest.approx(16 / 3, rel=1e-13)
    octant = 1 - (
        np.pi / 2 / 3
        + 3 * reference.solid_angle(*np.array([[-1.0, 0, 0], [-1, 1, 0], [-1, 0, 1]])) / 3
    ) / (8 / 6)
    np.testing.assert_allclose(found.volume[~np.isnan(found.volume)], octant, rtol=1e-12)


BELOW = np.array([[1.0, 1, -106], [1, -1, -106], [-1, 1, -106], [-1, -1, -106]])


def test_flat_tetrahedra_are_left_out_of_the_statistics():
    """Four atoms far below close the cell; their facets are small and dropped, and the central atom is left in the square of four others."""
    half = np.array([[2.0, 0, 0], [0, 2, 0], [-2, 0, 0], [0, -2, 0], [0, 0, 2]])
    position, cell = np.vstack([np.zeros(3), half, BELOW]), np.diag([40.0, 40, 500])
    numbers, alone = np.full(len(position), 29), environments(half, 1.0, 1.0).volume
    kept = alone[~np.isnan(alone)]
    assert len(kept) == len(alone) - 2 == 4
    for convention, wanted in (
        ("paper", summary(kept)),
        ("amlearn", summary(np.append(kept, [0, 0]))),
    ):
        feature = Interstice(radii={"Cu": 1.0}, convention=convention)
        found, counted = counts(feature, position, cell, numbers, centers=[0])
        assert counted == {"flat_tetrahedron": 1}
        np.testing.assert_allclose(found[0, VOLUME], wanted, rtol=1e-12, atol=1e-15)


def test_center_outside_its_hull_is_counted():
    """As before, with the square raised above the atom."""
    half = np.array([[2.0, 0, 0.002], [0, 2, 0.002], [-2, 0, 0.002], [0, -2, 0.002], [0, 0, 2]])
    position, cell = np.vstack([np.zeros(3), half, BELOW]), np.diag([40.0, 40, 500])
    feature = Interstice(radii={"Cu": 1.0})
    found, counted = counts(feature, position, cell, np.full(len(position), 29), centers=[0])
    assert counted == {"center_outside_hull": 1}
    assert np.isfinite(found).all()


# -------------------------------------------------------------------------------------------------- labels, parameters
def test_labels_follow_the_columns():
    feature = Interstice()
    assert feature.n_columns == 16
    assert feature.labels[:5] == (
        "distance_voronoi_mean",
        "distance_voronoi_std",
        "distance_voronoi_min",
        "distance_voronoi_max",
        "distance_cutoff_mean",
    )
    assert feature.labels[8::4] == ("volume_mean", "area_mean")
    assert feature.amlearn_labels[::5] == (
        "Dist_interstice_mean_voro",
        "Dist_interstice_std_dist",
        "Volume_interstice_min_voro",
        "Area_interstice_max_voro",
    )
    assert feature.coordinates()["interstice_amlearn"].tolist() == list(feature.amlearn_labels)
    kinds = feature.neighborhood
    assert (
        kinds
        == (VoronoiNeighbors("static"),) * 4
        + (CutoffNeighbors(4.0),) * 4
        + (VoronoiNeighbors("static"),) * 8
    )
    binned = Interstice(bins=3, span=(0.0, 0.75), small_facets="none", cutoff=3.5)
    assert binned.n_columns == 12
    assert binned.labels[3:5] == ("distance_cutoff 0 to 0.25", "distance_cutoff 0.25 to 0.5")
    assert binned.amlearn_labels == ()
    assert binned.coordinates() == {}
    assert (
        binned.neighborhood
        == (VoronoiNeighbors("none"),) * 3
        + (CutoffNeighbors(3.5),) * 3
        + (VoronoiNeighbors("none"),) * 6
    )
    assert len(PARTS) == 4


def test_columns_obey_their_labels(glass):
    values = Interstice().compute(*glass, centers=np.arange(0, 2000, 100)).reshape(-1, 4, 4)
    mean, std, low, high = (values[:, :, k] for k in range(4))
    assert (low < mean).all()
    assert (mean < high).all()
    assert (std < high - low).all()
    assert (std > 0).all()


def test_mapping_of_radii_is_kept_in_order():
    one, other = (
        Interstice(radii={"Zr": 1.6, "Cu": 1.28}),
        Interstice(radii={"Cu": 1.28, "Zr": 1.6}),
    )
    assert one == other
    assert hash(one) == hash(other)
    for feature in (
        one,
        Interstice(),
        Interstice(bins=4, span=(-1, 2), smearing=0.1, convention="amlearn"),
    ):
        assert make_feature("interstice", feature.parameters()) == feature


@pytest.mark.parametrize("radii", ["miracle", "covalent", "rdf", {"Al": 1.41, "Sm": 1.85}])
def test_prepare(radii):
    """With an element that the radii know."""
    Interstice(radii=radii).prepare()


def test_summary_names_what_is_not_a_default():
    assert Interstice().summary() == ""
    assert Interstice(cutoff=3.5, small_facets="none").summary() == "cutoff=3.5, small_facets=none"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cutoff": -4.0}, "cutoff=-4.0 is not allowed; it must be a number > 0 in Å, such as 4.0"),
        ({"cutoff": float("inf")}, "cutoff=inf"),
        (
            {"convention": "matminer"},
            "convention='matminer' is not allowed; it must be 'paper' or 'amlearn'",
        ),
        ({"small_facets": "some"}, "'static', 'amlearn' or 'none'"),
        ({"span": (1.0, -0.5)}, r"span=\(1.0, -0.5\) must be \(low, high\)"),
        ({"span": (0.5, 0.5)}, "low < high"),
        ({"span": (0.0, float("nan"))}, "span"),
        ({"span": (0.0, 1.0, 2.0)}, "span"),
        ({"bins": -1}, "bins=-1"),
        ({"smearing": -0.1}, "smearing=-0.1"),
        ({"radii": "pauling"}, "radii='pauling'"),
        ({"radii": {"Cu": -1.0}}, "radii"),
        ({"radii": {"Kuh": 1.0}}, "'Kuh' is not an element"),
    ],
)
def test_bad_parameters_are_refused_in_words(change, words):
    with pytest.raises(ParameterError, match=words):
        Interstice(**change)


def test_unknown_radii_are_refused_in_words():
    position, cell, numbers = [[0.0, 0, 0], [0, 0, 2.0]], 9 * np.eye(3), [1, 29]
    with pytest.raises(ParameterError, match="no radius for H"):
        Interstice().compute(position, cell, numbers)
    with pytest.raises(ParameterError, match="lacks H, which the atoms contain; add its radius"):
        Interstice(radii={"Cu": 1.28}).compute(position, cell, numbers)
    assert np.isfinite(Interstice(radii="covalent").compute(position, cell, numbers)).any()
    assert np.isfinite(
        Interstice(radii={"Cu": 1.28, "H": 0.4, "Zr": 1.6}).compute(position, cell, numbers)
    ).any()
