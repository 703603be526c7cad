"""The softness study: from stores of deformed glasses to scores, models and a report.

Wang, Jain, Nat. Commun. 10, 5537 (2019).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._typing import FloatArray
from mgdask.errors import ParameterError
from mgdask.features import Feature
from mgdask.learn.evaluation.metrics import baseline_scores
from mgdask.learn.predict import predict
from mgdask.report.json import to_plain
from mgdask.store.open import check_complete
from mgdask.studies.results import POOLED, Metric, Results, metrics_of
from mgdask.studies.softness.compared_sets import species_of
from mgdask.studies.softness.data import Glass, check_glass, prepare_glass
from mgdask.studies.softness.glasses import glass_spectrum, score_glass
from mgdask.studies.softness.options import SoftnessOptions
from mgdask.studies.softness.repeats import measured_ceiling
from mgdask.studies.softness.report import several_pages, softness_report
from mgdask.studies.softness.simple_model import LOGISTIC, MINUS, pooled_simple_text
from mgdask.studies.softness.training import (
    Softness,
    learn_and_test,
    learn_softness,
    renamed_learning,
    score_differences,
    score_intervals,
    single_scores,
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
        self.check_glasses()

        def prepare(_: StageTimer | None = None) -> list[Glass]:
            stores = (*options.train, *options.test)
            features = self.features()
            for store in stores:  # all of them, before the first is computed
                check_glass(store, **options.glass())
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
                        about=self.about(stages),
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
        metrics = self.metrics(learned, train_on, tests)
        # the score first: it begins with the simple model if that is as good
        texts = [f"{softness}\n{glass}" for softness, glass, _ in tested]
        if len(tested) > 1 and (pooled := pooled_simple_text(metrics)):
            texts.insert(0, f"All test glasses together: {pooled}")
        text = "\n".join(texts)
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
        self.check_glasses()
        for store in options.glasses:
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

    def check_glasses(self) -> None:
        """Raise ``ParameterError`` if another glass or run is already in the study.

        A training glass is not a test, and a run cannot be a repeat of itself. Results
        are stored by the name of the store, so names must differ, too.
        """
        options = self.options
        others = [("glasses", store) for store in options.glasses]
        others += [("repeats", store) for store in options.repeats]
        known = [*options.train, *options.test] if others else []
        digests, names = {check_complete(store)[1] for store in known}, {k.stem for k in known}
        for option, store in others:
            digest = check_complete(store)[1]
            if digest in digests or store.stem in names:
                raise ParameterError(
                    f"{store} in `{option}` is already a glass of this study, or has the name of "
                    "one; give another glass, or rename its store"
                )
            digests.add(digest)
            names.add(store.stem)

    def features(self, stores: Sequence[Path] = ()) -> list[Feature]:
        """Return the features that the options ask for.

        ``stores`` has the species; by default the first test glass.
        """
        return self.options.list_features(species_of(stores or self.options.test[:1]))

    def metrics(
        self, learned: Sequence[Softness], train_on: Sequence[Glass], tests: Sequence[Glass]
    ) -> list[Metric]:
        """Return the metrics of all models and baselines, by test glass and pooled."""
        metrics = []
        for softness in learned:
            metrics += metric_rows(
                softness.test,
                softness.metrics,
                softness.leading_metrics,
                softness.baselines,
                all_columns=softness.all_metrics,
                single=softness.single,
                leading_single=softness.leading_single,
                minus_logistic=softness.minus_logistic,
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
        simple = [
            one.logistic_qs[np.isfinite(one.logistic_qs)]
            for one in learned
            if one.logistic_qs is not None
        ]
        minus: dict[str, Any] = {}
        if len(simple) == len(learned):  # files of an older version have none
            guesses[LOGISTIC] = np.concatenate(simple)
            minus = score_differences(
                label, qs, guesses[LOGISTIC], regions, N_RESAMPLES, self.options.seed
            )
        pooled = metric_rows(
            POOLED,
            score(label, qs),
            score(label, np.concatenate(leading)) if leading else {},
            {name: score(label, guess) for name, guess in guesses.items()},
            single=single_scores(label, each, regions, N_RESAMPLES, self.options.seed),
            minus_logistic=minus,
        )
        return pooled + metrics

    def page(self, results: Results) -> str:
        """Return the report of the test glass, or of all with the pooled scores."""
        target, tests = self.options.out / "softness", self.options.test
        if len(tests) == 1:
            return (target / "report.html").read_text(encoding="utf-8")
        folders = [target, *(target / store.stem for store in tests[1:])]
        return several_pages(results, folders).render()


def _saved_files(folder: Path) -> list[Path]:
    """Return the files written by ``Softness.save`` that ``Softness.load`` needs."""
    files = [*folder.glob("*qs.npy"), *folder.glob("model-*/*")]
    return [folder / "summary.json", folder / "card.json", *files]


def _single_models(softness: Softness, glass: Glass) -> FloatArray:
    """Return the probabilities (model,row) of the single models on a glass."""
    columns = glass.columns()
    return softness.each(glass.rows()[0][:, [columns.index(name) for name in softness.columns]])


def metric_rows(
    test: str,
    metrics: Mapping[str, Any],
    leading: Mapping[str, Any],
    baselines: Mapping[str, Mapping[str, Any]],
    *,
    all_columns: Mapping[str, Any] | None = None,
    single: Mapping[str, Any] | None = None,
    leading_single: Mapping[str, Any] | None = None,
    minus_logistic: Mapping[str, Any] | None = None,
) -> list[Metric]:
    """Return the metrics of a test glass: of QS, of other columns and of baselines."""
    rows = metrics_of("softness", test, metrics)
    rows += _single_rows("softness", test, single)
    rows += metrics_of(LEADING, test, leading)
    rows += _single_rows(LEADING, test, leading_single)
    rows += metrics_of("softness, all columns", test, all_columns or {})
    for name, intervals in baselines.items():
        rows += metrics_of(f"baseline: {name.replace('_', ' ')}", test, intervals)
    differences = {f"{name}{MINUS}": one for name, one in (minus_logistic or {}).items()}
    return rows + metrics_of("softness", test, differences)


def _single_rows(model: str, test: str, single: Mapping[str, Any] | None) -> list[Metric]:
    """Return the mean metrics of single models, which the paper reports."""
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
