"""Features written to a local S3 server: locked, resumed, and never visible in part."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from click.testing import CliRunner
from distributed import Client
from zarr.storage import MemoryStore, ObjectStore

import mgdask
from mgdask.cli import cli
from mgdask.errors import MgdaskError, ParameterError, StoreError
from mgdask.store import layout, publish
from mgdask.store.lock_owner import this_process
from mgdask.store.publish import LOCK
from tests import forked
from tests.conftest import threads_client
from tests.store.conftest import KEY, S3, SECRET
from tests.test_manual import blocks

ORDER = mgdask.Coordination(cutoff=3.0)
SMALL = 2 * 64 * 16
"""Bytes of two frames of features."""
QUIET: dict[str, Any] = {"progress": False}


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    """Let blocks be small, which are cut when they are asked for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "MIN_SHARD", SMALL)
        yield


@pytest.fixture(scope="module")
def here():
    """Client of threads of this process."""
    with threads_client(default=False) as client:
        yield client


@pytest.fixture(scope="module")
def original(tiny: str, here: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the features."""
    out: Path = tmp_path_factory.mktemp("original") / "f.zarr"
    mgdask.run(small_plan(tiny, out), here, **QUIET)
    return out


def small_plan(store: str, out: Any, **options: Any) -> Any:
    """Plan with a block for every two frames."""
    assert layout.MIN_SHARD == SMALL
    return mgdask.plan(store, ORDER, out=out, **options)


def files(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder by name."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def objects(server: S3, name: str) -> dict[str, bytes]:
    """Return all objects of a store by name."""
    found = server.names(f"{name}/")
    return {each.removeprefix(f"{name}/"): server.get(each) for each in found}


def without_times(found: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out the records, which have times."""
    return {name: data for name, data in found.items() if not name.endswith("blocks.jsonl")}


def test_features_on_s3_are_those_of_a_folder(
    server: S3,
    tiny: str,
    original: Path,
    client: Client,
    forget: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = small_plan(tiny, "s3://glass/f.zarr", storage_options=server.options)
    assert plan.n_tasks == 3
    assert "s3://glass/f.zarr: " in plan.describe(measure=False)
    assert plan.done == 0
    report = mgdask.run(plan, client, **QUIET)  # processes get the options with the tasks
    assert report.out == "s3://glass/f.zarr"
    found = objects(server, "f.zarr")
    assert without_times(found) == without_times(files(original))
    assert not any(secret.encode() in data for secret in (KEY, SECRET) for data in found.values())
    assert not any(tmp_path.iterdir())  # nor a lock object there
    values = mgdask.open_store("s3://glass/f.zarr").coordination.values
    np.testing.assert_array_equal(values, mgdask.open_store(original).coordination.values)
    again = small_plan(tiny, "s3://glass/f.zarr")
    assert again.done == 3
    assert mgdask.run(again, client, **QUIET).skipped == 3


KILLED = """
import os, sys
import mgdask
from mgdask.store import layout, publish
from tests.conftest import threads_client
from tests.store.test_publish import SMALL, small_plan

layout.MIN_SHARD = SMALL
n, put = 0, publish.put
def dying(location, key, data, **options):
    global n
    n += key.startswith("coordination/c/") or key == publish.MARK
    if n > int(sys.argv[3]):
        os.kill(os.getpid(), 9)
    put(location, key, data, **options)
publish.put = dying
options = {"endpoint_url": sys.argv[2], "key": "a", "secret": "b"}
plan = small_plan(sys.argv[1], "s3://glass/killed.zarr", storage_options=options, scratch="work")
with threads_client() as client:
    mgdask.run(plan, client, progress=False)
"""


@pytest.mark.parametrize("n_sent", [1, 3])
def test_a_killed_run_is_resumed_and_never_read_in_part(
    server: S3,
    tiny: str,
    original: Path,
    here: Client,
    forget: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    n_sent: int,
) -> None:
    for name in server.names("killed.zarr/"):
        server.delete(name)
    ended = forked.run(KILLED, tiny, server.endpoint, str(n_sent), cwd=tmp_path)
    assert ended.returncode == -9, ended.stderr
    assert f"killed.zarr/{LOCK}" in server.names()  # of a dead process of this machine
    with pytest.raises(StoreError, match=r"killed\.zarr is not finished"):
        mgdask.open_store("s3://glass/killed.zarr", storage_options=server.options)
    sent: list[str] = []
    put = publish.put

    def counted(location: Any, key: str, data: bytes, **options: Any) -> None:
        sent.append(key)
        put(location, key, data, **options)

    monkeypatch.setattr(publish, "put", counted)
    monkeypatch.chdir(tmp_path)
    plan = small_plan(tiny, "s3://glass/killed.zarr", scratch="work")
    assert mgdask.run(plan, here, **QUIET).skipped == 3
    assert sum(key.startswith("coordination/c/") for key in sent) == 3 - n_sent
    assert sent[-1] == publish.MARK
    assert without_times(objects(server, "killed.zarr")) == without_times(files(original))
    assert (tmp_path / "work" / "killed.zarr" / "zarr.json").exists()  # a given folder stays


def test_an_object_store_and_memory_take_features_too(
    server: S3,
    tiny: str,
    original: Path,
    here: Client,
    forget: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    obstore = pytest.importorskip("obstore.store")
    below = obstore.S3Store(
        "glass",
        prefix="objects.zarr",
        endpoint=server.endpoint,
        access_key_id=KEY,
        secret_access_key=SECRET,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    expected = mgdask.open_store(original).coordination.values
    for place in (ObjectStore(below), "memory://features.zarr"):
        mgdask.run(small_plan(tiny, place), here, **QUIET)
        values = mgdask.open_store(place).coordination.compute(scheduler="sync").values
        np.testing.assert_array_equal(values, expected)
    assert without_times(objects(server, "objects.zarr")) == without_times(files(original))


def test_a_second_run_is_kept_away(
    server: S3, tiny: str, here: Client, forget: Any, tmp_path: Path
) -> None:
    options = {"storage_options": server.options, "scratch": tmp_path}
    plan = small_plan(tiny, "s3://glass/locked.zarr", **options)
    elsewhere = {**this_process(), "host": "node17", "token": "x"}
    server.put(f"locked.zarr/{LOCK}", json.dumps(elsewhere).encode())
    with pytest.raises(StoreError, match=r"is being written by process \d+ .*on node17") as caught:
        mgdask.run(plan, here, **QUIET)
    assert f"remove the object s3://glass/locked.zarr/{LOCK}" in str(caught.value)
    alive = {**this_process(), "pid": os.getppid(), "began": None, "token": "x"}
    server.put(f"locked.zarr/{LOCK}", json.dumps(alive).encode())
    with pytest.raises(StoreError, match=f"is being written by process {os.getppid()}"):
        mgdask.run(plan, here, **QUIET)
    assert server.names("locked.zarr/") == [f"locked.zarr/{LOCK}"]
    server.delete(f"locked.zarr/{LOCK}")


def test_a_lock_that_is_taken_over_ends_the_run_before_the_mark(
    server: S3, tiny: str, here: Client, forget: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    states = publish.states

    def stolen(*args: Any) -> Any:
        server.put(f"stolen.zarr/{LOCK}", b'{"token": "of another process"}')
        return states(*args)

    monkeypatch.setattr(publish, "states", stolen)
    options = {"storage_options": server.options, "scratch": tmp_path}
    with pytest.raises(StoreError, match="was removed or taken over while this process held it"):
        mgdask.run(small_plan(tiny, "s3://glass/stolen.zarr", **options), here, **QUIET)
    assert f"stolen.zarr/{publish.MARK}" not in server.names("stolen.zarr/")
    assert server.get(f"stolen.zarr/{LOCK}") == b'{"token": "of another process"}'


def test_a_server_without_exclusive_creation_is_refused(
    server: S3, tiny: str, here: Client, forget: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    put = publish.put
    monkeypatch.setattr(publish, "put", lambda *args, create=False: put(*args))
    options = {"storage_options": server.options, "scratch": tmp_path}
    with pytest.raises(StoreError, match="this server creates an object although it exists"):
        mgdask.run(small_plan(tiny, "s3://glass/twice.zarr", **options), here, **QUIET)
    assert not server.names("twice.zarr/")


def test_places_that_cannot_be_written_are_refused_by_the_plan(
    server: S3, tiny: str, forget: Any, tmp_path: Path
) -> None:
    options = {"storage_options": server.options, "scratch": tmp_path}
    for place in ("https://host/f.zarr", MemoryStore()):
        with pytest.raises(StoreError, match="features are written to folders, s3:// and memory"):
            mgdask.plan(tiny, ORDER, out=place)
    server.put("taken/notes.txt", b"mine")
    with pytest.raises(StoreError, match="there are objects below that name, but no Zarr store"):
        mgdask.plan(tiny, ORDER, out="s3://glass/taken", **options)
    server.put_store(tiny, "taken.zarr")
    with pytest.raises(StoreError, match=r"Choose another out= .*something else \(trajectory\)"):
        mgdask.plan(tiny, ORDER, out="s3://glass/taken.zarr", **options)
    with pytest.raises(ParameterError, match="neither input nor output is one"):
        mgdask.plan(tiny, ORDER, out=tmp_path / "f.zarr", storage_options=server.options)
    assert not any(tmp_path.iterdir())


def test_the_commands_take_urls_and_credentials_from_the_environment(
    server: S3, tiny: str, forget: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.put_store(tiny, "command.zarr")
    for name, value in (
        ("AWS_ENDPOINT_URL", server.endpoint),
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    words = ["--feature", "coordination:cutoff=3.0", "--frames", "0:2"]
    with threads_client():  # the workers of other tests have another environment
        out = CliRunner().invoke(
            cli,
            ["featurize", url, *words, "--out", "s3://glass/command-f.zarr"],
            catch_exceptions=False,
        )
    assert out.exit_code == 0, out.output
    assert "s3://glass/command-f.zarr" in out.output
    assert mgdask.open_store("s3://glass/command-f.zarr").sizes["frame"] == 2
    shown = CliRunner().invoke(cli, ["inspect", url], catch_exceptions=False)
    assert "6" in shown.output
    assert SECRET not in out.output + shown.output
    for words in (["rdf", url], ["verify", url], ["ingest", "a.dump", "--out", url]):
        refused = CliRunner().invoke(cli, words)
        assert isinstance(refused.exception, MgdaskError), words


PAGE = Path(__file__).parents[2] / "notebooks" / "howto" / "remote.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the manual is in the source checkout only")
def test_the_manual_prints_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, answers = blocks(PAGE, "python")[0], blocks(PAGE, "")[0]
    with threads_client(), dask.config.set(scheduler="sync"):
        exec(code, {})
    assert capsys.readouterr().out == answers
