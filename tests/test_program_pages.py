"""Three pages of the manual: their code runs, and prints what they show."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks" / "howto"
pytestmark = pytest.mark.skipif(
    not FOLDER.exists(), reason="the manual is in the source checkout only"
)
NEEDED = {"pymatgen": "pymatgen", "ovito": "OVITO", "MDAnalysis": "MDAnalysis"}
"""Programs whose part of a page is skipped if they are not installed."""


def parts(path):
    """Title, code and printed text of each section of a page, in order."""
    for section in re.split(r"^(?=## )", path.read_text(encoding="utf-8"), flags=re.M):
        blocks = re.findall(r"^```(\w*)\n(.*?)^```$", section, flags=re.M | re.S)
        for k, (language, code) in enumerate(blocks):
            if language == "python":
                follows = blocks[k + 1 : k + 2]
                shown = follows[0][1] if follows and follows[0][0] == "" else ""
                yield section.splitlines()[0], code, shown


def missing(code):
    """Return the program that a piece of code imports and that is not installed."""
    for module in NEEDED:
        if re.search(rf"^(from|import) {module}\b", code, flags=re.M):
            try:
                __import__(module)
            except ImportError:
                return module
    return ""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["programs", "scikit_learn", "labels"])
def test_a_page_prints_what_it_shows(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page", "np": np}
    ran = 0
    for title, code, shown in parts(FOLDER / f"{name}.md"):
        if missing(code):
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{name}.md, {title}", "exec"), names)
        assert printed.getvalue().strip() == shown.strip(), title
        ran += 1
    assert ran >= 4
