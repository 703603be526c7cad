"""Ten questions and the accessor in the manual: code prints what the pages show.

``python -m tests.explore.test_questions`` writes the printed answers into the pages.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import threads_client

ROOT = Path(__file__).parents[2]
HOWTO = ROOT / "notebooks" / "howto"
DATA = ROOT / "notebooks" / "data"
FILES = ("cu65zr35_2.lammpstrj.zst", "hemg_1000.lammpstrj.gz")
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.M | re.S)

pytestmark = pytest.mark.skipif(
    not HOWTO.exists(), reason="the manual is in the source checkout only"
)


def answers(page):
    """Code of a page, what it shows and what it prints, block by block."""
    names: dict[str, object] = {}
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    for (kind, code), (after, shown) in zip(found, [*found[1:], ("", "")], strict=True):
        if kind != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, page.name, "exec"), names)
        yield code, shown if after == "text" else "", printed.getvalue()


@pytest.mark.parametrize("name", ["questions", "accessor"])
def test_answers_are_those_of_the_page(name, tmp_path, monkeypatch):
    for each in FILES:
        shutil.copy(DATA / each, tmp_path)
    monkeypatch.chdir(tmp_path)
    n_answers = 0
    with threads_client(2):  # worker processes have another working directory
        for code, shown, printed in answers(HOWTO / f"{name}.md"):
            assert printed == shown, code
            n_answers += bool(printed)
    assert n_answers >= 9


def write(name):
    """Write the printed answers into a page."""
    page = HOWTO / f"{name}.md"
    for each in FILES:
        shutil.copy(DATA / each, each)
    printed = iter([each for _, _, each in answers(page)])
    text = page.read_text(encoding="utf-8")

    def replaced(match):
        if match[1] == "python":
            replaced.last = next(printed)
            return match[0]
        return f"```text\n{replaced.last}```"

    page.write_text(BLOCK.sub(replaced, text), encoding="utf-8")


if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp())
    for each in sys.argv[1:] or ["questions", "accessor"]:
        write(each)
