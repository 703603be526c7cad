"""Labels and features of a deformed glass, one row per atom.

An atom is plastic if its D2min relative to the undeformed frame exceeds a threshold at
a given strain. The features describe the undeformed frame only: Wang, Jain, Nat.
Commun. 10, 5537 (2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.elements import atomic_number, symbol
from mgdask.errors import ParameterError
from mgdask.features import Feature, NonAffine, feature_set
from mgdask.features.symmetry import roles_by_count
from mgdask.features.window import FrameAxis
from mgdask.learn.data.rows import Part, Rows
from mgdask.pipelines.featurize.plan import plan
from mgdask.pipelines.featurize.run import run
from mgdask.store.open import check_complete, open_store
from mgdask.studies.softness.score import frame_of_strain
from mgdask.variables import column_units

if TYPE_CHECKING:
    from mgdask.cluster.client import Client


VECTORS = ("a", "b", "c")
"""Names of the cell vectors."""


def strain_of(ds: xr.Dataset) -> tuple[FloatArray, int]:
    """Return the engineering strain of every frame, and the deformed cell vector.

        strain = |L / L_0 - 1|    along the cell vector that changes most

    Parameters
    ----------
    ds
        Trajectory whose first frame is undeformed.

    Returns
    -------
    strain
        Strain (frame,).
    vector
        Index of the deformed cell vector.

    Examples
    --------
    >>> cell = np.stack([np.diag([10.0, 10.0, 10.0]), np.diag([10.1, 10.1, 9.6])])
    >>> ds = xr.Dataset({"cell": (("frame", "vector", "xyz"), cell)})
    >>> strain_of(ds)[0].round(3).tolist()
    [0.0, 0.04]
    """
    length = np.linalg.norm(np.asarray(ds["cell"].values), axis=-1)
    change = length / length[0] - 1.0
    axis = int(np.abs(change).max(axis=0).argmax())
    return np.abs(change[:, axis]), axis


def inside(ds: xr.Dataset, margin: float, *, ends: bool = False) -> BoolArray:
    """Return which atoms of the first frame are far from free surfaces and ends.

    Free surfaces are at the outermost atoms along a non-periodic cell vector. If this
    is the deformed vector, the surfaces are the ends at which the glass is gripped.

    Parameters
    ----------
    ds
        Trajectory.
    margin
        Minimum distance from every free surface and free end in Å.
    ends
        Whether to keep the same distance from the end faces of a periodic deformed
        vector. These are not surfaces, since a periodic cell has no ends.

    Returns
    -------
    inside
        Booleans (atom,). All are true if the cell is periodic and ``ends`` is not set.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Methods: atoms about 10 to 20 Å away from
    the surfaces or deformation ends are selected.
    """
    first = ds.isel(frame=0)
    cell, pbc = np.asarray(first["cell"].values), np.asarray(first["pbc"].values)
    fraction = (
        np.asarray(first["position"].values) - np.asarray(first["origin"].values)
    ) @ np.linalg.inv(cell)
    height = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    deformed = strain_of(ds)[1] if ends else -1
    keep = np.ones(len(fraction), dtype=bool)
    for axis in range(3):
        if pbc[axis] and axis != deformed:
            continue
        low, high = (0.0, 1.0) if pbc[axis] else (fraction[:, axis].min(), fraction[:, axis].max())
        keep &= (fraction[:, axis] - low) * height[axis] > margin
        keep &= (high - fraction[:, axis]) * height[axis] > margin
    return keep


def chosen_species(numbers: IntArray, species: Sequence[str]) -> tuple[str, ...]:
    """Return elements, or the element with most atoms for ("host",).

    Parameters
    ----------
    numbers
        Atomic numbers (atom,) of the glass.
    species
        Element symbols, or ("host",).

    Examples
    --------
    >>> chosen_species(np.array([28, 28, 41]), ("host",))
    ('Ni',)
    """
    names = tuple(species)
    return roles_by_count(numbers)[:1] if names == ("host",) else names


def describe_excluded(ds: xr.Dataset, margin: float, *, ends: bool = False) -> str:
    """Describe the faces near which ``inside`` excludes atoms.

    Parameters
    ----------
    ds, margin, ends
        See ``inside``.

    Returns
    -------
    text
        One sentence.

    Examples
    --------
    >>> describe_excluded(ds, 15.0)  # doctest: +SKIP
    'The cell is periodic along all vectors, so no atom is near a surface.'
    """
    pbc, deformed = np.asarray(ds["pbc"].values), strain_of(ds)[1]
    surfaces = [VECTORS[k] for k in range(3) if not pbc[k] and k != deformed]
    faces = [f"the free surfaces along {' and '.join(surfaces)}"] if surfaces else []
    if not pbc[deformed]:
        faces.append(f"the free deformation ends along {VECTORS[deformed]}")
    elif ends:
        faces.append(f"the periodic end faces along {VECTORS[deformed]}")
    if not faces:
        return "The cell is periodic along all vectors, so no atom is near a surface."
    text = f"Atoms within {margin:g} Å of {' and '.join(faces)} are excluded."
    if not ends and pbc[deformed]:
        text += f" The deformed vector {VECTORS[deformed]} is periodic and has no free ends."
    return text


@dataclass(frozen=True)
class Glass:
    """A glass ready for learning.

    Parameters
    ----------
    name
        Name of its store.
    store, labels, features
        Stores of the trajectory, of D2min and of the features.
    frame
        Index of the deformed frame.
    strain
        Strain of every frame (frame,).
    keep
        Which atoms are included (atom,).
    threshold
        D2min above which an atom is plastic, in Å².
    excluded
        Description of the faces near which atoms are excluded.
    """

    name: str
    store: Path
    labels: Path
    features: Path
    frame: int
    strain: FloatArray
    keep: BoolArray
    threshold: float
    excluded: str = ""

    def d2min(self) -> FloatArray:
        """Return D2min (frame,atom) in Å², the sum over neighbors.

        The reference is the undeformed frame.
        """
        group: Any = check_complete(self.labels, kind="features")[0]
        return np.asarray(
            group["nonaffine"][:, :, group["nonaffine_feature"][...].tolist().index("d2min_sum")]
        )

    def undeformed(self) -> xr.Dataset:
        """Return the undeformed frame of the trajectory, in memory."""
        return open_store(self.store).isel(frame=0).load()

    def units(self) -> dict[str, str]:
        """Return the unit of each column by its name."""
        features = open_store(self.features).values()
        units = [unit for feature in features for unit in column_units(feature)]
        return dict(zip(self.columns(), units, strict=True))

    def plastic(self) -> BoolArray:
        """Return which atoms are plastic at the strain (atom,)."""
        label: BoolArray = self.d2min()[self.frame] > self.threshold
        return label

    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns.

        They are labels, or variable/label if there are several variables.
        """
        return self._columns

    def table(self) -> Rows:
        """Return all atoms of the undeformed frame as rows, read without a cluster."""
        return self._table

    # A study asks for these hundreds of times, and opening a store takes milliseconds.
    @cached_property
    def _table(self) -> Rows:
        names = tuple(map(str, open_store(self.features).data_vars))
        return Rows((Part(str(self.features), frames=(0, 1)),), names, dtype="float64")

    @cached_property
    def _columns(self) -> tuple[str, ...]:
        return self._table.names()

    @cached_property
    def _regions(self) -> dict[float, IntArray]:
        return {}

    def rows(self) -> tuple[FloatArray, BoolArray, IntArray]:
        """Return the rows of all included atoms that have a label and all features.

        Returns
        -------
        values
            Features (row,column).
        plastic
            Labels (row,).
        atoms
            Index of each atom in the trajectory (row,), increasing.

        Raises
        ------
        ParameterError
            If a column is NaN for every included atom.
        """
        values = self.table().read(0, len(self.keep))
        d2min = self.d2min()[self.frame]
        finite = np.isfinite(values)
        if (never := ~finite[self.keep].any(axis=0)).any():
            raise ParameterError(
                f"{self.features}: column "
                f"{self.columns()[int(np.argmax(never))]!r} is NaN for every included atom; "
                "leave it out, or change its parameters: the cutoff may be too short, or a "
                "species absent"
            )
        complete = self.keep & finite.all(axis=1) & np.isfinite(d2min)
        return values[complete], d2min[complete] > self.threshold, np.flatnonzero(complete)

    def regions(self, length: float = 15.0) -> IntArray:
        """Return the region of every atom of the undeformed glass (atom,).

        Regions are boxes of about ``length`` Å. Neighboring atoms are alike, so splits
        and bootstraps keep regions whole if there are too few glasses.
        """
        if length in self._regions:
            return self._regions[length]
        first = self.undeformed()
        cell, origin = np.asarray(first["cell"].values), np.asarray(first["origin"].values)
        inverse = np.linalg.inv(cell)
        number = np.maximum(1, np.rint(1.0 / np.linalg.norm(inverse, axis=0) / length)).astype(
            np.int64
        )
        place = (np.asarray(first["position"].values) - origin) @ inverse
        piece = np.clip(np.floor(place * number).astype(np.int64), 0, number - 1)
        region = np.asarray(np.ravel_multi_index(tuple(piece.T), tuple(number)), dtype=np.int64)
        region.flags.writeable = False
        self._regions[length] = region
        return region

    def digests(self) -> dict[str, str]:
        """Return digests of trajectory, labels and features, for a model card."""
        stores = {"trajectory": self.store, "d2min": self.labels, "features": self.features}
        return {f"{self.name} {what}": check_complete(path)[1] for what, path in stores.items()}

    def __str__(self) -> str:
        share = self.plastic()[self.keep].mean()
        return (
            f"{self.name}: {int(self.keep.sum())} of {len(self.keep)} atoms, {share:.2%} plastic "
            f"at a strain of {self.strain[self.frame]:.3f}"
            f"{f'. {self.excluded}' if self.excluded else ''}"
        )


