"""Pillow's filters, and which elements each element of a resampled axis weighs how much by them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ops.reduce import Reduce
from tenfold.pipeline.term import Term, counted, measure, ratio


@dataclass(frozen=True)
class Filter:
    """A kernel that is zero beyond `support`; `weight` is its value at a distance."""

    support: int
    """In halves."""
    weight: Callable[[Term], Term]


def _box(x: Term) -> Term:
    return x.of(1.0).where((x > -0.5) & (x <= 0.5), 0.0)


def _triangle(x: Term) -> Term:
    return (1.0 - x.abs()).clip(0.0, 1.0)


def _hamming(x: Term) -> Term:
    distance = x.abs()
    turned = distance * math.pi
    bell = turned.sin() / turned.where(distance > 0.0, 1.0) * (0.54 + 0.46 * turned.cos())
    return bell.where(distance > 0.0, 1.0).where(distance < 1.0, 0.0)


def _cubic(x: Term) -> Term:
    """Keys (1981) with parameter -0.5."""
    d, a = x.abs(), -0.5
    near = ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    far = (((d - 5.0) * d + 8.0) * d - 4.0) * a
    return near.where(d < 1.0, far.where(d < 2.0, 0.0))


def _lanczos(x: Term) -> Term:
    return (_sinc(x) * _sinc(x / 3.0)).where((x >= -3.0) & (x < 3.0), 0.0)


def _sinc(x: Term) -> Term:
    turned = x * math.pi
    middle = x.equals(0.0)
    return x.of(1.0).where(middle, turned.sin() / x.of(1.0).where(middle, turned))


FILTERS: Mapping[str, Filter] = {
    "box": Filter(1, _box),
    "bilinear": Filter(2, _triangle),
    "hamming": Filter(2, _hamming),
    "bicubic": Filter(4, _cubic),
    "lanczos": Filter(6, _lanczos),
}


def taps(filter: Filter, before: Size, after: Size) -> tuple[Term, Term]:
    """What each of `after` elements reads of `before`, by Pillow's `precompute_coeffs`: places i64 [after, k], all
    within the axis, and weights f64 [after, k] whose rows add up to 1. The filter widens when it shrinks the axis.
    """
    scale = ratio(before, after)
    widening = scale.clip(1.0, math.inf)
    support = widening * (filter.support / 2)
    centre = ((counted(after) + 0.5) * scale).clip(0.0, measure(before))
    last = measure(before, dt.i64)
    first = (centre - support + 0.5).cast(dt.i64).clip(0, last)
    end = (centre + support + 0.5).cast(dt.i64).clip(0, last)
    count = 2 * dim.maximum(dim.ceildiv(filter.support, 2), dim.ceildiv(filter.support * before, 2 * after)) + 1
    places = first.reshape(after, 1) + counted(count, dt.i64).reshape(1, count)
    distance = (places.cast(dt.f64) - centre.reshape(after, 1) + 0.5) * (1.0 / widening)
    weights = filter.weight(distance).where(places < end.reshape(after, 1), 0.0)
    total = Term(Reduce("sum", (1,))(weights.value))
    return places.clip(0, last - 1), weights / total.where(total > 0.0, 1.0)
