"""What every study is, shown on a toy study that touches its own file and one line of the registry."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from click.testing import CliRunner
from pydantic import Field

import mgdask
from mgdask.cli import cli
from mgdask.errors import MgdaskError, ParameterError, StoreError
from mgdask.store.lock import lock_file, locked
from mgdask.studies import options as options_module
from mgdask.studies import registry, results, stages, timing
from mgdask.studies.options import OptionError, command_line
from mgdask.studies.registry import available, get_options, get_study, register
from mgdask.studies.results import Results
from mgdask.studies.study import (
    POOLED,
    CommandLine,
    Metric,
    Outcome,
    Study,
    StudyOptions,
    options_table,
)

CALLS: list[str] = []
KILL: list[str] = []


class ToyOptions(StudyOptions):
    """Options of the toy study."""

    study: ClassVar[str] = "toy"
    summary: ClassVar[str] = "Count the words of files."
    texts: Annotated[tuple[Path, ...], CommandLine(argument="TEXTS")] = Field(
        min_length=1, description="Files to count."
    )
    n_repeats: Annotated[int, CommandLine("--times")] = Field(
        2, ge=1, description="Number of times."
    )
    kind: Literal["words", "lines"] = Field("words", description="What to count.")
    scale: float = Field(1.0, description="Factor of all counts.")
    loud: bool = Field(False, description="Shout.")


class ToyStudy(Study[ToyOptions]):
    """Counts words in two stages."""

    def compute(self, stages, client, progress):
        options = self.options

        def stage(name, value):
            def compute(timer):
                if name in KILL:
                    raise KeyboardInterrupt
                CALLS.append(name)
                (options.out / f"{name}.txt").write_text(str(value()))
                return value()

            return stages(name, compute, outputs=lambda: [options.out / f"{name}.txt"])

        options.out.mkdir(parents=True, exist_ok=True)
        counted = stage(
            "count", lambda: sum(len(text.read_text().split()) for text in options.texts)
        )
        total = stage("scale", lambda: counted * options.n_repeats * options.scale)
        metrics = [
            Metric(model="counter", test=POOLED, name="count", value=total, low=total, high=total),
            Metric(model="baseline: none", test=POOLED, name="count", value=float("nan")),
        ]
        return Outcome(metrics, f"{total:g} {options.kind}")


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    CALLS.clear()
    KILL.clear()
    # other tests in this process must not see the toy study
    monkeypatch.setattr(registry, "STUDIES", dict(registry.STUDIES))
    register("toy", __name__, study="ToyStudy", options="ToyOptions")


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("three short words")
    return path


def run(text, out, **options):
    return ToyStudy(ToyOptions(texts=[text], out=out, **options)).run()


def test_results_and_page_are_written(text, tmp_path):
    found = run(text, tmp_path / "out")
    plain = json.loads((tmp_path / "out" / "results.json").read_text())
    assert Results.model_validate(plain) == found
    assert Results.read(tmp_path / "out") == found
    assert set(plain) == set(Results.model_json_schema()["properties"])
    for row in plain["metrics"]:
        assert list(row) == ["model", "test", "name", "value", "low", "high", "unit"]
    assert plain["metrics"][0]["value"] == 6.0
    assert plain["metrics"][1]["value"] is None
    assert plain["options"]["n_repeats"] == 2
    assert list(plain["inputs"]) == ["texts text"]
    assert set(plain["timing"]) == {"count", "scale"}
    assert "baseline: none" in (tmp_path / "out" / "report.html").read_text()
    assert str(found) == "6 words"


def test_finished_stages_are_skipped(text, tmp_path):
    first = run(text, tmp_path / "out")
    assert CALLS == ["count", "scale"]
    assert run(text, tmp_path / "out") == first
    assert CALLS == ["count", "scale"]
    # other options, other inputs, a changed or missing output: all of it is done again
    assert run(text, tmp_path / "out", scale=2.0).metrics[0].value == 12
    assert CALLS == ["count", "scale"] * 2
    text.write_text("two words")
    assert run(text, tmp_path / "out", scale=2.0).metrics[0].value == 8
    assert CALLS == ["count", "scale"] * 3
    (tmp_path / "out" / "scale.txt").write_text("changed by hand")
    run(text, tmp_path / "out", scale=2.0)
    (tmp_path / "out" / "scale.txt").unlink()
    run(text, tmp_path / "out", scale=2.0)
    assert [*["count", "scale"] * 3, "scale", "scale"] == CALLS
    # a torn record is not a record
    record = tmp_path / "out" / "toy" / "progress" / "scale.json"
    record.write_text(record.read_text()[:40])
    run(text, tmp_path / "out", scale=2.0)
    assert CALLS[-3:] == ["scale"] * 3


def test_a_killed_study_resumes_and_gives_the_same(text, tmp_path):
    KILL.append("scale")
    with pytest.raises(KeyboardInterrupt):
        run(text, tmp_path / "out")
    assert CALLS == ["count"]
    assert not (tmp_path / "out" / "results.json").exists()
    KILL.clear()
    resumed = run(text, tmp_path / "out")
    assert CALLS == ["count", "scale"]
    whole = run(text, tmp_path / "other")
    assert resumed.metrics == whole.metrics
    assert resumed.digest == whole.digest


def test_the_date_is_that_of_the_first_run(text, tmp_path, monkeypatch):
    """A study that is run again or resumed writes the same bytes on another day."""

    class Clock(datetime):
        day = 1

        @classmethod
        def now(cls, zone):
            return cls(2026, 3, cls.day, tzinfo=zone)

    monkeypatch.setattr(stages, "datetime", Clock)
    out = tmp_path / "out"
    assert run(text, out).date == "2026-03-01"
    before = {name: (out / name).read_bytes() for name in ("results.json", "report.html")}
    Clock.day = 2
    assert run(text, out).date == "2026-03-01"
    assert before == {name: (out / name).read_bytes() for name in before}
    assert run(text, out, scale=2.0).date == "2026-03-02"


def test_the_page_says_where_it_comes_from(text, tmp_path):
    found = run(text, tmp_path / "out", seed=7)
    page = (tmp_path / "out" / "report.html").read_text()
    content = hashlib.sha256(text.read_bytes()).hexdigest()[:12]
    for label, words in (
        ("mgdask", mgdask.__version__),
        ("date", found.date),
        ("seed", "7"),
        ("texts text", f"content {content}…"),
    ):
        assert f"<dt>{label}</dt><dd>{words}</dd>" in page


def test_stores_are_described_by_their_composition(glass_store):
    assert stages.describe_input(Path(glass_store)) == "2000 atoms, Cu 1120 (56 %), Zr 880 (44 %)"


def test_a_folder_is_that_of_one_process(text, tmp_path):
    study = ToyStudy(ToyOptions(texts=(text,), out=tmp_path / "out"))
    with locked(tmp_path / "out"), pytest.raises(StoreError, match="out is being written by"):
        study.run()
    assert not (tmp_path / "out").exists()
    study.run()
    assert not lock_file(tmp_path / "out").exists()


def test_a_folder_is_that_of_one_study(text, tmp_path):
    run(text, tmp_path / "out")
    run(text, tmp_path / "out", scale=2.0)  # the same study may replace its own results
    page = (tmp_path / "out" / "report.html").read_bytes()
    plain = json.loads((tmp_path / "out" / "results.json").read_text())
    other = json.dumps({**plain, "study": "softness"})
    (tmp_path / "out" / "results.json").write_text(other)
    CALLS.clear()
    with pytest.raises(
        ParameterError, match=r"results of the study 'softness'; the study 'toy' would overwrite"
    ):
        run(text, tmp_path / "out")
    assert CALLS == []
    assert (tmp_path / "out" / "results.json").read_text() == other
    assert (tmp_path / "out" / "report.html").read_bytes() == page
    (tmp_path / "out" / "results.json").write_text("torn")
    assert run(text, tmp_path / "out").metrics[0].value == 6


def test_the_command_is_generated(text, tmp_path):
    runner, out = CliRunner(), str(tmp_path / "out")
    shown = runner.invoke(cli, ["study", "toy", "--help"]).output
    assert "Count the words of files." in shown
    for line in (
        "--times INTEGER",
        "--kind [words|lines]",
        "--loud",
        "--scale FLOAT",
        "[default: 2]",
        "TEXTS...",
    ):
        assert line in shown
    assert "toy" in runner.invoke(cli, ["study", "--help"]).output
    words = ["study", "toy", str(text), "--out", out, "--workers", "1"]
    done = runner.invoke(cli, [*words, "--times", "3"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "9 words" in done.output
    assert Results.read(out).options["n_repeats"] == 3


def test_options_from_a_file(text, tmp_path):
    file, out = tmp_path / "options.yaml", str(tmp_path / "out")
    file.write_text(f"texts: [{text}]\nout: {out}\ntimes: 4\nscale: 0.5\nworkers: 1\n")
    words = ["study", "toy", "--options", str(file)]
    assert CliRunner().invoke(cli, words, catch_exceptions=False).exit_code == 0
    assert Results.read(out).metrics[0].value == 6
    # the command line takes precedence
    assert CliRunner().invoke(cli, [*words, "--times", "2"]).exit_code == 0
    assert Results.read(out).metrics[0].value == 3
    file.write_text("time: 4\n")
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2
    assert "unknown option 'time'" in done.output


def test_errors_name_the_option_as_typed(text, tmp_path):
    words = ["study", "toy", str(text), "--out", str(tmp_path)]
    done = CliRunner().invoke(cli, [*words, "--times", "0"])
    assert done.exit_code == 2
    assert "--times=0: Input should be greater than or equal to 1" in done.output
    assert "Missing option '--out'" in CliRunner().invoke(cli, words[:3]).output
    with pytest.raises(OptionError, match="n_repeats=0: Input should be"):
        ToyOptions(texts=[text], out=tmp_path, n_repeats=0)
    with pytest.raises(ParameterError, match="unknown option repeats; the options are"):
        ToyOptions(texts=[text], out=tmp_path, repeats=0)
    softness = ["study", "softness", "--train", "a", "--test", "b", "--out", str(tmp_path)]
    done = CliRunner().invoke(cli, [*softness, "--folds", "1"])
    assert "--folds=1 must be at least 2" in done.output
    assert "set --wanted=0 and --trials=0" in done.output


def test_registry():
    assert available()[:3] == ("softness", "compare", "transfer")
    assert get_study("toy") is ToyStudy
    assert get_options("toy") is ToyOptions
    assert mgdask.studies.get_study("softness") is mgdask.studies.SoftnessStudy
    with pytest.raises(ParameterError, match="no study 'wrong'"):
        get_study("wrong")
    with pytest.raises(ParameterError, match="already defined"):
        register("softness", __name__, study="ToyStudy", options="ToyOptions")
    for name in available():
        assert get_study(name).compute is not Study.compute
        for field, info in get_options(name).model_fields.items():
            assert info.description, f"{name}: {field}"


@pytest.mark.parametrize("name", ["softness", "compare", "transfer", "temperature"])
def test_options_that_are_not_typed_have_their_defaults(monkeypatch, tmp_path, name):
    """``mgdask study transfer`` without --features was given none, and refused itself."""
    options, seen = get_options(name), []
    monkeypatch.setattr("mgdask.cli.study.get_study", lambda _: seen.append)
    monkeypatch.setattr("mgdask.studies.study.check_study", lambda _: {})
    monkeypatch.setattr("mgdask.cli.study.check_store_exists", lambda _: None)
    given, words = {"out": tmp_path}, ["--out", str(tmp_path)]
    for field, info in options.model_fields.items():
        if info.is_required() and field != "out":
            given[field] = ["a", "b"]
            typed = command_line(field, info)
            words += ["a", "b"] if typed.argument else [typed.option, "a", typed.option, "b"]
    CliRunner().invoke(cli, ["study", name, *words])
    assert seen == [options(**given)]


def test_a_missing_file_is_not_called_a_store(tmp_path):
    for name, message in (("l.csv", "l.csv does not exist"), ("l.zarr", "is not a Zarr store")):
        options = get_options("transfer")(stores=[tmp_path / name], out=tmp_path / "out")
        with pytest.raises(MgdaskError, match=message):
            get_study("transfer")(options).run(progress=False)


def test_help_shows_the_default_of_a_repeated_option():
    shown = CliRunner().invoke(cli, ["study", "transfer", "--help"]).output
    assert "Feature set; repeat for several. [default: interstice]" in " ".join(shown.split())


def test_table_of_options():
    table = options_table("toy").splitlines()
    assert "| `TEXTS` | `texts` | path, repeatable | required | Files to count. |" in table
    assert "| `--times` | `n_repeats` | integer | 2 | Number of times. |" in table
    assert "| `--kind` | `kind` | `words` or `lines` | words | What to count. |" in table
    for name in ("softness", "transfer", "barcode", "temperature"):
        fields = get_options(name).model_fields
        assert len(options_table(name).splitlines()) == 2 + len(fields)


def test_examples():
    import doctest

    for module in (options_module, registry, results, timing):
        assert doctest.testmod(module).failed == 0
