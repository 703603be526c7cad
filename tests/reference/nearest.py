"""Nearest vectors by comparing all pairs, one column after the other. Imports nothing of mgdask."""

from __future__ import annotations

from fractions import Fraction

CHAINS = 32


def _exactly_rounded(a, b, c):
    """``a b + c`` with one rounding, through exact fractions."""
    return float(Fraction(a) * Fraction(b) + Fraction(c))


def squared_distance(p, q):
    """Sum of squared differences in 32 chains that are then added in halves."""
    p, q = [float(x) for x in p], [float(x) for x in q]
    sums, tail = [0.0] * CHAINS, 0.0
    whole = len(p) // CHAINS * CHAINS
    for c in range(whole):
        d = p[c] - q[c]
        sums[c % CHAINS] = _exactly_rounded(d, d, sums[c % CHAINS])
    for c in range(whole, len(p)):
        d = p[c] - q[c]
        tail = _exactly_rounded(d, d, tail)
    while len(sums) > 1:
        half = len(sums) // 2
        sums = [sums[i] + sums[i + half] for i in range(half)]
    return sums[0] + tail


def nearest(vectors, rows, group=None, row_group=None, distance=squared_distance):
    """Index and squared distance of the nearest vector of the group; -1 and infinity if none."""
    found = []
    for i, row in enumerate(rows):
        best = (float("inf"), -1)
        for j, vector in enumerate(vectors):
            if group is None or group[j] == row_group[i]:
                d = distance(row, vector)
                if d < best[0]:
                    best = (d, j)
        found.append((best[1], best[0]))
    return found
