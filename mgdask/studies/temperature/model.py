"""Interface of models that predict temperature from motion, and the paper's model.

A model reads a matrix (row, column) of lag features and the species of each row. It
predicts the machine-learned temperature T_ML of each row in K.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.elements import symbol
from mgdask.errors import ParameterError, StoreError
from mgdask.learn.neighbors import NeighborIndex, neighbor_index
from mgdask.studies.stages import write_text

NEAREST = "k nearest neighbors"
"""Name of the paper's model in tables."""
PAPER_NEIGHBORS = 50
"""Number of neighbors in the paper (Supplementary Fig. 3)."""
BLOCK = 4096
"""Number of rows whose neighbors are in memory at a time."""
MODEL_FILE, ROWS_FILE = "model.json", "rows.npy"
"""Files of a saved model: plain values, and the training rows if it needs them."""
LABEL_FILES = {"temperature": "temperature.npy", "species": "species.npy"}
"""Files of the labels of the training rows."""


class TemperatureModel(Protocol):
    """A fitted model of the temperature."""

    @property
    def name(self) -> str:
        """Name in tables."""

    def predict(self, matrix: FloatArray, species: IntArray) -> FloatArray:
        """Return T_ML in K (row,) for features (row, column) and species (row,)."""

    def to_json(self) -> dict[str, Any]:
        """Return the model as plain values, without training rows."""


class Fit(Protocol):
    """A function that fits a model. It can be pickled."""

    def __call__(
        self, matrix: FloatArray, temperature: FloatArray, species: IntArray
    ) -> TemperatureModel:
        """Fit to features (row, column), temperatures in K and species (row,)."""


@dataclass(frozen=True, eq=False)
class NearestTemperatures:
    """Mean temperature of the k nearest training atoms of the same species.

    Parameters
    ----------
    rows
        Training features divided by the range of each column (row, column).
    temperature
        Temperature of each training row in K (row,).
    species
        Atomic number of each training row (row,).
    low, width
        Minimum and range of each column (column,).
    n_neighbors
        Number of neighbors k.
    name
        Name in tables.

    Notes
    -----
    The paper scales to [0, 1] by minimum and maximum. Distances are Euclidean. Features
    outside the range of training are not clipped. Neighbors at equal distance are taken
    in the order of the training rows.

    References
    ----------
    Liu et al., J. Mater. Inf. 2, 20 (2022), "Machine-learned temperature prediction".
    """

    rows: FloatArray
    temperature: FloatArray
    species: IntArray
    low: FloatArray
    width: FloatArray
    n_neighbors: int = PAPER_NEIGHBORS
    name: str = NEAREST

    @cached_property
    def _index(self) -> NeighborIndex:
        """The rows, prepared once for all blocks of atoms that a process predicts.

        Each has its number, so that an atom can be excluded from its own neighbors.
        """
        return neighbor_index(self.rows, group=self.species, exclude=np.arange(len(self.rows)))

    def prepare(self) -> None:
        """Prepare the rows now, not at the first prediction."""
        _ = self._index

    def predict(
        self, matrix: FloatArray, species: IntArray, own: IntArray | None = None
    ) -> FloatArray:
        """Return T_ML in K (row,).

        Parameters
        ----------
        matrix
            Features (row, column).
        species
            Atomic numbers (row,).
        own
            Training row that is the same atom (row,). It is not its own neighbor.
            Default: no atom is in the training data.

        Raises
        ------
        ParameterError
            If columns or species differ from those of training, or a value is not
            finite.
        """
        x = checked_features(matrix, species, len(self.low), np.unique(self.species))
        out = np.empty(len(x))
        for start in range(0, len(x), BLOCK):
            here = slice(start, start + BLOCK)
            scaled = (x[here] - self.low) / self.width
            near, _ = self._index.nearest(
                scaled,
                self.n_neighbors,
                group=species[here],
                exclude=None if own is None else own[here],
            )
            out[here] = self.temperature[near].mean(axis=1)
        return out

    def to_json(self) -> dict[str, Any]:
        """Return the model as plain values, without the training rows."""
        arrays = ("low", "width")
        return {
            "kind": "nearest",
            "name": self.name,
            "n_neighbors": self.n_neighbors,
            **{key: getattr(self, key).tolist() for key in arrays},
        }

    @classmethod
    def from_json(
        cls, plain: Mapping[str, Any], rows: FloatArray, temperature: FloatArray, species: IntArray
    ) -> Self:
        """Build a model from the values of ``to_json`` and its training rows."""
        return cls(
            rows,
            temperature,
            species,
            np.array(plain["low"], dtype=np.float64),
            np.array(plain["width"], dtype=np.float64),
            int(plain["n_neighbors"]),
            plain["name"],
        )


