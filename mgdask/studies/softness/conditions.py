"""Conditions under which glasses were made, and how two of them differ.

A condition consists of a chemical system, a composition and a quenching rate. Wang,
Jain, Nat. Commun. 10, 5537 (2019), Fig. 4, sort transfers by these into five
categories.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mgdask.elements import atomic_number, symbol
from mgdask.errors import ParameterError
from mgdask.store.open import open_store

Label = Mapping[str, str | float]
KEYS = ("system", "composition", "rate")
"""Keys that define a condition."""
EXTRA_KEYS = ("centers", "roles")
"""Other keys that a label may have."""
CATEGORIES = (
    "same",
    "other rate",
    "other composition",
    "other composition and rate",
    "other system",
    "not labelled",
)
"""Categories i to v of Fig. 4, and that of pairs without labels."""
COMPOSITION_TOLERANCE = 0.03
"""Largest difference between a labeled and a counted atomic fraction.

It is twice the standard deviation of a fraction of 0.5 among 1000 random atoms.
"""
_TERM = re.compile(r"([A-Z][a-z]?)(\d*\.?\d*)")


def pair_category(one: Label, other: Label) -> str:
    """Return how two glasses differ.

    Parameters
    ----------
    one, other
        Labels of the glasses: any of ``system``, ``composition`` and ``rate``. A key
        that neither label has counts as equal.

    Returns
    -------
    category
        One of ``CATEGORIES``: "same" (i), "other rate" (ii), "other composition" at
        the same rate (iii), "other composition and rate" (iv), "other system" (v).

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Fig. 4.

    Examples
    --------
    >>> pair_category({"rate": 1e12}, {"rate": 1e10})
    'other rate'
    >>> pair_category({"rate": 1, "composition": "a"}, {"rate": 2, "composition": "b"})
    'other composition and rate'
    """
    if not one or not other:
        return "not labelled"
    differ = {key for key in KEYS if one.get(key) != other.get(key)}
    if "system" in differ:
        return "other system"
    if not set(KEYS).intersection(one) - {"system"}:
        return "not labelled"
    return "other " + " and ".join(key for key in KEYS if key in differ) if differ else "same"


def read_labels(path: str | Path) -> dict[str, dict[str, str]]:
    """Read the labels of stores from a CSV file.

    Parameters
    ----------
    path
        File with the column ``store``, at least one of ``system``, ``composition`` and
        ``rate``, and optionally ``centers`` and ``roles``. See ``check_labels``.

    Returns
    -------
    labels
        Labels by store. Empty cells are left out.

    Raises
    ------
    ParameterError
        If the file cannot be read, has other columns, or lists a store twice.

    Examples
    --------
    >>> read_labels("labels.csv")  # doctest: +SKIP
    {'g1.zarr': {'composition': 'Cu65Zr35', 'rate': '5e12'}}
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:  # Excel writes a BOM
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(
            f"labels={str(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}; "
            f"give a CSV file with the columns store, {', '.join(KEYS)}"
        ) from None
    names = {str(name) for name in rows[0]} if rows else set()
    allowed = {"store", *KEYS, *EXTRA_KEYS}
    if "store" not in names or not names & set(KEYS) or not names <= allowed:
        raise ParameterError(
            f"{path} has the columns {sorted(names)}; it must have store "
            f"and at least one of {', '.join(KEYS)}, and may have {' and '.join(EXTRA_KEYS)}"
        )
    stores = [row["store"] for row in rows]
    if repeated := sorted({store for store in stores if stores.count(store) > 1}):
        raise ParameterError(f"{path} has {stores.count(repeated[0])} rows for {repeated[0]}")
    return {
        row["store"]: {
            key: row[key].strip() for key in (*KEYS, *EXTRA_KEYS) if (row.get(key) or "").strip()
        }
        for row in rows
    }


def check_labels(
    stores: Sequence[str | Path], labels: Mapping[str, Label] | None
) -> list[dict[str, str | float]]:
    """Normalize the labels of stores, and check them against the stores.

    Parameters
    ----------
    stores
        Trajectory stores.
    labels
        Labels by path or name of the store. None: only the system is known.

        ``system``
            Any name. Default: the elements, such as "Cu-Zr".
        ``composition``
            Formula in atomic percent or fractions, such as "Cu65Zr35".
        ``rate``
            Quenching rate in K/s, a positive number.
        ``centers``
            Atoms to include: "all", "host" (the majority species), or elements such as
            "Cu+Zr".
        ``roles``
            Elements in the order of their roles, such as "Cu+Zr". Default: by count.

    Returns
    -------
    labels
        One per store. Compositions are sorted by atomic number and rounded to 0.1 %.

    Raises
    ------
    ParameterError
        If a label is missing, unknown or malformed, or stores have different keys. Also
        if a composition does not match its store, or stores of one system have
        different elements.

    Examples
    --------
    >>> check_labels(["g1.zarr"], {"g1": {"composition": "Zr35Cu65"}})  # doctest: +SKIP
    [{'system': 'Cu-Zr', 'composition': 'Cu65Zr35'}]
    """
    by_path = {Path(name).resolve(): label for name, label in (labels or {}).items()}
    by_stem = {Path(name).stem: label for name, label in (labels or {}).items()}
    checked: list[dict[str, str | float]] = []
    elements_of: dict[str | float, tuple[str, tuple[str, ...]]] = {}
    keys: set[str] = set()
    for store in stores:
        share = element_fractions(store)
        label = by_path.get(Path(store).resolve(), by_stem.get(Path(store).stem))
        if labels is not None:
            known = set(label or {}).intersection(KEYS)
            keys = keys or known
            unknown = set(label or {}) - set(KEYS) - set(EXTRA_KEYS)
            if not known or unknown or known != keys:
                example = {key: label_example(key) for key in KEYS[1:]}
                raise ParameterError(
                    f"labels of {store}: {label}; every store needs the same keys of "
                    f"{', '.join(KEYS)}, such as {example}"
                )
        one = _checked(str(store), label or {}, share)
        elements = tuple(share)
        first = elements_of.setdefault(one["system"], (str(store), elements))
        if first[1] != elements:
            raise ParameterError(
                f"{store} has the elements {', '.join(elements)} and {first[0]} has "
                f"{', '.join(first[1])}, but both are labeled system={one['system']!r}"
            )
        checked.append(one)
    return checked


