"""A model as a graph in static single assignment form, changed by four edits only.

A `Node` applies an operation to values and defines new ones. Calling an operation on values makes a
floating node; `Graph.insert` places it and whatever floating nodes it needs. Subgraphs (the branches of
an If, the body of a Loop) are attributes of their operation and see only what is passed to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenfold.errors import OptionError
from tenfold.ir import unknown
from tenfold.ir.dim import Size
from tenfold.ir.type import Type, reserve_unknowns

if TYPE_CHECKING:
    from tenfold.ir.op import Op
    from tenfold.ir.recipe import Decision
    from tenfold.ir.tensor import Tensor


class Value:
    """One tensor of a graph: an input of it (`producer` is None) or an output of a node."""

    __match_args__ = ("op", "inputs")
    __slots__ = ("index", "name", "producer", "type", "uses")

    def __init__(self, type: Type, *, producer: Node | None = None, index: int = 0, name: str = "") -> None:
        self.type = type
        self.producer = producer
        self.index = index
        self.name = name
        self.uses: dict[Node, None] = {}

    @property
    def op(self) -> Op | None:
        """The operation that computes it; None for an input of the graph."""
        return self.producer.op if self.producer else None

    @property
    def inputs(self) -> tuple[Value, ...]:
        """What it is computed from."""
        return self.producer.inputs if self.producer else ()

    def __repr__(self) -> str:
        made = f"{self.op.name}" if self.op else "input"
        return f"<{self.name or '%'}: {self.type} = {made}>"


class Node:
    """An operation applied to values. `source` names the operators of the user's model that it stands for, `after` the
    nodes that decide sizes which it needs and does not see in its inputs: they are placed when it is. `verified` are
    the operation and the types of its inputs and outputs when these were last found to agree.
    """

    __slots__ = ("after", "graph", "inputs", "name", "op", "outputs", "source", "verified")

    def __init__(self, op: Op, inputs: Sequence[Value], *, name: str = "", source: tuple[str, ...] = ()) -> None:
        self.op = op
        self.inputs = tuple(inputs)
        self.name = name
        self.source = source
        self.after: tuple[Node, ...] = ()
        self.verified: tuple[Any, ...] = ()
        self.graph: Graph | None = None
        for one in self.inputs:
            if not isinstance(one, Value):
                given: Any = one
                problem = f"{op.name} is applied to a {type(given).__name__}"
                raise OptionError(problem, argument="inputs", remedy="apply it to values: Value(type), Constant(…)()")
        types = op.types(tuple(value.type for value in self.inputs))
        self.outputs = tuple(Value(type, producer=self, index=index) for index, type in enumerate(types))

    @property
    def output(self) -> Value:
        """Its only output."""
        (value,) = self.outputs
        return value

    def __repr__(self) -> str:
        return f"<{self.op.name} {self.name or self.source}>"


@dataclass(frozen=True)
class Carry:
    """An output that is an input of the next call. Where the output is the input with rows appended `along` an axis,
    the input is the whole buffer, and `count` names the input that says how many rows of it are filled. `start` is the
    value before the first call, its bytes packed by zlib in base64, "" for zeros.
    """

    input: str
    output: str
    along: int = -1
    count: str = ""
    start: str = ""


class Graph:
    """Inputs, nodes, outputs. `nodes` is always in an order in which each value is defined before its uses.

    `assumptions` are conditions on the call's sizes that must not be zero, each with the operator that needs it.
    `decisions` are what rewrites took for granted of the values of the user's weights; `weights` are those that the
    model has, by name, None for one that nothing uses. `structure` says how the model nests its arguments and results
    (see `runtime.structure`), None where they are plain tensors in order; `states` names the model's own tensors that
    its last outputs are the new values of; `carried` says which inputs a context keeps from call to call.
    """

    def __init__(self, inputs: Iterable[Value] = (), *, name: str = "") -> None:
        self.name = name
        self.inputs: list[Value] = list(inputs)
        self.outputs: tuple[Value, ...] = ()
        self.output_names: tuple[str, ...] = ()
        self.assumptions: tuple[tuple[Size, str], ...] = ()
        self.metadata: dict[str, Any] = {}
        self.structure: dict[str, Any] | None = None
        self.states: tuple[str, ...] = ()
        self.carried: tuple[Carry, ...] = ()
        self.decisions: tuple[Decision, ...] = ()
        self.weights: dict[str, Tensor | None] = {}
        self._nodes: dict[Node, None] = {}
        self._order: list[Node] | None = []

    def input(self, name: str, type: Type) -> Value:
        """Add an input."""
        value = Value(type, name=name)
        self.inputs.append(value)
        return value

    def insert(self, value: Value) -> Value:
        """Edit 1: place the floating node that computes `value`, and the floating nodes that it needs."""
        stack = [value.producer] if value.producer else []
        while stack:
            node = stack[-1]
            if node.graph is not None:
                stack.pop()
                continue
            makers = (v.producer for v in node.inputs)
            floating = [one for one in (*makers, *node.after) if one and one.graph is None]
            if floating:
                stack.extend(reversed(floating))
                continue
            stack.pop()
            node.graph = self
            self._nodes[node] = None
            if self._order is not None:
                self._order.append(node)
            if unknown.of_types(value.type for value in node.outputs):
                self._order = None
            for used in node.inputs:
                used.uses[node] = None
        return value

    def replace_uses(self, old: Value, new: Value, *, users: Iterable[Node] | None = None) -> None:
        """Edit 2: let every user of `old`, and the graph's outputs, use `new`, which is placed if it floats;
        or only these `users`, and not the outputs.

        Users that `new` itself is computed from keep `old`, if `new` was floating.
        """
        chosen = list(old.uses) if users is None else list(users)
        self.insert(new)
        for node in chosen:
            node.inputs = tuple(new if value is old else value for value in node.inputs)
            new.uses[node] = None
            old.uses.pop(node, None)
        if users is None:
            self.outputs = tuple(new if value is old else value for value in self.outputs)
            new.name = new.name or old.name
        self._order = None

    def remove(self, node: Node) -> None:
        """Edit 3: take out a node that nothing uses; ValueError if something does."""
        if any(value.uses or value in self.outputs for value in node.outputs):
            raise ValueError(f"{node} is still used")
        del self._nodes[node]
        for value in node.inputs:
            value.uses.pop(node, None)
        node.graph = None
        self._order = None

    def set_outputs(self, outputs: Sequence[Value], names: Sequence[str] | None = None) -> None:
        """Edit 4: choose what the graph returns, and under which names."""
        for value in outputs:
            self.insert(value)
        self.outputs = tuple(outputs)
        self.output_names = tuple(names) if names is not None else tuple(value.name for value in outputs)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, each after those that it uses; stable from run to run."""
        if self._order is None:
            self._order = list(_topological(self._nodes))
        return tuple(self._order)

    @property
    def unordered(self) -> tuple[Node, ...]:
        """Every node, as they were placed: also while sizes are half renamed, and no order is to be had."""
        return tuple(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)

    def verify(self) -> None:
        """Check what must always hold; AssertionError names what does not."""
        defined = set(self.inputs)
        for node in self.nodes:
            assert node.graph is self, f"{node} is listed here and placed elsewhere"
            for value in node.inputs:
                assert value in defined, f"{node} uses {value} before it is defined"
                assert node in value.uses, f"{value} does not know its use by {node}"
            _verify_types(node)
            defined.update(node.outputs)
        for value in self.outputs:
            assert value in defined, f"output {value} is not defined"
        assert len(self.outputs) == len(self.output_names), "as many output names as outputs"


