"""What code generation needs to know of each CPU target: one table."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

from tenfold.errors import TargetError
from tenfold.target import Target

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_CPU = Path("/proc/cpuinfo")
LINE = 64
"""The bytes of a line of the caches, on every target."""


@dataclass(frozen=True)
class Isa:
    """One row: the names LLVM knows the target by, its vector unit, its caches in bytes.

    `vector_bytes` is the width of one of the `vector_registers`; `masks` says whether loads, stores and arithmetic
    take lane masks (otherwise tails overlap or go scalar). A vector half as wide takes half the time where the unit
    `halves` vectors, as wide a time elsewhere.
    """

    level: str
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    vector_registers: int
    masks: bool
    l1: int
    l2: int
    l3: int
    halves: bool = False

    @property
    def architecture(self) -> str:
        """ "x86_64" or "aarch64": the ELF machine, system calls and inline assembly to use."""
        return self.triple.partition("-")[0]

    def lanes(self, width: int) -> int:
        """How many elements of `width` bytes one vector register holds."""
        return self.vector_bytes // width


ROWS: tuple[Isa, ...] = (
    Isa("x86-64-v3", "x86_64-unknown-none-elf", "x86-64-v3", "", 32, 16, False, 32 << 10, 512 << 10, 16 << 20),
    Isa(
        level="x86-64-v4",
        triple="x86_64-unknown-none-elf",
        cpu="x86-64-v4",
        features="-prefer-256-bit,+prfchw",
        vector_bytes=64,
        vector_registers=32,
        masks=True,
        l1=32 << 10,
        l2=1 << 20,
        l3=32 << 20,
    ),
    Isa("aarch64", "aarch64-unknown-none-elf", "generic", "+neon", 16, 32, False, 32 << 10, 512 << 10, 4 << 20),
)


@functools.cache
def isa_of(target: Target) -> Isa:
    """The row of a CPU target; for "cpu" with what is known of this machine. TargetError for another kind."""
    for row in ROWS:
        if target.kind == "cpu" and row.level == target.level:
            return _of_machine(row, machine_caches()) if target.native else row
    raise TargetError(f"target {target} has no CPU instruction set", remedy="use a CPU target")


def _of_machine(row: Isa, sizes: dict[str, int]) -> Isa:
    halves = row.vector_bytes == 64 and machine_halves()
    caches = {level: sizes.get(level, getattr(row, level)) for level in ("l1", "l2", "l3")}
    return dataclasses.replace(row, halves=halves, **caches)


def machine_halves() -> bool:
    """Whether this machine works off a vector of 64 bytes in two halves, as AMD's Zen 4 does."""
    found = dict(line.split(":", 1) for line in _CPU.read_text().partition("\n\n")[0].splitlines() if ":" in line)
    said = {name.strip(): text.strip() for name, text in found.items()}
    return said.get("vendor_id") == "AuthenticAMD" and said.get("cpu family") == "25"


def machine_caches() -> dict[str, int]:
    """This machine's data cache sizes of CPU 0 as {"l1": bytes, ...}; a level the system does not report is absent."""
    sizes: dict[str, int] = {}
    for index in sorted(_CACHES.glob("index*")):
        if (index / "type").read_text().strip() != "Instruction":
            size = (index / "size").read_text().strip()
            sizes["l" + (index / "level").read_text().strip()] = int(size.rstrip("K")) << 10
    return {level: size for level, size in sizes.items() if level in ("l1", "l2", "l3")}
