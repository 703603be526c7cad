"""Site files: small YAML files that say where workers come from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from mgdask._yaml import load_yaml, parse_yaml
from mgdask.cluster import validation
from mgdask.errors import ParameterError

Kind = Literal["local", "scheduler", "slurm", "pbs", "lsf", "sge", "htcondor", "oar"]
QUEUES = ("slurm", "pbs", "lsf", "sge", "htcondor", "oar")
_Name = Annotated[str, AfterValidator(validation.check_name)]
_Path = Annotated[str, AfterValidator(validation.check_path)]
_Line = Annotated[str, AfterValidator(validation.check_line)]
_Size = Annotated[ByteSize, BeforeValidator(validation.check_size), Field(ge=1)]
MIN_WALLTIME = 10
"""Shortest walltime in seconds."""

_COMMON_KEYS = {"kind", "dashboard", "tls"}
_QUEUE_KEYS = _COMMON_KEYS | {
    *("jobs", "cores", "memory", "processes", "walltime", "project", "queue", "interface"),
    *("directives", "skip_directives", "prologue", "python", "local_directory"),
    *("log_directory", "patience", "shared_directory"),
}
_ALLOWED_KEYS: dict[str, set[str]] = {
    "local": _COMMON_KEYS | {"workers", "threads", "memory"},
    "scheduler": {"kind", "tls", "address", "file"},
    **dict.fromkeys(QUEUES, _QUEUE_KEYS),
    "pbs": _QUEUE_KEYS | {"resource"},
    "sge": _QUEUE_KEYS | {"resource"},
    "oar": _QUEUE_KEYS | {"resource", "memory_property"},
    "htcondor": (_QUEUE_KEYS - {"queue"}) | {"disk"},
}
_REQUIRED_KEYS = ("jobs", "cores", "memory", "walltime", "interface")


class Tls(BaseModel):
    """Files with which Dask encrypts connections and authenticates clients.

    Parameters
    ----------
    ca
        Path of the certificate of the authority.
    cert
        Path of the certificate.
    key
        Path of its private key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    ca: str
    cert: str
    key: str

    @field_validator("ca", "cert", "key")
    @classmethod
    def _check_path(cls, value: str) -> str:
        if not value.isprintable() or "-----BEGIN" in value:
            # the value may be a secret: keep it out of the message
            raise ValueError(
                "is not the path of a file; if it is the content of a key or certificate, give the "
                "path of the file that holds it"
            )
        return str(Path(value).expanduser().absolute())


