"""Creep curves, steady rates and the activation volume: Figs. 2A and 2B.

Liu X. et al., J. Mater. Inf. 2, 20 (2022). Strain is read from the cell, so it starts
at the first frame of the run. Earlier elastic strain from loading is not included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mgdask._typing import FloatArray
from mgdask.analysis.creep import activation_volume, steady_state
from mgdask.errors import ParameterError
from mgdask.studies.records import Record
from mgdask.studies.temperature.views import CreepCurve, StressStrain

STRESS, STRAIN = "stress", "strain"
"""Frame values that a store may have (``mgdask attach``)."""
TO_GPA: Mapping[str, float] = {"GPa": 1.0, "MPa": 1e-3, "bar": 1e-4, "Pa": 1e-9, "kbar": 0.1}
"""One unit of stress in GPa."""


@dataclass(frozen=True, eq=False)
class Creep(Record):
    """Strain of one run, and its steady stage.

    Parameters
    ----------
    curve
        The curve for the figure.
    axis
        Cell vector along which strain is measured: 0, 1 or 2.
    strains
        Strain of each cell vector at the end.
    note
        Caveats about the rate in words.
    stress_note
        Why the stress is unknown; empty if it is known.
    """

    curve: CreepCurve
    axis: int
    strains: tuple[float, ...]
    note: str = ""
    stress_note: str = ""


@dataclass(frozen=True)
class Volume(Record):
    """Activation volume, or why there is none.

    Parameters
    ----------
    value, error
        Activation volume in Å³ and its standard error; NaN if not known.
    note
        Why it is not known, or what limits it.
    stores
        Names of the stores that were used.
    """

    value: float
    error: float
    note: str
    stores: tuple[str, ...] = field(default=())


def cell_strains(cell: FloatArray) -> FloatArray:
    """Return the engineering strain of each cell vector against the first frame.

    Parameters
    ----------
    cell
        Cell vectors in Å (frame, 3, 3).

    Returns
    -------
    strain
        Changes of length relative to the first frame (frame, 3).
    """
    length = np.linalg.norm(cell, axis=2)
    return np.asarray(length / length[0] - 1.0)


def loading_axis(strains: FloatArray) -> int:
    """Return the cell vector whose strain differs most from the others at the end.

    Parameters
    ----------
    strains
        Strains of the cell vectors (frame, 3).
    """
    last = strains[-1]
    others = (last.sum() - last) / 2.0
    # equal ones: the last, z, along which the paper pulls
    return int(2 - np.argmax(np.abs(last - others)[::-1]))


def stress_of(values: FloatArray | None, unit: str | None) -> tuple[float, str]:
    """Return the mean stress of a run in GPa, and why it is unknown.

    Parameters
    ----------
    values
        Stress of each frame (frame,); None if the store has none.
    unit
        Unit of the values; None if the store does not state it.
    """
    if values is None:
        return np.nan, (
            "the store has no variable stress; add it with mgdask attach STORE --variable "
            "'stress[GPa]=1.4'"
        )
    if unit is None or unit not in TO_GPA:
        return np.nan, (
            f"the unit of stress is {unit!r}, but must be one of {', '.join(TO_GPA)}, as in "
            "mgdask attach --variable 'stress[GPa]=1.4'"
        )
    if not np.isfinite(values).all():
        return np.nan, "stress is missing in some frames"
    return float(abs(values.mean()) * TO_GPA[unit]), ""


def creep_of(
    name: str,
    time: FloatArray,
    cell: FloatArray,
    *,
    stress: FloatArray | None = None,
    unit: str | None = None,
) -> Creep:
    """Return the creep curve of a run and its steady rate.

    Parameters
    ----------
    name
        Name of the store.
    time
        Times in ps (frame,).
    cell
        Cell vectors in Å (frame, 3, 3).
    stress
        Stress of each frame (frame,); None if it is unknown.
    unit
        Unit of the stress.

    Notes
    -----
    The rate is that of ``mgdask.steady_state``. It is not given if no steady stage is
    found, and then ``reason`` says why.
    """
    strains = cell_strains(cell)
    axis = loading_axis(strains)
    elapsed, strain = time - time[0], strains[:, axis]
    load, unknown = stress_of(stress, unit)
    ends = tuple(float(part) for part in strains[-1])
    try:
        steady = steady_state(elapsed, strain)
    except ParameterError as error:
        curve = CreepCurve(name, elapsed, strain, load, reason=str(error))
        return Creep(curve, axis, ends, "", unknown)
    curve = CreepCurve(
        name,
        elapsed,
        strain,
        load,
        steady.rate.value,
        steady.rate.error,
        steady.offset,
        steady.window,
        steady.reason,
    )
    return Creep(curve, axis, ends, steady.note, unknown)


def volume_of(curves: Sequence[Creep], temperatures: Sequence[float]) -> Volume:
    """Fit the activation volume to the steady rates of several stores.

        Ω = √3 k_B T d ln(rate) / dσ

    Parameters
    ----------
    curves
        Creep of each store.
    temperatures
        Temperature of each in K.

    Notes
    -----
    It needs steady rates at two or more stresses and one temperature. The paper prints
    27 nm³, which can only be 27 Å³: see ``mgdask.activation_volume``.
    """
    unknown = [one for one in curves if not np.isfinite(one.curve.stress)]
    steady = [
        (one.curve, kelvin)
        for one, kelvin in zip(curves, temperatures, strict=True)
        if np.isfinite(one.curve.stress) and not one.curve.reason and one.curve.rate > 0
    ]
    names = tuple(curve.name for curve, _ in steady)
    different = len({curve.stress for curve, _ in steady})
    if different < 2:
        why = [f"{one.curve.name}: {one.stress_note}" for one in unknown if one.stress_note] + [
            f"{one.curve.name}: no positive steady rate"
            for one in curves
            if np.isfinite(one.curve.stress) and (one.curve.reason or not one.curve.rate > 0)
        ]
        return Volume(
            np.nan,
            np.nan,
            "an activation volume needs steady rates at two or more stresses; there are "
            f"{different}" + (f" ({'; '.join(why)})" if why else ""),
            names,
        )
    kelvin = np.array([one for _, one in steady])
    if not np.isfinite(kelvin).all() or np.ptp(kelvin) > 0.01 * kelvin.max():
        return Volume(
            np.nan,
            np.nan,
            "an activation volume needs stores at one temperature; the stores have "
            f"{', '.join(f'{one:g}' for one in kelvin)} K",
            names,
        )
    found = activation_volume(
        [curve.stress for curve, _ in steady],
        [curve.rate for curve, _ in steady],
        float(kelvin.mean()),
        error=[curve.rate_error for curve, _ in steady],
    )
    return Volume(
        found.angstrom3.value, found.angstrom3.error, f"{len(steady)} steady rates", names
    )


def stress_strain_of(
    name: str, stress: FloatArray | None, strain: FloatArray | None, unit: str | None
) -> StressStrain | None:
    """Return the stress-strain curve if the store has both values, and stress varies.

    Parameters
    ----------
    name
        Name of the store.
    stress, strain
        Values of the frames (frame,); None if the store lacks them.
    unit
        Unit of the stress.
    """
    if stress is None or strain is None or unit is None or unit not in TO_GPA:
        return None
    if np.ptp(stress) == 0:
        return None
    return StressStrain(name, strain, stress * TO_GPA[unit])
