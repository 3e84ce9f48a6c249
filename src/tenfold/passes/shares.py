"""Wide images between an expanding convolution and one channel by channel: some channels at a time.

What a 1x1 convolution makes of few channels may be far more than the second caches hold, and is read once, by a
convolution that sees each channel by itself. A share of the channels is read sooner, and each share lies in the memory
of the one before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tenfold.ir.graph import Graph, Node, Value
from tenfold.ops.constant import Constant
from tenfold.ops.conv import Conv
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.movement import Concat, Slice
from tenfold.passes.merge import adopt
from tenfold.rewrite.pattern import used_once
from tenfold.rewrite.pipeline import Pass
from tenfold.rewrite.rule import Steps

_RANK = 4
"""The axes of images: images, channels, lines, pixels."""
_VECTOR = 16
"""Channels come in multiples of so many."""


@dataclass(frozen=True)
class ShareChannels(Pass):
    """f(d(g(x * w))) -> f(d(g(x * a))), f(d(g(x * b))), … side by side, where w is [a b …]: as few shares as keep each
    x * a within `most` bytes an image; every sum keeps its terms and their order.
    """

    most: int = 1 << 21
    name: str = "share channels"

    def run(self, graph: Graph, steps: Steps) -> None:
        """Divide every such pair in the graph."""
        if steps.exhausted:
            return
        for first, end in list(_pairs(graph)):
            shares = self._shares(first)
            if shares > 1:
                source = tuple(name for one in (first, end.producer) if one for name in one.source)
                whole = Concat(1)(*(_share(end, first, number, shares) for number in range(shares)))
                adopt(whole, source)
                graph.replace_uses(end, whole)

    def _shares(self, node: Node) -> int:
        """How many shares keep the limit, each of whole vectors; 1 if none do."""
        sizes = [size for size in node.output.type.shape[1:] if isinstance(size, int)]
        if len(sizes) != _RANK - 1:
            return 1
        channels, nbytes = sizes[0], math.prod(sizes) * node.output.type.dtype.itemsize
        counts = (count for count in range(1, channels // _VECTOR + 1) if channels % (count * _VECTOR) == 0)
        return next((count for count in counts if nbytes <= count * self.most), 1)


def _pairs(graph: Graph) -> Iterator[tuple[Node, Value]]:
    """Each expanding convolution whose results are read by one channel by channel, with the last of what is done to
    the results of that.
    """
    for node in graph.nodes:
        if _expands(node):
            deep = _last(node.output)
            (user,) = deep.uses if used_once(deep) else (None,)
            if user and _by_channels(user) and user.inputs[0] is deep:
                end = _last(user.output)
                if end not in graph.outputs:
                    yield node, end


def _expands(node: Node) -> bool:
    """Whether a node is a 1x1 convolution of an image by constant filters."""
    if not isinstance(node.op, Conv) or node.op.groups != 1:
        return False
    x, w = node.inputs
    flat = x.type.rank == _RANK and all(size == 1 for size in w.type.shape[2:])
    return flat and isinstance(w.op, Constant) and isinstance(w.type.shape[0], int)


def _by_channels(node: Node) -> bool:
    """Whether a node is a convolution of each channel by itself."""
    if not isinstance(node.op, Conv):
        return False
    w = node.inputs[1]
    return isinstance(w.op, Constant) and node.op.groups == w.type.shape[0] == node.inputs[0].type.shape[1]


def _last(value: Value) -> Value:
    """The end of what is done to a value with constants alone, element by element."""
    while used_once(value):
        (user,) = value.uses
        others = [one for one in user.inputs if one is not value]
        if not isinstance(user.op, Elementwise) or not all(isinstance(one.op, Constant) for one in others):
            break
        if user.output.type.shape != value.type.shape:
            break
        value = user.output
    return value


def _share(value: Value, first: Node, number: int, shares: int) -> Value:
    """The channels of that share of a value behind the first convolution."""
    node = value.producer
    if node is None or isinstance(node.op, Constant):
        axis = value.type.rank - _RANK + 1
        return value if axis < 0 else _sliced(value, axis, number, shares)
    op, (x, *others) = node.op, node.inputs
    if isinstance(op, Conv):
        w = _sliced(others[0], 0, number, shares)
        if node is first:
            return op(x, w)
        groups = op.groups // shares
        op = Conv(op.strides, op.dilations, op.pads_before, op.pads_after, groups)
        return op(_share(x, first, number, shares), w)
    return op(*(_share(one, first, number, shares) for one in node.inputs))


def _sliced(value: Value, axis: int, number: int, shares: int) -> Value:
    """A share of a constant along the axis of channels; all of one that has none there."""
    size = value.type.shape[axis]
    if size == 1:
        return value
    assert isinstance(size, int)
    rank, each = value.type.rank, size // shares
    starts = tuple(number * each if at == axis else 0 for at in range(rank))
    sizes = tuple(each if at == axis else one for at, one in enumerate(value.type.shape))
    return Slice(starts, sizes, (1,) * rank)(value)
