"""Check a wheel: the whole package with its data and typing files, nothing else.

python .ci/check_wheel.py dist/mgdask-*.whl
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "mgdask"


def problems(wheel: str) -> list[str]:
    """Return the files that a wheel lacks or should not have."""
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(path.relative_to(PACKAGE.parent))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    strange = {
        name for name in names if not name.startswith("mgdask/") and ".dist-info/" not in name
    }
    licence = {name for name in names if name.endswith("LICENSE")}
    return (
        [f"missing: {name}" for name in sorted(wanted - names)]
        + [f"not part of the package: {name}" for name in sorted(strange)]
        + ([] if licence else ["missing: LICENSE"])
    )


if __name__ == "__main__":
    found = problems(sys.argv[1])
    print("\n".join(found) or "the wheel holds the package, its data and its typing files")
    sys.exit(bool(found))
