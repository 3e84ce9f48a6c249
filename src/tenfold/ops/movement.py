"""Operations that place elements anew and compute nothing."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np

from tenfold.ir import dim
from tenfold.ir.dim import Dim, Size
from tenfold.ir.op import Array, Cost, Op
from tenfold.ir.type import ENTRIES_LIMIT, Type
from tenfold.ops.elementwise import broadcast_shapes
from tenfold.ops.window import known


class Movement(Op):
    """An operation whose cost is its traffic alone."""

    def cost(self, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Cost:
        """Every output element read once and written once."""
        return Cost(0, 2 * sum((t.size * t.dtype.itemsize for t in outputs), start=0))


class Reshape(Movement):
    """The same elements in row-major order under another shape of as many elements."""

    shape: tuple[Size, ...]

    def infer(self, x: Type) -> Type:
        """The stated shape; ValueError if the counts can never agree."""
        result = Type(x.dtype, self.shape)
        if isinstance(x.size, int) and isinstance(result.size, int) and x.size != result.size:
            raise ValueError(f"{x.size} elements of shape {_shown(x.shape)} do not fit the shape {_shown(self.shape)}")
        return result.with_entries(x.entries)

    def evaluate(self, x: Array) -> Array:
        """NumPy's reshape."""
        return x.reshape(known(self.shape))


class Transpose(Movement):
    """Axis i of the result is axis `permutation[i]` of the input."""

    permutation: tuple[int, ...]

    def infer(self, x: Type) -> Type:
        """The sizes, permuted."""
        if sorted(self.permutation) != list(range(x.rank)):
            raise ValueError(f"{self.permutation} is no permutation of the axes of a tensor of rank {x.rank}")
        result = Type(x.dtype, tuple(x.shape[axis] for axis in self.permutation))
        return _moved(self, result, x)

    def evaluate(self, x: Array) -> Array:
        """NumPy's transpose."""
        return np.transpose(x, self.permutation)


class Expand(Movement):
    """The input repeated along axes of size 1 (or missing ones) to `shape`, which the input broadcasts to."""

    shape: tuple[Size, ...]

    def infer(self, x: Type) -> Type:
        """The stated shape; ValueError if the input can never broadcast to it."""
        result = broadcast_shapes(x.shape, self.shape)
        if len(result) != len(self.shape) or any(_differ(a, b) for a, b in zip(result, self.shape, strict=True)):
            raise ValueError(f"shape {_shown(x.shape)} does not broadcast to {_shown(self.shape)}")
        return _moved(self, Type(x.dtype, self.shape), x)

    def evaluate(self, x: Array) -> Array:
        """NumPy's broadcast_to."""
        return np.broadcast_to(x, known(self.shape))


class Slice(Movement):
    """Along each axis, `sizes[axis]` elements from `starts[axis]` on, `steps[axis]` apart (negative: backwards).

    All starts and sizes are already clamped to the input.
    """

    starts: tuple[Size, ...]
    sizes: tuple[Size, ...]
    steps: tuple[int, ...]

    def infer(self, x: Type) -> Type:
        """The stated sizes."""
        if not len(self.starts) == len(self.sizes) == len(self.steps) == x.rank or 0 in self.steps:
            raise ValueError(f"Slice states {len(self.steps)} steps {self.steps} for a tensor of rank {x.rank}")
        for axis, (start, size, step) in enumerate(zip(self.starts, self.sizes, self.steps, strict=True)):
            last, whole = start + (size - 1) * step, x.shape[axis]
            if isinstance(size, int) and size > 0 and any(_outside(place, whole) for place in (start, last)):
                raise ValueError(f"elements {start} to {last} of axis {axis}, whose size is {whole}")
        return _moved(self, Type(x.dtype, self.sizes), x)

    def evaluate(self, x: Array) -> Array:
        """One index list an axis."""
        starts, sizes = known(self.starts), known(self.sizes)
        for axis, (start, size, step) in enumerate(zip(starts, sizes, self.steps, strict=True)):
            x = np.take(x, start + step * np.arange(size), axis=axis)
        return x


class Concat(Movement):
    """The inputs one after another along an axis; their other sizes agree."""

    axis: int

    def infer(self, *inputs: Type) -> Type:
        """The sizes along the axis added."""
        first = inputs[0]
        if any(t.rank != first.rank or t.dtype != first.dtype for t in inputs) or not 0 <= self.axis < first.rank:
            raise ValueError(f"Concat along axis {self.axis} of {', '.join(map(str, inputs))}")
        shape = [_agreed(axis, [t.shape[axis] for t in inputs]) for axis in range(first.rank) if axis != self.axis]
        total = sum((t.shape[self.axis] for t in inputs), start=0)
        return _moved(self, Type(first.dtype, (*shape[: self.axis], total, *shape[self.axis :])), *inputs)

    def evaluate(self, *inputs: Array) -> Array:
        """NumPy's concatenate."""
        return np.concatenate(inputs, axis=self.axis)


