"""Squared Euclidean distances whose bits are the same on every machine.

    d(p, q) = sum_c (p_c - q_c)^2

Column c < 32 floor(n / 32) is added to sum c mod 32, by one fused multiply-add of the
difference that was formed first. The 32 sums are then added in halves: sum i with sum
i + 16, the results with i + 8, and so on. The last n mod 32 columns form one more
chain, which is added at the end. The order depends on n only, so neither the width of
the registers nor the number of vectors per call changes a bit.

All terms are positive and rounding is monotonic. A sum that exceeds a limit before the
last column therefore exceeds it at the end too, and the rest need not be read. Twin:
``tests/reference/nearest.py::squared_distance``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import float64, int64, types
from numba.core import cgutils
from numba.extending import intrinsic

from mgdask._typing import FloatArray, IntArray
from mgdask.errors import ParameterError
from mgdask.kernels._jit import array, inner, kernel
from mgdask.kernels.simd import address

CHAINS = 32
"""Sums that run side by side, in four vectors of eight."""

_LANES = 8
_STRETCH = 24
"""Multiples of ``CHAINS`` columns between two comparisons with the limit."""


def _vector() -> Any:
    return ir.VectorType(ir.DoubleType(), _LANES)


def _at(builder: Any, pointer: Any, offset: Any) -> Any:
    return builder.bitcast(builder.gep(pointer, [offset]), _vector().as_pointer())


def _constant(value: int) -> Any:
    return ir.Constant(ir.IntType(64), value)


@intrinsic  # type: ignore[untyped-decorator]
def at_address(typingctx: Any, place: Any) -> Any:
    """Return the pointer to float64 at an address in memory."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.DoubleType().as_pointer())

    return types.CPointer(types.float64)(types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def zero_sums(typingctx: Any) -> Any:
    """Return the pointer to ``CHAINS`` zeros on the stack of the calling function.

    An array of NumPy would not do: numba frees it after the last use of its name, and
    ``address`` does not count as a use of what it points to.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.ArrayType(ir.DoubleType(), CHAINS)
        place = cgutils.alloca_once(builder, kind)
        builder.store(ir.Constant(kind, [0.0] * CHAINS), place)
        return builder.bitcast(place, ir.DoubleType().as_pointer())

    return types.CPointer(types.float64)(), codegen


@intrinsic  # type: ignore[untyped-decorator]
def element(typingctx: Any, pointer: Any, index: Any) -> Any:
    """Return element ``index`` of a pointer."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.gep(args[0], [args[1]]))

    return types.float64(pointer, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def add_squares(typingctx: Any, p: Any, q: Any, first: Any, count: Any, sums: Any) -> Any:
    """Add (p_c - q_c)^2 of ``count * CHAINS`` columns to ``CHAINS`` sums.

    ``p``, ``q`` and ``sums`` are pointers to float64; ``first`` is the first column.
    """
    i8 = types.int64
    signature = types.void(p, q, i8, i8, sums)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_vector(), [_vector()] * 3), f"llvm.fma.v{_LANES}f64"
        )
        n_vectors = CHAINS // _LANES
        held = []
        for v in range(n_vectors):
            value = builder.load(_at(builder, args[4], _constant(v * _LANES)))
            value.align = 8
            held.append(value)
        entry = builder.block
        loop = builder.append_basic_block("squares.loop")
        done = builder.append_basic_block("squares.done")
        builder.cbranch(builder.icmp_signed(">", args[3], _constant(0)), loop, done)

        builder.position_at_end(loop)
        k = builder.phi(ir.IntType(64))
        k.add_incoming(_constant(0), entry)
        totals = [builder.phi(_vector()) for _ in range(n_vectors)]
        start = builder.add(args[2], builder.mul(k, _constant(CHAINS)))
        new = []
        for v in range(n_vectors):
            offset = builder.add(start, _constant(v * _LANES))
            left = builder.load(_at(builder, args[0], offset))
            right = builder.load(_at(builder, args[1], offset))
            left.align = right.align = 8
            d = builder.fsub(left, right)
            new.append(builder.call(fma, [d, d, totals[v]]))
        following = builder.add(k, _constant(1))
        k.add_incoming(following, loop)
        for v in range(n_vectors):
            totals[v].add_incoming(held[v], entry)
            totals[v].add_incoming(new[v], loop)
        builder.cbranch(builder.icmp_signed("<", following, args[3]), loop, done)

        builder.position_at_end(done)
        for v in range(n_vectors):
            result = builder.phi(_vector())
            result.add_incoming(held[v], entry)
            result.add_incoming(new[v], loop)
            held[v] = result
        for v in range(n_vectors):
            place = _at(builder, args[4], _constant(v * _LANES))
            builder.store(held[v], place).align = 8
        return context.get_dummy_value()

    return signature, codegen