def prepare_glass(
    store: str | Path,
    out: str | Path,
    *,
    strain: float = 0.04,
    threshold: float = 5.0,
    cutoff: Any = 4.5,
    features: str | Sequence[Feature] = "interstice",
    species: Sequence[str] | None = None,
    margin: float = 15.0,
    ends: bool = False,
    name: str = "features",
    memory: str = "2GiB",
    client: Client | None = None,
    progress: bool = True,
) -> Glass:
    """Compute labels and features of a glass, unless they are already in ``out``.

    Parameters
    ----------
    store
        Trajectory of a deformation whose first frame is undeformed.
    out
        Folder for the stores of labels and features.
    strain
        Strain at which atoms are labeled. The nearest frame within 0.002 is used.
    threshold
        D2min (sum over neighbors, in Å²) above which an atom is plastic.
    cutoff
        Cutoff distance in Å of the neighbors for D2min, or cutoffs per pair of species.
    features
        Name of a ``feature_set``, or a list of features.
    species
        Include only atoms of these elements, or ("host",) for the majority species.
        Default: all atoms.
    margin
        Exclude atoms within this distance (Å) of a free surface or a free deformation
        end.
    ends
        Whether to apply ``margin`` also to the end faces of a periodic deformed cell
        vector, see ``inside``.
    name
        Features are stored at ``<out>/<store>-<name>.zarr``. Several lists can share a
        folder and the same labels.
    memory
        Memory of one worker.
    client
        Dask client. Default: the current one, or else threads of this process.
    progress
        Whether to report progress.

    Returns
    -------
    glass
        The glass with its labels and features.

    Raises
    ------
    ParameterError
        If no frame has the strain, no atom is left, or all atoms have the same label.
    StoreError
        If ``out`` holds labels or features computed with other parameters.

    Examples
    --------
    >>> glass = prepare_glass("glass_1.zarr", "softness")  # doctest: +SKIP
    """
    store, folder = Path(store), Path(out)
    ds = open_store(store)
    strains, frame, keep = _select(store, ds, strain, species, margin, ends)
    numbers = np.asarray(ds["species"].values)
    elements = tuple(symbol(int(z)) for z in np.unique(numbers))
    listed = feature_set(features, elements) if isinstance(features, str) else list(features)
    folder.mkdir(parents=True, exist_ok=True)
    labels, rows = folder / f"{store.stem}-d2min.zarr", folder / f"{store.stem}-{name}.zarr"
    # run keeps finished stores and refuses stores with other parameters
    run(plan(store, NonAffine(cutoff=cutoff), out=labels, memory=memory), client, progress=progress)
    run(plan(store, listed, out=rows, memory=memory, frames=[0]), client, progress=progress)
    excluded = describe_excluded(ds, margin, ends=ends)
    glass = Glass(store.stem, store, labels, rows, frame, strains, keep, threshold, excluded)
    share = float(glass.plastic()[keep].mean())
    if share in (0.0, 1.0):
        raise ParameterError(
            f"{store}: {'no' if share == 0.0 else 'every'} atom has D2min above "
            f"threshold={threshold:g} Å² at a strain of {strains[frame]:g}, so there is only one "
            "class; take another threshold or a later strain"
        )
    return glass


