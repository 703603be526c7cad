"""Structure of the samples of all stores, computed as tasks and read as arrays."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgdask._typing import FloatArray
from mgdask.features import SOAP, Feature, SpeciesMean, SphericalChebyshev
from mgdask.features.local_environment import LocalEnvironment
from mgdask.pipelines.dictionary.build import build_dictionary
from mgdask.pipelines.featurize.plan import plan
from mgdask.pipelines.featurize.run import run
from mgdask.store.attributes import decode
from mgdask.store.open import open_store
from mgdask.studies.barcode.data import Samples
from mgdask.studies.barcode.pairs import pair_feature
from mgdask.studies.barcode.stores import StoreOfSamples, read_energies

if TYPE_CHECKING:
    from mgdask.cluster.client import Client
    from mgdask.studies.barcode.options import BarcodeOptions

FRACTIONS, MEANS = "fractions", "means"
"""Ends of the names of the two stores of each store of samples."""
SOAP_NAME, CHEBYSHEV_NAME, FRACTIONS_NAME = "mean_soap", "mean_chebyshev", "fractions"
PAIRS_NAME = "mean_pairs"
"""Names of the variables in them."""
SMALL_SOAP = {"r_cut": 5.0, "n_max": 6, "l_max": 6, "sigma": 0.5, "rbf": "gto"}
"""SOAP of the mean vectors. A linear model needs fewer columns than a dictionary."""


def small_soap(species: Sequence[str]) -> SOAP:
    """Return the SOAP of the mean vectors.

    Parameters
    ----------
    species
        Element symbols of the training samples.
    """
    return SOAP(species=tuple(species), **SMALL_SOAP)  # type: ignore[arg-type]


def mean_features(species: Sequence[str]) -> list[Feature]:
    """Return the mean SOAP and Chebyshev vectors and the pair counts per species.

    Parameters
    ----------
    species
        Element symbols of the training samples.
    """
    names = tuple(species)
    return [
        SpeciesMean(small_soap(names), species=names).named(SOAP_NAME),
        SpeciesMean(SphericalChebyshev(species=names), species=names).named(CHEBYSHEV_NAME),
        pair_feature(names).named(PAIRS_NAME),
    ]


def build_ules(
    options: BarcodeOptions,
    out: Path,
    threshold: float,
    species: Sequence[str],
    *,
    client: Client | None = None,
    progress: bool = True,
) -> None:
    """Build the dictionary of the training samples, unless it is there.

    Parameters
    ----------
    options
        Options of the study.
    out
        Dictionary to write.
    threshold
        Its threshold.
    species
        Element symbols of the training samples.
    client, progress
        See ``compute_means``.
    """
    build_dictionary(
        options.train,
        options.soap(species),
        threshold=threshold,
        out=out,
        per_species=options.per_species,
        memory=options.memory,
        client=client,
        progress=progress,
    )


def compute_means(
    stores: Sequence[Path],
    species: Sequence[str],
    out: Path,
    *,
    memory: str = "2GiB",
    client: Client | None = None,
    progress: bool = True,
) -> None:
    """Compute the mean vectors of all samples, unless ``out`` already has them.

    Parameters
    ----------
    stores
        Stores of samples.
    species
        Element symbols of the training samples.
    out
        Folder for the results, one store each.
    memory
        Memory of one worker process.
    client
        Dask client. Default: the current one, or else threads of this process.
    progress
        Whether to report progress.
    """
    out.mkdir(parents=True, exist_ok=True)
    features = mean_features(species)
    with _said_once():
        for store in stores:
            target = feature_path(out, store, MEANS)
            run(plan(store, features, out=target, memory=memory), client, progress=progress)


def compute_fractions(
    stores: Sequence[Path],
    dictionary: Path,
    out: Path,
    *,
    memory: str = "2GiB",
    client: Client | None = None,
    progress: bool = True,
) -> None:
    """Compute the fractions of the entries in all samples, unless ``out`` has them.

    Parameters
    ----------
    stores
        Stores of samples.
    dictionary
        Dictionary of unique local environments.
    out, memory, client, progress
        See ``compute_means``.
    """
    out.mkdir(parents=True, exist_ok=True)
    feature = LocalEnvironment(str(dictionary), per="frame").named(FRACTIONS_NAME)
    with _said_once():
        for store in stores:
            target = feature_path(out, store, FRACTIONS)
            run(plan(store, feature, out=target, memory=memory), client, progress=progress)


@contextmanager
def _said_once() -> Iterator[None]:
    """Log a remark on several stores for the first of them only."""
    logger, said = logging.getLogger("mgdask.featurize"), set()

    def is_new(record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING or not isinstance(record.args, tuple):
            return True
        remark = record.args[-1:]  # after the name of the store
        new = remark not in said
        said.add(remark)
        return new

    logger.addFilter(is_new)
    try:
        yield
    finally:
        logger.removeFilter(is_new)


def feature_path(out: Path, store: Path, what: str) -> Path:
    """Return where the features of a store are: OUT/<name>-<what>.zarr."""
    return out / f"{store.stem}-{what}.zarr"


def read_samples(
    stores: Sequence[Path], species: Sequence[str], out: Path, *, fractions: Path | None = None
) -> Samples:
    """Read the samples of some stores, whose features have been computed.

    Parameters
    ----------
    stores
        Stores of samples, in order.
    species
        Element symbols of the training samples.
    out
        Folder of the features.
    fractions
        Folder of the fractions, if it is another one.

    Returns
    -------
    samples
        ``unmatched`` is the mean over the samples of a store.
    """
    return Samples.join(
        [
            _read_store(read_energies(store), tuple(species), out, fractions or out)
            for store in stores
        ]
    )


def _read_store(
    store: StoreOfSamples, species: tuple[str, ...], out: Path, counted: Path
) -> Samples:
    n, n_atoms = len(store.energy), len(store.numbers)
    means = open_store(feature_path(out, store.path, MEANS))
    fractions = open_store(feature_path(counted, store.path, FRACTIONS))[FRACTIONS_NAME]
    marked = decode(fractions.attrs, "marked_atoms", {}).get("below_threshold", 0)
    shares = store.concentration(species)
    return Samples.of(
        store.energy,
        n_atoms,
        store.run,
        store=store.path.stem,
        frame=np.arange(n),
        species=species,
        concentration=shares,
        fractions=np.asarray(fractions.values, dtype=np.float64),
        unmatched=np.full(n, marked / (n * n_atoms)),
        mean_soap=_of_present(means[SOAP_NAME].values, shares),
        mean_chebyshev=_of_present(means[CHEBYSHEV_NAME].values, shares),
        mean_pairs=_of_present(means[PAIRS_NAME].values, shares),
    )


def _of_present(values: FloatArray, shares: FloatArray) -> FloatArray:
    """Return means per species with zeros for an absent one, whose mean is NaN."""
    parts = np.array(values, dtype=np.float64).reshape(len(values), len(shares), -1)
    parts[:, shares == 0.0] = 0.0
    return parts.reshape(len(values), -1)
