"""Quench-in softness, first half: from a glass and its deformed image to labelled rows, one an atom of the undeformed glass.

Label: plastic where D2min of the frame at some strain against the undeformed frame is above a threshold. Features: of the undeformed frame only.
What is learnt from them is in ``mgdask.learn``; what a score then says, in ``mgdask.studies.softness.score``.

Source: Wang, Jain, Nat. Commun. 10, 5537 (2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mgdask.elements import atomic_number, symbol
from mgdask.errors import ParameterError
from mgdask.features import Feature, NonAffine, feature_set
from mgdask.features.window import FrameAxis
from mgdask.learn.data.rows import Part, Rows
from mgdask.pipelines.featurize.plan import plan
from mgdask.pipelines.featurize.run import run
from mgdask.store.open import check_complete, open_store
from mgdask.studies.softness.score import frame_of_strain

Float = npt.NDArray[np.float64]


def strain_of(ds: xr.Dataset) -> tuple[Float, int]:
    """Engineering strain (frame,) of a trajectory, |L / L_0 - 1| along the cell vector that changes most, and which vector that is.

    >>> cell = np.stack([np.diag([10.0, 10.0, 10.0]), np.diag([10.1, 10.1, 9.6])])
    >>> strain_of(xr.Dataset({"cell": (("frame", "vector", "xyz"), cell)}))[0].round(3).tolist()
    [0.0, 0.04]
    """
    length = np.linalg.norm(np.asarray(ds["cell"].values), axis=-1)
    change = length / length[0] - 1.0
    axis = int(np.abs(change).max(axis=0).argmax())
    return np.abs(change[:, axis]), axis


def inside(ds: xr.Dataset, margin: float, *, ends: bool = False) -> npt.NDArray[np.bool_]:
    """Atoms (atom,) of the first frame that are further than ``margin`` Å from every free surface, and with ``ends`` from the ends.

    A free surface is where the outermost atoms lie along a vector that does not repeat; ends are the faces of the cell across the
    deformed vector. Where all vectors repeat and ``ends`` is not set, all atoms are inside.
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


