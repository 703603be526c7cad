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


@pytest.mark.parametrize("mode", [0o700, 0o1777, 0o777])
def test_a_folder_in_which_others_can_rename_is_warned_about_once(tmp_path, caplog, mode):
    tmp_path.chmod(mode)
    for _ in range(2):
        with dask.config.set({"temporary-directory": str(tmp_path)}), scratch_folder():
            pass
    expected = f"run code as you: {tmp_path} can be written by others: chmod go-w {tmp_path}; or"
    assert [expected in line for line in caplog.messages] == [True] * (mode == 0o777)
