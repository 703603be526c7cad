"""Boosting rounds with checkpoints and early stopping, the same on every rank."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._typing import AnyArray
from mgdask.errors import ParameterError, StoreError
from mgdask.learn.training.model import canonical, refuse_missing
from mgdask.store.artifacts import read_artifact, write_artifact
from mgdask.store.durable import replacing, write_file
from mgdask.store.failures import explained

if TYPE_CHECKING:
    import lightgbm
    from lightgbm.callback import CallbackEnv

Report = Callable[[int, str, float], None]
"""Receives the number of rounds done, the name of the metric, and its value."""
_METRIC_DIGITS = 12
"""Significant digits of a metric that are kept. The last bits depend on the threads."""


@dataclass(frozen=True)
class Job:
    """Training job, as plain values that go to every rank in a file.

    Parameters
    ----------
    params
        Parameters of LightGBM.
    rounds
        Total number of rounds.
    patience
        Rounds without a better metric after which training stops. 0: it never does.
    every
        Rounds between two checkpoints.
    start
        Initial score of all rows.
    columns
        Names of the columns.
    missing
        Columns that may have NaN.
    rows, valid
        Training and validation rows as ``Rows.to_json``. None: they are in memory.
    digest
        Digest of everything that decides the model.
    seed
        Seed of LightGBM.
    trust
        Whether to read stores without comparing their files with their records.
    """

    params: Mapping[str, Any]
    rounds: int
    patience: int
    every: int
    start: float
    columns: tuple[str, ...]
    missing: tuple[str, ...]
    rows: Mapping[str, Any] | None
    valid: Mapping[str, Any] | None
    digest: str
    seed: int
    trust: bool = False

    def dump(self, path: Path) -> None:
        """Write the job to a file.

        Parameters
        ----------
        path
            File to write.
        """
        replace(path, json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Job:
        """Read a job from a file of ``dump``.

        Parameters
        ----------
        path
            File to read.

        Returns
        -------
        Job
        """
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            **{**values, "columns": tuple(values["columns"]), "missing": tuple(values["missing"])}
        )


@dataclass
class Checkpoint:
    """State from which training can continue.

    Parameters
    ----------
    digest
        Digest of the job.
    iteration
        Number of rounds done.
    text
        LightGBM's text of the booster.
    history
        Values of each metric by round.
    higher
        Whether a higher value of the metric is better.
    finished
        Whether training is over.
    """

    digest: str
    iteration: int = 0
    text: str = ""
    history: dict[str, list[float]] = field(default_factory=dict)
    higher: bool = False
    finished: bool = False

    def save(self, folder: Path) -> None:
        """Write the checkpoint atomically.

        Parameters
        ----------
        folder
            Checkpoint folder.
        """
        write_artifact(folder / "checkpoint.json", asdict(self))

    @classmethod
    def load(cls, folder: Path, digest: str) -> Checkpoint:
        """Read the checkpoint of a folder.

        Parameters
        ----------
        folder
            Checkpoint folder.
        digest
            Digest of the job.

        Returns
        -------
        Checkpoint
            A checkpoint of zero rounds if the folder has none.

        Raises
        ------
        StoreError
            If the checkpoint is damaged or belongs to another job.
        """
        path = folder / "checkpoint.json"
        if not path.exists():
            return cls(digest)
        remedy = f"remove {folder} and start again"
        content = read_artifact(path, what="checkpoint", remedy=remedy).content
        try:
            checkpoint = cls(**content)
        except TypeError as error:
            raise StoreError(f"{path} is not a checkpoint ({error}); {remedy}") from None
        if checkpoint.digest != digest:
            raise StoreError(
                f"{folder} holds a checkpoint of another training: data, parameters, seed or "
                "number of rounds differ. Choose another checkpoint folder, or remove this one"
            )
        return checkpoint

    def best(self) -> int:
        """Return the round with the best value of the first metric.

        Returns
        -------
        int
            Counted from 1. Without a metric, the last round.
        """
        if not self.history:
            return self.iteration
        values = np.asarray(next(iter(self.history.values())))
        return int(np.argmax(values) if self.higher else np.argmin(values)) + 1


def replace(path: Path, text: str) -> None:
    """Replace a file atomically: it is complete or absent, even after a crash.

    Parameters
    ----------
    path
        File to write.
    text
        Its new content.
    """
    with explained(path.parent):
        write_file(path, text.encode(), fresh=path.with_name(f".{path.name}.{os.getpid()}"))


class StopSignal:
    """The round after which all ranks stop, announced before that round begins.

    No rank can finish a round that the leader has not begun. Every rank that looks
    after a round therefore sees what the leader wrote before it. No metric has to be
    summed over ranks or to be equal on them.

    Parameters
    ----------
    path
        File that all ranks read. None: training runs in one process.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._last_round = 0

    def announce(self, last_round: int) -> None:
        """Stop after ``last_round``. Only the first announcement counts.

        Parameters
        ----------
        last_round
            Number of rounds after which training stops.
        """
        if self._last_round:
            return
        self._last_round = last_round
        if self._path is None:
            return
        # in place: on a network file system, opening the file shows the change
        # next
        with open(self._path, "r+b") as stream:
            stream.write(f"{last_round:>12}".encode())
            stream.flush()
            os.fsync(stream.fileno())

    def last_round(self) -> int:
        """Return the announced round.

        Returns
        -------
        int
            0 if none was announced.
        """
        if not self._last_round and self._path is not None:
            self._last_round = int(self._path.read_bytes() or b"0")
        return self._last_round