def label_example(key: str) -> str | float:
    """Return an example value for a label."""
    examples: dict[str, str | float] = {"system": "Cu-Zr", "composition": "Cu65Zr35", "rate": 5e10}
    return examples[key]


def element_fractions(store: str | Path) -> dict[str, float]:
    """Return the atomic fraction of each element, by increasing atomic number."""
    numbers = np.asarray(open_store(store)["species"].values)
    kinds, counts = np.unique(numbers, return_counts=True)
    return {symbol(int(z)): float(n) / len(numbers) for z, n in zip(kinds, counts, strict=True)}


def condition_name(label: Label) -> str:
    """Return the name of a condition, such as "Cu65Zr35, 5e+10 K/s".

    The system is left out if the composition contains the same information.
    """
    composition = str(label.get("composition", ""))
    elements = "-".join(name for name, _ in _TERM.findall(composition))
    return ", ".join(
        f"{label[key]:g} K/s" if key == "rate" else str(label[key])
        for key in KEYS
        if key in label and not (key == "system" and label[key] == elements)
    )


def _checked(store: str, label: Label, share: Mapping[str, float]) -> dict[str, str | float]:
    one: dict[str, str | float] = {"system": str(label.get("system", "-".join(share)))}
    if "composition" in label:
        one["composition"] = _composition(store, str(label["composition"]), share)
    if "rate" in label:
        try:
            rate = float(label["rate"])
        except ValueError:
            rate = np.nan
        if not np.isfinite(rate) or rate <= 0.0:
            raise ParameterError(
                f"labels of {store}: rate={label['rate']!r} must be a positive number, the "
                "quenching rate in K/s, such as 5e10"
            )
        one["rate"] = rate
    for key in EXTRA_KEYS:
        if key in label:
            one[key] = str(label[key])
    if str(one.get("centers", "all")) not in ("all", "host"):
        _elements_among(store, "centers", str(one["centers"]), share)
    if "roles" in one:
        names = _elements_among(store, "roles", str(one["roles"]), share)
        if sorted(names) != sorted(share):
            raise ParameterError(
                f"labels of {store}: roles={one['roles']!r} must name every element once: "
                f"{'+'.join(share)} in the order of their roles"
            )
    return one


def _elements_among(store: str, key: str, text: str, share: Mapping[str, float]) -> tuple[str, ...]:
    names = split_elements(text)
    missing = [name for name in names if name not in share]
    if missing or not names:
        raise ParameterError(
            f"labels of {store}: {key}={text!r} names {', '.join(missing) or 'no element'}; the "
            f"store has {', '.join(share)}. Write elements as {'+'.join(share)}"
        )
    return names


def split_elements(text: str) -> tuple[str, ...]:
    """Return the elements in a text such as "Cu+Zr"."""
    return tuple(text.replace("+", " ").split())


def _composition(store: str, text: str, share: Mapping[str, float]) -> str:
    """Return a formula in atomic percent, after checking it against the store."""
    terms = _TERM.findall(text)
    amounts = {name: float(amount or 1.0) for name, amount in terms}
    total = sum(amounts.values())
    if "".join(name + amount for name, amount in terms) != text or not total > 0.0:
        raise ParameterError(
            f"labels of {store}: composition={text!r} must be a formula such as 'Cu65Zr35'"
        )
    given = {name: amount / total for name, amount in amounts.items()}
    counted = "".join(f"{name}{100 * part:.1f}" for name, part in share.items())
    if set(given) != set(share) or any(
        abs(given[name] - part) > COMPOSITION_TOLERANCE for name, part in share.items()
    ):
        raise ParameterError(
            f"labels of {store}: composition={text!r}, but the store has {counted}; fractions may "
            f"differ by {100 * COMPOSITION_TOLERANCE:g} %. Check the rows of the labels"
        )
    return "".join(f"{name}{100 * given[name]:.4g}" for name in sorted(given, key=atomic_number))
