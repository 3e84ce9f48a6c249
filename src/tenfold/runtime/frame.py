"""Frames: the sizes of a call, computed once for each new combination and remembered."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.errors import InputError
from tenfold.runtime.cpu.sizes import NativeSizes
from tenfold.runtime.plan import Plan, Spec, Symbol
from tenfold.runtime.ranges import misfit, symbols_behind
from tenfold.runtime.records import damaged
from tenfold.runtime.room import too_large

REMEMBERED = 256
_MOST = 2**63 - 1


@dataclass(frozen=True, eq=False)
class Frame:
    """The slots of a call, the shapes of its outputs (None where sizes are not known before the call, and for objects),
    and the bytes that its arena and each output take.
    """

    slots: NDArray[np.int64]
    outputs: tuple[tuple[int, ...] | None, ...]
    arena: int
    results: Sequence[int] = ()

    @cached_property
    def needed(self) -> int:
        """The bytes that a call takes."""
        return self.arena + sum(self.results)


class Frames:
    """The frames of a plan for a number of threads, least recently used ones forgotten. `native` computes sizes where
    it can; `machine` holds what else the machine decides that runs the plan, by symbol.
    """

    def __init__(self, plan: Plan, threads: int, native: NativeSizes | None = None, **machine: int) -> None:
        self.plan, self.threads, self._native = plan, threads, native
        self._machine = {"threads": threads, **machine}
        for symbol in plan.symbols:
            if symbol.input < 0 and not symbol.section and symbol.name not in self._machine:
                raise damaged("plan.symbols", f"nothing decides {symbol.name!r}")
        self._known: OrderedDict[Any, Frame] = OrderedDict()
        self._lock = Lock()
        self.valued = sorted({symbol.input for symbol in plan.symbols if symbol.entry >= 0})
        self._later = Sections(plan) if len(plan.sections) > 1 else None
        self._shapes = plan.shapes[len(plan.inputs) :]
        self._sections = [plan.section_of(shape) for shape in self._shapes]

    def key(self, arrays: Sequence[NDArray[Any]]) -> Any:
        """What decides a frame: all shapes, and the contents of the integer inputs that sizes depend on."""
        shapes = tuple([array.shape for array in arrays])
        if not self.valued:
            return shapes
        return shapes, tuple([arrays[index].tobytes() for index in self.valued])

    def find(self, arrays: Sequence[NDArray[Any]]) -> Frame:
        """The frame for these inputs. InputError names an input whose sizes do not fit."""
        key = self.key(arrays)
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
                return found
        made = self._make(arrays)
        with self._lock:
            self._known[key] = made
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return made

    def sizes(self, frame: Frame) -> dict[str, int]:
        """What each symbol stands for in a frame, but for those that only the data decide."""
        symbols = enumerate(self.plan.symbols)
        return {symbol.name: int(frame.slots[slot]) for slot, symbol in symbols if not symbol.section}

    def complete(self, slots: NDArray[np.int64], section: int) -> None:
        """Fill in what follows from sizes decided in mid-call, which stand in the slots of their symbols.

        InputError if they cannot be, LimitError if they are too large.
        """
        assert self._later is not None
        self._later.complete(slots, section)

    def outputs_of(self, section: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """The outputs whose sizes a section completes, by number, with the slots of these sizes."""
        for number, (own, shape) in enumerate(zip(self._sections, self._shapes, strict=True)):
            if own == section:
                yield number, shape

    def _make(self, arrays: Sequence[NDArray[Any]]) -> Frame:
        plan = self.plan
        for spec, array in zip(plan.inputs, arrays, strict=True):
            if array.ndim != len(spec.shape):
                raise InputError(
                    f"input {spec.name!r} has {array.ndim} axes, and the model takes {spec}",
                    argument=spec.name,
                    remedy="reshape the array",
                )
        symbols = [self._value(symbol, arrays) for symbol in plan.symbols]
        values = self._values(symbols, arrays)
        self._check(arrays, values)
        outputs = tuple(self._output(number, values) for number in range(len(plan.outputs)))
        results = [
            0 if shape is None else math.prod(shape) * spec.dtype.itemsize
            for spec, shape in zip(plan.outputs, outputs, strict=True)
        ]
        if max(map(abs, values), default=0) > _MOST:
            raise too_large(plan, values, results, _MOST)
        slots = np.zeros(plan.slots, np.int64)
        slots[: len(values)] = values
        return Frame(slots, outputs, values[plan.arenas[0]], results)

    def _values(self, symbols: Sequence[int], arrays: Sequence[NDArray[Any]]) -> list[int]:
        """The slots known before the call."""
        plan, end = self.plan, self.plan.sections[0]
        if self._native is not None and all(-_MOST <= value <= _MOST for value in symbols):
            slots = np.array([*symbols, *plan.program.constants], np.int64)
            if self._native.fill(slots, end):
                found: list[int] = slots.tolist()
                return found
        try:
            return plan.program.run(symbols, end)
        except InputError:
            self._check(arrays, plan.program.run(symbols, end, lenient=True))
            raise

    def _output(self, number: int, values: Sequence[int]) -> tuple[int, ...] | None:
        if self._sections[number] or self.plan.outputs[number].dtype.is_object:
            return None
        return tuple(values[slot] for slot in self._shapes[number])

    def _value(self, symbol: Symbol, arrays: Sequence[NDArray[Any]]) -> int:
        if symbol.section:
            return 0
        if symbol.input < 0:
            return self._machine[symbol.name]
        array = arrays[symbol.input]
        if symbol.entry >= 0:
            return int(array.reshape(-1)[symbol.entry])
        size = int(array.shape[symbol.axis])
        problem = _out_of_bounds(size, symbol)
        if problem:
            name = self.plan.inputs[symbol.input].name
            raise InputError(
                f"input {name!r}: {symbol.name} = {size} (axis {symbol.axis}) {problem}",
                argument=name,
                remedy=f"give an array that fits {self.plan.inputs[symbol.input]}",
            )
        return size

    def _check(self, arrays: Sequence[NDArray[Any]], values: Sequence[int]) -> None:
        for spec, array, shape in zip(self.plan.inputs, arrays, self.plan.shapes, strict=False):
            wanted = tuple(values[slot] for slot in shape)
            if array.shape != wanted:
                self._check_state(spec, array.shape, wanted)
                raise InputError(
                    f"input {spec.name!r} has shape {array.shape}; expected {_expected(spec, wanted)}",
                    argument=spec.name,
                    remedy="reshape or pad the array, or build for these sizes",
                )
        check_sizes(self.plan, values, 0)

    def _check_state(self, spec: Spec, own: tuple[int, ...], wanted: tuple[int, ...]) -> None:
        for one in self.plan.carried:
            if self.plan.inputs[one.input] is spec:
                apart = next(axis for axis, (a, b) in enumerate(zip(own, wanted, strict=True)) if a != b)
                raise InputError(
                    f"state {spec.name!r} has {one.spec.shape[apart]} = {own[apart]} since its first call,"
                    f" and this call needs {wanted[apart]}",
                    argument=spec.name,
                    remedy="reset the context, or use one context for each",
                )


def check_sizes(plan: Plan, values: Sequence[int], section: int) -> None:
    """InputError unless every condition that a section completes holds."""
    for check in plan.checks:
        if not values[check.slot] and plan.section_of((check.slot,)) == section:
            found = None if section else misfit(plan, check, values)
            if found is not None:
                raise found
            raise InputError(f"{check.message}", operator=check.source or None, remedy="change the inputs' sizes")


class Sections:
    """The later sections of a plan's program, remembered by the symbols that they follow from."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._known: OrderedDict[Any, NDArray[np.int64]] = OrderedDict()
        self._lock = Lock()
        self._keys = [np.array(sorted(found), np.int64) for found in _symbols_behind(plan)]

    def complete(self, slots: NDArray[np.int64], section: int) -> None:
        """As `Frames.complete`."""
        begin, end = self._plan.sections[section - 1], self._plan.sections[section]
        key = (section, slots[self._keys[section]].tobytes())
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
        if found is None:
            found = self._made(slots, begin, end, section)
            with self._lock:
                self._known[key] = found
                if len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
        slots[begin:end] = found

    def _made(self, slots: NDArray[np.int64], begin: int, end: int, section: int) -> NDArray[np.int64]:
        plan = self._plan
        values = plan.program.resume(slots[: plan.sections[-1]].tolist(), begin, end)
        if max(map(abs, values), default=0) > _MOST:
            raise too_large(plan, values, [0] * len(plan.outputs), _MOST)
        check_sizes(plan, values, section)
        return np.array(values[begin:end], np.int64)


def _symbols_behind(plan: Plan) -> list[set[int]]:
    """For each section, the symbols that its slots follow from."""
    behind = symbols_behind(plan.program)
    ends = (plan.program.symbols, *plan.sections)
    return [set().union(*behind[begin:end]) for begin, end in pairwise(ends)]


def _expected(spec: Spec, wanted: tuple[int, ...]) -> str:
    named = f" (declared {spec})" if any(isinstance(size, str) for size in spec.shape) else ""
    return f"{wanted}{named}"


def _out_of_bounds(size: int, symbol: Symbol) -> str:
    if symbol.low is not None and size < symbol.low:
        return f"is less than {symbol.low}"
    if symbol.high is not None and size > symbol.high:
        return f"is more than {symbol.high}"
    return f"is not a multiple of {symbol.multiple}" if size % symbol.multiple else ""
