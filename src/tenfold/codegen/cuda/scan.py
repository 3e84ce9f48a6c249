"""Running sums, products and extremes along an axis: blocks of a line scanned one after another, each from what the
ones before it came to; or, of long lines, all blocks at once, after a launch that combines each of them.

The kind of the tree decides how sums round, so results depend on the block size, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import triton
import triton.language as tl

from tenfold.codegen.cuda import emit, grid
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.launch import CudaKernel, Filling, calling, gathered, number, numbers, uniforms, workspace
from tenfold.codegen.cuda.program import Hole
from tenfold.codegen.region import Anchored, Operand, Region
from tenfold.codegen.strategy import Refusal, Tactic, tabled
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ops.reduce import Cumulative
from tenfold.target import Target

_SHAPES = ((1, 2048, 4), (1, 1024, 4), (1, 4096, 8), (4, 256, 4), (32, 32, 4))
"""(lines, elements of them at a time, warps)."""
_BLOCKS = ((1, 1024, 4), (1, 2048, 4), (1, 4096, 8))
"""The same of blocks that are scanned at once."""
_LONG = 1 << 13
"""Elements that a line has at least where its blocks are scanned at once."""
_MANY = 256
"""Lines from which blocks one after another keep all multiprocessors busy."""
_APART = (1 << 12, 1 << 9, ((4, 256, 4), (1, 1024, 4), (32, 32, 4)), ((32, 64, 4), (16, 128, 4), (8, 128, 4)))
"""All four where the elements of a line do not lie side by side: several lines a block."""
_JOINED: Mapping[str, str] = {
    "sum": "vmath.plus",
    "prod": "vmath.multiply",
    "max": "vmath.greater",
    "min": "vmath.lesser",
}


@triton.jit
def taken(x, x_kinds: tl.constexpr, down, place, row_inside, size, neutral, EXCLUSIVE: tl.constexpr,
          REVERSE: tl.constexpr):  # fmt: skip
    """The elements that are combined at some places of some lines, counted in the order of the scan."""
    at = place - 1 if EXCLUSIVE else place
    inside = row_inside & (at >= 0) & (at < size)
    at = size - 1 - at if REVERSE else at
    address = grid.addresses((x[0], x[1], x[2]), down, (at.to(tl.int64),), x_kinds)
    value = tl.load(tl.broadcast_to(address, inside.shape), mask=inside, other=0).to(neutral.dtype)
    return tl.where(inside, value, neutral)


@triton.jit
def scanned(
    x, beside, outputs, down, place, row_inside, size, carry, gathered, uniforms, neutral, join: tl.constexpr,
    along: tl.constexpr, close: tl.constexpr, body: tl.constexpr, x_kinds: tl.constexpr, kinds: tl.constexpr,
    output_kinds: tl.constexpr, shown: tl.constexpr, EXCLUSIVE: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """One block of some lines, scanned and stored; what the lines have come to."""
    value = taken(x, x_kinds, down, place, row_inside, size, neutral, EXCLUSIVE, REVERSE)
    total = join(tl.broadcast_to(carry, value.shape), along(value))
    carry = join(carry, close(value))
    inside = row_inside & (place < size)
    at = (size - 1 - place if REVERSE else place).to(tl.int64)
    result = shown(total, place) if EXCLUSIVE else total
    extra = grid.load(beside, down, (at,), row_inside, place < size, kinds)
    results = body((result,) + extra, down + (at,), uniforms, gathered, inside)
    grid.store(outputs, results, down, (at,), inside, output_kinds)
    return carry


@triton.jit
def lines(
    x, beside, outputs, gathered, uniforms, row_sizes, rows, size, neutral: tl.constexpr, join: tl.constexpr,
    along: tl.constexpr, close: tl.constexpr, shown: tl.constexpr, body: tl.constexpr, x_kinds: tl.constexpr,
    kinds: tl.constexpr, output_kinds: tl.constexpr, EXCLUSIVE: tl.constexpr, REVERSE: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Some lines a block, from their beginning to their end."""
    grid.wait(EARLY)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    row_inside = row < rows
    down = grid.positions(row, row_sizes)
    carry = tl.broadcast_to(neutral(), (ROWS, 1))
    for begin in range(0, size, COLUMNS):
        place = begin + tl.arange(0, COLUMNS)[None, :]
        carry = scanned(
            x, beside, outputs, down, place, row_inside, size, carry, gathered, uniforms, neutral(), join, along,
            close, body, x_kinds, kinds, output_kinds, shown, EXCLUSIVE, REVERSE,
        )  # fmt: skip
    grid.release(EARLY)


