"""Pages and JSON: nothing from outside, nothing unescaped, nothing lost."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from mgdask.errors import ParameterError
from mgdask.report.json import to_json, to_plain, write_json
from mgdask.report.page import Figure, Numbers, Page, Section, Table, Text

VOID = ("img", "meta")


class Parsed(HTMLParser):
    """Text by element, and a check that elements are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.links, self.tags = [], {}, [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.text[self.open[-1]][-1] += data


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30))
def test_any_text_arrives_as_it_is(text):
    page = Page(
        text,
        [
            Section(
                text,
                [
                    Text([text]),
                    Table(text, ("a", text), [(text, "1")], note=text),
                    Figure(b"png", text, ["", text]),
                ],
            )
        ],
        footer=text,
    )
    parsed = Parsed(page.render())
    assert parsed.text["h1"] == parsed.text["h2"] == parsed.text["caption"] == [text]
    assert parsed.text["td"] == ["1"]
    assert parsed.text["th"] == ["a", text, text]
    # text, note, caption of the figure, footer
    assert parsed.text["p"] == [text] * 4
    assert parsed.links == ["data:image/png;base64," + base64.b64encode(b"png").decode()]
    assert "script" not in parsed.tags


def test_page_loads_nothing(tmp_path):
    (tmp_path / "figure.png").write_bytes(b"1234")
    figure = Figure.read(tmp_path / "figure.png", "a figure")
    (tmp_path / "figure.png").unlink()
    page = Page("Title", [Section("", [figure, Numbers("all numbers", {"x": np.arange(2)})])])
    text = page.save(tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|@import|url\(|<link|<script", text)
    assert "prefers-color-scheme: dark" in text
    parsed = Parsed(text)
    assert json.loads(parsed.text["pre"][0]) == {"x": [0, 1]}
    assert "h2" not in parsed.tags
    assert "footer" not in parsed.tags
    assert page.render() == page.render()


def test_lines_below_the_title():
    """Version, date and data as a list; escaped like all text, and absent if not given."""
    page = Page("Title", [], about=[("data", "a < b"), ("seed", "0")])
    parsed = Parsed(page.render())
    assert list(zip(parsed.text["dt"], parsed.text["dd"], strict=True)) == [
        ("data", "a < b"),
        ("seed", "0"),
    ]
    assert "dl" not in Parsed(Page("Title").render()).tags


def test_columns_of_words_are_aligned_to_the_left():
    rows = [
        ("a", "mean of 3 models", "0.5", "–"),
        ("b", "–", "-0.5", "7 ± 1"),
        ("c", "all", "–", "–"),
    ]
    table = Table("scores", ("score", "of", "value", "low"), rows)
    text = Page("Title", [Section("", [table])]).render()
    assert text.count("<td class=words>") == 3
    assert "<td class=words>mean of 3 models</td><td>0.5</td>" in text


def test_uneven_rows_are_refused():
    with pytest.raises(ParameterError, match=r"table 'scores': row 1 has 1 cells, but there are 2"):
        Table("scores", ("a", "b"), [("1", "2"), ("3",)])


@dataclasses.dataclass
class Point:
    x: float
    y: np.ndarray


def test_plain_values(tmp_path):
    ds = xr.Dataset({"a": ("x", [1.0, np.nan])}, coords={"x": [3, 4]}, attrs={"unit": "K"})
    value = {
        1: [np.float32(0.5), np.int64(2), np.bool_(True), float("inf"), None, "text"],
        "point": Point(1.5, np.array([[1, 2]])),
        "ds": ds,
        "array": ds["a"],
        "set": {3, 1},
        "path": Path("a") / "b",
    }
    expected = {
        "1": [0.5, 2, True, None, None, "text"],
        "point": {"x": 1.5, "y": [[1, 2]]},
        "ds": {"a": [1.0, None], "x": [3, 4], "unit": "K"},
        "array": [1.0, None],
        "set": [1, 3],
        "path": str(Path("a") / "b"),
    }
    assert to_plain(value) == expected
    assert json.loads(to_json(value)) == expected
    assert json.loads(write_json(value, tmp_path / "v.json").read_text()) == expected
    assert to_plain({"x": {"y": 1}}) == {"x": {"y": 1}}
    assert type(to_plain(np.float64(1.0))) is float
    with pytest.raises(TypeError, match="a complex has no plain JSON form"):
        to_plain([1j])


@given(st.floats())
def test_numbers_survive(value):
    assert json.loads(to_json([value])) == [value if np.isfinite(value) else None]


def test_templates_are_package_files():
    from importlib.resources import files

    names = {item.name for item in (files("mgdask.report") / "templates").iterdir()}
    assert {block.template for block in (Text, Table, Figure, Numbers)} <= names
    assert {"page.html", "style.css"} <= names
