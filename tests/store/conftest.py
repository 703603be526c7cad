"""A small trajectory on a local S3 server, for tests of stores elsewhere."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mgdask
from mgdask.store import layout
from mgdask.store.location import _KNOWN
from mgdask.store.remote import _OPENED
from tests.conftest import write_dump

SECRET = "hunter2hunter2"
KEY = "AKIAKEYOFTHETEST"
N_FRAMES, N_ATOMS, SIDE = 6, 64, 10.0


@dataclass
class S3:
    """A bucket on the local server."""

    client: Any
    endpoint: str
    bucket: str = "glass"

    @property
    def options(self) -> dict[str, Any]:
        """``storage_options`` of fsspec."""
        return {"endpoint_url": self.endpoint, "key": KEY, "secret": SECRET}

    def put_store(self, folder: str | Path, name: str) -> str:
        """Copy a store there; return its URL."""
        for where, _, files in os.walk(folder):
            for file in files:
                path = os.path.join(where, file)
                self.put(f"{name}/{os.path.relpath(path, folder)}", Path(path).read_bytes())
        return f"s3://{self.bucket}/{name}"

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of all objects."""
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix)
        return [each["Key"] for each in found.get("Contents", [])]

    def get(self, name: str) -> bytes:
        """Return an object."""
        data: bytes = self.client.get_object(Bucket=self.bucket, Key=name)["Body"].read()
        return data

    def put(self, name: str, data: bytes) -> None:
        """Write an object."""
        self.client.put_object(Bucket=self.bucket, Key=name, Body=data)

    def delete(self, name: str) -> None:
        """Remove an object."""
        self.client.delete_object(Bucket=self.bucket, Key=name)


@pytest.fixture(scope="session")
def server():
    """A bucket on a local S3 server."""
    boto3 = pytest.importorskip("boto3")
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        # nothing of this machine may take part
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        client = boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{port}",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )
        client.create_bucket(Bucket="glass")
        yield S3(client, f"http://{host}:{port}")
    running.stop()


@pytest.fixture
def forget():
    """Let this process know no place, as if it had just started."""
    _KNOWN.clear()
    _OPENED.clear()
    return _OPENED.clear


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> str:
    """Path of a trajectory of 6 frames of 64 atoms, in shards of 2 frames."""
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(17)
    grid = 2.5 * np.stack(np.meshgrid(*[range(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    frames = []
    for k in range(N_FRAMES):
        moved = (grid + rng.normal(0, 0.1, grid.shape)) % SIDE
        frames.append((10 * k, [(i + 1, i % 2 + 1, *r) for i, r in enumerate(moved.tolist())]))
    dump = write_dump(folder / "a.dump", frames)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "MIN_SHARD", 2 * 24 * N_ATOMS)
        patch.setattr(layout, "FRAMES_IN_CHUNK", 1)
        mgdask.ingest(dump, folder / "a.zarr", species=("Zr", "Cu"), timestep=0.001)
    return str(folder / "a.zarr")
