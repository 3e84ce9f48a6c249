"""The textual form of a graph: `show` prints it, `parse` reads it back.

    graph "net" (%x: f32[N, 3], %sr: i64[] = ("sr[0]")) where N in 1..64, "sr[0]" in .. {
      %w = Constant<tensor=f32[3, 2]@"head.weight">() : f32[3, 2]
      %y = Conv<strides=(1, 1), groups=1>(%x, %w) : f32[N, 2] "head" from "net/head"
      return %y as "scores"
    }

A tensor is written `f32[2]{0.5, 1.0}` with its elements, `f32[3, 2]@"key"` if they stand in a table beside the
text, or both if it has a name. Sizes are formulas of symbols, whose names stand in double quotes where they are no
plain words; after `where` stand their bounds, `by` what they are multiples of, and `data` for those that only the
data decide. `assuming` precedes sizes that must not be zero, each `for` an operator.
Text attributes stand in single quotes. When read, an operand may also be a tensor or another operation,
types may be left out, and a symbol without bounds is at least 1: `graph (%x: f32[N]) { return Neg(Mul(%x, f32{2})) }`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any, NoReturn

import numpy as np

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Dim, Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.op import Op
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type

INLINE_ELEMENTS = 16

Weights = dict[str, Tensor]
"""The tensors whose elements are too many for the text, by the key that stands there for them."""


def show(graph: Graph, weights: Weights | None = None) -> str:
    """The graph as text. Tensors of more than 16 elements are put into `weights`, keyed by source or content."""
    return _Printer(weights if weights is not None else {}).graph(graph, "") + "\n"


_PLAIN = re.compile(r"[A-Za-z_][\w./~-]*")


class _Printer:
    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    def graph(self, graph: Graph, indent: str) -> str:
        names = _names(graph)
        inside = indent + "  "
        inputs = ", ".join(f"{names[value]}: {self.input_type(value.type)}" for value in graph.inputs)
        title = f" {quoted(graph.name)}" if graph.name else ""
        where = "" if indent else _where(graph)
        assumed = ", ".join(f"{size_text(size)} for {quoted(operator)}" for size, operator in graph.assumptions)
        lines = [f"graph{title} ({inputs}){where}{assumed and ' assuming ' + assumed} {{"]
        lines += [inside + self.node(node, names, inside) for node in graph.nodes]
        outputs = zip(graph.outputs, graph.output_names, strict=True)
        returned = (names[value] + (f" as {quoted(name)}" if name else "") for value, name in outputs)
        lines += [f"{inside}return {', '.join(returned)}".rstrip(), indent + "}"]
        return "\n".join(lines)

    def node(self, node: Node, names: Mapping[Value, str], indent: str) -> str:
        results = ", ".join(names[value] for value in node.outputs)
        types = ", ".join(type_text(value.type) for value in node.outputs)
        operands = ", ".join(names[value] for value in node.inputs)
        title = f" {quoted(node.name)}" if node.name else ""
        source = f" from {', '.join(map(quoted, node.source))}" if node.source else ""
        return f"{results} = {self.op(node.op, indent)}({operands}) : {types}{title}{source}"

    def op(self, op: Op, indent: str) -> str:
        attributes = ", ".join(f"{name}={self.attribute(value, indent)}" for name, value in op.attributes.items())
        return f"{op.name}<{attributes}>" if attributes else op.name

    def attribute(self, value: Any, indent: str) -> str:
        if isinstance(value, Tensor):
            return self.tensor(value)
        if isinstance(value, Graph):
            return self.graph(value, indent)
        if isinstance(value, tuple):
            inside = ", ".join(self.attribute(one, indent) for one in value)
            return f"({inside},)" if len(value) == 1 else f"({inside})"
        return scalar_text(value)

    def tensor(self, tensor: Tensor) -> str:
        head = type_text(Type(tensor.dtype, tensor.shape))
        if tensor.size <= INLINE_ELEMENTS:
            elements = ", ".join(_element(one, tensor.dtype) for one in tensor.array.ravel())
            return f"{head}{{{elements}}}" + (f"@{quoted(tensor.source)}" if tensor.source else "")
        key = tensor.source or tensor.digest[:16]
        if key in self.weights and self.weights[key] != tensor:
            key = f"{key}#{tensor.digest[:16]}"
        self.weights[key] = tensor
        return f"{head}@{quoted(key)}"

    def input_type(self, type: Type) -> str:
        if type.entries is None:
            return type_text(type)
        return f"{type_text(type)} = ({', '.join(map(size_text, type.entries))})"


def _where(graph: Graph) -> str:
    declared = (symbol for size in _sizes(graph) for symbol in dim.declared(size))
    symbols = {known.name: symbol for symbol in declared if (known := symbol.symbol)}
    found = [f"{size_text(symbol)} in {_range(symbol)}" for _, symbol in sorted(symbols.items())]
    return f" where {', '.join(found)}" if found else ""


def _range(size: Dim) -> str:
    known = size.symbol
    assert known is not None
    if known.data_dependent:
        return "data"
    low, high = ("" if end is None else str(end) for end in (known.low, known.high))
    return f"{low}..{high}" + (f" by {known.multiple}" if known.multiple != 1 else "")


def _sizes(graph: Graph) -> Iterator[Size]:
    """Every size that the text of a graph mentions."""
    yield from (size for size, _ in graph.assumptions)
    values = [*graph.inputs, *(value for node in graph.nodes for value in node.outputs)]
    for value in values:
        yield from value.type.shape
    for value in graph.inputs:
        yield from value.type.entries or ()
    for node in graph.nodes:
        pending = list(node.op.attributes.values())
        while pending:
            one = pending.pop()
            if isinstance(one, tuple):
                pending.extend(one)
            elif isinstance(one, Graph):
                yield from _sizes(one)
            elif isinstance(one, Dim):
                yield one


def _names(graph: Graph) -> dict[Value, str]:
    values = [*graph.inputs, *(value for node in graph.nodes for value in node.outputs)]
    unnamed = 0
    taken: dict[str, int] = {}
    names: dict[Value, str] = {}
    for value in values:
        named = bool(value.name) and not value.name.isdigit()
        name = value.name if named else str(unnamed)
        unnamed += not named
        taken[name] = count = taken.get(name, 0) + 1
        unique = f"{name}~{count}" if count > 1 else name
        names[value] = f"%{unique}" if _PLAIN.fullmatch(unique) or unique.isdigit() else f"%{quoted(unique)}"
    return names


def quoted(name: str) -> str:
    """A string literal of the textual form."""
    return json.dumps(name, ensure_ascii=False)


def type_text(type: Type) -> str:
    """A type, its entries left out."""
    return f"{type.dtype}[{', '.join(map(size_text, type.shape))}]"


def size_text(size: Size) -> str:
    """A size as a formula."""
    return str(size)


def scalar_text(value: Any) -> str:
    """One attribute or element: exact, so that reading it gives it back."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, str):
        return "'" + quoted(value)[1:-1].replace("'", "\\u0027") + "'"
    if isinstance(value, int | np.integer | Dim | DType):
        return size_text(value) if isinstance(value, Dim) else str(value)
    if value is None:
        return "none"
    return _float_text(float(value))


