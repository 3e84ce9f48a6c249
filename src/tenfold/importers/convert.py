"""How one operator of a foreign model becomes a few of ours.

A format (ONNX) holds explicit tables: for each operator the converters it has had, each with the first
version it holds for. One converter serves every version whose meaning is the same; where only the
signature changed (an attribute became an input), a normaliser comes before it:

    TABLE: Table = {
        ("", "Relu"): ((1, relu),),
        ("", "Squeeze"): ((1, after(input_from_attribute("axes", 1), squeeze)), (13, squeeze)),
    }

A converter takes the `Operator` and returns floating values made by calling operations: one value, or a
sequence with one value for each output of the operator. Whatever it makes and does not return vanishes.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np

from tenfold.errors import LimitError, ModelError, UnsupportedError
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import Kind
from tenfold.ir.graph import Graph, Value
from tenfold.ir.op import Array
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import ENTRIES_LIMIT, MOST_AXES, Type
from tenfold.ops.constant import Constant, Fill, Sizes

T = TypeVar("T")

MOST_FOLDED = 2**24


class Subgraph(Protocol):
    """A graph that an operator holds as an attribute: a branch of an If, the body of a Loop or Scan."""

    @property
    def arity(self) -> int:
        """How many formal inputs it has (captured values not counted)."""

    def inline(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """Its outputs, computed by operations that stand among those of the enclosing graph."""

    def trace(self, types: Sequence[Type]) -> tuple[Graph, tuple[Value, ...]]:
        """It as a graph of its own, on inputs of these types followed by what it captures, and the captured values."""


class Context(Protocol):
    """What a converter may ask of the import that it is part of."""

    def decide(self, label: str, condition: Size) -> bool:
        """Which way a condition goes where only one way leads to a valid model; the call's sizes must then obey."""

    def given(self, condition: Size) -> AbstractContextManager[None]:
        """Within it, what is converted runs only where the condition holds."""

    def require(self, label: str, condition: Size) -> None:
        """Every call that reaches the operator must meet the condition."""

    def any_rank(self, names: Sequence[str]) -> bool:
        """Whether nothing but the model's caller sees these values, so that their ranks may be open."""


MOST_OPEN_AXES = 16


class Parted(Exception):
    """Raised where an If's branches give values that cannot be joined: what follows must be converted in each."""


