"""Boosted trees, trained in one process or on the ranks of a cluster.

``boosting`` has ``train``. It is the client's side together with ``supervisor``, which
starts ranks on workers and restarts them after losses. ``rank_host`` is the Dask task
on a worker, ``rank_worker`` the process of a rank, and ``rounds`` the boosting itself,
the same everywhere. ``model`` and ``card`` hold the result.
"""
