"""The house's arrows: imports point up the table of rooms only, and each foreign library has its one room."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mgdask"
VOCABULARY = {"variables", "elements", "errors", "box"}
MAY_IMPORT = {
    "variables": set(),
    "elements": {"errors"},
    "errors": set(),
    "box": {"errors"},
    "kernels": {"box"},
    "features": {"kernels"} | VOCABULARY,
    "analysis": VOCABULARY,
    "store": VOCABULARY,
    "readers": VOCABULARY,
    "tasks": {"features", "store", "readers"} | VOCABULARY,
    "cluster": VOCABULARY,
    "learn": {"store", "tasks"} | VOCABULARY,
    "studies": {"features", "store", "readers", "tasks", "analysis", "learn"} | VOCABULARY,
    "explore": {"analysis", "studies", "features", "store", "readers", "tasks", "cluster", ""} | VOCABULARY,
    "cli": {"analysis", "studies", "features", "store", "readers", "tasks", "cluster", "explore", ""} | VOCABULARY,
}
ONLY_IN = {
    "zarr": {"store"},
    "dask": {"tasks", "learn"},
    "distributed": {"tasks", "cluster", "learn"},
    "lightgbm": {"learn"},
    "numba": {"kernels"},
    "llvmlite": {"kernels"},
    "click": {"cli"},
    "matplotlib": {"explore"},
    "pyarrow": {"readers"},
    "mpmath": {"kernels"},
    "sklearn": {"learn"},
    "dask_jobqueue": {"cluster"},
}


def imports(path: Path) -> set[str]:
    """Full dotted names that a file imports, at any depth of its code, type-only ones included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the arrows"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_up_the_table(path):
    here = room(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "mgdask":
            target = parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).with_suffix(".py").exists() else ""
            if len(parts) > 1 and (PACKAGE / parts[1]).is_dir():
                target = parts[1]
            if target != here and not (target == "" and parts[1:] == ["__version__"]):
                assert target in MAY_IMPORT[here], f"{path}: {here} may not import mgdask.{target}"
        elif parts[0] in ONLY_IN:
            assert here in ONLY_IN[parts[0]], f"{path}: {parts[0]} belongs to {ONLY_IN[parts[0]]}"


def test_import_is_cheap_and_computes_nothing():
    heavy = "{'numba', 'dask', 'zarr', 'xarray', 'numpy', 'distributed'}"
    code = f"import sys, mgdask; assert not {heavy} & set(sys.modules), sorted({heavy} & set(sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_says_what_it_is():
    import mgdask

    for name in mgdask.__all__:
        value = getattr(mgdask, name)
        assert name == "__version__" or (value.__doc__ and len(value.__doc__) > 200), name
