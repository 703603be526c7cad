"""Check the target of a plan, without writing, and say how other work in it differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgdask.errors import StoreError
from mgdask.pipelines.unwrap import check_unwrapped, select_scheme
from mgdask.pipelines.unwrap_tasks import identity_of
from mgdask.store.attributes import decode
from mgdask.store.failures import advise_on_target
from mgdask.store.frame_values import check_copy
from mgdask.store.lock import settled
from mgdask.store.open import CONTENTS, open_target
from mgdask.store.shards import Group, get_array, open_group, read_array, shard_shape
from mgdask.store.writable import check_writable

if TYPE_CHECKING:
    from mgdask.pipelines.featurize.plan import Plan

SHOWN = 60
"""Maximum length of a value in a message."""
DEFAULT = "default"
"""Stands for a parameter that one of two features does not record."""


def check_output(plan: Plan) -> None:
    """Refuse a target that a run of the plan cannot create or continue.

    Nothing is written.

    Parameters
    ----------
    plan
        The plan.

    Raises
    ------
    StoreError
        If ``plan.out``, or the store of unwrapped trajectories beside it, holds
        anything else, is being written, or cannot be written. The message begins with
        what to do, and names the parameters that differ.
    """
    settled(plan.out, lambda: check_holds(plan))
    if plan.paths:
        source = open_group(plan.store)
        scheme, _ = select_scheme("auto", read_array(source, "cell"))
        check_unwrapped(plan.paths, identity_of(plan.content, scheme))
        if Path(plan.paths).exists():
            settled(plan.paths, lambda: check_copy(source, plan.paths))


def check_holds(plan: Plan) -> None:
    """Refuse a target that holds anything but the features of the plan.

    Parameters
    ----------
    plan
        The plan. The caller holds the lock of its target, or sees whether it is free.

    Raises
    ------
    StoreError
        As ``check_output``, but the lock and the store of unwrapped trajectories are
        not checked.
    """
    out = Path(plan.out)
    check_writable(out)
    if not out.exists():
        return
    group = open_target(out)
    if group.attrs.get("plan_digest") != plan.digest:
        advice = advise_on_target(out, deletable=group.attrs.get("mgdask_kind") == "features")
        raise StoreError(f"{advice}: {_describe_other(group, plan)}")


def _describe_other(group: Group, plan: Plan) -> str:
    kind = str(group.attrs.get("mgdask_kind", ""))
    if "prediction" in group.attrs:
        return "it holds predictions of a model"
    if kind != "features":
        return f"it holds {CONTENTS.get(kind, 'nothing that mgdask wrote')}"
    try:
        found = list(differences(group, plan))
    except Exception:  # a damaged store can raise anything
        found = []
    if not found:
        return "it holds features that another version of mgdask began, or it is damaged"
    return "it holds other features. Stored -> planned: " + "; ".join(found)


def differences(group: Group, plan: Plan) -> Iterator[str]:
    """Yield what differs between a store of features and a plan, as old -> new.

    Parameters
    ----------
    group
        Group of the store.
    plan
        The plan.
    """
    stored = decode(group.attrs, "features", [])
    old = {name: parameters for entry in stored for name, parameters in entry.items()}
    new = {feature.name: feature.parameters() for feature in plan.features}
    if list(old) != list(new) and set(old) == set(new):
        yield f"order of the features {', '.join(old)} -> {', '.join(new)}"
    elif set(old) != set(new):
        yield f"features {', '.join(old) or 'none'} -> {', '.join(new)}"
    for name in new:
        if name in old:
            yield from (f"{name}: {text}" for text in _parameters(old[name], new[name]))
    if group.attrs.get("input_content") != plan.content:
        before, now = str(group.attrs.get("input")), plan.store
        same = Path(before).resolve() == Path(now).resolve()
        yield f"content of {now}, which has changed" if same else f"input {before} -> {now}"
    values = decode(group.attrs, "input_values", {})
    for name in sorted({*values, *plan.values}):
        if values.get(name) != plan.values.get(name):
            yield f"values of {name} in {plan.store}"
    yield from _rows(group, plan)


def _parameters(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Yield the parameters that differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in (*new, *(key for key in old if key not in new)):
            below = f"{path}.{key}" if path else str(key)
            yield from _parameters(old.get(key, DEFAULT), new.get(key, DEFAULT), below)
    elif old != new:
        yield f"{path} {_short(old)} -> {_short(new)}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _rows(group: Group, plan: Plan) -> Iterator[str]:
    """Yield differences of frames, centers and blocks."""
    axes = {name: [*map(str, values)] for name, (_, values) in plan.axes().items()}
    for noun, names in (("frames", ("step", "run")), ("central atoms", ("atom_id",))):
        old = {name: [*map(str, read_array(group, name))] for name in names if name in group}
        new = {name: axes[name] for name in names}
        before, now = len(old.get(names[0], ())), len(new[names[0]])
        if before != now:
            yield f"number of {noun} {before} -> {now}"
            continue
        for name in names:
            pairs = zip(old.get(name, ()), new[name], strict=False)
            other = next(((a, b) for a, b in pairs if a != b), None)
            if other is not None:
                yield f"{noun}, such as {name} {other[0]} -> {other[1]}"
                break
    for output in plan.outputs():
        if output.name not in group:
            continue
        array = get_array(group, output.name)
        if array.shape == output.shape:
            there, cut = shard_shape(array)[: len(output.shape) - 1], output.cut
            here = (cut.frames, cut.rows)[: len(there)]
            if there != here:
                yield f"blocks, which depend on memory=: frames x atoms {_size(there)} -> " + (
                    _size(here)
                )
                return


def _size(block: tuple[int, ...]) -> str:
    return " x ".join(map(str, block))
