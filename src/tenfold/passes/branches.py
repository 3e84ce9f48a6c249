"""Convolutions of one image by filters of one size as one: what the branches of an inception block begin with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.op import Op
from tenfold.ops.arithmetic import Add
from tenfold.ops.constant import Constant
from tenfold.ops.conv import Conv
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.movement import Concat, Split
from tenfold.passes.merge import added_constant, adopt, joined, reshaped
from tenfold.rewrite.pattern import used_once
from tenfold.rewrite.pipeline import Pass
from tenfold.rewrite.rule import Steps


@dataclass(frozen=True, eq=False)
class _Branch:
    """A convolution of so many channels, the row that is added to it, the function behind that, and what comes of it
    all.
    """

    node: Node
    channels: int
    bias: Value | None
    function: Op | None
    end: Value

    @property
    def key(self) -> tuple[object, ...]:
        """What branches that become one have in common."""
        x, w = self.node.inputs
        return x, self.node.op, w.type.shape[1:], w.type.dtype, self.bias is None, self.function


@dataclass(frozen=True)
class MergeConvolutions(Pass):
    """f(x * a + b), f(x * c + d) -> the channels of f(x * [a c] + [b d]); each sum keeps its terms and their order."""

    name: str = "merge convolutions"

    def run(self, graph: Graph, steps: Steps) -> None:
        """Merge every group of such convolutions in the graph."""
        if steps.exhausted:
            return
        for group in list(_groups(graph)):
            source = tuple(dict.fromkeys(name for one in group for name in one.node.source))
            parts = Split(1, tuple(one.channels for one in group))(_merged(group))
            for one, part in zip(group, parts, strict=True):
                adopt(part, source)
                graph.replace_uses(one.end, part)


def _merged(group: list[_Branch]) -> Value:
    x, w = group[0].node.inputs
    whole: Value = group[0].node.op(x, joined(0, [one.node.inputs[1] for one in group]))
    axes = (1,) * (w.type.rank - 2)
    biases = [reshaped(one.bias, (one.channels, *axes)) for one in group if one.bias is not None]
    whole = Add()(whole, joined(0, biases)) if biases else whole
    return group[0].function(whole) if group[0].function else whole


def _groups(graph: Graph) -> Iterator[list[_Branch]]:
    found: dict[tuple[object, ...], list[_Branch]] = {}
    for node in graph.nodes:
        if isinstance(node.op, Conv) and node.op.groups == 1 and (one := _branch(graph, node)):
            found.setdefault(one.key, []).append(one)
    yield from (group for group in found.values() if len(group) > 1)


def _branch(graph: Graph, node: Node) -> _Branch | None:
    """None where the filters are computed, for more than one image (which may go in portions through runs of
    convolutions), and where the results have a place in a concatenation, which is where they are best written at once.
    """
    x, w = node.inputs
    channels = w.type.shape[0]
    if not isinstance(w.op, Constant) or not isinstance(channels, int) or x.type.shape[0] != 1:
        return None
    end, bias = _biased(node.output, channels)
    function = _function_of(end)
    if function:
        (user,) = end.uses
        end = user.output
    if end in graph.outputs or any(isinstance(one.op, Concat) for one in end.uses):
        return None
    return _Branch(node, channels, bias, function, end)


def _function_of(value: Value) -> Op | None:
    """The elementwise function that is all that uses a value."""
    if not used_once(value):
        return None
    (user,) = value.uses
    return user.op if isinstance(user.op, Elementwise) and len(user.inputs) == 1 else None


def _biased(value: Value, channels: int) -> tuple[Value, Value | None]:
    """(x + b, b) where a constant of a number a channel is added to a value; else (x, None)."""
    end, bias = added_constant(value)
    axes = (1,) * (value.type.rank - 2)
    fits = bias is not None and bias.type.shape in ((channels, *axes), (1, channels, *axes))
    return (end, bias) if fits else (value, None)
