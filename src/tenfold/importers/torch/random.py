"""aten's operators of chance. A draw follows from its number among the draws of a module.

So an engine gives the same draws at each call; what differs between calls must come in as an argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tenfold.importers.shorthand import apply, cast, reshaped
from tenfold.importers.torch.promote import Operand, as_value, joined
from tenfold.importers.torch.tensor import expand
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Add, Ceil, Cos, Div, Exp, Floor, Log1p, Mul, Neg, Sqrt, Sub, Tan
from tenfold.ops.elementwise import broadcast_shapes
from tenfold.ops.logic import Less, LessOrEqual, Where
from tenfold.ops.random import Uniform
from tenfold.ops.reduce import Cumulative, Reduce
from tenfold.ops.sort import TopK

SEED = 0x7E9F01D
SECOND = 2**32
"""The stream of a draw's second numbers, counted from that of its first."""


def _drawn(draw: int, shape: Sequence[Size], dtype: DType) -> Value:
    """Numbers in [0, 1), f64 if that is what `dtype` says, else f32."""
    found: Value = Uniform(tuple(shape), SEED, draw, dt.f64 if dtype is dt.f64 else dt.f32)()
    return found


def _standard(draw: int, shape: Sequence[Size], dtype: DType) -> Value:
    """Standard normal numbers: sqrt(-2 ln(1 - u)) cos(2 pi v) (Box and Muller 1958)."""
    one, other = _drawn(draw, shape, dtype), _drawn(draw + SECOND, shape, dtype)
    radius = apply(Sqrt(), apply(Mul(), apply(Log1p(), apply(Neg(), one)), -2))
    return apply(Mul(), radius, apply(Cos(), apply(Mul(), other, 2 * math.pi)))


def _waiting(draw: int, shape: Sequence[Size], dtype: DType) -> Value:
    """Exponential numbers of mean 1: -ln(1 - u)."""
    return apply(Neg(), apply(Log1p(), apply(Neg(), _drawn(draw, shape, dtype))))


def _integers(draw: int, shape: Sequence[Size], low: Operand, high: Operand, dtype: DType) -> Value:
    """Integers from `low` up to but not `high`."""
    width = apply(Sub(), as_value(high, dt.f64), as_value(low, dt.f64))
    steps = apply(Floor(), apply(Mul(), _drawn(draw, shape, dt.f64), width))
    return cast(apply(Add(), steps, as_value(low, dt.f64)), dtype)


def rand(draw: int, shape: Sequence[Size], *, dtype: DType | None = None) -> Value:
    """Numbers spread evenly over [0, 1)."""
    return cast(_drawn(draw, shape, dtype or dt.f32), dtype or dt.f32)


def randn(draw: int, shape: Sequence[Size], *, dtype: DType | None = None) -> Value:
    """Standard normal numbers."""
    return cast(_standard(draw, shape, dtype or dt.f32), dtype or dt.f32)


def like(make: Callable[..., Value]) -> Callable[..., Value]:
    """As `make`, in the shape and by default the type of another tensor."""

    def convert(draw: int, x: Value, *more: Any, dtype: DType | None = None) -> Value:
        return make(draw, *more, x.type.shape, dtype=dtype or x.type.dtype)

    return convert


def randint(draw: int, *given: Any, dtype: DType | None = None) -> Value:
    """Integers below `high`, from `low` on or 0: (high, shape) or (low, high, shape)."""
    *bounds, shape = given
    low, high = (0, *bounds) if len(bounds) == 1 else bounds
    return _integers(draw, shape, low, high, dtype or dt.i64)


def permutation(draw: int, count: Size, *, dtype: DType | None = None) -> Value:
    """The numbers below `count` in any order: the order of as many draws."""
    _, order = TopK(count, 0, False)(_drawn(draw, (count,), dt.f64))
    return cast(order, dtype or dt.i64)


def bernoulli(draw: int, chances: Value) -> Value:
    """1 with the chance that the tensor states, else 0."""
    return bernoulli_like(draw, chances, chances)


def bernoulli_like(draw: int, x: Value, chance: Operand = 0.5) -> Value:
    """1 with a chance, else 0, in the place of a tensor's elements."""
    wide = isinstance(chance, Value) and chance.type.dtype is dt.f64
    kind = dt.f64 if wide else dt.f32
    return cast(apply(Less(), _drawn(draw, x.type.shape, kind), as_value(chance, kind)), x.type.dtype)


