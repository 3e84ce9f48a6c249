"""The k greatest or least elements along an axis, in order.

Elements become integers, keys, that order as the elements do: the better the greater; of equal keys the earlier place
is better. `packed`: key and place are one number of 64 bits, and a block sorts a line (Batcher's bitonic network); of
longer lines it sorts pieces, whose best meet in further launches. `ranks`: the place of each element in the order is
the number of those that are better, counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import triton
import triton.language as tl

from tenfold.codegen.axes import few
from tenfold.codegen.cuda import emit, grid
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.launch import CudaKernel, Filling, Launch, calling, number, numbers, place, workspace
from tenfold.codegen.cuda.program import Hole
from tenfold.codegen.region import Anchored, Operand, Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType, Kind
from tenfold.ops.sort import TopK
from tenfold.target import Target

_LONGEST = 1 << 11
"""Elements that one block sorts."""
_COUNTED = 1 << 17
"""Elements of the longest line whose better ones are counted."""


@triton.jit
def elements(x, down, at, inside, key: tl.constexpr):
    """The keys of some elements of some lines."""
    address = x[0] + grid.distance(down, x[1], True) + at.to(tl.int64) * x[2]
    return key(tl.load(tl.broadcast_to(address, inside.shape), mask=inside, other=0))


@triton.jit
def written(x, values, indices, down, at, spot, inside):
    """The elements at the places `at`, stored at `spot` of the results."""
    source = x[0] + grid.distance(down, x[1], True) + at * x[2]
    value = tl.load(tl.broadcast_to(source, inside.shape), mask=inside, other=0)
    spot = spot.to(tl.int64)
    target = values[0] + grid.distance(down, values[1], True) + spot * values[2]
    tl.store(tl.broadcast_to(target, inside.shape), value, mask=inside)
    target = indices[0] + grid.distance(down, indices[1], True) + spot * indices[2]
    tl.store(tl.broadcast_to(target, inside.shape), tl.broadcast_to(at, inside.shape), mask=inside)


@triton.jit
def packed(
    x, values, indices, before, after, row_sizes, rows, size, pieces, k, key: tl.constexpr, FIRST: tl.constexpr,
    LAST: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, TOP: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """A piece of some lines, sorted: from elements if FIRST, else from what the launch before left at `before`; to the
    results if LAST, else its TOP best to `after`.
    """
    grid.wait(EARLY)
    row = (tl.program_id(0) // pieces).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    piece = tl.program_id(0) % pieces
    at = piece * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    inside = (row < rows) & (at < size)
    down = grid.positions(row, row_sizes)
    worst = tl.full((), -(1 << 63), tl.int64)
    if FIRST:
        keys = elements(x, down, at, inside, key).to(tl.int64)
        line = tl.where(inside, (keys << 32) | (0xFFFFFFFF - at.to(tl.int64)), worst)
    else:
        line = tl.load(before + row * size + at, mask=inside, other=worst)
    if TOP < COLUMNS:
        best = tl.topk(line, TOP)
    else:
        best = tl.sort(line, descending=True)
    spot = tl.arange(0, TOP)[None, :]
    grid.release(EARLY)
    if LAST:
        written(x, values, indices, down, 0xFFFFFFFF - (best & 0xFFFFFFFF), spot, (row < rows) & (spot < k))
    else:
        tl.store(after + (row * pieces + piece) * TOP + spot, best, mask=(row < rows) & (spot < TOP))


@triton.jit
def ranks(
    x, values, indices, row_sizes, size, k, blocks, key: tl.constexpr, COLUMNS: tl.constexpr, AT_ONCE: tl.constexpr,
    EARLY: tl.constexpr,
):  # fmt: skip
    """Some elements of a line, each to its place in the order if that is one of the first k."""
    grid.wait(EARLY)
    row = (tl.program_id(0) // blocks).to(tl.int64)
    at = (tl.program_id(0) % blocks) * COLUMNS + tl.arange(0, COLUMNS)[:, None]
    down = grid.positions(tl.full((1, 1), 0, tl.int64) + row, row_sizes)
    own = elements(x, down, at, at < size, key)
    rank = tl.zeros((COLUMNS, 1), tl.int32)
    for begin in range(0, size, AT_ONCE):
        other = begin + tl.arange(0, AT_ONCE)[None, :]
        found = elements(x, down, other, other < size, key)
        better = (found > own) | ((found == own) & (other < at))
        rank += tl.sum((better & (other < size)).to(tl.int32), 1, keep_dims=True)
    grid.release(EARLY)
    written(x, values, indices, down, at.to(tl.int64), rank, (at < size) & (rank < k))


@dataclass(frozen=True, eq=False)
class Form:
    """The kernels' common parameters, lines and their sizes."""

    fillings: dict[str, Filling]
    more: dict[str, Filling]
    rows: Size
    size: Size
    k: Size


