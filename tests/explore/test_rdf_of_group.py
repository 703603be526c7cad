"""Radial distribution functions of groups of atoms, against every image of every pair."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import mgdask
from mgdask.analysis.groups import extreme_groups
from mgdask.errors import ParameterError
from tests.conftest import threads_client

OPTIONS = {"r_max": 5.0, "bins": 20}


def mixture(n=30, n_frames=2):
    """Atoms in a tilted cell that is smaller than the distances counted."""
    rng = np.random.default_rng(7)
    cell = np.array([[6.0, 0, 0], [1.5, 6.5, 0], [-1.0, 2.0, 7.0]])
    cells = np.stack([cell * (1 + 0.01 * k) for k in range(n_frames)])
    return xr.Dataset(
        {
            "position": (
                ("frame", "atom", "xyz"),
                np.stack([rng.uniform(0, 1, (n, 3)) @ each for each in cells]),
            ),
            "cell": (("frame", "vector", "xyz"), cells),
        },
        coords={
            "atom_id": ("atom", np.arange(n) + 50),
            "species": ("atom", rng.choice([29, 40], n)),
        },
    )


def brute(ds, centers, neighbors, pair, edges):
    """Pairs of two species by distance, from all images of all pairs."""
    z, counts = ds.species.values, np.zeros(len(edges) - 1, dtype=np.int64)
    for r, cell in zip(ds.position.values, ds.cell.values, strict=True):
        n = range(-3, 4)
        shifts = np.array(np.meshgrid(n, n, n)).reshape(3, -1).T @ cell
        for i in np.flatnonzero(centers & (z == pair[0])):
            for j in np.flatnonzero(neighbors & (z == pair[1])):
                distance = np.linalg.norm(r[j] - r[i] + shifts, axis=1)
                distance = distance[(distance > 1e-9) & (distance < edges[-1])]
                counts += np.histogram(distance, edges)[0]
    return counts


def test_groups_against_every_image_of_every_pair():
    ds = mixture()
    z = ds.species.values
    rng = np.random.default_rng(1)
    centers, neighbors = rng.uniform(size=30) < 0.4, rng.uniform(size=30) < 0.7
    every = np.ones(30, dtype=bool)
    edges, mean_volume = np.linspace(0, 5, 21), np.linalg.det(ds.cell.values).mean()
    shell = 4 / 3 * np.pi * np.diff(edges**3)
    for given, (a, b) in (
        ({"centers": centers}, (centers, every)),
        ({"neighbors": neighbors}, (every, neighbors)),
        ({"centers": centers, "neighbors": neighbors}, (centers, neighbors)),
    ):
        rdf = ds.mg.rdf(**OPTIONS, **given)
        total = 0
        for one, x in (("Cu", 29), ("Zr", 40)):
            for other, y in (("Cu", 29), ("Zr", 40)):
                count = brute(ds, a, b, (x, y), edges)
                total = total + count
                pair = rdf.sel(species=one, neighbor_species=other)
                assert pair["count"].values.tolist() == count.tolist()
                n_x, n_y = (a & (z == x)).sum(), (b & (z == y)).sum()
                g = count / (2 * n_x * n_y / mean_volume * shell)
                assert pair.g.values == pytest.approx(g, rel=1e-12)
                assert (int(pair.n_atoms), int(pair.n_neighbors)) == (n_x, n_y)
        g = total / (2 * a.sum() * b.sum() / mean_volume * shell)
        assert rdf.g_all.values == pytest.approx(g, rel=1e-12)


def test_all_atoms_give_the_bits_of_the_batch(glass_store, client):
    ds = mgdask.open_store(glass_store).isel(frame=slice(0, 3))
    batch = mgdask.partial_rdf(glass_store, frames=[0, 1, 2], client=client, **OPTIONS)
    here = ds.mg.rdf(**OPTIONS)  # by the two workers
    del batch.attrs["input"]
    assert here.identical(batch)
    one = ds.mg.frame(1).mg.rdf(**OPTIONS)
    assert one.identical(ds.isel(frame=[1]).mg.rdf(**OPTIONS))
    mask = np.asarray(ds.species.values == 40)
    some = ds.mg.rdf(centers="Zr", **OPTIONS)
    batch = mgdask.partial_rdf(
        glass_store, frames=[0, 1, 2], centers=mask, client=client, **OPTIONS
    )
    assert some.equals(batch)
    assert some.g.sel(species="Zr").equals(here.g.sel(species="Zr"))
    assert np.isnan(some.g.sel(species="Cu")).all()
    assert int(some.n_neighbors.sum()) == 2000
    with threads_client(2):
        assert ds.mg.rdf(centers="Zr", **OPTIONS).identical(some)


def test_the_softest_tenth_is_a_mask():
    ds = mixture().isel(frame=0)
    softness = np.random.default_rng(2).normal(size=30)
    low, _ = extreme_groups(softness)
    ids = ds.atom_id.values[low]
    mask = xr.DataArray(low[::-1], dims="atom", coords={"atom_id": ds.atom_id[::-1]})
    assert ds.mg.rdf(centers=mask, **OPTIONS).identical(ds.mg.rdf(centers=ids, **OPTIONS))
    assert int(ds.mg.rdf(centers=mask, **OPTIONS).n_atoms.sum()) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"r_max": 0.0}, "r_max=0.0 must be a distance"),
        ({"bins": 5}, "bins=5 must be from 10"),
        ({"centers": np.zeros(30, dtype=bool)}, "centers chooses none of the 30 atoms"),
        ({"neighbors": "Ti"}, "there are no Ti atoms"),
    ],
)
def test_refusals(options, words):
    with pytest.raises(ParameterError, match=words):
        mixture().mg.rdf(**options)
