"""Which chains are a convolution and the greatest of each two or three lines and columns of its results, two apart."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tenfold.codegen.cuda import grid
from tenfold.codegen.cuda.conv import lines
from tenfold.codegen.cuda.conv.shape import Shape, shape_of
from tenfold.codegen.region import Anchored, Body, Chain, Operand, Pointwise, Region, Row, identity
from tenfold.codegen.strategy import Refusal
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ops.activation import Relu
from tenfold.ops.arithmetic import Add, Maximum, Minimum
from tenfold.ops.constant import Constant
from tenfold.ops.logic import Cast

_STEPS = 16
"""Groups of 16 terms that stay in registers at most."""
_RISING = (Add, Relu, Cast, Maximum, Minimum, Constant)
"""What gives more for more: the greatest may be found before or after it."""


@dataclass(frozen=True)
class Plan:
    """A convolution whose results `pool` takes the greatest of: `taps` of them, two apart, from `pads` before on; by
    groups of lines.
    """

    region: Anchored
    shape: Shape
    output: Operand
    taps: int
    pads: tuple[int, int]
    span: int

    @property
    def groups(self) -> int:
        """Groups of a line of windows."""
        return -(-self.shape.taps[1] * self.span // 16)

    @property
    def step(self) -> int:
        """Groups that a next line of windows has anew."""
        return self.shape.strides[1] * self.span // 16

    @property
    def wide(self) -> int:
        """1 if the greatest is of three."""
        return self.taps - 2

    @property
    def left(self) -> int:
        """Places of an image that are neighbours alone."""
        return int(self.wide and self.pads[1] == 0)

    @property
    def shifts(self) -> tuple[int, int]:
        """By how much the second window of the first place lies further than the first of the convolution."""
        return (self.wide - self.pads[0], self.wide - self.pads[1])

    @property
    def clipped(self) -> bool:
        """Whether the greatest may be of windows beyond the last."""
        pairs = zip(self.output.shape[2:], self.shape.out_sizes[2:], self.shifts, strict=True)
        return not all(isinstance(a, int) and isinstance(b, int) and 2 * a - 1 + c < b for a, b, c in pairs)


def plan_of(region: Region) -> Plan | Refusal:
    """The convolution whose greatest results a chain takes; or why it is none."""
    if not isinstance(region, Chain) or len(region.parts) < 2:
        return Refusal("no chain of regions")
    cast = region.parts[0] if isinstance(region.parts[0], Pointwise) else None
    conv, *fills, pool = region.parts[1 if cast else 0 :]
    shape = shape_of(conv)
    if isinstance(shape, Refusal):
        return shape
    assert isinstance(conv, Anchored)
    image = _image(cast, shape.x) if cast else shape.x
    if image is None:
        return Refusal("an image that is not merely cast")
    taken = lines.refusal(conv, shape)
    if taken:
        return Refusal(taken)
    span = _span(shape)
    if span is None or conv.told or not _rises(conv.body):
        return Refusal("lines of taps that steps do not divide, or a body that may give less for more")
    found = _pool(conv, pool)
    if isinstance(found, Refusal):
        return found
    if any(found[2]) and not fills:
        return Refusal("what lies around the results is written elsewhere")
    root = conv.outputs[0].value
    if not all(_fills(one, root) for one in fills):
        return Refusal("what lies around the results is not the least number")
    made = Plan(conv, replace(shape, x=image), *found, span)
    fits = made.step <= made.groups and made.groups * shape.k <= _STEPS
    return made if fits else Refusal("more terms than registers hold, or lines that no window reads")


def _image(cast: Pointwise, x: Operand) -> Operand | None:
    """What an image is cast from, element by element and as it lies; None if it is made otherwise."""
    if len(cast.inputs) != 1 or len(cast.outputs) != 1 or cast.outputs[0].value is not x.value:
        return None
    (given,), (made,) = cast.inputs, cast.outputs
    alike = all(dim.known_equal(a, b) for a, b in zip(given.strides, made.strides, strict=True))
    plain = [one.op for one in cast.body.code] == [Cast(x.dtype)] and given.dtype in (dt.f32, dt.f16, dt.bf16)
    if not alike or not plain or any(step == 0 for step in made.strides):
        return None
    return replace(x, value=given.value, dtype=given.dtype, offset=x.offset - made.offset + given.offset)


def _span(shape: Shape) -> int | None:
    """Places of a span, so that whole groups of lines are new in the next line of windows."""
    span = grid.power_of_two(shape.taps[2] + lines.before(shape))
    while span <= 16 and shape.strides[1] * span % 16:
        span *= 2
    return span if span <= 16 and shape.dilations[1] == 1 else None


def _rises(body: Body) -> bool:
    """Whether more in the first register never gives less."""
    return all(isinstance(one.op, _RISING) for one in body.code) and len(body.outputs) == 1


def _pool(conv: Anchored, pool: Region) -> tuple[Operand, int, tuple[int, int]] | Refusal:
    """Results as [image, channel, line, place], how many are compared, and what lies before the first."""
    least = isinstance(pool, Row) and pool.reduced == 2 and len(pool.domain) == 6 and pool.body is None
    if not isinstance(pool, Row) or not least or len(pool.inputs) != 1 or len(pool.phases) != 1:
        return Refusal("no greatest of lines and columns")
    (made,), (read,), (phase,) = conv.outputs, pool.inputs, pool.phases
    plain = identity(made.dtype)
    if made.dtype is not conv.inputs[1].dtype or len(made.strides) != 4:
        return Refusal("results of another type than the weights, or along other than two axes")
    if phase.combine != "max" or (phase.body, pool.finish) != (plain, plain) or len(pool.finish_outputs) != 1:
        return Refusal("more than the greatest")
    (n, c, h, w), (out,) = made.strides, pool.finish_outputs
    wanted = (n, h * 2, w * 2, c, h, w)
    same = all(size == 1 or dim.known_equal(a, b) for size, a, b in zip(pool.domain, wanted, read.strides, strict=True))
    taps = pool.domain[5]
    if read.value is not made.value or not same or pool.domain[4] != taps or taps not in (2, 3):
        return Refusal("windows of other than two or three, two apart, of the results before")
    gap = made.offset - read.offset
    if not (isinstance(h, int) and isinstance(w, int) and isinstance(gap, int)) or out.strides[3] != 1:
        return Refusal("lines of unknown length, or channels that lie apart")
    pads = (gap // h, gap % h // w)
    if max(pads) > taps - 2 or gap % h % w:
        return Refusal("windows that begin further before")
    order = (0, 3, 1, 2)
    moved = Operand(
        out.value, out.dtype, tuple(pool.domain[axis] for axis in order), tuple(out.strides[axis] for axis in order),
        out.offset,
    )  # fmt: skip
    return moved, 3 if taps == 3 else 2, pads


def _fills(part: Region, root: object) -> bool:
    """Whether a part writes the least number beside the results, and nothing else."""
    if not isinstance(part, Pointwise) or any(one.value is not root for one in part.outputs):
        return False
    given = [one.value.op for one in part.inputs] + [one.op for one in part.body.code]
    return all(isinstance(one, Constant) and bool(np.all(one.tensor.array == -np.inf)) for one in given)
