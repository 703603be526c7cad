"""Estimators with the scikit-learn interface, based on the exact neighbor search."""

from __future__ import annotations

from typing import Self, cast

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.learn.neighbors.search import NeighborIndex, codes, neighbor_index

SCALES = ("minmax", None)
"""Allowed values of ``scale``."""


class _Neighbors(BaseEstimator):  # type: ignore[misc]
    """Common part of the regressor and the classifier: scaling, groups and search."""

    def __init__(
        self, n_neighbors: int = 50, *, metric: str = "euclidean", scale: str | None = "minmax"
    ) -> None:
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.scale = scale

    def _fit_rows(self, x: FloatArray, groups: npt.ArrayLike | None) -> None:
        if self.scale not in SCALES:
            raise ParameterError(f"scale={self.scale!r} is unknown; choose 'minmax' or None")
        if self.n_neighbors < 1:
            raise ParameterError(f"n_neighbors={self.n_neighbors} must be at least 1")
        self.low_ = np.zeros(x.shape[1])
        self.width_ = np.ones(x.shape[1])
        if self.scale == "minmax":
            self.low_ = x.min(axis=0)
            width = x.max(axis=0) - self.low_
            self.width_ = np.where(width > 0, width, 1.0)
        self.has_groups_ = groups is not None
        group = codes("groups", groups, len(x), 0)
        kinds, counts = np.unique(group, return_counts=True)
        if counts.min() < self.n_neighbors:
            rare = int(np.argmin(counts))
            where = f"group {kinds[rare]} has" if self.has_groups_ else "there are"
            raise ParameterError(
                f"n_neighbors={self.n_neighbors}, but {where} only {counts[rare]} samples; use at "
                f"most n_neighbors={counts[rare]}, or more samples"
            )
        self.index_: NeighborIndex = neighbor_index(
            self._scaled(x), group=group, metric=self.metric
        )
        self.n_samples_fit_ = len(x)

    def _scaled(self, x: FloatArray) -> FloatArray:
        return np.asarray((x - self.low_) / self.width_, dtype=np.float64)

    def kneighbors(
        self, X: npt.ArrayLike, groups: npt.ArrayLike | None = None, n_neighbors: int | None = None
    ) -> tuple[FloatArray, IntArray]:
        """Find the nearest training rows.

        Parameters
        ----------
        X
            Columns, shape (row, column).
        groups
            Group of each row (row,). Needed if training had groups.
        n_neighbors
            Number of neighbors. Default: that of the estimator.

        Returns
        -------
        distance, index
            Distances of the scaled columns (row, neighbor), in increasing order, and
            training rows. Rows at equal distance are ordered by row number.

        Raises
        ------
        ParameterError
            If groups are missing or unknown, or a group has too few rows.
        """
        check_is_fitted(self)
        x = validate_data(self, X, reset=False, dtype=np.float64)
        if self.has_groups_ != (groups is not None):
            raise ParameterError(
                "groups= was given for training, so it is also needed here"
                if self.has_groups_
                else "groups= was not given for training, so leave it out here"
            )
        index, distance = self.index_.nearest(
            self._scaled(x), n_neighbors or self.n_neighbors, group=groups
        )
        return distance, index


class NeighborsRegressor(RegressorMixin, _Neighbors):  # type: ignore[misc]
    """Mean target of the nearest training rows.

        y(x) = 1/k sum_(j in near_k(x)) y_j

    ``near_k`` are the k training rows with the smallest distance, after each column is
    scaled to the range of training.

    Parameters
    ----------
    n_neighbors
        Number of neighbors k.
    metric
        "euclidean" or "manhattan", see ``nearest_rows``.
    scale
        "minmax" maps the training range of each column to [0, 1]. Values outside are
        not clipped. None leaves columns as they are.

    Notes
    -----
    The neighbors are exactly those from comparing all rows in float64. Unlike in
    scikit-learn, rows at equal distance are always taken in the order of training.
    ``fit`` and ``predict`` accept ``groups``: neighbors are then in the same group.

    Examples
    --------
    >>> model = NeighborsRegressor(n_neighbors=2)
    >>> model = model.fit([[0.0], [1.0], [4.0]], [0.0, 1.0, 9.0])
    >>> model.predict([[0.4]]).tolist()
    [0.5]
    """

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> Self:
        """Keep the training rows.

        Parameters
        ----------
        X
            Columns, shape (row, column).
        y
            Targets (row,) or (row, output).
        groups
            Group of each row (row,), whole numbers. Default: one group.
        """
        x, target = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        self._fit_rows(x, groups)
        self.y_ = np.asarray(target, dtype=np.float64)
        return self

    def predict(self, X: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> FloatArray:
        """Return the mean target of the neighbors, shape (row,) or (row, output).

        Parameters
        ----------
        X
            Columns, shape (row, column).
        groups
            Group of each row (row,). Needed if training had groups.
        """
        _, index = self.kneighbors(X, groups)
        return np.asarray(self.y_[index].mean(axis=1), dtype=np.float64)

    def __sklearn_tags__(self) -> Tags:
        """Return the scikit-learn tags: several targets are allowed."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class NeighborsClassifier(ClassifierMixin, _Neighbors):  # type: ignore[misc]
    """Most frequent class of the nearest training rows.

        P(c | x) = 1/k sum_(j in near_k(x)) [y_j = c]

    Parameters
    ----------
    n_neighbors
        Number of neighbors k.
    metric, scale
        As in ``NeighborsRegressor``.

    Notes
    -----
    See ``NeighborsRegressor``. If classes are equally frequent, the first one in
    ``classes_`` is predicted.

    Examples
    --------
    >>> model = NeighborsClassifier(n_neighbors=1).fit([[0.0], [1.0]], ["cold", "hot"])
    >>> model.predict([[0.9]]).tolist()
    ['hot']
    """

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> Self:
        """Keep the training rows.

        Parameters
        ----------
        X
            Columns, shape (row, column).
        y
            Class of each row (row,).
        groups
            Group of each row (row,), whole numbers. Default: one group.
        """
        x, target = validate_data(self, X, column_or_1d(y, warn=True), dtype=np.float64)
        check_classification_targets(target)
        self._fit_rows(x, groups)
        self.classes_, self.label_ = np.unique(target, return_inverse=True)
        return self

    def predict_proba(self, X: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> FloatArray:
        """Return the share of each class among the neighbors, shape (row, class).

        Parameters
        ----------
        X
            Columns, shape (row, column).
        groups
            Group of each row (row,). Needed if training had groups.
        """
        _, index = self.kneighbors(X, groups)
        label = self.label_[index]
        count = (label[:, :, None] == np.arange(len(self.classes_))).sum(axis=1)
        return np.asarray(count / self.n_neighbors, dtype=np.float64)

    def predict(self, X: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> AnyArray:
        """Return the most frequent class of the neighbors (row,).

        Parameters
        ----------
        X
            Columns, shape (row, column).
        groups
            Group of each row (row,). Needed if training had groups.
        """
        first = self.predict_proba(X, groups).argmax(axis=1)
        return cast(AnyArray, self.classes_[first])
