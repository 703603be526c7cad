"""A trained model: an immutable booster with the names of its columns, its history and its card."""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask.errors import MissingDependencyError, ParameterError, StoreError
from mgdask.store.provenance import digest

SMALL_TABLE = 10**6
"""Numbers up to which a table is worked on by one thread, where nothing else is asked for."""
MACHINE = {
    "num_machines": "1",
    "machines": "",
    "local_listen_port": "12400",
    "time_out": "120",
    "num_threads": "0",
    "tree_learner": "serial",
    "pre_partition": "0",
    "num_iterations": "100",
}
"""Parameters that say where, and in how many pieces, a model was trained, at LightGBM's defaults: the same model has
the same text."""


def lightgbm() -> Any:
    """The optional package, or ``MissingDependencyError``."""
    try:
        import lightgbm as found
    except ImportError:
        raise MissingDependencyError("lightgbm", "learn", "training of boosted trees") from None
    return found


def threads_for(numbers: int) -> int:
    """Threads for a table of so many numbers: those of a small one would wait for each other longer than they work."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    )
    return cores if numbers > SMALL_TABLE else 1


def canonical(text: str) -> str:
    """Text of a booster without what depends on the machines it was trained on."""
    for name, value in MACHINE.items():
        text = re.sub(rf"^\[{name}: .*\]$", f"[{name}: {value}]", text, flags=re.MULTILINE)
    return text


@dataclass(frozen=True, eq=False)
class Model:
    """Boosted trees with all that is needed to use them: ``columns`` in order, ``objective``, ``text`` of the booster.

    ``best_iteration`` trees are kept; ``history`` has the metric of the validation rows by round; ``missing`` are the columns
    that had NaN in training: NaN there is a value of its own, NaN in any other column is refused. ``card`` says what
    the model was made of: data, parameters, seed, versions.

    >>> model = Model.load("softness/model")                    # doctest: +SKIP
    >>> model.predict(features)                                 # doctest: +SKIP
    """

    text: str
    columns: tuple[str, ...]
    objective: str
    best_iteration: int
    seed: int
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def booster(self) -> Any:
        """The ``lightgbm.Booster`` itself; its columns are called Column_0, Column_1, ..."""
        return lightgbm().Booster(model_str=self.text)

    @property
    def digest(self) -> str:
        """Identity of what the model predicts: its trees, its columns in order, and which of them may be missing."""
        return digest([self.text, self.columns, self.objective, sorted(self.missing)])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "booster"}

    def predict(
        self, x: Any, *, names: Sequence[str] | None = None, raw: bool = False, threads: int = 0
    ) -> npt.NDArray[np.float64]:
        """Predictions (n,) for a matrix (n, columns): probability of 1 (binary), value, or score (raw, ranking).

        Parameters: ``x``, an array, or an ``xarray.DataArray`` or table whose last dimension names its columns; ``names`` of the
        columns of a plain array; ``threads`` of LightGBM (0: one for a small matrix, else the cores this process may use; the
        result is the same). Raises ``ParameterError`` for a matrix with other columns, and for NaN in a column that had none in
        training.
        """
        given = names if names is not None else _names(x)
        values = np.asarray(x)
        if values.ndim != 2 or values.shape[1] != len(self.columns):
            raise ParameterError(
                f"x has shape {values.shape}; this model was trained on (n, {len(self.columns)}): "
                f"{', '.join(self.columns[:3])}, ...; take those columns in this order"
            )
        if given is not None and tuple(given) != self.columns:
            pairs = [
                (k, a, b)
                for k, (a, b) in enumerate(zip(given, self.columns, strict=False))
                if a != b
            ]
            k, was, want = pairs[0] if pairs else (len(given), "(none)", self.columns[-1])
            raise ParameterError(
                f"column {k} of x is {was!r}, the model was trained with {want!r} there; select model.columns in their order"
            )
        self.check_missing(values)
        found: npt.NDArray[np.float64] = self.booster.predict(
            values, raw_score=raw, num_threads=threads or threads_for(values.size)
        )
        return found

    def check_missing(self, values: npt.NDArray[Any]) -> None:
        """``ParameterError`` for NaN in a column that had none in training: LightGBM would take it for zero."""
        refuse_missing(values, self.columns, self.missing)

    def save(self, folder: str | Path) -> None:
        """Write model.txt and card.json to a new folder, all or nothing; an older model there is replaced."""
        target = Path(folder)
        if target.exists() and not (target / "card.json").exists() and any(target.iterdir()):
            raise StoreError(f"{folder} exists and holds no model; choose another folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        fresh.mkdir()
        (fresh / "model.txt").write_text(self.text, encoding="utf-8")
        about = {
            name: getattr(self, name)
            for name in (
                "columns",
                "objective",
                "best_iteration",
                "seed",
                "history",
                "missing",
                "card",
            )
        }
        (fresh / "card.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
        if target.exists():
            old = target.with_name(f"{fresh.name}.old")
            os.rename(target, old)
            os.rename(fresh, target)
            shutil.rmtree(old)
        else:
            os.rename(fresh, target)

    @classmethod
    def load(cls, folder: str | Path) -> Model:
        """The model saved in ``folder``; ``StoreError`` where there is none."""
        try:
            about = json.loads((Path(folder) / "card.json").read_text(encoding="utf-8"))
            text = (Path(folder) / "model.txt").read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{folder} holds no model ({error}); save one with Model.save"
            ) from None
        about["columns"], about["missing"] = tuple(about["columns"]), tuple(about["missing"])
        return cls(text=text, **about)


def refuse_missing(
    values: npt.NDArray[Any], columns: Sequence[str], missing: Sequence[str]
) -> None:
    """``ParameterError`` if a column of ``values`` (n, p) that is not in ``missing`` has NaN."""
    allowed = set(missing)
    step = max(1, 2**22 // max(1, values.shape[1]))
    for low in range(
        0, len(values), step
    ):  # a slab at a time: no second matrix, not even of booleans
        for k in map(int, np.flatnonzero(np.isnan(values[low : low + step]).any(axis=0))):
            if columns[k] not in allowed:
                raise ParameterError(
                    f"column {columns[k]!r} has NaN near row {low}, and had none in the rows that the bins were made from; "
                    "LightGBM would read it as 0: leave such rows out, or train with a larger sample"
                )


def _names(x: Any) -> tuple[str, ...] | None:
    columns = getattr(x, "columns", None)
    if columns is not None:
        return tuple(str(name) for name in columns)
    dims = getattr(x, "dims", None)
    if dims and dims[-1] in x.coords:
        return tuple(str(name) for name in x.coords[dims[-1]].values)
    return None
