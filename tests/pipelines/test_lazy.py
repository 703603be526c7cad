"""Lazy features compute what is selected, before or after: counted, never timed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import xarray as xr

import mgdask
from mgdask.errors import ParameterError
from tests.plain_feature import PlainFeature

SEEN = []


@dataclass(frozen=True)
class Height(PlainFeature):
    """Height and its square; notes the frame and the atoms that it is asked for."""

    family: ClassVar[str] = "height"
    long_name: ClassVar[str] = "height"
    labels = ("z", "z2")

    def neighbor_lists(self, n_atoms, n_centers):
        return {}

    def describe(self, environments, centers, out):
        SEEN.append((float(environments.position[0, 2]), len(centers)))
        z = environments.position[centers, 2]
        out[...] = np.stack([z, z * z], axis=-1)
        return {}


@pytest.fixture
def ds(glass_store):
    """The shipped glass, 8 frames of 2000 atoms, with labels of frames and atoms."""
    ds = mgdask.open_store(glass_store)
    return ds.assign_coords(frame=np.arange(8), atom=ds.atom_id.values)


def expected(ds):
    """What Height is, from the positions alone."""
    z = ds.position.sel(xyz="z").values if "xyz" in ds.indexes else ds.position.values[..., 2]
    return np.stack([z, z * z], axis=-1)


def computed(lazy):
    """Values, and the frames (number) and atoms that were computed for them."""
    SEEN.clear()
    values = np.asarray(lazy.compute(scheduler="sync").values)
    return values, list(SEEN)


COPPER = "copper"
SELECTIONS = {
    "one frame": (lambda x, cu: x.isel(frame=5), lambda v, cu: v[5], [(5, 2000)]),
    "a list of frames": (
        lambda x, cu: x.isel(frame=[6, 2]),
        lambda v, cu: v[[6, 2]],
        [(6, 2000), (2, 2000)],
    ),
    "frames by label": (
        lambda x, cu: x.sel(frame=slice(3, 4)),
        lambda v, cu: v[3:5],
        [(3, 2000), (4, 2000)],
    ),
    "every third": (lambda x, cu: x[::3], lambda v, cu: v[::3], [(0, 2000), (3, 2000), (6, 2000)]),
    "backward": (lambda x, cu: x[:1:-5], lambda v, cu: v[:1:-5], [(7, 2000), (2, 2000)]),
    "negative": (lambda x, cu: x[-1, -2], lambda v, cu: v[-1, -2], [(7, 1)]),
    "atoms by id, unsorted and repeated": (
        lambda x, cu: x.isel(frame=5).sel(atom=[17, 4, 17]),
        lambda v, cu: v[5][[16, 3, 16]],
        [(5, 2)],
    ),
    "one atom": (lambda x, cu: x.sel(atom=17).isel(frame=5), lambda v, cu: v[5, 16], [(5, 1)]),
    "a mask, then a frame": (
        lambda x, cu: x.sel(atom=x.species == 29).isel(frame=5),
        lambda v, cu: v[5][cu],
        [(5, COPPER)],
    ),
    "a frame, then a mask": (
        lambda x, cu: x.isel(frame=5).isel(atom=cu),
        lambda v, cu: v[5][cu],
        [(5, COPPER)],
    ),
    "where and drop": (
        lambda x, cu: x.isel(frame=[5]).where(x.species == 29, drop=True),
        lambda v, cu: v[[5]][:, cu],
        [(5, COPPER)],
    ),
    "where without drop": (
        lambda x, cu: x.isel(frame=5).where(x.species == 29),
        lambda v, cu: np.where(cu[:, None], v[5], np.nan),
        [(5, 2000)],
    ),
    "a column": (
        lambda x, cu: x.isel(frame=5, atom=[8]).sel(height_feature="z2"),
        lambda v, cu: v[5, [8], 1],
        [(5, 1)],
    ),
    "columns in another order": (
        lambda x, cu: x.isel(frame=5, atom=slice(3)).sel(height_feature=["z2", "z"]),
        lambda v, cu: v[5, :3, ::-1],
        [(5, 3)],
    ),
    "atoms along another dimension": (
        lambda x, cu: x.isel(frame=[5], atom=xr.DataArray([4, 9], dims="near")).transpose(
            "near", ...
        ),
        lambda v, cu: v[[5]][:, [4, 9]].transpose(1, 0, 2),
        [(5, 2)],
    ),
    "all at once": (
        lambda x, cu: x[{"frame": [5, 1], "atom": cu, "height_feature": [1]}],
        lambda v, cu: v[[5, 1]][:, cu][..., [1]],
        [(5, COPPER), (1, COPPER)],
    ),
    "the first of a copy": (
        lambda x, cu: x.copy(deep=True).isel(frame=0, atom=[1]),
        lambda v, cu: v[0, [1]],
        [(0, 1)],
    ),
    "nothing": (lambda x, cu: x.isel(frame=[], atom=slice(4)), lambda v, cu: v[[], :4], []),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_selection_computes_its_frames_and_atoms(ds, name):
    take, wanted, counts = SELECTIONS[name]
    copper = ds.species.values == 29
    first_z = [float(z) for z in ds.position.values[:, 0, 2]]
    whole = mgdask.featurize(ds, Height()).height
    values, seen = computed(take(whole, copper))
    np.testing.assert_array_equal(values, wanted(expected(ds), copper))
    n = {COPPER: int(copper.sum())}
    assert sorted(seen) == sorted((first_z[f], n.get(atoms, atoms)) for f, atoms in counts)


def test_a_single_frame_is_described_too(ds):
    before = mgdask.featurize(ds.isel(frame=5), Height())
    after = mgdask.featurize(ds, Height()).isel(frame=5)
    assert before.height.dims == ("atom", "height_feature")
    xr.testing.assert_identical(before.compute(scheduler="sync"), after.compute(scheduler="sync"))
    with pytest.raises(ParameterError, match=r"nonaffine compares frames.*isel\(frame="):
        mgdask.featurize(ds.isel(frame=5), mgdask.NonAffine())
