"""Make the pictures of howto/pictures.md anew, by running its code.

Usage, from the root of a checkout::

    python notebooks/_pictures.py [3Dmol-min.js]

With the script of the viewer (see the page), the screenshots of pages are made too, by
``chromium``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE / "howto" / "pictures.md"
STORED = HERE / "pictures"


def code() -> str:
    """Return the code of the page that is run."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S))


def screenshot(page: Path, picture: Path, size: str) -> None:
    """Save what a browser shows of a page."""
    subprocess.run(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--use-gl=swiftshader",
            "--enable-unsafe-swiftshader",
            "--hide-scrollbars",
            f"--window-size={size}",
            "--virtual-time-budget=20000",
            f"--screenshot={picture}",
            f"file://{page}",
        ],
        check=True,
        timeout=120,
    )


def main() -> None:
    """Run the page in a temporary folder and keep its pictures."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(HERE / "data" / "cu65zr35_2.lammpstrj.zst", folder)
        os.chdir(folder)
        names: dict[str, object] = {}
        exec(compile(code(), str(PAGE), "exec"), names)
        for picture in Path(folder).glob("*.png"):
            shutil.copy(picture, STORED)
        if len(sys.argv) > 1:
            glass = names["glass"]
            page = glass.mg.frame(-1).mg.view(color="q6", atoms="Zr", js=sys.argv[1])
            screenshot(page.save(Path(folder) / "view.html"), STORED / "view.png", "660,550")
            import holoviews

            layout = glass.mg.plot.slab(color="q6", frames=[0, 4, 7])
            holoviews.save(layout, f"{folder}/slab.html", resources="inline")
            screenshot(Path(folder) / "slab.html", STORED / "interactive.png", "1180,560")


if __name__ == "__main__":
    main()
