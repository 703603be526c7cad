"""Partial radial distribution functions by tasks, and Cargill-Spaepen order: counts, gases, the glass, crystals, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.spatial import cKDTree

import mgdask
from mgdask.errors import ParameterError, StoreError
from mgdask.features import Chemistry, Coordination
from mgdask.features.pair_cutoffs import radial_distribution
from mgdask.pipelines import rdf as rdf_module
from mgdask.report.text import describe_rdf
from tests.conftest import threads_client, write_dump
from tests.reference import structure as reference

N, FRAMES, SIDES = 50, 4, (7.0, 8.0, 9.0)


def store_of(folder, frames, kinds, box, species, flags="pp pp pp"):
    """A store of (atom, 3) positions, one a frame; kinds (atom,) are types."""
    rows = [
        (
            step,
            [
                (i + 1, kind, *(repr(float(x)) for x in r))
                for i, (kind, r) in enumerate(zip(kinds, frame, strict=True))
            ],
        )
        for step, frame in enumerate(frames)
    ]
    dump = write_dump(folder / "a.dump", rows, box=[(0, side) for side in box], flags=flags)
    mgdask.ingest(dump, folder / "a.zarr", species=species, timestep=0.001)
    return str(folder / "a.zarr")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Random atoms of three elements in a box smaller than the distances asked for."""
    rng = np.random.default_rng(5)
    kinds = rng.permutation([1] * 10 + [2] * 25 + [3] * 15)
    frames = [rng.random((N, 3)) * SIDES for _ in range(FRAMES)]
    return store_of(
        tmp_path_factory.mktemp("small"), frames, kinds, SIDES, {1: "Zr", 2: "Cu", 3: "Al"}
    )


def theirs(store, edges, frames):
    ds = mgdask.open_store(store)
    numbers, names = ds.species.values, (13, 29, 40)
    return np.array(
        [
            [
                sum(
                    reference.rdf_counts(
                        ds.position[f].values, ds.cell[f].values, numbers, (a, b), edges
                    )
                    for f in frames
                )
                for b in names
            ]
            for a in names
        ]
    )


# -------------------------------------------------------------------------------------------------------------- counts
def test_counts_are_those_of_the_twin(small, client):
    found = mgdask.partial_rdf(small, r_max=6.0, bins=40, client=client, progress=False)
    want = theirs(small, np.linspace(0, 6.0, 41), range(FRAMES))
    assert found["count"].dtype == np.int64
    assert (found["count"].values == want).all()
    assert (want.sum(axis=2) > 100).all()
    assert (
        found.species.values.tolist()
        == found.neighbor_species.values.tolist()
        == ["Al", "Cu", "Zr"]
    )
    assert found.n_atoms.values.tolist() == [15, 25, 10]
    assert found.attrs["frames"] == FRAMES
    assert found.attrs["mean_volume"] == pytest.approx(np.prod(SIDES), rel=1e-12)
    np.testing.assert_allclose(found.r.values, (np.arange(40) + 0.5) * 0.15)
    # g by its formula, one pair by hand
    shell = 4 / 3 * np.pi * np.diff(np.linspace(0, 6.0, 41) ** 3)
    g = want[1, 2] / (FRAMES * 25 * 10 / np.prod(SIDES) * shell)
    np.testing.assert_allclose(
        found.g.sel(species="Cu", neighbor_species="Zr").values, g, rtol=1e-12
    )
    total = want.sum(axis=(0, 1)) / (FRAMES * N * N / np.prod(SIDES) * shell)
    np.testing.assert_allclose(found.g_all.values, total, rtol=1e-12)


@pytest.mark.parametrize("frames", [slice(1, 3), [0, 2, 3], [3]])
def test_some_frames(small, client, frames):
    chosen = np.arange(FRAMES)[frames]
    found = mgdask.partial_rdf(
        small, r_max=5.0, bins=20, frames=frames, client=client, progress=False
    )
    assert (found["count"].values == theirs(small, np.linspace(0, 5.0, 21), chosen)).all()
    assert found.attrs["frames"] == len(chosen)


