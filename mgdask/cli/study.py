"""``mgdask study``: one command per study, generated from the study's options model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from mgdask._yaml import load_yaml
from mgdask.cli.groups import examples
from mgdask.cli.options import open_workers, trust_option, worker_options
from mgdask.errors import ParameterError
from mgdask.store.failures import check_store_exists
from mgdask.studies.options import (
    OptionError,
    StudyOptions,
    command_line,
    default_text,
    inner_type,
    spelling,
    typed_order,
)
from mgdask.studies.registry import available, get_options, get_study


class StudyGroup(click.Group):
    """A group with one command per registered study."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all studies."""
        return list(available())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a study, or ``None`` if no study has this name."""
        return study_command(cmd_name) if cmd_name in available() else None


@click.group(
    cls=StudyGroup,
    epilog=examples(
        "mgdask study softness --train g1.zarr --test g2.zarr --out softness",
        "mgdask study transfer g1.zarr g2.zarr g3.zarr --out transfer",
    ),
)
def study() -> None:
    """Reproduce published studies, from stores to results."""


class _Arguments(click.Argument):
    """A positional argument whose values an options file may give."""

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, Any]:
        value, source = super().consume_value(ctx, opts)
        if not value and self.name in (ctx.default_map or {}):
            return ctx.lookup_default(self.name), click.core.ParameterSource.DEFAULT_MAP
        return value, source


def study_command(name: str) -> click.Command:
    """Make the command of a study from its options model.

    Parameters
    ----------
    name
        Name of the study in the registry.

    Returns
    -------
    command
        The command. It also takes the options for workers, and ``--options FILE.yaml``.
    """
    options = get_options(name)

    def run(
        workers: int | None,
        threads: int,
        scheduler: str | None,
        site: str | None,
        trust: bool,
        **values: Any,
    ) -> None:
        # click gives () for a repeated option that is absent
        given = {key: value for key, value in values.items() if value is not None and value != ()}
        try:
            settings = options(**given)
        except OptionError as error:
            raise click.UsageError(error.as_typed()) from None
        with open_workers(workers, threads, scheduler, None, site) as client:
            for store in (one for given in settings.paths().values() for one in given):
                if store.suffix in ("", ".zarr") and not store.is_file():
                    check_store_exists(store)
            from mgdask.store.lock import check_unlocked
            from mgdask.studies.study import check_study

            check_unlocked(settings.out)
            check_study(settings)  # before the libraries of the study are imported
            results = get_study(name)(settings).run(client, trust=trust)
        click.echo(str(results))
        width = max(map(len, results.timing), default=0)
        for stage, seconds in results.timing.items():
            click.echo(f"  {stage:{width}} {seconds:8.1f} s")
        click.echo(f"results {settings.out / 'results.json'}, page {settings.out / 'report.html'}")

    run = trust_option(worker_options(run))
    parameters = [_parameter(key, field, options) for key, field in typed_order(options)]
    file = click.Option(
        ["--options"],
        type=click.Path(dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=lambda context, _, path: _read_options(context, options, path),
        help="YAML file with any of these options; the command line takes precedence.",
    )
    own = list(reversed(getattr(run, "__click_params__", [])))
    return click.Command(
        name,
        callback=run,
        params=[*parameters, file, *own],
        help=options.summary,
        short_help=options.summary,
        epilog=examples(*options.examples) if options.examples else None,
    )


def _parameter(name: str, field: FieldInfo, options: type[StudyOptions]) -> click.Parameter:
    """Make the click parameter of one field."""
    typed, (kind, several) = command_line(name, field), inner_type(field)
    if typed.argument:
        return _Arguments(
            [name], nargs=-1, required=field.is_required(), metavar=f"{typed.argument}..."
        )
    if kind is bool:
        return click.Option([typed.option, name], is_flag=True, help=field.description)
    value_type: Any = {int: click.INT, float: click.FLOAT}.get(kind, click.STRING)
    if get_origin(kind) is Literal:
        value_type = click.Choice(get_args(kind))
    if typed.separator:
        value_type = click.STRING
    multiple = several and not typed.separator
    # click treats an explicit default of None as a given value
    absent = field.is_required() or (several and not field.default)
    value = field.default
    if typed.separator and isinstance(value, tuple):
        value = typed.separator.join(f"{one:g}" if kind is float else str(one) for one in value)
    default = {} if absent else {"default": value}
    return click.Option(
        [typed.option, name],
        type=value_type,
        multiple=multiple,
        required=field.is_required(),
        show_default=default_text(field) is not None,
        help=field.description,
        **default,
    )


def _read_options(
    context: click.Context, options: type[StudyOptions], path: Path | None
) -> Path | None:
    """Make the values of a YAML file the defaults of the command line.

    An option may have its name in Python or its spelling without the dashes.
    """
    if path is None:
        return None
    try:
        content = load_yaml(path, f"--options {path}")
    except ParameterError as error:
        raise click.UsageError(str(error)) from None
    if not isinstance(content, dict):
        raise click.UsageError(f"--options {path} must be a mapping, such as 'seed: 1'")
    names = {name: name for name in options.model_fields}
    names |= {spelling(options, name).lstrip("-").lower(): name for name in options.model_fields}
    names |= {"workers": "workers", "threads": "threads", "scheduler": "scheduler"}
    names |= {"cluster": "site", "trust": "trust"}
    defaults = {}
    for key, value in content.items():
        if str(key) not in names:
            raise click.UsageError(
                f"--options {path}: unknown option {key!r}; the options are "
                f"{', '.join(options.model_fields)}"
            )
        name = names[str(key)]
        defaults[name] = _as_typed(value, options.model_fields.get(name))
    context.default_map = {**(context.default_map or {}), **defaults}
    return path


def _as_typed(value: Any, field: FieldInfo | None) -> Any:
    """Convert a YAML value to the form typed on the command line."""
    if field is None:
        return value
    several = inner_type(field)[1]
    separator = command_line("", field).separator
    if separator:
        return separator.join(map(str, value)) if isinstance(value, list) else str(value)
    return [value] if several and not isinstance(value, list) else value
