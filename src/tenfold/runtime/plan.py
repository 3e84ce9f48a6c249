"""The plan: everything a call does, as data. It names no machine and holds no code.

A plan is a list of spans. A native span is a range of the step table, one native call; a host span is a piece
of the graph that the interpreter runs. Sizes and addresses live in the frame: slots 0 … hold what the plan's
program computes from the symbols, the next slots addresses, the last ones counters. Sizes that only the data decide
are symbols that spans decide: the program's rows stand in sections, each run once the symbols before it are known.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_type_hints

import numpy as np
from numpy.typing import NDArray

from tenfold.ir.dtype import DType
from tenfold.ir.program import Program
from tenfold.runtime.records import damaged, read, written
from tenfold.runtime.spans import Kept, Label, Span, Window
from tenfold.runtime.steps import WIDTH

__all__ = [
    "ARENA",
    "FIRST_INPUT",
    "WEIGHTS",
    "Carried",
    "Check",
    "Kept",
    "Label",
    "Plan",
    "Span",
    "Spec",
    "Symbol",
    "Window",
    "alarms_base",
    "counters_base",
    "first_kept",
    "from_manifest",
    "to_manifest",
]

ARENA, WEIGHTS = 0, 1
FIRST_INPUT = 2


def counters_base(inputs: int, outputs: int) -> int:
    """The base after those: on a GPU, memory that every kernel leaves zero."""
    return FIRST_INPUT + inputs + outputs


def alarms_base(inputs: int, outputs: int) -> int:
    """The base after that: on a GPU, words of the host's memory that kernels set whose indices lie outside."""
    return counters_base(inputs, outputs) + 1


def first_kept(inputs: int, outputs: int) -> int:
    """The base of the first value that Python keeps between native calls."""
    return alarms_base(inputs, outputs) + 1


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


@dataclass(frozen=True)
class Carried:
    """State: an output, by number, that is an input of the next call. Where the output is the input with rows appended
    `along` an axis, both are one buffer, the input `count` is how many of its rows are filled, and the slot `filled`
    how many are after the call. `spec` is the state as the model takes it. Both are one buffer too where a call updates
    the state `in_place`. `start` is its value before the first call, bytes packed by zlib in base64, "" for zeros.
    """

    spec: Spec
    input: int
    output: int
    along: int = -1
    count: int = -1
    filled: int = 0
    in_place: bool = False
    start: str = ""

    @property
    def grows(self) -> bool:
        """True if rows are appended to it."""
        return self.along >= 0


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
    makers: tuple[str, ...] = field(default=())
    """The operators of the user's model that make the buffers, then those that make the outputs."""
    carried: tuple[Carried, ...] = field(default=())
    """What a context keeps from call to call."""

    @property
    def hidden(self) -> frozenset[int]:
        """The inputs that the context gives, by number."""
        return frozenset(number for one in self.carried for number in (one.input, one.count) if number >= 0)

    @property
    def given(self) -> tuple[Spec, ...]:
        """What a caller gives."""
        return tuple(spec for number, spec in enumerate(self.inputs) if number not in self.hidden)

    @property
    def returned(self) -> tuple[Spec, ...]:
        """What a caller gets."""
        kept = {one.output for one in self.carried}
        return tuple(spec for number, spec in enumerate(self.outputs) if number not in kept)

    @property
    def bases(self) -> int:
        """How many bases addresses have."""
        return first_kept(len(self.inputs), len(self.outputs)) + self.kept

    def section_of(self, slots: Sequence[int]) -> int:
        """The section of the program after which all these slots are known."""
        return max(map(self._section, slots), default=0)

    def _section(self, slot: int) -> int:
        return self.symbols[slot].section if slot < len(self.symbols) else bisect_right(self.sections, slot)


_ARRAYS = {"rows": np.int64, "steps": np.int32, "argmap": np.int32, "binds": np.int64}


_KINDS = {name: kind for name, kind in get_type_hints(Plan).items() if name not in ("program", *_ARRAYS)}


def to_manifest(plan: Plan) -> tuple[dict[str, Any], bytes]:
    """A plan as JSON-ready data and one block of bytes that holds its arrays."""
    data = {name: written(getattr(plan, name), kind) for name, kind in _KINDS.items()}
    arrays: dict[str, NDArray[Any]] = {
        "rows": plan.program.rows,
        "steps": plan.steps,
        "argmap": plan.argmap,
        "binds": plan.binds,
    }
    data["results"] = list(plan.program.results)
    data["arrays"] = {name: list(array.shape) for name, array in arrays.items()}
    return data, b"".join(np.ascontiguousarray(arrays[name], kind).tobytes() for name, kind in _ARRAYS.items())


def from_manifest(data: Any, block: NDArray[np.uint8]) -> Plan:
    """The plan that `to_manifest` wrote; EngineError for data of another form. See `bounds.verify` for the numbers."""
    given = {"carried": [], **read(Mapping[str, Any], data, "plan")}
    fields: dict[str, Any] = {name: read(kind, given.get(name), f"plan.{name}") for name, kind in _KINDS.items()}
    shapes = read(Mapping[str, tuple[int, ...]], given.get("arrays"), "plan.arrays")
    arrays: dict[str, Any] = _arrays(shapes, block)
    results = read(tuple[int, ...], given.get("results"), "plan.results")
    program = Program(arrays.pop("rows").reshape(-1, 4), len(fields["symbols"]), results)
    return Plan(program=program, **fields, **arrays)


def _arrays(shapes: Mapping[str, tuple[int, ...]], block: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    at = 0
    for name, element in _ARRAYS.items():
        shape = shapes.get(name, ())
        width = {"rows": 4, "steps": WIDTH, "binds": 3}.get(name)
        size = math.prod(shape) * np.dtype(element).itemsize
        fits = len(shape) == (2 if width else 1) and shape[0] >= 0 and shape[1:] == ((width,) if width else ())
        if not fits or at + size > block.size:
            raise damaged(f"plan.arrays.{name}", f"{list(shape)} in a section of {block.size} bytes")
        arrays[name] = np.frombuffer(block[at : at + size].tobytes(), element).reshape(shape)
        at += size
    return arrays
