"""Operators of chance. A draw follows from the seed alone; without one, from the operator's name.

So a model gives the same draws at each call; what differs between calls must come in as an input.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

from tenfold.importers.convert import Converter, Operator, Results, Table
from tenfold.importers.onnx.proto import element_type
from tenfold.importers.shorthand import apply, cast, filled, number, reshaped
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Add, Cos, Div, Log, Mul, Sqrt, Sub
from tenfold.ops.constant import scalar
from tenfold.ops.logic import GreaterOrEqual, Less, LessOrEqual, Not, Or, Where
from tenfold.ops.normalize import Softmax
from tenfold.ops.random import Uniform
from tenfold.ops.reduce import Cumulative, Reduce


def uniform(node: Operator, shape: Sequence[Size], dtype: DType, stream: int = 0) -> Value:
    """Numbers in [0, 1), f64 if that is what `dtype` says, else f32."""
    given = node.attributes.get("seed")
    seed = node.label if given is None else str(float(given)) if isinstance(given, int | float) else None
    if seed is None:
        raise node.invalid(f"its seed is {given!r}, not a number")
    key = zlib.crc32(seed.encode())
    result: Value = Uniform(tuple(shape), key, stream, dtype if dtype is dt.f64 else dt.f32)()
    return result


def _between(node: Operator, shape: Sequence[Size], dtype: DType) -> Value:
    low, high = node.number("low", 0.0), node.number("high", 1.0)
    drawn = apply(Mul(), uniform(node, shape, dtype), high - low)
    return cast(apply(Add(), drawn, low), dtype)


def _normal(node: Operator, shape: Sequence[Size], dtype: DType) -> Value:
    """sqrt(-2 ln(1 - u)) cos(2 pi v) (Box and Muller 1958)."""
    one, other = (uniform(node, shape, dtype, stream) for stream in (0, 1))
    radius = Sqrt()(apply(Mul(), Log()(apply(Sub(), number(1, one), one)), -2))
    drawn = apply(Mul(), radius, Cos()(apply(Mul(), other, 2 * math.pi)))
    scaled = apply(Add(), apply(Mul(), drawn, node.number("scale", 1.0)), node.number("mean", 0.0))
    return cast(scaled, dtype)


def _stated(node: Operator, default: DType) -> DType:
    return element_type(node.integer("dtype"), node.label) if "dtype" in node.attributes else default


def drawn(normal: bool) -> Converter:
    """A converter to numbers of the stated shape."""

    def convert(node: Operator) -> Results:
        return (_normal if normal else _between)(node, node.integers("shape"), _stated(node, dt.f32))

    return convert


def drawn_like(normal: bool) -> Converter:
    """A converter to numbers of the input's shape, and its element type unless another one is stated."""

    def convert(node: Operator) -> Results:
        like = node.input(0).type
        return (_normal if normal else _between)(node, like.shape, _stated(node, like.dtype))

    return convert


def bernoulli(node: Operator) -> Results:
    """1 with the chance that the input says, else 0."""
    chance = node.input(0)
    if chance.type.dtype is not dt.f64:
        chance = cast(chance, dt.f32)
    hit = apply(Less(), uniform(node, chance.type.shape, chance.type.dtype), chance)
    return cast(hit, _stated(node, node.input(0).type.dtype))


def multinomial(node: Operator) -> Results:
    """Classes [B, samples] drawn from unnormalised log-chances [B, C]: how many cumulative chances lie below."""
    x = cast(node.input(0), dt.f32)
    if x.type.rank != 2:
        raise node.invalid(f"it takes log-chances [B, C], not {x.type}")
    batch, classes = x.type.shape
    chances = Cumulative("sum", 1)(Softmax(1)(x))
    point = uniform(node, (batch, node.integer("sample_size", 1), 1), dt.f32)
    below = apply(LessOrEqual(), reshaped(chances, (batch, 1, classes)), point)
    count = Reduce("sum", (2,), False)(cast(below, dt.i64))
    last = apply(Sub(), Reduce("sum", (2,), False)(filled(1, (1, 1, classes), dt.i64)), 1)
    return cast(Where()(apply(Less(), count, last), count, last), _stated(node, dt.i32))


def dropout(node: Operator) -> Results:
    """The input itself outside training, else with `ratio` of its elements dropped and the others scaled up.

    The mask tells what is kept.
    """
    x, training = node.input(0), node.optional(2)
    known = (node.sizes(2) or (0,))[0] if training is not None else 0
    if training is None or (isinstance(known, int) and not known and node.sizes(2)):
        kind = dt.boolean if node.version >= 10 else x.type.dtype
        return (x, filled(1, x.type.shape, kind) if node.wants(1) else None)
    wide = dt.f64 if x.type.dtype is dt.f64 else dt.f32
    ratio = node.optional(1)
    share = scalar(0.5, wide)() if ratio is None else reshaped(cast(ratio, wide), ())
    idle = Not()(reshaped(training, ()))
    kept = apply(Or(), apply(GreaterOrEqual(), uniform(node, x.type.shape, wide), share), idle)
    scaled = apply(Div(), cast(x, wide), apply(Sub(), number(1, share), share))
    y = Where()(kept, cast(Where()(idle, cast(x, wide), scaled), x.type.dtype), number(0, x))
    return y, kept


TABLE: Table = {
    ("", "Bernoulli"): ((15, bernoulli),),
    ("", "Dropout"): ((1, dropout),),
    ("", "Multinomial"): ((7, multinomial),),
    ("", "RandomNormal"): ((1, drawn(True)),),
    ("", "RandomNormalLike"): ((1, drawn_like(True)),),
    ("", "RandomUniform"): ((1, drawn(False)),),
    ("", "RandomUniformLike"): ((1, drawn_like(False)),),
}
