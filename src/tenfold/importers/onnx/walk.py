"""From messages to values: the nodes of a graph in order, each through its converter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from onnx import FunctionProto, GraphProto, NodeProto, TensorProto

from tenfold.errors import LimitError, ModelError, TenfoldError, UnsupportedError
from tenfold.importers import sources
from tenfold.importers.convert import (
    Attribute,
    Converter,
    Missing,
    Operator,
    Parted,
    Results,
    Table,
    Unfollowed,
    choose,
)
from tenfold.importers.deferred import deferred
from tenfold.importers.onnx.external import Folder
from tenfold.importers.onnx.functions import (
    KNOWN,
    LATEST,
    FunctionKey,
    changed,
    domain_of,
    input_counts,
    instantiated,
    operator_counts,
    standard_function,
    takes_holders,
    versions,
)
from tenfold.importers.onnx.proto import read_attributes, read_sparse, read_tensor
from tenfold.importers.onnx.scope import Poisoned, Scope, continued, needs, ordered, shown
from tenfold.importers.settle import from_sizes
from tenfold.ir import dim, unknown
from tenfold.ir.dim import Dim, Size
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type

MOST_OPERATORS = 500_000
DEEPEST_CALL = 64


class Undecided(Exception):
    """Raised where an If must be decided that nothing decides yet: the import is tried both ways."""

    def __init__(self, label: str, condition: Size) -> None:
        super().__init__(label)
        self.key = (label, condition)


@dataclass
class Walk:
    """What all graphs of one model share: its converters, operator sets, functions, and the report being written."""

    table: Table
    functions: Mapping[FunctionKey, FunctionProto]
    root: Folder | None
    contents: set[str]
    """The symbols that stand for contents of inputs: what depends on them is computed by the engine, not its frame."""
    decisions: Mapping[tuple[str, Size], bool] = field(default_factory=dict)
    assumptions: dict[tuple[Size, str], None] = field(default_factory=dict)
    """Conditions that every call must meet, and the operators that need them."""
    weights: dict[str, Tensor | None] = field(default_factory=dict)
    """The initializers by name, None until one is used."""
    missing: dict[Missing, None] = field(default_factory=dict)
    converted: int = 0
    counts: dict[FunctionKey, int] = field(default_factory=dict)
    """How many operators each function comes to; found when one is first called."""
    depth: int = 0
    labelled: set[Node] = field(default_factory=set)
    guards: list[Size] = field(default_factory=list)
    tail: int = 0
    """How deep the graphs are nested that end with the model's own outputs."""
    ends: dict[int, set[str]] = field(default_factory=dict)
    """At each depth, the outputs of the model that no operator of the graph being converted there uses."""
    makers: dict[str, Node] = field(default_factory=dict)
    """The nodes of the graph being traced that decide unknown sizes, by the sizes' names."""

    def graph(
        self, graph: GraphProto, scope: Scope, opsets: Mapping[str, int], wanted: Sequence[str]
    ) -> list[Value | None]:
        """The values of the wanted names of a graph whose inputs `scope` holds already; None for a poisoned one."""
        for tensor in graph.initializer:
            if not scope.defines(tensor.name):
                self.weights.setdefault(tensor.name, None)
                scope.bind_weight(tensor.name, partial(self._weight, tensor))
        for sparse in graph.sparse_initializer:
            name = sparse.values.name
            scope.bind_weight(name, partial(read_sparse, sparse, self.root, name))
        self.nodes(graph.node, scope, opsets, wanted)
        return self.values(scope, wanted)

    def _weight(self, message: TensorProto) -> Tensor:
        found = self.weights[message.name] = read_tensor(message, self.root, message.name)
        return found

    def nodes(self, nodes: Iterable[NodeProto], scope: Scope, opsets: Mapping[str, int], wanted: Sequence[str]) -> None:
        """Convert the nodes that the wanted names depend on."""
        line = ordered(list(nodes), list(wanted), scope.has)
        self.ends[self.depth] = set(wanted).difference(*map(needs, line)) if self.depth <= self.tail else set()
        for at, node in enumerate(line):
            self.converted += 1
            if self.converted > MOST_OPERATORS:
                raise LimitError(f"the model has more than {MOST_OPERATORS} operators once its functions are inlined")
            try:
                self._node(node, scope, opsets)
            except Parted:
                if node.op_type == "If":
                    pending = [name for name in dict.fromkeys(wanted) if not scope.has(name)]
                    return self._continued(node, line[at + 1 :], pending, scope, opsets)
                reason = "the number of axes of a value that leaves its body is decided by the data"
                key = Missing(node.domain, node.op_type, opsets.get(node.domain, 1), shown(node), reason)
                self.missing[key] = None
                for name in filter(None, node.output):
                    scope.bind(name, None)

    def _continued(
        self, node: NodeProto, rest: Sequence[NodeProto], wanted: Sequence[str], scope: Scope, opsets: Mapping[str, int]
    ) -> None:
        """If(c) {a} {b}; rest -> If(c) {a; rest} {b; rest}"""
        if not rest and set(wanted) == set(node.output):
            raise Parted(shown(node))
        is_last, self.ends[self.depth] = self.depth == self.tail, set(wanted)
        self.tail += is_last
        try:
            self._node(continued(node, rest, wanted), scope, opsets)
        finally:
            self.tail -= is_last

    def any_rank(self, names: Sequence[str]) -> bool:
        """Whether nothing uses these values of the graph at hand, which are outputs of the model."""
        return self.depth <= self.tail and self.ends[self.depth].issuperset(names)

    def values(self, scope: Scope, names: Iterable[str]) -> list[Value | None]:
        """The values of names; None for a poisoned one."""
        found: list[Value | None] = []
        for name in names:
            try:
                found.append(scope.lookup(name))
            except Poisoned:
                found.append(None)
        return found

    def decide(self, label: str, condition: Size) -> bool:
        """The decision being tried for an If; Undecided if there is none."""
        key = (label, condition)
        if key not in self.decisions:
            raise Undecided(*key)
        self.require(label, condition if self.decisions[key] else dim.logical_not(condition))
        return self.decisions[key]

    def require(self, label: str, condition: Size) -> None:
        """Every call that reaches the operator must meet the condition, if that shows before the data are known."""
        if condition in self.guards or (isinstance(condition, Dim) and condition.data_dependent):
            return
        met = dim.logical_or(dim.logical_not(dim.product(self.guards)), condition)
        if met not in {known for known, _ in self.assumptions}:
            self.assumptions[met, label] = None

    @contextmanager
    def given(self, condition: Size) -> Iterator[None]:
        """Within it, what is converted runs only where the condition holds."""
        self.guards.append(condition)
        try:
            yield
        finally:
            self.guards.pop()

    def _node(self, node: NodeProto, scope: Scope, opsets: Mapping[str, int]) -> None:
        try:
            results = self._results(node, scope, opsets)
        except Poisoned:
            results = [None] * len(node.output)
        for name, value in zip(node.output, results, strict=False):
            if name:
                scope.bind(name, value)

    def _results(self, node: NodeProto, scope: Scope, opsets: Mapping[str, int]) -> list[Value | None]:
        domain = domain_of(node.domain)
        function = self.functions.get((domain, node.op_type, node.overload))
        if function is not None:
            return self._called(node, function, scope)
        version = self._version(node, domain, opsets)
        converter = choose(self.table, domain, node.op_type, version)
        if converter is None:
            return self._defined(node, domain, version, scope)
        operator = self._operator(node, domain, version, scope, opsets)
        counts = input_counts(node.op_type, domain, version) or input_counts(node.op_type, domain, LATEST)
        least, most = counts or (0, len(node.input))
        if not least <= len(node.input) <= most:
            raise operator.invalid(f"it takes {least} to {most} inputs, and {len(node.input)} are given")
        holders = [one.type for one in operator.inputs if one is not None and one.type.dtype.element is not None]
        if holders and not takes_holders(node.op_type, domain, version):
            raise operator.invalid(f"it takes tensors, not {holders[0].dtype}")
        try:
            results = _converted(converter, operator)
        except UnsupportedError as error:
            self.missing[Missing(domain, node.op_type, version, operator.label, _reason(error, operator))] = None
            raise Poisoned(operator.label) from error
        except TenfoldError as error:
            error.operator = error.operator or operator.label
            raise
        except (ValueError, IndexError, OverflowError, ZeroDivisionError) as error:
            raise ModelError(str(error) or type(error).__name__, operator=operator.label) from error
        return self._finished(operator, results)

    def _version(self, node: NodeProto, domain: str, opsets: Mapping[str, int]) -> int:
        """The operator set that a node is converted by: the model's, or of a newer one the newest known."""
        version = opsets.get(domain)
        if version is None:
            raise ModelError(f"the model imports no operator set {domain or 'ai.onnx'!r}", operator=shown(node))
        if version <= KNOWN.get(domain, version):
            return version
        reason = changed(node, domain, version)
        if reason:
            self.missing[Missing(domain, node.op_type, version, shown(node), reason)] = None
            raise Poisoned(shown(node))
        return KNOWN[domain]

    def _operator(
        self, node: NodeProto, domain: str, version: int, scope: Scope, opsets: Mapping[str, int]
    ) -> Operator:
        inputs = tuple(scope.lookup(name) if name else None for name in node.input)
        messages = {attribute.name: attribute for attribute in node.attribute}
        try:
            attributes: dict[str, Attribute] = read_attributes(
                messages, self.root, lambda graph: Branch(self, graph, scope, opsets)
            )
        except ModelError as error:
            error.operator = error.operator or shown(node)
            raise
        return Operator(
            domain, node.op_type, version, inputs, tuple(node.output), attributes, node.name, self, scope.lookup
        )

    def _finished(self, operator: Operator, results: Results) -> list[Value | None]:
        found = [results] if isinstance(results, Value) else _values(results, operator.label)
        for index in range(len(found), len(operator.outputs)):
            if operator.wants(index):
                reason = f"its output {index} is not supported"
                key = Missing(operator.domain, operator.type, operator.version, operator.label, reason)
                self.missing[key] = None
        kept: list[Value | None] = []
        for name, value in zip((*operator.outputs, *("",) * len(found)), found, strict=False):
            kept.append(None if value is None else self._folded(value, name, operator.label))
        kept.extend(None for _ in range(len(found), len(operator.outputs)))
        return kept

    def _folded(self, value: Value, name: str, label: str) -> Value:
        """The value, named and labelled; a constant at once if its contents follow from the sizes of the call."""
        try:
            size = value.type.size
        except LimitError as error:
            error.operator = label
            raise
        if isinstance(size, int) and size * value.type.dtype.itemsize >= 2**63:
            raise LimitError(f"its result {value.type} has more bytes than 64 bits count", operator=label)
        folded = from_sizes(value, self.contents)
        folded.name = folded.name or name
        self._label(folded, label)
        return folded

    def _label(self, value: Value, label: str) -> None:
        for node in sources.label(value, label, self.labelled):
            self.makers.update((name, node) for name in unknown.decided_by(node))

    def complete(self, graph: Graph) -> None:
        """Place the nodes that decide sizes which the graph mentions, and whose values nothing uses."""
        makers = [self.makers[name] for name in sorted(unknown.free(graph)) if name in self.makers]
        while makers:
            for node in makers:
                graph.insert(node.outputs[0])
            makers = [self.makers[name] for name in sorted(unknown.free(graph)) if name in self.makers]

    @contextmanager
    def deeper(self, where: str) -> Iterator[None]:
        """Within it, another function or graph is converted; LimitError if too many are open."""
        if self.depth >= DEEPEST_CALL:
            raise LimitError(f"functions and graphs are nested more than {DEEPEST_CALL} deep", operator=where)
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def _called(self, node: NodeProto, function: FunctionProto, scope: Scope) -> list[Value | None]:
        if not self.counts:
            self.counts = operator_counts(self.functions, MOST_OPERATORS + 1)
        key = (domain_of(function.domain), function.name, function.overload)
        if self.converted + self.counts[key] > MOST_OPERATORS:
            raise LimitError(
                f"the model has more than {MOST_OPERATORS} operators once its functions are inlined",
                operator=shown(node),
            )
        return self._call(node, function, scope, named=True)

    def _call(self, node: NodeProto, function: FunctionProto, scope: Scope, *, named: bool) -> list[Value | None]:
        inner = Scope()
        for name, given in zip(function.input, node.input, strict=False):
            if given:
                inner.bind(name, *self.values(scope, [given]))
        try:
            with self.deeper(shown(node)):
                nodes = instantiated(function, node, named=named)
                wanted = [inside for inside, outside in zip(function.output, node.output, strict=False) if outside]
                self.nodes(nodes, inner, {"": KNOWN[""], **versions(function.opset_import)}, wanted)
        except ModelError as error:
            error.add_note(f"in the function {function.name}, called by {shown(node)}")
            raise
        found = dict(zip(wanted, self.values(inner, wanted), strict=True))
        return [found.get(name) for name in function.output]

    def _defined(self, node: NodeProto, domain: str, version: int, scope: Scope) -> list[Value | None]:
        inputs = [scope.lookup(name) if name else None for name in node.input]
        function = standard_function(node, domain, version, inputs)
        if function is None:
            self.missing[Missing(domain, node.op_type, version, shown(node))] = None
            raise Poisoned(shown(node))
        return self._call(node, function, scope, named=False)


