"""Coordination, Voronoi indices, motifs, packing and i-fold symmetry against naive twins, crystals and clusters."""

from __future__ import annotations

import numpy as np
import pytest
from ase.data import covalent_radii
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from mgdask.errors import ParameterError
from mgdask.features import (
    Coordination,
    FoldSymmetry,
    Interstice,
    Motifs,
    Packing,
    VoronoiIndices,
    compute_features,
    make_feature,
)
from mgdask.features.environments import CutoffNeighbors, VoronoiNeighbors
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
    laves,
    spread,
    twin_cells,
    twin_cells_near,
)

PERIODIC = (True, True, True)
RULES = ("static", "amlearn", "none")
MIRACLE = np.full(120, np.nan)
MIRACLE[[29, 40]] = 1.26, 1.58
EVERY = [
    Coordination(),
    VoronoiIndices(),
    VoronoiIndices(beyond=False),
    Motifs(),
    Packing(),
    FoldSymmetry(),
    *(FoldSymmetry(weights=weights, average=True) for weights in ("none", "area", "volume")),
]


def together(features, position, cell, numbers, centers=None, pbc=PERIODIC):
    """Values and counts of several features of one configuration."""
    centers = np.arange(len(position)) if centers is None else np.asarray(centers)
    arrays = (
        np.asarray(position, float)[None],
        np.asarray(cell, float)[None],
        np.asarray(numbers),
        centers,
    )
    found, counted = compute_features(features, *arrays, pbc)
    return [f[0] for f in found], [{name: n for name, n in c.items() if n} for c in counted]


@pytest.fixture(scope="module")
def cells(glass):
    """The twin's cells of the glass within 9 Å of a corner of the box, and those of the atoms whose neighbours are among these."""
    wide = twin_cells_near(glass[0], glass[1], radius=9.5)
    inner = {i: c for i, c in wide.items() if all(int(j) in wide for j in c["neighbor"])}
    assert len(inner) > 40
    return wide, inner


@pytest.fixture(scope="module")
def small():
    """A small triclinic cell of two species, and the twin's cells."""
    position = spread(np.random.default_rng(4), TRICLINIC, 24, 1.9)
    return (position, TRICLINIC, np.tile([29, 40], 12)), dict(
        enumerate(twin_cells(position, TRICLINIC))
    )


def each(cells, glass, small):
    """Both configurations: atoms, all of the twin's cells, and those of atoms whose neighbours have one too."""
    return (glass, *cells), (small[0], small[1], small[1])


def dropped(facets, rule):
    return {i: reference.drop_small(f, rule) for i, f in facets.items()}


# ------------------------------------------------------------------------------------------------------------ the twin
def test_coordination_equals_the_twin(glass, cells, small):
    for atoms, longest, inner in ((glass, 4.0, cells[1]), (small[0], 8.0, small[1])):
        near = reference.pairs(atoms[0], atoms[1], longest)
        for rule in RULES:
            for cutoff in (3.1, longest):
                count = [int((np.linalg.norm(near[i][1], axis=1) <= cutoff).sum()) for i in inner]
                wanted = [
                    [len(f["neighbor"]), n]
                    for f, n in zip(dropped(inner, rule).values(), count, strict=True)
                ]
                found = Coordination(cutoff=cutoff, small_facets=rule).compute(
                    *atoms, centers=list(inner)
                )
                assert found.tolist() == wanted


@pytest.mark.parametrize("beyond", [True, False])
@pytest.mark.parametrize("rule", RULES)
def test_indices_and_motifs_equal_the_twin(glass, cells, small, rule, beyond):
    more = 0
    for atoms, _, inner in each(cells, glass, small):
        kept = dropped(inner, rule)
        wanted = np.array([reference.voronoi_indices(f, beyond) for f in kept.values()])
        options = {"small_facets": rule, "beyond": beyond}
        assert (
            VoronoiIndices(**options).compute(*atoms, centers=list(inner)).tolist()
            == wanted.tolist()
        )
        motifs = [reference.motifs(n) for n in wanted]
        assert (
            Motifs(**options).compute(*atoms, centers=list(inner)).tolist()
            == np.array(motifs).tolist()
        )
        more += sum((f["edges"] > 7).any() for f in kept.values())
    assert more


