"""Extended XYZ files of elements and of samples, read by ASE and by OVITO."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import ase.io
import numpy as np
import pytest

from mgdask.errors import ParameterError, StoreError
from mgdask.store.open import check_complete
from mgdask.studies.barcode.assignment import with_assigned_polyhedra
from mgdask.studies.barcode.elements import Origin, element_table
from mgdask.studies.barcode.export import (
    element_places,
    environment,
    environment_text,
    extxyz,
    write_elements,
    write_sample,
)
from mgdask.studies.barcode.origins import entry_frames
from mgdask.studies.barcode.polyhedra import kernel_polyhedra
from tests.plain_feature import PlainFeature
from tests.reference.configurations import BCC, crystal
from tests.reference.soap import neighbors

NUMBERS = np.array([29, 40])


def bcc_table(entries=(3, 8), store="crystal"):
    """Two elements, both atoms of a CsCl crystal, of 4 samples with 10 entries."""
    polyhedra = kernel_polyhedra(*crystal(BCC, 3.0), NUMBERS, [0, 1])
    origins = [Origin(store, 0, 1, "Cu"), Origin(store, 0, 2, "Zr")]
    fractions = np.random.default_rng(4).dirichlet(np.ones(10), size=4)
    return element_table(
        entries, [0.5, 0.25], origins, polyhedra, fractions, np.arange(4.0), list("abcd"),
        n_resamples=20,
    )  # fmt: skip


def test_environment_of_bcc():
    """Shells of 1, 8, 6 and 12 atoms; the Voronoi cell has 14 facets."""
    a = 3.0
    found = environment(*crystal(BCC, a), NUMBERS, 1, radius=4.3)
    assert len(found.position) == 1 + 8 + 6 + 12
    assert not found.position[0].any()
    shells = np.repeat([0, np.sqrt(3) / 2, 1, np.sqrt(2)], [1, 8, 6, 12]) * a
    np.testing.assert_allclose(found.distance, shells)
    np.testing.assert_allclose(np.linalg.norm(found.position, axis=1), shells)
    assert found.kernel.tolist() == [True] * 15 + [False] * 12
    assert found.numbers.tolist() == [40] + [29] * 8 + [40] * 18


def test_images_are_moved_next_to_the_center(rng):
    """An atom in the corner of a cell; the naive list of neighbors has all images."""
    cell = np.array([[9.0, 0, 0], [1.0, 9.0, 0], [0, -2.0, 10.0]])
    position = rng.random((40, 3)) @ cell
    position[0] = 0.01
    found = environment(position, cell, np.full(40, 29), 0, radius=5.0)
    twin = [(j, d) for i, j, *d in neighbors(position, cell, 5.0, (True,) * 3) if i == 0]
    twin.sort(key=lambda pair: np.linalg.norm(pair[1]))
    assert found.atom_id[1:].tolist() == [j for j, _ in twin]
    np.testing.assert_allclose(found.position[1:], [d for _, d in twin], atol=1e-12)
    back = position[0] + found.position[1:]
    shift = np.linalg.solve(cell.T, (back - position[found.atom_id[1:]]).T).T
    np.testing.assert_allclose(shift, np.rint(shift), atol=1e-9)
    assert np.abs(np.rint(shift)).max() >= 1


def test_elements_are_read_by_ase(tmp_path):
    table = bcc_table()
    found = [environment(*crystal(BCC, 3.0), NUMBERS, k) for k in (0, 1)]
    paths = write_elements(tmp_path / "elements", found, table)
    assert [path.name for path in paths] == [
        "elements.extxyz",
        "s1_entry3.extxyz",
        "s2_entry8.extxyz",
    ]
    frames = ase.io.read(paths[0], ":")
    assert len(frames) == 2
    for atoms, path, one, element in zip(frames, paths[1:], found, table.elements, strict=True):
        assert atoms == ase.io.read(path)
        assert not atoms.pbc.any()
        assert atoms.numbers.tolist() == one.numbers.tolist()
        np.testing.assert_allclose(atoms.positions, one.position, atol=1e-8)
        assert not atoms.positions[0].any()
        assert atoms.arrays["kernel"].tolist() == one.kernel.tolist()
        np.testing.assert_allclose(atoms.arrays["distance"], one.distance, atol=1e-6)
        info = atoms.info
        assert info["polyhedron"] == "<0,6,0,8>"
        assert (info["label"], info["entry"], info["rank"]) == (
            element.label,
            element.entry,
            element.rank,
        )
        assert info["energy_correlation"] == pytest.approx(element.pearson.value)
        assert info["shap_eV_per_sample"] == pytest.approx(element.shap)
        assert (info["origin_store"], info["origin_frame"]) == ("crystal", 0)
        assert info["origin_atom_id"] == element.origin.atom_id
        assert (info["group"], bool(info["kasper"])) == (1, True)


def test_text_that_needs_quotes(tmp_path):
    path = tmp_path / "one.extxyz"
    path.write_text(extxyz(NUMBERS[:1], np.zeros((1, 3)), {}, {"note": 'a "b" = c, d'}))
    assert ase.io.read(path).info["note"] == 'a "b" = c, d'


def test_places_of_atoms():
    table = bcc_table(entries=(8, 3))
    place, group = element_places([3.0, np.nan, 8.0, 5.0, 9.0], table)
    assert place.tolist() == [1, -1, 0, -1, -1]
    assert group.tolist() == [1, 0, 1, 0, 0]


def sample(path):
    cell = np.array([[8.0, 0, 0], [0.5, 8.0, 0], [0, 0, 9.0]])
    position = np.random.default_rng(1).random((6, 3)) @ cell
    entry = np.array([3.0, 8.0, 1.0, np.nan, 8.0, 3.0])
    return write_sample(
        path, position, cell, np.array([29, 40] * 3), entry, bcc_table(),
        similarity=np.linspace(0.8, 0.9, 6), atom_id=np.arange(11, 17), about={"frame": 4},
    ), position, cell  # fmt: skip


def test_sample_is_read_by_ase(tmp_path):
    path, position, cell = sample(tmp_path / "sample.extxyz")
    atoms = ase.io.read(path)
    np.testing.assert_allclose(atoms.cell, cell)
    np.testing.assert_allclose(atoms.positions, position, atol=1e-8)
    assert atoms.pbc.all()
    assert atoms.arrays["id"].tolist() == list(range(11, 17))
    assert atoms.arrays["entry"].tolist() == [3, 8, 1, -1, 8, 3]
    assert atoms.arrays["element"].tolist() == [1, 2, 0, 0, 2, 1]
    assert atoms.arrays["group"].tolist() == [1, 1, 0, 0, 1, 1]
    np.testing.assert_allclose(atoms.arrays["similarity"], np.linspace(0.8, 0.9, 6))
    blue, gray = atoms.arrays["color"][0], atoms.arrays["color"][2]
    assert blue[2] > blue[0]
    assert gray[0] == gray[1] == gray[2]
    assert atoms.info["frame"] == 4


@pytest.mark.peers
def test_files_are_read_by_ovito(tmp_path):
    io = pytest.importorskip("ovito.io", reason="OVITO is not installed")
    path, position, _ = sample(tmp_path / "sample.extxyz")
    data = io.import_file(str(path)).compute()
    np.testing.assert_allclose(data.particles.positions, position, atol=1e-8)
    assert np.array(data.particles["group"]).tolist() == [1, 1, 0, 0, 1, 1]
    np.testing.assert_allclose(data.particles.colors[2], [0.75] * 3)
    found = environment(*crystal(BCC, 3.0), NUMBERS, 0)
    other = tmp_path / "element.extxyz"
    other.write_text(environment_text(found, bcc_table().elements[0]))
    data = io.import_file(str(other)).compute()
    assert data.particles.count == len(found.position)
    assert data.attributes["polyhedron"] == "<0,6,0,8>"


def test_a_radius_must_be_positive():
    with pytest.raises(ParameterError, match="radius=0 must be a distance"):
        environment(*crystal(BCC, 3.0), NUMBERS, 0, radius=0)


def dictionary_of(store, atom_id, frame, content=None):
    """What is read of a dictionary of one store."""
    content = content or check_complete(store)[1]
    n = len(atom_id)
    return SimpleNamespace(
        path="ules.zarr",
        species=np.full(n, 29),
        source=np.zeros(n, dtype=int),
        frame=np.asarray(frame),
        atom_id=np.asarray(atom_id),
        sources=(SimpleNamespace(path=str(store), content=content),),
    )


def test_frames_of_entries(glass_store, glass, tmp_path):
    """The last frame of the glass; a store that has moved is found by its content."""
    position, cell, numbers = glass
    dictionary = dictionary_of(glass_store, [5, 1700], [-1 % _n_frames(glass_store)] * 2)
    first, second = entry_frames(dictionary, [0, 1])
    assert first.position is second.position
    np.testing.assert_array_equal(second.position, position)
    assert second.atom_id[second.row] == 1700
    assert second.origin.store == "glass"
    expected = kernel_polyhedra(position, cell, numbers, [second.row])[0]
    assert second.polyhedron() == expected
    around = second.environment(radius=3.0)
    assert around.atom_id[0] == 1700
    moved = tmp_path / "moved.zarr"
    shutil.copytree(glass_store, moved)
    away = dictionary_of(tmp_path / "away.zarr", [5], [0], check_complete(glass_store)[1])
    assert entry_frames(away, [0], [moved])[0].origin.store == "moved"
    with pytest.raises(StoreError, match=r"ules\.zarr: sample 0, .*away\.zarr"):
        entry_frames(away, [0])
    other = dictionary_of(moved, [5], [0], "0")
    with pytest.raises(StoreError, match=r"moved\.zarr has different content"):
        entry_frames(other, [0])


def _n_frames(store):
    return check_complete(store)[0]["step"].shape[0]


@dataclass(frozen=True)
class EvenAtoms(PlainFeature):
    """Entry 8 for even rows, 3 for every third of the others, none for the rest."""

    family = "even_atoms"
    labels = ("entry",)

    def describe(self, environments, centers, out):
        out[:, 0] = np.where(centers % 2 == 0, 8.0, np.where(centers % 3 == 0, 3.0, np.nan))
        return {}


def test_polyhedra_of_assigned_atoms_are_streamed(client, glass_store, glass):
    position, cell, numbers = glass
    n_frames = _n_frames(glass_store)
    table, all_atoms = with_assigned_polyhedra(
        bcc_table(), EvenAtoms(), [glass_store], max_frames=1, client=client, progress=False
    )
    assert all_atoms.frame.tolist() == [0]
    table, all_atoms = with_assigned_polyhedra(
        bcc_table(), EvenAtoms(), [glass_store], client=client, progress=False
    )
    assert all_atoms.frame.tolist() == list(range(n_frames))
    assert all_atoms.store == (Path(glass_store).stem,) * n_frames
    third, even = (one.assigned for one in table.elements)
    n_atoms = len(numbers)
    assert even.n_atoms == n_frames * (n_atoms // 2)
    assert third.n_atoms == n_frames * len(range(3, n_atoms, 6))
    found = kernel_polyhedra(position, cell, numbers, np.arange(n_atoms))
    assert all_atoms.icosahedral[-1] == np.mean([one.icosahedral for one in found])
    assert all_atoms.kasper[-1] == np.mean([one.kasper for one in found])
    assert sum(even.fractions) <= 1.0
    assert even.own == 0.0  # no bcc in a glass
    with pytest.raises(ParameterError, match="max_frames=0 must be at least 1"):
        with_assigned_polyhedra(bcc_table(), EvenAtoms(), [glass_store], max_frames=0)
