"""Run a graph node by node, in plain NumPy: the oracle. Subclass `Interpreter` to observe, fold or calibrate."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from tenfold.errors import ExecutionError, InputError, OutOfMemory, TenfoldError
from tenfold.ir.dim import Dim, Size
from tenfold.ir.graph import Graph, Node, Value, unmet
from tenfold.ir.objects import pack
from tenfold.ir.op import Array, Op
from tenfold.ir.substitute import substitute
from tenfold.ir.type import Type

Bindings = dict[str, int]
"""The size or the element that each symbol stands for in this call, by its name."""


@runtime_checkable
class Control(Protocol):
    """An operation with subgraphs: it runs them through the interpreter that runs it."""

    def run(self, interpreter: Interpreter, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """The outputs; `interpreter.call(graph, arrays)` runs a subgraph."""


def bind(op: Op, bindings: Mapping[str, Size]) -> Op:
    """The same operation with the symbols in its attributes replaced by name; those that `bindings` lacks stay."""
    changed = {}
    for name, value in op.attributes.items():
        bound = _bound(value, bindings)
        if bound is not value:
            changed[name] = bound
    return dataclasses.replace(op, **changed) if changed else op  # type: ignore[type-var]


def _bound(value: Any, bindings: Mapping[str, Size]) -> Any:
    if isinstance(value, Dim):
        return substitute(value, bindings)
    if isinstance(value, tuple):
        inner = tuple(_bound(item, bindings) for item in value)
        return value if all(new is old for new, old in zip(inner, value, strict=True)) else inner
    return value


class Interpreter:
    """Runs graphs on NumPy arrays. `bindings` is what is known of the sizes so far, innermost subgraph last."""

    def __init__(self, bindings: Mapping[str, int] | None = None) -> None:
        self.bindings: Bindings = dict(bindings or {})

    def run(self, graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name, in the graph's order.

        Raises InputError for a missing, unknown or misfit input, ExecutionError if an operation fails.
        """
        names = [value.name for value in graph.inputs]
        for name in inputs:
            if name not in names:
                raise InputError(
                    f"the graph has no input {name!r}", argument=name, remedy=f"its inputs are {', '.join(names)}"
                )
        for name in names:
            if name not in inputs:
                raise InputError(f"input {name!r} is missing", argument=name)
        arrays = [_as_value(value, inputs[value.name]) for value in graph.inputs]
        return dict(zip(graph.output_names, self.call(graph, arrays), strict=True))

    def call(self, graph: Graph, arrays: Sequence[Array]) -> tuple[Array, ...]:
        """The outputs of a graph or subgraph on arrays given in the order of its inputs.

        Sizes it binds are forgotten when it returns: a loop's body may see others at each turn.
        """
        outer, self.bindings = self.bindings, dict(self.bindings)
        try:
            self.bindings.update(bindings_of(graph.inputs, arrays, self.bindings))
            _check_assumptions(graph, self.bindings)
            return self._walk(graph, arrays)
        finally:
            self.forget(outer)

    def forget(self, outer: Bindings) -> None:
        """The end of a call: what it found out about sizes is forgotten. Override it to remember."""
        self.bindings = outer

    def _walk(self, graph: Graph, arrays: Sequence[Array]) -> tuple[Array, ...]:
        known: dict[Value, Array] = dict(zip(graph.inputs, arrays, strict=True))
        left = Counter(value for node in graph.nodes for value in node.inputs)
        left.update(graph.outputs)
        for node in graph.nodes:
            found = self._attempt(node, tuple(known[value] for value in node.inputs))
            known.update(zip(node.outputs, found, strict=True))
            for value in node.inputs:
                left[value] -= 1
                if not left[value]:
                    known.pop(value, None)
        return tuple(known[value] for value in graph.outputs)

    def _attempt(self, node: Node, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        try:
            found = self.node(node, inputs)
            self._learn(node, found)
        except (TenfoldError, ValueError, TypeError, LookupError, ArithmeticError, MemoryError) as error:
            came = f", which came from {', '.join(node.source)}" if node.source else ""
            note = f"while running {node.name or node.op.name}{came}"
            if isinstance(error, TenfoldError):
                error.add_note(note)
                raise
            kind = OutOfMemory if isinstance(error, MemoryError) else ExecutionError
            failure = kind(f"{node.op.name} failed: {error}", operator=", ".join(node.source) or node.name or None)
            failure.add_note(note)
            raise failure from error
        return found

    def node(self, node: Node, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """The outputs of one node. Override it to look at, replace or remember what passes."""
        return self.evaluate(node.op, inputs)

    def evaluate(self, op: Op, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """The outputs of an operation with the sizes known now."""
        bound = bind(op, self.bindings)
        return bound.run(self, inputs) if isinstance(bound, Control) else bound.results(inputs)

    def _learn(self, node: Node, found: tuple[Array, ...]) -> None:
        for value, array in zip(node.outputs, found, strict=True):
            if not value.type.dtype.fits(array) or array.ndim != value.type.rank:
                raise TypeError(f"it gave {array.dtype}{list(array.shape)}, not {value.type}")
            for size, actual in zip(value.type.shape, array.shape, strict=True):
                known = substitute(size, self.bindings)
                if isinstance(known, Dim) and known.symbol:
                    self.bindings[known.symbol.name] = actual
                elif isinstance(known, int) and known != actual:
                    raise ValueError(f"it gave the shape {list(array.shape)}, not {value.type}: {size} is {known}")
            for entry, actual in zip(value.type.entries or (), array.flat, strict=False):
                if isinstance(entry, Dim) and entry.symbol and entry.data_dependent:
                    self.bindings.setdefault(entry.symbol.name, int(actual))


def _as_value(value: Value, given: Any) -> Array:
    if not value.type.dtype.is_object:
        return np.asarray(given)
    try:
        return pack(value.type, given)
    except TypeError as error:
        raise InputError(f"input {value.name!r}: {error}", argument=value.name) from error


def bindings_of(inputs: Sequence[Value], arrays: Sequence[Array], known: Mapping[str, int]) -> Bindings:
    """What these inputs decide of the sizes, besides what is `known` already.

    A size or an element that is a bare symbol decides it. InputError names the input, and the axis that does not fit.
    """
    found: Bindings = {}
    for value, array in zip(inputs, arrays, strict=True):
        if not value.type.dtype.fits(array):
            raise InputError(
                f"input {value.name!r} takes {value.type.dtype}, not {array.dtype}",
                argument=value.name,
                remedy=f"convert it, for example with .astype({value.type.dtype.numpy.name!r})",
            )
        if array.ndim != value.type.rank:
            raise InputError(
                f"input {value.name!r} takes {value.type}, not an array of shape {list(array.shape)}",
                argument=value.name,
            )
        for size, actual in _facts(value.type, array):
            if isinstance(size, Dim) and size.symbol:
                found.setdefault(size.symbol.name, actual)
    for value, array in zip(inputs, arrays, strict=True):
        _check(value, array, {**known, **found})
    return found


def _check_assumptions(graph: Graph, bindings: Mapping[str, int]) -> None:
    for condition, operator in graph.assumptions:
        if substitute(condition, bindings) == 0:
            raise InputError(unmet(condition), operator=operator, remedy="give inputs of such sizes")


def _facts(type: Type, array: Array) -> Iterator[tuple[Size, int]]:
    yield from zip(type.shape, array.shape, strict=True)
    if type.entries is not None and len(type.entries) == array.size:
        yield from zip(type.entries, (int(item) for item in array.flat), strict=True)


def _check(value: Value, array: Array, bindings: Mapping[str, int]) -> None:
    for place, (size, actual) in enumerate(_facts(value.type, array)):
        expected = substitute(size, bindings)
        if isinstance(expected, int) and expected != actual:
            rank = value.type.rank
            where = f"axis {place} of size" if place < rank else f"element {place - rank}, which is"
            stated = f"{size}" if expected == size else f"{size} = {expected}"
            raise InputError(
                f"input {value.name!r} has {where} {actual}, and takes {stated} there",
                argument=value.name,
                remedy=f"its type is {value.type}",
            )
