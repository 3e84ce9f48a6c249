"""Resizing as Pillow, OpenCV or PyTorch do it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from tenfold.errors import OptionError
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.image import Resample
from tenfold.ops.index import Gather
from tenfold.ops.reduce import Cumulative
from tenfold.pipeline import opencv
from tenfold.pipeline.filters import FILTERS, taps
from tenfold.pipeline.picture import COLUMNS, ROWS, Picture
from tenfold.pipeline.term import Term, counted, measure, ratio

Method = Callable[[Value, Size, Size], Value]
BITS = 22
"""Of the fractions of Pillow's weights for 8-bit channels."""


@dataclass(frozen=True)
class Resize:
    """The picture at another size: (height, width), or one number for its shorter side (or its `longer` one).

    `like` says whose numbers come out, `filter` which of its filters: "pillow" box, bilinear, hamming, bicubic,
    lanczos, nearest; "torch" (`interpolate(antialias=True)`, which is torchvision's for tensors) bilinear, bicubic,
    nearest; "opencv" linear, cubic, area, nearest. All but nearest take and give u8, "torch" floats too.
    """

    size: int | tuple[int, int]
    filter: str = "bilinear"
    like: Literal["pillow", "torch", "opencv"] = "pillow"
    longer: bool = False

    def __post_init__(self) -> None:
        known = METHODS.get(self.like)
        if known is None:
            raise OptionError(f"Resize like {self.like!r}", argument="like", remedy=f"one of {', '.join(METHODS)}")
        if self.filter not in known:
            remedy = f"one of {', '.join(known)}"
            raise OptionError(f"{self.like} has no filter {self.filter!r} here", argument="filter", remedy=remedy)

    def __call__(self, picture: Picture) -> Picture:
        """The resized picture."""
        height, width = self.target(picture)
        if self.filter != "nearest" and picture.pixels.dtype is not dt.u8 and self.like != "torch":
            raise OptionError(f"{self} takes u8, not {picture.pixels.dtype}", argument="before", remedy="resize first")
        if self.filter == "area":
            shrinks = dim.logical_and(dim.less_equal(height, picture.height), dim.less_equal(width, picture.width))
            picture = picture.require(shrinks, self)
        pixels = METHODS[self.like][self.filter](picture.pixels.value, height, width)
        rows = picture.rows.resized(picture.height, height)
        columns = picture.columns.resized(picture.width, width)
        return replace(picture, pixels=Term(pixels), rows=rows, columns=columns)

    def target(self, picture: Picture) -> tuple[Size, Size]:
        """Height and width of the result."""
        if isinstance(self.size, tuple):
            return self.size
        side = (dim.maximum if self.longer else dim.minimum)(picture.height, picture.width)
        return self.size * picture.height // side, self.size * picture.width // side


def _pillow(name: str) -> Method:
    def method(x: Value, height: Size, width: Size) -> Value:
        for axis, size in ((COLUMNS, width), (ROWS, height)):
            before = x.type.shape[axis]
            if before != size:
                places, weights = taps(FILTERS[name], before, size)
                scaled = weights * float(1 << BITS)
                whole = (scaled + scaled.of(0.5).where(scaled >= 0.0, -0.5)).cast(dt.i32)
                x = Resample(axis, BITS)(x, places.value, whole.value)
        return x

    return method


def _torch(name: str) -> Method:
    def method(x: Value, height: Size, width: Size) -> Value:
        given = x.type.dtype
        for axis, size in ((ROWS, height), (COLUMNS, width)):
            before = x.type.shape[axis]
            if before != size:
                places, weights = taps(FILTERS[name], before, size)
                x = Resample(axis)(x, places.value, weights.cast(dt.f32).value)
        if given.is_float or x.type.dtype == given:
            return Term(x).cast(given).value
        return Term(x).rint().clip(0.0, 255.0).cast(given).value

    return method


def _pillow_nearest(x: Value, height: Size, width: Size) -> Value:
    """Pillow walks along an axis by adding the step again and again, in f64."""
    for axis, size in ((ROWS, height), (COLUMNS, width)):
        before = x.type.shape[axis]
        step = ratio(before, size)
        first = counted(size).equals(0.0)
        steps = (step * 0.5).where(first, step)
        places = Term(Cumulative("sum", 0)(steps.value)).cast(dt.i64).clip(0, measure(before - 1, dt.i64))
        x = Gather(axis)(x, places.value)
    return x


def _torch_nearest(x: Value, height: Size, width: Size) -> Value:
    for axis, size in ((ROWS, height), (COLUMNS, width)):
        before = x.type.shape[axis]
        step = ratio(before, size, dt.f32)
        places = (counted(size, dt.f32) * step).floor().cast(dt.i64).clip(0, measure(before - 1, dt.i64))
        x = Gather(axis)(x, places.value)
    return x


METHODS: Mapping[str, Mapping[str, Method]] = {
    "pillow": {**{name: _pillow(name) for name in FILTERS}, "nearest": _pillow_nearest},
    "torch": {**{name: _torch(name) for name in ("bilinear", "bicubic")}, "nearest": _torch_nearest},
    "opencv": {"linear": opencv.linear, "cubic": opencv.cubic, "area": opencv.area, "nearest": opencv.nearest},
}
