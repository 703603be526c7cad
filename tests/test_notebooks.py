"""The notebooks run from top to bottom, in a fresh kernel, on the small data beside them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mgdask

ROOT = Path(__file__).parents[1]
CHECK_FIGURES = f"""
import sys
sys.path.append({str(ROOT)!r})
from matplotlib.backend_bases import FigureCanvasBase
from tests.plot.boxes_of_text import overlapping
_print_figure, _overlaps = FigureCanvasBase.print_figure, []
def _print_and_check(canvas, *args, **options):
    printed = _print_figure(canvas, *args, **options)
    _overlaps.append(overlapping(canvas.figure))
    return printed
FigureCanvasBase.print_figure = _print_and_check
"""
"""Code before a notebook that looks for overlapping text in each figure that is shown."""
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


FAST = {"n_undersamples": 1, "folds": 2, "num_boost_round": 40}
LESS = {
    "softness": {
        "folder = Path": f"FAST = {FAST}\nfolder = Path",
        'folder / "out", progress': 'folder / "out", learning=FAST, progress',
        '["interstice", "symmetry", "sro", "mro"], learning={"n_undersamples": 4}': (
            '["interstice", "sro"], learning=FAST'
        ),
        "(0.1, 0.2, 0.4, 0.7), subsets=2": "(0.2, 0.7), subsets=1",
        '{"n_undersamples": 3}': "FAST",
    }
}
"""Parts of a notebook, and what makes them learn less."""


def run(path, monkeypatch, less):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv(
        "PYTHONPATH", str(Path(mgdask.__file__).parents[1])
    )  # the package under test, wherever the kernel starts
    notebook = nbformat.read(path, as_version=4)
    assert all(cell.get("outputs") for cell in notebook.cells[1:2]), (
        f"{path.name} is stored without its outputs"
    )
    for old, new in less.items():
        (cell,) = (cell for cell in notebook.cells if old in cell.source)
        cell.source = cell.source.replace(old, new)
    cell = nbformat.v4.new_code_cell
    notebook.cells = [cell(CHECK_FIGURES), *notebook.cells, cell("print(_overlaps)")]
    nbclient.NotebookClient(
        notebook,
        timeout=240,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    pictures = sum(
        "image/png" in output.get("data", {})
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    assert pictures >= 3
    overlaps = ast.literal_eval(notebook.cells[-1].outputs[0]["text"])
    assert overlaps == [[]] * pictures


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(path, monkeypatch):
    run(path, monkeypatch, LESS.get(path.stem, {}))


@pytest.mark.slow
@pytest.mark.parametrize("name", LESS)
def test_notebook_runs_as_it_is(name, monkeypatch):
    run(next(path for path in NOTEBOOKS if path.stem == name), monkeypatch, {})
