"""Results that may lie where an operand does: what a kernel reads just before it writes the same place, and states that
are updated element by element.
"""

from __future__ import annotations

from tenfold.codegen.region import Operand, Pointwise, Region, Row
from tenfold.compiler import views
from tenfold.compiler.typical import typical
from tenfold.compiler.views import View, movement_view
from tenfold.ir import dim
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ops.index import ScatterElements, ScatterND
from tenfold.ops.movement import Reshape, Transpose

SCATTERING = (ScatterElements, ScatterND)


def walked_alike(region: Region) -> tuple[Operand, ...]:
    """The operands that a region reads element by element just before it writes the same point.

    Not those of a contraction's epilogue: partial sums may pass through its outputs before.
    """
    match region:
        case Pointwise():
            return region.inputs
        case Row():
            return region.inputs
    return ()


def whole(operand: Operand) -> bool:
    """True if an operand covers all of its buffer."""
    return operand.offset == 0 and dim.known_equal(dim.product(operand.shape), operand.value.type.size)


def same_walk(a: Operand, b: Operand) -> bool:
    """True if two operands are walked alike, element for element."""
    alike = a.dtype.itemsize == b.dtype.itemsize and dim.known_equal(a.offset, b.offset)
    strides = all(size == 1 or dim.known_equal(x, y) for x, y, size in zip(a.strides, b.strides, b.shape, strict=True))
    return alike and strides and typical(b.offset) == 0


def updated_states(graph: Graph) -> dict[Value, Value]:
    """The results of scattering into a state that nothing else reads, with the data that each may lie in place of."""
    inputs = {value.name: value for value in graph.inputs}
    results = dict(zip(graph.output_names, graph.outputs, strict=True))
    found: dict[Value, Value] = {}
    for one in graph.carried:
        if one.along < 0:
            way = _way(inputs[one.input], results[one.output], graph)
            found |= {node.output: node.inputs[0] for node in way if isinstance(node.op, SCATTERING)}
    return found


def stands(value: Value, updated: dict[Value, Value]) -> bool:
    """True if a state's new value lies where the old one does."""
    while value.producer is not None and isinstance(value.op, (Transpose, Reshape)) and value not in updated:
        value = value.producer.inputs[0]
    return value in updated and isinstance(value.op, SCATTERING)


def _way(old: Value, new: Value, graph: Graph) -> tuple[Node, ...]:
    """The nodes that make the new state of the old one, where all of them may work in its buffer."""
    way: list[Node] = []
    value, free = new, True
    while value is not old:
        node = value.producer
        if node is None or not isinstance(node.op, (*SCATTERING, Transpose, Reshape)):
            return ()
        way.insert(0, node)
        value, free = node.inputs[0], free and not isinstance(node.op, SCATTERING)
        if not free and (len(value.uses) > 1 or value in graph.outputs):
            return ()
    dense = views.row_major(old.type.shape)
    seen: View | None = View(old, dense)
    for node in way:
        if seen is not None and not isinstance(node.op, SCATTERING):
            seen = movement_view(node, 0, seen)
    return tuple(way) if seen is not None and seen.strides == dense else ()
