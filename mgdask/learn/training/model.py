"""A trained model: an immutable booster with its columns, its history and its card."""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mgdask import _html
from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.errors import ParameterError, StoreError
from mgdask.store.artifacts import read_artifact, write_artifact
from mgdask.store.durable import flush_folder
from mgdask.store.failures import explained
from mgdask.store.provenance import digest

if TYPE_CHECKING:
    import lightgbm
    import pandas as pd
    import xarray as xr
    from sklearn.utils import Tags

    from mgdask.learn.training.estimators import ModelClassifier, ModelRegressor

SMALL_TABLE = 10**6
"""Maximum number of values that one thread works on by default."""
SHOWN_COLUMNS = 8
"""Number of column names that a notebook shows of a model."""
_SLAB_VALUES = 2**22
"""Values that are searched for NaN at a time."""
MACHINE_PARAMETERS = {
    "num_machines": "1",
    "machines": "",
    "local_listen_port": "12400",
    "time_out": "120",
    "num_threads": "0",
    "tree_learner": "serial",
    "pre_partition": "0",
    "num_iterations": "100",
}
"""Parameters that say where a model was trained, at LightGBM's defaults.

Written instead of the actual values, they give the same model the same text.
"""


CARD, TREES = "card.json", "model.txt"
"""Files of a saved model."""
_CARD_TYPES: dict[str, type] = {
    "columns": list,
    "objective": str,
    "best_iteration": int,
    "seed": int,
    "history": dict,
    "missing": list,
    "card": dict,
}


def threads_for(n_values: int) -> int:
    """Return the number of threads for a table.

    Parameters
    ----------
    n_values
        Number of values, rows times columns.

    Returns
    -------
    int
        1 for a small table, on which threads would mostly wait for each other.
        Otherwise the number of cores that this process may use.
    """
    if n_values <= SMALL_TABLE:
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def canonical(text: str) -> str:
    """Return the text of a booster without what depends on the machines.

    Parameters
    ----------
    text
        LightGBM's text of a booster.

    Returns
    -------
    str
        The text with the values of ``MACHINE_PARAMETERS``.
    """
    for name, value in MACHINE_PARAMETERS.items():
        text = re.sub(rf"^\[{name}: .*\]$", f"[{name}: {value}]", text, flags=re.MULTILINE)
    return text


