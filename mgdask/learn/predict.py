"""Prediction as tasks: from a feature store to a store of scores, the same frames and atoms, nothing gathered anywhere.

A task owns a shard of the output, which covers the same frames and atoms as a shard of the source, so that no file is read or written twice.
The models lie in the output, where every worker reads them once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from dask.utils import format_bytes
from rich.table import Table

from mgdask.errors import ParameterError, RunError, StoreError
from mgdask.execution.executor import describe, execute, render, resolve_client
from mgdask.learn.data.columns import rows_of_store, usable
from mgdask.learn.data.rows import SLAB, Part, Rows
from mgdask.learn.training.model import Model
from mgdask.pipelines.featurize.block import peak_memory, record
from mgdask.store import features
from mgdask.store.layout import BlockLayout, block_layout
from mgdask.store.manifest import Manifest
from mgdask.store.open import check_complete
from mgdask.store.provenance import digest, versions
from mgdask.store.shards import FEATURE_COMPRESSION, open_group, write_shard

Float = npt.NDArray[np.float64]
Range = tuple[int, int]
MEANINGS = {
    "mean": "prediction, mean over models: {}",
    "std": "standard deviation of predictions over models: {}",
}


@dataclass(frozen=True)
class Predicted:
    """What ``predict`` did: blocks, rows and those left NaN, of this call only; ``str`` is the table that ends it."""

    out: str
    blocks: int
    skipped: int
    rows: int
    nan: int
    seconds: float
    peak_memory: int

    def __str__(self) -> str:
        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_row("scores", self.out)
        table.add_row(
            "blocks", f"{self.blocks}: {self.blocks - self.skipped} done now, {self.skipped} before"
        )
        if self.rows:
            table.add_row("rows", f"{self.rows}, of which {self.nan} lack a column and stay NaN")
            table.add_row(
                "speed",
                f"{self.rows / max(self.seconds, 1e-9):,.0f} rows a second ({self.seconds:.1f} s)",
            )
            table.add_row("peak memory", f"{format_bytes(self.peak_memory)} in a worker")
        return render(table)


@dataclass(frozen=True)
class _Job:
    """What all tasks share; small, since it travels with each of them."""

    rows: Rows
    content: str
    out: str
    name: str
    what: str
    models: tuple[str, ...]


@dataclass(frozen=True)
class _Block:
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
    client: Any = None,
    retries: int = 2,
    progress: bool = True,
) -> Predicted:
    """Write the predictions of one model, or the mean of several, for every frame and atom of a feature store.

        mean = 1/m sum_k f_k(x),   std^2 = 1/(m - 1) sum_k (f_k(x) - mean)^2

    Parameters
    ----------
    models: one, or several with the same columns and objective (draws, folds), taken in this order.
    store: a finished feature store that has their columns, by name, among any others; ``variables`` as of ``rows_of_store``.
    out: the feature store to write: the same frames and atoms, and the array ``name`` (frame, atom, <name>_feature) in float64 with the one
        column ``label``. NaN where a column is NaN that had no NaN in training.
    what: "mean", or "std", the spread over the models. client: a ``distributed.Client`` (default the current one, else threads of
        this process). retries: of a block that fails. progress: a bar on a terminal, a line a minute in a log.

    Returns ``Predicted``. The same call again does only what is missing; the bytes of the arrays depend neither on interruptions nor on the number
    of workers and threads. A task holds about three slabs of ``rows.SLAB`` bytes, its scores and the models.
    Raises ``ParameterError`` for models that differ in columns, and for a column that the store does not have, by name; ``StoreError`` where
    ``out`` holds the scores of another model or source, or is being written; ``RunError`` that names failed blocks (the others stay).

    >>> predict(Model.load("softness/model-0"), "features.zarr", "scores.zarr")  # doctest: +SKIP
    >>> mgdask.open_store("scores.zarr").prediction                            # doctest: +SKIP
    """
    chosen = _check_models(models, what)
    rows = rows_of_store(store, chosen[0].columns, variables)
    group, content = check_complete(store, kind="features")
    target = str(out)
    if Path(target).resolve() == Path(store).resolve():
        raise ParameterError(
            f"out={target} is the store that is read; give the scores a store of their own"
        )
    axes = {
        str(key): (str(array.metadata.dimension_names[0]), np.asarray(array[...]))
        for key, array in sorted(group.arrays())
        if array.ndim == 1 and array.metadata.dimension_names[0] in ("frame", "atom")
    }
    if not name.isidentifier() or name in {*axes, "manifest"}:
        raise ParameterError(
            f"name={name!r}; a plain word is needed, other than manifest, {', '.join(axes)}"
        )
    output = _output(group[rows.variables[0]], name, label, MEANINGS[what].format(len(chosen)))
    identity = {
        "model": [model.digest for model in chosen],
        "source": content,
        "columns": list(rows.columns or ()),
        "variables": list(rows.variables),
        "what": what,
        "name": name,
        "label": label,
    }
    whole = digest([identity, output.cut.frames, output.cut.rows, FEATURE_COMPRESSION])
    _refuse_other(target, identity)
    if not features.existing(target, whole):
        attrs = {
            "features": [{name: {"what": what, "models": identity["model"]}}],
            "input": str(store),
            "input_content": content,
            "plan_digest": whole,
            "prediction": identity,
            "objective": chosen[0].objective,
            "compression": FEATURE_COMPRESSION,
            "versions": versions(("mgdask", "numpy", "lightgbm", "zarr")),
        }
        features.create(target, attrs, axes, [output])
    manifest = Manifest(target)
    job = _Job(rows, content, target, name, what, tuple(identity["model"]))
    blocks = list(_blocks(output))
    with manifest.locked(), resolve_client(client) as workers:
        for k, model in enumerate(chosen):
            if not _folder(target, k).exists():
                model.save(_folder(target, k))
        records = manifest.records()
        todo = [
            block
            for block in blocks
            if not manifest.done(block.name, digest([whole, block.name]), records)
        ]
        if todo or manifest.content() is None:
            manifest.reopen()
        outcome = execute(
            workers,
            _predict_block,
            [(b.name, (job, b, digest([whole, b.name]))) for b in todo],
            what="predict",
            retries=retries,
            progress=progress,
            strict=False,
        )
        if outcome.failures:
            first, error = next(iter(outcome.failures.items()))
            raise RunError(
                f"{len(outcome.failures)} of {len(blocks)} blocks failed, the others stay in {target}; first {first}: {describe(error)}. "
                "Mend the cause and make the same call again"
            )
        manifest.finish(whole)
    results = outcome.results.values()
    return Predicted(
        target,
        len(blocks),
        len(blocks) - len(todo),
        sum(r["rows"] for r in results),
        sum(r["nan"] for r in results),
        outcome.seconds,
        max((r["peak_memory"] for r in results), default=0),
    )


def _check_models(models: Model | Sequence[Model], what: str) -> tuple[Model, ...]:
    chosen = (models,) if isinstance(models, Model) else tuple(models)
    if what not in MEANINGS:
        raise ParameterError(f"what={what!r}; allowed are {', '.join(map(repr, MEANINGS))}")
    if len(chosen) < (2 if what == "std" else 1):
        raise ParameterError(
            f"what={what!r} of {len(chosen)} models; give at least {2 if what == 'std' else 1}"
        )
    first = chosen[0]
    for k, model in enumerate(chosen):
        if model.objective != first.objective:
            raise ParameterError(
                f"models[{k}] is for {model.objective}, models[0] for {first.objective}; predict them one by one"
            )
        if model.columns != first.columns:
            pairs = list(zip([*model.columns, None], [*first.columns, None], strict=False))
            at, (here, there) = next(
                (i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1]
            )
            raise ParameterError(
                f"column {at} of models[{k}] is {here!r}, of models[0] {there!r}; models of one call have the same columns"
            )
    return chosen


def _output(array: Any, name: str, label: str, meaning: str) -> features.Output:
    frames, atoms = array.shape[:2]
    grid = array.shards or array.chunks
    own = block_layout(1, grid[1], 8).chunk_rows
    while grid[1] % own:
        own -= 1
    cut = BlockLayout(int(grid[0]), int(grid[1]), own)
    attrs = {"long_name": meaning, "units": "1"}
    return features.Output(
        name, f"{name}_feature", (frames, atoms, 1), "float64", cut, (label,), {}, attrs
    )


def _blocks(output: features.Output) -> Iterator[_Block]:
    frames, atoms = output.shape[:2]
    for frame in range(0, frames, output.cut.frames):
        for atom in range(0, atoms, output.cut.rows):
            ends = min(frame + output.cut.frames, frames), min(atom + output.cut.rows, atoms)
            yield _Block(f"predict-{frame:08d}-{atom:010d}", (frame, ends[0]), (atom, ends[1]))


def _refuse_other(out: str, identity: dict[str, Any]) -> None:
    """``StoreError`` that says in what the scores that are in ``out`` already are other ones."""
    try:
        found: Any = open_group(out).attrs.get("prediction")
    except StoreError:
        return
    if not isinstance(found, dict):
        return
    for key, value in identity.items():
        if found.get(key) != value:
            raise StoreError(
                f"{out} holds scores with another {key}: {_short(found.get(key))}, this call has {_short(value)}; scores are never mixed. "
                "Choose another name, or remove it first"
            )


def _short(value: Any) -> str:
    many = value if isinstance(value, list) else [value]
    shown = ", ".join(str(one)[:16] for one in many[:4])
    return f"{shown}, ... ({len(many)})" if len(many) > 4 else shown


def _folder(out: str, k: int) -> Path:
    return Manifest(out).folder / f"model-{k}"


@lru_cache(maxsize=2)
def _models(out: str, digests: tuple[str, ...]) -> tuple[Model, ...]:
    found = tuple(Model.load(_folder(out, k)) for k in range(len(digests)))
    for k, (model, wanted) in enumerate(zip(found, digests, strict=True)):
        if model.digest != wanted:
            raise StoreError(
                f"{_folder(out, k)} is not the model it was; remove {out} and predict again"
            )
    return found


def _combine(models: Sequence[Model], values: npt.NDArray[Any], what: str) -> Float:
    # added up one by one: a sum over an axis of NumPy may take another order for another number of rows
    each = [model.predict(values, threads=1) for model in models]
    mean = each[0].copy()
    for one in each[1:]:
        mean += one
    mean /= len(each)
    if what == "mean":
        return mean
    square = np.zeros_like(mean)
    for one in each:
        square += (one - mean) ** 2
    return np.sqrt(square / (len(each) - 1))


def _pieces(block: _Block, chunk: int, row_bytes: int) -> Iterator[tuple[Range, Range]]:
    """Frames and atoms of a block, as many as fit into a slab: whole frames, or whole chunks of one."""
    (f0, f1), (a0, a1) = block.frames, block.atoms
    fitting = max(1, SLAB // row_bytes)
    frames = max(1, fitting // (a1 - a0))
    atoms = a1 - a0 if frames > 1 else max(1, fitting // chunk) * chunk
    for frame in range(f0, f1, frames):
        for atom in range(a0, a1, atoms):
            yield (frame, min(frame + frames, f1)), (atom, min(atom + atoms, a1))


def _predict_block(job: _Job, block: _Block, identity: str) -> dict[str, Any]:
    """Task: predict one shard and write it; returns less than a kilobyte."""
    began = time.perf_counter()
    rows, store = job.rows, job.rows.parts[0].path
    source, content = check_complete(store, kind="features")
    if content != job.content:
        raise StoreError(f"{store} has changed since the call began; make the same call again")
    models = _models(job.out, job.models)
    columns = models[0].columns
    missing = set.intersection(*(set(model.missing) for model in models))
    (f0, f1), (a0, a1) = block.frames, block.atoms
    arrays: list[Any] = [source[name] for name in rows.variables]
    row_bytes = sum(array.shape[2] * array.dtype.itemsize for array in arrays)
    found = np.full((f1 - f0, a1 - a0, 1), np.nan)
    for frames, atoms in _pieces(block, int(arrays[0].chunks[1]), row_bytes):
        shape = frames[1] - frames[0], atoms[1] - atoms[0]
        values = replace(rows, parts=(Part(store, frames, atoms),)).read(0, shape[0] * shape[1])
        good = usable(values, columns, sorted(missing))
        score = np.full(len(values), np.nan)
        if good.any():
            score[good] = _combine(models, values if good.all() else values[good], job.what)
        found[frames[0] - f0 : frames[1] - f0, atoms[0] - a0 : atoms[1] - a0, 0] = score.reshape(
            shape
        )
    wrote = write_shard(open_group(job.out, mode="r+"), job.name, (f0, a0, 0), found)
    Manifest(job.out).append(record(block.name, identity, [wrote], began))
    return {"rows": found.size, "nan": int(np.isnan(found).sum()), "peak_memory": peak_memory()}
