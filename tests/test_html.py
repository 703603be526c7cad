"""HTML for notebooks, read back by the standard library's parser."""

from __future__ import annotations

import pytest

from mgdask import _html
from tests.html_checks import Page

BAD = "<script>alert('x')</script> & \"quoted\""


@pytest.mark.parametrize(
    "html",
    [
        _html.table(BAD, [(BAD, BAD), ("next", "value")], [BAD]),
        _html.grid(BAD, [BAD, "second"], [[BAD, BAD], ["next", "value"]], [BAD]),
    ],
    ids=["table", "grid"],
)
def test_every_text_is_shown_as_it_is(html):
    page = Page(html)
    assert "script" not in page.tags
    assert page.texts.count(BAD) == (4 if "second" not in page.texts else 5)
    assert {"next", "value"} <= set(page.texts)


def test_rows_and_notes_keep_their_order():
    assert Page(_html.table("a", [("b", "c"), ("d", "e")], ["f", "g"])).texts == list("abcdefg")
    assert Page(_html.grid("a", "bc", ["de", "fg"], ["h"])).texts == list("abcdefgh")
