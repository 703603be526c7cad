"""A site: one small YAML that says where workers come from. Reading it, refusing what is wrong in words, plain arithmetic."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    ByteSize,
    ConfigDict,
    ValidationError,
    field_validator,
    model_validator,
)

from mgdask.errors import ParameterError

Kind = Literal["local", "scheduler", "slurm", "pbs", "lsf", "sge", "htcondor", "oar"]
QUEUES = ("slurm", "pbs", "lsf", "sge", "htcondor", "oar")

_ANY = {"kind", "dashboard", "tls"}
_QUEUE = _ANY | {
    "jobs",
    "cores",
    "memory",
    "processes",
    "walltime",
    "project",
    "queue",
    "interface",
    "directives",
    "skip_directives",
    "prologue",
    "python",
    "local_directory",
    "log_directory",
    "patience",
}
_ALLOWED: dict[str, set[str]] = {
    "local": _ANY | {"workers", "threads", "memory"},
    "scheduler": {"kind", "tls", "address", "file"},
    **dict.fromkeys(QUEUES, _QUEUE),
    "pbs": _QUEUE | {"resource"},
    "sge": _QUEUE | {"resource"},
    "oar": _QUEUE | {"resource", "memory_property"},
    "htcondor": (_QUEUE - {"queue"}) | {"disk"},
}
_NEEDED = ("jobs", "cores", "memory", "walltime", "interface")


class Tls(BaseModel):
    """Files with which Dask encrypts and checks who connects: the authority, a certificate, its key. Paths, never contents."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    ca: str
    cert: str
    key: str

    @field_validator("ca", "cert", "key")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        if (
            "\n" in value or "-----BEGIN" in value
        ):  # the value stays out of the message: it is a secret
            raise ValueError(
                "is the content of a key or certificate; give the path of the file that holds it"
            )
        return str(Path(value).expanduser().absolute())


