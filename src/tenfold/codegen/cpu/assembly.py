"""LLVM IR with the control flow of a small language: what the dispatcher and the team are written in.

Every value is an i64, named by its SSA name or written as a literal; addresses are i64 too. A condition is an i1.
Structures are the ctypes ones of the run time, so that Python and generated code agree on each offset.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tenfold.codegen.cpu.isa import Isa

Value = str | int
Condition = str
Struct = type[ctypes.Structure]

_ATTRIBUTES = 'nounwind "no-builtins" "frame-pointer"="all"'


@dataclass(frozen=True)
class Architecture:
    """What LLVM has a name for on each machine only: Linux's numbers for its calls, the clock, a pause, the
    floating-point control register and its two values (IEEE, flush to zero). No inline assembly: LLVM as packaged
    parses that for the machine it runs on alone.
    """

    numbers: Mapping[str, int]
    ticks: str
    pause: str
    control: tuple[int, int]


ARCHITECTURES = {
    "x86_64": Architecture(
        numbers={"futex": 202, "sched_setaffinity": 203, "sched_getaffinity": 204, "getcpu": 309},
        ticks="@llvm.readcyclecounter()",
        pause="@llvm.x86.sse2.pause()",
        control=(0x1F80, 0x9FC0),
    ),
    "aarch64": Architecture(
        numbers={"futex": 98, "sched_setaffinity": 122, "sched_getaffinity": 123, "getcpu": 168},
        ticks="@llvm.readsteadycounter()",
        pause="@llvm.aarch64.isb(i32 15)",
        control=(0, 1 << 24),
    ),
}


class Variable:
    """A local variable of a function: read with `get`, written with `set`."""

    def __init__(self, code: Code, place: str) -> None:
        self._code, self._place = code, place

    def get(self) -> str:
        """The value now."""
        return self._code.op(f"load i64, ptr {self._place}")

    def set(self, value: Value) -> None:
        """Write a value."""
        self._code.do(f"store i64 {value}, ptr {self._place}")


@dataclass(frozen=True)
class Loop:
    """The two ways out of a loop's body."""

    code: Code
    head: str
    after: str

    def leave(self) -> None:
        """Go on behind the loop."""
        self.code.branch(self.after)

    def repeat(self) -> None:
        """Start the next turn."""
        self.code.branch(self.head)


