"""Temperature and other values of frames: at ingest, attached later, per run, and where they are read.

The reference is NumPy: ``np.loadtxt`` for files, and each run in a store of its own.
"""

from __future__ import annotations

import gzip
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import mgdask
from mgdask.cli import cli
from mgdask.errors import AuditError, ParameterError, RunError, StoreError
from mgdask.features import Coordination, LagDisplacement
from mgdask.pipelines import ingest_tasks
from mgdask.readers.text_columns import read_column
from mgdask.store import frame_values, manifest
from mgdask.store.attributes import decode
from mgdask.store.failures import SourceChangedError
from mgdask.store.manifest import Manifest
from mgdask.store.shards import open_group
from tests.conftest import DATA, SPECIES, threads_client, write_dump
from tests.pipelines.test_featurize import files

RUNS = ("300K", "500K", "800K")
KELVIN = (300.0, 500.0, 800.0)
N_FRAMES = (7, 4, 5)
LG = LagDisplacement(lags=(0.1, 0.2), scaling="logarithmic", origins="all", missing="nan")


@pytest.fixture(scope="module", autouse=True)
def threads():
    """One client in this process for all tests; opening one takes longer than the work."""
    with threads_client() as client:
        yield client


def dump(path, n_frames, seed, first=0):
    """Unwrapped walk of 6 atoms in a constant box, 100 steps of 1 fs apart."""
    rng = np.random.default_rng(seed)
    walk = rng.uniform(0, 10, (1, 6, 3)) + np.cumsum(rng.normal(size=(n_frames, 6, 3)), axis=0)
    frames = [
        (100 * k, [[i + 1, 1 + i % 2, *map(repr, map(float, walk[k, i]))] for i in range(6)])
        for k in range(first, n_frames)
    ]
    return write_dump(path, frames, "id type xu yu zu")


def write_dumps(folder):
    return [
        dump(folder / f"{run}.dump", n, seed)
        for seed, (run, n) in enumerate(zip(RUNS, N_FRAMES, strict=True))
    ]


@pytest.fixture
def dumps(tmp_path):
    return write_dumps(tmp_path)


@pytest.fixture(scope="module")
def ingested(tmp_path_factory, threads):
    folder = tmp_path_factory.mktemp("ingested")
    ingest(write_dumps(folder), folder / "three.zarr", run=list(RUNS))
    return folder / "three.zarr"


@pytest.fixture(scope="module")
def alone(tmp_path_factory, threads):
    """The same runs, each in a store of its own."""
    folder = tmp_path_factory.mktemp("alone")
    dumps = write_dumps(folder)
    stores = [path.replace(".dump", ".zarr") for path in dumps]
    for path, store in zip(dumps, stores, strict=True):
        ingest(path, store)
    return stores


@pytest.fixture
def three(tmp_path, ingested):
    """Three runs in one store, without a temperature."""
    return str(shutil.copytree(ingested, tmp_path / "three.zarr"))


def ingest(paths, out, **options):
    return mgdask.ingest(paths, out, species=SPECIES, timestep=0.001, **options)


def table(path, n_rows, *, seed=5):
    """A file of numbers like those of the shared coolings: number, temperature, energy."""
    rng = np.random.default_rng(seed)
    rows = np.column_stack([np.arange(1, n_rows + 1), rng.uniform(1, 2000, n_rows)])
    rows = np.column_stack([rows, rng.normal(-9600, 5, n_rows)])
    np.savetxt(path, rows, header="number T E", fmt="%.14g")
    return str(path), np.loadtxt(path)


def error(result):
    return str(result.exception)


# ------------------------------------------------------------------------------------------------------------ ingest
def test_one_temperature_belongs_to_all_frames(tmp_path, dumps):
    report = ingest(dumps[0], tmp_path / "a.zarr", temperature=300.0)
    ds = mgdask.open_store(tmp_path / "a.zarr")
    assert ds.temperature.dims == ("frame",)
    assert ds.temperature.values.tolist() == [300.0] * 7
    assert ds.temperature.attrs["units"] == "K"
    assert report.n_written == 1
    plain = xr.open_zarr(tmp_path / "a.zarr", consolidated=False)
    assert plain.temperature.values.tolist() == [300.0] * 7
    entry = {"variable": "temperature", "units": "K", "runs": ["300K"], "frames": 7}
    found = decode(open_group(tmp_path / "a.zarr").attrs, "frame_values")
    assert [{k: v for k, v in item.items() if k in entry} for item in found] == [entry]
    assert found[0]["from"] == "300 K"
    assert mgdask.verify(tmp_path / "a.zarr").ok


def test_runs_in_one_call_with_their_temperatures(tmp_path, dumps):
    ingest(dumps, tmp_path / "a.zarr", run=list(RUNS), temperature=list(KELVIN))
    ds = mgdask.open_store(tmp_path / "a.zarr")
    assert ds.run.values.tolist() == list(np.repeat(RUNS, N_FRAMES))
    assert ds.temperature.values.tolist() == list(np.repeat(KELVIN, N_FRAMES))
    # run by run: the same positions as in stores of their own
    for name, path in zip(RUNS, dumps, strict=True):
        ingest(path, tmp_path / f"{name}.zarr")
        own = mgdask.open_store(tmp_path / f"{name}.zarr")
        part = ds.isel(frame=ds.run.values == name)
        for variable in ("position", "image", "time", "step"):
            assert part[variable].values.tobytes() == own[variable].values.tobytes()


