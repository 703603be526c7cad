"""One rank of distributed training: a process that can be killed at any time.

It is started as ``python -m mgdask.learn.training.rank_worker`` by the Dask task in
``rank_host``. NumPy and LightGBM are imported late, after the arguments are known.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mgdask.errors import MgdaskError
from mgdask.learn.training.control_files import BEAT as BEAT
from mgdask.learn.training.control_files import read_small as read_small
from mgdask.learn.training.control_files import write_in_place as write_in_place
from mgdask.learn.training.heartbeat import Heartbeat
from mgdask.learn.training.outcomes import Reason, refusal_reason

if TYPE_CHECKING:
    import lightgbm
    import numpy as np
    import numpy.typing as npt

    from mgdask._typing import AnyArray, IntArray
    from mgdask.learn.training.rounds import Checkpoint, Job

_DETAIL_LENGTH = 400
"""Characters of an error message that are kept."""

_NOT_FOR_RANKS = ("sklearn", "dask", "matplotlib", "graphviz")
"""Optional packages that LightGBM imports if they are there. A rank uses none."""


def import_lightgbm() -> None:
    """Import LightGBM alone, which halves the time until a rank trains."""
    hidden = [name for name in _NOT_FOR_RANKS if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        importlib.import_module("lightgbm")
    finally:
        for name in hidden:
            del sys.modules[name]


def row_range(
    n_rows: int, rank: int, ranks: int, starts: IntArray | None = None
) -> tuple[int, int]:
    """Return the rows of a rank: even shares in row order.

    Parameters
    ----------
    n_rows
        Number of rows.
    rank, ranks
        Number of this rank, and of all ranks.
    starts
        First row (group,) of each group that must stay whole. None: any cut will do.

    Returns
    -------
    tuple
        First row, and one past the last.
    """
    import numpy as np

    edges = [n_rows * k // ranks for k in (rank, rank + 1)]
    if starts is not None:
        bounds = np.append(starts, n_rows)
        edges = [int(bounds[np.searchsorted(bounds, edge)]) for edge in edges]
    return edges[0], edges[1]


def main(folder: str, attempt: str, rank: int, ranks: int, address: str, threads: int) -> None:
    """Read a share of the rows, connect to the other ranks, and train.

    Parameters
    ----------
    folder
        Checkpoint folder.
    attempt
        Name of the attempt: its subfolder.
    rank, ranks
        Number of this rank, and of all ranks.
    address
        Host name or IP address at which the other ranks reach this one.
    threads
        Threads of LightGBM.
    """
    from mgdask.learn.training.rounds import Checkpoint, Job, StopSignal, boost
    from mgdask.store.trust import trusting

    import_lightgbm()
    home = Path(folder)
    base = home / attempt
    heartbeat = Heartbeat(home, attempt, rank)
    job = Job.load(home / "job.json")
    job = replace(job, params={**job.params, "num_threads": threads})
    checkpoint = Checkpoint.load(home, job.digest)
    heartbeat.step("is reading rows")
    with trusting(job.trust):
        train = _training_share(job, home, checkpoint, rank, ranks, heartbeat)
        # the leader alone measures, on all rows of the validation data
        valid = _validation_data(job, checkpoint, train, heartbeat) if rank == 0 else None
    with _network(base, rank, ranks, address, heartbeat) as network:
        checkpoint = boost(
            job,
            train,
            valid,
            checkpoint,
            home,
            stop=StopSignal(base / "decision"),
            leader=rank == 0,
            network=network,
            round_done=heartbeat.round_done,
        )
    heartbeat.step("has finished")
    heartbeat.write()
    if rank == 0:
        write_in_place(base / "done.json", {"iteration": checkpoint.iteration})


def _training_share(
    job: Job, home: Path, checkpoint: Checkpoint, rank: int, ranks: int, heartbeat: Heartbeat
) -> lightgbm.Dataset:
    """Read the rows of this rank, with their labels, weights and queries."""
    import numpy as np

    from mgdask.learn.data.rows import Rows
    from mgdask.learn.training.rounds import dataset, reference

    assert job.rows is not None
    label = np.load(home / "labels.npy", mmap_mode="r")
    weight = _load_if_present(home / "weights.npy", mmap_mode="r")
    sizes = _load_if_present(home / "sizes.npy")
    starts = None if sizes is None else np.concatenate([[0], np.cumsum(sizes)[:-1]])
    begin, end = row_range(len(label), rank, ranks, starts)
    own = None if sizes is None or starts is None else sizes[(starts >= begin) & (starts < end)]
    return dataset(
        job,
        Rows.from_json(job.rows).read(begin, end, heartbeat.step),
        np.asarray(label[begin:end]),
        None if weight is None else np.asarray(weight[begin:end]),
        own,
        like=reference(job, home),
        fresh=checkpoint.iteration == 0,
    )


def _load_if_present(path: Path, **options: Any) -> AnyArray | None:
    import numpy as np

    return np.load(path, **options) if path.exists() else None


def _validation_data(
    job: Job, checkpoint: Checkpoint, train: lightgbm.Dataset, heartbeat: Heartbeat
) -> lightgbm.Dataset | None:
    """Read all validation rows."""
    from mgdask.learn.data.rows import Rows
    from mgdask.learn.training.rounds import dataset

    if job.valid is None:
        return None
    rows = Rows.from_json(job.valid)
    group = rows.values("group")
    return dataset(
        job,
        rows.read(0, rows.count(), heartbeat.step),
        rows.values("labels"),
        rows.values("weights"),
        None if group is None else run_lengths(group),
        like=train,
        fresh=checkpoint.iteration == 0,
    )


@contextmanager
def _network(
    base: Path, rank: int, ranks: int, address: str, heartbeat: Heartbeat
) -> Iterator[dict[str, Any]]:
    """Connect this rank to the others; yield LightGBM's parameters for them.

    The key that all ranks of the attempt share comes over standard input.
    """
    if ranks == 1:
        yield {}
        return
    from mgdask.learn.training.collectives import exchanging
    from mgdask.learn.training.links import connect, listen

    identity = sys.stdin.read()
    listener = listen(address)
    port = listener.getsockname()[1]
    write_in_place(base / f"port-{rank}", {"address": address, "port": port})
    heartbeat.step("is waiting for the other ranks")

    def place_of(peer: int) -> tuple[str, int] | None:
        seen = read_small(base / f"port-{peer}")
        return (str(seen["address"]), int(seen["port"])) if "port" in seen else None

    # the client ends this if a rank never comes
    links = connect(rank, ranks, identity, listener, place_of)

    def failed(error: BaseException) -> NoReturn:
        _report(base, rank, error)
        os._exit(1)

    with exchanging(rank, ranks, links, failed):
        yield {"num_machines": ranks, "tree_learner": "data", "pre_partition": True}


def run_lengths(group: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the lengths of runs of equal values.

    Parameters
    ----------
    group
        Query (row,) of each row. Rows of a query are adjacent.

    Returns
    -------
    numpy.ndarray
        Rows (run,) of each run.
    """
    import numpy as np

    edges = np.flatnonzero(np.diff(group)) + 1
    return np.diff(np.concatenate([[0], edges, [len(group)]]))


def _failure_reason(error: BaseException) -> Reason:
    """Classify an exception of a rank."""
    if isinstance(error, MgdaskError):
        return refusal_reason(error)
    if isinstance(error, ConnectionError):
        return Reason.NETWORK
    return Reason.FAILED


def _report(base: Path, rank: int, error: BaseException) -> None:
    """Write why this rank failed to its log and, for the client, beside it."""
    traceback.print_exception(error)
    named = f"{type(error).__name__}: {error}"
    detail = str(error) if isinstance(error, MgdaskError | ConnectionError) else named
    write_in_place(
        base / f"error-{rank}.json",
        {"reason": _failure_reason(error), "detail": detail[:_DETAIL_LENGTH]},
    )


def _run(folder: str, attempt: str, *numbers: str) -> int:
    """Run one rank; write why it failed beside its log. Return the exit status."""
    rank, ranks, address, threads = numbers
    try:
        main(folder, attempt, int(rank), int(ranks), address, int(threads))
    except Exception as error:
        _report(Path(folder) / attempt, int(rank), error)
        return 3 if isinstance(error, MgdaskError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(_run(*sys.argv[1:]))
