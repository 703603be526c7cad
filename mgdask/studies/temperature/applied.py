"""Computation of an application: T_ML, D²min and structure of atoms of one store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mgdask._typing import FloatArray, IntArray
from mgdask.errors import StoreError
from mgdask.execution.client import resolve_client
from mgdask.execution.executor import Task, execute
from mgdask.features.pair_cutoffs import pair_cutoffs
from mgdask.learn.data.arrays import generator
from mgdask.pipelines.featurize.block import read_axis
from mgdask.pipelines.featurize.plan import plan
from mgdask.pipelines.featurize.run import run
from mgdask.pipelines.rdf import partial_rdf
from mgdask.report.json import to_plain
from mgdask.store.manifest import Manifest
from mgdask.store.open import check_complete
from mgdask.store.shards import remove_store
from mgdask.studies.records import Record
from mgdask.studies.temperature.application import (
    AppliedModel,
    held_model,
    model_digest,
    predict_store,
    predicted,
)
from mgdask.studies.temperature.circularity import MAX_ROWS, N_PUT_IN, mean_put_in, self_consistent
from mgdask.studies.temperature.data import Instances
from mgdask.studies.temperature.local_deformation import d2min_features, usable_lags
from mgdask.studies.temperature.model import NEAREST, NearestTemperatures
from mgdask.studies.temperature.structure import distances_of, structure_features
from mgdask.studies.temperature.views import AppliedPutIn, PairDistances

if TYPE_CHECKING:
    from mgdask.cluster.client import Client

MAX_FRAMES = 20
"""Maximum number of frames, evenly spaced, over which g(r) is averaged."""
R_MAX = 8.0
"""Largest distance in Å of g(r)."""


@dataclass(frozen=True, eq=False)
class Local(Record):
    """D²min and structure of the first frames of a store, which need no model.

    Parameters
    ----------
    computed
        Whether there is a store with them.
    lags
        Lags of D²min in ps; empty if there are none.
    distances
        Partial g(r) with the cutoffs.
    notes
        What was left out, and why, in words.
    """

    computed: bool
    lags: FloatArray
    distances: PairDistances
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Application:
    """Results of one store on disk, opened but not read.

    Parameters
    ----------
    instances
        All runs of the store.
    models
        Models that were applied.
    t_ml
        Store with T_ML.
    local
        Store with D²min and structure of the first frame of each run; None if there is
        none.
    lags
        Lags of D²min in ps; empty if there are none.
    distances
        Partial g(r) with the cutoffs.
    put_in
        Mean T_ML against the T put into the feature, for each run.
    notes
        What was left out, and why, in words.
    """

    instances: Instances
    models: tuple[AppliedModel, ...]
    t_ml: Path
    local: Path | None
    lags: tuple[float, ...]
    distances: PairDistances
    put_in: tuple[AppliedPutIn, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the store."""
        return self.instances.runs[0].store

    @property
    def source(self) -> Path:
        """Trajectory store."""
        return self.instances.runs[0].source

    @cached_property
    def names(self) -> list[str]:
        """Name of each run: that of the store if it has one run only."""
        return run_names(self.instances)

    def to_json(self) -> dict[str, Any]:
        """Return what ``opened`` needs besides its other arguments."""
        plain: dict[str, Any] = to_plain(
            {
                "applied": [one.label for one in self.models],
                "put_in": self.put_in,
                "notes": self.notes,
            }
        )
        return plain

    @classmethod
    def opened(
        cls,
        plain: Mapping[str, Any],
        instances: Instances,
        models: Sequence[AppliedModel],
        local: Local,
        out: Path,
    ) -> Application:
        """Return the results that ``apply_to`` wrote.

        Parameters
        ----------
        plain
            From ``to_json``.
        instances, models, local, out
            As in ``apply_to``.
        """
        t_ml, place = places(out, instances)
        return cls(
            instances,
            tuple(one for one in models if one.label in plain["applied"]),
            t_ml,
            place if local.computed else None,
            tuple(float(lag) for lag in local.lags),
            local.distances,
            tuple(AppliedPutIn.from_json(one) for one in plain["put_in"]),
            tuple(plain["notes"]),
        )


def run_names(instances: Instances) -> list[str]:
    """Return a name for every run: that of the store if it has one run only."""
    runs = instances.runs
    return [one.store if len(runs) == 1 else f"{one.store}, {one.label}" for one in runs]


