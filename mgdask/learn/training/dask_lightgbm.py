"""LightGBM's own Dask estimators, for comparison.

They have no early stopping, no checkpoints and no recovery, and are not reproducible.
Their connections are neither encrypted nor authenticated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mgdask._typing import AnyArray
from mgdask.errors import ParameterError
from mgdask.learn.data.tables import Table
from mgdask.learn.training.model import Model, canonical
from mgdask.learn.training.rank_worker import row_range

if TYPE_CHECKING:
    import dask.array as da
    from distributed import Client


def train_with_dask(
    table: Table,
    objective: str,
    params: Mapping[str, Any],
    num_boost_round: int,
    seed: int,
    client: Client | None,
    early_stopping: int,
    trust_network: bool,
) -> Model:
    """Train LightGBM's Dask estimator on one block of rows per worker.

    Parameters
    ----------
    table
        Training rows.
    objective
        ``"binary"`` or ``"regression"``.
    params
        Parameters of LightGBM.
    num_boost_round
        Number of rounds.
    seed
        Seed of LightGBM.
    client
        Client of the cluster.
    early_stopping
        Must be 0.
    trust_network
        Whether to trust everyone who can reach the workers' machines.

    Returns
    -------
    Model

    Raises
    ------
    ParameterError
        If there is no client or the table is a matrix in memory. Also if the estimators
        do not support the objective or early stopping, or if there are several workers
        and ``trust_network`` is False.
    """
    rows = table.rows_only()
    if client is None:
        raise ParameterError(
            "engine='lightgbm.dask' needs client=, such as that of mgdask.cluster.local_client"
        )
    if objective not in ("binary", "regression") or early_stopping:
        raise ParameterError(
            f"engine='lightgbm.dask' was given objective={objective!r} and "
            f"early_stopping={early_stopping}; it supports 'binary' and 'regression' without "
            "early stopping. Use engine='mgdask'"
        )
    blocks = len(client.nthreads())
    if blocks > 1 and not trust_network:
        raise ParameterError(
            f"engine='lightgbm.dask' on {blocks} workers listens on all addresses of their "
            "machines and accepts any connection. Use engine='mgdask', or pass trust_network=True "
            "if everyone who can reach them is trusted"
        )
    import dask.array as da
    import lightgbm
    from dask.delayed import delayed

    edges = [row_range(table.n, k, blocks) for k in range(blocks)]
    shape, dtype = len(table.columns), np.dtype(rows.dtype)
    parts = [
        da.from_delayed(delayed(rows.read)(low, high), (high - low, shape), dtype=dtype)
        for low, high in edges
    ]
    estimators = {"binary": lightgbm.DaskLGBMClassifier, "regression": lightgbm.DaskLGBMRegressor}
    estimator = estimators[objective](
        client=client,
        n_estimators=num_boost_round,
        random_state=seed,
        **{"verbosity": -1, **params},
    )
    estimator.fit(
        da.concatenate(parts),
        _blocks(table.y, edges),
        sample_weight=None if table.w is None else _blocks(table.w, edges),
    )
    text = canonical(estimator.booster_.model_to_string())
    card = {
        "engine": "lightgbm.dask",
        "rows": table.n,
        "params": dict(params),
        "versions": {"lightgbm": lightgbm.__version__},
    }
    return Model(text, table.columns, objective, num_boost_round, seed, card=card)


def _blocks(values: AnyArray, edges: list[tuple[int, int]]) -> da.Array:
    """Return ``values`` (row,) as a Dask array with a chunk per pair of ``edges``."""
    import dask.array as da

    whole: da.Array = da.concatenate(
        [da.from_array(values[low:high], chunks=(high - low,)) for low, high in edges]
    )
    return whole
