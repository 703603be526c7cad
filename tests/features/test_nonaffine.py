"""D2min and local strain between two frames: the naive twin, closed cases, OVITO, bits."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import mgdask
from mgdask.errors import ParameterError
from mgdask.features import compute_features
from mgdask.features.environments import LocalEnvironments
from mgdask.features.nonaffine import NonAffine, nearest_path
from mgdask.kernels.neighbors import neighbor_list
from mgdask.kernels.nonaffine import nonaffine, within

GLASS = Path("/work/shared/data/cu65zr35_compression/glass_1.lammpstrj.gz")
EVERY = ("d2min", "d2min_sum", "shear", "volumetric", "F")
PERIODIC = (True, True, True)
CELLS = {
    "orthogonal": np.diag([13.0, 12.0, 14.0]),
    "triclinic": np.array([[13.0, 0.0, 0.0], [4.0, 12.0, 0.0], [-3.0, 2.5, 11.0]]),
    "turned": np.array([[12.0, 1.0, -2.0], [3.0, 13.0, 1.0], [-1.0, 4.0, 12.0]]),
}


def packing(rng, cell, n=90, apart=1.9):
    """Atoms thrown into the cell, none closer than ``apart``; true paths that stray over several cells."""
    inverse = np.linalg.inv(cell)
    found = np.empty((0, 3))
    while len(found) < n:
        trial = rng.random((1, 3)) @ cell
        s = (found - trial) @ inverse
        if not len(found) or np.linalg.norm((s - np.rint(s)) @ cell, axis=1).min() > apart:
            found = np.vstack([found, trial])
    return found + rng.integers(-2, 3, (n, 3)) @ cell


def pull(rng, cell, strain=0.08, turn=0.0):
    """A new cell and the gradient that leads to it: rows of ``cell @ F.T``."""
    gradient = np.eye(3) + strain * rng.uniform(-1, 1, (3, 3))
    c, s = np.cos(turn), np.sin(turn)
    gradient = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ gradient
    return gradient, cell @ gradient.T


def twin(reference, current, cell, new_cell, cutoff, pbc=PERIODIC, direction="forward", every=1):
    """(atom, 13) columns of EVERY, for every so many atoms, from the definitions: images tried one by one, least squares by LAPACK."""
    inverse = np.linalg.inv(cell)
    heights = 1.0 / np.linalg.norm(inverse, axis=0)
    spread = np.ptp(reference @ inverse, axis=0)
    reach = [
        int(np.ceil(cutoff / h + d)) + 1 if p else 0
        for h, d, p in zip(heights, spread, pbc, strict=True)
    ]
    shifts = np.array(list(itertools.product(*(range(-n, n + 1) for n in reach))))
    out = np.empty((len(reference), 13))
    for i in range(0, len(reference), every):
        before, after = [], []
        for j in range(len(reference)):
            r = reference[j] + shifts @ cell - reference[i]
            for k in np.flatnonzero(
                (np.linalg.norm(r, axis=1) <= cutoff) & ((shifts != 0).any(axis=1) | (i != j))
            ):
                before.append(r[k])
                after.append(current[j] + shifts[k] @ new_cell - current[i])
        r, q = np.array(before).reshape(-1, 3), np.array(after).reshape(-1, 3)
        if len(r) < 3 or np.linalg.matrix_rank(r, tol=1e-9) < 3:
            out[i] = np.nan
            continue
        f = np.linalg.lstsq(r, q, rcond=None)[0].T
        if direction == "forward":
            total = ((q - r @ f.T) ** 2).sum()
        else:  # Liu X. et al. (2022), Eq. (2): (1/CN) sum |r_j(t) - r_0(t) - J (r_j(t+dt) - r_0(t+dt))|^2
            j = np.linalg.lstsq(q, r, rcond=None)[0].T
            total = ((r - q @ j.T) ** 2).sum()
        e = 0.5 * (f.T @ f - np.eye(3))
        deviator = e - np.trace(e) / 3 * np.eye(3)
        out[i] = [
            total / len(r),
            total,
            np.sqrt(0.5 * (deviator**2).sum()),
            np.trace(e) / 3,
            *f.ravel(),
        ]
    return out[::every]


def columns(reference, current, cell, new_cell, cutoff=4.5, **kwargs):
    numbers = np.full(len(reference), 29)
    feature = NonAffine(cutoff=cutoff, quantities=EVERY)
    return feature.compute(reference, current, cell, new_cell, numbers, **kwargs)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_equals_the_twin(rng, cell):
    reference = packing(rng, cell)
    gradient, new_cell = pull(rng, cell)
    current = reference @ gradient.T + rng.normal(0, 0.3, reference.shape)
    naive = twin(reference, current, cell, new_cell, 4.5, every=3)
    assert np.isfinite(naive).all()
    np.testing.assert_allclose(
        columns(reference, current, cell, new_cell)[::3], naive, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("pbc", [PERIODIC, (True, False, True), (False, False, False)])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_backward_equals_the_twin(rng, cell, pbc):
    """Liu X. et al. (2022), Eq. (2): t + dt is mapped onto t; the strain is that of the forward map."""
    reference = packing(rng, cell)
    reference -= np.rint(reference @ np.linalg.inv(cell)) @ cell
    gradient, new_cell = pull(rng, cell)
    current = reference @ gradient.T + rng.normal(0, 0.3, reference.shape)
    naive = twin(reference, current, cell, new_cell, 4.5, pbc, "backward")
    numbers = np.full(len(reference), 29)
    feature = NonAffine(cutoff=4.5, quantities=EVERY, direction="backward")
    arguments = reference, current, cell, new_cell, numbers
    found = feature.compute(*arguments, pbc=pbc)
    np.testing.assert_allclose(found, naive, rtol=1e-11, atol=1e-11)
    forward = columns(reference, current, cell, new_cell, pbc=pbc)
    assert found[:, 2:].tobytes() == forward[:, 2:].tobytes()
    assert np.nanmedian(np.abs(found[:, 0] / forward[:, 0] - 1)) > 0.02
    # without the strain, only the backward map is fitted; neighbours by pair, and blocks
    equal = {"Cu-Cu": 4.5}
    alone = NonAffine(cutoff=equal, quantities=("d2min_sum",), direction="backward")
    some = rng.permutation(len(reference))[:20]
    part = alone.compute(*arguments, centers=some, pbc=pbc)
    assert part[:, 0].tobytes() == found[some, 1].tobytes()


def test_backward_and_forward_in_a_cell_smaller_than_the_cutoff(rng):
    cell = np.array([[3.1, 0.0, 0.0], [1.2, 2.9, 0.0], [-0.7, 0.9, 3.3]])
    reference = rng.random((3, 3)) @ cell + rng.integers(-3, 4, (3, 3)) @ cell
    gradient, new_cell = pull(rng, cell)
    current = reference @ gradient.T + rng.normal(0, 0.2, (3, 3))
    naive = twin(reference, current, cell, new_cell, 6.0, direction="backward")
    feature = NonAffine(cutoff=6.0, quantities=EVERY, direction="backward")
    found = feature.compute(reference, current, cell, new_cell, np.full(3, 29))
    np.testing.assert_allclose(found, naive, rtol=1e-12, atol=1e-12)
    # an affine map is undone whichever way it goes
    affine = feature.compute(reference, reference @ gradient.T, cell, new_cell, np.full(3, 29))
    np.testing.assert_allclose(affine[:, :2], 0.0, atol=1e-26)


def test_backward_is_close_to_forward_on_a_glass(tmp_path):
    """Compression by 4 %: Pearson 0.990, median difference 1.8 %; the audit found 0.987-0.996 and 1.7 %."""
    dump = Path(__file__).parents[2] / "notebooks" / "data" / "cu65zr35_1.lammpstrj.zst"
    mgdask.ingest(str(dump), tmp_path / "g.zarr", species=("Cu", "Zr"), timestep=0.002)
    ds = mgdask.open_store(tmp_path / "g.zarr")
    frames = [ds[name][k].values for name in ("position", "cell") for k in (0, -1)]
    forward, backward = (
        NonAffine(quantities=("d2min",), direction=direction).compute(
            *frames, ds.species.values, unwrapped=False
        )[:, 0]
        for direction in ("forward", "backward")
    )
    assert abs(np.corrcoef(forward, backward)[0, 1] - 0.9904) < 1e-3
    assert abs(np.median(np.abs(backward / forward - 1)) - 0.0179) < 1e-3


@pytest.mark.parametrize("pbc", [(True, False, True), (False, False, False)])
def test_free_axes(rng, pbc):
    cell = CELLS["triclinic"]
    reference = packing(rng, cell)
    reference -= np.rint(reference @ np.linalg.inv(cell)) @ cell
    gradient, new_cell = pull(rng, cell)
    current = reference @ gradient.T + rng.normal(0, 0.3, reference.shape)
    naive = twin(reference, current, cell, new_cell, 4.5, pbc)
    ours = columns(reference, current, cell, new_cell, pbc=pbc)
    np.testing.assert_allclose(ours, naive, rtol=1e-11, atol=1e-11)
    # a free axis without a cell vector, and one that changes without meaning
    repeats = np.array(pbc)[:, None]
    bare, new_bare, other = (
        np.where(repeats, *pair) for pair in ((cell, 0.0), (new_cell, 0.0), (new_cell, 77.0 * cell))
    )
    found = columns(reference, current, bare, new_bare, pbc=pbc)
    np.testing.assert_allclose(found, ours, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        columns(reference, current, cell, other, pbc=pbc), ours, rtol=1e-12, atol=1e-12
    )


def test_cells_smaller_than_the_cutoff(rng):
    cell = np.array([[3.1, 0.0, 0.0], [1.2, 2.9, 0.0], [-0.7, 0.9, 3.3]])
    reference = rng.random((3, 3)) @ cell + rng.integers(-3, 4, (3, 3)) @ cell
    gradient, new_cell = pull(rng, cell)
    current = reference @ gradient.T + rng.normal(0, 0.2, (3, 3))
    naive = twin(reference, current, cell, new_cell, 6.0)
    np.testing.assert_allclose(
        columns(reference, current, cell, new_cell, 6.0), naive, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_homogeneous_deformation_leaves_nothing(rng, cell):
    reference = packing(rng, cell)
    gradient, new_cell = pull(rng, cell, 0.2)
    found = columns(reference, reference @ gradient.T, cell, new_cell)
    assert found[:, 1].max() < 1e-24
    np.testing.assert_allclose(
        found[:, 4:], np.broadcast_to(gradient.ravel(), (len(found), 9)), rtol=0, atol=1e-13
    )
    strain = 0.5 * (gradient.T @ gradient - np.eye(3))
    np.testing.assert_allclose(found[:, 3], np.trace(strain) / 3, atol=1e-13)


def test_shear_of_the_box_only(rng):
    """The tilt of the box changes and atoms keep their fractions: simple shear, eta = sqrt(g^2/4 + g^4/12)."""
    cell, g = np.diag([13.0, 12.0, 14.0]), 0.03
    new_cell = cell.copy()
    new_cell[1, 0] = g * 12.0
    reference = packing(rng, cell)
    found = columns(reference, reference @ np.linalg.inv(cell) @ new_cell, cell, new_cell)
    np.testing.assert_allclose(found[:, 2], np.sqrt(g**2 / 4 + g**4 / 12), rtol=1e-12)
    np.testing.assert_allclose(found[:, 3], g**2 / 6, rtol=1e-11)


def test_small_strain_keeps_its_digits(rng):
    cell, g = np.diag([13.0, 12.0, 14.0]), 1e-9
    new_cell = cell.copy()
    new_cell[1, 0] = g * 12.0
    reference = packing(rng, cell)
    reference -= np.floor(reference / np.diag(cell)) * np.diag(cell)
    found = columns(reference, reference + g * reference[:, 1:2] * [1.0, 0.0, 0.0], cell, new_cell)
    np.testing.assert_allclose(
        found[:, 2], g / 2, rtol=1e-5
    )  # positions of 10 Å have 2e-15 Å of rounding


def test_translation_and_rotation(rng):
    cell = CELLS["triclinic"]
    reference = packing(rng, cell)
    found = columns(reference, reference + [3.0, -70.0, 0.1], cell, cell)
    assert found[:, 1].max() < 1e-24
    assert abs(found[:, 2:4]).max() < 1e-13
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    found = columns(reference, reference @ turn.T, cell, cell @ turn.T)
    assert found[:, 1].max() < 1e-23
    assert abs(found[:, 2:4]).max() < 1e-13
    np.testing.assert_allclose(
        found[:, 4:], np.broadcast_to(turn.ravel(), (len(found), 9)), rtol=0, atol=1e-13
    )
    # D2 and strain do not see a rotation of what else happened
    gradient, new_cell = pull(rng, cell)
    current = reference @ gradient.T + rng.normal(0, 0.3, reference.shape)
    plain = columns(reference, current, cell, new_cell)
    turned = columns(reference, current @ turn.T, cell, new_cell @ turn.T)
    np.testing.assert_allclose(turned[:, :4], plain[:, :4], rtol=1e-11, atol=1e-12)


def test_atoms_that_cross_the_boundary(rng):
    """Wrapped positions and the shortest path give what true paths give."""
    for cell in CELLS.values():
        reference = packing(rng, cell)
        gradient, new_cell = pull(rng, cell)
        current = reference @ gradient.T + rng.normal(0, 0.3, reference.shape)
        inside = [
            x - np.floor(x @ np.linalg.inv(h)) @ h
            for x, h in ((reference, cell), (current, new_cell))
        ]
        crossed = np.abs((inside[1] - inside[0]) @ np.linalg.inv(cell)).max(axis=1) > 0.5
        assert crossed.sum() > 2
        ours = columns(reference, current, cell, new_cell)
        np.testing.assert_allclose(
            columns(*inside, cell, new_cell, unwrapped=False), ours, rtol=1e-10, atol=1e-11
        )
        path = nearest_path(*inside, cell, new_cell, PERIODIC)
        np.testing.assert_allclose(
            path - inside[0] @ gradient.T, current - reference @ gradient.T, atol=1e-11
        )


def test_fewer_than_three_neighbors_and_planes(rng):
    cell, numbers = 40.0 * np.eye(3), np.full(4, 29)
    feature = NonAffine(cutoff=3.0, quantities=EVERY)
    corner = np.array([[0, 0, 0], [2.0, 0, 0], [0, 2.0, 0], [0, 0, 2.0]])
    found = feature.compute(corner, corner * 1.1, cell, cell, numbers)
    np.testing.assert_allclose(
        found[0], [0, 0, 0, 0.105, 1.1, 0, 0, 0, 1.1, 0, 0, 0, 1.1], atol=1e-14
    )
    assert np.isfinite(found).all()  # the four see each other
    one = NonAffine(cutoff=2.5, quantities=EVERY).compute(corner, corner, cell, cell, numbers)
    assert np.isfinite(one[0]).all()
    assert np.isnan(one[1:]).all()
    assert np.isnan(feature.compute(corner[:2], corner[:2], cell, cell, numbers[:2])).all()
    assert feature.compute(corner[:0], corner[:0], cell, cell, numbers[:0]).shape == (0, 13)
    for _ in range(50):
        basis, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        flat = np.vstack([np.zeros(3), rng.normal(0, 1.0, (8, 2)) @ basis[:2]]) + rng.normal(
            0, 10, 3
        )
        environments = LocalEnvironments(flat, cell, np.full(9, 29), (False,) * 3)
        out = np.empty((9, 13))
        marks = NonAffine(cutoff=9.0, quantities=EVERY).describe_pair(
            environments, flat * 1.01, cell, np.arange(9), out
        )
        assert np.isnan(out).all()
        assert marks["flat_neighborhood"].all()
        assert not marks["too_few_neighbors"].any()
        thick = np.vstack([flat, flat[0] + 0.01 * basis[2]])  # 0.01 Å out of the plane is enough
        assert np.isfinite(columns(thick, thick, cell, cell, 9.0, pbc=(False,) * 3)).all()


def test_marks(rng):
    cell = 40.0 * np.eye(3)
    position = np.array(
        [[0, 0, 0], [2.0, 0, 0], [0, 2.0, 0], [0, 0, 2.0], [-2.0, 0, 0], [20.0, 20, 20]]
    )
    environments = LocalEnvironments(position, cell, np.full(6, 29), PERIODIC)
    out = np.empty((3, 4))
    marks = NonAffine(cutoff=2.5).describe_pair(
        environments, position, cell, np.array([5, 0, 1]), out
    )
    assert marks["too_few_neighbors"].tolist() == [True, False, True]
    assert np.isnan(out).all(axis=1).tolist() == [True, False, True]


def test_cutoffs_of_pairs(rng):
    cell = CELLS["triclinic"]
    reference = packing(rng, cell)
    gradient, new_cell = pull(rng, cell)
    current = reference @ gradient.T + rng.normal(0, 0.3, reference.shape)
    numbers = rng.choice([40, 29], len(reference))
    offset, row, vector, distance = neighbor_list(reference, cell, 5.0)
    limit = {(29, 29): 4.0, (29, 40): 5.0, (40, 29): 5.0, (40, 40): 4.6}
    center = np.repeat(np.arange(len(reference)), np.diff(offset))
    keep = np.array(
        [d <= limit[numbers[i], numbers[j]] for i, j, d in zip(center, row, distance, strict=True)]
    )
    assert 0.2 < keep.mean() < 0.95
    slot, table = (numbers == 40).astype(np.int64), np.array([[4.0, 5.0], [5.0, 4.6]])
    first, last, pick = within(
        np.arange(len(reference)), offset[:-1], offset[1:], row, distance, slot, table
    )
    np.testing.assert_array_equal(pick, np.flatnonzero(keep))
    np.testing.assert_array_equal(last - first, np.bincount(center[keep], minlength=len(reference)))
    ours = NonAffine(cutoff={"Zr-Zr": 4.6, "Zr-Cu": 5, "Cu-Cu": 4.0}, quantities=EVERY).compute(
        reference, current, cell, new_cell, numbers
    )
    for i in range(len(reference)):
        mine = keep & (center == i)
        r = vector[mine]
        shift = np.rint((r - (reference[row[mine]] - reference[i])) @ np.linalg.inv(cell))
        q = current[row[mine]] + shift @ new_cell - current[i]
        f = np.linalg.lstsq(r, q, rcond=None)[0].T
        np.testing.assert_allclose(ours[i, 1], ((q - r @ f.T) ** 2).sum(), rtol=1e-11)
        np.testing.assert_allclose(ours[i, 0], ours[i, 1] / mine.sum(), rtol=1e-13)
    same = NonAffine(cutoff={"Zr-Zr": 4.5, "Cu-Zr": 4.5, "Cu-Cu": 4.5}, quantities=EVERY).compute(
        reference, current, cell, new_cell, numbers
    )
    np.testing.assert_array_equal(same, columns(reference, current, cell, new_cell))


def test_blocks_of_centers_have_the_same_bits(rng):
    cell = CELLS["turned"]
    reference = packing(rng, cell)
    gradient, new_cell = pull(rng, cell)
    current = reference @ gradient.T + rng.normal(0, 0.3, reference.shape)
    numbers = rng.choice([29, 40], len(reference))
    for cutoff in (4.5, {"Cu-Cu": 4.5, "Cu-Zr": 5.0, "Zr-Zr": 4.0}):
        feature = NonAffine(cutoff=cutoff, quantities=EVERY)
        whole = feature.compute(reference, current, cell, new_cell, numbers)
        for some in np.array_split(rng.permutation(len(reference)), 5):
            part = feature.compute(reference, current, cell, new_cell, numbers, centers=some)
            assert part.tobytes() == whole[some].tobytes()
        environments = LocalEnvironments(reference, cell, numbers, PERIODIC)
        for some in np.array_split(np.arange(len(reference)), 7):
            out = np.empty((len(some), 13))
            feature.describe_pair(environments, current, new_cell, some, out)
            assert out.tobytes() == whole[some].tobytes()


def test_nearly_flat_neighbors_stay_accurate(rng):
    """Layers ever thinner: D2 is a minimum, so it keeps digits that F loses."""
    for thin in (1e-2, 1e-3, 1e-4):
        r = rng.normal(size=(15, 3)) * [1.0, 1.0, thin]
        q = r + 0.1 * rng.normal(size=(15, 3))
        reference, current = np.vstack([np.zeros(3), r]), np.vstack([np.zeros(3), q])
        zero, box = np.zeros(1, dtype=np.int64), 50.0 * np.eye(3)
        found = nonaffine(zero, zero, zero + 15, np.arange(1, 16), r, reference, current, box, box)
        f = np.linalg.lstsq(r, q, rcond=None)[0].T
        np.testing.assert_allclose(found.d2[0], ((q - r @ f.T) ** 2).sum(), rtol=1e-11)
        np.testing.assert_allclose(found.gradient[0].reshape(3, 3), f, rtol=0, atol=1e-14 / thin**3)


def test_parameters_and_labels():
    feature = NonAffine(
        cutoff={"Zr-Cu": 3.6, "Zr-Zr": 4.2, "Cu-Cu": 3.4}, quantities=("shear", "F")
    )
    assert feature.cutoff == (("Cu-Cu", 3.4), ("Cu-Zr", 3.6), ("Zr-Zr", 4.2))
    assert feature.labels[:3] == ("shear", "F_xx", "F_xy")
    assert feature.n_columns == 10
    again = NonAffine(**json.loads(json.dumps(feature.parameters())))
    assert again == feature
    assert hash(again) == hash(feature)
    assert feature.named("d2").dim == "d2_feature"
    assert feature.footprint(1000, 100) > NonAffine().footprint(1000, 100) > 0
    back = NonAffine(direction="backward")
    assert back.footprint(1000, 100) > NonAffine().footprint(1000, 100)
    assert back.parameters() == {**NonAffine().parameters(), "direction": "backward"}
    assert NonAffine(**back.parameters()) == back
    back.prepare()
    with pytest.raises(
        ParameterError, match="direction='back' is not allowed; it must be 'forward' or"
    ):
        NonAffine(direction="back")
    feature.prepare()
    NonAffine().prepare()
    for cutoff in (
        0.0,
        np.inf,
        {},
        {"Cu": 3.0},
        {"Cu-Xx": 3.0},
        {"Cu-Zr": 3.0, "Zr-Cu": 3.0},
        {"Cu-Zr": -1.0},
    ):
        with pytest.raises(ParameterError):
            NonAffine(cutoff=cutoff)
    for quantities in ((), ("shear", "shear"), ("d2",)):
        with pytest.raises(ParameterError):
            NonAffine(quantities=quantities)


def test_what_is_refused(rng):
    cell, numbers = 20.0 * np.eye(3), np.full(5, 40)
    position = rng.random((5, 3)) * 20
    with pytest.raises(ParameterError, match=r"lacks Zr-Zr"):
        NonAffine(cutoff={"Cu-Zr": 3.0}).compute(position, position, cell, cell, numbers)
    with pytest.raises(ParameterError, match=r"current: numbers must be 4"):
        NonAffine().compute(position, position[:4], cell, cell, numbers)
    with pytest.raises(ParameterError, match=r"current: position of atom 2 is not finite"):
        NonAffine().compute(
            position, np.where(np.arange(5)[:, None] == 2, np.nan, position), cell, cell, numbers
        )
    with pytest.raises(ParameterError, match=r"more than one frame.*use NonAffine\(...\).compute"):
        compute_features(
            (NonAffine(),), position[None], cell[None], numbers, np.arange(5), PERIODIC
        )


def ovito_strain(reference, current, cell, new_cell, cutoff, origins=(0.0, 0.0)):
    """D2min, shear and volumetric strain of OVITO's AtomicStrainModifier, without affine mapping."""
    pytest.importorskip("ovito", reason="OVITO is not installed")
    from ovito.data import DataCollection
    from ovito.modifiers import AtomicStrainModifier
    from ovito.pipeline import Pipeline, StaticSource

    def source(position, box, origin):
        data = DataCollection()
        data.create_particles(count=len(position)).create_property("Position", data=position)
        data.create_cell(np.column_stack([box.T, np.broadcast_to(origin, 3)]), pbc=PERIODIC)
        return StaticSource(data=data)

    modifier = AtomicStrainModifier(cutoff=cutoff, output_nonaffine_squared_displacements=True)
    modifier.output_deformation_gradients = True
    modifier.reference = source(reference, cell, origins[0])
    pipeline = Pipeline(source=source(current, new_cell, origins[1]))
    pipeline.modifiers.append(modifier)
    found = pipeline.compute().particles
    gradient = (
        found["Deformation Gradient"][...].reshape(-1, 3, 3).transpose(0, 2, 1).reshape(-1, 9)
    )
    names = ("Nonaffine Squared Displacement", "Shear Strain", "Volumetric Strain")
    return np.column_stack([*(found[name][...] for name in names), gradient])


