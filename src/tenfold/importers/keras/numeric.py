"""Operations of keras.ops that follow from others in a line or two, and linear algebra, which the host computes."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

from tenfold.importers.keras.activation import where
from tenfold.importers.keras.calculation import of_one
from tenfold.importers.keras.layer import Converter, Layer, Table
from tenfold.importers.keras.operands import alike, axes_of, axis, real
from tenfold.importers.keras.recurrent import flipped
from tenfold.importers.shorthand import apply, cast, filled, part, reshaped, transposed
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ops.arithmetic import Abs, Add, Div, Erf, Log, Maximum, Minimum, Mul, Pow, Sign, Sin, Sub
from tenfold.ops.constant import Iota
from tenfold.ops.linear import QR, SVD, Cholesky, Det, Eigh, Inverse, Solve
from tenfold.ops.logic import And, Equal, GreaterOrEqual, IsNan, Less, LessOrEqual, Not, Where
from tenfold.ops.movement import Concat, Pad
from tenfold.ops.reduce import Reduce
from tenfold.ops.sort import TopK


def difference(layer: Layer, a: Value) -> Value:
    """Of neighbours along an axis, n times."""
    place = axis(layer, a)
    for _ in range(layer.integer("n", 1)):
        count = a.type.shape[place] - 1
        a = apply(Sub(), part(a, place, 1, count), part(a, place, 0, count))
    return a


def cross(layer: Layer, x1: Any, x2: Any) -> Value:
    """The vector product of three numbers each, along the last axis."""
    a, b = alike(x1, x2)
    if any(layer.config.get(name, -1) not in (-1, None) for name in ("axisa", "axisb", "axisc", "axis")):
        raise layer.unsupported("a vector product along other axes than the last")
    if 3 not in (a.type.shape[-1],) or b.type.shape[-1] != 3:
        raise layer.unsupported("a vector product of other than three numbers")
    (a1, a2, a3), (b1, b2, b3) = ([part(one, one.type.rank - 1, at, 1) for at in range(3)] for one in (a, b))
    pairs = ((a2, b3, a3, b2), (a3, b1, a1, b3), (a1, b2, a2, b1))
    parts = [apply(Sub(), apply(Mul(), p, q), apply(Mul(), r, s)) for p, q, r, s in pairs]
    return reduce(_joined, parts)


def _joined(a: Value, b: Value) -> Value:
    from_ = a.type.rank - 1
    return apply(Concat(from_), a, b)


def nan_to_num(layer: Layer, x: Value) -> Value:
    """Numbers in place of NaN and the infinities."""
    if not x.type.dtype.is_float:
        return x
    low, high = x.type.dtype.limits
    above = layer.config.get("posinf")
    below = layer.config.get("neginf")
    found = where(apply(IsNan(), x), layer.number("nan", 0.0), x)
    found = where(apply(Equal(), x, math.inf), high if above is None else float(above), found)
    return where(apply(Equal(), x, -math.inf), low if below is None else float(below), found)


def without_nan(kind: str, instead: float) -> Converter:
    """A reduction of what is a number."""

    def convert(layer: Layer, x: Value) -> Value:
        value = where(apply(IsNan(), x), instead, x) if x.type.dtype.is_float else x
        return apply(Reduce(kind, axes_of(layer, x), layer.flag("keepdims", False)), value)  # type: ignore[arg-type]

    return convert


def mean_without_nan(layer: Layer, x: Value) -> Value:
    """The mean of what is a number."""
    value, axes, kept = real(x), axes_of(layer, x), layer.flag("keepdims", False)
    counted = cast(apply(Not(), apply(IsNan(), value)), value.type.dtype)
    total = apply(Reduce("sum", axes, kept), where(apply(IsNan(), value), 0.0, value))
    return apply(Div(), total, apply(Reduce("sum", axes, kept), counted))


def quantile(layer: Layer, x: Value, q: Any) -> Value:
    """By linear interpolation between sorted neighbours; `q` is one number."""
    if isinstance(q, Value | list | tuple) or layer.text("method", "linear") != "linear":
        raise layer.unsupported("quantiles but one stated number, interpolated linearly")
    return _quantile(layer, real(x), float(q))


def _quantile(layer: Layer, x: Value, q: float) -> Value:
    axes, kept = axes_of(layer, x), layer.flag("keepdims", False)
    if len(axes) not in (1, x.type.rank):
        raise layer.unsupported("quantiles over several axes, but not all")
    lines = x if len(axes) == 1 else reshaped(x, (x.type.size,))
    place = axes[0] if len(axes) == 1 else 0
    count = lines.type.shape[place]
    if not isinstance(count, int):
        raise layer.unsupported(f"quantiles along an axis of {count} elements, which is open")
    rank = q * (count - 1)
    first = min(int(rank), max(count - 2, 0))
    ordered = TopK(count, place, False, True)(lines)[0]
    low, high = (part(ordered, place, min(at, count - 1), 1) for at in (first, first + 1))
    found = apply(Add(), low, apply(Mul(), apply(Sub(), high, low), rank - first))
    if kept:
        return reshaped(found, [1 if at in axes else size for at, size in enumerate(x.type.shape)])
    return reshaped(found, [size for at, size in enumerate(x.type.shape) if at not in axes])


def places(layer: Layer, x: Value, edges: Any, right: bool) -> Value:
    """How many sorted edges lie below each element, or at it too."""
    a, b = alike(x, edges)
    compared = apply(LessOrEqual() if right else Less(), b, reshaped(a, (*a.type.shape, 1)))
    return cast(apply(Reduce("sum", (a.type.rank,), False), cast(compared, dt.i32)), dt.i32)


def rotated(layer: Layer, array: Value) -> Value:
    """By quarter turns in the plane of two axes."""
    stated = layer.config.get("axes") or (0, 1)
    a, b = (int(one) % array.type.rank for one in stated)
    for _ in range(layer.integer("k", 1) % 4):
        order = list(range(array.type.rank))
        order[a], order[b] = b, a
        array = flipped(transposed(array, order), a)
    return array


def kronecker(layer: Layer, x1: Any, x2: Any) -> Value:
    """Every element of x1 times all of x2."""
    a, b = alike(x1, x2)
    rank = max(a.type.rank, b.type.rank)
    a, b = (reshaped(one, (*(1,) * (rank - one.type.rank), *one.type.shape)) for one in (a, b))
    wide = [size for one in a.type.shape for size in (one, 1)]
    high = [size for one in b.type.shape for size in (1, one)]
    shape = [p * q for p, q in zip(a.type.shape, b.type.shape, strict=True)]
    return reshaped(apply(Mul(), reshaped(a, wide), reshaped(b, high)), shape)


def trace(layer: Layer, x: Value) -> Value:
    """The sum of a diagonal of the first two axes, or those that are named."""
    first, second = (layer.integer(name, at) % x.type.rank for at, name in enumerate(("axis1", "axis2")))
    rows, columns = (Iota(0, 1, x.type.shape[at])() for at in (first, second))
    shapes = [[size if at == own else 1 for at, size in enumerate(x.type.shape)] for own in (first, second)]
    shifted = apply(Add(), reshaped(rows, shapes[0]), layer.integer("offset", 0))
    kept = where(apply(Equal(), shifted, reshaped(columns, shapes[1])), x, 0)
    return apply(Reduce("sum", tuple(sorted((first, second))), False), kept)


def sinc(x: Value) -> Value:
    """sin(pi x) / (pi x), 1 at 0."""
    turned = apply(Mul(), x, math.pi)
    none = apply(Equal(), turned, 0)
    return where(none, 1.0, apply(Div(), apply(Sin(), turned), where(none, 1.0, turned)))


def chosen(layer: Layer, condlist: Any, choicelist: Any, default: Any = 0) -> Value:
    """The first choice whose condition holds."""
    choices = alike(*choicelist, default)
    found = choices[-1]
    for condition, choice in zip(reversed(list(condlist)), reversed(choices[:-1]), strict=True):
        found = Where()(condition, choice, found)
    return found


def updated(layer: Layer, inputs: Value, start_indices: Any, updates: Value) -> Value:
    """A block of the inputs replaced, where the start is stated."""
    if isinstance(start_indices, Value):
        raise layer.unsupported("a block that begins where only a call says")
    begins = [int(one) for one in start_indices]
    sizes = [size for size in updates.type.shape if isinstance(size, int)]
    if len(sizes) < updates.type.rank:
        raise layer.unsupported("a block of open sizes")
    inside: list[Value] = []
    for at, (begin, size) in enumerate(zip(begins, sizes, strict=True)):
        count = inputs.type.shape[at]
        line = reshaped(Iota(0, 1, count)(), [count if at == one else 1 for one in range(len(sizes))])
        inside += [apply(GreaterOrEqual(), line, begin), apply(Less(), line, begin + size)]
    after = [whole - begin - size for whole, begin, size in zip(inputs.type.shape, begins, sizes, strict=True)]
    block = reduce(lambda p, q: apply(And(), p, q), inside)
    found: Value = Where()(block, Pad(tuple(begins), tuple(after))(updates), inputs)
    return found


def solve_triangular(layer: Layer, a: Value, b: Value) -> Value:
    """Of the lower or the upper triangle."""
    size = a.type.shape[-1]
    rows, columns = reshaped(Iota(0, 1, size)(), (size, 1)), reshaped(Iota(0, 1, size)(), (1, size))
    inside = apply(GreaterOrEqual() if layer.flag("lower", False) else LessOrEqual(), rows, columns)
    return solve(layer, where(inside, a, 0.0), b)


def solve(layer: Layer, a: Value, b: Value) -> Value:
    """The x of a x = b."""
    if b.type.rank == a.type.rank - 1:
        column = apply(Solve(), a, reshaped(b, (*b.type.shape, 1)))
        return reshaped(column, b.type.shape)
    return apply(Solve(), a, b)


def cholesky(layer: Layer, x: Value) -> Value:
    """The triangle whose square x is."""
    found, rank = apply(Cholesky(), x), x.type.rank
    return transposed(found, (*range(rank - 2), rank - 1, rank - 2)) if layer.flag("upper", False) else found


def singular(layer: Layer, x: Value) -> Any:
    """Singular values, between singular vectors if wanted."""
    found = SVD(layer.flag("full_matrices", True))(x)
    return list(found) if layer.flag("compute_uv", True) else found[1]


def log_det(x: Value) -> Value:
    """The logarithm of the determinant's size."""
    return apply(Log(), apply(Abs(), apply(Det(), x)))