def test_the_command_line_gives_the_same_bytes(tmp_path, dumps):
    path, rows = table(tmp_path / "e.txt", sum(N_FRAMES))
    ingest(
        dumps,
        tmp_path / "a.zarr",
        run=list(RUNS),
        temperature=list(KELVIN),
        variables={"energy": (path, 3)},
    )
    words = ["ingest", *dumps, "--out", str(tmp_path / "b.zarr"), "--species", "Zr,Cu"]
    for run, kelvin in zip(RUNS, KELVIN, strict=True):
        words += ["--run", run, "--temperature", f"{kelvin:g}"]
    words += ["--timestep", "0.001", "--variable", f"energy={path}:3", "--workers", "1"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, error(result)
    assert files(tmp_path / "a.zarr") == files(tmp_path / "b.zarr")
    ds = mgdask.open_store(tmp_path / "b.zarr")
    assert (ds.energy.values == rows[:, 2]).all()
    assert ds.energy.attrs["units"] == "eV"


def test_patterns_are_one_input_with_one_label(tmp_path, dumps):
    (tmp_path / "cold").mkdir()
    for first, name in ((0, "x.2.dump"), (3, "x.10.dump")):
        rows = dump(tmp_path / "cold" / name, first + 3, 9, first)
        assert rows
    ingest(
        [str(tmp_path / "cold" / "x.*.dump"), dumps[1]],
        tmp_path / "a.zarr",
        run=["cold", "hot"],
        temperature=[1.0, 2.0],
    )
    ds = mgdask.open_store(tmp_path / "a.zarr")
    assert ds.run.values.tolist() == ["cold"] * 6 + ["hot"] * 4
    assert ds.step.values.tolist() == [0, 100, 200, 300, 400, 500, 0, 100, 200, 300]
    assert ds.temperature.values.tolist() == [1.0] * 6 + [2.0] * 4


def test_files_of_lammps(tmp_path):
    """The dumps of tests/data, twice: an NPT run, so that its cell changes."""
    paths = []
    for run in ("a", "b"):
        data = gzip.decompress((DATA / "ort_unwrap.dump.gz").read_bytes())
        (tmp_path / f"{run}.dump").write_bytes(data)
        paths.append(str(tmp_path / f"{run}.dump"))
    path, rows = table(tmp_path / "t.txt", 6)
    ingest(paths, tmp_path / "a.zarr", run=["a", "b"], variables={"temperature": [(path, 2), 77.0]})
    ds = mgdask.open_store(tmp_path / "a.zarr")
    assert ds.temperature.values.tolist() == [*rows[:, 1], *[77.0] * 6]


def test_an_interrupted_ingest_of_several_runs_goes_on(tmp_path, dumps, monkeypatch):
    """As with one input: only what is missing is done, and the bytes are the same."""
    options = {"run": list(RUNS), "temperature": list(KELVIN)}
    monkeypatch.setattr(
        "mgdask.store.trajectory.trajectory_layout", lambda n: ingest_tasks.trajectory_layout(n)
    )
    cut = type(ingest_tasks.trajectory_layout(6))(3, 1, 4)
    monkeypatch.setattr(ingest_tasks, "trajectory_layout", lambda n: cut)
    ingest(dumps, tmp_path / "a.zarr", **options)
    whole = ingest_tasks.write_shard

    def dying(group, variable, start, data):
        if start[0] >= 6:
            raise RuntimeError("killed")
        return whole(group, variable, start, data)

    monkeypatch.setattr(ingest_tasks, "write_shard", dying)
    with pytest.raises(RunError, match="killed"):
        ingest(dumps, tmp_path / "b.zarr", **options)
    monkeypatch.setattr(ingest_tasks, "write_shard", whole)
    report = ingest(dumps, tmp_path / "b.zarr", **options)
    assert 0 < report.n_written < report.n_blocks == 6
    assert files(tmp_path / "a.zarr") == files(tmp_path / "b.zarr")
    with pytest.raises(
        StoreError, match=r"another temperature in 7 frames.*300 K.*400 K was given"
    ):
        ingest(dumps, tmp_path / "b.zarr", run=list(RUNS), temperature=[400.0, 500.0, 800.0])
    assert files(tmp_path / "a.zarr") == files(tmp_path / "b.zarr")


def test_ingest_again_adds_a_temperature_that_is_missing(tmp_path, dumps):
    ingest(dumps[0], tmp_path / "a.zarr")
    content = Manifest(tmp_path / "a.zarr").content()
    report = ingest(dumps[0], tmp_path / "a.zarr", temperature=300.0)
    assert report.n_written == 0
    assert mgdask.open_store(tmp_path / "a.zarr").temperature.values.tolist() == [300.0] * 7
    assert Manifest(tmp_path / "a.zarr").content() == content


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temprature": 300.0}, r"no argument 'temprature'; did you mean temperature"),
        ({"run_pre_file": True}, r"did you mean run_per_file.*Its arguments are append, .*units"),
        ({"temperature": [300.0, 500.0]}, r"2 values or files were given for 3 runs \('300K'"),
        ({"temperature": -1.0}, r"temperature=-1 K is not a temperature; it must be above 0 K"),
        ({"temperature": "300K"}, r"temperature='300K' must be a number in K"),
        ({"temperature": np.nan}, r"temperature=nan is not finite"),
        ({"run": ["a", "b"]}, r"has 2 labels for 3 inputs.*quote it"),
        ({"run": ["a", "b", "a"]}, r"the inputs of one run must be consecutive"),
        ({"run": "a,b,c"}, r"one label of 3 inputs.*run=\['a', 'b', 'c'\], or repeat --run"),
        ({"run_per_file": True}, r"exclude each other"),
        ({"variables": {"time": 3.0}}, r"'time' is set when files are read; use timestep="),
        ({"variables": {"position": 3.0}}, r"'position' is reserved"),
        ({"variables": {"9lives": 3.0}}, r"'9lives' is not a name"),
        ({"variables": {"energy[kJ]": 3.0}}, r"energy must be in eV; got kJ"),
        ({"variables": {"strain": "abc"}}, r"strain=abc must be FILE:COLUMN or a number"),
        ({"variables": {"strain": np.zeros(3)}}, r"shape \(3,\), but the 3 runs together has 16"),
        (
            {"temperature": 3.0, "variables": {"temperature": 4.0}},
            r"both give the temperature; give only one",
        ),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path, dumps, options, words):
    with pytest.raises(ParameterError, match=words):
        ingest(dumps, tmp_path / "a.zarr", **{"run": list(RUNS), **options})
    assert not (tmp_path / "a.zarr").exists()


