"""The commands of the matrix: what they need, and what they write."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from tests.benchmarks.faults.loaded import FEATURES

N_FRAMES = 5
"""Frames of the first dump; the others are appended."""
VOLATILE = frozenset(
    [
        "host",
        "pid",
        "seconds",
        "peak_memory",
        "block_memory",
        "timing",
        "created",
        "written",
        "sum",
        "recovered",
        "scratch",
        "sha256",
    ]
)
"""Entries of records and results that differ from run to run.

``recovered`` tells what a training has survived, ``scratch`` where an append worked;
``sum`` and ``sha256`` cover such entries.
"""


@dataclass(frozen=True)
class Command:
    """A command and the paths that it reads and writes.

    ``inputs`` is the folder of shared inputs, ``out`` that of one try. ``seeded`` names
    stores that the try starts with. ``after`` follows the same command when it resumes.
    """

    words: tuple[str, ...]
    target: str
    seeded: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    workers: tuple[str, ...] = ("--cluster", "{inputs}/site.yaml")
    same_bits: bool = True


_INGEST = ("--species", "Zr,Cu", "--timestep", "0.002")
_FEATURIZE = ("featurize", "{inputs}/g.zarr", *FEATURES, "--out")
COMMANDS = {
    "ingest": Command(("ingest", "{inputs}/a.dump", "--out", "{out}/g.zarr", *_INGEST), "g.zarr"),
    "append": Command(
        ("ingest", "{inputs}/b.dump", "--out", "{out}/g.zarr", *_INGEST, "--append"),
        "g.zarr",
        seeded=("g.zarr",),
    ),
    "unwrap": Command(("unwrap", "{inputs}/g.zarr", "--out", "{out}/u.zarr"), "u.zarr"),
    "featurize": Command((*_FEATURIZE, "{out}/f.zarr"), "f.zarr"),
    "predict": Command(
        ("predict", "{inputs}", "{out}/p.zarr"), "p.zarr", workers=("--workers", "2")
    ),
    "train": Command(
        ("train", "{inputs}", "{out}/model"), "model/model", workers=("--workers", "2"),
        same_bits=False,  # ranks give another, equally good model
    ),
    "study": Command(
        (
            "study", "softness", "--train", "{inputs}/left.zarr", "--test", "{inputs}/right.zarr",
            "--out", "{out}/study", "--margin", "4", "--draws", "2", "--rounds", "5",
            "--folds", "0", "--wanted", "0", "--threshold", "1", "--feature", FEATURES[3],
            "--workers", "1",
        ),
        "study",
        workers=(),
    ),
    "verify --repair": Command(
        ("verify", "{out}/damaged/f.zarr", "--repair"),
        "damaged/f.zarr",
        seeded=("damaged/f.zarr",),
        after=(*_FEATURIZE, "{out}/damaged/f.zarr"),
    ),
}  # fmt: skip


def small_shards() -> None:
    """Make stores of few atoms have several blocks."""
    from mgdask.learn import predict as predict_module
    from mgdask.pipelines.featurize import plan
    from mgdask.store import layout, unwrapped

    layout.MIN_SHARD = unwrapped.MIN_SHARD = 24 * 700
    layout.FRAMES_IN_CHUNK = 1
    layout.CHUNK = unwrapped.CHUNK = 8192
    plan.MAX_BLOCK = layout.MAX_BLOCK = 3 * 2**15
    if hasattr(predict_module, "SLAB"):
        predict_module.SLAB = 3 * 2**15


def write_dumps(folder: Path) -> None:
    """Write the shipped glass as two dumps; of each, every third atom of a type."""
    import mgdask

    with gzip.open(mgdask.datasets.path("zrcu"), "rt") as stream:
        lines = stream.read().splitlines()
    n = int(lines[3])
    frames = [lines[k : k + 9 + n] for k in range(0, len(lines), 9 + n)]
    for name, part in (("a", frames[:N_FRAMES]), ("b", frames[N_FRAMES:])):
        text = []
        for frame in part:
            rows = [row for row in frame[9:] if int(row.split()[0]) % 3 == 0]
            head = frame[:9]
            head[3] = str(len(rows))
            text += [*head, *rows]
        (folder / f"{name}.dump").write_text("\n".join(text) + "\n", encoding="ascii")


def prepare(folder: Path) -> None:
    """Write all inputs with undisturbed calls in this process."""
    import numpy as np

    import mgdask
    from mgdask.cli import cli
    from tests.studies.conftest import halves

    small_shards()
    write_dumps(folder)
    (folder / "site.yaml").write_text("kind: local\nworkers: 2\n", encoding="utf-8")
    paths = {"inputs": str(folder), "out": str(folder)}
    install()
    for name in ("ingest", "featurize", "train"):
        words = [word.format(**paths) for word in COMMANDS[name].words]
        cli.main(words, standalone_mode=False)
        if name == "featurize":
            order = mgdask.open_store(folder / "f.zarr").soap.values[..., 0].reshape(-1)
            np.save(folder / "labels.npy", (order > np.median(order)).astype(np.float64))
    halves(folder)
    damaged = folder / "damaged" / "f.zarr"
    shutil.copytree(folder / "f.zarr", damaged)
    shards = sorted(path for path in damaged.rglob("c/*/*/*") if path.is_file())
    for shard in shards[:: max(1, len(shards) // 4)]:
        data = bytearray(shard.read_bytes())
        data[len(data) // 3] ^= 16
        shard.write_bytes(bytes(data))
    assert not mgdask.verify(damaged, progress=False).ok


def install() -> None:
    """Add ``predict`` and ``train``, which have no command, to the command line."""
    from mgdask.cli import cli

    cli.targets |= {
        "predict": (f"{__name__}:predict", "Predict."),
        "train": (f"{__name__}:train", "Train."),
    }
    small_figures()


def small_figures() -> None:
    """Draw no figures in studies."""
    from mgdask.studies.softness import report

    for name in report.FIGURES:
        report.FIGURES[name] = lambda _, path: path.write_bytes(b"\x89PNG\r\n\x1a\n")


@click.command()
@click.argument("inputs")
@click.argument("out")
@click.option("--workers", type=int)
def predict(inputs: str, out: str, workers: int | None) -> None:
    """Predict as a user's script does."""
    from mgdask import learn
    from mgdask.cluster import local_client
    from mgdask.learn.predict import predict as run

    model = learn.Model.load(f"{inputs}/model/model")
    if workers:
        with local_client(workers) as client:
            click.echo(str(run(model, f"{inputs}/f.zarr", out, client=client, progress=False)))
    else:
        click.echo(str(run(model, f"{inputs}/f.zarr", out, progress=False)))


