"""Audit of the frames: checks, and notes on what was left out or assumed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath

import numpy as np

from mgdask._typing import FloatArray
from mgdask.bounds import MAX_LABEL, MAX_LENGTH, shortened
from mgdask.errors import AuditError, ParameterError
from mgdask.geometry import unsound_cells
from mgdask.readers.coordinates import DERIVED
from mgdask.readers.damage import BOX, POSITION
from mgdask.readers.files import natural, printable
from mgdask.readers.formats.lammps_header import NO_FLAGS
from mgdask.readers.formats.lammps_index import TOO_LONG
from mgdask.readers.origins import SMALL_CHANGE, largest_change
from mgdask.readers.records import Contents, FrameRef
from mgdask.readers.splitting import MAX_COMMANDS, same_size_ranges, split_commands
from mgdask.readers.units import UnitStyle

REPEATED = ("last", "first", "all", "error")
_SHOWN = 4


class Audit:
    """Notes by kind, in the order found.

    If there are many of one kind, the first few are shown with the timesteps of the
    rest.
    """

    def __init__(self) -> None:
        self._notes: dict[str, list[tuple[str, int | None]]] = {}

    def note(self, kind: str, text: str, step: int | None = None) -> None:
        """Add a note; notes of one ``kind`` are shown together."""
        self._notes.setdefault(kind, []).append((text, step))

    def lines(self) -> tuple[str, ...]:
        """Return all notes as lines."""
        out: list[str] = []
        for kind, notes in self._notes.items():
            shown = notes if len(notes) <= _SHOWN + 1 else notes[:_SHOWN]
            out += [text for text, _ in shown]
            rest = notes[len(shown) :]
            if rest:
                steps = [str(step) for _, step in rest if step is not None]
                listed = f", timesteps {' '.join(steps)}" if steps else ""
                out.append(f"... and {len(rest)} more of this kind ({kind}){listed}")
        return tuple(out)


def whole_frames(refs: Sequence[FrameRef], audit: Audit) -> list[FrameRef]:
    """Return the frames of one file that can be used.

    Truncated frames, and frames whose box or positions are not finite, are left out and
    reported in a note. Raise ``AuditError`` for a frame with extra lines, or if no
    frame can be used.
    """
    kept = []
    for ref in refs:
        if ref.problem is None:
            kept.append(ref)
        elif ref.problem.startswith(TOO_LONG):
            raise AuditError(
                f"{ref.where}: {ref.problem}. Repair the file, or remove this frame from it"
            )
        elif ref.problem.startswith((BOX, POSITION)):
            audit.note(
                "damaged",
                f"{ref.where}: this frame is left out because {ref.problem}. The simulation "
                "diverged there, or the file is damaged: check the frames after it. frames= "
                "counts only the frames that are kept",
                ref.step,
            )
        else:
            last = "the last frame" if ref is refs[-1] else "a frame in the middle"
            audit.note(
                "cut short",
                f"{ref.where}: {last} of the file is left out because {ref.problem}",
                ref.step,
            )
    if not kept and len(refs) > 1:
        raise no_frame_left(refs[0])
    return kept


def no_frame_left(ref: FrameRef) -> AuditError:
    """Return the error for input without a usable frame; ``ref`` is one of them."""
    return AuditError(
        f"{ref.where}: {ref.problem}; no complete frame is left. Leave this file out, or write "
        "it again"
    )


def check_sizes(refs: Sequence[FrameRef], numbers: Sequence[int], command: str) -> None:
    """Check that all frames have the same number of atoms.

    Parameters
    ----------
    refs
        The frames.
    numbers
        Their numbers, as counted by ``frames=``.
    command
        Command that ingests the files, without frames and output.

    Raises
    ------
    AuditError
        For the first frame that differs, with the commands that split the files.
    """
    first = refs[0]
    other = next((ref for ref in refs if ref.n_atoms != first.n_atoms), None)
    if other is None:
        return
    pairs = sorted(zip(numbers, refs, strict=True), key=lambda pair: pair[0])
    ranges = same_size_ranges(*map(list, zip(*pairs, strict=True)))
    text = (
        f"{other.where}: it has {other.n_atoms} atoms, but frame {first.ordinal} of "
        f"{first.path} (timestep {first.step}) has {first.n_atoms}. All frames of a store "
        "must have the same atoms. "
    )
    if len(ranges) > MAX_COMMANDS:
        text += (
            f"The number changes {len(ranges) - 1} times: write the dump again for a group of "
            "atoms that stay (dump ID GROUP custom ...). These commands ingest the first parts:\n"
        )
    else:
        text += "These commands ingest each part into a separate store:\n"
    raise AuditError(text + split_commands(ranges, command))


def check_cells(refs: Sequence[FrameRef], style: UnitStyle) -> None:
    """Raise ``AuditError`` for the first frame whose cell cannot be used."""
    pbc = refs[0].pbc
    with np.errstate(all="ignore"):
        cell = np.array([ref.cell for ref in refs]) * style.length
        origin = np.array([ref.origin for ref in refs]) * style.length
    found = unsound_cells(cell, pbc)
    far = np.flatnonzero(~(np.abs(origin).max(axis=1) <= MAX_LENGTH))
    found += [
        (
            int(k),
            f"the origin of the cell is {origin[k].tolist()} Å; at most {MAX_LENGTH:g} Å are "
            "allowed",
        )
        for k in far[:1]
    ]
    if found:
        number, problem = min(found)
        raise AuditError(
            f"{refs[number].where}: {problem}. Repair the box, or exclude the frame with frames="
        )


def check_alike(
    refs: Sequence[FrameRef], needed: Callable[[FrameRef], Sequence[str]], audit: Audit
) -> None:
    """Check that all frames have the boundaries and required columns of the first.

    Raise ``AuditError`` for the first frame that differs.
    """
    first = refs[0]
    columns: set[tuple[str, ...]] = {first.columns}
    for ref in refs:
        if ref.pbc != first.pbc:
            raise AuditError(
                f"{ref.where}: periodic along {_axes(ref.pbc)}, but the first frame along "
                f"{_axes(first.pbc)}"
            )
        if ref.columns not in columns:
            missing = [name for name in needed(ref) if name not in ref.columns]
            if missing:
                raise AuditError(
                    f"{ref.where}: the columns change: {' '.join(missing)} is missing here but "
                    f"present in {first.path}. List only further columns that all frames have in "
                    "columns=[...], or ingest the files separately"
                )
            columns.add(ref.columns)
    if len(columns) > 1:
        audit.note(
            "columns",
            f"the order or the number of columns changes between frames ({len(columns)} layouts); "
            "columns are matched by name",
        )
    if any(NO_FLAGS in ref.values for ref in refs):
        audit.note(
            "boundaries",
            f"{first.path}: the box has no boundary flags (old LAMMPS); it is assumed periodic "
            "along x, y and z",
        )


def settle_origin(contents: Contents, given: FloatArray | None, audit: Audit) -> Contents:
    """Return the contents of a file with the origin of its cells set.

    Parameters
    ----------
    contents
        Result of the index pass.
    given
        Origin (3,) given by the user for files that do not state one, in their unit.
    audit
        Receives a note if the origin was not stated and is not zero.
    """
    if contents.origin_stated:
        return contents
    if given is None:
        if contents.origin_note:
            audit.note("origin", contents.origin_note)
        return contents
    frames = [replace(ref, origin=given) for ref in contents.frames]
    return replace(contents, frames=frames, unknown_origin="")


def check_origins(
    refs: Sequence[FrameRef], unknown: Mapping[str, str], image_scheme: str, audit: Audit
) -> None:
    """Check that an unknown origin of the cells does not matter.

    Parameters
    ----------
    refs
        Frames of all files.
    unknown
        Reason why the origin is unknown, by file.
    image_scheme
        Source of the images.
    audit
        Receives a note if the origin does not matter.

    Raises
    ------
    AuditError
        If images must be derived and the cell changes much between two frames.
    """
    for path, why in unknown.items():
        own = [ref for ref in refs if ref.path == path]
        if not own:
            continue
        change = largest_change(np.array([ref.cell for ref in own]))
        if image_scheme == DERIVED and change > SMALL_CHANGE:
            raise AuditError(
                f"{own[0].where}: {why.removeprefix(f'{path}: ')}. The cell changes by "
                f"{change:.3f} of its length between two frames, so atoms cannot be followed "
                "across its faces. "
                "Write the trajectory with dump custom id type x y z ix iy iz. If the lower corner "
                "does not move, give it: origin=(x, y, z) in Python, --origin x,y,z on the command "
                'line; if it moves, state it in every comment line of extxyz: Origin="x y z"'
            )
        audit.note(
            "origin",
            f"{why}. Zero is used, which has no effect, because "
            + (
                f"the cell changes by at most {change:.3f} of its length between two frames"
                if image_scheme == DERIVED
                else "the file has images"
            ),
        )


def _axes(pbc: Sequence[bool]) -> str:
    return (
        " ".join(axis for axis, periodic in zip("xyz", pbc, strict=True) if periodic) or "no axis"
    )


def run_labels(
    paths: Sequence[str], run: str | Sequence[str] | None, run_per_file: bool
) -> dict[str, str]:
    """Return the run label of each file; ``run`` may list one label per file."""
    if run is not None and not isinstance(run, str):
        labels = dict(zip(paths, run, strict=True))
    else:
        labels = _derived_labels(paths, run, run_per_file)
    for label in labels.values():
        if len(label) > MAX_LABEL or not label.isprintable():
            raise ParameterError(
                f"run={shortened(label)!r} has {len(label)} characters, or some that cannot be "
                f"printed; use at most {MAX_LABEL}, without line breaks"
            )
    return labels


def _derived_labels(paths: Sequence[str], run: str | None, run_per_file: bool) -> dict[str, str]:
    """Return the run label of each file, derived from their names."""

    def stem(path: str) -> str:
        name = printable(PurePath(path).name)
        for suffix in (
            ".gz",
            ".zst",
            ".lammpstrj",
            ".dump",
            ".lammpsdump",
            ".extxyz",
            ".xyz",
            ".data",
            ".bin",
            ".frames",
            ".nc",
            ".h5md",
            ".h5",
            ".txt",
        ):
            name = name.removesuffix(suffix)
        return name.removeprefix("dump.") or name or "run"

    if run_per_file:
        labels = {path: stem(path) for path in paths}
        if len(set(labels.values())) < len(labels):  # the same name in several folders
            labels = {
                path: f"{printable(PurePath(path).parent.name)}/{label}"
                for path, label in labels.items()
            }
        if len(set(labels.values())) < len(labels):
            labels = {path: f"{k}:{label}" for k, (path, label) in enumerate(labels.items())}
        if run is not None:
            labels = {path: f"{run}/{label}" for path, label in labels.items()}
        return labels
    if run is None:
        stems = [stem(path) for path in paths]
        run = stems[0]
        if len(stems) > 1:
            low, high = min(stems), max(stems)
            same = next(
                (k for k, pair in enumerate(zip(low, high, strict=False)) if pair[0] != pair[1]),
                len(low),
            )
            run = low[:same].rstrip("0123456789").rstrip("._- ") or stems[0]
    return dict.fromkeys(paths, run)


def settle_repeats(
    refs: Sequence[FrameRef], runs: dict[str, str], repeated: str, audit: Audit
) -> list[FrameRef]:
    """Keep one of the frames with the same timestep in one run, and report the others.

    The order of the files is kept.
    """
    if repeated not in REPEATED:
        raise ParameterError(f"repeated={repeated!r} must be one of {', '.join(REPEATED)}")
    groups: dict[tuple[str, int | None], list[int]] = {}
    for k, ref in enumerate(refs):
        groups.setdefault((runs[ref.path], ref.step), []).append(k)
    dropped: set[int] = set()
    for members in groups.values():
        if len(members) == 1:
            continue
        places = [refs[k].where for k in members]
        if repeated == "error":
            raise AuditError(
                f"{places[-1]}: the timestep already occurs in {places[0]}. Set repeated='last' "
                "to keep the later one"
            )
        if repeated == "all":
            audit.note(
                "repeated",
                f"{places[-1]}: the timestep occurs {len(members)} times; all are kept",
                refs[members[0]].step,
            )
            continue
        keep = members[-1] if repeated == "last" else members[0]
        dropped |= set(members) - {keep}
        for k in members:
            if k != keep:
                audit.note(
                    "repeated",
                    f"{refs[k].where}: left out because the same timestep is kept from "
                    f"{refs[keep].where} (repeated={repeated!r})",
                    refs[k].step,
                )
    _refuse_lost_files(refs, dropped, repeated)
    return [ref for k, ref in enumerate(refs) if k not in dropped]


def _refuse_lost_files(refs: Sequence[FrameRef], dropped: set[int], repeated: str) -> None:
    total = Counter(ref.path for ref in refs)
    lost = Counter(refs[k].path for k in dropped)
    for path, count in lost.items():
        if count > 1 and count == total[path]:
            raise AuditError(
                f"{path}: each of its {count} timesteps is also in another file, so the whole file "
                f"would be left out (repeated={repeated!r}). If the files are independent "
                "simulations, set run_per_file=True (--run-per-file). If they are copies, give "
                "only one of them. repeated='all' keeps everything"
            )


def report_spacing(refs: Sequence[FrameRef], runs: dict[str, str], audit: Audit) -> None:
    """Report timesteps that go backward and uneven spacing, run by run."""
    by_run: dict[str, list[FrameRef]] = {}
    for ref in refs:
        by_run.setdefault(runs[ref.path], []).append(ref)
    for run, members in sorted(by_run.items(), key=lambda item: natural(item[0])):
        steps = np.array([ref.step for ref in members], dtype=np.int64)
        gaps = np.diff(steps)
        back = np.flatnonzero(gaps < 0)
        if back.size:
            ref = members[back[0] + 1]
            audit.note(
                "backward",
                f"{ref.where}: the timestep goes backward, from {steps[back[0]]} to {ref.step}, "
                f"{back.size} times in run {run!r}; frames are kept in the order of the files",
                ref.step,
            )
        elif np.unique(gaps).size > 1:
            common = Counter(gaps.tolist()).most_common()
            odd = members[int(np.flatnonzero(gaps != common[0][0])[0]) + 1]
            listed = ", ".join(f"{gap} ({count}×)" for gap, count in common[:3]) + (
                ", ..." if len(common) > 3 else ""
            )
            audit.note(
                "uneven",
                f"run {run!r}: uneven spacing of timesteps: {listed}; first at {odd.where}",
                odd.step,
            )
