"""Domains on a GPU: axes merged where every operand walks them as one, tiles of rows and columns, positions in them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc

from tenfold.codegen.cuda import vmath
from tenfold.codegen.cuda.launch import Filling, numbers, place
from tenfold.codegen.region import Body, Index, Operand
from tenfold.ir import dim
from tenfold.ir.dim import Size


@dataclass(frozen=True)
class Merged:
    """`sizes`, outermost first; each operand's `strides` over them; `places[axis]`: which of them is the domain's axis
    (None if it has size 1 or was merged).
    """

    sizes: tuple[Size, ...]
    strides: tuple[tuple[Size, ...], ...]
    places: tuple[int | None, ...]


def merged(
    domain: Sequence[Size], operands: Sequence[Operand], kept: Collection[int], cut: int = 0
) -> tuple[Merged, Merged]:
    """The fewest axes that reach the same elements: those of the rows, those of the columns.

    The columns are the domain's last `cut` axes, or if that is 0, the last of the fewest. Both have an axis at least,
    of size 1 where there is no other. Axes in `kept` are merged with no other.
    """
    first = len(domain) - cut
    groups: list[list[int]] = []
    for axis, size in enumerate(domain):
        if size == 1:
            continue
        before = groups[-1][-1] if groups else None
        joins = before is not None and not (before < first <= axis) and not {before, axis} & set(kept)
        if joins and all(dim.known_equal(one.strides[before], one.strides[axis] * size) for one in operands):  # type: ignore[index]
            groups[-1].append(axis)
        else:
            groups.append([axis])
    inner = sum(group[0] >= first for group in groups) if cut else min(1, len(groups))
    rows, columns = groups[: len(groups) - inner] or [[]], groups[len(groups) - inner :] or [[]]
    order = [*rows, *columns]
    places = tuple(order.index([axis]) if [axis] in order else None for axis in range(len(domain)))
    return _axes(rows, domain, operands, places), _axes(columns, domain, operands, places)


def _axes(
    groups: Sequence[Sequence[int]], domain: Sequence[Size], operands: Sequence[Operand], places: tuple[int | None, ...]
) -> Merged:
    sizes = tuple(dim.product(domain[axis] for axis in group) for group in groups)
    strides = tuple(tuple(one.strides[group[-1]] if group else 0 for group in groups) for one in operands)
    return Merged(sizes, strides, places)


def asked(*bodies: Body | None) -> frozenset[int]:
    """The axes whose positions bodies read."""
    return frozenset(one.op.axis for body in bodies if body for one in body.code if isinstance(one.op, Index))


def streams(operands: Sequence[Operand], rows: Merged, columns: Merged) -> tuple[Filling, ...]:
    """Operands as kernels take them: address, strides along the rows' axes, along the columns'."""
    return tuple(
        (place(one), numbers(outer), numbers(inner))
        for one, outer, inner in zip(operands, rows.strides, columns.strides, strict=True)
    )


def kinds(rows: Merged, columns: Merged) -> tuple[int, ...]:
    """Of each operand, 1 if it moves along the rows, plus 2 if it moves along the columns."""
    pairs = zip(rows.strides, columns.strides, strict=True)
    return tuple(any(one != 0 for one in outer) + 2 * any(one != 0 for one in inner) for outer, inner in pairs)


def step_of(sizes: Sequence[Size], strides: Sequence[Size]) -> Size | None:
    """The stride of these axes as one; None if they do not lie behind one another."""
    axes = [(size, stride) for size, stride in zip(sizes, strides, strict=True) if size != 1]
    for (_, outer), (size, inner) in pairwise(axes):
        if not dim.known_equal(outer, size * inner):
            return None
    return axes[-1][1] if axes else 0


def power_of_two(size: int) -> int:
    """The least power of two that is not below `size`."""
    return 1 << max(size - 1, 0).bit_length()


@triton.jit
def dot(x, y, acc, TF32: tl.constexpr):
    """acc + x @ y; f32 in full, or as TF32: 1 rounds here, 2 says that it is rounded. Tensor cores cut off what TF32
    lacks, so that products shrink by 7e-4 each, and those of a chain together.
    """
    if TF32:
        if TF32 == 1 and x.dtype == tl.float32:
            x, y = vmath.nearest_tf32(x), vmath.nearest_tf32(y)
        return tl.dot(x, y, acc, input_precision="tf32")
    else:
        return tl.dot(x, y, acc, input_precision="ieee")


@triton.jit
def wait(EARLY: tl.constexpr):
    """What a kernel that may start early begins with: what the one ahead wrote is there from here on."""
    if EARLY:
        gdc.gdc_wait()


@triton.jit
def begin(EARLY: tl.constexpr):
    """As `wait`, and the next kernel may start at once: it takes room that is free, and waits for this one to end."""
    if EARLY:
        gdc.gdc_launch_dependents()
        gdc.gdc_wait()


@triton.jit
def release(EARLY: tl.constexpr):
    """The next kernel may start from here on: it takes room that this one no longer needs."""
    if EARLY:
        gdc.gdc_launch_dependents()


@triton.jit
def positions(flat, sizes):
    """The positions along axes of these sizes, of elements counted row-major."""
    found = ()
    for back in tl.static_range(len(sizes)):
        if back + 1 == len(sizes):
            found = (flat,) + found
        else:
            size = sizes[len(sizes) - 1 - back]
            found = (flat % size,) + found
            flat = flat // size
    return found


@triton.jit
def distance(at, strides, wide: tl.constexpr):
    """How far from the start elements at these positions lie."""
    total = tl.zeros_like(at[0])
    if wide:
        total = total.to(tl.int64)
    for axis in tl.static_range(len(strides)):
        total += at[axis] * strides[axis]
    return total


@triton.jit
def origins(a, b, batch_sizes, batch, row, column):
    """Where rows of `a` and columns of `b` begin, of one matrix of a stack: both are addresses with strides along the
    stack's axes and the matrix's.
    """
    a_rows = a[0] + row.to(tl.int64)[:, None] * a[2][0]
    b_columns = b[0] + column.to(tl.int64)[None, :] * b[2][1]
    if len(batch_sizes) > 0:
        at = positions(batch.to(tl.int64), batch_sizes)
        a_rows += distance(at, a[1], True)
        b_columns += distance(at, b[1], True)
    return a_rows, b_columns


@triton.jit
def addresses(stream, rows, columns, kind: tl.constexpr):
    """The addresses of a tile of a stream: as many rows or columns as it moves along, else one."""
    tile = stream[0]
    if kind % 2 == 1:
        tile = tile + distance(rows, stream[1], True)
    if kind >= 2:
        tile = tile + distance(columns, stream[2], False)
    return tile


@triton.jit
def exists(row_inside, column_inside, kind: tl.constexpr):
    """Which elements of such a tile exist."""
    if kind == 3:
        return row_inside & column_inside
    elif kind == 2:
        return column_inside
    elif kind == 1:
        return row_inside
    else:
        return tl.full((), 1, tl.int1)


@triton.jit
def load(streams, rows, columns, row_inside, column_inside, kinds: tl.constexpr):
    """The tiles of all streams."""
    values = ()
    for number in tl.static_range(len(streams)):
        tile = addresses(streams[number], rows, columns, kinds[number])
        inside = exists(row_inside, column_inside, kinds[number])
        values = values + (tl.load(tile, mask=inside),)
    return values


@triton.jit
def store(streams, values, rows, columns, inside, kinds: tl.constexpr):
    """Store to streams that move along rows and columns as `kinds` says; `inside` says which elements exist."""
    for number in tl.static_range(len(streams)):
        tile = addresses(streams[number], rows, columns, kinds[number])
        tl.store(tl.broadcast_to(tile, inside.shape), tl.broadcast_to(values[number], inside.shape), mask=inside)
