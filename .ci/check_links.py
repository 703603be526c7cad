"""Check every internal link of a built site: page, file and anchor must exist.

python .ci/check_links.py build/manual
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """Collects the anchors and the links of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := values.get(key))}
        for key in ("href", "src"):
            if link := values.get(key):
                self.links.append(link)


def broken_links(site: Path) -> list[str]:
    """Return the broken internal links of the HTML pages under ``site``."""
    pages = {
        page.resolve(): _Page(page.read_text(encoding="utf-8")) for page in site.rglob("*.html")
    }
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            where = f"{path.relative_to(site.resolve())}: {link}"
            if not target.exists():
                broken.append(f"{where}: no such file")
            elif target in pages and parts.fragment:
                if unquote(parts.fragment) in pages[target].anchors:
                    continue
                broken.append(f"{where}: no such anchor")
    return sorted(set(broken))


if __name__ == "__main__":
    found = broken_links(Path(sys.argv[1]))
    print("\n".join(found) or "all internal links of the manual work")
    sys.exit(bool(found))