# ------------------------------------------------------------------------------------------------- files of numbers
def test_columns_are_those_of_loadtxt(tmp_path):
    path, _ = table(tmp_path / "e.txt", 12)
    for column in (1, 2, 3):
        assert (read_column(path, column).values == np.loadtxt(path)[:, column - 1]).all()
    text = "# head\n\n 1, 2.5 # first\n3,4e-3\n   # more\n5,-6\n"
    (tmp_path / "c.csv").write_text(text)
    found = read_column(tmp_path / "c.csv", 2)
    assert found.values.tolist() == [2.5, 0.004, -6.0]
    assert found.lines == (3, 4, 6)
    (tmp_path / "c.gz").write_bytes(gzip.compress(text.encode()))
    assert read_column(tmp_path / "c.gz", 1).values.tolist() == [1.0, 3.0, 5.0]


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("1 2\n3\n", 2, r"e.txt, line 2: there is no column 2; the line has 1: '3'"),
        ("Step Temp\n1 2\n", 2, r"e.txt, line 1, column 2: 'Temp' is not a number; begin a head"),
        ("1 2\n# c\n3 x4\n", 2, r"e.txt, line 3, column 2: 'x4' is not a number; repair"),
        ("1 2\n3 nan\n", 2, r"e.txt, line 2, column 2: nan is not finite"),
        ("1 2\n3 1_0\n", 2, r"e.txt, line 2, column 2: '1_0' is not a number"),
        ("1,,3\n", 2, r"e.txt, line 1, column 2: '' is not a number"),
        ("# nothing\n", 1, r"e.txt: the file has no row of numbers"),
        ("1 2\n", 0, r"column 0 of .*e.txt: columns are counted from 1"),
        ("1 2\n", -1, r"column -1 of .*e.txt: columns are counted from 1"),
        ("1 2\n", 1.5, r"column 1.5 of .*e.txt"),
    ],
)
def test_files_that_are_not_columns_of_numbers(tmp_path, text, column, words):
    (tmp_path / "e.txt").write_text(text)
    with pytest.raises((AuditError, ParameterError), match=words):
        read_column(tmp_path / "e.txt", column)


def test_a_missing_or_binary_file(tmp_path):
    with pytest.raises(AuditError, match=r"no.txt: cannot be read: No such file.*working dir"):
        read_column(tmp_path / "no.txt", 1)
    (tmp_path / "b.txt").write_bytes(bytes(range(256)))
    with pytest.raises(AuditError, match=r"b.txt: it is not a text file"):
        read_column(tmp_path / "b.txt", 1)


@pytest.mark.parametrize(
    ("n_rows", "words"),
    [
        (
            15,
            r"e.txt, column 3: 15 rows \(lines 2 to 16\), but the store has 16 frames for the 3 runs together\.",
        ),
        (18, r"18 rows .* 16 frames for the 3 runs together; line 18 is the first one too many"),
    ],
)
def test_one_row_per_frame(tmp_path, dumps, n_rows, words):
    path, _ = table(tmp_path / "e.txt", n_rows)
    with pytest.raises(AuditError, match=words):
        ingest(dumps, tmp_path / "a.zarr", run=list(RUNS), variables={"energy": (path, 3)})
    assert not (tmp_path / "a.zarr").exists()


def test_frames_that_the_audit_left_out_are_named(tmp_path, dumps):
    text = (tmp_path / "300K.dump").read_text().splitlines()
    (tmp_path / "300K.dump").write_text("\n".join(text[:-2]) + "\n")
    path, _ = table(tmp_path / "e.txt", 7)
    with pytest.raises(
        AuditError, match=r"7 rows .*has 6 frames for run '300K'.*The audit says: .*frame 6"
    ):
        ingest(dumps[0], tmp_path / "a.zarr", variables={"energy": (path, 3)})


def test_a_temperature_of_a_file_is_above_zero(tmp_path, dumps):
    (tmp_path / "t.txt").write_text("300\n300\n-5\n300\n")
    with pytest.raises(ParameterError, match=r"t.txt, line 3, column 1: -5 K is not a temperature"):
        ingest(dumps[1], tmp_path / "a.zarr", variables={"temperature": f"{tmp_path}/t.txt:1"})


