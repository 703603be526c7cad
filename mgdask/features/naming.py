"""Names of families and sets: one standard spelling, and tolerance for others."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def compact(name: str) -> str:
    """Return a name without case, underscores, hyphens and spaces.

    Two spellings of a name are the same if these are.

    Parameters
    ----------
    name
        Name in any spelling.

    Returns
    -------
    Letters and digits, lower case.

    Examples
    --------
    >>> compact("Non-Affine") == compact("non_affine") == compact("nonaffine")
    True
    """
    return re.sub(r"[\s_-]", "", name).lower()


class Named(dict[str, T]):
    """A dict that finds its entries by any spelling of their names.

    Case, underscores, hyphens and spaces do not matter. Keys have the
    standard spelling: words in lower case joined by underscores.

    Parameters
    ----------
    entries
        Values by name.
    aliases
        Further names, with the name that each stands for.

    Examples
    --------
    >>> families = Named({"non_affine": 1}, {"d2min": "non_affine"})
    >>> families["nonaffine"], families["NonAffine"], families["D2min"], list(families)
    (1, 1, 1, ['non_affine'])
    """

    def __init__(self, entries: Mapping[str, T], aliases: Mapping[str, str] | None = None) -> None:
        super().__init__(entries)
        self._names = {compact(name): name for name in entries}
        self._names |= {compact(alias): name for alias, name in (aliases or {}).items()}

    def __missing__(self, name: str) -> T:
        return super().__getitem__(self._names[compact(name)])

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and compact(name) in self._names

    def get(self, name: str, default: Any = None) -> Any:
        """Return an entry by any spelling of its name, or a default."""
        return super().get(self._names.get(compact(name), name), default)

    def spelled(self, name: str) -> str:
        """Return the standard spelling of a name that is in the dict."""
        return self._names[compact(name)]


def nearest(name: str, names: Iterable[str], n: int = 1) -> list[str]:
    """Return the names that resemble a mistyped one most, best first.

    Parameters
    ----------
    name
        Mistyped name.
    names
        Names that exist.
    n
        Maximum number of names to return.

    Returns
    -------
    Names in the spelling of ``names``; empty if none resembles it.

    Examples
    --------
    >>> nearest("bondorders", ["bond_order", "bond_moments", "motifs"], 2)
    ['bond_order', 'bond_moments']
    """
    by_compact = {compact(each): each for each in names}
    wanted = compact(name)
    found = difflib.get_close_matches(wanted, by_compact, n=n, cutoff=0.5)
    # the beginning of a name, which is often too short to resemble it
    begin = [each for each in by_compact if len(wanted) > 1 and each.startswith(wanted)]
    return [by_compact[each] for each in dict.fromkeys([*begin, *found])][:n]


def suggestion(name: str, names: Iterable[str]) -> str:
    """Return " did you mean ...?" for a mistyped name, or an empty text."""
    found = nearest(name, names)
    return f" Did you mean {found[0]}?" if found else ""
