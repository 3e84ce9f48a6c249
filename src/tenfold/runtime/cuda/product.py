"""Products of matrices and convolutions as an engine asks a library for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

EPILOGUES: Mapping[str, int] = {"": 1, "relu": 2, "bias": 4, "bias relu": 6, "gelu": 32, "bias gelu": 36}
"""What cuBLASLt makes of the sums, by its own numbers (cublasLtEpilogue_t)."""


VENDOR, CONVOLVER = "cublas", "cudnn"
"""What the tactics of cuBLASLt and cuDNN are called."""
VENDORS = (VENDOR, CONVOLVER)


@dataclass(frozen=True)
class Product:
    """A product of [m, k] and [k, n] matrices of `dtype`, rows `a`, `b`, `c` and `d` elements apart (`b` of columns, if
    `turned`); `epilogue` names one of EPILOGUES, `residual` says that a matrix is added before the activation;
    `choice` is the place of the algorithm among those proposed, `workspace` the bytes it may take.
    """

    dtype: str
    m: int
    n: int
    k: int
    a: int
    b: int
    c: int
    d: int
    turned: bool
    epilogue: str
    residual: bool
    choice: int
    workspace: int


@dataclass(frozen=True)
class Convolution:
    """A convolution of images that lie channels last, [images, height, width, channels], by [filters, taps, channels of
    a group]; pairs are along height and width. A row is added to the sums (`bias`), images like the results
    (`residual`), and what is negative becomes 0 (`relu`). `algorithm` is cuDNN's number of it.
    """

    dtype: str
    images: int
    channels: int
    filters: int
    groups: int
    size: tuple[int, int]
    out: tuple[int, int]
    taps: tuple[int, int]
    steps: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int]
    bias: bool
    residual: bool
    relu: bool
    algorithm: int
    workspace: int


Asked: TypeAlias = "Product | Convolution"
"""What a library is asked for."""
