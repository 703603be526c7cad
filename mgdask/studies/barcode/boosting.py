"""Boosted trees of the energy on the fractions, as in the paper, and their SHAP values.

Liu et al., Acta Mater. 259, 119281 (2023), sec. 2.3, use XGBoost. Its parameters are
translated to LightGBM, see ``translated``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.learn.data.rows import Part, Rows
from mgdask.learn.data.splits import group_folds
from mgdask.learn.explain.shap_tasks import shap
from mgdask.learn.search.optimize import search
from mgdask.learn.search.space import Range
from mgdask.learn.training.boosting import train
from mgdask.learn.training.model import Model
from mgdask.studies.barcode.data import Samples
from mgdask.studies.stages import write_text

if TYPE_CHECKING:
    from mgdask.cluster.client import Client
    from mgdask.studies.barcode.options import BarcodeOptions

PUBLISHED_SAMPLES = 10_000
"""Training samples of the paper. Bounds on the samples of a leaf are shares of them."""
PUBLISHED_SPACE: Mapping[str, tuple[float, float]] = {
    "max_depth": (20, 40),
    "eta": (0.01, 0.05),
    "gamma": (0.001, 10.0),
    "min_child_weight": (0, 2000),
    "subsample": (0.4, 1.0),
    "colsample_bytree": (0.4, 1.0),
}
"""Ranges of XGBoost's parameters in sec. 2.3 of the paper."""
PUBLISHED_BEST: Mapping[str, float] = {
    "max_depth": 20,
    "eta": 0.0271589,
    "gamma": 0.01878,
    "min_child_weight": 82.011109,
    "subsample": 0.767066,
    "colsample_bytree": 0.623959,
}
"""The parameters that the paper found best."""
MAX_LEAVES = 4096
"""Maximum number of leaves of a tree, for its memory."""
KINDS = {"max_depth": "int", "min_gain_to_split": "log"}
"""Kind of the range of each parameter; the others are linear."""
JOURNAL = "search.journal"
"""Name of the file from which an interrupted search resumes."""
ALL = "boosted trees, all ULEs"
"""Name of the model of all entries. That of the elements has their number instead."""


def elements_name(n: int) -> str:
    """Return the name of the model of ``n`` entries.

    Examples
    --------
    >>> elements_name(40)
    'boosted trees, 40 ULEs'
    """
    return f"boosted trees, {n} ULEs"


def translated(name: str, value: float, n_samples: int) -> tuple[str, float]:
    """Translate a parameter of XGBoost to the one of LightGBM with the same effect.

    Parameters
    ----------
    name
        A key of ``PUBLISHED_SPACE``.
    value
        Its value for ``PUBLISHED_SAMPLES`` training samples.
    n_samples
        Number of training samples.

    Returns
    -------
    name, value
        LightGBM's parameter.

    Notes
    -----
    * gamma: XGBoost splits if G_L²/(2 H_L) + G_R²/(2 H_R) - G²/(2 H) exceeds gamma.
      LightGBM leaves out the factor 1/2, so min_gain_to_split = 2 gamma. The target is
      the energy of a sample in eV, as in the paper, so gamma is in eV².
    * min_child_weight is a sum of Hessians, which is the number of samples for squared
      errors. 2000 of 10 000 samples are a fifth, so it is scaled with the number of
      samples; else no tree of 180 samples could split.
    * eta, subsample and colsample_bytree have the same meaning.

    Examples
    --------
    >>> translated("min_child_weight", 2000, 180)
    ('min_sum_hessian_in_leaf', 36.0)
    >>> translated("gamma", 10.0, 180)
    ('min_gain_to_split', 20.0)
    """
    if name == "min_child_weight":
        # LightGBM needs it above 0, where it has no effect
        return "min_sum_hessian_in_leaf", max(value * n_samples / PUBLISHED_SAMPLES, 1e-3)
    names = {
        "max_depth": ("max_depth", 1.0),
        "eta": ("learning_rate", 1.0),
        "gamma": ("min_gain_to_split", 2.0),
        "subsample": ("bagging_fraction", 1.0),
        "colsample_bytree": ("feature_fraction", 1.0),
    }
    main, factor = names[name]
    return main, value * factor


