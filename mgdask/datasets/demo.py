"""The main job from end to end on a real glass that is shipped with the package."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import xarray as xr

import mgdask
from mgdask import cluster
from mgdask.plot.environments import plot_environments
from mgdask.report.text import describe

SOAP_OPTIONS = "r_cut=5,n_max=8,l_max=8,sigma=0.5,rbf=polynomial,dtype=float32"


def run_demo(
    folder: Path, *, workers: int | None = None, say: Callable[[str], None] = print
) -> Path:
    """Ingest, inspect, plan, featurize and draw the shipped Zr44Cu56 glass in ``folder``; returns the picture's path.

    Eight inherent structures of 2000 atoms from 1800 K down to 1 K. The stores are kept, so that they can be explored,
    and a second demo goes on from what the first one left.
    """
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    dump, glass, out, picture = (
        folder / name
        for name in ("zrcu.lammpstrj.gz", "glass.zarr", "features.zarr", "environments.png")
    )
    data = files("mgdask.datasets") / "data"
    with as_file(data / "zrcu.lammpstrj.gz") as shipped:
        shutil.copyfile(shipped, dump)
    temperature = np.loadtxt(
        (data / "zrcu.temperature.txt").read_text(encoding="utf-8").splitlines()
    )

    with cluster.local_client(workers) as client:
        say(f"1. ingest {dump}")
        if glass.exists():
            say(f"   {glass} is there already")
        else:
            say(
                str(
                    mgdask.ingest(
                        [str(dump)], str(glass), species={1: "Zr", 2: "Cu"}, client=client
                    )
                )
            )
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
        say(f"\n3. plan\n{plan}\n\n4. featurize")
        say(str(mgdask.run(plan, client)))
        features = mgdask.open_store(str(out))
        say(f"\n5. picture\n{features}")
        label = xr.DataArray(
            temperature, dims="frame", attrs={"long_name": "temperature", "units": "K"}
        )
        plot_environments(trajectory, features, picture, progress=label)

    say(f"""
Done in {time.perf_counter() - started:.0f} s. Everything lies in {folder.resolve()}:
  {dump.name:20} the dump, 8 inherent structures of a Zr44Cu56 glass former from 1800 K to 1 K
  {glass.name:20} its trajectory store      mgdask.open_store("{glass}")
  {out.name:20} its SOAP features         mgdask.open_store("{out}")
  {picture.name:20} the picture

The same by hand:
  mgdask ingest {dump} --out {glass} --species Zr,Cu
  mgdask inspect {glass}
  mgdask plan {glass} --soap {SOAP_OPTIONS} --out {out} --memory 2GiB
  mgdask featurize {glass} --soap {SOAP_OPTIONS} --out {out} --workers 2""")
    return picture
