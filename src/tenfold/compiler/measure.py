"""Honest clocks: kernels of one region timed against each other on this machine, in a process of their own.

Buffers are made up at typical sizes and rotated through: constants as cold as the weights of a network that no cache
holds, the rest as warm as what the region before has just written. Every round runs each kernel once on every copy, by
turns, through the dispatcher and the team that engines use; a kernel's time is the best round's mean. A kernel that
crashes or hangs ends the process, and is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.codegen.child import Child, Closing
from tenfold.codegen.cpu.image import Image
from tenfold.codegen.region import THREADS
from tenfold.codegen.strategy import Address, Argument, Kernel, Packed, Refusal, Stage, Workspace
from tenfold.compiler.stopwatch import LENGTH, WORKSPACE, copies_of
from tenfold.compiler.typical import USUAL, guessed
from tenfold.ir import dim
from tenfold.ir.dim import Dim, Size
from tenfold.ir.dtype import Kind
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant

_PROGRAM = "tenfold.compiler.stopwatch"
_STARTING, _PATIENCE = 60.0, 60.0
_LEAST_TURNS, _MOST_TURNS, _ROUND = 2, 16, 0.02
_MOST_BYTES = 3 << 29
_WARM = 2
"""Copies of what is warm: a network's buffers lie where others have just lain."""
ONE, SIDE = 1, 224
Entries = Mapping[tuple[str, bool], int]
_Key = tuple[Value, tuple[Op, ...]]


class Point:
    """The sizes at which kernels are timed: one thing at a time (the first axis of an input), images of 224 pixels a
    side, other open sizes at 64, each as near as its bounds allow; so many threads.
    """

    def __init__(self, threads: int, inputs: Sequence[Value] = ()) -> None:
        self.threads = threads
        self._names: dict[str, int] = dict.fromkeys(dim.symbols(THREADS), threads)
        for value in inputs:
            for axis, size in enumerate(value.type.shape):
                symbol = size.symbol if isinstance(size, Dim) else None
                if symbol:
                    usual = ONE if axis == 0 else SIDE if value.type.rank > 3 else USUAL
                    self._names.setdefault(symbol.name, symbol.nearest(usual))

    def __call__(self, size: Size) -> int:
        """The number that a size is."""
        if isinstance(size, int):
            return size
        return guessed(size, self._names)


class Sheet:
    """What the stopwatch must know of some kernels of one region: buffers, and words that stages get."""

    def __init__(self, point: Point, entries: Entries) -> None:
        self._point, self._entries = point, entries
        self._buffers: dict[_Key, int] = {}
        self.types: list[tuple[Type, bool]] = []

    def kernel(self, kernel: Kernel) -> dict[str, Any]:
        """A kernel as JSON-ready data."""
        stages = [self._stage(stage) for stage in kernel.stages]
        return {"stages": stages, "scratch": kernel.scratch, "workspace": self._point(kernel.workspace)}

    def _stage(self, stage: Stage) -> list[Any]:
        words = [self._word(argument) for argument in stage.arguments]
        return [self._entries[stage.source, stage.optimise], self._point(stage.parts), words]

    def _word(self, argument: Argument) -> int | list[int]:
        match argument:
            case Address(value, offset):
                return [self._buffer(value, ()), self._point(offset)]
            case Packed(value, recipe):
                return [self._buffer(value, recipe), 0]
            case Workspace(offset):
                return [WORKSPACE, self._point(offset)]
        return self._point(argument)

    def _buffer(self, value: Value, recipe: tuple[Op, ...]) -> int:
        key = (value, recipe)
        if key not in self._buffers:
            found = value.type
            for op in recipe:
                (found,) = op.types((found,))
            self._buffers[key] = len(self.types)
            self.types.append((found, isinstance(value.op, Constant)))
        return self._buffers[key]

    def buffers(self, cache: int, turns: int) -> list[list[Any]]:
        """Rows of (bytes, whether it holds floats, of what width, copies)."""
        sizes = [max(0, self._point(found.size)) * found.dtype.itemsize for found, _ in self.types]
        constants = sum(size for size, (_, is_constant) in zip(sizes, self.types, strict=True) if is_constant)
        cold = copies_of(constants, cache, turns)
        rows = []
        for size, (found, is_constant) in zip(sizes, self.types, strict=True):
            floats = found.dtype.kind is Kind.FLOAT
            rows.append([size, floats, found.dtype.itemsize, cold if is_constant else min(turns, _WARM)])
        if sum(row[0] * row[3] for row in rows) > _MOST_BYTES:
            rows = [[*row[:3], 1] for row in rows]
        return rows


class Stopwatch(Closing):
    """The process that times kernels, started when first needed."""

    def __init__(self, point: Point) -> None:
        self.point = point
        self._child: Child | None = None

    def time(
        self, kernels: Sequence[Kernel], image: Image, entries: Entries, *, cache: int, expected: float, seconds: float
    ) -> list[float | Refusal]:
        """Seconds of each kernel, or why it gave no time.

        `entries` are the offsets of their stages in the image, `cache` the bytes of the last cache, `expected` about
        the seconds that one run takes, `seconds` how long to go on measuring each.
        """
        found: list[float | Refusal] = [Refusal("not timed")] * len(kernels)
        left = list(range(len(kernels)))
        while left:
            sheet = Sheet(self.point, entries)
            turns = max(_LEAST_TURNS, min(_MOST_TURNS, int(_ROUND / max(expected, 1e-7))))
            written = [sheet.kernel(kernels[number]) for number in left]
            job = {
                "threads": self.point.threads,
                "entries": image.blob.entries,
                "crew": image.crew.entries,
                "kernels": written,
                "buffers": sheet.buffers(cache, turns),
                "turns": turns,
                "seconds": seconds,
            }
            times, culprit, reason = self._ask(job, image)
            for number, one in zip(left, times, strict=False):
                found[number] = one
            if culprit is None:
                break
            found[left.pop(culprit)] = Refusal(reason)
        return found

    def _ask(self, job: dict[str, Any], image: Image) -> tuple[list[float], int | None, str]:
        """The times; or none, the number of the kernel that ended the process, and how."""
        child = self._child = self._child or Child(_PROGRAM)
        for part in (json.dumps(job).encode(), image.blob.code, image.crew.code):
            child.send(LENGTH.pack(len(part)), part)
        begun, patience = 0, _STARTING
        while line := child.line(patience):
            said = json.loads(line)
            if "seconds" in said:
                return said["seconds"], None, ""
            begun, patience = said["begun"], _PATIENCE
        reason = child.last_words()
        self.close()
        return [], begun, reason

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.close()
            self._child = None