def test_tasks_and_workers_do_not_change_a_bit(glass_store, client, monkeypatch):
    options = {"r_max": 7.0, "bins": 140, "frames": slice(0, 4), "progress": False}
    plain = mgdask.partial_rdf(glass_store, client=client, **options)
    counted = []
    execute = rdf_module.execute
    monkeypatch.setattr(
        rdf_module, "execute", lambda *a, **k: counted.append(len(a[2])) or execute(*a, **k)
    )
    for atoms, tasks in ((10**9, 1), (4000, 2), (2000, 4), (1999, 8), (700, 12)):
        monkeypatch.setattr(rdf_module, "ATOMS_PER_TASK", atoms)
        assert mgdask.partial_rdf(glass_store, client=client, **options).identical(plain)
        assert counted.pop() == tasks
    with threads_client(3) as threads:
        assert mgdask.partial_rdf(glass_store, client=threads, **options).identical(plain)
    assert int(plain["count"].sum()) > 500_000


# ------------------------------------------------------------------------------------------------------- what g is like
def test_an_ideal_gas_has_no_structure(tmp_path, client):
    rng = np.random.default_rng(6)
    side, n_a, n_b = 20.0, 800, 1200
    kinds = np.repeat([1, 2], [n_a, n_b])
    frames = [rng.random((n_a + n_b, 3)) * side for _ in range(3)]
    store = store_of(tmp_path, frames, kinds, (side,) * 3, {1: "Cu", 2: "Zr"})
    found = mgdask.partial_rdf(store, r_max=9.5, bins=38, client=client, progress=False)
    for a, b in (("Cu", "Cu"), ("Cu", "Zr"), ("Zr", "Cu"), ("Zr", "Zr")):
        one = found.sel(species=a, neighbor_species=b)
        like = a == b
        # an atom is no neighbour of itself
        want = 1.0 - like / float(found.n_atoms.sel(species=a))
        enough = one["count"].values > 200
        assert enough[4:].all()
        # like pairs are counted from both ends: half as many of them are independent
        error = np.sqrt((2 if like else 1) / one["count"].values[enough])
        off = (one.g.values[enough] - want) / error
        assert np.abs(off).max() < 4.5
        assert 0.5 < np.sqrt((off**2).mean()) < 1.6  # no less noise than there must be
        assert abs(one.g.values[10:].mean() - want) < 0.01
    assert abs(float(found.g_all[20:].mean()) - (1 - 1 / 2000)) < 0.005


def test_the_glass(glass_store, glass, client):
    found = mgdask.partial_rdf(glass_store, frames=[7], client=client, progress=False)
    assert found.r.size == 500
    peak = found.first_peak
    copper, mixed, zirconium = (
        float(peak.sel(species=a, neighbor_species=b))
        for a, b in (("Cu", "Cu"), ("Cu", "Zr"), ("Zr", "Zr"))
    )
    assert 2.4 < copper < 2.7 < mixed < 2.95 < zirconium < 3.35
    assert float(peak.sel(species="Zr", neighbor_species="Cu")) == mixed
    assert (found.first_minimum > peak + 0.5).all()
    assert 3.5 < float(found.first_minimum_all) < 4.3
    # of all atoms the main peak counts, not the smaller one of copper before it
    highest = float(found.r[int(found.g_all.values.argmax())])
    assert float(found.first_peak_all) == pytest.approx(highest, abs=0.05)
    assert float(found.minor_peak_all) == pytest.approx(copper, abs=0.02)
    assert "smaller peak at 2.49" in describe_rdf(found)
    assert "near the first peak of Cu-Cu" in describe_rdf(found)
    assert float(found.g_all[-100:].mean()) == pytest.approx(1.0, abs=0.03)
    assert (
        found["count"] == found["count"].transpose("neighbor_species", "species", "r").values
    ).all()
    # counted again, by another way
    position, cell, numbers = glass
    lengths = np.diag(cell)
    width = 10.0 / 500
    trees = {z: cKDTree(np.mod(position[numbers == z], lengths), boxsize=lengths) for z in (29, 40)}
    names = {29: "Cu", 40: "Zr"}
    for a in trees:
        for b in trees:
            one = found.sel(species=names[a], neighbor_species=names[b])
            low, high = (
                (
                    trees[a].count_neighbors(trees[b], float(one.first_minimum) + shift)
                    - (a == b) * trees[a].n
                )
                / trees[a].n
                for shift in (-width, width)
            )
            assert low <= float(one.coordination) <= high
            assert high - low < 0.2
    # as the cut-off of a feature
    cutoff = float(found.first_minimum_all)
    near = Coordination(cutoff=cutoff).compute(position, cell, numbers)[:, 1].mean()
    assert 12.0 < near < 15.0


