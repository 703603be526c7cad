"""Remarks on input that can be read but is probably not what the user means.

Swapped species, lengths in another unit, overlapping atoms and a wrong timestep all
give stores without an error. The remarks compare the frame with the radii of the
elements. They are hints: nothing is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from mgdask._typing import FloatArray
from mgdask.elements import MIRACLE_RADII, symbol
from mgdask.geometry import volume
from mgdask.readers.contacts import Contacts, contacts
from mgdask.readers.species import SpeciesMap

Pair = tuple[int, int]

MIN_GAIN = 0.03
"""Square root of the drop in misfit above which other species are suggested."""
MAX_PERMUTED = 6
"""Maximum number of elements for which all permutations are compared."""
UNIT_RATIOS = (0.75, 1.35)
"""Distances of all pairs, in sums of radii, outside which lengths are remarked on."""
OVERLAP = 0.5
"""Distance, in sums of radii, below which atoms overlap."""
PACKING = 0.7
"""Fraction of space that the spheres of a metallic glass fill."""
VOLUME_RATIOS = (0.6, 2.0)
"""Volumes, in volumes of the atoms, outside which the cell is remarked on."""
TIMESTEPS = (1e-5, 0.05)
"""Timesteps in ps outside which they are remarked on."""
MAX_NAMED_TYPES = 20
"""Maximum number of types that a suggestion lists."""
NONMETALS = ("B", "C", "N", "O", "Si", "P", "S", "Ge", "As", "Se", "Te")
"""Elements with a radius in the table that do not pack like metal atoms."""


def check_frame(
    position: FloatArray,
    cell: FloatArray,
    origin: FloatArray,
    pbc: Sequence[bool],
    numbers: np.typing.NDArray[np.int32],
    species: SpeciesMap,
) -> list[str]:
    """Return remarks on one frame, the most important first.

    Parameters
    ----------
    position, cell, origin
        Positions (atom,3), cell vectors (3,3) and lower corner (3,) in Å.
    pbc
        Whether the cell repeats along each vector.
    numbers
        Atomic numbers (atom,).
    species
        The user's map of species, for the words of the suggestion.

    Returns
    -------
    remarks
        Sentences; none if nothing is odd, or an element has no radius in the table.
    """
    kinds, count = np.unique(numbers, return_counts=True)
    names = {int(z): symbol(int(z)) for z in kinds}
    if not set(names.values()) <= MIRACLE_RADII.keys():
        return []
    radii = {z: MIRACLE_RADII[name] for z, name in names.items()}
    longest = 3.2 * max(radii.values())
    found = contacts(position, cell, origin, pbc, numbers, longest)
    if not found:  # lengths may be far larger than Å
        found = contacts(position, cell, origin, pbc, numbers)
    filled = sum(n * 4 / 3 * np.pi * radii[int(z)] ** 3 for z, n in zip(kinds, count, strict=True))
    if remark := _check_lengths(found, radii, names):
        return [remark]
    remarks = [_check_overlap(found, radii, names), _check_species(found, radii, names, species)]
    if all(pbc) and not set(names.values()) & set(NONMETALS):
        remarks.append(_check_volume(volume(cell) * PACKING / filled))
    return [remark for remark in remarks if remark]


def check_timestep(
    step: np.typing.NDArray[np.int64], time: FloatArray | None, given: float | None
) -> str:
    """Return a remark on the time per timestep, or "" if it is usual.

    Parameters
    ----------
    step, time
        Timesteps, and times in ps (frame,) of one or more runs.
    given
        Timestep in ps that the user gave.
    """
    if time is None or len(step) < 2:
        return ""
    gap = np.diff(step)
    forward = (gap > 0) & (np.diff(time) > 0)
    # steps that only count the frames say nothing about the simulation
    if not forward.any() or gap[forward].max() == 1:
        return ""
    timestep = float(np.median(np.diff(time)[forward] / gap[forward]))
    low, high = TIMESTEPS
    if low <= timestep <= high:
        return ""
    source = f"timestep={given:g}" if given is not None else "the times in the files"
    guess = f" If it is in fs, give {timestep / 1000:g}." if timestep > high else ""
    return (
        f"check the timestep: {timestep:g} ps per step, from {source}, is unusual. Simulations of "
        f"atoms mostly have 0.0005 to 0.01 ps.{guess}"
    )


def _ratios(found: Mapping[Pair, Contacts], radii: Mapping[int, float]) -> dict[Pair, float]:
    """Return the first peak of each pair in sums of radii."""
    return {
        (a, b): one.peak / (radii[a] + radii[b])
        for (a, b), one in found.items()
        if np.isfinite(one.peak)
    }


def _pair_text(
    pair: Pair, distance: float, radii: Mapping[int, float], names: Mapping[int, str]
) -> str:
    a, b = pair
    return f"{names[a]}-{names[b]} {distance:.3g} Å (sum of radii {radii[a] + radii[b]:.3g} Å)"


def _check_lengths(
    found: Mapping[Pair, Contacts], radii: Mapping[int, float], names: Mapping[int, str]
) -> str:
    """Return a remark if all first peaks are far too short or too long."""
    ratios = _ratios(found, radii)
    low, high = UNIT_RATIOS
    if not ratios or not (max(ratios.values()) < low or min(ratios.values()) > high):
        return ""
    middle = float(np.median(list(ratios.values())))
    if 0.08 < middle < 0.13:
        guess = "Lengths may be in nm: set units=nano (--units nano)."
    elif 1.6 < middle < 2.2:
        guess = "Lengths may be in Bohr: set units=electron (--units electron)."
    elif 0.25 < middle < low:
        guess = (
            "Lengths may be in reduced units: set units=lj (--units lj). Species are then only "
            "labels."
        )
    else:
        guess = "Check the unit of the lengths, the box and units= (--units)."
    pair = min(ratios, key=lambda pair: abs(ratios[pair] - middle))
    return (
        f"check the lengths: neighbors are {middle:.2g} times as far apart as the radii of the "
        f"elements suggest: {_pair_text(pair, found[pair].peak, radii, names)}. {guess}"
    )


def _check_overlap(
    found: Mapping[Pair, Contacts], radii: Mapping[int, float], names: Mapping[int, str]
) -> str:
    """Return a remark if two atoms are closer than half the sum of their radii."""
    if not found:
        return ""
    ratios = {(a, b): one.shortest / (radii[a] + radii[b]) for (a, b), one in found.items()}
    pair = min(ratios, key=lambda pair: ratios[pair])
    if ratios[pair] >= OVERLAP:
        return ""
    return (
        "check the positions: atoms overlap in the first frame, shortest distance "
        f"{_pair_text(pair, found[pair].shortest, radii, names)}"
    )


def _check_volume(ratio: float) -> str:
    """Return a remark if the cell is far larger or smaller than its atoms."""
    low, high = VOLUME_RATIOS
    if low <= ratio <= high:
        return ""
    cause = (
        "It may hold voids, free surfaces or a gas, or the box may be wrong."
        if ratio > high
        else "The box, the species or the unit of the lengths may be wrong."
    )
    return (
        f"check the cell: its volume is {float(f'{ratio:.2g}'):g} times that of its atoms at the "
        f"density of a metallic glass. {cause}"
    )


def _check_species(
    found: Mapping[Pair, Contacts],
    radii: Mapping[int, float],
    names: Mapping[int, str],
    species: SpeciesMap,
) -> str:
    """Return a remark if the same elements in another order fit the distances better.

    Only distances shorter than the sum of radii count. Longer ones are common: atoms of
    one species avoid each other in many alloys.
    """
    peaks = {pair: one.peak for pair, one in found.items() if np.isfinite(one.peak)}
    given = tuple(sorted(names))
    if len(given) < 2 or not peaks:
        return ""

    def misfit(order: Sequence[int]) -> float:
        """Mean square of the logarithm of the distances that are too short."""
        new = dict(zip(given, (radii[z] for z in order), strict=True))
        logs = [np.log(peak / (new[a] + new[b])) for (a, b), peak in peaks.items()]
        return float(np.mean(np.minimum(logs, 0.0) ** 2))

    def changes(order: Sequence[int]) -> int:
        return sum(new != old for new, old in zip(order, given, strict=True))

    # equal radii give equal misfits: of these, the order with the fewest changes
    best = min(_orders(given), key=lambda order: (round(misfit(order), 9), changes(order)))
    gain = misfit(given) - misfit(best)
    if gain <= MIN_GAIN**2:
        return ""
    exchange = dict(zip(given, best, strict=True))
    shown = sorted(peaks, key=lambda pair: peaks[pair] / (radii[pair[0]] + radii[pair[1]]))
    ends = shown if len(shown) <= 3 else [shown[0], shown[-1]]
    numbers = ", ".join(_pair_text(pair, peaks[pair], radii, names) for pair in ends)
    return (
        f"check the species: the shortest distances fit {_suggestion(species, exchange)} better. "
        f"With the given species, the first peaks of g(r) are {numbers}"
    )


def _orders(given: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the orders to compare: all, or pairwise exchanges of many elements."""
    if len(given) <= MAX_PERMUTED:
        return list(itertools.permutations(given))
    orders = [given]
    for a, b in itertools.combinations(range(len(given)), 2):
        order = list(given)
        order[a], order[b] = order[b], order[a]
        orders.append(tuple(order))
    return orders


def _suggestion(species: SpeciesMap, exchange: Mapping[int, int]) -> str:
    """Return the suggested species as the user would give them."""

    def new(number: int) -> str:
        return symbol(exchange.get(number, number))

    kinds = [kind for kind, _ in species.types]
    if 0 < len(kinds) <= MAX_NAMED_TYPES:
        if kinds == list(range(1, len(kinds) + 1)):
            return "--species " + ",".join(new(number) for _, number in species.types)
        mapped = ", ".join(f"{kind}: {new(number)!r}" for kind, number in species.types)
        return f"species={{{mapped}}}"
    if species.names:
        return "--species " + ",".join(f"{name}={new(number)}" for name, number in species.names)
    moved = [f"{symbol(a)} to {symbol(b)}" for a, b in exchange.items() if a != b]
    return f"other elements ({', '.join(moved)})"