def test_all_motifs_occur(glass):
    indices, motifs = (kind().compute(*glass) for kind in (VoronoiIndices, Motifs))
    assert motifs.tolist() == [reference.motifs(n).tolist() for n in indices]
    assert motifs.sum(axis=0).min() > 0
    assert (motifs.sum(axis=0) < 1000).all()


@pytest.mark.parametrize("radii", ["miracle", "covalent", {"Zr": 1.47, "Cu": 1.31}])
@pytest.mark.parametrize("rule", RULES)
def test_packing_equals_the_twin(glass, cells, small, rule, radii):
    table = (
        {"miracle": MIRACLE, "covalent": covalent_radii}.get(radii)
        if isinstance(radii, str)
        else None
    )
    if table is None:
        table = np.full(120, np.nan)
        table[[29, 40]] = radii["Cu"], radii["Zr"]
    for atoms, _, inner in each(cells, glass, small):
        z = atoms[2]
        wanted = [
            [
                reference.cluster_packing(f, table[z[i]], table[z]),
                reference.atomic_packing(f, table[z[i]], table[z]),
                4 / 3 * np.pi * table[z[i]] ** 3 / inner[i]["cell_volume"],
            ]
            for i, f in dropped(inner, rule).items()
        ]
        found = Packing(radii=radii, small_facets=rule).compute(*atoms, centers=list(inner))
        assert not np.isnan(found).any()
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def naive_folds(facets, weights, beyond):
    """Sums of weights by number of edges."""
    edges = np.minimum(facets["edges"], 7) if beyond else facets["edges"]
    w = np.ones(len(edges)) if weights == "none" else facets[weights]
    return np.array([w[edges == k].sum() for k in range(3, 8)])


@pytest.mark.parametrize("beyond", [True, False])
@pytest.mark.parametrize("weights", ["none", "area", "volume"])
@pytest.mark.parametrize("rule", RULES)
def test_folds_equal_the_twin(glass, cells, small, rule, weights, beyond):
    for atoms, every, inner in each(cells, glass, small):
        kept = dropped(every, rule)
        sums = {i: naive_folds(f, weights, beyond) for i, f in kept.items()}
        options = {"weights": weights, "small_facets": rule, "beyond": beyond}
        found = FoldSymmetry(**options).compute(*atoms, centers=list(inner))
        np.testing.assert_allclose(
            found, [sums[i] / sums[i].sum() for i in inner], rtol=1e-12, atol=1e-13
        )
        np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-13)
        if beyond:
            twin = [
                reference.fold_symmetry(kept[i], None if weights == "none" else weights)
                for i in inner
            ]
            np.testing.assert_allclose(found, twin, rtol=1e-12, atol=1e-13)
        wanted = []
        for i in inner:
            total = sums[i].copy()
            for j in kept[i]["neighbor"]:  # an image counts as often as it is there
                total += sums[int(j)]
            wanted.append(total / total.sum())
        averaged = FoldSymmetry(**options, average=True).compute(*atoms, centers=list(inner))
        np.testing.assert_allclose(averaged, wanted, rtol=1e-12, atol=1e-13)
        assert np.abs(averaged - found).max() > 1e-3


