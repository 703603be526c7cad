"""Modules under their names of version 0.1, for scripts written then.

Importing an old name warns and returns the module of today.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "box": "geometry",
    "cluster.opening": "cluster.client",
    "cluster.serve": "cluster.scheduler",
    "explore.compare": "studies.softness.figures.comparison",
    "explore.demo": "datasets.demo",
    "explore.plots": "plot.environments",
    "explore.report": "report.text",
    "explore.softness": "studies.softness.report",
    "explore.softness_figures": "studies.softness.figures",
    "features.base": "features.feature",
    "features.motion": "features.trajectory_sums",
    "features.pairs": "features.pair_cutoffs",
    "features.surroundings": "features.environments",
    "kernels.elementary": "kernels.vector_math",
    "pipelines.featurize.usage": "execution.usage",
    "pipelines.records": "execution.records",
    "learn.arrays": "learn.data.arrays",
    "learn.boosting": "learn.training.boosting",
    "learn.bootstrap": "learn.evaluation.bootstrap",
    "learn.card": "learn.training.card",
    "learn.choose": "learn.data.columns",
    "learn.contributions": "learn.explain.shap_values",
    "learn.journal": "learn.search.journal",
    "learn.metrics": "learn.evaluation.metrics",
    "learn.model": "learn.training.model",
    "learn.parameters": "learn.training.parameters",
    "learn.ranks": "learn.training.rank_worker",
    "learn.relief": "learn.selection.relief",
    "learn.rounds": "learn.training.rounds",
    "learn.rows": "learn.data.rows",
    "learn.sample": "learn.data.binning",
    "learn.shapley": "learn.explain.shap_tasks",
    "learn.space": "learn.search.space",
    "learn.splits": "learn.data.splits",
    "learn.stock": "learn.training.dask_lightgbm",
    "learn.tables": "learn.data.tables",
    "learn.trials": "learn.search.trials",
    "learn.watch": "learn.training.supervisor",
    "readers.ase_files": "readers.formats.extxyz",
    "readers.binary": "readers.formats.binary",
    "readers.h5md": "readers.formats.h5md",
    "readers.job": "readers.indexing",
    "readers.lammps": "readers.formats.lammps",
    "readers.lammps_index": "readers.formats.lammps_index",
    "readers.netcdf": "readers.formats.netcdf",
    "store.check": "store.checks",
    "store.paths": "store.unwrapped",
    "studies.chosen": "studies.softness.subsets",
    "studies.compare_softness": "studies.softness.comparison",
    "studies.growth_softness": "studies.softness.growth",
    "studies.leading": "studies.softness.feature_selection",
    "studies.learn_softness": "studies.softness.training",
    "studies.score": "studies.softness.score",
    "studies.softness_numbers": "studies.softness.results",
    "studies.softness_study": "studies.softness.workflow",
    "studies.transfer_softness": "studies.softness.transfer",
    "tasks.block": "pipelines.featurize.block",
    "tasks.choices": "pipelines.featurize.validation",
    "tasks.execute": "execution.executor",
    "tasks.graph": "pipelines.featurize.lazy",
    "tasks.ingest": "pipelines.ingest",
    "tasks.motion": "pipelines.dynamics",
    "tasks.paths": "pipelines.unwrap",
    "tasks.plan": "pipelines.featurize.plan",
    "tasks.rdf": "pipelines.rdf",
    "tasks.run": "pipelines.featurize.run",
    "tasks.verify": "pipelines.verify",
}
"""Names after ``mgdask.``: in version 0.1, and today."""


class _MovedModules(MetaPathFinder, Loader):
    """Finds a module under its old name and loads the one under the new name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        name = fullname.removeprefix("mgdask.")
        if name == fullname or name not in MOVED | {"tasks": ""}:
            return None
        return ModuleSpec(fullname, self, is_package=name == "tasks")

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        name = spec.name.removeprefix("mgdask.")
        if name not in MOVED:
            return None  # the empty package ``mgdask.tasks``
        new = f"mgdask.{MOVED[name]}"
        warnings.warn(f"{spec.name} is {new} since version 0.2", FutureWarning, stacklevel=2)
        module = import_module(new)
        self._specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # the import system has just given the module the spec of its old name
        spec = module.__spec__
        if spec is not None and spec.name in self._specs:
            module.__spec__ = self._specs.pop(spec.name)

    def __init__(self) -> None:
        self._specs: dict[str, ModuleSpec | None] = {}


def install() -> None:
    """Make old module names importable; safe to call again."""
    if not any(isinstance(finder, _MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(_MovedModules())