@pytest.mark.peers
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_equals_ovito(rng, cell):
    reference = packing(rng, cell)
    gradient, new_cell = pull(rng, cell)
    current = reference @ gradient.T + rng.normal(0, 0.3, reference.shape)
    inside = [
        x - np.floor(x @ np.linalg.inv(h)) @ h for x, h in ((reference, cell), (current, new_cell))
    ]
    theirs = ovito_strain(*inside, cell, new_cell, 4.5)
    np.testing.assert_allclose(
        columns(reference, current, cell, new_cell)[:, 1:], theirs, rtol=1e-10, atol=1e-10
    )
    ours = columns(*inside, cell, new_cell, unwrapped=False)[:, 1:]
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.peers
def test_equals_ovito_in_a_cell_smaller_than_the_cutoff(rng):
    cell = np.array([[3.1, 0.0, 0.0], [1.2, 2.9, 0.0], [-0.7, 0.9, 3.3]])
    reference = rng.random((3, 3)) @ cell
    gradient, new_cell = pull(rng, cell)
    current = reference @ gradient.T + rng.normal(0, 0.1, (3, 3))
    theirs = ovito_strain(reference, current, cell, new_cell, 4.5)
    np.testing.assert_allclose(
        columns(reference, current, cell, new_cell)[:, 1:], theirs, rtol=1e-10, atol=1e-10
    )