# -------------------------------------------------------------------------------------------------- crystals, clusters
@pytest.mark.parametrize("noise", [0.0, 1e-9])
@pytest.mark.parametrize("rule", RULES)
def test_cubic_crystals(rng, rule, noise):
    for basis, indices, near, kasper in (
        (FCC, [0, 12, 0, 0, 0], 12, 0),
        (BCC, [0, 6, 0, 8, 0], 14, 1),
    ):
        position, cell = crystal(basis, 3.6)
        position = position + rng.normal(0, noise, position.shape)
        numbers = np.full(len(position), 29)
        assert (VoronoiIndices(small_facets=rule).compute(position, cell, numbers) == indices).all()
        assert (
            Motifs(small_facets=rule).compute(position, cell, numbers) == [0, 0, kasper, 0]
        ).all()
        found = Coordination(small_facets=rule, cutoff=3.61).compute(position, cell, numbers)
        assert (found == [near, 18 if near == 12 else 14]).all()
        for weights in ("none", "area", "volume"):
            for average in (False, True):
                folds = FoldSymmetry(weights=weights, average=average, small_facets=rule).compute(
                    position, cell, numbers
                )
                if near == 12:
                    np.testing.assert_allclose(
                        folds, np.tile([0, 1, 0, 0, 0], (len(basis), 1)), atol=1e-13
                    )
                else:  # hexagons of edge b = a / sqrt 8: 3 sqrt 3 / 2 b^2 each at sqrt 3 a / 4; squares b^2 at a / 2
                    each = {"none": 1.0, "area": 27**0.5 / 2, "volume": 27**0.5 / 2 * 3**0.5 / 2}[
                        weights
                    ]
                    wanted = np.array([0, 6, 0, 8 * each, 0]) / (6 + 8 * each)
                    np.testing.assert_allclose(
                        folds, np.tile(wanted, (len(basis), 1)), rtol=1e-7, atol=1e-13
                    )


def test_packing_of_touching_spheres():
    filled = np.pi / 18**0.5
    position, cell = crystal(FCC, 4.0)
    found = Packing(radii={"Cu": 2**0.5}).compute(position, cell, np.full(4, 29))
    assert filled == pytest.approx(0.74048, abs=1e-5)
    np.testing.assert_allclose(found[:, 2], filled, rtol=1e-12)
    np.testing.assert_allclose(found[:, 1], 1 - 0.902113, rtol=1e-12)
    # the hull is a cuboctahedron of edge 2 R; at each corner two triangles and two squares meet
    edge = 2 * 2**0.5
    ball = 4 / 3 * np.pi * 2**1.5
    corner = 4 * np.arccos(-1 / 3**0.5) - 2 * np.pi  # four dihedral angles, less 2 pi (Girard)
    wanted = (ball + 12 * corner * 2**1.5 / 3) / (5 / 3 * 2**0.5 * edge**3)
    np.testing.assert_allclose(found[:, 0], wanted, rtol=1e-12)
    position, cell = crystal(BCC, 4.0)
    found = Packing(radii={"Cu": 3**0.5}).compute(position, cell, np.full(2, 29))
    np.testing.assert_allclose(found[:, 2], np.pi * 3**0.5 / 8, rtol=1e-12)
    np.testing.assert_allclose(found[:, 1], 1 - 1.04733, rtol=1e-12)


def test_icosahedron():
    position, cell = cluster(ICOSAHEDRON * 1.4)
    numbers = np.array([29] + [40] * 12)
    features = (
        VoronoiIndices(),
        Motifs(),
        Coordination(cutoff=3.0),
        Packing(radii={"Cu": 1.0, "Zr": 1.25}),
    )
    (indices, motifs, count, packing), counted = together(
        features, position, cell, numbers, [0], NEVER
    )
    assert indices.tolist() == [[0, 0, 12, 0, 0]]
    assert motifs.tolist() == [[1, 0, 1, 1]]
    assert count.tolist() == [[12, 12]]
    assert counted == [{}] * 4
    assert packing[0, 1] == pytest.approx(0.8 - 0.902113, rel=1e-12)
    edge = 2.8
    volume = 5 / 12 * (3 + 5**0.5) * edge**3
    corner = 5 * np.arccos(-(5**0.5) / 3) - 3 * np.pi  # five dihedral angles, less 3 pi
    assert packing[0, 0] == pytest.approx(
        (4 / 3 * np.pi + 12 * 1.25**3 * corner / 3) / volume, rel=1e-12
    )
    # a dodecahedron around the sphere of half the distance
    reach = np.linalg.norm(ICOSAHEDRON[0]) * 0.7
    side = reach / (0.5 * (2.5 + 1.1 * 5**0.5) ** 0.5)
    assert packing[0, 2] == pytest.approx(
        4 / 3 * np.pi / ((15 + 7 * 5**0.5) / 4 * side**3), rel=1e-12
    )
    folds = FoldSymmetry().compute(position, cell, numbers, [0], NEVER)
    np.testing.assert_allclose(folds, [[0, 0, 1, 0, 0]])