def counts_of(g, edges, n_atoms=2000, volume=34_000.0):
    """Pair counts (1, 1, bin) of a known g(r), as if all atoms were of one species."""
    shell = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    return np.rint(g * n_atoms**2 / volume * shell).astype(np.int64)[None, None]


@pytest.mark.parametrize(("small", "minor"), [(2.0, 2.3), (0.0, np.nan)])
def test_peak_of_all_atoms_is_the_main_one_of_the_first_shell(small, minor):
    edges = np.linspace(0.0, 10.0, 501)
    r = 0.5 * (edges[1:] + edges[:-1])

    def bump(at, width, height):
        return height * np.exp(-0.5 * ((r - at) / width) ** 2)

    # the second shell is higher than the small peak, and has no part in this
    g = bump(2.3, 0.08, small) + bump(3.1, 0.15, 3.0) + bump(5.3, 0.4, 2.6) + 0.1 * (r > 2)
    found = radial_distribution(counts_of(g, edges), np.array([2000]), 34_000.0, ["Zr"], edges, 1)
    assert float(found.first_peak_all) == pytest.approx(3.1, abs=0.01)
    np.testing.assert_allclose(float(found.minor_peak_all), minor, atol=0.01)
    between = (r > 3.1) & (r < 5.0)
    assert float(found.first_minimum_all) == pytest.approx(
        float(r[between][g[between].argmin()]), abs=0.05
    )


def test_a_crystal_has_its_shells(tmp_path):
    # CsCl, 3 Å: unlike atoms at 2.598 Å, like ones at 3 Å
    corner = np.array(list(np.ndindex(4, 4, 4))) * 3.0 + 0.1
    frames = [np.vstack([corner, corner + 1.5])]
    store = store_of(tmp_path, frames, np.repeat([1, 2], 64), (12.0,) * 3, {1: "Cu", 2: "Zr"})
    found = mgdask.partial_rdf(store, r_max=6.0, bins=300, progress=False)
    assert float(found.first_peak.sel(species="Cu", neighbor_species="Zr")) == pytest.approx(
        1.5 * 3**0.5, abs=0.02
    )
    assert float(found.first_peak.sel(species="Zr", neighbor_species="Zr")) == pytest.approx(
        3.0, abs=0.02
    )
    assert found.coordination.values.tolist() == [[6.0, 8.0], [8.0, 6.0]]


def test_one_atom_of_its_kind_has_no_peak(tmp_path):
    rng = np.random.default_rng(1)
    store = store_of(
        tmp_path, [rng.random((30, 3)) * 12.0], [2] + [1] * 29, (12.0,) * 3, {1: "Cu", 2: "Zr"}
    )
    found = mgdask.partial_rdf(store, r_max=5.0, bins=50, progress=False)
    alone = found.sel(species="Zr", neighbor_species="Zr")
    for name in ("first_peak", "first_minimum", "coordination"):
        assert np.isnan(float(alone[name]))
    assert np.isfinite(found.first_peak.sel(species="Zr", neighbor_species="Cu"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"r_max": 0.0}, "r_max=0.0"),
        ({"r_max": -1.0}, "r_max=-1.0"),
        ({"r_max": np.nan}, "r_max=nan"),
        ({"r_max": np.inf}, "r_max=inf"),
        ({"bins": 9}, "bins=9 must be from 10 to 1000000"),
        ({"frames": [4]}, "increasing indices 0 to 3"),
        ({"frames": [2, 1]}, "increasing"),
        ({"frames": slice(9, 12)}, "none of the 4 frames"),
        ({"frames": [-1]}, "0 to 3"),
    ],
)
def test_refusals_in_words(small, options, words):
    with pytest.raises(ParameterError, match=words):
        mgdask.partial_rdf(small, progress=False, **options)


def test_other_stores_are_refused(small, tmp_path):
    with pytest.raises(StoreError, match="is not a Zarr store"):
        mgdask.partial_rdf(tmp_path / "none.zarr")
    mgdask.run(
        mgdask.plan(small, Coordination(), out=tmp_path / "f.zarr", frames=[0]), progress=False
    )
    with pytest.raises(StoreError, match="holds features, not a trajectory"):
        mgdask.partial_rdf(tmp_path / "f.zarr")


# ------------------------------------------------------------------------------------------------------ Cargill, Spaepen
def dataset(position, cell, numbers, pbc=(True, True, True)):
    """One frame as from ``open_store``."""
    return xr.Dataset(
        {
            "position": (("frame", "atom", "xyz"), position[None]),
            "cell": (("frame", "vector", "xyz"), cell[None]),
            "pbc": ("vector", list(pbc)),
        },
        coords={"species": ("atom", np.asarray(numbers))},
    )


