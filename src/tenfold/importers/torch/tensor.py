"""aten's operators that place elements anew: views and their copies."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tenfold.errors import UnsupportedError
from tenfold.importers.diagonal import diagonal as diagonal_of
from tenfold.importers.shorthand import apply, axis_of, cast, constant, part, reshaped, resolved, span, transposed
from tenfold.importers.torch.promote import wider
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.arithmetic import Add
from tenfold.ops.constant import Constant, Iota
from tenfold.ops.elementwise import broadcast_shapes
from tenfold.ops.index import Gather
from tenfold.ops.movement import Concat, Expand, Pad, Slice, Split, Tile

Axes = int | Sequence[int]
END = 2**63 - 1


def axes_of(x: Value, axes: Axes | None, *, empty_is_all: bool = True) -> tuple[int, ...]:
    """Axes counted from the start, in order; all of them for None (and for none at all, if so asked)."""
    if axes is None or (isinstance(axes, Sequence) and not axes and empty_is_all):
        return tuple(range(x.type.rank))
    named = (axes,) if isinstance(axes, int) else axes
    return tuple(sorted({axis_of(axis, max(1, x.type.rank)) for axis in named})) if x.type.rank else ()


def along_one(convert: Callable[..., Any]) -> Callable[..., Any]:
    """What works along an axis, taking a number as a vector of one, as PyTorch does."""

    def converted(x: Value, *arguments: Any, **named: Any) -> Any:
        if x.type.rank:
            return convert(x, *arguments, **named)
        found = convert(reshaped(x, (1,)), *arguments, **named)
        return tuple(reshaped(one, ()) for one in found) if isinstance(found, tuple) else reshaped(found, ())

    return converted


def view(x: Value, shape: Sequence[Size], *_: Any) -> Value:
    """x under another shape; -1 stands for what is left."""
    return reshaped(x, resolved(x, shape))


def like(convert: Callable[..., Value]) -> Callable[..., Value]:
    """What takes a shape, with another tensor's."""

    def converted(x: Value, other: Value) -> Value:
        return convert(x, other.type.shape)

    return converted


def flatten(x: Value, first: int = 0, last: int = -1) -> Value:
    """A run of axes as one."""
    shape = x.type.shape
    if not shape:
        return reshaped(x, (1,))
    start, end = axis_of(first, len(shape)), axis_of(last, len(shape))
    return reshaped(x, (*shape[:start], dim.product(shape[start : end + 1]), *shape[end + 1 :]))


def unflatten(x: Value, axis: int, sizes: Sequence[Size]) -> Value:
    """One axis as several."""
    axis, shape = axis_of(axis, x.type.rank), x.type.shape
    inner = part_of_axis(shape[axis], sizes)
    return reshaped(x, (*shape[:axis], *inner, *shape[axis + 1 :]))


