"""State: what a context keeps from call to call, beside what the caller gives.

A state that grows is a buffer with room to spare: a call writes its rows behind the filled ones, in place, and how many
are filled is all that changes. A state that a call scatters into is one buffer too; a call that fails may have written
to it. Any other state has two buffers that change places, as long as its sizes stay.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import InputError, LimitError
from tenfold.ir import dim
from tenfold.ir.substitute import evaluate, parse
from tenfold.runtime.arrays import as_input
from tenfold.runtime.plan import Carried, Plan, Spec

Array = NDArray[Any]
FEWEST_ROWS = 64


class Room(Protocol):
    """What a call takes beside the state."""

    size: int
    limit: int | None


class State:
    """The state of one context. `arena` is what a call takes beside; both together keep to its limit.

    `arrays` holds the array of each input that the context gives, by its number, once the first call has come or
    `seed` has; `filled` how many rows there are, by the number of the input that says so.
    """

    def __init__(self, plan: Plan, arena: Room) -> None:
        self._plan, self._arena = plan, arena
        self._limit = arena.limit
        self._spare: dict[int, Any] = {}
        self.arrays: dict[int, Any] = {}
        self._carried = sorted(plan.carried, key=lambda one: one.input)
        self.carried = {one.output: one for one in self._carried}
        self.filled = {one.count: 0 for one in plan.carried if one.grows}
        self.version = 0
        """Changes whenever an array takes another one's place but by `commit`."""

    def __bool__(self) -> bool:
        return bool(self.carried)

    def __iter__(self) -> Iterator[Carried]:
        return iter(self._carried)

    @property
    def grows(self) -> bool:
        """True if calls append rows."""
        return bool(self.filled)

    @property
    def nbytes(self) -> int:
        """The bytes of what is kept."""
        return sum(one.nbytes for one in self.arrays.values())

    # calls

    def complete(self, given: Mapping[int, Array]) -> list[Any]:
        """All inputs of a call in order, where the caller gives these by number."""
        sizes: dict[str, int] | None = None
        for one in self:
            if one.input not in self.arrays:
                sizes = self._sizes(given) if sizes is None else sizes
                self.arrays[one.input] = self._first(one, sizes)
        counts = {number: np.array([rows], np.int64) for number, rows in self.filled.items()}
        found = {**given, **self.arrays, **counts}
        return [found[number] for number in range(len(self._plan.inputs))]

    def make_room(self, slots: NDArray[np.int64]) -> bool:
        """See to it that a call of these sizes has room for its rows; whether a buffer had to be made anew."""
        grown = False
        for one in self:
            if one.grows and self.arrays[one.input].shape[one.along] < slots[one.filled]:
                self._grow(one, int(slots[one.filled]))
                grown = True
        return grown

    def result(self, number: int, shape: tuple[int, ...]) -> Any:
        """The array that a call writes the next value of the state into which is output `number`."""
        one = self.carried[number]
        if one.grows or one.in_place:
            return self.arrays[one.input]
        spare = self._spare.get(number)
        if spare is None or spare.shape != shape:
            spare = self._spare[number] = self._empty(one.spec, shape)
        return spare

    def commit(self, slots: NDArray[np.int64], results: Sequence[Any]) -> None:
        """A call has ended: its results are the state now."""
        for number, one in self.carried.items():
            if one.grows:
                self.filled[one.count] = int(slots[one.filled])
            elif not one.in_place:
                self._spare[number] = self.arrays[one.input]
                self.arrays[one.input] = results[number]

    # by hand

    def read(self) -> dict[str, Array]:
        """The state by name: views of the filled rows."""
        return {one.spec.name: self._rows(one, self.filled.get(one.count, 0)) for one in self if self._begun(one)}

    def adopt(self, other: State) -> None:
        """Make a copy of another one's state this one's."""
        self.seed(other.read())

    def _begun(self, one: Carried) -> bool:
        return one.input in self.arrays

    def _rows(self, one: Carried, rows: int) -> Array:
        whole: Array = self.arrays[one.input]
        return _part(one, whole, rows) if one.grows else whole

    def reset(self) -> None:
        """Forget it: the next call begins anew."""
        self.arrays.clear()
        self._spare.clear()
        self.filled = dict.fromkeys(self.filled, 0)
        self._arena.limit = self._limit
        self.version += 1

    def rewind(self, rows: int) -> None:
        """Keep only the first `rows` rows; InputError if there are fewer, or if the state has none to count."""
        if len(self.filled) < 1 or not all(one.grows for one in self) or not 0 <= rows <= min(self.filled.values()):
            raise InputError(
                f"the state cannot be taken back to {rows} rows; it has {self.rows}",
                argument="rows",
                remedy="only states that rows are appended to can, to no more than they have",
            )
        self.filled = dict.fromkeys(self.filled, rows)

    @property
    def rows(self) -> int:
        """How many rows are filled; 0 if no state has rows appended."""
        return max(self.filled.values(), default=0)

    def seed(self, given: Mapping[str, Any]) -> None:
        """Make these arrays, by name, the state; they are copied. All states whose rows are counted together are given
        together. InputError for an unknown name and for what does not fit.
        """
        known = {one.spec.name: one for one in self}
        for name in given:
            if name not in known:
                remedy = f"it has {', '.join(known)}" if known else "the engine keeps none: build it with state=True"
                raise InputError(f"the model has no state {name!r}", argument=name, remedy=remedy)
        arrays = {name: _fitting(known[name].spec, array) for name, array in given.items()}
        rows = self._rows_with(arrays)
        for name, array in arrays.items():
            one = known[name]
            if one.grows:
                self._fill(one, self._allocate(one, array.shape, array.shape[one.along]), array)
            else:
                self.arrays[one.input] = self._copied(one.spec, array)
        self.filled = rows
        self.version += 1

    def _rows_with(self, arrays: Mapping[str, Array]) -> dict[int, int]:
        """`filled` once these arrays are the state; InputError where states that are counted together differ."""
        growing = [one for one in self if one.grows]
        rows = dict(self.filled)
        for one in growing:
            if one.spec.name in arrays:
                rows[one.count] = arrays[one.spec.name].shape[one.along]
        for one in growing:
            name = one.spec.name
            held = arrays[name].shape[one.along] if name in arrays else self.filled[one.count]
            if held != rows[one.count]:
                message = f"state {name!r} has another number of rows than those given with it"
                raise InputError(message, argument=name, remedy="seed all of them together")
        return rows

    # memory

    def _sizes(self, given: Mapping[int, Array]) -> dict[str, int]:
        """What symbols stand for: as the caller's arrays say, else as small as they can be."""
        found = {}
        for symbol in self._plan.symbols:
            array = given.get(symbol.input)
            if array is None or symbol.section:
                found[symbol.name] = symbol.low or 0
            elif symbol.entry >= 0:
                found[symbol.name] = int(array.reshape(-1)[symbol.entry]) if symbol.entry < array.size else 0
            else:
                found[symbol.name] = array.shape[symbol.axis] if symbol.axis < array.ndim else 0
        return found

    def _first(self, one: Carried, sizes: Mapping[str, int]) -> Any:
        """The state before the first call: no rows, or what the model begins with."""
        symbols = {name: dim.symbol(name, low=None) for name in sizes}
        shape = [size if isinstance(size, int) else evaluate(parse(size, symbols), sizes) for size in one.spec.shape]
        if one.start:
            packed = zlib.decompress(base64.b64decode(one.start))
            return self._copied(one.spec, np.frombuffer(packed, one.spec.dtype.numpy).reshape(shape))
        if not one.grows:
            return self._zeros(one.spec, shape)
        return self._allocate(one, shape, 0)

    def _grow(self, one: Carried, needed: int) -> None:
        old, rows = self.arrays[one.input], self.filled[one.count]
        fixed = self._plan.inputs[one.input].shape[one.along]
        if isinstance(fixed, int):
            raise InputError(
                f"state {one.spec.name!r} has room for {fixed} rows, and the call needs {needed}",
                argument=one.spec.name,
                remedy="reset the context, or build with a larger maximum in dims",
            )
        self._move(one, old, self._allocate(one, old.shape, needed), rows)
        self.version += 1

    def _allocate(self, one: Carried, shape: Sequence[int], rows: int) -> Any:
        """A buffer of that state with room for `rows`: twice as many, or as many as the memory's limit leaves."""
        fixed = self._plan.inputs[one.input].shape[one.along]
        others = sum(array.nbytes for number, array in self.arrays.items() if number != one.input)
        least, most = (fixed, fixed) if isinstance(fixed, int) else (max(rows, 1), max(2 * rows, FEWEST_ROWS))
        for count in (most, least):
            sizes = tuple(count if axis == one.along else size for axis, size in enumerate(shape))
            nbytes = int(np.prod(sizes, dtype=np.int64)) * one.spec.dtype.itemsize
            left = None if self._limit is None else self._limit - others - nbytes - self._arena.size
            if left is None or left >= 0:
                self.arrays[one.input] = self._empty(one.spec, sizes)
                self._arena.limit = None if self._limit is None else self._limit - others - nbytes
                return self.arrays[one.input]
        raise LimitError(
            f"the state {one.spec.name!r} needs {nbytes} bytes beside {others + self._arena.size} others,"
            f" and the limit is {self._limit}",
            argument="memory_limit",
            remedy="raise memory_limit, or reset the context",
        )

    # where it lies

    def _empty(self, spec: Spec, shape: Sequence[int]) -> Any:
        return np.empty(shape, spec.dtype.numpy)

    def _zeros(self, spec: Spec, shape: Sequence[int]) -> Any:
        return np.zeros(shape, spec.dtype.numpy)

    def _copied(self, spec: Spec, array: Array) -> Any:
        return array.copy()

    def _fill(self, one: Carried, buffer: Any, rows: Array) -> None:
        """Write the first rows of a buffer."""
        _part(one, buffer, rows.shape[one.along])[...] = rows

    def _move(self, one: Carried, old: Any, buffer: Any, rows: int) -> None:
        """Copy the first rows of a buffer, which is used no more, to a larger one."""
        _part(one, buffer, rows)[...] = _part(one, old, rows)


def _part(one: Carried, buffer: Array, rows: int) -> Array:
    return buffer[(*(slice(None),) * one.along, slice(0, rows))]


def _fitting(spec: Spec, given: Any) -> Array:
    """The array as NumPy's; InputError if it does not fit a state."""
    array = as_input(spec, given)
    fits = array.ndim == len(spec.shape) and all(
        not isinstance(size, int) or size == own for size, own in zip(spec.shape, array.shape, strict=True)
    )
    if not fits:
        raise InputError(
            f"state {spec.name!r} has shape {array.shape}; expected {spec}", argument=spec.name, remedy="reshape it"
        )
    return array
