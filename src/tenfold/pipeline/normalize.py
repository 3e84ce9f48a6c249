"""Numbers as a network was trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tenfold.errors import OptionError
from tenfold.ir import dtype as dt
from tenfold.ir.tensor import Tensor
from tenfold.ops.constant import Constant
from tenfold.ops.movement import Expand
from tenfold.pipeline.picture import Picture
from tenfold.pipeline.term import Term


@dataclass(frozen=True)
class Normalize:
    """(pixel · scale - mean) / std in f32, each one number or one for each channel."""

    mean: float | Sequence[float] = 0.0
    std: float | Sequence[float] = 1.0
    scale: float = 1 / 255

    def __call__(self, picture: Picture) -> Picture:
        """The normalised picture."""
        mean, std = (np.atleast_1d(np.asarray(one, np.float64)) for one in (self.mean, self.std))
        for given in (mean, std):
            if given.size not in (1, picture.channels):
                raise OptionError(f"{self} is not for {picture.channels} channels", argument="before")
        factor, offset = (_along(one, picture) for one in (self.scale / std, -mean / std))
        batch, height, width, channels = picture.pixels.shape
        lines = picture.pixels.reshape(batch, height, width * channels).cast(dt.f32)
        return picture.having((lines * factor + offset).reshape(batch, height, width, channels))


def _along(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], picture: Picture) -> Term:
    """One number for each element of a line of pixels: vectors lie along lines, not along a few channels."""
    constant = Term(Constant(Tensor(values.astype(np.float32)))())
    if values.size == 1:
        return constant
    pixels = Term(Expand((picture.width, picture.channels))(constant.value))
    return pixels.reshape(picture.width * picture.channels)
