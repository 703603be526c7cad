"""Motion over all atoms of small stores: laws that are known, naive twins, paths where the cell breathes, bits, peers, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from dask.utils import format_bytes
from distributed import Client
from scipy.integrate import quad
from scipy.stats import chi2, maxwell

import mgdask
from mgdask.analysis.diffusion import Trajectory, fit_diffusion
from mgdask.analysis.relaxation import relaxation_time
from mgdask.elements import mass
from mgdask.errors import MgdaskError, ParameterError, StoreError
from mgdask.features import Chemistry
from mgdask.geometry import wrap
from mgdask.pipelines import lag_tasks
from mgdask.pipelines import unwrap as unwrap_module
from mgdask.store import layout
from mgdask.store import unwrapped as path_store
from mgdask.store.shards import open_group
from tests.conftest import threads_client, write_dump

KINDS = {1: "Nb", 2: "Ni"}
"""In the order of their numbers they are Ni, Nb; in that of the alphabet Nb, Ni."""
NAMES = ["Ni", "Nb"]
DT = 0.01
Q = (0.4, 2.7)


def types_of(n):
    """Every third atom is Nb."""
    return np.where(np.arange(n) % 3 == 0, 1, 2)


def dump(file, path, kinds, side=20.0, steps=None, columns="id type xu yu zu", **options):
    """A dump of (atom, frame, columns)."""
    steps = 10 * np.arange(path.shape[1]) if steps is None else steps
    frames = [
        (
            step,
            [
                (i + 1, kind, *map(float, row))
                for i, (kind, row) in enumerate(zip(kinds, path[:, k], strict=True))
            ],
        )
        for k, step in enumerate(steps)
    ]
    box = options.pop("box", [(0.0, side)] * 3)
    return write_dump(file, frames, columns=columns, box=box, **options)


def ingest(files, folder, **options):
    mgdask.ingest(files, folder / "a.zarr", species=KINDS, timestep=0.001, **options)
    return str(folder / "a.zarr")


def store_of(folder, path, kinds=None, **options):
    """A trajectory store of true paths (atom, frame, 3)."""
    kinds = types_of(len(path)) if kinds is None else kinds
    return ingest(dump(folder / "a.dump", path, kinds, **options), folder)


def unwrapped(store, **options):
    out = store.replace("a.zarr", f"{options.get('scheme', 'auto')}.zarr")
    mgdask.unwrap(store, out, progress=False, **options)
    return out


def paths_of(folder, path, kinds=None, **options):
    return unwrapped(store_of(folder, path, kinds, **options))


def walk(n, frames, step, seed, side=20.0):
    """Random walks; ``step`` (atom,) is the standard deviation along an axis."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, 1, (n, frames, 3)) * np.broadcast_to(step, n)[:, None, None]
    moves[:, 0] = rng.random((n, 3)) * side
    return np.cumsum(moves, axis=1)


@pytest.fixture(scope="module", autouse=True)
def client():
    """Two threads of this process, so that what is patched here is seen there."""
    with threads_client(2) as client:
        yield client


@pytest.fixture(scope="module")
def processes(client, two_processes):
    with Client(two_processes, set_as_default=False) as own:
        yield own


# ------------------------------------------------------------------------------------------------------- laws of motion
def msd(store, **options):
    return mgdask.mean_squared_displacement(store, progress=False, **options)


@pytest.fixture(scope="module")
def diffusing(tmp_path_factory):
    """1500 walkers of two kinds over 41 frames, in a box that they leave: the store of paths, and D of Ni and Nb in Å²/ps."""
    kinds = types_of(1500)
    step = np.where(kinds == 1, 0.25, 0.4)
    store = paths_of(
        tmp_path_factory.mktemp("walk"), walk(1500, 41, step, seed=1, side=9.0), kinds, side=9.0
    )
    return store, np.array([0.4**2, 0.25**2]) / (2 * DT)


def test_ballistic_atoms(tmp_path):
    rng = np.random.default_rng(0)
    kinds = types_of(900)
    velocity = rng.normal(0, 1, (900, 3)) * np.where(kinds == 1, 2.0, 6.0)[:, None]
    start = rng.random((900, 1, 3)) * 20
    path = start + velocity[:, None] * DT * np.arange(12)[:, None]
    found = msd(paths_of(tmp_path, path, kinds))
    square = (velocity**2).sum(axis=1)
    want = [square[kinds == kind].mean() for kind in (2, 1)]
    assert found.species.values.tolist() == NAMES
    assert found.atoms.values.tolist() == [600, 300]
    assert want[0] > 2 * want[1]
    np.testing.assert_allclose(found.msd, np.outer(want, found.lag.values**2), rtol=1e-11)
    np.testing.assert_allclose(found.msd_all, square.mean() * found.lag.values**2, rtol=1e-11)
    # Gaussian velocities: zero but for the number of atoms
    error = np.sqrt(8 / 15 / found.atoms.values)
    assert (np.abs(found.non_gaussian.values) < 4 * error[:, None]).all()
    assert (np.abs(found.non_gaussian.values) > 1e-6).all()
    # two temperatures at once are not Gaussian
    assert (found.non_gaussian_all > 0.15).all()