@dataclass(frozen=True, eq=False)
class Model:
    """Boosted trees with all that is needed to use them.

    Parameters
    ----------
    text
        LightGBM's text of the booster.
    columns
        Names of the columns, in the order of training.
    objective
        Objective of the training, such as ``"binary"``.
    best_iteration
        Number of trees.
    seed
        Seed of the training.
    history
        Values of each metric on the validation rows, by round.
    missing
        Columns that had NaN in training. NaN has a meaning there and is refused
        elsewhere.
    card
        What the model was made from: data, parameters, versions.

    Notes
    -----
    A model works with ``sklearn.inspection``, scorers and pipelines. It is trained:
    ``sklearn.base.clone`` returns the model itself, and ``fit`` raises an error. Unlike
    classifiers of scikit-learn, ``predict`` of a binary model returns probabilities.
    ``as_estimator`` returns classes.

    Examples
    --------
    >>> model = Model.load("softness/model")  # doctest: +SKIP
    >>> model.predict(features)  # doctest: +SKIP
    """

    text: str = field(repr=False)
    columns: tuple[str, ...]
    objective: str
    best_iteration: int
    seed: int
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def booster(self) -> lightgbm.Booster:
        """LightGBM's booster; its columns are called Column_0, Column_1, ..."""
        import lightgbm

        return lightgbm.Booster(model_str=self.text)

    @property
    def digest(self) -> str:
        """Digest of what decides predictions: trees, columns and missing values."""
        return digest([self.text, self.columns, self.objective, sorted(self.missing)])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "booster"}

    def predict(
        self,
        x: AnyArray | xr.DataArray | pd.DataFrame,
        *,
        names: Sequence[str] | None = None,
        raw: bool = False,
        threads: int = 0,
    ) -> FloatArray:
        """Predict for rows of a matrix.

        Parameters
        ----------
        x
            Rows (row, column). The columns of a DataFrame are checked against those of
            the model, as are the coordinates of the last dimension of a DataArray.
        names
            Names (column,) of the columns of a plain array, which are checked likewise.
        raw
            Whether to return scores before the link function, such as log-odds.
        threads
            Threads of LightGBM. 0: one for a small matrix, otherwise the cores that
            this process may use. The result does not depend on it.

        Returns
        -------
        numpy.ndarray
            One number (row,) per row: the probability of class 1 (binary), a value
            (regression), or a score (raw, ranking).

        Raises
        ------
        ParameterError
            If ``x`` has other columns, or NaN in a column that had none in training.
        """
        given = names if names is not None else _names(x)
        values = np.asarray(x)
        if values.ndim != 2 or values.shape[1] != len(self.columns):
            raise ParameterError(
                f"x has shape {values.shape}; this model was trained on (n, {len(self.columns)}): "
                f"{', '.join(self.columns[:3])}, ...; select these columns in this order"
            )
        if given is not None and tuple(given) != self.columns:
            pairs = zip([*given, "(none)"], [*self.columns, "(none)"], strict=False)
            column, (received, expected) = next(
                (k, pair) for k, pair in enumerate(pairs) if pair[0] != pair[1]
            )
            raise ParameterError(
                f"column {column} of x is {received!r}, but the model was trained with "
                f"{expected!r} there; select model.columns in their order"
            )
        self.check_missing(values)
        predictions: FloatArray = self.booster.predict(
            values, raw_score=raw, num_threads=threads or threads_for(values.size)
        )
        return predictions

    def score(
        self,
        x: AnyArray | xr.DataArray | pd.DataFrame,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
    ) -> float:
        """Return the accuracy of a binary model, or R² of a regression.

        Parameters
        ----------
        x
            Rows (row, column), as in ``predict``.
        y
            Labels (row,): 0 and 1 for a binary model.
        sample_weight
            Weights (row,). Default: 1.

        Returns
        -------
        float
            Share of rows whose class has a probability above 1/2, or R².

        Raises
        ------
        ParameterError
            If the model ranks: its scores have no unit. Also as ``predict``.
        """
        from sklearn.metrics import accuracy_score, r2_score

        if self.objective == "lambdarank":
            raise ParameterError(
                "a model of objective 'lambdarank' has no score; compute a metric of ranks from "
                "predict, such as scipy.stats.spearmanr"
            )
        predicted = self.predict(x)
        if self.is_classifier:
            classes = (predicted > 0.5).astype(np.int64)
            return float(accuracy_score(y, classes, sample_weight=sample_weight))
        return float(r2_score(y, predicted, sample_weight=sample_weight))

    @property
    def is_classifier(self) -> bool:
        """Whether the model tells classes 0 and 1 apart."""
        return self.objective == "binary"

    @property
    def predict_proba(self) -> Callable[..., FloatArray]:
        """Probabilities (row, 2) of classes 0 and 1 for rows; binary models only."""
        self._for_classes("predict_proba")

        def predict_proba(x: AnyArray | xr.DataArray | pd.DataFrame) -> FloatArray:
            one = self.predict(x)
            return np.column_stack([1.0 - one, one])

        return predict_proba  # scikit-learn reads the name of what it is given

    @property
    def classes_(self) -> IntArray:
        """Classes 0 and 1; binary models only."""
        self._for_classes("classes_")
        return np.array([0, 1])

    def _for_classes(self, name: str) -> None:
        if not self.is_classifier:  # scikit-learn asks by hasattr
            raise AttributeError(
                f"a model of objective {self.objective!r} has no {name}; only those of objective "
                "'binary' have classes"
            )

    @property
    def n_features_in_(self) -> int:
        """Number of columns."""
        return len(self.columns)

    @property
    def feature_names_in_(self) -> AnyArray:
        """Names (column,) of the columns."""
        return np.array(self.columns, dtype=object)

    def fit(self, x: object, y: object = None) -> Model:
        """Raise ``ParameterError``: a model is made by ``mgdask.learn.train``.

        Parameters
        ----------
        x, y
            Not used.

        Raises
        ------
        ParameterError
            Always. To use the model as a step of a pipeline that is fitted, wrap it
            into ``sklearn.frozen.FrozenEstimator``.
        """
        raise ParameterError(
            "a Model is trained already and cannot be fitted; train a new one with "
            "mgdask.learn.train, or wrap it for a pipeline: sklearn.frozen.FrozenEstimator(model)"
        )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments of ``Model`` that give this model.

        Parameters
        ----------
        deep
            Not used.
        """
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def as_estimator(self) -> ModelClassifier | ModelRegressor:
        """Return the model as an estimator whose ``predict`` is that of scikit-learn.

        Returns
        -------
        ModelClassifier or ModelRegressor
            ``predict`` of a classifier returns classes, not probabilities.
        """
        from mgdask.learn.training.estimators import ModelClassifier, ModelRegressor

        return ModelClassifier(self) if self.is_classifier else ModelRegressor(self)

    def __sklearn_clone__(self) -> Model:
        return self  # trained and immutable, as sklearn.frozen.FrozenEstimator

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        from mgdask.learn.training.estimators import model_tags

        return model_tags(self)

    def check_missing(self, values: AnyArray) -> None:
        """Refuse NaN in a column that had none in training.

        LightGBM would read it as 0.

        Parameters
        ----------
        values
            Rows (row, column).

        Raises
        ------
        ParameterError
            If there is such a column.
        """
        refuse_missing(values, self.columns, self.missing)

    def _repr_html_(self) -> str:
        shown = ", ".join(self.columns[:SHOWN_COLUMNS])
        more = ", ..." if len(self.columns) > SHOWN_COLUMNS else ""
        rows = [
            ("objective", self.objective),
            ("columns", f"{len(self.columns)}: {shown}{more}"),
            ("trees", str(self.best_iteration)),
            ("seed", str(self.seed)),
        ]
        for name, values in self.history.items():
            if len(values):
                last = min(self.best_iteration, len(values)) - 1
                rows.append((f"validation {name}", f"{values[last]:.5g}"))
        if self.missing:
            rows.append(("NaN allowed", f"in {len(self.missing)} columns"))
        for name in ("rows", "made", "versions"):
            if name in self.card:
                rows.append((name, _card_text(self.card[name])))
        return _html.table("Model", rows, [f"digest {self.digest[:12]}"])

    def save(self, folder: str | Path) -> None:
        """Write model.txt and card.json to a folder, atomically.

        The card holds the SHA-256 of the text of the trees, and of columns, objective,
        parameters and all else in it.

        Parameters
        ----------
        folder
            Folder to create. A model in it is replaced.

        Raises
        ------
        StoreError
            If the folder holds other files.
        """
        target = Path(folder)
        held = _names_in(target)
        if held and CARD not in held:
            raise StoreError(f"{folder} exists and holds no model; choose another folder")
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        with explained(target):
            temporary.mkdir(parents=True)
            try:
                card = {name: getattr(self, name) for name in _CARD_TYPES}
                write_artifact(temporary / CARD, card, {TREES: self.text.encode()})
                _replace_folder(target, temporary)
            finally:  # a full disk leaves no part of a model
                shutil.rmtree(temporary, ignore_errors=True)
            flush_folder(target.parent)

    @classmethod
    def load(cls, folder: str | Path) -> Model:
        """Read a model, and check it before LightGBM does.

        Parameters
        ----------
        folder
            Folder written by ``save``.

        Returns
        -------
        Model

        Raises
        ------
        StoreError
            If the folder holds no model, or a damaged one.
        """
        artifact = read_artifact(
            Path(folder) / CARD,
            TREES,
            what="model",
            remedy="restore it from a copy, or train it again",
            renewal=f"Model.load({str(folder)!r}).save({str(folder)!r})",
        )
        card = artifact.content
        expected = ", ".join(_CARD_TYPES)
        if set(card) != set(_CARD_TYPES):
            raise StoreError(
                f"{Path(folder) / CARD} is not the card of a model: it has {', '.join(card)}; "
                f"a card has {expected}"
            )
        for name, kind in _CARD_TYPES.items():
            if not isinstance(card[name], kind):
                raise StoreError(
                    f"{Path(folder) / CARD} is not the card of a model: {name} is "
                    f"{card[name]!r:.60}; it should be a {kind.__name__}"
                )
        card["columns"], card["missing"] = tuple(card["columns"]), tuple(card["missing"])
        return cls(text=artifact.files[TREES].decode("utf-8", errors="replace"), **card)


def _card_text(value: object) -> str:
    """Return an entry of a card as text; a mapping as names and values."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return str(value)


