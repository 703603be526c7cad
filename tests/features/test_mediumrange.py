"""Medium-range order against a naive twin: neighbours' values, whoever they are and however the frame is cut into blocks."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from mgdask import SOAP
from mgdask.errors import ParameterError
from mgdask.features import (
    BondOrder,
    Coordination,
    FoldSymmetry,
    Interstice,
    MediumRange,
    Motifs,
    Packing,
    VoronoiIndices,
    compute_features,
    make_feature,
)
from mgdask.features import environments as surroundings
from mgdask.features.environments import CutoffNeighbors, VoronoiNeighbors
from mgdask.features.feature import Feature
from tests.reference import structure as reference
from tests.reference.configurations import (
    BCC,
    FCC,
    NEVER,
    TRICLINIC,
    crystal,
    spread,
    twin_cells_near,
)

SOAP_OPTIONS = {"species": ("Cu", "Zr"), "r_cut": 4.0, "n_max": 3, "l_max": 2, "sigma": 0.5}
STATISTICS = ("mean", "std", "min", "max", "sum")


@pytest.fixture(scope="module")
def near(glass):
    """Neighbours of some atoms of the glass, by the twins: Voronoi with each rule, and within 4 Å and 3.4 Å."""
    cells = twin_cells_near(glass[0], glass[1])
    found = {
        rule: {i: reference.drop_small(c, rule)["neighbor"] for i, c in cells.items()}
        for rule in ("static", "none")
    }
    listed = reference.pairs(glass[0], glass[1], 4.0)
    found[4.0] = {i: listed[i][0] for i in cells}
    found[3.4] = {i: listed[i][0][np.linalg.norm(listed[i][1], axis=1) <= 3.4] for i in cells}
    assert len(cells) > 40
    return found


def naive(values, listed, statistics=STATISTICS[:4], include_self=False):
    """(atom,column) and {atom: neighbours} -> (those atoms, column x statistic)."""
    rows = []
    for i, neighbors in listed.items():
        those = values[[i, *neighbors] if include_self else neighbors].astype(float)
        found = dict(
            zip(
                STATISTICS,
                (*np.array([reference._stats(x) for x in those.T]).T, those.sum(0)),
                strict=True,
            )
        )
        rows.append(np.column_stack([found[name] for name in statistics]).ravel())
    return np.array(rows)


def close(found, wanted):
    assert not np.isnan(wanted).any()
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


# ------------------------------------------------------------------------------------------------------------ the twin
@pytest.mark.parametrize("rule", ["static", "none"])
def test_interstices_each_over_its_own_neighbours(glass, near, rule):
    inner = Interstice(small_facets=rule)
    values, some = inner.compute(*glass), list(near[4.0])
    by_cell = reference.medium_range(values, [near[rule].get(i, [i]) for i in range(2000)])[
        some
    ].reshape(-1, 16, 4)
    by_distance = reference.medium_range(values, [near[4.0].get(i, [i]) for i in range(2000)])[
        some
    ].reshape(-1, 16, 4)
    wanted = by_cell.copy()
    wanted[:, 4:8] = by_distance[:, 4:8]
    assert np.abs(by_cell - by_distance)[:, 4:8].max() > 1e-3
    close(MediumRange(inner).compute(*glass, centers=some), wanted.reshape(len(some), 64))


@pytest.mark.parametrize("include_self", [False, True])
@pytest.mark.parametrize("statistics", [("mean",), ("sum", "min"), STATISTICS])
def test_coordination_each_over_its_own_neighbours(glass, near, statistics, include_self):
    inner = Coordination(cutoff=3.4)
    values, some = inner.compute(*glass), list(near[4.0])
    each = len(statistics)
    wanted = naive(values, near["static"], statistics, include_self)
    wanted[:, each:] = naive(values, near[3.4], statistics, include_self)[:, each:]
    feature = MediumRange(inner, statistics=statistics, include_self=include_self)
    close(feature.compute(*glass, centers=some), wanted)
    assert (
        feature.neighborhood
        == (VoronoiNeighbors("static"),) * each + (CutoffNeighbors(3.4),) * each
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, "static"),
        ({"neighbors": "voronoi", "small_facets": "none"}, "none"),
        ({"neighbors": "cutoff"}, 4.0),
        (
            {
                "neighbors": "cutoff",
                "cutoff": 3.4,
                "include_self": True,
                "statistics": ("sum", "std"),
            },
            3.4,
        ),
    ],
)
def test_soap(glass, near, options, kind, dtype):
    soap = SOAP(**SOAP_OPTIONS, dtype=dtype)
    values, some = soap.compute(*glass), list(near[4.0])
    assert values.dtype == dtype
    feature = MediumRange(soap, **options)
    found = feature.compute(*glass, centers=some)
    wanted = naive(values, near[kind], feature.statistics, feature.include_self)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-13 * np.abs(wanted).max())


def test_many_columns_go_in_portions(glass, near, monkeypatch):
    for dtype in ("float64", "float32"):
        feature = MediumRange(SOAP(**SOAP_OPTIONS, dtype=dtype), statistics=("max", "mean"))
        some = list(near[4.0])
        whole = feature.compute(*glass, centers=some)
        for columns in (5, 1, 1000):
            monkeypatch.setattr("mgdask.features.mediumrange.COLUMNS", columns)
            assert feature.compute(*glass, centers=some).tobytes() == whole.tobytes()


def test_medium_range_of_medium_range(glass, near):
    inner = MediumRange(Coordination(), statistics=("mean", "max"), include_self=True)
    outer = MediumRange(inner, statistics=("std", "sum"))
    values, some = inner.compute(*glass), list(near[4.0])
    wanted = naive(values, near["static"], ("std", "sum"))
    wanted[:, 4:] = naive(values, near[4.0], ("std", "sum"))[:, 4:]
    close(outer.compute(*glass, centers=some), wanted)
    assert outer.labels[:3] == (
        "std of mean of voronoi",
        "sum of mean of voronoi",
        "std of max of voronoi",
    )
    assert outer.name == "mediumrange_mediumrange_coordination"
    assert outer.neighborhood == (VoronoiNeighbors("static"),) * 4 + (CutoffNeighbors(4.0),) * 4


def test_other_features_have_theirs_over_voronoi_neighbours(glass, near):
    for inner in (
        VoronoiIndices(),
        Motifs(),
        Packing(),
        FoldSymmetry(weights="area", average=True),
    ):
        values = inner.compute(*glass)
        close(
            MediumRange(inner).compute(*glass, centers=list(near[4.0])),
            naive(values, near["static"]),
        )


# --------------------------------------------------------------------------------------------------------- small cells
def test_self_images_count_each_time():
    """bcc of two species: within a of an atom are 8 of the other and 6 images of itself."""
    position, cell = crystal(BCC, 3.0)
    numbers = np.array([29, 40])
    inner = Packing(radii={"Cu": 1.2, "Zr": 1.4})
    values = inner.compute(position, cell, numbers)
    found = MediumRange(inner, statistics=STATISTICS, neighbors="cutoff", cutoff=3.1).compute(
        position, cell, numbers
    )
    for k in range(2):
        those = values[[k] * 6 + [1 - k] * 8]
        wanted = np.column_stack(
            [those.mean(0), those.std(0), those.min(0), those.max(0), those.sum(0)]
        )
        np.testing.assert_allclose(found[k], wanted.ravel(), rtol=1e-12, atol=1e-13)
    # one atom, all of whose neighbours are itself
    alone = Coordination(cutoff=3.0).compute([[0.2, 0, 0]], 2.8 * np.eye(3), [29])
    np.testing.assert_allclose(alone, [[6, 6]])
    feature = MediumRange(Coordination(cutoff=3.0), statistics=STATISTICS)
    found = feature.compute([[0.2, 0, 0]], 2.8 * np.eye(3), [29])
    np.testing.assert_allclose(found, [[6, 0, 6, 6, 36] * 2])
    assert MediumRange(feature.feature, statistics=("sum",), include_self=True).compute(
        [[0.2, 0, 0]], 2.8 * np.eye(3), [29]
    ).tolist() == [[42.0, 42.0]]


def test_small_triclinic_cell_equals_the_twin(rng):
    position, numbers = spread(rng, TRICLINIC, 24, 1.9), np.tile([29, 40], 12)
    cutoff = 8.0
    listed = {i: j for i, (j, _) in enumerate(reference.pairs(position, TRICLINIC, cutoff))}
    assert all(i in j for i, j in listed.items())
    inner = Interstice()
    values = inner.compute(position, TRICLINIC, numbers)
    found = MediumRange(inner, neighbors="cutoff", cutoff=cutoff).compute(
        position, TRICLINIC, numbers
    )
    close(found, naive(values, listed))
    twice = (
        np.vstack([position, position + TRICLINIC[1]]),
        TRICLINIC * [[1], [2], [1]],
        np.tile(numbers, 2),
    )
    both = MediumRange(inner, neighbors="cutoff", cutoff=cutoff).compute(*twice)
    np.testing.assert_allclose(both, np.vstack([found, found]), rtol=1e-10, atol=1e-10)


# -------------------------------------------------------------------------------------------------------- without value
def test_nan_of_a_neighbour_makes_nan(glass, rng):
    """A free surface: open cells, then atoms next to such, then all others."""
    pbc, inner = (True, True, False), VoronoiIndices()
    values = inner.compute(*glass, pbc=pbc)
    cells = compute_features(
        (MediumRange(inner),), glass[0][None], glass[1][None], glass[2], np.arange(2000), pbc
    )
    found, counted = cells[0][0][0], cells[1][0]
    undefined = np.isnan(found).any(axis=1)
    assert counted == {"undefined": undefined.sum()}
    assert (np.isnan(found).all(axis=1) == undefined).all()
    environments = surroundings.LocalEnvironments(*glass, pbc)
    bonds = environments.voronoi(np.arange(2000), "static")
    is_open = np.isnan(values[:, 0])
    beside = np.array(
        [is_open[bonds.row[a:b]].any() for a, b in zip(bonds.first, bonds.last, strict=True)]
    )
    assert (undefined == is_open | beside).all()
    assert is_open.sum() < undefined.sum() < 1000
    # the neighbours within a distance of an atom with an open cell are its neighbours still
    by_distance = MediumRange(inner, neighbors="cutoff", cutoff=3.4).compute(*glass, pbc=pbc)
    listed = reference.pairs(glass[0], glass[1], 3.4, pbc)
    wanted = np.array([is_open[j].any() or not len(j) for j, _ in listed])
    assert (np.isnan(by_distance).any(axis=1) == wanted).all()
    assert (is_open & ~wanted).any()


def test_an_open_cell_has_no_value_even_with_the_atom_itself(glass):
    """Its own value, which does not come from the cell, is not that of a neighbourhood."""
    pbc = (True, True, False)
    is_open = np.isnan(Coordination().compute(*glass, pbc=pbc)[:, 0])
    soap = SOAP(**SOAP_OPTIONS)
    for include_self in (False, True):
        found = MediumRange(soap, neighbors="voronoi", include_self=include_self).compute(
            *glass, pbc=pbc
        )
        assert (np.isnan(found).all(axis=1) == is_open).all()
        assert (np.isnan(found).any(axis=1) == is_open).all()


def test_no_neighbours():
    feature = MediumRange(Coordination(cutoff=3.0))
    assert np.isnan(feature.compute([[1.0, 1, 1]], 30 * np.eye(3), [29], pbc=NEVER)).all()
    found = feature.compute([[1.0, 1, 1]], 30 * np.eye(3), [29])  # its images have facets with it
    assert found[0, :4].tolist() == [6.0, 0.0, 6.0, 6.0]
    assert np.isnan(found[0, 4:]).all()
    own = MediumRange(Coordination(cutoff=3.0), include_self=True).compute(
        [[1.0, 1, 1]], 30 * np.eye(3), [29]
    )
    assert own[0].tolist() == [6.0, 0.0, 6.0, 6.0, 0.0, 0.0, 0.0, 0.0]


# ------------------------------------------------------------------------------------------------------------- the bits
FEATURES = [
    MediumRange(Interstice()),
    MediumRange(MediumRange(Coordination()), statistics=("mean", "sum"), include_self=True),
    MediumRange(SOAP(**SOAP_OPTIONS, dtype="float32"), neighbors="cutoff"),
]


@pytest.fixture
def fresh(monkeypatch):
    monkeypatch.setattr(surroundings, "_RECENT", threading.local())


@pytest.mark.parametrize("kept", [2**28, 0], ids=["kept", "too large to keep"])
@pytest.mark.parametrize("large", [10**9, 10], ids=["small", "large"])
def test_blocks_give_the_same_bits(glass, monkeypatch, fresh, rng, large, kept):
    monkeypatch.setattr(surroundings, "LARGE", large)
    monkeypatch.setattr(surroundings, "KEPT_VALUES", kept)
    for feature in FEATURES:
        monkeypatch.setattr(surroundings, "_RECENT", threading.local())
        whole = feature.compute(*glass)
        monkeypatch.setattr(surroundings, "_RECENT", threading.local())
        for some in (
            np.arange(500),
            np.arange(500, 700),
            rng.permutation(2000)[:60],
            np.array([5, 1999, 5]),
        ):
            assert feature.compute(*glass, centers=some).tobytes() == whole[some].tobytes()
        assert feature.compute(*glass, centers=[]).shape == (0, feature.n_columns)


def test_values_are_kept_from_block_to_block(glass, monkeypatch, fresh):
    asked = []
    describe = Coordination.describe

    def count(self, environments, centers, out):
        asked.append(len(centers))
        return describe(self, environments, centers, out)

    monkeypatch.setattr(Coordination, "describe", count)
    blocks = np.array_split(np.arange(2000), 8)
    for large, least, most in ((10, 2000, 2000), (10**9, 4000, 16000)):
        monkeypatch.setattr(surroundings, "LARGE", large)
        asked.clear()
        for some in blocks:
            MediumRange(Coordination()).compute(*glass, centers=some)
        assert least <= sum(asked) <= most


def test_kept_values_are_of_this_frame_and_feature(glass, monkeypatch, fresh):
    monkeypatch.setattr(surroundings, "LARGE", 10)
    position, cell, numbers = (array.copy() for array in glass)
    some = np.arange(60)
    one, other = MediumRange(Coordination(cutoff=3.0)), MediumRange(Coordination(cutoff=3.5))
    first = one.compute(position, cell, numbers, some)
    assert (other.compute(position, cell, numbers, some) != first).any()
    position[:60] += 0.4
    moved = one.compute(position, cell, numbers, some)
    assert (moved != first).any()
    monkeypatch.setattr(surroundings, "LARGE", 10**9)
    assert moved.tobytes() == one.compute(position, cell, numbers, some).tobytes()


def test_together_as_alone(glass):
    """Features of one block share their values."""
    some = np.arange(300, 420)
    features = (
        Interstice(),
        MediumRange(Interstice()),
        MediumRange(Coordination()),
        Coordination(),
        FEATURES[2].feature,
        *FEATURES,
    )
    together = compute_features(
        features, glass[0][None], glass[1][None], glass[2], some, (True, True, True)
    )[0]
    for feature, found in zip(features, together, strict=True):
        assert found[0].tobytes() == feature.compute(*glass, centers=some).tobytes()


# -------------------------------------------------------------------------------------------------- labels, parameters
def test_labels_follow_the_columns(glass):
    feature = MediumRange(Coordination(), statistics=("max", "mean"))
    assert feature.labels == (
        "max of voronoi",
        "mean of voronoi",
        "max of cutoff",
        "mean of cutoff",
    )
    assert feature.amlearn_labels == (
        "MRO_max_CN_voro",
        "MRO_mean_CN_voro",
        "MRO_max_CN_dist",
        "MRO_mean_CN_dist",
    )
    assert feature.name == "mediumrange_coordination"
    assert feature.named("mine").name == "mine"
    assert MediumRange(Coordination().named("c")).name == "mediumrange_c"
    found = feature.compute(*glass, centers=np.arange(50))
    assert (found[:, 0] == np.rint(found[:, 0])).all()
    assert (found[:, ::2] > found[:, 1::2]).all()
    eighty = MediumRange(Interstice())
    assert eighty.n_columns == 64
    assert eighty.amlearn_labels[:2] == (
        "MRO_mean_Dist_interstice_mean_voro",
        "MRO_std_Dist_interstice_mean_voro",
    )
    assert len(set(eighty.amlearn_labels)) == 64
    assert "Wang" in eighty.citation
    assert eighty.long_name == "medium range of the interstice distribution"


NESTED = [
    MediumRange(Interstice()),
    MediumRange(
        Interstice(radii={"Zr": 1.6, "Cu": 1.28}, bins=4),
        statistics=("sum",),
        neighbors="cutoff",
        cutoff=3.3,
    ),
    MediumRange(
        SOAP(**SOAP_OPTIONS), small_facets="amlearn", neighbors="voronoi", include_self=True
    ),
    MediumRange(MediumRange(Coordination(cutoff=3.1)), statistics=("std",)),
    MediumRange(BondOrder()),
    MediumRange(FoldSymmetry(weights="volume", average=True)),
    MediumRange(Motifs()),
    MediumRange(Packing(radii="covalent")),
    MediumRange(VoronoiIndices(beyond=False)),
]


@pytest.mark.parametrize("feature", NESTED, ids=lambda f: f"{f.name} {f.summary()}")
def test_parameters_make_the_same_feature(feature):
    text = json.dumps(feature.parameters())
    again = make_feature("mediumrange", json.loads(text))
    assert again == feature
    assert hash(again) == hash(feature)
    assert again.labels == feature.labels
    feature.prepare()
    assert isinstance(again.feature, Feature)


def test_made_by_name():
    assert make_feature("mediumrange", {"feature": "interstice"}) == MediumRange(Interstice())
    made = make_feature(
        "mediumrange", {"feature": {"coordination": {"cutoff": "3.5"}}, "statistics": "mean+sum"}
    )
    assert made == MediumRange(Coordination(cutoff=3.5), statistics=("mean", "sum"))
    soap = {"soap": {"r_cut": 4.0, "n_max": 3, "l_max": 2, "sigma": 0.5}}
    assert make_feature("mediumrange", {"feature": soap}, ["Zr", "Cu"]) == MediumRange(
        SOAP(**SOAP_OPTIONS)
    )
    with pytest.raises(ParameterError, match="must be one family"):
        make_feature("mediumrange", {"feature": {"interstice": {}, "motifs": {}}})
    with pytest.raises(ParameterError, match="feature must be given"):
        make_feature("mediumrange", {})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"feature": SOAP(**SOAP_OPTIONS, average="inner")},
            "one row per frame; it must have one per atom",
        ),
        ({"feature": SOAP(**SOAP_OPTIONS, average="outer")}, "one row per frame"),
        ({"feature": 3}, "feature=3"),
        ({"statistics": ()}, "one or more distinct names of mean, std, min, max, sum"),
        ({"statistics": ("mean", "mean")}, "distinct"),
        ({"statistics": ("median",)}, "statistics"),
        ({"neighbors": "both"}, "'own', 'voronoi' or 'cutoff'"),
        ({"cutoff": 0.0}, "cutoff=0.0"),
        ({"small_facets": "5 %"}, "small_facets='5 %'"),
    ],
)
def test_bad_parameters_are_refused_in_words(options, words):
    with pytest.raises(ParameterError, match=words):
        MediumRange(**({"feature": Coordination()} | options))


def test_species_are_the_features(glass):
    feature = MediumRange(SOAP(**(SOAP_OPTIONS | {"species": ("Ni", "Zr")})))
    with pytest.raises(ParameterError, match="lacks Cu"):
        feature.compute(*glass, centers=[0])
    feature.prepare()  # with an element that the feature knows
    assert feature.dependencies == (feature.feature,)


def test_perfect_crystal_has_no_spread():
    position, cell = crystal(FCC, 3.6)
    found = MediumRange(Coordination(cutoff=3.0)).compute(position, cell, np.full(4, 29))
    np.testing.assert_allclose(found, np.tile([12, 0, 12, 12] * 2, (4, 1)))
