"""Compute at build time what no input decides: constants, known contents, branches with a known condition."""

from __future__ import annotations

from tenfold.ir import dim
from tenfold.ir.dim import Dim, Size
from tenfold.ir.graph import Node, Value, inline
from tenfold.ir.interpret import Interpreter
from tenfold.ir.op import Op
from tenfold.ir.tensor import Recipe, Tensor
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant, Sizes
from tenfold.ops.control import If
from tenfold.ops.dynamic import Known
from tenfold.rewrite.pattern import contents, number
from tenfold.rewrite.rule import Replacement, rule

SMALL_BYTES = 1 << 20
GROWTH = 4


@rule(
    "graph () { return Add(f32[2]{1.0, 2.0}, f32{0.5}) }",
    "graph () { return Expand<shape=(1000000,)>(f32{0.5}) }",
)
def fold(value: Value) -> Replacement:
    """f(constants) -> constant, unless it is large and 4 times as large as they are; how it was made is kept.

    An operation that fails on these constants stays: it may never run.
    """
    node = value.producer
    if node is None or isinstance(node.op, Constant) or not _foldable(node):
        return None
    tensors = tuple(one.op.tensor for one in node.inputs if isinstance(one.op, Constant))
    try:
        arrays = Interpreter().evaluate(node.op, tuple(tensor.array for tensor in tensors))
    except (ValueError, IndexError, ArithmeticError):
        return None
    recipes = (Recipe(node.op, tensors, index) if tensors else None for index in range(len(arrays)))
    return tuple(Constant(Tensor(array, recipe=recipe))() for array, recipe in zip(arrays, recipes, strict=True))


def _foldable(node: Node) -> bool:
    if contents(node.inputs) is None or not node.op.deterministic or node.op.graphs or _is_symbolic(node.op):
        return False
    if any(isinstance(size, Dim) for value in node.outputs for size in value.type.shape):
        return False
    if any(value.type.dtype.element is not None for value in node.outputs):
        return False
    made = sum(nbytes(value.type) for value in node.outputs)
    return made <= max(SMALL_BYTES, GROWTH * sum(nbytes(value.type) for value in node.inputs))


def nbytes(type: Type) -> int:
    """Bytes of a tensor of static size."""
    return type.dtype.itemsize * (type.size if isinstance(type.size, int) else 0)


def _is_symbolic(op: Op) -> bool:
    pending = list(op.attributes.values())
    while pending:
        one = pending.pop()
        if isinstance(one, Dim):
            return True
        if isinstance(one, tuple):
            pending.extend(one)
    return False


@rule(
    "graph (%n: i64[2] = (N, 3)) { return Mul(%n, i64{2}) }",
    'graph (%n: i64[2] = (N, "n[1]")) { return Mul(%n, i64{2}) }',
)
def known_contents(value: Value) -> Replacement:
    """an integer tensor whose elements follow from the sizes of the call -> those elements

    Elements that follow from the contents of an input stay computed, so that a call with new contents
    but old sizes needs no new frame.
    """
    entries = value.type.entries
    if entries is None or isinstance(value.op, Constant | Sizes | Known) or value.producer is None:
        return None
    if not value.type.is_static or not all(_follows_from_sizes(one) for one in entries):
        return None
    shape = tuple(size for size in value.type.shape if isinstance(size, int))
    return Sizes(entries, shape, value.type.dtype)()


def _follows_from_sizes(size: Size) -> bool:
    return all("[" not in name for name in dim.symbols(size))


@rule(
    """graph (%x: f32[2]) {
      %a = If<then_branch=graph (%x: f32[2]) { return Neg(%x) }, else_branch=graph (%x: f32[2]) { return %x }>(
        bool{true}, %x)
      return %a
    }""",
    """graph (%c: bool[], %x: f32[2]) {
      %a = If<then_branch=graph (%x: f32[2]) { return Neg(%x) }, else_branch=graph (%x: f32[2]) { return %x }>(%c, %x)
      return %a
    }""",
)
def known_branch(value: Value) -> Replacement:
    """(a if true else b) -> a"""
    if not isinstance(value.op, If) or value.producer is None:
        return None
    condition, *captures = value.inputs
    chosen = number(condition)
    if chosen is None:
        return None
    return inline(value.op.then_branch if chosen else value.op.else_branch, captures)


FOLDING = (fold, known_contents, known_branch)
