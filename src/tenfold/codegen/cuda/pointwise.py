"""Elementwise regions: tiles of rows and columns."""

from __future__ import annotations

from collections.abc import Sequence

import triton
import triton.language as tl

from tenfold.codegen.cuda import emit, grid
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.launch import CudaKernel, gathered, launch, number, numbers, uniforms
from tenfold.codegen.cuda.program import Hole
from tenfold.codegen.region import Operand, Pointwise, Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.target import Target

_TILE_BYTES = 16 << 10


@triton.jit
def tiles(
    inputs,
    outputs,
    gathered,
    uniforms,
    row_sizes,
    column_sizes,
    rows,
    columns,
    body: tl.constexpr,
    input_kinds: tl.constexpr,
    output_kinds: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    EARLY: tl.constexpr,
):
    """One tile a block: load, the body, store."""
    grid.wait(EARLY)
    across = tl.cdiv(columns, COLUMNS)
    row = (tl.program_id(0) // across).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = (tl.program_id(0) % across) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    row_inside, column_inside = row < rows, column < columns
    down, along = grid.positions(row, row_sizes), grid.positions(column, column_sizes)
    values = grid.load(inputs, down, along, row_inside, column_inside, input_kinds)
    inside = row_inside & column_inside
    results = body(values, down + along, uniforms, gathered, inside)
    grid.release(EARLY)
    grid.store(outputs, results, down, along, inside, output_kinds)


class PointwiseStrategy:
    """Elementwise regions and pure movement."""

    name = "pointwise"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Tiles of several widths, narrow ones first where there is little; a Refusal for element types and operations
        without generated code.
        """
        if not isinstance(region, Pointwise):
            return Refusal("not an elementwise region")
        reason = emit.refusal(region.body)
        if reason:
            return Refusal(reason)
        shapes = ((_TILE_BYTES, 4), (_TILE_BYTES // 2, 4), (2 * _TILE_BYTES, 8), (_TILE_BYTES // 4, 4))
        size = max(one.dtype.itemsize for one in (*region.inputs, *region.outputs))
        most = dim.bounds(dim.product(region.domain))[1]
        if most is not None and most * size < 2 * arch_of(target).processors * _TILE_BYTES:
            shapes = tuple(sorted(shapes))
        return tuple(Tactic(self.name, (("bytes", bytes), ("warps", warps))) for bytes, warps in shapes)

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch."""
        assert isinstance(region, Pointwise)
        operands = (*region.inputs, *region.outputs)
        outer, inner = grid.merged(region.domain, operands, grid.asked(region.body))
        elements = int(tactic["bytes"]) // max(one.dtype.itemsize for one in operands)
        high, wide = _shape(inner.sizes[0], outer.sizes, elements, _crosses(region.inputs, inner))
        rows, columns = dim.product(outer.sizes), inner.sizes[0]
        count, every = len(region.inputs), grid.kinds(outer, inner)
        streams = grid.streams(operands, outer, inner)
        return CudaKernel(
            launches=(
                launch(
                    f"{__name__}:tiles",
                    dim.ceildiv(rows, high) * dim.ceildiv(columns, wide),
                    {
                        "inputs": streams[:count],
                        "outputs": streams[count:],
                        "gathered": gathered(region.gathered),
                        "uniforms": uniforms(region.uniforms),
                        "row_sizes": numbers(outer.sizes),
                        "column_sizes": numbers(inner.sizes),
                        "rows": number(rows),
                        "columns": number(columns),
                        "body": Hole(emit.hole_text(region.body, inner.places)),
                        "input_kinds": every[:count],
                        "output_kinds": every[count:],
                        "ROWS": high,
                        "COLUMNS": wide,
                        "EARLY": int(arch_of(target).early),
                    },
                    warps=int(tactic["warps"]),
                ),
            )
        )


def _crosses(inputs: Sequence[Operand], inner: grid.Merged) -> bool:
    """Whether some input does not lie along the columns."""
    return any(strides[0] not in (0, 1) for strides in inner.strides[: len(inputs)])


def _shape(columns: Size, outer: Sequence[Size], elements: int, crossed: bool) -> tuple[int, int]:
    """Rows and columns of a tile of so many elements: wide as the columns allow, square where inputs cross."""
    widest = 64 if crossed and outer else elements
    high = dim.bounds(columns)[1]
    wide = min(widest, grid.power_of_two(high) if high is not None else widest)
    rows = dim.bounds(dim.product(outer))[1]
    tall = elements // wide
    return min(tall, grid.power_of_two(rows) if rows is not None else tall), wide


STRATEGY = PointwiseStrategy()
