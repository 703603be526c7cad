"""Partial radial distribution functions, summed over frames by tasks."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import compute
from dask.delayed import delayed

from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.execution.client import resolve_client
from mgdask.execution.executor import execute
from mgdask.features.pair_cutoffs import count_pairs, radial_distribution, species_of
from mgdask.geometry import volume
from mgdask.pipelines.featurize.reach import check_cutoff
from mgdask.pipelines.featurize.validation import select_frames
from mgdask.store.location import local_place
from mgdask.store.open import check_complete, unchanged
from mgdask.store.shards import read_array
from mgdask.store.source_checks import check_source
from mgdask.store.trajectory import read_window
from mgdask.store.trust import TRUSTED, trusting

if TYPE_CHECKING:
    from distributed import Client

ATOMS_PER_TASK = 200_000
"""Number of central atoms of one task, summed over its frames."""
MAX_BINS = 1_000_000
"""Maximum number of bins of a radial distribution function."""


@dataclass(frozen=True)
class _Counts:
    """Pairs (species, species, bin) of some atoms, and volumes of the frames in Å³."""

    pairs: IntArray
    volumes: tuple[float, ...]


def partial_rdf(
    store: str | Path,
    *,
    r_max: float = 10.0,
    bins: int = 500,
    frames: slice | Sequence[int] | None = None,
    centers: BoolArray | None = None,
    neighbors: BoolArray | None = None,
    trust: bool = False,
    client: Client | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Compute the radial distribution functions of all pairs of species.

        g_XY(r) = n_XY(r) / (n_frames N_X rho_Y 4/3 pi (r_out^3 - r_in^3))
        rho_Y = N_Y / <V>

    Parameters
    ----------
    store
        A finished trajectory store.
    r_max
        Largest distance in Å. Pairs are counted over all images, so it may exceed half
        the cell.
    bins
        Number of bins of equal width between 0 and ``r_max``.
    frames
        A slice or increasing indices. Default: all frames.
    centers
        Mask (atom,) of the atoms around which to count. Default: all atoms.
    neighbors
        Mask (atom,) of the atoms to count. Default: all atoms.
    trust
        Read the trajectory without comparing its files with their records. A damaged
        file may then give wrong values.
    client
        Dask client. Default: the current one, or a temporary one in this process.
    progress
        Show a bar on a terminal, or one log line per minute.

    Returns
    -------
    rdf
        A Dataset with g(species, neighbor_species, r) and g_all(r); count; first_peak
        and first_minimum(species, neighbor_species) in Å, which serve as cutoffs;
        coordination (neighbors within the first minimum); first_peak_all,
        minor_peak_all and first_minimum_all in Å. The first peak of all atoms is the
        main one of their first shell. A smaller one before it is ``minor_peak_all``,
        NaN if there is none.

    Raises
    ------
    ParameterError
        If ``r_max``, ``bins`` or ``frames`` are out of range, or a mask does not fit.
    StoreError
        If ``store`` is not a finished trajectory store.

    Notes
    -----
    Counts are integers, so the result is bit-identical for any number of workers. With
    free surfaces, g is relative to the density of the whole cell, vacuum included.
    Positions of peaks and minima are not affected. N_X counts the centers and N_Y the
    neighbors, so g of a group tends to 1 if its neighbors are spread evenly.

    Examples
    --------
    >>> rdf = mgdask.partial_rdf("glass.zarr")  # doctest: +SKIP
    >>> Interstice(cutoff=float(rdf.first_minimum_all))  # doctest: +SKIP
    """
    _check_range(r_max, bins)
    store = local_place(store, "partial_rdf reads")
    group, content = check_complete(store, kind="trajectory")
    numbers = read_array(group, "species")
    selected = select_frames(frames, len(read_array(group, "step")))
    names = species_of(numbers)
    groups = _Groups.of(numbers, centers, neighbors)
    check_cutoff(store, selected, r_max, "r_max")
    edges = np.linspace(0.0, r_max, bins + 1)
    frames_per_task = max(1, ATOMS_PER_TASK // max(len(numbers), 1))
    tasks = []
    for k in range(0, len(selected), frames_per_task):
        part = tuple(int(frame) for frame in selected[k : k + frames_per_task])
        for first in range(0, len(numbers), ATOMS_PER_TASK):
            last = min(first + ATOMS_PER_TASK, len(numbers))
            name = f"frames from {part[0]}, atoms {first} to {last - 1}"
            tasks.append((name, (str(store), part, first, last, names, edges, groups)))
    with trusting(trust), unchanged(store, content), ExitStack() as stack:
        check_source(store, ("position",), np.asarray(selected))
        workers = stack.enter_context(resolve_client(client))
        outcome = execute(
            workers, _count, tasks, what="radial distribution", unit="tasks", progress=progress
        )
    counts = np.zeros((len(names), len(names), bins), dtype=np.int64)
    volumes: list[float] = []
    for name, (_, _, first, *_) in tasks:
        counts += outcome.results[name].pairs
        if first == 0:
            volumes += outcome.results[name].volumes
    rdf = groups.distribution(counts, numbers, float(np.mean(volumes)), edges, len(selected))
    return rdf.assign_attrs(input=str(store), **({"input_checks": TRUSTED} if trust else {}))


def rdf_of(
    ds: xr.Dataset,
    *,
    r_max: float = 10.0,
    bins: int = 500,
    centers: BoolArray | None = None,
    neighbors: BoolArray | None = None,
) -> xr.Dataset:
    """Compute the radial distribution functions of the frames of a Dataset.

    Parameters
    ----------
    ds
        Dataset with position, cell and species, of one or more frames and all atoms.
    r_max, bins, centers, neighbors
        See ``partial_rdf``.

    Returns
    -------
    rdf
        The Dataset of ``partial_rdf``, with the same bits.

    Raises
    ------
    ParameterError
        If ``r_max`` or ``bins`` are out of range, or a mask does not fit.

    Notes
    -----
    There is one Dask task per frame. For a whole long trajectory, use ``partial_rdf``,
    which also checks the files that it reads.
    """
    _check_range(r_max, bins)
    if "frame" not in ds["position"].dims:
        ds = ds.assign({name: ds[name].expand_dims("frame") for name in ("position", "cell")})
    numbers = np.asarray(ds["species"].values)
    groups = _Groups.of(numbers, centers, neighbors)
    names, edges = species_of(numbers), np.linspace(0.0, r_max, bins + 1)
    position = da.asarray(ds["position"].transpose("frame", "atom", "xyz").data)
    cell = np.asarray(ds["cell"].values, dtype=np.float64)
    cell = np.broadcast_to(cell, (len(position), 3, 3))
    pbc = np.asarray(ds["pbc"].values) if "pbc" in ds.variables else np.ones(3, dtype=bool)
    shared = delayed(_Frame(numbers, pbc, names, edges, groups), pure=True, traverse=False)
    frames = position.rechunk({0: 1, 1: -1, 2: -1}).to_delayed().ravel()
    tasks = [shared(block, cell[k]) for k, block in enumerate(frames)]
    counts = np.zeros((len(names), len(names), bins), dtype=np.int64)
    for pairs in compute(*tasks):
        counts += pairs
    volumes = [float(volume(each)) for each in cell]
    return groups.distribution(counts, numbers, float(np.mean(volumes)), edges, len(position))


@dataclass(frozen=True)
class _Groups:
    """Centers and neighbors as masks (atom,); None for all atoms."""

    centers: BoolArray | None
    neighbors: BoolArray | None

    @classmethod
    def of(
        cls, numbers: AnyArray, centers: BoolArray | None, neighbors: BoolArray | None
    ) -> _Groups:
        """Check the masks."""
        for name, mask in (("centers", centers), ("neighbors", neighbors)):
            if mask is None:
                continue
            if np.asarray(mask).dtype != np.bool_ or np.shape(mask) != numbers.shape:
                raise ParameterError(
                    f"{name} must be a mask of {len(numbers)} booleans, one per atom; got "
                    f"{np.asarray(mask).dtype} {np.shape(mask)}"
                )
            if not np.any(mask):
                raise ParameterError(f"{name} chooses none of the {len(numbers)} atoms")
        return cls(centers, neighbors)

    def rows(self, first: int, last: int) -> IntArray:
        """Return the rows of the centers from ``first`` to before ``last``."""
        rows = np.arange(first, last)
        return rows if self.centers is None else rows[self.centers[first:last]]

    def distribution(
        self, counts: IntArray, numbers: AnyArray, volume: float, edges: FloatArray, n_frames: int
    ) -> xr.Dataset:
        """Normalize counts by the numbers of centers and neighbors."""
        n_centers, n_neighbors = (
            np.array([((numbers == z) & (True if mask is None else mask)).sum() for z in kinds])
            for kinds, mask in (
                (np.unique(numbers), self.centers),
                (np.unique(numbers), self.neighbors),
            )
        )
        names = species_of(numbers)
        rdf = radial_distribution(counts, n_centers, volume, names, edges, n_frames, n_neighbors)
        if self.centers is None and self.neighbors is None:
            return rdf
        about = {"units": "1", "long_name": "atoms of a species that are counted"}
        return rdf.assign(n_neighbors=("neighbor_species", n_neighbors, about))


@dataclass(frozen=True)
class _Frame:
    """Counts the pairs of one frame; holds what all frames share."""

    numbers: AnyArray
    pbc: BoolArray
    names: tuple[str, ...]
    edges: FloatArray
    groups: _Groups

    def __call__(self, position: AnyArray, cell: FloatArray) -> IntArray:
        pbc = tuple(bool(p) for p in self.pbc)
        centers = self.groups.rows(0, len(self.numbers))
        r = np.asarray(position, dtype=np.float64)[0]
        return count_pairs(
            r, cell, self.numbers, pbc, self.names, self.edges, centers, self.groups.neighbors
        )


def _check_range(r_max: float, bins: int) -> None:
    if not 0.0 < r_max < np.inf:
        raise ParameterError(f"r_max={r_max} must be a distance in Å above 0")
    if not 10 <= bins <= MAX_BINS:
        raise ParameterError(f"bins={bins} must be from 10 to {MAX_BINS}")


def _count(
    store: str,
    frames: tuple[int, ...],
    first: int,
    last: int,
    names: tuple[str, ...],
    edges: FloatArray,
    groups: _Groups,
) -> _Counts:
    """Task: count the neighbors of some atoms in some frames."""
    group, _ = check_complete(store, kind="trajectory")
    numbers, pbc = read_array(group, "species"), read_array(group, "pbc")
    position, cell = read_window(store, np.asarray(frames))
    pairs = np.zeros((len(names), len(names), len(edges) - 1), dtype=np.int64)
    centers = groups.rows(first, last)
    for k in range(len(frames)):
        pairs += count_pairs(
            position[k], cell[k], numbers, pbc, names, edges, centers, groups.neighbors
        )
    return _Counts(pairs, tuple(float(volume(c)) for c in cell))
