"""Ready-made lists: published counts of columns, amlearn's names, the same bits together and alone, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from mgdask.errors import ParameterError
from mgdask.features import (
    SETS,
    FoldSymmetry,
    Interstice,
    MediumRange,
    amlearn_names,
    compute_features,
    feature_set,
    mro_sets,
    sro_sets,
)

SPECIES = ("Cu", "Zr")
STATISTICS = ("mean", "std", "min", "max")
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


def test_medium_range_counts():
    found = mro_sets(SPECIES)
    assert [f.n_columns for f in found.values()] == [8, 20, 16, 12, 20, 20, 16, 16, 36, 5]
    assert list(found) == [
        "mediumrange_coordination",
        "mediumrange_voronoi_indices",
        "mediumrange_motifs",
        "mediumrange_packing",
        "mediumrange_fold_symmetry",
        "mediumrange_fold_symmetry_area",
        "mediumrange_bond_order_q",
        "mediumrange_bond_order_w",
        "mediumrange_chemistry",
        "fold_symmetry_average",
    ]
    assert sum(f.n_columns for f in feature_set("mro", SPECIES)) == 169
    assert found["fold_symmetry_average"] == FoldSymmetry(average=True)


@pytest.mark.parametrize(
    ("name", "columns"),
    [("interstice", [16, 64]), ("symmetry_functions", [166]), ("chebyshev", [90])],
)
def test_other_counts(name, columns):
    assert [f.n_columns for f in feature_set(name, SPECIES)] == columns
    assert set(SETS) == {"interstice", "sro", "mro", "symmetry_functions", "chebyshev"}


def test_three_species_have_more_columns_of_chemistry():
    assert sro_sets(("Al", "Cu", "Zr"))["chemistry"].n_columns == 1 + 2 * (3 + 3)
    assert mro_sets(("Al", "Cu", "Zr"))["mediumrange_chemistry"].n_columns == 4 * 13


def test_all_labels_are_told_apart():
    features = [feature for name in SETS for feature in feature_set(name, SPECIES)]
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
    assert short["bond_order", "coarse_w10"] == "Coarse_grained_w_10_voro"
    assert wide["mediumrange_bond_order_q", "std of q6"] == "MRO_std_q_6_voro"
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
    features = [feature for name in SETS for feature in feature_set(name, SPECIES)]
    features += [
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
    for feature in feature_set("sro", SPECIES, small_facets="none", cutoff=3.5, radii="covalent"):
        given = feature.parameters()
        assert given["small_facets"] == "none"
        assert given.get("radii", "covalent") == "covalent"
        assert (
            given.get("cutoff", 3.5) == 3.5 or feature.name == "bond_order"
        )  # which has Voronoi neighbours only
    for feature in feature_set("mro", SPECIES, small_facets="none", cutoff=3.5):
        inner = getattr(feature, "feature", feature).parameters()
        assert inner["small_facets"] == "none"
    own, wide = feature_set("interstice", SPECIES, radii="rdf")
    assert own.radii == wide.feature.radii == "rdf"
    assert feature_set("symmetry_functions", SPECIES, sigma=2.0)[0].sigma == 2.0
    assert feature_set("chebyshev", ("Zr", "Cu"))[0].species == ("Zr", "Cu")


def test_refusals_in_words():
    with pytest.raises(
        ParameterError, match="there is no set 'sor'; allowed: interstice, sro, mro"
    ):
        feature_set("sor", SPECIES)
    for name in SETS:
        with pytest.raises(ParameterError, match=rf"set '{name}'.*nonsense"):
            feature_set(name, SPECIES, nonsense=1)
    with pytest.raises(ParameterError, match=r"cutoff=-1"):
        feature_set("sro", SPECIES, cutoff=-1)
    with pytest.raises(ParameterError, match="'Xx' is not an element"):
        feature_set("sro", ("Xx",))
