"""Environments of a feature store: where they are, and how they change over frames."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from mgdask._typing import AnyArray
from mgdask.elements import symbol
from mgdask.errors import ParameterError
from mgdask.plot.intervals import draw_points
from mgdask.plot.slab import draw_slab as draw_slab
from mgdask.plot.style import CYCLE, figure, save, style

if TYPE_CHECKING:
    from mgdask.plot.style import Axes


def principal_components(values: xr.DataArray, *, n_components: int = 2) -> xr.DataArray:
    """Compute the leading principal components of a feature over all frames and atoms.

        C = <x x^T> - <x><x>^T,    y = (x - <x>) V

    where the columns of V are the eigenvectors of C with the largest eigenvalues. C is
    accumulated block by block, so the features are never gathered.

    Parameters
    ----------
    values
        Feature (frame, atom, column).
    n_components
        Number of components.

    Returns
    -------
    scores
        ``principal_component`` (frame, atom, component), computed lazily. Its attribute
        ``explained`` holds the fraction of variance of each component.

    Notes
    -----
    The sign of a component is fixed: its largest loading is positive.

    Examples
    --------
    >>> x = xr.DataArray([[[0.0, 0.0], [1.0, 2.0]]], dims=("frame", "atom", "column"))
    >>> np.round(principal_components(x).attrs["explained"], 6).tolist()
    [1.0, 0.0]
    """
    column, rows = values.dims[-1], values.dims[:-1]
    n = int(np.prod([values.sizes[dim] for dim in rows]))
    flat = values.astype(np.float64)
    # ``optimize`` sums by a matrix product, which is several times as fast
    moments = xr.Dataset(
        {
            "mean": flat.mean(rows),
            "second": xr.dot(flat, flat.rename({column: "_other"}), dim=rows, optimize=True) / n,
        }
    ).load()  # together, so that the features are read once
    mean = moments["mean"]
    covariance = moments["second"].values - np.outer(mean.values, mean.values)
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    order = np.argsort(eigenvalues)[::-1][:n_components]
    basis = eigenvectors[:, order]
    basis = basis * np.sign(basis[np.abs(basis).argmax(0), np.arange(basis.shape[1])])
    loading = xr.DataArray(basis, dims=(column, "component"))
    scores = xr.dot(flat - mean, loading, dim=str(column))
    scores.attrs["explained"] = [float(w) for w in eigenvalues[order] / eigenvalues.clip(0).sum()]
    named: xr.DataArray = scores.rename("principal_component")
    return named


@style()
def plot_environments(
    trajectory: xr.Dataset,
    features: xr.Dataset,
    path: str | Path,
    *,
    name: str = "soap",
    progress: xr.DataArray | None = None,
    slab: float = 5.0,
) -> Path:
    """Draw a slab colored by local environment, and the map of all environments.

    Left: a slab of the last frame. Middle: the principal components of its atoms.
    Right: the mean of the second component per species over the frames, with its
    standard error.

    Parameters
    ----------
    trajectory, features
        Opened stores of the same frames and atoms.
    path
        PNG file to write.
    name
        Name of the feature.
    progress
        Abscissa (frame,) of the right panel, for example the temperature. Default: the
        frame number.
    slab
        Thickness of the slab in Å.

    Returns
    -------
    path
        Path of the written file.

    Raises
    ------
    ParameterError
        If the feature store has no variable ``name``.

    Examples
    --------
    >>> plot_environments(trajectory, features, "environments.png")  # doctest: +SKIP
    """
    if name not in features:
        held = sorted(map(str, features.data_vars))
        raise ParameterError(f"name={name!r} is not in the feature store; it holds {held}")
    scores = principal_components(features[name]).load()
    species = features["species"].values
    fig = figure(12.5, 4.2)
    left, middle, right = fig.subplots(1, 3)
    # the first component separates the elements, which the markers show already
    second = scores.isel(frame=-1, component=1)
    mappable = draw_slab(left, trajectory.isel(frame=-1), second, slab=slab)
    fig.colorbar(mappable, ax=left, label="second principal component", shrink=0.85)
    left.set(title=f"slab of {slab:g} Å, last frame")
    _draw_map(middle, scores, species)
    _draw_progress(right, scores, species, progress)
    return save(fig, path)


def _draw_map(axes: Axes, scores: xr.DataArray, species: AnyArray) -> None:
    for color, z in zip(cycle(CYCLE), np.unique(species), strict=False):
        points = scores.values[-1][species == z]
        axes.scatter(points[:, 0], points[:, 1], s=5, color=color, alpha=0.6, label=symbol(int(z)))
    first, second = scores.attrs["explained"][:2]
    axes.set(
        xlabel=f"component 1 ({first:.0%} of variance)",
        ylabel=f"component 2 ({second:.0%})",
        title=f"{scores.sizes['atom']} environments, last frame",
    )
    axes.legend()


def _draw_progress(
    axes: Axes, scores: xr.DataArray, species: AnyArray, progress: xr.DataArray | None
) -> None:
    x = np.arange(scores.sizes["frame"]) if progress is None else progress.values
    for color, z in zip(cycle(CYCLE), np.unique(species), strict=False):
        values = scores.values[:, species == z, 1]
        error = values.std(1) / np.sqrt(values.shape[1])
        draw_points(axes, x, values.mean(1), error, color=color, line=True, label=symbol(int(z)))
    label = "frame"
    if progress is not None:
        quantity = progress.attrs.get("long_name", progress.name)
        label = f"{quantity} ({progress.attrs.get('units', '1')})"
    axes.set(
        xlabel=label,
        ylabel="component 2, mean and its standard error",
        title=f"{scores.sizes['frame']} frames",
    )
    axes.legend()
