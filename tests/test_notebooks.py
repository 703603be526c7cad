"""The notebooks run from top to bottom, in a fresh kernel, on the small data beside them.

By default only the fastest one runs; .ci/run runs all.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
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


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=() if path.stem == "structure" else pytest.mark.slow)
        for path in NOTEBOOKS
    ],
    ids=lambda path: path.stem,
)
def test_notebook_runs(path, monkeypatch):
    run(path, monkeypatch, LESS.get(path.stem, {}))


@pytest.mark.slow
@pytest.mark.parametrize("name", LESS)
def test_notebook_runs_as_it_is(name, monkeypatch):
    run(next(path for path in NOTEBOOKS if path.stem == name), monkeypatch, {})


# ---------------------------------------------------------------- cheap: all notebooks, as they are stored


NEEDED = {
    "barcode": ["zrcu_4.lammpstrj.zst", "zrcu_7.lammpstrj.zst"]
    + [f"zrcu_{k}.energy.txt" for k in (1, 4, 7)],
    "dynamics": [f"hemg_{t}.lammpstrj.gz" for t in (1000, 1200, 1300, 2000)]
    + ["deformed_slab.lammpstrj.gz"],
    "explore": ["cu65zr35_2.lammpstrj.zst"],
    "softness": ["cu65zr35_1.lammpstrj.zst", "cu65zr35_2.lammpstrj.zst"],
    "structure": [],
    "temperature": [f"hemg_{t}.lammpstrj.gz" for t in (100, 500, 1000, 1200, 1300, 2000)]
    + ["hemg_creep.lammpstrj.zst"],
}
"""Files in notebooks/data that a notebook reads."""


def written(call, function):
    """Return why the arguments of a call, given as they are written, do not fit a function."""
    try:
        inspect.signature(function).bind(
            *(None for _ in call.args), **{word.arg: None for word in call.keywords}
        )
    except TypeError as error:
        return f"{ast.unparse(call.func)}: {error}"
    return ""


def unfit_calls(code):
    """Return what is wrong with the names of mgdask and with calls of its functions.

    An import of a name that does not exist fails.
    """
    tree, names = ast.parse(code), {"mgdask": mgdask}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "mgdask":
            module = importlib.import_module(node.module)
            names.update({one.asname or one.name: getattr(module, one.name) for one in node.names})

    def known(node):
        if isinstance(node, ast.Name):
            return names.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = known(node.value)
            return getattr(owner, node.attr) if inspect.ismodule(owner) else None
        return None

    for node in ast.walk(tree):
        known(node)
    calls = [(node, known(node.func)) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    wrong = [written(call, function) for call, function in calls if callable(function)]
    assert len(wrong) >= 3  # otherwise no call of mgdask was recognized
    return list(filter(None, wrong))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_notebook_fits_the_package(path):
    """Names, keywords and data files of the code exist; the stored output is clean."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    code = "\n".join("".join(cell["source"]) for cell in cells)
    assert unfit_calls(code) == []
    for old in LESS.get(path.stem, {}):
        assert code.count(old) == 1, old
    for name in NEEDED[path.stem]:
        assert (path.parent / "data" / name).is_file(), name
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert "error" not in {output["output_type"] for output in outputs}
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    text = json.dumps(
        [{**output, "data": output.get("data", {}).get("text/plain")} for output in outputs]
    )
    assert not re.findall(r"/home/\w+|/Users/\w+|/root/\w+|/work/\w+|Traceback|Warning", text)
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("mgdask.plan(1, 2, out=3, memry=4)", TypeError),
        ("mgdask.engest(1, 2)", AttributeError),
        ("from mgdask.errors import NoError", AttributeError),
    ],
)
def test_code_that_does_not_fit_is_found(code, error):
    fits = "\nmgdask.open_store('a'); mgdask.open_store('a'); mgdask.open_store('a')"
    if error is TypeError:
        assert "unexpected keyword" in unfit_calls(code + fits)[0]
    else:
        with pytest.raises(error):
            unfit_calls(code + fits)
