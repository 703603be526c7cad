"""Summary of a trajectory in words: species, cell, density, runs, times and columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mgdask._typing import AnyArray, FloatArray
from mgdask.elements import symbol
from mgdask.store.attributes import decode
from mgdask.store.shards import open_group, read_array

NAMES = ("species", "mass", "cell", "pbc", "run", "step", "time", "temperature")
"""Variables that the summary is made of."""
KEPT, LEFT_OUT = "columns_kept", "columns_left_out"
"""Attributes that list the columns of the input, in words."""
MAX_RUNS = 6
"""Maximum number of runs to list."""
GRAM_PER_CM3 = 1.66053906660
"""One u per Å³ in g/cm³ (CODATA 2018)."""


def summarize_store(path: str) -> list[tuple[str, str]]:
    """Return the summary of a stored trajectory; see ``summarize``.

    Parameters
    ----------
    path
        A trajectory store, which may be unfinished.
    """
    group = open_group(path)
    return summarize({k: read_array(group, k) for k in NAMES if k in group}, dict(group.attrs))


def summarize(arrays: Mapping[str, AnyArray], attrs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return labels and texts that say what a trajectory holds.

    Parameters
    ----------
    arrays
        Variables of the store by name, any of ``NAMES``. Missing ones are left out.
    attrs
        Attributes of the store.

    Returns
    -------
    rows
        (label, text), for example ("species", "Cu 1300 (65 %), Zr 700 (35 %)").
    """
    rows: list[tuple[str, str]] = []
    reduced = attrs.get("units_of_input") == "lj"
    length_unit, time_unit = ("σ", "τ") if reduced else ("Å", "ps")
    runs = _run_frames(arrays["run"]) if "run" in arrays else {}
    if runs:
        rows.append(("runs", _runs_text(runs)))
    if "species" in arrays:
        rows.append(("species", composition(arrays["species"])))
    if "cell" in arrays:
        rows.append(("cell", _cell_text(arrays["cell"], arrays.get("pbc"), length_unit)))
        if "mass" in arrays and not reduced:
            rows.append(("density", _density_text(arrays["cell"], arrays["mass"])))
    if "step" in arrays:
        rows.append(("time", _time_text(arrays, runs, time_unit)))
        rows.append(("step", _by_run(arrays["step"], runs, "")))
    if arrays.get("temperature", np.empty((0, 0))).ndim == 1:
        rows.append(("temperature", _temperature_text(arrays["temperature"], runs)))
    for label, key in (("columns", KEPT), ("left out", LEFT_OUT)):
        if texts := decode(attrs, key):
            rows.append((label, "; ".join(map(str, texts))))
    return rows


def composition(species: AnyArray) -> str:
    """Return number and per cent of the atoms of each element.

    Parameters
    ----------
    species
        Atomic numbers (atom,).

    Examples
    --------
    >>> import numpy as np
    >>> composition(np.repeat([29, 40], [1300, 700]))
    'Cu 1300 (65 %), Zr 700 (35 %)'
    """
    numbers, counts = np.unique(species, return_counts=True)
    return ", ".join(
        f"{symbol(int(z))} {n} ({_percent(n / len(species))} %)"
        for z, n in zip(numbers, counts, strict=True)
    )


