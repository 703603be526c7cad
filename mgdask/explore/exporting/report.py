"""What an export has written, in words."""

from __future__ import annotations

from dataclasses import dataclass

_SHOWN = 12
"""Number of columns that are listed."""


@dataclass(frozen=True)
class ExportReport:
    """What ``export`` has written.

    Attributes
    ----------
    out, format
        Target and format.
    files
        Files that hold atoms.
    n_frames, n_atoms
        Number of frames, and of atoms of each.
    columns
        Names in the files of the chosen columns, and their labels.
    size
        Size of the files in bytes.
    n_parts, n_written
        Number of parts, and how many of them this call has written.
    notes
        What is not in the files, and what was filled in.
    seconds
        Wall time in s.
    """

    out: str
    format: str
    files: tuple[str, ...]
    n_frames: int
    n_atoms: int
    columns: dict[str, str]
    size: int
    n_parts: int
    n_written: int
    notes: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        frames = "1 frame" if self.n_frames == 1 else f"{self.n_frames} frames"
        files = "1 file" if len(self.files) == 1 else f"{len(self.files)} files"
        lines = [
            f"{self.out}: {frames} of {self.n_atoms} atoms, {self.format}, {files}, "
            f"{self.size / 1e6:.3g} MB, in {self.seconds:.1f} s"
        ]
        if self.n_written < self.n_parts:
            lines.append(
                f"  resumed   {self.n_parts - self.n_written} of {self.n_parts} parts "
                "were there already"
            )
        names = [n if n == label else f"{n} ({label})" for n, label in self.columns.items()]
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            lines.append(f"  columns   {', '.join(names[:_SHOWN])}{more}")
        return "\n".join(lines + [f"  note      {note}" for note in self.notes])
