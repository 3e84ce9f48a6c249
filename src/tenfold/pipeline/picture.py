"""What the steps before a model hand on: pixels, and where they lie in the image that came."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tenfold.errors import OptionError
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.pipeline.term import Term, measure, ratio

Needs = tuple[tuple[Size, str], ...]
ROWS, COLUMNS, CHANNELS = 1, 2, 3


@dataclass(frozen=True)
class Span:
    """Along one axis: a place p of the picture is place p · step + start of the image that came, of `size` elements."""

    size: Size
    step: Term
    start: Term

    @classmethod
    def whole(cls, size: Size) -> Span:
        """The image itself."""
        return cls(size, measure(1, dt.f32), measure(0, dt.f32))

    def resized(self, before: Size, after: Size) -> Span:
        """With `after` places where there were `before`."""
        return replace(self, step=self.step * ratio(before, after, dt.f32))

    def moved(self, by: Size) -> Span:
        """With what was at place 0 at place `by`."""
        return replace(self, start=self.start - self.step * measure(by, dt.f32))

    def in_the_image(self, place: Term) -> Term:
        """Where in the image that came a place lies, no further than its ends."""
        return (place * self.step + self.start).clip(0.0, measure(self.size, dt.f32))


@dataclass(frozen=True)
class Picture:
    """Pixels [N, H, W, C], where they come from, and what the sizes of a call must fulfil (each with what is said)."""

    pixels: Term
    rows: Span
    columns: Span
    needs: Needs = ()

    @property
    def height(self) -> Size:
        """How many rows there are."""
        return self.pixels.shape[ROWS]

    @property
    def width(self) -> Size:
        """How many columns there are."""
        return self.pixels.shape[COLUMNS]

    @property
    def channels(self) -> int:
        """How many channels a pixel has."""
        count = self.pixels.shape[CHANNELS]
        assert isinstance(count, int), "the channels of an image are known"
        return count

    def having(self, pixels: Term) -> Picture:
        """Other pixels in the same places."""
        return replace(self, pixels=pixels)

    def require(self, condition: Size, step: object) -> Picture:
        """The same, in calls whose sizes meet a condition; OptionError if none does."""
        if condition == 0:
            raise OptionError(f"{step} does not fit images of {self.height} x {self.width}", argument="before")
        return self if condition == 1 else replace(self, needs=(*self.needs, (condition, f"pipeline {step}")))


def rounded(a: Size, b: Size) -> Size:
    """a / b as the nearest whole number, halves to the even one, for a >= 0 and b > 0."""
    near = (2 * a + b) // (2 * b)
    return near - dim.logical_and(dim.equal(2 * a + b, 2 * b * near), near % 2)
