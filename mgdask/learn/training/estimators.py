"""A trained model as a classifier or regressor of scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

from mgdask._typing import AnyArray, FloatArray, IntArray

if TYPE_CHECKING:
    from mgdask.learn.training.model import Model


def model_tags(model: Model) -> Tags:
    """Return the scikit-learn tags of a model.

    Parameters
    ----------
    model
        A trained model.

    Returns
    -------
    sklearn.utils.Tags
        A classifier of two classes, or a regressor.
    """
    classifies = model.is_classifier
    return Tags(
        estimator_type="classifier" if classifies else "regressor",
        target_tags=TargetTags(required=True),
        classifier_tags=ClassifierTags(multi_class=False) if classifies else None,
        regressor_tags=None if classifies else RegressorTags(),
        input_tags=InputTags(allow_nan=bool(model.missing)),
    )


class _Estimator(BaseEstimator):  # type: ignore[misc]
    """Common part: a trained model that is not fitted again."""

    def __init__(self, model: Model) -> None:
        self.model = model

    @property
    def n_features_in_(self) -> int:
        """Number of columns."""
        return self.model.n_features_in_

    @property
    def feature_names_in_(self) -> AnyArray:
        """Names (column,) of the columns."""
        return self.model.feature_names_in_

    def fit(self, X: object, y: object = None) -> Any:
        """Raise ``ParameterError``: a model is made by ``mgdask.learn.train``."""
        return self.model.fit(X, y)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        return model_tags(self.model)


class ModelClassifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    """A binary model whose ``predict`` returns classes.

    Parameters
    ----------
    model
        A trained model of objective "binary".

    See Also
    --------
    mgdask.learn.Model.as_estimator : makes it.
    """

    @property
    def classes_(self) -> IntArray:
        """Classes 0 and 1."""
        return self.model.classes_

    def predict_proba(self, X: Any) -> FloatArray:
        """Return probabilities (row, 2) of classes 0 and 1.

        Parameters
        ----------
        X
            Rows (row, column), as in ``Model.predict``.
        """
        return self.model.predict_proba(X)

    def decision_function(self, X: Any) -> FloatArray:
        """Return log-odds (row,) of class 1.

        Parameters
        ----------
        X
            Rows (row, column), as in ``Model.predict``.
        """
        return self.model.predict(X, raw=True)

    def predict(self, X: Any) -> IntArray:
        """Return the class (row,) whose probability is above 1/2.

        Parameters
        ----------
        X
            Rows (row, column), as in ``Model.predict``.
        """
        return (self.model.predict(X) > 0.5).astype(np.int64)


class ModelRegressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    """A model that predicts values.

    Parameters
    ----------
    model
        A trained model of any objective but "binary".

    See Also
    --------
    mgdask.learn.Model.as_estimator : makes it.
    """

    def predict(self, X: Any) -> FloatArray:
        """Return values (row,).

        Parameters
        ----------
        X
            Rows (row, column), as in ``Model.predict``.
        """
        return self.model.predict(X)


__all__ = ["ModelClassifier", "ModelRegressor", "model_tags"]
