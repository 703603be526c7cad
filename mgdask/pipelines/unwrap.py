"""Unwrap the positions of a trajectory by tasks over blocks of frames.

The first pass finds the net displacement of each atom in each block of frames. The
second pass adds those of the previous blocks, and writes blocks of frames and atoms.
Neither holds more than a few frames.
"""

from __future__ import annotations

import time as clock
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mgdask import _html
from mgdask._typing import FloatArray
from mgdask.errors import ParameterError, StoreError
from mgdask.execution.client import resolve_client
from mgdask.execution.executor import execute
from mgdask.geometry import cell_changes
from mgdask.pipelines.unwrap_tasks import (
    UnwrapJob,
    identity_of,
    join_mass,
    net_displacement,
    net_name,
    write_unwrapped,
)
from mgdask.store import frame_values
from mgdask.store import unwrapped as unwrapped_store
from mgdask.store.attributes import decode, encoded
from mgdask.store.failures import advise_on_target
from mgdask.store.location import local_place, place_of
from mgdask.store.lock import settled
from mgdask.store.manifest import Manifest
from mgdask.store.open import CONTENTS, changes_explained, check_complete, open_target
from mgdask.store.provenance import versions
from mgdask.store.restoring import Shapes, Values, check_described, rewrite_damaged
from mgdask.store.shards import (
    Group,
    dimension_names,
    get_array,
    open_group,
    read_array,
    remove_store,
)
from mgdask.store.source_checks import check_source
from mgdask.store.trust import TRUSTED, is_trusted, trusting
from mgdask.store.writable import check_writable

if TYPE_CHECKING:
    from distributed import Client

Scheme = Literal["images", "nearest", "toroidal"]

SCHEMES = {
    "images": "position + image @ cell of the frame (images as stored)",
    "nearest": "the image nearest to the position in the previous frame, in the cell of the frame",
    "toroidal": "sum of the displacements from frame to frame, each reduced in the cell of the "
    "later frame",
}
"""Unwrapping schemes.

All agree if the cell is constant and every step is shorter than half of it.
"""

MAX_GUESSED_STEP = 0.45
"""Largest step whose direction is certain without images, as a fraction of the cell."""

AXES = ("atom_id", "species", "mass", "pbc", "step", "time", "run", "cell")
"""Arrays copied from the trajectory if present, besides its values of frames."""


@dataclass(frozen=True)
class UnwrapReport:
    """Result of ``unwrap``; ``str`` gives a summary.

    Attributes
    ----------
    out
        Store of the unwrapped trajectory.
    scheme, why
        Scheme that was used, and the reason.
    n_frames, n_atoms
        Number of frames and atoms.
    largest_step
        Largest step between two frames, as a fraction of the cell.
    seconds
        Wall-clock time in s.
    trusted
        Whether the trajectory was read without comparing its files with their records.
    """

    out: str
    scheme: str
    why: str
    n_frames: int
    n_atoms: int
    largest_step: float
    seconds: float
    trusted: bool = False

    def __str__(self) -> str:
        input_line = f"\ninput: {TRUSTED}" if self.trusted else ""
        return (
            f"{self.out}: unwrapped trajectory of {self.n_atoms} atoms over {self.n_frames} "
            f"frames, scheme {self.scheme!r} ({self.why}); largest step {self.largest_step:.3f} "
            f"of the cell; {self.seconds:.1f} s{input_line}"
        )

    def _repr_html_(self) -> str:
        rows = [
            ("store", self.out),
            ("size", f"{self.n_frames} frames of {self.n_atoms} atoms"),
            ("scheme", f"{self.scheme} ({self.why})"),
            ("largest step", f"{self.largest_step:.3f} of the cell"),
            ("time", f"{self.seconds:.1f} s"),
        ]
        rows += [("input", TRUSTED)] if self.trusted else []
        return _html.table("Unwrapped trajectory", rows)


def select_scheme(scheme: str, cell: FloatArray) -> tuple[str, str]:
    """Return the unwrapping scheme and the reason for it.

    Parameters
    ----------
    scheme
        One of ``SCHEMES``, or ``"auto"``: "images" if the cell is constant, "toroidal"
        if it changes.
    cell
        Cells (frame, vector, xyz) in Å.

    Raises
    ------
    ParameterError
        If the scheme is unknown.
    """
    if scheme == "auto":
        changes = cell_changes(cell)
        return ("toroidal", "the cell changes") if changes else ("images", "the cell is constant")
    if scheme not in SCHEMES:
        raise ParameterError(
            f"scheme={scheme!r} is unknown; allowed are 'auto', {', '.join(map(repr, SCHEMES))}"
        )
    return scheme, "as requested"


