"""T_ML of every atom, written as a store whose atoms are matched by ``atom_id``.

A task predicts the atoms of one block with every model, and writes one shard of the
output. It reads its own rows. Models are applied one after another, so that a worker
holds only one of them, with its prepared training rows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._typing import AnyArray, FloatArray, IntArray
from mgdask.errors import ParameterError, RunError
from mgdask.execution.client import resolve_client
from mgdask.execution.executor import Task, describe, execute
from mgdask.execution.records import record
from mgdask.store import features
from mgdask.store.failures import explained
from mgdask.store.layout import BlockLayout
from mgdask.store.manifest import Manifest
from mgdask.store.open import check_complete
from mgdask.store.provenance import digest, versions
from mgdask.store.shards import (
    FEATURE_COMPRESSION,
    dimension_names,
    open_group,
    read_array,
    remove_store,
    write_shard,
)
from mgdask.studies.stages import fingerprint
from mgdask.studies.temperature.data import FeatureTemperature, Instances
from mgdask.studies.temperature.held import Held, emptied
from mgdask.studies.temperature.likelihood import OURS_AVERAGED
from mgdask.studies.temperature.model import (
    LABEL_FILES,
    MODEL_FILE,
    ROWS_FILE,
    NearestTemperatures,
    TemperatureModel,
    load_model,
)

if TYPE_CHECKING:
    from mgdask.cluster.client import Client

T_ML = "t_ml"
"""Name of the variable with T_ML in K, and of the folder of these stores."""
ROWS = 4096
"""Atoms of a block."""
_MODEL: Held[TemperatureModel] = Held()


@dataclass(frozen=True)
class AppliedModel:
    """A fitted model, and the form of the feature that it reads.

    Parameters
    ----------
    name
        Name of the model, as in tables.
    form
        "run", "none", or a temperature in K as text.
    folder
        Folder of the model; its name labels the column of the store.
    """

    name: str
    form: str
    folder: Path

    @property
    def label(self) -> str:
        """Label of the column."""
        return self.folder.name

    @property
    def feature_temperature(self) -> FeatureTemperature:
        """``form`` as the argument of ``Instances.matrix``."""
        return None if self.form == "none" else "run" if self.form == "run" else float(self.form)

    def matrix(
        self, instances: Instances, columns: Sequence[int], rows: IntArray | None = None
    ) -> FloatArray:
        """Read the features of the model (row, column).

        Parameters
        ----------
        instances
            Runs to read.
        columns
            Indices of the lags; a model of averages over origins reads all of its own.
        rows
            Row numbers. Default: all.
        """
        if self.name != OURS_AVERAGED:
            return instances.matrix(
                columns=columns, rows=rows, feature_temperature=self.feature_temperature
            )
        averaged = instances.averaged()
        if averaged is None:
            raise ParameterError(
                f"{instances.runs[0].path} has no averages over origins, which the model "
                f"{self.name!r} reads; compute the features of the store again"
            )
        return averaged.matrix(rows=rows, feature_temperature=self.feature_temperature)


def applied_models(paths: Mapping[str, Path]) -> tuple[AppliedModel, ...]:
    """Return models from folders by "NAME, FORM".

    Parameters
    ----------
    paths
        Folder of each model, as ``fit_models`` returns them.
    """
    named = [(*text.rpartition(", ")[::2], folder) for text, folder in paths.items()]
    return tuple(AppliedModel(name, form, folder) for name, form, folder in named)


def predict_store(
    instances: Instances,
    models: Sequence[AppliedModel],
    columns: Sequence[int],
    out: Path,
    *,
    own: Mapping[tuple[str, int], int] | None = None,
    client: Client | None = None,
    progress: bool = True,
) -> tuple[AppliedModel, ...]:
    """Write T_ML of every atom of one store.

    Parameters
    ----------
    instances
        All runs of one store.
    models
        Fitted models, one column each. Models with T of the run are left out if a run
        has no temperature, and those of averages if the store has none.
    columns
        Indices of the lags that the models read.
    out
        Store to write: array ``t_ml`` (frame, atom, t_ml_feature) in K, where a frame
        is the first frame of a run. It opens with ``mgdask.open_store``. Atoms are
        matched with those of a trajectory by ``atom_id``. T_ML of earlier models in the
        same place is replaced.
    own
        First training row of each run that is in the training data, by name of the
        store and frame; see ``Instances.first_rows``. Its atoms are not their own
        neighbors. Default: none is.
    client
        Dask client. Default: the current one, or else threads of this process.
    progress
        Whether to report progress.

    Returns
    -------
    applied
        The models that were applied, in the order of the columns.

    Raises
    ------
    ParameterError
        If no model can be applied, or species differ from those of training.
    RunError
        If blocks failed. The same call again computes only what is missing.
    """
    kelvin = [run.temperature for run in instances.runs]
    averaged = instances.averaged() is not None
    applied = tuple(
        one
        for one in models
        if (one.feature_temperature != "run" or np.isfinite(kelvin).all())
        and (one.name != OURS_AVERAGED or averaged)
    )
    if not applied:
        raise ParameterError(
            f"{instances.runs[0].source} has no temperature, which all given models need. Add it "
            "with mgdask attach, or give --feature-temperature none"
        )
    group, content = check_complete(instances.runs[0].path, kind="features")
    digests = {one.label: model_digest(one.folder) for one in applied}
    identity = {
        "models": digests,
        "forms": {one.label: one.form for one in applied},
        "columns": [int(k) for k in columns],
        "source": content,
        "temperature": kelvin if any(one.feature_temperature == "run" for one in applied) else [],
    }
    rows = own or {}
    firsts = [rows.get((run.store, run.frame)) for run in instances.runs]
    if any(first is not None for first in firsts):
        identity["training_rows"] = firsts
    plan_digest = digest([identity, ROWS, FEATURE_COMPRESSION])
    with Manifest(out).locked() as lock:
        if _is_of_other_models(out, plan_digest):
            remove_store(out)
        if not features.existing(out, plan_digest):
            attrs = {
                "features": [{T_ML: identity["forms"]}],
                "input": str(instances.runs[0].path),
                "input_content": content,
                "plan_digest": plan_digest,
                "t_ml": identity,
                "compression": FEATURE_COMPRESSION,
                "versions": versions(("mgdask", "numpy", "zarr")),
            }
            features.create(str(out), attrs, _axes(group), [_output(instances, applied)])
        _predict(instances, applied, digests, columns, firsts, out, plan_digest, client, progress)
        lock.check()
        Manifest(out).finish(plan_digest)
    return applied


def _is_of_other_models(out: Path, plan_digest: str) -> bool:
    """Return whether ``out`` holds T_ML of earlier models or features."""
    if not (out / "zarr.json").is_file():
        return False
    attrs = open_group(out).attrs
    return T_ML in attrs and attrs.get("plan_digest") != plan_digest


def _predict(
    instances: Instances,
    applied: Sequence[AppliedModel],
    digests: Mapping[str, str],
    columns: Sequence[int],
    firsts: Sequence[int | None],
    out: Path,
    plan_digest: str,
    client: Client | None,
    progress: bool,
) -> None:
    """Compute the blocks that have no record yet."""
    manifest = Manifest(out)
    records = manifest.records()
    scratch = out.with_name(f"{out.name}.parts")
    writes: list[Task] = []
    todo: list[tuple[str, int, tuple[int, int]]] = []
    for k, run in enumerate(instances.runs):
        for start in range(0, run.n_atoms, ROWS):
            name = f"t_ml-{k:08d}-{start:010d}"
            identity = digest([plan_digest, name])
            if manifest.done(name, identity, records):
                continue
            atoms = (start, min(start + ROWS, run.n_atoms))
            files = [str(scratch / f"{name}-{one.label}.npy") for one in applied]
            todo.append((name, k, atoms))
            writes.append((name, (files, k, atoms, str(out), name, identity)))
    # one model after another: a worker holds only one
    predictions: list[Task] = [
        (
            f"{name}-{one.label}",
            (
                instances.select([k]),
                one,
                digests[one.label],
                tuple(columns),
                atoms,
                firsts[k],
                str(scratch / f"{name}-{one.label}.npy"),
            ),
        )
        for one in applied
        for name, k, atoms in todo
    ]
    if todo or manifest.content() is None:
        manifest.reopen()
    with explained(out), emptied(scratch), resolve_client(client) as workers:
        for function, tasks in ((_predict_block, predictions), (_write_block, writes)):
            outcome = execute(
                workers,
                function,
                tasks,
                what=f"T_ML of {instances.runs[0].store}",
                progress=progress,
                strict=False,
            )
            if outcome.failures:
                break
    if outcome.failures:
        first, error = next(iter(outcome.failures.items()))
        if isinstance(error, ParameterError):
            raise ParameterError(f"{instances.runs[0].source}: {error}")
        raise RunError(
            f"{len(outcome.failures)} blocks of {out} failed; the others are kept. The first is "
            f"{first}: {describe(error)}. Resolve the cause, and run the same command again"
        )


def _predict_block(
    part: Instances,
    one: AppliedModel,
    known: str,
    columns: Sequence[int],
    atoms: tuple[int, int],
    first: int | None,
    file: str,
) -> None:
    """Task: predict some atoms of one run with one model, into a file."""
    rows = np.arange(*atoms)
    x = one.matrix(part, columns, rows)
    model = held_model(str(one.folder), known)
    own = None if first is None else first + rows
    with explained(file):
        np.save(file, predicted(model, x, part.runs[0].species[rows], own))


def _write_block(
    files: Sequence[str], frame: int, atoms: tuple[int, int], out: str, name: str, identity: str
) -> None:
    """Task: write T_ML of some atoms by all models as one shard."""
    began = time.perf_counter()
    t_ml = np.stack([np.load(file) for file in files], axis=1)[None]
    wrote = write_shard(open_group(out, mode="r+"), T_ML, (frame, atoms[0], 0), t_ml)
    Manifest(out).append(record(name, identity, [wrote], began))


def predicted(
    model: TemperatureModel, matrix: FloatArray, species: IntArray, own: IntArray | None
) -> FloatArray:
    """Return T_ML in K (row,); no atom is its own neighbor.

    Parameters
    ----------
    model
        A fitted model.
    matrix, species
        Features (row, column) and atomic numbers (row,).
    own
        Training row that is the same atom (row,); None if there are none.
    """
    if isinstance(model, NearestTemperatures):
        return model.predict(matrix, species, own)
    return model.predict(matrix, species)


def held_model(folder: str, known: str) -> TemperatureModel:
    """Return a saved model, which this process keeps until it needs another.

    Parameters
    ----------
    folder
        Folder of the model.
    known
        Its ``model_digest``.
    """
    return _MODEL.get((folder, known), lambda: load_model(Path(folder)))


def model_digest(folder: Path) -> str:
    """Return the digest of a saved model.

    Parameters
    ----------
    folder
        Folder that ``save_model`` wrote.
    """
    names = (MODEL_FILE, ROWS_FILE, *LABEL_FILES.values())
    files = [folder / name for name in names if (folder / name).is_file()]
    return digest([fingerprint(file) for file in files])


def _output(instances: Instances, applied: Sequence[AppliedModel]) -> features.Output:
    n_atoms = instances.runs[0].n_atoms
    rows = min(ROWS, n_atoms)
    return features.Output(
        T_ML,
        f"{T_ML}_feature",
        (len(instances.runs), n_atoms, len(applied)),
        "float64",
        BlockLayout(1, rows, rows),
        tuple(one.label for one in applied),
        {},
        {"long_name": "machine-learned temperature", "units": "K"},
    )


def _axes(group: Any) -> dict[str, tuple[str, AnyArray]]:
    """Return the coordinates of frames and atoms: dimension and values by name."""
    return {
        str(name): (str(dimension_names(array)[0]), np.asarray(array[...]))
        for name, array in sorted(group.arrays())
        if array.ndim == 1 and dimension_names(array)[0] in ("frame", "atom")
    }


def read_t_ml(path: Path) -> dict[str, FloatArray]:
    """Return T_ML in K (run, atom) of a finished store, by label of the model.

    Parameters
    ----------
    path
        Store that ``predict_store`` wrote.
    """
    group, _ = check_complete(path, kind="features")
    values = np.asarray(read_array(group, T_ML), dtype=np.float64)
    labels = [str(label) for label in read_array(group, f"{T_ML}_feature")]
    return {label: values[:, :, k] for k, label in enumerate(labels)}
