"""The operations that a random graph is drawn from: each takes a sketch and one of its values, and gives what it makes,
or ValueError where nothing fits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold import ops
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size, symbol
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type

if TYPE_CHECKING:
    from tests.compiler.sketch import Sketch

FLOATS = (dt.f32, dt.f32, dt.f32, dt.f16, dt.f64)


def _unary(s: Sketch, x: Value) -> Value:
    if x.type.dtype is dt.boolean:
        return ops.Not()(x)
    if not x.type.dtype.is_float:
        return ops.Add()(x, s.constant((), x.type.dtype))
    return s.pick.one_of(SMOOTH)(x)


SMOOTH = (
    ops.Relu(), ops.Sigmoid(), ops.Tanh(), ops.Neg(), ops.Abs(), ops.Silu(), ops.HardSwish(), ops.Sin(), ops.Cos(),
    ops.Gelu(), ops.Gelu(True), ops.Elu(), ops.Selu(), ops.Softplus(), ops.Softsign(), ops.Mish(), ops.LeakyRelu(0.1),
    ops.HardSigmoid(), ops.LogSigmoid(), ops.Swish(0.5), ops.Affine(0.5, 1.0), ops.Erf(), ops.Atan(), ops.Asinh(),
)  # fmt: skip
"""Functions that a small change of x changes little."""


def _binary(s: Sketch, x: Value) -> Value:
    other = s.alike(x) if s.pick.integer(0, 1) else _broadcastable(s, x)
    if x.type.dtype is dt.boolean:
        return s.pick.one_of((ops.And(), ops.Or(), ops.Xor(), ops.Equal()))(x, other)
    if not x.type.dtype.is_float and s.pick.integer(0, 2) == 0:
        return s.pick.one_of((ops.BitAnd(), ops.BitOr(), ops.BitXor(), ops.Less(), ops.Equal(), ops.Mod()))(x, other)
    return s.pick.one_of((ops.Add(), ops.Sub(), ops.Mul(), ops.Maximum(), ops.Minimum()))(x, other)


def _broadcastable(s: Sketch, x: Value) -> Value:
    """A weight that broadcasts with x, or the sum over some of x's axes."""
    if s.pick.integer(0, 1) and x.type.rank and x.type.dtype is not dt.boolean:
        return ops.Reduce("max", (s.axis(x),), True)(x)
    sizes = [size if isinstance(size, int) and s.pick.integer(0, 1) else 1 for size in x.type.shape]
    return s.constant(sizes[s.pick.integer(0, len(sizes)) :], x.type.dtype)


def _where(s: Sketch, x: Value) -> Value:
    whole = [v for v in s.pool if not v.type.dtype.is_float and v.type.dtype is not dt.boolean]
    if not whole:
        raise ValueError("no whole numbers")
    condition = s.pick.one_of(whole)
    seen = ops.Less()(condition, s.constant((), condition.type.dtype))
    same = [v for v in s.pool if v.type.shape in (condition.type.shape, ()) and v.type.dtype.is_float]
    if not same:
        return seen
    chosen = s.pick.one_of(same)
    return ops.Where()(seen, chosen, s.constant((), chosen.type.dtype))


def _cast(s: Sketch, x: Value) -> Value:
    if x.type.dtype.is_float:
        return ops.Cast(s.pick.one_of(FLOATS))(x)
    return ops.Cast(s.pick.one_of((dt.f32, dt.i64, dt.i32)))(x)


def _reduce(s: Sketch, x: Value) -> Value:
    axes = tuple(axis for axis in range(x.type.rank) if s.pick.integer(0, 1)) or (s.axis(x),)
    keep = bool(s.pick.integer(0, 1))
    if x.type.dtype is dt.boolean:
        return ops.Reduce(s.pick.one_of(("any", "all")), axes, keep)(x)
    kinds = ("sum", "max", "min", *(("mean", "l1", "l2", "sum_square") if x.type.dtype.is_float else ()))
    return ops.Reduce(s.pick.one_of(kinds), axes, keep)(x)


def _arg(s: Sketch, x: Value) -> Value:
    if x.type.dtype is dt.boolean or (x.type.dtype.is_float and x.producer is not None):
        raise ValueError("ties")
    return ops.ArgReduce(
        s.pick.one_of(("max", "min")), s.axis(x), bool(s.pick.integer(0, 1)), bool(s.pick.integer(0, 1))
    )(x)


def _cumulative(s: Sketch, x: Value) -> Value:
    if x.type.dtype is dt.boolean:
        raise ValueError("no sums of bools")
    return ops.Cumulative("sum", s.axis(x), bool(s.pick.integer(0, 1)), bool(s.pick.integer(0, 1)))(x)


