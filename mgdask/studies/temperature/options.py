"""Options of the temperature study, each written once."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from mgdask.features.lag import LIU_2022
from mgdask.studies.options import CommandLine, Stores, StudyOptions, as_list, split_commas

D2MIN_LAGS = (5.0, 20.0, 50.0, 100.0, 200.0)
"""Lags of D²min in ps by default: those of Liu X. et al. (2022), Fig. 3, and 200 ps."""
Paths = Annotated[tuple[Path, ...], BeforeValidator(as_list)]
"""Any number of paths of stores."""
Numbers = Annotated[tuple[float, ...], BeforeValidator(split_commas), CommandLine(separator=",")]
"""Numbers, typed as one text with commas."""
FeatureTemperature = Literal["run"] | float | None
"""T in lg[r² m / T]: that of the run, a number in K, or None for lg[r² m]."""


class TemperatureOptions(StudyOptions):
    """Options of ``TemperatureStudy``."""

    study: ClassVar[str] = "temperature"
    summary: ClassVar[str] = (
        "Learn the temperature of atoms from their motion (Liu X. et al. 2022), and find atoms "
        "that move like a liquid."
    )
    examples: ClassVar[tuple[str, ...]] = (
        "mgdask study temperature --train 100.zarr --train 1000.zarr --train 2000.zarr "
        "--test 1300.zarr --out temperature",
        "mgdask study temperature --train 100.zarr --train 1000.zarr --train 2000.zarr "
        "--apply creep.zarr --control 100.zarr --out temperature",
    )

    train: Stores = Field(
        description="Store of isothermal runs with their temperature; repeat for several."
    )
    test: Paths = Field(
        (),
        description="Store of isothermal runs that are only tested on, best at other temperatures; "
        "repeat for several.",
    )
    apply: Paths = Field(
        (),
        description="Store of any trajectory, such as creep, whose atoms are given a temperature; "
        "repeat for several.",
    )
    control: Paths = Field(
        (),
        description="Store of an unstressed run at the temperature of the applied ones, shown "
        "beside them; it may be a training store.",
    )
    feature_temperature: Annotated[str, BeforeValidator(str)] = Field(
        "none",
        description="Temperature in the applied feature: none for lg[r² m], run for lg[r² m/T] of "
        "the paper with T of the run, or T in K. Both forms are validated.",
    )
    classes: Numbers = Field(
        (),
        description="Temperatures in K that are trained on, separated by commas [default: found by "
        "clustering].",
    )
    lags: Numbers = Field(
        LIU_2022, description="Lag times of the features in ps, those of the paper by default."
    )
    selected_lags: Numbers = Field(
        (),
        description="Lags in ps that the models use, separated by commas [default: above the knee "
        "of the ReliefF weights].",
    )
    neighbors: int | None = Field(
        None, ge=1, description="Number of neighbors k [default: the k of least validation RMSE]."
    )
    max_neighbors: int = Field(
        200, ge=1, description="Largest number of neighbors of the validation curve."
    )
    folds: int = Field(10, ge=2, description="Number of validation folds of atoms.")
    subset_rows: int = Field(
        4000, ge=2, description="Atoms per random subset in the search for classes."
    )
    linkage_cutoff: float = Field(
        3.6, gt=0, description="Distance in feature units that separates clusters of a subset."
    )
    min_leaves: int = Field(
        160, ge=1, description="Smallest cluster that supports a class, in atoms."
    )
    relief_neighbors: int = Field(50, ge=1, description="Number of neighbors of ReliefF.")
    glass_temperature: float | None = Field(
        None, gt=0, description="Glass transition in K; the fraction of atoms above is then given."
    )
    extreme_fraction: float = Field(
        0.1, gt=0, lt=0.5, description="Fraction of atoms called liquid-like, and solid-like."
    )
    d2min_lags: Numbers = Field(
        D2MIN_LAGS,
        description="Lags in ps of D²min, which T_ML is correlated with. Of the default, those "
        "that a run has are taken.",
    )
    slab: float = Field(3.8, gt=0, description="Thickness of the drawn slab in Å.")
    memory: str = Field("2GiB", description="Memory per worker process.")

    @field_validator("lags", "selected_lags", "d2min_lags", "classes")
    @classmethod
    def _increases(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < value < math.inf for value in values):
            raise ValueError("must be positive")
        if any(b <= a for a, b in itertools.pairwise(values)):
            raise ValueError("must increase")
        return values

    @field_validator("feature_temperature")
    @classmethod
    def _is_a_temperature(cls, value: str) -> str:
        text = value.strip().lower()
        if text in ("none", "run"):
            return text
        try:
            kelvin = float(text)
        except ValueError:
            kelvin = math.nan
        if not (kelvin > 0 and math.isfinite(kelvin)):
            raise ValueError("must be none, run, or a positive temperature in K")
        return f"{kelvin:g}"

    @model_validator(mode="after")
    def _options_agree(self) -> TemperatureOptions:
        self._check_stores()
        if not self.lags:
            raise ValueError("`lags` must name at least one lag in ps")
        unknown = [lag for lag in self.selected_lags if lag not in self.lags]
        if unknown:
            raise ValueError(
                f"`selected_lags` has {_list(unknown)} ps, which are not in `lags`: "
                f"{_list(self.lags)}"
            )
        if self.min_leaves > self.subset_rows:
            raise ValueError(
                f"`min_leaves`={self.min_leaves} is more than the {self.subset_rows} atoms of a "
                "subset (`subset_rows`), so no cluster could support a class. Give a smaller one; "
                "the paper takes 4 % of a subset"
            )
        if len(self.classes) == 1:
            raise ValueError(
                f"`classes`={self.classes[0]:g}: with one class there is nothing to learn. Give at "
                "least two temperatures"
            )
        return self

    def _check_stores(self) -> None:
        """Raise ``ValueError`` if sets share a store, or two stores a name."""
        seen: dict[str, tuple[str, Path]] = {}
        for name in ("train", "test", "apply", "control"):
            here: set[str] = set()
            for store in getattr(self, name):
                before, path = seen.get(store.stem, (name, store))
                if store.stem in here:
                    raise ValueError(
                        f"`{name}`={store}: a store named {store.stem} is already in `{name}`. "
                        "Results are stored by name: give each store once, or rename it"
                    )
                if path.resolve() != store.resolve():
                    raise ValueError(
                        f"`{name}`={store}: another store named {store.stem} is in `{before}`, "
                        f"{path}. Results are stored by name: rename one of them"
                    )
                if name == "test" and before == "train":
                    raise ValueError(
                        f"`test`={store}: the store is also in `train`. A test on atoms that were "
                        "trained on says nothing: give another store"
                    )
                here.add(store.stem)
                seen.setdefault(store.stem, (name, store))

    @property
    def applied_temperature(self) -> FeatureTemperature:
        """``feature_temperature`` as the argument of ``Instances.matrix``."""
        text = self.feature_temperature
        return None if text == "none" else "run" if text == "run" else float(text)

    def all_stores(self) -> dict[str, Path]:
        """Return every store by its name: train, test, apply, control."""
        stores = (*self.train, *self.test, *self.apply, *self.control)
        return {store.stem: store for store in stores}

    def check_inputs(self) -> None:
        """Raise ``ParameterError`` if stores lack temperatures, lags or known atoms."""
        from mgdask.studies.temperature.stores import check_stores

        check_stores(self)

    def parameters(self) -> dict[str, Any]:
        """Return all options but paths as JSON values, and what temperatures were read.

        Temperatures are not part of the content of a store, so they are added here.
        """
        from mgdask.studies.temperature.stores import temperature_digests

        return super().parameters() | {"temperatures": temperature_digests(self)}


def _list(values: tuple[float, ...] | list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
