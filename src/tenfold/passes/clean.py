"""Take away what changes nothing: identities, common subexpressions, dead code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tenfold.ir.dim import Size
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.op import Op
from tenfold.ir.recipe import sources
from tenfold.ir.tensor import Tensor
from tenfold.ops.activation import Clip, Relu
from tenfold.ops.arithmetic import Abs, Add, Ceil, Div, Floor, Maximum, Minimum, Mul, Neg, Pow, Round, Sub, Trunc
from tenfold.ops.constant import Constant
from tenfold.ops.conv import Conv, ConvTranspose
from tenfold.ops.logic import And, BitAnd, BitOr, Cast, Not, Or, Where
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat, Expand, Pad, Reshape, Slice, Split, Tile, Transpose
from tenfold.rewrite.pattern import exactly, never_negative, same_type
from tenfold.rewrite.pipeline import Pass
from tenfold.rewrite.rule import Replacement, Steps, check_replacement, rule, specialise, sweep_dead


@rule("graph (%x: f32[2]) { return Add(%x, f32{-0.0}) }", "graph (%x: f32[2]) { return Add(%x, f32{0.0}) }")
def add_zero(value: Value) -> Replacement:
    """x + -0 -> x; x + 0 -> x where x is an integer, never -0, or a contraction (no order is stated for its sums)."""
    match value:
        case Value(Add(), (x, zero)) if same_type(x, value):
            if exactly(zero, -0.0) and x.type.dtype.is_float:
                return x
            kept = not x.type.dtype.is_float or never_negative(x) or isinstance(x.op, Conv | ConvTranspose | MatMul)
            return x if kept and exactly(zero, 0.0) else None
    return None


@rule("graph (%x: f32[2]) { return Sub(%x, f32{0.0}) }", "graph (%x: f32[2]) { return Sub(%x, f32{-0.0}) }")
def subtract_zero(value: Value) -> Replacement:
    """x - 0 -> x"""
    match value:
        case Value(Sub(), (x, zero)) if same_type(x, value) and exactly(zero, 0.0):
            return x
    return None


@rule("graph (%x: f32[2]) { return Mul(%x, f32{1.0}) }", "graph (%x: f32[2]) { return Mul(%x, f32[3, 1]{1, 1, 1}) }")
def times_one(value: Value) -> Replacement:
    """x * 1 -> x;  x / 1 -> x;  x ** 1 -> x"""
    match value:
        case Value(Mul() | Div() | Pow(), (x, one)) if same_type(x, value) and exactly(one, 1.0):
            return x
    return None


@rule(
    "graph (%x: f32[2, 3]) { return Reshape<shape=(2, 3)>(%x) }",
    "graph (%x: f32[2, 3]) { return Reshape<shape=(3, 2)>(%x) }",
)
def same_shape(value: Value) -> Replacement:
    """Reshape, Expand to x's own shape -> x"""
    match value:
        case Value(Reshape() | Expand(), (x,)) if same_type(x, value):
            return x
    return None


@rule(
    "graph (%x: f32[2, 3]) { return Transpose<permutation=(0, 1)>(%x) }",
    "graph (%x: f32[3, 3]) { return Transpose<permutation=(1, 0)>(%x) }",
)
def transpose_nothing(value: Value) -> Replacement:
    """Transpose by (0, 1, …) -> x"""
    match value:
        case Value(Transpose(permutation), (x,)) if permutation == tuple(range(len(permutation))):
            return x
    return None


@rule("graph (%x: f32[2]) { return Cast<to=f32>(%x) }", "graph (%x: f32[2]) { return Cast<to=f16>(%x) }")
def cast_to_itself(value: Value) -> Replacement:
    """Cast to x's own element type -> x"""
    match value:
        case Value(Cast(), (x,)) if same_type(x, value):
            return x
    return None


@rule(
    "graph (%x: f32[N, 4]) { return Slice<starts=(0, 0), sizes=(N, 4), steps=(1, 1)>(%x) }",
    "graph (%x: f32[N, 4]) { return Slice<starts=(0, 3), sizes=(N, 4), steps=(1, -1)>(%x) }",
)
def slice_everything(value: Value) -> Replacement:
    """Slice of all elements in order -> x"""
    match value:
        case Value(Slice(starts, _, steps), (x,)) if same_type(x, value):
            forward = all(step == 1 or size == 1 for step, size in zip(steps, x.type.shape, strict=True))
            return x if forward and all(start == 0 for start in starts) else None
    return None


@rule(
    "graph (%x: f32[2]) { return Pad<before=(0,), after=(0,)>(%x) }",
    "graph (%x: f32[2]) { return Pad<before=(-1,), after=(1,)>(%x) }",
)
def pad_nothing(value: Value) -> Replacement:
    """Pad by 0 -> x;  Tile by 1 -> x"""
    match value:
        case Value(Pad(before, after), (x,)) if not any(size != 0 for size in (*before, *after)):
            return x
        case Value(Tile(repeats), (x,)) if all(count == 1 for count in repeats):
            return x
    return None


