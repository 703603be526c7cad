"""The house's arrows: imports point up the table of rooms only, and each foreign library has its one room."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

PACKAGE = Path(__file__).parents[1] / "mgdask"
ROOMS = (
    "errors", "_typing", "bounds", "_yaml", "elements", "geometry", "variables", "_version", "_renamed", "_accessor", "_html", "interruption", "exhaustion", "ownership",
    "kernels", "readers", "store", "features", "execution", "cluster", "learn", "pipelines", "analysis", "plot",
    "report", "studies", "explore", "datasets", "cli", "__main__",
)  # fmt: skip
"""Imports point from later rooms to earlier ones."""
NOT = {
    "features": {"readers"},
    "learn": {"features"},
    "analysis": {
        "kernels",
        "features",
        "readers",
        "store",
        "execution",
        "pipelines",
        "cluster",
        "learn",
    },
}
"""Rooms that stay apart although the order would allow the arrow."""
ONLY_IN = {
    "zarr": {"store"},
    "dask": {"execution", "pipelines", "learn"},
    "distributed": {"execution", "pipelines", "cluster", "learn"},
    "lightgbm": {"learn"},
    "numba": {"kernels"},
    "llvmlite": {"kernels"},
    "click": {"cli"},
    "pyarrow": {"readers", "explore"},
    "mpmath": {"kernels"},
    "sklearn": {"learn"},
    "dask_jobqueue": {"cluster"},
    "jinja2": {"report"},
    "fsspec": {"store"},
    "s3fs": {"store"},
    "obstore": {"store"},
    "py3Dmol": {"explore"},
    "hvplot": {"explore"},
    "holoviews": {"explore"},
    "panel": {"explore"},
    "bokeh": {"explore"},
    "IPython": {"execution", "explore"},
}
"""Libraries that belong to some rooms."""


def may_use_matplotlib(path: Path) -> bool:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] in {"plot", "explore"} or (parts[0] == "studies" and "figures" in path.stem)


def imports(path: Path) -> set[str]:
    """Full dotted names that a file imports, at any depth of its code, type-only ones included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if path.suffix == ".pyi":  # lazy_loader reads relative imports only
                here = ".".join(("mgdask", *path.relative_to(PACKAGE).parts[:-1]))
                found |= {
                    f"{here}.{node.module or ''}".rstrip(".") + f".{a.name}" for a in node.names
                }
                continue
            assert node.level == 0, f"{path}: relative imports hide the arrows"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


FACE = {PACKAGE / name for name in ("__init__.py", "__init__.pyi", "_moved.py")}
FILES = sorted(
    path for path in PACKAGE.rglob("*.py*") if path.suffix in {".py", ".pyi"} and path not in FACE
)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_to_earlier_rooms(path):
    here = room(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "mgdask":
            target = (
                parts[1]
                if len(parts) > 1 and (PACKAGE / parts[1]).with_suffix(".py").exists()
                else ""
            )
            if len(parts) > 1 and (PACKAGE / parts[1]).is_dir():
                target = parts[1]
            if (
                target == ""
            ):  # the public face imports lazily; only the last rooms may go through it
                assert here in {"explore", "datasets", "cli"} or parts[1:] == ["__version__"], (
                    f"{path}: {name}"
                )
            elif target != here:
                assert ROOMS.index(target) < ROOMS.index(here), (
                    f"{path}: {here} may not import mgdask.{target}"
                )
                assert target not in NOT.get(here, ()), (
                    f"{path}: {here} may not import mgdask.{target}"
                )
        elif parts[0] == "matplotlib":
            assert may_use_matplotlib(path), (
                f"{path}: matplotlib belongs to plot/, explore/ and studies/*/figures.py"
            )
        elif parts[0] in ONLY_IN:
            assert here in ONLY_IN[parts[0]], f"{path}: {parts[0]} belongs to {ONLY_IN[parts[0]]}"


def test_one_module_names_a_later_room_by_a_string():
    """Every opened store has the accessor, which is in a late room and imported on use.

    A string hides the arrow from the test above, so nobody else may do this.
    """
    found = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = node.value if isinstance(node, ast.Constant) else None
            parts = text.split(".") if isinstance(text, str) else []
            named = parts[1] if parts[:1] == ["mgdask"] and len(parts) > 2 else ""
            if named in ROOMS and ROOMS.index(named) > ROOMS.index(room(path)):
                found.add((path.name, text))
    assert found == {("_accessor.py", "mgdask.explore.accessor")}


def test_import_is_cheap_and_computes_nothing():
    heavy = "{'numba', 'dask', 'zarr', 'xarray', 'numpy', 'distributed'}"
    code = f"import sys, mgdask; assert not {heavy} & set(sys.modules), sorted({heavy} & set(sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_says_what_it_is():
    import mgdask

    for name in mgdask.__all__:
        value = getattr(mgdask, name)
        assert (
            name == "__version__" or isinstance(value, ModuleType) or len(value.__doc__ or "") > 200
        ), name