def places(out: Path, instances: Instances) -> tuple[Path, Path]:
    """Return where T_ML and the local features of a store are."""
    name = f"{instances.runs[0].source.stem}.zarr"
    return out / "t_ml" / name, out / "local" / name


def compute_local(
    instances: Instances,
    out: Path,
    *,
    d2min_lags: Sequence[float],
    pair_cutoff: float | None = None,
    memory: str = "2GiB",
    client: Client | None = None,
    progress: bool = True,
) -> Local:
    """Compute g(r), and D²min and structure of the first frame of each run, as tasks.

    Parameters
    ----------
    instances
        All runs of one store.
    out
        Folder of the study. ``local/STORE.zarr`` is written to it, unless it is there.
    d2min_lags
        Lags of D²min in ps. Those that a run lacks are left out.
    pair_cutoff
        Cutoff in Å of pairs without a trough in g(r). Default: D²min and structure are
        left out if there is such a pair.
    memory
        Memory of one worker process.
    client
        Dask client. Default: the current one, or else threads of this process.
    progress
        Whether to report progress.
    """
    how: dict[str, Any] = {"client": client, "progress": progress}
    source = instances.runs[0].source
    axis = read_axis(check_complete(source)[0])
    n_frames = len(axis.time)
    chosen = np.unique(np.linspace(0, n_frames - 1, min(n_frames, MAX_FRAMES)).astype(int))
    rdf = partial_rdf(source, r_max=R_MAX, bins=400, frames=chosen.tolist(), **how)
    rdf, missing = with_cutoff(rdf, pair_cutoff)
    if missing:
        note = (
            f"{source.stem}: g(r) of {', '.join(missing)} has no trough up to {R_MAX:g} Å, so "
            "D²min and structure are left out. Give a cutoff for such pairs with --pair-cutoff"
        )
        return Local(False, np.empty(0), distances_of(rdf), (note,))
    first = np.array([begin for begin, _ in axis.runs()])
    lags = usable_lags(d2min_lags, axis, first)
    note = (
        f"{source.stem}: no frame is {', '.join(f'{lag:g}' for lag in d2min_lags)} ps after the "
        "first frame of its run, so D²min is left out. Give lags that the store has with "
        "--d2min-lags"
    )
    cutoffs = pair_cutoffs(rdf)
    wanted = [
        *structure_features(instances.runs[0].species, cutoffs),
        *d2min_features(lags, cutoffs),
    ]
    _compute(source, places(out, instances)[1], wanted, first, memory, **how)
    return Local(True, np.array(lags), distances_of(rdf), () if lags else (note,))


def apply_to(
    instances: Instances,
    models: Sequence[AppliedModel],
    columns: Sequence[int],
    out: Path,
    local: Local,
    *,
    own: Mapping[tuple[str, int], int] | None = None,
    client: Client | None = None,
    progress: bool = True,
) -> Application:
    """Compute T_ML of all atoms of one store, as tasks.

    Parameters
    ----------
    instances
        All runs of one store.
    models, columns
        Fitted models, and the indices of the lags that they read.
    out
        Folder of the study. ``t_ml/STORE.zarr`` is written to it, unless it is there.
    local
        From ``compute_local``.
    own
        First training row of each run that is in the training data; see
        ``predict_store``.
    client
        Dask client. Default: the current one, or else threads of this process.
    progress
        Whether to report progress.

    Raises
    ------
    ParameterError
        If species differ from those of training.
    """
    how: dict[str, Any] = {"client": client, "progress": progress}
    rows = own or {}
    target, place = places(out, instances)
    target.parent.mkdir(parents=True, exist_ok=True)
    applied = predict_store(instances, models, columns, target, own=rows, **how)
    left_out = [
        f"{instances.runs[0].store}: the frames do not allow averages over origins, so the model "
        f"{one.name!r} was not applied"
        for one in models
        if one not in applied and one.name != NEAREST
    ]
    return Application(
        instances,
        applied,
        target,
        place if local.computed else None,
        tuple(float(lag) for lag in local.lags),
        local.distances,
        _put_in(instances, models, columns, rows, **how),
        (*_about_own(instances, rows), *left_out, *local.notes),
    )


