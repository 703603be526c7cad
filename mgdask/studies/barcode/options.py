"""Options of the barcode study, each written once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mgdask.studies.options import CommandLine, Stores, StudyOptions, as_list, split_commas

if TYPE_CHECKING:
    from mgdask.features import SOAP


def _similarity(value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ValueError(
            "a threshold must be a similarity from 0 to 1, such as 0.84. At 1, only equal "
            "environments are similar"
        )
    return value


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, int | float) else split_commas(value)


def _different(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("a number is given twice; leave one out")
    return values


Threshold = Annotated[float, AfterValidator(_similarity)]
"""A similarity from 0 to 1."""
Paths = Annotated[tuple[Path, ...], BeforeValidator(as_list)]
"""Any number of paths of stores."""


class BarcodeOptions(StudyOptions):
    """Options of ``BarcodeStudy``."""

    study: ClassVar[str] = "barcode"
    adding_stages: ClassVar[frozenset[str]] = frozenset({"accuracy", "accuracy_runs"})
    summary: ClassVar[str] = (
        "Learn the energy of glasses from their unique local environments (Liu et al. 2023)."
    )
    examples: ClassVar[tuple[str, ...]] = (
        "mgdask study barcode --train a.zarr --train b.zarr --test c.zarr --out barcode",
        "mgdask study barcode --train a.zarr --train b.zarr --test c.zarr --test-size d.zarr "
        "--threshold 0.84 --elements 40 --out barcode",
    )

    train: Stores = Field(
        description="Store of training samples with energies; repeat for several."
    )
    test: Stores = Field(
        description="Store of test samples with energies, from independent runs; repeat for "
        "several."
    )
    test_size: Paths = Field(
        (),
        description="Store of test samples of another size, predicted without retraining; repeat "
        "for several.",
    )
    driven: Paths = Field(
        (),
        description="Store of samples driven by shear, compared with thermal samples of equal "
        "energy; repeat for several.",
    )
    threshold: Threshold = Field(
        0.84,
        description="Threshold of the dictionary. An environment joins it if its similarity to "
        "every entry is below.",
    )
    elements: int = Field(
        40,
        ge=1,
        description="Elements of the barcode: entries with the largest mean absolute SHAP value.",
    )
    per_species: bool = Field(
        False, description="Compare only environments around atoms of the same element."
    )
    r_cut: float = Field(5.0, gt=0, description="Cutoff of SOAP in Å.")
    n_max: int = Field(11, ge=1, le=40, description="Number of radial functions of SOAP.")
    l_max: int = Field(
        12, ge=0, le=40, description="Maximum degree of spherical harmonics of SOAP."
    )
    sigma: float = Field(0.5, gt=0, description="Width of the Gaussians of SOAP in Å.")
    # The paper does not name its basis. At its threshold, "gto" gives a few hundred
    # entries. "polynomial" comes closer to the 5223 of the paper.
    rbf: Literal["gto", "polynomial"] = Field("polynomial", description="Radial basis of SOAP.")
    basis: Literal["exact", "dscribe"] = Field(
        "exact", description="Coefficients of the radial basis: exact, or those of DScribe."
    )
    trials: int = Field(
        20,
        ge=0,
        description="Number of trials of the parameter search for the trees; 0 uses the published "
        "parameters.",
    )
    folds: int = Field(5, ge=2, description="Number of cross-validation folds over runs.")
    num_boost_round: Annotated[int, CommandLine("--rounds")] = Field(
        1000, ge=1, description="Maximum number of trees per model."
    )
    early_stopping: int = Field(
        100, ge=1, description="Stop training after this many trees without a better score."
    )
    distribute_above: float = Field(
        1.0,
        ge=0,
        description="Train trees on the workers of the cluster if the table of fractions is larger "
        "than this (GiB).",
    )
    accuracy: Annotated[
        tuple[Threshold, ...],
        BeforeValidator(_listed),
        AfterValidator(_different),
        CommandLine(separator=","),
    ] = Field(
        (),
        description="Also compute the error of the trees at these thresholds (Fig. A1 of the "
        "paper), such as 0.75,0.8,0.84. Each needs a dictionary of its own.",
    )
    accuracy_runs: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...],
        BeforeValidator(_listed),
        AfterValidator(_different),
        CommandLine(separator=","),
    ] = Field(
        (),
        description="Numbers of training runs for --accuracy, such as 1,2,3 [default: all runs].",
    )
    memory: str = Field("2GiB", description="Memory per worker process.")

    @model_validator(mode="after")
    def _stores_differ(self) -> BarcodeOptions:
        seen: dict[str, str] = {}
        for name in ("train", "test", "test_size", "driven"):
            for store in getattr(self, name):
                if store.stem in seen:
                    raise ValueError(
                        f"`{name}`={store}: a store named {store.stem} is already in "
                        f"`{seen[store.stem]}`. Training and test samples must differ, and results "
                        "are stored by name. Give another store, or rename it"
                    )
                seen[store.stem] = name
        return self

    @model_validator(mode="after")
    def _accuracy_is_asked_for(self) -> BarcodeOptions:
        if self.accuracy_runs and not self.accuracy:
            raise ValueError(
                "`accuracy_runs` has no effect without `accuracy`; give thresholds, such as "
                "0.75,0.84"
            )
        return self

    def check_inputs(self) -> None:
        """Raise ``ParameterError`` if samples lack energies or have other elements."""
        from mgdask.studies.barcode.stores import check_stores

        check_stores(self)

    def soap(self, species: Sequence[str]) -> SOAP:
        """Return the SOAP of the dictionary.

        Parameters
        ----------
        species
            Element symbols of the training samples.
        """
        from mgdask.features import SOAP

        return SOAP(
            species=tuple(species),
            r_cut=self.r_cut,
            n_max=self.n_max,
            l_max=self.l_max,
            sigma=self.sigma,
            rbf=self.rbf,
            basis=self.basis,
        )

    def all_stores(self) -> dict[str, Path]:
        """Return every store by its name: train, test, test_size, driven."""
        stores = (*self.train, *self.test, *self.test_size, *self.driven)
        return {store.stem: store for store in stores}
