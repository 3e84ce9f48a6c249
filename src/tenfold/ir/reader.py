"""Reading the textual form of graphs that `tenfold.ir.text` describes and prints."""

from __future__ import annotations

import functools
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


def parse(source: str, catalogue: Iterable[type[Op]], weights: Mapping[str, Tensor] | None = None) -> Graph:
    """The graph that `source` is the text of, its operations looked up in `catalogue` (`tenfold.ops.ALL`).

    ValueError names the line and what was expected there.
    """
    parser = _Parser(source, {op.__name__: op for op in catalogue}, weights or {})
    graph = parser.graph()
    parser.expect("<end>")
    return graph


@functools.cache
def element_type(name: str) -> DType:
    """The element type that `str` printed, those of objects too; ValueError if there is none."""
    parser = _Parser(name, {}, {})
    found = parser.dtype()
    parser.expect("<end>")
    return found


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
        self.symbols: dict[str, Dim] = {"?": dt.ANY, "...": dt.REST}
        self.symbols |= self.declarations()

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
            return dim.unknown(name, None if self.accept("signed") else 0)
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
        if self.at_dtype():
            return self.typed()
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

    def typed(self) -> DType | Type | Tensor:
        """What begins with an element type."""
        start = self.place
        dtype = self.dtype()
        if not self.peek("[", "{"):
            return dtype
        self.place = start
        type = self.type()
        self.place, end = start, self.place
        if self.tokens[end][1] in ("{", "@"):
            return self.tensor()
        self.place = end
        return type

    def type(self) -> Type:
        dtype = self.dtype()
        return Type(dtype, tuple(self.several(self.scalar, "]")) if self.accept("[") else ())

    def at_dtype(self) -> bool:
        return self.peek(*_DTYPES) or (self.peek(*dt.HOLDERS) and self.tokens[self.place + 1][1] == "<")

    def dtype(self) -> DType:
        if not self.at_dtype():
            self.fail("an element type")
        name = self.take()
        if name not in dt.HOLDERS:
            return dt.parse(name)
        self.expect("<")
        element = self.type()
        self.expect(">")
        return dt.HOLDERS[name](element)

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
