"""Where the values of a graph lie while its engine runs, and when: what a tap reads.

One section for each target, JSON: the graph that its kernels were made from, in textual form; and for the values that
have a place in memory, counted through the graph as `every_value` does, the steps after which they are complete, their
base, the slot of their buffer's offset, and formulas of the element they start at, of their sizes and strides. Names
that are numbers, which the text leaves out, stand apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tenfold.compiler.frame import Slot
from tenfold.compiler.items import Branch, Item, Repeat
from tenfold.compiler.loops import LOOPS
from tenfold.compiler.schedule import Scheduler
from tenfold.ir import unknown
from tenfold.ir.dim import symbols
from tenfold.ir.graph import Graph, Value, every_value
from tenfold.ir.program import Program
from tenfold.ir.text import Weights, show
from tenfold.ops.constant import Constant


def taps_section(graph: Graph, scheduler: Scheduler, numbers: Mapping[Slot, int], tensors: Weights) -> bytes:
    """The section for a scheduled graph; the tensors that its text refers to are added to `tensors`."""
    states = set(_states(scheduler.items))
    places = {index: value for index, value in enumerate(every_value(graph)) if _lies(value, states, scheduler)}
    views = {index: scheduler.layout.view(value) for index, value in places.items()}
    formulas = [n for i, view in views.items() for n in (view.offset, *places[i].type.shape, *view.strides)]
    names = sorted({name for size in formulas for name in symbols(size)})
    program = Program.compile(formulas, names)
    rows = []
    at = 0
    for index, view in views.items():
        base, offset = scheduler.base(view.root)
        end = at + 1 + 2 * len(view.strides)
        steps = scheduler.written.get(view.root, [])
        rows.append([index, steps, base, numbers[offset], list(program.results[at:end])])
        at = end
    data: dict[str, Any] = {"graph": show(graph, tensors), "symbols": names, "rows": program.rows.tolist()}
    named = [[index, value.name] for index, value in enumerate(every_value(graph)) if value.name.isdigit()]
    return json.dumps(data | {"places": rows, "named": named}, sort_keys=True).encode()


def _lies(value: Value, states: set[Value], scheduler: Scheduler) -> bool:
    """True if it lies in memory, at a place known before the call, when its buffer is complete for the last time."""
    if isinstance(value.op, Constant) or value.type.dtype.is_object:
        return False
    view = scheduler.layout.view(value)
    root = view.root
    if unknown.of_sizes((view.offset, *view.strides, *value.type.shape, *root.type.shape)):
        return False
    if root in states and not isinstance(value.op, LOOPS):
        return False
    return root not in scheduler.layout.elements and (root in scheduler.written or root in scheduler.inputs)


def _states(items: Iterable[Item]) -> Iterator[Value]:
    """The states of loops: their buffers hold the next turn's value when a turn has ended."""
    for item in items:
        if isinstance(item, Repeat):
            yield from (state for state, _ in item.turns.moves)
            yield from _states(item.body)
        elif isinstance(item, Branch):
            yield from _states((*item.then, *item.otherwise))
