"""The demo: the whole workflow on the shipped glass."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import xarray as xr

import mgdask
from mgdask import cluster, datasets
from mgdask.cluster.checks import check_local
from mgdask.execution.client import resolve_client
from mgdask.plot.environments import plot_environments
from mgdask.report.text import describe
from mgdask.store.writable import check_writable

SOAP_OPTIONS = "r_cut=5,n_max=8,l_max=8,sigma=0.5,rbf=polynomial,dtype=float32"
"""Options of the command line that give the same features."""


def run_demo(
    folder: Path, *, workers: int | None = None, say: Callable[[str], None] = print
) -> Path:
    """Ingest, inspect, plan, featurize and draw the shipped Zr44Cu56 glass.

    The stores are kept, so they can be explored. A second run continues from them.

    Parameters
    ----------
    folder
        Folder for the dump, the stores and the picture. It is created if missing.
    workers
        Maximum number of threads of this process. Default: one per available core.
    say
        Function that prints a text.

    Returns
    -------
    picture
        Path of the picture.

    Examples
    --------
    >>> run_demo(Path("mgdask-demo"), workers=2)  # doctest: +SKIP
    """
    started = time.perf_counter()
    check_local(workers, threads=1)
    check_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    dump, glass, out, picture = (
        folder / name
        for name in ("zrcu.lammpstrj.gz", "glass.zarr", "features.zarr", "environments.png")
    )
    shutil.copyfile(datasets.path("zrcu"), dump)
    with resolve_client(threads=workers or cluster.available_cores()) as client:
        say(f"1. ingest {dump}")
        if glass.exists():
            say(f"   {glass} exists already")
        else:
            report = mgdask.ingest(
                [str(dump)], str(glass), species=datasets.SPECIES["zrcu"], client=client
            )
            say(str(report))
        trajectory = mgdask.open_store(str(glass))
        say(f"\n2. inspect {glass}\n{describe(trajectory)}")
        soap = mgdask.SOAP(
            species=("Cu", "Zr"),
            r_cut=5.0,
            n_max=8,
            l_max=8,
            sigma=0.5,
            rbf="polynomial",
            dtype="float32",
        )
        plan = mgdask.plan(str(glass), [soap], out=str(out), memory="2GiB")
        # the run measures the cost anyway, so nothing is measured in advance
        say(f"\n3. plan\n{plan.describe(measure=False)}\n\n4. featurize")
        say(str(mgdask.run(plan, client)))
        features = mgdask.open_store(str(out))
        say(f"\n5. picture\n{features}")
        temperature = xr.DataArray(
            datasets.temperature("zrcu"),
            dims="frame",
            attrs={"long_name": "temperature", "units": "K"},
        )
        plot_environments(trajectory, features, picture, progress=temperature)
    say(f"""
Done in {time.perf_counter() - started:.0f} s. Everything is in {folder.resolve()}:
  {dump.name:20} the dump, 8 inherent structures of a Zr44Cu56 glass former, 1800 K to 1 K
  {glass.name:20} its trajectory store      mgdask.open_store("{glass}")
  {out.name:20} its SOAP features         mgdask.open_store("{out}")
  {picture.name:20} the picture

The same by hand:
  mgdask ingest {dump} --out {glass} --species Zr,Cu
  mgdask inspect {glass}
  mgdask plan {glass} --soap {SOAP_OPTIONS} --out {out} --memory 2GiB
  mgdask featurize {glass} --soap {SOAP_OPTIONS} --out {out} --workers 2""")
    return picture