@pytest.mark.parametrize("rule", RULES)
def test_laves_crystal(rule):
    """MgCu2: icosahedra around Cu and <0,0,12,4,0> around Mg."""
    position, cell = laves()
    numbers = np.repeat([12, 29], [8, 16])
    indices = VoronoiIndices(small_facets=rule).compute(position, cell, numbers)
    motifs = Motifs(small_facets=rule).compute(position, cell, numbers)
    assert (indices[:8] == [0, 0, 12, 4, 0]).all()
    assert (indices[8:] == [0, 0, 12, 0, 0]).all()
    assert (motifs[:8] == [0, 1, 1, 1]).all()
    assert (motifs[8:] == [1, 0, 1, 1]).all()
    # Cu has 6 Cu and 6 Mg around it, Mg has 12 Cu and 4 Mg
    fifths = FoldSymmetry(average=True, small_facets=rule).compute(position, cell, numbers)
    np.testing.assert_allclose(fifths[:8, 2], 12 * 17 / (12 * 17 + 4 * 5), rtol=1e-13)
    np.testing.assert_allclose(fifths[8:, 2], 12 * 13 / (12 * 13 + 4 * 6), rtol=1e-13)


def test_cube_and_octahedron():
    """Cells with three-edged facets: bcc-8 has an octahedron, six neighbours have a cube."""
    position, cell = cluster(SIGNS)
    feature = VoronoiIndices()
    assert feature.compute(position, cell, np.full(9, 29), [0], NEVER).tolist() == [[8, 0, 0, 0, 0]]
    assert feature.compute([[0.1, 0.2, 0.3]], 3 * np.eye(3), [29]).tolist() == [[0, 6, 0, 0, 0]]


def test_facets_of_more_than_seven_edges():
    """A prism with nine sides, two faces of nine edges."""
    angle = 2 * np.pi * np.arange(9) / 9
    ring = np.column_stack([2 * np.cos(angle), 2 * np.sin(angle), np.zeros(9)])
    position, cell = cluster(np.vstack([ring, [[0, 0, 2], [0, 0, -2]]]))
    numbers = np.full(12, 29)
    features = (
        VoronoiIndices(),
        VoronoiIndices(beyond=False),
        Motifs(),
        FoldSymmetry(),
        FoldSymmetry(beyond=False),
    )
    found, counted = together(features, position, cell, numbers, [0], NEVER)
    assert found[0].tolist() == [[0, 9, 0, 0, 2]]
    assert found[1].tolist() == [[0, 9, 0, 0, 0]]
    assert found[2].tolist() == [[0, 0, 0, 0]]
    np.testing.assert_allclose(found[3], [[0, 9 / 11, 0, 0, 2 / 11]])
    np.testing.assert_allclose(found[4], [[0, 1, 0, 0, 0]])
    assert counted == [{}] * 5
    side = 2 * np.tan(np.pi / 9)  # facets 2 high and as wide; faces of 9 triangles
    areas = np.array([0, 9 * 2 * side, 0, 0, 2 * 9 * side / 2])
    for weights in ("area", "volume"):  # all neighbours are equally far
        found = FoldSymmetry(weights=weights).compute(position, cell, numbers, [0], NEVER)
        np.testing.assert_allclose(found, [areas / areas.sum()], rtol=1e-12, atol=1e-15)


