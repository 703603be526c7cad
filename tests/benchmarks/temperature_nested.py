"""Temperatures left out whole, with classes, lags and k selected with and without the temperature that is left out.

OMP_NUM_THREADS=1 nice python tests/benchmarks/temperature_nested.py --data 100.zarr 500.zarr 1000.zarr ... --out features/

The study selects classes, lags and k once, with all training runs. The temperature that is left out then takes part in
these choices. Here they are made again without it, for each temperature, and the errors of both ways are printed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from mgdask.cluster import local_client
from mgdask.studies.temperature.classes import representative_classes
from mgdask.studies.temperature.controls import validate_neighbors
from mgdask.studies.temperature.fitting import Training
from mgdask.studies.temperature.levels import level_codes
from mgdask.studies.temperature.prepare import compute_lags
from mgdask.studies.temperature.schemes import shift_of
from mgdask.studies.temperature.validation import FORMS
from mgdask.studies.temperature.weights import lag_weights


def selected(instances, max_neighbors, how, every=False):
    """What the study trains on, with classes (unless all are), lags and k selected from these runs."""
    chosen = instances
    if not every:
        found = representative_classes(instances, both_forms=False, **how)
        chosen = instances.of_temperatures(found.classes)
    labels = chosen.labels()
    weights = lag_weights(chosen.matrix(), labels.temperature, chosen.lags, **how)
    columns = tuple(np.flatnonzero(weights.kept).tolist())
    curve = validate_neighbors(Training(chosen, columns, {}, 10, 0), max_neighbors, **how)
    return Training(chosen, columns, dict(curve.best), 10, 0)


def predicted(training, instances, here):
    """T_ML of rows ``here`` by models of the other rows of the training classes, by form and model."""
    every, own = instances.labels(), training.instances.labels()
    keep = level_codes(own.temperature) >= 0
    for kelvin in np.unique(every.temperature[here]):
        keep &= own.temperature != kelvin
    found = {}
    for form in FORMS:
        for name, fit in training.fits(form).items():
            x, z = (training.matrix(name, "none", one) for one in (training.instances, instances))
            if form == "run":
                x, z = x - shift_of(own.temperature), z - shift_of(every.temperature)
            model = fit(x[keep], own.temperature[keep], own.species[keep])
            found[form, name] = model.predict(z[here], every.species[here])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--every-class", action="store_true", help="all temperatures are classes, none is selected"
    )
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    with local_client(args.workers, memory="2GiB") as client:
        how = {"client": client, "progress": False}
        instances = compute_lags(args.data, args.out, **how)
        temperature = instances.labels().temperature
        whole = selected(instances, 200, how, args.every_class)
        print(
            f"all: {len(whole.columns)} lags from {whole.lags[0]:g} ps, k {dict(whole.n_neighbors)}"
        )
        squares: dict = {}
        for kelvin in instances.temperatures[1:-1]:
            rest = instances.of_temperatures([t for t in instances.temperatures if t != kelvin])
            nested = selected(rest, 200, how, args.every_class)
            print(
                f"without {kelvin:g} K: classes {nested.instances.temperatures.tolist()}, "
                f"{len(nested.columns)} lags from {nested.lags[0]:g} ps, k {dict(nested.n_neighbors)}",
                flush=True,
            )
            here = np.flatnonzero(temperature == kelvin)
            for way, training in (("once", whole), ("nested", nested)):
                for key, values in predicted(training, instances, here).items():
                    squares.setdefault(key, {}).setdefault(way, []).append((values - kelvin) ** 2)
    rows = []
    print(f"{'RMSE in K':34} selected once   selected without")
    for (form, name), ways in squares.items():
        once, nested = (
            float(np.sqrt(np.concatenate(ways[way]).mean())) for way in ("once", "nested")
        )
        rows.append({"form": form, "model": name, "once": once, "nested": nested})
        print(f"{name:28} {form:5} {once:12.1f} {nested:12.1f}")
    (args.out / "temperature_nested.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
