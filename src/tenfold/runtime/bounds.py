"""Every number of a plan that names a slot, a base, a step or a section names one that exists.

`steps.verify` looks at the step table; the sizes that formulas give, and what kernels do with them, are trusted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

from tenfold.ir.program import Opcode
from tenfold.runtime.plan import WEIGHTS, Plan
from tenfold.runtime.records import damaged
from tenfold.runtime.spans import Kept, Span, WalkedLoop, Window
from tenfold.runtime.steps import Opcode as Step

_MOST_SCRATCH = 1 << 40


def verify(plan: Plan, weights: int) -> None:
    """EngineError unless all of them exist; `weights` are the bytes that addresses of weights may lie in."""
    values = len(plan.symbols) + len(plan.program.rows)
    most = values + len(plan.binds) + 3 * len(plan.steps)
    _require(values <= plan.slots <= most, "slots", f"{plan.slots} slots")
    _require(0 <= plan.kept <= len(list(_parts(plan.spans))), "kept", f"{plan.kept} values")
    _require(0 <= plan.scratch <= _MOST_SCRATCH, "scratch", f"{plan.scratch} bytes")
    _inside(_slots(plan), values, "a slot")
    _tables(plan)
    _symbols(plan)
    _carried(plan)
    ends = plan.sections
    _require(bool(ends) and all(0 <= a <= b for a, b in pairwise((*ends, values))), "sections", f"{list(ends)}")
    _require(len(plan.arenas) == len(ends), "arenas", f"{len(plan.arenas)} for {len(ends)} sections")
    for part in _parts(plan.spans):
        _part(plan, part, values)
    _weights(plan, weights)


def _require(holds: bool, where: str, problem: str) -> None:
    if not holds:
        raise damaged(f"plan.{where}", problem)


def _inside(numbers: Iterable[int], limit: int, what: str, least: int = 0) -> None:
    wrong = [number for number in numbers if not least <= number < limit]
    if wrong:
        raise damaged("plan", f"{what} {wrong[0]} of {limit}")


def _slots(plan: Plan) -> Iterator[int]:
    """The slots of sizes that the tables name."""
    for shape in plan.shapes:
        yield from shape
    yield from plan.arenas
    yield from (check.slot for check in plan.checks)
    for _, offset, size, _, _ in plan.buffers:
        yield from (offset, size)


def _tables(plan: Plan) -> None:
    """The tables have one entry for each thing they are about."""
    specs = (*plan.inputs, *plan.outputs)
    _require([len(one.shape) for one in specs] == [len(shape) for shape in plan.shapes], "shapes", "other ranks")
    sizes = [size for one in specs for size in one.shape if isinstance(size, int)]
    _require(min(sizes, default=0) >= 0, "inputs", "a size below 0")
    makers = len(plan.buffers) + len(plan.outputs)
    _require(len(plan.makers) == makers, "makers", f"{len(plan.makers)} for {makers} buffers and outputs")
    called = [index for index, row in enumerate(plan.steps.tolist()) if row[0] == Step.CALL]
    _require(not called or called[-1] < len(plan.labels), "labels", f"{len(plan.labels)} labels")
    named = [spec.name for spec in plan.inputs]
    _require(len(set(named)) == len(named), "inputs", "a name twice")


def _symbols(plan: Plan) -> None:
    """What decides a symbol exists."""
    ranks = [len(spec.shape) for spec in plan.inputs]
    for one in plan.symbols:
        _inside([one.input], len(ranks), "an input", -1)
        _inside([one.section], len(plan.sections), "a section")
        if one.input >= 0 and not one.section and one.entry < 0:
            _inside([one.axis], ranks[one.input], "an axis")
        _require(one.multiple > 0, "symbols", f"multiples of {one.multiple}")


def _carried(plan: Plan) -> None:
    """What is kept from call to call is an input, an output and, where it grows, a number."""
    for one in plan.carried:
        _inside([one.input], len(plan.inputs), "an input")
        _inside([one.output], len(plan.outputs), "an output")
        rank = len(plan.inputs[one.input].shape)
        _require(len(plan.outputs[one.output].shape) == len(one.spec.shape) == rank, "carried", "other ranks")
        same = plan.inputs[one.input].dtype == plan.outputs[one.output].dtype == one.spec.dtype
        _require(same, "carried", "other element types")
        if one.grows:
            _inside([one.along], rank, "an axis")
            _inside([one.count], len(plan.inputs), "an input")
            _inside([one.filled], plan.slots, "a slot")
            count = plan.inputs[one.count]
            _require(count.shape == (1,) and count.dtype.name == "i64", "carried", f"the count {count}")
    places = [number for one in plan.carried for number in (one.input, -1 - one.output)]
    _require(len(set(places)) == len(places), "carried", "a state twice")


def _parts(one: Any) -> Iterator[Any]:
    """The spans, windows, values and loops in spans, at any depth."""
    if isinstance(one, tuple):
        for part in one:
            yield from _parts(part)
    elif dataclasses.is_dataclass(one):
        yield one
        for field in dataclasses.fields(one):
            yield from _parts(getattr(one, field.name))


def _part(plan: Plan, part: Any, values: int) -> None:
    match part:
        case Window():
            _inside([part.base], plan.bases, "a base")
            if not part.dtype.is_object:
                _inside((part.offset, *part.shape, *part.strides), values, "a slot")
            _require(len(part.shape) == len(part.strides), "spans", "other strides than sizes")
        case Kept():
            _inside([part.base], plan.bases, "a base")
            _inside(part.shape, values, "a slot")
            whole = sorted(part.order) == list(range(len(part.shape)))
            _require(whole and len(part.names) in (0, len(part.shape)), "spans", "other axes than sizes")
        case Span():
            _inside([part.section], len(plan.sections), "a section")
            if part.is_native:
                _inside([part.begin], len(plan.steps), "a step")
                _require(part.begin < part.end <= len(plan.steps), "spans", f"steps {part.begin} to {part.end}")
        case WalkedLoop():
            _inside([part.section], len(plan.sections), "a section")


def _weights(plan: Plan, size: int) -> None:
    """Addresses of weights that do not depend on the call lie among them."""
    first, rows = len(plan.symbols), plan.program.rows.tolist()
    for _, base, offset in plan.binds.tolist():
        row = rows[offset - first] if base == WEIGHTS and first <= offset < first + len(rows) else None
        if row and row[0] == Opcode.CONST and not 0 <= row[1] <= size:
            raise damaged("plan.binds", f"byte {row[1]} of {size} bytes of weights")
