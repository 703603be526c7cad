"""The pictures of the manual are those that its code makes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from PIL import Image

from mgdask.plot import style
from tests.plot.boxes_of_text import overlapping

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
PAGE = NOTEBOOKS / "howto" / "pictures.md"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PAGE.exists(), reason="the manual is in the source checkout only"),
]


def test_code_of_the_page_makes_its_pictures(tmp_path, monkeypatch):
    text = PAGE.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S))
    shown = re.findall(r"!\[[^\]]+\]\(\.\./pictures/(\w+\.png)\)", text)
    screenshots = {"view.png", "interactive.png"}
    made = re.findall(r"\.save\(\"(\w+\.png)\"\)", code)
    assert sorted(made) == sorted(set(shown) - screenshots)
    assert len(made) >= 9
    shutil.copy(NOTEBOOKS / "data" / "cu65zr35_2.lammpstrj.zst", tmp_path)
    monkeypatch.chdir(tmp_path)
    overlaps = {}
    save = style.save

    def save_and_check(figure, path, **options):
        written = save(figure, path, **options)
        overlaps[str(path)] = overlapping(figure)
        return written

    monkeypatch.setattr("mgdask.explore.plotting.save", save_and_check)
    exec(compile(code, str(PAGE), "exec"), {})
    assert overlaps == {name: [] for name in made}
    for name in made:
        new, old = (imread(folder / name) for folder in (tmp_path, NOTEBOOKS / "pictures"))
        with Image.open(NOTEBOOKS / "pictures" / name) as stored, Image.open(name) as here:
            same = stored.info.get("Software") == here.info.get("Software")
        if same:  # another matplotlib may place text otherwise
            assert new.shape == old.shape, name
            assert np.abs(new[..., :3] - old[..., :3]).mean() < 0.01, name
