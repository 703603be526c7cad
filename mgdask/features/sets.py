"""Ready-made feature sets of Wang and Jain (2019) and others.

The paper's Methods list eight short-range sets, i to viii, and ten medium-range sets
("Benchmarked Structural Signatures and Their MRO Version"). For two species:

====  ===============================  =======  ===============================  =======
set   short range                      columns  medium range                     columns
====  ===============================  =======  ===============================  =======
i     CN, Voronoi and cutoff                 2  4 statistics                           8
ii    Voronoi indices n_3 to n_7             5  4 statistics                          20
iii   motifs                                 4  sum, mean and std                     12
iv    volume metrics                         3  4 statistics                          12
v     i-fold symmetry                        5  average over atom and neighbors        5
..                                           .  4 statistics                          20
vi    i-fold symmetry by facet area          5  4 statistics                          20
vii   bond order: q_l, w_l over             16  coarse-grained q_l, w_l               16
      Voronoi and cutoff neighbors
..                                           .  4 statistics                          64
viii  element; count and deviation per       9  4 statistics, without the             32
      species, Voronoi and cutoff               element
..    sum                                   49                                       209
====  ===============================  =======  ===============================  =======

The four statistics are mean, std, min and max over the neighbors, Eq. (1). l is 4, 6, 8
and 10, so that bond order has 2 x 4 columns per neighbor list.

The paper counts 49 short-range and 169 medium-range columns. The printed numbers of the
ten sets sum to 8 + 20 + 12 + 12 + 5 + 20 + 20 + 16 + 64 + 32 = 209. The 169 follow if
both medium-range sets of bond order are taken for one neighbor list: 8 instead of 16,
32 instead of 64, and 209 - 8 - 32 = 169. The list printed in Methods is the default;
``bond_order_neighbors="voronoi"`` or ``"cutoff"`` gives 169 columns.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

from mgdask.errors import ParameterError
from mgdask.features.bondorder import BondOrder
from mgdask.features.chebyshev import SphericalChebyshev
from mgdask.features.chemistry import Chemistry
from mgdask.features.feature import Feature, FrameFeature
from mgdask.features.interstice import Interstice
from mgdask.features.mediumrange import MediumRange
from mgdask.features.naming import Named, compact, suggestion
from mgdask.features.registry import build
from mgdask.features.symmetry import SymmetryFunctions
from mgdask.features.voronoi import Coordination, FoldSymmetry, Motifs, Packing, VoronoiIndices

BOTH: tuple[Literal["voronoi", "cutoff"], ...] = ("voronoi", "cutoff")
"""Neighbor lists of bond order and chemistry."""


def sro_sets(
    species: Sequence[str],
    *,
    cutoff: float = 4.0,
    radii: Any = "miracle",
    small_facets: Any = "static",
    pair_cutoffs: Any = None,
) -> dict[str, Feature]:
    """Make the eight short-range sets, with 49 columns for two species.

    The sets are coordination (2 columns), voronoi_indices (5), motifs (4), packing (3),
    fold_symmetry (5), fold_symmetry_area (5), bond_order (16) and chemistry (9). Bond
    order consists of q_l and w_l for l = 4, 6, 8 and 10, for Voronoi and for cutoff
    neighbors. Chemistry consists of the element and, per neighbor list, two counts and
    two deviations.

    Parameters
    ----------
    species
        Element symbols.
    cutoff
        Cutoff distance in Å of the cutoff neighbors.
    radii
        Radii of the atoms in Å, as in ``Interstice``.
    small_facets
        Which small facets of a cell are dropped, as in ``Interstice``.
    pair_cutoffs
        Cutoffs in Å per pair of species, instead of ``cutoff``; see ``Coordination``.

    Returns
    -------
    Features by the name of their set.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Methods, sets i to viii.

    Examples
    --------
    >>> {name: feature.n_columns for name, feature in sro_sets(("Cu", "Zr")).items()}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'coordination': 2, 'voronoi_indices': 5, 'motifs': 4, 'packing': 3,
     'fold_symmetry': 5, 'fold_symmetry_area': 5, 'bond_order': 16, 'chemistry': 9}
    """
    return {**_short_range(species, cutoff, radii, small_facets, pair_cutoffs)}


def _short_range(
    species: Sequence[str], cutoff: float, radii: Any, small_facets: Any, pair_cutoffs: Any
) -> dict[str, FrameFeature]:
    near = {"cutoff": cutoff, "pair_cutoffs": pair_cutoffs, "small_facets": small_facets}
    features: tuple[FrameFeature, ...] = (
        Coordination(**near),
        VoronoiIndices(small_facets=small_facets),
        Motifs(small_facets=small_facets),
        Packing(radii=radii, small_facets=small_facets),
        FoldSymmetry(small_facets=small_facets),
        FoldSymmetry(weights="area", small_facets=small_facets),
        BondOrder(quantities=("q", "w"), neighbors=BOTH, **near),
        Chemistry(
            species=tuple(species),
            quantities=("element", "count", "deviation"),
            neighbors=BOTH,
            **near,
        ),
    )
    return {feature.name: feature for feature in features}


def mro_sets(
    species: Sequence[str],
    *,
    cutoff: float = 4.0,
    radii: Any = "miracle",
    small_facets: Any = "static",
    pair_cutoffs: Any = None,
    bond_order_neighbors: Literal["both", "voronoi", "cutoff"] = "both",
) -> dict[str, Feature]:
    """Make the ten medium-range sets, with 209 columns for two species.

    Most sets contain the mean, std, min and max of a short-range set over the neighbors
    of an atom. There are three exceptions. Motifs have sum, mean and std. Chemistry
    leaves out the element. Two sets are averages themselves. fold_symmetry_average is
    the i-fold symmetry averaged over the atom and its Voronoi neighbors.
    bond_order_coarse is the coarse-grained bond order.

    Parameters
    ----------
    species
        Element symbols.
    cutoff
        Cutoff distance in Å of the cutoff neighbors.
    radii
        Radii of the atoms in Å, as in ``Interstice``.
    small_facets
        Which small facets of a cell are dropped, as in ``Interstice``.
    pair_cutoffs
        Cutoffs in Å per pair of species, instead of ``cutoff``; see ``Coordination``.
    bond_order_neighbors
        Neighbor lists of the two bond-order sets. "both" gives the 209 columns of the
        printed list. "voronoi" and "cutoff" each give the 169 columns that the paper's
        text counts: 209 - 16/2 - 64/2.

    Returns
    -------
    Features by the name of their set.

    Raises
    ------
    ParameterError
        If a parameter value is not allowed.

    References
    ----------
    Wang, Jain, Nat. Commun. 10, 5537 (2019), Methods and Eq. (1).

    Examples
    --------
    >>> {name: feature.n_columns for name, feature in mro_sets(("Cu", "Zr")).items()}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'mediumrange_coordination': 8, 'mediumrange_voronoi_indices': 20,
     'mediumrange_motifs': 12, 'mediumrange_packing': 12,
     'fold_symmetry_average': 5, 'mediumrange_fold_symmetry': 20,
     'mediumrange_fold_symmetry_area': 20,
     'bond_order_coarse': 16, 'mediumrange_bond_order': 64,
     'mediumrange_chemistry': 32}
    """
    if bond_order_neighbors not in ("both", *BOTH):
        raise ParameterError(
            f"bond_order_neighbors={bond_order_neighbors!r} must be 'both', 'voronoi' or 'cutoff'"
        )
    lists = BOTH if bond_order_neighbors == "both" else (bond_order_neighbors,)
    short = _short_range(species, cutoff, radii, small_facets, pair_cutoffs)
    order = dataclasses.replace(short["bond_order"], neighbors=lists)
    average = FoldSymmetry(average=True, small_facets=small_facets)
    coarse = dataclasses.replace(order, quantities=("coarse_q", "coarse_w"))
    features: tuple[Feature, ...] = (
        MediumRange(short["coordination"]),
        MediumRange(short["voronoi_indices"]),
        MediumRange(short["motifs"], statistics=("sum", "mean", "std")),
        MediumRange(short["packing"]),
        average,
        MediumRange(short["fold_symmetry"]),
        MediumRange(short["fold_symmetry_area"]),
        coarse.named("bond_order_coarse"),
        MediumRange(order),
        MediumRange(dataclasses.replace(short["chemistry"], quantities=("count", "deviation"))),
    )
    return {feature.name: feature for feature in features}


MEDIUM_OF: dict[str, tuple[str, ...]] = {
    "coordination": ("medium_range_coordination",),
    "voronoi_indices": ("medium_range_voronoi_indices",),
    "motifs": ("medium_range_motifs",),
    "packing": ("medium_range_packing",),
    "fold_symmetry": ("fold_symmetry_average", "medium_range_fold_symmetry"),
    "fold_symmetry_area": ("medium_range_fold_symmetry_area",),
    "bond_order": ("bond_order_coarse", "medium_range_bond_order"),
    "chemistry": ("medium_range_chemistry",),
}
"""Medium-range sets of each short-range set."""


def _interstice(species: Sequence[str], **options: Any) -> dict[str, Feature]:
    """Interstice distribution of an atom, and its statistics over the neighbors."""
    short = build(Interstice, options, species)
    assert isinstance(short, Interstice)
    return {feature.name: feature for feature in (short, MediumRange(short))}


def _symmetry_functions(species: Sequence[str], **options: Any) -> dict[str, Feature]:
    """Behler-Parrinello symmetry functions, columns named by element."""
    return {"symmetry_functions": build(SymmetryFunctions, options, species)}


def _symmetry_by_role(species: Sequence[str], **options: Any) -> dict[str, Feature]:
    """Symmetry functions with columns named by role, for transfer to other systems."""
    feature = build(SymmetryFunctions, {"roles": "count", **options}, species)
    return {"symmetry_by_role": feature.named("symmetry_by_role")}


def _chebyshev(species: Sequence[str], **options: Any) -> dict[str, Feature]:
    """Spherical Chebyshev power spectrum of the neighbor density."""
    return {"chebyshev": build(SphericalChebyshev, options, species)}


Maker = Callable[..., dict[str, Feature]]


def _one_of(sets: Maker, name: str) -> Maker:
    def make(species: Sequence[str], **options: Any) -> dict[str, Feature]:
        members = sets(species, **options)
        (array,) = (each for each in members if compact(each) == compact(name))
        return {array: members[array]}

    return make


SETS: Named[Maker] = Named(
    {
        "interstice": _interstice,
        "sro": sro_sets,
        "mro": mro_sets,
        "symmetry_functions": _symmetry_functions,
        "symmetry_by_role": _symmetry_by_role,
        "spherical_chebyshev": _chebyshev,
        **{name: _one_of(sro_sets, name) for name in MEDIUM_OF},
        **{name: _one_of(mro_sets, name) for names in MEDIUM_OF.values() for name in names},
    },
    {"chebyshev": "spherical_chebyshev"},
)
"""Ready-made sets by name, in any spelling. ``feature_set`` joins them: "motifs+mro".

