"""What an engine file says of its graphs: where their constants lie in its weights, and how to undo the packing.

One section, "constants": for each tensor that the text of a graph refers to, by its key there, the place of a stored
weight, its element type and sizes, and a graph in textual form that turns it back into the tensor.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenfold.compiler.weights import Weight, WeightStore, origin
from tenfold.ir.dtype import DType, Kind
from tenfold.ir.graph import Graph
from tenfold.ir.op import Op
from tenfold.ir.tensor import Tensor
from tenfold.ir.text import show
from tenfold.ir.type import Type
from tenfold.ops.logic import Cast
from tenfold.ops.movement import Concat, Pad, Reshape, Slice, Transpose
from tenfold.passes.whole import holds, limits_of


@dataclass(frozen=True)
class Way:
    """How a tensor is had from the weights: where something of a type lies, and the operations that make it of that."""

    offset: int
    stored: Type
    steps: tuple[Op, ...] = ()

    def described(self) -> list[Any]:
        """As JSON-ready data."""
        return [self.offset, self.stored.dtype.name, list(self.stored.shape), _text(self.stored, self.steps)]


def constants_section(tensors: Mapping[str, Tensor], store: WeightStore) -> bytes:
    """The section for these tensors. Those that nothing stored gives back are stored as they are, what is concatenated
    before its parts.
    """
    found = {of: way for weight in store.weights.values() for of, way in _ways(weight)}
    table: dict[str, Any] = {}
    for key, tensor in sorted(tensors.items(), key=lambda pair: -pair[1].nbytes):
        if tensor.dtype.is_object:
            table[key] = [-1, tensor.dtype.name, list(tensor.shape), tensor.array.ravel().tolist()]
            continue
        if origin(tensor) not in found:
            store.stored(tensor, ())
            found |= _ways(store.weights[origin(tensor), ()])
        table[key] = found[origin(tensor)].described()
    return json.dumps(table, sort_keys=True).encode()


def _ways(weight: Weight) -> Iterator[tuple[object, Way]]:
    """The tensors that a stored weight gives back: the one that was packed, and those that it was reshaped or
    concatenated from.
    """
    types = [Type(weight.tensor.dtype, weight.tensor.shape)]
    for op in weight.recipe:
        types += op.types((types[-1],))
    back = [inverse(op, before) for op, before in zip(weight.recipe, types, strict=False)][::-1]
    pending = [(weight.tensor, back)]
    while pending:
        tensor, steps = pending.pop()
        if None in steps:
            continue
        yield origin(tensor), Way(weight.offset, types[-1], tuple(op for op in steps if op))
        made = tensor.recipe if tensor.source is None else None
        if made and len(made.inputs) == 1:
            (before,) = made.inputs
            kept = inverse(made.op, Type(before.dtype, before.shape)) or _widened(made.op, before)
            pending.append((before, [*steps, kept]))
        elif made and isinstance(made.op, Concat):
            pieces = zip(made.inputs, slices(made.op.axis, [one.shape for one in made.inputs]), strict=True)
            pending += [(one, [*steps, piece]) for one, piece in pieces]


def slices(axis: int, shapes: Sequence[tuple[int, ...]]) -> Iterator[Slice]:
    """The parts of a concatenation."""
    at = 0
    for shape in shapes:
        yield Slice(tuple(at * (number == axis) for number in range(len(shape))), shape, (1,) * len(shape))
        at += shape[axis]


def inverse(op: Op, given: Type) -> Op | None:
    """The operation that undoes a one-input operation on a tensor of a type; None if it loses something."""
    sizes = tuple(int(size) for size in given.shape if isinstance(size, int))
    match op:
        case Reshape():
            return Reshape(sizes)
        case Transpose(permutation):
            return Transpose(tuple(sorted(range(len(permutation)), key=lambda axis: permutation[axis])))
        case Pad(before, after) if all(isinstance(size, int) and size >= 0 for size in (*before, *after)):
            return Slice(tuple(before), sizes, (1,) * len(sizes))
        case Cast(to) if _holds(to, given.dtype):
            return Cast(given.dtype)
    return None


def _widened(op: Op, before: Tensor) -> Cast | None:
    """The cast that undoes one of integers to a type that has all of them, whatever they become; None if it has not."""
    fitting = isinstance(op, Cast) and op.to.is_integer and (limits := limits_of(before)) and holds(op.to, limits)
    return Cast(before.dtype) if fitting else None


def _holds(wide: DType, narrow: DType) -> bool:
    """True if every value of one float type is one of the other."""
    mantissas = {"f64": 52, "f32": 23, "f16": 10, "bf16": 7}
    floats = wide.kind is narrow.kind is Kind.FLOAT and wide.name in mantissas and narrow.name in mantissas
    return floats and (wide == narrow or wide.bits > narrow.bits)


def _text(given: Type, steps: tuple[Op, ...]) -> str:
    if not steps:
        return ""
    graph = Graph(name="unpack")
    value = graph.input("packed", given)
    for op in steps:
        value = op(value)
    graph.set_outputs([value], ["result"])
    return show(graph)