class Code:
    """A function being written. Its parameters and its result are i64; `external` makes it an entry."""

    def __init__(self, isa: Isa, name: str, parameters: int, external: bool = False, attributes: str = "") -> None:
        self.machine, self.is_x86 = ARCHITECTURES[isa.architecture], isa.architecture == "x86_64"
        self.parameters = [f"%p{index}" for index in range(parameters)]
        arguments = ", ".join(f"i64 {parameter}" for parameter in self.parameters)
        linkage = "" if external else "internal "
        self._head = f"define {linkage}i64 @{name}({arguments}) {_ATTRIBUTES} {attributes}{{"
        self._variables: list[str] = []
        self._lines: list[str] = []
        self._count = 0
        self._open = True

    def __str__(self) -> str:
        return "\n".join([self._head, *self._variables, *self._lines, "}"])

    def _name(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def op(self, text: str) -> str:
        """Append an instruction with a result; its name."""
        name = f"%{self._name()}"
        self.do(f"{name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Append an instruction; one behind a branch can't be reached and gets a block of its own."""
        if not self._open:
            self._label(self._name())
        self._lines.append(f"  {text}")

    def _label(self, name: str) -> None:
        if self._open:
            self._lines.append(f"  br label %{name}")
        self._lines.append(f"{name}:")
        self._open = True

    def branch(self, label: str) -> None:
        """Go on at a label."""
        self.do(f"br label %{label}")
        self._open = False

    def give(self, value: Value) -> None:
        """Return a value."""
        self.do(f"ret i64 {value}")
        self._open = False

    def variable(self, value: Value) -> Variable:
        """A new local variable."""
        place = f"%{self._name()}"
        self._variables.append(f"  {place} = alloca i64")
        variable = Variable(self, place)
        variable.set(value)
        return variable

    def address(self, bytes_: int) -> str:
        """The address of fresh bytes on the stack, 16-aligned."""
        place = f"%{self._name()}"
        self._variables.append(f"  {place} = alloca [{bytes_} x i8], align 16")
        return self.op(f"ptrtoint ptr {place} to i64")

    @contextmanager
    def when(self, condition: Condition) -> Iterator[None]:
        """What follows happens if the condition holds."""
        inside, after = self._name(), self._name()
        self.do(f"br i1 {condition}, label %{inside}, label %{after}")
        self._open = False
        self._label(inside)
        yield
        self._label(after)

    @contextmanager
    def forever(self) -> Iterator[Loop]:
        """What follows is repeated until it leaves."""
        loop = Loop(self, self._name(), self._name())
        self._label(loop.head)
        yield loop
        if self._open:
            self.branch(loop.head)
        self._label(loop.after)

    @contextmanager
    def counting(self, count: Value) -> Iterator[str]:
        """What follows is repeated for each index below `count`."""
        index = self.variable(0)
        with self.forever() as loop:
            now = index.get()
            with self.when(self.compare("sge", now, count)):
                loop.leave()
            yield now
            index.set(self.add(now, 1))

    def choose(self, value: Value, cases: Mapping[int, Callable[[], None]]) -> None:
        """Do the case of that value, or nothing."""
        after = self._name()
        labels = {case: self._name() for case in cases}
        table = " ".join(f"i64 {case}, label %{label}" for case, label in labels.items())
        self.do(f"switch i64 {value}, label %{after} [{table}]")
        self._open = False
        for case, label in labels.items():
            self._label(label)
            cases[case]()
            if self._open:
                self.branch(after)
        self._label(after)

    def _binary(self, name: str, a: Value, b: Value) -> str:
        return self.op(f"{name} i64 {a}, {b}")

    def add(self, a: Value, b: Value) -> str:
        """a + b."""
        return self._binary("add", a, b)

    def sub(self, a: Value, b: Value) -> str:
        """a - b."""
        return self._binary("sub", a, b)

    def mul(self, a: Value, b: Value) -> str:
        """a * b."""
        return self._binary("mul", a, b)

    def both(self, a: Value, b: Value) -> str:
        """a & b."""
        return self._binary("and", a, b)

    def quotient(self, a: Value, b: Value) -> str:
        """a / b, unsigned."""
        return self._binary("udiv", a, b)

    def left(self, a: Value, by: int) -> str:
        """a << by."""
        return self._binary("shl", a, by)

    def right(self, a: Value, by: int) -> str:
        """a >> by, unsigned."""
        return self._binary("lshr", a, by)

    def compare(self, how: str, a: Value, b: Value) -> Condition:
        """LLVM's icmp."""
        return self.op(f"icmp {how} i64 {a}, {b}")

    def together(self, a: Condition, b: Condition) -> Condition:
        """Both conditions."""
        return self.op(f"and i1 {a}, {b}")

    def select(self, condition: Condition, a: Value, b: Value) -> str:
        """a if the condition holds, else b."""
        return self.op(f"select i1 {condition}, i64 {a}, i64 {b}")

    def pointer(self, at: Value) -> str:
        """An address as LLVM's ptr."""
        return self.op(f"inttoptr i64 {at} to ptr")

    def load(self, at: Value, bits: int = 64, extend: str = "sext") -> str:
        """The integer at an address."""
        value = self.op(f"load i{bits}, ptr {self.pointer(at)}, align {bits // 8}")
        return value if bits == 64 else self.op(f"{extend} i{bits} {value} to i64")

    def store(self, value: Value, at: Value) -> None:
        """Write 8 bytes at an address."""
        self.do(f"store i64 {value}, ptr {self.pointer(at)}")

    def item(self, base: Value, index: Value, size: int) -> str:
        """The address of an array's item."""
        return self.add(base, self.mul(index, size))

    def place(self, base: Value, struct: Struct, field: str) -> str:
        """The address of a field."""
        return self.add(base, getattr(struct, field).offset)

    def get(self, base: Value, struct: Struct, field: str) -> str:
        """A field's value."""
        return self.load(self.place(base, struct, field))

    def put(self, value: Value, base: Value, struct: Struct, field: str) -> None:
        """Write a field."""
        self.store(value, self.place(base, struct, field))

    def watch(self, at: Value) -> str:
        """An 8-byte atomic load, sequentially consistent."""
        return self.op(f"load atomic i64, ptr {self.pointer(at)} seq_cst, align 8")

    def publish(self, value: Value, at: Value) -> None:
        """An 8-byte atomic store behind which all earlier writes can be seen."""
        self.do(f"store atomic i64 {value}, ptr {self.pointer(at)} release, align 8")

    def fence(self) -> None:
        """Let nothing that follows be read before what is written so far can be seen."""
        self.do("fence seq_cst")

    def exchange(self, how: str, at: Value, value: Value) -> str:
        """LLVM's atomicrmw, sequentially consistent; what was there before."""
        return self.op(f"atomicrmw {how} ptr {self.pointer(at)}, i64 {value} seq_cst")

    def replace(self, at: Value, old: Value, new: Value) -> Condition:
        """Compare and swap; whether it happened."""
        pair = self.op(f"cmpxchg ptr {self.pointer(at)}, i64 {old}, i64 {new} seq_cst seq_cst")
        return self.op(f"extractvalue {{ i64, i1 }} {pair}, 1")

    def call(self, name: str, *arguments: Value) -> str:
        """Call a function of this module."""
        return self.op(f"call i64 @{name}({', '.join(f'i64 {argument}' for argument in arguments)})")

    def stage(self, entry: Value, args: Value, part: Value, scratch: Value) -> str:
        """Run a part of a kernel's stage; its status."""
        pointers = f"ptr {self.pointer(args)}, i64 {part}, ptr {self.pointer(scratch)}"
        return self.op(f"zext i32 {self.op(f'call i32 {self.pointer(entry)}({pointers})')} to i64")

    def system(self, entry: Value, name: str, *arguments: Value) -> str:
        """A Linux system call of up to 4 arguments, through `entry`, the address of libc's `syscall`."""
        padded = [self.machine.numbers[name], *arguments, *[0] * (4 - len(arguments))]
        values = ", ".join(f"i64 {value}" for value in padded)
        return self.op(f"call i64 {self.pointer(entry)}({values})")

    def ticks(self) -> str:
        """The machine's steady clock."""
        return self.op(f"call i64 {self.machine.ticks}")

    def pause(self) -> None:
        """Wait a moment in a busy loop."""
        self.do(f"call void {self.machine.pause}")

    def cpu(self, entry: Value) -> str:
        """The number of the CPU this thread runs on; `entry` as for `system`."""
        if self.is_x86:
            number = self.op(f"extractvalue {{ i64, i32 }} {self.op('call { i64, i32 } @llvm.x86.rdtscp()')}, 1")
            return self.both(self.op(f"zext i32 {number} to i64"), 0xFFF)
        room = self.address(8)
        self.store(0, room)
        self.system(entry, "getcpu", room)
        return self.load(room)

    def control(self) -> str:
        """The floating-point control register."""
        if not self.is_x86:
            return self.op("call i64 @llvm.aarch64.get.fpcr()")
        room = self.address(8)
        self.do(f"call void @llvm.x86.sse.stmxcsr(ptr {self.pointer(room)})")
        return self.load(room, 32, "zext")

    def set_control(self, value: Value) -> None:
        """Write the floating-point control register."""
        if not self.is_x86:
            self.do(f"call void @llvm.aarch64.set.fpcr(i64 {value})")
            return
        room = self.address(8)
        self.store(value, room)
        self.do(f"call void @llvm.x86.sse.ldmxcsr(ptr {self.pointer(room)})")


def module(isa: Isa, *functions: Code | str) -> str:
    """An LLVM module in textual form."""
    return "\n\n".join([f'target triple = "{isa.triple}"', *map(str, functions)]) + "\n"
