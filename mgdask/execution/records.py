"""The manifest record of a finished block, whatever the pipeline."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mgdask.execution.usage import peak_memory


def record(
    block: str, digest: str, wrote: Sequence[Mapping[str, Any]], began: float
) -> dict[str, Any]:
    """Return the manifest record of a finished block.

    Scratch files are left out of ``files``, because later checks would miss them.

    Parameters
    ----------
    block
        Name of the block.
    digest
        Digest of the block's parameters.
    wrote
        What ``write_shard`` returned for each file.
    began
        ``time.perf_counter()`` at the beginning of the task.

    Returns
    -------
    record
        JSON-compatible record.
    """
    return {
        "block": block,
        "digest": digest,
        "files": {w["file"]: w["size"] for w in wrote if w.get("lasting", True)},
        "checksum": {w["file"]: w["sha256"] for w in wrote},
        "seal": {w["file"]: w["seal"] for w in wrote},
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "seconds": round(time.perf_counter() - began, 4),
        "peak_memory": peak_memory(),
    }