@dataclass(frozen=True)
class Glass:
    """A glass ready for learning: where its trajectory, labels and features are, which frame is the deformed one, and which atoms count."""

    name: str
    store: Path
    labels: Path
    features: Path
    frame: int
    strain: Float
    keep: npt.NDArray[np.bool_]
    threshold: float

    def d2min(self) -> Float:
        """D2min against the undeformed frame (frame,atom) in Å², the sum over neighbours."""
        group: Any = check_complete(self.labels, kind="features")[0]
        return np.asarray(
            group["nonaffine"][:, :, group["nonaffine_feature"][...].tolist().index("d2min_sum")]
        )

    def plastic(self) -> npt.NDArray[np.bool_]:
        """Which atoms are plastic at the strain (atom,)."""
        label: npt.NDArray[np.bool_] = self.d2min()[self.frame] > self.threshold
        return label

    def columns(self) -> tuple[str, ...]:
        """Names of the columns as ``Rows`` has them: label, or variable/label where there are several variables."""
        return self.table().names()

    def table(self) -> Rows:
        """All atoms of the undeformed frame as ``Rows``, which are read file by file here, not through a cluster."""
        names = tuple(map(str, open_store(self.features).data_vars))
        return Rows((Part(str(self.features), frames=(0, 1)),), names, dtype="float64")

    def rows(self) -> tuple[Float, npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        """Features (row,column), label (row,) and row of the atom (row,) of the atoms that count and have all features and a label."""
        values = self.table().read(0, len(self.keep))
        d2min = self.d2min()[self.frame]
        there = np.isfinite(values)
        if (never := ~there[self.keep].any(axis=0)).any():
            raise ParameterError(
                f"{self.features}: column {self.columns()[int(np.argmax(never))]!r} is NaN for every atom that counts; leave it out, or mend its "
                "parameters (a cut-off too short, a species that is not there)"
            )
        good = self.keep & there.all(axis=1) & np.isfinite(d2min)
        return values[good], d2min[good] > self.threshold, np.flatnonzero(good)

    def regions(self, length: float = 15.0) -> npt.NDArray[np.int64]:
        """Region (atom,) of the undeformed glass: pieces of about ``length`` Å, as neighbouring atoms are alike and must stay together.

        Splits and bootstraps go by them where there are too few glasses to go by glass.
        """
        first = open_store(self.store).isel(frame=0)
        cell, origin = np.asarray(first["cell"].values), np.asarray(first["origin"].values)
        inverse = np.linalg.inv(cell)
        number = np.maximum(1, np.rint(1.0 / np.linalg.norm(inverse, axis=0) / length)).astype(
            np.int64
        )
        place = (np.asarray(first["position"].values) - origin) @ inverse
        piece = np.clip(np.floor(place * number).astype(np.int64), 0, number - 1)
        return np.asarray(np.ravel_multi_index(tuple(piece.T), tuple(number)), dtype=np.int64)

    def digests(self) -> dict[str, str]:
        """Content of the trajectory, the labels and the features, for a model card."""
        stores = {"trajectory": self.store, "d2min": self.labels, "features": self.features}
        return {f"{self.name} {what}": check_complete(path)[1] for what, path in stores.items()}

    def __str__(self) -> str:
        label, at = self.plastic()[self.keep], self.strain[self.frame]
        return f"{self.name}: {int(self.keep.sum())} of {len(self.keep)} atoms, {label.mean():.2%} plastic at a strain of {at:.3f}"


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
    client: Any = None,
    progress: bool = True,
) -> Glass:
    """Labels and features of one glass, computed into ``out`` where they are not there already.

    Parameters
    ----------
    store: trajectory of a deformation whose first frame is undeformed. out: folder for the stores of labels and features.
    strain: at which atoms are labelled; the nearest frame within 0.002. threshold: plastic above this D2min, the sum over neighbours in Å².
    cutoff: of the neighbours of D2min, Å, or by pair of species. features: a name of ``feature_set``, or a list of features.
    species: only these count (the host atoms, in some glasses). margin: Å that atoms which count are away from free surfaces, and with ``ends`` from
        the faces across the direction of deformation. name: the store of features is <out>/<store>-<name>.zarr, so that several lists can stand in
        one folder beside the same labels.

    Returns a ``Glass``. ``ParameterError`` where no frame has the strain, or no atom, or only one class is left.

    >>> glass = prepare_glass("glass_1.zarr", "softness")  # doctest: +SKIP
    """
    store, folder = Path(store), Path(out)
    ds = open_store(store)
    found, _ = strain_of(ds)
    frame = frame_of_strain(
        FrameAxis(
            np.arange(len(found), dtype=float), np.asarray([str(name) for name in ds["run"].values])
        ),
        found,
        strain,
    )
    numbers = np.asarray(ds["species"].values)
    keep = inside(ds, margin, ends=ends)
    if species is not None:
        keep &= np.isin(numbers, [atomic_number(name) for name in species])
    if not keep.any():
        raise ParameterError(
            f"{store}: no atom is left that is {margin:g} Å from the surfaces and of species={species}; take a smaller margin"
        )
    names = tuple(symbol(int(z)) for z in np.unique(numbers))
    wanted = feature_set(features, names) if isinstance(features, str) else list(features)
    folder.mkdir(parents=True, exist_ok=True)
    labels, rows = folder / f"{store.stem}-d2min.zarr", folder / f"{store.stem}-{name}.zarr"
    # the same call again finds them finished, and other parameters are refused by the stores themselves
    run(plan(store, NonAffine(cutoff=cutoff), out=labels, memory=memory), client, progress=progress)
    run(plan(store, wanted, out=rows, memory=memory, frames=[0]), client, progress=progress)
    glass = Glass(store.stem, store, labels, rows, frame, found, keep, threshold)
    share = float(glass.plastic()[keep].mean())
    if share in (0.0, 1.0):
        which = "no" if share == 0.0 else "every"
        raise ParameterError(
            f"{store}: {which} atom has D2min above threshold={threshold:g} Å² at a strain of {found[frame]:g}: there is one class only; take "
            "another threshold or a later strain"
        )
    return glass
