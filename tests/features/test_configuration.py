"""Atoms of other programs: the same bits as from arrays that were written by hand."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import ase
import numpy as np
import pytest
import xarray as xr

from mgdask.errors import ParameterError
from mgdask.features import (
    BondOrder,
    Configuration,
    Coordination,
    FoldSymmetry,
    LocalEnvironments,
    MediumRange,
    NonAffine,
    as_configuration,
    compute_together,
)

CELL = np.array([[9.0, 0.0, 0.0], [1.5, 8.5, 0.0], [-0.75, 2.0, 8.0]])
NUMBERS = np.array([29] * 20 + [40] * 16)
IDS = np.arange(36)[::-1] * 3 + 2
POSITION = np.random.default_rng(5).random((36, 3)) @ CELL
SLAB = (True, True, False)
FEATURE = BondOrder(neighbors="cutoff", cutoff=5.0, degrees=(4,), quantities=("q", "coarse_q"))


def arrays(pbc=SLAB, **options):
    """Values from plain arrays."""
    return FEATURE.compute(POSITION, CELL, NUMBERS, pbc=pbc, **options)


def symbols():
    return ["Cu"] * 20 + ["Zr"] * 16


def from_ase():
    atoms = ase.Atoms(numbers=NUMBERS, positions=POSITION, cell=CELL, pbc=SLAB)
    atoms.new_array("id", IDS)
    return atoms


def from_xarray():
    return xr.Dataset(
        {
            "position": (("xyz", "frame", "atom"), POSITION.T[:, None]),
            "cell": (("frame", "vector", "xyz"), CELL[None]),
            "species": ("atom", NUMBERS),
            "pbc": ("vector", list(SLAB)),
        },
        coords={"atom_id": ("atom", IDS)},
    )


def from_pymatgen():
    core = pytest.importorskip("pymatgen.core", reason="pymatgen is not installed")
    lattice = core.Lattice(CELL, pbc=SLAB)
    return core.Structure(lattice, symbols(), POSITION, coords_are_cartesian=True)


def from_ovito():
    data = pytest.importorskip("ovito.data", reason="ovito is not installed")
    found = data.DataCollection()
    particles = found.create_particles(count=36)
    particles.create_property("Position", data=POSITION + [3.0, -2.0, 1.0])
    particles.create_property("Particle Identifier", data=IDS)
    types = particles.create_property("Particle Type", data=np.where(NUMBERS == 29, 7, 2))
    for number, name in ((2, "Zr"), (7, "Cu")):
        types.types.append(data.ParticleType(id=number, name=name))
    columns = np.column_stack([CELL.T, [3.0, -2.0, 1.0]])  # vectors are columns, then the origin
    found.create_cell(columns, SLAB)
    return found


def from_mdanalysis():
    mda = pytest.importorskip("MDAnalysis", reason="MDAnalysis is not installed")
    universe = mda.Universe.empty(36, trajectory=True)
    universe.add_TopologyAttr("elements", symbols())
    universe.add_TopologyAttr("ids", IDS)
    universe.atoms.positions = POSITION
    universe.trajectory.ts.triclinic_dimensions = CELL
    return universe


@pytest.mark.parametrize("read", [from_ase, from_xarray, from_pymatgen, from_ovito])
def test_objects_give_the_bits_of_their_arrays(read):
    obj = read()
    assert as_configuration(obj)[3] == SLAB
    found = FEATURE.compute(obj)
    if read is from_ovito:
        expected = FEATURE.compute(POSITION + [3.0, -2.0, 1.0], CELL, NUMBERS, pbc=SLAB)
        np.testing.assert_allclose(found, arrays(), rtol=1e-9)  # the origin does not matter
    elif read is from_pymatgen:  # keeps fractional coordinates
        np.testing.assert_allclose(found, arrays(), rtol=1e-9)
        expected = FEATURE.compute(obj.cart_coords, CELL, NUMBERS, pbc=SLAB)
    else:
        expected = arrays()
    assert np.array_equal(found, expected)
    if read is not from_pymatgen:  # which has no ids
        assert as_configuration(obj).ids.tolist() == IDS.tolist()
    # a subset, and another periodicity
    assert np.array_equal(FEATURE.compute(obj, centers=[4, 2]), expected[[4, 2]])
    assert not np.array_equal(FEATURE.compute(obj, pbc=(True, True, True)), expected)


def test_mdanalysis_in_single_precision():
    universe = from_mdanalysis()
    position = POSITION.astype(np.float32).astype(np.float64)
    box = np.asarray(universe.trajectory.ts.triclinic_dimensions, dtype=np.float64)
    expected = FEATURE.compute(position, box, NUMBERS)
    assert np.array_equal(FEATURE.compute(universe), expected)
    assert np.array_equal(FEATURE.compute(universe.atoms), expected)
    np.testing.assert_allclose(expected, arrays((True,) * 3), rtol=1e-3, atol=1e-4)
    # a part of a universe keeps its neighbors, in the order of the group
    part = universe.atoms[[30, 3, 17]]
    assert np.array_equal(FEATURE.compute(part), expected[[30, 3, 17]])
    assert as_configuration(part).ids.tolist() == IDS.tolist()
    with pytest.raises(ParameterError, match=r"selects 3 of 36 atoms; leave out centers="):
        FEATURE.compute(part, centers=[0])
    # a universe without a box does not repeat
    universe.dimensions = None
    free = FEATURE.compute(position, np.eye(3), NUMBERS, pbc=(False,) * 3)
    assert np.array_equal(FEATURE.compute(universe.atoms), free)


def test_a_molecule_of_pymatgen_does_not_repeat():
    core = pytest.importorskip("pymatgen.core", reason="pymatgen is not installed")
    molecule = core.Molecule(symbols(), POSITION)
    assert np.array_equal(FEATURE.compute(molecule), arrays((False,) * 3))


def test_features_together_share_lists_and_keep_their_bits(monkeypatch):
    features = [MediumRange(Coordination()), FoldSymmetry(), Coordination(cutoff=3.0)]
    atoms = from_ase()
    alone = [feature.compute(atoms, centers=[3, 1, 9]) for feature in features]
    made = []
    start = LocalEnvironments.__init__
    monkeypatch.setattr(
        LocalEnvironments,
        "__init__",
        lambda self, *given, **named: (made.append(1), start(self, *given, **named))[1],
    )
    together = compute_together(features, atoms, centers=[3, 1, 9])
    assert len(made) == 1
    for found, expected in zip(together, alone, strict=True):
        assert np.array_equal(found, expected, equal_nan=True)
    assert len(features[0].compute_together([features[2]], atoms)[0]) == 36


def test_a_configuration_is_read_as_it_is():
    given = Configuration(POSITION, CELL, NUMBERS, SLAB)
    assert as_configuration(given) is given
    assert np.array_equal(FEATURE.compute(given), arrays())
    # the attributes decide, not the type
    named = dict(zip(("positions", "cell", "numbers", "pbc"), given[:4], strict=True))
    assert np.array_equal(FEATURE.compute(SimpleNamespace(**named)), arrays())


def test_other_programs_are_not_imported(monkeypatch):
    atoms = from_ase()
    for name in ("pymatgen", "ovito", "MDAnalysis", "xarray", "ase"):
        monkeypatch.setitem(sys.modules, name, None)  # an import would raise ImportError
    assert np.array_equal(FEATURE.compute(atoms), arrays())
    with pytest.raises(ParameterError, match="type object cannot be read"):
        FEATURE.compute(object())


def disordered():
    structure = from_pymatgen()
    structure[3] = {"Cu": 0.5, "Zr": 0.5}
    return structure


def unnamed_type():
    found = from_ovito()
    found.particles_.particle_types_.type_by_id_(7).name = "Type 7"
    return found


def no_elements():
    mda = pytest.importorskip("MDAnalysis", reason="MDAnalysis is not installed")
    return mda.Universe.empty(2, trajectory=True).atoms


def wrong_element():
    universe = from_mdanalysis()
    universe.atoms[21].element = "ZR"
    return universe


def two_frames():
    return xr.concat([from_xarray()] * 2, "frame", data_vars="minimal")


def lost_atoms():
    opened = '{"store": "glass.zarr", "content": "", "n_frames": 1, "n_atoms": 36}'
    return from_xarray().isel(atom=slice(5)).assign_attrs(mgdask_opened=opened)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: "glass.xyz", "type str cannot be read as a configuration; give ASE Atoms, a py"),
        (lambda: POSITION, "type numpy.ndarray cannot be read .* Arrays are given as position, ce"),
        (lambda: ase.Atoms("XCu"), "atom 0 of the ASE Atoms is not an element: .* number is 0; 1"),
        (disordered, "site 3 of the pymatgen structure is .*Cu.*Zr.*not one element; order"),
        (unnamed_type, "particle type 7 .* has the name 'Type 7', which is not an element symb"),
        (no_elements, "has no elements; add them, for example with universe.add_TopologyAttr"),
        (wrong_element, "element of atom 21: 'ZR' is not an element symbol .* mean 'Zr'"),
        (two_frames, r"has 2 frames, but a configuration is one frame; select it with ds.isel"),
        (lost_atoms, "has 5 of the 36 atoms of its store, so that neighbors would be missing"),
        (lambda: from_xarray().drop_vars("cell"), "the Dataset has no cell; a configuration need"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(make, message):
    with pytest.raises(ParameterError, match=message):
        FEATURE.compute(make())


def test_arguments_that_do_not_go_together():
    with pytest.raises(ParameterError, match="cell is missing; give position, cell and numbers"):
        FEATURE.compute(POSITION, numbers=NUMBERS)
    with pytest.raises(ParameterError, match="nonaffine reads more than one frame"):
        compute_together([NonAffine(cutoff=4.0)], from_ase())
    with pytest.raises(ParameterError, match=r"features must be features .* got 'soap'"):
        compute_together(["soap"], from_ase())
