"""What is cut away is not computed: a slice goes ahead of the work whose results it takes from.

A classifier reads one word of its last layer, a prompt's last word decides the next one: the layer's products, norms
and queries are those of that word alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tenfold.ir import dim
from tenfold.ir.dim import known_equal, known_le
from tenfold.ir.graph import Value
from tenfold.ops.attention import Attention
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Reshape, Slice, Transpose
from tenfold.ops.normalize import LayerNorm, RMSNorm
from tenfold.rewrite.pattern import used_once
from tenfold.rewrite.rule import Replacement, rule

Run = tuple[dim.Size, dim.Size, int]
"""Start, size and step along an axis."""


def _taken(value: Value) -> tuple[Value, list[Run]] | None:
    """(x, what is taken along each axis) of a slice of x that leaves half of it at most, where all users do."""
    match value:
        case Value(Slice(starts, sizes, steps) as cut, (x,)) if used_once(x) or _used_by(x, cut):
            pairs = zip(sizes, x.type.shape, strict=True)
            if any(known_le(2 * size, full) for size, full in pairs):
                return x, list(zip(starts, sizes, steps, strict=True))
    return None


def _used_by(x: Value, cut: Slice) -> bool:
    """Whether a value is used by such slices alone."""
    graph = x.producer.graph if x.producer else None
    return graph is not None and x not in graph.outputs and all(user.op == cut for user in x.uses)


def _cut(x: Value, runs: Sequence[Run]) -> Value:
    """x, sliced; x itself where all of it is taken."""
    if _whole(x, runs):
        return x
    starts, sizes, steps = zip(*runs, strict=True)
    value: Value = Slice(starts, sizes, steps)(x)
    return value


def _whole(x: Value, runs: Sequence[Run], first: int = 0) -> bool:
    """Whether all of x is taken along the axes from `first` on."""
    pairs = list(zip(runs, x.type.shape, strict=True))[first:]
    return all(start == 0 and step == 1 and known_equal(size, full) for (start, size, step), full in pairs)


def _spread(x: Value, runs: Sequence[Run]) -> list[Run]:
    """What is taken of an operand that broadcasts: all along an axis of size 1."""
    own = runs[len(runs) - x.type.rank :]
    return [(0, 1, 1) if size == 1 else run for run, size in zip(own, x.type.shape, strict=True)]


@rule(
    "graph (%x: f32[2, 6], %y: f32[6]) { return Slice<starts=(0, 1), sizes=(2, 2), steps=(1, 2)>(Add(%x, %y)) }",
    "graph (%x: f32[2, 6], %y: f32[6]) { return Slice<starts=(0, 1), sizes=(2, 4), steps=(1, 1)>(Add(%x, %y)) }",
)
def slice_computed(value: Value) -> Replacement:
    """slice(f(x, y)) -> f(slice(x), slice(y))"""
    match _taken(value):
        case (Value(Elementwise() as op, inputs) as whole, runs):
            sizes = [size for one in inputs for size in one.type.shape]
            if all(size == 1 or any(known_equal(size, full) for full in whole.type.shape) for size in sizes):
                made: Value = op(*(_cut(one, _spread(one, runs)) for one in inputs))
                return made
    return None


@rule(
    """graph (%x: f32[2, 6, 4], %s: f32[4], %b: f32[4]) {
      return Slice<starts=(0, 5, 0), sizes=(2, 1, 4), steps=(1, 1, 1)>(LayerNorm<axis=2, epsilon=0.1>(%x, %s, %b))
    }""",
    """graph (%x: f32[2, 6, 4], %s: f32[4], %b: f32[4]) {
      return Slice<starts=(0, 5, 0), sizes=(2, 1, 2), steps=(1, 1, 1)>(LayerNorm<axis=2, epsilon=0.1>(%x, %s, %b))
    }""",
)
def slice_normalised(value: Value) -> Replacement:
    """slice(norm(x)) -> norm(slice(x)), where rows stay whole"""
    match _taken(value):
        case (Value(LayerNorm() | RMSNorm() as op, (x, *numbers)) as whole, runs):
            axis = op.axis % whole.type.rank
            if _whole(whole, runs, axis) and all(one.type.rank <= whole.type.rank - axis for one in numbers):
                made: Value = op(_cut(x, runs), *numbers)
                return made
    return None


@rule(
    """graph (%x: f32[2, 6, 4], %w: f32[4, 3]) {
      return Slice<starts=(0, 5, 0), sizes=(2, 1, 3), steps=(1, 1, 1)>(MatMul(%x, %w))
    }""",
    """graph (%x: f32[2, 6, 4], %w: f32[4, 3]) {
      return Slice<starts=(0, 5, 0), sizes=(2, 1, 1), steps=(1, 1, 1)>(MatMul(%x, %w))
    }""",
)
def slice_multiplied(value: Value) -> Replacement:
    """slice(x w) -> slice(x) w, where columns stay whole"""
    match _taken(value):
        case (Value(MatMul() as op, (x, w)) as whole, runs):
            rank = whole.type.rank
            if w.type.rank == 2 and x.type.rank == rank and _whole(whole, runs, rank - 1):
                made: Value = op(_cut(x, [*runs[:-1], (0, x.type.shape[-1], 1)]), w)
                return made
    return None


@rule(
    """graph (%q: f32[1, 2, 6, 4], %k: f32[1, 2, 6, 4], %v: f32[1, 2, 6, 4]) {
      %y = Attention<scale=0.5, causal=true>(%q, %k, %v)
      return Slice<starts=(0, 0, 5, 0), sizes=(1, 2, 1, 4), steps=(1, 1, 1, 1)>(%y)
    }""",
    """graph (%q: f32[1, 2, 6, 4], %k: f32[1, 2, 6, 4], %v: f32[1, 2, 6, 4], %m: bool[6, 6]) {
      %y = Attention<scale=0.5>(%q, %k, %v, %m)
      return Slice<starts=(0, 0, 5, 0), sizes=(1, 2, 1, 4), steps=(1, 1, 1, 1)>(%y)
    }""",
)
def slice_attended(value: Value) -> Replacement:
    """slice(attention(q, k, v)) -> attention(slice(q), k, v), where heads stay whole"""
    match _taken(value):
        case (Value(Attention() as op, (q, k, v)) as whole, runs):
            start, size, step = runs[2]
            full: list[Run] = [(0, one, 1) for one in q.type.shape]
            if _whole(whole, [*runs[:2], full[2], runs[3]]) and (step == 1 or not op.causal):
                later = replace(op, offset=op.offset + start) if op.causal else op
                made: Value = later(_cut(q, [*full[:2], (start, size, step), full[3]]), k, v)
                return made
    return None


@rule(
    """graph (%x: f32[2, 6, 4]) {
      return Slice<starts=(0, 1, 0), sizes=(6, 2, 2), steps=(1, 1, 1)>(Transpose<permutation=(1, 2, 0)>(%x))
    }""",
    """graph (%x: f32[2, 6, 4]) {
      return Slice<starts=(0, 1, 0), sizes=(6, 3, 2), steps=(1, 1, 1)>(Transpose<permutation=(1, 2, 0)>(%x))
    }""",
)
def slice_transposed(value: Value) -> Replacement:
    """slice(transpose(x)) -> transpose(slice(x))"""
    match _taken(value):
        case (Value(Transpose(order) as op, (x,)), runs):
            made: Value = op(_cut(x, [runs[order.index(axis)] for axis in range(len(order))]))
            return made
    return None


@rule(
    """graph (%x: f32[2, 6, 4, 3]) {
      return Slice<starts=(0, 1, 0), sizes=(2, 2, 12), steps=(1, 2, 1)>(Reshape<shape=(2, 6, 12)>(%x))
    }""",
    """graph (%x: f32[2, 6, 4, 3]) {
      return Slice<starts=(0, 0, 1), sizes=(2, 6, 2), steps=(1, 1, 2)>(Reshape<shape=(2, 6, 12)>(%x))
    }""",
)
def slice_reshaped(value: Value) -> Replacement:
    """slice(reshape(x)) -> reshape(slice(x)), where only axes are cut that x has too"""
    match _taken(value):
        case (Value(Reshape(), (x,)) as whole, runs):
            own = _through(x, whole, runs)
            if own is not None:
                made: Value = Reshape(value.type.shape)(_cut(x, own))
                return made
    return None


def _through(x: Value, whole: Value, runs: Sequence[Run]) -> list[Run] | None:
    """What is taken of x where `runs` are taken of x reshaped: None, if along an axis that x does not have."""
    shape, own = whole.type.shape, [(0, size, 1) for size in x.type.shape]
    before = [dim.product(x.type.shape[:axis]) for axis in range(x.type.rank)]
    found: list[Run] = [*own]
    for axis, run in enumerate(runs):
        if run[0] == 0 and run[2] == 1 and known_equal(run[1], shape[axis]):
            continue
        ahead = dim.product(shape[:axis])
        same = [at for at, (_, size, _) in enumerate(own)
                if known_equal(size, shape[axis]) and known_equal(before[at], ahead)]  # fmt: skip
        if not same:
            return None
        found[same[0]] = run
    return found


SINK = (slice_computed, slice_normalised, slice_multiplied, slice_attended, slice_transposed, slice_reshaped)
