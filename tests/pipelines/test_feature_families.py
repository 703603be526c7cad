"""Every family side by side in plan, run and featurize: the same bits by every way, marks, names, free surfaces, interruptions."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import mgdask
from mgdask.errors import ParameterError, RunError
from mgdask.features import (
    FEATURES,
    BondMoments,
    BondOrder,
    Chemistry,
    Coordination,
    FoldSymmetry,
    Interstice,
    LinearResponse,
    MediumRange,
    Motifs,
    Packing,
    SpeciesMean,
    SphericalChebyshev,
    SymmetryFunctions,
    VoronoiIndices,
    compute_features,
    working_memory,
)
from mgdask.kernels.voronoi import OPEN, voronoi_cells
from mgdask.pipelines.featurize import plan as plan_module
from mgdask.pipelines.featurize.memory import WRITE_COPIES
from mgdask.store.attributes import decode
from mgdask.store.manifest import Manifest
from mgdask.variables import column_units
from tests.conftest import threads_client, write_dump
from tests.pipelines.test_featurize import files, small_blocks  # noqa: F401 - a fixture

SPECIES = ("Cu", "Zr")
FRAMES = slice(2, 4)


def every_family():
    soap = mgdask.SOAP(species=SPECIES, r_cut=4.0, n_max=4, l_max=3, sigma=0.5, rbf="polynomial")
    return [
        MediumRange(soap, statistics=("mean", "sum"), neighbors="cutoff", cutoff=3.0).named(
            "soap_near"
        ),
        soap,
        replace(soap, dtype="float32", l_max=1).named("soap32"),
        replace(soap, average="inner", l_max=1).named("soap_mean"),
        Interstice(),
        Interstice(cutoff=2.4, convention="amlearn", small_facets="none").named(
            "interstice_as_amlearn"
        ),
        MediumRange(Interstice()),
        Coordination(),
        VoronoiIndices(),
        Motifs(),
        Packing(),
        FoldSymmetry(weights="area"),
        FoldSymmetry(average=True),
        BondOrder(degrees=(4, 6)),
        BondOrder(degrees=(6,), weights="area"),
        MediumRange(BondOrder(degrees=(6,))).named("around_q6"),
        BondMoments(degrees=(2,)),
        Chemistry(species=SPECIES, neighbors=("voronoi", "cutoff"), cutoff=3.4),
        SymmetryFunctions(species=SPECIES, radii=(1.0, 1.1), angular=((1.2, 1, 1),), cutoff=1.6),
        SphericalChebyshev(species=SPECIES, n_max=1, l_max=2, r_cut=4.5),
        SpeciesMean(replace(soap, l_max=1), species=SPECIES),
        LinearResponse(cutoff=3.5, steps=5),
    ]


@pytest.fixture(scope="module")
def expected(glass_store):
    """Values and marks frame by frame, every feature alone."""
    ds = mgdask.open_store(glass_store).isel(frame=FRAMES)
    numbers, pbc = ds.species.values, ds.pbc.values
    values, marks = {}, {}
    for feature in every_family():
        values[feature.name], marks[feature.name] = [], Counter()
        for k in range(ds.sizes["frame"]):
            r, cell = ds.position[k].values, ds.cell[k].values
            found, counts = compute_features(
                (feature,), r[None], cell[None], numbers, np.arange(len(r)), pbc
            )
            if k == 0:
                assert feature.compute(r, cell, numbers, pbc=pbc).tobytes() == found[0].tobytes()
            values[feature.name].append(found[0][0])
            marks[feature.name].update(counts[0])
        values[feature.name] = np.array(values[feature.name])
    return values, {name: dict(count) for name, count in marks.items()}


def marked(out):
    return {name: decode(out[name].attrs, "marked_atoms", {}) for name in out.data_vars}


# --------------------------------------------------------------------------------------------------- by every way alike
def test_every_family_is_here():
    # those made of several frames are in test_motion_in_tasks.py, and the one that needs a
    # dictionary is in test_local_environment.py
    assert {feature.family for feature in every_family()} | {
        "non_affine",
        "lag_displacement",
        "averaged_displacement",
        "local_environment",
    } == set(FEATURES)


@pytest.mark.parametrize("way", ["processes", pytest.param("threads", marks=pytest.mark.slow)])
def test_run_as_frame_by_frame(glass_store, tmp_path, small_blocks, expected, client, way):  # noqa: F811
    plan = mgdask.plan(glass_store, every_family(), out=tmp_path / "f.zarr", frames=FRAMES)
    assert len({b.row for b in plan.blocks}) > 3
    assert {b.level for b in plan.blocks} == {"atom", "frame"}
    if way == "processes":
        report = mgdask.run(plan, client, progress=False)
        assert report.excess_memory == 0
    else:
        with threads_client(3) as here:
            mgdask.run(plan, here, progress=False)
    out = mgdask.open_store(tmp_path / "f.zarr")
    values, marks = expected
    assert set(out.data_vars) == set(values)
    for name, want in values.items():
        assert out[name].dtype == want.dtype
        assert out[name].values.tobytes() == want.tobytes(), name
    assert marked(out) == marks
    assert (
        marks["interstice_as_amlearn"]["no_neighbor_within_cutoff"] > 10
    )  # there is something to count


def test_featurize_as_frame_by_frame(glass_store, expected):
    ds = mgdask.open_store(glass_store)
    lazy = mgdask.featurize(ds.isel(frame=FRAMES), every_family())
    values, _ = expected
    assert set(lazy.data_vars) == set(values)
    done = lazy.compute()
    for name, want in values.items():
        assert done[name].values.tobytes() == want.tobytes(), name
    some = mgdask.featurize(ds.isel(frame=[3]), every_family(), centers="Zr")
    zr = np.flatnonzero(ds.species.values == 40)
    for name in ("mediumrange_interstice", "bond_order", "chemistry", "around_q6"):
        assert some[name][0].values.tobytes() == values[name][1][zr].tobytes()


def test_some_centers_have_their_own_marks(glass_store, tmp_path, small_blocks):  # noqa: F811
    centers = np.arange(5, 2000, 7)
    feature = Interstice(cutoff=2.4)
    mgdask.run(
        mgdask.plan(glass_store, feature, out=tmp_path / "f.zarr", frames=[1], centers=centers),
        progress=False,
    )
    ds = mgdask.open_store(glass_store).isel(frame=1)
    arguments = ds.position.values[None], ds.cell.values[None], ds.species.values
    _, some = compute_features((feature,), *arguments, centers, (True,) * 3)
    _, every = compute_features((feature,), *arguments, np.arange(2000), (True,) * 3)
    assert (
        decode(mgdask.open_store(tmp_path / "f.zarr").interstice.attrs, "marked_atoms") == some[0]
    )
    assert 0 < sum(some[0].values()) < sum(every[0].values())


# ------------------------------------------------------------------------------------------------------------ labels
def test_columns_are_labelled_each_by_its_own(glass_store, tmp_path):
    features = every_family()
    mgdask.run(
        mgdask.plan(glass_store, features, out=tmp_path / "f.zarr", frames=[0]), progress=False
    )
    out = mgdask.open_store(tmp_path / "f.zarr")
    lazy = mgdask.featurize(mgdask.open_store(glass_store), features)
    for feature in features:
        for ds in (out, lazy):
            array = ds[feature.name]
            assert array.dims[-1] == f"{feature.name}_feature"
            assert array.shape[-1] == feature.n_columns
            assert ds[feature.dim].values.tolist() == list(feature.labels)
            names = f"{feature.name}_amlearn"
            assert (names in ds.coords) == bool(feature.amlearn_labels)
            if feature.amlearn_labels:
                assert ds[names].dims == (feature.dim,)
                assert ds[names].values.tolist() == list(feature.amlearn_labels)
            assert decode(array.attrs, "parameters") == feature.parameters()
            assert array.attrs["citation"] == feature.citation
            assert column_units(array) == list(feature.units)
            assert ("units" in array.attrs) == (len(set(feature.units)) == 1)
    # the two bond orders stand side by side
    assert out.bond_order.shape == (1, 2000, 8)
    assert out.bond_order_area.shape == (1, 2000, 4)
    assert out.bond_order_amlearn.values[0] == "q_4_voro"
    assert "bond_order_area_amlearn" not in out.coords
    assert (
        out.bond_order.sel(bond_order_feature="q6")
        != out.bond_order_area.sel(bond_order_area_feature="q6")
    ).all()
    by_name = out.interstice.set_index(interstice_feature="interstice_amlearn").sel(
        interstice_feature="Area_interstice_max_voro"
    )
    assert (by_name.values == out.interstice.sel(interstice_feature="area_max").values).all()
    assert decode(out.attrs, "features") == [{f.name: f.parameters()} for f in features]


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (
            [Interstice(), Interstice(cutoff=3.5)],
            r"two features are named 'interstice'.*feature\.named",
        ),
        (
            [MediumRange(Interstice()), MediumRange(Interstice(), include_self=True)],
            "named 'mediumrange_interstice'",
        ),
        ([Coordination(), Motifs().named("coordination")], "named 'coordination'"),
        # names that the output needs for something else
        (
            [Interstice(), Coordination().named("interstice_amlearn")],
            "'interstice_amlearn', which is the name of another variable",
        ),
        (
            [LinearResponse(), Coordination().named("linear_response_unit")],
            "'linear_response_unit', which",
        ),
        ([Coordination().named("species")], "named 'species', which"),
        ([Coordination().named("frame")], "named 'frame', which"),
        ([Coordination().named("atom")], "named 'atom', which"),
        ([Coordination().named("manifest")], "named 'manifest', which"),
    ],
)
def test_names_that_clash_are_refused(glass_store, tmp_path, features, words):
    with pytest.raises(ParameterError, match=words):
        mgdask.plan(glass_store, features, out=tmp_path / "f.zarr")
    with pytest.raises(ParameterError, match=words):
        mgdask.featurize(mgdask.open_store(glass_store), features)
    assert not (tmp_path / "f.zarr").exists()


@pytest.mark.parametrize("name", ["two words", "", "1st", "x_feature"])
def test_names_are_words(name):
    with pytest.raises(ParameterError, match="must be a word"):
        Coordination().named(name)


# -------------------------------------------------------------------------------------------------------- interruptions
FAULTS: set[float] = set()


@dataclass(frozen=True)
class Flaky(Coordination):
    """Coordination that fails for frames of which the first coordinate is in ``FAULTS``."""

    family: ClassVar[str] = "flaky"

    def describe(self, environments, centers, out):
        if float(environments.position[0, 0]) in FAULTS and 0 in centers:
            raise FloatingPointError("out of order")
        return {**super().describe(environments, centers, out), "crowded": out[:, 0] > 14}


def crowded(glass_store, frames):
    ds = mgdask.open_store(glass_store).isel(frame=frames)
    return sum(
        int((Coordination().compute(r, cell, ds.species.values)[:, 0] > 14).sum())
        for r, cell in zip(ds.position.values, ds.cell.values, strict=True)
    )


def test_marks_of_a_run_that_failed_and_was_taken_up(glass_store, tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "MAX_BLOCK", 2**15)
    features = [Flaky(), VoronoiIndices(), Interstice(cutoff=2.4)]
    plan = mgdask.plan(glass_store, features, out=tmp_path / "f.zarr", frames=FRAMES)
    quiet = mgdask.plan(glass_store, features, out=tmp_path / "g.zarr", frames=FRAMES)
    assert len(plan.blocks) > 1
    positions = mgdask.open_store(glass_store).position.values
    try:
        FAULTS.add(float(positions[3, 0, 0]))
        with threads_client(2) as here:
            with pytest.raises(RunError, match=r"(?s)1 of \d+ blocks failed.*out of order"):
                mgdask.run(plan, here, progress=False, retries=0)
            FAULTS.clear()
            assert mgdask.run(plan, here, progress=False).skipped == len(plan.blocks) - 1
            mgdask.run(quiet, here, progress=False)
    finally:
        FAULTS.clear()
    marks = marked(mgdask.open_store(plan.out))
    assert marks == marked(mgdask.open_store(quiet.out))
    assert marks["flaky"]["crowded"] == crowded(glass_store, FRAMES) > 0
    assert marks["interstice"]["no_neighbor_within_cutoff"] > 0
    assert files(plan.out) == files(quiet.out)


@pytest.mark.parametrize("lost", ["record", "shard"])
def test_marks_of_a_run_that_lost_something(glass_store, tmp_path, small_blocks, lost):  # noqa: F811
    features = [Flaky(), MediumRange(Interstice())]
    plan = mgdask.plan(glass_store, features, out=tmp_path / "f.zarr", frames=FRAMES)
    mgdask.run(plan, progress=False)
    before, marks = files(plan.out), marked(mgdask.open_store(plan.out))
    assert marks["flaky"]["crowded"] == crowded(glass_store, FRAMES) > 0
    if lost == "record":
        joined = Path(plan.out) / "manifest" / "blocks.jsonl"
        lines = joined.read_text().splitlines(keepends=True)
        assert json.loads(lines[1])["marked"]["flaky"]["crowded"] > 0
        joined.write_text("".join(lines[:1] + lines[2:]))
    else:  # of one feature of several
        next(p for p in (Path(plan.out) / "flaky" / "c").rglob("*") if p.is_file()).unlink()
    assert plan.done == len(plan.blocks) - 1
    assert mgdask.run(plan, progress=False).skipped == len(plan.blocks) - 1
    assert files(plan.out) == before
    assert marked(mgdask.open_store(plan.out)) == marks
    assert len(Manifest(plan.out).records()) == len(plan.blocks)


# --------------------------------------------------------------------------------------------------------------- memory
def test_the_plan_counts_all_features(glass_store, tmp_path):
    one, two = Interstice(), MediumRange(Interstice())
    plans = {
        k: mgdask.plan(glass_store, fs, out=tmp_path / "f.zarr")
        for k, fs in {"1": [one], "2": [two], "12": [one, two]}.items()
    }
    both = plans["12"]
    assert {(b.frame, b.row, b.n_rows) for b in both.blocks} == {
        (b.frame, b.row, b.n_rows) for b in plans["2"].blocks
    }
    rows = both.blocks[0].n_rows * len(both.blocks[0].frames)
    assert both.memory.block == rows * (16 + 64) * 8
    assert both.memory.writing == int(WRITE_COPIES * rows * 64 * 8)
    assert both.memory.working == working_memory([one, two], 2000, both.blocks[0].n_rows)
    # lists of neighbours are shared, the rest adds up
    alone = [working_memory([f], 2000, both.blocks[0].n_rows) for f in (one, two)]
    assert max(alone) < both.memory.working < sum(alone)
    assert both.memory.working - alone[1] == one.footprint(2000, both.blocks[0].n_rows)
    assert both.memory.total > plans["2"].memory.total
    assert both.output_bytes == 8 * 2000 * 80 * 8
    # lists that are not shared add up
    other = Coordination(cutoff=7.0)
    assert working_memory([Coordination(cutoff=5.0), other], 2000, 100) > working_memory(
        [other, other.named("x")], 2000, 100
    )
    text = str(both)
    assert "mediumrange_interstice" in text
    assert "64 columns" in text


def test_more_features_need_more_memory_or_smaller_blocks(glass_store, tmp_path):
    many = [Interstice(cutoff=3.0 + 0.1 * k, bins=500).named(f"n{k}") for k in range(12)]
    alone = mgdask.plan(glass_store, many[:1], out=tmp_path / "f.zarr", memory="700MiB")
    every = mgdask.plan(glass_store, many, out=tmp_path / "f.zarr", memory="700MiB")
    assert every.memory.total <= every.allowed
    assert len(every.blocks) > len(alone.blocks)


# -------------------------------------------------------------------------------------------------------- free surfaces
@pytest.mark.slow
def test_a_free_surface(tmp_path, glass, small_blocks, client):  # noqa: F811
    position, cell, numbers = glass
    slab = position[:, 2] % cell[2, 2] < 14.0
    kinds = np.where(numbers == 40, 1, 2)[slab]
    rng = np.random.default_rng(4)
    frames = []
    for step in range(1):
        r = position[slab] % np.diag(cell) + step * 0.05 * rng.standard_normal((slab.sum(), 3))
        frames.append(
            (
                step,
                [
                    (k + 1, kind, *map(repr, map(float, x)))
                    for k, (kind, x) in enumerate(zip(kinds, r, strict=True))
                ],
            )
        )
    box = [(0, float(cell[0, 0])), (0, float(cell[1, 1])), (-30, 60)]
    dump = write_dump(tmp_path / "slab.dump", frames, box=box, flags="pp pp ff")
    mgdask.ingest(dump, tmp_path / "slab.zarr", species={1: "Zr", 2: "Cu"}, timestep=0.001)
    ds = mgdask.open_store(tmp_path / "slab.zarr")
    assert ds.pbc.values.tolist() == [True, True, False]
    features = every_family()
    mgdask.run(
        mgdask.plan(tmp_path / "slab.zarr", features, out=tmp_path / "f.zarr"),
        client,
        progress=False,
    )
    out, n = mgdask.open_store(tmp_path / "f.zarr"), int(slab.sum())
    is_open = np.array(
        [
            voronoi_cells(ds.position[f].values, ds.cell[f].values, pbc=ds.pbc.values).state == OPEN
            for f in range(1)
        ]
    )
    assert 0.05 < is_open.mean() < 0.7
    columns = {
        "interstice": [*range(4), *range(8, 16)],
        "interstice_as_amlearn": [*range(4), *range(8, 16)],
        "coordination": [0],
        "voronoi_indices": range(5),
        "motifs": range(4),
        "packing": [1, 2],
        "fold_symmetry_area": range(5),
        "bond_order": range(4),
        "bond_order_area": range(2),
        "bond_moments": range(5),
        "chemistry": range(1, 7),
    }
    for name, of_cells in columns.items():
        found = np.isnan(out[name].values)
        rest = np.setdiff1d(np.arange(found.shape[2]), of_cells)
        assert (found[..., of_cells] == is_open[..., None]).all(), name
        if name in (
            "coordination",
            "chemistry",
            "interstice",
        ):  # neighbours by distance are those of any atom
            assert found[..., rest].mean() < 0.01
        assert decode(out[name].attrs, "marked_atoms")["open_cell"] == is_open.sum(), name
    # what averages over neighbours is undefined beside an open cell too
    for name in ("mediumrange_interstice", "around_q6", "fold_symmetry_average"):
        found = np.isnan(out[name].values).any(axis=-1)
        assert found[is_open].all()
        assert is_open.sum() < found.sum() < found.size
    wide = out.mediumrange_interstice
    assert (
        decode(wide.attrs, "marked_atoms")["undefined"] == np.isnan(wide.values).any(axis=-1).sum()
    )
    # what needs no cells is whole
    for name in ("soap", "symmetry_functions", "chebyshev"):
        assert np.isfinite(out[name].values).all()
    lazy = mgdask.featurize(ds, features)
    for feature in features:
        assert lazy[feature.name].values.tobytes() == out[feature.name].values.tobytes(), (
            feature.name
        )
        one = feature.compute(
            ds.position[0].values, ds.cell[0].values, ds.species.values, pbc=ds.pbc.values
        )
        assert out[feature.name][0].values.tobytes() == one.tobytes(), feature.name
    assert out.soap.shape[1] == n
