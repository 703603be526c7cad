"""What raises the AUC of the softness score on a glass kept back? Two glasses, both ways, every row on the same atoms.

nice python tests/benchmarks/softness_gain.py --data ../shared/data/cu65zr35_compression
nice python tests/benchmarks/softness_gain.py --data ... --rows logistic,rank+linear_response

A row takes 10 to 60 s. Differences to the first row are paired over regions of 15 Å of the test glass.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

import mgdask
from mgdask._typing import BoolArray, FloatArray, IntArray
from mgdask.features import SOAP, LinearResponse, feature_set
from mgdask.learn import rank_targets, train, undersample
from mgdask.learn.evaluation.bootstrap import bootstrap, bootstrap_contrast
from mgdask.learn.evaluation.single_models import single_model_scores
from mgdask.studies.softness.data import prepare_glass
from mgdask.studies.softness.simple_model import logistic_models
from mgdask.studies.softness.training import PARAMETERS

SHORT = 16
"""Short-range columns of the set "interstice"; means over neighbors are every fourth of the others."""


class Measured:
    """A glass with everything that a row of the table may use."""

    def __init__(self, store: Path, out: Path) -> None:
        glass = prepare_glass(store, out, progress=False)
        self.x, self.y, self.atoms = glass.rows()
        self.d2min = glass.d2min()[glass.frame][self.atoms]
        self.region = glass.regions()[self.atoms]
        first = glass.undeformed()
        self.species = first["species"].values
        frame = first["position"].values, first["cell"].values, self.species
        self.response = LinearResponse().compute(*frame)[self.atoms]
        self.ln_response = np.log(np.maximum(self.response, 1e-6))
        symmetry = feature_set("symmetry_functions", ("Cu", "Zr"))[0]
        self.symmetry = symmetry.compute(*frame)[self.atoms]
        soap = SOAP(species=("Cu", "Zr"), r_cut=5.0, n_max=4, l_max=4, sigma=0.5)
        self.soap = soap.compute(*frame)[self.atoms]
        size = np.diag(frame[1])
        place = np.mod(frame[0] - first["origin"].values, size)
        pairs = cKDTree(place % size, boxsize=size).query_pairs(4.0, output_type="ndarray")
        both = np.concatenate([pairs, pairs[:, ::-1]])
        shape = len(place), len(place)
        near = csr_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), shape)
        mean = np.asarray(near @ self.x) / np.maximum(np.asarray(near.sum(axis=1)), 1.0)
        self.second_shell = mean
        self.of_species = self.x.copy()
        for number in np.unique(self.species):
            own = self.species == number
            self.of_species[own] -= self.x[own].mean(axis=0)
        self.of_neighbors = self.x[:, :SHORT] - self.x[:, SHORT::4]


Columns = Callable[[Measured], FloatArray]
Learn = Callable[[FloatArray, Measured, FloatArray], FloatArray]


def trees(
    objective: str = "binary",
    target: Callable[[Measured, IntArray], FloatArray] = lambda glass, rows: glass.y[rows] * 1.0,
    *,
    balanced: bool = True,
    draws: int = 20,
    **params: object,
) -> Learn:
    """Return a learner: scores (model, atom) of boosted trees on undersamples or on all rows."""

    def learn(x: FloatArray, glass: Measured, test: FloatArray) -> FloatArray:
        scores = []
        for k in range(draws):
            rows = undersample(glass.y, k) if balanced else np.arange(len(glass.y))
            values = target(glass, rows)
            weights = None
            if not balanced and objective == "binary":
                weights = np.where(values > 0, (1 - values.mean()) / values.mean(), 1.0)
            model = train(
                x[rows],
                values,
                objective=objective,
                weights=weights,
                group=np.zeros(len(rows), dtype=np.int64) if objective == "lambdarank" else None,
                num_boost_round=150,
                params={**PARAMETERS, **params},
                seed=k,
                threads=1,
                progress=False,
            )
            scores.append(model.predict(test, threads=1))
        return np.array(scores)

    return learn


def logistic(x: FloatArray, glass: Measured, test: FloatArray) -> FloatArray:
    """Return scores (model, atom) of logistic regression on standardized columns."""
    models = logistic_models(x, glass.y, [undersample(glass.y, k) for k in range(20)])
    return np.array([model.predict(test) for model in models])


def log_d2min(glass: Measured, rows: IntArray) -> FloatArray:
    """Return ln D2min of some atoms."""
    return np.log(glass.d2min[rows])


def ranks(glass: Measured, rows: IntArray) -> FloatArray:
    """Return the ranks of D2min among some atoms."""
    return rank_targets(glass.d2min[rows])


def joined(*names: str) -> Columns:
    """Return a function that puts several tables side by side."""
    return lambda glass: np.hstack([getattr(glass, name) for name in names])


ROWS: dict[str, tuple[Columns, Learn]] = {
    "interstice": (joined("x"), trees()),
    "logistic": (joined("x"), logistic),
    "logistic+linear_response": (joined("x", "ln_response"), logistic),
    "minus_species_mean": (joined("x", "of_species"), trees()),
    "minus_neighbors_mean": (joined("x", "of_neighbors"), trees()),
    "second_shell": (joined("x", "second_shell"), trees()),
    "symmetry_functions": (joined("x", "symmetry"), trees()),
    "soap": (joined("x", "soap"), trees()),
    "class_weights": (joined("x"), trees(balanced=False, draws=4)),
    "regression": (joined("x"), trees("regression", log_d2min)),
    "regression_all": (joined("x"), trees("regression", log_d2min, balanced=False, draws=4)),
    "quantile_all": (joined("x"), trees("quantile", log_d2min, balanced=False, draws=4, alpha=0.9)),
    "lambdarank": (joined("x"), trees("lambdarank", lambdarank_truncation_level=10_000)),
    "rank": (joined("x"), trees("cross_entropy", ranks)),
    "linear_response": (joined("x", "response"), trees()),
    "linear_response_alone": (joined("response"), trees()),
    "rank+linear_response": (joined("x", "response"), trees("cross_entropy", ranks)),
    "rank+linear_response+symmetry_functions": (
        joined("x", "response", "symmetry"),
        trees("cross_entropy", ranks),
    ),
}


def main() -> None:
    """Print a line per row and direction."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--data", type=Path, required=True, help="folder with both glasses")
    options.add_argument("--out", type=Path, help="folder to keep the stores in")
    options.add_argument("--rows", help=f"some of {', '.join(ROWS)}, separated by commas")
    chosen = options.parse_args()
    folder = chosen.out or Path(tempfile.mkdtemp())
    glasses = {}
    for k in (1, 2):
        store = folder / f"glass_{k}.zarr"
        if not store.exists():
            dump = chosen.data / f"{store.stem}.lammpstrj.gz"
            mgdask.ingest([str(dump)], store, species=("Cu", "Zr"), timestep=0.002)
        glasses[k] = Measured(store, folder / "out")
    names = chosen.rows.split(",") if chosen.rows else list(ROWS)
    first: dict[int, FloatArray] = {}
    for name in ["interstice", *(name for name in names if name != "interstice")]:
        columns, learn = ROWS[name]
        for one, two in ((1, 2), (2, 1)):
            test = glasses[two]
            scores = learn(columns(glasses[one]), glasses[one], columns(test))
            print(f"{name:40} {one} -> {two}: {line(test, scores, first, two)}", flush=True)


def line(test: Measured, scores: FloatArray, first: dict[int, FloatArray], two: int) -> str:
    """Return AUC, recall and the difference to the first row."""
    label: BoolArray = test.y
    found = single_model_scores("roc_auc", label, scores, test.region)
    mean = scores.mean(axis=0)
    text = f"AUC {found}"
    if ((mean >= 0) & (mean <= 1)).all():
        hit = bootstrap("recall", label, mean, test.region)
        text += f", recall {hit.value:.3f} [{hit.low:.3f}, {hit.high:.3f}]"
    if two not in first:
        first[two] = mean
        return text
    gain = bootstrap_contrast("roc_auc", label, [mean, first[two]], [1, -1], test.region)
    return f"{text}, difference {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


if __name__ == "__main__":
    main()
