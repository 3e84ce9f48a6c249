"""Which elements each element of a resampled axis weighs how much in OpenCV's `resize` of 8-bit images."""

from __future__ import annotations

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.image import Resample
from tenfold.ops.index import Gather
from tenfold.ops.movement import Concat
from tenfold.pipeline.term import Term, counted, measure, ratio

BITS = 11
"""Of the fractions of weights of INTER_LINEAR and INTER_CUBIC."""
ROWS, COLUMNS = 1, 2


def linear(x: Value, height: Size, width: Size) -> Value:
    """INTER_LINEAR of x u8[N, H, W, C]."""
    _, before, across, _ = x.type.shape
    places, weights = _neighbours(across, width, clamped=True)
    wide = Term(Resample(COLUMNS)(x, places.value, weights.value))
    places, weights = _neighbours(before, height, clamped=False)
    total = None
    for tap in (0, 1):
        row = Term(Gather(ROWS)(wide.value, places.part(1, tap, 1).reshape(height).value))
        share = ((row >> 4) * weights.part(1, tap, 1).reshape(height, 1, 1)) >> 16
        total = share if total is None else total + share
    assert total is not None
    return ((total + 2) >> 2).clip(0, 255).cast(dt.u8).value


def _neighbours(before: Size, after: Size, *, clamped: bool) -> tuple[Term, Term]:
    at = _centres(before, after)
    low = at.floor()
    share = at - low
    if clamped:
        inside = (low >= 0.0) & (low < measure(before - 1, dt.f32))
        share = share.where(inside, 0.0)
    weights = [((1.0 - share) * float(1 << BITS)).rint(), (share * float(1 << BITS)).rint()]
    return _around(low, 2, 0, before), _columns(weights).cast(dt.i32)


def _centres(before: Size, after: Size) -> Term:
    """Where the results lie, as f32."""
    scale = 1.0 / ratio(after, before)
    return ((counted(after) + 0.5) * scale - 0.5).cast(dt.f32)


def _around(low: Term, count: int, first: int, before: Size) -> Term:
    size = low.shape[0]
    places = low.cast(dt.i64).reshape(size, 1) + (counted(count, dt.i64) + first).reshape(1, count)
    return places.clip(0, measure(before - 1, dt.i64))


def _columns(weights: list[Term]) -> Term:
    size = weights[0].shape[0]
    return Term(Concat(1)(*(one.reshape(size, 1).value for one in weights)))


def cubic(x: Value, height: Size, width: Size) -> Value:
    """INTER_CUBIC of x u8[N, H, W, C]: Keys (1981) with parameter -0.75, never widened."""
    _, before, across, _ = x.type.shape
    places, weights = _four(across, width)
    wide = Resample(COLUMNS)(x, places.value, weights.cast(dt.i32).value)
    places, weights = _four(before, height)
    scaled = weights / float(1 << 2 * BITS)
    rows = Term(Resample(ROWS)(Term(wide).cast(dt.f32).value, places.value, scaled.value))
    return rows.rint().clip(0.0, 255.0).cast(dt.u8).value


def _four(before: Size, after: Size) -> tuple[Term, Term]:
    at, a = _centres(before, after), -0.75
    low = at.floor()
    x = at - low
    first = ((a * (x + 1.0) - 5 * a) * (x + 1.0) + 8 * a) * (x + 1.0) - 4 * a
    second = ((a + 2) * x - (a + 3)) * x * x + 1.0
    third = ((a + 2) * (1.0 - x) - (a + 3)) * (1.0 - x) * (1.0 - x) + 1.0
    weights = [first, second, third, 1.0 - first - second - third]
    return _around(low, 4, -1, before), (_columns(weights) * float(1 << BITS)).rint()


def area(x: Value, height: Size, width: Size) -> Value:
    """INTER_AREA of x u8[N, H, W, C], for sizes that do not grow: means over the area that a pixel stands for."""
    _, before, across, _ = x.type.shape
    found = x
    for axis, (old, new) in ((COLUMNS, (across, width)), (ROWS, (before, height))):
        places, weights = _covered(old, new)
        found = Resample(axis)(found, places.value, weights.value)
    halves = dim.logical_and(dim.equal(before, 2 * height), dim.equal(across, 2 * width))
    mean = Term(found)
    rounded = (mean + 0.5).floor().where(measure(halves, dt.i64) > 0, mean.rint())
    return rounded.clip(0.0, 255.0).cast(dt.u8).value


def _covered(before: Size, after: Size) -> tuple[Term, Term]:
    """How much of each element lies in the stretch of a result, as a share of the stretch: f32."""
    scale = 1.0 / ratio(after, before)
    start = counted(after) * scale
    width = scale.clip(0.0, measure(before) - start)
    end = start + scale
    count = before // after + 2
    places = start.floor().cast(dt.i64).reshape(after, 1) + counted(count, dt.i64).reshape(1, count)
    left = places.cast(dt.f64)
    shared = (left + 1.0).clip(0.0, end.reshape(after, 1)) - left.clip(start.reshape(after, 1), measure(before))
    shared = shared.where(shared > 1e-3, 0.0)
    weights = (shared / width.reshape(after, 1)).cast(dt.f32)
    return places.clip(0, measure(before - 1, dt.i64)), weights.where(places <= measure(before - 1, dt.i64), 0.0)


def nearest(x: Value, height: Size, width: Size) -> Value:
    """INTER_NEAREST of x [N, H, W, C]."""
    for axis, size in ((ROWS, height), (COLUMNS, width)):
        before = x.type.shape[axis]
        scale = 1.0 / ratio(size, before)
        places = (counted(size) * scale).floor().cast(dt.i64).clip(0, measure(before - 1, dt.i64))
        x = Gather(axis)(x, places.value)
    return x