# ------------------------------------------------------------------------------------------------------------ append
def test_another_run_is_appended_with_its_temperature(tmp_path, dumps):
    out = tmp_path / "a.zarr"
    ingest(dumps[:2], out, run=list(RUNS[:2]), temperature=list(KELVIN[:2]))
    ingest(dumps[2], out, run="800K", temperature=800.0, append=True)
    ds = mgdask.open_store(out)
    assert ds.run.values.tolist() == list(np.repeat(RUNS, N_FRAMES))
    assert ds.temperature.values.tolist() == list(np.repeat(KELVIN, N_FRAMES))
    assert ds.step.values.tolist() == [100 * k for n in N_FRAMES for k in range(n)]
    ingest(dumps, tmp_path / "b.zarr", run=list(RUNS), temperature=list(KELVIN))
    whole = mgdask.open_store(tmp_path / "b.zarr")
    for name in ("position", "image", "time", "temperature"):
        assert ds[name].values.tobytes() == whole[name].values.tobytes()
    # again: nothing is done
    before = files(out)
    ingest(dumps[2], out, run="800K", temperature=800.0, append=True)
    assert files(out) == before
    assert mgdask.verify(out).ok


def test_an_interrupted_append_goes_on(tmp_path, dumps, monkeypatch):
    """Values that the store had stay, those of the new run come with it, and a label once given holds."""
    out = tmp_path / "a.zarr"
    path, rows = table(tmp_path / "e.txt", 7)
    ingest(dumps[0], out, temperature=300.0, variables={"energy": (path, 3)})
    options = {"run": "500K", "temperature": 500.0, "append": True}

    def dying(*args):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(ingest_tasks, "write_shard", dying)
        with pytest.raises(RunError, match=r"killed.*a\.zarr is unchanged"):
            ingest(dumps[1], out, **options)
    assert mgdask.open_store(out).sizes["frame"] == 7
    ingest(dumps[1], out, **options)
    mgdask.attach(out, run="500K", variables={"energy": -2.0})
    ds = mgdask.open_store(out)
    assert ds.run.values.tolist() == ["300K"] * 7 + ["500K"] * 4
    assert ds.temperature.values.tolist() == [300.0] * 7 + [500.0] * 4
    assert ds.energy.values.tolist() == [*rows[:, 2], *[-2.0] * 4]
    ingest(dumps[1], out, **options)  # nothing to do; what was attached since stays
    assert mgdask.open_store(out).energy.values.tolist() == [*rows[:, 2], *[-2.0] * 4]
    assert mgdask.verify(out).ok


def test_a_continued_run_keeps_its_temperature(tmp_path):
    out = tmp_path / "a.zarr"
    ingest(dump(tmp_path / "1.dump", 4, 1), out, run="a", temperature=300.0)
    # the restart repeats the last frame; the label may be given or not
    report = ingest(dump(tmp_path / "2.dump", 6, 1, first=3), out, run="a", append=True)
    assert report.n_frames == 6
    report = ingest(dump(tmp_path / "3.dump", 8, 1, first=5), out, append=True)
    assert report.n_frames == 8
    ds = mgdask.open_store(out)
    assert ds.run.values.tolist() == ["a"] * 8
    assert ds.step.values.tolist() == [100 * k for k in range(8)]
    assert ds.temperature.values.tolist() == [300.0] * 8


def test_values_that_an_appended_run_lacks_are_reported(tmp_path, dumps):
    out = tmp_path / "a.zarr"
    path, rows = table(tmp_path / "e.txt", 7)
    ingest(dumps[0], out, temperature=300.0, variables={"energy": (path, 3)})
    report = ingest(dumps[1], out, run="500K", append=True)
    assert [note for note in report.notes if "temperature is unknown in 4 new frames" in note]
    assert [note for note in report.notes if "--run 500K --variable energy=FILE" in note]
    ds = mgdask.open_store(out)
    assert np.isnan(ds.temperature.values[7:]).all()
    assert (ds.energy.values[:7] == rows[:, 2]).all()
    with pytest.raises(
        ParameterError,
        match=r"lacks it in 4 of 11 frames, first in frame 7 \(run '500K'\). Add it: mgdask attach "
        r".*a.zarr --run 500K --temperature KELVIN",
    ):
        mgdask.plan(out, LG, out=tmp_path / "f.zarr")
    mgdask.attach(out, run="500K", temperature=500.0)
    mgdask.plan(out, LG, out=tmp_path / "f.zarr")


def test_a_run_stays_in_one_piece(tmp_path, dumps):
    out = tmp_path / "a.zarr"
    ingest(dumps[:2], out, run=["a", "b"])
    with pytest.raises(StoreError, match=r"run 'a' is already in .*Only the last run, 'b'"):
        ingest(dumps[2], out, run="a", append=True)
    assert mgdask.open_store(out).sizes["frame"] == 11


# ------------------------------------------------------------------------------------------------------------ attach
def test_attach_run_by_run_and_whole(tmp_path, three):
    path, rows = table(tmp_path / "e.txt", 16)
    content = Manifest(three).content()
    report = mgdask.attach(three, run="500K", temperature=500)
    assert "temperature from 500 K: 4 frames of run 500K" in str(report)
    ds = mgdask.open_store(three)
    assert ds.temperature.values.tolist()[7:11] == [500.0] * 4
    assert np.isnan(ds.temperature.values[:7]).all()
    mgdask.attach(three, run=["800K", "300K"], temperature=[800, 300])
    mgdask.attach(three, variables={"energy": (path, 3), "stress[GPa]": rows[:, 0]})
    ds = mgdask.open_store(three)
    assert ds.temperature.values.tolist() == list(np.repeat(KELVIN, N_FRAMES))
    assert (ds.energy.values == rows[:, 2]).all()
    assert (ds.stress.values == rows[:, 0]).all()
    assert ds.stress.attrs["units"] == "GPa"
    assert Manifest(three).content() == content
    assert mgdask.verify(three).ok
    history = decode(open_group(three).attrs, "frame_values")
    assert [(e["variable"], e["runs"]) for e in history] == [
        ("temperature", ["500K"]),
        ("temperature", ["800K"]),
        ("temperature", ["300K"]),
        ("energy", list(RUNS)),
        ("stress", list(RUNS)),
    ]
    assert history[3]["from"] == "e.txt, column 3"
    assert len(history[3]["sha256"]) == 64


