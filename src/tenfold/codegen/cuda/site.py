"""The out site of a tile of sums: the fused body on the sums and what lies beside them, stored; sums made in slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import triton
import triton.language as tl

from tenfold.codegen.cuda import emit, grid
from tenfold.codegen.cuda.launch import Filling, counters, gathered, numbers, uniforms, workspace
from tenfold.codegen.cuda.program import Hole
from tenfold.codegen.region import Anchored, Operand
from tenfold.ir import dim
from tenfold.ir.dim import Size


@triton.jit
def finish(
    acc, row, column, m, n, outputs, extra, gathered, uniforms, row_sizes,
    body: tl.constexpr, output_kinds: tl.constexpr, extra_kinds: tl.constexpr,
):  # fmt: skip
    """The out site of a tile: the body on the sums and what lies beside them, stored element by element, and given."""
    results = finished(acc, row, column, m, n, extra, gathered, uniforms, row_sizes, body, extra_kinds)
    row, column = row.to(tl.int64)[:, None], column[None, :]
    inside = (row < m) & (column < n)
    grid.store(outputs, results, grid.positions(row, row_sizes), (column,), inside, output_kinds)
    return results


@triton.jit
def finished(
    acc, row, column, m, n, extra, gathered, uniforms, row_sizes, body: tl.constexpr, extra_kinds: tl.constexpr
):  # fmt: skip
    """What the out site of a tile gives."""
    row, column = row.to(tl.int64)[:, None], column[None, :]
    row_inside, column_inside = row < m, column < n
    down, along = grid.positions(row, row_sizes), (column,)
    beside = grid.load(extra, down, along, row_inside, column_inside, extra_kinds)
    return body((acc,) + beside, down + along, uniforms, gathered, row_inside & column_inside)


@triton.jit
def conclude(
    acc, tile, part, partial, counters, row, column, m, n, outputs, extra, gathered, uniforms, row_sizes,
    body: tl.constexpr, output_kinds: tl.constexpr, extra_kinds: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, SLICES: tl.constexpr,
):  # fmt: skip
    """The end of a tile whose sums were made in slices: the last slice to arrive adds all, in order, and finishes."""
    if SLICES == 1:
        finish(acc, row, column, m, n, outputs, extra, gathered, uniforms, row_sizes, body, output_kinds, extra_kinds)
    else:
        element = tl.arange(0, M)[:, None] * N + tl.arange(0, N)[None, :]
        own = partial + tile.to(tl.int64) * (SLICES * M * N) + element
        tl.store(own + part * (M * N), acc)
        tl.debug_barrier()
        arrived = tl.atomic_add(counters + tile, 1, sem="acq_rel")
        if arrived == SLICES - 1:
            total = tl.zeros((M, N), tl.float32)
            for each in range(SLICES):
                total += tl.load(own + each * (M * N), cache_modifier=".cg")
            tl.store(counters + tile, 0)
            finish(
                total, row, column, m, n, outputs, extra, gathered, uniforms, row_sizes, body, output_kinds, extra_kinds
            )


@triton.jit
def tile_of(tile, down, across, GROUP: tl.constexpr):
    """Row and column of a tile in a grid of tiles: groups of rows walk the columns together: both stay in L2."""
    group = tile // (GROUP * across)
    high = tl.minimum(down - group * GROUP, GROUP)
    within = tile % (GROUP * across)
    return group * GROUP + within % high, within // high


@dataclass(frozen=True)
class Site:
    """The out site of a region whose domain is walked as rows and columns.

    `operands` are the region's `extra` and `outputs` over that walk; `places` says which position is the domain's axis.
    """

    region: Anchored
    operands: tuple[Operand, ...]
    rows: grid.Merged
    columns: grid.Merged
    places: tuple[int | None, ...]

    @property
    def m(self) -> Size:
        """Rows."""
        return dim.product(self.rows.sizes)

    @property
    def n(self) -> Size:
        """Columns."""
        return self.columns.sizes[0]

    def fillings(self) -> dict[str, Filling]:
        """What `finish` takes, but for the rows and columns of the tile."""
        region, cut = self.region, len(self.region.extra)
        streams, kinds = grid.streams(self.operands, self.rows, self.columns), grid.kinds(self.rows, self.columns)
        return {
            "outputs": streams[cut:],
            "extra": streams[:cut],
            "gathered": gathered(region.gathered),
            "uniforms": uniforms(region.uniforms),
            "row_sizes": numbers(self.rows.sizes),
            "body": Hole(emit.hole_text(region.body, self.places)),
            "output_kinds": kinds[cut:],
            "extra_kinds": kinds[:cut],
        }


def site_of(region: Anchored, axes: Sequence[int]) -> Site:
    """The site of a region whose domain's axes are walked in that order, the last of them along the columns."""
    domain = tuple(region.domain[axis] for axis in axes)
    operands = tuple(
        Operand(one.value, one.dtype, domain, tuple(one.strides[axis] for axis in axes), one.offset)
        for one in (*region.extra, *region.outputs)
    )
    kept = {axes.index(axis) for axis in grid.asked(region.body)}
    rows, columns = grid.merged(domain, operands, kept, cut=1)
    places = tuple(columns.places[axes.index(axis)] for axis in range(len(axes)))
    return Site(region, operands, rows, columns, places)


def refusal(region: Anchored) -> str | None:
    """Why a body needs more than the sums of its tile and what lies beside them; None if it does not."""
    if grid.asked(region.body) or region.gathered or emit.alarms(region.body) or len(region.outputs) != 1:
        return "its body asks for positions, or gives several results"
    return None


def slices_of(tiles: Size, m: int, n: int, slices: int, behind: Size = 0) -> tuple[dict[str, Filling], Size, Size]:
    """What `conclude` takes for so many tiles of [m, n] in so many slices; bytes of workspace, where the sums begin
    `behind` others, and of counters.
    """
    if slices == 1:
        return {"partial": 0, "counters": 0}, behind, 0
    room = behind + tiles * (slices * m * n * 4)
    return {"partial": workspace("*fp32", behind), "counters": counters()}, room, tiles * 4
