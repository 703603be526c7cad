"""Displacements between frames: moments, van Hove function, scattering, overlap.

The displacement of atom i from frame a to frame b in its unwrapped trajectory is
dr_i(a, b) = r_i(b) - r_i(a). Sums are over pairs of frames (a, b) of one lag and over
the atoms of one species:

    moments      sum |dr|^2 and sum |dr|^4            MSD, non-Gaussian parameter
    per_atom     mean of |dr|^2 over the pairs        mobility of an atom
    lag_rows     |dr|^2 itself                        propensity
    van_hove     number of |dr| in bins               self van Hove, 4 pi r^2 G_s(r, t)
    scattering   sum sin(q |dr|) / (q |dr|)           self-intermediate scattering F_s
    overlap      number of atoms with |dr| < radius   overlap and its variance chi_4

A trajectory is (atom, frame, 3) in Å. Pairs of frames come as runs. Lag k has the runs
``start[k]:start[k + 1]``, and run r pairs frame ``origin[r] + t`` with frame ``later[r]
+ t`` for t < ``length[r]``. Evenly spaced frames have one run per lag, others may have
several. The caller ensures that the frames exist and that positions are unwrapped. A
NaN makes the sums of that atom, and so of its group, NaN.

Coordinates are subtracted first and squared afterwards, so an offset common to all
frames costs no digits. Methods by fast Fourier transform expand r(a)^2 + r(b)^2 -
2 r(a).r(b), which loses ten of sixteen digits of a vibration of 0.1 Å at 1e4 Å.
Direct sums are also cheaper than transforms for a few dozen lags. Eight atoms share the
vector registers; each lane adds up one atom in an order that only the runs determine.
Atoms are then added one after the other within groups of ``GROUP``. No sum depends on
the width of the registers, or on how atoms are divided into calls as long as each call
takes whole groups. Twins of all kernels:
``tests/kernels/test_displacement_kernels.py``.

Sources: Allen, Tildesley, Computer Simulation of Liquids (2017), ch. 8; Kob, Andersen,
Phys. Rev. E 51, 4626 (1995). Overlap: the self part of Lacevic et al., J. Chem. Phys.
119, 7372 (2003).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import carray, float64, int64

from mgdask._typing import FloatArray, IntArray
from mgdask.kernels._jit import array, inner, kernel
from mgdask.kernels.simd import BESIDE, address, bit_count, path_moments, path_squares, path_within
from mgdask.kernels.vector_math import sine_ratio

Small = npt.NDArray[np.int32]

GROUP = 256
"""Atoms whose sums are kept together.