@rule(
    "graph (%x: f32[2]) { return Concat<axis=0>(%x) }",
    "graph (%x: f32[2]) { return Concat<axis=0>(%x, %x) }",
)
def one_piece(value: Value) -> Replacement:
    """Concat, Split into one piece -> x"""
    match value:
        case Value(Concat() | Split(), (x,)) if same_type(x, value):
            return x
    return None


@rule("graph (%x: f32[2]) { return Neg(Neg(%x)) }", "graph (%x: f32[2]) { return Neg(Abs(%x)) }")
def twice_back(value: Value) -> Replacement:
    """-(-x) -> x;  not not x -> x"""
    match value:
        case Value(Neg(), (Value(Neg(), (x,)),)) | Value(Not(), (Value(Not(), (x,)),)):
            return x
    return None


@rule("graph (%x: f32[2]) { return Relu(Relu(%x)) }", "graph (%x: f32[2]) { return Relu(Neg(%x)) }")
def once_is_enough(value: Value) -> Replacement:
    """f(f(x)) -> f(x) for f = Abs, Relu, Floor, Ceil, Round, Trunc, and Clip to the same limits"""
    match value:
        case Value(Abs() | Relu() | Floor() | Ceil() | Round() | Trunc() | Clip(), (inner, *limits)):
            again = type(inner.op) is type(value.op) and list(inner.inputs[1:]) == limits
            return inner if again and same_type(inner, value) else None
    return None


@rule("graph (%x: f32[2]) { return Maximum(%x, %x) }", "graph (%x: f32[2], %y: f32[2]) { return Maximum(%x, %y) }")
def with_itself(value: Value) -> Replacement:
    """max(x, x), min(x, x), x and x, x or x, x & x, x | x, (x if c else x) -> x"""
    match value:
        case Value(Maximum() | Minimum() | And() | Or() | BitAnd() | BitOr(), (x, y)) if x is y:
            return x
        case Value(Where(), (_, x, y)) if x is y and same_type(x, value):
            return x
    return None


IDENTITIES = (
    *(add_zero, subtract_zero, times_one, same_shape, transpose_nothing, cast_to_itself),
    *(slice_everything, pad_nothing, one_piece, twice_back, once_is_enough, with_itself),
)


@dataclass(frozen=True)
class DeadCode(Pass):
    """Remove every node whose results nothing uses."""

    name: str = "dead code"

    def run(self, graph: Graph, steps: Steps) -> None:
        """Subgraphs first; then from the end to the beginning."""
        for node in reversed(graph.nodes):
            for inner in node.op.graphs:
                self.run(inner, steps)
            if not steps.exhausted:
                for _ in sweep_dead(graph, [node]):
                    steps.count("dead")


@dataclass(frozen=True)
class CommonSubexpressions(Pass):
    """Compute once what is computed twice: the same deterministic operation on the same values.

    Constants that are, or are made of, different weights of the user's model stay apart, so that each can be refitted.
    """

    name: str = "common subexpressions"
    compared_bytes: int = 4096

    def run(self, graph: Graph, steps: Steps) -> None:
        """The first of equals replaces the others."""
        first: dict[Any, Node] = {}
        for node in graph.nodes:
            for inner in node.op.graphs:
                self.run(inner, steps)
            if steps.exhausted or node.op.graphs or not node.op.deterministic:
                continue
            kept = first.setdefault((self._key(node.op), node.inputs), node)
            if kept is not node:
                self._merge(graph, kept, node)
                steps.count("merged")

    def _merge(self, graph: Graph, kept: Node, node: Node) -> None:
        learned: dict[str, Size] = {}
        for new, old in zip(kept.outputs, node.outputs, strict=True):
            learned |= check_replacement(old, new)
            graph.replace_uses(old, new)
        graph.remove(node)
        if learned:
            specialise(graph, learned)
        kept.source = tuple(dict.fromkeys((*kept.source, *node.source)))

    def _key(self, op: Op) -> Any:
        if isinstance(op, Constant):
            return self._distinct(op.tensor)
        return type(op), tuple(map(self._distinct, op.attributes.values()))

    def _distinct(self, attribute: Any) -> Any:
        """Equal only where the attributes mean the same: 0.0 and -0.0, 1 and True do not."""
        if isinstance(attribute, Tensor):
            made = attribute.recipe is not None and sources(attribute)
            compared = attribute.nbytes <= self.compared_bytes and not made
            return (attribute.source, attribute.digest) if compared else id(attribute)
        if isinstance(attribute, tuple):
            return tuple(map(self._distinct, attribute))
        return type(attribute), repr(attribute) if isinstance(attribute, float) else attribute
