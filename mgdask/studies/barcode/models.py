"""Linear models of the energy that are more accurate than the barcode.

All are linear in numbers that add up over atoms, so they apply to samples of any size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.learn.selection.forward import forward_selection
from mgdask.learn.training.landmarks import landmark_basis
from mgdask.learn.training.ridge import Ridge, ridge
from mgdask.studies.barcode.data import Samples
from mgdask.studies.barcode.pairs import pair_counts

PAIRS = "pair distances"
KERNEL = "kernel ridge on all entries"
BOTH = "kernel ridge on all entries and pairs"
"""Names of models in tables."""
PAIR_SHARE = 10.0
"""Variance of all pair columns over that of all columns of the entries in ``BOTH``."""


def soft_name(n_elements: int) -> str:
    """Return the name of the soft barcode in tables.

    Examples
    --------
    >>> soft_name(40)
    'soft barcode, 40 elements'
    """
    return f"soft barcode, {n_elements} elements"


def mean_vectors(samples: Samples, width: int) -> FloatArray:
    """Return the mean SOAP vector over all atoms of each sample (sample, column).

    Parameters
    ----------
    samples
        Samples with ``mean_soap``.
    width
        Number of columns of the SOAP.

    Raises
    ------
    ParameterError
        If the samples have other columns.
    """
    values, kinds = samples.matrix("mean_soap"), max(len(samples.species), 1)
    if values.shape[1] != kinds * width:
        raise ParameterError(
            f"mean_soap has {values.shape[1]} columns for {kinds} species, the entries have "
            f"{width} each; describe entries and samples by the same SOAP"
        )
    shares = samples.concentration if len(samples.species) else np.ones((len(samples), 1))
    return np.asarray(np.einsum("ns,nsc->nc", shares, values.reshape(len(samples), kinds, width)))


@dataclass(frozen=True, eq=False)
class PairEnergy:
    """Linear model of the energy per atom in smoothed counts of pairs.

        E / N = b + sum_k w_k n_k

    Parameters
    ----------
    fit
        The regression on ``pair_counts``.
    name
        Name in tables.
    """

    fit: Ridge
    name: str = PAIRS

    @property
    def n_numbers(self) -> int:
        """Counts that differ between the training samples."""
        return int((self.fit.weights != 0.0).sum())

    def predict(self, samples: Samples) -> FloatArray:
        """Return the energy per atom in eV (sample,)."""
        return self.fit.predict(pair_counts(samples))

    def to_json(self) -> dict[str, Any]:
        """Return the model as plain values."""
        return {"kind": "pairs", "name": self.name, "fit": self.fit.to_json()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Build a model from the values of ``to_json``."""
        return cls(Ridge.from_json(plain["fit"]), plain["name"])