def dump_frame(step):
    """Box bounds (3,2), and (atom,8) id, type, x, y, z, ix, iy, iz by id, of one frame of the compressed glass."""
    with gzip.open(GLASS, "rt") as lines:
        while next(lines):
            now = int(next(lines))
            head = [next(lines) for _ in range(7)]
            n = int(head[1])
            body = list(itertools.islice(lines, n))
            if now == step:
                table = np.array([line.split() for line in body], dtype=float)
                return np.array([line.split() for line in head[3:6]], dtype=float), table[
                    np.argsort(table[:, 0])
                ]
    raise AssertionError(step)


@pytest.mark.peers
@pytest.mark.skipif(not GLASS.exists(), reason="the compressed glass is not here")
def test_equals_ovito_on_a_compressed_glass():
    (low, before), (new_low, after) = dump_frame(0), dump_frame(20000)
    cell, new_cell = np.diag(low[:, 1] - low[:, 0]), np.diag(new_low[:, 1] - new_low[:, 0])
    inside = before[:, 2:5].copy(), after[:, 2:5].copy()
    theirs = ovito_strain(*inside, cell, new_cell, 4.5, (low[:, 0], new_low[:, 0]))
    paths = inside[0] + before[:, 5:8] @ cell, inside[1] + after[:, 5:8] @ new_cell
    ours = columns(*paths, cell, new_cell)[:, 1:]
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)
    ours = columns(inside[0], inside[1], cell, new_cell, unwrapped=False)[:, 1:]
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)
