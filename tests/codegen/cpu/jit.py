"""Compiled functions in this process: what kernel tests call."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import llvmlite.binding as llvm

from tenfold.codegen.cpu.isa import ROWS, Isa

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
    """A function of three pointer-sized arguments, compiled for `isa` and ready to call here."""
    module = llvm.parse_assembly(source)
    module.verify()
    tm = machine(isa, _HOST)
    module.triple, module.data_layout = _HOST, str(tm.target_data)
    if optimise:
        tuning = llvm.create_pipeline_tuning_options(speed_level=2)
        tuning.loop_vectorization = tuning.slp_vectorization = False
        llvm.create_pass_builder(tm, tuning).getModulePassManager().run(module, llvm.create_pass_builder(tm, tuning))
    engine = llvm.create_mcjit_compiler(module, tm)
    engine.finalize_object()
    _KEEP.append(engine)
    kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
    return kind(engine.get_function_address(name))


def object_of(source: str, isa: Isa, optimise: bool = False) -> bytes:
    """The ELF object of a module, as the build makes it."""
    module = llvm.parse_assembly(source)
    module.triple = isa.triple
    module.verify()
    tm = machine(isa)
    module.data_layout = str(tm.target_data)
    return bytes(tm.emit_object(module))


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