def order(position, cell, numbers, pbc=(True, True, True)):
    feature = Chemistry(species=("Cu", "Zr"), quantities=("count",))
    return mgdask.cargill_spaepen(mgdask.featurize(dataset(position, cell, numbers, pbc), feature))


def b2(copies=3):
    corner = np.array(list(np.ndindex(copies, copies, copies))) * 3.0
    return (
        np.vstack([corner, corner + 1.5]),
        3.0 * copies * np.eye(3),
        np.repeat([29, 40], copies**3),
    )


def test_ordered_crystals():
    # 8 unlike neighbours within 2.8 Å; among the 14 of the Voronoi cell 6 like ones too
    found = order(*b2())
    assert found.dims == ("species", "neighbor_species")
    assert found.species.values.tolist() == ["Cu", "Zr"]
    np.testing.assert_allclose(found.values, [[-1 / 7, 1 / 7], [1 / 7, -1 / 7]], rtol=0, atol=1e-14)
    near = Chemistry(species=("Cu", "Zr"), quantities=("count",), neighbors=("cutoff",), cutoff=2.8)
    found = mgdask.cargill_spaepen(mgdask.featurize(dataset(*b2()), near))
    np.testing.assert_allclose(found.values, [[-1.0, 1.0], [1.0, -1.0]], rtol=0, atol=1e-14)
    # Cu3Zr as Cu3Au: Zr has 12 Cu; Cu has 8 Cu and 4 Zr
    base = np.array([[0, 0, 0], [0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]])
    fcc = (np.array(list(np.ndindex(3, 3, 3)))[:, None] * 3.6 + base).reshape(-1, 3)
    alloy = dataset(fcc, 10.8 * np.eye(3), np.tile([40, 29, 29, 29], 27))
    found = mgdask.cargill_spaepen(mgdask.featurize(alloy, near.named("nearest")), name="nearest")
    np.testing.assert_allclose(
        found.values, [[8 / 9 - 1, 4 / 3 - 1], [4 / 3 - 1, -1.0]], rtol=0, atol=1e-14
    )


def test_two_lists_are_told_apart():
    feature = Chemistry(
        species=("Cu", "Zr"), quantities=("count",), neighbors=("voronoi", "cutoff"), cutoff=2.8
    )
    features = mgdask.featurize(dataset(*b2()), feature)
    for kind, value in (("voronoi", 1 / 7), ("cutoff", 1.0)):
        found = mgdask.cargill_spaepen(features, neighbors=kind)
        np.testing.assert_allclose(
            found.values, [[-value, value], [value, -value]], rtol=0, atol=1e-14
        )
    with pytest.raises(ParameterError, match="two neighbor lists; choose"):
        mgdask.cargill_spaepen(features)


def test_a_random_alloy_has_no_order(rng):
    position, cell, _ = b2(copies=12)
    numbers = rng.permutation(np.repeat([29, 40], [1000, 2456]))
    feature = Chemistry(
        species=("Cu", "Zr"), quantities=("count",), neighbors=("cutoff",), cutoff=2.8
    )
    found = mgdask.cargill_spaepen(
        mgdask.featurize(dataset(position, cell, numbers), feature)
    ).values
    f = np.array([1000, 2456]) / 3456
    # sum_B f_B Z_A f_B (1 + x) = Z_A: the fractions weigh the orders to nothing
    np.testing.assert_allclose(found @ f, 0.0, atol=1e-13)
    bonds = 8 * 3456 / 2
    error = 1.0 / np.sqrt(bonds * np.array([f[0] ** 2, 2 * f[0] * f[1], f[1] ** 2]))
    assert np.abs(found[[0, 0, 1], [0, 1, 1]] / error).max() < 4.0
    assert (found != 0.0).all()
    # the same atoms, sorted into halves: like prefers like
    apart = np.sort(numbers)[np.argsort(np.argsort(position[:, 0], kind="stable"))]
    apart = mgdask.cargill_spaepen(mgdask.featurize(dataset(position, cell, apart), feature)).values
    assert (np.diag(apart) > 10 * error[[0, 2]]).all()
    assert apart[0, 1] < -10 * error[1]


