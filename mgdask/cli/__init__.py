"""The command line: ``mgdask ingest | inspect | rdf | unwrap | plan | featurize | status | verify | cluster | study | demo``. No logic."""

from __future__ import annotations

import signal
import sys

import click

import mgdask
from mgdask.cli import cluster, commands, study, verify
from mgdask.errors import MgdaskError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--debug", is_flag=True, help="Show the whole traceback of an error.")
@click.version_option(mgdask.__version__, prog_name="mgdask")
def cli(debug: bool) -> None:
    """Trajectories of metallic glasses in, labelled atomic features out, at any scale."""


for command in (
    commands.ingest,
    commands.inspect,
    commands.rdf,
    commands.unwrap,
    commands.plan,
    commands.featurize,
    commands.status,
    cluster.cluster,
    verify.verify,
    study.study,
    commands.demo,
):
    cli.add_command(command)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point: exit status 0 only when all is done; an error is one readable message on stderr."""
    # --debug is accepted anywhere on the line, since it is typed after something went wrong.
    words = [word for word in sys.argv[1:] if word != "--debug"]
    debug = len(words) < len(sys.argv) - 1
    # what a queueing system and ``timeout`` send: the workers' jobs are cancelled and nothing is left running
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = cli.main(args=words, prog_name="mgdask", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        if debug:
            raise
        click.echo(
            "stopped; finished blocks stay, and the same command goes on from there", err=True
        )
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        text = (
            str(error)
            if isinstance(error, MgdaskError)
            else f"{type(error).__name__}: {error} (--debug shows where)"
        )
        click.echo(f"mgdask: {text}", err=True)
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)
