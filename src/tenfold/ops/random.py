"""Random numbers without a state: each element follows from its place and a seed, whoever computes it."""

from __future__ import annotations

import math

import numpy as np

from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.op import Array, Op
from tenfold.ir.type import Type
from tenfold.ops.window import known

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
STEPS = (0x9E3779B9, 0xBB67AE85)
WORD = 0xFFFFFFFF


class Uniform(Op):
    """Numbers spread evenly over [0, 1), f32 or f64: those of Philox4x32-10 (Salmon et al. 2011).

    Element i, counted row by row, comes of the block with the counter (i, `stream`) under the key `seed`, both
    of 64 bits: the highest 24 bits of its first word, for f64 53 of its first two.
    """

    shape: tuple[Size, ...]
    seed: int
    stream: int = 0
    dtype: DType = dt.f32

    def infer(self) -> Type:
        """The stated shape and type."""
        if self.dtype not in (dt.f32, dt.f64) or not (0 <= self.seed < 2**64 and 0 <= self.stream < 2**64):
            raise ValueError(f"Uniform makes f32 or f64 of a seed and a stream of 64 bits, not {self.dtype}")
        return Type(self.dtype, self.shape)

    def evaluate(self) -> Array:
        """The generator's definition, on all counters at once."""
        shape = known(self.shape)
        index = np.arange(math.prod(shape), dtype=np.uint64)
        words = [index & WORD, index >> 32, *(np.full_like(index, half) for half in halves(self.stream))]
        for key in keys(self.seed):
            a, b = (words[at] * np.uint64(factor) for at, factor in zip((0, 2), MULTIPLIERS, strict=True))
            high, low = (b >> 32) ^ words[1] ^ key[0], (a >> 32) ^ words[3] ^ key[1]
            words = [high, b & WORD, low, a & WORD]
        if self.dtype is dt.f32:
            return ((words[0] >> 8).astype(np.float32) * np.float32(2**-24)).reshape(shape)
        bits = (words[0] >> 5) * np.uint64(2**26) + (words[1] >> 6)
        return (bits.astype(np.float64) * 2**-53).reshape(shape)


def halves(number: int) -> tuple[int, int]:
    """The lower and the upper 32 bits of 64."""
    return number & WORD, number >> 32


def keys(seed: int) -> list[tuple[int, int]]:
    """Both words of the key of each round."""
    low, high = halves(seed)
    return [((low + at * STEPS[0]) & WORD, (high + at * STEPS[1]) & WORD) for at in range(ROUNDS)]
