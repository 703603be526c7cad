"""Stand-ins for the commands of Slurm. Jobs are process groups of this machine."""

from __future__ import annotations

import os
from pathlib import Path

COMMANDS = {
    "sbatch": """
if [ -e "$here/refuse" ]; then echo 'sbatch: error: invalid partition specified: nowhere' >&2; exit 1; fi
script=$(mktemp "$here/script.XXXX"); cat "${@: -1}" > "$script"
setsid bash "$script" > "$script.out" 2>&1 < /dev/null &
echo $! >> "$here/jobs"
echo "Submitted batch job $!"
""",
    "squeue": """
if [ -e "$here/silent" ]; then echo 'squeue: error: Unable to contact slurm controller' >&2; exit 1; fi
touch "$here/jobs"
while read -r job; do
  state=$(cut -d' ' -f3 "/proc/$job/stat" 2> /dev/null) && [ "$state" != Z ] && echo "$job"
done < "$here/jobs"
exit 0
""",
    "scancel": 'kill -TERM -- "-${@: -1}"\n',
    "sinfo": """
if [ -e "$here/down" ]; then echo 'slurm_load_partitions: Unable to contact slurm controller' >&2; exit 1; fi
echo 'debug* up infinite 1 idle here'
""",
}


def put_on_path(folder: Path, monkeypatch) -> Path:
    """Write the commands to ``folder`` and put it first on PATH.

    Files named ``refuse``, ``down`` and ``silent`` in it make sbatch, sinfo and squeue
    fail.
    """
    folder.mkdir(exist_ok=True)
    for name, text in COMMANDS.items():
        path = folder / name
        path.write_text(f'#!/usr/bin/env bash\nhere="{folder}"\n{text}')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def jobs_of(folder: Path) -> list[int]:
    """Return the ids of all jobs that were ever submitted."""
    path = folder / "jobs"
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def alive(job: int) -> bool:
    """Whether a process of a job is alive."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[2]) == job and words[0] != "Z":
            return True
    return False