def check_glass(
    store: str | Path,
    *,
    strain: float = 0.04,
    species: Sequence[str] | None = None,
    margin: float = 15.0,
    ends: bool = False,
    **others: Any,
) -> None:
    """Check a glass as ``prepare_glass`` does before it computes anything.

    Parameters
    ----------
    store, strain, species, margin, ends
        See ``prepare_glass``.
    others
        Further arguments of ``prepare_glass``, which are ignored.

    Raises
    ------
    ParameterError
        If no frame has the strain, or no atom is left.
    """
    _select(Path(store), open_store(store), strain, species, margin, ends)


def _select(
    store: Path,
    ds: xr.Dataset,
    strain: float,
    species: Sequence[str] | None,
    margin: float,
    ends: bool,
) -> tuple[FloatArray, int, BoolArray]:
    """Return the strain (frame,), the deformed frame, and which atoms are included."""
    strains, _ = strain_of(ds)
    runs = np.asarray([str(run) for run in ds["run"].values])
    frame = frame_of_strain(FrameAxis(np.arange(len(strains), dtype=float), runs), strains, strain)
    numbers = np.asarray(ds["species"].values)
    keep = inside(ds, margin, ends=ends)
    if species is not None:
        species = chosen_species(numbers, species)
        keep &= np.isin(numbers, [atomic_number(element) for element in species])
    if not keep.any():
        raise ParameterError(
            f"{store}: no atom of species={species or 'any'} is at least {margin:g} Å from the "
            "surfaces; take a smaller margin"
        )
    return strains, frame, keep
