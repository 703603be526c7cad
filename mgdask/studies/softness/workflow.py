"""The softness studies, from stores of deformed glasses to scores, tables and pages.

Each study calls the other modules of this folder: Wang, Jain, Nat. Commun. 10, 5537
(2019).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mgdask._typing import FloatArray
from mgdask.errors import ParameterError
from mgdask.features import Feature
from mgdask.features.recipe import gather_features
from mgdask.learn.evaluation.metrics import baseline_scores
from mgdask.learn.predict import predict
from mgdask.report.json import to_plain
from mgdask.store.open import check_complete
from mgdask.studies.results import POOLED, Metric, Results, metrics_of
from mgdask.studies.softness.compared_sets import prepare_sets, species_of
from mgdask.studies.softness.comparison import (
    common_atoms,
    compare_glasses,
    mean_over_glasses,
    write_table,
)
from mgdask.studies.softness.comparison_report import comparison_page, transfer_page
from mgdask.studies.softness.conditions import CATEGORIES
from mgdask.studies.softness.data import Glass, prepare_glass
from mgdask.studies.softness.figures import (
    box_figure,
    compare_figure,
    growth_figure,
    transfer_figure,
)
from mgdask.studies.softness.glasses import glass_spectrum, score_glass
from mgdask.studies.softness.growth import score_growth
from mgdask.studies.softness.options import ComparisonOptions, SoftnessOptions, TransferOptions
from mgdask.studies.softness.repeats import measured_ceiling
from mgdask.studies.softness.report import several_pages, softness_report
from mgdask.studies.softness.training import (
    Softness,
    learn_and_test,
    learn_softness,
    renamed_learning,
    score_intervals,
    single_scores,
)
from mgdask.studies.softness.transfer import (
    pooled_pairs,
    read_labels,
    transfer,
    transfer_by_category,
)
from mgdask.studies.stages import StageRunner
from mgdask.studies.study import Outcome, Study
from mgdask.studies.timing import StageTimer

if TYPE_CHECKING:
    from mgdask.cluster.client import Client

LEADING = "softness, leading columns"
"""Name of the models of the leading columns in ``results.json``."""
N_RESAMPLES = 1000
"""Bootstrap resamples of the intervals in ``results.json``."""


def study_softness(
    train: Sequence[str | Path],
    test: str | Path,
    out: str | Path,
    *,
    features: str | Sequence[Feature] = "interstice",
    glass: Mapping[str, Any] | None = None,
    learning: Mapping[str, Any] | None = None,
    client: Client | None = None,
    stages: StageTimer | None = None,
    progress: bool = True,
) -> tuple[Softness, Glass]:
    """Learn softness from glasses, test it on another, and write models and scores.

    ``SoftnessStudy`` does the same from plain options, resumes, and writes a report.

    Parameters
    ----------
    train, test
        Trajectory stores of deformed glasses, each beginning with its undeformed frame.
    out
        Folder visible to all workers, for the labels and features of every glass.
        Models, card, scores and summary go to its subfolder ``softness`` and replace
        earlier ones.
    features
        Name of a ``feature_set``, or a list of features.
    glass
        Further arguments of ``prepare_glass``, such as ``strain`` or ``margin``.
    learning
        Further arguments of ``learn_softness``, such as ``n_undersamples`` or ``seed``.
    client
        Dask client. Default: the current one, or else threads of this process.
    stages
        Records the seconds spent in each stage.
    progress
        Whether to report progress.

    Returns
    -------
    softness
        The score and its metrics.
    glass
        The test glass. QS of every atom that has all features, even if excluded, is in
        ``softness/<name>-qs.zarr``.

    Raises
    ------
    ParameterError, StoreError
        See ``prepare_glass`` and ``learn_softness``. Finished parts are kept, and the
        same call resumes.

    Examples
    --------
    >>> softness, glass = study_softness(["a.zarr"], "b.zarr", "out")  # doctest: +SKIP
    """
    stages, target = stages or StageTimer(), Path(out) / "softness"
    arguments = dict(glass or {}) | {"client": client, "progress": progress}
    with stages("labels, features"):
        *train_on, test_on = (
            prepare_glass(store, out, features=features, **arguments) for store in (*train, test)
        )
    softness = learn_softness(
        train_on,
        test_on,
        stages=stages,
        client=client,
        progress=progress,
        **renamed_learning(learning),
    )
    with stages("scores"):
        softness.save(target)
        _write_scores(softness, test_on, target, client, progress)
    stages.save(target / "stages.json")
    return softness, test_on


def _write_scores(
    softness: Softness, glass: Glass, folder: Path, client: Client | None, progress: bool
) -> Path:
    """Write the QS of every atom of a glass as a store."""
    target = folder / f"{glass.name}-qs.zarr"
    shutil.rmtree(target, ignore_errors=True)  # scores of earlier models
    predict(
        softness.models,
        glass.features,
        target,
        name="qs",
        label="qs",
        client=client,
        progress=progress,
    )
    return target


class SoftnessStudy(Study[SoftnessOptions]):
    """Quench-in softness: learn which atoms turn plastic, test on other glasses.

    Models, card and scores of the first test glass are in ``OUT/softness``; those of
    further test glasses in ``OUT/softness/<name>``.

    Parameters
    ----------
    options
        All options of the study.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019).

    Examples
    --------
    >>> options = SoftnessOptions(  # doctest: +SKIP
    ...     train=["glass_1.zarr"], test="glass_2.zarr", out="softness"
    ... )
    >>> print(SoftnessStudy(options).run())  # doctest: +SKIP
    """

    def compute(self, stages: StageRunner, client: Client | None, progress: bool) -> Outcome:
        """Prepare the glasses, train, test, score every atom, and report."""
        options, target = self.options, self.options.out / "softness"
        n_train = len(options.train)

        def prepare(_: StageTimer | None = None) -> list[Glass]:
            stores = (*options.train, *options.test)
            features = self.features()
            return [
                prepare_glass(
                    store,
                    options.out,
                    features=features,
                    client=client,
                    progress=progress,
                    **options.glass(),
                )
                for store in stores
            ]

        glasses = stages("labels, features", prepare, load=prepare)
        train_on, tests = glasses[:n_train], glasses[n_train:]
        folders = [target, *(target / glass.name for glass in tests[1:])]

        def learn(timer: StageTimer) -> list[Softness]:
            learned = learn_and_test(
                train_on,
                tests,
                parameters=options.parameters(),
                stages=timer,
                client=client,
                progress=progress,
                **options.learning(),
            )
            for softness, folder in zip(learned, folders, strict=True):
                softness.save(folder)
            return learned

        learned = stages(
            "training",
            learn,
            load=lambda: [Softness.load(folder) for folder in folders],
            outputs=lambda: [file for folder in folders for file in _saved_files(folder)],
        )
        tested = list(zip(learned, tests, folders, strict=True))
        stages(
            "scores",
            lambda _: [_write_scores(*one, client, progress).name for one in tested],
            outputs=lambda: [folder / f"{glass.name}-qs.zarr" for _, glass, folder in tested],
        )
        spectra = stages("distributions", lambda _: self.spectra(tested, client, progress))

        ceiling = stages(
            "noise ceiling",
            lambda _: to_plain(
                measured_ceiling(
                    tests[0],
                    options.repeats,
                    options.out,
                    cutoff=options.cutoff,
                    seed=options.seed,
                    client=client,
                    progress=progress,
                )
                if options.repeats
                else {}
            ),
        )

        def report(_: StageTimer) -> list[str] | None:
            return [
                str(
                    softness_report(
                        softness,
                        glass,
                        folder,
                        groups=options.groups,
                        spectra=[one for one in spectra if one["glass"] != glass.name],
                        ceiling=ceiling if glass is tests[0] else None,
                        seed=options.seed,
                    )
                )
                for softness, glass, folder in tested
            ]

        stages(
            "report",
            report,
            load=lambda: None,
            outputs=lambda: [folder / "report.html" for folder in folders],
        )
        stages.timer.save(target / "stages.json")
        text = "\n".join(f"{glass}\n{softness}" for softness, glass, _ in tested)
        metrics = self.metrics(learned, train_on, tests)
        if ceiling:
            one = ceiling["beta_ceiling"]
            metrics.append(
                Metric(
                    model="noise ceiling of repeated runs",
                    test=tests[0].name,
                    name="roc_auc",
                    **{end: one[end] for end in ("value", "low", "high")},
                )
            )
        return Outcome(metrics, text)

    def spectra(
        self,
        tested: Sequence[tuple[Softness, Glass, Path]],
        client: Client | None = None,
        progress: bool = True,
    ) -> list[dict[str, Any]]:
        """Return the distribution of QS of every test glass and of the other glasses.

        All are from the same models (Fig. 3f of the paper). A training glass is
        refused, since its QS is fitted.
        """
        options, seed = self.options, self.options.seed
        spectra = [
            glass_spectrum(glass.name, softness.qs, glass.regions(), role="test", seed=seed)
            for softness, glass, _ in tested
        ]
        softness = tested[0][0]
        seen = {name: text for name, text in softness.card["data"].items() if "trajectory" in name}
        names = {glass.name for _, glass, _ in tested}
        for store in options.glasses:
            if check_complete(store)[1] in seen.values() or store.stem in names:
                raise ParameterError(
                    f"{store} in `glasses` is a glass of this study already, or has the name of "
                    "one; give another glass, or rename its store"
                )
            names.add(store.stem)
            glass, qs = score_glass(
                store,
                options.out,
                softness,
                self.features((store,)),
                margin=options.margin,
                species=options.centers,
                client=client,
                progress=progress,
            )
            spectra.append(glass_spectrum(glass.name, qs, glass.regions(), role="other", seed=seed))
        return [to_plain(one) for one in spectra]

    def features(self, stores: Sequence[Path] = ()) -> list[Feature]:
        """Return the features that the options ask for.

        ``stores`` has the species; by default the first test glass.
        """
        options = self.options
        named = options.sets or (
            () if options.features or options.recipe is not None else ("interstice",)
        )
        recipe = None if options.recipe is None else str(options.recipe)
        species = species_of(stores or options.test[:1])
        return gather_features(options.features, named, recipe, species)

    def metrics(
        self, learned: Sequence[Softness], train_on: Sequence[Glass], tests: Sequence[Glass]
    ) -> list[Metric]:
        """Return the metrics of all models and baselines, by test glass and pooled."""
        metrics = []
        for softness in learned:
            metrics += _metric_rows(
                softness.test,
                softness.metrics,
                softness.leading_metrics,
                softness.baselines,
                all_columns=softness.all_metrics,
                single=softness.single,
                leading_single=softness.leading_single,
            )
        if len(learned) == 1:
            pooled = [one.model_copy(update={"test": POOLED}) for one in metrics]
            return pooled + metrics
        label = np.concatenate([glass.rows()[1] for glass in tests])
        regions = np.concatenate(
            [
                [f"{glass.name} {region}" for region in glass.regions()[glass.rows()[2]]]
                for glass in tests
            ]
        )
        score = partial(
            score_intervals, regions=regions, n_resamples=N_RESAMPLES, seed=self.options.seed
        )
        qs = np.concatenate([one.qs[np.isfinite(one.qs)] for one in learned])
        leading = [
            one.leading_qs[np.isfinite(one.leading_qs)]
            for one in learned
            if one.leading_qs is not None
        ]
        trained = np.concatenate([glass.rows()[1] for glass in train_on])
        guesses = baseline_scores(trained, len(label), self.options.seed)
        # all test glasses have the same models
        each = np.concatenate(
            [_single_models(one, on) for one, on in zip(learned, tests, strict=True)], axis=1
        )
        pooled = _metric_rows(
            POOLED,
            score(label, qs),
            score(label, np.concatenate(leading)) if leading else {},
            {name: score(label, guess) for name, guess in guesses.items()},
            single=single_scores(label, each, regions, N_RESAMPLES, self.options.seed),
        )
        return pooled + metrics

    def page(self, results: Results) -> str:
        """Return the report of the test glass, or of all after the pooled scores."""
        target, tests = self.options.out / "softness", self.options.test
        if len(tests) == 1:
            return (target / "report.html").read_text(encoding="utf-8")
        folders = [target, *(target / store.stem for store in tests[1:])]
        return several_pages(results, folders).render()


def _saved_files(folder: Path) -> list[Path]:
    """Files of ``Softness.save`` that ``Softness.load`` needs."""
    files = [*folder.glob("*qs.npy"), *folder.glob("model-*/*")]
    return [folder / "summary.json", folder / "card.json", *files]


def _single_models(softness: Softness, glass: Glass) -> FloatArray:
    """Probabilities of the single models of QS (model,row) on the rows of a glass."""
    columns = glass.columns()
    return softness.each(glass.rows()[0][:, [columns.index(name) for name in softness.columns]])


def _metric_rows(
    test: str,
    metrics: Mapping[str, Any],
    leading: Mapping[str, Any],
    baselines: Mapping[str, Mapping[str, Any]],
    *,
    all_columns: Mapping[str, Any] | None = None,
    single: Mapping[str, Any] | None = None,
    leading_single: Mapping[str, Any] | None = None,
) -> list[Metric]:
    rows = metrics_of("softness", test, metrics)
    rows += _single_rows("softness", test, single)
    rows += metrics_of(LEADING, test, leading)
    rows += _single_rows(LEADING, test, leading_single)
    rows += metrics_of("softness, all columns", test, all_columns or {})
    for name, intervals in baselines.items():
        rows += metrics_of(f"baseline: {name.replace('_', ' ')}", test, intervals)
    return rows


def _single_rows(model: str, test: str, single: Mapping[str, Any] | None) -> list[Metric]:
    """Mean metrics of single models, which the paper reports."""
    return [
        Metric(
            model=model,
            test=test,
            name=f"{name} of single models",
            value=one["mean"],
            low=one["single"]["low"],
            high=one["single"]["high"],
        )
        for name, one in (single or {}).items()
    ]


class ComparisonStudy(Study[ComparisonOptions]):
    """Compare feature sets on the same atoms, splits and undersamples.

    Tables and figures are in ``OUT/compare``. The boxes of Fig. 5a are over the test
    glasses, or over the single models if there is one glass.

    Parameters
    ----------
    options
        All options of the study.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 5a.
    """

    def compute(self, stages: StageRunner, client: Client | None, progress: bool) -> Outcome:
        """Prepare all sets, compare them, and optionally vary the training atoms."""
        options = self.options
        # the comparison in the other direction goes to the same folder
        name = options.test[0].stem if len(options.test) == 1 else "glasses"
        target = options.out / "compare" / name
        stores, sets = list(dict.fromkeys([*options.train, *options.test])), options.sets or None

        def prepare(_: StageTimer | None = None) -> dict[str, list[Glass]]:
            return prepare_sets(stores, options.out, sets, client=client, **options.glass())

        prepared = stages("labels, features", prepare, load=prepare)

        def score(_: StageTimer) -> dict[str, Any]:
            table = compare_glasses(
                options.train,
                options.test,
                options.out,
                labels=None if options.labels is None else read_labels(options.labels),
                sets=sets,
                single_models=options.single_models,
                learning=options.learning(),
                seed=options.seed,
                client=client,
                progress=progress,
                **options.glass(),
            )
            mean = mean_over_glasses(table, seed=options.seed)
            several = len(options.test) > 1
            path = write_table(table if several else table.isel(test=0), target)
            write_table(mean, beside(target, "-mean"))
            written = [
                compare_figure(one, beside(target, f"{end}.png"))
                for one, end in _glass_tables(table)
            ]
            written.append(box_figure(table, beside(target, "-boxes.png")))
            metrics = [
                metric
                for test in table["test"].values
                for name in table["set"].values
                for metric in _table_rows(str(name), str(test), table.sel(test=test, set=name))
            ]
            pooled = [
                metric
                for name in mean["set"].values
                for metric in _table_rows(str(name), POOLED, mean.sel(set=name))
            ]
            text = mean[list(COMPARED_NUMBERS)].to_dataframe().round(3).to_string()
            return {
                "metrics": [
                    one.model_dump() for one in (*pooled, *metrics, *self.baselines(prepared))
                ],
                "text": f"{text}\ntable {path}, figures {', '.join(map(str, written))}",
                "figures": [one.name for one in written],
            }

        def grow(_: StageTimer) -> dict[str, Any]:
            glasses = self.of_test(next(iter(prepared.values())), 0)
            table = score_growth(
                glasses[:-1],
                glasses[-1],
                fractions=options.growth or (),
                learning=options.learning(),
                seed=options.seed,
            )
            grown = target.with_name(f"{options.test[0].stem}-growth")
            path = write_table(table, grown)
            figure = growth_figure(table, grown.with_name(f"{grown.name}.png"))
            columns = ["mean", "mean_low", "mean_high", "deviation", "plastic"]
            text = table[columns].to_dataframe().round(3).to_string()
            return {"text": f"{text}\ntable {path}, figure {figure}"}

        ends = (".csv", ".json", "-mean.csv", "-mean.json", "-boxes.png")
        compared = stages(
            "comparison", score, outputs=lambda: [beside(target, end) for end in ends]
        )
        lines = [compared["text"]]
        if options.growth:
            lines.append(stages("growth", grow)["text"])
        return Outcome([Metric(**row) for row in compared["metrics"]], "\n".join(lines))

    def page(self, results: Results) -> str:
        """Return the page with Fig. 5a and the table of means."""
        options = self.options
        name = options.test[0].stem if len(options.test) == 1 else "glasses"
        return comparison_page(results, options.out / "compare", name).render()

    def of_test(self, glasses: Sequence[Glass], k: int) -> list[Glass]:
        """Return the training glasses of the k-th test glass, and that glass last."""
        by_name = {glass.name: glass for glass in glasses}
        test = self.options.test[k].stem
        names = dict.fromkeys(store.stem for store in self.options.train)
        return [*(by_name[name] for name in names if name != test), by_name[test]]

    def baselines(self, prepared: Mapping[str, Sequence[Glass]]) -> list[Metric]:
        """Return the metrics of guesses on the atoms that all sets have in common."""
        rows: list[Metric] = []
        for k in range(len(self.options.test)):
            own = [self.of_test(glasses, k) for glasses in prepared.values()]
            glasses = list(zip(*own, strict=True))
            atoms = [common_atoms(one) for one in glasses]
            labels = [one[0].plastic()[kept] for one, kept in zip(glasses, atoms, strict=True)]
            seed, test_on = self.options.seed, glasses[-1][0]
            regions = test_on.regions()[atoms[-1]]
            guesses = baseline_scores(np.concatenate(labels[:-1]), len(labels[-1]), seed)
            intervals = {
                name: score_intervals(labels[-1], guess, regions, N_RESAMPLES, seed)
                for name, guess in guesses.items()
            }
            rows += _metric_rows(test_on.name, {}, {}, intervals)
        if len(self.options.test) == 1:
            rows = [*(one.model_copy(update={"test": POOLED}) for one in rows), *rows]
        return rows


COMPARED_NUMBERS = ("roc_auc", "single_roc_auc", "difference", "difference_low", "difference_high")
"""Columns of the table of means that are printed."""


def beside(target: Path, end: str) -> Path:
    """Return the path with an ending added to its name."""
    return target.with_name(f"{target.name}{end}")


def _glass_tables(table: xr.Dataset) -> list[tuple[xr.Dataset, str]]:
    """Comparison on each test glass, with the end of the name of its picture."""
    about, n = table.attrs, table.sizes["test"]
    keys = ("train", "test", "train_atoms", "train_plastic", "test_atoms", "test_plastic")
    return [
        (
            table.isel(test=k).assign_attrs({key: about[key][k] for key in keys}),
            f"-{about['test'][k]}" if n > 1 else "",
        )
        for k in range(n)
    ]


def _table_rows(model: str, test: str, row: xr.Dataset) -> list[Metric]:
    """Metrics of one row of a table of ``compare``; differences that are defined."""
    return [
        Metric(
            model=model,
            test=test,
            name=METRIC_NAMES[name],
            value=float(row[name]),
            low=float(row[f"{name}_low"]),
            high=float(row[f"{name}_high"]),
        )
        for name in METRIC_NAMES
        if name in row and np.isfinite(row[name])
    ]


METRIC_NAMES = {
    "roc_auc": "roc_auc",
    "recall": "recall",
    "single_roc_auc": "roc_auc of single models",
    "difference": "roc_auc_difference",
    "single_difference": "roc_auc_difference of single models",
    "mro_gain": "roc_auc gain by the medium range",
    "single_mro_gain": "roc_auc gain by the medium range of single models",
}
"""Names in ``results.json`` of the variables of a comparison or a transfer."""
SHOWN = (
    "pairs",
    "roc_auc",
    "single_roc_auc",
    "difference",
    "difference_low",
    "difference_high",
    "single_difference",
)
"""Columns of the table by category that are printed."""


class TransferStudy(Study[TransferOptions]):
    """Test models of each glass on every other glass.

    Tables and the figure are in ``OUT/transfer``. A pooled metric is the mean over all
    pairs of glasses, or over those of a category. Its interval resamples the regions of
    every test glass, and the test glasses if there are at least five.

    Parameters
    ----------
    options
        All options of the study.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 4.
    """

    def compute(self, stages: StageRunner, client: Client | None, progress: bool) -> Outcome:
        """Train and test every pair, and summarize the pairs by category."""
        options = self.options
        target = options.out / "transfer"

        def score(_: StageTimer) -> dict[str, Any]:
            table = transfer(
                options.stores,
                options.out,
                labels=None if options.labels is None else read_labels(options.labels),
                by=options.by,
                reference=options.reference,
                single_models=options.single_models,
                features=options.features[0] if len(options.features) == 1 else options.features,
                columns=options.columns,
                learning=options.learning(),
                seed=options.seed,
                client=client,
                progress=progress,
                **options.glass(),
            )
            path = write_table(table, target / "transfer")
            categories = transfer_by_category(table, seed=options.seed)
            write_table(categories, target / "by-category")
            figure = transfer_figure(table, target / "transfer.png")
            text = categories[list(SHOWN)].to_dataframe().round(3).to_string()
            return {
                "metrics": [one.model_dump() for one in self.metrics(table)],
                "text": f"{text}\ntable {path}, figure {figure}",
            }

        ends = ("transfer.csv", "transfer.json", "by-category.csv", "by-category.json")
        names = (*ends, "transfer.png")
        scored = stages("transfer", score, outputs=lambda: [target / name for name in names])
        return Outcome([Metric(**row) for row in scored["metrics"]], scored["text"])

    def metrics(self, table: xr.Dataset) -> list[Metric]:
        """Return the metrics of every pair, of means over pairs, and of guesses."""
        rows: list[Metric] = []
        for name in table["set"].values if "set" in table.dims else [None]:
            one = table if name is None else table.sel(set=name)
            rows += self._set_metrics(one, "" if name is None else f"{name}: ")
        # exact for guesses that use no column
        recalls = {"random": 0.5, "most frequent": 0.0, "minority": 1.0}
        guesses = [
            Metric(model=f"baseline: {kind}", test=POOLED, name=name, value=value)
            for kind, recall in recalls.items()
            for name, value in (("roc_auc", 0.5), ("recall", recall))
        ]
        pooled = [row for row in rows if row.test == POOLED]
        return pooled + guesses + [row for row in rows if row.test != POOLED]

    def page(self, results: Results) -> str:
        """Return the page with Fig. 4 and the table by category."""
        return transfer_page(results, self.options.out / "transfer").render()

    def _set_metrics(self, table: xr.Dataset, prefix: str) -> list[Metric]:
        trained = table["train_atoms"].values > 0
        kinds = {"mean over pairs": trained}
        for name in CATEGORIES:
            if (mask := table["category"].values == name).any():
                kinds[f"mean over pairs: {name}"] = mask
        rows = []
        for kind, mask in kinds.items():
            pooled = pooled_pairs(table, mask, seed=self.options.seed)
            rows += [
                Metric(
                    model=prefix + kind,
                    test=POOLED,
                    name=METRIC_NAMES[name],
                    value=pooled[name],
                    low=pooled[f"{name}_low"],
                    high=pooled[f"{name}_high"],
                )
                for name in METRIC_NAMES
                if name in pooled
            ]
        for train, test in zip(*np.nonzero(trained), strict=True):
            pair = table.isel(train=train, test=test)
            rows += _table_rows(
                f"{prefix}trained on {table['train'].values[train]}",
                str(table["test"].values[test]),
                pair,
            )
        return rows
