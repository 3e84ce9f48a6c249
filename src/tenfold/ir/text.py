"""The textual form of a graph: `show` prints it, `parse` reads it back.

    graph "net" (%x: f32[N, 3], %sr: i64[] = ("sr[0]")) where N in 1..64, "sr[0]" in .. {
      %w = Constant<tensor=f32[3, 2]@"head.weight">() : f32[3, 2]
      %y = Conv<strides=(1, 1), groups=1>(%x, %w) : f32[N, 2] "head" from "net/head"
      return %y as "scores"
    }

A type is written `f32[N, 3]`, of a list of such tensors `seq<f32[N, 3]>[]`, of one that may be missing `opt<…>[]`.
A tensor is written `f32[2]{0.5, 1.0}` with its elements, `f32[3, 2]@"key"` if they stand in a table beside the
text, or both if it has a name. Sizes are formulas of symbols, whose names stand in double quotes where they are no
plain words; after `where` stand their bounds, `by` what they are multiples of, and `data` for those that only the
data decide (`data signed` if they may be negative). `assuming` precedes sizes that must not be zero, each `for` an
operator.
Text attributes stand in single quotes. When read, an operand may also be a tensor or another operation,
types may be left out, and a symbol without bounds is at least 1: `graph (%x: f32[N]) { return Neg(Mul(%x, f32{2})) }`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Dim, Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ir.op import Op
from tenfold.ir.reader import element_type, parse
from tenfold.ir.recipe import sources
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type

__all__ = [
    "INLINE_ELEMENTS",
    "Weights",
    "element_type",
    "parse",
    "quoted",
    "scalar_text",
    "show",
    "size_text",
    "sizes_in",
    "type_text",
]

INLINE_ELEMENTS = 16

Weights = dict[str, Tensor]
"""The tensors whose elements are too many for the text, by the key that stands there for them."""


def show(graph: Graph, weights: Weights | None = None) -> str:
    """The graph as text. Tensors of more than 16 numbers are put into `weights`, keyed by source or content; so are
    smaller ones that were folded from the user's weights, if `weights` is given.
    """
    return _Printer(weights if weights is not None else {}, weights is not None).graph(graph, "") + "\n"


_PLAIN = re.compile(r"[A-Za-z_][\w./~-]*")


class _Printer:
    def __init__(self, weights: Weights, keeps: bool) -> None:
        self.weights = weights
        self.keeps = keeps

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
        made_of = sources(tensor) if self.keeps and tensor.source is None else ()
        if (tensor.size <= INLINE_ELEMENTS and not made_of) or tensor.dtype.is_object:
            elements = ", ".join(_element(one, tensor.dtype) for one in tensor.array.ravel())
            return f"{head}{{{elements}}}" + (f"@{quoted(tensor.source)}" if tensor.source else "")
        key = tensor.source or " of ".join([tensor.digest[:16], *(["+".join(made_of)] if made_of else [])])
        if key in self.weights and self.weights[key] != tensor:
            key = f"{key}#{tensor.digest[:16]}"
        self.weights[key] = tensor
        return f"{head}@{quoted(key)}"

    def input_type(self, type: Type) -> str:
        if type.entries is None:
            return type_text(type)
        return f"{type_text(type)} = ({', '.join(map(size_text, type.entries))})"


def _where(graph: Graph) -> str:
    declared = (symbol for size in sizes_in(graph) for symbol in dim.declared(size))
    symbols = {known.name: symbol for symbol in declared if (known := symbol.symbol)}
    found = [f"{size_text(symbol)} in {_range(symbol)}" for _, symbol in sorted(symbols.items())]
    return f" where {', '.join(found)}" if found else ""


def _range(size: Dim) -> str:
    known = size.symbol
    assert known is not None
    if known.data_dependent:
        return "data" if known.low == 0 else "data signed"
    low, high = ("" if end is None else str(end) for end in (known.low, known.high))
    return f"{low}..{high}" + (f" by {known.multiple}" if known.multiple != 1 else "")


def sizes_in(graph: Graph) -> Iterator[Size]:
    """Every size that the text of a graph mentions."""
    yield from (size for size, _ in graph.assumptions)
    values = [*graph.inputs, *(value for node in graph.nodes for value in node.outputs)]
    for value in values:
        yield from _sizes_of(value.type)
    for value in graph.inputs:
        yield from value.type.entries or ()
    for node in graph.nodes:
        pending = list(node.op.attributes.values())
        while pending:
            one = pending.pop()
            if isinstance(one, tuple):
                pending.extend(one)
            elif isinstance(one, Graph):
                yield from sizes_in(one)
            elif isinstance(one, DType | Type):
                yield from _sizes_of(one)
            elif isinstance(one, Dim):
                yield one


def _sizes_of(one: DType | Type | None) -> Iterator[Size]:
    if isinstance(one, Type):
        yield from one.shape
        yield from _sizes_of(one.dtype)
    elif one is not None:
        yield from _sizes_of(one.element)


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
    if isinstance(value, int | np.integer | Dim | DType | Type):
        return str(value)
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
