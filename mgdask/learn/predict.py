"""Prediction as tasks: scores for every frame and atom of a feature store.

A task owns one shard of the output. It covers the same frames and atoms as a shard of
the source, so no file is read or written twice. The models are saved in the output,
where every worker reads them once.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.utils import format_bytes

from mgdask import _html
from mgdask._typing import AnyArray, FloatArray
from mgdask.errors import ParameterError, RunError, StoreError
from mgdask.execution.executor import describe, execute, resolve_client
from mgdask.execution.records import record
from mgdask.execution.results import render_rows
from mgdask.execution.usage import peak_memory
from mgdask.learn.data.columns import rows_of_store, usable
from mgdask.learn.data.rows import SLAB, Part, Rows
from mgdask.learn.training.model import Model
from mgdask.store import features
from mgdask.store.attributes import decode
from mgdask.store.failures import DamagedStoreError
from mgdask.store.layout import BlockLayout, block_layout
from mgdask.store.location import local_place
from mgdask.store.lock import Lock
from mgdask.store.manifest import Manifest
from mgdask.store.open import changed, changes_explained, check_complete, check_unchanged, unchanged
from mgdask.store.provenance import digest, versions
from mgdask.store.shards import FEATURE_COMPRESSION, open_group, write_shard
from mgdask.store.source_checks import check_source
from mgdask.store.trust import TRUSTED, is_trusted, trusting

if TYPE_CHECKING:
    from distributed import Client

Range = tuple[int, int]
"""First number, and one past the last."""
MEANINGS = {
    "mean": "prediction, mean over models: {}",
    "std": "standard deviation of predictions over models: {}",
}
"""What ``predict`` can write; the text describes the variable."""
MIN_MODELS = {"mean": 1, "std": 2}
"""Minimum number of models."""
_VALUES_SHOWN = 4
_DIGITS_SHOWN = 16


@dataclass(frozen=True)
class Predicted:
    """Summary of a call of ``predict``; ``str`` is a table.

    Parameters
    ----------
    out
        Path of the scores.
    blocks
        Total number of blocks.
    skipped
        Number of blocks that were done before this call.
    rows
        Number of rows of this call.
    nan
        Number of these rows that lack a column and stay NaN.
    seconds
        Duration of the tasks.
    peak_memory
        Highest memory of a worker in bytes.
    trusted
        Whether the features were read without comparing their files with their records.
    """

    out: str
    blocks: int
    skipped: int
    rows: int
    nan: int
    seconds: float
    peak_memory: int
    trusted: bool = False

    def __str__(self) -> str:
        return render_rows(self._rows())

    def _repr_html_(self) -> str:
        return _html.table("Prediction", self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        computed = self.blocks - self.skipped
        rows = [
            ("scores", self.out),
            ("blocks", f"{self.blocks}: {computed} computed now, {self.skipped} before"),
        ]
        if self.rows:
            speed = self.rows / max(self.seconds, 1e-9)
            rows += [
                ("rows", f"{self.rows}, of which {self.nan} lack a column and stay NaN"),
                ("speed", f"{speed:,.0f} rows per second ({self.seconds:.1f} s)"),
                ("peak memory", f"{format_bytes(self.peak_memory)} per worker"),
            ]
        return [*rows, ("input", TRUSTED)] if self.trusted else rows


@dataclass(frozen=True)
class _Job:
    """Arguments that all tasks share; small, because each task carries them."""

    rows: Rows
    content: str
    out: str
    name: str
    what: str
    models: tuple[str, ...]


@dataclass(frozen=True)
class _Block:
    """Frames and atoms of one shard."""

    name: str
    frames: Range
    atoms: Range


def predict(
    models: Model | Sequence[Model],
    store: str | Path,
    out: str | Path,
    *,
    variables: Sequence[str] | None = None,
    what: str = "mean",
    name: str = "prediction",
    label: str = "score",
    trust: bool = False,
    client: Client | None = None,
    retries: int = 2,
    progress: bool = True,
) -> Predicted:
    """Write predictions for every frame and atom of a feature store.

        mean = 1/m sum_k f_k(x),   std^2 = 1/(m - 1) sum_k (f_k(x) - mean)^2

    Parameters
    ----------
    models
        One model, or several with the same columns and objective, taken in this order.
    store
        Finished feature store that has the columns of the models, by name.
    out
        Feature store to write. It has the same frames and atoms, and the array ``name``
        (frame, atom, <name>_feature) in float64. A row is NaN if it has NaN in a column
        that had none in training.
    variables
        Arrays of the store, as in ``rows_of_store``.
    what
        ``"mean"``, or ``"std"``, the standard deviation over the models.
    name
        Name of the array.
    label
        Label of its only column.
    trust
        Read the features without comparing their files with their records. A damaged
        file may then give wrong scores.
    client
        Client of a cluster. Default: the current one, or else threads of this process.
    retries
        Number of times that Dask repeats a task that fails.
    progress
        Whether to show a bar on a terminal, or a line per minute in a log.

    Returns
    -------
    Predicted

    Raises
    ------
    ParameterError
        If the models differ in columns, or the store lacks a column, which is named.
    StoreError
        If ``out`` holds the scores of another model or source, or is being written.
    RunError
        If blocks failed; the others stay.

    Notes
    -----
    The same call again computes only what is missing. The bytes of the arrays do not
    depend on interruptions, workers or threads. A task holds about three slabs of
    ``rows.SLAB`` bytes, its scores, and the models.

    Examples
    --------
    >>> model = Model.load("softness/model-0")  # doctest: +SKIP
    >>> predict(model, "features.zarr", "scores.zarr")  # doctest: +SKIP
    >>> mgdask.open_store("scores.zarr").prediction  # doctest: +SKIP
    """
    store = local_place(store, "mgdask.learn.predict reads")
    out = local_place(out, "mgdask.learn.predict writes")
    members = _validate_models(models, what)
    rows = rows_of_store(store, members[0].columns, variables)
    group, content = check_complete(store, kind="features")
    target = str(out)
    if Path(target).resolve() == Path(store).resolve():
        raise ParameterError(
            f"out={target} is the store that is read; write the scores to another store"
        )
    axes = _axes(group)
    if not name.isidentifier() or name in {*axes, "manifest"}:
        raise ParameterError(
            f"name={name!r}; it must be a plain word other than manifest, {', '.join(axes)}"
        )
    output = _output(group[rows.variables[0]], name, label, MEANINGS[what].format(len(members)))
    identity = {
        "model": [model.digest for model in members],
        "source": content,
        "columns": list(rows.columns or ()),
        "variables": list(rows.variables),
        "what": what,
        "name": name,
        "label": label,
    }
    plan_digest = digest([identity, output.cut.frames, output.cut.rows, FEATURE_COMPRESSION])
    attrs = {
        "features": [{name: {"what": what, "models": identity["model"]}}],
        "input": str(store),
        "input_content": content,
        "plan_digest": plan_digest,
        "prediction": identity,
        "objective": members[0].objective,
        "compression": FEATURE_COMPRESSION,
        "versions": versions(("mgdask", "numpy", "lightgbm", "zarr")),
    }
    job = _Job(rows, content, target, name, what, tuple(model.digest for model in members))
    with trusting(trust), Manifest(target).locked() as lock, changes_explained(store, content):
        _refuse_other_scores(target, identity)
        if not features.existing(target, plan_digest):
            check_unchanged(store, content)  # the coordinates are of the same version
            features.create(target, attrs, axes, [output])
        blocks = list(_blocks(output))
        return _run(job, members, blocks, plan_digest, client, retries, progress, lock)


def _axes(group: Any) -> dict[str, tuple[str, AnyArray]]:
    """Return the coordinates of frames and atoms: dimension and values by name."""
    return {
        str(key): (str(array.metadata.dimension_names[0]), np.asarray(array[...]))
        for key, array in sorted(group.arrays())
        if array.ndim == 1 and array.metadata.dimension_names[0] in ("frame", "atom")
    }


def _run(
    job: _Job,
    models: Sequence[Model],
    blocks: Sequence[_Block],
    plan_digest: str,
    client: Client | None,
    retries: int,
    progress: bool,
    lock: Lock,
) -> Predicted:
    """Compute the blocks that have no record yet."""
    manifest = Manifest(job.out)
    with resolve_client(client) as workers:
        for k, model in enumerate(models):
            for unfinished in manifest.folder.glob(f".model-{k}.*"):  # of a killed process
                shutil.rmtree(unfinished, ignore_errors=True)
            if not _model_folder(job.out, k).exists():
                model.save(_model_folder(job.out, k))
        records = manifest.records()
        identities = {block.name: digest([plan_digest, block.name]) for block in blocks}
        todo = [
            block
            for block in blocks
            if not manifest.done(block.name, identities[block.name], records)
        ]
        if todo:
            check_source(job.rows.parts[0].path, job.rows.variables)
        if todo or manifest.content() is None:
            manifest.reopen()
        outcome = execute(
            workers,
            _predict_block,
            [(block.name, (job, block, identities[block.name])) for block in todo],
            what="predict",
            retries=retries,
            progress=progress,
            strict=False,
        )
        if outcome.failures:
            first, error = next(iter(outcome.failures.items()))
            raise RunError(
                f"{len(outcome.failures)} of {len(blocks)} blocks failed; the others stay in "
                f"{job.out}. The first is {first}: {describe(error)}. Resolve the cause and make "
                "the same call again"
            )
        lock.check()
        manifest.finish(plan_digest)
    results = outcome.results.values()
    return Predicted(
        job.out,
        len(blocks),
        len(blocks) - len(todo),
        sum(result["rows"] for result in results),
        sum(result["nan"] for result in results),
        outcome.seconds,
        max((result["peak_memory"] for result in results), default=0),
        is_trusted(),
    )


def _validate_models(models: Model | Sequence[Model], what: str) -> tuple[Model, ...]:
    """Return the models as a tuple, all with the same columns and objective."""
    members = (models,) if isinstance(models, Model) else tuple(models)
    if what not in MEANINGS:
        raise ParameterError(f"what={what!r}; allowed are {', '.join(map(repr, MEANINGS))}")
    if len(members) < MIN_MODELS[what]:
        raise ParameterError(
            f"what={what!r} of {len(members)} models; give at least {MIN_MODELS[what]}"
        )
    first = members[0]
    for k, model in enumerate(members):
        if model.objective != first.objective:
            raise ParameterError(
                f"models[{k}] is for {model.objective}, models[0] for {first.objective}; predict "
                "with one objective at a time"
            )
        if model.columns != first.columns:
            pairs = zip([*model.columns, None], [*first.columns, None], strict=False)
            column, (own, expected) = next(
                (i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1]
            )
            raise ParameterError(
                f"column {column} of models[{k}] is {own!r}, of models[0] {expected!r}; give "
                "models with the same columns"
            )
    return members


def _output(array: Any, name: str, label: str, meaning: str) -> features.Output:
    """Describe the array of scores, with shards that cover those of ``array``."""
    frames, atoms = array.shape[:2]
    grid = array.shards or array.chunks
    chunk_rows = block_layout(1, grid[1], 8).chunk_rows
    while grid[1] % chunk_rows:
        chunk_rows -= 1
    cut = BlockLayout(int(grid[0]), int(grid[1]), chunk_rows)
    attrs = {"long_name": meaning, "units": "1"}
    return features.Output(
        name, f"{name}_feature", (frames, atoms, 1), "float64", cut, (label,), {}, attrs
    )


def _blocks(output: features.Output) -> Iterator[_Block]:
    """Yield the shards of the output."""
    frames, atoms = output.shape[:2]
    for frame in range(0, frames, output.cut.frames):
        for atom in range(0, atoms, output.cut.rows):
            ends = min(frame + output.cut.frames, frames), min(atom + output.cut.rows, atoms)
            yield _Block(f"predict-{frame:08d}-{atom:010d}", (frame, ends[0]), (atom, ends[1]))


def _refuse_other_scores(out: str, identity: dict[str, Any]) -> None:
    """Refuse an output that holds other scores, and say how they differ."""
    try:
        existing = decode(open_group(out).attrs, "prediction")
    except DamagedStoreError:
        raise
    except StoreError:
        return
    if not isinstance(existing, dict):
        return
    for key, value in identity.items():
        if existing.get(key) != value:
            raise StoreError(
                f"{out} holds scores with another {key}: {_short(existing.get(key))}, this call "
                f"has {_short(value)}; scores are never mixed. Choose another out=, or remove it "
                "first"
            )


def _short(value: Any) -> str:
    values = value if isinstance(value, list) else [value]
    shown = ", ".join(str(one)[:_DIGITS_SHOWN] for one in values[:_VALUES_SHOWN])
    return f"{shown}, ... ({len(values)})" if len(values) > _VALUES_SHOWN else shown


def _model_folder(out: str, k: int) -> Path:
    return Manifest(out).folder / f"model-{k}"


@lru_cache(maxsize=2)
def _models(out: str, digests: tuple[str, ...]) -> tuple[Model, ...]:
    """Load the models of an output and check that they are still the same."""
    models = tuple(Model.load(_model_folder(out, k)) for k in range(len(digests)))
    for k, (model, expected) in enumerate(zip(models, digests, strict=True)):
        if model.digest != expected:
            raise StoreError(
                f"{_model_folder(out, k)} holds another model than before; remove {out} and "
                "predict again"
            )
    return models


def _combine(models: Sequence[Model], values: AnyArray, what: str) -> FloatArray:
    """Return mean or standard deviation (row,) of the predictions."""
    # added one by one: NumPy's sum over an axis may take another order for other row
    # counts
    predictions = [model.predict(values, threads=1) for model in models]
    mean = predictions[0].copy()
    for prediction in predictions[1:]:
        mean += prediction
    mean /= len(predictions)
    if what == "mean":
        return mean
    square = np.zeros_like(mean)
    for prediction in predictions:
        square += (prediction - mean) ** 2
    return np.sqrt(square / (len(predictions) - 1))


def _pieces(block: _Block, chunk: int, row_bytes: int) -> Iterator[tuple[Range, Range]]:
    """Yield frames and atoms that fit into a slab: frames, or chunks of one."""
    (f0, f1), (a0, a1) = block.frames, block.atoms
    n_rows = max(1, SLAB // row_bytes)
    frames = max(1, n_rows // (a1 - a0))
    atoms = a1 - a0 if frames > 1 else max(1, n_rows // chunk) * chunk
    for frame in range(f0, f1, frames):
        for atom in range(a0, a1, atoms):
            yield (frame, min(frame + frames, f1)), (atom, min(atom + atoms, a1))


def _predict_block(job: _Job, block: _Block, identity: str) -> dict[str, Any]:
    """Predict one shard and write it, as a task."""
    began = time.perf_counter()
    rows, store = job.rows, job.rows.parts[0].path
    source, content = check_complete(store, kind="features")
    if content != job.content:
        raise changed(store)
    models = _models(job.out, job.models)
    missing = sorted(set.intersection(*(set(model.missing) for model in models)))
    (f0, f1), (a0, a1) = block.frames, block.atoms
    arrays: list[Any] = [source[name] for name in rows.variables]
    row_bytes = sum(array.shape[2] * array.dtype.itemsize for array in arrays)
    scores = np.full((f1 - f0, a1 - a0, 1), np.nan)
    with unchanged(store, content):
        for frames, atoms in _pieces(block, int(arrays[0].chunks[1]), row_bytes):
            shape = frames[1] - frames[0], atoms[1] - atoms[0]
            values = replace(rows, parts=(Part(store, frames, atoms),)).read(0, shape[0] * shape[1])
            good = usable(values, models[0].columns, missing)
            score = np.full(len(values), np.nan)
            if good.any():
                score[good] = _combine(models, values if good.all() else values[good], job.what)
            piece = np.s_[frames[0] - f0 : frames[1] - f0, atoms[0] - a0 : atoms[1] - a0, 0]
            scores[piece] = score.reshape(shape)
    wrote = write_shard(open_group(job.out, mode="r+"), job.name, (f0, a0, 0), scores)
    Manifest(job.out).append(record(block.name, identity, [wrote], began))
    return {"rows": scores.size, "nan": int(np.isnan(scores).sum()), "peak_memory": peak_memory()}