def _verify_types(node: Node) -> None:
    """That a node's outputs have the types that its inputs give; nothing where neither has changed since."""
    given = tuple(value.type for value in node.inputs)
    said = (node.op, *given, *(value.type for value in node.outputs))
    if node.verified == said:
        return
    for value, type in zip(node.outputs, node.op.types(given), strict=True):
        same = value.type.dtype == type.dtype and value.type.rank == type.rank
        assert same, f"{node} defines {value}, and its inputs give {type}"
    node.verified = said


def _topological(nodes: Iterable[Node]) -> Iterator[Node]:
    done: set[Node] = set()
    opened: set[Node] = set()
    before = _deciders(nodes)
    for root in nodes:
        stack = [root]
        while stack:
            node = stack[-1]
            if node in done:
                stack.pop()
                continue
            makers = (v.producer for v in node.inputs)
            needed = [one for one in (*makers, *before.get(node, ())) if one and one not in done]
            if needed:
                assert node not in opened, f"{node} needs itself"
                opened.add(node)
                stack.extend(reversed(needed))
                continue
            stack.pop()
            done.add(node)
            yield node


def _deciders(nodes: Iterable[Node]) -> dict[Node, list[Node]]:
    """For each node, those that decide sizes it needs and does not see in its inputs."""
    deciders = unknown.deciders(nodes)
    if not deciders:
        return {}
    needs = {node: unknown.needed_by(node) for node in nodes}
    return {node: [deciders[name] for name in sorted(names) if name in deciders] for node, names in needs.items()}


