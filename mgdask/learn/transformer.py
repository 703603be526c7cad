"""Features of atoms as a step of a scikit-learn pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.elements import atomic_number, symbol
from mgdask.errors import ParameterError
from mgdask.store.open import open_store

if TYPE_CHECKING:
    import pandas as pd

DTYPES = ("float64", "float32")
"""Allowed values of ``dtype``."""
_EXAMPLE = "such as [mgdask.Coordination()]"


class _Atoms(Protocol):
    """Atoms of one frame, as ``mgdask.features.Configuration``."""

    @property
    def position(self) -> FloatArray: ...
    @property
    def numbers(self) -> IntArray: ...
    @property
    def ids(self) -> IntArray | None: ...
    @property
    def centers(self) -> IntArray | None: ...


class FeatureOfFrames(Protocol):
    """What is needed of ``mgdask.FrameFeature``."""

    @property
    def name(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def level(self) -> str: ...
    def for_atoms(self, numbers: npt.NDArray[np.integer]) -> Self: ...
    def check_species(self, numbers: npt.NDArray[np.integer]) -> None: ...
    @staticmethod
    def read_configuration(obj: object) -> _Atoms: ...
    @staticmethod
    def compute_together(
        features: Sequence[Any], obj: object, centers: npt.ArrayLike | None = None
    ) -> list[AnyArray]: ...


class _Frame(NamedTuple):
    """One configuration of the input, and where it is from."""

    which: int
    frame: int
    atoms: _Atoms
    where: str


class FeatureTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Features of atoms for scikit-learn: configurations in, a matrix out.

    Parameters
    ----------
    features
        Features of single frames, such as ``[mgdask.Coordination()]``. All have a row
        per atom, or all have a row per frame.
    centers
        Element symbols of the central atoms, or their indices, the same in every
        configuration. Default: all atoms.
    dtype
        "float64" or "float32".

    Attributes
    ----------
    features_
        The features, with every parameter resolved that depends on the atoms.
    species_
        Symbols of the elements seen by ``fit``.
    level_
        "atom" or "frame": what a row of the matrix is.

    See Also
    --------
    mgdask.plan : features of long trajectories, in parallel, to a store.

    Notes
    -----
    Rows are the central atoms of all frames, in order; ``rows`` names them. Targets of
    atoms thus have more rows than ``X`` has configurations. A pipeline accepts that.
    ``cross_val_score`` and ``train_test_split`` do not: split the configurations, or
    use features with a row per frame.

    The values are the same bits as from ``run``. They are computed in this process, one
    frame after the other. The matrix must fit into memory.

    Examples
    --------
    >>> import mgdask
    >>> from ase.build import bulk
    >>> transformer = FeatureTransformer([mgdask.Coordination(cutoff=3.0)])
    >>> transformer.fit_transform([bulk("Cu", cubic=True)])[0]
    array([12., 12.])
    >>> transformer.get_feature_names_out().tolist()
    ['voronoi', 'cutoff']
    """

    def __init__(
        self,
        features: Sequence[FeatureOfFrames] | FeatureOfFrames | None = None,
        *,
        centers: Sequence[str] | str | npt.ArrayLike | None = None,
        dtype: str = "float64",
    ) -> None:
        self.features = features
        self.centers = centers
        self.dtype = dtype

    def fit(self, X: Sequence[object], y: object = None) -> Self:
        """Fix the columns: read which elements there are. Nothing is computed.

        Parameters
        ----------
        X
            List of configurations and trajectory stores: what ``compute`` of a feature
            accepts, paths of stores, and Datasets of any number of frames.
        y
            Not used.

        Returns
        -------
        FeatureTransformer
            The transformer itself.

        Raises
        ------
        ParameterError
            If an argument is not valid, or a feature cannot describe the elements.
        """
        features = _checked(self.features)
        if self.dtype not in DTYPES:
            raise ParameterError(f"dtype={self.dtype!r}; allowed are {' and '.join(DTYPES)}")
        numbers = np.concatenate([np.asarray(atoms.numbers) for atoms in _one_each(X, features[0])])
        decided = [feature.for_atoms(numbers) for feature in features]
        for feature in decided:
            feature.check_species(numbers)
        found = set(np.unique(numbers).tolist())
        missing = [name for name in _symbols(self.centers) if atomic_number(name) not in found]
        if missing:
            raise ParameterError(
                f"centers={self.centers!r}: there is no {missing[0]} in X, which has "
                f"{', '.join(symbol(z) for z in sorted(found))}"
            )
        self.features_ = decided
        self.species_ = tuple(symbol(z) for z in sorted(found))
        self.level_ = decided[0].level
        self._names = _column_names(decided)
        return self

    def transform(self, X: Sequence[object]) -> AnyArray:
        """Compute the features.

        Parameters
        ----------
        X
            Configurations and stores, as in ``fit``.

        Returns
        -------
        numpy.ndarray
            Values (row, column). A row is an atom, or a frame if ``level_`` is "frame".

        Raises
        ------
        ParameterError
            If a configuration cannot be read or described. The message says which.
        """
        check_is_fitted(self)
        blocks = []
        for each in _frames(X, self.features_[0]):
            rows = self._rows_of(each)
            try:  # an AtomGroup has its own centers, which _rows_of has taken
                atoms = _without_centers(each.atoms)
                values = self.features_[0].compute_together(self.features_, atoms, rows)
            except ParameterError as error:
                raise ParameterError(f"{each.where}: {error}") from None
            wide = np.concatenate([np.atleast_2d(block) for block in values], axis=1)
            blocks.append(wide.astype(self.dtype, copy=False))
        return np.concatenate(blocks)

    def get_feature_names_out(self, input_features: object = None) -> AnyArray:
        """Return the names of the columns.

        Parameters
        ----------
        input_features
            Not used.

        Returns
        -------
        numpy.ndarray
            Labels (column,), or feature/label if there are several features. Models
            trained on stores have the same names.
        """
        check_is_fitted(self)
        return np.array(self._names, dtype=object)

    def rows(self, X: Sequence[object]) -> pd.DataFrame:
        """Return what each row of the matrix is.

        Parameters
        ----------
        X
            Configurations and stores, as in ``fit``.

        Returns
        -------
        pandas.DataFrame
            Index of the configuration in ``X``, number of the frame in its store, and
            for rows of atoms the id and the element. Atoms without ids are counted from
            1.
        """
        import pandas as pd

        check_is_fitted(self)
        parts = []
        for each in _frames(X, self.features_[0]):
            place: dict[str, Any] = {"configuration": each.which, "frame": each.frame}
            if self.level_ == "atom":
                rows = self._rows_of(each)
                numbers = np.asarray(each.atoms.numbers)
                ids = each.atoms.ids
                place["atom_id"] = rows + 1 if ids is None else ids[rows]
                place["element"] = [symbol(z) for z in numbers[rows].tolist()]
                parts.append(pd.DataFrame(place))
            else:
                parts.append(pd.DataFrame([place]))
        return pd.concat(parts, ignore_index=True)

    def _rows_of(self, each: _Frame) -> IntArray:
        """Return the indices of the central atoms of a configuration."""
        numbers, own = np.asarray(each.atoms.numbers), each.atoms.centers
        names = _symbols(self.centers)
        if names:
            chosen = np.isin(numbers, [atomic_number(name) for name in names])
            return np.flatnonzero(chosen) if own is None else own[chosen[own]]
        if self.centers is None:
            return np.arange(len(numbers), dtype=np.int64) if own is None else own
        if own is not None:
            raise ParameterError(
                f"{each.where}: the AtomGroup selects atoms already, so centers= may only be "
                "element symbols"
            )
        return np.asarray(self.centers)

    def __sklearn_tags__(self) -> Tags:
        """Return the scikit-learn tags: the input is a list, not a matrix."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.allow_nan = False
        tags.no_validation = True
        return tags


def _checked(features: Any) -> list[FeatureOfFrames]:
    """Return the features as a list; anything else raises ``ParameterError``."""
    one = features is None or isinstance(features, str) or not isinstance(features, Sequence)
    found = [features] if one else list(features)
    if features is None or not found:
        raise ParameterError(f"features={features!r}: give at least one feature, {_EXAMPLE}")
    for feature in found:
        if not hasattr(feature, "labels") or not hasattr(feature, "for_atoms"):
            raise ParameterError(
                f"features: {feature!r:.80} is not a feature; give features, {_EXAMPLE}. "
                "mgdask.features.make_feature makes one from a name"
            )
        if not hasattr(feature, "compute_together"):
            raise ParameterError(
                f"features: {feature.name} reads several frames of a trajectory, but here each "
                "frame stands alone; use mgdask.plan and mgdask.run"
            )
    names = [feature.name for feature in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ParameterError(
            f"features: two are called {twice[0]}; give one of them another name with "
            "feature.named(...)"
        )
    levels = {feature.level: feature.name for feature in found}
    if len(levels) > 1:
        raise ParameterError(
            f"features: {levels['atom']} has a row per atom and {levels['frame']} has a row per "
            "frame; use a transformer for each"
        )
    return found


def _symbols(centers: Any) -> list[str]:
    """Return the element symbols in ``centers``; none if it is empty or has indices."""
    if isinstance(centers, str):
        return [centers]
    given = np.asarray([] if centers is None else centers)
    return [str(name) for name in given] if given.dtype.kind == "U" else []


def _column_names(features: Sequence[FeatureOfFrames]) -> tuple[str, ...]:
    """Return names of columns, as ``Rows`` names those of stores."""
    if len(features) == 1:
        return tuple(features[0].labels)
    return tuple(f"{feature.name}/{label}" for feature in features for label in feature.labels)


def _listed(X: Any) -> list[Any]:
    """Return the entries of ``X``, which must be a list, a tuple or an object array."""
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        X = X.tolist()
    if not isinstance(X, list | tuple):
        shape = f" of shape {X.shape}" if isinstance(X, np.ndarray) else ""
        raise ParameterError(
            f"X must be a list of configurations or stores; got {type(X).__name__}{shape}. Put "
            "a single one into a list: [X]"
        )
    if not X:
        raise ParameterError("X is an empty list; give at least one configuration or store")
    return list(X)


def _opened(X: Any) -> Iterator[tuple[int, Any, str]]:
    """Yield the index of each entry, the entry with its store opened, and its name."""
    for which, each in enumerate(_listed(X)):
        if isinstance(each, str | Path):
            yield which, open_store(each), f"X[{which}] ({each})"
        else:
            yield which, each, f"X[{which}]"


def _n_frames(obj: Any) -> int | None:
    """Return the number of frames of a Dataset that has a dimension for them."""
    sizes = getattr(obj, "sizes", None) if hasattr(obj, "data_vars") else None
    return None if sizes is None or "frame" not in sizes else int(sizes["frame"])


def _frame_numbers(obj: Any, n_frames: int) -> list[int]:
    """Return the numbers of frames in their store, or else in the Dataset."""
    if n_frames and "frame" in obj.coords and obj["frame"].dtype.kind in "iu":
        return [int(number) for number in obj["frame"].values]
    return list(range(n_frames))


def _read(feature: FeatureOfFrames, obj: object, where: str) -> _Atoms:
    try:
        return feature.read_configuration(obj)
    except ParameterError as error:
        raise ParameterError(f"{where}: {error}") from None


def _frames(X: Any, feature: FeatureOfFrames) -> Iterator[_Frame]:
    """Yield every frame of every entry. One is in memory at a time."""
    for which, obj, where in _opened(X):
        n_frames = _n_frames(obj)
        if n_frames is None:
            yield _Frame(which, 0, _read(feature, obj, where), where)
        numbers = _frame_numbers(obj, n_frames or 0)
        for k, number in enumerate(numbers):
            here = f"{where}, frame {number}"
            yield _Frame(which, number, _read(feature, obj.isel(frame=[k]), here), here)


def _one_each(X: Any, feature: FeatureOfFrames) -> Iterator[_Atoms]:
    """Yield one frame of every entry: the atoms of a store are the same in all."""
    for _, obj, where in _opened(X):
        one = obj if not _n_frames(obj) else obj.isel(frame=[0])
        yield _read(feature, one, where)


def _without_centers(atoms: _Atoms) -> _Atoms:
    replaced: _Atoms = atoms._replace(centers=None)  # type: ignore[attr-defined]
    return replaced


__all__ = ["FeatureTransformer"]
