"""The barcode study: from stores of samples to a dictionary, models, scores and a page.

Liu et al., Acta Mater. 259, 119281 (2023).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._typing import FloatArray, IntArray
from mgdask.report.json import to_plain
from mgdask.store.dictionaries import Dictionary, read_dictionary
from mgdask.studies.barcode.accuracy import ACCURACY, run_accuracy
from mgdask.studies.barcode.baselines import EnergyModel, baseline_from_json, fit_baselines
from mgdask.studies.barcode.boosting import (
    ALL,
    JOURNAL,
    BoostedEnergy,
    elements_name,
    fit_trees,
    leading_entries,
    mean_absolute_shap,
    tree_settings,
)
from mgdask.studies.barcode.data import Samples
from mgdask.studies.barcode.description import TABLE, compare_driven, describe_elements
from mgdask.studies.barcode.entry_vectors import degree_weights, entry_vectors
from mgdask.studies.barcode.models import fit_models, model_from_json
from mgdask.studies.barcode.options import BarcodeOptions
from mgdask.studies.barcode.prepare import (
    build_ules,
    compute_fractions,
    compute_means,
    read_samples,
    small_soap,
)
from mgdask.studies.barcode.report import barcode_report
from mgdask.studies.barcode.results import (
    DRIVEN,
    TEST,
    TEST_SIZE,
    predictions,
    predictions_csv,
    score_lines,
    score_metrics,
    score_row,
    sizes,
    verdict,
)
from mgdask.studies.barcode.stores import read_energies
from mgdask.studies.results import Results
from mgdask.studies.stages import StageRunner, write_text
from mgdask.studies.study import Outcome, Study
from mgdask.studies.timing import StageTimer

if TYPE_CHECKING:
    from mgdask.cluster.client import Client

DICTIONARY = "ules.zarr"
"""Name of the dictionary in the folder of a study."""


class BarcodeStudy(Study[BarcodeOptions]):
    """The barcode of a glass: learn energies from unique local environments.

    The dictionary is ``OUT/ules.zarr``, the features of the samples are in
    ``OUT/features``. Models, predictions, scores and the page are in ``OUT/barcode``.

    Parameters
    ----------
    options
        All options of the study.

    References
    ----------
    Liu et al., Acta Mater. 259, 119281 (2023).

    Examples
    --------
    >>> options = BarcodeOptions(  # doctest: +SKIP
    ...     train=["a.zarr", "b.zarr"], test="c.zarr", out="barcode"
    ... )
    >>> print(BarcodeStudy(options).run())  # doctest: +SKIP
    """

    @property
    def folder(self) -> Path:
        """Folder of models, predictions, scores and the page."""
        return self.options.out / "barcode"

    @property
    def dictionary(self) -> Path:
        """Path of the dictionary."""
        return self.options.out / DICTIONARY

    def compute(self, stages: StageRunner, client: Client | None, progress: bool) -> Outcome:
        """Build the dictionary, describe the samples, train, test, and report."""
        options = self.options
        how: dict[str, Any] = {"client": client, "progress": progress}
        dictionary = self._dictionary(stages, how)
        train, sets = self._samples(stages, how)
        models: list[EnergyModel] = list(
            stages(
                "baselines",
                lambda _: self._fit_baselines(train),
                load=self._read_baselines,
                outputs=lambda: [self.folder / "baselines.json"],
            )
        )
        trees, importance = self._trees(stages, train, how)
        models += trees
        models += self._close_the_gap(stages, dictionary, train)
        tested = predictions(models, sets, train)
        rows = stages(
            "scores", lambda _: [to_plain(score_row(one, options.seed)) for one in tested]
        )
        files = [self.folder / "predictions.csv", self.folder / "scores.json"]

        def write(_: StageTimer) -> None:
            write_text(files[0], predictions_csv(tested))
            write_text(files[1], json.dumps(rows, indent=1) + "\n")

        stages("tables", write, load=lambda: None, outputs=lambda: files)
        self._elements(stages, trees, importance, train, how)
        skipped = self._driven(stages, train, sets.get(DRIVEN), how)
        if options.accuracy:
            run_accuracy(options, stages, dictionary, train, sets[TEST], how)
        else:
            # of an earlier run with other options
            (self.folder / ACCURACY).unlink(missing_ok=True)
        stages(
            "report",
            lambda _: self._report(stages),
            load=lambda: None,
            outputs=lambda: [self.folder / "report.html"],
        )
        text = [
            verdict(tested, options.seed),
            *score_lines(rows),
            self._about_dictionary(dictionary, train, sets),
            *self._about_training(train, trees),
            *skipped,
        ]
        return Outcome(score_metrics(rows), "\n".join(text))

    def _dictionary(self, stages: StageRunner, how: dict[str, Any]) -> Dictionary:
        """Build the dictionary of the training samples."""
        options = self.options

        def build(_: StageTimer) -> Dictionary:
            build_ules(options, self.dictionary, options.threshold, self.species, **how)
            return read_dictionary(self.dictionary)

        return stages(
            "dictionary",
            build,
            load=lambda: read_dictionary(self.dictionary),
            outputs=lambda: [self.dictionary],
        )

    @property
    def species(self) -> tuple[str, ...]:
        """Element symbols of the training samples."""
        return read_energies(self.options.train[0]).species

    def _samples(
        self, stages: StageRunner, how: dict[str, Any]
    ) -> tuple[Samples, dict[str, Samples]]:
        """Describe all samples; return those to train on, and the other sets."""
        options, features = self.options, self.options.out / "features"
        stores = list(options.all_stores().values())

        def describe(_: StageTimer | None = None) -> None:
            # finished stores are kept, and those of other parameters refused
            compute_means(stores, self.species, features, memory=options.memory, **how)
            compute_fractions(stores, self.dictionary, features, memory=options.memory, **how)

        stages("samples", describe, load=describe)
        named = {TEST: options.test, TEST_SIZE: options.test_size, DRIVEN: options.driven}
        return (
            read_samples(options.train, self.species, features),
            {
                name: read_samples(paths, self.species, features)
                for name, paths in named.items()
                if paths
            },
        )

    def _fit_baselines(self, train: Samples) -> Sequence[EnergyModel]:
        models = fit_baselines(train)
        text = json.dumps([model.to_json() for model in models], indent=1)
        write_text(self.folder / "baselines.json", text + "\n")
        return models

    def _read_baselines(self) -> Sequence[EnergyModel]:
        plain = json.loads((self.folder / "baselines.json").read_text(encoding="utf-8"))
        return [baseline_from_json(one) for one in plain]

    def _close_the_gap(
        self, stages: StageRunner, dictionary: Dictionary, train: Samples
    ) -> Sequence[EnergyModel]:
        """Fit pair counts, the soft barcode, and all entries as landmarks."""
        path = self.folder / "models.json"

        def fit(_: StageTimer) -> Sequence[EnergyModel]:
            soap = small_soap(train.species)
            vectors = entry_vectors(dictionary, soap, self.options.train)
            models = fit_models(train, vectors, degree_weights(soap), self.options.elements)
            write_text(path, json.dumps([one.to_json() for one in models]) + "\n")
            return models

        def load() -> Sequence[EnergyModel]:
            return [model_from_json(one) for one in json.loads(path.read_text(encoding="utf-8"))]

        return stages("models", fit, load=load, outputs=lambda: [path])

    def _trees(
        self, stages: StageRunner, train: Samples, how: dict[str, Any]
    ) -> tuple[list[BoostedEnergy], FloatArray]:
        """Train trees on all entries and on the leading ones."""
        options, folder = self.options, self.folder
        settings = tree_settings(options)

        def fitted(name: str, target: Path, entries: IntArray | None) -> BoostedEnergy:
            def fit(_: StageTimer) -> BoostedEnergy:
                model = fit_trees(
                    train, target, entries=entries, name=name, settings=settings, **how
                )
                model.save(target)
                # the trials are in the model; the journal has the times of this run
                (target / JOURNAL).unlink(missing_ok=True)
                return model

            return stages(
                name,
                fit,
                load=lambda: BoostedEnergy.load(target),
                outputs=lambda: BoostedEnergy.files(target),
            )

        every = fitted(ALL, folder / "trees", None)

        def rank(_: StageTimer) -> dict[str, Any]:
            values = mean_absolute_shap(every, folder / "trees", seed=options.seed, **how)
            entries = leading_entries(every, values, options.elements)
            found = {
                "entries": entries.tolist(),
                "mean_absolute_shap": values.tolist(),
                "unit": "eV per sample",
                "trees": every.params,
            }
            write_text(folder / "elements.json", json.dumps(found, indent=1) + "\n")
            return found

        ranked = stages(
            "SHAP",
            rank,
            load=lambda: json.loads((folder / "elements.json").read_text(encoding="utf-8")),
            outputs=lambda: [folder / "elements.json"],
        )
        importance = np.array(ranked["mean_absolute_shap"])
        entries = np.array(ranked["entries"], dtype=np.int64)
        if not len(entries):
            return [every], importance
        some = fitted(elements_name(len(entries)), folder / "trees_elements", entries)
        return [every, some], importance

    def _elements(
        self,
        stages: StageRunner,
        trees: Sequence[BoostedEnergy],
        importance: FloatArray,
        train: Samples,
        how: dict[str, Any],
    ) -> None:
        """Describe the leading entries: polyhedra, correlations, environments, map."""
        if len(trees) < 2:
            return
        written: list[Path] = []

        def describe(_: StageTimer) -> list[str]:
            written[:] = describe_elements(
                self.folder,
                self.dictionary,
                trees[1].entries,
                importance,
                train,
                self.options.train,
                seed=self.options.seed,
                **how,
            )
            return [str(path.relative_to(self.options.out)) for path in written]

        stages("elements", describe, outputs=lambda: written)

    def _driven(
        self, stages: StageRunner, train: Samples, driven: Samples | None, how: dict[str, Any]
    ) -> list[str]:
        """Compare driven samples with thermal ones; say why if this is not possible."""
        if driven is None:
            return []
        if len(train.runs) < 2 or not (self.folder / TABLE).exists():
            why = "there is only one thermal run" if len(train.runs) < 2 else "no elements remain"
            return [f"driven samples are not compared, because {why}"]
        written: list[Path] = []

        def compare(_: StageTimer) -> list[str]:
            written[:] = compare_driven(
                self.folder,
                train,
                driven,
                self.options.driven,
                dictionary=self.dictionary,
                seed=self.options.seed,
                **how,
            )
            return [str(path.relative_to(self.options.out)) for path in written]

        stages("driven samples", compare, outputs=lambda: written)
        return []

    def _report(self, stages: StageRunner) -> None:
        barcode_report(self.folder, self.about(stages), seed=self.options.seed)

    def _about_dictionary(
        self, dictionary: Dictionary, train: Samples, sets: dict[str, Samples]
    ) -> str:
        options = self.options
        shares = ", ".join(
            f"{store} {float(samples.unmatched[samples.store == store].mean()):.1%}"
            for samples in sets.values()
            for store in samples.stores
        )
        return (
            f"dictionary: {dictionary.n_entries} ULEs at a threshold of {options.threshold:g}, "
            f"from {dictionary.n_environments} environments of {len(train)} samples of "
            f"{sizes(train.n_atoms)}. Atoms below the threshold, counted with the nearest: {shares}"
        )

    def _about_training(self, train: Samples, trees: Sequence[BoostedEnergy]) -> list[str]:
        lines = [f"{one.name}: {one.how}" for one in trees]
        if len(train.runs) == 1:
            lines.append(f"one run only: {train.groups(self.options.folds)[1]}")
        elif len(train.runs) < self.options.folds:
            lines.append(
                f"{len(train.runs)} runs only, so {len(train.runs)} folds instead of "
                f"{self.options.folds}"
            )
        if trees and (short := self.options.elements - trees[-1].n_numbers) > 0:
            lines.append(
                f"the trees use only {trees[-1].n_numbers} ULEs, {short} fewer than "
                f"elements={self.options.elements}"
            )
        return lines

    def page(self, results: Results) -> str:
        """Return the report page."""
        return (self.folder / "report.html").read_text(encoding="utf-8")