def search_space(n_samples: int) -> dict[str, Range]:
    """Return the ranges of the paper, translated for a number of training samples."""
    space: dict[str, Range] = {}
    for name, (low, high) in PUBLISHED_SPACE.items():
        main, start = translated(name, low, n_samples)
        _, end = translated(name, high, n_samples)
        space[main] = (start, end, KINDS.get(main, "linear"))
    return space


def published_params(n_samples: int) -> dict[str, Any]:
    """Return the best parameters of the paper, translated likewise."""
    params: dict[str, Any] = dict(
        translated(name, value, n_samples) for name, value in PUBLISHED_BEST.items()
    )
    return {**params, "max_depth": int(params["max_depth"]), "bagging_freq": 1}


def fixed_params(n_samples: int) -> dict[str, Any]:
    """Return what LightGBM needs to grow XGBoost's trees.

    XGBoost grows level by level, and LightGBM splits the best leaf first. Both end with
    the same tree if growth is stopped by depth, gain and samples per leaf, and not by
    the number of leaves. Its limit is therefore the number of samples, at most
    ``MAX_LEAVES``. XGBoost adds 1 to the Hessians of a leaf (lambda). It has no minimum
    number of samples.
    """
    return {
        "num_leaves": int(np.clip(n_samples, 2, MAX_LEAVES)),
        "min_data_in_leaf": 1,
        "min_data_in_bin": 1,
        "lambda_l2": 1.0,
    }


@dataclass(frozen=True)
class TreeSettings:
    """How boosted trees are trained.

    Parameters
    ----------
    trials
        Trials of the search; 0 for the parameters of the paper.
    folds
        Folds of runs; fewer if there are fewer runs.
    num_boost_round
        Maximum number of trees.
    early_stopping
        Number of trees without a better score after which training stops.
    seed
        Seed of folds, search and trees.
    small
        Bytes of a table above which trees are trained on the workers.
    """

    trials: int = 20
    folds: int = 5
    num_boost_round: int = 1000
    early_stopping: int = 100
    seed: int = 0
    small: int = 2**30


def tree_settings(options: BarcodeOptions) -> TreeSettings:
    """Return how a study trains trees.

    Parameters
    ----------
    options
        Options of the study.
    """
    return TreeSettings(
        options.trials,
        options.folds,
        options.num_boost_round,
        options.early_stopping,
        options.seed,
        int(options.distribute_above * 2**30),
    )


