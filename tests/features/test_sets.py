"""Ready-made lists: published counts of columns, amlearn's names, the same bits together and alone, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.features import (
    SETS,
    CutoffNeighbors,
    FoldSymmetry,
    Interstice,
    LocalEnvironments,
    MediumRange,
    VoronoiIndices,
    VoronoiNeighbors,
    amlearn_names,
    compute_features,
    feature_set,
    mro_sets,
    sro_sets,
)

SPECIES = ("Cu", "Zr")
STATISTICS = ("mean", "std", "min", "max")
EVERY = feature_set("interstice+sro+mro+symmetry_functions+chebyshev", SPECIES)
# written out from amlearn.md, section 3
SRO_NAMES = [
    f"{kind}_interstice_{statistic}_{end}"
    for kind, end in (("Dist", "voro"), ("Dist", "dist"), ("Volume", "voro"), ("Area", "voro"))
    for statistic in STATISTICS
]
MRO_NAMES = {f"MRO_{statistic}_{name}" for statistic in STATISTICS for name in SRO_NAMES}


def test_short_range_counts():
    assert {name: f.n_columns for name, f in sro_sets(SPECIES).items()} == {
        "coordination": 2,
        "voronoi_indices": 5,
        "motifs": 4,
        "packing": 3,
        "fold_symmetry": 5,
        "fold_symmetry_area": 5,
        "bond_order": 16,
        "chemistry": 9,
    }
    assert sum(f.n_columns for f in feature_set("sro", SPECIES)) == 49


def test_bond_order_is_q_and_w_of_both_lists():
    """Wang & Jain, Methods, vii: BOOP q_4..10-Voro/Dist and w_4..10-Voro/Dist (16)."""
    order = sro_sets(SPECIES, cutoff=3.7)["bond_order"]
    assert order.labels == tuple(
        f"{quantity}{degree}_{neighbors}"
        for neighbors in ("voronoi", "cutoff")
        for quantity in "qw"
        for degree in (4, 6, 8, 10)
    )
    assert set(order.neighborhood) == {VoronoiNeighbors("static"), CutoffNeighbors(3.7)}


# Wang & Jain, Methods, "Benchmarked Structural Signatures and Their MRO Version", in the order of the text
MEDIUM = {
    "mediumrange_coordination": 8,
    "mediumrange_voronoi_indices": 20,
    "mediumrange_motifs": 12,
    "mediumrange_packing": 12,
    "fold_symmetry_average": 5,
    "mediumrange_fold_symmetry": 20,
    "mediumrange_fold_symmetry_area": 20,
    "bond_order_coarse": 16,
    "mediumrange_bond_order": 64,
    "mediumrange_chemistry": 32,
}


def test_medium_range_counts():
    found = mro_sets(SPECIES)
    assert {name: f.n_columns for name, f in found.items()} == MEDIUM
    assert list(found) == list(MEDIUM)
    assert sum(f.n_columns for f in feature_set("mro", SPECIES)) == 209
    assert found["fold_symmetry_average"] == FoldSymmetry(average=True)
    # motifs: "sum, mean and std (min and max are not helpful)"
    assert found["mediumrange_motifs"].statistics == ("sum", "mean", "std")
    assert {f.statistics for name, f in found.items() if hasattr(f, "statistics")} == {
        STATISTICS,
        ("sum", "mean", "std"),
    }
    # CMRO (32): CSRO (9) without the element type, four statistics each
    assert not any("element" in label for label in found["mediumrange_chemistry"].labels)
    assert found["bond_order_coarse"].quantities == ("coarse_q", "coarse_w")
    # all statistics are over the list that the column itself is computed from
    for feature in found.values():
        for label, kind in zip(feature.labels, feature.neighborhood, strict=True):
            assert isinstance(kind, CutoffNeighbors) == label.endswith("cutoff")


@pytest.mark.parametrize("neighbors", ["voronoi", "cutoff"])
def test_medium_range_of_one_list_of_bond_order(neighbors):
    """209 printed columns, 169 in the text: both sets of bond order halved."""
    found = {name: f.n_columns for name, f in mro_sets(SPECIES).items()}
    half = mro_sets(SPECIES, bond_order_neighbors=neighbors)
    assert {name: f.n_columns for name, f in half.items()} == found | {
        "bond_order_coarse": 8,
        "mediumrange_bond_order": 32,
    }
    features = feature_set("mro", SPECIES, bond_order_neighbors=neighbors)
    assert sum(f.n_columns for f in features) == 169
    assert half["bond_order_coarse"].neighbors == neighbors
    with pytest.raises(ParameterError, match="'both', 'voronoi' or 'cutoff'"):
        feature_set("mro", SPECIES, bond_order_neighbors="all")


def test_medium_range_values_equal_the_twin(glass):
    """Eq. (1): statistics over the neighbours N(i), each column over its own list."""
    sets = mro_sets(SPECIES, cutoff=3.6)
    environments = LocalEnvironments(*glass, (True, True, True))
    centers = np.arange(0, 2000, 40)
    lists = {}
    for name, kind in (("voronoi", VoronoiNeighbors("static")), ("cutoff", CutoffNeighbors(3.6))):
        near = environments.bonds(kind, centers)
        lists[name] = [near.row[a:b] for a, b in zip(near.first, near.last, strict=True)]
    take = {"mean": np.mean, "std": np.std, "min": np.min, "max": np.max, "sum": np.sum}
    for name in ("motifs", "bond_order", "chemistry", "coordination"):
        feature = sets[f"mediumrange_{name}"]
        values = feature.feature.compute(*glass)
        found = feature.compute(*glass, centers=centers)
        column = 0
        for source, label in enumerate(feature.feature.labels):
            near = lists["cutoff" if label.endswith("cutoff") else "voronoi"]
            for statistic in ("sum", "mean", "std") if name == "motifs" else STATISTICS:
                want = [take[statistic](values[rows, source]) for rows in near]
                np.testing.assert_allclose(found[:, column], want, rtol=1e-11, atol=1e-12)
                assert feature.labels[column] == f"{statistic} of {label}"
                column += 1
        assert column == feature.n_columns == MEDIUM[f"mediumrange_{name}"]


def test_averaged_fold_symmetry_includes_the_atom_itself(glass):
    """Methods, v: sum_{m=0}^{NN} n_i^m / sum_{m=0}^{NN} sum_{i=3}^7 n_i^m."""
    indices = VoronoiIndices().compute(*glass)
    centers = np.arange(0, 2000, 50)
    cells = LocalEnvironments(*glass, (True, True, True)).voronoi(centers, "static")
    want = []
    for i, first, last in zip(centers, cells.first, cells.last, strict=True):
        n = indices[[i, *cells.row[first:last]]].sum(axis=0)
        want.append(n / n.sum())
    found = mro_sets(SPECIES)["fold_symmetry_average"].compute(*glass, centers=centers)
    np.testing.assert_allclose(found, want, rtol=1e-14)


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("interstice", [16, 64]),
        ("symmetry_functions", [166]),
        ("chebyshev", [90]),
        ("motifs", [4]),
        ("mediumrange_chemistry", [32]),
        ("motifs+mro", [4, 12]),
        ("fold_symmetry+mro", [5, 5, 20]),
        ("bond_order + mro", [16, 16, 64]),
        ("coordination+motifs+mro", [2, 4, 8, 12]),
        ("motifs+mediumrange_packing+motifs", [4, 12]),
        ("sro+mro", [2, 5, 4, 3, 5, 5, 16, 9, *MEDIUM.values()]),
        ("interstice+mro", [16, 64, *MEDIUM.values()]),
        ("interstice+sro", [16, 64, 2, 5, 4, 3, 5, 5, 16, 9]),
        ("interstice+sro+mro", [16, 64, 2, 5, 4, 3, 5, 5, 16, 9, *MEDIUM.values()]),
    ],
)
def test_other_counts(name, columns):
    """Supplementary Tables 5 and 7: interstice + SRO, and + MRO; Fig. 5a: each set and its MRO."""
    features = feature_set(name, SPECIES)
    assert [f.n_columns for f in features] == columns
    assert len({f.name for f in features}) == len(features)


def test_each_set_and_its_medium_range_are_all_sets():
    short, medium = sro_sets(SPECIES), mro_sets(SPECIES)
    assert list(SETS) == [
        *("interstice", "sro", "mro", "symmetry_functions", "symmetry_by_role"),
        "spherical_chebyshev",
        *short,
        *(name.replace("mediumrange", "medium_range") for name in medium),
    ]
    every = [f for name in short for f in feature_set(f"{name}+mro", SPECIES)]
    assert {f.name: f for f in every} == {**short, **medium}
    assert len(every) == 18
    for name, feature in (short | medium).items():
        assert feature_set(name, SPECIES) == [feature]
        assert feature_set(name, SPECIES)[0].name == name


def test_three_species_have_more_columns_of_chemistry():
    assert sro_sets(("Al", "Cu", "Zr"))["chemistry"].n_columns == 1 + 2 * (3 + 3)
    assert mro_sets(("Al", "Cu", "Zr"))["mediumrange_chemistry"].n_columns == 4 * 12


def test_all_labels_are_told_apart():
    features = EVERY
    assert len({f.name for f in features}) == len(features) == 2 + 8 + 10 + 1 + 1
    for feature in features:
        assert len(set(feature.labels)) == feature.n_columns


def test_amlearns_names_of_the_interstices():
    names = amlearn_names(feature_set("interstice", SPECIES))
    assert len(names) == 80
    assert list(names.values())[:16] == SRO_NAMES
    assert set(list(names.values())[16:]) == MRO_NAMES
    # each name is that of its column
    words = {
        "distance_voronoi": ("Dist", "voro"),
        "distance_cutoff": ("Dist", "dist"),
        "volume": ("Volume", "voro"),
        "area": ("Area", "voro"),
    }
    for (variable, label), name in names.items():
        *outer, inner = label.split(" of ")
        part, statistic = inner.rsplit("_", 1)
        kind, end = words[part]
        assert variable == ("mediumrange_interstice" if outer else "interstice")
        assert (
            name == (f"MRO_{outer[0]}_" if outer else "") + f"{kind}_interstice_{statistic}_{end}"
        )


def test_amlearns_names_of_the_other_sets():
    short, wide = (amlearn_names(feature_set(name, SPECIES)) for name in ("sro", "mro"))
    assert short["coordination", "voronoi"] == "CN_voro"
    assert short["voronoi_indices", "n5"] == "Voronoi_idx_5_voro"
    assert short["fold_symmetry_area", "fold3"] == "Area_wt_3_fold_symm_idx_voro"
    assert short["bond_order", "w10_cutoff"] == "w_10_dist"
    assert wide["bond_order_coarse", "coarse_w10_voronoi"] == "Coarse_grained_w_10_voro"
    assert wide["mediumrange_bond_order", "std of q6_voronoi"] == "MRO_std_q_6_voro"
    # what amlearn lacks has no name, in the medium range neither
    assert ("packing", "volume_ratio") not in short
    assert not [
        label for name, label in wide if name == "mediumrange_packing" and "volume_ratio" in label
    ]
    assert not [
        name
        for name, _ in (*short, *wide)
        if "chemistry" in name or name == "fold_symmetry_average"
    ]
    for names in (short, wide):
        assert all(name and not name.endswith("_") for name in names.values())
        assert len(set(names.values())) == len(names)


def test_together_as_alone(glass):
    position, cell, numbers = glass
    centers = np.arange(0, 2000, 9)
    features = [
        *EVERY,
        Interstice(cutoff=3.5, convention="amlearn").named("other"),
        MediumRange(Interstice(cutoff=3.5)),
    ]
    features[-1] = features[-1].named("other_mro")
    arguments = position[None], cell[None], numbers, centers, (True, True, True)
    together, counts = compute_features(features, *arguments)
    backwards, _ = compute_features(features[::-1], *arguments)
    for k, feature in enumerate(features):
        alone, count = compute_features((feature,), *arguments)
        assert alone[0].shape == (1, len(centers), feature.n_columns)
        assert alone[0].tobytes() == together[k].tobytes() == backwards[-1 - k].tobytes(), (
            feature.name
        )
        assert count[0] == counts[k], feature.name
        assert np.isfinite(alone[0]).mean() > 0.9


def test_options_reach_every_feature():
    pairs = {"Cu-Cu": 3.1, "Zr-Cu": 3.6, "Zr-Zr": 4.0}
    options = {"small_facets": "none", "cutoff": 3.5, "radii": "covalent", "pair_cutoffs": pairs}
    features = feature_set("interstice+sro+mro", SPECIES, **options, bond_order_neighbors="cutoff")
    assert sum(f.n_columns for f in features) == 129 + 169
    for feature in features:
        given = getattr(feature, "feature", feature).parameters()
        assert given["small_facets"] == "none"
        assert given.get("radii", "covalent") == "covalent"
        assert given.get("cutoff", 3.5) == 3.5
        assert ("cutoff" in given) == ("pair_cutoffs" in given)
        for kind in set(feature.neighborhood) - {VoronoiNeighbors("none")}:
            assert kind == CutoffNeighbors(4.0, (("Cu-Cu", 3.1), ("Cu-Zr", 3.6), ("Zr-Zr", 4.0)))
    # an option goes to the sets that take it
    both = feature_set("interstice+motifs", SPECIES, convention="amlearn", small_facets="amlearn")
    assert both[0].convention == "amlearn"
    assert both[2].small_facets == "amlearn"
    own, wide = feature_set("interstice", SPECIES, radii="rdf")
    assert own.radii == wide.feature.radii == "rdf"
    assert feature_set("symmetry_functions", SPECIES, sigma=2.0)[0].sigma == 2.0
    assert feature_set("chebyshev", ("Zr", "Cu"))[0].species == ("Zr", "Cu")


def test_refusals_in_words():
    with pytest.raises(
        ParameterError,
        match="there is no set 'sor'\. Did you mean sro\? The sets are interstice, sro, mro",
    ):
        feature_set("sor", SPECIES)
    for name in SETS:
        with pytest.raises(ParameterError, match=rf"set '{name}'.*nonsense"):
            feature_set(name, SPECIES, nonsense=1)
    with pytest.raises(ParameterError, match="there is no set 'sor'"):
        feature_set("interstice+sor", SPECIES)
    with pytest.raises(
        ParameterError, match=r"unknown option 'convention'\. .*Allowed are cutoff, r"
    ):
        feature_set("sro+mro", SPECIES, convention="amlearn")
    with pytest.raises(ParameterError, match=r"cutoff=-1"):
        feature_set("sro", SPECIES, cutoff=-1)
    with pytest.raises(ParameterError, match="'Xx' is not an element"):
        feature_set("sro", ("Xx",))
