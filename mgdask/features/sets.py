"""Ready-made feature sets of Wang and Jain (2019) and others.

The published counts are 49 short-range columns in eight sets and 169 medium-range
columns in ten. The choice here gives both counts. Nine medium-range sets hold mean,
std, min and max over the neighbors of the short-range columns. Coarse-grained bond
orders are left out, because they are averages already. The tenth set is the i-fold
symmetry averaged over the atom and its neighbors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mgdask.errors import ParameterError
from mgdask.features.bondorder import BondOrder
from mgdask.features.chebyshev import SphericalChebyshev
from mgdask.features.chemistry import Chemistry
from mgdask.features.feature import Feature, FrameFeature
from mgdask.features.interstice import Interstice
from mgdask.features.mediumrange import MediumRange
from mgdask.features.symmetry import SymmetryFunctions
from mgdask.features.voronoi import Coordination, FoldSymmetry, Motifs, Packing, VoronoiIndices


def sro_sets(
    species: Sequence[str],
    *,
    cutoff: float = 4.0,
    radii: Any = "miracle",
    small_facets: Any = "static",
) -> dict[str, Feature]:
    """Make the eight short-range sets, 49 columns for two species.

    The sets are coordination (2 columns), voronoi_indices (5), motifs (4), packing (3),
    fold_symmetry (5), fold_symmetry_area (5), bond_order (16) and chemistry (9).
    Chemistry is the element, and two counts and two deviations per neighbor list.

    Parameters
    ----------
    species
        Element symbols.
    cutoff
        Cutoff distance in Å of the cutoff neighbors.
    radii
        Radii of the atoms, as in ``Interstice``.
    small_facets
        Which small facets of a cell are dropped, as in ``Interstice``.

    Returns
    -------
    Features by the name of their set.
    """
    return {**_short_range(species, cutoff, radii, small_facets)}


def _short_range(
    species: Sequence[str], cutoff: float, radii: Any, small_facets: Any
) -> dict[str, FrameFeature]:
    features: tuple[FrameFeature, ...] = (
        Coordination(cutoff=cutoff, small_facets=small_facets),
        VoronoiIndices(small_facets=small_facets),
        Motifs(small_facets=small_facets),
        Packing(radii=radii, small_facets=small_facets),
        FoldSymmetry(small_facets=small_facets),
        FoldSymmetry(weights="area", small_facets=small_facets),
        BondOrder(small_facets=small_facets),
        Chemistry(
            species=tuple(species),
            quantities=("element", "count", "deviation"),
            neighbors=("voronoi", "cutoff"),
            cutoff=cutoff,
            small_facets=small_facets,
        ),
    )
    return {feature.name: feature for feature in features}


def mro_sets(
    species: Sequence[str],
    *,
    cutoff: float = 4.0,
    radii: Any = "miracle",
    small_facets: Any = "static",
) -> dict[str, Feature]:
    """Make the ten medium-range sets, 169 columns for two species.

    Bond order has two sets of 16 columns, of q_l and w_l. The ninth set is chemistry
    (36 columns), the tenth the averaged i-fold symmetry (5 columns).

    Parameters
    ----------
    species
        Element symbols.
    cutoff
        Cutoff distance in Å of the cutoff neighbors.
    radii
        Radii of the atoms, as in ``Interstice``.
    small_facets
        Which small facets of a cell are dropped, as in ``Interstice``.

    Returns
    -------
    Features by the name of their set.
    """
    short = _short_range(species, cutoff, radii, small_facets)
    features: list[Feature] = []
    for name, feature in short.items():
        if name == "bond_order":
            for kind in ("q", "w"):
                part = BondOrder(quantities=(kind,), small_facets=small_facets).named(
                    f"bond_order_{kind}"
                )
                features.append(MediumRange(part))
        else:
            features.append(MediumRange(feature))
    features.append(FoldSymmetry(average=True, small_facets=small_facets))
    return {feature.name: feature for feature in features}


def _interstice(species: Sequence[str], **options: Any) -> dict[str, Feature]:
    short = Interstice(**options)
    return {feature.name: feature for feature in (short, MediumRange(short))}


SETS: dict[str, Callable[..., dict[str, Feature]]] = {
    "interstice": _interstice,
    "sro": sro_sets,
    "mro": mro_sets,
    "symmetry_functions": lambda species, **options: {
        "symmetry_functions": SymmetryFunctions(species=tuple(species), **options)
    },
    "chebyshev": lambda species, **options: {
        "chebyshev": SphericalChebyshev(species=tuple(species), **options)
    },
}
"""Ready-made sets by name.

For two species: interstice (16 + 64 columns), sro (49), mro (169), symmetry_functions
(166), chebyshev (90).
"""


def feature_set(name: str, species: Sequence[str], **options: Any) -> list[Feature]:
    """Return the features of a ready-made set, for ``plan`` and ``featurize``.

    Parameters
    ----------
    name
        One of ``SETS``: interstice, sro, mro, symmetry_functions or chebyshev.
    species
        Element symbols of the atoms.
    **options
        Parameters of the features, such as cutoff, radii and small_facets.

    Returns
    -------
    List of features.

    Raises
    ------
    ParameterError
        If the set or an option is unknown.

    Examples
    --------
    >>> [feature.name for feature in feature_set("interstice", ("Cu", "Zr"))]
    ['interstice', 'mediumrange_interstice']
    >>> [sum(f.n_columns for f in feature_set(s, ("Cu", "Zr"))) for s in ("sro", "mro")]
    [49, 169]
    """
    if name not in SETS:
        raise ParameterError(f"there is no set {name!r}; allowed: {', '.join(SETS)}")
    try:
        return list(SETS[name](species, **options).values())
    except TypeError as error:
        raise ParameterError(f"set {name!r}: {error}") from None


def amlearn_names(features: Sequence[Feature]) -> dict[tuple[str, str], str]:
    """Return amlearn's names of the columns.

    Parameters
    ----------
    features
        Features with columns that amlearn may have.

    Returns
    -------
    Names by (variable, label). Columns that amlearn lacks are left out.
    """
    return {
        (feature.name, label): name
        for feature in features
        for label, name in zip(feature.labels, feature.amlearn_labels, strict=False)
        if name
    }
