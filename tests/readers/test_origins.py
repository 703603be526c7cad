"""Files that state no origin of the cell, in cells that change (D3).

In LAMMPS, fix npt changes the box about a fixed point, by default its center, so that
lo(t) = c - L(t)/2 (docs.lammps.org/fix_nh.html, fixedpoint).
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import mgdask
from mgdask.cli import cli
from mgdask.errors import AuditError, ParameterError, StoreError
from mgdask.geometry import fractional, unwrap
from mgdask.readers.indexing import take_inventory
from mgdask.readers.origins import infer_origins
from mgdask.readers.window import read_window
from tests.conftest import SPECIES
from tests.readers.test_lammps import paths, sample
from tests.readers.test_splitting import run_here

__all__ = ["sample"]


def lattice_steps(inventory, found, truth_inventory, truth):
    """The difference of two paths in fractions, less that of their first frames (frame,atom,3)."""

    def fractions(files, positions):
        return np.array([
            fractional(r, files.cell[k], files.origin[k]) for k, r in enumerate(positions)
        ])  # fmt: skip

    off = fractions(inventory, found) - fractions(truth_inventory, truth)
    return off - off[0]


@pytest.mark.parametrize("name", ["ort", "tri"])
def test_extxyz_of_lammps_in_a_cell_that_expands(sample, tmp_path, name):
    """The cell grows by 47 %; its corner moves by 0.18 of the cell. Before, zero was assumed.

    With zero, the largest step read as 0.47 of the cell in the triclinic run (truth
    0.436), so that unwrap refused a good file. In the orthogonal run it read as 0.448
    (truth 0.485), so that unwrap accepted an ambiguous one.
    """
    truth_inventory, truth = paths(sample(f"{name}_unwrap.dump"))
    inventory = take_inventory(sample("tri.xyz") if name == "tri" else ort_xyz(sample, tmp_path))
    (note,) = (note for note in inventory.notes if "does not state the origin" in note)
    assert "one center of the cell that fits all frames" in note
    wrong = fractional(inventory.origin - truth_inventory.origin, truth_inventory.cell[0])
    assert np.abs(wrong).max() < 0.01
    store = tmp_path / "a.zarr"
    mgdask.ingest(inventory.refs[0].path, store)
    dataset = mgdask.open_store(store)
    found = np.array([
        unwrap(dataset.position[k].values, dataset.image[k].values, dataset.cell[k].values)
        for k in range(6)
    ])  # fmt: skip
    off = lattice_steps(inventory, found, truth_inventory, truth)
    common = np.median(off, axis=1, keepdims=True)  # from the error of the center
    assert np.abs(common).max() < 0.003
    assert np.abs(off - common).max() < 2e-5  # six digits of the file: every image is right
    true_step = largest_step(truth_inventory, truth)
    zero = tmp_path / "zero.zarr"
    mgdask.ingest(inventory.refs[0].path, zero, origin=(0, 0, 0))
    good, bad = (store, zero) if name == "tri" else (zero, store)
    with pytest.raises(StoreError, match=r"moves 0\.4[79] of the cell|moves 0\.48 of the cell"):
        mgdask.unwrap(bad, tmp_path / "bad.zarr", progress=False)
    report = mgdask.unwrap(good, tmp_path / "good.zarr", progress=False)
    if name == "tri":
        assert true_step == pytest.approx(0.436, abs=0.001)
        assert report.largest_step == pytest.approx(true_step, abs=0.001)


def largest_step(inventory, path):
    steps = [fractional(r, inventory.cell[k], inventory.origin[k]) for k, r in enumerate(path)]
    return float(np.abs(np.diff(steps, axis=0)).max())


def ort_xyz(sample, tmp_path):
    """The extxyz file of the orthogonal run, as dump extxyz prints it."""
    inventory = take_inventory(sample("ort_time.dump"), species=SPECIES)
    with open(tmp_path / "ort.xyz", "w") as out:
        for k, frame in read_window(inventory):
            edges = np.diagonal(inventory.cell[k])
            lattice = "{:g} 0 0 0 {:g} 0 0 0 {:g}".format(*edges)
            out.write(
                f'300\nTimestep={200 * k} Time={0.4 * k:.6f} pbc="T T T" Lattice="{lattice}" '
            )
            out.write("Properties=species:S:1:pos:R:3\n")
            for z, r in zip(inventory.species, frame["position"], strict=True):
                out.write("{} {:g} {:g} {:g}\n".format("Zr" if z == 40 else "Cu", *r))
    return tmp_path / "ort.xyz"


def breathing(rng, frames, n_atoms, corner, tilted=False):
    """Wrapped positions of atoms that move with the cell, and its cells and origins.

    ``corner(lengths)`` gives the origin of a cell.
    """
    lengths = rng.uniform(8, 12, 3) * (1 + rng.uniform(-0.06, 0.06, (frames, 1)))
    tilt = np.zeros((3, 3))
    if tilted:
        tilt[[1, 2, 2], [0, 0, 1]] = rng.uniform(-0.3, 0.3, 3)
    cells = np.array([(np.eye(3) + tilt) * row[:, None] for row in lengths])
    origins = np.array([corner(row) for row in lengths])
    walk = rng.uniform(0, 1, (n_atoms, 3)) + np.cumsum(
        rng.normal(0, 0.05, (frames, n_atoms, 3)), axis=0
    )
    positions = np.einsum("fak,fkj->faj", walk % 1.0, cells) + origins[:, None]
    return cells, origins, walk, positions


def ranges(cells, positions):
    s = np.array([fractional(r, h) for r, h in zip(positions, cells, strict=True)])
    return s.min(axis=1), s.max(axis=1)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shift=st.sampled_from([-25.0, -3.0, 2.0, 4.5, 31.0]),
    tilted=st.booleans(),
    about=st.sampled_from(["center", "corner", "anywhere"]),
)
def test_origins_are_found_in_filled_cells(seed, shift, tilted, about):
    """The range of N wrapped fractions misses the faces by about 1/N."""
    rng = np.random.default_rng(seed)
    place = {
        "center": lambda lengths: shift - lengths / 2,
        "corner": lambda lengths: np.full(3, shift),
        "anywhere": lambda lengths: shift + rng.uniform(-3, 3, 3),
    }[about]
    cells, origins, _, positions = breathing(rng, 5, 1000, place, tilted)
    found, how = infer_origins(*ranges(cells, positions), cells)
    wrong = np.array([fractional(o, h) for o, h in zip(found - origins, cells, strict=True)])
    if about == "center" and not how.startswith("zero"):
        assert how.startswith("one center")
        assert np.abs(wrong).max() < 0.012
        # the error of a center is the same length in all frames, and cancels
        assert np.abs((found - origins) - (found - origins)[0]).max() < 1e-9
    # where all atoms are within 0.03 of the cell at zero, zero stays
    assert np.abs(wrong).max() < 0.05


def test_zero_is_kept_where_it_fits(rng):
    cells, _, walk, positions = breathing(rng, 5, 500, lambda lengths: np.zeros(3))
    assert infer_origins(*ranges(cells, positions), cells)[1].startswith("zero, which fits")
    # unwrapped positions, as ASE writes them
    unwrapped = np.einsum("fak,fkj->faj", walk + np.arange(5)[:, None, None] * 0.2, cells)
    found, how = infer_origins(*ranges(cells, unwrapped), cells)
    assert how == "zero, because the positions are not wrapped"
    assert not found.any()


def write_extxyz(path, cells, positions, origins=None):
    with open(path, "w") as out:
        for k, (cell, frame) in enumerate(zip(cells, positions, strict=True)):
            out.write(
                f'{len(frame)}\nTimestep={k} Lattice="{" ".join(map(repr, cell.ravel().tolist()))}"'
            )
            if origins is not None:
                out.write(' Origin="{} {} {}"'.format(*origins[k].tolist()))
            out.write(" Properties=species:S:1:pos:R:3\n")
            out.writelines("Cu {!r} {!r} {!r}\n".format(*r.tolist()) for r in frame)
    return path


def slab(rng, constant=False):
    """Atoms in half of a cell that breathes about its center: the faces are not reached."""
    cells, origins, walk, _ = breathing(rng, 5, 200, lambda lengths: 9.0 - lengths / 2)
    if constant:
        cells[:], origins[:] = cells[0], origins[0]
    walk[..., 2] = 0.45 + 0.5 * (walk[..., 2] % 1.0)
    positions = np.einsum("fak,fkj->faj", walk % 1.0, cells) + origins[:, None]
    return cells, origins, positions


def test_an_origin_that_cannot_be_known_is_refused_with_the_remedy(tmp_path, rng, monkeypatch):
    cells, origins, positions = slab(rng)
    path = write_extxyz(tmp_path / "a.xyz", cells, positions)
    with pytest.raises(
        AuditError, match=r"frame 0.*cannot be inferred from the positions"
    ) as error:
        take_inventory(path)
    for remedy in ("dump custom id type x y z ix iy iz", "--origin x,y,z", 'Origin="x y z"'):
        assert remedy in str(error.value)
    # both remedies work
    stated = write_extxyz(tmp_path / "b.xyz", cells, positions, origins)
    np.testing.assert_array_equal(take_inventory(stated).origin, origins)
    given = take_inventory(path, origin=(4, 4, 4))
    np.testing.assert_array_equal(given.origin, np.full((5, 3), 4.0))
    run_here(monkeypatch)
    result = CliRunner().invoke(
        cli, ["ingest", str(path), "--out", str(tmp_path / "c.zarr"), "--origin", "4,4,4"]
    )
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(mgdask.open_store(tmp_path / "c.zarr").origin, given.origin)
    with pytest.raises(ParameterError, match="origin="):
        take_inventory(path, origin=(1, 2))


def test_an_unknown_origin_does_no_harm_in_a_constant_cell(tmp_path, rng):
    cells, _, positions = slab(rng, constant=True)
    path = write_extxyz(tmp_path / "a.xyz", cells, positions)
    inventory = take_inventory(path)
    (note,) = (note for note in inventory.notes if "has no effect" in note)
    assert re.search(r"changes by at most 0\.000", note)
    assert not inventory.origin.any()


def test_h5md_of_lammps_states_no_origin_either(sample):
    """The run of lmp_ort.dump: box center (9, 2, 7), cell from 12 to 17 Å, 48 atoms."""
    pytest.importorskip("h5py")
    truth = take_inventory(sample("lmp_ort.dump"), species=SPECIES)
    np.testing.assert_allclose(truth.origin + np.diagonal(truth.cell, axis1=1, axis2=2) / 2,
                               np.tile([9.0, 2, 7], (7, 1)), atol=1e-9)  # fmt: skip
    inventory = take_inventory(sample("lmp_ort_plain.h5md"), species=SPECIES)
    wrong = inventory.origin - truth.origin
    assert np.abs(wrong - wrong[0]).max() < 1e-9
    assert np.abs(wrong).max() < 0.12  # of 12 to 17 Å
    exact = take_inventory(sample("lmp_ort_plain.h5md"), species=SPECIES, origin=(3, -4, 1))
    assert (exact.origin == [3, -4, 1]).all()