For two species: interstice (16 + 64 columns), sro (49), mro (209), symmetry_functions
and symmetry_by_role (166 each), and spherical_chebyshev (90). The members of sro and
mro are also sets of their own.
"""

_OPTIONS_OF: dict[str, Callable[..., Any]] = {
    "interstice": Interstice,
    "symmetry_functions": SymmetryFunctions,
    "symmetry_by_role": SymmetryFunctions,
    "spherical_chebyshev": SphericalChebyshev,
    "mro": mro_sets,
    **{name: mro_sets for names in MEDIUM_OF.values() for name in names},
}
"""Class or function that takes the options of a set; ``sro_sets`` if not listed."""


def options_taker(name: str) -> Callable[..., Any]:
    """Return the class or function that takes the options of a set."""
    return _OPTIONS_OF.get(name, sro_sets)


def set_options(name: str) -> list[str]:
    """Return the names of the options of a set."""
    taker = options_taker(name)
    if isinstance(taker, type) and dataclasses.is_dataclass(taker):
        names = [item.name for item in dataclasses.fields(taker)]
    else:
        names = list(inspect.signature(taker).parameters)
    return [option for option in names if option != "species"]


def _parts(name: str) -> list[str]:
    """Return the members of ``SETS`` that a name such as "motifs+mro" stands for."""
    given = [part.strip() for part in name.split("+")]
    unknown = [part for part in given if part not in SETS]
    if unknown:
        raise ParameterError(
            f"there is no set {unknown[0]!r}.{suggestion(unknown[0], SETS)} "
            f"The sets are {', '.join(SETS)}; join several with +"
        )
    given = [SETS.spelled(part) for part in given]
    own = [part for part in given if part in MEDIUM_OF]
    if "mro" in given and own and "sro" not in given:
        at = given.index("mro")
        given[at : at + 1] = [medium for part in own for medium in MEDIUM_OF[part]]
    return list(dict.fromkeys(given))


def feature_set(name: str, species: Sequence[str], **options: Any) -> list[Feature]:
    """Return the features of a ready-made set, for ``plan`` and ``featurize``.

    Parameters
    ----------
    name
        One of ``SETS``: interstice, sro, mro, symmetry_functions, symmetry_by_role
        (columns named A and B instead of by element, for transfer to other systems),
        spherical_chebyshev, or a member of ``sro_sets`` or ``mro_sets``. Join several
        with +; a feature that occurs twice is computed once. Beside single short-range
        sets, "mro" means their medium-range sets only: "motifs+mro" is the motifs and
        their medium-range statistics. Alone or with "sro", it means all ten sets.
    species
        Element symbols of the atoms.
    **options
        Parameters of the features, such as cutoff, radii, small_facets, pair_cutoffs
        and bond_order_neighbors. In joined sets, an option applies to every set that
        accepts it.

    Returns
    -------
    List of features.

    Raises
    ------
    ParameterError
        If the set or an option is unknown, or a value is not allowed.

    Notes
    -----
    Names in Wang and Jain (2019), with columns for two species:

    ================================  =======  =======================================
    name                              columns  in the paper
    ================================  =======  =======================================
    interstice                             80  the representation, Figs. 1 to 4
    interstice+sro                        129  Supplementary Table 5
    interstice+sro+mro                    338  Supplementary Table 7
    coordination, motifs, ...            2-16  Fig. 5a, SRO
    coordination+mro, ...               10-96  Fig. 5a, SRO and MRO
    symmetry_functions                    166  Supplementary Table 3
    symmetry_by_role                      166  Fig. 4, unfilled
    ================================  =======  =======================================

    See ``mro_sets`` for the 209 columns of mro and the 169 columns that the paper's
    text counts.

    Examples
    --------
    >>> [feature.name for feature in feature_set("interstice", ("Cu", "Zr"))]
    ['interstice', 'mediumrange_interstice']
    >>> def count(*args, **options):
    ...     return sum(f.n_columns for f in feature_set(*args, ("Cu", "Zr"), **options))
    >>> count("sro"), count("mro"), count("mro", bond_order_neighbors="voronoi")
    (49, 209, 169)
    >>> count("interstice+sro"), count("interstice+sro+mro"), count("motifs+mro")
    (129, 338, 16)
    """
    parts = _parts(name)
    allowed = {part: set_options(part) for part in parts}
    unknown = [option for option in options if not any(option in a for a in allowed.values())]
    if unknown:
        names = dict.fromkeys(option for taken in allowed.values() for option in taken)
        raise ParameterError(
            f"set {name!r}: unknown option {unknown[0]!r}.{suggestion(unknown[0], names)} "
            f"Allowed are {', '.join(names)}"
        )
    features: dict[str, Feature] = {}
    for part in parts:
        given = {option: value for option, value in options.items() if option in allowed[part]}
        for key, feature in SETS[part](species, **given).items():
            features.setdefault(key, feature)
    return list(features.values())


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
