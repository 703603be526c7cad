"""The temperature study: from stores to lag features, classes, models, T_ML and a page.

Liu X. et al., J. Mater. Inf. 2, 20 (2022).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mgdask.errors import ParameterError
from mgdask.execution.client import resolve_client
from mgdask.execution.deferred import deferred
from mgdask.report.json import to_plain
from mgdask.studies.records import Record
from mgdask.studies.results import Results
from mgdask.studies.stages import StageRunner, fingerprint, write_text
from mgdask.studies.study import Outcome, Study
from mgdask.studies.temperature.application import applied_models
from mgdask.studies.temperature.applied import Application, Local, apply_to, compute_local, places
from mgdask.studies.temperature.captions import verdict
from mgdask.studies.temperature.classes import ClusterStatistics, representative_classes
from mgdask.studies.temperature.controls import run_controls, validate_neighbors
from mgdask.studies.temperature.data import (
    FeatureTemperature,
    Instances,
    feature_path,
    read_instances,
)
from mgdask.studies.temperature.fitting import Training, fewest_atoms, fit_models, model_paths
from mgdask.studies.temperature.options import APPLICATION, TemperatureOptions
from mgdask.studies.temperature.prepare import compute_lags
from mgdask.studies.temperature.report import temperature_report
from mgdask.studies.temperature.report_data import THERMOMETERS, VALIDATION, read_report_data
from mgdask.studies.temperature.results import (
    about_training,
    application_lines,
    application_metrics,
    describe_applications,
    score_lines,
    score_metrics,
)
from mgdask.studies.temperature.schemes import about_rows_of, rows_of, validate_models
from mgdask.studies.temperature.stores import temperature_digests
from mgdask.studies.temperature.thermometer import measure_thermometers
from mgdask.studies.temperature.validation import FORMS
from mgdask.studies.temperature.views import NeighborCurve
from mgdask.studies.temperature.weights import LagWeights, lag_weights
from mgdask.studies.timing import StageTimer

if TYPE_CHECKING:
    from mgdask.cluster.client import Client

R = TypeVar("R", bound=Record)
FEATURES = "features"
"""Folder of the feature stores in the folder of a study."""


class TemperatureStudy(Study[TemperatureOptions]):
    """Machine-learned temperature: learn the temperature of atoms from their motion.

    Lag displacements are in ``OUT/features``, and T_ML of the applied stores is in
    ``OUT/t_ml``. Classes, weights, models, scores, figures and the page are in
    ``OUT/temperature``.

    Parameters
    ----------
    options
        All options of the study.

    References
    ----------
    Liu X. et al., J. Mater. Inf. 2, 20 (2022).

    Examples
    --------
    >>> options = TemperatureOptions(  # doctest: +SKIP
    ...     train=["100.zarr", "1000.zarr", "2000.zarr"], apply="creep.zarr", out="out"
    ... )
    >>> print(TemperatureStudy(options).run())  # doctest: +SKIP
    """

    @property
    def folder(self) -> Path:
        """Folder of results, figures and the page."""
        return self.options.out / "temperature"

    def compute(self, stages: StageRunner, client: Client | None, progress: bool) -> Outcome:
        """Compute features, classes, weights and models, apply and report."""
        options = self.options
        stores = {store.stem: store for store in (*options.apply, *options.control)}
        train = self._features(stages, "features", options.train, client, progress)
        # all features are computed and checked before anything is trained
        read = {name: stages.branch(*self._identity_of([one])) for name, one in stores.items()}
        known = {one.stem for one in options.train}
        applied = {
            name: read_instances([one], options.out / FEATURES)
            if name in known
            else self._features(read[name], f"features of {name}", [one], client, progress)
            for name, one in stores.items()
        }
        local = {}
        for name, instances in applied.items():
            read[name] = read[name].branch(options.d2min_lags, options.pair_cutoff)
            local[name] = self._local(read[name], instances, client, progress)
        tested = stages.branch(*self._identity_of(options.test))
        test = None
        if options.test:
            name = "features of test runs"
            test = self._features(tested, name, options.test, client, progress)
        with deferred(resolve_client(client)) as workers:
            how: dict[str, Any] = {"client": workers, "progress": progress}
            classes = self._classes(stages, train, how)
            chosen = train.of_temperatures(classes.classes)
            weights = self._weights(stages, chosen, how)
            training = self._training(stages, chosen, weights, how)
            models = self._models(stages, training)
            # a store that is added later repeats none of the other branches
            ends = [self._validation(stages, tested.identity, training, test, how)]
            done = {}
            for name, instances in applied.items():
                branch = stages.branch(read[name].identity)
                done[name] = self._apply(branch, instances, local[name], training, models, how)
                ends.append(branch.identity)
            last = stages.branch(*ends, *(getattr(options, one) for one in APPLICATION))
            self._describe(last, done, training)
        last(
            "report",
            lambda _: temperature_report(self.folder, self.about(stages)),
            load=lambda: self.folder / "report.html",
            outputs=lambda: [self.folder / "report.html"],
        )
        data = read_report_data(self.folder)
        text = [
            *verdict(data),
            *score_lines(data.schemes()),
            *application_lines(data),
            *about_training(train, classes, weights),
            *([f"our model is left out: {why}"] if (why := training.why_not_ours) else []),
        ]
        metrics = [*score_metrics(data.rows), *application_metrics(data)]
        return Outcome(metrics, "\n".join(text))

    def page(self, results: Results) -> str:
        """Return the report page."""
        return (self.folder / "report.html").read_text(encoding="utf-8")

    def _features(
        self,
        stages: StageRunner,
        name: str,
        stores: Sequence[Path],
        client: Client | None,
        progress: bool,
    ) -> Instances:
        """Compute the lag features of some stores; return their instances."""
        options, folder = self.options, self.options.out / FEATURES

        def compute(_: StageTimer) -> Instances:
            return compute_lags(
                stores,
                folder,
                options.lags,
                averaged_as=options.train,
                memory=options.memory,
                client=client,
                progress=progress,
            )

        return stages(
            name,
            compute,
            load=lambda: read_instances(stores, folder),
            outputs=lambda: [feature_path(folder, store) for store in stores],
        )

    def _identity_of(self, stores: Sequence[Path]) -> list[Any]:
        """Return digests of the content and the temperatures of stores."""
        known = temperature_digests(self.options)
        return [[one.stem, fingerprint(one), known[one.stem]] for one in stores]

    def _classes(
        self, stages: StageRunner, train: Instances, how: dict[str, Any]
    ) -> ClusterStatistics:
        """Find the representative classes."""
        options = self.options

        def compute() -> ClusterStatistics:
            return representative_classes(
                train,
                feature_temperature=options.applied_temperature,
                classes=options.classes or None,
                subset_rows=options.subset_rows,
                cutoff=options.linkage_cutoff,
                min_leaves=options.min_leaves,
                linkage=options.linkage,
                seed=options.seed,
                **how,
            )

        return self._recorded(stages, "classes", compute, ClusterStatistics)

    def _weights(self, stages: StageRunner, chosen: Instances, how: dict[str, Any]) -> LagWeights:
        """Compute the weights of the lags, and select lags."""
        options = self.options

        def weights_of(form: FeatureTemperature, selected: Sequence[float]) -> LagWeights:
            return lag_weights(
                chosen.matrix(feature_temperature=form),
                chosen.labels().temperature,
                chosen.lags,
                feature_temperature=form,
                selected=selected or None,
                neighbors=options.relief_neighbors,
                seed=options.seed,
                **how,
            )

        def compute() -> LagWeights:
            form = options.applied_temperature
            # division by one number moves all rows alike and changes no weight
            other = weights_of(None if form == "run" else "run", ())
            return replace(weights_of(form, options.selected_lags), beside=(other,))

        return self._recorded(stages, "weights", compute, LagWeights)

    def _training(
        self, stages: StageRunner, chosen: Instances, weights: LagWeights, how: dict[str, Any]
    ) -> Training:
        """Select the number of neighbors; return what models are trained on."""
        options = self.options
        columns = tuple(int(k) for k in np.flatnonzero(weights.kept))
        none: dict[str, int] = {}
        first = Training(chosen, columns, none, options.folds, options.seed)
        labels = chosen.labels()
        fewest = fewest_atoms(labels.temperature, labels.species, options.folds, options.seed)
        if options.neighbors and options.neighbors > fewest:
            raise ParameterError(
                f"neighbors (--neighbors) is {options.neighbors}, but in the validation with "
                f"halves of atoms or temperatures left out, only {fewest} atoms of the rarest "
                f"species train: give at most --neighbors {fewest}, or train on larger runs"
            )
        most = min(options.max_neighbors, fewest)
        curve = self._recorded(
            stages, "k curve", lambda: validate_neighbors(first, most, **how), NeighborCurve
        )
        k = {form: options.neighbors or best for form, best in curve.best.items()}
        return replace(first, n_neighbors=k)

    def _validation(
        self,
        stages: StageRunner,
        tested: str,
        training: Training,
        test: Instances | None,
        how: dict[str, Any],
    ) -> str:
        """Test all models on atoms and temperatures that were left out of training.

        Return the identity of what depends on it.
        """
        path = self.folder / VALIDATION
        controls = stages.branch()
        plain = controls("controls", lambda _: run_controls(training, **how).to_json())
        branch = stages.branch(tested, controls.identity)
        scratch = self.folder / "predictions"
        rows = branch(
            "schemes", lambda _: rows_of(validate_models(training, test, folder=scratch, **how))
        )

        def write(_: StageTimer) -> None:
            about = about_rows_of(training)
            found = to_plain({"rows": rows, "training": about, **plain})
            write_text(path, json.dumps(found, indent=1) + "\n")

        branch("validation", write, load=lambda: None, outputs=lambda: [path])
        drawn = self.folder / THERMOMETERS

        def measure(_: StageTimer) -> None:
            found = [one.to_json() for one in measure_thermometers(training, test, **how)]
            write_text(drawn, json.dumps(found, indent=1) + "\n")

        branch("T_ML of runs", measure, load=lambda: None, outputs=lambda: [drawn])
        return branch.identity

    def _models(self, stages: StageRunner, training: Training) -> dict[str, Path]:
        """Fit the models that are applied."""
        forms = list(dict.fromkeys([*FORMS, self.options.feature_temperature]))
        folder = self.folder / "models"
        paths = model_paths(forms, folder, tuple(training.fits()))
        return stages(
            "models",
            lambda _: fit_models(training, forms, folder),
            load=lambda: paths,
            outputs=lambda: [file for path in paths.values() for file in path.iterdir()],
        )

    def _local(
        self, stages: StageRunner, instances: Instances, client: Client | None, progress: bool
    ) -> Local:
        """Compute g(r), D²min and structure of an applied store or a control."""
        options = self.options

        def compute(_: StageTimer) -> dict[str, Any]:
            return compute_local(
                instances,
                options.out,
                d2min_lags=options.d2min_lags,
                pair_cutoff=options.pair_cutoff,
                memory=options.memory,
                client=client,
                progress=progress,
            ).to_json()

        plain = stages(
            f"structure of {instances.runs[0].store}",
            compute,
            outputs=lambda: [one for one in places(options.out, instances)[1:] if one.exists()],
        )
        return Local.from_json(plain)

    def _apply(
        self,
        stages: StageRunner,
        instances: Instances,
        local: Local,
        training: Training,
        models: dict[str, Path],
        how: dict[str, Any],
    ) -> Application:
        """Predict T_ML of the atoms of an applied store or a control."""
        options = self.options
        every = applied_models(models)

        def compute(_: StageTimer) -> dict[str, Any]:
            done = apply_to(
                instances,
                every,
                training.columns,
                options.out,
                local,
                own=training.instances.first_rows(),
                **how,
            )
            return done.to_json()

        plain = stages(
            f"T_ML of {instances.runs[0].store}",
            compute,
            outputs=lambda: [places(options.out, instances)[0]],
        )
        return Application.opened(plain, instances, every, local, options.out)

    def _describe(
        self, stages: StageRunner, done: dict[str, Application], training: Training
    ) -> None:
        """Write the results of all applications; remove those of other stores."""
        files = {name: self.folder / f"application_{name}.json" for name in done}

        def compute(_: StageTimer) -> None:
            for old in set(self.folder.glob("application_*.json")) - set(files.values()):
                old.unlink()
            plain = describe_applications(done, training.columns, self.options)
            for name, values in plain.items():
                write_text(files[name], json.dumps(values, indent=1) + "\n")

        stages("application", compute, load=lambda: None, outputs=files.values)

    def _recorded(
        self, stages: StageRunner, name: str, compute: Callable[[], R], kind: type[R]
    ) -> R:
        """Run a stage whose result is the record in ``OUT/temperature/<name>.json``."""
        path = self.folder / f"{name.replace(' ', '_')}.json"

        def read() -> R:
            return kind.from_json(json.loads(path.read_text(encoding="utf-8")))

        def write(_: StageTimer) -> R:
            write_text(path, json.dumps(compute().to_json(), indent=1) + "\n")
            return read()

        return stages(name, write, load=read, outputs=lambda: [path])