def test_harmonic_atoms_stay(tmp_path):
    """Phases evenly over the circle: every origin gives A² (1 - cos w t) along an axis."""
    n, period = 60, 16
    kinds = np.repeat([1, 2], n)
    amplitude = np.where(kinds == 1, 0.05, 0.2)
    phase = np.tile(2 * np.pi * np.arange(n) / n, 2)
    path = np.random.default_rng(1).random((2 * n, 1, 3)) * 20 * np.ones((1, 40, 1))
    t = np.arange(40)
    path[..., 0] += amplitude[:, None] * np.cos(2 * np.pi * t / period + phase[:, None])
    path[..., 2] += amplitude[:, None] * np.cos(2 * np.pi * t / period + 3 * phase[:, None])
    store = paths_of(tmp_path, path, kinds)
    lags = DT * np.array([1, 4, 8, 16, 20, 39])
    found = msd(store, lags=lags)
    want = 2 * np.outer([0.2**2, 0.05**2], 1 - np.cos(2 * np.pi * lags / DT / period))
    np.testing.assert_allclose(found.msd, want, rtol=1e-9, atol=1e-15)
    assert float(found.msd.max()) <= 4 * 0.2**2 * (1 + 1e-9)
    near = mgdask.overlap(store, radius=0.6, lags=lags, progress=False)
    assert (near.overlap == 1).all()
    assert (near.chi4[:, :-1] == 0).all()
    # chi_4 = N (<Q^2> - <Q>^2) over origins: the longest lag has one origin, so no variance
    assert near.pairs.values[-1] == 1
    assert near.chi4[:, -1].isnull().all()
    assert near.chi4_all[-1].isnull()
    far = mgdask.van_hove(store, lags=lags, r_max=0.6, progress=False)
    assert (far.beyond == 0).all()
    np.testing.assert_array_equal(far["count"].sum("r"), np.outer([n, n], far.pairs))


def independent(found):
    """Displacements that do not share a step, by species and lag, at least."""
    return found.atoms.values[:, None] * found.pairs.values * DT / found.lag.values


def test_walkers_diffuse(diffusing):
    store, d = diffusing
    found = msd(store, lags=DT * np.array([1, 2, 5, 13]))
    n = independent(found)
    want = 6 * np.outer(d, found.lag)
    off = (found.msd.values - want) / (want * np.sqrt(2 / (3 * n)))
    assert np.abs(off).max() < 4
    assert np.abs(off).max() > 0.05  # no less noise than there must be
    alpha = found.non_gaussian.values / np.sqrt(8 / 15 / n)
    assert np.abs(alpha).max() < 4
    assert np.abs(alpha).max() > 0.05
    # a mixture of two Gaussians
    share = found.atoms.values / found.atoms.values.sum()
    mixed = (share * d**2).sum() / (share * d).sum() ** 2 - 1
    assert mixed > 0.1
    np.testing.assert_allclose(
        found.non_gaussian_all, mixed, atol=4 * np.sqrt(2 / n.sum(axis=0).min())
    )


def test_the_diffusion_coefficient_can_be_fitted(diffusing):
    store, d = diffusing
    found = msd(store)
    for k, name in enumerate(NAMES):
        fit = fit_diffusion(None, found.msd.sel(species=name))
        assert fit.linear
        # the longest lag, half the run, has 1.5 or so independent displacements an atom
        assert fit.coefficient.value == pytest.approx(
            d[k], rel=4 * np.sqrt(2 / (3 * found.atoms.values[k]))
        )


def test_scattering_of_walkers(diffusing):
    store, d = diffusing
    found = mgdask.self_scattering(store, Q, lags=DT * np.array([1, 3, 9]), progress=False)
    assert found.fs.dims == ("species", "lag", "q")
    n, offs = independent(found), []
    for s in range(2):
        for k, lag in enumerate(found.lag.values):
            for w, q in enumerate(Q):
                want, width = np.exp(-(q**2) * d[s] * lag), np.sqrt(2 * d[s] * lag)
                square = quad(
                    lambda x, q=q, c=width: np.sinc(q * x / np.pi) ** 2 * maxwell.pdf(x, scale=c),
                    0,
                    12 * width,
                    limit=400,
                )[0]
                offs.append(
                    (float(found.fs[s, k, w]) - want) / np.sqrt((square - want**2) / n[s, k])
                )
    assert np.abs(offs).max() < 4
    assert np.sqrt(np.mean(np.square(offs))) > 0.2
    np.testing.assert_allclose(
        found.fs_all, (found.fs * found.atoms).sum("species") / 1500, rtol=1e-13
    )


