"""State: outputs of a call that are inputs of the next, kept by the context.

Where the new state is the old one with rows behind it (`Concat(past, new)`: keys and values of attention), the state is
a buffer with room to spare: the model sees its filled rows, and new ones are written behind them in place. Any other
new state takes the old one's place when the call has ended.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tenfold.errors import ModelError, OptionError
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Carry, Graph, Node, Value
from tenfold.ir.substitute import parse
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.ops.movement import Append, Concat, Slice
from tenfold.rewrite.rule import specialise

Pairs = bool | Mapping[str, str]

_NEW_NAMES = (
    (r"^past_key_values(?=\W|_|\d|$)", "present"),
    (r"^past_key_values(?=\W|_|\d|$)", "present_key_values"),
    (r"^past(?=\W|_|\d|$)", "present"),
    (r"_in$", "_out"),
    (r"$", "n"),
    (r"$", "N"),
    (r"0$", "n"),
    (r"$", "_out"),
    (r"^", "new_"),
    (r"^", "next_"),
)
"""How exporters call the new value of a state, by what they call the old one."""


def carry(graph: Graph, pairs: Pairs) -> None:
    """Let a context keep the state of a graph: `pairs` names for inputs the outputs that are their next values, True
    finds them by the names that exporters give.

    Raises OptionError for a name that the graph does not have, and where an output cannot be an input.
    """
    if not isinstance(pairs, bool | Mapping):
        remedy = "give {'past': 'present'}: inputs with the outputs that are their next values; or True, or False"
        raise OptionError(f"state is {pairs!r}", argument="state", remedy=remedy)
    if pairs is False:
        return
    _follow_names(graph)
    chosen = _found(graph) if pairs is True else dict(pairs)
    old = {value.name: value for value in graph.inputs}
    new = dict(zip(graph.output_names, graph.outputs, strict=True))
    for name, output in chosen.items():
        _require(name in old, f"the model has no input {name!r}", old)
        _require(output in new, f"the model has no output {output!r}", new)
        _require(list(chosen.values()).count(output) == 1, f"{output!r} is the next value of two inputs", ())
    counts: dict[str, Value] = {}
    carried = [_carried(graph, old[name], name, output, counts) for name, output in chosen.items()]
    graph.structure = _without(graph, chosen) if graph.structure else None
    _reorder(graph, carried, counts)
    graph.carried = tuple(carried)


def appends_in_place(graph: Graph, node: Node) -> bool:
    """True for what writes rows into a state of the graph."""
    inputs = {one.input for one in graph.carried}
    return isinstance(node.op, Append) and node.inputs[0] in graph.inputs and node.inputs[0].name in inputs


def _require(holds: bool, problem: str, known: Any) -> None:
    if not holds:
        raise OptionError(problem, argument="state", remedy=f"it has {', '.join(known)}" if known else "give one each")


def _found(graph: Graph) -> dict[str, str]:
    names = set(graph.output_names)
    found = {name: name for name in graph.states if name in names}
    for value in graph.inputs:
        guesses = (re.sub(old, new, value.name, count=1) for old, new in _NEW_NAMES if re.search(old, value.name))
        for guess in guesses:
            if guess in names and guess != value.name:
                found.setdefault(value.name, guess)
    if not found:
        raise OptionError(
            "no output is called as the next value of an input",
            argument="state",
            remedy='name the pairs: state={"past_key": "present_key"}',
        )
    return found


def _carried(graph: Graph, value: Value, name: str, output: str, counts: dict[str, Value]) -> Carry:
    result = graph.outputs[graph.output_names.index(output)]
    joined = _appended(value, result)
    if joined is None:
        _require_alike(value.type, result.type, name, output)
        for old, new in zip(value.type.shape, result.type.shape, strict=True):
            if not dim.known_equal(old, new):
                _from(graph, old, 0 if set(dim.symbols(old)) & set(dim.symbols(new)) else 1)
        return Carry(name, output, start=_start(graph.weights.get(name) if name in graph.states else None))
    return _with_room(graph, value, name, output, counts, *joined)


def _with_room(
    graph: Graph, value: Value, name: str, output: str, counts: dict[str, Value], axis: int, rows: Value
) -> Carry:
    """A state that grows by `rows` along an axis: the input becomes the whole buffer, of which the model sees the
    filled part, and the output its end.
    """
    result = graph.outputs[graph.output_names.index(output)]
    length = _from(graph, value.type.shape[axis], 0)
    known = length.symbol if isinstance(length, dim.Dim) else None
    assert known is not None
    count = f"{known.name}.count"
    if count not in counts:
        counts[count] = Value(Type(dt.i64, (1,), (length,)), name=count)
    shape = list(value.type.shape)
    room: Size = known.high if known.high is not None else dim.symbol(f"{known.name}.capacity", low=1)
    buffer = Value(Type(value.type.dtype, (*shape[:axis], room, *shape[axis + 1 :])), name=name)
    graph.inputs[graph.inputs.index(value)] = buffer
    appended: Value = Append(axis, length)(buffer, rows)
    whole = _filled(appended, result.type.shape)
    assert result.producer and appended.producer and whole.producer
    appended.producer.source = whole.producer.source = result.producer.source
    number = graph.output_names.index(output)
    graph.replace_uses(result, whole)
    graph.set_outputs([appended if at == number else one for at, one in enumerate(graph.outputs)], graph.output_names)
    graph.remove(result.producer)
    graph.replace_uses(value, _filled(buffer, tuple(shape)))
    return Carry(name, output, axis, count)


def _start(tensor: Tensor | None) -> str:
    """What a state of the model's own begins with."""
    if tensor is None or not np.any(array := np.ascontiguousarray(tensor.array)):
        return ""
    return base64.b64encode(zlib.compress(array.tobytes())).decode()


