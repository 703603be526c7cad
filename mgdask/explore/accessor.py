"""The accessor ``mg`` of Datasets and DataArrays: what a user asks of a glass.

Every method is one line; the work is in the other modules of this room. An accessor
holds nothing but its Dataset, because xarray caches it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mgdask.explore import (
    differences,
    facts,
    grouping,
    joining,
    motion,
    origin,
    places,
    provenance,
    selecting,
)
from mgdask.explore.differences import Differences
from mgdask.explore.facts import AtomFacts, ColumnFacts
from mgdask.explore.places import Axis
from mgdask.explore.provenance import MadeWith, MissingFrames
from mgdask.explore.selecting import Mask
from mgdask.features.feature import Feature

if TYPE_CHECKING:
    import ase
    import pandas as pd
    import pyarrow as pa

    from mgdask.explore.exporting.report import ExportReport
    from mgdask.explore.plotting import ArrayPlotAccessor, PlotAccessor
    from mgdask.explore.viewer import View


class DatasetAccessor:
    """Questions to a Dataset of atoms: ``ds.mg``.

    Parameters
    ----------
    ds
        Trajectory or features, from ``open_store``, ``featurize``, or a selection.
    """

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def __repr__(self) -> str:
        return _methods(type(self), "Dataset.mg")

    @property
    def plot(self) -> PlotAccessor:
        """Pictures: ``slab``, ``map``, ``rdf``, ``violin`` and ``series``."""
        from mgdask.explore.plotting import PlotAccessor

        return PlotAccessor(self._ds)

    def view(self, frame: int | None = None, **options: Any) -> View:
        """Show the atoms of a frame in three dimensions, in a notebook or a browser.

        Parameters
        ----------
        frame
            Number of the frame. Negative numbers count from the last frame. Default:
            the first one of the Dataset.
        **options
            Options of ``mgdask.explore.viewer.view``, such as ``color="q6"``,
            ``atoms="Zr"`` and ``js="3Dmol-min.js"``.

        Returns
        -------
        view
            Object that a notebook shows and that ``save`` writes to a page.

        Raises
        ------
        MissingDependencyError
            If py3Dmol is not installed.
        ParameterError
            If there are more than 50000 atoms, or an option is out of range.

        Examples
        --------
        >>> ds.mg.view(0, color="q6").save("glass.html")  # doctest: +SKIP
        """
        from mgdask.explore.viewer import view

        return view(self._ds, frame, **options)

    def species(self, *symbols: str) -> xr.Dataset:
        """Select the atoms of some elements.

        Parameters
        ----------
        *symbols
            Element symbols, such as ``"Cu"``.

        Returns
        -------
        dataset
            The Dataset with these atoms, in their order.

        Raises
        ------
        ParameterError
            If an element does not occur.

        Examples
        --------
        >>> ds.mg.species("Cu", "Ni")  # doctest: +SKIP
        """
        return selecting.take_atoms(self._ds, selecting.of_symbols(self._ds, symbols))

    def frame(self, number: int) -> xr.Dataset:
        """Select one frame by its number in the store.

        Parameters
        ----------
        number
            Number of the frame. Negative numbers count from the last frame.

        Returns
        -------
        dataset
            The Dataset of this frame, without the dimension ``frame``.

        Raises
        ------
        ParameterError
            If there is no such frame.

        Examples
        --------
        >>> ds.mg.frame(16)  # doctest: +SKIP
        """
        return self._ds.isel(frame=selecting.frame_row(self._ds, number))

    def select(self, atoms: Mask) -> xr.Dataset:
        """Select atoms by a mask, by elements or by ids.

        Parameters
        ----------
        atoms
            Boolean DataArray over ``atom``, matched by id; or element symbols, or ids.

        Returns
        -------
        dataset
            The Dataset with these atoms, in their order.

        Raises
        ------
        ParameterError
            If an atom or element does not occur.

        Examples
        --------
        >>> ds.mg.select(d2min > 1.0)  # doctest: +SKIP
        """
        return selecting.take_atoms(self._ds, selecting.as_mask(self._ds, atoms))

    def slab(
        self,
        axis: Axis = "z",
        *,
        at: float | None = None,
        thickness: float = 5.0,
        frame: int | None = None,
    ) -> xr.Dataset:
        """Select the atoms of a slab.

        Parameters
        ----------
        axis
            Normal of the slab: "x", "y", "z", or a vector such as (1, 1, 0).
        at
            Coordinate of the middle of the slab along the normal, in Å. Default: that
            of the middle of the cell.
        thickness
            Thickness in Å.
        frame
            Number of the frame in which atoms are looked for. It may be left out if
            there is only one.

        Returns
        -------
        dataset
            The Dataset with these atoms, in all its frames.

        Raises
        ------
        ParameterError
            If there are several frames and ``frame`` is not given, or a parameter is
            out of range.

        Notes
        -----
        A slab that crosses a periodic face continues on the other side of the cell.
        This needs a face that is parallel to the slab. In a tilted cell of LAMMPS, only
        z has one. Other slabs are cut from the atoms as they are stored.

        Examples
        --------
        >>> ds.mg.frame(0).mg.slab("y", at=12.0, thickness=4.0)  # doctest: +SKIP
        """
        inside = places.slab(self._ds, axis, at, thickness, frame)
        return selecting.take_atoms(self._ds, inside)

    def near(
        self, center: int | Sequence[float], radius: float, *, frame: int | None = None
    ) -> xr.Dataset:
        """Select the atoms within a distance of an atom or of a point.

        Parameters
        ----------
        center
            Id of an atom, which is among the selected ones, or a point in Å.
        radius
            Largest distance in Å, over all periodic images.
        frame
            Number of the frame in which atoms are looked for. It may be left out if
            there is only one.

        Returns
        -------
        dataset
            The Dataset with these atoms, in all its frames. The coordinate
            ``center_distance`` (atom) is in Å.

        Raises
        ------
        ParameterError
            If there is no such atom, or there are several frames and ``frame`` is not
            given.

        Examples
        --------
        >>> ds.mg.near(4711, 3.6, frame=0)  # doctest: +SKIP
        """
        rows, distance = places.near(self._ds, center, radius, frame)
        about = {"units": "Å", "long_name": "distance from the center"}
        return self._ds.isel(atom=rows).assign_coords(center_distance=("atom", distance, about))

    def atoms(self, frame: int | None = None) -> ase.Atoms:
        """Return one frame as an ``ase.Atoms``.

        Parameters
        ----------
        frame
            Number of the frame. It may be left out if there is only one.

        Returns
        -------
        atoms
            Positions in Å, elements, masses, cell and periodicity. ``arrays["id"]`` has
            the atom ids, ``info`` the step, the time in ps and the run, and
            ``get_celldisp()`` the origin of the cell.

        Raises
        ------
        ParameterError
            If there are several frames and ``frame`` is not given.

        Examples
        --------
        >>> ds.mg.atoms(16).get_chemical_formula()  # doctest: +SKIP
        """
        return places.ase_atoms(self._ds, frame)

    def rdf(
        self, *, r_max: float = 10.0, bins: int = 500, centers: Mask = None, neighbors: Mask = None
    ) -> xr.Dataset:
        """Compute radial distribution functions, summed over the frames.

        Parameters
        ----------
        r_max
            Largest distance in Å.
        bins
            Number of bins of equal width.
        centers
            Atoms around which to count: a boolean DataArray, element symbols or ids.
            Default: the atoms of the Dataset.
        neighbors
            Atoms to count, in the same form. Default: all atoms of the store.

        Returns
        -------
        rdf
            Dataset of ``mgdask.partial_rdf``: g(species, neighbor_species, r),
            g_all(r), peaks, minima and coordination numbers.

        Raises
        ------
        ParameterError
            If an atom or element does not occur, or a parameter is out of range.

        Notes
        -----
        The frames of the Dataset are read in this process, or by the workers of the
        current Dask client. For a long trajectory, use ``mgdask.partial_rdf``.

        Examples
        --------
        >>> ds.isel(frame=slice(0, 10)).mg.rdf(centers="Zr")  # doctest: +SKIP
        """
        return origin.rdf_of_group(self._ds, r_max, bins, centers, neighbors)

    def features(self, features: Sequence[Feature | str] | Feature | str) -> xr.Dataset:
        """Compute features of the atoms, lazily.

        Parameters
        ----------
        features
            Features, or their families as text, such as ``"coordination"`` or
            ``"coordination:cutoff=3.8"``.

        Returns
        -------
        dataset
            Dataset of ``mgdask.featurize``. If the Dataset has some atoms of its store,
            the features are theirs, and all atoms of the store are their neighbors.

        Raises
        ------
        ParameterError
            If a feature is not known or cannot describe the atoms.

        Notes
        -----
        For some atoms of a store, positions are read from the store again. Changes to
        positions in memory then have no effect. ``isolated`` prevents this.

        Examples
        --------
        >>> ds.mg.species("Zr").mg.features("bond_order")  # doctest: +SKIP
        """
        return origin.features_of(self._ds, features)

    def isolated(self) -> xr.Dataset:
        """Let the atoms of the Dataset be all that there are.

        Returns
        -------
        dataset
            The Dataset without its origin. Features of it see no atoms of the store
            that were left out.

        Examples
        --------
        >>> zirconium = ds.mg.species("Zr").mg.isolated()  # doctest: +SKIP
        >>> zirconium.mg.features("coordination")  # doctest: +SKIP
        """
        return origin.isolated(self._ds)

    def join(self, *features: xr.Dataset | str | Path) -> xr.Dataset:
        """Add features to the trajectory, matched by atom id, step and run.

        Parameters
        ----------
        *features
            Features from ``featurize`` or ``open_store``, or paths of feature stores.

        Returns
        -------
        dataset
            The Dataset with the variables of all, for the frames and atoms that all
            have. The attr ``joined`` counts what was left out. A warning says it too,
            unless the Dataset is itself a selection of its store.

        Raises
        ------
        ParameterError
            If nothing is in common, if frames cannot be told apart, or if two features
            have a variable of the same name.

        Examples
        --------
        >>> ds.mg.join("features.zarr").mg.species("Zr")  # doctest: +SKIP
        """
        return joining.join(self._ds, features)

    def by_species(self) -> Any:
        """Group the atoms by element.

        Returns
        -------
        groups
            ``groupby`` object of xarray. Groups are called by their symbols.

        Examples
        --------
        >>> ds.mg.by_species().mean()  # doctest: +SKIP
        """
        return grouping.by_species(self._ds)

    def by_run(self) -> Any:
        """Group the frames by the simulation that they belong to.

        Returns
        -------
        groups
            ``groupby`` object of xarray. Groups are called by the labels of the runs.

        Examples
        --------
        >>> ds.mg.by_run().mean()  # doctest: +SKIP
        """
        return grouping.by_run(self._ds)

    def displacement(
        self, lag: float, *, tolerance: float = 0.01, remove_drift: bool = False
    ) -> xr.Dataset:
        """Compute the displacement of each atom over a lag, lazily.

        Parameters
        ----------
        lag
            Lag in ps.
        tolerance
            Maximum deviation of the later frame, as a fraction of the lag.
        remove_drift
            Whether to subtract the motion of the center of mass.

        Returns
        -------
        dataset
            displacement(frame, atom, xyz) and distance(frame, atom) in Å. Frames are
            those that have another one a lag later in their run.

        Raises
        ------
        ParameterError
            If times are not known, or no two frames are a lag apart.

        Notes
        -----
        The values are those of the unwrapped trajectory that ``mgdask.unwrap`` writes.
        If the cell changes, atoms are followed through all frames of the store. An
        opened unwrapped trajectory is faster then.

        Examples
        --------
        >>> ds.mg.displacement(10.0).distance.mean("atom")  # doctest: +SKIP
        """
        return motion.displacement(self._ds, lag, tolerance=tolerance, remove_drift=remove_drift)

    def atom(self, number: int, *, radius: float = 4.0, frame: int | None = None) -> AtomFacts:
        """Collect what is known about one atom.

        Parameters
        ----------
        number
            Atom id.
        radius
            Distance in Å up to which neighbors are listed.
        frame
            Number of the frame whose neighbors are listed. Default: the last one.

        Returns
        -------
        facts
            Element, positions and features in the first and the last frame,
            displacement and neighbors. It prints as a table; ``values`` and
            ``neighbors`` are DataFrames.

        Raises
        ------
        ParameterError
            If there is no such atom.

        Examples
        --------
        >>> ds.mg.join("features.zarr").mg.atom(4711)  # doctest: +SKIP
        """
        return facts.atom(self._ds, number, radius, frame)

    def column(self, which: int | str, name: str | None = None) -> ColumnFacts:
        """Say what a column of the features is.

        Parameters
        ----------
        which
            Number of the column, from 0, or its label.
        name
            Variable in which to count. Default: all variables, in the order in which
            the Dataset lists them.

        Returns
        -------
        facts
            Label, meaning, unit, parameters and reference.

        Raises
        ------
        ParameterError
            If there is no such column, or several have this label.

        Examples
        --------
        >>> features.mg.column(317)  # doctest: +SKIP
        """
        return facts.column(self._ds, which, name)

    def missing_frames(self) -> MissingFrames:
        """Find frames that are missing, from the steps of each run.

        Returns
        -------
        answer
            Gaps of each run, and what the audit of the files says about frames. It
            prints as a table. ``steps`` has the missing steps by run.

        Notes
        -----
        A gap is a whole multiple of the commonest spacing of its run. If fewer than
        half of the spacings are equal, no frame is said to be missing.

        Examples
        --------
        >>> ds.mg.missing_frames()  # doctest: +SKIP
        """
        return provenance.missing_frames(self._ds)

    def made_with(self) -> MadeWith:
        """Say what the Dataset was made with.

        Returns
        -------
        answer
            Features with all parameters, input and its digest, files, versions.

        Examples
        --------
        >>> features.mg.made_with()  # doctest: +SKIP
        """
        return provenance.made_with(self._ds)

    def differs_from(self, other: xr.Dataset | str | Path) -> Differences:
        """Compare with another Dataset or store.

        Parameters
        ----------
        other
            Dataset, or path of a store.

        Returns
        -------
        differences
            What differs in sizes, labels, parameters and versions, and in the values of
            the frames and atoms that both have. It is true if the two are not equal.

        Notes
        -----
        All values are read, some frames at a time. NaN equals NaN. Paths, digests and
        versions alone do not make two Datasets unequal.

        Examples
        --------
        >>> features.mg.differs_from("other.zarr")  # doctest: +SKIP
        """
        return differences.differences(self._ds, other)

    def export(self, out: str | Path, **options: Any) -> ExportReport:
        """Write frames and columns of atoms to a file for other programs.

        Parameters
        ----------
        out
            File to write: ``.extxyz``, ``.dump``, ``.data`` or ``.parquet``.
        **options
            Options of ``mgdask.explore.export``, such as ``features=[q6]``,
            ``columns=["q6"]`` and ``overwrite=True``.

        Returns
        -------
        report
            What was written.

        Examples
        --------
        >>> ds.mg.near(4711, 9.0).mg.export("soft.extxyz")  # doctest: +SKIP
        """
        from mgdask.explore.exporting.run import export

        return export(self._ds, out, **options)

    def to_table(self, **options: Any) -> pa.Table:
        """Return an Arrow table with one row per atom and frame.

        Parameters
        ----------
        **options
            Options of ``mgdask.explore.to_table``, such as ``columns=["q6"]``.

        Examples
        --------
        >>> table = ds.mg.to_table()  # doctest: +SKIP
        """
        from mgdask.explore.exporting.table import to_table

        return to_table(self._ds, **options)

    def to_dataframe(self, **options: Any) -> pd.DataFrame:
        """Return a pandas table with one row per atom and frame.

        ``Dataset.to_dataframe`` of xarray has one row per column, too.

        Parameters
        ----------
        **options
            Options of ``mgdask.explore.to_dataframe``, such as ``columns=["q6"]``.

        Examples
        --------
        >>> frame = ds.mg.to_dataframe()  # doctest: +SKIP
        """
        from mgdask.explore.exporting.table import to_dataframe

        return to_dataframe(self._ds, **options)


class ArrayAccessor:
    """Questions to an array of atoms: ``array.mg``.

    Parameters
    ----------
    array
        Variable of a Dataset that has the accessor.
    """

    def __init__(self, array: xr.DataArray) -> None:
        self._array = array

    def __repr__(self) -> str:
        return _methods(type(self), "DataArray.mg")

    @property
    def plot(self) -> ArrayPlotAccessor:
        """Pictures: ``violin``, ``series``; with a trajectory ``slab``, ``map``."""
        from mgdask.explore.plotting import ArrayPlotAccessor

        return ArrayPlotAccessor(self._array)

    def species(self, *symbols: str) -> xr.DataArray:
        """Select the atoms of some elements, see ``DatasetAccessor.species``.

        Parameters
        ----------
        *symbols
            Element symbols, such as ``"Cu"``.
        """
        return selecting.take_atoms(self._array, selecting.of_symbols(self._array, symbols))

    def frame(self, number: int) -> xr.DataArray:
        """Select one frame by its number in the store.

        Parameters
        ----------
        number
            Number of the frame. Negative numbers count from the last frame.
        """
        return self._array.isel(frame=selecting.frame_row(self._array, number))

    def slab(
        self,
        axis: Axis = "z",
        *,
        of: xr.Dataset,
        at: float | None = None,
        thickness: float = 5.0,
        frame: int | None = None,
    ) -> xr.DataArray:
        """Select the atoms of a slab, see ``DatasetAccessor.slab``.

        Parameters
        ----------
        axis
            See ``DatasetAccessor.slab``.
        of
            Trajectory with the positions of the atoms.
        at, thickness, frame
            See ``DatasetAccessor.slab``.

        Examples
        --------
        >>> q6.mg.slab("z", of=ds, frame=0)  # doctest: +SKIP
        """
        return self.select(of.mg.slab(axis, at=at, thickness=thickness, frame=frame))

    def near(
        self,
        center: int | Sequence[float],
        radius: float,
        *,
        of: xr.Dataset,
        frame: int | None = None,
    ) -> xr.DataArray:
        """Select the atoms near an atom or a point, see ``DatasetAccessor.near``.

        Parameters
        ----------
        center, radius
            See ``DatasetAccessor.near``.
        of
            Trajectory with the positions of the atoms.
        frame
            See ``DatasetAccessor.near``.

        Examples
        --------
        >>> q6.mg.near(4711, 3.6, of=ds, frame=0)  # doctest: +SKIP
        """
        return self.select(of.mg.near(center, radius, frame=frame))

    def select(self, atoms: Mask | xr.Dataset) -> xr.DataArray:
        """Select atoms by a mask, by elements, by ids, or those of a Dataset.

        Atoms of a Dataset that the array lacks are left out.

        Parameters
        ----------
        atoms
            Boolean DataArray over ``atom``, element symbols, ids, or a Dataset.
        """
        if isinstance(atoms, xr.Dataset):
            wanted = np.isin(selecting.atom_ids(self._array), selecting.atom_ids(atoms))
            return selecting.take_atoms(self._array, wanted)
        return selecting.take_atoms(self._array, selecting.as_mask(self._array, atoms))

    def by_species(self) -> Any:
        """Group the atoms by element; groups are called by their symbols.

        Examples
        --------
        >>> (d2min > 1.0).mg.by_species().sum()  # doctest: +SKIP
        """
        return grouping.by_species(self._array)

    def by_run(self) -> Any:
        """Group the frames by the simulation that they belong to.

        Examples
        --------
        >>> q6.mean("atom").mg.by_run().mean()  # doctest: +SKIP
        """
        return grouping.by_run(self._array)

    def column(self, which: int | str) -> ColumnFacts:
        """Say what a column of the feature is, see ``DatasetAccessor.column``.

        Parameters
        ----------
        which
            Number of the column, from 0, or its label.

        Examples
        --------
        >>> features.bond_order.mg.column("q6")  # doctest: +SKIP
        """
        name = self._array.name if self._array.name is not None else "values"
        return facts.column(self._array.to_dataset(name=name), which, None)

    def to_table(self, **options: Any) -> pa.Table:
        """Return an Arrow table with one row per atom and frame.

        Parameters
        ----------
        **options
            Options of ``mgdask.explore.to_table``, such as ``columns=["q6"]``.

        Examples
        --------
        >>> table = q6.mg.to_table()  # doctest: +SKIP
        """
        from mgdask.explore.exporting.table import to_table

        return to_table(self._array, **options)

    def to_dataframe(self, **options: Any) -> pd.DataFrame:
        """Return a pandas table with one row per atom and frame.

        ``Dataset.to_dataframe`` of xarray has one row per column, too.

        Parameters
        ----------
        **options
            Options of ``mgdask.explore.to_dataframe``, such as ``columns=["q6"]``.

        Examples
        --------
        >>> frame = q6.mg.to_dataframe()  # doctest: +SKIP
        """
        from mgdask.explore.exporting.table import to_dataframe

        return to_dataframe(self._array, **options)


def _methods(kind: type, name: str) -> str:
    """List the methods of an accessor, for a user who looks at it."""
    return f"{name}: {', '.join(each for each in vars(kind) if not each.startswith('_'))}"
