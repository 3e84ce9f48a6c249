"""The plan: everything a call does, as data. It names no machine and holds no code.

A plan is a list of spans. A native span is a range of the step table, one native call; a host span is a piece
of the graph that the interpreter runs. Sizes and addresses live in the frame: slots 0 … hold what the plan's
program computes from the symbols, the next slots addresses, the last ones counters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.ir.dtype import DType
from tenfold.ir.program import Program
from tenfold.ir.text import element_type

ARENA, WEIGHTS = 0, 1
FIRST_INPUT = 2


def counters_base(inputs: int, outputs: int) -> int:
    """The base after all others: on a GPU, memory that every kernel leaves zero."""
    return FIRST_INPUT + inputs + outputs


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
    (`axis` is -1), or the number of threads (`input` is -1). `low`, `high` and `multiple` bound it.
    """

    name: str
    input: int = -1
    axis: int = -1
    entry: int = -1
    low: int | None = 0
    high: int | None = None
    multiple: int = 1


@dataclass(frozen=True)
class Check:
    """Something that must hold of a call's sizes: the value in `slot` is not 0."""

    slot: int
    message: str
    source: str = ""


@dataclass(frozen=True)
class Label:
    """What a step stands for: the operators of the user's model, what it computes, the tactic, and slots of its least
    work in floating-point operations and in bytes (-1 where another step of the same kernel holds them).
    """

    source: tuple[str, ...]
    kind: str
    tactic: str
    flops: int = -1
    bytes: int = -1


@dataclass(frozen=True)
class Window:
    """A tensor of a host step: its base, and slots of its byte offset, of its sizes and of its strides in elements."""

    name: str
    dtype: DType
    base: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Span:
    """A native range of steps [begin, end), or a host step: a graph in textual form with its windows."""

    begin: int = 0
    end: int = 0
    host: str = ""
    reads: tuple[Window, ...] = ()
    writes: tuple[Window, ...] = ()
    tensors: tuple[Window, ...] = ()
    label: Label | None = None

    @property
    def is_native(self) -> bool:
        """True for a range of the step table."""
        return not self.host


@dataclass(frozen=True, eq=False)
class Plan:
    """Steps, sizes and addresses of an engine for one target.

    `program` computes slots from `symbols`; `shapes[i]` are the slots of the sizes of tensor i (inputs, then
    outputs); `binds` rows (slot, base, offset slot) make addresses, bases being the arena, the weights,
    the inputs and the outputs in order; `arena` is the slot of the arena's bytes; `scratch` what each thread needs in
    bytes; `buffers` lists what lies in the arena for reports: (name, offset slot, size slot, first step, last step).
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
    arena: int
    scratch: int = 0
    checks: tuple[Check, ...] = ()
    labels: tuple[Label, ...] = ()
    buffers: tuple[tuple[str, int, int, int, int], ...] = field(default=())
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
        "spans": [_span_out(span) for span in plan.spans],
        "shapes": [list(shape) for shape in plan.shapes],
        "arena": plan.arena,
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
        tuple(_span_in(span) for span in data["spans"]),
        tuple(map(tuple, data["shapes"])),
        data["arena"],
        data["scratch"],
        tuple(Check(**check) for check in data["checks"]),
        tuple(_label_in(label) for label in data["labels"]),
        tuple(tuple(buffer) for buffer in data["buffers"]),
        tuple(data["makers"]),
    )


def _spec_out(spec: Spec) -> list[Any]:
    return [spec.name, spec.dtype.name, list(spec.shape)]


def _spec_in(data: list[Any]) -> Spec:
    return Spec(data[0], element_type(data[1]), tuple(data[2]))


def _window_out(window: Window) -> list[Any]:
    return [window.name, window.dtype.name, window.base, window.offset, list(window.shape), list(window.strides)]


def _window_in(data: list[Any]) -> Window:
    return Window(data[0], element_type(data[1]), data[2], data[3], tuple(data[4]), tuple(data[5]))


def _span_out(span: Span) -> dict[str, Any]:
    data: dict[str, Any] = {"begin": span.begin, "end": span.end}
    if span.host:
        data |= {
            "host": span.host,
            "reads": [*map(_window_out, span.reads)],
            "writes": [*map(_window_out, span.writes)],
        }
        data["tensors"] = [*map(_window_out, span.tensors)]
    if span.label:
        data["label"] = asdict(span.label)
    return data


def _span_in(data: dict[str, Any]) -> Span:
    label = _label_in(data["label"]) if "label" in data else None
    reads = tuple(map(_window_in, data.get("reads", ())))
    writes = tuple(map(_window_in, data.get("writes", ())))
    tensors = tuple(map(_window_in, data.get("tensors", ())))
    return Span(data["begin"], data["end"], data.get("host", ""), reads, writes, tensors, label)


def _label_in(data: dict[str, Any]) -> Label:
    return Label(tuple(data["source"]), data["kind"], data["tactic"], data["flops"], data["bytes"])
