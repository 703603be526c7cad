"""LAMMPS binary dumps through OVITO (https://www.ovito.org/manual/python).

OVITO terminates the process if it is first used outside the main thread, as in tasks.
It therefore runs in a child process, ``python -m mgdask.readers.formats.binary FILE``,
which reads frame numbers and writes arrays.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from mgdask.errors import AuditError, MissingDependencyError
from mgdask.readers.damage import box_problem, position_problem, step_number
from mgdask.readers.formats.binary_header import check_frames
from mgdask.readers.formats.tables import pick, spread
from mgdask.readers.records import Contents, FrameRef, SourceInfo, Table

_NAMES = {
    "Particle Identifier": ("id",),
    "Particle Type": ("type",),
    "Position": ("x", "y", "z"),
    "Periodic Image": ("ix", "iy", "iz"),
    "Mass": ("mass",),
    "Velocity": ("vx", "vy", "vz"),
    "Force": ("fx", "fy", "fz"),
    "Molecule Identifier": ("mol",),
    "Charge": ("q",),
}
_DERIVED = ("Velocity Magnitude", "Force Magnitude")
_COUNT, _CELL, _PBC, _STEP = "@count", "@cell", "@pbc", "@step"


class BinaryDump:
    """A LAMMPS binary dump, whose values are not rounded as in text."""

    def __init__(self, info: SourceInfo) -> None:
        if find_spec("ovito") is None:
            raise MissingDependencyError("ovito", "ovito", f"reading the binary dump {info.path}")
        self.info = info
        check_frames(info.path)
        self._child: subprocess.Popen[bytes] | None = None

    def _ask(self, frame: int) -> dict[str, Any]:
        """Return all data of one frame, and the number of frames."""
        if self._child is None:
            command = [sys.executable, "-P", "-m", "mgdask.readers.formats.binary", self.info.path]
            # the child must import the same mgdask
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._child = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            self._child.stdin.write(b"%d\n" % frame)
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # the child has ended; its message is read below
        length = self._child.stdout.read(8)
        if len(length) < 8:
            message = self._child.communicate()[1].decode("utf-8", "replace").strip().splitlines()
            raise AuditError(
                f"{self.info.path}: frame {frame}: OVITO cannot read this binary dump: "
                f"{message[-1] if message else 'the child process ended'}. The file may be "
                "truncated, or written by LAMMPS before 2021 without column names: convert it "
                "with binary2txt"
            )
        data = self._child.stdout.read(int.from_bytes(length, "little"))
        with np.load(io.BytesIO(data)) as arrays:
            return dict(arrays)

    def _table(self, frame: dict[str, Any]) -> Table:
        table: Table = {}
        for name, values in frame.items():
            if name.startswith("@") or name in _DERIVED:
                continue
            columns = _NAMES.get(name)
            if columns is None:
                table |= spread(name.replace(" ", "_"), values)
            else:
                flat = values.reshape(len(values), -1)
                kind = np.int64 if flat.dtype.kind in "iu" else np.float64
                table |= {column: flat[:, k].astype(kind) for k, column in enumerate(columns)}
        return table

    def index(self) -> Contents:
        """Return all frames; OVITO reads each."""
        refs: list[FrameRef] = []
        count = 1
        while len(refs) < count:
            frame = self._ask(len(refs))
            count = int(frame[_COUNT])
            cell, origin = frame[_CELL][:, :3].T.copy(), frame[_CELL][:, 3].copy()
            pbc = [bool(p) for p in frame[_PBC]]
            table = self._table(frame)
            n_atoms = len(next(iter(table.values())))
            problem = box_problem(cell, (True, True, True), origin)
            if problem is None:
                position = frame["Position"].astype(np.float64)
                problem = position_problem(position, frame.get("Particle Identifier"))
            refs.append(
                FrameRef(
                    self.info.path,
                    len(refs),
                    step_number(frame[_STEP], f"{self.info.path}, frame {len(refs)}"),
                    None,
                    n_atoms,
                    cell,
                    origin,
                    (pbc[0], pbc[1], pbc[2]),
                    tuple(table),
                    self.info.units,
                    problem=problem,
                )
            )
        return Contents(refs)

    def read(self, ref: FrameRef, columns: Sequence[str]) -> Table:
        """Return the given columns of one frame."""
        return pick(self._table(self._ask(ref.ordinal)), ref, columns)

    def close(self) -> None:
        """End the child process."""
        if self._child is not None:
            self._child.communicate()  # the child ends when its input is closed
            self._child = None


def _serve(path: str) -> None:
    """Run the child: write one frame per number read from standard input."""
    from ovito.io import import_file

    pipeline: Any = import_file(path)
    out = sys.stdout.buffer
    for line in sys.stdin:
        data: Any = pipeline.compute(int(line))
        arrays = {name: np.array(data.particles[name]) for name in data.particles}
        arrays[_COUNT] = np.array(pipeline.source.num_frames)
        arrays[_CELL] = np.array(data.cell[...], dtype=np.float64)
        arrays[_PBC] = np.array(data.cell.pbc)
        arrays[_STEP] = np.array(data.attributes.get("Timestep", int(line)))
        buffer = io.BytesIO()
        np.savez(buffer, **dict[str, Any](arrays))
        out.write(len(buffer.getvalue()).to_bytes(8, "little"))
        out.write(buffer.getvalue())
        out.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
