"""All models of the temperature on real runs, with temperatures left out whole: one table.

python tests/benchmarks/temperature_models.py --data 100.zarr 500.zarr 1000.zarr ... --out features/
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path

import numpy as np

from mgdask.studies.temperature.baselines import fit_boosted, fit_constant, fit_isotonic, fit_ridge
from mgdask.studies.temperature.likelihood import fit_likelihood
from mgdask.studies.temperature.model import fit_nearest
from mgdask.studies.temperature.neighborhood import averaged_over_neighbors, configuration
from mgdask.studies.temperature.prepare import compute_lags
from mgdask.studies.temperature.validation import cross_predicted, score, temperatures_left_out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shortest", type=float, default=5.0, help="shortest lag in ps")
    parser.add_argument("--resamples", type=int, default=300)
    args = parser.parse_args()
    instances = compute_lags(args.data, args.out, progress=False)
    labels = instances.labels()
    averages = instances.averaged()
    assert averages is not None, "these runs have too few origins"
    columns = np.flatnonzero(instances.lags >= args.shortest)
    features = {
        "one origin": (instances.matrix(columns=columns), instances.lags[columns]),
        "averaged over origins": (averages.matrix(), averages.lags),
    }
    inner = temperatures_left_out(labels.temperature)
    outer = temperatures_left_out(labels.temperature, ends=True)
    rows = []

    def show(what, form, name, fit, x):
        started = time.process_time()
        predicted = cross_predicted(fit, x, labels.temperature, labels.species, inner + outer)
        seconds = time.process_time() - started
        found = {}
        for scheme, splits in (("left out", inner), ("extrapolation", outer)):
            only = np.full(len(predicted), np.nan)
            for split in splits:
                only[split.test] = predicted[split.test]
            found[scheme] = score(
                only,
                labels.temperature,
                scheme=scheme,
                form=form,
                model=name,
                n_train=len(inner[0].train),
                n_resamples=args.resamples,
            )
        one, ends = found["left out"], found["extrapolation"]
        each = " ".join(f"{t.temperature:g}:{t.rmse:.0f}({t.mean:.0f})" for t in one.temperatures)
        beyond = " ".join(
            f"{t.temperature:g}:{t.rmse:.0f}({t.mean:.0f})" for t in ends.temperatures
        )
        print(
            f"{what:22s} {form:5s} {name:26s} {one.rmse:6.1f} [{one.low:.0f}, {one.high:.0f}]  "
            f"{each} | {beyond} | {seconds:.1f} s",
            flush=True,
        )
        rows.append({"features": what, **one.to_json()})
        rows.append({"features": what, **ends.to_json()})

    print("RMSE in K (mean T_ML); the first numbers are pooled over interior temperatures left out")
    for what, (x, lags) in features.items():
        print(f"{what}: lags {', '.join(f'{lag:g}' for lag in lags)} ps")
        fits = {
            "constant": fit_constant,
            "one number (isotonic)": fit_isotonic,
            "ridge": fit_ridge,
            "LightGBM": fit_boosted,
            "k nearest neighbors": partial(fit_nearest, n_neighbors=50),
            "ours": partial(fit_likelihood, lags=lags),
        }
        for form, matrix in (("run", x - np.log10(labels.temperature)[:, None]), ("none", x)):
            for name, fit in fits.items():
                show(what, form, name, fit, matrix)
    x, lags = features["averaged over origins"]
    for scale in ("linear", "square root", "logarithmic"):
        show(
            "averaged over origins", "none", f"ours, {scale}",
            partial(fit_likelihood, lags=lags, scale=scale), x,
        )  # fmt: skip
    for radius in (3.0, 4.0, 6.0, 8.0):
        parts = []
        for k, run in enumerate(instances.runs):
            parts.append(averaged_over_neighbors(x[labels.run == k], *configuration(run), radius))
        show(
            "averaged over origins", "none", f"ours, neighbors {radius:g} Å",
            partial(fit_likelihood, lags=lags), np.concatenate(parts),
        )  # fmt: skip
    (args.out / "temperature_models.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
