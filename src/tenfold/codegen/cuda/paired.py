"""Products with both halves of a matrix's columns, tile beside tile, by address: for any strides and any out site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import triton
import triton.language as tl

from tenfold.codegen.cuda import emit, grid
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.gemm import Problem, stacked
from tenfold.codegen.cuda.guess import Tile
from tenfold.codegen.cuda.launch import CudaKernel, Filling, launch, number, numbers, place
from tenfold.codegen.region import Anchored, Region
from tenfold.codegen.strategy import Refusal, Tactic, tabled
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ops.matmul import PairedMatMul
from tenfold.target import Target

_USUAL = 4096


@triton.jit
def paired(
    a, b, batch_sizes, apart, outputs, extra, gathered, uniforms, row_sizes, m, n, k, body: tl.constexpr,
    output_kinds: tl.constexpr, extra_kinds: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
    EARLY: tl.constexpr,
):  # fmt: skip
    """A tile of a matrix of a stack, of either half, whose columns lie `apart` elements; `a` and `b` are addresses with
    strides along the stack's axes and the matrix's.
    """
    grid.begin(EARLY)
    across, down = tl.cdiv(n, N), tl.cdiv(m, M)
    batch, tile = tl.program_id(0) // (across * down), tl.program_id(0) % (across * down)
    row, column = tile // across * M + tl.arange(0, M), tile % across * N + tl.arange(0, N)
    a_rows, b_columns = grid.origins(a, b, batch_sizes, batch, row, column)
    left = tl.zeros((M, N), tl.float32)
    right = tl.zeros((M, N), tl.float32)
    for begin in range(0, k, K):
        term = (begin + tl.arange(0, K)).to(tl.int64)
        x = tl.load(a_rows + term[None, :] * a[2][1], mask=(row < m)[:, None] & (term < k)[None, :], other=0)
        at_term, inside = b_columns + term[:, None] * b[2][0], (term < k)[:, None] & (column < n)[None, :]
        left = tl.dot(x, tl.load(at_term, mask=inside, other=0), left)
        right = tl.dot(x, tl.load(at_term + apart, mask=inside, other=0), right)
    high, wide = (batch * m + row).to(tl.int64)[:, None], column[None, :]
    row_inside, column_inside = (row < m)[:, None], wide < n
    down_at, along = grid.positions(high, row_sizes), (wide,)
    beside = grid.load(extra, down_at, along, row_inside, column_inside, extra_kinds)
    whole = row_inside & column_inside
    results = body((left, right) + beside, down_at + along, uniforms, gathered, whole)
    grid.store(outputs, results, down_at, along, whole, output_kinds)


def problem_of(region: Region) -> Problem | Refusal:
    """The product with the left half; or why there is none."""
    if not isinstance(region, Anchored) or not isinstance(region.anchor, PairedMatMul):
        return Refusal("no product with both halves of a matrix")
    reason = emit.refusal(region.body)
    if reason:
        return Refusal(reason)
    a, b = region.inputs
    if a.dtype not in (dt.f16, dt.bf16) or a.dtype is not b.dtype:
        return Refusal(f"paired products of {a.dtype} and {b.dtype}")
    return stacked(a, replace(b, shape=(b.shape[0], region.domain[-1])), region)


class Paired:
    """Tiles by tensor cores."""

    name = "paired"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Tile shapes, the best guess first."""
        problem = problem_of(region)
        if isinstance(problem, Refusal):
            return problem
        return tabled(self.name, ("m", "n", "k", "stages", "warps"), _TILES)

    def guess(self, region: Region, tactic: Tactic, target: Target) -> float:
        """Nanoseconds, about: those of a tile twice as wide."""
        problem = problem_of(region)
        assert isinstance(problem, Problem)
        m, n, k, stages = (int(tactic[name]) for name in ("m", "n", "k", "stages"))
        rows, columns, terms = (dim.bounds(size)[1] or _USUAL for size in (problem.m, problem.n, problem.k))
        tile = Tile(m, 2 * n, k, 1, stages, problem.a.dtype.itemsize)
        stack = dim.bounds(dim.product(problem.batch))[1] or 1
        return tile.nanoseconds(rows * stack, 2 * columns, terms, arch_of(target)) + _BY_ADDRESS

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch of a block a tile."""
        problem = problem_of(region)
        assert isinstance(problem, Problem)
        a, b = problem.a, problem.b
        M, N, K, stages, warps = (int(tactic[name]) for name in ("m", "n", "k", "stages", "warps"))
        beside = problem.fillings()
        fillings: dict[str, Filling] = {
            "a": (place(a), numbers(a.strides[:-2]), numbers(a.strides[-2:])),
            "b": (place(b), numbers(b.strides[:-2]), numbers(b.strides[-2:])),
            "batch_sizes": numbers(problem.batch),
            "apart": number(problem.n * b.strides[-1]),
            **beside,
            **{"M": M, "N": N, "K": K, "EARLY": int(arch_of(target).early)},
        }
        tiles = dim.product(problem.batch) * dim.ceildiv(problem.m, M) * dim.ceildiv(problem.n, N)
        return CudaKernel(launches=(launch(f"{__name__}:paired", tiles, fillings, warps, stages),))


_BY_ADDRESS = 2000.0
"""Nanoseconds that tiles lose whose operands do not move by descriptor."""
_TILES = ((128, 64, 32, 4, 8), (64, 64, 64, 3, 4), (64, 32, 64, 4, 4), (32, 32, 64, 4, 4))
"""Rows and columns of a tile, terms, stages, warps."""

STRATEGY = Paired()
