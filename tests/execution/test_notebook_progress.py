"""Progress in the kernel of a notebook: one output, which is replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import mgdask
from mgdask.execution import progress
from tests.html_checks import Page

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")


def executed(folder, *cells):
    """Run cells in a fresh kernel; return their outputs."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    environment = {**os.environ, "PYTHONPATH": str(Path(mgdask.__file__).parents[1])}
    client = nbclient.NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=environment)
    return [cell.outputs for cell in notebook.cells]


def bars(outputs):
    """Value, maximum and text of each bar among the outputs of a cell."""
    found = []
    for output in outputs:
        html = output.get("data", {}).get("text/html", "")
        if "<progress" in html:
            page = Page(html)
            assert page.tags == ["div", "progress"]
            assert page.text.strip() == output["data"]["text/plain"]
            found.append(html.split(">")[1] + " " + page.text.strip())
    return found


CELL = """
from mgdask.execution import progress
progress.NOTEBOOK_INTERVAL = {interval}
with progress.ProgressReporter("<featurize>", 4, "blocks", {enabled}) as reporter:
    for done in range(1, 5):
        reporter.update(done - done // 4, done // 4, 2)
        {then}
"""


def test_a_cell_shows_one_bar(tmp_path):
    logging = "from mgdask.execution.progress import configure_logging; configure_logging(30)"
    every, quiet, stopped, hidden = executed(
        tmp_path,
        CELL.format(interval=0, enabled=True, then=""),
        CELL.format(interval=0, enabled=False, then=""),
        CELL.format(interval=3600, enabled=True, then="if done == 2: raise KeyboardInterrupt"),
        logging + CELL.format(interval=0, enabled=True, then=""),
    )
    assert [output.output_type for output in every] == ["display_data"]  # nothing on stderr
    (bar,) = bars(every)
    assert bar.startswith('<progress value="4" max="4" <featurize>: 3 of 4 blocks, 1 failed, in 0.')
    assert quiet == []
    (bar,) = bars(stopped)
    assert "2 of 4 blocks, 0 failed, stopped after 0." in bar
    assert bars(hidden) == []


def test_updates_are_few(monkeypatch):
    """A bar does not send more updates than a reader can see."""
    sent = []

    class Handle:
        def update(self, content, raw):
            sent.append(content["text/plain"])

    monkeypatch.setattr("IPython.display.display", lambda *_, **__: Handle())
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    bar = progress.NotebookBar(1000, "begin")
    for done in range(1000):
        now[0] += 0.001
        bar.update(done, str(done))
    bar.update(1000, "end", now=True)
    assert sent[-1] == "end"
    assert len(sent) <= 3


def test_a_terminal_is_not_a_notebook():
    assert not progress.in_notebook()


@pytest.mark.slow
def test_a_run_in_a_notebook(tmp_path):
    """Ingest, plan and run: tables, and bars that end full."""
    atoms = "[bulk('Cu', cubic=True) * (3, 3, 3) for _ in range(4)]"
    first, plan, run = executed(
        tmp_path,
        f"import mgdask\nfrom ase.build import bulk\nmgdask.ingest({atoms}, 'cu.zarr', timestep=1)",
        "plan = mgdask.plan('cu.zarr', mgdask.Coordination(), out='f.zarr')\nplan",
        "mgdask.run(plan)",
    )
    for outputs, title in ((first, "Trajectory"), (plan, "Plan"), (run, "Run")):
        assert not any(output.output_type == "error" for output in outputs), outputs
        assert Page(outputs[-1]["data"]["text/html"]).texts[0] == title
    (bar,) = bars(run)
    assert '<progress value="1" max="1" featurize: 1 of 1 blocks, 0 failed, in ' in bar
