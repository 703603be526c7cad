"""Every figure that a study writes is looked at for overlapping text."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plot.boxes_of_text import overlapping


@pytest.fixture(scope="session", autouse=True)
def figures_without_overlaps():
    """Refuse to save a figure in which text lies over another; one of each name is looked at."""
    from matplotlib.figure import Figure

    save, seen = Figure.savefig, set()

    def save_and_check(fig, path, **options):
        save(fig, path, **options)
        if Path(path).name not in seen:
            seen.add(Path(path).name)
            assert overlapping(fig) == [], path

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save_and_check)
        yield
