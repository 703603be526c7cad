"""Stages of a study, recorded when finished and skipped by later runs."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

from mgdask.errors import MgdaskError, ParameterError
from mgdask.store.durable import replacing
from mgdask.store.failures import explained
from mgdask.store.open import check_complete
from mgdask.store.provenance import digest
from mgdask.store.shards import open_group, read_array
from mgdask.store.summary import composition
from mgdask.studies.timing import StageTimer

T = TypeVar("T")
logger = logging.getLogger("mgdask.studies")


def fingerprint(path: Path) -> str:
    """Return the digest of the content of a store or of a file.

    Raises
    ------
    ParameterError
        If the path does not exist and its name is not that of a store.
    StoreError
        If there is neither a file nor a finished store.
    """
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    if not path.exists() and path.suffix not in ("", ".zarr"):
        raise ParameterError(f"{path} does not exist (in {Path.cwd()}); check the name of the file")
    return check_complete(path)[1]


def describe_input(path: Path) -> str:
    """Return the number of atoms and the composition of a store, in words.

    The text is empty for files, and for stores without species.
    """
    if path.is_file():
        return ""
    group = open_group(path)
    if "species" not in group:
        return ""
    species = read_array(group, "species")
    return f"{len(species)} atoms, {composition(species)}"


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: a reader never sees a part of it."""
    with explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, path.with_name(f"{path.name}.new")) as fresh:
            fresh.write_text(text, encoding="utf-8")


class StageRunner:
    """Runner of the stages of a study, which skips those that are finished.

    A stage is finished if its record belongs to the same options, inputs and earlier
    stages. Its outputs must also be unchanged since it ended.

    Parameters
    ----------
    out
        Folder of the study.
    records
        Folder for the records, one small JSON file per stage.
    identity
        Digest of the options and inputs of the study.
    """

    def __init__(self, out: Path, records: Path, identity: str) -> None:
        self.out, self.records = out, records
        self.timer = StageTimer()
        self.skipped: list[str] = []
        self._study = self._identity = identity

    def __call__(
        self,
        name: str,
        compute: Callable[[StageTimer], T],
        *,
        load: Callable[[], T] | None = None,
        outputs: Callable[[], Iterable[Path]] = tuple,
    ) -> T:
        """Return the result of a stage, computed now or by an earlier run.

        Parameters
        ----------
        name
            Name of the stage, unique within the study.
        compute
            Function that does the work. Its argument is a timer for parts of the stage.
            If no part is timed, the stage is timed as a whole.
        load
            Function that reads the result back from ``outputs``. By default the result
            is a JSON value and is kept in the record.
        outputs
            Function that lists the files and stores written by the stage, all below
            ``out``.

        Returns
        -------
        result
            Return value of ``compute`` or ``load``.
        """
        path = self.records / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.json"
        identity = digest([self._identity, name])
        record = self._finished(path, identity)
        if record is not None:
            try:
                result = cast(T, record["value"]) if load is None else load()
            except (MgdaskError, OSError, ValueError, KeyError, TypeError) as error:
                logger.info("stage %r is repeated: %s", name, error)
            else:
                logger.info("stage %r was finished before", name)
                self.skipped.append(name)
                self._advance(record)
                return result
        path.unlink(missing_ok=True)  # the outputs are about to change
        own, parts = StageTimer(), StageTimer()
        with own(name):
            result = compute(parts)
        record = {
            "stage": name,
            "identity": identity,
            "outputs": {
                str(one.relative_to(self.out)): fingerprint(one) for one in sorted(outputs())
            },
            "value": result if load is None else None,
            "seconds": parts.seconds or own.seconds,
        }
        write_text(path, json.dumps(record, indent=1) + "\n")
        self._advance(record)
        return result

    @property
    def identity(self) -> str:
        """Digest of everything that the next stage depends on."""
        return self._identity

    def branch(self, *depends: Any) -> StageRunner:
        """Return a runner for stages on which later stages do not depend.

        Its stages depend on all stages before it. Other branches may then be added or
        left out without repeating them.

        Parameters
        ----------
        *depends
            JSON values on which its stages depend as well, such as options that are in
            ``adding_stages``, or the ``identity`` of another branch.

        Returns
        -------
        stages
            Runner with the same folders, timer and list of skipped stages.
        """
        other = StageRunner(self.out, self.records, self._study)
        other._identity = digest([self._identity, *depends]) if depends else self._identity
        other.timer, other.skipped = self.timer, self.skipped
        return other

    @cached_property
    def date(self) -> str:
        """Day (UTC) on which the study was first run with these options and inputs.

        It is kept in a file, so that a study that is resumed writes the same bytes.
        """
        path = self.records / "date.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["identity"] == self._study:
                return str(record["date"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        today = datetime.now(UTC).date().isoformat()
        write_text(path, json.dumps({"identity": self._study, "date": today}) + "\n")
        return today

    def _finished(self, path: Path, identity: str) -> dict[str, Any] | None:
        """Return the record of a stage, or None if it is out of date."""
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if record["identity"] != identity:
                return None
            for name, content in record["outputs"].items():
                if fingerprint(self.out / name) != content:
                    return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, MgdaskError):
            return None
        return record

    def _advance(self, record: dict[str, Any]) -> None:
        """Make later stages depend on this one, and add its seconds."""
        self._identity = digest([record["identity"], record["outputs"], record["value"]])
        for part, seconds in record["seconds"].items():
            self.timer.seconds[part] = self.timer.seconds.get(part, 0.0) + seconds


def __getattr__(name: str) -> Any:
    """Return ``Stages``, which version 0.1 had in this module, with its warning."""
    if name == "Stages":
        from mgdask.studies import timing

        return timing.Stages
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