def unwrap(
    store: str | Path,
    out: str | Path,
    *,
    scheme: str = "auto",
    allow_jumps: bool = False,
    trust: bool = False,
    client: Client | None = None,
    progress: bool = True,
) -> UnwrapReport:
    """Write the unwrapped trajectory of all atoms, split by atoms.

    Unwrapped positions have no periodic jumps. Unwrapping restarts with each ``run``.

    Parameters
    ----------
    store
        A finished trajectory store.
    out
        Store to write. Repeating an interrupted call computes only what is missing.
    scheme
        "images": position + image @ cell. Atoms stay on the lattice of images, but
        those that have crossed a face move whenever the cell changes. "nearest": the
        same with newly derived images, ignoring the stored ones. "toroidal": sum of the
        displacements from frame to frame, which is right for diffusion in a changing
        cell of any shape. "auto": "images" if the cell is constant, "toroidal" if it
        changes.
    allow_jumps
        Continue if images are derived and an atom moves more than 0.45 of the cell
        between two frames.
    trust
        Read the trajectory without comparing its files with their records. A damaged
        file may then give wrong positions.
    client
        Dask client. Default: the current one, or a temporary one in this process.
    progress
        Show a bar on a terminal, or one log line per minute.

    Returns
    -------
    report
        An ``UnwrapReport``. The store holds path(atom, frame, xyz) and the
        mass-weighted center_of_mass(frame, xyz), both in Å, and the coordinates of the
        trajectory. Its attributes state the scheme and the reason for it.

    Raises
    ------
    StoreError
        If an atom jumps, with its id and the frames; or if ``out`` holds other results.
    ParameterError
        If the scheme is unknown.

    References
    ----------
    von Bülow, Bullerjahn, Hummer, J. Chem. Phys. 153, 021101 (2020);
    Kulke, Vermaas, J. Chem. Theory Comput. 18, 6161 (2022).

    Examples
    --------
    >>> print(mgdask.unwrap("glass.zarr", "unwrapped.zarr"))  # doctest: +SKIP
    """
    store = place_of(store)
    out = local_place(out, "mgdask unwrap writes")
    group, content = check_complete(store, kind="trajectory")
    with trusting(trust), changes_explained(store, content):
        return _unwrap(store, out, group, content, scheme, allow_jumps, client, progress)


def _unwrap(
    store: str | Path,
    out: str | Path,
    group: Group,
    content: str,
    scheme: str,
    allow_jumps: bool,
    client: Client | None,
    progress: bool,
) -> UnwrapReport:
    started = clock.perf_counter()
    scheme, reason = select_scheme(scheme, read_array(group, "cell"))
    n_frames, n_atoms = get_array(group, "position").shape[:2]
    layout = unwrapped_store.unwrapped_layout(n_frames, n_atoms)
    job = UnwrapJob(
        str(store),
        str(out),
        scheme,
        identity_of(content, scheme),
        n_frames,
        n_atoms,
        layout.shard_frames,
        layout.shard_atoms,
    )
    manifest = Manifest(out)
    with manifest.locked() as lock:
        if manifest.content() is None:
            check_source(store, ("position", "image"))
        _prepare(job, reason, group)
        frame_values.copy(group, out)
        job.check_input()  # the coordinates and these values are of the same version
        with resolve_client(client) as workers:
            _compute(job, workers, allow_jumps or _images_known(group, scheme), progress)
        if manifest.content() is None:
            lock.check()
            unwrapped_store.drop_scratch(open_group(out, mode="r+"))
            rewritten = [*(name for name in AXES if name in group), *frame_values.names(group)]
            manifest.finish(job.identity, rewritten=rewritten)
        largest = decode(open_group(out).attrs, "largest_step")
    return UnwrapReport(
        job.out,
        scheme,
        reason,
        n_frames,
        n_atoms,
        float(largest["share"]),
        clock.perf_counter() - started,
        is_trusted(),
    )


def _images_known(group: Group, scheme: str) -> bool:
    stored = str(get_array(group, "image").attrs.get("scheme", ""))
    return scheme != "nearest" and not stored.startswith("derived")


def check_unwrapped(out: str | Path, identity: str) -> None:
    """Refuse a target that an unwrapping cannot create or continue.

    Parameters
    ----------
    out
        Store of the unwrapped trajectory. It is not changed.
    identity
        Digest of the trajectory and the scheme.

    Raises
    ------
    StoreError
        If ``out`` holds anything else, is being written, or cannot be written.
    """
    settled(out, lambda: _check_holds(out, identity))