def _follow_names(graph: Graph) -> None:
    """Let a size that is called like a formula of several others, "past + new", be that formula. (Of one other,
    "past + 1", exporters say it of any number of new rows.)
    """
    known = {found.name: size for size in _sizes(graph) if (found := size.symbol)}
    for name in sorted(known):
        others = {other: size for other, size in known.items() if other != name}
        try:
            meant = parse(name, others)
        except ModelError:
            continue
        if len(dim.symbols(meant)) > 1:
            specialise(graph, {name: meant})


def _sizes(graph: Graph) -> Iterator[dim.Dim]:
    yield from (size for value in graph.inputs for size in value.type.shape if isinstance(size, dim.Dim))


def _from(graph: Graph, size: Size, low: int) -> Size:
    """The size, which begins at `low` from now on: at 0 where calls add to it, at 1 where each says anew what it is."""
    known = size.symbol if isinstance(size, dim.Dim) else None
    if known is None or known.low == low:
        return size
    found = dim.symbol(known.name, low=low, high=known.high, multiple=known.multiple)
    specialise(graph, {known.name: found})
    return found


def _filled(buffer: Value, shape: tuple[Size, ...]) -> Value:
    rank = len(shape)
    value: Value = Slice((0,) * rank, shape, (1,) * rank)(buffer)
    return value


def _appended(value: Value, result: Value) -> tuple[int, Value] | None:
    """The axis and the rows if `result` is `value` with rows of its own behind it, along an axis of open size."""
    match result:
        case Value(Concat(axis), (first, *rest)) if first is value and value not in rest:
            length = value.type.shape[axis]
            if not isinstance(length, dim.Dim) or length.symbol is None:
                return None
            return axis, rest[0] if len(rest) == 1 else Concat(axis)(*rest)
    return None


def _require_alike(old: Type, new: Type, name: str, output: str) -> None:
    pairs = zip(old.shape, new.shape, strict=False)
    fixed = all(isinstance(a, dim.Dim) or a == b or isinstance(b, dim.Dim) for a, b in pairs)
    if old.dtype != new.dtype or old.rank != new.rank or not fixed:
        raise OptionError(
            f"output {output!r}, {new}, cannot be input {name!r}, {old}, of the next call",
            argument="state",
            remedy="leave its sizes open by shapes={…} or dims={…}, or leave the pair out",
        )


def _reorder(graph: Graph, carried: list[Carry], counts: Mapping[str, Value]) -> None:
    """Counts first, then what a call gives, then what the context keeps: sizes follow from the first that has them."""
    kept = {one.input for one in carried}
    given = [value for value in graph.inputs if value.name not in kept]
    graph.inputs[:] = [*counts.values(), *given, *(value for value in graph.inputs if value.name in kept)]


# how arguments are nested, without the state


def _without(graph: Graph, pairs: Mapping[str, str]) -> dict[str, Any]:
    """How the arguments and results nest that are left."""
    assert graph.structure is not None
    inputs = _numbers(value.name not in pairs for value in graph.inputs)
    outputs = _numbers(name not in pairs.values() for name in graph.output_names)
    parameters = [[name, _pruned(node, inputs)] for name, node in graph.structure["parameters"]]
    result = _pruned(graph.structure["result"], outputs)
    if isinstance(result, dict) and len(result.get("tuple", ())) == 1:
        (result,) = result["tuple"]
    return {"parameters": [one for one in parameters if one[1] is not None], "result": result}


def _numbers(stays: Iterator[bool]) -> dict[int, int]:
    found: dict[int, int] = {}
    for at, one in enumerate(stays):
        if one:
            found[at] = len(found)
    return found


def _pruned(node: Any, numbers: Mapping[int, int]) -> Any:
    """A node with its arrays numbered anew; None if none of its arrays is left."""
    if isinstance(node, int):
        return numbers.get(node)
    ((kind, inner),) = node.items()
    if kind == "zeros":
        return {kind: [numbers[inner[0]], *inner[1:]]} if inner[0] in numbers else None
    if kind == "number":
        return {kind: numbers[inner]} if inner in numbers else None
    if kind == "constant":
        return node
    if kind == "dict":
        pairs = [[key, _pruned(one, numbers)] for key, one in inner]
        left = [pair for pair in pairs if pair[1] is not None]
        return {kind: left} if left or not inner else None
    children = [one for one in (_pruned(one, numbers) for one in inner) if one is not None]
    return {kind: children} if children or not inner else None
