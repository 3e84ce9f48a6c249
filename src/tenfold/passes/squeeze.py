"""Squeeze and excitation without reading images again: what squeezes is told, what excites is multiplied on the way.

A convolution of one channel a group has whole lines of a channel at hand, and tells their sums in f32, of which the
mean of an image is made. A convolution of one tap multiplies its weights by an image's numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ops.arithmetic import Mul
from tenfold.ops.constant import Constant, scalar
from tenfold.ops.conv import Conv, Gated, plain
from tenfold.ops.logic import Cast
from tenfold.ops.moments import LineSums
from tenfold.ops.movement import Reshape
from tenfold.ops.reduce import Reduce
from tenfold.passes.merge import adopt
from tenfold.rewrite.pattern import maker, used_once
from tenfold.rewrite.pipeline import Pass
from tenfold.rewrite.rule import Steps

FEWEST, MOST = 2048, 192
"""Pixels of gated images at least, and channels at most: with fewer or more, a product that gathers costs more than the
image that it saves.
"""
PIXELS = 8
"""Pixels of a single image to an output at least: weights that one thread multiplies the others read from its cache."""
FEW = 4
"""So few channels lie plane by plane on CPUs: pixels are the lanes, and no line's sum is at hand."""


@dataclass(frozen=True)
class MeansTold(Pass):
    """Means over all places of images in `dtype` that convolutions of one channel a group make; if `alone`, of single
    images of more than `FEW` channels that something else reads, too.
    """

    name: str = "means of told sums"
    dtype: DType = dt.f16
    alone: bool = False

    def run(self, graph: Graph, steps: Steps) -> None:
        """Rewrite every such mean."""
        if steps.exhausted:
            return
        for node in graph.nodes:
            if self._fits(node):
                found = _mean(node)
                adopt(found, node.source)
                graph.replace_uses(node.output, found)

    def _fits(self, node: Node) -> bool:
        op = node.op
        if not isinstance(op, Reduce) or op.kind != "mean" or node.inputs[0].type.dtype is not self.dtype:
            return False
        x = node.inputs[0]
        places = range(2, x.type.rank)
        known = all(isinstance(x.type.shape[axis], int) for axis in places)
        if self.alone and (
            x.type.rank != 4 or x.type.shape[0] != 1 or x.type.shape[1] in range(FEW + 1) or used_once(x)
        ):
            return False
        return known and len(places) > 1 and sorted(op.axes) == list(places) and _is_channelwise(x)


@dataclass(frozen=True)
class GatesTaken(Pass):
    """Images in `dtype` times one number a channel, where a convolution of one tap is all that reads them; if `alone`,
    single images of many more pixels than the convolution has outputs: its weights are multiplied before it.
    """

    name: str = "gates of convolutions"
    dtype: DType = dt.f16
    alone: bool = False

    def run(self, graph: Graph, steps: Steps) -> None:
        """Rewrite every such product."""
        if steps.exhausted:
            return
        for node in graph.nodes:
            if (pair := self._gate(node)) is not None:
                found = Gated()(pair[0], node.inputs[1], pair[1])
                before = node.inputs[0].producer
                adopt(found, (*(before.source if before else ()), *node.source))
                graph.replace_uses(node.output, found)

    def _gate(self, node: Node) -> tuple[Value, Value] | None:
        """What is multiplied, and by what."""
        if not isinstance(node.op, Conv) or node.op != plain(node.output.type.rank):
            return None
        product, w = node.inputs
        channels, *taps = w.type.shape[1:]
        if not isinstance(product.op, Mul) or not isinstance(w.op, Constant) or any(size != 1 for size in taps):
            return None
        pixels, outputs = dim.product(product.type.shape[2:]), w.type.shape[0]
        if self.alone:
            pays = product.type.shape[0] == 1 and dim.known_le(PIXELS * outputs, pixels)
        else:
            pays = dim.known_le(channels, MOST) and dim.known_le(FEWEST, pixels)
        if product.type.dtype is not self.dtype or not used_once(product) or not pays:
            return None
        gates = (*product.type.shape[:2], *(1 for _ in taps))
        for x, gate in (product.inputs, product.inputs[::-1]):
            if gate.type.shape == gates and x.type.shape == product.type.shape != gates:
                return x, gate
        return None


def _is_channelwise(x: Value) -> bool:
    """Whether x is made of a convolution of one channel a group, point by point."""
    made = maker(x, Conv)
    if made is None or not isinstance(made.op, Conv):
        return False
    return made.op.groups == made.type.shape[1] == made.inputs[0].type.shape[1]


def _mean(node: Node) -> Value:
    x = node.inputs[0]
    told = LineSums()(x)
    lines = tuple(range(1, told.type.rank - 1))
    total = Reduce("sum", lines, False)(told)
    count = math.prod(size for size in x.type.shape[2:] if isinstance(size, int))
    mean = Mul()(total, scalar(1 / count, dt.f32)())
    if x.type.dtype is not dt.f32:
        mean = Cast(x.type.dtype)(mean)
    result: Value = Reshape(node.output.type.shape)(mean)
    return result
