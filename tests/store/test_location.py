"""Places of stores: paths, file:// and the refusal of everything else."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

import mgdask
from mgdask.errors import StoreError
from mgdask.learn.predict import predict
from mgdask.store.location import local_path, scheme_of, shown
from mgdask.store.writable import check_writable
from mgdask.studies.softness import SoftnessOptions


@pytest.mark.parametrize(
    ("place", "scheme"),
    [
        ("glass.zarr", ""),
        ("/data/glass.zarr", ""),
        ("a:b/c.zarr", ""),
        ("C://data", ""),
        ("file:///data/a", "file"),
        ("S3://bucket/a", "s3"),
        (Path("memory://q.zarr"), "memory"),
        (Path("s3://bucket/a"), "s3"),
        ("ftp://host/a", "ftp"),
        (7, ""),
    ],
)
def test_schemes(place: object, scheme: str) -> None:
    assert scheme_of(place) == scheme


def test_messages_show_no_credentials() -> None:
    url = "https://me:hunter2@host:9000/a/b.zarr?X-Amz-Signature=hunter2#hunter2"
    assert shown(url) == "https://host:9000/a/b.zarr"
    with pytest.raises(StoreError) as caught:
        local_path(url, "mgdask verify reads")
    assert "hunter2" not in str(caught.value)
    assert "https://host:9000/a/b.zarr" in str(caught.value)


def test_file_urls_are_paths(tmp_path: Path) -> None:
    odd = tmp_path / "a glass.zarr"
    assert local_path(f"file://{quote(str(odd))}", "") == odd
    assert local_path(f"file://localhost{quote(str(odd))}", "") == odd
    assert local_path(Path(f"file://{tmp_path}"), "") == tmp_path
    with pytest.raises(StoreError, match=r"names the machine 'data'.*three slashes"):
        local_path("file://data/glass.zarr", "")


HERE = "memory://q.zarr"
ORDER = mgdask.Coordination(cutoff=3.0)

CALLS = {
    "ingest out": lambda store, dump: mgdask.ingest(dump, HERE),
    "ingest Path": lambda store, dump: mgdask.ingest(dump, Path(HERE)),
    "ingest in": lambda store, dump: mgdask.ingest("s3://bucket/a.dump", "q.zarr"),
    "attach": lambda store, dump: mgdask.attach(HERE, temperature=300.0),
    "unwrap in": lambda store, dump: mgdask.unwrap(HERE, "q.zarr"),
    "unwrap out": lambda store, dump: mgdask.unwrap(store, HERE),
    "rdf": lambda store, dump: mgdask.partial_rdf(HERE),
    "verify": lambda store, dump: mgdask.verify(HERE),
    "dynamics": lambda store, dump: mgdask.mean_squared_displacement(HERE),
    "dictionary out": lambda store, dump: mgdask.plan_dictionary(store, ORDER, out=HERE),
    "dictionary in": lambda store, dump: mgdask.plan_dictionary([HERE], ORDER, out="q.zarr"),
    "read_dictionary": lambda store, dump: mgdask.read_dictionary(HERE),
    "predict": lambda store, dump: predict([], HERE, "q.zarr"),
    "predict out": lambda store, dump: predict([], store, Path(HERE)),
    "study": lambda store, dump: SoftnessOptions(out=HERE, train=store, test=store),
    "study in": lambda store, dump: SoftnessOptions(out="q", train=Path(HERE), test=store),
    "target": lambda store, dump: check_writable(HERE),
    "gcs": lambda store, dump: mgdask.open_store("gcs+zip://bucket/a.zarr"),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_is_not_supported_is_named_and_makes_no_folder(
    name: str, glass_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump = tmp_path / "a.dump"
    dump.write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError) as caught:
        CALLS[name](glass_store, dump)
    assert "://" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.dump"]


def test_file_urls_work_everywhere(glass_store: str, tmp_path: Path) -> None:
    url = f"file://{glass_store}"
    assert mgdask.open_store(url).position.shape == mgdask.open_store(glass_store).position.shape
    out = tmp_path / "f.zarr"
    plan = mgdask.plan(url, ORDER, out=f"file://{out}", frames=[0])
    assert (plan.store, plan.out) == (glass_store, str(out))
    assert mgdask.verify(url).ok
    assert SoftnessOptions(out=f"file://{out}", train=url, test=url).out == out
