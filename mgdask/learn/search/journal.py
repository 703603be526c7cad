"""The storage of a search: Optuna's journal and the scores of unfinished trials.

One search at a time may use a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mgdask.errors import MissingDependencyError, StoreError
from mgdask.store.failures import explained

if TYPE_CHECKING:
    import optuna

Direction: TypeAlias = Literal["minimize", "maximize"]
"""Whether a lower or a higher value of the metric is better."""
NAME = "mgdask search"
"""Name of the study in the file."""


def require_optuna() -> None:
    """Refuse to go on without Optuna.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise MissingDependencyError("optuna", "search", "the search for parameters") from None


class Journal:
    """Finished trials in an Optuna study, which Optuna's own tools can read.

    Trials are added in order when their batch is over. Until then, the scores of their
    folds are attributes of the study: Optuna has no public way to continue a trial that
    another process began.

    Parameters
    ----------
    study
        The study.
    path
        Its file. None: it is in memory.
    """

    def __init__(self, study: optuna.Study, path: Path | None) -> None:
        self._study, self._path = study, path

    def finished(self) -> list[optuna.trial.FrozenTrial]:
        """Return the finished trials.

        Returns
        -------
        list
            Sorted by number.
        """
        return list(self._study.get_trials(deepcopy=False))

    def add(self, trial: optuna.trial.FrozenTrial) -> None:
        """Add a finished trial.

        Parameters
        ----------
        trial
            Optuna's trial.
        """
        with explained(self._path or "memory"):
            self._study.add_trial(trial)

    def keep(self, number: int, params: Mapping[str, Any], scores: list[float]) -> None:
        """Keep the scores of an unfinished trial, unless the journal is in memory.

        Parameters
        ----------
        number
            Number of the trial.
        params
            Its parameters.
        scores
            Scores of its first folds.
        """
        if self._path is not None:
            with explained(self._path):
                self._study.set_user_attr(
                    _key(number), {"params": dict(params), "scores": list(scores)}
                )

    def kept(self, number: int, params: Mapping[str, Any]) -> list[float]:
        """Return the kept scores of an unfinished trial.

        Parameters
        ----------
        number
            Number of the trial.
        params
            Its parameters. Scores of others are ignored.

        Returns
        -------
        list
            Scores of its first folds.
        """
        if self._path is None:
            return []
        entry = self._study.user_attrs.get(_key(number), {})
        return list(entry["scores"]) if entry.get("params") == dict(params) else []


def _key(number: int) -> str:
    return f"trial {number}"


@contextmanager
def opened(storage: str | Path | None, digest: str, direction: Direction) -> Iterator[Journal]:
    """Open a journal for one search and lock it.

    Parameters
    ----------
    storage
        File, which is created if it is missing. None: in memory.
    digest
        Digest of the search.
    direction
        ``"minimize"`` or ``"maximize"``.

    Yields
    ------
    Journal

    Raises
    ------
    StoreError
        If the file belongs to another search, is not a journal, or is in use.
    """
    import optuna

    if storage is None:
        yield Journal(optuna.create_study(direction=direction), None)
        return
    path = Path(storage).resolve()
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(handle, path)
        # the lock is ours: what a killed search left would block us, or could not be
        # read
        with suppress(FileNotFoundError):
            Path(f"{path}.lock").unlink()
        _cut_torn_line(path, handle)
        yield Journal(_study(path, digest, direction), path)
    finally:
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    """Lock the file until its handle is closed or the process ends."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreError(
            f"{path} is used by another search; wait for it, or give another storage"
        ) from None


def _cut_torn_line(path: Path, handle: int) -> None:
    """Remove a last line that a killed search has not finished."""
    text = path.read_bytes()
    if text and not text.endswith(b"\n"):
        os.ftruncate(handle, text.rfind(b"\n") + 1)


def _study(path: Path, digest: str, direction: Direction) -> optuna.Study:
    """Open or create the study in a file, and check that it belongs to this search."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    try:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
        names = optuna.get_all_study_names(storage)
        if names not in ([], [NAME]):
            raise StoreError(
                f"{path} holds studies of other programs ({', '.join(names)}); give another storage"
            )
        study = optuna.create_study(
            storage=storage, study_name=NAME, direction=direction, load_if_exists=True
        )
        kept_digest = study.user_attrs.get("digest")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path} is not a journal of a search, or is damaged ({error}); give another storage"
        ) from None
    if kept_digest is None and not study.get_trials(deepcopy=False):
        study.set_user_attr("digest", digest)
    elif kept_digest != digest:
        raise StoreError(
            f"{path} holds another search: data, groups, space, folds, seed, batch, number of "
            "rounds, objective, metric or fixed parameters differ. Give another storage, or "
            "remove that file"
        )
    return study
