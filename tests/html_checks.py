"""Reads HTML as a browser would, for tests of what notebooks show."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """Elements and text of a piece of HTML; an element that is not closed is an error."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts, self.open = [], [], []
        self.feed(html)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs), attrs

    def handle_endtag(self, tag):
        assert self.open[-1:] == [tag], tag
        self.open.pop()

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return "\n".join(self.texts)


def shown(value):
    """Return the page that a notebook shows for a value; only plain elements may be in it."""
    page = Page(value._repr_html_())
    assert set(page.tags) <= {"div", "table", "thead", "tbody", "tr", "th", "td"}, page.tags
    return page
