"""Owner of the lock of a store: whether it is alive, and the messages that name it."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from mgdask.errors import StoreError
from mgdask.interruption import is_installed

LEASE = 300.0
"""Seconds without a touch after which an owner on another machine counts as dead."""
MAX_COMMAND = 100
"""Maximum length of the command that a message shows."""
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

Owner: TypeAlias = Mapping[str, Any]
"""Content of a lock file; empty if the file is damaged."""

held_here: set[str] = set()
"""Tokens of the locks that this process holds."""


def machine() -> dict[str, str]:
    """Return the machine and container of this process.

    Host names repeat (localhost), and containers of one machine do not see each other's
    processes.
    """
    identity = {"host": socket.gethostname()}
    with contextlib.suppress(OSError):
        identity["boot"] = (
            Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        )
        identity["processes"] = os.readlink("/proc/self/ns/pid")
    return identity


def this_process() -> dict[str, Any]:
    """Return what a lock file says of this process, without the token of the lock."""
    return {
        **machine(),
        "pid": os.getpid(),
        "began": start_time(os.getpid()),
        "user": _user(),
        "since": round(time.time(), 3),
        "uptime": _uptime(),
        "command": _command(),
    }


def read_owner(name: Path) -> dict[str, Any] | None:
    """Return the owner: empty if the file is damaged, None if there is no file."""
    try:
        owner = json.loads(name.read_bytes())
        return owner if isinstance(owner, dict) else {}
    except FileNotFoundError:
        return {} if name.is_symlink() else None
    except NotADirectoryError:  # inside a store that is a file
        return None
    except (OSError, ValueError, RecursionError):
        return {}


def is_same_machine(owner: Owner) -> bool:
    """Return whether an owner is on this machine and in this container."""
    here = machine()
    pid = owner.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return False
    return all(owner.get(key, here.get(key)) == here.get(key) for key in _MACHINE)


_MACHINE = ("host", "boot", "processes")


def is_alive(owner: Owner, age: float) -> bool:
    """Return whether the owner of a lock counts as alive.

    Parameters
    ----------
    owner
        Content of the lock file.
    age
        Time in s since the lock was touched, by the clock of its file system. It
        decides for owners on other machines, and if the file is damaged.
    """
    if not is_same_machine(owner):
        return age < LEASE
    pid = owner["pid"]
    if not _process_exists(pid) or owner.get("began") not in (None, start_time(pid)):
        return False
    # a lock of this process whose holder was interrupted between two steps
    return pid != os.getpid() or owner.get("token") in {None, *held_here}


def start_time(pid: int) -> str | None:
    """Return the start of a process in ticks since boot; None without ``/proc``."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else None


def _stat(pid: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` after the name; empty if unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return []


def _process_exists(pid: int) -> bool:
    state = _stat(pid)[:1]
    if state:
        return state[0] not in "ZX"  # killed, but not yet collected by its parent
    import psutil

    try:
        # not os.kill(pid, 0), which sends a signal on Windows
        return bool(psutil.pid_exists(pid))
    except OverflowError:
        return False


def _user() -> str:
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def _uptime() -> float | None:
    """Return the time in s since boot, which no change of the clock moves."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return None if clock is None else round(time.clock_gettime(clock), 3)


def _command() -> str:
    """Return the command line, or the name of a Python program, if known."""
    words = sys.argv
    if is_installed():
        text = shlex.join(["mgdask", *words[1:]])
    else:
        text = Path(words[0]).name if words and words[0] not in ("", "-c", "-") else ""
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= MAX_COMMAND else f"{text[: MAX_COMMAND - 3]}..."


# Messages


def being_written(owner: Owner, name: Path, store: Path, age: float | None = None) -> StoreError:
    """Return the error of a store that another process is writing.

    Parameters
    ----------
    owner
        Content of the lock file.
    name
        The lock file.
    store
        Store that the lock protects.
    age
        Time in s since the lock was touched. None if it is not known.
    """
    rest = LEASE if age is None else max(0.0, min(LEASE, LEASE - age))
    if not owner:
        return StoreError(
            f"{store} may be in use, because its lock file is empty or damaged: wait {rest:.0f} s, "
            f"after which the lock expires, or remove {name} if nothing writes to {store}"
        )
    pid, here = owner.get("pid"), is_same_machine(owner)
    advice = "wait for it, or choose another target (out=, --out)"
    if here and _stat(owner["pid"])[:1] == ["T"]:
        advice = f"it is suspended: continue it with kill -CONT {pid}, or end it with kill -9 {pid}"
    elif not here:
        advice += f"; if it is dead, its lock expires in {rest:.0f} s, or remove {name}"
    return StoreError(f"{store} is being written by {describe(owner)}: {advice}")


def describe(owner: Owner) -> str:
    """Describe the owner of a lock: process, user, machine, time, command."""
    pid, host = owner.get("pid", "unknown"), owner.get("host", "an unknown machine")
    here = is_same_machine(owner)
    user = f" of user {owner['user']}" if owner.get("user") else ""
    place = ", which is this one," if here and pid == os.getpid() else f"{user} on {host}"
    command = f" ({owner['command']})" if owner.get("command") else ""
    return f"process {pid}{place}{_since(owner, here)}{command}"


def _since(owner: Owner, here: bool) -> str:
    """Return when the owner took the lock: time of day, and how long ago."""
    since = owner.get("since")
    if not isinstance(since, int | float):
        return ""
    now, before = _uptime(), owner.get("uptime")
    if here and now is not None and isinstance(before, int | float):
        ago = now - before
        since = time.time() - ago  # as if the clock had never been set
    else:
        ago = time.time() - since
    try:
        form = "%H:%M:%S" if 0 <= ago < DAY else "%Y-%m-%d %H:%M"
        text = f" since {datetime.fromtimestamp(since).strftime(form)}"
    except (OverflowError, OSError, ValueError):
        return ""
    return text if ago < 0 else f"{text} ({_duration(ago)} ago)"


def _duration(seconds: float) -> str:
    for length, unit in ((DAY, "days"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
