"""Commands and functions refuse wrong arguments before any client is created."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import distributed
import pytest

import mgdask
from mgdask.cli import main
from mgdask.cluster.checks import check_workers
from mgdask.errors import MgdaskError, ParameterError, StoreError
from mgdask.execution.deferred import deferred
from mgdask.features import BondOrder
from mgdask.store.lock import held, lock_file
from mgdask.store.manifest import Manifest
from tests.conftest import GLASS, write_dump

BOND_ORDER = ("--feature", "bond_order:degrees=6,neighbors=cutoff,cutoff=3.8")


@pytest.fixture
def no_client(monkeypatch):
    """Fail if a client or a cluster is created."""

    def fail(*_, **__):
        raise AssertionError("a client was created")

    for name in ("Client", "LocalCluster"):
        monkeypatch.setattr(distributed, name, fail)


@pytest.fixture(scope="module")
def places(glass_store, tmp_path_factory):
    """Words for paths: stores, dumps and files that the commands below are given."""
    folder = tmp_path_factory.mktemp("places")
    mgdask.run(
        mgdask.plan(glass_store, BondOrder(degrees=(4,)), out=folder / "feat.zarr", frames=[0]),
        progress=False,
    )
    (folder / "file").write_text("x")
    (folder / "bad.yaml").write_text("kind: slurm\nnodes: 3\n")
    (folder / "recipe.yaml").write_text("features: [soap]\n")
    rows = [(k + 1, k % 2 + 1, k, k, k) for k in range(4)]
    write_dump(folder / "two.dump", [(0, rows), (10, rows)])
    return {
        "GLASS": glass_store,
        "DUMP": str(GLASS),
        **{
            name: str(folder / name)
            for name in ("feat.zarr", "file", "bad.yaml", "recipe.yaml", "two.dump")
        },
        "NONE": str(folder / "none.zarr"),
        "GLOB": str(folder / "no*.dump"),
        "BELOW": str(folder / "file" / "new.zarr"),
    }


REFUSED = [
    ("ingest GLOB --out new.zarr --species Cu", "no file matches the pattern"),
    ("ingest NONE --out new.zarr --species Cu", "there is no such file"),
    ("ingest two.dump --out new.zarr", "species are never guessed"),
    ("ingest two.dump --out new.zarr --species Cu", "type 2 is not in species={1: 'Cu'}"),
    ("ingest two.dump --out new.zarr --species Cu,Xx", "'Xx' is not an element symbol"),
    ("ingest two.dump --out new.zarr --species Cu,Zr --frames 1-2", "'start:stop'"),
    ("ingest two.dump --out new.zarr --species Cu,Zr --frames 5:", "none of the 2 frames"),
    ("ingest two.dump --out new.zarr --species Cu,Zr --timestep -1", "a positive number of ps"),
    ("ingest two.dump --out new.zarr --species Cu,Zr --units parsec", "parsec"),
    ("ingest two.dump --out new.zarr --species Cu,Zr --origin 1,2", "three numbers"),
    ("ingest two.dump --out new.zarr --species Cu,Zr --temperature -3", "above 0 K"),
    ("ingest two.dump --out GLASS --species Cu,Zr", "exists already; overwrite=True"),
    ("ingest two.dump --out file --species Cu,Zr", "exists already; it is not a Zarr store"),
    ("ingest two.dump --out file --species Cu,Zr --overwrite", "it is not a Zarr store"),
    ("ingest two.dump --out BELOW --species Cu,Zr", "cannot be written"),
    ("ingest two.dump --out feat.zarr --species Cu,Zr --append", "is not a trajectory store"),
    ("ingest two.dump --out GLASS --species Cu,Zr --append", "append: atom_id differs"),
    ("ingest two.dump --out new.zarr --species Cu,Zr --workers 0", "workers=0, threads=1"),
    ("ingest two.dump --out new.zarr --species Cu,Zr --threads 0", "threads=0: it must"),
    ("ingest two.dump --out new.zarr --species Cu,Zr --cluster NONE", "nor a YAML file that"),
    ("ingest two.dump --out new.zarr --species Cu,Zr --cluster bad.yaml", "unknown key 'nodes'"),
    ("ingest two.dump --out new.zarr --species Cu,Zr --scheduler none", "neither an address"),
    ("rdf NONE", "is not a Zarr store"),
    ("rdf feat.zarr", "holds features, not a trajectory"),
    ("rdf GLASS --r-max -1", "r_max=-1.0"),
    ("rdf GLASS --bins 2", "bins=2"),
    ("rdf GLASS --out BELOW", "cannot be written"),
    ("unwrap NONE --out new.zarr", "is not a Zarr store"),
    ("unwrap GLASS --out new.zarr --scheme magic", "scheme='magic' is unknown"),
    ("unwrap GLASS --out feat.zarr", "feat.zarr: it holds features"),
    ("unwrap GLASS --out file", "file: it exists and is not a Zarr store"),
    ("unwrap GLASS --out BELOW", "cannot be written"),
    ("featurize NONE --out new.zarr BOND", "is not a Zarr store"),
    ("featurize GLASS --out new.zarr --soap r_cut=5,nmax=3", "unknown option 'nmax'"),
    ("featurize GLASS --out new.zarr --recipe recipe.yaml", "A recipe is 'features:'"),
    ("featurize GLASS --out new.zarr --set nothing", "nothing"),
    ("featurize GLASS --out new.zarr BOND --centers Ni", "no Ni in the store"),
    ("featurize GLASS --out new.zarr BOND --memory much", "memory='much' is not a size"),
    ("featurize GLASS --out new.zarr BOND --memory 9MiB", "The largest term is"),
    ("featurize GLASS --out new.zarr BOND --workers 0", "workers=0"),
    ("featurize GLASS --out new.zarr BOND --workers 2 --scheduler none", "exclude each other"),
    ("featurize GLASS --out feat.zarr BOND", "feat.zarr: it holds other features"),
    ("featurize GLASS --out file BOND", "it exists and is not a Zarr store"),
    ("featurize GLASS --out BELOW BOND", "cannot be written"),
    ("featurize GLASS --out new.zarr BOND --frames 1-2", "must be START:STOP[:STEP]"),
    ("featurize GLASS --out new.zarr BOND --frames 8", "goes beyond the 8 frames"),
    ("featurize GLASS --out new.zarr --feature nonaffine:lag=0.7", "no frame is 0.7 ps after"),
    ("plan GLASS --out feat.zarr BOND", "feat.zarr: it holds other features"),
    ("plan GLASS --out BELOW BOND", "cannot be written"),
    ("plan GLASS --out new.zarr --feature nonaffine:lag=0.7", "no frame is 0.7 ps after"),
    ("verify NONE", "is not a Zarr store"),
    ("verify GLASS --workers 0", "workers=0"),
    ("demo --out new.zarr --workers 0", "workers=0"),
    ("demo --out BELOW", "cannot be written"),
    ("study softness --train NONE --test GLASS --out new.zarr", "is not a Zarr store"),
    ("study softness --train GLASS --test GLASS --out new.zarr --folds 1", "--folds=1"),
    ("study softness --train GLASS --test GLASS --out new.zarr --feature soap:r=1", "option 'r'"),
    ("study softness --train GLASS --test GLASS --out new.zarr --set nothing", "nothing"),
    ("study softness --train GLASS --test GLASS --out new.zarr --strain 0.5", "strain of 0.5"),
    ("study softness --train GLASS --test GLASS --out new.zarr --workers 0", "workers=0"),
    ("study compare --train NONE --test GLASS --out new.zarr", "is not a Zarr store"),
    ("study transfer GLASS --out new.zarr", "two"),
    ("study transfer GLASS NONE --out new.zarr", "is not a Zarr store"),
]


@pytest.mark.parametrize(("line", "message"), REFUSED, ids=[line for line, _ in REFUSED])
def test_a_wrong_command_creates_no_client(
    places, no_client, tmp_path, monkeypatch, capsys, line, message
):
    new, words = tmp_path / "new.zarr", []
    places = {**places, "new.zarr": str(new)}
    for word in line.split():
        words += BOND_ORDER if word == "BOND" else [places.get(word, word)]
    monkeypatch.setattr(sys, "argv", ["mgdask", *words])
    with pytest.raises(SystemExit) as status:
        main()
    output = capsys.readouterr()
    assert message in output.err
    assert status.value.code in (1, 2)
    assert not output.out
    assert "AssertionError" not in output.err
    assert not new.exists()


LIGHT = """
import sys
from click.testing import CliRunner
from mgdask.cli import cli
for line in sys.argv[1:]:
    result = CliRunner().invoke(cli, line.split())
    assert result.exit_code, line
    print(type(result.exception).__name__)
