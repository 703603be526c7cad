"""Artifacts against damage of every byte of their files."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from contextlib import nullcontext

import numpy as np
import pytest

from mgdask.errors import StoreError
from mgdask.store.artifacts import read_artifact, write_artifact
from mgdask.store.failures import StorageFullError

CONTENT = {"columns": ("a", "b"), "rate": 0.1, "by": {1: float("nan")}}
WORDS = {"what": "model", "remedy": "train it again"}


def test_what_is_read_is_what_was_written(tmp_path):
    (tmp_path / "large.bin").write_bytes(b"of another library")
    write_artifact(
        tmp_path / "card.json", CONTENT, {"trees.txt": b"tree\n"}, existing=["large.bin"]
    )
    found = read_artifact(tmp_path / "card.json", "trees.txt", **WORDS)
    assert found.files == {"trees.txt": b"tree\n", "large.bin": b"of another library"}
    assert found.content["columns"] == ["a", "b"]
    assert found.content["rate"] == 0.1
    assert np.isnan(found.content["by"]["1"])
    # as sha256sum prints it
    stored = json.loads((tmp_path / "card.json").read_text())["sha256"]
    assert stored["trees.txt"] == hashlib.sha256(b"tree\n").hexdigest()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["card.json", "large.bin", "trees.txt"]


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path, rng):
    path = tmp_path / "card.json"
    write_artifact(path, CONTENT, {"trees.txt": bytes(range(256))})
    whole = read_artifact(path, **WORDS)
    for file in (path, tmp_path / "trees.txt"):
        good = file.read_bytes()
        places = [(k, 1 << int(rng.integers(8))) for k in range(len(good))]
        for damaged in (
            *(bytes([*good[:k], good[k] ^ bit, *good[k + 1 :]]) for k, bit in places),
            *(good[: int(k)] for k in rng.integers(0, len(good), 20)),
            good + b"more",
        ):
            file.write_bytes(damaged)
            only_space = file == path and re.split(rb"[ \t\n\r]+", damaged) == good.split()
            with nullcontext() if only_space else pytest.raises(StoreError, match="train it again"):
                assert repr(read_artifact(path, **WORDS)) == repr(whole)
        file.write_bytes(good)


def test_an_artifact_without_checksums_is_read_with_a_warning(tmp_path, caplog):
    (tmp_path / "card.json").write_text('{"a": 1}')
    (tmp_path / "trees.txt").write_bytes(b"tree")
    with caplog.at_level(logging.WARNING, "mgdask"):
        found = read_artifact(tmp_path / "card.json", "trees.txt", **WORDS, renewal="save()")
    assert found.content == {"a": 1}
    assert found.files == {"trees.txt": b"tree"}
    assert "without checksums: damage cannot be detected; save() adds them" in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "it holds a list"),
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ('{"sha256": 3}', "differs"),
        ('{"sha256": {}}', "differs"),
        ('{"sha256": {"../secret": ""}}', "names no files beside it"),
    ],
)
def test_other_files_are_refused(tmp_path, text, words):
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(StoreError, match=f"the model in .* is damaged, in card.json: .*{words}"):
        read_artifact(tmp_path / "card.json", **WORDS)


def test_a_missing_file_and_a_full_disk_are_named(tmp_path, monkeypatch):
    with pytest.raises(StoreError, match=r"holds no model: card.json cannot be read \(No such"):
        read_artifact(tmp_path / "card.json", **WORDS)
    write_artifact(tmp_path / "card.json", CONTENT, {"trees.txt": b"tree"})
    (tmp_path / "trees.txt").unlink()
    with pytest.raises(StoreError, match=r"trees.txt cannot be read"):
        read_artifact(tmp_path / "card.json", **WORDS)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageFullError, match="is full"):
        write_artifact(tmp_path / "card.json", CONTENT)
