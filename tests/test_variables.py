"""The vocabulary of arrays, and Datasets checked against it."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import mgdask
from mgdask import variables
from mgdask.errors import ParameterError, StoreError


@pytest.fixture(scope="module")
def trajectory(glass_store):
    return mgdask.open_store(glass_store)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda ds: ds.drop_vars("origin"), r"origin\(frame, xyz\) in Å is missing$"),
        (lambda ds: ds.drop_vars(["step", "run"]), r"step\(frame\) is missing; run\(frame\) is"),
        (lambda ds: ds.rename(vector="axis"), r"cell has dims \(frame, axis, xyz\), expected"),
        (lambda ds: ds.transpose("atom", ...), r"position has dims \(atom, frame, xyz\)"),
        (lambda ds: ds.assign(pbc=ds.pbc.astype(float)), "pbc has dtype float64, expected kind b"),
        (lambda ds: ds.assign_coords(step=ds.step.astype(str)), "step has dtype <U.*kind i"),
        (
            lambda ds: ds.assign(cell=ds.cell.assign_attrs(units="nm")),
            "cell has unit nm, expected Å$",
        ),
    ],
)
def test_what_is_wrong_with_a_dataset_is_listed(trajectory, spoil, message):
    with pytest.raises(
        StoreError, match=f"glass.zarr is not a valid trajectory store: .*{message}"
    ):
        variables.validate(spoil(trajectory), "trajectory", "glass.zarr")


def test_selections_missing_units_and_other_variables_are_valid(trajectory):
    ds = trajectory.assign(strain=("frame", np.zeros(trajectory.sizes["frame"])))
    variables.validate(ds, "trajectory")
    variables.validate(ds.isel(frame=slice(2)), "trajectory")
    no_units = ds.assign(cell=ds.cell.drop_attrs())
    variables.validate(no_units, "trajectory")


def test_features_may_be_averages_over_atoms(trajectory):
    ds = trajectory[["step", "run", "atom_id", "species"]]
    values = np.zeros((trajectory.sizes["frame"], 3))
    ds = ds.assign(packing=(("frame", "packing_feature"), values))
    variables.validate(ds, "features")
    with pytest.raises(StoreError, match=r"packing has dims \(frame, column\)"):
        variables.validate(ds.rename(packing_feature="column"), "features")


def test_unknown_kinds_are_refused():
    with pytest.raises(ParameterError, match="kind='movie' is unknown; allowed: trajectory, paths"):
        variables.validate(xr.Dataset(), "movie")


def test_required_variables_are_described():
    for kind, names in variables.REQUIRED.items():
        table = variables.DICTIONARY_VALUES if kind == "dictionary" else variables.VARIABLES
        assert set(names) <= set(table)