heavy = {"dask", "distributed", "lightgbm", "mpmath", "numba"}
heavy |= {"pandas", "scipy.special", "xarray", "zarr"}
print("imported", *sorted(heavy & set(sys.modules)))
"""


def test_wrong_paths_and_workers_import_no_heavy_library(places):
    lines = (
        "ingest GLOB --out GLASS --species Cu",
        "ingest two.dump --out GLASS --species Xx",
        "ingest two.dump --out BELOW --species Cu,Zr",
        "ingest two.dump --out GLASS --species Cu,Zr --workers 0",
        "featurize NONE --out GLASS --set sro",
        "featurize GLASS --out BELOW --set sro",
        "featurize GLASS --out GLASS --set sro --memory much",
        "plan NONE --out GLASS --set sro",
        "rdf NONE",
        "unwrap NONE --out GLASS",
        "verify NONE",
        "verify GLASS --cluster NONE",
        "study softness --train NONE --test GLASS --out new",
    )
    words = [" ".join(places.get(word, word) for word in line.split()) for line in lines]
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *words], capture_output=True, text=True, check=True
    )
    *errors, imported = done.stdout.splitlines()
    assert len(errors) == len(lines)
    assert {"AuditError", "ParameterError", "StoreError", "StorageFullError"} == set(errors)
    assert imported == "imported"


def test_wrong_features_import_only_what_defines_them(places):
    # numba and zarr alone: the classes of the features, and the species of the store
    lines = (
        "featurize GLASS --out new --soap r_cut=five,n_max=8,l_max=6",
        "featurize GLASS --out new --feature interstize",
        "plan GLASS --out new --set srro",
    )
    words = [" ".join(places.get(word, word) for word in line.split()) for line in lines]
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *words], capture_output=True, text=True, check=True
    )
    *errors, imported = done.stdout.splitlines()
    assert len(errors) == len(lines)
    assert imported == "imported numba zarr"


def test_the_api_creates_no_client_either(places, no_client, tmp_path):
    out, dump = tmp_path / "new.zarr", places["two.dump"]
    for function, message in (
        (lambda: mgdask.ingest(places["GLOB"], out), "no file matches"),
        (lambda: mgdask.ingest(dump, out, species=("Cu",)), "type 2 is not in"),
        (lambda: mgdask.ingest(dump, out, species=("Cu", "Zr"), repeated="none"), "repeated="),
        (lambda: mgdask.unwrap(places["GLASS"], out, scheme="magic"), "magic"),
        (lambda: mgdask.partial_rdf(places["GLASS"], frames=[9]), "indices 0 to 7"),
        (lambda: mgdask.mean_squared_displacement(places["GLASS"], lags=[0.7]), "0.7 ps after"),
        (lambda: mgdask.overlap(places["GLASS"], run="none"), "is not in"),
        (lambda: mgdask.verify(places["NONE"]), "is not a Zarr store"),
    ):
        with pytest.raises(MgdaskError, match=message):
            function()
    assert not out.exists()


def test_a_store_that_is_being_written_is_refused_early(no_client, tmp_path):
    rows = [(1, 1, 0, 0, 0)]
    first, second = (
        write_dump(tmp_path / name, [(k, rows)]) for k, name in enumerate(("a.dump", "b.dump"))
    )
    out = tmp_path / "a.zarr"
    manifest = Manifest(out)
    manifest.create()
    (out / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    with held(lock_file(out), out):
        with pytest.raises(StoreError, match="is being written by process"):
            mgdask.ingest(first, out, species=("Cu",), overwrite=True)
        assert (out / "zarr.json").exists()
    with pytest.raises(AssertionError, match="a client was created"):
        mgdask.ingest(second, out, species=("Cu",), overwrite=True)


def test_a_folder_without_permission_is_refused(places, no_client, tmp_path, monkeypatch):
    # the tests may run as root, who may write everywhere
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    with pytest.raises(StoreError, match=r"cannot be written \(Permission denied\). Make it"):
        mgdask.ingest(places["two.dump"], tmp_path / "new.zarr", species=("Cu", "Zr"))
    with pytest.raises(StoreError, match="Permission denied"):
        mgdask.unwrap(places["GLASS"], tmp_path / "new.zarr")


def test_a_deferred_client_is_opened_once_and_closed():
    seen = []

    @contextmanager
    def opened():
        seen.append("open")
        yield SimpleNamespace(answer=42)
        seen.append("close")

    with deferred(opened()):
        pass
    assert not seen
    with deferred(opened()) as client:
        assert client.answer + client.answer == 84
        assert seen == ["open"]
        assert getattr(client, "no_workers_timeout", 600.0) == 600.0
    assert seen == ["open", "close"]


def test_finished_work_creates_no_client(glass_store, tmp_path, no_client, places):
    plan = mgdask.plan(glass_store, BondOrder(degrees=(4,)), out=places["feat.zarr"], frames=[0])
    report = mgdask.run(plan)
    assert report.skipped == report.blocks > 0


def test_memory_as_dask_understands_it():
    for memory in ("2GiB", "1e9", "800 MB", "auto", 10**9, None):
        check_workers(None, 1, memory=memory)
    with pytest.raises(ParameterError, match="memory='2 potatoes' is not a size"):
        check_workers(None, 1, memory="2 potatoes")
