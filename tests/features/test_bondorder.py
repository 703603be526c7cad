"""The bond order feature: the naive twin, crystals, pyscal3 and freud, open cells, columns and refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y

from mgdask.errors import ParameterError
from mgdask.features import BondMoments, BondOrder, compute_features, make_feature
from mgdask.features.environments import CutoffNeighbors, VoronoiNeighbors
from mgdask.kernels.voronoi import EDGE_THRESHOLD, OPEN, voronoi_cells

DEGREES = (2, 4, 6, 8, 10)
QUANTITIES = ("q", "w", "coarse_q", "coarse_w")
PERIODIC = (True, True, True)


@pytest.fixture(scope="module")
def twins():
    pytest.importorskip("sympy")
    from tests.reference import structure as reference_structure

    return reference_structure


def triclinic(n, seed=4):
    """Random atoms, no two nearer than 1.2 Å, in a tilted cell."""
    rng = np.random.default_rng(seed)
    length = (n / 0.06) ** (1 / 3)
    cell = np.diag([length, 0.9 * length, 1.1 * length]) + np.array(
        [[0, 0, 0], [1.5, 0, 0], [-1.0, 0.7, 0]]
    )
    kept = np.empty((0, 3))
    while len(kept) < n:
        trial = rng.random(3)
        away = kept - trial
        away -= np.round(away)
        if not len(kept) or np.linalg.norm(away @ cell, axis=1).min() > 1.2:
            kept = np.vstack([kept, trial])
    return kept @ cell, cell, np.full(n, 29)


def theirs(twins, position, cell, degrees, neighbors, cutoff=4.0, rule="static", weights="none"):
    """(atom, column) of the twin, the quantities in turn."""
    if neighbors == "cutoff":
        lists = twins.pairs(position, cell, cutoff)
        vectors, rows, weight = [v for _, v in lists], [j for j, _ in lists], None
    else:
        cells = [
            twins.drop_small(f, rule)
            for f in twins.voronoi(position, cell, threshold=EDGE_THRESHOLD)
        ]
        vectors, rows = [c["vector"] for c in cells], [c["neighbor"] for c in cells]
        weight = [c["area"] for c in cells] if weights == "area" else None
    found = twins.bond_order(vectors, rows, degrees, weight)
    return np.hstack([found[quantity] for quantity in QUANTITIES])


# ----------------------------------------------------------------------------------------------------------- the twin
@pytest.mark.parametrize("n", [7, 40])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"small_facets": "static", "weights": "area"},
        {"weights": "area"},
        {"small_facets": "amlearn"},
        {"neighbors": "cutoff", "cutoff": 3.3},
    ],
    ids=lambda options: "+".join(map(str, options.values())) or "default",
)
def test_equals_the_twin(twins, n, options):
    position, cell, numbers = triclinic(n)
    found = BondOrder(degrees=DEGREES, **options).compute(position, cell, numbers)
    want = theirs(
        twins,
        position,
        cell,
        DEGREES,
        options.get("neighbors", "voronoi"),
        options.get("cutoff", 4.0),
        options.get("small_facets", "none" if options.get("weights") == "area" else "static"),
        options.get("weights", "none"),
    )
    assert np.isfinite(want).all()
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-12)


def test_rules_and_weights_are_not_the_same_thing():
    # so that the comparisons above can tell them apart
    arguments = triclinic(40)
    found = [
        BondOrder(**options).compute(*arguments)
        for options in ({}, {"weights": "area"}, {"small_facets": "none"}, {"neighbors": "cutoff"})
    ]
    for k, one in enumerate(found):
        for other in found[k + 1 :]:
            assert np.abs(one - other).max() > 0.01


def test_both_lists_stand_one_after_the_other():
    """Wang & Jain, Methods, set vii: q_l and w_l over Voronoi and cut-off neighbours, 16 columns."""
    arguments = triclinic(40)
    for quantities in (("q", "w"), ("coarse_q", "coarse_w")):
        both = BondOrder(quantities=quantities, neighbors=("voronoi", "cutoff"), cutoff=3.4)
        assert both.n_columns == len(set(both.labels)) == 16
        assert both.labels[:5] == (*(f"{quantities[0]}{l}_voronoi" for l in (4, 6, 8, 10)),) + (
            f"{quantities[1]}4_voronoi",
        )
        assert both.neighborhood == (VoronoiNeighbors(),) * 8 + (CutoffNeighbors(3.4),) * 8
        found = both.compute(*arguments)
        for k, neighbors in enumerate(("voronoi", "cutoff")):
            alone = BondOrder(quantities=quantities, neighbors=neighbors, cutoff=3.4)
            assert alone == BondOrder(quantities=quantities, neighbors=(neighbors,), cutoff=3.4)
            assert alone.compute(*arguments).tobytes() == found[:, 8 * k : 8 * k + 8].tobytes()
    again = make_feature(
        "bond_order",
        {"quantities": "coarse_q+coarse_w", "neighbors": "voronoi+cutoff", "cutoff": "3.4"},
    )
    assert again == both == make_feature("bond_order", json.loads(json.dumps(both.parameters())))
    assert BondOrder(neighbors=("cutoff", "voronoi")).amlearn_labels[::16] == (
        "q_4_dist",
        "q_4_voro",
    )


# ------------------------------------------------------------------------------------------- Zhang et al., SI, Eq. (12)
def eq_12(cells, degree, printed):
    """q_lm(k) = [1/N(k)] sum_j A_kj/A Y_lm(r_kj), and q_l of its mean over the atom and its neighbours."""
    moments = []
    for cell in cells:
        x, y, z = cell["vector"].T
        theta, phi = np.arccos(z / np.linalg.norm(cell["vector"], axis=1)), np.arctan2(y, x)
        total = cell["area"].sum()
        q = [
            sum(cell["area"] / total * sph_harm_y(degree, m, theta, phi))
            for m in range(-degree, degree + 1)
        ]
        moments.append(np.array(q) / (len(cell["area"]) if printed else 1))
    result = []
    for k, cell in enumerate(cells):
        mean = (moments[k] + sum(moments[j] for j in cell["neighbor"])) / (
            len(cell["neighbor"]) + 1
        )
        result.append(np.sqrt(4 * np.pi / (2 * degree + 1) * (np.abs(mean) ** 2).sum()))
    return np.array(result)


@pytest.mark.parametrize("normalization", ["total", "printed"])
def test_area_weights_as_eq_12_of_zhang(twins, normalization):
    """All facets by default: A is the sum of the areas of the Voronoi faces."""
    position, cell, numbers = triclinic(40)
    cells = twins.voronoi(position, cell, threshold=EDGE_THRESHOLD)
    assert sum(len(twins.drop_small(c, "static")["area"]) < len(c["area"]) for c in cells) > 10
    feature = BondOrder(
        degrees=(4, 6), quantities=("coarse_q",), weights="area", area_normalization=normalization
    )
    found = feature.compute(position, cell, numbers)
    for column, degree in enumerate((4, 6)):
        want = eq_12(cells, degree, normalization == "printed")
        np.testing.assert_allclose(found[:, column], want, rtol=1e-12)
    # moments of a block, and those of single features, are normalised alike
    moments = BondMoments(degrees=(4,), weights="area", area_normalization=normalization)
    alone = BondOrder(
        degrees=(4,), quantities=("q",), weights="area", area_normalization=normalization
    )
    squares = (moments.compute(position, cell, numbers) ** 2).sum(axis=1)
    np.testing.assert_allclose(
        alone.compute(position, cell, numbers)[:, 0], np.sqrt(4 * np.pi / 9 * squares), rtol=1e-12
    )


def test_the_printed_eq_12_weights_by_area_unless_told_otherwise():
    """Zhang et al., SI, Eq. (12) has A_kj / A in either form, so "printed" alone says enough."""
    for kind in (BondOrder, BondMoments):
        alone = kind(area_normalization="printed")
        full = kind(weights="area", area_normalization="printed")
        assert alone == full
        assert (alone.weights, alone.small_facets) == ("area", "none")
        assert alone.parameters() == full.parameters()
        assert alone.summary() == "area_normalization=printed"
        assert kind().weights == kind().parameters()["weights"] == "none"
        assert kind(weights="area").summary() == "weights=area"
    assert alone.labels == BondMoments().labels
    assert BondOrder(area_normalization="printed").name == "bond_order_area"


def test_both_forms_of_eq_12_on_a_glass(glass):
    """Measured on the shipped glass; on another one the audit found ratio 0.075 and correlation 0.988."""
    total, printed = (
        BondOrder(degrees=(6,), quantities=("coarse_q",), weights="area", area_normalization=form)
        .compute(*glass)
        .ravel()
        for form in ("total", "printed")
    )
    ratio = printed / total
    np.testing.assert_allclose([ratio.mean(), ratio.std()], [0.0741, 0.0029], atol=5e-4)
    assert abs(np.corrcoef(total, printed)[0, 1] - 0.9892) < 2e-3


def test_squares_are_eq_11_of_zhang_as_printed(twins):
    """sqrt(4 pi/(2l+1) sum_m 1/N sum_{k=0}^{N} |q_lm(k)|^2): the root mean square of q_l of the atom and its neighbours."""
    arguments = triclinic(40)
    cells = twins.voronoi(*arguments[:2], threshold=EDGE_THRESHOLD)
    options = {"degrees": (4, 6), "weights": "area"}
    q = BondOrder(quantities=("q",), **options).compute(*arguments)
    want = [np.sqrt((q[[k, *c["neighbor"]]] ** 2).mean(axis=0)) for k, c in enumerate(cells)]
    literal = BondOrder(quantities=("coarse_q", "q"), coarse_average="squares", **options)
    found = literal.compute(*arguments)
    np.testing.assert_allclose(found[:, :2], want, rtol=1e-12)
    assert found[:, 2:].tobytes() == q.tobytes()
    # vectors cancel, squares do not
    default = BondOrder(quantities=("coarse_q",), **options).compute(*arguments)
    assert (found[:, :2] > 1.2 * default).mean() > 0.9
    # blocks, both lists, parameters
    some = np.array([30, 2, 3])
    assert literal.compute(*arguments, centers=some).tobytes() == found[some].tobytes()
    both = BondOrder(
        quantities=("coarse_q",), neighbors=("voronoi", "cutoff"), coarse_average="squares"
    )
    alone = BondOrder(quantities=("coarse_q",), neighbors="cutoff", coarse_average="squares")
    assert both.compute(*arguments)[:, 4:].tobytes() == alone.compute(*arguments).tobytes()
    assert make_feature("bond_order", json.loads(json.dumps(both.parameters()))) == both
    assert "coarse_average" not in BondOrder().parameters()
    with pytest.raises(ParameterError, match="coarse_average='squares' has no 'coarse_w'"):
        BondOrder(coarse_average="squares")


def test_small_facets_by_weights():
    assert BondOrder().small_facets == BondMoments().small_facets == "static"
    for kind in (BondOrder, BondMoments):
        assert kind(weights="area").small_facets == "none"
        assert kind(weights="area", small_facets="static").small_facets == "static"
        assert "small_facets" not in kind(weights="area").summary() + kind().summary()
        assert "small_facets=none" in kind(small_facets="none").summary()
        assert kind().parameters()["small_facets"] == "static"


# ----------------------------------------------------------------------------------------------------------- crystals
FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
BCC = np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]])
HCP = np.array([[1, 0, 0], [-0.5, 0.75**0.5, 0], [0, 0, (8 / 3) ** 0.5]])
# the degree-4 and degree-6 cubic harmonics are 1 along an axis, -2/3 and 16/9 along a diagonal; q of the axes is known
Q4_AXES, Q6_AXES = (7 / 12) ** 0.5, (1 / 8) ** 0.5
HEXAGON = 8 * 1.5 * 3**0.5  # areas of the truncated octahedron with edge 1
W4, W6 = 0.15931737, 0.01316060
CASES = {
    "fcc": (np.zeros((1, 3)), FCC, {}, ((7 / 192) ** 0.5, (169 / 512) ** 0.5, -W4, -W6)),
    "fcc by distance": (
        np.zeros((1, 3)),
        FCC,
        {"neighbors": "cutoff", "cutoff": 0.85},
        ((7 / 192) ** 0.5, (169 / 512) ** 0.5, -W4, -W6),
    ),
    "fcc by area": (
        np.zeros((1, 3)),
        FCC,
        {"weights": "area"},
        ((7 / 192) ** 0.5, (169 / 512) ** 0.5, -W4, -W6),
    ),
    "bcc-14": (
        np.zeros((1, 3)),
        BCC,
        {},
        ((6 - 8 * 2 / 3) / 14 * Q4_AXES, (6 + 8 * 16 / 9) / 14 * Q6_AXES, W4, W6),
    ),
    "bcc-14 by area": (
        np.zeros((1, 3)),
        BCC,
        {"weights": "area"},
        (
            (HEXAGON * 2 / 3 - 6) / (HEXAGON + 6) * Q4_AXES,
            (6 + HEXAGON * 16 / 9) / (HEXAGON + 6) * Q6_AXES,
            -W4,
            W6,
        ),
    ),
    "bcc-8": (
        np.zeros((1, 3)),
        BCC,
        {"neighbors": "cutoff", "cutoff": 0.9},
        (2 / 3 * Q4_AXES, 16 / 9 * Q6_AXES, -W4, W6),
    ),
    "sc": (np.zeros((1, 3)), np.eye(3), {}, (Q4_AXES, Q6_AXES, W4, W6)),
    "sc by distance": (
        np.zeros((1, 3)),
        np.eye(3),
        {"neighbors": "cutoff", "cutoff": 1.2},
        (Q4_AXES, Q6_AXES, W4, W6),
    ),
    "hcp": (
        np.array([[0, 0, 0], [1 / 3, 2 / 3, 1 / 2]]) @ HCP,
        HCP,
        {},
        (0.0972222, 0.4847617, 0.1340970, -0.0124420),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_crystals(name):
    position, cell, options, expected = CASES[name]
    scale, copies = 2.9, 2
    if "cutoff" in options:
        options = {**options, "cutoff": scale * options["cutoff"]}
    # the primitive cell, of which every neighbour is an image, and a turned supercell
    shift = np.array(list(np.ndindex(copies, copies, copies)))
    turn = Rotation.from_euler("xyz", [0.3, 1.1, -0.7]).as_matrix()
    several = (position[:, None] + shift @ cell).reshape(-1, 3)
    feature = BondOrder(degrees=(4, 6), **options)
    for r, box in ((position, cell), (several @ turn, copies * cell @ turn)):
        found = feature.compute(scale * r, scale * box, np.full(len(r), 29))
        # as many digits of w, and of hcp, as are written above
        np.testing.assert_allclose(found[:, :4], np.tile(expected, (len(r), 1)), rtol=0, atol=1e-7)
        if name != "hcp":
            np.testing.assert_allclose(
                found[:, :2], np.tile(expected[:2], (len(r), 1)), rtol=0, atol=1e-12
            )
        # all atoms have the same even moments: inversion takes the two of hcp into each other
        np.testing.assert_allclose(found[:, 4:], found[:, :4], rtol=0, atol=1e-9)


# ---------------------------------------------------------------------------------------------------- other libraries
@pytest.mark.peers
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_equals_pyscal3(glass, quantity):
    pyscal3 = pytest.importorskip("pyscal3", minversion="4.0", reason="pyscal3 4 is not installed")
    ase = pytest.importorskip("ase")
    position, cell, numbers = glass
    atoms = ase.Atoms(numbers, positions=position, cell=cell, pbc=True)
    pyscal3.find_neighbors(atoms, method="cutoff", cutoff=3.8)
    ask = pyscal3.wigner_w_parameter if quantity.endswith("w") else pyscal3.steinhardt_parameter
    want = np.array(ask(atoms, l=[4, 6, 8], averaged=quantity.startswith("coarse"))).T
    feature = BondOrder(degrees=(4, 6, 8), neighbors="cutoff", cutoff=3.8, quantities=(quantity,))
    found = feature.compute(position, cell, numbers)
    assert np.isfinite(found).all()
    # w_l is divided by the third power of q_l, and its rounding with it
    scale = 1.0
    if quantity.endswith("w"):
        q = BondOrder(
            degrees=(4, 6, 8),
            neighbors="cutoff",
            cutoff=3.8,
            quantities=(quantity.replace("w", "q"),),
        ).compute(position, cell, numbers)
        scale = np.minimum(q, 1.0)
    assert (np.abs(found - want) * scale).max() < 1e-12


@pytest.mark.peers
def test_area_weights_equal_pyscal3s_minkowski_metrics(glass):
    pyscal3 = pytest.importorskip("pyscal3", minversion="4.0", reason="pyscal3 4 is not installed")
    ase = pytest.importorskip("ase")
    position, cell, numbers = triclinic(200, seed=8)
    atoms = ase.Atoms(numbers, positions=position, cell=cell, pbc=True)
    want = np.array(pyscal3.minkowski_parameter(atoms, l=[4, 6, 8])).T
    feature = BondOrder(degrees=(4, 6, 8), weights="area", small_facets="none", quantities=("q",))
    np.testing.assert_allclose(feature.compute(position, cell, numbers), want, rtol=0, atol=1e-9)


@pytest.mark.parametrize("averaged", [False, True])
def test_equals_freud_within_a_distance(glass, averaged):
    freud = pytest.importorskip("freud")
    position, cell, numbers = glass
    system = freud.box.Box.from_matrix(cell.T), position.astype(np.float32)
    lists = (
        freud.locality.AABBQuery(*system)
        .query(system[1], {"r_max": 3.8, "exclude_ii": True})
        .toNeighborList()
    )
    want = (
        freud.order.Steinhardt([4, 6, 8], average=averaged)
        .compute(system, neighbors=lists)
        .particle_order
    )
    quantities = ("coarse_q",) if averaged else ("q",)
    feature = BondOrder(degrees=(4, 6, 8), neighbors="cutoff", cutoff=3.8, quantities=quantities)
    found = feature.compute(position, cell, numbers)
    off = np.abs(found - want).max(axis=1)
    assert (off < 3e-5).sum() >= len(
        off
    ) - 20  # its distances are float32: pairs at the cut-off, and their neighbours


# -------------------------------------------------------------------------------------------------- what has no answer
@pytest.mark.parametrize("weights", ["none", "area"])
def test_open_cells_are_nan(twins, weights):
    position, cell, numbers = triclinic(60)
    pbc = (True, True, False)
    cell = cell @ np.diag([1.0, 1.0, 3.0])
    cells = twins.voronoi(position, cell, pbc, threshold=EDGE_THRESHOLD)
    # those without an end, and those that reach far out
    is_open = voronoi_cells(position, cell, pbc=pbc).state == OPEN
    assert is_open[[c is None for c in cells]].all()
    rule = "none" if weights == "area" else "static"
    near = [[] if c is None else twins.drop_small(c, rule)["neighbor"] for c in cells]
    beside = np.array([is_open[k] or is_open[near[k]].any() for k in range(60)])
    assert 0 < is_open.sum() < beside.sum() < 60
    feature = BondOrder(weights=weights)
    found, counts = compute_features(
        (feature,), position[None], cell[None], numbers, np.arange(60), pbc
    )
    n = len(feature.degrees)
    assert (np.isnan(found[0][0, :, : 2 * n]) == is_open[:, None]).all()
    assert (np.isnan(found[0][0, :, 2 * n :]) == beside[:, None]).all()
    assert counts[0]["open_cell"] == is_open.sum()
    assert counts[0]["uncertain_cell"] == counts[0]["coincident_atom"] == 0


def test_nobody_near_is_nan_and_counted():
    position, cell, numbers = triclinic(30)
    position = np.vstack([position, cell.sum(axis=0) / 2 + [0, 0, 40.0]])
    numbers, pbc = np.full(31, 29), (False, False, False)
    feature = BondOrder(neighbors="cutoff", cutoff=4.0)
    found, counts = compute_features(
        (feature,), position[None], np.eye(3)[None] * 200, numbers, np.arange(31), pbc
    )
    assert np.isnan(found[0][0, 30]).all()
    assert np.isfinite(found[0][0, :30]).all()
    assert counts[0]["no_neighbor"] == 1
    assert "open_cell" not in counts[0]


# ------------------------------------------------------------------------------------------------------------- columns
def test_quantities_and_degrees_in_any_order(glass):
    centers = np.arange(0, 2000, 40)
    whole = BondOrder(degrees=(4, 5, 6)).compute(*glass, centers=centers)
    at = {label: k for k, label in enumerate(BondOrder(degrees=(4, 5, 6)).labels)}
    for degrees, quantities in (
        ((6, 4), ("coarse_w", "q")),
        ((5,), ("w", "coarse_q")),
        ((4, 5, 6), ("coarse_q",)),
        ((6,), ("w",)),
    ):
        part = BondOrder(degrees=degrees, quantities=quantities)
        assert part.labels == tuple(
            f"{quantity}{degree}" for quantity in quantities for degree in degrees
        )
        found = part.compute(*glass, centers=centers)
        # a degree's moments do not depend on the other degrees
        assert (found == whole[:, [at[label] for label in part.labels]]).all()


def test_default_columns_and_amlearns_names():
    feature = BondOrder()
    assert feature.labels == tuple(f"{q}{l}" for q in QUANTITIES for l in (4, 6, 8, 10))
    assert feature.amlearn_labels[:5] == (
        "q_4_voro",
        "q_6_voro",
        "q_8_voro",
        "q_10_voro",
        "w_4_voro",
    )
    assert feature.amlearn_labels[8:] == tuple(
        f"Coarse_grained_{q}_{l}_voro" for q in "qw" for l in (4, 6, 8, 10)
    )
    assert BondOrder(degrees=(6,), quantities=("w",), neighbors="cutoff").amlearn_labels == (
        "w_6_dist",
    )
    assert BondOrder(weights="area").amlearn_labels == ()
    assert BondOrder(weights="area").name == "bond_order_area"
    assert feature.name == "bond_order"
    assert feature.coordinates()["bond_order_amlearn"].tolist() == list(feature.amlearn_labels)
    assert set(feature.neighborhood) == {VoronoiNeighbors("static")}
    assert set(BondOrder(neighbors="cutoff", cutoff=3.5).neighborhood) == {CutoffNeighbors(3.5)}


def test_centers_and_the_moments_beside_them_do_not_change_a_bit(glass):
    feature, moments = BondOrder(degrees=(4, 6)), BondMoments(degrees=(4, 6))
    whole = feature.compute(*glass)
    centers = np.array([1999, 3, 700, 701])
    assert (feature.compute(*glass, centers=centers) == whole[centers]).all()
    both, _ = compute_features(
        (moments, feature), glass[0][None], glass[1][None], glass[2], centers, PERIODIC
    )
    assert (both[1][0] == whole[centers]).all()
    assert (both[0][0] == moments.compute(*glass)[centers]).all()
    assert moments.labels[:2] == ("q4,-4", "q4,-3")
    # q_l is the length of its moments
    q4 = np.sqrt(4 * np.pi / 9 * (both[0][0][:, :9] ** 2).sum(axis=1))
    np.testing.assert_allclose(q4, whole[centers, 0], rtol=1e-13)


def test_parameters_make_an_equal_feature():
    feature = BondOrder(degrees=(6, 4), quantities=("w",), neighbors="cutoff", cutoff=3.3)
    assert make_feature("bond_order", json.loads(json.dumps(feature.parameters()))) == feature
    assert (
        make_feature(
            "bond_order",
            {"degrees": "6+4", "quantities": "w", "neighbors": "cutoff", "cutoff": "3.3"},
        )
        == feature
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": "area", "neighbors": "cutoff"}, r"weights='area' needs neighbors='voronoi'"),
        ({"weights": "area", "neighbors": ("voronoi", "cutoff")}, "only Voronoi neighbors have"),
        (
            {"weights": "none", "area_normalization": "printed"},
            "needs weights='area'.*got weights='none'",
        ),
        (
            {"neighbors": "cutoff", "area_normalization": "printed"},
            "weights='area' needs neighbors='voronoi'",
        ),
        ({"neighbors": ()}, r"neighbors=\(\) must be one or more"),
        ({"neighbors": ("cutoff", "cutoff")}, "distinct"),
        ({"pair_cutoffs": {"Cu-Zr": 3.0, "Zr-Cu": 3.1}}, "must name each pair of species once"),
        ({"degrees": ()}, "one or more distinct"),
        ({"degrees": (4, 4)}, "distinct"),
        ({"degrees": (-1,)}, "list of integers from 0 to 30"),
        ({"degrees": (31,)}, "list of integers from 0 to 30"),
        ({"quantities": ()}, "BondOrder: quantities"),
        ({"quantities": ("q", "q")}, "distinct"),
        ({"quantities": ("Q",)}, "coarse_q"),
        ({"neighbors": "nearest"}, "'voronoi' or 'cutoff'"),
        ({"weights": "volume"}, "'none' or 'area'"),
        ({"cutoff": 0.0}, "cutoff=0.0"),
        ({"cutoff": np.inf}, "cutoff=inf"),
        ({"small_facets": "all"}, "small_facets='all'"),
    ],
)
def test_refusals_in_words(options, words):
    with pytest.raises(ParameterError, match=words):
        BondOrder(**options)
