"""Whether the arrays, the attributes and the records of a store agree with each other.

The digests of the metadata say more, but stores of version 0.1 have none.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import zarr

from mgdask import variables
from mgdask.errors import StoreError
from mgdask.store.appends import read_appends
from mgdask.store.checks import WHOLE, Damage
from mgdask.store.contents import ArrayContents
from mgdask.store.manifest import Manifest
from mgdask.store.mark import METADATA
from mgdask.store.provenance import digest
from mgdask.store.shards import Group, dimension_names, shard_shape

if TYPE_CHECKING:
    import xarray as xr

DIGESTS = {
    "trajectory": "input_digest",
    "features": "plan_digest",
    "paths": "paths_digest",
    "dictionary": "dictionary_digest",
}
"""Attribute of each kind of store with the digest of its parameters and its input."""


def find_contradictions(path: str | Path, group: Group) -> list[Damage]:
    """Compare shapes, dimensions, types, kind and digests within a store.

    Parameters
    ----------
    path
        A finished store.
    group
        Its group.

    Returns
    -------
    damages
        Descriptions of arrays, or of the store, that contradict the others.
    """
    arrays = {}
    # not group.members(), which a damaged description of one ends
    for name in sorted(file.parent.name for file in Path(path).glob(f"*/{METADATA}")):
        try:
            array = group[name]
        except Exception:  # reported when shards are listed
            continue
        if isinstance(array, zarr.Array):
            arrays[name] = array
    attrs: dict[str, Any] = dict(group.attrs)
    kind = str(attrs.get("mgdask_kind", ""))
    what = [*_kind_problems(kind, attrs), *_record_problems(path, group, kind, arrays)]
    contents = {name: ArrayContents(name, array, {}) for name, array in arrays.items()}
    try:
        stand_in = SimpleNamespace(variables=contents)
        variables.validate(cast("xr.Dataset", stand_in), kind, path)
    except StoreError as error:
        what.append(str(error).removeprefix(f"{path} is "))
    damages = [Damage(METADATA, None, WHOLE, text) for text in what]
    for name, text in _size_problems(arrays).items():
        damages.append(Damage(f"{name}/{METADATA}", None, WHOLE, text))
    return damages


def _kind_problems(kind: str, attrs: dict[str, Any]) -> list[str]:
    own = DIGESTS[kind]
    problems = []
    if not isinstance(attrs.get(own), str) or not attrs[own]:
        problems.append(f"its attribute {own} is missing")
    for other, name in DIGESTS.items():
        if name != own and name in attrs:
            problems.append(f"its kind is {kind}, but it has the {name} of {other}")
    return problems


def _record_problems(
    path: str | Path, group: Group, kind: str, arrays: dict[str, zarr.Array[Any]]
) -> list[str]:
    """Compare the records of a trajectory with its input and its number of frames."""
    records = Manifest(path).records()
    if kind != "trajectory" or not records or "position" not in arrays:
        return []
    appends = read_appends(group)
    n_frames = appends[0].start if appends else arrays["position"].shape[0]
    if appends and n_frames < shard_shape(arrays["position"])[0]:
        return []  # the only block was written again when frames were appended
    expected = digest([group.attrs.get("input_digest"), 0, n_frames])
    if any(record.get("digest") == expected for record in records.values()):
        return []
    return [f"its input_digest and its {n_frames} frames are not those of the records"]


def _size_problems(arrays: dict[str, zarr.Array[Any]]) -> dict[str, str]:
    """Return the arrays whose sizes differ from those of most others."""
    sizes: dict[str, Counter[int]] = {}
    for array in arrays.values():
        for dim, n in zip(dimension_names(array), array.shape, strict=True):
            sizes.setdefault(dim, Counter())[n] += 1
    problems = {}
    for name, array in sorted(arrays.items()):
        for dim, n in zip(dimension_names(array), array.shape, strict=True):
            usual = sizes[dim].most_common(1)[0][0]
            if n != usual:
                problems[name] = f"its size along {dim} is {n}, that of other arrays is {usual}"
    return problems
