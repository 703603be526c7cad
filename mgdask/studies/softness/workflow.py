"""The softness studies, from stores of deformed glasses to scores, tables and pages.

Each study calls the other modules of this folder: Wang, Jain, Nat. Commun. 10, 5537
(2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mgdask.learn.evaluation.metrics import baseline_scores
from mgdask.studies.results import POOLED, Metric, Results
from mgdask.studies.softness.compared_sets import prepare_sets
from mgdask.studies.softness.comparison import (
    common_atoms,
    compare_glasses,
    mean_over_glasses,
    write_table,
)
from mgdask.studies.softness.comparison_report import comparison_page, transfer_page
from mgdask.studies.softness.conditions import CATEGORIES
from mgdask.studies.softness.data import Glass
from mgdask.studies.softness.figures import (
    box_figure,
    compare_figure,
    growth_figure,
    transfer_figure,
)
from mgdask.studies.softness.growth import score_growth
from mgdask.studies.softness.options import ComparisonOptions, TransferOptions
from mgdask.studies.softness.softness_study import N_RESAMPLES, metric_rows
from mgdask.studies.softness.softness_study import SoftnessStudy as SoftnessStudy
from mgdask.studies.softness.softness_study import study_softness as study_softness
from mgdask.studies.softness.training import score_intervals
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


class ComparisonStudy(Study[ComparisonOptions]):
    """Compare feature sets on the same atoms, splits and undersamples.

    Tables and figures are in ``OUT/compare``. The boxes of Fig. 5a show the spread over
    the test glasses. With one test glass, they show the spread over its single models.

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
            rows += metric_rows(test_on.name, {}, {}, intervals)
        if len(self.options.test) == 1:
            rows = [*(one.model_copy(update={"test": POOLED}) for one in rows), *rows]
        return rows


COMPARED_NUMBERS = ("roc_auc", "single_roc_auc", "difference", "difference_low", "difference_high")
"""Columns of the table of means that are printed."""


def beside(target: Path, end: str) -> Path:
    """Return the path with an ending added to its name."""
    return target.with_name(f"{target.name}{end}")


def _glass_tables(table: xr.Dataset) -> list[tuple[xr.Dataset, str]]:
    """Return the comparison on each test glass, with the suffix of its figure."""
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
    """Return the metrics in one row of a table of ``compare``, if they are defined."""
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
    every test glass. If there are at least five test glasses, it resamples these, too.

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
