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
APPLICATION = ("d2min_lags", "pair_cutoff", "slab", "extreme_fraction", "glass_temperature")
"""Options that only the applications depend on."""
Paths = Annotated[tuple[Path, ...], BeforeValidator(as_list)]
"""Any number of paths of stores."""
Numbers = Annotated[tuple[float, ...], BeforeValidator(split_commas), CommandLine(separator=",")]
"""Numbers, given as one text with commas."""
FeatureTemperature = Literal["run"] | float | None
"""T in lg[r² m / T]: that of the run, a number in K, or None for lg[r² m]."""


class TemperatureOptions(StudyOptions):
    """Options of ``TemperatureStudy``."""

    study: ClassVar[str] = "temperature"
    summary: ClassVar[str] = (
        "Learn the temperature of atoms from their motion (Liu X. et al. 2022), and find atoms "
        "that move as in a liquid."
    )
    examples: ClassVar[tuple[str, ...]] = (
        "mgdask study temperature --train 100.zarr --train 1000.zarr --train 2000.zarr "
        "--test 1300.zarr --out temperature",
        "mgdask study temperature --train 100.zarr --train 1000.zarr --train 2000.zarr "
        "--apply creep.zarr --control 100.zarr --out temperature",
    )
    adding_stages: ClassVar[frozenset[str]] = frozenset(
        {"test", "apply", "control", "other_temperatures", *APPLICATION}
    )

    train: Stores = Field(
        description="Store of isothermal runs with their temperature; repeat for several."
    )
    test: Paths = Field(
        (),
        description="Store of isothermal runs used only for testing, best at other temperatures; "
        "repeat for several.",
    )
    apply: Paths = Field(
        (),
        description="Store of any trajectory, such as creep, whose atoms are assigned T_ML; "
        "repeat for several.",
    )
    control: Paths = Field(
        (),
        description="Store of an unstressed run at the temperature of the --apply stores, for "
        "comparison. It may be a training store.",
    )
    feature_temperature: Annotated[str, BeforeValidator(str)] = Field(
        "none",
        description="T in the feature of the application: none for lg[r² m]; run for the paper's "
        "lg[r² m/T] with T of the run; or T in K. Both forms are always validated.",
    )
    classes: Numbers = Field(
        (),
        description="Training temperatures in K, separated by commas [default: found by "
        "clustering].",
    )
    lags: Numbers = Field(
        LIU_2022, description="Lags of the features in ps. Default: those of the paper."
    )
    selected_lags: Numbers = Field(
        (),
        description="Lags in ps that the models use, separated by commas [default: above the knee "
        "of the ReliefF weights].",
    )
    neighbors: int | None = Field(
        None,
        ge=1,
        description="Number of neighbors k [default: the k with the smallest validation RMSE].",
    )
    max_neighbors: int = Field(
        200, ge=1, description="Maximum number of neighbors in the validation of k."
    )
    folds: int = Field(10, ge=2, description="Number of folds of atoms in the validation.")
    subset_rows: int = Field(
        4000, ge=2, description="Atoms per random subset in the search for classes."
    )
    linkage_cutoff: float = Field(
        3.6, gt=0, description="Cutoff of the linkage, in units of the unscaled features."
    )
    linkage: Literal["single", "average"] = Field(
        "single",
        description="Linkage of the clusters: single, as the paper says, or average, which its "
        "cutoff and number of leaves suit better.",
    )
    min_leaves: int = Field(
        160, ge=1, description="Minimum number of atoms in a cluster that supports a class."
    )
    relief_neighbors: int = Field(50, ge=1, description="Number of neighbors in ReliefF.")
    glass_temperature: float | None = Field(
        None,
        gt=0,
        description="Glass transition temperature in K. If given, the fraction of atoms with a "
        "higher T_ML is reported.",
    )
    extreme_fraction: float = Field(
        0.1,
        gt=0,
        lt=0.5,
        description="Fraction of atoms in the liquid-like group, and in the solid-like group.",
    )
    d2min_lags: Numbers = Field(
        D2MIN_LAGS,
        description="Lags of D²min in ps, for its correlation with T_ML. Default lags that a run "
        "lacks are left out.",
    )
    pair_cutoff: float | None = Field(
        None,
        gt=0,
        description="Neighbor cutoff in Å for pairs of species whose g(r) has no trough, such as "
        "those of a rare species [default: D²min and structure are left out].",
    )
    slab: float = Field(3.8, gt=0, description="Thickness in Å of the slab in the maps.")
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
                "subset (`subset_rows`), so no cluster could support a class. Give a smaller "
                "`min_leaves`; the paper uses 4 % of a subset"
            )
        if len(self.classes) == 1:
            raise ValueError(
                f"`classes`={self.classes[0]:g}: with one class there is nothing to learn. Give at "
                "least two temperatures"
            )
        return self

    def _check_stores(self) -> None:
        """Raise ``ValueError`` if sets share a store, or two stores share a name."""
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
                if name == "control" and store.stem in {one.stem for one in self.apply}:
                    raise ValueError(
                        f"`control`={store}: the store is also in `apply`. Its excess over "
                        "itself is zero: give an unstressed run as the control"
                    )
                if name == "test" and before == "train":
                    raise ValueError(
                        f"`test`={store}: the store is also in `train`. A test on training atoms "
                        "is meaningless: give another store"
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
        """Raise ``ParameterError`` if stores lack temperatures, lags or species."""
        from mgdask.studies.temperature.stores import check_stores

        check_stores(self)

    def parameters(self) -> dict[str, Any]:
        """Return all options except paths as JSON values, and digests of temperatures.

        Temperatures are not part of the content digest of a store, so they are added.
        """
        from mgdask.studies.temperature.stores import temperature_digests

        digests = temperature_digests(self)
        train = {store.stem for store in self.train}
        return super().parameters() | {
            "temperatures": {name: one for name, one in digests.items() if name in train},
            "other_temperatures": {name: one for name, one in digests.items() if name not in train},
        }


def _list(values: tuple[float, ...] | list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
