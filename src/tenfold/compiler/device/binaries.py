"""Programs to the code of an engine: machine code, each content stored once, and a table of functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tenfold.codegen.cpu.pool import CompilePool, Told
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.launch import CudaKernel
from tenfold.codegen.cuda.pool import GpuPool
from tenfold.codegen.cuda.program import Binary, Failure, Program, Word, words
from tenfold.compiler.backend import MachineCode
from tenfold.compiler.device.schedule import DeviceScheduler
from tenfold.compiler.items import Item, Piece, kernels
from tenfold.errors import UnsupportedError
from tenfold.ops.attention import Attention
from tenfold.target import Target

_ALIGNMENT = 64


class GpuBackend:
    """NVIDIA GPUs."""

    kept: frozenset[type] = frozenset({Attention})
    scheduler = DeviceScheduler

    def machine_code(
        self, items: Sequence[Item], target: Target, pool: CompilePool, tell: Told | None = None
    ) -> MachineCode:
        """Compile every program of the pieces; UnsupportedError for one that Triton refuses."""
        arch = arch_of(target)
        programs = list(dict.fromkeys(program for piece in kernels(items) for program in programs_of(piece)))
        with GpuPool(pool.size, arch.sm, pool.cache) as compiler:
            made = compiler.compile(programs, tell)
        for program, binary in made.items():
            problem = refusal(binary, arch.shared)
            if problem:
                raise UnsupportedError(f"a GPU kernel was not made: {problem}\n{program.kernel}")
        binaries = [(program, binary) for program in programs if isinstance(binary := made[program], Binary)]
        code, functions = functions_of(binaries)
        entries = {program: number for number, (program, _) in enumerate(binaries)}
        manifest = {"functions": functions, "processors": arch.processors}
        return MachineCode(entries, {"code": code}, manifest, f"{len(functions)} functions, {len(code)} bytes of code")


def programs_of(piece: Piece) -> list[Program]:
    """The programs that a piece launches."""
    assert isinstance(piece.kernel, CudaKernel)
    return [one.program for one in piece.kernel.launches]


def refusal(made: Binary | Failure, shared: int) -> str | None:
    """Why a program cannot run on a machine with so much shared memory a block; None if it can."""
    if isinstance(made, Failure):
        return made.reason
    if made.shared > shared:
        return f"it takes {made.shared} bytes of shared memory, and a block has {shared}"
    return "it takes scratch memory of its own" if made.scratch else None


def functions_of(binaries: Sequence[tuple[Program, Binary]]) -> tuple[bytes, list[dict[str, Any]]]:
    """One block of code and, of each function, where its code lies in it and how it is launched."""
    code, places, functions = bytearray(), dict[bytes, int](), list[dict[str, Any]]()
    for program, binary in binaries:
        if binary.code not in places:
            code += bytes(-len(code) % _ALIGNMENT)
            places[binary.code] = len(code)
            code += binary.code
        functions.append(
            {
                "offset": places[binary.code],
                "size": len(binary.code),
                "name": binary.name,
                "threads": binary.threads,
                "shared": binary.shared,
                "early": dict(program.parameters).get("EARLY") == 1,
                "words": list(_words(program, binary)),
            }
        )
    return bytes(code), functions


def _words(program: Program, binary: Binary) -> Iterator[list[Any]]:
    """How each argument is passed: an address, an integer of 32 or 64 bits, or a tile descriptor."""
    maps = iter(binary.maps)
    for _, parameter in program.parameters:
        for word in words(parameter):
            if word.type.startswith("tensordesc"):
                one = next(maps)
                yield ["tile", list(one.block), one.element_type, one.element_size, one.swizzle]
            else:
                yield [_kind(word)]


def _kind(word: Word) -> str:
    return "address" if word.type.startswith("*") else word.type