def test_open_cells_are_left_out(rng):
    position, cell, numbers = b2(copies=5)
    position = position + 0.01 * rng.standard_normal(position.shape)
    high = cell @ np.diag([1.0, 1.0, 3.0])
    feature = Chemistry(species=("Cu", "Zr"), quantities=("count",))
    values = feature.compute(position, high, numbers, pbc=(True, True, False))
    inside = np.isfinite(values[:, 0])
    assert 20 < inside.sum() < 230
    found = order(position, high, numbers, pbc=(True, True, False)).values
    mean = np.array([values[inside & (numbers == z)].mean(axis=0) for z in (29, 40)])
    np.testing.assert_allclose(
        found, mean / (0.5 * mean.sum(axis=1, keepdims=True)) - 1.0, rtol=0, atol=1e-13
    )


def test_frames_are_averaged(glass_store):
    ds = mgdask.open_store(glass_store).isel(frame=slice(0, 2))
    feature = Chemistry(species=("Cu", "Zr"))
    features = mgdask.featurize(ds, feature).compute()
    found = mgdask.cargill_spaepen(features)
    z = ds.species.values
    n = features.chemistry.sel(chemistry_feature=["count_Cu", "count_Zr"]).values
    mean = np.array([n[:, z == number].mean(axis=(0, 1)) for number in (29, 40)])
    f = np.array([(z == 29).mean(), (z == 40).mean()])
    np.testing.assert_allclose(
        found.values, mean / (f * mean.sum(axis=1, keepdims=True)) - 1, rtol=0, atol=1e-13
    )
    # copper likes zirconium
    assert float(found.sel(species="Cu", neighbor_species="Zr")) > 0.01


def test_what_has_no_counts_is_refused():
    ds = dataset(*b2())
    with pytest.raises(ParameterError, match="the Dataset has no 'chemistry'; it has coordination"):
        mgdask.cargill_spaepen(mgdask.featurize(ds, Coordination()))
    part = mgdask.featurize(ds, Chemistry(species=("Cu", "Zr"), quantities=("fraction",)))
    with pytest.raises(
        ParameterError, match="chemistry has no counts; its columns are fraction_Cu, fraction_Zr"
    ):
        mgdask.cargill_spaepen(part)
    whole = mgdask.featurize(ds, Chemistry(species=("Cu", "Zr")))
    with pytest.raises(ParameterError, match="has no counts of cutoff neighbors"):
        mgdask.cargill_spaepen(whole, neighbors="cutoff")


def test_a_changing_box_has_its_mean_volume(tmp_path, rng):
    dumps = []
    for step, side in enumerate((7.0, 9.0)):
        rows = [
            (i + 1, 1 + i % 2, *(repr(float(x)) for x in rng.random(3) * side)) for i in range(40)
        ]
        dumps.append(write_dump(tmp_path / f"{step}.dump", [(step, rows)], box=[(0, side)] * 3))
    mgdask.ingest(dumps, tmp_path / "a.zarr", species={1: "Cu", 2: "Zr"}, timestep=0.001)
    found = mgdask.partial_rdf(tmp_path / "a.zarr", r_max=5.0, bins=10, progress=False)
    assert found.attrs["mean_volume"] == pytest.approx((7.0**3 + 9.0**3) / 2, rel=1e-12)
    shell = 4 / 3 * np.pi * np.diff(np.linspace(0, 5.0, 11) ** 3)
    g = found["count"][0, 1].values / (2 * 20 * 20 * 2 / (7.0**3 + 9.0**3) * shell)
    np.testing.assert_allclose(found.g[0, 1].values, g, rtol=1e-12)
    assert int(found["count"].sum()) > 1000


def test_minima_are_cutoffs_of_pairs(glass_store):
    rdf = mgdask.partial_rdf(glass_store, frames=slice(0, 2), progress=False)
    found = mgdask.pair_cutoffs(rdf)
    assert list(found) == ["Cu-Cu", "Cu-Zr", "Zr-Zr"]
    assert found["Cu-Zr"] == float(rdf.first_minimum.sel(species="Cu", neighbor_species="Zr"))
    assert mgdask.NonAffine(cutoff=found).widest == max(found.values())
    with pytest.raises(
        ParameterError, match=r"Cu-Cu, Cu-Zr, Zr-Zr has no first minimum up to 1\.0"
    ):
        mgdask.pair_cutoffs(
            mgdask.partial_rdf(glass_store, r_max=1.0, frames=slice(0, 1), progress=False)
        )
