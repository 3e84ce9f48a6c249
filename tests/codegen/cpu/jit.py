"""Compiled functions in this process: what kernel tests call."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import llvmlite.binding as llvm

from tenfold.codegen.cpu.isa import ROWS, Isa
from tenfold.codegen.cpu.worker import compile_module

V3, V4, AARCH64 = ROWS
_HOST = "x86_64-pc-linux-gnu"


@functools.cache
def _initialize() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def machine(isa: Isa, triple: str | None = None) -> llvm.TargetMachine:
    """LLVM's code generator for a row."""
    _initialize()
    target = llvm.Target.from_triple(triple or isa.triple)
    return target.create_target_machine(cpu=isa.cpu, features=isa.features, opt=2, reloc="pic", codemodel="small")


def runnable() -> list[Isa]:
    """The rows whose code this machine runs, by what LLVM says of it."""
    features = llvm.get_host_cpu_features()
    need = {"x86-64-v3": ("avx2", "fma", "f16c"), "x86-64-v4": ("avx512f", "avx512bw", "avx512dq", "avx512vl")}
    return [row for row in (V3, V4) if all(features.get(name, False) for name in need[row.level])]


_KEEP: list[object] = []


@functools.cache
def load(source: str, isa: Isa, name: str = "stage", optimise: bool = False) -> Callable[..., int]:
    """A function of three pointer-sized arguments, from the object that a build makes, ready to call here."""
    data = object_of(source, isa, optimise)
    assert undefined(data) == [], "an object needs nothing from elsewhere"
    empty = llvm.parse_assembly("")
    engine = llvm.create_mcjit_compiler(empty, machine(isa, _HOST))
    engine.add_object_file(llvm.ObjectFileRef.from_data(data))
    engine.finalize_object()
    _KEEP.append(engine)
    kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
    return kind(engine.get_function_address(name))


def object_of(source: str, isa: Isa, optimise: bool = False) -> bytes:
    """The ELF object of a module, as the build makes it."""
    _initialize()
    return compile_module(source, isa.triple, isa.cpu, isa.features, optimise)


def assembly_of(source: str, isa: Isa) -> str:
    """The instructions of a module, as text."""
    module = llvm.parse_assembly(source)
    module.triple = isa.triple
    tm = machine(isa)
    module.data_layout = str(tm.target_data)
    return str(tm.emit_assembly(module))


def undefined(data: bytes) -> list[str]:
    """The symbols an ELF object needs from elsewhere."""
    names = []
    sections, size, count = (int.from_bytes(data[at : at + n], "little") for at, n in ((40, 8), (58, 2), (60, 2)))
    headers = [data[sections + size * k : sections + size * (k + 1)] for k in range(count)]

    def content(header: bytes) -> bytes:
        start, length = (int.from_bytes(header[at : at + 8], "little") for at in (24, 32))
        return data[start : start + length]

    for header in headers:
        if int.from_bytes(header[4:8], "little") != 2:
            continue
        strings = content(headers[int.from_bytes(header[40:44], "little")])
        table = content(header)
        for at in range(24, len(table), 24):
            if int.from_bytes(table[at + 6 : at + 8], "little") == 0:
                start = int.from_bytes(table[at : at + 4], "little")
                names.append(strings[start : strings.index(b"\0", start)].decode())
    return names
