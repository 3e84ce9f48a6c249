"""The dispatcher: walks a step table in one native call. Its stages go to the team in parts (team.py).

`dispatch(call, start)` is an engine's one entry: it takes the address of a Call block and the step to start at, or
-1 to go on after a YIELD, and returns a Status or a kernel's error.
"""

from __future__ import annotations

from tenfold.codegen.cpu import shortcut, team
from tenfold.codegen.cpu.assembly import Code, Loop, Variable, module
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.sizes import sizes_function
from tenfold.runtime.cpu.block import Call, Profile, Record, Status
from tenfold.runtime.steps import NO_SLOT, WIDTH, Opcode

_PATIENCE = 16
_SLICES = 64


class _Walk:
    """The body of `dispatch`: one method a step kind, each leaving the next step's index in `step`."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.block = code.parameters[0]
        self.frame, self.steps, self.argmap, self.base, self.args = (
            code.get(self.block, Call, name) for name in ("frame", "steps", "argmap", "code", "args")
        )
        self.profile = code.get(self.block, Call, "profile")
        self.step = code.variable(code.parameters[1])
        self.status = code.variable(Status.DONE)
        self.row = ""
        self.loop: Loop

    def number(self, place: int) -> str:
        """A number of the row."""
        return self.code.load(self.code.add(self.row, 4 * place), 32)

    def slot(self, place: int) -> str:
        """The address of the slot that a number of the row names."""
        return self.code.item(self.frame, self.number(place), 8)

    def value(self, place: int) -> str:
        """The value of the slot that a number of the row names."""
        return self.code.load(self.slot(place))

    def advance(self) -> None:
        """Go on with the next step."""
        self.step.set(self.code.add(self.step.get(), 1))

    def go(self, condition: str, place: int) -> None:
        """Go on at the target in the row if the condition holds, else with the next step."""
        follow = self.code.add(self.step.get(), 1)
        self.step.set(self.code.select(condition, self.number(place), follow))

    def leave(self, status: str | int) -> None:
        """End the walk."""
        self.status.set(status)
        self.loop.leave()

    def call(self) -> None:
        """Gather the arguments, run the stage, end the call if it fails."""
        code = self.code
        chosen = code.item(self.argmap, self.number(2), 4)
        with code.counting(self.number(3)) as index:
            slot = code.load(code.item(chosen, index, 4), 32)
            code.store(code.load(code.item(self.frame, slot, 8)), code.item(self.args, index, 8))
        parts = code.variable(1)
        with code.when(code.compare("ne", self.number(4), NO_SLOT)):
            parts.set(self.value(4))
        entry = code.add(self.base, self.number(1))
        start = self.clock()
        status = code.call("run", self.block, entry, parts.get())
        self.record(parts.get(), start)
        with code.when(code.compare("ne", status, 0)):
            code.put(self.step.get(), self.block, Call, "error_step")
            self.leave(status)
        self.advance()

    def clock(self) -> Variable:
        """The time, if there is a profile to write it to."""
        start = self.code.variable(0)
        with self.code.when(self.code.compare("ne", self.profile, 0)):
            start.set(self.code.ticks())
        return start

    def record(self, parts: str | int, start: Variable) -> None:
        """Add a line to the profile, if there is one."""
        with self.code.when(self.code.compare("ne", self.profile, 0)):
            self.code.call("record", self.profile, self.step.get(), parts, start.get())

    def jump(self) -> None:
        """Go on at the target."""
        self.step.set(self.number(1))

    def jump_if(self) -> None:
        """Go on at the target if the byte is as the row says."""
        holds = self.code.op(f"icmp ne i64 {self.code.load(self.value(1), 8, 'zext')}, 0")
        self.go(self.code.compare("eq", self.code.op(f"zext i1 {holds} to i64"), self.number(3)), 2)

    def count(self) -> None:
        """LOOP: count up, and go on at the target while below the limit."""
        turn = self.code.add(self.value(1), 1)
        self.code.store(turn, self.slot(1))
        self.go(self.code.compare("slt", turn, self.value(2)), 3)

    def move(self) -> None:
        """Copy a slot."""
        self.code.store(self.value(2), self.slot(1))
        self.advance()

    def add(self) -> None:
        """Add a slot to a slot."""
        self.code.store(self.code.add(self.value(1), self.value(2)), self.slot(1))
        self.advance()

    def swap(self) -> None:
        """Exchange two slots."""
        one, other = self.value(1), self.value(2)
        self.code.store(other, self.slot(1))
        self.code.store(one, self.slot(2))
        self.advance()

    def load(self) -> None:
        """Read an integer from memory into a slot."""
        code, at, result = self.code, self.value(2), self.code.variable(0)
        code.choose(
            self.number(3),
            {
                1: lambda: result.set(code.load(at, 8, "zext")),
                4: lambda: result.set(code.load(at, 32)),
                8: lambda: result.set(code.load(at)),
            },
        )
        code.store(result.get(), self.slot(1))
        self.advance()

    def store(self) -> None:
        """Write a slot to memory."""
        self.code.store(self.value(2), self.value(1))
        self.advance()

    def copy(self) -> None:
        """Copy bytes."""
        code, start = self.code, self.clock()
        to, source = code.pointer(self.value(1)), code.pointer(self.value(2))
        code.op(f"call ptr @memmove(ptr {to}, ptr {source}, i64 {self.value(3)})")
        self.record(1, start)
        self.advance()


def _bind(walk: _Walk) -> None:
    """Set the pointer slots from the bases; a re-entry goes on where it stopped instead."""
    code, block = walk.code, walk.block
    start = code.parameters[1]
    with code.when(code.compare("slt", start, 0)):
        walk.step.set(code.get(block, Call, "step"))
    with code.when(code.compare("sge", start, 0)):
        binds, bases = code.get(block, Call, "binds"), code.get(block, Call, "bases")
        with code.counting(code.get(block, Call, "bind_count")) as index:
            row = code.item(binds, index, 24)
            slot, base, offset = (code.load(code.add(row, 8 * place)) for place in range(3))
            origin = code.load(code.item(bases, base, 8))
            address = code.add(origin, code.load(code.item(walk.frame, offset, 8)))
            code.store(address, code.item(walk.frame, slot, 8))


class _Clock:
    """Decides when to yield: looks at the time every few steps, at each one when steps are long."""

    def __init__(self, walk: _Walk) -> None:
        code = walk.code
        self.walk, self.limit = walk, code.get(walk.block, Call, "yield_ticks")
        self.start = code.ticks()
        self.last, self.patience = code.variable(self.start), code.variable(_PATIENCE)

    def check(self) -> None:
        """End the walk with YIELD if its time is up."""
        code = self.walk.code
        left = code.sub(self.patience.get(), 1)
        self.patience.set(left)
        with code.when(code.compare("eq", left, 0)):
            now = code.ticks()
            with code.when(code.compare("ugt", code.sub(now, self.start), self.limit)):
                self.walk.leave(Status.YIELD)
            lately = code.mul(code.sub(now, self.last.get()), _SLICES)
            self.patience.set(code.select(code.compare("ugt", lately, self.limit), 1, _PATIENCE))
            self.last.set(now)


def dispatch_function(isa: Isa) -> Code:
    """`i64 dispatch(call, start)`: see the module."""
    code = Code(isa, "dispatch", 2, external=True)
    walk = _Walk(code)
    block = walk.block
    saved = code.control()
    code.set_control(team.control_word(code, code.get(block, Call, "denormals")))
    _bind(walk)
    clock = _Clock(walk)
    cancel = code.get(block, Call, "cancel")
    with code.forever() as loop:
        walk.loop = loop
        with code.when(code.compare("ne", code.watch(cancel), 0)):
            walk.leave(Status.CANCELLED)
        clock.check()
        walk.row = code.item(walk.steps, walk.step.get(), 4 * WIDTH)
        code.choose(
            walk.number(0),
            {
                Opcode.END: lambda: walk.leave(Status.DONE),
                Opcode.CALL: walk.call,
                Opcode.JUMP: walk.jump,
                Opcode.JUMP_IF: walk.jump_if,
                Opcode.LOOP: walk.count,
                Opcode.MOVE: walk.move,
                Opcode.ADD: walk.add,
                Opcode.SWAP: walk.swap,
                Opcode.LOAD: walk.load,
                Opcode.COPY: walk.copy,
                Opcode.STORE: walk.store,
            },
        )
    code.call("release", block)
    code.set_control(saved)
    code.put(walk.step.get(), block, Call, "step")
    code.give(walk.status.get())
    return code


def record_function(isa: Isa) -> Code:
    """`record(profile, step, parts, start)`: add a line that ends now, or only count it when the buffer is full."""
    code = Code(isa, "record", 4)
    profile, step, parts, start = code.parameters
    stop = code.ticks()
    count = code.get(profile, Profile, "count")
    code.put(code.add(count, 1), profile, Profile, "count")
    with code.when(code.compare("slt", count, code.get(profile, Profile, "capacity"))):
        line = code.item(code.add(profile, 16), count, 32)
        for name, value in (("step", step), ("parts", parts), ("start", start), ("end", stop)):
            code.put(value, line, Record, name)
    code.give(0)
    return code


def ticks_function(isa: Isa) -> Code:
    """`i64 ticks()`: the clock that profiles and waiting times are in."""
    code = Code(isa, "ticks", 0, external=True)
    code.give(code.ticks())
    return code


ENTRIES = {"dispatch": "dispatch", "ticks": "ticks", "enter": "enter", "quick": "quick", "sizes": "sizes"}


def dispatcher(isa: Isa) -> str:
    """The dispatcher's module: compile it with IR optimisation, and link it into each engine's blob with `library`."""
    functions = [record_function(isa), ticks_function(isa), *team.caller_functions(isa), dispatch_function(isa)]
    functions += [*shortcut.entry_functions(isa), sizes_function(isa)]
    return module(isa, "declare dso_local ptr @memmove(ptr, ptr, i64)", *functions)


def library(isa: Isa) -> tuple[str, dict[str, str]]:
    """The memory functions that generated code may call, as a module, and what it exports."""
    names = ("memcpy", "memmove", "memset")
    return module(isa, _MEMORY.replace("CHUNK", str(isa.vector_bytes))), {name: name for name in names}


_MEMORY = """
define ptr @memcpy(ptr %to, ptr %from, i64 %size) nounwind "no-builtins" "frame-pointer"="all" {
  call void @up(ptr %to, ptr %from, i64 %size)
  ret ptr %to
}