def size_text(n_bytes: float) -> str:
    """Return a number of bytes with a unit in which it is 1 to 999.

    Parameters
    ----------
    n_bytes
        Number of bytes.

    Examples
    --------
    >>> size_text(240_000), size_text(2.5e9)
    ('240 kB', '2.5 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if abs(n_bytes) < 999.5:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.4g} TB"


def _percent(share: float) -> str:
    value = 100 * share
    whole = abs(value - round(value)) < 0.05 and value >= 0.5
    return f"{value:.0f}" if whole else f"{value:.2g}" if value < 1 else f"{value:.1f}"


def _run_frames(run: AnyArray) -> dict[str, AnyArray]:
    """Return the indices of the frames of each run."""
    labels = np.array([str(label) for label in run])
    return {label: np.flatnonzero(labels == label) for label in dict.fromkeys(labels.tolist())}


def _runs_text(runs: Mapping[str, AnyArray]) -> str:
    sizes = {len(frames) for frames in runs.values()}
    each = f" of {sizes.pop()} frames each" if len(sizes) == 1 and len(runs) > 1 else ""
    named = [
        label if each else f"{label} ({len(frames)} frames)"
        for label, frames in list(runs.items())[:MAX_RUNS]
    ]
    more = f", and {len(runs) - MAX_RUNS} more" if len(runs) > MAX_RUNS else ""
    return f"{len(runs)}{each}: {', '.join(named)}{more}"


def _range(values: FloatArray, digits: int = 5) -> str:
    """Return one number, or the smallest and the largest."""
    low, high = f"{values.min():.{digits}g}", f"{values.max():.{digits}g}"
    return low if low == high else f"{low} to {high}"


def _cell_text(cell: FloatArray, pbc: AnyArray | None, unit: str) -> str:
    lengths = np.linalg.norm(cell, axis=2)
    changes = bool((np.abs(cell - cell[0]) > 1e-9).any())
    triclinic = not np.allclose(cell * (1 - np.eye(3)), 0.0)
    text = f"{'triclinic' if triclinic else 'orthogonal'}, "
    text += "changing: " if changes else "constant: "
    texts = [_range(lengths[:, axis]) for axis in range(3)]
    text += " x ".join(f"({one})" if " to " in one else one for one in texts) + f" {unit}"
    if triclinic:
        text += ", angles " + ", ".join(_range(angle, 4) for angle in _angles(cell)) + "°"
    if pbc is None:
        return text
    axes = {
        word: " ".join(name for name, each in zip("xyz", pbc, strict=True) if bool(each) == wanted)
        for word, wanted in (("periodic", True), ("open", False))
    }
    return text + "".join(f", {word} along {names}" for word, names in axes.items() if names)


def _angles(cell: FloatArray) -> list[FloatArray]:
    """Return alpha, beta and gamma (frame,) in degrees."""
    unit = cell / np.linalg.norm(cell, axis=2, keepdims=True)
    return [
        np.degrees(np.arccos(np.clip((unit[:, a] * unit[:, b]).sum(axis=1), -1, 1)))
        for a, b in ((1, 2), (0, 2), (0, 1))
    ]


def _density_text(cell: FloatArray, mass: FloatArray) -> str:
    volume = np.abs(np.linalg.det(cell))
    density = GRAM_PER_CM3 * float(mass.sum()) / volume
    return f"{_range(density, 3)} g/cm³, {_range(volume / len(mass), 4)} Å³ per atom"


def _time_text(arrays: Mapping[str, AnyArray], runs: Mapping[str, AnyArray], unit: str) -> str:
    if "time" not in arrays:
        return "unknown: the files have none, and timestep= (--timestep) was not given"
    text = _by_run(arrays["time"], runs, f" {unit}")
    gaps = np.diff(arrays["step"]), np.diff(arrays["time"])
    forward = (gaps[0] > 0) & (gaps[1] > 0)
    if not forward.any():
        return text
    timestep = gaps[1][forward] / gaps[0][forward]
    return f"{text}; {_range(timestep, 4)} {unit} per step"


def _by_run(values: AnyArray, runs: Mapping[str, AnyArray], unit: str) -> str:
    """Return first, last and spacing, run by run unless they are the same in all."""
    texts = {label: _spacing(values[frames], unit) for label, frames in runs.items()}
    if len(texts) < 2:
        return next(iter(texts.values()), _spacing(values, unit))
    if len(set(texts.values())) == 1:
        return f"in each run {next(iter(texts.values()))}"
    return _listed([f"{label}: {text}" for label, text in texts.items()])


def _spacing(values: AnyArray, unit: str) -> str:
    if len(values) == 1:
        return f"{values[0]:g}{unit}"
    gaps = np.diff(values.astype(np.float64))
    even = np.allclose(gaps, gaps[0], rtol=1e-6)
    text = f"{values[0]:g} to {values[-1]:g}{unit}, "
    if even:
        return text + f"every {gaps[0]:g}{unit}"
    return text + f"uneven spacing of {gaps.min():g} to {gaps.max():g}{unit}"


def _temperature_text(values: FloatArray, runs: Mapping[str, AnyArray]) -> str:
    """Return the temperature of each run, or its first and last if it changes."""
    texts = []
    for label, frames in runs.items():
        kelvin = values[frames]
        if not np.isfinite(kelvin).all():
            texts.append(f"{label} unknown")
        elif (kelvin == kelvin[0]).all():
            texts.append(f"{label} {kelvin[0]:g} K")
        else:
            texts.append(f"{label} {kelvin[0]:g} to {kelvin[-1]:g} K")
    return _listed(texts)


def _listed(texts: Sequence[str]) -> str:
    return "; ".join(texts[:MAX_RUNS]) + ("; …" if len(texts) > MAX_RUNS else "")