class Site(BaseModel):
    """Description of where workers come from; ``read_site`` makes one.

    Parameters
    ----------
    kind
        ``local``, ``scheduler``, or a queueing system.
    workers, threads
        For ``local``: number of worker processes (default: available cores) and threads
        of each.
    memory
        For ``local``: memory of each worker. For a queueing system: memory of each job.
    address, file
        For ``scheduler``: its address or its scheduler file.
    jobs
        Number of jobs.
    cores, processes
        Cores of each job, and the workers among which they and the memory are divided.
        Default: one worker per core.
    walltime
        Time limit of each job, as [D-]HH:MM:SS.
    project, queue
        Project that is charged, and queue or partition.
    interface
        Network interface on which the scheduler and the workers listen.
    directives, skip_directives
        Lines to add to the head of the job script, and lines to leave out. They are not
        quoted: they are a script of the user.
    prologue
        Shell lines that run before the worker starts. They are not quoted either.
    python
        Command that runs Python for the workers. Default: the interpreter that submits.
    local_directory, log_directory
        Directories for data that workers spill (default: ``$TMPDIR``), and for the
        output of jobs. The shell of the node replaces ``~`` and variables in the first.
    resource, memory_property
        Resource request, and OAR's name for the memory per core.
    disk
        For ``htcondor``: disk space of each job.
    patience
        Maximum wait while no worker is connected, as [D-]HH:MM:SS.
    dashboard
        ``off``, ``loopback`` or an address with a port.
    tls
        Files for encryption. Default: a temporary certificate for each cluster. ``off``
        switches encryption off, because everyone who reaches the network is trusted.
    shared_directory
        For a queueing system: directory on a file system that this machine and the
        workers see, for temporary certificates. Default: ``~/.mgdask``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: Kind
    workers: int | None = None
    threads: int = 1
    memory: _Size | None = None
    address: _Path | None = None
    file: _Path | None = None
    jobs: int = 1
    cores: int = 1
    processes: int | None = None
    walltime: str | None = None
    project: _Name | None = None
    queue: _Name | None = None
    interface: _Name | None = None
    directives: tuple[_Line, ...] = ()
    skip_directives: tuple[_Line, ...] = ()
    prologue: Annotated[tuple[_Line, ...], BeforeValidator(validation.split_lines)] = ()
    python: Annotated[str, AfterValidator(validation.check_command)] | None = None
    local_directory: _Path | None = None
    log_directory: Annotated[str, AfterValidator(validation.check_log_directory)] | None = None
    resource: Annotated[str, AfterValidator(validation.check_resource)] | None = None
    memory_property: _Name | None = None
    disk: _Size | None = None
    patience: str = "1-00:00:00"
    dashboard: str = "off"
    tls: Tls | Literal["off"] | None = None
    shared_directory: _Path | None = None

    @field_validator("dashboard", mode="before")
    @classmethod
    def _read_false(cls, value: object) -> object:
        return "off" if value is False else value

    @field_validator("dashboard")
    @classmethod
    def _check_dashboard(cls, value: str) -> str:
        if value not in ("off", "loopback") and not re.fullmatch(
            r"[\w.:\[\]-]*:\d+", value, flags=re.ASCII
        ):
            raise ValueError(
                "must be off, loopback, or an address with a port such as 10.0.0.5:8787"
            )
        return value

    @field_validator("tls", mode="before")
    @classmethod
    def _check_tls(cls, value: object) -> object:
        value = "off" if value is False else value
        if value is not None and value != "off" and not isinstance(value, (Tls, Mapping)):
            raise ValueError(
                "must be {ca: FILE, cert: FILE, key: FILE}; or off, if everyone who reaches the "
                "network is trusted"
            )
        return value

    @field_validator("walltime", "patience")
    @classmethod
    def _check_time(cls, value: str | None) -> str | None:
        if value is not None:
            seconds(value)
        return value

    @field_validator("workers", "threads", "jobs", "cores", "processes")
    @classmethod
    def _check_count(cls, value: int | None) -> int | None:
        if value is not None and value < 1:
            raise ValueError("must be at least 1")
        return value

    @model_validator(mode="after")
    def _check_keys(self) -> Site:
        unexpected = sorted(self.model_fields_set - _ALLOWED_KEYS[self.kind])
        if unexpected:
            raise ValueError(
                f"{unexpected[0]}: not for kind {self.kind}, which takes "
                f"{', '.join(sorted(_ALLOWED_KEYS[self.kind]))}"
            )
        if self.kind == "scheduler" and (self.address is None) == (self.file is None):
            raise ValueError(
                "kind scheduler needs either address, such as tcp://10.0.0.1:8786, or file"
            )
        if self.kind in QUEUES:
            self._check_job()
        return self

    def _check_job(self) -> None:
        missing = [name for name in _REQUIRED_KEYS if name not in self.model_fields_set]
        if self.kind == "htcondor" and self.disk is None:
            missing.append("disk")
        if missing:
            raise ValueError(f"kind {self.kind} also needs {', '.join(missing)}")
        if self.cores % self.workers_per_job:
            raise ValueError(
                f"processes: {self.processes} does not divide cores: {self.cores}; cores would be "
                "idle or shared"
            )
        if seconds(str(self.walltime)) < MIN_WALLTIME:
            raise ValueError(f"walltime must be at least {MIN_WALLTIME} s")

    @property
    def tls_files(self) -> Tls | None:
        """Files for encryption, if the site names some."""
        return self.tls if isinstance(self.tls, Tls) else None

    @property
    def workers_per_job(self) -> int:
        """Number of workers per job of a queueing system."""
        return self.processes if self.processes is not None else self.cores

    @property
    def worker_threads(self) -> int | None:
        """Threads of each worker; ``None`` if a running scheduler decides."""
        if self.kind in QUEUES:
            return self.cores // self.workers_per_job
        return self.threads if self.kind == "local" else None

    @property
    def worker_memory(self) -> int | None:
        """Memory of each worker in bytes; ``None`` if the site states none."""
        if self.memory is None:
            return None
        return int(self.memory) // (self.workers_per_job if self.kind in QUEUES else 1)

    @property
    def lifetime(self) -> tuple[int, int]:
        """Lifetime of workers in seconds, and its random spread.

        The last worker leaves before the walltime ends. The margin is 5 % of the
        walltime, at least 60 s and less than half of it. Workers leave between 1.5 and
        0.5 margins before the end.
        """
        total = seconds(str(self.walltime))
        margin = min(max(60, total // 20), total * 9 // 20)
        return total - margin, margin // 2


def seconds(text: str) -> int:
    """Return the seconds of a time written as [D-]HH:MM:SS."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)", text)
    if match is None:
        raise ValueError(
            f"{text!r} is not a time: write [D-]HH:MM:SS, such as 02:00:00 (some systems read "
            "HH:MM as minutes)"
        )
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def read_site(source: str | Path | Mapping[str, object] | Site) -> Site:
    r"""Read where workers come from.

    Parameters
    ----------
    source
        Path of a site file (YAML), YAML text, or a mapping; ``"local"``; or the address
        or the scheduler file of a running scheduler.

    Returns
    -------
    site
        The site.

    Raises
    ------
    ParameterError
        If a key or value is invalid. The message names the file, the key and what is
        allowed.

    Notes
    -----
    YAML 1.1 would read ``off`` as false and ``12:00:00`` as a number. Here they are
    read as they are written.

    Examples
    --------
    >>> read_site("kind: local\nworkers: 2\nmemory: 2GiB").worker_memory
    2147483648
    """
    if isinstance(source, Site):
        return source
    if isinstance(source, Mapping):
        return _make_site(source, "site")
    text = str(source)
    if text == "local":
        return Site(kind="local")
    if re.match(r"\w+://", text) or re.fullmatch(r"[\w.-]+:\d+", text):
        return Site(kind="scheduler", address=text)
    if "\n" in text or re.search(r":\s", text):
        return _make_site(_load(text.encode(errors="surrogateescape"), "site"), "site")
    path = Path(text)
    if not path.is_file():
        raise ParameterError(
            f"site={text!r} is neither local, an address such as tcp://10.0.0.1:8786, a scheduler "
            "file nor a YAML file that exists; deploy/ has one for each queueing system"
        )
    if is_scheduler_file(path):
        return Site(kind="scheduler", file=text)
    return _make_site(_load(path, text), text)


