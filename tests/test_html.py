"""HTML for notebooks, read back by the standard library's parser."""

from __future__ import annotations

import re

import pytest

import mgdask
from mgdask import _html
from tests.html_checks import Page, shown

BAD = "<script>alert('x')</script> & \"quoted\""


@pytest.mark.parametrize(
    "html",
    [
        _html.table(BAD, [(BAD, BAD), ("next", "value")], [BAD]),
        _html.grid(BAD, [BAD, "second"], [[BAD, BAD], ["next", "value"]], [BAD]),
    ],
    ids=["table", "grid"],
)
def test_every_text_is_shown_as_it_is(html):
    page = Page(html)
    assert "script" not in page.tags
    assert page.texts.count(BAD) == (4 if "second" not in page.texts else 5)
    assert {"next", "value"} <= set(page.texts)


def test_rows_and_notes_keep_their_order():
    assert Page(_html.table("a", [("b", "c"), ("d", "e")], ["f", "g"])).texts == list("abcdefg")
    assert Page(_html.grid("a", "bc", ["de", "fg"], ["h"])).texts == list("abcdefgh")


FOLDER = '<img src=x onerror="alert(1)">'
"""Name of a folder: none of it may act as markup."""


def reports():
    """What commands return, with the bad name in every text."""
    from mgdask.learn import Model
    from mgdask.learn.predict import Predicted
    from mgdask.pipelines.attach import AttachReport
    from mgdask.pipelines.dictionary.build import DictionaryReport
    from mgdask.pipelines.featurize.run import Report
    from mgdask.pipelines.ingest import IngestReport
    from mgdask.pipelines.unwrap import UnwrapReport
    from mgdask.pipelines.verify import VerifyReport
    from mgdask.store.checks import Damage
    from mgdask.studies import Metric, Outcome, Results

    metric = Metric(model=FOLDER, test=FOLDER, name="roc_auc", value=0.75, low=0.5, unit="1")
    added = {"variable": FOLDER, "from": FOLDER, "runs": [FOLDER], "frames": 7}
    damage = Damage(FOLDER, None, FOLDER, FOLDER)
    return [
        (Report(FOLDER, 4, 1, 300, 2.0, 2**30, 2**31), "3 computed now, 1 were done before"),
        (Predicted(FOLDER, 4, 1, 300, 5, 2.0, 2**30), "300, of which 5 lack a column and stay NaN"),
        (
            IngestReport(FOLDER, 3, 36, 2, 2, 0.5, 9, (FOLDER,), ((FOLDER, FOLDER),)),
            "2 of 2 blocks",
        ),
        (UnwrapReport(FOLDER, "images", FOLDER, 3, 36, 0.125, 0.5), "0.125 of the cell"),
        (AttachReport(FOLDER, (added,), (FOLDER,)), "7 frames of run"),
        (
            VerifyReport(FOLDER, "features", 4, 9, (damage,), (), True, (), 0.5),
            "4 shards of features",
        ),
        (DictionaryReport(FOLDER, 9, FOLDER, 80, 80, 2, 7, 1.0, 1.0, 0.1, 9, 9, 9), "9 of 80 env"),
        (
            Model("", (FOLDER, "q6"), "binary", 5, 0, {"auc": [0.5, 0.625]}, (), {FOLDER: 1}),
            "0.625",
        ),
        (Results(study=FOLDER, version="1", digest="0", metrics=(metric,), summary=FOLDER), "0.75"),
        (Outcome([metric], FOLDER), "roc_auc"),
    ]


@pytest.mark.parametrize(("report", "words"), reports(), ids=lambda each: type(each).__name__)
def test_reports_in_a_notebook(report, words):
    page = shown(report)
    assert any(FOLDER in text for text in page.texts)
    assert any(words in text for text in page.texts)
    # everything that a terminal prints is in the notebook, too
    if type(report).__str__ not in (object.__str__, tuple.__str__):
        together = " ".join(" ".join(page.texts).split())
        numbers = re.findall(r"\d+(?:\.\d+)?", str(report)) if "Model(" not in str(report) else []
        assert [number for number in numbers if number not in together] == []


def test_a_plan_and_its_run_in_a_notebook(tmp_path):
    from tests.learn.test_transformer import Heights, make_atoms

    store = tmp_path / "<b>glass</b>.zarr"
    mgdask.ingest([make_atoms(0)], store, timestep=0.002)
    plan = mgdask.plan(store, Heights().named("h"), out=tmp_path / "<i>out</i>.zarr")
    page = shown(plan)
    assert page.texts[0] == "Plan"
    assert f"{store}: 1 frames, 36 of 36 atoms as centers" in page.texts
    printed = [
        line.split()[0] for line in plan.describe(measure=False).splitlines() if line[0] != " "
    ]
    assert set(printed) <= {word for text in page.texts for word in text.split()}


def test_a_study_in_a_notebook(tmp_path):
    from mgdask.studies import SoftnessOptions, SoftnessStudy

    out = tmp_path / "<b>out"
    study = SoftnessStudy(SoftnessOptions(train=[f"{FOLDER}.zarr"], test="b.zarr", out=out, seed=7))
    page = shown(study)
    assert page.texts[0] == "Study: softness"
    assert {f"{FOLDER}.zarr", str(out), "7", "not finished: call .run()"} <= set(page.texts)
    out.mkdir()
    (out / "results.json").write_text("{}")
    assert f"finished: Results.read({str(out)!r})" in shown(study).texts
