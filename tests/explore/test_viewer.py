"""The three-dimensional view: atoms, colors and cell in the page, and what is refused.

That a browser draws it was looked at by hand; here the page is read as text.
"""

from __future__ import annotations

import json
import re
import sys
from base64 import b64decode
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_hex

from mgdask.errors import MissingDependencyError, ParameterError
from mgdask.explore import viewer
from tests.explore.test_plots import CELL, glass

pytest.importorskip("py3Dmol")


@pytest.fixture
def ds():
    return glass()


def model(html):
    """Symbols and positions of the atoms of a page."""
    (text,) = re.findall(r"\.addModel\((\"(?:[^\"\\]|\\.)*\")", html)
    lines = json.loads(text).splitlines()
    rows = [line.split() for line in lines[2:]]
    assert int(lines[0]) == len(rows)
    return [row[0] for row in rows], np.array([row[1:] for row in rows], dtype=float)


def colors(html, n_atoms):
    """Color of each atom, from the styles of a page."""
    found = np.full(n_atoms, "", dtype="<U7")
    for chosen, style in re.findall(r"setStyle\((\{\"index\".*?\}),(\{.*?\}\})\)", html):
        rows = json.loads(chosen)["index"]
        assert (found[rows] == "").all()
        found[rows] = json.loads(style)["sphere"]["color"]
    assert (found != "").all()
    return found


class Tags(HTMLParser):
    """Counts tags that are open."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("br", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag != "br":
            while self.open.pop() != tag:  # an open p ends with its div
                pass


def test_page_has_all_atoms_their_colors_and_the_cell(ds, tmp_path):
    view = ds.mg.view(11, color="d2min", span=(0.0, 2.0))
    symbols, position = model(view.html)
    assert symbols == ["Cu" if z == 29 else "Zr" for z in ds.species.values]
    np.testing.assert_allclose(position, ds.position.values[1], atol=5e-5)
    value = ds.nonaffine.values[1, :, 0]
    steps = np.clip(np.floor(value / 2.0 * 64), 0, 63) / 63
    expected = [to_hex(color) for color in colormaps["viridis"](steps)]
    assert colors(view.html, ds.sizes["atom"]).tolist() == expected
    assert "d2min (Å²)" in view.html
    assert view.html.count(".addLine(") == 12
    ends = [
        np.array([[line[end][x] for x in "xyz"] for end in ("start", "end")])
        for line in map(json.loads, re.findall(r"\.addLine\((\{.*?\})\);", view.html))
    ]
    for vector in CELL:  # each is an edge four times
        assert sum(np.allclose(b - a, vector, atol=1e-3) for a, b in ends) == 4
    tags = Tags()
    tags.feed(view.save(tmp_path / "a.html").read_text(encoding="utf-8"))
    assert tags.open == []


def test_chosen_atoms_elements_and_classes(ds):
    view = ds.mg.view(atoms="Zr")
    assert set(model(view.html)[0]) == {"Zr"}
    assert view.n_atoms == int((ds.species == 40).sum())
    d2min = ds.nonaffine.sel(nonaffine_feature="d2min")
    view = ds.mg.view(color=(d2min > 1.0).rename("<b>plastic"))
    assert "&lt;b&gt;plastic: true" in view.html  # a name cannot act as markup
    plastic = d2min.values[0] > 1.0
    assert len(set(colors(view.html, len(plastic))[plastic])) == 1
    missing = d2min.where(d2min > 1.0)
    found = colors(ds.mg.view(colour=missing).html, len(plastic))
    assert (found[~plastic] == viewer.NO_VALUE).all()
    assert "no value" in ds.mg.view(colour=missing).html


def test_script_comes_from_the_web_or_from_a_local_file(ds, tmp_path):
    assert "loadScriptAsync('https://" in ds.mg.view().html
    local = tmp_path / "3Dmol-min.js"
    local.write_text("var $3Dmol = 0; // '</script>'")
    html = ds.mg.view(js=local).html
    assert "https://" not in html
    (data,) = re.findall(r"data:text/javascript;base64,([\w+/=]+)'", html)
    assert b64decode(data) == local.read_bytes()
    assert "http://localhost/3Dmol.js" in ds.mg.view(js="http://localhost/3Dmol.js").html
    with pytest.raises(ParameterError, match=r"neither a file nor an address.*npm package 3dmol"):
        ds.mg.view(js="nowhere.js")
    with pytest.raises(ParameterError, match="without quotes"):
        ds.mg.view(js="https://a/b.js');alert('")


def test_too_many_or_no_atoms_are_refused(ds, monkeypatch):
    monkeypatch.setattr(viewer, "MOST_ATOMS", 50)
    with pytest.raises(ParameterError, match=r"60 atoms are too many.*ds.mg.slab\('z'"):
        ds.mg.view()
    with pytest.raises(ParameterError, match="no atoms to show"):
        ds.mg.view(atoms=np.zeros(60, dtype=bool))
    with pytest.raises(ParameterError, match="scale=0 must be"):
        ds.mg.view(scale=0, atoms="Zr")


def test_absent_viewer_is_named_with_its_extra(ds, monkeypatch):
    monkeypatch.setitem(sys.modules, "py3Dmol", None)
    with pytest.raises(MissingDependencyError, match=r"py3Dmol.*pip install 'mgdask\[view\]'"):
        ds.mg.view()
