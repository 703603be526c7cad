"""The command line ``mgdask``: thin commands, each a call of a public function."""

from __future__ import annotations

import logging
import os
import sys
from io import TextIOWrapper

import click

import mgdask
from mgdask.cli.groups import LazyGroup, examples
from mgdask.errors import MgdaskError
from mgdask.exhaustion import ended_without_memory
from mgdask.interruption import stoppable, stopped_line
from mgdask.store.failures import explanation

COMMANDS = {
    "ingest": (
        "commands:ingest",
        "Read simulation files into one trajectory store, with an audit.",
    ),
    "attach": (
        "commands:attach",
        "Add values of frames, such as the temperature, to an existing store.",
    ),
    "inspect": ("commands:inspect", "Show what a store holds."),
    "rdf": ("commands:rdf", "Compute the radial distribution functions of all species pairs."),
    "unwrap": ("commands:unwrap", "Unwrap the trajectories of all atoms into a store."),
    "features": ("features:features", "List the feature families and sets, or show some in full."),
    "plan": ("commands:plan", "Show what a run would compute and need, without running it."),
    "featurize": (
        "commands:featurize",
        "Compute features into a store, or resume an interrupted run.",
    ),
    "export": ("export:export", "Write frames and features for OVITO, LAMMPS, ASE or pandas."),
    "dictionary": (
        "dictionary:dictionary",
        "Build, extend and show dictionaries of unique local environments.",
    ),
    "status": ("commands:status", "Show how many blocks of a store are finished."),
    "verify": ("commands:verify", "Compare every file of a store with its recorded checksum."),
    "cluster": ("cluster:cluster", "Show job scripts; start and stop schedulers."),
    "study": ("study:study", "Reproduce published studies, from stores to results."),
    "demo": ("commands:demo", "Run the whole workflow on a Zr-Cu glass shipped with mgdask."),
    "completion": ("completion:completion", "Show how to enable shell completion."),
}
"""Module in ``mgdask.cli`` and line of help of each command, in the order of work."""


class _StderrHandler(logging.Handler):
    """Writes to the current standard error, which test runners replace."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


def _configure_logging(level: int) -> None:
    logger = logging.getLogger("mgdask")
    logger.setLevel(level)
    if not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        logger.addHandler(_StderrHandler())


@click.group(
    cls=LazyGroup,
    targets={name: (f"mgdask.cli.{target}", text) for name, (target, text) in COMMANDS.items()},
    anywhere=("--quiet", "--verbose", "--debug"),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=examples(
        "mgdask demo",
        "mgdask ingest dump.*.gz --out glass.zarr --species Zr,Cu --timestep 0.002",
        "mgdask featurize glass.zarr --set interstice --out features.zarr",
    ),
)
@click.option("--quiet", is_flag=True, help="Log warnings and errors only.")
@click.option("--verbose", is_flag=True, help="Log details too.")
@click.option("--debug", is_flag=True, help="Show the full traceback of an error.")
@click.version_option(mgdask.__version__, prog_name="mgdask")
def cli(quiet: bool, verbose: bool, debug: bool) -> None:
    """Turn trajectories of metallic glasses into atomic features and models.

    --quiet, --verbose and --debug are accepted anywhere on the line.
    """
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose exclude each other; give one")
    _configure_logging(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)


def main() -> None:
    """Run the command line.

    The exit status is 0 only if all work is done. An error prints one message to
    standard error. Ctrl-C, SIGTERM and SIGHUP end the process, see
    ``mgdask.interruption``.
    """
    # processes started from here import nothing from the working directory, where other
    # users may write
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    for stream in (sys.stdout, sys.stderr):
        # names of files need not be UTF-8, and must not stop a message
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    with stoppable():
        _run()


def _run() -> None:
    debug = "--debug" in sys.argv[1:]
    try:
        with ended_without_memory(lambda: f"mgdask: {_describe_error(MemoryError())}"):
            status = cli.main(prog_name="mgdask", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):  # Ctrl-C has a handler of its own
        if debug:
            raise
        click.echo(stopped_line(), err=True)
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        click.echo(f"mgdask: {_describe_error(error)}", err=True)
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


def _describe_error(error: Exception) -> str:
    if isinstance(error, MgdaskError):
        return str(error)
    explained = explanation(error)
    if explained is not None:
        return str(explained)
    return f"{type(error).__name__}: {error} (--debug shows the traceback)"
