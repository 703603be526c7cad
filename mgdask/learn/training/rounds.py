"""Rounds of boosting with checkpoints and early stopping: the same code in one process and on every rank."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mgdask.errors import ParameterError, StoreError
from mgdask.learn.training.model import canonical, lightgbm, refuse_missing

Report = Callable[[int, str, float], None]


@dataclass(frozen=True)
class Job:
    """What is trained, as plain values that go to every rank in a file.

    ``params`` of LightGBM; ``rounds`` in all; ``patience`` rounds without a better metric (0: never stops); a checkpoint
    every ``every`` rounds; ``start``, the score all rows begin with; ``columns``, and those with ``missing`` values;
    ``rows`` and ``valid`` as ``Rows.to_json``; ``digest`` of all of it with the data.
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

    def dump(self, path: Path) -> None:
        """Write it."""
        replace(path, json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Job:
        """Read it."""
        about = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            **{**about, "columns": tuple(about["columns"]), "missing": tuple(about["missing"])}
        )


@dataclass
class State:
    """A checkpoint: ``text`` of the booster after ``iteration`` rounds, the metric's ``history``, whether it is all."""

    digest: str
    iteration: int = 0
    text: str = ""
    history: dict[str, list[float]] = field(default_factory=dict)
    higher: bool = False
    finished: bool = False

    def save(self, folder: Path) -> None:
        """Write it to ``folder``, in one step."""
        replace(folder / "checkpoint.json", json.dumps(asdict(self)))

    @classmethod
    def load(cls, folder: Path, digest: str) -> State:
        """The checkpoint in ``folder``, or one of no rounds; ``StoreError`` if it belongs to other work."""
        path = folder / "checkpoint.json"
        if not path.exists():
            return cls(digest)
        try:
            found = cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise StoreError(
                f"{path} is damaged ({error}); remove {folder} and start again"
            ) from None
        if found.digest != digest:
            raise StoreError(
                f"{folder} holds a checkpoint of other work: data, parameters, seed or rounds differ. Choose another "
                "checkpoint folder, or remove this one"
            )
        return found

    def best(self) -> int:
        """Round (from 1) with the best value of the first metric; the last one where none was measured."""
        if not self.history:
            return self.iteration
        values = np.asarray(next(iter(self.history.values())))
        return int(np.argmax(values) if self.higher else np.argmin(values)) + 1


def replace(path: Path, text: str) -> None:
    """Write a file so that it is there as a whole or not at all, also after a crash."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with open(fresh, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(fresh, path)


class Decision:
    """The round after which all stop, said by the leader before the round begins.

    A rank cannot finish a round that the leader has not begun, so every rank that looks after a round sees what the leader
    wrote before it: nothing needs to be summed or compared to the last bit on every rank.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path  # None: one process
        self.after = 0

    def say(self, after: int) -> None:
        """Stop after that many rounds; the first word counts."""
        if not self.after:
            self.after = after
            if self.path is not None:
                with open(
                    self.path, "r+b"
                ) as stream:  # in place: a network file system shows it to whoever opens next
                    stream.write(f"{after:>12}".encode())
                    stream.flush()
                    os.fsync(stream.fileno())

    def heard(self) -> int:
        """The round, 0 where nothing was said."""
        if not self.after and self.path is not None:
            self.after = int(self.path.read_bytes() or b"0")
        return self.after


def bins(matrix: Any, job_params: Mapping[str, Any], path: Path) -> None:
    """Write the bins of all columns, made from the rows of ``matrix`` (m, p), to a file."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    lightgbm().Dataset(matrix, params=dataset_params(job_params)).construct().save_binary(fresh)
    os.replace(fresh, path)


def dataset_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that decide bins."""
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


def reference(job: Job, folder: Path) -> Any:
    """The data set whose bins all others take."""
    return lightgbm().Dataset(str(folder / "bins.bin"), params=dataset_params(job.params))


def dataset(
    job: Job, matrix: Any, label: Any, weight: Any, sizes: Any, *, like: Any, fresh: bool
) -> Any:
    """A lazy LightGBM data set with the shared bins; ``fresh`` if no rounds lie behind it."""
    refuse_missing(matrix, job.columns, job.missing)
    start = np.full(len(label), job.start) if fresh and job.start else None
    params = dataset_params(job.params)
    return lightgbm().Dataset(
        matrix, label, reference=like, weight=weight, group=sizes, init_score=start, params=params
    )


def boost(
    job: Job,
    train: Any,
    valid: Any,
    state: State,
    folder: Path | None,
    *,
    decision: Decision,
    leader: bool = True,
    network: Mapping[str, Any] | None = None,
    began: Callable[[int], None] | None = None,
    report: Report | None = None,
) -> State:
    """Train from ``state`` to the end; only the leader measures, decides and writes checkpoints to ``folder``."""
    lgb = lightgbm()
    fresh = state.iteration == 0
    params = {**job.params, **(network or {})}

    def keep(model: Any, iteration: int, finished: bool) -> None:
        state.iteration, state.finished = iteration, finished
        state.text = canonical(
            _with_start(model.model_to_string(num_iteration=-1), job.start if fresh else 0.0)
        )
        if folder is not None:
            state.save(folder)

    def after(env: Any) -> None:
        done = env.iteration + 1
        grown = env.model.current_iteration()
        last = grown < done or done == job.rounds
        if leader and grown == done:
            for _, name, value, higher, *_ in map(tuple, env.evaluation_result_list or []):
                if not state.history:
                    state.higher = bool(higher)
                # its last bits depend on how threads took turns; a tie must stay one from run to run
                state.history.setdefault(name, []).append(float(f"{value:.12g}"))
            if _patience_over(state, job.patience, done):
                decision.say(done + 1)
        last = last or decision.heard() == done
        if leader and (last or done % job.every == 0):
            if last or folder is not None:  # writing a model as text takes as long as some rounds
                keep(env.model, grown, last)
            if report is not None and state.history:
                name = next(iter(state.history))
                report(grown, name, state.history[name][-1])
        if began is not None:
            began(done)
        if last and done < job.rounds:
            raise lgb.callback.EarlyStopException(done - 1, [])

    if state.finished or state.iteration >= job.rounds:
        return state
    if leader and _patience_over(state, job.patience, state.iteration):
        decision.say(state.iteration + 1)
    lgb.train(
        params,
        train,
        num_boost_round=job.rounds - state.iteration,
        callbacks=[after],
        keep_training_booster=True,
        valid_sets=None if valid is None else [valid],
        init_model=None if fresh else lgb.Booster(model_str=state.text),
    )
    return state


def _patience_over(state: State, patience: int, done: int) -> bool:
    return bool(patience and state.history) and done - state.best() >= patience


def _with_start(text: str, start: float) -> str:
    # what LightGBM itself does with the average it starts from, which on ranks is a mean of means
    if not start:
        return text
    booster = lightgbm().Booster(model_str=text)
    found = re.search(r"^Tree=0\nnum_leaves=(\d+)$", text, flags=re.MULTILINE)
    if found is None:
        raise ParameterError(
            "no tree could be grown; give more rows, or a smaller min_data_in_leaf or min_sum_hessian_in_leaf"
        )
    for leaf in range(int(found[1])):
        booster.set_leaf_output(0, leaf, booster.get_leaf_output(0, leaf) + start)
    changed: str = booster.model_to_string(num_iteration=-1)
    return changed
