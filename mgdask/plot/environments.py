"""Pictures of a feature store: what the environments are, where they sit, how they change over the frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from mgdask.elements import symbol
from mgdask.errors import ParameterError

MARKERS = "osD^vP"


def principal_components(values: xr.DataArray, *, n_components: int = 2) -> xr.DataArray:
    """Leading principal components of a feature over all its frames and atoms, lazily.

    The covariance of the columns (n_columns x n_columns) is accumulated block by block, so the features themselves are
    never gathered: ``C = <x x^T> - <x><x>^T``, then ``y = (x - <x>) V`` with the eigenvectors ``V`` of the largest
    eigenvalues. The sign of a component is fixed by its largest loading being positive.

    Returns the components with dims (frame, atom, component); ``attrs["explained"]`` holds their shares of the variance.
    """
    columns = values.dims[-1]
    n = int(np.prod([values.sizes[d] for d in values.dims[:-1]]))
    flat = values.astype(np.float64)
    rows = values.dims[:-1]
    mean = flat.mean(rows)
    second = xr.dot(flat, flat.rename({columns: "_other"}), dim=rows) / n
    mean, second = (
        xr.Dataset({"mean": mean, "second": second}).load().values()
    )  # one pass over the features
    covariance = second.values - np.outer(mean.values, mean.values)
    weights, vectors = np.linalg.eigh(covariance)
    order = np.argsort(weights)[::-1][:n_components]
    basis = vectors[:, order]
    basis = basis * np.sign(basis[np.abs(basis).argmax(0), np.arange(basis.shape[1])])
    loading = xr.DataArray(basis, dims=(columns, "component"))
    scores = xr.dot(flat - mean, loading, dim=str(columns))
    scores.attrs["explained"] = [float(w) for w in weights[order] / weights.clip(0).sum()]
    named: xr.DataArray = scores.rename("principal_component")
    return named


def draw_slab(
    axes: Any,
    frame: xr.Dataset,
    values: xr.DataArray,
    *,
    slab: float = 5.0,
    along: str = "z",
    cmap: str = "viridis",
    size: float = 150.0,
) -> Any:
    """Draw the atoms of a slab through the middle of a cell, seen along one axis, coloured by a value of each.

    Parameters: ``axes`` of matplotlib; ``frame`` one frame of an opened trajectory store; ``values`` (atom,) with the coordinate atom_id, some or
    all atoms (NaN stay white); ``slab`` thickness in Å; ``along`` "x", "y" or "z" the direction of view; ``size`` of the largest atoms in
    points². Colours span the 2nd to the 98th percentile. Returns what a colour bar needs.

    >>> drawn = draw_slab(plt.gca(), ds.isel(frame=0), out.bond_order.isel(frame=0).sel(bond_order_feature="q6"))  # doctest: +SKIP
    >>> plt.colorbar(drawn, label="q6")                                                                      # doctest: +SKIP
    """
    if values.dims != ("atom",) or "atom_id" not in values.coords:
        raise ParameterError(
            f"values must be (atom,) with the coordinate atom_id; got {values.dims}; choose a frame and a column first"
        )
    rows = np.searchsorted(frame["atom_id"].values, values["atom_id"].values)
    position, numbers = frame["position"].values[rows], frame["species"].values[rows]
    if along not in ("x", "y", "z"):
        raise ParameterError(f"along={along!r} must be 'x', 'y' or 'z'")
    axis = "xyz".index(along)
    one, other = (k for k in range(3) if k != axis)
    depth = position[:, axis] - frame["origin"].values[axis]
    shown = np.abs(depth - 0.5 * frame["cell"].values[axis, axis]) < 0.5 * slab
    colour, kinds = np.asarray(values.values, dtype=np.float64), np.unique(numbers)
    limits = {
        "vmin": float(np.nanquantile(colour, 0.02)),
        "vmax": float(np.nanquantile(colour, 0.98)),
    }
    drawn: Any = None
    for mark, z in zip(MARKERS, kinds, strict=False):
        pick = shown & (numbers == z)
        drawn = axes.scatter(
            position[pick, one],
            position[pick, other],
            c=colour[pick],
            s=size if z == kinds.max() else 0.5 * size,
            marker=mark,
            cmap=cmap,
            edgecolors="0.25",
            linewidths=0.4,
            label=symbol(int(z)),
            plotnonfinite=True,
            **limits,
        )
    axes.set(xlabel=f"{'xyz'[one]} (Å)", ylabel=f"{'xyz'[other]} (Å)", aspect="equal")
    axes.legend(loc="upper right", framealpha=0.9)
    return drawn


def plot_environments(
    trajectory: xr.Dataset,
    features: xr.Dataset,
    path: str | Path,
    *,
    name: str = "soap",
    progress: xr.DataArray | None = None,
    slab: float = 5.0,
) -> Path:
    """Draw a slab of the last frame coloured by local environment, and the map of all environments.

    ``trajectory`` and ``features`` are two opened stores of the same frames and atoms; ``progress(frame)`` (for example
    the temperature) orders the frames on the right panel, whose lines are means over the atoms of a species with their
    standard deviations. ``slab`` is the thickness in Å. Writes a PNG at ``path`` and returns it.
    """
    if name not in features:
        raise ParameterError(
            f"name={name!r} is not in the feature store; it holds {sorted(map(str, features.data_vars))}"
        )
    import matplotlib

    matplotlib.use("Agg", force=False)
    from matplotlib.figure import Figure

    scores = principal_components(features[name]).load()
    explained = scores.attrs["explained"]
    numbers = features["species"].values
    kinds = np.unique(numbers)
    figure = Figure(figsize=(12.5, 4.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    # the first component tells the elements apart, which the markers do
    colour = scores.isel(frame=-1, component=1).assign_attrs(long_name="second principal component")
    drawn = draw_slab(left, trajectory.isel(frame=-1), colour, slab=slab)
    figure.colorbar(drawn, ax=left, label="second principal component", shrink=0.85)
    left.set(title=f"slab of {slab:g} Å, last frame")

    for tint, z in zip(
        ("tab:orange", "tab:blue", "tab:green", "tab:red", "tab:purple"), kinds, strict=False
    ):
        cloud = scores.values[-1][numbers == z]
        middle.scatter(cloud[:, 0], cloud[:, 1], s=5, color=tint, alpha=0.6, label=symbol(int(z)))
        of_kind = scores.values[:, numbers == z, 1]
        x = np.arange(len(of_kind)) if progress is None else progress.values
        right.errorbar(
            x,
            of_kind.mean(1),
            of_kind.std(1) / np.sqrt(of_kind.shape[1]),
            marker="o",
            ms=4,
            capsize=2,
            color=tint,
            label=symbol(int(z)),
        )
    middle.set(
        xlabel=f"component 1 ({explained[0]:.0%} of variance)",
        ylabel=f"component 2 ({explained[1]:.0%})",
        title=f"{scores.sizes['atom']} environments, last frame",
    )
    label = (
        "frame"
        if progress is None
        else f"{progress.attrs.get('long_name', progress.name)} ({progress.attrs.get('units', '1')})"
    )
    right.set(
        xlabel=label,
        ylabel="component 2, mean and its standard error",
        title=f"{scores.sizes['frame']} frames",
    )
    middle.legend()
    right.legend()
    path = Path(path)
    figure.savefig(path, dpi=130)
    return path
