"""Stores on a local S3 server, over HTTP, in memory and in Zarr store objects."""

from __future__ import annotations

import http.server
import os
import pickle
import re
import threading
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import zarr
from distributed import Client
from zarr.storage import FsspecStore, LocalStore, MemoryStore, ObjectStore, ZipStore

import mgdask
from mgdask.errors import MgdaskError, ParameterError, StoreError
from mgdask.store import remote
from mgdask.store.failures import DamagedStoreError
from mgdask.store.location import Url, locate, place_of
from mgdask.store.remote import explained_request
from mgdask.store.remote_path import folder_of
from mgdask.store.seals import read_seal
from tests.store.conftest import KEY, N_FRAMES, S3, SECRET

ORDER = mgdask.Coordination(cutoff=3.0)
QUIET: dict[str, Any] = {"progress": False}


@pytest.fixture(scope="module")
def url(server: S3, tiny: str) -> str:
    """URL of a copy of the small trajectory that no test changes."""
    return server.put_store(tiny, "sound.zarr")


def same(url_or_store: Any, path: str, **options: Any) -> None:
    """Compare all that a store gives with a copy of it in a folder."""
    found, expected = mgdask.open_store(url_or_store, **options), mgdask.open_store(path)
    assert {*found.variables} == {*expected.variables}
    for name in expected.variables:
        np.testing.assert_array_equal(found[name].values, expected[name].values, err_msg=str(name))
        assert found[name].attrs == expected[name].attrs


# Reading


def test_a_store_on_s3_reads_as_its_original(server: S3, url: str, tiny: str, forget: Any) -> None:
    same(url, tiny, storage_options=server.options)
    same(url, tiny)  # the options are remembered
    same(f"{url}/", tiny)