def part_of_axis(size: Size, sizes: Sequence[Size]) -> tuple[Size, ...]:
    """Sizes whose product is `size`; -1 stands for what is left."""
    known = dim.product(one for one in sizes if one != -1)
    return tuple(size // known if one == -1 else one for one in sizes)


def permute(x: Value, order: Sequence[int]) -> Value:
    """The axes in another order."""
    return transposed(x, [axis_of(axis, x.type.rank) for axis in order])


def transpose(x: Value, first: int, second: int) -> Value:
    """Two axes exchanged."""
    order = list(range(x.type.rank))
    if not order:
        return x
    a, b = axis_of(first, x.type.rank), axis_of(second, x.type.rank)
    order[a], order[b] = order[b], order[a]
    return transposed(x, order)


def matrix_transpose(x: Value) -> Value:
    """A matrix's axes exchanged."""
    return transpose(x, 0, 1) if x.type.rank == 2 else x


def all_transposed(x: Value) -> Value:
    """All axes reversed."""
    return transposed(x, tuple(reversed(range(x.type.rank))))


def movedim(x: Value, source: Axes, target: Axes) -> Value:
    """Axes moved to other places, the rest in order."""
    from_, to = (
        [axis_of(a, x.type.rank) for a in ((one,) if isinstance(one, int) else one)] for one in (source, target)
    )
    order = [axis for axis in range(x.type.rank) if axis not in from_]
    for place, axis in sorted(zip(to, from_, strict=True)):
        order.insert(place, axis)
    return transposed(x, order)


def expand(x: Value, shape: Sequence[Size], **_: Any) -> Value:
    """x repeated along axes of size 1; -1 keeps a size."""
    own = (*(1,) * (len(shape) - x.type.rank), *x.type.shape)
    wanted = tuple(mine if size == -1 else size for size, mine in zip(shape, own, strict=True))
    return x if wanted == x.type.shape else apply(Expand(wanted), x)


def squeeze(x: Value, axes: Axes | None = None) -> Value:
    """Without axes of size 1: those named, or all."""
    shape = x.type.shape
    gone = {axis for axis in axes_of(x, axes, empty_is_all=False) if shape[axis] == 1}
    return reshaped(x, [size for axis, size in enumerate(shape) if axis not in gone])


def unsqueeze(x: Value, axis: int) -> Value:
    """A new axis of size 1."""
    at = axis_of(axis, x.type.rank + 1)
    return reshaped(x, (*x.type.shape[:at], 1, *x.type.shape[at:]))


def select(x: Value, axis: int, index: Size | Value) -> Value:
    """One place of an axis, which goes."""
    axis = axis_of(axis, x.type.rank)
    rest = (*x.type.shape[:axis], *x.type.shape[axis + 1 :])
    if isinstance(index, Value):
        return apply(Gather(axis), x, reshaped(index, ()))
    return reshaped(part(x, axis, position(index, x.type.shape[axis]), 1), rest)


def position(index: Size, size: Size) -> Size:
    """A position counted from the start."""
    if isinstance(index, int):
        return index + size if index < 0 else index
    return dim.select(dim.less(index, 0), index + size, index)


def cut(x: Value, axis: int = 0, start: Size | None = None, end: Size | None = None, step: int = 1) -> Value:
    """Python's slice of one axis."""
    axis = axis_of(axis, x.type.rank)
    first, count = span(x.type.shape[axis], 0 if start is None else start, END if end is None else end, step)
    return strided(x, axis, first, count, step)


def strided(x: Value, axis: int, first: Size, count: Size, step: int) -> Value:
    """`count` places of an axis from `first` on, `step` apart."""
    if step == 1:
        return part(x, axis, first, count)
    starts = tuple(first if at == axis else 0 for at in range(x.type.rank))
    sizes = tuple(count if at == axis else whole for at, whole in enumerate(x.type.shape))
    return apply(Slice(starts, sizes, tuple(step if at == axis else 1 for at in range(x.type.rank))), x)


def narrow(x: Value, axis: int, start: Size, length: Size) -> Value:
    """`length` places of an axis."""
    axis = axis_of(axis, x.type.rank)
    return part(x, axis, position(start, x.type.shape[axis]), length)


def flip(x: Value, axes: Sequence[int]) -> Value:
    """Axes from the other end."""
    back = axes_of(x, axes, empty_is_all=False)
    if not back:
        return x
    starts = tuple(size - 1 if axis in back else 0 for axis, size in enumerate(x.type.shape))
    return apply(Slice(starts, x.type.shape, tuple(-1 if a in back else 1 for a in range(x.type.rank))), x)


def roll(x: Value, shifts: Sequence[Size], axes: Sequence[int] = ()) -> Value:
    """Elements moved on, those that leave an end coming in at the other."""
    if not axes:
        return reshaped(roll(reshaped(x, (x.type.size,)), shifts, (0,)), x.type.shape)
    for shift, named in zip(shifts, axes, strict=True):
        axis = axis_of(named, x.type.rank)
        size = x.type.shape[axis]
        cut_at = (size - shift) % size if size != 0 else 0
        if cut_at != 0:
            x = apply(Concat(axis), part(x, axis, cut_at, size - cut_at), part(x, axis, 0, cut_at))
    return x


def cat(tensors: Sequence[Value], axis: int = 0) -> Value:
    """Tensors one after another; one of no elements and one axis counts for nothing."""
    kept = [one for one in tensors if one.type.shape != (0,)] or list(tensors[:1])
    kind = functools.reduce(wider, (one.type.dtype for one in tensors))
    values = [cast(one, kind) for one in kept]
    return values[0] if len(values) == 1 else apply(Concat(axis_of(axis, values[0].type.rank)), *values)


def stack(tensors: Sequence[Value], axis: int = 0) -> Value:
    """Tensors of one shape along a new axis."""
    at = axis_of(axis, tensors[0].type.rank + 1)
    return cat([unsqueeze(one, at) for one in tensors], at)


def split_with_sizes(x: Value, sizes: Sequence[Size], axis: int = 0) -> tuple[Value, ...]:
    """Consecutive pieces of an axis."""
    if len(sizes) == 1:
        return (x,)
    found: tuple[Value, ...] = Split(axis_of(axis, x.type.rank), tuple(sizes))(x)
    return found


def split(x: Value, size: Size | Sequence[Size], axis: int = 0) -> tuple[Value, ...]:
    """Pieces of one size, the last of what is left; or of the stated sizes."""
    if isinstance(size, Sequence):
        return split_with_sizes(x, size, axis)
    whole = x.type.shape[axis_of(axis, x.type.rank)]
    count = dim.ceildiv(whole, size)
    if not isinstance(count, int):
        raise UnsupportedError(f"how many pieces of {size} there are of {whole} must be known when the engine is built")
    return split_with_sizes(x, [*(size,) * (count - 1), whole - size * (count - 1)], axis)


def chunk(x: Value, count: int, axis: int = 0) -> tuple[Value, ...]:
    """At most so many pieces of one size."""
    whole = x.type.shape[axis_of(axis, x.type.rank)]
    return split(x, dim.ceildiv(whole, count), axis)


def unbind(x: Value, axis: int = 0) -> tuple[Value, ...]:
    """The places of an axis, one by one."""
    axis = axis_of(axis, x.type.rank)
    count = x.type.shape[axis]
    if not isinstance(count, int):
        raise UnsupportedError(f"the size {count} of an axis taken apart must be known when the engine is built")
    rest = (*x.type.shape[:axis], *x.type.shape[axis + 1 :])
    return tuple(reshaped(one, rest) for one in split_with_sizes(x, (1,) * count, axis))


def repeat(x: Value, repeats: Sequence[Size]) -> Value:
    """x laid side by side along each axis."""
    wide = reshaped(x, (*(1,) * (len(repeats) - x.type.rank), *x.type.shape))
    return wide if all(one == 1 for one in repeats) else apply(Tile(tuple(repeats)), wide)


def tile(x: Value, repeats: Sequence[Size]) -> Value:
    """As `repeat`; missing counts are 1."""
    return repeat(x, (*(1,) * (x.type.rank - len(repeats)), *repeats))


def repeat_interleave(x: Value, count: Size, axis: int | None = None, **_: Any) -> Value:
    """Each place of an axis several times in a row."""
    flat = reshaped(x, (x.type.size,)) if axis is None else x
    at = 0 if axis is None else axis_of(axis, x.type.rank)
    shape = flat.type.shape
    wide = reshaped(flat, (*shape[: at + 1], 1, *shape[at + 1 :]))
    spread = expand(wide, (*shape[: at + 1], count, *shape[at + 1 :]))
    return reshaped(spread, (*shape[:at], shape[at] * count, *shape[at + 1 :]))


def _pads(x: Value, pad: Sequence[Size]) -> tuple[tuple[Size, ...], tuple[Size, ...]]:
    rank = x.type.rank
    before, after = [0] * rank, [0] * rank  # type: tuple[list[Size], list[Size]]
    for place in range(len(pad) // 2):
        before[rank - 1 - place], after[rank - 1 - place] = pad[2 * place], pad[2 * place + 1]
    return tuple(before), tuple(after)


def padded(mode: str) -> Callable[..., Value]:
    """Padding of the last axes; the counts are those of the last axis first."""

    def convert(x: Value, pad: Sequence[Size], value: Any = 0) -> Value:
        if all(one == 0 for one in pad):
            return x
        plain = float(value or 0) if x.type.dtype.is_float else int(value or 0)
        return apply(Pad(*_pads(x, pad), mode, plain), x)  # type: ignore[arg-type]

    return convert


_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def pad(x: Value, counts: Sequence[Size], mode: str = "constant", value: Any = None) -> Value:
    """Padding in one of PyTorch's modes."""
    return padded(_MODES[mode])(x, counts, value)


def diagonal(x: Value, offset: int = 0, first: int = 0, second: int = 1) -> Value:
    """A diagonal of two axes, as the last axis."""
    return diagonal_of(x, axis_of(first, x.type.rank), axis_of(second, x.type.rank), offset)


def as_strided(x: Value, size: Sequence[Size], stride: Sequence[Size], offset: Size | None = None) -> Value:
    """Elements of x, laid out row by row, at the places that the strides name."""
    numbers = [one for one in (*size, *stride, offset or 0) if isinstance(one, int)]
    if len(numbers) != len(size) + len(stride) + 1:
        raise UnsupportedError("as_strided over sizes that are not known", remedy="use view, unfold or slices")
    counts, steps, start = numbers[: len(size)], numbers[len(size) : -1], numbers[-1]
    places = np.full(counts, start, np.int64)
    for axis, (count, step) in enumerate(zip(counts, steps, strict=True)):
        places += (np.arange(count) * step).reshape(-1, *(1,) * (len(counts) - 1 - axis))
    return apply(Gather(0), reshaped(x, (x.type.size,)), Constant(Tensor(places))())


def unfold(x: Value, axis: int, size: int, step: int) -> Value:
    """Windows of an axis, their places as a new last axis."""
    axis = axis_of(axis, max(1, x.type.rank))
    count = (x.type.shape[axis] - size) // step + 1
    if isinstance(count, int):
        places = constant((np.arange(count) * step)[:, None] + np.arange(size))
    else:
        places = apply(Add(), reshaped(Iota(0, step, count)(), (count, 1)), constant(np.arange(size)))
    windows = apply(Gather(axis), x, places)
    return movedim(windows, axis + 1, -1)


def broadcast_tensors(tensors: Sequence[Value]) -> list[Value]:
    """All in the shape that they broadcast to."""
    shape = broadcast_shapes(*(one.type.shape for one in tensors))
    return [expand(one, shape) for one in tensors]


def meshgrid(tensors: Sequence[Value], *, indexing: str = "ij") -> list[Value]:
    """Each vector along an axis of its own, all in one shape."""
    order = list(tensors)
    if indexing == "xy" and len(order) > 1:
        order[0], order[1] = order[1], order[0]
    rank = len(order)
    wide = [reshaped(one, tuple(one.type.size if a == at else 1 for a in range(rank))) for at, one in enumerate(order)]
    found = broadcast_tensors(wide)
    if indexing == "xy" and rank > 1:
        found[0], found[1] = found[1], found[0]
    return found


def pixel_shuffle(x: Value, factor: int) -> Value:
    """Channels to blocks of pixels."""
    *outer, channels, height, width = x.type.shape
    depth = channels // (factor * factor)
    wide = reshaped(x, (*outer, depth, factor, factor, height, width))
    n = len(outer)
    moved = transposed(wide, (*range(n + 1), n + 3, n + 1, n + 4, n + 2))
    return reshaped(moved, (*outer, depth, height * factor, width * factor))


def pixel_unshuffle(x: Value, factor: int) -> Value:
    """Blocks of pixels to channels."""
    *outer, channels, height, width = x.type.shape
    n, high, wide = len(outer), height // factor, width // factor
    parted = reshaped(x, (*outer, channels, high, factor, wide, factor))
    moved = transposed(parted, (*range(n + 1), n + 2, n + 4, n + 1, n + 3))
    return reshaped(moved, (*outer, channels * factor * factor, high, wide))


def channel_shuffle(x: Value, groups: int) -> Value:
    """Channels of the groups dealt out in turn."""
    batch, channels, *rest = x.type.shape
    wide = reshaped(x, (batch, groups, channels // groups, *rest))
    return reshaped(transpose(wide, 1, 2), x.type.shape)


TABLE: Mapping[str, Callable[..., Any]] = {
    "view.default": view,
    "_unsafe_view": view,
    "reshape": view,
    "view_copy": view,
    "view_as": like(view),
    "reshape_as": like(view),
    "flatten.using_ints": flatten,
    "unflatten.int": unflatten,
    "permute": permute,
    "transpose.int": transpose,
    "swapaxes": transpose,
    "swapdims": transpose,
    "t": matrix_transpose,
    "numpy_T": all_transposed,
    "mT": lambda x: transpose(x, -2, -1),
    "movedim": movedim,
    "expand": expand,
    "expand_as": like(expand),
    "broadcast_to": expand,
    "squeeze": squeeze,
    "unsqueeze": unsqueeze,
    "select.int": select,
    "slice.Tensor": cut,
    "narrow": narrow,
    "flip": flip,
    "roll": roll,
    "cat": cat,
    "concat": cat,
    "stack": stack,
    "split_with_sizes": split_with_sizes,
    "split.Tensor": split,
    "split.sizes": split,
    "chunk": chunk,
    "unbind.int": unbind,
    "repeat": repeat,
    "tile": tile,
    "repeat_interleave.self_int": repeat_interleave,
    "constant_pad_nd": padded("constant"),
    **{f"reflection_pad{n}d": padded("reflect") for n in (1, 2, 3)},
    **{f"replication_pad{n}d": padded("edge") for n in (1, 2, 3)},
    "pad": pad,
    "diagonal": diagonal,
    "as_strided": as_strided,
    "unfold": unfold,
    "broadcast_tensors": broadcast_tensors,
    "meshgrid": meshgrid,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "channel_shuffle": channel_shuffle,
}