define ptr @memmove(ptr %to, ptr %from, i64 %size) nounwind "no-builtins" "frame-pointer"="all" {
  %a = ptrtoint ptr %to to i64
  %b = ptrtoint ptr %from to i64
  %distance = sub i64 %a, %b
  %apart = icmp uge i64 %distance, %size
  br i1 %apart, label %forward, label %backward
forward:
  call void @up(ptr %to, ptr %from, i64 %size)
  ret ptr %to
backward:
  call void @down(ptr %to, ptr %from, i64 %size)
  ret ptr %to
}

define internal void @up(ptr %to, ptr %from, i64 %size) nounwind "no-builtins" "frame-pointer"="all" {
  %whole = and i64 %size, -CHUNK
  br label %chunks
chunks:
  %i = phi i64 [0, %0], [%i1, %chunk]
  %more = icmp ult i64 %i, %whole
  br i1 %more, label %chunk, label %bytes
chunk:
  %cf = getelementptr i8, ptr %from, i64 %i
  %ct = getelementptr i8, ptr %to, i64 %i
  %cv = load <CHUNK x i8>, ptr %cf, align 1
  store <CHUNK x i8> %cv, ptr %ct, align 1
  %i1 = add i64 %i, CHUNK
  br label %chunks
bytes:
  %j = phi i64 [%whole, %chunks], [%j1, %byte]
  %rest = icmp ult i64 %j, %size
  br i1 %rest, label %byte, label %done
byte:
  %bf = getelementptr i8, ptr %from, i64 %j
  %bt = getelementptr i8, ptr %to, i64 %j
  %bv = load i8, ptr %bf
  store i8 %bv, ptr %bt
  %j1 = add i64 %j, 1
  br label %bytes
done:
  ret void
}

