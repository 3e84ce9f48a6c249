"""The quick way in: a function that Python calls directly, which checks NumPy arrays and dispatches, all natively.

`enter(self, args, count)` has the signature of CPython's METH_FASTCALL; `self` is the int64 array that holds a
Shortcut block. It compares every argument with what the block expects; if all agree it takes their addresses, restores
the frame, and runs the call. The answer is a Python integer: the call's status, or MISS if Python must look itself.
"""

from __future__ import annotations

from tenfold.codegen.cpu.assembly import Code, Loop
from tenfold.codegen.cpu.isa import Isa
from tenfold.runtime.cpu.block import ARRAY, MISS, Expected, Made, Quick, Shortcut, Status

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


def _restore(code: Code, block: str) -> None:
    """Copy the frame that is kept over that of the last call."""
    frame, kept = code.get(block, Shortcut, "frame"), code.get(block, Shortcut, "kept")
    with code.counting(code.get(block, Shortcut, "slots")) as index:
        code.store(code.load(code.item(kept, index, 8)), code.item(frame, index, 8))


def _enter(isa: Isa) -> Code:
    """`enter(self, args, count)`: see the module."""
    code = Code(isa, "enter", 3, external=True)
    self, args, count = code.parameters
    block = code.load(code.add(self, ARRAY["data"]))
    status = code.variable(MISS)
    with code.when(code.compare("ne", code.call("fits", block, args, count), 0)):
        _restore(code, block)
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


class _Python:
    """CPython's functions, by their names in a Quick block."""

    def __init__(self, code: Code, block: str) -> None:
        self.code, self.block = code, block

    def __call__(self, name: str, *arguments: str | int) -> str:
        values = ", ".join(f"i64 {argument}" for argument in arguments)
        return self.code.op(f"call i64 {self.code.pointer(self.code.get(self.block, Quick, name))}({values})")

    def none(self) -> None:
        """Return None."""
        none = self.code.get(self.block, Quick, "none")
        self("increment", none)
        self.code.give(none)


def _named(isa: Isa) -> Code:
    """`named(block, args, count)`: the addresses of the arrays that a dict names, each once; 0 for anything else."""
    code = Code(isa, "named", 3)
    block, args, count = code.parameters
    python, found = _Python(code, block), code.get(block, Quick, "found")
    wanted = code.get(code.get(block, Quick, "shortcut"), Shortcut, "count")
    with code.when(code.compare("ne", count, 1)):
        code.give(0)
    given = code.load(args)
    with code.when(code.compare("ne", code.load(code.add(given, ARRAY["type"])), code.get(block, Quick, "dict"))):
        code.give(0)
    with code.when(code.compare("ne", python("size", given), wanted)):
        code.give(0)
    with code.counting(wanted) as index:
        array = python("get", given, code.load(code.item(code.get(block, Quick, "keys"), index, 8)))
        with code.when(code.compare("eq", array, 0)):
            code.give(0)
        code.store(array, code.item(found, index, 8))
    code.give(found)
    return code


def _forget(isa: Isa) -> Code:
    """`forget(block, count)`: give back the first so many of the results made."""
    code = Code(isa, "forget", 2)
    block, count = code.parameters
    with code.counting(count) as index:
        _Python(code, block)("decrement", code.load(code.item(code.get(block, Quick, "made"), index, 8)))
    code.give(0)
    return code


def _make(isa: Isa) -> Code:
    """`make(block)`: an array for each result, its address in its base; 0 if there is no memory, which Python knows."""
    code = Code(isa, "make", 1)
    (block,) = code.parameters
    python = _Python(code, block)
    with code.counting(code.get(block, Quick, "results")) as index:
        row = code.item(code.get(block, Quick, "rows"), index, Made.size())
        dtype = code.get(row, Made, "dtype")
        python("increment", dtype)
        array = python("empty", code.get(row, Made, "axes"), code.get(row, Made, "shape"), dtype, 0)
        with code.when(code.compare("eq", array, 0)):
            code.call("forget", block, index)
            code.give(0)
        code.store(array, code.item(code.get(block, Quick, "made"), index, 8))
        code.store(code.load(code.add(array, ARRAY["data"])), code.get(row, Made, "base"))
    code.give(1)
    return code


def _handed(isa: Isa) -> Code:
    """`handed(block)`: the results as a dict by their names, one alone, or as a tuple."""
    code = Code(isa, "handed", 1)
    (block,) = code.parameters
    python, count, made = _Python(code, block), code.get(block, Quick, "results"), code.get(block, Quick, "made")
    by_name = code.compare("ne", code.get(block, Quick, "keys"), 0)
    answer = code.variable(0)
    with code.when(by_name):
        answer.set(python("new_dict"))
    with code.when(code.op(f"xor i1 {by_name}, true")):
        with code.when(code.compare("eq", count, 1)):
            code.give(code.load(made))
        answer.set(python("new_tuple", count))
    with code.when(code.compare("eq", answer.get(), 0)):
        code.call("forget", block, count)
        code.give(0)
    with code.counting(count) as index:
        array = code.load(code.item(made, index, 8))
        with code.when(by_name):
            name = code.get(code.item(code.get(block, Quick, "rows"), index, Made.size()), Made, "name")
            python("set", answer.get(), name, array)
            python("decrement", array)
        with code.when(code.op(f"xor i1 {by_name}, true")):
            python("put", answer.get(), index, array)
    code.give(answer.get())
    return code


def _quick(isa: Isa) -> Code:
    """`quick(self, args, count)`: see the module."""
    code = Code(isa, "quick", 3, external=True)
    self, args, count = code.parameters
    block = code.load(code.add(self, ARRAY["data"]))
    shortcut, python = code.get(block, Quick, "shortcut"), _Python(code, block)
    arrays, many = code.variable(args), code.variable(count)
    with code.when(code.compare("ne", code.get(block, Quick, "keys"), 0)):
        arrays.set(code.call("named", block, args, count))
        with code.when(code.compare("eq", arrays.get(), 0)):
            python.none()
        many.set(code.get(shortcut, Shortcut, "count"))
    with code.when(code.compare("eq", code.call("fits", shortcut, arrays.get(), many.get()), 0)):
        python.none()
    with code.when(code.compare("eq", code.call("make", block), 0)):
        code.give(0)
    _restore(code, shortcut)
    status = code.call("dispatch", code.get(shortcut, Shortcut, "call"), code.get(shortcut, Shortcut, "start"))
    with code.when(code.compare("ne", status, Status.DONE)):
        code.call("forget", block, code.get(block, Quick, "results"))
        python.none()
    code.give(code.call("handed", block))
    return code


def entry_functions(isa: Isa) -> list[Code]:
    """What belongs to the dispatcher's module: `enter` and `quick`, and what they need."""
    return [_fits(isa), _enter(isa), _named(isa), _forget(isa), _make(isa), _handed(isa), _quick(isa)]
