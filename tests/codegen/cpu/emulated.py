"""Kernels of another machine run on an emulator: a static program whose data hold every buffer, all stages in order."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.link import Unit, link
from tenfold.codegen.cpu.standalone import CODE_ADDRESS, DATA_ADDRESS, static_elf
from tenfold.codegen.strategy import Address, Argument, Kernel, Packed, Strategy, Workspace
from tenfold.ir.graph import Value
from tenfold.ir.op import Array
from tenfold.ops.constant import Constant
from tenfold.target import Target
from tests.codegen.cpu import jit
from tests.codegen.cpu.anchored import Case, extent, near, number, strided, tactics

DRIVER = """
define i32 @driver(ptr %table, ptr %scratch) nounwind "no-builtins" "frame-pointer"="all" {
entry:
  br label %row
row:
  %at = phi ptr [ %table, %entry ], [ %next, %done ]
  %stage = load ptr, ptr %at
  %end = icmp eq ptr %stage, null
  br i1 %end, label %finish, label %start
start:
  %second = getelementptr i64, ptr %at, i64 1
  %args = load ptr, ptr %second
  %third = getelementptr i64, ptr %at, i64 2
  %parts = load i64, ptr %third
  %next = getelementptr i64, ptr %at, i64 3
  br label %part
part:
  %number = phi i64 [ 0, %start ], [ %following, %run ]
  %left = icmp slt i64 %number, %parts
  br i1 %left, label %run, label %done
run:
  %status = call i32 %stage(ptr %args, i64 %number, ptr %scratch)
  %following = add i64 %number, 1
  br label %part
done:
  br label %row
finish:
  ret i32 0
}
"""


class Image:
    """The bytes from DATA_ADDRESS on, handed out in whole cache lines."""

    def __init__(self) -> None:
        self.data = bytearray()

    def add(self, content: bytes) -> int:
        """Bytes; where they lie."""
        address = DATA_ADDRESS + len(self.data)
        self.data += content.ljust(-(-len(content) // 64) * 64, b"\0")
        return address


def check_emulated(strategy: Strategy, case: Case, folder: Path, tolerance: float = 2e-6) -> None:
    """Every tactic's AArch64 code, run by qemu-user, gives what the operation's definition says."""
    expected = case.op.results(tuple(one.array for one in case.inputs))
    for found in emulated(strategy, case, folder):
        for got, wanted in zip(found, expected, strict=True):
            near(got, wanted, tolerance)


def emulated(strategy: Strategy, case: Case, folder: Path) -> Iterator[list[Array]]:
    """The outputs of every tactic's AArch64 code, run by qemu-user."""
    emulator = shutil.which("qemu-aarch64")
    if emulator is None:
        pytest.skip("needs qemu-aarch64, of Debian's qemu-user")
    for tactic in tactics(strategy, case, jit.AARCH64):
        kernel = strategy.build(case.region, tactic, Target("cpu", jit.AARCH64.level))
        yield _run(case, kernel, jit.AARCH64, folder / "program", emulator)


def _run(case: Case, kernel: Kernel, isa: Isa, program: Path, emulator: str) -> list[Array]:
    bindings = {"threads": 3, **case.bindings}
    image, addresses = Image(), {}
    for one in (*case.region.inputs, *case.region.extra, *case.region.outputs):
        if not isinstance(one.value.op, Constant):
            content = np.full(extent(one, bindings), 0xFF, np.uint8)
            if one.value in case.arrays:
                strided(one, content, bindings)[...] = case.arrays[one.value]
            addresses[one.value] = image.add(content.tobytes())
    rows, units = _table(kernel, isa, bindings, image, addresses)
    blob = link([*units, Unit("driver", jit.object_of(DRIVER, isa), {"driver": "driver"})])
    table = [word for stage, args, parts in rows for word in (CODE_ADDRESS + blob.entries[stage], args, parts)]
    where = image.add(struct.pack(f"<{len(table) + 1}q", *table, 0))
    scratch = image.add(bytes(kernel.scratch + 64))
    program.write_bytes(static_elf(blob, "driver", isa.architecture, bytes(image.data), (where, scratch)))
    program.chmod(0o700)
    done = subprocess.run([emulator, program], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = []
    for one in case.region.outputs:
        start = addresses[one.value] - DATA_ADDRESS
        content = np.frombuffer(done.stdout[start : start + extent(one, bindings)], np.uint8)
        found.append(strided(one, content, bindings))
    return found


def _table(
    kernel: Kernel, isa: Isa, bindings: dict[str, int], image: Image, addresses: dict[Value, int]
) -> tuple[list[tuple[str, int, int]], list[Unit]]:
    """(stage, address of its arguments, parts) of each, and the compiled stages."""
    workspace = image.add(b"\xff" * number(kernel.workspace, bindings))

    def word(argument: Argument) -> int:
        match argument:
            case Address(value, offset) if not isinstance(value.op, Constant):
                return addresses[value] + number(offset, bindings)
            case Address(value, offset):
                return image.add(value.op.tensor.array.tobytes()) + number(offset, bindings)  # type: ignore[union-attr]
            case Workspace(offset):
                return workspace + number(offset, bindings)
            case Packed(value, recipe):
                array = value.op.tensor.array  # type: ignore[union-attr]
                for op in recipe:
                    (array,) = op.results((array,))
                return image.add(np.ascontiguousarray(array).tobytes())
        return number(argument, bindings)

    rows, units = [], []
    for place, stage in enumerate(kernel.stages):
        words = [word(argument) for argument in stage.arguments]
        args = image.add(struct.pack(f"<{len(words)}q", *words))
        name = f"stage{place}"
        rows.append((name, args, number(stage.parts, bindings)))
        units.append(Unit(name, jit.object_of(stage.source, isa, stage.optimise), {"stage": name}))
    return rows, units
