"""Constants absorbed into weights: batch norm, scale and bias round convolutions and products; padding into windows.

Sums are only reordered: the scale of a channel moves from the sum to its terms. Narrow floats keep their scale as it
is, since a rounded weight is not a rounded sum.
"""

from __future__ import annotations

import numpy as np

from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size, known_le
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Add, Div, Mul
from tenfold.ops.constant import Constant
from tenfold.ops.conv import Conv, ConvTranspose
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Expand, Pad, Reshape
from tenfold.ops.pool import Pool
from tenfold.ops.reduce import Reduce
from tenfold.rewrite.pattern import constant, used_once
from tenfold.rewrite.rule import Replacement, rule

Contraction = Conv | ConvTranspose | MatMul


def _is_contraction(value: Value) -> bool:
    """Whether it is a convolution by, or a product with, a constant, and nothing but one operation uses it."""
    if not isinstance(value.op, Contraction) or value.type.dtype not in (dt.f32, dt.f64) or not used_once(value):
        return False
    weight = value.inputs[1]
    return isinstance(weight.op, Constant) and (not isinstance(value.op, MatMul) or weight.type.rank > 1)


def _by_channel(c: Value, channels: Size, axis: int, rank: int) -> Value | None:
    """A finite constant that varies along one axis of a tensor at most, as a vector of 1 or of all channels."""
    array = constant(c)
    if array is None or c.type.rank > rank or not np.all(np.isfinite(array)):
        return None
    shape = (1,) * (rank - c.type.rank) + array.shape
    if shape[axis] not in (1, channels) or any(size != 1 for at, size in enumerate(shape) if at != axis):
        return None
    vector: Value = Reshape((shape[axis],))(c)
    return vector


def _channel_axis(value: Value) -> int:
    return value.type.rank - 1 if isinstance(value.op, MatMul) else 1


def _channels(value: Value, c: Value) -> Value | None:
    """The constant as a vector of the output channels of a contraction."""
    axis = _channel_axis(value)
    return _by_channel(c, value.type.shape[axis], axis, value.type.rank)


def _spread(vector: Value, groups: int, repeats: int, rank: int) -> Value:
    """[groups * n] to [groups * repeats, n, 1, …]: each group's vector, once for each channel on the other side; of one
    group to [1, n, 1, …].
    """
    (size,) = vector.type.shape
    if size == 1:
        return vector
    assert isinstance(size, int)
    inner, repeats = size // groups, repeats if groups > 1 else 1
    rows = Expand((groups, repeats, inner))(Reshape((groups, 1, inner))(vector))
    spread: Value = Reshape((groups * repeats, inner, *(1,) * (rank - 2)))(rows)
    return spread


def _column(vector: Value, rank: int) -> Value:
    """[n] to [n, 1, …]."""
    column: Value = Reshape((*vector.type.shape, *(1,) * (rank - 1)))(vector)
    return column


def _size(value: Value, axis: int) -> int:
    size = value.type.shape[axis]
    assert isinstance(size, int)
    return size


