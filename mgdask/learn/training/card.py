"""The card of a model: what it was made from and how good it is, in one file beside it, without times or hosts."""

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
VERSION = 1


def data_digest(values: npt.ArrayLike) -> str:
    """sha256 of an array: type, shape and bytes in row order, read by blocks.

    Parameters: ``values`` of any shape, memory-mapped welcome; numbers or text. Returns 64 hexadecimal digits, the same
    for the same values on any machine, whatever the layout in memory. ``ParameterError`` for objects.

    >>> data_digest(np.eye(2)) == data_digest(np.asfortranarray(np.eye(2))) != data_digest(np.eye(2, dtype="f4"))
    True
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiubSU":
        raise ParameterError(
            f"an array of {array.dtype} has no digest; make it numbers or text with .astype"
        )
    kind = array.dtype.newbyteorder("<")
    found = hashlib.sha256(f"{kind.str} {array.shape}".encode())
    rows = array.reshape(1) if array.ndim == 0 else array
    width = max(1, math.prod(rows.shape[1:]) * kind.itemsize // 8)
    for block in row_blocks(len(rows), width):
        found.update(np.ascontiguousarray(rows[block], dtype=kind).tobytes())
    return found.hexdigest()


def _plain(where: str, value: Any) -> Any:
    """A value as JSON has it: NumPy's numbers as Python's, NaN as None, records by their ``as_dict``."""
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
        f"{where} is {type(value).__name__}, which a model card cannot hold; give numbers, text, lists or mappings"
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
    """Everything that is needed to make a model again and to judge it, as a dict for JSON.

    Parameters: ``name`` of the model; ``data`` name to digest, as of ``data_digest`` or a store's; ``columns`` in the
    order the model takes them; ``split`` or folds; ``parameters`` of the training; ``metrics`` name to ``Interval`` or
    number; ``seed`` of the training; ``baselines`` name to metrics; ``notes`` sentences; ``packages`` whose versions
    are noted.

    Returns a dict with these, ``versions``, ``card`` (the version of this layout) and ``digest`` of all the rest; the
    same for the same model. NaN becomes None. An interval that is not reliable puts its note among the notes.
    ``ParameterError`` for repeated columns, no data, values that JSON cannot hold.

    >>> from mgdask.learn.data.splits import group_split
    >>> card = model_card("demo", data={"X": "00"}, columns=["a"], split=group_split(["p", "q"], 0.5, 1),
    ...                   parameters={"trees": 2}, metrics={"roc_auc": 0.7}, seed=1, packages=["numpy"])
    >>> sorted(card)[:4], check_card(card)
    (['baselines', 'card', 'columns', 'data'], None)
    """
    if not data:
        raise ParameterError(
            "data is empty; name the digests of what the model was trained on: data={'X': ...}"
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
    """Refuses a card that was changed by hand, is of another layout, or belongs to other columns.

    Parameters: ``card`` of ``model_card`` or ``read_card``; ``columns`` about to be given to the model, in their order.
    ``ParameterError`` says what differs.
    """
    rest = {k: v for k, v in card.items() if k != "digest"}
    if rest.get("card") != VERSION:
        raise ParameterError(
            f"this is no model card of layout {VERSION} (it has {rest.get('card')!r}); write it anew"
        )
    if digest(rest) != card.get("digest"):
        raise ParameterError(
            "the card does not match its digest: it was changed after it was written; write it anew"
        )
    if columns is None or list(columns) == rest["columns"]:
        return
    missing = [c for c in rest["columns"] if c not in set(columns)]
    further = [c for c in columns if c not in set(rest["columns"])]
    what = "; ".join(
        f"{t} {', '.join(c[:5])}" for t, c in (("missing", missing), ("unknown", further)) if c
    )
    raise ParameterError(
        f"the model takes {len(rest['columns'])} columns, {len(columns)} are given "
        f"({what or 'the same in another order'}); give those of the card, in its order"
    )


def to_json(card: Mapping[str, Any]) -> str:
    """The card as JSON text, keys sorted."""
    return json.dumps(card, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def _row(name: str, value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"| {name} | {_number(value)} | |"
    unit = (
        value["resampled"]
        if value.get("groups") is None
        else f"{value['groups']} {value['resampled']}"
    )
    reach = (
        f"{_number(value['low'])} to {_number(value['high'])} ({100 * value['level']:g} %, {unit})"
    )
    return f"| {name} | {_number(value['value'])} | {reach}{'' if value['reliable'] else ', unreliable'} |"


def _number(value: Any) -> str:
    return "not defined" if value is None else f"{value:.4g}"


def to_markdown(card: Mapping[str, Any]) -> str:
    """The card as Markdown: metrics with intervals first, then split, data, columns, parameters, versions."""
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
    out += [
        "",
        f"## Columns ({len(card['columns'])})",
        "",
        ", ".join(f"`{c}`" for c in card["columns"]),
    ]
    return "\n".join([*out, "", f"Seed {card['seed']}, card `{card['digest']}`.", ""])


def write_card(card: Mapping[str, Any], path: str | Path) -> tuple[Path, Path]:
    """Writes ``path`` with the endings .json and .md; returns both paths."""
    base = Path(path)
    files = base.with_name(base.name + ".json"), base.with_name(base.name + ".md")
    files[0].write_text(to_json(card), encoding="utf-8")
    files[1].write_text(to_markdown(card), encoding="utf-8")
    return files


def read_card(path: str | Path) -> dict[str, Any]:
    """The card of a JSON file, checked; ``ParameterError`` where it is none."""
    try:
        card = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ParameterError(
            f"{path} cannot be read as a model card ({error}); give the .json beside a model"
        ) from None
    if not isinstance(card, dict):
        raise ParameterError(
            f"{path} holds a {type(card).__name__}, not a model card; give the .json beside a model"
        )
    check_card(card)
    return card
