"""Reading between elements: weighted sums of `Pick`s at computed places, which fuse like any elementwise work."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from tenfold.compiler.fuse.accumulate import narrow, number, wide
from tenfold.compiler.fuse.indexing import along, clamped, pick_along, whole_number
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Node, Value
from tenfold.ir.op import Array
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Abs, Add, Ceil, Div, Floor, Maximum, Minimum, Mul, Round, Sub
from tenfold.ops.constant import Constant, Iota
from tenfold.ops.image import GridSample, Resample, Resize
from tenfold.ops.logic import And, Cast, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Or, ShiftRight, Where
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Reshape, Slice, Transpose
from tenfold.ops.primitive import Copy, Pick
from tenfold.ops.reduce import Reduce
from tenfold.ops.sampling import DeformConv, RoiAlign

MOST_TABLED = 1 << 20
"""The most elements of an axis whose places and weights are kept as constants."""
Tap = tuple[Value, Value | None]
"""Where to read, as i64, and the weight of what is there (None for 1)."""


def resize(op: Resize, node: Node) -> Value | None:
    """Σ over taps of weight · x[place], axis by axis"""
    given, *operands = node.inputs
    x = given if op.mode == "nearest" else wide(given) if given.type.dtype.is_float else Cast(dt.f32)(given)
    outside: Value | None = None
    for axis, (before, after) in enumerate(zip(given.type.shape, op.sizes, strict=True)):
        if operands or op.region or before != after or op.scales[axis] not in (0.0, 1.0):
            line = Line(op, axis, before, after, tuple(operands))
            taps = line.taps()
            if taps is None and operands and op.coordinates == "tf_crop_and_resize":
                return None
            x = Resample(axis)(x, *line.table(x)) if taps is None else _weighed(x, axis, taps)
            if op.coordinates == "tf_crop_and_resize":
                beyond = along(line.beyond(), axis, x.type.rank)
                outside = beyond if outside is None else Or()(outside, beyond)
    if outside is not None:
        x = Where()(outside, number(op.extrapolation, x), x)
    return narrow(x, given)


def _weighed(x: Value, axis: int, taps: Sequence[Tap]) -> Value:
    terms = []
    for places, weights in taps:
        term = pick_along(x, axis, places)
        if weights is not None:
            term = Mul()(term, along(narrow(weights, x), axis, x.type.rank))
        terms.append(term)
    return _sum(terms)


def _sum(terms: Sequence[Value]) -> Value:
    return reduce(Add(), terms)


SHORT = 16
"""Fewer elements than these behind an axis make no line worth walking."""


def resample(op: Resample, node: Node) -> Value:
    """Σ over the last axis of x[places] · weights, along lines of elements that share both

    Where too few elements lie behind the axis, those before it make the lines: both ends are transposed.
    """
    x, places, weights = node.inputs
    before, inner = x.type.shape[: op.axis], x.type.shape[op.axis + 1 :]
    count, behind = dim.product(before), dim.product(inner)
    if not isinstance(behind, int) or behind >= SHORT or count == 1:
        return Reshape(node.output.type.shape)(_sums(op, _grouped(x, op.axis), places, weights))
    turned = Copy()(Transpose((1, 2, 0))(_grouped(x, op.axis)))
    lines = Reshape((1, x.type.shape[op.axis], behind * count))(turned)
    found = Reshape((places.type.shape[0], behind, count))(_sums(op, lines, places, weights))
    return Reshape(node.output.type.shape)(Copy()(Transpose((2, 0, 1))(found)))


def _grouped(x: Value, axis: int) -> Value:
    """x with what lies before an axis as one axis, and what lies behind it as one."""
    shape = x.type.shape
    value: Value = Reshape((dim.product(shape[:axis]), shape[axis], dim.product(shape[axis + 1 :])))(x)
    return value


def _sums(op: Resample, x: Value, places: Value, weights: Value) -> Value:
    """x [a, before, c] as [a, n, c]."""
    (outer, _, inner), (size, taps) = x.type.shape, places.type.shape
    column = (1, size, 1, taps)
    picked = Pick((0, -1, 2), (outer, size, inner, taps))(x, Reshape(column)(places))
    cast = picked if x.type.dtype == weights.type.dtype else Cast(weights.type.dtype)(picked)
    total = Reduce("sum", (3,), True)(Mul()(cast, Reshape(column)(weights)))
    if op.bits:
        low, high = (number(int(one), total) for one in x.type.dtype.limits)
        rounded = ShiftRight()(Add()(total, number(1 << op.bits - 1, total)), number(op.bits, total))
        total = Cast(x.type.dtype)(Minimum()(Maximum()(rounded, low), high))
    value: Value = Reshape((outer, size, inner))(total)
    return value


@dataclass(frozen=True)
class Line:
    """One axis of a Resize, from `before` elements to `after`; by the same steps as `Resize.taps`, in f32."""

    op: Resize
    axis: int
    before: Size
    after: Size
    operands: tuple[Value, ...]

    def taps(self) -> Sequence[Tap] | None:
        """What each element of the result reads; None where only the call tells how many elements that is."""
        small = isinstance(self.after, int) and self.after <= MOST_TABLED
        if small and isinstance(self.before, int) and isinstance(self.after, int) and not self.operands:
            places, weights, _ = self.op.taps(self.axis, self.before, self.after)
            columns = [(_constant(places[:, n]), _constant(weights[:, n])) for n in range(places.shape[1])]
            return [(columns[0][0], None)] if self.op.mode == "nearest" else columns
        at = self._origin()
        if self.op.mode == "nearest":
            return [(clamped(Cast(dt.i64)(_rounded(self.op.rounding, at)), self.before), None)]
        shrink = self._shrink()
        return None if shrink is None else self._filtered(at, shrink)

    def table(self, x: Value) -> tuple[Value, Value]:
        """The same as two tensors [after, taps], where sizes of the call decide how many taps there are."""
        radius = 1 if self.op.mode == "linear" else 2
        reach = dim.maximum(radius, dim.ceildiv(radius * self.before, dim.maximum(self.after, 1)))
        at = Reshape((self.after, 1))(self._origin())
        left = Sub()(Ceil()(at), _real(1.0))
        offset = Reshape((1, 2 * reach))(Cast(dt.f32)(Iota(1 - reach, 1, 2 * reach)()))
        place = Add()(left, offset)
        shrink = Minimum()(Div()(self._length(), _measure(self.before)), _real(1.0))
        weight = self._weight(Abs()(Mul()(Sub()(offset, Sub()(at, left)), shrink)))
        if self.op.exclude_outside:
            weight = Where()(_inside(place, self.before), weight, _real(0.0))
        weight = Div()(weight, Reduce("sum", (1,), True)(weight))
        return clamped(Cast(dt.i64)(place), self.before), narrow(weight, x)

    def beyond(self) -> Value:
        """Which elements of the result lie outside of x."""
        at, last = self._origin(), _measure(self.before - 1)
        value: Value = Or()(Less()(at, _real(0.0)), Greater()(at, last))
        return value

    def _shrink(self) -> float | None:
        if not self.op.antialias:
            return 1.0
        known = 0.0 if self.operands else self.op.scales[self.axis]
        return min(1.0, known) or None

    def _filtered(self, at: Value, shrink: float) -> Sequence[Tap]:
        left = Sub()(Ceil()(at), _real(1.0))
        ratio = Sub()(at, left)
        radius = 1 if self.op.mode == "linear" else 2
        first = math.floor(-radius / shrink) + 1
        places, weights = [], []
        for offset in range(first, 2 - first):
            place = Add()(left, _real(float(offset)))
            distance = Abs()(Mul()(Sub()(_real(float(offset)), ratio), _real(shrink)))
            weight = self._weight(distance)
            if self.op.exclude_outside:
                weight = Where()(_inside(place, self.before), weight, _real(0.0))
            places.append(clamped(Cast(dt.i64)(place), self.before))
            weights.append(weight)
        if self.op.antialias or self.op.exclude_outside:
            total = _sum(weights)
            weights = [Div()(weight, total) for weight in weights]
        return list(zip(places, weights, strict=True))

    def _weight(self, distance: Value) -> Value:
        return _triangle(distance) if self.op.mode == "linear" else _cubic(distance, self.op.cubic_a)

    def _back(self, place: Value) -> Value:
        """A place in the result as one in x: by the scale, or where none is stated by both sizes."""
        by_sizes: Value = Div()(Mul()(place, _measure(self.before)), _measure(self.after))
        if self.operands:
            given = _element(self.operands[0], self.axis)
            is_open = Equal()(given, _real(0.0))
            found: Value = Where()(is_open, by_sizes, Div()(place, Where()(is_open, _real(1.0), given)))
            return found
        scale = self.op.scales[self.axis]
        return Div()(place, _real(scale)) if scale else by_sizes

    def _length(self) -> Value:
        """How long x is once it is scaled."""
        before, after = _measure(self.before), _measure(self.after)
        if self.operands:
            given = _element(self.operands[0], self.axis)
            found: Value = Where()(Equal()(given, _real(0.0)), after, Mul()(before, given))
            return found
        scale = self.op.scales[self.axis]
        return Mul()(before, _real(scale)) if scale else after

    def _origin(self) -> Value:
        """Where in x each element of the result lies, as f32."""
        index, before, length = Cast(dt.f32)(Iota(0, 1, self.after)()), _measure(self.before), self._length()
        centre = Sub()(self._back(Add()(index, _real(0.5))), _real(0.5))
        match self.op.coordinates:
            case "asymmetric":
                place: Value = self._back(index)
            case "tf_half_pixel_for_nn":
                moved = self._back(Add()(index, _real(0.5)))
                stays = And()(Equal()(length, before), Equal()(before, _measure(self.after)))
                place = Where()(stays, index, moved)
            case "pytorch_half_pixel":
                place = Where()(Greater()(whole_number(self.after), whole_number(1)), centre, _real(0.0))
            case "half_pixel_symmetric":
                short = Sub()(_real(1.0), Div()(_measure(self.after), length))
                place = Add()(centre, Mul()(Div()(before, _real(2.0)), short))
            case "align_corners":
                place = _spaced(Mul()(index, Sub()(before, _real(1.0))), length, _real(0.0))
            case "tf_crop_and_resize":
                place = self._cropped(index, length)
            case _:
                place = centre
        return place

    def _cropped(self, index: Value, length: Value) -> Value:
        rank, last = len(self.op.sizes), _measure(self.before - 1)
        if self.operands:
            start, end = (_element(self.operands[1], self.axis + at) for at in (0, rank))
        else:
            start, end = (_real(self.op.region[self.axis + at]) for at in (0, rank))
        step = Mul()(Sub()(end, start), last)
        value: Value = Add()(Mul()(start, last), _spaced(Mul()(index, step), length, Div()(step, _real(2.0))))
        return value


def _spaced(distance: Value, length: Value, alone: Value) -> Value:
    """distance / (length - 1), or `alone` where the length is 1."""
    only = Equal()(length, _real(1.0))
    value: Value = Where()(only, alone, Div()(distance, Where()(only, _real(1.0), Sub()(length, _real(1.0)))))
    return value


def _element(vector: Value, at: int) -> Value:
    value: Value = Reshape(())(Slice((at,), (1,), (1,))(vector))
    return value


def _constant(array: Array) -> Value:
    value: Value = Constant(Tensor(np.ascontiguousarray(array)))()
    return value


def _real(value: float) -> Value:
    return _constant(np.array(value, np.float32))


def _measure(size: Size) -> Value:
    value: Value = Cast(dt.f32)(whole_number(size))
    return value


def _inside(place: Value, size: Size) -> Value:
    last = narrow(whole_number(size - 1), place)
    value: Value = And()(GreaterOrEqual()(place, number(0.0, place)), LessOrEqual()(place, last))
    return value


def _triangle(distance: Value) -> Value:
    value: Value = Maximum()(number(0.0, distance), Sub()(number(1.0, distance), distance))
    return value


def _cubic(d: Value, a: float) -> Value:
    """The cubic convolution kernel of Keys (1981) at a distance."""

    def polynomial(*factors: float) -> Value:
        total: Value = number(factors[0], d)
        for factor in factors[1:]:
            total = Add()(Mul()(total, d), number(factor, d))
        return total

    near, far = polynomial(a + 2, -(a + 3), 0.0, 1.0), polynomial(a, -5 * a, 8 * a, -4 * a)
    beyond = Where()(Less()(d, number(2.0, d)), far, number(0.0, d))
    value: Value = Where()(LessOrEqual()(d, number(1.0, d)), near, beyond)
    return value


def _rounded(rounding: str, at: Value) -> Value:
    if rounding == "floor":
        found: Value = Floor()(at)
        return found
    if rounding == "ceil":
        found = Ceil()(at)
        return found
    below = Floor()(at)
    rest = Sub()(at, below)
    up = Greater() if rounding == "round_prefer_floor" else GreaterOrEqual()
    found = Add()(below, Cast(dt.f32)(up(rest, _real(0.5))))
    return found


def _place(at: Value, size: Size) -> Value:
    """A place as i64, moved into an axis of that size."""
    last = narrow(whole_number(size - 1), at)
    value: Value = Cast(dt.i64)(Maximum()(Minimum()(at, last), number(0.0, at)))
    return value


def grid_sample(op: GridSample, node: Node) -> Value:
    """Σ over the taps of every axis of the product of their weights · x[places], 0 for taps that lie outside"""
    given, grid = node.inputs
    x, axes = wide(given), given.type.rank - 2
    every = []
    for axis in range(axes):
        starts = (0,) * (axes + 1) + (axes - 1 - axis,)
        column = Slice(starts, (*grid.type.shape[:-1], 1), (1,) * len(starts))(wide(grid))
        coordinate = Reshape((grid.type.shape[0], 1, *grid.type.shape[1:-1]))(column)
        every.append(_grid_taps(op, coordinate, given.type.shape[2 + axis]))
    own = (0, 1, *(-1,) * axes)
    return narrow(_interpolated(x, own, node.output.type.shape, every), given)


def _interpolated(x: Value, own: tuple[int, ...], shape: Sequence[Size], every: Sequence[Sequence[Tap]]) -> Value:
    """Σ over one tap of each axis of weights · x, picked as `own` says at i64 places."""
    terms = []
    for taps in itertools.product(*every):
        weight = reduce(Mul(), [weight for _, weight in taps if weight is not None] or [number(1.0, x)])
        terms.append(Mul()(Pick(own, tuple(shape))(x, *(place for place, _ in taps)), narrow(weight, x)))
    return _sum(terms)


def _grid_taps(op: GridSample, coordinate: Value, size: Size) -> list[Tap]:
    ends = size - 1 if op.align_corners else size
    span, lack = (narrow(whole_number(one), coordinate) for one in (ends, ends - size + 1))
    half, one = number(0.5, coordinate), number(1.0, coordinate)
    at: Value = Mul()(Sub()(Mul()(Add()(coordinate, one), span), lack), half)
    if op.mode == "nearest":
        at = Round()(at)
    if op.mode != "cubic":
        at = _bordered(op, at, size)
    left = Floor()(at)
    found: list[Tap] = []
    for offset in {"nearest": (0,), "linear": (0, 1), "cubic": (-1, 0, 1, 2)}[op.mode]:
        tap = Add()(left, number(float(offset), at))
        distance = Abs()(Sub()(at, tap))
        weight = one if op.mode == "nearest" else _triangle(distance)
        if op.mode == "cubic":
            weight = _cubic(distance, -0.75)
        place = _bordered(op, tap, size)
        weight = Where()(_inside(place, size), weight, number(0.0, at))
        found.append((_place(place, size), weight))
    return found


def _bordered(op: GridSample, at: Value, size: Size) -> Value:
    if op.padding == "zeros":
        return at
    if op.padding == "border":
        last = narrow(whole_number(size - 1), at)
        value: Value = Maximum()(Minimum()(at, last), number(0.0, at))
        return value
    low = number(0.0 if op.align_corners else -0.5, at)
    span = narrow(whole_number(size - 1 if op.align_corners else size), at)
    turn = Mul()(Maximum()(span, number(0.5, at)), number(2.0, at))
    moved = Sub()(at, low)
    rest = Sub()(moved, Mul()(Floor()(Div()(moved, turn)), turn))
    value = Add()(low, Minimum()(Minimum()(rest, Sub()(turn, rest)), span))
    return value


def roi_align(op: RoiAlign, node: Node) -> Value | None:
    """mean or max over samples of the interpolated x"""
    given, regions, batch = node.inputs
    if op.sampling == 0:
        return None
    x, box = wide(given), wide(regions)
    count, points, channels = regions.type.shape[0], op.sampling, given.type.shape[1]
    shape = (count, channels, op.height, points, op.width, points)
    image = Reshape((count, 1, 1, 1, 1, 1))(Cast(dt.i64)(batch))
    rows = _roi_taps(op, box, 1, op.height, given.type.shape[2], (count, 1, op.height, points, 1, 1))
    columns = _roi_taps(op, box, 0, op.width, given.type.shape[3], (count, 1, 1, 1, op.width, points))
    terms = []
    for (row, a), (column, b) in itertools.product(rows, columns):
        picked = Pick((-1, 1, -1, -1), shape)(x, image, row, column)
        terms.append(Mul()(picked, narrow(Mul()(a, b), x)))
    if op.mode == "max":
        pooled = Reduce("max", (3, 5), True)(reduce(Maximum(), terms))
    else:
        pooled = Div()(Reduce("sum", (3, 5), True)(_sum(terms)), number(float(points * points), x))
    return narrow(Reshape(node.output.type.shape)(pooled), given)


def _roi_taps(
    op: RoiAlign, box: Value, side: int, count: int, size: Size, shape: tuple[Size, ...]
) -> list[tuple[Value, Value]]:
    """Both neighbours of each sample along one axis; `side` is 0 for x, 1 for y."""
    regions = box.type.shape[0]
    ends = [Slice((0, at), (regions, 1), (1, 1))(box) for at in (side, side + 2)]
    shift = number(0.5 if op.half_pixel else 0.0, box)
    first, last = (Sub()(Mul()(end, number(op.scale, box)), shift) for end in ends)
    extent = Sub()(last, first)
    if not op.half_pixel:
        extent = Maximum()(extent, number(1.0, box))
    share = Div()(extent, number(float(count), box))
    offsets = np.arange(count)[:, None] + (np.arange(op.sampling) + 0.5) / op.sampling
    offset = _constant(offsets.reshape(1, -1).astype(box.type.dtype.numpy))
    at = Reshape(shape)(Add()(first, Mul()(share, offset)))
    whole, top = (narrow(whole_number(one), at) for one in (size, size - 1))
    within = And()(GreaterOrEqual()(at, number(-1.0, at)), LessOrEqual()(at, whole))
    at = Maximum()(Minimum()(at, top), number(0.0, at))
    low = Floor()(at)
    share_of_next = Sub()(at, low)
    weights = Sub()(number(1.0, at), share_of_next), share_of_next
    places = low, Add()(low, number(1.0, at))
    return [
        (_place(place, size), Where()(within, weight, number(0.0, at)))
        for place, weight in zip(places, weights, strict=True)
    ]


def deform_conv(op: DeformConv, node: Node) -> Value | None:
    """w · columns, whose elements are x interpolated at the taps' places, times the mask"""
    given, w, offsets, *masks = node.inputs
    kernel = [size for size in w.type.shape[2:] if isinstance(size, int)]
    if len(kernel) < w.type.rank - 2:
        return None
    batch, channels, *spatial = given.type.shape
    windows, taps, axes = offsets.type.shape[2:], math.prod(kernel), len(kernel)
    each = channels // op.parts
    x = Reshape((batch, op.parts, each, *spatial))(wide(given))
    moves = Reshape((batch, op.parts, taps, axes, *windows))(wide(offsets))
    every = []
    for axis, size in enumerate(spatial):
        starts, sizes = [0, 0, 0, axis, *(0,) * axes], (batch, op.parts, taps, 1, *windows)
        move = Slice(tuple(starts), sizes, (1,) * len(sizes))(moves)
        at = Add()(Reshape((batch, op.parts, 1, taps, *windows))(move), _still(op, axis, kernel, windows, move))
        every.append(_linear_taps(at, size))
    shape = (batch, op.parts, each, taps, *windows)
    seen = _interpolated(x, (0, 1, 2, *(-1,) * axes), shape, every)
    for mask in masks:
        seen = Mul()(seen, Reshape((batch, op.parts, 1, taps, *windows))(wide(mask)))
    columns = Reshape((batch, op.groups, channels // op.groups * taps, dim.product(windows)))(seen)
    matrices = Reshape((op.groups, w.type.shape[0] // op.groups, channels // op.groups * taps))(wide(w))
    return narrow(Reshape(node.output.type.shape)(MatMul()(matrices, columns)), given)


def _still(op: DeformConv, axis: int, kernel: Sequence[int], windows: Sequence[Size], like: Value) -> Value:
    """Where each tap of each window stands along an axis before it is moved: [1, 1, 1, taps, *windows]."""
    taps = np.unravel_index(np.arange(math.prod(kernel)), tuple(kernel))[axis] * op.dilations[axis]
    tap = _constant(taps.reshape(1, 1, 1, -1, *(1,) * len(windows)).astype(like.type.dtype.numpy))
    start = narrow(Iota(-op.pads_before[axis], op.strides[axis], windows[axis])(), like)
    value: Value = Add()(tap, along(start, 4 + axis, 4 + len(windows)))
    return value


def _linear_taps(at: Value, size: Size) -> list[Tap]:
    low = Floor()(at)
    share = Sub()(at, low)
    ends = (low, Sub()(number(1.0, at), share)), (Add()(low, number(1.0, at)), share)
    return [(_place(place, size), Where()(_inside(place, size), weight, number(0.0, at))) for place, weight in ends]


RULES: dict[type, Callable[[Any, Node], Value | None]] = {
    Resize: resize,
    Resample: resample,
    GridSample: grid_sample,
    RoiAlign: roi_align,
    DeformConv: deform_conv,
}
