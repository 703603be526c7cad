"""Made-up views for the figures of the temperature study: few runs and atoms, known numbers."""

from __future__ import annotations

import numpy as np

from mgdask.analysis.groups import composition, coordination_change, extreme_groups, polyhedra
from mgdask.analysis.order import cargill_spaepen
from mgdask.report.json import to_plain
from mgdask.studies.temperature import views

SPECIES = ("Cu", "Zr", "Ni", "Ti", "Pd")
NUMBERS = (29, 40, 28, 22, 46)
RUNS = np.array([100.0, 500.0, 800.0, 1000.0, 1200.0, 1300.0, 2000.0])
LAGS = np.geomspace(0.01, 200.0, 12)


def thermometers():
    shift = np.arange(6.0)[:, None] - 2.5
    return [
        views.Thermometer(
            form,
            "k nearest neighbors",
            RUNS,
            RUNS == 800,
            (*SPECIES, "all"),
            RUNS * slope + rise + 20 * shift,
            np.full((6, 7), 90.0) + 0.02 * RUNS,
        )
        for form, slope, rise in (("run", 0.7, 250.0), ("none", 0.9, 90.0))
    ]


def put_in():
    at = np.array([100.0, 300.0, 800.0, 1100.0, 2000.0])
    mean = 600.0 + 0.5 * RUNS[:, None] - 0.25 * at
    return views.PutIn(at, RUNS, mean, np.where(RUNS > 1500, np.nan, (600 + 0.5 * RUNS) / 1.25))


def clusters(n=7):
    t = RUNS if n == 7 else 100.0 * np.arange(1, n + 1)
    count = (37 * np.arange(1, n + 1)) % 101
    return views.Clusters(
        t, count, count > 30, 25, 3.6, 160, "Classes have at least 31 clusters.", 40.0
    )


def weights():
    values = 0.1 + 0.05 * np.tanh(np.log(LAGS / 5.0))
    kept = LAGS >= 5.0
    return views.Weights(
        LAGS,
        {"literal Eq. (1)": values, "standard": 3 * values},
        kept,
        "The knee is found by two lines.",
    )


def neighbor_curve():
    k = np.arange(1, 201)
    rmse = {"run": 210 + 90 / k + 0.05 * k, "none": 140 + 60 / k + 0.03 * k}
    return views.NeighborCurve(k, rmse, {f: int(k[v.argmin()]) for f, v in rmse.items()}, "10-fold")


def averaging_curve():
    rmse = np.array([151.0, 120.0, 95.0, 80.0])
    return views.AveragingCurve(np.array([0.0, 3.0, 5.0, 8.0]), rmse, rmse - 4, rmse + 4)


MODELS = {
    "constant": (435.0, 435.0),
    "one number": (240.0, 181.0),
    "ridge": (223.0, 165.0),
    "LightGBM": (204.0, 151.0),
    "k nearest neighbors": (215.0, 167.0),
    "averaged over neighbors": (118.0, 92.0),
}


def validation_rows(shrink=1.0):
    return [
        {
            "model": model,
            "form": "" if model == "constant" else form,
            "rmse": shrink * rmse,
            "low": shrink * rmse - 5,
            "high": shrink * rmse + 6,
            "n_train": 1200,
            "n_test": 600,
        }
        for model, pair in MODELS.items()
        for form, rmse in zip(("run", "none"), pair, strict=True)
        if model != "constant" or form == "run"
    ]


def control_rows():
    return [
        {
            "model": model,
            "form": form,
            "explained": value,
            "low": value - 0.01,
            "high": value + 0.01,
        }
        for model, pair in {"ridge": (0.14, 0.0), "LightGBM": (0.3, -0.01)}.items()
        for form, value in zip(("run", "none"), pair, strict=True)
    ]


def distributions():
    edges = np.linspace(0.0, 1500.0, 61)
    middle = 0.5 * (edges[1:] + edges[:-1])
    found = []
    for form, center in (("run", 300.0), ("none", 180.0)):
        for name, tail in (("creep_100", 0.1), ("100", 0.0)):
            peak = (
                (1 - tail)
                * np.exp(-0.5 * ((middle - center) / 60) ** 2)
                / (60 * np.sqrt(2 * np.pi))
            )
            excess = tail * np.where(middle > center, np.exp(-(middle - center) / 200) / 200, 0.0)
            found.append(
                views.Distribution(
                    name,
                    form,
                    edges,
                    peak + excess,
                    center,
                    60.0,
                    1 - tail,
                    tail,
                    0.5 * tail,
                    control=tail == 0.0,
                )
            )
    return found


def bounds(value):
    return {"value": value, "low": value - 0.01, "high": value + 0.02}


