"""The whole study of quench-in softness, from stores of deformed glasses to the score of every atom.

Source: Wang, Jain, Nat. Commun. 10, 5537 (2019).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mgdask.features import Feature
from mgdask.learn.predict import predict
from mgdask.studies.softness.data import Glass, prepare_glass
from mgdask.studies.softness.training import Softness, learn_softness
from mgdask.studies.timing import Stages


def study_softness(
    train: Sequence[str | Path],
    test: str | Path,
    out: str | Path,
    *,
    features: str | Sequence[Feature] = "interstice",
    glass: Mapping[str, Any] | None = None,
    learning: Mapping[str, Any] | None = None,
    client: Any = None,
    stages: Stages | None = None,
    progress: bool = True,
) -> tuple[Softness, Glass]:
    """Learn the softness of some glasses, test it on another, and write everything to a folder.

    Parameters
    ----------
    train, test: trajectory stores of deformed glasses, each beginning with its undeformed frame. out: a folder that all workers see: labels and
        features of every glass, and in ``softness`` the models, their card, scores and a summary, which the next call replaces.
    features: a name of ``feature_set``, or a list. glass: further arguments of ``prepare_glass`` (strain, threshold, cutoff, species, margin, ends,
        memory). learning: further arguments of ``learn_softness`` (draws, rounds, params, wanted, folds, trials, seed). stages: told how
        long each part takes.

    Returns the ``Softness`` and the test ``Glass``. QS of every atom that has all features, counted or not, lies in
    ``softness/<name>-qs.zarr``. Errors are those of the two functions; what was finished stays, and the same call goes on from it.

    >>> found, glass = study_softness(["a.zarr", "b.zarr"], "c.zarr", "out")  # doctest: +SKIP
    >>> print(found)                                                        # doctest: +SKIP
    """
    stages, target = stages or Stages(), Path(out) / "softness"
    with stages("labels, features"):
        glasses = [
            prepare_glass(
                store, out, features=features, client=client, progress=progress, **dict(glass or {})
            )
            for store in (*train, test)
        ]
    found = learn_softness(
        glasses[:-1],
        glasses[-1],
        stages=stages,
        client=client,
        progress=progress,
        **dict(learning or {}),
    )
    with stages("scores"):
        found.save(target)
        scores = target / f"{glasses[-1].name}-qs.zarr"
        shutil.rmtree(
            scores, ignore_errors=True
        )  # like the models, results of an earlier call with other parameters give way
        predict(
            found.models,
            glasses[-1].features,
            scores,
            name="qs",
            label="qs",
            client=client,
            progress=progress,
        )
    stages.save(target / "stages.json")
    return found, glasses[-1]
