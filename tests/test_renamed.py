"""Names of version 0.1 keep working and warn: modules, arguments, public names."""

from __future__ import annotations

from importlib import import_module

import pytest

import mgdask
from mgdask._moved import MOVED
from mgdask._renamed import renamed_arguments
from tests import forked

PUBLIC_IN_0_1 = (
    "SOAP", "BondOrder", "Chemistry", "Coordination", "FoldSymmetry", "Interstice",
    "LagDisplacement", "MediumRange", "Motifs", "NonAffine", "Packing", "SphericalChebyshev",
    "SymmetryFunctions", "VoronoiIndices", "__version__", "cargill_spaepen", "feature_set",
    "featurize", "ingest", "mean_squared_displacement", "open_store", "overlap", "pair_cutoffs",
    "partial_rdf", "plan", "run", "self_scattering", "unwrap", "van_hove", "verify",
)  # fmt: skip
DOCUMENTED_IN_0_1 = {
    "studies.softness": ("Glass", "prepare_glass"),
    "studies.softness_study": ("study_softness",),
    "studies.learn_softness": ("learn_softness", "Softness"),
    "studies.compare_softness": ("compare", "prepare_sets"),
    "studies.growth_softness": ("score_growth",),
    "learn": ("Model", "Part", "Rows", "train"),
    "learn.search": ("search",),
    "learn.splits": ("group_split", "group_folds", "undersample"),
    "learn.metrics": ("roc_auc", "recall", "precision"),
    "learn.bootstrap": ("bootstrap", "bootstrap_contrast"),
    "learn.predict": ("predict",),
    "learn.explain": ("partial_dependence", "permutation_importance"),
    "learn.relief": ("relieff",),
    "analysis.relaxation": ("relaxation_time", "fit_kohlrausch"),
    "explore.plots": ("draw_slab",),
    "readers.job": ("take_inventory", "read_window", "Inventory"),
    "store.paths": ("path_source",),
    "tasks.execute": ("execute",),
    "cluster": ("open_cluster", "local_client"),
    "studies.stages": ("Stages",),
}


def test_public_names_of_0_1_are_public():
    assert set(PUBLIC_IN_0_1) <= set(mgdask.__all__)
    for name in PUBLIC_IN_0_1:
        assert getattr(mgdask, name) is not None


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("module", sorted(DOCUMENTED_IN_0_1))
def test_documented_modules_keep_their_names(module):
    found = import_module(f"mgdask.{module}")
    for name in DOCUMENTED_IN_0_1[module]:
        assert hasattr(found, name), f"mgdask.{module}.{name}"


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("old", sorted(MOVED))
def test_old_modules_are_the_new_ones(old):
    moved = import_module(f"mgdask.{old}")
    new = import_module(f"mgdask.{MOVED[old]}")
    assert moved is new
    assert new.__spec__.name == f"mgdask.{MOVED[old]}"


def test_an_old_module_warns():
    code = "import warnings; warnings.simplefilter('error'); import mgdask.tasks.plan"
    done = forked.run(code)
    assert done.returncode != 0
    assert "mgdask.tasks.plan is mgdask.pipelines.featurize.plan since version 0.2" in done.stderr


def test_an_unknown_module_is_an_ordinary_error():
    with pytest.raises(ModuleNotFoundError, match=r"mgdask\.tasks\.nothing"):
        import_module("mgdask.tasks.nothing")


def test_old_arguments_warn_and_work():
    @renamed_arguments(rounds="num_boost_round")
    def fit(*, num_boost_round: int = 1) -> int:
        return num_boost_round

    with pytest.warns(FutureWarning, match="rounds= is num_boost_round="):
        assert fit(rounds=3) == 3
    assert fit(num_boost_round=4) == 4
    with pytest.raises(TypeError, match="give one"):
        fit(rounds=3, num_boost_round=4)