If each call takes whole groups, the bits do not depend on how atoms are divided.
"""
_STRETCH = 64
_ROWS = 32
_PLACES = _ROWS * BESIDE
_FRAME = 3 * BESIDE


@inner
def _part(values: FloatArray, at: int, n: int) -> FloatArray:
    # values.ravel()[at : at + n] without the reference counting of a slice
    return carray(address(values, at), n)  # type: ignore[no-any-return]


@inner
def _aligned(n_frames: int) -> FloatArray:
    # empty (frame, 3, BESIDE) array aligned to cache lines, because loads across two
    # lines cost twice
    room = np.empty(n_frames * _FRAME + BESIDE)
    at = -(room.ctypes.data // 8) % BESIDE
    return room[at : at + n_frames * _FRAME].reshape((n_frames, 3, BESIDE))


@inner
def _gather(path: FloatArray, atom: int, beside: FloatArray) -> int:
    # trajectories of up to BESIDE atoms as (frame, 3, BESIDE); lanes without an atom
    # stay 0; returns the number of atoms
    width, n_frames = min(BESIDE, len(path) - atom), path.shape[1]
    if width < BESIDE:
        beside[:] = 0.0
    for f in range(n_frames):
        for c in range(3):
            for lane in range(width):
                beside[f, c, lane] = path[atom + lane, f, c]
    return width


@inner
def _moments(
    beside: FloatArray,
    start: IntArray,
    origin: IntArray,
    later: IntArray,
    length: IntArray,
    longest: int,
    total: FloatArray,
) -> None:
    # sums of |dr|^2 and |dr|^4 of every lag, (lag, 2, BESIDE): the first 64 pairs of
    # all runs, then the next 64, so that their frames stay in the L1 cache
    total[:] = 0.0
    for t in range(0, longest, _STRETCH):
        for k in range(len(start) - 1):
            r = start[k]
            path_moments(
                address(beside, 0),
                address(origin, r),
                address(later, r),
                address(length, r),
                start[k + 1] - r,
                t,
                _STRETCH,
                address(total, k * 2 * BESIDE),
            )


@inner
def _longest(length: IntArray) -> int:
    most = 0
    for r in range(len(length)):
        most = max(most, length[r])
    return most


@inner
def _fold(values: FloatArray, half: int) -> None:
    for i in range(half):
        values[i] += values[half + i]


@kernel(
    array(float64, 3),
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    int64,
    array(float64, 4, out=True),
)
def moments(
    path: FloatArray,
    start: IntArray,
    origin: IntArray,
    later: IntArray,
    length: IntArray,
    slot: IntArray,
    n_species: int,
    out: FloatArray,
) -> None:
    """Sum |dr|^2 and |dr|^4, in Å² and Å⁴, over atoms and pairs of frames.

    Layout
    ``(atom,frame,3),(lag+1,),(run,),(run,),(run,),(atom,)->(group,species,lag,2)``.
    Atoms with a ``slot`` outside 0 to n_species - 1 are ignored; empty sums are 0.
    Group g is atoms 256 g to 256 g + 255 of the call. Add the groups in their order.
    The number of terms is the number of atoms of the species times the sum of the
    lengths. Cost: 0.2 ns per atom and pair in long runs, 0.4 ns in runs of length 1;
    memory 192 bytes per frame. Twin: ``TestTwins.test_moments``.
    """
    out[:] = 0.0
    n_lags, longest = len(start) - 1, _longest(length)
    beside, total = _aligned(path.shape[1]), np.empty((n_lags, 2, BESIDE))
    for first in range(0, len(path), BESIDE):
        width = _gather(path, first, beside)
        _moments(beside, start, origin, later, length, longest, total)
        for lane in range(width):
            s = slot[first + lane]
            if 0 <= s < n_species:
                for k in range(n_lags):
                    out[first // GROUP, s, k, 0] += total[k, 0, lane]
                    out[first // GROUP, s, k, 1] += total[k, 1, lane]


@kernel(
    array(float64, 3),
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    array(float64, 2, out=True),
)
def per_atom(
    path: FloatArray,
    start: IntArray,
    origin: IntArray,
    later: IntArray,
    length: IntArray,
    out: FloatArray,
) -> None:
    """Compute the mean of |dr|^2 over the pairs of each lag, in Å².

    Layout ``(atom,frame,3),(lag+1,),(run,),(run,),(run,)->(atom,lag)``. NaN if a lag
    has no pairs. The values of an atom do not depend on other atoms. Cost and memory as
    in ``moments``. Twin: ``TestTwins.test_per_atom``.
    """
    n_lags, longest = len(start) - 1, _longest(length)
    beside, total, pairs = _aligned(path.shape[1]), np.empty((n_lags, 2, BESIDE)), np.zeros(n_lags)
    for k in range(n_lags):
        for r in range(start[k], start[k + 1]):
            pairs[k] += max(length[r], 0)
    for first in range(0, len(path), BESIDE):
        width = _gather(path, first, beside)
        _moments(beside, start, origin, later, length, longest, total)
        for lane in range(width):
            for k in range(n_lags):
                out[first + lane, k] = total[k, 0, lane] / pairs[k] if pairs[k] else np.nan


@kernel(array(float64, 3), array(int64, 1), array(int64, 2), array(float64, 3, out=True))
def lag_rows(path: FloatArray, origin: IntArray, later: IntArray, out: FloatArray) -> None:
    """Compute |dr|^2 from frame ``origin[o]`` to frame ``later[o, k]``, in Å².

    Layout ``(atom,frame,3),(origin,),(origin,lag)->(origin,atom,lag)``. NaN if
    ``later`` is -1, which means that there is no such frame. Cost: 3 ns per value.
    """
    n_lags = later.shape[1]
    for atom in range(len(path)):
        for o in range(len(origin)):
            a = origin[o]
            x, y, z = path[atom, a, 0], path[atom, a, 1], path[atom, a, 2]
            for k in range(n_lags):
                b = later[o, k]
                if b < 0:
                    out[o, atom, k] = np.nan
                    continue
                dx, dy, dz = path[atom, b, 0] - x, path[atom, b, 1] - y, path[atom, b, 2] - z
                out[o, atom, k] = dx * dx + dy * dy + dz * dz


@inner
def _bin(
    n: int, square: FloatArray, width: float, bins: Small, found: IntArray, n_bins: int
) -> None:
    # bins of n squares; NaN go to the last bin, because no comparison with NaN is true
    last = n_bins - 1.0
    for i in range(n):
        place = np.sqrt(square[i]) / width
        bins[i] = np.int32(place if place < last else last)
    # each lane has its own row of counts, so that equal bins of adjacent entries do not
    # wait for each other
    for i in range(0, n, BESIDE):
        for lane in range(BESIDE):
            found[lane * n_bins + bins[i + lane]] += 1


@kernel(
    array(float64, 3),
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    int64,
    float64,
    array(int64, 3, out=True),
)
def van_hove(
    path: FloatArray,
    start: IntArray,
    origin: IntArray,
    later: IntArray,
    length: IntArray,
    slot: IntArray,
    n_species: int,
    width: float,
    counts: IntArray,
) -> None:
    """Count atoms and pairs of frames with width b <= |dr| < width (b + 1).

    Layout ``(atom,frame,3),(lag+1,),(run,),(run,),(run,),(atom,)->(species,lag,bin)``.
    The last bin includes all longer displacements and NaN. The bin is floor(|dr| /
    width) in doubles. Counts are integers, so the order of sums does not matter. Cost:
    1.3 ns per atom and pair, and a little per atom, lag and bin. Twin:
    ``TestTwins.test_van_hove``.
    """
    counts[:] = 0
    n_lags, n_bins = len(start) - 1, counts.shape[2]
    beside, square = _aligned(path.shape[1]), np.empty(_PLACES)
    bins, found = np.empty(_PLACES, dtype=np.int32), np.zeros(BESIDE * n_bins, dtype=np.int64)
    for first in range(0, len(path), BESIDE):
        atoms = _gather(path, first, beside)
        for k in range(n_lags):
            filled = 0
            for r in range(start[k], start[k + 1]):
                for t in range(length[r]):
                    path_squares(
                        address(beside, (origin[r] + t) * _FRAME),
                        address(beside, (later[r] + t) * _FRAME),
                        address(square, filled),
                    )
                    filled += BESIDE
                    if filled == _PLACES:
                        _bin(filled, square, width, bins, found, n_bins)
                        filled = 0
            _bin(filled, square, width, bins, found, n_bins)
            for lane in range(BESIDE):
                s = slot[first + lane] if lane < atoms else -1
                seen = 0 <= s < n_species
                for b in range(n_bins):
                    if seen:
                        counts[s, k, b] += found[lane * n_bins + b]
                    found[lane * n_bins + b] = 0


@inner
def _wave(
    distance: FloatArray, inverse: FloatArray, q: float, inverse_q: float, total: FloatArray
) -> None:
    for i in range(len(distance)):
        total[i] += sine_ratio(q * distance[i], inverse_q * inverse[i])


@inner
def _waves(
    n: int, square: FloatArray, inverse: FloatArray, q: FloatArray, total: FloatArray
) -> None:
    # sums of sin(q d) / (q d) of n squares of d, which are overwritten by d
    for i in range(n):
        d = np.sqrt(square[i])
        square[i] = d
        inverse[i] = 1.0 / d  # infinite for d = 0, where it is not read
    for w in range(len(q)):
        _wave(
            _part(square, 0, n),
            _part(inverse, 0, n),
            q[w],
            1.0 / q[w],
            _part(total, w * _PLACES, n),
        )


@kernel(
    array(float64, 3),
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    array(int64, 1),
    int64,
    array(float64, 1),
    array(float64, 4, out=True),
)
def scattering(
    path: FloatArray,
    start: IntArray,
    origin: IntArray,
    later: IntArray,
    length: IntArray,
    slot: IntArray,
    n_species: int,
    q: FloatArray,
    out: FloatArray,
) -> None:
    """Sum sin(q |dr|) / (q |dr|), 1 at |dr| = 0, over atoms and pairs of frames.

    Layout ``(atom,frame,3),(lag+1,),(run,),(run,),(run,),(atom,),(wave,)->
    (group,species,lag,wave)``. Each term is exp(i q.dr) averaged over all directions of
    q. ``q`` is in 1/Å and not negative, with q |dr| up to 1e6. Divided by the number of
    terms, the sum is F_s(q, t), accurate to 1e-14. Groups are as in ``moments``. Pair p
    of a lag goes to sum p mod 32, and the sums are added pairwise. Cost: 0.9 ns per
    atom, pair and q. Twin: ``TestTwins.test_scattering``.
    """
    out[:] = 0.0
    n_lags, n_waves = len(start) - 1, len(q)
    beside, total = _aligned(path.shape[1]), np.empty((n_waves, _PLACES))
    square, inverse = np.empty(_PLACES), np.empty(_PLACES)
    for first in range(0, len(path), BESIDE):
        width = _gather(path, first, beside)
        for k in range(n_lags):
            total[:] = 0.0
            filled = 0
            for r in range(start[k], start[k + 1]):
                for t in range(length[r]):
                    path_squares(
                        address(beside, (origin[r] + t) * _FRAME),
                        address(beside, (later[r] + t) * _FRAME),
                        address(square, filled),
                    )
                    filled += BESIDE
                    if filled == _PLACES:
                        _waves(filled, square, inverse, q, total)
                        filled = 0
            _waves(filled, square, inverse, q, total)
            for w in range(n_waves):
                half = _PLACES // 2
                while half >= BESIDE:
                    _fold(_part(total, w * _PLACES, 2 * half), half)
                    half //= 2
            for lane in range(width):
                s = slot[first + lane]
                if 0 <= s < n_species:
                    for w in range(n_waves):
                        out[first // GROUP, s, k, w] += total[w, lane]


@kernel(
    array(float64, 3),
    array(int64, 1),
    array(int64, 2),
    array(int64, 1),
    int64,
    float64,
    array(int64, 3, out=True),
)
def overlap(
    path: FloatArray,
    origin: IntArray,
    later: IntArray,
    slot: IntArray,
    n_species: int,
    radius: float,
    counts: IntArray,
) -> None:
    """Count atoms with |dr| < radius from frame ``origin[o]`` to ``later[o, k]``.

    Layout ``(atom,frame,3),(origin,),(origin,lag),(atom,)->(species,origin,lag)``. The
    count is 0 if ``later`` is -1. With Q = counts / atoms, the overlap function is the
    mean of Q over origins, and chi_4 = atoms (mean Q^2 - (mean Q)^2). Cost: 0.4 ns per
    atom, origin and lag, plus reading the trajectory.
    """
    counts[:] = 0
    n_lags, limit = later.shape[1], radius * radius
    beside, member = _aligned(path.shape[1]), np.empty(n_species, dtype=np.int64)
    for first in range(0, len(path), BESIDE):
        width = _gather(path, first, beside)
        member[:] = 0
        for lane in range(width):
            s = slot[first + lane]
            if 0 <= s < n_species:
                member[s] |= 1 << lane
        for o in range(len(origin)):
            for k in range(n_lags):
                if later[o, k] >= 0:
                    inside = path_within(
                        address(beside, origin[o] * _FRAME),
                        address(beside, later[o, k] * _FRAME),
                        limit,
                    )
                    for s in range(n_species):
                        counts[s, o, k] += bit_count(inside & member[s])


__all__ = ["GROUP", "lag_rows", "moments", "overlap", "per_atom", "scattering", "van_hove"]