@triton.jit
def combined(
    x, partial, row_sizes, rows, size, blocks, neutral: tl.constexpr, close: tl.constexpr, x_kinds: tl.constexpr,
    EXCLUSIVE: tl.constexpr, REVERSE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """What a block of some lines comes to."""
    grid.wait(EARLY)
    row = (tl.program_id(0) // blocks).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    block = tl.program_id(0) % blocks
    place = block * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    down = grid.positions(row, row_sizes)
    value = taken(x, x_kinds, down, place, row < rows, size, neutral(), EXCLUSIVE, REVERSE)
    grid.release(EARLY)
    tl.store(partial + row * blocks + block, close(value), mask=row < rows)


@triton.jit
def blocks(
    x, beside, outputs, gathered, uniforms, partial, row_sizes, rows, size, blocks, neutral: tl.constexpr,
    join: tl.constexpr, along: tl.constexpr, close: tl.constexpr, shown: tl.constexpr, body: tl.constexpr,
    x_kinds: tl.constexpr, kinds: tl.constexpr, output_kinds: tl.constexpr, EXCLUSIVE: tl.constexpr,
    REVERSE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, BEFORE: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """A block of some lines, from what the blocks before it come to, BEFORE of them at a time."""
    grid.wait(EARLY)
    row = (tl.program_id(0) // blocks).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    block = tl.program_id(0) % blocks
    carry = tl.broadcast_to(neutral(), (ROWS, 1))
    for begin in range(0, block, BEFORE):
        other = begin + tl.arange(0, BEFORE)[None, :]
        inside = (row < rows) & (other < block)
        found = tl.load(partial + row * blocks + other, mask=inside, other=0)
        carry = join(carry, close(tl.where(inside, found, neutral())))
    place = block * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    scanned(
        x, beside, outputs, grid.positions(row, row_sizes), place, row < rows, size, carry, gathered, uniforms,
        neutral(), join, along, close, body, x_kinds, kinds, output_kinds, shown, EXCLUSIVE, REVERSE,
    )  # fmt: skip
    grid.release(EARLY)


class Scan:
    """Cumulative sums, products and extremes."""

    name = "scan"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Lines in blocks of several shapes; the blocks of long lines at once."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, Cumulative):
            return Refusal("no scan")
        dtype, axis = region.inputs[0].dtype, region.anchor.axis
        if dtype is dt.boolean or dtype not in emit.NAMES:
            return Refusal(f"a scan of {dtype}")
        reason = emit.refusal(region.body)
        if reason:
            return Refusal(reason)
        rest = [size for at, size in enumerate(region.domain) if at != axis]
        longest, count = dim.bounds(region.domain[axis])[1], dim.bounds(dim.product(rest))[1]
        apart = region.inputs[0].strides[axis] != 1 and count != 1
        most, least, shapes, several = (_MANY, _LONG, _SHAPES, _BLOCKS) if not apart else _APART
        long = (longest is None or longest >= least) and (count is None or count < most)
        made = [("lines", *one) for one in shapes]
        every = [*(("blocks", *one) for one in several), *made] if long else made
        names = ("by", "rows", "elements", "warps")
        return tabled(self.name, names, every)

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch, or two with the blocks' sums in the workspace."""
        assert isinstance(region, Anchored) and isinstance(region.anchor, Cumulative)
        op, (x,) = region.anchor, region.inputs
        order = (*(axis for axis in range(len(x.shape)) if axis != op.axis), op.axis)
        operands = [_turned(one, order) for one in (x, *region.extra, *region.outputs)]
        domain = operands[0].shape
        kept = [order.index(axis) for axis in grid.asked(region.body)]
        outer, inner = grid.merged(domain, operands, [*kept, len(domain) - 1], 1)
        streams, kinds = grid.streams(operands, outer, inner), grid.kinds(outer, inner)
        cut, rows, size = 1 + len(region.extra), dim.product(outer.sizes), x.shape[op.axis]
        places = tuple(inner.places[order.index(axis)] for axis in range(len(domain)))
        dtype = dt.f32 if x.dtype.is_float and x.dtype.bits < 32 else x.dtype
        join = _JOINED[op.kind]
        high, wide, warps = (int(tactic[name]) for name in ("rows", "elements", "warps"))
        scan: dict[str, Filling] = {
            "x": streams[0],
            "row_sizes": numbers(outer.sizes),
            **{"rows": number(rows), "size": number(size)},
            "neutral": Hole(f"def hole():\n    return {emit.literal(_neutral(op.kind, dtype), dtype)}\n"),
            "join": Hole(f"def hole(a, b):\n    return {join}(a, b)\n"),
            "along": Hole(f"def hole(x):\n    return tl.associative_scan(x, 1, {join})\n"),
            "close": Hole(f"def hole(x):\n    return tl.reduce(x, 1, {join}, keep_dims=True)\n"),
            **{"x_kinds": kinds[0], "EXCLUSIVE": int(op.exclusive), "REVERSE": int(op.reverse)},
            "EARLY": int(arch_of(target).early),
        }
        whole = scan | {
            "beside": streams[1:cut],
            "outputs": streams[cut:],
            "gathered": gathered(region.gathered),
            "uniforms": uniforms(region.uniforms),
            "shown": Hole(_shown(op.kind)),
            "body": Hole(emit.hole_text(region.body, places)),
            **{"kinds": kinds[1:cut], "output_kinds": kinds[cut:], "COLUMNS": wide},
        }
        if tactic["by"] == "lines":
            fillings = whole | {"ROWS": high}
            return CudaKernel(launches=(calling(lines, dim.ceildiv(rows, high), fillings, warps),))
        count = dim.ceildiv(size, wide)
        partial: dict[str, Filling] = {"partial": workspace(emit.pointer(dtype)), "blocks": number(count)}
        partial["ROWS"] = high
        parts = dim.ceildiv(rows, high) * count
        first = calling(combined, parts, scan | partial | {"COLUMNS": wide}, warps)
        second = calling(blocks, parts, whole | partial | {"BEFORE": max(16, 256 // high)}, warps)
        return CudaKernel(launches=(first, second), workspace=rows * count * dtype.itemsize)


def _turned(one: Operand, order: Sequence[int]) -> Operand:
    shape, strides = (tuple(each[axis] for axis in order) for each in (one.shape, one.strides))
    return Operand(one.value, one.dtype, shape, strides, one.offset)


def _neutral(kind: str, dtype: DType) -> object:
    """What changes no element that it is combined with: of sums of floats -0."""
    return -0.0 if kind == "sum" and dtype.is_float else emit.IDENTITIES[kind](dtype)


def _shown(kind: str) -> str:
    """The hole that gives what an exclusive scan shows, which begins a sum with 0."""
    text = "tl.where(place == 0, tl.zeros_like(total), total)" if kind == "sum" else "total"
    return f"def hole(total, place):\n    return {text}\n"


STRATEGY = Scan()