OPERATIONS: Table = {
    "Cbrt": of_one(lambda x: apply(Mul(), apply(Sign(), x), apply(Pow(), apply(Abs(), x), 1 / 3))),
    "Erfc": of_one(lambda x: apply(Add(), apply(Mul(), apply(Erf(), x), -1.0), 1.0)),
    "Sinc": of_one(sinc),
    "Diff": difference,
    "Cross": cross,
    "NanToNum": nan_to_num,
    "Nansum": without_nan("sum", 0),
    "Nanprod": without_nan("prod", 1),
    "Nanmax": without_nan("max", -math.inf),
    "Nanmin": without_nan("min", math.inf),
    "Nanmean": mean_without_nan,
    "Quantile": quantile,
    "Median": lambda layer, x: _quantile(layer, real(x), 0.5),
    "Digitize": lambda layer, x, bins: places(layer, x, bins, True),
    "SearchSorted": lambda layer, edges, x: places(layer, x, edges, layer.text("side", "left") == "right"),
    "Rot90": rotated,
    "Kron": kronecker,
    "Trace": trace,
    "Select": chosen,
    "SliceUpdate": updated,
    "Ptp": lambda layer, x: apply(
        Sub(), *(apply(Reduce(kind, axes_of(layer, x), layer.flag("keepdims", False)), x) for kind in ("max", "min"))
    ),
    "Heaviside": lambda layer, x1, x2: _step(*alike(x1, x2)),
    "Fmax": lambda layer, x1, x2: _but_nan(Maximum(), *alike(x1, x2)),
    "Fmin": lambda layer, x1, x2: _but_nan(Minimum(), *alike(x1, x2)),
    "Logaddexp2": lambda layer, x1, x2: _log_add(*alike(x1, x2)),
    "Isposinf": lambda layer, x: apply(Equal(), x, math.inf),
    "Isneginf": lambda layer, x: apply(Equal(), x, -math.inf),
    "IsIn": lambda layer, x, y: _among(*alike(x, y)),
    "Real": lambda layer, x: x,
    "Conj": lambda layer, x: x,
    "Conjugate": lambda layer, x: x,
    "Imag": lambda layer, x: filled(0, x.type.shape, x.type.dtype),
    "Fliplr": lambda layer, x: flipped(x, 1),
    "Flipud": lambda layer, x: flipped(x, 0),
    "Vdot": lambda layer, x1, x2: _flat_dot(*alike(x1, x2)),
    "Inv": lambda layer, x: apply(Inverse(), x),
    "Det": lambda layer, x: apply(Det(), x),
    "Slogdet": lambda layer, x: [apply(Sign(), apply(Det(), x)), log_det(x)],
    "Logdet": lambda layer, x: log_det(x),
    "Solve": solve,
    "SolveTriangular": solve_triangular,
    "Cholesky": cholesky,
    "Eigh": lambda layer, x: list(Eigh()(x)),
    "Qr": lambda layer, x: list(QR(layer.text("mode", "reduced") == "complete")(x)),
    "SVD": singular,
}


def _step(x: Value, middle: Value) -> Value:
    found = where(apply(Less(), x, 0), 0.0, where(apply(Equal(), x, 0), middle, 1.0))
    return where(apply(IsNan(), x), x, found)


def _but_nan(op: Any, a: Value, b: Value) -> Value:
    return where(apply(IsNan(), a), b, where(apply(IsNan(), b), a, apply(op, a, b)))


def _log_add(a: Value, b: Value) -> Value:
    most = apply(Maximum(), a, b)
    total = apply(Add(), *(apply(Pow(), filled(2.0, (), a.type.dtype), apply(Sub(), one, most)) for one in (a, b)))
    return apply(Add(), most, apply(Mul(), apply(Log(), total), 1 / math.log(2)))


def _among(x: Value, known: Value) -> Value:
    flat = reshaped(known, (known.type.size,))
    return apply(Reduce("any", (x.type.rank,), False), apply(Equal(), reshaped(x, (*x.type.shape, 1)), flat))


def _flat_dot(a: Value, b: Value) -> Value:
    flat = [reshaped(one, (one.type.size,)) for one in (a, b)]
    return apply(Reduce("sum", (0,), False), apply(Mul(), *flat))