def test_attach_on_the_command_line(tmp_path, three):
    path, rows = table(tmp_path / "e.txt", 7)
    words = ["attach", three, "--run", "300K", "--variable", f"temperature={path}:2"]
    result = CliRunner().invoke(cli, [*words, "--variable", f"energy={path}:3"])
    assert result.exit_code == 0, result.output
    words = ["attach", three, "--run", "500K", "--run", "800K"]
    result = CliRunner().invoke(cli, [*words, "--temperature", "500", "--temperature", "800"])
    assert result.exit_code == 0, result.output
    ds = mgdask.open_store(three)
    assert ds.temperature.values.tolist() == [*rows[:, 1], *[500.0] * 4, *[800.0] * 5]
    for words, message in (
        (["attach", three], "nothing to attach; give temperature="),
        (["attach", three, "--variable", "energy"], "must be NAME=FILE:COLUMN or NAME=NUMBER"),
        (["attach", three, "--run", "300k", "--temperature", "3"], "did you mean '300K'"),
        (["attach", three, "--temperature", "3"], r"--overwrite) replaces it"),
    ):
        assert message in error(CliRunner().invoke(cli, words))


def test_inspect_shows_the_temperature_of_each_run(three):
    assert "temperature" not in CliRunner().invoke(cli, ["inspect", three]).output
    mgdask.attach(three, run="300K", temperature=300.0)
    mgdask.attach(three, run="800K", variables={"temperature": np.linspace(800.0, 400.0, 5)})
    shown = CliRunner().invoke(cli, ["inspect", three]).output
    assert "temperature   300K 300 K; 500K unknown; 800K 800 to 400 K" in shown


def test_other_values_are_replaced_only_if_asked(tmp_path, three):
    mgdask.attach(three, temperature=list(KELVIN))
    before = files(three)
    same = mgdask.attach(three, temperature=list(KELVIN))
    assert same.written == ()
    assert same.unchanged == ("temperature",)
    with pytest.raises(
        StoreError,
        match=r"another temperature in 4 frames, first in frame 7 \(run '500K'\): 500 K is stored, "
        r"501 K was given. Nothing was changed; overwrite=True",
    ):
        mgdask.attach(three, run="500K", temperature=501.0, variables={"strain": 0.5})
    assert files(three) == before
    report = mgdask.attach(three, run="500K", temperature=501.0, overwrite=True)
    assert "replacing other values" in str(report)
    ds = mgdask.open_store(three)
    assert ds.temperature.values.tolist() == list(np.repeat((300.0, 501.0, 800.0), N_FRAMES))
    assert len(decode(open_group(three).attrs, "frame_values")) == 4


def test_attach_refuses_other_stores_and_other_writers(tmp_path, three):
    plan = mgdask.plan(three, Coordination(cutoff=3.0), out=tmp_path / "f.zarr")
    mgdask.run(plan, progress=False)
    with pytest.raises(
        StoreError, match=r"holds features; .*computed from \(.*three.zarr\), then repeat"
    ):
        mgdask.attach(tmp_path / "f.zarr", temperature=3.0)
    with Manifest(three).locked(), pytest.raises(StoreError, match="is being written by process"):
        mgdask.attach(three, temperature=3.0)
    Manifest(three).reopen()
    with pytest.raises(StoreError, match="is not finished"):
        mgdask.attach(three, temperature=3.0)


@pytest.mark.parametrize("n_calls", range(1, 9))
def test_killed_anywhere_all_values_are_there_or_none(tmp_path, three, monkeypatch, n_calls):
    """The process dies at every one of its renames in turn: of two old variables and a new one."""
    mgdask.attach(three, temperature=list(KELVIN), variables={"strain": 0.1})
    old = mgdask.open_store(three)
    wanted = {"temperature": 9.0, "variables": {"strain": 0.2, "energy": -1.0}, "overwrite": True}
    calls = []

    def dying(move):
        def wrapper(*args):
            calls.append(args)
            if len(calls) == n_calls:
                raise KeyboardInterrupt
            return move(*args)

        return wrapper

    names = {**vars(os), "rename": dying(os.rename), "replace": dying(os.replace)}
    with monkeypatch.context() as patch:
        for module in (frame_values, manifest):
            patch.setattr(module, "os", SimpleNamespace(**names))
        try:
            mgdask.attach(three, **wanted)
        except KeyboardInterrupt:
            pass
        else:
            pytest.skip("there are fewer renames")
    declared = (Manifest(three).folder / frame_values.DECLARED).exists()
    if declared:  # all of it is on disk, and what can be read says what to do
        with pytest.raises(StoreError, match=r"Nothing is lost: mgdask attach .* finishes it"):
            mgdask.open_store(three)
        with pytest.raises(StoreError, match="Nothing is lost"):
            mgdask.plan(three, LG, out=tmp_path / "f.zarr")
        assert CliRunner().invoke(cli, ["attach", three]).exit_code == 0
    new = mgdask.open_store(three)
    is_new = "energy" in new
    assert is_new == declared
    assert new.temperature.values.tolist() == (
        [9.0] * 16 if is_new else old.temperature.values.tolist()
    )
    assert new.strain.values.tolist() == [0.2 if is_new else 0.1] * 16
    mgdask.attach(three, **wanted)
    assert mgdask.open_store(three).energy.values.tolist() == [-1.0] * 16
    assert mgdask.verify(three).ok
    assert not [path for path in Manifest(three).folder.iterdir() if path.is_dir()]


