"""Features, trajectories and softness scores of the shipped data are those recorded before the package was rearranged.

On the processor where they were recorded the bytes must be equal. Other processors may round differently in the last bits, so there a sample
of the recorded values is compared instead. ``python tests/test_recorded_bits.py`` records anew; do so only for a change that is meant to
change numbers, and say so in the changelog.
"""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path

import numba
import numpy as np
import pytest

import mgdask
from mgdask import (
    SOAP,
    BondOrder,
    Chemistry,
    Coordination,
    FoldSymmetry,
    Interstice,
    LagDisplacement,
    MediumRange,
    Motifs,
    NonAffine,
    Packing,
    SphericalChebyshev,
    SymmetryFunctions,
    VoronoiIndices,
)

RECORD = Path(__file__).parent / "data" / "recorded" / "bits.json"
NOTEBOOK_DATA = Path(__file__).parents[1] / "notebooks" / "data"
SAMPLE = 40
SPECIES = ("Cu", "Zr")

FEATURES = {
    "soap_exact": SOAP(species=SPECIES, r_cut=5.0, n_max=11, l_max=12, sigma=0.5, rbf="polynomial"),
    "soap_gto": SOAP(species=SPECIES, r_cut=5.0, n_max=6, l_max=6, sigma=0.5, rbf="gto"),
    "interstice": Interstice(),
    "interstice_mro": MediumRange(Interstice()),
    "coordination": Coordination(),
    "voronoi_indices": VoronoiIndices(),
    "motifs": Motifs(),
    "packing": Packing(),
    "fold_symmetry": FoldSymmetry(weights="area"),
    "bond_order": BondOrder(),
    "chemistry": Chemistry(
        species=SPECIES,
        quantities=("element", "count", "deviation"),
        neighbors=("voronoi", "cutoff"),
        cutoff=4.0,
    ),
    "symmetry_functions": SymmetryFunctions(species=SPECIES),
    "chebyshev": SphericalChebyshev(species=SPECIES),
}


def processor() -> str:
    """What decides the last bits: the instruction set, and the compilers behind the kernels."""
    flags = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next((line.split(":", 1)[1] for line in lines if line.startswith("flags")), "")
    wide = sorted(set(flags.split()) & {"avx", "avx2", "fma", "avx512f", "avx512dq", "avx512vl"})
    major = ".".join(numba.__version__.split(".")[:2])
    return f"{platform.machine()} {' '.join(wide)} numba {major} numpy {'.'.join(np.__version__.split('.')[:2])}"


def entry(values) -> dict:
    array = np.ascontiguousarray(values)
    flat = array.ravel()
    at = np.linspace(0, flat.size - 1, SAMPLE).astype(int)
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
        "sample": [None if not np.isfinite(x) else float(x) for x in flat[at]],
    }


def measure_features(store) -> dict:
    group = mgdask.open_store(store)
    position, cell = group.position[5].values, group.cell[5].values
    numbers = group.species.values
    found = {
        name: entry(f.compute(position, cell, numbers, centers=np.arange(0, 2000, 5)))
        for name, f in FEATURES.items()
    }
    for name in ("position", "image", "cell", "time", "step"):
        found[f"store {name}"] = entry(group[name].values)
    return found


def measure_motion(folder: Path) -> dict:
    store, unwrapped = folder / "hemg.zarr", folder / "hemg_unwrapped.zarr"
    mgdask.ingest(
        str(NOTEBOOK_DATA / "hemg_1000.lammpstrj.gz"),
        store,
        timestep=0.002,
        species=dict(enumerate(("Cu", "Zr", "Ni", "Ti", "Pd"), start=1)),
    )
    mgdask.unwrap(store, unwrapped, progress=False)
    paths = mgdask.open_store(unwrapped)
    found = {f"unwrapped {name}": entry(paths[name].values) for name in sorted(paths.data_vars)}
    lags = mgdask.plan(
        unwrapped,
        LagDisplacement(scaling="logarithmic", temperature=1000.0),
        out=folder / "lags.zarr",
    )
    mgdask.run(lags, progress=False)
    found["lag_displacement"] = entry(
        mgdask.open_store(folder / "lags.zarr")["lag_displacement"].values
    )
    found["msd"] = entry(mgdask.mean_squared_displacement(unwrapped, progress=False)["msd"].values)
    slab = folder / "slab.zarr"
    mgdask.ingest(
        str(NOTEBOOK_DATA / "deformed_slab.lammpstrj.gz"),
        slab,
        timestep=0.002,
        species={1: "Cu", 2: "Zr"},
    )
    work = mgdask.plan(
        slab,
        NonAffine(cutoff=4.5, quantities=("d2min", "d2min_sum", "shear", "volumetric", "F")),
        out=folder / "d2.zarr",
    )
    mgdask.run(work, progress=False)
    found["nonaffine"] = entry(mgdask.open_store(folder / "d2.zarr")["nonaffine"].values)
    return found


def measure_softness(folder: Path) -> dict:
    from mgdask.studies.softness.workflow import study_softness

    stores = []
    for k in (1, 2):
        store = folder / f"glass_{k}.zarr"
        mgdask.ingest(
            [str(NOTEBOOK_DATA / f"cu65zr35_{k}.lammpstrj.zst")],
            store,
            species=SPECIES,
            timestep=0.002,
        )
        stores.append(store)
    learning = {
        "n_undersamples": 3,
        "num_boost_round": 40,
        "n_features": None,
        "folds": 3,
        "seed": 0,
    }
    found, _ = study_softness(
        [stores[0]], stores[1], folder / "out", learning=learning, progress=False
    )
    numbers = [
        value
        for name in sorted(found.metrics)
        for value in (found.metrics[name].value, found.metrics[name].low, found.metrics[name].high)
    ]
    return {
        "qs": entry(found.qs),
        "metrics": entry(np.array(numbers)),
        "folds": entry(np.array(found.folds)),
    }


MEASURES = {"motion": measure_motion, "softness": measure_softness}


def compare(found: dict, recorded: dict, same_processor: bool) -> None:
    assert set(found) == set(recorded)
    for name, one in found.items():
        other = recorded[name]
        assert (one["shape"], one["dtype"]) == (other["shape"], other["dtype"]), name
        if same_processor:
            assert one["sha256"] == other["sha256"], f"{name}: other bytes than recorded"
        a, b = (
            np.array([np.nan if x is None else x for x in item["sample"]]) for item in (one, other)
        )
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9, err_msg=name)


@pytest.fixture(scope="module")
def recorded():
    return json.loads(RECORD.read_text())


def test_features_are_those_recorded(recorded, glass_store):
    compare(
        measure_features(glass_store), recorded["features"], recorded["processor"] == processor()
    )


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_studies_are_those_recorded(name, recorded, tmp_path):
    compare(MEASURES[name](tmp_path), recorded[name], recorded["processor"] == processor())


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        from mgdask.datasets import path

        mgdask.ingest(
            str(path("zrcu")), folder / "glass.zarr", species={1: "Zr", 2: "Cu"}, timestep=0.002
        )
        found = {"processor": processor(), "features": measure_features(folder / "glass.zarr")}
        for name, measure in MEASURES.items():
            (folder / name).mkdir()
            found[name] = measure(folder / name)
    RECORD.parent.mkdir(exist_ok=True)
    RECORD.write_text(json.dumps(found, indent=1) + "\n")
