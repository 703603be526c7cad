"""From two dumps of 8788 atoms to the report of a softness study, stage by stage; bound it to two cores with taskset.

taskset -c 0,1 python tests/benchmarks/softness.py --data ../shared/data/cu65zr35_compression
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import mgdask
from mgdask.cluster import available_cores, local_client
from mgdask.studies.softness.report import softness_report
from mgdask.studies.softness.workflow import study_softness
from mgdask.studies.timing import Stages


def main() -> None:
    """Ingest, label, describe, learn, report; a table of seconds."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder with glass_1.lammpstrj.gz and glass_2.lammpstrj.gz",
    )
    options.add_argument("--out", type=Path, help="folder to keep the results in")
    chosen = options.parse_args()
    folder = chosen.out or Path(tempfile.mkdtemp())
    stages, stores = Stages(), [folder / f"glass_{k}.zarr" for k in (1, 2)]
    with stages("workers start"):
        workers = local_client()
        client = workers.__enter__()
    try:
        with stages("ingest"):
            for store in stores:
                dump = chosen.data / f"{store.stem}.lammpstrj.gz"
                mgdask.ingest(
                    [str(dump)],
                    store,
                    species=("Cu", "Zr"),
                    timestep=0.002,
                    client=client,
                    overwrite=True,
                )
        found, glass = study_softness(
            stores[:1], stores[1], folder / "out", client=client, stages=stages, progress=False
        )
        with stages("report"):
            softness_report(found, glass, folder / "out" / "softness")
    finally:
        workers.__exit__(None, None, None)
    print(f"{available_cores()} cores\n{found}\n{stages}")


if __name__ == "__main__":
    main()
