"""Movement that cancels: permutations, reshapes, slices, pieces and repetitions that undo or contain each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tenfold.ir.dim import Size, known_le
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.ir.tensor import Tensor
from tenfold.ops.constant import Constant, Fill, Iota
from tenfold.ops.elementwise import Elementwise, broadcast_shapes
from tenfold.ops.image import Resample
from tenfold.ops.index import Gather
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat, Expand, Pad, Reshape, Slice, Split, Tile, Transpose
from tenfold.rewrite.pattern import constant, exact_constant, number, used_once
from tenfold.rewrite.rule import Replacement, rule


@rule(
    "graph (%x: f32[2, 3, 4]) { return Transpose<permutation=(1, 2, 0)>(Transpose<permutation=(1, 0, 2)>(%x)) }",
    "graph (%x: f32[2, 3, 4]) { return Transpose<permutation=(1, 2, 0)>(Neg(%x)) }",
)
def transpose_twice(value: Value) -> Replacement:
    """transpose(transpose(x, p), q) -> transpose(x, p[q])"""
    match value:
        case Value(Transpose(outer), (Value(Transpose(inner), (x,)),)):
            return Transpose(tuple(inner[axis] for axis in outer))(x)
    return None


@rule(
    "graph (%x: f32[2, 6]) { return Reshape<shape=(3, 4)>(Reshape<shape=(12,)>(%x)) }",
    "graph (%x: f32[2, 6]) { return Reshape<shape=(3, 4)>(Transpose<permutation=(1, 0)>(%x)) }",
)
def reshape_twice(value: Value) -> Replacement:
    """reshape(reshape(x, a), b) -> reshape(x, b)"""
    match value:
        case Value(Reshape() as op, (Value(Reshape(), (x,)),)):
            return op(x)
    return None


@rule(
    "graph (%x: f32[N, 1, 4]) { return Transpose<permutation=(1, 0, 2)>(%x) }",
    "graph (%x: f32[N, 3, 4]) { return Transpose<permutation=(1, 0, 2)>(%x) }",
)
def transpose_ones(value: Value) -> Replacement:
    """transpose(x) that moves only axes of size 1 past others -> reshape(x)"""
    match value:
        case Value(Transpose(permutation), (x,)):
            moved = [axis for axis in permutation if x.type.shape[axis] != 1]
            if moved == sorted(moved) and permutation != tuple(range(x.type.rank)):
                return Reshape(value.type.shape)(x)
    return None


@rule(
    "graph (%x: f32[2, 1]) { return Expand<shape=(3, 2, 4)>(Expand<shape=(2, 4)>(%x)) }",
    "graph (%x: f32[2, 1]) { return Expand<shape=(3, 2, 4)>(Neg(%x)) }",
)
def expand_twice(value: Value) -> Replacement:
    """expand(expand(x, a), b) -> expand(x, b)"""
    match value:
        case Value(Expand() as op, (Value(Expand(), (x,)),)):
            return op(x)
    return None


@rule(
    "graph (%x: f32[2, 1], %y: f32[2, 3]) { return Add(Expand<shape=(2, 3)>(%x), %y) }",
    "graph (%x: f32[2, 1], %y: f32[2, 1]) { return Add(Expand<shape=(2, 3)>(%x), %y) }",
)
def broadcast_alone(value: Value) -> Replacement:
    """f(expand(x), y) -> f(x, y), where y alone gives the result its shape"""
    op = value.op
    if not isinstance(op, Elementwise) or len(value.inputs) < 2:
        return None
    for place, one in enumerate(value.inputs):
        if isinstance(one.op, Expand):
            operands = [*value.inputs[:place], one.inputs[0], *value.inputs[place + 1 :]]
            if broadcast_shapes(*(operand.type.shape for operand in operands)) == value.type.shape:
                return op(*operands)
    return None


@rule(
    "graph (%x: f32[2, 1, 4]) { return Tile<repeats=(1, 3, 1)>(%x) }",
    "graph (%x: f32[2, 1, 4]) { return Tile<repeats=(2, 3, 1)>(%x) }",
)
def tile_to_expand(value: Value) -> Replacement:
    """tile(x) along axes of size 1 -> expand(x)"""
    match value:
        case Value(Tile(repeats), (x,)):
            if all(count == 1 or size == 1 for count, size in zip(repeats, x.type.shape, strict=True)):
                return Expand(value.type.shape)(x)
    return None


@rule(
    """graph (%x: f32[9]) {
      return Slice<starts=(2,), sizes=(2,), steps=(-1,)>(Slice<starts=(1,), sizes=(4,), steps=(2,)>(%x))
    }""",
    "graph (%x: f32[9]) { return Slice<starts=(2,), sizes=(2,), steps=(-1,)>(Neg(%x)) }",
)
def slice_twice(value: Value) -> Replacement:
    """slice(slice(x, a, s), b, t) -> slice(x, a + b s, s t)"""
    match value:
        case Value(Slice(starts, sizes, steps), (Value(Slice(first, _, strides), (x,)),)):
            places = zip(first, starts, strides, strict=True)
            joined = tuple(a + b * stride for a, b, stride in places)
            return Slice(joined, sizes, tuple(s * t for s, t in zip(strides, steps, strict=True)))(x)
    return None


def _window(axis: int, start: Size, size: Size, shape: Sequence[Size]) -> Slice:
    """The slice of one run along one axis."""
    starts = tuple(start if at == axis else 0 for at in range(len(shape)))
    sizes = tuple(size if at == axis else full for at, full in enumerate(shape))
    return Slice(starts, sizes, (1,) * len(shape))


@rule(
    """graph (%x: u8[9, 6], %p: i64[5, 3], %w: i32[5, 3]) {
      return Slice<starts=(1, 5), sizes=(3, 6), steps=(1, -1)>(Resample<axis=0, bits=8>(%x, %p, %w))
    }""",
    """graph (%x: u8[9, 6], %p: i64[5, 3], %w: i32[5, 3]) {
      %y = Resample<axis=0, bits=8>(%x, %p, %w)
      return Slice<starts=(1, 5), sizes=(3, 6), steps=(1, -1)>(%y), %y
    }""",
)
def slice_resampled(value: Value) -> Replacement:
    """slice(resample(x, places, weights)) -> resample(slice(x), slice(places), slice(weights))"""
    match value:
        case Value(Slice() as cut, (Value(Resample() as op, (x, places, weights)) as whole,)) if used_once(whole):
            at, size, taps = op.axis, x.type.shape[op.axis], places.type.shape[1]
            rows = Slice((cut.starts[at], 0), (cut.sizes[at], taps), (cut.steps[at], 1))
            starts, sizes = (
                (*given[:at], own, *given[at + 1 :]) for given, own in ((cut.starts, 0), (cut.sizes, size))
            )
            columns = Slice(starts, sizes, (*cut.steps[:at], 1, *cut.steps[at + 1 :]))
            return op(columns(x), rows(places), rows(weights))
    return None


@rule(
    """graph (%x: f32[2, 3], %y: f32[2, 4]) {
      return Slice<starts=(0, 4), sizes=(2, 2), steps=(1, 1)>(Concat<axis=1>(%x, %y))
    }""",
    """graph (%x: f32[2, 3], %y: f32[2, 4]) {
      return Slice<starts=(0, 2), sizes=(2, 2), steps=(1, 1)>(Concat<axis=1>(%x, %y))
    }""",
)
def slice_of_piece(value: Value) -> Replacement:
    """slice(concat(…, x, …)) -> slice(x), where it reaches into one piece only"""
    match value:
        case Value(Slice(starts, sizes, steps), (Value(Concat(axis), pieces),)):
            ends = (starts[axis], starts[axis] + (sizes[axis] - 1) * steps[axis])
            begin: Size = 0
            for piece in pieces:
                end = begin + piece.type.shape[axis]
                if all(known_le(begin, at) and known_le(at + 1, end) for at in ends):
                    moved = tuple(at - begin if place == axis else at for place, at in enumerate(starts))
                    return Slice(moved, sizes, steps)(piece)
                begin = end
    return None


@rule(
    "graph (%x: f32[3], %y: f32[4]) { %a, %b = Split<axis=0, sizes=(3, 4)>(Concat<axis=0>(%x, %y)) return %a, %b }",
    "graph (%x: f32[3], %y: f32[4]) { %a, %b = Split<axis=0, sizes=(4, 3)>(Concat<axis=0>(%x, %y)) return %a, %b }",
)
def split_pieces(value: Value) -> Replacement:
    """split(concat(x, y, …)) at the seams -> x, y, …"""
    match value:
        case Value(Split(axis, sizes), (Value(Concat(along), pieces),)) if axis == along:
            if tuple(piece.type.shape[axis] for piece in pieces) == sizes:
                return pieces
    return None


@rule(
    """graph (%x: f32[2, 6]) {
      %a, %b, %c = Split<axis=1, sizes=(1, 2, 3)>(%x)
      return Concat<axis=1>(%a, %b, %c)
    }""",
    """graph (%x: f32[2, 6]) {
      %a, %b, %c = Split<axis=1, sizes=(1, 2, 3)>(%x)
      return Concat<axis=1>(%b, %a, %c)
    }""",
)
def rejoined(value: Value) -> Replacement:
    """concat(consecutive runs of x, …) -> concat(one run of x, …)"""
    if not isinstance(value.op, Concat):
        return None
    axis, kept = value.op.axis, list[Value]()
    joined = list[tuple[Value, Size, Size] | None]()
    for piece in value.inputs:
        run, previous = _run(piece, axis), joined[-1] if joined else None
        if run and previous and run[0] is previous[0] and run[1] == previous[2]:
            joined[-1] = (run[0], previous[1], run[2])
            source = run[0]
            kept[-1] = _window(axis, previous[1], run[2] - previous[1], source.type.shape)(source)
        else:
            kept.append(piece)
            joined.append(run)
    if len(kept) == len(value.inputs):
        return None
    return kept[0] if len(kept) == 1 else Concat(axis)(*kept)


def _run(value: Value, axis: int) -> tuple[Value, Size, Size] | None:
    """(x, start, end) if `value` is all of x from start to end along the axis."""
    match value:
        case Value(Split(along, sizes), (x,)) if along == axis:
            start = sum(sizes[: value.index], start=0)
            return x, start, start + sizes[value.index]
        case Value(Slice(starts, sizes, steps), (x,)) if set(steps) == {1}:
            whole = all(sizes[at] == full for at, full in enumerate(x.type.shape) if at != axis)
            return (x, starts[axis], starts[axis] + sizes[axis]) if whole else None
    return None


@rule(
    "graph (%x: f32[2], %y: f32[3], %z: f32[4]) { return Concat<axis=0>(Concat<axis=0>(%x, %y), %z) }",
    """graph (%x: f32[2], %y: f32[3], %z: f32[4]) {
      %a = Concat<axis=0>(%x, %y)
      return Concat<axis=0>(%a, %z), %a
    }""",
)
def concat_twice(value: Value) -> Replacement:
    """concat(concat(x, y), z) -> concat(x, y, z), where nothing else uses the inner one"""
    if not isinstance(value.op, Concat):
        return None
    pieces = list[Value]()
    for piece in value.inputs:
        pieces.extend(piece.inputs if piece.op == value.op and used_once(piece) else (piece,))
    return value.op(*pieces) if len(pieces) > len(value.inputs) else None


@rule(
    "graph (%x: f32[5, N]) { return Gather<axis=0>(%x, i64{-2}) }",
    "graph (%x: f32[5, N]) { return Gather<axis=0>(%x, i64[2]{0, 3}) }",
)
def gather_run(value: Value) -> Replacement:
    """gather(x, one position, or consecutive ones) -> slice(x)"""
    match value:
        case Value(Gather(axis), (x, positions)) if positions.type.rank < 2 and positions.type.entries:
            entries, size = positions.type.entries, x.type.shape[axis]
            if not all(isinstance(one, int) for one in entries):
                return None
            start = entries[0] + size if isinstance(entries[0], int) and entries[0] < 0 else entries[0]
            if any(later != entries[0] + at for at, later in enumerate(entries)):
                return None
            if not (known_le(0, start) and known_le(start + len(entries), size)):
                return None
            if positions.type.rank == 0:
                return Reshape(value.type.shape)(_window(axis, start, 1, x.type.shape)(x))
            return _window(axis, start, len(entries), x.type.shape)(x)
    return None


@rule(
    """graph (%x: f32[9, 3], %n: f32[N]) where N in 1.. {
      %at = Slice<starts=(0, 1), sizes=(1, minimum(N, 4)), steps=(1, 1)>(i64[1, 5]{2, 3, 4, 5, 6})
      return Gather<axis=0>(%x, %at)
    }""",
    """graph (%x: f32[9, 3], %n: f32[N]) where N in 1.. {
      %at = Slice<starts=(0, 1), sizes=(1, minimum(N, 4)), steps=(1, 1)>(i64[1, 5]{2, 3, 4, 5, 7})
      return Gather<axis=0>(%x, %at)
    }""",
)
def gather_range(value: Value) -> Replacement:
    """gather(x, a run of a constant range) -> slice(x), as learned positions are looked up"""
    match value:
        case Value(Gather(axis), (x, positions)):
            found = _range(positions)
            if found is not None and known_le(0, found[0]) and known_le(found[0] + found[1], x.type.shape[axis]):
                run = _window(axis, *found, x.type.shape)(x)
                return run if positions.type.rank == 1 else Reshape(value.type.shape)(run)
    return None


def _range(positions: Value) -> tuple[Size, Size] | None:
    """(start, count) of positions that count upwards by one along their last axis, the others being of size 1."""
    if any(size != 1 for size in positions.type.shape[:-1]) or not positions.type.rank:
        return None
    match positions:
        case Value(Iota(start, 1, count), _):
            return start, count
        case Value(Slice(starts, sizes, steps), (x,)) if set(steps) == {1} and (array := exact_constant(x)) is not None:
            first = int(array.flat[0]) if array.size else 0
            counts = np.array_equal(array.ravel(), np.arange(first, first + array.shape[-1]))
            return (first + starts[-1], sizes[-1]) if array.size == array.shape[-1] and counts else None
    return None


@rule(
    """graph (%n: f32[N]) {
      %x = Fill<shape=(3*N,), value=f32{5}>()
      return Reshape<shape=(N, 2)>(Slice<starts=(0,), sizes=(2*N,), steps=(1,)>(%x))
    }""",
    "graph (%n: f32[N]) { return Pad<before=(1,), after=(0,)>(Fill<shape=(N,), value=f32{5}>()) }",
)
def move_fill(value: Value) -> Replacement:
    """reshape, expand, slice, transpose or tile of one value everywhere -> that value everywhere"""
    match value:
        case Value(Reshape() | Expand() | Slice() | Transpose() | Tile(), (x,)):
            filler = x.op.value if isinstance(x.op, Fill) else _uniform(x)
            return None if filler is None else Fill(value.type.shape, filler)()
    return None


def _uniform(value: Value) -> Tensor | None:
    """The value that all elements of a constant of several are."""
    array = constant(value)
    if array is None or array.size < 2 or number(value) is None:
        return None
    return Tensor(array.ravel()[:1].reshape(()))


@rule(
    "graph (%x: f32[9, 3], %n: f32[N]) { return Gather<axis=0>(%x, Fill<shape=(N, 2), value=i64{4}>()) }",
    "graph (%x: f32[9, 3], %n: f32[N]) { return Gather<axis=1>(%x, Fill<shape=(N, 2), value=i64{3}>()) }",
)
def gather_fill(value: Value) -> Replacement:
    """gather(x, one position everywhere) -> expand(slice(x))"""
    match value:
        case Value(Gather(axis), (x, Value(Fill(_, position), _) as positions)):
            at, size = int(position.array.item()), x.type.shape[axis]
            if at < 0 or not known_le(at + 1, size):
                return None
            inner = (1,) * positions.type.rank
            shape = (*x.type.shape[:axis], *inner, *x.type.shape[axis + 1 :])
            return Expand(value.type.shape)(Reshape(shape)(_window(axis, at, 1, x.type.shape)(x)))
    return None


@rule(
    """graph (%x: f32[2, 3, 4]) {
      %t = Transpose<permutation=(1, 2, 0)>(%x)
      return Transpose<permutation=(2, 0, 1)>(Mul(Exp(%t), f32[4, 1]{1, 2, 3, 4}))
    }""",
    """graph (%x: f32[2, 3, 4], %y: f32[3, 4, 2]) {
      %t = Transpose<permutation=(1, 2, 0)>(%x)
      return Transpose<permutation=(2, 0, 1)>(Mul(Exp(%t), %y))
    }""",
)
def transpose_through(value: Value) -> Replacement:
    """transpose(f(transpose(x), c)) -> f(x, transpose(c)), where the outer one undoes the inner one

    Every operand must be such a transpose, a constant or a scalar, and nothing else may use the values between.
    """
    match value:
        case Value(Transpose(permutation), (inner,)) if isinstance(inner.op, Elementwise):
            return _permuted(inner, permutation)
    return None


@rule(
    """graph (%x: f32[2, 4, 3], %y: f32[2, 3, 5]) {
      %m = MatMul(%y, f32[5, 4]{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20})
      return Add(%x, Transpose<permutation=(0, 2, 1)>(%m))
    }""",
    "graph (%x: f32[2, 4, 3], %y: f32[2, 3, 4]) { return Add(%x, Transpose<permutation=(0, 2, 1)>(%y)) }",
)
def transpose_after(value: Value) -> Replacement:
    """f(x, transpose(y)) -> transpose(f(transpose(x), y)), where y is a product and x is not

    What is done to the results of a product is done as they lie, so that its kernel does it.
    """
    if not isinstance(value.op, Elementwise) or len(value.inputs) != 2:
        return None
    for place, other in ((0, 1), (1, 0)):
        turned, rest = value.inputs[place], value.inputs[other]
        if not isinstance(turned.op, Transpose) or not used_once(turned) or not _is_product(turned.inputs[0]):
            continue
        if rest.type.shape == turned.type.shape and not _is_product(rest):
            permutation = turned.op.permutation
            back = Transpose(tuple(permutation.index(axis) for axis in range(len(permutation))))(rest)
            given = (turned.inputs[0], back) if place == 0 else (back, turned.inputs[0])
            return Transpose(permutation)(value.op(*given))
    return None


def _is_product(value: Value) -> bool:
    """Whether a value is made by a product of matrices and elementwise work on it."""
    while isinstance(value.op, Transpose) or (isinstance(value.op, Elementwise) and used_once(value)):
        value = max(value.inputs, key=lambda one: one.type.rank)
    return isinstance(value.op, MatMul)


def _permuted(value: Value, permutation: tuple[int, ...]) -> Value | None:
    """transpose(value) for free, or None."""
    rank = len(permutation)
    if value.type.rank == 0:
        return value
    if isinstance(value.op, Constant):
        shape = (1,) * (rank - value.type.rank) + value.type.shape
        return Transpose(permutation)(value if value.type.rank == rank else Reshape(shape)(value))
    match value:
        case Value(Transpose(inner), (x,)) if tuple(inner[axis] for axis in permutation) == tuple(range(rank)):
            return x
    if not isinstance(value.op, Elementwise) or not used_once(value) or value.type.rank != rank:
        return None
    operands = [_permuted(one, permutation) for one in value.inputs]
    return _applied(value.op, operands)


def _applied(op: Op, operands: list[Value | None]) -> Value | None:
    known = [one for one in operands if one is not None]
    return op(*known) if len(known) == len(operands) else None


@rule(
    "graph (%x: f32[N, 4]) { return Reshape<shape=(N, 4)>(Mul(Exp(Reshape<shape=(4*N,)>(%x)), f32{2.0})) }",
    "graph (%x: f32[N, 4]) { return Reshape<shape=(N, 2, 2)>(Exp(Reshape<shape=(4*N,)>(%x))) }",
)
def reshape_through(value: Value) -> Replacement:
    """reshape(f(reshape(x), scalar)) -> f(x, scalar), where the outer one undoes the inner one"""
    match value:
        case Value(Reshape(shape), (inner,)) if isinstance(inner.op, Elementwise) and inner.type.rank:
            return _reshaped(inner, shape)
    return None


def _reshaped(value: Value, shape: tuple[Size, ...]) -> Value | None:
    """reshape(value) for free, or None."""
    if value.type.rank == 0:
        return value
    match value:
        case Value(Reshape(), (x,)) if x.type.shape == shape:
            return x
    if not isinstance(value.op, Elementwise) or not used_once(value):
        return None
    if any(one.type.rank and one.type.shape != value.type.shape for one in value.inputs):
        return None
    operands = [_reshaped(one, shape) for one in value.inputs]
    return _applied(value.op, operands)


@rule(
    "graph (%x: f32[3]) { return Pad<before=(1,), after=(2,)>(Pad<before=(1,), after=(0,)>(%x)) }",
    "graph (%x: f32[3]) { return Pad<before=(1,), after=(2,)>(Pad<before=(1,), after=(0,), value=1.0>(%x)) }",
)
def pad_twice(value: Value) -> Replacement:
    """pad(pad(x, a), b) -> pad(x, a + b), both with the same constant"""
    match value:
        case Value(Pad(before, after, "constant", v), (Value(Pad(first, last, "constant", w), (x,)),)):
            if v == w and all(known_le(0, count) for count in (*before, *after, *first, *last)):
                return Pad(_sums(before, first), _sums(after, last), value=v)(x)
    return None


def _sums(a: tuple[Size, ...], b: tuple[Size, ...]) -> tuple[Size, ...]:
    return tuple(one + other for one, other in zip(a, b, strict=True))


MOVEMENT = (
    *(transpose_twice, reshape_twice, transpose_ones, expand_twice, broadcast_alone, tile_to_expand, slice_twice),
    *(slice_resampled, slice_of_piece, split_pieces, rejoined, concat_twice, gather_run, gather_range, pad_twice),
    *(move_fill, gather_fill, transpose_through, reshape_through),
)
ALIGN = (transpose_after,)
"""For targets whose kernels do to the results of a product what follows it."""
