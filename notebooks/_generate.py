"""Pages of the manual that are written from the package: names, features, options.

Nothing here is kept: the pages are made anew by each build, in ``reference/generated``.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from numpydoc.docscrape import ClassDoc

from mgdask.features import FEATURES, Feature
from mgdask.features.catalog import family_facts

SECTIONS = {
    "mgdask": "The main functions and all feature classes are names of the package itself.",
    "mgdask.features": "The registry of features, ready-made lists, and building blocks.",
    "mgdask.learn": "Gradient-boosted trees on Dask workers. Nothing here is specific to glasses.",
    "mgdask.learn.predict": "Scores for every atom of a feature store.",
    "mgdask.learn.search": "Search for hyperparameters on folds of whole groups.",
    "mgdask.learn.selection": "Selection of columns.",
    "mgdask.learn.explain": "Which columns a model uses.",
    "mgdask.analysis": "Quantities read off finished numbers, with standard errors.",
    "mgdask.cluster": "Where workers come from.",
    "mgdask.explore.accessor": "``ds.mg``, which every opened store has.",
    "mgdask.studies": "Published studies, each from stores to results.",
    "mgdask.studies.study": "What every study is.",
    "mgdask.studies.softness": "Quench-in softness of Wang and Jain (2019).",
    "mgdask.studies.barcode": "The barcode of a glass of Liu et al. (2023).",
    "mgdask.datasets": "The data shipped with the package.",
    "mgdask.explore.plotting": "Pictures of a Dataset, as ``ds.mg.plot`` and ``array.mg.plot``.",
    "mgdask.explore.viewer": "Atoms in three dimensions, as ``ds.mg.view``.",
    "mgdask.explore.interactive": "A slab with a slider of frames.",
    "mgdask.plot.environments": "Pictures of atoms colored by a value.",
    "mgdask.errors": "All errors derive from ``MgdaskError``.",
}
"""Modules of the reference, in order, with a line about each."""


def public_names(module: ModuleType) -> list[str]:
    """Return the public names of a module: its list, or what it defines."""
    names = list(getattr(module, "__all__", ()))
    if not names:
        names = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_")
            and (inspect.isclass(value) or inspect.isfunction(value))
            and value.__module__ == module.__name__
        ]
    return [name for name in names if name != "__version__"]


def _title(text: str, underline: str) -> str:
    return f"{text}\n{underline * len(text)}\n"


def _table(module: str, names: Iterable[str]) -> str:
    lines = "".join(f"   {name}\n" for name in names)
    options = "   :toctree: api\n   :nosignatures:\n"
    return f".. currentmodule:: {module}\n\n.. autosummary::\n{options}\n{lines}\n"


def api_page() -> str:
    """Return the reference page: the public names of every module, each name once."""
    parts, seen = [_title("API reference", "="), ""], set()
    for name, text in SECTIONS.items():
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        objects = {}
        for each in public_names(module):
            value = getattr(module, each)
            if isinstance(value, ModuleType) or id(value) in seen:
                continue
            seen.add(id(value))
            objects[each] = value
        if not objects:
            continue
        features = [n for n, v in objects.items() if inspect.isclass(v) and issubclass(v, Feature)]
        others = [n for n in objects if n not in features]
        parts += [_title(name, "-"), text, ""]
        if name == "mgdask":
            parts += [_title("Functions", "~"), _table(name, others)]
            parts += [_title("Feature classes", "~"), _table(name, features)]
        else:
            parts.append(_table(name, [*others, *features]))
    return "\n".join(parts)


def literal_formulas(lines: list[str]) -> list[str]:
    """Mark indented formulas as literal blocks, which keep their lines.

    Docstrings write formulas as indented lines of plain text. Sections whose entries
    are indented, such as Parameters, are left as they are.
    """
    out: list[str] = []
    allowed, inside = True, False  # whether formulas may stand here, and whether one does
    for k, line in enumerate(lines):
        if re.fullmatch(r"\s*-{3,}\s*", line) and k:
            allowed = lines[k - 1].strip() in ("Notes", "Returns")
        indented = line.startswith("    ")
        if line.strip() and not indented:
            inside = False
        starts = indented and not inside and k > 0 and not lines[k - 1].strip()
        if starts and allowed:
            before = next((text for text in reversed(out) if text.strip()), "")
            inside = True
            if not before.lstrip().startswith((".. ", "* ", "- ")) and not before.endswith("::"):
                out += ["::", ""]
        # bars of absolute values are not substitutions of reStructuredText
        prose = (
            not inside and "``" not in line and not line.lstrip().startswith((">>>", "...", "|"))
        )
        out.append(line.replace("|", "\\|") if prose and allowed else line)
    return out


def process_docstring(app, what, name, obj, options, lines):
    """Apply ``literal_formulas`` before numpydoc reads the docstring."""
    lines[:] = literal_formulas(lines)


def _public_path(kind: type) -> str:
    for module in ("mgdask", "mgdask.features"):
        if getattr(importlib.import_module(module), kind.__name__, None) is kind:
            return f"{module}.{kind.__name__}"
    return f"{kind.__module__}.{kind.__name__}"


def _explanation(kind: type) -> list[str]:
    """Return the lines of a docstring between its summary and its first section."""
    lines = (inspect.getdoc(kind) or "").splitlines()
    end = next(
        (k for k in range(len(lines) - 1) if re.fullmatch(r"-{3,}", lines[k + 1].strip())),
        len(lines),
    )
    start = next((k for k in range(end) if not lines[k].strip()), end)
    return lines[start:end]


def _columns(family: str) -> str:
    """The number of columns of the example for Cu-Zr, or an empty text."""
    facts = family_facts(family)
    if facts.example is None:
        return ""
    return f"{facts.example.n_columns} columns for Cu-Zr, ``{facts.python()}``."


def features_page() -> str:
    """Return the list of features: formula, number of columns and citation of each."""
    parts = [
        _title("List of features", "="),
        "Every feature that ``--feature`` and recipes know, by the name of its family.",
        "This page is generated from the registry ``mgdask.features.FEATURES``.",
        "",
    ]
    for family, kind in FEATURES.items():
        doc = ClassDoc(kind)
        parts += [
            _title(kind.__name__, "-"),
            " ".join(doc["Summary"]),
            "",
            *literal_formulas(_explanation(kind)),
            "",
            f":family: ``{family}``",
            f":array in stores: ``{family_facts(family).array}``",
            f":parameters and methods: :class:`~{_public_path(kind)}`",
        ]
        if columns := _columns(family):
            parts.append(f":columns: {columns}")
        parts += [f":citation: {kind.citation}", ""]
    return "\n".join(parts)


def studies_page() -> str:
    """Return the options of every study as Markdown, from its options model."""
    parts = ["# Options of the studies", ""]
    try:
        from mgdask.studies.registry import available, get_options
        from mgdask.studies.study import options_table
    except ImportError:
        return "\n".join([*parts, "See `mgdask study --help`.", ""])
    parts += ["Generated from the options model of each study.", ""]
    for name in available():
        parts += [f"## {name}", "", get_options(name).summary, "", options_table(name), ""]
    return "\n".join(parts)


def write_pages(folder: Path) -> None:
    """Write the generated pages, leaving files alone whose content is the same."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"api.rst": api_page(), "features.rst": features_page(), "studies.md": studies_page()}
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    # pages of names that are gone would be in no table of contents
    listed = re.findall(r"^\.\. currentmodule:: (\S+)$|^   (\w+)$", pages["api.rst"], re.M)
    module, current = "", set()
    for new_module, name in listed:
        module = new_module or module
        current.add(f"{module}.{name}.rst")
    for path in (folder / "api").glob("*.rst"):
        if path.name not in current:
            path.unlink()


def _without_metadata(text: str) -> str:
    """Reduce ``Annotated[T, ...]`` to ``T``."""
    while (start := text.find("Annotated[")) >= 0:
        depth, comma, end = 0, None, start + len("Annotated[")
        for end in range(start + len("Annotated["), len(text)):
            letter = text[end]
            if letter in "[({":
                depth += 1
            elif letter in "])}":
                if depth == 0:
                    break
                depth -= 1
            elif letter == "," and depth == 0 and comma is None:
                comma = end
        text = text[:start] + text[start + len("Annotated[") : comma or end] + text[end + 1 :]
    return text


def simplify_signature(app, what, name, obj, options, signature, returns):
    """Show signatures without the metadata of validation."""
    short = [None if text is None else _without_metadata(text) for text in (signature, returns)]
    return tuple(None if t is None else re.sub(r"\bnpt\.|\bnp\.|\bxr\.", "", t) for t in short)


def skip_member(app, what, name, obj, skip, options):
    """Leave out what pydantic, dataclasses and scikit-learn add to a class."""
    # routing of metadata, whose text refers to the manual of scikit-learn
    added = name.startswith(("model_", "__pydantic")) or (
        name.startswith("set_") and name.endswith("_request")
    )
    return True if added else None