def _check_holds(out: str | Path, identity: str) -> None:
    """Refuse a target that holds anything else, or cannot be written."""
    check_writable(out)
    if not Path(out).exists():
        return
    attrs = open_target(out).attrs
    if attrs.get("paths_digest") != identity:
        kind = CONTENTS.get(str(attrs.get("mgdask_kind")), "nothing that mgdask wrote")
        other = " of another input or scheme" if "paths_digest" in attrs else ""
        advice = advise_on_target(out, deletable="paths_digest" in attrs)
        raise StoreError(f"{advice}: it holds {kind}{other}")


def _prepare(job: UnwrapJob, reason: str, group: Group) -> None:
    """Create the store, unless an earlier call has begun it."""
    _check_holds(job.out, job.identity)
    out = Path(job.out)
    axes = {
        name: (dimension_names(get_array(group, name)), read_array(group, name))
        for name in AXES
        if name in group
    }
    if out.exists():
        is_ready = open_group(out).attrs.get("mgdask_ready")
        if is_ready and Manifest(out).content() is not None:
            return
        if is_ready:
            _restore(job, axes)
            return
        remove_store(out)
    new_attrs = {
        "scheme": job.scheme,
        "scheme_meaning": SCHEMES[job.scheme],
        "scheme_reason": reason,
        "input": job.store,
        "paths_digest": job.identity,
        "citation": "von Bülow, Bullerjahn, Hummer, J. Chem. Phys. 153, 021101 (2020)",
        "versions": versions(),
    }
    job.check_input()
    unwrapped_store.create(out, new_attrs, axes, len(job.blocks))


def _restore(job: UnwrapJob, axes: Values) -> None:
    """Write damaged small arrays of an unfinished store again."""
    shapes: Shapes = {
        "path": (("atom", "frame", "xyz"), (job.n_atoms, job.n_frames, 3), "float64"),
        "center_of_mass": (("frame", "xyz"), (job.n_frames, 3), "float64"),
    }
    check_described(job.out, "paths", rewritten=axes, shapes=shapes)
    rewrite_damaged(job.out, axes, "paths", n_frames=job.n_frames)


def _compute(job: UnwrapJob, workers: Client, images_known: bool, progress: bool) -> None:
    """Write the blocks that are missing."""
    manifest = Manifest(job.out)
    missing = job.missing_shards()
    if missing or not manifest.done("mass-joined", job.identity, manifest.records()):
        manifest.reopen()
        unwrapped_store.make_scratch(open_group(job.out, mode="r+"), len(job.blocks))
        _first_pass(job, workers, progress)
        _check_steps(job, images_known=images_known)
        join_mass(job)
        _second_pass(job, missing, workers, progress)


def _first_pass(job: UnwrapJob, client: Client, progress: bool) -> None:
    manifest = Manifest(job.out)
    records = manifest.records()
    tasks = []
    for block in job.blocks:
        if not manifest.done(net_name(block), job.identity, records):
            low, high = job.frames(block)
            tasks.append((f"frames {low} to {high - 1}", (job, block)))
    if tasks:
        execute(
            client,
            net_displacement,
            tasks,
            what="unwrap, first pass",
            unit="blocks",
            progress=progress,
        )


def _second_pass(
    job: UnwrapJob, missing: Sequence[tuple[int, int]], client: Client, progress: bool
) -> None:
    tasks = []
    for block, first in missing:
        low, high = job.frames(block)
        last = min(first + job.block_atoms, job.n_atoms)
        name = f"frames {low} to {high - 1}, atoms {first} to {last - 1}"
        tasks.append((name, (job, block, first, last)))
    execute(
        client, write_unwrapped, tasks, what="unwrap, second pass", unit="blocks", progress=progress
    )


def _check_steps(job: UnwrapJob, *, images_known: bool) -> None:
    """Record the largest step, and raise if its direction is ambiguous."""
    records = Manifest(job.out).records()
    steps = [records[net_name(block)]["largest"] for block in job.blocks]
    largest = max(steps, key=lambda step: float(step["share"]))
    if not images_known and largest["share"] > MAX_GUESSED_STEP:
        raise StoreError(
            f"{job.store}: atom {largest['atom']} moves {largest['share']:.2f} of the cell between "
            f"frames {largest['frame'] - 1} and {largest['frame']}. The file had no images, so the "
            "direction is ambiguous. Store frames more often, or dump image flags (ix iy iz) or "
            "unwrapped coordinates (xu yu zu); allow_jumps=True (--allow-jumps) assumes the "
            "shorter displacement"
        )
    open_group(job.out, mode="r+").attrs.update(encoded({"largest_step": largest}))
