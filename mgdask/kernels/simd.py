"""Small matrix products on explicit vector registers.

This is the LLVM code of mgdask, with that of ``distances.py``.

LLVM does not vectorize a plain loop over 2l + 1 harmonics and a dozen radial functions,
and BLAS is slow at these sizes. ``tile`` keeps a few rows of the product in registers
while it runs over the long index. Every number is one chain of fused multiply-adds in
the order of that index. Results do not depend on the width of the registers or on how
the rows are tiled.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mgdask.kernels._jit import inner

LANES: int = 8 if llvm.get_host_cpu_features().get("avx512f") else 4
"""Doubles in one vector register of this machine."""

PRODUCT_LANES: int = 4 if llvm.get_host_cpu_name() == "znver4" else LANES
"""Doubles in one vector register of a matrix product.

Zen 4 executes a multiply-add of eight in two halves. Registers of four then cost the
same per number, and rows are padded with fewer zeros.
"""

ROWS = 4
"""Rows of the product in flight: 4 x 2 registers hide the latency of a multiply-add."""

BESIDE = 8
"""Trajectories processed together by the ``path_...`` functions."""


@intrinsic  # type: ignore[untyped-decorator]
def address(typingctx: Any, array: Any, index: Any) -> Any:
    """Return a pointer to element ``index``, counted flat, of a contiguous array.

    The pointer does not keep the array. Numba frees an array after the last use of its
    name, so take the address inside the loop that uses it, of an array that is an
    argument, that an outer loop needs again, or that is read afterwards.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.gep(data, [args[1]])

    return types.CPointer(array.dtype)(array, types.int64), codegen


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def tile(
    typingctx: Any,
    a: Any,
    a_k: Any,
    a_m: Any,
    b: Any,
    b_k: Any,
    c: Any,
    c_m: Any,
    n_k: Any,
    rows: Any,
    vectors: Any,
) -> Any:
    """Compute C[m, :w] = sum_k A[k a_k + m a_m] B[k b_k, :w] for m < rows and k < n_k.

    Here w = vectors * PRODUCT_LANES. ``a``, ``b``, ``c`` are pointers from ``address``;
    ``rows`` and ``vectors`` are literals; strides are in elements.
    """
    n_rows, n_vectors = rows.literal_value, vectors.literal_value
    i8 = types.int64
    signature = types.void(a, i8, i8, b, i8, c, i8, i8, rows, vectors)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pa, ak, am, pb, bk, pc, cm, nk = args[:8]
        double, index = ir.DoubleType(), nk.type
        vector = ir.VectorType(double, PRODUCT_LANES)
        zero, undefined = (
            ir.Constant(vector, [0.0] * PRODUCT_LANES),
            ir.Constant(vector, ir.Undefined),
        )
        splat = ir.Constant(ir.VectorType(ir.IntType(32), PRODUCT_LANES), [0] * PRODUCT_LANES)
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{PRODUCT_LANES}f64"
        )
        cells = [(m, j) for m in range(n_rows) for j in range(n_vectors)]

        def at(pointer: Any, offset: Any, j: int) -> Any:
            where = builder.gep(
                pointer, [builder.add(offset, ir.Constant(index, j * PRODUCT_LANES))]
            )
            return builder.bitcast(where, vector.as_pointer())

        entry = builder.block
        loop, done = (
            builder.append_basic_block("tile.loop"),
            builder.append_basic_block("tile.done"),
        )
        builder.cbranch(builder.icmp_signed(">", nk, ir.Constant(index, 0)), loop, done)

        builder.position_at_end(loop)
        k = builder.phi(index)
        k.add_incoming(ir.Constant(index, 0), entry)
        sums = {cell: builder.phi(vector) for cell in cells}
        row_b = builder.mul(k, bk)
        right = []
        for j in range(n_vectors):
            value = builder.load(at(pb, row_b, j))
            value.align = 8
            right.append(value)
        row_a = builder.mul(k, ak)
        new = {}
        for m in range(n_rows):
            offset = builder.add(row_a, builder.mul(am, ir.Constant(index, m)))
            scalar = builder.load(builder.gep(pa, [offset]))
            left = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
            left = builder.shuffle_vector(left, undefined, splat)
            for j in range(n_vectors):
                new[m, j] = builder.call(fma, [left, right[j], sums[m, j]])
        following = builder.add(k, ir.Constant(index, 1))
        k.add_incoming(following, loop)
        for cell in cells:
            sums[cell].add_incoming(zero, entry)
            sums[cell].add_incoming(new[cell], loop)
        builder.cbranch(builder.icmp_signed("<", following, nk), loop, done)

        builder.position_at_end(done)
        results = {}
        for cell in cells:
            results[cell] = builder.phi(vector)
            results[cell].add_incoming(zero, entry)
            results[cell].add_incoming(new[cell], loop)
        for (m, j), value in results.items():
            where = at(pc, builder.mul(cm, ir.Constant(index, m)), j)
            builder.store(value, where).align = 8
        return context.get_dummy_value()

    return signature, codegen


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def scaled_copy(typingctx: Any, source: Any, target: Any, scale: Any, vectors: Any) -> Any:
    """Compute target[:w] = scale * source[:w] with w = vectors * LANES.

    Pointers come from ``address``; ``vectors`` is a literal.
    """
    n_vectors = vectors.literal_value
    signature = types.void(source, target, types.float64, vectors)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        origin, goal, factor = args[:3]
        vector = ir.VectorType(ir.DoubleType(), LANES)
        undefined = ir.Constant(vector, ir.Undefined)
        first = builder.insert_element(undefined, factor, ir.Constant(ir.IntType(32), 0))
        factors = builder.shuffle_vector(
            first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        )
        for j in range(n_vectors):
            offset = [ir.Constant(ir.IntType(64), j * LANES)]
            value = builder.load(builder.bitcast(builder.gep(origin, offset), vector.as_pointer()))
            value.align = 8
            where = builder.bitcast(builder.gep(goal, offset), vector.as_pointer())
            builder.store(builder.fmul(value, factors), where).align = 8
        return context.get_dummy_value()

    return signature, codegen


