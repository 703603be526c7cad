"""The file of a search: Optuna's journal, with the scores of folds whose trials are not over, for one search at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mgdask.errors import MissingDependencyError, StoreError
from mgdask.store.failures import explained

NAME = "mgdask search"
"""Name of the study in the file."""


def optuna() -> Any:
    """The optional package, or ``MissingDependencyError``."""
    try:
        import optuna as found
    except ImportError:
        raise MissingDependencyError("optuna", "learn", "the search for parameters") from None
    return found


class Journal:
    """Finished trials in an Optuna study, readable by its own tools; in memory where there is no file.

    Trials are added whole and in order when their batch is over. The scores of folds before that are attributes of the
    study: Optuna has no public way to go on with a trial that another process began.
    """

    def __init__(self, study: Any, path: Path | None) -> None:
        self.study, self.path = study, path

    def finished(self) -> list[Any]:
        """Trials that are over, by number."""
        return list(self.study.get_trials(deepcopy=False))

    def add(self, trial: Any) -> None:
        """A trial that is over."""
        with explained(self.path or "memory"):
            self.study.add_trial(trial)

    def keep(self, number: int, params: Mapping[str, Any], scores: list[float]) -> None:
        """The scores of the first folds of a trial."""
        if self.path is not None:
            with explained(self.path):
                self.study.set_user_attr(
                    f"trial {number}", {"params": dict(params), "scores": list(scores)}
                )

    def kept(self) -> Mapping[str, Any]:
        """What was kept, by "trial <number>"; copied by Optuna at each call."""
        return {} if self.path is None else dict(self.study.user_attrs)


@contextmanager
def opened(storage: str | Path | None, digest: str, direction: str) -> Iterator[Journal]:
    """The journal in ``storage``, new or of the same ``digest``; ``StoreError`` where it is of other work, or in use."""
    package = optuna()
    if storage is None:
        yield Journal(package.create_study(direction=direction), None)
        return
    path = Path(storage).resolve()
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(
                handle, fcntl.LOCK_EX | fcntl.LOCK_NB
            )  # ends with its process, however that ends
        except BlockingIOError:
            raise StoreError(
                f"{path} is used by another search; wait for it, or give another storage"
            ) from None
        # nobody else is here: what a killed search left would be waited for, or could not be read
        with suppress(FileNotFoundError):
            Path(f"{path}.lock").unlink()
        _cut_torn_line(path, handle)
        yield Journal(_study(package, path, digest, direction), path)
    finally:
        os.close(handle)


def _cut_torn_line(path: Path, handle: int) -> None:
    text = path.read_bytes()
    if text and not text.endswith(b"\n"):
        os.ftruncate(handle, text.rfind(b"\n") + 1)


def _study(package: Any, path: Path, digest: str, direction: str) -> Any:
    journal = package.storages.journal
    try:
        storage = package.storages.JournalStorage(journal.JournalFileBackend(str(path)))
        names = package.get_all_study_names(storage)
        if names not in ([], [NAME]):
            raise StoreError(
                f"{path} holds studies of other programs ({', '.join(names)}); give another storage"
            )
        study = package.create_study(
            storage=storage, study_name=NAME, direction=direction, load_if_exists=True
        )
        found = study.user_attrs.get("digest")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path} is no journal of a search, or damaged ({error}); give another storage"
        ) from None
    if found is None and not study.get_trials(deepcopy=False):
        study.set_user_attr("digest", digest)
    elif found != digest:
        raise StoreError(
            f"{path} holds another search: data, groups, space, folds, seed, batch, rounds, objective, metric or fixed "
            "parameters differ. Give another storage, or remove that file"
        )
    return study
