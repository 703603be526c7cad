"""Elements of the barcode: the leading entries of the dictionary, described.

An element is an entry of the dictionary that matters for the energy. The barcode of a
sample consists of the fractions of its atoms in the elements, scaled to sum 1. Liu C.
et al., Acta Mater. 259, 119281 (2023), sections 2.2, 3.2 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import vector
from mgdask.learn.evaluation.correlation import correlation_intervals
from mgdask.studies.barcode.polyhedra import (
    CONVENTION,
    KASPER,
    NON_KASPER,
    AssignedPolyhedra,
    Polyhedron,
)
from mgdask.studies.barcode.records import Bounds, Record

N_RESAMPLES = 1000


@dataclass(frozen=True)
class Origin(Record):
    """Where an entry of the dictionary comes from.

    Parameters
    ----------
    store
        Name of the trajectory store.
    frame
        Frame.
    atom_id
        Id of the atom.
    species
        Element symbol of the atom.
    """

    store: str
    frame: int
    atom_id: int
    species: str


@dataclass(frozen=True)
class Element(Record):
    """One element of the barcode.

    Parameters
    ----------
    label
        Name in the order of the barcode: "s1", "s2", ...
    rank
        Rank by mean |SHAP|; 1 is the largest.
    entry
        Index in the dictionary.
    origin
        Atom that the entry is.
    shap
        Mean |SHAP| in eV per sample.
    polyhedron
        Voronoi polyhedron of that atom.
    assigned
        Polyhedra of all atoms assigned to the entry; None if they were not counted.
    fraction
        Mean fraction of the atoms of a sample.
    pearson
        Pearson's correlation of the fraction with the energy per atom.
    pearson_barcode
        The same for the fraction in the barcode, which is relative to all elements.
    """

    label: str
    rank: int
    entry: int
    origin: Origin
    shap: float
    polyhedron: Polyhedron
    assigned: AssignedPolyhedra | None
    fraction: float
    pearson: Bounds
    pearson_barcode: Bounds


@dataclass(frozen=True)
class ElementTable(Record):
    """All elements in the order of the barcode.

    Parameters
    ----------
    elements
        Kasper polyhedra first, and the others after them. Each group is sorted by mean
        |SHAP|.
    n_group1, n_group2
        Number of elements of each group.
    n_group1_all_facets
        Number of elements of group 1 if no small facet is dropped.
    n_samples, n_runs
        Number of samples and of independent runs of the correlations.
    convention
        Which facets make a polyhedron, in words.
    """

    elements: tuple[Element, ...]
    n_group1: int
    n_group2: int
    n_group1_all_facets: int
    n_samples: int
    n_runs: int
    convention: str = CONVENTION

    @property
    def entries(self) -> IntArray:
        """Indices (element,) in the dictionary."""
        return np.array([one.entry for one in self.elements], dtype=np.int64)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the elements."""
        return tuple(one.label for one in self.elements)

    @property
    def groups(self) -> IntArray:
        """Group (element,), 1 or 2."""
        return np.array([one.polyhedron.group for one in self.elements], dtype=np.int64)

    @property
    def icosahedral(self) -> BoolArray:
        """Whether the polyhedron is <0,0,12,0> (element,)."""
        return np.array([one.polyhedron.icosahedral for one in self.elements], dtype=bool)

    def with_assigned(self, assigned: Sequence[AssignedPolyhedra]) -> ElementTable:
        """Return the table with the polyhedra of all assigned atoms.

        Parameters
        ----------
        assigned
            One per element, in the order of the table.
        """
        pairs = zip(self.elements, assigned, strict=True)
        return replace(self, elements=tuple(replace(one, assigned=found) for one, found in pairs))


@dataclass(frozen=True, eq=False)
class Barcodes(Record):
    """Barcodes of samples.

    Parameters
    ----------
    run
        Run of each sample (sample,).
    energy
        Energy (sample,) in eV per atom.
    values
        Fractions (sample, element) in the order of the table. Each row sums to 1. A
        sample without any atom in an element has a row of zeros.
    covered
        Fraction (sample,) of the atoms that are in an element at all.
    n_atoms
        Number of atoms (sample,).
    labels, groups
        Names and groups of the elements.
    """

    run: tuple[str, ...]
    energy: FloatArray
    values: FloatArray
    covered: FloatArray
    n_atoms: IntArray
    labels: tuple[str, ...]
    groups: IntArray

    def take(self, rows: npt.ArrayLike) -> Barcodes:
        """Return some samples.

        Parameters
        ----------
        rows
            Indices or a mask.
        """
        kept = np.arange(len(self.energy))[np.asarray(rows)]
        return replace(
            self,
            run=tuple(self.run[k] for k in kept),
            energy=self.energy[kept],
            values=self.values[kept],
            covered=self.covered[kept],
            n_atoms=self.n_atoms[kept],
        )


