"""The plan: everything a call does, as data. It names no machine and holds no code.

A plan is a list of spans. A native span is a range of the step table, one native call; a host span is a piece
of the graph that the interpreter runs. Sizes and addresses live in the frame: slots 0 … hold what the plan's
program computes from the symbols, the next slots addresses, the last ones counters. Sizes that only the data decide
are symbols that spans decide: the program's rows stand in sections, each run once the symbols before it are known.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.ir.dtype import DType
from tenfold.ir.program import Program
from tenfold.ir.text import element_type
from tenfold.runtime.spans import Kept, Label, Span, Window, label_in, span_in, span_out

__all__ = [
    "ARENA",
    "FIRST_INPUT",
    "WEIGHTS",
    "Check",
    "Kept",
    "Label",
    "Plan",
    "Span",
    "Spec",
    "Symbol",
    "Window",
    "counters_base",
    "first_kept",
    "from_manifest",
    "to_manifest",
]

ARENA, WEIGHTS = 0, 1
FIRST_INPUT = 2


def counters_base(inputs: int, outputs: int) -> int:
    """The base after all others: on a GPU, memory that every kernel leaves zero."""
    return FIRST_INPUT + inputs + outputs


def first_kept(inputs: int, outputs: int) -> int:
    """The base of the first value that Python keeps between native calls."""
    return counters_base(inputs, outputs) + 1


@dataclass(frozen=True)
class Spec:
    """An input or output of a model: sizes are integers, or formulas of named sizes in textual form."""

    name: str
    dtype: DType
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Symbol:
    """A size that a call decides: the size of an axis of an input (`entry` is -1), an element of an integer input
    (`axis` is -1), the number of threads (`input` is -1), or what a span decides that completes `section` (if that is
    not 0). `low`, `high` and `multiple` bound it.
    """

    name: str
    input: int = -1
    axis: int = -1
    entry: int = -1
    low: int | None = 0
    high: int | None = None
    multiple: int = 1
    section: int = 0


@dataclass(frozen=True)
class Check:
    """Something that must hold of a call's sizes: the value in `slot` is not 0."""

    slot: int
    message: str
    source: str = ""


@dataclass(frozen=True, eq=False)
class Plan:
    """Steps, sizes and addresses of an engine for one target.

    `program` computes slots from `symbols`; `shapes[i]` are the slots of the sizes of tensor i (inputs, then
    outputs); `binds` rows (slot, base, offset slot) make addresses, bases being the arena, the weights,
    the inputs and the outputs in order, then `kept` values; `scratch` is what each thread needs in bytes; `sections`
    are the slots that each section of the program ends before, `arenas` those of the arena's bytes once it has run;
    `buffers` lists what lies in the arena for reports: (name, offset slot, size slot, first step, last step).
    """

    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    symbols: tuple[Symbol, ...]
    program: Program
    slots: int
    steps: NDArray[np.int32]
    argmap: NDArray[np.int32]
    binds: NDArray[np.int64]
    spans: tuple[Span, ...]
    shapes: tuple[tuple[int, ...], ...]
    sections: tuple[int, ...]
    arenas: tuple[int, ...]
    kept: int = 0
    scratch: int = 0
    checks: tuple[Check, ...] = ()
    labels: tuple[Label, ...] = ()
    buffers: tuple[tuple[str, int, int, int, int], ...] = field(default=())

    @property
    def bases(self) -> int:
        """How many bases addresses have."""
        return first_kept(len(self.inputs), len(self.outputs)) + self.kept

    def section_of(self, slots: Sequence[int]) -> int:
        """The section of the program after which all these slots are known."""
        return max(map(self._section, slots), default=0)

    def _section(self, slot: int) -> int:
        return self.symbols[slot].section if slot < len(self.symbols) else bisect_right(self.sections, slot)

    makers: tuple[str, ...] = field(default=())
    """The operators of the user's model that make the buffers, then those that make the outputs."""


_ARRAYS = {"rows": np.int64, "steps": np.int32, "argmap": np.int32, "binds": np.int64}


def to_manifest(plan: Plan) -> tuple[dict[str, Any], bytes]:
    """A plan as JSON-ready data and one block of bytes that holds its arrays."""
    data = {
        "inputs": [_spec_out(spec) for spec in plan.inputs],
        "outputs": [_spec_out(spec) for spec in plan.outputs],
        "symbols": [asdict(symbol) for symbol in plan.symbols],
        "results": list(plan.program.results),
        "slots": plan.slots,
        "spans": [span_out(span) for span in plan.spans],
        "shapes": [list(shape) for shape in plan.shapes],
        "sections": list(plan.sections),
        "arenas": list(plan.arenas),
        "kept": plan.kept,
        "scratch": plan.scratch,
        "checks": [asdict(check) for check in plan.checks],
        "labels": [asdict(label) for label in plan.labels],
        "buffers": [list(buffer) for buffer in plan.buffers],
        "makers": list(plan.makers),
    }
    arrays: dict[str, NDArray[Any]] = {
        "rows": plan.program.rows,
        "steps": plan.steps,
        "argmap": plan.argmap,
        "binds": plan.binds,
    }
    data["arrays"] = {name: list(array.shape) for name, array in arrays.items()}
    return data, b"".join(np.ascontiguousarray(arrays[name], kind).tobytes() for name, kind in _ARRAYS.items())


def from_manifest(data: Mapping[str, Any], block: NDArray[np.uint8]) -> Plan:
    """The plan that `to_manifest` wrote. The numbers are checked when the plan is bound to its code."""
    arrays: dict[str, NDArray[Any]] = {}
    at = 0
    for name, element in _ARRAYS.items():
        kind, shape = np.dtype(element), data["arrays"][name]
        size = int(np.prod(shape)) * kind.itemsize
        arrays[name] = np.frombuffer(block[at : at + size].tobytes(), kind).reshape(shape)
        at += size
    symbols = tuple(Symbol(**symbol) for symbol in data["symbols"])
    return Plan(
        tuple(_spec_in(spec) for spec in data["inputs"]),
        tuple(_spec_in(spec) for spec in data["outputs"]),
        symbols,
        Program(arrays["rows"], len(symbols), tuple(data["results"])),
        data["slots"],
        arrays["steps"],
        arrays["argmap"],
        arrays["binds"],
        tuple(span_in(span) for span in data["spans"]),
        tuple(map(tuple, data["shapes"])),
        tuple(data["sections"]),
        tuple(data["arenas"]),
        data["kept"],
        data["scratch"],
        tuple(Check(**check) for check in data["checks"]),
        tuple(label_in(label) for label in data["labels"]),
        tuple(tuple(buffer) for buffer in data["buffers"]),
        tuple(data["makers"]),
    )


def _spec_out(spec: Spec) -> list[Any]:
    return [spec.name, spec.dtype.name, list(spec.shape)]


def _spec_in(data: list[Any]) -> Spec:
    return Spec(data[0], element_type(data[1]), tuple(data[2]))
