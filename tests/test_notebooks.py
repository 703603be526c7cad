"""The notebooks run from top to bottom, in a fresh kernel, on the small data beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

import mgdask

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv(
        "PYTHONPATH", str(Path(mgdask.__file__).parents[1])
    )  # the package under test, wherever the kernel starts
    notebook = nbformat.read(path, as_version=4)
    assert all(cell.get("outputs") for cell in notebook.cells[1:2]), (
        f"{path.name} is stored without its outputs"
    )
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