def test_edges_are_those_of_the_whole_cell():
    """A cube with a corner cut off: the three facets there keep their fifth edge when the small one is dropped."""
    position, cell = cluster(np.vstack([2 * np.eye(3), -2 * np.eye(3), [[1.9, 1.9, 1.9]]]))
    kept, all_facets = (VoronoiIndices(small_facets=rule) for rule in ("static", "none"))
    wanted = {}
    facets = reference.voronoi(position, cell, NEVER)[0]
    wanted["none"] = reference.voronoi_indices(facets).tolist()
    wanted["static"] = reference.voronoi_indices(reference.drop_small(facets, "static")).tolist()
    assert wanted["none"] == [1, 3, 3, 0, 0]
    assert wanted["static"] == [0, 3, 3, 0, 0]
    for feature in (kept, all_facets):
        found = feature.compute(position, cell, np.full(8, 29), [0], NEVER)
        assert found.tolist() == [wanted[feature.small_facets]]


# --------------------------------------------------------------------------------------------------------- invariances
@pytest.mark.parametrize("case", ["glass", "small"])
def test_invariances(request, rng, case):
    position, cell, z = (
        request.getfixturevalue("glass") if case == "glass" else request.getfixturevalue("small")[0]
    )
    some = np.arange(0, len(position), 40 if case == "glass" else 1)
    turn = Rotation.random(rng=np.random.default_rng(3)).as_matrix()
    order = rng.permutation(len(position))
    place = np.argsort(order)[some]
    shifts = rng.integers(-2, 3, (len(position), 3)) @ cell
    twice = (
        np.vstack([position, position + cell[0]]),
        cell * [[2], [1], [1]],
        np.concatenate([z, z]),
    )
    base, _ = together(EVERY, position, cell, z, some)
    for what, found in {
        "rotation": together(EVERY, position @ turn.T, cell @ turn.T, z, some),
        "translation": together(EVERY, position + [1.2, -30.0, 0.7], cell, z, some),
        "wrapping": together(EVERY, position + shifts, cell, z, some),
        "permutation": together(EVERY, position[order], cell, z[order], place),
        "replication": together(EVERY, *twice, some + len(position)),
    }.items():
        for feature, one, other in zip(EVERY, found[0], base, strict=True):
            np.testing.assert_allclose(
                one, other, rtol=1e-10, atol=1e-10, err_msg=f"{what} {feature.name}"
            )


@pytest.mark.parametrize("feature", EVERY, ids=lambda f: f"{f.name} {f.summary()}")
def test_any_subset_gives_the_same_bits(glass, rng, feature):
    whole = feature.compute(*glass)
    assert not np.isnan(whole).any()
    for some in (rng.permutation(2000)[:200], np.array([7, 1999, 7, 0]), np.arange(900, 800, -1)):
        assert feature.compute(*glass, centers=some).tobytes() == whole[some].tobytes()
    assert feature.compute(*glass, centers=[]).shape == (0, feature.n_columns)


# ---------------------------------------------------------------------------------------------------------- edge cases
def test_open_cells_have_no_value_and_are_counted(glass):
    pbc = (True, True, False)
    inside, _ = together(EVERY, *glass)
    found, counted = together(EVERY, *glass, pbc=pbc)
    is_open = np.isnan(found[1][:, 0])
    assert 50 < is_open.sum() < 600
    for feature, values, count, periodic in zip(EVERY, found, counted, inside, strict=True):
        assert count["open_cell"] == is_open.sum(), feature.name
        if isinstance(feature, Coordination):
            assert np.isnan(values[is_open, 0]).all()
            assert not np.isnan(values[:, 1]).any()
        else:
            assert np.isnan(values[is_open]).all()
        if not getattr(feature, "average", False):
            assert not np.isnan(values[~is_open]).any()
        height = glass[0][:, 2] % 32.43
        deep = np.minimum(height, 32.43 - height) > 13
        np.testing.assert_allclose(values[deep], periodic[deep], rtol=1e-12, atol=1e-12)