def bins(matrix: AnyArray, job_params: Mapping[str, Any], path: Path) -> None:
    """Compute the bins of all columns and write them to a file.

    Parameters
    ----------
    matrix
        Sample of the rows (row, column).
    job_params
        Parameters of LightGBM.
    path
        File to write, atomically.
    """
    import lightgbm

    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    data = lightgbm.Dataset(matrix, params=dataset_params(job_params)).construct()
    with explained(path.parent), replacing(path, fresh):
        _check_room(fresh, matrix)
        data.save_binary(fresh)


def _check_room(fresh: Path, matrix: AnyArray) -> None:
    """Raise the error of a full disk if bins do not fit; LightGBM would print it."""
    # a byte per value, and the borders of 255 bins per column
    size = matrix.size + 2048 * matrix.shape[1] + 4096
    try:
        with open(fresh, "wb") as stream:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(stream.fileno(), 0, size)
    finally:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)  # LightGBM does not replace a file


def dataset_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Select the parameters that decide bins.

    Parameters
    ----------
    params
        Parameters of LightGBM.

    Returns
    -------
    dict
        Those of a LightGBM data set.
    """
    names = (
        "max_bin",
        "min_data_in_bin",
        "verbosity",
        "num_threads",
        "force_col_wise",
        "bin_construct_sample_cnt",
        "feature_pre_filter",
    )
    return {name: params[name] for name in names if name in params}


def reference(job: Job, folder: Path) -> lightgbm.Dataset:
    """Open the data set whose bins all others share.

    Parameters
    ----------
    job
        What is trained.
    folder
        Checkpoint folder with the bins.

    Returns
    -------
    lightgbm.Dataset
    """
    import lightgbm

    return lightgbm.Dataset(str(folder / "bins.bin"), params=dataset_params(job.params))


def dataset(
    job: Job,
    matrix: AnyArray,
    label: AnyArray | None,
    weight: AnyArray | None,
    sizes: AnyArray | None,
    *,
    like: lightgbm.Dataset,
    fresh: bool,
) -> lightgbm.Dataset:
    """Make a lazy LightGBM data set with shared bins.

    Parameters
    ----------
    job
        What is trained.
    matrix
        Rows (row, column).
    label, weight
        One value (row,) per row.
    sizes
        Rows (query,) of each query, for ranking.
    like
        Data set whose bins are used.
    fresh
        Whether training starts at round 0. Later rounds start from the booster's
        scores.

    Returns
    -------
    lightgbm.Dataset

    Raises
    ------
    ParameterError
        If a column has NaN that had none in the sample of the bins.
    """
    import lightgbm

    refuse_missing(matrix, job.columns, job.missing)
    start = np.full(len(matrix), job.start) if fresh and job.start else None
    return lightgbm.Dataset(
        matrix,
        label,
        reference=like,
        weight=weight,
        group=sizes,
        init_score=start,
        params=dataset_params(job.params),
    )


@dataclass(eq=False)  # LightGBM keeps callbacks in a set
class _RoundCallback:
    """Callback that LightGBM calls after every round."""

    job: Job
    checkpoint: Checkpoint
    folder: Path | None
    stop: StopSignal
    leader: bool
    fresh: bool
    round_done: Callable[[int], None] | None
    report: Report | None

    def __call__(self, env: CallbackEnv) -> None:
        """Measure, decide whether to stop, and write a checkpoint."""
        from lightgbm.callback import EarlyStopException

        done = env.iteration + 1
        grown = env.model.current_iteration()
        if self.leader and grown == done:
            self._measure(env)
        last = grown < done or done == self.job.rounds or self.stop.last_round() == done
        if self.leader and (last or done % self.job.every == 0):
            self._keep(env.model, grown, last)
        if self.round_done is not None:
            self.round_done(done)
        if last and done < self.job.rounds:
            raise EarlyStopException(done - 1, [])

    def _measure(self, env: CallbackEnv) -> None:
        done = env.iteration + 1
        for _, name, value, higher, *_ in map(tuple, env.evaluation_result_list or []):
            if not self.checkpoint.history:
                self.checkpoint.higher = bool(higher)
            # the last bits depend on the order of threads; a tie must stay one in every
            # run
            values = self.checkpoint.history.setdefault(name, [])
            values.append(float(f"{value:.{_METRIC_DIGITS}g}"))
        if _patience_over(self.checkpoint, self.job.patience, done):
            self.stop.announce(done + 1)

    def _keep(self, model: lightgbm.Booster, iteration: int, last: bool) -> None:
        checkpoint = self.checkpoint
        # writing a model as text takes as long as several rounds
        if last or self.folder is not None:
            checkpoint.iteration, checkpoint.finished = iteration, last
            start = self.job.start if self.fresh else 0.0
            checkpoint.text = canonical(_with_start(model.model_to_string(num_iteration=-1), start))
            if self.folder is not None:
                checkpoint.save(self.folder)
        if self.report is not None and checkpoint.history:
            name, values = next(iter(checkpoint.history.items()))
            self.report(iteration, name, values[-1])


def boost(
    job: Job,
    train: lightgbm.Dataset,
    valid: lightgbm.Dataset | None,
    checkpoint: Checkpoint,
    folder: Path | None,
    *,
    stop: StopSignal,
    leader: bool = True,
    network: Mapping[str, Any] | None = None,
    round_done: Callable[[int], None] | None = None,
    report: Report | None = None,
) -> Checkpoint:
    """Train from a checkpoint to the end.

    Parameters
    ----------
    job
        What is trained.
    train, valid
        Data sets with the same bins. ``valid`` is None if nothing is measured.
    checkpoint
        Where to start from. It is updated.
    folder
        Where checkpoints are written. None: nowhere.
    stop
        The round after which all ranks stop.
    leader
        Whether this process measures, decides and writes checkpoints.
    network
        LightGBM's parameters of training on ranks.
    round_done
        Called after every round with the number of rounds done.
    report
        Called by the leader after every checkpoint.

    Returns
    -------
    Checkpoint
        The final state.
    """
    import lightgbm

    fresh = checkpoint.iteration == 0
    if checkpoint.finished or checkpoint.iteration >= job.rounds:
        return checkpoint
    if leader and _patience_over(checkpoint, job.patience, checkpoint.iteration):
        stop.announce(checkpoint.iteration + 1)
    after_round = _RoundCallback(job, checkpoint, folder, stop, leader, fresh, round_done, report)
    lightgbm.train(
        {**job.params, **(network or {})},
        train,
        num_boost_round=job.rounds - checkpoint.iteration,
        callbacks=[after_round],
        keep_training_booster=True,
        valid_sets=None if valid is None else [valid],
        init_model=None if fresh else lightgbm.Booster(model_str=checkpoint.text),
    )
    return checkpoint


def _patience_over(checkpoint: Checkpoint, patience: int, done: int) -> bool:
    return bool(patience and checkpoint.history) and done - checkpoint.best() >= patience


def _with_start(text: str, start: float) -> str:
    """Add the initial score to the leaves of the first tree.

    LightGBM does the same with the average it starts from, but on ranks that is a mean
    of means.
    """
    import lightgbm

    if not start:
        return text
    booster = lightgbm.Booster(model_str=text)
    first_tree = re.search(r"^Tree=0\nnum_leaves=(\d+)$", text, flags=re.MULTILINE)
    if first_tree is None:
        raise ParameterError(
            "no tree could be grown; give more rows, or a smaller min_data_in_leaf or "
            "min_sum_hessian_in_leaf"
        )
    for leaf in range(int(first_tree[1])):
        booster.set_leaf_output(0, leaf, booster.get_leaf_output(0, leaf) + start)
    changed: str = booster.model_to_string(num_iteration=-1)
    return changed