def test_many_frames_take_several_chunks(tmp_path, three, monkeypatch):
    """Chunks of 5 frames; those of which nothing is known are not written, and read as NaN."""
    monkeypatch.setattr(frame_values, "ROWS_IN_CHUNK", 5)
    mgdask.attach(three, run="300K", temperature=300.0)
    assert not (tmp_path / "three.zarr" / "temperature" / "c" / "3").exists()
    mgdask.attach(three, run="800K", temperature=800.0)
    ds = mgdask.open_store(three)
    assert ds.temperature.values[:7].tolist() == [300.0] * 7
    assert np.isnan(ds.temperature.values[7:11]).all()
    assert ds.temperature.values[11:].tolist() == [800.0] * 5
    assert mgdask.verify(three).ok


# ------------------------------------------------------------------------------------------ who reads the temperature
def test_a_missing_temperature_is_refused_by_the_plan(tmp_path, three):
    """Liu et al. (2022): lg[r^2 / (T m^-1)] has no value without T."""
    words = (
        r"lag_displacement needs the temperature of each frame, which .*three.zarr does not have. "
        r"Add it: mgdask attach .*three.zarr --temperature KELVIN. Or set temperature="
    )
    with pytest.raises(ParameterError, match=words):
        mgdask.plan(three, LG, out=tmp_path / "f.zarr")
    with pytest.raises(ParameterError, match=r"which the Dataset does not have. Add it: ds.assign"):
        mgdask.featurize(mgdask.open_store(three), LG)
    assert not (tmp_path / "f.zarr").exists()
    words = ["plan", three, "--feature", "lag_displacement:missing=nan,scaling=logarithmic"]
    result = CliRunner().invoke(cli, [*words, "--out", str(tmp_path / "f.zarr")])
    assert f"mgdask attach {three}" in error(result)


def test_the_logarithmic_scaling_takes_the_temperature_of_the_run(tmp_path, three):
    mgdask.attach(three, temperature=list(KELVIN))
    plan = mgdask.plan(three, LG, out=tmp_path / "f.zarr")
    mgdask.run(plan, progress=False)
    found = mgdask.open_store(tmp_path / "f.zarr").lag_displacement
    squared = LagDisplacement(lags=(0.1, 0.2), origins="all", missing="nan")
    mgdask.run(mgdask.plan(three, squared, out=tmp_path / "s.zarr"), progress=False)
    r2 = mgdask.open_store(tmp_path / "s.zarr").lag_displacement.values
    mass = mgdask.open_store(three).mass.values
    kelvin = np.repeat(KELVIN, N_FRAMES)
    want = np.log10(r2 / (kelvin[:, None, None] / mass[None, :, None]))
    np.testing.assert_allclose(found.values, want, rtol=0, atol=1e-13)
    assert decode(found.attrs, "flagged_atoms")["temperature_changes"] == 0


def test_in_a_cooling_the_origin_decides_and_rows_are_counted(tmp_path, dumps):
    """T falls by 20 K a frame from 300 K: more than 5 % within each lag."""
    kelvin = 300.0 - 20.0 * np.arange(7)
    ingest(dumps[0], tmp_path / "a.zarr", variables={"temperature": kelvin})
    mgdask.run(mgdask.plan(tmp_path / "a.zarr", LG, out=tmp_path / "f.zarr"), progress=False)
    found = mgdask.open_store(tmp_path / "f.zarr").lag_displacement
    ds = mgdask.open_store(tmp_path / "a.zarr")
    path = ds.position.values + ds.image.values * 10.0
    r2 = ((path[1:] - path[:-1]) ** 2).sum(axis=2)
    want = np.log10(r2 * ds.mass.values / kelvin[:-1, None])
    np.testing.assert_allclose(found.values[:-1, :, 0], want, rtol=0, atol=1e-9)
    assert (
        decode(found.attrs, "flagged_atoms")["temperature_changes"] == 6 * 6
    )  # not the last origin


def test_attaching_leaves_other_features_valid(tmp_path, three):
    """Features are computed again only if they read what was attached."""
    feature = Coordination(cutoff=4.0)
    mgdask.run(mgdask.plan(three, feature, out=tmp_path / "c.zarr"), progress=False)
    before = files(tmp_path / "c.zarr")
    mgdask.attach(three, temperature=list(KELVIN))
    plan = mgdask.plan(three, feature, out=tmp_path / "c.zarr")
    assert plan.done == plan.n_tasks
    assert mgdask.run(plan, progress=False).skipped == plan.n_tasks
    after = files(tmp_path / "c.zarr")
    # the group names the coordinate that was added
    changed = {name for name, data in after.items() if data != before.get(name)}
    assert {name for name in changed if "temperature" not in name} <= {"zarr.json"}
    assert set(before) <= set(after)
    given = mgdask.plan(three, LG, out=tmp_path / "l.zarr")
    mgdask.run(given, progress=False)
    mgdask.attach(three, variables={"strain": 0.1})
    assert mgdask.plan(three, LG, out=tmp_path / "l.zarr").digest == given.digest
    mgdask.attach(three, run="300K", temperature=301.0, overwrite=True)
    with pytest.raises(
        StoreError, match=r"Stored -> planned: values of temperature in .*three\.zarr$"
    ):
        mgdask.plan(three, LG, out=tmp_path / "l.zarr")
    with pytest.raises(
        SourceChangedError, match=r"three.zarr \(temperature of its frames\) has ch"
    ):
        mgdask.run(given, progress=False)


