"""What a Dataset was made with, and which of its frames are missing."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from mgdask._typing import IntArray
from mgdask.explore.answers import Answer
from mgdask.explore.attributes import read_attr
from mgdask.explore.facts import parameters_text
from mgdask.explore.origin import origin_of
from mgdask.explore.selecting import check_dim
from mgdask.features.allowed import to_text
from mgdask.features.registry import feature_class, make_feature

DIGITS = 12
"""Digits of a digest that are shown."""
MAX_SHOWN = 10
"""Maximum number of gaps to print."""
REGULAR = 0.5
"""Share of equal spacings from which on other spacings are called gaps."""
_ABOUT_FRAMES = re.compile(r"left out|goes backward|uneven spacing|not complete|repeated")


@dataclass(frozen=True, repr=False)
class MadeWith(Answer):
    """What a Dataset was made with.

    Attributes
    ----------
    command
        Command that makes a feature store with the same values. Empty for others.
    """

    command: str = ""


def made_with(ds: xr.Dataset) -> MadeWith:
    """Say what a Dataset was made with.

    Parameters
    ----------
    ds
        Dataset from ``open_store`` or ``featurize``.

    Returns
    -------
    answer
        Features with all parameters, input and its digest, files, versions.
    """
    attrs, origin = ds.attrs, origin_of(ds)
    rows = [("kind", str(attrs.get("mgdask_kind", "not a store: computed in memory")))]
    if origin is not None:
        rows.append(("store", origin.store))
        rows.append(("content", origin.content[:DIGITS]))
        size = f"{origin.n_frames} frames, {origin.n_atoms} atoms"
        now = f"{ds.sizes.get('frame', 1)} frames, {ds.sizes.get('atom', 1)} atoms"
        rows.append(("size", size if size == now else f"{size}; selected: {now}"))
    features = read_attr(attrs, "features", [])
    for entry in features:
        for family, parameters in entry.items():
            rows.append(("feature", f"{family}: {parameters_text(parameters)}"))
    if not features:
        for name, array in ds.data_vars.items():
            parameters = read_attr(array.attrs, "parameters")
            if parameters:
                rows.append(("feature", f"{name}: {parameters_text(parameters)}"))
    if "input" in attrs:
        digest = str(attrs.get("input_content", ""))[:DIGITS]
        rows.append(("input", f"{attrs['input']}" + (f" (content {digest})" if digest else "")))
    for source in read_attr(attrs, "source_files", []):
        digest = source.get("sha256_ends") or source.get("sha256") or ""
        about = f"{source['kind']}, {source['bytes']} bytes" if "kind" in source else ""
        rows.append(("file", f"{source['name']} ({about}, sha256 of its ends {digest[:DIGITS]})"))
    for name, title in (
        ("units_of_input", "units of the files"),
        ("columns_kept", "columns"),
        ("image_scheme", "images"),
        ("input_checks", "checks of the input"),
        ("compression", "compression"),
    ):
        value = read_attr(attrs, name)
        if value:
            rows.append((title, "; ".join(value) if isinstance(value, list) else str(value)))
    versions = read_attr(attrs, "versions", {})
    if versions:
        rows.append(("versions", ", ".join(f"{k} {v}" for k, v in versions.items())))
    if "citation" in attrs:
        rows.append(("references", str(attrs["citation"])))
    notes: tuple[str, ...] = ()
    command = _command(attrs, features) if features else ""
    if command:
        command += f" --out {shlex.quote(origin.store)}" if origin is not None else ""
        rows.append(("command", command))
        notes = ("The command computes all frames and atoms of the input.",)
    return MadeWith("made with", tuple(rows), notes, command=command)


def _command(attrs: Mapping[Any, Any], features: list[dict[str, dict[str, Any]]]) -> str:
    """Return the command that makes a feature store, with other than default values."""
    words = ["mgdask", "featurize", str(attrs.get("input", "INPUT"))]
    for entry in features:
        for family, parameters in entry.items():
            options = _not_default(family, parameters)
            if options is None:  # made by a package that is not installed here
                return ""
            typed = ",".join(f"{name}={to_text(value)}" for name, value in options.items())
            name = feature_class(family).family
            words += ["--feature", f"{name}:{typed}" if typed else name]
    return shlex.join(words)


def _not_default(family: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        feature = make_feature(family, parameters)
    except ValueError:
        return None
    options = {}
    for item in dataclasses.fields(feature):
        default = item.default
        if item.default_factory is not dataclasses.MISSING:
            default = item.default_factory()
        if item.name in parameters and getattr(feature, item.name) != default:
            options[item.name] = parameters[item.name]
    return options


class Gap(NamedTuple):
    """Missing frames between two that exist.

    Attributes
    ----------
    run
        Label of the simulation.
    after_step, before_step
        Last step before the gap, and first one after it.
    spacing
        Usual spacing of the steps.
    n_missing
        Number of missing frames.
    """

    run: str
    after_step: int
    before_step: int
    spacing: int
    n_missing: int


@dataclass(frozen=True, repr=False)
class MissingFrames(Answer):
    """Frames that are missing, as far as the steps tell.

    Attributes
    ----------
    gaps
        Places where frames are missing.
    """

    gaps: tuple[Gap, ...] = ()

    @property
    def table(self) -> pd.DataFrame:
        """One row per gap."""
        return pd.DataFrame(self.gaps, columns=list(Gap._fields))

    @property
    def steps(self) -> dict[str, list[int]]:
        """Missing steps by run."""
        found: dict[str, list[int]] = {}
        for gap in self.gaps:
            steps = range(gap.after_step + gap.spacing, gap.before_step, gap.spacing)
            found.setdefault(gap.run, []).extend(steps)
        return found


def missing_frames(ds: xr.Dataset) -> MissingFrames:
    """Find frames that are missing, from the steps of each run.

    Parameters
    ----------
    ds
        Dataset with frames and their steps.

    Returns
    -------
    answer
        Gaps of each run, runs whose spacing is uneven, and what the audit of the files
        says about frames.

    Notes
    -----
    A gap is a whole multiple of the commonest spacing of its run. If fewer than half of
    the spacings are equal, frames were written unevenly on purpose, and nothing is said
    to be missing.
    """
    check_dim(ds, "frame")
    steps: IntArray = np.asarray(ds["step"].values, dtype=np.int64)
    n_frames = len(steps)
    runs = (
        np.array([str(run) for run in ds["run"].values])
        if "run" in ds.coords
        else np.full(n_frames, "")
    )
    rows: list[tuple[str, str]] = []
    gaps: list[Gap] = []
    for run in dict.fromkeys(runs.tolist()):
        own = steps[runs == run]
        found, words = _gaps(run, own)
        rows.append((f"run {run}" if run else "frames", words))
        gaps += found
    audit = [str(note) for note in read_attr(ds.attrs, "audit", []) or []]
    rows += [("audit", note) for note in audit if _ABOUT_FRAMES.search(note)]
    origin = origin_of(ds)
    notes: tuple[str, ...] = ()
    if origin is not None and origin.n_frames != n_frames:
        notes = (
            f"These are {n_frames} selected frames of the {origin.n_frames} in {origin.store}.",
        )
    total = sum(gap.n_missing for gap in gaps)
    title = "no frame is missing" if not total else f"{total} frames are missing"
    if total == 1:
        title = "1 frame is missing"
    return MissingFrames(title, tuple(rows), notes, gaps=tuple(gaps))


def _gaps(run: str, steps: IntArray) -> tuple[list[Gap], str]:
    """Return the gaps of one run, and a sentence about it."""
    spans = np.diff(steps)
    span = f"{len(steps)} frames, step {steps[0]} to {steps[-1]}"
    if not len(spans):
        return [], f"1 frame, step {steps[0]}"
    spacing, count = Counter(spans[spans > 0].tolist() or [0]).most_common(1)[0]
    if spacing == 0:
        return [], f"{span}, which do not increase"
    if count < REGULAR * len(spans):
        return [], f"{span}, unevenly spaced by {spans.min()} to {spans.max()}: nothing can be said"
    large = np.flatnonzero((spans > spacing) & (spans % spacing == 0))
    gaps = [
        Gap(run, int(steps[k]), int(steps[k + 1]), spacing, int(spans[k] // spacing) - 1)
        for k in large
    ]
    text = f"{span}, every {spacing}"
    if gaps:
        shown = [
            f"{gap.n_missing} between {gap.after_step} and {gap.before_step}"
            for gap in gaps[:MAX_SHOWN]
        ]
        more = f", and {len(gaps) - MAX_SHOWN} more gaps" if len(gaps) > MAX_SHOWN else ""
        text += f"; missing: {', '.join(shown)}{more}"
    odd = np.flatnonzero((spans < spacing) | (spans % spacing != 0))
    if len(odd):
        text += (
            f"; {len(odd)} other spacings, the first of {spans[odd[0]]} after step {steps[odd[0]]}"
        )
    return gaps, text
