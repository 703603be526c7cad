"""The accessor ``ds.mg``: registration, selections, and what it refuses."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import xarray as xr

import mgdask
from mgdask._accessor import register
from mgdask.errors import ParameterError
from mgdask.explore.selecting import as_mask


def small(n_frames=3, ids=(3, 5, 8, 13, 21), numbers=(29, 40, 29, 28, 40)):
    """A Dataset made by hand, with ids that are neither 1..N nor contiguous."""
    rng = np.random.default_rng(1)
    n = len(ids)
    return xr.Dataset(
        {
            "position": (("frame", "atom", "xyz"), rng.uniform(0, 10, (n_frames, n, 3))),
            "cell": (("frame", "vector", "xyz"), np.stack([10 * np.eye(3)] * n_frames)),
        },
        coords={
            "frame": 10 + np.arange(n_frames),
            "atom": list(ids),
            "atom_id": ("atom", list(ids)),
            "species": ("atom", list(numbers)),
        },
    )


def test_opened_stores_and_handmade_data_have_the_accessor(glass_store):
    ds = mgdask.open_store(glass_store)
    assert ds.mg.species("Cu").sizes["atom"] == int((ds.species == 29).sum())
    assert ds.position.mg.species("Cu").sizes["atom"] == int((ds.species == 29).sum())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register()  # again: no warning, and no second accessor


def test_the_accessor_is_imported_when_it_is_first_used():
    code = (
        "import sys, xarray, mgdask; assert hasattr(xarray.Dataset, 'mg');"
        "assert 'mgdask.explore.accessor' not in sys.modules;"
        "xarray.Dataset().mg; assert 'mgdask.explore.accessor' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_survives_copies_and_pickle():
    ds = small()
    assert ds.mg is ds.mg
    for other in (copy.copy(ds), copy.deepcopy(ds), pickle.loads(pickle.dumps(ds)), ds.copy()):
        assert other.mg._ds is other
        assert other.mg.species("Ni").atom_id.values.tolist() == [13]


def test_species_keep_their_order_and_unknown_ones_are_named():
    ds = small()
    assert ds.mg.species("Zr", "Ni").atom_id.values.tolist() == [5, 13, 21]
    assert ds.position.mg.species("Cu").atom_id.values.tolist() == [3, 8]
    with pytest.raises(ParameterError, match="no Ti atoms; the elements are Cu, Ni, Zr"):
        ds.mg.species("Ti")
    with pytest.raises(ParameterError, match="did you mean 'Zr'"):
        ds.mg.species("zr")


def test_frames_go_by_their_number_in_the_store():
    ds = small()
    assert ds.mg.frame(11).position.equals(ds.position[1])
    assert ds.mg.frame(-1).position.equals(ds.position[2])
    assert ds.position.mg.frame(10).equals(ds.position[0])
    with pytest.raises(ParameterError, match="no frame 3; there are 3 frames from 10 to 12"):
        ds.mg.frame(3)
    with pytest.raises(ParameterError, match="no dimension 'frame' \\(one was selected before\\)"):
        ds.mg.frame(10).mg.frame(10)


@pytest.mark.parametrize(
    ("mask", "ids"),
    [
        (None, [3, 5, 8, 13, 21]),
        ("Cu", [3, 8]),
        (["Cu", "Ni"], [3, 8, 13]),
        (21, [21]),
        ([21, 5, 5], [5, 21]),
        (np.array([True, False, False, False, True]), [3, 21]),
        ([], []),
    ],
)
def test_masks_in_every_form(mask, ids):
    ds = small()
    assert ds.atom_id.values[as_mask(ds, mask)].tolist() == ids


def test_masks_of_arrays_are_matched_by_id():
    ds = small()
    other = xr.DataArray([True, True, False], dims="atom", coords={"atom_id": ("atom", [21, 3, 5])})
    assert ds.atom_id.values[as_mask(ds, other)].tolist() == [3, 21]
    with pytest.raises(ParameterError, match="there are no atoms with id 3, 21; the 1 atoms"):
        as_mask(ds.isel(atom=[1]), other)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ([4, 6], "there are no atoms with id 4, 6; the 5 atoms have ids from 3 to 21"),
        ([True, False], "shape \\(2,\\); it must have one value for each of the 5 atoms"),
        ([0.5], "must be booleans \\(one per atom\\), element symbols such as 'Cu', or integer"),
        (xr.DataArray(np.ones(5), dims="atom"), "dtype float64; it must be boolean"),
        (xr.DataArray(np.ones((3, 5), bool), dims=("frame", "atom")), "Choose a frame first"),
    ],
)
def test_bad_masks_are_refused_in_words(mask, words):
    with pytest.raises(ParameterError, match=words):
        as_mask(small(), mask)