def barcode_values(
    fractions: npt.ArrayLike, entries: npt.ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Scale the fractions of the elements so that they sum to 1.

        s_k = f_k / sum_j f_j

    Parameters
    ----------
    fractions
        Fraction of the atoms of each sample in each entry (sample, entry).
    entries
        Entries (element,) that are elements of the barcode, in its order.

    Returns
    -------
    values, covered
        Barcodes (sample, element), and the sums (sample,) before scaling. A sample
        without any element has a row of zeros.

    References
    ----------
    Liu C. et al., Acta Mater. 259, 119281 (2023): the sums of both groups add up to 1
    "by definition" (section 4).

    Examples
    --------
    >>> values, covered = barcode_values([[0.1, 0.5, 0.3, 0.1]], [3, 2])
    >>> values.round(6).tolist(), covered.round(6).tolist()
    ([[0.25, 0.75]], [0.4])
    """
    all_fractions = np.asarray(fractions, dtype=np.float64)
    chosen = _entries(entries, all_fractions.shape[-1])
    part = all_fractions[:, chosen]
    covered = part.sum(axis=1)
    values = np.zeros_like(part)
    np.divide(part, covered[:, None], out=values, where=covered[:, None] > 0.0)
    return values, covered


def barcodes(
    table: ElementTable,
    fractions: npt.ArrayLike,
    energy: npt.ArrayLike,
    run: Sequence[str] | npt.NDArray[np.str_],
    n_atoms: npt.ArrayLike,
) -> Barcodes:
    """Make the barcodes of samples.

    Parameters
    ----------
    table
        Elements.
    fractions
        Fractions (sample, entry) of all entries of the dictionary.
    energy
        Energy (sample,) in eV per atom.
    run
        Run of each sample.
    n_atoms
        Number of atoms (sample,).

    Returns
    -------
    The barcodes.
    """
    values, covered = barcode_values(fractions, table.entries)
    labels = tuple(str(one) for one in run)
    per_atom = vector("energy", energy, len(values))
    counts = np.asarray(n_atoms, dtype=np.int64)
    if len(labels) != len(values):
        raise ParameterError(
            f"run has {len(labels)} labels for {len(values)} samples; give one per sample"
        )
    return Barcodes(labels, per_atom, values, covered, counts, table.labels, table.groups)


def element_table(
    entries: npt.ArrayLike,
    shap: npt.ArrayLike,
    origins: Sequence[Origin],
    polyhedra: Sequence[Polyhedron],
    fractions: npt.ArrayLike,
    energy: npt.ArrayLike,
    run: Sequence[str] | npt.NDArray[np.str_],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> ElementTable:
    """Describe the elements of the barcode, and order them as the paper does.

    Parameters
    ----------
    entries
        Entries (element,) of the dictionary, largest mean |SHAP| first.
    shap
        Mean |SHAP| (element,) in eV per sample.
    origins
        Origin of each entry.
    polyhedra
        Polyhedron of each entry.
    fractions
        Fractions (sample, entry) of all entries of the dictionary.
    energy
        Energy (sample,) in eV per atom.
    run
        Run of each sample. Intervals are over runs.
    n_resamples
        Number of resamples.
    seed
        Seed of the resamples.

    Returns
    -------
    table
        Elements, with those of group 1 first.

    Raises
    ------
    ParameterError
        If arrays do not fit or an entry occurs twice.

    Notes
    -----
    A correlation over samples of a cooling is mostly one with the temperature. It does
    not show that the environment lowers the energy.
    """
    all_fractions = np.asarray(fractions, dtype=np.float64)
    ranked = _entries(entries, all_fractions.shape[-1])
    importance = vector("shap", shap, len(ranked))
    for name, n_given in (("origins", len(origins)), ("polyhedra", len(polyhedra))):
        if n_given != len(ranked):
            raise ParameterError(
                f"{name} has {n_given} values for {len(ranked)} entries; give one per entry"
            )
    group = np.array([one.group for one in polyhedra])
    order = np.argsort(group, kind="stable")
    chosen = ranked[order]
    values, _ = barcode_values(all_fractions, chosen)
    plain, relative = (
        correlation_intervals(x, energy, run, n_resamples=n_resamples, seed=seed)
        for x in (all_fractions[:, chosen], values)
    )
    elements = tuple(
        Element(
            label=f"s{place + 1}",
            rank=int(k) + 1,
            entry=int(ranked[k]),
            origin=origins[k],
            shap=float(importance[k]),
            polyhedron=polyhedra[k],
            assigned=None,
            fraction=float(all_fractions[:, ranked[k]].mean()),
            pearson=Bounds.of(plain[place]),
            pearson_barcode=Bounds.of(relative[place]),
        )
        for place, k in enumerate(order.tolist())
    )
    return ElementTable(
        elements=elements,
        n_group1=int((group == KASPER).sum()),
        n_group2=int((group == NON_KASPER).sum()),
        n_group1_all_facets=sum(one.kasper_all_facets for one in polyhedra),
        n_samples=len(all_fractions),
        n_runs=len(set(run)),
    )


def _entries(entries: npt.ArrayLike, n_entries: int) -> IntArray:
    chosen = np.asarray(entries, dtype=np.int64).reshape(-1)
    if not len(chosen) or chosen.min() < 0 or chosen.max() >= n_entries:
        raise ParameterError(
            f"entries={chosen[:5].tolist()}... must be indices of the {n_entries} entries of the "
            f"dictionary, 0 to {n_entries - 1}"
        )
    if len(np.unique(chosen)) < len(chosen):
        repeated = int(np.sort(chosen)[:-1][np.diff(np.sort(chosen)) == 0][0])
        raise ParameterError(f"entries has {repeated} more than once; give each entry once")
    return chosen