class Site(BaseModel):
    """Where workers come from, as read from a site file; ``mgdask.cluster.read_site`` makes one.

    ``kind: local``: ``workers`` processes of this machine with ``threads`` each and ``memory`` each. ``kind: scheduler``: ``address`` or scheduler
    ``file``. A queueing system: ``jobs``, each with ``cores`` and ``memory`` shared by ``processes`` workers (default one a core), for a
    ``walltime`` of [D-]HH:MM:SS, on the network ``interface`` that workers and scheduler listen on. ``dashboard``: off, loopback or an address.
    ``patience``: how long a run waits for the queue when no worker is there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kind: Kind
    workers: int | None = None
    threads: int = 1
    memory: ByteSize | None = None
    address: str | None = None
    file: str | None = None
    jobs: int = 1
    cores: int = 1
    processes: int | None = None
    walltime: str | None = None
    project: str | None = None
    queue: str | None = None
    interface: str | None = None
    directives: tuple[str, ...] = ()
    skip_directives: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()
    python: str | None = None
    local_directory: str | None = None
    log_directory: str | None = None
    resource: str | None = None
    memory_property: str | None = None
    disk: ByteSize | None = None
    patience: str = "1-00:00:00"
    dashboard: str = "off"
    tls: Tls | None = None

    @field_validator("dashboard", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        return "off" if value is False else value

    @field_validator("dashboard")
    @classmethod
    def _where(cls, value: str) -> str:
        if value not in ("off", "loopback") and not re.fullmatch(r"[\w.:\[\]-]*:\d+", value):
            raise ValueError(
                "must be off, loopback, or an address with a port such as 10.0.0.5:8787"
            )
        return value

    @field_validator("walltime", "patience")
    @classmethod
    def _is_a_time(cls, value: str | None) -> str | None:
        if value is not None:
            seconds(value)
        return value

    @field_validator("workers", "threads", "jobs", "cores", "processes")
    @classmethod
    def _at_least_one(cls, value: int | None) -> int | None:
        if value is not None and value < 1:
            raise ValueError("must be at least 1")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Site:
        given = self.model_fields_set
        wrong = sorted(given - _ALLOWED[self.kind])
        if wrong:
            raise ValueError(
                f"{wrong[0]}: not for kind {self.kind}, which takes {', '.join(sorted(_ALLOWED[self.kind]))}"
            )
        if self.kind == "scheduler" and (self.address is None) == (self.file is None):
            raise ValueError(
                "kind scheduler needs either address, such as tcp://10.0.0.1:8786, or file"
            )
        if self.kind in QUEUES:
            missing = [name for name in _NEEDED if name not in given] + (
                ["disk"] if self.kind == "htcondor" and self.disk is None else []
            )
            if missing:
                raise ValueError(f"kind {self.kind} needs {', '.join(missing)} too")
            if self.cores % self.workers_per_job:
                raise ValueError(
                    f"processes: {self.processes} does not divide cores: {self.cores}, so that cores would idle or be shared"
                )
            if seconds(str(self.walltime)) < 10:
                raise ValueError("walltime must be at least 10 s")
        return self

    @property
    def workers_per_job(self) -> int:
        """Worker processes of one job of a queueing system."""
        return self.processes if self.processes is not None else self.cores

    @property
    def worker_threads(self) -> int | None:
        """Threads of one worker; None where a running scheduler decides."""
        if self.kind in QUEUES:
            return self.cores // self.workers_per_job
        return self.threads if self.kind == "local" else None

    @property
    def worker_memory(self) -> int | None:
        """Bytes of one worker; None where the site does not say."""
        if self.memory is None:
            return None
        return int(self.memory) // (self.workers_per_job if self.kind in QUEUES else 1)

    @property
    def lifetime(self) -> tuple[int, int]:
        """Seconds after which a worker leaves, and by how much they differ, so that the last one leaves before the walltime ends.

        The margin is 5 % of the walltime, at least 60 s, less than half; workers leave between 1.5 and 0.5 margins before the end.
        """
        whole = seconds(str(self.walltime))
        margin = min(max(60, whole // 20), whole * 9 // 20)
        return whole - margin, margin // 2


def seconds(text: str) -> int:
    """Seconds of a time written [D-]HH:MM:SS."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)", text)
    if found is None:
        raise ValueError(
            f"{text!r} is no time: write [D-]HH:MM:SS, such as 02:00:00 (HH:MM means minutes to some systems)"
        )
    days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def read_site(source: str | Path | Mapping[str, Any] | Site) -> Site:
    """A ``Site`` from a YAML file, its text, a mapping, or a short word.

    Parameters: ``source``, a path of a YAML file; YAML text; a mapping; ``local``; the address or the scheduler file of a running scheduler.

    Returns a ``Site``. Raises ``ParameterError`` that names the key, what is allowed and the file. Values are read as they are written: ``off``
    is a word and ``12:00:00`` a time, whatever YAML makes of them.

    >>> read_site("kind: local\\nworkers: 2\\nmemory: 2GiB").worker_memory
    2147483648
    """
    if isinstance(source, Site):
        return source
    if isinstance(source, Mapping):
        return _make(source, "site")
    text = str(source)
    if text == "local":
        return Site(kind="local")
    if re.match(r"\w+://", text) or re.fullmatch(r"[\w.-]+:\d+", text):
        return Site(kind="scheduler", address=text)
    if "\n" in text or re.search(r":\s", text):
        return _make(_load(text, "site"), "site")
    path = Path(text)
    if not path.is_file():
        raise ParameterError(
            f"site={text!r} is neither local, an address such as tcp://10.0.0.1:8786, a scheduler file nor a YAML file that "
            "exists; deploy/ has one for each queueing system"
        )
    content = path.read_text(encoding="utf-8")
    if content.lstrip().startswith("{") and is_scheduler_file(path):
        return Site(kind="scheduler", file=text)
    return _make(_load(content, text), text)


def is_scheduler_file(path: Path) -> bool:
    """Whether a file is what a scheduler writes: JSON with its address."""
    try:
        return "address" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _load(text: str, where: str) -> Mapping[str, Any]:
    try:
        found = yaml.load(
            text, Loader=yaml.BaseLoader
        )  # all values are words: YAML 1.1 makes 12:00:00 a number and off false
    except yaml.YAMLError as error:
        raise ParameterError(f"{where} is no YAML: {error}") from None
    if not isinstance(found, Mapping):
        raise ParameterError(
            f"{where} must be a mapping that begins with 'kind: ...', one of {', '.join(get_args(Kind))}"
        )
    return found


def _make(values: Mapping[str, Any], where: str) -> Site:
    given = {key: value for key, value in values.items() if value not in ("", "null", "~", None)}
    kind = given.get("kind")
    unknown = sorted(set(map(str, given)) - set(_ALLOWED.get(str(kind), Site.model_fields)))
    if unknown:
        allowed = ", ".join(sorted(_ALLOWED.get(str(kind), set(Site.model_fields))))
        raise ParameterError(f"{where}: unknown key {unknown[0]!r}; kind {kind} takes {allowed}")
    try:
        return Site(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        message = str(first["msg"]).removeprefix("Value error, ")
        raise ParameterError(f"{where}: {place + ': ' if place else ''}{message}") from None
