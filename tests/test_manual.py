"""README and manual: commands, code, names, links and length."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

import mgdask
from mgdask.cli import cli
from tests import forked

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GENERATED = ROOT / "notebooks" / "reference" / "generated"
PAGES = [
    README,
    ROOT / "CHANGELOG.md",
    ROOT / ".github" / "CONTRIBUTING.md",
    ROOT / "deploy" / "README.md",
    *sorted((ROOT / "notebooks").rglob("*.md")),
]
pytestmark = pytest.mark.skipif(
    not README.exists() or not (ROOT / "notebooks").exists(),
    reason="README and manual are in the source checkout only",
)


def page_id(path):
    return str(path.relative_to(ROOT))


def blocks(path, language):
    """The code blocks of a page in one language; an empty language means plain blocks."""
    found = re.findall(
        r"^(`{3,})([^\n]*)\n(.*?)^\1$", path.read_text(encoding="utf-8"), re.M | re.S
    )
    return [code for _, name, code in found if name == language]


def setup_lines():
    return [
        line.split("#")[0].strip()
        for block in blocks(README, "")
        for line in block.splitlines()
        if line.startswith("python -m venv")
    ]


def test_readme_is_short():
    assert len(README.read_text(encoding="utf-8").split()) <= 900


def test_ci_runs_the_commands_of_the_readme():
    """CI takes the lines from the README, so that the two cannot differ."""
    lines = setup_lines()
    assert [line.split("&&")[-1].split("/")[-1].strip() for line in lines] == [
        "mgdask demo",
        "pytest",
    ]
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for line, word in zip(lines, ("demo", "pytest"), strict=True):
        printed = subprocess.run(
            [ROOT / ".ci" / "readme-command", word], capture_output=True, text=True, check=True
        )
        assert printed.stdout.strip() == line
        assert f"$(.ci/readme-command {word})" in run
    assert "pip install '.[test" not in run


def run_code(code, folder):
    """Standard output of a script in a process of its own."""
    done = forked.run(code, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_readme_code_prints_what_it_shows(tmp_path):
    (code,) = blocks(README, "python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    printed = {" ".join(line.split()) for line in run_code(code, tmp_path).splitlines()}
    (shown,) = [block for block in blocks(README, "") if "<xarray.Dataset>" in block]
    for line in shown.splitlines():
        line = " ".join(line.split())
        if line.endswith("dask.array<...>"):
            line = line.removesuffix("<...>")
            assert any(each.startswith(line) for each in printed), line
        elif line != "...":
            assert line in printed, line


def test_first_hour_runs(tmp_path):
    page = ROOT / "notebooks" / "tutorials" / "first_hour.md"
    run_code("\n".join(blocks(page, "python")), tmp_path)


def dotted_names(code):
    """Such as ``mgdask.learn.train``, wherever the code mentions them."""
    for node in ast.walk(ast.parse(code)):
        text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        if re.fullmatch(r"mgdask(\.\w+)+", text):
            yield text


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_names_in_code_exist(path):
    for code in blocks(path, "python"):
        for name in dotted_names(code):
            value = mgdask
            for part in name.split(".")[1:]:
                value = getattr(value, part)


def command_lines(path):
    for block in [*blocks(path, ""), *blocks(path, "bash")]:
        for line in block.splitlines():
            line = line.strip().split(" #")[0]
            for start in (".venv/bin/mgdask ", "mgdask "):
                if line.startswith(start):
                    yield line.removeprefix(start)


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_commands_exist_with_their_options(path):
    for line in command_lines(path):
        words, command = shlex.split(line), cli
        context = click.Context(cli)
        while words and isinstance(command, click.Group) and not words[0].startswith("-"):
            found = command.get_command(context, words[0])
            assert found is not None, line
            command, words = found, words[1:]
        known = {text for parameter in command.params for text in parameter.opts} | {
            "--help",
            "--debug",
            "--version",
            "--quiet",
            "--verbose",
        }
        unknown = {word for word in words if word.startswith("--")} - known
        assert not unknown, line


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_links_to_files_exist(path):
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", link):
            target = path.parent / link.split("#")[0]
            assert target.exists(), link
    for link in re.findall(r"\{doc\}`(?:[^`<]*<)?([^`>]+)>?`", text):
        target = (path.parent / link).resolve()
        assert GENERATED in target.parents or any(
            target.with_name(target.name + suffix).exists() for suffix in (".md", ".ipynb")
        ), link


def test_no_page_is_left_from_another_layout():
    """Every page of the manual is in a table of contents, or found by its pattern."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for page in PAGES[4:]:
        if page.stem not in ("index", "README"):
            assert re.search(
                rf"^(\.\./)?([\w/]+/)?({page.stem}|{page.stem[:3]}_\*)$", text, re.M
            ), page


@pytest.mark.parametrize(
    "path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem
)
def test_stored_outputs_are_complete_and_without_warnings(path):
    cells = [
        cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"
    ]
    assert all(cell["execution_count"] for cell in cells)
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert outputs
    for output in outputs:
        assert output.get("name") != "stderr", "".join(output["text"])
        assert output["output_type"] != "error"