def excess_rows():
    return [
        {
            "name": "creep_100",
            "form": form,
            "control": "100",
            "threshold": 410.0,
            "share": bounds(0.12),
            "excess": bounds(0.11),
            "moved": bounds(value),
            "chance": 0.02,
        }
        for form, value in (("run", 0.3), ("none", 0.25))
    ]


def model_rows():
    return [
        {
            "name": one.name,
            "model": model,
            "form": one.form,
            "mean": 300.0,
            "quantile": [0.5, 0.99],
            "t_ml": [280.0, 900.0],
            "correlation": one.to_json(),
        }
        for one, model in zip(lag_correlations(), ("k nearest neighbors", "ours"), strict=True)
    ]


def creep_curves():
    t = np.linspace(0.0, 200.0, 41)
    return [
        views.CreepCurve(
            "low",
            t,
            0.02 + 1e-5 * t + 0.004 * (1 - np.exp(-t / 20)),
            2.2,
            1e-5,
            1e-6,
            0.024,
            (100.0, 200.0),
        ),
        views.CreepCurve("high", t, 0.02 + 0.01 * np.log1p(t / 10), 2.4, reason="primary creep"),
    ]


def stress_strain():
    x = np.linspace(0.0, 0.2, 50)
    return [views.StressStrain("tension", x, 40 * x * np.exp(-x / 0.08))]


def lag_correlations():
    lag = np.array([5.0, 20.0, 50.0, 100.0, 200.0])
    return [
        views.LagCorrelation(
            "creep_100", form, lag, np.array(value), np.array(value) - 0.03, np.array(value) + 0.03
        )
        for form, value in (
            ("run", [0.56, 0.64, 0.63, 0.62, 0.41]),
            ("none", [0.54, 0.59, 0.58, 0.51, 0.31]),
        )
    ]


def slab_map(n=400, length=18.0):
    rng = np.random.default_rng(3)
    position = rng.uniform(0.0, length, (n, 3))
    species = np.array(NUMBERS)[rng.integers(0, 5, n)]
    hot = np.exp(-((position - 9.0) ** 2).sum(1) / 30.0)
    lag = np.array([5.0, 20.0, 50.0, 100.0, 200.0])
    d2min = hot * lag[:, None] ** 0.5 + 0.1 * rng.exponential(size=(5, n))
    cell, ids = length * np.eye(3), rng.permutation(n) + 1
    return views.SlabMap(
        "creep_100",
        "none",
        position,
        species,
        ids,
        cell,
        np.zeros(3),
        150.0 + 900.0 * hot,
        lag,
        d2min,
    )


def structure(n=3000):
    rng = np.random.default_rng(5)
    z = np.array(NUMBERS)[rng.integers(0, 5, n)]
    kinds = np.array(
        [
            [0, 0, 12, 0, 0],
            [0, 2, 8, 2, 0],
            [0, 3, 6, 3, 0],
            [0, 1, 10, 2, 0],
            [0, 2, 8, 1, 0],
            [0, 3, 6, 4, 0],
            [1, 2, 5, 4, 1],
            [0, 4, 4, 4, 0],
            [0, 1, 10, 4, 0],
            [0, 3, 7, 2, 0],
            [1, 3, 4, 3, 0],
            [0, 2, 8, 4, 0],
            [1, 2, 6, 2, 0],
            [0, 4, 5, 3, 0],
        ]
    )
    index = kinds[np.minimum(rng.geometric(0.15, n) - 1, 13)]
    score = rng.normal(size=n) - 0.12 * index[:, 2] + 0.2 * (z == 46)
    cold, hot = extreme_groups(score, 0.1)
    groups = {"liquid-like": hot, "solid-like": cold}
    counts = rng.poisson(2.5, (n, 5)) + (z[:, None] == 29) * np.array([0, 1, 0, 0, 0])
    return views.Structure(
        "creep_100",
        int(hot.sum()),
        0.1,
        *(
            to_plain(found)
            for found in (
                polyhedra(index, groups, top=10, ranked_by="groups"),
                composition(z, groups),
                coordination_change(counts.sum(1) - 0.3 * hot, z, groups),
                cargill_spaepen(counts, z, SPECIES, groups),
            )
        ),
    )


def pair_distances():
    r = np.linspace(1.5, 8.0, 131)
    pairs = [f"{a}-{b}" for k, a in enumerate(SPECIES) for b in SPECIES[k:]]
    g = {
        pair: np.clip(1 + 2 * np.exp(-0.5 * ((r - 2.4 - 0.04 * k) / 0.2) ** 2) - (r < 2.2), 0, None)
        for k, pair in enumerate(pairs)
    }
    cutoff = {pair: 3.4 + 0.04 * k if k else np.nan for k, pair in enumerate(pairs)}
    return views.PairDistances(r, g, cutoff)


