"""The folder of a barcode study as the report finds it, made up: few samples, known numbers."""

from __future__ import annotations

import csv
import json

import numpy as np

MODELS = {
    "mean": (6.1, 1),
    "ridge on fractions": (4.0, 300),
    "ridge on mean SOAP": (0.55, 1764),
    "ridge on mean Chebyshev": (0.54, 120),
    "boosted trees, all ULEs": (5.4, 300),
    "boosted trees, 40 ULEs": (5.0, 12),
    "soft assignment, kernel ridge": (0.2, None),
    "smooth elements": (0.9, 12),
}
"""Error in eV per sample, and numbers per sample, of each model."""
KASPER = ([0, 0, 12, 0], [0, 2, 8, 2], [0, 3, 6, 3])
STRAIN = {
    "name": "shear_300",
    "lag": 1,
    "cutoff": 4.5,
    "applied": [0.02, 0.02, 0.02],
    "mean": [0.05, 0.05, 0.05],
    "std": [0.02, 0.025, 0.03],
    "relative": [0.4, 0.5, 0.6],
    "above": [0.1, 0.1, 0.1],
    "edges": [0.0, 0.1, 0.2],
    "density": [9.0, 1.0],
    "n_undefined": 0,
    "note": "",
}
OTHER = ([1, 2, 5, 4], [0, 4, 5, 2])


def bounds(value, width=0.1):
    ends = {"value": value, "low": value - width, "high": value + width}
    return {**ends, "level": 0.95, "resampled": "groups", "groups": 2, "reliable": True, "note": ""}


def make_element(k, n, rng):
    first = k < (2 * n) // 3
    index = (KASPER if first else OTHER)[k % (3 if first else 2)]
    return {
        "label": f"s{k + 1}",
        "rank": k + 1,
        "entry": 7 * k + 3,
        "origin": {"store": "cooling_1", "frame": 0, "atom_id": k, "species": ("Cu", "Zr")[k % 2]},
        "shap": 0.5 / (k + 1),
        "polyhedron": {
            "name": f"<{','.join(map(str, index))}>",
            "name_all_facets": "<0,1,10,1>",
            "kasper_all_facets": True,
            "index": index,
            "beyond": 0,
            "coordination": sum(index),
            "kasper": first,
            "group": 1 if first else 2,
            "icosahedral": index == [0, 0, 12, 0],
            "shell": {"Cu": 7, "Zr": 5},
        },
        "assigned": {
            "n_atoms": 100,
            "n_distinct": 9,
            "own": 0.25,
            "kasper": 0.6,
            "icosahedral": 0.1,
            "coordination": 12.4,
            "names": ["<0,0,12,0>"],
            "fractions": [0.25],
        },
        "pearson": bounds(float(rng.uniform(-0.8, 0.8)), 0.15),
        "pearson_barcode": bounds(0.0),
        "fraction": 0.01,
    }


def extxyz(rng, n_outer=18):
    """One cluster: an irregular icosahedron around the center, and atoms beyond it."""
    golden = (1 + 5**0.5) / 2
    corners = np.array([[0, s, t * golden] for s in (1, -1) for t in (1, -1)])
    corners = np.concatenate([corners, corners[:, [1, 2, 0]], corners[:, [2, 0, 1]]])
    corners *= 2.7 / np.linalg.norm(corners[0])
    outer = rng.normal(size=(n_outer, 3))
    outer *= (rng.uniform(3.9, 4.9, n_outer) / np.linalg.norm(outer, axis=1))[:, None]
    shell = corners + rng.normal(0, 0.2, corners.shape)
    rows = [("Zr", 10.0, 10.0, 10.0, "T")]
    rows += [(("Cu", "Zr")[k % 2], *(10.0 + p), "T") for k, p in enumerate(shell)]
    rows += [(("Cu", "Zr")[k % 3 % 2], *(10.0 + p), "F") for k, p in enumerate(outer)]
    text = [str(len(rows)), 'Properties=species:S:1:pos:R:3:kernel:L:1 pbc="F F F"']
    text += [f"{s} {x:.5f} {y:.5f} {z:.5f} {flag}" for s, x, y, z, flag in rows]
    return "\n".join(text) + "\n"