def _element(value: Any, dtype: DType) -> str:
    if dtype.is_integer:
        return str(int(value))
    if dtype.kind is dt.Kind.COMPLEX:
        return f"({_float_text(float(value.real))}, {_float_text(float(value.imag))})"
    if dtype.is_float:
        return _float_text(np.float32(value) if dtype is dt.f32 else float(value))
    return quoted(value) if dtype is dt.string else scalar_text(value)


def _float_text(value: float | np.floating[Any]) -> str:
    written = str(value)
    return f"{written}.0" if re.fullmatch(r"-?\d+", written) else written


def parse(source: str, catalogue: Iterable[type[Op]], weights: Mapping[str, Tensor] | None = None) -> Graph:
    """The graph that `source` is the text of, its operations looked up in `catalogue` (`tenfold.ops.ALL`).

    ValueError names the line and what was expected there.
    """
    parser = _Parser(source, {op.__name__: op for op in catalogue}, weights or {})
    graph = parser.graph()
    parser.expect("<end>")
    return graph


_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<value>%(?:"(?:[^"\\]|\\.)*"|[\w./~-]+))
      | (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<text>'(?:[^'\\]|\\.)*')
      | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<name>[A-Za-z_]\w*(?:\.\w+)*)
      | (?P<mark>//|\.\.|[-+*%()<>{}\[\],:;=@])""",
    re.VERBOSE,
)

Token = tuple[str, str, int]


def _tokens(source: str) -> Iterator[Token]:
    position, line = 0, 1
    while position < len(source):
        found = _TOKEN.match(source, position)
        if found is None:
            raise ValueError(f"line {line}: {source[position]!r} begins nothing that the textual form knows")
        if found.lastgroup != "space":
            yield f"<{found.lastgroup}>", found.group(), line
        line += found.group().count("\n")
        position = found.end()
    yield "<end>", "the end of the text", line


