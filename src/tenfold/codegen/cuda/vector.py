"""Products of one row with a matrix: as fast as the matrix is read, so without tensor cores."""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl

from tenfold.codegen.cuda import grid, site
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.gemm import problem_of
from tenfold.codegen.cuda.launch import CudaKernel, Filling, launch, numbers, place
from tenfold.codegen.cuda.site import slices_of
from tenfold.codegen.region import Region
from tenfold.codegen.strategy import Refusal, Tactic, tabled
from tenfold.ir import dim
from tenfold.ops.constant import Constant
from tenfold.target import Target

_BYTES, _START, _MEETING = 3600.0, 2500.0, 700.0
"""Bytes a nanosecond that the whole chip reads; nanoseconds that a launch takes, and that slices take to meet."""
_FLIGHT, _NARROW = 24 << 10, 8.0
"""Bytes that a multiprocessor must have asked for at any time; columns of which a row is read at half the rate."""


@triton.jit
def read(b, step, column, n, k, K: tl.constexpr):
    """K terms of some columns of the matrix."""
    term = step * K + tl.arange(0, K)
    at = b[0] + term[:, None].to(tl.int64) * b[1][0] + column[None, :].to(tl.int64) * b[1][1]
    return tl.load(at, mask=(term < k)[:, None] & (column < n)[None, :], other=0)


@triton.jit
def row_by_matrix(
    a, b, partial, counters, outputs, extra, gathered, uniforms, row_sizes, m, n, k,
    body: tl.constexpr, output_kinds: tl.constexpr, extra_kinds: tl.constexpr,
    N: tl.constexpr, K: tl.constexpr, SLICES: tl.constexpr, AHEAD: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """A block sums a slice of the terms of N columns, K terms at a time. `a` is an address and a step, `b` an address
    and two steps. AHEAD: the matrix is constant, so that its first part is read while the kernel ahead ends.
    """
    tile, part = tl.program_id(0) // SLICES, tl.program_id(0) % SLICES
    column = tile * N + tl.arange(0, N)
    steps = tl.cdiv(tl.cdiv(k, K), SLICES)
    begin, end = part * steps, tl.minimum(part * steps + steps, tl.cdiv(k, K))
    acc = tl.zeros((K, N), tl.float32)
    if AHEAD:
        y = read(b, begin, column, n, k, K)
    grid.wait(EARLY)
    for step in range(begin, end):
        if not AHEAD:
            y = read(b, step, column, n, k, K)
        term = step * K + tl.arange(0, K)
        x = tl.load(a[0] + term * a[1], mask=term < k, other=0)
        acc += x.to(tl.float32)[:, None] * y.to(tl.float32)
        if AHEAD:
            y = read(b, step + 1, column, n, tl.minimum(k, end * K), K)
    grid.release(EARLY)
    site.conclude(
        tl.sum(acc, 0)[None, :], tile, part, partial, counters, tl.arange(0, 1), column, m, n, outputs, extra, gathered,
        uniforms, row_sizes, body, output_kinds, extra_kinds, 1, N, SLICES,
    )  # fmt: skip


class Vector:
    """One row, whatever the matrix's strides; the columns or the terms of a tile lie side by side."""

    name = "vector"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Columns, terms at a time, slices and warps, the best guess first."""
        problem = problem_of(region)
        if isinstance(problem, Refusal):
            return problem
        if problem.m != 1 or problem.batch:
            return Refusal("more rows than one")
        shapes = _ALONG if problem.b.strides[-1] == 1 else _ACROSS
        names = ("n", "k", "slices", "warps")
        return tabled(self.name, names, shapes)

    def guess(self, region: Region, tactic: Tactic, target: Target) -> float:
        """Nanoseconds, about: the matrix is read once, as long as the multiprocessor with most blocks takes."""
        problem, arch = problem_of(region), arch_of(target)
        assert not isinstance(problem, Refusal)
        n, k = (dim.bounds(size)[1] or 4096 for size in (problem.n, problem.k))
        wide, deep, slices = (int(tactic[name]) for name in ("n", "k", "slices"))
        blocks, size = -(-n // wide) * slices, problem.b.dtype.itemsize
        most = -(-blocks // arch.processors)
        waiting = max(1.0, _FLIGHT / (most * wide * min(deep, -(-k // slices)) * size))
        meeting = _MEETING if slices > 1 else 0.0
        narrow = 1.0 + _NARROW / wide
        return _START + n * k * size / _BYTES * narrow * (most * arch.processors / blocks) * waiting + meeting

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch."""
        problem = problem_of(region)
        assert not isinstance(problem, Refusal)
        N, K, slices = (int(tactic[name]) for name in ("n", "k", "slices"))
        tiles = dim.ceildiv(problem.n, N)
        sums, room, zeroed = slices_of(tiles, 1, N, slices)
        fillings: dict[str, Filling] = {
            "a": (place(problem.a), *numbers(problem.a.strides[-1:])),
            "b": (place(problem.b), numbers(problem.b.strides)),
            **sums,
            **problem.fillings(),
            "N": N,
            "K": K,
            "SLICES": slices,
            "AHEAD": int(isinstance(problem.b.value.op, Constant)),
            **{"EARLY": int(arch_of(target).early)},
        }
        made = launch(f"{__name__}:row_by_matrix", tiles * slices, fillings, int(tactic["warps"]))
        return CudaKernel(launches=(made,), workspace=room, zeroed=zeroed)


_ALONG = (
    (64, 64, 4, 2),
    (64, 128, 2, 4),
    (64, 256, 1, 8),
    (64, 256, 8, 8),
    (32, 512, 2, 8),
    (32, 512, 4, 8),
    (32, 256, 4, 4),
    (32, 256, 8, 4),
    (128, 64, 1, 4),
    (128, 128, 1, 8),
)
"""Tiles where columns lie side by side: columns, terms, slices, warps."""

_ACROSS = (
    (32, 256, 1, 4),
    (16, 512, 1, 4),
    (64, 128, 1, 4),
    (32, 256, 2, 4),
    (16, 512, 2, 4),
)
"""Tiles where terms lie side by side."""

STRATEGY = Vector()
