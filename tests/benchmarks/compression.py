"""Codecs for positions and features: ratio, writing and reading in MB/s, through sharded arrays as mgdask writes them.

    python tests/benchmarks/compression.py

The outcome chooses ``mgdask.store.shards.COMPRESSION``. Medians of 3 rounds in one process.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import zarr
from soap import GLASS, OPTIONS
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

import mgdask
from mgdask.readers.indexing import take_inventory
from mgdask.readers.window import read_window

CODECS = {
    "none": [],
    "zstd 1": [ZstdCodec(level=1)],
    "blosc zstd 1 shuffle": [BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")],
    "blosc zstd 1 bitshuffle": [BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle")],
    "blosc lz4 shuffle": [BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")],
    "blosc lz4 bitshuffle": [BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")],
}


def measure(data, chunks, codecs):
    rounds = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as name:
            array = zarr.create_array(
                name,
                shape=data.shape,
                dtype=data.dtype,
                chunks=chunks,
                shards=data.shape,
                compressors=[*codecs, Crc32cCodec()],
            )
            began = time.perf_counter()
            array[...] = data
            wrote = time.perf_counter()
            array[...]
            size = sum(p.stat().st_size for p in Path(name).rglob("*") if p.is_file())
            rounds.append(
                (
                    data.nbytes / size,
                    data.nbytes / 1e6 / (wrote - began),
                    data.nbytes / 1e6 / (time.perf_counter() - wrote),
                )
            )
    return np.median(rounds, axis=0)


if __name__ == "__main__":
    inventory = take_inventory(GLASS, species={1: "Zr", 2: "Cu"})
    frames = np.stack([frame["position"] for frame in read_window(inventory)])
    soap = mgdask.SOAP(**OPTIONS, rbf="polynomial")
    feature = soap.compute(frames[-1], inventory.cell[-1], inventory.species)
    cases = {
        "positions float64": (np.tile(frames, (20, 1, 1)), (8, 2000, 3)),
        "SOAP float64": (feature[None, :1900], (1, 19, 3289)),
        "SOAP float32": (feature[None, :1900].astype(np.float32), (1, 38, 3289)),
    }
    for name, (data, chunks) in cases.items():
        print(
            f"{name + f', {data.nbytes / 1e6:.0f} MB':30}{'ratio':>8}{'write MB/s':>12}{'read MB/s':>12}"
        )
        for codec, codecs in CODECS.items():
            ratio, write, read = measure(data, chunks, codecs)
            print(f"  {codec:28}{ratio:8.2f}{write:12.0f}{read:12.0f}")