@dataclass(frozen=True, eq=False)
class SoftBarcode:
    """Linear model of the energy per atom in similarities to a few environments.

        s_k = p·q_k / |q_k|^2,   E / N = b + sum_k w_k s_k

    p is the mean vector of the atoms of a sample, and q_k the vector of an entry.
    Columns are first multiplied by their weights. s_k is the mean over all atoms of
    their similarity to the entry. It is 1 if all environments equal that of the entry.

    Parameters
    ----------
    entries
        Entries of the dictionary, in the order in which they were chosen (element,).
    vectors
        Weighted vectors q_k of the entries (element, column).
    column_weights
        Weight of each column (column,).
    fit
        The regression on the similarities.
    left_out
        Predicted energy per atom of each training sample without its run (sample,).
        Elements are also chosen without the run.
    name
        Name in tables.
    """

    entries: IntArray
    vectors: FloatArray
    column_weights: FloatArray
    fit: Ridge
    left_out: FloatArray
    name: str

    @property
    def n_numbers(self) -> int:
        """Number of elements."""
        return len(self.entries)

    def barcode(self, samples: Samples) -> FloatArray:
        """Return the similarities s_k (sample, element)."""
        return _similarities(
            mean_vectors(samples, len(self.column_weights)) * self.column_weights, self.vectors
        )

    def predict(self, samples: Samples) -> FloatArray:
        """Return the energy per atom in eV (sample,)."""
        return self.fit.predict(self.barcode(samples))

    def to_json(self) -> dict[str, Any]:
        """Return the model as plain values."""
        arrays = ("entries", "vectors", "column_weights", "left_out")
        return {
            "kind": "soft barcode",
            "name": self.name,
            **{key: getattr(self, key).tolist() for key in arrays},
            "fit": self.fit.to_json(),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Build a model from the values of ``to_json``."""
        return cls(
            np.array(plain["entries"], dtype=np.int64),
            np.array(plain["vectors"], dtype=np.float64),
            np.array(plain["column_weights"], dtype=np.float64),
            Ridge.from_json(plain["fit"]),
            np.array(plain["left_out"], dtype=np.float64),
            plain["name"],
        )


@dataclass(frozen=True, eq=False)
class LandmarkEnergy:
    """Kernel ridge regression with the entries of a dictionary as landmarks.

        E / N = b + sum_m a_m p·q_m (+ sum_k w_k n_k)

    n_k are smoothed counts of pairs. The penalty is that of Gaussian processes with
    landmarks; see ``mgdask.learn.training.landmarks``.

    Parameters
    ----------
    basis
        Directions that the entries span, times the weights of the columns (column,
        direction).
    n_entries
        Number of entries.
    pair_scale
        Factor of the counts of pairs; 0 if there are none.
    fit
        The regression on the components and the scaled counts.
    name
        Name in tables.
    """

    basis: FloatArray
    n_entries: int
    pair_scale: float
    fit: Ridge
    name: str

    @property
    def n_numbers(self) -> int:
        """Similarities to all entries, and counts of pairs."""
        return self.n_entries + len(self.fit.weights) - int(self.basis.shape[1])

    def predict(self, samples: Samples) -> FloatArray:
        """Return the energy per atom in eV (sample,)."""
        return self.fit.predict(_columns(samples, self.basis, self.pair_scale))

    def to_json(self) -> dict[str, Any]:
        """Return the model as plain values."""
        return {
            "kind": "landmarks",
            "name": self.name,
            "basis": self.basis.tolist(),
            "n_entries": self.n_entries,
            "pair_scale": self.pair_scale,
            "fit": self.fit.to_json(),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Build a model from the values of ``to_json``."""
        return cls(
            np.array(plain["basis"], dtype=np.float64),
            plain["n_entries"],
            plain["pair_scale"],
            Ridge.from_json(plain["fit"]),
            plain["name"],
        )


OurModel = PairEnergy | SoftBarcode | LandmarkEnergy
_KINDS: dict[str, type[OurModel]] = {
    "pairs": PairEnergy,
    "soft barcode": SoftBarcode,
    "landmarks": LandmarkEnergy,
}


def model_from_json(plain: Mapping[str, Any]) -> OurModel:
    """Build a model from the values of its ``to_json``."""
    return _KINDS[plain["kind"]].from_json(plain)


def fit_pairs(samples: Samples) -> PairEnergy:
    """Fit a ridge regression on the smoothed counts of pairs.

    Parameters
    ----------
    samples
        Training samples with ``mean_pairs``.

    Returns
    -------
    model

    Raises
    ------
    ParameterError
        If the samples do not have them, or there is only one sample.
    """
    groups, _ = samples.groups()
    counts = pair_counts(samples)
    return PairEnergy(ridge(counts, samples.energy_per_atom, groups, standardize=False))


def fit_soft_barcode(
    samples: Samples, vectors: FloatArray, column_weights: FloatArray, n_elements: int = 40
) -> SoftBarcode:
    """Choose elements of a soft barcode, and fit a ridge regression on similarities.

    Parameters
    ----------
    samples
        Training samples with ``mean_soap``.
    vectors
        SOAP vectors of all entries (entry, column), see ``entry_vectors``.
    column_weights
        Weight of each column (column,), see ``degree_weights``.
    n_elements
        Number of elements, at least 1.

    Returns
    -------
    model

    Raises
    ------
    ParameterError
        If columns do not fit, or there is only one sample.

    Notes
    -----
    Elements are chosen by forward selection. For ``left_out``, the selection is
    repeated without each run, so the held-out run has no part in it.
    """
    q = _weighted(vectors, column_weights)
    values = _similarities(mean_vectors(samples, q.shape[1]) * column_weights, q)
    energy, (groups, _) = samples.energy_per_atom, samples.groups()

    def fitted(rows: IntArray) -> tuple[IntArray, Ridge]:
        chosen = forward_selection(values[rows], energy[rows], n_elements)
        return chosen, ridge(values[np.ix_(rows, chosen)], energy[rows], groups[rows])

    entries, fit = fitted(np.arange(len(samples)))
    left_out = np.empty(len(samples))
    names = list(dict.fromkeys(groups.tolist()))
    for group in names:
        own = groups == group
        if len(names) == 2:  # one group cannot choose a penalty; the choice is not repeated
            left_out[own] = fit.left_out[own]
            continue
        chosen, other = fitted(np.flatnonzero(~own))
        left_out[own] = other.predict(values[np.ix_(own, chosen)])
    return SoftBarcode(entries, q[entries], column_weights, fit, left_out, soft_name(len(entries)))


def fit_landmarks(
    samples: Samples, vectors: FloatArray, column_weights: FloatArray, *, pairs: bool = False
) -> LandmarkEnergy:
    """Fit a kernel ridge regression with all entries as landmarks.

    Parameters
    ----------
    samples
        Training samples with ``mean_soap``, and ``mean_pairs`` if there are pairs.
    vectors, column_weights
        See ``fit_soft_barcode``.
    pairs
        Whether to add the counts of pairs.

    Returns
    -------
    model

    Raises
    ------
    ParameterError
        If columns do not fit, or there is only one sample.
    """
    q = _weighted(vectors, column_weights)
    basis = column_weights[:, None] * landmark_basis(q)
    scale = 0.0
    if pairs:
        own, counts = _columns(samples, basis, 0.0), pair_counts(samples)
        variance = float(counts.var(axis=0).sum())
        scale = float(np.sqrt(PAIR_SHARE * own.var(axis=0).sum() / variance)) if variance else 1.0
    groups, _ = samples.groups()
    columns = _columns(samples, basis, scale)
    fit = ridge(columns, samples.energy_per_atom, groups, standardize=False)
    return LandmarkEnergy(basis, len(q), scale, fit, BOTH if pairs else KERNEL)


def fit_models(
    samples: Samples, vectors: FloatArray, column_weights: FloatArray, n_elements: int = 40
) -> list[OurModel]:
    """Fit all models of this module.

    Parameters
    ----------
    samples
        Training samples with ``mean_soap`` and ``mean_pairs``.
    vectors, column_weights, n_elements
        See ``fit_soft_barcode``.

    Returns
    -------
    models
        In the order of every table.
    """
    return [
        fit_pairs(samples),
        fit_soft_barcode(samples, vectors, column_weights, n_elements),
        fit_landmarks(samples, vectors, column_weights),
        fit_landmarks(samples, vectors, column_weights, pairs=True),
    ]


def _weighted(vectors: FloatArray, column_weights: FloatArray) -> FloatArray:
    q = np.asarray(vectors, dtype=np.float64)
    if q.ndim != 2 or q.shape[1:] != column_weights.shape:
        raise ParameterError(
            f"vectors has shape {q.shape}; it must be (entry, {len(column_weights)}), one column "
            "per weight"
        )
    q = q * column_weights
    empty = np.flatnonzero(np.einsum("ec,ec->e", q, q) == 0.0)
    if len(empty):
        raise ParameterError(
            f"entry {empty[0]} has no neighbor within the cutoff of the SOAP; "
            "leave it out, or choose a larger cutoff"
        )
    return q


def _similarities(p: FloatArray, q: FloatArray) -> FloatArray:
    # einsum without optimization does not call BLAS, so a row does not depend on others
    norm = np.einsum("ec,ec->e", q, q)
    return np.asarray(np.einsum("nc,ec->ne", p, q) / norm, dtype=np.float64)


def _columns(samples: Samples, basis: FloatArray, pair_scale: float) -> FloatArray:
    own = np.einsum("nc,cd->nd", mean_vectors(samples, len(basis)), basis)
    return np.hstack([own, pair_scale * pair_counts(samples)]) if pair_scale else own