define internal void @down(ptr %to, ptr %from, i64 %size) nounwind "no-builtins" "frame-pointer"="all" {
  br label %bytes
bytes:
  %j = phi i64 [%size, %0], [%j1, %byte]
  %whole = and i64 %size, -CHUNK
  %rest = icmp ugt i64 %j, %whole
  br i1 %rest, label %byte, label %chunks
byte:
  %j1 = sub i64 %j, 1
  %bf = getelementptr i8, ptr %from, i64 %j1
  %bt = getelementptr i8, ptr %to, i64 %j1
  %bv = load i8, ptr %bf
  store i8 %bv, ptr %bt
  br label %bytes
chunks:
  %i = phi i64 [%j, %bytes], [%i1, %chunk]
  %more = icmp ugt i64 %i, 0
  br i1 %more, label %chunk, label %done
chunk:
  %i1 = sub i64 %i, CHUNK
  %cf = getelementptr i8, ptr %from, i64 %i1
  %ct = getelementptr i8, ptr %to, i64 %i1
  %cv = load <CHUNK x i8>, ptr %cf, align 1
  store <CHUNK x i8> %cv, ptr %ct, align 1
  br label %chunks
done:
  ret void
}

define ptr @memset(ptr %to, i32 %value, i64 %size) nounwind "no-builtins" "frame-pointer"="all" {
  %byte8 = trunc i32 %value to i8
  %one = insertelement <CHUNK x i8> poison, i8 %byte8, i64 0
  %all = shufflevector <CHUNK x i8> %one, <CHUNK x i8> poison, <CHUNK x i32> zeroinitializer
  %whole = and i64 %size, -CHUNK
  br label %chunks
chunks:
  %i = phi i64 [0, %0], [%i1, %chunk]
  %more = icmp ult i64 %i, %whole
  br i1 %more, label %chunk, label %bytes
chunk:
  %ct = getelementptr i8, ptr %to, i64 %i
  store <CHUNK x i8> %all, ptr %ct, align 1
  %i1 = add i64 %i, CHUNK
  br label %chunks
bytes:
  %j = phi i64 [%whole, %chunks], [%j1, %byte]
  %rest = icmp ult i64 %j, %size
  br i1 %rest, label %byte, label %done
byte:
  %bt = getelementptr i8, ptr %to, i64 %j
  store i8 %byte8, ptr %bt
  %j1 = add i64 %j, 1
  br label %bytes
done:
  ret ptr %to
}
"""