@dataclass(frozen=True, eq=False)
class BoostedEnergy:
    """Boosted trees of the energy per atom on fractions of entries.

        E / N = E_0 / N + f(fractions) / N_0

    Parameters
    ----------
    name
        Name in tables.
    entries
        Entries of the dictionary whose fractions it reads (column,).
    model
        The trees, f in eV for a sample of ``unit_atoms``.
    unit_atoms
        Mean number of atoms of the training samples, N_0.
    offset
        Mean energy per atom of the training samples in eV.
    params
        Parameters of LightGBM.
    error
        Root mean square error on the runs left out, in eV per atom. It is optimistic,
        because these runs also select the parameters and the number of trees.
    left_out
        Prediction (sample,) of each training sample without its run, in eV per atom.
    how
        How parameters and number of trees were chosen, in words.
    trials
        Trials of the search as plain values.
    """

    name: str
    entries: IntArray
    model: Model
    unit_atoms: float
    offset: float
    params: dict[str, Any]
    error: float
    left_out: FloatArray
    how: str
    trials: tuple[dict[str, Any], ...] = ()

    @property
    def n_numbers(self) -> int:
        """Number of entries."""
        return len(self.entries)

    def predict(self, samples: Samples) -> FloatArray:
        """Return the energy per atom in eV (sample,)."""
        rows = samples.matrix("fractions")[:, self.entries]
        return self.offset + self.model.predict(rows, threads=1) / self.unit_atoms

    def to_json(self) -> dict[str, Any]:
        """Return all but the trees as plain values."""
        return {
            "name": self.name,
            "entries": self.entries.tolist(),
            "unit_atoms": self.unit_atoms,
            "offset": self.offset,
            "params": self.params,
            "error": self.error,
            "left_out": self.left_out.tolist(),
            "how": self.how,
            "trials": list(self.trials),
        }

    def save(self, folder: Path) -> None:
        """Write the trees and everything else to a folder."""
        self.model.save(folder / "model")
        write_text(folder / "energy.json", json.dumps(self.to_json(), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        plain = json.loads((folder / "energy.json").read_text(encoding="utf-8"))
        plain["entries"] = np.array(plain["entries"], dtype=np.int64)
        plain["left_out"] = np.array(plain["left_out"], dtype=np.float64)
        plain["trials"] = tuple(plain["trials"])
        return cls(model=Model.load(folder / "model"), **plain)

    @staticmethod
    def files(folder: Path) -> list[Path]:
        """Return the files that ``save`` writes."""
        return [folder / "energy.json", *sorted((folder / "model").glob("*"))]


def column_names(entries: Sequence[int] | IntArray) -> tuple[str, ...]:
    """Return the names of columns of a matrix in a file, as ``Rows`` gives them."""
    return tuple(f"column {int(k)}" for k in entries)


class _Table:
    """Fractions and energies of the training samples, in memory and in files.

    A small table is given to ``train`` as arrays. A large one is given as files, so
    that ranks read their own rows.
    """

    def __init__(
        self, samples: Samples, entries: IntArray, target: FloatArray, folder: Path, small: int
    ) -> None:
        self.x, self.y, self.entries = samples.matrix("fractions"), target, entries
        self.folder, self.columns = folder, column_names(entries)
        self.distributed = len(target) * len(entries) * 8 > small
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "fractions.npy", self.x)
        self.all_rows = Rows((self._part(),), columns=self.columns, dtype="float64")

    def _part(self, keep: str | None = None) -> Part:
        return Part(str(self.folder / "fractions.npy"), keep=keep)

    def rows(self, name: str, mask: BoolArray) -> dict[str, Any]:
        """Return some rows as arguments of ``train``: x and y, or ``Rows``."""
        if not self.distributed:
            x = np.ascontiguousarray(self.x[mask][:, self.entries])
            return {"x": x, "y": self.y[mask], "columns": self.columns}
        keep, labels = self.folder / f"{name}-keep.npy", self.folder / f"{name}-energy.npy"
        np.save(keep, mask)
        np.save(labels, self.y[mask])
        return {"x": replace(self.all_rows, parts=(self._part(str(keep)),), labels=str(labels))}

    def valid(self, name: str, mask: BoolArray) -> Any:
        """Return some rows as the argument ``valid`` of ``train``."""
        rows = self.rows(name, mask)
        return (rows["x"], rows["y"]) if "y" in rows else rows["x"]


def fit_trees(
    samples: Samples,
    folder: Path,
    *,
    entries: IntArray | None = None,
    name: str = ALL,
    settings: TreeSettings | None = None,
    client: Client | None = None,
    progress: bool = True,
) -> BoostedEnergy:
    """Fit boosted trees of the energy on fractions.

    The parameters minimize the cross-validation error over runs, with the best number
    of trees in each fold. The model is then trained on all samples, with the mean of
    these numbers of trees.

    Parameters
    ----------
    samples
        Training samples.
    folder
        Folder for the table, which workers must see, and for the trials.
    entries
        Entries to use (column,). Default: all.
    name
        Name in tables.
    settings
        How to train. Default: the defaults of ``TreeSettings``.
    client
        Client of a cluster, for folds of the search and for large tables.
    progress
        Whether to report progress.

    Returns
    -------
    model

    Notes
    -----
    With one run, folds are blocks of its successive samples; see ``Samples.groups``.
    """
    chosen = np.arange(samples.matrix("fractions").shape[1]) if entries is None else entries
    chosen = np.asarray(chosen, dtype=np.int64)
    settings = settings or TreeSettings()
    unit = float(samples.n_atoms.mean())
    offset = float(samples.energy_per_atom.mean())
    target = (samples.energy_per_atom - offset) * unit
    table = _Table(samples, chosen, target, folder, settings.small)
    groups, what = samples.groups(settings.folds)
    n_folds = min(settings.folds, len(set(groups.tolist())))
    fixed, n = fixed_params(len(samples)), len(samples)
    params, chose = published_params(n), "parameters of the paper"
    trials: tuple[dict[str, Any], ...] = ()
    if settings.trials:
        found = search(
            table.all_rows if table.distributed else table.x[:, chosen],
            target,
            groups,
            space=search_space(n),
            objective="regression",
            trials=settings.trials,
            folds=n_folds,
            num_boost_round=settings.num_boost_round,
            early_stopping=settings.early_stopping,
            params={**fixed, "bagging_freq": 1},
            columns=None if table.distributed else table.columns,
            seed=settings.seed,
            client=client,
            storage=folder / JOURNAL,
            progress=progress,
        )
        params, trials = found.params, found.trials
        chose = f"best of {len(found.trials)} trials"
    options: dict[str, Any] = {
        "objective": "regression",
        "params": {**fixed, **params},
        "seed": settings.seed,
        "threads": 1,
        "progress": False,
    }
    if table.distributed:
        options |= {"client": client, "small": settings.small, "threads": None}
    left_out, rounds = np.empty(n), []
    for k, split in enumerate(group_folds(groups, n_folds, settings.seed)):
        testing = np.isin(np.arange(n), split.rows(groups)[1])
        model = train(
            **table.rows(f"fold-{k}", ~testing),
            valid=table.valid(f"fold-{k}-test", testing),
            num_boost_round=settings.num_boost_round,
            early_stopping=settings.early_stopping,
            checkpoint_every=settings.num_boost_round,
            **options,
        )
        rounds.append(max(model.best_iteration, 1))
        left_out[testing] = model.predict(table.x[testing][:, chosen], threads=1)
    n_trees = max(1, round(float(np.mean(rounds))))
    model = train(
        **table.rows("train", np.ones(n, dtype=bool)),
        num_boost_round=n_trees,
        checkpoint_every=n_trees,
        **options,
    )
    error = float(np.sqrt(np.mean((left_out - target) ** 2)))
    kind = "folds of whole runs" if what == "runs" else f"folds: {what}"
    return BoostedEnergy(
        name,
        chosen,
        replace(model, card=_lasting_card(model)),
        unit,
        offset,
        {**fixed, **params},
        error / unit,
        offset + left_out / unit,
        f"{chose}; {n_folds} {kind}; {n_trees} trees, the mean of the best numbers",
        trials,
    )


def _lasting_card(model: Model) -> dict[str, Any]:
    """Return the card without values that differ between runs: file times, losses."""
    return {
        name: value
        for name, value in model.card.items()
        if name not in ("data", "source", "ranks", "recovered")
    }


def mean_absolute_shap(
    model: BoostedEnergy,
    folder: Path,
    *,
    seed: int = 0,
    client: Client | None = None,
    progress: bool = True,
) -> FloatArray:
    """Return the mean |SHAP| of each entry over the training samples, in eV per sample.

    Parameters
    ----------
    model
        Trees that were fitted in the same folder.
    folder
        Folder of ``fit_trees``, which has the table.
    seed
        Seed of the sample that SHAP keeps.
    client
        Client of a cluster.
    progress
        Whether to report progress.

    Returns
    -------
    values
        Shape (column,), in the order of ``model.entries``.

    References
    ----------
    Liu et al., Acta Mater. 259, 119281 (2023), sec. 2.3 and Fig. A2.
    """
    part = Part(str(folder / "fractions.npy"))
    rows = Rows((part,), columns=column_names(model.entries), dtype="float64")
    found = shap(model.model, rows, size=0, seed=seed, client=client, progress=progress)
    return found.mean_absolute


def leading_entries(model: BoostedEnergy, importance: FloatArray, n: int) -> IntArray:
    """Return the entries with the largest mean |SHAP|, largest first.

    Parameters
    ----------
    model
        Trees on all entries.
    importance
        Mean |SHAP| (column,).
    n
        Maximum number of entries. Entries with a mean |SHAP| of 0 are not returned.

    Returns
    -------
    entries
        Indices in the dictionary, at most ``n``. Ties keep the order of the dictionary.
    """
    order = np.argsort(-importance, kind="stable")[:n]
    order = order[importance[order] > 0.0]
    return model.entries[order]