def test_average_beside_an_open_cell_has_no_value(glass):
    pbc = (True, True, False)
    single, averaged = (
        FoldSymmetry(average=average).compute(*glass, pbc=pbc) for average in (False, True)
    )
    is_open, undefined = np.isnan(single[:, 0]), np.isnan(averaged)
    assert (undefined.all(axis=1) == undefined.any(axis=1)).all()
    assert is_open.sum() < undefined.all(axis=1).sum() < 1000
    assert undefined[is_open].all()


def test_isolated_and_coincident_atoms():
    cell = 30 * np.eye(3)
    for position, name in (([[1.0, 1, 1]], "open_cell"), ([[1.0, 1, 1]] * 2, "coincident_atom")):
        n = len(position)
        found, counted = together(EVERY, position, cell, [29] * n, pbc=NEVER)
        for feature, values, count in zip(EVERY, found, counted, strict=True):
            assert count[name] == n, feature.name
            if isinstance(feature, Coordination):
                assert np.isnan(values[:, 0]).all()
                assert values[:, 1].tolist() == [n - 1] * n
            else:
                assert np.isnan(values).all()


def test_no_hull_no_packing():
    """Only two facets are left of a flat cell."""
    feature = Packing(radii={"Cu": 0.01})
    (found,), (counted,) = together((feature,), np.zeros((1, 3)), np.diag([10.0, 10, 0.1]), [29])
    assert counted == {"no_hull": 1, "no_ideal_ratio": 1}
    assert np.isnan(found[0, :2]).all()
    assert found[0, 2] == pytest.approx(4 / 3 * np.pi * 1e-6 / 10, rel=1e-9)


@pytest.mark.parametrize("n", [24, 25, 40])
def test_no_ideal_ratio_beyond_24_neighbours(n):
    """Points on a sphere, by the golden angle."""
    k = np.arange(n) + 0.5
    z, turn = 1 - 2 * k / n, np.pi * (1 + 5**0.5) * k
    shell = 4 * np.column_stack(
        [np.cos(turn) * (1 - z * z) ** 0.5, np.sin(turn) * (1 - z * z) ** 0.5, z]
    )
    position, cell = cluster(shell)
    feature = Packing(radii={"Cu": 1.2, "Zr": 1.5})
    (found,), (counted,) = together((feature,), position, cell, [40] + [29] * n, [0], NEVER)
    assert Coordination().compute(position, cell, np.full(n + 1, 29), [0], NEVER)[0, 0] == n
    if n > 24:
        assert counted == {"no_ideal_ratio": 1}
        assert np.isnan(found[0]).tolist() == [False, True, False]
    else:
        assert counted == {}
        assert found[0, 1] == pytest.approx(1.25 - 1.65915, rel=1e-12)


def test_center_outside_its_hull(glass):
    """The corners of the hull have the same solid angles wherever the atom is: slightly outside, and slightly inside."""
    below = np.array([[1.0, 1, -106], [1, -1, -106], [-1, 1, -106], [-1, -1, -106]])
    found = {}
    for lift in (0.002, -0.002):
        half = np.array([[2.0, 0, lift], [0, 2, lift], [-2, 0, lift], [0, -2, lift], [0, 0, 2]])
        position, cell = np.vstack([np.zeros(3), half, below]), np.diag([40.0, 40, 500])
        feature = Packing(radii={"Cu": 1.0})
        (values,), (counted,) = together((feature,), position, cell, np.full(10, 29), [0])
        assert counted == ({"center_outside_hull": 1} if lift > 0 else {})
        body = ConvexHull(half)
        middle, filled = half.mean(axis=0), 4 / 3 * np.pi
        for triangle in body.simplices:
            for v in range(3):
                at, one, two = (half[triangle[(v + k) % 3]] for k in range(3))
                filled += reference.solid_angle(middle - at, one - at, two - at) / 3
        assert values[0, 0] == pytest.approx(filled / body.volume, rel=1e-9)
        found[lift] = values[0, 0]
    assert found[0.002] == pytest.approx(found[-0.002], rel=0.01)