def test_features_keep_the_values_of_their_frames(tmp_path, three):
    """Every row has the temperature of its run, as a label for learning; a repeated run renews it."""
    mgdask.attach(three, temperature=list(KELVIN), variables={"energy": np.arange(16.0)})
    feature = LagDisplacement(lags=(0.1,), origins=3, missing="nan")
    plan = mgdask.plan(three, feature, out=tmp_path / "f.zarr")
    mgdask.run(plan, progress=False)
    ds = mgdask.open_store(tmp_path / "f.zarr")
    lazy = mgdask.featurize(mgdask.open_store(three), feature)
    frames = [0, 3, 6, 7, 10, 11, 14]
    for each in (ds, lazy):
        assert list(each.data_vars) == ["lag_displacement"]
        assert each.temperature.values.tolist() == [300.0] * 3 + [500.0] * 2 + [800.0] * 2
        assert each.energy.values.tolist() == frames
        assert each.temperature.attrs["units"] == "K"
    mgdask.attach(three, run="500K", temperature=510.0, overwrite=True)
    assert mgdask.run(plan, progress=False).skipped == plan.n_tasks
    ds = mgdask.open_store(tmp_path / "f.zarr")
    assert ds.temperature.values.tolist() == [300.0] * 3 + [510.0] * 2 + [800.0] * 2
    assert mgdask.verify(tmp_path / "f.zarr").ok
    with pytest.raises(ParameterError, match=r"named 'energy', which is a value of the frames of"):
        mgdask.plan(three, feature.named("energy"), out=tmp_path / "g.zarr")


def test_damaged_values_are_replaced(tmp_path, three):
    """By their copies; without these, by a repeated run or by giving them again."""
    mgdask.attach(three, temperature=list(KELVIN))
    plan = mgdask.plan(three, Coordination(cutoff=4.0), out=tmp_path / "f.zarr")
    mgdask.run(plan, progress=False)
    stores = tmp_path / "f.zarr", tmp_path / "three.zarr"
    for store in stores:
        file = store / "temperature" / "c" / "0"
        data = file.read_bytes()
        file.write_bytes(bytes([data[0] ^ 255]) + data[1:])
        assert "temperature/c/0" in str(mgdask.verify(store, progress=False))
        assert mgdask.verify(store, repair=True, progress=False).restored == ("temperature/c/0",)
        assert file.read_bytes() == data
        file.write_bytes(b"")
        (store / "manifest" / "kept.zip").unlink()
    with pytest.raises(
        StoreError,
        match=r"holds temperature of the frames; give all of it again: mgdask attach .*"
        r"--temperature KELVIN --overwrite",
    ):
        mgdask.verify(three, repair=True, progress=False)
    mgdask.attach(three, temperature=list(KELVIN), overwrite=True)
    mgdask.verify(tmp_path / "f.zarr", repair=True, progress=False)
    mgdask.run(plan, progress=False)
    for store in stores:
        assert mgdask.verify(store, progress=False).ok
        kelvin = mgdask.open_store(store).temperature.values.tolist()
        assert kelvin == list(np.repeat(KELVIN, N_FRAMES))


def test_values_of_the_file_itself(tmp_path):
    """Energies and temperatures that an extended XYZ file has are used like given ones."""
    text = "".join(
        f"2\nLattice='9 0 0 0 9 0 0 0 9' Properties=species:S:1:pos:R:3 energy={-1.5 - k} "
        f"temperature={300 + k}\nCu {k} 0 0\nZr 3 3 {k}\n".replace("'", '"')
        for k in range(3)
    )
    (tmp_path / "a.xyz").write_text(text)
    mgdask.ingest(str(tmp_path / "a.xyz"), tmp_path / "a.zarr")
    ds = mgdask.open_store(tmp_path / "a.zarr")
    assert ds.temperature.values.tolist() == [300.0, 301.0, 302.0]
    assert ds.energy.values.tolist() == [-1.5, -2.5, -3.5]
    assert (ds.temperature.attrs["units"], ds.energy.attrs["units"]) == ("K", "eV")
    with pytest.raises(ParameterError, match="the files already have a variable 'temperature'"):
        mgdask.ingest(str(tmp_path / "a.xyz"), tmp_path / "b.zarr", temperature=300.0)


def test_a_copy_made_before_has_the_temperature_of_today(tmp_path):
    """A changing cell: lags are read from a copy, the temperature from the trajectory."""
    data = gzip.decompress((DATA / "ort_unwrap.dump.gz").read_bytes())
    (tmp_path / "a.dump").write_bytes(data)
    store, copy = tmp_path / "a.zarr", tmp_path / "p.zarr"
    ingest(str(tmp_path / "a.dump"), store)
    feature = LagDisplacement(lags=(0.2,), scaling="logarithmic", missing="nan")
    mgdask.unwrap(store, copy, progress=False)
    mgdask.unwrap(store, tmp_path / "f.zarr.paths.zarr", progress=False)
    mgdask.attach(store, temperature=300.0)
    mgdask.run(mgdask.plan(store, feature, out=tmp_path / "f.zarr"), progress=False)
    with pytest.raises(ParameterError, match=r"mgdask attach .*p.zarr"):
        mgdask.plan(copy, feature, out=tmp_path / "g.zarr")
    mgdask.unwrap(store, copy, progress=False)  # renews the copy
    assert mgdask.open_store(copy).temperature.attrs["units"] == "K"
    mgdask.run(mgdask.plan(copy, feature, out=tmp_path / "g.zarr"), progress=False)
    found = [mgdask.open_store(tmp_path / name).lag_displacement for name in ("f.zarr", "g.zarr")]
    assert np.isfinite(found[0].values).all()
    assert found[0].values.tobytes() == found[1].values.tobytes()
    mgdask.attach(store, temperature=310.0, overwrite=True)
    mgdask.unwrap(store, copy, progress=False)
    assert mgdask.open_store(copy).temperature.values.tolist() == [310.0] * 6
    assert mgdask.verify(copy).ok
    mgdask.attach(copy, temperature=320.0, overwrite=True)
    with pytest.raises(StoreError, match=r"the trajectory it was made from differ in temperature"):
        mgdask.unwrap(store, copy, progress=False)