def test_store_objects_read_as_their_original(
    server: S3, url: str, tiny: str, forget: Any, tmp_path: Path
) -> None:
    obstore = pytest.importorskip("obstore.store")
    below = obstore.S3Store(
        "glass",
        prefix="sound.zarr",
        endpoint=server.endpoint,
        access_key_id=KEY,
        secret_access_key=SECRET,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    objects = [
        ObjectStore(below, read_only=True),
        FsspecStore.from_url(url, storage_options=server.options, read_only=True),
        LocalStore(tiny),
    ]
    memory = MemoryStore()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        for file in (path for path in Path(tiny).rglob("*") if path.is_file()):
            name, data = file.relative_to(tiny).as_posix(), file.read_bytes()
            memory._store_dict[name] = zarr.core.buffer.cpu.Buffer.from_bytes(data)
            packed.writestr(name, data)
    for store in (*objects, memory, ZipStore(tmp_path / "a.zip", mode="r")):
        same(store, tiny)
        forget()
    assert locate(objects[0]).url == locate(objects[1]).url == url
    assert locate(objects[2]).path == Path(tiny)
    with pytest.raises(ParameterError, match="is a int; give a path, a URL or a Zarr store"):
        mgdask.open_store(7)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="a Zarr store object has its own options"):
        mgdask.open_store(memory, storage_options={"key": SECRET})


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Serve files, and the parts that are asked for, as web servers do."""

    def log_message(self, *args: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        """Answer with the part that the header Range names."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if asked is None or not path.is_file():
            super().do_GET()
            return
        data = path.read_bytes()[int(asked[1]) : int(asked[2]) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Whole(http.server.SimpleHTTPRequestHandler):
    """The server of ``python -m http.server``, which always gives the whole file."""

    def log_message(self, *args: Any) -> None:
        """Print nothing."""


@pytest.mark.parametrize("handler", [Ranges, Whole])
def test_a_web_server_needs_neither_lists_nor_ranges(
    handler: type[http.server.SimpleHTTPRequestHandler], tiny: str, forget: Any
) -> None:
    serve = partial(handler, directory=str(Path(tiny).parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{web.server_port}"
        same(f"{address}/a.zarr", tiny)
        with pytest.raises(StoreError, match=r"is not a Zarr store: there is no zarr\.json"):
            mgdask.open_store(f"{address}/b.zarr")
        web.shutdown()


def in_memory(tiny: str, name: str) -> str:
    """Copy a store to ``memory://``."""
    fsspec = pytest.importorskip("fsspec")
    fs = fsspec.filesystem("memory")
    fs.put(f"{tiny}/", f"/{name}/", recursive=True)
    return f"memory://{name}"


def test_memory_belongs_to_one_process(tiny: str, client: Client, tmp_path: Path) -> None:
    place = in_memory(tiny, "own.zarr")
    with dask.config.set(scheduler="sync"):
        same(place, tiny)
    with client.as_current(), pytest.raises(StoreError, match="only in the process that wrote it"):
        mgdask.open_store(place).position.compute()  # never NaN
    plan = mgdask.plan(place, ORDER, out=tmp_path / "f.zarr")
    with pytest.raises(StoreError, match="memory:// exists only in the process that wrote it"):
        mgdask.run(plan, client, **QUIET)


# Computing


def test_features_of_a_remote_store_are_those_of_its_original(
    server: S3, url: str, tiny: str, forget: Any, client: Client, tmp_path: Path
) -> None:
    ds = mgdask.open_store(url, storage_options=server.options)
    lazy = mgdask.featurize(ds, ORDER).isel(frame=[1, 4]).coordination
    plan = mgdask.plan(url, ORDER, out=tmp_path / "f.zarr")
    mgdask.run(plan, client, **QUIET)  # its processes get the options with the tasks
    mgdask.run(mgdask.plan(tiny, ORDER, out=tmp_path / "g.zarr"), client, **QUIET)
    found, expected = (mgdask.open_store(tmp_path / name) for name in ("f.zarr", "g.zarr"))
    np.testing.assert_array_equal(found.coordination.values, expected.coordination.values)
    with client.as_current():
        np.testing.assert_array_equal(lazy.values, expected.coordination[[1, 4]].values)
    assert found.attrs["input"] == url
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in data or KEY.encode() in data for data in written)


# Damage


def damages(sound: bytes) -> dict[str, bytes | None]:
    """Return what may stand in place of an object; None if nothing does."""
    middle = len(sound) // 2
    return {
        "deleted": None,
        "empty": b"",
        "truncated": sound[:-7],
        "foreign": np.random.default_rng(3).bytes(len(sound)),
        "flipped": bytes([*sound[:middle], sound[middle] ^ 1, *sound[middle + 1 :]]),
    }


@pytest.fixture(scope="module")
def damaged(server: S3, tiny: str) -> str:
    """URL of a copy of the small trajectory that tests damage and repair."""
    return server.put_store(tiny, "damaged.zarr")


@pytest.mark.parametrize("kind", damages(b"12345678"))
@pytest.mark.parametrize("trust", [False, True])
def test_a_damaged_shard_is_an_error_and_never_a_number(
    server: S3, damaged: str, tmp_path: Path, kind: str, trust: bool
) -> None:
    name = "damaged.zarr/position/c/1/0/0"
    sound = server.get(name)
    ds = mgdask.open_store(damaged, storage_options=server.options)
    bad = damages(sound)[kind]
    server.delete(name) if bad is None else server.put(name, bad)
    try:
        with pytest.raises(DamagedStoreError, match=r"position/c/1/0/0 \(frames 2 to 3"):
            ds.position[3].compute()
        if trust and kind in ("empty", "truncated", "foreign", "flipped"):
            return  # as in a folder, only the checksums of zarr remain
        out = tmp_path / "f.zarr"
        with pytest.raises(MgdaskError, match="position/c/1/0/0") as caught:
            mgdask.plan(damaged, ORDER, out=out, trust=trust)
        assert SECRET not in str(caught.value)
    finally:
        server.put(name, sound)
    assert np.isfinite(ds.position[3].values).all()


def test_shards_of_another_place_in_the_store_are_refused(server: S3, damaged: str) -> None:
    ds = mgdask.open_store(damaged, storage_options=server.options)
    names = [f"damaged.zarr/position/c/{k}/0/0" for k in (0, 1)]
    sound = [server.get(name) for name in names]
    for name, data in zip(names, sound[::-1], strict=True):
        server.put(name, data)
    try:
        with pytest.raises(DamagedStoreError, match=r"position/c/0/0/0 \(frames 0 to 1"):
            ds.position[0].compute()
    finally:
        for name, data in zip(names, sound, strict=True):
            server.put(name, data)


@pytest.mark.parametrize("kind", ["deleted", "truncated", "flipped"])
@pytest.mark.parametrize(
    "file", ["zarr.json", "cell/zarr.json", "cell/c/0/0/0", "atom_id/c/0", "manifest/blocks.jsonl"]
)
def test_a_damaged_small_object_is_an_error(
    server: S3, damaged: str, forget: Any, file: str, kind: str
) -> None:
    name = f"damaged.zarr/{file}"
    sound = server.get(name)
    bad = damages(sound)[kind]
    server.delete(name) if bad is None else server.put(name, bad)
    try:
        with pytest.raises(DamagedStoreError, match=re.escape(file)):
            mgdask.open_store(damaged, storage_options=server.options)
    finally:
        server.put(name, sound)
    assert mgdask.open_store(damaged).sizes["frame"] == N_FRAMES


def test_a_store_without_its_mark_is_not_finished(server: S3, damaged: str, forget: Any) -> None:
    name = "damaged.zarr/manifest/complete.json"
    sound = server.get(name)
    server.delete(name)
    try:
        with pytest.raises(StoreError, match=r"is not finished.*complete\.json is missing"):
            mgdask.open_store(damaged, storage_options=server.options)
        server.put(name, sound[:-9])
        with pytest.raises(DamagedStoreError, match=r"complete\.json is damaged"):
            mgdask.open_store(damaged)
    finally:
        server.put(name, sound)


def test_a_replaced_store_is_noticed(server: S3, tiny: str, glass_store: str, forget: Any) -> None:
    url = server.put_store(tiny, "replaced.zarr")
    plan = mgdask.plan(
        place_of(url, server.options), ORDER, out=Path(tiny).with_name("replaced-features.zarr")
    )
    server.put_store(glass_store, "replaced.zarr")
    with pytest.raises(StoreError, match="has changed since the plan was made"):
        mgdask.run(plan, **QUIET)


# Words


def test_what_cannot_be_opened_is_explained(server: S3, url: str, forget: Any) -> None:
    options = server.options
    for place in ("s3://glass/other.zarr", "s3://no-such-bucket/a.zarr"):
        with pytest.raises(StoreError, match=f"{place} is not a Zarr store"):
            mgdask.open_store(place, storage_options=options)
    with pytest.raises(StoreError, match="partial=True opens unfinished stores in folders only"):
        mgdask.open_store(url, partial=True, storage_options=options)
    with pytest.raises(StoreError, match=r"az:// is not supported.*s3://, gs://"):
        mgdask.open_store("az://container/a.zarr")
    with pytest.raises(StoreError, match="also has a user, a password, a query") as caught:
        mgdask.open_store(f"https://me:{SECRET}@host/a.zarr")
    assert SECRET not in str(caught.value)
    with pytest.raises(ParameterError, match="storage_options= is for URLs, not for the folder"):
        mgdask.open_store("a.zarr", storage_options=options)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, forget: Any) -> None:
    def lacking(*args: Any, **options: Any) -> FsspecStore:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(FsspecStore, "from_url", lacking)
    with pytest.raises(StoreError, match=r'Install it: pip install "mgdask\[remote\]"'):
        mgdask.open_store("s3://glass/a.zarr")
    with pytest.raises(StoreError, match=r"Install it: pip install gcsfs"):
        mgdask.open_store("gs://glass/a.zarr")


@pytest.mark.parametrize("kind", [PermissionError, OSError, RuntimeError])
def test_errors_of_a_server_show_no_credentials(kind: type[Exception]) -> None:
    options = {"secret": SECRET, "client_kwargs": {"headers": [f"Bearer {KEY}"]}, "n": 3}
    location = locate("s3://glass/refused.zarr", options)
    with pytest.raises(StoreError) as caught, explained_request(location, "zarr.json"):
        raise kind(f"Forbidden {SECRET} Bearer {KEY} at https://me:{SECRET}@h/a?sig={SECRET}")
    text = str(caught.value)
    assert "s3://glass/refused.zarr/zarr.json cannot be reached" in text
    assert "credentials (environment or storage_options=)" in text
    assert SECRET not in text
    assert KEY not in text
    assert SECRET not in repr([location, folder_of(location.place)])


def test_a_url_takes_its_options_along(server: S3, url: str, forget: Any) -> None:
    place = place_of(url, server.options)
    assert isinstance(place, Url)
    assert str(place) is place
    assert place == url
    data = pickle.dumps(place)
    forget()
    assert locate(str(pickle.loads(data))).options == server.options


def test_seals_are_read_with_few_requests(
    server: S3, url: str, tiny: str, forget: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_of(url, server.options)
    asked: list[int] = []
    read = remote.read_parts

    def counted(location: Any, key: str, parts: Any, size: int) -> list[bytes]:
        asked.append(sum(last - first for first, last in parts))
        return read(location, key, parts, size)

    monkeypatch.setattr(remote, "read_parts", counted)
    file = "position/c/0/0/0"
    assert read_seal(folder_of(place) / file, 2) == read_seal(Path(tiny) / file, 2)
    assert asked == [16 * 2 + 4, 2 * 4]  # the index, then a checksum of each chunk
    assert os.path.getsize(Path(tiny) / file) > sum(asked)
