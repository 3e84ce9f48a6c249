"""Products of one tensor with several constants as one product: queries, keys and values, gates and what they gate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.op import Op
from tenfold.ir.recipe import computed
from tenfold.ops.arithmetic import Add
from tenfold.ops.constant import Constant
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat, Movement, Reshape, Split
from tenfold.passes.fold import nbytes
from tenfold.rewrite.pattern import used_once
from tenfold.rewrite.pipeline import Pass
from tenfold.rewrite.rule import Steps


@dataclass(frozen=True)
class MergeProducts(Pass):
    """x a + b, x c + d -> the parts of x [a c] + [b d]; each sum keeps its terms and their order.

    With `least`, bytes of a matrix, only where each matrix has as many, where nothing heavier than elementwise work
    lies between the products (so that results need not be kept for long), and where no elementwise work follows them,
    which their own kernels would do.
    """

    name: str = "merge products"
    least: int = 0

    def run(self, graph: Graph, steps: Steps) -> None:
        """Merge every group of such products in the graph."""
        if steps.exhausted:
            return
        for group in list(_neighbours(graph, self.least) if self.least else _groups(graph.nodes)):
            ends = [biased(node) for node in group]
            added = all(bias is not None for _, bias in ends)
            values = [end if added else node.output for node, (end, _) in zip(group, ends, strict=True)]
            sizes = [_columns(node) for node in group]
            whole: Value = MatMul()(group[0].inputs[0], joined(1, [node.inputs[1] for node in group]))
            if added:
                biases = [reshaped(bias, (n,)) for n, (_, bias) in zip(sizes, ends, strict=True) if bias is not None]
                whole = Add()(whole, joined(0, biases))
            parts = Split(whole.type.rank - 1, tuple(sizes))(whole)
            source = tuple(dict.fromkeys(name for node in group for name in node.source))
            for part in parts:
                adopt(part, source)
            for value, part in zip(values, parts, strict=True):
                graph.replace_uses(value, part)


def _neighbours(graph: Graph, least: int) -> Iterator[list[Node]]:
    """Such groups of products by matrices of so many bytes, with only elementwise work and movements between."""
    stretch: list[Node] = []
    for node in graph.nodes:
        if isinstance(node.op, MatMul) and stretch and node.inputs[0] is not stretch[0].inputs[0]:
            yield from _groups(stretch)
            stretch = []
        if isinstance(node.op, MatMul) and nbytes(node.inputs[1].type) >= least and not _is_followed(node):
            stretch.append(node)
        elif not isinstance(node.op, MatMul | Elementwise | Movement | Constant):
            yield from _groups(stretch)
            stretch = []
    yield from _groups(stretch)


def _is_followed(node: Node) -> bool:
    """Whether elementwise work follows a product and its bias."""
    end, _ = biased(node)
    return any(user.op.elementwise for user in end.uses)


def _groups(nodes: Iterable[Node]) -> Iterator[list[Node]]:
    """Products of one value with constants, two or more, that all have a bias or all have none."""
    found: dict[tuple[Value, bool], list[Node]] = {}
    for node in nodes:
        if isinstance(node.op, MatMul) and isinstance(node.inputs[1].op, Constant) and _columns(node):
            found.setdefault((node.inputs[0], biased(node)[1] is not None), []).append(node)
    yield from (group for group in found.values() if len(group) > 1)


def _columns(node: Node) -> int:
    """The columns of a product with a matrix of known size; 0 for any other."""
    a, b = (value.type for value in node.inputs)
    n = b.shape[-1]
    return n if a.rank > 1 and b.rank == 2 and isinstance(n, int) else 0


def biased(node: Node) -> tuple[Value, Value | None]:
    """(x w + b, b) where a row of constants is all that follows a product; else (x w, None)."""
    end, bias = added_constant(node.output)
    row = bias.type.shape if bias else ()
    fits = row[-1:] == (_columns(node),) and all(size == 1 for size in row[:-1]) and len(row) <= node.output.type.rank
    return (end, bias) if fits else (node.output, None)


def added_constant(value: Value) -> tuple[Value, Value | None]:
    """(x + c, c) where a constant is all that uses a value, by being added to it; else (x, None)."""
    if not used_once(value):
        return value, None
    (user,) = value.uses
    others = [one for one in user.inputs if one is not value]
    if not isinstance(user.op, Add) or not isinstance(others[0].op, Constant):
        return value, None
    return user.output, others[0]


def joined(axis: int, constants: Sequence[Value]) -> Value:
    """The concatenation of constants, a constant that is made when it is asked for."""
    return _made(Concat(axis), constants)


def reshaped(constant: Value, shape: tuple[int, ...]) -> Value:
    """A constant of another shape."""
    return constant if constant.type.shape == shape else _made(Reshape(shape), [constant])


def _made(op: Op, constants: Sequence[Value]) -> Value:
    tensors = tuple(value.op.tensor for value in constants if isinstance(value.op, Constant))
    value: Value = Constant(computed(op, tensors))()
    return value


def adopt(value: Value, source: tuple[str, ...]) -> None:
    """Say of the floating nodes behind a value what they stand for."""
    stack = [value]
    while stack:
        producer = stack.pop().producer
        if producer is not None and producer.graph is None and not producer.source:
            producer.source = source
            stack.extend(producer.inputs)
