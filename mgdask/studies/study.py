"""Base class of the studies: an options model in, metrics and a report page out.

A study is a folder of its own, a subclass of ``Study``, and one line in
``mgdask.studies.registry``. The command line, the tables in the manual, and resuming
after an interruption follow from these.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from mgdask import _html
from mgdask._version import __version__
from mgdask.errors import ParameterError
from mgdask.store.lock import locked
from mgdask.store.provenance import digest
from mgdask.store.source_checks import check_source
from mgdask.store.trust import TRUSTED, is_trusted, trusting
from mgdask.store.writable import check_writable
from mgdask.studies.options import CommandLine, OptionError, StudyOptions, markdown_table
from mgdask.studies.registry import get_options
from mgdask.studies.results import POOLED, Metric, Results, about_rows, metrics_html, metrics_of
from mgdask.studies.stages import StageRunner, describe_input, fingerprint, write_text

if TYPE_CHECKING:
    from mgdask.cluster.client import Client

__all__ = [
    "POOLED",
    "CommandLine",
    "Metric",
    "OptionError",
    "Outcome",
    "Results",
    "StageRunner",
    "Study",
    "StudyOptions",
    "metrics_of",
    "options_table",
]

Options = TypeVar("Options", bound=StudyOptions)


class Outcome(NamedTuple):
    """Return value of ``Study.compute``: the metrics, and the results in words.

    Parameters
    ----------
    metrics
        Metrics of all models and baselines.
    summary
        Results in words, as printed by ``Results``.
    """

    metrics: Sequence[Metric]
    summary: str = ""

    def _repr_html_(self) -> str:
        return metrics_html("Outcome", self.metrics, self.summary.splitlines())


class Study(ABC, Generic[Options]):
    """Base class of a study; a subclass implements ``compute``.

    Parameters
    ----------
    options
        All options of the study.

    Examples
    --------
    >>> options = SoftnessOptions(  # doctest: +SKIP
    ...     train=["glass_1.zarr"], test="glass_2.zarr", out="softness"
    ... )
    >>> results = SoftnessStudy(options).run()  # doctest: +SKIP
    >>> results.metrics[0].value  # doctest: +SKIP
    0.681
    """

    def __init__(self, options: Options) -> None:
        self.options = options

    @abstractmethod
    def compute(self, stages: StageRunner, client: Client | None, progress: bool) -> Outcome:
        """Compute the results, stage by stage.

        Parameters
        ----------
        stages
            Runs each stage, or skips it if an earlier run has finished it.
        client
            Dask client. None: the current one, or else threads of this process.
        progress
            Whether to report progress on standard error.

        Returns
        -------
        outcome
            Metrics, baselines included, and a summary.
        """

    def _repr_html_(self) -> str:
        options = self.options
        shown = options.model_dump(mode="json", exclude_defaults=True)
        rows = [(name, _option_text(value)) for name, value in shown.items()]
        step = (
            f"finished: Results.read({str(options.out)!r})"
            if (Path(options.out) / "results.json").is_file()
            else "not finished: call .run()"
        )
        return _html.table(f"Study: {type(options).study}", rows, [step])

    def page(self, results: Results) -> str:
        """Return the report page as HTML; by default it has the table of metrics."""
        return results.page().render()

    def about(self, stages: StageRunner) -> list[tuple[str, str]]:
        """Return version, date, seed and data, for a page written in a stage."""
        inputs = {label: fingerprint(path) for label, path in self._inputs().items()}
        return about_rows(__version__, stages.date, self.options.seed, inputs, self._data())

    def _inputs(self) -> dict[str, Path]:
        """Return the paths of all inputs by option and name."""
        return {
            f"{option} {path.stem}": path
            for option, paths in self.options.paths().items()
            for path in paths
        }

    def _data(self) -> dict[str, str]:
        return {label: describe_input(path) for label, path in self._inputs().items()}

    def run(
        self, client: Client | None = None, *, trust: bool = False, progress: bool = True
    ) -> Results:
        """Run the study, and write ``results.json`` and ``report.html`` to its folder.

        A stage that an earlier run has finished with the same options and inputs is
        skipped. To resume a study that was killed, run it again.

        Parameters
        ----------
        client
            Dask client. Default: the current one, or else threads of this process.
        trust
            Read stores without comparing their files with their records. A damaged file
            may then give wrong results.
        progress
            Whether to report progress on standard error.

        Returns
        -------
        results
            Content of ``results.json``.

        Raises
        ------
        StoreError
            If an input is missing or unfinished, or another process runs a study in the
            same folder.
        ParameterError
            If the folder holds the results of another study.
        """
        with trusting(trust), locked(self.options.out):
            return self._run(client, progress)

    def _run(self, client: Client | None, progress: bool) -> Results:
        options, name = self.options, type(self.options).study
        inputs = check_study(options)
        for path in self._inputs().values():
            if not path.is_file():
                check_source(path)
        identity = digest([name, __version__, options.parameters(), inputs])
        # a later run may add stages, and then repeats no other
        common = {
            key: value
            for key, value in options.parameters().items()
            if key not in options.adding_stages
        }
        read = {
            key: value
            for key, value in inputs.items()
            if key.partition(" ")[0] not in options.adding_stages
        }
        stages = StageRunner(
            options.out, options.out / name / "progress", digest([name, __version__, common, read])
        )
        outcome = self.compute(stages, client, progress)
        results = Results(
            study=name,
            version=__version__,
            options=options.model_dump(mode="json"),
            inputs=inputs,
            digest=identity,
            date=stages.date,
            data=self._data(),
            metrics=tuple(outcome.metrics),
            timing=stages.timer.seconds,
            summary="\n".join(filter(None, (outcome.summary, _trusted_line()))),
        )
        write_text(options.out / "report.html", self.page(results))
        write_text(options.out / "results.json", results.to_json())
        return results


def _option_text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _trusted_line() -> str:
    return f"inputs: {TRUSTED}" if is_trusted() else ""


def check_study(options: StudyOptions) -> dict[str, str]:
    """Check the inputs and the folder of a study before anything is computed.

    Parameters
    ----------
    options
        All options of the study.

    Returns
    -------
    inputs
        Digest of each file and store, keyed by its option and name.

    Raises
    ------
    StoreError
        If an input is missing or unfinished, or the folder cannot be written.
    ParameterError
        If the folder is a file or a store, or holds the results of another study. Also
        if the inputs do not suit the options.
    """
    _check_folder(options.out)
    refuse_other_study(options.out, type(options).study)
    check_writable(options.out)
    inputs = {
        f"{option} {path.stem}": fingerprint(path)
        for option, paths in options.paths().items()
        for path in paths
    }
    options.check_inputs()
    return inputs


def _check_folder(out: Path) -> None:
    """Raise ``ParameterError`` if the folder of a study is a file or a store."""
    if out.is_file():
        raise ParameterError(
            f"out={str(out)!r} is a file; a study writes into a folder of its own. Give another "
            f"name, such as {str(out.with_suffix(''))!r}"
        )
    if (out / "zarr.json").exists() or (out / "manifest").is_dir():
        raise ParameterError(
            f"out={str(out)!r} is a store; results written into it would be lost with it. Give a "
            f"folder of its own, such as {str(out.with_suffix('')) + '-study'!r}"
        )


def refuse_other_study(out: Path, name: str) -> None:
    """Raise ``ParameterError`` if a folder holds the results of another study.

    Two studies in one folder would replace each other's ``results.json`` and
    ``report.html``. The same study with other options may replace its own.
    """
    try:
        plain = json.loads((out / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    other = plain.get("study") if isinstance(plain, dict) else None
    if isinstance(other, str) and other != name:
        raise ParameterError(
            f"out={str(out)!r} holds the results of the study {other!r}; the study {name!r} would "
            f"overwrite its results.json and report.html. Give another folder, such as "
            f"{str(out / name)!r}"
        )


def options_table(name: str) -> str:
    """Return the options of a study as a Markdown table, for the manual.

    Parameters
    ----------
    name
        Name of the study in the registry.

    Returns
    -------
    text
        One row per option: spelling, name in Python, type, default, and meaning.

    Raises
    ------
    ParameterError
        If there is no such study.

    Examples
    --------
    >>> print(options_table("softness").splitlines()[0])
    | option | in Python | type | default | meaning |
    """
    return markdown_table(get_options(name))
