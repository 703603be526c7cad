"""The symmetry function feature: published columns and their order, the naive twins, scaling, species, refusals."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

import mgdask
from mgdask.errors import ParameterError
from mgdask.features import MediumRange, SymmetryFunctions, compute_features, make_feature
from mgdask.features.environments import CutoffNeighbors
from mgdask.features.symmetry import roles_by_count
from tests.reference import structure as reference

# written out from amlearn.md, section 5
PUBLISHED = [
    (14.633, -1, 1), (14.633, 1, 1), (14.638, -1, 2), (14.638, 1, 2), (2.554, -1, 1), (2.554, 1, 1), (2.554, -1, 2), (2.554, 1, 2),
    (1.648, 1, 1), (1.648, 1, 2),
    *((xi, 1, zeta) for xi in (1.204, 0.933, 0.695) for zeta in (1, 2, 4, 16)),
]  # fmt: skip
NUMBER = {"Al": 13, "Cu": 29, "Zr": 40}


def theirs(vectors, numbers, species, sigma, radii, width, angular):
    """Columns of one centre by the twins; vectors and numbers are those of its neighbours."""
    of = {name: vectors[numbers == NUMBER[name]] for name in species}
    columns = [
        reference.radial_symmetry(
            np.linalg.norm(of[name], axis=1), sigma * np.array(radii), sigma * width
        )
        for name in species
        if len(radii)
    ]
    for a, b in itertools.combinations_with_replacement(species, 2):
        columns += [
            [reference.angular_symmetry(of[a], of[b], a == b, sigma * xi, lam, zeta)]
            for xi, lam, zeta in angular
        ]
    return np.concatenate(columns)


def near(glass, centers, reach):
    position, cell, numbers = glass
    lengths = np.diag(cell)
    assert (cell == np.diag(lengths)).all()
    assert (lengths > 2 * reach).all()
    for i in centers:
        vector = position - position[i]
        vector -= np.round(vector / lengths) * lengths
        inside = (np.linalg.norm(vector, axis=1) <= reach) & (np.arange(len(position)) != i)
        yield vector[inside], numbers[inside]


def close(found, want):
    # the glass has columns that are 1e-300: nothing but rounding of the exponential can be asked of them
    np.testing.assert_allclose(found, want, rtol=1e-11, atol=1e-200)


def test_published_columns_equal_the_twins(glass):
    feature, centers = SymmetryFunctions(species=("Cu", "Zr")), np.array([0, 1999])
    found = feature.compute(*glass, centers=centers)
    assert found.shape == (2, 166)
    radii = [0.1 * n for n in range(50)]
    for row, (vector, numbers) in zip(found, near(glass, centers, 2.5 * 2.52), strict=True):
        assert len(vector) > 50
        close(row, theirs(vector, numbers, ("Cu", "Zr"), 2.52, radii, 0.1, PUBLISHED))
    assert len(np.unique(found[0])) > 150


def test_published_labels_in_their_order():
    labels = SymmetryFunctions(species=("Zr", "Cu")).labels
    assert len(labels) == len(set(labels)) == 166
    assert labels[:3] == ("G_Cu r=0", "G_Cu r=0.1", "G_Cu r=0.2")
    assert labels[49:51] == ("G_Cu r=4.9", "G_Zr r=0")
    wanted = [
        f"Psi_{pair} xi={xi:g} lambda={lam:g} zeta={zeta:g}"
        for pair in ("Cu-Cu", "Cu-Zr", "Zr-Zr")
        for xi, lam, zeta in PUBLISHED
    ]
    assert list(labels[100:]) == wanted


@pytest.mark.parametrize("cutoff", [2.0, 3.1])
def test_other_parameters_equal_the_twins(glass, cutoff):
    options = {
        "sigma": 2.2,
        "radii": (1.3, 0.4, 2.0),
        "width": 0.25,
        "angular": ((1.1, -0.5, 3), (0.8, 1, 2.5)),
        "cutoff": cutoff,
    }
    feature, centers = SymmetryFunctions(species=("Cu", "Zr"), **options), np.array([5, 1234])
    assert feature.n_columns == 2 * 3 + 3 * 2
    assert set(feature.neighborhood) == {CutoffNeighbors(feature.reach)}
    assert feature.reach == pytest.approx(2.2 * cutoff)
    found = feature.compute(*glass, centers=centers)
    options.pop("cutoff")
    for row, (vector, numbers) in zip(found, near(glass, centers, 2.2 * cutoff), strict=True):
        close(row, theirs(vector, numbers, ("Cu", "Zr"), **options))


def test_three_species(glass, rng):
    position, cell, _ = glass
    numbers = rng.choice([13, 29, 40], len(position))
    feature = SymmetryFunctions(species=("Zr", "Al", "Cu"))
    assert feature.species == ("Al", "Cu", "Zr")
    assert feature.n_columns == 3 * 50 + 6 * 22
    assert [label.split()[0] for label in feature.labels[150::22]] == [
        f"Psi_{pair}" for pair in ("Al-Al", "Al-Cu", "Al-Zr", "Cu-Cu", "Cu-Zr", "Zr-Zr")
    ]
    found = feature.compute(position, cell, numbers, centers=[42])
    ((vector, kinds),) = near((position, cell, numbers), [42], 6.3)
    close(
        found[0],
        theirs(vector, kinds, feature.species, 2.52, [0.1 * n for n in range(50)], 0.1, PUBLISHED),
    )
    # a species that is not there has columns of zeros, the others do not change
    two = SymmetryFunctions(species=("Cu", "Zr")).compute(*glass, centers=[42])
    three = feature.compute(*glass, centers=[42])
    at = [k for k, label in enumerate(feature.labels) if "Al" not in label]
    assert (three[:, at] == two).all()
    assert (np.delete(three, at, axis=1) == 0).all()


def test_sigma_is_the_unit_of_length(glass):
    position, cell, numbers = glass
    centers = np.arange(0, 2000, 100)
    small = SymmetryFunctions(species=("Cu", "Zr")).compute(
        position, cell, numbers, centers=centers
    )
    scaled = SymmetryFunctions(species=("Cu", "Zr"), sigma=2 * 2.52)
    # a power of two: not even the rounding changes
    assert (scaled.compute(2 * position, 2 * cell, numbers, centers=centers) == small).all()
    assert np.abs(scaled.compute(position, cell, numbers, centers=centers) - small).max() > 0.1
    factor = 1.37
    odd = SymmetryFunctions(species=("Cu", "Zr"), sigma=factor * 2.52)
    np.testing.assert_allclose(
        odd.compute(factor * position, factor * cell, numbers, centers=centers),
        small,
        rtol=1e-9,
        atol=1e-12,
    )


def test_radial_or_angular_alone(glass):
    centers = np.arange(0, 2000, 200)
    both = SymmetryFunctions(species=("Cu", "Zr")).compute(*glass, centers=centers)
    radial = SymmetryFunctions(species=("Cu", "Zr"), angular=())
    angular = SymmetryFunctions(species=("Cu", "Zr"), radii=())
    assert (radial.n_columns, angular.n_columns) == (100, 66)
    assert (radial.compute(*glass, centers=centers) == both[:, :100]).all()
    assert (angular.compute(*glass, centers=centers) == both[:, 100:]).all()
    assert radial.labels + angular.labels == SymmetryFunctions(species=("Cu", "Zr")).labels
    with pytest.raises(ParameterError, match="radii and angular are both empty"):
        SymmetryFunctions(species=("Cu",), radii=(), angular=())


def test_own_images_and_nobody():
    # one atom in a box of 3 Å: six images within 3.5 Å
    feature = SymmetryFunctions(
        species=("Cu",), sigma=1.0, radii=(3.0,), angular=((2.0, 1, 1),), width=0.5, cutoff=3.5
    )
    axes = 3.0 * np.vstack([np.eye(3), -np.eye(3)])
    found = feature.compute(np.zeros((1, 3)), 3 * np.eye(3), [29])[0]
    np.testing.assert_allclose(
        found, [6.0, reference.angular_symmetry(axes, axes, True, 2.0, 1, 1)], rtol=1e-12
    )
    assert found[1] > 0
    alone = feature.compute(np.zeros((1, 3)), 3 * np.eye(3), [29], pbc=(False,) * 3)
    assert alone.tolist() == [[0.0, 0.0]]


def test_atoms_in_one_place_are_counted():
    position = np.array([[0, 0, 0], [0, 0, 0], [2.0, 0, 0], [0, 2.2, 0], [9, 9, 9.0]])
    feature = SymmetryFunctions(species=("Cu",), radii=(0.5, 1.0))
    cell, numbers = 30.0 * np.eye(3), np.full(5, 29)
    found, counts = compute_features(
        (feature,), position[None], cell[None], numbers, np.arange(5), (True,) * 3
    )
    values = found[0][0]
    assert np.isfinite(values[:, :2]).all()
    assert np.isnan(values[:2, 2:]).all()
    assert counts[0] == {"coincident_atom": int(np.isnan(values).any(axis=1).sum())}
    assert counts[0]["coincident_atom"] == 2


def test_parameters_make_an_equal_feature():
    feature = SymmetryFunctions(
        species=("Zr", "Cu"), sigma=2.0, angular=((1.0, 1, 2),), radii=(1.0, 1.5)
    )
    again = make_feature("symmetry_functions", json.loads(json.dumps(feature.parameters())))
    assert again == feature
    assert again.labels == feature.labels
    assert make_feature("symmetry_functions", {"radii": "1+1.5"}, ["Cu", "Zr"]).radii == (1.0, 1.5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"species": ("Cu", "Cu")}, "names an element twice"),
        ({"species": ("Xx",)}, "'Xx' is not an element"),
        ({"sigma": 0.0}, "sigma=0.0"),
        ({"width": -0.1}, "width=-0.1"),
        ({"cutoff": np.nan}, "cutoff=nan"),
        ({"radii": (-1.0,)}, "list of numbers >= 0"),
        ({"angular": ((0.0, 1, 1),)}, "number > 0"),
        ({"angular": ((1.0, 1),)}, "angular="),
    ],
)
def test_refusals_in_words(options, words):
    with pytest.raises(ParameterError, match=words):
        SymmetryFunctions(**{"species": ("Cu", "Zr"), **options})


def test_missing_species_are_refused(glass):
    with pytest.raises(ParameterError, match=r"SymmetryFunctions: species=\('Cu',\) lacks Zr"):
        SymmetryFunctions(species=("Cu",)).compute(*glass, centers=[0])


# Roles: Wang & Jain (2019), Methods, Eqs. (2) and (3): X and Y are "A or B", lengths are multiples
# of the "Cu-Cu equilibrium distance (sum of metallic radii)", r from 0 to 5.0 in steps of 0.1.


def test_roles_are_decided_by_count():
    assert roles_by_count([40, 29, 40, 13]) == ("Zr", "Al", "Cu")  # Al and Cu: a tie
    assert roles_by_count([40, 29]) == roles_by_count([29, 40]) == ("Cu", "Zr")
    with pytest.raises(ParameterError, match="numbers is empty"):
        roles_by_count([])


def majority(numbers, host, guest):
    """The same atoms with as many of ``host`` as the more frequent species has."""
    first = np.bincount(numbers).argmax()
    assert (numbers == first).mean() > 0.5
    return np.where(numbers == first, host, guest)


def test_role_columns_equal_the_twins(glass):
    position, cell, numbers = glass
    cu_rich, zr_rich = majority(numbers, 29, 40), majority(numbers, 40, 29)
    feature, centers = (
        SymmetryFunctions(species=("Cu", "Zr"), roles="count", cutoff=2.0),
        np.array([999]),
    )
    radii = [0.1 * n for n in range(50)]
    for kinds, roles in ((cu_rich, ("Cu", "Zr")), (zr_rich, ("Zr", "Cu"))):
        found = feature.compute(position, cell, kinds, centers=centers)
        sigma = 2 * {"Cu": 1.26, "Zr": 1.58}[roles[0]]
        for row, (vector, z) in zip(
            found, near((position, cell, kinds), centers, 2.0 * sigma), strict=True
        ):
            close(row, theirs(vector, z, roles, sigma, radii, 0.1, PUBLISHED))


def test_role_columns_are_the_papers():
    labels = SymmetryFunctions(species=("Cu", "Zr"), roles="count").labels
    assert [label.split()[0] for label in labels[:100:50]] == ["G_A", "G_B"]
    assert [label.split()[0] for label in labels[100::22]] == ["Psi_A-A", "Psi_A-B", "Psi_B-B"]
    assert len(labels) == 100 + 66
    assert labels == SymmetryFunctions(species=("Fe", "P"), roles=("Fe", "P")).labels
    for roles, sigma in ((("Cu", "Zr"), 2.52), (("Zr", "Cu"), 3.16)):
        feature = SymmetryFunctions(species=("Cu", "Zr"), roles=roles)
        assert (feature.sigma, feature.cutoff) == (pytest.approx(sigma), 5.0)
        assert feature.reach == pytest.approx(5 * sigma)


def test_every_length_scales_with_the_majority_species(glass):
    # r, sigma, xi and the cutoff: a Fe-P copy of the glass, smaller by 1.25 / 1.26, has the same row
    position, cell, numbers = glass
    factor, centers = 1.25 / 1.26, np.arange(0, 2000, 400)
    numbers, iron = majority(numbers, 29, 40), majority(numbers, 26, 15)
    copper = SymmetryFunctions(species=("Cu", "Zr"), roles="count")
    phosphide = SymmetryFunctions(species=("P", "Fe"), roles="count")
    one = copper.compute(position, cell, numbers, centers=centers)
    two = phosphide.compute(factor * position, factor * cell, iron, centers=centers)
    np.testing.assert_allclose(two, one, rtol=1e-9, atol=1e-12)
    # the radii up to 5 sigma are alive; with amlearn's cutoff of 2.5 half of them are 0
    assert (one[:, 40:50] > 1.0).all()
    short = SymmetryFunctions(species=("Cu", "Zr"), roles="count", cutoff=2.5)
    assert np.abs(short.compute(position, cell, numbers, centers=centers)[:, 40:50]).max() < 1e-9
    # without roles nothing scales
    plain = SymmetryFunctions(species=("P", "Fe"), cutoff=5.0)
    other = plain.compute(factor * position, factor * cell, iron, centers=centers)
    assert np.abs(other[:, 50:100] - one[:, :50]).max() > 0.1


def test_roles_meet_the_atoms_in_plan_and_featurize(glass_store, tmp_path):
    feature = SymmetryFunctions(
        species=("Cu", "Zr"), roles="count", cutoff=1.5, radii=(1.0,), angular=((1.0, 1, 1),)
    )
    wide = MediumRange(feature, neighbors="cutoff", cutoff=3.5)
    plan = mgdask.plan(glass_store, [feature.named("roles"), wide], out=tmp_path / "f.zarr")
    decided, averaged = plan.features
    assert (decided.name, decided.roles, decided.sigma) == ("roles", ("Cu", "Zr"), 2.52)
    assert averaged.feature.roles == ("Cu", "Zr")
    assert wide.feature.roles == "count"
    lazy = mgdask.featurize(mgdask.open_store(glass_store), [feature, wide]).isel(frame=0)
    assert lazy.symmetry_functions_feature.values[0] == "G_A r=1"
    first = mgdask.open_store(glass_store).isel(frame=0)
    position, cell, numbers = (first[name].values for name in ("position", "cell", "species"))
    centers = np.arange(0, len(numbers), 500)
    found = feature.compute(position, cell, numbers, centers=centers)
    assert (lazy.symmetry_functions.isel(atom=centers).values == found).all()
    again = make_feature("symmetry_functions", json.loads(json.dumps(decided.parameters())))
    assert again == decided


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"roles": ("Cu",)}, r"roles=\('Cu',\) must be the elements of species"),
        ({"roles": ("Cu", "Fe")}, "each once, role A first; or 'count'"),
        ({"roles": ("Cu", "Cu")}, "each once"),
    ],
)
def test_wrong_roles_in_words(options, words):
    with pytest.raises(ParameterError, match=words):
        SymmetryFunctions(species=("Cu", "Zr"), **options)


def test_undecided_roles_in_words():
    feature = SymmetryFunctions(species=("Cu", "Zr"), roles="count")
    with pytest.raises(ParameterError, match=r"not resolved yet.*for_atoms\(numbers\)"):
        _ = feature.reach
    with pytest.raises(ParameterError, match=r"no radius for H.*give sigma"):
        SymmetryFunctions(species=("H", "Zr"), roles=("H", "Zr"))
    assert make_feature("symmetry_functions", {"roles": "Zr+Cu"}, ["Cu", "Zr"]).roles == (
        "Zr",
        "Cu",
    )
    assert make_feature("symmetry_functions", {"roles": "count"}, ["Cu", "Zr"]).roles == "count"