def _softmax(s: Sketch, x: Value) -> Value:
    x = s.floating(x)
    return s.pick.one_of((ops.Softmax, ops.LogSoftmax))(s.axis(x))(x)


def _norm(s: Sketch, x: Value) -> Value:
    x = s.floating(x)
    kind = s.pick.integer(0, 2)
    if kind == 0 and x.type.rank >= 3 and isinstance(x.type.shape[1], int) and x.type.shape[1]:
        channels = x.type.shape[1]
        groups = s.pick.one_of([g for g in (1, 2, 4, channels) if channels % g == 0])
        weights = (s.constant((channels,), x.type.dtype), s.constant((channels,), x.type.dtype))
        return ops.GroupNorm(groups, 0.01)(x, *weights)
    size = x.type.shape[-1] if x.type.rank else None
    if not isinstance(size, int):
        raise ValueError("no such norm")
    scale, bias = s.constant((size,), x.type.dtype), s.constant((size,), x.type.dtype)
    axis = x.type.rank - 1
    return ops.LayerNorm(axis, 0.01)(x, scale, bias) if kind == 1 else ops.RMSNorm(axis, 0.01)(x, scale)


def _transpose(s: Sketch, x: Value) -> Value:
    left = list(range(x.type.rank))
    return ops.Transpose(tuple(left.pop(s.pick.integer(0, len(left) - 1)) for _ in range(x.type.rank)))(x)


