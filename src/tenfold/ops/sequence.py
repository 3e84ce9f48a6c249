"""Lists of values, and values that may be missing. No kernel touches them: what is left of them runs on the host.

A list made of values that are known one by one (`SequenceOf`), or of the slices of one tensor (`Unstack`), is
followed by importers and rules, which take its elements directly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType, Kind
from tenfold.ir.graph import Graph
from tenfold.ir.objects import box, unbox
from tenfold.ir.op import Array, Op
from tenfold.ir.type import Type, taken_out, unknown_size

if TYPE_CHECKING:
    from tenfold.ir.interpret import Interpreter

NOTHING = dim.symbol("nothing", low=0)
"""Stands alone in the shape of an element type of which there is no element yet."""


def joined(a: Type, b: Type) -> Type:
    """The narrowest type of which both are; ValueError if their element types differ."""
    if a.dtype != b.dtype:
        a = b = Type(joined_dtype(a.dtype, b.dtype), a.shape)
    if NOTHING in a.shape or NOTHING in b.shape:
        return b if NOTHING in a.shape else a
    if a.rank != b.rank or dt.REST in (*a.shape, *b.shape):
        return Type(a.dtype, (dt.REST,))
    return Type(a.dtype, tuple(x if x == y else dt.ANY for x, y in zip(a.shape, b.shape, strict=True)))


def joined_dtype(a: DType, b: DType) -> DType:
    """The same for the types of lists, or of values that may be missing; ValueError if one is another kind."""
    if a == b:
        return a
    if a.kind is not b.kind or a.element is None or b.element is None:
        raise ValueError(f"{a} and {b} are of different kinds")
    make = dt.sequence if a.kind is Kind.SEQUENCE else dt.optional
    return make(joined(a.element, b.element))


def held(values: Sequence[Array]) -> list[Array]:
    """Copies: what a list holds outlives the memory that it was computed in."""
    return [value.copy() for value in values]


class SequenceOf(Op):
    """The values as a list."""

    element: Type

    def infer(self, *values: Type) -> Type:
        """A list of `element`, of which each value is."""
        for value in values:
            if joined(self.element, value) != joined(self.element, self.element):
                raise ValueError(f"a list of {self.element} cannot hold {value}")
        return Type(dt.sequence(self.element), ())

    def evaluate(self, *values: Array) -> Array:
        """The list."""
        return box(held(values))


class Unstack(Op):
    """The slices of a tensor along an axis as a list; each keeps the axis, with size 1, if `keep`."""

    axis: int
    keep: bool = False

    def infer(self, x: Type) -> Type:
        """A list of slices."""
        if not 0 <= self.axis < x.rank:
            raise ValueError(f"slices along axis {self.axis} of {x}")
        one = (1,) if self.keep else ()
        return Type(dt.sequence(Type(x.dtype, (*x.shape[: self.axis], *one, *x.shape[self.axis + 1 :]))), ())

    def evaluate(self, x: Array) -> Array:
        """NumPy's take, place by place."""
        places = ([at] if self.keep else at for at in range(x.shape[self.axis]))
        return box([np.asarray(np.take(x, place, axis=self.axis)) for place in places])


class SplitToSequence(Op):
    """Pieces of a tensor along an axis: of a size each (the last may be smaller), or of the sizes of a vector."""

    axis: int

    def infer(self, x: Type, split: Type) -> Type:
        """A list of tensors of unknown size along the axis."""
        if not 0 <= self.axis < x.rank or split.rank > 1:
            raise ValueError(f"pieces of {split} along axis {self.axis} of {x}")
        shape = (dt.ANY if axis == self.axis else size for axis, size in enumerate(x.shape))
        return Type(dt.sequence(Type(x.dtype, tuple(shape))), ())

    def evaluate(self, x: Array, split: Array) -> Array:
        """NumPy's split."""
        size = x.shape[self.axis]
        if split.ndim == 0:
            if split < 1:
                raise ValueError(f"pieces of {split}")
            return box(held(np.split(x, range(int(split), size, int(split)), axis=self.axis)))
        if (split < 0).any() or split.sum() != size:
            raise ValueError(f"pieces of {split.tolist()} of an axis of {size}")
        return box(held(np.split(x, np.cumsum(split)[:-1], axis=self.axis)) if len(split) else [])


class SequenceAt(Op):
    """The element at a place, counted from the end where it is negative."""

    def infer(self, sequence: Type, place: Type) -> Type:
        """The element's type."""
        element = _element(sequence)
        if dt.REST in element.shape:
            raise ValueError(f"the elements of {sequence} state no number of axes")
        return taken_out(element)

    def evaluate(self, sequence: Array, place: Array) -> Array:
        """Python's index."""
        items, at = unbox(sequence), int(place.item())
        if not -len(items) <= at < len(items):
            raise ValueError(f"there is no element {at} in a list of {len(items)}")
        return np.asarray(items[at])