@intrinsic  # type: ignore[untyped-decorator]
def total_of(typingctx: Any, sums: Any) -> Any:
    """Add ``CHAINS`` sums in halves."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        parts = []
        for v in range(CHAINS // _LANES):
            value = builder.load(_at(builder, args[0], _constant(v * _LANES)))
            value.align = 8
            parts.append(value)
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [builder.fadd(parts[v], parts[v + half]) for v in range(half)]
        value, width = parts[0], _LANES
        while width > 1:
            width //= 2
            lanes = ir.VectorType(ir.IntType(32), width)
            undefined = ir.Constant(value.type, ir.Undefined)
            low = ir.Constant(lanes, list(range(width)))
            high = ir.Constant(lanes, list(range(width, 2 * width)))
            value = builder.fadd(
                builder.shuffle_vector(value, undefined, low),
                builder.shuffle_vector(value, undefined, high),
            )
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return types.float64(sums), codegen


@intrinsic  # type: ignore[untyped-decorator]
def fused(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """Compute a b + c with one rounding."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        double = ir.DoubleType()
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(double, [double] * 3), "llvm.fma.f64"
        )
        return builder.call(fma, args)

    return types.float64(types.float64, types.float64, types.float64), codegen


@inner
def squared_distance(left: Any, right: Any, n: int, limit: float) -> float:
    """Compute the squared distance of the vectors at two pointers.

    If it exceeds ``limit``, any number that also does may be returned.
    """
    place = zero_sums()
    blocks = n // CHAINS
    done = 0
    while done < blocks:
        some = min(_STRETCH, blocks - done)
        add_squares(left, right, done * CHAINS, some, place)
        done += some
        if done < blocks:
            so_far = total_of(place)
            if so_far > limit:
                return float(so_far)
    tail = 0.0
    for c in range(blocks * CHAINS, n):
        d = element(left, c) - element(right, c)
        tail = fused(d, d, tail)
    return float(total_of(place) + tail)


@kernel(array(int64, 1), array(int64, 1), int64, array(float64, 2, out=True))
def _all_pairs(rows: IntArray, others: IntArray, n: int, out: FloatArray) -> None:
    for j in range(len(others)):
        for i in range(len(rows)):
            out[i, j] = squared_distance(at_address(rows[i]), at_address(others[j]), n, np.inf)


@kernel(array(float64, 2), array(float64, 2, out=True))
def _unit_rows(rows: FloatArray, out: FloatArray) -> None:
    n = rows.shape[1]
    zeros = np.zeros(n)
    for i in range(len(rows)):
        square = squared_distance(address(rows, i * n), address(zeros, 0), n, np.inf)
        scale = 1.0
        if square < 1e-200 or square > 1e200:
            # a power of two first, or the squares lose digits
            largest = 0.0
            for c in range(n):
                largest = max(largest, abs(rows[i, c]))
            if largest > 0.0 and largest < np.inf:
                scale = 2.0 ** min(1000.0, -np.floor(np.log2(largest)))
        if scale != 1.0:
            for c in range(n):
                out[i, c] = rows[i, c] * scale
            square = squared_distance(address(out, i * n), address(zeros, 0), n, np.inf)
            inverse = 1.0 / np.sqrt(square)
            for c in range(n):
                out[i, c] *= inverse
        else:
            inverse = 1.0 / np.sqrt(square) if square != 0.0 else 0.0
            for c in range(n):
                out[i, c] = rows[i, c] * inverse


def addresses(rows: FloatArray) -> IntArray:
    """Return the address of every row; the array must outlive its use."""
    start, step = rows.ctypes.data, rows.strides[0] if len(rows) else 0
    return start + step * np.arange(len(rows), dtype=np.int64)


def unit_rows(rows: FloatArray, out: FloatArray | None = None) -> FloatArray:
    """Scale every row to norm 1.

    Parameters
    ----------
    rows
        Vectors (row, column).
    out
        Array for the result; ``rows`` itself is allowed.

    Returns
    -------
        The scaled rows. Their norms differ from 1 by less than 1e-15. A row of zeros
        stays as it is, and a row that contains NaN becomes NaN.
    """
    rows = np.ascontiguousarray(rows, dtype=np.float64)
    out = np.empty_like(rows) if out is None else out
    _unit_rows(rows, out)
    return out


def squared_distances(rows: FloatArray, others: FloatArray) -> FloatArray:
    """Compute the squared distances (row, other) between all rows of two arrays.

    Cost: about 0.5 nanoseconds per column and pair while vectors stay in cache.
    """
    rows = np.ascontiguousarray(rows, dtype=np.float64)
    others = np.ascontiguousarray(others, dtype=np.float64)
    if rows.shape[1] != others.shape[1]:
        raise ParameterError(
            f"vectors of {rows.shape[1]} and of {others.shape[1]} columns have no distance"
        )
    out = np.empty((len(rows), len(others)))
    _all_pairs(addresses(rows), addresses(others), rows.shape[1], out)
    return out


__all__ = [
    "CHAINS",
    "addresses",
    "at_address",
    "squared_distance",
    "squared_distances",
    "unit_rows",
]