def test_van_hove_of_walkers(diffusing):
    """Origins as far apart as the lag: counts of independent displacements, against the law of Maxwell by chi²."""
    store, d = diffusing
    for steps in (1, 4):
        found = mgdask.van_hove(
            store, lags=[steps * DT], r_max=3.0, bins=60, origins=steps, progress=False
        )
        assert found.pairs.values.tolist() == [40 // steps]
        for s in range(2):
            law = maxwell(scale=np.sqrt(2 * d[s] * steps * DT))
            share = np.diff(law.cdf(np.linspace(0, 3.0, 61)))
            terms = int(found.atoms[s]) * int(found.pairs[0])
            count = found["count"].values[s, 0]
            enough = share * terms > 10
            seen = (count[enough] - share[enough] * terms) ** 2 / (share[enough] * terms)
            assert enough.sum() > 15
            assert 1e-5 < chi2.sf(seen.sum(), enough.sum() - 1) < 1 - 1e-5
            assert float(found.density[s, 0].sum()) * 0.05 + float(
                found.beyond[s, 0]
            ) == pytest.approx(1, abs=1e-12)
            np.testing.assert_allclose(found.density[s, 0], count / terms / 0.05, rtol=1e-12)


# ------------------------------------------------------------------------------------------------------------ naive twins
N = 600
"""Atoms over the edges of two groups of 256."""
FRAMES = {
    "even": range(0, 400, 10),
    "uneven": [640 * b + 10 * k for b in range(6) for k in (0, 1, 2, 4, 8, 16, 32)],
    "runs": range(0, 400, 10),
}
LAGS = {
    "even": (0.01, 0.02, 0.07, 0.2, 0.39),
    "uneven": (0.01, 0.02, 0.03, 0.16, 0.64, 1.28, 3.2),
    "runs": (0.01, 0.04, 0.14, 0.24),
}


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Trajectory stores of N walkers: evenly and unevenly spaced frames, and two runs of 25 and 15 frames far from each other."""
    found = {}
    for seed, (name, steps) in enumerate(FRAMES.items()):
        folder, steps = tmp_path_factory.mktemp(name), np.array(steps)
        path = walk(N, len(steps), np.where(types_of(N) == 1, 0.3, 0.15), seed=seed)
        if name == "runs":
            path[:, 25:] += 1000.0
            files = [
                dump(folder / f"{k}.dump", path[:, part], types_of(N), steps=steps[part])
                for k, part in (("first", slice(0, 25)), ("second", slice(25, None)))
            ]
            found[name] = ingest(files, folder, run_per_file=True), path
        else:
            found[name] = store_of(folder, path, steps=steps), path
    return found


def pairs_of(ds, lag, origins, tolerance=0.01):
    """(origin, later), one pair of frames after the other."""
    time, run, found = ds.time.values, ds.run.values, []
    for a in origins:
        later = [b for b in range(a + 1, len(time)) if run[b] == run[a]]
        if later:
            b = min(later, key=lambda b: (abs(time[b] - time[a] - lag), b))
            if abs(time[b] - time[a] - lag) <= tolerance * lag + 1e-9:
                found.append((a, b))
    return found


def origins_of(ds, origins):
    run = ds.run.values
    first = {name: int(np.flatnonzero(run == name)[0]) for name in run}
    away = np.arange(len(run)) - np.array([first[name] for name in run])
    every = {"all": 1, "first": len(run)}.get(origins, origins)
    return np.flatnonzero(away % every == 0)


@pytest.mark.parametrize(
    ("name", "origins"),
    [
        ("even", "all"),
        ("uneven", "first"),
        ("runs", 3),
        ("uneven", "all"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("runs", "all"), ("even", "first"), ("runs", "first"), ("even", 3))
        ),
        ("uneven", 3),
    ],
)
def test_all_four_are_those_of_the_twins(twins, name, origins):
    store, _ = twins[name]
    ds = mgdask.open_store(store)
    path = (ds.position.values + ds.image.values @ ds.cell.values).transpose(1, 0, 2)
    lags, chosen = LAGS[name], origins_of(ds, origins)
    if name == "runs" and origins == 3:
        assert chosen.tolist() == [*range(0, 25, 3), *range(25, 40, 3)]
    if name == "uneven" and origins == "first":
        lags = (0.01, 0.02, 0.16, 0.64, 1.28, 3.2)
    pairs = [pairs_of(ds, lag, chosen) for lag in lags]
    common = {"lags": lags, "origins": origins, "progress": False}
    moved = mgdask.mean_squared_displacement(store, **common)
    waves = mgdask.self_scattering(store, Q, **common)
    hove = mgdask.van_hove(store, r_max=1.5, bins=30, **common)
    near = mgdask.overlap(store, radius=0.6, **common)
    for one in (moved, waves, hove, near):
        assert one.pairs.values.tolist() == [len(p) for p in pairs]
        assert one.lag.values.tolist() == list(lags)
        np.testing.assert_allclose(
            one.mean_lag, [np.diff(ds.time.values[np.array(p)]).mean() for p in pairs], rtol=1e-9
        )
        assert one.attrs["origins"] == len(chosen)
    members = {
        "Ni": np.flatnonzero(types_of(N) == 2),
        "Nb": np.flatnonzero(types_of(N) == 1),
        "_all": np.arange(N),
    }
    for who, atoms in members.items():
        end, part = ("_all", {}) if who == "_all" else ("", {"species": who})
        for k, pair in enumerate(pairs):
            a, b = np.array(pair).T
            d = path[atoms][:, b] - path[atoms][:, a]
            r2 = (d**2).sum(axis=2)
            r, here = np.sqrt(r2), {**part, "lag": lags[k]}
            np.testing.assert_allclose(moved[f"msd{end}"].sel(here), r2.mean(), rtol=1e-12)
            alpha = 3 * (r2**2).mean() / (5 * r2.mean() ** 2) - 1
            np.testing.assert_allclose(
                moved[f"non_gaussian{end}"].sel(here), alpha, rtol=0, atol=1e-12
            )
            for q in Q:
                fs = (np.sin(q * r) / (q * r)).mean()
                np.testing.assert_allclose(
                    waves[f"fs{end}"].sel(here).sel(q=q), fs, rtol=0, atol=1e-12
                )
            share = (r < 0.6).mean(axis=0)
            np.testing.assert_allclose(near[f"overlap{end}"].sel(here), share.mean(), rtol=1e-12)
            chi4 = len(atoms) * ((share - share.mean()) ** 2).mean()
            chi4 = chi4 if len(share) > 1 else np.nan  # one origin has no variance
            np.testing.assert_allclose(near[f"chi4{end}"].sel(here), chi4, rtol=1e-11, atol=1e-12)
            if end == "":
                count = np.bincount(
                    np.minimum(np.floor(r / 0.05), 30).astype(int).ravel(), minlength=31
                )
                assert hove["count"].sel(here).values.tolist() == count[:30].tolist()
                np.testing.assert_allclose(hove.beyond.sel(here), count[30] / r.size, rtol=1e-12)
    if origins == "all":
        assert float(near.chi4_all.max()) > 0.01
        assert (hove.beyond.max("lag") > 0.01).all()


def test_pairs_do_not_reach_from_run_to_run(twins):
    """The second run is 1700 Å away, its times go on where those of the first end."""
    found = msd(twins["runs"][0])
    assert float(found.msd_all.max()) < 10
    assert found.pairs.values[0] == 24 + 14
    assert float(found.lag.max()) == pytest.approx(0.12)
    with pytest.raises(
        ParameterError,
        match=r"no frame is 0\.3 ps after any of the 40 origins; the nearest lag that exists is 0\.24 ps",
    ):
        msd(twins["runs"][0], lags=[0.1, 0.3])
    with pytest.raises(
        ParameterError,
        match=r"0\.24 ps after any of the 2 origins|0\.25 ps after any of the 2 origins",
    ):
        msd(twins["runs"][0], lags=[0.25], origins="first", tolerance=0.0)


def test_overlap_takes_a_hundred_origins_or_fewer(tmp_path):
    path = walk(8, 250, 0.1, seed=3)
    found = mgdask.overlap(store_of(tmp_path, path), lags=[0.01], progress=False)
    assert found.attrs["origins"] == 84
    assert found.pairs.values.tolist() == [83]  # the last of them is the last frame
    assert found.attrs["radius"] == 1.0


# ------------------------------------------------------------------------------------------------------------------- lags
def test_lags_by_default(tmp_path):
    path = walk(5, 801, 0.1, seed=4)
    found = msd(store_of(tmp_path, path))
    steps = np.rint(found.lag.values / DT).astype(int)
    np.testing.assert_allclose(found.lag, steps * DT, rtol=1e-12)
    assert steps[0] == 1
    assert steps[-1] == 400
    assert 30 <= len(steps) <= 41
    assert (np.diff(steps) > 0).all()
    late = np.diff(np.log(steps[steps > 10]))
    np.testing.assert_allclose(late, np.log(400) / 40, atol=0.1)
    assert found.pairs.values.tolist() == (801 - steps).tolist()


def test_lags_by_default_where_frames_are_uneven(twins):
    found = msd(twins["uneven"][0])
    assert (found.pairs > 0).all()
    assert np.isfinite(found.msd).all()
    steps, lag = np.array(FRAMES["uneven"]) * 1e-3, found.lag.values
    np.testing.assert_allclose(
        np.abs(steps[:, None] - lag).min(axis=0), 0, atol=1e-12
    )  # those of the first frame
    assert lag[0] == pytest.approx(0.01)
    assert 0.9 * steps[-1] / 2 < lag[-1] <= steps[-1] / 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"lags": [0.033]},
            r"no frame is 0\.033 ps after any of the 40 origins; the nearest lag that exists is 0\.03 ps",
        ),
        ({"lags": [0.01, 7.0]}, r"0*7 ps .* nearest lag that exists is 0\.39 ps"),
        ({"lags": [0.02, 0.01]}, "increasing"),
        ({"lags": [0.0, 0.01]}, "above 0"),
        ({"lags": [-0.01]}, "above 0"),
        ({"lags": []}, "above 0"),
        ({"lags": [np.nan]}, "increasing times"),
        ({"lags": [0.01, np.inf]}, "increasing times"),
        ({"lags": [0.01, 0.01]}, "increasing"),
        ({"origins": "last"}, "origins='last' must be"),
        ({"origins": 0}, "origins=0"),
        ({"origins": -2}, "origins=-2"),
        ({"origins": True}, "origins=True"),
        ({"origins": 1.5}, r"origins=1\.5"),
    ],
)
def test_lags_and_origins_that_do_not_exist(twins, options, words):
    store = twins["even"][0]
    for call in (
        msd,
        mgdask.overlap,
        lambda s, **o: mgdask.self_scattering(s, 1.0, **o),
        mgdask.van_hove,
    ):
        with pytest.raises(ParameterError, match=words):
            call(store, **{"lags": [0.01]} | options)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s: mgdask.self_scattering(s, 0.0), r"q=0\.0 must be"),
        (lambda s: mgdask.self_scattering(s, []), "q="),
        (lambda s: mgdask.self_scattering(s, [1.0, np.nan]), "q="),
        (lambda s: mgdask.self_scattering(s, [[1.0]]), "q="),
        (lambda s: mgdask.van_hove(s, lags=[0.01], r_max=0.0), "r_max=0"),
        (lambda s: mgdask.van_hove(s, lags=[0.01], bins=0), "bins=0"),
        (lambda s: mgdask.van_hove(s, lags=[0.01], r_max=np.inf), "r_max=inf"),
        (lambda s: mgdask.overlap(s, radius=0.0), "radius=0"),
        (lambda s: mgdask.overlap(s, radius=np.nan), "radius=nan"),
    ],
)
def test_other_refusals(twins, call, words):
    with pytest.raises(ParameterError, match=words):
        call(twins["even"][0])


# ------------------------------------------------------------------------------------------- bits, blocks, and their edges
def all_four(store, **options):
    """Every variable of the four functions."""
    common = {"lags": [0.01, 0.05, 0.2], "progress": False} | options
    return [
        mgdask.mean_squared_displacement(store, **common),
        mgdask.self_scattering(store, Q, **common),
        mgdask.van_hove(store, r_max=1.0, bins=25, **common),
        mgdask.overlap(store, radius=0.5, **common),
    ]


def same_bits(ours, theirs):
    return all(a.drop_attrs().identical(b.drop_attrs()) for a, b in zip(ours, theirs, strict=True))


def test_workers_and_blocks_do_not_change_a_bit(twins, client, processes, monkeypatch):
    store = twins["even"][0]
    paths = unwrapped(store)
    plain = all_four(paths)
    assert all(np.isfinite(v).all() for one in plain for v in one.values())
    assert same_bits(all_four(paths, client=processes), plain)
    counted = []
    execute = lag_tasks.execute
    monkeypatch.setattr(
        lag_tasks, "execute", lambda *a, **k: counted.append(len(a[2])) or execute(*a, **k)
    )
    frame = 24 * 40 * 256
    for block, tasks in ((2 * frame, 2), (2 * frame - 1, 3)):
        monkeypatch.setattr(lag_tasks, "TASK_BYTES", block)
        assert same_bits(all_four(paths), plain)
        assert counted == [tasks] * 4
        counted.clear()
    # from the trajectory: no fewer atoms at once than a chunk of it
    assert same_bits(all_four(store), plain)
    assert counted == [1] * 4
    counted.clear()
    monkeypatch.setattr(layout, "CHUNK", 24 * 8 * 256)
    assert same_bits(all_four(store, client=processes), plain)
    assert counted == [3] * 4


@pytest.fixture(scope="module")
def short_shards(twins, tmp_path_factory):
    """The evenly spaced twins in shards of 7 frames of N atoms, each ingested once."""
    kept = {}

    def store(name):
        if name not in kept:
            folder = tmp_path_factory.mktemp(name)
            files = sorted(map(str, Path(twins[name][0]).parent.glob("*.dump")))
            kept[name] = ingest(files, folder, run_per_file=name == "runs")
        return kept[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "MIN_SHARD", 24 * N * 7)
        patch.setattr(path_store, "MIN_SHARD", 1)
        for name in ("runs", "even"):
            store(name)
    return kept


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("runs", "images"),
        pytest.param("runs", "nearest", marks=pytest.mark.slow),
        ("runs", "toroidal"),
        pytest.param("even", "toroidal", marks=pytest.mark.slow),
    ],
)
def test_no_frame_is_lost_at_the_edge_of_a_block(twins, short_shards, monkeypatch, name, scheme):
    """MDSuite#91. The second run begins within a block, and neither run has a whole number of blocks."""
    path = twins[name][1]
    monkeypatch.setattr(layout, "MIN_SHARD", 24 * N * 7)
    monkeypatch.setattr(path_store, "MIN_SHARD", 1)
    out = unwrapped(short_shards[name], scheme=scheme)
    assert open_group(out)["path"].shards[1] == 7
    found = mgdask.open_store(out).path.values
    runs = [slice(0, 40)] if name == "even" else [slice(0, 25), slice(25, 40)]
    for run in runs:
        np.testing.assert_allclose(
            found[:, run] - found[:, run][:, :1], path[:, run] - path[:, run][:, :1], atol=1e-11
        )
    longest = max(run.stop - run.start for run in runs)
    moved = msd(out, lags=DT * np.arange(1, longest))
    want, pairs = [], []
    for k in range(1, longest):
        d = np.concatenate([path[:, run][:, k:] - path[:, run][:, :-k] for run in runs], axis=1)
        want.append((d**2).sum(axis=2).mean())
        pairs.append(d.shape[1])
    assert moved.pairs.values.tolist() == pairs
    np.testing.assert_allclose(moved.msd_all, want, rtol=1e-10)
    # the centre of mass is joined over the blocks as well
    weight = mgdask.open_store(out).mass.values
    center = np.einsum("i,ifx->fx", weight / weight.sum(), found)
    np.testing.assert_allclose(mgdask.open_store(out).center_of_mass, center, atol=1e-9)


def test_the_last_frame_does_not_stand_in_for_later_ones(tmp_path):
    """Evenly spaced frames have F - k pairs, though the tolerance of a long lag is more than a frame."""
    velocity = np.random.default_rng(5).normal(0, 1, (4, 1, 3))
    store = store_of(tmp_path, velocity * DT * np.arange(61)[:, None])
    found = msd(store, lags=[0.3, 0.5, 0.59], tolerance=0.1)
    assert found.pairs.values.tolist() == [31, 11, 2]
    np.testing.assert_allclose(found.msd_all / found.lag**2, (velocity**2).sum() / 4, rtol=1e-9)


def test_the_lag_that_was_averaged_is_shown_beside_the_lag_asked_for(tmp_path):
    """Frames 11 and 9 steps apart both count as 10: only their mean is the lag of the average."""
    velocity = np.random.default_rng(6).normal(0, 1, (4, 1, 3))
    steps = np.array([0, 11, 20, 31, 45])
    store = store_of(tmp_path, velocity * DT / 10 * steps[:, None], steps=steps)
    found = msd(store, lags=[0.01, 0.02], tolerance=0.12)
    assert found.lag.values.tolist() == [0.01, 0.02]
    np.testing.assert_allclose(found.mean_lag, [np.mean([0.011, 0.009, 0.011]), 0.02])
    assert found.lag.attrs["long_name"] == "requested lag; mean_lag is the mean of the pairs"
    # fits that read the times from the curve read those of the average
    curve = xr.DataArray(
        np.exp(-found.mean_lag.values / 0.01), dims="lag", coords={"lag": [0.1, 0.2]}
    ).assign_coords(mean_lag=("lag", found.mean_lag.values))
    assert relaxation_time(None, curve, level=0.2).bracket == tuple(found.mean_lag.values)
    exact = msd(store, lags=[0.02], origins="first")
    assert (exact.lag.attrs["long_name"], exact.mean_lag.item()) == ("lag", 0.02)


# -------------------------------------------------------------------------------------------------------------- drift
def test_a_moving_crystal(tmp_path):
    corner = np.array(list(np.ndindex(6, 6, 6))) * 3.0 + 0.5
    push = np.array([4.0, -7.0, 11.0])
    path = corner[:, None] + push * DT * np.arange(30)[:, None]
    store = paths_of(tmp_path, path, side=18.0)
    going, resting = msd(store), msd(store, remove_drift=True)
    np.testing.assert_allclose(
        going.msd, np.outer([1, 1], (push**2).sum() * going.lag.values**2), rtol=1e-10
    )
    assert float(resting.msd.max()) < 1e-25
    assert going.attrs["drift_removed"] == 0
    assert resting.attrs["drift_removed"] == 1
    lags = DT * np.array([1, 20])
    common = {"lags": lags, "remove_drift": True, "progress": False}
    np.testing.assert_allclose(mgdask.self_scattering(store, 3.0, **common).fs, 1.0, rtol=1e-12)
    assert (mgdask.overlap(store, radius=0.1, **common).overlap == 1).all()
    assert (mgdask.van_hove(store, r_max=0.1, bins=2, **common)["count"][..., 1] == 0).all()
    assert (mgdask.overlap(store, radius=0.1, lags=lags, progress=False).overlap == 0).all()


def test_drift_is_that_of_the_centre_of_mass(tmp_path):
    """Heavy and light atoms go opposite ways: the plain mean of positions is another thing."""
    kinds = types_of(300)
    speed = np.where(kinds == 1, 6.0, -2.0)
    path = walk(300, 1, 0.0, seed=6) + (speed[:, None] * DT * np.arange(20))[:, :, None] * np.array(
        [1.0, 0, 0]
    )
    weight = np.where(kinds == 1, mass(41), mass(28))
    center = (weight * speed).sum() / weight.sum()
    assert abs(center - speed.mean()) > 0.5
    found = msd(paths_of(tmp_path, path, kinds), remove_drift=True)
    want = np.array([(-2.0 - center) ** 2, (6.0 - center) ** 2])
    np.testing.assert_allclose(found.msd, np.outer(want, found.lag.values**2), rtol=1e-9)


# ----------------------------------------------------------------------------------------------------------- precision
@pytest.mark.parametrize("side", [10000.0, 20.0], ids=["in the box", "images"])
def test_small_vibration_far_away(tmp_path, side):
    """0.05 Å at 5000 Å: what single precision loses (it steps by 0.0005 Å there)."""
    path = (
        5000.0
        + np.random.default_rng(7).random((64, 1, 3))
        + np.random.default_rng(8).normal(0, 0.05, (64, 50, 3))
    )
    store = store_of(tmp_path, path, side=side)
    exact = path.astype(np.longdouble)
    lags = np.array([1, 7, 30])
    want = np.array(
        [((exact[:, k:] - exact[:, :-k]) ** 2).sum(axis=2).mean() for k in lags], dtype=float
    )
    for one in (store, unwrapped(store)):
        np.testing.assert_allclose(msd(one, lags=DT * lags).msd_all, want, rtol=1e-9)
    short = path.astype(np.float32)
    crude = np.array([((short[:, k:] - short[:, :-k]) ** 2).sum(axis=2).mean() for k in lags])
    assert np.abs(crude / want - 1).max() > 1e-7


# ------------------------------------------------------------------------------------------------ cells: breathing, skewed
def breathing(folder, fraction, image, lengths):
    """A store of (atom, frame, 3) fractions and images, one file a frame, in a cube of another length in each."""
    files = []
    for k, side in enumerate(lengths):
        rows = np.concatenate([fraction[:, k] * side, image[:, k]], axis=1)[:, None]
        columns = "id type x y z ix iy iz"
        name = folder / f"{k:03d}.dump"
        text = [
            (
                10 * k,
                [
                    (i + 1, kind, *map(float, r[:3]), *map(int, r[3:]))
                    for i, (kind, r) in enumerate(zip(types_of(len(rows)), rows[:, 0], strict=True))
                ],
            )
        ]
        files.append(write_dump(name, text, columns=columns, box=[(0.0, float(side))] * 3))
    return ingest(files, folder)


LENGTHS = 20.0 * (1 + 0.02 * np.sin(2 * np.pi * np.arange(40) / 13))


@pytest.mark.parametrize("crossed", [0, 1, 30])
def test_a_crystal_at_rest_in_a_breathing_box(tmp_path, crossed):
    """Faces that atoms crossed earlier are of no consequence to a toroidal path; the lattice of images moves with them."""
    corner = (np.array(list(np.ndindex(4, 4, 4))) + 0.5) / 4
    fraction = np.repeat(corner[:, None], 40, axis=1)
    store = breathing(tmp_path, fraction, np.full(fraction.shape, crossed), LENGTHS)
    auto = unwrapped(store)
    toroidal, images = msd(auto), msd(unwrapped(store, scheme="images"))
    assert toroidal.attrs["scheme"] == "toroidal"
    assert images.attrs["scheme"] == "images"
    steps = np.rint(toroidal.lag.values / DT).astype(int)
    change = np.array([((LENGTHS[k:] - LENGTHS[:-k]) ** 2).mean() for k in steps])
    told = f"{crossed} faces crossed: toroidal {toroidal.msd_all.values.max():.3f} Å², images {images.msd_all.values.max():.3f} Å²"
    bound = 3 * (corner[:, 0] ** 2).mean() * change
    np.testing.assert_allclose(toroidal.msd_all, bound, rtol=1e-8, atol=1e-20, err_msg=told)
    assert float(toroidal.msd_all.max()) < 1.0, told
    np.testing.assert_allclose(
        images.msd_all,
        3 * ((corner[:, 0] + crossed) ** 2).mean() * change,
        rtol=1e-8,
        atol=1e-18,
        err_msg=told,
    )
    assert (float(images.msd_all.max()) > 2 * float(toroidal.msd_all.max())) == (crossed > 0), told


def test_atoms_to_and_fro_over_a_face_of_a_breathing_box(tmp_path):
    """A face is crossed in every frame, and the atom is always within 0.05 Å of it."""
    image = np.zeros((9, 40, 3), dtype=int)
    image[:, 1::2, 0] = 1
    fraction = np.full((9, 40, 3), 0.25)
    fraction[:, :, 0] = np.where(image[:, :, 0] == 1, 0.002, 0.998)
    store = breathing(tmp_path, fraction, image, LENGTHS)
    found = msd(unwrapped(store), lags=DT * np.array([1, 2, 6, 26, 39]))
    told = f"39 faces crossed: {found.msd_all.values} Å²"
    # a step is 0.004 of the length; what a face adds is the length's own change, by halves, and comes back with it
    assert (found.msd_all.values < 1.5).all(), told
    assert found.msd_all.values[0] < 0.1, told


def test_a_trajectory_whose_cell_changes_needs_paths(tmp_path):
    fraction = np.full((8, 40, 3), 0.5)
    store = breathing(tmp_path, fraction, np.zeros((8, 40, 3)), LENGTHS)
    for call in (
        msd,
        mgdask.overlap,
        lambda s: mgdask.self_scattering(s, 1.0),
        lambda s: mgdask.van_hove(s, lags=[0.01]),
    ):
        with pytest.raises(
            StoreError, match=r"the cell changes: unwrap it first with mgdask\.unwrap\('"
        ):
            call(store)


def test_another_basis_of_the_same_lattice(tmp_path):
    """Images are guessed anew in each: a, b, c; and a, b + a, c - b."""
    path = walk(100, 40, 0.4, seed=9, side=12.0)
    square, skew = (
        np.diag([12.0, 12.0, 12.0]),
        np.array([[12.0, 0, 0], [12.0, 12.0, 0], [0, -12.0, 12.0]]),
    )
    found = []
    for name, cell in (("square", square), ("skew", skew)):
        folder = tmp_path / name
        folder.mkdir()
        inside = wrap(path, cell, np.zeros(3), (True,) * 3)[0]
        assert np.abs(inside - path).max() > 5
        options = {"columns": "id type x y z", "side": 12.0}
        if name == "skew":  # bounds of the box around it: xlo + min(0, xy, xz, xy + xz), ...
            options |= {
                "box": [(0.0, 24.0), (-12.0, 12.0), (0.0, 12.0)],
                "tilt": (12.0, 0.0, -12.0),
            }
        store = store_of(folder, inside, **options)
        np.testing.assert_allclose(mgdask.open_store(store).cell[0], cell, atol=1e-12)
        found.append(all_four(unwrapped(store)))
        for scheme in ("toroidal", "nearest"):
            found[-1].append(msd(unwrapped(store, scheme=scheme), lags=[0.01, 0.2]))
    for ours, theirs in zip(*found, strict=True):
        xr.testing.assert_allclose(ours, theirs, rtol=1e-9)
    want = ((path[:, 20:] - path[:, :-20]) ** 2).sum(axis=2).mean()
    assert float(found[1][0].msd_all[2]) == pytest.approx(want, rel=1e-9)


# --------------------------------------------------------------------------------------------------------------- peers
def test_freud_agrees_in_a_constant_box(twins):
    """To its single precision and its Fourier transform."""
    freud = pytest.importorskip("freud")
    store, _ = twins["even"]
    ds = mgdask.open_store(store)
    box = freud.box.Box(*np.diagonal(ds.cell[0].values))
    theirs = (
        freud.msd.MSD(box, mode="window").compute(ds.position.values, images=ds.image.values).msd
    )
    lags = np.array([1, 2, 7, 20, 39])
    np.testing.assert_allclose(
        msd(store, lags=DT * lags).msd_all, theirs[lags], rtol=1e-4, atol=1e-5 * theirs.max()
    )


@pytest.mark.peers
def test_mdanalysis_agrees(twins):
    """To its single precision, over all origins."""
    universes = pytest.importorskip("MDAnalysis", reason="MDAnalysis is not installed")
    theirs = pytest.importorskip("MDAnalysis.analysis.msd")
    store, path = twins["even"]
    universe = universes.Universe.empty(N, trajectory=True)
    universe.load_new(path.transpose(1, 0, 2).astype(np.float32), order="fac")
    curve = theirs.EinsteinMSD(universe, msd_type="xyz", fft=False).run().results.timeseries
    lags = np.arange(1, 40)
    np.testing.assert_allclose(msd(store, lags=DT * lags).msd_all, curve[lags], rtol=1e-5)


# ------------------------------------------------------------------------------------------------------ stores, refusals
def test_a_store_of_paths_is_opened(twins, tmp_path):
    store, path = twins["even"]
    out = str(tmp_path / "paths.zarr")
    report = mgdask.unwrap(store, out, progress=False)
    assert (report.n_atoms, report.n_frames, report.scheme) == (N, 40, "images")
    ds = mgdask.open_store(out)
    assert ds.path.dims == ("atom", "frame", "xyz")
    assert ds.path.chunks is not None  # read when it is needed
    np.testing.assert_allclose(ds.path.values, path, atol=1e-12)
    assert ds.attrs["scheme"] == "images"
    assert "net_scratch" not in ds
    theirs = mgdask.open_store(store)
    for name in ("atom_id", "species", "mass", "time", "step", "run", "cell", "pbc"):
        np.testing.assert_array_equal(ds[name], theirs[name])
    assert {"time", "run", "species", "mass", "atom_id", "step"} <= set(ds.coords)


def test_drift_asked_of_a_trajectory(twins):
    with pytest.raises(
        StoreError,
        match=r"remove_drift needs the center of mass: unwrap it first with mgdask\.unwrap",
    ):
        msd(twins["even"][0], remove_drift=True)


def test_a_chunk_too_large_for_a_task(twins, tmp_path, monkeypatch):
    store = twins["even"][0]
    paths = str(tmp_path / "paths.zarr")
    mgdask.unwrap(store, paths, progress=False)
    monkeypatch.setattr(lag_tasks, "MAX_TASK_BYTES", 24 * 40 * N)
    plain = msd(store)
    monkeypatch.setattr(lag_tasks, "MAX_TASK_BYTES", 24 * 40 * N - 1)
    with pytest.raises(
        StoreError,
        match=rf"all 40 frames of a chunk of atoms take {format_bytes(24 * 40 * N)}: unwrap it first with mgdask\.unwrap",
    ):
        msd(store)
    assert same_bits([msd(paths)], [plain])


def test_one_frame_is_not_enough(twins, tmp_path):
    path = twins["even"][1]
    store = store_of(tmp_path, path[:, :1])
    for one in (store, unwrapped(store)):
        with pytest.raises(ParameterError, match="every run has only one frame"):
            msd(one)
        with pytest.raises(
            ParameterError,
            match=r"no frame is 0\.01 ps after any of the 1 origins; no run continues after them",
        ):
            msd(one, lags=[0.01])


def test_frames_without_times(tmp_path):
    file = dump(tmp_path / "a.dump", walk(6, 5, 0.1, seed=0), types_of(6))
    mgdask.ingest(file, tmp_path / "a.zarr", species=KINDS)
    with pytest.raises(
        ParameterError, match=r"no times; ingest with timestep= \(--timestep\) in ps"
    ):
        msd(tmp_path / "a.zarr")


def test_samples_are_those_of_regions(tmp_path):
    """mean + m (sum_k - n_k mean) / n over the regions of each run, by NumPy."""
    side, n, runs = 9.0, 2, 2
    paths = [walk(400, 21, 0.3, seed, side) for seed in range(runs)]
    kinds = types_of(400)
    files = [
        dump(tmp_path / f"{k}.dump", path, kinds, side=side, steps=10 * np.arange(21))
        for k, path in enumerate(paths)
    ]
    store = unwrapped(ingest(files, tmp_path, run=["a", "b"]))
    lags = [0.01, 0.05, 0.1]
    squares = msd(store, lags=lags, regions=n)
    waves = mgdask.self_scattering(store, [2.0], lags=lags, regions=n, progress=False)
    plain = msd(store, lags=lags)
    assert squares.msd_all.values.tobytes() == plain.msd_all.values.tobytes()
    assert squares.sizes["sample"] == runs * n**3
    for where, step in enumerate((1, 5, 10)):
        d = [np.linalg.norm(path[:, step:] - path[:, :-step], axis=-1) for path in paths]
        for term, found, name in (
            (lambda d: d**2, squares, "msd"),
            (lambda d: np.sinc(2.0 * d / np.pi), waves.isel(q=0), "fs"),
        ):
            total = np.zeros(runs * n**3)
            for species, mask in (("Ni", kinds == 2), ("Nb", kinds == 1)):
                mean = np.mean([term(one[mask]) for one in d])
                gain = []
                for path, one in zip(paths, d, strict=True):
                    cube = np.floor(n * (path[:, 0] % side) / side).astype(int)
                    region = (cube[:, 0] * n + cube[:, 1]) * n + cube[:, 2]
                    for k in range(n**3):
                        terms = term(one[mask & (region == k)])
                        gain.append(terms.sum() - terms.size * mean)
                total += gain
                expected = mean + runs * n**3 * np.array(gain) / (mask.sum() * d[0].shape[1] * runs)
                samples = found[f"{name}_sample"].sel(species=species).isel(lag=where)
                assert samples.values == pytest.approx(expected, rel=1e-9)
                assert float(samples.mean()) == pytest.approx(mean, rel=1e-12)
            everything = np.mean([term(one) for one in d])
            expected = everything + runs * n**3 * total / sum(one.size for one in d)
            samples = found[f"{name}_all_sample"].isel(lag=where)
            assert samples.values == pytest.approx(expected, rel=1e-9)


def test_errors_from_regions_are_those_of_independent_walkers(diffusing):
    """From a store to D with its error; the error is known for random walkers."""
    store, _ = diffusing
    found = msd(store, lags=list(DT * np.arange(1, 11)), regions=3)
    atoms = int(found.atoms.sum())
    by_regions = fit_diffusion(found.lag, found.msd_all, samples=found.msd_all_sample)
    known = fit_diffusion(
        found.lag, found.msd_all, trajectory=Trajectory(atoms=atoms, frames=41, interval=DT)
    )
    assert by_regions.coefficient.value == pytest.approx(known.coefficient.value, rel=0.05)
    assert 0.5 < by_regions.coefficient.error / known.coefficient.error < 2.0


@pytest.mark.parametrize("regions", [1, 0, 2.0, True])
def test_wrong_regions_are_refused(diffusing, regions):
    with pytest.raises(ParameterError, match="regions along each cell vector, 2 or more"):
        msd(diffusing[0], regions=regions)


def test_other_stores_are_refused(twins, tmp_path):
    store = twins["even"][0]
    mgdask.run(
        mgdask.plan(store, Chemistry(species=("Ni", "Nb")), out=tmp_path / "f.zarr", frames=[0]),
        progress=False,
    )
    with pytest.raises(StoreError, match="holds features; give a trajectory store"):
        msd(tmp_path / "f.zarr")
    with pytest.raises(MgdaskError, match="nothing"):
        msd(tmp_path / "nothing.zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(MgdaskError, match=r"empty\.zarr"):
        msd(tmp_path / "empty.zarr")
    (tmp_path / "empty.dump").write_text("")
    with pytest.raises(MgdaskError, match="the file is empty"):
        mgdask.ingest(
            str(tmp_path / "empty.dump"), tmp_path / "e.zarr", species=KINDS, timestep=0.001
        )


def test_paths_that_were_not_finished(tmp_path, monkeypatch):
    store = store_of(tmp_path, walk(6, 5, 0.1, seed=0))
    write = unwrap_module.write_unwrapped
    with monkeypatch.context() as patch:
        patch.setattr(unwrap_module, "write_unwrapped", lambda *a: 1 / 0)
        with pytest.raises(MgdaskError, match="ZeroDivisionError"):
            unwrapped(store)
    out = str(tmp_path / "auto.zarr")
    for look in (msd, mgdask.open_store):
        with pytest.raises(StoreError, match=r"auto\.zarr is not finished"):
            look(out)
    assert unwrap_module.write_unwrapped is write
    assert same_bits([msd(unwrapped(store))], [msd(store)])
