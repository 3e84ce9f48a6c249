"""Transposed convolution by phases of the stride, for every target: one contraction for each, its taps walking back.

Output place o of an axis gets x[i] w[k] for o + padding = i * stride + k * dilation. Places of equal
(o + padding) % stride form a phase: they see the same taps, each tap one step further back in x.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tenfold.codegen.region import Anchored, Operand
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.op import Op
from tenfold.ops.conv import ConvTranspose
from tenfold.ops.movement import Pad, Reshape


@dataclass(frozen=True)
class Phase:
    """Along one axis: the places `first`, first + stride, … of the result, `count` of them, which see the taps `tap`,
    tap + `apart`, … (`taps`, 0: none). Tap number t of place number q reads x at q + t * dilation - padding.
    """

    first: int
    count: Size
    tap: int
    apart: int
    taps: int
    dilation: int
    padding: int


def _along(size: Size, kernel_size: int, stride: int, dilation: int, before: int) -> list[Phase]:
    shared = math.gcd(stride, dilation)
    apart = stride // shared
    found = []
    for phase in range(stride):
        first = (phase - before) % stride
        seen = [k for k in range(kernel_size) if k * dilation % stride == phase]
        tap = seen[0] if seen else 0
        padding = (tap * dilation - phase) // stride - (first + before) // stride if seen else 0
        count = dim.maximum(0, dim.ceildiv(size - first, stride))
        found.append(Phase(first, count, tap, apart, len(seen), -(dilation // shared), padding))
    return found


def shifted(operand: Operand, phases: Sequence[Phase]) -> Operand:
    """The operand from the phase's first place on."""
    offset = operand.offset
    for phase, stride in zip(phases, operand.strides[2:], strict=True):
        offset = offset + phase.first * stride
    return replace(operand, offset=offset)


def taps_of(shape: Sequence[int], phases: Sequence[Phase]) -> list[Op]:
    """Operations that keep a phase's taps of weights of this shape; one tap of zeros where it sees none."""
    found: list[Op] = []
    now = list(shape)
    for axis, phase in enumerate(phases, start=3):
        size = now[axis]
        if phase.taps == 0:
            found += [_cut(now, axis, 0, -size), _cut([*now[:axis], 0, *now[axis + 1 :]], axis, 0, 1)]
            now[axis] = 1
            continue
        found.append(_cut(now, axis, -phase.tap, phase.taps * phase.apart - size + phase.tap))
        now[axis : axis + 1] = [phase.taps, phase.apart]
        found += [Reshape(tuple(now)), _cut(now, axis + 1, 0, 1 - phase.apart)]
        del now[axis + 1]
        found.append(Reshape(tuple(now)))
    return found


def _cut(shape: Sequence[int], axis: int, before: int, after: int) -> Pad:
    """Add to both ends of an axis, or take away."""
    zeros = [0] * len(shape)
    low, high = list(zeros), list(zeros)
    low[axis], high[axis] = before, after
    return Pad(tuple(low), tuple(high))


def phases_of(region: Anchored) -> Iterator[tuple[Phase, ...]]:
    """The phases of a region of constant weights and padding: one for each axis, all combinations."""
    op, weights = region.anchor, region.inputs[1]
    assert isinstance(op, ConvTranspose)
    taps = [int(size) for size in weights.shape[2:]]  # type: ignore[arg-type]
    before = [int(size) for size in op.pads_before]  # type: ignore[arg-type]
    rows = zip(region.domain[2:], taps, op.strides, op.dilations, before, strict=True)
    return itertools.product(*(_along(*row) for row in rows))
