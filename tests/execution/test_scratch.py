"""Folders of spilled data: those of dead processes of this machine are removed."""

from __future__ import annotations

import socket

import dask
import pytest

from mgdask.execution.scratch import OWNER, PREFIX, scratch_folder


@pytest.mark.parametrize(("host", "stays"), [(socket.gethostname(), False), ("node7", True)])
def test_a_folder_without_a_lock_is_removed_on_its_own_machine(tmp_path, host, stays):
    dead = tmp_path / f"{PREFIX}dead"
    dead.mkdir()
    (dead / OWNER).write_text(host)
    with dask.config.set({"temporary-directory": str(tmp_path)}), scratch_folder() as folder:
        assert dead.exists() == stays
        with scratch_folder():  # the first one lives
            assert sorted(p.name for p in tmp_path.glob(f"{PREFIX}*/{OWNER}")) == [OWNER] * (
                2 + stays
            )
        assert (tmp_path / folder / OWNER).read_text() == socket.gethostname()
    assert len(list(tmp_path.iterdir())) == stays