def _reshape(s: Sketch, x: Value) -> Value:
    shape = list(x.type.shape)
    match s.pick.integer(0, 3):
        case 0 if len(shape) > 1:
            at = s.pick.integer(0, len(shape) - 2)
            shape[at : at + 2] = [shape[at] * shape[at + 1]]
        case 1:
            shape.insert(s.pick.integer(0, len(shape)), 1)
        case 2 if 1 in shape:
            shape.remove(1)
        case _:
            at = s.axis(x)
            size = shape[at]
            divisors = [d for d in (2, 3, 4) if dim.divisible(size, d)]
            if not divisors:
                shape = [dim.product(shape)]
            else:
                shape[at : at + 1] = [s.pick.one_of(divisors), size // divisors[-1]]
                shape[at] = divisors[-1]
    return ops.Reshape(tuple(shape))(x)


def _slice(s: Sketch, x: Value) -> Value:
    starts: list[Size] = []
    sizes: list[Size] = []
    steps: list[int] = []
    for size in x.type.shape:
        start, step = s.pick.integer(0, 2), s.pick.one_of((1, 1, 1, 2, -1, -2))
        left = size - start
        starts.append(start if step > 0 else size - 1 - start)
        sizes.append(dim.ceildiv(left, abs(step)))
        steps.append(step)
    return ops.Slice(tuple(starts), tuple(sizes), tuple(steps))(x)


def _concat(s: Sketch, x: Value) -> Value:
    axis = s.axis(x)

    def fits(v: Value) -> bool:
        if v.type.rank != x.type.rank or v.type.dtype is not x.type.dtype:
            return False
        return all(a == b for n, (a, b) in enumerate(zip(v.type.shape, x.type.shape, strict=True)) if n != axis)

    parts = [s.pick.one_of([v for v in s.pool if fits(v)]) for _ in range(s.pick.integer(1, 3))]
    return ops.Concat(axis)(x, *parts)


def _split(s: Sketch, x: Value) -> Any:
    axis = s.axis(x)
    size = x.type.shape[axis]
    first = s.pick.integer(1, 2)
    return ops.Split(axis, (first, size - first))(x)


def _expand(s: Sketch, x: Value) -> Value:
    shape = tuple(s.size() if size == 1 else size for size in x.type.shape)
    front = (s.size(),) if s.pick.integer(0, 1) and x.type.rank < 5 else ()
    return ops.Expand((*front, *shape))(x)


def _pad(s: Sketch, x: Value) -> Value:
    mode = s.pick.one_of(("constant", "constant", "reflect", "symmetric", "edge", "wrap"))
    most = 2 if mode == "constant" else 1
    low = -1 if mode == "constant" else 0
    before, after = (tuple(s.pick.integer(low, most) for _ in x.type.shape) for _ in range(2))
    return ops.Pad(before, after, mode, 1 if mode == "constant" else 0)(x)


def _tile(s: Sketch, x: Value) -> Value:
    return ops.Tile(tuple(s.pick.one_of((1, 1, 2, 3)) for _ in x.type.shape))(x)


def _depth(s: Sketch, x: Value) -> Value:
    x = s.of_rank(x, 4)
    mode = s.pick.one_of(("DCR", "CRD"))
    return s.pick.one_of((ops.DepthToSpace, ops.SpaceToDepth))(2, mode)(x)


def _matmul(s: Sketch, x: Value) -> Value:
    x = s.floating(x)
    if x.type.rank >= 2 and s.pick.integer(0, 1):
        turned = (*range(x.type.rank - 2), x.type.rank - 1, x.type.rank - 2)
        return ops.MatMul()(x, ops.Transpose(turned)(s.alike(x)))
    inner = x.type.shape[-1] if x.type.rank else None
    if not isinstance(inner, int):
        raise ValueError("no inner size")
    out = s.pick.one_of((1, 3, 8, 17))
    made = ops.MatMul()(x, s.constant((inner, out), x.type.dtype))
    return ops.Add()(made, s.constant((out,), x.type.dtype)) if s.pick.integer(0, 1) else made


def _window(s: Sketch, x: Value) -> tuple[int, dict[str, tuple[int, ...]]]:
    axes = x.type.rank - 2

    def each(*options: int) -> tuple[int, ...]:
        return tuple(s.pick.one_of(options) for _ in range(axes))

    pads = {"pads_before": each(0, 1, 1), "pads_after": each(0, 1, 1)}
    return axes, {"strides": each(1, 1, 2), "dilations": each(1, 1, 2), **pads}


def _image(s: Sketch, x: Value) -> tuple[Value, int]:
    """What a convolution may read, and its channels."""
    x = s.of_rank(s.floating(x), 3, 4)
    channels = x.type.shape[1]
    if not isinstance(channels, int) or not channels or not x.type.dtype.is_float:
        raise ValueError("no convolution")
    return x, channels


def _conv(s: Sketch, x: Value) -> Value:
    x, channels = _image(s, x)
    axes, settings = _window(s, x)
    groups = s.pick.one_of([g for g in (1, 1, 2, channels) if channels % g == 0])
    out = groups * s.pick.one_of((1, 2, 5, 8))
    weight = s.constant((out, channels // groups, *(s.pick.one_of((1, 3, 2)) for _ in range(axes))), x.type.dtype)
    made = ops.Conv(groups=groups, **settings)(x, weight)
    return ops.Add()(made, s.constant((1, out, *(1,) * axes), x.type.dtype)) if s.pick.integer(0, 1) else made


def _conv_transpose(s: Sketch, x: Value) -> Value:
    x, channels = _image(s, x)
    axes, settings = _window(s, x)
    weight = s.constant((channels, 3, *(s.pick.one_of((1, 3, 2)) for _ in range(axes))), x.type.dtype)
    return ops.ConvTranspose(output_padding=(0,) * axes, groups=1, **settings)(x, weight)


def _pool(s: Sketch, x: Value) -> Value:
    x = s.of_rank(s.floating(x), 3, 4)
    if not x.type.dtype.is_float:
        raise ValueError("no pooling")
    axes, settings = _window(s, x)
    kernel = tuple(s.pick.one_of((2, 3)) for _ in range(axes))
    kind = s.pick.one_of(("max", "average", "lp"))
    return ops.Pool(
        kind, kernel, ceil=bool(s.pick.integer(0, 1)), count_padding=bool(s.pick.integer(0, 1)), **settings
    )(x)


def _gather(s: Sketch, x: Value) -> Value:
    axis = s.axis(x)
    size = x.type.shape[axis]
    least = size if isinstance(size, int) else 1
    shape = s.pick.one_of(((), (3,), (2, 2), (1,)))
    places = s.weights.integers(-least, least, shape)
    index = ops.Constant(Tensor(np.asarray(places, s.pick.one_of((np.int64, np.int32)))))()
    return ops.Gather(axis)(x, index)


def _gather_elements(s: Sketch, x: Value) -> Value:
    if x.type.rank == 0 or not x.type.is_static:
        raise ValueError("no such gather")
    axis = s.axis(x)
    shape = tuple(int(size) for size in x.type.shape)  # type: ignore[arg-type]
    places = s.weights.integers(-shape[axis], shape[axis], shape)
    return ops.GatherElements(axis)(x, ops.Constant(Tensor(places))())


def _resize(s: Sketch, x: Value) -> Value:
    x = s.of_rank(s.floating(x), 3, 4)
    factor = s.pick.one_of((2, 3))
    sizes = tuple(size * factor if axis > 1 else size for axis, size in enumerate(x.type.shape))
    scales = tuple(float(factor) if axis > 1 else 1.0 for axis in range(x.type.rank))
    mode = s.pick.one_of(("nearest", "linear")) if x.type.dtype.is_float else "nearest"
    coordinates = s.pick.one_of(("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"))
    return ops.Resize(sizes, scales, mode, coordinates, rounding="floor")(x)


def _top(s: Sketch, x: Value) -> Any:
    if x.producer is not None or not x.type.dtype.is_float or x.type.dtype is dt.f16:
        raise ValueError("ties")
    axis = s.axis(x)
    size = x.type.shape[axis]
    if not isinstance(size, int):
        raise ValueError("no k")
    return ops.TopK(s.pick.integer(min(1, size), size), axis, bool(s.pick.integer(0, 1)), True)(x)


def _attention(s: Sketch, x: Value) -> Value:
    x = s.of_rank(s.floating(x), 4)
    if not x.type.dtype.is_float or not isinstance(x.type.shape[1], int):
        raise ValueError("no attention")
    keys, values = s.alike(x), s.alike(x)
    return ops.Attention(scale=0.3, causal=bool(s.pick.integer(0, 1)))(x, keys, values)


def _scatter(s: Sketch, x: Value) -> Value:
    axis = s.axis(x)
    if not x.type.is_static:
        raise ValueError("no such scatter")
    shape = tuple(int(size) for size in x.type.shape)  # type: ignore[arg-type]
    places = s.weights.permutation(shape[axis])[: s.pick.integer(min(1, shape[axis]), shape[axis])]
    lying = (1,) * axis + (len(places),) + (1,) * (len(shape) - axis - 1)
    wide = np.broadcast_to(places.reshape(lying), (*shape[:axis], len(places), *shape[axis + 1 :]))
    index = ops.Constant(Tensor(np.ascontiguousarray(wide)))()
    reduction = "none" if x.type.dtype is dt.boolean else s.pick.one_of(("none", "add", "max"))
    return ops.ScatterElements(axis, reduction)(x, index, s.constant(wide.shape, x.type.dtype))


def _if(s: Sketch, x: Value) -> Any:
    """Two branches of a few steps on x, chosen by an input."""
    branches = []
    for number in range(2):
        inner = s.within(f"branch{number}", x)
        inner.step()
        inner.step()
        same = [v for v in inner.pool if v.type.shape == x.type.shape and v.type.dtype is x.type.dtype]
        inner.graph.set_outputs([same[-1], inner.pick.one_of(same)], ["a", "b"])
        branches.append(inner.graph)
    name = f"c{len(s.graph.inputs)}"
    known = (symbol(f"{name}[0]", None),) if s.pick.integer(0, 1) else None
    return ops.If(*branches)(s.graph.input(name, Type(dt.boolean, (), known)), x)


def _hosted(s: Sketch, x: Value) -> Value:
    """What no kernel computes."""
    x = s.floating(x)
    axis = s.axis(x)
    size = x.type.shape[axis]
    if not isinstance(size, int) or x.type.dtype is dt.f16:
        raise ValueError("no transform")
    moved = ops.DFT(axis, size)(ops.Reshape((*x.type.shape, 1))(x))
    return ops.Reduce("sum", (x.type.rank,), False)(moved)


def _quantize(s: Sketch, x: Value) -> Value:
    x = s.floating(x)
    scale = ops.Constant(Tensor(np.array(0.05, np.float32)))()
    zero = ops.Constant(Tensor(np.array(3, np.uint8)))()
    exact = x.producer is None and x.type.dtype is dt.f32
    if not exact:
        raise ValueError("ties")
    return ops.Dequantize(0, dt.f32)(ops.Quantize(0, dt.u8)(x, scale, zero), scale, zero)


def _recurrent(s: Sketch, x: Value) -> Any:
    x = s.of_rank(s.floating(x), 3)
    _, batch, width = x.type.shape
    if x.type.dtype is not dt.f32 or not isinstance(width, int) or not width:
        raise ValueError("no cell")
    hidden = s.pick.one_of((1, 4, 5))
    kind = s.pick.one_of((ops.LSTM, ops.GRU, ops.RNN))
    gates = kind.gates * hidden
    weights = [s.constant(shape) for shape in ((gates, width), (gates, hidden), *((gates,),) * kind.biases)]
    state = ops.Fill((batch, hidden), Tensor(np.array(0.5, np.float32)))()
    return kind(hidden, bool(s.pick.integer(0, 1)))(x, *weights, *(state,) * kind.states)


STEPS: dict[str, Callable[[Sketch, Value], Any]] = {
    "unary": _unary,
    "binary": _binary,
    "more": _binary,
    "where": _where,
    "cast": _cast,
    "reduce": _reduce,
    "arg": _arg,
    "cumulative": _cumulative,
    "softmax": _softmax,
    "norm": _norm,
    "transpose": _transpose,
    "reshape": _reshape,
    "slice": _slice,
    "concat": _concat,
    "split": _split,
    "expand": _expand,
    "pad": _pad,
    "tile": _tile,
    "depth": _depth,
    "matmul": _matmul,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "pool": _pool,
    "gather": _gather,
    "gather_elements": _gather_elements,
    "resize": _resize,
    "top": _top,
    "attention": _attention,
    "scatter": _scatter,
    "if": _if,
    "hosted": _hosted,
    "quantize": _quantize,
    "recurrent": _recurrent,
}