def every_figure():
    """Return what draws each figure, by the name of its file."""
    from mgdask.studies.temperature import figures as f

    schemes = {"temperatures left out": validation_rows(), "halves of atoms": validation_rows(0.8)}
    return {
        "thermometer": lambda path: f.draw_thermometer(thermometers(), path),
        "validation": lambda path: f.draw_validation(schemes, path),
        "put_in": lambda path: f.draw_put_in(put_in(), path),
        "control": lambda path: f.draw_control(control_rows(), path),
        "averaging": lambda path: f.draw_averaging(averaging_curve(), path),
        "creep": lambda path: f.draw_creep(creep_curves(), path, stress_strain()),
        "distribution": lambda path: f.draw_distributions(distributions(), path, 700.0),
        "maps": lambda path: f.draw_maps(slab_map(), path),
        "correlation": lambda path: f.draw_lag_correlations(lag_correlations(), path),
        "polyhedra": lambda path: f.draw_polyhedra(structure(), path),
        "composition": lambda path: f.draw_composition(structure(), path),
        "classes": lambda path: f.draw_classes(clusters(20), path),
        "weights": lambda path: f.draw_weights(weights(), path),
        "k_curve": lambda path: f.draw_neighbor_curve(neighbor_curve(), path),
        "rdf": lambda path: f.draw_pair_distances(pair_distances(), path),
    }


def report_data(**changes):
    """Return the content of a made-up report, with every figure."""
    from dataclasses import replace

    from mgdask.studies.temperature.report_data import ReportData

    rows = [{"scheme": "halves of atoms", **row} for row in validation_rows(0.8)]
    rows += [{"scheme": "temperatures left out", **row} for row in validation_rows()]
    data = ReportData(
        rows=rows,
        unseen="temperatures left out",
        thermometers=thermometers(),
        put_in=put_in(),
        control=control_rows(),
        averaging=averaging_curve(),
        clusters=clusters(),
        weights=weights(),
        neighbor_curve=neighbor_curve(),
        distributions=distributions(),
        creep=creep_curves(),
        stress_strain=stress_strain(),
        correlations=lag_correlations(),
        slab_maps=[slab_map()],
        structures=[structure()],
        distances=pair_distances(),
        excess=excess_rows(),
        models=model_rows(),
        application_notes=["creep_100: some atoms share their T_ML."],
        volume={"value": 31.0, "error": 4.0, "note": ""},
        glass_temperature=700.0,
    )
    return replace(data, **changes)


def make_folder(folder):
    """Write the files of a study, made up of the views above; return the folder."""
    import json

    from mgdask.studies.temperature.classes import ClusterStatistics
    from mgdask.studies.temperature.weights import LagWeights

    t, classes = RUNS, RUNS[RUNS != 500]
    counts = np.arange(1, 8)
    statistics = ClusterStatistics(
        "none", t, 700, 25, 3.6, 160, 0, counts, counts, t / 2000, counts, t / 2000, 4.0, 0.4, 0.2,
        np.eye(7), np.arange(7), classes, classes, verdict="Six groups were found.",
    )  # fmt: skip
    values = weights().weight["standard"]
    lag_weights = LagWeights(
        "none", LAGS, {"per-class": values, "literal": values}, {}, {}, {}, LAGS[LAGS >= 5], False,
        700, classes, 50, verdict="The knee is at 5 ps.",
    )  # fmt: skip
    data = report_data()
    parts = {
        "classes": statistics.to_json(),
        "weights": lag_weights.to_json(),
        "k_curve": data.neighbor_curve.to_json(),
        "validation": {
            "rows": data.rows,
            "thermometers": [one.to_json() for one in data.thermometers],
            "put_in": data.put_in.to_json(),
            "control": data.control,
            "averaging": data.averaging.to_json(),
        },
    }
    for name in ("creep_100", "100"):
        parts[f"application_{name}"] = {
            "distributions": [one.to_json() for one in data.distributions if one.name == name]
        }
    parts["application_creep_100"] |= {
        "creep": [one.to_json() for one in data.creep],
        "stress_strain": [one.to_json() for one in data.stress_strain],
        "correlations": [one.to_json() for one in data.correlations],
        "map": data.slab_maps[0].to_json(),
        "structure": data.structures[0].to_json(),
        "distances": data.distances.to_json(),
        "excess": data.excess,
        "models": data.models,
        "notes": data.application_notes,
        "volume": data.volume,
        "glass_temperature": data.glass_temperature,
    }
    for name, plain in parts.items():
        (folder / f"{name}.json").write_text(json.dumps(plain, allow_nan=False))
    return folder