# -------------------------------------------------------------------------------------------------- labels, parameters
def test_names_and_neighbours():
    assert Coordination().labels == ("voronoi", "cutoff")
    assert Coordination().amlearn_labels == ("CN_voro", "CN_dist")
    assert Coordination(cutoff=3.0, small_facets="none").neighborhood == (
        VoronoiNeighbors("none"),
        CutoffNeighbors(3.0),
    )
    assert VoronoiIndices().labels == ("n3", "n4", "n5", "n6", "n7")
    assert VoronoiIndices().amlearn_labels[0] == "Voronoi_idx_3_voro"
    assert VoronoiIndices(small_facets="amlearn").neighborhood == (VoronoiNeighbors("amlearn"),) * 5
    assert Motifs().amlearn_labels == (
        "is_<0,0,12,0,0>_voro",
        "is_<0,0,12,4,0>_voro",
        "is_polytetrahedral_voro",
        "is_<0,0,12,0/4,0>_voro",
    )
    assert Packing().amlearn_labels[:2] == (
        "Cluster_packing_efficiency_miracle_voro",
        "Atomic_packing_efficiency_miracle_voro",
    )
    assert FoldSymmetry().amlearn_labels[2] == "5_fold_symm_idx_voro"
    assert FoldSymmetry(weights="area").amlearn_labels[0] == "Area_wt_3_fold_symm_idx_voro"
    assert FoldSymmetry(weights="volume").amlearn_labels[4] == "Vol_wt_7_fold_symm_idx_voro"
    assert FoldSymmetry(average=True).amlearn_labels == ()
    assert FoldSymmetry(weights="area", average=True).name == "fold_symmetry_area_average"
    assert len({feature.name for feature in (FoldSymmetry(), *EVERY[-3:])}) == 4
    for feature in EVERY:
        assert len(feature.labels) == feature.n_columns == len(feature.neighborhood)
        assert len(feature.amlearn_labels) in (0, feature.n_columns)


@pytest.mark.parametrize(
    "feature",
    [*EVERY, Packing(radii={"Zr": 1.6, "Al": 1.4})],
    ids=lambda f: f"{f.name} {f.summary()}",
)
def test_parameters_make_the_same_feature(feature):
    assert make_feature(feature.family, feature.parameters()) == feature
    feature.prepare()


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        (Coordination, {"cutoff": 0.0}, "cutoff=0.0"),
        (VoronoiIndices, {"small_facets": "all"}, "'static', 'amlearn' or 'none'"),
        (Motifs, {"beyond": "perhaps"}, "beyond='perhaps'"),
        (FoldSymmetry, {"weights": "edges"}, "'none', 'area' or 'volume'"),
        (Packing, {"radii": "atomic"}, "radii='atomic'"),
        (Packing, {"radii": {"Qu": 1.0}}, "'Qu' is not an element"),
    ],
)
def test_bad_parameters_are_refused_in_words(kind, options, words):
    with pytest.raises(ParameterError, match=words):
        kind(**options)


def test_unknown_radii_are_refused_in_words():
    with pytest.raises(ParameterError, match="lacks Zr, which the atoms contain"):
        Packing(radii={"Cu": 1.3}).compute([[0.0, 0, 0]], 3 * np.eye(3), [40])
    # as of the interstices
    for feature in (Packing(), Interstice()):
        with pytest.raises(ParameterError, match="no radius for H"):
            feature.compute([[0.0, 0, 0]], 3 * np.eye(3), [1])
