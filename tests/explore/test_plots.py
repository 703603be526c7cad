"""Pictures of a Dataset: what is drawn, its labels and units, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.stats import gaussian_kde

import mgdask
from mgdask.errors import ParameterError
from mgdask.explore.grouping_values import group_names, values_by_group
from mgdask.explore.plotting import color_span
from mgdask.explore.values import axis_label, either_spelling, find_values, values_of_frame
from mgdask.plot.style import figure
from mgdask.plot.violins import smooth_density
from tests.plot.boxes_of_text import overlapping

N = 60
CELL = np.array([[9.0, 0, 0], [3.0, 8.0, 0], [1.0, 2.0, 7.0]])


def glass(n_frames=4, seed=3):
    """A trajectory with features, in a triclinic cell, made by hand."""
    rng = np.random.default_rng(seed)
    s = rng.uniform(size=(n_frames, N, 3))
    numbers = rng.choice([29, 40], size=N)
    values = rng.normal(size=(n_frames, N, 2))
    d2min = rng.exponential(size=(n_frames, N, 2))
    d2min[-1] = np.nan
    name, label = "bond_order", ["q4", "q6"]
    return xr.Dataset(
        {
            "position": (("frame", "atom", "xyz"), s @ CELL + 0.5, {"units": "Å"}),
            "cell": (("frame", "vector", "xyz"), np.stack([CELL] * n_frames)),
            "origin": (("frame", "xyz"), np.full((n_frames, 3), 0.5)),
            "pbc": ("vector", np.ones(3, dtype=bool)),
            name: (("frame", "atom", f"{name}_feature"), values, {"units": "1"}),
            "nonaffine": (("frame", "atom", "nonaffine_feature"), d2min),
        },
        coords={
            "frame": 10 + np.arange(n_frames),
            "time": ("frame", 0.5 * np.arange(n_frames), {"units": "ps"}),
            "run": (
                "frame",
                np.array(["a", "a", "b", "b"][:n_frames], dtype=np.dtypes.StringDType()),
            ),
            "atom": 7 + 3 * np.arange(N),
            "atom_id": ("atom", 7 + 3 * np.arange(N)),
            "species": ("atom", numbers, {"units": "Z"}),
            f"{name}_feature": label,
            "nonaffine_feature": ["d2min", "shear"],
            "nonaffine_unit": ("nonaffine_feature", ["Å²", "1"]),
        },
    )


@pytest.fixture
def ds():
    return glass()


def offsets(axes):
    """Positions of all markers drawn with scatter."""
    return np.concatenate([np.asarray(c.get_offsets()) for c in axes.collections])


def in_slab(position, at, thickness):
    """Atoms of a slab across z: brute force over images of the cell."""
    shifts = np.array([k * CELL[2, 2] for k in (-1, 0, 1)])
    return (np.abs(position[:, 2, None] + shifts - at) <= thickness / 2).any(axis=1)


# ---------------------------------------------------------------- slab


@pytest.mark.parametrize("at", [None, 0.6])
def test_slab_draws_its_atoms_at_their_positions(ds, at):
    picture = ds.mg.plot.slab("q6", frame=11, at=at, thickness=2.0)
    position = ds.position.values[1]
    middle = 0.5 + 0.5 * CELL.sum(axis=0)[2] if at is None else at
    expected = position[in_slab(position, middle, 2.0)]
    assert sorted(map(tuple, offsets(picture.axes))) == sorted(map(tuple, expected[:, :2]))
    assert picture.axes.get_xlabel() == "x (Å)"
    assert picture.axes.get_ylabel() == "y (Å)"
    assert picture.axes.get_aspect() == 1.0
    # all corners of the tilted cell are in view
    low, high = picture.axes.get_xlim()
    assert low <= 0.5
    assert high >= 0.5 + CELL[:, 0].sum()
    assert overlapping(picture.figure) == []


def test_colors_of_a_slab_are_the_values(ds):
    picture = ds.mg.plot.slab(colour="d2min", thickness=3.0, span=(0.0, 4.0))
    (bar,) = (axes for axes in picture.axes.child_axes)
    assert bar.get_ylabel() == "d2min (Å²)"
    pairs = zip(ds.position.values[0, :, :2], ds.nonaffine.values[0, :, 0], strict=True)
    where = {tuple(p): v for p, v in pairs}
    for markers in picture.axes.collections:
        drawn = [where[tuple(p)] for p in np.asarray(markers.get_offsets())]
        np.testing.assert_array_equal(markers.get_array(), drawn)
        assert markers.get_clim() == (0.0, 4.0)


def test_classes_and_elements_have_a_legend(ds):
    mask = (ds.nonaffine.sel(nonaffine_feature="d2min") > 1.0).rename("plastic")
    mask.attrs["long_name"] = "non-affine displacement"  # of the array that was compared
    picture = ds.mg.plot.slab(mask, frame=12)
    words = [text.get_text() for text in picture.axes.get_legend().get_texts()]
    assert words == ["plastic: false", "plastic: true", "Cu", "Zr"]
    picture = ds.mg.plot.slab()
    assert [text.get_text() for text in picture.axes.get_legend().get_texts()] == ["Cu", "Zr"]
    assert overlapping(picture.figure) == []
    assert overlapping(ds.mg.plot.slab(mask.rename("a name of 24 characters")).figure) == []
    text = xr.DataArray(["a", "b"] * (N // 2), dims="atom", coords={"atom_id": ds.atom_id})
    words = ds.mg.plot.slab(text).axes.get_legend().get_texts()
    assert [word.get_text() for word in words][:2] == ["a", "b"]


def test_values_are_matched_by_atom_id(ds):
    """Of some atoms, in another order; the others have no value."""
    some = ds.isel(atom=[40, 3, 17], frame=0)
    q6 = some.bond_order.sel(bond_order_feature="q6")
    found = values_of_frame(ds, q6, 10).values
    expected = np.full(N, np.nan)
    expected[[40, 3, 17]] = ds.bond_order.values[0, [40, 3, 17], 1]
    np.testing.assert_array_equal(found, expected)
    assert values_of_frame(ds, q6 > -np.inf, 10).values.sum() == 3
    other = q6.assign_coords(atom_id=q6.atom_id + 1, atom=q6.atom + 1)
    with pytest.raises(ParameterError, match="no atom of the Dataset has a value"):
        values_of_frame(ds, other, 10)


def test_axes_of_the_caller(ds):
    axes = figure(4.0, 4.0).subplots()
    picture = ds.mg.plot.slab("q6", ax=axes)
    assert picture.axes is axes
    assert picture.figure is axes.figure
    assert picture._repr_png_() is None  # the caller's figure is shown, not twice


def test_picture_is_shown_and_saved(ds, tmp_path):
    picture = ds.mg.plot.violin("q6")
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert picture.save(tmp_path / "a.png", dpi=40).read_bytes().startswith(b"\x89PNG")
    assert picture.save(tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


# ---------------------------------------------------------------- map


def test_map_is_the_mean_of_columns_along_a_cell_vector(ds):
    picture = ds.mg.plot.map("q6", spacing=2.5, axis="z")
    mesh = picture.axes.collections[0]
    n = [int(np.linalg.norm(CELL[k]) / 2.5) for k in (0, 1)]
    s = np.linalg.solve(CELL.T, (ds.position.values[0] - 0.5).T).T
    bins = (np.floor(s[:, :2] * n)).astype(int)
    value = ds.bond_order.values[0, :, 1]
    expected = np.full(n, np.nan)
    for i in range(n[0]):
        for k in range(n[1]):
            inside = (bins == [i, k]).all(axis=1)
            if inside.any():
                expected[i, k] = value[inside].mean()
    shown = np.ma.filled(mesh.get_array(), np.nan).reshape(n)
    np.testing.assert_allclose(shown, expected)
    corners = mesh.get_coordinates()
    np.testing.assert_allclose(corners[-1, -1], 0.5 + (CELL[0] + CELL[1])[:2])
    np.testing.assert_allclose(corners[0, -1], 0.5 + CELL[1][:2])
    assert picture.axes.get_aspect() == 1.0
    assert picture.axes.child_axes[0].get_ylabel() == "mean of q6 (dimensionless)"


def test_map_of_the_density_and_of_a_share(ds):
    picture = ds.mg.plot.map(spacing=3.0, axis="x")
    mesh = np.ma.filled(picture.axes.collections[0].get_array(), np.nan)
    assert mesh.mean() == pytest.approx(N / np.linalg.det(CELL))
    assert (picture.axes.get_xlabel(), picture.axes.get_ylabel()) == ("y (Å)", "z (Å)")
    share = ds.mg.plot.map((ds.species == 29).rename("copper"), spacing=20.0)
    mesh = np.ma.filled(share.axes.collections[0].get_array(), np.nan)
    assert mesh.ravel().tolist() == [pytest.approx((ds.species == 29).mean().item())]
    assert share.axes.child_axes[0].get_ylabel() == "share of copper (dimensionless)"


# ---------------------------------------------------------------- violin


def test_violin_groups_hold_their_values(ds):
    values = find_values(ds, "q6").chunk(frame=2)
    by = values_by_group(values, group_names(values, "species"))
    q6 = ds.bond_order.values[:, :, 1]
    for name, z in (("Cu", 29), ("Zr", 40)):
        assert sorted(by[name]) == sorted(q6[:, ds.species.values == z].ravel())
    by = values_by_group(values, group_names(values, "run"))
    assert sorted(by["b"]) == sorted(q6[2:].ravel())
    by = values_by_group(values, group_names(values, "time"))
    assert list(by) == ["0 ps", "0.5 ps", "1 ps", "1.5 ps"]


def test_violin_is_labeled_and_its_density_is_that_of_scipy(ds, rng):
    picture = ds.bond_order.mg.plot.violin("q4", by="species")
    assert picture.axes.get_ylabel() == "q4 (dimensionless)"
    names = [tick.get_text() for tick in picture.axes.get_xticklabels()]
    assert names[0].startswith("Cu\n(")
    assert overlapping(picture.figure) == []
    sample = rng.normal(size=2000)
    grid, density = smooth_density(sample)
    width = 0.9 * min(sample.std(), np.subtract(*np.quantile(sample, [0.75, 0.25])) / 1.34)
    twin = gaussian_kde(sample, bw_method=width * 2000**-0.2 / sample.std(ddof=1))(grid)
    np.testing.assert_allclose(density, twin, rtol=1e-2, atol=1e-4)


def test_violins_of_equal_and_missing_values(ds):
    same = ds.bond_order.sel(bond_order_feature="q6") * 0.0 + 3.0
    assert ds.mg.plot.violin(same).axes.get_ylabel().startswith("q6 (")
    with pytest.raises(ParameterError, match="all are NaN"):
        ds.isel(frame=[-1]).mg.plot.violin("d2min")


# ---------------------------------------------------------------- series


def test_series_is_the_mean_and_the_quartiles_of_each_run(ds):
    picture = ds.chunk(frame=1).mg.plot.series("q6", by="species")
    lines = {line.get_label(): line for line in picture.axes.get_lines()}
    assert list(lines) == ["a, Cu", "a, Zr", "b, Cu", "b, Zr"]
    q6 = ds.bond_order.values[:, :, 1]
    copper = ds.species.values == 29
    np.testing.assert_allclose(lines["b, Cu"].get_ydata(), q6[2:, copper].mean(axis=1))
    np.testing.assert_array_equal(lines["b, Cu"].get_xdata(), [1.0, 1.5])
    band = picture.axes.collections[0].get_paths()[0].vertices
    low, high = np.quantile(q6[0, copper], [0.25, 0.75])
    assert band[band[:, 0] == 0.0][:, 1].min() == pytest.approx(low)
    assert band[band[:, 0] == 0.0][:, 1].max() == pytest.approx(high)
    assert picture.axes.get_xlabel() == "time (ps)"
    assert overlapping(picture.figure) == []


def test_series_of_frames_and_over_other_variables(ds):
    energy = xr.DataArray(
        [3.0, 2.0, 1.0, 0.0], dims="frame", name="energy", attrs={"units": "eV"}
    ).assign_coords(temperature=("frame", [400.0, 300.0, 200.0, 100.0], {"units": "K"}))
    picture = energy.mg.plot.series(over="temperature")
    (line,) = picture.axes.get_lines()
    assert line.get_xdata().tolist() == [100.0, 200.0, 300.0, 400.0]
    assert line.get_ydata().tolist() == [0.0, 1.0, 2.0, 3.0]
    assert picture.axes.get_xlabel() == "temperature (K)"
    assert picture.axes.get_ylabel() == "energy (eV)"
    both = ds.assign(temperature=energy.temperature.variable, pressed=ds.species == 29)
    assert both.mg.plot.series("q6", over="temperature").axes.get_xlabel() == "temperature (K)"
    names = both.mg.plot.violin("q6", by="pressed").axes.get_xticklabels()
    assert overlapping(names[0].figure) == []
    assert [name.get_text().split("\n")[0] for name in names] == ["pressed: false", "pressed: true"]
    assert energy.drop_vars("temperature").mg.plot.series().axes.get_xlabel() == (
        "frame (dimensionless)"
    )


# ---------------------------------------------------------------- words


def test_color_and_colour_are_one_argument(ds):
    with pytest.raises(ParameterError, match="two spellings"):
        either_spelling("q6", "q6")
    with pytest.raises(ParameterError, match="two spellings"):
        ds.mg.plot.map("q6", colour="q4")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p, ds: p.slab("q5"), "there is no 'q5'; the nearest names are q6, q4"),
        (lambda p, ds: p.slab("nonaffine"), r"2 columns along nonaffine_feature \(d2min, shear\)"),
        (lambda p, ds: p.slab("time"), "no value of each atom"),
        (lambda p, ds: p.slab("d2min", frame=-1), "all are NaN.*choose another frame"),
        (lambda p, ds: p.slab("q6", span=(1.0, 1.0)), r"span=\(1.0, 1.0\) must be two"),
        (lambda p, ds: p.map(spacing=0.0), "spacing=0.0 must be"),
        (lambda p, ds: p.violin("q6", by="color"), "by='color' is no coordinate of q6; allowed"),
        (lambda p, ds: p.violin("q6", by="atom_id"), "60 different values.*at most 24 groups"),
        (lambda p, ds: p.series("q6", over="run"), "over='run' is no coordinate of frames with"),
        (lambda p, ds: p.series("q6", by="time"), "by must name groups of atoms"),
        (lambda p, ds: p.series(ds.species), "has no dimension frame"),
    ],
)
def test_refusals(ds, make, words):
    with pytest.raises(ParameterError, match=words):
        make(ds.mg.plot, ds)


def test_columns_of_the_same_name_are_told_apart(ds):
    twice = ds.assign(other=ds.bond_order.rename(bond_order_feature="other_feature"))
    with pytest.raises(ParameterError, match="write one of: bond_order: q6, other: q6"):
        find_values(twice, "q6")
    assert axis_label(find_values(twice, "other: q6")) == "q6 (dimensionless)"


def test_features_alone_have_no_positions(ds):
    with pytest.raises(ParameterError, match="has no position, cell, which this picture needs"):
        ds[["bond_order"]].mg.plot.slab("q6")


def test_span_is_that_of_the_percentiles():
    values = np.append(np.arange(101.0), np.nan)
    assert color_span(values, None) == (2.0, 98.0)
    assert color_span(np.full(3, 2.0), None) == (1.5, 2.5)


def test_pictures_of_a_store_read_one_frame(glass_store):
    """The labels of a real store are enough."""
    ds = mgdask.open_store(glass_store)
    picture = ds.mg.plot.slab(frame=-1, thickness=3.0)
    assert overlapping(picture.figure) == []


def test_rdf_draws_the_curves_of_ds_mg_rdf(glass_store):
    ds = mgdask.open_store(glass_store).isel(frame=[-1])
    rdf = ds.mg.rdf(r_max=6.0, bins=60)
    axes = ds.mg.plot.rdf(r_max=6.0, bins=60, pairs=["Cu-Zr"]).axes
    lines = {line.get_label(): line for line in axes.get_lines() if len(line.get_xdata()) > 2}
    assert list(lines) == ["all", "Cu-Zr"]
    np.testing.assert_array_equal(lines["all"].get_ydata(), rdf.g_all)
    np.testing.assert_array_equal(lines["Cu-Zr"].get_ydata(), rdf.g.sel(species="Cu")[1])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("r (Å)", "g(r) (dimensionless)")
    assert overlapping(axes.figure) == []
    with pytest.raises(ParameterError, match="'Cu-Fe' is not a pair of elements; allowed: Cu-Cu"):
        ds.mg.plot.rdf(r_max=6.0, bins=60, pairs=["Cu-Fe"])
