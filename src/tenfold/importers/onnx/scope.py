"""Which value a name of the user's model stands for, within nested graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from onnx import GraphProto, NodeProto, ValueInfoProto

from tenfold.errors import ModelError
from tenfold.ir.graph import Graph, Value
from tenfold.ir.tensor import Tensor
from tenfold.ops.constant import Constant
from tenfold.ops.sequence import OptionalOf, SequenceOf, Unstack

FOLLOWED = (SequenceOf, Unstack, OptionalOf)
"""Sequences and optional values that are taken apart at import: inside a subgraph too."""


class Poisoned(Exception):
    """Raised where a name stands for the result of an operator that cannot be imported (already reported)."""


class Scope:
    """The names of one graph, over those of the graph around it.

    `boundary` is the graph being traced where outer values must come in as inputs; without it (the main graph, an
    inlined branch or function) they are used as they are. A name maps to None if it is poisoned.
    """

    def __init__(self, parent: Scope | None = None, boundary: Graph | None = None) -> None:
        self.parent = parent
        self.boundary = boundary
        self.captured: dict[Value, Value] = {}
        self._values: dict[str, Value | None] = {}
        self._weights: dict[str, Callable[[], Tensor]] = {}

    def bind(self, name: str, value: Value | None) -> None:
        """Define a name; ModelError if this graph has defined it before."""
        if name in self._values or name in self._weights:
            raise ModelError(f"the name {name!r} is defined twice in one graph")
        self._values[name] = value

    def bind_weight(self, name: str, load: Callable[[], Tensor]) -> None:
        """Define a name as a weight, which is read when the name is first used."""
        if name in self._values or name in self._weights:
            raise ModelError(f"the name {name!r} is defined twice in one graph")
        self._weights[name] = load

    def has(self, name: str) -> bool:
        """True if the name is defined here or further out."""
        own = name in self._values or name in self._weights
        return own or (self.parent is not None and self.parent.has(name))

    def defines(self, name: str) -> bool:
        """True if the name is defined here."""
        return name in self._values or name in self._weights

    def lookup(self, name: str) -> Value:
        """The value of a name; ModelError if nothing defines it, Poisoned if its operator cannot be imported."""
        if name in self._values:
            value = self._values[name]
            if value is None:
                raise Poisoned(name)
            return value
        if name in self._weights:
            weight: Value = Constant(self._weights[name]())()
            weight.name = name
            self._values[name] = weight
            return weight
        if self.parent is None:
            raise ModelError(f"nothing defines the value {name!r}")
        outer = self.parent.lookup(name)
        if self.boundary is None:
            return outer
        return self._inside(outer, self.boundary)

    def _inside(self, outer: Value, boundary: Graph) -> Value:
        if outer not in self.captured:
            self.captured[outer] = self._capture(outer, boundary)
        return self.captured[outer]

    def _capture(self, outer: Value, boundary: Graph) -> Value:
        if outer.op is None or (outer.inputs and not isinstance(outer.op, FOLLOWED)):
            return boundary.input(outer.name, outer.type)
        again: Value = outer.op(*(self._inside(one, boundary) for one in outer.inputs))
        again.name = outer.name
        return again

    @property
    def captures(self) -> tuple[Value, ...]:
        """The outer values that came in as inputs of the boundary, in the order of those inputs."""
        return tuple(outer for outer, inner in self.captured.items() if inner.producer is None)


def free_names(graph: GraphProto) -> frozenset[str]:
    """The names that a subgraph uses and does not define."""
    defined = {info.name for info in graph.input} | {tensor.name for tensor in graph.initializer}
    defined |= {sparse.values.name for sparse in graph.sparse_initializer}
    defined |= {name for node in graph.node for name in node.output}
    used = {info.name for info in graph.output}
    for node in graph.node:
        used |= needs(node)
    return frozenset(used - defined - {""})


def needs(node: NodeProto) -> set[str]:
    """The names that a node uses, those that its subgraphs capture included, and of a Gradient those it derives by."""
    used = set(node.input)
    if node.op_type == "Gradient":
        used |= {text.decode(errors="replace") for one in node.attribute for text in (*one.strings, one.s)}
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            used |= free_names(graph)
    return used - {""}


def ordered(nodes: list[NodeProto], wanted: list[str], given: Callable[[str], bool]) -> list[NodeProto]:
    """The nodes that the wanted names depend on, each after those that it depends on.

    `given` tells which names come from elsewhere. Raises ModelError for a name that nothing defines, that two
    nodes define, or for a cycle.
    """
    makers = _makers(nodes)
    result: list[NodeProto] = []
    state: dict[int, int] = {}
    stack = [(makers[name], False) for name in reversed(wanted) if name in makers]
    while stack:
        at, left = stack.pop()
        if left:
            state[at] = 2
            result.append(nodes[at])
            continue
        if at in state:
            continue
        state[at] = 1
        stack.append((at, True))
        for name in sorted(needs(nodes[at]), reverse=True):
            before = makers.get(name)
            if before is None and not given(name):
                raise ModelError(
                    f"nothing defines its input {name!r}",
                    operator=shown(nodes[at]),
                    remedy="the model is damaged, or was cut out of a larger one: export it again",
                )
            if before is not None and state.get(before) == 1:
                raise ModelError(f"it depends on itself through {name!r}", operator=shown(nodes[at]))
            if before is not None:
                stack.append((before, False))
    return result


def continued(node: NodeProto, rest: Sequence[NodeProto], wanted: Sequence[str]) -> NodeProto:
    """An If with what comes after it in both of its branches; it gives the wanted names."""
    found = NodeProto(op_type="If", name=shown(node), input=node.input, output=wanted)
    for attribute in node.attribute:
        own = found.attribute.add(name=attribute.name, type=attribute.type).g
        own.CopyFrom(attribute.g)
        del own.output[:]
        named = zip(attribute.g.output, node.output, strict=False)
        own.node.extend(NodeProto(op_type="Identity", input=[a.name], output=[b]) for a, b in named if b)
        own.node.extend(rest)
        own.output.extend(ValueInfoProto(name=name) for name in wanted)
    return found


def _makers(nodes: list[NodeProto]) -> Mapping[str, int]:
    makers: dict[str, int] = {}
    for at, node in enumerate(nodes):
        for name in filter(None, node.output):
            if name in makers:
                other = shown(nodes[makers[name]])
                raise ModelError(f"its output {name!r} is also one of {other}", operator=shown(node))
            makers[name] = at
    return makers


def shown(node: NodeProto) -> str:
    """What errors call a node that is not converted yet."""
    return node.name or f"{node.op_type}({next(filter(None, node.output), '')})"
