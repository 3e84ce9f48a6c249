"""Movement whose sizes only the data decide: each takes as tensors what its namesake holds as attributes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tenfold.ir.dim import Size
from tenfold.ir.graph import Graph
from tenfold.ir.op import Array, Op
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type, unknown_size
from tenfold.ops.control import escaped, visible_symbols
from tenfold.ops.movement import Pad

if TYPE_CHECKING:
    from tenfold.ir.interpret import Interpreter


class Deferred(Op):
    """A graph whose sizes follow from the contents of its small integer inputs, run once these are known.

    Their entries in the graph are symbols of its own; a size that depends on one is unknown outside.
    """

    body: Graph

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """The body's types as seen from outside."""
        if len(self.body.inputs) != len(inputs):
            raise ValueError(f"its graph takes {len(self.body.inputs)} inputs, and {len(inputs)} are given")
        outer = visible_symbols(*inputs)
        types = (value.type for value in self.body.outputs)
        return tuple(Type(one.dtype, escaped(one.shape, outer)) for one in types)

    def run(self, interpreter: Interpreter, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Run the body."""
        return interpreter.call(self.body, inputs)


class DynamicReshape(Op):
    """x under the shape that an integer tensor holds.

    -1 stands for what is left, 0 for x's size at that axis unless `allow_zero`.
    """

    allow_zero: bool = False

    def infer(self, x: Type, shape: Type) -> Type:
        """As many unknown sizes as the shape has elements."""
        return Type(x.dtype, unknown_shape(element_count(shape, "the shape of a Reshape")))

    def evaluate(self, x: Array, shape: Array) -> Array:
        """NumPy's reshape."""
        sizes = [int(size) for size in shape]
        if not self.allow_zero:
            sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
        return x.reshape(sizes)


class DynamicExpand(Op):
    """x broadcast together with the shape that an integer tensor holds."""

    def infer(self, x: Type, shape: Type) -> Type:
        """Unknown sizes, as many as the longer of the two shapes has."""
        return Type(x.dtype, unknown_shape(max(x.rank, element_count(shape, "the shape of an Expand"))))

    def evaluate(self, x: Array, shape: Array) -> Array:
        """NumPy's broadcast_to."""
        return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(int(size) for size in shape)))


class DynamicSlice(Op):
    """Inputs x, starts, ends, steps: along axis `axes[i]`, the elements from starts[i] to before ends[i].

    Starts and ends count from the end where they are negative, and are clamped to the axis.
    """

    axes: tuple[int, ...]

    def infer(self, x: Type, starts: Type, ends: Type, steps: Type) -> Type:
        """Unknown sizes along the sliced axes."""
        shape = (unknown_size() if axis in self.axes else size for axis, size in enumerate(x.shape))
        return Type(x.dtype, tuple(shape))

    def evaluate(self, x: Array, starts: Array, ends: Array, steps: Array) -> Array:
        """Python's slices."""
        cuts = [slice(None)] * x.ndim
        for axis, start, end, step in zip(self.axes, starts, ends, steps, strict=True):
            size = x.shape[axis]
            last = None if step < 0 and end < -size else int(end)
            cuts[axis] = slice(int(start), last, int(step))
        return x[tuple(cuts)]


class DynamicTile(Op):
    """x laid side by side as often along each axis as an integer tensor says."""

    def infer(self, x: Type, repeats: Type) -> Type:
        """Unknown sizes."""
        return Type(x.dtype, unknown_shape(x.rank))

    def evaluate(self, x: Array, repeats: Array) -> Array:
        """NumPy's tile."""
        return np.tile(x, tuple(int(count) for count in repeats))


class DynamicPad(Op):
    """Inputs x and counts (for `axes`, first all those before, then all those after); otherwise as Pad."""

    axes: tuple[int, ...]
    mode: str = "constant"
    value: float | int = 0

    def infer(self, x: Type, counts: Type) -> Type:
        """Unknown sizes along the padded axes."""
        shape = (unknown_size() if axis in self.axes else size for axis, size in enumerate(x.shape))
        return Type(x.dtype, tuple(shape))

    def evaluate(self, x: Array, counts: Array) -> Array:
        """Pad, with the counts it is given."""
        before, after = [0] * x.ndim, [0] * x.ndim
        for position, axis in enumerate(self.axes):
            before[axis] = int(counts[position])
            after[axis] = int(counts[len(self.axes) + position])
        return Pad(tuple(before), tuple(after), self.mode, self.value).evaluate(x)  # type: ignore[arg-type]


class DynamicFill(Op):
    """A tensor of one value under the shape that an integer tensor holds."""

    value: Tensor

    def infer(self, shape: Type) -> Type:
        """As many unknown sizes as the shape has elements."""
        return Type(self.value.dtype, unknown_shape(element_count(shape, "the shape of a ConstantOfShape")))

    def evaluate(self, shape: Array) -> Array:
        """NumPy's full."""
        return np.full(tuple(int(size) for size in shape), self.value.array.item(), dtype=self.value.dtype.numpy)


class DynamicRange(Op):
    """start, start + step, … before limit: three scalars of one type."""

    def infer(self, start: Type, limit: Type, step: Type) -> Type:
        """Only the data decide the count."""
        if not start.dtype == limit.dtype == step.dtype:
            raise ValueError(f"a range from {start.dtype} to {limit.dtype} by {step.dtype}")
        return Type(start.dtype, (unknown_size(),))

    def evaluate(self, start: Array, limit: Array, step: Array) -> Array:
        """Each element is start + i * step, rounded once."""
        first, end, stride = start.item(), limit.item(), step.item()
        count = max(0, math.ceil((end - first) / stride))
        sequence: Array = (first + np.arange(count) * stride).astype(start.dtype)
        return sequence


def unknown_shape(rank: int) -> tuple[Size, ...]:
    """That many new unknown sizes."""
    return tuple(unknown_size() for _ in range(rank))


def element_count(shape: Type, what: str) -> int:
    """How many elements a one-axis tensor has; ValueError if that is not known."""
    if shape.rank != 1 or not isinstance(shape.shape[0], int):
        raise ValueError(f"{what} must be a tensor of one axis of known size, not {shape}")
    return shape.shape[0]


class Head(Op):
    """The first elements of x along its first axis, as many as a number says: what was filled of a buffer.

    It takes no copy: where kernels run, the number is read back, and the rest of the call is laid out for it.
    """

    def infer(self, x: Type, count: Type) -> Type:
        """Only the data decide the count."""
        if not x.rank or count.rank or not count.dtype.is_integer:
            raise ValueError(f"Head takes a tensor with an axis and a whole number, not {x} and {count}")
        return Type(x.dtype, (unknown_size(), *x.shape[1:]))

    def evaluate(self, x: Array, count: Array) -> Array:
        """NumPy's slice."""
        return x[: int(count)]


class Known(Op):
    """x, a few integers that only the data decide: they are read back, and sizes may follow from them."""

    deterministic: ClassVar[bool] = False

    def infer(self, x: Type) -> Type:
        """The same type, every element a number of its own."""
        if not isinstance(x.size, int):
            raise ValueError(f"Known takes a tensor of known size, not {x}")
        return Type(x.dtype, x.shape).with_entries(tuple(unknown_size(None) for _ in range(x.size)))

    def evaluate(self, x: Array) -> Array:
        """The input itself."""
        return x