class Unfollowed(Exception):
    """Raised where a converter needs the contents of input `index` as formulas and only the data decide them."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


Attribute = int | float | str | Tensor | Subgraph | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True)
class Operator:
    """One operator of the user's model, its inputs already converted (None where an optional one is absent).

    `outputs` holds the user's names of its results, "" for one that nobody wants. `version` is the
    version of the operator set of `domain` that the model is written to.
    """

    domain: str
    type: str
    version: int
    inputs: tuple[Value | None, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    name: str = ""
    context: Context | None = None
    named: Callable[[str], Value] | None = None
    """The value of a name of the model, where the operator stands."""

    @property
    def label(self) -> str:
        """What errors, reports and `Node.source` call it: its name, or its type with its first output."""
        return self.name or f"{self.type}({next(filter(None, self.outputs), '')})"

    def wants(self, index: int) -> bool:
        """True if the model uses output `index`."""
        return index < len(self.outputs) and self.outputs[index] != ""

    def optional(self, index: int) -> Value | None:
        """Input `index`, or None where the model leaves it out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def input(self, index: int) -> Value:
        """Input `index`; ModelError where the model leaves it out."""
        value = self.optional(index)
        if value is None:
            raise ModelError(f"{self.type} needs an input {index}, and the model gives none", operator=self.label)
        return value

    def axis(self, axis: int, rank: int) -> int:
        """An axis of a tensor of that rank counted from the start; ModelError if there is none."""
        if not -rank <= axis < rank:
            raise self.invalid(f"there is no axis {axis} in a tensor of rank {rank}")
        return axis % rank

    def sizes(self, index: int) -> tuple[Size, ...] | None:
        """The integer contents of input `index`, symbolic or not; None if absent or known only when the data are."""
        value = self.optional(index)
        if value is None:
            return None
        if value.type.entries is not None:
            return value.type.entries
        if value.type.dtype.kind is Kind.COMPLEX:
            raise self.invalid(f"its input {index} holds complex numbers")
        array = constant(value)
        return None if array is None else tuple(int(x) for x in array.ravel())

    def contents(self, index: int) -> tuple[Size, ...] | None:
        """The integer contents of input `index` as formulas; None if absent.

        Where only the data decide them, the operator is converted as a graph of its own that sees them as symbols.
        """
        value, found = self.optional(index), self.sizes(index)
        if value is None or found is not None:
            return found
        whole = value.type.dtype.is_integer or value.type.dtype is dt.boolean
        if not isinstance(value.type.size, int) or value.type.size > ENTRIES_LIMIT or not whole:
            raise self.unsupported(f"input {index}, {value.type}, must hold few integers, of a known number")
        raise Unfollowed(index)

    def require(self, condition: Size, otherwise: str) -> None:
        """Every call must meet the condition: ModelError at once with `otherwise` if none can."""
        if isinstance(condition, int):
            if not condition:
                raise self.invalid(otherwise)
        elif self.context is not None:
            self.context.require(self.label, condition)

    def axes(self, index: int, rank: int) -> tuple[Size, ...] | None:
        """The axes that input `index` names in a tensor of that rank, as formulas counted from the start."""
        found = self.named_axes(index)
        return None if found is None else tuple(self.place(axis, rank) for axis in found)

    def named_axes(self, index: int) -> tuple[Size, ...] | None:
        """The axes that input `index` names, as they stand there; LimitError if they are far too many."""
        found = self.contents(index)
        if found is not None and len(found) > MOST_AXES:
            raise LimitError(f"{len(found)} axes, and {MOST_AXES} are the most", operator=self.label)
        if found is not None and sum(not isinstance(axis, int) for axis in found) > MOST_OPEN_AXES:
            raise LimitError(
                f"{len(found)} axes that only a call names, and {MOST_OPEN_AXES} are the most", operator=self.label
            )
        return found

    def place(self, axis: Size, rank: int) -> Size:
        """An axis of a tensor of that rank counted from the start; a call that names no axis of it is refused."""
        if isinstance(axis, int):
            return self.axis(axis, rank)
        self.require(dim.logical_and(dim.less(axis, rank), dim.less(-rank - 1, axis)), "there is no such axis")
        return dim.select(dim.less(axis, 0), axis + rank, axis)

    def constant(self, index: int) -> Array | None:
        """The contents of input `index` if it follows from constants alone, else None."""
        value = self.optional(index)
        return None if value is None else constant(value)

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer attribute; ModelError if it is absent and has no default."""
        return self._read(name, int, default)

    def flag(self, name: str, default: bool | None = None) -> bool:
        """An integer attribute that stands for a truth value."""
        return bool(self._read(name, int, default))

    def number(self, name: str, default: float | None = None) -> float:
        """A floating-point attribute."""
        return float(self._read(name, float, default))

    def text(self, name: str, default: str | None = None, choices: Iterable[str] = ()) -> str:
        """A string attribute, one of `choices` if any are given."""
        found = self._read(name, str, default)
        if choices and found not in choices:
            raise ModelError(f"attribute {name} is {found!r}, not one of {', '.join(choices)}", operator=self.label)
        return found

    def integers(self, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """An attribute that is a list of integers."""
        return self._read_list(name, int, default)

    def numbers(self, name: str, default: tuple[float, ...] | None = None) -> tuple[float, ...]:
        """An attribute that is a list of floating-point numbers."""
        return self._read_list(name, float, default)

    def texts(self, name: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """An attribute that is a list of strings."""
        return self._read_list(name, str, default)

    def tensor(self, name: str, default: Tensor | None = None) -> Tensor:
        """An attribute that is a tensor."""
        return self._read(name, Tensor, default)

    def body(self, name: str) -> Subgraph:
        """An attribute that is a graph."""
        found = self.attributes.get(name)
        if found is None or isinstance(found, int | float | str | Tensor | tuple):
            raise ModelError(f"attribute {name} of {self.type} must be a graph", operator=self.label)
        return found

    def unsupported(self, reason: str, remedy: str | None = None) -> UnsupportedError:
        """The error to raise where the operator is valid and cannot be built."""
        return UnsupportedError(f"{self.type}: {reason}", operator=self.label, remedy=remedy)

    def invalid(self, reason: str) -> ModelError:
        """The error to raise where the operator breaks its own specification."""
        return ModelError(f"{self.type}: {reason}", operator=self.label)

    def _read(self, name: str, kind: builtins.type[T], default: T | None) -> T:
        found: Any = self.attributes.get(name, default)
        if found is None:
            raise ModelError(f"{self.type} needs the attribute {name}", operator=self.label)
        if not isinstance(found, kind):
            expected, came = kind.__name__, type(found).__name__
            raise ModelError(f"attribute {name} must be of kind {expected}, not {came}", operator=self.label)
        return found

    def _read_list(self, name: str, kind: builtins.type[T], default: tuple[T, ...] | None) -> tuple[T, ...]:
        found = self._read(name, tuple, default)
        for one in found:
            if not isinstance(one, kind):
                raise ModelError(f"attribute {name} must be a list of {kind.__name__}", operator=self.label)
        return found


Results = Value | Sequence[Value | None]
Converter = Callable[[Operator], Results]
Normaliser = Callable[[Operator], Operator]
Table = Mapping[tuple[str, str], tuple[tuple[int, Converter], ...]]


def choose(table: Table, domain: str, type: str, version: int) -> Converter | None:
    """The converter of an operator at a version of its operator set: the newest that is not newer; None if none."""
    rows = [row for row in table.get((domain, type), ()) if row[0] <= version]
    return max(rows, key=lambda row: row[0])[1] if rows else None


def after(*stages: Callable[[Operator], Any]) -> Converter:
    """A converter that passes the operator through normalisers (all but the last) before the last converts it."""

    def converted(node: Operator) -> Results:
        for normalise in stages[:-1]:
            node = normalise(node)
        results: Results = stages[-1](node)
        return results

    return converted


def input_from_attribute(name: str, index: int, like: int | None = None) -> Normaliser:
    """An older signature held as attribute `name` what is input `index` now.

    Integers become an i64 tensor, other numbers one of input `like`'s element type (f32 if None). A list
    becomes rank 1, a single number rank 0; an absent attribute stays an absent input.
    """

    def normalise(node: Operator) -> Operator:
        found = node.attributes.get(name)
        inputs = [*node.inputs, *(None,) * (index + 1 - len(node.inputs))]
        if isinstance(found, int | float | tuple):
            plain = np.array(found)
            kind = np.dtype(np.float32) if like is None else node.input(like).type.dtype.numpy
            array = plain.astype(np.int64 if plain.dtype.kind in "iu" or plain.size == 0 else kind)
            inputs[index] = Constant(Tensor(array))()
        attributes = {key: value for key, value in node.attributes.items() if key != name}
        return replace(node, inputs=tuple(inputs), attributes=attributes)

    return normalise


def constant(value: Value) -> Array | None:
    """The contents of a value that follows from constants alone, computed by the reference; else None."""
    if value.producer is None:
        return None
    if isinstance(value.op, Constant):
        return value.op.tensor.array
    found: dict[Value, Array] = {}
    return found[value] if _evaluate(value, found) else None


def _evaluable(value: Value) -> bool:
    if isinstance(value.op, Constant):
        return True
    small = value.type.is_static and isinstance(value.type.size, int) and 0 <= value.type.size <= MOST_FOLDED
    leaf = value.op is not None and not value.inputs
    return small and (not leaf or (isinstance(value.op, Fill | Sizes) and _is_static(value)))


def _is_static(value: Value) -> bool:
    return value.type.is_static and all(isinstance(one, int) for one in value.type.entries or ())


def depends_on_contents(size: Size) -> bool:
    """True if the size depends on contents of an input, which may be anything, negative too."""
    return any(one.symbol is not None and one.symbol.low is None for one in dim.declared(size))


def _evaluate(value: Value, found: dict[Value, Array]) -> bool:
    stack = [value]
    while stack:
        producer = stack[-1].producer
        if producer is None or not all(_evaluable(one) for one in producer.outputs):
            return False
        waiting = [one for one in producer.inputs if one not in found]
        if waiting:
            stack.extend(waiting)
            continue
        stack.pop()
        results = producer.op.results(tuple(found[one] for one in producer.inputs))
        found.update(zip(producer.outputs, results, strict=True))
    return True


@dataclass(frozen=True)
class Missing:
    """An operator that no table holds, or that its converter refused: what the report of a model lists."""

    domain: str
    type: str
    version: int
    label: str
    reason: str = ""


def report(missing: Sequence[Missing]) -> UnsupportedError:
    """One error that names every operator of a model that cannot be converted, with the places where it stands."""
    places: dict[tuple[str, str, int, str], list[str]] = {}
    for one in missing:
        places.setdefault((one.domain, one.type, one.version, one.reason), []).append(one.label)
    lines = []
    for (domain, kind, version, reason), labels in sorted(places.items()):
        shown = ", ".join(labels[:4]) + (f" and {len(labels) - 4} more" if len(labels) > 4 else "")
        why = f": {reason}" if reason else ""
        written = f" (opset {version})" if version else ""
        lines.append(f"  {domain or 'ai.onnx'}.{kind}{written} at {shown}{why}")
    return UnsupportedError(
        f"{len(places)} operator(s) of this model cannot be imported\n" + "\n".join(lines),
        operator=missing[0].label,
        remedy="pass a plugin with a converter for them, or choose outputs= that do not need them",
    )