# what mgdask keeps beside the arrays is no part of them
@pytest.mark.filterwarnings("ignore:Object at .* is not recognized")
@pytest.mark.filterwarnings("ignore:The data type .FixedLengthUTF32")  # of zarr, when xarray writes
def test_values_survive_xarray(tmp_path, three):
    mgdask.attach(three, temperature=list(KELVIN), variables={"energy": -1.5})
    ds = mgdask.open_store(three).isel(frame=slice(3, 9))
    ds.to_zarr(tmp_path / "x.zarr", zarr_format=3, consolidated=False)
    again = xr.open_zarr(tmp_path / "x.zarr", consolidated=False)
    assert again.temperature.values.tolist() == [300.0] * 4 + [500.0] * 2
    assert again.energy.attrs["units"] == "eV"
    tree = xr.open_datatree(three, engine="zarr", consolidated=False)
    assert tree["temperature"].values.tolist() == list(np.repeat(KELVIN, N_FRAMES))


# ---------------------------------------------------------------------------------------------------------- dynamics
@pytest.mark.parametrize(
    ("function", "options"),
    [
        (mgdask.mean_squared_displacement, {}),
        (mgdask.self_scattering, {"q": 2.0}),
        (mgdask.van_hove, {"lags": [0.1]}),
        (mgdask.overlap, {}),
    ],
)
def test_runs_at_different_temperatures_are_not_averaged(three, dumps, tmp_path, function, options):
    """A run chosen by its label gives the bits of that run in a store of its own."""
    function(three, **options)  # nothing is known of the temperatures
    mgdask.attach(three, temperature=list(KELVIN))
    with pytest.raises(
        ParameterError,
        match=r"at different temperatures: '300K' at 300 K, '500K' at 500 K, '800K' at 800 K. "
        r"Choose one with run='300K'",
    ):
        function(three, **options)
    ingest(dumps[2], tmp_path / "own.zarr")
    want, found = function(tmp_path / "own.zarr", **options), function(three, run="800K", **options)
    for name in want.variables:
        assert found[name].values.tobytes() == want[name].values.tobytes(), name
    assert found.attrs["temperature"] == 800.0
    assert found.attrs["runs"] == "800K"
    both = function(three, run=["300K", "800K"], **options)
    assert both.attrs["runs"] == "300K, 800K"
    assert "temperature" not in both.attrs
    with pytest.raises(ParameterError, match=r"run='801K' is not in .*did you mean '800K'"):
        function(three, run="801K", **options)


def test_runs_at_one_temperature_are_averaged(three):
    """A thermostat fluctuates: 1.8 % for 2048 atoms."""
    rng = np.random.default_rng(3)
    mgdask.attach(three, variables={"temperature": 300.0 * (1 + rng.uniform(-0.02, 0.02, 16))})
    found = mgdask.mean_squared_displacement(three)
    assert found.attrs["runs"] == ", ".join(RUNS)
    assert found.attrs["temperature"] == pytest.approx(300.0, rel=0.02)


# ------------------------------------------------------------------------------------- origins of each run (row D5)
@pytest.mark.parametrize(
    ("origins", "remove_drift"), [(3, False), (10, False), (2, True), ("first", True)]
)
def test_runs_in_one_store_equal_each_in_its_own(tmp_path, ingested, alone, origins, remove_drift):
    """``origins=10`` counts per run, and the second run keeps its first frame; equal bits."""
    feature = LagDisplacement(
        lags=(0.1, 0.2), origins=origins, missing="nan", remove_drift=remove_drift
    )
    mgdask.run(mgdask.plan(ingested, feature, out=tmp_path / "all.lag.zarr"), progress=False)
    together = mgdask.open_store(tmp_path / "all.lag.zarr")
    own = []
    for name, store in zip(RUNS, alone, strict=True):
        plan = mgdask.plan(store, feature, out=tmp_path / f"{name}.lag.zarr")
        mgdask.run(plan, progress=False)
        own.append(mgdask.open_store(tmp_path / f"{name}.lag.zarr"))
        part = together.isel(frame=together.run.values == name)
        assert part.step.values[0] == 0
        assert part.step.values.tolist() == own[-1].step.values.tolist()
        assert part.lag_displacement.values.tobytes() == own[-1].lag_displacement.values.tobytes()
    assert together.sizes["frame"] == sum(ds.sizes["frame"] for ds in own)


def test_a_copied_store_keeps_its_values(tmp_path, three):
    mgdask.attach(three, temperature=list(KELVIN))
    shutil.copytree(three, tmp_path / "copy.zarr")
    assert mgdask.verify(tmp_path / "copy.zarr").ok
