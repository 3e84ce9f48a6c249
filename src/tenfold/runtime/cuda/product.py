"""A product of matrices as an engine asks a library for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

EPILOGUES: Mapping[str, int] = {"": 1, "relu": 2, "bias": 4, "bias relu": 6, "gelu": 32, "bias gelu": 36}
"""What cuBLASLt makes of the sums, by its own numbers (cublasLtEpilogue_t)."""


VENDOR = "cublas"
"""What its tactics are called."""


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