def _names_in(folder: Path) -> list[str]:
    """Return the names in a folder that other processes may replace."""
    while True:
        try:
            before = os.stat(folder)
            names = os.listdir(folder)
            after = os.stat(folder)
        except FileNotFoundError:
            return []
        # else the names may be what was left of a folder that was being removed
        if (before.st_ino, before.st_ctime_ns) == (after.st_ino, after.st_ctime_ns):
            return names


def _replace_folder(target: Path, fresh: Path) -> None:
    """Give a folder its final name. A folder of that name is removed.

    Another process may do the same at the same moment; then the last one wins.
    """
    old = fresh.with_name(f"{fresh.name}.old")
    while True:
        with suppress(FileNotFoundError):  # none, or another process has moved it
            os.rename(target, old)
            shutil.rmtree(old)
        try:
            os.rename(fresh, target)
            return
        except OSError as error:  # another process was first
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def refuse_missing(values: AnyArray, columns: Sequence[str], missing: Sequence[str]) -> None:
    """Refuse NaN in columns that may not have it.

    Parameters
    ----------
    values
        Rows (row, column).
    columns
        Names (column,) of the columns.
    missing
        Names of the columns that may have NaN.

    Raises
    ------
    ParameterError
        If another column has NaN.
    """
    allowed = set(missing)
    step = max(1, _SLAB_VALUES // max(1, values.shape[1]))
    for low in range(0, len(values), step):  # by slabs: no second matrix, not even of booleans
        for k in map(int, np.flatnonzero(np.isnan(values[low : low + step]).any(axis=0))):
            if columns[k] not in allowed:
                raise ParameterError(
                    f"column {columns[k]!r} has NaN near row {low}, but had none in the rows that "
                    "the bins were made from. LightGBM would read it as 0: leave such rows out, "
                    "or train with a larger sample="
                )


def _names(x: Any) -> tuple[str, ...] | None:
    """Return the names of the columns if ``x`` is a DataFrame or a DataArray."""
    columns = getattr(x, "columns", None)
    if columns is not None:
        return tuple(str(name) for name in columns)
    dims = getattr(x, "dims", None)
    if dims and dims[-1] in x.coords:
        return tuple(str(name) for name in x.coords[dims[-1]].values)
    return None
