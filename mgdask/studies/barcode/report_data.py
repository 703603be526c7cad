"""What the report of a barcode study is made from: the files in its folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from mgdask._typing import AnyArray, BoolArray, FloatArray, IntArray
from mgdask.errors import StoreError

PREDICTIONS, SCORES = "predictions.csv", "scores.json"
"""Files that every report needs."""
CLUSTERS = "elements/elements.extxyz"
"""Atoms around the center of each element, in the order of the barcode."""
POOLED = "pooled"


@dataclass(frozen=True, eq=False)
class Predicted:
    """Predictions of one model for a set of samples.

    Parameters
    ----------
    model
        Name of the model.
    set
        Kind of samples: "train", "test" or "test_size".
    store, run
        Store and simulation of each sample (sample,).
    energy, predicted
        True and predicted energies in eV per sample (sample,).
    n_atoms
        Atoms of each sample (sample,).
    """

    model: str
    set: str
    store: AnyArray
    run: AnyArray
    energy: FloatArray
    predicted: FloatArray
    n_atoms: IntArray

    @property
    def errors(self) -> FloatArray:
        """Predicted minus true energies in eV per sample."""
        return self.predicted - self.energy

    @property
    def rmse(self) -> float:
        """Root mean square of the errors in eV per sample."""
        return float(np.sqrt(np.mean(self.errors**2)))


@dataclass(frozen=True, eq=False)
class Cluster:
    """Atoms around the center of an element of the barcode.

    Parameters
    ----------
    position
        Positions in Å relative to the center, which is the first atom (atom, 3).
    species
        Atomic numbers (atom,).
    kernel
        Whether an atom is a Voronoi neighbor of the center (atom,).
    """

    position: FloatArray
    species: IntArray
    kernel: BoolArray


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample with the group of each atom.

    Parameters
    ----------
    name
        Store and frame in words.
    frame
        ``position``, ``cell``, ``origin``, ``pbc`` and ``species``, as in a store.
    group
        1 or 2 for atoms assigned to an element of that group, 0 for others (atom,).
    """

    name: str
    frame: xr.Dataset
    group: IntArray


@dataclass(frozen=True, eq=False)
class ReportData:
    """Content of the folder of a study, as far as the report shows it.

    Parameters
    ----------
    predictions
        Predictions of each model for each set of samples, stores pooled.
    scores
        Scores of each model on each store and on all stores of a set ("pooled").
    elements
        ``element_table.json``: the elements of the barcode. Empty if missing.
    shap
        Mean absolute SHAP values of all entries (eV per sample). Empty if missing.
    clusters
        One per element, in the same order. Empty if missing.
    barcodes, group_sums, voronoi, heterogeneity, embedding, accuracy
        Content of the JSON files of these names. Empty if missing.
    """

    predictions: Sequence[Predicted]
    scores: Sequence[Mapping[str, Any]]
    elements: Mapping[str, Any] = field(default_factory=dict)
    shap: FloatArray = field(default_factory=lambda: np.empty(0))
    clusters: Sequence[Cluster] = ()
    barcodes: Mapping[str, Any] = field(default_factory=dict)
    group_sums: Mapping[str, Any] = field(default_factory=dict)
    voronoi: Mapping[str, Any] = field(default_factory=dict)
    heterogeneity: Mapping[str, Any] = field(default_factory=dict)
    embedding: Mapping[str, Any] = field(default_factory=dict)
    accuracy: Mapping[str, Any] = field(default_factory=dict)

    def of_set(self, name: str) -> list[Predicted]:
        """Return the predictions of every model for one set of samples."""
        return [one for one in self.predictions if one.set == name]

    def pooled_scores(self) -> list[Mapping[str, Any]]:
        """Return one score per model and set, that of all stores together."""
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for one in self.scores:
            key = (str(one["model"]), str(one["set"]))
            if one["test"] == POOLED or key not in found:
                found[key] = one
        sets = dict.fromkeys(one["set"] for one in found.values())
        return [one for which in sets for one in found.values() if one["set"] == which]

    @property
    def element_list(self) -> list[Mapping[str, Any]]:
        """Elements of the barcode in its order."""
        return list(self.elements.get("elements", ()))