def fit_nearest(
    matrix: FloatArray,
    temperature: FloatArray,
    species: IntArray,
    *,
    n_neighbors: int = PAPER_NEIGHBORS,
) -> NearestTemperatures:
    """Return the paper's model.

    Parameters
    ----------
    matrix
        Features (row, column) of atoms of the representative classes.
    temperature
        Temperature of the class of each row in K (row,).
    species
        Atomic number of each row (row,).
    n_neighbors
        Number of neighbors k.

    Raises
    ------
    ParameterError
        If there is only one temperature, a species has fewer than ``n_neighbors`` rows,
        a value is not finite, or a column has only one value.
    """
    x = checked_training(matrix, temperature, species)
    kinds, counts = np.unique(species, return_counts=True)
    if counts.min() < n_neighbors:
        rare = int(np.argmin(counts))
        raise ParameterError(
            f"n_neighbors={n_neighbors}, but only {counts[rare]} training atoms are "
            f"{symbol(int(kinds[rare]))}; neighbors are searched among atoms of the same "
            f"species: use at most {counts[rare]} neighbors, or more training runs"
        )
    low, width = scaling(x)
    return NearestTemperatures(
        (x - low) / width, temperature, species, low, width, int(n_neighbors)
    )


def scaling(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return minimum and range of each column (column,).

    Raises
    ------
    ParameterError
        If a column has only one value.
    """
    low = x.min(axis=0)
    width = x.max(axis=0) - low
    if not (width > 0).all():
        raise ParameterError(
            f"column {int(np.argmin(width))} of the features has the value "
            f"{low[np.argmin(width)]:g} in all {len(x)} rows; leave that lag out"
        )
    return low, width


def checked_training(matrix: FloatArray, temperature: FloatArray, species: IntArray) -> FloatArray:
    """Return the training features as float64.

    Raises
    ------
    ParameterError
        If shapes do not match, a value is not finite, or there is only one temperature.
    """
    x = np.asarray(matrix, dtype=np.float64)
    if x.ndim != 2 or temperature.shape != x.shape[:1] or species.shape != x.shape[:1]:
        raise ParameterError(
            f"matrix must be (row, column) with a temperature and a species per row; got shapes "
            f"{x.shape}, {temperature.shape} and {species.shape}"
        )
    _refuse_undefined(x)
    if not np.isfinite(temperature).all():
        raise ParameterError(
            f"the temperature of training row {int(np.argmin(np.isfinite(temperature)))} is "
            "unknown; train only on runs with a temperature (mgdask attach adds it)"
        )
    if len(np.unique(temperature)) < 2:
        raise ParameterError(
            f"all {len(x)} training rows have the temperature {temperature[0]:g} K; give runs at "
            "two or more temperatures"
        )
    return x


def checked_features(
    matrix: FloatArray, species: IntArray, n_columns: int, known: IntArray
) -> FloatArray:
    """Return features to predict from, as float64.

    Raises
    ------
    ParameterError
        If columns or species differ from those of training, or a value is not finite.
    """
    x = np.asarray(matrix, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != n_columns or species.shape != x.shape[:1]:
        raise ParameterError(
            f"matrix must be (row, {n_columns}), with a species per row, as in training; got "
            f"shapes {x.shape} and {species.shape}"
        )
    strange = np.setdiff1d(species, known)
    if len(strange):
        raise ParameterError(
            f"atoms of {symbol(int(strange[0]))} were not in the training runs, which had "
            f"{', '.join(symbol(int(z)) for z in known)}; train on runs with the same species"
        )
    _refuse_undefined(x)
    return x


def _refuse_undefined(x: FloatArray) -> None:
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        row, column = (int(i) for i in bad[0])
        raise ParameterError(
            f"column {column} of the features is {x[row, column]} in row {row} "
            f"({len(np.unique(bad[:, 0]))} such rows). An atom that has not moved gives -inf, and "
            "a missing lag gives NaN: leave out such rows or lags"
        )


def save_model(model: TemperatureModel, folder: Path) -> None:
    """Write a model to a folder, ``model.json`` last.

    Parameters
    ----------
    model
        The model.
    folder
        Folder, made if it does not exist. A model that is there is replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).unlink(missing_ok=True)
    for file in (ROWS_FILE, *LABEL_FILES.values()):
        (folder / file).unlink(missing_ok=True)
    if isinstance(model, NearestTemperatures):
        np.save(folder / ROWS_FILE, model.rows)
        np.save(folder / LABEL_FILES["temperature"], model.temperature)
        np.save(folder / LABEL_FILES["species"], model.species)
    write_text(folder / MODEL_FILE, json.dumps(model.to_json()) + "\n")


def load_model(folder: Path) -> TemperatureModel:
    """Read a model that ``save_model`` wrote.

    Raises
    ------
    StoreError
        If there is no finished model.
    """
    from mgdask.studies.temperature.baselines import baseline_from_json
    from mgdask.studies.temperature.likelihood import MotionLikelihood

    path = folder / MODEL_FILE
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        if plain["kind"] == "nearest":
            labels = (np.load(folder / file) for file in LABEL_FILES.values())
            return NearestTemperatures.from_json(plain, np.load(folder / ROWS_FILE), *labels)
        if plain["kind"] == "likelihood":
            return MotionLikelihood.from_json(plain)
        return baseline_from_json(plain)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: no finished model of the temperature ({error})") from None
