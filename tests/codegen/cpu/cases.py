"""The one table of kernel cases: a name, a region, the sizes it is run at. What it must compute follows from the region
(reference.py). Kernel tests, and the runner on other machines, take their cases from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tenfold.codegen.region import (
    Anchored,
    Body,
    Index,
    Instruction,
    Load,
    Operand,
    Phase,
    Pointwise,
    Region,
    Row,
    Uniform,
    identity,
)
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size, symbol
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.ir.type import Type
from tenfold.ops import activation, arithmetic, logic
from tenfold.ops.attention import Attention
from tenfold.ops.constant import scalar

Bindings = Mapping[str, int]


@dataclass(frozen=True)
class Case:
    """A region and the sizes it is run at; `low` and `high` bound the random floats, `special` adds NaN and others."""

    name: str
    region: Callable[[], Region]
    bindings: tuple[Bindings, ...] = ({},)
    low: float = -3.0
    high: float = 3.0
    special: bool = False
    tolerance: float = 4e-6
    whole: Mapping[str, int] = field(default_factory=dict)


def tensor(dtype: DType, shape: Sequence[Size], order: Sequence[int] | None = None, offset: Size = 0) -> Operand:
    """A whole tensor as an operand over its axes; `order` lists its axes as stored, outermost first."""
    order = order if order is not None else range(len(shape))
    strides: dict[int, Size] = {}
    step: Size = 1
    for axis in reversed(order):
        strides[axis] = step
        step = step * shape[axis]
    value = Value(Type(dtype, tuple(shape)))
    return Operand(value, dtype, tuple(shape), tuple(strides[axis] for axis in range(len(shape))), offset)


def spread(operand: Operand, shape: Sequence[Size]) -> Operand:
    """An operand broadcast to a shape, its axes being the last ones."""
    missing = len(shape) - len(operand.shape)
    strides = [0] * missing + [0 if n == 1 else s for n, s in zip(operand.shape, operand.strides, strict=True)]
    return Operand(operand.value, operand.dtype, tuple(shape), tuple(strides), operand.offset)


def body(inputs: Sequence[DType], *code: tuple[Op, tuple[int, ...], DType], outputs: Sequence[int] = ()) -> Body:
    """A body; its last register is the output unless others are named."""
    instructions = tuple(Instruction(*one) for one in code)
    return Body(tuple(inputs), instructions, tuple(outputs) or (len(inputs) + len(code) - 1,))


def pointwise(
    shape: Sequence[Size], inputs: Sequence[Operand], what: Body, *outputs: Operand, **more: object
) -> Pointwise:
    """An elementwise region whose outputs are fresh row-major tensors unless given."""
    made = outputs or tuple(tensor(what.dtype(register), shape) for register in what.outputs)
    return Pointwise(tuple(shape), made, tuple(inputs), what, **more)  # type: ignore[arg-type]


N, M, K = symbol("n", 0), symbol("m", 0), symbol("k", 0)
TAILS = tuple({"n": n} for n in (*range(0, 40), 63, 64, 65, 127, 128, 129, 5000))
SQUARES = tuple({"n": n, "m": m} for n in (1, 2, 5, 17, 33) for m in (1, 3, 16, 17, 40, 64, 100))

_F = dt.f32


def _unary(op: Op, dtype: DType, size: Size = 133) -> Callable[[], Region]:
    def region() -> Region:
        result = op.types((Type(dtype, ()),))[0].dtype
        return pointwise((size,), [tensor(dtype, (size,))], body([dtype], (op, (0,), result)))

    return region


def _binary(op: Op, dtype: DType, size: Size = 133) -> Callable[[], Region]:
    def region() -> Region:
        result = op.types((Type(dtype, ()),) * 2)[0].dtype
        operands = [tensor(dtype, (size,)), tensor(dtype, (size,))]
        return pointwise((size,), operands, body([dtype] * 2, (op, (0, 1), result)))

    return region


FLOATS = (dt.f32, dt.f64, dt.f16, dt.bf16)
SMALL_FLOATS = (dt.f8e4m3fn, dt.f8e4m3fnuz, dt.f8e5m2, dt.f8e5m2fnuz, dt.f4e2m1)
INTEGERS = (dt.i8, dt.i16, dt.i32, dt.i64, dt.u8, dt.u16, dt.u32, dt.u64)
NUMBERS = (*FLOATS, *INTEGERS)

_ANY_UNARY = [getattr(arithmetic, name)() for name in ("Neg", "Abs", "Sign")]
_FLOAT_UNARY = [
    *(getattr(arithmetic, name)() for name in ("Floor", "Ceil", "Trunc", "Round", "Sqrt", "Rsqrt", "Reciprocal")),
    *(getattr(arithmetic, name)() for name in ("Exp", "Log", "Log1p", "Expm1", "Erf", "Sin", "Cos", "Tan", "Tanh")),
    *(getattr(arithmetic, name)() for name in ("Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh")),
    *(logic.IsNan(), logic.IsInf(), logic.IsInf(True, False)),
]
_ANY_BINARY = [
    *(getattr(arithmetic, name)() for name in ("Add", "Sub", "Mul", "Div", "Mod", "Minimum", "Maximum")),
    arithmetic.Mod(True),
    *(getattr(logic, name)() for name in ("Equal", "NotEqual", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")),
]
_INTEGER_BINARY = [getattr(logic, name)() for name in ("BitAnd", "BitOr", "BitXor", "ShiftLeft", "ShiftRight")]
_ACTIVATIONS = [
    *(activation.Relu(), activation.LeakyRelu(0.1), activation.Sigmoid(), activation.HardSigmoid(), activation.Silu()),
    *(activation.HardSwish(), activation.Gelu(), activation.Gelu(True), activation.Elu(), activation.Selu()),
    *(activation.Celu(), activation.Softplus(), activation.Softsign(), activation.Mish(), activation.Swish(1.7)),
]

EMIT = (
    *(Case(f"{op}-{t}", _unary(op, t), special=True) for op in _ANY_UNARY for t in NUMBERS),
    *(Case(f"{op}-{t}", _unary(op, t), special=True) for op in _FLOAT_UNARY for t in FLOATS),
    *(Case(f"{op}-{t}", _binary(op, t), special=True) for op in _ANY_BINARY for t in NUMBERS),
    *(Case(f"Pow()-{t}", _binary(arithmetic.Pow(), t), special=True) for t in (dt.f32, dt.f64)),
    *(Case(f"{op}-{t}", _binary(op, t), special=True) for op in _INTEGER_BINARY for t in INTEGERS),
    *(Case(f"{op}-{t}", _unary(op, t), special=True) for op in [logic.BitNot()] for t in INTEGERS),
    *(Case(f"{op}-{t}", _unary(op, t)) for op in _ACTIVATIONS for t in (dt.f32, dt.bf16)),
    *(Case(f"{op}-bool", _binary(op, dt.boolean)) for op in (logic.And(), logic.Or(), logic.Xor(), logic.Equal())),
    Case("Not-bool", _unary(logic.Not(), dt.boolean)),
)
"""Every primitive on every element type that it takes."""

_CASTABLE = (*NUMBERS, *SMALL_FLOATS, dt.f8e8m0, dt.boolean, dt.i4, dt.u4)
CASTS = tuple(
    Case(
        f"Cast-{a}-{b}",
        _unary(logic.Cast(b), a),
        low=0.3 if a is dt.f8e8m0 else -3.0,
        special=a.is_float and b.is_float and b is not dt.f4e2m1 and a is not dt.f8e8m0,
    )
    for a in _CASTABLE
    for b in _CASTABLE
    if a is not b and {a, b} != {dt.i4, dt.u4}
)
"""Every conversion."""


def _add(shape: Sequence[Size], x: Operand, y: Operand) -> Region:
    return pointwise(shape, [x, y], body([_F, _F], (arithmetic.Add(), (0, 1), _F)))


def _copy(shape: Sequence[Size], source: Operand, dtype: DType = _F) -> Region:
    return pointwise(shape, [source], identity(dtype))


def _moved(shape: Sequence[Size], order: Sequence[int], dtype: DType = _F) -> Callable[[], Region]:
    """A tensor stored in one order written in another."""
    return lambda: _copy(shape, tensor(dtype, shape, order), dtype)


def _strided(step: Size, dtype: DType = _F) -> Callable[[], Region]:
    def region() -> Region:
        whole = tensor(dtype, (N, step))
        return _copy((N,), Operand(whole.value, dtype, (N,), (step,), 0), dtype)

    return region


def _backwards() -> Region:
    whole = tensor(_F, (N,))
    return _copy((N,), Operand(whole.value, _F, (N,), (-1,), dim.maximum(N - 1, 0)))


def _scattered() -> Region:
    """Two outputs, one of them a column of a wider tensor."""
    what = body([_F], (arithmetic.Neg(), (0,), _F), outputs=(0, 1))
    wide = tensor(_F, (N, 3))
    column = Operand(wide.value, _F, (N,), (3,), 1)
    return pointwise((N,), [tensor(_F, (N,))], what, tensor(_F, (N,)), column)


def _concatenated() -> Region:
    """Rows written into the middle of wider rows."""
    wide = tensor(_F, (N, M + 7))
    part = Operand(wide.value, _F, (N, M), (M + 7, 1), 5)
    return pointwise((N, M), [tensor(_F, (N, M))], identity(_F), part)


def _causal() -> Region:
    """Where the column is beyond the row, minus infinity; with a size added."""
    what = body(
        [_F],
        (Index(1), (), dt.i64),
        (Index(0), (), dt.i64),
        (Uniform(0), (), dt.i64),
        (arithmetic.Add(), (2, 3), dt.i64),
        (logic.LessOrEqual(), (1, 4), dt.boolean),
        (scalar(-np.inf, _F), (), _F),
        (logic.Where(), (5, 0, 6), _F),
    )
    return pointwise((N, M), [tensor(_F, (N, M))], what, uniforms=(M - N,))


def _gather(kind: str) -> Callable[[], Region]:
    """Rows, columns or transposed rows of a table picked by index."""

    def region() -> Region:
        table = tensor(_F, (11, M) if kind != "columns" else (M, 11))
        places = spread(tensor(dt.i64, (N, 1) if kind != "columns" else (M,)), (N, M))
        args = {"rows": (0, 1), "columns": (1, 0)}[kind]
        what = body([dt.i64], (Index(1 if kind == "rows" else 0), (), dt.i64), (Load(0), args, _F))
        return pointwise((N, M), [places], what, gathered=(table,))

    return region


def _gather_columns() -> Region:
    table = tensor(_F, (33, 11))
    places = spread(tensor(dt.i64, (M,)), (N, M))
    what = body([dt.i64], (Index(0), (), dt.i64), (Load(0), (1, 0), _F))
    return pointwise((N, M), [places], what, gathered=(table,))


def _dynamic_broadcast() -> Region:
    """Two operands of which either may have size 1 along the axis, as only the call knows."""
    shape = (N, dim.broadcast(M, K))
    operands = []
    for size in (M, K):
        stride = dim.select(dim.logical_and(dim.equal(size, 1), dim.less(1, shape[1])), 0, 1)
        value = Value(Type(_F, (N, size)))
        operands.append(Operand(value, _F, shape, (size, stride), 0))
    return _add(shape, *operands)


def _mixed() -> Region:
    """A byte, a half, a bool, a broadcast scalar and a broadcast row in one body."""
    shape = (N, M)
    inputs = [
        tensor(dt.u8, shape),
        tensor(dt.f16, shape),
        tensor(dt.boolean, shape),
        spread(tensor(_F, (1, 1)), shape),
        spread(tensor(_F, (M,)), shape),
        spread(tensor(dt.bf16, (N, 1)), shape),
    ]
    what = body(
        [one.dtype for one in inputs],
        (logic.Cast(_F), (0,), _F),
        (logic.Cast(_F), (1,), _F),
        (logic.Cast(_F), (5,), _F),
        (arithmetic.Mul(), (6, 3), _F),
        (arithmetic.Add(), (9, 4), _F),
        (logic.Where(), (2, 10, 7), _F),
        (arithmetic.Mul(), (11, 8), _F),
        (logic.Cast(dt.i32), (12,), dt.i32),
        outputs=(12, 13),
    )
    return pointwise(shape, inputs, what)


def _crossed() -> Region:
    """Two inputs of different widths across the output, a row and a column beside it, a second output."""
    shape = (3, N, M)
    inputs = [
        tensor(_F, shape, (0, 2, 1)),
        tensor(dt.f16, shape, (2, 0, 1)),
        spread(tensor(_F, (M,)), shape),
        spread(tensor(_F, (N, 1)), shape),
    ]
    what = body(
        [one.dtype for one in inputs],
        (logic.Cast(_F), (1,), _F),
        (arithmetic.Mul(), (0, 4), _F),
        (arithmetic.Add(), (5, 2), _F),
        (arithmetic.Mul(), (6, 3), _F),
        (Index(1), (), dt.i64),
        (logic.Cast(_F), (8,), _F),
        (arithmetic.Add(), (7, 9), _F),
        outputs=(10, 1),
    )
    return pointwise(shape, inputs, what)


POINTWISE = (
    Case("add", lambda: _add((N,), tensor(_F, (N,)), tensor(_F, (N,))), TAILS),
    Case("add-static", lambda: _add((3, 50), tensor(_F, (3, 50)), tensor(_F, (3, 50)))),
    Case("add-scalars", lambda: _add((), tensor(_F, ()), tensor(_F, ()))),
    Case("add-row", lambda: _add((N, M), tensor(_F, (N, M)), spread(tensor(_F, (M,)), (N, M))), SQUARES),
    Case("add-column", lambda: _add((N, M), tensor(_F, (N, M)), spread(tensor(_F, (N, 1)), (N, M))), SQUARES),
    Case("add-scalar", lambda: _add((N, M), tensor(_F, (N, M)), spread(tensor(_F, (1,)), (N, M))), SQUARES),
    Case(
        "add-channels",
        lambda: _add((N, 3, M, 5), tensor(_F, (N, 3, M, 5)), spread(tensor(_F, (1, 3, 1, 1)), (N, 3, M, 5))),
        SQUARES,
    ),
    Case("many-chunks", lambda: _add((N, M), tensor(_F, (N, M)), spread(tensor(_F, (M,)), (N, M))),
         ({"n": 3, "m": 100_001}, {"n": 2000, "m": 40})),
    *(Case(f"copy-{t}", lambda t=t: _copy((N,), tensor(t, (N,)), t), TAILS) for t in (dt.u8, dt.f16, dt.i64, dt.i4)),
    *(Case(f"every-{step}-{t}", _strided(step, t), TAILS) for step in (2, 3, 4, 5) for t in (_F, dt.u8, dt.f64)),
    Case("every-k", _strided(K), tuple({"n": n, "k": k} for n in (1, 7, 16, 40) for k in (1, 2, 9))),
    Case("backwards", _backwards, TAILS),
    Case("scattered", _scattered, TAILS),
    Case("concatenated", _concatenated, SQUARES),
    Case("causal", _causal, SQUARES),
    Case("gather-rows", _gather("rows"), SQUARES, whole={"high": 11}),
    Case("gather-columns", _gather_columns, SQUARES[:24], whole={"high": 11}),
    Case("dynamic-broadcast", _dynamic_broadcast,
         tuple({"n": 3, "m": m, "k": k} for m, k in ((1, 1), (1, 20), (20, 1), (20, 20), (16, 16)))),
    Case("mixed", _mixed, SQUARES),
    *(Case(f"transpose-{t}", _moved((N, M), (1, 0), t), SQUARES) for t in (_F, dt.f64, dt.f16, dt.u8)),
    Case("to-channels-last", _moved((2, N, 7, M), (0, 3, 1, 2)), SQUARES),
    Case("from-channels-last", _moved((2, N, M, 7), (0, 2, 3, 1)), SQUARES),
    Case("transpose-batch", _moved((3, N, M), (0, 2, 1)), SQUARES),
    Case("transpose-add", lambda: _add((N, M), tensor(_F, (N, M), (1, 0)), tensor(_F, (N, M))), SQUARES),
    Case("transpose-mixed", _crossed, SQUARES),
    Case("transpose-all", _moved((N, 5, M, 3), (3, 2, 1, 0)), SQUARES),
    Case("transpose-few", _moved((N, M, 4), (0, 2, 1)), SQUARES),
    Case("transpose-planes", _moved((2, M, 3), (0, 2, 1)), SQUARES),
    Case("transpose-pairs", _moved((M, 2), (1, 0)), SQUARES),
)  # fmt: skip
"""Elementwise regions: access, broadcasting, tails, several outputs, indices, loads."""


def row(
    shape: Sequence[Size],
    reduced: int,
    inputs: Sequence[Operand],
    phases: Sequence[tuple[Body, str]],
    what: Body | None = None,
    finish: Body | None = None,
    **more: object,
) -> Row:
    """A row region whose results are fresh row-major tensors."""
    rest = tuple(shape[: len(shape) - reduced])
    outputs = tuple(tensor(what.dtype(register), shape) for register in what.outputs) if what else ()
    flat = []
    for register in finish.outputs if finish else ():
        made = tensor(finish.dtype(register), rest)  # type: ignore[union-attr]
        flat.append(Operand(made.value, made.dtype, tuple(shape), (*made.strides, *(0,) * reduced), 0))
    return Row(
        tuple(shape), outputs, reduced, tuple(inputs), tuple(Phase(*one) for one in phases), what, finish,  # type: ignore[arg-type]
        (), tuple(flat), **more,  # type: ignore[arg-type]
    )  # fmt: skip


def _reduce(
    combine: str, dtype: DType, shape: Sequence[Size], reduced: int, order: Sequence[int] | None = None
) -> Callable[[], Region]:
    """A plain reduction of the last axes of a tensor stored in `order`."""

    def region() -> Region:
        wide = dt.f32 if dtype in (dt.f16, dt.bf16) else dtype
        what = body([dtype], (logic.Cast(wide), (0,), wide)) if wide is not dtype else identity(dtype)
        scalar_type = dt.i64 if combine.startswith("arg") else wide
        return row(shape, reduced, [tensor(dtype, shape, order)], [(what, combine)], finish=identity(scalar_type))

    return region


def _softmax(shape: Sequence[Size], order: Sequence[int] | None = None, dtype: DType = _F, log: bool = False) -> Region:
    """Over the last axis."""
    x = tensor(dtype, shape, order)
    centred = [(logic.Cast(_F), (0,), _F), (arithmetic.Sub(), (2, 1), _F), (arithmetic.Exp(), (3,), _F)]
    if log:
        what = body(
            [dtype, _F, _F],
            (logic.Cast(_F), (0,), _F),
            (arithmetic.Sub(), (3, 1), _F),
            (arithmetic.Log(), (2,), _F),
            (arithmetic.Sub(), (4, 5), _F),
            (logic.Cast(dtype), (6,), dtype),
        )
    else:
        what = body(
            [dtype, _F, _F],
            (logic.Cast(_F), (0,), _F),
            (arithmetic.Sub(), (3, 1), _F),
            (arithmetic.Exp(), (4,), _F),
            (arithmetic.Div(), (5, 2), _F),
            (logic.Cast(dtype), (6,), dtype),
        )
    phases = [(body([dtype], (logic.Cast(_F), (0,), _F)), "max"), (body([dtype, _F], *centred), "sum")]
    result = row(shape, 1, [x], phases, what)
    out = tensor(dtype, shape, order)
    return Row(result.domain, (out,), 1, result.inputs, result.phases, result.body)


def _layer_norm(shape: Sequence[Size], order: Sequence[int] | None = None) -> Region:
    """Mean, variance, then scaled and shifted; the mean is a result too."""
    size = shape[-1]
    inputs = [tensor(_F, shape, order), spread(tensor(_F, (size,)), shape), spread(tensor(_F, (size,)), shape)]
    count = (Uniform(0), (), dt.i64)
    mean = body(
        [_F] * 4,
        count,
        (logic.Cast(_F), (4,), _F),
        (arithmetic.Div(), (3, 5), _F),
        (arithmetic.Sub(), (0, 6), _F),
        (arithmetic.Mul(), (7, 7), _F),
    )
    what = body(
        [_F] * 5,
        count,
        (logic.Cast(_F), (5,), _F),
        (arithmetic.Div(), (3, 6), _F),
        (arithmetic.Sub(), (0, 7), _F),
        (arithmetic.Div(), (4, 6), _F),
        (scalar(1e-5, _F), (), _F),
        (arithmetic.Add(), (9, 10), _F),
        (arithmetic.Rsqrt(), (11,), _F),
        (arithmetic.Mul(), (8, 12), _F),
        (arithmetic.Mul(), (13, 1), _F),
        (arithmetic.Add(), (14, 2), _F),
    )
    finish = body([_F, _F], count, (logic.Cast(_F), (2,), _F), (arithmetic.Div(), (0, 3), _F))
    phases = [(body([_F] * 3, outputs=(0,)), "sum"), (mean, "sum")]
    return row(shape, 1, inputs, phases, what, finish, uniforms=(size,))


def _weighted() -> Region:
    """A finish with an input of its own, and positions in a phase."""
    shape = (N, M)
    phase = body([_F], (Index(1), (), dt.i64), (logic.Cast(_F), (1,), _F), (arithmetic.Mul(), (0, 2), _F))
    finish = body([_F, _F], (arithmetic.Add(), (0, 1), _F))
    base = row(shape, 1, [tensor(_F, shape)], [(phase, "sum")], finish=body([_F], outputs=(0,)))
    extra = spread(tensor(_F, (N, 1)), shape)
    return Row(
        shape, (), 1, base.inputs, base.phases, None, finish, (extra,), base.finish_outputs
    )  # fmt: skip


LENGTHS = tuple({"n": n, "m": m} for n in (1, 3, 70) for m in (1, 2, 15, 16, 17, 31, 33, 64, 100, 257, 1000))
SHORT = LENGTHS[::2]
_COMBINES = ("sum", "max", "min", "prod", "argmax", "argmin", "argmax_last", "argmin_last")

ROW = (
    *(Case(f"{c}-f32", _reduce(c, _F, (N, M), 1), LENGTHS, -1.2, 1.2, tolerance=3e-5) for c in _COMBINES),
    *(Case(f"{c}-f32-special", _reduce(c, _F, (N, M), 1), SHORT, special=True, tolerance=1e-4)
      for c in _COMBINES if c not in ("sum", "prod")),
    *(Case(f"{c}-{t}", _reduce(c, t, (N, M), 1), SHORT, tolerance=1e-4)
      for c in ("sum", "max", "argmax") for t in (dt.f64, dt.f16, dt.bf16, dt.i8, dt.u8, dt.i32, dt.i64)),
    *(Case(f"{c}-bool", _reduce(c, dt.boolean, (N, M), 1), SHORT) for c in ("any", "all")),
    *(Case(f"{c}-columns", _reduce(c, _F, (N, M), 1, (1, 0)), LENGTHS, -1.2, 1.2, tolerance=3e-5) for c in _COMBINES),
    Case("any-columns", _reduce("any", dt.boolean, (N, M), 1, (1, 0)), SHORT),
    Case("sum-everything", _reduce("sum", _F, (N, M), 2), LENGTHS, tolerance=1e-4),
    Case("sum-nothing", _reduce("sum", _F, (3, N), 1), ({"n": 0}, {"n": 1})),
    Case("max-nothing", _reduce("max", _F, (3, N), 1), ({"n": 0}, {"n": 1})),
    Case("sum-no-rows", _reduce("sum", _F, (N, 9), 1), ({"n": 0}, {"n": 2})),
    Case("sum-two-axes-apart", _reduce("sum", _F, (5, N, 3, M), 2, (2, 0, 3, 1)), SHORT, tolerance=1e-4),
    Case("argmax-two-axes-apart", _reduce("argmax", _F, (5, N, 3, M), 2, (2, 0, 3, 1)), SHORT),
    Case("argmax-rows-apart", _reduce("argmax", _F, (5, N, 3, M), 2, (2, 0, 1, 3)), SHORT),
    Case("pool-channels-last", _reduce("sum", _F, (2, M, N, 7), 2, (0, 2, 3, 1)), SHORT, tolerance=1e-4),
    Case("pool-channels-first", _reduce("sum", _F, (2, M, N, 7), 2), SHORT, tolerance=1e-4),
    Case("softmax", lambda: _softmax((N, M)), LENGTHS),
    Case("softmax-static", lambda: _softmax((7, 300), dtype=dt.f16)),
    Case("softmax-symbolic-f16", lambda: _softmax((N, M), dtype=dt.f16), SHORT),
    Case("softmax-columns", lambda: _softmax((N, M), (1, 0)), LENGTHS),
    Case("softmax-nchw-channels", lambda: _softmax((2, N, 5, M), (0, 3, 1, 2)), SHORT),
    Case("log-softmax", lambda: _softmax((N, M), log=True), SHORT),
    Case("layer-norm", lambda: _layer_norm((N, M)), LENGTHS, tolerance=2e-5),
    Case("layer-norm-columns", lambda: _layer_norm((N, M), (1, 0)), LENGTHS, tolerance=2e-5),
    Case("weighted", _weighted, SHORT, tolerance=1e-3),
)  # fmt: skip
"""Rows: every combine, element types, axes apart, softmax and norms, both ways round."""


def _attention(op: Attention, mask: DType, shared: int) -> Region:
    """Four heads of 20 elements, values of 13, a mask for each query and key."""
    sizes: list[tuple[Size, ...]] = [(2, 4, N, 20), (2, shared, M, 20), (2, shared, M, 13)]
    operands = [tensor(_F, size, (0, 2, 1, 3)) for size in sizes]
    out = tensor(_F, (2, 4, N, 13), (0, 2, 1, 3))
    return Anchored(out.shape, (out,), op, (*operands, tensor(mask, (N, M))), identity(_F))


ATTENTION = (
    Case("attention-mask", lambda: _attention(Attention(0.2), _F, 4), SQUARES, tolerance=1e-5),
    Case("attention-shared", lambda: _attention(Attention(0.2, True, 4), dt.boolean, 2), SQUARES, tolerance=1e-5),
)
"""Attention, its heads being views of rows of heads."""
