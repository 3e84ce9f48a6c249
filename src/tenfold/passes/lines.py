"""Images are reduced in two steps, so that threads share lines and not channels.

Channels are adjacent in memory. A thread that sums a share of them reads pieces of every line, and takes what lies
around them from the thread that wrote the line and will write it again.
"""

from __future__ import annotations

from tenfold.ir import dim
from tenfold.ir.graph import Value
from tenfold.ops.conv import Conv
from tenfold.ops.reduce import Reduce
from tenfold.rewrite.pattern import maker
from tenfold.rewrite.rule import Replacement, rule

_LEAST = 4
"""The lines and the pixels of a line that are worth a step of their own."""
_ALIKE = ("sum", "mean", "max", "min")
"""What is the same of lines as of what lines give."""


@rule(
    """graph (%x: f32[1, 4, 6, 6], %w: f32[8, 4, 1, 1]) {
      return Reduce<kind='mean', axes=(2, 3), keepdims=false>(Relu(
        Conv<strides=(1, 1), dilations=(1, 1), pads_before=(0, 0), pads_after=(0, 0)>(%x, %w)))
    }""",
    """graph (%x: f32[1, 4, 6, 6]) { return Reduce<kind='mean', axes=(2, 3), keepdims=true>(Relu(%x)) }""",
)
def image_by_lines(value: Value) -> Replacement:
    """mean(x, (lines, pixels)) -> mean(mean(x, pixels), lines), where x is computed from a convolution"""
    match value:
        case Value(Reduce(kind, axes, keepdims), (x,)) if kind in _ALIKE and sorted(axes) == [2, 3]:
            large = all(dim.known_le(_LEAST, size) for size in x.type.shape[2:])
            if large and x.type.rank == 4 and x.type.dtype.is_float and maker(x, Conv, alone=False):
                return Reduce(kind, (2,), keepdims)(Reduce(kind, (3,), keepdims)(x))
    return None


BY_LINES = (image_by_lines,)