def is_scheduler_file(path: Path) -> bool:
    """Return whether a file is JSON with the address of a scheduler."""
    try:
        return "address" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _load(source: Path | bytes, file: str) -> Mapping[str, object]:
    if isinstance(source, Path):
        content = load_yaml(source, file, only_text=True)
    else:
        content = parse_yaml(source, file, only_text=True)
    if not isinstance(content, Mapping):
        raise ParameterError(
            f"{file} must be a mapping that begins with 'kind: ...', one of "
            f"{', '.join(get_args(Kind))}"
        )
    return content


def _make_site(values: Mapping[str, object], file: str) -> Site:
    values = {key: value for key, value in values.items() if value not in ("", "null", "~", None)}
    kind = values.get("kind")
    allowed = _ALLOWED_KEYS.get(str(kind), set(Site.model_fields))
    unknown = sorted(set(map(str, values)) - allowed)
    if unknown:
        raise ParameterError(
            f"{file}: unknown key {unknown[0]!r}; kind {kind} takes {', '.join(sorted(allowed))}"
        )
    try:
        return Site.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        key = ".".join(map(str, first["loc"]))
        message = str(first["msg"]).removeprefix("Value error, ")
        raise ParameterError(f"{file}: {key + ': ' if key else ''}{message}") from None
