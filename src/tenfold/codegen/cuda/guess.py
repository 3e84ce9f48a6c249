"""How long a product of tiles might take: a guess by which tactics are ordered before any is timed."""

from __future__ import annotations

from dataclasses import dataclass

from tenfold.codegen.cuda.arch import Arch

_FLOPS = 4.5
"""Multiplications and additions a nanosecond of one multiprocessor's tensor cores, in thousands."""
_BYTES = 32.0
"""Bytes a nanosecond that one multiprocessor takes from the L2 cache while all do."""
_ALONE = 3.0
"""How many times as many it takes where few do."""
_SUMMED = 100.0
"""Bytes a nanosecond that the last slice to arrive reads."""
_START, _STEP, _MEETING, _SLICE = 2200.0, 25.0, 1200.0, 120.0
"""Nanoseconds to fill the pipeline and to end a tile, at least for a step, for slices to meet, for each to be added."""


@dataclass(frozen=True)
class Tile:
    """`m` rows, `n` columns, `k` terms at a time, the terms in `slices`; `itemsize` bytes an element; `stages` deep."""

    m: int
    n: int
    k: int
    slices: int = 1
    stages: int = 3
    itemsize: int = 2

    @property
    def shared(self) -> int:
        """Bytes of shared memory that a block takes."""
        return (self.m + self.n) * self.k * self.stages * self.itemsize

    def nanoseconds(self, rows: int, columns: int, terms: int, arch: Arch) -> float:
        """The guess for so many rows and columns, each the sum of so many terms."""
        blocks = -(-rows // self.m) * -(-columns // self.n) * self.slices
        together = max(1, min(4, arch.shared // max(self.shared, 1), 128 * 256 // (self.m * self.n)))
        waves = -(-blocks // (arch.processors * together))
        busy = min(together, -(-blocks // arch.processors))
        steps = -(-terms // (self.k * self.slices))
        arithmetic = self.m * self.n * self.k / (_FLOPS * 1e3 * min(1.0, self.m * self.n / (128 * 128) + 0.35))
        rate = _BYTES * min(_ALONE, max(1.0, arch.processors / blocks))
        step = max(_STEP, busy * arithmetic, busy * (self.m + self.n) * self.k * self.itemsize / rate)
        end = busy * self.m * self.n * self.itemsize / rate
        meeting = (
            (_MEETING + _SLICE * self.slices + self.slices * self.m * self.n * 4 / _SUMMED) if self.slices > 1 else 0.0
        )
        return waves * (_START + steps * step + end + meeting) - self.stages