@click.command()
@click.argument("inputs")
@click.argument("out")
@click.option("--workers", type=int)
def train(inputs: str, out: str, workers: int | None) -> None:
    """Train as a user's script does."""
    from contextlib import nullcontext

    from mgdask import learn
    from mgdask.cluster import local_client

    rows = learn.Rows(
        (learn.Part(f"{inputs}/f.zarr"),), ("bond_order", "soap"), labels=f"{inputs}/labels.npy"
    )
    options = {"num_boost_round": 30, "checkpoint_every": 3, "threads": 1, "progress": False}
    with local_client(workers) if workers else nullcontext() as client:
        model = learn.train(
            rows, checkpoint=f"{out}/checkpoint", client=client, ranks=workers, **options
        )
    model.save(f"{out}/model")
    click.echo("trained")


def content(target: Path, out: Path) -> dict[str, str]:
    """Return the digests of all files of a target, without what tells times and hosts.

    JSON files may name the folder ``out``, which may differ.
    """
    found = {}
    for path in sorted(target.rglob("*")) if target.is_dir() else [target]:
        if path.name == "stages.json":  # times only
            continue
        name = path.relative_to(target.parent).as_posix()
        if path.is_dir() and not path.is_symlink():
            found[name] = "folder"
        elif path.suffix in (".json", ".jsonl"):
            lines = path.read_text(encoding="utf-8").replace(f"{out}/", "").splitlines()
            text = lines if path.suffix == ".jsonl" else ["".join(lines)]
            data = json.dumps([_lasting(line) for line in text], sort_keys=True)
            found[name] = hashlib.sha256(data.encode()).hexdigest()
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _lasting(line: str):
    try:
        return _without_times(json.loads(line))
    except ValueError:
        return line


def _without_times(value):
    if isinstance(value, dict):
        return {key: _without_times(v) for key, v in value.items() if key not in VOLATILE}
    if isinstance(value, list):
        return [_without_times(v) for v in value]
    return value


if __name__ == "__main__":
    prepare(Path(sys.argv[1]))