def _scale_of_outputs(op: Contraction, w: Value, vector: Value) -> Value:
    """The vector over the output channels, as a factor of the weight."""
    rank = w.type.rank
    if isinstance(op, MatMul):
        return vector
    if isinstance(op, Conv):
        return _column(vector, rank)
    return _spread(vector, op.groups, _size(w, 0) // op.groups, rank)


def _scale_of_inputs(op: Contraction, w: Value, vector: Value) -> Value:
    """The vector over the input channels, as a factor of the weight."""
    rank = w.type.rank
    if isinstance(op, MatMul):
        return _column(vector, 2)
    if isinstance(op, ConvTranspose):
        return _column(vector, rank)
    return _spread(vector, op.groups, _size(w, 0) // op.groups, rank)


@rule(
    """graph (%x: f32[N, 1, 3, 3]) {
      return Mul(Conv<strides=(1, 1), dilations=(1, 1), pads_before=(0, 0), pads_after=(0, 0)>(
        %x, f32[2, 1, 1, 2]{1, 2, 3, 4}), f32[2, 1, 1]{0.5, 3.0})
    }""",
    """graph (%x: f32[N, 1, 3, 3]) {
      return Mul(Conv<strides=(1, 1), dilations=(1, 1), pads_before=(0, 0), pads_after=(0, 0)>(
        %x, f32[2, 1, 1, 2]{1, 2, 3, 4}), f32[2]{0.5, 3.0})
    }""",
)
def scale_after(value: Value) -> Replacement:
    """(x * w) c -> x * (w c), c one number a channel;  (x * w) / c -> x * (w / c)"""
    match value:
        case Value(Mul() | Div() as scale, (product, c)) if _is_contraction(product):
            vector, (x, w) = _channels(product, c), product.inputs
            if vector is None or (isinstance(scale, Div) and not np.all(constant(c))):
                return None
            assert isinstance(product.op, Contraction)
            return product.op(x, scale(w, _scale_of_outputs(product.op, w, vector)))
    return None


@rule(
    "graph (%x: f32[N, 2]) { return Mul(Add(MatMul(%x, f32[2, 2]{1, 2, 3, 4}), f32[2]{5, 6}), f32[2]{0.5, 3}) }",
    "graph (%x: f32[N, 2], %y: f32[2]) { return Mul(Add(MatMul(%x, f32[2, 2]{1, 2, 3, 4}), %y), f32[2]{0.5, 3}) }",
)
def scale_after_bias(value: Value) -> Replacement:
    """(x * w + b) c -> (x * w) c + b c"""
    match value:
        case Value(Mul() | Div() as scale, (Value(Add(), (product, b)) as shifted, c)):
            if _is_contraction(product) and used_once(shifted) and _channels(product, b) and _channels(product, c):
                return Add()(scale(product, c), scale(b, c)) if isinstance(scale, Mul) or np.all(constant(c)) else None
    return None


@rule(
    "graph (%x: f32[N, 2]) { return Add(Add(MatMul(%x, f32[2, 2]{1, 2, 3, 4}), f32[2]{5, 6}), f32[2]{-4, -6}) }",
    "graph (%x: f32[N, 2]) { return Add(Add(%x, f32[2]{5, 6}), f32[2]{-4, -6}) }",
)
def bias_twice(value: Value) -> Replacement:
    """(x * w + b) + c -> x * w + (b + c)"""
    match value:
        case Value(Add(), (Value(Add(), (product, b)) as shifted, c)) if _is_contraction(product):
            if used_once(shifted) and _channels(product, b) and _channels(product, c):
                return Add()(product, Add()(b, c))
    return None


def _only_feeds_contractions(value: Value) -> bool:
    return all(
        isinstance(user.op, Contraction) and user.inputs[0] is value and isinstance(user.inputs[1].op, Constant)
        for user in value.uses
    )


def _absorbing(value: Value) -> tuple[Contraction, Value, Value] | None:
    """(op, x, w) where `value` contracts x with a constant w, and only contractions use x."""
    if not isinstance(value.op, Contraction) or value.type.dtype not in (dt.f32, dt.f64):
        return None
    x, w = value.inputs
    ranks = isinstance(value.op, MatMul) and (x.type.rank < 2 or w.type.rank < 2)
    return None if ranks or not isinstance(w.op, Constant) or not _only_feeds_contractions(x) else (value.op, x, w)


def _inputs(op: Contraction, x: Value, c: Value) -> Value | None:
    """The constant as a vector of the input channels of a contraction."""
    axis = x.type.rank - 1 if isinstance(op, MatMul) else 1
    return _by_channel(c, x.type.shape[axis], axis, x.type.rank)


@rule(
    """graph (%x: f32[N, 2, 3, 3]) {
      return Conv<strides=(1, 1), dilations=(1, 1), pads_before=(1, 1), pads_after=(0, 0), groups=2>(
        Mul(%x, f32[2, 1, 1]{0.5, 3.0}), f32[4, 1, 1, 2]{1, 2, 3, 4, 5, 6, 7, 8})
    }""",
    """graph (%x: f32[N, 2, 3, 3]) {
      return Conv<strides=(1, 1), dilations=(1, 1), pads_before=(1, 1), pads_after=(0, 0), groups=2>(
        Mul(%x, f32[3]{0.5, 3.0, 1.0}), f32[4, 1, 1, 2]{1, 2, 3, 4, 5, 6, 7, 8})
    }""",
)
def scale_before(value: Value) -> Replacement:
    """(x c) * w -> x * (c w), c one number a channel"""
    found = _absorbing(value)
    if found is None:
        return None
    op, scaled, w = found
    match scaled:
        case Value(Mul(), (x, c)) if x.type.shape == scaled.type.shape and (vector := _inputs(op, x, c)):
            return op(x, Mul()(w, _scale_of_inputs(op, w, vector)))
    return None


@rule(
    """graph (%x: f32[N, 2, 3, 3]) {
      return Conv<strides=(1, 1), dilations=(1, 1), pads_before=(0, 0), pads_after=(0, 0), groups=2>(
        Add(%x, f32[2, 1, 1]{0.5, 3.0}), f32[4, 1, 1, 2]{1, 2, 3, 4, 5, 6, 7, 8})
    }""",
    """graph (%x: f32[N, 2, 3, 3]) {
      return Conv<strides=(1, 1), dilations=(1, 1), pads_before=(0, 1), pads_after=(0, 0), groups=2>(
        Add(%x, f32[2, 1, 1]{0.5, 3.0}), f32[4, 1, 1, 2]{1, 2, 3, 4, 5, 6, 7, 8})
    }""",
)
def shift_before(value: Value) -> Replacement:
    """(x + b) * w -> x * w + (b * w), b one number a channel, where nothing is padded"""
    found = _absorbing(value)
    if found is None or isinstance(found[0], ConvTranspose):
        return None
    op, shifted, w = found
    match shifted:
        case Value(Add(), (x, b)) if x.type.shape == shifted.type.shape and (vector := _inputs(op, x, b)):
            terms = Mul()(w, _scale_of_inputs(op, w, vector))
            if isinstance(op, MatMul):
                return Add()(op(x, w), Reduce("sum", (w.type.rank - 2,))(terms))
            if not any(size != 0 for size in (*op.pads_before, *op.pads_after)):
                sums = Reduce("sum", tuple(range(1, w.type.rank)))(terms)
                return Add()(op(x, w), Reshape((1, *w.type.shape[:1], *(1,) * (w.type.rank - 2)))(sums))
    return None


def _spatial_padding(pad: Pad) -> tuple[tuple[Size, ...], tuple[Size, ...]] | None:
    """(before, after) of the spatial axes, if nothing else is padded and nothing taken away."""
    outer = (*pad.before[:2], *pad.after[:2])
    if pad.mode != "constant" or any(size != 0 for size in outer):
        return None
    before, after = pad.before[2:], pad.after[2:]
    return (before, after) if all(known_le(0, size) for size in (*before, *after)) else None


def _sums(a: tuple[Size, ...], b: tuple[Size, ...]) -> tuple[Size, ...]:
    return tuple(one + other for one, other in zip(a, b, strict=True))


@rule(
    """graph (%x: f32[N, 1, 3, 3]) {
      return Conv<strides=(1, 1), dilations=(1, 1), pads_before=(0, 1), pads_after=(0, 0)>(
        Pad<before=(0, 0, 1, 0), after=(0, 0, 2, 1)>(%x), f32[2, 1, 1, 2]{1, 2, 3, 4})
    }""",
    """graph (%x: f32[N, 1, 3, 3]) {
      return Conv<strides=(1, 1), dilations=(1, 1), pads_before=(0, 1), pads_after=(0, 0)>(
        Pad<before=(0, 0, 1, 0), after=(0, 0, 2, 1), value=1.0>(%x), f32[2, 1, 1, 2]{1, 2, 3, 4})
    }""",
)
def pad_into_conv(value: Value) -> Replacement:
    """conv(pad(x, a) with zeros, pads b) -> conv(x, pads a + b)"""
    match value:
        case Value(Conv() as op, (Value(Pad() as pad, (x,)), w)) if pad.value == 0 and (more := _spatial_padding(pad)):
            before, after = _sums(op.pads_before, more[0]), _sums(op.pads_after, more[1])
            return Conv(op.strides, op.dilations, before, after, op.groups)(x, w)
    return None


@rule(
    """graph (%x: f32[N, 1, 3, 3]) {
      %p = Pad<before=(0, 0, 1, 0), after=(0, 0, 1, 1)>(%x)
      return Pool<
        kind='average', kernel=(2, 2), strides=(1, 1), dilations=(1, 1), pads_before=(0, 0), pads_after=(0, 0)>(%p)
    }""",
    """graph (%x: f32[N, 1, 3, 3]) {
      %p = Pad<before=(0, 0, 1, 0), after=(0, 0, 1, 1)>(%x)
      return Pool<
        kind='max', kernel=(2, 2), strides=(1, 1), dilations=(1, 1), pads_before=(0, 0), pads_after=(0, 0)>(%p)
    }""",
)
def pad_into_pool(value: Value) -> Replacement:
    """mean pool(pad(x, a) with zeros) -> mean pool(x, pads a, counted);  max pool(pad(x, a) with -inf) -> likewise"""
    match value:
        case Value(Pool() as op, (Value(Pad() as pad, (x,)),)) if not op.ceil and (more := _spatial_padding(pad)):
            bare = not any(size != 0 for size in (*op.pads_before, *op.pads_after))
            zeros = op.kind == "average" and pad.value == 0 and (op.count_padding or bare)
            if zeros or (op.kind == "max" and pad.value == -np.inf):
                before, after = _sums(op.pads_before, more[0]), _sums(op.pads_after, more[1])
                counted = op.kind == "average"
                return Pool(op.kind, op.kernel, op.strides, op.dilations, before, after, False, counted)(x)
    return None


ABSORB = (scale_after, scale_after_bias, bias_twice, scale_before, shift_before, pad_into_conv, pad_into_pool)