@intrinsic  # type: ignore[untyped-decorator]
def displacements(
    typingctx: Any,
    x: Any,
    y: Any,
    z: Any,
    origin: Any,
    shift: Any,
    first: Any,
    dx: Any,
    dy: Any,
    dz: Any,
    d2: Any,
    index: Any,
) -> Any:
    """Compute d = (point - origin) + shift of LANES points, and its square.

    ``index`` gets ``first``, ``first + 1``, .... ``x`` to ``index`` are pointers from
    ``address``; ``origin`` and ``shift`` are tuples of three float64. The origin is
    subtracted first, so the displacement from i to j is exactly minus that from j to i.
    """
    triple = types.UniTuple(types.float64, 3)
    i8 = types.int64
    signature = types.void(x, y, z, triple, triple, i8, dx, dy, dz, d2, index)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector, counts = ir.VectorType(ir.DoubleType(), LANES), ir.VectorType(ir.IntType(64), LANES)
        splat = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)

        def spread(value: Any, kind: Any) -> Any:
            undefined = ir.Constant(kind, ir.Undefined)
            one = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(one, undefined, splat)

        def put(value: Any, pointer: Any, kind: Any) -> None:
            builder.store(value, builder.bitcast(pointer, kind.as_pointer())).align = 8

        total = None
        for axis in range(3):
            point = builder.load(builder.bitcast(args[axis], vector.as_pointer()))
            point.align = 8
            d = builder.fsub(point, spread(builder.extract_value(args[3], axis), vector))
            d = builder.fadd(d, spread(builder.extract_value(args[4], axis), vector))
            put(d, args[6 + axis], vector)
            square = builder.fmul(d, d)
            total = square if total is None else builder.fadd(total, square)
        put(total, args[9], vector)
        steps = ir.Constant(counts, list(range(LANES)))
        put(builder.add(spread(args[5], counts), steps), args[10], counts)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic  # type: ignore[untyped-decorator]
def beyond(typingctx: Any, x: Any, y: Any, z: Any, normal: Any, limit: Any, side: Any) -> Any:
    """Find which of LANES points have n.p > limit, as the bits of an integer.

    ``side`` gets n.p of each point. ``x``, ``y``, ``z`` and ``side`` are pointers from
    ``address``; ``normal`` is a tuple of three float64.
    """
    signature = types.int64(x, y, z, types.UniTuple(types.float64, 3), types.float64, side)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.DoubleType(), LANES)
        splat = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        undefined = ir.Constant(vector, ir.Undefined)

        def spread(value: Any) -> Any:
            one = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(one, undefined, splat)

        total = None
        for axis in range(3):
            point = builder.load(builder.bitcast(args[axis], vector.as_pointer()))
            point.align = 8
            term = builder.fmul(point, spread(builder.extract_value(args[3], axis)))
            total = term if total is None else builder.fadd(total, term)
        builder.store(total, builder.bitcast(args[5], vector.as_pointer())).align = 8
        bits = builder.bitcast(builder.fcmp_ordered(">", total, spread(args[4])), ir.IntType(LANES))
        return builder.zext(bits, ir.IntType(64))

    return signature, codegen


def _beside() -> Any:
    return ir.VectorType(ir.DoubleType(), BESIDE)


def _load(builder: Any, pointer: Any, offset: int = 0) -> Any:
    where = builder.gep(pointer, [ir.Constant(ir.IntType(64), offset)])
    value = builder.load(builder.bitcast(where, _beside().as_pointer()))
    value.align = 8
    return value


def _store(builder: Any, value: Any, pointer: Any, offset: int = 0) -> None:
    where = builder.gep(pointer, [ir.Constant(ir.IntType(64), offset)])
    builder.store(value, builder.bitcast(where, _beside().as_pointer())).align = 8


def _square(builder: Any, origin: Any, later: Any) -> Any:
    # |later - origin|^2 of one frame, summed over x, y, z for all trajectories at once,
    # without fused operations, as in NumPy
    total = None
    for axis in range(3):
        d = builder.fsub(
            _load(builder, later, axis * BESIDE), _load(builder, origin, axis * BESIDE)
        )
        square = builder.fmul(d, d)
        total = square if total is None else builder.fadd(total, square)
    return total


