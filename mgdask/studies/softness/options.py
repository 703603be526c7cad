"""Options of the softness studies: one model per study, each option written once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mgdask.elements import atomic_number, symbol
from mgdask.studies.options import CommandLine, Stores, StudyOptions, Texts, as_list, split_commas

if TYPE_CHECKING:
    from mgdask.features import Feature


def _elements(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    for name in names or ():
        if names != ("host",):
            atomic_number(name)
    return names


class GlassOptions(StudyOptions):
    """Options of labels and training that all softness studies share."""

    strain: float = Field(0.04, gt=0, description="Strain at which atoms are labeled.")
    threshold: float = Field(
        5.0, description="D2min (sum over neighbors, in Å²) above which an atom is plastic."
    )
    cutoff: float = Field(4.5, gt=0, description="Cutoff distance of the neighbors of D2min, in Å.")
    margin: float = Field(
        15.0,
        description="Exclude atoms within this distance (Å) of a free surface or a free "
        "deformation end.",
    )
    centers: Annotated[
        tuple[str, ...] | None,
        BeforeValidator(split_commas),
        AfterValidator(_elements),
        CommandLine(separator=","),
    ] = Field(
        None,
        description="Use only atoms of these elements, such as Cu or Cu,Zr; host is the "
        "majority species.",
    )
    n_undersamples: Annotated[int, CommandLine("--draws")] = Field(
        20, ge=1, description="Random undersamples of the majority class; each trains a model."
    )
    num_boost_round: Annotated[int, CommandLine("--rounds")] = Field(
        150, ge=1, description="Trees per model."
    )

    def glass(self) -> dict[str, Any]:
        """Return the arguments of ``prepare_glass``."""
        names = ("strain", "threshold", "cutoff", "margin")
        return {**{name: getattr(self, name) for name in names}, "species": self.centers}

    def learning(self) -> dict[str, Any]:
        """Return the arguments of ``learn_softness``."""
        names = ("n_undersamples", "num_boost_round")
        return {name: getattr(self, name) for name in names}


class SoftnessOptions(GlassOptions):
    """Options of ``SoftnessStudy``."""

    study: ClassVar[str] = "softness"
    summary: ClassVar[str] = (
        "Learn which atoms turn plastic, and test on other glasses (Wang & Jain 2019)."
    )
    examples: ClassVar[tuple[str, ...]] = (
        "mgdask study softness --train g1.zarr --test g2.zarr --out softness",
        "mgdask study softness --train g1.zarr --test g2.zarr --out sro --set sro",
    )

    train: Stores = Field(
        description="Store of a deformed glass to learn from; repeat for several."
    )
    test: Stores = Field(description="Store of a deformed glass to test on; repeat for several.")
    sets: Annotated[Texts, CommandLine("--set")] = Field(
        (), description="Named set of features, see mgdask.feature_set [default: interstice]."
    )
    features: Annotated[Texts, CommandLine("--feature")] = Field(
        (), description="Feature family and its options, as in mgdask featurize."
    )
    recipe: Path | None = Field(
        None, description="YAML file that lists features and their parameters."
    )
    ends: bool = Field(
        False,
        description="Also apply the margin to the end faces of a periodic deformed cell vector.",
    )
    n_features: Annotated[int, CommandLine("--wanted")] = Field(
        15, ge=0, description="Number of leading columns to select; 0 for no selection."
    )
    qs: Literal["all", "leading"] = Field(
        "all",
        description="Columns that QS is computed from: all, or the leading ones, as in the paper.",
    )
    target: Literal["label", "rank"] = Field(
        "label",
        description="Target of the models: the label of an atom, as in the paper, or the rank "
        "of its "
        "D2min in the balanced sample.",
    )
    groups: Literal["paper", "tenths"] = Field(
        "paper",
        description="Hardest and softest atoms: those with QS below 0.1 and above 0.7 (the "
        "extreme tenth "
        "if these are too few), or the extreme tenths.",
    )
    glasses: Annotated[tuple[Path, ...], BeforeValidator(as_list), CommandLine("--glass")] = Field(
        (),
        description="Store of another glass, deformed or not, whose distribution of QS is shown "
        "with that of the test glass; repeat for several.",
    )
    repeats: Annotated[tuple[Path, ...], BeforeValidator(as_list), CommandLine("--repeat")] = Field(
        (),
        description="Store of another deformation of the first test glass from the same "
        "undeformed configuration; it measures the noise ceiling of the AUC.",
    )
    folds: int = Field(5, ge=0, description="Folds of the cross-validation; 0 for none.")
    trials: int = Field(
        0,
        ge=0,
        description="Trials of the search for the parameters of the trees; 0 for no search.",
    )

    @model_validator(mode="after")
    def _selection_needs_folds(self) -> SoftnessOptions:
        if (self.n_features or self.trials) and self.folds < 2:
            raise ValueError(
                f"`folds`={self.folds} must be at least 2 to select columns or to search for "
                "parameters; set `n_features`=0 and `trials`=0 for neither"
            )
        if self.qs == "leading" and not self.n_features:
            raise ValueError("`qs`=leading needs `n_features` of at least 1")
        return self

    def check_inputs(self) -> None:
        """Raise ``ParameterError`` if the features are unknown or not possible."""
        from mgdask.store.open import check_complete
        from mgdask.store.shards import read_array

        numbers = read_array(check_complete(self.test[0])[0], "species")
        self.list_features([symbol(z) for z in sorted({int(z) for z in numbers})])

    def list_features(self, species: Sequence[str]) -> list[Feature]:
        """Return the features that the options ask for.

        Parameters
        ----------
        species
            Element symbols of the glass.
        """
        from mgdask.features.recipe import gather_features

        named = self.sets or (() if self.features or self.recipe is not None else ("interstice",))
        recipe = None if self.recipe is None else str(self.recipe)
        return gather_features(self.features, named, recipe, species)

    def glass(self) -> dict[str, Any]:
        """Return the arguments of ``prepare_glass``."""
        return {**super().glass(), "ends": self.ends}

    def learning(self) -> dict[str, Any]:
        """Return the arguments of ``learn_softness``."""
        return {
            **super().learning(),
            "n_features": self.n_features or None,
            "qs": self.qs,
            "target": self.target,
            "folds": self.folds,
            "trials": self.trials,
            "seed": self.seed,
        }


class ComparisonOptions(GlassOptions):
    """Options of ``ComparisonStudy``."""

    study: ClassVar[str] = "compare"
    summary: ClassVar[str] = (
        "Compare feature sets on the same atoms and undersamples (Wang & Jain 2019, Fig. 5a)."
    )
    examples: ClassVar[tuple[str, ...]] = (
        "mgdask study compare --train g1.zarr --test g2.zarr --out sets",
        "mgdask study compare --train g1.zarr --test g2.zarr --out sets --growth 0.1,0.5",
        "mgdask study compare --train g1.zarr --train g2.zarr --test g1.zarr --test g2.zarr "
        "--out both",
    )

    train: Stores = Field(
        description="Store of a deformed glass to learn from; repeat for several."
    )
    test: Stores = Field(
        description="Store of a deformed glass to test on; repeat for several. It is left out of "
        "training when it is tested."
    )
    labels: Path | None = Field(
        None,
        description="CSV file of conditions, as in transfer; a glass is then tested only by "
        "models of "
        "its own condition.",
    )
    sets: Annotated[Texts, CommandLine("--set")] = Field(
        (),
        description="Feature set; repeat for several. The first is the reference [default: all].",
    )
    single_models: Literal["undersamples", "folds"] = Field(
        "undersamples",
        description="Models that are also scored one by one: those of the mean, or those of the "
        "paper, five per undersample.",
    )
    growth: Annotated[
        tuple[float, ...] | None, BeforeValidator(split_commas), CommandLine(separator=",")
    ] = Field(
        None,
        description="Also train the first set on these fractions of atoms, such as 0.1,0.3,0.5.",
    )


class TransferOptions(GlassOptions):
    """Options of ``TransferStudy``."""

    study: ClassVar[str] = "transfer"
    summary: ClassVar[str] = (
        "Test models of each glass on every other glass (Wang & Jain 2019, Fig. 4)."
    )
    examples: ClassVar[tuple[str, ...]] = (
        "mgdask study transfer g1.zarr g2.zarr g3.zarr --out transfer",
        "mgdask study transfer g*.zarr --out rates --labels labels.csv --by condition",
    )

    stores: Annotated[Stores, CommandLine(argument="STORES")] = Field(
        description="Stores of deformed glasses, two or more."
    )
    labels: Path | None = Field(
        None,
        description="CSV file with the column store, any of system, composition (Cu65Zr35) and "
        "rate (K/s), and optionally centers (all, host, Cu+Zr) and roles (Cu+Zr).",
    )
    by: Literal["glass", "label", "condition"] = Field(
        "glass",
        description="Train on each glass, on all glasses of a label, or on all but the last "
        "glass of a condition, which is held out.",
    )
    reference: Literal["condition", "glass"] = Field(
        "condition",
        description="Compare with models of the target's condition, or of the target itself "
        "(cross-validation by region).",
    )
    features: Texts = Field(("interstice",), description="Feature set; repeat for several.")
    single_models: Literal["undersamples", "folds"] = Field(
        "undersamples",
        description="Models that are also scored one by one: those of the mean, or those of the "
        "paper, five per undersample.",
    )
    columns: Literal["same", "common"] = Field(
        "same", description="Refuse glasses with different columns, or use the common columns."
    )
