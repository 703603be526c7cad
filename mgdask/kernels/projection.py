"""A few components of long vectors, in float32, with a bound of their error.

    a_c = sum_i B_ic p_i,   r = sqrt(|p|^2 - |a|^2)

The basis B has orthonormal columns. Products run in float32 over ``STRETCH`` columns
of the vectors and are then added in float64, so their error does not grow with the
number of columns. ``product_tile`` keeps ``ROWS`` rows by ``WIDTH`` numbers in
registers; the order of its sums is that of the long index.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import float32, float64, int64, types
from numba.core import cgutils
from numba.extending import intrinsic

from mgdask._typing import FloatArray
from mgdask.errors import ParameterError
from mgdask.kernels._jit import array, inner, kernel
from mgdask.kernels.distances import squared_distance
from mgdask.kernels.simd import LANES, address

Single: TypeAlias = npt.NDArray[np.float32]

WIDTH = 16
"""Numbers in float32 per row of a tile."""
ROWS = LANES
"""Rows of a tile; all of it stays in registers."""
STRETCH = 64
"""Products that are added up in float32."""


def _vector() -> Any:
    return ir.VectorType(ir.FloatType(), WIDTH)


def _offset(value: int) -> Any:
    return ir.Constant(ir.IntType(64), value)


def _load(builder: Any, pointer: Any) -> Any:
    value = builder.load(builder.bitcast(pointer, _vector().as_pointer()))
    value.align = 4
    return value


def _spread(builder: Any, scalar: Any) -> Any:
    undefined = ir.Constant(_vector(), ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(first, undefined, everywhere)


@intrinsic  # type: ignore[untyped-decorator]
def product_tile(typingctx: Any, a: Any, a_m: Any, b: Any, n_k: Any, c: Any) -> Any:
    """Compute C[m, :] = sum_k A[m a_m + k] B[k, :] for m < ROWS and k < n_k.

    ``a``, ``b`` and ``c`` are pointers to float32; rows of B and C have WIDTH numbers.
    """
    i8 = types.int64
    signature = types.void(a, i8, b, i8, c)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pa, stride, pb, count, pc = args
        zero = ir.Constant(_vector(), [0.0] * WIDTH)
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_vector(), [_vector()] * 3), f"llvm.fma.v{WIDTH}f32"
        )
        rows = [builder.gep(pa, [builder.mul(stride, _offset(m))]) for m in range(ROWS)]
        entry = builder.block
        loop = builder.append_basic_block("product.loop")
        done = builder.append_basic_block("product.done")
        builder.cbranch(builder.icmp_signed(">", count, _offset(0)), loop, done)

        builder.position_at_end(loop)
        k = builder.phi(ir.IntType(64))
        k.add_incoming(_offset(0), entry)
        sums = [builder.phi(_vector()) for _ in range(ROWS)]
        right = _load(builder, builder.gep(pb, [builder.mul(k, _offset(WIDTH))]))
        new = []
        for m in range(ROWS):
            left = _spread(builder, builder.load(builder.gep(rows[m], [k])))
            new.append(builder.call(fma, [left, right, sums[m]]))
        following = builder.add(k, _offset(1))
        k.add_incoming(following, loop)
        for m in range(ROWS):
            sums[m].add_incoming(zero, entry)
            sums[m].add_incoming(new[m], loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, done)

        builder.position_at_end(done)
        results = []
        for m in range(ROWS):
            result = builder.phi(_vector())
            result.add_incoming(zero, entry)
            result.add_incoming(new[m], loop)
            results.append(result)
        for m in range(ROWS):
            place = builder.gep(pc, [_offset(m * WIDTH)])
            where = builder.bitcast(place, _vector().as_pointer())
            builder.store(results[m], where).align = 4
        return context.get_dummy_value()

    return signature, codegen


@intrinsic  # type: ignore[untyped-decorator]
def at_least(typingctx: Any, c: Any, limit: Any, bits: Any) -> Any:
    """Find the numbers of a tile that are not below the limit of their row.

    Bit i of ``bits[m]`` is set if C[m, i] >= limit[m]. All bits together are returned.
    NaN is below any limit. Pointers are to float32, ``bits`` to int64.
    """
    signature = types.int64(c, limit, bits)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = _offset(0)
        for m in range(ROWS):
            values = _load(builder, builder.gep(args[0], [_offset(m * WIDTH)]))
            least = _spread(builder, builder.load(builder.gep(args[1], [_offset(m)])))
            mask = builder.bitcast(builder.fcmp_ordered(">=", values, least), ir.IntType(WIDTH))
            mask = builder.zext(mask, ir.IntType(64))
            builder.store(mask, builder.gep(args[2], [_offset(m)]))
            whole = builder.or_(whole, mask)
        return whole

    return signature, codegen


@intrinsic  # type: ignore[untyped-decorator]
def single_product(typingctx: Any, a: Any, b: Any, count: Any) -> Any:
    """Compute a.b of ``count * WIDTH`` numbers in float32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_vector(), [_vector()] * 3), f"llvm.fma.v{WIDTH}f32"
        )
        total = cgutils.alloca_once_value(builder, ir.Constant(_vector(), [0.0] * WIDTH))
        with cgutils.for_range(builder, args[2]) as step:
            at = [builder.mul(step.index, _offset(WIDTH))]
            left, right = (_load(builder, builder.gep(args[i], at)) for i in range(2))
            builder.store(builder.call(fma, [left, right, builder.load(total)]), total)
        value, width = builder.load(total), WIDTH
        while width > 1:
            width //= 2
            undefined = ir.Constant(value.type, ir.Undefined)
            kind = ir.VectorType(ir.IntType(32), width)
            halves = [
                builder.shuffle_vector(
                    value, undefined, ir.Constant(kind, list(range(start, start + width)))
                )
                for start in (0, width)
            ]
            value = builder.fadd(*halves)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return types.float32(a, b, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def lowest_bit(typingctx: Any, bits: Any) -> Any:
    """Return the position of the lowest bit that is set; ``bits`` is not 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen


@inner
def project_rows(
    rows: FloatArray,
    first: int,
    count: int,
    strips: Single,
    k: int,
    allowance: float,
    zeros: FloatArray,
    some: Single,
    tile: Single,
    total: FloatArray,
    out: Single,
    rest: Single,
    square: FloatArray,
) -> None:
    """Project ``count`` rows from ``first``; see ``project``.

    ``out`` has room for a multiple of ROWS rows; those without a vector become 0.
    ``zeros`` (column,), ``some`` (ROWS,STRETCH), ``tile`` (ROWS,WIDTH) and ``total``
    (ROWS,padded component) are scratch.
    """
    n, few = rows.shape[1], out.shape[1] - 1
    for start in range(0, count, ROWS):
        m_end = min(ROWS, count - start)
        for m in range(ROWS):
            for c in range(total.shape[1]):
                total[m, c] = 0.0
            if m >= m_end:
                for i in range(STRETCH):
                    some[m, i] = 0.0
        for column in range(0, n, STRETCH):
            width = min(STRETCH, n - column)
            for m in range(m_end):
                row = rows[first + start + m]
                for i in range(width):
                    some[m, i] = row[column + i]
            for strip in range(len(strips)):
                product_tile(
                    address(some, 0),
                    STRETCH,
                    address(strips, (strip * n + column) * WIDTH),
                    width,
                    address(tile, 0),
                )
                for m in range(m_end):
                    for c in range(WIDTH):
                        total[m, strip * WIDTH + c] += tile[m, c]
        for m in range(ROWS):
            if m >= m_end:
                for c in range(few + 1):
                    out[start + m, c] = 0.0
                square[start + m] = 0.0
                continue
            norm = squared_distance(
                address(rows, (first + start + m) * n), address(zeros, 0), n, np.inf
            )
            left = norm
            for c in range(few):
                out[start + m, c] = total[m, c]
                left -= total[m, c] * total[m, c]
            out[start + m, few] = np.sqrt(max(left, 0.0) + allowance * norm)
            for c in range(few, k):
                rest[start + m, c - few] = total[m, c]
                left -= total[m, c] * total[m, c]
            rest[start + m, k - few] = np.sqrt(max(left, 0.0) + allowance * norm)
            square[start + m] = norm


@kernel(
    array(float64, 2),
    array(float32, 3),
    int64,
    float64,
    array(float32, 2, out=True),
    array(float32, 2, out=True),
    array(float64, 1, out=True),
)
def _project(
    rows: FloatArray,
    strips: Single,
    k: int,
    allowance: float,
    out: Single,
    rest: Single,
    square: FloatArray,
) -> None:
    n = rows.shape[1]
    zeros, some = np.zeros(n), np.zeros((ROWS, STRETCH), dtype=np.float32)
    tile = np.zeros((ROWS, WIDTH), dtype=np.float32)
    total = np.zeros((ROWS, len(strips) * WIDTH))
    project_rows(
        rows, 0, len(rows), strips, k, allowance, zeros, some, tile, total, out, rest, square
    )


def strips_of(basis: Single) -> Single:
    """Arrange the columns of a basis in strips (strip,column,WIDTH), padded with 0."""
    n, k = basis.shape
    strips = np.zeros((-(-k // WIDTH), n, WIDTH), dtype=np.float32)
    for strip in range(len(strips)):
        some = basis[:, strip * WIDTH : (strip + 1) * WIDTH]
        strips[strip, :, : some.shape[1]] = some
    return strips


def error_of(basis: Single) -> float:
    """Return the largest error of the projection of a vector of norm 1.

    Let e = |B^T B - 1|, with B as stored in float32. Q = B (B^T B)^(-1/2) has exactly
    orthonormal columns, and Q^T p differs from B^T p by at most 1.1 e |p| if e < 0.1. A
    number of p is rounded to float32 once and takes part in at most ``STRETCH`` further
    roundings in float32, so a component is wrong by (STRETCH + 2) v |b| |p| with v =
    2^-24; additions in float64 are covered by the 2. The norm of the error of k
    components is at most sqrt(k) times that.
    """
    n, k = basis.shape
    exact = basis.astype(np.float64)
    e = float(np.linalg.norm(exact.T @ exact - np.eye(k))) + n * k * 2.0**-52
    if not e < 0.01:
        raise ParameterError(
            f"the basis is not orthonormal: its products differ from 0 and 1 by {e:.3g}"
        )
    return float(1.1 * e + 1.1 * np.sqrt(k) * (STRETCH + 3) * 2.0**-24)


def allowance_of(n: int, h: float) -> float:
    """Return what is added to r^2, so that it is never too small.

    |Q^T p|^2 is computed within (2 h + h^2) |p|^2, |p|^2 within n 2^-53 of itself.
    """
    return 2.2 * h + 4.0 * (n + 8) * 2.0**-53


def rest_width(k: int, few: int) -> int:
    """Return the room for the components after the first few, and their residual."""
    return -(-(k - few + 1) // WIDTH) * WIDTH


def project(rows: FloatArray, strips: Single, k: int, few: int, h: float) -> tuple[Single, Single]:
    """Project rows on k vectors.

    Parameters
    ----------
    rows
        Vectors (row, column).
    strips
        The basis; see ``strips_of``.
    k, few
        Number of components, and how many of them are in the first part.
    h
        Error of a component; see ``error_of``.

    Returns
    -------
    first, rest
        Components in float32, followed by what they leave: (row, few + 1), and the
        others (row, k - few + 1), padded with 0. The residuals are not below the exact
        ones.
    """
    padded = -(-len(rows) // ROWS) * ROWS
    first = np.empty((padded, few + 1), dtype=np.float32)
    rest = np.zeros((padded, rest_width(k, few)), dtype=np.float32)
    _project(rows, strips, k, allowance_of(rows.shape[1], h), first, rest, np.empty(padded))
    return first[: len(rows)], rest[: len(rows)]
