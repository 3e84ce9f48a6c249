"""A part of the picture, or the picture in a frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ops.movement import Pad
from tenfold.pipeline.picture import COLUMNS, ROWS, Picture, rounded
from tenfold.pipeline.resize import Resize
from tenfold.pipeline.term import Term


@dataclass(frozen=True)
class CenterCrop:
    """The middle of the picture, as torchvision cuts it; a call with a smaller picture is an error."""

    size: int | tuple[int, int]

    def __call__(self, picture: Picture) -> Picture:
        """The cut picture."""
        height, width = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        fits = dim.logical_and(dim.less_equal(height, picture.height), dim.less_equal(width, picture.width))
        picture = picture.require(fits, self)
        top, left = rounded(picture.height - height, 2), rounded(picture.width - width, 2)
        pixels = picture.pixels.part(ROWS, top, height).part(COLUMNS, left, width)
        return _moved(picture, pixels, -top, -left)


@dataclass(frozen=True)
class Letterbox:
    """The whole picture, resized to fit (height, width) or a square, in the middle of a frame of one grey.

    As Ultralytics does it: bilinear like OpenCV, rounded sizes, the smaller half of an odd border first.
    """

    size: int | tuple[int, int]
    grey: int = 114
    filter: str = "linear"
    like: str = "opencv"

    def __call__(self, picture: Picture) -> Picture:
        """The framed picture."""
        height, width = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        tall = dim.less_equal(picture.width * height, picture.height * width)
        above, below = dim.select(tall, height, width), dim.select(tall, picture.height, picture.width)
        inner = tuple(dim.maximum(rounded(size * above, below), 1) for size in (picture.height, picture.width))
        resized = Resize(inner, self.filter, self.like)(picture)  # type: ignore[arg-type]
        top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
        before = (0, top, left, 0)
        after = (0, height - inner[0] - top, width - inner[1] - left, 0)
        framed = Term(Pad(before, after, value=self.grey)(resized.pixels.value)).part(ROWS, 0, height)
        return _moved(resized, framed.part(COLUMNS, 0, width), top, left)


def _moved(picture: Picture, pixels: Term, down: Size, right: Size) -> Picture:
    return replace(picture, pixels=pixels, rows=picture.rows.moved(down), columns=picture.columns.moved(right))
