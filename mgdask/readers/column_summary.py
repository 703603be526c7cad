"""Columns of the input in words: which are kept as what, and which are left out."""

from __future__ import annotations

from mgdask.readers import coordinates
from mgdask.readers.inventory import Inventory
from mgdask.readers.species import PER_ATOM

NO_UNIT = "unit not stated"


def columns_kept(inventory: Inventory) -> list[str]:
    """Return the variables made from the columns, with their units.

    Parameters
    ----------
    inventory
        The audited files.

    Returns
    -------
    texts
        For example "position (Å) from x y z" and "vx vy vz (Å/ps)".
    """
    layout = inventory.layout
    texts = [f"position (Å) from {' '.join(coordinates.SETS[layout.kind])}"]
    if layout.images:
        texts.append(f"image from {' '.join(coordinates.IMAGES)}")
    if layout.species != PER_ATOM:
        texts.append(f"species from {layout.species}")
    if layout.has_mass:
        texts.append("mass (u) from mass")
    further: dict[str, list[str]] = {}
    for name, (_, unit, per_atom) in inventory.variables.items():
        text = unit or NO_UNIT
        further.setdefault(text if per_atom else f"{text}, per frame", []).append(name)
    return texts + [f"{' '.join(names)} ({unit})" for unit, names in further.items()]


def columns_left_out(inventory: Inventory) -> list[str]:
    """Return the columns that are not kept, with the reason.

    Parameters
    ----------
    inventory
        The audited files.

    Returns
    -------
    texts
        For example "xu yu zu (duplicate x y z)".
    """
    first, layout = inventory.refs[0], inventory.layout
    kept = {*layout.needed, *(column for column, _ in layout.extras)}
    positions = " ".join(coordinates.SETS[layout.kind])
    reasons: dict[str, list[str]] = {}
    for name in first.columns:
        if name in kept:
            continue
        if name in {column for names in coordinates.SETS.values() for column in names}:
            reason = f"duplicate {positions}"
        elif name in coordinates.IMAGES:
            reason = f"implied by {positions}"
        elif name in ("type", "element", "typelabel"):
            source = f"taken from {layout.species}" if layout.species != PER_ATOM else "given"
            reason = f"species are {source}"
        else:
            reason = "not in columns="
        reasons.setdefault(reason, []).append(name)
    partial = {name for ref in inventory.refs for name in ref.scalars} - set(layout.scalars)
    if partial:
        reasons["not in every frame"] = sorted(partial)
    return [f"{' '.join(names)} ({reason})" for reason, names in reasons.items()]
