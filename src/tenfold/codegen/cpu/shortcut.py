"""The quick way in: a function that Python calls directly, which checks NumPy arrays and dispatches, all natively.

`enter(self, args, count)` has the signature of CPython's METH_FASTCALL; `self` is the int64 array that holds a
Shortcut block. It compares every argument with what the block expects; if all agree it takes their addresses, restores
the frame, and runs the call. The answer is a Python integer: the call's status, or MISS if Python must look itself.
"""

from __future__ import annotations

from tenfold.codegen.cpu.assembly import Code, Loop
from tenfold.codegen.cpu.isa import Isa
from tenfold.runtime.cpu.block import ARRAY, MISS, Expected, Shortcut

_BIG_ENDIAN = ord(">")


class _Visitor:
    """Compares one argument with its row of expectations; leaves `loop` as soon as they differ."""

    def __init__(self, code: Code, block: str, row: str, array: str, loop: Loop) -> None:
        self.code, self.block, self.row, self.array, self.loop = code, block, row, array, loop

    def expected(self, field: str) -> str:
        """A field of the row."""
        return self.code.get(self.row, Expected, field)

    def need(self, condition: str) -> None:
        """Leave unless the condition holds."""
        wrong = self.code.op(f"xor i1 {condition}, true")
        with self.code.when(wrong):
            self.loop.leave()

    def same(self, a: str | int, b: str | int) -> None:
        """Leave unless two numbers are equal."""
        self.need(self.code.compare("eq", a, b))

    def words(self, at: str, like: str, count: str, bits: int) -> None:
        """Leave unless so many integers at two addresses are equal."""
        code, index = self.code, self.code.variable(0)
        with code.forever() as inner:
            now = index.get()
            with code.when(code.compare("sge", now, count)):
                inner.leave()
            a, b = (code.load(code.item(start, now, bits // 8), bits) for start in (at, like))
            self.same(a, b)
            index.set(code.add(now, 1))

    def visit(self) -> None:
        """Compare type, dtype, byte order, flags, shape, watched bytes; then take the address."""
        code, array = self.code, self.array
        self.same(code.load(code.add(array, ARRAY["type"])), code.get(self.block, Shortcut, "kind"))
        dtype = code.load(code.add(array, ARRAY["dtype"]))
        self.same(code.load(code.add(dtype, ARRAY["number"]), 32), self.expected("number"))
        self.need(code.compare("ne", code.load(code.add(dtype, ARRAY["order"]), 8), _BIG_ENDIAN))
        wanted = self.expected("flags")
        self.same(code.both(code.load(code.add(array, ARRAY["flags"]), 32), wanted), wanted)
        axes = self.expected("axes")
        self.same(code.load(code.add(array, ARRAY["axes"]), 32), axes)
        self.words(code.load(code.add(array, ARRAY["shape"])), self.expected("shape"), axes, 64)
        data = code.load(code.add(array, ARRAY["data"]))
        self.words(data, self.expected("contents"), self.expected("watched"), 8)
        code.store(data, self.expected("base"))


def _fits(isa: Isa) -> Code:
    """`fits(block, args, count)`: whether all arguments are as expected; their addresses are taken on the way."""
    code = Code(isa, "fits", 3)
    block, args, count = code.parameters
    with code.forever() as loop:
        _Visitor(code, block, "", "", loop).same(count, code.get(block, Shortcut, "count"))
        with code.counting(count) as index:
            row = code.item(code.get(block, Shortcut, "rows"), index, Expected.size())
            _Visitor(code, block, row, code.load(code.item(args, index, 8)), loop).visit()
        code.give(1)
    code.give(0)
    return code


def _enter(isa: Isa) -> Code:
    """`enter(self, args, count)`: see the module."""
    code = Code(isa, "enter", 3, external=True)
    self, args, count = code.parameters
    block = code.load(code.add(self, ARRAY["data"]))
    status = code.variable(MISS)
    with code.when(code.compare("ne", code.call("fits", block, args, count), 0)):
        frame, kept = code.get(block, Shortcut, "frame"), code.get(block, Shortcut, "kept")
        with code.counting(code.get(block, Shortcut, "slots")) as index:
            code.store(code.load(code.item(kept, index, 8)), code.item(frame, index, 8))
        call, start = code.get(block, Shortcut, "call"), code.get(block, Shortcut, "start")
        save = code.get(block, Shortcut, "save")
        state = code.variable(0)
        with code.when(code.compare("ne", save, 0)):
            state.set(code.op(f"call i64 {code.pointer(save)}()"))
        status.set(code.call("dispatch", call, start))
        with code.when(code.compare("ne", save, 0)):
            restore = code.pointer(code.get(block, Shortcut, "restore"))
            code.do(f"call void {restore}(i64 {state.get()})")
    number = code.pointer(code.get(block, Shortcut, "number"))
    code.give(code.op(f"call i64 {number}(i64 {status.get()})"))
    return code


def entry_functions(isa: Isa) -> list[Code]:
    """What belongs to the dispatcher's module: `enter` and what it needs."""
    return [_fits(isa), _enter(isa)]