def make_contrast(group, std, control):
    return {
        "group": group,
        "n_elements": 3,
        "std_of_means": 1e-3,
        "halves": [1e-3, 2e-3],
        "single_runs": [1e-3, 2e-3],
        "share_of_halves_below": 0.0,
        "share_of_single_runs_below": 0.0,
        "std": bounds(std, 4e-4),
        "std_spread": 1e-3,
        "control": bounds(control, 4e-4),
        "excess": bounds(std - control, 5e-4),
        "counting_noise": 2e-3,
        "ratio": bounds(1.02 - 0.03 * group, 0.02),
        "ratio_control": bounds(1.0, 0.02),
    }


def make_folder(
    folder, *, n_elements=12, n_per_run=8, models=MODELS, sizes=(2000, 4000), pictured=True
):
    """Write all files; the energies and errors are drawn, and the scores follow from them."""
    rng = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    sets = [("test", "cooling_42", sizes[0]), ("test", "cooling_43", sizes[0])]
    sets += [("test_size", "larger", size) for size in sizes[1:]]
    rows, scores, samples = [], [], []
    for which, store, n_atoms in sets:
        per_atom = np.linspace(-4.83, -4.80, n_per_run) + rng.normal(0, 1e-3, n_per_run)
        for frame, one in enumerate(per_atom):
            values = rng.dirichlet(np.ones(n_elements))
            samples.append((which, store, frame, n_atoms, n_atoms * one, values))
    for model, (error, numbers) in models.items():
        for which in dict.fromkeys(one[0] for one in sets):
            some = [one for one in samples if one[0] == which]
            energy = np.array([one[4] for one in some])
            n_atoms = some[0][3]
            predicted = energy + rng.normal(0, error * np.sqrt(n_atoms / 2000), len(energy))
            if model == "mean":
                predicted = np.full(len(energy), energy.mean())
            for (_, store, frame, n, e, _), p in zip(some, predicted, strict=True):
                rows.append((model, which, store, store, frame, n, repr(float(e)), repr(float(p))))
            rmse = float(np.sqrt(np.mean((predicted - energy) ** 2)))
            r2 = 1 - float(
                np.sum((predicted - energy) ** 2) / np.sum((energy - energy.mean()) ** 2)
            )
            scores.append(
                {
                    "model": model,
                    "set": which,
                    "test": "pooled",
                    "n_samples": len(some),
                    "n_runs": len({one[1] for one in some}),
                    "n_numbers": numbers,
                    "rmse": bounds(rmse, 0.2 * rmse),
                    "rmse_per_atom": bounds(1000 * rmse / n_atoms, 200 * rmse / n_atoms),
                    "r2": bounds(r2, 0.02),
                }
            )
    with (folder / "predictions.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        head = ("model", "set", "store", "run", "frame", "n_atoms", "energy", "predicted")
        writer.writerow(head)
        writer.writerows(rows)
    elements = [make_element(k, n_elements, rng) for k in range(n_elements)]
    labels, groups = (
        [one["label"] for one in elements],
        [one["polyhedron"]["group"] for one in elements],
    )
    first = np.array(groups) == 1
    energy = np.array([one[4] / one[3] for one in samples])
    values = np.array([one[5] for one in samples])
    sums = {"group1": values[:, first].sum(1), "group2": values[:, ~first].sum(1)}
    sums["icosahedral"] = values[:, ::3][:, : int(first.sum()) // 3].sum(1)
    bins = {"energy": [-4.825, -4.815, -4.805], "count": [8, 8, 1]}
    curves = {
        name: {**bins, "mean": [float(one.mean())] * 3, "std": [float(one.std())] * 3}
        for name, one in sums.items()
    }
    n_entries = 300
    shap = np.sort(rng.exponential(0.01, n_entries))[::-1]
    shap[200:] = 0.0
    files = {
        "scores": scores,
        "elements": {"entries": list(range(n_elements)), "mean_absolute_shap": shap.tolist()},
        "element_table": {
            "elements": elements,
            "n_group1": int(first.sum()),
            "n_group2": int((~first).sum()),
            "n_group1_all_facets": int(first.sum()),
            "n_samples": len(samples),
            "n_runs": 2,
            "convention": "Facets smaller than 5 % of the mean facet area are dropped.",
        },
        "barcodes": {
            "run": [one[1] for one in samples],
            "energy": [one[4] / one[3] for one in samples],
            "n_atoms": [one[3] for one in samples],
            "values": values.tolist(),
            "covered": [0.4] * len(samples),
            "labels": labels,
            "groups": groups,
        },
        "group_sums": {
            "run": [one[1] for one in samples],
            "energy": energy.tolist(),
            **{name: one.tolist() for name, one in sums.items()},
            "pearson": {"group1": bounds(-0.2), "group2": bounds(0.2), "icosahedral": bounds(-0.7)},
            "curves": curves,
        },
        "voronoi": {
            "fractions": {
                "store": [one[1] for one in samples],
                "frame": [one[2] for one in samples],
                "kasper": [0.3] * len(samples),
                "icosahedral": np.linspace(0.08, 0.04, len(samples)).tolist(),
            },
            "energy": energy.tolist(),
            "run": [one[1] for one in samples],
            "pearson": {"kasper": bounds(-0.5), "icosahedral": bounds(-0.9)},
        },
        "heterogeneity": {
            "note": "",
            "left_out": [],
            "comparisons": [
                {
                    "name": name,
                    "tolerance": 1e-4,
                    "n_thermal_runs": 2,
                    "n_driven": 30,
                    "n_matched": 28,
                    "n_pairs": 60,
                    "energy": [-4.803, -4.805],
                    "thermal": values[:2].tolist(),
                    "driven": values[2:4].tolist(),
                    "delta": (values[0] - values[1]).tolist(),
                    "labels": labels,
                    "groups": groups,
                    "contrasts": [
                        make_contrast(1, 5e-3, 4.9e-3),
                        make_contrast(2, (7 + k) * 1e-3, 5.0e-3),
                    ],
                    "strain": STRAIN if k else None,
                }
                for k, name in enumerate(("shear_600", "shear_300"))
            ],
        },
        "embedding": {
            "entries": list(range(n_entries)),
            "coordinates": rng.normal(0, 0.1, (n_entries, 2)).tolist(),
            "species": [29, 40] * (n_entries // 2),
            "correlation": [None, *rng.uniform(-0.6, 0.6, n_entries - 1).tolist()],
            "element": [*range(1, n_elements + 1), *([0] * (n_entries - n_elements))],
            "method": "smacof",
            "stress": 0.21,
            "stress_pca": 0.42,
            "n_pairs": n_entries * (n_entries - 1) // 2,
            "explained": 0.3,
        },
        "accuracy": {
            "rows": [
                {
                    "model": model,
                    "n_entries": n,
                    "n_runs": runs,
                    "rmse": factor * (6 - runs / 3) * (1 if n is None else n**-0.05),
                    "low": None,
                    "high": None,
                }
                for model, factor, counts in (
                    ("ridge on mean SOAP", 0.1, (None,)),
                    ("boosted trees, all ULEs", 1.0, (140, 400, 1500)),
                    ("soft assignment, kernel ridge", 0.2, (140, 400, 1500)),
                )
                for n in counts
                for runs in (3, 7)
            ]
        },
    }
    for name, one in files.items():
        (folder / f"{name}.json").write_text(json.dumps(one))
    if pictured:
        (folder / "elements").mkdir(exist_ok=True)
        text = "".join(extxyz(rng) for _ in range(n_elements))
        (folder / "elements" / "elements.extxyz").write_text(text)
        side, n = 12.0, 150
        position = rng.uniform(0, side, (n, 3))
        head = f'Lattice="{side} 0 0 0 {side} 0 0 0 {side}" pbc="T T T"'
        lines = [f"{n}", f"Properties=species:S:1:pos:R:3:group:I:1 {head}"]
        lines += [
            f"{('Cu', 'Zr')[k % 2]} {x:.4f} {y:.4f} {z:.4f} {k % 3}"
            for k, (x, y, z) in enumerate(position)
        ]
        (folder / "sample_cooling_42_7.extxyz").write_text("\n".join(lines) + "\n")
    return folder