def _compute(
    source: Path,
    local: Path,
    wanted: Sequence[Any],
    first: IntArray,
    memory: str,
    client: Client | None,
    progress: bool,
) -> None:
    """Compute features of the first frames, unless they are there."""
    local.parent.mkdir(parents=True, exist_ok=True)
    choices: dict[str, Any] = {"out": local, "memory": memory, "frames": first.tolist()}
    try:
        made = plan(source, wanted, **choices)
    except StoreError:
        # other lags or cutoffs: results of the study's own folder are replaced
        with Manifest(local).locked():
            remove_store(local)
        made = plan(source, wanted, **choices)
    run(made, client, progress=progress)


def with_cutoff(rdf: xr.Dataset, cutoff: float | None) -> tuple[xr.Dataset, list[str]]:
    """Return g(r) with a cutoff for pairs without a trough, and pairs that lack one.

    Parameters
    ----------
    rdf
        From ``partial_rdf``.
    cutoff
        Cutoff in Å for pairs without a trough; None if there is none.
    """
    if cutoff is not None:
        rdf = rdf.assign(first_minimum=rdf["first_minimum"].fillna(cutoff))
    names = [str(name) for name in rdf["species"].values]
    known = np.isfinite(rdf["first_minimum"].values)
    pairs = [(a, b) for a in range(len(names)) for b in range(a, len(names))]
    return rdf, [f"{names[a]}-{names[b]}" for a, b in pairs if not known[a, b]]


def _about_own(instances: Instances, own: Mapping[tuple[str, int], int]) -> list[str]:
    """Say which runs are also in the training data."""
    found = [
        name
        for name, run in zip(run_names(instances), instances.runs, strict=True)
        if (run.store, run.frame) in own
    ]
    if not found:
        return []
    one = len(found) == 1
    return [
        f"{', '.join(found)} {'is' if one else 'are'} also in the training data. No atom is its "
        "own neighbor, but other atoms of the run are neighbors, so T_ML is closer to the "
        "temperature of the run than that of a new run would be"
    ]


def _put_in(
    instances: Instances,
    models: Sequence[AppliedModel],
    columns: Sequence[int],
    own: Mapping[tuple[str, int], int],
    client: Client | None,
    progress: bool,
) -> tuple[AppliedPutIn, ...]:
    """Return how the mean T_ML of each run depends on the T put into the feature."""
    model = next((one for one in models if one.name == NEAREST and one.form == "run"), None)
    if model is None:
        return ()
    known = model_digest(model.folder)
    tasks: list[Task] = [
        (name, (name, instances.select([k]), model, known, tuple(columns), own.get(place)))
        for k, name in enumerate(run_names(instances))
        for place in [(instances.runs[k].store, instances.runs[k].frame)]
    ]
    with resolve_client(client) as workers:
        outcome = execute(
            workers, _put_in_run, tasks, what="T put in", unit="runs", progress=progress
        )
    return tuple(outcome.results[name] for name, _ in tasks)


@dataclass(frozen=True)
class _WithoutOwn:
    """A model whose atoms may be training rows, which are not their own neighbors."""

    model: NearestTemperatures
    own: IntArray | None

    @property
    def name(self) -> str:
        return self.model.name

    def to_json(self) -> dict[str, Any]:
        return self.model.to_json()

    def predict(self, matrix: FloatArray, species: IntArray) -> FloatArray:
        return predicted(self.model, matrix, species, self.own)


def _put_in_run(
    name: str,
    part: Instances,
    applied: AppliedModel,
    known: str,
    columns: Sequence[int],
    first: int | None,
) -> AppliedPutIn:
    """Task: put temperatures into the feature of some atoms of a run."""
    model = held_model(str(applied.folder), known)
    assert isinstance(model, NearestTemperatures)
    run = part.runs[0]
    drawn = np.arange(run.n_atoms)
    if run.n_atoms > MAX_ROWS:
        drawn = np.sort(generator(0).choice(run.n_atoms, MAX_ROWS, replace=False))
    x = part.matrix(columns=columns, rows=drawn, feature_temperature=None)
    species = run.species[drawn]
    one = _WithoutOwn(model, None if first is None else first + drawn)
    grid = np.geomspace(model.temperature.min(), model.temperature.max(), N_PUT_IN)
    means = np.array([mean_put_in(one, x, species, float(t)) for t in grid])
    found = self_consistent(one, x, species, grid, means)
    return AppliedPutIn(
        name,
        grid,
        means,
        np.array(found.found, dtype=np.float64),
        found.note,
        run.temperature,
        len(drawn),
    )