class Sort:
    """The best k of each line, in order."""

    name = "sort"

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """Sorting where lines or pieces of them fit a block, counting where lines are not too long."""
        if not isinstance(region, Anchored) or not isinstance(region.anchor, TopK):
            return Refusal("no selection of the best")
        x, axis = region.inputs[0], region.anchor.axis
        if x.dtype not in emit.NAMES:
            return Refusal(f"an order of {x.dtype}")
        size, k = x.shape[axis], dim.bounds(region.outputs[0].shape[axis])[1]
        longest = dim.bounds(size)[1]
        ways: list[str] = []
        if x.dtype.bits <= 32 and longest is not None:
            pieces = isinstance(size, int) and k is not None and k <= _LONGEST // 4
            ways += ["packed"] if longest <= _LONGEST or pieces else []
        ways += ["ranks"] if longest is not None and longest <= _COUNTED else []
        found = tuple(Tactic(self.name, (("by", way),)) for way in ways)
        return found or Refusal(f"the {k or 'unbounded'} best of {longest or 'unboundedly many'} elements of {x.dtype}")

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """One launch, or of pieces one after another, what remains of them in the workspace."""
        assert isinstance(region, Anchored) and isinstance(region.anchor, TopK)
        form = _form(region, region.anchor, int(arch_of(target).early))
        if tactic["by"] == "packed":
            return _packed(form)
        blocks = dim.ceildiv(form.size, 32)
        fillings = form.fillings | {"size": number(form.size), "k": number(form.k), "blocks": number(blocks)}
        fillings |= form.more | {"COLUMNS": 32, "AT_ONCE": 256, "EARLY": form.more["EARLY"]}
        return CudaKernel(launches=(calling(ranks, form.rows * blocks, fillings),))


def _form(region: Anchored, op: TopK, early: int) -> Form:
    operands: dict[str, Operand] = dict(zip(("x", "values", "indices"), (*region.inputs, *region.outputs), strict=True))
    x = operands["x"]
    rest = [axis for axis in range(len(x.shape)) if axis != op.axis]
    found = few([x.shape[axis] for axis in rest], [[one.strides[axis] for axis in rest] for one in operands.values()])
    fillings: dict[str, Filling] = {
        name: (place(one), numbers(strides or (0,)), number(one.strides[op.axis]))
        for (name, one), strides in zip(operands.items(), found.strides, strict=True)
    }
    fillings["row_sizes"] = numbers(found.sizes or (1,))
    more: dict[str, Filling] = {"key": Hole(_key(x.dtype, op.largest)), "EARLY": early}
    return Form(fillings, more, dim.product(found.sizes), x.shape[op.axis], region.outputs[0].shape[op.axis])


def _packed(form: Form) -> CudaKernel:
    """One launch, or a chain of them, in which each leaves of every piece the best that may be needed."""
    longest = dim.bounds(form.size)[1]
    most = min(dim.bounds(form.k)[1] or longest or 1, longest or 1)
    assert longest is not None
    launches: list[Launch] = []
    size, before = form.size, None
    start: Size = 0
    while True:
        columns = min(_LONGEST, max(2, grid.power_of_two(longest)))
        last, top = longest <= columns, min(columns, grid.power_of_two(most))
        pieces = 1 if last else -(-longest // columns)
        rows = max(1, 512 // columns)
        after = None if last else workspace("*i64", start)
        fillings = form.fillings | {
            **{"before": before or 0, "after": after or 0, "rows": number(form.rows), "size": number(size)},
            **{"pieces": number(pieces), "k": number(form.k), **form.more},
            **{"FIRST": int(before is None), "LAST": int(last), "ROWS": rows, "COLUMNS": columns, "TOP": top},
        }
        warps = 4 if rows * columns <= 1024 else 8
        launches.append(calling(packed, dim.ceildiv(form.rows, rows) * pieces, fillings, warps))
        if last:
            return CudaKernel(launches=tuple(launches), workspace=start)
        start, size, longest, before = start + form.rows * (pieces * top * 8), pieces * top, pieces * top, after


def _key(dtype: DType, largest: bool) -> str:
    """The hole that makes keys: bits, of negative floats those below the sign inverted, zeros alike, NaN greatest."""
    wide = 64 if dtype.bits > 32 else 32
    kind, top = f"tl.int{wide}", (1 << wide - 1) - 1
    if dtype.is_float:
        lines = [
            f"x = x.to(tl.float{wide})",
            f"bits = tl.where(x == 0, 0.0, x).to(tl.float{wide}).to({kind}, bitcast=True)",
            f"key = tl.where(x != x, {top}, bits ^ ((bits >> {wide - 1}) & {top})).to({kind})",
        ]
    elif dtype.kind is Kind.UINT and dtype.bits == wide:
        lines = [f"key = x.to({kind}, bitcast=True) ^ tl.full((), {-top - 1}, {kind})"]
    else:
        lines = [f"key = x.to({kind})"]
    body = "".join(f"    {line}\n" for line in lines)
    return f"def hole(x):\n{body}    return {'key' if largest else 'key ^ -1'}\n"


STRATEGY = Sort()
