"""Help, flags that are accepted anywhere, logging and completion."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from mgdask.cli import COMMANDS, cli
from tests.cli.test_cli import mgdask_command

HEAVY = {"numpy", "dask", "distributed", "zarr", "numba", "xarray", "pandas"}
IMPORTED = f"""
import sys
from mgdask.cli import main
try:
    main()
finally:
    print("imported", *sorted({HEAVY} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("--version",),
        ("ingest", "--help"),
        ("cluster", "--help"),
        ("cluster", "start", "--help"),
        ("completion", "bash"),
    ],
)
def test_help_imports_no_heavy_library(words):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *words], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "imported"


LIGHT = """
import sys
from mgdask.cli import cli
cli(["inspect", sys.argv[1]], standalone_mode=False)
first = set(sys.modules)
cli(["plan", sys.argv[1], "--set", "interstice", "--out", sys.argv[2]], standalone_mode=False)
print("imported", first & {"numba", "dask", "distributed", "pandas", "xarray", "scipy"})
print("imported", set(sys.modules) & {
    "distributed", "pandas", "xarray", "pyarrow", "matplotlib", "sklearn", "lightgbm", "dask.array"
})
"""


def test_inspect_and_plan_import_no_library_that_they_do_not_need(glass_store, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, glass_store, str(tmp_path / "f.zarr")],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("imported")] == ["imported set()"] * 2


def commands():
    """Return every command by its full name."""

    def below(group, name):
        context = click.Context(group, info_name=name)
        for part in group.list_commands(context):
            command = group.get_command(context, part)
            yield f"{name} {part}", command
            if isinstance(command, click.Group):
                yield from below(command, f"{name} {part}")

    return dict(below(cli, "mgdask"))


COMMAND = commands()


def test_the_help_of_the_group_repeats_the_first_sentence_of_each_command():
    for name, (_, text) in COMMANDS.items():
        assert text == COMMAND[f"mgdask {name}"].get_short_help_str(200)


@pytest.mark.parametrize("name", [*COMMAND])
def test_every_command_shows_two_examples_that_parse(name):
    text = CliRunner().invoke(cli, [*name.split()[1:], "--help"]).output
    lines = [line.strip() for line in text.splitlines() if line.startswith("    mgdask ")]
    assert len(lines) >= 2
    for example in " && ".join(lines).split(" && "):
        words = shlex.split(example)[1:]
        words = words[: words.index(">>")] if ">>" in words else words
        command = cli
        while isinstance(command, click.Group):
            _, command, words = command.resolve_command(click.Context(command), words)
        command.make_context(example, words)


def test_lists_of_names_are_in_the_help_of_their_options():
    text = " ".join(CliRunner().invoke(cli, ["plan", "--help"]).output.split())
    assert "one of interstice, sro, mro" in text
    assert "Families: averaged_displacement, bond_moments, bond_order" in text


@pytest.fixture
def logger():
    """The logger of mgdask; its state is restored afterwards."""
    logger = logging.getLogger("mgdask")
    level, handlers = logger.level, [*logger.handlers]
    yield logger
    logger.setLevel(level)
    logger.handlers[:] = handlers


@pytest.mark.parametrize(
    ("words", "level"),
    [
        (("completion", "bash"), logging.INFO),
        (("--quiet", "completion", "bash"), logging.WARNING),
        (("completion", "--quiet", "bash"), logging.WARNING),
        (("completion", "bash", "--verbose"), logging.DEBUG),
    ],
)
def test_flags_anywhere_set_the_level_of_the_logger(logger, words, level):
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    assert logger.level == level
    assert len(logger.handlers) == 1


def test_messages_go_to_stderr(logger, capsys):
    CliRunner().invoke(cli, ["completion", "bash"])
    logging.getLogger("mgdask.cluster").info("one line")
    logging.getLogger("mgdask.cluster").debug("hidden")
    assert capsys.readouterr() == ("", "one line\n")


def test_quiet_and_verbose_exclude_each_other():
    done = mgdask_command("completion", "--quiet", "--verbose", ok=False)
    assert "--quiet and --verbose exclude each other" in done.stderr
    assert done.returncode == 2


def test_words_after_two_dashes_are_not_flags(logger):
    done = CliRunner().invoke(cli, ["inspect", "--", "--quiet"])
    assert "--quiet is not a Zarr store" in str(done.exception)
    assert logger.level == logging.INFO


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_line_to_add(shell, monkeypatch):
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    text = CliRunner().invoke(cli, ["completion"]).output
    assert f"_MGDASK_COMPLETE={shell}_source mgdask" in text
    assert text == CliRunner().invoke(cli, ["completion", shell]).output


def test_completion_lists_commands():
    code = "from mgdask.cli import main; main()"
    env = {**os.environ, "_MGDASK_COMPLETE": "bash_complete", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**env, "COMP_WORDS": "mgdask in"},
        check=False,
    )
    assert done.stdout.split() == ["plain,ingest", "plain,inspect"], done.stderr