@intrinsic  # type: ignore[untyped-decorator]
def path_moments(
    typingctx: Any,
    beside: Any,
    origin: Any,
    later: Any,
    length: Any,
    runs: Any,
    first: Any,
    most: Any,
    total: Any,
) -> Any:
    """Add sum |p[later[r] + t] - p[origin[r] + t]|^(2m + 2) to total[m], m = 0, 1.

    The sum is over r < ``runs``, then over t with ``first`` <= t < min(``first +
    most``, ``length[r]``). ``beside`` points to trajectories p laid out (frame, 3,
    BESIDE); ``origin``, ``later`` and ``length`` to runs of frames; ``total`` to (2,
    BESIDE).
    """
    i8 = types.int64
    signature = types.void(beside, origin, later, length, i8, i8, i8, total)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        paths, starts, ends, lengths, n_runs, skipped, limit, sums = args
        frame = ir.Constant(n_runs.type, 3 * BESIDE)
        kept = [
            cgutils.alloca_once_value(builder, _load(builder, sums, m * BESIDE)) for m in range(2)
        ]
        with cgutils.for_range(builder, n_runs) as run:
            left = builder.sub(builder.load(builder.gep(lengths, [run.index])), skipped)
            left = builder.select(builder.icmp_signed("<", left, limit), left, limit)
            where = []
            for table in (starts, ends):
                at = builder.add(builder.load(builder.gep(table, [run.index])), skipped)
                where.append(builder.gep(paths, [builder.mul(at, frame)]))
            with cgutils.for_range(builder, left) as step:  # none if negative
                offset = [builder.mul(step.index, frame)]
                square = _square(
                    builder, builder.gep(where[0], offset), builder.gep(where[1], offset)
                )
                for power, place in zip((square, builder.fmul(square, square)), kept, strict=True):
                    builder.store(builder.fadd(builder.load(place), power), place)
        for m in range(2):
            _store(builder, builder.load(kept[m]), sums, m * BESIDE)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic  # type: ignore[untyped-decorator]
def path_squares(typingctx: Any, origin: Any, later: Any, out: Any) -> Any:
    """Compute out[:BESIDE] = |later - origin|^2.

    Pointers are to frames of trajectories laid out (frame, 3, BESIDE), and to ``out``.
    """
    signature = types.void(origin, later, out)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _store(builder, _square(builder, args[0], args[1]), args[2])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic  # type: ignore[untyped-decorator]
def path_within(typingctx: Any, origin: Any, later: Any, limit: Any) -> Any:
    """Find which of BESIDE trajectories have |later - origin|^2 < limit, as bits.

    Pointers are as in ``path_squares``.
    """
    signature = types.int64(origin, later, types.float64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        undefined = ir.Constant(_beside(), ir.Undefined)
        splat = ir.Constant(ir.VectorType(ir.IntType(32), BESIDE), [0] * BESIDE)
        one = builder.insert_element(undefined, args[2], ir.Constant(ir.IntType(32), 0))
        limits = builder.shuffle_vector(one, undefined, splat)
        inside = builder.fcmp_ordered("<", _square(builder, args[0], args[1]), limits)
        return builder.zext(builder.bitcast(inside, ir.IntType(BESIDE)), ir.IntType(64))

    return signature, codegen


@intrinsic  # type: ignore[untyped-decorator]
def bit_count(typingctx: Any, bits: Any) -> Any:
    """Count the bits of an integer that are 1."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.int64), codegen


@inner
def contract(
    a: Any,
    a_at: int,
    a_k: int,
    a_m: int,
    rows: int,
    b: Any,
    b_at: int,
    c: Any,
    c_at: int,
    width: int,
    n_k: int,
) -> None:
    """Compute c[m, :width] = sum_k a[k, m] b[k, :width].

    Rows of ``b`` and ``c`` have ``width`` elements, a multiple of PRODUCT_LANES.
    ``c`` has room for whole tiles of rows.
    """
    for m in range(0, rows, ROWS):
        column = 0
        while column + 3 * PRODUCT_LANES <= width:
            tile(
                address(a, a_at + m * a_m),
                a_k,
                a_m,
                address(b, b_at + column),
                width,
                address(c, c_at + m * width + column),
                width,
                n_k,
                ROWS,
                3,
            )
            column += 3 * PRODUCT_LANES
        if column + 2 * PRODUCT_LANES <= width:
            tile(
                address(a, a_at + m * a_m),
                a_k,
                a_m,
                address(b, b_at + column),
                width,
                address(c, c_at + m * width + column),
                width,
                n_k,
                ROWS,
                2,
            )
            column += 2 * PRODUCT_LANES
        if column < width:
            tile(
                address(a, a_at + m * a_m),
                a_k,
                a_m,
                address(b, b_at + column),
                width,
                address(c, c_at + m * width + column),
                width,
                n_k,
                ROWS,
                1,
            )