@dataclass(frozen=True)
class Branch:
    """A subgraph of an operator, in the scope where it stands."""

    walk: Walk
    message: GraphProto
    scope: Scope
    opsets: Mapping[str, int]

    @property
    def arity(self) -> int:
        """How many formal inputs it has."""
        return len(self.message.input)

    def inline(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """Its outputs among the values of the enclosing graph."""
        return self._outputs(Scope(self.scope), inputs)

    def trace(self, types: Sequence[Type]) -> tuple[Graph, tuple[Value, ...]]:
        """It as a graph, and the values it captures."""
        graph = Graph(name=self.message.name)
        formal = [graph.input(info.name, type) for info, type in zip(self.message.input, types, strict=False)]
        scope = Scope(self.scope, graph)
        outer, self.walk.makers = self.walk.makers, {}
        try:
            outputs = self._outputs(scope, formal)
            graph.set_outputs(outputs, [info.name for info in self.message.output])
            self.walk.complete(graph)
        finally:
            self.walk.makers = outer
        return graph, scope.captures

    def _outputs(self, scope: Scope, inputs: Sequence[Value]) -> tuple[Value, ...]:
        if len(inputs) != self.arity:
            raise ModelError(f"the graph {self.message.name!r} takes {self.arity} inputs, and {len(inputs)} are given")
        for info, value in zip(self.message.input, inputs, strict=True):
            scope.bind(info.name, value)
        with self.walk.deeper(self.message.name):
            found = self.walk.graph(self.message, scope, self.opsets, [info.name for info in self.message.output])
        if any(value is None for value in found):
            raise Poisoned(self.message.name)
        return tuple(value for value in found if value is not None)


def _converted(convert: Converter, operator: Operator) -> Results:
    try:
        return convert(operator)
    except Unfollowed as unfollowed:
        return deferred(convert, operator, unfollowed.index)


def _reason(error: UnsupportedError, operator: Operator) -> str:
    prefix = f"{operator.type}: "
    return error.message.removeprefix(prefix)


def _values(given: Any, label: str) -> list[Value | None]:
    """What a converter gives, which may be a plugin's; ModelError for anything but values."""
    if isinstance(given, Sequence) and all(one is None or isinstance(one, Value) for one in given):
        return list(given)
    raise ModelError(
        f"its converter gives a {type(given).__name__}", operator=label, remedy="have it return a value, or a list"
    )
