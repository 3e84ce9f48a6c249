"""Colours: the order of channels, and grey."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tenfold.errors import OptionError
from tenfold.ir import dtype as dt
from tenfold.ops.movement import Expand
from tenfold.pipeline.picture import CHANNELS, Picture
from tenfold.pipeline.term import Term


@dataclass(frozen=True)
class SwapRedBlue:
    """RGB for BGR, and BGR for RGB."""

    def __call__(self, picture: Picture) -> Picture:
        """The picture with its channels backwards."""
        _require_colours(picture, self)
        return picture.having(picture.pixels.part(CHANNELS, picture.channels - 1, picture.channels, step=-1))


@dataclass(frozen=True)
class Grey:
    """Luma (ITU-R 601) of an RGB picture, in one channel or three alike, in whole numbers as Pillow ("L"), OpenCV
    (RGB2GRAY) or torchvision round it. Takes u8.
    """

    channels: Literal[1, 3] = 1
    like: Literal["pillow", "opencv", "torch"] = "pillow"

    def __call__(self, picture: Picture) -> Picture:
        """The grey picture."""
        _require_colours(picture, self)
        red, green, blue = (picture.pixels.part(CHANNELS, channel, 1) for channel in range(3))
        if picture.pixels.dtype is not dt.u8:
            raise OptionError(f"{self} takes u8, not {picture.pixels.dtype}", argument="before")
        if self.like == "torch":
            parts = (one.cast(dt.f32) * share for one, share in zip((red, green, blue), _TORCH, strict=True))
            total = _added(*parts)
        else:
            bits, shares = _FIXED[self.like]
            parts = (one.cast(dt.i32) * share for one, share in zip((red, green, blue), shares, strict=True))
            total = (_added(*parts) + (1 << bits - 1)) >> bits
        pixels = total.cast(dt.u8)
        shape = (*pixels.shape[:CHANNELS], self.channels)
        return picture.having(pixels if self.channels == 1 else Term(Expand(shape)(pixels.value)))


_TORCH = (0.2989, 0.587, 0.114)
_FIXED: Mapping[str, tuple[int, tuple[int, int, int]]] = {
    "pillow": (16, (19595, 38470, 7471)),
    "opencv": (15, (9798, 19235, 3735)),
}


def _added(a: Term, b: Term, c: Term) -> Term:
    return a + b + c


def _require_colours(picture: Picture, step: object) -> None:
    if picture.channels != 3:
        raise OptionError(f"{step} takes three channels, not {picture.channels}", argument="before")
