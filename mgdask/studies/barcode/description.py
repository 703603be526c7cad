"""Describe the elements of the barcode, and write what the report shows of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mgdask._typing import FloatArray, IntArray
from mgdask.features.environments import LocalEnvironments
from mgdask.features.local_environment import LocalEnvironment
from mgdask.learn.evaluation.correlation import correlation_intervals
from mgdask.report.json import to_json
from mgdask.store.dictionaries import read_dictionary
from mgdask.store.open import check_complete
from mgdask.store.shards import read_array
from mgdask.store.trajectory import read_window
from mgdask.store.trust import trusting
from mgdask.studies.barcode.assignment import VoronoiFractions, with_assigned_polyhedra
from mgdask.studies.barcode.data import Samples
from mgdask.studies.barcode.elements import (
    N_RESAMPLES,
    Barcodes,
    ElementTable,
    barcodes,
    element_table,
)
from mgdask.studies.barcode.embedding import MIN_POINTS, energy_correlations, similarity_map
from mgdask.studies.barcode.export import write_elements, write_sample
from mgdask.studies.barcode.group_sums import group_sums
from mgdask.studies.barcode.heterogeneity import TOLERANCE, heterogeneity
from mgdask.studies.barcode.origins import entry_frames
from mgdask.studies.barcode.records import Bounds, Record
from mgdask.studies.barcode.strain import StrainSpread, strain_spread
from mgdask.studies.stages import write_text

if TYPE_CHECKING:
    from mgdask.cluster.client import Client

TABLE = "element_table.json"
BARCODES = "barcodes.json"
GROUP_SUMS = "group_sums.json"
VORONOI = "voronoi.json"
MAP, ELEMENT_MAP = "embedding.json", "embedding_elements.json"
HETEROGENEITY = "heterogeneity.json"
ELEMENTS_FOLDER = "elements"
MAX_FRAMES = 60
"""Maximum number of frames per store whose atoms are assigned to count polyhedra."""


@dataclass(frozen=True, eq=False)
class VoronoiBaseline(Record):
    """Correlation of Voronoi polyhedra of all atoms with the energy, without any model.

    Parameters
    ----------
    fractions
        Fractions of all atoms by polyhedron.
    energy
        Energy (sample,) in eV per atom.
    run
        Run of each sample.
    pearson
        Correlation of the fractions "kasper" and "icosahedral" with the energy.
    """

    fractions: VoronoiFractions
    energy: FloatArray
    run: tuple[str, ...]
    pearson: dict[str, Bounds]


def describe_elements(
    folder: str | Path,
    dictionary: str | Path,
    entries: npt.ArrayLike,
    shap: npt.ArrayLike,
    samples: Samples,
    stores: Sequence[str | Path],
    *,
    max_frames: int | None = MAX_FRAMES,
    seed: int = 0,
    n_resamples: int = N_RESAMPLES,
    client: Client | None = None,
    progress: bool = True,
    trust: bool = False,
) -> tuple[Path, ...]:
    """Describe the elements of the barcode, and write tables, map and environments.

    Parameters
    ----------
    folder
        Folder to write to.
    dictionary
        Path of the dictionary.
    entries
        Entries (element,) of the dictionary, largest mean |SHAP| first.
    shap
        Mean |SHAP| (entry,) of all entries in eV per sample.
    samples
        Training samples with fractions.
    stores
        Their stores.
    max_frames
        Maximum number of frames per store whose atoms are assigned to count polyhedra.
        None: all.
    seed
        Seed of the resamples.
    n_resamples
        Number of resamples of each interval.
    client
        Dask client. Default: the current one, or a temporary one in this process.
    progress
        Show a bar on a terminal, or one log line per minute.
    trust
        Read the trajectories without comparing their files with their records.

    Returns
    -------
    paths
        All files written: ``element_table.json``, ``barcodes.json``,
        ``group_sums.json``, ``voronoi.json``, ``embedding.json`` of the dictionary,
        ``embedding_elements.json`` of the elements alone, ``elements/*.extxyz`` and
        ``sample_STORE_FRAME.extxyz``.
    """
    target = Path(folder)
    opened = read_dictionary(dictionary)
    ranked = np.asarray(entries, dtype=np.int64).reshape(-1)
    energy, fractions = samples.energy_per_atom, samples.matrix("fractions")
    with trusting(trust):
        origins = entry_frames(opened, ranked, stores)
    table = element_table(
        ranked,
        np.asarray(shap, dtype=np.float64)[ranked],
        [one.origin for one in origins],
        [one.polyhedron() for one in origins],
        fractions,
        energy,
        samples.run,
        n_resamples=n_resamples,
        seed=seed,
    )
    feature = LocalEnvironment(str(dictionary))
    table, voronoi = with_assigned_polyhedra(
        table, feature, stores, max_frames=max_frames, client=client, progress=progress, trust=trust
    )
    codes = sample_barcodes(samples, table)
    sums = group_sums(codes, table.icosahedral, n_resamples=n_resamples, seed=seed)
    place = {int(entry): k for k, entry in enumerate(ranked)}
    found = [origins[place[one.entry]].environment() for one in table.elements]
    written = [
        _write(target / TABLE, table),
        _write(target / BARCODES, codes),
        _write(target / GROUP_SUMS, sums),
        _write(target / VORONOI, voronoi_baseline(voronoi, samples, n_resamples, seed)),
        *write_elements(target / ELEMENTS_FOLDER, found, table),
    ]
    lowest = int(energy.argmin())
    path = {Path(store).stem: store for store in stores}[str(samples.store[lowest])]
    written.append(export_sample(target, path, int(samples.frame[lowest]), feature, table))
    correlation = energy_correlations(fractions, energy)
    plane = similarity_map(opened.vectors(), correlation, opened.species, table.entries)
    written.append(_write(target / MAP, plane))
    if len(ranked) >= MIN_POINTS:
        written.append(
            _write(
                target / ELEMENT_MAP,
                similarity_map(
                    opened.vectors(),
                    correlation,
                    opened.species,
                    table.entries,
                    entries=table.entries,
                ),
            )
        )
    return tuple(written)


def compare_driven(
    folder: str | Path,
    thermal: Samples,
    driven: Samples,
    stores: Sequence[str | Path],
    *,
    dictionary: str | Path | None = None,
    tolerance: float = TOLERANCE,
    lag: int = 1,
    seed: int = 0,
    n_resamples: int = N_RESAMPLES,
    client: Client | None = None,
    progress: bool = True,
    trust: bool = False,
) -> tuple[Path, ...]:
    """Compare the barcodes of driven samples with those of thermal ones.

    Parameters
    ----------
    folder
        Folder with ``element_table.json``, to which is written.
    thermal, driven
        Samples with fractions. Each store of ``driven`` is one set.
    stores
        Stores of the driven samples.
    dictionary
        Dictionary with which one sample of each set is exported. None: none is.
    tolerance
        Largest difference of energies that count as equal, in eV per atom.
    lag
        Number of frames between the configurations that give the strain.
    seed
        Seed of the resamples.
    n_resamples
        Number of resamples of each interval.
    client
        Dask client. Default: the current one, or a temporary one in this process.
    progress
        Show a bar on a terminal, or one log line per minute.
    trust
        Read the trajectories without comparing their files with their records.

    Returns
    -------
    paths
        Files written: ``heterogeneity.json`` and ``sample_STORE_FRAME.extxyz``.
    """
    target = Path(folder)
    table = read_table(target)
    by_name = {Path(store).stem: store for store in stores}

    def strain(name: str) -> StrainSpread | None:
        group, _ = check_complete(by_name[name], kind="trajectory")
        if len(read_array(group, "step")) <= lag:
            return None
        return strain_spread(by_name[name], lag=lag, client=client, progress=progress, trust=trust)

    found = heterogeneity(
        sample_barcodes(thermal, table),
        [(name, sample_barcodes(driven.of_store(name), table)) for name in driven.stores],
        tolerance=tolerance,
        strain=strain,
        n_resamples=n_resamples,
        seed=seed,
    )
    written = [_write(target / HETEROGENEITY, found)]
    if dictionary is not None:
        feature = LocalEnvironment(str(dictionary))
        written += [export_sample(target, by_name[k], 0, feature, table) for k in driven.stores]
    return tuple(written)


def sample_barcodes(samples: Samples, table: ElementTable) -> Barcodes:
    """Return the barcodes of samples.

    Parameters
    ----------
    samples
        Samples with fractions.
    table
        The elements.
    """
    return barcodes(
        table,
        samples.matrix("fractions"),
        samples.energy_per_atom,
        samples.run.tolist(),
        samples.n_atoms,
    )


def voronoi_baseline(
    voronoi: VoronoiFractions, samples: Samples, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> VoronoiBaseline:
    """Correlate fractions of polyhedra of all atoms with the energy.

    Parameters
    ----------
    voronoi
        Fractions of some frames of the samples' stores.
    samples
        The samples.
    n_resamples
        Number of resamples.
    seed
        Seed of the resamples.
    """
    names = zip(samples.store.tolist(), samples.frame.tolist(), strict=True)
    place = {(str(store), int(frame)): k for k, (store, frame) in enumerate(names)}
    rows = np.array(
        [place[key] for key in zip(voronoi.store, voronoi.frame.tolist(), strict=True)],
        dtype=np.int64,
    )
    energy, run = samples.energy_per_atom[rows], samples.run[rows]
    x = np.column_stack([voronoi.kasper, voronoi.icosahedral])
    intervals = correlation_intervals(x, energy, run, n_resamples=n_resamples, seed=seed)
    pearson = {
        name: Bounds.of(one) for name, one in zip(("kasper", "icosahedral"), intervals, strict=True)
    }
    return VoronoiBaseline(voronoi, energy, tuple(str(one) for one in run), pearson)


def export_sample(
    folder: str | Path,
    store: str | Path,
    frame: int,
    feature: LocalEnvironment,
    table: ElementTable,
) -> Path:
    """Write one sample with the element and group of every atom.

    Parameters
    ----------
    folder
        Folder to write to.
    store
        Trajectory store.
    frame
        Frame.
    feature
        Feature that gives the entry and the similarity of each atom.
    table
        The elements.

    Returns
    -------
    path
        ``sample_STORE_FRAME.extxyz``.
    """
    group, _ = check_complete(store, kind="trajectory")
    numbers: IntArray = read_array(group, "species").astype(np.int64)
    pbc = read_array(group, "pbc")
    position, cell = read_window(store, np.array([frame]))
    rows = np.empty((len(numbers), 2))
    LocalEnvironments(position[0], cell[0], numbers, pbc).fill(
        feature, np.arange(len(numbers)), rows
    )
    name = Path(store).stem
    return write_sample(
        Path(folder) / f"sample_{name}_{frame}.extxyz",
        position[0],
        cell[0],
        numbers,
        rows[:, 0],
        table,
        similarity=rows[:, 1],
        atom_id=read_array(group, "atom_id"),
        pbc=pbc,
        about={"store": name, "frame": frame},
    )


def read_table(folder: str | Path) -> ElementTable:
    """Read the elements that ``describe_elements`` wrote.

    Parameters
    ----------
    folder
        Folder with ``element_table.json``.
    """
    text = (Path(folder) / TABLE).read_text(encoding="utf-8")
    return ElementTable.from_json(json.loads(text))


def _write(path: Path, record: Record) -> Path:
    write_text(path, to_json(record.to_json()) + "\n")
    return path
