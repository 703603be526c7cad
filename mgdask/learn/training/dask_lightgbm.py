"""LightGBM's own Dask estimators, for comparison: no early stopping, no checkpoints, no recovery, not reproducible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mgdask.errors import ParameterError
from mgdask.learn.data.rows import Rows
from mgdask.learn.training.model import Model, canonical, lightgbm
from mgdask.learn.training.rank_worker import share


def stock(
    rows: Rows,
    table: Any,
    objective: str,
    params: Mapping[str, Any],
    rounds: int,
    seed: int,
    client: Any,
    early_stopping: int,
) -> Model:
    """``DaskLGBMClassifier`` or ``DaskLGBMRegressor`` on one block of rows a worker; see ``train`` for the arguments."""
    if client is None:
        raise ParameterError(
            "engine='lightgbm.dask' needs client=, such as that of mgdask.cluster.local_client"
        )
    if objective not in ("binary", "regression") or early_stopping:
        raise ParameterError(
            "engine='lightgbm.dask' is for binary and regression without early stopping, which fails there; use engine='mgdask'"
        )
    import dask
    import dask.array as da

    lgb = lightgbm()
    blocks = len(client.nthreads())
    edges = [share(table.n, k, blocks) for k in range(blocks)]

    def column(values: Any) -> Any:
        return da.concatenate([da.from_array(values[a:b], chunks=(b - a,)) for a, b in edges])

    width = len(table.columns)
    parts = [
        da.from_delayed(dask.delayed(rows.read)(a, b), (b - a, width), dtype=np.dtype(rows.dtype))
        for a, b in edges
    ]
    kind = lgb.DaskLGBMClassifier if objective == "binary" else lgb.DaskLGBMRegressor
    estimator = kind(
        client=client, n_estimators=rounds, random_state=seed, **{"verbosity": -1, **params}
    )
    estimator.fit(
        da.concatenate(parts),
        column(table.y),
        sample_weight=None if table.w is None else column(table.w),
    )
    text = canonical(estimator.booster_.model_to_string())
    card = {
        "engine": "lightgbm.dask",
        "rows": table.n,
        "params": dict(params),
        "versions": {"lightgbm": lgb.__version__},
    }
    return Model(text, table.columns, objective, rounds, seed, card=card)