def read_report_data(folder: str | Path) -> ReportData:
    """Read the results of a study for its report.

    Parameters
    ----------
    folder
        Folder with ``predictions.csv``, ``scores.json`` and the other results.

    Returns
    -------
    data
        Content of the files. What is missing is empty.

    Raises
    ------
    StoreError
        If the predictions or the scores are missing.

    Examples
    --------
    >>> read_report_data("barcode/barcode").scores[0]["model"]  # doctest: +SKIP
    'mean'
    """
    source = Path(folder)
    for name in (PREDICTIONS, SCORES):
        if not (source / name).is_file():
            raise StoreError(
                f"{source / name} is missing; the report shows the scores of a study. Run "
                "`mgdask study barcode` with this folder as --out again"
            )
    elements = _json(source / "elements.json")
    return ReportData(
        predictions=read_predictions(source / PREDICTIONS),
        scores=_json(source / SCORES),
        elements=_json(source / "element_table.json"),
        shap=np.array(elements.get("mean_absolute_shap", ()), dtype=np.float64),
        clusters=read_clusters(source / CLUSTERS),
        **{
            name: _json(source / f"{name}.json")
            for name in (
                "barcodes",
                "group_sums",
                "voronoi",
                "heterogeneity",
                "embedding",
                "accuracy",
            )
        },
    )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def read_predictions(path: str | Path) -> list[Predicted]:
    """Read the table of predictions, grouped by set and model in the order of the file.

    Parameters
    ----------
    path
        CSV file with the columns model, set, store, run, n_atoms, energy, predicted.

    Returns
    -------
    predictions
        One per set and model.
    """
    rows: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    with Path(path).open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            rows.setdefault((row["set"], row["model"]), []).append(row)
    return [
        Predicted(
            model,
            which,
            np.array([row["store"] for row in some]),
            np.array([row["run"] for row in some]),
            np.array([float(row["energy"]) for row in some]),
            np.array([float(row["predicted"]) for row in some]),
            np.array([int(row["n_atoms"]) for row in some], dtype=np.int64),
        )
        for (which, model), some in rows.items()
    ]


def read_clusters(path: str | Path) -> list[Cluster]:
    """Read the environments of the elements, which the study exports.

    Parameters
    ----------
    path
        Extended XYZ file, one frame per element, with the center as the first atom and
        the column ``kernel``.

    Returns
    -------
    clusters
        One per element. Empty if there is no file.
    """
    if not Path(path).is_file():
        return []
    from ase.io import read

    clusters = []
    for one in read(path, index=":", format="extxyz"):
        kernel = np.array(one.arrays["kernel"], dtype=bool)
        kernel[0] = False  # the center belongs to the kernel, but not to its shell
        position = np.asarray(one.positions - one.positions[0], dtype=np.float64)
        clusters.append(Cluster(position, np.asarray(one.numbers, dtype=np.int64), kernel))
    return clusters


def read_samples(folder: str | Path) -> list[Sample]:
    """Read the samples that the study exports with the group of each atom.

    Parameters
    ----------
    folder
        Folder with ``sample_STORE_FRAME.extxyz``, with the column ``group``.

    Returns
    -------
    samples
        The first three by name.
    """
    return [_read_sample(path) for path in sorted(Path(folder).glob("sample_*.extxyz"))[:3]]


def _read_sample(path: Path) -> Sample:
    from ase.io import read

    atoms = read(path, index=0, format="extxyz")
    frame = xr.Dataset(
        {
            "position": (("atom", "xyz"), np.asarray(atoms.positions, dtype=np.float64)),
            "cell": (("vector", "xyz"), np.asarray(atoms.cell, dtype=np.float64)),
            "origin": ("xyz", np.zeros(3)),
            "pbc": ("vector", np.asarray(atoms.pbc, dtype=bool)),
            "species": ("atom", np.asarray(atoms.numbers, dtype=np.int64)),
        }
    )
    name, _, number = path.stem.removeprefix("sample_").rpartition("_")
    return Sample(
        f"{name}, frame {number}", frame, np.asarray(atoms.arrays["group"], dtype=np.int64)
    )