class Append(Movement):
    """A buffer whose elements from `start` on along an axis are replaced by the second input."""

    axis: int
    start: Size

    def infer(self, x: Type, rows: Type) -> Type:
        """The buffer's type; ValueError if the other sizes differ."""
        others = [axis for axis in range(x.rank) if axis != self.axis]
        alike = x.rank == rows.rank and x.dtype == rows.dtype and 0 <= self.axis < x.rank
        if not alike or any(_differ(x.shape[axis], rows.shape[axis]) for axis in others):
            raise ValueError(f"Append of {rows} to {x} along axis {self.axis}")
        return Type(x.dtype, x.shape)

    def evaluate(self, x: Array, rows: Array) -> Array:
        """The definition."""
        (start,) = known((self.start,))
        result = x.copy()
        np.moveaxis(result, self.axis, 0)[start : start + rows.shape[self.axis]] = np.moveaxis(rows, self.axis, 0)
        return result

    def cost(self, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Cost:
        """The new elements, read and written."""
        return Cost(0, 2 * inputs[1].size * inputs[1].dtype.itemsize)


class Split(Movement):
    """Consecutive pieces along an axis: one output for each of `sizes`."""

    axis: int
    sizes: tuple[Size, ...]

    def infer(self, x: Type) -> tuple[Type, ...]:
        """The input's sizes with the axis replaced."""
        if not 0 <= self.axis < x.rank:
            raise ValueError(f"Split along axis {self.axis} of a tensor of rank {x.rank}")
        if _differ(sum(self.sizes, start=0), x.shape[self.axis]):
            raise ValueError(f"pieces of {_shown(self.sizes)} of axis {self.axis}, whose size is {x.shape[self.axis]}")
        types = []
        start: Size = 0
        for size in self.sizes:
            starts = tuple(start if axis == self.axis else 0 for axis in range(x.rank))
            sizes = tuple(size if axis == self.axis else full for axis, full in enumerate(x.shape))
            types.append(Slice(starts, sizes, (1,) * x.rank).infer(x))
            start = start + size
        return tuple(types)

    def evaluate(self, x: Array) -> tuple[Array, ...]:
        """NumPy's split."""
        cuts = list(itertools.accumulate(known(self.sizes)))[:-1]
        return tuple(np.split(x, cuts, axis=self.axis))


class Pad(Movement):
    """`before` and `after` elements added at the ends of each axis; negative counts take elements away.

    The new elements are `value` (constant), the mirror image without or with the last element (reflect,
    symmetric), the last element (edge), or the other end (wrap). `value` is of the input's type.
    """

    before: tuple[Size, ...]
    after: tuple[Size, ...]
    mode: Literal["constant", "reflect", "symmetric", "edge", "wrap"] = "constant"
    value: float | int | str = 0

    def infer(self, x: Type) -> Type:
        """Each size with both counts added; ValueError if one is negative, or if new elements have none to repeat."""
        if not len(self.before) == len(self.after) == x.rank:
            raise ValueError(f"Pad states {len(self.before)} axes for a tensor of rank {x.rank}")
        counts = zip(x.shape, self.before, self.after, strict=True)
        shape = tuple(size + before + after for size, before, after in counts)
        if any(isinstance(size, int) and size < 0 for size in shape):
            raise ValueError(f"Pad makes the shape {_shown(shape)} of {_shown(x.shape)}")
        if any(one == 0 for one in self.keeps(x)):
            raise ValueError(
                f"Pad ({self.mode}) by {_shown(self.before)} and {_shown(self.after)} leaves nothing of {x}"
            )
        result = Type(x.dtype, shape)
        return _moved(self, result, x) if isinstance(self.value, int) else result

    def keeps(self, x: Type) -> list[Size]:
        """For each axis whether negative counts leave no less than nothing, and an element where others repeat it."""
        found = []
        for size, *counts in zip(x.shape, self.before, self.after, strict=True):
            less, more = (dim.total(most(0, count) for count in counts) for most in (dim.minimum, dim.maximum))
            least = 0 if self.mode == "constant" else dim.minimum(more, 1)
            found.append(dim.less_equal(least, size + less))
        return found

    def evaluate(self, x: Array) -> Array:
        """NumPy's pad, after what negative counts take away."""
        if x.ndim == 0:
            return x
        before, after = known(self.before), known(self.after)
        kept = zip(x.shape, before, after, strict=True)
        x = x[tuple(slice(max(0, -low), size - max(0, -high)) for size, low, high in kept)]
        widths = [(max(0, low), max(0, high)) for low, high in zip(before, after, strict=True)]
        if self.mode == "constant":
            return np.pad(x, widths, constant_values=np.array(self.value).astype(x.dtype))
        return np.pad(x, widths, mode=self.mode)


class Tile(Movement):
    """The input laid side by side `repeats[axis]` times along each axis."""

    repeats: tuple[Size, ...]

    def infer(self, x: Type) -> Type:
        """Each size multiplied."""
        if len(self.repeats) != x.rank:
            raise ValueError(f"Tile states {len(self.repeats)} repeats for a tensor of rank {x.rank}")
        shape = tuple(size * count for size, count in zip(x.shape, self.repeats, strict=True))
        return _moved(self, Type(x.dtype, shape), x)

    def evaluate(self, x: Array) -> Array:
        """NumPy's tile."""
        return np.tile(x, known(self.repeats))


class SpaceToDepth(Movement):
    """x[N, C, H, W] to [N, block * block * C, H / block, W / block].

    The block's axes lie before the channels (DCR) or after them (CRD).
    """

    block: int
    mode: Literal["DCR", "CRD"] = "DCR"

    def infer(self, x: Type) -> Type:
        """Sizes as stated; ValueError unless the block divides them."""
        batch, channels, height, width = _four(x, self.name)
        if self.block < 1 or any(isinstance(size, int) and size % self.block for size in (height, width)):
            raise ValueError(f"blocks of {self.block} of an image of {height} x {width}")
        return Type(x.dtype, (batch, channels * self.block**2, height // self.block, width // self.block))

    def evaluate(self, x: Array) -> Array:
        """Split both axes, move the block's axes beside the channels."""
        n, c, h, w = x.shape
        parted = x.reshape(n, c, h // self.block, self.block, w // self.block, self.block)
        order = (0, 3, 5, 1, 2, 4) if self.mode == "DCR" else (0, 1, 3, 5, 2, 4)
        return parted.transpose(order).reshape(n, c * self.block**2, h // self.block, w // self.block)


class DepthToSpace(Movement):
    """x[N, C, H, W] to [N, C / (block * block), H * block, W * block].

    The block's axes lie before the depth in the channels (DCR) or after it (CRD).
    """

    block: int
    mode: Literal["DCR", "CRD"] = "DCR"

    def infer(self, x: Type) -> Type:
        """Sizes as stated; ValueError unless the block's area divides the channels."""
        batch, channels, height, width = _four(x, self.name)
        if self.block < 1 or (isinstance(channels, int) and channels % self.block**2):
            raise ValueError(f"{channels} channels are no multiple of {self.block} * {self.block}")
        return Type(x.dtype, (batch, channels // self.block**2, height * self.block, width * self.block))

    def evaluate(self, x: Array) -> Array:
        """Split the channels, move the block's axes beside height and width."""
        n, c, h, w = x.shape
        depth = c // self.block**2
        parts = (self.block, self.block, depth) if self.mode == "DCR" else (depth, self.block, self.block)
        order = (0, 3, 4, 1, 5, 2) if self.mode == "DCR" else (0, 1, 4, 2, 5, 3)
        return x.reshape(n, *parts, h, w).transpose(order).reshape(n, depth, h * self.block, w * self.block)


def _moved(op: Op, result: Type, *inputs: Type) -> Type:
    """`result` with entries, found by moving the inputs' entries as `evaluate` moves elements."""
    count = result.size
    static = not any(isinstance(one, Dim) for field in op.attributes.values() for one in _items(field))
    static = static and all(one.is_static for one in inputs)
    if not static or not isinstance(count, int) or count > ENTRIES_LIMIT or any(t.entries is None for t in inputs):
        return result
    pool = [entry for t in inputs for entry in t.entries or ()]
    offsets = itertools.accumulate((len(t.entries or ()) for t in inputs), initial=0)
    labels = [
        np.arange(at, at + len(t.entries or ())).reshape(known(t.shape)) for at, t in zip(offsets, inputs, strict=False)
    ]
    if isinstance(op, Pad) and op.mode == "constant":
        pool.append(op.value)  # type: ignore[arg-type]
        op = Pad(op.before, op.after, value=len(pool) - 1)
    (moved,) = op.results(tuple(labels))
    return result.with_entries(tuple(pool[int(label)] for label in moved.ravel()))


def _items(field: object) -> tuple[object, ...]:
    return field if isinstance(field, tuple) else (field,)


def _outside(place: Size, size: Size) -> bool:
    return isinstance(place, int) and isinstance(size, int) and not 0 <= place < size


def _differ(a: Size, b: Size) -> bool:
    return isinstance(a, int) and isinstance(b, int) and a != b


def _agreed(axis: int, sizes: list[Size]) -> Size:
    known = [size for size in sizes if isinstance(size, int)]
    if len(set(known)) > 1:
        raise ValueError(f"Concat of sizes {known} along axis {axis}, which must agree")
    return known[0] if known else sizes[0]


def _four(x: Type, name: str) -> tuple[Size, Size, Size, Size]:
    if x.rank != 4:
        raise ValueError(f"{name} takes an input of rank 4, not {x}")
    return x.shape[0], x.shape[1], x.shape[2], x.shape[3]


def _shown(shape: tuple[Size, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