class SequenceInsert(Op):
    """The list with a value before a place (at its end, if there is no place)."""

    def infer(self, sequence: Type, value: Type, place: Type | None = None) -> Type:
        """A list of what both are."""
        return Type(dt.sequence(joined(_element(sequence), value)), ())

    def evaluate(self, sequence: Array, value: Array, place: Array | None = None) -> Array:
        """Python's insert."""
        items = list(unbox(sequence))
        at = len(items) if place is None else int(place.item())
        if not -len(items) <= at <= len(items):
            raise ValueError(f"there is no place {at} in a list of {len(items)}")
        items.insert(at, *held([value]))
        return box(items)


class SequenceErase(Op):
    """The list without the element at a place (the last, if there is no place)."""

    def infer(self, sequence: Type, place: Type | None = None) -> Type:
        """The list's type."""
        return Type(dt.sequence(_element(sequence)), ())

    def evaluate(self, sequence: Array, place: Array | None = None) -> Array:
        """Python's del."""
        items, at = list(unbox(sequence)), -1 if place is None else int(place.item())
        if not -len(items) <= at < len(items):
            raise ValueError(f"there is no element {at} in a list of {len(items)}")
        del items[at]
        return box(items)


class SequenceLength(Op):
    """How many elements a list has."""

    def infer(self, sequence: Type) -> Type:
        """One i64."""
        _element(sequence)
        return Type(dt.i64, ())

    def evaluate(self, sequence: Array) -> Array:
        """Python's len."""
        return np.array(len(unbox(sequence)), np.int64)


class ConcatFromSequence(Op):
    """The elements of a list one after another along an axis, or stacked along a new one."""

    axis: int
    new_axis: bool = False

    def infer(self, sequence: Type) -> Type:
        """The elements' type with the axis unknown."""
        element = _element(sequence)
        if dt.REST in element.shape:
            raise ValueError(f"the elements of {sequence} state no number of axes")
        shape = list(taken_out(element).shape)
        if not 0 <= self.axis < len(shape) + self.new_axis:
            raise ValueError(f"elements of {element} along axis {self.axis}")
        shape[self.axis : self.axis + (not self.new_axis)] = [unknown_size()]
        return Type(element.dtype, tuple(shape))

    def evaluate(self, sequence: Array) -> Array:
        """NumPy's concatenate or stack."""
        items = unbox(sequence)
        if not items:
            raise ValueError("a list of no elements")
        return np.stack(items, self.axis) if self.new_axis else np.concatenate(items, self.axis)


class MapSequence(Op):
    """Inputs: `sequences` lists of one length, values that stay the same, captures.

    The body takes an element of each list and the rest; each of its outputs becomes a list.
    """

    body: Graph
    sequences: int

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """Lists of the body's output types."""
        if len(inputs) != len(self.body.inputs) or self.sequences < 1:
            raise ValueError(f"the body takes {len(self.body.inputs)} inputs, and {len(inputs)} are given")
        inner = {name for value in self.body.inputs for size in value.type.shape for name in dim.symbols(size)}
        outer = {name for t in inputs for size in t.shape for name in dim.symbols(size)}
        hidden = inner - outer
        return tuple(Type(dt.sequence(_seen(value.type, hidden)), ()) for value in self.body.outputs)

    def run(self, interpreter: Interpreter, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Element after element."""
        lists = [unbox(one) for one in inputs[: self.sequences]]
        if len({len(one) for one in lists}) != 1:
            raise ValueError(f"lists of {', '.join(str(len(one)) for one in lists)} elements")
        found = [interpreter.call(self.body, (*items, *inputs[self.sequences :])) for items in zip(*lists, strict=True)]
        return tuple(box(held([row[at] for row in found])) for at in range(len(self.body.outputs)))


def _seen(type: Type, hidden: set[str]) -> Type:
    return Type(type.dtype, tuple(dt.ANY if dim.symbols(size) & hidden else size for size in type.shape))


class OptionalOf(Op):
    """A value that may be missing: this value, or none if there is no input."""

    element: Type

    def infer(self, *value: Type) -> Type:
        """What may be of the element's type."""
        if len(value) > 1 or (value and joined(self.element, value[0]) != joined(self.element, self.element)):
            raise ValueError(f"an optional {self.element} of {', '.join(map(str, value))}")
        return Type(dt.optional(self.element), ())

    def evaluate(self, *value: Array) -> Array:
        """The value, or None."""
        return box(held(value)[0] if value else None)


class HasElement(Op):
    """Whether a value that may be missing is there."""

    def infer(self, x: Type) -> Type:
        """One bool."""
        _element(x, Kind.OPTIONAL)
        return Type(dt.boolean, ())

    def evaluate(self, x: Array) -> Array:
        """Anything but None."""
        return np.array(unbox(x) is not None)


class GetElement(Op):
    """The value that may be missing; an error if it is."""

    def infer(self, x: Type) -> Type:
        """Its type."""
        element = _element(x, Kind.OPTIONAL)
        if dt.REST in element.shape:
            raise ValueError(f"{x} states no number of axes")
        return taken_out(element)

    def evaluate(self, x: Array) -> Array:
        """What it holds."""
        if unbox(x) is None:
            raise ValueError("the optional value is missing")
        return np.asarray(unbox(x))


def _element(holder: Type, kind: Kind = Kind.SEQUENCE) -> Type:
    if holder.dtype.kind is not kind or holder.dtype.element is None:
        raise ValueError(f"{holder} is no {kind.value}")
    return holder.dtype.element
