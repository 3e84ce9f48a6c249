"""Products of matrices of any numbers, without tensor cores: f64, f32, whole numbers, operands of unlike types."""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl

from tenfold.codegen.cuda import emit, grid, site
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.gemm import stacked
from tenfold.codegen.cuda.launch import CudaKernel, Filling, launch, numbers, place
from tenfold.codegen.region import Anchored, Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ops.matmul import MatMul
from tenfold.target import Target

_TILES = ((4, 32, 32), (1, 64, 64), (16, 16, 16), (32, 32, 8))
"""(rows, columns, terms at a time)."""


@triton.jit
def summed(x, y):
    """x @ y. Where tiles of f32 are large, by fused steps: a sum of products Triton takes for a product in TF32."""
    if x.dtype == tl.float32 and x.shape[0] >= 16:
        return tl.sum(tl.fma(x[:, :, None], y[None, :, :], 0.0), 1)
    else:
        return tl.sum(x[:, :, None] * y[None, :, :], 1)


@triton.jit
def plain(
    a, b, batch_sizes, outputs, extra, gathered, uniforms, row_sizes, m, n, k, body: tl.constexpr,
    output_kinds: tl.constexpr, extra_kinds: tl.constexpr, TYPE: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    K: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """A tile of a matrix of a stack; `a` and `b` are addresses with strides along the stack's axes and the matrix's."""
    grid.wait(EARLY)
    across, down = tl.cdiv(n, N), tl.cdiv(m, M)
    batch, tile = tl.program_id(0) // (across * down), tl.program_id(0) % (across * down)
    row, column = tile // across * M + tl.arange(0, M), tile % across * N + tl.arange(0, N)
    a_rows, b_columns = grid.origins(a, b, batch_sizes, batch, row, column)
    acc = tl.zeros((M, N), TYPE)
    for begin in range(0, k, K):
        term = (begin + tl.arange(0, K)).to(tl.int64)
        x = tl.load(a_rows + term[None, :] * a[2][1], mask=(row < m)[:, None] & (term < k)[None, :], other=0)
        y = tl.load(b_columns + term[:, None] * b[2][0], mask=(term < k)[:, None] & (column < n)[None, :], other=0)
        acc += summed(x.to(TYPE), y.to(TYPE))
    grid.release(EARLY)
    begin = batch * m
    site.finish(
        acc, begin + row, column, begin + m, n, outputs, extra, gathered, uniforms, row_sizes, body, output_kinds,
        extra_kinds,
    )  # fmt: skip


class Plain:
    """Products that no tensor core takes."""

    name = "plain"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Tiles of several shapes, those with no more rows than there are first."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, MatMul):
            return Refusal("no product of matrices")
        reason = emit.refusal(region.body)
        if reason or any(one.dtype not in emit.NAMES for one in region.inputs):
            return Refusal(reason or f"products of {' and '.join(str(one.dtype) for one in region.inputs)}")
        if any(len(one.shape) < 2 for one in region.inputs):
            return Refusal("products with vectors have no generated code for GPUs yet")
        most = dim.bounds(region.domain[-2])[1] or 16
        tiles = sorted(_TILES, key=lambda one: one[0] > most)
        return [Tactic(self.name, tuple(zip("mnk", one, strict=True))) for one in tiles]

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch."""
        assert isinstance(region, Anchored)
        a, b = region.inputs
        problem = stacked(a, b, region)
        M, N, K = (int(tactic[name]) for name in "mnk")
        operands = {
            name: (place(one), numbers(one.strides[:-2]), numbers(one.strides[-2:]))
            for name, one in (("a", problem.a), ("b", problem.b))
        }
        fillings: dict[str, Filling] = {
            **operands,
            "batch_sizes": numbers(problem.batch),
            **problem.fillings(),
            "TYPE": emit.register(region.body.inputs[0]).removeprefix("tl."),
            **{"M": M, "N": N, "K": K, "EARLY": int(arch_of(target).early)},
        }
        tiles = dim.ceildiv(problem.m, M) * dim.ceildiv(problem.n, N) * dim.product(problem.batch)
        return CudaKernel(launches=(launch(f"{__name__}:plain", tiles, fillings),))


STRATEGY = Plain()
