"""Naive twins of a dictionary's use: every pair of an atom and an entry is compared."""

from __future__ import annotations

import numpy as np


def unit(spectra):
    """Spectra scaled to norm 1."""
    return spectra / np.sqrt((spectra**2).sum(axis=1, keepdims=True))


def similarity(p, q):
    """M = 1 - sqrt(|p - q|^2 / 2) of two unit vectors."""
    return 1.0 - np.sqrt(((p - q) ** 2).sum() / 2.0)


def most_similar(spectra, entries, own=None, theirs=None):
    """Entry and similarity of each row; only entries of the own group count if given."""
    found = []
    for i, p in enumerate(unit(spectra)):
        best = (-1, -np.inf)
        for k, q in enumerate(entries):
            if own is not None and own[i] != theirs[k]:
                continue
            m = similarity(p, q)
            if m > best[1]:  # a tie keeps the lower index
                best = (k, m)
        found.append(best)
    return np.array([k for k, _ in found]), np.array([m for _, m in found])


def fractions(entry, n_entries, n_atoms):
    """Share of the atoms that belong to each entry."""
    return np.array([(entry == k).sum() for k in range(n_entries)]) / n_atoms


def weights(spectra, entries, exponent, shares, own=None, theirs=None):
    """Mean over the atoms of (p.q)^exponent, or of its share of an atom's sum."""
    total = np.zeros(len(entries))
    for i, p in enumerate(unit(spectra)):
        w = np.array([(max(p @ q, 0.0) if shares else p @ q) ** exponent for q in entries])
        if own is not None:
            w[np.asarray(theirs) != own[i]] = 0.0
        total += w / w.sum() if shares else w
    return total / len(spectra)