def normal(
    draw: int,
    mean: Operand,
    deviation: Operand = 1.0,
    shape: Sequence[Size] | None = None,
    *,
    dtype: DType | None = None,
) -> Value:
    """Normal numbers of that mean and deviation, in the shape of both or the stated one."""
    tensors = [one for one in (mean, deviation) if isinstance(one, Value)]
    kind = joined(*tensors) if tensors else dtype or dt.f32
    sizes = shape if shape is not None else broadcast_shapes(*(one.type.shape for one in tensors))
    wide = dt.f64 if kind is dt.f64 else dt.f32
    scaled = apply(Mul(), _standard(draw, sizes, kind), as_value(deviation, wide))
    return cast(apply(Add(), scaled, as_value(mean, wide)), kind)


def normal_like(draw: int, x: Value, mean: float = 0.0, deviation: float = 1.0) -> Value:
    """Normal numbers in the place of a tensor's."""
    return normal(draw, mean, deviation, x.type.shape, dtype=x.type.dtype)


def _in_place(change: Callable[..., Value], make: Callable[..., Value] = _drawn) -> Callable[..., Value]:
    """Draws in the place of a tensor's elements, changed under the distribution's parameters."""

    def convert(draw: int, x: Value, *parameters: Any) -> Value:
        return cast(change(make(draw, x.type.shape, x.type.dtype), *parameters), x.type.dtype)

    return convert


def _between(u: Value, low: float = 0.0, high: float = 1.0) -> Value:
    return apply(Add(), apply(Mul(), u, float(high - low)), float(low))


def _log_normal(z: Value, mean: float = 1.0, deviation: float = 2.0) -> Value:
    return apply(Exp(), apply(Add(), apply(Mul(), z, float(deviation)), float(mean)))


def _trials(wait: Value, chance: float) -> Value:
    return apply(Ceil(), apply(Div(), wait, -math.log1p(-chance)))


def _cauchy(u: Value, median: float = 0.0, width: float = 1.0) -> Value:
    turned = apply(Tan(), apply(Mul(), apply(Sub(), u, 0.5), math.pi))
    return apply(Add(), apply(Mul(), turned, float(width)), float(median))


def random(draw: int, x: Value, *bounds: Any) -> Value:
    """Integers in the place of a tensor's elements: below one bound, between two, or all that the type holds."""
    most = 2 ** {dt.f64: 53, dt.f32: 24, dt.f16: 11, dt.bf16: 8}.get(x.type.dtype, 0)
    top = most if x.type.dtype.is_float else x.type.dtype.limits[1]
    low, high = {0: (0, top), 1: (0, *bounds), 2: bounds}[len(bounds)]
    return _integers(draw, x.type.shape, low, top if high is None else high, x.type.dtype)


def multinomial(draw: int, chances: Value, count: Size, replacement: bool = False) -> Value:
    """Places of the last axis drawn by their unnormalised chances.

    With replacement: how many cumulative chances lie below a draw. Without: those with the least waiting time of
    all, each over its chance (Efraimidis and Spirakis 2006).
    """
    x = cast(chances, dt.f64)
    *batch, classes = x.type.shape
    if not replacement:
        pace = apply(Div(), x, _waiting(draw, x.type.shape, dt.f64))
        order: Value = TopK(count, x.type.rank - 1)(pace)[1]
        return order
    sums = apply(Cumulative("sum", x.type.rank - 1), x)
    whole = apply(Reduce("sum", (x.type.rank - 1,)), x)
    point = apply(Mul(), _drawn(draw, (*batch, count), dt.f64), whole)
    below = apply(LessOrEqual(), reshaped(sums, (*batch, 1, classes)), reshaped(point, (*batch, count, 1)))
    found = apply(Reduce("sum", (x.type.rank,), False), cast(below, dt.i64))
    last = expand(as_value(classes - 1, dt.i64), found.type.shape)
    result: Value = Where()(apply(Less(), found, last), found, last)
    return result


TABLE: Mapping[str, Callable[..., Any]] = {
    "rand": rand,
    "randn": randn,
    "rand_like": like(rand),
    "randn_like": like(randn),
    "randint": randint,
    "randint_like": like(randint),
    "randperm": permutation,
    "bernoulli.default": bernoulli,
    "bernoulli.p": bernoulli_like,
    "bernoulli.float": bernoulli_like,
    "bernoulli.Tensor": bernoulli_like,
    "normal": normal,
    "normal_functional": normal_like,
    "uniform": _in_place(_between),
    "exponential": _in_place(lambda wait, pace=1.0: apply(Div(), wait, float(pace)), _waiting),
    "log_normal": _in_place(_log_normal, _standard),
    "geometric": _in_place(_trials, _waiting),
    "cauchy": _in_place(_cauchy),
    "random": random,
    "multinomial": multinomial,
}
"""By name; a converter takes first the number of the draw."""
