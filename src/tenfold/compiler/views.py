"""Where values lie in memory: views of buffers, and which movements are views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.graph import Node, Value
from tenfold.ops.dynamic import Head, Known
from tenfold.ops.movement import Expand, Reshape, Slice, Split, Transpose
from tenfold.ops.primitive import Windows

Shape = tuple[Size, ...]

REVEALING = (Head, Known)
VIEW_OPS = (Transpose, Reshape, Slice, Split, Expand, Windows, *REVEALING)


@dataclass(frozen=True, eq=False)
class View:
    """A value as a window on the buffer of `root`: element (i, j, …) lies `offset + i·strides[0] + j·strides[1] + …`
    elements after its start.
    """

    root: Value
    strides: Shape
    offset: Size = 0


def channels_last(rank: int) -> tuple[int, ...]:
    """N, spatial axes, C: axis 1 innermost."""
    return (0, *range(2, rank), 1) if rank >= 3 else tuple(range(rank))


def strides_of(shape: Shape, order: Sequence[int]) -> Shape:
    """Strides of a dense buffer whose axes lie in `order`, outermost first."""
    strides: list[Size] = [0] * len(shape)
    step: Size = 1
    for axis in reversed(order):
        strides[axis] = step
        step = step * shape[axis]
    return tuple(strides)


def row_major(shape: Shape) -> Shape:
    """Strides of a dense buffer whose last axis is innermost."""
    return strides_of(shape, range(len(shape)))


def transpose(view: View, permutation: Sequence[int]) -> View:
    """Axis i of the result is axis permutation[i] of the view."""
    return View(view.root, tuple(view.strides[axis] for axis in permutation), view.offset)


def slice_(view: View, starts: Shape, steps: Shape) -> View:
    """Every steps[i]-th element from starts[i] on, along each axis."""
    offset = view.offset
    for start, stride in zip(starts, view.strides, strict=True):
        offset = offset + start * stride
    return View(view.root, tuple(s * step for s, step in zip(view.strides, steps, strict=True)), offset)


def windows(view: View, strides: Sequence[int], dilations: Sequence[int]) -> View:
    """Batch, channels and space as batch, channels, windows and taps: every window's taps at their own strides."""
    space = view.strides[2:]
    starts = tuple(stride * step for stride, step in zip(space, strides, strict=True))
    taps = tuple(stride * step for stride, step in zip(space, dilations, strict=True))
    return View(view.root, (*view.strides[:2], *starts, *taps), view.offset)


def expand(view: View, old: Shape, new: Shape) -> View:
    """NumPy's broadcast_to: a repeated axis has stride 0, also one whose size turns out to be 1."""
    return View(view.root, broadcast_strides(view.strides, old, new), view.offset)


def broadcast_strides(strides: Shape, old: Shape, new: Shape) -> Shape:
    """The strides with which a tensor of shape `old` is walked over `new`."""
    missing = len(new) - len(old)
    found: list[Size] = [0] * missing
    for stride, size, target in zip(strides, old, new[missing:], strict=True):
        if size == 1:
            found.append(0)
        elif dim.known_equal(size, target):
            found.append(stride)
        else:
            found.append(dim.select(dim.equal(size, 1), 0, stride))
    return tuple(found)


def reshape(view: View, old: Shape, new: Shape) -> View | None:
    """The same elements in row-major order under another shape; None if that takes a copy.

    Axes are matched in groups of equal size; the old axes of a group must lie behind one another. Dense data take any
    shape, also where sizes are not provably equal.
    """
    if all(a == 1 or dim.known_equal(s, d) for a, s, d in zip(old, view.strides, row_major(old), strict=True)):
        return View(view.root, row_major(new), view.offset)
    axes = [(size, stride) for size, stride in zip(old, view.strides, strict=True) if size != 1]
    strides: list[Size] = [0] * len(new)
    wanted = [axis for axis, size in enumerate(new) if size != 1]
    while axes or wanted:
        group = _next_group(axes, [new[axis] for axis in wanted])
        if group is None:
            return None
        taken, made = group
        step = _merged_stride(axes[:taken])
        if step is None:
            return None
        for axis in reversed(wanted[:made]):
            strides[axis] = step
            step = step * new[axis]
        del axes[:taken], wanted[:made]
    return View(view.root, tuple(strides), view.offset)


def shuffled(node: Node, source: View) -> tuple[int, ...] | None:
    """The storage order of a copy of what a reshape sees, with which channels that it merges stay innermost; None for
    another movement, or if none of them is innermost.
    """
    old, new = node.inputs[0].type.shape, node.output.type.shape
    if not isinstance(node.op, Reshape) or len(new) < 3:
        return None
    sizes = [dim.product(old[:end]) for end in range(len(old) + 1)]
    ends = [
        [end for end, size in enumerate(sizes) if dim.known_equal(size, part)] for part in (new[0], new[0] * new[1])
    ]
    if not all(ends):
        return None
    first, last = ends[0][0], ends[1][0]
    if not any(dim.known_equal(source.strides[axis], 1) for axis in range(first, last)):
        return None
    order = (*range(first), *range(last, len(old)), *range(first, last))
    return order if reshape(View(source.root, strides_of(old, order)), old, new) else None


def _next_group(old: list[tuple[Size, Size]], new: list[Size]) -> tuple[int, int] | None:
    """How many leading old and new axes have the same product; None if no such group is provable."""
    if not old or not new:
        return None
    left, right, taken, made = old[0][0], new[0], 1, 1
    while not dim.known_equal(left, right):
        grow_left = _smaller(left, right)
        if grow_left is None:
            return None
        if grow_left:
            if taken == len(old):
                return None
            left, taken = left * old[taken][0], taken + 1
        else:
            if made == len(new):
                return None
            right, made = right * new[made], made + 1
    return taken, made


def _smaller(left: Size, right: Size) -> bool | None:
    if isinstance(left, int) and isinstance(right, int):
        return left < right
    if dim.divide_exact(right, left) is not None:
        return True
    return False if dim.divide_exact(left, right) is not None else None


def _merged_stride(axes: list[tuple[Size, Size]]) -> Size | None:
    """The stride of these axes as one axis; None if they do not lie behind one another."""
    for (_, outer), (size, inner) in pairwise(axes):
        if not dim.known_equal(outer, size * inner):
            return None
    return axes[-1][1]


def is_view(node: Node) -> bool:
    """True if a node's results are seen in its input's buffer; objects have none."""
    return isinstance(node.op, VIEW_OPS) and not node.inputs[0].type.dtype.is_object


def movement_view(node: Node, index: int, source: View) -> View | None:
    """A movement's result as a view of its input's buffer; None if it takes a copy."""
    old = node.inputs[0].type.shape
    match node.op:
        case Transpose(permutation):
            return transpose(source, permutation)
        case Slice(starts, _, steps):
            return slice_(source, starts, steps)
        case Expand():
            return expand(source, old, node.output.type.shape)
        case Reshape():
            return reshape(source, old, node.output.type.shape)
        case Windows(_, _, strides, dilations):
            return windows(source, strides, dilations)
        case Head() | Known():
            return source
        case Split(axis, sizes):
            start = sum(sizes[:index], start=0)
            return View(source.root, source.strides, source.offset + start * source.strides[axis])
    raise AssertionError(f"{node} is no movement")
