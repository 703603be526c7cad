"""The card of a model: what it was made from and how good it is.

A card is a file beside its model. It holds neither times nor hosts.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mgdask.errors import ParameterError
from mgdask.learn.data.arrays import column_names, row_blocks
from mgdask.learn.data.splits import Split
from mgdask.learn.evaluation.bootstrap import Interval
from mgdask.store.provenance import digest, versions

PACKAGES = ("mgdask", "numpy", "scipy", "lightgbm", "scikit-learn", "optuna")
"""Packages whose versions a card records by default."""
VERSION = 1
"""Version of the layout of a card."""
_NAMES_SHOWN = 5


def data_digest(values: npt.ArrayLike) -> str:
    """Compute the sha256 of an array: its type, shape, and bytes in row order.

    Parameters
    ----------
    values
        Numbers or text of any shape. A memory-mapped array is read by blocks.

    Returns
    -------
    str
        64 hexadecimal digits: the same for the same values on any machine and for any
        memory layout.

    Raises
    ------
    ParameterError
        If the array holds objects.

    Examples
    --------
    >>> digest = data_digest(np.eye(2))
    >>> digest == data_digest(np.asfortranarray(np.eye(2)))
    True
    >>> digest == data_digest(np.eye(2, dtype="f4"))
    False
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiubSU":
        raise ParameterError(
            f"an array of {array.dtype} has no digest; convert it to numbers or text with .astype"
        )
    dtype = array.dtype.newbyteorder("<")
    sha256 = hashlib.sha256(f"{dtype.str} {array.shape}".encode())
    rows = array.reshape(1) if array.ndim == 0 else array
    width = max(1, math.prod(rows.shape[1:]) * dtype.itemsize // 8)
    for block in row_blocks(len(rows), width):
        sha256.update(np.ascontiguousarray(rows[block], dtype=dtype).tobytes())
    return sha256.hexdigest()


def _plain(where: str, value: Any) -> Any:
    """Convert a value for JSON. NaN becomes None; a record, its ``as_dict``."""
    if hasattr(value, "as_dict"):
        return _plain(where, value.as_dict())
    if isinstance(value, np.generic | np.ndarray):
        return _plain(where, value.tolist())
    if isinstance(value, Mapping):
        return {str(k): _plain(f"{where}.{k}", v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(f"{where}[{i}]", v) for i, v in enumerate(value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    raise ParameterError(
        f"{where} is {type(value).__name__}, which a model card cannot hold; give numbers, text, "
        "lists or mappings"
    )


def model_card(
    name: str,
    *,
    data: Mapping[str, str],
    columns: Sequence[str],
    split: Split | Sequence[Split],
    parameters: Mapping[str, Any],
    metrics: Mapping[str, Interval | float],
    seed: int,
    baselines: Mapping[str, Mapping[str, Interval | float]] | None = None,
    notes: Sequence[str] = (),
    packages: Sequence[str] = PACKAGES,
) -> dict[str, Any]:
    """Collect what is needed to reproduce a model and to judge it.

    Parameters
    ----------
    name
        Name of the model.
    data
        Digest of each input by name, such as that of ``data_digest`` or of a store.
    columns
        Names of the columns, in the order of the model.
    split
        Split of training and test rows, or the folds.
    parameters
        Parameters of the training.
    metrics
        ``Interval`` or number by name of the metric.
    seed
        Seed of the training.
    baselines
        Metrics of baselines, by the name of the baseline.
    notes
        Sentences to add.
    packages
        Packages whose versions are recorded.

    Returns
    -------
    dict
        All of these, ``versions``, ``card`` (the version of the layout), and ``digest``
        of the rest. The card of a model is reproducible. NaN becomes None. An interval
        that is not reliable adds its note to the notes.

    Raises
    ------
    ParameterError
        If ``data`` is empty, a column is repeated, or JSON cannot hold a value.

    Examples
    --------
    >>> from mgdask.learn.data.splits import group_split
    >>> card = model_card(
    ...     "demo",
    ...     data={"X": "00"},
    ...     columns=["a"],
    ...     split=group_split(["p", "q"], 0.5, 1),
    ...     parameters={"trees": 2},
    ...     metrics={"roc_auc": 0.7},
    ...     seed=1,
    ...     packages=["numpy"],
    ... )
    >>> sorted(card)[:4], check_card(card)
    (['baselines', 'card', 'columns', 'data'], None)
    """
    if not data:
        raise ParameterError(
            "data is empty; give the digests of what the model was trained on: data={'X': ...}"
        )
    warned = [f"{k}: {v.note}" for k, v in metrics.items() if isinstance(v, Interval) and v.note]
    card = {
        "card": VERSION,
        "name": name,
        "seed": seed,
        "columns": list(column_names(columns, len(columns))),
        "data": dict(sorted(data.items())),
        "split": [split] if isinstance(split, Split) else list(split),
        "parameters": parameters,
        "metrics": metrics,
        "baselines": baselines or {},
        "notes": [*notes, *warned],
        "versions": versions(packages),
    }
    plain: dict[str, Any] = _plain("card", card)
    return {**plain, "digest": digest(plain)}


def check_card(card: Mapping[str, Any], columns: Sequence[str] | None = None) -> None:
    """Refuse a card that was edited, has another layout, or belongs to other columns.

    Parameters
    ----------
    card
        Card of ``model_card`` or ``read_card``.
    columns
        Names of the columns about to be given to the model. None: they are not checked.

    Raises
    ------
    ParameterError
        If the card is refused; the message says what differs.
    """
    content = {k: v for k, v in card.items() if k != "digest"}
    if content.get("card") != VERSION:
        raise ParameterError(
            f"not a model card of layout {VERSION} (layout {content.get('card')!r}); write it "
            "again with write_card"
        )
    if digest(content) != card.get("digest"):
        raise ParameterError(
            "the card does not match its digest: it was edited after it was written; write it "
            "again with write_card"
        )
    expected = content["columns"]
    if columns is None or list(columns) == expected:
        return
    differences = {
        "missing": [c for c in expected if c not in set(columns)],
        "unknown": [c for c in columns if c not in set(expected)],
    }
    described = "; ".join(
        f"{kind} {', '.join(names[:_NAMES_SHOWN])}" for kind, names in differences.items() if names
    )
    raise ParameterError(
        f"the model takes {len(expected)} columns, {len(columns)} are given "
        f"({described or 'the same in another order'}); give those of the card, in its order"
    )


def to_json(card: Mapping[str, Any]) -> str:
    """Format a card as JSON with sorted keys.

    Parameters
    ----------
    card
        Card of ``model_card``.

    Returns
    -------
    str
    """
    return json.dumps(card, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def _row(name: str, value: Any) -> str:
    """Format a metric as a row of a Markdown table."""
    if not isinstance(value, Mapping):
        return f"| {name} | {_number(value)} | |"
    groups = "" if value.get("groups") is None else f"{value['groups']} "
    interval = (
        f"{_number(value['low'])} to {_number(value['high'])} "
        f"({100 * value['level']:g} %, {groups}{value['resampled']})"
    )
    reliable = "" if value["reliable"] else ", unreliable"
    return f"| {name} | {_number(value['value'])} | {interval}{reliable} |"


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4g}"


def to_markdown(card: Mapping[str, Any]) -> str:
    """Format a card as Markdown.

    Parameters
    ----------
    card
        Card of ``model_card``.

    Returns
    -------
    str
        Metrics with intervals first, then split, data, columns, parameters and
        versions.
    """
    out = [f"# {card['name']}", "", "| metric | value | interval |", "| --- | --- | --- |"]
    out += [_row(k, v) for k, v in card["metrics"].items()]
    for name, scores in card["baselines"].items():
        out += [_row(f"{k}, {name}", v) for k, v in scores.items()]
    out += ["", *(f"* {note}" for note in card["notes"]), "", "## Split", ""]
    for part in card["split"]:
        test = ", ".join(map(str, part["test"]))
        out.append(
            f"* {part['how']}: {part['train_rows']} rows of {len(part['train'])} groups train, "
            f"{part['test_rows']} rows of {len(part['test'])} test ({test}); seed {part['seed']}"
        )
    tables = {"Data": card["data"], "Parameters": card["parameters"], "Versions": card["versions"]}
    for title, values in tables.items():
        out += ["", f"## {title}", "", *(f"* {k}: `{v}`" for k, v in values.items())]
    columns = ", ".join(f"`{c}`" for c in card["columns"])
    out += ["", f"## Columns ({len(card['columns'])})", "", columns]
    return "\n".join([*out, "", f"Seed {card['seed']}, card `{card['digest']}`.", ""])


def write_card(card: Mapping[str, Any], path: str | Path) -> tuple[Path, Path]:
    """Write a card as JSON and as Markdown.

    Parameters
    ----------
    card
        Card of ``model_card``.
    path
        Path without extension.

    Returns
    -------
    tuple
        The paths of the .json and the .md file.
    """
    base = Path(path)
    files = base.with_name(base.name + ".json"), base.with_name(base.name + ".md")
    files[0].write_text(to_json(card), encoding="utf-8")
    files[1].write_text(to_markdown(card), encoding="utf-8")
    return files


def read_card(path: str | Path) -> dict[str, Any]:
    """Read and check a card.

    Parameters
    ----------
    path
        JSON file of ``write_card``.

    Returns
    -------
    dict
        The card.

    Raises
    ------
    ParameterError
        If the file cannot be read, or holds no card or an edited one.
    """
    try:
        card = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ParameterError(
            f"{path} cannot be read as a model card ({error}); give the .json file beside a model"
        ) from None
    if not isinstance(card, dict):
        raise ParameterError(
            f"{path} holds a {type(card).__name__}, not a model card; give the .json file beside "
            "a model"
        )
    check_card(card)
    return card
