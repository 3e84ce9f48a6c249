"""Gathering, resampling and other movements whose places are computed: elementwise work over `Pick`.

`Pick` reads an element at computed places, so it walks the domain of its result and fuses like any elementwise
operation; only the data it reads from must be complete in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tenfold.compiler.fuse.windows import cropped
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Node, Value
from tenfold.ops.arithmetic import Abs, Maximum, Minimum, Mod, Sub
from tenfold.ops.constant import Iota, Sizes, scalar
from tenfold.ops.index import Gather, GatherElements, GatherND
from tenfold.ops.logic import Cast
from tenfold.ops.movement import DepthToSpace, Pad, Reshape, Slice, SpaceToDepth, Tile, Transpose
from tenfold.ops.primitive import Pick, Within


def gather(op: Gather, node: Node) -> Value:
    """y[a…, i…, c…] = x[a…, index[i…], c…]"""
    x, index = node.inputs
    axis, width = op.axis % x.type.rank, index.type.rank
    after = x.type.rank - axis - 1
    index = Reshape((*(1,) * axis, *index.type.shape, *(1,) * after))(index)
    own = (*range(axis), -1, *range(axis + width, axis + width + after))
    picked: Value = Pick(own, node.output.type.shape)(x, within(index, x.type.shape[axis]))
    return picked


def gather_elements(op: GatherElements, node: Node) -> Value:
    """y[i, j] = x[index[i, j], j] along axis 0, and so on"""
    x, index = node.inputs
    axis = op.axis % x.type.rank
    own = tuple(-1 if a == axis else a for a in range(x.type.rank))
    picked: Value = Pick(own, node.output.type.shape)(x, within(index, x.type.shape[axis]))
    return picked


def gather_nd(op: GatherND, node: Node) -> Value | None:
    """y[b…, i…, c…] = x[b…, index[b…, i…, 0], index[b…, i…, 1], …, c…]"""
    x, index = node.inputs
    depth = index.type.shape[-1]
    if not isinstance(depth, int):
        return None
    batch, lead = op.batch_axes, index.type.rank - 1
    after = x.type.rank - batch - depth
    places = []
    for number in range(depth):
        starts = (0,) * lead + (number,)
        sizes = (*index.type.shape[:-1], 1)
        column = Slice(starts, sizes, (1,) * (lead + 1))(index)
        column = Reshape((*index.type.shape[:-1], *(1,) * after))(column)
        places.append(within(column, x.type.shape[batch + number]))
    own = (*range(batch), *(-1,) * depth, *range(lead, lead + after))
    picked: Value = Pick(own, node.output.type.shape)(x, *places)
    return picked


def within(index: Value, size: Size) -> Value:
    """Places that may count from the end, as i64 from 0 to below `size`; a call with one that lies outside fails."""
    index = Cast(dt.i64)(index) if index.type.dtype is not dt.i64 else index
    found: Value = Within()(index, whole_number(size))
    return found


def clamped(index: Value, size: Size) -> Value:
    """max(0, min(index, size - 1))"""
    found: Value = Maximum()(Minimum()(index, whole_number(size - 1)), whole_number(0))
    return found


def whole_number(size: Size) -> Value:
    """A size as an i64 scalar."""
    value: Value = scalar(size, dt.i64)() if isinstance(size, int) else Sizes((size,), ())()
    return value


def along(vector: Value, axis: int, rank: int) -> Value:
    """A vector laid along one axis of `rank`."""
    shape: list[Size] = [1] * rank
    shape[axis] = vector.type.shape[0]
    value: Value = Reshape(tuple(shape))(vector)
    return value


def tile(op: Tile, node: Node) -> Value:
    """y[i] = x[i mod size]"""
    (x,) = node.inputs
    for axis, repeats in enumerate(op.repeats):
        if repeats != 1:
            size = x.type.shape[axis]
            place = Mod()(Iota(0, 1, size * repeats)(), whole_number(size))
            x = pick_along(x, axis, place)
    return x


def pick_along(x: Value, axis: int, places: Value) -> Value:
    """x at a vector of places along one axis."""
    rank = x.type.rank
    shape = tuple(places.type.shape[0] if a == axis else size for a, size in enumerate(x.type.shape))
    own = tuple(-1 if a == axis else a for a in range(rank))
    picked: Value = Pick(own, shape)(x, along(places, axis, rank))
    return picked


def pad(op: Pad, node: Node) -> Value | None:
    """Mirrored, repeated or wrapped ends: places folded back into the data, axis by axis"""
    if op.mode == "constant":
        return None
    x = cropped(node.inputs[0], op.before, op.after)
    for axis, counts in enumerate(zip(op.before, op.after, strict=True)):
        before, after = (dim.maximum(count, 0) for count in counts)
        if before != 0 or after != 0:
            size = x.type.shape[axis]
            x = pick_along(x, axis, _folded(op.mode, Iota(-before, 1, size + before + after)(), size))
    return x


def _folded(mode: str, place: Value, size: Size) -> Value:
    match mode:
        case "edge":
            return clamped(place, size)
        case "wrap":
            found: Value = Mod()(place, whole_number(size))
            return found
        case "reflect":
            period, last = 2 * (size - 1), size - 1
            turned = Mod()(place, Maximum()(whole_number(period), whole_number(1)))
            back = Sub()(whole_number(last), Abs()(Sub()(turned, whole_number(last))))
            return clamped(back, size)
    turned = Mod()(place, whole_number(2 * size))
    mirrored: Value = Minimum()(turned, Sub()(whole_number(2 * size - 1), turned))
    return mirrored


def depth_to_space(op: DepthToSpace, node: Node) -> Value:
    """[N, b·b·C, H, W] to [N, C, H·b, W·b], as a transpose"""
    (x,) = node.inputs
    b, (n, c, h, w) = op.block, x.type.shape
    deep = (n, b, b, c // (b * b), h, w) if op.mode == "DCR" else (n, c // (b * b), b, b, h, w)
    turn = (0, 3, 4, 1, 5, 2) if op.mode == "DCR" else (0, 1, 4, 2, 5, 3)
    value: Value = Reshape(node.output.type.shape)(Transpose(turn)(Reshape(deep)(x)))
    return value


def space_to_depth(op: SpaceToDepth, node: Node) -> Value:
    """[N, C, H·b, W·b] to [N, b·b·C, H, W], as a transpose"""
    (x,) = node.inputs
    b, (n, c, h, w) = op.block, x.type.shape
    split = Reshape((n, c, h // b, b, w // b, b))(x)
    turn = (0, 3, 5, 1, 2, 4) if op.mode == "DCR" else (0, 1, 3, 5, 2, 4)
    value: Value = Reshape(node.output.type.shape)(Transpose(turn)(split))
    return value


RULES: dict[type, Callable[[Any, Node], Value | None]] = {
    Gather: gather,
    GatherElements: gather_elements,
    GatherND: gather_nd,
    Tile: tile,
    DepthToSpace: depth_to_space,
    SpaceToDepth: space_to_depth,
}