def every_value(graph: Graph) -> Iterator[Value]:
    """The inputs of a graph, then the outputs of each node and the values of its subgraphs: in an order of the text."""
    yield from graph.inputs
    for node in graph.nodes:
        yield from node.outputs
        for inner in node.op.graphs:
            yield from every_value(inner)


def again(node: Node, inputs: Sequence[Value]) -> Node:
    """The same operation on other values of the same types; its results keep names, types and source."""
    made = Node(node.op, inputs, name=node.name, source=node.source)
    for old, new in zip(node.outputs, made.outputs, strict=True):
        new.name, new.type = old.name, old.type
    return made


def inline(graph: Graph, inputs: Sequence[Value], change: Callable[[Op], Op] = lambda op: op) -> tuple[Value, ...]:
    """The outputs of `graph` on other values, as floating nodes that keep their names and sources, each operation
    changed by `change`. Sizes that only data decide keep their names.
    """
    known = dict(zip(graph.inputs, inputs, strict=True))
    before = _deciders(graph.nodes)
    copies: dict[Node, Node] = {}
    for node in graph.nodes:
        copy = Node(change(node.op), [known[value] for value in node.inputs], name=node.name, source=node.source)
        copy.after = tuple(copies[one] for one in before.get(node, ()))
        copies[node] = copy
        fresh = unknown.decided_by(copy)
        for old, new in zip(node.outputs, copy.outputs, strict=True):
            new.name = old.name
            new.type = _keeping(old.type, new.type, fresh) if fresh else new.type
            known[old] = new
    return tuple(known[value] for value in graph.outputs)


def _keeping(old: Type, new: Type, fresh: unknown.Names) -> Type:
    """The new type, with what the old one says where the new one has unknown sizes of its own."""
    if len(old.shape) != len(new.shape):
        return new
    shape = tuple(
        b if fresh.isdisjoint(unknown.of_sizes((b,))) else a for a, b in zip(old.shape, new.shape, strict=True)
    )
    own = new.entries is not None and not fresh.isdisjoint(unknown.of_sizes(new.entries))
    return Type(new.dtype, shape, old.entries if own else new.entries)


def reserve_names(graph: Graph) -> None:
    """See to it that no unknown size made from here on is called like one in the graph."""
    reserve_unknowns(unknown.of_types(value.type for value in every_value(graph)))


def unmet(condition: Size) -> str:
    """What a call is told that does not meet an assumption of the graph."""
    return f"the rest of the model takes only sizes for which {condition} holds"


def copy(graph: Graph) -> Graph:
    """The same graph of new nodes; edits of one do not show in the other, nor in each other's subgraphs."""
    reserve_names(graph)
    made = Graph((Value(value.type, name=value.name) for value in graph.inputs), name=graph.name)
    results = inline(graph, made.inputs, lambda op: op.with_graphs(copy))
    made.set_outputs(results, graph.output_names)
    made.assumptions, made.decisions = graph.assumptions, graph.decisions
    made.metadata, made.weights = graph.metadata, graph.weights
    made.structure, made.states, made.carried = graph.structure, graph.states, graph.carried
    return made