class _Parser:
    def __init__(self, source: str, catalogue: Mapping[str, type[Op]], weights: Mapping[str, Tensor]) -> None:
        self.tokens = list(_tokens(source))
        self.place = 0
        self.catalogue = catalogue
        self.weights = weights
        self.values: dict[str, Value] = {}
        self.symbols = dict(self.declarations())

    def peek(self, *texts: str) -> bool:
        """Whether the next token is one of these texts, or of these kinds: <name>, <value>, <number>, …"""
        kind, found, _ = self.tokens[self.place]
        return found in texts or kind in texts

    def take(self) -> str:
        _, found, _ = self.tokens[self.place]
        self.place = min(self.place + 1, len(self.tokens) - 1)
        return found

    def accept(self, text: str) -> bool:
        return self.peek(text) and bool(self.take())

    def expect(self, text: str) -> str:
        if not self.peek(text):
            self.fail(text)
        return self.take()

    def fail(self, expected: str) -> NoReturn:
        _, found, line = self.tokens[self.place]
        raise ValueError(f"line {line}: expected {expected}, found {found}")

    def string(self) -> str:
        return str(json.loads(self.expect("<string>")))

    def several(self, one: Any, end: str) -> list[Any]:
        """Items separated by commas, up to and with `end`; a comma may end them."""
        found = []
        while not self.accept(end):
            found.append(one())
            if not self.peek(end):
                self.expect(",")
        return found

    def graph(self) -> Graph:
        self.expect("graph")
        outer, self.values = self.values, {}
        graph = Graph(name=self.string() if self.peek("<string>") else "")
        self.expect("(")
        self.several(lambda: self.input(graph), ")")
        while not self.peek("assuming", "{"):
            self.take()
        if self.accept("assuming"):
            graph.assumptions = tuple(self.several(self.assumption, "{"))
        else:
            self.expect("{")
        while not self.accept("return"):
            self.statement(graph)
        returned = []
        while not self.accept("}"):
            value = self.operand()
            returned.append((value, self.string() if self.accept("as") else value.name))
            if not self.accept(",") and not self.peek("}"):
                self.fail("a comma or }")
        graph.set_outputs([value for value, _ in returned], [name for _, name in returned])
        self.values = outer
        return graph

    def assumption(self) -> tuple[Size, str]:
        size = self.scalar()
        self.expect("for")
        return size, self.string()

    def declarations(self) -> Iterator[tuple[str, Dim]]:
        """What follows `where` in the first line, read before the rest: inputs mention the symbols first."""
        place = next((at for at, token in enumerate(self.tokens) if token[1] in ("where", "{")), 0)
        self.place, more = place, self.tokens[place][1] == "where"
        while more:
            self.take()
            name = self.string() if self.peek("<string>") else self.expect("<name>")
            self.expect("in")
            yield name, self.declaration(name)
            more = self.peek(",")
        self.place = 0

    def declaration(self, name: str) -> Dim:
        if self.accept("data"):
            return dim.unknown(name)
        low = None if self.peek("..") else self.scalar()
        self.expect("..")
        high = None if self.peek("by", ",", "{", "assuming") else self.scalar()
        return dim.symbol(name, low, high, self.scalar() if self.accept("by") else 1)

    def input(self, graph: Graph) -> None:
        written = self.expect("<value>")
        self.expect(":")
        type = self.type()
        if self.accept("="):
            self.expect("(")
            type = type.with_entries(tuple(self.several(self.scalar, ")")))
        self.values[written] = graph.input(_name(written), type)

    def statement(self, graph: Graph) -> None:
        written = [self.expect("<value>")]
        while self.accept(","):
            written.append(self.expect("<value>"))
        self.expect("=")
        node = self.node()
        if len(node.outputs) != len(written):
            self.fail(f"{len(node.outputs)} results of {node.op.name}, not {len(written)}")
        for name, value in zip(written, node.outputs, strict=True):
            value.name = _name(name)
            self.values[name] = value
        if self.accept(":"):
            self.types(node)
        node.name = self.string() if self.peek("<string>") else ""
        if self.accept("from"):
            node.source = (self.string(),)
            while self.accept(","):
                node.source += (self.string(),)
        graph.insert(node.outputs[0])

    def types(self, node: Node) -> None:
        for number, value in enumerate(node.outputs):
            if number:
                self.expect(",")
            stated = self.type()
            if stated.dtype != value.type.dtype or stated.rank != value.type.rank:
                self.fail(f"{value.type}, which {node.op.name} gives, not {stated}")
            value.type = stated.with_entries(value.type.entries)

    def node(self) -> Node:
        name = self.expect("<name>")
        if name not in self.catalogue:
            self.fail(f"an operation of the catalogue instead of {name}")
        kind = self.catalogue[name]
        stated: dict[str, Any] = dict(self.several(self.assignment, ">")) if self.accept("<") else {}
        unknown = stated.keys() - {field.name for field in fields(kind)}  # type: ignore[arg-type]
        if unknown:
            self.fail(f"attributes that {name} has, not {', '.join(sorted(unknown))}")
        self.expect("(")
        return Node(kind(**stated), self.several(self.operand, ")"))

    def assignment(self) -> tuple[str, Any]:
        name = self.expect("<name>")
        self.expect("=")
        return name, self.attribute()

    def operand(self) -> Value:
        if self.peek("<value>"):
            written = self.tokens[self.place][1]
            if written not in self.values:
                self.fail(f"a value defined before {written}")
            return self.values[self.take()]
        if self.peek(*_DTYPES):
            return Node(self.catalogue["Constant"](self.tensor()), ()).output  # type: ignore[call-arg]
        return self.node().output

    def attribute(self) -> Any:
        if self.peek("<text>"):
            return json.loads(f'"{self.take()[1:-1]}"')
        if self.peek("graph"):
            return self.graph()
        if self.peek(*_DTYPES):
            follows = self.tokens[self.place + 1][1]
            return self.tensor() if follows in ("[", "{") else dt.parse(self.take())
        if self.peek("("):
            return self.parenthesised()
        return self.scalar()

    def parenthesised(self) -> Any:
        """A tuple, or a formula that begins with a parenthesis: then it holds one item and no comma."""
        start = self.place
        self.take()
        items = self.several(self.attribute, ")")
        if len(items) != 1 or self.tokens[self.place - 2][1] == ",":
            return tuple(items)
        self.place = start
        return self.scalar()

    def type(self) -> Type:
        dtype = self.dtype()
        return Type(dtype, tuple(self.several(self.scalar, "]")) if self.accept("[") else ())

    def dtype(self) -> DType:
        if not self.peek(*_DTYPES):
            self.fail("an element type")
        return dt.parse(self.take())

    def tensor(self) -> Tensor:
        type = self.type()
        if not self.accept("{"):
            self.expect("@")
            key = self.string()
            if key not in self.weights:
                self.fail(f"a tensor called {key!r} beside the text")
            return self.weights[key]
        elements = self.several(self.string if type.dtype is dt.string else self.attribute, "}")
        if type.dtype.kind is dt.Kind.COMPLEX:
            elements = [complex(*parts) for parts in elements]
        read = _READ_AS.get(type.dtype.kind) if type.dtype is not dt.u64 else np.uint64
        array = np.array(elements, dtype=read).astype(type.dtype.numpy).reshape(type.shape)  # type: ignore[arg-type]
        return Tensor(array, dtype=type.dtype, source=self.string() if self.accept("@") else None)

    def scalar(self) -> Any:
        """A number, a truth value, none, or a formula of sizes."""
        found = self.term()
        while self.peek("+", "-"):
            found = found + self.term() if self.take() == "+" else found - self.term()
        return found

    def term(self) -> Any:
        found = self.factor()
        while self.peek("*", "//", "%"):
            mark = self.take()
            other = self.factor()
            found = found * other if mark == "*" else found // other if mark == "//" else found % other
        return found

    def factor(self) -> Any:
        if self.accept("-"):
            return -self.factor()
        if self.accept("("):
            found = self.scalar()
            self.expect(")")
            return found
        if self.peek("<number>"):
            written = self.take()
            return int(written) if written.isdigit() else float(written)
        if self.peek(*_WORDS):
            return _WORDS[self.take()]
        return self.atom()

    def atom(self) -> Any:
        """A symbol, or a function of sizes."""
        name = self.string() if self.peek("<string>") else self.expect("<name>")
        if self.accept("("):
            return getattr(dim, name)(*self.several(self.scalar, ")"))
        return self.symbols.get(name, dim.symbol(name, 1))


_DTYPES = tuple(dtype.name for dtype in dt.ALL)
_READ_AS = {dt.Kind.STRING: np.object_, dt.Kind.INT: np.int64, dt.Kind.UINT: np.int64}
_WORDS = {"true": True, "false": False, "none": None, "inf": float("inf"), "nan": float("nan")}


def _name(written: str) -> str:
    """The name of a value from its token; a number is no name."""
    name = str(json.loads(written[1:])) if written[1] == '"' else written[1:]
    return "" if name.isdigit() else name
