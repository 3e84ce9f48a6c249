"""Convolutions by cuDNN: a tactic beside ours, taken only where the clock says so; no engine needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.codegen.cuda.conv import implicit
from tenfold.codegen.cuda.conv.shape import Shape, shape_of
from tenfold.codegen.cuda.ending import ending_of
from tenfold.codegen.cuda.launch import CudaKernel, asked
from tenfold.codegen.region import Anchored, Operand, Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ops.activation import Relu
from tenfold.ops.arithmetic import Add
from tenfold.ops.constant import Constant
from tenfold.ops.conv import Conv
from tenfold.runtime.cuda.product import CONVOLVER, Convolution
from tenfold.target import Target

_ROOM = 32 << 20
_ALGORITHMS = (1,)
_LAST = 2e15
_EVEN = 8


@dataclass(frozen=True)
class _Parts:
    """A convolution as the library has it, and the operands of its call."""

    asked: Convolution
    x: Operand
    w: Operand
    bias: Operand | None
    residual: Operand | None
    to: Operand


class Library:
    """Convolutions of fixed sizes in 16 bits along two axes, channels last, with a bias, a residual and a ReLU."""

    name = CONVOLVER

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """The algorithms that use tensor cores."""
        found = _parts(region)
        if isinstance(found, Refusal):
            return found
        return [Tactic(self.name, (("algorithm", number),)) for number in _ALGORITHMS]

    def guess(self, region: Region, tactic: Tactic, target: Target) -> float:
        """Last of all: what is not measured is not taken."""
        return _LAST

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """A call of the library, then launches of ours in its place where it is not installed."""
        found = _parts(region)
        assert not isinstance(found, Refusal)
        tactics = implicit.STRATEGY.tactics(region, target)
        assert not isinstance(tactics, Refusal)
        first = min(tactics, key=lambda one: implicit.STRATEGY.guess(region, one, target))
        ours = implicit.STRATEGY.build(region, first, target)
        operands = (found.x, found.w, found.bias or found.to, found.residual or found.to, found.to)
        return asked(found.asked, operands, ours, _ROOM)


def _parts(region: Region) -> _Parts | Refusal:
    shape = shape_of(region)
    if isinstance(shape, Refusal):
        return shape
    assert isinstance(region, Anchored) and isinstance(region.anchor, Conv)
    sizes = (*shape.x.shape, *shape.out_sizes)
    if not all(isinstance(size, int) for size in sizes) or shape.x.dtype is dt.f32 or shape.taps[0] > 1:
        return Refusal("no convolution of fixed sizes in 16 bits along two axes")
    if sizes[2] != 1 or region.anchor.pads_before != region.anchor.pads_after:
        return Refusal("it has a third axis, or borders that differ")
    if shape.k % _EVEN or shape.n % _EVEN or not isinstance(shape.w.value.op, Constant):
        return Refusal("channels come not by eights, or weights are computed")
    ending = ending_of(region.body, [_kind(region, one) for one in region.extra], (Add, Relu))
    bare = ending is not None and ending.bias is None and bool(region.body.code)
    if ending is None or bare or len(region.outputs) != 1 or region.told:
        return Refusal("more follows than a bias, a residual and a ReLU")
    bias, residual = (None if one is None else region.extra[one] for one in (ending.bias, ending.residual))
    dense = [(shape.x, (*shape.x.shape[:2], *shape.x.shape[3:]), shape.x.strides[:2] + shape.x.strides[3:])]
    dense += [(one, region.domain, one.strides) for one in (residual, region.outputs[0]) if one is not None]
    if any(one.dtype is not shape.x.dtype or not _is_dense(size, steps) for one, size, steps in dense):
        return Refusal("images do not lie channels last, one behind the other")
    return _Parts(_asked(shape, bias, residual, ending.activation is not None), shape.x, shape.w, bias, residual,
                  region.outputs[0])  # fmt: skip


def _asked(shape: Shape, bias: Operand | None, residual: Operand | None, relu: bool) -> Convolution:
    def pair(values: Sequence[Size]) -> tuple[int, int]:
        return int(values[-2]), int(values[-1])  # type: ignore[arg-type]

    return Convolution(
        shape.x.dtype.name, int(shape.out_sizes[0]), shape.k * shape.groups, shape.n * shape.groups, shape.groups,  # type: ignore[arg-type]
        pair(shape.x.shape), pair(shape.out_sizes), pair(shape.taps), pair(shape.strides), pair(shape.dilations),
        pair(shape.pads), bias is not None, residual is not None, relu, _ALGORITHMS[0], _ROOM,
    )  # fmt: skip


def _is_dense(sizes: Sequence[Size], strides: Sequence[Size]) -> bool:
    """Whether images, channels, lines and pixels lie as images, lines, pixels, channels; an axis of 1 anywhere."""
    step: Size = 1
    for axis in (1, 3, 2, 0) if len(sizes) == 4 else (1, 2, 0):
        if sizes[axis] != 1 and strides[axis] != step:
            return False
        step = step * sizes[axis]
    return True


def _kind(region: Anchored, operand: Operand) -> str:
    """What adding an operand is."""
    if operand.dtype is not region.inputs[0].dtype:
        return ""
    is_row = operand.strides[1] == 1 and not any(operand.strides[:1] + operand.strides[2:])
    return "bias" if is_row else "residual"


STRATEGY = Library()
